//! Starting a host in the background: `serve` as a child that leaves the terminal, and waiting for
//! it. Not what it then does (`serve_cmd`).

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use host::state_dir::{StateDir, create_private_dir};
use nix::unistd::{Pid, getsid, setsid};

use crate::dirs::Dirs;
use crate::{args, running_host};

/// First argument of a child that goes into the background.
pub(crate) const ARG: &str = "__detached";
/// Seconds after which a host that was only kept for its work ends once it has none.
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
    /// Length of the log before the start, in bytes.
    log_start: u64,
}

/// In the child, before anything else: a session of its own, so that no terminal can end it.
pub(crate) fn leave_terminal() -> anyhow::Result<()> {
    setsid().context("cannot leave the terminal")?;
    Ok(())
}

/// The arguments of a host that keeps the work of an interface running: the same flags, and no TCP.
pub(crate) fn kept_host_args(run: &args::Run) -> Vec<OsString> {
    let mut args: Vec<OsString> =
        vec!["serve".into(), "--no-tcp".into(), format!("--until-idle={IDLE}").into()];
    let values = [
        ("--model", run.model.clone()),
        ("--provider", run.provider.clone()),
        ("--max-turns", run.max_turns.map(|n| n.to_string())),
    ];
    for (flag, value) in values {
        if let Some(value) = value {
            args.push(format!("{flag}={value}").into());
        }
    }
    let switches = [
        ("--yolo", run.yolo),
        ("--local-terminal", run.local_terminal),
        ("--ignore-rules", run.ignore_rules),
    ];
    args.extend(switches.iter().filter(|(_, on)| *on).map(|(flag, _)| OsString::from(flag)));
    args
}

/// Starts a host in the background with these arguments (`serve …`, without `--detach`). It waits
/// up to 30 s for the lock of the state directory, so the caller may still hold that. When this
/// returns the child has left the terminal: it survives a hang-up.
pub(crate) fn start(exe: &Path, dirs: &Dirs, args: &[OsString]) -> anyhow::Result<Detached> {
    let log = dirs.state.serve_log();
    let open = || {
        create_private_dir(&dirs.state.logs())?;
        OpenOptions::new().create(true).append(true).mode(0o600).open(&log)
    };
    let file = open().with_context(|| format!("cannot write {}", log.display()))?;
    let log_start = file.metadata().map_or(0, |meta| meta.len());
    let child = Command::new(exe)
        .arg0("hermes-tui")
        .arg(ARG)
        .args(args)
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("cannot open the log twice")?)
        .stderr(file)
        .spawn()
        .context("cannot start a host in the background")?;
    let mut detached = Detached { child, log, log_start };
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

    /// Waits until it answers: its status ([`running_host::status`]).
    pub(crate) async fn answers(&mut self, state: &StateDir) -> anyhow::Result<serde_json::Value> {
        let end = Instant::now() + ANSWER;
        loop {
            self.check()?;
            if let Ok(status) = running_host::status(state).await
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

    /// An error with its last output if it has ended.
    fn check(&mut self) -> anyhow::Result<()> {
        let Some(status) =
            self.child.try_wait().context("cannot watch the host in the background")?
        else {
            return Ok(());
        };
        let output = last_output(&self.log, self.log_start);
        let output = output.trim().trim_start_matches("hermes-tui: ");
        anyhow::bail!("the host in the background ended ({status})\n{output}")
    }
}

/// What was added to the log, up to 4 kB.
fn last_output(log: &Path, start: u64) -> String {
    let mut text = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(start))?;
        file.take(4096).read_to_end(&mut text)
    });
    match read {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => format!("{}: {error}", log.display()),
    }
}
