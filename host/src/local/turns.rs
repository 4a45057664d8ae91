//! Turns as tasks: starting one, hearing it, and noticing its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError};

use super::hub::{Hub, Inbox, Task};
use super::now;
use super::outbox::{Live, Waiting};
use crate::compress;
use crate::model::catalog;
use crate::session::{Ack, Caller, Input, LIVE, Plan, Reply, Say, UNWIND};
use crate::turn::{self, Job, Spoken, Voice};
use protocol::{Outcome, Row, SessionId};

/// What a spawn beyond the limit hears when the processes are other sessions'.
const TOO_MANY: &str = "The host runs 64 background processes already, in all its sessions \
                        together. Wait for one of yours to end, or kill it.";
/// What a delegation hears whose session would not be a new one.
const TAKEN: &str = "the id of its session is in use; try again";

impl Hub {
    pub(super) fn start_turn(&mut self, id: &SessionId, plan: Plan) {
        let model = match self.model(&plan.model) {
            Ok(model) => model,
            Err(message) => {
                let outcome = Outcome::Failed { class: "model".to_owned() };
                let say = Say::Ended { outcome, failure: Some(message) };
                self.feed(id, Input::Said { turn: plan.turn, ack: Ack(0), say });
                return;
            }
        };
        let rows = self.context(id);
        let compression = self.compression(id);
        let Some(live) = self.sessions.get_mut(id) else { return };
        let turn = plan.turn;
        let max_requests = match plan.caller {
            Caller::Attended | Caller::Stateless => self.settings.agent.max_turns,
            Caller::Delegated => self.settings.delegation.max_iterations,
        };
        let (alive, gone) = mpsc::channel(1);
        let voice = Voice { session: id.clone(), turn, spoken: self.spoken.clone() };
        let job = Job {
            plan,
            voice,
            model,
            system: live.session.meta().system.clone(),
            rows,
            kit: self.kit.clone(),
            alive,
            max_requests,
            compression,
        };
        let handle = self.turns.spawn(turn::run(job));
        self.turn_of.insert(handle.id(), Task { session: id.clone(), turn, gone });
        live.turn = Some((turn, handle));
    }

    /// What a turn of the session may compress by.
    fn compression(&self, id: &SessionId) -> compress::Limits {
        let rules = self.settings.compression;
        let Some(live) = self.sessions.get(id) else { return compress::Limits::default() };
        let meta = live.session.meta();
        let model = catalog::select(&self.settings.model, &meta.model);
        let failed = meta.compression_failed_at.map_or(i64::MAX, |at| (now() - at).max(0));
        compress::Limits {
            rules,
            max_tokens: model.ok().and_then(|m| m.max_tokens).unwrap_or(0).into(),
            poor: meta.poor_compressions,
            rest: compress::COOL_DOWN.saturating_sub(Duration::from_millis(failed as u64)),
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
    pub(super) fn heard(&mut self, spoken: Spoken) {
        let Spoken { session, turn, say, reply } = spoken;
        if !self.sessions.contains_key(&session) {
            return;
        }
        let spawns = match &say {
            Say::Spawn(_) if self.is_full_elsewhere(&session) => {
                if let Some(reply) = reply {
                    reply.send(Reply::Refused(TOO_MANY.to_owned())).ok();
                }
                return;
            }
            Say::Delegate { process, .. } if self.is_taken(process) => {
                if let Some(reply) = reply {
                    reply.send(Reply::Refused(TAKEN.to_owned())).ok();
                }
                return;
            }
            Say::Spawn(process) | Say::Delegate { process, .. } => {
                self.owners.insert(process.id.clone(), session.clone());
                Some(process.id.clone())
            }
            Say::Delta { .. }
            | Say::Status(_)
            | Say::Answered { .. }
            | Say::CallStarted(_)
            | Say::CallOutput { .. }
            | Say::Result(_)
            | Say::Ask { .. }
            | Say::Running { .. }
            | Say::FailedStart { .. }
            | Say::AwaitEnd(_)
            | Say::Compressed(_)
            | Say::NotCompressed { .. }
            | Say::Judged { .. }
            | Say::NotJudged(_)
            | Say::Used(_)
            | Say::Processes
            | Say::Awaiting(_)
            | Say::Killing(_)
            | Say::Ended { .. } => None,
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
        self.feed(&session, Input::Said { turn, ack, say });
    }

    /// Takes in what turns had said when they were stopped, so that a result or an end that was
    /// reached is not lost. Nobody waits for the replies any more.
    pub(super) fn last_words(&mut self, inbox: &mut Inbox) {
        while let Ok(Spoken { session, turn, say, .. }) = inbox.spoken.try_recv() {
            match say {
                Say::Delta { .. }
                | Say::Answered { .. }
                | Say::Result(_)
                | Say::Running { .. }
                | Say::FailedStart { .. }
                | Say::Used(_)
                | Say::Killing(_)
                | Say::Ended { .. } => {
                    self.feed(&session, Input::Said { turn, ack: Ack(0), say });
                }
                // What is only asked for does not begin any more.
                Say::Status(_)
                | Say::CallStarted(_)
                | Say::CallOutput { .. }
                | Say::Ask { .. }
                | Say::Spawn(_)
                | Say::Delegate { .. }
                | Say::AwaitEnd(_)
                | Say::Compressed(_)
                | Say::NotCompressed { .. }
                | Say::Judged { .. }
                | Say::NotJudged(_)
                | Say::Processes
                | Say::Awaiting(_) => {}
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
            let voice = Voice { session: session.clone(), turn, spoken: self.spoken.clone() };
            tokio::spawn(async move {
                if tokio::time::timeout(unwind, gone.recv()).await.is_err() {
                    tracing::warn!(session = %voice.session, "a turn did not unwind in time");
                }
                voice.say(Say::Ended { outcome, failure });
            });
        }
        self.unload_if_unused(&session);
    }
}
