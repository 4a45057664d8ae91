//! The host's task for one process. It owns the connection to the supervisor and reports what
//! happens to the process.
//!
//! When the connection breaks the lock decides: held means connect again, free means ended or
//! lost. Invariant: an end is settled once; it goes either to the caller that waits for the first
//! report (spawn, adopt) or, for a background process, out as a notice.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::directory::{DirState, ProcessDir, unknown};
use super::launch::launch;
use super::output::Output;
use super::scan::Scanner;
use super::tree::{self, ProcessIdentity};
use super::wire::{self, Report, ReportLine, Request};
use super::{Adoption, ControlError, Kind, Notice, SpawnError, Spec, Watch};
use crate::clock::now;
use protocol::{End, Exit, ProcessId};

/// How long a held lock may go without an answer before adoption reports it as running anyway.
const PATIENCE: Duration = Duration::from_secs(2);
const FIRST_RETRY: Duration = Duration::from_millis(1);
const LAST_RETRY: Duration = Duration::from_millis(500);
/// Watched output is polled this often where the supervisor does not report new output.
const POLL: Duration = Duration::from_millis(500);
/// Lines that match within this time after a hit are one hit: a flood of them stays countable.
const REST: Duration = Duration::from_millis(200);
/// Bytes of output scanned at once; other tasks run in between.
const READ: usize = 64 * 1024;

/// How a process ended, and its child if that survived the loss of its supervisor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ending {
    pub(super) exit: Exit,
    pub(super) survivor: Option<ProcessIdentity>,
}

/// A command for the monitor.
pub(super) enum Command {
    /// Send a request to the supervisor.
    Send {
        request: Request,
        bytes: Vec<u8>,
        reply: Option<oneshot::Sender<Result<(), ControlError>>>,
    },
    /// Stop scanning the output.
    Unwatch,
}

/// The scan of watched output.
struct OutputWatch {
    scanner: Scanner,
    output: Output,
    /// When to read next without a report of new output.
    due: Option<Instant>,
    /// The number of the pending request to report more output.
    pending: Option<u64>,
    /// The supervisor cannot report output, being of an older version: it is polled.
    polls: bool,
}

/// The caller that waits for the first report of a process.
pub(super) enum Waiter {
    Spawn(oneshot::Sender<Result<u32, SpawnError>>),
    Adopt(oneshot::Sender<Adoption>),
    Nobody,
}

/// How the task begins.
pub(super) enum Start {
    /// Launches a supervisor with this executable.
    Spawn(PathBuf, Box<Spec>),
    /// Connects to the supervisor that an earlier host launched.
    Adopt,
}

/// The task of one process.
pub(super) struct Monitor {
    id: ProcessId,
    dir: ProcessDir,
    kind: Kind,
    ending: watch::Sender<Option<Ending>>,
    commands: mpsc::UnboundedReceiver<Command>,
    notices: mpsc::UnboundedSender<Notice>,
    waiter: Waiter,
    replies: HashMap<u64, oneshot::Sender<Result<(), ControlError>>>,
    output_watch: Option<OutputWatch>,
    /// The number of the last request.
    last_request: u64,
    retry: Duration,
    /// When a caller that still waits is told that the process runs, without proof.
    report_by: Instant,
}

