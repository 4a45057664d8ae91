//! What a compression does to its session: it stays the same one.

use super::*;
use crate::agent::compression;

fn summary(before: u64, after: u64) -> Summary {
    Summary { text: "in short".to_owned(), head: 1, tail: 2, rows: 0, before, after }
}

fn compressed(rig: &mut Rig, before: u64, after: u64) -> Vec<Effect> {
    rig.event(TurnEvent::Compressed(summary(before, after)))
}

/// What was said to the user about it.
fn failures(effects: &[Effect]) -> Vec<&str> {
    let mut messages = Vec::new();
    for effect in effects {
        if let Effect::Publish(Event::Failed(failure)) = effect {
            messages.push(failure.message.as_str());
        }
    }
    messages
}

fn plan(effects: &[Effect]) -> &TurnPlan {
    for effect in effects {
        if let Effect::Start(plan) = effect {
            return plan;
        }
    }
    panic!("no turn starts");
}

/// What the model's next request is made of.
fn context(rig: &Rig) -> Vec<&'static str> {
    let rows: Vec<_> =
        rig.session.transcript().rows.iter().cloned().map(std::sync::Arc::new).collect();
    compression::context(&rows).iter().map(|r| kind(r)).collect()
}

#[test]
fn a_process_wakes_its_session_after_a_compression() {
    // W18
    let mut rig = idle_with(&["a"]);
    rig.feed(Input::Compress { focus: None });
    compressed(&mut rig, 1_000, 100);
    rig.exit("a");
    assert_eq!(rig.told(), [""; 0], "it waits for the end of the compression");
    rig.end();
    assert_eq!(starts(&rig.effects), [Source::User, Source::Wakeup]);
    assert_eq!(rig.told(), ["a"]);
    assert_eq!(context(&rig), ["user", "summary", "assistant", "wakeup"]);
    let owner = rig.effects.iter().find_map(|e| match e {
        Effect::Record(Record::Ledger(entry)) => Some(entry.session.clone()),
        _ => None,
    });
    assert_eq!(owner, Some(meta().id));
    rig.answer("seen");
    rig.end();
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
    assert_eq!(&rig.view, rig.session.transcript());
}

#[test]
fn compressing_is_a_turn_that_answers_nothing() {
    let mut rig = idle_with(&["a"]);
    let effects = rig.feed(Input::Compress { focus: Some("the tests".to_owned()) });
    let plan = plan(&effects);
    assert_eq!(plan.kind, TurnKind::Compress { focus: Some("the tests".to_owned()) });
    assert_eq!((plan.source, plan.turn), (Source::User, TurnId(2)));
    // A prompt waits for it like for any turn.
    rig.prompt("and then");
    assert_eq!(rig.session.transcript().queued.len(), 1);
    let effects = compressed(&mut rig, 1_000, 100);
    assert!(matches!(&effects.last(), Some(Effect::Reply { reply: Reply::Row(row), .. })
        if kind(row) == "summary" && row.turn == TurnId(2)));
    rig.end();
    assert_eq!(rig.rows(), ["user", "assistant", "summary", "user"]);
    assert_eq!(rig.session.meta().compressions, 1);
    assert_eq!(rig.session.transcript().gauge.used, Some(100));
    assert_eq!(rig.session.meta().gauge.used, Some(100));
    assert_eq!(&rig.view, rig.session.transcript());
}

#[test]
fn nothing_is_compressed_in_a_turn_or_before_a_prompt() {
    let mut rig = Rig::new();
    let effects = rig.feed(Input::Compress { focus: None });
    assert_eq!(failures(&effects), ["There is nothing to compress yet."]);
    rig.prompt("go");
    let effects = rig.feed(Input::Compress { focus: None });
    assert!(failures(&effects)[0].starts_with("A turn is running"), "{effects:?}");
    assert_eq!(rig.starts(), [Source::User]);
    rig.feed(Input::Stop);
    assert_eq!(starts(&rig.feed(Input::Compress { focus: None })), []);
}

#[test]
fn a_compression_that_comes_to_nothing_leaves_no_trace() {
    // Nothing of it is stored before its summary: a host that dies meanwhile has changed nothing.
    let mut rig = idle_with(&["a"]);
    let effects = rig.feed(Input::Compress { focus: None });
    assert!(!effects.iter().any(|e| matches!(e, Effect::Record(_))), "{effects:?}");
    let rows = rig.rows();
    rig.feed(Input::Cancel);
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    assert_eq!(rig.rows(), rows, "no remark about a prompt that was never sent");
    rig.feed(Input::Compress { focus: None });
    rig.feed(Input::Stop);
    assert_eq!(rig.rows(), rows);
    assert!(rig.session.transcript().running.is_none());
}

#[test]
fn two_poor_compressions_in_a_row_are_reported_once() {
    let mut rig = idle_with(&["a"]);
    rig.prompt("go");
    assert_eq!(failures(&compressed(&mut rig, 1_000, 901)), [""; 0]);
    assert_eq!(failures(&compressed(&mut rig, 1_000, 900)), [""; 0], "a tenth is worth it");
    assert_eq!(rig.session.meta().poor_compressions, 0);
    assert_eq!(failures(&compressed(&mut rig, 1_000, 950)), [""; 0]);
    let effects = compressed(&mut rig, 1_000, 950);
    assert!(failures(&effects)[0].contains("/compress still does it"));
    assert_eq!(failures(&compressed(&mut rig, 1_000, 999)), [""; 0]);
    assert_eq!(rig.session.meta().poor_compressions, 3);
    compressed(&mut rig, 1_000, 100);
    assert_eq!(
        rig.session.meta().poor_compressions,
        0,
        "one that is worth it switches it on again"
    );
    assert_eq!(rig.session.meta().compressions, 6);
}

#[test]
fn a_failed_compression_is_told_and_remembered() {
    let mut rig = idle_with(&["a"]);
    rig.prompt("go");
    let event = |failed| TurnEvent::NotCompressed { message: "no".to_owned(), failed };
    let effects = rig.event(event(false));
    assert_eq!(failures(&effects), ["no"]);
    assert_eq!(rig.session.meta().compression_failed_at, None);
    let effects = rig.event(event(true));
    assert_eq!(failures(&effects), ["no"]);
    assert!(effects.iter().any(|e| matches!(e,
        Effect::Record(Record::Session(m)) if m.compression_failed_at == Some(1_000))));
    compressed(&mut rig, 1_000, 100);
    assert_eq!(rig.session.meta().compression_failed_at, None);
}

#[test]
fn a_summary_does_not_hide_a_partial_answer_before_it() {
    // W16: the wakeup is told already; the model needs a word to answer to.
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    rig.event(TurnEvent::Delta { part: Part::Text, text: "half".to_owned() });
    rig.event(TurnEvent::Ended {
        outcome: Outcome::Failed { class: "truncated".to_owned() },
        failure: None,
    });
    rig.feed(Input::Compress { focus: None });
    compressed(&mut rig, 1_000, 100);
    rig.end();
    rig.feed(Input::WakeNow);
    assert_eq!(rig.rows().last(), Some(&"note"), "{:?}", rig.rows());
}
