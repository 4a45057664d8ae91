//! Files as the file tools see them: which file a path means, opening without surprises, writing
//! all at once.
//!
//! A write goes to a temporary file beside its target and is renamed over it, so a reader sees
//! the old text or the new, never a part. No tool shape is known here.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::OFlag;
use serde_json::Value;

use super::Error;

/// The largest file that is edited or written in one piece, in bytes.
pub(super) const LARGEST: u64 = 16 * 1024 * 1024;
/// Longer paths are refused by the system, so there is no use in walking them.
const LONGEST_PATH: usize = 4096;
/// As many symbolic links as the system follows.
const MOST_LINKS: usize = 40;
/// Entries of a directory looked at for names like a missing one.
const MOST_NAMES: usize = 2000;

/// The absolute path that `path` means, symbolic links followed as far as it exists.
pub(super) fn resolve(path: &str, cwd: &Path) -> PathBuf {
    let home = || std::env::home_dir().filter(|home| home.is_absolute());
    let absolute = match path.strip_prefix('~') {
        Some("") => home().unwrap_or_else(|| cwd.join(path)),
        Some(rest) if rest.starts_with('/') => {
            home().map_or_else(|| cwd.join(path), |home| home.join(rest.trim_start_matches('/')))
        }
        Some(_) | None => cwd.join(path),
    };
    if absolute.as_os_str().len() > LONGEST_PATH { absolute } else { real(&absolute) }
}

/// The files that the string argument `name` stands for: one, or none if it is missing.
pub(super) fn named(args: &Value, name: &str, cwd: &Path) -> Vec<PathBuf> {
    let path = args.get(name).and_then(Value::as_str).filter(|path| !path.is_empty());
    path.map(|path| resolve(path, cwd)).into_iter().collect()
}

fn real(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if let Ok(found) = fs::canonicalize(&path) {
            return found;
        }
        // A link to nothing: what it points at is the file that a write makes.
        let (Ok(to), Some(parent)) = (fs::read_link(&path), path.parent()) else { break };
        path = parent.join(to);
    }
    let Some(parent) = path.parent() else { return path };
    match path.components().next_back() {
        Some(Component::Normal(name)) => real(parent).join(name),
        Some(Component::ParentDir) => {
            let mut above = real(parent);
            above.pop();
            above
        }
        Some(Component::CurDir | Component::RootDir | Component::Prefix(_)) | None => real(parent),
    }
}

/// Opens a regular file for reading; anything else is refused without touching it.
/// `shown` is the path in the model's words.
pub(super) fn open(path: &Path, shown: &str) -> Result<(File, Metadata), Error> {
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound => missing(path, shown),
        _ => Error(format!("cannot read {shown}: {e}")),
    };
    let meta = fs::metadata(path).map_err(failed)?;
    regular(&meta, shown)?;
    // Non-blocking, so that a FIFO put in its place meanwhile cannot hold us.
    let flags = OFlag::O_NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    regular(&meta, shown)?;
    Ok((file, meta))
}

fn regular(meta: &Metadata, shown: &str) -> Result<(), Error> {
    let kind = meta.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        return Err(Error(format!(
            "{shown} is a directory; list it with search_files and target=files"
        )));
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(Error(format!("{shown} is {what}, not a regular file")))
}

/// The whole of a text file.
pub(super) fn load(path: &Path, shown: &str) -> Result<String, Error> {
    let (file, meta) = open(path, shown)?;
    let too_large = || Error(format!("{shown} is larger than {LARGEST} bytes; edit it otherwise"));
    if meta.len() > LARGEST {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error(format!("cannot read {shown}: {e}")))?;
    if bytes.len() as u64 > LARGEST {
        return Err(too_large());
    }
    if bytes.contains(&0) {
        return Err(Error(format!("{shown} is a binary file")));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Error(format!("{shown} is not UTF-8 text (byte {at}); editing it would damage it"))
    })
}

fn missing(path: &Path, shown: &str) -> Error {
    let text = format!("File not found: {shown}");
    let Some((parent, name)) = path.parent().zip(path.file_name()) else { return Error(text) };
    if !parent.is_dir() {
        return Error(format!("{text} (there is no directory {})", parent.display()));
    }
    let names = similar_names(parent, &name.to_string_lossy());
    if names.is_empty() {
        return Error(text);
    }
    let list: Vec<String> = names
        .iter()
        .map(|name| Path::new(shown).with_file_name(name).display().to_string())
        .collect();
    Error(format!("{text}. Similar names: {}", list.join(", ")))
}

