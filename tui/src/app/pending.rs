//! What was requested from the host and is not confirmed yet.

use protocol::{Attachment, Failure, Subject, Transcript};

pub(crate) use super::pending_prompts::PendingPrompts;

/// The pending requests.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) prompts: PendingPrompts,
    pub(crate) uploads: Uploads,
    /// Earlier rows were requested.
    pub(super) page: bool,
    /// The session to be opened, as the user named it: it is looked up in the list that was
    /// requested.
    pub(super) resume: Option<String>,
    pub(super) rewind: Option<Rewind>,
    /// Another working directory was requested.
    pub(super) workspace: bool,
    /// The target of the export that was requested, as it was typed; empty = the working directory.
    pub(super) export: Option<String>,
}

/// How the last prompt is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rewind {
    /// It returns to the input.
    Undo,
    /// It runs again.
    Retry,
}

impl Rewind {
    /// What a failure of it is about.
    fn subject(self) -> Subject {
        match self {
            Self::Undo => Subject::Undo,
            Self::Retry => Subject::Retry,
        }
    }
}

impl Pending {
    /// A fresh window came: it says what has become of prompts and uploads (S05).
    pub(super) fn on_window(&mut self, transcript: &Transcript) {
        self.page = false;
        self.uploads.clear();
        self.prompts.on_window(transcript);
    }

    /// The host refused something: gives up what this failure may be about. The rest may still
    /// come.
    pub(super) fn on_failed(&mut self, about: &Subject) {
        self.resume.take_if(|_| about.may_be(&Subject::Sessions));
        self.rewind.take_if(|rewind| about.may_be(&rewind.subject()));
        self.workspace &= !about.may_be(&Subject::Cwd);
        self.export.take_if(|_| about.may_be(&Subject::Export));
    }
}

/// The names of the files that are being uploaded, oldest first (S05).
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    names: Vec<String>,
}

impl Uploads {
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub(super) fn add(&mut self, name: String) {
        self.names.push(name);
    }

    pub(super) fn clear(&mut self) {
        self.names.clear();
    }

    /// A file could not be read.
    pub(super) fn on_unread(&mut self, name: &str) {
        if let Some(at) = self.names.iter().position(|uploading| uploading == name) {
            self.names.remove(at);
        }
    }

    /// The attachments of the next prompt have changed: a new one was uploaded.
    pub(super) fn on_attachments(&mut self, before: &[Attachment], now: &[Attachment]) {
        for new in now.iter().filter(|attachment| !before.contains(attachment)) {
            let same = self.names.iter().position(|name| *name == new.name);
            // A host may give it another name: then it is the oldest one.
            if !self.names.is_empty() {
                self.names.remove(same.unwrap_or(0));
            }
        }
        // The same file once more changes nothing that could be seen.
        self.names.retain(|name| !before.iter().chain(now).any(|known| known.name == *name));
    }

    /// The host refused something, maybe an upload.
    pub(super) fn on_failed(&mut self, failure: &Failure) {
        if failure.about.may_be(&Subject::Upload) && !self.names.is_empty() {
            let named = self.names.iter().position(|name| failure.message.contains(name));
            self.names.remove(named.unwrap_or(0));
        }
    }
}
