//! Turns as tasks: starting one, hearing it, and noticing its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError};

use super::host_loop::{HostLoop, Inbox, Task};
use super::outbox::{Live, Waiting};
use crate::agent::compression;
use crate::agent::turn::{self, TurnContext};
use crate::clock::now;
use crate::model::catalog;
use crate::session::{Ack, Attendance, Input, LIVE, Reply, TurnEvent, TurnPlan, UNWIND};
use crate::turn_link::{TurnLink, TurnMessage};
use protocol::{Outcome, Row, SessionId};

/// What a spawn beyond the limit hears when the processes are other sessions'.
const TOO_MANY: &str = "The host runs 64 background processes already, in all its sessions \
                        together. Wait for one of yours to end, or kill it.";
/// What a delegation hears whose session would not be a new one.
const TAKEN: &str = "the id of its session is in use; try again";

impl HostLoop {
    pub(super) fn start_turn(&mut self, id: &SessionId, plan: TurnPlan) {
        let model = match self.model(&plan.model) {
            Ok(model) => model,
            Err(message) => {
                let outcome = Outcome::Failed { class: "model".to_owned() };
                let event = TurnEvent::Ended { outcome, failure: Some(message) };
                self.feed(id, Input::TurnEvent { turn: plan.turn, ack: Ack(0), event });
                return;
            }
        };
        let rows = self.context(id);
        let compression = self.compression(id);
        let Some(live) = self.sessions.get_mut(id) else { return };
        let turn = plan.turn;
        let max_requests = match plan.attendance {
            Attendance::Attended | Attendance::Stateless => self.settings.agent.max_turns,
            Attendance::Delegated => self.settings.delegation.max_iterations,
        };
        let (alive, gone) = mpsc::channel(1);
        let link = TurnLink { session: id.clone(), turn, messages: self.messages.clone() };
        let turn_context = TurnContext {
            plan,
            link,
            model,
            system: live.session.meta().system.clone(),
            rows,
            tools: self.tools.clone(),
            alive,
            max_requests,
            compression,
        };
        let handle = self.turns.spawn(turn::run(turn_context));
        self.turn_of.insert(handle.id(), Task { session: id.clone(), turn, gone });
        live.turn = Some((turn, handle));
    }

    /// What a turn of the session may compress by.
    fn compression(&self, id: &SessionId) -> compression::Limits {
        let rules = self.settings.compression;
        let Some(live) = self.sessions.get(id) else { return compression::Limits::default() };
        let meta = live.session.meta();
        let model = catalog::select(&self.settings.model, &meta.model);
        let failed = meta.compression_failed_at.map_or(i64::MAX, |at| (now() - at).max(0));
        compression::Limits {
            rules,
            max_tokens: model.ok().and_then(|m| m.max_tokens).unwrap_or(0).into(),
            poor: meta.poor_compressions,
            rest: compression::COOL_DOWN.saturating_sub(Duration::from_millis(failed as u64)),
        }
    }

    /// The session's rows, whole, for the model; read from the store with the first turn.
    pub(super) fn context(&mut self, id: &SessionId) -> Vec<Arc<Row>> {
        let Some(live) = self.sessions.get_mut(id) else { return Vec::new() };
        if let Some(context) = &live.context {
            return context.clone();
        }
        let window = &live.session.transcript().rows;
        let mut rows = self.reader.rows(id).unwrap_or_else(|error| {
            tracing::error!(session = %id, "the context is cut to the window: {error}");
            Vec::new()
        });
        // Rows that could not be written yet are in the window only.
        let stored = rows.last().map_or(0, |r| r.n);
        rows.extend(window.iter().filter(|r| r.n > stored).cloned());
        let context: Vec<_> = rows.into_iter().map(Arc::new).collect();
        live.context = Some(context.clone());
        context
    }

