//! A list to pick from, narrowed by typing.

use ratatui::text::{Line, Span};
use unicode_segmentation::UnicodeSegmentation;

use crate::clean::one_line;
use crate::keymap::Action;
use crate::theme::Theme;
use crate::wrap::{columns, fit};

/// An entry of the list. Its texts are clean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SelectItem {
    /// Marks before the label; all entries leave room for the widest.
    pub(crate) marks: String,
    pub(crate) label: String,
    pub(crate) detail: String,
    /// A line below.
    pub(crate) below: Option<String>,
    pub(crate) visibility: Visibility,
    /// A text in place of the label that is being edited: before its caret and behind it.
    pub(crate) editing: Option<(String, String)>,
}

/// Whether the filter applies to an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Visibility {
    /// Listed if label and detail contain the words of the filter.
    #[default]
    Filtered,
    /// Always listed: it matched by other means.
    Always,
}

/// The list.
#[derive(Debug, Default)]
pub(crate) struct Select {
    entries: Vec<SelectItem>,
    filter: String,
    selected: usize,
    loading: Loading,
}

/// Whether the entries have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Loading {
    #[default]
    Yes,
    /// They were requested from the host.
    NotYet,
}

/// The result of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SelectEvent {
    /// The list stays open.
    StayOpen,
    /// Close it.
    Close,
    /// The entry with this index was picked.
    Pick(usize),
}

impl Select {
    pub(crate) fn new(entries: Vec<SelectItem>, filter: &str) -> Self {
        Self { entries, filter: filter.to_owned(), ..Self::default() }
    }

    /// A list that was requested from the host. It can be narrowed, and closed, before it comes.
    pub(crate) fn asking() -> Self {
        Self { loading: Loading::NotYet, ..Self::default() }
    }

    /// Whether its entries are still awaited.
    pub(crate) fn is_asking(&self) -> bool {
        self.loading == Loading::NotYet
    }

    /// The text that narrows it.
    pub(crate) fn filter(&self) -> &str {
        self.filter.trim()
    }

    /// Replaces the entries under the same filter.
    pub(crate) fn refill(&mut self, entries: Vec<SelectItem>) {
        self.entries = entries;
        self.loading = Loading::Yes;
        self.selected = self.selected.min(self.matching().len().saturating_sub(1));
    }

    /// Selects the entry with this index, if it is listed.
    pub(crate) fn choose(&mut self, index: usize) {
        if let Some(at) = self.matching().iter().position(|visibility| *visibility == index) {
            self.selected = at;
        }
    }

    /// The index of the selected entry.
    pub(crate) fn chosen(&self) -> Option<usize> {
        self.matching().get(self.selected).copied()
    }

    /// Whether an entry contains the words of the filter.
    pub(crate) fn matches_filter(&self, entry: &SelectItem) -> bool {
        let text = format!("{} {}", entry.label, entry.detail).to_lowercase();
        self.filter.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }

    fn matching(&self) -> Vec<usize> {
        let fits = |entry: &SelectItem| match entry.visibility {
            Visibility::Always => true,
            Visibility::Filtered => self.matches_filter(entry),
        };
        self.entries.iter().enumerate().filter(|(_, e)| fits(e)).map(|(i, _)| i).collect()
    }

