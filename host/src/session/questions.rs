//! Questions to the user: one queue, in order, each with an id and an end.

use super::{Ack, Effect, Out, Reply, Session};
use crate::protocol::{Answer, Ask, CallId, Choice, Event, Millis, Question, QuestionId, Storage};
use crate::store::Record;

impl Session {
    /// A tool call asks. The same call asking again is the same entry (C05).
    pub(super) fn ask(
        &mut self,
        call: CallId,
        ask: Ask,
        timeout: Millis,
        ack: Ack,
        now: Millis,
        out: &mut Out,
    ) {
        if let Ask::Approval { rule, .. } = &ask
            && (self.meta.grants.contains(rule) || self.always.contains(rule))
        {
            out.reply(ack, Reply::Answer(Answer::Approval(Choice::Session)));
            return;
        }
        let Some(turn) = &mut self.turn else { return };
        let same = self
            .view
            .questions
            .iter()
            .find(|q| q.call == call || (matches!(ask, Ask::Clarify { .. }) && q.ask == ask));
        if let Some(known) = same {
            turn.asking.push((known.id.clone(), ack));
            return;
        }
        let id = QuestionId(format!("q{}-{}-{}", turn.id, self.next_question, call));
        self.next_question += 1;
        turn.asking.push((id.clone(), ack));
        let turn = turn.id;
        let question =
            Question { id, turn, call, ask, asked_at: now, timeout, deadline: None, answer: None };
        self.put_question(question, out);
    }

    fn put_question(&mut self, question: Question, out: &mut Out) {
        out.record(Record::Asked { session: self.id(), question: question.clone() });
        self.publish(Event::QuestionAsked { question }, out);
    }

    /// A front end that can answer shows it: its clock starts (C08).
    pub(super) fn shown(&mut self, id: &QuestionId, now: Millis, out: &mut Out) {
        let open = self.view.questions.iter().find(|q| q.id == *id && q.deadline.is_none());
        if let Some(question) = open.cloned() {
            let deadline = Some(now + question.timeout);
            self.put_question(Question { deadline, ..question }, out);
        }
    }

    /// An answer from a front end; only a pending question of the same kind takes it (C07).
    pub(super) fn answer(&mut self, id: &QuestionId, answer: Answer, out: &mut Out) {
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
        self.resolve(id, &answer, out);
        if let (Ask::Approval { rule, .. }, Answer::Approval(choice)) = (question.ask, answer) {
            self.grant(&rule, choice, out);
        }
    }

    /// A grant for longer than once also answers the other approvals of its rule (C05).
    fn grant(&mut self, rule: &str, choice: Choice, out: &mut Out) {
        match choice {
            Choice::Once | Choice::Deny => return,
            Choice::Always if self.view.storage == Storage::Ok => {
                out.record(Record::Granted { rule: rule.to_owned() });
                out.effects.push(Effect::Grant(rule.to_owned()));
            }
            // An "always" that cannot be written down holds for the session.
            Choice::Always | Choice::Session => {}
        }
        self.meta.grants.insert(rule.to_owned());
        out.record(Record::Session(self.meta.clone()));
        self.resolve_rule(rule, out);
    }

    /// Answers the pending approvals of a rule that was granted.
    pub(super) fn resolve_rule(&mut self, rule: &str, out: &mut Out) {
        let same: Vec<QuestionId> = self
            .view
            .questions
            .iter()
            .filter(|q| matches!(&q.ask, Ask::Approval { rule: r, .. } if r == rule))
            .map(|q| q.id.clone())
            .collect();
        for id in same {
            self.resolve(&id, &Answer::Approval(Choice::Session), out);
        }
    }

    fn resolve(&mut self, id: &QuestionId, answer: &Answer, out: &mut Out) {
        out.record(Record::Resolved { session: self.id(), question: id.clone() });
        self.publish(Event::QuestionResolved { id: id.clone(), answer: answer.clone() }, out);
        let Some(turn) = &mut self.turn else { return };
        let (answered, rest) =
            std::mem::take(&mut turn.asking).into_iter().partition(|(q, _)| q == id);
        turn.asking = rest;
        let answered: Vec<(QuestionId, Ack)> = answered;
        for (_, ack) in answered {
            out.reply(ack, Reply::Answer(answer.clone()));
        }
    }

    /// The turn is interrupted: nobody waits for answers any more (C09).
    pub(super) fn withdraw_questions(&mut self, out: &mut Out) {
        let ids: Vec<_> = self.view.questions.iter().map(|q| q.id.clone()).collect();
        for id in ids {
            self.resolve(&id, &Answer::Withdrawn, out);
        }
    }

    /// When a question expires: by its own clock once it was shown, else after the time a question
    /// may wait for somebody to come (C16).
    pub(super) fn expiry(&self, question: &Question) -> Millis {
        question.deadline.unwrap_or(question.asked_at + self.rules.unattended_wait)
    }

    pub(super) fn expire(&mut self, now: Millis, out: &mut Out) {
        let ids: Vec<_> = self
            .view
            .questions
            .iter()
            .filter(|q| self.expiry(q) <= now)
            .map(|q| q.id.clone())
            .collect();
        for id in ids {
            self.resolve(&id, &Answer::Expired, out);
        }
    }
}
