//! Attachments over the WebUI protocol: uploads are stored in a directory per session, and only
//! files in it can be attached to a prompt.

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

use super::request_view::RequestView;
use super::{ApiError, ServerState, ok_json};
use crate::redact;
use crate::session::mention;
use crate::wire::encode::session::attachment;
use protocol::{Attachment, SessionId};

/// Largest file, in bytes.
const MAX_FILE: usize = 20 * 1024 * 1024;
/// Longest body that is read: longer than a file may be, so that a client gets the error.
const MAX_BODY: usize = 4 * MAX_FILE;
/// Longest file name, in bytes.
const MAX_NAME: usize = 200;
/// Most files attached to one prompt.
const MAX_ATTACHED: usize = 20;
/// Most files of one name.
const MAX_SAME_NAME: u32 = 1_000;
/// The directory of uploads, below the state directory.
const DIRECTORY: &str = "uploads";

pub(super) fn routes() -> Router<ServerState> {
    let upload = post(upload).layer(DefaultBodyLimit::max(MAX_BODY));
    Router::new().route("/api/upload", upload)
}

async fn upload(
    State(server): State<ServerState>,
    form: Result<Multipart, axum::extract::multipart::MultipartRejection>,
) -> Result<Response, ApiError> {
    let mut form = form.map_err(|_| ApiError::bad_request("No file field in request"))?;
    let (mut session, mut file) = (None, None);
    while let Some(mut field) = form.next_field().await.map_err(unreadable)? {
        match field.name() {
            Some("session_id") => {
                let (bytes, whole) = read_field(&mut field, 1_000).await?;
                session = String::from_utf8(bytes).ok().filter(|_| whole);
            }
            Some("file") => {
                let name = field.file_name().map(plain_name);
                let (bytes, whole) = read_field(&mut field, MAX_FILE).await?;
                if !whole {
                    let most = MAX_FILE / 1024 / 1024;
                    let error = format!("File too large (max {most}MB)");
                    return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error));
                }
                file = Some((name.unwrap_or_default(), bytes));
            }
            Some(_) | None => {
                read_field(&mut field, 0).await?;
            }
        }
    }
    let (name, bytes) = file.ok_or_else(|| ApiError::bad_request("No file field in request"))?;
    if name.is_empty() {
        return Err(ApiError::bad_request("No filename in upload"));
    }
    let session = session.as_deref().map(str::trim).unwrap_or_default();
    // The id as the host has it: it cannot be a part of a path.
    let session = RequestView::open(&server, session).await?.transcript.session;
    let directory = directory(&server, &session);
    let stored = tokio::task::spawn_blocking(move || store(&directory, &name, &bytes)).await;
    let stored = stored.map_err(io::Error::other).flatten().map_err(|error| {
        tracing::error!("an upload could not be stored: {error}");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Upload failed")
    })?;
    Ok(ok_json(&attachment(&stored)))
}

/// The text of a prompt with the files that a client attaches to it, one line each, as the host
/// itself mentions attached files.
pub(super) async fn with_attachments(
    server: &ServerState,
    session: &SessionId,
    mut text: String,
    named: Option<&Value>,
) -> Result<String, ApiError> {
    let named = named.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if named.len() > MAX_ATTACHED {
        return Err(ApiError::bad_request(format!("Too many attachments (max {MAX_ATTACHED})")));
    }
    for named in named {
        mention(&mut text, &resolve(server, session, named).await?);
    }
    Ok(text)
}

/// The file that a client names: by the response of [`upload`], or by its name or path only. It must
/// have been uploaded for that session.
async fn resolve(
    server: &ServerState,
    session: &SessionId,
    named: &Value,
) -> Result<Attachment, ApiError> {
    let member = |key: &str| named.get(key).and_then(Value::as_str);
    let path = member("path").or_else(|| member("filename")).or_else(|| member("name"));
    let path = path.or_else(|| named.as_str()).unwrap_or_default().to_owned();
    let directory = directory(server, session);
    let file = tokio::task::spawn_blocking(move || find(&directory, &path)).await;
    file.ok()
        .flatten()
        .ok_or_else(|| ApiError::bad_request("an attachment was not uploaded for this session"))
}

fn directory(server: &ServerState, session: &SessionId) -> PathBuf {
    server.host.state().join(DIRECTORY).join(&session.0)
}

/// The content of a field and whether it is complete: beyond `most` bytes it is empty. The rest is
/// read too: a client reads the response only after it could send everything.
async fn read_field(field: &mut Field<'_>, most: usize) -> Result<(Vec<u8>, bool), ApiError> {
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

fn unreadable(error: MultipartError) -> ApiError {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let most = MAX_FILE / 1024 / 1024;
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("File too large (max {most}MB)"))
        }
        _ => ApiError::bad_request("The upload could not be read"),
    }
}

/// The last component of a name, without terminal control sequences; empty if nothing is left that
/// can be a file.
fn plain_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = redact::plain(last).chars().filter(|c| !c.is_control()).collect();
    let plain = plain.trim();
    let cut = plain.ceil_char_boundary(plain.len().saturating_sub(MAX_NAME));
    match plain.get(cut..).unwrap_or_default() {
        "." | ".." => String::new(),
        name => name.to_owned(),
    }
}

/// Writes a file under that name, or under a similar one if there is such a file already.
fn store(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<Attachment> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
        _ => (name, String::new()),
    };
    let others = (1..MAX_SAME_NAME).map(|n| format!("{stem}-{n}{extension}"));
    for name in std::iter::once(name.to_owned()).chain(others) {
        let path = directory.join(&name);
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

/// A regular file in the directory, by its name or path.
fn find(directory: &Path, path: &str) -> Option<Attachment> {
    let directory = directory.canonicalize().ok()?;
    // A link could lead out of it: its target counts.
    let path = directory.join(path).canonicalize().ok()?;
    let name = path.strip_prefix(&directory).ok()?.to_str()?.to_owned();
    let meta = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let mime = mime(&name).to_owned();
    Some(Attachment { name, path: path.display().to_string(), mime, size: meta.len() })
}

/// The media type for the extension of a name.
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
        assert!(plain_name(&long).len() <= MAX_NAME && plain_name(&long).ends_with("ä.png"));
    }

    #[test]
    fn files_of_one_name_stay_apart_and_are_private() {
        // S05
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("uploads/s");
        let first = store(&directory, "a.txt", b"1").unwrap();
        let second = store(&directory, "a.txt", b"22").unwrap();
        assert_eq!((first.name.as_str(), second.name.as_str()), ("a.txt", "a-1.txt"));
        assert_eq!(fs::read(&first.path).unwrap(), b"1");
        assert_eq!((second.size, second.mime.as_str()), (2, "text/plain"));
        let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&first.path), 0o600);
        assert_eq!(mode(directory.to_str().unwrap()), 0o700);
        assert_eq!(find(&directory, &first.path), Some(first));
        assert_eq!(find(&directory, "a-1.txt"), Some(second));
    }

    #[test]
    fn nothing_outside_the_directory_of_a_session_can_be_attached() {
        let dir = tempfile::tempdir().unwrap();
        let (directory, other) = (dir.path().join("s"), dir.path().join("other"));
        store(&directory, "a.txt", b"1").unwrap();
        let foreign = store(&other, "b.txt", b"2").unwrap();
        symlink(&foreign.path, directory.join("link")).unwrap();
        fs::create_dir(directory.join("sub")).unwrap();
        for path in
            ["../other/b.txt", &foreign.path, "link", "/etc/passwd", "", ".", "..", "sub", "gone"]
        {
            assert_eq!(find(&directory, path), None, "{path:?}");
        }
    }
}
