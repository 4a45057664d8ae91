//! Effects as the loop carries them out, and what must be true at the moment one leaves.

use super::Defect;
use super::coverage::Interleaving;
use super::turn::{Actor, Phase};
use super::world::{Awaited, World, number_of, process_id};
use crate::embedded::outbox::Item;
use crate::session::{Ack, ConsumeAt, Effect, Input, Reply, STORE, TurnEvent, TurnKind, TurnPlan};
use crate::store::CommitNo;
use protocol::{
    Body, End, Event, Exit, GoalState, News, Outcome, ProcessId, Row, SessionId, Source, Storage,
    TurnId,
};

impl World<'_> {
    pub(super) fn carry_out(&mut self, s: usize, effects: Vec<Effect>) {
        for effect in &effects {
            if let Effect::Start(TurnPlan { kind: TurnKind::Judge { .. }, turn, .. }) = effect {
                self.host.internal_turns.insert((s, *turn));
            }
        }
        let Some(live) = self.host.live.get_mut(&s) else { return };
        let (batch, rest) = live.outbox.split(effects);
        let commit = batch.map(|batch| self.write(batch));
        let written = self.host.storage == Storage::Ok;
        if self.defect == Some(Defect::EffectBeforeCommit) {
            return rest.into_iter().for_each(|effect| self.perform(s, effect, true));
        }
        let Some(live) = self.host.live.get_mut(&s) else { return };
        for effect in live.outbox.put(commit, rest) {
            if written {
                self.perform(s, effect, true);
            } else {
                self.perform_unwritten(s, effect);
            }
        }
        self.compare_views(s);
    }

    /// Everything up to that commit is stored, or could not be.
    pub(super) fn release(&mut self, upto: CommitNo, written: bool) {
        for s in 0..self.ids.len() {
            if !self.host.live.get(&s).is_some_and(|live| live.outbox.is_ready(upto)) {
                continue;
            }
            while let Some(live) = self.host.live.get_mut(&s)
                && let Some(item) = live.outbox.next(upto)
            {
                match item {
                    Item::Effect(effect) if written => self.perform(s, effect, true),
                    Item::Effect(effect) => self.perform_unwritten(s, effect),
                    Item::Window { view, event, .. } => self.window(s, view, &event),
                    Item::Branch { .. } => {}
                }
            }
            self.compare_views(s);
        }
    }

    /// A view that has got everything shows what the session shows.
    fn compare_views(&mut self, s: usize) {
        let Some(live) = self.host.live.get(&s) else { return };
        if live.outbox.is_ready(CommitNo(u64::MAX)) {
            return;
        }
        if live.views.iter().any(|f| f.awaits_window || f.view != *live.session.transcript()) {
            self.fail(format!("fold: a view of s{s} is not what the session is"));
        }
    }

    pub(super) fn perform(&mut self, s: usize, effect: Effect, written: bool) {
        self.note(|| format!("s{s} -> {effect:?}"));
        if written && let Err(what) = self.rests_on_a_record(s, &effect) {
            self.fail(format!("early: {what}"));
        }
        match effect {
            Effect::Publish(event) => {
                if let Event::Held { reason: Some(reason) } = &event {
                    self.coverage.note_if(reason.contains("in a row"), Interleaving::HeldByBound);
                }
                if let Event::GoalChanged { goal: Some(goal) } = &event {
                    let paused = matches!(goal.state, GoalState::Paused(_));
                    self.coverage.note_if(paused && goal.turns > 0, Interleaving::GoalPaused);
                }
                if let Event::PromptQueued { prompt } = &event {
                    self.coverage
                        .note_if(prompt.text.starts_with("remark"), Interleaving::SteerToPrompt);
                }
                let Some(live) = self.host.live.get_mut(&s) else { return };
                for front in live.views.iter_mut().filter(|f| !f.awaits_window) {
                    front.view.apply(&event);
                }
            }
            Effect::Start(plan) if !self.host.is_stopping => self.start(s, &plan),
            Effect::Stop(turn) => {
                let now = self.now;
                if let Some(actor) = self.actor_mut(s)
                    && actor.turn == turn
                {
                    actor.aborted.get_or_insert(now);
                }
            }
            Effect::Reply { ack, reply } => self.reply(s, ack, &reply),
            Effect::Kill(process) => {
                let p = number_of(&process);
                match self.procs.get(p).and_then(|proc| proc.worker) {
                    Some(worker) => self.abandon(s, p, worker),
                    None => self.host.killing.push(p),
                }
            }
            Effect::Acknowledge(process) => {
                if let Some(proc) = self.procs.get_mut(number_of(&process)) {
                    proc.acknowledged = true;
                }
            }
            Effect::Grant(rule) => {
                for other in self.host.live.keys().copied().collect::<Vec<_>>() {
                    self.feed(other, Input::Granted(rule.clone()));
                }
            }
            Effect::Open(session) => self.open_task(s, &session),
            Effect::Report { parent, process, exit, text } => {
                self.report_task_end(&parent, &process, exit, text);
            }
            Effect::Start(_)
            | Effect::Announce(_)
            | Effect::Record(_)
            | Effect::Discard(_)
            | Effect::Forget => {}
        }
    }

    fn perform_unwritten(&mut self, s: usize, effect: Effect) {
        match effect {
            Effect::Start(TurnPlan { turn, source, kind, .. })
                if source == Source::Wakeup || kind == TurnKind::Resume =>
            {
                let again = kind == TurnKind::Resume;
                self.coverage.note(if again {
                    Interleaving::FailingResume
                } else {
                    Interleaving::FailingClaim
                });
                let outcome = Outcome::Failed { class: STORE.to_owned() };
                let failure = Some("It could not be written down.".to_owned());
                self.event(s, turn, TurnEvent::Ended { outcome, failure }, None);
            }
            Effect::Reply { ack, reply: Reply::Go } => {
                let waiting = self.host.live.get(&s).and_then(|l| l.acks.get(&ack.0)).copied();
                let Some((turn, Awaited::Spawn(p) | Awaited::Task(p))) = waiting else {
                    return self.perform(s, Effect::Reply { ack, reply: Reply::Go }, false);
                };
                self.reply(s, ack, &Reply::Refused("the store fails".to_owned()));
                let exit = Exit { end: End::FailedStart, code: None, signal: None, at: self.now };
                let event = TurnEvent::FailedStart { process: process_id(p), exit };
                self.event(s, turn, event, None);
            }
            Effect::Acknowledge(process) => {
                if let Some(live) = self.host.live.get_mut(&s) {
                    live.outbox.withhold(process);
                }
            }
            Effect::Grant(_) | Effect::Open(_) => {}
            other => self.perform(s, other, false),
        }
    }

    fn start(&mut self, s: usize, plan: &TurnPlan) {
        // One that was cut off and does not unwind in time is given up; it says nothing any more.
        if let Some(actor) = self.actor(s).filter(|a| a.aborted.is_none()) {
            let (old, new) = (actor.turn, plan.turn);
            self.fail(format!("two turns: {new} of s{s} starts while {old} runs"));
        }
        let again = plan.kind == TurnKind::Resume;
        let rows = self.session(s).map(|x| x.transcript().rows.as_slice()).unwrap_or_default();
        let goes_on = |row: &Row| matches!(&row.body, Body::Note { text } if text.starts_with("[Go on working"));
        let goal = rows.last().is_some_and(goes_on);
        let held = self.session(s).is_some_and(|x| x.transcript().held.is_some());
        if plan.source == Source::Wakeup && !again {
            self.tally.goal_turns += u64::from(goal);
            self.tally.wakeups += u64::from(!goal);
            self.coverage.note_if(goal, Interleaving::GoalWentOn);
            self.coverage.note_if(goal && held, Interleaving::GoalPastHeld);
        }
        if again {
            self.count_resume(s, plan.turn);
        }
        if let Some(live) = self.host.live.get_mut(&s) {
            live.actor = Some(Actor::new(plan, &live.session.transcript().rows));
        }
    }

    /// At most three automatic starts in a row without a new row of the turn in between.
    fn count_resume(&mut self, s: usize, turn: TurnId) {
        let resuming = self.host.live.get_mut(&s).and_then(|live| live.resuming.take());
        let Some((_, before)) = resuming.filter(|(resumed, _)| *resumed == turn) else { return };
        let rows = self.stored.projects(&self.ids[s]).map(|projects| &projects.rows);
        let last = rows.and_then(|rows| rows.keys().next_back()).copied().unwrap_or(0);
        let known = self.resumes.get(&(s, turn)).copied().unwrap_or((0, 0));
        let count = if before > known.1 { 1 } else { known.0 + 1 };
        self.resumes.insert((s, turn), (count, last));
        if count > 3 {
            self.fail(format!("again and again: {turn} of s{s} starts {count} times in a row"));
        }
    }

    fn reply(&mut self, s: usize, ack: Ack, reply: &Reply) {
        let waiting = self.host.live.get_mut(&s).and_then(|l| l.acks.remove(&ack.0));
        match waiting {
            Some((turn, Awaited::Turn | Awaited::Task(_))) => self.receive(s, turn, ack, reply),
            Some((turn, Awaited::Spawn(p))) => match reply {
                Reply::Go => self.host.launching.push_back((s, turn, p)),
                _ => self.launched(s, turn, p, false),
            },
            None => {}
        }
    }

    /// The call that spawned a process hears what came of it.
    pub(super) fn launched(&mut self, s: usize, turn: TurnId, p: usize, runs: bool) {
        if let Some(actor) = self.actor_mut(s)
            && actor.turn == turn
            && actor.phase == Phase::Spawning(p)
        {
            actor.phase = Phase::Give((!runs).then_some((p, ConsumeAt::Now)));
        }
    }

    /// Nothing but streamed text leaves before the commit it rests on.
    fn rests_on_a_record(&self, s: usize, effect: &Effect) -> Result<(), String> {
        let id = &self.ids[s];
        let ok = match effect {
            Effect::Start(plan) if self.host.internal_turns.contains(&(s, plan.turn)) => true,
            Effect::Publish(Event::TurnStarted { turn, .. })
                if self.host.internal_turns.contains(&(s, *turn)) =>
            {
                true
            }
            Effect::Publish(event) | Effect::Announce(event) => self.event_rests(id, event),
            Effect::Start(plan) => {
                self.stored.projects(id).is_some_and(|x| x.turns.contains_key(&plan.turn))
            }
            Effect::Reply { reply: Reply::Row(row), .. } => {
                self.stored.projects(id).is_some_and(|x| x.written.contains(row))
            }
            Effect::Reply { ack, reply: Reply::Go } => {
                match self.host.live.get(&s).and_then(|l| l.acks.get(&ack.0)) {
                    Some((_, Awaited::Task(p))) => {
                        let process = self.stored.processes.get(&process_id(*p));
                        process
                            .and_then(|p| p.worker())
                            .is_some_and(|w| self.stored.projects(w).is_some())
                    }
                    Some((_, Awaited::Spawn(p))) => {
                        let process = self.stored.processes.get(&process_id(*p));
                        let entry = |id: &ProcessId| {
                            self.stored.ledger.keys().any(|(process, ..)| process == id)
                        };
                        process.is_some_and(|x| !x.notify || entry(&x.id))
                    }
                    _ => true,
                }
            }
            Effect::Kill(process) => self.stored.processes.get(process).is_some_and(|x| {
                x.killed_by.is_some() || x.exit.as_ref().is_some_and(|e| e.end == End::Lost)
            }),
            Effect::Acknowledge(process) => {
                self.stored.processes.get(process).is_some_and(|x| !x.is_live())
            }
            Effect::Open(session) => self.stored.projects(session).is_some(),
            // Taken back before it began, or a turn has ended; the user may have prompted since.
            Effect::Report { .. } => self.stored.projects(id).is_some_and(|x| {
                x.turns.is_empty() || x.turns.values().any(|turn| turn.outcome.is_some())
            }),
            _ => true,
        };
        if ok { Ok(()) } else { Err(format!("s{s}: {effect:?} rests on nothing in the store")) }
    }

    fn event_rests(&self, id: &SessionId, event: &Event) -> bool {
        let Some(projects) = self.stored.projects(id) else {
            return !matches!(event, Event::RowAdded { .. } | Event::TurnStarted { .. });
        };
        let process = |p: &ProcessId| self.stored.processes.get(p);
        match event {
            Event::RowAdded { row } => projects.written.contains(row),
            Event::TurnStarted { turn, .. } => projects.turns.contains_key(turn),
            Event::TurnEnded { turn, .. } => {
                projects.turns.get(turn).is_some_and(|t| t.outcome.is_some())
            }
            Event::PromptQueued { prompt } => projects.queued.contains(&prompt.id),
            Event::QuestionAsked { question } => projects.questions.contains(&question.id),
            Event::ProcessChanged { process: shown } => process(&shown.id).is_some_and(|stored| {
                (shown.is_live() || !stored.is_live())
                    && (shown.killed_by.is_none() || stored.killed_by.is_some())
            }),
            Event::Toast(toast) => match (&toast.news, &toast.process) {
                (News::Ended { .. }, Some(p)) => process(p).is_some_and(|p| !p.is_live()),
                _ => true,
            },
            _ => true,
        }
    }
}
