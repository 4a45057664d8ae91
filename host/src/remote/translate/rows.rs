//! Messages of a hermes-webui as rows, sessions as lines of a list. Pure.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::wire::decode;
use protocol::{
    Assistant, Attention, Body, CallId, Delivery, Found, Gauge, News, ProcessId, Row, SessionId,
    SessionRow, Stop, Summary, ToolCall, ToolResult, TurnId,
};

use super::is_prompt;

/// How a compression's summary begins, which hermes stores as a message.
const COMPACTED: &str = "[CONTEXT COMPACTION";

/// The rows of a session's window. `durations` is what is known of how long calls ran.
pub(super) fn rows(session: &decode::Session, durations: &HashMap<CallId, u64>) -> Vec<Row> {
    let users = session.messages.iter().filter(|m| m.role == "user").count() as u64;
    // The turns before the window, as far as the server's count tells them.
    let mut turn = session.user_message_count.saturating_sub(users);
    if session.messages_offset == 0 {
        turn = 0;
    }
    let mut rows = Vec::new();
    for (at, message) in session.messages.iter().enumerate() {
        let n = session.messages_offset + 1 + at as u64;
        if twice(message, session.messages.get(at + 1)) {
            continue;
        }
        turn += u64::from(message.role == "user");
        if let Some(body) = body(message, durations) {
            rows.push(Row { n, turn: TurnId(turn.max(1)), at: message.timestamp, cut: 0, body });
        }
    }
    rows
}

/// Whether the server tells a prompt twice: where two follow each other without an answer it has
/// the later one from both its stores, and takes them for two.
fn twice(message: &decode::Message, next: Option<&decode::Message>) -> bool {
    let again = |next: &decode::Message| {
        next.role == "user" && next.stored && typed(&next.content) == typed(&message.content)
    };
    message.role == "user" && !message.stored && next.is_some_and(again)
}

/// What a message says; `None` = nothing to show.
fn body(message: &decode::Message, durations: &HashMap<CallId, u64>) -> Option<Body> {
    let text = &message.content;
    match message.role.as_str() {
        "user" => {
            let marked = message.source == "process_wakeup";
            let wakeup = decode::wakeup(text, message.timestamp, message.wakeup.as_ref(), marked);
            Some(match (wakeup, message.source.as_str()) {
                (Some(wakeup), _) => Body::Wakeup(wakeup),
                // How a `hermes-tui serve` tells what is no user's word.
                (None, "note") => Body::Note { text: text.clone() },
                (None, "summary") => summary(message),
                (None, _) if text.starts_with(COMPACTED) => Body::Note { text: text.clone() },
                (None, _) => Body::User { text: typed(text).to_owned() },
            })
        }
        "assistant" if message.error => Some(Body::Failure { message: unmarked(text) }),
        "assistant" if text.starts_with(COMPACTED) => Some(Body::Note { text: text.clone() }),
        "assistant" => {
            let calls: Vec<_> = message.tool_calls.iter().map(call).collect();
            if text.is_empty() && message.reasoning.is_empty() && calls.is_empty() {
                return None;
            }
            let stop = match message.finish_reason.as_str() {
                _ if message.partial => Stop::Partial,
                "length" => Stop::Length,
                _ if !calls.is_empty() => Stop::Calls,
                _ => Stop::End,
            };
            let (text, reasoning) = (text.clone(), message.reasoning.clone());
            Some(Body::Assistant(Assistant { text, reasoning, calls, stop, opaque: Value::Null }))
        }
        "tool" => {
            let call = CallId(message.tool_call_id.clone());
            let name = if message.name.is_empty() { &message.tool_name } else { &message.name };
            Some(Body::Tool(ToolResult {
                name: name.clone(),
                failed: failed(text),
                millis: durations.get(&call).copied().unwrap_or(0),
                text: text.clone(),
                unanswered: false,
                call,
            }))
        }
        _ => None,
    }
}

/// A summary; one that does not say what it stands for is a note.
fn summary(message: &decode::Message) -> Body {
    let text = message.content.clone();
    let Some(of) = &message.summary else { return Body::Note { text } };
    let decode::SummaryMeta { head, tail, rows, before, after } = *of;
    Body::Summary(Summary { text, head, tail, rows, before, after })
}

