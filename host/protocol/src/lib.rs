//! Everything that crosses the seam between a front end and a host: plain data, no I/O.
//!
//! [`Command`] asks (imperative), [`Event`] states what has happened (past tense), and a
//! [`Transcript`] is the fold of a session's events. A refusal is an event too: nothing here is
//! a request with a response.

mod command;
mod event;
mod failure;
mod id;
mod process;
mod question;
mod transcript;
mod view;

pub use command::{Command, Data, GoalAsk, Target};
pub use event::{
    Activity, Asked, Attention, Event, Found, Link, ListedTurn, News, Part, SessionRow, Toast,
};
pub use failure::{Failure, Subject};
pub use id::{CallId, ProcessId, PromptId, QuestionId, SessionId, TurnId};
pub use process::{Delivery, End, Exit, Killer, Process, State, Watching, Work};
pub use question::{Answer, Ask, Choice, Question};
pub use transcript::{
    Assistant, Attachment, Body, Gauge, Goal, GoalState, LiveCall, Outcome, Queued, Row, Running,
    Source, Stop, Storage, Summary, Tokens, ToolCall, ToolResult, Transcript, Usage, Wakeup,
    WakeupKind, keep_tail, open_calls,
};
pub use view::{CommandSender, Pushed, Signal, View, ViewId, ViewSink, pair};

/// Milliseconds since the Unix epoch, by the host's clock. Every time on the seam is one of these.
pub type Millis = i64;
