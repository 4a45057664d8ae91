//! The lines of the input at a width, and where the caret stands in them.

use std::borrow::Cow;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::clean::is_hidden;

/// The input, broken into lines. Every byte but the newlines lies in exactly one of them.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The lines as shown.
    pub(crate) lines: Vec<String>,
    /// Column and line of the caret.
    pub(crate) caret: (usize, usize),
    stops: Vec<Vec<(usize, usize)>>,
}

impl Layout {
    pub(crate) fn new(text: &str, caret: usize, width: usize) -> Self {
        // One column stays free for a caret behind the last character.
        let width = width.saturating_sub(1).max(1);
        let mut layout = Self { lines: Vec::new(), caret: (0, 0), stops: Vec::new() };
        for range in ranges(text, width) {
            let y = layout.lines.len();
            let mut line = String::new();
            let mut stops = Vec::new();
            let mut x = 0;
            for (at, grapheme) in text.get(range.clone()).unwrap_or_default().grapheme_indices(true)
            {
                stops.push((range.start + at, x));
                let shown = shown(grapheme);
                x += shown.width();
                line.push_str(&shown);
            }
            stops.push((range.end, x));
            if caret >= range.start && caret <= range.end {
                let column = stops.iter().rev().find(|(at, _)| *at <= caret).map_or(0, |s| s.1);
                layout.caret = (column, y);
            }
            layout.lines.push(line);
            layout.stops.push(stops);
        }
        layout
    }

    /// The position of the caret one line higher.
    pub(crate) fn above(&self) -> Option<usize> {
        self.stop(self.caret.1.checked_sub(1)?)
    }

    /// The position of the caret one line lower.
    pub(crate) fn below(&self) -> Option<usize> {
        self.stop(self.caret.1 + 1)
    }

    fn stop(&self, y: usize) -> Option<usize> {
        let stops = self.stops.get(y)?;
        let found = stops.iter().rev().find(|(_, x)| *x <= self.caret.0);
        found.or(stops.first()).map(|(at, _)| *at)
    }
}

/// How a grapheme of the input looks. The text itself is kept as it was typed or pasted.
fn shown(grapheme: &str) -> Cow<'_, str> {
    match grapheme {
        "\t" => Cow::Borrowed("    "),
        _ if grapheme.chars().any(is_hidden) => Cow::Borrowed("·"),
        _ => Cow::Borrowed(grapheme),
    }
}

fn ranges(text: &str, width: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut from = 0;
    for line in text.split('\n') {
        let mut start = from;
        let mut x = 0;
        let mut chance: Option<(usize, usize)> = None;
        for (at, grapheme) in line.grapheme_indices(true) {
            let at = from + at;
            let wide = shown(grapheme).width();
            if x + wide > width && at > start {
                let (cut, used) = chance.take().filter(|(cut, _)| *cut > start).unwrap_or((at, x));
                ranges.push(start..cut);
                start = cut;
                x -= used;
            }
            x += wide;
            if grapheme == " " {
                chance = Some((at + 1, x));
            }
        }
        ranges.push(start..from + line.len());
        from += line.len() + 1;
    }
    ranges
}
