//! The directory of one process: lock, order, identities, exit record, socket.
//!
//! Invariant: the lock decides whether a supervisor is alive, never a pid and never a connect. The
//! exit record is preallocated and sealed with a checksum: a torn one counts as none.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tree::ProcessIdentity;
use super::wire::VERSION;
use crate::clock::now;
use crate::digest::checksum;
use crate::state_dir::{create_private_tmp, socket_or};
use protocol::{End, Exit, ProcessId};

/// Size of the exit record, reserved before the child starts.
const RECORD: usize = 512;

/// A directory below the root of all processes.
#[derive(Clone, Debug)]
pub(super) struct ProcessDir {
    path: PathBuf,
}

/// The command that the supervisor is to run. Deleted once read: it may hold secrets.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub v: u32,
    pub command: String,
    pub shell: PathBuf,
    pub cwd: PathBuf,
    pub env: Vec<(String, String)>,
    pub pty: bool,
    /// The tree dies with the host's connection.
    pub leashed: bool,
}

/// The exit record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub v: u32,
    pub exit: Exit,
    /// Bytes of output until the end.
    pub seen: u64,
}

/// What the directory shows of its process.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum DirState {
    /// A supervisor is alive.
    Held,
    /// It ended and left a record.
    Ended(Exit),
    /// The child was never started.
    NotStarted,
    /// The child was started and its end is unknown; its identity if it is still alive.
    Lost(Option<ProcessIdentity>),
}

/// An exit without code and signal, now.
pub(super) fn unknown(end: End) -> Exit {
    Exit { end, code: None, signal: None, at: now() }
}

impl ProcessDir {
    /// The directory of `id` below `root`; an id never leads out of that.
    pub(super) fn new(root: &Path, id: &ProcessId) -> Self {
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        Self { path: root.join(id.0.chars().map(safe).collect::<String>()) }
    }

