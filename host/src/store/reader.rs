//! What was stored, read back. Each reader has a read-only connection of its own, so that it sees
//! whole transactions and never holds up the writer. Calls block: use a blocking task.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Params, params};

use super::apply::{REASONING, TEXT};
use super::value::{LONG, from_word, parse};
use super::{Error, Loaded, Meta, OpenTurn, backlog, schema};
use crate::state_dir::StateDir;
use protocol::{
    Body, Millis, Outcome, Part, Question, Queued, Row, SessionId, SessionRow, TurnId, keep_tail,
};

/// A read-only view of a store; a store that does not exist yet reads as an empty one.
#[derive(Debug)]
pub struct Reader {
    conn: Option<Connection>,
}

/// A turn as it was written down.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTurn {
    /// When it began.
    pub started_at: Millis,
    /// How it ended; `None` = it has not.
    pub outcome: Option<Outcome>,
    /// Its rows, whole, oldest first.
    pub rows: Vec<Row>,
}

/// The columns of a line of a list, in the order [`line()`] reads them.
const LINE: &str =
    "SELECT id, coalesce(title, preview), started_at, active_at, rows, model, source,
         cwd, parent, compressions, archived, pinned, tokens, toolsets
     FROM sessions";

/// Columns of a row, in the order [`assemble`] reads them.
const ROW: &str = "id, n, turn, at, long_text, long_reasoning, body";

/// How much of a long text is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    /// The last 64 kB of each.
    Tail,
}

/// The metadata of a session and the number of its rows.
fn meta(conn: &Connection, id: &SessionId) -> Result<Option<(Meta, u64)>, Error> {
    let known = conn
        .prepare_cached(
            "SELECT sessions.rows, active_at, started_at, meta FROM sessions
             LEFT JOIN metas ON session = id WHERE id = ?",
        )?
        .query_row([&id.0], |row| {
            let meta: Option<String> = row.get(3)?;
            Ok((row.get::<_, i64>(0)? as u64, row.get(1)?, row.get(2)?, meta))
        })
        .optional()?;
    let Some((count, active_at, started_at, meta)) = known else { return Ok(None) };
    let mut meta = match meta {
        Some(meta) => parse(&meta, &format!("the metadata of session {id}"))?,
        None => Meta { id: id.clone(), started_at, ..Meta::default() },
    };
    meta.active_at = active_at;
    Ok(Some((meta, count)))
}

fn line(row: &rusqlite::Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        id: SessionId(row.get(0)?),
        title: row.get(1)?,
        started_at: row.get(2)?,
        active_at: row.get(3)?,
        rows: row.get::<_, i64>(4)? as u64,
        model: row.get(5)?,
        source: row.get(6)?,
        cwd: row.get(7)?,
        parent: row.get::<_, Option<String>>(8)?.map(SessionId),
        compressions: row.get(9)?,
        archived: row.get(10)?,
        pinned: row.get(11)?,
        tokens: shown(row.get(12)?),
        toolsets: shown(row.get(13)?),
        ..SessionRow::default()
    })
}

/// A part of the metadata that lists show. One that cannot be read is not shown.
fn shown<T: serde::de::DeserializeOwned + Default>(json: Option<String>) -> T {
    json.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default()
}

impl Reader {
    /// Opens the store of a state directory, also beside a running host and where that is read-only.
    /// Fails with [`Error::Newer`] or [`Error::Older`] if its schema is not ours.
    pub fn open(state: &StateDir) -> Result<Self, Error> {
        Ok(Self { conn: schema::open_to_read(state)? })
    }

    /// A reader of that database.
    #[cfg(test)]
    pub(super) fn of(conn: Connection) -> Self {
        Self { conn: Some(conn) }
    }

    pub(super) fn conn(&self) -> Option<&Connection> {
        self.conn.as_ref()
    }

