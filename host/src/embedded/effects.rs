//! Feeding sessions and performing the effects that follow. Effects that rest on a commit wait in
//! the session's outbox until the store reports it.

use super::host_loop::HostLoop;
use super::outbox::Item;
use super::session_list::changes_list;
use crate::clock::now;
use crate::session::{Ack, Effect, Input, Reply, STORE, TurnEvent, TurnKind, TurnPlan};
use crate::store::CommitNo;
use protocol::{End, Event, Exit, Outcome, ProcessId, SessionId, Source, TurnId};

/// The turn that was to resume, and cannot.
const NOT_RESUMED: &str = "The turn was not resumed, because that could not be stored. What it \
                           had done is kept; send `continue` when the store works again.";
/// The turn that a wakeup was to start, and cannot.
const NOT_WOKEN: &str = "The wakeup could not be stored.";
/// Refusal of a background process, for the model.
const NOT_SPAWNED: &str = "what runs in the background needs a working store, and it fails; do it \
                           in the foreground instead";

impl HostLoop {
    /// Feeds one input to a session and applies its effects.
    pub(super) fn feed(&mut self, id: &SessionId, input: Input) {
        let Some(live) = self.sessions.get_mut(id) else { return };
        let effects = live.session.handle(input, now());
        self.apply_effects(id, effects);
    }

    /// Writes the records of a batch in one commit and queues the other effects behind it.
    pub(super) fn apply_effects(&mut self, id: &SessionId, effects: Vec<Effect>) {
        let Some(live) = self.sessions.get_mut(id) else { return };
        let (batch, rest) = live.outbox.split(effects);
        if live.outbox.has_journal() {
            self.store.schedule_flush();
        }
        let commit = batch.map(|batch| self.store.write(batch));
        for effect in live.outbox.put(commit, rest) {
            // The records it rests on may be among the batches that could not be stored.
            if self.store.is_ok() {
                self.perform(id, effect);
            } else {
                self.perform_unstored(id, effect);
            }
        }
    }

    /// Performs the effects that rest on a commit up to that one: it is stored.
    pub(super) fn release(&mut self, upto: CommitNo) {
        self.release_with(upto, Self::perform);
    }

    /// Performs the effects that rest on a commit up to that one, as far as they may happen without
    /// being stored: user turns continue in memory, what must survive a restart does not start.
    pub(super) fn release_unstored(&mut self, upto: CommitNo) {
        self.release_with(upto, Self::perform_unstored);
    }

    /// As [`HostLoop::release`], when the store works again: the supervisors of processes whose end
    /// could not be stored are released, too.
    pub(super) fn release_recovered(&mut self, upto: CommitNo) {
        self.release(upto);
        for id in self.sessions.ids() {
            let withheld = self.sessions.get_mut(&id).map(|live| live.outbox.take_withheld());
            for process in withheld.unwrap_or_default() {
                self.perform(&id, Effect::Acknowledge(process));
            }
        }
    }

    fn release_with(&mut self, upto: CommitNo, perform: fn(&mut Self, &SessionId, Effect)) {
        for id in self.sessions.ids_where(|live| live.outbox.is_ready(upto)) {
            while let Some(live) = self.sessions.get_mut(&id)
                && let Some(item) = live.outbox.next(upto)
            {
                match item {
                    Item::Effect(effect) => perform(self, &id, effect),
                    Item::Window { view, session, event } => {
                        self.deliver_window(view, &session, event);
                    }
                    Item::Branch { view, to } => self.handle_branch(view, &id, &to),
                }
            }
            self.unload_if_unused(&id);
        }
    }

