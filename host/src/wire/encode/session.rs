//! A session as hermes-webui sends it: the object with its messages, and the row of a list. Our
//! own additions have keys that such a server does not use; a client skips them.

use serde_json::{Map, Value, json};

use super::seconds;
use crate::session::mentioned;
use protocol::{
    Assistant, Attachment, Attention, Body, Exit, Goal, GoalState, Millis, Row, Running,
    SessionRow, Source, Stop, Tokens, Transcript, TurnId, Wakeup, WakeupKind,
};

/// What a session without a title is called.
pub(crate) const UNTITLED: &str = "Untitled";
/// Characters of a prompt that serve as a title.
const TITLE_CHARS: usize = 64;

/// A session with the messages of its window. `row` adds what only lists know.
///
/// The output of a running turn is left out: a client reads that from the turn's stream, from its
/// beginning.
pub(crate) fn session(transcript: &Transcript, row: Option<&SessionRow>) -> Value {
    let rows = settled(transcript);
    with_messages(head(transcript, row), rows, transcript.earlier)
}

/// A session without its messages.
pub(crate) fn head(transcript: &Transcript, row: Option<&SessionRow>) -> Value {
    let t = transcript;
    let rows = settled(t);
    let first = t.rows.first().filter(|_| t.earlier == 0).map(|row| row.at);
    let created =
        row.map(|row| row.started_at).filter(|at| *at > 0).or(first).or_else(|| created_at(t));
    let last = rows.last().map(|row| row.at);
    let active = row.map(|row| row.active_at).filter(|at| *at > 0).or(last).or(created);
    let users = (t.earlier == 0).then(|| rows.iter().filter(|row| is_user(&row.body)).count());
    let title = t
        .title
        .clone()
        .or_else(|| row.map(|row| row.title.clone()))
        .filter(|title| !title.is_empty())
        .or_else(|| preview(&t.rows))
        .unwrap_or_else(|| UNTITLED.to_owned());
    let mut object = identity(&t.session.0, &title, &t.cwd, &t.model);
    object.extend(map(json!({
        "message_count": t.earlier + rows.len() as u64,
        "user_message_count": users,
        "created_at": created.map(seconds),
        "updated_at": active.map(seconds),
        "last_message_at": last.or(active).map(seconds),
        "pinned": row.is_some_and(|row| row.pinned),
        "archived": row.is_some_and(|row| row.archived),
        "parent_session_id": t.parent.as_ref().map(|parent| &parent.0),
        "_compression_segment_count": row.map(|row| row.compressions + 1),
        "context_length": t.gauge.length,
        "threshold_tokens": null,
        "last_prompt_tokens": t.gauge.used,
        "manual_title": t.title.is_some(),
        "created_workspace": t.cwd,
        "enabled_toolsets": t.toolsets,
        "composer_draft": {},
        "process_wakeup_pause": t.held.as_ref().map_or(json!({}), |why| json!({ "reason": why })),
        "pending_attachments": t.attachments.iter().map(attachment).collect::<Vec<_>>(),
    })));
    object.extend(tokens(&t.tokens));
    object.extend(unknown());
    object.extend(origin(row.map_or("", |row| &row.source)));
    object.extend(running(t.running.as_ref()));
    object.extend(map(json!({
        "yolo_enabled": t.yolo,
        "reasoning_effort": t.reasoning,
        "goal": t.goal.as_ref().map(goal),
        "queued": t.queued.iter().map(|q| json!({ "id": q.id, "text": q.text })).collect::<Vec<_>>(),
        "pending_steer": t.steer,
        "regeneration_revision": revision(t),
    })));
    Value::Object(object)
}

/// Identifies what the session holds now: its last row, permanently. A client that regenerates the
/// last turn names it by this. `None`: there is nothing to regenerate now.
pub(crate) fn revision(transcript: &Transcript) -> Option<String> {
    let last = transcript.rows.last().filter(|_| transcript.running.is_none())?;
    Some(format!("{}-{}", last.turn, last.n))
}