    /// The sessions written to last, newest first; no message is read for it.
    pub fn sessions(&self, limit: usize) -> Result<Vec<SessionRow>, Error> {
        let Some(conn) = &self.conn else { return Ok(Vec::new()) };
        let list = conn
            .prepare_cached(&format!("{LINE} ORDER BY active_at DESC, id DESC LIMIT ?"))?
            .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], line)?
            .collect::<Result<_, _>>()?;
        Ok(list)
    }

    /// What a list shows of this session; `None` = it is not stored.
    pub fn session(&self, id: &SessionId) -> Result<Option<SessionRow>, Error> {
        let Some(conn) = &self.conn else { return Ok(None) };
        let mut found = conn.prepare_cached(&format!("{LINE} WHERE id = ?"))?;
        Ok(found.query_row([&id.0], line).optional()?)
    }

    /// How many sessions there are.
    pub fn count(&self) -> Result<u64, Error> {
        let Some(conn) = &self.conn else { return Ok(0) };
        let count: i64 = conn
            .prepare_cached("SELECT count(*) FROM sessions")?
            .query_row([], |row| row.get(0))?;
        Ok(count as u64)
    }

    /// A session by its id, by the beginning of its id if only one begins so, or by the title that
    /// lists show for it (the newest of that title; one that was given goes first).
    pub fn find(&self, name: &str) -> Result<Option<SessionId>, Error> {
        let Some(conn) = &self.conn else { return Ok(None) };
        if name.is_empty() {
            return Ok(None);
        }
        let ids = texts(
            conn,
            "SELECT id FROM sessions WHERE substr(id, 1, length(?1)) = ?1
             ORDER BY id <> ?1 LIMIT 2",
            [name],
        )?;
        match ids.as_slice() {
            [only] => return Ok(Some(SessionId(only.clone()))),
            [exact, _] if exact == name => return Ok(Some(SessionId(exact.clone()))),
            _ => {}
        }
        let titled = texts(
            conn,
            "SELECT id FROM sessions WHERE coalesce(title, preview) = ?
             ORDER BY title IS NULL, active_at DESC, id DESC LIMIT 1",
            [name],
        )?;
        Ok(titled.into_iter().next().map(SessionId))
    }

    /// The session that was written to last, but none that was put away and none that works on a
    /// delegated task. One that `source` opened goes before all others.
    pub fn latest(&self, source: Option<&str>) -> Result<Option<SessionId>, Error> {
        let Some(conn) = &self.conn else { return Ok(None) };
        let sql = "SELECT id FROM sessions WHERE NOT archived AND (?1 IS NULL OR source = ?1)
                 AND NOT EXISTS (SELECT 1 FROM metas WHERE session = id AND json_valid(meta)
                     AND meta ->> '$.task' IS NOT NULL)
             ORDER BY active_at DESC, id DESC LIMIT 1";
        let of = |source| Ok::<_, Error>(texts(conn, sql, [source])?.into_iter().next());
        let found = match source {
            Some(_) => of(source)?,
            None => None,
        };
        Ok(found.map_or_else(|| of(None), |id| Ok(Some(id)))?.map(SessionId))
    }

    /// A session with its last `rows` rows, and only those are read (R08); of texts beyond 64 kB
    /// the tail ([`Row::cut`] counts the rest; long reasoning is cut alike). `None` if there is no
    /// such session.
    pub fn load(&self, id: &SessionId, rows: usize) -> Result<Option<Loaded>, Error> {
        let Some(conn) = &self.conn else { return Ok(None) };
        // One snapshot for all that follows.
        let tx = conn.unchecked_transaction()?;
        let Some((meta, count)) = meta(&tx, id)? else { return Ok(None) };
        let rows = before(&tx, id, u64::MAX, rows)?;
        let turns = tx.prepare_cached(
            "SELECT max(coalesce((SELECT max(turn) FROM turns WHERE session = ?1), 0),
                 coalesce((SELECT max(turn) FROM rows WHERE session = ?1), 0))",
        )?;
        let mut damage = Vec::new();
        let mut loaded = Loaded {
            meta,
            earlier: count.saturating_sub(rows.len() as u64),
            rows,
            turns: TurnId({ turns }.query_row([&id.0], |row| row.get::<_, i64>(0))? as u64),
            open: open_turn(&tx, id)?,
            queued: values::<Queued>(
                &tx,
                "SELECT body FROM queued WHERE session = ? ORDER BY seq",
                [&id.0],
                "a waiting prompt",
                &mut damage,
            )?,
            questions: values::<Question>(
                &tx,
                "SELECT body FROM questions WHERE session = ? ORDER BY seq",
                [&id.0],
                "a question",
                &mut damage,
            )?,
            processes: backlog::processes(&tx, id, &mut damage)?,
            ledger: backlog::entries(&tx, id, &mut damage)?,
            damage: Vec::new(),
        };
        loaded.damage = damage;
        tx.finish()?;
        Ok(Some(loaded))
    }

    /// Up to `limit` rows before row `before`, oldest first, and how many are older still. Long
    /// texts hold their tail, as in [`Reader::load`].
    pub fn page(
        &self,
        id: &SessionId,
        before: u64,
        limit: usize,
    ) -> Result<(Vec<Row>, u64), Error> {
        let Some(conn) = &self.conn else { return Ok((Vec::new(), 0)) };
        let tx = conn.unchecked_transaction()?;
        let rows = self::before(&tx, id, before, limit)?;
        let first = rows.first().map_or(before, |row| row.n);
        let earlier: i64 = tx
            .prepare_cached("SELECT count(*) FROM rows WHERE session = ? AND n < ?")?
            .query_row(params![id.0, number(first)], |row| row.get(0))?;
        tx.finish()?;
        Ok((rows, earlier as u64))
    }

    /// The last row of the turns before that one.
    pub fn last_row(&self, id: &SessionId, before: TurnId) -> Result<Option<u64>, Error> {
        let Some(conn) = &self.conn else { return Ok(None) };
        let last: Option<i64> = conn
            .prepare_cached("SELECT max(n) FROM rows WHERE session = ? AND turn < ?")?
            .query_row(params![id.0, number(before.0)], |row| row.get(0))?;
        Ok(last.map(|n| n as u64))
    }

    /// The last prompt up to that row, whole.
    pub fn last_prompt(&self, id: &SessionId, upto: u64) -> Result<Option<Row>, Error> {
        let Some(conn) = &self.conn else { return Ok(None) };
        let n: Option<i64> = conn
            .prepare_cached(
                "SELECT n FROM rows WHERE session = ? AND n <= ? AND json_valid(body)
                     AND body ->> '$.type' = 'user' ORDER BY n DESC LIMIT 1",
            )?
            .query_row(params![id.0, number(upto)], |row| row.get(0))
            .optional()?;
        n.map_or(Ok(None), |n| row(conn, id, n as u64))
    }

    /// A turn that was written down: when it began, how it ended if it has, and its rows, whole,
    /// oldest first. `None` if there is none of that number.
    pub fn turn(&self, id: &SessionId, turn: TurnId) -> Result<Option<StoredTurn>, Error> {
        let Some(conn) = &self.conn else { return Ok(None) };
        let tx = conn.unchecked_transaction()?;
        let known = tx
            .prepare_cached("SELECT started_at, outcome FROM turns WHERE session = ? AND turn = ?")?
            .query_row(params![id.0, number(turn.0)], |row| {
                Ok((row.get(0)?, row.get::<_, Option<String>>(1)?))
            })
            .optional()?;
        let Some((started_at, outcome)) = known else { return Ok(None) };
        let outcome = outcome.map(|text| parse(&text, "the end of a turn")).transpose()?;
        let rows = turn_rows(&tx, id, turn)?;
        tx.finish()?;
        Ok(Some(StoredTurn { started_at, outcome, rows }))
    }

    /// All rows of a session, whole, oldest first: what its model's context is made of.
    pub fn rows(&self, id: &SessionId) -> Result<Vec<Row>, Error> {
        let mut all = Vec::new();
        self.each_row(id, |row| {
            all.push(row);
            Ok::<_, Error>(())
        })?;
        Ok(all)
    }

    /// Gives all rows of a session, whole, oldest first, one at a time; an error of `f` ends it.
    pub fn each_row<E: From<Error>>(
        &self,
        id: &SessionId,
        mut f: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(conn) = &self.conn else { return Ok(()) };
        let sql = format!("SELECT {ROW} FROM rows WHERE session = ? ORDER BY n");
        let mut select = conn.prepare_cached(&sql).map_err(Error::from)?;
        let mut rows = select.query([&id.0]).map_err(Error::from)?;
        while let Some(row) = rows.next().map_err(Error::from)? {
            f(assemble(conn, id, row, Extent::Whole)?)?;
        }
        Ok(())
    }

    /// Rules that were granted for ever.
    pub fn granted(&self) -> Result<BTreeSet<String>, Error> {
        let Some(conn) = &self.conn else { return Ok(BTreeSet::new()) };
        Ok(texts(conn, "SELECT rule FROM grants", [])?.into_iter().collect())
    }
}

