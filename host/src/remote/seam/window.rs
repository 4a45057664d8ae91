//! Fresh windows of a view: what they say about the time without a link, and what was typed in it.

use super::{Seam, handover};
use crate::remote::report_link;
use protocol::{Command, Event, Link, News, Toast, Transcript};

impl Seam {
    /// A fresh window: the first one, after a switch, or after the link broke.
    pub(super) fn attached(&mut self, transcript: Box<Transcript>, resynced: bool) {
        let came_back = !self.is_ready;
        self.is_ready = true;
        self.prompt_waiting.set(false);
        self.outbox.opened();
        let event = Event::Attached { transcript, resynced: resynced || came_back };
        let Event::Attached { transcript, .. } = &event else { return };
        let taken = self.prompts.acknowledge(&transcript.session, &event);
        self.outbox.forget(&taken);
        if came_back {
            self.inbox.came_back();
            self.settle(transcript);
            report_link(&self.sink, Link::Up);
        }
        match &self.fold {
            Some(fold) if came_back && is_same(fold, transcript) => {}
            Some(_) => {
                self.fold = Some((**transcript).clone());
                self.push(event);
            }
            None => {
                self.fold = Some((**transcript).clone());
                let transcript = transcript.clone();
                self.push(Event::Attached { transcript, resynced });
            }
        }
        self.run_errands();
    }

    /// A view is there again: what was typed and does not show is sent again if it is of this
    /// session, and handed over if it is of another one.
    fn settle(&mut self, transcript: &Transcript) {
        let gone = self.gone.take();
        let is_empty = is_empty(transcript);
        let mut again = Vec::new();
        for entry in self.prompts.entries() {
            let waits = |command: &Command| matches!(command, Command::Prompt { id, .. } if *id == entry.id);
            if self.outbox.holds(waits) {
                continue;
            }
            match &entry.session {
                Some(session) if *session == transcript.session => again.push(entry.clone()),
                // Nothing was ever said in its session: this one is as good if it is as empty.
                None if is_empty => again.push(entry.clone()),
                session if is_empty && gone.is_some() && *session == gone => {
                    again.push(entry.clone());
                }
                session => handover::add(&mut self.handovers, session.clone(), entry.clone()),
            }
        }
        for entry in again.into_iter().rev() {
            self.outbox.ask_first(Command::Prompt { id: entry.id, text: entry.text });
        }
    }

    pub(super) fn run_errands(&mut self) {
        if self.handover.is_none()
            && let Some(handover) = self.handovers.pop()
        {
            let session = handover.session.clone().unwrap_or_default();
            let what = match handover.entries.len() {
                1 => "A prompt that was".to_owned(),
                count => format!("{count} prompts that were"),
            };
            self.push(Event::Toast(Toast {
                session,
                name: String::new(),
                process: None,
                news: News::Unknown,
                text: format!("{what} not sent the last time: on the way now"),
            }));
            self.handover = Some(Box::pin(handover::run(self.client.clone(), handover)));
        }
    }

    /// Whether a prompt of this session does not show yet.
    pub(super) fn awaits(&self) -> bool {
        let session = self.fold.as_ref().map(|fold| &fold.session);
        self.prompts.entries().iter().any(|entry| entry.session.as_ref() == session)
    }
}

/// The number of the last row.
pub(super) fn last_row(transcript: &Transcript) -> u64 {
    transcript.rows.last().map_or(transcript.earlier, |row| row.n)
}

/// Whether nothing was ever said in it.
pub(super) fn is_empty(transcript: &Transcript) -> bool {
    transcript.rows.is_empty() && transcript.earlier == 0
}

/// Whether a window says what the fold of an earlier one says. Either may go further back.
fn is_same(fold: &Transcript, window: &Transcript) -> bool {
    let rows = fold.rows.len().min(window.rows.len());
    let tail = |transcript: &Transcript| {
        let mut tail = transcript.clone();
        tail.trim(rows);
        tail
    };
    tail(fold) == tail(window)
}
