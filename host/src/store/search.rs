//! Full-text search: the index is filled behind the writer's back, in small transactions of its
//! own, and found text is shown from the rows themselves (the index holds words only).

use rusqlite::{Connection, params};

use super::apply::TEXT;
use super::value::LONG;
use super::{Error, Reader};
use protocol::{Body, Millis, SessionId};

/// Text taken into one transaction of the index, in bytes.
const STEP: usize = 256 * 1024;

/// Bytes of an excerpt, about.
const EXCERPT: usize = 160;

/// A row that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The session.
    pub session: SessionId,
    /// Its title, or the beginning of its first prompt.
    pub title: String,
    /// The number of the row.
    pub n: u64,
    /// When the row was written.
    pub at: Millis,
    /// The text around the first word that was found.
    pub excerpt: String,
}

/// Whether rows wait to be indexed.
fn is_behind(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row(
        "SELECT coalesce((SELECT max(id) FROM rows), 0) > (SELECT row FROM indexed)",
        [],
        |row| row.get(0),
    )
}

/// Indexes the next rows, in one transaction; says whether more wait.
pub(super) fn step(conn: &mut Connection) -> rusqlite::Result<bool> {
    if !is_behind(conn)? {
        return Ok(false);
    }
    let tx = conn.transaction()?;
    let mut done: i64 = tx.query_row("SELECT row FROM indexed", [], |row| row.get(0))?;
    let mut taken = 0;
    {
        let mut select = tx.prepare_cached(
            "SELECT id, long_text, body FROM rows WHERE id > ? ORDER BY id LIMIT 1000",
        )?;
        let mut insert = tx.prepare_cached("INSERT INTO words (rowid, text) VALUES (?, ?)")?;
        let mut rows = select.query([done])?;
        while taken < STEP
            && let Some(row) = rows.next()?
        {
            let id: i64 = row.get(0)?;
            let text = words(&tx, id, row.get(1)?, row.get_ref(2)?.as_str()?)?;
            taken += text.len().max(64);
            insert.execute(params![id, text])?;
            done = id;
        }
    }
    tx.execute("UPDATE indexed SET row = ?", [done])?;
    tx.commit()?;
    is_behind(conn)
}

/// What is indexed of a row: its text (of a huge one its ends) and the arguments of its calls.
fn words(tx: &Connection, id: i64, long: i64, body: &str) -> rusqlite::Result<String> {
    let mut text = if long > STEP as i64 {
        let count: i64 = tx.query_row(
            "SELECT count(*) FROM chunks WHERE row = ? AND part = ?",
            [id, TEXT],
            |row| row.get(0),
        )?;
        let ends = (LONG / (32 * 1024)) as i64;
        tx.prepare_cached(
            "SELECT text FROM chunks
             WHERE row = ?1 AND part = ?2 AND (seq < ?3 OR seq >= ?4) ORDER BY seq",
        )?
        .query_map([id, TEXT, ends, count - ends], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<String>>()?
    } else if long > 0 {
        tx.prepare_cached("SELECT text FROM chunks WHERE row = ? AND part = ? ORDER BY seq")?
            .query_map([id, TEXT], |row| row.get::<_, String>(0))?
            .collect::<rusqlite::Result<String>>()?
    } else {
        String::new()
    };
    // A body that cannot be read is the reader's to complain about.
    let Ok(body) = serde_json::from_str::<Body>(body) else { return Ok(text) };
    let row = protocol::Row { n: 0, turn: protocol::TurnId(0), at: 0, cut: 0, body };
    text.push_str(row.text());
    if let Body::Assistant(answer) = &row.body {
        for call in &answer.calls {
            let args = call.args.to_string();
            text.push('\n');
            text.push_str(args.get(..args.floor_char_boundary(LONG)).unwrap_or_default());
        }
    }
    Ok(text)
}

impl Reader {
    /// Rows that hold all words of `query` (the last one may be a beginning), best first.
    pub fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, Error> {
        let Some(conn) = self.conn() else { return Ok(Vec::new()) };
        let words: Vec<&str> = query.split_whitespace().collect();
        let Some(first) = words.first() else { return Ok(Vec::new()) };
        let quoted: Vec<String> =
            words.iter().map(|word| format!("\"{}\"", word.replace('"', "\"\""))).collect();
        let expression = format!("{}*", quoted.join(" "));
        let mut select = conn.prepare_cached(
            "SELECT rows.id, rows.session, rows.n, rows.at, rows.long_text, rows.body,
                 coalesce(sessions.title, sessions.preview, '')
             FROM words JOIN rows ON rows.id = words.rowid
                 LEFT JOIN sessions ON sessions.id = rows.session
             WHERE words MATCH ? ORDER BY words.rank, rows.id DESC LIMIT ?",
        )?;
        let mut rows = select.query(params![expression, limit as i64])?;
        let mut hits = Vec::new();
        while let Some(row) = rows.next()? {
            let text = self::words(
                conn,
                row.get(0)?,
                row.get(4)?,
                row.get_ref(5)?.as_str().unwrap_or(""),
            )?;
            hits.push(Hit {
                session: SessionId(row.get(1)?),
                title: row.get(6)?,
                n: row.get::<_, i64>(2)? as u64,
                at: row.get(3)?,
                excerpt: excerpt(&text, first),
            });
        }
        Ok(hits)
    }
}

/// The text around a word, in one line.
fn excerpt(text: &str, word: &str) -> String {
    // Byte offsets agree where lowering keeps lengths; elsewhere a near place does.
    let at =
        text.find(word).or_else(|| text.to_lowercase().find(&word.to_lowercase())).unwrap_or(0);
    let from = text.floor_char_boundary(at.saturating_sub(EXCERPT / 3));
    let to = text.ceil_char_boundary((from + EXCERPT).min(text.len()));
    let line: Vec<&str> = text.get(from..to).unwrap_or_default().split_whitespace().collect();
    let (before, after) = (if from > 0 { "…" } else { "" }, if to < text.len() { "…" } else { "" });
    format!("{before}{}{after}", line.join(" "))
}