    pub(crate) fn on_action(&mut self, action: Action) -> SelectEvent {
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
                    return SelectEvent::Pick(*index);
                }
            }
            Action::Escape | Action::Interrupt => return SelectEvent::Close,
            _ => {}
        }
        SelectEvent::StayOpen
    }

    /// The filter with a `note` beside it, and the entries that fit.
    pub(crate) fn lines(
        &self,
        note: &str,
        width: usize,
        height: usize,
        theme: &Theme,
    ) -> Vec<Line<'static>> {
        let matching = self.matching();
        let mut lines = vec![self.head(note, width, theme)];
        if matching.is_empty() {
            let why = match (self.is_asking(), self.filter().is_empty()) {
                (true, _) => "  loading …",
                (false, true) => "  nothing to show",
                (false, false) => "  no matches",
            };
            lines.push(Line::styled(why, theme.dim));
        }
        let all: Vec<&SelectItem> =
            matching.iter().filter_map(|at| self.entries.get(*at)).collect();
        let marks = all.iter().map(|entry| columns(&entry.marks)).max().unwrap_or(0);
        let room = height.saturating_sub(1).max(1);
        let mut taken = 0;
        // From the selected one upwards as many as there is room for.
        let above = all.iter().take(self.selected + 1).rev().take_while(|entry| {
            taken += entry.height();
            taken <= room
        });
        let start = (self.selected + 1).saturating_sub(above.count().max(1));
        for (at, entry) in all.iter().enumerate().skip(start) {
            if lines.len() > room {
                break;
            }
            let selected = at == self.selected;
            lines.extend(entry.lines(marks, selected, width, theme));
        }
        lines.truncate(room + 1);
        lines
    }

    fn head(&self, note: &str, width: usize, theme: &Theme) -> Line<'static> {
        let filter = one_line(&self.filter);
        if filter.is_empty() {
            return Line::styled(fit("❯ type to filter", width), theme.dim);
        }
        let note = if note.is_empty() { String::new() } else { format!(" · {note}") };
        let filter = fit(&filter, width.saturating_sub(3 + columns(&note)).max(3));
        let room = width.saturating_sub(2 + columns(&filter));
        Line::from(vec![
            Span::styled(format!("❯ {filter}"), theme.bold),
            Span::styled(fit(&note, room), theme.dim),
        ])
    }
}

/// A text around its caret in exactly that many columns; the text before the caret is cut first.
fn writing(before: &str, after: &str, width: usize, theme: &Theme) -> Vec<Span<'static>> {
    let under = after.graphemes(true).next().unwrap_or(" ");
    let mut rest = before;
    let mut shown = before.to_owned();
    while !rest.is_empty() && columns(&shown) + columns(under) >= width {
        rest = rest.get(rest.graphemes(true).next().map_or(0, str::len)..).unwrap_or_default();
        shown = format!("…{rest}");
    }
    let room = width.saturating_sub(columns(&shown) + columns(under));
    let rest = fit(after.strip_prefix(under).unwrap_or_default(), room);
    let space = " ".repeat(room.saturating_sub(columns(&rest)));
    vec![
        Span::styled(shown, theme.bold),
        Span::styled(under.to_owned(), theme.selected),
        Span::styled(format!("{rest}{space}"), theme.bold),
    ]
}

impl SelectItem {
    fn height(&self) -> usize {
        1 + usize::from(self.below.is_some())
    }

    /// The entry, with room for so many columns of marks.
    pub(crate) fn lines(
        &self,
        marks: usize,
        selected: bool,
        width: usize,
        theme: &Theme,
    ) -> Vec<Line<'static>> {
        let detail = fit(&self.detail, width / 2);
        let gutter = if marks == 0 { 0 } else { marks + 1 };
        let room = width.saturating_sub(columns(&detail) + 3 + gutter);
        let label = fit(&self.label, room);
        let space = " ".repeat(room.saturating_sub(columns(&label)) + 1);
        let signs = " ".repeat(gutter.saturating_sub(columns(&self.marks)));
        let (style, mark) =
            if selected { (theme.selected, theme.selected) } else { (theme.text, theme.warn) };
        let mut spans = vec![Span::styled(format!(" {}{signs}", self.marks), mark)];
        match &self.editing {
            Some((before, after)) => spans.extend(writing(before, after, room + 1, theme)),
            None => spans.push(Span::styled(format!("{label}{space}"), style)),
        }
        spans.push(Span::styled(format!("{detail} "), style.patch(theme.dim)));
        let first = Line::from(spans);
        let below = self.below.as_ref().map(|below| {
            let text = fit(below, width.saturating_sub(gutter + 4));
            Line::styled(format!("{}{text}", " ".repeat(gutter + 3)), theme.dim)
        });
        std::iter::once(first).chain(below).collect()
    }
}
