//! A side question: answered with what the session knows, by no turn of it, on a stream of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::response::Response;
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::too_many;
use crate::serve::chat::{Cursor, HEARTBEAT_COMMENT};
use crate::serve::request_view::RequestView;
use crate::serve::sessions::require;
use crate::serve::tape::{Read, Tape};
use crate::serve::{ApiError, JsonBody, ServerState, ok_json, sse};
use crate::wire::encode::frame::Frame;
use crate::wire::encode::session;
use protocol::{Command, Event, Part, PromptId, Tokens, Usage, View};

/// Most bytes of the tape of a question.
const TAPE_BYTES: usize = 4 * 1024 * 1024;

/// A side question and its stream.
#[derive(Debug)]
pub(in crate::serve) struct Question {
    /// The id by which clients know it, in place of a session's.
    session: String,
    tape: Mutex<Tape>,
    changes: watch::Sender<u64>,
    cancelled: watch::Sender<bool>,
}

impl Question {
    /// A question whose stream has that id.
    pub(super) fn new(stream: &str) -> Self {
        Self {
            session: format!("btw_{}", stream.get(..12).unwrap_or(stream)),
            tape: Mutex::new(Tape::new(Some(stream.to_owned()), TAPE_BYTES)),
            changes: watch::Sender::new(0),
            cancelled: watch::Sender::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().is_ended()
    }

    fn push(&self, name: &'static str, data: Value) {
        self.lock().push(&Frame::new(name, data));
        self.changes.send_modify(|n| *n += 1);
    }

    fn push_text(&self, part: Part, text: &str) {
        let name = match part {
            Part::Text => "token",
            Part::Reasoning => "reasoning",
        };
        self.push(name, json!({ "text": text }));
    }

    fn push_done(&self, question: &str, answer: &str, usage: Option<&Usage>) {
        let mut tokens = Tokens::default();
        if let Some(usage) = usage {
            tokens.add(usage);
        }
        self.push(
            "done",
            json!({
                "session": {
                    "session_id": self.session,
                    "messages": [
                        { "role": "user", "content": question },
                        { "role": "assistant", "content": answer },
                    ],
                },
                "usage": session::tokens(&tokens),
                "ephemeral": true,
                "answer": answer,
            }),
        );
        self.push("stream_end", json!({ "session_id": self.session }));
    }

    fn push_cancelled(&self) {
        let data = json!({
            "message": "Task cancelled.",
            "type": "cancelled",
            "status": "cancelled",
            "session_id": self.session,
        });
        self.push("cancel", data);
    }

    fn push_error(&self, message: &str) {
        let data = json!({ "message": message, "type": "error", "session_id": self.session });
        self.push("apperror", data);
    }

    fn end(&self) {
        self.lock().end();
        self.changes.send_modify(|n| *n += 1);
    }

    /// Cancels it; returns whether it was still being answered.
    pub(in crate::serve) fn cancel(&self) -> bool {
        let runs = !self.has_ended();
        self.cancelled.send_replace(true);
        runs
    }

    /// The response of `/api/chat/stream/status`.
    pub(in crate::serve) fn status(&self, stream: &str) -> Value {
        let tape = self.lock();
        let state = match (tape.is_ended(), tape.last_name()) {
            (false, _) => "running",
            (true, "cancel") => "interrupted-by-user",
            (true, "apperror") => "errored",
            (true, _) => "completed",
        };
        json!({
            "active": !tape.is_ended(),
            "stream_id": stream,
            "replay_available": true,
            "journal": {
                "session_id": self.session,
                "run_id": stream,
                "last_seq": tape.last(),
                "last_event_id": format!("{stream}:{}", tape.last()),
                "last_event": tape.last_name(),
                "terminal": tape.is_ended(),
                "terminal_state": state,
            },
        })
    }
}

/// The stream of a side question. Without a cursor it begins at the beginning.
pub(in crate::serve) fn response(
    server: &ServerState,
    question: Arc<Question>,
    cursor: Cursor,
) -> Response {
    let last = question.lock().last();
    let after = match cursor {
        Cursor::After(n) if n <= last => n,
        Cursor::After(_) | Cursor::Start | Cursor::None => 0,
    };
    let changes = question.changes.subscribe();
    let frames = stream::unfold(
        (question, changes, after),
        |(question, mut changes, mut after)| async move {
            loop {
                changes.borrow_and_update();
                let read = question.lock().read(after);
                match read {
                    Read::Frames(bytes, upto) => return Some((bytes, (question, changes, upto))),
                    Read::Wait => changes.changed().await.ok()?,
                    Read::End => return None,
                    // The last frame repeats the whole answer, also what was dropped.
                    Read::Behind(dropped) => after += dropped,
                }
            }
        },
    );
    sse::response(server, HEARTBEAT_COMMENT, frames)
}

pub(super) async fn ask(
    State(server): State<ServerState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let [parent, text] = require(&body, ["session_id", "question"])?;
    let view = RequestView::open(&server, &parent).await?;
    let (stream, question) = server.side_questions.add_question().ok_or_else(too_many)?;
    let started = json!({
        "stream_id": stream,
        "session_id": question.session,
        "parent_session_id": parent,
    });
    tokio::spawn(async move {
        answer(view.into_view(), &question, &text).await;
        question.end();
    });
    Ok(ok_json(&started))
}

/// Asks the question and writes its answer on its tape. The request to the model ends with the
/// view.
async fn answer(mut view: View, question: &Question, text: &str) {
    let id = PromptId::fresh();
    view.send(Command::Aside { id: id.clone(), question: text.to_owned() });
    let mut cancelled = question.cancelled.subscribe();
    loop {
        let event = tokio::select! {
            biased;
            _ = cancelled.wait_for(|cancelled| *cancelled) => return question.push_cancelled(),
            event = view.next() => event,
        };
        match event {
            Some(Event::AsideSaid { id: of, part, text }) if of == id => {
                question.push_text(part, &text);
            }
            Some(Event::AsideEnded { id: of, text: answer, failed, usage }) if of == id => {
                if failed {
                    question.push_error(&answer);
                } else {
                    question.push_done(text, &answer, usage.as_ref());
                }
                return;
            }
            Some(_) => {}
            None => return question.push_error("the host has stopped"),
        }
    }
}
