//! The supervisor: one small process per command that starts it, keeps its output, holds its
//! standard input, ends its tree and knows how it ended, whether or not a host is there.
//!
//! A few blocking threads, no async runtime, no signal handler. Its standard input is the lock of
//! its folder and stays open, untouched, for as long as it lives; its standard output is the
//! socket of the host that started it. It stays until the output has ended and a host has stored
//! the exit, or until 10 minutes later: a grandchild must not die of a broken pipe.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{AccessFlags, Pid, access};
use portable_pty::{CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::folder::{Folder, Order, unknown};
use super::output::Keeper;
use super::tree::{self, Birth};
use super::wire::{self, Ask, INPUT_LIMIT, Request, Tell};
use crate::clock::now;
use protocol::{End, Exit, Millis};

/// How long the exit waits for output that is still on its way.
const OUTPUT_GRACE: Duration = Duration::from_millis(250);
/// How long to stay for a host that stores the exit.
const STAY: Duration = Duration::from_mins(10);
/// How long a host may leave a line unread before it is dropped.
const PATIENCE: Duration = Duration::from_secs(1);
const STACK: usize = 128 * 1024;
const BUFFER: usize = 32 * 1024;
const SIZE: PtySize = PtySize { rows: 30, cols: 120, pixel_width: 0, pixel_height: 0 };

/// Runs the supervisor of the process in `folder`. Returns when there is nothing left to do.
pub fn supervise(folder: &Path) -> ExitCode {
    // It may have been started as `/proc/self/exe`, which is no name for a list of processes.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_name(c"hermes-tui");
    match run(&Folder::at(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What the threads share.
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
    /// Set in the same breath in which the child is reaped: until then its group is ours.
    ended: Option<Ended>,
    /// The record, once it is written.
    exit: Option<Exit>,
    /// The end was asked for while the child still ran.
    killed: bool,
    output_over: bool,
    stored: bool,
    links: Vec<Link>,
    next_link: u64,
}

/// A host that is connected.
struct Link {
    id: u64,
    stream: UnixStream,
    /// It wants to hear once of output beyond that many bytes.
    watch: Option<u64>,
}

struct Ended {
    code: Option<i32>,
    signal: Option<i32>,
    at: Millis,
}

/// A request for standard input, with whom to tell.
struct Input {
    link: u64,
    n: u64,
    what: What,
}

enum What {
    Bytes(Vec<u8>),
    End,
}

/// Standard input of the child.
enum Stdin {
    Pipe(ChildStdin),
    Terminal { writer: Box<dyn Write + Send>, mid_line: bool },
    Closed,
}

/// A child that runs.
struct Launched {
    child: Child,
    output: Box<dyn Read + Send>,
    stdin: Option<Stdin>,
    /// Open as long as the terminal is to live.
    terminal: Option<Box<dyn MasterPty + Send>>,
}

/// What the end of a connection means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leash {
    Tight,
    Loose,
}

fn run(folder: &Folder) -> io::Result<()> {
    // Away from the host's terminal and its signals. Fails only for a group leader.
    let _ = nix::unistd::setsid();
    // Orphans of the tree come to us, so that a kill finds them and somebody reaps them.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let host = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    // No order: not ours to touch, least of all its record.
    let order = folder.take_order()?;
    let (listener, launched) = match start(folder, &order) {
        Ok(started) => started,
        Err(error) => return fail(folder, host, &error.to_string()),
    };
    let socket = folder.socket();
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
    let keeper = Keeper::new(folder.path());
    spawn(&shared, move |shared| drain(shared, output, keeper))?;
    let leash = if order.leashed { Leash::Tight } else { Leash::Loose };
    drop(order);
    attend(&shared, host, leash);
    spawn(&shared, move |shared| reap(shared, child))?;
    if let Some(stdin) = stdin {
        spawn(&shared, move |shared| feed(shared, stdin, inputs))?;
    }
    let synced = (leash == Leash::Loose).then(|| folder.clone());
    spawn(&shared, move |shared| {
        // Records survive a power cut too; not on the way of anything that waits.
        if let Some(folder) = synced {
            folder.sync();
        }
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => attend(shared, stream, Leash::Loose),
                // Out of descriptors or memory: hosts try again, and so do we.
                Err(_) => thread::sleep(PATIENCE),
            }
        }
    })?;
    finish(&shared, folder, leash);
    let _ = std::fs::remove_file(socket);
    drop(terminal);
    Ok(())
}

