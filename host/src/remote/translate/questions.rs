//! Approvals and clarify questions of a hermes-webui: the server sends only the head of each queue,
//! often twice, and never what was answered (C01, E11).

use super::super::http::Error;
use super::Mirror;
use crate::wire::decode;
use protocol::{Answer, Ask, CallId, Event, Millis, Question, QuestionId, TurnId};

/// How long an approval stays open. The server does not say; this is its default.
const APPROVAL: Millis = 60_000;

/// Who answered, when it was not this view.
const ELSEWHERE: &str = "another client";

/// The heads that the server sent last, and what this view answered.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// The approval on top, as the server wants it back.
    approval: Option<(QuestionId, decode::Approval)>,
    clarify: Option<QuestionId>,
    /// Answers under way.
    answering: Vec<(QuestionId, Answer)>,
    /// Questions that are over: a late copy of a frame does not ask them again.
    over: Vec<QuestionId>,
    unnamed: u64,
}

/// The kind of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::remote) enum QuestionKind {
    /// An approval.
    Approval,
    /// A clarify question.
    Clarify,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::remote) enum AnswerResult {
    /// It counts.
    Accepted,
    /// Somebody else was faster, or the question is gone.
    Late,
    /// It did not arrive: the question stands.
    Undelivered,
}

impl Mirror {
    /// The head of the approvals. `live`: it was sent as it came up, so its clock is known.
    pub(in crate::remote) fn approval(
        &mut self,
        head: Option<decode::Approval>,
        live: bool,
        now: Millis,
    ) {
        let id = match &head {
            None => None,
            Some(approval) if approval.approval_id.is_empty() => {
                // Some backends name none: the same command on top is the same question.
                match &self.heads.approval {
                    Some((id, known)) if known.command == approval.command => Some(id.clone()),
                    _ => {
                        self.heads.unnamed += 1;
                        Some(QuestionId(format!("approval-{}", self.heads.unnamed)))
                    }
                }
            }
            Some(approval) => Some(QuestionId(approval.approval_id.clone())),
        };
        let known = self.heads.approval.as_ref().map(|(id, _)| id.clone());
        if known == id {
            return;
        }
        if let Some(known) = known {
            self.heads.approval = None;
            self.gone(&known, now);
        }
        let (Some(id), Some(approval)) = (id, head) else { return };
        if self.heads.over.contains(&id) {
            return;
        }
        let ask = approval_ask(&approval);
        self.heads.approval = Some((id.clone(), approval));
        let deadline = live.then_some(now + APPROVAL);
        self.asked(id, ask, now, APPROVAL, deadline);
    }

    /// The head of the clarify questions.
    pub(in crate::remote) fn clarify(&mut self, head: Option<decode::Clarify>, now: Millis) {
        let head = head.filter(|head| !head.clarify_id.is_empty() || !head.question.is_empty());
        let id = head.as_ref().map(|head| match head.clarify_id.as_str() {
            "" => QuestionId(format!("clarify-{}", head.requested_at)),
            id => QuestionId(id.to_owned()),
        });
        if self.heads.clarify == id {
            return;
        }
        if let Some(known) = self.heads.clarify.take() {
            self.gone(&known, now);
        }
        let (Some(id), Some(head)) = (id, head) else { return };
        if self.heads.over.contains(&id) {
            return;
        }
        self.heads.clarify = Some(id.clone());
        let deadline = Some(head.expires_at).filter(|at| *at > 0);
        let asked = if head.requested_at > 0 { head.requested_at } else { now };
        let timeout = head.timeout_seconds;
        self.asked(id, clarify_ask(head), asked, timeout, deadline);
    }

    fn asked(
        &mut self,
        id: QuestionId,
        ask: Ask,
        asked_at: Millis,
        timeout: Millis,
        deadline: Option<Millis>,
    ) {
        let running = self.view.running.as_ref();
        let call = running.and_then(|r| r.calls.iter().rev().find(|c| c.started_at.is_some()));
        let question = Question {
            id,
            turn: running.map_or(TurnId(0), |running| running.turn),
            call: call.map_or_else(|| CallId(String::new()), |live| live.call.id.clone()),
            ask,
            asked_at,
            timeout,
            deadline,
            answer: None,
        };
        self.emit(Event::QuestionAsked { question });
    }

