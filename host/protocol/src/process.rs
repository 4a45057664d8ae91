//! A background process, as the host, its store and every view see it.

use serde::{Deserialize, Serialize};

use crate::id::{Millis, ProcessId, SessionId, TurnId};

/// A background process or delegated task. Its owner, `session`, is fixed at spawn (W17).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub id: ProcessId,
    /// The session that spawned it.
    pub session: SessionId,
    /// The turn that spawned it.
    pub turn: TurnId,
    /// The kind of work.
    #[serde(default)]
    pub work: Work,
    /// The command line, as the agent gave it.
    pub command: String,
    /// Where it was started.
    pub cwd: String,
    /// Process id of the direct child, once known.
    pub pid: Option<u32>,
    /// When the spawn was stored.
    pub started_at: Millis,
    /// Its state.
    pub state: State,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
    /// Whether its end wakes the agent.
    pub notify: bool,
    /// Output lines that contain one of these patterns wake the agent.
    pub watch: Vec<String>,
    /// The progress of the watch.
    #[serde(default)]
    pub watching: Watching,
    /// Whether it runs in a pseudo-terminal.
    pub pty: bool,
    /// Who asked to kill it; stored before the signal is sent (W08).
    #[serde(default)]
    pub killed_by: Option<Killer>,
    /// The delivery state of its completion.
    pub delivery: Delivery,
}

/// The kind of work that runs in the background.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Work {
    /// A command under a supervisor.
    #[default]
    Command,
    /// A task delegated to another session of this host.
    Delegation {
        /// The session that works on it.
        session: SessionId,
    },
}

/// The progress of watching a process's output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watching {
    /// Lines that matched so far, delivered or not.
    pub hits: u64,
    /// Matches with a ledger row; the ordinal of the next one.
    pub matches: u64,
    /// Matches that started no turn because they came too early (P05).
    pub stale: u64,
    /// Matching lines that were suppressed since the last delivered match (P03).
    pub suppressed: u64,
    /// Consecutive windows in which lines were suppressed.
    pub strikes: u32,
    /// When the last match was delivered.
    pub told_at: Option<Millis>,
    /// The number of bytes of output scanned when this was stored.
    pub offset: u64,
    /// When the final answer of the turn that spawned it was stored (P05).
    pub since: Option<Millis>,
    /// Disabled because it matched too often (P03).
    pub off: bool,
}

/// The state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Stored; the child has not been seen yet.
    Starting,
    /// The child runs.
    Running,
    /// It has ended; [`Exit`] says how.
    Ended,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The kind of end.
    pub end: End,
    /// Exit code; `None` = unknown or ended by a signal, never 0 in disguise (W12).
    pub code: Option<i32>,
    /// Number of the signal that ended it.
    pub signal: Option<i32>,
    /// When it ended (or when the loss was noticed).
    pub at: Millis,
}

/// The ways a process can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The child ended by itself, or by a signal that the host did not send.
    Exited,
    /// Killed at the request of the agent or the user.
    Killed,
    /// Its supervisor is gone; how it ended is unknown.
    Lost,
    /// The child never ran.
    FailedStart,
}

/// Who asked to kill a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Killer {
    /// The agent, with its `process` tool.
    Agent,
    /// The user.
    User,
}

/// The delivery state of a completion, as in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "why")]
pub enum Delivery {
    /// Still running, or no wakeup was requested.
    Open,
    /// Finished; waits for a turn.
    Waiting,
    /// Carried by a turn that the model has not answered yet.
    Claimed(TurnId),
    /// The model has answered it.
    Delivered,
    /// The agent or the user had already seen or caused the end (W07 to W09).
    Consumed,
    /// Held until the user acts; the text says why.
    Held(String),
    /// The session it belonged to was deleted (W19).
    Orphaned,
}

impl Delivery {
    /// Whether its delivery is still to come or under way.
    pub fn is_pending(&self) -> bool {
        match self {
            Self::Waiting | Self::Claimed(_) | Self::Held(_) => true,
            Self::Open | Self::Delivered | Self::Consumed | Self::Orphaned => false,
        }
    }
}

impl Process {
    /// Whether the child may still run.
    pub fn is_live(&self) -> bool {
        self.state != State::Ended
    }

    /// The session that works on it, for a delegated task.
    pub fn worker(&self) -> Option<&SessionId> {
        match &self.work {
            Work::Delegation { session } => Some(session),
            Work::Command => None,
        }
    }

    /// Whether its output is scanned for patterns.
    pub fn is_watched(&self) -> bool {
        self.is_live() && !self.watch.is_empty() && !self.watching.off
    }

    /// Whether it may still wake the agent.
    pub fn may_wake(&self) -> bool {
        self.is_live() && (self.notify || self.is_watched())
    }
}