/// Adds these messages to a session; `earlier` is the number of messages before them.
pub(crate) fn with_messages(mut session: Value, rows: &[Row], earlier: u64) -> Value {
    if let Some(object) = session.as_object_mut() {
        object.insert("messages".to_owned(), Value::Array(messages(rows)));
        // The messages themselves hold the calls.
        object.insert("tool_calls".to_owned(), json!([]));
        object.insert("_messages_truncated".to_owned(), json!(earlier > 0));
        object.insert("_messages_offset".to_owned(), json!(earlier));
        object.insert("_msg_limit_max".to_owned(), json!(MOST_MESSAGES));
    }
    session
}

/// Most messages that a client may request at once.
pub(crate) const MOST_MESSAGES: usize = 500;

/// A session as lists show it.
pub(crate) fn list_row(row: &SessionRow) -> Value {
    let title = if row.title.is_empty() { UNTITLED } else { &row.title };
    let mut object = identity(&row.id.0, title, &row.cwd, &row.model);
    object.extend(map(json!({
        "message_count": row.rows,
        "created_at": seconds(row.started_at),
        "updated_at": seconds(row.active_at),
        "last_message_at": seconds(row.active_at),
        "pinned": row.pinned,
        "archived": row.archived,
        "parent_session_id": row.parent.as_ref().map(|parent| &parent.0),
        "_compression_segment_count": row.compressions + 1,
        "context_length": null,
        "enabled_toolsets": row.toolsets,
        // Only the server knows it.
        "active_stream_id": null,
        "is_streaming": row.running,
        // A prompt is a message before its turn has a stream: no placeholder is ever needed.
        "has_pending_user_message": false,
        "pending_started_at": row.turn.map(|turn| seconds(turn.started_at)),
        "pending_user_source": row.turn.map(|turn| source(turn.source)),
        // Not counted: that would read every message of every session.
        "user_message_count": null,
        "attention": row.attention.map(|(kind, count)| attention(kind, count)),
        "cron_running": false,
    })));
    object.extend(tokens(&row.tokens));
    object.extend(unknown());
    object.extend(origin(&row.source));
    Value::Object(object)
}

/// Rows as messages, one each.
pub(crate) fn messages(rows: &[Row]) -> Vec<Value> {
    rows.iter().map(message).collect()
}

/// The rows that a client gets while a turn runs: all but the output of that turn.
pub(crate) fn settled(transcript: &Transcript) -> &[Row] {
    let running = transcript.running.as_ref().map(|running| running.turn);
    rows_before_output(&transcript.rows, running)
}

/// Rows up to the first one that is output of that turn: an answer or a tool's result.
pub(crate) fn rows_before_output(rows: &[Row], turn: Option<TurnId>) -> &[Row] {
    let is_output = |row: &Row| {
        Some(row.turn) == turn
            && match row.body {
                Body::Assistant(_) | Body::Tool(_) => true,
                Body::User { .. }
                | Body::Wakeup(_)
                | Body::Summary(_)
                | Body::Note { .. }
                | Body::Failure { .. } => false,
            }
    };
    let end = rows.iter().position(is_output).unwrap_or(rows.len());
    rows.get(..end).unwrap_or_default()
}

/// The object of a goal.
pub(crate) fn goal(goal: &Goal) -> Value {
    let (status, paused) = match &goal.state {
        GoalState::Active => ("active", None),
        GoalState::Paused(why) => ("paused", Some(why)),
        GoalState::Done => ("done", None),
    };
    json!({
        "goal": goal.text,
        "status": status,
        "turns_used": goal.turns,
        "max_turns": goal.max_turns,
        "last_verdict": goal.verdict,
        "last_reason": null,
        "paused_reason": paused,
    })
}

/// The object of an uploaded file.
pub(crate) fn attachment(file: &Attachment) -> Value {
    json!({
        "filename": file.name,
        "path": file.path,
        "size": file.size,
        "mime": file.mime,
        "is_image": file.mime.starts_with("image/"),
    })
}

