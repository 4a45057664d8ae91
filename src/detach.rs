//! A host in the background: `serve` started again as a child that leaves the terminal, and what
//! the one who starts it waits for. Not what it then does (`serve_cmd`).

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::unistd::{Pid, getsid, setsid};

use crate::dirs::Dirs;
use crate::{args, host_cmd};

/// First word of the command line of a child that goes into the background.
pub(crate) const WORD: &str = "__detached";
/// Seconds after which a host that was only kept for its work, and has none any more, ends.
const IDLE: u64 = 60;
/// How long a child may take to leave the terminal.
const LEAVE: Duration = Duration::from_secs(10);
/// How long it may take until its socket answers: it may have to wait for the one before it.
const ANSWER: Duration = Duration::from_secs(45);

/// A host that was started in the background. Dropping it leaves it alone.
#[derive(Debug)]
pub(crate) struct Detached {
    child: Child,
    log: PathBuf,
    /// How long the log was before.
    begun: u64,
}

/// In the child, before anything else: a session of its own, so that no terminal can end it.
pub(crate) fn leave_terminal() -> anyhow::Result<()> {
    setsid().context("cannot leave the terminal")?;
    Ok(())
}

/// What `start` is told for a host that goes on with what an interface ran: the same flags, and
/// nobody else may come in.
pub(crate) fn kept(run: &args::Run) -> Vec<OsString> {
    let mut words: Vec<OsString> =
        vec!["serve".into(), "--no-tcp".into(), format!("--until-idle={IDLE}").into()];
    let values = [
        ("--model", run.model.clone()),
        ("--provider", run.provider.clone()),
        ("--max-turns", run.max_turns.map(|n| n.to_string())),
    ];
    for (flag, value) in values {
        if let Some(value) = value {
            words.push(format!("{flag}={value}").into());
        }
    }
    let switches = [
        ("--yolo", run.yolo),
        ("--local-terminal", run.local_terminal),
        ("--ignore-rules", run.ignore_rules),
    ];
    words.extend(switches.iter().filter(|(_, on)| *on).map(|(flag, _)| OsString::from(flag)));
    words
}

/// Starts a host in the background with these words after the program's name (`serve …`, without
/// `--detach`). It waits up to 30 s for the lock of the state folder, so the caller may hold that
/// until after this. When this returns the child has left the terminal: it survives a hang-up.
pub(crate) fn start(exe: &Path, dirs: &Dirs, words: &[OsString]) -> anyhow::Result<Detached> {
    let log = dirs.state.join("logs").join("serve.log");
    let open = || {
        DirBuilder::new().recursive(true).mode(0o700).create(dirs.state.join("logs"))?;
        OpenOptions::new().create(true).append(true).mode(0o600).open(&log)
    };
    let file = open().with_context(|| format!("cannot write {}", log.display()))?;
    let begun = file.metadata().map_or(0, |meta| meta.len());
    let child = Command::new(exe)
        .arg0("hermes-tui")
        .arg(WORD)
        .args(words)
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("cannot share the log")?)
        .stderr(file)
        .spawn()
        .context("cannot start a host in the background")?;
    let mut detached = Detached { child, log, begun };
    let pid = Pid::from_raw(detached.pid() as i32);
    let end = Instant::now() + LEAVE;
    while getsid(Some(pid)) != Ok(pid) {
        detached.check()?;
        anyhow::ensure!(Instant::now() < end, "the host in the background does not start");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(detached)
}

impl Detached {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it answers, and gives what it says about itself (`host_cmd`).
    pub(crate) async fn answers(&mut self, state: &Path) -> anyhow::Result<serde_json::Value> {
        let end = Instant::now() + ANSWER;
        loop {
            self.check()?;
            if let Ok(status) = host_cmd::status(state).await
                && status["pid"] == self.pid()
            {
                return Ok(status);
            }
            anyhow::ensure!(
                Instant::now() < end,
                "the host in the background (process {}) does not answer; see {}",
                self.pid(),
                self.log.display()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fails with its last words if it has ended.
    fn check(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait().context("the child is lost")? else {
            return Ok(());
        };
        let words = last_words(&self.log, self.begun);
        let words = words.trim().trim_start_matches("hermes-tui: ");
        anyhow::bail!("the host in the background ended ({status})\n{words}")
    }
}

/// What the log has gained.
fn last_words(log: &Path, begun: u64) -> String {
    let mut text = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(begun))?;
        file.take(4096).read_to_end(&mut text)
    });
    match read {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => format!("{}: {error}", log.display()),
    }
}
