//! Tests of the store: what all of them need, and the ones of everyday reading and writing.
//! Damage, crashes and odd values have files of their own.

mod backlog;
mod crash;
mod damage;
mod deletion;
mod lineage;
mod migration;
mod projects;
mod rules;
mod undo;
mod values;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::state_dir::StateDir;
use protocol::{Assistant, Body, CallId, Delivery, End, Exit, State, Stop, ToolResult};

/// A generous bound on waiting for something that does happen.
const BOUND: Duration = Duration::from_secs(30);

/// A store in a folder of its own, with its reports.
pub(super) struct TestStore {
    pub(super) dir: TempDir,
    pub(super) store: Store,
    pub(super) reports: UnboundedReceiver<Report>,
}

impl TestStore {
    pub(super) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (store, reports) = open(&dir.path().join("state"));
        Self { dir, store, reports }
    }

    pub(super) fn state(&self) -> StateDir {
        StateDir::new(self.dir.path().join("state"))
    }

    /// Writes a barrier and waits for its commit.
    pub(super) fn put(&mut self, records: Vec<Record>) {
        let no = self.store.write(records, Durability::Barrier);
        self.settle(no);
    }

    pub(super) fn settle(&mut self, no: CommitNo) {
        while !matches!(self.report(), Report::Committed(upto) if upto >= no) {}
    }

    pub(super) fn report(&mut self) -> Report {
        report(&mut self.reports)
    }

    pub(super) fn reader(&self) -> Reader {
        self.store.reader().unwrap()
    }

    /// Ends the store and opens it again.
    pub(super) fn again(self) -> Self {
        self.store.close().unwrap();
        let (store, reports) = open(&self.dir.path().join("state"));
        Self { dir: self.dir, store, reports }
    }
}

pub(super) fn open(state: &Path) -> (Store, UnboundedReceiver<Report>) {
    let (sender, reports) = unbounded_channel();
    (Store::open(&StateDir::new(state), sender).unwrap(), reports)
}

