//! The text above the first row: the banner of a new session, or the count of earlier rows.

use ratatui::text::Line;

use super::App;
use crate::clean::one_line;
use crate::numbers::count;
use crate::transcript::InlineNotice;

/// Hints in the banner of a new session.
const HINTS: [&str; 3] = [
    "  /help      keys and commands",
    "  /resume    open an earlier session",
    "  Ctrl+B     background processes",
];

impl App {
    /// The lines above the first row.
    pub(super) fn banner(&self) -> Vec<Line<'static>> {
        let theme = &self.theme;
        if self.transcript.earlier > 0 {
            let text = format!("↑ {}", count(self.transcript.earlier, "earlier row"));
            return vec![Line::styled(text, theme.dim)];
        }
        if !self.transcript.rows.is_empty() || self.transcript.running.is_some() {
            return Vec::new();
        }
        let mut lines = vec![
            Line::default(),
            Line::styled(format!("  hermes-tui {}", self.options.version), theme.bold),
        ];
        let model = one_line(&self.transcript.model);
        if model == "demo" || model.starts_with("demo/") {
            lines.push(Line::styled("  demo model: offline, all features", theme.warn));
            lines.push(Line::styled("  type help to see what it can do", theme.dim));
        } else if !model.is_empty() {
            lines.push(Line::styled(format!("  {model}"), theme.dim));
        }
        if let Some(host) = self.host_name() {
            lines.push(Line::styled(format!("  on {host}"), theme.dim));
        }
        lines.push(Line::default());
        lines.extend(HINTS.map(|hint| Line::styled(hint, theme.dim)));
        lines
    }

    /// The notice at its place among the rows.
    pub(super) fn inline_notice(&self) -> Option<InlineNotice> {
        self.feedback.inline_notice(&self.transcript, self.now, &self.theme)
    }
}
