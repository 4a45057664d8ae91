//! One view on a session of a hermes-webui as a state machine: what the server sends goes in, events
//! of the seam and requests to the server come out. Pure: no I/O, no clock.
//!
//! The server stores a list of messages, sends a running turn as a stream of its own, and sends the
//! transcript once more when the turn is done. So the rows of a running turn are made from the stream
//! and replaced by the stored ones at its end. A stream that is opened again is replayed from its
//! start, over the rows as they were before that turn.

mod channel;
mod live;
mod questions;
mod queue;
mod rows;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{HashMap, HashSet};

use crate::wire::decode;
use protocol::{
    Body, CallId, Event, Millis, Outcome, PromptId, Row, SessionId, Transcript, TurnId,
};

pub(super) use questions::{AnswerResult, QuestionKind, answer_result, approval_ask, clarify_ask};
pub(super) use queue::{Accepted, StartRefusal};
pub(super) use rows::{latest, list, search_hits, woken_by};

/// A request to the server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// The tail of the session: [`Mirror::loaded`].
    Load,
    /// This stream from its start: [`Mirror::chat`]. It replaces the one that is open.
    OpenChat(String),
    /// No chat stream is needed any more.
    CloseChat,
    /// The session goes on under another id: its streams are to be opened again.
    Follow {
        /// The one it had.
        from: SessionId,
        /// The one it has.
        to: SessionId,
    },
    /// Run a turn: [`Mirror::accepted`] or [`Mirror::refused`].
    Start {
        /// Whose; `None` = the server's own goal goes on.
        prompt: Option<PromptId>,
        /// The text of the prompt.
        text: String,
    },
    /// The heads of the queues of questions: [`Mirror::approval`], [`Mirror::clarify`].
    Questions,
    /// The goal: [`Mirror::goal`].
    Goal,
}

/// What follows from the inputs.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// For the view, in order.
    pub events: Vec<Event>,
    /// For the server, in order.
    pub requests: Vec<Request>,
}

/// The turn whose stream is open.
#[derive(Debug)]
struct Chat {
    stream: String,
    turn: TurnId,
    /// The number of the last frame that was taken.
    seq: u64,
    /// The connection is a new one: frames that were taken may come once more.
    again: bool,
    /// Deltas so far.
    deltas: u64,
    /// The turn has ended, its stream has not (E10).
    done: bool,
    /// It ended without an error (S08).
    well: bool,
}

/// A session in view.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    view: Transcript,
    attached: bool,
    chat: Option<Chat>,
    /// The next window does not follow from the events before it: it says so.
    resync: bool,
    /// A load was asked for and has not come.
    loading: bool,
    /// Messages the server has, by its own count.
    count: u64,
    /// The count of a status poll that a load was made for.
    counted: Option<u64>,
    heads: questions::Heads,
    queue: queue::Queue,
    /// Background events that were reported (E11). Kept as long as the view.
    reported: HashSet<String>,
    /// Events nobody knows, logged once (E15).
    unknown: HashSet<String>,
    durations: HashMap<CallId, u64>,
    /// Rows of a turn whose server died: only its stream had them.
    salvage: Vec<Row>,
    /// The last usage and context length, as the server sent them.
    metered: Option<decode::UsageNumbers>,
    out: Out,
}

impl Mirror {
    /// What follows from the inputs so far.
    pub(in crate::remote) fn take_output(&mut self) -> Out {
        std::mem::take(&mut self.out)
    }

    /// The fold of all events.
    pub(in crate::remote) fn view(&self) -> &Transcript {
        &self.view
    }

    /// Whether the view was sent a window yet.
    pub(in crate::remote) fn is_attached(&self) -> bool {
        self.attached
    }

    /// How many messages are known: the session channel asks for it.
    pub(in crate::remote) fn known_count(&self) -> u64 {
        self.count
    }

    /// The stream of the running turn.
    pub(in crate::remote) fn stream(&self) -> Option<&str> {
        self.chat.as_ref().filter(|chat| !chat.done).map(|chat| chat.stream.as_str())
    }

    /// Whether the turn has ended and the server has not finished it yet.
    pub(in crate::remote) fn is_settling(&self) -> bool {
        self.chat.as_ref().is_some_and(|chat| chat.done)
    }

    fn emit(&mut self, event: Event) {
        self.view.apply(&event);
        self.out.events.push(event);
    }

    fn request(&mut self, request: Request) {
        self.out.requests.push(request);
    }

    fn load(&mut self) {
        if !self.loading {
            self.loading = true;
            self.request(Request::Load);
        }
    }

    /// What happened since is not known: loads the session, and shows that it did.
    pub(in crate::remote) fn resync(&mut self) {
        self.resync = true;
        self.load();
    }

    /// What is shown is out of date: loads the session.
    pub(in crate::remote) fn reload(&mut self) {
        self.load();
    }

    /// A load failed; the next reason makes another one.
    pub(in crate::remote) fn not_loaded(&mut self) {
        self.loading = false;
    }

    /// The window again, for a view whose queue has overflowed.
    pub(in crate::remote) fn window(&self) -> Event {
        Event::Attached { transcript: Box::new(self.view.clone()), resynced: true }
    }

    /// The server is another process than before: what lived only in the old one is gone (E13).
    pub(in crate::remote) fn restarted(&mut self, now: Millis) {
        self.keep_salvage();
        self.drop_questions(now);
        if self.view.yolo {
            self.emit(Event::YoloChanged { yolo: false });
        }
        if self.view.steer.is_some() {
            self.emit(Event::Steered { text: None });
        }
        self.resync();
    }

    /// The number of the last row.
    pub(in crate::remote) fn last(&self) -> u64 {
        self.view.rows.last().map_or(self.view.earlier, |row| row.n)
    }

    /// The user interrupts the turn: its stream.
    pub(in crate::remote) fn begin_cancel(&mut self) -> Option<String> {
        let stream = self.stream()?.to_owned();
        let turn = self.chat.as_ref()?.turn;
        self.emit(Event::TurnCancelling { turn });
        Some(stream)
    }

    /// A remark for the running turn; false = none runs.
    pub(in crate::remote) fn steer(&mut self, text: &str) -> bool {
        let runs = self.stream().is_some();
        if runs {
            self.emit(Event::Steered { text: Some(text.to_owned()) });
        }
        runs
    }

    /// Applies any other event that a request has led to.
    pub(in crate::remote) fn apply(&mut self, event: Event) {
        self.emit(event);
    }

    fn ignored(&mut self, name: &str) {
        if self.unknown.insert(name.to_owned()) {
            tracing::info!(name, "an event of the server is not known and ignored");
        }
    }

    fn ended(&mut self, outcome: Outcome, at: Millis) {
        if self.view.steer.is_some() {
            self.emit(Event::Steered { text: None });
        }
        if outcome == Outcome::Done {
            // A turn that ended well had its answers: questions that are open here were answered by
            // another client.
            self.drop_questions(at);
        }
        if let Some(running) = &self.view.running {
            let turn = running.turn;
            self.emit(Event::TurnEnded { turn, outcome, at });
        }
        self.drop_questions(at);
    }
}

fn is_prompt(body: &Body) -> bool {
    match body {
        Body::User { .. } | Body::Wakeup(_) => true,
        Body::Summary(_)
        | Body::Note { .. }
        | Body::Assistant(_)
        | Body::Tool(_)
        | Body::Failure { .. } => false,
    }
}
