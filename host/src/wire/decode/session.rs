//! Sessions and their messages.

use serde::Deserialize;
use serde_json::Value;

use super::{count, known_count, list, ok, seconds, text};
use protocol::Millis;

/// A session: a line of the list, or with its messages.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Session {
    #[serde(deserialize_with = "ok")]
    pub session_id: String,
    #[serde(deserialize_with = "ok")]
    pub title: String,
    #[serde(deserialize_with = "ok")]
    pub workspace: String,
    #[serde(deserialize_with = "ok")]
    pub model: String,
    #[serde(deserialize_with = "count")]
    pub message_count: u64,
    #[serde(deserialize_with = "count")]
    pub user_message_count: u64,
    #[serde(deserialize_with = "seconds")]
    pub created_at: Millis,
    #[serde(deserialize_with = "seconds")]
    pub updated_at: Millis,
    #[serde(deserialize_with = "seconds")]
    pub last_message_at: Millis,
    #[serde(deserialize_with = "ok")]
    pub pinned: bool,
    #[serde(deserialize_with = "ok")]
    pub archived: bool,
    #[serde(deserialize_with = "ok")]
    pub read_only: bool,
    #[serde(deserialize_with = "ok")]
    pub parent_session_id: Option<String>,
    #[serde(deserialize_with = "ok")]
    pub source_tag: Option<String>,
    #[serde(deserialize_with = "ok")]
    pub session_source: Option<String>,
    #[serde(deserialize_with = "ok")]
    pub pre_compression_snapshot: bool,
    #[serde(rename = "_lineage_root_id", deserialize_with = "ok")]
    pub lineage_root: Option<String>,
    #[serde(rename = "_lineage_tip_id", deserialize_with = "ok")]
    pub lineage_tip: Option<String>,
    #[serde(rename = "_compression_segment_count", deserialize_with = "ok")]
    pub segments: u32,
    #[serde(deserialize_with = "known_count")]
    pub context_length: Option<u64>,
    #[serde(deserialize_with = "known_count")]
    pub last_prompt_tokens: Option<u64>,
    #[serde(deserialize_with = "ok")]
    pub active_stream_id: Option<String>,
    /// Whether that stream is really live; a killed server leaves dead ones behind.
    #[serde(deserialize_with = "ok")]
    pub is_streaming: bool,
    #[serde(deserialize_with = "ok")]
    pub pending_user_message: Option<String>,
    #[serde(deserialize_with = "seconds")]
    pub pending_started_at: Millis,
    #[serde(deserialize_with = "ok")]
    pub pending_user_source: Option<String>,
    /// Why wakeups are paused; empty = they are not.
    #[serde(deserialize_with = "ok")]
    pub process_wakeup_pause: serde_json::Map<String, Value>,
    #[serde(deserialize_with = "ok")]
    pub attention: Option<Attention>,
    #[serde(deserialize_with = "list")]
    pub messages: Vec<Message>,
    #[serde(rename = "_messages_offset", deserialize_with = "count")]
    pub messages_offset: u64,
    /// In answers to a search: the text around the find.
    #[serde(deserialize_with = "ok")]
    pub match_preview: Option<String>,
}

/// What the pending questions of a session ask for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Attention {
    #[serde(deserialize_with = "ok")]
    pub kind: String,
    #[serde(deserialize_with = "ok")]
    pub count: u32,
}

/// A message of the display list.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    #[serde(deserialize_with = "ok")]
    pub role: String,
    #[serde(deserialize_with = "text")]
    pub content: String,
    #[serde(deserialize_with = "text")]
    pub reasoning: String,
    #[serde(deserialize_with = "ok")]
    pub finish_reason: String,
    #[serde(deserialize_with = "list")]
    pub tool_calls: Vec<Call>,
    #[serde(deserialize_with = "ok")]
    pub tool_call_id: String,
    #[serde(deserialize_with = "ok")]
    pub name: String,
    #[serde(deserialize_with = "ok")]
    pub tool_name: String,
    #[serde(deserialize_with = "seconds")]
    pub timestamp: Millis,
    #[serde(deserialize_with = "list")]
    pub attachments: Vec<Value>,
    #[serde(rename = "_partial", deserialize_with = "ok")]
    pub partial: bool,
    #[serde(rename = "_error", deserialize_with = "ok")]
    pub error: bool,
    #[serde(rename = "_source", deserialize_with = "ok")]
    pub source: String,
    #[serde(rename = "_wakeup_meta", deserialize_with = "ok")]
    pub wakeup: Option<WakeupMeta>,
    #[serde(rename = "_db_persisted", deserialize_with = "ok")]
    pub stored: bool,
    #[serde(rename = "_summary", deserialize_with = "ok")]
    pub summary: Option<SummaryMeta>,
}

/// What a summary of a `hermes-tui serve` stands for: [`protocol::Summary`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct SummaryMeta {
    #[serde(deserialize_with = "ok")]
    pub head: u64,
    #[serde(deserialize_with = "ok")]
    pub tail: u64,
    #[serde(deserialize_with = "ok")]
    pub rows: u64,
    #[serde(deserialize_with = "ok")]
    pub before: u64,
    #[serde(deserialize_with = "ok")]
    pub after: u64,
}

/// What a wakeup row is about.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct WakeupMeta {
    /// `completion` or `watch_match`; newer kinds may come.
    #[serde(rename = "type", deserialize_with = "ok")]
    pub kind: String,
    #[serde(deserialize_with = "ok")]
    pub task_id: String,
    #[serde(deserialize_with = "ok")]
    pub command: String,
    /// A number, or `?`.
    #[serde(deserialize_with = "ok")]
    pub exit_code: Value,
    #[serde(deserialize_with = "ok")]
    pub pattern: Option<String>,
}

/// A tool call of an answer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Call {
    #[serde(deserialize_with = "ok")]
    pub id: String,
    #[serde(deserialize_with = "ok")]
    pub call_id: String,
    #[serde(deserialize_with = "ok")]
    pub function: Function,
}

/// What is called.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Function {
    #[serde(deserialize_with = "ok")]
    pub name: String,
    /// JSON in a string.
    #[serde(deserialize_with = "ok")]
    pub arguments: Value,
}

/// `{session: …}`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct SessionReply {
    #[serde(deserialize_with = "ok")]
    pub session: Session,
}

/// `{sessions: […]}`, of the list and of a search.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct SessionList {
    #[serde(deserialize_with = "list")]
    pub sessions: Vec<Session>,
}

/// The cheap poll.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    #[serde(deserialize_with = "ok")]
    pub session_id: String,
    #[serde(deserialize_with = "ok")]
    pub title: String,
    #[serde(deserialize_with = "ok")]
    pub model: String,
    #[serde(deserialize_with = "ok")]
    pub workspace: String,
    #[serde(deserialize_with = "count")]
    pub message_count: u64,
    #[serde(deserialize_with = "ok")]
    pub active_stream_id: Option<String>,
}
