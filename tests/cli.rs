//! The command line of the real binary: what goes to stdout and stderr, exit codes, and what is
//! left behind. Not the interface.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod run;
mod settings;
mod show;

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::support::{exe, reap};
use host::state_dir::StateDir;

/// Generous bound for anything that must happen.
const LONG: Duration = Duration::from_secs(30);
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A home of its own: config, state and working folder.
struct Home {
    dir: tempfile::TempDir,
}

/// What a run left.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Home {
    /// One whose model is the demo, so that nothing is noted.
    fn new() -> Self {
        Self::with("model: demo\n")
    }

    /// One with this config.
    fn with(config: &str) -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap() };
        for folder in ["config", "work"] {
            fs::create_dir(home.dir.path().join(folder)).unwrap();
        }
        home.configure(config);
        home
    }

    fn configure(&self, config: &str) {
        fs::write(self.config(), config).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config/config.yaml")
    }

    /// Made by whoever writes first.
    fn state(&self) -> StateDir {
        StateDir::new(self.dir.path().join("state"))
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The environment of a run: nothing of the machine's but a path.
    fn env(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("PATH", PATH.into()),
            ("HOME", self.dir.path().into()),
            ("SHELL", "/bin/sh".into()),
            ("TZ", "UTC".into()),
            ("HERMES_HOME", self.dir.path().join("config")),
            ("HERMES_TUI_HOME", self.state().to_path_buf()),
        ]
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(exe());
        command.args(args).env_clear().envs(self.env()).current_dir(self.work());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Runs it in a terminal and types `keys`; everything it wrote.
    fn in_terminal(&self, args: &[&str], keys: &[&str]) -> (u32, Vec<u8>) {
        self.terminal(args, keys, &mut |_| ())
    }

    /// Runs it in a terminal and does something to it once it listens.
    fn watched_in_terminal(&self, args: &[&str], act: &mut dyn FnMut(i32)) -> (u32, Vec<u8>) {
        self.terminal(args, &[], act)
    }

    fn terminal(&self, args: &[&str], keys: &[&str], act: &mut dyn FnMut(i32)) -> (u32, Vec<u8>) {
        let size = PtySize { rows: 30, cols: 100, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(exe());
        command.args(args);
        command.env_clear();
        for (name, value) in self.env() {
            command.env(name, value);
        }
        command.env("TERM", "xterm-256color");
        command.cwd(self.work());
        let mut child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        let mut reader = pty.master.try_clone_reader().unwrap();
        let mut writer = pty.master.take_writer().unwrap();
        let mut all = Vec::new();
        let mut piece = [0; 8192];
        let mut keys = keys.iter();
        let mut acted = false;
        while let Ok(n @ 1..) = reader.read(&mut piece) {
            all.extend_from_slice(&piece[..n]);
            // The input line is drawn: it listens.
            if !String::from_utf8_lossy(&all).contains('❯') {
                continue;
            }
            if !std::mem::replace(&mut acted, true) {
                act(child.process_id().unwrap().cast_signed());
            }
            if let Some(key) = keys.next() {
                std::io::Write::write_all(&mut writer, key.as_bytes()).unwrap();
            }
        }
        (child.wait().unwrap().exit_code(), all)
    }

    /// The sessions, newest first.
    fn sessions(&self) -> Vec<serde_json::Value> {
        let ran = self.run(&["sessions", "list", "--json", "--limit", "10000"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    }

    /// The id of the newest session.
    fn newest(&self) -> String {
        self.sessions()[0]["id"].as_str().unwrap().to_owned()
    }

    /// A session's rows as they are stored.
    fn rows(&self, id: &str) -> String {
        let ran = self.run(&["sessions", "show", id, "--json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.out
    }
}

impl Drop for Home {
    /// No test leaves a process behind.
    fn drop(&mut self) {
        reap(self.dir.path());
    }
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a text could control a terminal.
fn controls(text: &str) -> bool {
    text.chars().any(|c| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}
