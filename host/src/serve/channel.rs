//! The streams that outlive turns: the channel of a session, the relay of its turns, and the news
//! of the session list.

use std::collections::VecDeque;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::chat::Reading;
use super::feed::{Feeds, Lease};
use super::tape::{Read, encode};
use super::{Body, Params, Refusal, Serving, answer, sse};
use crate::store::Reader;
use crate::wire::encode::frame::{Frame, secs};
use crate::wire::encode::session::session;
use protocol::{SessionId, TurnId};

pub(super) fn routes() -> Router<Serving> {
    Router::new()
        .route("/api/session/stream", get(channel))
        .route("/api/sessions/events", get(lists))
        .route("/api/sessions/gateway/stream", get(gateway))
        .route("/api/sessions/{sid}/events", get(relay))
        .route("/api/bg-task-complete-ack", post(acknowledge))
        .route("/api/process-complete-ack", post(gone))
}

/// A stream that says one thing and then nothing: of a session that does not exist. The original
/// answers such a request too.
pub(super) fn silent(serving: &Serving, first: &Frame) -> Response {
    let frames = stream::iter([encode(None, first)]).chain(stream::pending());
    sse::response(serving, sse::QUIET, frames)
}

async fn channel(
    State(serving): State<Serving>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id = params.get("session_id").ok_or_else(|| Refusal::bad("session_id is required"))?;
    let initial = Frame::new("initial", json!({ "session_id": id }));
    let Ok(feed) = serving.feeds.lease(&SessionId(id.to_owned())).await else {
        return Ok(silent(&serving, &initial));
    };
    let known = params.get("known_count").and_then(|count| count.parse().ok());
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let cursor = params.get("after_event_id").or(header);
    let listening = Listening::new(feed, &serving.feeds, &initial, known, cursor);
    let frames = stream::unfold(listening, |mut listening| async move {
        listening.next().await.map(|bytes| (bytes, listening))
    });
    Ok(sse::response(&serving, sse::QUIET, frames))
}

/// A reader of a session's channel.
pub(super) struct Listening {
    feed: Lease,
    /// What is said before anything new: it is the state at `after`.
    first: VecDeque<Bytes>,
    after: u64,
    changes: watch::Receiver<u64>,
}

impl Listening {
    /// Where the log holds what follows the cursor, that follows; else the state is told: a turn
    /// that runs, and whether the client's messages are too few (E02).
    pub(super) fn new(
        feed: Lease,
        feeds: &Feeds,
        initial: &Frame,
        known: Option<u64>,
        cursor: Option<&str>,
    ) -> Self {
        let changes = feed.channel_changes();
        let mut first = VecDeque::from([encode(None, initial)]);
        let state = feed.lock();
        let seen = cursor
            .and_then(|id| id.rsplit_once(':'))
            .filter(|(name, _)| *name == state.channel.name())
            .and_then(|(_, n)| n.parse::<u64>().ok())
            .filter(|n| *n <= state.channel.last())
            .filter(|n| !matches!(state.channel.read(*n), Read::Behind(_)));
        let after = seen.unwrap_or_else(|| state.channel.last());
        if seen.is_none() {
            let running = state.transcript.running.as_ref().filter(|r| !r.cancelling);
            if let Some(running) = running {
                let data = json!({
                    "session_id": feed.session(),
                    "stream_id": feeds.stream(feed.session(), running.turn),
                    "pending_started_at": secs(running.started_at),
                    "source": "subscribe_recovery",
                    "recovered": true,
                });
                first.push_back(encode(None, &Frame::new("server_turn_started", data)));
            }
            if known.is_some_and(|known| known < state.messages()) {
                let data = state.update(known, "subscribe_recovery");
                first.push_back(encode(None, &Frame::new("session-updated", data)));
            }
        }
        drop(state);
        Self { feed, first, after, changes }
    }

    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        loop {
            self.changes.borrow_and_update();
            if let Some(bytes) = self.read() {
                return Some(bytes);
            }
            self.feed.changed(&mut self.changes).await?;
        }
    }

    fn read(&mut self) -> Option<Bytes> {
        let state = self.feed.lock();
        match state.channel.read(self.after) {
            Read::Frames(bytes, upto) => {
                self.after = upto;
                Some(bytes)
            }
            Read::Wait | Read::End => None,
            // Too slow: it loads the messages and goes on from here (E04).
            Read::Behind(_) => {
                self.after = state.channel.last();
                let data = state.update(None, "resync");
                Some(encode(None, &Frame::new("session-updated", data)))
            }
        }
    }
}

/// The news of the session list: that it has changed, no more often than a client reads.
async fn lists(State(serving): State<Serving>) -> Response {
    let changes = serving.feeds.lists();
    let frames = stream::unfold(changes, |mut changes| async move {
        changes.changed().await.ok()?;
        let version = *changes.borrow_and_update();
        let data = json!({
            "type": "sessions_changed",
            "version": version,
            "reason": "sessions_changed",
        });
        Some((encode(None, &Frame::new("sessions_changed", data)), changes))
    });
    sse::response(&serving, sse::QUIET, frames)
}

