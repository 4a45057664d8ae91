//! One record into the open transaction. What the rules of the transcript and the ledger forbid is
//! refused here, record by record, so that a wrong record never holds up those behind it.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::value::{V, chunks, json, kind_word, part_word, source_word, split, stage_columns};
use super::{Entry, Error, Meta, Record, projects, value};
use protocol::{
    Body, Delivery, GoalState, Outcome, Part, Process, Question, Queued, Row, SessionId, TurnId,
    Wakeup,
};

/// Columns of `chunks.part`.
pub(super) const TEXT: i64 = 0;
/// See [`TEXT`].
pub(super) const REASONING: i64 = 1;

/// The result of applying a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// It was written.
    Done,
    /// It already was, says nothing new, or comes too late: its session is deleted.
    Known,
    /// It breaks a rule and was left out.
    Refused(String),
}

/// Applies one record.
pub(super) fn apply(tx: &mut Transaction<'_>, record: &Record) -> rusqlite::Result<Applied> {
    if let Some(session) = record.session()
        && is_deleted(tx, session)?
    {
        // A turn, an exit or an answer that was under way when its session was deleted (W19).
        return match record {
            Record::Process(process) => orphan(tx, process),
            _ => Ok(Applied::Known),
        };
    }
    match record {
        Record::Session(meta) => self::meta(tx, meta),
        Record::Row { session, row } => whole_row(tx, session, row),
        Record::TurnStarted { session, turn, source, at } => run(
            tx,
            "INSERT INTO turns (session, turn, source, started_at) VALUES (?, ?, ?, ?)
             ON CONFLICT DO UPDATE SET source = excluded.source,
                 started_at = excluded.started_at, outcome = NULL, ended_at = NULL",
            params![session.0, turn.0 as i64, source_word(*source), at],
        ),
        Record::TurnEnded { session, turn, outcome, at } => ended(tx, session, *turn, outcome, *at),
        Record::Delta { session, turn, n, part, text } => {
            delta(tx, session, *turn, *n, *part, text)
        }
        Record::Folded { session, turn, n } => run(
            tx,
            "UPDATE turns SET folded = max(folded, ?3) WHERE session = ?1 AND turn = ?2",
            params![session.0, turn.0 as i64, *n as i64],
        ),
        Record::Queued { session, prompt } => queued(tx, session, prompt),
        Record::Unqueued { session, prompt } => {
            run(tx, "DELETE FROM queued WHERE session = ? AND id = ?", params![session.0, prompt.0])
        }
        Record::Process(process) => self::process(tx, process),
        Record::Ledger(entry) => ledger(tx, entry),
        Record::Asked { session, question } => asked(tx, session, question),
        Record::Resolved { session, question } => run(
            tx,
            "DELETE FROM questions WHERE session = ? AND id = ?",
            params![session.0, question.0],
        ),
        Record::Resumed { session, turn, attempt, row } => run(
            tx,
            "UPDATE turns SET attempts = ?3, resumed_row = ?4 WHERE session = ?1 AND turn = ?2",
            params![session.0, turn.0 as i64, attempt, *row as i64],
        ),
        Record::Undone { session, after } => undone(tx, session, *after),
        Record::Branched { from, upto, meta } => branched(tx, from, *upto, meta),
        Record::Deleted { session } => deleted(tx, session),
        Record::Granted { rule } => run(tx, "INSERT OR IGNORE INTO grants VALUES (?)", [rule]),
        Record::Projects(project_change) => projects::filed(tx, project_change),
    }
}

/// Stores all of a row or nothing of it.
fn whole_row(
    tx: &mut Transaction<'_>,
    session: &SessionId,
    row: &Row,
) -> rusqlite::Result<Applied> {
    let point = tx.savepoint()?;
    let applied = self::row(&point, session, row)?;
    if applied == Applied::Done {
        point.commit()?;
    }
    Ok(applied)
}

