//! Each transition of an entry, and what holds whatever the order of transitions.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use protocol::{End, Exit, State, Watching};

/// Access for the tests of the session and the defects of the simulation.
impl Ledger {
    pub(in crate::session) fn waiting_entries(&self) -> &[Entry] {
        &self.waiting
    }

    pub(in crate::session) fn claimed_entries(&self) -> &[Entry] {
        &self.claimed
    }

    pub(in crate::session) fn drop_waiting(&mut self) {
        self.waiting.clear();
    }
}

fn ledger() -> Ledger {
    Ledger::new(SessionId("s".to_owned()))
}

fn process(id: &str) -> Process {
    Process {
        id: ProcessId(id.to_owned()),
        session: SessionId("s".to_owned()),
        turn: TurnId(1),
        work: Work::Command,
        command: "make".to_owned(),
        cwd: "/".to_owned(),
        pid: None,
        started_at: 5,
        state: State::Running,
        exit: None,
        notify: true,
        watch: Vec::new(),
        watching: Watching::default(),
        pty: false,
        killed_by: None,
        delivery: Delivery::Open,
    }
}

fn wakeup(id: &str, kind: WakeupKind, ordinal: u64) -> Wakeup {
    Wakeup {
        process: ProcessId(id.to_owned()),
        kind,
        ordinal,
        command: "make".to_owned(),
        exit: None,
        pattern: None,
        text: "text".to_owned(),
    }
}

fn finish(ledger: &mut Ledger, id: &str, at: Millis) -> Transition {
    ledger.finish(&process(id), wakeup(id, WakeupKind::Exit, 0), at, at)
}

fn matched(ledger: &mut Ledger, id: &str, ordinal: u64, at: Millis) -> Transition {
    ledger.add_watch_event(wakeup(id, WakeupKind::Match, ordinal), at)
}

fn stages(moved: &[Transition]) -> Vec<Stage> {
    moved.iter().map(|t| t.entry.state.clone()).collect()
}

/// A ledger whose turn 2 carries the end of `a` in row 10.
fn carrying() -> Ledger {
    let mut ledger = ledger();
    let _ = finish(&mut ledger, "a", 1);
    let _ = ledger.claim(TurnId(2), 10);
    ledger
}

#[test]
fn a_spawn_is_expected_before_anything_waits() {
    // W27
    let ledger = ledger();
    let expected = ledger.expect(&process("a"), 7);
    assert_eq!((&expected.entry.state, expected.delivery()), (&Stage::Spawned, None));
    assert_eq!(ledger.waiting(), 0);
}

#[test]
fn an_end_waits_for_a_turn() {
    // W03, W15
    let mut ledger = ledger();
    let finished = finish(&mut ledger, "a", 1);
    assert_eq!((finished.delivery(), ledger.waiting()), (Some(Delivery::Waiting), 1));
    assert!(ledger.is_due(false));
}

#[test]
fn an_end_is_later_than_what_its_process_printed() {
    // W06
    let mut ledger = ledger();
    let _ = matched(&mut ledger, "a", 0, 50);
    assert_eq!(finish(&mut ledger, "a", 40).entry.at, 51);
    assert_eq!(finish(&mut ledger, "b", 40).entry.at, 40);
}

#[test]
fn an_end_that_was_caused_never_waits() {
    // W08, W09
    let ledger = ledger();
    let consumed = ledger.finish_consumed(&process("a"), 1);
    assert_eq!((consumed.delivery(), ledger.waiting()), (Some(Delivery::Consumed), 0));
}

#[test]
fn an_end_that_was_seen_waits_no_more() {
    // W07
    let mut ledger = ledger();
    let _ = finish(&mut ledger, "a", 1);
    let consumed = ledger.consume(&process("a"));
    assert_eq!((consumed.entry.state, ledger.waiting()), (Stage::Consumed, 0));
    assert_eq!(ledger.settles_at(), None);
}