fn spawn(shared: &Arc<Shared>, work: impl FnOnce(&Arc<Shared>) + Send + 'static) -> io::Result<()> {
    let shared = Arc::clone(shared);
    thread::Builder::new().stack_size(STACK).spawn(move || work(&shared)).map(drop)
}

/// Everything up to a running child.
fn start(folder: &Folder, order: &Order) -> io::Result<(UnixListener, Launched)> {
    folder.prepare()?;
    let listener = UnixListener::bind(folder.choose_socket()?)?;
    if !order.cwd.is_dir() {
        let why = format!("working directory {} does not exist", order.cwd.display());
        return Err(io::Error::other(why));
    }
    if let Err(error) = access(&order.shell, AccessFlags::X_OK) {
        let why = format!("shell {}: {}", order.shell.display(), io::Error::from(error));
        return Err(io::Error::other(why));
    }
    folder.expect_child()?;
    let launched = if order.pty { on_terminal(order) } else { on_pipes(order) };
    let launched = launched.inspect_err(|_| folder.forget_child())?;
    // A full disk must not stop what already runs: then a loss would not name the child.
    let _ = folder.record_child(&Birth::of(launched.child.id()));
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
fn fail(folder: &Folder, mut host: UnixStream, error: &str) -> io::Result<()> {
    let mut keeper = Keeper::new(folder.path());
    keeper.append(format!("{error}\n").as_bytes());
    let exit = unknown(End::FailedStart);
    let recorded = folder.write_record(&exit, keeper.seen());
    let _ = std::fs::remove_file(folder.socket());
    let told = host.write_all(&wire::reply(Tell::Failed { error: error.to_owned(), exit }));
    recorded.and(told)
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

    fn tell(&self, link: u64, tell: Tell) {
        let state = self.lock();
        if let Some(link) = state.links.iter().find(|l| l.id == link) {
            post(&link.stream, tell);
        }
    }

    /// Notes how much output there is and tells who waits for it. Under the lock, so that whoever
    /// begins to wait meanwhile is not forgotten.
    fn note_output(&self, seen: u64) {
        let mut state = self.lock();
        self.seen.store(seen, Ordering::Relaxed);
        for link in &mut state.links {
            link.tell_output(seen);
        }
    }

    /// A host wants to hear of output beyond that.
    fn watch(&self, link: u64, beyond: u64) {
        let mut state = self.lock();
        let seen = self.seen.load(Ordering::Relaxed);
        if let Some(link) = state.links.iter_mut().find(|l| l.id == link) {
            link.watch = Some(beyond);
            link.tell_output(seen);
        }
    }
}

impl Link {
    fn tell_output(&mut self, seen: u64) {
        if self.watch.take_if(|beyond| seen > *beyond).is_some() {
            post(&self.stream, Tell::Output { seen });
        }
    }
}

/// Sends a line. A host that does not read is cut off, since half a line is worse than none; it
/// connects again when it can.
fn post(mut stream: &UnixStream, tell: Tell) {
    if stream.write_all(&wire::reply(tell)).is_err() {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Copies output to its file until its end. A terminal ends with an error: an end all the same.
fn drain(shared: &Shared, mut output: Box<dyn Read + Send>, mut keeper: Keeper) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => keeper.append(buffer.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(_) => break,
        }
        shared.note_output(keeper.seen());
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
    // Nobody is left; a child that somebody else reaped has ended unknown.
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
fn attend(shared: &Arc<Shared>, stream: UnixStream, leash: Leash) {
    let Ok(writer) = stream.try_clone() else { return };
    let _ = writer.set_write_timeout(Some(PATIENCE));
    let link = {
        let mut state = shared.lock();
        post(&writer, Tell::Started { pid: shared.pid, exit: state.exit.clone() });
        state.next_link += 1;
        let link = state.next_link;
        state.links.push(Link { id: link, stream: writer, watch: None });
        link
    };
    let served = spawn(shared, move |shared| {
        // An error is an end as well: the host is gone or speaks nonsense.
        let _ = serve(shared, link, stream);
        shared.change(|state| state.links.retain(|l| l.id != link));
        if leash == Leash::Tight && !shared.lock().stored {
            kill(shared);
            shared.change(|state| state.stored = true);
        }
    });
    if served.is_err() {
        shared.change(|state| state.links.retain(|l| l.id != link));
    }
}

fn serve(shared: &Arc<Shared>, link: u64, stream: UnixStream) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(4096, stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut stream).take(65_536).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let request: Request = serde_json::from_slice(&line)?;
        if request.bytes > INPUT_LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; request.bytes];
        stream.read_exact(&mut bytes)?;
        let n = request.n;
        match request.ask {
            Ask::Write => input(shared, Input { link, n, what: What::Bytes(bytes) }),
            Ask::Close => input(shared, Input { link, n, what: What::End }),
            Ask::Kill => spawn(shared, kill)?,
            Ask::Ack => shared.change(|state| state.stored = true),
            Ask::Watch { seen } => shared.watch(link, seen),
            Ask::Unknown => {
                shared.tell(link, Tell::Refused { n, why: "not supported".to_owned() });
            }
        }
    }
}

