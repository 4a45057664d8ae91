//! The host's side: every process this host has spawned or adopted, one task for each.
//!
//! The task owns the connection to the supervisor. When that breaks the lock decides: held means
//! connect again, free means ended or lost. Invariant: an end is settled once; it goes either to
//! the caller that waits for the first word (spawn, adopt) or, for a background process, out as a
//! notice.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream as Pair;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::folder::{Folder, Order, Verdict, unknown};
use super::output::Output;
use super::scan::Scanner;
use super::tree::{self, Birth};
use super::wire::{self, Ask, INPUT_LIMIT, Reply, Tell, VERSION};
use super::{ControlError, Found, Kind, Notice, SpawnError, Spec, Watch};
use crate::clock::now;
use crate::state_dir::create_private_tmp;
use protocol::{End, Exit, ProcessId, SessionId};

/// How long a held lock may go without an answer before adoption reports it as running anyway.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a write may wait for the child to take it; it stays queued beyond that.
const WRITE: Duration = Duration::from_secs(1);
/// How long a kill may take: grace, force and output.
const KILL: Duration = Duration::from_secs(10);
/// How often a command of an earlier host is looked at until it has ended.
const LEFTOVER: Duration = Duration::from_millis(20);
const FIRST_RETRY: Duration = Duration::from_millis(1);
const LAST_RETRY: Duration = Duration::from_millis(500);
/// Watched output is looked at this often where the supervisor does not say that there is some.
const LOOK: Duration = Duration::from_millis(500);
/// Lines that match within this time after a hit are one hit: a flood of them stays countable.
const REST: Duration = Duration::from_millis(200);
/// Bytes of output looked at in one go; others have their turn in between.
const READ: usize = 64 * 1024;

/// All processes of one host. A cheap handle; dropping the last one ends the connections: the
/// background goes on under its supervisors, the foreground is killed by them.
#[derive(Clone)]
pub struct Processes {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    exe: PathBuf,
    notices: mpsc::UnboundedSender<Notice>,
    known: Mutex<HashMap<ProcessId, Entry>>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Clone)]
struct Entry {
    fate: watch::Receiver<Option<Fate>>,
    asks: mpsc::UnboundedSender<Wish>,
}

/// How a process ended, and who survived the loss of its supervisor.
#[derive(Clone, Debug, PartialEq)]
struct Fate {
    exit: Exit,
    survivor: Option<Birth>,
}

/// Something for the supervisor, or for the attendant itself.
enum Wish {
    Ask { ask: Ask, bytes: Vec<u8>, reply: Option<oneshot::Sender<Result<(), ControlError>>> },
    Unwatch,
}

/// How an attendant looks at watched output.
struct Eye {
    scanner: Scanner,
    output: Output,
    /// When to look next, without being told.
    due: Option<Instant>,
    /// The request to be told of more output that is under way.
    asked: Option<u64>,
    /// The supervisor cannot tell: it is of an older binary.
    alone: bool,
}

/// Who waits for the first word of a process.
enum Waiting {
    Spawn(oneshot::Sender<Result<u32, SpawnError>>),
    Adopt(oneshot::Sender<Found>),
    Nobody,
}

/// What a task does first.
enum Begin {
    Spawn(PathBuf, Box<Spec>),
    Adopt,
}

/// The task of one process.
struct Attendant {
    id: ProcessId,
    folder: Folder,
    kind: Kind,
    fate: watch::Sender<Option<Fate>>,
    asks: mpsc::UnboundedReceiver<Wish>,
    notices: mpsc::UnboundedSender<Notice>,
    waiting: Waiting,
    replies: HashMap<u64, oneshot::Sender<Result<(), ControlError>>>,
    eye: Option<Eye>,
    next: u64,
    retry: Duration,
    give_word: Instant,
}

/// Why a connection is over.
#[derive(PartialEq, Eq)]
enum Over {
    /// It broke; the lock knows more.
    Cut,
    /// The end is known and nobody will ask any more.
    Done,
}

