//! The rules of the ledger and the transcript that the store itself keeps.

use super::*;

fn told(n: u64, wakeup: Wakeup) -> Row {
    Row { n, turn: TurnId(1), at: 1, cut: 0, body: Body::Wakeup(wakeup) }
}

#[test]
fn a_ledger_row_moves_forward_only() {
    let mut store = TestStore::new();
    let event = |state, row| Record::Ledger(entry("s", "proc_1", state, row));
    let with_wakeup = Entry {
        wakeup: Some(wakeup("proc_1", WakeupKind::Exit, 0)),
        ..entry("s", "proc_1", Stage::Finished, None)
    };
    store.put(vec![session("s", 1), event(Stage::Spawned, None)]);
    store.put(vec![Record::Ledger(with_wakeup.clone())]);
    store.put(vec![event(Stage::Held("why".into()), None)]);
    store.put(vec![event(Stage::Claimed(TurnId(3)), Some(4))]);
    let loaded = |store: &TestStore| store.reader().load(&id("s"), 1).unwrap().unwrap().ledger;
    // A later record without the wakeup or the row keeps both.
    store.put(vec![event(Stage::Claimed(TurnId(5)), None)]);
    let expected = Entry { row: Some(4), state: Stage::Claimed(TurnId(5)), ..with_wakeup.clone() };
    assert_eq!(loaded(&store), std::slice::from_ref(&expected));
    assert_eq!(store.store.refused(), 0);
    // The row never changes, nor does the owner (W17).
    store.put(vec![event(Stage::Claimed(TurnId(6)), Some(9))]);
    store.put(vec![Record::Ledger(entry("other", "proc_1", Stage::Finished, None))]);
    assert_eq!(loaded(&store), [expected]);
    assert_eq!(store.store.refused(), 2);
    // Settled is settled.
    store.put(vec![event(Stage::Delivered(TurnId(5)), Some(4))]);
    for stage in [Stage::Spawned, Stage::Finished, Stage::Claimed(TurnId(7)), Stage::Consumed] {
        store.put(vec![event(stage, None)]);
    }
    store.put(vec![event(Stage::Delivered(TurnId(5)), Some(4))]);
    assert_eq!(store.store.refused(), 6);
    assert_eq!(loaded(&store), []);
    let counts = store.reader().ledger_counts().unwrap();
    assert_eq!(counts, BTreeMap::from([("delivered".to_owned(), 1)]));
}

#[test]
fn the_database_itself_refuses_what_the_ledger_forbids() {
    let mut store = TestStore::new();
    store.put(vec![Record::Ledger(entry("s", "proc_1", Stage::Delivered(TurnId(1)), Some(4)))]);
    let conn = rusqlite::Connection::open(store.state().database()).unwrap();
    for change in ["row = 5", "row = NULL", "stage = 'finished'", "session = 't'"] {
        let result = conn.execute(&format!("UPDATE ledger SET {change}"), []);
        assert!(result.is_err(), "{change}");
    }
}

#[test]
fn events_of_one_process_do_not_use_each_other_up() {
    // P01
    let mut store = TestStore::new();
    let key =
        |kind, ordinal| Entry { kind, ordinal, ..entry("s", "proc_1", Stage::Finished, None) };
    let keys = [
        key(WakeupKind::Match, 1),
        key(WakeupKind::Match, 2),
        key(WakeupKind::WatchDisabled, 1),
        key(WakeupKind::Exit, 1),
        key(WakeupKind::Delegation, 1),
    ];
    let mut records = vec![session("s", 1)];
    records.extend(keys.iter().cloned().map(Record::Ledger));
    let row = |(n, key): (usize, &Entry)| {
        add("s", told(n as u64 + 1, wakeup("proc_1", key.kind, key.ordinal)))
    };
    records.extend(keys.iter().enumerate().map(row));
    store.put(records);
    let loaded = store.reader().load(&id("s"), 9).unwrap().unwrap();
    assert_eq!((loaded.ledger.len(), loaded.rows.len()), (5, 5));
    assert_eq!(store.store.refused(), 0);
}

