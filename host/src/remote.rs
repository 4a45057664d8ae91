//! The client of a remote host: of our own `serve` over the seam wire, or of a hermes-webui over
//! its protocol. It provides the same [`protocol::View`] as the embedded host.

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
use self::pending_prompts::{PendingPrompt, PendingPrompts};
use crate::clock::now;
use crate::settings::Timing;
use crate::state_dir::StateDir;
use protocol::Subject;
use protocol::{Command, Event, Failure, Link, Millis, Target};
use protocol::{Signal, View, ViewId, ViewSink, pair};

/// Longest wait for an answer about the server itself.
const PROBE: Duration = Duration::from_secs(15);
/// What to do about a login that is missing or has expired, also while attached.
const LOG_IN: &str = "to log in, quit and attach again: it asks for the password";
/// How long the end of a connection may take to send what is queued.
const END: Duration = Duration::from_secs(3);
/// Longest pause between two attempts to reach a host on this machine.
const LOCAL_RETRY: Duration = Duration::from_secs(1);
/// How long sending the prompts of earlier clients may take, and how often it is checked whether
/// all are sent.
const LEFT: Duration = Duration::from_mins(1);
const LEFT_CHECK: Duration = Duration::from_millis(200);

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
    /// Our own state directory: cookies and prompts that were not sent are kept below it.
    pub state: StateDir,
    /// How long a client of it waits.
    pub timing: Timing,
}

