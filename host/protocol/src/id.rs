//! Identifiers. Newtypes, so that one kind is never passed for another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, by the host's clock. Every time on the seam is one of these.
pub type Millis = i64;

/// A session, in hermes' spelling: `YYYYMMDD_HHMMSS_` and six hex digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub String);

/// A turn: its ordinal in its session, from 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TurnId(pub u64);

/// A background process, in hermes' spelling: `proc_` and twelve hex digits; a delegated task:
/// `deleg_` and as many.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub String);

/// A pending approval or clarify question. One tool call asks at most one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuestionId(pub String);

/// A tool call, as the model named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub String);

/// A prompt. The client that sends it chooses the id, so that sending it twice runs it once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PromptId(pub String);

impl SessionId {
    /// A fresh id for a session that begins at `now` (local time of the machine).
    pub fn fresh(now: &jiff::Zoned) -> Self {
        Self(format!("{}_{}", now.strftime("%Y%m%d_%H%M%S"), hex(6)))
    }
}

impl ProcessId {
    /// A fresh random id.
    pub fn fresh() -> Self {
        Self(format!("proc_{}", hex(12)))
    }

    /// A fresh random id of a delegated task.
    pub fn fresh_task() -> Self {
        Self(format!("deleg_{}", hex(12)))
    }
}

impl PromptId {
    /// A fresh random id.
    pub fn fresh() -> Self {
        Self(hex(16))
    }
}

/// `digits` random hex digits (at most 32).
fn hex(digits: usize) -> String {
    let mut text = uuid::Uuid::new_v4().simple().to_string();
    text.truncate(digits);
    text
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for QuestionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
