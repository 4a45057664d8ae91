//! One stored row as lines.

use host::protocol::{Assistant, Body, End, Exit, Row, Stop, ToolCall, Wakeup, WakeupKind};
use ratatui::text::{Line, Span};

use super::markdown::Stream;
use super::tool;
use super::wrap::{Break, fit, text};
use crate::card::boxed;
use crate::clean::{clean, head, one_line, output, tail};
use crate::theme::Theme;

/// Lines of a prompt that are shown; a pasted file would bury the answer.
const PROMPT_LINES: usize = 40;

/// Bytes looked at of a text of which only a part is shown.
const LOOKED_AT: usize = 64 * 1024;

/// Whether reasoning is shown whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reasoning {
    /// One line says how much there was.
    #[default]
    Folded,
    /// All of it.
    Shown,
}

/// What a row's look depends on besides itself.
pub(crate) struct Context<'a> {
    pub(crate) width: usize,
    pub(crate) reasoning: Reasoning,
    pub(crate) theme: &'a Theme,
}

/// The lines of a row. `call` is the tool call whose result it is.
pub(crate) fn lines(row: &Row, call: Option<&ToolCall>, cx: &Context<'_>) -> Vec<Line<'static>> {
    let theme = cx.theme;
    match &row.body {
        Body::User { text } => user(text, cx),
        Body::Wakeup(wakeup) => card(wakeup, cx),
        Body::Summary(summary) => barred("∑ ", &summary.text, theme.dim, cx),
        Body::Note { text } => barred("· ", text, theme.dim, cx),
        Body::Assistant(answer) => assistant(answer, row.cut, cx),
        Body::Tool(result) => tool::done(result, call, cx.width, theme),
        Body::Failure { message } => barred("✗ ", message, theme.error, cx),
    }
}

fn user(prompt: &str, cx: &Context<'_>) -> Vec<Line<'static>> {
    let mut lines = barred("❯ ", prompt, cx.theme.user, cx);
    if lines.len() > PROMPT_LINES {
        let more = lines.len() - PROMPT_LINES;
        lines.truncate(PROMPT_LINES);
        lines.push(Line::styled(format!("  … +{more} lines"), cx.theme.dim));
    }
    lines
}

/// Text behind a mark, in one style.
fn barred(
    mark: &'static str,
    content: &str,
    style: ratatui::style::Style,
    cx: &Context<'_>,
) -> Vec<Line<'static>> {
    text(&clean(head(content, LOOKED_AT)), style, cx.width.saturating_sub(2), Break::Word)
        .into_iter()
        .enumerate()
        .map(|(i, mut line)| {
            let lead = if i == 0 { mark } else { "  " };
            line.spans.insert(0, Span::styled(lead, style));
            line
        })
        .collect()
}

fn assistant(answer: &Assistant, cut: u64, cx: &Context<'_>) -> Vec<Line<'static>> {
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
            lines.push(Line::styled("… the model's output limit ended this", cx.theme.warn));
        }
        Stop::Partial => lines.push(Line::styled("… interrupted", cx.theme.warn)),
    }
    lines
}

/// Finished reasoning.
pub(crate) fn thoughts(reasoning: &str, cx: &Context<'_>) -> Vec<Line<'static>> {
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
            vec![Line::styled(format!("∴ thought · {words} words"), cx.theme.dim)]
        }
    }
}

/// Reasoning that is still being written: its last lines.
pub(crate) fn thinking(reasoning: &str, cx: &Context<'_>) -> Vec<Line<'static>> {
    const SHOWN: usize = 3;
    if reasoning.trim().is_empty() {
        return Vec::new();
    }
    let shown = match cx.reasoning {
        Reasoning::Folded => SHOWN,
        Reasoning::Shown => usize::MAX,
    };
    let looked_at = match cx.reasoning {
        Reasoning::Folded => LOOKED_AT / 16,
        Reasoning::Shown => LOOKED_AT,
    };
    let body = clean(tail(reasoning, looked_at).trim());
    let all = text(&body, cx.theme.dim, cx.width, Break::Word);
    let skip = all.len().saturating_sub(shown);
    let mut lines = vec![Line::styled("∴ thinking", cx.theme.dim)];
    lines.extend(all.into_iter().skip(skip));
    lines
}

/// How a process ended, in a few words (P11).
pub(crate) fn ending(exit: &Exit) -> String {
    match (exit.end, exit.code, exit.signal) {
        (End::Exited, Some(0), _) => "finished".to_owned(),
        (End::Exited, Some(code), _) => format!("failed (exit {code})"),
        (End::Exited, None, Some(signal)) => format!("failed (signal {signal})"),
        (End::Exited, None, None) => "ended (exit code unknown)".to_owned(),
        (End::Killed, _, _) => "killed".to_owned(),
        (End::Lost, _, _) => "lost".to_owned(),
        (End::FailedStart, _, _) => "failed to start".to_owned(),
    }
}

/// A background event as a card (W24).
fn card(wakeup: &Wakeup, cx: &Context<'_>) -> Vec<Line<'static>> {
    const OUTPUT: usize = 5;
    let theme = cx.theme;
    let says = match wakeup.kind {
        WakeupKind::Exit => wakeup.exit.as_ref().map_or_else(|| "ended".to_owned(), ending),
        WakeupKind::Match => {
            format!("matched \"{}\"", one_line(wakeup.pattern.as_deref().unwrap_or_default()))
        }
        WakeupKind::WatchDisabled => "watch disabled".to_owned(),
        WakeupKind::Delegation => "delegated task ended".to_owned(),
    };
    let inner = cx.width.saturating_sub(4);
    let mut body = vec![Line::styled(fit(&one_line(&wakeup.command), inner), theme.bold)];
    let shown = output(printed(&wakeup.text));
    let all: Vec<&str> = shown.trim_end().lines().collect();
    for line in all.iter().skip(all.len().saturating_sub(OUTPUT)) {
        body.push(Line::styled(fit(line, inner), theme.dim));
    }
    let title = format!("⚑ {says} · {}", one_line(&wakeup.process.0));
    boxed(&title, body, cx.width, theme.wakeup_border)
}

/// The output inside the text of a wakeup.
fn printed(text: &str) -> &str {
    let from = ["\nMatched output:\n", "\nOutput:\n"]
        .iter()
        .find_map(|head| text.find(head).map(|at| at + head.len()));
    // Without its beginning, which a window may have cut off, the text is output alone.
    let whole = if text.starts_with("[IMPORTANT") { "" } else { text };
    let body = tail(from.and_then(|from| text.get(from..)).unwrap_or(whole), LOOKED_AT).trim_end();
    body.strip_suffix(']').unwrap_or(body)
}
