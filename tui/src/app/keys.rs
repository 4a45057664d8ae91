//! Keys, pastes and the mouse wheel, given to the parts in the order in which they may take them.

use crossterm::event::KeyEvent;
use protocol::{Command, Millis, PromptId, Target};

use super::{App, Effect, Notice, Panel};
use crate::card;
use crate::clean::one_line;
use crate::keymap::{Action, action};
use crate::quit::ExitMode;
use crate::slash;
use crate::transcript::Move;

/// Two presses of Ctrl+C within this time quit.
const TWICE: Millis = 2_000;

/// Lines that one turn of the wheel moves.
const WHEEL: isize = 3;

impl App {
    pub(crate) fn on_key(&mut self, key: KeyEvent, now: Millis) -> Vec<Effect> {
        self.now = now;
        let Some(action) = action(key) else { return Vec::new() };
        if action != Action::Interrupt && self.input.disarm_quit() {
            self.feedback.clear_flash();
        }
        if action == Action::Suspend {
            return vec![Effect::Quit(ExitMode::Suspend)];
        }
        if let Some(effects) = self.on_quit_key(action) {
            return effects;
        }
        if self.overlays.confirm.is_some() || self.overlays.panel.is_some() {
            // A card below must take neither this key nor the next one at once.
            self.input.typed_at = now;
            return if self.overlays.confirm.is_some() {
                self.on_confirm_key(action)
            } else {
                self.on_panel_key(action)
            };
        }
        if self.was_for_closed_card(action) {
            return Vec::new();
        }
        if let Some(effects) = self.on_card_key(action) {
            return effects;
        }
        self.input.typed_at = now;
        self.on_action(action)
    }

    /// A key that no overlay and no card takes.
    fn on_action(&mut self, action: Action) -> Vec<Effect> {
        let is_empty = self.input.composer.is_empty();
        match action {
            Action::Escape => self.back_out().unwrap_or_default(),
            Action::Interrupt => self.back_out().unwrap_or_else(|| self.press_quit()),
            Action::EndOfInput if is_empty => self.quit(),
            Action::Repaint => vec![Effect::Repaint],
            Action::Processes => self.list_processes(),
            Action::Reasoning => {
                self.view.toggle_reasoning();
                Vec::new()
            }
            Action::News => self.open_news(),
            Action::PageUp => self.scroll(Move::Pages(-1)),
            Action::PageDown => self.scroll(Move::Pages(1)),
            Action::First => self.scroll(Move::Top),
            Action::Last => self.scroll(Move::End),
            Action::End if is_empty => self.scroll(Move::End),
            Action::Home if is_empty => self.scroll(Move::Top),
            Action::Tab => {
                self.input.complete();
                Vec::new()
            }
            Action::Up | Action::Down if self.input.has_menu() => {
                self.input.move_completion(action == Action::Up);
                Vec::new()
            }
            Action::Up if is_empty && !self.transcript.queued.is_empty() => self.unqueue_last(),
            Action::Enter => self.enter(),
            _ => {
                let before = self.input.composer.text().len();
                self.input.composer.on_action(action);
                if before != self.input.composer.text().len() {
                    self.input.reset_completion();
                }
                Vec::new()
            }
        }
    }

    /// A bracketed paste.
    pub(crate) fn on_paste(&mut self, text: &str, now: Millis) -> Vec<Effect> {
        self.now = now;
        self.input.disarm_quit();
        if self.overlays.confirm.is_some() || self.overlays.quit.is_some() {
            return Vec::new();
        }
        match &mut self.overlays.panel {
            Some(Panel::Sessions(sessions)) => sessions.on_paste(text, now),
            Some(Panel::Picker(picker)) => picker.on_paste(text),
            Some(Panel::Inbox(inbox)) => inbox.on_paste(text, now),
            Some(Panel::Help { .. } | Panel::Processes(_)) => {}
            None => self.input.paste(text, now),
        }
        Vec::new()
    }

    /// The wheel was turned; up is negative.
    pub(crate) fn on_wheel(&mut self, turns: isize, now: Millis) -> Vec<Effect> {
        self.now = now;
        match &self.overlays.panel {
            None => self.scroll(Move::Lines(turns * WHEEL)),
            // The wheel scrolls a command; it selects no choice.
            Some(Panel::Inbox(inbox)) if inbox.is_open() => {
                self.on_inbox_key(if turns < 0 { Action::PageUp } else { Action::PageDown })
            }
            Some(_) => self.on_panel_key(if turns < 0 { Action::Up } else { Action::Down }),
        }
    }

    /// Opens the questions of other sessions, else the session of the latest news, else the list.
    fn open_news(&mut self) -> Vec<Effect> {
        if self.open_waiting() {
            return Vec::new();
        }
        match self.feedback.toasts.latest_other() {
            Some(session) => vec![Effect::Send(Command::Open(Target::Id(session.clone())))],
            None => self.list_sessions(),
        }
    }

    /// Closes a card, interrupts the turn or clears the input: the first that is possible. `None` if
    /// nothing is.
    fn back_out(&mut self) -> Option<Vec<Effect>> {
        self.feedback.take_notice();
        if let Some(question) = self.transcript.questions.first()
            && !self.questions.is_answered(&question.id)
        {
            return Some(vec![self.questions.close(question)]);
        }
        if self.transcript.running.as_ref().is_some_and(|running| !running.cancelling) {
            return Some(vec![Effect::Send(Command::Cancel)]);
        }
        if self.input.composer.is_empty() {
            return None;
        }
        self.input.composer.take();
        Some(Vec::new())
    }

    /// Ctrl+C with nothing to close: the second press in a row quits.
    fn press_quit(&mut self) -> Vec<Effect> {
        if self.input.press_quit(self.now, self.now + TWICE) {
            self.feedback.clear_flash();
            return self.quit();
        }
        self.flash("press Ctrl+C again to quit", TWICE);
        Vec::new()
    }

    /// Takes the newest queued prompt back into the input.
    fn unqueue_last(&mut self) -> Vec<Effect> {
        let Some(last) = self.transcript.queued.last() else { return Vec::new() };
        self.input.composer.set(&last.text);
        vec![Effect::Send(Command::Unqueue { id: last.id.clone() })]
    }

    /// Sends what is typed: a new line, a command, an answer or a prompt.
    fn enter(&mut self) -> Vec<Effect> {
        let composer = &mut self.input.composer;
        if composer.continue_line() || composer.text().trim().is_empty() {
            return Vec::new();
        }
        if slash::is_command(composer.text()) {
            return self.run_input();
        }
        if let Some(question) = self.transcript.questions.first()
            && self.questions.takes_text(question, self.now)
        {
            self.feedback.take_notice();
            let answer = card::parse_answer(&question.ask, composer.take());
            return vec![self.questions.answer(question, answer)];
        }
        let uploading = self.pending.uploads.names().next().map(one_line);
        if let Some(name) = uploading {
            let text = format!("{name} is still uploading: wait, or cancel it with /drop");
            self.notify(Notice::Error(text));
            return Vec::new();
        }
        self.feedback.take_notice();
        let text = self.input.composer.take();
        let id = PromptId::fresh();
        self.pending.prompts.add(&id, &text, &self.transcript, self.now);
        self.scroll(Move::End);
        vec![Effect::Send(Command::Prompt { id, text })]
    }
}
