//! The client of a remote host: of our own `serve` over the seam wire, or of a hermes-webui over
//! its protocol. What it gives is the same [`protocol::View`] as the embedded one's.

mod api;
pub(crate) mod auth;
mod find;
pub mod http;
pub(crate) mod pending_prompts;
mod seam;
pub(crate) mod sse;
mod translate;
mod webui;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use find::find;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::http::{Client, Error};
use self::pending_prompts::{Entry, Unsent};
use self::sse::pace::Backoff;
use crate::clock::now;
use crate::state_dir::StateDir;
use protocol::Subject;
use protocol::{Command, Event, Failure, Link, Millis, Target};
use protocol::{Signal, View, ViewId, ViewSink, pair};

/// Longest wait for an answer about the server itself.
const PROBE: Duration = Duration::from_secs(15);
/// What to do about a login that is missing or over: also for who is attached already.
const LOG_IN: &str = "to log in, quit and attach again: it asks for the password";
/// How long the end of a connection may take to send what waits.
const END: Duration = Duration::from_secs(3);
/// Longest pause before a host on this machine is looked for again.
const NEAR: Duration = Duration::from_secs(1);
/// How long what others have left is tried, and how often it is looked whether it is gone.
const LEFT: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(200);

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
    pub state: StateDir,
}

impl Server {
    /// The server that a user means by `text`: a URL, `host:port`, or the path of a Unix socket.
    /// Without a scheme loopback is `http`, everything else `https`.
    ///
    /// # Errors
    /// [`Error::Url`] says what is wrong with it.
    pub fn parse(text: &str, state: &StateDir) -> Result<Self, Error> {
        let text = text.trim();
        let server = |url: String, socket| Self {
            url,
            socket,
            ca: None,
            insecure: false,
            state: state.clone(),
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
            // Not repeated: it would stand in the log of a shell.
            let what = "no address of a server has a name or password in it; you are asked for it";
            return Err(Error::Url(what.to_owned()));
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

    /// A file of that kind that we keep about this server.
    fn file(&self, kind: &str) -> PathBuf {
        self.state.remote_file(&self.name(), kind)
    }

    /// The directory of what was being typed on this server.
    pub fn drafts(&self) -> PathBuf {
        self.state.remote_drafts(&self.name())
    }
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// It speaks the seam wire: one of ours.
    pub tui: bool,
    /// Its version, if it says.
    pub version: Option<String>,
    /// When it started. Another time is another process: what lived in the old one is gone (E13).
    pub started_at: Option<Millis>,
    /// What must be done before it answers.
    pub login: Login,
}

/// What must be done before a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// Nothing, or it is done.
    Done,
    /// A password is wanted.
    Password,
    /// A login that only a browser can do; what to do instead.
    Browser(String),
}

/// Asks a server what it is and whether it knows us.
///
/// # Errors
/// See [`Error`].
pub async fn probe(server: &Server) -> Result<Probe, Error> {
    probed(&Client::new(server)?).await
}

async fn probed(client: &Client) -> Result<Probe, Error> {
    let health = client.ask(client.request(::http::Method::GET, "/health", &[])?.timeout(PROBE));
    let health = match health.await? {
        reply if reply.status == 404 => {
            return Err(Error::NotWebui(
                "there is no hermes server at this address (it has no /health); is a path missing \
                 in the URL?"
                    .to_owned(),
            ));
        }
        reply => reply,
    };
    let version = health.headers.get(::http::header::SERVER).and_then(|v| v.to_str().ok());
    let version = version.and_then(|name| name.strip_prefix("HermesWebUI/")).map(str::to_owned);
    let said = health.accepted()?;
    let started_at = said["server_started_at"].as_f64().map(|seconds| (seconds * 1000.0) as Millis);
    let tui = said["tui"].as_u64() == Some(1);
    if !tui && (started_at.is_none() || !said["status"].is_string()) {
        return Err(Error::NotWebui("what answers there is no hermes server".to_owned()));
    }
    let version = said["version"].as_str().map(str::to_owned).or(version);
    let login = match client.get("/api/auth/status", &[]).await {
        Ok(status) => login_of(&status),
        // Before it asked for logins it did not tell about them.
        Err(Error::Status { code: 404, .. }) => Login::Done,
        Err(error) => return Err(error),
    };
    Ok(Probe { tui, version, started_at, login })
}

fn login_of(status: &Value) -> Login {
    let is = |key: &str| status[key].as_bool() == Some(true);
    if !is("auth_enabled") || is("logged_in") {
        return Login::Done;
    }
    if is("password_auth_enabled") || status["password_auth_enabled"].is_null() {
        return Login::Password;
    }
    let how = match (is("oidc_enabled"), is("passkeys_enabled") || is("passwordless_enabled")) {
        (true, _) => "through a login elsewhere (OIDC)",
        (false, true) => "with a passkey",
        (false, false) => "in a way we do not know",
    };
    Login::Browser(format!(
        "this server lets people in only {how}, which needs a browser: log in there, copy its \
         cookie, and attach with --cookie NAME=VALUE"
    ))
}

/// Logs in with a password. The cookie is kept for this server.
///
/// # Errors
/// [`Error::Auth`] if it is wrong; a status 429 says when to try again.
pub async fn login(server: &Server, password: &str) -> Result<(), Error> {
    let client = Client::new(server)?;
    let request = client.request(::http::Method::POST, "/api/auth/login", &[])?;
    let request = request.json(&json!({ "password": password })).timeout(PROBE);
    match client.ask(request).await?.accepted() {
        Ok(_) => {}
        Err(Error::Auth(_)) => return Err(Error::Auth("wrong password".to_owned())),
        Err(Error::Status { code: 429, message, body, retry_after }) => {
            let message = match retry_after {
                Some(time) => {
                    let said = message.trim_end_matches('.');
                    format!("{said} (try again in {} s)", time.as_secs())
                }
                None => message,
            };
            return Err(Error::Status { code: 429, message, body, retry_after });
        }
        Err(error) => return Err(error),
    }
    match probed(&client).await?.login {
        Login::Done => Ok(()),
        Login::Password | Login::Browser(_) => Err(Error::Auth(
            "the password was right, but the server did not give us a cookie it accepts".to_owned(),
        )),
    }
}

/// Uses a cookie that was copied from a browser; false if the text is none. It is kept.
///
/// # Errors
/// The server's URL or certificate file cannot be used.
pub fn use_cookie(server: &Server, text: &str) -> Result<bool, Error> {
    Ok(Client::new(server)?.paste_cookie(text))
}

/// A connection to a remote host. Dropping it ends the connection at once; what was typed and not
/// sent is kept for the next one.
#[derive(Debug)]
pub struct Remote {
    task: JoinHandle<Vec<String>>,
    wanted: Wanted,
}

/// Whether something was typed for a host that is not there.
#[derive(Clone, Debug, Default)]
struct Wanted(Arc<AtomicBool>);

impl Wanted {
    fn set(&self, wanted: bool) {
        self.0.store(wanted, Ordering::Relaxed);
    }
}

impl Remote {
    /// Whether a prompt was typed since the link to one of our own hosts was lost, and since this
    /// was asked last: it waits until there is a host again.
    pub fn take_wanted(&self) -> bool {
        self.wanted.0.swap(false, Ordering::Relaxed)
    }

