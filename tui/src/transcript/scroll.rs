//! Where in the transcript the view stands, and how it moves.

use super::{LIVE_PARTS, TranscriptContext, TranscriptView};

/// Where the view stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the end, whatever is added.
    #[default]
    Follow,
    /// Its first line is this one.
    At(Item, usize),
}

/// A thing with lines, named so that the name survives paging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// The lines above the first row.
    Head,
    /// A stored row, by its number.
    Row(u64),
    /// A part of the running turn: its reasoning, its text, its calls.
    Live(usize),
}

/// A move of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// By lines; up is negative.
    Lines(isize),
    /// By screens.
    Pages(isize),
    /// To the first line of the window.
    Top,
    /// To the end, following it.
    End,
}

impl TranscriptView {
    pub(crate) fn is_following(&self) -> bool {
        self.place == Place::Follow
    }

    /// Whether the first line of the window is in view.
    pub(crate) fn is_at_top(&self) -> bool {
        self.first == (0, 0)
    }

    /// A row joined the transcript.
    pub(crate) fn on_row(&mut self, n: u64) {
        match self.place {
            Place::Follow => return,
            Place::At(Item::Live(part), line) => {
                let before = if part == 1 { self.live.len() } else { 0 };
                self.place = Place::At(Item::Row(n), before + line);
            }
            Place::At(Item::Head | Item::Row(_), _) => {}
        }
        self.new_rows += 1;
    }

    /// Older rows were put before the one that was the first.
    pub(crate) fn on_paged(&mut self, first: u64) {
        self.invalidate();
        if let Place::At(Item::Head, _) = self.place {
            self.place = Place::At(Item::Row(first), 0);
        }
    }

    /// Rows came while the link was down.
    pub(crate) fn on_resynced(&mut self, rows: u64) {
        self.invalidate();
        if self.place != Place::Follow {
            self.new_rows += rows;
        }
    }

    /// The rows after that one are gone, this many; others will have their numbers.
    pub(crate) fn on_removed(&mut self, after: u64, rows: u64) {
        self.invalidate();
        self.new_rows = self.new_rows.saturating_sub(rows);
        if let Place::At(Item::Row(n), _) = self.place
            && n > after
        {
            self.place = Place::Follow;
            self.new_rows = 0;
        }
    }

    /// Moves the view. It takes effect with the next arrangement.
    pub(crate) fn scroll(&mut self, to: Move, cx: &TranscriptContext<'_>) {
        match to {
            Move::End => {
                self.place = Place::Follow;
                self.new_rows = 0;
            }
            Move::Top => self.place = Place::At(Item::Head, 0),
            Move::Pages(pages) => {
                let page = self.height.saturating_sub(2).max(1) as isize;
                self.scroll(Move::Lines(pages * page), cx);
            }
            Move::Lines(lines) if lines < 0 => {
                let (mut index, mut line) = self.locate(cx);
                let mut left = lines.unsigned_abs();
                while left > 0 && (index, line) != (0, 0) {
                    if line == 0 {
                        index -= 1;
                        line = self.item(cx, index).len();
                    }
                    let step = left.min(line);
                    line -= step;
                    left -= step;
                }
                self.place = Place::At(name(cx, index), line);
            }
            Move::Lines(lines) => {
                if self.place == Place::Follow {
                    return;
                }
                let (mut index, mut line) = self.locate(cx);
                let mut left = lines.unsigned_abs();
                let last = cx.transcript.rows.len() + LIVE_PARTS;
                while left > 0 && index <= last {
                    let rest = self.item(cx, index).len().saturating_sub(line);
                    if left < rest || index == last {
                        line += left;
                        break;
                    }
                    left -= rest;
                    index += 1;
                    line = 0;
                }
                self.place = Place::At(name(cx, index), line);
            }
        }
    }

    /// Item and line of the first line in view.
    fn locate(&self, cx: &TranscriptContext<'_>) -> (usize, usize) {
        let rows = &cx.transcript.rows;
        match self.place {
            Place::Follow => self.first,
            Place::At(Item::Head, line) => (0, line),
            Place::At(Item::Live(part), line) => (rows.len() + 1 + part, line),
            Place::At(Item::Row(n), line) => match rows.iter().position(|row| row.n >= n) {
                Some(at) if rows.get(at).is_some_and(|row| row.n == n) => (at + 1, line),
                Some(_) => (0, 0),
                None => (rows.len() + 1, 0),
            },
        }
    }

    /// Collects the lines in view.
    pub(super) fn place(&mut self, cx: &TranscriptContext<'_>) {
        let last = cx.transcript.rows.len() + LIVE_PARTS;
        if self.place != Place::Follow {
            let (index, line) = self.locate(cx);
            if self.has_more(cx, index, line) {
                self.first = (index, line);
                self.shown.clear();
                let (mut at, mut skip) = (index, line);
                while at <= last && self.shown.len() < self.height {
                    let room = self.height - self.shown.len();
                    let part: Vec<_> =
                        self.item(cx, at).iter().skip(skip).take(room).cloned().collect();
                    self.shown.extend(part);
                    skip = 0;
                    at += 1;
                }
                return;
            }
            self.place = Place::Follow;
            self.new_rows = 0;
        }
        self.follow(cx, last);
    }

    /// Whether lines lie below a full screen that begins here.
    fn has_more(&mut self, cx: &TranscriptContext<'_>, index: usize, line: usize) -> bool {
        let last = cx.transcript.rows.len() + LIVE_PARTS;
        let mut count = 0;
        for at in index..=last {
            count += self.item(cx, at).len();
            if count > line + self.height {
                return true;
            }
        }
        false
    }

    fn follow(&mut self, cx: &TranscriptContext<'_>, last: usize) {
        let height = self.height;
        let mut parts: Vec<Vec<ratatui::text::Line<'static>>> = Vec::new();
        let mut count = 0;
        self.first = (0, 0);
        for index in (0..=last).rev() {
            let lines = self.item(cx, index);
            let skip = lines.len().saturating_sub(height - count);
            let part: Vec<_> = lines.iter().skip(skip).cloned().collect();
            count += part.len();
            parts.push(part);
            self.first = (index, skip);
            if count >= height {
                break;
            }
        }
        self.shown = parts.into_iter().rev().flatten().collect();
    }
}

fn name(cx: &TranscriptContext<'_>, index: usize) -> Item {
    let rows = &cx.transcript.rows;
    match index.checked_sub(1) {
        None => Item::Head,
        Some(at) => match rows.get(at) {
            Some(row) => Item::Row(row.n),
            None => Item::Live((at - rows.len()).min(LIVE_PARTS - 1)),
        },
    }
}