fn identity(id: &str, title: &str, cwd: &str, model: &str) -> Map<String, Value> {
    map(json!({
        "session_id": id,
        "title": title,
        "workspace": cwd,
        "model": model,
        "model_provider": null,
        "project_id": null,
        "profile": "default",
    }))
}

/// The tokens of a session's requests, as far as a provider has counted them: unknown is `null`,
/// never 0 (S01). Without a price list the cost is unknown.
pub(crate) fn tokens(sums: &Tokens) -> Map<String, Value> {
    let known = |count: u64| (sums.requests > 0).then_some(count);
    let hits = (sums.cached > 0 && sums.input > 0)
        .then(|| ((sums.cached as f64 / sums.input as f64 * 100.0).round() as u64).min(100));
    map(json!({
        "input_tokens": known(sums.input),
        "output_tokens": known(sums.output),
        "total_tokens": known(sums.input.saturating_add(sums.output)),
        "cache_read_tokens": known(sums.cached),
        "cache_write_tokens": known(sums.written),
        "cache_hit_percent": hits,
        "estimated_cost": null,
    }))
}

/// Members that clients expect and that have no value here.
fn unknown() -> Map<String, Value> {
    map(json!({
        "post_compression_context_tokens_estimate": null,
        "compression_recovery": {},
        "personality": null,
        "read_only": false,
        "pre_compression_snapshot": false,
    }))
}

/// The origin of a session (S02). All of ours can be continued, so none is "of the command line" in
/// the sense of that protocol, where such a session must be imported first: its page lists the
/// imported ones (by `raw_source` and `session_source`) separately.
fn origin(source: &str) -> Map<String, Value> {
    let source = Some(source).filter(|source| !source.is_empty());
    map(json!({
        "is_cli_session": false,
        "source_tag": source,
        "raw_source": "webui",
        "session_source": "webui",
        "source_label": source,
    }))
}

fn running(running: Option<&Running>) -> Map<String, Value> {
    map(json!({
        // Only the server knows it.
        "active_stream_id": null,
        "is_streaming": running.is_some(),
        // The prompt of a turn is among the messages before the turn has a stream.
        "has_pending_user_message": false,
        "pending_user_message": null,
        "pending_started_at": running.map(|running| seconds(running.started_at)),
        "pending_user_source": running.map(|running| source(running.source)),
    }))
}

/// The source of a turn, as that protocol names it.
fn source(source: Source) -> &'static str {
    match source {
        Source::User => "webui",
        Source::Wakeup => "process_wakeup",
    }
}

fn attention(kind: Attention, count: u32) -> Value {
    match kind {
        Attention::Approval => {
            json!({ "kind": "approval", "count": count, "severity": "critical" })
        }
        Attention::Clarify => json!({ "kind": "clarify", "count": count, "severity": "question" }),
    }
}

/// Whether that protocol has it as a message of the user.
fn is_user(body: &Body) -> bool {
    match body {
        Body::User { .. } | Body::Wakeup(_) | Body::Note { .. } | Body::Summary(_) => true,
        Body::Assistant(_) | Body::Tool(_) | Body::Failure { .. } => false,
    }
}

