//! What belongs to a session besides its rows, and the session as lists show it.

use serde::{Deserialize, Serialize};

use crate::id::{Millis, SessionId, TurnId};
use crate::turn::{Source, Tokens};

/// A goal that the agent works on turn by turn (S08).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goal {
    /// The goal, as the user worded it.
    pub text: String,
    /// Its state.
    pub state: GoalState,
    /// Turns that worked on it.
    pub turns: u32,
    /// The number of turns after which it pauses.
    pub max_turns: u32,
    /// The result of the last check, in one line.
    pub verdict: Option<String>,
}

/// The state of a goal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", content = "why", rename_all = "snake_case")]
pub enum GoalState {
    /// The agent works on it, turn after turn.
    Active,
    /// It waits for the user; the reason.
    Paused(String),
    /// Reached.
    Done,
}

/// A file attached to a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// Where the host keeps it.
    pub path: String,
    /// Its media type.
    pub mime: String,
    /// Its size in bytes.
    pub size: u64,
}

/// How full the model's context is (S01).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauge {
    /// Prompt tokens of the last request; unknown before the first.
    pub used: Option<u64>,
    /// Context length in tokens, if known.
    pub length: Option<u64>,
}

/// Whether what happens is being stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// Yes.
    #[default]
    Ok,
    /// No: the session goes on in memory. The text says why.
    Failing(String),
}

/// A session that matches a search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The session.
    pub session: SessionId,
    /// Its title, or the beginning of its first prompt.
    pub title: String,
    /// The text around the first match, if it is in the messages.
    pub excerpt: Option<String>,
}

/// The kind of input that a pending question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// An approval.
    Approval,
    /// An answer.
    Clarify,
}

/// A line of the session list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Its title, or the beginning of its first prompt.
    pub title: String,
    /// When it began.
    pub started_at: Millis,
    /// When it was last written to.
    pub active_at: Millis,
    /// How many rows it has.
    pub rows: u64,
    /// The model it uses.
    pub model: String,
    /// What opened it: `cli`, `tui`, `oneshot`.
    pub source: String,
    /// Its working directory.
    pub cwd: String,
    /// The session it was branched from or that delegated it.
    #[serde(default)]
    pub parent: Option<SessionId>,
    /// The number of times its context was compressed (S03).
    #[serde(default)]
    pub compressions: u32,
    /// Omitted from lists by default; still woken (W19).
    #[serde(default)]
    pub archived: bool,
    /// Pinned to the top of lists.
    #[serde(default)]
    pub pinned: bool,
    /// A turn is running in it.
    #[serde(default)]
    pub running: bool,
    /// The kind of its oldest pending question, and how many are pending.
    #[serde(default)]
    pub attention: Option<(Attention, u32)>,
    /// The token counts of all its requests.
    #[serde(default)]
    pub tokens: Tokens,
    /// The toolsets available to its turns; `None` = all.
    #[serde(default)]
    pub toolsets: Option<Vec<String>>,
    /// Its running turn.
    #[serde(default)]
    pub turn: Option<ListedTurn>,
}

/// A running turn, as lists show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedTurn {
    /// Which one.
    pub turn: TurnId,
    /// Why it runs.
    pub source: Source,
    /// When it started.
    pub started_at: Millis,
    /// The user asked to interrupt it.
    pub cancelling: bool,
}
