//! Logins: the password, the sessions of clients that knew it, and the routes around them. Over a
//! Unix socket no login is needed: the kernel names the user.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::listen::Peer;
use super::{ApiError, Error, JsonBody, ServerState, ok_json};
use crate::clock::now;
use protocol::Millis;

/// The cookie that carries a session.
const COOKIE: &str = "hermes_session";
/// How long a session lasts.
const SESSION_AGE: Millis = 30 * 24 * 3600 * 1000;
/// So many wrong passwords from one address …
const MAX_FAILURES: usize = 5;
/// … within this time block further attempts.
const WINDOW: Duration = Duration::from_mins(1);
/// Most sessions that are kept: beyond it the oldest is dropped.
const MAX_SESSIONS: usize = 1000;

pub(super) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/api/auth/status", get(status))
        .route("/api/auth/login", post(login))
        .route("/api/auth/logout", post(logout))
}

/// The password of clients over TCP, and the sessions opened with it.
#[derive(Debug)]
pub(super) struct Auth {
    password: Option<String>,
    file: PathBuf,
    stored: Mutex<StoredSessions>,
    failures: Mutex<HashMap<IpAddr, Vec<Instant>>>,
}

/// What survives a restart, in a file that only our user can read.
#[derive(Debug, Default, Serialize, Deserialize)]
struct StoredSessions {
    /// Makes `mark` useless on another host.
    salt: String,
    /// A hash of the password that the sessions were opened with. It need not resist an attacker who
    /// can read this file: the sessions are in it too.
    mark: String,
    /// By the public half of their cookies.
    sessions: HashMap<String, Session>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Session {
    secret: String,
    /// The token with which a page may act for the session.
    csrf: String,
    until: Millis,
}

impl Auth {
    /// Reads the file in the state directory; sessions of another password are dropped.
    pub(super) fn load(state: &Path, password: Option<String>) -> Result<Self, Error> {
        let file = state.join("web-sessions.json");
        let password = password.filter(|password| !password.is_empty());
        let mut stored = match fs::read(&file) {
            // A damaged file costs only a login.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => StoredSessions::default(),
            Err(error) => return Err(Error::State { place: file.display().to_string(), error }),
        };
        if let Some(password) = &password
            && (stored.salt.is_empty() || stored.mark != mark(&stored.salt, password))
        {
            let salt = random();
            stored = StoredSessions { mark: mark(&salt, password), salt, sessions: HashMap::new() };
        }
        Ok(Self { password, file, stored: Mutex::new(stored), failures: Mutex::default() })
    }

    /// Whether clients need a password at all.
    pub(super) fn is_on(&self) -> bool {
        self.password.is_some()
    }

    /// The token that a page needs to act for the session of these headers; `None` = there is no
    /// valid session.
    pub(super) fn session(&self, headers: &HeaderMap) -> Option<String> {
        let (id, secret) = cookie(headers)?;
        let stored = self.stored();
        let session = stored.sessions.get(id)?;
        let known = equal(session.secret.as_bytes(), secret.as_bytes());
        (known && session.until > now()).then(|| session.csrf.clone())
    }

    /// Opens a session; returns the value of its cookie.
    fn open(&self) -> String {
        let (id, secret) = (random(), random());
        let mut stored = self.stored();
        stored.sessions.retain(|_, session| session.until > now());
        if stored.sessions.len() >= MAX_SESSIONS {
            let oldest = stored.sessions.iter().min_by_key(|(_, session)| session.until);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                stored.sessions.remove(&oldest);
            }
        }
        let session =
            Session { secret: secret.clone(), csrf: random(), until: now() + SESSION_AGE };
        stored.sessions.insert(id.clone(), session);
        self.save(&stored);
        format!("{id}.{secret}")
    }

    /// Ends the session of these headers.
    fn close(&self, headers: &HeaderMap) {
        if self.session(headers).is_some()
            && let Some((id, _)) = cookie(headers)
        {
            let mut stored = self.stored();
            stored.sessions.remove(id);
            self.save(&stored);
        }
    }

    /// Writes the sessions. A failure costs a login after a restart.
    fn save(&self, stored: &StoredSessions) {
        let write = || {
            let temporary = self.file.with_extension("new");
            let mut options = fs::OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&serde_json::to_vec(stored)?)?;
            fs::rename(&temporary, &self.file)
        };
        if let Err(error) = write() {
            tracing::warn!("logins will not survive a restart: {error}");
        }
    }

    fn stored(&self) -> MutexGuard<'_, StoredSessions> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that address may try again.
    fn may_try(&self, ip: IpAddr) -> bool {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, times| {
            times.retain(|time| time.elapsed() < WINDOW);
            !times.is_empty()
        });
        failures.get(&ip).is_none_or(|times| times.len() < MAX_FAILURES)
    }

    fn record_attempt(&self, ip: IpAddr, right: bool) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if right {
            failures.remove(&ip);
        } else {
            failures.entry(ip).or_default().push(Instant::now());
        }
    }
}

/// The address that attempts are counted by: a client with one IPv6 address has 2⁶⁴ of them.
fn attempt_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
        ip @ IpAddr::V4(_) => ip,
    }
}

/// Both halves of the session cookie.
fn cookie(headers: &HeaderMap) -> Option<(&str, &str)> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim() == COOKIE)?;
    value.trim().trim_matches('"').split_once('.')
}

