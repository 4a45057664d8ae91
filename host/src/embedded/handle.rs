//! The way to a running host that clients and servers hold.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::attach::NewView;
use super::models::SessionDefault;
use super::runs::{Runs, Work};
use super::shutdown::Ending;
use super::views::TERMINAL;
use crate::session::Attendance;
use crate::store::ProjectChange;
use protocol::{SessionId, Signal, Target, View, ViewId, ViewSink, pair};

/// The error of a request to a host that is gone.
const STOPPED: &str = "the host has stopped";

/// Why a view of a session cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No session has that id.
    #[error("there is no session {0}")]
    Unknown(SessionId),
    /// The session was deleted.
    #[error("session {0} was deleted")]
    Deleted(SessionId),
    /// The session may exist, but this host cannot open it now; the reason, for the user.
    #[error("{0}")]
    Refused(String),
}

impl OpenError {
    /// Whether the session does not exist (any more).
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::Deleted(_) => true,
            Self::Refused(_) => false,
        }
    }
}

/// A handle to a running host, cheap to clone. It attaches views and answers questions about the
/// host; it cannot end it. Once the host is gone every view ends and every request fails.
#[derive(Clone, Debug)]
pub struct HostHandle {
    controls: mpsc::UnboundedSender<Control>,
    signals: mpsc::UnboundedSender<(ViewId, Signal)>,
    next_view: Arc<AtomicU64>,
    state: Arc<Path>,
    label: Arc<str>,
}

/// A request to the loop. Senders get the reply; errors are texts for the user.
#[derive(Debug)]
pub(super) enum Control {
    Attach {
        view: NewView,
        target: Target,
    },
    /// As `Attach`, but to that session or not at all.
    AttachTo {
        view: NewView,
        session: SessionId,
        attached: oneshot::Sender<Result<(), OpenError>>,
    },
    Drain(oneshot::Sender<()>),
    /// Interrupt all turns and kill all background processes.
    InterruptAll,
    Work(oneshot::Sender<Work>),
    Runs(oneshot::Sender<Runs>),
    /// Change a default of new sessions.
    SetDefault(SessionDefault, oneshot::Sender<Result<(), String>>),
    /// Change projects; replied once that is stored.
    ChangeProject(ProjectChange, oneshot::Sender<Result<(), String>>),
    End(Ending),
}

impl HostHandle {
    /// A handle to the host with that state directory whose loop receives on these channels.
    pub(super) fn new(
        controls: mpsc::UnboundedSender<Control>,
        signals: mpsc::UnboundedSender<(ViewId, Signal)>,
        state: &Path,
    ) -> Self {
        let next_view = Arc::new(AtomicU64::new(1));
        Self { controls, signals, next_view, state: state.into(), label: TERMINAL.into() }
    }

    /// The same handle for clients of another kind, such as `browser`. Others see the label beside
    /// the answers that these clients give (C07); it is `terminal` unless set.
    #[must_use]
    pub fn labelled(&self, label: &str) -> Self {
        Self { label: label.into(), ..self.clone() }
    }

    /// Attaches a view to a session. If the session cannot be opened the view is attached to a new
    /// one and gets a failure with the reason.
    pub fn attach(&self, target: Target, attendance: Attendance) -> View {
        let (view, new) = self.new_view(attendance);
        self.send(Control::Attach { view: new, target });
        view
    }

    /// Attaches a view to that session; its first event is the window.
    pub async fn open(
        &self,
        session: SessionId,
        attendance: Attendance,
    ) -> Result<View, OpenError> {
        let (view, new) = self.new_view(attendance);
        let (attached, reply) = oneshot::channel();
        self.send(Control::AttachTo { view: new, session, attached });
        reply.await.unwrap_or_else(|_| Err(OpenError::Refused(STOPPED.to_owned())))?;
        Ok(view)
    }

    /// Counts what the host does now; `None` once it has stopped.
    pub async fn work(&self) -> Option<Work> {
        let (reply, work) = oneshot::channel();
        self.send(Control::Work(reply));
        work.await.ok()
    }

    /// Lists the running turns, without any text or name of a session; `None` once the host has
    /// stopped.
    pub async fn runs(&self) -> Option<Runs> {
        let (reply, runs) = oneshot::channel();
        self.send(Control::Runs(reply));
        runs.await.ok()
    }

    /// Changes a default of new sessions until the host ends. Fails with a text for the user if
    /// there is no such model or effort.
    pub(crate) async fn set_default(&self, default: SessionDefault) -> Result<(), String> {
        self.request(|reply| Control::SetDefault(default, reply)).await
    }

    /// Changes projects. Returns once that is stored; fails with a text for the user.
    pub(crate) async fn change_project(&self, change: ProjectChange) -> Result<(), String> {
        self.request(|stored| Control::ChangeProject(change, stored)).await
    }

    /// The host's state directory, for [`crate::store::Reader::open`].
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Sends a request without a reply. Once the host is gone it has no effect.
    pub(super) fn send(&self, control: Control) {
        self.controls.send(control).ok();
    }

    async fn request(
        &self,
        control: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Control,
    ) -> Result<(), String> {
        let (reply, result) = oneshot::channel();
        self.send(control(reply));
        result.await.unwrap_or_else(|_| Err(STOPPED.to_owned()))
    }

    fn new_view(&self, attendance: Attendance) -> (View, NewView) {
        let id = ViewId(self.next_view.fetch_add(1, Ordering::Relaxed));
        let (view, sink): (View, ViewSink) = pair(id, self.signals.clone());
        (view, NewView { id, sink, attendance, label: self.label.as_ref().into() })
    }
}
