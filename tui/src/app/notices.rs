//! A notice of the interface itself: below everything while it is new, then among the rows at the
//! place where it was posted. The next prompt removes it.

use protocol::{Millis, Transcript};
use ratatui::style::Style;

use super::last_row;
use crate::theme::Theme;
use crate::transcript::InlineNotice;

/// How long a notice stays below the transcript once something newer has come.
const STAYS: Millis = 4_000;

/// A notice.
#[derive(Debug)]
pub(crate) enum Notice {
    Info(String),
    /// Something waits for the link; removed when the link is back.
    Waiting(String),
    Error(String),
}

/// A notice with the time and the place where it was posted.
#[derive(Debug)]
pub(crate) struct PostedNotice {
    pub(super) notice: Notice,
    pub(super) at: Millis,
    /// The last row at that time.
    pub(super) after: u64,
}

impl Notice {
    /// Its mark, its text and their style.
    pub(crate) fn parts(&self, theme: &Theme) -> (&'static str, &str, Style) {
        match self {
            Self::Info(text) => ("· ", text, theme.accent),
            Self::Waiting(text) => ("· ", text, theme.warn),
            Self::Error(text) => ("✗ ", text, theme.error),
        }
    }
}

impl PostedNotice {
    /// When it moves from below the transcript to its place among the rows; `None` = not yet known.
    pub(super) fn moves_at(&self, transcript: &Transcript) -> Option<Millis> {
        let is_outdated = last_row(transcript) > self.after || transcript.running.is_some();
        match self.notice {
            Notice::Info(_) | Notice::Error(_) => is_outdated.then_some(self.at + STAYS),
            // It describes a state that lasts, not an event.
            Notice::Waiting(_) => None,
        }
    }

    /// The notice as a part of the transcript.
    pub(super) fn inline(&self, theme: &Theme) -> InlineNotice {
        let (mark, text, style) = self.notice.parts(theme);
        InlineNotice { after: self.after, mark, text: text.to_owned(), style }
    }
}
