//! Reading files to upload and writing exports. Only the event loop in `run` calls this.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Bytes of an upload at most.
const LARGEST: u64 = 20_000_000;

/// Names that are tried for an export.
const TRIES: u32 = 1_000;

/// An export that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Saved {
    /// The whole path.
    pub(crate) path: String,
    /// The requested path, if that file existed already: it was left as it is.
    pub(crate) existing: Option<String>,
}

/// Name and content of a file; the error says why it cannot be uploaded.
pub(crate) fn read(path: &str, home: Option<&str>) -> Result<(String, Vec<u8>), String> {
    let path = &resolve(path, home);
    let metadata = fs::metadata(path).map_err(|error| reason(&error))?;
    if metadata.is_dir() {
        return Err("it is a directory; only files can be uploaded".to_owned());
    }
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut data = Vec::new();
    // The file may grow while it is read.
    let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut data));
    read.map_err(|error| reason(&error))?;
    if data.len() as u64 > LARGEST {
        return Err(format!("it is larger than {} MB", LARGEST / 1_000_000));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok((name.unwrap_or_else(|| "file".to_owned()), data))
}

/// Writes `text` to `path`, or into that directory under `name`. Never overwrites a file.
pub(crate) fn save(
    path: &str,
    name: &str,
    text: &str,
    home: Option<&str>,
) -> Result<Saved, String> {
    let mut wanted = if path.is_empty() { PathBuf::from(name) } else { expand(path, home) };
    if wanted.is_dir() {
        wanted.push(name);
    }
    let wanted = std::path::absolute(&wanted).map_err(|error| reason(&error))?;
    let shown = |path: &Path| path.to_string_lossy().into_owned();
    for n in 1..=TRIES {
        let path = if n == 1 { wanted.clone() } else { numbered(&wanted, n) };
        match File::create_new(&path) {
            Ok(mut file) => {
                let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
                if let Err(error) = written {
                    // Half a document is worse than none.
                    fs::remove_file(&path).ok();
                    return Err(format!("{}: {}", shown(&path), reason(&error)));
                }
                let existing = (n > 1).then(|| shown(&wanted));
                return Ok(Saved { path: shown(&path), existing });
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("{}: {}", shown(&path), reason(&error))),
        }
    }
    Err(format!("{}: too many files of that name exist", shown(&wanted)))
}

/// Resolves a path as people type it or as terminals paste it: `~`, quotes, escaped spaces.
fn resolve(path: &str, home: Option<&str>) -> PathBuf {
    let plain = expand(path, home);
    if !plain.exists() && path.contains('\\') {
        let unescaped = expand(&path.replace("\\ ", " "), home);
        if unescaped.exists() {
            return unescaped;
        }
    }
    plain
}

fn expand(path: &str, home: Option<&str>) -> PathBuf {
    let path = path.trim();
    let quoted = |quote: char| path.strip_prefix(quote).and_then(|path| path.strip_suffix(quote));
    let path = quoted('"').or_else(|| quoted('\'')).unwrap_or(path);
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            PathBuf::from(format!("{home}{rest}"))
        }
        (_, _) => PathBuf::from(path),
    }
}

/// `notes.md` as `notes-2.md`.
fn numbered(path: &Path, n: u32) -> PathBuf {
    let part =
        |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let stem = part(path.file_stem()).unwrap_or_default();
    let end = part(path.extension()).map_or_else(String::new, |end| format!(".{end}"));
    path.with_file_name(format!("{stem}-{n}{end}"))
}

/// An I/O error in words, without its number.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file or directory".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::StorageFull => "the disk is full".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
