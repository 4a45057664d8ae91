//! Other sessions that wait for the user: marked as long as they do, not only while a toast shows.

use std::collections::BTreeSet;

use host::protocol::{Command, News, SessionId, SessionRow, Toast};

use super::App;
use crate::refresh::Refresh;

/// The sessions with open questions, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    asking: BTreeSet<SessionId>,
    refresh: Refresh,
}

impl Elsewhere {
    pub(super) fn on_toast(&mut self, toast: &Toast) {
        if toast.news == News::Asked {
            self.asking.insert(toast.session.clone());
        }
    }

    /// Lists have changed: whoever is marked may have been answered.
    pub(super) fn on_change(&mut self) -> Option<Command> {
        (!self.asking.is_empty() && self.refresh.on_change()).then_some(Command::ListSessions)
    }

    /// A list is the whole truth, whoever asked for it.
    pub(super) fn on_listed(&mut self, rows: &[SessionRow]) -> Option<Command> {
        let asks = rows.iter().filter(|row| row.attention.is_some());
        self.asking = asks.map(|row| row.id.clone()).collect();
        self.refresh.on_answer().then_some(Command::ListSessions)
    }

    pub(super) fn on_failed(&mut self) {
        self.refresh.on_refusal();
    }
}

impl App {
    /// How many other sessions wait for the user.
    pub(crate) fn asking_elsewhere(&self) -> usize {
        self.asking().count()
    }

    /// Where the news leads: what waits for the user comes before what merely happened.
    pub(super) fn news_session(&self) -> Option<&SessionId> {
        let newest = self.toasts.elsewhere();
        let asking = self.asking().find(|session| Some(*session) == newest);
        asking.or_else(|| self.asking().next()).or(newest)
    }

    fn asking(&self) -> impl Iterator<Item = &SessionId> {
        let here = &self.transcript.session;
        self.elsewhere.asking.iter().filter(move |session| *session != here)
    }
}
