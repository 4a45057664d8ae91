//! What a host states, in order.

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::{
    Answer, Attachment, CallId, Delivery, Exit, Goal, Millis, Outcome, Process, ProcessId,
    PromptId, Question, QuestionId, Queued, Row, SessionId, Source, Storage, Tokens, Transcript,
    TurnId, Usage,
};

/// A fact. Most change a [`Transcript`] (see [`Transcript::apply`]); the answers to questions of
/// one front end (`Paged`, `…Listed`, `ProcessTail`, `Failed`) and toasts do not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A fresh window on a session: at attach, at a switch, after a resync.
    Attached {
        /// The window.
        transcript: Box<Transcript>,
        /// True when this replaces a window whose events could not all be kept.
        resynced: bool,
    },
    /// A turn has begun.
    TurnStarted {
        /// Which one.
        turn: TurnId,
        /// Why it runs.
        source: Source,
        /// When.
        at: Millis,
    },
    /// The model said something. Deltas are merged to one per 30 ms or more.
    Delta {
        /// In which turn.
        turn: TurnId,
        /// The number of this delta in its turn, from 1; the journal's cursor.
        n: u64,
        /// What it is part of.
        part: Part,
        /// The text.
        text: String,
    },
    /// What the turn waits for, when that is not the model's text (a retry, a tool call being
    /// written); `None` clears it.
    TurnStatus {
        /// In which turn.
        turn: TurnId,
        /// One line for the user.
        text: Option<String>,
        /// What it does meanwhile, where a front end shows that in a way of its own.
        #[serde(default, skip_serializing_if = "Activity::is_other")]
        activity: Activity,
    },
    /// A row joined the transcript. It replaces the live text or live call it came from.
    RowAdded {
        /// The row.
        row: Row,
    },
    /// A tool call began to run.
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
        /// The new text, control bytes and all.
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
    /// A prompt waits for the running turn to end.
    PromptQueued {
        /// The prompt.
        prompt: Queued,
    },
    /// A waiting prompt left the queue: it became a row, or was taken back.
    PromptUnqueued {
        /// Which one.
        id: PromptId,
    },
    /// A steering remark waits for the next tool result; `None` = it was delivered.
    Steered {
        /// The remark.
        text: Option<String>,
    },
    /// A question joined the queue of pending ones, or its clock started.
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
        /// Which front end answered, where that is known.
        #[serde(default)]
        by: Option<String>,
    },
    /// A background process was spawned, or something about it changed.
    ProcessChanged {
        /// The process as it is now.
        process: Process,
    },
    /// Processes that no longer need listing.
    ProcessForgotten {
        /// Which one.
        id: ProcessId,
    },
    /// How many wakeups are held, and why; `None` = none (W22).
    Held {
        /// One line for the user.
        reason: Option<String>,
    },
    /// Wakeup turns have run without a user; from 3 on the session needs one (W31).
    Unattended {
        /// How many in a row.
        wakeups: u32,
    },
    /// The model reported how much it read and wrote.
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
        /// The new one; empty = it has none any more.
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
    /// Something happened that deserves a glance (drawn only when its session is not in view).
    Toast(Toast),
    /// Older rows, oldest first, in answer to `Page`.
    Paged {
        /// The rows.
        rows: Vec<Row>,
        /// How many rows are still older.
        earlier: u64,
    },
    /// The last output of a process, in answer to `Tail`.
    ProcessTail {
        /// Which one.
        id: ProcessId,
        /// Its last output, control bytes removed.
        text: String,
    },
    /// The sessions, newest first.
    SessionsListed {
        /// The rows.
        sessions: Vec<SessionRow>,
    },
    /// All background processes of the host that live or wait, in answer to `ListProcesses`.
    ProcessesListed {
        /// The processes, those of the session in view among them; oldest first.
        processes: Vec<Process>,
    },
    /// The models that can be named.
    ModelsListed {
        /// Their names.
        models: Vec<String>,
    },
    /// The rows after that one were taken back.
    RowsRemoved {
        /// The last row that stays; 0 = none.
        after: u64,
    },
    /// Approvals were switched off or on for the session.
    YoloChanged {
        /// Whether they are off.
        yolo: bool,
    },
    /// How hard the model thinks has changed.
    ReasoningChanged {
        /// See [`super::Command::SetReasoning`].
        effort: Option<String>,
    },
    /// The goal was set, moved on or was forgotten.
    GoalChanged {
        /// The goal as it is now.
        goal: Option<Goal>,
    },
    /// What goes along with the next prompt changed.
    AttachmentsChanged {
        /// All of it.
        attachments: Vec<Attachment>,
    },
    /// Something that lists show has changed: a session came, went, runs, asks, was renamed (S04).
    SessionsChanged,
    /// The questions of all sessions that wait for an answer have changed; told after each
    /// `Attached` too, unless there are none and never were. It is of the host, not of a session:
    /// that nothing of a session goes to views of another one (E06) is not said of it.
    InboxChanged {
        /// All of them, the longest waiting first; of each session its head (C02).
        questions: Vec<Asked>,
    },
    /// Another front end of this host looks at that session from now on (S04).
    Switched {
        /// The session.
        session: SessionId,
        /// What people call it.
        name: String,
    },
    /// The way to the host (only a remote one says this).
    Link {
        /// How it is.
        link: Link,
    },
    /// The sessions in which words were found, in answer to `Search`.
    SessionsFound {
        /// The words.
        query: String,
        /// Where they stand.
        found: Vec<Found>,
    },
    /// Folders worth working in, in answer to `ListWorkspaces`.
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
        /// A file name for it.
        name: String,
        /// The document.
        text: String,
    },
    /// A command could not be carried out.
    Failed(Failure),
    /// The provider has counted one more request of the session.
    TokensCounted {
        /// What all of them took together.
        tokens: Tokens,
    },
    /// Which tools the session's turns have from the next one on.
    ToolsetsChanged {
        /// See [`super::Command::SetToolsets`].
        toolsets: Option<Vec<String>>,
    },
    /// A piece of the answer to a side question of this view.
    AsideSaid {
        /// Which question.
        id: PromptId,
        /// What the piece is part of.
        part: Part,
        /// The piece.
        text: String,
    },
    /// The end of the answer to a side question of this view.
    AsideEnded {
        /// Which question.
        id: PromptId,
        /// The whole answer, or why there is none.
        text: String,
        /// There is none.
        failed: bool,
        /// What the provider counted for it.
        usage: Option<Usage>,
    },
}

