//! Turns over the WebUI protocol: start, stream, cancel, steer.

mod starter;
#[cfg(test)]
mod tests;

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::feed::{Feed, Feeds, Lease, StreamId};
use super::tape::{Read, Tape, encode};
use super::{Body, Params, Refusal, Serving, answer, side_questions, sse, uploads};
use crate::embedded::HostHandle;
use crate::model::catalog::provider_name;
use crate::store::{Reader, StoredTurn};
use crate::wire::encode::frame::{self, FrameEncoder, secs};
use protocol::{Command, Outcome, SessionId, Transcript, TurnId};
use starter::{Begun, Starter};

/// What the stream of a turn says while nothing happens.
pub(super) const HEARTBEAT: &str = ": heartbeat\n\n";
/// A message that is never a turn.
const SILENT: &str = "[SILENT]";
/// How long a turn that is written down may take to be told.
const TOLD: Duration = Duration::from_secs(2);
/// Characters of a prompt that stand for a title.
const TITLE: usize = 64;

pub(super) fn routes() -> Router<Serving> {
    Router::new()
        .route("/api/chat", post(whole))
        .route("/api/chat/start", post(start))
        .route("/api/chat/stream", get(stream))
        .route("/api/chat/stream/status", get(status))
        .route("/api/chat/cancel", get(cancel))
        .route("/api/chat/steer", post(steer))
}

/// The feed of a session, or what the original says where there is none.
pub(super) async fn lease(feeds: &Feeds, session: &str) -> Result<Lease, Refusal> {
    let lease = feeds.lease(&SessionId(session.to_owned())).await;
    lease.map_err(|why| Refusal::not_found("Session not found").with("details", why))
}

/// A turn in one request: a connection that breaks would hide what became of it.
async fn whole() -> Refusal {
    Refusal::new(
        StatusCode::NOT_IMPLEMENTED,
        "this host answers no turn in one request: use /api/chat/start and /api/chat/stream",
    )
}

async fn start(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let session = body
        .text("session_id")
        .ok_or_else(|| Refusal::bad("Missing required field(s): session_id"))?;
    let again = body.0.get("regenerate") == Some(&Value::Bool(true));
    let message = body.0.get("message").and_then(Value::as_str).unwrap_or_default();
    let revision = if again { Some(revision(&body)?) } else { None };
    if message.trim().is_empty() && !again {
        return Err(Refusal::bad("message is required"));
    }
    if message.trim() == SILENT {
        let body = json!({ "status": "suppressed", "reason": "silent_control_message" });
        return Ok(answer(&body));
    }
    let feed = lease(&serving.feeds, session).await?;
    let queue = body.0.get("queue") == Some(&Value::Bool(true));
    let _starting = feed.starting.lock().await;
    if let Some(busy) = feed.look(|t| t.running.as_ref().map(|running| running.turn))
        && (!queue || again)
    {
        return Err(self::busy(&serving.feeds, feed.session(), busy));
    }
    let mut starter = Starter::open(&serving.access, feed.session()).await?;
    if revision.is_some_and(|revision| starter.revision().as_deref() != Some(revision)) {
        return Err(stale("Session changed; load it and try again."));
    }
    if let Some(model) = body.text("model") {
        starter.set_model(model).await?;
    }
    if let Some(cwd) = body.text("workspace") {
        starter.set_cwd(cwd).await?;
    }
    let begun = if again {
        starter.retry(queue).await?
    } else {
        let files = body.0.get("attachments");
        let text = uploads::along(&serving, feed.session(), message.to_owned(), files).await?;
        starter.prompt(text, queue).await?
    };
    match begun {
        Begun::Turn(turn) => {
            // The client's next request is for the stream: it is there by then.
            let started_at = told(&feed, turn).await;
            let title = feed.look(|t| t.title.clone());
            let title = title.unwrap_or_else(|| message.trim().chars().take(TITLE).collect());
            Ok(answer(&json!({
                "stream_id": serving.feeds.stream(feed.session(), turn),
                "session_id": feed.session(),
                "pending_started_at": started_at,
                "turn_id": format!("{}-{turn}", feed.session()),
                "title": title,
                "effective_model": feed.look(|t| t.model.clone()),
                "effective_model_provider": provider_name(serving.settings.model.provider),
            })))
        }
        Begun::Queued(position) => {
            let stream = feed.look(|t| t.running.as_ref().map(|running| running.turn));
            let stream = stream.map(|turn| serving.feeds.stream(feed.session(), turn));
            let body = json!({
                "queued": true,
                "position": position,
                "session_id": feed.session(),
                "active_stream_id": stream,
            });
            Ok((StatusCode::ACCEPTED, answer(&body)).into_response())
        }
        Begun::Busy(Some(turn)) => Err(busy(&serving.feeds, feed.session(), turn)),
        Begun::Busy(None) => {
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the host is stopping"))
        }
    }
}

