//! hermes-tui: reads the command line, puts the config together, starts what was asked for and
//! turns its end into an exit code. Errors are printed here and nowhere else.

use std::io::Write as _;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use host::embedded::EmbeddedHost;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::args::{Cli, Command};
use crate::config::{Config, Flags, Inputs};
use crate::dirs::Dirs;
use crate::env::Env;
use crate::oneshot::Report;
use crate::providers::local;

mod approvals_cmd;
mod args;
mod attach_cmd;
mod config;
mod config_cmd;
mod detach;
mod dirs;
mod doctor;
mod drafts;
mod env;
mod host_cmd;
mod interactive;
mod keep;
mod log;
mod oneshot;
mod providers;
mod running_host;
mod serve_cmd;
mod sessions_cmd;
mod signals;

/// Nothing was run: the command line or the config is wrong. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// A stop that takes longer says what it waits for.
const SOON: Duration = Duration::from_millis(300);

/// A run that was stopped by the user. Exit code 130.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

fn main() -> ExitCode {
    signals::let_through();
    // Before anything else: a supervisor is small and starts fast.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "__supervise") {
        return args.next().map_or(ExitCode::FAILURE, |folder| {
            host::process::supervise(std::path::Path::new(&folder))
        });
    }
    // What goes into the background leaves the terminal before anything can happen to that.
    let mut words: Vec<_> = std::env::args_os().collect();
    let detached = words.get(1).is_some_and(|first| first == detach::WORD);
    if detached {
        words.remove(1);
        if let Err(e) = detach::leave_terminal() {
            return failure_exit(&e);
        }
    }
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(e) => return parse_exit(&e),
    };
    match run(cli, detached) {
        Ok(code) => code,
        Err(e) => failure_exit(&e),
    }
}

/// Help and version go to stdout with 0, errors to stderr with 2.
fn parse_exit(e: &clap::Error) -> ExitCode {
    e.print().ok();
    if e.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

/// Says what went wrong, once.
fn failure_exit(e: &anyhow::Error) -> ExitCode {
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

fn run(cli: Cli, detached: bool) -> anyhow::Result<ExitCode> {
    let env = Env::of_process();
    let dirs = Dirs::find(&env).map_err(|e| Usage(format!("{e:#}")))?;
    let flags = Flags {
        model: cli.run.model.clone(),
        provider: cli.run.provider.clone(),
        max_turns: cli.run.max_turns,
        yolo: cli.run.yolo,
        local_terminal: cli.run.local_terminal,
        ignore_rules: cli.run.ignore_rules,
    };
    let cwd = std::env::current_dir().context("the current folder cannot be found")?;
    // Supervisors are started from what runs now, also when its file was replaced or deleted.
    let exe = match std::path::PathBuf::from("/proc/self/exe") {
        running if running.exists() => running,
        _ => std::env::current_exe().context("the program itself cannot be found")?,
    };
    let load = |servers: &[local::Server]| {
        Config::load(&dirs, &Inputs { flags: &flags, env: &env, cwd: &cwd, exe: &exe, servers })
    };
    if let Some(Command::Config(command)) = &cli.command {
        return config_cmd::run(command, &dirs, load(&local::USUAL));
    }
    if let Some(Command::Doctor(doctor)) = &cli.command {
        return doctor::run(doctor, &dirs, &env, load(&local::USUAL));
    }
    if let Some(Command::Host(command)) = &cli.command {
        return host_cmd::run(&dirs.state, *command);
    }
    if let (None, Some(Command::Attach(attach))) = (&cli.oneshot, &cli.command) {
        // Nothing of this machine's config matters there.
        log::start(&dirs.log(), env.get("HERMES_TUI_LOG"));
        return attach_cmd::run(attach, &cli.run, &dirs, &env);
    }
    let probed: &[local::Server] = match &cli.command {
        None | Some(Command::Chat(_) | Command::Serve(_)) => &local::USUAL,
        Some(_) => &[],
    };
    let config = load(probed)?;
    log::start(&dirs.log(), env.get("HERMES_TUI_LOG"));
    match (&cli.oneshot, &cli.command) {
        (Some(prompt), None) => {
            let usage_file = cli.usage_file.as_deref();
            oneshot::run(&usable(config)?, &cli.run, prompt, &Report::Bare { usage_file })
        }
        (Some(_), Some(_)) => Err(Usage("-z goes without a command".to_owned()).into()),
        (None, Some(Command::Chat(chat))) => match &chat.query {
            Some(prompt) => {
                let report = if chat.quiet { Report::Quiet } else { Report::Told };
                oneshot::run(&usable(config)?, &cli.run, prompt, &report)
            }
            None => interactive::run(&usable(config)?, &cli.run, &dirs),
        },
        (None, None) => interactive::run(&usable(config)?, &cli.run, &dirs),
        (None, Some(Command::Sessions(command))) => {
            sessions_cmd::run(&config.settings.state, command)
        }
        (None, Some(Command::Approvals(command))) => approvals(&config, command),
        (None, Some(Command::Serve(serve))) => {
            let place =
                if detached { serve_cmd::Place::Background } else { serve_cmd::Place::Here };
            serve_cmd::run(&usable(config)?, serve, &env, &dirs, place)
        }
        (
            None,
            Some(Command::Attach(_) | Command::Config(_) | Command::Doctor(_) | Command::Host(_)),
        ) => Ok(ExitCode::SUCCESS),
    }
}

/// The config, if a model can be asked with it.
fn usable(config: Config) -> anyhow::Result<Config> {
    match config.refusal {
        Some(why) => Err(Usage(why).into()),
        None => Ok(config),
    }
}

/// Lets running turns finish for as long as the config says; another signal ends the waiting.
async fn drain(local: &EmbeddedHost, signals: &mut UnboundedReceiver<i32>) {
    let mut drained = pin!(local.drain());
    if tokio::time::timeout(SOON, &mut drained).await.is_err() {
        let text = "Finishing what runs. Ctrl-C stops at once; the rest goes on at the next start.";
        writeln!(std::io::stderr().lock(), "{text}").ok();
        tokio::select! {
            () = drained => {}
            _ = signals.recv() => {}
        }
    }
}

fn approvals(config: &Config, command: &args::Approvals) -> anyhow::Result<ExitCode> {
    let args::Approvals::Check { json, command } = command;
    let settings = &config.settings.approvals;
    let granted = host::store::Reader::open(&config.settings.state)?.granted()?;
    let policy = host::approval::Policy {
        mode: settings.mode,
        deny: settings.deny.clone(),
        always: settings.allow.iter().cloned().chain(granted).collect(),
    };
    approvals_cmd::check(command, *json, &policy)
}
