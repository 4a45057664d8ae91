//! The questions of the session on the screen: the card of the first one, and the answers that were
//! given here. Those of other sessions are in `other_sessions`.

use protocol::{Answer, Ask, Choice, Command, Millis, Question, QuestionId};

use super::other_sessions::OtherSessions;
use super::{App, Effect};
use crate::arming::QUIET;
use crate::card::{Card, CardEvent};
use crate::clean::one_line;
use crate::keymap::Action;
use crate::time::between;
use crate::wrap::fit;

/// Columns of the name of the client that answered.
const NAME_WIDTH: usize = 30;

/// How long the resolution of a question is shown.
const RESOLVED: Millis = 3_000;

/// How long a refused key is explained.
const REFUSED_KEY: Millis = 2_000;

/// The state of the questions.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    pub(crate) card: Card,
    pub(super) others: OtherSessions,
    /// The last question answered here and the answer; an interrupt withdraws the question.
    answered: Option<(QuestionId, Answer)>,
    /// The rule that was last approved here for more than one command.
    approved_rule: Option<String>,
    /// When another client closed a card, or the last key that may have been meant for that card.
    closed_at: Option<Millis>,
}

impl Questions {
    /// When the card takes keys, if there is one.
    pub(super) fn card_arms_at(&self, typed_at: Millis) -> Option<Millis> {
        self.card.id().map(|_| self.card.arms_at(typed_at))
    }

    /// Whether typed text answers this question: a clarify question the user can have read.
    pub(super) fn takes_text(&self, question: &Question, now: Millis) -> bool {
        matches!(question.ask, Ask::Clarify { .. }) && self.card.is_settled(now)
    }

    /// Whether this question was answered here.
    pub(super) fn is_answered(&self, id: &QuestionId) -> bool {
        self.answered.as_ref().is_some_and(|(answered, _)| answered == id)
    }

    /// Answers a question.
    pub(super) fn answer(&mut self, question: &Question, answer: Answer) -> Effect {
        let id = question.id.clone();
        if let Answer::Approval(Choice::Session | Choice::Always) = answer
            && let Ask::Approval { rule, .. } = &question.ask
        {
            self.approved_rule = Some(rule.clone());
        }
        self.answered = Some((id.clone(), answer.clone()));
        Effect::Send(Command::Answer { session: None, id, answer })
    }

    /// Closes a question without an answer of the user's.
    pub(super) fn close(&mut self, question: &Question) -> Effect {
        match question.ask {
            Ask::Approval { .. } => self.answer(question, Answer::Approval(Choice::Deny)),
            // No answer is not an empty answer: the turn that asks is interrupted.
            Ask::Clarify { .. } => {
                self.answered = Some((question.id.clone(), Answer::Withdrawn));
                Effect::Send(Command::Cancel)
            }
        }
    }

    /// A card was closed, but not by a key: the next keys may have been meant for it.
    pub(super) fn on_card_closed(&mut self, now: Millis) {
        self.closed_at = Some(now);
    }

    /// A question was resolved. Returns what to tell the user, unless it was answered here.
    pub(super) fn on_resolved(
        &mut self,
        question: Option<&Question>,
        id: &QuestionId,
        answer: &Answer,
        by: Option<&str>,
        now: Millis,
    ) -> Option<String> {
        let sent = self.answered.take_if(|(answered, _)| answered == id);
        // Another client may have been first, and with another answer: that is the one that counts.
        let is_ours = sent.is_some_and(|(_, sent)| by.is_none() || sent == *answer);
        let is_covered = match question.map(|question| &question.ask) {
            Some(Ask::Approval { rule, .. }) => {
                self.approved_rule.as_ref() == Some(rule)
                    && *answer == Answer::Approval(Choice::Session)
            }
            Some(Ask::Clarify { .. }) | None => false,
        };
        if is_ours || is_covered || self.card.id() != Some(id) {
            return None;
        }
        self.on_card_closed(now);
        match answer {
            Answer::Approval(_) | Answer::Text(_) => {
                let by = by.map(one_line).filter(|by| !by.is_empty());
                Some(match by {
                    Some(by) => format!("answered by {}", fit(&by, NAME_WIDTH)),
                    None => "answered elsewhere".to_owned(),
                })
            }
            Answer::Expired => Some("the question timed out".to_owned()),
            Answer::Withdrawn => None,
        }
    }
}

impl App {
    /// A question of the session on the screen was resolved.
    pub(super) fn on_resolved(&mut self, id: &QuestionId, answer: &Answer, by: Option<&str>) {
        let question = self.transcript.questions.iter().find(|question| question.id == *id);
        if let Some(text) = self.questions.on_resolved(question, id, answer, by, self.now) {
            self.flash(&text, RESOLVED);
        }
    }

    /// A key while a card is open; `None` = the card does not take it.
    pub(super) fn on_card_key(&mut self, action: Action) -> Option<Vec<Effect>> {
        let question = self.transcript.questions.first()?;
        let questions = &mut self.questions;
        let is_armed = questions.card.is_armed(self.input.typed_at, self.now);
        if !self.input.composer.is_empty() || !is_armed {
            return None;
        }
        match questions.card.on_action(question, action) {
            CardEvent::Ignored => None,
            CardEvent::Moved => Some(Vec::new()),
            CardEvent::Answered(answer) => Some(vec![questions.answer(question, answer)]),
        }
    }

    /// Whether a key was meant for a card that another client has just closed. Until the keyboard
    /// has been quiet nothing is sent, and a lone digit is not text. What is typed stays in sight.
    pub(super) fn was_for_closed_card(&mut self, action: Action) -> bool {
        let Some(since) = self.questions.closed_at.take() else { return false };
        if between(self.now, since) >= QUIET {
            return false;
        }
        self.questions.closed_at = Some(self.now);
        match action {
            Action::Enter => {
                self.flash("not sent: the question was closed meanwhile", REFUSED_KEY);
                true
            }
            Action::Text('1'..='9') => self.input.composer.is_empty(),
            _ => false,
        }
    }
}
