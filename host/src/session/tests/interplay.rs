//! Where rules of different topics meet.

use super::disk::Disk;
use super::*;
use crate::session::Errand;
use crate::store::{Pause, Task};

const HOUR: Millis = 3_600_000;

fn errands(rig: &Rig) -> Vec<(u64, Errand)> {
    let plans = rig.effects.iter().filter_map(|e| match e {
        Effect::Start(plan) => Some((plan.turn.0, plan.errand.clone())),
        _ => None,
    });
    plans.collect()
}

/// As `idle_with`, with all that was recorded.
fn recorded_with(ids: &[&str]) -> Rig {
    let mut rig = Rig::new();
    rig.prompt("go");
    for id in ids {
        rig.spawn(id);
    }
    rig.answer("started");
    rig.end();
    rig
}

/// The session of a delegated task, its prompt not begun.
fn worker() -> Rig {
    let task = Task { parent: SessionId("s0".to_owned()), process: pid("task") };
    let meta = Meta { task: Some(task), ..meta() };
    let brief = Queued { id: PromptId("task".to_owned()), text: "brief".to_owned() };
    let loaded = Loaded { meta, queued: vec![brief], ..Loaded::default() };
    let (session, effects) =
        Session::restore(loaded, Caller::Attended, None, Rules::default(), 1_000);
    let view = session.transcript().clone();
    Rig { session, now: 1_000, prompts: 0, effects, view }
}

fn reports(rig: &Rig) -> usize {
    rig.effects.iter().filter(|e| matches!(e, Effect::Report { .. })).count()
}

#[test]
fn a_turn_that_is_too_old_to_go_on_holds_no_later_completion() {
    // W15 R01 R03: only a turn that was started again and again is held.
    let mut rig = recorded_with(&["a"]);
    rig.prompt("and now");
    let mut disk = Disk::of(&rig);
    let mut rig = disk.restart(rig.now + 10 * HOUR);
    assert_eq!(errands(&rig), []);
    assert_eq!(rig.session.meta.held, None);
    rig.exit("a");
    assert_eq!(rig.starts(), [Source::Wakeup]);
}

#[test]
fn a_task_that_comes_to_its_end_while_the_host_drains_is_told_before_it_stops() {
    // R05: who waits for it would else use up the time of the drain.
    let mut rig = worker();
    rig.feed(Input::Drain);
    rig.answer("found");
    rig.end();
    assert_eq!(reports(&rig), 1);
}

#[test]
fn what_a_task_that_was_taken_back_still_waited_for_starts_nothing() {
    // W09: not when its retry is due, and not in the next host.
    let mut rig = worker();
    rig.spawn("a");
    rig.answer("started");
    rig.end();
    rig.exit("a");
    let outcome = Outcome::Failed { class: "server".to_owned() };
    rig.say(Say::Ended { outcome, failure: Some("no".to_owned()) });
    assert_eq!(reports(&rig), 0);
    rig.feed(Input::Abandon);
    assert_eq!(reports(&rig), 1);
    let mut disk = Disk::of(&rig);
    let before = rig.starts().len();
    for _ in 0..5 {
        rig.now += HOUR;
        rig.feed(Input::Tick);
    }
    assert_eq!(rig.starts().len(), before);
    assert_eq!(disk.restart(rig.now).starts(), []);
}

#[test]
fn a_remark_that_no_result_has_taken_along_outlives_a_kill() {
    // W03: what was typed is not lost, and not said twice.
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.feed(Input::Steer("be quick".to_owned()));
    rig.feed(Input::Steer("and careful".to_owned()));
    let mut disk = Disk::of(&rig);
    let rig2 = disk.restart(rig.now);
    let queued = &rig2.session.transcript().queued;
    assert_eq!(queued.len(), 1);
    assert_eq!(queued[0].text, "be quick\nand careful");
    // Taken along by a result, it is told.
    rig.result(Vec::new());
    assert_eq!(Disk::of(&rig).restart(rig.now).session.transcript().queued, []);
    // At the end of the turn it is the next prompt, once.
    rig.feed(Input::Steer("more".to_owned()));
    rig.answer("done");
    rig.end();
    assert_eq!(rig.starts(), [Source::User, Source::User]);
    assert_eq!(Disk::of(&rig).restart(rig.now).session.transcript().queued, []);
    // After an interrupt it is a note of the past.
    rig.feed(Input::Steer("wait".to_owned()));
    rig.feed(Input::Cancel);
    rig.say(Say::Ended { outcome: Outcome::Cancelled, failure: None });
    assert_eq!(Disk::of(&rig).restart(rig.now).session.transcript().queued, []);
}

