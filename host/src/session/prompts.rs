//! Prompts and remarks of the user on their way to a turn.

use super::{Attendance, Effects, Session, Stored};
use crate::store::Record;
use protocol::{Event, Failure, Millis, PromptId, Queued, Subject, TurnId};

/// Prompt ids remembered to recognise a prompt that is sent again.
const KNOWN_PROMPTS: usize = 64;
/// Characters of the first prompt that a session list shows.
pub(super) const PREVIEW: usize = 80;

impl Session {
    pub(super) fn prompt(
        &mut self,
        id: PromptId,
        text: String,
        attendance: Attendance,
        now: Millis,
        out: &mut Effects,
    ) {
        if self.knows_prompt(&id) {
            return;
        }
        self.remember_prompt(&id);
        if self.stored == Stored::NotYet || self.next_row == 1 {
            self.stored = Stored::Yes;
            self.meta.preview = text.chars().take(PREVIEW).collect();
            self.touch(now, out);
        }
        let text = self.with_attachments(text, out);
        let prompt = Queued { id, text };
        // One that starts at once is stored as a row, in the same commit.
        if self.turn.is_some() || self.stopping {
            self.enqueue(prompt.clone(), out);
        }
        self.prompts.push_back((prompt, attendance));
    }

    pub(super) fn knows_prompt(&self, id: &PromptId) -> bool {
        self.meta.prompts.contains(id)
    }

    /// Stored with the row of the prompt; until there is one, its place in the queue is what is
    /// stored of it.
    pub(super) fn remember_prompt(&mut self, id: &PromptId) {
        let known = &mut self.meta.prompts;
        known.push_back(id.clone());
        if known.len() > KNOWN_PROMPTS {
            known.pop_front();
        }
    }

    fn enqueue(&mut self, prompt: Queued, out: &mut Effects) {
        out.record(Record::Queued { session: self.id(), prompt: prompt.clone() });
        self.publish(Event::PromptQueued { prompt }, out);
    }

    pub(super) fn unqueue(&mut self, id: &PromptId, out: &mut Effects) {
        if self.prompts.iter().any(|(p, _)| p.id == *id) {
            self.prompts.retain(|(p, _)| p.id != *id);
            self.leave_queue(id, out);
        }
    }

    pub(super) fn leave_queue(&mut self, id: &PromptId, out: &mut Effects) {
        if self.view.queued.iter().any(|q| q.id == *id) {
            out.record(Record::Unqueued { session: self.id(), prompt: id.clone() });
            self.publish(Event::PromptUnqueued { id: id.clone() }, out);
        }
    }

    /// A remark waits for the next tool result. It is stored as the prompt that it becomes if no
    /// result takes it along, so that a killed host does not lose it.
    pub(super) fn steer(&mut self, text: String, now: Millis, out: &mut Effects) {
        let Some(turn) = &self.turn else {
            let about = Subject::Steer;
            let message = "no turn is running; send it as a prompt".to_owned();
            return self.publish(Event::Failed(Failure { about, message }), out);
        };
        if turn.is_cancelled() {
            return self.note_remark(&text, out);
        }
        let text = match self.view.steer.take() {
            Some(earlier) => format!("{earlier}\n{text}"),
            None => text,
        };
        let id = steer_prompt_id(turn.id, now);
        let id = self.remark.get_or_insert(id).clone();
        let prompt = Queued { id, text: text.clone() };
        out.record(Record::Queued { session: self.id(), prompt });
        self.publish(Event::Steered { text: Some(text) }, out);
    }

    /// Takes the remark that waits; the caller makes something else of it.
    pub(super) fn take_remark(&mut self, out: &mut Effects) -> Option<Queued> {
        let (text, id) = (self.view.steer.take()?, self.remark.take()?);
        out.record(Record::Unqueued { session: self.id(), prompt: id.clone() });
        self.publish(Event::Steered { text: None }, out);
        Some(Queued { id, text })
    }

    /// A remark to an interrupted turn starts no other one; the next one reads it.
    pub(super) fn note_remark(&mut self, remark: &str, out: &mut Effects) {
        self.meta.notes.push(format!("[The user said, before interrupting: {remark}]"));
        out.record(Record::Session(self.meta.clone()));
    }

    /// A remark that no tool result has taken along waits like a prompt that was typed, so that a
    /// stopping host does not lose it.
    pub(super) fn queue_remark(&mut self, out: &mut Effects) {
        if let Some(prompt) = self.take_remark(out) {
            self.enqueue(prompt.clone(), out);
            self.prompts.push_front((prompt, Attendance::Attended));
        }
    }
}

/// The id of a prompt made from a steering remark that no tool result has taken along.
fn steer_prompt_id(turn: TurnId, now: Millis) -> PromptId {
    PromptId(format!("steer-{turn}-{now}"))
}
