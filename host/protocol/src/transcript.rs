//! A session as every party sees it: the fold of its events over a window of its rows.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    CallId, Event, Exit, Millis, Part, Process, ProcessId, PromptId, Question, SessionId, TurnId,
};

/// Live output kept per running tool call, in bytes. The whole is in its result.
const LIVE_OUTPUT: usize = 8 * 1024;

/// A window on a session: its last rows and all that is live.
///
/// Invariant: applying the published events to any earlier window gives the session's own
/// transcript (for the rows both hold).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// The session.
    pub session: SessionId,
    /// Its title, if it has one.
    pub title: Option<String>,
    /// The model of its next turn.
    pub model: String,
    /// Where it works.
    pub cwd: String,
    /// How many rows lie before the window.
    pub earlier: u64,
    /// The rows of the window, oldest first.
    pub rows: Vec<Row>,
    /// The running turn.
    pub running: Option<Running>,
    /// Prompts that wait for the turn to end, oldest first.
    pub queued: Vec<Queued>,
    /// A steering remark that waits for the next tool result.
    pub steer: Option<String>,
    /// Pending questions, oldest first. The head is what is shown.
    pub questions: Vec<Question>,
    /// Background processes of this session, oldest first.
    pub processes: Vec<Process>,
    /// Why wakeups are held, if they are.
    pub held: Option<String>,
    /// Wakeup turns since the last user turn; from 3 on the session needs somebody (W31).
    #[serde(default)]
    pub unattended: u32,
    /// The session it was branched from or that delegated it.
    #[serde(default)]
    pub parent: Option<SessionId>,
    /// How full the model's context is.
    pub gauge: Gauge,
    /// Approvals are off (`approvals.mode: off`, `--yolo`).
    pub yolo: bool,
    /// Whether what happens is being stored.
    pub storage: Storage,
    /// How hard the model thinks, where the session says so.
    #[serde(default)]
    pub reasoning: Option<String>,
    /// What the agent works on turn by turn (S08).
    #[serde(default)]
    pub goal: Option<Goal>,
    /// Files that go along with the next prompt.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
    /// What its requests took, all together.
    #[serde(default)]
    pub tokens: Tokens,
    /// The toolsets that its turns have; `None` = all.
    #[serde(default)]
    pub toolsets: Option<Vec<String>>,
}

/// A goal that the agent works on turn by turn (S08).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goal {
    /// What is to be reached.
    pub text: String,
    /// How it stands.
    pub state: GoalState,
    /// Turns that worked on it.
    pub turns: u32,
    /// After how many it pauses.
    pub max_turns: u32,
    /// What was found about it last, in a line.
    pub verdict: Option<String>,
}

/// How a goal stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", content = "why", rename_all = "snake_case")]
pub enum GoalState {
    /// A turn follows the next.
    Active,
    /// It waits for the user; why.
    Paused(String),
    /// Reached.
    Done,
}

/// A file that was handed over with a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// Where the host keeps it.
    pub path: String,
    /// Its media type.
    pub mime: String,
    /// Its size in bytes.
    pub size: u64,
}

/// How full the model's context is (S01).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauge {
    /// Prompt tokens of the last request; unknown before the first.
    pub used: Option<u64>,
    /// Context length in tokens, if known.
    pub length: Option<u64>,
}

/// Whether what happens is being stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// Yes.
    #[default]
    Ok,
    /// No: the session goes on in memory. The text says why.
    Failing(String),
}

/// One stored entry of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its number in the session, from 1 without gaps. Numbers of rows that were taken back are
    /// given again; with its turn a row is named for ever.
    pub n: u64,
    /// The turn it belongs to.
    pub turn: TurnId,
    /// When it was written.
    pub at: Millis,
    /// Bytes left out at the front of its text because the window holds only its tail.
    #[serde(default)]
    pub cut: u64,
    /// What it says.
    pub body: Body,
}

/// What a row says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// The user's prompt.
    User {
        /// What was typed.
        text: String,
    },
    /// A background event that the agent is told of (W24).
    Wakeup(Wakeup),
    /// A summary that stands for older rows in the model's context.
    Summary(Summary),
    /// A line of the host's own that the agent is told of.
    Note {
        /// The line.
        text: String,
    },
    /// The model's answer, or as much of it as arrived.
    Assistant(Assistant),
    /// The result of a tool call.
    Tool(ToolResult),
    /// Why a turn ended badly. For the user; the model is not told.
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
    /// Rows up to this number are still told as they are: the head.
    pub head: u64,
    /// Rows from this number on are told as they are: the tail. Those between are summarised.
    pub tail: u64,
    /// How many rows are summarised, earlier summaries' included.
    pub rows: u64,
    /// Tokens of the context before, as far as they were known or estimated.
    pub before: u64,
    /// Tokens of the context after, estimated.
    pub after: u64,
}