pub(super) fn run(
    tx: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Applied> {
    let changed = tx.prepare_cached(sql)?.execute(params)?;
    Ok(if changed == 0 { Applied::Known } else { Applied::Done })
}

fn meta(tx: &Connection, meta: &Meta) -> rusqlite::Result<Applied> {
    run(
        tx,
        "INSERT INTO sessions (id, title, preview, started_at, active_at, model, source, cwd,
             parent, archived, compressions, pinned, driven, tokens, toolsets)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET title = excluded.title, preview = excluded.preview,
             started_at = excluded.started_at, active_at = max(active_at, excluded.active_at),
             model = excluded.model, source = excluded.source, cwd = excluded.cwd,
             parent = excluded.parent, archived = excluded.archived,
             compressions = excluded.compressions, pinned = excluded.pinned,
             driven = excluded.driven, tokens = excluded.tokens, toolsets = excluded.toolsets",
        params![
            meta.id.0,
            meta.title,
            meta.preview,
            meta.started_at,
            meta.active_at,
            meta.model,
            meta.source,
            meta.cwd,
            meta.parent.as_ref().map(|p| &p.0),
            meta.archived,
            meta.compressions,
            meta.pinned,
            meta.goal.as_ref().is_some_and(|goal| goal.state == GoalState::Active),
            (meta.tokens.requests > 0).then(|| json(&meta.tokens)).transpose()?,
            meta.toolsets.as_ref().map(json).transpose()?
        ],
    )?;
    run(
        tx,
        "INSERT INTO metas (session, v, meta) VALUES (?, ?, ?)
         ON CONFLICT DO UPDATE SET v = excluded.v, meta = excluded.meta",
        params![meta.id.0, V, json(meta)?],
    )
}

/// Copies rows into a new session. What they tell stays told by the original (W18).
fn branched(
    tx: &Connection,
    from: &SessionId,
    upto: u64,
    meta: &Meta,
) -> rusqlite::Result<Applied> {
    let exists =
        |id: &SessionId| tx.prepare_cached("SELECT 1 FROM sessions WHERE id = ?")?.exists([&id.0]);
    if exists(&meta.id)? || !exists(from)? {
        return Ok(Applied::Refused(format!("a copy of session {from} as session {}", meta.id)));
    }
    self::meta(tx, meta)?;
    let upto = upto as i64;
    run(
        tx,
        "INSERT INTO rows (session, n, turn, at, v, long_text, long_reasoning, body)
         SELECT ?1, n, turn, at, v, long_text, long_reasoning, body FROM rows
         WHERE session = ?2 AND n <= ?3 ORDER BY n",
        params![meta.id.0, from.0, upto],
    )?;
    run(
        tx,
        "INSERT INTO chunks (row, part, seq, text)
         SELECT copy.id, part, seq, text FROM rows AS original
         JOIN chunks ON chunks.row = original.id
         JOIN rows AS copy ON copy.session = ?1 AND copy.n = original.n
         WHERE original.session = ?2 AND original.n <= ?3",
        params![meta.id.0, from.0, upto],
    )?;
    run(
        tx,
        "UPDATE sessions SET rows = (SELECT count(*) FROM rows WHERE session = ?1) WHERE id = ?1",
        params![meta.id.0],
    )
}

