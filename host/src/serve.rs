//! The server: gives views of this host to clients over TCP and over Unix sockets. Our own clients
//! speak the seam wire, all others the protocol of hermes-webui. What a session does is decided by
//! the host; here is only how it goes over HTTP.

mod auth;
mod catalog;
mod channel;
mod chat;
mod client_state;
mod feed;
mod guard;
mod health;
mod listen;
mod projects;
mod questions;
mod reply;
mod request_view;
mod seam;
mod sessions;
mod settings;
mod side_questions;
mod sse;
mod tape;
#[cfg(test)]
pub(crate) mod tests;
mod uploads;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::HeaderValue;
use axum::{Router, middleware};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use reply::ApiError;
pub(crate) use reply::{JsonBody, QueryParams, check_lengths, missing_fields, ok_json};

use crate::clock::now;
use crate::embedded::HostHandle;
use crate::settings::Settings;
use protocol::Millis;

/// Longest body of a request that is not an upload, in bytes.
const MAX_BODY: usize = 20 * 1024 * 1024;
/// How long a stop waits for connections to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection that accepts no byte for that long is closed (E04).
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Where to listen and which clients to let in.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The address for HTTP; without a password only loopback.
    pub tcp: Option<SocketAddr>,
    /// The paths of Unix sockets. They are created with mode 0600; a stale file at such a path is
    /// replaced, so the caller must own what it names ([`socket_path`]: the host lock).
    ///
    /// [`socket_path`]: crate::state_dir::StateDir::socket
    pub sockets: Vec<PathBuf>,
    /// The password of clients over TCP; none or an empty one: no login.
    pub password: Option<String>,
    /// The version reported to clients.
    pub version: String,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Everybody in the network could run commands here.
    #[error(
        "{0} can be reached from other machines: set a password (--password-file FILE or \
         HERMES_TUI_PASSWORD), or listen on 127.0.0.1"
    )]
    PasswordRequired(SocketAddr),
    /// An address or a socket cannot be listened on.
    #[error("cannot listen on {place}: {error}")]
    Listen {
        /// The address, or the path of the socket.
        place: String,
        /// The reason.
        error: std::io::Error,
    },
    /// A file of the server's own cannot be read or written.
    #[error("{place}: {error}")]
    State {
        /// Its path.
        place: String,
        /// The reason.
        error: std::io::Error,
    },
}

/// A running server. Dropping it stops listening; [`Server::stop`] also ends streams cleanly.
#[derive(Debug)]
pub struct Server {
    address: Option<SocketAddr>,
    shutdown: watch::Sender<Shutdown>,
    stop_requested: watch::Receiver<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// Remove the files of the sockets when dropped.
    _sockets: Vec<listen::SocketFile>,
}

/// What every route can use.
#[derive(Clone, Debug)]
pub(crate) struct ServerState {
    /// The host that is served.
    pub(crate) host: HostHandle,
    /// The settings of the host.
    pub(crate) settings: Arc<Settings>,
    /// What the streams of the WebUI protocol share.
    pub(crate) feeds: feed::Feeds,
    /// What is remembered between two requests.
    client_state: client_state::ClientState,
    projects: projects::Projects,
    side_questions: side_questions::SideQuestions,
    /// When this server started.
    pub(crate) started_at: Millis,
    /// The version reported to clients.
    version: Arc<str>,
    /// Name and version, for the `Server` header of every response.
    name: HeaderValue,
    health: health::Monitor,
    /// The address it listens on over TCP.
    address: Option<SocketAddr>,
    auth: Arc<auth::Auth>,
    views: seam::Views,
    /// Becomes true when a client asks the process to stop.
    stop_requested: watch::Sender<bool>,
    /// Streams end once this is over.
    shutdown: watch::Receiver<Shutdown>,
}

/// Whether a server still runs, and if not, whether another one takes its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// It runs.
    #[default]
    Running,
    /// Another process is about to listen in its place.
    HandOver,
    /// It was stopped on purpose: none follows it.
    Stop,
}

impl Shutdown {
    /// Whether the server no longer runs.
    pub(crate) fn is_over(self) -> bool {
        self != Self::Running
    }
}

/// The listeners of a server, bound and not served yet.
struct Listeners {
    tcp: Option<listen::Tcp>,
    unix: Vec<listen::Unix>,
    files: Vec<listen::SocketFile>,
}

impl Listeners {
    async fn bind(options: &Options) -> Result<Self, Error> {
        let failed = |place: String| move |error| Error::Listen { place, error };
        let tcp = match options.tcp {
            Some(tcp) => {
                let bound = listen::Tcp::bind(tcp, WRITE_TIMEOUT).await;
                Some(bound.map_err(failed(tcp.to_string()))?)
            }
            None => None,
        };
        let (mut unix, mut files) = (Vec::new(), Vec::new());
        for path in &options.sockets {
            let bound = listen::Unix::bind(path, WRITE_TIMEOUT);
            let (socket, file) = bound.map_err(failed(path.display().to_string()))?;
            unix.push(socket);
            files.push(file);
        }
        Ok(Self { tcp, unix, files })
    }
}

