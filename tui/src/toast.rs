//! News from the background: a few lines for a few seconds (P11), each shown once however often it
//! comes (E11).

use std::collections::VecDeque;

use protocol::{Delivery, Millis, News, SessionId, Toast};
use ratatui::text::Line;

use crate::clean::one_line;
use crate::numbers::count;
use crate::process_exit::describe;
use crate::theme::Theme;
use crate::time::{between, span};
use crate::wrap::{columns, fit};

/// Toasts drawn at once; one more line counts the others (E12).
const SHOWN: usize = 3;

/// How long one is shown.
const MILLIS: Millis = 6_000;

/// Columns of a toast at most.
const WIDTH: usize = 64;

/// Columns of a terminal that has room for more than the name of a key.
const ROOMY: usize = 80;

/// Within this time the same news of the same process is a duplicate. The same match twice is not:
/// a process reports its matches at least that far apart (P03).
const AGAIN: u64 = 15_000;

/// Toasts that are remembered to know duplicates.
const REMEMBERED: usize = 1_000;

/// The latest news, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Toasts {
    visible: Vec<(Millis, Toast)>,
    /// Everything that came, drawn or not, oldest first.
    recent: VecDeque<(Millis, Toast)>,
    /// The other session that the latest news is about.
    latest_other: Option<SessionId>,
}

impl Toasts {
    /// Adds a toast, unless it is of the session `current`, which shows it by other means.
    pub(crate) fn push(&mut self, toast: &Toast, current: &SessionId, now: Millis) {
        if self.recent.iter().any(|(at, old)| is_repeat(old, toast, between(now, *at))) {
            return;
        }
        self.recent.push_back((now, toast.clone()));
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
        if toast.session != *current {
            self.latest_other = Some(toast.session.clone());
        }
        if toast.session != *current || needs_toast(&toast.news) {
            self.visible.push((now + MILLIS, toast.clone()));
        }
    }

    /// Drops those whose time is up.
    pub(crate) fn on_tick(&mut self, now: Millis) {
        self.visible.retain(|(until, _)| now < *until && *until - now <= MILLIS);
    }

    /// The other session that the latest news is about.
    pub(crate) fn latest_other(&self) -> Option<&SessionId> {
        self.latest_other.as_ref()
    }

    /// Drops those that the session on the screen shows itself.
    pub(crate) fn on_session(&mut self, session: &SessionId) {
        self.latest_other.take_if(|latest_other| latest_other == session);
        self.visible.retain(|(_, toast)| toast.session != *session || needs_toast(&toast.news));
    }

    /// When the next one goes.
    pub(crate) fn next_tick(&self) -> Option<Millis> {
        self.visible.iter().map(|(until, _)| *until).min()
    }

    /// The toasts as lines. `questions_waiting`: another session asks, and the key leads there first.
    pub(crate) fn lines(
        &self,
        current: &SessionId,
        questions_waiting: bool,
        width: usize,
        theme: &Theme,
    ) -> Vec<Line<'static>> {
        let hidden = self.visible.len().saturating_sub(SHOWN);
        let more = (hidden > 0)
            .then(|| fit(&format!(" +{hidden} more · Ctrl+B a lists all "), width.min(WIDTH)));
        let shown = self.visible.iter().enumerate().skip(hidden).map(|(at, (_, toast))| {
            // The key leads to a question, else to the newest.
            let opens = if questions_waiting {
                toast.news == News::Asked
            } else {
                at + 1 == self.visible.len() && self.latest_other.as_ref() == Some(&toast.session)
            };
            let opens = match (opens, width >= ROOMY) {
                (false, _) => "",
                (true, false) => " · Ctrl+O",
                (true, true) if questions_waiting => " · Ctrl+O shows",
                (true, true) => " · Ctrl+O opens",
            };
            line(toast, current, opens, width)
        });
        more.into_iter().chain(shown).map(|text| Line::styled(text, theme.toast)).collect()
    }
}

/// Whether a toast repeats one that came that many milliseconds before. A process ends once.
fn is_repeat(old: &Toast, new: &Toast, apart: u64) -> bool {
    if (&old.session, &old.process) != (&new.session, &new.process) {
        return false;
    }
    let once = old.process.is_some()
        && match &old.news {
            News::Ended { .. } => matches!(new.news, News::Ended { .. }),
            News::WatchDisabled => new.news == News::WatchDisabled,
            News::Matched { .. }
            | News::Tripped
            | News::Released { .. }
            | News::Asked
            | News::Held { .. }
            | News::Working { .. }
            | News::Late
            | News::Unknown => false,
        };
    once || apart < AGAIN && old.news == new.news && old.text == new.text
}

/// Whether nothing else in its session shows the news: no card, no clock.
fn needs_toast(news: &News) -> bool {
    match news {
        News::Held { .. } | News::Tripped | News::Released { .. } | News::Late => true,
        News::Ended { .. }
        | News::Matched { .. }
        | News::WatchDisabled
        | News::Working { .. }
        | News::Asked
        | News::Unknown => false,
    }
}

/// The news, its subject and its session; the news is never cut.
fn line(toast: &Toast, current: &SessionId, opens: &str, width: usize) -> String {
    let width = width.min(WIDTH + columns(opens));
    let here = toast.session == *current;
    let news_text = format!(" ⚑ {}", news_text(&toast.news, here));
    let place = if here {
        String::new()
    } else {
        let name = one_line(&toast.name);
        let name = if name.is_empty() { one_line(&toast.session.0) } else { name };
        format!(" · in {}", fit(&name, width / 3))
    };
    // The key goes before anything of what happened does.
    let fits = columns(&news_text) + columns(&place) + columns(opens) < width;
    let place = if fits { format!("{place}{opens}") } else { place };
    // Why they are held stands in the status line of their session.
    let text = match &toast.news {
        News::Held { .. } if here => String::new(),
        _ => one_line(&toast.text),
    };
    let room = width.saturating_sub(columns(&news_text) + columns(&place) + 4);
    let text = if text.is_empty() || room < 6 {
        String::new()
    } else {
        format!(" · {}", fit(&text, room))
    };
    let line = format!("{news_text}{text}{place}");
    format!("{} ", fit(&line, width.saturating_sub(1)))
}

fn news_text(news: &News, here: bool) -> String {
    match news {
        News::Ended { exit, delivery: Delivery::Held(_) } => format!("{}, held", describe(exit)),
        News::Ended { exit, .. } => describe(exit),
        News::Matched { pattern } => format!("matched \"{}\"", fit(&one_line(pattern), 24)),
        News::WatchDisabled => "watch turned off".to_owned(),
        News::Tripped => "too many matches, muted for a while".to_owned(),
        News::Released { dropped: 0 } => {
            "matches are delivered again, none were dropped".to_owned()
        }
        News::Released { dropped } => {
            format!("matches are delivered again, {dropped} dropped")
        }
        News::Held { waiting } if here => {
            format!("{} held · /wake runs them", count(*waiting, "wakeup"))
        }
        News::Asked => "asks you".to_owned(),
        News::Held { waiting } => format!("{} held", count(*waiting, "wakeup")),
        News::Working { elapsed } => {
            format!("still working after {}", span(u64::try_from(*elapsed).unwrap_or(0) / 1_000))
        }
        News::Late => "your answer came too late".to_owned(),
        News::Unknown => "new activity".to_owned(),
    }
}
