//! News from sessions that are not in view: a few lines for a few seconds (P11).

use host::protocol::{Millis, News, SessionId, Toast};
use ratatui::text::Line;

use crate::clean::one_line;
use crate::theme::Theme;
use crate::transcript::ending;
use crate::transcript::wrap::fit;

/// Toasts shown at once.
const SHOWN: usize = 3;

/// How long one is shown.
const MILLIS: Millis = 6_000;

/// The toasts in view, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Toasts {
    shown: Vec<(Millis, Toast)>,
}

impl Toasts {
    pub(crate) fn push(&mut self, toast: &Toast, now: Millis) {
        self.shown.push((now + MILLIS, toast.clone()));
        let excess = self.shown.len().saturating_sub(SHOWN);
        self.shown.drain(..excess);
    }

    /// Drops those whose time is over.
    pub(crate) fn on_tick(&mut self, now: Millis) {
        self.shown.retain(|(until, _)| now < *until && *until - now <= MILLIS);
    }

    /// Drops those of the session that came into view.
    pub(crate) fn on_session(&mut self, session: &SessionId) {
        self.shown.retain(|(_, toast)| toast.session != *session);
    }

    /// When the next one goes.
    pub(crate) fn next_tick(&self) -> Option<Millis> {
        self.shown.iter().map(|(until, _)| *until).min()
    }

    pub(crate) fn lines(&self, width: usize, theme: &Theme) -> Vec<Line<'static>> {
        let line = |toast: &Toast| {
            let what = match &toast.news {
                News::Ended { exit, .. } => ending(exit),
                News::Matched { pattern } => format!("matched {:?}", one_line(pattern)),
                News::WatchDisabled => "watch off".to_owned(),
                News::Tripped | News::Released { .. } => "watches".to_owned(),
                News::Held { .. } => "held".to_owned(),
                News::Working { .. } => "still working".to_owned(),
                News::Unknown => "news".to_owned(),
            };
            let text = format!(" ⚑ {what} · {} ", one_line(&toast.text));
            Line::styled(fit(&text, width.min(60)), theme.toast)
        };
        self.shown.iter().map(|(_, toast)| line(toast)).collect()
    }
}
