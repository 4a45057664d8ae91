//! The inbox over a broken link: a host tells nothing of it to a new view where there is none, so
//! what the front end knows from before would stay. Decides and does no I/O.

use protocol::{Asked, Event};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// As it was told last; `None` = it never was.
    told: Option<Vec<Asked>>,
    /// It was told before the link broke.
    is_old: bool,
}

impl Inbox {
    /// The host says what it is.
    pub(super) fn told(&mut self, questions: &[Asked]) {
        self.told = Some(questions.to_vec());
        self.is_old = false;
    }

    /// A view is there again, with its window.
    pub(super) fn came_back(&mut self) {
        // A front end may have had another host before this connection.
        self.is_old = self.told.as_ref().is_none_or(|told| !told.is_empty());
    }

    /// Something else than the inbox came after the window: what to tell the front end.
    pub(super) fn silence(&mut self) -> Option<Event> {
        if !std::mem::take(&mut self.is_old) {
            return None;
        }
        self.told = Some(Vec::new());
        self.again()
    }

    /// What a front end is told whose queue was emptied.
    pub(super) fn again(&self) -> Option<Event> {
        self.told.clone().map(|questions| Event::InboxChanged { questions })
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
    fn an_inbox_from_before_the_link_broke_is_emptied_unless_the_host_says_otherwise() {
        let mut inbox = Inbox::default();
        let empty = Event::InboxChanged { questions: Vec::new() };
        inbox.came_back();
        assert_eq!(inbox.silence(), Some(empty.clone()), "of the host before this one");
        assert_eq!(inbox.silence(), None);
        inbox.told(&asked());
        assert_eq!(inbox.silence(), None, "there is a link");
        inbox.came_back();
        inbox.told(&asked());
        assert_eq!(inbox.silence(), None, "it was told again");
        assert_eq!(inbox.again(), Some(Event::InboxChanged { questions: asked() }));
        inbox.came_back();
        assert_eq!(inbox.silence(), Some(empty.clone()));
        assert_eq!((inbox.silence(), inbox.again()), (None, Some(empty)), "once");
        inbox.came_back();
        assert_eq!(inbox.silence(), None, "it is empty already");
    }
}
