//! A turn as `turn.rs` and the tools behave: it says one thing after the other, waits for replies
//! where they do, and is gone after an abort or a crash.

use super::coverage::Interleaving;
use super::world::{Awaited, World, is_watched, process_id};
use crate::session::GoalVerdict;
use crate::session::{Ack, ConsumeAt, FinishedCall, Reply, Shell, TurnEvent, TurnKind, TurnPlan};
use protocol::{
    Answer, Ask, Assistant, Body, CallId, Choice, Delivery, Millis, Outcome, Part, Process, Row,
    Source, State, Stop, Storage, ToolCall, ToolResult, TurnId,
};

/// The running turn of a session.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) turn: TurnId,
    pub(super) source: Source,
    pub(super) phase: Phase,
    /// When it was interrupted; it says nothing of its own any more.
    pub(super) aborted: Option<Millis>,
    pub(super) calls: Vec<CallId>,
    pub(super) requests: u32,
    /// It goes on where an earlier host stopped.
    resumed: bool,
    /// Its call has asked and got no answer.
    unanswered: bool,
}

/// Where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    /// The model is asked.
    Thinking,
    /// Waits for its row, then goes on or ends.
    Row { ack: Ack, last: bool },
    /// The next call is due.
    Calls,
    /// A call waits for the launch of that process.
    Spawning(usize),
    /// A call waits for the end of that process.
    Waiting(usize),
    /// A call may kill that process once this is answered.
    Killing { ack: Ack, process: usize },
    /// A call delegates that task.
    Delegating { ack: Ack, process: usize, waits: bool },
    /// A call waits for the end of that task, for a time only or as long as it takes.
    Ending { ack: Ack, process: usize, bounded: bool },
    /// A call asks the user.
    Asking(Ack),
    /// A call has a result.
    Give(Option<(usize, ConsumeAt)>),
    /// The model is asked about that goal.
    Judging(String),
    /// Waits until what it found is written down.
    Judged(Ack),
    /// All is said.
    Finish,
}

impl Actor {
    /// A turn that goes on first runs the calls that have no result yet.
    pub(super) fn new(plan: &TurnPlan, rows: &[Row]) -> Self {
        let resumed = plan.kind == TurnKind::Resume;
        let calls = if resumed { open_calls(rows) } else { Vec::new() };
        Self {
            turn: plan.turn,
            source: plan.source,
            phase: match &plan.kind {
                TurnKind::Judge { goal, .. } => Phase::Judging(goal.clone()),
                _ if calls.is_empty() => Phase::Thinking,
                _ => Phase::Calls,
            },
            aborted: None,
            calls,
            requests: 0,
            resumed,
            unanswered: false,
        }
    }
}

