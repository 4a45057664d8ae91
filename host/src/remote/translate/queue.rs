//! Prompts on their way. A hermes-webui has no queue: what is typed while a turn runs waits here, and
//! nothing leaves before the server has taken it.

use super::{Chat, Mirror, Request};
use crate::wire::decode;
use protocol::Subject;
use protocol::{Attachment, Body, Event, Failure, Millis, PromptId, Queued, Row, Source, TurnId};

/// How long after a refusal because of a turn that cannot be attached to the next try comes.
const AGAIN: Millis = 1_000;

/// What was sent.
#[derive(Clone, Debug, PartialEq)]
enum Sending {
    /// A prompt of the user.
    Prompt(PromptId),
    /// The goal goes on.
    Continuation,
}

impl Sending {
    fn prompt(self) -> Option<PromptId> {
        match self {
            Self::Prompt(id) => Some(id),
            Self::Continuation => None,
        }
    }
}

/// What is on its way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// What was sent and not yet answered.
    sending: Option<Sending>,
    /// The text of that.
    text: String,
    /// It may have arrived though no answer came: the number of the last row before it.
    uncertain: Option<u64>,
    /// When to try again.
    pub(super) again: Option<Millis>,
    /// The server refused the head: nothing is sent until the user does something.
    stuck: bool,
    /// What the server wants said next, for its goal (S08).
    pub(super) continuation: Option<String>,
}

/// A turn that the server has taken.
#[derive(Clone, Debug, Default)]
pub(in crate::remote) struct Accepted {
    /// Its stream.
    pub stream: String,
    /// When, by the server's clock.
    pub at: Millis,
    /// The title of the session, which a first prompt sets.
    pub title: String,
}

/// Why a prompt was not taken.
#[derive(Clone, Debug)]
pub(in crate::remote) enum Refused {
    /// A turn runs, on this stream if it can be attached to.
    Busy(Option<String>),
    /// No answer came: it may have arrived.
    Unanswered,
    /// It never left.
    Unsent,
    /// The server does not run it; the text says why.
    No(String),
    /// The server takes it and does nothing.
    Suppressed,
}

impl Queue {
    pub(super) fn is_moving(&self) -> bool {
        self.sending.is_some()
    }
}

impl Mirror {
    /// The user typed something.
    pub(in crate::remote) fn prompt(&mut self, id: PromptId, text: String) {
        if self.view.queued.iter().any(|queued| queued.id == id) {
            return;
        }
        self.emit(Event::PromptQueued { prompt: Queued { id, text } });
        self.queue.stuck = false;
        self.flush();
    }

    /// The user takes a waiting prompt back.
    pub(in crate::remote) fn unqueue(&mut self, id: &PromptId) {
        let sent = self.queue.sending == Some(Sending::Prompt(id.clone()));
        if !sent && self.view.queued.iter().any(|queued| queued.id == *id) {
            self.emit(Event::PromptUnqueued { id: id.clone() });
            self.queue.stuck = false;
            self.flush();
        }
    }

    /// A remark came too late for the turn: it is the next prompt.
    pub(super) fn leftover(&mut self, text: &str) {
        if !text.is_empty() {
            let prompt = Queued { id: PromptId::fresh(), text: text.to_owned() };
            self.emit(Event::PromptQueued { prompt });
        }
    }

    /// A remark was not taken: it is the next prompt.
    pub(in crate::remote) fn steer_missed(&mut self, text: &str) {
        if self.view.steer.as_deref() == Some(text) {
            self.emit(Event::Steered { text: None });
        }
        self.leftover(text);
        self.flush();
    }

    /// The goal goes on by hand.
    pub(in crate::remote) fn go_on(&mut self, text: &str) {
        self.queue.continuation = Some(text.to_owned());
        self.flush();
    }

    /// Time passed, or the server can be reached again.
    pub(in crate::remote) fn tick(&mut self, now: Millis) {
        if self.queue.again.is_some_and(|at| at <= now) {
            // What still stands against it flushes when it is gone.
            self.queue.again = None;
            self.flush();
        }
    }

    /// When a tick is wanted.
    pub(in crate::remote) fn wants_tick(&self) -> Option<Millis> {
        self.queue.again
    }