#[test]
fn an_end_may_be_seen_before_it_is_reported() {
    // W07
    let mut ledger = ledger();
    let exit = Exit { end: End::Exited, code: Some(0), signal: None, at: 9 };
    let ended = Process { exit: Some(exit), ..process("a") };
    assert_eq!(ledger.consume(&ended).entry.at, 9);
    assert_eq!(ledger.consume(&process("b")).entry.at, 5, "it still runs");
}

#[test]
fn consuming_an_end_leaves_the_matches() {
    // P01
    let mut ledger = ledger();
    let _ = matched(&mut ledger, "a", 0, 1);
    let _ = finish(&mut ledger, "a", 2);
    let _ = ledger.consume(&process("a"));
    assert_eq!(ledger.waiting(), 1);
    assert!(ledger.has_news_of(&process("a").id));
}

#[test]
fn a_match_is_not_shown_as_a_completion() {
    // P01
    let mut ledger = ledger();
    assert_eq!(matched(&mut ledger, "a", 0, 1).delivery(), None);
}

#[test]
fn a_claim_takes_all_that_waits_in_order() {
    // W05, W06
    let mut ledger = ledger();
    let _ = finish(&mut ledger, "late", 9);
    let _ = finish(&mut ledger, "early", 3);
    let claims = ledger.claim(TurnId(2), 10);
    let rows: Vec<_> = claims
        .iter()
        .map(|c| (c.transition.entry.process.0.as_str(), c.transition.entry.row, c.needs_row))
        .collect();
    assert_eq!(rows, [("early", Some(10), true), ("late", Some(11), true)]);
    assert_eq!((ledger.waiting(), ledger.carries()), (0, true));
}

#[test]
fn an_entry_gets_its_row_once() {
    // W16, W29
    let mut ledger = carrying();
    let _ = ledger.requeue();
    let _ = finish(&mut ledger, "b", 2);
    let claims = ledger.claim(TurnId(3), 20);
    let rows: Vec<_> = claims.iter().map(|c| (c.transition.entry.row, c.needs_row)).collect();
    assert_eq!(rows, [(Some(10), false), (Some(20), true)]);
}

#[test]
fn a_row_that_was_taken_back_is_written_anew() {
    // W16
    let mut ledger = carrying();
    let _ = ledger.requeue();
    assert!(ledger.forget_rows(11).is_empty());
    let forgotten = ledger.forget_rows(10);
    assert_eq!((forgotten[0].entry.row, stages(&forgotten)), (None, vec![Stage::Finished]));
    assert!(ledger.claim(TurnId(3), 10)[0].needs_row);
}

#[test]
fn what_a_turn_carries_is_delivered_by_its_answer() {
    // W05
    let mut ledger = carrying();
    assert_eq!(stages(&ledger.deliver(TurnId(2))), [Stage::Delivered(TurnId(2))]);
    assert!(!ledger.carries() && ledger.waiting() == 0);
    assert!(ledger.deliver(TurnId(2)).is_empty());
}

#[test]
fn what_is_put_back_goes_first() {
    // W29
    let mut ledger = carrying();
    let _ = finish(&mut ledger, "b", 2);
    assert_eq!(stages(&ledger.requeue()), [Stage::Finished]);
    let order: Vec<_> = ledger.waiting.iter().map(|e| e.process.0.as_str()).collect();
    assert_eq!(order, ["a", "b"]);
}

#[test]
fn what_is_held_is_due_only_once_released() {
    // W20, W29
    let mut ledger = carrying();
    let held = ledger.hold("no key".to_owned());
    assert_eq!(held[0].delivery(), Some(Delivery::Held("no key".to_owned())));
    assert_eq!(ledger.held_reason(), Some("no key"));
    assert!(!ledger.is_due(false) && ledger.is_due(true));
    assert_eq!(stages(&ledger.release()), [Stage::Finished]);
    assert!(ledger.is_due(false) && ledger.release().is_empty());
}