/// Queues input: a child that does not read must not keep us from hearing a kill.
fn input(shared: &Shared, input: Input) {
    let (link, n) = (input.link, input.n);
    let refuse = |why: &str| shared.tell(link, Tell::Refused { n, why: why.to_owned() });
    let Some(sender) = &shared.input else {
        return refuse("standard input of this process is not open");
    };
    let size = match &input.what {
        What::Bytes(bytes) => bytes.len(),
        What::End => 0,
    };
    if shared.pending.fetch_add(size, Ordering::Relaxed) + size > INPUT_LIMIT {
        shared.pending.fetch_sub(size, Ordering::Relaxed);
        return refuse("the process does not read its standard input");
    }
    if sender.send(input).is_err() {
        refuse("standard input is closed");
    }
}

fn feed(shared: &Shared, mut stdin: Stdin, inputs: Receiver<Input>) {
    for Input { link, n, what } in inputs {
        let size = match &what {
            What::Bytes(bytes) => bytes.len(),
            What::End => 0,
        };
        let done = match what {
            What::Bytes(bytes) => stdin.write(&bytes),
            What::End => stdin.close(),
        };
        shared.pending.fetch_sub(size, Ordering::Relaxed);
        shared.tell(
            link,
            match done {
                Ok(()) => Tell::Done { n },
                Err(error) => {
                    stdin = Stdin::Closed;
                    Tell::Refused { n, why: format!("standard input is closed: {error}") }
                }
            },
        );
    }
}

impl Stdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(bytes),
            Self::Terminal { writer, mid_line } => {
                *mid_line = bytes.last().map_or(*mid_line, |last| !b"\n\r".contains(last));
                writer.write_all(bytes)?;
                writer.flush()
            }
            Self::Closed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// A pipe is closed; a terminal gets its end-of-file key, twice if a line is unfinished.
    fn close(&mut self) -> io::Result<()> {
        match self {
            Self::Pipe(_) => {
                *self = Self::Closed;
                Ok(())
            }
            Self::Terminal { writer, mid_line } => {
                let keys: &[u8] = if *mid_line { &[4, 4] } else { &[4] };
                *mid_line = false;
                writer.write_all(keys)?;
                writer.flush()
            }
            Self::Closed => Ok(()),
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
    // Under the lock: whoever has just looked must not sleep through it.
    shared.change(|_| shared.killing.store(false, Ordering::SeqCst));
}

/// Waits for the end, records it, tells it, and stays as long as needed.
fn finish(shared: &Shared, folder: &Folder, leash: Leash) {
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
    let recorded = folder.write_record(&exit, seen);
    for link in &state.links {
        post(&link.stream, Tell::Ended { exit: exit.clone() });
    }
    state.exit = Some(exit.clone());
    drop(state);
    if let (Ok(file), Leash::Loose) = (recorded, leash) {
        // Onto the disk, after everybody has been told.
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
    let late = shared.seen.load(Ordering::Relaxed);
    if late != seen {
        // What was printed after the end counts too. The host knows the exit by now.
        let _ = folder.write_record(&exit, late);
    }
}
