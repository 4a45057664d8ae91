//! One stored row as lines.

use protocol::{Assistant, Body, Row, Stop, Summary, ToolCall, Wakeup, WakeupKind};
use ratatui::text::{Line, Span};

use super::markdown::Stream;
use super::tool;
use crate::boxed::boxed;
use crate::clean::{clean, head, one_line, output, tail};
use crate::numbers::{count, tokens};
use crate::process_exit::describe;
use crate::theme::Theme;
use crate::wrap::{Break, fit, text, wrap};

/// Lines of a prompt that are shown; a pasted file would bury the answer.
const PROMPT_LINES: usize = 40;

/// Lines of a wakeup's card below its subject.
const CARD_LINES: usize = 6;

/// The same where the lines themselves are the reason.
const MATCHED_LINES: usize = 12;

/// Bytes read at most of a text of which only a part is shown.
const MAX_BYTES: usize = 64 * 1024;

/// Whether reasoning is shown whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reasoning {
    /// One line says how much there was.
    #[default]
    Folded,
    /// All of it.
    Shown,
}

/// The settings that the layout of a row depends on.
pub(crate) struct CellContext<'a> {
    pub(crate) width: usize,
    pub(crate) reasoning: Reasoning,
    pub(crate) theme: &'a Theme,
}

/// The lines of a row. `call` is the tool call whose result it is.
pub(crate) fn lines(
    row: &Row,
    call: Option<&ToolCall>,
    cx: &CellContext<'_>,
) -> Vec<Line<'static>> {
    let theme = cx.theme;
    match &row.body {
        Body::User { text } => user(text, cx),
        Body::Wakeup(wakeup) => card(wakeup, cx),
        Body::Summary(text) => summary(text, cx),
        Body::Note { text } => barred("· ", text, theme.dim, cx),
        Body::Assistant(answer) => assistant(answer, row.cut, cx),
        Body::Tool(result) => tool::done(result, call, cx.width, theme),
        Body::Failure { message } => barred("✗ ", message, theme.error, cx),
    }
}

fn user(prompt: &str, cx: &CellContext<'_>) -> Vec<Line<'static>> {
    let style = cx.theme.user;
    let known = head(prompt, MAX_BYTES);
    let beyond = prompt.get(known.len()..).unwrap_or_default().trim_end_matches('\n');
    let looked_at = clean(known);
    let mut lines: Vec<Line<'static>> = Vec::new();
    let (mut whole, mut cut) = (0, !beyond.is_empty());
    for line in looked_at.lines() {
        let parts = wrap(&[Span::styled(line, style)], cx.width.saturating_sub(2), Break::Word);
        let room = PROMPT_LINES - lines.len();
        cut |= parts.len() > room;
        whole += usize::from(parts.len() <= room);
        lines.extend(parts.into_iter().take(room).map(Line::from));
        if lines.len() == PROMPT_LINES {
            break;
        }
    }
    for (i, line) in lines.iter_mut().enumerate() {
        line.spans.insert(0, Span::styled(if i == 0 { "❯ " } else { "  " }, style));
    }
    // Hidden lines are counted as the user wrote them, not as they would be wrapped.
    let all = looked_at.lines().count() + beyond.matches('\n').count();
    let more = match all - whole {
        0 => return lines,
        1 if cut => "  … the line continues".to_owned(),
        hidden => format!("  … +{}", count(hidden, "line")),
    };
    lines.push(Line::styled(more, cx.theme.dim));
    lines
}

/// Text behind a mark, in one style.
pub(super) fn barred(
    mark: &'static str,
    content: &str,
    style: ratatui::style::Style,
    cx: &CellContext<'_>,
) -> Vec<Line<'static>> {
    text(&clean(head(content, MAX_BYTES)), style, cx.width.saturating_sub(2), Break::Word)
        .into_iter()
        .enumerate()
        .map(|(i, mut line)| {
            let lead = if i == 0 { mark } else { "  " };
            line.spans.insert(0, Span::styled(lead, style));
            line
        })
        .collect()
}

