//! Delegated tasks: what the session that delegates does, and the one that works on the task.

use super::*;
use crate::session::TurnKind;
use crate::store::{Pause, Task};
use protocol::Work;

fn worker(id: &str) -> SessionId {
    SessionId(format!("worker-{id}"))
}

fn task(id: &str) -> Process {
    let work = Work::Delegation { session: worker(id) };
    Process { work, command: format!("goal {id}"), ..process(id) }
}

fn delegate(rig: &mut Rig, id: &str, waits: bool) -> Vec<Effect> {
    let process = Box::new(task(id));
    rig.event(TurnEvent::Delegate { process, brief: format!("brief {id}"), waits })
}

/// The worker's report reaches the session that delegated.
fn found(rig: &mut Rig, id: &str, code: i32) -> Vec<Effect> {
    let exit = Exit { end: End::Exited, code: Some(code), signal: None, at: rig.now };
    rig.feed(Input::Exited { process: pid(id), exit, output: format!("result of {id}") })
}

/// A session whose first turn delegated these in the background and has ended.
fn idle_with_tasks(ids: &[&str]) -> Rig {
    let mut rig = Rig::new();
    rig.prompt("go");
    for id in ids {
        delegate(&mut rig, id, false);
    }
    rig.answer("delegated");
    rig.end();
    rig.effects.clear();
    rig
}

fn worker_meta() -> Meta {
    Meta {
        id: worker("a"),
        parent: Some(SessionId("s1".to_owned())),
        task: Some(Task { parent: SessionId("s1".to_owned()), process: pid("a") }),
        ..meta()
    }
}

fn loaded_as(loaded: Loaded, attendance: Attendance) -> Rig {
    let (session, effects) = Session::restore(loaded, attendance, None, Rules::default(), 1_000);
    let view = session.transcript().clone();
    Rig { session, now: 1_000, prompts: 0, effects, view }
}

/// The session that works on task `a`, as it is loaded after the commit that made it.
fn working() -> Rig {
    let brief = Queued { id: PromptId("a".to_owned()), text: "brief a".to_owned() };
    let loaded = Loaded { meta: worker_meta(), queued: vec![brief], ..Loaded::default() };
    loaded_as(loaded, Attendance::Attended)
}

/// What was reported so far: codes and texts.
fn reports(rig: &Rig) -> Vec<(i32, String)> {
    let reports = rig.effects.iter().filter_map(|e| match e {
        Effect::Report { parent, process, exit, text } => {
            assert_eq!((parent.0.as_str(), process.0.as_str()), ("s1", "a"));
            Some((exit.code.unwrap(), text.clone()))
        }
        _ => None,
    });
    reports.collect()
}

fn refusal(effects: &[Effect]) -> Option<&str> {
    effects.iter().find_map(|e| match e {
        Effect::Reply { reply: Reply::Refused(why), .. } => Some(why.as_str()),
        _ => None,
    })
}

fn plans(rig: &Rig) -> Vec<TurnPlan> {
    let plans = rig.effects.iter().filter_map(|e| match e {
        Effect::Start(plan) => Some(plan.clone()),
        _ => None,
    });
    plans.collect()
}

#[test]
fn a_task_with_its_session_and_prompt_is_one_commit() {
    // W17, W27
    let mut rig = Rig::new();
    rig.prompt("go");
    let effects = delegate(&mut rig, "a", false);
    let place = |f: fn(&Effect) -> bool| effects.iter().position(f).unwrap();
    let records = [
        place(|e| matches!(e, Effect::Record(Record::Process(p)) if p.notify && p.id == pid("a"))),
        place(|e| {
            matches!(e, Effect::Record(Record::Ledger(l)) if l.state == Stage::Spawned
                && l.kind == WakeupKind::Delegation && l.session.0 == "s1")
        }),
        place(|e| matches!(e, Effect::Record(Record::Session(m)) if m.id == worker("a"))),
        place(|e| {
            matches!(e, Effect::Record(Record::Queued { session, prompt })
                if *session == worker("a") && prompt.text == "brief a")
        }),
    ];
    let go = place(|e| matches!(e, Effect::Reply { reply: Reply::Go, .. }));
    let open = place(|e| matches!(e, Effect::Open(id) if *id == worker("a")));
    assert!(records.iter().all(|at| *at < go && *at < open));
    let Effect::Record(Record::Session(meta)) = &effects[records[2]] else { panic!() };
    assert_eq!(meta.parent.as_ref().unwrap().0, "s1");
    assert_eq!(meta.task, worker_meta().task);
    assert_eq!((meta.source.as_str(), meta.preview.as_str()), ("delegate", "goal a"));
    assert_eq!((meta.started_at, meta.active_at), (rig.now, rig.now));
}

