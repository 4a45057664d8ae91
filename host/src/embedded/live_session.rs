//! A session in memory: the session itself and what the loop keeps beside it. Not the table of all
//! of them ([`super::sessions`]).

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::inbox;
use super::outbox::Outbox;
use crate::session::{Ack, Reply, Session};
use crate::store::Lock;
use protocol::{Event, ProcessId, Question, Row, Transcript, TurnId};

/// A session in memory.
pub(super) struct LiveSession {
    pub(super) session: Session,
    pub(super) outbox: Outbox,
    /// The pending questions that have been published: only these may be in the inbox.
    pub(super) published_questions: Vec<Question>,
    /// The rows that the model's context is made of, whole; loaded with the first turn.
    pub(super) context: Option<Vec<Arc<Row>>>,
    /// The running turn and the handle that aborts its task.
    pub(super) turn: Option<(TurnId, AbortHandle)>,
    pub(super) replies: PendingReplies,
    /// The right to write the session; `None` before its first prompt, and where no lock file can
    /// be created.
    pub(super) lease: Option<Lock>,
    /// The parts of it that could not be read, one line each.
    pub(super) damage: Vec<String>,
}

/// The replies that running turns wait for.
#[derive(Default)]
pub(super) struct PendingReplies {
    waiting: HashMap<Ack, PendingReply>,
    last: u64,
}

/// A reply that a turn waits for.
pub(super) struct PendingReply {
    pub(super) turn: TurnId,
    pub(super) reply: oneshot::Sender<Reply>,
    /// The process that may be spawned only if the reply is backed by a stored record.
    pub(super) spawns: Option<ProcessId>,
}

impl PendingReplies {
    /// Keeps a reply until it is taken by the returned number.
    pub(super) fn insert(&mut self, pending: PendingReply) -> Ack {
        self.last += 1;
        self.waiting.insert(Ack(self.last), pending);
        Ack(self.last)
    }

    pub(super) fn take(&mut self, ack: Ack) -> Option<PendingReply> {
        self.waiting.remove(&ack)
    }
}

impl LiveSession {
    pub(super) fn new(session: Session) -> Self {
        Self {
            published_questions: session.transcript().questions.clone(),
            session,
            outbox: Outbox::default(),
            context: None,
            turn: None,
            replies: PendingReplies::default(),
            lease: None,
            damage: Vec::new(),
        }
    }

    pub(super) fn transcript(&self) -> &Transcript {
        self.session.transcript()
    }

    /// Whether it has nothing to do and nothing to write: no turn runs and none can start by
    /// itself.
    pub(super) fn is_at_rest(&self) -> bool {
        self.turn.is_none() && self.outbox.is_empty() && self.session.is_at_rest()
    }

    /// Aborts the task of that turn, if it is the one that runs.
    pub(super) fn abort_turn(&self, turn: TurnId) {
        if let Some((running, handle)) = &self.turn
            && *running == turn
        {
            handle.abort();
        }
    }

    /// Notes that the task of a turn has ended.
    pub(super) fn clear_turn(&mut self, turn: TurnId) {
        if self.turn.as_ref().is_some_and(|(running, _)| *running == turn) {
            self.turn = None;
        }
    }

    /// Brings what is kept beside the session up to date with an event that is published now.
    pub(super) fn apply(&mut self, event: &Event) {
        inbox::apply(&mut self.published_questions, event);
        let Some(context) = &mut self.context else { return };
        if let Event::RowsRemoved { after } = event {
            context.retain(|row| row.n <= *after);
        } else if let Event::RowAdded { row } = event
            && context.last().is_none_or(|last| last.n < row.n)
        {
            context.push(Arc::new(row.clone()));
        }
    }
}
