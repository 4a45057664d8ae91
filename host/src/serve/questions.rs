//! Approvals and clarify questions over the WebUI protocol: the pending ones, as a poll and as a
//! stream, and the answers to them.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::feed::Lease;
use super::tape::{Read, encode};
use super::{ApiError, JsonBody, QueryParams, ServerState, channel, ok_json, sse};
use crate::wire::encode::frame::{Frame, Kind, choice_name, head, question};
use protocol::{Answer, Ask, Choice, Command, SessionId};

pub(super) fn routes() -> Router<ServerState> {
    let pending = |kind| move |server, params| pending(kind, server, params);
    let stream = |kind| move |server, params| stream(kind, server, params);
    Router::new()
        .route("/api/approval/pending", get(pending(Kind::Approval)))
        .route("/api/clarify/pending", get(pending(Kind::Clarify)))
        .route("/api/approval/stream", get(stream(Kind::Approval)))
        .route("/api/clarify/stream", get(stream(Kind::Clarify)))
        .route("/api/approval/respond", post(approve))
        .route("/api/clarify/respond", post(clarify))
}

fn session_id(params: &QueryParams) -> Result<SessionId, ApiError> {
    let id =
        params.get("session_id").ok_or_else(|| ApiError::bad_request("session_id is required"))?;
    Ok(SessionId(id.to_owned()))
}

/// No pending question: also for a session that does not exist.
fn none_pending() -> Value {
    json!({ "pending": null, "pending_count": 0 })
}

async fn pending(
    kind: Kind,
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let Ok(feed) = server.feeds.lease(&session_id(&params)?).await else {
        return Ok(ok_json(&none_pending()));
    };
    feed.start_clock(kind);
    Ok(ok_json(&feed.read(|transcript| {
        let (head, total) = head(&transcript.questions, kind);
        json!({
            "pending": head.map(|head| question(&transcript.session, head)),
            "pending_count": total,
        })
    })))
}

async fn stream(
    kind: Kind,
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let Ok(feed) = server.feeds.lease(&session_id(&params)?).await else {
        return Ok(channel::single_frame(&server, &Frame::new("initial", none_pending())));
    };
    let reader = QuestionReader::new(feed, kind);
    let frames = stream::unfold(reader, |mut reader| async move {
        reader.next().await.map(|bytes| (bytes, reader))
    });
    Ok(sse::response(&server, sse::KEEPALIVE_COMMENT, frames))
}

/// A reader of the questions of a kind. It gets the head and the number as they are when it reads:
/// a slow one misses intermediate states and ends on the current one (C06).
pub(super) struct QuestionReader {
    feed: Lease,
    kind: Kind,
    changes: watch::Receiver<u64>,
    /// The last state sent.
    sent: Option<Value>,
    /// Its position in the log of answered questions.
    answered: u64,
}

impl Drop for QuestionReader {
    fn drop(&mut self) {
        self.feed.set_shown(self.kind, false);
    }
}

impl QuestionReader {
    pub(super) fn new(feed: Lease, kind: Kind) -> Self {
        let changes = feed.question_changes();
        feed.set_shown(kind, true);
        let answered = feed.lock().answered(kind).last();
        Self { feed, kind, changes, sent: None, answered }
    }

    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.changes.borrow_and_update();
            if let Some(bytes) = self.read() {
                return Some(bytes);
            }
            self.feed.changed(&mut self.changes).await?;
        }
    }

    fn read(&mut self) -> Option<Bytes> {
        let mut state = self.feed.lock();
        let mut bytes = Vec::new();
        match state.answered(self.kind).read(self.answered) {
            Read::Frames(frames, upto) => {
                self.answered = upto;
                bytes.extend_from_slice(&frames);
            }
            Read::Behind(missed) => self.answered += missed,
            Read::Wait | Read::End => {}
        }
        let transcript = &state.transcript;
        let (head, total) = head(&transcript.questions, self.kind);
        let head = head.map(|head| question(&transcript.session, head));
        let current = json!({ "pending": head, "pending_count": total });
        if self.sent.as_ref() != Some(&current) {
            let name = if self.sent.is_none() { "initial" } else { self.kind.name() };
            bytes.extend_from_slice(&encode(None, &Frame::new(name, current.clone())));
            self.sent = Some(current);
        }
        (!bytes.is_empty()).then(|| bytes.into())
    }
}

