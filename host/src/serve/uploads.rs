//! Attachments over the WebUI protocol: files are kept below a folder per session, and only what
//! lies there can go along with a prompt.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, Multipart, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use serde_json::Value;

use super::{Refusal, Serving, answer, ask};
use crate::redact;
use crate::session::mention;
use crate::wire::encode::session::attachment;
use protocol::{Attachment, SessionId};

/// Largest file, in bytes.
const LARGEST: usize = 20 * 1024 * 1024;
/// Longest body that is read, so that who sends too much hears why.
const LONGEST: usize = 4 * LARGEST;
/// Longest file name, in bytes.
const NAME: usize = 200;
/// Most files that go along with one prompt.
const ATTACHED: usize = 20;
/// Files of one name.
const SAME: u32 = 1_000;

pub(super) fn routes() -> Router<Serving> {
    let upload = post(upload).layer(DefaultBodyLimit::max(LONGEST));
    Router::new().route("/api/upload", upload)
}

async fn upload(
    State(serving): State<Serving>,
    form: Result<Multipart, axum::extract::multipart::MultipartRejection>,
) -> Result<Response, Refusal> {
    let mut form = form.map_err(|_| Refusal::bad("No file field in request"))?;
    let (mut session, mut file) = (None, None);
    while let Some(mut field) = form.next_field().await.map_err(unreadable)? {
        match field.name() {
            Some("session_id") => {
                let (bytes, whole) = taken(&mut field, 1_000).await?;
                session = String::from_utf8(bytes).ok().filter(|_| whole);
            }
            Some("file") => {
                let name = field.file_name().map(plain_name);
                let (bytes, whole) = taken(&mut field, LARGEST).await?;
                if !whole {
                    let most = LARGEST / 1024 / 1024;
                    let error = format!("File too large (max {most}MB)");
                    return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error));
                }
                file = Some((name.unwrap_or_default(), bytes));
            }
            Some(_) | None => {
                taken(&mut field, 0).await?;
            }
        }
    }
    let (name, bytes) = file.ok_or_else(|| Refusal::bad("No file field in request"))?;
    if name.is_empty() {
        return Err(Refusal::bad("No filename in upload"));
    }
    let session = session.as_deref().map(str::trim).unwrap_or_default();
    // Who is found is named as the host names it: no part of a path.
    let session = ask::open(&serving, session).await?.transcript.session;
    let folder = folder(&serving, &session);
    let kept = tokio::task::spawn_blocking(move || keep(&folder, &name, &bytes)).await;
    let kept = kept.map_err(|error| error.to_string()).and_then(|k| k.map_err(|e| e.to_string()));
    let kept = kept.map_err(|error| {
        tracing::error!("an upload could not be kept: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Upload failed")
    })?;
    Ok(answer(&attachment(&kept)))
}

/// The text of a prompt with the files that a client names for it, a line each, as the host itself
/// names files that go along.
pub(super) async fn along(
    serving: &Serving,
    session: &SessionId,
    mut text: String,
    named: Option<&Value>,
) -> Result<String, Refusal> {
    let named = named.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if named.len() > ATTACHED {
        return Err(Refusal::bad(format!("Too many attachments (max {ATTACHED})")));
    }
    for named in named {
        mention(&mut text, &resolve(serving, session, named).await?);
    }
    Ok(text)
}

/// The file that a client names: an answer of [`upload`], or a name or path alone. Only what was
/// uploaded for that session.
async fn resolve(
    serving: &Serving,
    session: &SessionId,
    named: &Value,
) -> Result<Attachment, Refusal> {
    let member = |key: &str| named.get(key).and_then(Value::as_str);
    let path = member("path").or_else(|| member("filename")).or_else(|| member("name"));
    let path = path.or_else(|| named.as_str()).unwrap_or_default().to_owned();
    let folder = folder(serving, session);
    let found = tokio::task::spawn_blocking(move || find(&folder, &path)).await;
    let found = found.ok().flatten();
    found.ok_or_else(|| Refusal::bad("an attachment was not uploaded for this session"))
}

fn folder(serving: &Serving, session: &SessionId) -> PathBuf {
    serving.access.state().uploads_of(session)
}

