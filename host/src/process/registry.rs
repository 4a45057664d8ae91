//! The host's side: every process that this host has spawned or adopted, with a task
//! ([`super::monitor`]) for each.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::directory::{DirState, ProcessDir};
use super::monitor::{Command, Handle, Monitor, Start, Waiter};
use super::output::Output;
use super::tree;
use super::wire::{INPUT_LIMIT, Request};
use super::{Adoption, ControlError, Kind, Notice, SpawnError, Spec, Watch};
use crate::state_dir::create_private_tmp;
use protocol::{Exit, ProcessId, SessionId};

/// How long a write may wait for the child to take it; it stays queued beyond that.
const WRITE: Duration = Duration::from_secs(1);
/// How long a kill may take: grace, force and output.
const KILL: Duration = Duration::from_secs(10);
/// How often the lock of an earlier host's command is checked until it has ended.
const LEFTOVER: Duration = Duration::from_millis(20);

/// All processes of one host. A cheap handle; dropping the last one ends the connections:
/// background processes run on under their supervisors, foreground ones are killed by them.
#[derive(Clone)]
pub struct Processes {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    exe: PathBuf,
    notices: mpsc::UnboundedSender<Notice>,
    known: Mutex<HashMap<ProcessId, Arc<Handle>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Processes {
    /// Processes with one directory each below `root`, supervised by `exe __supervise DIRECTORY`.
    pub fn new(root: PathBuf, exe: PathBuf, notices: mpsc::UnboundedSender<Notice>) -> Self {
        let inner = Inner { root, exe, notices, known: Mutex::default(), tasks: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// The same on a root below /tmp, for foreground commands while the state directory is not
    /// writable. Fails if no private directory can be made there.
    pub fn spare(&self) -> std::io::Result<Self> {
        let root = create_private_tmp()?.join("run");
        Ok(Self::new(root, self.inner.exe.clone(), self.inner.notices.clone()))
    }

    /// Starts a command; returns its child's pid. Once called it completes even if the caller stops
    /// waiting (a foreground command is then killed). An error is recorded as a failed start; no
    /// notice follows.
    pub async fn spawn(&self, spec: Spec) -> Result<u32, SpawnError> {
        let (id, kind) = (spec.id.clone(), spec.kind);
        let (first, report) = oneshot::channel();
        let watch = spec.watch.clone();
        let start = Start::Spawn(self.inner.exe.clone(), Box::new(spec));
        if !self.monitor(&id, kind, watch, Waiter::Spawn(first), start) {
            return Err(SpawnError::InUse(id));
        }
        let gone = || Err(SpawnError::Supervisor("the host is stopping".to_owned()));
        report.await.unwrap_or_else(|_| gone())
    }

    /// A fresh id for a foreground command of a session.
    pub(crate) fn foreground_id(session: &SessionId) -> ProcessId {
        ProcessId(format!("{}-{session}", ProcessId::fresh()))
    }

    /// Waits until no foreground command that an earlier host ran for the session is alive, and
    /// removes their directories. Their supervisors end them; where one is gone itself, this does.
    pub(crate) async fn end_leftovers(&self, session: &SessionId) {
        let suffix = format!("-{session}");
        let deadline = Instant::now() + KILL;
        for id in self.stored_ids() {
            if !id.0.ends_with(&suffix) || self.handle(&id).is_some() {
                continue;
            }
            let dir = self.dir(&id);
            while dir.state() == DirState::Held {
                if Instant::now() > deadline {
                    tracing::warn!(process = %id, "a command of an earlier host does not end");
                    return;
                }
                sleep(LEFTOVER).await;
            }
            if let DirState::Lost(Some(survivor)) = dir.state() {
                let _ = tokio::task::spawn_blocking(move || tree::end_survivor(&survivor)).await;
            }
            dir.delete();
        }
    }

    /// Adopts what an earlier host spawned in the background under this id.
    pub async fn adopt(&self, id: &ProcessId) -> Adoption {
        self.adopt_watched(id, Watch::default()).await
    }

    /// As [`Self::adopt`], and resumes the scan for patterns where the earlier host stopped.
    pub async fn adopt_watched(&self, id: &ProcessId, watch: Watch) -> Adoption {
        let (first, report) = oneshot::channel();
        if self.monitor(id, Kind::Background, watch, Waiter::Adopt(first), Start::Adopt)
            && let Ok(adoption) = report.await
        {
            return adoption;
        }
        match self.handle(id).and_then(|handle| handle.ending.borrow().clone()) {
            Some(ending) => ending.adoption(),
            None => Adoption::Running { pid: self.dir(id).child().map(|child| child.pid) },
        }
    }

    /// How it ended, if that is known.
    pub fn exit(&self, id: &ProcessId) -> Option<Exit> {
        match self.handle(id) {
            Some(handle) => handle.ending.borrow().as_ref().map(|ending| ending.exit.clone()),
            None => self.dir(id).record().map(|record| record.exit),
        }
    }

    /// Waits for its end; `None` if this host neither spawned nor adopted it. Dropping the future
    /// stops the waiting, nothing else.
    pub async fn wait(&self, id: &ProcessId) -> Option<Exit> {
        let mut ending = self.handle(id)?.ending.clone();
        let ending = ending.wait_for(Option::is_some).await.ok()?;
        ending.as_ref().map(|ending| ending.exit.clone())
    }

    /// Ends the whole tree (TERM, 2 s, KILL) and returns how the child ended. An end that was known
    /// before stays the same; what is still alive of that tree is killed all the same. `None`:
    /// unknown here, or it could not be killed within 10 s.
    pub async fn kill(&self, id: &ProcessId) -> Option<Exit> {
        let handle = self.handle(id)?;
        // No receiver once the supervisor is gone; then the end is known.
        let _ = handle.commands.send(send(Request::Kill));
        let mut ending = handle.ending.clone();
        let ending = timeout(KILL, ending.wait_for(Option::is_some)).await.ok()?.ok()?.clone()?;
        if let Some(survivor) = ending.survivor {
            // Awaited, but its end reports nothing: the exit of a lost process stays unknown.
            let _ = tokio::task::spawn_blocking(move || tree::end_survivor(&survivor)).await;
        }
        Some(ending.exit)
    }

    /// Writes to standard input. `Ok`: the child's pipe or terminal has taken the bytes, or they
    /// are queued for longer than a second.
    pub async fn write(&self, id: &ProcessId, bytes: &[u8]) -> Result<usize, ControlError> {
        if bytes.len() > INPUT_LIMIT {
            return Err(ControlError::TooLarge);
        }
        self.request(id, Request::Write, bytes.to_vec()).await.map(|()| bytes.len())
    }

    /// Ends standard input: closes a pipe, types the end-of-file key on a terminal.
    pub async fn close_stdin(&self, id: &ProcessId) -> Result<(), ControlError> {
        self.request(id, Request::Close, Vec::new()).await
    }

    async fn request(
        &self,
        id: &ProcessId,
        request: Request,
        bytes: Vec<u8>,
    ) -> Result<(), ControlError> {
        let handle = self.handle(id).ok_or(ControlError::Unknown)?;
        if handle.ending.borrow().is_some() {
            return Err(ControlError::Ended);
        }
        let (reply, answer) = oneshot::channel();
        let command = Command::Send { request, bytes, reply: Some(reply) };
        handle.commands.send(command).map_err(|_| ControlError::Ended)?;
        match timeout(WRITE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) if handle.ending.borrow().is_some() => Err(ControlError::Ended),
            Ok(Err(_)) => Err(ControlError::Unreachable),
            Err(_) => Ok(()),
        }
    }

    /// Its output, while it runs and afterwards, also of processes of earlier hosts.
    pub fn output(&self, id: &ProcessId) -> Output {
        Output::of(self.dir(id))
    }

    /// Tells the supervisor that the exit is stored, so that it may end.
    pub fn acknowledge(&self, id: &ProcessId) {
        if let Some(handle) = self.handle(id) {
            // No receiver: it is gone already.
            let _ = handle.commands.send(send(Request::Ack));
        }
    }

    /// Stops scanning its output for patterns.
    pub fn unwatch(&self, id: &ProcessId) {
        if let Some(handle) = self.handle(id) {
            // No receiver: it has ended.
            let _ = handle.commands.send(Command::Unwatch);
        }
    }

    /// Deletes the directory of an ended process and forgets it. A process that is not known to
    /// have ended is left alone.
    pub fn remove(&self, id: &ProcessId) {
        let running = match self.handle(id) {
            Some(handle) => handle.ending.borrow().is_none(),
            None => self.dir(id).state() == DirState::Held,
        };
        if running {
            return;
        }
        self.acknowledge(id);
        self.known().remove(id);
        self.dir(id).delete();
    }

    /// The processes that have a directory, for checking and cleaning.
    pub fn stored_ids(&self) -> Vec<ProcessId> {
        let entries = fs::read_dir(&self.inner.root).into_iter().flatten().flatten();
        let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut ids: Vec<ProcessId> =
            dirs.filter_map(|entry| entry.file_name().into_string().ok().map(ProcessId)).collect();
        ids.sort();
        ids
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ProcessId, Arc<Handle>>> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, id: &ProcessId) -> Option<Arc<Handle>> {
        self.known().get(id).cloned()
    }

    fn dir(&self, id: &ProcessId) -> ProcessDir {
        ProcessDir::new(&self.inner.root, id)
    }

    /// Registers the process and starts its task; false if it is registered already.
    fn monitor(
        &self,
        id: &ProcessId,
        kind: Kind,
        watch: Watch,
        waiter: Waiter,
        start: Start,
    ) -> bool {
        let notices = self.inner.notices.clone();
        let monitor = {
            let mut known = self.known();
            if known.contains_key(id) {
                return false;
            }
            let dir = self.dir(id);
            let (monitor, handle) = Monitor::new(id.clone(), dir, kind, watch, waiter, notices);
            known.insert(id.clone(), Arc::new(handle));
            monitor
        };
        let mut tasks = self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(monitor.run(start));
        true
    }
}

/// A request without bytes whose reply is not needed.
fn send(request: Request) -> Command {
    Command::Send { request, bytes: Vec::new(), reply: None }
}
