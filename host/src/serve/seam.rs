//! The seam wire: a view of this host for our own clients. `Command` and `Event` go over it as they
//! are.
//!
//! A view lives as long as its stream of events. A client that loses the stream opens another view:
//! its first event is a fresh window, which is the exact state, so nothing is lost or doubled, and
//! no cursor is needed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::listen::Peer;
use super::{ApiError, QueryParams, ServerState, Shutdown, check_lengths, ok_json, sse};
use crate::embedded::{Attendance, HostHandle, OpenError};
use crate::store::Reader;
use crate::wire::encode::seconds;
use protocol::{Command, CommandSender, Event, SessionId, Target, View};

/// Longest body of commands, in bytes: an upload is one of them.
const MAX_BODY: usize = 30 * 1024 * 1024;
/// Names of unknown commands that are remembered.
const MAX_UNKNOWN: usize = 100;
/// Waiting events are sent together up to so many bytes.
const BATCH: usize = 64 * 1024;

pub(super) fn routes() -> Router<ServerState> {
    let commands = post(commands).layer(DefaultBodyLimit::max(MAX_BODY));
    Router::new()
        .route("/api/tui/v1/events", get(events))
        .route("/api/tui/v1/commands", commands)
        .route("/api/tui/v1/find", get(find))
        .route("/api/tui/v1/status", get(status))
        .route("/api/tui/v1/stop", post(stop))
}

/// The open views, by the token that their commands carry.
#[derive(Clone, Debug, Default)]
pub(super) struct Views {
    open: Arc<Mutex<HashMap<String, CommandSender>>>,
    /// The unknown commands that were logged (E15).
    unknown: Arc<Mutex<HashSet<String>>>,
}

impl Views {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, CommandSender>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that unknown command is to be logged: the first time, and only so many names.
    fn is_first(&self, name: &str) -> bool {
        let mut known = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < MAX_UNKNOWN && known.insert(name.chars().take(100).collect())
    }
}

/// One view and its stream of events; the view ends with the stream.
struct Connection {
    token: String,
    view: View,
    views: Views,
    /// The number of the last event sent.
    id: u64,
    shutdown: watch::Receiver<Shutdown>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.views.lock().remove(&self.token);
    }
}

async fn events(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let host = &server.host;
    let view = match params.get("session") {
        None | Some("latest") => host.attach(Target::Latest, Attendance::Attended),
        Some("new") => host.attach(Target::New, Attendance::Attended),
        Some(name) => {
            open(host, name).await.map_err(|error| ApiError::not_found(error.to_string()))?
        }
    };
    let token = uuid::Uuid::new_v4().simple().to_string();
    server.views.lock().insert(token.clone(), view.command_sender());
    let hello = json!({ "view": token, "version": &*server.version });
    let hello = frame("view", None, &hello.to_string());
    let (views, shutdown) = (server.views.clone(), server.shutdown.clone());
    let connection = Connection { token, view, views, id: 0, shutdown };
    let frames = stream::once(async { Bytes::from(hello) }).chain(event_frames(connection));
    Ok(sse::response(&server, sse::KEEPALIVE_COMMENT, frames))
}

/// A view of the session with that id, or else the one that [`find_stored`] finds.
async fn open(host: &HostHandle, name: &str) -> Result<View, OpenError> {
    let error = match host.open(SessionId(name.to_owned()), Attendance::Attended).await {
        Ok(view) => return Ok(view),
        Err(error) => error,
    };
    match find_stored(host, name).await {
        Some(id) if id.0 != name => host.open(id, Attendance::Attended).await,
        Some(_) | None => Err(error),
    }
}

/// The stored session of that name: its id, the beginning of it, or its title.
async fn find_stored(host: &HostHandle, name: &str) -> Option<SessionId> {
    let (state, name) = (host.state().to_owned(), name.to_owned());
    let find = move || Reader::open(&state).and_then(|reader| reader.find(&name));
    tokio::task::spawn_blocking(find).await.ok()?.ok()?
}

