//! Runs a script: carries its steps out, lets everything come to an end, and judges what is left.

use super::Defect;
use super::load::fingerprint;
use super::met::{Class, Met};
use super::script::{Script, Step, TASK};
use super::world::{Typed, World, is_watched, number_of, process_id};
use crate::process::WatchHit;
use crate::session::{Attendance, Input, Past, TurnEvent};
use crate::store::memory::Memory;
use protocol::{Answer, Ask, Body, Choice, End, Exit, GoalAsk, PromptId, Source};

/// What went wrong, and what happened before.
pub(super) struct Failure {
    pub(super) what: String,
    pub(super) trace: Vec<String>,
}

impl Failure {
    pub(super) fn text(self) -> String {
        format!("{}\n\nwhat happens:\n{}", self.what, self.trace.join("\n"))
    }
}

/// Rounds in which everything must come to rest.
const ROUNDS: usize = 300;

pub(super) fn run(
    db: &Memory,
    script: &Script,
    defect: Option<Defect>,
    met: &mut Met,
    traced: bool,
) -> Result<(), Failure> {
    let mut world = World::new(db, script.sessions, defect, met, traced);
    for step in &script.steps {
        world.note(|| format!("-- {step:?}"));
        world.now += 3;
        world.step(*step);
        if world.trouble.is_some() {
            break;
        }
    }
    if world.trouble.is_none() {
        world.note(|| "-- the end".to_owned());
        world.come_to_rest();
    }
    if world.trouble.is_none() {
        world.judge();
    }
    match world.trouble.take() {
        Some(what) => Err(Failure { what, trace: world.trace.take().unwrap_or_default() }),
        None => Ok(()),
    }
}

