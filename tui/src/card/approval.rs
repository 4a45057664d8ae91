//! The card for the approval of a command. The host decides what may be approved.

use std::ops::Range;

use protocol::{Ask, Choice, Question};
use ratatui::text::{Line, Span};

use super::CardContext;
use crate::arming::hint;
use crate::clean::{clean, one_line};
use crate::numbers::count;
use crate::theme::Theme;
use crate::wrap::{Break, columns, fit, text, wrap};

/// Lines of the command that are shown at most.
const COMMAND: usize = 8;

/// The choices in the order of their digits (C10).
pub(crate) fn choices(allow_always: bool) -> &'static [(Choice, &'static str)] {
    const ALL: &[(Choice, &str)] = &[
        (Choice::Once, "once"),
        (Choice::Session, "this session"),
        (Choice::Always, "always"),
        (Choice::Deny, "deny"),
    ];
    const TEMPORARY: &[(Choice, &str)] =
        &[(Choice::Once, "once"), (Choice::Session, "this session"), (Choice::Deny, "deny")];
    if allow_always { ALL } else { TEMPORARY }
}

/// Where "deny" stands: the default highlight, never an approval (C10).
pub(crate) fn deny(allow_always: bool) -> usize {
    choices(allow_always).len() - 1
}

/// How much of a command a card shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// The lines of the command in view; none where the choices do not fit.
    pub(crate) shown: Range<usize>,
    /// How many there are.
    pub(crate) total: usize,
}

/// The lines of the card, and the part of the command they show. `scroll` moves the command by
/// lines.
pub(crate) fn lines(
    question: &Question,
    selected: usize,
    scroll: isize,
    cx: &CardContext<'_>,
) -> (Vec<Line<'static>>, Excerpt) {
    let (width, height) = cx.size;
    let theme = cx.theme;
    let Ask::Approval { command, part, rule, reason, allow_always } = &question.ask else {
        return (Vec::new(), Excerpt::default());
    };
    let choices = choices(*allow_always);
    let mut bottom = text(&clean(reason), theme.warn, width, Break::Word);
    bottom.truncate(2);
    let options = options(choices, &one_line(rule), selected, width, theme);
    let beside = options.len() > 1;
    bottom.extend(options);
    if !beside && height > bottom.len() + 2 {
        bottom.extend(text(&covers(rule, *allow_always), theme.dim, width, Break::Word));
    }
    if height > bottom.len() + 2 {
        let esc = if cx.name.is_some() { "Esc goes back" } else { "Esc denies" };
        let keys = hint(cx.keys, &format!("↑↓ Enter or a digit · {esc}"), width, theme);
        bottom.push(keys);
    }
    let room = height.saturating_sub(bottom.len()).clamp(1, COMMAND);
    let (mut lines, mut excerpt_view) = excerpt(command, part, scroll, (width, room), theme);
    if bottom.len() + lines.len() > height {
        // A command that is not on the screen cannot be approved.
        excerpt_view.shown = 0..0;
    }
    lines.extend(bottom);
    (lines, excerpt_view)
}

/// The scope of the choices between "once" and "deny": more than this command.
fn covers(rule: &str, allow_always: bool) -> String {
    let choices = if allow_always { "2, 3" } else { "2" };
    format!("{choices}: the whole rule {}, not only this command", one_line(rule))
}

/// Numbered options, on one line if they fit; else one per line, with the rule they apply to.
fn options(
    choices: &[(Choice, &str)],
    rule: &str,
    selected: usize,
    width: usize,
    theme: &Theme,
) -> Vec<Line<'static>> {
    let span = |i: usize, text: String| {
        Span::styled(text, if i == selected { theme.selected } else { theme.text })
    };
    let names = choices.iter().enumerate();
    let spans: Vec<Span<'static>> =
        names.clone().map(|(i, (_, name))| span(i, format!(" {} {name} ", i + 1))).collect();
    let total: usize = spans.iter().map(|span| columns(&span.content) + 1).sum();
    if total <= width + 1 {
        let mut line = Vec::new();
        for span in spans {
            line.push(span);
            line.push(Span::raw(" "));
        }
        line.pop();
        return vec![Line::from(line)];
    }
    names
        .map(|(i, (choice, name))| {
            let text = match choice {
                Choice::Once | Choice::Deny => format!(" {} {name} ", i + 1),
                Choice::Session | Choice::Always => format!(" {} {name}: all {rule} ", i + 1),
            };
            Line::from(span(i, fit(&text, width)))
        })
        .collect()
}

/// The command, with the part that matched the rule in view and highlighted.
fn excerpt(
    command: &str,
    part: &str,
    scroll: isize,
    size: (usize, usize),
    theme: &Theme,
) -> (Vec<Line<'static>>, Excerpt) {
    let (width, height) = size;
    let (command, part) = (clean(command), clean(part));
    let fired = command.find(part.trim()).filter(|_| !part.trim().is_empty());
    let fired = fired.map_or(0..0, |start| start..start + part.trim().len());
    let mut lines = Vec::new();
    let mut first = None;
    let mut from = 0;
    for line in command.split('\n') {
        let cut = |at: usize| at.clamp(from, from + line.len()) - from;
        let (start, end) = (cut(fired.start), cut(fired.end));
        let pieces = [
            Span::styled(line.get(..start).unwrap_or_default(), theme.bold),
            Span::styled(line.get(start..end).unwrap_or_default(), theme.fired),
            Span::styled(line.get(end..).unwrap_or_default(), theme.bold),
        ];
        for spans in wrap(&pieces, width, Break::Glyph) {
            if first.is_none() && spans.iter().any(|span| span.style == theme.fired) {
                first = Some(lines.len());
            }
            lines.push(Line::from(spans));
        }
        from += line.len() + 1;
    }
    let total = lines.len();
    if total <= height {
        return (lines, Excerpt { shown: 0..total, total });
    }
    // One line of the excerpt is used to count the hidden ones.
    let room = height.saturating_sub(1).max(1);
    let start = first.unwrap_or(0).saturating_sub(room / 3);
    let start = start.saturating_add_signed(scroll).min(total - room);
    let mut shown: Vec<Line<'static>> = lines.into_iter().skip(start).take(room).collect();
    if height > 1 {
        let (above, below) = (start, total - start - room);
        shown.push(Line::styled(
            format!(
                "… {} above, {below} below · PgUp, PgDn: read it all before approving",
                count(above, "line")
            ),
            theme.dim,
        ));
    }
    (shown, Excerpt { shown: start..start + room, total })
}