/// Removes the last rows of a session. An event that no model has answered loses its row with
/// them; what was answered stays told for ever.
fn undone(tx: &Connection, session: &SessionId, after: u64) -> rusqlite::Result<Applied> {
    for sql in [
        "DELETE FROM told WHERE session = ?1 AND row > ?2 AND EXISTS (SELECT 1 FROM ledger
             WHERE ledger.process = told.process AND ledger.kind = told.kind
                 AND ledger.ordinal = told.ordinal
                 AND stage NOT IN ('delivered', 'consumed', 'stale', 'orphaned'))",
        "UPDATE ledger SET row = NULL WHERE session = ?1 AND row > ?2
             AND stage NOT IN ('delivered', 'consumed', 'stale', 'orphaned')",
        "DELETE FROM words WHERE rowid IN (SELECT id FROM rows WHERE session = ?1 AND n > ?2)",
        "DELETE FROM chunks WHERE row IN (SELECT id FROM rows WHERE session = ?1 AND n > ?2)",
    ] {
        run(tx, sql, params![session.0, after as i64])?;
    }
    let gone =
        run(tx, "DELETE FROM rows WHERE session = ? AND n > ?", params![session.0, after as i64])?;
    run(
        tx,
        "UPDATE sessions SET rows = (SELECT count(*) FROM rows WHERE session = ?1) WHERE id = ?1",
        [&session.0],
    )?;
    reindex(tx)?;
    Ok(gone)
}

/// The ids of rows that are gone are given to later ones, which must not count as indexed.
fn reindex(tx: &Connection) -> rusqlite::Result<Applied> {
    run(tx, "UPDATE indexed SET row = min(row, (SELECT coalesce(max(id), 0) FROM rows))", [])
}

/// Removes a session and remembers that it is gone. Its ledger and its live processes stay, as
/// orphans (W19).
fn deleted(tx: &Connection, session: &SessionId) -> rusqlite::Result<Applied> {
    // Who works on its tasks works for nobody any more. The mark comes first: it ends a circle.
    if run(tx, "INSERT OR IGNORE INTO deleted VALUES (?)", [&session.0])? == Applied::Known {
        return Ok(Applied::Known);
    }
    for worker in workers(tx, session)? {
        deleted(tx, &worker)?;
    }
    for sql in [
        "UPDATE ledger SET stage = 'orphaned' WHERE session = ?
             AND stage NOT IN ('delivered', 'consumed', 'stale', 'orphaned')",
        // A delegated task is the work of a session, which is deleted too.
        "DELETE FROM processes WHERE session = ? AND (NOT live OR (json_valid(body)
             AND json_extract(body, '$.work.is') = 'delegation'))",
        "UPDATE processes SET waiting = 0, body = CASE WHEN json_valid(body)
             THEN json_set(body, '$.delivery', json('{\"is\":\"orphaned\"}')) ELSE body END
             WHERE session = ?",
        "DELETE FROM words WHERE rowid IN (SELECT id FROM rows WHERE session = ?)",
        "DELETE FROM chunks WHERE row IN (SELECT id FROM rows WHERE session = ?)",
        "DELETE FROM rows WHERE session = ?",
        "DELETE FROM journal WHERE session = ?",
        "DELETE FROM turns WHERE session = ?",
        "DELETE FROM queued WHERE session = ?",
        "DELETE FROM questions WHERE session = ?",
        "DELETE FROM metas WHERE session = ?",
        "DELETE FROM placed WHERE session = ?",
    ] {
        run(tx, sql, [&session.0])?;
    }
    reindex(tx)?;
    run(tx, "DELETE FROM sessions WHERE id = ?", [&session.0])
}

/// Sessions that work on delegated tasks of that one.
pub(super) fn workers(conn: &Connection, parent: &SessionId) -> rusqlite::Result<Vec<SessionId>> {
    conn.prepare_cached(
        "SELECT session FROM metas JOIN sessions ON id = session
         WHERE parent = ?1 AND json_valid(meta) AND meta ->> '$.task.parent' = ?1",
    )?
    .query_map([&parent.0], |row| row.get(0).map(SessionId))?
    .collect()
}

fn is_deleted(tx: &Connection, session: &SessionId) -> rusqlite::Result<bool> {
    tx.prepare_cached("SELECT 1 FROM deleted WHERE session = ?")?.exists([&session.0])
}

