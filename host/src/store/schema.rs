//! The database file: its schema, its migrations, and how a connection to it is made.
//!
//! Invariant: a file with a newer schema is refused before anything is written to it.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::Error;
use super::error::{is_busy, is_damage};
use crate::state_dir::{StateDir, create_private_dir};

/// Each step lifts the schema by one. Steps that were released are never changed.
pub(super) const STEPS: &[&str] = &[
    "
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY, title TEXT, preview TEXT NOT NULL DEFAULT '',
        started_at INTEGER NOT NULL, active_at INTEGER NOT NULL,
        rows INTEGER NOT NULL DEFAULT 0, model TEXT NOT NULL DEFAULT '',
        source TEXT NOT NULL DEFAULT '', cwd TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID;
    CREATE INDEX sessions_active ON sessions (active_at);
    CREATE TABLE metas (session TEXT PRIMARY KEY, v INTEGER NOT NULL, meta TEXT NOT NULL);

    -- A text beyond 64 kB is not in `body` but in `chunks`; `long_…` is its length in bytes.
    CREATE TABLE rows (
        id INTEGER PRIMARY KEY, session TEXT NOT NULL, n INTEGER NOT NULL,
        turn INTEGER NOT NULL, at INTEGER NOT NULL, v INTEGER NOT NULL,
        long_text INTEGER NOT NULL DEFAULT 0, long_reasoning INTEGER NOT NULL DEFAULT 0,
        body TEXT NOT NULL, UNIQUE (session, n)
    );
    CREATE INDEX rows_turn ON rows (session, turn);
    CREATE TABLE chunks (
        row INTEGER NOT NULL, part INTEGER NOT NULL, seq INTEGER NOT NULL, text TEXT NOT NULL,
        UNIQUE (row, part, seq)
    );
    -- Exactly once: an event is in the transcript of at most one session, in one row.
    CREATE TABLE told (
        process TEXT NOT NULL, kind TEXT NOT NULL, ordinal INTEGER NOT NULL,
        session TEXT NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (process, kind, ordinal)
    ) WITHOUT ROWID;

    -- `folded`: journal entries up to here are in a row. `journal`: bytes journalled.
    CREATE TABLE turns (
        session TEXT NOT NULL, turn INTEGER NOT NULL, source TEXT NOT NULL,
        started_at INTEGER NOT NULL, outcome TEXT, ended_at INTEGER,
        folded INTEGER NOT NULL DEFAULT 0, journal INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (session, turn)
    ) WITHOUT ROWID;
    CREATE INDEX turns_open ON turns (session) WHERE ended_at IS NULL;
    CREATE INDEX turns_journal ON turns (ended_at, journal) WHERE journal > 0;
    CREATE TABLE journal (
        session TEXT NOT NULL, turn INTEGER NOT NULL, n INTEGER NOT NULL,
        part TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (session, turn, n)
    ) WITHOUT ROWID;

    CREATE TABLE queued (
        seq INTEGER PRIMARY KEY, session TEXT NOT NULL, id TEXT NOT NULL, v INTEGER NOT NULL,
        body TEXT NOT NULL, UNIQUE (session, id)
    );
    CREATE TABLE questions (
        seq INTEGER PRIMARY KEY, session TEXT NOT NULL, id TEXT NOT NULL, v INTEGER NOT NULL,
        body TEXT NOT NULL, UNIQUE (session, id)
    );
    CREATE TABLE processes (
        id TEXT PRIMARY KEY, session TEXT NOT NULL, live INTEGER NOT NULL,
        waiting INTEGER NOT NULL, started_at INTEGER NOT NULL, v INTEGER NOT NULL,
        body TEXT NOT NULL
    );
    CREATE INDEX processes_session ON processes (session, started_at);
    CREATE INDEX processes_live ON processes (session) WHERE live;
    CREATE TABLE ledger (
        process TEXT NOT NULL, kind TEXT NOT NULL, ordinal INTEGER NOT NULL,
        session TEXT NOT NULL, stage TEXT NOT NULL, turn INTEGER, reason TEXT,
        wakeup TEXT, row INTEGER, at INTEGER NOT NULL, PRIMARY KEY (process, kind, ordinal)
    ) WITHOUT ROWID;
    CREATE INDEX ledger_open ON ledger (session) WHERE stage NOT IN ('delivered', 'consumed');
    CREATE TRIGGER ledger_row BEFORE UPDATE ON ledger
        WHEN OLD.row IS NOT NULL AND NEW.row IS NOT OLD.row
        BEGIN SELECT RAISE(ABORT, 'the row of a ledger entry never changes'); END;
    CREATE TRIGGER ledger_stage BEFORE UPDATE ON ledger
        WHEN OLD.stage IN ('delivered', 'consumed') AND NEW.stage <> OLD.stage
        BEGIN SELECT RAISE(ABORT, 'a settled ledger entry never goes back'); END;
    CREATE TRIGGER ledger_owner BEFORE UPDATE ON ledger WHEN NEW.session <> OLD.session
        BEGIN SELECT RAISE(ABORT, 'the owner of a ledger entry never changes'); END;
    CREATE TABLE grants (rule TEXT PRIMARY KEY) WITHOUT ROWID;

    CREATE VIRTUAL TABLE words USING fts5
        (text, content = '', tokenize = 'unicode61 remove_diacritics 2');
    CREATE TABLE indexed (one INTEGER PRIMARY KEY CHECK (one = 1), row INTEGER NOT NULL);
    INSERT INTO indexed VALUES (1, 0);
",
    "
    ALTER TABLE sessions ADD COLUMN parent TEXT;
    ALTER TABLE sessions ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN compressions INTEGER NOT NULL DEFAULT 0;
    -- Automatic starts of an open turn without a new row since, and the last row at the last one.
    ALTER TABLE turns ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE turns ADD COLUMN resumed_row INTEGER NOT NULL DEFAULT 0;
    DROP INDEX ledger_open;
    CREATE INDEX ledger_open ON ledger (session)
        WHERE stage NOT IN ('delivered', 'consumed', 'stale', 'orphaned');
    DROP TRIGGER ledger_stage;
    CREATE TRIGGER ledger_stage BEFORE UPDATE ON ledger
        WHEN OLD.stage IN ('delivered', 'consumed', 'stale', 'orphaned')
            AND NEW.stage <> OLD.stage
        BEGIN SELECT RAISE(ABORT, 'a settled ledger entry never goes back'); END;
    -- Late words for a deleted session must not bring it back.
    CREATE TABLE deleted (session TEXT PRIMARY KEY) WITHOUT ROWID;
    -- Words of deleted rows can leave the index; it is filled again from the rows.
    DROP TABLE words;
    CREATE VIRTUAL TABLE words USING fts5 (text, content = '', contentless_delete = 1,
        tokenize = 'unicode61 remove_diacritics 2');
    UPDATE indexed SET row = 0;
",
    "
    ALTER TABLE sessions ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
    -- It goes on by itself, whether anything of it waits or not.
    ALTER TABLE sessions ADD COLUMN driven INTEGER NOT NULL DEFAULT 0;
    -- A row that was taken back tells nothing: what no model has answered is told in another one.
    DROP TRIGGER ledger_row;
    CREATE TRIGGER ledger_row BEFORE UPDATE ON ledger
        WHEN OLD.row IS NOT NULL AND NEW.row IS NOT OLD.row AND (NEW.row IS NOT NULL
            OR OLD.stage IN ('delivered', 'consumed', 'stale', 'orphaned'))
        BEGIN SELECT RAISE(ABORT, 'the row of a ledger entry never changes'); END;
",
    "
    -- What lists show of the metadata without reading it: JSON, null where nothing is known.
    ALTER TABLE sessions ADD COLUMN tokens TEXT;
    ALTER TABLE sessions ADD COLUMN toolsets TEXT;
",
    "
    -- Projects: drawers that sessions are filed in. Tables of their own; nothing else changes.
    CREATE TABLE projects (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, color TEXT, at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE placed (session TEXT PRIMARY KEY, project TEXT NOT NULL) WITHOUT ROWID;
",
];

/// The newest schema this program knows.
pub(super) const KNOWN: i64 = STEPS.len() as i64;

/// Tables that are worth saving from a damaged file. The search index is made anew.
pub(super) const TABLES: &[&str] = &[
    "sessions",
    "metas",
    "rows",
    "chunks",
    "told",
    "turns",
    "journal",
    "queued",
    "questions",
    "processes",
    "ledger",
    "grants",
    "deleted",
    "projects",
    "placed",
];

/// How long a connection waits for another process that writes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The WAL is cut back to this when it starts over, in bytes.
const WAL_KEPT: u32 = 8 << 20;

/// What came of an attempt to open the file for writing.
pub(super) enum Opened {
    /// It is sound. `Fresh` files still need their first fsync.
    Sound(Connection, Age),
    /// It is damaged, with the words of SQLite.
    Damaged(String),
}

/// Whether the file was there before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// It was made by this call.
    Fresh,
    /// It was there.
    Known,
}

