//! The server: gives views of this host to others, over TCP and over a Unix socket. Our own
//! front ends speak the seam wire, everybody else the protocol of hermes-webui.

mod ask;
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

pub use reply::Refusal;
pub(crate) use reply::{Body, Params, answer, bounded, missing};

use crate::clock::now;
use crate::embedded::HostHandle;
use crate::settings::Settings;
use protocol::Millis;

/// Longest body of a request that is not an upload.
const BODY: usize = 20 * 1024 * 1024;
/// How long a stop waits for connections to end.
const STOP: Duration = Duration::from_secs(3);
/// A connection that takes no byte for that long is closed (E04).
const WRITE_DEADLINE: Duration = Duration::from_secs(20);

/// Where to listen and whom to let in.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The address for HTTP; without a password only loopback.
    pub tcp: Option<SocketAddr>,
    /// Unix sockets. They are made with mode 0600; a stale file in the place of one is replaced,
    /// so the caller must own what they name ([`socket_path`]: the host lock).
    pub sockets: Vec<PathBuf>,
    /// What clients over TCP must know.
    pub password: Option<String>,
    /// The version told to clients.
    pub version: String,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Everybody in the network could run commands here.
    #[error(
        "{0} can be reached from elsewhere: set a password (--password-file FILE or \
         HERMES_TUI_PASSWORD), or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// An address or a socket cannot be listened on.
    #[error("cannot listen on {place}: {error}")]
    Listen {
        /// Which.
        place: String,
        /// Why.
        error: std::io::Error,
    },
    /// Something of the server's own cannot be read or written.
    #[error("{place}: {error}")]
    State {
        /// What.
        place: String,
        /// Why.
        error: std::io::Error,
    },
}

/// A running server. Dropping it stops listening; [`Server::stop`] also ends streams cleanly.
#[derive(Debug)]
pub struct Server {
    address: Option<SocketAddr>,
    shutdown: watch::Sender<Shutdown>,
    asked: watch::Receiver<bool>,
    tasks: Vec<JoinHandle<()>>,
    /// Removes the socket files.
    _sockets: Vec<listen::SocketFile>,
}

/// What every route can use.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    /// The way to the host.
    pub(crate) access: HostHandle,
    /// What the host was told.
    pub(crate) settings: Arc<Settings>,
    /// What the streams of the WebUI protocol share.
    pub(crate) feeds: feed::Feeds,
    /// What is remembered between two requests.
    client_state: client_state::ClientState,
    /// Projects.
    projects: projects::Projects,
    side_questions: side_questions::SideQuestions,
    /// When this server started.
    pub(crate) started_at: Millis,
    /// The version told to clients.
    version: Arc<str>,
    /// Its name and version, for the header of every answer.
    name: HeaderValue,
    pulse: health::Pulse,
    /// Where it listens over TCP.
    address: Option<SocketAddr>,
    auth: Arc<auth::Auth>,
    views: seam::Views,
    /// Somebody asked the process to stop.
    asked: watch::Sender<bool>,
    /// Streams should end once it is over.
    shutdown: watch::Receiver<Shutdown>,
}

/// Whether a server goes on, and if not, whether somebody else does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// It goes on.
    #[default]
    Serves,
    /// Another process is about to listen in its place.
    MakesWay,
    /// It was stopped on purpose: nobody comes after it.
    Stops,
}

impl Shutdown {
    pub(crate) fn is_over(self) -> bool {
        self != Self::Serves
    }
}

/// Starts a server for a host. Listens when this returns.
pub async fn start(
    access: HostHandle,
    settings: &Settings,
    options: Options,
) -> Result<Server, Error> {
    if let Some(tcp) = options.tcp
        && !tcp.ip().is_loopback()
        && options.password.as_deref().is_none_or(str::is_empty)
    {
        return Err(Error::Open(tcp));
    }
    let listened = |place: String| move |error| Error::Listen { place, error };
    let tcp = match options.tcp {
        Some(tcp) => {
            Some(listen::Tcp::bind(tcp, WRITE_DEADLINE).await.map_err(listened(tcp.to_string()))?)
        }
        None => None,
    };
    let mut sockets = Vec::new();
    let mut files = Vec::new();
    for path in &options.sockets {
        let bound = listen::Unix::bind(path, WRITE_DEADLINE);
        let (socket, file) = bound.map_err(listened(path.display().to_string()))?;
        sockets.push(socket);
        files.push(file);
    }
    let address = tcp.as_ref().map(listen::Tcp::address);
    let (shutdown, coming) = watch::channel(Shutdown::Serves);
    let (ask, asked) = watch::channel(false);
    let settings = Arc::new(settings.clone());
    let serving = Serving {
        feeds: feed::Feeds::new(&access, &settings),
        client_state: client_state::ClientState::default(),
        projects: projects::Projects::load(&access).await.map_err(|error| Error::State {
            place: access.state().display().to_string(),
            error: std::io::Error::other(error),
        })?,
        side_questions: side_questions::SideQuestions::default(),
        auth: Arc::new(auth::Auth::load(access.state(), options.password)?),
        access,
        settings,
        started_at: now(),
        address,
        name: HeaderValue::try_from(format!("hermes-tui/{}", options.version))
            .unwrap_or(HeaderValue::from_static("hermes-tui")),
        version: options.version.into(),
        pulse: health::Pulse::default(),
        views: seam::Views::default(),
        asked: ask,
        shutdown: coming,
    };
    let app = router(&serving).with_state(serving.clone());
    let mut tasks = Vec::new();
    if let Some(tcp) = tcp {
        tasks.push(tokio::spawn(listen::serve(tcp, app.clone(), serving.shutdown.clone())));
    }
    for socket in sockets {
        tasks.push(tokio::spawn(listen::serve(socket, app.clone(), serving.shutdown.clone())));
    }
    Ok(Server { address, shutdown, asked, tasks, _sockets: files })
}

impl Server {
    /// The address it listens on over TCP, with the port that was found free.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns once somebody asked over a Unix socket that the process stops.
    pub async fn stop_asked(&self) {
        let mut asked = self.asked.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            // No handler is left that could ask.
            std::future::pending::<()>().await;
        }
    }

    /// Takes no more requests, tells our own front ends that nobody comes after this server, ends
    /// streams where an event ends and waits for what is being answered, but not for long.
    pub async fn stop(self) {
        self.end(Shutdown::Stops).await;
    }

    /// As [`Server::stop`], for another process that listens here next: front ends just come back.
    pub async fn make_way(self) {
        self.end(Shutdown::MakesWay).await;
    }

    async fn end(mut self, shutdown: Shutdown) {
        self.shutdown.send_replace(shutdown);
        let tasks = std::mem::take(&mut self.tasks);
        let ends: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
        if tokio::time::timeout(STOP, futures::future::join_all(tasks)).await.is_err() {
            tracing::warn!("connections did not end in time");
            ends.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Who drops it without a word may have broken down.
        self.shutdown.send_if_modified(|shutdown| {
            let serves = !shutdown.is_over();
            if serves {
                *shutdown = Shutdown::MakesWay;
            }
            serves
        });
    }
}

/// The routes behind the checks that no handler may run before (E17).
fn router(serving: &Serving) -> Router<Serving> {
    routes()
        .fallback(|| async { Refusal::not_found("not found") })
        .method_not_allowed_fallback(|| async { Refusal::not_found("not found") })
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(serving.clone(), guard::check))
}

/// All routes.
fn routes() -> Router<Serving> {
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