#[test]
fn a_task_starts_where_its_session_works_now_and_with_its_model() {
    // W30
    let mut rig = Rig::new();
    rig.prompt("go");
    let env = BTreeMap::from([("X".to_owned(), Some("1".to_owned()))]);
    let shell = Shell { cwd: "/tmp".to_owned(), env: env.clone() };
    let result = ToolResult {
        call: CallId("c".to_owned()),
        name: "terminal".to_owned(),
        text: "{}".to_owned(),
        failed: false,
        millis: 1,
        unanswered: false,
    };
    let shell = Some(shell);
    rig.event(TurnEvent::Result(FinishedCall { result, seen: Vec::new(), shell, todo: None }));
    let effects = delegate(&mut rig, "a", false);
    let meta = effects.iter().find_map(|e| match e {
        Effect::Record(Record::Session(meta)) if meta.task.is_some() => Some(meta),
        _ => None,
    });
    let meta = meta.unwrap();
    assert_eq!((meta.cwd.as_str(), meta.model.as_str(), &meta.env), ("/tmp", "demo", &env));
}

#[test]
fn no_more_tasks_than_the_limit_run_at_once() {
    let mut rig = Rig::new();
    rig.prompt("go");
    for id in ["a", "b", "c"] {
        assert_eq!(refusal(&delegate(&mut rig, id, false)), None);
    }
    let effects = delegate(&mut rig, "d", false);
    assert!(refusal(&effects).unwrap().contains("a, b, c"), "{effects:?}");
    assert!(!effects.iter().any(|e| matches!(e, Effect::Record(_) | Effect::Open(_))));
    found(&mut rig, "b", 0);
    assert_eq!(refusal(&delegate(&mut rig, "d", false)), None, "one has ended");
}

#[test]
fn a_delegated_task_does_not_delegate() {
    let mut rig = working();
    let effects = delegate(&mut rig, "b", false);
    assert!(refusal(&effects).is_some());
    assert!(!effects.iter().any(|e| matches!(e, Effect::Open(_))));
}

#[test]
fn an_interrupted_turn_and_a_failing_store_delegate_nothing() {
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.feed(Input::Cancel);
    assert!(refusal(&delegate(&mut rig, "a", false)).is_some());

    let mut rig = Rig::new();
    rig.prompt("go");
    rig.feed(Input::Storage(Storage::Failing("full".to_owned())));
    assert!(refusal(&delegate(&mut rig, "a", false)).unwrap().contains("full"));
}

#[test]
fn a_result_wakes_the_session_that_delegated_exactly_once() {
    // W01, W10, W24
    let mut rig = idle_with_tasks(&["a"]);
    found(&mut rig, "a", 0);
    found(&mut rig, "a", 0);
    rig.answer("seen");
    rig.end();
    assert_eq!(rig.starts(), [Source::Wakeup]);
    assert_eq!(rig.told(), ["a"]);
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
    let row = rig.session.transcript().rows.iter().find(|r| kind(r) == "wakeup").unwrap();
    let expected = "[IMPORTANT: Delegated task a completed.\nGoal: goal a\nResult:\nresult of a]";
    assert_eq!(row.text(), expected);
}

#[test]
fn results_that_come_together_cost_one_turn() {
    // W06
    let mut rig = idle_with_tasks(&["a", "b", "c"]);
    found(&mut rig, "b", 0);
    found(&mut rig, "a", 1);
    assert_eq!(rig.starts(), [], "a sibling still works");
    found(&mut rig, "c", 0);
    assert_eq!(rig.starts(), [Source::Wakeup]);
    assert_eq!(rig.told(), ["b", "a", "c"]);
}

#[test]
fn a_result_for_another_session_changes_nothing() {
    // W17
    let mut rig = idle_with_tasks(&["a"]);
    assert_eq!(found(&mut rig, "b", 0), []);
}

