//! The questions of all sessions, as the host tells them, and answering those that are not in view.

use protocol::{Answer, Ask, Asked, Choice, Command, Millis, QuestionId, SessionId, Target};

use super::{App, Effect, Panel};
use crate::clean::one_line;
use crate::inbox::{Gone, Inbox, Outcome, Scene, called};
use crate::keymap::Action;
use crate::wrap::fit;

/// Columns of the name of a session.
const NAME: usize = 30;

/// How long is said what became of a question.
const SAID: i64 = 4_000;

/// What waits for the user, in all sessions.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    questions: Vec<Asked>,
    /// Answered here; the host has not taken them from the list yet.
    answered: Vec<(SessionId, QuestionId)>,
}

impl Elsewhere {
    /// A host that has no questions does not say so after a fresh window.
    pub(super) fn on_attached(&mut self) {
        self.questions.clear();
    }

    /// The host could not do something, maybe take an answer.
    pub(super) fn on_failed(&mut self) {
        self.answered.clear();
    }

    fn is_answered(&self, asked: &Asked) -> bool {
        let is = |(session, id): &(SessionId, QuestionId)| {
            *session == asked.session && *id == asked.question.id
        };
        self.answered.iter().any(is)
    }
}

impl App {
    /// How many other sessions wait for the user.
    pub(crate) fn asking_elsewhere(&self) -> usize {
        self.asking().count()
    }

    fn asking(&self) -> impl Iterator<Item = &Asked> {
        let here = &self.transcript.session;
        let all = self.elsewhere.questions.iter();
        all.filter(move |asked| asked.session != *here && !self.elsewhere.is_answered(asked))
    }

    /// What the inbox is drawn with.
    pub(crate) fn inbox(&self) -> Scene<'_> {
        Scene {
            questions: &self.elsewhere.questions,
            answered: &self.elsewhere.answered,
            here: &self.transcript.session,
            now: self.now,
            theme: &self.theme,
        }
    }

    /// When something in an open inbox changes by itself.
    pub(super) fn next_inbox(&self) -> Option<Millis> {
        let Some(Panel::Inbox(inbox)) = &self.panel else { return None };
        inbox.next_tick(&self.elsewhere.questions, self.now)
    }

    /// Opens the inbox.
    pub(super) fn open_inbox(&mut self) {
        self.panel = Some(Panel::Inbox(Inbox::default()));
    }

    /// Opens what other sessions ask: the card of the only question, or the list.
    pub(super) fn open_asked(&mut self) -> bool {
        let mut asking = self.asking();
        let inbox = match (asking.next(), asking.next()) {
            (None, _) => return false,
            (Some(only), None) => Inbox::on(only, self.now),
            (Some(_), Some(_)) => Inbox::default(),
        };
        drop(asking);
        self.panel = Some(Panel::Inbox(inbox));
        true
    }

    /// The questions are these now.
    pub(super) fn on_inbox(&mut self, questions: &[Asked]) {
        let elsewhere = &mut self.elsewhere;
        elsewhere.questions = questions.to_vec();
        elsewhere.answered.retain(|(session, id)| {
            questions.iter().any(|asked| asked.session == *session && asked.question.id == *id)
        });
        if let Some(Panel::Inbox(inbox)) = &mut self.panel
            && let Some(gone) = inbox.on_changed(questions)
        {
            self.on_gone(&gone);
        }
    }

    /// The question whose card was open is asked no more: nobody is to think that it was answered
    /// here.
    fn on_gone(&mut self, gone: &Gone) {
        if gone.direct {
            self.panel = None;
        }
        self.gone_at = Some(self.now);
        if self.panel.is_none() && self.composer.is_empty() {
            self.composer.set(&gone.typed);
        } else {
            self.composer.remember(&gone.typed);
        }
        let name = fit(&called(&gone.asked), NAME);
        let expired = gone.asked.question.deadline.is_some_and(|deadline| deadline <= self.now);
        let what =
            if expired { "nobody answered in time" } else { "answered elsewhere, or withdrawn" };
        self.say(&format!("{what}: {name}"), SAID);
    }

    /// A key while the inbox is open.
    pub(super) fn on_inbox_key(&mut self, action: Action) -> Vec<Effect> {
        let Some(Panel::Inbox(inbox)) = &mut self.panel else { return Vec::new() };
        let (questions, here) = (&self.elsewhere.questions, &self.transcript.session);
        match inbox.on_action(action, questions, here, self.now) {
            Outcome::Open => {}
            Outcome::Closed => self.panel = None,
            Outcome::Dropped(text) => self.composer.remember(&text),
            Outcome::NotByText => {
                self.say("a command is approved by a choice: Esc clears the input", SAID);
            }
            Outcome::Go(session, typed) => {
                self.panel = None;
                if self.composer.is_empty() {
                    self.composer.set(&typed);
                } else {
                    self.composer.remember(&typed);
                }
                return vec![Effect::Send(Command::Open(Target::Id(session)))];
            }
            Outcome::Answered(asked, answer) => return vec![self.answer_there(*asked, answer)],
        }
        Vec::new()
    }

    /// Answers a question of another session; where no other waits, that was all.
    fn answer_there(&mut self, asked: Asked, answer: Answer) -> Effect {
        let (session, id) = (asked.session.clone(), asked.question.id.clone());
        self.elsewhere.answered.push((session.clone(), id.clone()));
        if asked.behind == 0 && self.asking_elsewhere() == 0 {
            self.panel = None;
        }
        let name = fit(&called(&asked), NAME);
        let says = match (&asked.question.ask, &answer) {
            (Ask::Approval { .. }, Answer::Approval(Choice::Deny)) => "denied",
            (Ask::Approval { .. }, _) => "approved",
            (Ask::Clarify { .. }, _) => "answered",
        };
        self.say(&one_line(&format!("{says}: {name}")), SAID);
        Effect::Send(Command::Answer { session: Some(session), id, answer })
    }
}