    /// Sends the next prompt, if nothing stands against it.
    pub(super) fn flush(&mut self) {
        let busy = self.chat.as_ref().is_some_and(|chat| !chat.done);
        let waits = self.queue.sending.is_some() || self.queue.stuck || self.loading;
        if busy || waits || !self.attached {
            return;
        }
        self.queue.again = None;
        let (prompt, text) = match self.view.queued.first() {
            Some(queued) => {
                // The user's word goes first; the goal is looked at again after that turn.
                self.queue.continuation = None;
                (Some(queued.id.clone()), queued.text.clone())
            }
            None => match self.queue.continuation.take() {
                Some(text) => (None, text),
                None => return,
            },
        };
        self.queue.sending = Some(prompt.clone().map_or(Sending::Continuation, Sending::Prompt));
        self.queue.text.clone_from(&text);
        self.request(Request::Start { prompt, text });
    }

    /// The server runs it.
    pub(in crate::remote) fn accepted(&mut self, accepted: &Accepted, now: Millis) {
        let Some(sent) = self.queue.sending.take() else { return };
        let prompt = sent.prompt();
        let text = std::mem::take(&mut self.queue.text);
        if let Some(id) = prompt {
            self.emit(Event::PromptUnqueued { id });
        }
        if !self.view.attachments.is_empty() {
            self.emit(Event::AttachmentsChanged { attachments: Vec::new() });
        }
        let at = if accepted.at > 0 { accepted.at } else { now };
        let turn = TurnId(self.view.rows.last().map_or(0, |row| row.turn.0) + 1);
        let row = Row { n: self.last() + 1, turn, at, cut: 0, body: Body::User { text } };
        self.emit(Event::TurnStarted { turn, source: Source::User, at });
        self.emit(Event::RowAdded { row });
        self.entitle(&accepted.title);
        let stream = accepted.stream.clone();
        self.chat = Some(Chat {
            stream: stream.clone(),
            turn,
            seq: 0,
            again: false,
            deltas: 0,
            done: false,
            well: false,
        });
        self.request(Request::OpenChat(stream));
    }

    /// The server does not run it, or not now. What was typed stays in the queue.
    pub(in crate::remote) fn refused(&mut self, refused: Refused, now: Millis) {
        let Some(sent) = self.queue.sending.take() else { return };
        let prompt = sent.prompt();
        match refused {
            Refused::Busy(stream) => {
                if prompt.is_none() {
                    // Somebody else went on with the goal: that is fine (S08).
                    self.queue.text.clear();
                }
                let known = self.chat.as_ref().map(|chat| chat.stream.as_str());
                if known.is_none() || stream.is_some() && known != stream.as_deref() {
                    self.load();
                }
                self.queue.again = Some(now + AGAIN);
            }
            Refused::Unanswered | Refused::Unsent => match (refused, prompt) {
                (Refused::Unanswered, Some(id)) => {
                    self.queue.uncertain = Some(self.last());
                    self.queue.sending = Some(Sending::Prompt(id));
                }
                _ => self.queue.again = Some(now + 3 * AGAIN),
            },
            Refused::Suppressed => {
                if let Some(id) = prompt {
                    self.emit(Event::PromptUnqueued { id });
                }
                self.fail(Subject::Prompt, "The server ignores this text on purpose.");
            }
            Refused::No(why) => {
                self.queue.stuck = prompt.is_some();
                self.fail(Subject::Prompt, &why);
            }
        }
    }

    /// A prompt without an answer: the session tells whether it arrived.
    pub(super) fn queue_after_load(&mut self, session: &decode::Session) {
        let Some(before) = self.queue.uncertain.take() else { return };
        let Some(Sending::Prompt(id)) = self.queue.sending.take() else { return };
        let text = std::mem::take(&mut self.queue.text);
        let arrived = self.view.rows.iter().any(|row| {
            row.n > before
                && matches!(&row.body, Body::User { text: said } if said.trim() == text.trim())
        });
        if arrived || session.pending_user_message.as_deref().map(str::trim) == Some(text.trim()) {
            self.emit(Event::PromptUnqueued { id });
        }
    }

    /// Whether the answer to a prompt was lost: a load settles it.
    pub(in crate::remote) fn is_uncertain(&self) -> bool {
        self.queue.uncertain.is_some()
    }

    /// A file goes along with the next prompt.
    pub(in crate::remote) fn attach_file(&mut self, attachment: Attachment) {
        let mut attachments = self.view.attachments.clone();
        attachments.push(attachment);
        self.emit(Event::AttachmentsChanged { attachments });
    }

    /// Something could not be done.
    pub(in crate::remote) fn fail(&mut self, about: Subject, message: &str) {
        let failure = Failure { about, message: message.to_owned() };
        self.emit(Event::Failed(failure));
    }
}