impl Processes {
    /// Processes with one folder each below `root`, supervised by `exe __supervise FOLDER`.
    pub fn new(root: PathBuf, exe: PathBuf, notices: mpsc::UnboundedSender<Notice>) -> Self {
        let inner = Inner { root, exe, notices, known: Mutex::default(), tasks: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// The same program on a root below /tmp, for foreground commands while the state folder takes
    /// no files. Fails if no folder there is private.
    pub fn spare(&self) -> std::io::Result<Self> {
        let root = create_private_tmp()?.join("run");
        Ok(Self::new(root, self.inner.exe.clone(), self.inner.notices.clone()))
    }

    /// Starts a command; its child's pid. Once called it takes place even if the caller stops
    /// waiting (a foreground command is then killed). An error is recorded as a failed start and
    /// brings no notice.
    pub async fn spawn(&self, spec: Spec) -> Result<u32, SpawnError> {
        let (id, kind) = (spec.id.clone(), spec.kind);
        let (first, word) = oneshot::channel();
        let watch = spec.watch.clone();
        let begin = Begin::Spawn(self.inner.exe.clone(), Box::new(spec));
        if !self.begin(&id, kind, watch, Waiting::Spawn(first), begin) {
            return Err(SpawnError::InUse(id));
        }
        let gone = || Err(SpawnError::Supervisor("the host is stopping".to_owned()));
        word.await.unwrap_or_else(|_| gone())
    }

    /// A fresh id for a foreground command of a session.
    pub(crate) fn foreground_id(session: &SessionId) -> ProcessId {
        ProcessId(format!("{}-{session}", ProcessId::fresh()))
    }

    /// Waits until no foreground command that an earlier host ran for the session lives any more,
    /// and removes what they left. Their supervisors end them; where one is gone itself, this does.
    pub(crate) async fn end_leftovers(&self, session: &SessionId) {
        let suffix = format!("-{session}");
        let deadline = Instant::now() + KILL;
        for id in self.live_folders() {
            if !id.0.ends_with(&suffix) || self.entry(&id).is_some() {
                continue;
            }
            let folder = self.folder(&id);
            while folder.verdict() == Verdict::Held {
                if Instant::now() > deadline {
                    tracing::warn!(process = %id, "a command of an earlier host does not end");
                    return;
                }
                sleep(LEFTOVER).await;
            }
            if let Verdict::Lost(Some(survivor)) = folder.verdict() {
                let _ = tokio::task::spawn_blocking(move || tree::end_survivor(&survivor)).await;
            }
            folder.delete();
        }
    }

    /// Takes over what an earlier host spawned in the background under this id.
    pub async fn adopt(&self, id: &ProcessId) -> Found {
        self.adopt_watched(id, Watch::default()).await
    }

    /// As [`Self::adopt`], and goes on looking for patterns where the earlier host stopped.
    pub async fn adopt_watched(&self, id: &ProcessId, watch: Watch) -> Found {
        let (first, word) = oneshot::channel();
        if self.begin(id, Kind::Background, watch, Waiting::Adopt(first), Begin::Adopt)
            && let Ok(found) = word.await
        {
            return found;
        }
        match self.entry(id).and_then(|entry| entry.fate.borrow().clone()) {
            Some(fate) => fate.found(),
            None => Found::Running { pid: self.folder(id).child().map(|child| child.pid) },
        }
    }

    /// How it ended, if that is known.
    pub fn exit(&self, id: &ProcessId) -> Option<Exit> {
        match self.entry(id) {
            Some(entry) => entry.fate.borrow().as_ref().map(|fate| fate.exit.clone()),
            None => self.folder(id).record().map(|record| record.exit),
        }
    }

    /// Waits for its end; `None` if this host neither spawned nor adopted it. Dropping the future
    /// stops the waiting, nothing else.
    pub async fn wait(&self, id: &ProcessId) -> Option<Exit> {
        let mut fate = self.entry(id)?.fate;
        let fate = fate.wait_for(Option::is_some).await.ok()?;
        fate.as_ref().map(|fate| fate.exit.clone())
    }

    /// Ends the whole tree (TERM, 2 s, KILL) and says how the child ended. An end that was known
    /// before stays what it was; what still lives of that tree is killed all the same. `None`:
    /// unknown here, or it could not be killed within 10 s.
    pub async fn kill(&self, id: &ProcessId) -> Option<Exit> {
        let entry = self.entry(id)?;
        let wish = Wish::Ask { ask: Ask::Kill, bytes: Vec::new(), reply: None };
        // Nobody listens once the supervisor has gone; then the fate is known.
        let _ = entry.asks.send(wish);
        let mut fate = entry.fate;
        let fate = timeout(KILL, fate.wait_for(Option::is_some)).await.ok()?.ok()?.clone()?;
        if let Some(survivor) = fate.survivor {
            // Joined, but its end brings no news: the exit of a lost process stays unknown.
            let _ = tokio::task::spawn_blocking(move || tree::end_survivor(&survivor)).await;
        }
        Some(fate.exit)
    }

    /// Writes to standard input. `Ok` says that the child's pipe or terminal has taken the bytes,
    /// or that they wait for it for longer than a second.
    pub async fn write(&self, id: &ProcessId, bytes: &[u8]) -> Result<usize, ControlError> {
        if bytes.len() > INPUT_LIMIT {
            return Err(ControlError::TooLarge);
        }
        self.request(id, Ask::Write, bytes.to_vec()).await.map(|()| bytes.len())
    }

    /// Ends standard input: closes a pipe, types the end-of-file key on a terminal.
    pub async fn close_stdin(&self, id: &ProcessId) -> Result<(), ControlError> {
        self.request(id, Ask::Close, Vec::new()).await
    }

    async fn request(&self, id: &ProcessId, ask: Ask, bytes: Vec<u8>) -> Result<(), ControlError> {
        let entry = self.entry(id).ok_or(ControlError::Unknown)?;
        if entry.fate.borrow().is_some() {
            return Err(ControlError::Ended);
        }
        let (reply, answer) = oneshot::channel();
        entry
            .asks
            .send(Wish::Ask { ask, bytes, reply: Some(reply) })
            .map_err(|_| ControlError::Ended)?;
        match timeout(WRITE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) if entry.fate.borrow().is_some() => Err(ControlError::Ended),
            Ok(Err(_)) => Err(ControlError::Unreachable),
            Err(_) => Ok(()),
        }
    }

    /// Its output, while it runs and after, also of processes of earlier hosts.
    pub fn output(&self, id: &ProcessId) -> Output {
        Output::of(self.folder(id))
    }

    /// The exit is stored: the supervisor may go.
    pub fn acknowledge(&self, id: &ProcessId) {
        if let Some(entry) = self.entry(id) {
            // Nobody listens: it has gone already.
            let _ = entry.asks.send(Wish::Ask { ask: Ask::Ack, bytes: Vec::new(), reply: None });
        }
    }

    /// Its output is not looked at any more.
    pub fn unwatch(&self, id: &ProcessId) {
        if let Some(entry) = self.entry(id) {
            // Nobody listens: it has ended.
            let _ = entry.asks.send(Wish::Unwatch);
        }
    }

    /// Deletes the folder of an ended process and forgets it. A process that is not known to have
    /// ended is left alone.
    pub fn remove(&self, id: &ProcessId) {
        let running = self.entry(id).is_some_and(|entry| entry.fate.borrow().is_none());
        if running || (self.entry(id).is_none() && self.folder(id).verdict() == Verdict::Held) {
            return;
        }
        self.acknowledge(id);
        self.known().remove(id);
        self.folder(id).delete();
    }

    /// The processes that have a folder, for checking and cleaning.
    pub fn live_folders(&self) -> Vec<ProcessId> {
        let entries = fs::read_dir(&self.inner.root).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut ids: Vec<ProcessId> = folders
            .filter_map(|entry| entry.file_name().into_string().ok().map(ProcessId))
            .collect();
        ids.sort();
        ids
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ProcessId, Entry>> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, id: &ProcessId) -> Option<Entry> {
        self.known().get(id).cloned()
    }

    fn folder(&self, id: &ProcessId) -> Folder {
        Folder::new(&self.inner.root, id)
    }

    /// Registers the process and starts its task; false if it is registered already.
    fn begin(
        &self,
        id: &ProcessId,
        kind: Kind,
        watch: Watch,
        waiting: Waiting,
        begin: Begin,
    ) -> bool {
        let (fate, fate_seen) = watch::channel(None);
        let (asks, wishes) = mpsc::unbounded_channel();
        {
            let mut known = self.known();
            if known.contains_key(id) {
                return false;
            }
            known.insert(id.clone(), Entry { fate: fate_seen, asks });
        }
        let attendant = Attendant {
            id: id.clone(),
            folder: self.folder(id),
            kind,
            fate,
            asks: wishes,
            notices: self.inner.notices.clone(),
            waiting,
            replies: HashMap::new(),
            eye: (!watch.patterns.is_empty()).then(|| Eye::new(watch, self.output(id))),
            next: 0,
            retry: FIRST_RETRY,
            give_word: Instant::now() + PATIENCE,
        };
        let mut tasks = self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(attendant.run(begin));
        true
    }
}

impl Fate {
    fn found(self) -> Found {
        match self.exit.end {
            End::Lost => {
                Found::Lost { exit: self.exit, child: self.survivor.map(|child| child.pid) }
            }
            End::Exited | End::Killed | End::FailedStart => Found::Ended(self.exit),
        }
    }
}

/// Makes the folder and starts a supervisor. A folder that was there before is left as it is.
fn launch(folder: &Folder, exe: PathBuf, spec: Spec) -> std::io::Result<(Child, Pair)> {
    if let Some(root) = folder.path().parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    }
    folder.create()?;
    start(folder, exe, spec).inspect_err(|_| {
        // It holds the whole environment, and nobody will take it.
        let _ = folder.take_order();
        // If this fails too, the absence of a child says the same.
        let _ = folder.write_record(&unknown(End::FailedStart), 0);
    })
}

