//! Questions, goals, models, profiles, workspaces, and the answers to what is asked of a server.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{count, list, ok, seconds};
use protocol::Millis;

/// The head of a queue of questions.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, bound = "T: DeserializeOwned + Default")]
pub(crate) struct Pending<T> {
    #[serde(deserialize_with = "ok")]
    pub pending: Option<T>,
}

/// A command that wants an approval.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Approval {
    #[serde(deserialize_with = "ok")]
    pub approval_id: String,
    #[serde(deserialize_with = "ok")]
    pub command: String,
    #[serde(deserialize_with = "ok")]
    pub pattern_key: String,
    #[serde(deserialize_with = "ok")]
    pub description: String,
    #[serde(deserialize_with = "ok")]
    pub allow_permanent: bool,
    /// Sent back with the answer, by some backends.
    #[serde(deserialize_with = "ok")]
    pub run_id: Option<String>,
    #[serde(deserialize_with = "ok")]
    pub mirror_token: Option<String>,
}

/// A question of the agent's own.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Clarify {
    #[serde(deserialize_with = "ok")]
    pub clarify_id: String,
    #[serde(deserialize_with = "ok")]
    pub question: String,
    #[serde(deserialize_with = "list")]
    pub choices_offered: Vec<String>,
    #[serde(deserialize_with = "seconds")]
    pub requested_at: Millis,
    /// In milliseconds; 0 = unknown.
    #[serde(deserialize_with = "seconds")]
    pub timeout_seconds: Millis,
    /// 0 = never.
    #[serde(deserialize_with = "seconds")]
    pub expires_at: Millis,
}

/// The answer to an answer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Responded {
    #[serde(deserialize_with = "ok")]
    pub ok: bool,
    #[serde(deserialize_with = "ok")]
    pub stale_cleared: bool,
}

/// The answer to `chat/start`, its refusals included.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Started {
    #[serde(deserialize_with = "ok")]
    pub stream_id: String,
    #[serde(deserialize_with = "ok")]
    pub session_id: String,
    #[serde(deserialize_with = "seconds")]
    pub pending_started_at: Millis,
    #[serde(deserialize_with = "ok")]
    pub title: String,
    /// `suppressed`: the server will not run this text.
    #[serde(deserialize_with = "ok")]
    pub status: String,
    #[serde(deserialize_with = "ok")]
    pub active_stream_id: Option<String>,
}

/// The answer to `chat/steer`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Steered {
    #[serde(deserialize_with = "ok")]
    pub accepted: bool,
    #[serde(deserialize_with = "ok")]
    pub fallback: Option<String>,
}

/// A goal.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Goal {
    #[serde(deserialize_with = "ok")]
    pub goal: String,
    #[serde(deserialize_with = "ok")]
    pub status: String,
    #[serde(deserialize_with = "ok")]
    pub turns_used: u32,
    #[serde(deserialize_with = "ok")]
    pub max_turns: u32,
    #[serde(deserialize_with = "ok")]
    pub last_reason: Option<String>,
    #[serde(deserialize_with = "ok")]
    pub paused_reason: Option<String>,
}

/// The answer to `goal`. A goal that was set starts a turn at once.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct GoalReply {
    #[serde(deserialize_with = "ok")]
    pub ok: bool,
    #[serde(deserialize_with = "ok")]
    pub error: String,
    #[serde(deserialize_with = "ok")]
    pub message: String,
    #[serde(deserialize_with = "ok")]
    pub goal: Option<Goal>,
    #[serde(deserialize_with = "ok")]
    pub stream_id: Option<String>,
}

/// The models, in groups.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Models {
    #[serde(deserialize_with = "list")]
    pub groups: Vec<Group>,
}

/// The models of a provider.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Group {
    #[serde(deserialize_with = "ok")]
    pub provider_id: String,
    #[serde(deserialize_with = "list")]
    pub models: Vec<Model>,
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Model {
    #[serde(deserialize_with = "ok")]
    pub id: String,
}

/// The profiles.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Profiles {
    #[serde(deserialize_with = "list")]
    pub profiles: Vec<Named>,
    #[serde(deserialize_with = "ok")]
    pub active: String,
}

/// Something with a name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Named {
    #[serde(deserialize_with = "ok")]
    pub name: String,
}

/// The workspaces.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Workspaces {
    #[serde(deserialize_with = "list")]
    pub workspaces: Vec<Workspace>,
}

/// A workspace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Workspace {
    #[serde(deserialize_with = "ok")]
    pub path: String,
}

/// How hard models think.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Reasoning {
    #[serde(deserialize_with = "ok")]
    pub reasoning_effort: String,
}

/// Whether approvals are off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Yolo {
    #[serde(deserialize_with = "ok")]
    pub yolo_enabled: bool,
}

/// The answer to `retry` and `undo`: failures come as 200 with an `error`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Retried {
    #[serde(deserialize_with = "ok")]
    pub error: String,
    #[serde(deserialize_with = "ok")]
    pub last_user_text: String,
}

/// A file that was uploaded.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Uploaded {
    #[serde(deserialize_with = "ok")]
    pub filename: String,
    #[serde(deserialize_with = "ok")]
    pub path: String,
    #[serde(deserialize_with = "count")]
    pub size: u64,
    #[serde(deserialize_with = "ok")]
    pub mime: String,
    #[serde(deserialize_with = "ok")]
    pub is_image: bool,
}

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Health {
    /// 0 = unknown.
    #[serde(deserialize_with = "seconds")]
    pub server_started_at: Millis,
}
