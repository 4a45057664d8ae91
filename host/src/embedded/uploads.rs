//! Uploaded files on disk: `STATE/uploads/SESSION/NAME`, written beside the loop.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::background::BackgroundResult;
use super::host_loop::HostLoop;
use crate::session::Input;
use protocol::{Attachment, SessionId, Subject, ViewId};

/// The directory of all uploads, below the state directory.
const UPLOADS: &str = "uploads";
/// The size of the largest accepted file, in bytes.
const LARGEST: usize = 20_000_000;
/// The length of the longest file name, in bytes.
const NAME: usize = 120;

/// Media types by file name extension.
const TYPES: [(&str, &str); 22] = [
    ("txt", "text/plain"),
    ("log", "text/plain"),
    ("md", "text/markdown"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("css", "text/css"),
    ("js", "text/javascript"),
    ("py", "text/x-python"),
    ("rs", "text/x-rust"),
    ("json", "application/json"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("toml", "application/toml"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("svg", "image/svg+xml"),
];

impl HostLoop {
    /// Writes a file for the next prompt of a session.
    pub(super) fn upload(&mut self, view: ViewId, session: &SessionId, name: &str, data: Vec<u8>) {
        if data.len() > LARGEST {
            let message = format!("{name} is larger than 20 MB, the limit for uploads.");
            return self.fail(view, Subject::Upload, message);
        }
        let name = match file_name(name) {
            Ok(name) => name,
            Err(message) => return self.fail(view, Subject::Upload, message),
        };
        let directory = self.uploads_of(session);
        let (background, session) = (self.background.clone(), session.clone());
        tokio::task::spawn_blocking(move || {
            let written = write(&directory, &name, &data);
            let written = written.map_err(|error| format!("{name} cannot be saved: {error}"));
            background.send(BackgroundResult::Uploaded { view, session, written }).ok();
        });
    }

    /// Handles a file that was written, or could not be.
    pub(super) fn handle_upload(
        &mut self,
        view: ViewId,
        session: &SessionId,
        written: Result<Attachment, String>,
    ) {
        match written {
            Err(message) => self.fail(view, Subject::Upload, message),
            // The session may have left memory or been deleted meanwhile.
            Ok(file) => match self.load(session) {
                Ok(()) => {
                    self.feed(session, Input::Uploaded(file));
                    self.sessions.mark_unused(session);
                }
                Err(_) => self.discard(vec![file]),
            },
        }
    }

    /// Removes files that no prompt has used.
    pub(super) fn discard(&self, files: Vec<Attachment>) {
        let root = self.settings.state.join(UPLOADS);
        tokio::task::spawn_blocking(move || {
            for file in files.iter().map(|file| Path::new(&file.path)) {
                if file.starts_with(&root) {
                    fs::remove_file(file).ok();
                }
            }
        });
    }

    /// Removes all uploads of a session that is gone.
    pub(super) fn remove_uploads(&self, session: &SessionId) {
        let directory = self.uploads_of(session);
        tokio::task::spawn_blocking(move || fs::remove_dir_all(directory).ok());
    }

    fn uploads_of(&self, session: &SessionId) -> PathBuf {
        self.settings.state.join(UPLOADS).join(&session.0)
    }
}

/// The last component of a name, without control characters.
fn file_name(name: &str) -> Result<String, String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).collect();
    let clean = clean.trim();
    // A long name keeps its end, which has the extension.
    let tail = clean.ceil_char_boundary(clean.len().saturating_sub(NAME));
    match &clean[tail..] {
        "" | "." | ".." => Err(format!("`{}` is not a file name.", name.escape_debug())),
        name => Ok(name.to_owned()),
    }
}

/// Writes a file under a name that is free, readable by its owner alone.
fn write(directory: &Path, name: &str, data: &[u8]) -> io::Result<Attachment> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut count = 1_u32;
    let (path, mut file) = loop {
        let path = directory.join(numbered(name, count));
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => break (path, file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && count < 10_000 => {
                count += 1;
            }
            Err(error) => return Err(error),
        }
    };
    if let Err(error) = file.write_all(data).and_then(|()| file.sync_data()) {
        // Half a file is of no use.
        fs::remove_file(&path).ok();
        return Err(error);
    }
    Ok(Attachment {
        name: name.to_owned(),
        mime: media_type(name).to_owned(),
        path: path.display().to_string(),
        size: data.len() as u64,
    })
}

/// The name itself, then `name-2.txt` and so on.
fn numbered(name: &str, count: u32) -> String {
    if count == 1 {
        return name.to_owned();
    }
    match name.rsplit_once('.') {
        Some((stem, end)) if !stem.is_empty() => format!("{stem}-{count}.{end}"),
        Some(_) | None => format!("{name}-{count}"),
    }
}

fn media_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, end)| end.to_lowercase()).unwrap_or_default();
    let known = TYPES.iter().find(|(known, _)| *known == extension);
    known.map_or("application/octet-stream", |(_, mime)| mime)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_name_is_its_last_component() {
        let name = |name: &str| file_name(name).unwrap();
        assert_eq!(name("notes.txt"), "notes.txt");
        assert_eq!(name("../../etc/passwd"), "passwd");
        assert_eq!(name("C:\\Users\\me\\a b.txt"), "a b.txt");
        assert_eq!(name("a\n\u{1b}[31m.txt"), "a[31m.txt");
        assert!(name(&"é".repeat(200)).len() <= NAME);
        for wrong in ["", ".", "..", "a/..", "/", " \n"] {
            assert!(file_name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn files_of_one_name_get_numbers_and_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("uploads/s");
        let first = write(&directory, "a.tar.gz", b"one").unwrap();
        let second = write(&directory, "a.tar.gz", b"second").unwrap();
        assert_eq!((first.name.as_str(), second.name.as_str()), ("a.tar.gz", "a.tar.gz"));
        assert_eq!(fs::read(&first.path).unwrap(), b"one");
        assert_eq!(fs::read(&second.path).unwrap(), b"second");
        assert!(second.path.ends_with("/a.tar-2.gz"), "{}", second.path);
        assert_eq!((second.mime.as_str(), second.size), ("application/gzip", 6));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(Path::new(&first.path)), mode(&directory)), (0o600, 0o700));
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        std::os::unix::fs::symlink(&outside, dir.path().join("x")).unwrap();
        let written = write(dir.path(), "x", b"data").unwrap();
        assert!(!outside.exists());
        assert!(written.path.ends_with("/x-2"));
    }
}