/// Takes the lock and starts a supervisor that inherits it.
fn start(folder: &Folder, exe: PathBuf, spec: Spec) -> std::io::Result<(Child, Pair)> {
    let lock = folder.lock()?;
    folder.write_order(&Order {
        v: VERSION,
        command: spec.command,
        shell: spec.shell,
        cwd: spec.cwd,
        env: spec.env,
        pty: spec.pty,
        leashed: spec.kind == Kind::Foreground,
    })?;
    let (ours, theirs) = Pair::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = Command::new(exe);
    command.arg0("hermes-tui").arg("__supervise").arg(folder.path());
    // Its environment is nobody's: the child's comes with the order.
    command.env_clear().current_dir("/");
    command.stdin(lock).stdout(OwnedFd::from(theirs)).stderr(Stdio::null());
    Ok((command.spawn()?, ours))
}

impl Attendant {
    async fn run(mut self, begin: Begin) {
        let (mut link, supervisor) = match begin {
            Begin::Spawn(exe, spec) => match self.launch(exe, *spec).await {
                Some((supervisor, link)) => (link, Some(supervisor)),
                None => return,
            },
            Begin::Adopt => (None, None),
        };
        loop {
            if let Some(stream) = link.take() {
                let over = self.converse(stream).await;
                self.replies.clear();
                if let Some(eye) = &mut self.eye {
                    (eye.due, eye.asked) = (None, None);
                }
                if over == Over::Done {
                    break;
                }
            }
            match self.folder.verdict() {
                Verdict::Held => {
                    link = UnixStream::connect(self.folder.socket()).await.ok();
                    if link.is_none() && !self.pause().await {
                        break;
                    }
                }
                Verdict::Ended(exit) => break self.settle(exit, None).await,
                Verdict::NotStarted => break self.settle(unknown(End::FailedStart), None).await,
                Verdict::Lost(survivor) => break self.settle(unknown(End::Lost), survivor).await,
            }
        }
        // Not read any more: who asks now learns that it has ended.
        self.asks.close();
        if let Some(mut supervisor) = supervisor {
            let _ = supervisor.wait().await;
        }
    }