pub(super) fn report(reports: &mut UnboundedReceiver<Report>) -> Report {
    let begun = Instant::now();
    loop {
        if let Ok(report) = reports.try_recv() {
            return report;
        }
        assert!(begun.elapsed() < BOUND, "no report came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < BOUND, "{what} never came about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(super) fn id(name: &str) -> SessionId {
    SessionId(name.into())
}

pub(super) fn session(name: &str, active_at: Millis) -> Record {
    Record::Session(Meta { id: id(name), active_at, ..Meta::default() })
}

pub(super) fn user(n: u64, text: &str) -> Row {
    let body = Body::User { text: text.into() };
    Row { n, turn: TurnId(1), at: n as i64, cut: 0, body }
}

pub(super) fn add(session: &str, row: Row) -> Record {
    Record::Row { session: id(session), row }
}

pub(super) fn wakeup(process: &str, kind: WakeupKind, ordinal: u64) -> Wakeup {
    Wakeup {
        process: ProcessId(process.into()),
        kind,
        ordinal,
        command: "make".into(),
        exit: Some(Exit { end: End::Exited, code: None, signal: Some(9), at: 7 }),
        pattern: None,
        text: format!("{process} ended"),
    }
}

pub(super) fn entry(session: &str, process: &str, state: Stage, row: Option<u64>) -> Entry {
    Entry {
        session: id(session),
        process: ProcessId(process.into()),
        kind: WakeupKind::Exit,
        ordinal: 0,
        state,
        wakeup: None,
        row,
        at: 1,
    }
}

pub(super) fn process(session: &str, name: &str, state: State, delivery: Delivery) -> Process {
    Process {
        work: protocol::Work::Command,
        watching: protocol::Watching::default(),
        id: ProcessId(name.into()),
        session: id(session),
        turn: TurnId(1),
        command: "sleep 9".into(),
        cwd: "/".into(),
        pid: Some(7),
        started_at: 1,
        state,
        exit: None,
        notify: true,
        watch: vec!["ready".into()],
        pty: false,
        killed_by: None,
        delivery,
    }
}

/// Bytes this thread has read from files so far.
pub(super) fn bytes_read() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("rchar: ")).unwrap();
    line.parse().unwrap()
}

#[test]
fn a_session_reads_back_as_it_was_written() {
    let mut store = TestStore::new();
    let meta = Meta {
        id: id("20260101_000000_abcdef"),
        title: Some("Tea".into()),
        preview: "make tea".into(),
        started_at: 5,
        active_at: 90,
        model: "demo".into(),
        system: "You are".into(),
        env: BTreeMap::from([("A".into(), None), ("B".into(), Some("b".into()))]),
        gauge: Gauge { used: Some(1), length: None },
        todo: serde_json::json!([{"id": 1}]),
        grants: BTreeSet::from(["rm".into()]),
        held: Some("why".into()),
        wakeups_in_a_row: 3,
        ..Meta::default()
    };
    let name = meta.id.0.clone();
    let prompt = |n: u32| Queued { id: PromptId(format!("p{n}")), text: format!("later {n}") };
    let question = |deadline| Question {
        answer: None,
        id: QuestionId("q".into()),
        turn: TurnId(2),
        call: CallId("c".into()),
        ask: protocol::Ask::Clarify { question: "?".into(), choices: vec!["a".into()] },
        asked_at: 1,
        timeout: 2,
        deadline,
    };
    let delta = |n, part, text: &str| Record::Delta {
        session: meta.id.clone(),
        turn: TurnId(2),
        n,
        part,
        text: text.into(),
    };
    let answer = Row {
        n: 3,
        turn: TurnId(2),
        at: 3,
        cut: 0,
        body: Body::Assistant(Assistant { text: "one ".into(), ..Assistant::default() }),
    };
    let session = meta.id.clone();
    store.put(vec![
        Record::Session(meta.clone()),
        add(&name, user(1, "first")),
        Record::TurnStarted {
            session: session.clone(),
            turn: TurnId(1),
            source: Source::User,
            at: 1,
        },
        Record::TurnEnded {
            session: session.clone(),
            turn: TurnId(1),
            outcome: Outcome::Failed { class: "auth".into() },
            at: 2,
        },
        add(&name, Row { turn: TurnId(2), ..user(2, "second") }),
        Record::TurnStarted {
            session: session.clone(),
            turn: TurnId(2),
            source: Source::Wakeup,
            at: 3,
        },
        Record::Queued { session: session.clone(), prompt: prompt(1) },
        Record::Queued { session: session.clone(), prompt: prompt(2) },
        Record::Unqueued { session: session.clone(), prompt: PromptId("p1".into()) },
        Record::Queued { session: session.clone(), prompt: prompt(3) },
        Record::Asked { session: session.clone(), question: question(None) },
        Record::Asked { session: session.clone(), question: question(Some(9)) },
        Record::Granted { rule: "rm".into() },
        Record::Granted { rule: "rm".into() },
    ]);
    // R07: what was streamed and is in no row yet is found again.
    let no = store.store.write(
        vec![
            delta(1, Part::Reasoning, "hm"),
            delta(2, Part::Text, "one "),
            add(&name, answer.clone()),
            Record::Folded { session: session.clone(), turn: TurnId(2), n: 2 },
            delta(3, Part::Reasoning, "so"),
            delta(4, Part::Text, "two "),
            delta(5, Part::Text, "three"),
        ],
        Durability::Flush,
    );
    store.settle(no);
    let store = store.again();
    let reader = store.reader();
    let loaded = reader.load(&session, 2).unwrap().unwrap();
    let second = Row { turn: TurnId(2), ..user(2, "second") };
    assert_eq!(loaded.meta, meta);
    assert_eq!(loaded.rows, [second.clone(), answer.clone()]);
    assert_eq!((loaded.earlier, loaded.turns), (1, TurnId(2)));
    assert_eq!(loaded.queued, [prompt(2), prompt(3)]);
    assert_eq!(loaded.questions, [question(Some(9))]);
    let open = OpenTurn {
        attempts: 0,
        resumed_row: 0,
        turn: TurnId(2),
        source: Source::Wakeup,
        started_at: 3,
        n: 5,
        text: "two three".into(),
        reasoning: "so".into(),
        rows: vec![second.clone(), answer.clone()],
    };
    assert_eq!(loaded.open, Some(open));
    assert_eq!(reader.rows(&session).unwrap(), [user(1, "first"), second.clone(), answer]);
    assert_eq!(reader.page(&session, 3, 1).unwrap(), (vec![second], 1));
    assert_eq!(reader.page(&session, 1, 5).unwrap(), (vec![], 0));
    assert_eq!(reader.granted().unwrap(), BTreeSet::from(["rm".to_owned()]));
    assert_eq!(reader.unsettled().unwrap(), std::slice::from_ref(&session));
    assert_eq!(reader.load(&id("none"), 2).unwrap(), None);
    let row = &reader.sessions(9).unwrap()[0];
    assert_eq!((row.rows, row.title.as_str(), row.active_at), (3, "Tea", 90));
    assert_eq!(store.store.refused(), 0);
}

#[test]
fn the_list_is_newest_first_and_reads_no_metadata() {
    let mut store = TestStore::new();
    let records = (0..3000).map(|n| {
        Record::Session(Meta {
            id: id(&format!("s{n:04}")),
            active_at: n,
            preview: format!("prompt {n}"),
            system: "x".repeat(4000),
            ..Meta::default()
        })
    });
    let records: Vec<Record> = records.collect();
    store.put(records);
    store.put(vec![add("s0007", Row { at: 99_999, ..user(1, "hi") })]);
    let reader = store.reader();
    let before = bytes_read();
    let list = reader.sessions(3000).unwrap();
    let read = bytes_read() - before;
    assert_eq!(list.len(), 3000);
    let first: Vec<&str> = list.iter().take(3).map(|s| s.id.0.as_str()).collect();
    assert_eq!(first, ["s0007", "s2999", "s2998"]);
    assert_eq!(list[1].title, "prompt 2999");
    assert!(read < 2_000_000, "12 MB of metadata lie beside: {read} bytes were read");
    assert_eq!(reader.sessions(2).unwrap().len(), 2);
    assert_eq!(reader.latest(None).unwrap(), Some(id("s0007")));
}

#[test]
fn a_session_is_found_by_id_prefix_or_title() {
    let mut store = TestStore::new();
    let titled = |name: &str, title: &str, active_at| {
        Record::Session(Meta {
            id: id(name),
            title: Some(title.into()),
            active_at,
            ..Meta::default()
        })
    };
    store.put(vec![
        titled("2026_a", "tea", 1),
        titled("2026_ab", "tea", 2),
        titled("2027_%", "other", 9),
        Record::Session(Meta {
            id: id("2028"),
            preview: "tea".into(),
            active_at: 99,
            ..Meta::default()
        }),
        Record::Session(Meta { id: id("2029"), preview: "hi".into(), ..Meta::default() }),
    ]);
    let reader = store.reader();
    let find = |name: &str| reader.find(name).unwrap().map(|id| id.0);
    assert_eq!(find("2026_a").as_deref(), Some("2026_a"));
    assert_eq!(find("2027").as_deref(), Some("2027_%"));
    assert_eq!(find("tea").as_deref(), Some("2026_ab"));
    assert_eq!(find("hi").as_deref(), Some("2029"), "as the list shows it");
    assert_eq!(find("2026"), None);
    assert_eq!(find("%"), None);
    assert_eq!(find(""), None);
}

#[test]
fn a_store_that_does_not_exist_reads_as_empty() {
    let dir = TempDir::new().unwrap();
    let reader = Reader::open(&StateDir::new(dir.path().join("nowhere"))).unwrap();
    assert_eq!(reader.sessions(9).unwrap(), []);
    assert_eq!(reader.latest(None).unwrap(), None);
    assert_eq!(reader.load(&id("x"), 1).unwrap(), None);
    assert_eq!(reader.search("x", 1).unwrap(), []);
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn all_that_waits_is_one_transaction() {
    let mut store = TestStore::new();
    store.put(vec![session("s", 1)]);
    let before = store.store.transactions();
    // While somebody else writes, batches pile up behind the first.
    let other = rusqlite::Connection::open(store.state().database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let first = store.store.write(vec![add("s", user(1, "1"))], Durability::Flush);
    std::thread::sleep(Duration::from_millis(50));
    let mut last = first;
    for n in 2..=100 {
        last = store.store.write(vec![add("s", user(n, "n"))], Durability::Barrier);
    }
    // R08: a reader is never held up by a writer, whoever it is.
    assert_eq!(store.reader().sessions(9).unwrap()[0].rows, 0);
    other.execute_batch("ROLLBACK").unwrap();
    store.settle(last);
    assert_eq!(last.0 - first.0, 99);
    let made = store.store.transactions() - before;
    assert!((1..=3).contains(&made), "{made} transactions for 100 batches");
    let rows = store.reader().rows(&id("s")).unwrap();
    assert!(rows.iter().map(|r| r.n).eq(1..=100));
}

#[test]
fn a_reader_sees_one_moment_while_rows_arrive() {
    let mut store = TestStore::new();
    store.put(vec![session("s", 1)]);
    let reader = store.reader();
    let mut last = CommitNo(0);
    for n in 1..=300 {
        last = store.store.write(vec![add("s", user(n, "n"))], Durability::Flush);
        let loaded = reader.load(&id("s"), 10).unwrap().unwrap();
        let end = loaded.rows.last().map_or(0, |row| row.n);
        assert_eq!(loaded.earlier + loaded.rows.len() as u64, end);
    }
    store.settle(last);
}

#[test]
fn the_last_handle_stores_what_waits() {
    let TestStore { dir, store, reports } = TestStore::new();
    let clone = store.clone();
    store.write(vec![session("s", 1)], Durability::Flush);
    drop(store);
    clone.write(vec![add("s", user(1, "last words"))], Durability::Flush);
    drop(clone);
    drop(reports);
    let reader = Reader::open(&StateDir::new(dir.path().join("state"))).unwrap();
    assert_eq!(reader.rows(&id("s")).unwrap(), [user(1, "last words")]);
    // The log is folded into the file.
    let logged = std::fs::metadata(StateDir::new(dir.path().join("state")).database_with("-wal"))
        .map_or(0, |m| m.len());
    assert_eq!(logged, 0);
}

#[test]
fn a_write_after_the_end_is_reported_not_lost_in_silence() {
    let mut store = TestStore::new();
    store.store.clone().close().unwrap();
    let no = store.store.write(vec![session("s", 1)], Durability::Barrier);
    assert!(matches!(store.report(), Report::Failing { upto, .. } if upto == no));
}

#[test]
fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let mut store = TestStore::new();
    store.put(vec![session("s", 1)]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&store.state()), 0o700);
    for entry in std::fs::read_dir(store.state()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn words_are_found_and_the_index_catches_up() {
    let mut store = TestStore::new();
    let mut huge = "filler words ".repeat(40_000);
    huge.insert_str(0, "alpha ");
    huge.insert_str(260_000, " lostword ");
    huge.push_str("omega");
    let call = |text: &str| {
        let body = Body::Assistant(Assistant {
            text: text.into(),
            calls: vec![protocol::ToolCall {
                id: CallId("c".into()),
                name: "terminal".into(),
                args: serde_json::json!({"command": "cargo vendor"}),
            }],
            stop: Stop::Calls,
            ..Assistant::default()
        });
        Row { n: 2, turn: TurnId(1), at: 2, cut: 0, body }
    };
    store.put(vec![
        session("s", 1),
        add("s", user(1, "Wie spät ist es in Köln, \"bitte\"?")),
        add("s", call("one moment")),
        add("s", user(3, &huge)),
    ]);
    // Ended before it had time to index: as after a kill, the next start goes on.
    let store = store.again();
    let reader = store.reader();
    let found = |query: &str| {
        let hits = reader.search(query, 9).unwrap();
        hits.into_iter().map(|hit| hit.n).collect::<Vec<u64>>()
    };
    until("the index", || found("omega") == [3]);
    assert_eq!(found("koln"), [1]);
    assert_eq!(found("spät bit"), [1]);
    assert_eq!(found("vendor"), [2]);
    assert_eq!(found("alpha"), [3]);
    assert_eq!(found("lostword"), [0; 0]);
    assert_eq!(found("\" OR * NEAR("), [0; 0]);
    assert_eq!(found(" "), [0; 0]);
    let hit = &reader.search("köln", 1).unwrap()[0];
    assert_eq!(hit.session, id("s"));
    assert!(hit.excerpt.contains("Köln"), "{}", hit.excerpt);
}

#[test]
fn the_tail_of_a_huge_answer_is_read_without_the_rest() {
    // R08
    let mut store = TestStore::new();
    let mut text = String::new();
    for n in 0..2_000_000 {
        writeln!(text, "é{n:08}").unwrap();
    }
    let body = Body::Tool(ToolResult {
        call: CallId("c".into()),
        name: "terminal".into(),
        text: text.clone(),
        failed: false,
        millis: 1,
        unanswered: false,
    });
    let row = Row { n: 1, turn: TurnId(1), at: 1, cut: 0, body };
    store.put(vec![session("s", 1), add("s", row.clone()), add("s", user(2, "thanks"))]);
    let store = store.again();
    let before = bytes_read();
    let reader = store.reader();
    let loaded = reader.load(&id("s"), 50).unwrap().unwrap();
    let read = bytes_read() - before;
    let tail = loaded.rows[0].text();
    assert!(read < 1_000_000, "{read} of {} bytes were read", text.len());
    assert!(tail.len() > 60_000 && tail.len() <= 64 * 1024);
    assert!(text.ends_with(tail));
    assert_eq!(loaded.rows[0].cut + tail.len() as u64, text.len() as u64);
    assert_eq!(reader.page(&id("s"), 2, 1).unwrap().0, loaded.rows[..1]);
    assert!(reader.rows(&id("s")).unwrap()[0] == row);
}

#[test]
fn the_tail_of_a_long_session_is_read_without_the_rest() {
    // R08
    let mut store = TestStore::new();
    let text = "word ".repeat(1000);
    store.put(vec![session("s", 1)]);
    store.put((1..=4000).map(|n| add("s", user(n, &text))).collect());
    let store = store.again();
    let before = bytes_read();
    let loaded = store.reader().load(&id("s"), 100).unwrap().unwrap();
    let read = bytes_read() - before;
    assert_eq!((loaded.rows.len(), loaded.earlier), (100, 3900));
    assert!(read < 2_000_000, "{read} of 20 MB were read");
}

#[test]
fn journals_go_a_day_after_their_turn_or_beyond_64_mb() {
    let mut store = TestStore::new();
    let day = 24 * 3600 * 1000;
    let turn = |turn, end: Option<i64>| {
        let session = id("s");
        let turn = TurnId(turn);
        let mut records = vec![Record::TurnStarted {
            session: session.clone(),
            turn,
            source: Source::User,
            at: 1,
        }];
        let text = "x".repeat(1000);
        records.extend((1..=10).map(|n| Record::Delta {
            session: session.clone(),
            turn,
            n,
            part: Part::Text,
            text: text.clone(),
        }));
        records.push(Record::Folded { session: session.clone(), turn, n: 6 });
        let outcome = Outcome::Done;
        records.extend(end.map(|at| Record::TurnEnded { session, turn, outcome, at }));
        records
    };
    store.put(vec![session("s", 1)]);
    store.put(turn(1, Some(10 * day)));
    store.put(turn(2, Some(11 * day)));
    store.put(turn(3, Some(12 * day)));
    store.put(turn(4, None));
    let state = store.state();
    let dir = store.dir;
    store.store.close().unwrap();
    let mut conn = rusqlite::Connection::open(state.database()).unwrap();
    let left = |conn: &rusqlite::Connection| -> Vec<(i64, i64)> {
        conn.prepare("SELECT turn, count(*) FROM journal GROUP BY turn ORDER BY turn")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    let mut trim = |now, limit| {
        writer::trim(&mut conn, now, limit).unwrap();
        left(&conn)
    };
    assert_eq!(trim(11 * day + 1, 1_000_000), [(2, 10), (3, 10), (4, 10)]);
    assert_eq!(trim(11 * day + 1, 25_000), [(3, 10), (4, 10)]);
    assert_eq!(trim(11 * day + 1, 9_000), [(4, 4)]);
    // What no row holds yet stays, whatever its size.
    assert_eq!(trim(99 * day, 0), [(4, 4)]);
    drop(dir);
}
