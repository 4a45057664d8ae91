//! Kills, locks and other processes. The tests start this very binary again as a child that plays
//! one of the roles in [`child`].

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;

const ROLE: &str = "HERMES_TEST_STORE_ROLE";
const FOLDER: &str = "HERMES_TEST_STORE_FOLDER";

/// Not a test of its own: what a child does.
#[test]
fn child() {
    let (Ok(role), Ok(state)) = (std::env::var(ROLE), std::env::var(FOLDER)) else { return };
    let state = StateDir::new(state);
    match role.as_str() {
        "write" => write_until_killed(&state),
        "lock" => {
            let _lock = Lock::take(&state.host_lock()).unwrap();
            println!("\nheld");
            std::thread::sleep(BOUND);
        }
        "stranger" => stranger(&state),
        other => panic!("no role {other}"),
    }
}

struct Kid {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Kid {
    fn start(role: &str, state: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::crash::child", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(FOLDER, state)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that begins so, without the beginning.
    fn line(&mut self, begins: &str) -> Option<String> {
        self.lines.find_map(|line| line.ok()?.strip_prefix(begins).map(str::to_owned))
    }
}

impl Drop for Kid {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Batch `k` of three kinds in turn: a row, a delta, and a wakeup with all that belongs to it.
fn batch(k: u64) -> (Vec<Record>, Durability) {
    let n = k / 3 * 2;
    match k % 3 {
        0 => (vec![add("s", user(n + 1, &format!("batch {k}")))], Durability::Barrier),
        1 => {
            let text = format!("{k};");
            let (session, turn) = (id("s"), TurnId(1));
            (vec![Record::Delta { session, turn, n: k, part: Part::Text, text }], Durability::Flush)
        }
        _ => {
            let process = format!("proc_{k}");
            let event = wakeup(&process, WakeupKind::Exit, 0);
            let claimed = entry("s", &process, Stage::Claimed(TurnId(k)), Some(n + 2));
            let body = Body::Wakeup(event);
            let row = Row { n: n + 2, turn: TurnId(k), at: 1, cut: 0, body };
            (vec![Record::Ledger(claimed), add("s", row)], Durability::Barrier)
        }
    }
}

fn write_until_killed(state: &StateDir) {
    let (store, mut reports) = open(state);
    let mut next = store.reader().unwrap().sessions(1).unwrap().first().map_or(0, |row| {
        assert!(row.rows > 0);
        100_000
    });
    assert_eq!(next, 0, "each round has a folder of its own");
    loop {
        // A few batches ahead of the commits, as the host is.
        for _ in 0..4 {
            let (records, durability) = batch(next);
            store.write(records, durability);
            next += 1;
        }
        let mut seen = 0;
        while seen < next.saturating_sub(8) {
            let Report::Committed(no) = report(&mut reports) else { panic!("a write failed") };
            println!("\ncommitted {}", no.0);
            seen = no.0;
        }
    }
}

#[test]
fn what_was_reported_survives_a_kill() {
    // R07, R09, W16
    for round in 0..20 {
        let dir = TempDir::new().unwrap();
        let mut kid = Kid::start("write", dir.path());
        let enough = 1 + uuid::Uuid::new_v4().as_u128() % 300;
        let mut committed: u64 = 0;
        for _ in 0..enough {
            committed = kid.line("committed ").unwrap().parse().unwrap();
        }
        kid.child.kill().unwrap();
        while let Some(no) = kid.line("committed ") {
            // The last line may have been cut by the kill.
            committed = no.parse().unwrap_or(committed).max(committed);
        }
        drop(kid);

        let (store, _reports) = open(dir.path());
        assert_eq!(store.notes(), [""; 0], "round {round}");
        let reader = store.reader().unwrap();
        let loaded = reader.load(&id("s"), 1).unwrap().unwrap();
        let rows = reader.rows(&id("s")).unwrap();
        let journal = loaded.open.map(|open| open.text).unwrap_or_default();
        for k in 0..committed {
            for record in batch(k).0 {
                match record {
                    Record::Row { row, .. } => assert!(rows.contains(&row), "{row:?}"),
                    Record::Delta { text, .. } => assert!(journal.contains(&text), "{text}"),
                    Record::Ledger(entry) => assert!(loaded.ledger.contains(&entry), "{entry:?}"),
                    other => panic!("{other:?}"),
                }
            }
        }
        // All of a batch or nothing: each claim has its row and each wakeup its claim, once.
        let told: Vec<u64> =
            rows.iter().filter(|r| matches!(r.body, Body::Wakeup(_))).map(|r| r.n).collect();
        let mut claims: Vec<u64> = loaded.ledger.iter().filter_map(|e| e.row).collect();
        claims.sort_unstable();
        assert_eq!(told, claims);
        assert!(rows.iter().map(|r| r.n).eq(1..=rows.len() as u64));
        // What was not indexed before the kill is afterwards.
        if round == 0 {
            until("the index", || !reader.search("batch 0", 1).unwrap().is_empty());
        }
        store.close().unwrap();
        let conn = rusqlite::Connection::open(StateDir::new(dir.path()).database()).unwrap();
        let word: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(word, "ok");
    }
}

#[test]
fn a_lock_is_held_by_one_and_freed_by_a_kill() {
    let dir = TempDir::new().unwrap();
    let path = StateDir::new(dir.path()).host_lock();
    assert_eq!(Lock::holder(&path), None);
    let mut kid = Kid::start("lock", dir.path());
    kid.line("held").unwrap();
    let busy = Lock::take(&path).unwrap_err();
    assert_eq!(busy.pid, Some(kid.child.id()));
    assert_eq!(busy.to_string(), format!("process {} holds the lock", kid.child.id()));
    assert_eq!(Lock::holder(&path), Some(kid.child.id()));
    drop(kid);
    // Its name is still in the file, but nobody holds it.
    assert_eq!(Lock::holder(&path), None);
    let mut lock = Lock::take(&path).unwrap();
    assert_eq!(Lock::place(&path), None);
    // Long enough that the look for a name ends within it.
    let place = dir.path().join("é".repeat(60));
    lock.tell(&place);
    assert_eq!(Lock::take(&path).unwrap_err().pid, Some(std::process::id()));
    assert_eq!(Lock::holder(&path), Some(std::process::id()));
    assert_eq!(Lock::place(&path), Some(place));
    drop(lock);
    assert_eq!(Lock::place(&path), None);
    assert_eq!(Lock::holder(&path), None);
    drop(Lock::take(&dir.path().join("leases/20260101_000000_abcdef")).unwrap());
}

#[test]
fn a_lock_that_cannot_be_tried_says_why() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let busy = Lock::take(&dir.path().join("file/host.lock")).unwrap_err();
    assert!(busy.error.is_some());
    assert_eq!(busy.pid, None);
}

/// Somebody who may read the folder but not write it.
fn stranger(state: &StateDir) {
    if nix::unistd::geteuid().is_root() {
        nix::unistd::setgid(nix::unistd::Gid::from_raw(65_534)).unwrap();
        nix::unistd::setuid(nix::unistd::Uid::from_raw(65_534)).unwrap();
    }
    let (sender, _reports) = unbounded_channel();
    let error = Store::open(state, sender).unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error:?}");
    let reader = Reader::open(state).unwrap();
    assert_eq!(reader.rows(&id("s")).unwrap(), [user(1, "readable")]);
    let (sender, _reports) = unbounded_channel();
    let error = Store::open(&StateDir::new(state.join("below")), sender).unwrap_err();
    println!("\nrefused {error}");
}

#[test]
fn a_read_only_folder_is_named_and_can_be_read() {
    let mut store = TestStore::new();
    store.put(vec![session("s", 1), add("s", user(1, "readable"))]);
    let state = store.state();
    store.store.close().unwrap();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(store.dir.path(), 0o755);
    mode(&state.database(), 0o444);
    mode(&state, 0o555);
    let words = Kid::start("stranger", &state).line("refused ");
    mode(&state, 0o755);
    let words = words.expect("the stranger's own asserts hold");
    assert!(words.contains("cannot be written") && words.contains("below"), "{words}");
}
