//! What keys do to the interface, in the order in which its parts may take them.

use crossterm::event::KeyEvent;
use protocol::{Answer, Ask, Choice, Command, Millis, PromptId, QuestionId, Target};

use super::{App, Effect, Notice, Panel};
use crate::arming::QUIET;
use crate::card;
use crate::clean::one_line;
use crate::composer;
use crate::confirm::{self, Confirm};
use crate::keymap::{Action, action};
use crate::numbers::count;
use crate::picker;
use crate::processes;
use crate::quit::Leaving;
use crate::sessions;
use crate::slash;
use crate::time::between;
use crate::transcript::Move;

/// Two presses of Ctrl+C within this time quit.
const TWICE: Millis = 2_000;

/// Lines a turn of the wheel moves.
const WHEEL: isize = 3;

impl App {
    pub(crate) fn on_key(&mut self, key: KeyEvent, now: Millis) -> Vec<Effect> {
        self.now = now;
        let Some(action) = action(key) else { return Vec::new() };
        if action != Action::Interrupt && self.quit_at.take().is_some() {
            self.flash = None;
        }
        if action == Action::Suspend {
            return vec![Effect::Quit(Leaving::Suspend)];
        }
        if let Some(effects) = self.on_leaving(action) {
            return effects;
        }
        if self.confirm.is_some() || self.panel.is_some() {
            // A card that lay below is not what this key is for, nor the next one at once.
            self.typed_at = now;
            return if self.confirm.is_some() {
                self.on_confirm(action)
            } else {
                self.on_panel(action)
            };
        }
        if self.is_for_what_is_gone(action, now) {
            return Vec::new();
        }
        if self.composer.is_empty()
            && self.card.is_armed(self.typed_at, now)
            && let Some(question) = self.transcript.questions.first()
        {
            match self.card.on_action(question, action) {
                card::Outcome::Ignored => {}
                card::Outcome::Moved => return Vec::new(),
                card::Outcome::Answered(answer) => {
                    let id = question.id.clone();
                    return vec![self.answer(id, answer)];
                }
            }
        }
        self.typed_at = now;
        match action {
            Action::Escape => self.back_out(),
            Action::Interrupt => {
                let effects = self.back_out();
                if effects.is_empty() && self.backed_out {
                    return self.press_quit();
                }
                effects
            }
            Action::EndOfInput if self.composer.is_empty() => self.quit(),
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
            Action::End if self.composer.is_empty() => self.scroll(Move::End),
            Action::Home if self.composer.is_empty() => self.scroll(Move::Top),
            Action::Tab => {
                self.complete();
                Vec::new()
            }
            Action::Up | Action::Down if self.completes() => {
                let count = slash::completions(self.composer.text()).len();
                let step = if action == Action::Up { count - 1 } else { 1 };
                self.completion = (self.completion.min(count - 1) + step) % count;
                Vec::new()
            }
            Action::Up if self.composer.is_empty() && !self.transcript.queued.is_empty() => {
                self.unqueue()
            }
            Action::Enter => self.enter(),
            _ => {
                let before = self.composer.text().len();
                let outcome = self.composer.on_action(action);
                if outcome == composer::Outcome::Taken && before != self.composer.text().len() {
                    self.completion = 0;
                }
                Vec::new()
            }
        }
    }

    /// A bracketed paste.
    pub(crate) fn on_paste(&mut self, text: &str, now: Millis) -> Vec<Effect> {
        self.now = now;
        self.quit_at = None;
        if self.confirm.is_some() || self.leaving.is_some() {
            return Vec::new();
        }
        match &mut self.panel {
            Some(Panel::Sessions(sessions)) => {
                sessions.on_paste(text, now);
            }
            Some(Panel::Picker(picker)) => {
                for c in text.chars().filter(|c| !c.is_control()) {
                    picker.on_action(Action::Text(c));
                }
            }
            Some(Panel::Inbox(inbox)) => inbox.on_paste(text, now),
            Some(Panel::Help { .. } | Panel::Processes(_)) => {}
            None => {
                self.typed_at = now;
                self.completion = 0;
                self.composer.paste(text);
            }
        }
        Vec::new()
    }

