//! Running turns as tasks: starting one, receiving what it reports, and its end.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::host_loop::{HostLoop, Receivers};
use super::live_session::PendingReply;
use crate::agent::compression;
use crate::agent::turn::{self, TurnContext};
use crate::clock::now;
use crate::session::{Ack, Attendance, Input, Reply, TurnEvent, TurnPlan};
use crate::tool::ToolContext;
use crate::turn_link::{TurnLink, TurnMessage};
use protocol::{Millis, Outcome, ProcessId, Row, SessionId, TurnId};

/// Refusal of a spawn beyond the limit when the processes are those of other sessions.
const TOO_MANY: &str = "The host runs 64 background processes already, in all its sessions \
                        together. Wait for one of yours to end, or kill it.";
/// Refusal of a delegation whose session would not be a new one.
const TAKEN: &str = "the id of its session is in use; try again";

/// The running turns of a host.
pub(super) struct Turns {
    tasks: JoinSet<()>,
    by_task: HashMap<Id, TurnTask>,
    /// Gets the messages of all turns.
    messages: mpsc::UnboundedSender<TurnMessage>,
    tools: Arc<ToolContext>,
    /// How long the commands of a turn that was cut off may take to end.
    unwind: Duration,
    /// When a turn ended last.
    last_ended: Option<Millis>,
}

/// The task of a turn.
struct TurnTask {
    session: SessionId,
    turn: TurnId,
    /// Closes when the turn and all its foreground commands are gone.
    gone: mpsc::Receiver<()>,
}

/// How a task ended that could not report the end of its turn itself: the outcome, and a text for
/// the user.
type CutOff = (Outcome, Option<String>);

/// The result of a finished task, as [`JoinSet::join_next_with_id`] returns it.
pub(super) type Joined = Result<(Id, ()), JoinError>;

impl Turns {
    pub(super) fn new(
        messages: mpsc::UnboundedSender<TurnMessage>,
        tools: Arc<ToolContext>,
        unwind: Duration,
    ) -> Self {
        Self {
            tasks: JoinSet::new(),
            by_task: HashMap::new(),
            messages,
            tools,
            unwind,
            last_ended: None,
        }
    }

    /// The link over which a turn of that session reports.
    pub(super) fn link(&self, session: &SessionId, turn: TurnId) -> TurnLink {
        TurnLink { session: session.clone(), turn, messages: self.messages.clone() }
    }

    /// The directory of short-lived files.
    pub(super) fn scratch(&self) -> &Path {
        &self.tools.scratch
    }

    pub(super) fn last_ended(&self) -> Option<Millis> {
        self.last_ended
    }

