//! A host in this process: one loop that feeds the sessions and performs their effects. It owns
//! every channel; the decisions are the sessions'.

mod attach;
mod background;
mod branch;
mod breaker;
mod commands;
mod delegations;
mod deletion;
mod effects;
mod handle;
mod host_loop;
mod inbox;
mod live_session;
mod loading;
mod models;
mod orphans;
pub(crate) mod outbox;
mod processes;
mod project_writes;
mod queries;
mod runs;
mod session_list;
mod sessions;
mod shutdown;
mod side_requests;
mod storage;
mod turns;
mod undo;
mod uploads;
mod views;
mod workspaces;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use crate::session::Attendance;
pub use handle::{HostHandle, OpenError};
pub(crate) use models::SessionDefault;
pub use runs::{Phase, Run, Runs, Work};

use crate::settings::Settings;
use crate::store;
use handle::Control;
use host_loop::HostLoop;
use protocol::{Target, View};
use shutdown::Ending;

/// How long [`EmbeddedHost::end`] waits for the last commit.
const STOP: Duration = Duration::from_secs(5);

/// A host that runs in this process. Any number of views attach to it and detach again; it keeps
/// running without them. Dropping it ends it as abruptly as a kill would, and as safely.
#[derive(Debug)]
pub struct EmbeddedHost {
    handle: HostHandle,
    task: JoinHandle<()>,
    notes: Vec<String>,
}

/// The rights of a host on its state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Owns wakeups, background processes and unfinished turns. Takes the host lock, so that there
    /// is one per state directory.
    Owner,
    /// A one-shot run beside an owner: writes only the sessions it creates or leases, and leaves
    /// everything in the background to the owner (W26).
    OneShot,
}

/// A host could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process owns the state directory (S07).
    #[error(
        "{} holds the state in {}. Use that one, or set HERMES_TUI_HOME to another directory to run a second host.",
        pid.map_or_else(|| "another process".to_owned(), |p| format!("process {p}")),
        state.display()
    )]
    Held {
        /// The state directory.
        state: PathBuf,
        /// The process that holds it, if known.
        pid: Option<u32>,
    },
    /// The store could not be opened.
    #[error("{0}")]
    Store(#[from] store::Error),
    /// The state directory could not be created.
    #[error("cannot use the state directory {}: {error}", state.display())]
    State {
        /// The state directory.
        state: PathBuf,
        /// The error of the file system.
        error: std::io::Error,
    },
}

/// Starts a host on the state directory of the settings. Must be called inside a tokio runtime.
pub fn start(settings: Settings, role: Role) -> Result<EmbeddedHost, StartError> {
    let (control_tx, controls) = mpsc::unbounded_channel();
    let (signal_tx, signals) = mpsc::unbounded_channel();
    let handle = HostHandle::new(control_tx, signal_tx, &settings.state);
    let (host, receivers) = HostLoop::open(settings, role)?;
    let notes = host.notes();
    let task = tokio::spawn(host_loop::run(host, receivers, controls, signals));
    Ok(EmbeddedHost { handle, task, notes })
}

impl EmbeddedHost {
    /// Attaches a view, as [`HostHandle::attach`].
    pub fn attach(&self, target: Target, attendance: Attendance) -> View {
        self.handle.attach(target, attendance)
    }

    /// A handle to this host, for servers and other clients.
    pub fn handle(&self) -> HostHandle {
        self.handle.clone()
    }

    /// Messages for the user about the state of the store, such as a damaged file that was set
    /// aside.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Counts what the host does now; `None` once it has stopped.
    pub async fn work(&self) -> Option<Work> {
        self.handle.work().await
    }

    /// Starts nothing from now on. Returns when no turn works any more, or after
    /// [`crate::settings::Agent::drain`] (R05).
    pub async fn drain(&self) {
        let (done, drained) = oneshot::channel();
        self.handle.send(Control::Drain(done));
        // A host that is gone has nothing to finish.
        let _ = drained.await;
    }

    /// Drains, then stops.
    pub async fn stop(self) {
        self.drain().await;
        self.end().await;
    }

    /// Interrupts all turns and kills all background processes, of all sessions, in the user's
    /// name. Nothing starts any more; [`EmbeddedHost::stop`] is to follow.
    pub fn interrupt_all(&self) {
        self.handle.send(Control::InterruptAll);
    }

    /// Stops at once, within 5 s: running turns are left for the next host to resume, background
    /// processes keep running, everything is written.
    pub async fn end(self) {
        self.end_with(Ending::Stop).await;
    }

    /// As [`EmbeddedHost::end`], for a host that follows at once: it resumes the turns whatever
    /// their age (P10).
    pub async fn hand_over(self) {
        self.end_with(Ending::HandOver).await;
    }

    async fn end_with(mut self, ending: Ending) {
        self.handle.send(Control::End(ending));
        if tokio::time::timeout(STOP, &mut self.task).await.is_err() {
            tracing::warn!("the host did not stop in time");
        }
    }
}

impl Drop for EmbeddedHost {
    fn drop(&mut self) {
        self.task.abort();
    }
}
