//! The program: a terminal UI for AI agents and the host that runs them.
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: a supervisor is small and starts fast.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "__supervise") {
        return args.next().map_or(ExitCode::FAILURE, |folder| {
            host::process::supervise(std::path::Path::new(&folder))
        });
    }
    ExitCode::SUCCESS
}