#[test]
fn a_waiting_call_gets_the_end_and_its_result_wakes_nobody() {
    // W07, W26
    for ends_first in [true, false] {
        let mut rig = Rig::new();
        rig.prompt("go");
        delegate(&mut rig, "a", true);
        let mut effects = Vec::new();
        if ends_first {
            found(&mut rig, "a", 0);
            effects.extend(rig.event(TurnEvent::AwaitEnd(pid("a"))));
        } else {
            effects.extend(rig.event(TurnEvent::AwaitEnd(pid("a"))));
            assert_eq!(effects, []);
            effects.extend(found(&mut rig, "a", 0));
        }
        let replies = effects.iter().filter(
            |e| matches!(e, Effect::Reply { ack: Ack(7), reply: Reply::Ended { exit } } if exit.code == Some(0)),
        );
        assert_eq!(replies.count(), 1, "{effects:?}");
        rig.result(vec![(pid("a"), ConsumeAt::Now)]);
        rig.answer("done");
        rig.end();
        assert_eq!(rig.starts(), [Source::User]);
        assert_eq!(rig.delivery("a"), Delivery::Consumed);
        assert!(!rig.effects.iter().any(|e| matches!(e, Effect::Announce(_))), "no toast");
    }
}

#[test]
fn a_wait_for_an_unknown_task_is_refused() {
    let mut rig = Rig::new();
    rig.prompt("go");
    assert!(refusal(&rig.event(TurnEvent::AwaitEnd(pid("nothing")))).is_some());
    delegate(&mut rig, "a", false);
    rig.event(TurnEvent::AwaitEnd(pid("a")));
    let effects = rig.end();
    assert!(refusal(&effects).is_some(), "nobody is left waiting: {effects:?}");
}

#[test]
fn a_cancel_ends_only_the_tasks_its_turn_waits_for() {
    // W09, W22
    let mut rig = Rig::new();
    rig.prompt("go");
    delegate(&mut rig, "a", true);
    delegate(&mut rig, "b", false);
    rig.event(TurnEvent::AwaitEnd(pid("a")));
    let effects = rig.feed(Input::Cancel);
    let kills: Vec<_> = effects.iter().filter(|e| matches!(e, Effect::Kill(_))).collect();
    assert_eq!(kills, [&Effect::Kill(pid("a"))]);
    let mark = |e: &Effect| matches!(e, Effect::Record(Record::Process(p)) if p.killed_by == Some(Killer::User));
    assert!(effects.iter().any(mark), "written down first");
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    found(&mut rig, "a", 1);
    found(&mut rig, "b", 0);
    assert_eq!(rig.starts(), [Source::User]);
    assert_eq!(rig.delivery("a"), Delivery::Consumed);
    assert_eq!(rig.delivery("b"), Delivery::Waiting);
    assert!(rig.session.transcript().held.is_some());
    rig.feed(Input::WakeNow);
    assert_eq!(rig.starts(), [Source::User, Source::Wakeup]);
    assert_eq!(rig.told(), ["b"]);
}

#[test]
fn a_process_wait_does_not_end_its_task_with_the_turn() {
    let mut rig = Rig::new();
    rig.prompt("go");
    delegate(&mut rig, "a", false);
    rig.event(TurnEvent::AwaitEnd(pid("a")));
    let effects = rig.feed(Input::Cancel);
    assert!(!effects.iter().any(|e| matches!(e, Effect::Kill(_))));
}

#[test]
fn a_task_that_the_user_ends_is_told_in_the_next_turn_only() {
    // W09
    let mut rig = idle_with_tasks(&["a"]);
    let effects = rig.feed(Input::Kill(None));
    assert!(effects.contains(&Effect::Kill(pid("a"))));
    found(&mut rig, "a", 1);
    assert_eq!(rig.starts(), []);
    let exit = rig.session.process(&pid("a")).unwrap().exit.clone().unwrap();
    assert_eq!(exit.end, End::Killed);
    rig.prompt("next");
    let rows = &rig.session.transcript().rows;
    assert!(rows.iter().any(|r| r.text() == "[The user ended the delegated task a (goal a).]"));
}

#[test]
fn a_kill_by_the_agent_is_repeated_after_a_crash() {
    // W08
    let mut killed = task("a");
    killed.killed_by = Some(Killer::Agent);
    let loaded = Loaded { meta: meta(), processes: vec![killed], ..Loaded::default() };
    let mut rig = loaded_as(loaded, Attendance::Attended);
    assert_eq!(rig.session.live_processes().count(), 0, "no supervisor is looked for");
    assert_eq!(rig.session.live_delegations(), [(pid("a"), worker("a"))]);
    let effects = rig.feed(Input::Adopted { process: pid("a"), pid: None });
    assert!(effects.contains(&Effect::Kill(pid("a"))));
    found(&mut rig, "a", 1);
    assert_eq!(rig.starts(), []);
}

