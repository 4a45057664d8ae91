//! Effects on their way out. Nothing but streamed text leaves before the commit it rests on: a
//! session's effects wait in its outbox, in order, until the store reports their commit number.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::hub::{FLUSH, Hub};
use super::now;
use crate::protocol::{End, Event, Exit, Outcome, ProcessId, Row, SessionId, Source, TurnId};
use crate::session::{Ack, Effect, Input, Plan, Reply, Say, Session};
use crate::store::{CommitNo, Durability, Lock, Record, Report};

/// A session in memory.
pub(super) struct Live {
    pub(super) session: Session,
    /// What waits for its commit.
    outbox: VecDeque<(CommitNo, Effect)>,
    /// Journal entries that wait for the next write.
    journal: Vec<Record>,
    /// The model's context, loaded with the first turn.
    pub(super) context: Option<Vec<Arc<Row>>>,
    pub(super) turn: Option<(TurnId, AbortHandle)>,
    pub(super) acks: HashMap<Ack, Waiting>,
    pub(super) next_ack: u64,
    pub(super) lease: Option<Lock>,
}

/// A turn that waits for a reply.
pub(super) struct Waiting {
    pub(super) reply: oneshot::Sender<Reply>,
    /// The process whose spawn must not happen unless it is written down.
    pub(super) spawns: Option<ProcessId>,
}

impl Live {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            outbox: VecDeque::new(),
            journal: Vec::new(),
            context: None,
            turn: None,
            acks: HashMap::new(),
            next_ack: 1,
            lease: None,
        }
    }

    /// Nothing of it may happen by itself any more.
    pub(super) fn is_at_rest(&self) -> bool {
        self.outbox.is_empty() && self.journal.is_empty() && self.session.is_at_rest()
    }
}

impl Hub {
    /// Writes the records of a batch in one commit and queues the other effects behind it.
    pub(super) fn carry_out(&mut self, id: &SessionId, effects: Vec<Effect>) {
        let Some(live) = self.sessions.get_mut(id) else { return };
        let mut records = Vec::new();
        let mut rest = Vec::new();
        let mut barrier = false;
        for effect in effects {
            match effect {
                Effect::Record(record) => {
                    barrier |= !matches!(record, Record::Delta { .. });
                    records.push(record);
                }
                other => rest.push(other),
            }
        }
        let commit = if barrier {
            let mut batch = std::mem::take(&mut live.journal);
            batch.append(&mut records);
            Some(self.store.write(batch, Durability::Barrier))
        } else {
            if !records.is_empty() {
                live.journal.append(&mut records);
                self.flush_at.get_or_insert(Instant::now() + FLUSH);
            }
            live.outbox.back().map(|(no, _)| *no)
        };
        match commit {
            Some(no) => live.outbox.extend(rest.into_iter().map(|e| (no, e))),
            None => {
                for effect in rest {
                    self.perform(id, effect);
                }
            }
        }
    }

    /// Everything up to that commit is stored: its effects may leave.
    pub(super) fn release(&mut self, upto: CommitNo) {
        self.drain(upto, Self::perform);
    }

    /// Everything up to that number could not be stored. User turns go on in memory; what rests
    /// on its record does not happen.
    pub(super) fn release_unwritten(&mut self, upto: CommitNo) {
        self.drain(upto, Self::perform_unwritten);
    }

