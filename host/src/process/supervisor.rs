//! The supervisor: one small process per command that starts it, stores its output, holds its
//! standard input, ends its tree and records how it ended, whether or not a host is running.
//!
//! A few blocking threads, no async runtime, no signal handler. Its standard input is the lock of
//! its directory and stays open, untouched, for as long as it lives; its standard output is the
//! socket of the host that started it. It stays until the output has ended and a host has stored
//! the exit, or until 10 minutes later: a grandchild must not die of a broken pipe.

mod stdin;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{AccessFlags, Pid, access};
use portable_pty::{CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::directory::{Order, ProcessDir, now, unknown};
use super::output::OutputWriter;
use super::tree::{self, ProcessIdentity};
use super::wire::{self, INPUT_LIMIT, Report, Request, RequestLine};
use protocol::{End, Exit, Millis};
use stdin::{Input, InputData, Stdin};

/// How long the exit waits for output that is still on its way.
const OUTPUT_GRACE: Duration = Duration::from_millis(250);
/// How long to stay for a host that stores the exit.
const STAY: Duration = Duration::from_mins(10);
/// How long a host may leave a line unread before it is dropped.
const PATIENCE: Duration = Duration::from_secs(1);
const STACK: usize = 128 * 1024;
const BUFFER: usize = 32 * 1024;
const SIZE: PtySize = PtySize { rows: 30, cols: 120, pixel_width: 0, pixel_height: 0 };

/// Runs the supervisor of the process in `dir`. Returns when there is nothing left to do.
pub fn supervise(dir: &Path) -> ExitCode {
    // It may have been started as `/proc/self/exe`, which says nothing in a list of processes.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_name(c"hermes-tui");
    match run(&ProcessDir::at(dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The state that the threads share.
struct Shared {
    pid: u32,
    state: Mutex<State>,
    changed: Condvar,
    seen: AtomicU64,
    /// Bytes of input that the child has not taken yet.
    pending: AtomicUsize,
    /// A kill is under way.
    killing: AtomicBool,
    input: Option<Sender<Input>>,
}

#[derive(Default)]
struct State {
    /// Set under the same lock as the child is reaped: until then its group is ours.
    ended: Option<Ended>,
    /// The record, once it is written.
    exit: Option<Exit>,
    /// The end was requested while the child still ran.
    killed: bool,
    output_over: bool,
    stored: bool,
    connections: Vec<Connection>,
    next_connection: u64,
}

/// A host that is connected.
struct Connection {
    id: u64,
    stream: UnixStream,
    /// It requests one report of output beyond that many bytes.
    watch: Option<u64>,
}

struct Ended {
    code: Option<i32>,
    signal: Option<i32>,
    at: Millis,
}

/// A child that runs.
struct Launched {
    child: Child,
    output: Box<dyn Read + Send>,
    stdin: Option<Stdin>,
    /// Open as long as the terminal is to live.
    terminal: Option<Box<dyn MasterPty + Send>>,
}

/// Whether the end of the first connection ends the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leash {
    Tight,
    Loose,
}

fn run(dir: &ProcessDir) -> io::Result<()> {
    // Away from the host's terminal and its signals. Fails only for a group leader.
    let _ = nix::unistd::setsid();
    // Orphans of the tree come to us, so that a kill finds them and somebody reaps them.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let host = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    // Without an order the directory is not ours, least of all its record.
    let order = dir.take_order()?;
    let (listener, launched) = match start(dir, &order) {
        Ok(started) => started,
        Err(error) => return fail(dir, host, &error.to_string()),
    };
    let socket = dir.socket();
    let Launched { child, output, stdin, terminal } = launched;
    let (input, inputs) = channel();
    let shared = Arc::new(Shared {
        pid: child.id(),
        state: Mutex::default(),
        changed: Condvar::new(),
        seen: AtomicU64::new(0),
        pending: AtomicUsize::new(0),
        killing: AtomicBool::new(false),
        input: stdin.is_some().then_some(input),
    });
    let writer = OutputWriter::new(dir.path());
    spawn(&shared, move |shared| drain(shared, output, writer))?;
    let leash = if order.leashed { Leash::Tight } else { Leash::Loose };
    drop(order);
    serve_connection(&shared, host, leash);
    spawn(&shared, move |shared| reap(shared, child))?;
    if let Some(stdin) = stdin {
        spawn(&shared, move |shared| stdin::feed(shared, stdin, inputs))?;
    }
    let synced = (leash == Leash::Loose).then(|| dir.clone());
    spawn(&shared, move |shared| {
        // Records survive a power cut too; not on the way of anything that waits.
        if let Some(dir) = synced {
            dir.sync();
        }
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => serve_connection(shared, stream, Leash::Loose),
                // Out of descriptors or memory: hosts try again, and so do we.
                Err(_) => thread::sleep(PATIENCE),
            }
        }
    })?;
    finish(&shared, dir, leash);
    let _ = std::fs::remove_file(socket);
    drop(terminal);
    Ok(())
}

fn spawn(shared: &Arc<Shared>, work: impl FnOnce(&Arc<Shared>) + Send + 'static) -> io::Result<()> {
    let shared = Arc::clone(shared);
    thread::Builder::new().stack_size(STACK).spawn(move || work(&shared)).map(drop)
}

/// Prepares the directory, listens and starts the child.
fn start(dir: &ProcessDir, order: &Order) -> io::Result<(UnixListener, Launched)> {
    dir.prepare()?;
    let listener = UnixListener::bind(dir.choose_socket()?)?;
    if !order.cwd.is_dir() {
        let why = format!("working directory {} does not exist", order.cwd.display());
        return Err(io::Error::other(why));
    }
    if let Err(error) = access(&order.shell, AccessFlags::X_OK) {
        let why = format!("shell {}: {}", order.shell.display(), io::Error::from(error));
        return Err(io::Error::other(why));
    }
    dir.expect_child()?;
    let launched = if order.pty { on_terminal(order) } else { on_pipes(order) };
    let launched = launched.inspect_err(|_| dir.forget_child())?;
    // A full disk must not stop what already runs: then a loss would not name the child.
    let _ = dir.record_child(&ProcessIdentity::of(launched.child.id()));
    Ok((listener, launched))
}

fn on_pipes(order: &Order) -> io::Result<Launched> {
    let (output, end) = io::pipe()?;
    let stdin = if order.leashed { Stdio::null() } else { Stdio::piped() };
    let mut command = Command::new(&order.shell);
    command.arg("-c").arg(&order.command).current_dir(&order.cwd);
    command.env_clear().envs(order.env.iter().map(|(name, value)| (name, value)));
    command.process_group(0).stdin(stdin).stdout(end.try_clone()?).stderr(end);
    let mut child = command.spawn()?;
    let stdin = child.stdin.take().map(Stdin::Pipe);
    Ok(Launched { child, output: Box::new(output), stdin, terminal: None })
}

fn on_terminal(order: &Order) -> io::Result<Launched> {
    let pair = native_pty_system().openpty(SIZE).map_err(io::Error::other)?;
    let mut command = CommandBuilder::new(&order.shell);
    command.arg("-c");
    command.arg(&order.command);
    command.cwd(&order.cwd);
    command.env_clear();
    for (name, value) in &order.env {
        command.env(name, value);
    }
    let output = pair.master.try_clone_reader().map_err(io::Error::other)?;
    let writer = pair.master.take_writer().map_err(io::Error::other)?;
    let child: Box<dyn portable_pty::Child> =
        pair.slave.spawn_command(command).map_err(io::Error::other)?;
    let Ok(child) = child.downcast::<Child>() else {
        return Err(io::Error::other("the terminal has no process"));
    };
    let stdin = Some(Stdin::Terminal { writer, mid_line: false });
    Ok(Launched { child: *child, output, stdin, terminal: Some(pair.master) })
}

/// The child never ran: recorded, shown in its output, told.
fn fail(dir: &ProcessDir, mut host: UnixStream, error: &str) -> io::Result<()> {
    let mut writer = OutputWriter::new(dir.path());
    writer.append(format!("{error}\n").as_bytes());
    let exit = unknown(End::FailedStart);
    let recorded = dir.write_record(&exit, writer.seen());
    let _ = std::fs::remove_file(dir.socket());
    let sent = host.write_all(&wire::report_line(Report::Failed { error: error.to_owned(), exit }));
    recorded.and(sent)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait_until<'a>(
        &self,
        state: MutexGuard<'a, State>,
        until: Instant,
    ) -> MutexGuard<'a, State> {
        let left = until.saturating_duration_since(Instant::now());
        self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
    }

    fn send(&self, connection: u64, report: Report) {
        let state = self.lock();
        if let Some(connection) = state.connections.iter().find(|c| c.id == connection) {
            write_line(&connection.stream, report);
        }
    }

    /// Notes how much output there is and tells who waits for it. Under the lock, so that whoever
    /// begins to wait meanwhile is not forgotten.
    fn note_output(&self, seen: u64) {
        let mut state = self.lock();
        self.seen.store(seen, Ordering::Relaxed);
        for connection in &mut state.connections {
            connection.report_output(seen);
        }
    }

    /// A host wants to hear of output beyond that.
    fn watch(&self, connection: u64, beyond: u64) {
        let mut state = self.lock();
        let seen = self.seen.load(Ordering::Relaxed);
        if let Some(connection) = state.connections.iter_mut().find(|c| c.id == connection) {
            connection.watch = Some(beyond);
            connection.report_output(seen);
        }
    }
}

