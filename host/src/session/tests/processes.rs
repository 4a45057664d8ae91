//! Background processes of a session: what is written down of them, who ends which, and how long
//! they stay listed.

use super::*;

/// One whose end wakes nobody.
fn quiet(id: &str) -> Process {
    Process { notify: false, ..process(id) }
}

fn spawn_quiet(rig: &mut Rig, id: &str) {
    rig.event(TurnEvent::Spawn(Box::new(quiet(id))));
    rig.event(TurnEvent::Running { process: pid(id), pid: 1 });
}

fn ends(rig: &mut Rig, id: &str, end: End) -> Vec<Effect> {
    let exit = Exit { end, code: None, signal: None, at: rig.now };
    rig.feed(Input::Exited { process: pid(id), exit, output: String::new() })
}

fn kills(effects: &[Effect]) -> Vec<&str> {
    let ids = effects.iter().filter_map(|e| match e {
        Effect::Kill(id) => Some(id.0.as_str()),
        _ => None,
    });
    ids.collect()
}

fn toasts(effects: &[Effect]) -> usize {
    effects.iter().filter(|e| matches!(e, Effect::Announce(_))).count()
}

#[test]
fn an_adopted_process_is_stored_only_if_it_changed() {
    // W14
    for (state, known, found, changes) in [
        (State::Starting, None, None, true),
        (State::Running, Some(1), Some(2), true),
        (State::Running, None, Some(2), true),
        (State::Running, Some(1), Some(1), false),
    ] {
        let process = Process { state, pid: known, ..process("a") };
        let loaded = Loaded { meta: meta(), processes: vec![process], ..Loaded::default() };
        let (mut session, _) =
            Session::restore(loaded, Attendance::Attended, None, Rules::default(), 0);
        let effects = session.handle(Input::Adopted { process: pid("a"), pid: found }, 0);
        let record = |e: &Effect| matches!(e, Effect::Record(Record::Process(_)));
        assert_eq!(effects.iter().any(record), changes, "{state:?} {known:?} {found:?}");
        let now = session.process(&pid("a")).unwrap();
        assert_eq!((now.state, now.pid), (State::Running, found.or(known)));
    }
}

#[test]
fn ending_one_process_leaves_the_others() {
    // W09
    let mut rig = idle_with(&["a", "b"]);
    let effects = rig.feed(Input::Kill(Some(pid("b"))));
    assert_eq!(kills(&effects), ["b"]);
    assert_eq!(rig.session.process(&pid("a")).unwrap().killed_by, None);
    rig.exit("b");
    assert_eq!(rig.starts(), []);
    rig.exit("a");
    assert_eq!(rig.starts(), [Source::Wakeup]);
}

#[test]
fn an_ended_process_is_not_killed_again_unless_lost() {
    // W09, W12: the child of a lost one may live, and its supervisor cannot say.
    for (end, killed) in [(End::Lost, vec!["a"]), (End::Exited, vec![])] {
        let mut rig = Rig::new();
        rig.prompt("go");
        spawn_quiet(&mut rig, "a");
        ends(&mut rig, "a", end);
        assert_eq!(kills(&rig.feed(Input::Kill(Some(pid("a"))))), killed, "{end:?}");
    }
}

#[test]
fn a_kill_marks_an_exit_but_never_a_lost_end() {
    // W08, W12
    for (end, expected) in
        [(End::Exited, End::Killed), (End::Lost, End::Lost), (End::FailedStart, End::Lost)]
    {
        let mut rig = Rig::new();
        rig.prompt("go");
        rig.spawn("a");
        rig.event(TurnEvent::Killing(pid("a")));
        ends(&mut rig, "a", end);
        let exit = rig.session.process(&pid("a")).unwrap().exit.clone().unwrap();
        assert_eq!(exit.end, expected);
    }
}

#[test]
fn a_failed_start_is_a_toast_only_without_a_running_call() {
    // W12
    let failed = |rig: &mut Rig| {
        let exit = Exit { end: End::FailedStart, code: None, signal: None, at: rig.now };
        let event = TurnEvent::FailedStart { process: pid("a"), exit };
        rig.feed(Input::TurnEvent { turn: TurnId(1), ack: Ack(0), event })
    };
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.event(TurnEvent::Spawn(Box::new(process("a"))));
    assert_eq!(toasts(&failed(&mut rig)), 0, "the result of the call says it");

    let mut rig = Rig::new();
    rig.prompt("go");
    rig.event(TurnEvent::Spawn(Box::new(process("a"))));
    rig.answer("started");
    rig.end();
    rig.prompt("next");
    assert_eq!(toasts(&failed(&mut rig)), 1, "its call is over");
}

