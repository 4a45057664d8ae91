//! Breaking styled text into lines of a width, by grapheme and display width.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Where a line may break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// Between words; the space at the break is dropped.
    Word,
    /// Anywhere; nothing is dropped (code, output).
    Glyph,
}

/// One grapheme of a span.
#[derive(Clone, Copy)]
struct Glyph<'a> {
    text: &'a str,
    width: usize,
    style: Style,
}

/// The lines of `spans` at `width`, at least one. Newlines are the caller's business.
pub(crate) fn wrap(spans: &[Span<'_>], width: usize, at: Break) -> Vec<Vec<Span<'static>>> {
    let width = width.max(1);
    let glyphs = glyphs(spans);
    let mut lines = Vec::new();
    let (mut start, mut x, mut i) = (0, 0, 0);
    let mut chance = None;
    while let Some(glyph) = glyphs.get(i) {
        if x + glyph.width > width && i > start {
            let is_space = glyph.text == " " && at == Break::Word;
            let end = if is_space { i } else { chance.unwrap_or(i) };
            lines.push(join(&glyphs, start, end, at));
            start = if is_space { i + 1 } else { end };
            i = i.max(start);
            x = glyphs.get(start..i).unwrap_or_default().iter().map(|g| g.width).sum();
            chance = None;
            continue;
        }
        x += glyph.width;
        i += 1;
        if at == Break::Word && (glyph.text == " " || glyph.width == 2) {
            chance = Some(i);
        }
    }
    if start < glyphs.len() || lines.is_empty() {
        lines.push(join(&glyphs, start, glyphs.len(), at));
    }
    lines
}

/// Lines of plain text in one style; newlines end lines.
pub(crate) fn text(text: &str, style: Style, width: usize, at: Break) -> Vec<Line<'static>> {
    text.lines()
        .flat_map(|line| wrap(&[Span::styled(line, style)], width, at))
        .map(Line::from)
        .collect()
}

/// How many columns a text takes.
pub(crate) fn columns(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.graphemes(true).map(UnicodeWidthStr::width).sum()
    }
}

/// How many columns a line takes.
pub(crate) fn line_width(line: &Line<'_>) -> usize {
    line.spans.iter().map(|span| columns(&span.content)).sum()
}

/// As much of a text as fits, with an ellipsis where it was cut.
pub(crate) fn fit(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut x = 0;
    for grapheme in text.graphemes(true) {
        x += grapheme.width();
        if x + 1 > width {
            break;
        }
        out.push_str(grapheme);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

fn glyphs<'a>(spans: &'a [Span<'_>]) -> Vec<Glyph<'a>> {
    let mut glyphs = Vec::new();
    for span in spans {
        let text: &str = &span.content;
        let style = span.style;
        if text.is_ascii() {
            glyphs.reserve(text.len());
            for i in 0..text.len() {
                let Some(text) = text.get(i..=i) else { continue };
                glyphs.push(Glyph { text, width: 1, style });
            }
        } else {
            glyphs.extend(text.graphemes(true).map(|text| {
                let width = text.width();
                Glyph { text, width, style }
            }));
        }
    }
    glyphs
}

fn join(glyphs: &[Glyph<'_>], start: usize, end: usize, at: Break) -> Vec<Span<'static>> {
    let mut part = glyphs.get(start..end).unwrap_or_default();
    while at == Break::Word
        && let [rest @ .., last] = part
        && last.text == " "
    {
        part = rest;
    }
    let mut spans: Vec<Span<'static>> = Vec::new();
    let mut run = String::new();
    let mut style = Style::new();
    for glyph in part {
        if glyph.style != style && !run.is_empty() {
            spans.push(Span::styled(std::mem::take(&mut run), style));
        }
        style = glyph.style;
        run.push_str(glyph.text);
    }
    if !run.is_empty() {
        spans.push(Span::styled(run, style));
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(content: &str, width: usize, at: Break) -> Vec<String> {
        text(content, Style::new(), width, at).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn words_break_at_spaces_and_long_words_anywhere() {
        assert_eq!(lines("the quick brown fox", 9, Break::Word), ["the quick", "brown fox"]);
        assert_eq!(lines("abcdefghij kl", 4, Break::Word), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(lines("a  b", 2, Break::Glyph), ["a ", " b"]);
    }

    #[test]
    fn wide_glyphs_and_joined_emoji_are_never_cut() {
        assert_eq!(lines("日本語", 5, Break::Word), ["日本", "語"]);
        assert_eq!(lines("日本語", 1, Break::Word), ["日", "本", "語"]);
        let family = "👩\u{200d}👩\u{200d}👧";
        assert_eq!(
            lines(&format!("a{family}b"), 3, Break::Glyph),
            [format!("a{family}"), "b".into()]
        );
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn an_empty_line_stays_a_line() {
        assert_eq!(lines("a\n\nb", 5, Break::Word), ["a", "", "b"]);
    }
}