impl Connection {
    fn report_output(&mut self, seen: u64) {
        if self.watch.take_if(|beyond| seen > *beyond).is_some() {
            write_line(&self.stream, Report::Output { seen });
        }
    }
}

/// Sends a line. A host that does not read is disconnected, since half a line is worse than none;
/// it connects again when it can.
fn write_line(mut stream: &UnixStream, report: Report) {
    if stream.write_all(&wire::report_line(report)).is_err() {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Copies output to its file until its end. A terminal ends with an error: an end all the same.
fn drain(shared: &Shared, mut output: Box<dyn Read + Send>, mut writer: OutputWriter) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => writer.append(buffer.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(_) => break,
        }
        shared.note_output(writer.seen());
    }
    shared.change(|state| state.output_over = true);
}

/// Waits for the child and for orphans of its tree.
#[cfg(target_os = "linux")]
fn reap(shared: &Shared, mut child: Child) {
    use nix::errno::Errno;
    use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};

    let own = Pid::from_raw(shared.pid as i32);
    loop {
        // Looks without reaping: as long as the child is not reaped its group can be signalled.
        let who = match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(status) => status.pid(),
            Err(Errno::EINTR) => continue,
            Err(Errno::ECHILD) => break,
            // Ended by a signal without a name here (real time): ours or an orphan.
            Err(_) => None,
        };
        let mut state = shared.lock();
        if state.ended.is_none() && who.is_none_or(|pid| pid == own) {
            match child.try_wait() {
                Ok(Some(status)) => {
                    state.ended =
                        Some(Ended { code: status.code(), signal: status.signal(), at: now() });
                    shared.changed.notify_all();
                    continue;
                }
                Ok(None) => (),
                Err(_) => {
                    state.ended = Some(Ended { code: None, signal: None, at: now() });
                    shared.changed.notify_all();
                }
            }
        }
        drop(state);
        if who != Some(own) {
            let _ = waitpid(who, Some(WaitPidFlag::WNOHANG));
        }
    }
    // No process is left; of a child that was reaped by someone else the end is unknown.
    let mut state = shared.lock();
    if state.ended.is_none() {
        state.ended = Some(Ended { code: None, signal: None, at: now() });
        shared.changed.notify_all();
    }
}