#[test]
fn a_half_answer_to_what_an_earlier_turn_had_told_goes_on_too() {
    // R01 W16: the turn has no row of its own yet.
    let mut rig = recorded_with(&["a"]);
    rig.exit("a");
    let outcome = Outcome::Failed { class: "server".to_owned() };
    rig.say(Say::Ended { outcome, failure: None });
    rig.feed(Input::WakeNow);
    rig.say(Say::Delta { part: Part::Text, text: "I was".to_owned() });
    assert_eq!(rig.starts(), [Source::User, Source::Wakeup, Source::Wakeup]);
    let mut disk = Disk::of(&rig);
    let rig = disk.restart(rig.now);
    assert_eq!(errands(&rig), [(3, Errand::Resume)]);
    assert_eq!(rig.delivery("a"), Delivery::Claimed(TurnId(3)));
}

#[test]
fn a_compression_that_asked_nobody_proves_no_key() {
    // W20
    let mut rig = idle_with(&["a"]);
    let lane = rig.session.rules.lane.clone();
    rig.session.meta.pause = Some(Pause { reason: "no key".to_owned(), lane });
    rig.exit("a");
    rig.feed(Input::Compress { focus: None });
    let message = "There is nothing to compress yet.".to_owned();
    rig.say(Say::NotCompressed { message, failed: false });
    rig.end();
    assert_eq!(rig.starts(), [Source::User]);
}

#[test]
fn an_end_that_was_seen_stays_so_when_its_watch_is_switched_off_afterwards() {
    // W07 P03: `wait` was faster than the last lines.
    let mut rig = idle_with(&[]);
    rig.prompt("look");
    let watch = vec!["x".to_owned()];
    let process = Process { notify: false, watch, turn: TurnId(1), ..process("a") };
    rig.say(Say::Spawn(Box::new(process)));
    let hit = |rig: &mut Rig| {
        let (pattern, text) = ("x".to_owned(), "x".to_owned());
        let hit = Hit { pattern, text, lines: 1, upto: 1, at: rig.now };
        rig.feed(Input::Matched { process: pid("a"), hit, admitted: true });
    };
    for _ in 0..2 {
        hit(&mut rig);
        rig.now += 1;
        hit(&mut rig);
        rig.now += 20_000;
    }
    hit(&mut rig);
    rig.result(vec![(pid("a"), Seen::Now)]);
    hit(&mut rig);
    rig.exit("a");
    rig.answer("done");
    rig.end();
    let ends = rig.session.transcript().rows.iter().filter(|row| match &row.body {
        Body::Wakeup(wakeup) => wakeup.kind == WakeupKind::Exit,
        _ => false,
    });
    assert_eq!(ends.count(), 0);
}

#[test]
fn an_end_that_was_polled_counts_also_if_its_turn_ends_in_the_next_host() {
    // W07 R01
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.exit("a");
    rig.result(vec![(pid("a"), Seen::AtTurnEnd)]);
    let mut disk = Disk::of(&rig);
    let mut rig = disk.restart(rig.now);
    rig.answer("it has ended");
    rig.end();
    assert_eq!(errands(&rig), [(1, Errand::Resume)]);
    assert_eq!(rig.delivery("a"), Delivery::Consumed);
    // Not if that turn does not end normally, nor in a later turn.
    let mut rig = disk.restart(rig.now + 10 * HOUR);
    assert_eq!(rig.delivery("a"), Delivery::Claimed(TurnId(2)));
    rig.answer("it has ended");
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
}
