//! The inbox of a hermes-webui: the list says which sessions ask, their heads are asked for, and
//! the head of the session in view is known from its streams.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::api::Api;
use super::super::http::Error;
use super::super::translate::{self, Mirror, Verdict, approval_ask, clarify_ask};
use super::replies::Reply;
use super::{Webui, failed};
use crate::clock::now;
use crate::wire::decode;
use protocol::Subject;
use protocol::{
    Answer, Ask, Asked, Attention, CallId, Command, Event, Millis, Question, QuestionId, SessionId,
    Toast, TurnId,
};

/// Sessions whose heads are asked for.
const MOST: usize = 16;
/// A head that the list says nothing new of is asked for no more often: another question may have
/// taken its place.
const FRESH: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// The sessions that ask, but for the one in view.
    asking: Vec<Line>,
    /// What the front end was told last; `None` = nothing yet.
    told: Option<Vec<Asked>>,
}

/// What the list says of a session: when it says something else, the head is asked for.
type Mark = (Attention, u32, u64, Millis);

#[derive(Debug)]
struct Line {
    session: SessionId,
    name: String,
    count: u32,
    mark: Option<Mark>,
    head: Option<Head>,
    /// When the head was asked for.
    fetched: Option<Instant>,
    /// The head is being asked for.
    is_fetching: bool,
    /// It was to be asked for once more meanwhile.
    again: bool,
    /// An answer is on its way.
    is_answering: bool,
}

/// A question, and what the server wants back with the answer to it.
#[derive(Clone, Debug)]
pub(super) struct Head {
    question: Question,
    back: Back,
}

#[derive(Clone, Debug)]
enum Back {
    Approval(decode::Approval),
    /// The server's own name for it.
    Clarify(String),
}

/// What requests brought.
pub(super) enum Word {
    Head {
        session: SessionId,
        head: Result<Option<Box<Head>>, Error>,
    },
    Answered {
        session: SessionId,
        sent: Result<decode::Responded, Error>,
    },
    /// Another session was renamed, pinned, put away.
    Changed {
        about: Subject,
        done: Result<Value, Error>,
    },
}

impl Line {
    fn new(session: SessionId) -> Self {
        Self {
            session,
            name: String::new(),
            count: 1,
            mark: None,
            head: None,
            fetched: None,
            is_fetching: false,
            again: false,
            is_answering: false,
        }
    }

    /// Another head, or the same one again: what is known of its clock stays.
    fn set_head(&mut self, head: Option<Head>) {
        let Some(mut head) = head else {
            self.head = None;
            return;
        };
        if let Some(known) = self.head.as_ref().filter(|k| k.question.id == head.question.id) {
            head.question.asked_at = known.question.asked_at;
            head.question.deadline = head.question.deadline.or(known.question.deadline);
        }
        self.head = Some(head);
    }
}

impl Head {
    fn approval(approval: decode::Approval, now: Millis) -> Self {
        // Some backends name none: the same command is the same question.
        let id = match approval.approval_id.as_str() {
            "" => format!("approval: {}", approval.command),
            id => id.to_owned(),
        };
        let question = question(id, approval_ask(&approval), now);
        Self { question, back: Back::Approval(approval) }
    }

    fn clarify(head: decode::Clarify, now: Millis) -> Self {
        let id = match head.clarify_id.as_str() {
            "" => format!("clarify-{}", head.requested_at),
            id => id.to_owned(),
        };
        let asked = if head.requested_at > 0 { head.requested_at } else { now };
        let back = Back::Clarify(head.clarify_id.clone());
        let deadline = Some(head.expires_at).filter(|at| *at > 0);
        let timeout = head.timeout_seconds;
        let asks = question(id, clarify_ask(head), asked);
        Self { question: Question { timeout, deadline, ..asks }, back }
    }
}

fn question(id: String, ask: Ask, asked_at: Millis) -> Question {
    Question {
        id: QuestionId(id),
        turn: TurnId(0),
        call: CallId(String::new()),
        ask,
        asked_at,
        timeout: 0,
        deadline: None,
        answer: None,
    }
}

impl Inbox {
    fn line(&mut self, session: &SessionId) -> Option<&mut Line> {
        self.asking.iter_mut().find(|line| line.session == *session)
    }

