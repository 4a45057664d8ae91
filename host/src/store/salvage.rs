//! What is done with a damaged database: it is set aside, never deleted, and what can still be
//! read is copied into a fresh one. Not the detection of damage (`schema`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::schema::{self, Age, Opened, TABLES};
use super::{Error, Lock};
use crate::state_dir::StateDir;

/// Opens the store; sets a damaged one aside first. The notes are for the user.
pub(super) fn open(state: &StateDir) -> Result<(Connection, Age, Vec<String>), Error> {
    match schema::open(state)? {
        Opened::Sound(conn, age) => Ok((conn, age, Vec::new())),
        Opened::Damaged(_) => {
            // Two processes must not set each other's fresh file aside.
            let _lock = alone(state)?;
            match schema::open(state)? {
                Opened::Sound(conn, age) => Ok((conn, age, Vec::new())),
                Opened::Damaged(why) => replace(state, &why),
            }
        }
    }
}

fn alone(state: &StateDir) -> Result<Lock, Error> {
    let path = state.repair_lock();
    let mut tries = 0;
    loop {
        match Lock::take(&path) {
            Ok(lock) => return Ok(lock),
            Err(_) if tries < 100 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(busy) => {
                return Err(Error::Io { path, source: std::io::Error::other(busy.to_string()) });
            }
        }
    }
}

fn replace(state: &StateDir, why: &str) -> Result<(Connection, Age, Vec<String>), Error> {
    let aside = set_aside(state)?;
    let (mut conn, age) = match schema::open(state)? {
        Opened::Sound(conn, age) => (conn, age),
        Opened::Damaged(why) => {
            let source = std::io::Error::other(format!("a fresh database is damaged too: {why}"));
            return Err(Error::Io { path: state.database(), source });
        }
    };
    let mut notes = vec![format!(
        "The state database was damaged ({why}). It was set aside as {}.",
        aside.display()
    )];
    match copy(&aside, &mut conn) {
        Ok((sessions, rows)) => {
            notes.push(format!("What could be read was kept: {sessions} sessions, {rows} rows."));
        }
        Err(error) => notes.push(format!("Nothing of it could be read: {error}.")),
    }
    for note in &notes {
        tracing::error!("{note}");
    }
    Ok((conn, age, notes))
}

/// Moves the file, its WAL and its shared memory to the first free `…damaged-N`.
fn set_aside(state: &StateDir) -> Result<PathBuf, Error> {
    let mut n = 1;
    let aside = loop {
        let path = state.damaged(n);
        if !path.exists() {
            break path;
        }
        n += 1;
    };
    // The WAL first: a kill in between must not leave it beside a fresh file.
    for suffix in ["-wal", "-shm", ""] {
        let from = state.database_with(suffix);
        let mut to = aside.clone().into_os_string();
        to.push(suffix);
        match fs::rename(&from, &to) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&from, e));
            }
            _ => {}
        }
    }
    if let Err(e) = fs::remove_file(state.suspect())
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(Error::io(&state.suspect(), e));
    }
    Ok(aside)
}

/// Copies what can be read; gives the number of sessions and rows saved.
fn copy(aside: &Path, conn: &mut Connection) -> Result<(i64, i64), Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let old = Connection::open_with_flags(aside, flags)?;
    // A file that is shorter than it says is read only so; nothing is written to it.
    old.pragma_update(None, "writable_schema", "ON")?;
    // Without a readable list of tables nothing can be had.
    old.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let tx = conn.transaction()?;
    for table in TABLES {
        if let Err(error) = copy_table(&old, &tx, table) {
            tracing::warn!("{table} of the damaged database: {error}");
        }
    }
    // Sessions of which only rows are left, counts, and what was told already.
    tx.execute_batch(
        "INSERT INTO sessions (id, started_at, active_at)
             SELECT session, min(at), max(at) FROM rows
             WHERE session NOT IN (SELECT id FROM sessions) GROUP BY session;
         UPDATE sessions SET rows = (SELECT count(*) FROM rows WHERE rows.session = sessions.id);
         INSERT OR IGNORE INTO told (process, kind, ordinal, session, row)
             SELECT body ->> '$.process', body ->> '$.kind', body ->> '$.ordinal', session, n
             FROM rows WHERE json_valid(body) AND body ->> '$.type' = 'wakeup';",
    )?;
    let saved = tx.query_row("SELECT count(*), total(rows) FROM sessions", [], |row| {
        Ok((row.get(0)?, row.get::<_, f64>(1)? as i64))
    })?;
    tx.commit()?;
    Ok(saved)
}

/// Copies a table from its beginning, and where that breaks off, from its end.
fn copy_table(old: &Connection, new: &Connection, table: &str) -> rusqlite::Result<()> {
    let columns = columns(new, table)?;
    let known = self::columns(old, table)?;
    let columns: Vec<String> = columns.into_iter().filter(|c| known.contains(c)).collect();
    let key = key(old, table)?;
    let list = columns.join(", ");
    let marks = vec!["?"; columns.len()].join(", ");
    let mut insert =
        new.prepare(&format!("INSERT OR IGNORE INTO {table} ({list}) VALUES ({marks})"))?;
    let mut broken = None;
    for order in ["ASC", "DESC"] {
        let by: Vec<String> = key.iter().map(|column| format!("{column} {order}")).collect();
        let sql = format!("SELECT {list} FROM {table} NOT INDEXED ORDER BY {}", by.join(", "));
        let mut select = old.prepare(&sql)?;
        let mut rows = select.query([])?;
        broken = loop {
            match rows.next() {
                Ok(Some(row)) => {
                    let values: Result<Vec<Value>, _> =
                        (0..columns.len()).map(|i| row.get(i)).collect();
                    if let Ok(values) = values {
                        insert.execute(params_from_iter(values))?;
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if broken.is_none() {
            return Ok(());
        }
    }
    broken.map_or(Ok(()), Err)
}

fn columns(conn: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    conn.prepare("SELECT name FROM pragma_table_info(?)")?
        .query_map([table], |row| row.get(0))?
        .collect()
}

/// What orders the table's own tree: the primary key of a table without row ids, else the row id.
fn key(conn: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let bare: i64 =
        conn.query_row("SELECT wr FROM pragma_table_list(?)", [table], |row| row.get(0))?;
    if bare == 0 {
        return Ok(vec!["rowid".into()]);
    }
    conn.prepare("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk")?
        .query_map([table], |row| row.get(0))?
        .collect()
}
