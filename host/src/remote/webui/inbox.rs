//! The inbox of a hermes-webui: the list says which sessions wait for an answer, the question at the
//! head of each is fetched, and that of the session in view is known from its streams.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::api::Api;
use super::super::http::Error;
use super::super::translate::{self, AnswerResult, Mirror, approval_ask, clarify_ask};
use super::replies::Reply;
use super::{Webui, failed};
use crate::clock::now;
use crate::wire::decode;
use protocol::Subject;
use protocol::{
    Answer, Ask, Asked, Attention, CallId, Command, Event, Millis, Question, QuestionId, SessionId,
    Toast, TurnId,
};

/// Most sessions whose heads are fetched.
const MOST: usize = 16;
/// How long a head counts as known while the list says the same of its session: another question
/// may have taken its place.
const FRESH: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// The sessions that wait, except the one in view.
    waiting: Vec<WaitingSession>,
    /// What the view was sent last; `None` = nothing yet.
    sent: Option<Vec<Asked>>,
}

/// What the list says of a waiting session: kind and number of questions, rows, time of the last
/// activity. When any of it changes, the head is fetched.
type ListState = (Attention, u32, u64, Millis);

#[derive(Debug)]
struct WaitingSession {
    session: SessionId,
    name: String,
    count: u32,
    state: Option<ListState>,
    head: Option<Head>,
    /// When the head was asked for.
    fetched: Option<Instant>,
    is_fetching: bool,
    /// It is to be fetched once more after that.
    again: bool,
    /// An answer is on its way.
    is_answering: bool,
}

/// The question at the head of a session's queue, and how it is answered.
#[derive(Clone, Debug)]
pub(super) struct Head {
    question: Question,
    key: AnswerKey,
}

/// What the server wants back with an answer.
#[derive(Clone, Debug)]
enum AnswerKey {
    Approval(decode::Approval),
    /// The server's id of the question.
    Clarify(String),
}

/// What requests about background sessions brought.
pub(super) enum InboxReply {
    Head {
        session: SessionId,
        head: Result<Option<Box<Head>>, Error>,
    },
    Answered {
        session: SessionId,
        sent: Result<decode::Responded, Error>,
    },
    /// A session was renamed, pinned or archived.
    Changed {
        about: Subject,
        done: Result<Value, Error>,
    },
}

impl WaitingSession {
    fn new(session: SessionId) -> Self {
        Self {
            session,
            name: String::new(),
            count: 1,
            state: None,
            head: None,
            fetched: None,
            is_fetching: false,
            again: false,
            is_answering: false,
        }
    }

