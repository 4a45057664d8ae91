//! The stream of a turn without a tape: of an earlier run of the host, or ended long ago. It is
//! encoded from the stored rows, with numbers of its own, so a cursor has no meaning here.

use axum::response::Response;
use bytes::Bytes;
use futures::stream;

use super::stream::{Cursor, HEARTBEAT_COMMENT};
use crate::embedded::HostHandle;
use crate::serve::feed::{Feed, StreamId};
use crate::serve::tape::{Read, Tape, encode};
use crate::serve::{ApiError, ServerState, sse};
use crate::store::{Reader, StoredTurn};
use crate::wire::encode::frame::{self, FrameEncoder};
use protocol::{Outcome, SessionId, Transcript};

/// The stream of the turn `id`, which has the name `name`; 404 if it is not stored.
pub(super) async fn response(
    server: &ServerState,
    feed: &Feed,
    id: &StreamId,
    name: &str,
    cursor: Cursor,
) -> Result<Response, ApiError> {
    let Some(stored) = stored(&server.host, id).await else {
        return Err(ApiError::not_found("stream not found"));
    };
    if let Cursor::After(n) = cursor {
        return Ok(lost(server, &id.session, name, n));
    }
    let transcript = feed.read(Transcript::clone);
    let tape = tape(&transcript, id, name, stored);
    let mut bytes = Vec::new();
    let mut after = 0;
    while let Read::Frames(more, upto) = tape.read(after) {
        bytes.extend_from_slice(&more);
        after = upto;
    }
    Ok(single(server, bytes.into()))
}

/// A stream that only asks the client to reload the session.
pub(super) fn lost(server: &ServerState, session: &SessionId, name: &str, last: u64) -> Response {
    let frame = frame::interrupted(session, name, last, last);
    single(server, encode(Some((name, last + 1)), &frame))
}

fn single(server: &ServerState, bytes: Bytes) -> Response {
    sse::response(server, HEARTBEAT_COMMENT, stream::iter([bytes]))
}

/// The stored turn.
pub(super) async fn stored(host: &HostHandle, id: &StreamId) -> Option<StoredTurn> {
    let (state, id) = (host.state().to_owned(), id.clone());
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

/// The tape of a turn from its rows. One that has not ended, or was interrupted, ends with the
/// advice to reload the session: its continuation has another stream.
pub(super) fn tape(transcript: &Transcript, id: &StreamId, name: &str, stored: StoredTurn) -> Tape {
    let mut tape = Tape::new(Some(name.to_owned()), usize::MAX);
    let mut encoder = FrameEncoder::new(id.session.clone(), id.turn, stored.started_at);
    let ended_at = stored.rows.last().map_or(stored.started_at, |row| row.at);
    let window =
        Transcript { session: id.session.clone(), rows: stored.rows, ..Transcript::default() };
    for frame in encoder.catch_up(&window, ended_at) {
        tape.push(&frame);
    }
    let frames = match stored.outcome {
        None | Some(Outcome::Interrupted) => {
            vec![frame::interrupted(&id.session, name, tape.last(), 0)]
        }
        Some(outcome) => encoder.end(&outcome, transcript, ended_at),
    };
    for frame in &frames {
        tape.push(frame);
    }
    tape.end();
    tape
}
