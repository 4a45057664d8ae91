//! Files that are newer, damaged, full or read-only. (R09)

use std::fs;

use super::*;

fn file(state: &Path) -> PathBuf {
    StateDir::new(state).database()
}

/// A folder with a closed store of 20 sessions with 100 rows each.
fn filled() -> (TempDir, StateDir) {
    let mut store = TestStore::new();
    for s in 0..20 {
        let name = format!("s{s:02}");
        let mut records = vec![session(&name, s)];
        records.extend((1..=99).map(|n| add(&name, user(n, &"text ".repeat(100)))));
        let told = Body::Wakeup(wakeup(&name, WakeupKind::Exit, 0));
        records.push(add(&name, Row { n: 100, turn: TurnId(1), at: 1, cut: 0, body: told }));
        store.put(records);
    }
    let state = store.state();
    store.store.close().unwrap();
    (store.dir, state)
}

/// Damages four pages in the middle that hold rows and nothing else.
fn spoil(bytes: &mut [u8]) {
    let holds = |page: &[u8]| page.windows(10).any(|w| w == b"text text ");
    let fits = |at: &usize| bytes[*at..*at + 4 * 4096].chunks(4096).all(holds);
    let middle = bytes.len() / 2 / 4096 * 4096;
    let at = (middle..bytes.len() - 4 * 4096).step_by(4096).find(fits).unwrap();
    bytes[at..at + 4 * 4096].fill(0xa5);
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let (_dir, state) = filled();
    let conn = rusqlite::Connection::open(file(&state)).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let before = fs::read(file(&state)).unwrap();
    let (sender, _reports) = unbounded_channel();
    let error = Store::open(&state, sender).unwrap_err();
    assert!(matches!(error, Error::Newer { found: 99, known: schema::KNOWN, .. }));
    let words = error.to_string();
    let knows = format!("knows {}", schema::KNOWN);
    assert!(words.contains("schema 99") && words.contains(&knows), "{words}");
    assert!(words.contains("upgrade"), "{words}");
    assert!(matches!(Reader::open(&state), Err(Error::Newer { .. })));
    assert!(fs::read(file(&state)).unwrap() == before);
}

#[test]
fn what_is_no_database_is_set_aside() {
    let dir = TempDir::new().unwrap();
    let garbage = b"this was never a database, whatever its name says".repeat(99);
    for n in 1..=2 {
        fs::write(file(dir.path()), &garbage).unwrap();
        let (store, mut reports) = open(dir.path());
        let notes = store.notes();
        assert!(notes[0].contains(&format!("damaged-{n}")), "{notes:?}");
        let no = store.write(vec![session("s", 1)], Durability::Barrier);
        assert_eq!(report(&mut reports), Report::Committed(no));
        store.close().unwrap();
        let aside = StateDir::new(dir.path()).damaged(n);
        assert!(fs::read(aside).unwrap() == garbage);
    }
    let (store, _reports) = open(dir.path());
    assert_eq!(store.notes(), [""; 0]);
}

#[test]
fn of_a_file_cut_short_the_readable_part_is_kept() {
    let (_dir, state) = filled();
    let whole = fs::read(file(&state)).unwrap();
    fs::write(file(&state), &whole[..whole.len() * 6 / 10]).unwrap();
    let (store, mut reports) = open(&state);
    assert_eq!(store.notes().len(), 2, "{:?}", store.notes());
    let reader = store.reader().unwrap();
    let kept: u64 = reader.sessions(99).unwrap().iter().map(|s| s.rows).sum();
    assert!(kept > 100 && kept < 2000, "{kept} rows");
    let rows = reader.rows(&id("s00")).unwrap();
    assert_eq!(rows.len(), 100);
    // What was told stays told.
    let no = store.write(vec![add("s00", Row { n: 101, ..rows[99].clone() })], Durability::Flush);
    assert_eq!(report(&mut reports), Report::Committed(no));
    assert_eq!(store.refused(), 1);
    drop(reader);
    store.close().unwrap();
    assert_eq!(open(&state).0.notes(), [""; 0]);
}

#[test]
fn around_a_bad_page_the_rest_is_kept() {
    let (_dir, state) = filled();
    let mut bytes = fs::read(file(&state)).unwrap();
    spoil(&mut bytes);
    fs::write(file(&state), bytes).unwrap();
    // What the last host left when it stumbled over it.
    fs::write(state.suspect(), "").unwrap();
    let (store, _reports) = open(&state);
    assert_eq!(store.notes().len(), 2, "{:?}", store.notes());
    let reader = store.reader().unwrap();
    let kept: u64 = reader.sessions(99).unwrap().iter().map(|s| s.rows).sum();
    assert!(kept > 1900 && kept < 2000, "{kept} rows");
    assert!(!state.suspect().exists());
}