/// The content of a field, up to `most` bytes of it, and whether that is all. The rest is read
/// too: the answer is heard only by a client that could send everything.
async fn taken(field: &mut Field<'_>, most: usize) -> Result<(Vec<u8>, bool), Refusal> {
    let (mut bytes, mut whole) = (Vec::new(), true);
    while let Some(piece) = field.chunk().await.map_err(unreadable)? {
        whole &= bytes.len() + piece.len() <= most;
        if whole {
            bytes.extend_from_slice(&piece);
        } else {
            bytes = Vec::new();
        }
    }
    Ok((bytes, whole))
}

fn unreadable(error: MultipartError) -> Refusal {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let most = LARGEST / 1024 / 1024;
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("File too large (max {most}MB)"))
        }
        _ => Refusal::bad("The upload could not be read"),
    }
}

/// The last component of a name, without anything that a terminal would obey; empty if nothing
/// is left that can be a file.
fn plain_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = redact::plain(last).chars().filter(|c| !c.is_control()).collect();
    let plain = plain.trim();
    let cut = plain.ceil_char_boundary(plain.len().saturating_sub(NAME));
    match plain.get(cut..).unwrap_or_default() {
        "." | ".." => String::new(),
        name => name.to_owned(),
    }
}

/// Writes a file under that name, or under one like it if there is such a file already.
fn keep(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<Attachment> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
        _ => (name, String::new()),
    };
    let others = (1..SAME).map(|n| format!("{stem}-{n}{extension}"));
    for name in std::iter::once(name.to_owned()).chain(others) {
        let path = folder.join(&name);
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match opened {
            Ok(mut file) => {
                file.write_all(bytes)?;
                let path = path.display().to_string();
                let mime = mime(&name).to_owned();
                return Ok(Attachment { name, path, mime, size: bytes.len() as u64 });
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many files of this name"))
}

/// A regular file that lies in the folder, by its name or path.
fn find(folder: &Path, path: &str) -> Option<Attachment> {
    let folder = folder.canonicalize().ok()?;
    // A link would lead out of it: where it leads counts.
    let path = folder.join(path).canonicalize().ok()?;
    let name = path.strip_prefix(&folder).ok()?.to_str()?.to_owned();
    let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let mime = mime(&name).to_owned();
    Some(Attachment { name, path: path.display().to_string(), mime, size: meta.len() })
}

/// The media type that a name promises.
fn mime(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_lowercase());
    match extension.as_deref().unwrap_or_default() {
        "txt" | "log" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "json" => "application/json",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_name_is_its_last_part_without_control_characters() {
        for (sent, kept) in [
            ("note.txt", "note.txt"),
            ("../../etc/passwd", "passwd"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("/etc/shadow", "shadow"),
            ("a\u{1b}[31mb\u{7}.txt", "ab.txt"),
            ("x\0y\n.txt", "xy.txt"),
            ("..", ""),
            (".", ""),
            ("dir/", ""),
            ("  ", ""),
            (".hidden", ".hidden"),
        ] {
            assert_eq!(plain_name(sent), kept, "{sent:?}");
        }
        let long = format!("{}.png", "ä".repeat(500));
        assert!(plain_name(&long).len() <= NAME && plain_name(&long).ends_with("ä.png"));
    }

    #[test]
    fn files_of_one_name_stay_apart_and_are_private() {
        // S05
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("uploads/s");
        let first = keep(&folder, "a.txt", b"1").unwrap();
        let second = keep(&folder, "a.txt", b"22").unwrap();
        assert_eq!((first.name.as_str(), second.name.as_str()), ("a.txt", "a-1.txt"));
        assert_eq!(fs::read(&first.path).unwrap(), b"1");
        assert_eq!((second.size, second.mime.as_str()), (2, "text/plain"));
        let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&first.path), 0o600);
        assert_eq!(mode(folder.to_str().unwrap()), 0o700);
        assert_eq!(find(&folder, &first.path), Some(first));
        assert_eq!(find(&folder, "a-1.txt"), Some(second));
    }

    #[test]
    fn nothing_outside_the_folder_of_a_session_can_be_attached() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, other) = (dir.path().join("s"), dir.path().join("other"));
        keep(&folder, "a.txt", b"1").unwrap();
        let foreign = keep(&other, "b.txt", b"2").unwrap();
        symlink(&foreign.path, folder.join("link")).unwrap();
        fs::create_dir(folder.join("sub")).unwrap();
        for path in
            ["../other/b.txt", &foreign.path, "link", "/etc/passwd", "", ".", "..", "sub", "gone"]
        {
            assert_eq!(find(&folder, path), None, "{path:?}");
        }
    }
}
