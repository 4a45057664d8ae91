//! A unified diff as coloured lines.

use ratatui::text::Line;

use crate::clean::clean;
use crate::numbers::count;
use crate::theme::Theme;
use crate::wrap::fit;

/// Lines shown of one diff.
const SHOWN: usize = 40;

/// The lines of a diff; file headers go, since the header of its cell names the file.
pub(crate) fn lines(diff: &str, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let diff = clean(diff);
    let mut rest =
        diff.lines().filter(|line| !line.starts_with("--- ") && !line.starts_with("+++ "));
    let mut lines: Vec<Line<'static>> = rest
        .by_ref()
        .take(SHOWN)
        .map(|line| {
            let style = match line.chars().next() {
                Some('+') => theme.added,
                Some('-') => theme.removed,
                Some('@') => theme.hunk,
                Some(_) | None => theme.dim,
            };
            Line::styled(fit(line, width), style)
        })
        .collect();
    let left = rest.count();
    if left > 0 {
        lines.push(Line::styled(format!("… +{}", count(left, "line")), theme.dim));
    }
    lines
}