    /// Sets the head; if it is the same question as before, what is known of its clock stays.
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
        // Some backends send no id: the same command is the same question.
        let id = match approval.approval_id.as_str() {
            "" => format!("approval: {}", approval.command),
            id => id.to_owned(),
        };
        let question = question(id, approval_ask(&approval), now);
        Self { question, key: AnswerKey::Approval(approval) }
    }

    fn clarify(head: decode::Clarify, now: Millis) -> Self {
        let id = match head.clarify_id.as_str() {
            "" => format!("clarify-{}", head.requested_at),
            id => id.to_owned(),
        };
        let asked_at = if head.requested_at > 0 { head.requested_at } else { now };
        let key = AnswerKey::Clarify(head.clarify_id.clone());
        let deadline = Some(head.expires_at).filter(|at| *at > 0);
        let timeout = head.timeout_seconds;
        let asks = question(id, clarify_ask(head), asked_at);
        Self { question: Question { timeout, deadline, ..asks }, key }
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
    fn get_mut(&mut self, session: &SessionId) -> Option<&mut WaitingSession> {
        self.waiting.iter_mut().find(|waiting| waiting.session == *session)
    }

    /// Takes the list. Returns the sessions whose heads are to be fetched, and of which kind.
    fn update(
        &mut self,
        sessions: &[decode::Session],
        view: &SessionId,
        now: Instant,
    ) -> Vec<(SessionId, Attention)> {
        let mut known = std::mem::take(&mut self.waiting);
        let mut to_fetch = Vec::new();
        let rows = translate::list(sessions)
            .into_iter()
            .filter_map(|row| row.attention.map(|attention| (row, attention)))
            .filter(|(row, _)| row.id != *view);
        for (row, (kind, count)) in rows.take(MOST) {
            let at = known.iter().position(|waiting| waiting.session == row.id);
            let waiting = at.map(|at| known.swap_remove(at));
            let mut waiting = waiting.unwrap_or_else(|| WaitingSession::new(row.id));
            let state = Some((kind, count, row.rows, row.active_at));
            let is_fresh = waiting.fetched.is_some_and(|at| at + FRESH > now);
            if waiting.state != state || !is_fresh {
                to_fetch.push((waiting.session.clone(), kind));
            }
            (waiting.name, waiting.count, waiting.state) = (row.title, count, state);
            self.waiting.push(waiting);
        }
        to_fetch
    }

    /// Another session comes into view: the question of this one is known from its streams so far.
    pub(super) fn leave(&mut self, left: &Mirror) {
        let view = left.view();
        // What is known from before it came into view is old.
        self.waiting.retain(|known| known.session != view.session);
        let Some(question) = view.questions.first() else { return };
        let key = match &question.ask {
            Ask::Approval { .. } => {
                AnswerKey::Approval(left.approval_head().cloned().unwrap_or_default())
            }
            Ask::Clarify { .. } => AnswerKey::Clarify(question.id.0.clone()),
        };
        let mut waiting = WaitingSession::new(view.session.clone());
        waiting.name = view.title.clone().unwrap_or_default();
        waiting.head = Some(Head { question: question.clone(), key });
        self.waiting.push(waiting);
    }

    /// All open questions, the longest waiting first.
    fn questions(&self, mirror: &Mirror) -> Vec<Asked> {
        let view = mirror.view();
        let others = self.waiting.iter().filter(|waiting| waiting.session != view.session);
        let others = others.filter_map(|waiting| {
            Some(Asked {
                session: waiting.session.clone(),
                name: waiting.name.clone(),
                question: waiting.head.as_ref()?.question.clone(),
                behind: waiting.count.saturating_sub(1),
            })
        });
        let own = view.questions.first().map(|question| Asked {
            session: view.session.clone(),
            name: view.title.clone().unwrap_or_default(),
            question: question.clone(),
            behind: u32::try_from(view.questions.len() - 1).unwrap_or(u32::MAX),
        });
        let mut questions: Vec<Asked> = others.chain(own).collect();
        questions.sort_by(|a, b| a.order().cmp(&b.order()));
        questions
    }

    /// The event for a view whose queue was emptied.
    pub(super) fn current(&self) -> Option<Event> {
        self.sent.clone().map(|questions| Event::InboxChanged { questions })
    }
}