/// A background event that the agent is told of.
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
    /// What the provider wants back unchanged (signatures of reasoning); its own format.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub opaque: Value,
}

/// Why a model's answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It was done.
    #[default]
    End,
    /// It wants its tool calls run.
    Calls,
    /// It ran into the output limit.
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
    /// Whether the tool says it failed.
    pub failed: bool,
    /// How long it ran.
    pub millis: u64,
    /// It asked the user and nobody answered in time (R04).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unanswered: bool,
}

/// Why a turn runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The user asked.
    User,
    /// Something happened in the background.
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
    /// It broke; the last row says why.
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

/// What providers counted for the requests of a session, all together: of its turns and wakeups,
/// of compressions and of looks at its goal. A request that was cut off is counted by nobody, one
/// that is made again counts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// How many requests were counted; without one nothing is known (S01).
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
    /// One more request.
    pub fn add(&mut self, usage: &Usage) {
        let more = |sum: &mut u64, count: u64| *sum = sum.saturating_add(count);
        more(&mut self.requests, 1);
        more(&mut self.input, usage.prompt);
        more(&mut self.output, usage.completion);
        more(&mut self.cached, usage.cached);
        more(&mut self.written, usage.written);
    }
}

/// A prompt that waits.
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
    /// What it waits for, in a line.
    pub status: Option<String>,
    /// The user asked to interrupt it.
    pub cancelling: bool,
}

/// A tool call without a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveCall {
    /// The call.
    pub call: ToolCall,
    /// When it began to run; `None` = it waits for another one.
    pub started_at: Option<Millis>,
    /// The last 8 kB it printed.
    pub output: String,
}

