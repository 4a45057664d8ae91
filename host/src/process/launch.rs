//! Starts a supervisor: its directory, the lock it inherits, its order and its first connection.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::directory::{Order, ProcessDir, unknown};
use super::wire::VERSION;
use super::{Kind, Spec};
use protocol::End;

/// Makes the directory and starts a supervisor; returns it with the host's end of their
/// connection. A directory that existed before is left as it is.
pub(super) fn launch(
    dir: &ProcessDir,
    exe: PathBuf,
    spec: Spec,
) -> std::io::Result<(Child, UnixStream)> {
    if let Some(root) = dir.path().parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    }
    dir.create()?;
    start(dir, exe, spec).inspect_err(|_| {
        // It holds the whole environment, and no supervisor will read it.
        let _ = dir.take_order();
        // If this fails too, the absence of a child says the same.
        let _ = dir.write_record(&unknown(End::FailedStart), 0);
    })
}

/// Takes the lock and starts a supervisor that inherits it.
fn start(dir: &ProcessDir, exe: PathBuf, spec: Spec) -> std::io::Result<(Child, UnixStream)> {
    let lock = dir.lock()?;
    dir.write_order(&Order {
        v: VERSION,
        command: spec.command,
        shell: spec.shell,
        cwd: spec.cwd,
        env: spec.env,
        pty: spec.pty,
        leashed: spec.kind == Kind::Foreground,
    })?;
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = Command::new(exe);
    command.arg0("hermes-tui").arg("__supervise").arg(dir.path());
    // It needs no environment: the child's comes with the order.
    command.env_clear().current_dir("/");
    command.stdin(lock).stdout(OwnedFd::from(theirs)).stderr(Stdio::null());
    Ok((command.spawn()?, ours))
}
