//! Fresh windows of a view: what they show of the time without a link, and the prompts typed in it.

use super::{Seam, handover};
use crate::remote::report_link;
use protocol::{Command, Event, Link, News, Toast, Transcript};

impl Seam {
    /// Takes a fresh window: the first one, one after a switch, or one after the link broke.
    pub(super) fn window_received(&mut self, transcript: Box<Transcript>, resynced: bool) {
        let reconnected = !self.is_ready;
        self.is_ready = true;
        self.prompt_waiting.set(false);
        self.outbox.session_shown();
        let event = Event::Attached { transcript, resynced: resynced || reconnected };
        let Event::Attached { transcript, .. } = &event else { return };
        let taken = self.prompts.acknowledge(&transcript.session, &event);
        self.outbox.remove_prompts(&taken);
        if reconnected {
            self.inbox.reconnected();
            self.restore_prompts(transcript);
            report_link(&self.sink, Link::Up);
        }
        match &self.known {
            Some(known) if reconnected && is_same(known, transcript) => {}
            Some(_) => {
                self.known = Some((**transcript).clone());
                self.push(event);
            }
            None => {
                self.known = Some((**transcript).clone());
                let transcript = transcript.clone();
                self.push(Event::Attached { transcript, resynced });
            }
        }
        self.start_handover();
    }

    /// There is a view again: prompts that it does not show are sent again if they belong to this
    /// session, and handed over if they belong to another one.
    fn restore_prompts(&mut self, transcript: &Transcript) {
        let gone = self.gone_session.take();
        let is_empty = is_empty(transcript);
        let mut current = Vec::new();
        for entry in self.prompts.entries() {
            let waits = |command: &Command| matches!(command, Command::Prompt { id, .. } if *id == entry.id);
            if self.outbox.contains(waits) {
                continue;
            }
            match &entry.session {
                Some(session) if *session == transcript.session => current.push(entry.clone()),
                // It had no session yet: this one will do if it is empty.
                None if is_empty => current.push(entry.clone()),
                session if is_empty && gone.is_some() && *session == gone => {
                    current.push(entry.clone());
                }
                session => handover::add(&mut self.handovers, session.clone(), entry.clone()),
            }
        }
        for entry in current.into_iter().rev() {
            self.outbox.push_first(Command::Prompt { id: entry.id, text: entry.text });
        }
    }

    pub(super) fn start_handover(&mut self) {
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

    /// Whether a prompt of this session is not confirmed yet.
    pub(super) fn has_unconfirmed(&self) -> bool {
        let session = self.known.as_ref().map(|known| &known.session);
        self.prompts.entries().iter().any(|entry| entry.session.as_ref() == session)
    }
}

/// The number of the last row.
pub(super) fn last_row(transcript: &Transcript) -> u64 {
    transcript.rows.last().map_or(transcript.earlier, |row| row.n)
}

/// Whether it has no rows at all.
pub(super) fn is_empty(transcript: &Transcript) -> bool {
    transcript.rows.is_empty() && transcript.earlier == 0
}

/// Whether a window shows the same as the fold of the one before. Either may go further back.
fn is_same(fold: &Transcript, window: &Transcript) -> bool {
    let rows = fold.rows.len().min(window.rows.len());
    let tail = |transcript: &Transcript| {
        let mut tail = transcript.clone();
        tail.trim(rows);
        tail
    };
    tail(fold) == tail(window)
}
