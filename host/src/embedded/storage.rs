//! The store as the loop uses it: numbered writes, reads, whether the state can be written, and
//! when the journal is flushed. What waits for a commit is in the sessions' outboxes.

use std::path::Path;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::host_loop::HostLoop;
use super::project_writes::{ProjectWrites, Written};
use crate::session::Input;
use crate::store::{self, CommitNo, Durability, ProjectChange, Reader, Record, Report, Store};
use protocol::Storage;

/// Streamed text waits at most this long for its place in the journal (R07).
const FLUSH: Duration = Duration::from_millis(250);

/// The store of a host.
pub(super) struct HostStore {
    store: Store,
    pub(super) reader: Reader,
    /// Whether the last writes reached the disk, as the store reported it.
    state: Storage,
    flush_at: Option<Instant>,
    project_writes: ProjectWrites,
}

impl HostStore {
    /// Opens the store in a state directory; `reports` gets the result of every write.
    pub(super) fn open(
        state: &Path,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Result<Self, store::Error> {
        let store = Store::open(state, reports)?;
        Ok(Self {
            reader: store.reader()?,
            store,
            state: Storage::Ok,
            flush_at: None,
            project_writes: ProjectWrites::default(),
        })
    }

    /// Messages for the user about what opening has found.
    pub(super) fn notes(&self) -> Vec<String> {
        self.store.notes()
    }

    /// A handle for readers beside the loop.
    pub(super) fn handle(&self) -> Store {
        self.store.clone()
    }

    /// Writes records in one commit.
    pub(super) fn write(&self, records: Vec<Record>) -> CommitNo {
        self.store.write(records, Durability::Barrier)
    }

    /// Stores a change of projects; `stored` gets the result of its commit.
    fn write_project(&mut self, change: ProjectChange, stored: oneshot::Sender<Written>) {
        let no = self.write(vec![Record::Projects(change)]);
        self.project_writes.push(no, stored);
    }

    /// Whether the state can be written, for the user.
    pub(super) fn state(&self) -> &Storage {
        &self.state
    }

    /// Whether everything up to the last report is stored.
    pub(super) fn is_ok(&self) -> bool {
        self.state == Storage::Ok
    }

    /// Why the state cannot be written, if so.
    pub(super) fn failure(&self) -> Option<&str> {
        match &self.state {
            Storage::Ok => None,
            Storage::Failing(message) => Some(message),
        }
    }

    /// Returns whether the state has changed.
    fn set_state(&mut self, state: Storage) -> bool {
        let changed = self.state != state;
        self.state = state;
        changed
    }

    /// When the journals are to be written; `None` = nothing waits in them.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        self.flush_at
    }

    /// Schedules a write of the journals.
    pub(super) fn schedule_flush(&mut self) {
        self.flush_at.get_or_insert(Instant::now() + FLUSH);
    }

    /// Writes journal entries: they need not survive a power cut.
    fn flush(&mut self, records: Vec<Record>) {
        self.flush_at = None;
        if !records.is_empty() {
            self.store.write(records, Durability::Flush);
        }
    }

    /// Waits for the store's thread to end.
    pub(super) fn close(&self) -> Result<(), store::Error> {
        self.store.clone().close()
    }
}

impl HostLoop {
    /// Stores a change of projects; `stored` gets the result of its commit.
    pub(super) fn change_project(
        &mut self,
        change: ProjectChange,
        stored: oneshot::Sender<Written>,
    ) {
        self.store.write_project(change, stored);
    }

    /// Handles the result of writes: releases the effects that rest on them.
    pub(super) fn handle_store_report(&mut self, report: Report) {
        match report {
            Report::Committed(no) => {
                self.store.project_writes.settle(no, &Ok(()));
                self.release(no);
            }
            Report::Failing { upto, message } => {
                self.store.project_writes.settle(upto, &Err(message.clone()));
                self.set_storage(Storage::Failing(message));
                self.release_unstored(upto);
            }
            Report::Recovered(no) => {
                self.release_recovered(no);
                self.set_storage(Storage::Ok);
            }
        }
    }

    fn set_storage(&mut self, storage: Storage) {
        if !self.store.set_state(storage.clone()) {
            return;
        }
        for id in self.sessions.ids() {
            self.feed(&id, Input::Storage(storage.clone()));
            self.unload_if_unused(&id);
        }
    }

    /// Writes the journal entries of all sessions.
    pub(super) fn flush(&mut self) {
        let journals = self.sessions.iter_mut().map(|(_, live)| live.outbox.take_journal());
        let records = journals.flatten().collect();
        self.store.flush(records);
    }
}
