//! The question before leaving work behind: what is to become of what still runs (P10).

use host::protocol::{Transcript, Work};
use ratatui::text::Line;

use crate::card::boxed;
use crate::keymap::Action;
use crate::numbers::count;
use crate::theme::Theme;
use crate::transcript::wrap::{Break, fit, text};

const CHOICES: [&str; 3] = ["leave it", "kill it", "do not quit"];

/// The open question.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    selected: usize,
}

/// What still runs in a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    turn: bool,
    commands: usize,
    /// Those of the commands whose end wakes the agent.
    waking: usize,
    tasks: usize,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing yet.
    Open,
    /// Quit; background processes go on.
    Leave,
    /// End everything, then quit.
    Stop,
    /// Stay.
    Stay,
}

impl Left {
    pub(crate) fn of(transcript: &Transcript) -> Self {
        let mut left = Self { turn: transcript.running.is_some(), ..Self::default() };
        for process in transcript.processes.iter().filter(|process| process.is_live()) {
            match process.work {
                Work::Command => left.commands += 1,
                Work::Delegation { .. } => left.tasks += 1,
            }
            left.waking += usize::from(process.notify && process.work == Work::Command);
        }
        left
    }

    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// What it is.
    fn what(self) -> String {
        let mut what = Vec::new();
        if self.turn {
            what.push("a turn".to_owned());
        }
        if self.commands > 0 {
            what.push(count(self.commands, "background command"));
        }
        if self.tasks > 0 {
            what.push(count(self.tasks, "delegated task"));
        }
        if what.is_empty() {
            return "Nothing runs any more.".to_owned();
        }
        format!("Still running: {}.", what.join(", "))
    }

    /// What becomes of it when it is left.
    fn after_leaving(self) -> String {
        let mut says = Vec::new();
        match (self.commands, self.waking) {
            (0, _) => {}
            (1, 0) => says.push("The command runs on."),
            (1, _) => says.push("The command runs on; its end wakes the agent at the next start."),
            (_, 0) => says.push("The commands run on."),
            (_, _) => {
                says.push("The commands run on; their end wakes the agent at the next start.");
            }
        }
        match (self.turn, self.tasks) {
            (false, 0) => {}
            (true, 0) => says.push("The turn goes on at the next start, if within an hour."),
            (false, 1) => says.push("The task goes on at the next start, if within an hour."),
            (false, _) => says.push("The tasks go on at the next start, if within an hour."),
            (true, _) => says.push("Turn and tasks go on at the next start, if within an hour."),
        }
        says.join(" ")
    }

    /// What becomes of it when it is killed.
    fn after_killing(self) -> String {
        match (self.turn, self.commands + self.tasks) {
            (false, 0) => String::new(),
            (true, 0) => "The turn is interrupted for good.".to_owned(),
            (false, _) => {
                "What runs is ended; the agent hears of it with your next prompt.".to_owned()
            }
            (true, _) => "The turn is interrupted, the rest is ended.".to_owned(),
        }
    }
}

impl Leaving {
    pub(crate) fn on_action(&mut self, action: Action) -> Outcome {
        let count = CHOICES.len();
        let chosen = match action {
            Action::Up | Action::Left => {
                self.selected = (self.selected + count - 1) % count;
                return Outcome::Open;
            }
            Action::Down | Action::Right | Action::Tab => {
                self.selected = (self.selected + 1) % count;
                return Outcome::Open;
            }
            Action::Enter => self.selected,
            Action::Text(c @ '1'..='3') => c as usize - '1' as usize,
            Action::Interrupt | Action::EndOfInput => 0,
            Action::Escape => 2,
            _ => return Outcome::Open,
        };
        match chosen {
            0 => Outcome::Leave,
            1 => Outcome::Stop,
            _ => Outcome::Stay,
        }
    }

    /// The card; below the choices it says what the selected one does.
    pub(crate) fn lines(&self, left: Left, width: usize, theme: &Theme) -> Vec<Line<'static>> {
        let inner = width.saturating_sub(4);
        let mut body = text(&left.what(), theme.text, inner, Break::Word);
        for (i, choice) in CHOICES.iter().enumerate() {
            let style = if i == self.selected { theme.selected } else { theme.text };
            body.push(Line::styled(fit(&format!(" {} {choice} ", i + 1), inner), style));
        }
        let says = match self.selected {
            0 => left.after_leaving(),
            1 => left.after_killing(),
            _ => String::new(),
        };
        body.extend(text(&says, theme.dim, inner, Break::Word));
        boxed("Quit", body, width, theme.question_border)
    }
}
