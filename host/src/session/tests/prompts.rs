//! Prompts that wait, who takes part in a turn, and what is kept of one that was cut off.

use super::*;

fn plan(effects: &[Effect]) -> TurnPlan {
    let plans = effects.iter().filter_map(|e| match e {
        Effect::Start(plan) => Some(plan.clone()),
        _ => None,
    });
    let plans: Vec<TurnPlan> = plans.collect();
    let [plan] = &plans[..] else { panic!("{plans:?}") };
    plan.clone()
}

fn unqueued(effects: &[Effect]) -> Vec<&str> {
    let ids = effects.iter().filter_map(|e| match e {
        Effect::Record(Record::Unqueued { prompt, .. }) => Some(prompt.0.as_str()),
        _ => None,
    });
    ids.collect()
}

#[test]
fn a_prompt_that_is_taken_back_never_runs_and_the_others_do() {
    // W05
    let mut rig = Rig::new();
    for text in ["one", "two", "three"] {
        rig.prompt(text);
    }
    let take_back = |id: &str| Input::Unqueue(PromptId(id.to_owned()));
    assert_eq!(unqueued(&rig.feed(take_back("p2"))), ["p2"]);
    assert_eq!(rig.feed(take_back("p2")), [], "once");
    assert_eq!(rig.feed(take_back("p1")), [], "it runs already");
    assert_eq!(unqueued(&rig.feed(take_back("p3"))), ["p3"], "the only one that waits");
    rig.prompt("four");
    rig.answer("done");
    rig.end();
    rig.answer("done");
    rig.end();
    let rows = rig.session.transcript().rows.iter();
    let prompts: Vec<_> =
        rows.filter(|r| matches!(r.body, Body::User { .. })).map(|r| r.text().to_owned()).collect();
    assert_eq!(prompts, ["one", "four"]);
    assert!(rig.session.transcript().queued.is_empty());
}

#[test]
fn a_turn_of_the_users_own_session_can_ask_and_be_woken() {
    // W26
    let mut rig = Rig::new();
    assert_eq!(plan(&rig.prompt("go")).attendance, Attendance::Attended);
    rig.spawn("a");
    rig.answer("started");
    rig.end();
    assert_eq!(plan(&rig.exit("a")).attendance, Attendance::Attended);
}

#[test]
fn a_toast_names_the_session_by_title_or_first_prompt() {
    // W02
    let named = |effects: &[Effect]| {
        effects.iter().find_map(|e| match e {
            Effect::Announce(Event::Toast(toast)) => Some(toast.name.clone()),
            _ => None,
        })
    };
    let mut rig = idle_with(&["a", "b"]);
    assert_eq!(named(&rig.exit("a")).as_deref(), Some("go"));
    rig.feed(Input::SetTitle("Build".to_owned()));
    assert_eq!(named(&rig.exit("b")).as_deref(), Some("Build"));
}

#[test]
fn what_the_host_sets_holds_for_the_session() {
    // C05
    let mut rig = Rig::new();
    rig.session.set_granted(BTreeSet::from(["known".to_owned()]));
    rig.session.set_system("Be brief.".to_owned());
    assert_eq!(rig.session.meta().system, "Be brief.");
    rig.prompt("go");
    let granted = Reply::Answer(Answer::Approval(Choice::Session));
    assert_eq!(
        ask(&mut rig, "c1", approval("known")),
        [Effect::Reply { ack: Ack(7), reply: granted }]
    );
    ask(&mut rig, "c2", approval("another"));
    assert_eq!(rig.session.transcript().questions.len(), 1);
    let mut rig = Rig::new();
    rig.session.set_yolo();
    assert!(rig.session.transcript().yolo);
    rig.prompt("go");
    ask(&mut rig, "c1", approval("another"));
    assert_eq!(rig.session.transcript().questions, []);
}

/// A session whose turn began calls of those tools at 1000, at 1500.
fn calling(tools: &[&str]) -> Rig {
    let mut rig = Rig::new();
    rig.prompt("go");
    let calls = tools.iter().map(|name| ToolCall {
        id: CallId((*name).to_owned()),
        name: (*name).to_owned(),
        args: serde_json::Value::Null,
    });
    let answer = Assistant { calls: calls.collect(), stop: Stop::Calls, ..Assistant::default() };
    rig.event(TurnEvent::Answered { answer, usage: None, context: None });
    for name in tools {
        rig.event(TurnEvent::CallStarted(CallId((*name).to_owned())));
    }
    rig.now += 500;
    rig
}

fn results(rig: &Rig) -> Vec<(ToolResult, serde_json::Value)> {
    let rows = rig.session.transcript().rows.iter();
    let results = rows.filter_map(|row| match &row.body {
        Body::Tool(result) => Some((result.clone(), serde_json::from_str(&result.text).unwrap())),
        _ => None,
    });
    results.collect()
}

#[test]
fn an_interrupted_command_keeps_its_output_and_duration() {
    // R06
    let mut rig = calling(&["terminal"]);
    let call = CallId("terminal".to_owned());
    rig.event(TurnEvent::CallOutput { call, text: "half\n".to_owned() });
    rig.feed(Input::Cancel);
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    let [(result, value)] = &results(&rig)[..] else { panic!() };
    assert_eq!((result.millis, result.failed), (500, true));
    assert_eq!(value["output"], "half\n[Command interrupted]");
    assert_eq!(
        (&value["exit_code"], &value["error"]),
        (&130.into(), &"interrupted by the user".into())
    );
}