    /// The wheel was turned; up is negative.
    pub(crate) fn on_wheel(&mut self, turns: isize, now: Millis) -> Vec<Effect> {
        self.now = now;
        match &self.panel {
            None => self.scroll(Move::Lines(turns * WHEEL)),
            // The wheel reads a command; it chooses nothing.
            Some(Panel::Inbox(inbox)) if inbox.is_open() => {
                self.on_inbox_key(if turns < 0 { Action::PageUp } else { Action::PageDown })
            }
            Some(_) => self.on_panel(if turns < 0 { Action::Up } else { Action::Down }),
        }
    }

    fn scroll(&mut self, to: Move) -> Vec<Effect> {
        if matches!(to, Move::Top | Move::Pages(..=-1)) {
            // Whoever asked in vain may ask again.
            self.paging = false;
        }
        self.with_view(|view, scene| view.go(to, &scene));
        Vec::new()
    }

    /// Opens what other sessions ask, else the session the last news is about, else the list.
    fn open_news(&mut self) -> Vec<Effect> {
        if self.open_asked() {
            return Vec::new();
        }
        let Some(session) = self.toasts.elsewhere() else {
            return self.list_sessions();
        };
        vec![Effect::Send(Command::Open(Target::Id(session.clone())))]
    }

    /// Whether a key was meant for a card that somebody else has just closed: until the keyboard
    /// was quiet once nothing is sent, and a lone digit is no text. What is typed stays in sight.
    fn is_for_what_is_gone(&mut self, action: Action, now: Millis) -> bool {
        let Some(since) = self.gone_at.take() else { return false };
        if between(now, since) >= QUIET {
            return false;
        }
        self.gone_at = Some(now);
        match action {
            Action::Enter => {
                self.say("not sent: the question it was for is gone", TWICE);
                true
            }
            Action::Text('1'..='9') => self.composer.is_empty(),
            _ => false,
        }
    }

    fn answer(&mut self, id: QuestionId, answer: Answer) -> Effect {
        let question = self.transcript.questions.iter().find(|question| question.id == id);
        if let Answer::Approval(Choice::Session | Choice::Always) = answer
            && let Some(Ask::Approval { rule, .. }) = question.map(|question| &question.ask)
        {
            self.granted = Some(rule.clone());
        }
        self.answered = Some((id.clone(), answer.clone()));
        Effect::Send(Command::Answer { session: None, id, answer })
    }

    /// Closes a card, interrupts the turn or clears the input: the first there is.
    fn back_out(&mut self) -> Vec<Effect> {
        self.backed_out = false;
        self.notice = None;
        if let Some(question) = self.transcript.questions.first()
            && self.answered.as_ref().is_none_or(|(answered, _)| *answered != question.id)
        {
            let id = question.id.clone();
            return match question.ask {
                Ask::Approval { .. } => vec![self.answer(id, Answer::Approval(Choice::Deny))],
                // Nobody's answer is not an empty one: the turn that asks is interrupted.
                Ask::Clarify { .. } => {
                    self.answered = Some((id, Answer::Withdrawn));
                    vec![Effect::Send(Command::Cancel)]
                }
            };
        }
        if self.transcript.running.as_ref().is_some_and(|running| !running.cancelling) {
            return vec![Effect::Send(Command::Cancel)];
        }
        if self.composer.is_empty() {
            self.backed_out = true;
        } else {
            self.composer.take();
        }
        Vec::new()
    }

    fn press_quit(&mut self) -> Vec<Effect> {
        if self.quit_at.take().is_some_and(|until| self.now < until) {
            self.flash = None;
            return self.quit();
        }
        self.quit_at = Some(self.now + TWICE);
        self.say("press Ctrl+C again to quit", TWICE);
        Vec::new()
    }