    /// The list is there. Returns the sessions whose heads are to be asked for, and for what.
    fn listed(
        &mut self,
        sessions: &[decode::Session],
        view: &SessionId,
        now: Instant,
    ) -> Vec<(SessionId, Attention)> {
        let mut known = std::mem::take(&mut self.asking);
        let mut wanted = Vec::new();
        let asking = translate::list(sessions)
            .into_iter()
            .filter_map(|row| row.attention.map(|attention| (row, attention)))
            .filter(|(row, _)| row.id != *view);
        for (row, (kind, count)) in asking.take(MOST) {
            let at = known.iter().position(|line| line.session == row.id);
            let line = at.map(|at| known.swap_remove(at));
            let mut line = line.unwrap_or_else(|| Line::new(row.id));
            let mark = Some((kind, count, row.rows, row.active_at));
            let is_fresh = line.fetched.is_some_and(|at| at + FRESH > now);
            if line.mark != mark || !is_fresh {
                wanted.push((line.session.clone(), kind));
            }
            (line.name, line.count, line.mark) = (row.title, count, mark);
            self.asking.push(line);
        }
        wanted
    }

    /// Another session comes into view: what this one asks is known from its streams so far.
    pub(super) fn leave(&mut self, left: &Mirror) {
        let view = left.view();
        // What is known of it from before it came into view is old.
        self.asking.retain(|known| known.session != view.session);
        let Some(question) = view.questions.first() else { return };
        let back = match &question.ask {
            Ask::Approval { .. } => {
                Back::Approval(left.approval_head().cloned().unwrap_or_default())
            }
            Ask::Clarify { .. } => Back::Clarify(question.id.0.clone()),
        };
        let mut line = Line::new(view.session.clone());
        line.name = view.title.clone().unwrap_or_default();
        line.head = Some(Head { question: question.clone(), back });
        self.asking.push(line);
    }

    /// All that is asked, the longest waiting first.
    fn asked(&self, mirror: &Mirror) -> Vec<Asked> {
        let view = mirror.view();
        let others = self.asking.iter().filter(|line| line.session != view.session);
        let others = others.filter_map(|line| {
            Some(Asked {
                session: line.session.clone(),
                name: line.name.clone(),
                question: line.head.as_ref()?.question.clone(),
                behind: line.count.saturating_sub(1),
            })
        });
        let own = view.questions.first().map(|question| Asked {
            session: view.session.clone(),
            name: view.title.clone().unwrap_or_default(),
            question: question.clone(),
            behind: u32::try_from(view.questions.len() - 1).unwrap_or(u32::MAX),
        });
        let mut asked: Vec<Asked> = others.chain(own).collect();
        asked.sort_by(|a, b| a.order().cmp(&b.order()));
        asked
    }

    /// What a front end is told whose queue was emptied.
    pub(super) fn again(&self) -> Option<Event> {
        self.told.clone().map(|questions| Event::InboxChanged { questions })
    }
}

/// The head of a session that asks. The list knows what its oldest question is, which may have
/// been answered since.
async fn head(api: &Api, session: &str, kind: Attention) -> Result<Option<Head>, Error> {
    for kind in [kind, other(kind)] {
        let head = match kind {
            Attention::Approval => {
                api.approval(session).await?.map(|approval| Head::approval(approval, now()))
            }
            Attention::Clarify => {
                let head = api.clarify(session).await?;
                let head = head.filter(|h| !h.clarify_id.is_empty() || !h.question.is_empty());
                head.map(|head| Head::clarify(head, now()))
            }
        };
        if head.is_some() {
            return Ok(head);
        }
    }
    Ok(None)
}

fn other(kind: Attention) -> Attention {
    match kind {
        Attention::Approval => Attention::Clarify,
        Attention::Clarify => Attention::Approval,
    }
}

impl Webui {
    /// The list of sessions is there: the heads that it speaks of anew are asked for.
    pub(super) fn inbox_listed(&mut self, sessions: &[decode::Session]) {
        let view = self.mirror.view().session.clone();
        for (session, kind) in self.inbox.listed(sessions, &view, Instant::now()) {
            self.ask_head(&session, kind);
        }
    }

    fn ask_head(&mut self, session: &SessionId, kind: Attention) {
        let Some(line) = self.inbox.line(session) else { return };
        if line.is_fetching {
            line.again = true;
            return;
        }
        (line.is_fetching, line.fetched) = (true, Some(Instant::now()));
        let (api, session) = (self.api.clone(), session.clone());
        self.spawn(async move {
            let head = head(&api, &session.0, kind).await.map(|head| head.map(Box::new));
            Reply::Inbox(Word::Head { session, head })
        });
    }

    /// What the session asks now is asked for, whatever the list said of it.
    fn ask_head_again(&mut self, session: &SessionId) {
        let kind = self.inbox.line(session).and_then(|line| line.mark).map(|mark| mark.0);
        self.ask_head(session, kind.unwrap_or(Attention::Approval));
    }

