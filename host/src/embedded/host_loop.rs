//! The loop: what it owns, and which part handles what arrives. Each part has its own file.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc};
use tokio::time::Instant;

use super::background::BackgroundResult;
use super::handle::Control;
use super::models::Models;
use super::processes::{self, HostProcesses};
use super::sessions::Sessions;
use super::shutdown::{Ending, Shutdown};
use super::storage::HostStore;
use super::turns::Turns;
use super::views::Views;
use super::{Role, StartError};
use crate::clock::now;
use crate::process::{Adoption, Notice, Processes};
use crate::session::Input;
use crate::settings::Settings;
use crate::store::{Lock, Report};
use crate::tool::ToolContext;
use crate::turn_link::TurnMessage;
use protocol::{Millis, ProcessId, Signal, ViewId};

/// Everything the loop owns.
pub(super) struct HostLoop {
    pub(super) settings: Settings,
    pub(super) role: Role,
    pub(super) store: HostStore,
    pub(super) processes: HostProcesses,
    pub(super) sessions: Sessions,
    pub(super) views: Views,
    pub(super) turns: Turns,
    pub(super) models: Models,
    pub(super) shutdown: Shutdown,
    /// Gets the results of work beside the loop.
    pub(super) background: mpsc::UnboundedSender<BackgroundResult>,
    /// Held as long as the host lives.
    _lock: Option<Lock>,
}

/// The receiving ends of what the loop's parts are sent.
pub(super) struct Receivers {
    pub(super) reports: mpsc::UnboundedReceiver<Report>,
    pub(super) messages: mpsc::UnboundedReceiver<TurnMessage>,
    notices: mpsc::UnboundedReceiver<Notice>,
    adoptions: mpsc::UnboundedReceiver<(ProcessId, Adoption)>,
    background: mpsc::UnboundedReceiver<BackgroundResult>,
}

impl HostLoop {
    /// Opens the state directory and everything in it.
    pub(super) fn open(settings: Settings, role: Role) -> Result<(Self, Receivers), StartError> {
        let state = &settings.state;
        let (scratch, leases) = (state.join("run"), state.join("leases"));
        create_directories(state, [state, &scratch, &leases])?;
        let lock = lock_state(state, role)?;
        let (report_tx, reports) = mpsc::unbounded_channel();
        let (message_tx, messages) = mpsc::unbounded_channel();
        let (notice_tx, notices) = mpsc::unbounded_channel();
        let (adoption_tx, adoptions) = mpsc::unbounded_channel();
        let (background_tx, background) = mpsc::unbounded_channel();
        let store = HostStore::open(state, report_tx)?;
        let granted = store.reader.granted()?;
        let directory = state.join(processes::DIRECTORY);
        let registry = Processes::new(directory, settings.exe.clone(), notice_tx);
        let tools = tool_context(&settings, scratch, registry.clone(), &granted);
        let host = Self {
            role,
            store,
            processes: HostProcesses::new(registry, adoption_tx, settings.timing.match_silence),
            sessions: Sessions::new(leases, granted),
            views: Views::default(),
            turns: Turns::new(message_tx, Arc::new(tools), settings.timing.unwind),
            models: Models::new(&settings),
            shutdown: Shutdown::default(),
            background: background_tx,
            settings,
            _lock: lock,
        };
        Ok((host, Receivers { reports, messages, notices, adoptions, background }))
    }

    /// Messages for the user about what opening has found.
    pub(super) fn notes(&self) -> Vec<String> {
        self.store.notes()
    }

    /// Handles one input; breaks with how the host is to end.
    async fn step(
        &mut self,
        receivers: &mut Receivers,
        controls: &mut mpsc::UnboundedReceiver<Control>,
        signals: &mut mpsc::UnboundedReceiver<(ViewId, Signal)>,
    ) -> ControlFlow<Ending> {
        for id in self.sessions.take_unused() {
            self.unload_if_unused(&id);
        }
        let flush = self.store.flush_at();
        let lists = self.views.list_changes.due();
        let tick = self.next_tick();
        let retry = self.sessions.retry_at();
        let drained = self.drain_deadline();
        tokio::select! {
            biased;
            Some(report) = receivers.reports.recv() => self.handle_store_report(report),
            Some(message) = receivers.messages.recv() => self.handle_turn_message(message),
            Some(notice) = receivers.notices.recv() => self.handle_notice(notice),
            Some((id, found)) = receivers.adoptions.recv() => {
                // What the process printed before the end that was found comes first; its notices
                // are there by now.
                while let Ok(notice) = receivers.notices.try_recv() {
                    self.handle_notice(notice);
                }
                self.handle_adoption(id, found);
            }
            Some(joined) = self.turns.join_next(), if !self.turns.is_empty() => {
                self.handle_joined(joined);
            }
            control = controls.recv() => match control {
                Some(control) => return self.handle_control(control),
                None => return ControlFlow::Break(Ending::Stop),
            },
            Some((view, signal)) = signals.recv() => self.handle_signal(view, signal),
            Some(result) = receivers.background.recv() => self.handle_background_result(result),
            () = until(flush) => self.flush(),
            () = until(lists) => self.announce_list_changes(),
            () = until_millis(tick) => self.tick(),
            () = until(retry) => self.retry_skipped(),
            () = until(drained) => self.shutdown.end_drain(),
        }
        ControlFlow::Continue(())
    }