/// One row, whole.
pub(super) fn row(conn: &Connection, id: &SessionId, n: u64) -> Result<Option<Row>, Error> {
    let sql = format!("SELECT {ROW} FROM rows WHERE session = ? AND n = ?");
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query(params![id.0, number(n)])?;
    match rows.next()? {
        Some(row) => Ok(Some(assemble(conn, id, row, Extent::Whole)?)),
        None => Ok(None),
    }
}

/// The last `limit` rows before row `before`, oldest first, long texts cut.
fn before(conn: &Connection, id: &SessionId, before: u64, limit: usize) -> Result<Vec<Row>, Error> {
    let sql = format!("SELECT {ROW} FROM rows WHERE session = ? AND n < ? ORDER BY n DESC LIMIT ?");
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query(params![id.0, number(before), number(limit as u64)])?;
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        list.push(assemble(conn, id, row, Extent::Tail)?);
    }
    list.reverse();
    Ok(list)
}

/// A number as SQLite holds it; "without end" stays so.
fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn assemble(
    conn: &Connection,
    session: &SessionId,
    row: &rusqlite::Row<'_>,
    extent: Extent,
) -> Result<Row, Error> {
    let id: i64 = row.get(0)?;
    let n = row.get::<_, i64>(1)? as u64;
    let (long_text, long_reasoning): (i64, i64) = (row.get(4)?, row.get(5)?);
    let body = parse(
        row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?,
        &format!("row {n} of session {session}"),
    );
    let turn = TurnId(row.get::<_, i64>(2)? as u64);
    let at = row.get(3)?;
    let body = match body {
        Ok(body) => body,
        // It costs itself alone: the others are read, and what waits in the session is told.
        Err(error) => {
            let message = format!("{error}. It is left out.");
            return Ok(Row { n, turn, at, cut: 0, body: Body::Failure { message } });
        }
    };
    let mut row = Row { n, turn, at, cut: 0, body };
    if long_text > 0 {
        let text = long(conn, id, TEXT, long_text, extent)?;
        row.cut = (long_text as u64).saturating_sub(text.len() as u64);
        *row.text_mut() = text;
    }
    if let Body::Assistant(answer) = &mut row.body
        && long_reasoning > 0
    {
        answer.reasoning = long(conn, id, REASONING, long_reasoning, extent)?;
    }
    Ok(row)
}

