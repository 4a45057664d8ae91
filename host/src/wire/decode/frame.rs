//! The data of events of the chat stream and of the session channel.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Session, count, known_count, ok, seconds};
use protocol::Millis;

/// `token`, `reasoning`, `pending_steer_leftover`: a text. Also `warning`, `compressing`, `goal`: a
/// message, and `goal_continue`: what to go on with.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct TextFrame {
    #[serde(deserialize_with = "ok")]
    pub text: String,
    #[serde(deserialize_with = "ok")]
    pub message: String,
    #[serde(deserialize_with = "ok")]
    pub continuation_prompt: String,
    /// Of `goal`: `evaluating`, `continuing`, `idle`.
    #[serde(deserialize_with = "ok")]
    pub state: String,
}

/// `interim_assistant`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Interim {
    #[serde(deserialize_with = "ok")]
    pub text: String,
    #[serde(deserialize_with = "ok")]
    pub already_streamed: bool,
}

/// `tool` and `tool_complete`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ToolFrame {
    #[serde(deserialize_with = "ok")]
    pub name: String,
    #[serde(deserialize_with = "ok")]
    pub preview: String,
    #[serde(deserialize_with = "ok")]
    pub args: Map<String, Value>,
    #[serde(deserialize_with = "ok")]
    pub tid: String,
    #[serde(deserialize_with = "ok")]
    pub is_error: bool,
    #[serde(deserialize_with = "ok")]
    pub duration: f64,
}

/// The numbers of `metering` and `done`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct UsageNumbers {
    #[serde(deserialize_with = "count")]
    pub output_tokens: u64,
    #[serde(deserialize_with = "count")]
    pub cache_read_tokens: u64,
    #[serde(deserialize_with = "known_count")]
    pub context_length: Option<u64>,
    #[serde(deserialize_with = "known_count")]
    pub last_prompt_tokens: Option<u64>,
}

/// `metering`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Metering {
    #[serde(deserialize_with = "ok")]
    pub usage: Option<UsageNumbers>,
}

/// `done`: the authoritative transcript.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Done {
    #[serde(deserialize_with = "ok")]
    pub session: Option<Session>,
    #[serde(deserialize_with = "ok")]
    pub usage: Option<UsageNumbers>,
    #[serde(deserialize_with = "ok")]
    pub terminal_state: String,
    #[serde(deserialize_with = "ok")]
    pub terminal_reason: String,
}

/// `compressed`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Compressed {
    #[serde(deserialize_with = "ok")]
    pub new_session_id: String,
    #[serde(deserialize_with = "ok")]
    pub continuation_session_id: String,
    #[serde(deserialize_with = "ok")]
    pub message: String,
    #[serde(deserialize_with = "ok")]
    pub usage: Option<UsageNumbers>,
}

/// `cancel`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Cancelled {
    #[serde(deserialize_with = "ok")]
    pub session: Option<Session>,
}

/// `apperror`, and `error` of a runner.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct AppError {
    #[serde(deserialize_with = "ok")]
    pub message: String,
    #[serde(deserialize_with = "ok")]
    pub error: String,
    #[serde(rename = "type", deserialize_with = "ok")]
    pub kind: String,
    #[serde(deserialize_with = "ok")]
    pub hint: String,
    #[serde(deserialize_with = "ok")]
    pub session: Option<Session>,
    #[serde(deserialize_with = "ok")]
    pub new_session_id: String,
    #[serde(deserialize_with = "ok")]
    pub recovery_control: bool,
    #[serde(deserialize_with = "count")]
    pub offline_dropped_events: u64,
}

/// `title`, `title_status`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Title {
    #[serde(deserialize_with = "ok")]
    pub title: String,
}

/// `bg_task_complete` and its alias.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Background {
    #[serde(deserialize_with = "ok")]
    pub session_id: String,
    #[serde(deserialize_with = "ok")]
    pub task_id: String,
    #[serde(deserialize_with = "seconds")]
    pub completed_at: Millis,
    #[serde(deserialize_with = "ok")]
    pub event_id: String,
    #[serde(deserialize_with = "ok")]
    pub summary: String,
}

/// `server_turn_started`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct TurnStarted {
    #[serde(deserialize_with = "ok")]
    pub session_id: String,
    #[serde(deserialize_with = "ok")]
    pub stream_id: String,
}

/// `session-updated`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct SessionUpdated {
    #[serde(deserialize_with = "ok")]
    pub session_id: String,
    #[serde(deserialize_with = "count")]
    pub message_count: u64,
}