    async fn launch(&mut self, exe: PathBuf, spec: Spec) -> Option<(Child, Option<UnixStream>)> {
        let folder = self.folder.clone();
        let launched = tokio::task::spawn_blocking(move || launch(&folder, exe, spec)).await;
        match launched.map_err(std::io::Error::other).and_then(|launched| launched) {
            Ok((supervisor, link)) => Some((supervisor, UnixStream::from_std(link).ok())),
            Err(error) => {
                let error = SpawnError::Launch(error.to_string());
                self.failed(error, unknown(End::FailedStart)).await;
                None
            }
        }
    }

    /// Waits before the next try to connect; false if nobody needs it any more.
    async fn pause(&mut self) -> bool {
        if Instant::now() >= self.give_word {
            self.running(self.folder.child().map(|child| child.pid));
        }
        sleep(self.retry).await;
        self.retry = (self.retry * 2).min(LAST_RETRY);
        let ended = self.fate.borrow().is_some();
        !(ended && self.asks.is_closed())
    }

    async fn converse(&mut self, stream: UnixStream) -> Over {
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::with_capacity(2048, reader).lines();
        loop {
            let silent = matches!(self.waiting, Waiting::Adopt(_));
            let look = self.eye.as_ref().and_then(|eye| eye.due);
            tokio::select! {
                biased;
                line = lines.next_line() => match line {
                    Ok(Some(line)) => {
                        if let Ok(reply) = serde_json::from_str::<Reply>(&line)
                            && self.hear(reply.tell, &mut writer).await.is_err()
                        {
                            return Over::Cut;
                        }
                    }
                    Ok(None) | Err(_) => return Over::Cut,
                },
                wish = self.asks.recv() => match wish {
                    Some(wish) => {
                        if self.say(wish, &mut writer).await.is_err() {
                            return Over::Cut;
                        }
                    }
                    // Forgotten by the registry, which happens after the end only.
                    None => return Over::Done,
                },
                () = sleep_until(self.give_word), if silent => {
                    self.running(self.folder.child().map(|child| child.pid));
                }
                () = sleep_until(look.unwrap_or(self.give_word)), if look.is_some() => {
                    if self.look(&mut writer).await.is_err() {
                        return Over::Cut;
                    }
                }
            }
        }
    }

