//! What is under way: ledger rows that are not settled, processes that live or wait, and whom they
//! belong to. A value that cannot be read costs itself alone, and a line says so.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::reader::texts;
use super::value::{from_word, parse, stage};
use super::{Entry, Error, Meta, Reader, Stage, apply};
use protocol::{
    Delivery, Process, ProcessId, SessionId, State, TurnId, Wakeup, WakeupKind, Watching, Work,
};

/// Ledger rows that nothing will happen to any more.
const SETTLED: &str = "('delivered', 'consumed', 'stale', 'orphaned')";

/// Why wakeups of a session do not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The session.
    pub session: SessionId,
    /// The line its user reads.
    pub reason: String,
    /// Other credentials or another model are needed, or a successful turn (W20).
    pub paused: bool,
    /// Ledger rows of it that wait.
    pub waiting: u64,
}

/// What is under way in all sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Underway {
    /// Turns that have not ended.
    pub turns: u64,
    /// Prompts that wait for a turn to end.
    pub queued: u64,
    /// Questions that nobody has answered.
    pub questions: u64,
    /// Ends and matches that a host delivers by itself: no hold is on their session.
    pub due: u64,
}

/// Sessions whose wakeups wait for somebody: a hold or a pause of the session, or of one of them.
const HELD: &str = "SELECT id FROM sessions LEFT JOIN metas ON metas.session = id
    WHERE (json_valid(meta)
            AND (meta ->> '$.held' IS NOT NULL OR meta ->> '$.pause' IS NOT NULL))
        OR EXISTS (SELECT 1 FROM ledger WHERE ledger.session = id AND stage = 'held')";

impl Reader {
    /// What is under way.
    pub fn underway(&self) -> Result<Underway, Error> {
        let Some(conn) = self.conn() else { return Ok(Underway::default()) };
        let sql = format!(
            "SELECT (SELECT count(*) FROM turns WHERE ended_at IS NULL),
                 (SELECT count(*) FROM queued), (SELECT count(*) FROM questions),
                 (SELECT count(*) FROM ledger WHERE stage IN ('finished', 'claimed')
                     AND session NOT IN ({HELD}))"
        );
        let underway = conn.prepare_cached(&sql)?.query_row([], |row| {
            let count = |at| Ok::<_, rusqlite::Error>(row.get::<_, i64>(at)? as u64);
            let (turns, queued) = (count(0)?, count(1)?);
            Ok(Underway { turns, queued, questions: count(2)?, due: count(3)? })
        })?;
        Ok(underway)
    }

    /// Sessions that a host must look at when it starts: with an open turn, a waiting prompt, a
    /// ledger row that is not settled, a process that was alive, or a goal that is worked on.
    pub fn unsettled(&self) -> Result<Vec<SessionId>, Error> {
        self.owners("IN")
    }

    /// Owners of something unsettled that are no sessions any more, nor known as deleted: a
    /// damaged database lost them.
    pub fn lost_owners(&self) -> Result<Vec<SessionId>, Error> {
        let Some(conn) = self.conn() else { return Ok(Vec::new()) };
        let gone: BTreeSet<String> =
            texts(conn, "SELECT session FROM deleted", [])?.into_iter().collect();
        let mut lost = self.owners("NOT IN")?;
        lost.retain(|id| !gone.contains(&id.0));
        Ok(lost)
    }

