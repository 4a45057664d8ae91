//! What the interface tells the user beside the transcript: toasts, a notice, and a text that takes
//! the place of the status line for a moment.

use protocol::{Body, Link, Millis, Row, Transcript};

use super::notices::{Notice, PostedNotice};
use super::{App, last_row};
use crate::numbers::count;
use crate::theme::Theme;
use crate::toast::Toasts;
use crate::transcript::InlineNotice;

/// How long news about the link is shown in the status line.
const FLASH: Millis = 3_000;

/// The feedback on the screen.
#[derive(Debug, Default)]
pub(crate) struct Feedback {
    pub(crate) toasts: Toasts,
    pub(super) notice: Option<PostedNotice>,
    /// The text in place of the status line, and until when.
    flash: Option<(String, Millis)>,
    /// The last of the rows that were reported as removed elsewhere, while no row has replaced them.
    pub(super) removed_elsewhere: Option<u64>,
}

impl Feedback {
    /// Begins with these notes as its notice.
    pub(super) fn new(notes: &[String], now: Millis) -> Self {
        let notice = (!notes.is_empty()).then(|| PostedNotice {
            notice: Notice::Info(notes.join("\n")),
            at: now,
            after: 0,
        });
        Self { notice, ..Self::default() }
    }

    /// Posts a notice after the row with this number.
    pub(super) fn post(&mut self, notice: Notice, now: Millis, after: u64) {
        self.notice = Some(PostedNotice { notice, at: now, after });
    }

    /// Moves a notice that was posted before the first window to the end of that window.
    pub(super) fn on_first_window(&mut self, transcript: &Transcript) {
        if let Some(posted) = &mut self.notice {
            posted.after = last_row(transcript);
        }
    }

    /// Takes the notice away and returns it.
    pub(super) fn take_notice(&mut self) -> Option<Notice> {
        self.notice.take().map(|posted| posted.notice)
    }

    /// Removes the notice if it is an error.
    pub(super) fn dismiss_error(&mut self) {
        self.notice.take_if(|posted| matches!(posted.notice, Notice::Error(_)));
    }

    fn dismiss_info(&mut self) {
        self.notice.take_if(|posted| matches!(posted.notice, Notice::Info(_)));
    }

    fn dismiss_waiting(&mut self) {
        self.notice.take_if(|posted| matches!(posted.notice, Notice::Waiting(_)));
    }

    /// Removes the notice that a row makes untrue: its removal was no removal, or the compression
    /// that was announced is done.
    pub(super) fn on_row(&mut self, row: &Row) {
        let replaces = self.removed_elsewhere.take().is_some_and(|last| row.n <= last);
        if replaces || matches!(row.body, Body::Summary(_)) {
            self.dismiss_info();
        }
    }

    /// The notice below the transcript.
    pub(super) fn current_notice(&self, transcript: &Transcript, now: Millis) -> Option<&Notice> {
        let has_moved = self.notice_moves_at(transcript).is_some_and(|at| at <= now);
        self.notice.as_ref().filter(|_| !has_moved).map(|posted| &posted.notice)
    }

    /// The notice at its place among the rows.
    pub(super) fn inline_notice(
        &self,
        transcript: &Transcript,
        now: Millis,
        theme: &Theme,
    ) -> Option<InlineNotice> {
        self.notice_moves_at(transcript).filter(|at| *at <= now)?;
        self.notice.as_ref().map(|posted| posted.inline(theme))
    }

    /// When the notice moves from below the transcript to its place among the rows.
    pub(super) fn notice_moves_at(&self, transcript: &Transcript) -> Option<Millis> {
        self.notice.as_ref()?.moves_at(transcript)
    }

    /// Shows a text in place of the status line.
    pub(super) fn flash(&mut self, text: &str, until: Millis) {
        self.flash = Some((text.to_owned(), until));
    }

    /// The text in place of the status line.
    pub(crate) fn flash_text(&self) -> Option<&str> {
        self.flash.as_ref().map(|(text, _)| text.as_str())
    }

    pub(super) fn clear_flash(&mut self) {
        self.flash = None;
    }

    pub(super) fn on_tick(&mut self, now: Millis) {
        self.toasts.on_tick(now);
        self.flash.take_if(|(_, until)| *until <= now);
    }

    /// When a toast or the flash goes.
    pub(super) fn next_tick(&self) -> Option<Millis> {
        let flash = self.flash.as_ref().map(|(_, until)| *until);
        self.toasts.next_tick().into_iter().chain(flash).min()
    }
}

impl App {
    /// A change of the link to the host.
    pub(super) fn on_link(&mut self, link: &Link) {
        let before = std::mem::replace(&mut self.link, link.clone());
        if *link == Link::Up {
            self.feedback.dismiss_waiting();
        }
        let was_bad = match before {
            Link::Down { .. }
            | Link::Polling { .. }
            | Link::Refused { .. }
            | Link::Stopped { .. } => true,
            Link::Up | Link::Connecting => false,
        };
        if was_bad && *link == Link::Up {
            self.flash("reconnected", FLASH);
        }
    }

    /// A fresh window replaced one that had missed events; `last` was its last row.
    pub(super) fn on_resynced(&mut self, last: u64) {
        let now = last_row(&self.transcript);
        let new = now.saturating_sub(last);
        self.view.on_resynced(new);
        let what = match new {
            0 if now < last => "rows were removed".to_owned(),
            // Nothing was missed, and the flash says that the link is back.
            0 => return,
            n => count(n, "new row"),
        };
        let text = format!("resynced: {what} while you were away");
        match self.current_notice() {
            // An error matters more, and must stay in view.
            Some(Notice::Error(_)) => self.flash(&text, 2 * FLASH),
            Some(Notice::Info(_) | Notice::Waiting(_)) | None => self.notify(Notice::Info(text)),
        }
    }
}