    async fn hear(&mut self, tell: Tell, writer: &mut OwnedWriteHalf) -> std::io::Result<()> {
        match tell {
            Tell::Started { exit: Some(exit), .. } | Tell::Ended { exit } => {
                self.retry = FIRST_RETRY;
                self.settle(exit, None).await;
            }
            Tell::Started { pid, exit: None } => {
                self.retry = FIRST_RETRY;
                if !self.running(Some(pid)) && self.kind == Kind::Foreground {
                    // Nobody waits for it any more. If this fails the leash does the same.
                    let _ = writer.write_all(&wire::request(0, 0, Ask::Kill)).await;
                }
                if let Some(eye) = &mut self.eye {
                    eye.due = Some(Instant::now());
                }
            }
            Tell::Output { .. } => {
                if let Some(eye) = &mut self.eye {
                    eye.asked = None;
                    eye.due.get_or_insert_with(Instant::now);
                }
            }
            Tell::Failed { error, exit } => self.failed(SpawnError::Command(error), exit).await,
            Tell::Done { n } => self.answer(n, Ok(())),
            Tell::Refused { n, why } => {
                if let Some(eye) = self.eye.as_mut().filter(|eye| eye.asked == Some(n)) {
                    (eye.asked, eye.alone) = (None, true);
                    eye.due = Some(Instant::now() + LOOK);
                }
                self.answer(n, Err(ControlError::Refused(why)));
            }
            Tell::Unknown => tracing::debug!(id = %self.id, "unknown word of a supervisor"),
        }
        Ok(())
    }

    async fn say(&mut self, wish: Wish, writer: &mut OwnedWriteHalf) -> std::io::Result<()> {
        match wish {
            Wish::Ask { ask, bytes, reply } => {
                self.next += 1;
                let mut message = wire::request(self.next, bytes.len(), ask);
                message.extend_from_slice(&bytes);
                if let Some(reply) = reply {
                    self.replies.insert(self.next, reply);
                }
                writer.write_all(&message).await
            }
            Wish::Unwatch => {
                self.eye = None;
                Ok(())
            }
        }
    }

    /// Looks at the next output. At its end the supervisor is asked to say when there is more.
    async fn look(&mut self, writer: &mut OwnedWriteHalf) -> std::io::Result<()> {
        let Some(eye) = &mut self.eye else { return Ok(()) };
        let more = eye.read(u64::MAX);
        let hit = eye.scanner.take(now());
        let pause = match (&hit, more, eye.alone) {
            (Some(_), _, _) => Some(REST),
            (None, true, _) => Some(Duration::ZERO),
            (None, false, true) => Some(LOOK),
            (None, false, false) => None,
        };
        eye.due = pause.map(|pause| Instant::now() + pause);
        // A sleep that is over already lets nobody else run.
        tokio::task::yield_now().await;
        if let Some(hit) = hit {
            self.tell_hit(hit);
        } else if pause.is_none() && eye.asked.is_none() {
            self.next += 1;
            eye.asked = Some(self.next);
            let seen = eye.scanner.at();
            writer.write_all(&wire::request(self.next, 0, Ask::Watch { seen })).await?;
        }
        Ok(())
    }

