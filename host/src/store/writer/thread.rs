//! The thread that writes: one transaction for everything that waits (group commit). In its idle
//! time it fills the search index, trims the journal and checkpoints.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};

use super::super::apply::{Applied, apply};
use super::super::error::{is_damage, is_of_record};
use super::super::schema::Age;
use super::super::{Record, search};
use super::{Batch, Durability, Queue, Report, Shared};
use crate::clock::now;
use crate::state_dir::StateDir;

/// How long a batch that could not be written waits for its next try.
const RETRY: Duration = Duration::from_secs(1);
/// Quiet time before the search index is filled.
const QUIET: Duration = Duration::from_millis(100);
/// Quiet time before a checkpoint.
const IDLE: Duration = Duration::from_secs(1);
/// A write-ahead log beyond this is checkpointed without waiting for quiet, in bytes.
const WAL_LONG: u64 = 16 << 20;
/// How long the journal of an ended turn is kept for cursors, in milliseconds.
const JOURNAL_KEPT: i64 = 24 * 3600 * 1000;
/// All journals together, in bytes.
const JOURNAL_BYTES: i64 = 64 << 20;
/// Quiet time between two looks at the journal.
const TRIM_EVERY: Duration = Duration::from_hours(1);

/// What the thread does next.
enum Next {
    /// Write these.
    Batches(VecDeque<Batch>),
    /// Nothing came in the time given.
    Quiet,
    /// Write these, then end.
    End(VecDeque<Batch>),
}

/// What the thread owns.
struct Writer {
    shared: Arc<Shared>,
    state: StateDir,
    conn: Connection,
    /// The file itself has not been synced yet.
    fresh: bool,
    /// What the connection is set to, if known.
    durability: Option<Durability>,
    /// Batches that could not be written.
    kept: VecDeque<Batch>,
    /// Why not.
    failing: Option<String>,
    /// Rows may wait for the index.
    index: bool,
    /// The log may hold what the file does not.
    logged: bool,
    /// Length of the log at the last checkpoint that was made for it.
    checked: u64,
    /// When the journal was last looked at.
    trimmed: Option<Instant>,
}

/// Starts the thread on an open database.
pub(super) fn start(
    shared: Arc<Shared>,
    state: &StateDir,
    conn: Connection,
    age: Age,
) -> io::Result<()> {
    let logged = fs::metadata(state.database_with("-wal")).map_or(0, |m| m.len()) > 0;
    let writer = Writer {
        shared,
        state: state.clone(),
        conn,
        fresh: age == Age::Fresh,
        durability: None,
        kept: VecDeque::new(),
        failing: None,
        index: true,
        logged,
        checked: 0,
        trimmed: None,
    };
    std::thread::Builder::new()
        .name("store".into())
        .stack_size(512 * 1024)
        .spawn(move || writer.run())?;
    Ok(())
}

impl Writer {
    fn run(mut self) {
        // Whatever ends the thread, nobody waits for it in vain.
        let shared = Arc::clone(&self.shared);
        let guard = Ended(shared);
        let mut quiet = Duration::ZERO;
        loop {
            let wait = self.patience(quiet);
            match self.next(wait) {
                Next::Batches(batches) => {
                    quiet = Duration::ZERO;
                    self.take(batches);
                    self.checkpoint_long_log();
                }
                Next::Quiet => {
                    quiet += wait.unwrap_or_default();
                    self.idle(quiet);
                }
                Next::End(batches) => {
                    self.take(batches);
                    break;
                }
            }
        }
        self.finish();
        drop(guard);
    }

    /// How long to wait for batches before there is something else to do; `None` = for ever.
    fn patience(&self, quiet: Duration) -> Option<Duration> {
        if !self.kept.is_empty() {
            Some(RETRY)
        } else if self.index {
            Some(QUIET.saturating_sub(quiet))
        } else if self.logged || self.trimmed.is_none() {
            Some(IDLE.saturating_sub(quiet))
        } else {
            None
        }
    }

