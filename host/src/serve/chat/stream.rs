//! The stream of one turn, read from its tape, and its status. A turn without a tape: [`replay`].

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use tokio::sync::watch;

use super::{FEED_TIMEOUT, replay};
use crate::embedded::HostHandle;
use crate::serve::feed::{Feed, Lease, StreamId};
use crate::serve::tape::{Read, encode};
use crate::serve::{ApiError, QueryParams, ServerState, ok_json, side_questions, sse};
use crate::wire::encode::frame;
use protocol::{Outcome, Transcript, TurnId};

/// The comment of the stream of a turn, as a whole frame.
pub(in crate::serve) const HEARTBEAT_COMMENT: &str = ": heartbeat\n\n";

/// Where a client wants to continue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::serve) enum Cursor {
    /// The request does not say.
    None,
    /// From the beginning: also for a cursor of another stream or one that is not a number.
    Start,
    /// After that frame.
    After(u64),
}

/// The cursor of a request. Anything in the query overrides the header.
fn cursor(stream: &str, params: &QueryParams, headers: &HeaderMap) -> Cursor {
    let parse = |id: &str| match id.rsplit_once(':') {
        Some((name, n)) if name == stream => n.parse().map_or(Cursor::Start, Cursor::After),
        _ => Cursor::Start,
    };
    if let Some(id) = params.get("after_event_id") {
        return parse(id);
    }
    if let Some(n) = params.get("after_seq") {
        return n.parse().map_or(Cursor::Start, Cursor::After);
    }
    if params.get("replay").is_some_and(|replay| replay != "0") {
        return Cursor::Start;
    }
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    header.filter(|id| !id.is_empty()).map_or(Cursor::None, parse)
}

/// A reader of the tape of one turn.
pub(in crate::serve) struct TapeReader {
    feed: Lease,
    turn: TurnId,
    after: u64,
    changes: watch::Receiver<u64>,
    is_over: bool,
}

impl Drop for TapeReader {
    fn drop(&mut self) {
        self.feed.leave_tape(self.turn, self.after);
    }
}

impl TapeReader {
    pub(in crate::serve) fn new(feed: Lease, turn: TurnId, after: u64) -> Self {
        feed.enter_tape(turn);
        let changes = feed.tape_changes();
        Self { feed, turn, after, changes, is_over: false }
    }

    /// The next frames; `None` at the end.
    pub(in crate::serve) async fn next(&mut self) -> Option<Bytes> {
        while !self.is_over {
            self.changes.borrow_and_update();
            if let Some(frames) = self.read() {
                return Some(frames);
            }
            if self.is_over || self.changes.changed().await.is_err() {
                return None;
            }
        }
        None
    }

    fn read(&mut self) -> Option<Bytes> {
        let state = self.feed.lock();
        let run = state.runs.iter().find(|run| run.turn == self.turn);
        // A tape that was dropped under a slow reader can only end.
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
                self.is_over = true;
                None
            }
            Read::Behind(dropped) => {
                self.is_over = true;
                let frame = frame::interrupted(self.feed.session(), name, last, dropped);
                Some(encode(Some((name, last + 1)), &frame))
            }
        }
    }
}

pub(super) async fn stream(
    State(server): State<ServerState>,
    params: QueryParams,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::not_found("stream not found");
    let name = params.get("stream_id").ok_or_else(unknown)?;
    let cursor = cursor(name, &params, &headers);
    if let Some(question) = server.side_questions.question(name) {
        return Ok(side_questions::response(&server, question, cursor));
    }
    let id = server.feeds.parse(name).ok_or_else(unknown)?;
    let feed = server.feeds.lease(&id.session).await.map_err(|_| unknown())?;
    let position = if id.is_current {
        until_known(&server.host, &feed, &id).await;
        position(&feed, id.turn, cursor)
    } else {
        None
    };
    match position {
        Some(Ok(after)) => {
            let reader = TapeReader::new(feed, id.turn, after);
            let frames = stream::unfold(reader, |mut reader| async move {
                reader.next().await.map(|bytes| (bytes, reader))
            });
            Ok(sse::response(&server, HEARTBEAT_COMMENT, frames))
        }
        // The beginning of the tape is gone.
        Some(Err(last)) => Ok(replay::lost(&server, &id.session, name, last)),
        None => replay::response(&server, &feed, &id, name, cursor).await,
    }
}