/// Waits for the child. Between its end and the note of it lie a few instructions in which its
/// group could be signalled too late; systems without `waitid` leave no better way.
#[cfg(not(target_os = "linux"))]
fn reap(shared: &Shared, mut child: Child) {
    let status = child.wait().ok();
    let code = status.and_then(|status| status.code());
    let signal = status.and_then(|status| status.signal());
    shared.change(|state| state.ended = Some(Ended { code, signal, at: now() }));
}

/// Serves one connection in a thread of its own.
fn serve_connection(shared: &Arc<Shared>, stream: UnixStream, leash: Leash) {
    let Ok(writer) = stream.try_clone() else { return };
    let _ = writer.set_write_timeout(Some(PATIENCE));
    let connection = {
        let mut state = shared.lock();
        write_line(&writer, Report::Started { pid: shared.pid, exit: state.exit.clone() });
        state.next_connection += 1;
        let connection = state.next_connection;
        state.connections.push(Connection { id: connection, stream: writer, watch: None });
        connection
    };
    let spawned = spawn(shared, move |shared| {
        // An error ends it too: the host is gone or sends nonsense.
        let _ = read_requests(shared, connection, stream);
        shared.change(|state| state.connections.retain(|c| c.id != connection));
        if leash == Leash::Tight && !shared.lock().stored {
            kill(shared);
            shared.change(|state| state.stored = true);
        }
    });
    if spawned.is_err() {
        shared.change(|state| state.connections.retain(|c| c.id != connection));
    }
}

