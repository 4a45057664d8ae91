//! The main job of the binary in a pseudo-terminal: a command started in the background wakes the
//! agent. `HERMES_TUI_BIN` names another binary than the one just built, such as a release.

use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::support::exe;

/// Generous bound for anything that must happen.
const LONG: Duration = Duration::from_secs(30);

/// What the binary wrote so far, as a screen.
struct Screen {
    parser: vt100::Parser,
    bytes: Receiver<Vec<u8>>,
}

impl Screen {
    /// Waits until the screen shows `text`.
    fn wait_for(&mut self, text: &str) {
        self.wait(text, |screen| screen.contains(text));
    }

    fn wait(&mut self, what: &str, fits: impl Fn(&str) -> bool) {
        let end = Instant::now() + LONG;
        while !fits(&self.parser.screen().contents()) {
            let left = end.saturating_duration_since(Instant::now());
            match self.bytes.recv_timeout(left) {
                Ok(bytes) => self.parser.process(&bytes),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {what:?} on:\n{}", self.parser.screen().contents())
                }
            }
        }
    }
}

// W01
#[test]
fn smoke_a_background_command_wakes_the_agent() {
    let exe = exe();
    let home = tempfile::tempdir().unwrap();
    let size = PtySize { rows: 30, cols: 100, pixel_width: 0, pixel_height: 0 };
    let pty = native_pty_system().openpty(size).unwrap();
    let mut command = CommandBuilder::new(exe);
    command.env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.env("TERM", "xterm-256color");
    command.env("LANG", "C.UTF-8");
    command.env("SHELL", "/bin/sh");
    command.env("HOME", home.path());
    command.env("HERMES_TUI_HOME", home.path().join("state"));
    command.cwd(home.path());
    let mut child = pty.slave.spawn_command(command).unwrap();
    drop(pty.slave);
    let mut reader = pty.master.try_clone_reader().unwrap();
    let (tx, bytes) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = reader.read(&mut buffer) {
            if tx.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut keys = pty.master.take_writer().unwrap();
    let (rows, columns) = (NonZeroU16::new(30).unwrap(), NonZeroU16::new(100).unwrap());
    let mut screen = Screen { parser: vt100::Parser::new(rows, columns, 0), bytes };

    screen.wait_for("demo");
    keys.write_all(b"background 1").unwrap();
    screen.wait_for("background 1");
    keys.write_all(b"\r").unwrap();
    screen.wait_for("I will be woken");
    screen.wait_for("ended with exit code 0; its last line: done");
    // Else it would ask what is to become of the turn.
    screen.wait("end of the turn", |screen| !screen.contains("Esc interrupts"));
    keys.write_all(b"\x04").unwrap();
    // The end of the output says that the terminal was handed back.
    let end = Instant::now() + LONG;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < end, "it does not quit:\n{}", screen.parser.screen().contents());
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "{status:?}");
}
