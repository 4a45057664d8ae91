//! Turns over the WebUI protocol: start, steer and cancel. What a turn writes: [`stream`].

mod replay;
mod starter;
mod stream;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::feed::{Feed, Feeds, Lease};
use super::{ApiError, JsonBody, QueryParams, ServerState, missing_fields, ok_json, uploads};
use crate::clock::now;
use crate::model::catalog::provider_name;
use crate::wire::encode::seconds;
use protocol::{Command, Millis, SessionId, TurnId};
use starter::{PromptOutcome, Starter};
pub(super) use stream::{Cursor, HEARTBEAT_COMMENT, TapeReader};

/// A message that is never a turn.
const SILENT: &str = "[SILENT]";
/// How long a turn that is stored may take to appear in its session's feed.
const FEED_TIMEOUT: Duration = Duration::from_secs(2);
/// Characters of a prompt that serve as a title.
const TITLE_CHARS: usize = 64;

pub(super) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/api/chat", post(whole_turn))
        .route("/api/chat/start", post(start))
        .route("/api/chat/stream", get(stream::stream))
        .route("/api/chat/stream/status", get(stream::status))
        .route("/api/chat/cancel", get(cancel))
        .route("/api/chat/steer", post(steer))
}

/// A turn in one request: not offered, since a connection that breaks would lose its result.
async fn whole_turn() -> ApiError {
    ApiError::new(
        StatusCode::NOT_IMPLEMENTED,
        "this host answers no turn in one request: use /api/chat/start and /api/chat/stream",
    )
}

/// The feed of a session; 404 if it cannot be opened.
async fn lease(feeds: &Feeds, session: &str) -> Result<Lease, ApiError> {
    let lease = feeds.lease(&SessionId(session.to_owned())).await;
    lease.map_err(|error| {
        ApiError::not_found("Session not found").with("details", error.to_string())
    })
}

/// The body of a request to start a turn.
struct StartRequest<'a> {
    session: &'a str,
    message: &'a str,
    /// Names the turn to run again instead of a message.
    revision: Option<&'a str>,
    /// Whether to wait behind a running turn.
    queue: bool,
}

impl<'a> StartRequest<'a> {
    fn parse(body: &'a JsonBody) -> Result<Self, ApiError> {
        let flag = |key: &str| body.0.get(key) == Some(&Value::Bool(true));
        let session = body.text("session_id").ok_or_else(|| missing_fields("session_id"))?;
        let message = body.0.get("message").and_then(Value::as_str).unwrap_or_default();
        let revision = if flag("regenerate") { Some(revision(body)?) } else { None };
        if message.trim().is_empty() && revision.is_none() {
            return Err(ApiError::bad_request("message is required"));
        }
        Ok(Self { session, message, revision, queue: flag("queue") })
    }
}

/// The revision that a request to regenerate names; the session's object has it.
fn revision(body: &JsonBody) -> Result<&str, ApiError> {
    let foreign = ["message", "attachments", "keep_count", "prompt", "prompt_index"];
    if foreign.iter().any(|key| body.0.get(key).is_some()) {
        return Err(ApiError::bad_request("regeneration accepts only regeneration_revision")
            .with("code", "invalid_regeneration_request"));
    }
    let revision = body.0.get("regeneration_revision").and_then(Value::as_str);
    revision.ok_or_else(|| stale("regeneration_revision is required"))
}

fn stale(why: &str) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, why).with("code", "stale_regeneration_revision")
}

fn busy(feeds: &Feeds, session: &SessionId, turn: TurnId) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "session already has an active stream")
        .with("active_stream_id", feeds.stream_id(session, turn))
}

async fn start(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let request = StartRequest::parse(&body)?;
    if request.message.trim() == SILENT {
        let body = json!({ "status": "suppressed", "reason": "silent_control_message" });
        return Ok(ok_json(&body));
    }
    let feed = lease(&server.feeds, request.session).await?;
    let _starting = feed.starting.lock().await;
    if let Some(turn) = running_turn(&feed)
        && (!request.queue || request.revision.is_some())
    {
        return Err(busy(&server.feeds, feed.session(), turn));
    }
    match send(&server, &feed, &request, &body).await? {
        PromptOutcome::Started(turn) => Ok(started(&server, &feed, turn, request.message).await),
        PromptOutcome::Queued(position) => {
            let stream = running_turn(&feed);
            let stream = stream.map(|turn| server.feeds.stream_id(feed.session(), turn));
            let body = json!({
                "queued": true,
                "position": position,
                "session_id": feed.session(),
                "active_stream_id": stream,
            });
            Ok((StatusCode::ACCEPTED, ok_json(&body)).into_response())
        }
        PromptOutcome::Busy(Some(turn)) => Err(busy(&server.feeds, feed.session(), turn)),
        PromptOutcome::Busy(None) => {
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the host is stopping"))
        }
    }
}

