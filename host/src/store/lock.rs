//! A lock file: who owns a state directory, or writes a session. The kernel releases it whatever
//! happens to the holder; the text in it only says who that is.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Somebody else holds the lock, or it could not be tried.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub struct Busy {
    /// The process that holds it, if it said so.
    pub pid: Option<u32>,
    /// What kept us from trying, if nobody holds it.
    pub error: Option<io::Error>,
}

impl Busy {
    fn words(&self) -> String {
        match (&self.error, self.pid) {
            (Some(error), _) => format!("the lock cannot be taken: {error}"),
            (None, Some(pid)) => format!("process {pid} holds the lock"),
            (None, None) => "another process holds the lock".into(),
        }
    }
}

impl Lock {
    /// Takes the lock at `path` (the file and its folder are made if need be) and writes our pid
    /// and start time into it. Never waits for a holder.
    pub fn take(path: &Path) -> Result<Self, Busy> {
        let failed = |error| Busy { pid: None, error: Some(error) };
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let mut tries = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) => {
                    let pid = named(&mut file);
                    // Without a name in it, it may be just somebody who looks (`holder`).
                    if pid.is_some() || tries == 10 {
                        return Err(Busy { pid, error: None });
                    }
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
        let pid = std::process::id();
        let text = format!("{pid} {}\n", start_time(pid).unwrap_or(0));
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()));
        if let Err(error) = written {
            // A full disk: the lock holds all the same, only nameless.
            tracing::debug!("the lock file stays empty: {error}");
        }
        Ok(Self { file })
    }

    /// Adds a second line for those who look for the holder: where it listens.
    pub fn tell(&mut self, place: &Path) {
        let line = [place.as_os_str().as_encoded_bytes(), b"\n"].concat();
        if let Err(error) = self.file.write_all(&line) {
            tracing::debug!("the lock file does not say where its holder listens: {error}");
        }
    }

    /// Whether somebody holds the lock at `path`, named or not.
    pub fn is_held(path: &Path) -> bool {
        held(path).is_some()
    }

    /// The pid of the living process that holds the lock at `path`, if one does and says so.
    pub fn holder(path: &Path) -> Option<u32> {
        named(&mut held(path)?)
    }

    /// Where the holder of the lock at `path` listens, if there is one and it says so.
    pub fn place(path: &Path) -> Option<PathBuf> {
        let mut text = Vec::new();
        held(path)?.read_to_end(&mut text).ok()?;
        let line = text.split(|byte| *byte == b'\n').nth(1)?;
        (!line.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(line)))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // So that nobody reads a stale name; closing the file releases the lock.
        if let Err(error) = self.file.set_len(0) {
            tracing::debug!("the lock file keeps its text: {error}");
        }
    }
}

/// The lock file, if somebody holds it.
fn held(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(file),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// The process named in the file, if it is alive and the same one.
fn named(file: &mut File) -> Option<u32> {
    let mut bytes = Vec::new();
    file.rewind().ok()?;
    file.take(64).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let (pid, start) = text.lines().next()?.split_once(' ')?;
    let (pid, start): (u32, u64) = (pid.parse().ok()?, start.parse().ok()?);
    let alive = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), None)
        != Err(nix::errno::Errno::ESRCH);
    let same = start == 0 || start_time(pid).is_none_or(|now| now == start);
    (alive && same).then_some(pid)
}

/// When a process started, in the kernel's ticks since boot; unknown outside Linux.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold blanks and parentheses.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
