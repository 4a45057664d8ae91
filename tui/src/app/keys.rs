//! What keys do to the interface, in the order in which its parts may take them.

use crossterm::event::KeyEvent;
use host::protocol::{Answer, Ask, Choice, Command, Millis, PromptId, QuestionId, Row, Target};

use super::{App, Effect, Notice, Panel, Wanted};
use crate::card;
use crate::composer;
use crate::confirm::{self, Deletion};
use crate::keymap::{Action, action};
use crate::numbers::count;
use crate::processes::{self, Processes};
use crate::quit::Leaving;
use crate::select;
use crate::sessions;
use crate::slash::{self, Slash};
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
        if self.deletion.is_some() {
            return self.on_deletion(action);
        }
        if self.panel.is_some() {
            return self.on_panel(action);
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
            Action::Processes => {
                self.panel = Some(Panel::Processes(Processes::default()));
                Vec::new()
            }
            Action::Reasoning => {
                self.view.toggle_reasoning();
                Vec::new()
            }
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
        if self.deletion.is_some() || self.leaving.is_some() {
            return Vec::new();
        }
        match &mut self.panel {
            Some(Panel::Sessions(sessions)) => {
                for c in text.chars().filter(|c| !c.is_control()) {
                    sessions.select.on_action(Action::Text(c));
                }
            }
            Some(Panel::Models { select, .. }) => {
                for c in text.chars().filter(|c| !c.is_control()) {
                    select.on_action(Action::Text(c));
                }
            }
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
        match &mut self.panel {
            None => self.scroll(Move::Lines(turns * WHEEL)),
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

    fn answer(&mut self, id: QuestionId, answer: Answer) -> Effect {
        self.answered = Some(id.clone());
        Effect::Send(Command::Answer { id, answer })
    }

    /// Closes a card, interrupts the turn or clears the input: the first there is.
    fn back_out(&mut self) -> Vec<Effect> {
        self.backed_out = false;
        self.notice = None;
        if let Some(question) = self.transcript.questions.first()
            && self.answered.as_ref() != Some(&question.id)
        {
            let id = question.id.clone();
            return match question.ask {
                Ask::Approval { .. } => vec![self.answer(id, Answer::Approval(Choice::Deny))],
                // Nobody's answer is not an empty one: the turn that asks is interrupted.
                Ask::Clarify { .. } => {
                    self.answered = Some(id);
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
        self.notice.take_if(|notice| matches!(notice, Notice::Error(_)));
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
            Panel::Sessions(sessions) => match sessions.on_action(action) {
                sessions::Outcome::Open => {}
                sessions::Outcome::Closed => close = true,
                sessions::Outcome::Picked(id) => {
                    effects.push(Effect::Send(Command::Open(Target::Id(id))));
                    close = true;
                }
                sessions::Outcome::Delete(row) => {
                    let also =
                        format!("{} and the work it runs are gone then.", count(row.rows, "row"));
                    self.deletion = Some(Deletion::new(row.id, &row.title, also, self.now));
                }
            },
            Panel::Models { select, names } => match select.on_action(action) {
                select::Outcome::Open => {}
                select::Outcome::Closed => close = true,
                select::Outcome::Picked(index) => {
                    if let Some(model) = names.get(index).cloned() {
                        effects.push(Effect::Send(Command::SetModel { model }));
                    }
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

    fn complete(&mut self) {
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

    /// Takes all waiting prompts back; their texts stay in the history of the input.
    fn clear_queue(&mut self) -> Vec<Effect> {
        let queued = self.transcript.queued.clone();
        let text = match queued.len() {
            0 => "no prompt waits".to_owned(),
            n => format!("{} taken back; Up brings the texts", count(n, "waiting prompt")),
        };
        self.notice = Some(Notice::Info(text));
        for prompt in &queued {
            self.composer.remember(&prompt.text);
        }
        queued.into_iter().map(|prompt| Effect::Send(Command::Unqueue { id: prompt.id })).collect()
    }

    /// Opens the question whether the session in view is to be deleted.
    fn ask_to_delete(&mut self) {
        let transcript = &self.transcript;
        let live = transcript.processes.iter().filter(|process| process.is_live()).count();
        let also = match (transcript.running.is_some(), live) {
            (false, 0) => "All it holds is gone then.".to_owned(),
            (true, 0) => "Its turn is ended, and all it holds is gone then.".to_owned(),
            (_, n) => {
                let commands = count(n, "background command");
                format!("Its work is ended ({commands}), and all it holds is gone then.")
            }
        };
        let first = transcript.rows.first().filter(|_| transcript.earlier == 0);
        let name = transcript.title.as_deref().or_else(|| first.map(Row::text)).unwrap_or_default();
        let name = name.to_owned();
        let session = transcript.session.clone();
        self.deletion = Some(Deletion::new(session, &name, also, self.now));
    }

    fn on_deletion(&mut self, action: Action) -> Vec<Effect> {
        let Some(deletion) = &mut self.deletion else { return Vec::new() };
        match deletion.on_action(action, self.now) {
            confirm::Outcome::Open => Vec::new(),
            confirm::Outcome::Keep => {
                self.deletion = None;
                Vec::new()
            }
            confirm::Outcome::Delete(session) => {
                self.deletion = None;
                if let Some(Panel::Sessions(sessions)) = &mut self.panel {
                    sessions.remove(&session);
                }
                vec![Effect::Send(Command::Delete { session })]
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
        self.notice = None;
        if let Some(id) = self.answers_by_text().map(|question| question.id.clone()) {
            let text = self.composer.take();
            return vec![self.answer(id, Answer::Text(text))];
        }
        let text = self.composer.take();
        let id = PromptId::fresh();
        self.sent.push((id.clone(), text.clone()));
        self.scroll(Move::End);
        vec![Effect::Send(Command::Prompt { id, text })]
    }

    fn command(&mut self) -> Vec<Effect> {
        let menu = slash::completions(self.composer.text());
        if let Some(entry) = menu.get(self.completion)
            && slash::parse(self.composer.text()).is_err()
            && menu.iter().all(|entry| format!("/{}", entry.name) != self.composer.text())
        {
            // The beginning of a name: the menu shows what it stands for.
            let runs = entry.args.is_empty();
            self.complete();
            if !runs {
                return Vec::new();
            }
        }
        let command = match slash::parse(&self.composer.expanded()) {
            Ok(command) => command,
            Err(message) => {
                self.notice = Some(Notice::Error(message));
                return Vec::new();
            }
        };
        if matches!(command, Slash::Steer(_)) && self.transcript.running.is_none() {
            self.notice = Some(Notice::Error("nothing runs: send it as a prompt".to_owned()));
            return Vec::new();
        }
        self.notice = None;
        self.composer.take();
        self.run(command)
    }

    fn run(&mut self, command: Slash) -> Vec<Effect> {
        let send = |command| vec![Effect::Send(command)];
        match command {
            Slash::Help => {
                self.panel = Some(Panel::Help { up: 0 });
                Vec::new()
            }
            Slash::New => send(Command::Open(Target::New)),
            Slash::Sessions => {
                self.wanted = Some(Wanted::Sessions { filter: String::new() });
                send(Command::ListSessions)
            }
            Slash::Resume(name) => {
                self.wanted = Some(Wanted::Session(name));
                send(Command::ListSessions)
            }
            Slash::Models => {
                self.wanted = Some(Wanted::Models);
                send(Command::ListModels)
            }
            Slash::Model(model) => send(Command::SetModel { model }),
            Slash::Title(title) => send(Command::SetTitle { title }),
            Slash::Steer(text) => send(Command::Steer { text }),
            Slash::Processes => {
                self.panel = Some(Panel::Processes(Processes::default()));
                Vec::new()
            }
            Slash::Stop => {
                let live = self.transcript.processes.iter().filter(|p| p.is_live()).count();
                let text = match live {
                    0 => "no background process runs".to_owned(),
                    1 => "stopping 1 background process".to_owned(),
                    _ => format!("stopping {live} background processes"),
                };
                self.notice = Some(Notice::Info(text));
                send(Command::Kill { id: None })
            }
            Slash::Wake => send(Command::WakeNow),
            Slash::ClearQueue => self.clear_queue(),
            Slash::Compress(focus) => {
                let text = "compressing: a summary will stand for the older rows".to_owned();
                self.notice = Some(Notice::Info(text));
                send(Command::Compress { focus })
            }
            Slash::Branch => send(Command::Branch),
            Slash::Archive => {
                let text = "archived: lists leave it out, wakeups still come; /unarchive undoes it";
                self.notice = Some(Notice::Info(text.to_owned()));
                send(Command::Archive { archived: true })
            }
            Slash::Unarchive => {
                self.notice = Some(Notice::Info("listed again".to_owned()));
                send(Command::Archive { archived: false })
            }
            Slash::Delete => {
                self.ask_to_delete();
                Vec::new()
            }
            Slash::Quit => self.quit(),
        }
    }
}