/// Fetches the head of a waiting session. The list says of which kind its oldest question is, which
/// may have been answered since: so the other kind is tried too.
async fn fetch_head(api: &Api, session: &str, kind: Attention) -> Result<Option<Head>, Error> {
    for kind in [kind, other_kind(kind)] {
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

fn other_kind(kind: Attention) -> Attention {
    match kind {
        Attention::Approval => Attention::Clarify,
        Attention::Clarify => Attention::Approval,
    }
}

impl Webui {
    /// Takes the list of sessions and fetches the heads that it announces.
    pub(super) fn inbox_listed(&mut self, sessions: &[decode::Session]) {
        let view = self.mirror.view().session.clone();
        for (session, kind) in self.inbox.update(sessions, &view, Instant::now()) {
            self.start_fetch(&session, kind);
        }
    }

    fn start_fetch(&mut self, session: &SessionId, kind: Attention) {
        let Some(waiting) = self.inbox.get_mut(session) else { return };
        if waiting.is_fetching {
            waiting.again = true;
            return;
        }
        (waiting.is_fetching, waiting.fetched) = (true, Some(Instant::now()));
        let (api, session) = (self.api.clone(), session.clone());
        self.spawn(async move {
            let head = fetch_head(&api, &session.0, kind).await.map(|head| head.map(Box::new));
            Reply::Inbox(InboxReply::Head { session, head })
        });
    }

    /// Fetches the head whatever the list said of the session.
    fn refetch(&mut self, session: &SessionId) {
        let state = self.inbox.get_mut(session).and_then(|waiting| waiting.state);
        self.start_fetch(session, state.map_or(Attention::Approval, |state| state.0));
    }

    /// Sends the view the open questions, if they have changed or it has a fresh window.
    pub(super) fn push_inbox(&mut self, after_window: bool) {
        if !self.mirror.is_attached() {
            return;
        }
        let questions = self.inbox.questions(&self.mirror);
        let sent = self.inbox.sent.as_deref();
        if sent.unwrap_or_default() != questions || (after_window && sent.is_some()) {
            self.inbox.sent = Some(questions.clone());
            self.push(Event::InboxChanged { questions });
        }
    }

    fn report_late(&mut self, session: &SessionId) {
        let waiting = self.inbox.get_mut(session);
        let name = waiting.map(|waiting| waiting.name.clone()).unwrap_or_default();
        self.push(Event::Toast(Toast::late(session.clone(), name)));
    }

    /// Answers a question of a background session.
    fn answer_in_background(&mut self, session: SessionId, id: &QuestionId, answer: Answer) {
        let waiting = self.inbox.get_mut(&session).filter(|waiting| !waiting.is_answering);
        let head = waiting.as_ref().and_then(|waiting| waiting.head.clone());
        let head = head.filter(|head| head.question.id == *id);
        let (Some(waiting), Some(head)) = (waiting, head) else {
            // Late or unknown: the open question is fetched again (C07).
            self.report_late(&session);
            self.refetch(&session);
            return self.fetch_sessions();
        };
        let api = self.api.clone();
        match (head.key, answer) {
            (AnswerKey::Approval(approval), Answer::Approval(choice)) => {
                waiting.is_answering = true;
                self.spawn(async move {
                    let sent = api.approve(&session.0, &approval, choice).await;
                    Reply::Inbox(InboxReply::Answered { session, sent })
                });
            }
            (AnswerKey::Clarify(name), Answer::Text(text)) => {
                waiting.is_answering = true;
                self.spawn(async move {
                    let sent = api.clarify_reply(&session.0, &name, &text).await;
                    Reply::Inbox(InboxReply::Answered { session, sent })
                });
            }
            // An answer of the wrong kind.
            (AnswerKey::Approval(_) | AnswerKey::Clarify(_), _) => {}
        }
    }

    /// Carries out a command that names a background session; returns any other one.
    pub(super) fn command_in_background(&mut self, command: Command) -> Option<Command> {
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
        let (about, what, fields) = match command {
            Command::Answer { id, answer, .. } => {
                self.answer_in_background(session, &id, answer);
                return None;
            }
            Command::SetTitle { title, .. } => {
                (Subject::Rename, "rename", json!({ "title": title }))
            }
            Command::Archive { archived, .. } => {
                (Subject::Archive, "archive", json!({ "archived": archived }))
            }
            Command::Pin { pinned, .. } => (Subject::Pin, "pin", json!({ "pinned": pinned })),
            other => return Some(other),
        };
        let api = self.api.clone();
        self.spawn(async move {
            let done = api.change(what, &session.0, fields).await;
            Reply::Inbox(InboxReply::Changed { about, done })
        });
        None
    }

    /// Takes the reply to a request about a background session.
    pub(super) fn inbox_reply(&mut self, reply: InboxReply) {
        match reply {
            InboxReply::Head { session, head } => self.head_fetched(&session, head),
            InboxReply::Answered { session, sent } => self.answered_in_background(&session, sent),
            InboxReply::Changed { done: Ok(_), .. } => {
                self.push(Event::SessionsChanged);
                self.fetch_sessions();
            }
            InboxReply::Changed { about, done: Err(error) } => self.push(failed(about, &error)),
        }
    }

    fn head_fetched(&mut self, session: &SessionId, head: Result<Option<Box<Head>>, Error>) {
        let Some(waiting) = self.inbox.get_mut(session) else { return };
        waiting.is_fetching = false;
        let again = std::mem::take(&mut waiting.again);
        match head {
            Ok(head) => waiting.set_head(head.map(|head| *head)),
            Err(error) => {
                tracing::debug!(%error, "the question of a session could not be fetched");
                // The next list fetches it again.
                waiting.fetched = None;
            }
        }
        if again {
            self.refetch(session);
        }
    }

    fn answered_in_background(
        &mut self,
        session: &SessionId,
        sent: Result<decode::Responded, Error>,
    ) {
        let result = translate::answer_result(&sent);
        if let (AnswerResult::Undelivered, Err(error)) = (result, &sent) {
            self.push(failed(Subject::Answer, error));
        }
        if result == AnswerResult::Late {
            self.report_late(session);
        }
        if let Some(waiting) = self.inbox.get_mut(session) {
            waiting.is_answering = false;
            if result != AnswerResult::Undelivered {
                waiting.head = None;
            }
        }
        self.refetch(session);
        self.fetch_sessions();
    }
}

#[cfg(test)]
mod tests;
