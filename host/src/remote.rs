//! The client of a remote host: of our own `serve` over the seam wire, or of a hermes-webui over
//! its protocol. What it gives is the same [`crate::Host`] as the embedded one's.

pub(crate) mod auth;
pub mod http;
pub(crate) mod sse;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use self::http::Error;

/// Which server, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `http://host:8787/prefix`, without a slash at its end; for a socket `http://localhost`.
    pub url: String,
    /// The Unix socket it listens on, if that is the way.
    pub socket: Option<PathBuf>,
    /// A certificate authority (PEM) to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// Take any certificate.
    pub insecure: bool,
    /// Our own state folder: cookies and what was not sent are kept below it.
    pub state: PathBuf,
}

impl Server {
    /// The server that a user means by `text`: a URL, `host:port`, or the path of a Unix socket.
    /// Without a scheme loopback is `http`, everything else `https`.
    ///
    /// # Errors
    /// [`Error::Url`] says what is wrong with it.
    pub fn parse(text: &str, state: &Path) -> Result<Self, Error> {
        let text = text.trim();
        let server = |url: String, socket| Self {
            url,
            socket,
            ca: None,
            insecure: false,
            state: state.to_owned(),
        };
        let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:"));
        if path.is_some() || text.starts_with(['/', '.', '~']) {
            let path = path.unwrap_or(text);
            let path = match path.strip_prefix("~/") {
                Some(rest) => std::env::home_dir().unwrap_or_default().join(rest),
                None => PathBuf::from(path),
            };
            let path = std::path::absolute(&path).map_err(|e| Error::Url(e.to_string()))?;
            return Ok(server("http://localhost".to_owned(), Some(path)));
        }
        let wrong = |why: &str| Error::Url(format!("`{text}` is no address of a server: {why}"));
        let spelled = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut url = reqwest::Url::parse(&spelled).map_err(|e| wrong(&e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("it must begin with http:// or https://"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("it names no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("a password does not belong into it; you are asked for it"));
        }
        if !text.contains("://") && !http::is_loopback(&url) {
            // The port a scheme implies is dropped when the URL is read: read it again.
            url = reqwest::Url::parse(&format!("https://{text}"))
                .map_err(|e| wrong(&e.to_string()))?;
        }
        url.set_query(None);
        url.set_fragment(None);
        Ok(server(url.as_str().trim_end_matches('/').to_owned(), None))
    }

    /// How a user calls it.
    pub fn name(&self) -> String {
        self.socket.as_ref().map_or_else(|| self.url.clone(), |path| path.display().to_string())
    }

    /// The file in which something of ours about this server is kept. Two servers never share one;
    /// names too long for that carry a digest.
    fn file(&self, kind: &str) -> PathBuf {
        let mut name = String::new();
        for byte in self.name().bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => name.push(byte.into()),
                _ => name.push_str(&format!("_{byte:02x}")),
            }
        }
        if name.len() > 180 {
            let digest = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            name = format!("{}-{digest:016x}", &name[..150]);
        }
        self.state.join("remote").join(format!("{name}.{kind}.json"))
    }
}

/// Writes a file that only its owner can read: all of it or nothing, in folders made with 0700.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    fs::remove_file(&fresh).ok();
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
