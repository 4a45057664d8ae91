//! The loop's state and its `select!`: what arrives from where, and which session it concerns.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::breaker::{Breaker, Pass};
use super::defaults::Defaults;
use super::fingerprint::{self, Fingerprints};
use super::lists::News as ListNews;
use super::orphans::Orphans;
use super::outbox::Live;
use super::project_writes::ProjectWrites;
use super::queries::Done;
use super::view_table::Fronts;
use super::{Attendance, Control, Role, StartError, Work};
use crate::clock::now;
use crate::model::cached::Cached;
use crate::model::{Model, catalog};
use crate::process::{Found, Hit, Notice, Processes, Watch};
use crate::session::{Input, Rules, Session};
use crate::settings::Settings;
use crate::state_dir::create_private_dir;
use crate::store::{self, Lock, Reader, Store};
use crate::tool::{ToolContext, terminal};
use crate::turn_link::TurnMessage;
use crate::wakeup;
use protocol::{Event, Exit, Millis, News, Process, ProcessId, SessionId, Storage, Toast, TurnId};
use protocol::{Signal, ViewId};

/// Rows a session is opened with.
const WINDOW: usize = 200;
/// Output of a process that no session in memory names is kept for this long.
const KEPT: Duration = Duration::from_hours(7 * 24);
/// No short-lived file is older than the longest foreground command.
const STALE: Duration = Duration::from_hours(1);
/// A session that was leased by another process is looked at again after this time.
const RETRY: Duration = Duration::from_secs(1);
/// Streamed text waits at most this long for its place in the journal (R07).
pub(super) const FLUSH: Duration = Duration::from_millis(250);

/// Everything the loop owns.
pub(super) struct HostLoop {
    pub(super) settings: Settings,
    pub(super) role: Role,
    pub(super) store: Store,
    pub(super) reader: Reader,
    pub(super) processes: Processes,
    pub(super) tools: Arc<ToolContext>,
    pub(super) models: HashMap<String, Arc<dyn Model>>,
    pub(super) catalog: Cached,
    pub(super) sessions: HashMap<SessionId, Live>,
    pub(super) fronts: Fronts,
    /// Which session a process belongs to.
    pub(super) owners: HashMap<ProcessId, SessionId>,
    pub(super) orphans: Orphans,
    pub(super) turns: JoinSet<()>,
    pub(super) kills: JoinSet<()>,
    pub(super) turn_of: HashMap<tokio::task::Id, Task>,
    pub(super) messages: mpsc::UnboundedSender<TurnMessage>,
    pub(super) adopted: mpsc::UnboundedSender<(ProcessId, Found)>,
    /// Where work beside the loop says that it is done.
    pub(super) done: mpsc::UnboundedSender<Done>,
    pub(super) storage: Storage,
    pub(super) always: BTreeSet<String>,
    fingerprints: Fingerprints,
    breaker: Breaker,
    /// Whether lists of sessions are out of date.
    pub(super) news: ListNews,
    pub(super) project_writes: ProjectWrites,
    pub(super) defaults: Defaults,
    /// When a turn ended last.
    pub(super) last_ended: Option<Millis>,
    pub(super) flush_at: Option<Instant>,
    /// Sessions that may leave memory if nobody has begun to look at them: not before what is
    /// being done is done, which may be to open them.
    pub(super) unused: Vec<SessionId>,
    pub(super) stopping: bool,
    /// Another host is to follow at once (P10).
    pub(super) handing_over: bool,
    /// Nothing starts any more; who waits for the running turns to end, and how long they may take.
    pub(super) drain: Option<Drain>,
    /// Sessions with unfinished business that another process had leased.
    skipped: Vec<SessionId>,
    retry_at: Option<Instant>,
    /// Held as long as the host lives.
    _lock: Option<Lock>,
}

/// A host that is about to stop.
pub(super) struct Drain {
    until: Instant,
    waiting: Vec<oneshot::Sender<()>>,
}

