//! Where rules of different topics meet.

use proptest::prelude::*;

use super::disk::Disk;
use super::*;
use crate::session::TurnKind;
use crate::store::{Pause, Task};

const HOUR: Millis = 3_600_000;

fn errands(rig: &Rig) -> Vec<(u64, TurnKind)> {
    let plans = rig.effects.iter().filter_map(|e| match e {
        Effect::Start(plan) => Some((plan.turn.0, plan.kind.clone())),
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
        Session::restore(loaded, Attendance::Attended, None, Rules::default(), 1_000);
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
    rig.event(TurnEvent::Ended { outcome, failure: Some("no".to_owned()) });
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
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    assert_eq!(Disk::of(&rig).restart(rig.now).session.transcript().queued, []);
}

#[test]
fn a_half_answer_to_what_an_earlier_turn_had_told_goes_on_too() {
    // R01 W16: the turn has no row of its own yet.
    let mut rig = recorded_with(&["a"]);
    rig.exit("a");
    let outcome = Outcome::Failed { class: "server".to_owned() };
    rig.event(TurnEvent::Ended { outcome, failure: None });
    rig.feed(Input::WakeNow);
    rig.event(TurnEvent::Delta { part: Part::Text, text: "I was".to_owned() });
    assert_eq!(rig.starts(), [Source::User, Source::Wakeup, Source::Wakeup]);
    let mut disk = Disk::of(&rig);
    let rig = disk.restart(rig.now);
    assert_eq!(errands(&rig), [(3, TurnKind::Resume)]);
    assert_eq!(rig.delivery("a"), Delivery::Claimed(TurnId(3)));
}

#[test]
fn a_compression_that_asked_nobody_proves_no_key() {
    // W20
    let mut rig = idle_with(&["a"]);
    let fingerprint = rig.session.rules.fingerprint.clone();
    rig.session.meta.pause = Some(Pause { reason: "no key".to_owned(), fingerprint });
    rig.exit("a");
    rig.feed(Input::Compress { focus: None });
    let message = "There is nothing to compress yet.".to_owned();
    rig.event(TurnEvent::NotCompressed { message, failed: false });
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
    rig.event(TurnEvent::Spawn(Box::new(process)));
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
    assert_eq!(errands(&rig), [(1, TurnKind::Resume)]);
    assert_eq!(rig.delivery("a"), Delivery::Consumed);
    // Not if that turn does not end normally, nor in a later turn.
    let mut rig = disk.restart(rig.now + 10 * HOUR);
    assert_eq!(rig.delivery("a"), Delivery::Claimed(TurnId(2)));
    rig.answer("it has ended");
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
}

#[test]
fn an_interrupted_turn_asks_nothing_any_more() {
    // C09: its question was on the way when the user interrupted it.
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.feed(Input::Cancel);
    ask(&mut rig, "c", approval("r"));
    assert_eq!(rig.session.transcript().questions, []);
}

#[test]
fn a_match_that_was_found_while_the_end_was_on_its_way_is_told_before_it() {
    // P02 W06: what is read after the child has ended was printed before, also after a restart.
    let mut rig = Rig::new();
    rig.prompt("go");
    let watch = vec!["x".to_owned()];
    rig.event(TurnEvent::Spawn(Box::new(Process { watch, ..process("a") })));
    rig.answer("started");
    rig.end();
    rig.prompt("busy");
    let (pattern, text) = ("x".to_owned(), "x".to_owned());
    let hit = Hit { pattern, text, lines: 1, upto: 1, at: rig.now + 20 };
    rig.feed(Input::Matched { process: pid("a"), hit, admitted: true });
    rig.exit("a");
    let mut disk = Disk::of(&rig);
    disk.ledger.sort_by_key(|e| (e.at, e.kind != WakeupKind::Exit));
    let next = disk.restart(rig.now + 10 * HOUR);
    rig.answer("done");
    rig.end();
    for rig in [rig, next] {
        let kinds = rig.session.transcript().rows.iter().filter_map(|row| match &row.body {
            Body::Wakeup(wakeup) => Some(wakeup.kind),
            _ => None,
        });
        assert_eq!(kinds.collect::<Vec<_>>(), [WakeupKind::Match, WakeupKind::Exit]);
    }
}

#[test]
fn a_deleted_session_has_no_time_to_wait_for() {
    // W19: whatever was due in it, while its deletion is on the way to the disk.
    let mut rig = Rig::new();
    rig.prompt("go");
    ask(&mut rig, "c", approval("r"));
    let id = rig.session.transcript().questions[0].id.clone();
    rig.feed(Input::Shown(id));
    rig.feed(Input::Delete);
    assert_eq!(rig.session.deadline(), None);
}

/// Something that happens to a session, by number; more than a front end may ask for.
fn anything(rig: &mut Rig, what: u8, which: u8) {
    let id = format!("p{}", which % 4);
    let class = ["server", "auth", STORE, "quota"][usize::from(which % 4)];
    let outcome = Outcome::Failed { class: class.to_owned() };
    let storage =
        [Storage::Ok, Storage::Failing("full".to_owned())][usize::from(which % 2)].clone();
    let task = protocol::Work::Delegation { session: SessionId(format!("w{id}")) };
    let new = rig.session.process(&pid(&id)).is_none();
    let any = rig.session.turn.is_some();
    let running = rig.session.turn.as_ref().is_some_and(|turn| !turn.purpose.is_internal());
    match what % 20 {
        0 => drop(rig.prompt("prompt")),
        1 if running && new => rig.spawn(&id),
        2 if running && new => {
            let watch = vec!["x".to_owned()];
            let turn = rig.session.turns;
            let process = Process { notify: false, watch, turn, ..process(&id) };
            drop(rig.event(TurnEvent::Spawn(Box::new(process))));
        }
        3 if running && new => {
            let process = Box::new(Process { work: task, ..process(&id) });
            let waits = which.is_multiple_of(8);
            drop(rig.event(TurnEvent::Delegate { process, brief: "brief".to_owned(), waits }));
        }
        4 => drop(rig.exit(&id)),
        5 => {
            let (pattern, text) = ("x".to_owned(), "x".to_owned());
            let hit = Hit { pattern, text, lines: 1, upto: u64::from(which), at: rig.now };
            let admitted = !which.is_multiple_of(5);
            drop(rig.feed(Input::Matched { process: pid(&id), hit, admitted }));
        }
        6 if running => drop(rig.answer("text")),
        7 | 8 if any => drop(rig.end()),
        9 if any => drop(rig.event(TurnEvent::Ended { outcome, failure: None })),
        10 => drop(rig.feed(Input::Cancel)),
        11 => drop(rig.feed(Input::WakeNow)),
        12 if running => {
            let seen = if which.is_multiple_of(2) { Seen::Now } else { Seen::AtTurnEnd };
            drop(rig.result(vec![(pid(&id), seen)]));
        }
        13 if running => drop(ask(rig, &id, approval(&id))),
        14 => {
            if let Some(id) = rig.session.transcript().questions.first().map(|q| q.id.clone()) {
                rig.feed(Input::Shown(id.clone()));
                if which.is_multiple_of(2) {
                    rig.feed(Input::Answer {
                        id,
                        answer: Answer::Approval(Choice::Once),
                        by: None,
                    });
                }
            }
        }
        15 => drop(rig.feed(Input::Storage(storage))),
        16 => rig.now += i64::from(which) * 7_919 - 200_000,
        17 => drop(rig.feed(Input::Compress { focus: None })),
        18 => drop(rig.feed(Input::Steer("remark".to_owned()))),
        19 => drop(rig.feed(match which % 8 {
            0 => Input::Drain,
            1 => Input::Stop,
            2 => Input::Abandon,
            3 => Input::Reset,
            4 => Input::Kill(None),
            5 => Input::SetModel {
                model: "m".to_owned(),
                context: None,
                fingerprint: which.to_string(),
            },
            6 => Input::Kill(Some(pid(&id))),
            _ => Input::Archive(true),
        })),
        _ => {}
    }
}

/// The next host takes up what is recorded.
fn restart(rig: &mut Rig) {
    let (rules, now) = (Rules::default(), rig.now);
    let meta = Meta { task: rig.session.meta.task.clone(), ..meta() };
    let loaded = Disk::that_began_with(meta, rig).loaded();
    let (session, effects) = Session::restore(loaded, Attendance::Attended, None, rules, now);
    rig.view = session.transcript().clone();
    rig.session = session;
    rig.effects.extend(effects);
}

/// How often a text stands in what the agent reads or will read.
fn count(rig: &Rig, text: &str) -> usize {
    let rows = rig.effects.iter().filter_map(|effect| match effect {
        Effect::Record(Record::Row { row, .. }) => Some(row.text()),
        _ => None,
    });
    let queued = rig.session.transcript().queued.iter().map(|q| q.text.as_str());
    let notes = rig.session.meta.notes.iter().map(String::as_str);
    rows.chain(queued)
        .chain(notes)
        .chain(rig.session.transcript().steer.as_deref())
        .map(|told| told.matches(text).count())
        .sum()
}

proptest! {
    #[test]
    fn whatever_meets_nothing_typed_is_lost_nothing_is_told_twice_and_no_tick_is_due_for_ever(
        script in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..80),
        delegated: bool,
    ) {
        // W06 W16 W22 W23 W29 R10 C08
        let mut rig = if delegated { worker() } else { Rig::new() };
        let mut abandoned = false;
        let mut typed = Vec::new();
        for (n, (what, which)) in script.into_iter().enumerate() {
            match what % 22 {
                20 => restart(&mut rig),
                21 | 0 => {
                    let text = format!("<typed {n}>");
                    rig.prompt(&text);
                    typed.push(text);
                }
                18 if rig.session.turn.is_some() => {
                    let text = format!("<typed {n}>");
                    rig.feed(Input::Steer(text.clone()));
                    typed.push(text);
                }
                18 => {}
                what => anything(&mut rig, what, which),
            }
            abandoned |= what % 22 == 19 && which % 8 == 2;
            prop_assert_eq!(&rig.view, rig.session.transcript());
            if let Some(due) = rig.session.deadline() {
                let now = rig.now;
                rig.now = due.max(now);
                rig.feed(Input::Tick);
                let next = rig.session.deadline();
                prop_assert!(next.is_none_or(|at| at > rig.now), "{next:?} at {}", rig.now);
                rig.now = rig.now.max(now);
            }
            if !abandoned {
                for text in &typed {
                    prop_assert_eq!(count(&rig, text), 1, "{}", text);
                }
            }
            let mut told = BTreeSet::new();
            for effect in &rig.effects {
                if let Effect::Record(Record::Row { row, .. }) = effect
                    && let Body::Wakeup(w) = &row.body
                {
                    let kind = format!("{:?}", w.kind);
                    let new = told.insert((w.process.clone(), kind, w.ordinal));
                    prop_assert!(new, "{} twice", w.process);
                }
            }
        }
        // In the end nothing is left behind: by a new host, with a store, and the user's leave.
        restart(&mut rig);
        for _ in 0..40 {
            rig.feed(Input::WakeNow);
            rig.now += HOUR;
            rig.feed(Input::Tick);
            if rig.session.turn.as_ref().is_some_and(|turn| !turn.purpose.is_internal()) {
                rig.answer("x");
            }
            if rig.session.turn.is_some() {
                rig.end();
            }
        }
        prop_assert!(rig.session.ledger.waiting() == 0);
        prop_assert!(rig.session.prompts.is_empty());
        prop_assert_eq!(&rig.session.transcript().queued, &Vec::new());
        prop_assert_eq!(rig.session.transcript().steer.as_ref(), None);
        let lost = rig.session.transcript().processes.iter().find(|p| {
            !p.is_live() && p.notify && !matches!(p.delivery, Delivery::Delivered | Delivery::Consumed)
        });
        prop_assert_eq!(lost, None);
    }
}
