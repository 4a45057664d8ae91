//! The streams that outlive turns: the channel of a session, the relay of its turns, and the
//! changes of the session list.

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

use super::chat::TapeReader;
use super::feed::{Feeds, Lease};
use super::tape::{Read, encode};
use super::{ApiError, JsonBody, QueryParams, ServerState, ok_json, sse};
use crate::store::Reader;
use crate::wire::encode::frame::Frame;
use crate::wire::encode::seconds;
use crate::wire::encode::session::session;
use protocol::{SessionId, TurnId};

pub(super) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/api/session/stream", get(channel))
        .route("/api/sessions/events", get(lists))
        .route("/api/sessions/gateway/stream", get(gateway))
        .route("/api/sessions/{sid}/events", get(relay))
        .route("/api/bg-task-complete-ack", post(acknowledge))
        .route("/api/process-complete-ack", post(acknowledge_process))
}

/// A stream of one frame and then nothing, of a session that does not exist: a hermes-webui
/// answers such a request too.
pub(super) fn single_frame(server: &ServerState, first: &Frame) -> Response {
    let frames = stream::iter([encode(None, first)]).chain(stream::pending());
    sse::response(server, sse::KEEPALIVE_COMMENT, frames)
}

async fn channel(
    State(server): State<ServerState>,
    params: QueryParams,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id =
        params.get("session_id").ok_or_else(|| ApiError::bad_request("session_id is required"))?;
    let initial = Frame::new("initial", json!({ "session_id": id }));
    let Ok(feed) = server.feeds.lease(&SessionId(id.to_owned())).await else {
        return Ok(single_frame(&server, &initial));
    };
    let known = params.get("known_count").and_then(|count| count.parse().ok());
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let cursor = params.get("after_event_id").or(header);
    let reader = ChannelReader::new(feed, &server.feeds, &initial, known, cursor);
    let frames = stream::unfold(reader, |mut reader| async move {
        reader.next().await.map(|bytes| (bytes, reader))
    });
    Ok(sse::response(&server, sse::KEEPALIVE_COMMENT, frames))
}

/// A reader of a session's channel.
pub(super) struct ChannelReader {
    feed: Lease,
    /// Frames that come before anything new: the state at `after`.
    first: VecDeque<Bytes>,
    after: u64,
    changes: watch::Receiver<u64>,
}

impl ChannelReader {
    /// A reader that continues after the cursor if the log still holds what follows it. Else it
    /// begins with the state: the running turn, and whether the client lacks messages (E02).
    /// `known` is the number of messages that the client has.
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
                    "stream_id": feeds.stream_id(feed.session(), running.turn),
                    "pending_started_at": seconds(running.started_at),
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
            // Too slow: the client reloads the messages and continues from here (E04).
            Read::Behind(_) => {
                self.after = state.channel.last();
                let data = state.update(None, "resync");
                Some(encode(None, &Frame::new("session-updated", data)))
            }
        }
    }
}

/// The changes of the session list: only that it has changed, and no more often than a client
/// reads.
async fn lists(State(server): State<ServerState>) -> Response {
    let changes = server.feeds.list_changes();
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
    sse::response(&server, sse::KEEPALIVE_COMMENT, frames)
}

/// The changes of sessions of other programs: there are none here. The response to a probe names
/// the stream of a session that can be used instead.
async fn gateway(params: QueryParams) -> ApiError {
    let error = ApiError::not_found("this host has no sessions of other programs");
    if !matches!(params.get("probe"), Some("1" | "true" | "yes")) {
        return error;
    }
    error
        .with("enabled", false)
        .with("ok", false)
        .with("watcher_running", false)
        .with("fallback_poll_ms", 30_000)
        .with("scope", "gateway_sessions")
        .with("session_stream_available", true)
        .with("session_stream_path", "/api/session/stream")
}

/// The turns of a session, one after the other.
async fn relay(
    State(server): State<ServerState>,
    Path(id): Path<String>,
    params: QueryParams,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = SessionId(id);
    let Ok(feed) = server.feeds.lease(&id).await else {
        return Err(ApiError::not_found("Session not found"));
    };
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let cursor = params.get("after_event_id").or(header);
    let relay = TurnRelay::new(server.feeds.clone(), feed, cursor);
    let frames =
        stream::unfold(
            relay,
            |mut relay| async move { relay.next().await.map(|bytes| (bytes, relay)) },
        );
    Ok(sse::response(&server, sse::KEEPALIVE_COMMENT, frames))
}

/// A reader of the tapes of a session's turns, in their order.
struct TurnRelay {
    feeds: Feeds,
    feed: Lease,
    changes: watch::Receiver<u64>,
    /// The snapshot that comes first, if any.
    first: Option<Bytes>,
    reader: Option<TapeReader>,
    /// The last turn whose tape was opened.
    turn: TurnId,
    /// The position at which to begin in the next turn.
    after: Option<u64>,
}

impl TurnRelay {
    fn new(feeds: Feeds, feed: Lease, cursor: Option<&str>) -> Self {
        let changes = feed.tape_changes();
        let seen = cursor.and_then(|id| id.rsplit_once(':')).and_then(|(stream, n)| {
            let known =
                feeds.parse(stream).filter(|k| k.is_current && k.session == *feed.session())?;
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
        Self { feeds, feed, changes, first, reader: None, turn, after }
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            if let Some(reader) = &mut self.reader {
                if let Some(bytes) = reader.next().await {
                    return Some(bytes);
                }
                self.reader = None;
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
                let after = self.after.take().unwrap_or(start);
                self.reader = Some(TapeReader::new(lease, turn, after));
                continue;
            }
            self.feed.changed(&mut self.changes).await?;
        }
    }
}

/// A client reports that it has shown the end of a task. Nothing depends on it.
async fn acknowledge(
    State(server): State<ServerState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let session = body
        .text("session_id")
        .ok_or_else(|| ApiError::bad_request("Missing required field(s): session_id"))?;
    let old = body.text("task_id").is_none() && body.text("process_id").is_some();
    let task = body.text("task_id").or_else(|| body.text("process_id"));
    if !exists(&server, session).await {
        return Err(ApiError::not_found("Session not found"));
    }
    let noop = json!({ "ok": true, "session_id": session, "task_id": task, "noop": true });
    let mut response = ok_json(&noop);
    if old {
        let name = HeaderName::from_static("deprecation");
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Whether there is such a session. A stored one is not loaded for this.
async fn exists(server: &ServerState, session: &str) -> bool {
    let (state, name) = (server.host.state().to_owned(), session.to_owned());
    let find = move || Reader::open(&state)?.find(&name);
    let stored = tokio::task::spawn_blocking(find).await;
    let stored = matches!(stored, Ok(Ok(Some(id))) if id.0 == session);
    // One without a prompt is in memory only.
    stored || server.feeds.lease(&SessionId(session.to_owned())).await.is_ok()
}

/// The older path of [`acknowledge`].
async fn acknowledge_process() -> Response {
    let new = "/api/bg-task-complete-ack";
    let body: Value = json!({
        "error": format!("/api/process-complete-ack is gone: use {new}"),
        "replaced_by": new,
    });
    let header = [(HeaderName::from_static("x-replaced-by"), HeaderValue::from_static(new))];
    (StatusCode::GONE, header, ok_json(&body)).into_response()
}
