//! Runs a script: carries its steps out, lets everything come to an end, and judges what is left.

use super::Defect;
use super::coverage::{Coverage, Interleaving};
use super::load::fingerprint;
use super::script::{Script, Step, TASK};
use super::world::{SentPrompt, World, is_watched, number_of, process_id};
use crate::process::WatchHit;
use crate::session::{Attendance, Input, TurnEvent, UnloadedRows};
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
    coverage: &mut Coverage,
    traced: bool,
) -> Result<(), Failure> {
    let mut world = World::new(db, script.sessions, defect, coverage, traced);
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

/// The session that a step names, among so many of which some are the user's.
fn session_of(s: u8, all: usize, users: usize) -> usize {
    match s.checked_sub(TASK) {
        Some(task) if all > users => users + usize::from(task) % (all - users),
        Some(task) => usize::from(task) % users,
        None => usize::from(s) % users,
    }
}

/// The one of these that a number chooses.
fn pick(among: &[usize], which: u8) -> Option<usize> {
    among.get(usize::from(which) % among.len().max(1)).copied()
}

impl World<'_> {
    fn step(&mut self, step: Step) {
        let (all, users) = (self.ids.len(), self.users);
        let of = |s: u8| session_of(s, all, users);
        match step {
            Step::Prompt(s) => self.prompt(of(s)),
            Step::Again(s) => self.again(of(s)),
            Step::Steer(s) => self.steer(of(s)),
            Step::Unqueue(s) => self.unqueue(of(s)),
            Step::Cancel(s) => self.cancel(of(s)),
            Step::WakeNow(s) => self.wake_now(of(s)),
            Step::Kill(s, which) => self.kill(of(s), which),
            Step::Answer(s, how) => self.answer_question(of(s), how),
            Step::Shown(s) => self.show_question(of(s)),
            Step::Turn(s, choice, detail) => self.turn(of(s), choice, detail),
            Step::Late(s, detail) => self.late(of(s), detail),
            Step::Unwind(s) => self.unwind(of(s)),
            Step::Launch(_, detail) => self.launch(detail % 8 == 7),
            Step::LaunchEvent => self.launch_event(),
            Step::Exit(which, code) => self.exit_one(which, code),
            Step::Match(which, lines) => self.match_one(which, lines),
            Step::Notice(which) => self.notice_one(which),
            Step::Repeat(which) => self.repeat_one(which),
            Step::Find => self.find(),
            Step::Die => self.die(),
            Step::Write(most) => self.commit(usize::from(most)),
            Step::Report => self.report(),
            Step::Pump => self.pump(),
            Step::Flush => self.flush(),
            Step::Break => self.host.broken = true,
            Step::Mend => self.host.broken = false,
            Step::Attach(s) => self.open_and_attach(of(s)),
            Step::Clock(by) => self.clock(i64::from(by)),
            Step::Leave(s) => self.leave(of(s)),
            Step::Model(s, which) => self.set_model(of(s), which),
            Step::Reset(s) => self.reset(of(s)),
            Step::Undo(s) => self.undo(of(s), false),
            Step::Retry(s) => self.undo(of(s), true),
            Step::Truncate(s, which) => self.truncate(of(s), which),
            Step::Goal(s, how) => self.goal(of(s), how),
            Step::Drain => self.drain(),
            Step::Away(minutes) => self.away = i64::from(minutes) * 60_000,
            Step::Crash(commits, ended) => self.crash(usize::from(commits), ended),
            Step::Stop(ended) => self.stop(ended),
        }
        self.tick();
    }

    fn steer(&mut self, s: usize) {
        // Not named after the time, which comes again where the clock is set back.
        let text = format!("remark {}", self.fresh_call());
        self.command(s, Input::Steer(text));
    }

    fn wake_now(&mut self, s: usize) {
        self.tally.releases += 1;
        self.command(s, Input::WakeNow);
    }

    fn show_question(&mut self, s: usize) {
        if let Some(q) = self.session(s).and_then(|x| x.transcript().questions.first()) {
            let id = q.id.clone();
            self.feed(s, Input::Shown(id));
        }
    }

    fn open_and_attach(&mut self, s: usize) {
        self.open(s);
        self.attach(s);
    }

    fn reset(&mut self, s: usize) {
        self.coverage.note(Interleaving::Reset);
        self.feed(s, Input::Reset);
    }

    /// A running process ends by itself.
    fn exit_one(&mut self, which: u8, code: u8) {
        let running: Vec<usize> = self.running().collect();
        if let Some(p) = pick(&running, which) {
            self.ends(p, Some(i32::from(code % 3)), None);
        }
    }

    /// A running watched process prints lines that match.
    fn match_one(&mut self, which: u8, lines: u8) {
        let watched = |p: &usize| is_watched(*p) && self.host.watched.contains(p);
        let running: Vec<usize> = self.running().filter(watched).collect();
        if let Some(p) = pick(&running, which) {
            self.matches(p, u64::from(lines % 9) + 1, lines % 5 != 4);
        }
    }

    /// One of the exits that are on their way is reported.
    fn notice_one(&mut self, which: u8) {
        if let Some(p) = pick(&self.host.notices, which) {
            let at = usize::from(which) % self.host.notices.len();
            self.host.notices.remove(at);
            self.report_exit(p);
        }
    }

    /// An exit is reported once more.
    fn repeat_one(&mut self, which: u8) {
        let watched = self.host.watched.iter().copied();
        let ended: Vec<usize> = watched.filter(|p| self.procs[*p].exit.is_some()).collect();
        if let Some(p) = pick(&ended, which) {
            self.report_exit(p);
        }
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
        self.coverage.note_if(paused, Interleaving::OtherModelInPause);
        self.coverage.note_if(tried, Interleaving::OtherModelInRetry);
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
        let typed = SentPrompt {
            session: s,
            id: id.clone(),
            text: text.clone(),
            generation,
            unqueued: false,
        };
        self.prompts.push(typed);
        self.command(s, Input::Prompt { id, text, attendance: Attendance::Attended });
    }

    fn undo(&mut self, s: usize, again: bool) {
        if !self.open(s) {
            return;
        }
        self.classify_undo(s);
        let again = again.then(|| {
            self.coverage.note(Interleaving::Retried);
            (PromptId(format!("r{}", self.fresh_call())), Attendance::Attended)
        });
        self.feed(s, Input::Undo { unloaded: UnloadedRows::default(), again });
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
        self.coverage.note_if(takes, Interleaving::Truncated);
        self.coverage.note_if(cuts, Interleaving::TruncatedTurn);
        self.feed(s, Input::Truncate { after, unloaded: UnloadedRows::default() });
    }

    fn classify_undo(&mut self, s: usize) {
        let Some(session) = self.session(s) else { return };
        let view = session.transcript();
        if view.running.is_some() {
            return self.coverage.note(Interleaving::UndoInTurn);
        }
        let Some(prompt) = session.last_prompt() else { return };
        let wakeup_rows = view.rows.iter().filter(|row| row.n > prompt.n);
        let wakeup_rows = wakeup_rows.filter_map(|row| match &row.body {
            Body::Wakeup(wakeup) => Some((wakeup.process.clone(), wakeup.kind, wakeup.ordinal)),
            _ => None,
        });
        let wakeup_rows: Vec<_> = wakeup_rows.collect();
        let watched = view.processes.iter().any(|p| p.turn >= prompt.turn && p.is_watched());
        let settled = |key| self.stored.ledger.get(key).is_some_and(|e| e.state.is_settled());
        let answered = wakeup_rows.iter().filter(|key| settled(key)).count();
        self.coverage.note(Interleaving::Undone);
        self.coverage.note_if(watched, Interleaving::UndoneWatched);
        self.coverage.note_if(answered > 0, Interleaving::UndoneTold);
        self.coverage.note_if(answered < wakeup_rows.len(), Interleaving::UndoneUntold);
    }

    fn goal(&mut self, s: usize, how: u8) {
        if !self.open(s) {
            return;
        }
        self.tally.goals += 1;
        let ask = match how % 6 {
            0..=2 => {
                self.coverage.note(Interleaving::GoalSet);
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
        let fits = |p: &SentPrompt, now| p.session == s && (p.generation == now || !p.unqueued);
        let now = self.generation;
        if !self.prompts.iter().any(|p| fits(p, now)) || !self.open(s) {
            return;
        }
        if let Some(typed) = self.prompts.iter_mut().rfind(|p| fits(p, now)) {
            // What a crash took is typed anew.
            typed.generation = now;
            let (id, text) = (typed.id.clone(), typed.text.clone());
            self.coverage.note(Interleaving::PromptTwice);
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
        self.coverage.note(Interleaving::Unqueued);
        self.feed(s, Input::Unqueue(id));
    }

    fn cancel(&mut self, s: usize) {
        if let Some(running) = self.session(s).and_then(|x| x.transcript().running.as_ref()) {
            let (source, twice) = (running.source, running.cancelling);
            self.coverage.note_if(source == Source::Wakeup && !twice, Interleaving::CancelWakeup);
            self.coverage.note_if(twice, Interleaving::CancelTwice);
            let waits = |p: &usize| self.procs[*p].owner == s && self.is_working(*p);
            let tasks = (0..self.procs.len()).any(|p| waits(&p));
            self.coverage.note_if(!twice && tasks, Interleaving::CancelWithTasks);
            self.coverage.note_if(!twice && s >= self.users, Interleaving::CancelTask);
        }
        self.command(s, Input::Cancel);
    }

    fn kill(&mut self, s: usize, which: u8) {
        let Some(session) = self.session(s) else { return };
        let all = &session.transcript().processes;
        let chosen = all.get(usize::from(which) % all.len().max(1)).map(|p| p.id.clone());
        let live = all.iter().any(|p| p.is_live() && p.killed_by.is_none());
        self.coverage.note_if(live, Interleaving::KillByUser);
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
        self.host.launch_events.push_back((s, turn, event));
    }

    pub(super) fn launch_event(&mut self) {
        let Some((s, turn, event)) = self.host.launch_events.pop_front() else { return };
        let (p, runs) = match &event {
            TurnEvent::FailedStart { process, .. } => (number_of(process), false),
            TurnEvent::Running { process, .. } => (number_of(process), true),
            _ => return,
        };
        self.event(s, turn, event, None);
        self.launched(s, turn, p, runs);
    }

    fn report_exit(&mut self, p: usize) {
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
            while !self.host.launch_events.is_empty() {
                self.launch_event();
            }
            while !self.host.finding.is_empty() {
                self.find();
            }
            while let Some(p) = self.host.notices.pop() {
                self.report_exit(p);
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
            let busy =
                |l: &super::world::LiveSession| !l.outbox.is_empty() || !l.session.is_at_rest();
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