impl World<'_> {
    fn step(&mut self, step: Step) {
        let (all, users) = (self.ids.len(), self.users);
        let of = |s: u8| match s.checked_sub(TASK) {
            Some(task) if all > users => users + usize::from(task) % (all - users),
            Some(task) => usize::from(task) % users,
            None => usize::from(s) % users,
        };
        match step {
            Step::Prompt(s) => self.prompt(of(s)),
            Step::Again(s) => self.again(of(s)),
            Step::Steer(s) => {
                // Not named after the time, which comes again where the clock is set back.
                let text = format!("remark {}", self.fresh_call());
                self.command(of(s), Input::Steer(text));
            }
            Step::Unqueue(s) => self.unqueue(of(s)),
            Step::Cancel(s) => self.cancel(of(s)),
            Step::WakeNow(s) => {
                self.tally.releases += 1;
                self.command(of(s), Input::WakeNow);
            }
            Step::Kill(s, which) => self.kill(of(s), which),
            Step::Answer(s, how) => self.answer_question(of(s), how),
            Step::Shown(s) => {
                if let Some(q) = self.session(of(s)).and_then(|x| x.transcript().questions.first())
                {
                    let id = q.id.clone();
                    self.feed(of(s), Input::Shown(id));
                }
            }
            Step::Turn(s, choice, detail) => self.turn(of(s), choice, detail),
            Step::Late(s, detail) => self.late(of(s), detail),
            Step::Unwind(s) => self.unwind(of(s)),
            Step::Launch(_, detail) => self.launch(detail % 8 == 7),
            Step::Word => self.word(),
            Step::Exit(which, code) => {
                let running: Vec<usize> = self.running().collect();
                if let Some(p) = running.get(usize::from(which) % running.len().max(1)) {
                    self.ends(*p, Some(i32::from(code % 3)), None);
                }
            }
            Step::Match(which, lines) => {
                let running: Vec<usize> = self
                    .running()
                    .filter(|p| is_watched(*p) && self.host.watched.contains(p))
                    .collect();
                if let Some(p) = running.get(usize::from(which) % running.len().max(1)) {
                    self.matches(*p, u64::from(lines % 9) + 1, lines % 5 != 4);
                }
            }
            Step::Notice(which) => {
                if !self.host.notices.is_empty() {
                    let at = usize::from(which) % self.host.notices.len();
                    let p = self.host.notices.remove(at);
                    self.tell_exit(p);
                }
            }
            Step::Repeat(which) => {
                let ended: Vec<usize> = self
                    .host
                    .watched
                    .iter()
                    .copied()
                    .filter(|p| self.procs[*p].exit.is_some())
                    .collect();
                if let Some(p) = ended.get(usize::from(which) % ended.len().max(1)) {
                    self.tell_exit(*p);
                }
            }
            Step::Find => self.find(),
            Step::Die => self.die(),
            Step::Write(most) => self.commit(usize::from(most)),
            Step::Report => self.report(),
            Step::Pump => self.pump(),
            Step::Flush => self.flush(),
            Step::Break => self.host.broken = true,
            Step::Mend => self.host.broken = false,
            Step::Attach(s) => {
                self.open(of(s));
                self.attach(of(s));
            }
            Step::Clock(by) => self.clock(i64::from(by)),
            Step::Leave(s) => self.leave(of(s)),
            Step::Model(s, which) => self.set_model(of(s), which),
            Step::Reset(s) => {
                self.met.note(Class::Reset);
                self.feed(of(s), Input::Reset);
            }
            Step::Undo(s) => self.undo(of(s), false),
            Step::Retry(s) => self.undo(of(s), true),
            Step::Truncate(s, which) => self.truncate(of(s), which),
            Step::Goal(s, how) => self.goal(of(s), how),
            Step::Drain => {
                self.met.note(Class::Drained);
                self.drain();
            }
            Step::Away(minutes) => self.away = i64::from(minutes) * 60_000,
            Step::Crash(commits, ended) => self.crash(usize::from(commits), ended),
            Step::Stop(ended) => self.stop(ended),
        }
        self.tick();
    }

    fn command(&mut self, s: usize, input: Input) {
        if self.open(s) {
            self.feed(s, input);
        }
    }

    fn set_model(&mut self, s: usize, which: u8) {
        let model = format!("model {}", which % 3);
        let Some(session) = self.session(s) else { return };
        let (paused, tried) = (session.meta().pause.is_some(), session.meta().retry.is_some());
        self.met.note_if(paused, Class::OtherModelInPause);
        self.met.note_if(tried, Class::OtherModelInRetry);
        self.tally.releases += 1;
        let fingerprint = fingerprint(&model);
        self.feed(s, Input::SetModel { model, context: Some(1000), fingerprint });
    }

    fn prompt(&mut self, s: usize) {
        if !self.open(s) {
            return;
        }
        self.current = s;
        let text = format!("prompt {}", self.prompts.len());
        let id = PromptId(format!("p{}", self.prompts.len()));
        let generation = self.generation;
        let typed =
            Typed { session: s, id: id.clone(), text: text.clone(), generation, unqueued: false };
        self.prompts.push(typed);
        self.command(s, Input::Prompt { id, text, attendance: Attendance::Attended });
    }

    fn undo(&mut self, s: usize, again: bool) {
        if !self.open(s) {
            return;
        }
        self.classify_undo(s);
        let again = again.then(|| {
            self.met.note(Class::Retried);
            (PromptId(format!("r{}", self.fresh_call())), Attendance::Attended)
        });
        self.feed(s, Input::Undo { past: Past::default(), again });
    }

    fn truncate(&mut self, s: usize, which: u8) {
        if !self.open(s) {
            return;
        }
        let Some(session) = self.session(s) else { return };
        let view = session.transcript();
        let after = u64::from(which) % (session.last_row() + 1);
        let turn = |n: u64| view.rows.iter().find(|row| row.n == n).map(|row| row.turn);
        let cuts =
            view.running.is_none() && turn(after).is_some_and(|t| turn(after + 1) == Some(t));
        let takes = view.running.is_none() && turn(after + 1).is_some();
        self.met.note_if(takes, Class::Truncated);
        self.met.note_if(cuts, Class::TruncatedTurn);
        self.feed(s, Input::Truncate { after, past: Past::default() });
    }

    fn classify_undo(&mut self, s: usize) {
        let Some(session) = self.session(s) else { return };
        let view = session.transcript();
        if view.running.is_some() {
            return self.met.note(Class::UndoInTurn);
        }
        let Some(prompt) = session.last_prompt() else { return };
        let told = view.rows.iter().filter(|row| row.n > prompt.n);
        let told = told.filter_map(|row| match &row.body {
            Body::Wakeup(wakeup) => Some((wakeup.process.clone(), wakeup.kind, wakeup.ordinal)),
            _ => None,
        });
        let told: Vec<_> = told.collect();
        let watched = view.processes.iter().any(|p| p.turn >= prompt.turn && p.is_watched());
        let settled = |key| self.stored.ledger.get(key).is_some_and(|e| e.state.is_settled());
        let answered = told.iter().filter(|key| settled(key)).count();
        self.met.note(Class::Undone);
        self.met.note_if(watched, Class::UndoneWatched);
        self.met.note_if(answered > 0, Class::UndoneTold);
        self.met.note_if(answered < told.len(), Class::UndoneUntold);
    }

    fn goal(&mut self, s: usize, how: u8) {
        if !self.open(s) {
            return;
        }
        self.tally.goals += 1;
        let ask = match how % 6 {
            0..=2 => {
                self.met.note(Class::GoalSet);
                GoalAsk::Set { text: format!("goal {}", self.fresh_call()) }
            }
            3 => GoalAsk::Pause,
            4 => GoalAsk::Resume,
            _ => GoalAsk::Clear,
        };
        self.feed(s, Input::Goal(ask));
    }

    fn again(&mut self, s: usize) {
        // One that was taken back before a crash may be gone without a trace.
        let fits = |p: &Typed, now| p.session == s && (p.generation == now || !p.unqueued);
        let now = self.generation;
        if !self.prompts.iter().any(|p| fits(p, now)) || !self.open(s) {
            return;
        }
        if let Some(typed) = self.prompts.iter_mut().rfind(|p| fits(p, now)) {
            // What a crash took is typed anew.
            typed.generation = now;
            let (id, text) = (typed.id.clone(), typed.text.clone());
            self.met.note(Class::PromptTwice);
            self.command(s, Input::Prompt { id, text, attendance: Attendance::Attended });
        }
    }

    fn unqueue(&mut self, s: usize) {
        let Some(queued) = self.session(s).and_then(|x| x.transcript().queued.first()) else {
            return;
        };
        let id = queued.id.clone();
        if let Some(typed) = self.prompts.iter_mut().find(|p| p.id == id) {
            typed.unqueued = true;
        }
        self.met.note(Class::Unqueued);
        self.feed(s, Input::Unqueue(id));
    }

    fn cancel(&mut self, s: usize) {
        if let Some(running) = self.session(s).and_then(|x| x.transcript().running.as_ref()) {
            let (source, twice) = (running.source, running.cancelling);
            self.met.note_if(source == Source::Wakeup && !twice, Class::CancelWakeup);
            self.met.note_if(twice, Class::CancelTwice);
            let waits = |p: &usize| self.procs[*p].owner == s && self.is_working(*p);
            let tasks = (0..self.procs.len()).any(|p| waits(&p));
            self.met.note_if(!twice && tasks, Class::CancelWithTasks);
            self.met.note_if(!twice && s >= self.users, Class::CancelTask);
        }
        self.command(s, Input::Cancel);
    }

    fn kill(&mut self, s: usize, which: u8) {
        let Some(session) = self.session(s) else { return };
        let all = &session.transcript().processes;
        let chosen = all.get(usize::from(which) % all.len().max(1)).map(|p| p.id.clone());
        let live = all.iter().any(|p| p.is_live() && p.killed_by.is_none());
        self.met.note_if(live, Class::KillByUser);
        match which {
            255 => self.feed(s, Input::Kill(None)),
            _ if chosen.is_some() => self.feed(s, Input::Kill(chosen)),
            _ => {}
        }
    }

    fn answer_question(&mut self, s: usize, how: u8) {
        let question = self.session(s).and_then(|x| x.transcript().questions.first());
        let Some((id, ask)) = question.map(|q| (q.id.clone(), q.ask.clone())) else { return };
        let choices = [Choice::Once, Choice::Session, Choice::Always, Choice::Deny];
        let answer = match ask {
            Ask::Approval { .. } => Answer::Approval(choices[usize::from(how) % 4]),
            Ask::Clarify { .. } => Answer::Text("this one".to_owned()),
        };
        self.feed(s, Input::Answer { id, answer, by: None });
    }

    pub(super) fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.procs.len()).filter(|p| self.procs[*p].launched && self.procs[*p].exit.is_none())
    }

    /// A task that has not ended.
    fn is_working(&self, p: usize) -> bool {
        self.procs[p].worker.is_some()
            && self.lists(self.procs[p].owner, p)
            && !self.has_ended(self.procs[p].owner, p)
    }

    fn matches(&mut self, p: usize, lines: u64, admitted: bool) {
        let process = process_id(p);
        let Some(s) = self.host.owners.get(&process).copied() else { return };
        self.tally.matches += 1;
        let (text, pattern, upto, at) =
            ("it works".to_owned(), "works".to_owned(), lines, self.now);
        let hit = WatchHit { pattern, text, lines, upto, at };
        self.feed(s, Input::Matched { process, hit, admitted });
    }

    fn launch(&mut self, fails: bool) {
        let Some((s, turn, p)) = self.host.launching.pop_front() else { return };
        let process = process_id(p);
        let event = if fails {
            let exit = Exit { end: End::FailedStart, code: None, signal: None, at: self.now };
            TurnEvent::FailedStart { process, exit }
        } else {
            self.procs[p].launched = true;
            self.host.watched.insert(p);
            TurnEvent::Running { process, pid: p as u32 }
        };
        self.note(|| format!("process {p} launched: {}", !fails));
        self.host.words.push_back((s, turn, event));
    }

    pub(super) fn word(&mut self) {
        let Some((s, turn, event)) = self.host.words.pop_front() else { return };
        let (p, runs) = match &event {
            TurnEvent::FailedStart { process, .. } => (number_of(process), false),
            TurnEvent::Running { process, .. } => (number_of(process), true),
            _ => return,
        };
        self.event(s, turn, event, None);
        self.launched(s, turn, p, runs);
    }

    fn tell_exit(&mut self, p: usize) {
        if let Some(exit) = self.procs[p].exit.clone() {
            self.noticed(p, exit);
        }
    }

    pub(super) fn die(&mut self) {
        if !self.host.killing.is_empty() {
            let p = self.host.killing.remove(0);
            if p < self.procs.len() {
                self.ends(p, None, Some(15));
            }
        }
    }

    /// Everything on its way arrives.
    pub(super) fn pump(&mut self) {
        for _ in 0..3 {
            while !self.host.killing.is_empty() {
                self.die();
            }
            self.flush();
            self.commit(0);
            while !self.host.reports.is_empty() {
                self.report();
            }
            while !self.host.launching.is_empty() {
                self.launch(false);
            }
            while !self.host.words.is_empty() {
                self.word();
            }
            while !self.host.finding.is_empty() {
                self.find();
            }
            while let Some(p) = self.host.notices.pop() {
                self.tell_exit(p);
            }
        }
    }

    /// Everything ends: processes, turns, questions, holds.
    fn come_to_rest(&mut self) {
        self.host.broken = false;
        if self.host.draining {
            self.stop(0);
        }
        for _ in 0..ROUNDS {
            for p in self.running().collect::<Vec<_>>() {
                self.ends(p, Some(0), None);
            }
            self.pump();
            let mut moved = false;
            for s in 0..self.ids.len() {
                moved |= self
                    .host
                    .live
                    .get(&s)
                    .is_some_and(|l| l.session.transcript().running.is_some());
                self.unwind(s);
                self.answer_question(s, 0);
                self.turn(s, 4, 0);
            }
            self.pump();
            let deadline = self.host.live.values().filter_map(|l| l.session.deadline()).min();
            if let Some(at) = deadline {
                self.now = self.now.max(at);
                self.tick();
                moved = true;
            }
            if self.trouble.is_some() {
                return;
            }
            let busy = |l: &super::world::Live| !l.outbox.is_empty() || !l.session.is_at_rest();
            let waiting: Vec<usize> =
                self.host.live.iter().filter(|(_, l)| busy(l)).map(|(s, _)| *s).collect();
            if waiting.is_empty() && !moved {
                return;
            }
            if !moved {
                for s in waiting {
                    self.tally.releases += 1;
                    self.feed(s, Input::WakeNow);
                }
            }
        }
        let states: Vec<_> =
            self.host.live.values().map(|l| l.session.transcript().running.clone()).collect();
        self.fail(format!("rest: it does not come to rest: {states:?}"));
    }
}
