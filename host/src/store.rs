//! What is stored and how it is read back. SQL lives below this module only; everybody else
//! appends [`Record`]s and loads plain values.
//!
//! Invariant: records reach the database in the order they were written, and a batch is one
//! transaction: all of it or nothing.

mod apply;
mod backlog;
mod error;
mod lock;
#[cfg(test)]
pub(crate) mod memory;
mod probe;
mod projects;
mod reader;
mod salvage;
mod schema;
mod search;
#[cfg(test)]
mod tests;
mod value;
mod writer;

pub use backlog::{Hold, Underway};
pub use error::Error;
pub use lock::{Busy, Lock};
pub use probe::probe;
pub use reader::{Reader, StoredTurn};
pub use search::Hit;
pub use writer::{CommitNo, Durability, Report, Store};

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use protocol::{
    Attachment, Gauge, Goal, Millis, Outcome, Part, Process, ProcessId, PromptId, Question,
    QuestionId, Queued, Row, SessionId, Source, Tokens, TurnId, Wakeup, WakeupKind,
};

/// One thing to store.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A session came to be or its metadata changed (insert or replace by id).
    Session(Meta),
    /// A row joined a session.
    Row {
        /// The session.
        session: SessionId,
        /// The row, whole.
        row: Row,
    },
    /// A turn began.
    TurnStarted {
        /// The session.
        session: SessionId,
        /// The turn.
        turn: TurnId,
        /// Why it runs.
        source: Source,
        /// When.
        at: Millis,
    },
    /// A turn ended.
    TurnEnded {
        /// The session.
        session: SessionId,
        /// The turn.
        turn: TurnId,
        /// How.
        outcome: Outcome,
        /// When.
        at: Millis,
    },
    /// The model said something: one entry of the journal.
    Delta {
        /// The session.
        session: SessionId,
        /// The turn.
        turn: TurnId,
        /// The number of the delta in its turn, from 1.
        n: u64,
        /// What it is part of.
        part: Part,
        /// The text.
        text: String,
    },
    /// The block that was being streamed is a row now: the journal up to `n` is no longer needed
    /// to rebuild it (its numbered entries may be kept for cursors).
    Folded {
        /// The session.
        session: SessionId,
        /// The turn.
        turn: TurnId,
        /// The last delta of the block.
        n: u64,
    },
    /// A prompt waits.
    Queued {
        /// The session.
        session: SessionId,
        /// The prompt.
        prompt: Queued,
    },
    /// A waiting prompt left the queue.
    Unqueued {
        /// The session.
        session: SessionId,
        /// Which one.
        prompt: PromptId,
    },
    /// A background process was spawned or changed (insert or replace by id).
    Process(Process),
    /// A ledger row appeared or moved on (insert or replace by its key).
    Ledger(Entry),
    /// A question was asked, its clock started, or its answer came (insert or replace by id).
    Asked {
        /// The session.
        session: SessionId,
        /// The question.
        question: Question,
    },
    /// A question was withdrawn, or the result of its call holds the answer.
    Resolved {
        /// The session.
        session: SessionId,
        /// Which one.
        question: QuestionId,
    },
    /// An open turn is started again by itself after a restart (R03).
    Resumed {
        /// The session.
        session: SessionId,
        /// The turn.
        turn: TurnId,
        /// How often in a row without a new row, this time included.
        attempt: u32,
        /// The session's last row at that moment.
        row: u64,
    },
    /// The rows after that one were taken back. What they told and no model has answered may be
    /// told once more; the rest stays told.
    Undone {
        /// The session.
        session: SessionId,
        /// The last row that stays; 0 = none.
        after: u64,
    },
    /// A session came to be as a copy of another one.
    Branched {
        /// The session whose rows are copied.
        from: SessionId,
        /// The last row that is copied.
        upto: u64,
        /// The new session.
        meta: Meta,
    },
    /// A session was deleted with its rows, prompts and questions. What waited in its ledger is
    /// orphaned; its processes are kept as orphans while they may live (W19).
    Deleted {
        /// The session.
        session: SessionId,
    },
    /// A rule was granted for ever.
    Granted {
        /// Its id.
        rule: String,
    },
    /// Something about projects, which are no session's.
    Projects(ProjectChange),
}

/// A drawer that sessions can be filed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// How lists show it, as `#` and hex digits.
    pub color: Option<String>,
    /// When it was made.
    pub at: Millis,
}

