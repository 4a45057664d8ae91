//! Background and foreground commands, each under a supervisor that outlives the host.
//!
//! [`Processes`] is the host's handle on all of them; [`supervise`] is the other side, run by a
//! hidden subcommand of the binary. Between them are a directory per process (lock, exit record,
//! output) and a socket. This module knows commands and exits, not sessions, ledgers or tools.
//! Unix only.

mod directory;
mod launch;
mod monitor;
mod output;
mod registry;
mod scan;
mod supervisor;
mod tree;
mod wire;

use std::path::PathBuf;

pub use output::{Chunk, Output, Page, Text};
pub use registry::Processes;
pub use supervisor::supervise;

use protocol::{Exit, ProcessId};

/// A command to run, completely: nothing is taken from the host's own environment.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its id, also the name of its directory.
    pub id: ProcessId,
    /// The command line, for `shell -c`.
    pub command: String,
    /// The shell that runs it.
    pub shell: PathBuf,
    /// Where it runs; must exist.
    pub cwd: PathBuf,
    /// The child's complete environment.
    pub env: Vec<(String, String)>,
    /// Runs in a pseudo-terminal of 30 rows and 120 columns.
    pub pty: bool,
    /// Whether it outlives the host.
    pub kind: Kind,
    /// Patterns to look for in its output.
    pub watch: Watch,
}

/// The patterns that the output of a background process is scanned for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Plain texts of which a line must contain one; none = the output is not scanned.
    pub patterns: Vec<String>,
    /// Bytes of output that an earlier host has scanned.
    pub offset: u64,
}

/// Whether a command outlives the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs on without the host; its standard input is open; its end is reported.
    Background,
    /// Its tree is killed when the host's connection ends; nothing is reported.
    Foreground,
}

/// Lines of a watched process that contain one of its patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchHit {
    /// The pattern that the first of them contains.
    pub pattern: String,
    /// The lines, plain and redacted; at most 20 of them and 2 000 characters.
    pub text: String,
    /// How many lines matched.
    pub lines: u64,
    /// Bytes of output scanned, these lines included.
    pub upto: u64,
    /// When they were seen; just before the end if they were seen with it.
    pub at: protocol::Millis,
}

/// An event of a background process. Matches of its output are reported before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It has ended; reported once per host run.
    Exited {
        /// Which process.
        id: ProcessId,
        /// How it ended.
        exit: Exit,
    },
    /// It printed lines that contain a pattern; never reported after its end.
    Matched {
        /// Which process.
        id: ProcessId,
        /// The lines.
        hit: WatchHit,
    },
}

/// The result of adopting a process that an earlier host spawned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// It runs and is adopted; its end comes as a [`Notice::Exited`].
    Running {
        /// Process id of the direct child, if known.
        pid: Option<u32>,
    },
    /// It ended (or never started); no [`Notice`] follows, and its last matches have been sent.
    Ended(Exit),
    /// Its supervisor is gone without a record; no [`Notice`] follows, as for an end.
    Lost {
        /// An exit of kind lost.
        exit: Exit,
        /// The child, if it is still alive: it can be killed, its output and exit code are lost.
        child: Option<u32>,
    },
}

/// Why a command did not start. The exit is recorded as a failed start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// The id is in use.
    #[error("process id {0} is already in use")]
    InUse(ProcessId),
    /// Nothing was started: the directory of processes is not writable, or the system refuses
    /// another process.
    #[error("cannot start a supervisor: {0}")]
    Launch(String),
    /// The supervisor ended before it reported that the command runs.
    #[error("cannot start a supervisor: {0}")]
    Supervisor(String),
    /// The supervisor could not start the command.
    #[error("cannot start the command: {0}")]
    Command(String),
}

/// Why standard input could not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No such process.
    #[error("no such process")]
    Unknown,
    /// It has ended.
    #[error("the process has ended")]
    Ended,
    /// More than 1 MB at once.
    #[error("too much input at once; write at most 1 MB")]
    TooLarge,
    /// The supervisor refused, and why.
    #[error("{0}")]
    Refused(String),
    /// The supervisor does not answer.
    #[error("the supervisor of the process cannot be reached")]
    Unreachable,
}
