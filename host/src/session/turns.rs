//! The start of turns, the one rule of what runs next, and their cancellation.

use std::collections::BTreeSet;

use super::ledger::Claim;
use super::resume::{NEVER, ONE_SHOT};
use super::turn::{Purpose, Turn};
use super::{Attendance, Effect, Effects, Session, Shell, TurnKind, TurnPlan};
use crate::store::Record;
use crate::wakeup;
use protocol::{Body, Event, Killer, Millis, News, Queued, Row, Source, Storage, TurnId};

/// The reason that a turn starts.
enum Trigger {
    Prompt(Queued),
    /// Background events wait.
    Events,
    /// Work on the goal continues; the text that says so to the model.
    Goal(String),
}

impl Trigger {
    fn source(&self) -> Source {
        match self {
            Self::Prompt(_) => Source::User,
            Self::Events | Self::Goal(_) => Source::Wakeup,
        }
    }
}

impl Session {
    pub(super) fn cancel(&mut self, now: Millis, out: &mut Effects) {
        let Some(turn) = &mut self.turn else { return };
        if turn.is_cancelled() {
            return;
        }
        turn.give_up_at = Some(now + self.rules.unwind);
        let id = turn.id;
        let tasks = std::mem::take(&mut turn.tasks);
        self.publish(Event::TurnCancelling { turn: id }, out);
        self.withdraw_questions(now, out);
        if let Some(remark) = self.take_remark(out) {
            self.note_remark(&remark.text, out);
        }
        for task in tasks {
            self.request_kill(&task, Killer::User, out);
        }
        // A host that dies before the turn has unwound must not lead to its resumption either.
        self.mark_resumed(id, NEVER, out);
        out.push(Effect::Stop(id));
    }

    /// Starts what runs next, unless a turn runs.
    pub(super) fn start_next(&mut self, now: Millis, out: &mut Effects) {
        if self.turn.is_some() || self.stopping {
            return;
        }
        if let Some((trigger, attendance)) = self.next_trigger(now, out) {
            self.start(trigger, attendance, now, out);
        }
    }

    /// The one rule of what runs next: the oldest prompt, and with it all that waits; without a
    /// prompt, all that waits (W05, W06); without that, the goal (S08).
    fn next_trigger(&mut self, now: Millis, out: &mut Effects) -> Option<(Trigger, Attendance)> {
        if let Some((prompt, attendance)) = self.prompts.pop_front() {
            return Some((Trigger::Prompt(prompt), attendance));
        }
        if self.may_wake(now, out) {
            return Some((Trigger::Events, Attendance::Attended));
        }
        if !self.has_active_goal() {
            return None;
        }
        let text = self.pursue_goal(now, out)?;
        Some((Trigger::Goal(text), Attendance::Attended))
    }

    /// Starts a turn: its record, its rows and what it claims are one commit (W16).
    fn start(&mut self, trigger: Trigger, attendance: Attendance, now: Millis, out: &mut Effects) {
        let source = trigger.source();
        if source == Source::User {
            self.end_hold(out);
        }
        let id = self.next_turn_id();
        self.ledger.end_settling();
        out.record(Record::TurnStarted { session: self.id(), turn: id, source, at: now });
        self.publish(Event::TurnStarted { turn: id, source, at: now }, out);
        if attendance == Attendance::Stateless {
            self.mark_resumed(id, ONE_SHOT, out);
        }
        let before = self.next_row;
        match trigger {
            Trigger::Prompt(_) | Trigger::Events => self.claim(id, now, out),
            // What may start a turn has done so; what is held waits for the user (W22).
            Trigger::Goal(_) => {}
        }
        self.turn = Some(self.new_turn(id, now));
        for text in std::mem::take(&mut self.meta.notes) {
            self.add_row(id, now, Body::Note { text }, out);
        }
        self.add_trigger_row(trigger, id, now, out);
        if self.next_row == before {
            self.ask_for_answer(id, now, out);
        }
        self.touch(now, out);
        out.push(Effect::Start(self.plan(id, source, attendance, TurnKind::Answer)));
    }

    /// The row that says to the model what the turn is about, where it has one of its own.
    fn add_trigger_row(&mut self, trigger: Trigger, id: TurnId, now: Millis, out: &mut Effects) {
        match trigger {
            Trigger::Prompt(prompt) => {
                self.leave_queue(&prompt.id, out);
                self.add_row(id, now, Body::User { text: prompt.text }, out);
                self.meta.wakeups_in_a_row = 0;
            }
            Trigger::Events => self.meta.wakeups_in_a_row += 1,
            // A goal has a limit of its own.
            Trigger::Goal(text) => drop(self.add_row(id, now, Body::Note { text }, out)),
        }
    }

