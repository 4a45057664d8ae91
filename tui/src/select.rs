//! A list to pick from, narrowed by typing.

use ratatui::text::{Line, Span};

use crate::keymap::Action;
use crate::theme::Theme;
use crate::transcript::wrap::{columns, fit};

/// An entry: what is picked by, and what stands beside it. Both are clean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) label: String,
    pub(crate) detail: String,
}

/// The list.
#[derive(Debug, Default)]
pub(crate) struct Select {
    entries: Vec<Entry>,
    filter: String,
    selected: usize,
}

/// What a key did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The list stays.
    Open,
    /// It is to be closed.
    Closed,
    /// The entry with this index was picked.
    Picked(usize),
}

impl Select {
    pub(crate) fn new(entries: Vec<Entry>, filter: &str) -> Self {
        Self { entries, filter: filter.to_owned(), selected: 0 }
    }

    /// Other entries, under the same filter.
    pub(crate) fn refill(&mut self, entries: Vec<Entry>) {
        self.entries = entries;
        self.selected = self.selected.min(self.matching().len().saturating_sub(1));
    }

    /// The index of the selected entry.
    pub(crate) fn chosen(&self) -> Option<usize> {
        self.matching().get(self.selected).copied()
    }

    fn matching(&self) -> Vec<usize> {
        let filter = self.filter.to_lowercase();
        let fits = |entry: &Entry| {
            let text = format!("{} {}", entry.label, entry.detail).to_lowercase();
            filter.split_whitespace().all(|word| text.contains(word))
        };
        self.entries.iter().enumerate().filter(|(_, e)| fits(e)).map(|(i, _)| i).collect()
    }

    pub(crate) fn on_action(&mut self, action: Action) -> Outcome {
        let matching = self.matching();
        let last = matching.len().saturating_sub(1);
        match action {
            Action::Up => self.selected = self.selected.saturating_sub(1),
            Action::Down | Action::Tab => self.selected = (self.selected + 1).min(last),
            Action::PageUp => self.selected = self.selected.saturating_sub(10),
            Action::PageDown => self.selected = (self.selected + 10).min(last),
            Action::Home | Action::First => self.selected = 0,
            Action::End | Action::Last => self.selected = last,
            Action::Text(c) => {
                self.filter.push(c);
                self.selected = 0;
            }
            Action::Backspace => {
                self.filter.pop();
                self.selected = 0;
            }
            Action::DeleteWord | Action::DeleteToStart => {
                self.filter.clear();
                self.selected = 0;
            }
            Action::Enter => {
                if let Some(index) = matching.get(self.selected) {
                    return Outcome::Picked(*index);
                }
            }
            Action::Escape | Action::Interrupt => return Outcome::Closed,
            _ => {}
        }
        Outcome::Open
    }

    pub(crate) fn lines(&self, width: usize, height: usize, theme: &Theme) -> Vec<Line<'static>> {
        let matching = self.matching();
        let filter = fit(&crate::clean::one_line(&self.filter), width.saturating_sub(3));
        let mut lines = vec![if filter.is_empty() {
            Line::styled("❯ type to filter", theme.dim)
        } else {
            Line::styled(format!("❯ {filter}"), theme.bold)
        }];
        if matching.is_empty() {
            lines.push(Line::styled("  nothing matches", theme.dim));
        }
        let room = height.saturating_sub(1).max(1);
        let start = (self.selected + 1).saturating_sub(room);
        for (at, index) in matching.iter().enumerate().skip(start).take(room) {
            let Some(entry) = self.entries.get(*index) else { continue };
            let detail = fit(&entry.detail, width / 2);
            let room = width.saturating_sub(columns(&detail) + 3);
            let label = fit(&entry.label, room);
            let space = " ".repeat(room.saturating_sub(columns(&label)) + 1);
            let style = if at == self.selected { theme.selected } else { theme.text };
            lines.push(Line::from(vec![
                Span::styled(format!(" {label}{space}"), style),
                Span::styled(format!("{detail} "), style.patch(theme.dim)),
            ]));
        }
        lines
    }
}
