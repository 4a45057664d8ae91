//! Questions to the user: one queue, in order, each with an id and an end.

use super::{Ack, Effect, Effects, Reply, Session, resume};
use crate::redact;
use crate::store::Record;
use serde_json::{Value, json};

use protocol::{Answer, Ask, CallId, Choice, Event, Millis, News, Question, QuestionId, Storage};

impl Session {
    /// A tool call asks. The same call asking again is the same entry (C05).
    pub(super) fn ask(
        &mut self,
        call: CallId,
        ask: Ask,
        timeout: Millis,
        ack: Ack,
        now: Millis,
        out: &mut Effects,
    ) {
        if self.view.yolo && matches!(ask, Ask::Approval { .. }) {
            // Nobody is asked and nobody approves: it goes on.
            return out.reply(ack, Reply::Go);
        }
        if let Ask::Approval { rule, .. } = &ask
            && (self.meta.grants.contains(rule) || self.always.contains(rule))
        {
            out.reply(ack, Reply::Answer(Answer::Approval(Choice::Session)));
            return;
        }
        let Some(turn) = &mut self.turn else { return };
        // Only what was asked is answered: a call may ask several things one after the other.
        if let Some(known) = turn.answered.iter().find(|q| q.call == call && q.ask == ask)
            && let Some(answer) = known.answer.clone()
        {
            out.reply(ack, Reply::Answer(answer));
            return;
        }
        let same = self
            .view
            .questions
            .iter()
            .find(|q| q.ask == ask && (q.call == call || matches!(ask, Ask::Clarify { .. })));
        if let Some(known) = same {
            turn.asking.push((known.id.clone(), ack));
            return;
        }
        // The row and the call say which call it is, also to a client that has seen an earlier
        // host; the number, which of its questions: answered ones are known until its result.
        let of_call = |q: &&Question| q.call == call;
        let earlier = self.view.questions.iter().chain(&turn.answered).filter(of_call).count();
        let id = QuestionId(format!("q{}-{}-{}-{call}", turn.id, self.next_row, earlier + 1));
        turn.asking.push((id.clone(), ack));
        let turn = turn.id;
        let question =
            Question { id, turn, call, ask, asked_at: now, timeout, deadline: None, answer: None };
        self.announce_question(&question, out);
        self.put_question(question, out);
    }

    /// Announces it to every view of the host: one of another session would not know (C16).
    fn announce_question(&self, question: &Question, out: &mut Effects) {
        let text = match &question.ask {
            Ask::Approval { command, .. } => format!("run {command}?"),
            Ask::Clarify { question, .. } => question.clone(),
        };
        self.toast(None, News::Asked, redact::secrets(&text).into_owned(), out);
    }

    fn put_question(&mut self, question: Question, out: &mut Effects) {
        out.record(Record::Asked { session: self.id(), question: question.clone() });
        self.publish(Event::QuestionAsked { question }, out);
    }

    /// A client that can answer shows it: its clock starts (C08).
    pub(super) fn shown(&mut self, id: &QuestionId, now: Millis, out: &mut Effects) {
        let open = self.view.questions.iter().find(|q| q.id == *id && q.deadline.is_none());
        if let Some(question) = open.cloned() {
            let deadline = Some(now + question.timeout);
            self.put_question(Question { deadline, ..question }, out);
        }
    }

    /// An answer of the user; only a pending question of the same kind takes it (C07).
    pub(super) fn answer(
        &mut self,
        id: &QuestionId,
        answer: Answer,
        by: Option<String>,
        now: Millis,
        out: &mut Effects,
    ) {
        let Some(question) = self.view.questions.iter().find(|q| q.id == *id).cloned() else {
            return;
        };
        let fits = match (&question.ask, &answer) {
            (Ask::Approval { allow_always, .. }, Answer::Approval(choice)) => {
                *choice != Choice::Always || *allow_always
            }
            (Ask::Clarify { .. }, Answer::Text(_)) | (_, Answer::Withdrawn) => true,
            (Ask::Approval { .. } | Ask::Clarify { .. }, _) => false,
        };
        if !fits {
            return;
        }
        self.resolve(id, &answer, by.clone(), now, out);
        if let (Ask::Approval { rule, .. }, Answer::Approval(choice)) = (question.ask, answer) {
            self.grant(&rule, choice, by, now, out);
        }
    }