    /// A wakeup that has its row already starts its turn without a new one. Where a partial answer
    /// follows it, the model needs a message to answer to.
    fn ask_for_answer(&mut self, id: TurnId, now: Millis, out: &mut Effects) {
        let is_read = |r: &&Row| !matches!(r.body, Body::Failure { .. } | Body::Summary(_));
        if let Some(Row { body: Body::Assistant(_) | Body::Tool(_), .. }) =
            self.view.rows.iter().rev().find(is_read)
        {
            let text = "[Your answer to this was cut off. Answer it now.]".to_owned();
            self.add_row(id, now, Body::Note { text }, out);
        }
    }

    /// Whether what waits may start a turn of its own now; too many in a row are held (W31).
    fn may_wake(&mut self, now: Millis, out: &mut Effects) -> bool {
        if self.wakes_at().is_none_or(|at| at > now) {
            return false;
        }
        let most = self.rules.max_wakeups;
        if self.meta.wakeups_in_a_row < most {
            return true;
        }
        let reason =
            format!("{most} wakeups ran in a row without you; your next prompt or /wake goes on");
        self.hold(&reason, out);
        false
    }

    /// Claims all that waits for a turn, unless the claim could not be stored.
    fn claim(&mut self, turn: TurnId, now: Millis, out: &mut Effects) {
        if self.view.storage != Storage::Ok {
            return;
        }
        let claims = self.ledger.claim(turn, self.next_row);
        let new = claims.iter().filter(|claim| claim.needs_row);
        let text = |claim: &Claim| {
            let entry = claim.transition.entry();
            entry.wakeup.clone().unwrap_or_else(|| self.unreadable_wakeup(entry))
        };
        let mut wakeups: Vec<_> = new.map(text).collect();
        wakeup::fit(&mut wakeups);
        let mut wakeups = wakeups.into_iter();
        for Claim { transition, needs_row } in claims {
            if needs_row && let Some(wakeup) = wakeups.next() {
                self.add_row(turn, now, Body::Wakeup(wakeup), out);
            }
            self.apply_transition(transition, out);
        }
    }

    pub(super) fn next_turn_id(&mut self) -> TurnId {
        self.turns = TurnId(self.turns.0 + 1);
        self.turns
    }

    /// A turn that starts now in this host.
    pub(super) fn new_turn(&self, id: TurnId, now: Millis) -> Turn {
        Turn {
            id,
            purpose: if self.works_on_goal() { Purpose::Goal } else { Purpose::Answer },
            give_up_at: None,
            fingerprint: self.rules.fingerprint.clone(),
            awaited: BTreeSet::new(),
            tasks: BTreeSet::new(),
            end_waits: Vec::new(),
            asking: Vec::new(),
            answered: Vec::new(),
            user_moved: false,
            since: now,
            note_at: self.rules.notify_interval.map(|interval| now.saturating_add(interval)),
        }
    }

    /// Starts a turn that answers nothing. It is not stored, so that a host that dies meanwhile
    /// leaves no trace of it.
    pub(super) fn start_internal(
        &mut self,
        purpose: Purpose,
        kind: TurnKind,
        now: Millis,
        out: &mut Effects,
    ) {
        let id = self.next_turn_id();
        self.publish(Event::TurnStarted { turn: id, source: Source::User, at: now }, out);
        self.turn = Some(Turn { purpose, ..self.new_turn(id, now) });
        let plan = self.plan(id, Source::User, Attendance::Attended, kind);
        out.push(Effect::Start(plan));
    }

    pub(super) fn plan(
        &self,
        turn: TurnId,
        source: Source,
        attendance: Attendance,
        kind: TurnKind,
    ) -> TurnPlan {
        TurnPlan {
            turn,
            source,
            attendance: self.attendance(attendance),
            kind,
            used: self.view.gauge.used,
            model: self.meta.model.clone(),
            reasoning: self.meta.reasoning.clone(),
            toolsets: self.meta.toolsets.clone(),
            shell: Shell { cwd: self.meta.cwd.clone(), env: self.meta.env.clone() },
            todo: self.meta.todo.clone(),
        }
    }

    /// When the running turn is to show that it still works (R10).
    pub(super) fn note_due(&self) -> Option<Millis> {
        let asking = !self.view.questions.is_empty();
        self.turn.as_ref().filter(|_| !asking)?.note_at
    }

    /// Shows that the running turn still works, if it is time (R10).
    pub(super) fn note_long_turn(&mut self, now: Millis, out: &mut Effects) {
        if self.note_due().is_none_or(|due| due > now) {
            return;
        }
        let interval = self.rules.notify_interval;
        let Some(turn) = &mut self.turn else { return };
        let elapsed = now.saturating_sub(turn.since).max(0);
        turn.note_at = interval.map(|interval| now.saturating_add(interval));
        let text = format!("still working, for {} min now", elapsed / 60_000);
        self.toast(None, News::Working { elapsed }, text, out);
    }
}
