//! A card above the input: a box with a title, and the state of the question in it.

mod approval;
mod clarify;

use std::collections::BTreeSet;
use std::fmt::Write;

use protocol::{Answer, Ask, Choice, Millis, Question, QuestionId};
use ratatui::text::Line;

pub(crate) use clarify::parse_answer;

use crate::arming::{QUIET, Readiness};
use crate::boxed::boxed;
use crate::keymap::Action;
use crate::theme::Theme;
use crate::time::{between, span};
use crate::wrap::{columns, fit};

/// Columns of the name of a session that stay whatever stands behind it.
const MIN_NAME: usize = 6;

/// Lines of a command that PgUp and PgDn move it by.
const PAGE: isize = 5;

/// The question in view: the head of the queue (C02).
#[derive(Debug, Default)]
pub(crate) struct Card {
    id: Option<QuestionId>,
    since: Millis,
    selected: usize,
    shown_reported: bool,
    /// Lines by which the command is scrolled.
    scroll: isize,
    /// Lines of the command that were in view, and all of them.
    seen: BTreeSet<usize>,
    total: Option<usize>,
}

/// The result of a key on a card.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CardEvent {
    /// Nothing; the key is for others.
    Ignored,
    /// The selection moved.
    Moved,
    /// The question is answered.
    Answered(Answer),
}

/// The data a card is drawn from.
#[derive(Clone, Copy)]
pub(crate) struct CardContext<'a> {
    /// The name of the session that asks, if it is not the one on the screen.
    pub(crate) name: Option<&'a str>,
    /// How many questions of that session are pending.
    pub(crate) total: usize,
    pub(crate) keys: Readiness,
    pub(crate) now: Millis,
    /// Columns and lines.
    pub(crate) size: (usize, usize),
    pub(crate) theme: &'a Theme,
}

impl Card {
    /// Follows the head of the queue; every question starts with a fresh selection.
    pub(crate) fn follow(&mut self, head: Option<&Question>, now: Millis) {
        let id = head.map(|question| &question.id);
        if self.id.as_ref() != id {
            let selected = match head.map(|question| &question.ask) {
                Some(Ask::Approval { allow_always, .. }) => approval::deny(*allow_always),
                Some(Ask::Clarify { .. }) | None => 0,
            };
            *self = Self { id: id.cloned(), since: now, selected, ..Self::default() };
        }
    }

    pub(crate) fn id(&self) -> Option<&QuestionId> {
        self.id.as_ref()
    }

    /// True once per question: it has just been shown for the first time (C08).
    pub(crate) fn mark_shown(&mut self) -> bool {
        self.id.is_some() && !std::mem::replace(&mut self.shown_reported, true)
    }

    /// Whether the user can have read it.
    pub(crate) fn is_settled(&self, now: Millis) -> bool {
        between(now, self.since) >= QUIET
    }

    /// When it will take keys, given when the keyboard was last used.
    pub(crate) fn arms_at(&self, typed_at: Millis) -> Millis {
        self.since.max(typed_at) + QUIET as Millis
    }

    /// Whether it takes keys now.
    pub(crate) fn is_armed(&self, typed_at: Millis, now: Millis) -> bool {
        self.id.is_some() && self.is_settled(now) && between(now, typed_at) >= QUIET
    }

    pub(crate) fn on_action(&mut self, question: &Question, action: Action) -> CardEvent {
        let count = match &question.ask {
            Ask::Approval { allow_always, .. } => approval::choices(*allow_always).len(),
            Ask::Clarify { choices, .. } => choices.len(),
        };
        if count == 0 {
            return CardEvent::Ignored;
        }
        match action {
            Action::PageDown if self.total.is_some() => self.scroll += PAGE,
            Action::PageUp if self.total.is_some() => self.scroll -= PAGE,
            Action::Up | Action::Left => self.selected = (self.selected + count - 1) % count,
            Action::Down | Action::Right => self.selected = (self.selected + 1) % count,
            Action::Enter => return self.answer(question, self.selected),
            Action::Text(c @ '1'..='9') => {
                let index = c as usize - '1' as usize;
                return if index < count {
                    self.answer(question, index)
                } else {
                    CardEvent::Ignored
                };
            }
            _ => return CardEvent::Ignored,
        }
        CardEvent::Moved
    }

    /// A choice. A command that was not all in view can be denied, not approved.
    fn answer(&self, question: &Question, index: usize) -> CardEvent {
        let outcome = answer(question, index);
        let denies = matches!(
            &outcome,
            CardEvent::Answered(Answer::Approval(Choice::Deny) | Answer::Text(_))
        );
        let whole = self.total.is_none_or(|total| self.seen.len() >= total);
        if denies || whole { outcome } else { CardEvent::Moved }
    }

    /// The card as lines, box and all, at most as many as there is room for.
    pub(crate) fn lines(
        &mut self,
        question: &Question,
        cx: &CardContext<'_>,
    ) -> Vec<Line<'static>> {
        let CardContext { keys, now, theme, .. } = *cx;
        let (width, height) = cx.size;
        let inner = width.saturating_sub(4);
        let room = height.saturating_sub(2);
        let (name, body) = match &question.ask {
            Ask::Approval { .. } => {
                let size = (inner, room);
                let cx = CardContext { size, ..*cx };
                let (lines, view) = approval::lines(question, self.selected, self.scroll, &cx);
                self.seen.extend(view.shown);
                self.total = Some(view.total);
                ("Run this?", lines)
            }
            Ask::Clarify { .. } => {
                ("Question", clarify::lines(question, self.selected, keys, inner, room, theme))
            }
        };
        let mut title = name.to_owned();
        if cx.total > 1 {
            write!(title, " · 1 of {}", cx.total).ok();
        }
        if let Some(deadline) = question.deadline {
            let left = u64::try_from(deadline.saturating_sub(now)).unwrap_or(0).div_ceil(1_000);
            write!(title, " · {} left", span(left)).ok();
        }
        if let Some(session) = cx.name {
            // The name is cut before the title and the time left.
            let room = width.saturating_sub(9 + columns(&title)).max(MIN_NAME);
            title = format!("{} · {title}", fit(session, room));
        }
        let style = match keys {
            Readiness::Armed => theme.question_border,
            Readiness::Quieting | Readiness::Typing => theme.dim,
        };
        boxed(&title, body, width, style)
    }
}

fn answer(question: &Question, index: usize) -> CardEvent {
    let answer = match &question.ask {
        Ask::Approval { allow_always, .. } => {
            approval::choices(*allow_always).get(index).map(|(choice, _)| Answer::Approval(*choice))
        }
        Ask::Clarify { choices, .. } => choices.get(index).cloned().map(Answer::Text),
    };
    answer.map_or(CardEvent::Ignored, CardEvent::Answered)
}
