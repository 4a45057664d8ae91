//! What an outbox holds back, and until when.

use super::*;
use crate::store::Meta;
use protocol::Part;

fn delta(n: u64) -> Effect {
    let (session, turn) = (SessionId("s".to_owned()), TurnId(1));
    Effect::Record(Record::Delta { session, turn, n, part: Part::Text, text: "x".to_owned() })
}

fn barrier() -> Effect {
    Effect::Record(Record::Session(Meta::default()))
}

fn shown(n: u64) -> Effect {
    Effect::Publish(Event::Unattended { wakeups: n as u32 })
}

/// As the loop does it: the records are written under that number, if any must be.
fn happens(outbox: &mut Outbox, no: u64, effects: Vec<Effect>) -> Vec<Effect> {
    let (batch, rest) = outbox.split(effects);
    outbox.put(batch.map(|_| CommitNo(no)), rest)
}

fn leaves(outbox: &mut Outbox, upto: u64) -> Vec<String> {
    let mut left = Vec::new();
    while outbox.is_ready(CommitNo(upto)) {
        left.push(match outbox.next(CommitNo(upto)) {
            Some(Item::Effect(effect)) => format!("{effect:?}"),
            Some(Item::Window { .. }) => "window".to_owned(),
            Some(Item::Branch { .. }) => "branch".to_owned(),
            None => panic!("it was said to be ready"),
        });
    }
    assert!(outbox.next(CommitNo(upto)).is_none());
    left
}

#[test]
fn what_rests_on_a_commit_leaves_with_it_and_not_before() {
    // W16
    let mut outbox = Outbox::default();
    assert!(outbox.is_empty() && !outbox.is_ready(CommitNo(9)));
    assert_eq!(happens(&mut outbox, 3, vec![barrier(), shown(1)]), []);
    assert!(!outbox.is_empty());
    assert_eq!(leaves(&mut outbox, 2), [""; 0]);
    assert_eq!(leaves(&mut outbox, 3), [format!("{:?}", shown(1))]);
    assert!(outbox.is_empty());
}

#[test]
fn streamed_text_waits_for_no_commit_but_never_overtakes_what_does() {
    // W16
    let mut outbox = Outbox::default();
    assert_eq!(happens(&mut outbox, 0, vec![delta(1), shown(1)]), [shown(1)]);
    assert!(outbox.has_journal() && !outbox.is_empty(), "it is still to be written");
    assert_eq!(happens(&mut outbox, 3, vec![barrier(), shown(2)]), []);
    assert!(!outbox.has_journal(), "the commit took it along");
    assert_eq!(happens(&mut outbox, 0, vec![delta(2), shown(3)]), []);
    assert_eq!(leaves(&mut outbox, 3), [2, 3].map(|n| format!("{:?}", shown(n))));
    assert_eq!(outbox.take_journal().len(), 1);
    assert!(outbox.is_empty() && !outbox.has_journal());
}

#[test]
fn a_window_and_the_word_of_a_copy_come_after_what_was_there_before_them() {
    let (front, session) = (ViewId(1), SessionId("s".to_owned()));
    let mut outbox = Outbox::default();
    let event = Event::Unattended { wakeups: 1 };
    let window = |outbox: &mut Outbox| outbox.put_window(front, session.clone(), event.clone());
    assert_eq!(window(&mut outbox), Some(event.clone()), "nothing is before it");
    assert_eq!(happens(&mut outbox, 3, vec![barrier(), shown(1)]), []);
    assert_eq!(window(&mut outbox), None);
    outbox.put_branch(CommitNo(4), front, session.clone());
    assert_eq!(leaves(&mut outbox, 3), [format!("{:?}", shown(1)), "window".to_owned()]);
    assert_eq!(leaves(&mut outbox, 4), ["branch"]);
}
