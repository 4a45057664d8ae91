//! The loop's state and its `select!`: what arrives from where, and which session it concerns.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::outbox::Live;
use super::{Caller, Control, Role, StartError, now};
use crate::handle::{Backend, FrontId, Signal};
use crate::model::{Model, catalog};
use crate::process::{Found, Notice, Processes};
use crate::protocol::{Event, Millis, ProcessId, SessionId, Storage, TurnId};
use crate::session::{Input, Session};
use crate::settings::Settings;
use crate::store::{self, Lock, Reader, Store};
use crate::tool::{Kit, terminal};
use crate::turn::Spoken;
use crate::wakeup;

/// Rows a session is opened with.
const WINDOW: usize = 200;
/// Streamed text waits at most this long for its place in the journal (R07).
pub(super) const FLUSH: Duration = Duration::from_millis(250);
/// How long until a session that another process uses is looked at again.
const BUSY: Duration = Duration::from_secs(1);

/// Everything the loop owns.
pub(super) struct Hub {
    pub(super) settings: Settings,
    pub(super) role: Role,
    pub(super) store: Store,
    pub(super) reader: Reader,
    pub(super) processes: Processes,
    pub(super) kit: Arc<Kit>,
    pub(super) models: HashMap<String, Arc<dyn Model>>,
    pub(super) sessions: HashMap<SessionId, Live>,
    pub(super) fronts: HashMap<FrontId, Front>,
    /// Which session a process belongs to.
    pub(super) owners: HashMap<ProcessId, SessionId>,
    pub(super) turns: JoinSet<()>,
    pub(super) turn_of: HashMap<tokio::task::Id, (SessionId, TurnId)>,
    pub(super) spoken: mpsc::UnboundedSender<Spoken>,
    pub(super) adopted: mpsc::UnboundedSender<(ProcessId, Found)>,
    pub(super) storage: Storage,
    pub(super) always: BTreeSet<String>,
    pub(super) flush_at: Option<Instant>,
    /// When sessions that were in use elsewhere are looked at again.
    resume_at: Option<Instant>,
    /// Held as long as the host lives.
    _lock: Option<Lock>,
}

/// A view.
pub(super) struct Front {
    pub(super) backend: Backend,
    pub(super) session: SessionId,
    pub(super) caller: Caller,
}

/// What arrives from below.
pub(super) struct Inbox {
    spoken: mpsc::UnboundedReceiver<Spoken>,
    notices: mpsc::UnboundedReceiver<Notice>,
    adopted: mpsc::UnboundedReceiver<(ProcessId, Found)>,
    reports: mpsc::UnboundedReceiver<store::Report>,
}

