//! Approvals and clarify questions over the WebUI protocol: what is asked, as a poll and as a
//! stream, and answers to it.

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
use super::{Body, Params, Refusal, Serving, answer, channel, sse};
use crate::wire::encode::frame::{Frame, Kind, choice_word, head, question};
use protocol::{Answer, Ask, Choice, Command, SessionId};

pub(super) fn routes() -> Router<Serving> {
    let pending = |kind| move |serving, params| pending(kind, serving, params);
    let stream = |kind| move |serving, params| stream(kind, serving, params);
    Router::new()
        .route("/api/approval/pending", get(pending(Kind::Approval)))
        .route("/api/clarify/pending", get(pending(Kind::Clarify)))
        .route("/api/approval/stream", get(stream(Kind::Approval)))
        .route("/api/clarify/stream", get(stream(Kind::Clarify)))
        .route("/api/approval/respond", post(approve))
        .route("/api/clarify/respond", post(clarify))
}

fn session_id(params: &Params) -> Result<SessionId, Refusal> {
    let id = params.get("session_id").ok_or_else(|| Refusal::bad("session_id is required"))?;
    Ok(SessionId(id.to_owned()))
}

/// Nothing is asked in a session that does not exist.
fn nothing() -> Value {
    json!({ "pending": null, "pending_count": 0 })
}

async fn pending(
    kind: Kind,
    State(serving): State<Serving>,
    params: Params,
) -> Result<Response, Refusal> {
    let Ok(feed) = serving.feeds.lease(&session_id(&params)?).await else {
        return Ok(answer(&nothing()));
    };
    feed.shown(kind);
    Ok(answer(&feed.look(|transcript| {
        let (head, total) = head(&transcript.questions, kind);
        json!({
            "pending": head.map(|head| question(&transcript.session, head)),
            "pending_count": total,
        })
    })))
}

async fn stream(
    kind: Kind,
    State(serving): State<Serving>,
    params: Params,
) -> Result<Response, Refusal> {
    let Ok(feed) = serving.feeds.lease(&session_id(&params)?).await else {
        return Ok(channel::silent(&serving, &Frame::new("initial", nothing())));
    };
    let showing = Showing::new(feed, kind);
    let frames = stream::unfold(showing, |mut showing| async move {
        showing.next().await.map(|bytes| (bytes, showing))
    });
    Ok(sse::response(&serving, sse::QUIET, frames))
}

/// A reader of the questions of a kind. It is told the head and the number as they are when it
/// reads: a slow one misses what came and went, and ends on what is (C06).
pub(super) struct Showing {
    feed: Lease,
    kind: Kind,
    changes: watch::Receiver<u64>,
    /// What was told last.
    told: Option<Value>,
    /// How far it has read who has answered.
    answered: u64,
}

impl Drop for Showing {
    fn drop(&mut self) {
        self.feed.show(self.kind, false);
    }
}

impl Showing {
    pub(super) fn new(feed: Lease, kind: Kind) -> Self {
        let changes = feed.question_changes();
        feed.show(kind, true);
        let answered = feed.lock().answered(kind).last();
        Self { feed, kind, changes, told: None, answered }
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
        let now = json!({ "pending": head, "pending_count": total });
        if self.told.as_ref() != Some(&now) {
            let name = if self.told.is_none() { "initial" } else { self.kind.name() };
            bytes.extend_from_slice(&encode(None, &Frame::new(name, now.clone())));
            self.told = Some(now);
        }
        (!bytes.is_empty()).then(|| bytes.into())
    }
}

/// What a client calls itself: others are told who has answered.
fn name(headers: &HeaderMap, body: &Body) -> String {
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
    State(serving): State<Serving>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let session = body.text("session_id").ok_or_else(|| Refusal::bad("session_id is required"))?;
    let word = body.0.get("choice").map_or("deny", |choice| choice.as_str().unwrap_or_default());
    let choice = match word {
        "once" => Choice::Once,
        "session" => Choice::Session,
        "always" => Choice::Always,
        "deny" => Choice::Deny,
        other => return Err(Refusal::bad(format!("Invalid choice: {other}"))),
    };
    let cleared = json!({ "ok": true, "choice": word, "stale_cleared": true });
    let Ok(feed) = serving.feeds.lease(&SessionId(session.to_owned())).await else {
        return Ok(answer(&cleared));
    };
    let by = name(&headers, &body);
    let question = match feed.claim(Kind::Approval, body.text("approval_id"), by) {
        Ok(question) => question,
        Err(0) => return Ok(answer(&cleared)),
        Err(_) => return Ok(answer(&json!({ "ok": false, "choice": word }))),
    };
    if let (Ask::Approval { allow_always: false, .. }, Choice::Always) = (&question.ask, choice) {
        feed.release(&question.id);
        return Err(Refusal::bad("Invalid choice: always (this rule has no permanent grant)"));
    }
    if body.0.get("yolo") == Some(&Value::Bool(true)) && choice != Choice::Deny {
        feed.send(Command::SetYolo { yolo: true });
    }
    let given = Answer::Approval(choice);
    match feed.answer(&question.id, given.clone()).await {
        Some(settled) if settled != given => {
            let left = feed.look(|t| head(&t.questions, Kind::Approval).1);
            let late = json!({ "ok": false, "choice": word });
            Ok(answer(if left == 0 { &cleared } else { &late }))
        }
        Some(_) | None => Ok(answer(&json!({ "ok": true, "choice": choice_word(choice) }))),
    }
}

async fn clarify(
    State(serving): State<Serving>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let session = body.text("session_id").ok_or_else(|| Refusal::bad("session_id is required"))?;
    let text = ["response", "answer", "choice"].iter().find_map(|key| {
        // Not trimmed: an answer of several lines is given as it was typed (C13).
        let text = body.0.get(*key).and_then(Value::as_str);
        text.filter(|text| !text.trim().is_empty())
    });
    let text = text.ok_or_else(|| Refusal::bad("response is required"))?;
    let stale = || {
        let body = json!({
            "ok": false,
            "error": "This question is no longer open; it was answered or has expired.",
            "stale": true,
        });
        Ok((StatusCode::CONFLICT, answer(&body)).into_response())
    };
    let Ok(feed) = serving.feeds.lease(&SessionId(session.to_owned())).await else {
        return stale();
    };
    let by = name(&headers, &body);
    let Ok(question) = feed.claim(Kind::Clarify, body.text("clarify_id"), by) else {
        return stale();
    };
    let given = Answer::Text(text.to_owned());
    match feed.answer(&question.id, given.clone()).await {
        Some(settled) if settled != given => stale(),
        Some(_) | None => Ok(answer(&json!({ "ok": true, "response": text }))),
    }
}
