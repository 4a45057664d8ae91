//! The rules of the session core, one test each: events in, state and effects out.

mod choices;
mod clock;
mod compression;
mod defect;
mod delegations;
mod deletion;
mod disk;
mod fold;
mod goal;
mod holds;
mod interplay;
mod orders;
mod processes;
mod prompts;
mod questions;
mod resume;
mod storage;
mod tokens;
mod undo;
mod uploads;
mod watches;

use std::collections::BTreeMap;

use super::*;
use crate::process::WatchHit;
use crate::store::{Entry, Loaded, OpenTurn, Stage};
use protocol::{
    Answer, Ask, Assistant, CallId, Choice, Delivery, End, Exit, Killer, Part, Question, Source,
    State, Stop, Summary, ToolCall, ToolResult, WakeupKind,
};

/// A session with a clock of its own that remembers what it did.
struct Rig {
    session: Session,
    now: Millis,
    prompts: u32,
    effects: Vec<Effect>,
    /// A view that saw every published event.
    view: Transcript,
}

fn meta() -> Meta {
    Meta { id: SessionId("s1".to_owned()), model: "demo".to_owned(), ..Meta::default() }
}

impl Rig {
    fn new() -> Self {
        let session = Session::new(meta(), Some(1000), Rules::default());
        let view = session.transcript().clone();
        Self { session, now: 1_000, prompts: 0, effects: Vec::new(), view }
    }

    fn feed(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.session.handle(input, self.now);
        for effect in &effects {
            if let Effect::Publish(event) = effect {
                self.view.apply(event);
            }
        }
        self.effects.extend(effects.clone());
        effects
    }

    fn prompt(&mut self, text: &str) -> Vec<Effect> {
        self.prompts += 1;
        let id = PromptId(format!("p{}", self.prompts));
        self.feed(Input::Prompt { id, text: text.to_owned(), attendance: Attendance::Attended })
    }

    fn event(&mut self, event: TurnEvent) -> Vec<Effect> {
        let turn = self.session.turns;
        self.feed(Input::TurnEvent { turn, ack: Ack(7), event })
    }

    fn spawn(&mut self, id: &str) {
        self.event(TurnEvent::Spawn(Box::new(process(id))));
        self.event(TurnEvent::Running { process: pid(id), pid: 1 });
    }

    fn exit(&mut self, id: &str) -> Vec<Effect> {
        let exit = Exit { end: End::Exited, code: Some(0), signal: None, at: self.now };
        self.feed(Input::Exited { process: pid(id), exit, output: format!("output of {id}") })
    }

    fn answer(&mut self, text: &str) -> Vec<Effect> {
        let answer = Assistant { text: text.to_owned(), ..Assistant::default() };
        self.event(TurnEvent::Answered { answer, usage: None, context: None })
    }

    fn end(&mut self) -> Vec<Effect> {
        self.event(TurnEvent::Ended { outcome: Outcome::Done, failure: None })
    }

    fn result(&mut self, seen: Vec<(ProcessId, ConsumeAt)>) -> Vec<Effect> {
        let result = ToolResult {
            call: CallId("c1".to_owned()),
            name: "process".to_owned(),
            text: "{}".to_owned(),
            failed: false,
            millis: 1,
            unanswered: false,
        };
        self.event(TurnEvent::Result(FinishedCall { result, seen, shell: None, todo: None }))
    }

    fn starts(&self) -> Vec<Source> {
        starts(&self.effects)
    }

    fn told(&self) -> Vec<String> {
        self.session
            .transcript()
            .rows
            .iter()
            .filter_map(|r| match &r.body {
                Body::Wakeup(w) => Some(w.process.0.clone()),
                _ => None,
            })
            .collect()
    }

    fn rows(&self) -> Vec<&'static str> {
        self.session.transcript().rows.iter().map(kind).collect()
    }

    fn delivery(&self, id: &str) -> Delivery {
        self.session.process(&pid(id)).unwrap().delivery.clone()
    }
}

fn kind(row: &Row) -> &'static str {
    match row.body {
        Body::User { .. } => "user",
        Body::Wakeup(_) => "wakeup",
        Body::Summary(_) => "summary",
        Body::Note { .. } => "note",
        Body::Assistant(_) => "assistant",
        Body::Tool(_) => "tool",
        Body::Failure { .. } => "failure",
    }
}

fn starts(effects: &[Effect]) -> Vec<Source> {
    effects
        .iter()
        .filter_map(|e| match e {
            Effect::Start(plan) => Some(plan.source),
            _ => None,
        })
        .collect()
}

