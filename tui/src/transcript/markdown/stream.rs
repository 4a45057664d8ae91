//! A markdown text that grows, as lines: finished blocks are rendered once and kept, only the last
//! block is rendered again.

use ratatui::text::{Line, Span};

use super::code::{code_line, opening};
use super::render;
use crate::theme::Theme;

/// Text longer than this is not laid out as a whole,
const LONG: usize = 1024 * 1024;
/// only this much of its end is.
const TAIL: usize = 256 * 1024;

/// A text that grows, rendered.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    width: usize,
    seen: usize,
    base: usize,
    settled_bytes: usize,
    settled_lines: usize,
    fence: Option<String>,
    /// What comes next continues a list: no blank line before it.
    joins: bool,
    lines: Vec<Line<'static>>,
}

impl Stream {
    /// Brings the lines up to date. `cut` counts bytes that lie before the text.
    pub(crate) fn update(&mut self, text: &str, cut: u64, width: usize, theme: &Theme) {
        if width == self.width && text.len() == self.seen {
            return;
        }
        if width != self.width || text.len() < self.seen || text.len() - self.base > LONG {
            self.restart(text, cut, width, theme);
        }
        self.seen = text.len();
        self.lines.truncate(self.settled_lines);
        loop {
            let rest = text.get(self.settled_bytes..).unwrap_or_default();
            let continues = match self.fence {
                Some(_) => self.add_code(rest, theme),
                None => self.add_blocks(rest, theme),
            };
            if !continues {
                return;
            }
        }
    }

    /// Forgets all lines. Of a text that is too long only the end is laid out.
    fn restart(&mut self, text: &str, cut: u64, width: usize, theme: &Theme) {
        *self = Self { width, ..Self::default() };
        if text.len() > LONG {
            self.base = line_start(text, text.len() - TAIL);
        }
        let above = cut + self.base as u64;
        if above > 0 {
            let note = format!("… {} kB above are not shown", above.div_ceil(1024));
            self.lines.push(Line::styled(note, theme.dim));
        }
        self.settled_bytes = self.base;
        self.settled_lines = self.lines.len();
    }

    /// Adds blocks up to an open code block; true if there is one.
    fn add_blocks(&mut self, rest: &str, theme: &Theme) -> bool {
        let rendered = render(rest, self.width, theme);
        let (mut lines, tail) = (rendered.lines, rendered.tail);
        let last_lines = lines.split_off(tail.line.min(lines.len()));
        if !lines.is_empty() && !self.joins {
            self.gap();
        }
        if tail.byte > 0 {
            self.joins = tail.joins;
        }
        self.lines.append(&mut lines);
        self.settled_lines = self.lines.len();
        self.settled_bytes += tail.byte;
        let last = rest.get(tail.byte..).unwrap_or_default();
        if let Some((fence, label, length)) = opening(last) {
            self.gap();
            if !label.is_empty() {
                self.lines.push(Line::from(Span::styled(format!("  {label}"), theme.dim)));
            }
            self.fence = Some(fence);
            self.joins = false;
            self.settled_bytes += length;
            self.settled_lines = self.lines.len();
            return true;
        }
        if !self.joins && last_lines.first().is_some_and(|line| !line.spans.is_empty()) {
            self.gap();
        }
        self.lines.extend(last_lines);
        false
    }

    pub(crate) fn lines(&self) -> &[Line<'static>] {
        &self.lines
    }

    pub(crate) fn into_lines(self) -> Vec<Line<'static>> {
        self.lines
    }

    /// A blank line between blocks.
    fn gap(&mut self) {
        if self.lines.last().is_some_and(|line| !line.spans.is_empty()) {
            self.lines.push(Line::default());
        }
    }

    /// Adds lines of an open code block; true if the block is closed.
    fn add_code(&mut self, rest: &str, theme: &Theme) -> bool {
        let fence = self.fence.clone().unwrap_or_default();
        let mut taken = 0;
        for line in rest.split_inclusive('\n') {
            let whole = line.ends_with('\n');
            let mark = line.trim();
            let closes = mark.len() >= fence.len()
                && mark.chars().all(|c| fence.starts_with(c))
                && line.len() - line.trim_start().len() < 4;
            if closes && whole {
                self.fence = None;
                self.settled_bytes += taken + line.len();
                self.settled_lines = self.lines.len();
                return true;
            }
            let may_close = !mark.is_empty() && fence.starts_with(mark) && !whole;
            if !closes && !may_close {
                self.lines.extend(code_line(
                    line.trim_end_matches(['\n', '\r']),
                    self.width,
                    theme,
                ));
            }
            if whole {
                taken += line.len();
                self.settled_lines = self.lines.len();
            }
        }
        self.settled_bytes += taken;
        false
    }
}

/// The start of the first line at or after `at`, or failing that the next character.
fn line_start(text: &str, at: usize) -> usize {
    let mut start = at;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let rest = text.get(start..).unwrap_or_default();
    rest.find('\n').filter(|i| i + 1 < rest.len()).map_or(start, |i| start + i + 1)
}