    fn drain(&mut self, upto: CommitNo, perform: fn(&mut Self, &SessionId, Effect)) {
        let ready: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, l)| l.outbox.front().is_some_and(|(no, _)| *no <= upto))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ready {
            while let Some(live) = self.sessions.get_mut(&id)
                && live.outbox.front().is_some_and(|(no, _)| *no <= upto)
                && let Some((_, effect)) = live.outbox.pop_front()
            {
                perform(self, &id, effect);
            }
            self.unload_if_unused(&id);
        }
    }

    fn perform(&mut self, id: &SessionId, effect: Effect) {
        match effect {
            // Records were split off before.
            Effect::Record(_) => {}
            Effect::Publish(event) => self.publish(id, event),
            Effect::Announce(event) => self.announce(&event),
            Effect::Start(plan) => self.start_turn(id, plan),
            Effect::Stop(turn) => {
                if let Some(live) = self.sessions.get(id)
                    && let Some((running, handle)) = &live.turn
                    && *running == turn
                {
                    handle.abort();
                }
            }
            Effect::Reply { ack, reply } => {
                if let Some(waiting) = self.sessions.get_mut(id).and_then(|l| l.acks.remove(&ack)) {
                    waiting.reply.send(reply).ok();
                }
            }
            Effect::Kill(process) => {
                let processes = self.processes.clone();
                tokio::spawn(async move { processes.kill(&process).await });
            }
            Effect::Acknowledge(process) => self.processes.acknowledge(&process),
            Effect::Grant(rule) => {
                self.always.insert(rule.clone());
                for other in self.sessions.keys().cloned().collect::<Vec<_>>() {
                    self.feed(&other, Input::Granted(rule.clone()));
                }
            }
        }
    }

    fn perform_unwritten(&mut self, id: &SessionId, effect: Effect) {
        match effect {
            Effect::Start(Plan { turn, source: Source::Wakeup, .. }) => {
                let outcome = Outcome::Failed { class: "store".to_owned() };
                let failure = Some("The wakeup could not be written down.".to_owned());
                let say = Say::Ended { outcome, failure };
                self.feed(id, Input::Said { turn, ack: Ack(0), say });
            }
            Effect::Reply { ack, reply: Reply::Go } => {
                let Some(waiting) = self.sessions.get_mut(id).and_then(|l| l.acks.remove(&ack))
                else {
                    return;
                };
                let Some(process) = waiting.spawns else {
                    waiting.reply.send(Reply::Go).ok();
                    return;
                };
                let text = "background processes need a working store, and it fails; run the \
                            command in the foreground instead";
                waiting.reply.send(Reply::Refused(text.to_owned())).ok();
                let exit = Exit { end: End::FailedStart, code: None, signal: None, at: now() };
                self.feed(id, Input::Exited { process, exit, output: String::new() });
            }
            // The signal rests on the record of who asked for it.
            Effect::Kill(process) => tracing::warn!(%process, "killed without a record"),
            Effect::Acknowledge(_) | Effect::Grant(_) => {}
            other @ (Effect::Record(_)
            | Effect::Publish(_)
            | Effect::Announce(_)
            | Effect::Start(_)
            | Effect::Stop(_)
            | Effect::Reply { .. }) => self.perform(id, other),
        }
    }

    fn publish(&mut self, id: &SessionId, event: Event) {
        if let Some(live) = self.sessions.get_mut(id)
            && let Event::RowAdded { row } = &event
            && let Some(context) = &mut live.context
            && context.last().is_none_or(|last| last.n < row.n)
        {
            context.push(Arc::new(row.clone()));
        }
        let viewers: Vec<_> =
            self.fronts.iter().filter(|(_, f)| f.session == *id).map(|(id, _)| *id).collect();
        for front in viewers {
            self.push(front, event.clone());
        }
    }

    /// Writes the journal entries that wait.
    pub(super) fn flush(&mut self) {
        self.flush_at = None;
        let records: Vec<Record> =
            self.sessions.values_mut().flat_map(|l| std::mem::take(&mut l.journal)).collect();
        if !records.is_empty() {
            self.store.write(records, Durability::Flush);
        }
    }

    /// Records running turns as interrupted and waits until everything is written.
    pub(super) async fn stop(mut self, reports: &mut mpsc::UnboundedReceiver<Report>) {
        for id in self.sessions.keys().cloned().collect::<Vec<_>>() {
            self.feed(&id, Input::Stop);
        }
        self.turns.shutdown().await;
        self.flush();
        let last = self.store.write(Vec::new(), Durability::Barrier);
        while let Some(report) = reports.recv().await {
            let (no, written) = match report {
                Report::Committed(no) | Report::Recovered(no) => (no, true),
                Report::Failing { upto, message } => {
                    tracing::error!("not everything could be written: {message}");
                    (upto, false)
                }
            };
            if written {
                self.release(no);
            }
            if no >= last || !written {
                break;
            }
        }
        if let Err(error) = self.store.clone().close() {
            tracing::error!("the store did not close: {error}");
        }
    }
}
