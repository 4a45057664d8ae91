//! The end of a process in words.

use protocol::{End, Exit};

/// The end of a process in a few words (P11).
pub(crate) fn describe(exit: &Exit) -> String {
    match (exit.end, exit.code, exit.signal) {
        (End::Exited, Some(0), _) => "finished".to_owned(),
        (End::Exited, Some(code), _) => format!("failed (exit {code})"),
        (End::Exited, None, Some(signal)) => format!("failed (signal {signal})"),
        (End::Exited, None, None) => "ended (exit code unknown)".to_owned(),
        (End::Killed, _, _) => "killed".to_owned(),
        (End::Lost, _, _) => "lost".to_owned(),
        (End::FailedStart, _, _) => "failed to start".to_owned(),
    }
}