#[test]
fn matches_without_a_row_may_become_stale() {
    // P05
    let mut ledger = ledger();
    let _ = matched(&mut ledger, "a", 0, 1);
    let _ = ledger.claim(TurnId(2), 10);
    let _ = ledger.requeue();
    let _ = matched(&mut ledger, "a", 1, 2);
    let _ = matched(&mut ledger, "b", 0, 2);
    let _ = finish(&mut ledger, "a", 3);
    let stale = ledger.discard_matches(&process("a").id);
    assert_eq!(stages(&stale), [Stage::Stale]);
    assert_eq!((stale[0].entry.ordinal, ledger.waiting()), (1, 3));
}

#[test]
fn a_restart_finds_what_waits_and_what_was_claimed() {
    // W15, W16
    let entry = |id: &str, state, at| Entry { state, ..ledger().expected(&process(id), at) };
    let entries = vec![
        entry("held", Stage::Held("full".to_owned()), 3),
        entry("spawned", Stage::Spawned, 1),
        entry("claimed", Stage::Claimed(TurnId(4)), 2),
        entry("finished", Stage::Finished, 1),
        entry("done", Stage::Delivered(TurnId(3)), 1),
    ];
    let ledger = Ledger::restore(SessionId("s".to_owned()), entries);
    let ids = |list: &[Entry]| list.iter().map(|e| e.process.0.clone()).collect::<Vec<_>>();
    assert_eq!(ids(ledger.waiting_entries()), ["finished", "held"]);
    assert_eq!(ids(ledger.claimed_entries()), ["claimed"]);
}

#[test]
fn a_claim_settles_for_50_ms_and_at_most_250() {
    // W06
    let mut ledger = ledger();
    let mut settles = Vec::new();
    for at in [1_000, 1_040, 1_080, 1_240] {
        let _ = finish(&mut ledger, &format!("p{at}"), at);
        settles.push(ledger.settles_at().unwrap());
    }
    assert_eq!(settles, [1_050, 1_090, 1_130, 1_250]);
    ledger.check_clock(1_239);
    assert_eq!(ledger.settles_at(), None, "the clock was set back");
}

#[test]
fn a_settled_stage_is_final() {
    let stages = [
        Stage::Spawned,
        Stage::Finished,
        Stage::Claimed(TurnId(1)),
        Stage::Delivered(TurnId(1)),
        Stage::Consumed,
        Stage::Held("full".to_owned()),
        Stage::Stale,
        Stage::Orphaned,
    ];
    for from in &stages {
        let moves = stages.iter().filter(|to| may_become(from, to)).count();
        assert_eq!(moves == 0, from.is_settled(), "{from:?}");
    }
}

/// What the store holds: the last record of each key.
#[derive(Default)]
struct Stored {
    entries: BTreeMap<(ProcessId, WakeupKind, u64), Entry>,
    /// Rows that were written, with the key of the entry that each is for.
    rows: BTreeMap<u64, (ProcessId, WakeupKind, u64)>,
}

impl Stored {
    /// Applies a transition and checks it against what was stored before.
    fn apply(&mut self, moved: Transition) -> Result<(), TestCaseError> {
        let entry = moved.entry;
        let key = (entry.process.clone(), entry.kind, entry.ordinal);
        let before = self.entries.get(&key).map(|e| &e.state);
        if let Some(before) = before {
            let same = *before == entry.state;
            prop_assert!(
                same || may_become(before, &entry.state),
                "{:?} became {:?}",
                before,
                entry.state
            );
            prop_assert!(same || !before.is_settled(), "{:?} is final", before);
        }
        self.entries.insert(key, entry);
        Ok(())
    }
}

