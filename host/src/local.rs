//! The embedded host: the one loop that feeds the sessions and carries out their effects. It owns
//! every channel; decisions are the sessions'.

mod branch;
mod breaker;
mod delegations;
mod hub;
mod orphans;
pub(crate) mod outbox;
mod turns;
mod views;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};

pub use crate::session::Caller;

use crate::handle::{Backend, FrontId, Host, pair};
use crate::protocol::{Millis, Target};
use crate::settings::Settings;
use crate::store;

/// How long [`Local::end`] waits for the last commit.
const STOP: Duration = Duration::from_secs(5);

/// A running host. Front ends attach to it, any number of times; it goes on without them.
/// Dropping it ends the host as fast as a kill would, and as safely.
#[derive(Debug)]
pub struct Local {
    control: mpsc::UnboundedSender<Control>,
    signals: mpsc::UnboundedSender<(FrontId, crate::handle::Signal)>,
    fronts: AtomicU64,
    task: tokio::task::JoinHandle<()>,
    notes: Vec<String>,
}

/// What a host may do with its state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Owns wakeups, background processes and resumption: takes the host lock.
    Owner,
    /// A one-shot run: writes only the sessions it creates or leases, promises nothing in the
    /// background (W26), and runs beside an owner.
    OneShot,
}

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process owns the state directory (S07).
    #[error(
        "{} holds the state in {}. Use that one, or set HERMES_TUI_HOME to another folder to run a second host.",
        pid.map_or_else(|| "another process".to_owned(), |p| format!("process {p}")),
        state.display()
    )]
    Held {
        /// The state directory.
        state: PathBuf,
        /// The process that holds it, if it says.
        pid: Option<u32>,
    },
    /// The store could not be opened.
    #[error("{0}")]
    Store(#[from] store::Error),
    /// The state directory could not be made.
    #[error("cannot use the state directory {}: {error}", state.display())]
    State {
        /// The state directory.
        state: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

enum Control {
    Attach { front: FrontId, backend: Backend, target: Target, caller: Caller },
    Drain(oneshot::Sender<()>),
    Stop,
}

/// Starts a host on a state directory. Must be called inside a tokio runtime.
pub fn start(settings: Settings, role: Role) -> Result<Local, StartError> {
    let (control, controls) = mpsc::unbounded_channel();
    let (signals, signal_rx) = mpsc::unbounded_channel();
    let (hub, inbox) = hub::Hub::open(settings, role)?;
    let notes = hub.notes();
    let task = tokio::spawn(hub::run(hub, inbox, controls, signal_rx));
    Ok(Local { control, signals, fronts: AtomicU64::new(1), task, notes })
}

impl Local {
    /// A view on a session. If it cannot be opened the view starts on a new one and says why.
    pub fn attach(&self, target: Target, caller: Caller) -> Host {
        let front = FrontId(self.fronts.fetch_add(1, Ordering::Relaxed));
        let (host, backend) = pair(front, self.signals.clone());
        self.control.send(Control::Attach { front, backend, target, caller }).ok();
        host
    }

    /// What the user should know about the store: a damaged file that was set aside.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// From now on nothing starts. Returns when no turn works any more, or after
    /// [`crate::settings::Agent::drain`] (R05).
    pub async fn drain(&self) {
        let (done, drained) = oneshot::channel();
        self.control.send(Control::Drain(done)).ok();
        // A host that is gone has nothing to finish.
        let _ = drained.await;
    }

    /// Drains, then stops.
    pub async fn stop(self) {
        self.drain().await;
        self.end().await;
    }

    /// Stops at once: running turns are left open for the next host to go on with, background
    /// processes go on, everything is written, within 5 s.
    pub async fn end(mut self) {
        self.control.send(Control::Stop).ok();
        if tokio::time::timeout(STOP, &mut self.task).await.is_err() {
            tracing::warn!("the host did not stop in time");
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The host's clock.
pub(crate) fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as Millis)
}