fn pid(id: &str) -> ProcessId {
    ProcessId(id.to_owned())
}

fn process(id: &str) -> Process {
    Process {
        work: protocol::Work::Command,
        watching: protocol::Watching::default(),
        id: pid(id),
        session: SessionId("s1".to_owned()),
        turn: TurnId(1),
        command: format!("run {id}"),
        cwd: "/".to_owned(),
        pid: None,
        started_at: 0,
        state: State::Starting,
        exit: None,
        notify: true,
        watch: Vec::new(),
        pty: false,
        killed_by: None,
        delivery: Delivery::Open,
    }
}

fn approval(rule: &str) -> Ask {
    Ask::Approval {
        command: "rm -rf x".to_owned(),
        part: "rm -rf x".to_owned(),
        rule: rule.to_owned(),
        reason: "deletes".to_owned(),
        allow_always: false,
    }
}

fn ask(rig: &mut Rig, call: &str, ask: Ask) -> Vec<Effect> {
    rig.event(TurnEvent::Ask { call: CallId(call.to_owned()), ask, timeout: 60_000 })
}

/// A session whose first turn spawned these and has ended.
fn idle_with(ids: &[&str]) -> Rig {
    let mut rig = Rig::new();
    rig.prompt("go");
    for id in ids {
        rig.spawn(id);
    }
    rig.answer("started");
    rig.end();
    rig.effects.clear();
    rig
}

#[test]
fn an_exit_wakes_an_idle_session_exactly_once() {
    // W01, W10
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    rig.exit("a");
    assert_eq!(rig.starts(), [Source::Wakeup]);
    rig.answer("seen");
    rig.end();
    assert_eq!(rig.starts(), [Source::Wakeup]);
    assert_eq!(rig.told(), ["a"]);
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
}

#[test]
fn a_wakeup_is_announced_to_every_view() {
    // W02
    let mut rig = idle_with(&["a"]);
    let effects = rig.exit("a");
    assert!(effects.iter().any(|e| matches!(e, Effect::Announce(Event::Toast(_)))));
}