/// A process of a deleted session: kept while it lives, so that it can be found and killed.
fn orphan(tx: &Connection, process: &Process) -> rusqlite::Result<Applied> {
    let (id, owner) = (&process.id.0, &process.session.0);
    if !process.is_live() {
        return run(tx, "DELETE FROM processes WHERE id = ? AND session = ?", [id, owner]);
    }
    let process = Process { delivery: Delivery::Orphaned, ..process.clone() };
    run(
        tx,
        "UPDATE processes SET v = ?3, body = ?4 WHERE id = ?1 AND session = ?2",
        params![id, owner, V, json(&process)?],
    )
}

fn row(tx: &Connection, session: &SessionId, row: &Row) -> rusqlite::Result<Applied> {
    let split = split(&row.body)?;
    let len = |text: Option<&str>| text.map_or(0, str::len) as i64;
    let inserted = run(
        tx,
        "INSERT INTO rows (session, n, turn, at, v, long_text, long_reasoning, body)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (session, n) DO NOTHING",
        params![
            session.0,
            row.n as i64,
            row.turn.0 as i64,
            row.at,
            V,
            len(split.text),
            len(split.reasoning),
            split.body
        ],
    )?;
    if inserted == Applied::Known {
        return match super::reader::row(tx, session, row.n) {
            Ok(Some(known)) if known == *row => Ok(Applied::Known),
            Err(Error::Sqlite(error)) => Err(error),
            Ok(_) | Err(_) => {
                Ok(Applied::Refused(format!("another row {} of session {session}", row.n)))
            }
        };
    }
    let id = tx.last_insert_rowid();
    if let Body::Wakeup(wakeup) = &row.body
        && let Some((session, n)) = told(tx, session, row.n, wakeup)?
    {
        return Ok(Applied::Refused(format!(
            "{} {} of process {} a second time: row {n} of session {session} tells it",
            kind_word(wakeup.kind),
            wakeup.ordinal,
            wakeup.process
        )));
    }
    let mut insert = tx.prepare_cached("INSERT INTO chunks VALUES (?, ?, ?, ?)")?;
    for (part, text) in [(TEXT, split.text), (REASONING, split.reasoning)] {
        for (seq, chunk) in (0_i64..).zip(chunks(text.unwrap_or_default())) {
            insert.execute(params![id, part, seq, chunk])?;
        }
    }
    run(
        tx,
        "INSERT INTO sessions (id, started_at, active_at, rows) VALUES (?1, ?2, ?2, 1)
         ON CONFLICT DO UPDATE SET rows = rows + 1, active_at = max(active_at, excluded.active_at)",
        params![session.0, row.at],
    )
}

/// Notes that a row tells of an event; gives the row that already did, if one has.
fn told(
    tx: &Connection,
    session: &SessionId,
    row: u64,
    wakeup: &Wakeup,
) -> rusqlite::Result<Option<(String, i64)>> {
    let (process, kind, ordinal) =
        (&wakeup.process.0, kind_word(wakeup.kind), wakeup.ordinal as i64);
    let noted = run(
        tx,
        "INSERT INTO told (process, kind, ordinal, session, row) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
        params![process, kind, ordinal, session.0, row as i64],
    )?;
    if noted == Applied::Done {
        return Ok(None);
    }
    tx.prepare_cached(
        "SELECT session, row FROM told WHERE process = ? AND kind = ? AND ordinal = ?",
    )?
    .query_row(params![process, kind, ordinal], |row| Ok((row.get(0)?, row.get(1)?)))
    .optional()
}

fn ended(
    tx: &Connection,
    session: &SessionId,
    turn: TurnId,
    outcome: &Outcome,
    at: i64,
) -> rusqlite::Result<Applied> {
    run(
        tx,
        "INSERT INTO turns (session, turn, source, started_at, outcome, ended_at)
         VALUES (?1, ?2, 'user', ?4, ?3, ?4)
         ON CONFLICT DO UPDATE SET outcome = excluded.outcome, ended_at = excluded.ended_at",
        params![session.0, turn.0 as i64, json(outcome)?, at],
    )
}