/// Starts a server for a host. It listens when this returns.
pub async fn start(
    host: HostHandle,
    settings: &Settings,
    options: Options,
) -> Result<Server, Error> {
    if let Some(tcp) = options.tcp
        && !tcp.ip().is_loopback()
        && options.password.as_deref().is_none_or(str::is_empty)
    {
        return Err(Error::PasswordRequired(tcp));
    }
    let listeners = Listeners::bind(&options).await?;
    let address = listeners.tcp.as_ref().map(listen::Tcp::address);
    let (shutdown, shutdown_changes) = watch::channel(Shutdown::Running);
    let (request_stop, stop_requested) = watch::channel(false);
    let state = ServerState {
        feeds: feed::Feeds::new(&host),
        client_state: client_state::ClientState::default(),
        projects: projects::Projects::load(&host).await.map_err(|error| Error::State {
            place: host.state().display().to_string(),
            error: std::io::Error::other(error),
        })?,
        side_questions: side_questions::SideQuestions::default(),
        auth: Arc::new(auth::Auth::load(host.state(), options.password)?),
        host,
        settings: Arc::new(settings.clone()),
        started_at: now(),
        address,
        name: HeaderValue::try_from(format!("hermes-tui/{}", options.version))
            .unwrap_or(HeaderValue::from_static("hermes-tui")),
        version: options.version.into(),
        health: health::Monitor::default(),
        views: seam::Views::default(),
        stop_requested: request_stop,
        shutdown: shutdown_changes,
    };
    let (tasks, files) = serve_all(listeners, &state);
    Ok(Server { address, shutdown, stop_requested, tasks, _sockets: files })
}

/// Serves the routes on all listeners, a task each.
fn serve_all(
    listeners: Listeners,
    state: &ServerState,
) -> (Vec<JoinHandle<()>>, Vec<listen::SocketFile>) {
    let app = router(state).with_state(state.clone());
    let mut tasks = Vec::new();
    if let Some(tcp) = listeners.tcp {
        tasks.push(tokio::spawn(listen::serve(tcp, app.clone(), state.shutdown.clone())));
    }
    for socket in listeners.unix {
        tasks.push(tokio::spawn(listen::serve(socket, app.clone(), state.shutdown.clone())));
    }
    (tasks, listeners.files)
}

impl Server {
    /// The address it listens on over TCP, with the port that was found free.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns once a client has asked over a Unix socket that the process stops.
    pub async fn stop_requested(&self) {
        let mut requested = self.stop_requested.clone();
        if requested.wait_for(|requested| *requested).await.is_err() {
            // No handler is left that could request it.
            std::future::pending::<()>().await;
        }
    }

    /// Accepts no more requests, notifies our own clients that no server follows this one, ends
    /// streams between two events and waits for requests being answered, but not for long.
    pub async fn stop(self) {
        self.end(Shutdown::Stop).await;
    }

    /// As [`Server::stop`], for another process that listens here next: clients reconnect.
    pub async fn hand_over(self) {
        self.end(Shutdown::HandOver).await;
    }

    async fn end(mut self, shutdown: Shutdown) {
        self.shutdown.send_replace(shutdown);
        let tasks = std::mem::take(&mut self.tasks);
        let aborts: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
        if tokio::time::timeout(STOP_TIMEOUT, futures::future::join_all(tasks)).await.is_err() {
            tracing::warn!("connections did not end in time");
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Dropped without a stop, it may have broken down: clients should try to reconnect.
        self.shutdown.send_if_modified(|shutdown| {
            let runs = !shutdown.is_over();
            if runs {
                *shutdown = Shutdown::HandOver;
            }
            runs
        });
    }
}

/// The routes behind the checks that run before any handler (E17).
fn router(state: &ServerState) -> Router<ServerState> {
    routes()
        .fallback(|| async { ApiError::not_found("not found") })
        .method_not_allowed_fallback(|| async { ApiError::not_found("not found") })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(state.clone(), guard::check))
}

/// All routes.
fn routes() -> Router<ServerState> {
    Router::new()
        .merge(health::routes())
        .merge(auth::routes())
        .merge(seam::routes())
        .merge(chat::routes())
        .merge(side_questions::routes())
        .merge(channel::routes())
        .merge(questions::routes())
        .merge(sessions::routes())
        .merge(catalog::routes())
        .merge(projects::routes())
        .merge(settings::routes())
        .merge(uploads::routes())
}
