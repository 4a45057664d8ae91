//! What a front end asks of a host.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::{Answer, ProcessId, PromptId, QuestionId, SessionId};

/// A request. Where it names no session it concerns the one in view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Run a turn for this text; while a turn runs the prompt waits in the queue.
    Prompt {
        /// Names the prompt, so that sending it twice is one prompt.
        id: PromptId,
        /// What the user typed.
        text: String,
    },
    /// Take a waiting prompt back.
    Unqueue {
        /// Which one.
        id: PromptId,
    },
    /// Hand the running turn a remark: it is joined to the next tool result.
    Steer {
        /// The remark.
        text: String,
    },
    /// Interrupt the running turn.
    Cancel,
    /// Answer a question.
    Answer {
        /// Of which session; `None` = of the one in view.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// Which one. A late or unknown one is a friendly no-op (C07).
        id: QuestionId,
        /// The answer.
        answer: Answer,
    },
    /// A front end that can answer has this question on its screen: its clock starts (C08).
    Shown {
        /// Of which session; `None` = of the one in view.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// Which one.
        id: QuestionId,
    },
    /// End a background process, as the user's wish (W09).
    Kill {
        /// Which one; `None` = all of the session (`/stop`).
        id: Option<ProcessId>,
    },
    /// Ask for the last output of a process: [`super::Event::ProcessTail`].
    Tail {
        /// Which one.
        id: ProcessId,
    },
    /// Start the wakeups that are held (W22).
    WakeNow,
    /// Look at another session: a fresh [`super::Event::Attached`] follows.
    Open(Target),
    /// Ask for rows before the window: [`super::Event::Paged`].
    Page {
        /// The number of the oldest row in the window.
        before: u64,
        /// How many rows at most.
        limit: u32,
    },
    /// Replace the older part of the model's context by a summary.
    Compress {
        /// What the summary should keep above all, if anything.
        focus: Option<String>,
    },
    /// Go on in a copy of the session as it is after its last finished turn.
    Branch,
    /// Put the session away, or take it back: lists leave archived ones out (W19).
    Archive {
        /// Of which session; `None` = of the one in view.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// Whether it is put away.
        archived: bool,
    },
    /// Delete a session with all it holds; its processes are ended first (W09).
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
    /// Use another model from the next turn on.
    SetModel {
        /// Its name, as listed or `provider/name`.
        model: String,
    },
    /// Rename the session; an empty title is none.
    SetTitle {
        /// Of which session; `None` = of the one in view.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// The new title.
        title: String,
    },
    /// Take the last user turn and what followed back: [`super::Event::RowsRemoved`].
    Undo,
    /// Take the last user turn back and run its text again.
    Retry {
        /// Names the new prompt.
        id: PromptId,
    },
    /// Go on in a whole copy of the session.
    Duplicate,
    /// Put the session on top of lists, or take it from there.
    Pin {
        /// Of which session; `None` = of the one in view.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
        /// Whether it is on top.
        pinned: bool,
    },
    /// Ask for the whole session as a document: [`super::Event::Exported`].
    Export,
    /// Run dangerous commands of this session without asking, or ask again. Hard blocks hold.
    SetYolo {
        /// Whether approvals are off.
        yolo: bool,
    },
    /// Work elsewhere from the next command on.
    SetCwd {
        /// An existing folder of the host.
        cwd: String,
    },
    /// How hard the model thinks, from the next turn on.
    SetReasoning {
        /// `none`, `minimal`, `low`, `medium`, `high` …; `None` = the configured one.
        effort: Option<String>,
    },
    /// Ask for folders worth working in: [`super::Event::WorkspacesListed`].
    ListWorkspaces,
    /// Ask for the profiles: [`super::Event::ProfilesListed`].
    ListProfiles,
    /// Use another profile from now on, where the host can.
    SetProfile {
        /// Its name.
        name: String,
    },
    /// Look for words in all sessions: [`super::Event::SessionsFound`].
    Search {
        /// The words.
        query: String,
    },
    /// Give the next prompt a file: [`super::Event::AttachmentsChanged`].
    Upload {
        /// Its name, without folders.
        name: String,
        /// Its content.
        data: Data,
    },
    /// Take back what was uploaded for the next prompt.
    DropUploads,
    /// Set a goal that the agent works on turn by turn, or change the one it has (S08).
    Goal(GoalAsk),
    /// Take all rows after that one back: [`super::Event::RowsRemoved`].
    Truncate {
        /// The last row that stays; 0 = none.
        after: u64,
    },
    /// Which tools the session's turns have, from the next one on.
    SetToolsets {
        /// `terminal`, `file`, `todo` …; `None` = all there are.
        toolsets: Option<Vec<String>>,
    },
    /// Ask the model something beside the work, with all it knows of the session: the answer goes
    /// to this view only ([`super::Event::AsideSaid`], [`super::Event::AsideEnded`]) and leaves no
    /// row. It ends with the view.
    Aside {
        /// Names the question.
        id: PromptId,
        /// The question.
        question: String,
    },
    /// Let the model find a title for the session.
    Retitle {
        /// From the last exchange; else from the first.
        latest: bool,
    },
}

/// What to do about the goal of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "goal", rename_all = "snake_case")]
pub enum GoalAsk {
    /// Work on this one; a turn starts at once.
    Set {
        /// The goal.
        text: String,
    },
    /// Wait with further turns.
    Pause,
    /// Go on.
    Resume,
    /// Forget it.
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

/// Which session to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A new one. It is stored with its first prompt, not before.
    New,
    /// The one used last.
    Latest,
    /// This one.
    Id(SessionId),
}
