//! How values are spelt in columns: JSON for what is only carried, words for what is searched by,
//! and chunks for long texts. No SQL here.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Stage};
use protocol::{Assistant, Body, Part, Source, Summary, ToolResult, TurnId, Wakeup, WakeupKind};

/// The version of every JSON payload written today.
pub(super) const V: i64 = 1;

/// Texts beyond this many bytes live in chunks.
pub(super) const LONG: usize = 64 * 1024;

/// Bytes of a chunk, about: it ends at a character.
const CHUNK: usize = 32 * 1024;

/// JSON of a plain value.
pub(super) fn json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
}

/// A plain value from its JSON; `what` names it in the error.
pub(super) fn parse<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|source| Error::Unreadable { what: what.to_owned(), source })
}

/// A row's body as it is stored.
pub(super) struct Split<'a> {
    /// The JSON, without long texts.
    pub(super) body: String,
    /// The text, if it is long.
    pub(super) text: Option<&'a str>,
    /// The reasoning, if it is long.
    pub(super) reasoning: Option<&'a str>,
}

/// Splits long texts from a body.
pub(super) fn split(body: &Body) -> rusqlite::Result<Split<'_>> {
    let long = |text: &'_ str| text.len() > LONG;
    let (text, reasoning) = match body {
        Body::User { text } | Body::Note { text } | Body::Failure { message: text } => (text, None),
        Body::Wakeup(wakeup) => (&wakeup.text, None),
        Body::Summary(summary) => (&summary.text, None),
        Body::Assistant(answer) => (&answer.text, Some(&answer.reasoning)),
        Body::Tool(result) => (&result.text, None),
    };
    let text = Some(text.as_str()).filter(|t| long(t));
    let reasoning = reasoning.map(String::as_str).filter(|t| long(t));
    if text.is_none() && reasoning.is_none() {
        return Ok(Split { body: json(body)?, text, reasoning });
    }
    Ok(Split { body: json(&without_long_texts(body))?, text, reasoning })
}

/// A copy of a body with long texts left empty.
fn without_long_texts(body: &Body) -> Body {
    let short = |text: &String| if text.len() > LONG { String::new() } else { text.clone() };
    match body {
        Body::User { text } => Body::User { text: short(text) },
        Body::Note { text } => Body::Note { text: short(text) },
        Body::Failure { message } => Body::Failure { message: short(message) },
        Body::Wakeup(Wakeup { process, kind, ordinal, command, exit, pattern, text }) => {
            Body::Wakeup(Wakeup {
                process: process.clone(),
                kind: *kind,
                ordinal: *ordinal,
                command: command.clone(),
                exit: exit.clone(),
                pattern: pattern.clone(),
                text: short(text),
            })
        }
        Body::Summary(Summary { text, head, tail, rows, before, after }) => {
            Body::Summary(Summary {
                text: short(text),
                head: *head,
                tail: *tail,
                rows: *rows,
                before: *before,
                after: *after,
            })
        }
        Body::Assistant(Assistant { text, reasoning, calls, stop, opaque }) => {
            Body::Assistant(Assistant {
                text: short(text),
                reasoning: short(reasoning),
                calls: calls.clone(),
                stop: *stop,
                opaque: opaque.clone(),
            })
        }
        Body::Tool(ToolResult { call, name, text, failed, millis, unanswered }) => {
            Body::Tool(ToolResult {
                call: call.clone(),
                name: name.clone(),
                text: short(text),
                failed: *failed,
                millis: *millis,
                unanswered: *unanswered,
            })
        }
    }
}

/// The chunks of a long text.
pub(super) fn chunks(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let (chunk, rest) = text.split_at(text.floor_char_boundary(CHUNK));
        text = rest;
        Some(chunk)
    })
}

/// The word for a kind of event.
pub(super) fn kind_word(kind: WakeupKind) -> &'static str {
    match kind {
        WakeupKind::Exit => "exit",
        WakeupKind::Match => "match",
        WakeupKind::WatchDisabled => "watch_disabled",
        WakeupKind::Delegation => "delegation",
    }
}

/// A value from the word it is stored as.
pub(super) fn from_word<T: DeserializeOwned>(word: &str, what: &str) -> Result<T, Error> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|source| Error::Unreadable { what: what.to_owned(), source })
}

/// The word for a part of an answer.
pub(super) fn part_word(part: Part) -> &'static str {
    match part {
        Part::Text => "text",
        Part::Reasoning => "reasoning",
    }
}

/// The word for the source of a turn.
pub(super) fn source_word(source: Source) -> &'static str {
    match source {
        Source::User => "user",
        Source::Wakeup => "wakeup",
    }
}

/// A ledger stage as columns: word, turn, reason.
pub(super) fn stage_columns(stage: &Stage) -> (&'static str, Option<i64>, Option<&str>) {
    match stage {
        Stage::Spawned => ("spawned", None, None),
        Stage::Finished => ("finished", None, None),
        Stage::Claimed(turn) => ("claimed", Some(turn.0 as i64), None),
        Stage::Delivered(turn) => ("delivered", Some(turn.0 as i64), None),
        Stage::Consumed => ("consumed", None, None),
        Stage::Held(reason) => ("held", None, Some(reason)),
        Stage::Stale => ("stale", None, None),
        Stage::Orphaned => ("orphaned", None, None),
    }
}

/// The stage of columns. An unknown word counts as held, so that nothing is lost silently.
pub(super) fn stage(word: &str, turn: Option<i64>, reason: Option<String>) -> Stage {
    let turn = TurnId(turn.unwrap_or(0) as u64);
    match word {
        "spawned" => Stage::Spawned,
        "finished" => Stage::Finished,
        "claimed" => Stage::Claimed(turn),
        "delivered" => Stage::Delivered(turn),
        "consumed" => Stage::Consumed,
        "held" => Stage::Held(reason.unwrap_or_default()),
        "stale" => Stage::Stale,
        "orphaned" => Stage::Orphaned,
        other => Stage::Held(format!("its state in the database is unknown ({other})")),
    }
}