async fn find(State(server): State<ServerState>, params: QueryParams) -> Response {
    let session = find_stored(&server.host, params.get("name").unwrap_or_default()).await;
    ok_json(&json!({ "session": session }))
}

/// The events of a view, as they come. When the server is stopped on purpose the last frame is
/// `stopped`: a client whose stream just ends tries to reconnect.
fn event_frames(connection: Connection) -> impl Stream<Item = Bytes> + Send {
    stream::unfold(Some(connection), |connection| async move {
        let mut connection = connection?;
        let mut text = String::new();
        let mut next = tokio::select! {
            biased;
            event = connection.view.next() => Some(event?),
            shutdown = connection.shutdown.wait_for(|shutdown| shutdown.is_over()) => {
                let stopped = shutdown.is_ok_and(|shutdown| *shutdown == Shutdown::Stop);
                let last = stopped.then(|| frame("stopped", None, "{}"));
                return last.map(|last| (Bytes::from(last), None));
            }
        };
        while let Some(event) = next {
            connection.id += 1;
            // Every event can be written as JSON.
            if let Ok(data) = serde_json::to_string::<Event>(&event) {
                text += &frame("e", Some(connection.id), &data);
            }
            next = if text.len() < BATCH { connection.view.try_next() } else { None };
        }
        Some((Bytes::from(text), Some(connection)))
    })
}

fn frame(name: &str, id: Option<u64>, data: &str) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {name}\n{id}data: {data}\n\n")
}

/// Passes on one command or an array of them. Unknown ones, of a newer client, are skipped.
async fn commands(
    State(server): State<ServerState>,
    params: QueryParams,
    body: Bytes,
) -> Result<Response, ApiError> {
    let token = params.get("view").unwrap_or_default();
    let command_sender = server.views.lock().get(token).cloned();
    let command_sender =
        command_sender.ok_or_else(|| ApiError::not_found("there is no such view"))?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_request(format!("the body is not JSON: {error}")))?;
    let list = match body {
        Value::Array(commands) => commands,
        one => vec![one],
    };
    // All or none: after an error the client must not wonder which ones were carried out.
    list.iter().try_for_each(check_lengths)?;
    let mut unknown = Vec::new();
    for command in list {
        let name = command.get("command").cloned().unwrap_or_default();
        match serde_json::from_value::<Command>(command) {
            Ok(command) => command_sender.send(command),
            Err(error) => {
                if server.views.is_first(&name.to_string()) {
                    tracing::warn!("commands {name} are skipped: {error}");
                }
                unknown.push(name);
            }
        }
    }
    Ok(ok_json(&json!({ "ok": true, "unknown": unknown })))
}

/// The state of this host, for `host status`.
async fn status(State(server): State<ServerState>) -> Response {
    let work = server.host.work().await.unwrap_or_default();
    ok_json(&json!({
        "pid": std::process::id(),
        "version": &*server.version,
        "server_started_at": seconds(server.started_at),
        "address": server.address.map(|address| address.to_string()),
        "state": server.host.state().display().to_string(),
        "turns": work.turns,
        "processes": work.processes,
        "views": work.views,
    }))
}

/// Requests that the process stops; only over a Unix socket, whose file says who may.
async fn stop(
    State(server): State<ServerState>,
    ConnectInfo(peer): ConnectInfo<Peer>,
) -> Result<Response, ApiError> {
    match peer {
        Peer::Unix => {
            server.stop_requested.send_replace(true);
            Ok(ok_json(&json!({ "ok": true })))
        }
        Peer::Tcp(_) => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "a host can be stopped only over its own socket",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // E15
    #[test]
    fn an_unknown_command_is_logged_once_and_many_cost_nothing() {
        let views = Views::default();
        assert!(views.is_first("dance"));
        assert!(!views.is_first("dance"));
        let many = (0..10 * MAX_UNKNOWN).filter(|n| views.is_first(&n.to_string())).count();
        assert_eq!(many, MAX_UNKNOWN - 1);
    }
}