/// What changes about projects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectChange {
    /// One came to be or is another now (insert or replace by id).
    Project(Project),
    /// One is gone; its sessions are in none from now on.
    Gone {
        /// Its id.
        project: String,
    },
    /// A session is in that one from now on; `None` = in none.
    Placed {
        /// The session.
        session: SessionId,
        /// The project.
        project: Option<String>,
    },
    /// Sessions that never came to be are in none: nothing was asked in them while they were new.
    Tidied,
}

impl Record {
    /// The session it belongs to, if it belongs to one.
    pub(crate) fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Session(meta) | Self::Branched { meta, .. } => Some(&meta.id),
            Self::Process(process) => Some(&process.session),
            Self::Ledger(entry) => Some(&entry.session),
            Self::Row { session, .. }
            | Self::TurnStarted { session, .. }
            | Self::TurnEnded { session, .. }
            | Self::Delta { session, .. }
            | Self::Folded { session, .. }
            | Self::Queued { session, .. }
            | Self::Unqueued { session, .. }
            | Self::Asked { session, .. }
            | Self::Resolved { session, .. }
            | Self::Resumed { session, .. }
            | Self::Undone { session, .. }
            | Self::Deleted { session } => Some(session),
            Self::Granted { .. } | Self::Projects(_) => None,
        }
    }
}

/// A session's metadata.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Its id.
    pub id: SessionId,
    /// The session it came from, if any.
    pub parent: Option<SessionId>,
    /// What opened it: `tui`, `cli` (one-shot runs).
    pub source: String,
    /// When it began.
    pub started_at: Millis,
    /// When it was last written to.
    pub active_at: Millis,
    /// Its title.
    pub title: Option<String>,
    /// The beginning of its first prompt, for lists.
    pub preview: String,
    /// The model of its next turn, as the user named it.
    pub model: String,
    /// The system prompt its turns use; built once.
    pub system: String,
    /// Where its commands run now.
    pub cwd: String,
    /// Variables its commands have exported; `None` = unset.
    pub env: BTreeMap<String, Option<String>>,
    /// How full the context was at the last request.
    pub gauge: Gauge,
    /// The agent's todo list, as the tool keeps it.
    pub todo: serde_json::Value,
    /// Rules granted for this session.
    pub grants: BTreeSet<String>,
    /// Lines that the next turn's context begins with (W09).
    pub notes: Vec<String>,
    /// Why its wakeups are held, if they are (W22).
    pub held: Option<String>,
    /// Wakeup turns since the last user turn (W31).
    pub wakeups_in_a_row: u32,
    /// Why wakeups wait for other credentials, if they do (W20).
    pub pause: Option<Pause>,
    /// When failed wakeups are tried again by themselves (W29).
    pub retry: Option<Retry>,
    /// Matches of processes spawned up to this turn start no turn any more: the user has begun
    /// anew since (P05).
    pub reset: TurnId,
    /// Processes whose end the open turn has seen by `poll`: it counts once that turn has ended
    /// normally, also in another host (W07).
    pub polled: BTreeSet<ProcessId>,
    /// The task it works on for another session, if it was delegated.
    pub task: Option<Task>,
    /// Lists leave it out (W19).
    pub archived: bool,
    /// Lists show it on top.
    pub pinned: bool,
    /// What it works on turn by turn (S08).
    pub goal: Option<Goal>,
    /// Files that go along with the next prompt.
    pub attachments: Vec<Attachment>,
    /// How hard its model thinks; `None` = as configured.
    pub reasoning: Option<String>,
    /// How often its context was compressed.
    pub compressions: u32,
    /// Compressions in a row that saved next to nothing; two switch the automatic off.
    pub poor_compressions: u32,
    /// When a compression failed last; the automatic waits for a while after it.
    pub compression_failed_at: Option<Millis>,
    /// The open turn that a host left for the next one on purpose: it goes on whatever its age,
    /// once (P10).
    pub handed_over: Option<TurnId>,
    /// The last prompts that it took, oldest first: one that is sent again is known, also after
    /// the session was away from memory.
    pub prompts: VecDeque<PromptId>,
    /// What its requests took, all together.
    pub tokens: Tokens,
    /// The toolsets that its turns have; `None` = all.
    pub toolsets: Option<Vec<String>>,
}

