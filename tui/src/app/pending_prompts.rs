//! Prompts that were sent and that no host has confirmed: shown while the link is bad, and handed
//! back at the end.

use protocol::{Body, Link, Millis, PromptId, Row, SessionId, Subject, Transcript};

use super::last_row;

/// From this time on an unconfirmed prompt is shown even if the link is good.
const OVERDUE: Millis = 1_000;

/// The unconfirmed prompts, oldest first.
#[derive(Debug, Default)]
pub(crate) struct PendingPrompts {
    sent: Vec<SentPrompt>,
}

/// A prompt that was sent.
#[derive(Debug)]
struct SentPrompt {
    id: PromptId,
    text: String,
    at: Millis,
    session: SessionId,
    /// The last row that was known when it was sent: the prompt's own row is a later one.
    after: u64,
}

impl SentPrompt {
    /// Whether this row is the prompt. Other hosts may write something around its text.
    fn is(&self, row: &Row, session: &SessionId) -> bool {
        let Body::User { text } = &row.body else { return false };
        if self.session != *session {
            return *text == self.text;
        }
        row.n > self.after && text.contains(self.text.trim())
    }
}

/// Why a prompt is not in the transcript yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delay {
    /// The host has it: it waits for the running turn to end.
    Queued,
    /// The host has not confirmed it yet.
    Sending,
    /// There is no connection to send it over.
    NotSent,
}

impl Delay {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::NotSent => "not sent yet",
        }
    }
}

impl PendingPrompts {
    /// A prompt was sent to the session of this transcript.
    pub(super) fn add(&mut self, id: &PromptId, text: &str, transcript: &Transcript, now: Millis) {
        self.sent.push(SentPrompt {
            id: id.clone(),
            text: text.to_owned(),
            at: now,
            session: transcript.session.clone(),
            after: last_row(transcript),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Their texts, oldest first.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.sent.iter().map(|sent| sent.text.as_str())
    }

    /// A row came: if it is one of the prompts, that one is confirmed.
    pub(super) fn on_row(&mut self, row: &Row, session: &SessionId) {
        if let Some(at) = self.sent.iter().position(|sent| sent.is(row, session)) {
            self.sent.remove(at);
        }
    }

    /// The host queued a prompt: it is confirmed.
    pub(super) fn on_queued(&mut self, id: &PromptId) {
        self.sent.retain(|sent| sent.id != *id);
    }

    /// A fresh window came: the prompts in it are confirmed, whatever events were missed.
    pub(super) fn on_window(&mut self, transcript: &Transcript) {
        let mut rows: Vec<&Row> = transcript.rows.iter().collect();
        self.sent.retain(|sent| {
            if transcript.queued.iter().any(|queued| queued.id == sent.id) {
                return false;
            }
            // One row is one prompt: the same text sent twice needs two rows.
            let row = rows.iter().position(|row| sent.is(row, &transcript.session));
            row.map(|at| rows.remove(at)).is_none()
        });
    }

    /// Takes out the text of the prompt that the host refused, if the failure is about one.
    pub(super) fn take_refused(&mut self, about: &Subject) -> Option<String> {
        let refused = match about {
            Subject::NamedPrompt(id) => self.sent.iter().position(|sent| sent.id == *id),
            Subject::Prompt => self.sent.len().checked_sub(1),
            _ => None,
        };
        refused.map(|at| self.sent.remove(at).text)
    }

    /// The prompts that the user should see, each with the reason for its delay.
    pub(crate) fn overdue(&self, link: &Link, now: Millis) -> Vec<(Delay, &str)> {
        let is_away = match link {
            Link::Up | Link::Polling { .. } => false,
            Link::Connecting | Link::Down { .. } | Link::Refused { .. } | Link::Stopped { .. } => {
                true
            }
        };
        let shown = self.sent.iter().filter(|sent| is_away || now - sent.at >= OVERDUE);
        let delay = if is_away { Delay::NotSent } else { Delay::Sending };
        shown.map(|sent| (delay, sent.text.as_str())).collect()
    }

    /// When the next prompt becomes overdue.
    pub(super) fn next_overdue(&self, now: Millis) -> Option<Millis> {
        self.sent.iter().map(|sent| sent.at + OVERDUE).filter(|at| *at > now).min()
    }
}
