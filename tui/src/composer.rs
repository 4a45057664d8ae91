//! The input: a text of several lines with a caret, a history and folded pastes.
//!
//! It does not know what its text means; see `slash` for commands.

mod layout;

use unicode_segmentation::UnicodeSegmentation;

pub(crate) use layout::Layout;

use crate::keymap::Action;
use crate::numbers::count;

/// Pastes of this many characters are folded into a placeholder.
const FOLD: usize = 2_000;

/// Prompts kept for the arrow keys.
const HISTORY: usize = 500;

/// The input.
#[derive(Debug, Default)]
pub(crate) struct Composer {
    text: String,
    caret: usize,
    pastes: Vec<Paste>,
    pasted: usize,
    history: Vec<String>,
    at: Option<usize>,
    draft: String,
    killed: String,
    width: usize,
}

#[derive(Debug)]
struct Paste {
    placeholder: String,
    text: String,
}

impl Composer {
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The text as it is shown.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text as it is sent: pastes unfolded.
    pub(crate) fn expanded(&self) -> String {
        let mut out = String::new();
        let mut rest = self.text.as_str();
        let next = |rest: &str| {
            let found = self.pastes.iter().filter_map(|p| Some((rest.find(&p.placeholder)?, p)));
            found.min_by_key(|(at, _)| *at)
        };
        while let Some((at, paste)) = next(rest) {
            out += rest.get(..at).unwrap_or_default();
            out += &paste.text;
            rest = rest.get(at + paste.placeholder.len()..).unwrap_or_default();
        }
        out + rest
    }

    /// Takes the text out and remembers it.
    pub(crate) fn take(&mut self) -> String {
        let text = self.expanded();
        self.remember(&text);
        self.clear();
        text
    }

    /// The text before the caret and behind it.
    pub(crate) fn around_caret(&self) -> (&str, &str) {
        (self.head(), self.tail())
    }

