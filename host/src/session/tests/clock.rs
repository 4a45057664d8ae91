//! A clock that is set while a session lives.

use super::*;

#[test]
fn a_clock_set_back_holds_up_no_completion() {
    // W06: the wait for siblings is bounded, whatever the clock does.
    let mut rig = idle_with(&["a", "b"]);
    rig.exit("a");
    assert_eq!(rig.starts(), [], "a sibling still runs");
    rig.now -= 900;
    rig.feed(Input::Tick);
    assert_eq!(rig.starts(), [Source::Wakeup]);
    assert_eq!(rig.told(), ["a"]);
}

#[test]
fn completions_around_a_clock_change_are_delivered_once() {
    // W06 W16
    let mut rig = idle_with(&["a", "b", "c"]);
    rig.prompt("busy");
    rig.effects.clear();
    rig.now += 1_000_000;
    rig.exit("a");
    // Before the spawn, as it seems.
    rig.now = 5;
    rig.exit("b");
    rig.exit("c");
    rig.answer("done");
    rig.end();
    assert_eq!(rig.starts(), [Source::Wakeup]);
    // By their times; equal ones as they were reported.
    assert_eq!(rig.told(), ["b", "c", "a"]);
    rig.answer("seen");
    rig.end();
    assert_eq!(rig.starts(), [Source::Wakeup]);
    for id in ["a", "b", "c"] {
        assert_eq!(rig.delivery(id), Delivery::Delivered);
    }
}

#[test]
fn an_input_in_the_same_millisecond_does_not_end_settling() {
    // W06
    let mut rig = idle_with(&["a", "b"]);
    rig.exit("a");
    rig.feed(Input::Tick);
    assert_eq!(rig.starts(), []);
    assert_eq!(rig.session.deadline(), Some(rig.now + 50));
}
