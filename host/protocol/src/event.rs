//! What a host states, in order.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::id::{CallId, Millis, ProcessId, PromptId, QuestionId, SessionId, TurnId};
use crate::news::{Link, Toast};
use crate::process::Process;
use crate::question::{Answer, Asked, Question};
use crate::row::Row;
use crate::session::{Attachment, Found, Goal, SessionRow, Storage};
use crate::transcript::Transcript;
use crate::turn::{Activity, Outcome, Part, Queued, Source, Tokens, Usage};

/// A fact. Most change a [`Transcript`] (see [`Transcript::apply`]); the answers to questions of
/// one front end (`Paged`, `…Listed`, `ProcessTail`, `Failed`) and toasts do not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A fresh window on a session: when attaching, switching sessions, or after a resync.
    Attached {
        /// The window.
        transcript: Box<Transcript>,
        /// Whether this replaces a window whose events could not all be queued.
        resynced: bool,
    },
    /// A turn started.
    TurnStarted {
        /// Which one.
        turn: TurnId,
        /// Why it runs.
        source: Source,
        /// When.
        at: Millis,
    },
    /// The model streamed text. Deltas are merged to at most one per 30 ms.
    Delta {
        /// In which turn.
        turn: TurnId,
        /// The number of this delta in its turn, from 1; the journal's cursor.
        n: u64,
        /// The part of the answer it belongs to.
        part: Part,
        /// The text.
        text: String,
    },
    /// What the turn waits for, other than the model's text (a retry, a tool call being written);
    /// `None` clears it.
    TurnStatus {
        /// In which turn.
        turn: TurnId,
        /// One line for the user.
        text: Option<String>,
        /// What it is doing, where a view shows that in its own way.
        #[serde(default, skip_serializing_if = "Activity::is_other")]
        activity: Activity,
    },
    /// A row was added to the transcript. It replaces the live text or live call it came from.
    RowAdded {
        /// The row.
        row: Row,
    },
    /// A tool call started.
    CallStarted {
        /// Which one.
        call: CallId,
        /// When.
        at: Millis,
    },
    /// A running tool printed something.
    CallOutput {
        /// Which one.
        call: CallId,
        /// The new text, including control bytes.
        text: String,
    },
    /// The user asked to interrupt the running turn.
    TurnCancelling {
        /// Which one.
        turn: TurnId,
    },
    /// A turn has ended.
    TurnEnded {
        /// Which one.
        turn: TurnId,
        /// How.
        outcome: Outcome,
        /// When.
        at: Millis,
    },
    /// A prompt was queued behind the running turn.
    PromptQueued {
        /// The prompt.
        prompt: Queued,
    },
    /// A prompt left the queue: it became a row or was removed.
    PromptUnqueued {
        /// Which one.
        id: PromptId,
    },
    /// A steering remark will be added to the next tool result; `None` = it was delivered.
    Steered {
        /// The remark.
        text: Option<String>,
    },
    /// A question was added to the queue, or its timeout started.
    QuestionAsked {
        /// The question.
        question: Question,
    },
    /// A question left the queue.
    QuestionResolved {
        /// Which one.
        id: QuestionId,
        /// How it was answered.
        answer: Answer,
        /// The view that answered, if known.
        #[serde(default)]
        by: Option<String>,
    },
    /// A background process was spawned, or something about it changed.
    ProcessChanged {
        /// The process as it is now.
        process: Process,
    },
    /// A process no longer needs to be listed.
    ProcessForgotten {
        /// Which one.
        id: ProcessId,
    },
    /// Wakeups are held, and why; `None` = none are (W22).
    Held {
        /// One line for the user.
        reason: Option<String>,
    },
    /// Wakeup turns ran without a user; from 3 on the session needs attention (W31).
    Unattended {
        /// The number in a row.
        wakeups: u32,
    },
    /// The provider reported token counts.
    UsageReported {
        /// The numbers of the last request.
        usage: Usage,
        /// The model's context length in tokens, if known.
        context: Option<u64>,
    },
    /// The session's model changed.
    ModelChanged {
        /// Its name.
        model: String,
        /// Its context length in tokens, if known.
        context: Option<u64>,
    },
    /// The session's title changed.
    TitleChanged {
        /// The new title; empty = none.
        title: String,
    },
    /// The session's working directory changed.
    CwdChanged {
        /// The new one.
        cwd: String,
    },
    /// The store failed or recovered.
    StorageChanged {
        /// Its state.
        storage: Storage,
    },
    /// A notification (drawn only when its session is not in view).
    Toast(Toast),
    /// Older rows, oldest first, in answer to `Page`.
    Paged {
        /// The rows.
        rows: Vec<Row>,
        /// The number of rows that are still older.
        earlier: u64,
    },
    /// The last output of a process, in answer to `Tail`.
    ProcessTail {
        /// Which one.
        id: ProcessId,
        /// Its last output, control bytes removed.
        text: String,
    },
    /// The sessions, newest first, in answer to `ListSessions`.
    SessionsListed {
        /// The rows.
        sessions: Vec<SessionRow>,
    },
    /// All live or undelivered background processes of the host, in answer to `ListProcesses`.
    ProcessesListed {
        /// The processes, including those of the session in view; oldest first.
        processes: Vec<Process>,
    },
    /// The models that can be named.
    ModelsListed {
        /// Their names.
        models: Vec<String>,
    },
    /// The rows after that one were removed.
    RowsRemoved {
        /// The last row that stays; 0 = none.
        after: u64,
    },
    /// Approvals were disabled or enabled for the session.
    YoloChanged {
        /// Whether they are disabled.
        yolo: bool,
    },
    /// The reasoning effort changed.
    ReasoningChanged {
        /// See [`super::Command::SetReasoning`].
        effort: Option<String>,
    },
    /// The goal was set, changed or removed.
    GoalChanged {
        /// The goal as it is now.
        goal: Option<Goal>,
    },
    /// The files attached to the next prompt changed.
    AttachmentsChanged {
        /// All of them.
        attachments: Vec<Attachment>,
    },
    /// Something that session lists show changed: a session was created, deleted, renamed, started or
    /// stopped running, or asked a question (S04).
    SessionsChanged,
    /// The pending questions of all sessions changed. Also sent after each `Attached`, unless there
    /// never were any. It is an event of the host, not of a session, so E06 (no event of one session
    /// reaches a view of another) does not apply.
    InboxChanged {
        /// The head question of each session (C02), oldest first.
        questions: Vec<Asked>,
    },
    /// Another view of this host switched to that session (S04).
    Switched {
        /// The session.
        session: SessionId,
        /// Its display name.
        name: String,
    },
    /// The state of the connection to the host changed (remote hosts only).
    Link {
        /// The new state.
        link: Link,
    },
    /// The sessions that match, in answer to `Search`.
    SessionsFound {
        /// The search terms.
        query: String,
        /// The matching sessions.
        found: Vec<Found>,
    },
    /// Directories to work in, in answer to `ListWorkspaces`.
    WorkspacesListed {
        /// Absolute paths on the host.
        paths: Vec<String>,
    },
    /// The profiles, in answer to `ListProfiles`.
    ProfilesListed {
        /// Their names.
        names: Vec<String>,
        /// The one in use.
        active: String,
    },
    /// The session as a document, in answer to `Export`.
    Exported {
        /// A suggested file name.
        name: String,
        /// The document.
        text: String,
    },
    /// A command could not be carried out.
    Failed(Failure),
    /// The provider reported the tokens of one more request.
    TokensCounted {
        /// The sum over all requests of the session.
        tokens: Tokens,
    },
    /// The toolsets available to turns of the session changed.
    ToolsetsChanged {
        /// See [`super::Command::SetToolsets`].
        toolsets: Option<Vec<String>>,
    },
    /// Streamed text of the answer to a side question of this view.
    AsideSaid {
        /// Which question.
        id: PromptId,
        /// The part of the answer it belongs to.
        part: Part,
        /// The text.
        text: String,
    },
    /// The answer to a side question of this view is complete.
    AsideEnded {
        /// Which question.
        id: PromptId,
        /// The whole answer, or why there is none.
        text: String,
        /// Whether there is none.
        failed: bool,
        /// The token counts of the request.
        usage: Option<Usage>,
    },
}
