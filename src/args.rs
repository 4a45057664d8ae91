//! The command line: what can be typed. Says what was asked for and does none of it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// An AI agent in your terminal that goes on while you are away.
#[derive(Debug, Parser)]
#[command(name = "hermes-tui", version, args_conflicts_with_subcommands = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) run: Run,
    /// Ask once and print only the answer.
    #[arg(short = 'z', long, value_name = "PROMPT")]
    pub(crate) oneshot: Option<String>,
    /// Write what the one-shot run used to this file, as JSON.
    #[arg(long, value_name = "PATH", requires = "oneshot")]
    pub(crate) usage_file: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// How to run. Works before and after `chat`.
#[derive(Clone, Debug, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct Run {
    /// Go on with the newest session.
    #[arg(short = 'c', long = "continue", global = true, conflicts_with = "resume")]
    pub(crate) continue_: bool,
    /// Go on with this session.
    #[arg(short = 'r', long, global = true, value_name = "ID|TITLE")]
    pub(crate) resume: Option<String>,
    /// The model.
    #[arg(short = 'm', long, global = true, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Who serves the model.
    #[arg(long, global = true, value_name = "PROVIDER")]
    pub(crate) provider: Option<String>,
    /// Run dangerous commands without asking.
    #[arg(long, global = true)]
    pub(crate) yolo: bool,
    /// Run commands on this machine whatever terminal.backend says.
    #[arg(long, global = true)]
    pub(crate) local_terminal: bool,
    /// Leave out AGENTS.md and its like.
    #[arg(long, global = true)]
    pub(crate) ignore_rules: bool,
    /// Most model requests per turn.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_turns: Option<u32>,
}

/// What to do instead of opening the interface.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Talk to the agent.
    Chat(Chat),
    /// Look at stored sessions.
    #[command(subcommand)]
    Sessions(Sessions),
    /// Look at the config.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look for what is wrong with this installation.
    Doctor(Doctor),
    /// Look at approvals.
    #[command(subcommand)]
    Approvals(Approvals),
    /// Run a host that other front ends attach to. It outlives its terminal: Ctrl-C and
    /// `host stop` end it, a hang-up does not.
    Serve(Serve),
    /// Open the interface on a host elsewhere: a `hermes-tui serve` or a hermes-webui.
    Attach(Attach),
    /// Look at the host of this state folder.
    #[command(subcommand)]
    Host(HostCommand),
}

/// `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address to listen on. Others than loopback need a password.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(crate) host: std::net::IpAddr,
    /// Port to listen on; 0 = any free one.
    #[arg(long, default_value_t = 8787, value_name = "PORT")]
    pub(crate) port: u16,
    /// Listen on Unix sockets only.
    #[arg(long, conflicts_with_all = ["host", "port", "password_file"])]
    pub(crate) no_tcp: bool,
    /// Unix socket to listen on, besides the one in the state folder.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// File whose first line is the password.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Go into the background.
    #[arg(long)]
    pub(crate) detach: bool,
    /// End by itself once nothing runs and nobody has looked for so many seconds.
    #[arg(long, hide = true, value_name = "SECONDS")]
    pub(crate) until_idle: Option<u64>,
}

/// `attach`.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Where it is: `https://host:8787/path`, or the path of a Unix socket.
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// Read the password from standard input.
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Use this cookie (`NAME=VALUE`, from a browser that is logged in), for servers without
    /// passwords.
    #[arg(long, value_name = "COOKIE")]
    pub(crate) cookie: Option<String>,
    /// Trust this certificate authority (PEM) too.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Take any certificate. Whoever is in between can read and change everything.
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// `host`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Whether one runs, since when and what it does.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Stop it; what runs goes on at the next start.
    Stop,
}

/// `chat`.
#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// Ask this once and exit.
    #[arg(short = 'q', long, value_name = "PROMPT")]
    pub(crate) query: Option<String>,
    /// Print only the answer; the session goes to stderr.
    #[arg(short = 'Q', long, requires = "query")]
    pub(crate) quiet: bool,
}

/// `sessions`.
#[derive(Debug, Subcommand)]
pub(crate) enum Sessions {
    /// The newest ones.
    List {
        /// How many.
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: usize,
        /// Archived ones too.
        #[arg(long)]
        all: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// One with its messages.
    Show {
        /// Which.
        #[arg(value_name = "ID")]
        id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Delete one with all it holds, for ever.
    Delete {
        /// Which.
        #[arg(value_name = "ID")]
        id: String,
        /// Without asking.
        #[arg(short = 'y', long)]
        yes: bool,
    },
    /// Put one away: lists leave it out, its background work still wakes it.
    Archive {
        /// Which.
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Take an archived one back.
    Unarchive {
        /// Which.
        #[arg(value_name = "ID")]
        id: String,
    },
}

/// `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Where the files are.
    Path,
    /// What is in effect.
    Get {
        /// A dotted key; none: all.
        #[arg(value_name = "KEY")]
        key: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Whether the files are right.
    Check,
}

/// `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `approvals`.
#[derive(Debug, Subcommand)]
pub(crate) enum Approvals {
    /// What would become of a command.
    Check {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// The command.
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
