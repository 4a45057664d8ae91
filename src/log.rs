//! The log: a file in the state directory, never the terminal. `HERMES_TUI_LOG` sets its level
//! (default `warn`; also directives such as `host=debug`). The first line creates the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use host::state_dir::create_private_dir;
use tracing_subscriber::EnvFilter;

/// A log of this size in bytes is rotated when the program starts.
const LARGEST: u64 = 5 * 1024 * 1024;

/// Sends trace events to the file.
pub(crate) fn start(path: &Path, level: Option<&str>) {
    let filter = level.and_then(|level| EnvFilter::try_new(level).ok());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new("warn")))
        .with_ansi(false)
        // A full disk must not make it write to stderr, over the interface.
        .log_internal_errors(false)
        .with_writer(Mutex::new(LazyFile { path: path.to_owned(), state: State::Unopened }))
        .finish();
    tracing::subscriber::set_global_default(subscriber).ok();
}

/// A file that is opened by its first write. What cannot be written is lost.
struct LazyFile {
    path: PathBuf,
    state: State,
}

enum State {
    Unopened,
    Open(File),
    Failed,
}

impl Write for LazyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if matches!(self.state, State::Unopened) {
            self.state = open(&self.path).map_or(State::Failed, State::Open);
        }
        match &mut self.state {
            State::Open(file) => file.write(bytes),
            State::Unopened | State::Failed => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        create_private_dir(dir)?;
    }
    if std::fs::metadata(path).is_ok_and(|m| m.len() > LARGEST) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn log(path: &Path) -> LazyFile {
        LazyFile { path: path.to_owned(), state: State::Unopened }
    }

    #[test]
    fn the_first_line_makes_the_file_and_nobody_else_may_read_it() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state/logs/hermes-tui.log");
        let mut file = log(&path);
        assert!(!tmp.path().join("state").exists());
        file.write_all(b"one\n").unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&tmp.path().join("state"))), (0o600, 0o700));
        log(&path).write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_large_log_is_put_aside_and_one_that_cannot_be_made_is_no_failure() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("hermes-tui.log");
        File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();
        log(&path).write_all(b"new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
        let aside = std::fs::metadata(tmp.path().join("hermes-tui.log.1")).unwrap();
        assert_eq!(aside.len(), LARGEST + 1);
        log(&path.join("below/a/file")).write_all(b"lost\n").unwrap();
    }
}
