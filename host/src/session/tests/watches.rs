//! Watched output (P01 to P05): which matches are told, when, and what they never use up.

use super::*;
use crate::process::Hit;
use protocol::{News, Toast, Watching};

fn watched(id: &str, turn: u64) -> Process {
    Process {
        notify: false,
        watch: vec!["ERROR".to_owned()],
        turn: TurnId(turn),
        ..super::process(id)
    }
}

fn spawn(rig: &mut Rig, id: &str) {
    let turn = rig.session.turns.0;
    rig.event(TurnEvent::Spawn(Box::new(watched(id, turn))));
    rig.event(TurnEvent::Running { process: pid(id), pid: 1 });
}

/// A session whose first turn spawned watched processes and has ended.
fn watching(ids: &[&str]) -> Rig {
    let mut rig = Rig::new();
    rig.prompt("go");
    for id in ids {
        spawn(&mut rig, id);
    }
    rig.answer("started");
    rig.end();
    rig.effects.clear();
    rig
}

fn hit(at: Millis, lines: u64) -> Hit {
    Hit { pattern: "ERROR".to_owned(), text: "an ERROR".to_owned(), lines, upto: at as u64, at }
}

fn matches(rig: &mut Rig, id: &str) -> Vec<Effect> {
    let hit = hit(rig.now, 1);
    rig.feed(Input::Matched { process: pid(id), hit, admitted: true })
}

/// Answers the turn that runs.
fn answered(rig: &mut Rig) {
    rig.answer("seen");
    rig.end();
}

fn told(rig: &Rig) -> Vec<(WakeupKind, u64)> {
    let rows = rig.session.transcript().rows.iter();
    rows.filter_map(|row| match &row.body {
        Body::Wakeup(w) => Some((w.kind, w.ordinal)),
        _ => None,
    })
    .collect()
}

fn last_text(rig: &Rig) -> String {
    let rows = rig.session.transcript().rows.iter().rev();
    let text = rows.filter_map(|row| match &row.body {
        Body::Wakeup(w) => Some(w.text.clone()),
        _ => None,
    });
    text.take(1).collect()
}

fn watch_of(rig: &Rig, id: &str) -> Watching {
    rig.session.process(&pid(id)).unwrap().watching.clone()
}

