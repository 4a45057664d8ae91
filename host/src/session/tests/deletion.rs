//! Deletion: what ends with a session, and that nothing brings it back.

use super::*;

#[test]
fn deletion_kills_as_the_users_wish_before_the_session_goes() {
    // W09 W19
    let mut rig = idle_with(&["a", "b"]);
    rig.exit("a");
    rig.prompt("busy");
    let effects = rig.feed(Input::Delete);
    let at = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted).unwrap();
    let marked = at(|e| {
        matches!(e, Effect::Record(Record::Process(p))
            if p.id == pid("b") && p.killed_by == Some(Killer::User))
    });
    let deleted = at(|e| matches!(e, Effect::Record(Record::Deleted { .. })));
    assert!(marked < deleted, "the wish is stored, also if the kill fails");
    let killed = at(|e| *e == Effect::Kill(pid("b")));
    let stopped = at(|e| matches!(e, Effect::Stop(_)));
    let gone = at(|e| *e == Effect::Forget);
    assert!(stopped < gone && killed < gone);
    assert_eq!(gone, effects.len() - 1);
}

#[test]
fn nothing_is_heard_of_a_deleted_session_any_more() {
    // W19: late words, exits, answers and prompts.
    let mut rig = idle_with(&["a", "b"]);
    rig.prompt("busy");
    rig.feed(Input::Delete);
    rig.effects.clear();
    let rows = rig.rows().len();
    rig.answer("late");
    rig.result(Vec::new());
    rig.event(TurnEvent::Spawn(Box::new(process("c"))));
    rig.end();
    rig.exit("a");
    rig.prompt("is anybody there?");
    rig.feed(Input::WakeNow);
    rig.feed(Input::Tick);
    rig.feed(Input::Storage(Storage::Failing("full".to_owned())));
    rig.feed(Input::Delete);
    assert_eq!(rig.effects, []);
    assert_eq!(rig.rows().len(), rows);
}

#[test]
fn a_completion_leaves_an_archived_session_archived() {
    // W19
    let mut rig = idle_with(&["a"]);
    rig.feed(Input::Archive(true));
    rig.exit("a");
    assert_eq!(rig.starts(), [Source::Wakeup]);
    rig.answer("seen");
    rig.end();
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
    assert!(rig.session.meta().archived);
    let stored = rig.effects.iter().filter_map(|e| match e {
        Effect::Record(Record::Session(meta)) => Some(meta.archived),
        _ => None,
    });
    assert!(stored.clone().count() > 1 && stored.clone().all(|archived| archived));
}
