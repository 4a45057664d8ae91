//! Sessions while the store fails, and when the host stops.

use super::*;

#[test]
fn while_the_store_fails_nothing_is_spawned_and_nothing_wakes() {
    let mut rig = idle_with(&["a"]);
    rig.feed(Input::Storage(Storage::Failing("disk full".to_owned())));
    rig.exit("a");
    assert_eq!(rig.starts(), []);
    rig.prompt("go on");
    assert_eq!(rig.starts(), [Source::User]);
    let effects = rig.event(TurnEvent::Spawn(Box::new(process("b"))));
    assert!(matches!(&effects[..], [Effect::Reply { reply: Reply::Refused(_), .. }]));
    rig.end();
    rig.feed(Input::Storage(Storage::Ok));
    assert_eq!(rig.starts(), [Source::User, Source::Wakeup]);
    assert_eq!(rig.told(), ["a"]);
}

#[test]
fn an_unstored_claim_is_retried_when_the_store_recovers() {
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    rig.feed(Input::Storage(Storage::Failing("full".to_owned())));
    rig.event(TurnEvent::Ended {
        outcome: Outcome::Failed { class: STORE.to_owned() },
        failure: None,
    });
    assert_eq!(rig.starts(), [Source::Wakeup]);
    rig.feed(Input::Storage(Storage::Ok));
    assert_eq!(rig.starts(), [Source::Wakeup, Source::Wakeup]);
    assert_eq!(rig.told(), ["a"]);
}

#[test]
fn a_stopping_host_starts_nothing_more() {
    // R05
    for stop in [Input::Drain, Input::Stop] {
        let mut rig = idle_with(&["a"]);
        rig.feed(stop);
        rig.exit("a");
        let effects = rig.prompt("next");
        assert_eq!(rig.starts(), []);
        assert_eq!(rig.delivery("a"), Delivery::Waiting);
        assert!(effects.iter().any(|e| matches!(e, Effect::Record(Record::Queued { .. }))));
        assert_eq!(rig.session.deadline(), None, "nothing to wake up for");
    }
}

#[test]
fn a_remark_that_waits_at_a_stop_is_stored_as_a_prompt() {
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.feed(Input::Steer("use make".to_owned()));
    let effects = rig.feed(Input::Stop);
    assert!(effects.iter().any(|e| matches!(e,
        Effect::Record(Record::Queued { prompt, .. }) if prompt.text == "use make")));
}

#[test]
fn a_wakeup_that_fails_with_the_store_is_put_off() {
    // W29
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    rig.feed(Input::Storage(Storage::Failing("full".to_owned())));
    let outcome = Outcome::Failed { class: "unreachable".to_owned() };
    rig.event(TurnEvent::Ended { outcome, failure: None });
    assert!(matches!(rig.delivery("a"), Delivery::Held(_)));
    rig.feed(Input::Storage(Storage::Ok));
    assert_eq!(rig.starts(), [Source::Wakeup]);
}

#[test]
fn an_always_that_cannot_be_written_down_holds_for_the_session() {
    // C05
    for (storage, forever) in [(Storage::Ok, true), (Storage::Failing("full".to_owned()), false)] {
        let mut rig = Rig::new();
        rig.prompt("go");
        let Ask::Approval { command, part, rule, reason, .. } = approval("r") else { panic!() };
        let asked = Ask::Approval { command, part, rule, reason, allow_always: true };
        ask(&mut rig, "c1", asked.clone());
        rig.feed(Input::Storage(storage));
        let id = rig.session.transcript().questions[0].id.clone();
        let answer = Answer::Approval(Choice::Always);
        let effects = rig.feed(Input::Answer { id, answer, by: None });
        let record = Effect::Record(Record::Granted { rule: "r".to_owned() });
        assert_eq!(effects.contains(&record), forever);
        assert_eq!(effects.contains(&Effect::Grant("r".to_owned())), forever);
        ask(&mut rig, "c2", asked);
        assert!(rig.session.transcript().questions.is_empty(), "not asked again");
    }
}