/// An error is shown as it is written; the server writes its own for a browser, with emphasis.
fn unmarked(text: &str) -> String {
    let line = |line: &str| {
        let slanted = line.strip_prefix('*').and_then(|rest| rest.strip_suffix('*'));
        slanted.unwrap_or(line).replace("**", "")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// What the user typed: after a failed turn the server keeps the line it puts before it, for the model.
fn typed(text: &str) -> &str {
    let rest = text.strip_prefix("[Workspace::v1: ").and_then(|rest| rest.split_once("]\n"));
    rest.filter(|(path, _)| !path.contains('\n')).map_or(text, |(_, typed)| typed)
}

fn call(call: &decode::Call) -> ToolCall {
    let id = if call.id.is_empty() { &call.call_id } else { &call.id };
    let args = match &call.function.arguments {
        Value::String(text) => {
            serde_json::from_str(text).unwrap_or_else(|_| call.function.arguments.clone())
        }
        other => other.clone(),
    };
    ToolCall { id: CallId(id.clone()), name: call.function.name.clone(), args }
}

/// Whether a result says of itself that it failed.
fn failed(text: &str) -> bool {
    let Ok(Value::Object(value)) = serde_json::from_str(text) else { return false };
    let error = value.get("error").is_some_and(|e| !e.is_null() && e != "" && e != false);
    let code = value.get("exit_code").and_then(Value::as_i64).is_some_and(|code| code != 0);
    error || code || value.get("success") == Some(&Value::Bool(false))
}

/// The arguments of a live call: the server sends texts in Python's spelling, four at most.
pub(super) fn live_args(args: &serde_json::Map<String, Value>) -> Value {
    let spelled = |value: &Value| match value.as_str() {
        Some("True") => Value::Bool(true),
        Some("False") => Value::Bool(false),
        Some("None") => Value::Null,
        Some(_) | None => value.clone(),
    };
    Value::Object(args.iter().map(|(name, value)| (name.clone(), spelled(value))).collect())
}

/// How full the context is; a 0 is the server's way of not knowing (S01).
pub(super) fn gauge(used: Option<u64>, length: Option<u64>) -> Gauge {
    Gauge { used: used.filter(|n| *n > 0), length: length.filter(|n| *n > 0) }
}

/// The lines of the list, newest first. What a compression left behind is folded into the session
/// that goes on (S03); branches and delegated sessions stay lines of their own.
pub(in crate::remote) fn list(sessions: &[decode::Session]) -> Vec<SessionRow> {
    let by_id: HashMap<&str, &decode::Session> =
        sessions.iter().map(|s| (s.session_id.as_str(), s)).collect();
    let mut folded = HashSet::new();
    let mut segments: HashMap<&str, u32> = HashMap::new();
    for session in sessions.iter().filter(|s| !s.pre_compression_snapshot) {
        let mut parent = session.parent_session_id.as_deref();
        while let Some(before) = parent.and_then(|id| by_id.get(id)) {
            // A fork has a parent too; only a snapshot is the same conversation.
            if !before.pre_compression_snapshot || !folded.insert(before.session_id.as_str()) {
                break;
            }
            *segments.entry(session.session_id.as_str()).or_default() += 1;
            parent = before.parent_session_id.as_deref();
        }
        // Of a lineage that the server names, only its tip is a line.
        let tip = session.lineage_tip.as_deref().filter(|tip| *tip != session.session_id);
        if tip.is_some_and(|tip| by_id.contains_key(tip)) {
            folded.insert(session.session_id.as_str());
        }
    }
    let mut rows: Vec<_> = sessions
        .iter()
        .filter(|s| !s.session_id.is_empty() && !folded.contains(s.session_id.as_str()))
        .map(|s| line(s, segments.get(s.session_id.as_str()).copied().unwrap_or(0)))
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.active_at));
    rows
}

fn line(session: &decode::Session, folded: u32) -> SessionRow {
    let source = session.source_tag.as_ref().or(session.session_source.as_ref());
    SessionRow {
        id: SessionId(session.session_id.clone()),
        title: session.title.clone(),
        started_at: session.created_at,
        active_at: session.last_message_at.max(session.created_at),
        rows: session.message_count,
        model: session.model.clone(),
        source: source.map_or_else(|| "webui".to_owned(), Clone::clone),
        cwd: session.workspace.clone(),
        parent: session.parent_session_id.clone().map(SessionId),
        compressions: folded.max(session.segments.saturating_sub(1)),
        archived: session.archived,
        pinned: session.pinned,
        running: session.is_streaming,
        attention: session.attention.as_ref().and_then(|attention| {
            let kind = match attention.kind.as_str() {
                "approval" => Attention::Approval,
                "clarify" => Attention::Clarify,
                _ => return None,
            };
            Some((kind, attention.count.max(1)))
        }),
        ..SessionRow::default()
    }
}

/// What woke the last turn of a session, if the user did not: a line of news about it.
pub(in crate::remote) fn woken_by(session: &decode::Session) -> Option<(ProcessId, News, String)> {
    let asked = rows(session, &HashMap::new()).into_iter().rfind(|row| is_prompt(&row.body))?;
    let Body::Wakeup(wakeup) = asked.body else { return None };
    let news = match (wakeup.exit, wakeup.pattern) {
        (Some(exit), _) => News::Ended { exit, delivery: Delivery::Delivered },
        (None, Some(pattern)) => News::Matched { pattern },
        (None, None) => News::WatchDisabled,
    };
    Some((wakeup.process, news, wakeup.command))
}

/// What a search found.
pub(in crate::remote) fn search_hits(sessions: &[decode::Session]) -> Vec<Found> {
    let named = sessions.iter().filter(|s| !s.session_id.is_empty());
    let found = named.map(|s| Found {
        session: SessionId(s.session_id.clone()),
        title: s.title.clone(),
        excerpt: s.match_preview.clone(),
    });
    found.collect()
}

/// The session used last that is not put away.
pub(in crate::remote) fn latest(sessions: &[decode::Session]) -> Option<SessionId> {
    list(sessions).into_iter().find(|row| !row.archived).map(|row| row.id)
}
