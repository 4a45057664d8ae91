//! Effects on their way out. Nothing but streamed text leaves before the commit it rests on: a
//! session's effects wait in its outbox, in order, until the store reports their commit number.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::host_loop::{FLUSH, HostLoop, Inbox};
use super::{inbox, lists};
use crate::clock::now;
use crate::session::{Ack, Effect, Input, Reply, STORE, Session, TurnEvent, TurnKind, TurnPlan};
use crate::store::{CommitNo, Durability, Lock, Record, Report};
use protocol::ViewId;
use protocol::{
    End, Event, Exit, Outcome, ProcessId, Question, Row, SessionId, Source, Storage, TurnId,
};

#[cfg(test)]
mod tests;

/// How long a stop waits for processes to die: a polite request, its grace, and force.
const KILLS: Duration = Duration::from_secs(3);

/// A session in memory.
pub(super) struct Live {
    pub(super) session: Session,
    outbox: Outbox,
    /// The pending questions that were told: no other may stand in the inbox.
    pub(super) asked: Vec<Question>,
    /// The model's context, loaded with the first turn.
    pub(super) context: Option<Vec<Arc<Row>>>,
    pub(super) turn: Option<(TurnId, AbortHandle)>,
    pub(super) acks: HashMap<Ack, Waiting>,
    pub(super) next_ack: u64,
    pub(super) lease: Option<Lock>,
    /// What of it could not be read, a line each.
    pub(super) damage: Vec<String>,
}

/// What a session wants done and what holds it back: pure, so that it can be tried without a disk.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// What waits for its commit.
    queue: VecDeque<(CommitNo, Item)>,
    /// Journal entries that wait for the next write.
    journal: Vec<Record>,
    /// Processes whose end could not be stored yet: their supervisors may go when it is.
    withheld: Vec<ProcessId>,
}

/// An entry of an outbox.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all entries are effects")]
pub(crate) enum Item {
    Effect(Effect),
    /// A view's fresh window. It holds what the effects before it will publish, so the view gets
    /// it in their place.
    Window {
        front: ViewId,
        session: SessionId,
        event: Event,
    },
    /// A copy of the session was written for a view.
    Branch {
        front: ViewId,
        to: SessionId,
    },
}

impl Outbox {
    /// Nothing waits in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.journal.is_empty()
    }

    /// Whether journal entries wait for the next write.
    pub(crate) fn has_journal(&self) -> bool {
        !self.journal.is_empty()
    }

    /// Splits effects into the batch to write in one commit, if anything must be written before
    /// they leave, and the rest, which is handed to [`Outbox::put`] with that commit's number.
    /// Streamed text alone holds nothing back: it waits in the journal.
    pub(crate) fn split(&mut self, effects: Vec<Effect>) -> (Option<Vec<Record>>, Vec<Effect>) {
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
        self.journal.append(&mut records);
        (barrier.then(|| self.take_journal()), rest)
    }

    /// Queues effects behind their commit, or behind what waits already; gives back those that
    /// have nothing to wait for.
    #[must_use]
    pub(crate) fn put(&mut self, commit: Option<CommitNo>, effects: Vec<Effect>) -> Vec<Effect> {
        let Some(no) = commit.or_else(|| self.last()) else { return effects };
        self.queue.extend(effects.into_iter().map(|e| (no, Item::Effect(e))));
        Vec::new()
    }

    /// Queues a window behind what waits already; gives it back if nothing does.
    #[must_use]
    pub(crate) fn put_window(
        &mut self,
        front: ViewId,
        session: SessionId,
        event: Event,
    ) -> Option<Event> {
        let Some(no) = self.last() else { return Some(event) };
        self.queue.push_back((no, Item::Window { front, session, event }));
        None
    }

    /// Queues the word that a copy of the session was written, behind its commit.
    pub(crate) fn put_branch(&mut self, commit: CommitNo, front: ViewId, to: SessionId) {
        self.queue.push_back((commit, Item::Branch { front, to }));
    }

    /// The next entry that may leave when everything up to that commit is settled.
    pub(crate) fn next(&mut self, upto: CommitNo) -> Option<Item> {
        self.queue.pop_front_if(|(no, _)| *no <= upto).map(|(_, item)| item)
    }

    /// Whether [`Outbox::next`] has an entry.
    pub(crate) fn is_ready(&self, upto: CommitNo) -> bool {
        self.queue.front().is_some_and(|(no, _)| *no <= upto)
    }

    /// The journal entries that wait, to be written.
    pub(crate) fn take_journal(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.journal)
    }

    /// The end of a process rests on a record that could not be stored yet.
    pub(crate) fn withhold(&mut self, process: ProcessId) {
        self.withheld.push(process);
    }

    /// Processes whose end is stored now.
    pub(crate) fn take_withheld(&mut self) -> Vec<ProcessId> {
        std::mem::take(&mut self.withheld)
    }

    fn last(&self) -> Option<CommitNo> {
        self.queue.back().map(|(no, _)| *no)
    }
}