    fn owners(&self, are: &str) -> Result<Vec<SessionId>, Error> {
        let Some(conn) = self.conn() else { return Ok(Vec::new()) };
        let sql = format!(
            "SELECT session FROM (
                 SELECT session FROM turns WHERE ended_at IS NULL
                 UNION SELECT session FROM queued
                 UNION SELECT session FROM ledger WHERE stage NOT IN {SETTLED}
                 UNION SELECT session FROM processes WHERE live
                 UNION SELECT id FROM sessions WHERE driven
             ) WHERE session {are} (SELECT id FROM sessions) ORDER BY session"
        );
        Ok(texts(conn, &sql, [])?.into_iter().map(SessionId).collect())
    }

    /// Processes that were alive when their session was deleted (W19).
    pub fn orphans(&self) -> Result<Vec<Process>, Error> {
        self.processes("live AND session NOT IN (SELECT id FROM sessions)")
    }

    /// Processes of all sessions that live or whose end waits to be told.
    pub fn pending_processes(&self) -> Result<Vec<Process>, Error> {
        self.processes("live OR waiting")
    }

    fn processes(&self, which: &str) -> Result<Vec<Process>, Error> {
        let Some(conn) = self.conn() else { return Ok(Vec::new()) };
        let sql = format!("SELECT {PROCESS} FROM processes WHERE {which} ORDER BY started_at, id");
        select_processes(conn, &sql, [], &mut Vec::new())
    }

    /// The ids of all processes that are known.
    pub fn process_ids(&self) -> Result<BTreeSet<ProcessId>, Error> {
        let Some(conn) = self.conn() else { return Ok(BTreeSet::new()) };
        Ok(texts(conn, "SELECT id FROM processes", [])?.into_iter().map(ProcessId).collect())
    }

    /// Sessions that another one has delegated tasks to.
    pub fn delegated(&self, parent: &SessionId) -> Result<Vec<SessionId>, Error> {
        let Some(conn) = self.conn() else { return Ok(Vec::new()) };
        Ok(apply::workers(conn, parent)?)
    }

    /// Sessions whose wakeups wait for somebody.
    pub fn held(&self) -> Result<Vec<Hold>, Error> {
        let Some(conn) = self.conn() else { return Ok(Vec::new()) };
        let mut select = conn.prepare_cached(&format!(
            "SELECT id, meta,
                 (SELECT count(*) FROM ledger WHERE ledger.session = id
                     AND stage IN ('held', 'finished')),
                 (SELECT max(coalesce(reason, '')) FROM ledger WHERE ledger.session = id
                     AND stage = 'held')
             FROM sessions LEFT JOIN metas ON metas.session = id
             WHERE id IN ({HELD}) ORDER BY active_at DESC"
        ))?;
        let mut rows = select.query([])?;
        let mut held = Vec::new();
        while let Some(row) = rows.next()? {
            let session = SessionId(row.get(0)?);
            let meta: Meta = row
                .get::<_, Option<String>>(1)?
                .and_then(|meta| serde_json::from_str(&meta).ok())
                .unwrap_or_default();
            let paused = meta.pause.is_some();
            let reason = meta.pause.map(|p| p.reason).or(meta.held).or(row.get(3)?);
            held.push(Hold {
                session,
                reason: reason.unwrap_or_default(),
                paused,
                waiting: row.get::<_, i64>(2)? as u64,
            });
        }
        Ok(held)
    }

    /// How many ledger rows are in each state, by its name.
    pub fn ledger_counts(&self) -> Result<BTreeMap<String, u64>, Error> {
        let Some(conn) = self.conn() else { return Ok(BTreeMap::new()) };
        let counts = conn
            .prepare_cached("SELECT stage, count(*) FROM ledger GROUP BY stage")?
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?
            .collect::<Result<_, _>>()?;
        Ok(counts)
    }

    /// What cannot be read of all that is under way, a line each.
    pub fn damage(&self) -> Result<Vec<String>, Error> {
        let Some(conn) = self.conn() else { return Ok(Vec::new()) };
        let mut lines = Vec::new();
        for session in self.unsettled()? {
            processes(conn, &session, &mut lines)?;
            entries(conn, &session, &mut lines)?;
        }
        Ok(lines)
    }
}

/// Columns of a process, in the order [`select_processes`] reads them; the last says whether its
/// end is to be told.
const PROCESS: &str = "body, id, session, live, started_at,
    EXISTS (SELECT 1 FROM ledger WHERE process = id AND kind = 'exit')";

/// A session's processes that are open, and the last ten others.
pub(super) fn processes(
    conn: &Connection,
    id: &SessionId,
    damage: &mut Vec<String>,
) -> Result<Vec<Process>, Error> {
    let sql = format!(
        "WITH open AS (
             SELECT id FROM processes WHERE session = ?1 AND (live OR waiting)
             UNION SELECT process FROM ledger WHERE session = ?1 AND stage NOT IN {SETTLED}
         ), others AS (
             SELECT id FROM processes WHERE session = ?1 AND id NOT IN (SELECT id FROM open)
             ORDER BY started_at DESC, id DESC LIMIT 10
         )
         SELECT {PROCESS} FROM processes WHERE session = ?1
             AND id IN (SELECT id FROM open UNION ALL SELECT id FROM others)
         ORDER BY started_at, id"
    );
    select_processes(conn, &sql, [&id.0], damage)
}

