//! What the user wrote and no host has accepted: kept when the interface ends, so that nothing that
//! was typed is lost.

use std::collections::BTreeMap;

use protocol::SessionId;

use super::{App, Panel};

impl App {
    /// The texts that no host has accepted, for the next start.
    pub(crate) fn unsent(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.pending.prompts.texts().map(str::to_owned).collect();
        if !self.input.composer.is_empty() {
            texts.push(self.input.composer.expanded());
        }
        if let Some(Panel::Inbox(inbox)) = &self.overlays.panel {
            texts.extend(inbox.typed());
        }
        texts
    }

    /// The same without the prompts for a host of another process: the client that sends those
    /// keeps them.
    pub(crate) fn unsent_here(&self) -> Vec<String> {
        let sent = if self.options.attached { self.pending.prompts.texts().count() } else { 0 };
        self.unsent().split_off(sent)
    }

    /// The session on the screen, if it has rows.
    pub(crate) fn stored_session(&self) -> Option<&SessionId> {
        let transcript = &self.transcript;
        let is_stored = transcript.earlier > 0 || !transcript.rows.is_empty();
        is_stored.then_some(&transcript.session)
    }

    /// The texts to be put back into the input at the next start: see
    /// [`crate::Options::drafts`].
    pub(crate) fn drafts(&self) -> BTreeMap<String, String> {
        let mut drafts = self.input.drafts.clone();
        let unsent = self.unsent_here();
        if !unsent.is_empty() {
            drafts.insert(self.draft_key(), unsent.join("\n\n"));
        }
        drafts
    }

    /// Puts the draft of the session on the screen into an empty input.
    pub(super) fn restore_draft(&mut self) {
        if !self.input.composer.is_empty() {
            return;
        }
        if let Some(text) = self.input.drafts.remove(&self.draft_key()) {
            self.input.composer.set(&text);
        }
    }

    /// The key of the session on the screen in [`crate::Options::drafts`].
    fn draft_key(&self) -> String {
        self.stored_session().map(|id| id.0.clone()).unwrap_or_default()
    }
}