#[test]
fn only_a_delegation_cut_off_by_a_stop_says_its_tasks_continue() {
    // R06, W17: an interrupt ends the tasks too.
    for (outcome, tool, goes_on) in [
        (Outcome::Interrupted, "delegate_task", true),
        (Outcome::Cancelled, "delegate_task", false),
        (Outcome::Interrupted, "read_file", false),
    ] {
        let mut rig = calling(&[tool]);
        rig.event(TurnEvent::Ended { outcome: outcome.clone(), failure: None });
        let [(_, value)] = &results(&rig)[..] else { panic!() };
        assert_eq!(value.as_object().unwrap().len(), 1, "{value}");
        let why = value["error"].as_str().unwrap();
        assert_eq!(why.contains("Tasks that it had begun go on"), goes_on, "{outcome:?}: {why}");
    }
}

#[test]
fn streamed_reasoning_is_kept_as_partial_on_an_interrupt() {
    // R07
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.event(TurnEvent::Delta { part: Part::Reasoning, text: "hm".to_owned() });
    rig.feed(Input::Cancel);
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    let kept = &rig.session.transcript().rows[1].body;
    assert!(
        matches!(kept, Body::Assistant(a) if a.reasoning == "hm" && a.stop == Stop::Partial),
        "{kept:?}"
    );
}

#[test]
fn a_session_is_at_rest_only_when_nothing_may_happen() {
    let mut rig = idle_with(&["a"]);
    assert!(!rig.session.is_at_rest(), "a process runs");
    rig.exit("a");
    assert!(!rig.session.is_at_rest(), "a turn runs");
    rig.answer("seen");
    rig.end();
    assert!(rig.session.is_at_rest());

    let mut rig = idle_with(&["a"]);
    rig.feed(Input::Storage(Storage::Failing("full".to_owned())));
    rig.exit("a");
    assert!(!rig.session.is_at_rest(), "an end waits");

    let mut rig = Rig::new();
    rig.feed(Input::Drain);
    rig.prompt("later");
    assert!(!rig.session.is_at_rest(), "a prompt waits");
}

#[test]
fn a_restored_session_shows_what_is_stored_without_effects() {
    // S01
    let gauge = protocol::Gauge { used: Some(70), length: Some(100) };
    let title = Some("Build".to_owned());
    let row =
        Row { n: 8, turn: TurnId(3), at: 0, cut: 0, body: Body::User { text: "go".to_owned() } };
    let loaded = Loaded {
        meta: Meta { title: title.clone(), gauge, wakeups_in_a_row: 2, ..meta() },
        rows: vec![row],
        earlier: 7,
        turns: TurnId(3),
        ..Loaded::default()
    };
    let (mut session, effects) =
        Session::restore(loaded, Attendance::Attended, None, Rules::default(), 0);
    assert_eq!(effects, []);
    let view = session.transcript();
    assert_eq!((&view.title, view.earlier, view.unattended), (&title, 7, 2));
    assert_eq!(view.gauge, gauge);
    let id = PromptId("p".to_owned());
    session
        .handle(Input::Prompt { id, text: "on".to_owned(), attendance: Attendance::Attended }, 0);
    assert_eq!(session.transcript().rows.last().unwrap().n, 9);
}

#[test]
fn the_first_row_is_number_one_also_after_a_restart() {
    let brief = Queued { id: PromptId("p".to_owned()), text: "go".to_owned() };
    let loaded = Loaded { meta: meta(), queued: vec![brief], ..Loaded::default() };
    let (session, _) = Session::restore(loaded, Attendance::Attended, None, Rules::default(), 0);
    assert_eq!(session.transcript().rows.first().map(|row| row.n), Some(1));
}

#[test]
fn a_prompt_sent_again_is_known_after_an_unload() {
    // E01, E03: a client that heard no answer sends it once more.
    let prompt = |id: &str| Input::Prompt {
        id: PromptId(id.to_owned()),
        text: "hi".to_owned(),
        attendance: Attendance::Attended,
    };
    let mut rig = Rig::new();
    rig.feed(prompt("ran"));
    rig.feed(prompt("waits"));
    rig.answer("hello");
    let meta = rig.effects.iter().rev().find_map(|e| match e {
        Effect::Record(Record::Session(meta)) => Some(meta.clone()),
        _ => None,
    });
    let waits = Queued { id: PromptId("waits".to_owned()), text: "hi".to_owned() };
    let loaded = Loaded {
        meta: meta.unwrap(),
        rows: rig.session.transcript().rows.clone(),
        turns: TurnId(1),
        queued: vec![waits],
        ..Loaded::default()
    };
    let (mut session, _) =
        Session::restore(loaded, Attendance::Attended, None, Rules::default(), rig.now);
    for id in ["ran", "waits", "waits", "ran"] {
        session.handle(prompt(id), rig.now);
    }
    assert!(session.transcript().queued.is_empty(), "{:?}", session.transcript().queued);
    let turn = session.transcript().running.as_ref().map(|running| running.turn);
    assert_eq!(turn, Some(TurnId(2)), "the one that waited");
    let event = TurnEvent::Ended { outcome: Outcome::Done, failure: None };
    session.handle(Input::TurnEvent { turn: TurnId(2), ack: Ack(0), event }, rig.now);
    assert_eq!(session.transcript().running, None, "no third turn");
}