fn select_processes(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    damage: &mut Vec<String>,
) -> Result<Vec<Process>, Error> {
    let mut select = conn.prepare_cached(sql)?;
    let mut rows = select.query(params)?;
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        let body: String = row.get(0)?;
        let id: String = row.get(1)?;
        match parse(&body, &format!("process {id}")) {
            Ok(process) => list.push(process),
            Err(error) => {
                damage.push(format!("{error}. It goes on without its command line."));
                // Its end can still be told.
                list.push(Process {
                    id: ProcessId(id),
                    session: SessionId(row.get(2)?),
                    turn: TurnId(0),
                    work: Work::Command,
                    command: "(unreadable)".to_owned(),
                    cwd: String::new(),
                    pid: None,
                    started_at: row.get(4)?,
                    state: if row.get(3)? { State::Starting } else { State::Ended },
                    exit: None,
                    notify: row.get(5)?,
                    watch: Vec::new(),
                    watching: Watching::default(),
                    pty: false,
                    killed_by: None,
                    delivery: Delivery::Open,
                });
            }
        }
    }
    Ok(list)
}

/// A session's ledger rows that are not settled, in the order of their events.
pub(super) fn entries(
    conn: &Connection,
    id: &SessionId,
    damage: &mut Vec<String>,
) -> Result<Vec<Entry>, Error> {
    let mut select = conn.prepare_cached(&format!(
        "SELECT process, kind, ordinal, stage, turn, reason, wakeup, row, at FROM ledger
         WHERE session = ? AND stage NOT IN {SETTLED} ORDER BY at, process, kind, ordinal"
    ))?;
    let mut rows = select.query([&id.0])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let process = ProcessId(row.get(0)?);
        let (kind, word): (String, String) = (row.get(1)?, row.get(3)?);
        let ordinal = row.get::<_, i64>(2)? as u64;
        let told: Option<String> = row.get(6)?;
        let mut state = stage(&word, row.get(4)?, row.get(5)?);
        if let Stage::Held(reason) = &state
            && word != "held"
        {
            damage.push(format!("The {kind} of process {process}: {reason}."));
            if told.is_none() {
                // It has not happened yet: its process may still end and say so.
                state = Stage::Spawned;
            }
        }
        let Ok(kind) = from_word::<WakeupKind>(&kind, "a kind") else {
            // Nothing can be told of it; it stays where it is for a program that can.
            damage.push(format!(
                "An event of process {process} is of an unknown kind ({kind}); it is left alone. \
                 A newer hermes-tui may know it."
            ));
            continue;
        };
        let what = format!("what to tell of process {process}");
        let in_row: Option<i64> = row.get(7)?;
        let wakeup = match told.map(|json| parse(&json, &what)) {
            Some(Ok(wakeup)) => Some(wakeup),
            // It has not happened, or a row tells it already.
            None if state == Stage::Spawned || in_row.is_some() => None,
            unread => {
                if let Some(Err(error)) = unread {
                    damage.push(format!("{error}. The agent is told so."));
                }
                Some(unreadable(&process, kind, ordinal))
            }
        };
        entries.push(Entry {
            session: id.clone(),
            process,
            kind,
            ordinal,
            state,
            wakeup,
            row: in_row.map(|n| n as u64),
            at: row.get(8)?,
        });
    }
    Ok(entries)
}

/// What the agent is told where the wakeup itself is lost.
fn unreadable(process: &ProcessId, kind: WakeupKind, ordinal: u64) -> Wakeup {
    Wakeup {
        process: process.clone(),
        kind,
        ordinal,
        command: String::new(),
        exit: None,
        pattern: None,
        text: format!(
            "[IMPORTANT: Something happened to background process {process}, but the record of it \
             in the state database cannot be read. Look at it with the process tool.]"
        ),
    }
}
