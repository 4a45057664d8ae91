//! The question before a session is deleted. A stray key never says yes: the card opens on "keep",
//! and takes keys only once the keyboard has been quiet.

use host::protocol::{Millis, SessionId};
use ratatui::text::Line;

use crate::card::{Keys, QUIET, boxed, hint};
use crate::clean::{head, one_line};
use crate::keymap::Action;
use crate::theme::Theme;
use crate::time::between;
use crate::transcript::wrap::{Break, fit, text};

const CHOICES: [&str; 2] = ["keep it", "delete it for good"];

/// Bytes of a session's name that are looked at: it may be a long prompt.
const NAME: usize = 400;

/// The open question.
#[derive(Debug)]
pub(crate) struct Deletion {
    session: SessionId,
    name: String,
    /// What else goes with it, in a sentence.
    also: String,
    selected: usize,
    /// When the last key came that was not meant for it.
    quiet_since: Millis,
}

/// What was decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing yet.
    Open,
    /// Delete this session.
    Delete(SessionId),
    /// Delete nothing.
    Keep,
}

impl Deletion {
    pub(crate) fn new(session: SessionId, name: &str, also: String, now: Millis) -> Self {
        let name = one_line(head(name, NAME));
        let name = if name.is_empty() { one_line(&session.0) } else { name };
        Self { session, name, also, selected: 0, quiet_since: now }
    }

    fn is_armed(&self, now: Millis) -> bool {
        between(now, self.quiet_since) >= QUIET
    }

    /// When it will take keys, if it does not yet.
    pub(crate) fn next_tick(&self, now: Millis) -> Option<Millis> {
        (!self.is_armed(now)).then_some(self.quiet_since + QUIET as Millis)
    }

    pub(crate) fn on_action(&mut self, action: Action, now: Millis) -> Outcome {
        if matches!(action, Action::Escape | Action::Interrupt) {
            return Outcome::Keep;
        }
        if !self.is_armed(now) {
            self.quiet_since = now;
            return Outcome::Open;
        }
        let chosen = match action {
            Action::Up | Action::Down | Action::Left | Action::Right | Action::Tab => {
                self.selected = 1 - self.selected;
                return Outcome::Open;
            }
            Action::Enter => self.selected,
            Action::Text('1') => 0,
            Action::Text('2') => 1,
            _ => {
                self.quiet_since = now;
                return Outcome::Open;
            }
        };
        if chosen == 1 { Outcome::Delete(self.session.clone()) } else { Outcome::Keep }
    }

    pub(crate) fn lines(&self, now: Millis, width: usize, theme: &Theme) -> Vec<Line<'static>> {
        let inner = width.saturating_sub(4);
        let (keys, border) = if self.is_armed(now) {
            (Keys::Armed, theme.question_border)
        } else {
            (Keys::Quieting, theme.dim)
        };
        let mut body = vec![Line::styled(fit(&self.name, inner), theme.bold)];
        body.extend(text(&self.also, theme.warn, inner, Break::Word));
        for (i, choice) in CHOICES.iter().enumerate() {
            let style = if i == self.selected { theme.selected } else { theme.text };
            body.push(Line::styled(fit(&format!(" {} {choice} ", i + 1), inner), style));
        }
        body.push(hint(keys, "↑↓ Enter or a digit · Esc keeps it", inner, theme));
        boxed("Delete this session?", body, width, border)
    }
}