#[test]
fn an_end_that_wakes_nobody_has_no_ledger_row_whoever_sees_it() {
    // W07
    let mut rig = Rig::new();
    rig.prompt("go");
    spawn_quiet(&mut rig, "a");
    ends(&mut rig, "a", End::Exited);
    rig.result(vec![(pid("a"), ConsumeAt::Now)]);
    let ledger = |e: &&Effect| matches!(e, Effect::Record(Record::Ledger(_)));
    assert_eq!(rig.effects.iter().filter(ledger).count(), 0);
    assert_eq!(rig.delivery("a"), Delivery::Open);
}

#[test]
fn ended_processes_stay_listed_for_half_an_hour() {
    // P12
    let mut rig = Rig::new();
    rig.prompt("go");
    let mut next = 0;
    let mut one_more = |rig: &mut Rig| {
        let id = format!("p{next}");
        next += 1;
        spawn_quiet(rig, &id);
        ends(rig, &id, End::Exited);
        rig.session.transcript().processes.len()
    };
    for n in 1..=70 {
        assert_eq!(one_more(&mut rig), n);
    }
    rig.now += 30 * 60_000;
    assert_eq!(one_more(&mut rig), 71, "not longer ago than half an hour");
    rig.now += 1;
    assert_eq!(one_more(&mut rig), 64 + 2);
    assert!(rig.session.process(&pid("p5")).is_none(), "the oldest go");
    assert!(rig.session.process(&pid("p6")).is_some());
}

#[test]
fn a_consumed_end_does_not_shorten_the_settling_of_the_next() {
    // W06
    let mut rig = Rig::new();
    rig.prompt("go");
    for id in ["a", "b", "c"] {
        rig.spawn(id);
    }
    rig.exit("a");
    rig.result(vec![(pid("a"), ConsumeAt::Now)]);
    rig.answer("seen");
    rig.end();
    rig.now += 240;
    rig.exit("b");
    assert_eq!(rig.session.deadline(), Some(rig.now + 50));
}

#[test]
fn an_end_still_settles_when_another_one_was_consumed() {
    // W06
    let mut rig = Rig::new();
    rig.prompt("go");
    for id in ["a", "b", "c"] {
        rig.spawn(id);
    }
    rig.exit("a");
    rig.exit("b");
    rig.result(vec![(pid("a"), ConsumeAt::Now)]);
    rig.answer("seen");
    rig.end();
    assert_eq!(rig.starts(), [Source::User]);
    assert_eq!(rig.session.deadline(), Some(rig.now + 50));
}

#[test]
fn a_restart_looks_for_supervisors_of_live_commands() {
    // W14
    let ended = Process { state: State::Ended, ..process("ended") };
    let work = protocol::Work::Delegation { session: SessionId("s2".to_owned()) };
    let task = Process { work, ..process("task") };
    let processes = vec![process("started"), ended, task];
    let loaded = Loaded { meta: meta(), processes, ..Loaded::default() };
    let (session, _) = Session::restore(loaded, Attendance::Attended, None, Rules::default(), 0);
    let live: Vec<_> = session.live_processes().map(|p| p.id.0.as_str()).collect();
    assert_eq!(live, ["started"]);
}

#[test]
fn what_a_failed_turn_had_polled_is_forgotten_on_disk_too() {
    // W07: else the normal end of a later turn would use up an end that it never saw.
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.result(vec![(pid("a"), ConsumeAt::TurnEnd)]);
    let polled = |effects: &[Effect]| {
        effects.iter().rev().find_map(|e| match e {
            Effect::Record(Record::Session(meta)) => Some(meta.polled.len()),
            _ => None,
        })
    };
    assert_eq!(polled(&rig.effects), Some(1));
    let outcome = Outcome::Failed { class: "server".to_owned() };
    let effects = rig.event(TurnEvent::Ended { outcome, failure: None });
    assert_eq!(polled(&effects), Some(0));
    rig.exit("a");
    assert_eq!(rig.starts(), [Source::User, Source::Wakeup]);
}

#[test]
fn the_65th_process_is_refused_and_the_oldest_named() {
    // P12
    let mut rig = Rig::new();
    rig.prompt("go");
    for i in 0..64 {
        rig.spawn(&format!("p{i}"));
    }
    let effects = rig.event(TurnEvent::Spawn(Box::new(process("one_more"))));
    let [Effect::Reply { reply: Reply::Refused(why), .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert!(why.contains("p0"), "{why}");
}