/// A text from its chunks; of a tail only the chunks it lies in are read.
fn long(
    conn: &Connection,
    row: i64,
    part: i64,
    bytes: i64,
    extent: Extent,
) -> Result<String, Error> {
    match extent {
        Extent::Whole => {
            let mut text = String::with_capacity(bytes as usize);
            let mut select = conn.prepare_cached(
                "SELECT text FROM chunks WHERE row = ? AND part = ? ORDER BY seq",
            )?;
            let mut chunks = select.query([row, part])?;
            while let Some(chunk) = chunks.next()? {
                text.push_str(chunk.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?);
            }
            Ok(text)
        }
        Extent::Tail => {
            let mut last: Vec<String> = Vec::new();
            let mut select = conn.prepare_cached(
                "SELECT text FROM chunks WHERE row = ? AND part = ? ORDER BY seq DESC",
            )?;
            let mut chunks = select.query([row, part])?;
            while last.iter().map(String::len).sum::<usize>() < LONG
                && let Some(chunk) = chunks.next()?
            {
                last.push(chunk.get(0)?);
            }
            last.reverse();
            let mut text = last.concat();
            keep_tail(&mut text, LONG);
            Ok(text)
        }
    }
}

fn open_turn(conn: &Connection, id: &SessionId) -> Result<Option<OpenTurn>, Error> {
    let open = conn
        .prepare_cached(
            "SELECT turn, source, started_at, folded, attempts, resumed_row FROM turns
             WHERE session = ? AND ended_at IS NULL ORDER BY turn DESC LIMIT 1",
        )?
        .query_row([&id.0], |row| {
            let source: String = row.get(1)?;
            let folded: i64 = row.get(3)?;
            let resumed: i64 = row.get(5)?;
            Ok((row.get::<_, i64>(0)?, source, row.get(2)?, folded, row.get(4)?, resumed))
        })
        .optional()?;
    let Some((turn, source, started_at, folded, attempts, resumed)) = open else { return Ok(None) };
    let mut open = OpenTurn {
        turn: TurnId(turn as u64),
        source: from_word(&source, "the source of a turn")?,
        started_at,
        n: folded as u64,
        text: String::new(),
        reasoning: String::new(),
        rows: Vec::new(),
        attempts,
        resumed_row: resumed as u64,
    };
    let mut select = conn.prepare_cached(
        "SELECT n, part, text FROM journal WHERE session = ? AND turn = ? AND n > ? ORDER BY n",
    )?;
    let mut entries = select.query(params![id.0, turn, folded])?;
    while let Some(entry) = entries.next()? {
        open.n = entry.get::<_, i64>(0)? as u64;
        let part: String = entry.get(1)?;
        let text = entry.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        match from_word(&part, "a journal entry")? {
            Part::Text => open.text.push_str(text),
            Part::Reasoning => open.reasoning.push_str(text),
        }
    }
    open.rows = turn_rows(conn, id, open.turn)?;
    Ok(Some(open))
}