fn delta(
    tx: &Connection,
    session: &SessionId,
    turn: TurnId,
    n: u64,
    part: Part,
    text: &str,
) -> rusqlite::Result<Applied> {
    let added = run(
        tx,
        "INSERT INTO journal (session, turn, n, part, text) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
        params![session.0, turn.0 as i64, n as i64, part_word(part), text],
    )?;
    if added == Applied::Known {
        return Ok(Applied::Known);
    }
    run(
        tx,
        "INSERT INTO turns (session, turn, source, started_at, journal) VALUES (?, ?, 'user', 0, ?)
         ON CONFLICT DO UPDATE SET journal = journal + excluded.journal",
        params![session.0, turn.0 as i64, text.len() as i64],
    )
}

fn queued(tx: &Connection, session: &SessionId, prompt: &Queued) -> rusqlite::Result<Applied> {
    run(
        tx,
        "INSERT INTO queued (session, id, v, body) VALUES (?, ?, ?, ?)
         ON CONFLICT (session, id) DO UPDATE SET v = excluded.v, body = excluded.body",
        params![session.0, prompt.id.0, V, json(prompt)?],
    )
}

fn asked(tx: &Connection, session: &SessionId, question: &Question) -> rusqlite::Result<Applied> {
    run(
        tx,
        "INSERT INTO questions (session, id, v, body) VALUES (?, ?, ?, ?)
         ON CONFLICT (session, id) DO UPDATE SET v = excluded.v, body = excluded.body",
        params![session.0, question.id.0, V, json(question)?],
    )
}

fn process(tx: &Connection, process: &Process) -> rusqlite::Result<Applied> {
    let applied = run(
        tx,
        "INSERT INTO processes (id, session, live, waiting, started_at, v, body)
         VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET live = excluded.live, waiting = excluded.waiting,
             v = excluded.v, body = excluded.body
             WHERE session = excluded.session",
        params![
            process.id.0,
            process.session.0,
            process.is_live(),
            process.delivery.is_pending(),
            process.started_at,
            V,
            json(process)?
        ],
    )?;
    Ok(match applied {
        Applied::Known => Applied::Refused(format!(
            "process {} for session {}: another session owns it",
            process.id, process.session
        )),
        done => done,
    })
}

fn ledger(tx: &Connection, entry: &Entry) -> rusqlite::Result<Applied> {
    let (stage, turn, reason) = stage_columns(&entry.state);
    let (process, kind, ordinal) = (&entry.process.0, kind_word(entry.kind), entry.ordinal as i64);
    let row = entry.row.map(|row| row as i64);
    let known = tx
        .prepare_cached(
            "SELECT session, stage, row FROM ledger WHERE process = ? AND kind = ? AND ordinal = ?",
        )?
        .query_row(params![process, kind, ordinal], |r| {
            Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?, r.get::<_, Option<i64>>(2)?))
        })
        .optional()?;
    if let Some((owner, was, told)) = known {
        let what = || format!("{kind} {ordinal} of process {process}");
        if owner != entry.session.0 {
            return Ok(Applied::Refused(format!("{} belongs to session {owner}", what())));
        }
        if value::stage(&was, None, None).is_settled() && was != stage {
            return Ok(Applied::Refused(format!("{} is {was}, not {stage} again", what())));
        }
        if let (Some(told), Some(row)) = (told, row)
            && told != row
        {
            return Ok(Applied::Refused(format!("{} is in row {told}, not {row}", what())));
        }
    }
    let wakeup = entry.wakeup.as_ref().map(json).transpose()?;
    run(
        tx,
        "INSERT INTO ledger
             (process, kind, ordinal, session, stage, turn, reason, wakeup, row, at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET stage = excluded.stage, turn = excluded.turn,
             reason = excluded.reason, wakeup = coalesce(excluded.wakeup, wakeup),
             row = coalesce(row, excluded.row), at = excluded.at",
        params![
            process,
            kind,
            ordinal,
            entry.session.0,
            stage,
            turn,
            reason,
            wakeup,
            row,
            entry.at
        ],
    )
}
