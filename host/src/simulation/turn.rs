//! A turn as `turn.rs` and the tools behave: it says one thing after the other, waits for replies
//! where they do, and is gone after an abort or a crash.

use super::met::Class;
use super::world::{Answering, World, is_watched, process_id};
use crate::session::GoalVerdict;
use crate::session::{Ack, Finished, Reply, Seen, Shell, TurnEvent, TurnKind, TurnPlan};
use protocol::{
    Answer, Ask, Assistant, Body, CallId, Choice, Delivery, Millis, Outcome, Part, Process, Row,
    Source, State, Stop, Storage, ToolCall, ToolResult, TurnId,
};

/// The running turn of a session.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) turn: TurnId,
    pub(super) source: Source,
    pub(super) doing: Doing,
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
pub(super) enum Doing {
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
    Give(Option<(usize, Seen)>),
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
            doing: match &plan.kind {
                TurnKind::Judge { goal, .. } => Doing::Judging(goal.clone()),
                _ if calls.is_empty() => Doing::Thinking,
                _ => Doing::Calls,
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
        match actor.doing.clone() {
            Doing::Thinking => self.think(s, choice, detail),
            Doing::Calls => self.call(s, choice, detail),
            Doing::Waiting(p) => {
                let ended = self.procs[p].exit.is_some();
                if ended || detail.is_multiple_of(4) {
                    self.becomes(s, Doing::Give(ended.then_some((p, Seen::Now))));
                }
            }
            // A wait for a task has its time, a call that delegates has not.
            Doing::Ending { bounded: true, .. } if detail.is_multiple_of(4) => {
                self.becomes(s, Doing::Give(None));
            }
            Doing::Give(seen) => self.give(s, seen),
            Doing::Judging(goal) => self.find_out(s, goal, choice),
            Doing::Finish => {
                let outcome = if detail % 16 == 1 { Outcome::Limit } else { Outcome::Done };
                self.end_turn(s, outcome, None);
            }
            Doing::Row { .. }
            | Doing::Spawning(_)
            | Doing::Killing { .. }
            | Doing::Delegating { .. }
            | Doing::Ending { .. }
            | Doing::Judged(_)
            | Doing::Asking(_) => {}
        }
    }

