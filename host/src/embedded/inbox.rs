//! The inbox: the questions of all sessions that wait for an answer, sent to every view (C16).
//!
//! The events of a session are for its own views alone (E06). The inbox is not of a session but of
//! the host, like the list of sessions, and every client of the host may answer what is in it.

use std::sync::Arc;

use super::host_loop::HostLoop;
use super::views::AttachedView;
use protocol::{Asked, Event, Question, QuestionId, SessionId, Toast, ViewId};

/// Brings the published questions of a session up to date with an event.
pub(super) fn apply(published: &mut Vec<Question>, event: &Event) {
    match event {
        Event::QuestionAsked { question } => {
            match published.iter_mut().find(|known| known.id == question.id) {
                Some(known) => known.clone_from(question),
                None => published.push(question.clone()),
            }
        }
        Event::QuestionResolved { id, .. } => published.retain(|question| question.id != *id),
        _ => {}
    }
}

/// The inbox of sessions with these names and questions: the head of each (C02), the longest
/// waiting first. Questions that are answered are left out.
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
    /// Notifies a view whose answer comes too late to count: another one may have been given.
    pub(super) fn report_late_answer(
        &mut self,
        view: ViewId,
        session: &SessionId,
        id: &QuestionId,
    ) {
        let Some(live) = self.sessions.get(session) else { return };
        let questions = &live.transcript().questions;
        if questions.iter().any(|question| question.id == *id && question.answer.is_none()) {
            return;
        }
        let toast = Toast::late(session.clone(), live.session.name());
        self.push(view, Event::Toast(toast));
    }

    fn inbox(&self) -> Arc<[Asked]> {
        let asking = self.sessions.iter().filter(|(_, live)| !live.published_questions.is_empty());
        let asking =
            asking.map(|(id, live)| (id, live.session.name(), live.published_questions.as_slice()));
        inbox(asking).into()
    }

    /// Sends the inbox to every view that knows another one.
    pub(super) fn send_inbox(&mut self) {
        let inbox = self.inbox();
        for view in self.views.ids() {
            // A view that awaits its window gets the inbox behind it.
            let is_outdated = |attached: &AttachedView| {
                !attached.awaits_window && attached.known_inbox() != &*inbox
            };
            if self.views.get(view).is_some_and(is_outdated) {
                self.send_inbox_to(view, inbox.clone());
            }
        }
    }

    /// Sends the inbox to a view that got a fresh window: an earlier one may have been dropped
    /// with the events it has not read.
    pub(super) fn send_inbox_after_window(&mut self, view: ViewId) {
        let inbox = self.inbox();
        let has_one = self.views.get(view).is_some_and(|attached| attached.sent_inbox.is_some());
        if has_one || !inbox.is_empty() {
            self.send_inbox_to(view, inbox);
        }
    }

    fn send_inbox_to(&mut self, view: ViewId, inbox: Arc<[Asked]>) {
        let questions = inbox.to_vec();
        if let Some(attached) = self.views.get_mut(view) {
            attached.sent_inbox = Some(inbox);
        }
        self.push(view, Event::InboxChanged { questions });
    }
}

#[cfg(test)]
mod tests;
