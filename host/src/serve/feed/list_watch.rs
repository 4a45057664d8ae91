//! The changes of the session list, counted for the streams that report them. The host is watched
//! only while there are such streams.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::bump;
use crate::embedded::{Attendance, HostHandle};
use protocol::{Event, Target};

/// The counter of the list's changes.
#[derive(Debug)]
pub(super) struct ListWatch {
    host: HostHandle,
    /// How long the host is still watched after the last receiver left.
    linger: Duration,
    changes: watch::Sender<u64>,
    /// Whether a task watches the host.
    is_running: Mutex<bool>,
}

impl ListWatch {
    pub(super) fn new(host: HostHandle, linger: Duration) -> Arc<Self> {
        let changes = watch::Sender::new(0);
        Arc::new(Self { host, linger, changes, is_running: Mutex::new(false) })
    }

    /// Receives the counter, from now on.
    pub(super) fn subscribe(self: &Arc<Self>) -> watch::Receiver<u64> {
        let mut is_running = self.lock();
        let changes = self.changes.subscribe();
        if !*is_running {
            *is_running = true;
            tokio::spawn(run(self.clone()));
        }
        changes
    }

    /// Counts a change.
    pub(super) fn count(&self) {
        bump(&self.changes);
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts the changes that the host reports, as long as there are receivers.
async fn run(lists: Arc<ListWatch>) {
    // A view of a session that is never written to: events about all sessions reach it too.
    let mut view = lists.host.attach(Target::New, Attendance::Attended);
    loop {
        tokio::select! {
            event = view.next() => match event {
                Some(Event::SessionsChanged) => lists.count(),
                Some(_) => continue,
                None => {
                    // The next receiver starts another attempt.
                    *lists.lock() = false;
                    return;
                }
            },
            () = tokio::time::sleep(lists.linger) => {}
        }
        let mut is_running = lists.lock();
        if lists.changes.receiver_count() == 0 {
            *is_running = false;
            return;
        }
    }
}
