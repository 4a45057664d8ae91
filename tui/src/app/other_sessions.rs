//! The questions of all sessions, as the host reports them, and answering those of sessions that
//! are not on the screen.

use protocol::{Answer, Ask, Asked, Choice, Command, Millis, QuestionId, SessionId, Target};

use super::{App, Effect, Panel};
use crate::clean::one_line;
use crate::inbox::{ClosedCard, Inbox, InboxContext, InboxEvent, session_name};
use crate::keymap::Action;
use crate::wrap::fit;

/// Columns of the name of a session.
const NAME_WIDTH: usize = 30;

/// How long the resolution of a question is shown.
const RESOLVED: Millis = 4_000;

/// What waits for the user, in all sessions.
#[derive(Debug, Default)]
pub(crate) struct OtherSessions {
    questions: Vec<Asked>,
    /// Answered here, and still in the host's list.
    answered: Vec<(SessionId, QuestionId)>,
}

impl OtherSessions {
    /// A fresh window came: a host without questions does not report the empty list.
    pub(super) fn on_attached(&mut self) {
        self.questions.clear();
    }

    /// The host refused something, maybe an answer.
    pub(super) fn on_failed(&mut self) {
        self.answered.clear();
    }

    /// When something in an open inbox changes by itself.
    pub(super) fn next_tick(&self, inbox: &Inbox, now: Millis) -> Option<Millis> {
        inbox.next_tick(&self.questions, now)
    }

    fn is_answered(&self, asked: &Asked) -> bool {
        let is = |(session, id): &(SessionId, QuestionId)| {
            *session == asked.session && *id == asked.question.id
        };
        self.answered.iter().any(is)
    }

    /// The unanswered questions, without those of the session on the screen.
    fn waiting<'a>(&'a self, here: &'a SessionId) -> impl Iterator<Item = &'a Asked> {
        let all = self.questions.iter();
        all.filter(move |asked| asked.session != *here && !self.is_answered(asked))
    }

    fn set(&mut self, questions: &[Asked]) {
        self.questions = questions.to_vec();
        self.answered.retain(|(session, id)| {
            questions.iter().any(|asked| asked.session == *session && asked.question.id == *id)
        });
    }
}

impl App {
    /// How many other sessions wait for the user.
    pub(crate) fn sessions_waiting(&self) -> usize {
        self.questions.others.waiting(&self.transcript.session).count()
    }

    /// What the inbox is drawn with.
    pub(crate) fn inbox_context(&self) -> InboxContext<'_> {
        InboxContext {
            questions: &self.questions.others.questions,
            answered: &self.questions.others.answered,
            here: &self.transcript.session,
            now: self.now,
            theme: &self.theme,
        }
    }

    /// Opens the questions of other sessions: the card of the only one, or the list. False if there
    /// is none.
    pub(super) fn open_waiting(&mut self) -> bool {
        let mut waiting = self.questions.others.waiting(&self.transcript.session);
        let inbox = match (waiting.next(), waiting.next()) {
            (None, _) => return false,
            (Some(only), None) => Inbox::on(only, self.now),
            (Some(_), Some(_)) => Inbox::default(),
        };
        self.overlays.panel = Some(Panel::Inbox(inbox));
        true
    }

    /// The questions of all sessions have changed.
    pub(super) fn on_inbox_changed(&mut self, questions: &[Asked]) {
        self.questions.others.set(questions);
        if let Some(Panel::Inbox(inbox)) = &mut self.overlays.panel
            && let Some(closed) = inbox.on_changed(questions)
        {
            self.on_inbox_card_closed(&closed);
        }
    }

    /// The question of the open card is no longer pending: the user must not think that the keys
    /// that follow have answered it.
    fn on_inbox_card_closed(&mut self, closed: &ClosedCard) {
        if closed.direct {
            self.overlays.panel = None;
        }
        self.questions.on_card_closed(self.now);
        if self.overlays.panel.is_none() {
            self.input.put_back(&closed.typed);
        } else {
            self.input.composer.remember(&closed.typed);
        }
        let name = fit(&session_name(&closed.asked), NAME_WIDTH);
        let expired = closed.asked.question.deadline.is_some_and(|deadline| deadline <= self.now);
        let what =
            if expired { "the question timed out" } else { "answered elsewhere or withdrawn" };
        self.flash(&format!("{what}: {name}"), RESOLVED);
    }

    /// A key while the inbox is open.
    pub(super) fn on_inbox_key(&mut self, action: Action) -> Vec<Effect> {
        let Some(Panel::Inbox(inbox)) = &mut self.overlays.panel else { return Vec::new() };
        let (questions, here) = (&self.questions.others.questions, &self.transcript.session);
        match inbox.on_action(action, questions, here, self.now) {
            InboxEvent::StayOpen => {}
            InboxEvent::Close => self.overlays.panel = None,
            InboxEvent::Discarded(text) => self.input.composer.remember(&text),
            InboxEvent::TextRefused => {
                self.flash("text cannot approve a command: Esc clears it, then choose", RESOLVED);
            }
            InboxEvent::OpenSession(session, typed) => {
                self.overlays.panel = None;
                self.input.put_back(&typed);
                return vec![Effect::Send(Command::Open(Target::Id(session)))];
            }
            InboxEvent::Answered(asked, answer) => return vec![self.answer_other(*asked, answer)],
        }
        Vec::new()
    }

    /// Answers a question of another session. Closes the inbox if no other one waits.
    fn answer_other(&mut self, asked: Asked, answer: Answer) -> Effect {
        let (session, id) = (asked.session.clone(), asked.question.id.clone());
        self.questions.others.answered.push((session.clone(), id.clone()));
        if asked.behind == 0 && self.sessions_waiting() == 0 {
            self.overlays.panel = None;
        }
        let name = fit(&session_name(&asked), NAME_WIDTH);
        let done = match (&asked.question.ask, &answer) {
            (Ask::Approval { .. }, Answer::Approval(Choice::Deny)) => "denied",
            (Ask::Approval { .. }, _) => "approved",
            (Ask::Clarify { .. }, _) => "answered",
        };
        self.flash(&one_line(&format!("{done}: {name}")), RESOLVED);
        Effect::Send(Command::Answer { session: Some(session), id, answer })
    }
}