/// Creates the state directory (0700) and opens the file (0600) for writing, at the current
/// schema.
pub(super) fn open(state: &StateDir) -> Result<Opened, Error> {
    create_private_dir(state).map_err(|e| Error::io(state, e))?;
    let path = state.database();
    // SQLite gives the WAL and the shared memory the mode of the file, so it is made here.
    fs::OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(|e| Error::io(&path, e))?;
    match open_in_turn(state, &path) {
        Err(Error::Sqlite(error)) if is_damage(&error) => Ok(Opened::Damaged(error.to_string())),
        Err(error) => Err(error),
        Ok((mut conn, age)) => {
            let damage = match look(&conn, state, age) {
                Ok(damage) => damage,
                Err(error) if is_damage(&error) => Some(error.to_string()),
                Err(error) => return Err(error.into()),
            };
            if let Some(damage) = damage {
                // Closing must not write to what is about to be set aside.
                conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
                return Ok(Opened::Damaged(damage));
            }
            conn.set_transaction_behavior(TransactionBehavior::Immediate);
            Ok(Opened::Sound(conn, age))
        }
    }
}

/// Opens the file and waits for other processes that do so: where one gives a fresh file its log,
/// or takes the log away, SQLite answers the others "busy" at once, whatever its timeout says.
fn open_in_turn(state: &StateDir, path: &Path) -> Result<(Connection, Age), Error> {
    let begun = Instant::now();
    loop {
        match open_file(state, path) {
            Err(Error::Sqlite(error)) if is_busy(&error) && begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

fn open_file(state: &StateDir, path: &Path) -> Result<(Connection, Age), Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(PATIENCE)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let found = version(&conn)?;
    newer(path, found)?;
    if conn.is_readonly("main")? {
        return Err(Error::ReadOnly { path: path.to_owned(), why: "it is read-only".into() });
    }
    let age = if found == 0 { Age::Fresh } else { Age::Known };
    // Nothing can be lost of a fresh file; the writer syncs it before its first commit.
    let sync = if age == Age::Fresh { "OFF" } else { "NORMAL" };
    let setup = format!(
        "PRAGMA synchronous = {sync};
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = {WAL_KEPT};
         PRAGMA foreign_keys = OFF;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;"
    );
    conn.execute_batch(&setup).map_err(|e| denied(state, e))?;
    let mode: String = conn
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(|e| denied(state, e))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let why = "SQLite cannot keep a write-ahead log there".into();
        return Err(Error::ReadOnly { path: state.to_path_buf(), why });
    }
    migrate(&mut conn, path, found).map_err(|e| match e {
        Error::Sqlite(e) => denied(state, e),
        other => other,
    })?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.set_prepared_statement_cache_capacity(64);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok((conn, age))
}

fn migrate(conn: &mut Connection, path: &Path, found: i64) -> Result<(), Error> {
    if found == KNOWN {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let found = version(&tx)?;
    newer(path, found)?;
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", KNOWN)?;
    tx.commit()?;
    Ok(())
}

/// An empty database in memory, at the current schema.
#[cfg(test)]
pub(super) fn open_in_memory() -> rusqlite::Result<Connection> {
    let conn = Connection::open_in_memory()?;
    for step in STEPS {
        conn.execute_batch(step)?;
    }
    conn.set_prepared_statement_cache_capacity(128);
    Ok(conn)
}

/// Opens the file for reading; `None` if there is none, or nothing in it yet.
pub(super) fn open_to_read(state: &StateDir) -> Result<Option<Connection>, Error> {
    let path = state.database();
    match fs::metadata(&path) {
        Ok(meta) if meta.len() == 0 && !state.database_with("-wal").exists() => return Ok(None),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::Io { path, source: e }),
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(&path, flags)?;
    conn.busy_timeout(PATIENCE)?;
    let found = match version(&conn) {
        // Where no shared memory can be made (a read-only directory) a file at rest can still be
        // read as it is.
        Err(rusqlite::Error::SqliteFailure(e, _))
            if matches!(
                e.code,
                rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly
            ) =>
        {
            conn = open_at_rest(&path)?;
            version(&conn)?
        }
        other => other?,
    };
    newer(&path, found)?;
    if found == 0 {
        return Ok(None);
    }
    if found < KNOWN {
        return Err(Error::Older { path, found, known: KNOWN });
    }
    conn.set_prepared_statement_cache_capacity(32);
    Ok(Some(conn))
}

/// Opens a file that nobody writes, without locks or shared memory.
fn open_at_rest(path: &Path) -> Result<Connection, Error> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(uri, "%{byte:02x}");
            }
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    Ok(Connection::open_with_flags(uri, flags)?)
}