    /// Lets what was asked for go out, for a few seconds at most. The [`View`] must be dropped.
    /// Returns the prompts that are kept for the next connection.
    pub async fn end(mut self) -> Vec<String> {
        let ended = tokio::time::timeout(END, &mut self.task).await;
        ended.ok().and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A view on a session of a remote host, and the connection behind it. Returns at once: how the
/// link is, is an event. Must be called inside a tokio runtime.
pub fn start(server: Server, target: Target) -> (View, Remote) {
    let wanted = Wanted::default();
    let (host, task) = spawn(server, target, wanted.clone());
    (host, Remote { task, wanted })
}

/// As [`start`]; the connection ends after its [`View`], or with the runtime.
pub fn connect(server: Server, target: Target) -> View {
    spawn(server, target, Wanted::default()).0
}

/// Sends what interfaces that are gone have left for this server; returns at once if that is
/// nothing, and gives up after a minute: what is left then waits for the next time.
pub async fn send_left(server: Server) {
    if !pending_prompts::is_left(&server) {
        return;
    }
    let (mut host, remote) = start(server.clone(), Target::New);
    let sent = async {
        while pending_prompts::is_waiting(&server) {
            // An event may tell of it; when nothing happens it is looked at all the same.
            if let Ok(None) = tokio::time::timeout(LOOK, host.next()).await {
                break;
            }
        }
    };
    tokio::time::timeout(LEFT, sent).await.ok();
    drop(host);
    remote.end().await;
}

fn spawn(server: Server, target: Target, wanted: Wanted) -> (View, JoinHandle<Vec<String>>) {
    let (tx, signals) = mpsc::unbounded_channel();
    // The only view of its channel.
    let (host, backend) = pair(ViewId(1), tx);
    (host, tokio::spawn(drive(server, target, backend, signals, wanted)))
}

/// What both ways to a server begin with.
struct Line {
    client: Client,
    target: Target,
    backend: ViewSink,
    signals: mpsc::UnboundedReceiver<(ViewId, Signal)>,
    /// What was asked before the server was reached.
    early: Vec<Command>,
    unsent: Unsent,
    /// The version it says it has.
    version: Option<String>,
    /// It is on this machine, and asking whether it is there costs nothing.
    is_near: bool,
    wanted: Wanted,
}

/// Finds out what the server speaks and goes on with that. Returns what is not sent at the end.
async fn drive(
    server: Server,
    target: Target,
    backend: ViewSink,
    mut signals: mpsc::UnboundedReceiver<(ViewId, Signal)>,
    wanted: Wanted,
) -> Vec<String> {
    let mut unsent = Unsent::open(&server);
    let is_near = server.socket.is_some();
    let mut early = Vec::new();
    let client = match Client::new(&server) {
        Ok(client) => client,
        Err(error) => {
            refuse(&backend, error.to_string());
            return keep_prompts(&mut signals, &backend, &mut unsent, &target).await;
        }
    };
    let backoff = Backoff::default();
    let mut attempt = 0;
    tell(&backend, Link::Connecting);
    let probe = loop {
        let error = match probed(&client).await {
            Ok(probe) => match probe.login {
                Login::Done => break probe,
                Login::Password => Error::Auth(LOG_IN.to_owned()),
                Login::Browser(what) => Error::Auth(what),
            },
            Err(error) => error,
        };
        if !error.is_passing() {
            refuse(&backend, error.to_string());
            return keep_prompts(&mut signals, &backend, &mut unsent, &target).await;
        }
        attempt += 1;
        let mut pause = backoff.pause(attempt, uuid::Uuid::new_v4().as_bytes()[0]);
        if is_near {
            pause = pause.min(NEAR);
        }
        let retry_at = now() + pause.as_millis() as Millis;
        tell(&backend, Link::Down { why: error.to_string(), attempt, retry_at });
        let waited = tokio::time::sleep(pause);
        tokio::pin!(waited);
        loop {
            tokio::select! {
                () = &mut waited => break,
                signal = signals.recv() => match signal {
                    Some((_, Signal::Command(command))) => {
                        wanted.set(wanted.0.load(Ordering::Relaxed) || is_prompt(&command));
                        keep_prompt(&command, &mut unsent, &target);
                        early.push(command);
                    }
                    Some((_, Signal::Detached)) | None => return unsent.texts(),
                },
            }
        }
    };
    let version = probe.version;
    let line = Line { client, target, backend, signals, early, unsent, version, is_near, wanted };
    if probe.tui { seam::run(line).await } else { webui::run(line).await }
}

/// Tells the front end how the link is.
fn tell(backend: &ViewSink, link: Link) {
    // A front end that does not read this has more to catch up with.
    let _ = backend.push(Event::Link { link });
}

fn refuse(backend: &ViewSink, message: String) {
    tell(backend, Link::Refused { message });
}

fn is_prompt(command: &Command) -> bool {
    matches!(command, Command::Prompt { .. })
}

/// A prompt is written down before anything is done about it.
fn keep_prompt(command: &Command, unsent: &mut Unsent, target: &Target) {
    if let Command::Prompt { id, text } = command {
        let session = match target {
            Target::Id(session) => Some(session.clone()),
            Target::New | Target::Latest => None,
        };
        unsent.add(Entry::typed(id, session, text));
    }
}

/// There is no link and will be none: what is typed is kept, what is asked is refused.
async fn keep_prompts(
    signals: &mut mpsc::UnboundedReceiver<(ViewId, Signal)>,
    backend: &ViewSink,
    unsent: &mut Unsent,
    target: &Target,
) -> Vec<String> {
    while let Some((_, Signal::Command(command))) = signals.recv().await {
        keep_prompt(&command, unsent, target);
        let _ = backend.push(no_link(&command));
    }
    unsent.texts()
}

/// What becomes of a command without a link.
fn no_link(command: &Command) -> Event {
    let message = match command {
        Command::Prompt { .. } => {
            "there is no link to the host: what you typed is kept and goes out with the next attach"
        }
        _ => "there is no link to the host",
    };
    // Not about the prompt: a front end would take the text back.
    Event::Failed(Failure { about: Subject::Link, message: message.to_owned() })
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
