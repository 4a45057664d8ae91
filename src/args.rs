//! The command line as clap parses it. Runs nothing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// An AI agent in your terminal that keeps working while you are away.
#[derive(Debug, Parser)]
#[command(name = "hermes-tui", version, args_conflicts_with_subcommands = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) run: Run,
    /// Send one prompt and print only the answer.
    #[arg(short = 'z', long, value_name = "PROMPT")]
    pub(crate) oneshot: Option<String>,
    /// Write the token usage of the one-shot run to this file, as JSON.
    #[arg(long, value_name = "PATH", requires = "oneshot")]
    pub(crate) usage_file: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Options of a run. Accepted before and after the command.
#[derive(Clone, Debug, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct Run {
    /// Continue the most recent session.
    #[arg(short = 'c', long = "continue", global = true, conflicts_with = "resume")]
    pub(crate) continue_: bool,
    /// Resume this session.
    #[arg(short = 'r', long, global = true, value_name = "ID|TITLE")]
    pub(crate) resume: Option<String>,
    /// The model to use.
    #[arg(short = 'm', long, global = true, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// The provider of the model.
    #[arg(long, global = true, value_name = "PROVIDER")]
    pub(crate) provider: Option<String>,
    /// Run dangerous commands without asking for approval.
    #[arg(long, global = true)]
    pub(crate) yolo: bool,
    /// Run commands on this machine, whatever terminal.backend says.
    #[arg(long, global = true)]
    pub(crate) local_terminal: bool,
    /// Do not read AGENTS.md and similar files.
    #[arg(long, global = true)]
    pub(crate) ignore_rules: bool,
    /// Maximum number of model requests per turn.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_turns: Option<u32>,
}

/// A command to run instead of opening the interface.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Talk to the agent.
    Chat(Chat),
    /// List, show, delete and archive stored sessions.
    #[command(subcommand)]
    Sessions(Sessions),
    /// Show and check the config.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check this installation for problems.
    Doctor(Doctor),
    /// Check which commands need approval.
    #[command(subcommand)]
    Approvals(Approvals),
    /// Run a host for other clients to attach to. It outlives its terminal: Ctrl-C and
    /// `host stop` stop it, a hang-up does not.
    Serve(Serve),
    /// Open the interface on a remote host: a `hermes-tui serve` or a hermes-webui.
    Attach(Attach),
    /// Show or stop the host of this state directory.
    #[command(subcommand)]
    Host(HostCommand),
}

/// `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address to listen on. Any other than loopback needs a password.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(crate) host: std::net::IpAddr,
    /// Port to listen on; 0 = any free port.
    #[arg(long, default_value_t = 8787, value_name = "PORT")]
    pub(crate) port: u16,
    /// Listen on Unix sockets only.
    #[arg(long, conflicts_with_all = ["host", "port", "password_file"])]
    pub(crate) no_tcp: bool,
    /// Unix socket to listen on, in addition to the one in the state directory.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// File whose first line is the password.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Run in the background.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Stop after this many seconds without work and clients.
    #[arg(long, hide = true, value_name = "SECONDS")]
    pub(crate) until_idle: Option<u64>,
}

/// `attach`.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// The host: `https://host:8787/path`, or the path of a Unix socket.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// Read the password from standard input.
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Log in with this cookie (`NAME=VALUE`, from a browser that is logged in), for servers
    /// without passwords.
    #[arg(long, value_name = "COOKIE")]
    pub(crate) cookie: Option<String>,
    /// Trust this certificate authority (PEM) as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Accept any certificate. Anyone on the network path can read and change everything.
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// `host`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Show whether a host is running, since when, and its work.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Stop it; unfinished turns resume at the next start.
    Stop,
}

/// `chat`.
#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// Send this one prompt and exit.
    #[arg(short = 'q', long, value_name = "PROMPT")]
    pub(crate) query: Option<String>,
    /// Print only the answer; the session id goes to stderr.
    #[arg(short = 'Q', long, requires = "query")]
    pub(crate) quiet: bool,
}

/// `sessions`.
#[derive(Debug, Subcommand)]
pub(crate) enum Sessions {
    /// List the most recent sessions.
    List {
        /// Maximum number of sessions.
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: usize,
        /// Include archived sessions.
        #[arg(long)]
        all: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a session with its messages.
    Show {
        /// The session.
        #[arg(value_name = "ID")]
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete a session and everything in it, permanently.
    Delete {
        /// The session.
        #[arg(value_name = "ID")]
        id: String,
        /// Do not ask for confirmation.
        #[arg(short = 'y', long)]
        yes: bool,
    },
    /// Archive a session: lists hide it, its background work still wakes it.
    Archive {
        /// The session.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Restore an archived session.
    Unarchive {
        /// The session.
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show where the files are.
    Path,
    /// Show the settings in effect.
    Get {
        /// A dotted key; without one, all settings.
        #[arg(value_name = "KEY")]
        key: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check the files for errors.
    Check,
}

/// `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `approvals`.
#[derive(Debug, Subcommand)]
pub(crate) enum Approvals {
    /// Show whether a command would be allowed, asked about or blocked.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// The command line.
        #[arg(required = true, last = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("hermes-tui").chain(line.split(' ')))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_a_run_work_before_and_after_chat() {
        for line in ["-m x --yolo -r abc chat -Q -q hi", "chat -q hi -Q --yolo -r abc -m x"] {
            let cli = parse(line).unwrap();
            assert_eq!((cli.run.model.as_deref(), cli.run.yolo), (Some("x"), true));
            assert_eq!(cli.run.resume.as_deref(), Some("abc"));
            let Some(Command::Chat(chat)) = cli.command else { panic!("{line}") };
            assert_eq!((chat.query.as_deref(), chat.quiet), (Some("hi"), true));
        }
        assert!(parse("-c").unwrap().run.continue_);
        assert!(parse("chat -c").unwrap().run.continue_);
    }

    #[test]
    fn a_command_to_check_keeps_its_own_flags() {
        let cli = parse("approvals check --json -- rm -rf --yolo /x").unwrap();
        let Some(Command::Approvals(Approvals::Check { json, command })) = cli.command else {
            panic!("not a check")
        };
        assert!(json && !cli.run.yolo);
        assert_eq!(command, ["rm", "-rf", "--yolo", "/x"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_2() {
        for line in [
            "--bad",
            "chat -Q",
            "-c -r x",
            "--usage-file x",
            "--max-turns 0",
            "config",
            "config get a b",
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        assert_eq!(parse("--version").unwrap_err().exit_code(), 0);
    }
}