impl World<'_> {
    /// The running turn makes its next move. Move 4 with detail 0 leads to an end.
    pub(super) fn turn(&mut self, s: usize, choice: u8, detail: u8) {
        let Some(actor) = self.actor(s) else { return };
        if actor.aborted.is_some() {
            return;
        }
        match actor.phase.clone() {
            Phase::Thinking => self.think(s, choice, detail),
            Phase::Calls => self.call(s, choice, detail),
            Phase::Waiting(p) => {
                let ended = self.procs[p].exit.is_some();
                if ended || detail.is_multiple_of(4) {
                    self.set_phase(s, Phase::Give(ended.then_some((p, ConsumeAt::Now))));
                }
            }
            // A wait for a task has its time, a call that delegates has not.
            Phase::Ending { bounded: true, .. } if detail.is_multiple_of(4) => {
                self.set_phase(s, Phase::Give(None));
            }
            Phase::Give(seen) => self.give(s, seen),
            Phase::Judging(goal) => self.judge_goal(s, goal, choice),
            Phase::Finish => {
                let outcome = if detail % 16 == 1 { Outcome::Limit } else { Outcome::Done };
                self.end_turn(s, outcome, None);
            }
            Phase::Row { .. }
            | Phase::Spawning(_)
            | Phase::Killing { .. }
            | Phase::Delegating { .. }
            | Phase::Ending { .. }
            | Phase::Judged(_)
            | Phase::Asking(_) => {}
        }
    }

    /// The model says how the goal stands, or cannot be asked.
    fn judge_goal(&mut self, s: usize, goal: String, choice: u8) {
        let Some(turn) = self.actor(s).map(|a| a.turn) else { return };
        let reason = "so it is".to_owned();
        let verdict = match choice % 5 {
            0 | 1 => {
                if choice.is_multiple_of(2) {
                    self.event(s, turn, TurnEvent::NotJudged("nobody answers".to_owned()), None);
                }
                let outcome = Outcome::Failed { class: "unreachable".to_owned() };
                return self.end_turn(s, outcome, None);
            }
            2 => None,
            3 => Some(GoalVerdict { done: false, reason }),
            _ => {
                self.coverage.note(Interleaving::GoalReached);
                Some(GoalVerdict { done: true, reason })
            }
        };
        let ack = self.fresh_ack(s);
        self.set_phase(s, Phase::Judged(ack));
        self.event(s, turn, TurnEvent::Judged { goal, verdict }, Some((ack, Awaited::Turn)));
    }

    fn think(&mut self, s: usize, choice: u8, detail: u8) {
        let Some(actor) = self.actor(s) else { return };
        let (turn, requests) = (actor.turn, actor.requests);
        match choice % 10 {
            0 | 1 => {
                let part = if detail.is_multiple_of(3) { Part::Reasoning } else { Part::Text };
                self.event(s, turn, TurnEvent::Delta { part, text: format!("d{detail} ") }, None);
            }
            6..=8 if requests < 5 => {
                let calls: Vec<CallId> = (0..=detail % 2).map(|_| self.fresh_call()).collect();
                if let Some(actor) = self.actor_mut(s) {
                    actor.calls.clone_from(&calls);
                }
                self.answer(s, calls);
            }
            9 => {
                let class = ["unreachable", "auth", "truncated", "quota"][usize::from(detail) % 4];
                self.tally.failures += 1;
                let outcome = Outcome::Failed { class: class.to_owned() };
                let wakeup = self.actor(s).is_some_and(|a| a.source == Source::Wakeup);
                self.coverage.note_if(wakeup, Interleaving::FailedWakeup);
                self.coverage.note_if(s >= self.users, Interleaving::FailedTask);
                self.end_turn(s, outcome, Some(format!("failed: {class}")));
            }
            _ => self.answer(s, Vec::new()),
        }
    }

    fn answer(&mut self, s: usize, calls: Vec<CallId>) {
        let last = calls.is_empty();
        let ack = self.fresh_ack(s);
        let Some(actor) = self.actor_mut(s) else { return };
        actor.requests += 1;
        actor.phase = Phase::Row { ack, last };
        let turn = actor.turn;
        let event = TurnEvent::Answered { answer: answer(calls), usage: None, context: None };
        self.event(s, turn, event, Some((ack, Awaited::Turn)));
    }

    /// The next call of the last answer runs: which tool, and its detail.
    fn call(&mut self, s: usize, choice: u8, detail: u8) {
        let Some(actor) = self.actor(s) else { return };
        let turn = actor.turn;
        let Some(call) = actor.calls.first().cloned() else {
            return self.set_phase(s, Phase::Thinking);
        };
        if !self.may_begin(s, turn, &call) {
            return;
        }
        if let Some(ask) = self.asks.get(&call).cloned() {
            self.coverage.note(Interleaving::AskedAgain);
            return self.ask(s, turn, call, ask);
        }
        // What a failing store cannot remember, the next host does not know of.
        if choice % 10 != 7 && self.host.storage == Storage::Ok {
            self.begun.insert(call.clone());
        }
        let known: Vec<usize> = (0..self.procs.len())
            .filter(|p| self.procs[*p].owner == s && self.lists(s, *p))
            .collect();
        let chosen = known.get(usize::from(detail) % known.len().max(1)).copied();
        match (choice % 10, chosen) {
            (8 | 9, _) if s < self.users => self.delegate(s, turn, choice % 10 == 9),
            (0..=2, _) => self.spawn(s, turn, !detail.is_multiple_of(6)),
            (choice @ 3..=6, Some(p)) => self.process_call(s, turn, call, choice, p),
            (7, _) => {
                let ask = new_question(&call, detail);
                self.ask(s, turn, call, ask);
            }
            _ => self.command_call(s, turn, call),
        }
    }

    /// Whether a call may begin; a rule is broken where one begins twice.
    fn may_begin(&mut self, s: usize, turn: TurnId, call: &CallId) -> bool {
        let runs = self.session(s).and_then(|x| x.transcript().running.as_ref());
        if runs.is_none_or(|running| running.turn != turn) {
            // A call asks before it begins, and is refused: its turn is over.
            let outcome = Outcome::Failed { class: "store".to_owned() };
            self.end_turn(s, outcome, Some("refused".to_owned()));
            return false;
        }
        if self.has_result(s, call) {
            self.fail(format!("rerun: {call} of {turn} has a result"));
            return false;
        }
        if self.begun.contains(call) {
            self.fail(format!("rerun: {call} of {turn} was begun by an earlier host"));
            return false;
        }
        true
    }

    /// A call of the process tool: waits for a process, sees its end or kills it.
    fn process_call(&mut self, s: usize, turn: TurnId, call: CallId, choice: u8, p: usize) {
        let is_task = self.procs[p].worker.is_some();
        let ended = if is_task { self.has_ended(s, p) } else { self.procs[p].exit.is_some() };
        match choice {
            3 if is_task && !ended => self.await_end(s, turn, p, true),
            3 if !ended => {
                self.set_phase(s, Phase::Waiting(p));
                self.event(s, turn, TurnEvent::Awaiting(process_id(p)), None);
            }
            3 | 4 | 6 if ended => self.set_phase(s, Phase::Give(Some((p, ConsumeAt::Now)))),
            5 if ended => self.set_phase(s, Phase::Give(Some((p, ConsumeAt::TurnEnd)))),
            6 => {
                let ack = self.fresh_ack(s);
                self.set_phase(s, Phase::Killing { ack, process: p });
                self.coverage.note(Interleaving::KillByAgent);
                let event = TurnEvent::Killing(process_id(p));
                self.event(s, turn, event, Some((ack, Awaited::Turn)));
            }
            _ => self.command_call(s, turn, call),
        }
    }

    /// A call that runs a command in the foreground.
    fn command_call(&mut self, s: usize, turn: TurnId, call: CallId) {
        self.set_phase(s, Phase::Give(None));
        self.event(s, turn, TurnEvent::CallStarted(call.clone()), None);
        self.event(s, turn, TurnEvent::CallOutput { call, text: "out".to_owned() }, None);
    }

    fn ask(&mut self, s: usize, turn: TurnId, call: CallId, ask: Ask) {
        let ack = self.fresh_ack(s);
        self.set_phase(s, Phase::Asking(ack));
        self.asks.insert(call.clone(), ask.clone());
        let event = TurnEvent::Ask { call, ask, timeout: 60_000 };
        self.event(s, turn, event, Some((ack, Awaited::Turn)));
    }

    fn has_result(&self, s: usize, call: &CallId) -> bool {
        let is_it = |row: &Row| matches!(&row.body, Body::Tool(result) if result.call == *call);
        let projects = self.stored.projects(&self.ids[s]);
        projects.is_some_and(|projects| projects.rows.values().any(is_it))
            || self.session(s).is_some_and(|x| x.transcript().rows.iter().any(is_it))
    }

    pub(super) fn spawn(&mut self, s: usize, turn: TurnId, notify: bool) {
        let p = self.new_process(s, turn);
        let ack = self.fresh_ack(s);
        if self.actor(s).is_some_and(|a| a.turn == turn && a.aborted.is_none()) {
            self.set_phase(s, Phase::Spawning(p));
        }
        let process = Process {
            id: process_id(p),
            session: self.ids[self.owner_at_spawn(s)].clone(),
            turn,
            work: protocol::Work::Command,
            command: format!("job {p}"),
            cwd: "/".to_owned(),
            pid: None,
            started_at: self.now,
            state: State::Starting,
            exit: None,
            notify,
            watch: if is_watched(p) { vec!["works".to_owned()] } else { Vec::new() },
            watching: protocol::Watching::default(),
            pty: false,
            killed_by: None,
            delivery: Delivery::Open,
        };
        self.coverage.note_if(self.is_failing(), Interleaving::FailingSpawn);
        self.event(s, turn, TurnEvent::Spawn(Box::new(process)), Some((ack, Awaited::Spawn(p))));
    }

    fn give(&mut self, s: usize, seen: Option<(usize, ConsumeAt)>) {
        let ack = self.fresh_ack(s);
        let Some(actor) = self.actor_mut(s) else { return };
        let turn = actor.turn;
        if actor.calls.is_empty() {
            actor.phase = Phase::Thinking;
            return;
        }
        let call = actor.calls.remove(0);
        actor.phase = Phase::Row { ack, last: false };
        if let Some((p, how)) = seen {
            self.stored.shows.insert(call.clone(), (process_id(p), how));
            self.procs[p].seen = true;
        }
        let unanswered = self.actor_mut(s).is_some_and(|a| std::mem::take(&mut a.unanswered));
        let seen = seen.iter().map(|(p, how)| (process_id(*p), *how)).collect();
        let event = TurnEvent::Result(finished(call, seen, unanswered));
        self.event(s, turn, event, Some((ack, Awaited::Turn)));
    }

    pub(super) fn end_turn(&mut self, s: usize, outcome: Outcome, failure: Option<String>) {
        let Some(live) = self.host.live.get_mut(&s) else { return };
        let Some(actor) = live.actor.take() else { return };
        live.over.push(actor.turn);
        self.event(s, actor.turn, TurnEvent::Ended { outcome, failure }, None);
    }

    /// A waiting turn hears back.
    pub(super) fn receive(&mut self, s: usize, turn: TurnId, ack: Ack, reply: &Reply) {
        let Some(actor) = self.actor_mut(s) else { return };
        if actor.turn != turn || actor.aborted.is_some() {
            return;
        }
        let resumed = actor.resumed;
        if let (Phase::Asking(mine), Reply::Answer(answer), Some(call)) =
            (&actor.phase, reply, actor.calls.first().cloned())
            && *mine == ack
        {
            actor.unanswered = *answer == Answer::Expired;
            self.coverage.note_if(resumed, Interleaving::AnswerAfterRestart);
            let approved = matches!(answer, Answer::Approval(choice) if *choice != Choice::Deny);
            if approved && self.host.storage == Storage::Ok {
                self.begun.insert(call);
            }
        }
        let Some(actor) = self.actor_mut(s) else { return };
        actor.phase = match (&actor.phase, reply) {
            (Phase::Row { ack: mine, last }, Reply::Row(_)) if *mine == ack => match last {
                true => Phase::Finish,
                false if actor.calls.is_empty() => Phase::Thinking,
                false => Phase::Calls,
            },
            (Phase::Row { ack: mine, .. }, _) if *mine == ack => {
                let outcome = Outcome::Failed { class: "store".to_owned() };
                return self.end_turn(s, outcome, Some("refused".to_owned()));
            }
            (Phase::Killing { ack: mine, process }, Reply::Go) if *mine == ack => {
                let process = *process;
                if self.procs[process].worker.is_some() {
                    return self.await_end(s, turn, process, true);
                }
                self.set_phase(s, Phase::Waiting(process));
                self.host.killing.push(process);
                return;
            }
            (Phase::Delegating { ack: mine, process, waits: true }, Reply::Go) if *mine == ack => {
                let process = *process;
                return self.await_end(s, turn, process, false);
            }
            (Phase::Ending { ack: mine, process, .. }, Reply::Ended { .. }) if *mine == ack => {
                Phase::Give(Some((*process, ConsumeAt::Now)))
            }
            (Phase::Judged(mine), _) if *mine == ack => Phase::Finish,
            (
                Phase::Killing { ack: mine, .. }
                | Phase::Delegating { ack: mine, .. }
                | Phase::Ending { ack: mine, .. }
                | Phase::Asking(mine),
                _,
            ) if *mine == ack => Phase::Give(None),
            (other, _) => (*other).clone(),
        };
    }

    /// Words of a turn that was interrupted or is over.
    pub(super) fn late(&mut self, s: usize, detail: u8) {
        let Some(live) = self.host.live.get(&s) else { return };
        let aborted = live.actor.as_ref().filter(|a| a.aborted.is_some()).map(|a| a.turn);
        let Some(turn) = aborted.or_else(|| live.over.last().copied()) else { return };
        let call = CallId(format!("late{}", self.now));
        let event = match detail % 6 {
            0 => TurnEvent::Delta { part: Part::Text, text: "late ".to_owned() },
            1 => TurnEvent::Answered { answer: answer(Vec::new()), usage: None, context: None },
            2 => TurnEvent::Result(finished(call, Vec::new(), false)),
            3 if aborted.is_none() => TurnEvent::Ended { outcome: Outcome::Done, failure: None },
            4 => {
                self.coverage.note_if(aborted.is_some(), Interleaving::LateSpawn);
                return self.spawn(s, turn, true);
            }
            _ => TurnEvent::status("late".to_owned()),
        };
        self.coverage.note_if(aborted.is_none(), Interleaving::LateWords);
        let ack = self.fresh_ack(s);
        self.event(s, turn, event, Some((ack, Awaited::Turn)));
    }

    pub(super) fn set_phase(&mut self, s: usize, phase: Phase) {
        if let Some(actor) = self.actor_mut(s) {
            actor.phase = phase;
        }
    }
}