    /// The directory at `path`.
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_path_buf() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the directory; an error if it exists.
    pub(super) fn create(&self) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(&self.path)
    }

    fn open(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        options.mode(0o600).open(self.path.join(name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file =
            self.open(name, OpenOptions::new().write(true).create(true).truncate(true))?;
        file.write_all(bytes)
    }

    fn read<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.path.join(name)).ok()?).ok()
    }

    /// Takes the lock, which is held as long as the file is open.
    pub(super) fn lock(&self) -> io::Result<File> {
        let file = self.open("lock", OpenOptions::new().write(true).create(true))?;
        file.try_lock()?;
        Ok(file)
    }

    fn is_held(&self) -> bool {
        let Ok(file) = self.open("lock", OpenOptions::new().write(true)) else { return false };
        matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// The state of the process. The lock is checked first: a supervisor records the exit before
    /// it releases the lock.
    pub(super) fn state(&self) -> DirState {
        if self.is_held() {
            return DirState::Held;
        }
        if let Some(record) = self.record() {
            return DirState::Ended(record.exit);
        }
        if self.path.join("child").exists() {
            return DirState::Lost(self.child().filter(ProcessIdentity::is_alive));
        }
        DirState::NotStarted
    }

    pub(super) fn write_order(&self, order: &Order) -> io::Result<()> {
        self.write("order", &serde_json::to_vec(order)?)
    }

    pub(super) fn take_order(&self) -> io::Result<Order> {
        let bytes = fs::read(self.path.join("order"))?;
        fs::remove_file(self.path.join("order"))?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Stores the identity of the supervisor and reserves the exit record.
    pub(super) fn prepare(&self) -> io::Result<()> {
        self.write("supervisor", &serde_json::to_vec(&ProcessIdentity::of(std::process::id()))?)?;
        self.write("exit", &[b' '; RECORD])
    }

    /// Records that a child is about to start: from here on its end is unknown, not "never ran".
    pub(super) fn expect_child(&self) -> io::Result<()> {
        self.write("child", b"")
    }

    /// The child was not started after all.
    pub(super) fn forget_child(&self) {
        let _ = fs::remove_file(self.path.join("child"));
    }

    pub(super) fn record_child(&self, birth: &ProcessIdentity) -> io::Result<()> {
        self.write("child", &serde_json::to_vec(birth)?)
    }

    /// The child, once it has been started.
    pub(super) fn child(&self) -> Option<ProcessIdentity> {
        self.read("child")
    }

    /// Overwrites the exit record in place: a full disk cannot refuse it.
    pub(super) fn write_record(&self, exit: &Exit, seen: u64) -> io::Result<File> {
        let record = Record { v: VERSION, exit: exit.clone(), seen };
        let file = self.open("exit", OpenOptions::new().write(true).create(true))?;
        file.write_all_at(&seal(&record), 0)?;
        Ok(file)
    }

    /// The exit record, if it exists and is whole.
    pub(super) fn record(&self) -> Option<Record> {
        let mut bytes = Vec::with_capacity(RECORD);
        let file = File::open(self.path.join("exit")).ok()?;
        file.take(RECORD as u64).read_to_end(&mut bytes).ok()?;
        unseal(&bytes)
    }

    /// Syncs what has been recorded so far to the disk.
    pub(super) fn sync(&self) {
        for name in ["exit", "child", ""] {
            if let Ok(file) = File::open(self.path.join(name)) {
                let _ = file.sync_data();
            }
        }
    }

    /// Where the supervisor listens.
    pub(super) fn socket(&self) -> PathBuf {
        match fs::read_to_string(self.path.join("s.path")) {
            Ok(path) => PathBuf::from(path),
            Err(_) => self.path.join("s"),
        }
    }

    /// Chooses where to listen: in this directory, or in a private one below /tmp if that path is
    /// too long for a socket.
    pub(super) fn choose_socket(&self) -> io::Result<PathBuf> {
        let near = self.path.join("s");
        let far = socket_or("p", near.clone(), &self.path);
        if far == near {
            return Ok(near);
        }
        create_private_tmp()?;
        let _ = fs::remove_file(&far);
        self.write("s.path", far.as_os_str().as_encoded_bytes())?;
        Ok(far)
    }

    /// Deletes the directory, and the socket where that is outside of it.
    pub(super) fn delete(&self) {
        let _ = fs::remove_file(self.socket());
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// `HASH LENGTH JSON`, padded with spaces.
fn seal(record: &Record) -> Vec<u8> {
    let json = serde_json::to_string(record).unwrap_or_default();
    let mut bytes =
        format!("{:016x} {:03} {json}\n", checksum(json.as_bytes()), json.len()).into_bytes();
    bytes.resize(RECORD.max(bytes.len()), b' ');
    bytes
}

fn unseal(bytes: &[u8]) -> Option<Record> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (sum, rest) = text.split_once(' ')?;
    let (length, rest) = rest.split_once(' ')?;
    let json = rest.get(..length.parse().ok()?)?;
    if u64::from_str_radix(sum, 16).ok()? != checksum(json.as_bytes()) {
        return None;
    }
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let exit = Exit { end: End::Exited, code: Some(0), signal: None, at: 1_790_000_000_000 };
        Record { v: VERSION, exit, seen: 12 }
    }

    #[test]
    fn a_sealed_record_fits_its_place_and_reads_back() {
        let bytes = seal(&record());
        assert_eq!(bytes.len(), RECORD);
        assert_eq!(unseal(&bytes), Some(record()));
    }

    // W12: whatever part of the write arrived, the rest is the reserved blank.
    #[test]
    fn a_torn_record_is_no_record() {
        let bytes = seal(&record());
        let whole = bytes.iter().rposition(|byte| *byte == b'}').unwrap() + 1;
        for cut in 0..whole {
            let mut torn = bytes[..cut].to_vec();
            torn.resize(RECORD, b' ');
            assert_eq!(unseal(&torn), None, "cut at {cut}");
        }
        // Nor is one with a later sector of another write.
        let mixed = String::from_utf8(bytes).unwrap().replace("\"seen\":12", "\"seen\":13");
        assert_eq!(unseal(mixed.as_bytes()), None);
        assert_eq!(unseal(&[b' '; RECORD]), None);
        assert_eq!(unseal(&[0; RECORD]), None);
    }

    #[test]
    fn an_id_never_leads_out_of_the_root() {
        let dir = ProcessDir::new(Path::new("/r"), &ProcessId("../../etc/x".into()));
        assert_eq!(dir.path(), Path::new("/r/______etc_x"));
    }

    #[test]
    fn a_directory_without_a_trace_of_a_child_never_started_one() {
        let dir = tempfile::tempdir().unwrap();
        let dir = ProcessDir::new(dir.path(), &ProcessId("proc_1".into()));
        assert_eq!(dir.state(), DirState::NotStarted);
        dir.create().unwrap();
        let lock = dir.lock().unwrap();
        assert_eq!(dir.state(), DirState::Held);
        dir.prepare().unwrap();
        drop(lock);
        assert_eq!(dir.state(), DirState::NotStarted);
        dir.expect_child().unwrap();
        assert_eq!(dir.state(), DirState::Lost(None));
        let me = ProcessIdentity::of(std::process::id());
        dir.record_child(&me).unwrap();
        assert_eq!(dir.state(), DirState::Lost(Some(me)));
        dir.write_record(&record().exit, 0).unwrap();
        assert_eq!(dir.state(), DirState::Ended(record().exit));
    }
}