/// Which turn is to be had again. The session's object names it.
fn revision(body: &Body) -> Result<&str, Refusal> {
    let foreign = ["message", "attachments", "keep_count", "prompt", "prompt_index"];
    if foreign.iter().any(|key| body.0.get(key).is_some()) {
        return Err(Refusal::bad("regeneration accepts only regeneration_revision")
            .with("code", "invalid_regeneration_request"));
    }
    let revision = body.0.get("regeneration_revision").and_then(Value::as_str);
    revision.ok_or_else(|| stale("regeneration_revision is required"))
}

fn stale(why: &str) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, why).with("code", "stale_regeneration_revision")
}

/// When the feed knows of that turn: when it began.
async fn told(feed: &Feed, turn: TurnId) -> f64 {
    let mut changes = feed.tape_changes();
    let wait = async {
        loop {
            changes.borrow_and_update();
            let began = {
                let state = feed.lock();
                let running = state.transcript.running.as_ref().filter(|r| r.turn == turn);
                let ended = || state.runs.iter().any(|run| run.turn >= turn);
                running.map(|r| r.started_at).or_else(|| ended().then(crate::clock::now))
            };
            if let Some(at) = began {
                return secs(at);
            }
            if changes.changed().await.is_err() {
                return secs(crate::clock::now());
            }
        }
    };
    // A feed that fell behind may have missed a whole turn.
    let wait = tokio::time::timeout(TOLD, wait);
    tokio::select! {
        at = wait => at.unwrap_or_else(|_| secs(crate::clock::now())),
        () = feed.over() => secs(crate::clock::now()),
    }
}

fn busy(feeds: &Feeds, session: &SessionId, turn: TurnId) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, "session already has an active stream")
        .with("active_stream_id", feeds.stream(session, turn))
}

/// Where a client wants to go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cursor {
    /// No word of it.
    None,
    /// From the beginning: also what names another stream or is no number.
    Start,
    /// After that frame.
    After(u64),
}

/// What a request says. Anything in the query makes the header count for nothing.
pub(super) fn cursor(stream: &str, params: &Params, headers: &HeaderMap) -> Cursor {
    let of_id = |id: &str| match id.rsplit_once(':') {
        Some((name, n)) if name == stream => n.parse().map_or(Cursor::Start, Cursor::After),
        _ => Cursor::Start,
    };
    if let Some(id) = params.get("after_event_id") {
        return of_id(id);
    }
    if let Some(n) = params.get("after_seq") {
        return n.parse().map_or(Cursor::Start, Cursor::After);
    }
    if params.get("replay").is_some_and(|replay| replay != "0") {
        return Cursor::Start;
    }
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    header.filter(|id| !id.is_empty()).map_or(Cursor::None, of_id)
}

/// Reads the tape of one turn.
pub(super) struct Reading {
    feed: Lease,
    pub(super) turn: TurnId,
    after: u64,
    changes: watch::Receiver<u64>,
    over: bool,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.feed.leave_tape(self.turn, self.after);
    }
}

impl Reading {
    pub(super) fn new(feed: Lease, turn: TurnId, after: u64) -> Self {
        feed.enter_tape(turn);
        let changes = feed.tape_changes();
        Self { feed, turn, after, changes, over: false }
    }

    /// The next frames; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        while !self.over {
            self.changes.borrow_and_update();
            if let Some(read) = self.read() {
                return Some(read);
            }
            if self.over || self.changes.changed().await.is_err() {
                return None;
            }
        }
        None
    }

    fn read(&mut self) -> Option<Bytes> {
        let state = self.feed.lock();
        let run = state.runs.iter().find(|run| run.turn == self.turn);
        // A tape that was dropped under a slow reader has only the end to give.
        let (read, name, last) = match run {
            Some(run) => (run.tape.read(self.after), run.tape.name(), run.tape.last()),
            None => (Read::End, "", self.after),
        };
        match read {
            Read::Frames(bytes, upto) => {
                self.after = upto;
                Some(bytes)
            }
            Read::Wait => None,
            Read::End => {
                self.over = true;
                None
            }
            Read::Behind(dropped) => {
                self.over = true;
                let frame = frame::interrupted(self.feed.session(), name, last, dropped);
                Some(encode(Some((name, last + 1)), &frame))
            }
        }
    }
}

