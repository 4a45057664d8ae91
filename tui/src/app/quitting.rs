//! Quitting and what of the user's is kept over it.

use std::collections::BTreeMap;

use protocol::{Command, Link, SessionId};

use super::{App, Effect};
use crate::keymap::Action;
use crate::quit::{Leaving, Left, Outcome, Quit};

impl App {
    /// Quits, but asks first when something still runs in the host. What runs in sessions that are
    /// not in view only the host knows: it is asked, and nothing is decided before its answer or
    /// the next key.
    pub(super) fn quit(&mut self) -> Vec<Effect> {
        if self.options.attached || !self.attached {
            return vec![Effect::Quit(Leaving::Plain)];
        }
        self.confirm = None;
        let mut quit = Quit::default();
        if !Left::of(&self.transcript, &quit).is_nothing() {
            quit.open(self.now);
        }
        self.leaving = Some(quit);
        self.ask_what_runs()
    }

    /// Asks the host what runs in its other sessions, if somebody wants to quit.
    pub(super) fn ask_what_runs(&self) -> Vec<Effect> {
        if self.leaving.is_none() {
            return Vec::new();
        }
        [Command::ListProcesses, Command::ListSessions].map(Effect::Send).to_vec()
    }

    /// The host has said something of what runs: where that is nothing there is nothing to ask.
    pub(super) fn quit_if_idle(&mut self) -> Option<Effect> {
        let quit = self.leaving.as_mut().filter(|quit| !quit.is_open() && quit.is_answered())?;
        if Left::of(&self.transcript, quit).is_nothing() {
            self.leaving = None;
            return Some(Effect::Quit(Leaving::Plain));
        }
        quit.open(self.now);
        None
    }

    /// A key while somebody wants to quit; `None` = the key is for others.
    pub(super) fn on_leaving(&mut self, action: Action) -> Option<Vec<Effect>> {
        let quit = self.leaving.as_mut()?;
        if !quit.is_open() {
            // The host has not answered. Who insists does not wait for it, nor does who stays.
            self.leaving = None;
            return matches!(action, Action::Interrupt | Action::EndOfInput)
                .then(|| vec![Effect::Quit(Leaving::Plain)]);
        }
        Some(match quit.on_action(action, self.now) {
            Outcome::Open => Vec::new(),
            Outcome::Stay => {
                self.leaving = None;
                Vec::new()
            }
            Outcome::Quit(leaving) => {
                self.leaving = None;
                vec![Effect::Quit(leaving)]
            }
        })
    }

    /// What of the session in view goes on in a host that was left as it is.
    pub(crate) fn goes_on(&self) -> Option<String> {
        // Without a link nobody knows what goes on there.
        let knows = self.options.attached && matches!(self.link, Link::Up);
        knows.then(|| Left::of(&self.transcript, &Quit::default()).goes_on())?
    }

    /// The session in view, if it has rows.
    pub(crate) fn stored_session(&self) -> Option<&SessionId> {
        let transcript = &self.transcript;
        let stored = transcript.earlier > 0 || !transcript.rows.is_empty();
        stored.then_some(&transcript.session)
    }

    /// What is to be put back into the input at the next start: see
    /// [`crate::Options::drafts`].
    pub(crate) fn drafts(&self) -> BTreeMap<String, String> {
        let mut drafts = self.options.drafts.clone();
        let unsent = self.unsent_here();
        if !unsent.is_empty() {
            let session = self.stored_session().map(|id| id.0.clone()).unwrap_or_default();
            drafts.insert(session, unsent.join("\n\n"));
        }
        drafts
    }

    /// Puts back what was written for the session that has come into view.
    pub(super) fn take_draft(&mut self) {
        if !self.composer.is_empty() {
            return;
        }
        let session = self.stored_session().map(|id| id.0.clone()).unwrap_or_default();
        if let Some(text) = self.options.drafts.remove(&session) {
            self.composer.set(&text);
        }
    }

    /// Whether the host is another process from now on: then quitting leaves nothing behind.
    pub(crate) fn set_attached(&mut self, attached: bool) {
        self.options.attached = attached;
    }
}
