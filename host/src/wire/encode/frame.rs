//! The frames of streams: one event each, and the objects that they carry.

mod encoder;
mod meter;

use serde_json::{Map, Value, json};

pub(crate) use encoder::FrameEncoder;

use super::seconds;
use super::session::UNTITLED;
use protocol::{
    Answer, Ask, Choice, End, Exit, Goal, GoalState, Millis, News, Question, QuestionId, SessionId,
    Toast, Transcript,
};

/// Most arguments of a call that are shown.
const MAX_ARGS: usize = 4;
/// Most characters of an argument.
const ARG_CHARS: usize = 120;
/// Most characters of a tool's result.
const PREVIEW_CHARS: usize = 2_000;

/// One event of a stream: its name and its data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) name: &'static str,
    pub(crate) data: Value,
}

impl Frame {
    pub(crate) fn new(name: &'static str, data: Value) -> Self {
        Self { name, data }
    }
}

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Approval,
    Clarify,
}

impl Kind {
    /// Its name in events and paths.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Clarify => "clarify",
        }
    }

    /// The kind of a question.
    pub(crate) fn of(question: &Question) -> Self {
        match question.ask {
            Ask::Approval { .. } => Self::Approval,
            Ask::Clarify { .. } => Self::Clarify,
        }
    }
}

/// The oldest pending question of a kind, and how many there are (C01, C02).
pub(crate) fn head(questions: &[Question], kind: Kind) -> (Option<&Question>, usize) {
    let mut pending = questions.iter().filter(|q| Kind::of(q) == kind);
    let head = pending.next();
    (head, usize::from(head.is_some()) + pending.count())
}

/// The object of a pending question.
pub(crate) fn question(session: &SessionId, question: &Question) -> Value {
    let timeout = question.timeout as f64 / 1000.0;
    match &question.ask {
        Ask::Approval { command, part, rule, reason, allow_always } => json!({
            "command": command,
            "pattern_key": rule,
            "pattern_keys": [rule],
            "description": reason,
            "allow_permanent": allow_always,
            "approval_id": question.id,
            "session_id": session,
            "part": part,
            "requested_at": seconds(question.asked_at),
            "timeout_seconds": timeout,
            "expires_at": question.deadline.map(seconds),
        }),
        Ask::Clarify { question: text, choices } => json!({
            "question": text,
            "choices_offered": choices,
            "session_id": session,
            "kind": "clarify",
            "requested_at": seconds(question.asked_at),
            "timeout_seconds": timeout,
            // 0 = its clock has not started.
            "expires_at": question.deadline.map_or(0.0, seconds),
            "clarify_id": question.id,
        }),
    }
}

/// The frame `resolved`: a question is no longer pending; `by` is the client that answered it.
pub(crate) fn resolved(
    session: &SessionId,
    kind: Kind,
    id: &QuestionId,
    answer: &Answer,
    by: Option<&str>,
) -> Frame {
    let (outcome, value) = match answer {
        Answer::Approval(choice) => ("answered", json!(choice_name(*choice))),
        Answer::Text(text) => ("answered", json!(text)),
        Answer::Expired => ("expired", Value::Null),
        Answer::Withdrawn => ("withdrawn", Value::Null),
    };
    let (id_key, key) = match kind {
        Kind::Approval => ("approval_id", "choice"),
        Kind::Clarify => ("clarify_id", "response"),
    };
    Frame::new(
        "resolved",
        json!({
            "session_id": session,
            "kind": kind.name(),
            id_key: id,
            "outcome": outcome,
            key: value,
            "by": by,
        }),
    )
}

/// The name of a choice in requests and events.
pub(crate) fn choice_name(choice: Choice) -> &'static str {
    match choice {
        Choice::Once => "once",
        Choice::Session => "session",
        Choice::Always => "always",
        Choice::Deny => "deny",
    }
}

/// The data of `bg_task_complete` and its alias, if the toast is about a task. The same event of
/// the ledger has the same id in every stream, however often it is sent (E11).
pub(crate) fn background(toast: &Toast, transcript: &Transcript, now: Millis) -> Option<Value> {
    let id = toast.process.as_ref()?;
    let task = if id.0.starts_with("deleg_") { "Delegated task" } else { "Background process" };
    let (kind, ordinal, at, summary) = match &toast.news {
        News::Ended { exit, .. } => {
            ("exit", 0, exit.at, format!("IMPORTANT: {task} {id} {}.", ended(exit)))
        }
        News::Matched { pattern } => {
            let known = transcript.processes.iter().find(|p| p.id == *id);
            let ordinal = known.map_or(0, |p| p.watching.matches);
            let text = format!("IMPORTANT: {task} {id} matched watch pattern \"{pattern}\".");
            ("match", ordinal, now, text)
        }
        News::WatchDisabled => {
            let text = format!("IMPORTANT: Watch patterns disabled for process {id}.");
            ("watch_disabled", 0, now, text)
        }
        News::Tripped
        | News::Released { .. }
        | News::Asked
        | News::Held { .. }
        | News::Working { .. }
        | News::Late
        | News::Unknown => return None,
    };
    let exit_code = match &toast.news {
        News::Ended { exit, .. } => json!(exit.code),
        _ => Value::Null,
    };
    Some(json!({
        "session_id": toast.session,
        "task_id": id,
        "completed_at": seconds(at),
        "event_id": format!("{id}-{kind}-{ordinal}"),
        "summary": summary,
        "kind": kind,
        "exit_code": exit_code,
        "text": toast.text,
    }))
}