/// 122 random bits.
fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn mark(salt: &str, password: &str) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(salt.as_bytes());
    hasher.write(password.as_bytes());
    format!("{:016x}", hasher.finish())
}

/// Compares in a time that does not depend on where the two differ.
fn equal(known: &[u8], sent: &[u8]) -> bool {
    let mut differs = u8::from(known.len() != sent.len());
    for (i, byte) in sent.iter().enumerate() {
        let own = known.get(i % known.len().max(1)).copied().unwrap_or_default();
        differs |= std::hint::black_box(own ^ byte);
    }
    differs == 0
}

async fn status(
    State(server): State<ServerState>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Response {
    let on = server.auth.is_on() && peer != Peer::Unix;
    let csrf = server.auth.session(&headers).filter(|_| on);
    let mut body = json!({
        "auth_enabled": on,
        "logged_in": csrf.is_some(),
        "oidc_enabled": false,
        "password_auth_enabled": on,
        "passwordless_enabled": false,
        "passkeys_enabled": false,
        "passkeys_count": 0,
        "passkey_feature_flag": false,
        "auth_disabled_acknowledged": !on,
    });
    if let Some(csrf) = csrf {
        // This host has no page of its own that could embed it.
        body["csrf_token"] = csrf.into();
    }
    ok_json(&body)
}

async fn login(
    State(server): State<ServerState>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let auth = &server.auth;
    let (Some(password), Peer::Tcp(address)) = (&auth.password, peer) else {
        return Ok(ok_json(&json!({ "ok": true, "message": "Auth not enabled" })));
    };
    let ip = attempt_key(address.ip());
    if !auth.may_try(ip) {
        return Err(ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many attempts. Try again in a minute.",
        ));
    }
    let sent = body.0.get("password").and_then(serde_json::Value::as_str).unwrap_or_default();
    let right = equal(password.as_bytes(), sent.as_bytes());
    auth.record_attempt(ip, right);
    if !right {
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "Invalid password"));
    }
    // Set by a proxy that terminates TLS: then the cookie must not be sent without TLS.
    let proto = HeaderName::from_static("x-forwarded-proto");
    let secure =
        if headers.get(proto).is_some_and(|proto| proto == "https") { "; Secure" } else { "" };
    let age = SESSION_AGE / 1000;
    let value = auth.open();
    let cookie = format!("{COOKIE}={value}; HttpOnly; Max-Age={age}; Path=/; SameSite=Lax{secure}");
    Ok(([(header::SET_COOKIE, cookie)], ok_json(&json!({ "ok": true }))).into_response())
}

async fn logout(State(server): State<ServerState>, headers: HeaderMap) -> Response {
    server.auth.close(&headers);
    let cookie = format!("{COOKIE}=\"\"; HttpOnly; Max-Age=0; Path=/; SameSite=Lax");
    ([(header::SET_COOKIE, cookie)], ok_json(&json!({ "ok": true }))).into_response()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn equal_texts_are_equal_and_no_others() {
        for (a, b) in [("", ""), ("a", "a"), ("secret", "secret")] {
            assert!(equal(a.as_bytes(), b.as_bytes()), "{a} {b}");
        }
        for (a, b) in [("a", ""), ("", "a"), ("ab", "abab"), ("abab", "ab"), ("secret", "secreT")] {
            assert!(!equal(a.as_bytes(), b.as_bytes()), "{a} {b}");
        }
    }

    #[test]
    fn a_session_survives_a_restart_but_not_another_password() {
        let dir = tempfile::tempdir().unwrap();
        let load = |password: &str| Auth::load(dir.path(), Some(password.to_owned())).unwrap();
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            let line = format!("other=1; {COOKIE}={value}; more=2");
            headers.insert(header::COOKIE, line.parse().unwrap());
            headers
        };
        let value = load("one").open();
        let cookie = headers(&value);
        assert!(load("one").session(&cookie).is_some());
        let (id, _) = value.split_once('.').unwrap();
        assert!(load("one").session(&headers(&format!("{id}.{}", random()))).is_none());
        assert!(load("one").session(&headers(&format!("{id}."))).is_none());
        assert!(load("two").session(&cookie).is_none());
        let auth = load("one");
        auth.stored().sessions.get_mut(id).unwrap().until = now() - 1;
        assert!(auth.session(&cookie).is_none());
        let auth = load("one");
        auth.close(&cookie);
        assert!(load("one").session(&cookie).is_none());
    }

    #[test]
    fn a_damaged_file_costs_a_login_only() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("web-sessions.json"), "{").unwrap();
        let auth = Auth::load(dir.path(), Some("one".to_owned())).unwrap();
        auth.open();
        let file = fs::metadata(dir.path().join("web-sessions.json")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_address_that_guesses_is_blocked_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let auth = Auth::load(dir.path(), Some("one".to_owned())).unwrap();
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        for _ in 0..MAX_FAILURES {
            assert!(auth.may_try(a));
            auth.record_attempt(a, false);
        }
        assert!(!auth.may_try(a) && auth.may_try(b));
        auth.record_attempt(a, true);
        assert!(auth.may_try(a), "a success clears the count");
    }

    #[test]
    fn all_addresses_of_one_network_share_their_attempts() {
        let of = |ip: &str| attempt_key(ip.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
