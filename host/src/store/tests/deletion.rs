//! Deleted sessions: what goes, what stays, and what must not come back.

use super::*;

fn deleted(name: &str) -> Record {
    Record::Deleted { session: id(name) }
}

/// How many rows each table has that names the session.
fn traces(store: &TestStore, name: &str) -> Vec<(&'static str, i64)> {
    let conn = rusqlite::Connection::open(store.state().database()).unwrap();
    let count = |table: &'static str, column: &str| {
        let sql = format!("SELECT count(*) FROM {table} WHERE {column} = ?");
        (table, conn.query_row(&sql, [name], |row| row.get(0)).unwrap())
    };
    let mut found: Vec<_> =
        ["rows", "turns", "journal", "queued", "questions", "metas", "processes"]
            .into_iter()
            .map(|table| count(table, "session"))
            .chain([count("sessions", "id")])
            .collect();
    found.retain(|(_, n)| *n > 0);
    found
}

/// One of every record that a session writes.
fn every(name: &str) -> Vec<Record> {
    let session = id(name);
    let question = Question {
        answer: None,
        id: QuestionId("q".into()),
        turn: TurnId(1),
        call: CallId("c".into()),
        ask: protocol::Ask::Clarify { question: "?".into(), choices: Vec::new() },
        asked_at: 1,
        timeout: 2,
        deadline: None,
    };
    let prompt = Queued { id: PromptId("p".into()), text: "later".into() };
    let delta = Record::Delta {
        session: session.clone(),
        turn: TurnId(1),
        n: 1,
        part: Part::Text,
        text: "x".into(),
    };
    vec![
        self::session(name, 1),
        Record::TurnStarted {
            session: session.clone(),
            turn: TurnId(1),
            source: Source::User,
            at: 1,
        },
        delta,
        add(name, user(1, "unmistakable words")),
        add(name, user(2, &"long ".repeat(40_000))),
        Record::Queued { session: session.clone(), prompt },
        Record::Asked { session: session.clone(), question },
        Record::Process(process(name, "proc_live", State::Running, Delivery::Open)),
        Record::Process(process(name, "proc_done", State::Ended, Delivery::Waiting)),
        Record::Ledger(entry(name, "proc_live", Stage::Spawned, None)),
        Record::Ledger(entry(name, "proc_done", Stage::Finished, None)),
        Record::TurnEnded { session, turn: TurnId(1), outcome: Outcome::Done, at: 2 },
    ]
}

#[test]
fn of_a_deleted_session_only_its_live_processes_and_its_ledger_are_left() {
    // W19
    let mut store = TestStore::new();
    store.put(every("s"));
    store.put(
        every("t")
            .into_iter()
            .filter(|r| !matches!(r, Record::Process(_) | Record::Ledger(_)))
            .collect(),
    );
    store.put(vec![deleted("s")]);
    assert_eq!(traces(&store, "s"), [("processes", 1)]);
    let reader = store.reader();
    let orphans = reader.orphans().unwrap();
    assert_eq!(orphans.len(), 1);
    assert_eq!(
        (orphans[0].id.0.as_str(), &orphans[0].delivery),
        ("proc_live", &Delivery::Orphaned)
    );
    assert_eq!(reader.pending_processes().unwrap(), orphans);
    let counts = reader.ledger_counts().unwrap();
    assert_eq!(counts, BTreeMap::from([("orphaned".to_owned(), 2)]));
    assert!(!reader.unsettled().unwrap().contains(&id("s")), "no host takes it up");
    assert_eq!(reader.load(&id("s"), 9).unwrap(), None);
    assert_eq!(reader.rows(&id("t")).unwrap().len(), 2);
    assert_eq!(store.store.refused(), 0);
}

#[test]
fn late_records_do_not_bring_a_deleted_session_back() {
    // W19
    let mut store = TestStore::new();
    store.put(every("s"));
    store.put(vec![deleted("s")]);
    let mut late = every("s");
    late.push(Record::Resolved { session: id("s"), question: QuestionId("q".into()) });
    late.push(Record::Folded { session: id("s"), turn: TurnId(1), n: 1 });
    late.push(Record::Ledger(entry("s", "proc_done", Stage::Delivered(TurnId(2)), Some(3))));
    late.push(deleted("s"));
    store.put(late);
    assert_eq!(traces(&store, "s"), [("processes", 1)]);
    let counts = store.reader().ledger_counts().unwrap();
    assert_eq!(counts, BTreeMap::from([("orphaned".to_owned(), 2)]));
    // Nor does a later start of the store.
    let mut store = store.again();
    store.put(vec![session("s", 9), add("s", user(3, "ghost"))]);
    assert_eq!(traces(&store, "s"), [("processes", 1)]);
}

#[test]
fn an_orphan_that_has_ended_leaves_the_store() {
    // W19
    let mut store = TestStore::new();
    store.put(every("s"));
    store.put(vec![deleted("s")]);
    let wish = Process {
        killed_by: Some(protocol::Killer::User),
        ..process("s", "proc_live", State::Running, Delivery::Open)
    };
    store.put(vec![Record::Process(wish)]);
    let orphan = &store.reader().orphans().unwrap()[0];
    assert_eq!(orphan.killed_by, Some(protocol::Killer::User));
    assert_eq!(orphan.delivery, Delivery::Orphaned);
    store.put(vec![Record::Process(process("s", "proc_live", State::Ended, Delivery::Open))]);
    assert_eq!(store.reader().orphans().unwrap(), []);
    assert_eq!(traces(&store, "s"), []);
}