    /// Empties the input without remembering.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.caret = 0;
        self.pastes.clear();
        self.pasted = 0;
        self.at = None;
    }

    /// Replaces the text; the caret goes to its end.
    pub(crate) fn set(&mut self, text: &str) {
        self.clear();
        self.insert_long(text);
    }

    /// Adds a prompt to the history.
    pub(crate) fn remember(&mut self, text: &str) {
        if text.trim().is_empty() || self.history.last().is_some_and(|last| last == text) {
            return;
        }
        self.history.push(text.to_owned());
        if self.history.len() > HISTORY {
            self.history.remove(0);
        }
    }

    /// A bracketed paste: kept as it is, but for the line ends.
    pub(crate) fn paste(&mut self, text: &str) {
        self.at = None;
        self.insert_long(&text.replace("\r\n", "\n").replace('\r', "\n"));
    }

    fn insert_long(&mut self, text: &str) {
        if text.chars().count() < FOLD {
            self.insert(text);
            return;
        }
        self.pasted += 1;
        let number = self.pasted;
        let lines = count(text.lines().count(), "line");
        let placeholder = format!("[Pasted text #{number}: {lines}]");
        self.insert(&placeholder);
        self.pastes.push(Paste { placeholder, text: text.to_owned() });
    }

    fn insert(&mut self, text: &str) {
        self.text.insert_str(self.caret, text);
        self.caret += text.len();
    }

    /// The lines at a width.
    pub(crate) fn layout(&self, width: usize) -> Layout {
        Layout::new(&self.text, self.caret, width)
    }

    /// The width the caret moves by when it goes up and down.
    pub(crate) fn set_width(&mut self, width: usize) {
        self.width = width;
    }

    pub(crate) fn on_action(&mut self, action: Action) {
        match action {
            Action::Text(c) => {
                self.at = None;
                self.insert(c.encode_utf8(&mut [0; 4]));
            }
            Action::Newline => self.insert("\n"),
            Action::Left => self.caret = self.before(),
            Action::Right => self.caret = self.after(),
            Action::WordLeft => self.caret = self.word_before(),
            Action::WordRight => self.caret = self.word_after(),
            Action::LineStart | Action::Home => self.caret = self.line_start(),
            Action::LineEnd | Action::End => self.caret = self.line_end(),
            Action::Up => self.up(),
            Action::Down => self.down(),
            Action::Backspace => {
                let folded = self.pastes.iter().position(|paste| {
                    self.text.get(..self.caret).is_some_and(|t| t.ends_with(&paste.placeholder))
                });
                match folded {
                    Some(i) => {
                        let paste = self.pastes.remove(i);
                        self.cut(self.caret - paste.placeholder.len(), self.caret);
                    }
                    None => {
                        self.cut(self.before(), self.caret);
                    }
                }
            }
            Action::Delete | Action::EndOfInput => self.cut(self.caret, self.after()),
            Action::DeleteWord => self.kill(self.word_before(), self.caret),
            Action::DeleteToStart => self.kill(self.line_start(), self.caret),
            Action::DeleteToEnd => {
                let end = self.line_end();
                let end = if end == self.caret { self.after() } else { end };
                self.kill(self.caret, end);
            }
            Action::Yank => {
                let killed = self.killed.clone();
                self.insert(&killed);
            }
            Action::Enter
            | Action::Tab
            | Action::First
            | Action::Last
            | Action::PageUp
            | Action::PageDown
            | Action::Escape
            | Action::Interrupt
            | Action::Processes
            | Action::Reasoning
            | Action::News
            | Action::Pin
            | Action::Archive
            | Action::Rename
            | Action::Repaint
            | Action::Suspend => {}
        }
    }

    /// Turns a backslash before the caret into a new line; true if there was one.
    pub(crate) fn continue_line(&mut self) -> bool {
        let continues = self.text.get(..self.caret).is_some_and(|text| text.ends_with('\\'));
        if continues {
            self.cut(self.caret - 1, self.caret);
            self.insert("\n");
        }
        continues
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.at = None;
        self.caret = from;
        self.text.drain(from..to);
    }

    fn kill(&mut self, from: usize, to: usize) {
        if from < to {
            self.killed = self.text.get(from..to).unwrap_or_default().to_owned();
            self.cut(from, to);
        }
    }

    fn head(&self) -> &str {
        self.text.get(..self.caret).unwrap_or_default()
    }

    fn tail(&self) -> &str {
        self.text.get(self.caret..).unwrap_or_default()
    }

    fn before(&self) -> usize {
        self.head().grapheme_indices(true).next_back().map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        self.caret + self.tail().graphemes(true).next().map_or(0, str::len)
    }

    fn word_before(&self) -> usize {
        let mut words = self.head().split_word_bound_indices().rev();
        words.find(|(_, word)| !word.trim().is_empty()).map_or(0, |(at, _)| at)
    }

    fn word_after(&self) -> usize {
        let mut words = self.tail().split_word_bound_indices();
        let word = words.find(|(_, word)| !word.trim().is_empty());
        word.map_or(self.text.len(), |(at, word)| self.caret + at + word.len())
    }

    fn line_start(&self) -> usize {
        self.head().rfind('\n').map_or(0, |at| at + 1)
    }

    fn line_end(&self) -> usize {
        self.tail().find('\n').map_or(self.text.len(), |at| self.caret + at)
    }

    fn up(&mut self) {
        let layout = self.layout(self.width);
        match layout.above() {
            Some(caret) => self.caret = caret,
            None => self.recall(-1),
        }
    }

    fn down(&mut self) {
        let layout = self.layout(self.width);
        match layout.below() {
            Some(caret) => self.caret = caret,
            None => self.recall(1),
        }
    }

    /// Walks through the history; what was being typed is its newest entry.
    fn recall(&mut self, step: isize) {
        let len = self.history.len();
        let now = self.at.unwrap_or(len);
        let Some(next) = now.checked_add_signed(step).filter(|next| *next <= len) else { return };
        if next == now {
            return;
        }
        if self.at.is_none() {
            self.draft = self.expanded();
        }
        let text = self.history.get(next).unwrap_or(&self.draft).clone();
        self.set(&text);
        self.at = (next < len).then_some(next);
    }
}

#[cfg(test)]
mod tests;
