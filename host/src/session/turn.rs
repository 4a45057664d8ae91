//! The running turn, as far as the transcript does not show it.

use std::collections::BTreeSet;

use super::Ack;
use protocol::{Millis, ProcessId, Question, QuestionId, TurnId};

/// The purpose of a running turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To answer what the transcript ends with.
    Answer,
    /// The same, and how it ends decides whether work on the goal continues.
    Goal,
    /// To compress the context.
    Compress,
    /// To find out whether the goal is reached.
    Judge,
}

impl Purpose {
    /// Whether it answers nothing; such a turn is not stored.
    pub(super) fn is_internal(self) -> bool {
        match self {
            Self::Compress | Self::Judge => true,
            Self::Answer | Self::Goal => false,
        }
    }
}

/// A running turn.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) id: TurnId,
    pub(super) purpose: Purpose,
    /// When it is given up, if the user has interrupted it (W23).
    pub(super) give_up_at: Option<Millis>,
    /// What its requests are made with ([`super::Rules::fingerprint`]).
    pub(super) fingerprint: String,
    /// Processes whose end a running call will show.
    pub(super) awaited: BTreeSet<ProcessId>,
    /// Delegated tasks that end with the turn if it is cancelled: a call waits for them.
    pub(super) tasks: BTreeSet<ProcessId>,
    /// Calls that wait for the end of a delegated task.
    pub(super) end_waits: Vec<(ProcessId, Ack)>,
    /// Calls that wait for an answer of the user.
    pub(super) asking: Vec<(QuestionId, Ack)>,
    /// Answered questions of calls without a result: what the user has answered is not asked
    /// again, whatever happens to the host meanwhile.
    pub(super) answered: Vec<Question>,
    /// The user has chosen another directory meanwhile: the turn's commands move the session no
    /// more.
    pub(super) user_moved: bool,
    /// Since when it has been running in this host.
    pub(super) since: Millis,
    /// When to show again that it still works (R10).
    pub(super) note_at: Option<Millis>,
}

impl Turn {
    /// Whether the user has interrupted it.
    pub(super) fn is_cancelled(&self) -> bool {
        self.give_up_at.is_some()
    }
}