/// When a session was created, by its id: for one without rows.
fn created_at(transcript: &Transcript) -> Option<Millis> {
    let stamp = transcript.session.0.get(..15)?;
    let time = jiff::civil::DateTime::strptime("%Y%m%d_%H%M%S", stamp).ok()?;
    let zoned = time.to_zoned(jiff::tz::TimeZone::system()).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

fn preview(rows: &[Row]) -> Option<String> {
    rows.iter().find_map(|row| match &row.body {
        Body::User { text } => Some(text.chars().take(TITLE_CHARS).collect()),
        _ => None,
    })
}

fn message(row: &Row) -> Value {
    let mut message = match &row.body {
        Body::User { text } => user(text),
        Body::Wakeup(wakeup) => json!({
            "role": "user",
            "content": wakeup.text,
            "_source": "process_wakeup",
            "_wakeup_meta": wakeup_meta(wakeup),
        }),
        Body::Note { text } => json!({ "role": "user", "content": text, "_source": "note" }),
        Body::Summary(summary) => json!({
            "role": "user",
            "content": summary.text,
            "_source": "summary",
            "_summary": {
                "head": summary.head,
                "tail": summary.tail,
                "rows": summary.rows,
                "before": summary.before,
                "after": summary.after,
            },
        }),
        Body::Assistant(answer) => assistant(answer),
        Body::Tool(result) => json!({
            "role": "tool",
            "name": result.name,
            "tool_name": result.name,
            "content": result.text,
            "tool_call_id": result.call,
            "_is_error": result.failed,
            "_duration_ms": result.millis,
        }),
        Body::Failure { message } => json!({
            "role": "assistant",
            "content": message,
            "_error": true,
            "provider_details": message,
            "provider_details_label": "Details",
        }),
    };
    if let Some(fields) = message.as_object_mut() {
        fields.insert("id".to_owned(), json!(row.n));
        fields.insert("timestamp".to_owned(), json!(seconds(row.at)));
        fields.insert("_db_persisted".to_owned(), json!(true));
        fields.insert("_turn".to_owned(), json!(row.turn));
        if row.cut > 0 {
            let text = fields.get("content").and_then(Value::as_str).unwrap_or_default();
            let text = format!("[{} bytes before this are left out]\n{text}", row.cut);
            fields.insert("content".to_owned(), Value::String(text));
            fields.insert("_cut".to_owned(), json!(row.cut));
        }
    }
    message
}

fn user(text: &str) -> Value {
    let mut message = json!({ "role": "user", "content": text });
    let files = mentioned(text);
    if !files.is_empty() {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        message["attachments"] = files.into_iter().map(name).collect();
    }
    message
}

fn assistant(answer: &Assistant) -> Value {
    let reasoning = Some(&answer.reasoning).filter(|text| !text.is_empty());
    let mut message = json!({
        "role": "assistant",
        "content": answer.text,
        "reasoning": reasoning,
    });
    let finish = match answer.stop {
        Stop::End => Some("stop"),
        Stop::Calls => Some("tool_calls"),
        Stop::Length => Some("length"),
        Stop::Partial => None,
    };
    match finish {
        Some(reason) => message["finish_reason"] = json!(reason),
        None => message["_partial"] = json!(true),
    }
    if !answer.calls.is_empty() {
        let calls = answer.calls.iter().map(|call| {
            // A string is what the model wrote instead of JSON: it is sent as it was.
            let arguments = match &call.args {
                Value::String(text) => text.clone(),
                args => args.to_string(),
            };
            json!({
                "id": call.id,
                "call_id": call.id,
                "type": "function",
                "function": { "name": call.name, "arguments": arguments },
            })
        });
        message["tool_calls"] = calls.collect();
    }
    message
}

fn wakeup_meta(wakeup: &Wakeup) -> Value {
    let kind = match wakeup.kind {
        WakeupKind::Exit => "completion",
        WakeupKind::Match => "watch_match",
        WakeupKind::WatchDisabled => "watch_disabled",
        WakeupKind::Delegation => "async_delegation",
    };
    let mut meta = json!({
        "type": kind,
        "task_id": wakeup.process,
        "command": wakeup.command,
        "ordinal": wakeup.ordinal,
    });
    if let Some(pattern) = &wakeup.pattern {
        meta["pattern"] = json!(pattern);
    }
    if let Some(Exit { end, code, signal, at }) = &wakeup.exit {
        meta["exit_code"] = json!(code);
        meta["end"] = json!(end);
        meta["signal"] = json!(signal);
        meta["ended_at"] = json!(seconds(*at));
    }
    meta
}

/// The members of an object.
fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