/// A turn that waits for a reply.
pub(super) struct Waiting {
    pub(super) turn: TurnId,
    pub(super) reply: oneshot::Sender<Reply>,
    /// The process whose spawn must not happen unless it is written down.
    pub(super) spawns: Option<ProcessId>,
}

impl Live {
    pub(super) fn new(session: Session) -> Self {
        Self {
            asked: session.transcript().questions.clone(),
            session,
            outbox: Outbox::default(),
            context: None,
            turn: None,
            acks: HashMap::new(),
            next_ack: 1,
            lease: None,
            damage: Vec::new(),
        }
    }

    /// Nothing of it may happen by itself any more.
    pub(super) fn is_at_rest(&self) -> bool {
        self.outbox.is_empty() && self.session.is_at_rest()
    }
}

impl HostLoop {
    /// Writes the records of a batch in one commit and queues the other effects behind it.
    pub(super) fn carry_out(&mut self, id: &SessionId, effects: Vec<Effect>) {
        let Some(live) = self.sessions.get_mut(id) else { return };
        let (batch, rest) = live.outbox.split(effects);
        if live.outbox.has_journal() {
            self.flush_at.get_or_insert(Instant::now() + FLUSH);
        }
        let commit = batch.map(|batch| self.store.write(batch, Durability::Barrier));
        for effect in live.outbox.put(commit, rest) {
            // What it rests on may be among the batches that could not be stored.
            if self.storage == Storage::Ok {
                self.perform(id, effect);
            } else {
                self.perform_unwritten(id, effect);
            }
        }
    }

    /// Gives a view a window on a session as it is now, once everything in it may be seen.
    pub(super) fn queue_window(&mut self, front: ViewId, session: &SessionId, event: Event) {
        let Some(live) = self.sessions.get_mut(session) else { return };
        match live.outbox.put_window(front, session.clone(), event) {
            Some(event) => self.open_window(front, session, event),
            None => {
                if let Some(view) = self.fronts.get_mut(front) {
                    view.awaits_window = true;
                }
            }
        }
    }

    /// Writes a copy of a session for a view, behind all that the session has said so far.
    pub(super) fn write_branch(
        &mut self,
        front: ViewId,
        from: &SessionId,
        to: SessionId,
        record: Record,
    ) {
        let Some(live) = self.sessions.get_mut(from) else { return };
        let mut batch = live.outbox.take_journal();
        batch.push(record);
        let no = self.store.write(batch, Durability::Barrier);
        live.outbox.put_branch(no, front, to);
    }

    /// A view that has gone on to another session meanwhile gets that one's window, not this.
    fn open_window(&mut self, front: ViewId, session: &SessionId, event: Event) {
        if let Some(view) = self.fronts.get_mut(front)
            && view.session() == session
        {
            view.awaits_window = false;
            // An emptied queue takes a window whatever its size.
            let _ = view.backend.push(event);
            self.tell_inbox_after_window(front);
        }
    }

    /// Everything up to that commit is stored: its effects may leave.
    pub(super) fn release(&mut self, upto: CommitNo) {
        self.drain(upto, Self::perform);
    }

    /// The store works again, and what it had kept back is stored: supervisors that stayed may go.
    pub(super) fn release_recovered(&mut self, upto: CommitNo) {
        self.release(upto);
        for id in self.sessions.keys().cloned().collect::<Vec<_>>() {
            let withheld = self.sessions.get_mut(&id).map(|live| live.outbox.take_withheld());
            for process in withheld.unwrap_or_default() {
                self.perform(&id, Effect::Acknowledge(process));
            }
        }
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
            .filter(|(_, l)| l.outbox.is_ready(upto))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ready {
            while let Some(live) = self.sessions.get_mut(&id)
                && let Some(item) = live.outbox.next(upto)
            {
                match item {
                    Item::Effect(effect) => perform(self, &id, effect),
                    Item::Window { front, session, event } => {
                        self.open_window(front, &session, event);
                    }
                    Item::Branch { front, to } => self.branched(front, &id, &to),
                }
            }
            self.unload_if_unused(&id);
        }
    }