    fn on_panel(&mut self, action: Action) -> Vec<Effect> {
        self.unsay(|notice| matches!(notice, Notice::Error(_)));
        let Some(panel) = &mut self.panel else { return Vec::new() };
        let mut effects = Vec::new();
        let mut close = false;
        match panel {
            Panel::Help { up } => match action {
                Action::Up => *up = up.saturating_sub(1),
                Action::Down => *up += 1,
                Action::PageUp => *up = up.saturating_sub(10),
                Action::PageDown => *up += 10,
                _ => close = true,
            },
            Panel::Processes(panel) => match panel.on_action(action, &self.transcript.processes) {
                processes::Outcome::Open => {}
                processes::Outcome::Closed => close = true,
                processes::Outcome::Send(commands) => {
                    effects.extend(commands.into_iter().map(Effect::Send));
                }
            },
            Panel::Sessions(sessions) => match sessions.on_action(action, self.now) {
                sessions::Outcome::Open => {}
                sessions::Outcome::Closed => close = true,
                sessions::Outcome::Picked(id) => {
                    effects.push(Effect::Send(Command::Open(Target::Id(id))));
                    close = true;
                }
                sessions::Outcome::Send(command) => effects.push(Effect::Send(command)),
                sessions::Outcome::Delete(row) => {
                    let also =
                        format!("{} and the work it runs are gone then.", count(row.rows, "row"));
                    self.confirm = Some(Confirm::delete(row.id, &row.title, also, self.now));
                }
            },
            Panel::Inbox(_) => return self.on_inbox_key(action),
            Panel::Picker(picker) => match picker.on_action(action) {
                picker::Outcome::Open => {}
                picker::Outcome::Closed => close = true,
                picker::Outcome::Picked(command) => {
                    if let Command::SetCwd { cwd } = &command {
                        self.moving = Some(cwd.clone());
                    }
                    effects.push(Effect::Send(command));
                    close = true;
                }
            },
        }
        if close {
            self.panel = None;
        }
        effects
    }

    /// Whether a menu of commands is open.
    pub(crate) fn completes(&self) -> bool {
        !slash::completions(self.composer.text()).is_empty()
    }

    pub(super) fn complete(&mut self) {
        let menu = slash::completions(self.composer.text());
        if let Some(entry) = menu.get(self.completion.min(menu.len().saturating_sub(1))) {
            let space = if entry.args.is_empty() { "" } else { " " };
            self.composer.set(&format!("/{}{space}", entry.name));
            self.completion = 0;
        }
    }

    /// Takes the newest waiting prompt back into the input.
    fn unqueue(&mut self) -> Vec<Effect> {
        let Some(last) = self.transcript.queued.last() else { return Vec::new() };
        self.composer.set(&last.text);
        vec![Effect::Send(Command::Unqueue { id: last.id.clone() })]
    }

    fn on_confirm(&mut self, action: Action) -> Vec<Effect> {
        let Some(confirm) = &mut self.confirm else { return Vec::new() };
        match confirm.on_action(action, self.now) {
            confirm::Outcome::Open => Vec::new(),
            confirm::Outcome::No => {
                self.confirm = None;
                Vec::new()
            }
            confirm::Outcome::Yes(command) => {
                self.confirm = None;
                if let Command::Delete { session } = &command
                    && let Some(Panel::Sessions(sessions)) = &mut self.panel
                {
                    sessions.remove(session);
                }
                vec![Effect::Send(command)]
            }
        }
    }

    fn enter(&mut self) -> Vec<Effect> {
        if self.composer.continue_line() {
            return Vec::new();
        }
        if self.composer.text().trim().is_empty() {
            return Vec::new();
        }
        if slash::is_command(self.composer.text()) {
            return self.command();
        }
        if let Some(question) = self.answers_by_text() {
            let (id, ask) = (question.id.clone(), question.ask.clone());
            self.notice = None;
            let answer = card::meant(&ask, self.composer.take());
            return vec![self.answer(id, answer)];
        }
        if let Some(name) = self.uploading.first() {
            let name = one_line(name);
            let text = format!("{name} is still on its way: send this once it is there, or /drop");
            self.tell(Notice::Error(text));
            return Vec::new();
        }
        self.notice = None;
        let text = self.composer.take();
        let id = PromptId::fresh();
        self.note_sent(&id, &text);
        self.scroll(Move::End);
        vec![Effect::Send(Command::Prompt { id, text })]
    }
}