/// A turn's task.
pub(super) struct Task {
    pub(super) session: SessionId,
    pub(super) turn: TurnId,
    /// Ends when the turn and all its foreground commands are gone.
    pub(super) gone: mpsc::Receiver<()>,
}

/// What arrives from below.
pub(super) struct Inbox {
    pub(super) messages: mpsc::UnboundedReceiver<TurnMessage>,
    notices: mpsc::UnboundedReceiver<Notice>,
    adopted: mpsc::UnboundedReceiver<(ProcessId, Found)>,
    done: mpsc::UnboundedReceiver<Done>,
    pub(super) reports: mpsc::UnboundedReceiver<store::Report>,
}

impl HostLoop {
    pub(super) fn open(settings: Settings, role: Role) -> Result<(Self, Inbox), StartError> {
        let state = settings.state.clone();
        let scratch = state.scratch();
        for folder in [state.to_path_buf(), scratch.clone(), state.leases()] {
            create_private_dir(&folder)
                .map_err(|error| StartError::State { state: state.clone(), error })?;
        }
        let lock = match role {
            Role::Owner => {
                let mut lock = Lock::take(&state.host_lock())
                    .map_err(|busy| StartError::Held { state: state.clone(), pid: busy.pid })?;
                lock.tell(&state.socket());
                Some(lock)
            }
            Role::OneShot => None,
        };
        let (report_tx, reports) = mpsc::unbounded_channel();
        let (notice_tx, notices) = mpsc::unbounded_channel();
        let (messages_tx, messages) = mpsc::unbounded_channel();
        let (adopted_tx, adopted) = mpsc::unbounded_channel();
        let (done_tx, done) = mpsc::unbounded_channel();
        let store = Store::open(&state, report_tx)?;
        let reader = store.reader()?;
        let always = reader.granted()?;
        let processes = Processes::new(state.processes(), settings.exe.clone(), notice_tx);
        let mut approvals = settings.approvals.clone();
        // One-shot runs have nobody to ask, so what was granted must be known without asking.
        approvals.allow.extend(always.iter().cloned());
        let tools = Arc::new(ToolContext {
            terminal: settings.terminal.clone(),
            approvals,
            clarify_timeout: settings.agent.clarify_timeout,
            processes: processes.clone(),
            max_children: settings.delegation.max_children,
            state: state.clone(),
            scratch,
            login: OnceCell::new(),
        });
        let fingerprints = Fingerprints::open(&state);
        let catalog = Cached::new(&state, settings.model.clone(), settings.sources.clone());
        let hub = Self {
            settings,
            role,
            store,
            reader,
            processes,
            tools,
            models: HashMap::new(),
            catalog,
            sessions: HashMap::new(),
            fronts: Fronts::default(),
            owners: HashMap::new(),
            orphans: Orphans::default(),
            turns: JoinSet::new(),
            kills: JoinSet::new(),
            turn_of: HashMap::new(),
            messages: messages_tx,
            adopted: adopted_tx,
            done: done_tx,
            storage: Storage::Ok,
            always,
            fingerprints,
            breaker: Breaker::default(),
            news: ListNews::default(),
            project_writes: ProjectWrites::default(),
            defaults: Defaults::default(),
            last_ended: None,
            flush_at: None,
            unused: Vec::new(),
            stopping: false,
            handing_over: false,
            drain: None,
            skipped: Vec::new(),
            retry_at: None,
            _lock: lock,
        };
        Ok((hub, Inbox { messages, notices, adopted, done, reports }))
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

    /// What a session with that model needs to know of the settings.
    pub(super) fn rules(&self, model: &str) -> Rules {
        let agent = &self.settings.agent;
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        Rules {
            unattended_wait: millis(agent.unattended_wait),
            max_wakeups: agent.max_wakeups,
            freshness: agent.freshness.map(millis),
            notify_interval: agent.notify_interval.map(millis),
            fingerprint: self.fingerprint(model),
            legacy_fingerprint: fingerprint::legacy(model, &self.settings.model),
            max_children: self.settings.delegation.max_children,
        }
    }

    /// A digest of what requests are made with; it tells nothing of the key (W20).
    pub(super) fn fingerprint(&self, model: &str) -> String {
        self.fingerprints.of(model, &self.settings.model)
    }

    /// Takes up what an earlier host left unfinished.
    fn resume(&mut self) {
        if self.role == Role::OneShot {
            return;
        }
        if let Err(error) = self.find_orphans() {
            tracing::error!("cannot read which processes are orphans: {error}");
        }
        match self.reader.unsettled() {
            Ok(sessions) => {
                self.skipped = sessions;
                self.retry_skipped();
                self.clean_up();
            }
            Err(error) => tracing::error!("cannot read what is unfinished: {error}"),
        }
    }

    /// Removes what earlier hosts left: folders of processes that ended long ago and that no
    /// session in memory names, and short-lived files of runs that were killed.
    fn clean_up(&self) {
        let processes = self.processes.clone();
        let known: BTreeSet<ProcessId> =
            self.owners.keys().chain(self.orphans.ids()).cloned().collect();
        let scratch = self.tools.scratch.clone();
        let root = self.settings.state.processes();
        tokio::spawn(async move {
            for id in processes.live_folders() {
                // Young ones are left alone: a one-shot run may be using them.
                if !known.contains(&id)
                    && is_older(&root.join(&id.0), KEPT)
                    && let Found::Ended(_) | Found::Lost { child: None, .. } =
                        processes.adopt(&id).await
                {
                    processes.remove(&id);
                }
            }
            for entry in fs::read_dir(scratch).into_iter().flatten().flatten() {
                if is_older(&entry.path(), STALE) {
                    fs::remove_file(entry.path()).ok();
                }
            }
        });
    }

    fn retry_skipped(&mut self) {
        for id in std::mem::take(&mut self.skipped) {
            // In use by a one-shot run: it is looked at again. What cannot be read stays unread.
            if self.orphans.is_deleted(&id) {
                continue;
            }
            if self.lease(&id).is_err() {
                self.skipped.push(id);
            } else if let Err(why) = self.load(&id) {
                tracing::error!(session = %id, "not taken up: {why}");
            } else {
                self.confirm(&id);
            }
        }
        self.retry_at = (!self.skipped.is_empty()).then(|| Instant::now() + RETRY);
    }

    /// Looks at a session again that another process uses.
    pub(super) fn look_again(&mut self, id: &SessionId) {
        if !self.skipped.contains(id) {
            self.skipped.push(id.clone());
        }
        self.retry_at.get_or_insert(Instant::now() + RETRY);
    }

    /// Makes a stored session live, if it is not.
    pub(super) fn load(&mut self, id: &SessionId) -> Result<(), String> {
        let attendance = match self.role {
            Role::Owner => Attendance::Attended,
            Role::OneShot => Attendance::Stateless,
        };
        self.load_for(id, attendance)
    }

    /// As [`HostLoop::load`], for whom its waiting prompts are run.
    pub(super) fn load_for(
        &mut self,
        id: &SessionId,
        attendance: Attendance,
    ) -> Result<(), String> {
        if self.orphans.is_deleted(id) {
            return Err(format!("session {id} was deleted"));
        }
        if self.sessions.contains_key(id) {
            return Ok(());
        }
        if self.drain.is_some() {
            return Err("the host is stopping".to_owned());
        }
        let lease = self.lease(id)?;
        let mut loaded = self
            .reader
            .load(id, WINDOW)
            .map_err(|e| e.to_string())?
            .ok_or_else(|| format!("there is no session {id}"))?;
        for line in &loaded.damage {
            tracing::error!(session = %id, "{line}");
        }
        let damage = loaded.damage.clone();
        let context = self.context_length(&loaded.meta.model);
        let rules = self.rules(&loaded.meta.model);
        // Its first turn starts by itself.
        if loaded.meta.task.is_some() && loaded.meta.system.is_empty() {
            loaded.meta.system = self.system_prompt(&loaded.meta);
        }
        let (session, effects) = Session::restore(loaded, attendance, context, rules, now());
        let mut live = Live::new(self.prepared(session));
        live.lease = lease;
        live.damage = damage;
        for process in &live.session.transcript().processes {
            self.owners.insert(process.id.clone(), id.clone());
        }
        let lives: Vec<(ProcessId, Watch)> =
            live.session.live_processes().map(|p| (p.id.clone(), watch(p))).collect();
        if !live.asked.is_empty() {
            self.lists_changed();
        }
        self.sessions.insert(id.clone(), live);
        self.carry_out(id, effects);
        for (process, watch) in lives {
            let (processes, adopted) = (self.processes.clone(), self.adopted.clone());
            tokio::spawn(async move {
                let found = processes.adopt_watched(&process, watch).await;
                adopted.send((process, found)).ok();
            });
        }
        self.adopt_delegations(id);
        Ok(())
    }

    /// Sets what a session knows of its host.
    pub(super) fn prepared(&self, mut session: Session) -> Session {
        session.set_granted(self.always.clone());
        if self.settings.approvals.mode == crate::settings::Mode::Off {
            session.set_yolo();
        }
        session.handle(Input::Storage(self.storage.clone()), now());
        if self.drain.is_some() {
            session.handle(Input::Drain, now());
        }
        session
    }

    /// The right to write a session. Where locks cannot be made at all (a full or read-only disk)
    /// it goes on without: nothing can be written there by anybody.
    pub(super) fn lease(&self, id: &SessionId) -> Result<Option<Lock>, String> {
        Lock::take(&self.settings.state.lease(id)).map(Some).or_else(|busy| {
            if let Some(error) = &busy.error {
                tracing::warn!(session = %id, "no lease: {error}");
                return Ok(None);
            }
            let who =
                busy.pid.map_or_else(|| "another process".to_owned(), |p| format!("process {p}"));
            Err(format!(
                "session {id} is in use by {who}; end that one first, or start a new session"
            ))
        })
    }

    /// Feeds one input to a session and carries out what follows.
    pub(super) fn feed(&mut self, id: &SessionId, input: Input) {
        let Some(live) = self.sessions.get_mut(id) else { return };
        let effects = live.session.handle(input, now());
        self.carry_out(id, effects);
    }

    fn noticed(&mut self, notice: Notice) {
        match notice {
            Notice::Exited { id, exit } => self.exited(&id, exit),
            Notice::Matched { id, hit } => self.matched(id, hit),
        }
    }

    /// Lines of a watched process matched. What the agent would be told of counts for the limit
    /// of the whole host (P04).
    fn matched(&mut self, id: ProcessId, hit: Hit) {
        let Some(session) = self.owners.get(&id).cloned() else {
            self.processes.unwatch(&id);
            return;
        };
        let now = now();
        self.release_breaker(now);
        let live = self.sessions.get(&session);
        let counts = live.is_some_and(|l| l.session.would_deliver(&id, &hit, now));
        let pass = if counts { self.breaker.admit(&session, now) } else { Pass::Free };
        if pass == Pass::Tripped {
            let text = "too many watched processes matched at once: for 30 s matches are dropped";
            self.toast(&session, News::Tripped, text.to_owned());
        }
        let admitted = pass == Pass::Free;
        self.feed(&session, Input::Matched { process: id.clone(), hit, admitted });
        let watched = self.sessions.get(&session).is_some_and(|l| {
            l.session.transcript().processes.iter().any(|p| p.id == id && p.is_watched())
        });
        if !watched {
            self.processes.unwatch(&id);
        }
    }

    /// Tells each session what the limit has cost it, once that is over.
    fn release_breaker(&mut self, now: Millis) {
        for (session, dropped) in self.breaker.release(now) {
            let text = format!("matches are told again; {dropped} of this session were dropped");
            self.toast(&session, News::Released { dropped }, text);
        }
    }

    fn toast(&mut self, session: &SessionId, news: News, text: String) {
        let name = self.sessions.get(session).map(|l| l.session.name()).unwrap_or_default();
        let session = session.clone();
        self.announce(&Event::Toast(Toast { session, name, process: None, news, text }));
    }

    fn exited(&mut self, id: &ProcessId, exit: Exit) {
        if self.orphans.has(id) {
            self.found_orphan(id, Found::Ended(exit));
            return;
        }
        let Some(session) = self.owners.get(id).cloned() else {
            tracing::warn!(process = %id, "a process of no known session ended");
            self.processes.acknowledge(id);
            return;
        };
        let output = terminal::tail(&self.processes.output(id), wakeup::TAIL * 2);
        self.feed(&session, Input::Exited { process: id.clone(), exit, output });
    }

    fn found(&mut self, id: ProcessId, found: Found) {
        if self.orphans.has(&id) {
            self.found_orphan(&id, found);
            return;
        }
        match found {
            Found::Running { pid } => {
                if let Some(session) = self.owners.get(&id).cloned() {
                    self.feed(&session, Input::Adopted { process: id, pid });
                }
            }
            Found::Ended(exit) => self.exited(&id, exit),
            Found::Lost { exit, child } => {
                self.exited(&id, exit);
                // Its supervisor is gone, but a kill was asked for and the child still lives.
                if child.is_some() && self.is_kill_requested(&id) {
                    let processes = self.processes.clone();
                    tokio::spawn(async move { processes.kill(&id).await });
                }
            }
        }
    }

    fn is_kill_requested(&self, id: &ProcessId) -> bool {
        let live = self.owners.get(id).and_then(|session| self.sessions.get(session));
        live.is_some_and(|live| {
            let mut processes = live.session.transcript().processes.iter();
            processes.any(|p| p.id == *id && p.killed_by.is_some())
        })
    }

    fn reported(&mut self, report: store::Report) {
        match report {
            store::Report::Committed(no) => {
                self.project_writes.settle(no, &Ok(()));
                self.release(no);
            }
            store::Report::Failing { upto, message } => {
                self.project_writes.settle(upto, &Err(message.clone()));
                self.set_storage(Storage::Failing(message));
                self.release_unwritten(upto);
            }
            store::Report::Recovered(no) => {
                self.release_recovered(no);
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
            self.unload_if_unused(&id);
        }
    }

    /// From now on nothing starts; turns that run may come to their end (R05).
    fn start_drain(&mut self, done: oneshot::Sender<()>) {
        let until = Instant::now() + self.settings.agent.drain;
        let drain = self.drain.get_or_insert_with(|| Drain { until, waiting: Vec::new() });
        drain.waiting.push(done);
        for id in self.sessions.keys().cloned().collect::<Vec<_>>() {
            self.feed(&id, Input::Drain);
        }
    }

    /// Ends all work of all sessions, as the user's wish. What waits behind it must not start.
    fn interrupt_all(&mut self) {
        for id in self.sessions.keys().cloned().collect::<Vec<_>>() {
            self.feed(&id, Input::Drain);
            if self.sessions.get(&id).is_some_and(|l| l.session.transcript().running.is_some()) {
                self.feed(&id, Input::Cancel);
            }
            self.feed(&id, Input::Kill(None));
        }
    }

    /// What there is to do.
    fn work(&self) -> Work {
        let (timers, fronts) = (self.skipped.len(), self.fronts.count());
        let mut work = Work { timers, fronts, ..Work::default() };
        for live in self.sessions.values() {
            let view = live.session.transcript();
            work.turns += usize::from(view.running.is_some());
            work.processes += view.processes.iter().filter(|p| p.is_live()).count();
            work.timers += usize::from(live.session.deadline().is_some());
        }
        work
    }

    /// When nothing is waited for any more: at once if no turn works.
    fn drained(&self) -> Option<Instant> {
        let drain = self.drain.as_ref().filter(|drain| !drain.waiting.is_empty())?;
        let works = self.sessions.values().any(|l| l.session.works());
        Some(if works { drain.until } else { Instant::now() })
    }

    fn end_drain(&mut self) {
        for waiting in self.drain.iter_mut().flat_map(|drain| drain.waiting.drain(..)) {
            waiting.send(()).ok();
        }
    }

    /// When the next session wants a tick.
    fn next_tick(&self) -> Option<Millis> {
        let sessions = self.sessions.values().filter_map(|l| l.session.deadline());
        sessions.chain(self.breaker.deadline()).min()
    }

    /// The first deadline has come, or the clock was set back: then no session's has, and each
    /// looks for itself.
    fn tick(&mut self) {
        self.release_breaker(now());
        let waiting = self.sessions.iter().filter(|(_, l)| l.session.deadline().is_some());
        for id in waiting.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.feed(&id, Input::Tick);
        }
    }

    /// Publishes to every view of the host.
    pub(super) fn announce(&mut self, event: &Event) {
        for front in self.fronts.ids() {
            self.push(front, event.clone());
        }
    }
}

/// Runs until told to stop.
pub(super) async fn run(
    mut hub: HostLoop,
    mut inbox: Inbox,
    mut controls: mpsc::UnboundedReceiver<Control>,
    mut signals: mpsc::UnboundedReceiver<(ViewId, Signal)>,
) {
    hub.resume();
    loop {
        for id in std::mem::take(&mut hub.unused) {
            hub.unload_if_unused(&id);
        }
        let tick = hub.next_tick();
        let flush = hub.flush_at;
        let retry = hub.retry_at;
        let drained = hub.drained();
        let lists = hub.news.due();
        tokio::select! {
            biased;
            Some(report) = inbox.reports.recv() => hub.reported(report),
            Some(messages) = inbox.messages.recv() => hub.heard(messages),
            Some(notice) = inbox.notices.recv() => hub.noticed(notice),
            Some((id, found)) = inbox.adopted.recv() => {
                // What it printed before the end that was found is there by now and comes first.
                while let Ok(notice) = inbox.notices.try_recv() {
                    hub.noticed(notice);
                }
                hub.found(id, found);
            }
            Some(joined) = hub.turns.join_next_with_id(), if !hub.turns.is_empty() => {
                hub.joined(joined);
            }
            control = controls.recv() => match control {
                Some(Control::Attach { front, backend, target, attendance, label }) => {
                    hub.attach(front, backend, &target, attendance, &label);
                }
                Some(Control::Open { front, backend, session, attendance, label, opened }) => {
                    opened.send(hub.open_view(front, backend, &session, attendance, &label)).ok();
                }
                Some(Control::Drain(done)) => hub.start_drain(done),
                Some(Control::InterruptAll) => hub.interrupt_all(),
                Some(Control::Look(seen)) => {
                    seen.send(hub.work()).ok();
                }
                Some(Control::File(project_change, told)) => hub.file(project_change, told),
                Some(Control::SetDefault(default, told)) => {
                    told.send(hub.set_default(default)).ok();
                }
                Some(Control::Runs(seen)) => {
                    seen.send(hub.runs()).ok();
                }
                Some(Control::HandOver) => {
                    hub.handing_over = true;
                    break;
                }
                Some(Control::Stop) | None => break,
            },
            Some((front, signal)) = signals.recv() => hub.signalled(front, signal),
            Some(done) = inbox.done.recv() => hub.finished(done),
            () = until(flush) => hub.flush(),
            () = until(lists) => hub.tell_lists(),
            () = until_millis(tick) => hub.tick(),
            () = until(retry) => hub.retry_skipped(),
            () = until(drained) => hub.end_drain(),
        }
    }
    // What was asked before the stop counts: whoever quits may have said to kill first.
    while let Ok((front, signal)) = signals.try_recv() {
        hub.signalled(front, signal);
    }
    hub.stop(&mut inbox).await;
}

/// What is looked for in the output of a process from now on.
fn watch(process: &Process) -> Watch {
    if !process.is_watched() {
        return Watch::default();
    }
    Watch { patterns: process.watch.clone(), offset: process.watching.offset }
}

fn is_older(path: &std::path::Path, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|m| m.modified()).ok();
    modified.and_then(|at| at.elapsed().ok()).is_some_and(|a| a > age)
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
