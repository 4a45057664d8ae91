//! The log: a file in the state folder, never the terminal. `HERMES_TUI_LOG` sets its level
//! (`warn` unless told; also directives such as `host=debug`). The file is made by its first line.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;

/// At this size the log is put aside when the program starts.
const LARGEST: u64 = 5 * 1024 * 1024;

/// Sends what is traced to the file.
pub(crate) fn start(path: &Path, level: Option<&str>) {
    let filter = level.and_then(|level| EnvFilter::try_new(level).ok());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new("warn")))
        .with_ansi(false)
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
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    if std::fs::metadata(path).is_ok_and(|m| m.len() > LARGEST) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}