    fn next(&mut self, wait: Option<Duration>) -> Next {
        let idle = |queue: &mut Queue| queue.waiting.is_empty() && !queue.ending;
        let queue = self.shared.queue();
        #[cfg_attr(not(test), allow(unused_mut))]
        let mut queue = match wait {
            Some(wait) => {
                let waited = self.shared.work.wait_timeout_while(queue, wait, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                self.shared.work.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner)
            }
        };
        #[cfg(test)]
        for sql in std::mem::take(&mut queue.sql) {
            self.conn.execute_batch(&sql).expect("SQL of a test");
        }
        let batches = std::mem::take(&mut queue.waiting);
        if queue.ending {
            Next::End(batches)
        } else if batches.is_empty() {
            Next::Quiet
        } else {
            Next::Batches(batches)
        }
    }

    /// Writes what is kept and what is new, in order, in one transaction. While failing, the
    /// oldest batch goes first and alone, so that a full disk is not tried with everything.
    fn take(&mut self, batches: VecDeque<Batch>) {
        let new = batches.back().map(|batch| batch.no);
        self.kept.extend(batches);
        let Some(last) = self.kept.back().map(|batch| batch.no) else { return };
        let mut result = Ok(());
        if self.failing.is_some() {
            let first = self.kept.front().map(|batch| batch.no);
            result = self.commit(1);
            if let (Ok(()), Some(first)) = (&result, first.filter(|first| *first < last)) {
                self.shared.report(Report::Committed(first));
            }
        }
        if result.is_ok() && !self.kept.is_empty() {
            result = self.commit(self.kept.len());
        }
        match result {
            Ok(()) => {
                if self.failing.take().is_some() {
                    tracing::info!("the state database can be written again");
                    self.shared.report(Report::Recovered(last));
                }
                self.shared.report(Report::Committed(last));
            }
            Err(error) => {
                if is_damage(&error)
                    && let Err(error) = File::create(self.state.suspect())
                {
                    tracing::debug!("no mark of the damage can be made: {error}");
                }
                let message = error.to_string();
                let begins = self.failing.is_none();
                if begins {
                    tracing::error!("the state database cannot be written: {message}");
                }
                self.failing = Some(message.clone());
                if begins || new.is_some() {
                    self.shared.report(Report::Failing { upto: last, message });
                }
            }
        }
    }

