//! A throw-away home of the program: its config, its environment, and what is stored in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use host::store::{Durability, Meta, Record, Store};
use portable_pty::CommandBuilder;
use protocol::{Assistant, Body, Outcome, Row, SessionId, Source, TurnId};
use tempfile::TempDir;

use crate::model::Model;
use host::state_dir::StateDir;

/// The program under measure.
const PROGRAM: &str = env!("CARGO_BIN_EXE_hermes-tui");

/// A home; it is deleted with this value.
pub(crate) struct Home {
    dir: TempDir,
}

impl Home {
    /// With the demo model.
    pub(crate) fn demo() -> Self {
        Self::with("model: demo\n")
    }

    /// With a model behind HTTP.
    pub(crate) fn on(model: &Model) -> Self {
        Self::with(&format!(
            "model:\n  provider: custom\n  default: bench\n  base_url: {}\n  context_length: 1000000\n",
            model.url
        ))
    }

    fn with(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Self { dir };
        std::fs::create_dir(home.state()).unwrap();
        std::fs::create_dir(home.work()).unwrap();
        std::fs::write(home.state().join("config.yaml"), config).unwrap();
        home
    }

    pub(crate) fn state(&self) -> StateDir {
        StateDir::new(self.dir.path().join("state"))
    }

    /// Where the program is started.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn env(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.display().to_string();
        let shell = ["/bin/bash", "/bin/sh"].into_iter().find(|s| Path::new(s).exists());
        vec![
            ("HOME", path(self.dir.path())),
            ("HERMES_TUI_HOME", path(&self.state())),
            ("LANG", "C.UTF-8".to_owned()),
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("SHELL", shell.unwrap_or_default().to_owned()),
            ("TERM", "xterm-256color".to_owned()),
        ]
    }

    /// The program for a pseudo-terminal.
    pub(crate) fn on_terminal(&self, args: &[&str]) -> CommandBuilder {
        let mut command = CommandBuilder::new(PROGRAM);
        command.args(args);
        command.cwd(self.work());
        command.env_clear();
        for (name, value) in self.env() {
            command.env(name, value);
        }
        command
    }

    /// The program without a terminal.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(args).current_dir(self.work()).env_clear().envs(self.env());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Stores sessions.
    pub(crate) fn store(&self, sessions: impl IntoIterator<Item = Stored>) {
        let (reports, _told) = tokio::sync::mpsc::unbounded_channel();
        let store = Store::open(&self.state(), reports).unwrap();
        for session in sessions {
            store.write(session.records(), Durability::Flush);
        }
        // Long writes outlast the patience of a close.
        while store.clone().close().is_err() {}
        assert_eq!(store.refused(), 0);
    }
}

/// A session to be stored.
pub(crate) struct Stored {
    pub(crate) id: SessionId,
    /// Prompts and answers in turn.
    pub(crate) texts: Vec<String>,
}

impl Stored {
    /// The n-th session, of a prompt and an answer.
    pub(crate) fn short(n: usize) -> Self {
        Self::of(n, vec![format!("Question {n} about something"), format!("Answer {n}.")])
    }

    /// The n-th session.
    pub(crate) fn of(n: usize, texts: Vec<String>) -> Self {
        Self { id: SessionId(format!("20260101_120000_{n:06x}")), texts }
    }

    fn records(self) -> Vec<Record> {
        let Self { id: session, texts } = self;
        let meta = Meta {
            id: session.clone(),
            source: "tui".to_owned(),
            started_at: 1_767_268_800_000,
            active_at: 1_767_268_800_000,
            preview: texts[0].chars().take(60).collect(),
            model: "bench".to_owned(),
            cwd: "/".to_owned(),
            system: "You are an agent.".to_owned(),
            ..Meta::default()
        };
        let mut records = vec![Record::Session(meta.clone())];
        for (n, text) in (1..).zip(texts) {
            let (turn, at) = (TurnId(u64::div_ceil(n, 2)), meta.started_at + n as i64);
            let asks = n % 2 == 1;
            let body = if asks {
                let (session, source) = (session.clone(), Source::User);
                records.push(Record::TurnStarted { session, turn, source, at });
                Body::User { text }
            } else {
                Body::Assistant(Assistant { text, ..Assistant::default() })
            };
            let row = Row { n, turn, at, cut: 0, body };
            records.push(Record::Row { session: session.clone(), row });
            if !asks {
                let (session, outcome) = (session.clone(), Outcome::Done);
                records.push(Record::TurnEnded { session, turn, outcome, at });
            }
        }
        records
    }
}