#[test]
fn search_finds_nothing_of_a_deleted_session_and_later_rows_as_themselves() {
    // Ids of deleted rows are given again: the index must not point the old words at them.
    let mut store = TestStore::new();
    store.put(vec![session("s", 1), session("t", 1), add("t", user(1, "kept"))]);
    store.put(vec![add("s", user(1, "vanished")), add("s", user(2, "vanished too"))]);
    let reader = store.reader();
    until("the index", || reader.search("vanished", 9).unwrap().len() == 2);
    store.put(vec![deleted("s")]);
    assert_eq!(reader.search("vanished", 9).unwrap(), []);
    store.put(vec![add("t", user(2, "fresh words")), add("t", user(3, "fresh again"))]);
    until("the index", || reader.search("fresh", 9).unwrap().len() == 2);
    assert_eq!(reader.search("vanished", 9).unwrap(), []);
    assert_eq!(reader.search("kept", 9).unwrap().len(), 1);
}

#[test]
fn an_index_of_the_old_schema_is_made_anew() {
    let mut store = TestStore::new();
    store.put(vec![session("s", 1), add("s", user(1, "needle"))]);
    let reader = store.reader();
    until("the index", || reader.search("needle", 9).unwrap().len() == 1);
    drop(reader);
    let state = store.state();
    store.store.close().unwrap();
    // As the first released schema left it.
    let conn = rusqlite::Connection::open(state.database()).unwrap();
    conn.execute_batch(
        "DROP TABLE deleted; DROP TABLE words; DROP TABLE projects; DROP TABLE placed;
         CREATE VIRTUAL TABLE words USING fts5
             (text, content = '', tokenize = 'unicode61 remove_diacritics 2');
         DROP TRIGGER ledger_stage; DROP INDEX ledger_open;
         CREATE INDEX ledger_open ON ledger (session) WHERE stage NOT IN ('delivered', 'consumed');
         CREATE TRIGGER ledger_stage BEFORE UPDATE ON ledger
             WHEN 0 BEGIN SELECT RAISE(ABORT, ''); END;
         ALTER TABLE sessions DROP COLUMN parent; ALTER TABLE sessions DROP COLUMN archived;
         ALTER TABLE sessions DROP COLUMN compressions;
         ALTER TABLE sessions DROP COLUMN tokens; ALTER TABLE sessions DROP COLUMN toolsets;
         ALTER TABLE sessions DROP COLUMN pinned; ALTER TABLE sessions DROP COLUMN driven;
         ALTER TABLE turns DROP COLUMN attempts; ALTER TABLE turns DROP COLUMN resumed_row;
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(conn);
    let (store, _reports) = open(&state);
    let reader = store.reader().unwrap();
    until("the index", || reader.search("needle", 9).unwrap().len() == 1);
}

#[test]
fn the_tasks_a_session_delegated_are_known_and_its_branches_are_none() {
    let mut store = TestStore::new();
    let child = |name: &str, task| {
        Record::Session(Meta { id: id(name), parent: Some(id("s")), task, ..Meta::default() })
    };
    let task = Task { parent: id("s"), process: ProcessId("proc_1".into()) };
    store.put(vec![session("s", 1), child("branch", None), child("task", Some(task))]);
    assert_eq!(store.reader().delegated(&id("s")).unwrap(), [id("task")]);
}

#[test]
fn the_latest_session_is_none_that_was_put_away_or_delegated() {
    // W19
    let mut store = TestStore::new();
    let with = |name: &str, active_at, source: &str| Meta {
        id: id(name),
        active_at,
        source: source.into(),
        ..Meta::default()
    };
    let task = Task { parent: id("a"), process: ProcessId("proc_1".into()) };
    store.put(vec![
        Record::Session(with("a", 1, "tui")),
        Record::Session(with("b", 2, "cli")),
        Record::Session(Meta { archived: true, ..with("c", 3, "tui") }),
        Record::Session(Meta { task: Some(task), ..with("d", 4, "tui") }),
    ]);
    let reader = store.reader();
    assert_eq!(reader.latest(None).unwrap(), Some(id("b")));
    assert_eq!(reader.latest(Some("tui")).unwrap(), Some(id("a")));
    // Without one of its own kind it is any.
    store.put(vec![deleted("a")]);
    assert_eq!(reader.latest(Some("tui")).unwrap(), Some(id("b")));
}

#[test]
fn with_a_session_go_those_that_work_on_its_tasks_in_one_commit() {
    // W19: also one that was delegated in the same moment. A kill in between leaves all or nothing.
    let mut store = TestStore::new();
    let task = Task { parent: id("s"), process: ProcessId("deleg".into()) };
    let meta =
        Meta { id: id("worker"), parent: Some(id("s")), task: Some(task), ..Meta::default() };
    let branch = Meta { id: id("branch"), parent: Some(id("s")), ..Meta::default() };
    let prompt = Queued { id: PromptId("deleg".into()), text: "brief".into() };
    store.put(vec![
        session("s", 1),
        Record::Session(meta),
        Record::Session(branch),
        Record::Queued { session: id("worker"), prompt: prompt.clone() },
        deleted("s"),
    ]);
    assert_eq!(traces(&store, "worker"), []);
    assert!(store.reader().unsettled().unwrap().is_empty());
    assert_eq!(store.reader().find("branch").unwrap(), Some(id("branch")));
    store.put(vec![Record::Queued { session: id("worker"), prompt }]);
    assert_eq!(traces(&store, "worker"), []);
}