#[test]
fn an_event_is_told_in_one_row_of_one_session() {
    // W16
    let mut store = TestStore::new();
    let event = wakeup("proc_1", WakeupKind::Exit, 0);
    store.put(vec![session("s", 1), session("t", 1), add("s", told(1, event.clone()))]);
    store.put(vec![add("s", told(2, event.clone())), add("s", user(3, "goes on"))]);
    store.put(vec![add("t", told(1, event.clone()))]);
    let reader = store.reader();
    assert_eq!(reader.rows(&id("s")).unwrap(), [told(1, event), user(3, "goes on")]);
    assert_eq!(reader.rows(&id("t")).unwrap(), []);
    let loaded = reader.load(&id("s"), 1).unwrap().unwrap();
    assert_eq!(loaded.earlier, 1);
    assert_eq!(store.store.refused(), 2);
}

#[test]
fn a_row_is_written_once() {
    let mut store = TestStore::new();
    let long = user(2, &"long ".repeat(50_000));
    store.put(vec![session("s", 1), add("s", user(1, "a")), add("s", long.clone())]);
    store.put(vec![add("s", user(1, "a")), add("s", long.clone())]);
    assert_eq!(store.store.refused(), 0);
    store.put(vec![add("s", user(1, "b")), add("s", user(3, "c"))]);
    assert_eq!(store.store.refused(), 1);
    let rows = store.reader().rows(&id("s")).unwrap();
    assert_eq!(rows, [user(1, "a"), long, user(3, "c")]);
    assert_eq!(store.reader().sessions(1).unwrap()[0].rows, 3);
}

#[test]
fn a_process_stays_with_its_owner_and_old_ones_are_left_out() {
    // W17, W27
    let mut store = TestStore::new();
    store.put(vec![
        session("s", 1),
        session("t", 1),
        Record::Process(process("s", "live", State::Starting, Delivery::Open)),
        Record::Process(process("s", "live", State::Running, Delivery::Open)),
        Record::Process(process("t", "live", State::Ended, Delivery::Consumed)),
        Record::Process(process("s", "held", State::Ended, Delivery::Held("busy".into()))),
        Record::Process(process("s", "owed", State::Ended, Delivery::Open)),
        Record::Ledger(entry("s", "owed", Stage::Finished, None)),
    ]);
    assert_eq!(store.store.refused(), 1);
    let old = (0..30).map(|n| {
        let name = format!("old{n:02}");
        let started_at = 100 + n;
        Record::Process(Process {
            started_at,
            ..process("s", &name, State::Ended, Delivery::Delivered)
        })
    });
    store.put(old.collect());
    let loaded = store.reader().load(&id("s"), 1).unwrap().unwrap();
    let names: Vec<&str> = loaded.processes.iter().map(|p| p.id.0.as_str()).collect();
    assert_eq!(names[..3], ["held", "live", "owed"]);
    assert_eq!(names[3..], (20..30).map(|n| format!("old{n}")).collect::<Vec<_>>());
    assert_eq!(loaded.processes[1].state, State::Running);
    let other = store.reader().load(&id("t"), 1).unwrap().unwrap();
    assert_eq!(other.processes, []);
}

#[test]
fn a_host_finds_what_it_must_look_at() {
    let mut store = TestStore::new();
    let started = |name: &str| Record::TurnStarted {
        session: id(name),
        turn: TurnId(1),
        source: Source::User,
        at: 1,
    };
    store.put(["open", "queue", "ledger", "process"].map(|name| session(name, 1)).to_vec());
    store.put(vec![
        session("calm", 1),
        started("calm"),
        Record::TurnEnded { session: id("calm"), turn: TurnId(1), outcome: Outcome::Done, at: 2 },
        Record::Ledger(entry("calm", "p0", Stage::Consumed, None)),
        Record::Process(process("calm", "p1", State::Ended, Delivery::Delivered)),
        started("open"),
        Record::Queued {
            session: id("queue"),
            prompt: Queued { id: PromptId("p".into()), text: "x".into() },
        },
        Record::Ledger(entry("ledger", "p2", Stage::Spawned, None)),
        Record::Process(process("process", "p3", State::Running, Delivery::Open)),
    ]);
    let names = ["ledger", "open", "process", "queue"].map(id);
    assert_eq!(store.reader().unsettled().unwrap(), names);
}

/// SQLite does not wait for its turn where two connections give a fresh file its log at once.
#[test]
fn a_fresh_folder_can_be_opened_by_many_at_once() {
    for _ in 0..40 {
        let dir = TempDir::new().unwrap();
        let state = dir.path().join("state");
        let gate = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    gate.wait();
                    open(&state).0.close().unwrap();
                });
            }
        });
    }
}
