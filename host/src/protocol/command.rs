//! What a front end asks of a host.

use serde::{Deserialize, Serialize};

use super::{Answer, ProcessId, PromptId, QuestionId, SessionId};

/// A request. All but [`Command::Open`] concern the session in view.
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
        /// Which one. A late or unknown one is a friendly no-op (C07).
        id: QuestionId,
        /// The answer.
        answer: Answer,
    },
    /// A front end that can answer has this question on its screen: its clock starts (C08).
    Shown {
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
    /// Rename the session.
    SetTitle {
        /// The new title.
        title: String,
    },
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
