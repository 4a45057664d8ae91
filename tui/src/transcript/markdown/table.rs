//! A markdown table as lines: columns as wide as they must be, cells wrapped when there is no room.

use pulldown_cmark::Alignment;
use ratatui::text::{Line, Span};

use crate::theme::Theme;
use crate::wrap::{Break, columns, wrap};

const SEPARATOR: &str = " │ ";

/// A table being collected.
pub(crate) struct Table {
    alignments: Vec<Alignment>,
    row: Vec<Vec<Span<'static>>>,
    rows: Vec<Vec<Vec<Span<'static>>>>,
}

impl Table {
    pub(crate) fn new(alignments: &[Alignment]) -> Self {
        Self { alignments: alignments.to_vec(), row: Vec::new(), rows: Vec::new() }
    }

    pub(crate) fn cell(&mut self, cell: Vec<Span<'static>>) {
        self.row.push(cell);
    }

    pub(crate) fn end_row(&mut self) {
        self.rows.push(std::mem::take(&mut self.row));
    }

    pub(crate) fn lines(self, width: usize, theme: &Theme) -> Vec<Line<'static>> {
        let widths = self.widths(width);
        let mut lines = Vec::new();
        for (n, row) in self.rows.into_iter().enumerate() {
            let cells: Vec<Vec<Vec<Span<'static>>>> = widths
                .iter()
                .enumerate()
                .map(|(i, width)| {
                    let mut cell = row.get(i).cloned().unwrap_or_default();
                    if n == 0 {
                        for span in &mut cell {
                            span.style = span.style.patch(theme.bold);
                        }
                    }
                    wrap(&cell, *width, Break::Word)
                })
                .collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(0);
            for y in 0..height {
                let mut spans = Vec::new();
                for (i, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                    if i > 0 {
                        spans.push(Span::styled(SEPARATOR, theme.dim));
                    }
                    let content = cell.get(y).cloned().unwrap_or_default();
                    let used: usize = content.iter().map(|s| columns(&s.content)).sum();
                    let free = width.saturating_sub(used);
                    let before = match self.alignments.get(i) {
                        Some(Alignment::Right) => free,
                        Some(Alignment::Center) => free / 2,
                        Some(Alignment::Left | Alignment::None) | None => 0,
                    };
                    let after = if i + 1 == widths.len() { 0 } else { free - before };
                    spans.push(Span::raw(" ".repeat(before)));
                    spans.extend(content);
                    spans.push(Span::raw(" ".repeat(after)));
                }
                lines.push(Line::from(spans));
            }
            if n == 0 {
                let rule: Vec<String> = widths.iter().map(|w| "─".repeat(*w)).collect();
                lines.push(Line::styled(rule.join("─┼─"), theme.dim));
            }
        }
        lines
    }

    /// Column widths: what the cells need, the widest cut down until all fit.
    fn widths(&self, width: usize) -> Vec<usize> {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![1; count];
        for row in &self.rows {
            for (need, cell) in widths.iter_mut().zip(row) {
                *need = (*need).max(cell.iter().map(|s| columns(&s.content)).sum());
            }
        }
        let room = width.saturating_sub(count.saturating_sub(1) * 3).max(count);
        loop {
            let excess = widths.iter().sum::<usize>().saturating_sub(room);
            if excess == 0 {
                return widths;
            }
            let widest = widths.iter().copied().max().unwrap_or(1);
            let next = widths.iter().copied().filter(|w| *w < widest).max().unwrap_or(1);
            let ties = widths.iter().filter(|w| **w == widest).count();
            let step = (widest - next).min(excess.div_ceil(ties)).max(1);
            for w in &mut widths {
                if *w == widest {
                    *w = w.saturating_sub(step).max(1);
                }
            }
            if widest == 1 {
                return widths;
            }
        }
    }
}