    fn handle_control(&mut self, control: Control) -> ControlFlow<Ending> {
        match control {
            Control::Attach { view, target } => self.attach(view, &target),
            Control::AttachTo { view, session, attached } => {
                attached.send(self.attach_to(view, &session)).ok();
            }
            Control::Drain(done) => self.start_drain(done),
            Control::InterruptAll => self.interrupt_all(),
            Control::Work(reply) => {
                reply.send(self.work()).ok();
            }
            Control::Runs(reply) => {
                reply.send(self.runs()).ok();
            }
            Control::SetDefault(default, reply) => {
                reply.send(self.models.set_default(default)).ok();
            }
            Control::ChangeProject(change, stored) => self.change_project(change, stored),
            Control::End(ending) => return ControlFlow::Break(ending),
        }
        ControlFlow::Continue(())
    }

    /// When the next session, or the breaker, needs a tick.
    fn next_tick(&self) -> Option<Millis> {
        self.sessions.deadline().into_iter().chain(self.processes.breaker_deadline()).min()
    }

    /// Ticks the sessions: the first deadline has come, or the clock was set back. In that case no
    /// deadline has come, and each session sees that for itself.
    fn tick(&mut self) {
        self.release_breaker(now());
        for id in self.sessions.ids_where(|live| live.session.deadline().is_some()) {
            self.feed(&id, Input::Tick);
        }
    }

    fn retry_skipped(&mut self) {
        let skipped = self.sessions.take_skipped();
        self.load_unfinished(skipped);
    }
}

/// Runs a host until a request to end it arrives.
pub(super) async fn run(
    mut host: HostLoop,
    mut receivers: Receivers,
    mut controls: mpsc::UnboundedReceiver<Control>,
    mut signals: mpsc::UnboundedReceiver<(ViewId, Signal)>,
) {
    host.resume_unfinished();
    let ending = loop {
        let step = host.step(&mut receivers, &mut controls, &mut signals).await;
        if let ControlFlow::Break(ending) = step {
            break ending;
        }
    };
    // What was sent before the stop counts: a client that quits may have asked for a kill first.
    while let Ok((view, signal)) = signals.try_recv() {
        host.handle_signal(view, signal);
    }
    host.stop(ending, &mut receivers).await;
}

fn create_directories<'a>(
    state: &Path,
    directories: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<(), StartError> {
    for directory in directories {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| StartError::State { state: state.to_owned(), error })?;
    }
    Ok(())
}

/// Takes the host lock for an owner and leaves in it where the host can be reached.
fn lock_state(state: &Path, role: Role) -> Result<Option<Lock>, StartError> {
    match role {
        Role::OneShot => Ok(None),
        Role::Owner => {
            let mut lock = Lock::take(&state.join("host.lock"))
                .map_err(|busy| StartError::Held { state: state.to_owned(), pid: busy.pid })?;
            lock.tell(&crate::state_dir::socket_path(state));
            Ok(Some(lock))
        }
    }
}

/// The context that all tool calls of the host share.
fn tool_context(
    settings: &Settings,
    scratch: PathBuf,
    processes: Processes,
    granted: &BTreeSet<String>,
) -> ToolContext {
    let mut approvals = settings.approvals.clone();
    // A one-shot run cannot ask anybody, so permanently granted rules are allowed without asking.
    approvals.allow.extend(granted.iter().cloned());
    ToolContext {
        terminal: settings.terminal.clone(),
        approvals,
        clarify_timeout: settings.agent.clarify_timeout,
        processes,
        max_children: settings.delegation.max_children,
        state: settings.state.clone(),
        scratch,
        login: OnceCell::new(),
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn until_millis(at: Option<Millis>) {
    match at {
        Some(at) => {
            let wait = Duration::from_millis((at - now()).max(0) as u64);
            tokio::time::sleep(wait).await;
        }
        None => std::future::pending().await,
    }
}