#[test]
fn claim_rows_and_turn_start_are_one_commit() {
    // W16: all of it is in the effects of one input, so in one transaction.
    let mut rig = idle_with(&["a"]);
    let effects = rig.exit("a");
    let records: Vec<_> = effects
        .iter()
        .filter_map(|e| match e {
            Effect::Record(Record::Ledger(entry)) => Some(format!("{:?}", entry.state)),
            Effect::Record(Record::TurnStarted { .. }) => Some("started".to_owned()),
            Effect::Record(Record::Row { .. }) => Some("row".to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(records, ["Finished", "started", "row", "Claimed(TurnId(2))"]);
}

#[test]
fn an_exit_during_a_turn_waits_for_its_end() {
    // W03, W04
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.exit("a");
    assert_eq!(rig.starts(), [Source::User]);
    rig.answer("done");
    rig.end();
    assert_eq!(rig.starts(), [Source::User, Source::Wakeup]);
    assert_eq!(rig.told(), ["a"]);
}

#[test]
fn an_exit_in_the_teardown_is_delivered() {
    // W04
    for exit_first in [true, false] {
        let mut rig = Rig::new();
        rig.prompt("go");
        rig.spawn("a");
        rig.answer("done");
        if exit_first {
            rig.exit("a");
            rig.end();
        } else {
            rig.end();
            rig.exit("a");
        }
        assert_eq!(rig.starts(), [Source::User, Source::Wakeup]);
        assert_eq!(rig.told(), ["a"]);
    }
}

#[test]
fn a_waiting_prompt_takes_all_that_waits_along_before_itself() {
    // W05
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.spawn("b");
    rig.exit("b");
    rig.exit("a");
    rig.prompt("next");
    rig.prompt("last");
    rig.answer("done");
    rig.end();
    assert_eq!(rig.starts(), [Source::User, Source::User]);
    assert_eq!(rig.told(), ["b", "a"]);
    assert_eq!(rig.rows(), ["user", "assistant", "wakeup", "wakeup", "user"]);
    rig.answer("both");
    rig.end();
    assert_eq!(rig.starts(), [Source::User; 3]);
    assert_eq!(rig.told(), ["b", "a"]);
}

#[test]
fn tasks_that_end_together_cost_one_turn() {
    // W06
    let mut rig = idle_with(&["a", "b", "c", "d"]);
    for id in ["a", "b", "c"] {
        rig.exit(id);
        rig.now += 10;
    }
    assert_eq!(rig.starts(), [], "siblings still run");
    rig.exit("d");
    assert_eq!(rig.starts(), [Source::Wakeup], "the last one does not wait");
    assert_eq!(rig.told(), ["a", "b", "c", "d"]);
}

#[test]
fn a_claim_waits_50_ms_for_siblings_and_never_more_than_250() {
    // W06
    let mut rig = idle_with(&["a", "b", "c"]);
    rig.exit("a");
    assert_eq!(rig.session.deadline(), Some(rig.now + 50));
    rig.now += 49;
    rig.feed(Input::Tick);
    assert_eq!(rig.starts(), []);
    rig.now += 1;
    rig.feed(Input::Tick);
    assert_eq!(rig.starts(), [Source::Wakeup]);

    let mut rig = idle_with(&["a", "b", "c", "d", "e", "f", "g", "h"]);
    let begin = rig.now;
    for id in ["a", "b", "c", "d", "e", "f"] {
        rig.exit(id);
        rig.now += 45;
    }
    assert_eq!(rig.session.deadline(), Some(begin + 250));
    rig.now = begin + 250;
    rig.feed(Input::Tick);
    assert_eq!(rig.starts(), [Source::Wakeup]);
}

#[test]
fn an_end_the_agent_has_seen_does_not_wake() {
    // W07
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.spawn("b");
    rig.exit("a");
    let effects = rig.result(vec![(pid("a"), ConsumeAt::Now), (pid("b"), ConsumeAt::Now)]);
    // The mark and the result are one commit.
    assert!(effects.iter().any(|e| matches!(e, Effect::Record(Record::Row { .. }))));
    let consumed = |e: &&Effect| {
        matches!(e, Effect::Record(Record::Ledger(Entry { state: Stage::Consumed, .. })))
    };
    assert_eq!(effects.iter().filter(consumed).count(), 2);
    // The report of b comes after the agent has seen its end.
    let effects = rig.exit("b");
    assert!(!effects.iter().any(|e| matches!(e, Effect::Announce(_))));
    rig.answer("done");
    rig.end();
    assert_eq!(rig.starts(), [Source::User]);
    assert_eq!(rig.delivery("b"), Delivery::Consumed);
}

#[test]
fn a_poll_counts_only_when_its_turn_ends_normally() {
    // W07
    for (outcome, turns) in [
        (Outcome::Done, vec![Source::User]),
        (Outcome::Failed { class: "server".to_owned() }, vec![Source::User, Source::Wakeup]),
    ] {
        let mut rig = Rig::new();
        rig.prompt("go");
        rig.spawn("a");
        rig.exit("a");
        rig.result(vec![(pid("a"), ConsumeAt::TurnEnd)]);
        rig.event(TurnEvent::Ended { outcome, failure: None });
        assert_eq!(rig.starts(), turns);
    }
}

#[test]
fn a_kill_by_the_agent_is_written_down_first_and_never_wakes() {
    // W08
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    let effects = rig.event(TurnEvent::Killing(pid("a")));
    let record = effects.iter().position(
        |e| matches!(e, Effect::Record(Record::Process(p)) if p.killed_by == Some(Killer::Agent)),
    );
    let go = effects.iter().position(|e| matches!(e, Effect::Reply { reply: Reply::Go, .. }));
    assert!(record.unwrap() < go.unwrap());
    let effects = rig.exit("a");
    assert!(!effects.iter().any(|e| matches!(e, Effect::Announce(_))));
    rig.end();
    assert_eq!(rig.starts(), [Source::User]);
    let exit = rig.session.process(&pid("a")).unwrap().exit.clone().unwrap();
    assert_eq!(exit.end, End::Killed);
}

#[test]
fn a_kill_that_was_written_down_is_repeated_after_a_restart() {
    // W08
    let mut process = process("a");
    process.state = State::Running;
    process.killed_by = Some(Killer::Agent);
    let loaded = Loaded { meta: meta(), processes: vec![process], ..Loaded::default() };
    let (mut session, _) =
        Session::restore(loaded, Attendance::Attended, None, Rules::default(), 0);
    let effects = session.handle(Input::Adopted { process: pid("a"), pid: Some(1) }, 0);
    assert!(effects.contains(&Effect::Kill(pid("a"))));
}

#[test]
fn a_kill_by_the_user_is_noted_and_does_not_wake() {
    // W09
    let mut rig = idle_with(&["a"]);
    let effects = rig.feed(Input::Kill(None));
    assert!(effects.contains(&Effect::Kill(pid("a"))));
    rig.exit("a");
    assert_eq!(rig.starts(), []);
    rig.prompt("next");
    assert_eq!(rig.rows(), ["user", "assistant", "note", "user"]);
}

#[test]
fn a_wakeup_turn_does_not_wake_because_of_what_it_carried() {
    // W11
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    rig.spawn("b");
    rig.answer("started another");
    rig.end();
    assert_eq!(rig.starts(), [Source::Wakeup]);
    rig.exit("b");
    assert_eq!(rig.starts(), [Source::Wakeup, Source::Wakeup], "a task of a wakeup turn wakes");
    assert_eq!(rig.told(), ["a", "b"]);
}

#[test]
fn every_kind_of_end_wakes_with_its_true_status() {
    // W12
    for (end, code, expected) in [
        (End::Exited, Some(3), "exited (exit code 3)"),
        (End::Exited, None, "terminated by a signal (exit code ?"),
        (End::Lost, None, "disappeared (exit code ?)"),
        (End::FailedStart, None, "failed to start (exit code ?)"),
    ] {
        let mut rig = match end {
            End::FailedStart => {
                let mut rig = Rig::new();
                rig.prompt("go");
                rig.event(TurnEvent::Spawn(Box::new(process("a"))));
                rig.end();
                rig.effects.clear();
                rig
            }
            End::Exited | End::Killed | End::Lost => idle_with(&["a"]),
        };
        let exit = Exit { end, code, signal: None, at: 0 };
        rig.feed(Input::Exited { process: pid("a"), exit, output: String::new() });
        assert_eq!(rig.starts(), [Source::Wakeup]);
        let text = rig.session.transcript().rows.last().unwrap().text().to_owned();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_spawn_is_written_down_before_the_child_may_run() {
    // W27
    let mut rig = Rig::new();
    rig.prompt("go");
    let effects = rig.event(TurnEvent::Spawn(Box::new(process("a"))));
    let place = |f: fn(&Effect) -> bool| effects.iter().position(f).unwrap();
    let go = place(|e| matches!(e, Effect::Reply { reply: Reply::Go, .. }));
    assert!(place(|e| matches!(e, Effect::Record(Record::Process(p)) if p.notify)) < go);
    assert!(
        place(|e| matches!(e, Effect::Record(Record::Ledger(l)) if l.state == Stage::Spawned)) < go
    );
}

#[test]
fn a_wakeup_and_a_user_turn_differ_in_their_source_only() {
    // W28
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    rig.answer("x");
    rig.end();
    rig.prompt("again");
    let plans: Vec<TurnPlan> = rig
        .effects
        .iter()
        .filter_map(|e| match e {
            Effect::Start(plan) => Some(plan.clone()),
            _ => None,
        })
        .collect();
    let [wakeup, user] = plans.as_slice() else { panic!("{plans:?}") };
    let same = TurnPlan { source: user.source, turn: user.turn, ..wakeup.clone() };
    assert_eq!(same, *user);
}

#[test]
fn a_working_directory_change_stays_with_the_session() {
    // W30
    let mut rig = Rig::new();
    rig.prompt("go");
    let shell = Shell { cwd: "/tmp".to_owned(), env: BTreeMap::new() };
    let result = ToolResult {
        call: CallId("c".to_owned()),
        name: "terminal".to_owned(),
        text: String::new(),
        failed: false,
        millis: 0,
        unanswered: false,
    };
    let finished =
        FinishedCall { result, seen: Vec::new(), shell: Some(shell.clone()), todo: None };
    rig.event(TurnEvent::Result(finished));
    rig.end();
    let effects = rig.prompt("next");
    assert!(effects.iter().any(|e| matches!(e, Effect::Start(plan) if plan.shell == shell)));
    assert_eq!(rig.session.transcript().cwd, "/tmp");
}

#[test]
fn a_cancelled_turn_holds_what_waits_until_the_next_prompt() {
    // W22
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.exit("a");
    rig.feed(Input::Cancel);
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    assert_eq!(rig.starts(), [Source::User]);
    assert!(rig.session.transcript().held.is_some());
    rig.prompt("next");
    assert_eq!(rig.told(), ["a"]);
    assert!(rig.session.transcript().held.is_none());
}

#[test]
fn a_prompt_interrupted_before_an_answer_is_marked() {
    let mut rig = Rig::new();
    rig.prompt("delete it all");
    rig.feed(Input::Cancel);
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    assert_eq!(rig.rows(), ["user", "note"]);
    rig.prompt("go");
    rig.answer("half");
    rig.feed(Input::Cancel);
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    assert_eq!(rig.rows(), ["user", "note", "user", "assistant"], "an answer says it itself");
}

#[test]
fn what_a_failed_wakeup_carried_is_held_and_told_once() {
    // W29 (the retries come with the resume rules)
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    let outcome = Outcome::Failed { class: "unreachable".to_owned() };
    rig.event(TurnEvent::Ended { outcome, failure: Some("no".to_owned()) });
    assert!(matches!(rig.delivery("a"), Delivery::Held(_)));
    assert_eq!(rig.starts(), [Source::Wakeup], "no retry storm");
    rig.feed(Input::WakeNow);
    assert_eq!(rig.starts(), [Source::Wakeup, Source::Wakeup]);
    rig.answer("ok");
    rig.end();
    assert_eq!(rig.told(), ["a"], "one row for ever");
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
}

#[test]
fn an_unanswered_claim_runs_again_without_a_second_row() {
    // W16
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    let view = rig.session.transcript().clone();
    let claimed = rig.session.ledger.claimed_entries().to_vec();
    let loaded = Loaded {
        meta: rig.session.meta().clone(),
        rows: view.rows.clone(),
        turns: TurnId(2),
        open: Some(OpenTurn {
            attempts: 0,
            resumed_row: 0,
            turn: TurnId(2),
            source: Source::Wakeup,
            started_at: 0,
            n: 1,
            text: "half an ans".to_owned(),
            reasoning: String::new(),
            rows: vec![view.rows.last().unwrap().clone()],
        }),
        processes: view.processes.clone(),
        ledger: claimed,
        ..Loaded::default()
    };
    let (session, effects) =
        Session::restore(loaded, Attendance::Attended, None, Rules::default(), 5_000);
    assert_eq!(starts(&effects), [Source::Wakeup]);
    let told =
        session.transcript().rows.iter().filter(|r| matches!(r.body, Body::Wakeup(_))).count();
    assert_eq!(told, 1);
    // R07: what was streamed is kept, marked partial.
    assert!(session.transcript().rows.iter().any(|r| matches!(&r.body,
        Body::Assistant(a) if a.stop == Stop::Partial && a.text == "half an ans")));
}

#[test]
fn calls_without_a_result_are_interrupted_after_a_restart() {
    // R06
    let call = |id: &str| ToolCall {
        id: CallId(id.to_owned()),
        name: "terminal".to_owned(),
        args: serde_json::Value::Null,
    };
    let row = |n, body| Row { n, turn: TurnId(1), at: 0, cut: 0, body };
    let answer = Assistant { calls: vec![call("x"), call("y")], ..Assistant::default() };
    let result = ToolResult {
        call: CallId("x".to_owned()),
        name: "terminal".to_owned(),
        text: "ok".to_owned(),
        failed: false,
        millis: 0,
        unanswered: false,
    };
    let rows = vec![
        row(1, Body::User { text: "go".to_owned() }),
        row(2, Body::Assistant(answer)),
        row(3, Body::Tool(result)),
    ];
    let open = OpenTurn {
        attempts: 0,
        resumed_row: 0,
        turn: TurnId(1),
        source: Source::User,
        started_at: 0,
        n: 0,
        text: String::new(),
        reasoning: String::new(),
        rows: rows.clone(),
    };
    let loaded =
        Loaded { meta: meta(), rows, turns: TurnId(1), open: Some(open), ..Loaded::default() };
    let (session, effects) =
        Session::restore(loaded, Attendance::Attended, None, Rules::default(), 0);
    assert_eq!(starts(&effects), []);
    let rows = &session.transcript().rows;
    assert_eq!(
        rows.iter().map(kind).collect::<Vec<_>>(),
        ["user", "assistant", "tool", "tool", "failure"]
    );
    assert!(rows[3].text().contains("was not run again"));
}

#[test]
fn a_prompt_sent_twice_is_one_prompt() {
    let mut rig = Rig::new();
    let prompt = || Input::Prompt {
        id: PromptId("same".to_owned()),
        text: "hi".to_owned(),
        attendance: Attendance::Attended,
    };
    rig.feed(prompt());
    rig.feed(prompt());
    rig.end();
    assert_eq!(rig.rows(), ["user"]);
}

#[test]
fn a_remark_joins_the_next_tool_result_or_becomes_a_prompt() {
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.feed(Input::Steer("use make".to_owned()));
    rig.result(Vec::new());
    assert!(rig.session.transcript().rows.last().unwrap().text().contains("use make"));
    rig.feed(Input::Steer("and test".to_owned()));
    rig.answer("done");
    rig.end();
    assert_eq!(rig.rows(), ["user", "tool", "assistant", "user"]);
    assert_eq!(rig.session.transcript().rows.last().unwrap().text(), "and test");
    assert_eq!(rig.session.transcript().steer, None);
}

#[test]
fn late_words_of_a_turn_do_not_touch_its_successor() {
    // W23 (the unwinding bound comes with the resume rules)
    let mut rig = Rig::new();
    rig.prompt("one");
    rig.end();
    rig.prompt("two");
    let event = TurnEvent::Delta { part: Part::Text, text: "late".to_owned() };
    assert_eq!(rig.feed(Input::TurnEvent { turn: TurnId(1), ack: Ack(0), event }), []);
}

#[test]
fn the_fate_of_a_spawn_is_kept_when_its_turn_is_interrupted() {
    // W27, W12
    let mut rig = Rig::new();
    rig.prompt("go");
    for id in ["a", "b"] {
        rig.event(TurnEvent::Spawn(Box::new(process(id))));
    }
    rig.feed(Input::Cancel);
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    let turn = TurnId(1);
    let event = TurnEvent::Running { process: pid("a"), pid: 9 };
    rig.feed(Input::TurnEvent { turn, ack: Ack(0), event });
    assert_eq!(rig.session.process(&pid("a")).unwrap().state, State::Running);
    let exit = Exit { end: End::FailedStart, code: None, signal: None, at: 0 };
    let event = TurnEvent::FailedStart { process: pid("b"), exit };
    rig.feed(Input::TurnEvent { turn, ack: Ack(0), event });
    assert_eq!(rig.delivery("b"), Delivery::Waiting);
}

#[test]
fn a_kill_is_sent_even_if_its_turn_is_interrupted() {
    // W08
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    let effects = rig.event(TurnEvent::Killing(pid("a")));
    assert!(effects.contains(&Effect::Kill(pid("a"))));
}

#[test]
fn an_end_that_a_running_call_shows_makes_no_toast() {
    // W07
    let toasts =
        |effects: &[Effect]| effects.iter().filter(|e| matches!(e, Effect::Announce(_))).count();
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.event(TurnEvent::Awaiting(pid("a")));
    assert_eq!(toasts(&rig.exit("a")), 0);
    rig.result(vec![(pid("a"), ConsumeAt::Now)]);
    assert_eq!(toasts(&rig.end()), 0);
    assert_eq!(rig.starts(), [Source::User]);

    // The call was cut off before it could show it.
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.event(TurnEvent::Awaiting(pid("a")));
    rig.exit("a");
    assert_eq!(toasts(&rig.end()), 1);
    assert_eq!(rig.starts(), [Source::User, Source::Wakeup]);
}

#[test]
fn a_wakeup_without_an_answer_is_held_and_does_not_loop() {
    // W29
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    rig.event(TurnEvent::Ended { outcome: Outcome::Limit, failure: None });
    assert_eq!(rig.starts(), [Source::Wakeup]);
    assert!(matches!(rig.delivery("a"), Delivery::Held(_)));
}

#[test]
fn a_retried_wakeup_after_a_partial_answer_asks_for_an_answer() {
    // W16
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    rig.event(TurnEvent::Delta { part: Part::Text, text: "half".to_owned() });
    let outcome = Outcome::Failed { class: "truncated".to_owned() };
    rig.event(TurnEvent::Ended { outcome, failure: Some("cut".to_owned()) });
    rig.feed(Input::WakeNow);
    assert_eq!(rig.rows().last(), Some(&"note"));
    assert_eq!(rig.told(), ["a"]);
}

#[test]
fn a_wakeup_the_agent_looks_at_again_stays_delivered() {
    // W07
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    rig.result(vec![(pid("a"), ConsumeAt::Now)]);
    rig.answer("ok");
    rig.end();
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
}

#[test]
fn a_wakeup_names_its_kind() {
    // P11
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    let row = rig.session.transcript().rows.last().unwrap().clone();
    assert!(matches!(row.body, Body::Wakeup(w) if w.kind == WakeupKind::Exit));
}