fn similar_names(dir: &Path, name: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let wanted = name.to_lowercase();
    let mut scored: Vec<(u32, String)> = entries
        .take(MOST_NAMES)
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|other| {
            let score = likeness(&wanted, &other.to_lowercase());
            (score >= 60).then_some((100 - score, other))
        })
        .collect();
    scored.sort();
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

/// How alike two names are, 0 to 100.
fn likeness(a: &str, b: &str) -> u32 {
    let stem = |name: &str| name.rsplit_once('.').map_or(name.len(), |(stem, _)| stem.len());
    if a == b {
        100
    } else if stem(a) > 1 && a[..stem(a)] == b[..stem(b)] {
        90
    } else if a.len() > 2 && (b.contains(a) || (b.len() > 2 && a.contains(b))) {
        70
    } else {
        (similar::TextDiff::from_chars(a, b).ratio() * 100.0) as u32
    }
}

/// A text that waits beside its target to take its place. Dropped, it leaves no trace.
pub(super) struct Staged {
    target: PathBuf,
    temp: Option<PathBuf>,
    made: Vec<PathBuf>,
}

impl Staged {
    /// Writes `text` beside `target`, makes missing directories, and checks that the target may
    /// be written. It gets the owner and mode of the target or, if that is new, of the file `like`.
    pub(super) fn write(
        target: &Path,
        like: &Path,
        shown: &str,
        text: &str,
    ) -> Result<Self, Error> {
        let failed = |e: std::io::Error| Error(format!("cannot write {shown}: {e}"));
        let old = match fs::metadata(target) {
            Ok(meta) => {
                regular(&meta, shown)?;
                // The rename would also replace a file that is write-protected.
                OpenOptions::new().write(true).open(target).map_err(failed)?;
                Some(meta)
            }
            Err(e) if e.kind() == ErrorKind::NotFound => fs::metadata(like).ok(),
            Err(e) => return Err(failed(e)),
        };
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(Error(format!("{shown} names no file")));
        };
        let mut staged = Self { target: target.to_owned(), temp: None, made: Vec::new() };
        staged.make_dirs(parent).map_err(failed)?;
        // Cut, because the name itself may be as long as names can be.
        let name: String = name.to_string_lossy().chars().take(32).collect();
        let temp = parent.join(format!(".{name}.{}.tmp", uuid::Uuid::new_v4().simple()));
        let file = create(&temp, old.as_ref()).map_err(failed)?;
        staged.temp = Some(temp);
        fill(file, text, old.as_ref()).map_err(failed)?;
        Ok(staged)
    }

    /// Whether directories had to be made for it.
    pub(super) fn dirs_made(&self) -> bool {
        !self.made.is_empty()
    }

    /// Takes the target's place.
    pub(super) fn commit(mut self) -> std::io::Result<()> {
        if let Some(temp) = &self.temp {
            fs::rename(temp, &self.target)?;
            self.temp = None;
            self.made.clear();
        }
        Ok(())
    }

    fn make_dirs(&mut self, dir: &Path) -> std::io::Result<()> {
        let new: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
        for dir in new.into_iter().rev() {
            match fs::create_dir(dir) {
                Ok(()) => self.made.push(dir.to_owned()),
                Err(e) if e.kind() == ErrorKind::AlreadyExists && dir.is_dir() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(temp) = &self.temp {
            let _ = fs::remove_file(temp);
        }
        for dir in self.made.iter().rev() {
            let _ = fs::remove_dir(dir);
        }
    }
}

fn create(path: &Path, old: Option<&Metadata>) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    if old.is_some() {
        // The old file may be private; until its mode is set, the new one is.
        options.mode(0o600);
    }
    options.open(path)
}

fn fill(mut file: File, text: &str, old: Option<&Metadata>) -> std::io::Result<()> {
    file.write_all(text.as_bytes())?;
    let Some(old) = old else { return Ok(()) };
    // Only root can give files away; for others it is theirs already or stays so.
    let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
    file.set_permissions(old.permissions())
}