impl Meta {
    /// The metadata of a copy of this session that begins now: what it works with goes along; what
    /// was granted to the original, is held there or waits there stays there.
    pub(crate) fn branch(&self, now: Millis) -> Self {
        Self {
            parent: Some(self.id.clone()),
            source: self.source.clone(),
            started_at: now,
            active_at: now,
            preview: self.preview.clone(),
            model: self.model.clone(),
            reasoning: self.reasoning.clone(),
            system: self.system.clone(),
            cwd: self.cwd.clone(),
            env: self.env.clone(),
            gauge: self.gauge,
            todo: self.todo.clone(),
            compressions: self.compressions,
            toolsets: self.toolsets.clone(),
            ..Self::default()
        }
    }
}

/// Why wakeups of a session are paused (W20).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// One line for the user.
    pub reason: String,
    /// What was rejected: a digest of provider, address, model and key. Another one is worth a
    /// try.
    #[serde(rename = "lane")]
    pub fingerprint: String,
}

/// When failed wakeups are tried again (W29).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How many timed retries there were, the one to come included.
    pub attempt: u32,
    /// When it is due.
    pub at: Millis,
}

/// What a delegated session works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The session that delegated it.
    pub parent: SessionId,
    /// The entry in that session's list of processes.
    pub process: ProcessId,
}

/// One event of a background process on its way into the transcript.
/// Its key is (process, kind, ordinal) (P01).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The owner, fixed at spawn (W17).
    pub session: SessionId,
    /// The process.
    pub process: ProcessId,
    /// What happened.
    pub kind: WakeupKind,
    /// Distinguishes several events of one kind.
    pub ordinal: u64,
    /// How far it has come.
    pub state: Stage,
    /// What the agent is told; absent before the event.
    pub wakeup: Option<Wakeup>,
    /// The transcript row that tells it, once claimed. At most one for ever.
    pub row: Option<u64>,
    /// When the event happened.
    pub at: Millis,
}

/// How far a ledger row has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage", content = "of")]
pub enum Stage {
    /// The process was written down (W27); the event may come.
    Spawned,
    /// It happened and waits for a turn.
    Finished,
    /// A turn carries it.
    Claimed(TurnId),
    /// The model has answered to it.
    Delivered(TurnId),
    /// The agent or the user had already seen or caused it.
    Consumed,
    /// Waits until somebody acts, with the reason.
    Held(String),
    /// A match that came too early to start a turn; kept for the list only (P05).
    Stale,
    /// Its session was deleted (W19).
    Orphaned,
}

impl Stage {
    /// Whether nothing will happen to it any more.
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Delivered(_) | Self::Consumed | Self::Stale | Self::Orphaned => true,
            Self::Spawned | Self::Finished | Self::Claimed(_) | Self::Held(_) => false,
        }
    }
}

/// A session as it is read back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// Its metadata.
    pub meta: Meta,
    /// Its last rows, oldest first; texts beyond 64 kB hold their tail (`Row::cut`).
    pub rows: Vec<Row>,
    /// How many rows are older.
    pub earlier: u64,
    /// The number of its last turn (0 = none yet).
    pub turns: TurnId,
    /// The turn that had not ended, if any.
    pub open: Option<OpenTurn>,
    /// Prompts that wait.
    pub queued: Vec<Queued>,
    /// Questions that wait, and answered ones whose call has no result yet.
    pub questions: Vec<Question>,
    /// Its processes that live or whose completion is not settled, and the last ten others.
    pub processes: Vec<Process>,
    /// Ledger rows that are not settled (`Spawned`, `Finished`, `Claimed`, `Held`).
    pub ledger: Vec<Entry>,
    /// What of all this could not be read, a line each for the user.
    pub damage: Vec<String>,
}

/// A turn that had not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenTurn {
    /// Which one.
    pub turn: TurnId,
    /// Why it ran.
    pub source: Source,
    /// Since when.
    pub started_at: Millis,
    /// The last journalled delta.
    pub n: u64,
    /// Journalled text that no row holds yet.
    pub text: String,
    /// Journalled reasoning that no row holds yet.
    pub reasoning: String,
    /// All rows of the turn, whole, oldest first (what R01 and R06 look at).
    pub rows: Vec<Row>,
    /// How often it was started again by itself without a new row since (R03).
    pub attempts: u32,
    /// The session's last row when it was started again last; 0 = never.
    pub resumed_row: u64,
}
