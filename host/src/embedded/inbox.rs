//! The inbox: the questions of all sessions that wait for an answer, told to every view (C16).
//!
//! What happens in a session is told to its own views alone (E06). The inbox is not of a session
//! but of the host, like the list of sessions, and every front end of the host may answer what is
//! in it.

use std::sync::Arc;

use super::host_loop::HostLoop;
use super::view_table::Front;
use protocol::ViewId;
use protocol::{Asked, Event, Question, QuestionId, SessionId, Toast};

/// Notes what an event does to the questions that a session has told.
pub(super) fn note(told: &mut Vec<Question>, event: &Event) {
    match event {
        Event::QuestionAsked { question } => {
            match told.iter_mut().find(|known| known.id == question.id) {
                Some(known) => known.clone_from(question),
                None => told.push(question.clone()),
            }
        }
        Event::QuestionResolved { id, .. } => told.retain(|question| question.id != *id),
        _ => {}
    }
}

/// The inbox of sessions with these names and questions: of each its head (C02), the longest
/// waiting first. What is answered waits no more.
fn inbox<'a>(
    sessions: impl Iterator<Item = (&'a SessionId, String, &'a [Question])>,
) -> Vec<Asked> {
    let mut asked: Vec<Asked> = sessions
        .filter_map(|(session, name, questions)| {
            let mut pending = questions.iter().filter(|question| question.answer.is_none());
            let question = pending.next()?.clone();
            let behind = u32::try_from(pending.count()).unwrap_or(u32::MAX);
            Some(Asked { session: session.clone(), name, question, behind })
        })
        .collect();
    asked.sort_by(|a, b| a.order().cmp(&b.order()));
    asked
}

impl HostLoop {
    /// Tells a view whose answer comes too late that it does not count: it may have been another.
    pub(super) fn tell_if_late(&mut self, front: ViewId, session: &SessionId, id: &QuestionId) {
        let Some(live) = self.sessions.get(session) else { return };
        let questions = &live.session.transcript().questions;
        if questions.iter().any(|question| question.id == *id && question.answer.is_none()) {
            return;
        }
        let (session, name) = (session.clone(), live.session.name());
        let toast = Toast::late(session, name);
        self.push(front, Event::Toast(toast));
    }

    fn inbox(&self) -> Arc<[Asked]> {
        let asking = self.sessions.iter().filter(|(_, live)| !live.asked.is_empty());
        inbox(asking.map(|(id, live)| (id, live.session.name(), live.asked.as_slice()))).into()
    }

    /// Tells every view whose inbox is another one than it was told last.
    pub(super) fn tell_inbox(&mut self) {
        let inbox = self.inbox();
        for front in self.fronts.ids() {
            // One that waits for its window gets the inbox behind it.
            let is_news = |view: &Front| !view.awaits_window && view.inbox() != &*inbox;
            if self.fronts.get(front).is_some_and(is_news) {
                self.give_inbox(front, inbox.clone());
            }
        }
    }

    /// A view has a fresh window: what it was told before may be gone with what it has not read.
    pub(super) fn tell_inbox_after_window(&mut self, front: ViewId) {
        let inbox = self.inbox();
        let was_told = self.fronts.get(front).is_some_and(|view| view.inbox.is_some());
        if was_told || !inbox.is_empty() {
            self.give_inbox(front, inbox);
        }
    }

    fn give_inbox(&mut self, front: ViewId, inbox: Arc<[Asked]>) {
        let questions = inbox.to_vec();
        if let Some(view) = self.fronts.get_mut(front) {
            view.inbox = Some(inbox);
        }
        self.push(front, Event::InboxChanged { questions });
    }
}

#[cfg(test)]
mod tests;
