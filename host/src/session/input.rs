//! What happens to a session: commands of its views, events of its running turn, reports about
//! processes and the store, and the passing of time.

use std::collections::BTreeMap;

use super::{GoalVerdict, Past};
use crate::process::Hit;
use protocol::{
    Activity, Answer, Assistant, Attachment, CallId, Exit, GoalAsk, Millis, Outcome, Part, Process,
    ProcessId, PromptId, QuestionId, Storage, Summary, ToolResult, TurnId, Usage,
};

/// What a caller of turns can take part in (W26). Each client states it when it attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attendance {
    /// Somebody who stays: can be asked, and woken later.
    Attended,
    /// A one-shot run: nobody answers questions, and nobody is there when a process ends.
    Stateless,
    /// A session that works on a delegated task: nobody answers questions, but it can be woken.
    Delegated,
}

/// An input of a session.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// The user sent a prompt.
    Prompt { id: PromptId, text: String, attendance: Attendance },
    /// The user took a waiting prompt back.
    Unqueue(PromptId),
    /// The user has a remark for the running turn.
    Steer(String),
    /// The user interrupts the running turn.
    Cancel,
    /// The user answers a question; `by` names the kind of client.
    Answer { id: QuestionId, answer: Answer, by: Option<String> },
    /// A client that can answer shows the question.
    Shown(QuestionId),
    /// The user ends one process, or all.
    Kill(Option<ProcessId>),
    /// The user releases held wakeups.
    WakeNow,
    /// The user wants the context compressed.
    Compress { focus: Option<String> },
    /// The user archived the session, or took it back.
    Archive(bool),
    /// The user takes the last user turn back; `again`: its text is sent once more, as this prompt.
    Undo { past: Past, again: Option<(PromptId, Attendance)> },
    /// The user takes all rows after that one back.
    Truncate { after: u64, past: Past },
    /// The user chose the tools of the session's turns; `None` = all.
    SetToolsets(Option<Vec<String>>),
    /// A file was stored for the next prompt.
    Uploaded(Attachment),
    /// The user takes back what was uploaded for the next prompt.
    DropUploads,
    /// The user sets the goal, or pauses, resumes or clears it.
    Goal(GoalAsk),
    /// The user pinned the session to the top of lists, or unpinned it.
    Pin(bool),
    /// The user switched approvals off or on; `by` names the kind of client.
    SetYolo { yolo: bool, by: Option<String> },
    /// The user chose another working directory, which exists.
    SetCwd(String),
    /// The user chose how hard the model thinks; `None` = as configured.
    SetReasoning(Option<String>),
    /// The user deletes the session. Whatever follows has no effect.
    Delete,
    /// The user began anew in another session: matches of earlier processes start no turn here
    /// (P05).
    Reset,
    /// The user chose another model; its context length if known, and the fingerprint of its
    /// credentials.
    SetModel { model: String, context: Option<u64>, fingerprint: String },
    /// The user renamed the session.
    SetTitle(String),
    /// An event of the running turn; `ack` names the reply it waits for.
    TurnEvent { turn: TurnId, ack: Ack, event: TurnEvent },
    /// A process has ended; its last output, plain and redacted.
    Exited { process: ProcessId, exit: Exit, output: String },
    /// Lines of a watched process matched. Not admitted: too many matched in the whole host (P04).
    Matched { process: ProcessId, hit: Hit, admitted: bool },
    /// A process from before a restart runs.
    Adopted { process: ProcessId, pid: Option<u32> },
    /// Time has passed ([`super::Session::deadline`]).
    Tick,
    /// A rule was granted permanently, here or in another session.
    Granted(String),
    /// The store failed or recovered.
    Storage(Storage),
    /// The task that the session works on for another one was withdrawn.
    Abandon,
    /// The host is about to stop: nothing starts any more, the running turn may come to its end.
    Drain,
    /// The host stops: the running turn is left open for the next host to resume.
    Stop,
    /// As `Stop`, and the next host is to resume the turn whatever its age (P10).
    HandOver,
}

/// Names the reply that a turn waits for; 0 = it does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ack(pub(crate) u64);

/// An event of a running turn.
#[derive(Clone, Debug)]
pub(crate) enum TurnEvent {
    /// The model streamed text.
    Delta { part: Part, text: String },
    /// What the turn waits for; `None` = nothing special any more.
    Status { text: Option<String>, activity: Activity },
    /// The model's answer is complete. Replied with its row.
    Answered { answer: Assistant, usage: Option<Usage>, context: Option<u64> },
    /// A tool call begins. Replied once that is stored.
    CallStarted(CallId),
    /// A running tool printed something.
    CallOutput { call: CallId, text: String },
    /// A tool call has ended. Replied with its row.
    Result(Finished),
    /// A tool call asks the user. Replied with the answer.
    Ask { call: CallId, ask: protocol::Ask, timeout: Millis },
    /// A tool call spawns a background process. Replied before the child may run (W27).
    Spawn(Box<Process>),
    /// The child of that process runs.
    Running { process: ProcessId, pid: u32 },
    /// The child of that process never ran. Replied when that is stored.
    FailedStart { process: ProcessId, exit: Exit },
    /// A tool call waits for the end of that process and will show it.
    Awaiting(ProcessId),
    /// A tool call delegates a task: stored with the session that will work on it, its first
    /// prompt and its place in the list, all in one commit. Replied then. Where the call `waits`
    /// for its end, a cancel of the turn ends the task too.
    Delegate { process: Box<Process>, brief: String, waits: bool },
    /// A tool call waits for the end of a delegated task and will show it. Replied then.
    AwaitEnd(ProcessId),
    /// The context was compressed. Replied with the row of the summary.
    Compressed(Summary),
    /// The context was not compressed; the text is for the user.
    NotCompressed { message: String, failed: bool },
    /// The model was asked whether that goal is reached; no verdict = its answer cannot be read.
    /// Replied when it is stored.
    Judged { goal: String, verdict: Option<GoalVerdict> },
    /// The model could not be asked; why.
    NotJudged(String),
    /// The provider counted that for a request that has no [`TurnEvent::Answered`].
    Used(Usage),
    /// A tool call wants to know the session's processes.
    Processes,
    /// A tool call will kill a process. Replied before the signal may be sent (W08).
    Killing(ProcessId),
    /// The turn is over. No more follows.
    Ended { outcome: Outcome, failure: Option<String> },
}

impl TurnEvent {
    /// What the turn waits for, in one line.
    pub(crate) fn status(text: String) -> Self {
        Self::Status { text: Some(text), activity: Activity::Other }
    }
}

/// The end of a tool call and what it changed.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    /// The result.
    pub(crate) result: ToolResult,
    /// Processes whose end this result shows to the agent (W07).
    pub(crate) seen: Vec<(ProcessId, Seen)>,
    /// The session's shell after it, if it changed.
    pub(crate) shell: Option<Shell>,
    /// The todo list after it, if it changed.
    pub(crate) todo: Option<serde_json::Value>,
}

/// When the end of a process counts as seen by the agent, once a result has shown it (W07).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// With the result: of `wait`, `log` or `kill`.
    Now,
    /// When the turn ends normally: of `poll`.
    AtTurnEnd,
}

/// Where a session's commands run and what they have exported.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shell {
    /// The working directory.
    pub(crate) cwd: String,
    /// Variables that differ from the login environment; `None` = unset.
    pub(crate) env: BTreeMap<String, Option<String>>,
}
