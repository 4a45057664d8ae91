//! The transcript on the screen: which lines of which rows are in view.
//!
//! Rows are laid out when they come into view and kept per width. The place in view is a row and
//! a line in it, never a line number of the whole, so that neither paging nor new text moves it.

mod cell;
mod diff;
mod markdown;
mod scroll;
mod tool;

use std::collections::HashMap;

use protocol::{Body, Millis, ToolCall, Transcript};
use ratatui::style::Style;
use ratatui::text::Line;

use cell::CellContext;
pub(crate) use cell::Reasoning;
use markdown::Stream;
pub(crate) use scroll::Move;
use scroll::Place;

use crate::theme::Theme;

/// Laid out lines that are kept before the cache is dropped.
const CACHED_LINES: usize = 50_000;

/// The running turn is three items: reasoning, text, calls.
const LIVE_PARTS: usize = 3;

/// The layout of a transcript. Everything but the position can be rebuilt.
#[derive(Debug, Default)]
pub(crate) struct TranscriptView {
    width: usize,
    height: usize,
    reasoning: Reasoning,
    rows: HashMap<u64, Vec<Line<'static>>>,
    cached: usize,
    stream: Stream,
    live: Vec<Line<'static>>,
    calls: Vec<Line<'static>>,
    head: Vec<Line<'static>>,
    place: Place,
    first: (usize, usize),
    shown: Vec<Line<'static>>,
    new_rows: u64,
    notice: Option<InlineNotice>,
}

/// The data a transcript is laid out from.
pub(crate) struct TranscriptContext<'a> {
    pub(crate) transcript: &'a Transcript,
    pub(crate) theme: &'a Theme,
    pub(crate) now: Millis,
    /// The lines above the first row.
    pub(crate) head: Vec<Line<'static>>,
    pub(crate) notice: Option<InlineNotice>,
}

/// A notice of the interface at its place among the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InlineNotice {
    /// The last row when it was posted.
    pub(crate) after: u64,
    pub(crate) mark: &'static str,
    pub(crate) text: String,
    pub(crate) style: Style,
}

impl InlineNotice {
    /// Whether it belongs below this row of the window; without an index: above all of them.
    fn is_below(&self, transcript: &Transcript, index: Option<usize>) -> bool {
        let row = |index: usize| transcript.rows.get(index).map(|row| row.n);
        let next = row(index.map_or(0, |index| index + 1)).is_none_or(|n| n > self.after);
        let own = match index {
            Some(index) => row(index).is_some_and(|n| n <= self.after),
            None => transcript.earlier <= self.after,
        };
        own && next
    }

    fn lines(&self, cx: &CellContext<'_>) -> Vec<Line<'static>> {
        let mut lines = vec![Line::default()];
        lines.extend(cell::barred(self.mark, &self.text, self.style, cx));
        lines
    }
}

impl TranscriptView {
    /// The lines in view, from the top.
    pub(crate) fn shown(&self) -> &[Line<'static>] {
        &self.shown
    }

    /// Rows that came while the view was scrolled up.
    pub(crate) fn new_rows(&self) -> u64 {
        self.new_rows
    }

    /// Forgets everything about the session.
    pub(crate) fn reset(&mut self) {
        *self = Self { reasoning: self.reasoning, ..Self::default() };
    }

    /// Drops the laid out lines, not the position.
    pub(crate) fn invalidate(&mut self) {
        self.rows.clear();
        self.cached = 0;
        self.stream = Stream::default();
    }

    /// Shows or folds reasoning.
    pub(crate) fn toggle_reasoning(&mut self) {
        self.reasoning = match self.reasoning {
            Reasoning::Folded => Reasoning::Shown,
            Reasoning::Shown => Reasoning::Folded,
        };
        self.invalidate();
    }

    /// Brings the lines in view up to date.
    pub(crate) fn arrange(&mut self, cx: TranscriptContext<'_>, width: usize, height: usize) {
        if width != self.width || self.cached > CACHED_LINES || self.notice != cx.notice {
            self.invalidate();
        }
        self.width = width;
        self.height = height;
        self.notice.clone_from(&cx.notice);
        self.arrange_live(&cx);
        self.head.clone_from(&cx.head);
        if let Some(notice) = &self.notice
            && notice.is_below(cx.transcript, None)
        {
            let lines = notice.lines(&self.context(cx.theme));
            self.head.extend(lines);
        }
        self.place(&cx);
    }

    fn context<'a>(&self, theme: &'a Theme) -> CellContext<'a> {
        CellContext { width: self.width, reasoning: self.reasoning, theme }
    }

    /// The running turn: reasoning, text and calls that are not rows yet.
    fn arrange_live(&mut self, cx: &TranscriptContext<'_>) {
        self.live.clear();
        self.calls.clear();
        let Some(running) = &cx.transcript.running else {
            self.stream = Stream::default();
            return;
        };
        let cell = self.context(cx.theme);
        let writes = !running.text.trim().is_empty();
        let thoughts = if writes {
            cell::thoughts(&running.reasoning, &cell)
        } else {
            cell::thinking(&running.reasoning, &cell)
        };
        if !thoughts.is_empty() {
            self.live.push(Line::default());
            self.live.extend(thoughts);
        }
        if writes {
            self.live.push(Line::default());
            self.stream.update(&running.text, 0, self.width, cx.theme);
        } else {
            self.stream = Stream::default();
        }
        let after_tool =
            matches!(cx.transcript.rows.last().map(|row| &row.body), Some(Body::Tool(_)));
        for (i, call) in running.calls.iter().enumerate() {
            if i == 0 && (writes || !after_tool) {
                self.calls.push(Line::default());
            }
            self.calls.extend(tool::live(call, cx.now, self.width, cx.theme));
        }
    }

    /// The lines of an item: 0 is the head, then the rows, last the parts of the running turn.
    fn item(&mut self, cx: &TranscriptContext<'_>, index: usize) -> &[Line<'static>] {
        if index == 0 {
            return &self.head;
        }
        let rows = &cx.transcript.rows;
        let Some(row) = rows.get(index - 1) else {
            return match index - 1 - rows.len() {
                0 => &self.live,
                1 => self.stream.lines(),
                _ => &self.calls,
            };
        };
        if !self.rows.contains_key(&row.n) {
            let call = match &row.body {
                Body::Tool(result) => call_of(cx.transcript, index - 1, &result.call),
                _ => None,
            };
            let mut lines = cell::lines(row, call, &self.context(cx.theme));
            let after_tool = index >= 2
                && matches!(rows.get(index - 2).map(|row| &row.body), Some(Body::Tool(_)));
            let is_below =
                |index| self.notice.as_ref().filter(|notice| notice.is_below(cx.transcript, index));
            let joins = after_tool
                && matches!(row.body, Body::Tool(_))
                && is_below(index.checked_sub(2)).is_none();
            if !lines.is_empty() && !joins {
                lines.insert(0, Line::default());
            }
            if let Some(notice) = is_below(Some(index - 1)) {
                lines.extend(notice.lines(&self.context(cx.theme)));
            }
            self.cached += lines.len();
            self.rows.insert(row.n, lines);
        }
        self.rows.get(&row.n).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The call a result belongs to: it stands in an answer shortly before.
fn call_of<'a>(
    transcript: &'a Transcript,
    index: usize,
    id: &protocol::CallId,
) -> Option<&'a ToolCall> {
    const LOOK_BACK: usize = 64;
    transcript.rows.get(..index)?.iter().rev().take(LOOK_BACK).find_map(|row| match &row.body {
        Body::Assistant(answer) => answer.calls.iter().find(|call| call.id == *id),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