/// How the way to a remote host is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Link {
    /// Streams are open.
    Up,
    /// A connection is being made.
    Connecting,
    /// Lost; it is tried again.
    Down {
        /// What went wrong, in a line.
        why: String,
        /// How many tries have failed in a row.
        attempt: u32,
        /// When the next one is made, by the front end's clock.
        retry_at: Millis,
    },
    /// Streams do not work; the state is asked for every few seconds instead (E08).
    Polling {
        /// What is wrong with the streams.
        why: String,
    },
    /// The host will not have us; no further try is made.
    Refused {
        /// What to do.
        message: String,
    },
    /// Somebody stopped the host. It is looked for again: another may take its place.
    Stopped {
        /// When the next look is; `None` = again and again, it costs nothing.
        retry_at: Option<Millis>,
    },
}

/// A pending question, with the session it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The session.
    pub session: SessionId,
    /// What people call it.
    pub name: String,
    /// The question.
    pub question: Question,
    /// How many more wait behind it in that session.
    #[serde(default)]
    pub behind: u32,
}

impl Asked {
    /// By this an inbox is in order: the longest waiting first.
    pub fn order(&self) -> (Millis, &SessionId) {
        (self.question.asked_at, &self.session)
    }
}

/// A session in which words were found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The session.
    pub session: SessionId,
    /// Its title, or the beginning of its first prompt.
    pub title: String,
    /// The text around the first find, if it is in the messages.
    pub excerpt: Option<String>,
}

/// What pending questions of a session ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// An approval.
    Approval,
    /// An answer.
    Clarify,
}

/// What a turn does while it waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// It compresses the context.
    Compressing,
    /// Anything else; the text says what.
    #[default]
    #[serde(other)]
    Other,
}

impl Activity {
    fn is_other(&self) -> bool {
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

/// News about a background event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Toast {
    /// The session it belongs to.
    pub session: SessionId,
    /// What people call that session: its title, else the beginning of its first prompt.
    #[serde(default)]
    pub name: String,
    /// The process it is about, if it is about one.
    pub process: Option<ProcessId>,
    /// What happened.
    pub news: News,
    /// One line.
    pub text: String,
}

impl Toast {
    /// An answer to a question of that session came too late.
    pub fn late(session: SessionId, name: String) -> Self {
        Self { session, name, process: None, news: News::Late, text: String::new() }
    }
}

/// What a toast tells (P11).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum News {
    /// A process or a delegated task ended.
    Ended {
        /// How.
        exit: Exit,
        /// What became of its completion.
        delivery: Delivery,
    },
    /// Output matched a watch pattern.
    Matched {
        /// The pattern.
        pattern: String,
    },
    /// A watch was switched off because it matched too often.
    WatchDisabled,
    /// So many watches matched at once that matches are dropped for a while (P04).
    Tripped,
    /// Matches are told again.
    Released {
        /// How many of this session were dropped.
        dropped: u64,
    },
    /// The agent asks something and waits for the answer (C16).
    Asked,
    /// Wakeups wait for somebody (W20, W22, W29, W31).
    Held {
        /// How many wait now.
        waiting: u64,
    },
    /// A turn has been running for long (R10).
    Working {
        /// For how long, in milliseconds.
        elapsed: Millis,
    },
    /// An answer that this front end gave to another session came too late: it does not count.
    Late,
    /// Of a newer host.
    #[serde(other)]
    Unknown,
}

/// A line of the session list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Its title, or the beginning of its first prompt.
    pub title: String,
    /// When it began.
    pub started_at: Millis,
    /// When it was last written to.
    pub active_at: Millis,
    /// How many rows it has.
    pub rows: u64,
    /// The model it uses.
    pub model: String,
    /// What opened it: `cli`, `tui`, `oneshot`.
    pub source: String,
    /// Where it works.
    pub cwd: String,
    /// The session it was branched from or that delegated it.
    #[serde(default)]
    pub parent: Option<SessionId>,
    /// How often its context was compressed (S03).
    #[serde(default)]
    pub compressions: u32,
    /// Left out of lists unless asked for; still woken (W19).
    #[serde(default)]
    pub archived: bool,
    /// On top of lists.
    #[serde(default)]
    pub pinned: bool,
    /// A turn runs in it.
    #[serde(default)]
    pub running: bool,
    /// What its oldest pending question asks for, and how many there are.
    #[serde(default)]
    pub attention: Option<(Attention, u32)>,
    /// What its requests took, all together.
    #[serde(default)]
    pub tokens: Tokens,
    /// The toolsets that its turns have; `None` = all.
    #[serde(default)]
    pub toolsets: Option<Vec<String>>,
    /// The turn that runs in it.
    #[serde(default)]
    pub turn: Option<ListedTurn>,
}

/// A running turn, as lists show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedTurn {
    /// Which one.
    pub turn: TurnId,
    /// Why it runs.
    pub source: Source,
    /// Since when.
    pub started_at: Millis,
    /// The user asked to interrupt it.
    pub cancelling: bool,
}
