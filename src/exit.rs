//! How a run ends: errors with an exit code of their own, and the one place that prints errors.

use std::io::Write as _;
use std::process::ExitCode;

use crate::config;

/// The command line or the config is wrong and nothing was run. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// A run that the user stopped. Exit code 130.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Prints what the parser of the command line says: help and version to stdout with exit code 0,
/// errors to stderr with 2.
pub(crate) fn from_parser(e: &clap::Error) -> ExitCode {
    e.print().ok();
    if e.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

/// Prints an error to stderr. A reader of our output that went away is none.
pub(crate) fn from_error(e: &anyhow::Error) -> ExitCode {
    let broken_pipe = e.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    });
    if broken_pipe {
        return ExitCode::SUCCESS;
    }
    if e.downcast_ref::<Interrupted>().is_some() {
        return ExitCode::from(130);
    }
    let mut stderr = std::io::stderr().lock();
    for line in format!("{e:#}").lines() {
        writeln!(stderr, "hermes-tui: {}", host::redact::plain(line)).ok();
    }
    let usage = e.downcast_ref::<Usage>().is_some() || e.downcast_ref::<config::Error>().is_some();
    if usage { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// The exit code of a run that a signal has ended.
pub(crate) fn from_signal(signal: i32) -> ExitCode {
    ExitCode::from(128 + signal.to_le_bytes()[0])
}
