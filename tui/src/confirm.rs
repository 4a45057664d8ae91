//! A confirmation dialog for actions that a stray key must not trigger: "no" is the default, and it
//! takes keys only once the keyboard has been quiet.

use protocol::{Command, Millis, SessionId};
use ratatui::text::Line;

use crate::arming::{QUIET, Readiness, hint};
use crate::boxed::boxed;
use crate::clean::{head, one_line};
use crate::keymap::Action;
use crate::theme::Theme;
use crate::time::between;
use crate::wrap::{Break, fit, text};

/// Bytes of a session's name that are read at most: it may be a long prompt.
const MAX_NAME_BYTES: usize = 400;

/// The action that is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ConfirmAction {
    /// Deleting this session.
    Delete(SessionId),
    /// Turning approvals off.
    Yolo,
}

/// The open dialog.
#[derive(Debug)]
pub(crate) struct Confirm {
    action: ConfirmAction,
    name: String,
    /// One sentence on the consequences.
    consequences: String,
    selected: usize,
    /// When the last key came that was not meant for it.
    quiet_since: Millis,
    /// Text was typed that is no choice: then digits are no choices either.
    typed: bool,
}

/// The result of a key.
#[derive(Debug, PartialEq)]
pub(crate) enum ConfirmEvent {
    /// The dialog stays open.
    StayOpen,
    /// Send this command.
    Confirmed(Command),
    /// The user declined.
    Declined,
}

impl Confirm {
    /// Asks whether to delete a session; `consequences` is one sentence on what is lost.
    pub(crate) fn delete(
        session: SessionId,
        name: &str,
        consequences: String,
        now: Millis,
    ) -> Self {
        let name = one_line(head(name, MAX_NAME_BYTES));
        let name = if name.is_empty() { one_line(&session.0) } else { name };
        Self {
            action: ConfirmAction::Delete(session),
            name,
            consequences,
            selected: 0,
            quiet_since: now,
            typed: false,
        }
    }

    /// Asks whether to turn approvals off for the session on the screen.
    pub(crate) fn yolo(now: Millis) -> Self {
        Self {
            action: ConfirmAction::Yolo,
            name: "Commands in this session will run without asking.".to_owned(),
            consequences:
                "Commands that can never be approved stay blocked. /yolo turns approvals back on."
                    .to_owned(),
            selected: 0,
            quiet_since: now,
            typed: false,
        }
    }

    fn is_armed(&self, now: Millis) -> bool {
        between(now, self.quiet_since) >= QUIET
    }

    /// When it will take keys, if it does not yet.
    pub(crate) fn next_tick(&self, now: Millis) -> Option<Millis> {
        (!self.is_armed(now)).then_some(self.quiet_since + QUIET as Millis)
    }

    pub(crate) fn on_action(&mut self, action: Action, now: Millis) -> ConfirmEvent {
        if matches!(action, Action::Escape | Action::Interrupt) {
            return ConfirmEvent::Declined;
        }
        if !self.is_armed(now) {
            self.quiet_since = now;
            self.typed |= matches!(action, Action::Text(_));
            return ConfirmEvent::StayOpen;
        }
        let chosen = match action {
            Action::Up | Action::Down | Action::Left | Action::Right | Action::Tab => {
                self.selected = 1 - self.selected;
                self.typed = false;
                return ConfirmEvent::StayOpen;
            }
            Action::Enter => self.selected,
            Action::Text('1') => 0,
            Action::Text('2') => 1,
            _ => {
                self.quiet_since = now;
                self.typed |= matches!(action, Action::Text(_));
                return ConfirmEvent::StayOpen;
            }
        };
        if chosen == 0 {
            return ConfirmEvent::Declined;
        }
        if self.typed {
            return ConfirmEvent::StayOpen;
        }
        ConfirmEvent::Confirmed(match &self.action {
            ConfirmAction::Delete(session) => Command::Delete { session: session.clone() },
            ConfirmAction::Yolo => Command::SetYolo { yolo: true },
        })
    }

    pub(crate) fn lines(&self, now: Millis, width: usize, theme: &Theme) -> Vec<Line<'static>> {
        let inner = width.saturating_sub(4);
        let (keys, border) = if self.is_armed(now) {
            (Readiness::Armed, theme.question_border)
        } else {
            (Readiness::Quieting, theme.dim)
        };
        let (title, choices, esc) = match self.action {
            ConfirmAction::Delete(_) => {
                ("Delete this session?", ["keep it", "delete it permanently"], "Esc keeps it")
            }
            ConfirmAction::Yolo => {
                ("Turn approvals off?", ["keep asking", "run everything"], "Esc keeps asking")
            }
        };
        let mut body = vec![Line::styled(fit(&self.name, inner), theme.bold)];
        body.extend(text(&self.consequences, theme.warn, inner, Break::Word));
        for (i, choice) in choices.iter().enumerate() {
            let style = if i == self.selected { theme.selected } else { theme.text };
            body.push(Line::styled(fit(&format!(" {} {choice} ", i + 1), inner), style));
        }
        let how = if self.typed {
            "↑↓ Enter: typed keys are ignored"
        } else {
            "↑↓ Enter or a digit"
        };
        body.push(hint(keys, &format!("{how} · {esc}"), inner, theme));
        boxed(title, body, width, border)
    }
}