#[test]
fn damage_met_in_use_is_looked_at_by_the_next_start() {
    let (_dir, state) = filled();
    let mut bytes = fs::read(file(&state)).unwrap();
    spoil(&mut bytes);
    fs::write(file(&state), bytes).unwrap();
    let (store, mut reports) = open(&state);
    assert_eq!(store.notes(), [""; 0]);
    // Written a second time, each row is compared with the one that is there.
    for s in 0..20 {
        let name = format!("s{s:02}");
        let rows = (1..=99).map(|n| add(&name, user(n, &"text ".repeat(100))));
        store.write(rows.collect(), Durability::Flush);
    }
    while !matches!(report(&mut reports), Report::Failing { .. }) {}
    assert!(state.suspect().exists());
    assert!(store.close().is_err());
    let (store, _reports) = open(&state);
    assert_eq!(store.notes().len(), 2, "{:?}", store.notes());
    let kept: u64 = store.reader().unwrap().sessions(99).unwrap().iter().map(|s| s.rows).sum();
    assert!(kept > 1900 && kept < 2000, "{kept} rows");
}

#[test]
fn a_suspicion_that_proves_wrong_costs_nothing() {
    let (_dir, state) = filled();
    fs::write(state.suspect(), "").unwrap();
    let (store, _reports) = open(&state);
    assert_eq!(store.notes(), [""; 0]);
    assert!(!state.suspect().exists());
    assert_eq!(store.reader().unwrap().sessions(99).unwrap().len(), 20);
}

#[test]
fn a_full_disk_keeps_batches_in_order_until_there_is_room() {
    let mut store = TestStore::new();
    store.put(vec![session("s", 1)]);
    store.store.sql("PRAGMA max_page_count = 1");
    let big = "x".repeat(300_000);
    let first = store.store.write(vec![add("s", user(1, &big))], Durability::Barrier);
    let Report::Failing { upto, message } = store.report() else { panic!("it was written") };
    assert_eq!(upto, first);
    assert!(message.contains("full"), "{message}");
    // Every later batch is reported, so that nobody waits for it in vain.
    let mut last = first;
    for n in 2..=5 {
        last = store.store.write(vec![add("s", user(n, &big))], Durability::Barrier);
        assert!(matches!(store.report(), Report::Failing { upto, .. } if upto == last));
    }
    assert_eq!(store.reader().rows(&id("s")).unwrap(), []);
    // Tries in between are not news.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(store.reports.try_recv().is_err());
    store.store.sql("PRAGMA max_page_count = 1000000");
    assert_eq!(store.report(), Report::Committed(first));
    assert_eq!(store.report(), Report::Recovered(last));
    assert_eq!(store.report(), Report::Committed(last));
    let rows = store.reader().rows(&id("s")).unwrap();
    assert!(rows.iter().map(|r| r.n).eq(1..=5));
    store.put(vec![add("s", user(6, "as before"))]);
    let store = store.again();
    assert_eq!(store.reader().sessions(1).unwrap()[0].rows, 6);
}

#[test]
fn what_could_not_be_written_is_named_at_the_end() {
    let mut store = TestStore::new();
    store.put(vec![session("s", 1)]);
    store.store.sql("PRAGMA max_page_count = 1");
    let batch = vec![add("s", user(1, &"x".repeat(300_000)))];
    store.store.write(batch, Durability::Barrier);
    let error = store.store.close().unwrap_err();
    assert!(matches!(&error, Error::Unwritten { batches: 1, .. }), "{error}");
}

#[test]
fn a_row_that_cannot_be_read_costs_itself_alone() {
    // R09 W29: the session opens, and what waits in it can be told.
    let mut store = TestStore::new();
    store.put(vec![session("s", 1), add("s", user(1, "one")), add("s", user(2, "two"))]);
    store.put(vec![Record::TurnStarted {
        session: id("s"),
        turn: TurnId(1),
        source: Source::User,
        at: 1,
    }]);
    rusqlite::Connection::open(store.state().database())
        .unwrap()
        .execute("UPDATE rows SET body = '{\"is\":' WHERE n = 1", [])
        .unwrap();
    let reader = store.reader();
    let loaded = reader.load(&id("s"), 9).unwrap().unwrap();
    for rows in [loaded.rows, reader.rows(&id("s")).unwrap(), loaded.open.unwrap().rows] {
        assert_eq!(rows.len(), 2);
        let Body::Failure { message } = &rows[0].body else { panic!("{:?}", rows[0]) };
        assert!(message.contains("row 1 of session s"), "{message}");
        assert_eq!(rows[1].text(), "two");
    }
}
