//! News of what happens in the background: a few lines for a few seconds (P11).

use host::protocol::{Delivery, Millis, News, SessionId, Toast};
use ratatui::text::Line;

use crate::clean::one_line;
use crate::numbers::count;
use crate::theme::Theme;
use crate::time::span;
use crate::transcript::ending;
use crate::transcript::wrap::{columns, fit};

/// Toasts drawn at once; a line more says how many others there are (E12).
const SHOWN: usize = 3;

/// How long one is shown.
const MILLIS: Millis = 6_000;

/// Columns of a toast at most.
const WIDTH: usize = 64;

/// The news of the last moments, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Toasts {
    fresh: Vec<(Millis, Toast)>,
}

impl Toasts {
    /// Keeps it, unless `current` is its session and tells it by other means.
    pub(crate) fn push(&mut self, toast: &Toast, current: &SessionId, now: Millis) {
        if toast.session != *current || is_told_by_toast_alone(&toast.news) {
            self.fresh.push((now + MILLIS, toast.clone()));
        }
    }

    /// Drops those whose time is over.
    pub(crate) fn on_tick(&mut self, now: Millis) {
        self.fresh.retain(|(until, _)| now < *until && *until - now <= MILLIS);
    }

    /// Drops those that the session which came into view shows itself.
    pub(crate) fn on_session(&mut self, session: &SessionId) {
        self.fresh
            .retain(|(_, toast)| toast.session != *session || is_told_by_toast_alone(&toast.news));
    }

    /// When the next one goes.
    pub(crate) fn next_tick(&self) -> Option<Millis> {
        self.fresh.iter().map(|(until, _)| *until).min()
    }

    pub(crate) fn lines(
        &self,
        current: &SessionId,
        width: usize,
        theme: &Theme,
    ) -> Vec<Line<'static>> {
        let width = width.min(WIDTH);
        let hidden = self.fresh.len().saturating_sub(SHOWN);
        let more = (hidden > 0)
            .then(|| fit(&format!(" +{hidden} more · Ctrl+B a lists all processes "), width));
        let shown = self.fresh.iter().skip(hidden).map(|(_, toast)| line(toast, current, width));
        more.into_iter().chain(shown).map(|text| Line::styled(text, theme.toast)).collect()
    }
}

/// Whether nothing else in its session shows it: no card, no clock.
fn is_told_by_toast_alone(news: &News) -> bool {
    match news {
        News::Held { .. } | News::Tripped | News::Released { .. } => true,
        News::Ended { .. }
        | News::Matched { .. }
        | News::WatchDisabled
        | News::Working { .. }
        | News::Asked
        | News::Unknown => false,
    }
}

/// What happened, to what, and where; what happened is never cut for the rest.
fn line(toast: &Toast, current: &SessionId, width: usize) -> String {
    let here = toast.session == *current;
    let what = format!(" ⚑ {}", what(&toast.news, here));
    let place = if here {
        String::new()
    } else {
        let name = one_line(&toast.name);
        let name = if name.is_empty() { one_line(&toast.session.0) } else { name };
        format!(" · in {}", fit(&name, width / 3))
    };
    // Why they are held stands in the status line of their session.
    let text = match &toast.news {
        News::Held { .. } if here => String::new(),
        _ => one_line(&toast.text),
    };
    let room = width.saturating_sub(columns(&what) + columns(&place) + 4);
    let text = if text.is_empty() || room < 6 {
        String::new()
    } else {
        format!(" · {}", fit(&text, room))
    };
    let line = format!("{what}{text}{place}");
    format!("{} ", fit(&line, width.saturating_sub(1)))
}

fn what(news: &News, here: bool) -> String {
    match news {
        News::Ended { exit, delivery: Delivery::Held(_) } => format!("{}, held", ending(exit)),
        News::Ended { exit, .. } => ending(exit),
        News::Matched { pattern } => format!("matched \"{}\"", fit(&one_line(pattern), 24)),
        News::WatchDisabled => "watch switched off".to_owned(),
        News::Tripped => "too many matches, dropped for a while".to_owned(),
        News::Released { dropped: 0 } => "matches are told again, none was dropped".to_owned(),
        News::Released { dropped } => {
            format!("matches are told again, {dropped} dropped")
        }
        News::Held { waiting } if here => {
            format!("{} held · /wake goes on", count(*waiting, "wakeup"))
        }
        News::Asked => "asks you".to_owned(),
        News::Held { waiting } => format!("{} held", count(*waiting, "wakeup")),
        News::Working { elapsed } => {
            format!("still working after {}", span(u64::try_from(*elapsed).unwrap_or(0) / 1_000))
        }
        News::Unknown => "news".to_owned(),
    }
}
