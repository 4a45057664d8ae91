//! A background process as every party sees it.

use serde::{Deserialize, Serialize};

use crate::{Millis, ProcessId, SessionId, TurnId};

/// A background process, or a delegated task, and what became of it. `session` is its owner, fixed at spawn (W17).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub id: ProcessId,
    /// The session that spawned it.
    pub session: SessionId,
    /// The turn that spawned it.
    pub turn: TurnId,
    /// What kind of work it is.
    #[serde(default)]
    pub work: Work,
    /// The command line, as the agent gave it.
    pub command: String,
    /// Where it was started.
    pub cwd: String,
    /// Process id of the direct child, once known.
    pub pid: Option<u32>,
    /// When the spawn was written down.
    pub started_at: Millis,
    /// Running or how it ended.
    pub state: State,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
    /// Wake the agent at its end.
    pub notify: bool,
    /// Wake the agent at lines that contain one of these.
    pub watch: Vec<String>,
    /// How far the watch has come.
    #[serde(default)]
    pub watching: Watching,
    /// Runs in a pseudo-terminal.
    pub pty: bool,
    /// Who asked for its end; written down before the signal is sent (W08).
    #[serde(default)]
    pub killed_by: Option<Killer>,
    /// What became of its completion.
    pub delivery: Delivery,
}

/// What kind of work runs in the background.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Work {
    /// A command under a supervisor.
    #[default]
    Command,
    /// A task that another session of this host works on.
    Delegation {
        /// The session that works on it.
        session: SessionId,
    },
}

/// How far the watch of a process's output has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watching {
    /// Lines that matched so far, told or not.
    pub hits: u64,
    /// Matches that were made into ledger rows; the next one's ordinal.
    pub matches: u64,
    /// Matches that started no turn because they came too early (P05).
    pub stale: u64,
    /// Matching lines that were counted and not told since the last match (P03).
    pub suppressed: u64,
    /// Windows in a row in which lines were suppressed.
    pub strikes: u32,
    /// When the last match was told.
    pub told_at: Option<Millis>,
    /// Bytes of output that were looked at when this was written down.
    pub offset: u64,
    /// When the final answer of the turn that spawned it was written down (P05).
    pub since: Option<Millis>,
    /// Switched off because it matched too often (P03).
    pub off: bool,
}

/// The life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Written down; the child has not been seen yet.
    Starting,
    /// The child runs.
    Running,
    /// It has ended; [`Exit`] says how.
    Ended,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// What kind of end it was.
    pub end: End,
    /// Exit code; `None` = unknown or ended by a signal, never 0 in disguise (W12).
    pub code: Option<i32>,
    /// Number of the signal that ended it.
    pub signal: Option<i32>,
    /// When it ended (or when the loss was noticed).
    pub at: Millis,
}

/// Kinds of end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The child ended by itself, with a code or by a signal of somebody else.
    Exited,
    /// Ended by a kill that the agent or the user asked for.
    Killed,
    /// Its supervisor is gone; nobody knows how it ended.
    Lost,
    /// The child never ran.
    FailedStart,
}

/// Who asked for the end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Killer {
    /// The agent, with its `process` tool.
    Agent,
    /// The user.
    User,
}

/// What became of the completion of a process (the ledger's word for it).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "why")]
pub enum Delivery {
    /// Still running, or nobody asked to be woken.
    Open,
    /// Finished and waiting for its turn.
    Waiting,
    /// In a turn that the model has not answered yet.
    Claimed(TurnId),
    /// The model has answered to it.
    Delivered,
    /// The agent or the user had already seen or caused the end (W07 to W09).
    Consumed,
    /// Waits until somebody acts; the text says why.
    Held(String),
    /// The session it belonged to was deleted (W19).
    Orphaned,
}

impl Delivery {
    /// Whether the agent is still to be told, or is being told.
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

    /// The session that works on it, if it is a delegated task.
    pub fn worker(&self) -> Option<&SessionId> {
        match &self.work {
            Work::Delegation { session } => Some(session),
            Work::Command => None,
        }
    }

    /// Whether its output is looked at for patterns.
    pub fn is_watched(&self) -> bool {
        self.is_live() && !self.watch.is_empty() && !self.watching.off
    }

    /// Whether something of it may still wake the agent.
    pub fn may_wake(&self) -> bool {
        self.is_live() && (self.notify || self.is_watched())
    }
}
