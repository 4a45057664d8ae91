//! The question before leaving work behind: what is to become of what still runs.

use ratatui::text::Line;

use crate::card::boxed;
use crate::keymap::Action;
use crate::theme::Theme;
use crate::transcript::wrap::{Break, fit, text};

const CHOICES: [&str; 3] = ["quit; background processes go on", "end them and quit", "do not quit"];

/// The open question.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    selected: usize,
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

    /// The card. `what` names what still runs.
    pub(crate) fn lines(&self, what: &str, width: usize, theme: &Theme) -> Vec<Line<'static>> {
        let inner = width.saturating_sub(4);
        let mut body = text(what, theme.text, inner, Break::Word);
        for (i, choice) in CHOICES.iter().enumerate() {
            let style = if i == self.selected { theme.selected } else { theme.text };
            body.push(Line::styled(fit(&format!(" {} {choice} ", i + 1), inner), style));
        }
        boxed("Quit", body, width, theme.question_border)
    }
}