#[test]
fn a_task_that_could_not_be_written_down_never_begins() {
    let mut rig = Rig::new();
    rig.prompt("go");
    delegate(&mut rig, "a", false);
    let exit = Exit { end: End::FailedStart, code: None, signal: None, at: 0 };
    let effects = rig.event(TurnEvent::FailedStart { process: pid("a"), exit });
    assert!(effects.iter().any(|e| {
        matches!(e, Effect::Record(Record::Unqueued { session, prompt })
            if *session == worker("a") && prompt.0 == "a")
    }));
}

#[test]
fn the_prompt_of_a_task_starts_by_itself_with_nobody_there() {
    // W28
    let mut rig = working();
    let [plan] = plans(&rig).try_into().unwrap();
    assert_eq!((plan.source, plan.attendance), (Source::User, Attendance::Delegated));
    assert_eq!(plan.kind, TurnKind::Answer);
    // Also woken, and also when somebody types there.
    rig.spawn("x");
    rig.answer("waiting for x");
    rig.end();
    rig.exit("x");
    rig.answer("x is done");
    rig.prompt("and?");
    rig.end();
    let callers: Vec<_> = plans(&rig).iter().map(|p| p.attendance).collect();
    assert_eq!(callers, [Attendance::Delegated; 3]);
}

#[test]
fn a_one_shot_prompt_in_a_task_session_stays_stateless() {
    // W26
    let loaded = Loaded { meta: worker_meta(), ..Loaded::default() };
    let mut rig = loaded_as(loaded, Attendance::Stateless);
    let (id, text) = (PromptId("p".to_owned()), "x".to_owned());
    rig.feed(Input::Prompt { id, text, attendance: Attendance::Stateless });
    assert_eq!(plans(&rig)[0].attendance, Attendance::Stateless);
    rig.answer("y");
    rig.end();
    assert_eq!(reports(&rig), [], "it ends nothing of its host's");
}

#[test]
fn a_task_is_reported_once_when_its_turn_has_ended() {
    let mut rig = working();
    rig.answer("I found it.");
    assert_eq!(reports(&rig), []);
    rig.end();
    assert_eq!(reports(&rig), [(0, "I found it.".to_owned())]);
    rig.prompt("more");
    rig.answer("There is no more.");
    rig.end();
    assert_eq!(reports(&rig).len(), 1);
}

#[test]
fn the_report_of_a_task_is_the_same_after_a_restart() {
    // W15, W16
    let mut rig = working();
    rig.answer("I found it.");
    rig.end();
    let rows = rig.session.transcript().rows.clone();
    let loaded = Loaded { meta: worker_meta(), rows, turns: TurnId(1), ..Loaded::default() };
    let again = loaded_as(loaded, Attendance::Attended);
    assert_eq!(reports(&again), reports(&rig));
    assert_eq!(plans(&again), []);
}

#[test]
fn a_task_that_failed_is_reported_with_the_reason() {
    // W12
    let failed = Outcome::Failed { class: "auth".to_owned() };
    let ends = [
        (failed, Some("401".to_owned()), "401\nWhat it said last:\nhalf"),
        (Outcome::Limit, Some("50 requests".to_owned()), "50 requests\nWhat it said last:\nhalf"),
        (
            Outcome::Cancelled,
            None,
            "It was interrupted before it was done.\nWhat it said last:\nhalf",
        ),
    ];
    for (outcome, failure, expected) in ends {
        let mut rig = working();
        rig.event(TurnEvent::Delta { part: Part::Text, text: "half".to_owned() });
        rig.event(TurnEvent::Ended { outcome, failure });
        assert_eq!(reports(&rig), [(1, expected.to_owned())]);
    }
}

