//! The seam wire: a view of this host for our own front ends. `Command` and `Event` go over it as
//! they are.
//!
//! A view lives as long as its stream of events. Who loses the stream opens another view: its
//! first event is a fresh window, which is the exact state, so nothing is lost or doubled, and no
//! cursor is needed.

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
use super::{Params, Refusal, Serving, Shutdown, answer, bounded, sse};
use crate::embedded::{Attendance, HostHandle};
use crate::store::Reader;
use protocol::{Command, Event, SessionId, Target};
use protocol::{CommandSender, View};

/// Longest body of commands: an upload is one of them.
const COMMANDS: usize = 30 * 1024 * 1024;
/// Names of commands that are remembered as unknown.
const LEFT_OUT: usize = 100;
/// Events that wait are sent together up to so many bytes.
const BATCH: usize = 64 * 1024;

pub(super) fn routes() -> Router<Serving> {
    let commands = post(commands).layer(DefaultBodyLimit::max(COMMANDS));
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
    /// What was left out and said so (E15).
    left_out: Arc<Mutex<HashSet<String>>>,
}

impl Views {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, CommandSender>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether commands of that name were not left out before. After many names all are old news.
    fn is_news(&self, name: &str) -> bool {
        let mut known = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < LEFT_OUT && known.insert(name.chars().take(100).collect())
    }
}

/// One view; its end is the end of its stream.
struct Connection {
    token: String,
    host: View,
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

async fn events(State(serving): State<Serving>, params: Params) -> Result<Response, Refusal> {
    let access = &serving.access;
    let host = match params.get("session") {
        None | Some("latest") => access.attach(Target::Latest, Attendance::Attended),
        Some("new") => access.attach(Target::New, Attendance::Attended),
        Some(name) => open(access, name).await.map_err(Refusal::not_found)?,
    };
    let token = uuid::Uuid::new_v4().simple().to_string();
    serving.views.lock().insert(token.clone(), host.command_sender());
    let hello = json!({ "view": token, "version": &*serving.version });
    let hello = frame("view", None, &hello.to_string());
    let (views, shutdown) = (serving.views.clone(), serving.shutdown.clone());
    let view = Connection { token, host, views, id: 0, shutdown };
    let frames = stream::once(async { Bytes::from(hello) }).chain(told(view));
    Ok(sse::response(&serving, sse::QUIET, frames))
}

/// A view on the session of that id, or of what else people call it by.
async fn open(access: &HostHandle, name: &str) -> Result<View, String> {
    let refusal = match access.open(SessionId(name.to_owned()), Attendance::Attended).await {
        Ok(host) => return Ok(host),
        Err(refusal) => refusal,
    };
    match called(access, name).await {
        Some(id) if id.0 != name => access.open(id, Attendance::Attended).await,
        Some(_) | None => Err(refusal),
    }
}

/// The stored session that people call that.
async fn called(access: &HostHandle, name: &str) -> Option<SessionId> {
    let (state, name) = (access.state().to_owned(), name.to_owned());
    let find = move || Reader::open(&state).and_then(|reader| reader.find(&name));
    tokio::task::spawn_blocking(find).await.ok()?.ok()?
}

/// Which session is meant by its id, the beginning of it, or its title.
async fn find(State(serving): State<Serving>, params: Params) -> Response {
    let found = called(&serving.access, params.get("name").unwrap_or_default()).await;
    answer(&json!({ "session": found }))
}

/// The events of a view, as they come; when the server is stopped on purpose, that at the end: who
/// just loses the stream tries to come back.
fn told(view: Connection) -> impl Stream<Item = Bytes> + Send {
    stream::unfold(Some(view), |view| async move {
        let mut view = view?;
        let mut text = String::new();
        let mut next = tokio::select! {
            biased;
            event = view.host.next() => Some(event?),
            shutdown = view.shutdown.wait_for(|shutdown| shutdown.is_over()) => {
                let stops = shutdown.is_ok_and(|shutdown| *shutdown == Shutdown::Stops);
                let last = stops.then(|| frame("stopped", None, "{}"));
                return last.map(|last| (Bytes::from(last), None));
            }
        };
        while let Some(event) = next {
            view.id += 1;
            // No event holds what JSON cannot say.
            if let Ok(data) = serde_json::to_string::<Event>(&event) {
                text += &frame("e", Some(view.id), &data);
            }
            next = if text.len() < BATCH { view.host.try_next() } else { None };
        }
        Some((Bytes::from(text), Some(view)))
    })
}

fn frame(name: &str, id: Option<u64>, data: &str) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {name}\n{id}data: {data}\n\n")
}

/// Takes one command or several. Those of a newer front end are left out.
async fn commands(
    State(serving): State<Serving>,
    params: Params,
    body: Bytes,
) -> Result<Response, Refusal> {
    let token = params.get("view").unwrap_or_default();
    let command_sender = serving.views.lock().get(token).cloned();
    let command_sender =
        command_sender.ok_or_else(|| Refusal::not_found("there is no such view"))?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad(format!("the commands are no JSON: {error}")))?;
    let asked = match body {
        Value::Array(commands) => commands,
        one => vec![one],
    };
    // All of them or none: who sends such an id must not wonder what became of the others.
    asked.iter().try_for_each(bounded)?;
    let mut unknown = Vec::new();
    for command in asked {
        let name = command.get("command").cloned().unwrap_or_default();
        match serde_json::from_value::<Command>(command) {
            Ok(command) => command_sender.send(command),
            Err(error) => {
                if serving.views.is_news(&name.to_string()) {
                    tracing::warn!("commands {name} are left out: {error}");
                }
                unknown.push(name);
            }
        }
    }
    Ok(answer(&json!({ "ok": true, "unknown": unknown })))
}

/// What this host is and does, for `host status`.
async fn status(State(serving): State<Serving>) -> Response {
    let work = serving.access.work().await.unwrap_or_default();
    answer(&json!({
        "pid": std::process::id(),
        "version": &*serving.version,
        "server_started_at": serving.started_at as f64 / 1000.0,
        "address": serving.address.map(|address| address.to_string()),
        "state": serving.access.state().display().to_string(),
        "turns": work.turns,
        "processes": work.processes,
        "views": work.views,
    }))
}

/// Asks the process to stop, where the file system says who may.
async fn stop(
    State(serving): State<Serving>,
    ConnectInfo(peer): ConnectInfo<Peer>,
) -> Result<Response, Refusal> {
    match peer {
        Peer::Unix => {
            serving.asked.send_replace(true);
            Ok(answer(&json!({ "ok": true })))
        }
        Peer::Tcp(_) => {
            Err(Refusal::new(StatusCode::FORBIDDEN, "only the host's own socket can stop it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // E15
    #[test]
    fn an_unknown_command_is_news_once_and_many_of_them_cost_nothing() {
        let views = Views::default();
        assert!(views.is_news("dance"));
        assert!(!views.is_news("dance"));
        let many = (0..10 * LEFT_OUT).filter(|n| views.is_news(&n.to_string())).count();
        assert_eq!(many, LEFT_OUT - 1);
    }
}
