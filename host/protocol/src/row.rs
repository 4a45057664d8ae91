//! The rows of a session: what is stored of a conversation.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{CallId, Millis, ProcessId, TurnId};
use crate::process::Exit;

/// One stored entry of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its number in the session, from 1 without gaps. Numbers of removed rows are used again; row
    /// number and turn together are unique.
    pub n: u64,
    /// The turn it belongs to.
    pub turn: TurnId,
    /// When it was written.
    pub at: Millis,
    /// Bytes left out at the front of its text because the window holds only its tail.
    #[serde(default)]
    pub cut: u64,
    /// Its content.
    pub body: Body,
}

/// The content of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// The user's prompt.
    User {
        /// What was typed.
        text: String,
    },
    /// A background event reported to the agent (W24).
    Wakeup(Wakeup),
    /// A summary that stands for older rows in the model's context.
    Summary(Summary),
    /// A note of the host to the agent.
    Note {
        /// The line.
        text: String,
    },
    /// The model's answer, or as much of it as arrived.
    Assistant(Assistant),
    /// The result of a tool call.
    Tool(ToolResult),
    /// Why a turn failed. Shown to the user; not part of the model's context.
    Failure {
        /// What went wrong and what to do.
        message: String,
    },
}

/// A summary that stands for older rows in the model's context. The rows stay in the transcript.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The summary as the model gets it.
    pub text: String,
    /// Rows up to this number stay in the context verbatim: the head.
    pub head: u64,
    /// Rows from this number on stay in the context verbatim: the tail. Those between are summarised.
    pub tail: u64,
    /// The number of summarised rows, including those of earlier summaries.
    pub rows: u64,
    /// Tokens of the context before, as far as they were known or estimated.
    pub before: u64,
    /// Tokens of the context after, estimated.
    pub after: u64,
}

/// A background event reported to the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wakeup {
    /// The process.
    pub process: ProcessId,
    /// What happened.
    pub kind: WakeupKind,
    /// Distinguishes several events of one kind of one process.
    pub ordinal: u64,
    /// The command of the process.
    pub command: String,
    /// How it ended, for an exit.
    pub exit: Option<Exit>,
    /// The pattern that matched, for a match.
    pub pattern: Option<String>,
    /// The message as the model gets it.
    pub text: String,
}

/// What a wakeup is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WakeupKind {
    /// The process ended.
    Exit,
    /// A line matched a watch pattern.
    Match,
    /// A watch was switched off because it matched too often.
    WatchDisabled,
    /// A delegated task ended.
    Delegation,
}

/// A model's answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assistant {
    /// The text.
    pub text: String,
    /// The reasoning shown before it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reasoning: String,
    /// The tool calls it ends with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// Why it ended.
    pub stop: Stop,
    /// What the provider wants back unchanged (reasoning signatures), in its own format.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub opaque: Value,
}

/// Why a model's answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The model was done.
    #[default]
    End,
    /// It ends with tool calls to run.
    Calls,
    /// It reached the output limit.
    Length,
    /// The stream broke or the turn was interrupted: the text is partial.
    Partial,
}

/// A tool call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Its id.
    pub id: CallId,
    /// The tool.
    pub name: String,
    /// The arguments; a string if what the model wrote was not JSON.
    pub args: Value,
}

/// The result of a tool call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// Whose result it is.
    pub call: CallId,
    /// The tool.
    pub name: String,
    /// What the model gets: JSON for all of hermes' tools.
    pub text: String,
    /// Whether the tool reported a failure.
    pub failed: bool,
    /// Its run time in milliseconds.
    pub millis: u64,
    /// The call asked the user and nobody answered in time (R04).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unanswered: bool,
}

impl Row {
    /// Its main text, which may be of any length.
    pub fn text(&self) -> &str {
        match &self.body {
            Body::User { text } | Body::Note { text } | Body::Failure { message: text } => text,
            Body::Wakeup(wakeup) => &wakeup.text,
            Body::Summary(summary) => &summary.text,
            Body::Assistant(answer) => &answer.text,
            Body::Tool(result) => &result.text,
        }
    }

    /// As [`Row::text`], mutable.
    pub fn text_mut(&mut self) -> &mut String {
        match &mut self.body {
            Body::User { text } | Body::Note { text } | Body::Failure { message: text } => text,
            Body::Wakeup(wakeup) => &mut wakeup.text,
            Body::Summary(summary) => &mut summary.text,
            Body::Assistant(answer) => &mut answer.text,
            Body::Tool(result) => &mut result.text,
        }
    }
}

/// The calls of the last answer in these rows that have no result yet. A later turn closes them: a
/// call whose result was removed has already run and must not run again.
pub fn open_calls<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<ToolCall> {
    let mut calls = Vec::new();
    let mut turn = TurnId(0);
    for row in rows {
        if row.turn != turn {
            calls.clear();
            turn = row.turn;
        }
        match &row.body {
            Body::Assistant(answer) => calls.clone_from(&answer.calls),
            Body::Tool(result) => calls.retain(|call| call.id != result.call),
            Body::User { .. }
            | Body::Wakeup(_)
            | Body::Summary(_)
            | Body::Note { .. }
            | Body::Failure { .. } => {}
        }
    }
    calls
}

/// Keeps the last `max` bytes of a text, cut at a character.
pub fn keep_tail(text: &mut String, max: usize) {
    let cut = text.ceil_char_boundary(text.len().saturating_sub(max));
    text.drain(..cut);
}
