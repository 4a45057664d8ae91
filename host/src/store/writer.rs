//! The handle of the writer: it queues batches of records and never blocks. One thread behind it
//! (`thread`) writes them.
//!
//! Invariant: batches reach the database in the order of their numbers; one that cannot be written
//! stays in memory, before all later ones, and is tried again.

mod thread;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::{Error, Reader, Record, salvage};
use crate::state_dir::StateDir;
#[cfg(test)]
pub(super) use thread::trim;

/// How long an ending store waits for its thread.
const GRACE: Duration = Duration::from_secs(5);

/// The number of a batch, from 1 in the order of [`Store::write`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitNo(pub u64);

/// How durable a batch must be when it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the disk: survives a power failure.
    Barrier,
    /// Handed to the system: survives a kill of the host. Deltas only.
    Flush,
}

/// A report on batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// All batches up to this one are stored.
    Committed(CommitNo),
    /// The state cannot be written. Batches up to `upto` stay in memory, in order, and are tried
    /// again; reported when that begins and for every further batch.
    Failing {
        /// The last batch that waits.
        upto: CommitNo,
        /// Why, for the user.
        message: String,
    },
    /// It can be written again; all batches up to this one are stored. `Committed` of the same
    /// number follows.
    Recovered(CommitNo),
}

/// A handle of the store's writer. Clones share it; dropping the last one stores what waits (5 s
/// at most) and ends the thread.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: StateDir,
    notes: Vec<String>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something joined the queue, or the end was asked for.
    work: Condvar,
    /// The thread has ended.
    ended: Condvar,
    reports: UnboundedSender<Report>,
    transactions: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    /// The number of the last batch.
    last: u64,
    waiting: VecDeque<Batch>,
    ending: bool,
    /// Set when the thread has ended: what it could not write, and why.
    ended: Option<(usize, String)>,
    /// SQL for the writer's connection, so that tests can make it fail.
    #[cfg(test)]
    pub(super) sql: Vec<String>,
}

#[derive(Debug)]
struct Batch {
    no: CommitNo,
    records: Vec<Record>,
    durability: Durability,
}

impl Store {
    /// Opens the store of a state directory, creates both if need be (0700, 0600), and starts its
    /// writer. A damaged database is set aside and what can be read is kept (see [`Store::notes`]).
    /// Fails with [`Error::Newer`] or [`Error::ReadOnly`]; then nothing was touched.
    pub fn open(state: &StateDir, reports: UnboundedSender<Report>) -> Result<Self, Error> {
        let (conn, age, notes) = salvage::open(state)?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            reports,
            transactions: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        thread::start(Arc::clone(&shared), state, conn, age)
            .map_err(|source| Error::Io { path: state.to_path_buf(), source })?;
        Ok(Self { inner: Arc::new(Inner { state: state.clone(), notes, shared }) })
    }

    /// Hands over a batch: one transaction, or part of one. Never blocks and never fails; what
    /// becomes of it is reported under the number given back. After [`Store::close`] it is
    /// reported as failing and dropped.
    pub fn write(&self, records: Vec<Record>, durability: Durability) -> CommitNo {
        let shared = &self.inner.shared;
        let mut queue = shared.queue();
        queue.last += 1;
        let no = CommitNo(queue.last);
        if queue.ending {
            drop(queue);
            shared.report(Report::Failing { upto: no, message: "the store was closed".into() });
        } else {
            queue.waiting.push_back(Batch { no, records, durability });
            drop(queue);
            shared.work.notify_one();
        }
        no
    }

    /// A reader of what is stored.
    pub fn reader(&self) -> Result<Reader, Error> {
        Reader::open(&self.inner.state)
    }

    /// What the user should know about how the store was opened: damage, and what was saved.
    pub fn notes(&self) -> Vec<String> {
        self.inner.notes.clone()
    }

    /// How many transactions of batches were committed.
    pub fn transactions(&self) -> u64 {
        self.inner.shared.transactions.load(Ordering::Relaxed)
    }

    /// How many records were left out because they break a rule of the transcript or the ledger
    /// (each is logged). Anything but 0 is a defect of the host.
    pub fn refused(&self) -> u64 {
        self.inner.shared.refused.load(Ordering::Relaxed)
    }

    /// Stores what waits and ends the writer, also for all clones. Blocks for 5 s at most; fails
    /// with [`Error::Unwritten`].
    pub fn close(self) -> Result<(), Error> {
        self.inner.shared.end()
    }

    /// Runs SQL on the writer's connection before its next transaction.
    #[cfg(test)]
    pub(super) fn sql(&self, sql: &str) {
        self.inner.shared.queue().sql.push(sql.to_owned());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.shared.end() {
            tracing::error!("{error}");
        }
    }
}

impl Shared {
    /// The queue, also after a panic in the thread: it is consistent between statements.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, report: Report) {
        // There may be no receiver any more; only the records matter.
        let _ = self.reports.send(report);
    }

    fn end(&self) -> Result<(), Error> {
        let mut queue = self.queue();
        queue.ending = true;
        self.work.notify_one();
        let (queue, _) = self
            .ended
            .wait_timeout_while(queue, GRACE, |queue| queue.ended.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        match &queue.ended {
            Some((0, _)) => Ok(()),
            Some((batches, why)) => Err(Error::Unwritten { batches: *batches, why: why.clone() }),
            None => Err(Error::Unwritten {
                batches: queue.waiting.len(),
                why: "the disk does not answer".into(),
            }),
        }
    }
}
