//! The list of sessions, and finding one by what the user calls it.

use host::protocol::{Millis, SessionId, SessionRow};
use ratatui::text::Line;

use crate::clean::one_line;
use crate::keymap::Action;
use crate::numbers::count;
use crate::select::{self, Entry, Select};
use crate::theme::Theme;
use crate::time::{ago, between};
use crate::transcript::wrap::fit;

/// The panel.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    pub(crate) select: Select,
    rows: Vec<SessionRow>,
    /// The sessions behind the entries.
    ids: Vec<SessionId>,
    current: SessionId,
    now: Millis,
    archived: Archived,
}

/// Whether archived sessions are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Archived {
    #[default]
    Hidden,
    Listed,
}

/// What a key did.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The list stays.
    Open,
    /// It is to be closed.
    Closed,
    /// This session is to be opened.
    Picked(SessionId),
    /// This session is to be deleted, if that is confirmed.
    Delete(SessionRow),
}

impl Sessions {
    pub(crate) fn new(rows: &[SessionRow], current: &SessionId, filter: &str, now: Millis) -> Self {
        let mut sessions =
            Self { rows: rows.to_vec(), current: current.clone(), now, ..Self::default() };
        sessions.select = Select::new(Vec::new(), filter);
        sessions.refill();
        sessions
    }

    /// Makes the entries anew.
    fn refill(&mut self) {
        let listed = |row: &&SessionRow| !row.archived || self.archived == Archived::Listed;
        let shown: Vec<&SessionRow> = self.rows.iter().filter(listed).collect();
        let entries = shown.iter().map(|row| self.entry(row)).collect();
        self.ids = shown.iter().map(|row| row.id.clone()).collect();
        self.select.refill(entries);
    }

    /// A session in a line: branches and delegated children name where they come from.
    fn entry(&self, row: &SessionRow) -> Entry {
        let mut label = String::new();
        if row.id == self.current {
            label.push_str("• ");
        }
        if row.parent.is_some() {
            label.push_str("↳ ");
        }
        label.push_str(&name(row));
        if let Some(parent) = &row.parent {
            let of = self.rows.iter().find(|row| row.id == *parent);
            label.push_str(" · from ");
            label.push_str(&of.map_or_else(|| "a session that is gone".to_owned(), name));
        }
        let mut facts = vec![ago(between(self.now, row.active_at)), count(row.rows, "row")];
        if row.compressions > 0 {
            facts.push(format!("compressed {}×", row.compressions));
        }
        if row.archived {
            facts.push("archived".to_owned());
        }
        facts.push(one_line(&row.model));
        Entry { label, detail: facts.join(" · ") }
    }

    pub(crate) fn on_action(&mut self, action: Action) -> Outcome {
        match action {
            Action::Tab => {
                self.archived = match self.archived {
                    Archived::Hidden => Archived::Listed,
                    Archived::Listed => Archived::Hidden,
                };
                self.refill();
                return Outcome::Open;
            }
            Action::Delete | Action::EndOfInput => {
                let id = self.select.chosen().and_then(|index| self.ids.get(index));
                let row = self.rows.iter().find(|row| Some(&row.id) == id);
                return row.map_or(Outcome::Open, |row| Outcome::Delete(row.clone()));
            }
            _ => {}
        }
        match self.select.on_action(action) {
            select::Outcome::Open => Outcome::Open,
            select::Outcome::Closed => Outcome::Closed,
            select::Outcome::Picked(index) => {
                self.ids.get(index).cloned().map_or(Outcome::Open, Outcome::Picked)
            }
        }
    }

    /// A session is being deleted.
    pub(crate) fn remove(&mut self, id: &SessionId) {
        self.rows.retain(|row| row.id != *id);
        self.refill();
    }

    pub(crate) fn lines(&self, width: usize, height: usize, theme: &Theme) -> Vec<Line<'static>> {
        let mut lines = self.select.lines(width, height.saturating_sub(1), theme);
        lines.resize(height.saturating_sub(1), Line::default());
        let archived = self.rows.iter().filter(|row| row.archived).count();
        let tab = match (self.archived, archived) {
            (_, 0) => String::new(),
            (Archived::Hidden, n) => format!(" · Tab {n} archived"),
            (Archived::Listed, _) => " · Tab hides archived".to_owned(),
        };
        let keys = format!("Enter opens{tab} · Del deletes · Esc");
        lines.push(Line::styled(fit(&keys, width), theme.dim));
        lines
    }
}

fn name(row: &SessionRow) -> String {
    let title = one_line(&row.title);
    if title.is_empty() { one_line(&row.id.0) } else { title }
}

/// The one session that is meant by an id, the beginning of one, or a title.
pub(crate) fn find<'a>(rows: &'a [SessionRow], name: &str) -> Option<&'a SessionId> {
    let lower = name.trim().to_lowercase();
    let only = |fits: &dyn Fn(&SessionRow) -> bool| {
        let mut found = rows.iter().filter(|row| fits(row));
        let first = found.next()?;
        found.next().is_none().then_some(&first.id)
    };
    only(&|row| row.id.0 == name.trim())
        .or_else(|| only(&|row| row.title.to_lowercase() == lower))
        .or_else(|| only(&|row| row.id.0.starts_with(name.trim())))
        .or_else(|| only(&|row| row.title.to_lowercase().contains(&lower)))
}
