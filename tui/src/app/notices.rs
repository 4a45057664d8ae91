//! What the interface says in a line of its own: below everything while it is news, then at the
//! place among the rows where it was said. It goes with the next prompt.

use protocol::Millis;
use ratatui::style::Style;

use super::App;
use crate::theme::Theme;
use crate::transcript::Aside;

/// How long it stays in view although something newer has come.
const NEWS: Millis = 4_000;

/// What is said.
#[derive(Debug)]
pub(crate) enum Notice {
    Info(String),
    /// What the link is waited for with; it goes when the link is back.
    Waiting(String),
    Error(String),
}

/// And when that was.
#[derive(Debug)]
pub(crate) struct Said {
    pub(super) notice: Notice,
    at: Millis,
    /// The last row there was.
    after: u64,
}

impl Notice {
    /// How it looks: its mark, its words, their style.
    pub(crate) fn look(&self, theme: &Theme) -> (&'static str, &str, Style) {
        match self {
            Self::Info(text) => ("· ", text, theme.accent),
            Self::Waiting(text) => ("· ", text, theme.warn),
            Self::Error(text) => ("✗ ", text, theme.error),
        }
    }
}

impl Said {
    /// Before anything has been seen of a session.
    pub(super) fn at_start(text: String, now: Millis) -> Self {
        Self { notice: Notice::Info(text), at: now, after: 0 }
    }
}

impl App {
    pub(crate) fn tell(&mut self, notice: Notice) {
        self.notice = Some(Said { notice, at: self.now, after: self.last_row() });
    }

    /// What was said before the first window came was said after all that is in it.
    pub(super) fn told_at_start(&mut self) {
        let last = self.last_row();
        if let Some(said) = &mut self.notice {
            said.after = last;
        }
    }

    /// Takes back what was said, if it is such a thing.
    pub(super) fn unsay(&mut self, is: impl FnOnce(&Notice) -> bool) {
        self.notice.take_if(|said| is(&said.notice));
    }

    /// What stands below everything.
    pub(crate) fn news(&self) -> Option<&Notice> {
        let past = self.past_at().is_some_and(|at| at <= self.now);
        self.notice.as_ref().filter(|_| !past).map(|said| &said.notice)
    }

    /// What stands among the rows.
    pub(super) fn aside(&self) -> Option<Aside> {
        self.past_at().filter(|at| *at <= self.now)?;
        let said = self.notice.as_ref()?;
        let (mark, text, style) = said.notice.look(&self.theme);
        Some(Aside { after: said.after, mark, text: text.to_owned(), style })
    }

    /// When what was said last gives way to what has come since.
    pub(super) fn past_at(&self) -> Option<Millis> {
        let said = self.notice.as_ref()?;
        let has_come = self.last_row() > said.after || self.transcript.running.is_some();
        match said.notice {
            Notice::Info(_) | Notice::Error(_) => has_come.then_some(said.at + NEWS),
            // That is how it is, not what has happened.
            Notice::Waiting(_) => None,
        }
    }
}
