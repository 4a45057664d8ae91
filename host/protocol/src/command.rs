//! The commands a view sends to its host.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::id::{ProcessId, PromptId, QuestionId, SessionId};
use crate::question::Answer;

/// A request to the host. One that names no session applies to the session in view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Run a turn for this text. While another turn runs, the prompt is queued.
    Prompt {
        /// Identifies the prompt, so that sending it twice runs it once.
        id: PromptId,
        /// What the user typed.
        text: String,
    },
    /// Remove a prompt from the queue.
    Unqueue {
        /// Which one.
        id: PromptId,
    },
    /// Give the running turn a remark; it is added to the next tool result.
    Steer {
        /// The remark.
        text: String,
    },
    /// Interrupt the running turn.
    Cancel,
    /// Answer a question.
    Answer {
        /// The session; `None` = the one in view.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// The question. A late or unknown one is a no-op that the user is told of (C07).
        id: QuestionId,
        /// The answer.
        answer: Answer,
    },
    /// A view that can answer shows this question: its timeout starts (C08).
    Shown {
        /// The session; `None` = the one in view.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// Which one.
        id: QuestionId,
    },
    /// Kill a background process on behalf of the user (W09).
    Kill {
        /// The process; `None` = all processes of the session (`/stop`).
        id: Option<ProcessId>,
    },
    /// Ask for the last output of a process: [`super::Event::ProcessTail`].
    Tail {
        /// Which one.
        id: ProcessId,
    },
    /// Start the wakeups that are held (W22).
    WakeNow,
    /// Switch the view to another session; a fresh [`super::Event::Attached`] follows.
    Open(Target),
    /// Ask for rows before the window: [`super::Event::Paged`].
    Page {
        /// The number of the oldest row in the window.
        before: u64,
        /// The maximum number of rows.
        limit: u32,
    },
    /// Replace the older part of the model's context by a summary.
    Compress {
        /// What the summary should keep above all.
        focus: Option<String>,
    },
    /// Continue in a copy of the session up to its last finished turn.
    Branch,
    /// Archive a session, or take it out of the archive. Lists omit archived sessions (W19).
    Archive {
        /// The session; `None` = the one in view.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// Whether it is archived.
        archived: bool,
    },
    /// Delete a session and everything in it; its processes are killed first (W09).
    Delete {
        /// Which one.
        session: SessionId,
    },
    /// Ask for the processes of all sessions: [`super::Event::ProcessesListed`].
    ListProcesses,
    /// Ask for the sessions, newest first: [`super::Event::SessionsListed`].
    ListSessions,
    /// Ask for the models that can be named: [`super::Event::ModelsListed`].
    ListModels,
    /// Use another model, starting with the next turn.
    SetModel {
        /// Its name, as listed or `provider/name`.
        model: String,
    },
    /// Rename a session; an empty title removes it.
    SetTitle {
        /// The session; `None` = the one in view.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// The new title.
        title: String,
    },
    /// Remove the last user turn and everything after it: [`super::Event::RowsRemoved`].
    Undo,
    /// Remove the last user turn and run its prompt again.
    Retry {
        /// Identifies the new prompt.
        id: PromptId,
    },
    /// Continue in a full copy of the session.
    Duplicate,
    /// Pin a session to the top of lists, or unpin it.
    Pin {
        /// The session; `None` = the one in view.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// Whether it is pinned.
        pinned: bool,
    },
    /// Export the whole session as a document: [`super::Event::Exported`].
    Export,
    /// Run dangerous commands of this session without asking, or ask again. Hard blocks still apply.
    SetYolo {
        /// Whether approvals are off.
        yolo: bool,
    },
    /// Change the working directory, starting with the next command.
    SetCwd {
        /// An existing directory on the host.
        cwd: String,
    },
    /// Set the reasoning effort, starting with the next turn.
    SetReasoning {
        /// `none`, `minimal`, `low`, `medium`, `high` …; `None` = the configured one.
        effort: Option<String>,
    },
    /// Ask for directories to work in: [`super::Event::WorkspacesListed`].
    ListWorkspaces,
    /// Ask for the profiles: [`super::Event::ProfilesListed`].
    ListProfiles,
    /// Switch to another profile, if the host can.
    SetProfile {
        /// Its name.
        name: String,
    },
    /// Search all sessions: [`super::Event::SessionsFound`].
    Search {
        /// The search terms.
        query: String,
    },
    /// Attach a file to the next prompt: [`super::Event::AttachmentsChanged`].
    Upload {
        /// Its name, without directories.
        name: String,
        /// Its content.
        data: Data,
    },
    /// Remove all files attached to the next prompt.
    DropUploads,
    /// Set a goal that the agent works on turn by turn, or change the state of the current one (S08).
    Goal(GoalAsk),
    /// Remove all rows after that one: [`super::Event::RowsRemoved`].
    Truncate {
        /// The last row that stays; 0 = none.
        after: u64,
    },
    /// Choose the tools available to turns of the session, starting with the next one.
    SetToolsets {
        /// `terminal`, `file`, `todo` …; `None` = all.
        toolsets: Option<Vec<String>>,
    },
    /// Ask the model a side question, with the context of the session. The answer goes to this view
    /// only ([`super::Event::AsideSaid`], [`super::Event::AsideEnded`]), adds no row, and is
    /// cancelled when the view ends.
    Aside {
        /// Identifies the question.
        id: PromptId,
        /// The question.
        question: String,
    },
    /// Let the model choose a title for the session.
    Retitle {
        /// Based on the last exchange; otherwise on the first.
        latest: bool,
    },
}

/// A change to the goal of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "goal", rename_all = "snake_case")]
pub enum GoalAsk {
    /// Set this goal; a turn starts at once.
    Set {
        /// The goal.
        text: String,
    },
    /// Start no further turns for now.
    Pause,
    /// Continue.
    Resume,
    /// Remove it.
    Clear,
}

/// Bytes; Base64 in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data(pub Vec<u8>);

impl Serialize for Data {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The session to open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A new one. It is not stored until its first prompt.
    New,
    /// The most recently used one.
    Latest,
    /// This one.
    Id(SessionId),
}