    /// Looks at all that was printed before the end: after it nothing matches (P02).
    async fn look_last(&mut self, exit: &Exit) {
        let Some(mut eye) = self.eye.take() else { return };
        let end = self.folder.record().map_or_else(|| eye.output.seen(), |record| record.seen);
        while eye.read(end) {
            tokio::task::yield_now().await;
        }
        if let Some(hit) = eye.scanner.take(exit.at - 1) {
            self.tell_hit(hit);
        }
    }

    fn tell_hit(&self, hit: super::Hit) {
        // The host has stopped listening: its successor looks at the same output again.
        let _ = self.notices.send(Notice::Matched { id: self.id.clone(), hit });
    }

    fn answer(&mut self, n: u64, answer: Result<(), ControlError>) {
        if let Some(reply) = self.replies.remove(&n) {
            // The caller has stopped waiting.
            let _ = reply.send(answer);
        }
    }

    /// Tells whoever waits for the first word that it runs; false if they have gone.
    fn running(&mut self, pid: Option<u32>) -> bool {
        match std::mem::replace(&mut self.waiting, Waiting::Nobody) {
            Waiting::Spawn(first) => first.send(Ok(pid.unwrap_or_default())).is_ok(),
            Waiting::Adopt(first) => first.send(Found::Running { pid }).is_ok(),
            Waiting::Nobody => true,
        }
    }

    /// A failed start goes to the caller of spawn, to anybody else as an end.
    async fn failed(&mut self, error: SpawnError, exit: Exit) {
        match std::mem::replace(&mut self.waiting, Waiting::Nobody) {
            Waiting::Spawn(first) => {
                if first.send(Err(error)).is_ok() {
                    self.fate.send_replace(Some(Fate { exit, survivor: None }));
                    return;
                }
            }
            other @ (Waiting::Adopt(_) | Waiting::Nobody) => self.waiting = other,
        }
        self.settle(exit, None).await;
    }

    /// Notes the end, the first time it is heard of, and sees to it that it is told once.
    async fn settle(&mut self, exit: Exit, survivor: Option<Birth>) {
        if self.fate.borrow().is_some() {
            return;
        }
        self.look_last(&exit).await;
        if let (Waiting::Spawn(_), Some(child)) = (&self.waiting, survivor.clone()) {
            // Nobody will hear that it runs, so it must not.
            tokio::task::spawn_blocking(move || tree::end_survivor(&child));
        }
        let fate = Fate { exit: exit.clone(), survivor };
        self.fate.send_replace(Some(fate.clone()));
        let told = match std::mem::replace(&mut self.waiting, Waiting::Nobody) {
            Waiting::Adopt(first) => first.send(fate.found()).is_ok(),
            Waiting::Spawn(first) => {
                let error = "it ended before the command was started".to_owned();
                first.send(Err(SpawnError::Supervisor(error))).is_ok()
            }
            Waiting::Nobody => false,
        };
        if !told && self.kind == Kind::Background {
            // The host has stopped listening: its successor reads the record.
            let _ = self.notices.send(Notice::Exited { id: self.id.clone(), exit });
        }
    }
}

impl Eye {
    fn new(watch: Watch, output: Output) -> Self {
        let scanner = Scanner::new(watch);
        Self { scanner, output, due: None, asked: None, alone: false }
    }

    /// Looks at the next piece of what was printed before `end`; false at the end.
    fn read(&mut self, end: u64) -> bool {
        let at = self.scanner.at();
        let most = usize::try_from(end.saturating_sub(at)).unwrap_or(READ).min(READ);
        let mut chunk = self.output.read(at, most);
        chunk.bytes.truncate(usize::try_from(end.saturating_sub(chunk.from)).unwrap_or(READ));
        if chunk.bytes.is_empty() {
            return false;
        }
        self.scanner.feed(&chunk);
        true
    }
}