impl Hub {
    pub(super) fn open(settings: Settings, role: Role) -> Result<(Self, Inbox), StartError> {
        let state = settings.state.clone();
        let scratch = state.join("run");
        for folder in [&state, &scratch, &state.join("leases")] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|error| StartError::State { state: state.clone(), error })?;
        }
        let lock = match role {
            Role::Owner => Some(
                Lock::take(&state.join("host.lock"))
                    .map_err(|busy| StartError::Held { state: state.clone(), pid: busy.pid })?,
            ),
            Role::OneShot => None,
        };
        let (report_tx, reports) = mpsc::unbounded_channel();
        let (notice_tx, notices) = mpsc::unbounded_channel();
        let (spoken_tx, spoken) = mpsc::unbounded_channel();
        let (adopted_tx, adopted) = mpsc::unbounded_channel();
        let store = Store::open(&state, report_tx)?;
        let reader = store.reader()?;
        let always = reader.granted()?;
        let processes = Processes::new(state.join("proc"), settings.exe.clone(), notice_tx);
        let kit = Arc::new(Kit {
            terminal: settings.terminal.clone(),
            approvals: settings.approvals.clone(),
            clarify_timeout: settings.agent.clarify_timeout,
            processes: processes.clone(),
            scratch,
            login: OnceCell::new(),
        });
        let hub = Self {
            settings,
            role,
            store,
            reader,
            processes,
            kit,
            models: HashMap::new(),
            sessions: HashMap::new(),
            fronts: HashMap::new(),
            owners: HashMap::new(),
            turns: JoinSet::new(),
            turn_of: HashMap::new(),
            spoken: spoken_tx,
            adopted: adopted_tx,
            storage: Storage::Ok,
            always,
            flush_at: None,
            resume_at: None,
            _lock: lock,
        };
        Ok((hub, Inbox { spoken, notices, adopted, reports }))
    }

    pub(super) fn notes(&self) -> Vec<String> {
        self.store.notes()
    }

    /// The model of that name, opened on first use.
    pub(super) fn model(&mut self, name: &str) -> Result<Arc<dyn Model>, String> {
        if let Some(model) = self.models.get(name) {
            return Ok(model.clone());
        }
        let settings = if name.is_empty() {
            self.settings.model.clone()
        } else {
            catalog::select(&self.settings.model, name)?
        };
        let model = catalog::open(&settings)?;
        self.models.insert(name.to_owned(), model.clone());
        Ok(model)
    }

    pub(super) fn context_length(&mut self, model: &str) -> Option<u64> {
        self.model(model).ok()?.context_length()
    }

    /// Takes up what an earlier host left unfinished.
    fn resume(&mut self) {
        self.resume_at = None;
        if self.role == Role::OneShot {
            return;
        }
        match self.reader.unsettled() {
            Ok(sessions) => {
                for id in sessions {
                    if let Err(why) = self.load(&id) {
                        tracing::warn!(session = %id, "not taken up: {why}");
                        // A one-shot run has it: what waits there is owed a turn after that.
                        if self.lease(&id).is_err() {
                            self.resume_at = Some(Instant::now() + BUSY);
                        }
                    }
                }
            }
            Err(error) => tracing::error!("cannot read what is unfinished: {error}"),
        }
    }

    /// Makes a stored session live, if it is not.
    pub(super) fn load(&mut self, id: &SessionId) -> Result<(), String> {
        if self.sessions.contains_key(id) {
            return Ok(());
        }
        let loaded = self
            .reader
            .load(id, WINDOW)
            .map_err(|e| e.to_string())?
            .ok_or_else(|| format!("there is no session {id}"))?;
        let lease = self.lease(id)?;
        let context = self.context_length(&loaded.meta.model);
        let caller = match self.role {
            Role::Owner => Caller::Attended,
            Role::OneShot => Caller::Stateless,
        };
        let (session, effects) = Session::restore(loaded, caller, context, now());
        let mut live = Live::new(self.prepared(session));
        live.lease = Some(lease);
        for process in &live.session.transcript().processes {
            self.owners.insert(process.id.clone(), id.clone());
        }
        let lives = live.session.live_processes();
        self.sessions.insert(id.clone(), live);
        self.carry_out(id, effects);
        if self.role == Role::Owner {
            for process in lives {
                let (processes, adopted) = (self.processes.clone(), self.adopted.clone());
                tokio::spawn(async move {
                    let found = processes.adopt(&process).await;
                    adopted.send((process, found)).ok();
                });
            }
        }
        Ok(())
    }

    /// Sets what a session knows of its host.
    pub(super) fn prepared(&self, mut session: Session) -> Session {
        session.set_granted(self.always.clone());
        if self.settings.approvals.mode == crate::settings::Mode::Off {
            session.set_yolo();
        }
        session.handle(Input::Storage(self.storage.clone()), now());
        session
    }

    /// The right to write a session.
    pub(super) fn lease(&self, id: &SessionId) -> Result<Lock, String> {
        let path: PathBuf = self.settings.state.join("leases").join(&id.0);
        Lock::take(&path).map_err(|busy| {
            let who =
                busy.pid.map_or_else(|| "another process".to_owned(), |p| format!("process {p}"));
            format!("session {id} is in use by {who}; end that one first, or start a new session")
        })
    }

    /// Feeds one input to a session and carries out what follows.
    pub(super) fn feed(&mut self, id: &SessionId, input: Input) {
        let Some(live) = self.sessions.get_mut(id) else { return };
        let effects = live.session.handle(input, now());
        self.carry_out(id, effects);
    }

    fn noticed(&mut self, id: &ProcessId, exit: crate::protocol::Exit) {
        let Some(session) = self.owners.get(id).cloned() else {
            tracing::warn!(process = %id, "a process of no known session ended");
            self.processes.acknowledge(id);
            return;
        };
        let output = self.processes.output(id).tail(wakeup::TAIL * 2).text;
        let output = terminal::clean(&output);
        self.feed(&session, Input::Exited { process: id.clone(), exit, output });
    }

    fn found(&mut self, id: ProcessId, found: Found) {
        match found {
            Found::Running { pid } => {
                if let Some(session) = self.owners.get(&id).cloned() {
                    self.feed(&session, Input::Adopted { process: id, pid });
                }
            }
            Found::Ended(exit) | Found::Lost { exit, .. } => self.noticed(&id, exit),
        }
    }

    fn reported(&mut self, report: store::Report) {
        match report {
            store::Report::Committed(no) => self.release(no),
            store::Report::Failing { upto, message } => {
                self.set_storage(Storage::Failing(message));
                self.release_unwritten(upto);
            }
            store::Report::Recovered(no) => {
                self.release(no);
                self.set_storage(Storage::Ok);
            }
        }
    }

    fn set_storage(&mut self, storage: Storage) {
        if self.storage == storage {
            return;
        }
        self.storage = storage.clone();
        for id in self.sessions.keys().cloned().collect::<Vec<_>>() {
            self.feed(&id, Input::Storage(storage.clone()));
        }
    }

    /// When the next session wants a tick.
    fn next_tick(&self) -> Option<Millis> {
        self.sessions.values().filter_map(|l| l.session.deadline()).min()
    }

    fn tick(&mut self) {
        let now = now();
        let due: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, l)| l.session.deadline().is_some_and(|d| d <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.feed(&id, Input::Tick);
        }
    }

    /// Publishes to every view of the host.
    pub(super) fn announce(&mut self, event: &Event) {
        let all: Vec<_> = self.fronts.keys().copied().collect();
        for front in all {
            self.push(front, event.clone());
        }
    }
}