fn version(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn newer(path: &Path, found: i64) -> Result<(), Error> {
    if found > KNOWN {
        return Err(Error::Newer { path: path.to_owned(), found, known: KNOWN });
    }
    Ok(())
}

/// Says what is read-only in words, whichever way SQLite notices.
fn denied(state: &StateDir, error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
    match super::error::code(&error) {
        Some(ReadOnly | CannotOpen | PermissionDenied) => {
            Error::ReadOnly { path: state.to_path_buf(), why: error.to_string() }
        }
        _ => Error::Sqlite(error),
    }
}

/// A look that costs next to nothing: every table's root, and that the file is not cut short.
/// All pages are read only if the last host that used the file stumbled over damage.
fn look(conn: &Connection, state: &StateDir, age: Age) -> rusqlite::Result<Option<String>> {
    if age == Age::Fresh {
        return Ok(None);
    }
    for table in TABLES.iter().chain(&["words", "indexed"]) {
        conn.prepare(&format!("SELECT * FROM {table} LIMIT 1"))?.exists([])?;
    }
    let logged = fs::metadata(state.database_with("-wal")).map_or(0, |m| m.len());
    if logged == 0 {
        let pages: u64 = conn.query_row("PRAGMA page_count", [], |r| r.get::<_, i64>(0))? as u64;
        let size: u64 = conn.query_row("PRAGMA page_size", [], |r| r.get::<_, i64>(0))? as u64;
        let len = fs::metadata(state.database()).map_or(u64::MAX, |m| m.len());
        if len < pages * size {
            return Ok(Some(format!("the file is cut short ({len} of {} bytes)", pages * size)));
        }
    }
    if state.suspect().exists() {
        let word: String = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
        if word != "ok" {
            return Ok(Some(word));
        }
        if let Err(error) = fs::remove_file(state.suspect()) {
            tracing::debug!("the mark of a damaged database stays: {error}");
        }
    }
    Ok(None)
}
