//! What a user sets for a session.

use super::*;
use protocol::Subject;

#[test]
fn yolo_approves_what_is_being_asked_and_asks_no_more_until_it_is_off() {
    // S04
    let mut rig = Rig::new();
    rig.prompt("go");
    ask(&mut rig, "c1", approval("a"));
    ask(&mut rig, "c2", approval("b"));
    let clarify = Ask::Clarify { question: "which?".to_owned(), choices: Vec::new() };
    ask(&mut rig, "c3", clarify.clone());
    rig.feed(Input::SetYolo { yolo: true, by: None });
    assert!(rig.session.transcript().yolo);
    let left: Vec<_> = rig.session.transcript().questions.iter().map(|q| q.ask.clone()).collect();
    assert_eq!(left, [clarify], "only the agent's own question is left");
    let replied = ask(&mut rig, "c4", approval("a"));
    assert_eq!(replied, [Effect::Reply { ack: Ack(7), reply: Reply::Go }], "not asked");
    rig.feed(Input::SetYolo { yolo: false, by: None });
    ask(&mut rig, "c5", approval("a"));
    assert_eq!(rig.session.transcript().questions.len(), 2);
    assert!(rig.session.meta().grants.is_empty());
}

#[test]
fn the_users_folder_holds_against_a_turn_that_runs_elsewhere() {
    // W30
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.feed(Input::SetCwd("/new".to_owned()));
    let finished = |cwd: &str| Finished {
        result: ToolResult {
            call: CallId("c1".to_owned()),
            name: "terminal".to_owned(),
            text: "{}".to_owned(),
            failed: false,
            millis: 1,
            unanswered: false,
        },
        seen: Vec::new(),
        shell: Some(Shell { cwd: cwd.to_owned(), env: [("A".to_owned(), None)].into() }),
        todo: None,
    };
    rig.event(TurnEvent::Result(finished("/old")));
    assert_eq!(rig.session.transcript().cwd, "/new");
    assert!(rig.session.meta().env.contains_key("A"));
    rig.answer("done");
    rig.end();
    let effects = rig.prompt("next");
    let plan = effects.iter().find_map(|e| match e {
        Effect::Start(plan) => Some(plan.clone()),
        _ => None,
    });
    assert_eq!(plan.unwrap().shell.cwd, "/new");
    assert_eq!(rig.rows(), ["user", "tool", "assistant", "note", "user"], "the agent is told");
    rig.event(TurnEvent::Result(finished("/later")));
    assert_eq!(rig.session.transcript().cwd, "/later", "the agent moves as ever");
}

#[test]
fn an_effort_is_stored_and_asked_with_and_an_unknown_one_is_refused() {
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.end();
    rig.feed(Input::SetReasoning(Some(" High".to_owned())));
    assert_eq!(rig.session.transcript().reasoning.as_deref(), Some("high"));
    let refused = rig.feed(Input::SetReasoning(Some("very".to_owned())));
    let said = refused.iter().find_map(|e| match e {
        Effect::Publish(Event::Failed(failure)) => Some(failure.message.clone()),
        _ => None,
    });
    assert!(said.unwrap().contains("minimal, low, medium"));
    let effects = rig.prompt("next");
    let plan = effects.iter().find_map(|e| match e {
        Effect::Start(plan) => Some(plan.clone()),
        _ => None,
    });
    assert_eq!(plan.unwrap().reasoning.as_deref(), Some("high"));
    let restored = Loaded { meta: rig.session.meta().clone(), ..Loaded::default() };
    let (again, _) =
        Session::restore(restored, Attendance::Attended, None, Rules::default(), rig.now);
    assert_eq!(again.transcript().reasoning.as_deref(), Some("high"));
}

#[test]
fn a_pin_is_stored_and_no_activity() {
    // S04
    let mut rig = Rig::new();
    assert!(rig.feed(Input::Pin(true)).iter().all(|e| !matches!(e, Effect::Record(_))));
    rig.prompt("go");
    rig.end();
    let before = rig.session.meta().active_at;
    rig.now += 5_000;
    assert!(rig.session.meta().pinned, "chosen before the first prompt, stored with it");
    let effects = rig.feed(Input::Pin(false));
    let [Effect::Record(Record::Session(meta)), Effect::Announce(Event::SessionsChanged)] =
        effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!((meta.pinned, meta.active_at), (false, before));
}

#[test]
fn the_chosen_toolsets_count_from_the_next_turn_on_and_a_wrong_choice_changes_nothing() {
    let mut rig = Rig::new();
    let choose = |names: &[&str]| {
        Input::SetToolsets(Some(names.iter().map(|name| (*name).to_owned()).collect()))
    };
    let plan = |effects: &[Effect]| {
        effects.iter().find_map(|e| match e {
            Effect::Start(plan) => Some(plan.toolsets.clone()),
            _ => None,
        })
    };
    assert_eq!(plan(&rig.prompt("one")), Some(None));
    rig.feed(choose(&["file", "todo"]));
    rig.end();
    let file = Some(vec!["file".to_owned(), "todo".to_owned()]);
    assert_eq!(plan(&rig.prompt("two")), Some(file.clone()));
    rig.end();
    for wrong in [&["file", "web", "vision"][..], &[], &["FILE"]] {
        let effects = rig.feed(choose(wrong));
        let Some(Effect::Publish(Event::Failed(failure))) = effects.first() else {
            panic!("{effects:?}")
        };
        assert_eq!(failure.about, Subject::Toolsets);
        let named = wrong.iter().filter(|name| **name != "file");
        assert!({ named }.all(|name| failure.message.contains(name)), "{}", failure.message);
        assert_eq!(rig.view.toolsets, file);
    }
    let loaded = Loaded { meta: rig.session.meta().clone(), ..Loaded::default() };
    let (session, _) =
        Session::restore(loaded, Attendance::Attended, Some(1000), Rules::default(), rig.now);
    assert_eq!(session.transcript().toolsets, file, "also in another host");
    assert_eq!(rig.session.meta().branch(5).toolsets, file, "and in a copy");
    rig.feed(Input::SetToolsets(None));
    assert_eq!(plan(&rig.prompt("three")), Some(None));
}