/// News of sessions that other programs hold: there are none here. A probe is told that this says
/// nothing about the stream of a session.
async fn gateway(params: Params) -> Refusal {
    let refusal = Refusal::not_found("this host has no sessions of other programs");
    if !matches!(params.get("probe"), Some("1" | "true" | "yes")) {
        return refusal;
    }
    refusal
        .with("enabled", false)
        .with("ok", false)
        .with("watcher_running", false)
        .with("fallback_poll_ms", 30_000)
        .with("scope", "gateway_sessions")
        .with("session_stream_available", true)
        .with("session_stream_path", "/api/session/stream")
}

/// The turns of a session one after the other.
async fn relay(
    State(serving): State<Serving>,
    Path(id): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id = SessionId(id);
    let Ok(feed) = serving.feeds.lease(&id).await else {
        return Err(Refusal::not_found("Session not found"));
    };
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let cursor = params.get("after_event_id").or(header);
    let relaying = Relaying::new(serving.feeds.clone(), feed, cursor);
    let frames = stream::unfold(relaying, |mut relaying| async move {
        relaying.next().await.map(|bytes| (bytes, relaying))
    });
    Ok(sse::response(&serving, sse::QUIET, frames))
}

struct Relaying {
    feeds: Feeds,
    feed: Lease,
    changes: watch::Receiver<u64>,
    /// What is said first.
    first: Option<Bytes>,
    reading: Option<Reading>,
    /// The last turn that was begun.
    turn: TurnId,
    /// Where to go on in the next turn.
    after: Option<u64>,
}

impl Relaying {
    fn new(feeds: Feeds, feed: Lease, cursor: Option<&str>) -> Self {
        let changes = feed.tape_changes();
        let seen = cursor.and_then(|id| id.rsplit_once(':')).and_then(|(stream, n)| {
            let known = feeds.parse(stream).filter(|k| k.ours && k.session == *feed.session())?;
            Some((known.turn, n.parse::<u64>().ok()?))
        });
        let state = feed.lock();
        let newest = state.runs.back().map_or(TurnId(0), |run| run.turn);
        let running = state.transcript.running.as_ref().map(|running| running.turn);
        let served = seen.filter(|(turn, n)| {
            let run = state.runs.iter().find(|run| run.turn == *turn);
            run.is_some_and(|run| {
                *n <= run.tape.last() && !matches!(run.tape.read(*n), Read::Behind(_))
            })
        });
        let before = |turn: TurnId| TurnId(turn.0.saturating_sub(1));
        let (turn, after) = match served {
            Some((turn, n)) => (before(turn), Some(n)),
            None => (running.map_or(newest, before), None),
        };
        let snapshot = cursor.is_some() && served.is_none();
        let first = snapshot.then(|| {
            let data = json!({ "session": session(&state.transcript, None) });
            encode(None, &Frame::new("session_snapshot", data))
        });
        drop(state);
        Self { feeds, feed, changes, first, reading: None, turn, after }
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            if let Some(reading) = &mut self.reading {
                if let Some(bytes) = reading.next().await {
                    return Some(bytes);
                }
                self.reading = None;
            }
            self.changes.borrow_and_update();
            let next = {
                let state = self.feed.lock();
                let run = state.runs.iter().find(|run| run.turn > self.turn);
                run.map(|run| (run.turn, run.tape.start().unwrap_or_else(|| run.tape.last())))
            };
            if let Some((turn, start)) = next {
                self.turn = turn;
                let lease = self.feeds.lease(self.feed.session()).await.ok()?;
                self.reading = Some(Reading::new(lease, turn, self.after.take().unwrap_or(start)));
                continue;
            }
            self.feed.changed(&mut self.changes).await?;
        }
    }
}

/// A client says that it has shown the end of a task. Nothing depends on it.
async fn acknowledge(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let session = body
        .text("session_id")
        .ok_or_else(|| Refusal::bad("Missing required field(s): session_id"))?;
    let old = body.text("task_id").is_none() && body.text("process_id").is_some();
    let task = body.text("task_id").or_else(|| body.text("process_id"));
    if !exists(&serving, session).await {
        return Err(Refusal::not_found("Session not found"));
    }
    let noop = json!({ "ok": true, "session_id": session, "task_id": task, "noop": true });
    let mut response = answer(&noop);
    if old {
        let name = HeaderName::from_static("deprecation");
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Whether there is such a session; looking does not load it.
async fn exists(serving: &Serving, session: &str) -> bool {
    let (state, name) = (serving.access.state().to_owned(), session.to_owned());
    let find = move || Reader::open(&state)?.find(&name);
    let found = tokio::task::spawn_blocking(find).await;
    let stored = matches!(found, Ok(Ok(Some(id))) if id.0 == session);
    // One without a prompt is in memory alone.
    stored || serving.feeds.lease(&SessionId(session.to_owned())).await.is_ok()
}

/// The older name of the above.
async fn gone() -> Response {
    let new = "/api/bg-task-complete-ack";
    let body: Value = json!({
        "error": format!("/api/process-complete-ack is gone: use {new}"),
        "replaced_by": new,
    });
    let header = [(HeaderName::from_static("x-replaced-by"), HeaderValue::from_static(new))];
    (StatusCode::GONE, header, answer(&body)).into_response()
}