    /// A turn said something.
    pub(super) fn heard(&mut self, message: TurnMessage) {
        let TurnMessage { session, turn, event, reply } = message;
        if !self.sessions.contains_key(&session) {
            return;
        }
        let spawns = match &event {
            TurnEvent::Spawn(_) if self.is_full_elsewhere(&session) => {
                if let Some(reply) = reply {
                    reply.send(Reply::Refused(TOO_MANY.to_owned())).ok();
                }
                return;
            }
            TurnEvent::Delegate { process, .. } if self.is_taken(process) => {
                if let Some(reply) = reply {
                    reply.send(Reply::Refused(TAKEN.to_owned())).ok();
                }
                return;
            }
            TurnEvent::Spawn(process) | TurnEvent::Delegate { process, .. } => {
                self.owners.insert(process.id.clone(), session.clone());
                Some(process.id.clone())
            }
            TurnEvent::Delta { .. }
            | TurnEvent::Status { .. }
            | TurnEvent::Answered { .. }
            | TurnEvent::CallStarted(_)
            | TurnEvent::CallOutput { .. }
            | TurnEvent::Result(_)
            | TurnEvent::Ask { .. }
            | TurnEvent::Running { .. }
            | TurnEvent::FailedStart { .. }
            | TurnEvent::AwaitEnd(_)
            | TurnEvent::Compressed(_)
            | TurnEvent::NotCompressed { .. }
            | TurnEvent::Judged { .. }
            | TurnEvent::NotJudged(_)
            | TurnEvent::Used(_)
            | TurnEvent::Processes
            | TurnEvent::Awaiting(_)
            | TurnEvent::Killing(_)
            | TurnEvent::Ended { .. } => None,
        };
        let Some(live) = self.sessions.get_mut(&session) else { return };
        let ack = match reply {
            Some(reply) => {
                let ack = Ack(live.next_ack);
                live.next_ack += 1;
                live.acks.insert(ack, Waiting { turn, reply, spawns });
                ack
            }
            None => Ack(0),
        };
        self.feed(&session, Input::TurnEvent { turn, ack, event });
    }

    /// Takes in what turns had said when they were stopped, so that a result or an end that was
    /// reached is not lost. Nobody waits for the replies any more.
    pub(super) fn last_words(&mut self, inbox: &mut Inbox) {
        while let Ok(TurnMessage { session, turn, event, .. }) = inbox.messages.try_recv() {
            match event {
                TurnEvent::Delta { .. }
                | TurnEvent::Answered { .. }
                | TurnEvent::Result(_)
                | TurnEvent::Running { .. }
                | TurnEvent::FailedStart { .. }
                | TurnEvent::Used(_)
                | TurnEvent::Killing(_)
                | TurnEvent::Ended { .. } => {
                    self.feed(&session, Input::TurnEvent { turn, ack: Ack(0), event });
                }
                // What is only asked for does not begin any more.
                TurnEvent::Status { .. }
                | TurnEvent::CallStarted(_)
                | TurnEvent::CallOutput { .. }
                | TurnEvent::Ask { .. }
                | TurnEvent::Spawn(_)
                | TurnEvent::Delegate { .. }
                | TurnEvent::AwaitEnd(_)
                | TurnEvent::Compressed(_)
                | TurnEvent::NotCompressed { .. }
                | TurnEvent::Judged { .. }
                | TurnEvent::NotJudged(_)
                | TurnEvent::Processes
                | TurnEvent::Awaiting(_) => {}
            }
        }
    }

    /// Whether the host runs as many background processes as it may (P12).
    fn is_full_elsewhere(&self, session: &SessionId) -> bool {
        let live = |l: &Live| l.session.live_processes().count();
        // A session that is full by itself says so with the name of its oldest.
        self.sessions.get(session).map_or(0, live) < LIVE
            && self.sessions.values().map(live).sum::<usize>() >= LIVE
    }

    /// The task of a turn is over. One that was cut off could not say so itself.
    pub(super) fn joined(&mut self, joined: Result<(Id, ()), JoinError>) {
        let (task, end) = match joined {
            Ok((task, ())) => (task, None),
            Err(error) if error.is_cancelled() => (error.id(), Some((Outcome::Cancelled, None))),
            Err(error) => {
                tracing::error!("a turn broke: {error}");
                let outcome = Outcome::Failed { class: "bug".to_owned() };
                let text = "The turn broke because of a bug of the host; its log has more.";
                (error.id(), Some((outcome, Some(text.to_owned()))))
            }
        };
        let Some(Task { session, turn, mut gone }) = self.turn_of.remove(&task) else { return };
        if let Some(live) = self.sessions.get_mut(&session)
            && live.turn.as_ref().is_some_and(|(t, _)| *t == turn)
        {
            live.turn = None;
        }
        if let Some((outcome, failure)) = end {
            // Its commands are being killed: the turn is over when they are gone (R06), or after a
            // bounded time. The session bounds a cancelled one by itself, also one whose task
            // never comes to its end (W23).
            let unwind = Duration::from_millis(UNWIND.unsigned_abs());
            let link = TurnLink { session: session.clone(), turn, messages: self.messages.clone() };
            tokio::spawn(async move {
                if tokio::time::timeout(unwind, gone.recv()).await.is_err() {
                    tracing::warn!(session = %link.session, "a turn did not unwind in time");
                }
                link.report(TurnEvent::Ended { outcome, failure });
            });
        }
        self.unload_if_unused(&session);
    }
}