fn assistant(answer: &Assistant, cut: u64, cx: &CellContext<'_>) -> Vec<Line<'static>> {
    let mut lines = thoughts(&answer.reasoning, cx);
    if !answer.text.trim().is_empty() {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        let mut stream = Stream::default();
        stream.update(&answer.text, cut, cx.width, cx.theme);
        lines.extend(stream.into_lines());
    }
    match answer.stop {
        Stop::End | Stop::Calls => {}
        Stop::Length => {
            lines.push(Line::styled("… stopped at the model's output limit", cx.theme.warn));
        }
        Stop::Partial => lines.push(Line::styled("… interrupted", cx.theme.warn)),
    }
    lines
}

/// Finished reasoning.
pub(crate) fn thoughts(reasoning: &str, cx: &CellContext<'_>) -> Vec<Line<'static>> {
    if reasoning.trim().is_empty() {
        return Vec::new();
    }
    match cx.reasoning {
        Reasoning::Shown => {
            let mut lines = vec![Line::styled("∴ thought", cx.theme.dim)];
            let body = clean(reasoning.trim());
            lines.extend(text(&body, cx.theme.dim, cx.width, Break::Word));
            lines
        }
        Reasoning::Folded => {
            let words = reasoning.split_whitespace().count();
            vec![Line::styled(format!("∴ thought · {}", count(words, "word")), cx.theme.dim)]
        }
    }
}

/// Reasoning that is still being written: its last lines.
pub(crate) fn thinking(reasoning: &str, cx: &CellContext<'_>) -> Vec<Line<'static>> {
    const SHOWN: usize = 3;
    if reasoning.trim().is_empty() {
        return Vec::new();
    }
    let shown = match cx.reasoning {
        Reasoning::Folded => SHOWN,
        Reasoning::Shown => usize::MAX,
    };
    let looked_at = match cx.reasoning {
        Reasoning::Folded => MAX_BYTES / 16,
        Reasoning::Shown => MAX_BYTES,
    };
    let body = clean(tail(reasoning, looked_at).trim());
    let all = text(&body, cx.theme.dim, cx.width, Break::Word);
    let skip = all.len().saturating_sub(shown);
    let mut lines = vec![Line::styled("∴ thinking", cx.theme.dim)];
    lines.extend(all.into_iter().skip(skip));
    lines
}

/// What stands for older rows in the model's context: a line, and its text when it is unfolded.
fn summary(summary: &Summary, cx: &CellContext<'_>) -> Vec<Line<'static>> {
    let rows = count(summary.rows, "row");
    let (before, after) = (tokens(summary.before), tokens(summary.after));
    let fact = format!("context compressed: {rows} → summary, {before} → {after} tokens");
    match cx.reasoning {
        Reasoning::Folded => barred("∑ ", &format!("{fact} · Ctrl+R shows it"), cx.theme.dim, cx),
        Reasoning::Shown => {
            let body = text(
                &clean(head(summary.text.trim(), MAX_BYTES)),
                cx.theme.text,
                cx.width.saturating_sub(4),
                Break::Word,
            );
            boxed(&format!("∑ {fact}"), body, cx.width, cx.theme.dim)
        }
    }
}

/// A background event as a card: why the agent was woken, by what, and what it printed (W24).
fn card(wakeup: &Wakeup, cx: &CellContext<'_>) -> Vec<Line<'static>> {
    let theme = cx.theme;
    let inner = cx.width.saturating_sub(4);
    let event = match wakeup.kind {
        WakeupKind::Exit => wakeup.exit.as_ref().map_or_else(|| "ended".to_owned(), describe),
        WakeupKind::Match => {
            format!("matched \"{}\"", one_line(wakeup.pattern.as_deref().unwrap_or_default()))
        }
        WakeupKind::WatchDisabled => "watch turned off".to_owned(),
        WakeupKind::Delegation => match &wakeup.exit {
            Some(exit) => format!("delegated task {}", describe(exit)),
            None => "delegated task ended".to_owned(),
        },
    };
    let mut body = vec![Line::styled(fit(&one_line(&wakeup.command), inner), theme.bold)];
    match wakeup.kind {
        WakeupKind::Exit | WakeupKind::Match => {
            let exit = wakeup.kind == WakeupKind::Exit;
            let most = if exit { CARD_LINES } else { MATCHED_LINES };
            body.extend(last_lines(&output(printed(&wakeup.text)), most, inner, theme));
        }
        WakeupKind::WatchDisabled | WakeupKind::Delegation => {
            let (first, rest) = message(&wakeup.text);
            let message = match wakeup.kind {
                WakeupKind::WatchDisabled => format!("{first}\n{rest}"),
                _ if rest.is_empty() => first.to_owned(),
                _ => rest.to_owned(),
            };
            let message = clean(head(&message, MAX_BYTES));
            let mut lines = text(message.trim(), theme.dim, inner, Break::Word);
            if lines.len() > CARD_LINES {
                lines.truncate(CARD_LINES - 1);
                lines.push(Line::styled("…", theme.dim));
            }
            body.extend(lines);
        }
    }
    let title = format!("⚑ {event} · {}", one_line(&wakeup.process.0));
    boxed(&title, body, cx.width, theme.wakeup_border)
}

/// The end of an output, and how much lies above.
fn last_lines(shown: &str, most: usize, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let all: Vec<&str> = shown.trim_end().lines().collect();
    let hidden = if all.len() > most { all.len() + 1 - most } else { 0 };
    let above = (hidden > 0).then(|| format!("… {} above", count(hidden, "line")));
    let lines = all.iter().skip(hidden).map(|line| fit(line, width));
    above.into_iter().chain(lines).map(|line| Line::styled(line, theme.dim)).collect()
}

/// The first line of a wakeup's text, and the rest without the line that names its subject.
fn message(text: &str) -> (&str, &str) {
    let text = text.strip_prefix("[IMPORTANT: ").unwrap_or(text).trim_end();
    let text = text.strip_suffix(']').unwrap_or(text);
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let rest = match rest.split_once('\n') {
        Some((line, rest)) if is_subject(line) => rest,
        None if is_subject(rest) => "",
        Some(_) | None => rest,
    };
    (first, rest.trim())
}

/// Whether a line repeats the subject of the card.
fn is_subject(line: &str) -> bool {
    ["Command: ", "Goal: ", "Task: "].iter().any(|label| line.starts_with(label))
}

/// The output inside the text of a wakeup.
fn printed(text: &str) -> &str {
    let from = ["\nMatched output:\n", "\nOutput:\n"]
        .iter()
        .find_map(|head| text.find(head).map(|at| at + head.len()));
    // Without its beginning, which a window may have cut off, the text is output alone.
    let whole = if text.starts_with("[IMPORTANT") { "" } else { text };
    let body = tail(from.and_then(|from| text.get(from..)).unwrap_or(whole), MAX_BYTES).trim_end();
    body.strip_suffix(']').unwrap_or(body)
}