/// Runs until told to stop.
pub(super) async fn run(
    mut hub: Hub,
    mut inbox: Inbox,
    mut controls: mpsc::UnboundedReceiver<Control>,
    mut signals: mpsc::UnboundedReceiver<(FrontId, Signal)>,
) {
    hub.resume();
    loop {
        let tick = hub.next_tick();
        let flush = hub.flush_at;
        let resume = hub.resume_at;
        tokio::select! {
            biased;
            Some(report) = inbox.reports.recv() => hub.reported(report),
            Some(spoken) = inbox.spoken.recv() => hub.heard(spoken),
            Some(notice) = inbox.notices.recv() => hub.noticed(&notice.id, notice.exit),
            Some((id, found)) = inbox.adopted.recv() => hub.found(id, found),
            Some(joined) = hub.turns.join_next_with_id(), if !hub.turns.is_empty() => {
                hub.joined(joined);
            }
            control = controls.recv() => match control {
                Some(Control::Attach { front, backend, target, caller }) => {
                    hub.attach(front, backend, &target, caller);
                }
                Some(Control::Stop) | None => break,
            },
            Some((front, signal)) = signals.recv() => hub.signalled(front, signal),
            () = until(flush) => hub.flush(),
            () = until(resume) => hub.resume(),
            () = until_millis(tick) => hub.tick(),
        }
    }
    hub.stop(&mut inbox.reports).await;
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