/// The two ends by which a monitor is reached.
pub(super) struct Handle {
    pub(super) ending: watch::Receiver<Option<Ending>>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

/// Why a connection is over.
#[derive(PartialEq, Eq)]
enum Disconnect {
    /// It broke; the lock says what to do.
    Broken,
    /// The end is known and no more commands can come.
    Finished,
}

impl Ending {
    pub(super) fn adoption(self) -> Adoption {
        match self.exit.end {
            End::Lost => {
                Adoption::Lost { exit: self.exit, child: self.survivor.map(|child| child.pid) }
            }
            End::Exited | End::Killed | End::FailedStart => Adoption::Ended(self.exit),
        }
    }
}

impl Monitor {
    pub(super) fn new(
        id: ProcessId,
        dir: ProcessDir,
        kind: Kind,
        watch: Watch,
        waiter: Waiter,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> (Self, Handle) {
        let (ending, ending_seen) = watch::channel(None);
        let (commands, received) = mpsc::unbounded_channel();
        let output = Output::of(dir.clone());
        let monitor = Self {
            id,
            dir,
            kind,
            ending,
            commands: received,
            notices,
            waiter,
            replies: HashMap::new(),
            output_watch: (!watch.patterns.is_empty()).then(|| OutputWatch::new(watch, output)),
            last_request: 0,
            retry: FIRST_RETRY,
            report_by: Instant::now() + PATIENCE,
        };
        (monitor, Handle { ending: ending_seen, commands })
    }

    pub(super) async fn run(mut self, start: Start) {
        let (mut connection, supervisor) = match start {
            Start::Spawn(exe, spec) => match self.launch(exe, *spec).await {
                Some((supervisor, connection)) => (connection, Some(supervisor)),
                None => return,
            },
            Start::Adopt => (None, None),
        };
        loop {
            if let Some(stream) = connection.take() {
                let disconnect = self.converse(stream).await;
                self.replies.clear();
                if let Some(watch) = &mut self.output_watch {
                    (watch.due, watch.pending) = (None, None);
                }
                if disconnect == Disconnect::Finished {
                    break;
                }
            }
            match self.dir.state() {
                DirState::Held => {
                    connection = UnixStream::connect(self.dir.socket()).await.ok();
                    if connection.is_none() && !self.pause().await {
                        break;
                    }
                }
                DirState::Ended(exit) => break self.settle(exit, None).await,
                DirState::NotStarted => break self.settle(unknown(End::FailedStart), None).await,
                DirState::Lost(survivor) => break self.settle(unknown(End::Lost), survivor).await,
            }
        }
        // Not read any more: senders learn that the process has ended.
        self.commands.close();
        if let Some(mut supervisor) = supervisor {
            let _ = supervisor.wait().await;
        }
    }

    async fn launch(&mut self, exe: PathBuf, spec: Spec) -> Option<(Child, Option<UnixStream>)> {
        let dir = self.dir.clone();
        let launched = tokio::task::spawn_blocking(move || launch(&dir, exe, spec)).await;
        match launched.map_err(std::io::Error::other).and_then(|launched| launched) {
            Ok((supervisor, stream)) => Some((supervisor, UnixStream::from_std(stream).ok())),
            Err(error) => {
                let error = SpawnError::Launch(error.to_string());
                self.start_failed(error, unknown(End::FailedStart)).await;
                None
            }
        }
    }

    /// Waits before the next attempt to connect; false if it is not needed any more.
    async fn pause(&mut self) -> bool {
        if Instant::now() >= self.report_by {
            self.report_running(self.dir.child().map(|child| child.pid));
        }
        sleep(self.retry).await;
        self.retry = (self.retry * 2).min(LAST_RETRY);
        let ended = self.ending.borrow().is_some();
        !(ended && self.commands.is_closed())
    }

    /// Serves one connection until it is over.
    async fn converse(&mut self, stream: UnixStream) -> Disconnect {
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::with_capacity(2048, reader).lines();
        loop {
            let unanswered = matches!(self.waiter, Waiter::Adopt(_));
            let due = self.output_watch.as_ref().and_then(|watch| watch.due);
            tokio::select! {
                biased;
                line = lines.next_line() => match line {
                    Ok(Some(line)) => {
                        if let Ok(line) = serde_json::from_str::<ReportLine>(&line)
                            && self.receive(line.report, &mut writer).await.is_err()
                        {
                            return Disconnect::Broken;
                        }
                    }
                    Ok(None) | Err(_) => return Disconnect::Broken,
                },
                command = self.commands.recv() => match command {
                    Some(command) => {
                        if self.execute(command, &mut writer).await.is_err() {
                            return Disconnect::Broken;
                        }
                    }
                    // Removed from the registry, which happens after the end only.
                    None => return Disconnect::Finished,
                },
                () = sleep_until(self.report_by), if unanswered => {
                    self.report_running(self.dir.child().map(|child| child.pid));
                }
                () = sleep_until(due.unwrap_or(self.report_by)), if due.is_some() => {
                    if self.scan(&mut writer).await.is_err() {
                        return Disconnect::Broken;
                    }
                }
            }
        }
    }

    /// Handles a report of the supervisor.
    async fn receive(
        &mut self,
        report: Report,
        writer: &mut OwnedWriteHalf,
    ) -> std::io::Result<()> {
        match report {
            Report::Started { exit: Some(exit), .. } | Report::Ended { exit } => {
                self.retry = FIRST_RETRY;
                self.settle(exit, None).await;
            }
            Report::Started { pid, exit: None } => {
                self.retry = FIRST_RETRY;
                if !self.report_running(Some(pid)) && self.kind == Kind::Foreground {
                    // The caller is gone. If this fails the leash does the same.
                    let _ = writer.write_all(&wire::request_line(0, 0, Request::Kill)).await;
                }
                if let Some(watch) = &mut self.output_watch {
                    watch.due = Some(Instant::now());
                }
            }
            Report::Output { .. } => {
                if let Some(watch) = &mut self.output_watch {
                    watch.pending = None;
                    watch.due.get_or_insert_with(Instant::now);
                }
            }
            Report::Failed { error, exit } => {
                self.start_failed(SpawnError::Command(error), exit).await;
            }
            Report::Done { n } => self.reply(n, Ok(())),
            Report::Refused { n, why } => {
                let watch = self.output_watch.as_mut().filter(|watch| watch.pending == Some(n));
                if let Some(watch) = watch {
                    (watch.pending, watch.polls) = (None, true);
                    watch.due = Some(Instant::now() + POLL);
                }
                self.reply(n, Err(ControlError::Refused(why)));
            }
            Report::Unknown => tracing::debug!(id = %self.id, "unknown report of a supervisor"),
        }
        Ok(())
    }

    async fn execute(
        &mut self,
        command: Command,
        writer: &mut OwnedWriteHalf,
    ) -> std::io::Result<()> {
        match command {
            Command::Send { request, bytes, reply } => {
                self.last_request += 1;
                let mut message = wire::request_line(self.last_request, bytes.len(), request);
                message.extend_from_slice(&bytes);
                if let Some(reply) = reply {
                    self.replies.insert(self.last_request, reply);
                }
                writer.write_all(&message).await
            }
            Command::Unwatch => {
                self.output_watch = None;
                Ok(())
            }
        }
    }

    /// Scans the next output. At its end the supervisor is asked to report when there is more.
    async fn scan(&mut self, writer: &mut OwnedWriteHalf) -> std::io::Result<()> {
        let Some(watch) = &mut self.output_watch else { return Ok(()) };
        let more = watch.read(u64::MAX);
        let hit = watch.scanner.take(now());
        let pause = match (&hit, more, watch.polls) {
            (Some(_), _, _) => Some(REST),
            (None, true, _) => Some(Duration::ZERO),
            (None, false, true) => Some(POLL),
            (None, false, false) => None,
        };
        watch.due = pause.map(|pause| Instant::now() + pause);
        // A sleep that is over already does not yield to other tasks.
        tokio::task::yield_now().await;
        if let Some(hit) = hit {
            self.notify_hit(hit);
        } else if pause.is_none() && watch.pending.is_none() {
            self.last_request += 1;
            watch.pending = Some(self.last_request);
            let request = Request::Watch { seen: watch.scanner.at() };
            writer.write_all(&wire::request_line(self.last_request, 0, request)).await?;
        }
        Ok(())
    }

    /// Scans all that was printed before the end: after it nothing matches (P02).
    async fn scan_rest(&mut self, exit: &Exit) {
        let Some(mut watch) = self.output_watch.take() else { return };
        let end = self.dir.record().map_or_else(|| watch.output.seen(), |record| record.seen);
        while watch.read(end) {
            tokio::task::yield_now().await;
        }
        if let Some(hit) = watch.scanner.take(exit.at - 1) {
            self.notify_hit(hit);
        }
    }

    fn notify_hit(&self, hit: super::WatchHit) {
        // The host has stopped listening: its successor scans the same output again.
        let _ = self.notices.send(Notice::Matched { id: self.id.clone(), hit });
    }

    fn reply(&mut self, n: u64, result: Result<(), ControlError>) {
        if let Some(reply) = self.replies.remove(&n) {
            // The caller has stopped waiting.
            let _ = reply.send(result);
        }
    }

    /// Reports to a waiting caller that the process runs; false if the caller is gone.
    fn report_running(&mut self, pid: Option<u32>) -> bool {
        match std::mem::replace(&mut self.waiter, Waiter::Nobody) {
            Waiter::Spawn(first) => first.send(Ok(pid.unwrap_or_default())).is_ok(),
            Waiter::Adopt(first) => first.send(Adoption::Running { pid }).is_ok(),
            Waiter::Nobody => true,
        }
    }

    /// A failed start is an error for the caller of spawn, and an end for everybody else.
    async fn start_failed(&mut self, error: SpawnError, exit: Exit) {
        match std::mem::replace(&mut self.waiter, Waiter::Nobody) {
            Waiter::Spawn(first) => {
                if first.send(Err(error)).is_ok() {
                    self.ending.send_replace(Some(Ending { exit, survivor: None }));
                    return;
                }
            }
            other @ (Waiter::Adopt(_) | Waiter::Nobody) => self.waiter = other,
        }
        self.settle(exit, None).await;
    }

    /// Publishes the end and reports it once; later ends are ignored.
    async fn settle(&mut self, exit: Exit, survivor: Option<ProcessIdentity>) {
        if self.ending.borrow().is_some() {
            return;
        }
        self.scan_rest(&exit).await;
        if let (Waiter::Spawn(_), Some(child)) = (&self.waiter, survivor.clone()) {
            // The caller gets an error, so the child must not run.
            tokio::task::spawn_blocking(move || tree::end_survivor(&child));
        }
        let ending = Ending { exit: exit.clone(), survivor };
        self.ending.send_replace(Some(ending.clone()));
        let reported = match std::mem::replace(&mut self.waiter, Waiter::Nobody) {
            Waiter::Adopt(first) => first.send(ending.adoption()).is_ok(),
            Waiter::Spawn(first) => {
                let error = "it ended before the command was started".to_owned();
                first.send(Err(SpawnError::Supervisor(error))).is_ok()
            }
            Waiter::Nobody => false,
        };
        if !reported && self.kind == Kind::Background {
            // The host has stopped listening: its successor reads the record.
            let _ = self.notices.send(Notice::Exited { id: self.id.clone(), exit });
        }
    }
}

impl OutputWatch {
    fn new(watch: Watch, output: Output) -> Self {
        let scanner = Scanner::new(watch);
        Self { scanner, output, due: None, pending: None, polls: false }
    }

    /// Scans the next piece of what was printed before `end`; false at the end.
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
