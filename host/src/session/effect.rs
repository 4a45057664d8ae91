//! What a session wants done: records to store, events to publish, turns to start, replies.

use super::{Ack, Attendance, Shell};
use crate::store::Record;
use protocol::{
    Answer, Attachment, Event, Exit, Process, ProcessId, Row, SessionId, Source, TurnId,
};

/// Work for the host loop, in order. What follows a [`Effect::Record`] of the same batch waits for
/// its commit, except streamed deltas.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "effects are few and live for one batch")]
pub(crate) enum Effect {
    /// Store this, in the commit of this batch of effects.
    Record(Record),
    /// Send it to every view of the session.
    Publish(Event),
    /// Send it to every view of the host.
    Announce(Event),
    /// Start a turn.
    Start(TurnPlan),
    /// Drop the running turn; [`super::TurnEvent::Ended`] follows.
    Stop(TurnId),
    /// Answer a waiting turn.
    Reply { ack: Ack, reply: Reply },
    /// Kill a process.
    Kill(ProcessId),
    /// The end of a process is stored: its supervisor may go.
    Acknowledge(ProcessId),
    /// A rule was granted permanently: pass it to the approval policy.
    Grant(String),
    /// The session is deleted: it leaves memory, and its views move to another session.
    Forget,
    /// Files that were uploaded go with no prompt: remove them.
    Discard(Vec<Attachment>),
    /// A session was stored and has something to do: load it.
    Open(SessionId),
    /// A delegated task has ended: report it to the session that waits for it.
    Report { parent: SessionId, process: ProcessId, exit: Exit, text: String },
}

/// The reply to a waiting turn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// It is stored: go on.
    Go,
    /// The row as it was stored.
    Row(Row),
    /// The user's answer.
    Answer(Answer),
    /// The session's processes.
    Processes(Vec<Process>),
    /// How a delegated task ended; its result is in its session.
    Ended { exit: Exit },
    /// It must not be done; the text is for the model.
    Refused(String),
}

/// The work of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TurnKind {
    /// Answer what the transcript ends with.
    Answer,
    /// Resume where an earlier host stopped: calls of the last answer that have no result yet are
    /// run first.
    Resume,
    /// Compress the context, and nothing else.
    Compress { focus: Option<String> },
    /// Ask the model whether the goal is reached that so many turns have worked on, and nothing
    /// else.
    Judge { goal: String, turns: u32 },
}

/// The settings a turn runs with. User turns and wakeup turns differ in `source` only (W28).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TurnPlan {
    pub(crate) turn: TurnId,
    pub(crate) source: Source,
    pub(crate) attendance: Attendance,
    pub(crate) kind: TurnKind,
    /// Tokens of the session's last prompt, if known.
    pub(crate) used: Option<u64>,
    pub(crate) model: String,
    /// How hard the model thinks; `None` = as configured.
    pub(crate) reasoning: Option<String>,
    /// The toolsets it has; `None` = all.
    pub(crate) toolsets: Option<Vec<String>>,
    pub(crate) shell: Shell,
    pub(crate) todo: serde_json::Value,
}

/// The effects of one input, being collected.
#[derive(Debug, Default)]
pub(super) struct Effects {
    list: Vec<Effect>,
}

impl Effects {
    pub(super) fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }

    pub(super) fn record(&mut self, record: Record) {
        self.push(Effect::Record(record));
    }

    pub(super) fn reply(&mut self, ack: Ack, reply: Reply) {
        if ack != Ack(0) {
            self.push(Effect::Reply { ack, reply });
        }
    }

    pub(super) fn into_list(self) -> Vec<Effect> {
        self.list
    }
}
