//! The embedded host: the one loop that feeds the sessions and carries out their effects. It owns
//! every channel; decisions are the sessions'.

mod branch;
mod breaker;
mod defaults;
mod delegations;
mod fingerprint;
mod host_loop;
mod inbox;
mod lists;
mod orphans;
pub(crate) mod outbox;
mod project_writes;
mod queries;
mod runs;
mod turns;
mod undo;
mod uploads;
mod view_table;
mod views;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use crate::session::Attendance;
pub use runs::{Phase, Run, Runs};

use crate::settings::Settings;
use crate::state_dir::StateDir;
use crate::store::{self, ProjectChange};
use protocol::{SessionId, Target, View, ViewId, ViewSink, pair};

/// How long [`EmbeddedHost::end`] waits for the last commit.
const STOP: Duration = Duration::from_secs(5);

/// A way to a running host that can be passed on: it gives views and nothing else. A host that is
/// gone shows as the end of every view.
#[derive(Clone, Debug)]
pub struct HostHandle {
    control: mpsc::UnboundedSender<Control>,
    signals: mpsc::UnboundedSender<(ViewId, protocol::Signal)>,
    fronts: Arc<AtomicU64>,
    state: StateDir,
    label: Arc<str>,
}

/// A running host. Front ends attach to it, any number of times; it goes on without them.
/// Dropping it ends the host as fast as a kill would, and as safely.
#[derive(Debug)]
pub struct EmbeddedHost {
    access: HostHandle,
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
        state: StateDir,
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
        state: StateDir,
        /// Why.
        error: std::io::Error,
    },
}

#[derive(Debug)]
enum Control {
    Attach {
        front: ViewId,
        backend: ViewSink,
        target: Target,
        attendance: Attendance,
        label: Arc<str>,
    },
    /// As `Attach`, but only to that session; says why it cannot be opened.
    Open {
        front: ViewId,
        backend: ViewSink,
        session: SessionId,
        attendance: Attendance,
        label: Arc<str>,
        opened: oneshot::Sender<Result<(), String>>,
    },
    Drain(oneshot::Sender<()>),
    /// Interrupt all turns and end all background processes.
    InterruptAll,
    Look(oneshot::Sender<Work>),
    Runs(oneshot::Sender<Runs>),
    /// New sessions begin so from now on; says why not.
    SetDefault(SessionDefault, oneshot::Sender<Result<(), String>>),
    /// Write something about projects; says whether it is written.
    File(ProjectChange, oneshot::Sender<Result<(), String>>),
    Stop,
    HandOver,
}

/// What a host has to do, over all its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Turns that run, those that wait for an answer among them.
    pub turns: usize,
    /// Background commands and delegated tasks that run.
    pub processes: usize,
    /// Sessions in which something starts by itself later: a wakeup that is tried again.
    pub timers: usize,
    /// Views.
    pub fronts: usize,
}

impl Work {
    /// Whether a turn or a process runs.
    pub fn runs(&self) -> bool {
        self.turns + self.processes > 0
    }
}

/// How new sessions begin, as long as the host lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionDefault {
    /// With this model.
    Model(String),
    /// With this effort of reasoning; `None` = the model's own.
    Reasoning(Option<String>),
}

/// Starts a host on a state directory. Must be called inside a tokio runtime.
pub fn start(settings: Settings, role: Role) -> Result<EmbeddedHost, StartError> {
    let (control, controls) = mpsc::unbounded_channel();
    let (signals, signal_rx) = mpsc::unbounded_channel();
    let state = settings.state.clone();
    let (hub, inbox) = host_loop::HostLoop::open(settings, role)?;
    let notes = hub.notes();
    let task = tokio::spawn(host_loop::run(hub, inbox, controls, signal_rx));
    let access = HostHandle {
        control,
        signals,
        fronts: Arc::new(AtomicU64::new(1)),
        state,
        label: view_table::TERMINAL.into(),
    };
    Ok(EmbeddedHost { access, task, notes })
}

impl HostHandle {
    /// The same way for front ends of another kind, such as `browser`: others read who answered a
    /// question (C07).
    #[must_use]
    pub fn labelled(&self, label: &str) -> Self {
        Self { label: label.into(), ..self.clone() }
    }

