//! hermes-tui: reads the command line, loads the config and runs the command.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use crate::args::{Cli, Command};
use crate::config::{Config, Flags, Inputs};
use crate::dirs::Dirs;
use crate::env::Env;
use crate::exit::Usage;
use crate::oneshot::Report;
use crate::providers::local;
use crate::serve_cmd::Place;

mod approvals_cmd;
mod args;
mod attach_cmd;
mod config;
mod config_cmd;
mod detach;
mod dirs;
mod doctor;
mod drafts;
mod drain;
mod env;
mod exit;
mod host_cmd;
mod interactive;
mod interface;
mod keep;
mod log;
mod oneshot;
mod providers;
mod running_host;
mod serve_cmd;
mod sessions_cmd;
mod signals;

fn main() -> ExitCode {
    signals::unblock_suspend();
    // Before anything else: a supervisor is small and starts fast.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "__supervise") {
        return args
            .next()
            .map_or(ExitCode::FAILURE, |dir| host::process::supervise(std::path::Path::new(&dir)));
    }
    // A background host leaves the terminal before anything can happen to that.
    let mut args: Vec<_> = std::env::args_os().collect();
    let place = if args.get(1).is_some_and(|first| first == detach::ARG) {
        args.remove(1);
        if let Err(e) = detach::leave_terminal() {
            return exit::from_error(&e);
        }
        Place::Background
    } else {
        Place::Foreground
    };
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => return exit::from_parser(&e),
    };
    run(cli, place).unwrap_or_else(|e| exit::from_error(&e))
}

fn run(cli: Cli, place: Place) -> anyhow::Result<ExitCode> {
    let env = Env::of_process();
    let dirs = Dirs::find(&env).map_err(|e| Usage(format!("{e:#}")))?;
    let cwd = std::env::current_dir().context("cannot find the current directory")?;
    let (flags, exe) = (flags(&cli.run), exe()?);
    let load = |servers: &[local::Server]| {
        Config::load(&dirs, &Inputs { flags: &flags, env: &env, cwd: &cwd, exe: &exe, servers })
    };
    let start_log = || log::start(&dirs.log(), env.get("HERMES_TUI_LOG"));
    let (oneshot, command) = (&cli.oneshot, cli.command.as_ref());
    match command {
        Some(Command::Config(command)) => {
            return config_cmd::run(command, &dirs, load(&local::USUAL));
        }
        Some(Command::Doctor(doctor)) => {
            return doctor::run(doctor, &dirs, &env, load(&local::USUAL));
        }
        Some(Command::Host(command)) => return host_cmd::run(&dirs.state, *command),
        Some(Command::Attach(attach)) if oneshot.is_none() => {
            start_log();
            return attach_cmd::run(attach, &cli.run, &dirs, &env);
        }
        _ => {}
    }
    let probed: &[local::Server] = match command {
        None | Some(Command::Chat(_) | Command::Serve(_)) => &local::USUAL,
        Some(_) => &[],
    };
    let config = load(probed)?;
    start_log();
    match (oneshot, command) {
        (Some(prompt), None) => {
            let usage_file = cli.usage_file.as_deref();
            oneshot::run(&usable(config)?, &cli.run, prompt, &Report::Bare { usage_file })
        }
        (Some(_), Some(_)) => Err(Usage("-z cannot be combined with a command".to_owned()).into()),
        (None, Some(Command::Chat(args::Chat { query: Some(prompt), quiet }))) => {
            let report = if *quiet { Report::Quiet } else { Report::Verbose };
            oneshot::run(&usable(config)?, &cli.run, prompt, &report)
        }
        (None, None | Some(Command::Chat(_))) => {
            interactive::run(&usable(config)?, &cli.run, &dirs)
        }
        (None, Some(Command::Sessions(command))) => {
            sessions_cmd::run(&config.settings.state, command)
        }
        (None, Some(Command::Approvals(command))) => approvals_cmd::run(&config.settings, command),
        (None, Some(Command::Serve(serve))) => {
            serve_cmd::run(&usable(config)?, serve, &env, &dirs, place)
        }
        // Run above.
        (
            None,
            Some(Command::Attach(_) | Command::Config(_) | Command::Doctor(_) | Command::Host(_)),
        ) => Ok(ExitCode::SUCCESS),
    }
}

/// The flags that go into the config.
fn flags(run: &args::Run) -> Flags {
    Flags {
        model: run.model.clone(),
        provider: run.provider.clone(),
        max_turns: run.max_turns,
        yolo: run.yolo,
        local_terminal: run.local_terminal,
        ignore_rules: run.ignore_rules,
    }
}

/// The program that supervisors are started from: this one, even if its file was replaced or
/// deleted.
fn exe() -> anyhow::Result<PathBuf> {
    match PathBuf::from("/proc/self/exe") {
        running if running.exists() => Ok(running),
        _ => std::env::current_exe().context("cannot find the path of this program"),
    }
}

/// The config, if it names a usable model.
fn usable(config: Config) -> anyhow::Result<Config> {
    match config.refusal {
        Some(why) => Err(Usage(why).into()),
        None => Ok(config),
    }
}