#[test]
fn a_task_whose_turn_did_not_survive_is_never_left_open() {
    let open = OpenTurn {
        turn: TurnId(1),
        source: Source::User,
        started_at: 0,
        n: 0,
        text: String::new(),
        reasoning: String::new(),
        rows: Vec::new(),
        attempts: 0,
        resumed_row: 0,
    };
    let user = Row {
        n: 1,
        turn: TurnId(1),
        at: 0,
        cut: 0,
        body: Body::User { text: "brief a".to_owned() },
    };
    let loaded = Loaded {
        meta: worker_meta(),
        rows: vec![user.clone()],
        turns: TurnId(1),
        open: Some(OpenTurn { rows: vec![user], ..open }),
        ..Loaded::default()
    };
    // Long after the last row, so that it is not gone on with.
    let late = 1_000 + 2 * 3_600_000;
    let rules = Rules::default();
    let (session, effects) = Session::restore(loaded, Attendance::Attended, None, rules, late);
    let view = session.transcript().clone();
    let rig = Rig { session, now: late, prompts: 0, effects, view };
    assert_eq!(plans(&rig), []);
    assert_eq!(reports(&rig)[0].0, 1, "failed, with a reason");
    assert!(!reports(&rig)[0].1.is_empty());
}

#[test]
fn a_task_that_will_be_woken_is_not_over() {
    let mut rig = working();
    rig.spawn("x");
    rig.answer("x runs");
    rig.end();
    assert_eq!(reports(&rig), []);
    rig.exit("x");
    rig.answer("x is done");
    rig.end();
    assert_eq!(reports(&rig), [(0, "x is done".to_owned())]);
}

#[test]
fn a_command_without_notify_does_not_keep_a_task_open() {
    for (watch, reported) in [(vec![], 1), (vec!["ready".to_owned()], 0)] {
        let mut rig = working();
        let silent = Process { notify: false, watch, ..process("x") };
        rig.event(TurnEvent::Spawn(Box::new(silent)));
        rig.answer("x runs");
        rig.end();
        assert_eq!(reports(&rig).len(), reported);
    }
}

#[test]
fn a_task_that_is_held_or_paused_is_over_and_says_why() {
    // W20, W22
    let ended = |rig: &mut Rig| {
        rig.spawn("x");
        rig.answer("x runs");
        rig.end();
        rig.session.task_progress = TaskProgress::Open;
    };
    let mut held = working();
    ended(&mut held);
    held.session.meta.held = Some("20 wakeups ran in a row".to_owned());
    held.feed(Input::Tick);
    let mut paused = working();
    ended(&mut paused);
    let pause = Pause { reason: "the key was rejected".to_owned(), fingerprint: String::new() };
    paused.session.meta.pause = Some(pause);
    paused.feed(Input::Tick);
    for (rig, why) in [(held, "20 wakeups ran in a row"), (paused, "the key was rejected")] {
        let [(code, text)] = reports(&rig).try_into().unwrap();
        assert_eq!(code, 1);
        assert!(text.starts_with(&format!("It cannot go on by itself: {why}.")), "{text}");
    }
}

#[test]
fn a_hold_ends_a_task_as_failed_only_if_it_holds_something_back() {
    // W22
    let mut held = working();
    held.spawn("x");
    held.answer("x runs");
    held.end();
    held.session.meta.held = Some("you interrupted".to_owned());
    held.exit("x");
    let [(code, text)] = reports(&held).try_into().unwrap();
    assert_eq!(code, 1);
    assert!(text.starts_with("It cannot go on by itself: you interrupted."), "{text}");

    let mut done = working();
    done.session.meta.held = Some("you interrupted".to_owned());
    done.answer("all done");
    done.end();
    assert_eq!(reports(&done), [(0, "all done".to_owned())]);
}

#[test]
fn a_task_whose_wakeup_is_tried_again_is_not_over() {
    // W29
    let mut rig = working();
    rig.spawn("x");
    rig.answer("x runs");
    rig.end();
    rig.exit("x");
    let outcome = Outcome::Failed { class: "unreachable".to_owned() };
    rig.event(TurnEvent::Ended { outcome, failure: Some("no network".to_owned()) });
    assert!(rig.session.meta.retry.is_some());
    assert_eq!(reports(&rig), []);

    // But it is once no further try comes by itself: nobody waits for ever.
    for _ in 0..4 {
        rig.now = rig.session.deadline().expect("a retry");
        rig.feed(Input::Tick);
        let outcome = Outcome::Failed { class: "unreachable".to_owned() };
        rig.event(TurnEvent::Ended { outcome, failure: Some("no network".to_owned()) });
    }
    let [(code, text)] = reports(&rig).try_into().unwrap();
    assert_eq!(code, 1);
    assert!(text.starts_with("no network"), "{text}");
}

#[test]
fn a_host_that_stops_ends_no_task() {
    // R05
    let mut rig = working();
    rig.event(TurnEvent::Delta { part: Part::Text, text: "half".to_owned() });
    rig.feed(Input::Stop);
    assert_eq!(reports(&rig), []);
}

