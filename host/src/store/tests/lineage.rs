//! Where sessions come from: copies of others, and what lists say of them.

use super::*;

fn branch(from: &str, to: &str, upto: u64) -> Record {
    let meta = Meta {
        id: id(to),
        parent: Some(id(from)),
        title: Some(format!("{from} (branch)")),
        active_at: 50,
        ..Meta::default()
    };
    Record::Branched { from: id(from), upto, meta }
}

#[test]
fn a_branch_has_the_rows_of_its_original_whole_and_nothing_that_waits_there() {
    // W18
    let mut store = TestStore::new();
    let long = "é".repeat(100_000);
    let told = Row { body: Body::Wakeup(wakeup("proc_1", WakeupKind::Exit, 0)), ..user(3, "") };
    let waits = Queued { id: PromptId("p".into()), text: "later".into() };
    store.put(vec![
        session("s", 1),
        add("s", user(1, "short")),
        add("s", user(2, &long)),
        add("s", told.clone()),
        add("s", user(4, "not finished")),
        Record::Queued { session: id("s"), prompt: waits },
        Record::Process(process("s", "proc_2", State::Running, Delivery::Open)),
        Record::Ledger(entry("s", "proc_1", Stage::Claimed(TurnId(1)), Some(3))),
        Record::Ledger(entry("s", "proc_2", Stage::Spawned, None)),
        branch("s", "b", 3),
    ]);
    assert_eq!(store.store.refused(), 0);
    let reader = store.reader();
    assert_eq!(reader.rows(&id("b")).unwrap(), reader.rows(&id("s")).unwrap()[..3]);
    let copy = reader.load(&id("b"), 10).unwrap().unwrap();
    assert_eq!((copy.rows.len(), copy.earlier, copy.turns), (3, 0, TurnId(1)));
    assert_eq!((copy.open, copy.queued, copy.processes, copy.ledger), Default::default());
    assert_eq!(copy.meta.parent, Some(id("s")));
    // The original goes on: what happens there is told there, and its rows are its own.
    store.put(vec![
        add("s", user(5, "more")),
        Record::Ledger(entry("s", "proc_1", Stage::Delivered(TurnId(1)), Some(3))),
        add("b", user(4, "another way")),
    ]);
    assert_eq!(store.store.refused(), 0);
    let texts = |name: &str| {
        let rows = reader.rows(&id(name)).unwrap();
        rows.iter().skip(3).map(|r| r.text().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(texts("s"), ["not finished", "more"]);
    assert_eq!(texts("b"), ["another way"]);
    // A copy of a told event does not make it tellable again.
    store.put(vec![add("b", Row { n: 5, ..told })]);
    assert_eq!(store.store.refused(), 1);
}

#[test]
fn a_copy_of_nothing_or_over_another_session_is_refused_alone() {
    let mut store = TestStore::new();
    store.put(vec![
        session("s", 1),
        add("s", user(1, "mine")),
        session("other", 2),
        add("other", user(1, "theirs")),
        branch("s", "other", 1),
        branch("gone", "b", 1),
        add("s", user(2, "behind it")),
    ]);
    assert_eq!(store.store.refused(), 2);
    let reader = store.reader();
    assert_eq!(reader.rows(&id("other")).unwrap()[0].text(), "theirs");
    assert_eq!(reader.load(&id("b"), 1).unwrap(), None);
    assert_eq!(reader.rows(&id("s")).unwrap().len(), 2);
}

#[test]
fn a_compressed_session_is_one_row_and_a_branch_a_row_of_its_own() {
    // S03
    let mut store = TestStore::new();
    let compressed = Meta { id: id("s"), active_at: 9, compressions: 3, ..Meta::default() };
    store.put(vec![
        session("s", 1),
        add("s", user(1, "hello")),
        Record::Session(compressed),
        branch("s", "b1", 1),
        branch("s", "b2", 1),
        branch("b2", "b3", 1),
    ]);
    let list = store.reader().sessions(10).unwrap();
    let rows: Vec<_> = list
        .iter()
        .map(|s| (s.id.0.as_str(), s.parent.as_ref().map(|p| p.0.as_str()), s.compressions, s.rows))
        .collect();
    let expected = [
        ("b3", Some("b2"), 0, 1),
        ("b2", Some("s"), 0, 1),
        ("b1", Some("s"), 0, 1),
        ("s", None, 3, 1),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn the_last_row_before_a_turn_is_found() {
    let mut store = TestStore::new();
    let row = |n, turn| Row { turn: TurnId(turn), ..user(n, "x") };
    store.put(vec![session("s", 1), add("s", row(1, 1)), add("s", row(2, 1)), add("s", row(3, 2))]);
    let last = |turn| store.reader().last_row(&id("s"), TurnId(turn)).unwrap();
    assert_eq!((last(1), last(2), last(3)), (None, Some(2), Some(3)));
}
