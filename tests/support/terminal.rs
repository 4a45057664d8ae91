//! The real binary in a pseudo-terminal: keys in, a screen out.

use std::io::{Read as _, Write};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::home::{Home, exe};

/// See the module.
pub(crate) struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    /// The terminal, what is typed into it, and who reads it.
    tty: Option<Tty>,
    shown: Arc<Mutex<Shown>>,
}

type Tty = (Box<dyn MasterPty + Send>, Box<dyn Write + Send>, JoinHandle<()>);

struct Shown {
    parser: vt100::Parser,
    raw: Vec<u8>,
    /// Nobody looks any more.
    over: bool,
}

impl Terminal {
    /// Starts the binary with these arguments in a terminal of 100 columns and 30 lines.
    pub(crate) fn start(home: &Home, args: &[&str]) -> Self {
        let mut command = CommandBuilder::new(exe());
        command.args(args);
        Self::with(home, command)
    }

    /// A shell that takes commands, and suspends and continues what it runs.
    pub(crate) fn shell(home: &Home) -> Self {
        let mut command = CommandBuilder::new("bash");
        command.args(["--norc", "--noprofile", "-i"]);
        Self::with(home, command)
    }

    fn with(home: &Home, mut command: CommandBuilder) -> Self {
        let size = PtySize { rows: 30, cols: 100, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        command.env_clear();
        for (name, value) in home.env() {
            command.env(name, value);
        }
        command.cwd(home.work());
        let child = pair.slave.spawn_command(command).unwrap();
        // Or the reader never sees the end.
        drop(pair.slave);
        let keys = pair.master.take_writer().unwrap();
        let mut output = pair.master.try_clone_reader().unwrap();
        let parser = vt100::Parser::new(lines(30), lines(100), 0);
        let shown = Arc::new(Mutex::new(Shown { parser, raw: Vec::new(), over: false }));
        let sink = shown.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                let mut shown = sink.lock().unwrap();
                shown.parser.process(&buffer[..count]);
                shown.raw.extend_from_slice(&buffer[..count]);
                if shown.over {
                    break;
                }
            }
        });
        Self { child, tty: Some((pair.master, keys, reader)), shown }
    }

    /// Starts it and waits until it takes keys.
    pub(crate) async fn open(home: &Home, args: &[&str]) -> Self {
        let mut terminal = Self::start(home, args);
        terminal.shows("❯").await;
        terminal
    }

    /// The text on the screen.
    pub(crate) fn screen(&self) -> String {
        self.shown.lock().unwrap().parser.screen().contents()
    }

    /// All that was written so far.
    pub(crate) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap().raw).into_owned()
    }

    pub(crate) fn keys(&mut self, keys: &str) {
        let (_, input, _) = self.tty.as_mut().expect("a terminal");
        input.write_all(keys.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// Types a prompt and sends it. A paste is one input, however long it is.
    pub(crate) fn send(&mut self, prompt: &str) {
        self.keys(&format!("\x1b[200~{prompt}\x1b[201~"));
        self.keys("\r");
    }

    pub(crate) fn resize(&mut self, rows: u16, cols: u16) {
        self.shown.lock().unwrap().parser.screen_mut().set_size(lines(rows), lines(cols));
        let size = PtySize { rows, cols, pixel_width: 0, pixel_height: 0 };
        let (master, _, _) = self.tty.as_ref().expect("a terminal");
        master.resize(size).unwrap();
    }

    /// Waits until the screen has that text.
    pub(crate) async fn shows(&mut self, text: &str) -> String {
        self.until(&format!("{text:?}"), |screen| screen.contains(text)).await
    }

    /// Waits until the screen is as wanted, and gives it.
    pub(crate) async fn until(&mut self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + super::LONG;
        loop {
            let screen = self.screen();
            if fits(&screen) {
                return screen;
            }
            if Instant::now() > end {
                let exit = self.child.try_wait();
                panic!("waited in vain for {what} (exit {exit:?}); the screen:\n{screen}");
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.process_id().expect("a process")
    }

    /// Ends it as nothing can resist, and reaps it.
    pub(crate) fn kill(&mut self) {
        let _ = kill(Pid::from_raw(self.pid() as i32), Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Closes the terminal under it.
    pub(crate) fn hang_up(&mut self) {
        // The reader has a hand on the terminal too: it lets go after the next bytes.
        self.shown.lock().unwrap().over = true;
        self.resize(20, 60);
        let (_, _, reader) = self.tty.take().expect("a terminal");
        reader.join().unwrap();
    }

    /// The exit code, once it has ended.
    pub(crate) async fn exit(&mut self) -> u32 {
        let end = Instant::now() + super::LONG;
        loop {
            // The last it wrote may come after its end.
            let read = self.tty.as_ref().is_none_or(|(_, _, reader)| reader.is_finished());
            if let (true, Some(status)) = (read, self.child.try_wait().unwrap()) {
                return status.exit_code();
            }
            assert!(Instant::now() < end, "it does not end; the screen:\n{}", self.screen());
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

fn lines(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}