/// How a task ended, in the phrases that clients parse; an unknown code is `?`, never 0 (W12).
fn ended(exit: &Exit) -> String {
    let code = exit.code.map_or_else(|| "?".to_owned(), |code| code.to_string());
    let how = match exit.end {
        End::Exited => "completed",
        End::Killed => "was killed",
        End::Lost => "was lost",
        End::FailedStart => "failed to start",
    };
    format!("{how} (exit_code={code})")
}

/// The frame that replaces frames that are no longer available: the client reloads the session.
/// `last` is the number of the newest frame, `dropped` how many are missing.
pub(crate) fn interrupted(session: &SessionId, stream: &str, last: u64, dropped: u64) -> Frame {
    Frame::new(
        "apperror",
        json!({
            "message": "This part of the turn can no longer be replayed.",
            "type": "interrupted",
            "hint": "Load the session to see what it holds.",
            "recovery_control": true,
            "session_id": session,
            "stream_id": stream,
            "journal_last_seq": last,
            "offline_dropped_events": dropped,
        }),
    )
}

/// The frame `title`.
pub(crate) fn title(session: &SessionId, title: &str) -> Frame {
    let title = if title.is_empty() { UNTITLED } else { title };
    Frame::new("title", json!({ "session_id": session, "title": title }))
}

fn goal(session: &SessionId, goal: Option<&Goal>) -> Frame {
    let (state, message) = match goal {
        None => ("idle", "The goal was cleared.".to_owned()),
        Some(Goal { state: GoalState::Active, verdict, turns, max_turns, .. }) => {
            let verdict = verdict.as_deref().map(|v| format!(": {v}")).unwrap_or_default();
            ("continuing", format!("Goal, turn {turns} of {max_turns}{verdict}"))
        }
        Some(Goal { state: GoalState::Paused(why), .. }) => {
            ("idle", format!("The goal waits: {why}"))
        }
        Some(Goal { state: GoalState::Done, .. }) => ("idle", "The goal is reached.".to_owned()),
    };
    Frame::new(
        "goal",
        json!({
            "session_id": session,
            "state": state,
            "message": message,
            "message_key": null,
            "goal": goal,
        }),
    )
}

/// Arguments as that protocol shows them: the first four, as text, cut.
fn args(args: &Value) -> Value {
    let Value::Object(args) = args else { return Value::Object(Map::new()) };
    let shown = args.iter().take(MAX_ARGS).map(|(key, value)| {
        let text: String = python(value, false).chars().take(ARG_CHARS).collect();
        (key.clone(), Value::String(text))
    });
    Value::Object(shown.collect())
}

/// A value as Python's `str` writes it; `inner` = it is part of another value.
fn python(value: &Value, inner: bool) -> String {
    let joined = |items: Vec<String>| items.join(", ");
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if inner => {
            let text = text.replace('\\', "\\\\").replace('\n', "\\n");
            match (text.contains('\''), text.contains('"')) {
                (true, false) => format!("\"{text}\""),
                _ => format!("'{}'", text.replace('\'', "\\'")),
            }
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", joined(items.iter().map(|item| python(item, true)).collect()))
        }
        Value::Object(items) => {
            let pair = |(key, value): (&String, &Value)| {
                format!("{}: {}", python(&json!(key), true), python(value, true))
            };
            format!("{{{}}}", joined(items.iter().map(pair).collect()))
        }
    }
}

/// The short text of a result: its error or output where it has one.
fn preview(text: &str) -> String {
    let parsed = serde_json::Deserializer::from_str(text).into_iter::<Value>().next();
    let output = match parsed {
        Some(Ok(Value::Object(result))) => {
            let of = |key: &str| {
                let text = result.get(key).and_then(Value::as_str).map(str::trim);
                text.filter(|text| !text.is_empty()).map(str::to_owned)
            };
            of("error").or_else(|| of("output"))
        }
        _ => None,
    };
    output.as_deref().unwrap_or(text).chars().take(PREVIEW_CHARS).collect()
}

#[cfg(test)]
mod tests;