/// The rows of a turn, whole, oldest first.
fn turn_rows(conn: &Connection, id: &SessionId, turn: TurnId) -> Result<Vec<Row>, Error> {
    let sql = format!("SELECT {ROW} FROM rows WHERE session = ? AND turn = ? ORDER BY n");
    let mut select = conn.prepare_cached(&sql)?;
    let mut rows = select.query(params![id.0, number(turn.0)])?;
    let mut list = Vec::new();
    while let Some(row) = rows.next()? {
        list.push(assemble(conn, id, row, Extent::Whole)?);
    }
    Ok(list)
}

pub(super) fn texts(
    conn: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<String>, Error> {
    let list = conn
        .prepare_cached(sql)?
        .query_map(params, |row| row.get(0))?
        .collect::<Result<_, rusqlite::Error>>()?;
    Ok(list)
}

/// Values from JSON; one that cannot be read is left out and named.
fn values<T: serde::de::DeserializeOwned>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    what: &str,
    damage: &mut Vec<String>,
) -> Result<Vec<T>, Error> {
    let mut list = Vec::new();
    for body in texts(conn, sql, params)? {
        match parse(&body, what) {
            Ok(value) => list.push(value),
            Err(error) => damage.push(format!("{error}. It is left out.")),
        }
    }
    Ok(list)
}