    fn perform(&mut self, id: &SessionId, effect: Effect) {
        match effect {
            Effect::Publish(event) => self.publish(id, event),
            Effect::Announce(Event::SessionsChanged) => self.lists_changed(),
            Effect::Announce(event) => self.announce(&event),
            Effect::Start(plan) if !self.stopping => self.start_turn(id, plan),
            // A stopping host starts nothing; records were split off before.
            Effect::Start(_) | Effect::Record(_) => {}
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
            Effect::Kill(process) if let Some(worker) = self.worker(&process) => {
                self.abandon(id, &process, &worker);
            }
            Effect::Kill(process) => {
                let processes = self.processes.clone();
                while self.kills.try_join_next().is_some() {}
                self.kills.spawn(async move {
                    processes.kill(&process).await;
                });
            }
            Effect::Acknowledge(process) => match self.worker(&process) {
                Some(worker) => self.unused.push(worker),
                None => self.processes.acknowledge(&process),
            },
            Effect::Open(session) => self.take_up(id, &session),
            Effect::Report { parent, process, exit, text } => {
                self.tell(&parent, process, exit, text);
            }
            Effect::Forget => self.forget(id),
            Effect::Discard(files) => self.discard(files),
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
            Effect::Start(TurnPlan { turn, source, kind, .. })
                if source == Source::Wakeup || kind == TurnKind::Resume =>
            {
                let outcome = Outcome::Failed { class: STORE.to_owned() };
                let text = match kind {
                    // A start that is not counted could be repeated for ever (R03).
                    TurnKind::Resume => {
                        "That this turn goes on could not be written down, so it does not. What \
                         it had done is kept; send `continue` when the store works again."
                    }
                    TurnKind::Answer | TurnKind::Compress { .. } | TurnKind::Judge { .. } => {
                        "The wakeup could not be written down."
                    }
                };
                let event = TurnEvent::Ended { outcome, failure: Some(text.to_owned()) };
                self.feed(id, Input::TurnEvent { turn, ack: Ack(0), event });
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
                let text = "what runs in the background needs a working store, and it fails; do \
                            it in the foreground instead";
                waiting.reply.send(Reply::Refused(text.to_owned())).ok();
                let exit = Exit { end: End::FailedStart, code: None, signal: None, at: now() };
                let turn = waiting.turn;
                let event = TurnEvent::FailedStart { process, exit };
                self.feed(id, Input::TurnEvent { turn, ack: Ack(0), event });
            }
            Effect::Acknowledge(process) => {
                if let Some(live) = self.sessions.get_mut(id) {
                    live.outbox.withhold(process);
                }
            }
            // What is not written down is not taken up.
            Effect::Grant(_) | Effect::Open(_) => {}
            other @ (Effect::Record(_)
            | Effect::Publish(_)
            | Effect::Announce(_)
            | Effect::Start(_)
            | Effect::Stop(_)
            | Effect::Kill(_)
            | Effect::Forget
            | Effect::Discard(_)
            | Effect::Report { .. }
            | Effect::Reply { .. }) => self.perform(id, other),
        }
    }

    fn publish(&mut self, id: &SessionId, event: Event) {
        if let Event::ProcessForgotten { id } = &event {
            self.owners.remove(id);
            self.processes.remove(id);
        }
        if let Some(context) = self.sessions.get_mut(id).and_then(|live| live.context.as_mut()) {
            if let Event::RowsRemoved { after } = &event {
                context.retain(|row| row.n <= *after);
            } else if let Event::RowAdded { row } = &event
                && context.last().is_none_or(|last| last.n < row.n)
            {
                context.push(Arc::new(row.clone()));
            }
        }
        if let Event::TurnEnded { at, .. } = &event {
            self.last_ended = Some(*at);
        }
        if lists::shows(&event) {
            if let Some(live) = self.sessions.get_mut(id) {
                inbox::note(&mut live.asked, &event);
            }
            self.lists_changed();
        }
        for front in self.fronts.of(id).to_vec() {
            if self.fronts.get(front).is_some_and(|view| !view.awaits_window) {
                self.push(front, event.clone());
            }
        }
    }

    /// Writes the journal entries that wait.
    pub(super) fn flush(&mut self) {
        self.flush_at = None;
        let records: Vec<Record> =
            self.sessions.values_mut().flat_map(|l| l.outbox.take_journal()).collect();
        if !records.is_empty() {
            self.store.write(records, Durability::Flush);
        }
    }

    /// Stops the running turns where they are and waits until everything is written.
    pub(super) async fn stop(mut self, inbox: &mut Inbox) {
        self.stopping = true;
        for id in self.sessions.keys().cloned().collect::<Vec<_>>() {
            self.feed(&id, if self.handing_over { Input::HandOver } else { Input::Stop });
        }
        let turns: Vec<_> = self.turn_of.drain().map(|(_, task)| task.gone).collect();
        self.turns.shutdown().await;
        self.last_words(inbox);
        self.flush();
        let last = self.store.write(Vec::new(), Durability::Barrier);
        while let Some(report) = inbox.reports.recv().await {
            let no = match report {
                Report::Committed(no) => {
                    self.release(no);
                    no
                }
                Report::Recovered(no) => {
                    self.release_recovered(no);
                    no
                }
                Report::Failing { upto, message } => {
                    tracing::error!("not everything could be written: {message}");
                    self.release_unwritten(upto);
                    upto
                }
            };
            if no >= last {
                break;
            }
        }
        let kills = std::mem::take(&mut self.kills);
        let commands = turns.into_iter().map(|mut gone| async move { gone.recv().await });
        let ends = futures::future::join(kills.join_all(), futures::future::join_all(commands));
        if tokio::time::timeout(KILLS, ends).await.is_err() {
            // It is written down: the next host repeats it.
            tracing::warn!("a process did not die before the host stopped");
        }
        if let Err(error) = self.store.clone().close() {
            tracing::error!("the store did not close: {error}");
        }
    }
}
