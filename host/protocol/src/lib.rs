//! Everything that crosses the seam between a view and its host: plain data, and the two ends of
//! the channel it crosses by. No I/O.
//!
//! [`Command`] asks (imperative), [`Event`] states what has happened (past tense), and a
//! [`Transcript`] is the fold of a session's events. A refusal is an event too: nothing here is
//! a request with a response.

mod command;
mod event;
mod failure;
mod fold;
mod id;
mod news;
mod process;
mod question;
mod row;
mod session;
mod transcript;
mod turn;
mod view;

pub use command::{Command, Data, GoalAsk, Target};
pub use event::Event;
pub use failure::{Failure, Subject};
pub use id::{CallId, Millis, ProcessId, PromptId, QuestionId, SessionId, TurnId};
pub use news::{Link, News, Toast};
pub use process::{Delivery, End, Exit, Killer, Process, State, Watching, Work};
pub use question::{Answer, Ask, Asked, Choice, Question};
pub use row::{
    Assistant, Body, Row, Stop, Summary, ToolCall, ToolResult, Wakeup, WakeupKind, keep_tail,
    open_calls,
};
pub use session::{
    Attachment, Attention, Found, Gauge, Goal, GoalState, ListedTurn, SessionRow, Storage,
};
pub use transcript::Transcript;
pub use turn::{Activity, LiveCall, Outcome, Part, Queued, Running, Source, Tokens, Usage};
pub use view::{CommandSender, Pushed, Signal, View, ViewId, ViewSink, pair};
