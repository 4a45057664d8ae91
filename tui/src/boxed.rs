//! A box with a title around lines.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::wrap::{columns, fit, line_width};

/// Lines in a box with a title.
pub(crate) fn boxed(
    title: &str,
    body: Vec<Line<'static>>,
    width: usize,
    style: Style,
) -> Vec<Line<'static>> {
    let inner = width.saturating_sub(4);
    let title = fit(title, width.saturating_sub(6));
    let rule = "─".repeat(width.saturating_sub(5 + columns(&title)));
    let mut lines = vec![Line::styled(format!("╭─ {title} {rule}╮"), style)];
    for line in body {
        let used = line_width(&line);
        let mut spans = vec![Span::styled("│ ", style)];
        let own = line.style;
        spans.extend(line.spans.into_iter().map(|span| {
            let style = own.patch(span.style);
            span.style(style)
        }));
        spans.push(Span::raw(" ".repeat(inner.saturating_sub(used))));
        spans.push(Span::styled(" │", style));
        lines.push(Line::from(spans));
    }
    lines.push(Line::styled(format!("╰{}╯", "─".repeat(width.saturating_sub(2))), style));
    lines
}
