//! A turn: why it runs, what is live of it, how it ended and what it took.

use serde::{Deserialize, Serialize};

use crate::id::{Millis, PromptId, TurnId};
use crate::row::{ToolCall, keep_tail};

/// Live output kept per running tool call, in bytes. The whole is in its result.
const LIVE_OUTPUT: usize = 8 * 1024;

/// Why a turn runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The user asked.
    User,
    /// A background event happened.
    Wakeup,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Outcome {
    /// The model was done.
    Done,
    /// The user interrupted it.
    Cancelled,
    /// It failed; the last row says why.
    Failed {
        /// The class of the failure (`auth`, `unreachable`, `truncated` …).
        class: String,
    },
    /// It reached the iteration limit.
    Limit,
    /// The host stopped or was killed while it ran.
    Interrupted,
}

/// What the provider counted for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens of the answer.
    pub completion: u64,
    /// Those of the prompt that came from a cache.
    pub cached: u64,
    /// Those of the answer that were reasoning.
    pub reasoning: u64,
    /// Those of the prompt that were written to a cache.
    #[serde(default)]
    pub written: u64,
}

/// The token counts of all requests of a session: turns, wakeups, compressions and goal checks.
/// A request that was cut off is not counted; a retried one counts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// The number of counted requests; with none, nothing is known (S01).
    pub requests: u64,
    /// Tokens of the prompts, those from a cache and those written to one included.
    pub input: u64,
    /// Tokens of the answers, reasoning included.
    pub output: u64,
    /// Those of the prompts that came from a cache.
    pub cached: u64,
    /// Those of the prompts that were written to a cache.
    pub written: u64,
}

impl Tokens {
    /// Adds one more request.
    pub fn add(&mut self, usage: &Usage) {
        let more = |sum: &mut u64, count: u64| *sum = sum.saturating_add(count);
        more(&mut self.requests, 1);
        more(&mut self.input, usage.prompt);
        more(&mut self.output, usage.completion);
        more(&mut self.cached, usage.cached);
        more(&mut self.written, usage.written);
    }
}

/// A prompt in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Its id.
    pub id: PromptId,
    /// What was typed.
    pub text: String,
}

/// The live part of a running turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Which turn.
    pub turn: TurnId,
    /// Why it runs.
    pub source: Source,
    /// Since when.
    pub started_at: Millis,
    /// The number of the last delta.
    pub n: u64,
    /// Reasoning of the block being streamed.
    pub reasoning: String,
    /// Text of the block being streamed.
    pub text: String,
    /// Tool calls of the last answer that have no result yet.
    pub calls: Vec<LiveCall>,
    /// What it waits for, in one line.
    pub status: Option<String>,
    /// The user has interrupted it; it is unwinding.
    pub cancelling: bool,
}

/// A tool call without a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveCall {
    /// The call.
    pub call: ToolCall,
    /// When it started; `None` = it waits for another call.
    pub started_at: Option<Millis>,
    /// The last 8 kB it printed.
    pub output: String,
}

impl LiveCall {
    /// A call that has not started.
    pub fn waiting(call: &ToolCall) -> Self {
        Self { call: call.clone(), started_at: None, output: String::new() }
    }

    /// Adds output; only the last 8 kB are kept.
    pub(crate) fn print(&mut self, text: &str) {
        self.output.push_str(text);
        keep_tail(&mut self.output, LIVE_OUTPUT);
    }
}

/// What a turn is doing while it waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Compressing the context.
    Compressing,
    /// Anything else; the text says what.
    #[default]
    #[serde(other)]
    Other,
}

impl Activity {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
    pub(crate) fn is_other(&self) -> bool {
        *self == Self::Other
    }
}

/// What a delta is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The answer.
    Text,
    /// The model's reasoning.
    Reasoning,
}