    /// Tells the front end what is asked, if that has changed or it has a fresh window.
    pub(super) fn tell_inbox(&mut self, after_window: bool) {
        if !self.mirror.is_attached() {
            return;
        }
        let asked = self.inbox.asked(&self.mirror);
        let told = self.inbox.told.as_deref();
        if told.unwrap_or_default() != asked || (after_window && told.is_some()) {
            self.inbox.told = Some(asked.clone());
            self.push(Event::InboxChanged { questions: asked });
        }
    }

    fn tell_late(&mut self, session: &SessionId) {
        let name = self.inbox.line(session).map(|line| line.name.clone()).unwrap_or_default();
        self.push(Event::Toast(Toast::late(session.clone(), name)));
    }

    /// Answers a question of a session that is not in view.
    fn answer_elsewhere(&mut self, session: SessionId, id: &QuestionId, answer: Answer) {
        let line = self.inbox.line(&session).filter(|line| !line.is_answering);
        let head = line.as_ref().and_then(|line| line.head.clone());
        let (Some(line), Some(head)) = (line, head.filter(|head| head.question.id == *id)) else {
            // Late or unknown: what stands now is told again (C07).
            self.tell_late(&session);
            self.ask_head_again(&session);
            return self.ask_others();
        };
        let api = self.api.clone();
        match (head.back, answer) {
            (Back::Approval(approval), Answer::Approval(choice)) => {
                line.is_answering = true;
                self.spawn(async move {
                    let sent = api.approve(&session.0, &approval, choice).await;
                    Reply::Inbox(Word::Answered { session, sent })
                });
            }
            (Back::Clarify(name), Answer::Text(text)) => {
                line.is_answering = true;
                self.spawn(async move {
                    let sent = api.tell(&session.0, &name, &text).await;
                    Reply::Inbox(Word::Answered { session, sent })
                });
            }
            // It is no answer to that.
            (Back::Approval(_) | Back::Clarify(_), _) => {}
        }
    }

    /// Carries out what names another session than the one in view; the rest is given back.
    pub(super) fn named(&mut self, command: Command) -> Option<Command> {
        let session = match &command {
            Command::Answer { session, .. }
            | Command::SetTitle { session, .. }
            | Command::Archive { session, .. }
            | Command::Pin { session, .. } => session.clone(),
            _ => None,
        };
        let Some(session) = session.filter(|session| session.0 != self.id()) else {
            return Some(command);
        };
        match command {
            Command::Answer { id, answer, .. } => self.answer_elsewhere(session, &id, answer),
            Command::SetTitle { title, .. } => {
                self.change_elsewhere(
                    Subject::Rename,
                    session,
                    "rename",
                    json!({ "title": title }),
                );
            }
            Command::Archive { archived, .. } => {
                self.change_elsewhere(
                    Subject::Archive,
                    session,
                    "archive",
                    json!({ "archived": archived }),
                );
            }
            Command::Pin { pinned, .. } => {
                self.change_elsewhere(Subject::Pin, session, "pin", json!({ "pinned": pinned }));
            }
            other => return Some(other),
        }
        None
    }

    /// Changes a session that is not in view.
    fn change_elsewhere(
        &mut self,
        about: Subject,
        session: SessionId,
        what: &'static str,
        fields: Value,
    ) {
        let api = self.api.clone();
        self.spawn(async move {
            let done = api.change(what, &session.0, fields).await;
            Reply::Inbox(Word::Changed { about, done })
        });
    }

    /// Takes what a request brought.
    pub(super) fn inbox_word(&mut self, word: Word) {
        match word {
            Word::Head { session, head } => {
                let Some(line) = self.inbox.line(&session) else { return };
                line.is_fetching = false;
                let again = std::mem::take(&mut line.again);
                match head {
                    Ok(head) => line.set_head(head.map(|head| *head)),
                    Err(error) => {
                        tracing::debug!(%error, "no word of what a session asks");
                        // The next look at the list asks again.
                        line.fetched = None;
                    }
                }
                if again {
                    self.ask_head_again(&session);
                }
            }
            Word::Answered { session, sent } => {
                let verdict = translate::verdict(&sent);
                if let (Verdict::Undelivered, Err(error)) = (verdict, &sent) {
                    self.push(failed(Subject::Answer, error));
                }
                if verdict == Verdict::Late {
                    self.tell_late(&session);
                }
                if let Some(line) = self.inbox.line(&session) {
                    line.is_answering = false;
                    if verdict != Verdict::Undelivered {
                        line.head = None;
                    }
                }
                self.ask_head_again(&session);
                self.ask_others();
            }
            Word::Changed { about, done } => match done {
                Ok(_) => {
                    self.push(Event::SessionsChanged);
                    self.ask_others();
                }
                Err(error) => self.push(failed(about, &error)),
            },
        }
    }
}

#[cfg(test)]
mod tests;
