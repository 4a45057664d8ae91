//! The state directory of a host: the path of everything in it, and how private files are
//! written. Knows names, not contents.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::SessionId;

use crate::digest;

/// Longest socket path that every system accepts, in bytes.
const SOCKET_PATH: usize = 100;
/// Longest file name made of a server's name, in bytes; a longer one is cut and gets a digest.
const SERVER_NAME: usize = 180;
/// Bytes that are left of a name that was cut.
const CUT_NAME: usize = 150;

/// The directory that holds what a host stores, and what the binary keeps beside it. Cheap to
/// clone; dereferences to its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(Arc<Path>);

impl StateDir {
    /// The state directory at `path`. Creates nothing.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into().into())
    }

    /// The database. SQLite puts its log and its shared memory beside it.
    pub(crate) fn database(&self) -> PathBuf {
        self.database_with("")
    }

    /// A file beside the database: its name with `suffix`.
    pub(crate) fn database_with(&self, suffix: &str) -> PathBuf {
        self.join(format!("hermes-tui.db{suffix}"))
    }

    /// The mark of a database that was found damaged while it was in use.
    pub(crate) fn suspect(&self) -> PathBuf {
        self.database_with(".suspect")
    }

    /// Where the `n`th damaged database was set aside.
    pub(crate) fn damaged(&self, n: u32) -> PathBuf {
        self.database_with(&format!(".damaged-{n}"))
    }

    /// Held while a damaged database is replaced.
    pub(crate) fn repair_lock(&self) -> PathBuf {
        self.join("repair.lock")
    }

    /// Held by the host that owns the directory; names its process and its socket.
    pub fn host_lock(&self) -> PathBuf {
        self.join("host.lock")
    }

    /// The directory of leases.
    pub(crate) fn leases(&self) -> PathBuf {
        self.join("leases")
    }

    /// Held by the process that writes a session.
    pub fn lease(&self, session: &SessionId) -> PathBuf {
        self.leases().join(&session.0)
    }

    /// The directory of process directories.
    pub fn processes(&self) -> PathBuf {
        self.join("proc")
    }

    /// The directory of short-lived files of turns.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.join("run")
    }

    /// Where the host listens: beside its lock, or in a private directory below /tmp if that path
    /// is too long for a socket.
    pub fn socket(&self) -> PathBuf {
        socket_or("h", self.join("host.sock"), self)
    }

    /// The directory of logs.
    pub fn logs(&self) -> PathBuf {
        self.join("logs")
    }

    /// The log of every process of ours.
    pub fn log(&self) -> PathBuf {
        self.logs().join("hermes-tui.log")
    }

    /// What hosts in the background print.
    pub fn serve_log(&self) -> PathBuf {
        self.logs().join("serve.log")
    }

    /// The directory of what was being typed on this host, a file per session.
    pub fn drafts(&self) -> PathBuf {
        self.join("drafts")
    }

    /// The same for the host of another server.
    pub(crate) fn remote_drafts(&self, server: &str) -> PathBuf {
        self.remote().join(file_name(server)).join("drafts")
    }

    /// A file of that kind about another server, such as its cookies.
    pub(crate) fn remote_file(&self, server: &str, kind: &str) -> PathBuf {
        self.remote().join(format!("{}.{kind}.json", file_name(server)))
    }

    /// The directory of what concerns other servers.
    fn remote(&self) -> PathBuf {
        self.join("remote")
    }

    /// The logins to this host's server.
    pub(crate) fn web_sessions(&self) -> PathBuf {
        self.join("web-sessions.json")
    }

    /// The models that the provider listed last.
    pub(crate) fn model_list(&self) -> PathBuf {
        self.join("models.json")
    }

    /// The key of the digests of credentials.
    pub(crate) fn fingerprint_key(&self) -> PathBuf {
        self.join("fingerprint.key")
    }

    /// The directory of uploaded files.
    pub(crate) fn uploads(&self) -> PathBuf {
        self.join("uploads")
    }

    /// The uploaded files of a session.
    pub(crate) fn uploads_of(&self, session: &SessionId) -> PathBuf {
        self.uploads().join(&session.0)
    }
}

impl Deref for StateDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for StateDir {
    fn as_ref(&self) -> &Path {
        self
    }
}

/// A server's name as a file name. Two servers never share one.
fn file_name(server: &str) -> String {
    let escaped = server.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => char::from(byte).to_string(),
        _ => format!("_{byte:02x}"),
    });
    let name: String = escaped.collect();
    if name.len() <= SERVER_NAME {
        return name;
    }
    format!("{}-{:016x}", &name[..CUT_NAME], digest::checksum(name.as_bytes()))
}

