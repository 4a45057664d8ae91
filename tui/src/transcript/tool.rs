//! Tool calls: one header line, then a few lines of output.

use protocol::{LiveCall, Millis, ToolCall, ToolResult};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use serde_json::Value;

use super::diff;
use crate::clean::{clean, one_line, output, tail};
use crate::numbers::count;
use crate::theme::Theme;
use crate::time::{between, span, took};
use crate::wrap::{Break, columns, fit, text};

/// Lines shown of an output: this many of its head
const HEAD: usize = 3;
/// and of its tail.
const TAIL: usize = 5;

/// A result longer than this is shown as text, from its end.
const LONG: usize = 1024 * 1024;

/// A finished call.
pub(crate) fn done(
    result: &ToolResult,
    call: Option<&ToolCall>,
    width: usize,
    theme: &Theme,
) -> Vec<Line<'static>> {
    let parsed = (result.text.len() < LONG).then(|| serde_json::from_str(&result.text).ok());
    let value: Value = parsed.flatten().unwrap_or(Value::Null);
    let mut facts = Vec::new();
    let blocked = string(&value, "status") == Some("blocked");
    if let Some(code) = value.get("exit_code").and_then(Value::as_i64)
        && value.get("pid").is_none()
        && !blocked
    {
        facts.push(format!("exit {code}"));
    }
    if value.get("pid").is_some()
        && let Some(id) = string(&value, "session_id")
    {
        facts.push(format!("in background as {}", one_line(id)));
    }
    if let Some(lines) = value.get("total_lines").and_then(Value::as_u64) {
        facts.push(count(lines, "line"));
    }
    if let Some(found) = value.get("total_count").and_then(Value::as_u64) {
        facts.push(format!("{found} found"));
    }
    if blocked {
        facts.push(why_blocked(string(&value, "error").unwrap_or_default()).to_owned());
    } else if let Some(status) = string(&value, "status").filter(|s| *s != "ok") {
        facts.push(one_line(status));
    }
    if result.millis >= 100 {
        facts.push(took(result.millis));
    }
    let bad = result.failed
        || blocked
        || value.get("exit_code").and_then(Value::as_i64).is_some_and(|c| c > 0);
    let mark = if bad { theme.error } else { theme.ok };
    let summary = call.map(summary).unwrap_or_default();
    let mut lines = vec![header(mark, &result.name, &summary, &facts, width, theme)];
    lines.extend(indent(body(result, &value, width.saturating_sub(2), theme)));
    lines
}

/// Why a command did not run, for a call without an exit code.
fn why_blocked(error: &str) -> &'static str {
    let error = error.to_lowercase();
    let says = |words: &str| error.contains(words);
    if says("in time") || says("timed out") {
        "no answer"
    } else if says("interrupted") {
        "interrupted"
    } else if says("denied") {
        "denied"
    } else {
        "blocked"
    }
}

/// A call that has no result yet.
pub(crate) fn live(
    live: &LiveCall,
    now: Millis,
    width: usize,
    theme: &Theme,
) -> Vec<Line<'static>> {
    let (mark, fact) = match live.started_at {
        Some(at) => (theme.warn, span(between(now, at) / 1_000)),
        None => (theme.dim, "waiting".to_owned()),
    };
    let mut lines =
        vec![header(mark, &live.call.name, &summary(&live.call), &[fact], width, theme)];
    let shown = output(&live.output);
    lines.extend(indent(excerpt(&shown, 0, width.saturating_sub(2), theme.dim, theme)));
    lines
}

/// The subject of a call, one line.
fn summary(call: &ToolCall) -> String {
    let args = &call.args;
    let parts: &[&str] = match call.name.as_str() {
        "terminal" => &["command"],
        "process" => &["action", "session_id"],
        "read_file" | "write_file" | "patch" => &["path"],
        "search_files" => &["pattern", "path"],
        "clarify" => &["question"],
        "delegate_task" => &["goal"],
        _ => &[],
    };
    let known: Vec<&str> = parts.iter().filter_map(|part| string(args, part)).collect();
    if !known.is_empty() {
        return one_line(&known.join("  "));
    }
    match args {
        Value::Object(map) if call.name != "todo" => {
            one_line(map.values().find_map(Value::as_str).unwrap_or_default())
        }
        Value::String(text) => one_line(text),
        _ => String::new(),
    }
}