    fn perform(&mut self, id: &SessionId, effect: Effect) {
        match effect {
            Effect::Publish(event) => self.publish(id, &event),
            Effect::Announce(Event::SessionsChanged) => self.lists_changed(),
            Effect::Announce(event) => self.announce(&event),
            Effect::Start(plan) if !self.shutdown.is_stopping() => self.start_turn(id, plan),
            // A stopping host starts nothing; records were split off before.
            Effect::Start(_) | Effect::Record(_) => {}
            Effect::Stop(turn) => {
                if let Some(live) = self.sessions.get(id) {
                    live.abort_turn(turn);
                }
            }
            Effect::Reply { ack, reply } => {
                if let Some(live) = self.sessions.get_mut(id)
                    && let Some(pending) = live.replies.take(ack)
                {
                    pending.reply.send(reply).ok();
                }
            }
            Effect::Kill(process) => match self.worker(&process) {
                Some(worker) => self.abandon(id, &process, &worker),
                None => self.processes.kill(process),
            },
            Effect::Acknowledge(process) => match self.worker(&process) {
                Some(worker) => self.sessions.mark_unused(&worker),
                None => self.processes.registry.acknowledge(&process),
            },
            Effect::Open(session) => self.start_stored(id, &session),
            Effect::Report { parent, process, exit, text } => {
                self.report_task(&parent, process, exit, text);
            }
            Effect::Forget => self.forget(id),
            Effect::Discard(files) => self.discard(files),
            Effect::Grant(rule) => self.grant(&rule),
        }
    }

    /// Performs an effect whose record could not be stored. A user turn continues; a turn that starts
    /// by itself, a background process and a permanent rule do not, since they could not be
    /// accounted for after a restart.
    fn perform_unstored(&mut self, id: &SessionId, effect: Effect) {
        match effect {
            Effect::Start(TurnPlan { turn, source, kind, .. })
                if source == Source::Wakeup || kind == TurnKind::Resume =>
            {
                let text = match kind {
                    // A start that is not counted could be repeated endlessly (R03).
                    TurnKind::Resume => NOT_RESUMED,
                    TurnKind::Answer | TurnKind::Compress { .. } | TurnKind::Judge { .. } => {
                        NOT_WOKEN
                    }
                };
                let outcome = Outcome::Failed { class: STORE.to_owned() };
                let event = TurnEvent::Ended { outcome, failure: Some(text.to_owned()) };
                self.feed(id, Input::TurnEvent { turn, ack: Ack(0), event });
            }
            Effect::Reply { ack, reply: Reply::Go } => self.reply_unstored(id, ack),
            Effect::Acknowledge(process) => {
                if let Some(live) = self.sessions.get_mut(id) {
                    live.outbox.withhold(process);
                }
            }
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

    /// Lets a turn continue whose event could not be stored, unless it is about to start a background
    /// process: that is refused.
    fn reply_unstored(&mut self, id: &SessionId, ack: Ack) {
        let Some(live) = self.sessions.get_mut(id) else { return };
        let Some(pending) = live.replies.take(ack) else { return };
        match pending.spawns {
            None => {
                pending.reply.send(Reply::Go).ok();
            }
            Some(process) => {
                pending.reply.send(Reply::Refused(NOT_SPAWNED.to_owned())).ok();
                self.fail_start(id, pending.turn, process);
            }
        }
    }

    fn fail_start(&mut self, id: &SessionId, turn: TurnId, process: ProcessId) {
        let exit = Exit { end: End::FailedStart, code: None, signal: None, at: now() };
        let event = TurnEvent::FailedStart { process, exit };
        self.feed(id, Input::TurnEvent { turn, ack: Ack(0), event });
    }

    /// Passes a permanently granted rule on to all sessions.
    fn grant(&mut self, rule: &str) {
        self.sessions.grant(rule.to_owned());
        for session in self.sessions.ids() {
            self.feed(&session, Input::Granted(rule.to_owned()));
        }
    }

    /// Sends an event to the views of its session and brings up to date what the loop keeps beside
    /// the session.
    fn publish(&mut self, id: &SessionId, event: &Event) {
        if let Event::ProcessForgotten { id } = event {
            self.processes.remove(id);
        }
        if let Some(live) = self.sessions.get_mut(id) {
            live.apply(event);
        }
        if let Event::TurnEnded { at, .. } = event {
            self.turns.set_last_ended(*at);
        }
        if changes_list(event) {
            self.lists_changed();
        }
        self.push_to_session(id, event);
    }
}