    pub(super) fn set_last_ended(&mut self, at: Millis) {
        self.last_ended = Some(at);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next task that finishes; `None` = none runs.
    pub(super) async fn join_next(&mut self) -> Option<Joined> {
        self.tasks.join_next_with_id().await
    }

    /// Runs a turn; `gone` closes when nothing of it is left.
    fn spawn(&mut self, context: TurnContext, gone: mpsc::Receiver<()>) -> AbortHandle {
        let (session, turn) = (context.link.session.clone(), context.link.turn);
        let handle = self.tasks.spawn(turn::run(context));
        self.by_task.insert(handle.id(), TurnTask { session, turn, gone });
        handle
    }

    /// Takes the entry of a finished task; with it how the turn was cut off, if it was.
    fn take(&mut self, joined: Joined) -> Option<(TurnTask, Option<CutOff>)> {
        let (task, cut_off) = match joined {
            Ok((task, ())) => (task, None),
            Err(error) if error.is_cancelled() => (error.id(), Some((Outcome::Cancelled, None))),
            Err(error) => {
                tracing::error!("a turn panicked: {error}");
                let outcome = Outcome::Failed { class: "bug".to_owned() };
                let text = "The turn broke because of a bug of the host; its log has more.";
                (error.id(), Some((outcome, Some(text.to_owned()))))
            }
        };
        Some((self.by_task.remove(&task)?, cut_off))
    }

    /// Reports the end of a turn that was cut off when its commands are gone (R06), or after a
    /// bounded time. The session bounds a cancelled one by itself, also one whose task never ends
    /// (W23).
    fn report_cut_off(&self, task: TurnTask, (outcome, failure): CutOff) {
        let TurnTask { session, turn, mut gone } = task;
        let link = self.link(&session, turn);
        let unwind = self.unwind;
        tokio::spawn(async move {
            if tokio::time::timeout(unwind, gone.recv()).await.is_err() {
                tracing::warn!(session = %link.session, "a turn did not unwind in time");
            }
            link.report(TurnEvent::Ended { outcome, failure });
        });
    }

    /// Aborts all turns. The returned future ends when their commands are gone, too.
    pub(super) async fn abort_all(&mut self) -> impl Future<Output = ()> + use<> {
        let commands: Vec<_> = self.by_task.drain().map(|(_, task)| task.gone).collect();
        self.tasks.shutdown().await;
        async move {
            let ends = commands.into_iter().map(|mut gone| async move { gone.recv().await });
            futures::future::join_all(ends).await;
        }
    }
}

impl HostLoop {
    pub(super) fn start_turn(&mut self, id: &SessionId, plan: TurnPlan) {
        let model = match self.models.open(&plan.model) {
            Ok(model) => model,
            Err(message) => {
                let outcome = Outcome::Failed { class: "model".to_owned() };
                let event = TurnEvent::Ended { outcome, failure: Some(message) };
                self.feed(id, Input::TurnEvent { turn: plan.turn, ack: Ack(0), event });
                return;
            }
        };
        let rows = self.context(id);
        let compression = self.compression_limits(id);
        let Some(live) = self.sessions.get_mut(id) else { return };
        let turn = plan.turn;
        let max_requests = match plan.attendance {
            Attendance::Attended | Attendance::Stateless => self.settings.agent.max_turns,
            Attendance::Delegated => self.settings.delegation.max_iterations,
        };
        let (alive, gone) = mpsc::channel(1);
        let context = TurnContext {
            plan,
            link: self.turns.link(id, turn),
            model,
            system: live.session.meta().system.clone(),
            rows,
            tools: self.turns.tools.clone(),
            alive,
            max_requests,
            compression,
        };
        live.turn = Some((turn, self.turns.spawn(context, gone)));
    }

    /// The limits by which a turn of the session compresses its context.
    fn compression_limits(&self, id: &SessionId) -> compression::Limits {
        let Some(live) = self.sessions.get(id) else { return compression::Limits::default() };
        let meta = live.session.meta();
        let since_failure = meta.compression_failed_at.map_or(i64::MAX, |at| (now() - at).max(0));
        let since_failure = Duration::from_millis(since_failure.unsigned_abs());
        compression::Limits {
            rules: self.settings.compression,
            max_tokens: self.models.max_tokens(&meta.model),
            poor: meta.poor_compressions,
            rest: compression::COOL_DOWN.saturating_sub(since_failure),
        }
    }

    /// The rows of a session, whole, for the model; read from the store for its first turn.
    pub(super) fn context(&mut self, id: &SessionId) -> Vec<Arc<Row>> {
        let Some(live) = self.sessions.get_mut(id) else { return Vec::new() };
        if let Some(context) = &live.context {
            return context.clone();
        }
        let window = &live.transcript().rows;
        let mut rows = self.store.reader.rows(id).unwrap_or_else(|error| {
            tracing::error!(session = %id, "the context is cut to the window: {error}");
            Vec::new()
        });
        // Rows that could not be written yet are in the window only.
        let stored = rows.last().map_or(0, |r| r.n);
        rows.extend(window.iter().filter(|r| r.n > stored).cloned());
        let context: Vec<_> = rows.into_iter().map(Arc::new).collect();
        live.context = Some(context.clone());
        context
    }