/// `near`, or the socket of `owner` in the private directory below /tmp if that path is too long.
/// `kind` tells the users of that directory apart.
pub(crate) fn socket_or(kind: &str, near: PathBuf, owner: &Path) -> PathBuf {
    if near.as_os_str().len() <= SOCKET_PATH {
        return near;
    }
    let digest = digest::checksum(owner.as_os_str().as_encoded_bytes());
    private_tmp().join(format!("{kind}-{digest:016x}"))
}

/// The directory below /tmp for sockets whose own directory has too long a path. Creates nothing.
pub(crate) fn private_tmp() -> PathBuf {
    PathBuf::from(format!("/tmp/hermes-tui-{}", nix::unistd::getuid()))
}

/// Creates that directory and checks that nobody else can use it.
pub(crate) fn create_private_tmp() -> io::Result<PathBuf> {
    let shared = private_tmp();
    match DirBuilder::new().mode(0o700).create(&shared) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => (),
    }
    let found = fs::symlink_metadata(&shared)?;
    if !found.is_dir() || found.uid() != nix::unistd::getuid().as_raw() || found.mode() & 0o077 != 0
    {
        return Err(io::Error::other(format!("{} is not private", shared.display())));
    }
    Ok(shared)
}

/// Creates a directory that only its owner can use, and those above it.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whether a written file must have reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before the call returns: it survives a power failure.
    Now,
    /// Whenever the system writes it.
    Later,
}

/// Writes a file that only its owner can read, in place of an old one: a reader finds all of the
/// new content or all of the old. Creates the directories above it, with mode 0700.
pub fn write_private(path: &Path, content: &[u8], sync: Sync) -> io::Result<()> {
    beside(path, content, sync)?.persist(path)?;
    Ok(())
}

/// As [`write_private`], unless there is a file already: then that one stays, and the result is
/// false.
pub(crate) fn create_private(path: &Path, content: &[u8], sync: Sync) -> io::Result<bool> {
    match beside(path, content, sync)?.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(failed) => Err(failed.error),
    }
}

/// A temporary file with that content in the directory of `path`. Its name ends with `~`.
fn beside(path: &Path, content: &[u8], sync: Sync) -> io::Result<tempfile::NamedTempFile> {
    let dir = path.parent().unwrap_or(Path::new("."));
    create_private_dir(dir)?;
    // Mode 0600 is the default of `tempfile`.
    let mut file = tempfile::Builder::new().suffix("~").tempfile_in(dir)?;
    file.write_all(content)?;
    match sync {
        Sync::Now => file.as_file().sync_all()?,
        Sync::Later => {}
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_private_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/file");
        for content in ["first", "second, longer"] {
            write_private(&path, content.as_bytes(), Sync::Now).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(!create_private(&path, b"third", Sync::Later).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "second, longer");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(write_private(&path, b"x", Sync::Later).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    // Databases, running hosts and other versions find each other by these names.
    #[test]
    fn the_names_on_disk_are_fixed() {
        let state = StateDir::new("/s");
        let session = SessionId("a".to_owned());
        let names = [
            (state.database(), "/s/hermes-tui.db"),
            (state.database_with("-wal"), "/s/hermes-tui.db-wal"),
            (state.suspect(), "/s/hermes-tui.db.suspect"),
            (state.damaged(1), "/s/hermes-tui.db.damaged-1"),
            (state.repair_lock(), "/s/repair.lock"),
            (state.host_lock(), "/s/host.lock"),
            (state.lease(&session), "/s/leases/a"),
            (state.processes(), "/s/proc"),
            (state.scratch(), "/s/run"),
            (state.socket(), "/s/host.sock"),
            (state.log(), "/s/logs/hermes-tui.log"),
            (state.serve_log(), "/s/logs/serve.log"),
            (state.drafts(), "/s/drafts"),
            (state.remote_drafts("http://a:1"), "/s/remote/http_3a_2f_2fa_3a1/drafts"),
            (state.remote_file("a", "cookie"), "/s/remote/a.cookie.json"),
            (state.web_sessions(), "/s/web-sessions.json"),
            (state.model_list(), "/s/models.json"),
            (state.uploads_of(&session), "/s/uploads/a"),
        ];
        for (path, name) in names {
            assert_eq!(path, Path::new(name));
        }
        assert_eq!(
            file_name(&"x".repeat(181)),
            format!("{}-{:016x}", "x".repeat(150), digest::checksum(&[b'x'; 181]))
        );
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_replaced_by_one_of_its_own() {
        let far = |letter: &str| StateDir::new(format!("/{}", letter.repeat(100))).socket();
        assert!(far("x").starts_with(private_tmp()) && far("x") != far("y"));
        assert_eq!(far("x"), far("x"));
    }
}