proptest! {
    /// Whatever happens in whatever order: a settled entry stays as it is, an entry is in one
    /// place at a time, has one row, and what waits or is claimed is what the store says.
    #[test]
    fn an_entry_is_in_one_place_and_has_one_row(steps in prop::collection::vec((0_u8..12, 0_u8..6), 1..80)) {
        let mut ledger = ledger();
        let mut stored = Stored::default();
        let (mut turn, mut row, mut now) = (1, 1, 0);
        let mut running = false;
        let mut ordinals = 0;
        // As the session does: a process ends once, and is asked for once.
        let mut ended = Vec::new();
        for (step, which) in steps {
            now += 10;
            let id = format!("p{which}");
            let process = process(&id);
            let moved = match step {
                0 if !stored.entries.contains_key(&(process.id.clone(), WakeupKind::Exit, 0)) => {
                    vec![ledger.expect(&process, now)]
                }
                1 | 2 if !ended.contains(&id) => {
                    let key = (process.id.clone(), WakeupKind::Exit, 0);
                    let consumed = stored.entries.get(&key).is_some_and(|e| e.state.is_settled());
                    ended.push(id.clone());
                    vec![if step == 2 || consumed {
                        ledger.finish_consumed(&process, now)
                    } else {
                        finish(&mut ledger, &id, now)
                    }]
                }
                3 => {
                    ordinals += 1;
                    vec![matched(&mut ledger, &id, ordinals, now)]
                }
                4 => {
                    // The session asks for none that is claimed or settled (its `delivery`).
                    let key = (process.id.clone(), WakeupKind::Exit, 0);
                    let state = stored.entries.get(&key).map(|e| e.state.clone());
                    match state {
                        Some(Stage::Claimed(_)) => Vec::new(),
                        Some(state) if state.is_settled() => Vec::new(),
                        _ => vec![ledger.consume(&process)],
                    }
                }
                5 | 6 if !running => {
                    running = true;
                    turn += 1;
                    let claims = ledger.claim(TurnId(turn), row);
                    let mut moved = Vec::new();
                    for Claim { transition, needs_row } in claims {
                        let entry = transition.entry();
                        let key = (entry.process.clone(), entry.kind, entry.ordinal);
                        if needs_row {
                            prop_assert_eq!(entry.row, Some(row));
                            prop_assert!(stored.rows.values().all(|k| *k != key), "told twice");
                            stored.rows.insert(row, key);
                            row += 1;
                        } else {
                            prop_assert_eq!(stored.rows.get(&entry.row.unwrap()), Some(&key));
                        }
                        moved.push(transition);
                    }
                    moved
                }
                7 if running => ledger.deliver(TurnId(turn)),
                8 if running => {
                    running = false;
                    ledger.requeue()
                }
                9 if running => {
                    running = false;
                    ledger.hold("full".to_owned())
                }
                10 => ledger.release(),
                11 if !running => {
                    let first = u64::from(which) + 1;
                    let kept = stored.rows.iter().filter(|(n, key)| {
                        **n < first || stored.entries[key].state.is_settled()
                    });
                    stored.rows = kept.map(|(n, key)| (*n, key.clone())).collect();
                    let mut moved = ledger.forget_rows(first);
                    moved.extend(ledger.discard_matches(&process.id));
                    moved
                }
                _ => Vec::new(),
            };
            for transition in moved {
                stored.apply(transition)?;
            }
            let in_memory = ledger.waiting.iter().chain(&ledger.claimed);
            for entry in in_memory.clone() {
                let key = (entry.process.clone(), entry.kind, entry.ordinal);
                prop_assert_eq!(stored.entries.get(&key), Some(entry));
            }
            let unsettled = stored.entries.values();
            let unsettled = unsettled.filter(|e| !e.state.is_settled() && e.state != Stage::Spawned);
            prop_assert_eq!(in_memory.count(), unsettled.count());
            let claimed = |e: &Entry| e.state == Stage::Claimed(TurnId(turn));
            prop_assert!(ledger.claimed.iter().all(claimed));
            prop_assert!(running || ledger.claimed.is_empty());
        }
    }
}
