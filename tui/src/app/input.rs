//! The input: what is typed, the menu that completes it, and when keys were last pressed.

use std::collections::BTreeMap;

use protocol::Millis;

use crate::composer::Composer;
use crate::slash::{self, CommandSpec};

/// The input below the transcript.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) composer: Composer,
    /// The selected entry of the menu of commands.
    completion: usize,
    /// When a key was last pressed that a card must not take.
    pub(super) typed_at: Millis,
    /// Until when a second Ctrl+C quits.
    quit_until: Option<Millis>,
    /// Drafts of sessions that have not been opened yet: see [`crate::Options::drafts`].
    pub(super) drafts: BTreeMap<String, String>,
}

impl Input {
    pub(super) fn new(drafts: BTreeMap<String, String>) -> Self {
        let composer = Composer::default();
        Self { composer, completion: 0, typed_at: 0, quit_until: None, drafts }
    }

    /// Returns a text to the user: into the input, or into its history if something is typed.
    pub(super) fn put_back(&mut self, text: &str) {
        if self.composer.is_empty() {
            self.composer.set(text);
        } else {
            self.composer.remember(text);
        }
    }

    /// Inserts pasted text.
    pub(super) fn paste(&mut self, text: &str, now: Millis) {
        self.typed_at = now;
        self.completion = 0;
        self.composer.paste(text);
    }

    /// The commands that complete what is typed.
    pub(crate) fn completions(&self) -> Vec<&'static CommandSpec> {
        slash::completions(self.composer.text())
    }

    /// The selected one of so many completions.
    pub(crate) fn selected_completion(&self, count: usize) -> usize {
        self.completion.min(count.saturating_sub(1))
    }

    /// Selects the first completion again.
    pub(super) fn reset_completion(&mut self) {
        self.completion = 0;
    }

    /// Whether a menu of commands is open.
    pub(super) fn has_menu(&self) -> bool {
        !self.completions().is_empty()
    }

    /// Selects the completion above or below; the ends of the menu join.
    pub(super) fn move_completion(&mut self, up: bool) {
        let count = self.completions().len();
        if count > 0 {
            let step = if up { count - 1 } else { 1 };
            self.completion = (self.selected_completion(count) + step) % count;
        }
    }

    /// Replaces what is typed by the selected completion.
    pub(super) fn complete(&mut self) {
        let menu = self.completions();
        if let Some(command) = menu.get(self.selected_completion(menu.len())) {
            let space = if command.args.is_empty() { "" } else { " " };
            self.composer.set(&format!("/{}{space}", command.name));
            self.completion = 0;
        }
    }

    /// Completes the beginning of a name. False if the command needs arguments first.
    pub(super) fn complete_name(&mut self) -> bool {
        let text = self.composer.text();
        let menu = self.completions();
        let is_whole = menu.iter().any(|command| format!("/{}", command.name) == text);
        match menu.get(self.completion) {
            Some(command) if slash::parse(text).is_err() && !is_whole => {
                let can_run = command.args.is_empty();
                self.complete();
                can_run
            }
            Some(_) | None => true,
        }
    }

    /// Makes the next Ctrl+C quit until then. True if it quits already.
    pub(super) fn press_quit(&mut self, now: Millis, until: Millis) -> bool {
        if self.quit_until.take().is_some_and(|until| now < until) {
            return true;
        }
        self.quit_until = Some(until);
        false
    }

    /// Another key came: the next Ctrl+C does not quit. True if it would have.
    pub(super) fn disarm_quit(&mut self) -> bool {
        self.quit_until.take().is_some()
    }

    pub(super) fn on_tick(&mut self, now: Millis) {
        self.quit_until.take_if(|until| *until <= now);
    }

    /// When a second Ctrl+C no longer quits.
    pub(super) fn next_tick(&self) -> Option<Millis> {
        self.quit_until
    }
}