/// The name of a client: others see who has answered.
fn client_name(headers: &HeaderMap, body: &JsonBody) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let agent = agent.and_then(|agent| agent.split(['/', ' ']).next());
    let agent = match agent {
        Some("Mozilla") => "a browser",
        Some(agent) if !agent.is_empty() => agent,
        _ => "another client",
    };
    body.text("by").unwrap_or(agent).chars().take(40).collect()
}

async fn approve(
    State(server): State<ServerState>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let session =
        body.text("session_id").ok_or_else(|| ApiError::bad_request("session_id is required"))?;
    let name = body.0.get("choice").map_or("deny", |choice| choice.as_str().unwrap_or_default());
    let choice = match name {
        "once" => Choice::Once,
        "session" => Choice::Session,
        "always" => Choice::Always,
        "deny" => Choice::Deny,
        other => return Err(ApiError::bad_request(format!("Invalid choice: {other}"))),
    };
    let cleared = json!({ "ok": true, "choice": name, "stale_cleared": true });
    let Ok(feed) = server.feeds.lease(&SessionId(session.to_owned())).await else {
        return Ok(ok_json(&cleared));
    };
    let by = client_name(&headers, &body);
    let question = match feed.claim(Kind::Approval, body.text("approval_id"), by) {
        Ok(question) => question,
        Err(0) => return Ok(ok_json(&cleared)),
        Err(_) => return Ok(ok_json(&json!({ "ok": false, "choice": name }))),
    };
    if let (Ask::Approval { allow_always: false, .. }, Choice::Always) = (&question.ask, choice) {
        feed.release(&question.id);
        return Err(ApiError::bad_request(
            "Invalid choice: always (this rule has no permanent grant)",
        ));
    }
    if body.0.get("yolo") == Some(&Value::Bool(true)) && choice != Choice::Deny {
        feed.send(Command::SetYolo { yolo: true });
    }
    let sent = Answer::Approval(choice);
    match feed.answer(&question.id, sent.clone()).await {
        Some(settled) if settled != sent => {
            let left = feed.read(|t| head(&t.questions, Kind::Approval).1);
            let late = json!({ "ok": false, "choice": name });
            Ok(ok_json(if left == 0 { &cleared } else { &late }))
        }
        Some(_) | None => Ok(ok_json(&json!({ "ok": true, "choice": choice_name(choice) }))),
    }
}

async fn clarify(
    State(server): State<ServerState>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let session =
        body.text("session_id").ok_or_else(|| ApiError::bad_request("session_id is required"))?;
    let text = ["response", "answer", "choice"].iter().find_map(|key| {
        // Not trimmed: an answer of several lines is given as it was typed (C13).
        let text = body.0.get(*key).and_then(Value::as_str);
        text.filter(|text| !text.trim().is_empty())
    });
    let text = text.ok_or_else(|| ApiError::bad_request("response is required"))?;
    let stale = || {
        let body = json!({
            "ok": false,
            "error": "This question is no longer open; it was answered or has expired.",
            "stale": true,
        });
        Ok((StatusCode::CONFLICT, ok_json(&body)).into_response())
    };
    let Ok(feed) = server.feeds.lease(&SessionId(session.to_owned())).await else {
        return stale();
    };
    let by = client_name(&headers, &body);
    let Ok(question) = feed.claim(Kind::Clarify, body.text("clarify_id"), by) else {
        return stale();
    };
    let sent = Answer::Text(text.to_owned());
    match feed.answer(&question.id, sent.clone()).await {
        Some(settled) if settled != sent => stale(),
        Some(_) | None => Ok(ok_json(&json!({ "ok": true, "response": text }))),
    }
}