    /// A grant for longer than once also answers the other approvals of its rule (C05).
    fn grant(
        &mut self,
        rule: &str,
        choice: Choice,
        by: Option<String>,
        now: Millis,
        out: &mut Effects,
    ) {
        match choice {
            Choice::Once | Choice::Deny => return,
            Choice::Always if self.view.storage == Storage::Ok => {
                out.record(Record::Granted { rule: rule.to_owned() });
                out.push(Effect::Grant(rule.to_owned()));
            }
            // An "always" that cannot be stored holds for the session.
            Choice::Always | Choice::Session => {}
        }
        self.meta.grants.insert(rule.to_owned());
        out.record(Record::Session(self.meta.clone()));
        self.resolve_rule(rule, by, now, out);
    }

    /// A rule was granted permanently.
    pub(super) fn granted(&mut self, rule: String, now: Millis, out: &mut Effects) {
        self.resolve_rule(&rule, None, now, out);
        self.always.insert(rule);
    }

    /// Answers the pending approvals of a rule that was granted.
    fn resolve_rule(&mut self, rule: &str, by: Option<String>, now: Millis, out: &mut Effects) {
        let same: Vec<QuestionId> = self
            .view
            .questions
            .iter()
            .filter(|q| matches!(&q.ask, Ask::Approval { rule: r, .. } if r == rule))
            .map(|q| q.id.clone())
            .collect();
        for id in same {
            self.resolve(&id, &Answer::Approval(Choice::Session), by.clone(), now, out);
        }
    }

    /// Ends a question. Its answer is stored until the result of its call is, so that it also
    /// reaches a call that asks again in the next host (C15).
    pub(super) fn resolve(
        &mut self,
        id: &QuestionId,
        answer: &Answer,
        by: Option<String>,
        now: Millis,
        out: &mut Effects,
    ) {
        let Some(question) = self.view.questions.iter().find(|q| q.id == *id).cloned() else {
            return;
        };
        let session = self.id();
        let interval = self.rules.notify_interval;
        match &mut self.turn {
            Some(turn) if *answer != Answer::Withdrawn => {
                let answer = Some(answer.clone());
                let question = Question { deadline: Some(now), answer, ..question };
                out.record(Record::Asked { session, question: question.clone() });
                turn.answered.push(question);
                // It waited for the user, not for long work (R10).
                turn.note_at = interval.map(|interval| now.saturating_add(interval));
            }
            Some(_) | None => out.record(Record::Resolved { session, question: id.clone() }),
        }
        self.publish(Event::QuestionResolved { id: id.clone(), answer: answer.clone(), by }, out);
        let Some(turn) = &mut self.turn else { return };
        let (answered, rest) =
            std::mem::take(&mut turn.asking).into_iter().partition(|(q, _)| q == id);
        turn.asking = rest;
        let answered: Vec<(QuestionId, Ack)> = answered;
        for (_, ack) in answered {
            out.reply(ack, Reply::Answer(answer.clone()));
        }
    }

    /// The result of a call holds what was answered to it, or nobody waits for that any more:
    /// the stored answers go, of one call or all.
    pub(super) fn forget_answers(&mut self, call: Option<&CallId>, out: &mut Effects) {
        let session = self.id();
        let Some(turn) = &mut self.turn else { return };
        turn.answered.retain(|q| {
            let stays = call.is_some_and(|call| q.call != *call);
            if !stays {
                let (session, question) = (session.clone(), q.id.clone());
                out.record(Record::Resolved { session, question });
            }
            stays
        });
    }

    /// The turn is over or interrupted: nobody waits for answers any more (C09).
    pub(super) fn withdraw_questions(&mut self, now: Millis, out: &mut Effects) {
        self.withdraw(|_| true, now, out);
        self.forget_answers(None, out);
    }

    /// Withdraws pending questions.
    pub(super) fn withdraw(
        &mut self,
        which: impl Fn(&Question) -> bool,
        now: Millis,
        out: &mut Effects,
    ) {
        let which = self.view.questions.iter().filter(|q| which(q));
        let ids: Vec<_> = which.map(|q| q.id.clone()).collect();
        for id in ids {
            self.resolve(&id, &Answer::Withdrawn, None, now, out);
        }
    }

    /// When a question expires (C16).
    pub(super) fn expiry(&self, question: &Question) -> Millis {
        resume::expiry(question, self.rules.unattended_wait)
    }

    pub(super) fn expire(&mut self, now: Millis, out: &mut Effects) {
        let ids: Vec<_> = self
            .view
            .questions
            .iter()
            .filter(|q| self.expiry(q) <= now)
            .map(|q| q.id.clone())
            .collect();
        for id in ids {
            self.resolve(&id, &Answer::Expired, None, now, out);
        }
    }
}

/// The result of a clarify call, as the agent gets it.
pub(crate) fn clarify_result(question: &str, choices: &[String], text: &str) -> Value {
    json!({ "question": question, "choices_offered": choices, "user_response": text })
}