fn header(
    mark: Style,
    name: &str,
    summary: &str,
    facts: &[String],
    width: usize,
    theme: &Theme,
) -> Line<'static> {
    let name = one_line(name);
    // The subject matters more than the last facts, and keeps its beginning.
    let least = columns(summary).min(width * 2 / 5);
    let room = width.saturating_sub(4 + columns(&name));
    let mut shown = facts.len();
    let facts = loop {
        let some = facts.iter().take(shown);
        let text = some.fold(String::new(), |all, fact| all + " · " + fact);
        if shown <= 1 || columns(&text) + least <= room {
            break fit(&text, room.saturating_sub(least.min(width / 4)));
        }
        shown -= 1;
    };
    let room = width.saturating_sub(4 + columns(&name) + columns(&facts));
    let mut spans = vec![Span::styled("● ", mark), Span::styled(name, theme.bold)];
    if !summary.is_empty() && room > 3 {
        spans.push(Span::raw(format!("  {}", fit(summary, room))));
    }
    spans.push(Span::styled(facts, theme.dim));
    Line::from(spans)
}

fn body(result: &ToolResult, value: &Value, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let Value::Object(map) = value else {
        return excerpt(&output(tail(&result.text, LONG / 16)), HEAD, width, theme.dim, theme);
    };
    let mut lines = Vec::new();
    if let Some(diff) = string(value, "diff") {
        lines.extend(diff::lines(diff, width, theme));
    }
    match result.name.as_str() {
        "todo" => lines.extend(todos(value, width, theme)),
        "clarify" => {
            if let Some(answer) = string(value, "user_response") {
                let answer = clean(answer).into_owned();
                lines.extend(excerpt(&answer, HEAD, width, theme.text, theme));
            }
        }
        // Their content is for the agent; the header names the file.
        "read_file" | "write_file" | "patch" | "search_files" => {}
        _ if map.contains_key("pid") && map.contains_key("session_id") => {}
        _ => {
            let text = ["output", "output_preview", "content", "message", "summary"]
                .iter()
                .find_map(|key| string(value, key));
            let shown = output(text.unwrap_or_default());
            lines.extend(excerpt(&shown, HEAD, width, theme.dim, theme));
        }
    }
    if let Some(error) = string(value, "error") {
        let mut error = text(&output(error), theme.error, width, Break::Word);
        error.truncate(TAIL);
        lines.extend(error);
    }
    lines
}

fn todos(value: &Value, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let items = value.get("todos").and_then(Value::as_array);
    items
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .map(|item| {
            let (mark, style) = match string(item, "status") {
                Some("completed") => ("[x] ", theme.dim),
                Some("in_progress") => ("[>] ", theme.bold),
                Some("cancelled") => ("[-] ", theme.dim),
                Some(_) | None => ("[ ] ", theme.text),
            };
            let content = one_line(string(item, "content").unwrap_or_default());
            Line::styled(fit(&format!("{mark}{content}"), width), style)
        })
        .collect()
}

/// The head and the tail of an output that is already clean.
pub(crate) fn excerpt(
    output: &str,
    head: usize,
    width: usize,
    style: Style,
    theme: &Theme,
) -> Vec<Line<'static>> {
    let all: Vec<&str> = output.trim_end().lines().collect();
    let line = |text: &&str| Line::styled(fit(text, width), style);
    if output.trim().is_empty() {
        return Vec::new();
    }
    if all.len() <= head + TAIL {
        return all.iter().map(line).collect();
    }
    let mut lines: Vec<Line<'static>> = all.iter().take(head).map(line).collect();
    let hidden = all.len() - head - TAIL;
    lines.push(Line::styled(format!("… +{}", count(hidden, "line")), theme.dim));
    lines.extend(all.iter().skip(all.len() - TAIL).map(line));
    lines
}

fn indent(lines: Vec<Line<'static>>) -> impl Iterator<Item = Line<'static>> {
    lines.into_iter().map(|mut line| {
        let style = line.style;
        for span in &mut line.spans {
            span.style = style.patch(span.style);
        }
        line.style = Style::new();
        line.spans.insert(0, Span::raw("  "));
        line
    })
}

fn string<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}
