//! The cookies of one server: taken from its answers or from the user, sent back to it alone, kept
//! in a file that only the user can read. Not a browser's jar: one server, so no domains or paths.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::state_dir::{Sync, write_private};
use serde::{Deserialize, Serialize};

/// More than this many cookies are of no use to us.
const MOST: usize = 16;
/// A longer name and value is not kept.
const LONGEST: usize = 8 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Jar {
    path: PathBuf,
    kept: Kept,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// The server the cookies belong to: a file that was moved or renamed is not used.
    server: String,
    cookies: BTreeMap<String, String>,
}

impl Jar {
    /// The cookies kept for `server` in that file, if it has any.
    pub(crate) fn open(path: PathBuf, server: &str) -> Self {
        let kept = std::fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Kept>(&text).ok())
            .filter(|kept| kept.server == server);
        let fresh = || Kept { server: server.to_owned(), cookies: BTreeMap::new() };
        Self { path, kept: kept.unwrap_or_else(fresh) }
    }

    /// The value of the `Cookie` header, if there is any cookie.
    pub(crate) fn header(&self) -> Option<String> {
        let pairs: Vec<_> = self.kept.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// Takes the `Set-Cookie` headers of an answer.
    pub(crate) fn take<'a>(&mut self, headers: impl Iterator<Item = &'a str>) {
        let mut changed = false;
        for header in headers {
            changed |= self.set(header);
        }
        if changed {
            self.save();
        }
    }

    /// Takes a cookie that the user has copied from a browser: `NAME=VALUE`, also several with
    /// `;` between them. False if it is none.
    pub(crate) fn paste(&mut self, text: &str) -> bool {
        let text = text.trim();
        let text = text.strip_prefix("Cookie:").unwrap_or(text);
        let pairs: Vec<_> = text.split(';').filter_map(pair).collect();
        if pairs.is_empty() {
            return false;
        }
        for (name, value) in pairs {
            self.kept.cookies.insert(name.to_owned(), value.to_owned());
        }
        self.save();
        true
    }

    /// Whether anything changed.
    fn set(&mut self, header: &str) -> bool {
        let Some((name, value)) = header.split(';').next().and_then(pair) else { return false };
        let over = header.split(';').skip(1).any(|attribute| {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            key.trim().eq_ignore_ascii_case("max-age")
                && value.trim().parse::<i64>().is_ok_and(|seconds| seconds <= 0)
        });
        if over || value.is_empty() {
            return self.kept.cookies.remove(name).is_some();
        }
        if self.kept.cookies.len() >= MOST && !self.kept.cookies.contains_key(name) {
            return false;
        }
        let old = self.kept.cookies.insert(name.to_owned(), value.to_owned());
        old.as_deref() != Some(value)
    }

    fn save(&self) {
        let written = serde_json::to_vec(&self.kept)
            .map_err(std::io::Error::from)
            .and_then(|text| write_private(&self.path, &text, Sync::Now));
        if let Err(error) = written {
            // The login holds for as long as this program runs.
            tracing::warn!(%error, "the cookie could not be kept");
        }
    }
}

/// A cookie that a header can hold.
fn pair(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.trim().split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ';' | ',' | '=');
    let legal = |c: char| c.is_ascii_graphic() && c != ';';
    let fits = name.len() + value.len() <= LONGEST;
    (fits && !name.is_empty() && name.chars().all(plain) && value.chars().all(legal))
        .then_some((name, value))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn jar() -> (tempfile::TempDir, Jar) {
        let dir = tempfile::tempdir().unwrap();
        let jar = Jar::open(dir.path().join("remote/x.json"), "http://a");
        (dir, jar)
    }

    #[test]
    fn a_cookie_is_kept_for_its_server_alone_and_only_for_the_user() {
        let (dir, mut jar) = jar();
        jar.take(["odd_name=abc.def==; HttpOnly; Max-Age=2592000; Path=/"].into_iter());
        assert_eq!(jar.header().as_deref(), Some("odd_name=abc.def=="));
        let path = dir.path().join("remote/x.json");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let parent = dir.path().join("remote").metadata().unwrap();
        assert_eq!(parent.permissions().mode() & 0o777, 0o700);
        assert_eq!(Jar::open(path.clone(), "http://a").header(), jar.header());
        assert_eq!(Jar::open(path, "http://b").header(), None);
    }

    #[test]
    fn a_cookie_that_ends_is_forgotten_and_others_stay() {
        let (_dir, mut jar) = jar();
        jar.take(["a=1", "b=2", "a=; Max-Age=0"].into_iter());
        assert_eq!(jar.header().as_deref(), Some("b=2"));
        jar.take(["b=3; max-age=-1"].into_iter());
        assert_eq!(jar.header(), None);
    }

    #[test]
    fn text_that_a_header_cannot_hold_is_not_a_cookie() {
        let (_dir, mut jar) = jar();
        let long = format!("n={}", "x".repeat(LONGEST));
        jar.take(["", "=x", "a b=1", "a=1\r\nX: y", "novalue", long.as_str()].into_iter());
        assert_eq!(jar.header(), None);
        assert!(!jar.paste("no cookie"));
        assert!(jar.paste("Cookie: hermes_session=a.b; other=2"));
        assert_eq!(jar.header().as_deref(), Some("hermes_session=a.b; other=2"));
    }
}