impl Transcript {
    /// Adds a fact. The single definition of what a session's state is.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Attached { transcript, .. } => *self = (**transcript).clone(),
            Event::TurnStarted { turn, source, at } => {
                self.running = Some(Running {
                    turn: *turn,
                    source: *source,
                    started_at: *at,
                    n: 0,
                    reasoning: String::new(),
                    text: String::new(),
                    calls: Vec::new(),
                    status: None,
                    cancelling: false,
                });
            }
            Event::Delta { n, part, text, .. } => {
                if let Some(running) = &mut self.running {
                    running.n = *n;
                    running.status = None;
                    match part {
                        Part::Text => running.text.push_str(text),
                        Part::Reasoning => running.reasoning.push_str(text),
                    }
                }
            }
            Event::TurnStatus { text, .. } => {
                if let Some(running) = &mut self.running {
                    running.status.clone_from(text);
                }
            }
            Event::RowAdded { row } => self.add(row),
            Event::CallStarted { call, at } => {
                if let Some(live) = self.live_call(call) {
                    live.started_at = Some(*at);
                }
            }
            Event::CallOutput { call, text } => {
                if let Some(live) = self.live_call(call) {
                    live.output.push_str(text);
                    keep_tail(&mut live.output, LIVE_OUTPUT);
                }
            }
            Event::TurnCancelling { .. } => {
                if let Some(running) = &mut self.running {
                    running.cancelling = true;
                }
            }
            Event::TurnEnded { .. } => self.running = None,
            Event::PromptQueued { prompt } => self.queued.push(prompt.clone()),
            Event::PromptUnqueued { id } => self.queued.retain(|q| q.id != *id),
            Event::Steered { text } => self.steer.clone_from(text),
            Event::QuestionAsked { question } => {
                match self.questions.iter_mut().find(|q| q.id == question.id) {
                    Some(known) => known.clone_from(question),
                    None => self.questions.push(question.clone()),
                }
            }
            Event::QuestionResolved { id, .. } => self.questions.retain(|q| q.id != *id),
            Event::ProcessChanged { process } => {
                match self.processes.iter_mut().find(|p| p.id == process.id) {
                    Some(known) => known.clone_from(process),
                    None => self.processes.push(process.clone()),
                }
            }
            Event::ProcessForgotten { id } => self.processes.retain(|p| p.id != *id),
            Event::Held { reason } => self.held.clone_from(reason),
            Event::Unattended { wakeups } => self.unattended = *wakeups,
            Event::UsageReported { usage, context } => {
                self.gauge = Gauge { used: Some(usage.prompt), length: *context };
            }
            Event::ModelChanged { model, context } => {
                self.model.clone_from(model);
                self.gauge.length = *context;
            }
            Event::TitleChanged { title } => {
                self.title = Some(title.clone()).filter(|title| !title.is_empty());
            }
            Event::CwdChanged { cwd } => self.cwd.clone_from(cwd),
            Event::StorageChanged { storage } => self.storage.clone_from(storage),
            Event::Paged { rows, earlier } => {
                let known = self.rows.first().map_or(u64::MAX, |r| r.n);
                // A window that reaches further back already learns nothing.
                if rows.first().is_none_or(|oldest| oldest.n < known) {
                    self.rows.splice(0..0, rows.iter().filter(|r| r.n < known).cloned());
                    self.earlier = *earlier;
                }
            }
            Event::RowsRemoved { after } => {
                self.rows.retain(|row| row.n <= *after);
                self.earlier = self.earlier.min(*after);
                // What was counted last counts what is gone.
                self.gauge.used = None;
            }
            Event::YoloChanged { yolo } => self.yolo = *yolo,
            Event::ReasoningChanged { effort } => self.reasoning.clone_from(effort),
            Event::GoalChanged { goal } => self.goal.clone_from(goal),
            Event::AttachmentsChanged { attachments } => self.attachments.clone_from(attachments),
            Event::TokensCounted { tokens } => self.tokens = *tokens,
            Event::ToolsetsChanged { toolsets } => self.toolsets.clone_from(toolsets),
            Event::Toast(_)
            | Event::SessionsChanged
            | Event::InboxChanged { .. }
            | Event::Switched { .. }
            | Event::Link { .. }
            | Event::SessionsFound { .. }
            | Event::WorkspacesListed { .. }
            | Event::ProfilesListed { .. }
            | Event::Exported { .. }
            | Event::ProcessTail { .. }
            | Event::SessionsListed { .. }
            | Event::ProcessesListed { .. }
            | Event::ModelsListed { .. }
            | Event::AsideSaid { .. }
            | Event::AsideEnded { .. }
            | Event::Failed(_) => {}
        }
    }

    fn add(&mut self, row: &Row) {
        if let Body::Summary(summary) = &row.body {
            self.gauge.used = Some(summary.after);
        }
        if let Some(running) = &mut self.running {
            match &row.body {
                Body::Assistant(answer) => {
                    running.text.clear();
                    running.reasoning.clear();
                    running.status = None;
                    running.calls = answer.calls.iter().map(LiveCall::waiting).collect();
                }
                Body::Tool(result) => running.calls.retain(|c| c.call.id != result.call),
                Body::Summary(_) => running.status = None,
                Body::User { .. } | Body::Wakeup(_) | Body::Note { .. } | Body::Failure { .. } => {}
            }
        }
        self.rows.push(row.clone());
    }

    fn live_call(&mut self, id: &CallId) -> Option<&mut LiveCall> {
        self.running.as_mut()?.calls.iter_mut().find(|c| c.call.id == *id)
    }

    /// Drops the oldest rows beyond `rows`; they are counted in `earlier`.
    pub fn trim(&mut self, rows: usize) {
        let excess = self.rows.len().saturating_sub(rows);
        self.rows.drain(..excess);
        self.earlier = self.earlier.saturating_add(excess as u64);
    }
}

impl LiveCall {
    /// A call that has not begun.
    pub fn waiting(call: &ToolCall) -> Self {
        Self { call: call.clone(), started_at: None, output: String::new() }
    }
}

impl Row {
    /// The text that grows without bound: what a user reads of the row.
    pub fn text(&self) -> &str {
        match &self.body {
            Body::User { text } | Body::Note { text } | Body::Failure { message: text } => text,
            Body::Wakeup(wakeup) => &wakeup.text,
            Body::Summary(summary) => &summary.text,
            Body::Assistant(answer) => &answer.text,
            Body::Tool(result) => &result.text,
        }
    }

    /// The same, to be changed.
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

/// The calls of the last answer in these rows that have no result yet. What follows in another turn
/// ends them: one whose result was taken back has run, and must not run again.
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

#[cfg(test)]
mod tests;