impl Server {
    /// The server that a user means by `text`: a URL, `host:port`, or the path of a Unix socket.
    /// Without a scheme loopback is `http`, everything else `https`.
    ///
    /// # Errors
    /// [`Error::Url`] if it is not the address of a server.
    pub fn parse(text: &str, state: &StateDir) -> Result<Self, Error> {
        let text = text.trim();
        let server = |url: String, socket| Self {
            url,
            socket,
            ca: None,
            insecure: false,
            state: state.clone(),
            timing: Timing::default(),
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
        let wrong =
            |why: &str| Error::Url(format!("`{text}` is not the address of a server: {why}"));
        let spelled = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut url = reqwest::Url::parse(&spelled).map_err(|e| wrong(&e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("it must begin with http:// or https://"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("it names no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            // Not repeated: it may hold a password.
            let why = "the address of a server must not contain a name or password: leave them \
                       out, you are asked for the password";
            return Err(Error::Url(why.to_owned()));
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

    /// Its address as the user wrote it: the URL, or the path of the socket.
    pub fn name(&self) -> String {
        self.socket.as_ref().map_or_else(|| self.url.clone(), |path| path.display().to_string())
    }

    /// A file of that kind that we keep about this server.
    fn file(&self, kind: &str) -> PathBuf {
        self.state.remote_file(&self.name(), kind)
    }

    /// The directory of drafts for this server.
    pub fn drafts(&self) -> PathBuf {
        self.state.remote_drafts(&self.name())
    }
}

/// What a server reports about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whether it speaks the seam wire, as our own `serve` does.
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
    /// A password must be given.
    Password,
    /// A login that only a browser can do; what to do instead.
    Browser(String),
}

/// Asks a server what it is and whether it knows us.
///
/// # Errors
/// See [`Error`].
pub async fn probe(server: &Server) -> Result<Probe, Error> {
    probe_with(&Client::new(server)?).await
}

async fn probe_with(client: &Client) -> Result<Probe, Error> {
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
    let health = health.accepted()?;
    let started_at =
        health["server_started_at"].as_f64().map(|seconds| (seconds * 1000.0) as Millis);
    let tui = health["tui"].as_u64() == Some(1);
    if !tui && (started_at.is_none() || !health["status"].is_string()) {
        return Err(Error::NotWebui(
            "the server at this address is not a hermes server".to_owned(),
        ));
    }
    let version = health["version"].as_str().map(str::to_owned).or(version);
    let login = match client.get("/api/auth/status", &[]).await {
        Ok(status) => required_login(&status),
        // Versions without logins do not have this endpoint.
        Err(Error::Status { code: 404, .. }) => Login::Done,
        Err(error) => return Err(error),
    };
    Ok(Probe { tui, version, started_at, login })
}

fn required_login(status: &Value) -> Login {
    let is = |key: &str| status[key].as_bool() == Some(true);
    if !is("auth_enabled") || is("logged_in") {
        return Login::Done;
    }
    if is("password_auth_enabled") || status["password_auth_enabled"].is_null() {
        return Login::Password;
    }
    let how = match (is("oidc_enabled"), is("passkeys_enabled") || is("passwordless_enabled")) {
        (true, _) => "through another login service (OIDC)",
        (false, true) => "with a passkey",
        (false, false) => "in a way this program does not know",
    };
    Login::Browser(format!(
        "this server lets you log in only {how}, which needs a browser: log in there, copy its \
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
                    let message = message.trim_end_matches('.');
                    format!("{message} (try again in {} s)", time.as_secs())
                }
                None => message,
            };
            return Err(Error::Status { code: 429, message, body, retry_after });
        }
        Err(error) => return Err(error),
    }
    match probe_with(&client).await?.login {
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

/// A connection to a remote host. Dropping it ends the connection at once; prompts that were not
/// sent are kept for the next one.
#[derive(Debug)]
pub struct Remote {
    task: JoinHandle<Vec<String>>,
    prompt_waiting: PromptWaiting,
}

/// A flag: a prompt was typed for a host that is not there.
#[derive(Clone, Debug, Default)]
struct PromptWaiting(Arc<AtomicBool>);

impl PromptWaiting {
    fn set(&self, waiting: bool) {
        self.0.store(waiting, Ordering::Relaxed);
    }
}

impl Remote {
    /// Whether a prompt was typed since the link to one of our own hosts was lost, and since the
    /// last call: it waits until there is a host again.
    pub fn take_prompt_waiting(&self) -> bool {
        self.prompt_waiting.0.swap(false, Ordering::Relaxed)
    }

    /// Waits until queued commands are sent, for a few seconds at most. The [`View`] must have been
    /// dropped. Returns the prompts that are kept for the next connection.
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

/// A view on a session of a remote host, and the connection behind it. Returns at once: the state of
/// the link is reported by events. Must be called inside a tokio runtime.
pub fn start(server: Server, target: Target) -> (View, Remote) {
    let prompt_waiting = PromptWaiting::default();
    let (view, task) = spawn(server, target, prompt_waiting.clone());
    (view, Remote { task, prompt_waiting })
}

/// As [`start`]; the connection ends after its [`View`], or with the runtime.
pub fn connect(server: Server, target: Target) -> View {
    spawn(server, target, PromptWaiting::default()).0
}

/// Sends the prompts that clients which are gone have left for this server. Returns at once if there
/// are none, and gives up after a minute: what is left then waits for the next time.
pub async fn send_pending_prompts(server: Server) {
    if !pending_prompts::has_orphans(&server) {
        return;
    }
    let (mut view, remote) = start(server.clone(), Target::New);
    let sent = async {
        while pending_prompts::has_any(&server) {
            // An event may report that one was sent; without events it is checked all the same.
            if let Ok(None) = tokio::time::timeout(LEFT_CHECK, view.next()).await {
                break;
            }
        }
    };
    tokio::time::timeout(LEFT, sent).await.ok();
    drop(view);
    remote.end().await;
}

fn spawn(
    server: Server,
    target: Target,
    prompt_waiting: PromptWaiting,
) -> (View, JoinHandle<Vec<String>>) {
    let (tx, signals) = mpsc::unbounded_channel();
    // The only view of its channel.
    let (view, sink) = pair(ViewId(1), tx);
    let task = async move {
        let prompts = PendingPrompts::open(&server);
        let early = Vec::new();
        let connecting = Connecting { target, sink, signals, early, prompts, prompt_waiting };
        connecting.run(server).await
    };
    (view, tokio::spawn(task))
}

/// A view whose server was not reached yet.
struct Connecting {
    target: Target,
    sink: ViewSink,
    signals: mpsc::UnboundedReceiver<(ViewId, Signal)>,
    /// Commands that came before the server was reached.
    early: Vec<Command>,
    prompts: PendingPrompts,
    prompt_waiting: PromptWaiting,
}

/// A view and the server that was reached for it: what both clients start from.
struct Connected {
    client: Client,
    target: Target,
    sink: ViewSink,
    signals: mpsc::UnboundedReceiver<(ViewId, Signal)>,
    /// Commands that came before the server was reached.
    early: Vec<Command>,
    prompts: PendingPrompts,
    /// The version the server reports.
    version: Option<String>,
    /// It is on this machine, so that frequent attempts to reach it cost nothing.
    is_local: bool,
    prompt_waiting: PromptWaiting,
}

/// Why no server was reached.
enum NotReached {
    Refused(String),
    /// The view was dropped.
    Detached,
}

impl Connecting {
    /// Finds out what the server speaks and runs the client for that. Returns the prompts that are
    /// not sent at the end.
    async fn run(mut self, server: Server) -> Vec<String> {
        let is_local = server.socket.is_some();
        let (client, probe) = match self.reach(&server).await {
            Ok(reached) => reached,
            Err(NotReached::Detached) => return self.prompts.texts(),
            Err(NotReached::Refused(message)) => return self.refuse(message).await,
        };
        let Self { target, sink, signals, early, prompts, prompt_waiting } = self;
        let version = probe.version;
        let connected = Connected {
            client,
            target,
            sink,
            signals,
            early,
            prompts,
            version,
            is_local,
            prompt_waiting,
        };
        if probe.tui { seam::run(connected).await } else { webui::run(connected).await }
    }

    /// Tries until the server answers and lets us in.
    async fn reach(&mut self, server: &Server) -> Result<(Client, Probe), NotReached> {
        let client = Client::new(server).map_err(|error| NotReached::Refused(error.to_string()))?;
        let backoff = client.backoff();
        report_link(&self.sink, Link::Connecting);
        let mut attempt = 0;
        loop {
            let error = match probe_with(&client).await {
                Ok(probe) => match probe.login {
                    Login::Done => return Ok((client, probe)),
                    Login::Password => Error::Auth(LOG_IN.to_owned()),
                    Login::Browser(advice) => Error::Auth(advice),
                },
                Err(error) => error,
            };
            if !error.is_passing() {
                return Err(NotReached::Refused(error.to_string()));
            }
            attempt += 1;
            let mut pause = backoff.pause(attempt, uuid::Uuid::new_v4().as_bytes()[0]);
            if server.socket.is_some() {
                pause = pause.min(LOCAL_RETRY);
            }
            let retry_at = now() + pause.as_millis() as Millis;
            report_link(&self.sink, Link::Down { why: error.to_string(), attempt, retry_at });
            self.queue_for(pause).await?;
        }
    }

    /// Queues commands for that long.
    async fn queue_for(&mut self, pause: Duration) -> Result<(), NotReached> {
        let over = tokio::time::sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return Ok(()),
                signal = self.signals.recv() => match signal {
                    Some((_, Signal::Command(command))) => {
                        if is_prompt(&command) {
                            self.prompt_waiting.set(true);
                        }
                        self.store_prompt(&command);
                        self.early.push(command);
                    }
                    Some((_, Signal::Detached)) | None => return Err(NotReached::Detached),
                },
            }
        }
    }

    /// There will be no link: prompts are kept, all other commands are refused.
    async fn refuse(mut self, message: String) -> Vec<String> {
        report_link(&self.sink, Link::Refused { message });
        while let Some((_, Signal::Command(command))) = self.signals.recv().await {
            self.store_prompt(&command);
            let _ = self.sink.push(no_link(&command));
        }
        self.prompts.texts()
    }

    /// A prompt is stored before anything else is done with it.
    fn store_prompt(&mut self, command: &Command) {
        if let Command::Prompt { id, text } = command {
            let session = match &self.target {
                Target::Id(session) => Some(session.clone()),
                Target::New | Target::Latest => None,
            };
            self.prompts.add(PendingPrompt::new(id, session, text));
        }
    }
}

/// Reports the state of the link to the view.
fn report_link(sink: &ViewSink, link: Link) {
    // A view that is too slow for this is sent a window anyway.
    let _ = sink.push(Event::Link { link });
}

fn is_prompt(command: &Command) -> bool {
    matches!(command, Command::Prompt { .. })
}

/// The event that answers a command without a link.
fn no_link(command: &Command) -> Event {
    let message = match command {
        Command::Prompt { .. } => {
            "there is no link to the host: what you typed is kept and goes out with the next attach"
        }
        _ => "there is no link to the host",
    };
    // Not about the prompt: a view would take the text back.
    Event::Failed(Failure { about: Subject::Link, message: message.to_owned() })
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