#[test]
fn a_task_taken_back_stops_its_turn_its_commands_and_what_waits() {
    // W09
    let mut rig = working();
    rig.spawn("x");
    rig.prompt("later");
    let effects = rig.feed(Input::Abandon);
    assert!(effects.contains(&Effect::Stop(TurnId(1))));
    assert!(effects.contains(&Effect::Kill(pid("x"))));
    let unqueued = |e: &Effect| matches!(e, Effect::Record(Record::Unqueued { prompt, .. }) if prompt.0 == "p1");
    assert!(effects.iter().any(unqueued));
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    assert_eq!(rig.starts(), [Source::User], "nothing starts any more");
    assert_eq!(reports(&rig)[0].0, 1);
}

#[test]
fn a_task_taken_back_while_it_waits_to_be_woken_is_over_at_once() {
    // W08, W09
    let mut rig = working();
    rig.spawn("x");
    rig.answer("x runs");
    rig.end();
    assert_eq!(reports(&rig), []);
    let effects = rig.feed(Input::Abandon);
    assert!(effects.contains(&Effect::Kill(pid("x"))));
    assert_eq!(reports(&rig).len(), 1);
    rig.exit("x");
    assert_eq!((rig.starts().len(), reports(&rig).len()), (1, 1));
}

#[test]
fn a_task_taken_back_before_it_began_never_begins() {
    // W08: a one-shot run that ends it starts nothing either.
    let brief = Queued { id: PromptId("a".to_owned()), text: "brief a".to_owned() };
    let loaded = Loaded { meta: worker_meta(), queued: vec![brief], ..Loaded::default() };
    let mut rig = loaded_as(loaded, Attendance::Stateless);
    assert_eq!(reports(&rig), [], "its prompt waits for a host");
    let effects = rig.feed(Input::Abandon);
    assert!(effects.iter().any(|e| matches!(e, Effect::Record(Record::Unqueued { .. }))));
    assert_eq!(plans(&rig), []);
    assert_eq!(reports(&rig), [(1, "It never began.".to_owned())]);
}

#[test]
fn findings_are_the_last_words_whatever_follows_them() {
    let row = |n, body| Row { n, turn: TurnId(1), at: 0, cut: 0, body };
    let event =
        |text: &str, stop| Assistant { text: text.to_owned(), stop, ..Assistant::default() };
    let cases = [
        (vec![], "", Some("It never began.")),
        (vec![Body::Assistant(event("a", Stop::End))], "a", None),
        (
            vec![Body::Assistant(event("a", Stop::End)), Body::User { text: "b".to_owned() }],
            "a",
            Some("It was interrupted before it was done."),
        ),
        (
            vec![
                Body::Assistant(event("a", Stop::Calls)),
                Body::Assistant(event(" ", Stop::Partial)),
            ],
            "a",
            Some("It was interrupted before it was done."),
        ),
        (
            vec![Body::Assistant(event("a", Stop::Partial))],
            "a",
            Some("It was interrupted before it was done."),
        ),
    ];
    for (bodies, answer, failure) in cases {
        let rows: Vec<Row> = (1..).zip(bodies).map(|(n, body)| row(n, body)).collect();
        let expected =
            TaskResult { answer: answer.to_owned(), failure: failure.map(str::to_owned) };
        assert_eq!(task_result(&rows), expected);
    }
}

#[test]
fn a_task_whose_wakeup_waits_for_the_store_is_not_over() {
    // W17
    let mut rig = working();
    rig.spawn("b");
    rig.answer("waiting for it");
    rig.end();
    rig.feed(Input::Storage(Storage::Failing("full".to_owned())));
    rig.exit("b");
    assert_eq!(reports(&rig), []);
    rig.feed(Input::Storage(Storage::Ok));
    rig.answer("all done");
    rig.end();
    assert_eq!(reports(&rig), [(0, "all done".to_owned())]);
}

#[test]
fn a_task_that_a_one_shot_run_loads_before_it_began_is_not_over() {
    // W26, W17
    let brief = Queued { id: PromptId("a".to_owned()), text: "brief a".to_owned() };
    let loaded = Loaded { meta: worker_meta(), queued: vec![brief], ..Loaded::default() };
    let rig = loaded_as(loaded, Attendance::Stateless);
    assert_eq!((rig.session.task_end(1_000), reports(&rig)), (None, vec![]));
}
