//! What could not be done, and what had been asked for.

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::id::PromptId;

/// A command that could not be carried out, or damage that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was asked for.
    pub about: Subject,
    /// What went wrong and what to do.
    pub message: String,
}

/// What a failure is about: in JSON one string. The aliases are the names of commands, by which a
/// host tells those that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Answering a question, or showing it.
    #[serde(alias = "shown")]
    Answer,
    /// Archiving a session, or taking it back.
    Archive,
    /// Copying a session up to here.
    Branch,
    /// Interrupting a turn.
    Cancel,
    /// Some command; which one is not known.
    Command,
    /// Compressing the context.
    Compress,
    /// Changing the working directory.
    #[serde(alias = "set_cwd", alias = "workspace")]
    Cwd,
    /// Deleting a session.
    Delete,
    /// Taking back what was uploaded.
    DropUploads,
    /// Copying a session as a whole.
    Duplicate,
    /// Exporting a session.
    Export,
    /// Setting a goal, or changing its state.
    Goal,
    /// Ending processes.
    Kill,
    /// The connection to the host.
    Link,
    /// Loading the session in view again.
    Load,
    /// Choosing a model.
    #[serde(alias = "set_model")]
    Model,
    /// Listing the models.
    #[serde(alias = "list_models")]
    Models,
    /// Opening a session.
    Open,
    /// Loading older rows.
    Page,
    /// Pinning a session.
    Pin,
    /// Listing the processes of all sessions.
    #[serde(alias = "list_processes")]
    Processes,
    /// Switching to another profile.
    #[serde(alias = "set_profile")]
    Profile,
    /// Listing the profiles.
    #[serde(alias = "list_profiles")]
    Profiles,
    /// A prompt; which one is not known.
    Prompt,
    /// Choosing the reasoning effort.
    #[serde(alias = "set_reasoning")]
    Reasoning,
    /// Renaming a session.
    #[serde(alias = "set_title")]
    Rename,
    /// Asking the last prompt again.
    Retry,
    /// Searching in all sessions.
    Search,
    /// The session in view has gone. Nothing had been asked for.
    Session,
    /// Listing the sessions.
    #[serde(alias = "list_sessions")]
    Sessions,
    /// Asking a side question.
    #[serde(rename = "aside")]
    SideQuestion,
    /// Damage in what is stored of a session. Nothing had been asked for.
    State,
    /// Asking how the session in view is.
    Status,
    /// Steering the running turn.
    Steer,
    /// Reading the output of a process.
    Tail,
    /// Making a title.
    #[serde(alias = "retitle")]
    Title,
    /// Choosing toolsets.
    #[serde(alias = "set_toolsets")]
    Toolsets,
    /// Cutting a session off after a row.
    Truncate,
    /// Taking the last turn back.
    Undo,
    /// Taking a queued prompt back.
    Unqueue,
    /// Uploading a file.
    Upload,
    /// Starting held wakeups.
    #[serde(alias = "wake_now")]
    Wake,
    /// Listing directories worth working in.
    #[serde(alias = "list_workspaces")]
    Workspaces,
    /// Switching approvals off or on.
    #[serde(alias = "set_yolo")]
    Yolo,
    /// That prompt: `prompt` and its id.
    #[serde(untagged)]
    NamedPrompt(#[serde(with = "named_prompt")] PromptId),
    /// Something that only a newer host knows.
    #[serde(untagged)]
    Unknown(String),
}