    /// Commits the first `count` batches that are kept, and lets them go.
    fn commit(&mut self, count: usize) -> rusqlite::Result<()> {
        if self.fresh {
            self.sync_file();
        }
        let batches = self.kept.iter().take(count);
        let barrier = batches.clone().any(|batch| batch.durability == Durability::Barrier);
        self.sync(if barrier { Durability::Barrier } else { Durability::Flush })?;
        let batches = self.kept.iter().take(count);
        let mut tx = self.conn.transaction()?;
        let mut rows = false;
        let mut refused = 0;
        for record in batches.flat_map(|batch| &batch.records) {
            rows |= matches!(record, Record::Row { .. });
            match apply(&mut tx, record) {
                Ok(Applied::Done) => {}
                Ok(Applied::Known) => tracing::debug!("nothing new to store in a record"),
                Ok(Applied::Refused(why)) => {
                    refused += 1;
                    tracing::error!("a record was refused: {why}");
                }
                Err(error) if is_of_record(&error) && !tx.is_autocommit() => {
                    refused += 1;
                    tracing::error!("a record cannot be stored: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        tx.commit()?;
        self.kept.drain(..count);
        self.index |= rows;
        self.logged = true;
        self.shared.transactions.fetch_add(1, Ordering::Relaxed);
        self.shared.refused.fetch_add(refused, Ordering::Relaxed);
        Ok(())
    }

    /// A fresh file is made without waiting for the disk. It must be there before the first
    /// commit counts: SQLite drops the log of an empty file.
    fn sync_file(&mut self) {
        let synced = File::open(self.state.database())
            .and_then(|file| file.sync_all())
            .and_then(|()| File::open(&self.state)?.sync_all());
        match synced {
            Ok(()) => self.fresh = false,
            Err(error) => tracing::warn!("the new state database was not synced: {error}"),
        }
    }

    fn idle(&mut self, quiet: Duration) {
        if !self.kept.is_empty() {
            self.take(VecDeque::new());
            return;
        }
        if self.index {
            if quiet >= QUIET {
                // An index that cannot be filled now is filled after a later commit.
                let more = self.relax().and_then(|()| search::step(&mut self.conn));
                self.logged = true;
                self.index = more.unwrap_or_else(|error| {
                    tracing::debug!("the search index waits: {error}");
                    false
                });
            }
            return;
        }
        if quiet < IDLE {
            return;
        }
        if self.trimmed.is_none_or(|at| at.elapsed() > TRIM_EVERY) {
            self.trimmed = Some(Instant::now());
            match self.relax().and_then(|()| trim(&mut self.conn, now(), JOURNAL_BYTES)) {
                Ok(trimmed) => self.logged |= trimmed > 0,
                Err(error) => tracing::debug!("the journal was not trimmed: {error}"),
            }
        }
        if self.logged {
            self.logged = false;
            self.checkpoint("PASSIVE");
        }
    }

    /// Idle work needs no fsync of its own.
    fn relax(&mut self) -> rusqlite::Result<()> {
        self.sync(Durability::Flush)
    }

    fn sync(&mut self, durability: Durability) -> rusqlite::Result<()> {
        if self.durability != Some(durability) {
            let word = match durability {
                Durability::Barrier => "FULL",
                Durability::Flush => "NORMAL",
            };
            self.durability = None;
            self.conn.pragma_update(None, "synchronous", word)?;
            self.durability = Some(durability);
        }
        Ok(())
    }

    fn checkpoint_long_log(&mut self) {
        let len = fs::metadata(self.state.database_with("-wal")).map_or(0, |m| m.len());
        if len <= WAL_LONG {
            self.checked = 0;
        } else if len > self.checked + WAL_LONG / 4 {
            // A reader can keep the log from starting over: not again before it has grown.
            self.checked = len;
            self.checkpoint("PASSIVE");
        }
    }

    fn checkpoint(&mut self, mode: &str) {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        if let Err(error) = self.conn.query_row(&sql, [], |_| Ok(())) {
            tracing::debug!("no checkpoint: {error}");
        }
    }

    /// The end: the log is folded into the file, and whoever waits is told.
    fn finish(mut self) {
        if self.kept.is_empty() {
            // A reader that holds an old view is not waited for.
            if self.conn.busy_timeout(Duration::from_millis(100)).is_ok() {
                self.checkpoint("TRUNCATE");
            }
        }
        let unwritten = (self.kept.len(), self.failing.take().unwrap_or_default());
        drop(self.conn);
        self.shared.queue().ended = Some(unwritten);
    }
}

/// Wakes those who wait for the end, also after a panic.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.ending = true;
        if queue.ended.is_none() {
            let lost = queue.waiting.len().max(1);
            queue.ended = Some((lost, "the writer broke".into()));
        }
        self.0.ended.notify_all();
    }
}

/// Removes journals of turns that ended a day ago, then the oldest beyond `limit` bytes in total
/// (of running turns only what is in rows); gives the number of turns it touched.
pub(in crate::store) fn trim(conn: &mut Connection, now: i64, limit: i64) -> rusqlite::Result<u64> {
    let total = |conn: &Connection| -> rusqlite::Result<i64> {
        conn.query_row("SELECT total(journal) FROM turns WHERE journal > 0", [], |row| {
            Ok(row.get::<_, f64>(0)? as i64)
        })
    };
    let mut touched = 0;
    loop {
        // One turn a transaction, so that nobody waits long.
        let tx = conn.transaction()?;
        let over = total(&tx)? > limit;
        let oldest: Option<(String, i64, Option<i64>, i64)> = tx
            .prepare_cached(
                "SELECT session, turn, ended_at, folded FROM turns
                 WHERE journal > 0 AND (ended_at < ?1 OR (?2 AND (ended_at IS NOT NULL
                     OR EXISTS (SELECT 1 FROM journal WHERE journal.session = turns.session
                         AND journal.turn = turns.turn AND n <= folded))))
                 ORDER BY ended_at IS NULL, ended_at LIMIT 1",
            )?
            .query_row((now - JOURNAL_KEPT, over), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .optional()?;
        let Some((session, turn, ended_at, folded)) = oldest else { return Ok(touched) };
        let upto = if ended_at.is_some() { i64::MAX } else { folded };
        tx.execute(
            "DELETE FROM journal WHERE session = ? AND turn = ? AND n <= ?",
            (&session, turn, upto),
        )?;
        tx.execute(
            "UPDATE turns SET journal = coalesce((SELECT sum(octet_length(text)) FROM journal
                 WHERE session = ?1 AND turn = ?2), 0) WHERE session = ?1 AND turn = ?2",
            (&session, turn),
        )?;
        tx.commit()?;
        touched += 1;
    }
}
