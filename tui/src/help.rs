//! Keys and commands, as lines.

use ratatui::text::{Line, Span};

use crate::keymap::KEYS;
use crate::slash::COMMANDS;
use crate::theme::Theme;
use crate::wrap::{Break, columns, wrap};

pub(crate) fn lines(width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let commands: Vec<(String, &str)> = COMMANDS
        .iter()
        .map(|entry| (format!("/{} {}", entry.name, entry.args).trim_end().to_owned(), entry.help))
        .collect();
    let mut lines = vec![Line::styled("Keys", theme.heading)];
    for (keys, help) in KEYS {
        lines.extend(entry(keys, help, width, theme));
    }
    lines.push(Line::default());
    lines.push(Line::styled("Commands", theme.heading));
    for (name, help) in &commands {
        lines.extend(entry(name, help, width, theme));
    }
    lines
}

fn entry(name: &str, help: &str, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let left = if width >= 60 { 27 } else { 0 };
    if left == 0 {
        let text = [Span::styled(format!("{name}  "), theme.accent), Span::raw(help.to_owned())];
        return wrap(&text, width, Break::Word).into_iter().map(Line::from).collect();
    }
    let pad = " ".repeat(left - columns(name).min(left - 1));
    let mut lines = Vec::new();
    for (i, part) in
        wrap(&[Span::raw(help.to_owned())], width - left, Break::Word).into_iter().enumerate()
    {
        let lead = if i == 0 { format!("{name}{pad}") } else { " ".repeat(left) };
        let mut spans = vec![Span::styled(lead, theme.accent)];
        spans.extend(part);
        lines.push(Line::from(spans));
    }
    lines
}