impl Subject {
    /// What the failure of a command is about.
    pub fn of(command: &Command) -> Self {
        match command {
            Command::Prompt { id, .. } => Self::NamedPrompt(id.clone()),
            Command::Unqueue { .. } => Self::Unqueue,
            Command::Steer { .. } => Self::Steer,
            Command::Cancel => Self::Cancel,
            Command::Answer { .. } | Command::Shown { .. } => Self::Answer,
            Command::Kill { .. } => Self::Kill,
            Command::Tail { .. } => Self::Tail,
            Command::WakeNow => Self::Wake,
            Command::Open(_) => Self::Open,
            Command::Page { .. } => Self::Page,
            Command::Compress { .. } => Self::Compress,
            Command::Branch => Self::Branch,
            Command::Archive { .. } => Self::Archive,
            Command::Delete { .. } => Self::Delete,
            Command::ListProcesses => Self::Processes,
            Command::ListSessions => Self::Sessions,
            Command::ListModels => Self::Models,
            Command::SetModel { .. } => Self::Model,
            Command::SetTitle { .. } => Self::Rename,
            Command::Undo => Self::Undo,
            Command::Retry { .. } => Self::Retry,
            Command::Duplicate => Self::Duplicate,
            Command::Pin { .. } => Self::Pin,
            Command::Export => Self::Export,
            Command::SetYolo { .. } => Self::Yolo,
            Command::SetCwd { .. } => Self::Cwd,
            Command::SetReasoning { .. } => Self::Reasoning,
            Command::ListWorkspaces => Self::Workspaces,
            Command::ListProfiles => Self::Profiles,
            Command::SetProfile { .. } => Self::Profile,
            Command::Search { .. } => Self::Search,
            Command::Upload { .. } => Self::Upload,
            Command::DropUploads => Self::DropUploads,
            Command::Goal(_) => Self::Goal,
            Command::Truncate { .. } => Self::Truncate,
            Command::SetToolsets { .. } => Self::Toolsets,
            Command::Aside { .. } => Self::SideQuestion,
            Command::Retitle { .. } => Self::Title,
        }
    }

    /// What the failure of a command of that name is about: the name it has in JSON.
    pub fn of_name(name: &str) -> Self {
        let unknown = || Self::Unknown(name.to_owned());
        serde_json::from_value(name.into()).unwrap_or_else(|_| unknown())
    }

    /// Whether a failure about this may be the answer to somebody who asked for `asked`: it is, or
    /// the failure does not say what it is about.
    pub fn may_be(&self, asked: &Self) -> bool {
        match self {
            Self::Command | Self::Unknown(_) => true,
            subject => subject == asked,
        }
    }
}

/// A prompt's id behind the word `prompt`.
mod named_prompt {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::id::PromptId;

    const PREFIX: &str = "prompt ";

    pub(super) fn serialize<S: Serializer>(id: &PromptId, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{PREFIX}{}", id.0))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PromptId, D::Error> {
        let text = String::deserialize(from)?;
        let id = text.strip_prefix(PREFIX).ok_or_else(|| D::Error::custom("names no prompt"))?;
        Ok(PromptId(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn a_subject_is_one_string_and_is_read_back_from_it() {
        let subjects = [
            (Subject::Prompt, "prompt"),
            (Subject::NamedPrompt(PromptId("7 a".to_owned())), "prompt 7 a"),
            (Subject::SideQuestion, "aside"),
            (Subject::Rename, "rename"),
            (Subject::DropUploads, "drop_uploads"),
            (Subject::Unknown("telepathy".to_owned()), "telepathy"),
            (Subject::Unknown("prompts".to_owned()), "prompts"),
            (Subject::Unknown(String::new()), ""),
        ];
        for (subject, text) in subjects {
            let failure = Failure { about: subject.clone(), message: String::new() };
            let value = to_value(&failure).unwrap();
            assert_eq!(value, json!({ "about": text, "message": "" }));
            assert_eq!(from_value::<Failure>(value).unwrap().about, subject);
        }
    }

    #[test]
    fn a_command_that_a_host_does_not_know_is_named_as_its_failure_is() {
        for (command, subject) in [
            (Command::ListSessions, Subject::Sessions),
            (Command::SetCwd { cwd: String::new() }, Subject::Cwd),
            (Command::WakeNow, Subject::Wake),
            (Command::Undo, Subject::Undo),
        ] {
            let name = to_value(&command).unwrap()["command"].as_str().unwrap().to_owned();
            assert_eq!(Subject::of_name(&name), subject, "{name}");
            assert_eq!(Subject::of(&command), subject, "{name}");
        }
    }
}
