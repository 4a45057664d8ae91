//! The program on a pseudo-terminal whose screen is known: what it shows, when, and in how many
//! bytes.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use vt100::{Parser, Screen};

const ROWS: u16 = 40;
const COLS: u16 = 120;
/// Generous bound for anything that must appear.
const LONG: Duration = Duration::from_mins(2);

const BEGIN: &[u8] = b"\x1b[?2026h";
const END: &[u8] = b"\x1b[?2026l";

/// A running program.
pub(crate) struct Tty {
    /// When it was started.
    pub(crate) started: Instant,
    /// Its process id.
    pub(crate) pid: u32,
    child: Box<dyn Child + Send + Sync>,
    writer: Box<dyn Write + Send>,
    state: Arc<Mutex<State>>,
    _master: Box<dyn MasterPty + Send>,
}

struct State {
    parser: Parser,
    written: Vec<u8>,
    awaited: Option<(Test, Sender<Instant>)>,
}

type Test = Box<dyn Fn(&Screen) -> bool + Send>;

/// The bytes of a while.
pub(crate) struct Written {
    pub(crate) bytes: usize,
    /// Synchronized updates.
    pub(crate) frames: usize,
    /// Bytes outside of them.
    pub(crate) outside: usize,
}

impl Tty {
    /// Starts it and notes when the screen first passes the test.
    pub(crate) fn start(
        command: CommandBuilder,
        test: impl Fn(&Screen) -> bool + Send + 'static,
    ) -> (Self, Duration) {
        let size = PtySize { rows: ROWS, cols: COLS, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let (seen, at) = channel();
        let state = Arc::new(Mutex::new(State {
            parser: Parser::new(ROWS.try_into().unwrap(), COLS.try_into().unwrap(), 0),
            written: Vec::new(),
            awaited: Some((Box::new(test), seen)),
        }));
        let reader = pair.master.try_clone_reader().unwrap();
        let shared = state.clone();
        std::thread::spawn(move || read(reader, &shared));
        let writer = pair.master.take_writer().unwrap();
        let started = Instant::now();
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let pid = child.process_id().unwrap();
        let tty = Self { started, pid, child, writer, state, _master: pair.master };
        let shown = tty.until(&at);
        (tty, shown - started)
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    /// Types a prompt and sends it; when that was.
    pub(crate) fn send(&mut self, prompt: &str) -> Instant {
        self.type_in(prompt);
        let expected = prompt.to_owned();
        self.wait(move |screen| input(screen) == expected);
        let at = Instant::now();
        self.type_in("\r");
        at
    }

    /// When the screen has passed the test.
    pub(crate) fn wait(&self, test: impl Fn(&Screen) -> bool + Send + 'static) -> Instant {
        self.until(&self.watch(test))
    }

    /// Types a key and says how long its echo at the end of the input takes.
    pub(crate) fn echo(&mut self, key: char) -> Duration {
        let before = input(self.lock().parser.screen());
        let expected = format!("{before}{key}");
        let shown = self.watch(move |screen| input(screen) == expected);
        let at = Instant::now();
        self.type_in(&key.to_string());
        self.until(&shown) - at
    }

    /// What was written since the last call.
    pub(crate) fn written(&self) -> Written {
        let bytes = std::mem::take(&mut self.lock().written);
        let (mut frames, mut outside) = (0, 0);
        let mut rest = bytes.as_slice();
        while let Some(begin) = find(rest, BEGIN) {
            outside += begin;
            let Some(length) = find(&rest[begin..], END) else { break };
            frames += 1;
            rest = &rest[begin + length + END.len()..];
        }
        Written { bytes: bytes.len(), frames, outside: outside + rest.len() }
    }

    fn watch(&self, test: impl Fn(&Screen) -> bool + Send + 'static) -> Receiver<Instant> {
        let (seen, at) = channel();
        let mut state = self.lock();
        if test(state.parser.screen()) {
            seen.send(Instant::now()).unwrap();
        } else {
            state.awaited = Some((Box::new(test), seen));
        }
        at
    }

    fn until(&self, at: &Receiver<Instant>) -> Instant {
        at.recv_timeout(LONG).unwrap_or_else(|_| {
            let screen = self.lock().parser.screen().contents();
            panic!("what was awaited did not appear on:\n{screen}")
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn read(mut reader: Box<dyn Read + Send>, state: &Mutex<State>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = reader.read(&mut buffer) {
        let at = Instant::now();
        let mut state = state.lock().unwrap();
        state.parser.process(&buffer[..length]);
        state.written.extend_from_slice(&buffer[..length]);
        if let Some((test, seen)) = state.awaited.take() {
            if test(state.parser.screen()) {
                seen.send(at).ok();
            } else {
                state.awaited = Some((test, seen));
            }
        }
    }
}

/// What stands in the input.
fn input(screen: &Screen) -> String {
    let last = screen.rows(0, COLS).filter(|row| row.starts_with('❯')).last();
    last.unwrap_or_default().trim_start_matches('❯').trim().to_owned()
}

/// The text stands on the screen.
pub(crate) fn shows(text: &str) -> impl Fn(&Screen) -> bool + Send + 'static {
    let text = text.to_owned();
    move |screen| screen.contents().contains(&text)
}

/// The input is there.
pub(crate) fn is_ready(screen: &Screen) -> bool {
    screen.contents().contains('❯')
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