    /// The model says how the goal stands, or cannot be asked.
    fn find_out(&mut self, s: usize, goal: String, choice: u8) {
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
                self.met.note(Class::GoalReached);
                Some(GoalVerdict { done: true, reason })
            }
        };
        let ack = self.fresh_ack(s);
        self.becomes(s, Doing::Judged(ack));
        self.event(s, turn, TurnEvent::Judged { goal, verdict }, Some((ack, Answering::Turn)));
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
                self.met.note_if(wakeup, Class::FailedWakeup);
                self.met.note_if(s >= self.users, Class::FailedTask);
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
        actor.doing = Doing::Row { ack, last };
        let turn = actor.turn;
        let event = TurnEvent::Answered { answer: answer(calls), usage: None, context: None };
        self.event(s, turn, event, Some((ack, Answering::Turn)));
    }

    fn call(&mut self, s: usize, choice: u8, detail: u8) {
        let Some(actor) = self.actor(s) else { return };
        let turn = actor.turn;
        let Some(call) = actor.calls.first().cloned() else {
            self.becomes(s, Doing::Thinking);
            return;
        };
        let runs = self.session(s).and_then(|x| x.transcript().running.as_ref());
        if runs.is_none_or(|running| running.turn != turn) {
            // A call asks before it begins, and hears that its turn is over.
            let outcome = Outcome::Failed { class: "store".to_owned() };
            return self.end_turn(s, outcome, Some("refused".to_owned()));
        }
        if self.has_result(s, &call) {
            return self.fail(format!("rerun: {call} of {turn} has a result"));
        }
        if self.begun.contains(&call) {
            return self.fail(format!("rerun: {call} of {turn} was begun by an earlier host"));
        }
        if let Some(ask) = self.asks.get(&call).cloned() {
            self.met.note(Class::AskedAgain);
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
        let ended = |world: &Self, p: usize| match world.procs[p].worker {
            Some(_) => world.has_ended(s, p),
            None => world.procs[p].exit.is_some(),
        };
        match (choice % 10, chosen) {
            (8 | 9, _) if s < self.users => self.delegate(s, turn, choice % 10 == 9),
            (3, Some(p)) if self.procs[p].worker.is_some() && !ended(self, p) => {
                self.await_end(s, turn, p, true);
            }
            (0..=2, _) => self.spawn(s, turn, !detail.is_multiple_of(6)),
            (3, Some(p)) if !ended(self, p) => {
                self.becomes(s, Doing::Waiting(p));
                self.event(s, turn, TurnEvent::Awaiting(process_id(p)), None);
            }
            (3 | 4 | 6, Some(p)) if ended(self, p) => {
                self.becomes(s, Doing::Give(Some((p, Seen::Now))));
            }
            (5, Some(p)) if ended(self, p) => {
                self.becomes(s, Doing::Give(Some((p, Seen::AtTurnEnd))));
            }
            (6, Some(p)) => {
                let ack = self.fresh_ack(s);
                self.becomes(s, Doing::Killing { ack, process: p });
                self.met.note(Class::KillByAgent);
                self.event(
                    s,
                    turn,
                    TurnEvent::Killing(process_id(p)),
                    Some((ack, Answering::Turn)),
                );
            }
            (7, _) => {
                let ask = if detail.is_multiple_of(2) {
                    Ask::Clarify { question: format!("which, {}?", call.0), choices: Vec::new() }
                } else {
                    Ask::Approval {
                        command: "rm x".to_owned(),
                        part: "rm x".to_owned(),
                        rule: format!("rule{}", detail % 3),
                        reason: "removes".to_owned(),
                        allow_always: true,
                    }
                };
                self.ask(s, turn, call, ask);
            }
            _ => {
                self.becomes(s, Doing::Give(None));
                self.event(s, turn, TurnEvent::CallStarted(call.clone()), None);
                self.event(s, turn, TurnEvent::CallOutput { call, text: "out".to_owned() }, None);
            }
        }
    }

    fn ask(&mut self, s: usize, turn: TurnId, call: CallId, ask: Ask) {
        let ack = self.fresh_ack(s);
        self.becomes(s, Doing::Asking(ack));
        self.asks.insert(call.clone(), ask.clone());
        let event = TurnEvent::Ask { call, ask, timeout: 60_000 };
        self.event(s, turn, event, Some((ack, Answering::Turn)));
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
            self.becomes(s, Doing::Spawning(p));
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
        self.met.note_if(self.is_failing(), Class::FailingSpawn);
        self.event(s, turn, TurnEvent::Spawn(Box::new(process)), Some((ack, Answering::Spawn(p))));
    }

    fn give(&mut self, s: usize, seen: Option<(usize, Seen)>) {
        let ack = self.fresh_ack(s);
        let Some(actor) = self.actor_mut(s) else { return };
        let turn = actor.turn;
        if actor.calls.is_empty() {
            actor.doing = Doing::Thinking;
            return;
        }
        let call = actor.calls.remove(0);
        actor.doing = Doing::Row { ack, last: false };
        if let Some((p, how)) = seen {
            self.stored.shows.insert(call.clone(), (process_id(p), how));
            self.procs[p].seen = true;
        }
        let unanswered = self.actor_mut(s).is_some_and(|a| std::mem::take(&mut a.unanswered));
        let seen = seen.iter().map(|(p, how)| (process_id(*p), *how)).collect();
        let event = TurnEvent::Result(finished(call, seen, unanswered));
        self.event(s, turn, event, Some((ack, Answering::Turn)));
    }

    pub(super) fn end_turn(&mut self, s: usize, outcome: Outcome, failure: Option<String>) {
        let Some(live) = self.host.live.get_mut(&s) else { return };
        let Some(actor) = live.actor.take() else { return };
        live.over.push(actor.turn);
        self.event(s, actor.turn, TurnEvent::Ended { outcome, failure }, None);
    }

    /// A waiting turn hears back.
    pub(super) fn hear(&mut self, s: usize, turn: TurnId, ack: Ack, reply: &Reply) {
        let Some(actor) = self.actor_mut(s) else { return };
        if actor.turn != turn || actor.aborted.is_some() {
            return;
        }
        let resumed = actor.resumed;
        if let (Doing::Asking(mine), Reply::Answer(answer), Some(call)) =
            (&actor.doing, reply, actor.calls.first().cloned())
            && *mine == ack
        {
            actor.unanswered = *answer == Answer::Expired;
            self.met.note_if(resumed, Class::AnswerAfterRestart);
            let approved = matches!(answer, Answer::Approval(choice) if *choice != Choice::Deny);
            if approved && self.host.storage == Storage::Ok {
                self.begun.insert(call);
            }
        }
        let Some(actor) = self.actor_mut(s) else { return };
        actor.doing = match (&actor.doing, reply) {
            (Doing::Row { ack: mine, last }, Reply::Row(_)) if *mine == ack => match last {
                true => Doing::Finish,
                false if actor.calls.is_empty() => Doing::Thinking,
                false => Doing::Calls,
            },
            (Doing::Row { ack: mine, .. }, _) if *mine == ack => {
                let outcome = Outcome::Failed { class: "store".to_owned() };
                return self.end_turn(s, outcome, Some("refused".to_owned()));
            }
            (Doing::Killing { ack: mine, process }, Reply::Go) if *mine == ack => {
                let process = *process;
                if self.procs[process].worker.is_some() {
                    return self.await_end(s, turn, process, true);
                }
                self.becomes(s, Doing::Waiting(process));
                self.host.killing.push(process);
                return;
            }
            (Doing::Delegating { ack: mine, process, waits: true }, Reply::Go) if *mine == ack => {
                let process = *process;
                return self.await_end(s, turn, process, false);
            }
            (Doing::Ending { ack: mine, process, .. }, Reply::Ended { .. }) if *mine == ack => {
                Doing::Give(Some((*process, Seen::Now)))
            }
            (Doing::Judged(mine), _) if *mine == ack => Doing::Finish,
            (
                Doing::Killing { ack: mine, .. }
                | Doing::Delegating { ack: mine, .. }
                | Doing::Ending { ack: mine, .. }
                | Doing::Asking(mine),
                _,
            ) if *mine == ack => Doing::Give(None),
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
                self.met.note_if(aborted.is_some(), Class::LateSpawn);
                return self.spawn(s, turn, true);
            }
            _ => TurnEvent::status("late".to_owned()),
        };
        self.met.note_if(aborted.is_none(), Class::LateWords);
        let ack = self.fresh_ack(s);
        self.event(s, turn, event, Some((ack, Answering::Turn)));
    }

    pub(super) fn becomes(&mut self, s: usize, doing: Doing) {
        if let Some(actor) = self.actor_mut(s) {
            actor.doing = doing;
        }
    }
}

fn answer(calls: Vec<CallId>) -> Assistant {
    let stop = if calls.is_empty() { Stop::End } else { Stop::Calls };
    let call = |id| ToolCall { id, name: "terminal".to_owned(), args: serde_json::Value::Null };
    let calls = calls.into_iter().map(call).collect();
    Assistant { text: "answer".to_owned(), calls, stop, ..Assistant::default() }
}

/// The calls that a turn which goes on runs first, by the host's own rule.
fn open_calls(rows: &[Row]) -> Vec<CallId> {
    protocol::open_calls(rows).into_iter().map(|call| call.id).collect()
}

fn finished(call: CallId, seen: Vec<(protocol::ProcessId, Seen)>, unanswered: bool) -> Finished {
    let result = ToolResult {
        call,
        name: "process".to_owned(),
        text: "{}".to_owned(),
        failed: false,
        millis: 1,
        unanswered,
    };
    let shell = Some(Shell { cwd: "/".to_owned(), ..Shell::default() });
    Finished { result, seen, shell, todo: None }
}