/// Waits until the feed has the turn: a client may know of it from another view already.
async fn until_known(host: &HostHandle, feed: &Feed, id: &StreamId) {
    let has = || feed.lock().runs.iter().any(|run| run.turn >= id.turn);
    if has() || replay::stored(host, id).await.is_none_or(|stored| stored.outcome.is_some()) {
        return;
    }
    let mut changes = feed.tape_changes();
    let wait = async { while !has() && changes.changed().await.is_ok() {} };
    // After a timeout the turn is replayed from its rows.
    let _ = tokio::time::timeout(FEED_TIMEOUT, wait).await;
}

/// The position on the turn's tape at which a client continues. `None`: there is no tape; an error:
/// what it needs was dropped, with the number of the last frame.
fn position(feed: &Feed, turn: TurnId, cursor: Cursor) -> Option<Result<u64, u64>> {
    let (start, last) = {
        let state = feed.lock();
        let run = state.runs.iter().find(|run| run.turn == turn)?;
        (run.tape.start(), run.tape.last())
    };
    Some(match cursor {
        Cursor::None => feed.join(turn).ok_or(last),
        Cursor::After(n) if n > 0 && n <= last => Ok(n),
        // Ahead of the tape: a silent gap would be worse than a repetition.
        Cursor::After(_) | Cursor::Start => start.ok_or(last),
    })
}

/// The state of a turn's stream.
struct Status {
    is_active: bool,
    last: u64,
    last_name: &'static str,
    outcome: Option<Outcome>,
}

impl Status {
    /// Of a turn with a tape.
    fn of_tape(feed: &Feed, turn: TurnId) -> Option<Self> {
        let state = feed.lock();
        let run = state.runs.iter().find(|run| run.turn == turn)?;
        Some(Self {
            is_active: !run.tape.is_ended(),
            last: run.tape.last(),
            last_name: run.tape.last_name(),
            outcome: run.outcome.clone(),
        })
    }

    /// Of a turn that is only stored.
    async fn of_stored(host: &HostHandle, feed: &Feed, id: &StreamId, name: &str) -> Option<Self> {
        let stored = replay::stored(host, id).await?;
        let outcome = stored.outcome.clone().unwrap_or(Outcome::Interrupted);
        let transcript = feed.read(Transcript::clone);
        let tape = replay::tape(&transcript, id, name, stored);
        let (last, last_name) = (tape.last(), tape.last_name());
        Some(Self { is_active: false, last, last_name, outcome: Some(outcome) })
    }
}

pub(super) async fn status(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let name =
        params.get("stream_id").ok_or_else(|| ApiError::bad_request("stream_id required"))?;
    if let Some(question) = server.side_questions.question(name) {
        return Ok(ok_json(&question.status(name)));
    }
    let unknown = json!({ "active": false, "stream_id": name, "replay_available": false });
    let Some(id) = server.feeds.parse(name) else { return Ok(ok_json(&unknown)) };
    let Ok(feed) = server.feeds.lease(&id.session).await else { return Ok(ok_json(&unknown)) };
    let live = if id.is_current { Status::of_tape(&feed, id.turn) } else { None };
    let status = match live {
        Some(status) => status,
        None => match Status::of_stored(&server.host, &feed, &id, name).await {
            Some(status) => status,
            None => return Ok(ok_json(&unknown)),
        },
    };
    Ok(ok_json(&json!({
        "active": status.is_active,
        "stream_id": name,
        "replay_available": true,
        "journal": {
            "session_id": id.session,
            "run_id": name,
            "last_seq": status.last,
            "last_event_id": format!("{name}:{}", status.last),
            "last_event": status.last_name,
            "terminal": status.outcome.is_some(),
            "terminal_state": terminal_state(status.outcome.as_ref()),
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
