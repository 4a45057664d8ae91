//! Which effects an outbox holds back, and until when.

use super::*;
use crate::store::Meta;
use protocol::{Part, TurnId};

fn delta(n: u64) -> Effect {
    let (session, turn) = (SessionId("s".to_owned()), TurnId(1));
    Effect::Record(Record::Delta { session, turn, n, part: Part::Text, text: "x".to_owned() })
}

fn barrier() -> Effect {
    Effect::Record(Record::Session(Meta::default()))
}

fn published(n: u64) -> Effect {
    Effect::Publish(Event::Unattended { wakeups: n as u32 })
}

/// Submits effects as the loop does: their records are written under that number, if any must be.
fn submit(outbox: &mut Outbox, no: u64, effects: Vec<Effect>) -> Vec<Effect> {
    let (batch, rest) = outbox.split(effects);
    outbox.put(batch.map(|_| CommitNo(no)), rest)
}

fn released(outbox: &mut Outbox, upto: u64) -> Vec<String> {
    let mut items = Vec::new();
    while outbox.is_ready(CommitNo(upto)) {
        items.push(match outbox.next(CommitNo(upto)) {
            Some(Item::Effect(effect)) => format!("{effect:?}"),
            Some(Item::Window { .. }) => "window".to_owned(),
            Some(Item::Branch { .. }) => "branch".to_owned(),
            None => panic!("is_ready said that there is one"),
        });
    }
    assert!(outbox.next(CommitNo(upto)).is_none());
    items
}

#[test]
fn an_effect_leaves_with_its_commit_and_not_before() {
    // W16
    let mut outbox = Outbox::default();
    assert!(outbox.is_empty() && !outbox.is_ready(CommitNo(9)));
    assert_eq!(submit(&mut outbox, 3, vec![barrier(), published(1)]), []);
    assert!(!outbox.is_empty());
    assert_eq!(released(&mut outbox, 2), [""; 0]);
    assert_eq!(released(&mut outbox, 3), [format!("{:?}", published(1))]);
    assert!(outbox.is_empty());
}

#[test]
fn streamed_text_waits_for_no_commit_but_never_overtakes() {
    // W16
    let mut outbox = Outbox::default();
    assert_eq!(submit(&mut outbox, 0, vec![delta(1), published(1)]), [published(1)]);
    assert!(outbox.has_journal() && !outbox.is_empty(), "it is still to be written");
    assert_eq!(submit(&mut outbox, 3, vec![barrier(), published(2)]), []);
    assert!(!outbox.has_journal(), "the commit includes it");
    assert_eq!(submit(&mut outbox, 0, vec![delta(2), published(3)]), []);
    assert_eq!(released(&mut outbox, 3), [2, 3].map(|n| format!("{:?}", published(n))));
    assert_eq!(outbox.take_journal().len(), 1);
    assert!(outbox.is_empty() && !outbox.has_journal());
}

#[test]
fn windows_and_branches_leave_in_queue_order() {
    let (view, session) = (ViewId(1), SessionId("s".to_owned()));
    let mut outbox = Outbox::default();
    let event = Event::Unattended { wakeups: 1 };
    let window = |outbox: &mut Outbox| outbox.put_window(view, session.clone(), event.clone());
    assert_eq!(window(&mut outbox), Some(event.clone()), "nothing waits before it");
    assert_eq!(submit(&mut outbox, 3, vec![barrier(), published(1)]), []);
    assert_eq!(window(&mut outbox), None);
    outbox.put_branch(CommitNo(4), view, session.clone());
    assert_eq!(released(&mut outbox, 3), [format!("{:?}", published(1)), "window".to_owned()]);
    assert_eq!(released(&mut outbox, 4), ["branch"]);
}
