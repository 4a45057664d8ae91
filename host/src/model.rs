//! Models: the requests of the agent loop and the answers to them. Not the loop itself
//! ([`crate::agent`]), not the choice of a model ([`catalog`]).

mod asset;
pub mod cached;
pub mod catalog;
pub mod demo;
mod error;
mod genai;
mod retry;
pub mod script;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use serde_json::Value;

use protocol::{Stop, ToolCall, Usage};

/// A language model. Dropping the stream cancels the request.
pub trait Model: Send + Sync {
    /// What users call it: `provider/name`, or `demo`.
    fn name(&self) -> &str;
    /// Its context length in tokens, if known without asking anybody.
    fn context_length(&self) -> Option<u64>;
    /// Sends one request and streams the answer. The stream ends after [`Chunk::Done`] or an
    /// error; one that ends without either was truncated.
    fn stream(&self, request: Request) -> Answer;
}

/// The stream of one answer.
pub type Answer = Pin<Box<dyn Stream<Item = Result<Chunk, Error>> + Send>>;

/// How hard a model can be asked to think. Which of them a model supports depends on the provider.
pub const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// One request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The system prompt. Its bytes stay equal from turn to turn.
    pub system: String,
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// The tools the model may call.
    pub tools: Vec<Schema>,
    /// The session, for providers that route or cache by it.
    pub session: String,
    /// How hard to think, one of [`EFFORTS`]; `None` = as the provider does.
    pub reasoning: Option<String>,
    /// The purpose of the answer.
    pub purpose: Purpose,
}

/// The purpose of a request. Not sent to the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To continue a session.
    #[default]
    Turn,
    /// To answer a question beside it.
    SideQuestion,
    /// To find out whether a goal is reached.
    GoalJudge,
    /// To find a title.
    Title,
    /// To summarise what no longer fits the context.
    Summary,
}

/// One entry of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// From the user or the host.
    User(String),
    /// From the model.
    Assistant {
        /// The text.
        text: String,
        /// The reasoning before it.
        reasoning: String,
        /// The tool calls it ends with.
        calls: Vec<ToolCall>,
        /// What the provider wants back unchanged ([`protocol::Assistant::opaque`]).
        opaque: Value,
    },
    /// The result of a tool call.
    Tool {
        /// Whose result it is.
        call: String,
        /// The tool.
        name: String,
        /// The result.
        text: String,
    },
}

/// A tool as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in few words.
    pub description: &'static str,
    /// JSON schema of its parameters.
    pub parameters: Value,
}

/// A streamed part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Chunk {
    /// More text.
    Text(String),
    /// More reasoning.
    Reasoning(String),
    /// A tool call is being written: its name and how many bytes of arguments there are so far.
    Calling {
        /// The tool.
        name: String,
        /// Bytes of its arguments so far.
        bytes: usize,
    },
    /// The request failed transiently; it is sent again after a pause.
    Retrying {
        /// Which attempt comes next, from 2.
        attempt: u32,
        /// How long the pause is.
        after: Duration,
        /// What went wrong.
        error: Error,
    },
    /// The answer is complete.
    Done(Completion),
}

/// A complete answer. Holds all of it, also what was streamed before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    /// The text.
    pub text: String,
    /// The reasoning.
    pub reasoning: String,
    /// The tool calls.
    pub calls: Vec<ToolCall>,
    /// Why it ended.
    pub stop: Stop,
    /// The tokens that the provider counted.
    pub usage: Option<Usage>,
    /// What the provider wants back unchanged.
    pub opaque: Value,
}

/// Why a request failed, in the classes that matter to a user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The class.
    pub class: Class,
    /// One or two sentences for the user: what happened and what to do.
    pub message: String,
    /// The pause the provider asked for.
    pub retry_after: Option<Duration>,
}

/// Classes of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// No key, a wrong key, no permission.
    Auth,
    /// Out of credit.
    Quota,
    /// Too many requests.
    RateLimit,
    /// The conversation is longer than the model's context.
    ContextOverflow,
    /// Nobody answers at that address, or the connection timed out.
    Unreachable,
    /// The provider has a problem of its own (5xx, overloaded).
    Server,
    /// The stream ended in the middle of the answer.
    Truncated,
    /// The provider does not know the model.
    UnknownModel,
    /// The provider refuses this request.
    Rejected,
}

impl Class {
    /// Its name in stored outcomes and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::RateLimit => "rate_limit",
            Self::ContextOverflow => "context_overflow",
            Self::Unreachable => "unreachable",
            Self::Server => "server",
            Self::Truncated => "truncated",
            Self::UnknownModel => "unknown_model",
            Self::Rejected => "rejected",
        }
    }
}