async fn stream(
    State(serving): State<Serving>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let unknown = || Refusal::not_found("stream not found");
    let id = params.get("stream_id").ok_or_else(unknown)?;
    if let Some(question) = serving.side_questions.question(id) {
        return Ok(side_questions::response(&serving, question, cursor(id, &params, &headers)));
    }
    let known = serving.feeds.parse(id).ok_or_else(unknown)?;
    let feed = serving.feeds.lease(&known.session).await.map_err(|_| unknown())?;
    let cursor = cursor(id, &params, &headers);
    if known.ours {
        arrival(&serving.access, &feed, &known).await;
    }
    let position = if known.ours { position(&feed, known.turn, cursor) } else { None };
    match position {
        Some(Ok(after)) => {
            let reading = Reading::new(feed, known.turn, after);
            let frames = stream::unfold(reading, |mut reading| async move {
                reading.next().await.map(|bytes| (bytes, reading))
            });
            Ok(sse::response(&serving, HEARTBEAT, frames))
        }
        // The beginning of the tape is gone.
        Some(Err(last)) => Ok(lost(&serving, &known.session, id, last)),
        None => dead(&serving, &feed, &known, id, cursor).await,
    }
}

/// A client may have heard of a turn from another view before the feed has: then it waits.
async fn arrival(access: &HostHandle, feed: &Feed, known: &StreamId) {
    let has = || feed.lock().runs.iter().any(|run| run.turn >= known.turn);
    if has() || stored(access, known).await.is_none_or(|stored| stored.outcome.is_some()) {
        return;
    }
    let mut changes = feed.tape_changes();
    let wait = async { while !has() && changes.changed().await.is_ok() {} };
    // Without it the turn is told from its rows.
    let _ = tokio::time::timeout(TOLD, wait).await;
}

/// Where on the turn's tape a client goes on. `None`: there is no tape; an error: what it needs
/// is gone, with the number of the last frame.
fn position(feed: &Feed, turn: TurnId, cursor: Cursor) -> Option<Result<u64, u64>> {
    let (start, last) = {
        let state = feed.lock();
        let run = state.runs.iter().find(|run| run.turn == turn)?;
        (run.tape.start(), run.tape.last())
    };
    Some(match cursor {
        Cursor::None => feed.join(turn).ok_or(last),
        Cursor::After(n) if n > 0 && n <= last => Ok(n),
        // Ahead of what was told: a silent hole would be worse than a repetition.
        Cursor::After(_) | Cursor::Start => start.ok_or(last),
    })
}

/// A stream of one word: load the session anew.
fn lost(serving: &Serving, session: &SessionId, id: &str, last: u64) -> Response {
    let frame = frame::interrupted(session, id, last, last);
    only(serving, encode(Some((id, last + 1)), &frame))
}

fn only(serving: &Serving, bytes: Bytes) -> Response {
    sse::response(serving, HEARTBEAT, once(bytes))
}

fn once(bytes: Bytes) -> impl Stream<Item = Bytes> + Send {
    stream::iter([bytes])
}

/// A turn without a tape: of an earlier run of the host, or ended long ago. It is told from its
/// rows, with numbers of its own, so a cursor has no meaning here.
async fn dead(
    serving: &Serving,
    feed: &Feed,
    known: &StreamId,
    id: &str,
    cursor: Cursor,
) -> Result<Response, Refusal> {
    let Some(stored) = stored(&serving.access, known).await else {
        return Err(Refusal::not_found("stream not found"));
    };
    if let Cursor::After(n) = cursor {
        return Ok(lost(serving, &known.session, id, n));
    }
    let transcript = feed.look(Transcript::clone);
    let tape = retell(&transcript, known, id, stored);
    let mut bytes = Vec::new();
    let mut after = 0;
    while let Read::Frames(more, upto) = tape.read(after) {
        bytes.extend_from_slice(&more);
        after = upto;
    }
    Ok(only(serving, bytes.into()))
}

/// What is stored of a turn.
async fn stored(access: &HostHandle, id: &StreamId) -> Option<StoredTurn> {
    let (state, id) = (access.state().to_owned(), id.clone());
    let read = move || Reader::open(&state)?.turn(&id.session, id.turn);
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(stored)) => stored,
        Ok(Err(error)) => {
            tracing::warn!("a turn cannot be read: {error}");
            None
        }
        Err(_) => None,
    }
}

/// A tape of a turn from its rows. One that has not ended, or was cut off, ends with the advice to
/// load the session: what goes on goes on under another stream.
fn retell(transcript: &Transcript, known: &StreamId, id: &str, stored: StoredTurn) -> Tape {
    let mut tape = Tape::new(Some(id.to_owned()), usize::MAX);
    let mut encoder = FrameEncoder::new(known.session.clone(), known.turn, stored.started_at);
    let ended_at = stored.rows.last().map_or(stored.started_at, |row| row.at);
    let window =
        Transcript { session: known.session.clone(), rows: stored.rows, ..Transcript::default() };
    for frame in encoder.catch_up(&window, ended_at) {
        tape.push(&frame);
    }
    let frames = match stored.outcome {
        None | Some(Outcome::Interrupted) => {
            vec![frame::interrupted(&known.session, id, tape.last(), 0)]
        }
        Some(outcome) => encoder.end(&outcome, transcript, ended_at),
    };
    for frame in &frames {
        tape.push(frame);
    }
    tape.end();
    tape
}

