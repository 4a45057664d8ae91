//! Fenced code: the line that opens a block, and the lines in it.

use ratatui::text::{Line, Span};

use crate::clean::{clean, one_line};
use crate::theme::Theme;
use crate::wrap::{Break, wrap};

/// The fence, the label and the length of the line that opens a code block.
pub(super) fn opening(block: &str) -> Option<(String, String, usize)> {
    let end = block.find('\n')?;
    let line = block.get(..end)?;
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let info = line.trim_start_matches(mark);
    let fence = line.get(..line.len() - info.len())?;
    if fence.len() < 3 || (mark == '`' && info.contains('`')) {
        return None;
    }
    Some((fence.to_owned(), label(info), end + 1))
}

/// The language of a code block, from the text behind its fence.
pub(super) fn label(info: &str) -> String {
    one_line(info.trim().split([' ', ',', '{']).next().unwrap_or_default())
}

/// A line of code, indented.
pub(super) fn code_line(line: &str, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let line = clean(line);
    wrap(&[Span::styled(line, theme.code)], width.saturating_sub(2), Break::Glyph)
        .into_iter()
        .map(|mut spans| {
            spans.insert(0, Span::raw("  "));
            Line::from(spans)
        })
        .collect()
}