fn read_requests(shared: &Arc<Shared>, connection: u64, stream: UnixStream) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(4096, stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut stream).take(65_536).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let request: RequestLine = serde_json::from_slice(&line)?;
        if request.bytes > INPUT_LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; request.bytes];
        stream.read_exact(&mut bytes)?;
        let n = request.n;
        match request.request {
            Request::Write => {
                stdin::queue(shared, Input { connection, n, data: InputData::Bytes(bytes) });
            }
            Request::Close => stdin::queue(shared, Input { connection, n, data: InputData::End }),
            Request::Kill => spawn(shared, kill)?,
            Request::Ack => shared.change(|state| state.stored = true),
            Request::Watch { seen } => shared.watch(connection, seen),
            Request::Unknown => {
                shared.send(connection, Report::Refused { n, why: "not supported".to_owned() });
            }
        }
    }
}

/// Ends the tree; what is left of it, if the child has ended already.
fn kill(shared: &Arc<Shared>) {
    if shared.killing.swap(true, Ordering::SeqCst) {
        return;
    }
    shared.change(|state| state.killed |= state.ended.is_none());
    let group = Pid::from_raw(shared.pid as i32);
    tree::end(
        || tree::below(std::process::id()),
        |signal: Signal| {
            let state = shared.lock();
            if state.ended.is_none() {
                let _ = killpg(group, signal);
            }
        },
        || shared.lock().ended.is_some(),
    );
    // Under the lock: a thread that has just checked must not sleep through it.
    shared.change(|_| shared.killing.store(false, Ordering::SeqCst));
}

/// Waits for the end, records it, reports it, and stays as long as needed.
fn finish(shared: &Shared, dir: &ProcessDir, leash: Leash) {
    let mut state = shared.lock();
    let (code, signal, at) = loop {
        if let Some(ended) = &state.ended {
            break (ended.code, ended.signal, ended.at);
        }
        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    };
    let grace = Instant::now() + OUTPUT_GRACE;
    while !state.output_over && Instant::now() < grace {
        state = shared.wait_until(state, grace);
    }
    let end = if state.killed { End::Killed } else { End::Exited };
    let exit = Exit { end, code, signal, at };
    let seen = shared.seen.load(Ordering::Relaxed);
    // Without a record the exit is kept in memory, for as long as we stay.
    let recorded = dir.write_record(&exit, seen);
    for connection in &state.connections {
        write_line(&connection.stream, Report::Ended { exit: exit.clone() });
    }
    state.exit = Some(exit.clone());
    drop(state);
    if let (Ok(file), Leash::Loose) = (recorded, leash) {
        // Onto the disk, after all hosts have been notified.
        let _ = file.sync_data();
    }
    let stay = Instant::now() + STAY;
    let mut state = shared.lock();
    loop {
        let free = state.stored || Instant::now() >= stay;
        if free && state.output_over && !shared.killing.load(Ordering::SeqCst) {
            break;
        }
        let until = if free { Instant::now() + STAY } else { stay };
        state = shared.wait_until(state, until);
    }
    drop(state);
    let seen_late = shared.seen.load(Ordering::Relaxed);
    if seen_late != seen {
        // Output after the end counts too. The host knows the exit by now.
        let _ = dir.write_record(&exit, seen_late);
    }
}