fn answer(calls: Vec<CallId>) -> Assistant {
    let stop = if calls.is_empty() { Stop::End } else { Stop::Calls };
    let call = |id| ToolCall { id, name: "terminal".to_owned(), args: serde_json::Value::Null };
    let calls = calls.into_iter().map(call).collect();
    Assistant { text: "answer".to_owned(), calls, stop, ..Assistant::default() }
}

/// What a call asks that has asked nothing yet.
fn new_question(call: &CallId, detail: u8) -> Ask {
    if detail.is_multiple_of(2) {
        Ask::Clarify { question: format!("which, {}?", call.0), choices: Vec::new() }
    } else {
        Ask::Approval {
            command: "rm x".to_owned(),
            part: "rm x".to_owned(),
            rule: format!("rule{}", detail % 3),
            reason: "removes".to_owned(),
            allow_always: true,
        }
    }
}

/// The calls that a turn which goes on runs first, by the host's own rule.
fn open_calls(rows: &[Row]) -> Vec<CallId> {
    protocol::open_calls(rows).into_iter().map(|call| call.id).collect()
}

fn finished(
    call: CallId,
    seen: Vec<(protocol::ProcessId, ConsumeAt)>,
    unanswered: bool,
) -> FinishedCall {
    let result = ToolResult {
        call,
        name: "process".to_owned(),
        text: "{}".to_owned(),
        failed: false,
        millis: 1,
        unanswered,
    };
    let shell = Some(Shell { cwd: "/".to_owned(), ..Shell::default() });
    FinishedCall { result, seen, shell, todo: None }
}
