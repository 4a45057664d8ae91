//! Sessions come into memory and leave it, as in the loop.

use std::collections::BTreeMap;

use super::Defect;
use super::coverage::Interleaving;
use super::world::{LiveSession, World, number_of};
use crate::embedded::outbox::Outbox;
use crate::session::{Attendance, Effect, Input, Rules, Session, TurnKind, TurnPlan};
use crate::store::{Loaded, Meta, Record, Stage};
use protocol::{Answer, Body, Goal, GoalState, Outcome, Storage, TurnId};

/// Wakeup turns in a row without a user.
const WAKEUPS: u32 = 3;

impl World<'_> {
    /// A session as the loop opens it: from the store, or new. Whether it is in memory then.
    pub(super) fn open(&mut self, s: usize) -> bool {
        if self.host.live.contains_key(&s) {
            return true;
        }
        if self.host.draining {
            return false;
        }
        let id = self.ids[s].clone();
        let loaded = match self.db.load(&id) {
            Ok(loaded) => loaded,
            Err(error) => {
                self.fail(format!("store: {id} cannot be loaded: {error}"));
                return false;
            }
        };
        let made = match loaded {
            Some(loaded) => self.restore(s, loaded),
            None if s < self.users => {
                let meta = Meta { id, model: "demo".to_owned(), ..Meta::default() };
                (Session::new(meta, Some(1000), rules("demo")), Vec::new(), None)
            }
            None => return false,
        };
        let (session, effects, resuming) = made;
        self.note(|| format!("s{s} opened"));
        let mut live = LiveSession {
            session,
            outbox: Outbox::default(),
            acks: BTreeMap::new(),
            next_ack: 0,
            actor: None,
            over: Vec::new(),
            views: Vec::new(),
            resuming,
        };
        live.session.set_granted(self.stored.grants.clone());
        live.session.handle(Input::Storage(self.host.storage.clone()), self.now);
        for process in &live.session.transcript().processes {
            self.host.owners.insert(process.id.clone(), s);
        }
        let lives: Vec<usize> = live.session.live_processes().map(|p| number_of(&p.id)).collect();
        self.host.live.insert(s, live);
        self.carry_out(s, effects);
        self.attach(s);
        self.host.finding.extend(lives);
        self.adopt_tasks(s);
        true
    }

    /// A session from the store, checked against the plain values; which turn of it is resumed,
    /// and the last row that an earlier host had stored.
    fn restore(
        &mut self,
        s: usize,
        mut loaded: Loaded,
    ) -> (Session, Vec<Effect>, Option<(TurnId, u64)>) {
        let compared = self.stored.compare(&self.ids[s], &loaded);
        if let Err(what) = compared.and_then(|()| self.fits(s, &loaded)) {
            self.fail(what);
        }
        self.classify(&loaded);
        if self.defect == Some(Defect::ClaimNotChecked) {
            for entry in &mut loaded.ledger {
                entry.row = None;
            }
        }
        let stored = loaded.rows.last().map_or(0, |row| row.n);
        let attempts = loaded.open.as_ref().map_or(0, |open| open.attempts);
        let rules = rules(&loaded.meta.model);
        let attendance = match loaded.meta.task {
            Some(_) => Attendance::Delegated,
            None => Attendance::Attended,
        };
        let (session, effects) = Session::restore(loaded, attendance, Some(1000), rules, self.now);
        let resuming = self.classify_resume(&effects, attempts).map(|turn| (turn, stored));
        (session, effects, resuming)
    }

    /// A session that nobody looks at and that has nothing to do leaves memory.
    pub(super) fn leave(&mut self, s: usize) {
        let unused =
            self.host.live.get(&s).is_some_and(|l| {
                l.actor.is_none() && l.outbox.is_empty() && l.session.is_at_rest()
            });
        if unused && self.host.storage == Storage::Ok {
            self.host.live.remove(&s);
            self.host.owners.retain(|_, owner| *owner != s);
            self.coverage.note(Interleaving::Left);
        }
    }

    /// A task whose end is stored is not worked on any more, unless the user goes on there.
    fn fits(&self, s: usize, loaded: &Loaded) -> Result<(), String> {
        let Some(task) = &loaded.meta.task else { return Ok(()) };
        let ended = self.stored.processes.get(&task.process).is_none_or(|p| !p.is_live());
        let begins = loaded.queued.iter().any(|q| q.id.0 == task.process.0);
        if ended && begins {
            return Err(format!("task: {} has ended, and s{s} would begin it", task.process));
        }
        Ok(())
    }

    fn classify(&mut self, loaded: &Loaded) {
        let held = |e: &crate::store::Entry| matches!(e.state, Stage::Held(_));
        let waits = loaded.meta.held.is_some() && !loaded.ledger.is_empty();
        let asked =
            |answered: bool| loaded.questions.iter().any(|q| q.answer.is_some() == answered);
        let clarified = loaded.questions.iter().any(|q| matches!(q.answer, Some(Answer::Text(_))));
        self.coverage
            .note_if(waits || loaded.ledger.iter().any(held), Interleaving::HeldOverRestart);
        self.coverage.note_if(asked(false), Interleaving::QuestionOverRestart);
        self.coverage.note_if(asked(true), Interleaving::AnswerOverRestart);
        self.coverage.note_if(clarified, Interleaving::ClarifiedOverRestart);
        let active = |goal: &Goal| goal.state == GoalState::Active;
        let driven = loaded.meta.goal.as_ref().is_some_and(active);
        self.coverage.note_if(driven, Interleaving::GoalOverRestart);
        self.coverage.note_if(loaded.meta.pause.is_some(), Interleaving::PauseOverRestart);
        self.coverage.note_if(loaded.meta.retry.is_some(), Interleaving::RetryOverRestart);
        self.coverage.note_if(
            loaded.meta.task.is_some() && loaded.open.is_some(),
            Interleaving::TaskOverRestart,
        );
    }

    /// What becomes of a turn that was left open; which one is started by itself, if that counts.
    fn classify_resume(&mut self, effects: &[Effect], attempts: u32) -> Option<TurnId> {
        let mut counted = None;
        for effect in effects {
            match effect {
                Effect::Start(TurnPlan { kind: TurnKind::Resume, .. }) => {
                    self.coverage.note(Interleaving::Resumed);
                    self.coverage.note_if(attempts > 0, Interleaving::ResumedAgain);
                    self.coverage.note_if(counted.is_none(), Interleaving::ResumedUncounted);
                }
                Effect::Record(Record::Resumed { turn, attempt, .. }) => {
                    self.coverage.note_if(*attempt == 3, Interleaving::ResumedThrice);
                    counted = Some(*turn);
                }
                Effect::Record(Record::TurnEnded { outcome, .. }) => match outcome {
                    Outcome::Done => self.coverage.note(Interleaving::FoundDone),
                    Outcome::Cancelled => self.coverage.note(Interleaving::FoundCancelled),
                    _ => {}
                },
                Effect::Record(Record::Row { row, .. }) => {
                    if let Body::Failure { message } = &row.body {
                        let has = |text| message.contains(text);
                        self.coverage.note_if(has("The host stopped while"), Interleaving::LeftOld);
                        self.coverage.note_if(has("again and again"), Interleaving::LeftHeld);
                        self.coverage.note_if(has("run out of time"), Interleaving::LeftUnanswered);
                    }
                }
                _ => {}
            }
        }
        counted
    }
}

/// What requests of a model are made with.
pub(super) fn fingerprint(model: &str) -> String {
    format!("fingerprint of {model}")
}

fn rules(model: &str) -> Rules {
    Rules { max_wakeups: WAKEUPS, fingerprint: fingerprint(model), ..Rules::default() }
}