fn running_turn(feed: &Feed) -> Option<TurnId> {
    feed.read(|transcript| transcript.running.as_ref().map(|running| running.turn))
}

/// Changes the session as the request says and sends its prompt.
async fn send(
    server: &ServerState,
    feed: &Feed,
    request: &StartRequest<'_>,
    body: &JsonBody,
) -> Result<PromptOutcome, ApiError> {
    let mut starter = Starter::open(&server.host, feed.session()).await?;
    if request.revision.is_some_and(|revision| starter.revision().as_deref() != Some(revision)) {
        return Err(stale("Session changed; load it and try again."));
    }
    if let Some(model) = body.text("model") {
        starter.set_model(model).await?;
    }
    if let Some(cwd) = body.text("workspace") {
        starter.set_cwd(cwd).await?;
    }
    if request.revision.is_some() {
        return starter.retry(request.queue).await;
    }
    let (session, text) = (feed.session(), request.message.to_owned());
    let text = uploads::with_attachments(server, session, text, body.0.get("attachments")).await?;
    starter.prompt(text, request.queue).await
}

/// The response to a start, once the client's next request can find the stream of the turn.
async fn started(server: &ServerState, feed: &Feed, turn: TurnId, message: &str) -> Response {
    let started_at = until_in_feed(feed, turn).await;
    let title = feed.read(|transcript| transcript.title.clone());
    let title = title.unwrap_or_else(|| message.trim().chars().take(TITLE_CHARS).collect());
    ok_json(&json!({
        "stream_id": server.feeds.stream_id(feed.session(), turn),
        "session_id": feed.session(),
        "pending_started_at": seconds(started_at),
        "turn_id": format!("{}-{turn}", feed.session()),
        "title": title,
        "effective_model": feed.read(|transcript| transcript.model.clone()),
        "effective_model_provider": provider_name(server.settings.model.provider),
    }))
}

/// Waits until the feed has that turn; returns when the turn started.
async fn until_in_feed(feed: &Feed, turn: TurnId) -> Millis {
    let mut changes = feed.tape_changes();
    let wait = async {
        loop {
            changes.borrow_and_update();
            let started_at = {
                let state = feed.lock();
                let running = state.transcript.running.as_ref().filter(|r| r.turn == turn);
                let ended = || state.runs.iter().any(|run| run.turn >= turn);
                running.map(|r| r.started_at).or_else(|| ended().then(now))
            };
            if let Some(at) = started_at {
                return at;
            }
            if changes.changed().await.is_err() {
                return now();
            }
        }
    };
    // A feed that fell behind may have missed a whole turn.
    let wait = tokio::time::timeout(FEED_TIMEOUT, wait);
    tokio::select! {
        at = wait => at.unwrap_or_else(|_| now()),
        () = feed.closed() => now(),
    }
}

async fn cancel(
    State(server): State<ServerState>,
    params: QueryParams,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = params.get("stream_id").ok_or_else(|| ApiError::bad_request("stream_id required"))?;
    // A page of another site could make a browser send this.
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if site.is_some_and(|site| site != "same-origin") {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "Cross-origin mismatch"));
    }
    let cancelled = match server.side_questions.question(id) {
        Some(question) => question.cancel(),
        None => cancel_turn(&server.feeds, id).await,
    };
    Ok(ok_json(&json!({ "ok": true, "cancelled": cancelled, "stream_id": id })))
}

/// Cancels the turn of that stream; returns whether it was running.
async fn cancel_turn(feeds: &Feeds, stream: &str) -> bool {
    let Some(id) = feeds.parse(stream).filter(|id| id.is_current) else { return false };
    let Ok(feed) = feeds.lease(&id.session).await else { return false };
    let runs = running_turn(&feed) == Some(id.turn);
    if runs {
        feed.send(Command::Cancel);
    }
    runs
}

async fn steer(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let session = body.text("session_id").ok_or_else(|| missing_fields("session_id"))?;
    let text = body.text("text").ok_or_else(|| ApiError::bad_request("text is required"))?;
    let not_accepted =
        |why: &str| Ok(ok_json(&json!({ "accepted": false, "fallback": why, "stream_id": null })));
    let Ok(feed) = server.feeds.lease(&SessionId(session.to_owned())).await else {
        return not_accepted("session_not_found");
    };
    match feed.read(|transcript| transcript.running.as_ref().map(|r| (r.turn, r.cancelling))) {
        None => not_accepted("not_running"),
        Some((_, true)) => not_accepted("stream_dead"),
        Some((turn, false)) => {
            feed.send(Command::Steer { text: text.to_owned() });
            Ok(ok_json(&json!({
                "accepted": true,
                "fallback": null,
                "stream_id": server.feeds.stream_id(feed.session(), turn),
            })))
        }
    }
}