async fn status(State(serving): State<Serving>, params: Params) -> Result<Response, Refusal> {
    let id = params.get("stream_id").ok_or_else(|| Refusal::bad("stream_id required"))?;
    if let Some(question) = serving.side_questions.question(id) {
        return Ok(answer(&question.status(id)));
    }
    let unknown = json!({ "active": false, "stream_id": id, "replay_available": false });
    let Some(known) = serving.feeds.parse(id) else { return Ok(answer(&unknown)) };
    let Ok(feed) = serving.feeds.lease(&known.session).await else { return Ok(answer(&unknown)) };
    let live = {
        let state = feed.lock();
        let run = state.runs.iter().find(|run| known.ours && run.turn == known.turn);
        run.map(|run| {
            let tape = (run.tape.last(), run.tape.last_name());
            (!run.tape.is_ended(), tape, run.outcome.clone())
        })
    };
    let (active, (last, name), outcome) = match live {
        Some(live) => live,
        None => match stored(&serving.access, &known).await {
            Some(stored) => {
                let outcome = stored.outcome.clone().unwrap_or(Outcome::Interrupted);
                let transcript = feed.look(Transcript::clone);
                let tape = retell(&transcript, &known, id, stored);
                (false, (tape.last(), tape.last_name()), Some(outcome))
            }
            None => return Ok(answer(&unknown)),
        },
    };
    Ok(answer(&json!({
        "active": active,
        "stream_id": id,
        "replay_available": true,
        "journal": {
            "session_id": known.session,
            "run_id": id,
            "last_seq": last,
            "last_event_id": format!("{id}:{last}"),
            "last_event": name,
            "terminal": outcome.is_some(),
            "terminal_state": terminal_state(outcome.as_ref()),
        },
    })))
}

fn terminal_state(outcome: Option<&Outcome>) -> &'static str {
    match outcome {
        None => "running",
        Some(Outcome::Done) => "completed",
        Some(Outcome::Cancelled) => "interrupted-by-user",
        Some(Outcome::Failed { .. }) => "errored",
        Some(Outcome::Limit) => "tool_limit_reached",
        Some(Outcome::Interrupted) => "interrupted-by-crash",
    }
}

async fn cancel(
    State(serving): State<Serving>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id = params.get("stream_id").ok_or_else(|| Refusal::bad("stream_id required"))?;
    // A page of another site could make a browser ask this.
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if site.is_some_and(|site| site != "same-origin") {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "Cross-origin mismatch"));
    }
    let aside = serving.side_questions.question(id).map(|question| question.cancel());
    if let Some(cancelled) = aside {
        return Ok(answer(&json!({ "ok": true, "cancelled": cancelled, "stream_id": id })));
    }
    let cancelled = match serving.feeds.parse(id).filter(|known| known.ours) {
        None => false,
        Some(known) => match serving.feeds.lease(&known.session).await {
            Err(_) => false,
            Ok(feed) => {
                let runs = feed.look(|t| t.running.as_ref().is_some_and(|r| r.turn == known.turn));
                if runs {
                    feed.send(Command::Cancel);
                }
                runs
            }
        },
    };
    Ok(answer(&json!({ "ok": true, "cancelled": cancelled, "stream_id": id })))
}

async fn steer(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let session = body
        .text("session_id")
        .ok_or_else(|| Refusal::bad("Missing required field(s): session_id"))?;
    let text = body.text("text").ok_or_else(|| Refusal::bad("text is required"))?;
    let refused =
        |why: &str| Ok(answer(&json!({ "accepted": false, "fallback": why, "stream_id": null })));
    let Ok(feed) = serving.feeds.lease(&SessionId(session.to_owned())).await else {
        return refused("session_not_found");
    };
    let running = feed.look(|t| t.running.as_ref().map(|r| (r.turn, r.cancelling)));
    match running {
        None => refused("not_running"),
        Some((_, true)) => refused("stream_dead"),
        Some((turn, false)) => {
            feed.send(Command::Steer { text: text.to_owned() });
            Ok(answer(&json!({
                "accepted": true,
                "fallback": null,
                "stream_id": serving.feeds.stream(feed.session(), turn),
            })))
        }
    }
}
