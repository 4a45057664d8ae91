//! The inbox across a broken link: a host with an empty inbox sends a new view none, so that what the
//! view knows from before would stay. Pure: no I/O.

use protocol::{Asked, Event};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// As it came last; `None` = never.
    questions: Option<Vec<Asked>>,
    /// It came before the link broke.
    is_stale: bool,
}

impl Inbox {
    /// Takes the inbox as the host sends it.
    pub(super) fn update(&mut self, questions: &[Asked]) {
        self.questions = Some(questions.to_vec());
        self.is_stale = false;
    }

    /// There is a view again, with its window.
    pub(super) fn reconnected(&mut self) {
        // A view may have had another host before this connection.
        self.is_stale = self.questions.as_ref().is_none_or(|questions| !questions.is_empty());
    }

    /// Something else than the inbox came after the window: the event that empties a stale one.
    pub(super) fn drop_stale(&mut self) -> Option<Event> {
        if !std::mem::take(&mut self.is_stale) {
            return None;
        }
        self.questions = Some(Vec::new());
        self.current()
    }

    /// The event for a view whose queue was emptied.
    pub(super) fn current(&self) -> Option<Event> {
        self.questions.clone().map(|questions| Event::InboxChanged { questions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Ask, CallId, Question, QuestionId, SessionId, TurnId};

    fn asked() -> Vec<Asked> {
        let question = Question {
            id: QuestionId("q".to_owned()),
            turn: TurnId(1),
            call: CallId("c".to_owned()),
            ask: Ask::Clarify { question: "?".to_owned(), choices: Vec::new() },
            asked_at: 0,
            timeout: 0,
            deadline: None,
            answer: None,
        };
        let session = SessionId("s".to_owned());
        vec![Asked { session, name: String::new(), question, behind: 0 }]
    }

    // C03
    #[test]
    fn a_stale_inbox_is_emptied_unless_the_host_sends_one() {
        let mut inbox = Inbox::default();
        let empty = Event::InboxChanged { questions: Vec::new() };
        inbox.reconnected();
        assert_eq!(inbox.drop_stale(), Some(empty.clone()), "of the host before this one");
        assert_eq!(inbox.drop_stale(), None);
        inbox.update(&asked());
        assert_eq!(inbox.drop_stale(), None, "there is a link");
        inbox.reconnected();
        inbox.update(&asked());
        assert_eq!(inbox.drop_stale(), None, "it came again");
        assert_eq!(inbox.current(), Some(Event::InboxChanged { questions: asked() }));
        inbox.reconnected();
        assert_eq!(inbox.drop_stale(), Some(empty.clone()));
        assert_eq!((inbox.drop_stale(), inbox.current()), (None, Some(empty)), "once");
        inbox.reconnected();
        assert_eq!(inbox.drop_stale(), None, "it is empty already");
    }
}