fn toasts(rig: &Rig) -> Vec<News> {
    let effects = rig.effects.iter();
    effects
        .filter_map(|e| match e {
            Effect::Announce(Event::Toast(Toast { news, .. })) => Some(news.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_match_wakes_an_idle_session_in_one_commit_and_is_announced() {
    // P01
    let mut rig = watching(&["a"]);
    let effects = matches(&mut rig, "a");
    let records: Vec<_> = effects
        .iter()
        .filter_map(|e| match e {
            Effect::Record(Record::Ledger(e)) => Some(format!("{:?} {:?}", e.kind, e.state)),
            Effect::Record(Record::TurnStarted { .. }) => Some("started".to_owned()),
            Effect::Record(Record::Row { .. }) => Some("row".to_owned()),
            Effect::Record(Record::Process(p)) => Some(format!("offset {}", p.watching.offset)),
            _ => None,
        })
        .collect();
    let expected = ["Match Finished", "offset 1000", "started", "row", "Match Claimed(TurnId(2))"];
    assert_eq!(records, expected);
    assert_eq!(rig.starts(), [Source::Wakeup]);
    assert_eq!(toasts(&rig), [News::Matched { pattern: "ERROR".to_owned() }]);
    assert_eq!(
        last_text(&rig),
        "[IMPORTANT: Background process a matched watch pattern \"ERROR\".\n\
         Command: run a\nMatched output:\nan ERROR]"
    );
}

#[test]
fn a_match_never_uses_up_the_next_one_nor_the_completion() {
    // P01: the reference loses what follows the first match.
    let mut rig = watching(&["a"]);
    let mut process = rig.session.process(&pid("a")).unwrap().clone();
    process.notify = true;
    rig.session.view.apply(&Event::ProcessChanged { process });
    matches(&mut rig, "a");
    assert_eq!(rig.delivery("a"), Delivery::Open);
    answered(&mut rig);
    assert_eq!(rig.delivery("a"), Delivery::Open);
    rig.now += 15_000;
    matches(&mut rig, "a");
    answered(&mut rig);
    rig.exit("a");
    answered(&mut rig);
    let expected = [(WakeupKind::Match, 0), (WakeupKind::Match, 1), (WakeupKind::Exit, 0)];
    assert_eq!(told(&rig), expected);
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
}

#[test]
fn nothing_matches_after_the_exit() {
    // P02
    let mut rig = watching(&["a"]);
    rig.exit("a");
    assert!(matches(&mut rig, "a").is_empty());
    assert!(told(&rig).is_empty());
}

#[test]
fn matches_within_fifteen_seconds_are_counted_and_reported_with_the_next_one() {
    // P03
    let mut rig = watching(&["a"]);
    matches(&mut rig, "a");
    answered(&mut rig);
    rig.now += 14_999;
    let hit = hit(rig.now, 3);
    rig.feed(Input::Matched { process: pid("a"), hit, admitted: true });
    assert_eq!(rig.starts().len(), 1);
    assert_eq!((watch_of(&rig, "a").suppressed, watch_of(&rig, "a").hits), (3, 4));
    rig.now += 1;
    matches(&mut rig, "a");
    assert_eq!(rig.starts().len(), 2, "exactly 15 s later");
    assert!(
        last_text(&rig).ends_with("\n(3 earlier matches were suppressed by rate limit)]"),
        "{}",
        last_text(&rig)
    );
    assert_eq!(watch_of(&rig, "a").suppressed, 0);
}

#[test]
fn the_third_window_in_a_row_with_suppressed_lines_switches_the_watch_off() {
    // P03
    let mut rig = watching(&["a"]);
    for window in 0..3 {
        matches(&mut rig, "a");
        answered(&mut rig);
        assert!(!watch_of(&rig, "a").off, "window {window}");
        for _ in 0..2 {
            rig.now += 1;
            matches(&mut rig, "a");
        }
        if window < 2 {
            assert_eq!(watch_of(&rig, "a").strikes, window + 1, "one strike a window");
            rig.now += 15_000;
        }
    }
    assert!(watch_of(&rig, "a").off);
    let matched = [0, 1, 2].map(|n| (WakeupKind::Match, n));
    assert_eq!(told(&rig), [matched.to_vec(), vec![(WakeupKind::WatchDisabled, 0)]].concat());
    assert!(last_text(&rig).starts_with("[IMPORTANT: Watch patterns disabled for process a:"));
    assert_eq!(toasts(&rig).last(), Some(&News::WatchDisabled));
    answered(&mut rig);
    // Said once; from now on only the end wakes.
    rig.now += 100_000;
    assert!(matches(&mut rig, "a").is_empty());
    let process = rig.session.process(&pid("a")).unwrap().clone();
    assert!(process.notify && !process.is_watched());
    assert!(rig.effects.iter().any(|e| matches!(
        e,
        Effect::Record(Record::Ledger(Entry { kind: WakeupKind::Exit, state: Stage::Spawned, .. }))
    )));
    rig.exit("a");
    answered(&mut rig);
    assert_eq!(told(&rig).last(), Some(&(WakeupKind::Exit, 0)));
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
}

#[test]
fn a_window_without_suppressed_lines_begins_the_count_anew() {
    // P03
    let mut rig = watching(&["a"]);
    for suppressed in [true, true, false, true, true, false, true, true] {
        matches(&mut rig, "a");
        answered(&mut rig);
        if suppressed {
            rig.now += 1;
            matches(&mut rig, "a");
        }
        rig.now += 15_000;
    }
    assert!(!watch_of(&rig, "a").off);
    assert_eq!(told(&rig).len(), 8);
}

#[test]
fn each_process_has_a_limit_of_its_own_and_a_clock_set_back_opens_it() {
    // P03
    let mut rig = watching(&["a", "b"]);
    matches(&mut rig, "a");
    answered(&mut rig);
    rig.now += 1;
    matches(&mut rig, "b");
    answered(&mut rig);
    assert_eq!(rig.told(), ["a", "b"]);
    // Set back, but not before the turn that spawned them.
    rig.now -= 1;
    rig.session.view.processes[1].watching.told_at = Some(rig.now + 500_000);
    matches(&mut rig, "b");
    assert_eq!(rig.told(), ["a", "b", "b"]);
}

#[test]
fn a_match_that_the_hosts_limit_drops_leaves_the_watch_as_it_was() {
    // P04
    let mut rig = watching(&["a"]);
    let at = hit(rig.now, 2);
    assert!(rig.session.would_deliver(&pid("a"), &at, rig.now));
    rig.feed(Input::Matched { process: pid("a"), hit: at.clone(), admitted: false });
    assert!(rig.starts().is_empty() && toasts(&rig).is_empty());
    let now = watch_of(&rig, "a");
    assert_eq!((now.hits, now.offset, now.told_at, now.matches), (2, 1_000, None, 0));
    // It is not spent: the next one is told at once, and the end in any case.
    matches(&mut rig, "a");
    assert_eq!(rig.starts(), [Source::Wakeup]);
    // What would not be told does not count for that limit.
    assert!(!rig.session.would_deliver(&pid("a"), &at, rig.now));
    assert!(!rig.session.would_deliver(&pid("unknown"), &at, rig.now));
}

#[test]
fn a_match_before_the_final_answer_of_the_spawning_turn_is_stale() {
    // P05
    let mut rig = Rig::new();
    rig.prompt("go");
    spawn(&mut rig, "a");
    let early = hit(rig.now, 1);
    matches(&mut rig, "a");
    rig.answer("started");
    rig.now += 100;
    rig.end();
    // Seen before that end, reported after it.
    rig.feed(Input::Matched { process: pid("a"), hit: early, admitted: true });
    let last = hit(rig.now - 1, 1);
    rig.feed(Input::Matched { process: pid("a"), hit: last, admitted: true });
    assert_eq!(rig.starts(), [Source::User]);
    assert!(toasts(&rig).is_empty());
    let now = watch_of(&rig, "a");
    assert_eq!((now.stale, now.hits, now.since, now.told_at), (3, 3, Some(1_100), None));
    // From then on they wake, also in later generations.
    matches(&mut rig, "a");
    assert_eq!(rig.starts(), [Source::User, Source::Wakeup]);
    answered(&mut rig);
    for _ in 0..3 {
        rig.prompt("more");
        answered(&mut rig);
    }
    rig.now += 15_000;
    matches(&mut rig, "a");
    assert_eq!(rig.starts().last(), Some(&Source::Wakeup));
}

#[test]
fn a_match_during_a_later_turn_waits_for_its_end() {
    // P05, W03
    let mut rig = watching(&["a"]);
    rig.prompt("more");
    matches(&mut rig, "a");
    assert_eq!(rig.starts(), [Source::User]);
    answered(&mut rig);
    assert_eq!(rig.starts(), [Source::User, Source::Wakeup]);
}

#[test]
fn after_a_reset_matches_start_no_turn_and_completions_do() {
    // P05
    let mut rig = watching(&["a"]);
    rig.session.view.processes[0].notify = true;
    let active = rig.session.meta().active_at;
    rig.now += 1;
    let effects = rig.feed(Input::Reset);
    assert!(matches!(&effects[..], [Effect::Record(Record::Session(m))] if m.reset == TurnId(1)));
    assert_eq!(rig.session.meta().active_at, active, "it is not the latest because of that");
    assert!(rig.feed(Input::Reset).is_empty());
    matches(&mut rig, "a");
    assert!(rig.starts().is_empty() && toasts(&rig).is_empty());
    assert_eq!(watch_of(&rig, "a").stale, 1);
    rig.exit("a");
    answered(&mut rig);
    assert_eq!(rig.starts(), [Source::Wakeup]);
    // Who comes back and spawns anew is woken again.
    rig.prompt("again");
    spawn(&mut rig, "b");
    answered(&mut rig);
    matches(&mut rig, "b");
    assert_eq!(rig.starts().last(), Some(&Source::Wakeup));
}

#[test]
fn what_a_process_prints_while_it_is_being_ended_wakes_nobody() {
    // P05, W08, W09
    for by_user in [true, false] {
        let mut rig = watching(&["a"]);
        if by_user {
            rig.feed(Input::Kill(Some(pid("a"))));
        } else {
            rig.prompt("end it");
            rig.event(TurnEvent::Killing(pid("a")));
            answered(&mut rig);
        }
        rig.effects.clear();
        matches(&mut rig, "a");
        rig.exit("a");
        assert!(rig.starts().is_empty());
        assert_eq!(watch_of(&rig, "a").stale, 1);
    }
}

#[test]
fn matches_ride_along_with_a_prompt_and_with_completions() {
    // W05, W06
    let mut rig = watching(&["a", "b"]);
    rig.session.view.processes[1].notify = true;
    rig.prompt("first");
    matches(&mut rig, "a");
    rig.exit("b");
    rig.prompt("second");
    answered(&mut rig);
    let last: Vec<_> =
        rig.session.transcript().rows.iter().rev().take(3).map(|r| kind(r)).collect();
    assert_eq!(last, ["user", "wakeup", "wakeup"]);
    answered(&mut rig);
    assert_eq!(rig.starts(), [Source::User, Source::User]);
}

#[test]
fn the_last_match_is_told_before_the_end_it_came_with() {
    // P02, W06: also when both wait for a turn, and after a restart in between.
    let mut rig = watching(&["a"]);
    rig.session.view.processes[0].notify = true;
    rig.prompt("busy");
    let last = hit(rig.now - 1, 1);
    rig.session.view.processes[0].watching.since = Some(0);
    rig.feed(Input::Matched { process: pid("a"), hit: last, admitted: true });
    rig.exit("a");
    answered(&mut rig);
    assert_eq!(told(&rig), [(WakeupKind::Match, 0), (WakeupKind::Exit, 0)]);
}

#[test]
fn a_match_of_a_held_session_waits_until_somebody_acts() {
    // W22
    let mut rig = watching(&["a"]);
    rig.prompt("long");
    rig.feed(Input::Cancel);
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    assert!(rig.session.transcript().held.is_some(), "a watched process may still wake");
    rig.effects.clear();
    matches(&mut rig, "a");
    assert!(rig.starts().is_empty());
    rig.feed(Input::WakeNow);
    assert_eq!(rig.starts(), [Source::Wakeup]);
}

#[test]
fn a_match_whose_turn_the_host_did_not_survive_is_told_again_in_the_same_row() {
    // W16, P01
    let mut rig = watching(&["a"]);
    let records: Vec<Record> = matches(&mut rig, "a")
        .into_iter()
        .filter_map(|e| match e {
            Effect::Record(record) => Some(record),
            _ => None,
        })
        .collect();
    let claimed = records.iter().rev().find_map(|r| match r {
        Record::Ledger(entry) => Some(entry.clone()),
        _ => None,
    });
    let rows = rig.session.transcript().rows.clone();
    let loaded = Loaded {
        meta: rig.session.meta().clone(),
        rows: rows.clone(),
        turns: TurnId(2),
        processes: rig.session.transcript().processes.clone(),
        ledger: claimed.into_iter().collect(),
        ..Loaded::default()
    };
    let rules = Rules::default();
    let (session, effects) = Session::restore(loaded, Attendance::Attended, None, rules, rig.now);
    assert_eq!(starts(&effects), [Source::Wakeup]);
    let told = session.transcript().rows.iter().filter(|r| matches!(r.body, Body::Wakeup(_)));
    assert_eq!(told.count(), 1);
    // The watch goes on where it was.
    let watching = &session.process(&pid("a")).unwrap().watching;
    assert_eq!((watching.matches, watching.offset), (1, 1_000));
}

#[test]
fn a_process_with_a_match_that_waits_stays_listed() {
    // P12
    let names: Vec<String> = (0..70).map(|n| format!("p{n}")).collect();
    let mut rig = Rig::new();
    rig.prompt("go");
    for name in &names[..60] {
        spawn(&mut rig, name);
    }
    answered(&mut rig);
    rig.prompt("busy");
    matches(&mut rig, "p0");
    for name in &names[..60] {
        rig.exit(name);
    }
    for name in &names[60..] {
        spawn(&mut rig, name);
    }
    rig.now += 2_000_000;
    for name in &names[60..] {
        rig.exit(name);
    }
    rig.now += 2_000_000;
    spawn(&mut rig, "last");
    rig.exit("last");
    assert!(rig.session.process(&pid("p0")).is_some());
    assert!(rig.session.process(&pid("p1")).is_none());
}

#[test]
fn the_first_suppressed_line_of_a_window_is_its_strike() {
    // P03
    let mut rig = watching(&["a"]);
    for window in 1..=3 {
        matches(&mut rig, "a");
        answered(&mut rig);
        rig.now += 1;
        matches(&mut rig, "a");
        assert_eq!(watch_of(&rig, "a").strikes, window);
        rig.now += 15_000;
    }
    assert!(watch_of(&rig, "a").off);
}

#[test]
fn a_watch_begins_with_the_end_of_the_turn_that_spawned_it_and_no_later_one_moves_that() {
    // P05
    let mut rig = watching(&["a"]);
    let since = watch_of(&rig, "a").since;
    assert_eq!(since, Some(rig.now));
    rig.now += 5_000;
    rig.prompt("next");
    spawn(&mut rig, "b");
    for (id, turn) in [("earlier", 1), ("later", 2)] {
        let unwatched = Process { watch: Vec::new(), ..watched(id, turn) };
        rig.event(TurnEvent::Spawn(Box::new(unwatched)));
    }
    rig.answer("done");
    rig.end();
    assert_eq!(watch_of(&rig, "a").since, since);
    assert_eq!(watch_of(&rig, "b").since, Some(rig.now));
    assert_eq!(watch_of(&rig, "earlier").since, None);
    assert_eq!(watch_of(&rig, "later").since, None);
}
