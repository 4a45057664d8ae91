//! What the user sent and no host has confirmed: shown while the way to the host is bad, and
//! handed back at the end, so that nothing typed is lost.

use protocol::{Body, Link, Millis, PromptId, Row, SessionId};

use super::{App, Panel};

/// From this time on a prompt that is on its way is shown even if the link is good.
const LATE: Millis = 1_000;

/// A prompt that is on its way.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: PromptId,
    pub(super) text: String,
    at: Millis,
    session: SessionId,
    /// The last row that was known when it was sent: it cannot be that one or an older one.
    after: u64,
}

impl Sent {
    /// Whether this row is what became of it. Other hosts may write something around the text.
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

impl App {
    /// A prompt is given to the host.
    pub(super) fn note_sent(&mut self, id: &PromptId, text: &str) {
        let session = self.transcript.session.clone();
        let after = self.last_row();
        let text = text.to_owned();
        self.sent.push(Sent { id: id.clone(), text, at: self.now, session, after });
    }

    /// The number of the last row there is.
    pub(super) fn last_row(&self) -> u64 {
        let transcript = &self.transcript;
        transcript.rows.last().map_or(transcript.earlier, |row| row.n)
    }

    /// What the user wrote and no host has taken: for the next start.
    pub(crate) fn unsent(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.sent.iter().map(|sent| sent.text.clone()).collect();
        if !self.composer.is_empty() {
            texts.push(self.composer.expanded());
        }
        if let Some(Panel::Inbox(inbox)) = &self.panel {
            texts.extend(inbox.typed());
        }
        texts
    }

    /// The same without the prompts for a host elsewhere: who sends those keeps them.
    pub(crate) fn unsent_here(&self) -> Vec<String> {
        let sent = if self.options.attached { self.sent.len() } else { 0 };
        self.unsent().split_off(sent)
    }

    /// A row that came took its prompt along.
    pub(super) fn on_taken(&mut self, row: &Row) {
        let session = &self.transcript.session;
        if let Some(at) = self.sent.iter().position(|sent| sent.is(row, session)) {
            self.sent.remove(at);
        }
    }

    /// Prompts that stand in the window were taken, whatever events were missed.
    pub(super) fn forget_taken(&mut self) {
        let transcript = &self.transcript;
        let mut rows: Vec<&Row> = transcript.rows.iter().collect();
        self.sent.retain(|sent| {
            if transcript.queued.iter().any(|queued| queued.id == sent.id) {
                return false;
            }
            // One row is one prompt: the same words sent twice need two.
            let taken = rows.iter().position(|row| sent.is(row, &transcript.session));
            taken.map(|at| rows.remove(at)).is_none()
        });
    }

    /// The prompts on their way that the user should see, and why they are not there yet.
    pub(crate) fn late(&self) -> Vec<(Delay, &str)> {
        let away = match self.link {
            Link::Up | Link::Polling { .. } => false,
            Link::Connecting | Link::Down { .. } | Link::Refused { .. } | Link::Stopped { .. } => {
                true
            }
        };
        let shown = self.sent.iter().filter(|sent| away || self.now - sent.at >= LATE);
        let why = if away { Delay::NotSent } else { Delay::Sending };
        shown.map(|sent| (why, sent.text.as_str())).collect()
    }

    /// When the next prompt on its way is late.
    pub(super) fn next_late(&self) -> Option<Millis> {
        self.sent.iter().map(|sent| sent.at + LATE).filter(|at| *at > self.now).min()
    }
}
