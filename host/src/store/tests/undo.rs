//! Rows that were taken back.

use super::*;

fn claimed(process: &str, row: u64, stage: Stage) -> Record {
    Record::Ledger(Entry {
        session: id("s"),
        process: ProcessId(process.into()),
        kind: WakeupKind::Exit,
        ordinal: 0,
        state: stage,
        wakeup: Some(wakeup(process, WakeupKind::Exit, 0)),
        row: Some(row),
        at: 1,
    })
}

fn tells(n: u64, process: &str) -> Record {
    let body = Body::Wakeup(wakeup(process, WakeupKind::Exit, 0));
    add("s", Row { n, turn: TurnId(2), at: 1, cut: 0, body })
}

#[test]
fn rows_that_were_taken_back_are_gone_and_their_numbers_are_free() {
    let mut store = TestStore::new();
    let long = format!("needle {}", "long ".repeat(30_000));
    store.put(vec![
        session("s", 1),
        session("t", 1),
        add("s", user(1, "stays")),
        add("s", user(2, &long)),
        add("s", user(3, "needle too")),
        add("t", user(3, "needle of another")),
    ]);
    let reader = store.reader();
    until("the index", || reader.search("needle", 9).unwrap().len() == 3);
    store.put(vec![Record::Undone { session: id("s"), after: 1 }, add("s", user(2, "new words"))]);
    assert_eq!(store.store.refused(), 0);
    let rows: Vec<String> =
        reader.rows(&id("s")).unwrap().iter().map(|r| r.text().to_owned()).collect();
    assert_eq!(rows, ["stays", "new words"]);
    let listed = reader.sessions(9).unwrap();
    assert_eq!(listed.iter().find(|s| s.id == id("s")).unwrap().rows, 2);
    until("the index", || reader.search("words", 9).unwrap().len() == 1);
    let left: Vec<_> = reader.search("needle", 9).unwrap().into_iter().map(|h| h.session).collect();
    assert_eq!(left, [id("t")]);
}

#[test]
fn what_was_answered_stays_told_and_what_was_not_may_be_told_once_more() {
    // W29
    let mut store = TestStore::new();
    store.put(vec![
        session("s", 1),
        add("s", user(1, "stays")),
        tells(2, "answered"),
        tells(3, "open"),
        claimed("answered", 2, Stage::Delivered(TurnId(2))),
        claimed("open", 3, Stage::Held("no answer".into())),
        Record::Undone { session: id("s"), after: 1 },
    ]);
    let loaded = store.reader().load(&id("s"), 9).unwrap().unwrap();
    let open: Vec<_> = loaded.ledger.iter().map(|e| (e.process.0.as_str(), e.row)).collect();
    assert_eq!(open, [("open", None)]);
    store.put(vec![tells(2, "answered")]);
    assert_eq!(store.store.refused(), 1, "it was told");
    store.put(vec![tells(2, "open"), claimed("open", 2, Stage::Claimed(TurnId(3)))]);
    assert_eq!(store.store.refused(), 1);
    store.put(vec![tells(3, "open")]);
    assert_eq!(store.store.refused(), 2, "and once more means once");
    // A settled entry keeps the row that told it.
    store.store.sql("UPDATE ledger SET stage = 'delivered' WHERE process = 'open'");
    let kept = store.reader().load(&id("s"), 9).unwrap().unwrap();
    assert_eq!(kept.rows.len(), 2);
}

#[test]
fn a_cut_in_the_midst_of_a_turn_leaves_what_is_before_it_and_its_number_used() {
    let mut store = TestStore::new();
    let started = |turn| Record::TurnStarted {
        session: id("s"),
        turn: TurnId(turn),
        source: Source::User,
        at: 1,
    };
    store.put(vec![
        session("s", 1),
        started(2),
        add("s", user(1, "stays")),
        tells(2, "stays"),
        tells(3, "goes"),
        claimed("stays", 2, Stage::Held("no answer".into())),
        claimed("goes", 3, Stage::Held("no answer".into())),
        Record::Undone { session: id("s"), after: 2 },
    ]);
    let loaded = store.reader().load(&id("s"), 9).unwrap().unwrap();
    assert_eq!(loaded.rows.len(), 2);
    assert_eq!(loaded.turns, TurnId(2), "no later turn has that number");
    let mut open: Vec<_> = loaded.ledger.iter().map(|e| (e.process.0.as_str(), e.row)).collect();
    open.sort_unstable();
    assert_eq!(open, [("goes", None), ("stays", Some(2))]);
    store.put(vec![tells(3, "stays")]);
    assert_eq!(store.store.refused(), 1, "it is told");
}