    /// Feeds what a turn reports to its session, unless the host refuses it.
    pub(super) fn handle_turn_message(&mut self, message: TurnMessage) {
        let TurnMessage { session, turn, event, reply } = message;
        if !self.sessions.contains(&session) {
            return;
        }
        if let Some(text) = self.refusal(&session, &event) {
            if let Some(reply) = reply {
                reply.send(Reply::Refused(text.to_owned())).ok();
            }
            return;
        }
        let spawns = spawned(&event).cloned();
        if let Some(process) = &spawns {
            self.processes.set_owner(process, &session);
        }
        let Some(live) = self.sessions.get_mut(&session) else { return };
        let ack = match reply {
            Some(reply) => live.replies.insert(PendingReply { turn, reply, spawns }),
            None => Ack(0),
        };
        self.feed(&session, Input::TurnEvent { turn, ack, event });
    }

    /// Why the host refuses what a turn asks for; the text is for the model.
    fn refusal(&self, session: &SessionId, event: &TurnEvent) -> Option<&'static str> {
        match event {
            TurnEvent::Spawn(_) => self.sessions.is_full_beside(session).then_some(TOO_MANY),
            TurnEvent::Delegate { process, .. } => self.is_worker_taken(process).then_some(TAKEN),
            _ => None,
        }
    }

    /// Feeds what turns had reported when they were aborted, so that a result or an end that was
    /// reached is not lost. Their replies are not waited for any more.
    pub(super) fn drain_turn_messages(&mut self, receivers: &mut Receivers) {
        while let Ok(TurnMessage { session, turn, event, .. }) = receivers.messages.try_recv() {
            if counts_after_abort(&event) {
                self.feed(&session, Input::TurnEvent { turn, ack: Ack(0), event });
            }
        }
    }

    /// Handles the end of a turn's task.
    pub(super) fn handle_joined(&mut self, joined: Joined) {
        let Some((task, cut_off)) = self.turns.take(joined) else { return };
        let session = task.session.clone();
        if let Some(live) = self.sessions.get_mut(&session) {
            live.clear_turn(task.turn);
        }
        if let Some(cut_off) = cut_off {
            self.turns.report_cut_off(task, cut_off);
        }
        self.unload_if_unused(&session);
    }
}

/// The process or task that an event asks to start.
fn spawned(event: &TurnEvent) -> Option<&ProcessId> {
    match event {
        TurnEvent::Spawn(process) | TurnEvent::Delegate { process, .. } => Some(&process.id),
        TurnEvent::Delta { .. }
        | TurnEvent::Status { .. }
        | TurnEvent::Answered { .. }
        | TurnEvent::CallStarted(_)
        | TurnEvent::CallOutput { .. }
        | TurnEvent::Result(_)
        | TurnEvent::Ask { .. }
        | TurnEvent::Running { .. }
        | TurnEvent::FailedStart { .. }
        | TurnEvent::AwaitEnd(_)
        | TurnEvent::Compressed(_)
        | TurnEvent::NotCompressed { .. }
        | TurnEvent::Judged { .. }
        | TurnEvent::NotJudged(_)
        | TurnEvent::Used(_)
        | TurnEvent::Processes
        | TurnEvent::Awaiting(_)
        | TurnEvent::Killing(_)
        | TurnEvent::Ended { .. } => None,
    }
}

/// Whether an event states what has happened. What is only asked for does not begin after an
/// abort.
fn counts_after_abort(event: &TurnEvent) -> bool {
    match event {
        TurnEvent::Delta { .. }
        | TurnEvent::Answered { .. }
        | TurnEvent::Result(_)
        | TurnEvent::Running { .. }
        | TurnEvent::FailedStart { .. }
        | TurnEvent::Used(_)
        | TurnEvent::Killing(_)
        | TurnEvent::Ended { .. } => true,
        TurnEvent::Status { .. }
        | TurnEvent::CallStarted(_)
        | TurnEvent::CallOutput { .. }
        | TurnEvent::Ask { .. }
        | TurnEvent::Spawn(_)
        | TurnEvent::Delegate { .. }
        | TurnEvent::AwaitEnd(_)
        | TurnEvent::Compressed(_)
        | TurnEvent::NotCompressed { .. }
        | TurnEvent::Judged { .. }
        | TurnEvent::NotJudged(_)
        | TurnEvent::Processes
        | TurnEvent::Awaiting(_) => false,
    }
}