    /// A view on a session. If it cannot be opened the view starts on a new one and says why.
    pub fn attach(&self, target: Target, attendance: Attendance) -> View {
        let (front, host, backend) = self.front();
        let label = self.label.clone();
        self.control.send(Control::Attach { front, backend, target, attendance, label }).ok();
        host
    }

    /// A view on that session and no other; its first event is the window. An error says why it
    /// cannot be opened, for the user.
    pub async fn open(&self, session: SessionId, attendance: Attendance) -> Result<View, String> {
        let (front, host, backend) = self.front();
        let (opened, answer) = oneshot::channel();
        let label = self.label.clone();
        let open = Control::Open { front, backend, session, attendance, label, opened };
        self.control.send(open).ok();
        answer.await.unwrap_or_else(|_| Err("the host has stopped".to_owned()))?;
        Ok(host)
    }

    /// What the host has to do now; `None` once it has stopped.
    pub async fn work(&self) -> Option<Work> {
        let (seen, work) = oneshot::channel();
        self.control.send(Control::Look(seen)).ok();
        work.await.ok()
    }

    /// What runs now, in numbers and without a word of the sessions' own; `None` once the host has
    /// stopped.
    pub async fn runs(&self) -> Option<Runs> {
        let (seen, runs) = oneshot::channel();
        self.control.send(Control::Runs(seen)).ok();
        runs.await.ok()
    }

    /// Lets new sessions begin so from now on, until the host ends. An error says why it will not.
    pub(crate) async fn set_default(&self, default: SessionDefault) -> Result<(), String> {
        let (told, set) = oneshot::channel();
        self.control.send(Control::SetDefault(default, told)).ok();
        set.await.unwrap_or_else(|_| Err("the host has stopped".to_owned()))
    }

    /// Writes something about projects. Returns once that is stored; an error says why it is not,
    /// for the user.
    pub(crate) async fn file(&self, project_change: ProjectChange) -> Result<(), String> {
        let (told, written) = oneshot::channel();
        self.control.send(Control::File(project_change, told)).ok();
        written.await.unwrap_or_else(|_| Err("the host has stopped".to_owned()))
    }

    /// The host's state directory, for [`store::Reader::open`].
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    fn front(&self) -> (ViewId, View, ViewSink) {
        let front = ViewId(self.fronts.fetch_add(1, Ordering::Relaxed));
        let (host, backend) = pair(front, self.signals.clone());
        (front, host, backend)
    }
}

impl EmbeddedHost {
    /// A view on a session. If it cannot be opened the view starts on a new one and says why.
    pub fn attach(&self, target: Target, attendance: Attendance) -> View {
        self.access.attach(target, attendance)
    }

    /// A way to this host for those who serve it to others.
    pub fn access(&self) -> HostHandle {
        self.access.clone()
    }

    /// What the user should know about the store: a damaged file that was set aside.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What the host has to do now; `None` once it has stopped.
    pub async fn work(&self) -> Option<Work> {
        self.access.work().await
    }

    /// From now on nothing starts. Returns when no turn works any more, or after
    /// [`crate::settings::Agent::drain`] (R05).
    pub async fn drain(&self) {
        let (done, drained) = oneshot::channel();
        self.access.control.send(Control::Drain(done)).ok();
        // A host that is gone has nothing to finish.
        let _ = drained.await;
    }

    /// Drains, then stops.
    pub async fn stop(self) {
        self.drain().await;
        self.end().await;
    }

    /// Interrupts all turns and ends all background processes, of all sessions, as the user's
    /// wish. Nothing starts any more; [`EmbeddedHost::stop`] is to follow.
    pub fn interrupt_all(&self) {
        self.access.control.send(Control::InterruptAll).ok();
    }

    /// Stops at once: running turns are left open for the next host to go on with, background
    /// processes go on, everything is written, within 5 s.
    pub async fn end(self) {
        self.stop_by(Control::Stop).await;
    }

    /// As [`EmbeddedHost::end`], for a host that is to follow: it goes on with the turns whatever their
    /// age (P10).
    pub async fn hand_over(self) {
        self.stop_by(Control::HandOver).await;
    }

    async fn stop_by(mut self, control: Control) {
        self.access.control.send(control).ok();
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