    /// A question left the server's queue; nothing says how.
    fn gone(&mut self, id: &QuestionId, now: Millis) {
        if let Some(at) = self.heads.answering.iter().position(|(known, _)| known == id) {
            let (_, answer) = self.heads.answering.remove(at);
            return self.resolved(id, answer, None);
        }
        let Some(question) = self.view.questions.iter().find(|q| q.id == *id) else { return };
        let expired = question.deadline.is_some_and(|deadline| deadline <= now);
        let cancelled = self.view.running.as_ref().is_none_or(|running| running.cancelling);
        match (expired, cancelled) {
            (true, _) => self.resolved(id, Answer::Expired, None),
            (false, true) => self.resolved(id, Answer::Withdrawn, None),
            (false, false) => self.resolved(id, unknown(), Some(ELSEWHERE.to_owned())),
        }
    }

    fn resolved(&mut self, id: &QuestionId, answer: Answer, by: Option<String>) {
        self.heads.over.push(id.clone());
        if self.view.questions.iter().any(|q| q.id == *id) {
            self.emit(Event::QuestionResolved { id: id.clone(), answer, by });
        }
    }

    /// The user answers: what to send, if the question still stands (C07).
    pub(in crate::remote) fn begin_answer(
        &mut self,
        id: &QuestionId,
        answer: &Answer,
    ) -> Option<QuestionKind> {
        let kind = match (&self.heads.approval, &self.heads.clarify) {
            (Some((head, _)), _) if head == id => QuestionKind::Approval,
            (_, Some(head)) if head == id => QuestionKind::Clarify,
            _ => return None,
        };
        self.heads.answering.push((id.clone(), answer.clone()));
        Some(kind)
    }

    /// The approval on top, as the server sent it.
    pub(in crate::remote) fn approval_head(&self) -> Option<&decode::Approval> {
        self.heads.approval.as_ref().map(|(_, approval)| approval)
    }

    /// What the server said to an answer.
    pub(in crate::remote) fn answered(&mut self, id: &QuestionId, answer_result: AnswerResult) {
        let sent = self.heads.answering.iter().position(|(known, _)| known == id);
        let sent = sent.map(|at| self.heads.answering.remove(at).1);
        match (answer_result, sent) {
            // It stands; or the stream was quicker than the answer to the answer.
            (AnswerResult::Undelivered, _)
            | (AnswerResult::Accepted | AnswerResult::Late, None) => {}
            (AnswerResult::Accepted, Some(answer)) => {
                self.forget_head(id);
                self.resolved(id, answer, None);
            }
            (AnswerResult::Late, Some(_)) => {
                self.forget_head(id);
                self.resolved(id, unknown(), Some(ELSEWHERE.to_owned()));
            }
        }
    }

    fn forget_head(&mut self, id: &QuestionId) {
        if self.heads.approval.as_ref().is_some_and(|(head, _)| head == id) {
            self.heads.approval = None;
        }
        if self.heads.clarify.as_ref() == Some(id) {
            self.heads.clarify = None;
        }
    }

    /// The turn is over, or the server is another one: nothing is asked any more (C09, E13).
    pub(super) fn drop_questions(&mut self, now: Millis) {
        self.approval(None, false, now);
        self.clarify(None, now);
    }
}

/// What an approval asks.
pub(in crate::remote) fn approval_ask(approval: &decode::Approval) -> Ask {
    Ask::Approval {
        command: approval.command.clone(),
        part: approval.command.clone(),
        rule: approval.pattern_key.clone(),
        reason: approval.description.clone(),
        allow_always: approval.allow_permanent,
    }
}

/// What a clarify question asks.
pub(in crate::remote) fn clarify_ask(head: decode::Clarify) -> Ask {
    let choices = head.choices_offered.into_iter().filter(|choice| !choice.is_empty());
    Ask::Clarify { question: head.question, choices: choices.collect() }
}

/// What the server's reply to an answer means.
pub(in crate::remote) fn answer_result(sent: &Result<decode::Responded, Error>) -> AnswerResult {
    match sent {
        Ok(sent) if sent.ok && !sent.stale_cleared => AnswerResult::Accepted,
        Ok(_) | Err(Error::Status { code: 404 | 409, .. }) => AnswerResult::Late,
        Err(_) => AnswerResult::Undelivered,
    }
}

/// An answer of somebody else: there was one, the server does not say which.
fn unknown() -> Answer {
    Answer::Text(String::new())
}
