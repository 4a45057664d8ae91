//! What the inbox contains, and which views get it.

use std::time::Duration;

use super::*;
use crate::embedded::{self, Attendance, EmbeddedHost, Role};
use crate::serve::tests::{eventually, settings_in};
use crate::session::{Ack, Input, TurnEvent};
use crate::store::{Lock, Reader, Report};
use protocol::{
    Answer, Ask, CallId, Choice, Command, Millis, News, PromptId, QuestionId, Subject, Target,
    Toast, Transcript, TurnId, View,
};

fn question(id: &str, at: Millis) -> Question {
    let ask = Ask::Clarify { question: id.to_owned(), choices: Vec::new() };
    Question {
        id: QuestionId(id.to_owned()),
        turn: TurnId(1),
        call: CallId(id.to_owned()),
        ask,
        asked_at: at,
        timeout: 1_000,
        deadline: None,
        answer: None,
    }
}

fn of(sessions: &[(&str, &[Question])]) -> Vec<(String, String, String, u32)> {
    let ids: Vec<SessionId> = sessions.iter().map(|(id, _)| SessionId((*id).to_owned())).collect();
    let named = ids.iter().zip(sessions);
    let inbox = inbox(named.map(|(id, (_, questions))| (id, format!("name of {id}"), *questions)));
    let lines = inbox
        .into_iter()
        .map(|asked| (asked.session.0, asked.name, asked.question.id.0, asked.behind));
    lines.collect()
}

fn line(session: &str, question: &str, behind: u32) -> (String, String, String, u32) {
    (session.to_owned(), format!("name of {session}"), question.to_owned(), behind)
}

// C02
#[test]
fn the_inbox_has_the_head_of_each_session_oldest_first() {
    let b = [question("b1", 20), question("b2", 25), question("b3", 26)];
    let inbox = of(&[("a", &[question("a1", 30), question("a2", 31)]), ("b", &b), ("c", &[])]);
    assert_eq!(inbox, [line("b", "b1", 2), line("a", "a1", 1)]);
    // Of two that wait equally long always the same one is first.
    let inbox = of(&[("d", &[question("d1", 5)]), ("c", &[question("c1", 5)])]);
    assert_eq!(inbox, [line("c", "c1", 0), line("d", "d1", 0)]);
}

// C03
#[test]
fn an_answered_question_is_not_in_the_inbox() {
    let answered =
        |id: &str| Question { answer: Some(Answer::Approval(Choice::Once)), ..question(id, 1) };
    assert_eq!(of(&[("a", &[answered("a1")])]), []);
    let inbox = of(&[("a", &[answered("a1"), question("a2", 7), answered("a3")])]);
    assert_eq!(inbox, [line("a", "a2", 0)]);
}

// C03 C08
#[test]
fn published_questions_follow_the_events_of_the_session() {
    let mut published = Vec::new();
    let (one, two) = (question("1", 1), question("2", 2));
    apply(&mut published, &Event::QuestionAsked { question: one.clone() });
    apply(&mut published, &Event::QuestionAsked { question: two.clone() });
    let one = Question { deadline: Some(9), ..one };
    apply(&mut published, &Event::QuestionAsked { question: one.clone() });
    assert_eq!(published, [one.clone(), two.clone()], "its clock runs; it stays the head");
    let (answer, by) = (Answer::Withdrawn, None);
    apply(&mut published, &Event::QuestionResolved { id: one.id, answer, by });
    assert_eq!(published, [two]);
}

/// A client of a host.
struct Client {
    view: View,
    transcript: Transcript,
    events: Vec<Event>,
}

impl Client {
    fn attach(host: &EmbeddedHost, target: Target) -> Self {
        let view = host.attach(target, Attendance::Attended);
        Self { view, transcript: Transcript::default(), events: Vec::new() }
    }

    fn prompt(&self, text: &str) {
        self.view.send(Command::Prompt { id: PromptId::fresh(), text: text.to_owned() });
    }

    fn inboxes(&self) -> Vec<&[Asked]> {
        let inboxes = self.events.iter().filter_map(|event| match event {
            Event::InboxChanged { questions } => Some(questions.as_slice()),
            _ => None,
        });
        inboxes.collect()
    }

    fn inbox(&self) -> &[Asked] {
        self.inboxes().pop().unwrap_or_default()
    }

    /// Receives events until that holds.
    async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let wait = async {
            while !holds(self) {
                let event = self.view.next().await.expect("the host lives");
                self.transcript.apply(&event);
                self.events.push(event);
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(30), wait).await;
        assert!(done.is_ok(), "waited in vain for {what}: {:#?}", self.events.last());
    }

    async fn attached(host: &EmbeddedHost, target: Target) -> Self {
        let mut client = Self::attach(host, target);
        client.until("a window", |c| !c.events.is_empty()).await;
        client
    }

    /// The first answer to a question that this view has seen.
    fn resolved(&self) -> Option<(QuestionId, Answer, Option<String>)> {
        self.events.iter().find_map(|event| match event {
            Event::QuestionResolved { id, answer, by } => {
                Some((id.clone(), answer.clone(), by.clone()))
            }
            _ => None,
        })
    }

    /// How often this view was notified of an answer that came too late.
    fn late_answers(&self) -> usize {
        let is_late = |e: &&Event| matches!(e, Event::Toast(Toast { news: News::Late, .. }));
        self.events.iter().filter(is_late).count()
    }

    fn failures(&self) -> Vec<(&Subject, &str)> {
        let failures = self.events.iter().filter_map(|event| match event {
            Event::Failed(failure) => Some((&failure.about, failure.message.as_str())),
            _ => None,
        });
        failures.collect()
    }
}

fn start(dir: &std::path::Path) -> EmbeddedHost {
    embedded::start(settings_in(dir), Role::Owner).unwrap()
}

/// A host with two sessions that each ask a question, and the inbox a view of a third one has then.
struct TwoQuestions {
    host: EmbeddedHost,
    here: Client,
    one: Client,
    first: Asked,
    second: Asked,
    _dir: tempfile::TempDir,
    _two: Client,
}

async fn two_questions() -> TwoQuestions {
    let dir = tempfile::tempdir().unwrap();
    let host = start(dir.path());
    let mut here = Client::attached(&host, Target::New).await;
    let one = Client::attached(&host, Target::New).await;
    let two = Client::attached(&host, Target::New).await;
    assert_eq!([here.inboxes(), one.inboxes(), two.inboxes()], [[] as [&[Asked]; 0]; 3]);
    one.prompt("approval");
    here.until("the first", |c| c.inbox().len() == 1).await;
    two.prompt("clarify");
    here.until("both", |c| c.inbox().len() == 2).await;
    let (first, second) = (here.inbox()[0].clone(), here.inbox()[1].clone());
    assert_eq!(
        (&first.session, &second.session),
        (&one.transcript.session, &two.transcript.session)
    );
    assert_eq!((first.name.as_str(), second.name.as_str()), ("approval", "clarify"));
    TwoQuestions { host, here, one, first, second, _dir: dir, _two: two }
}

// C02 C16
#[tokio::test]
async fn a_new_view_and_one_that_switches_get_the_inbox() {
    let TwoQuestions { host, first, second, here: _here, one: _one, _dir, _two } =
        two_questions().await;
    let mut late = Client::attach(&host, Target::New);
    late.until("the inbox", |c| c.events.len() == 2).await;
    assert!(is_window(&late.events[0]));
    assert_eq!(late.inbox(), [first.clone(), second]);
    late.view.send(Command::Open(Target::Id(first.session.clone())));
    late.until("a window", |c| c.transcript.session == first.session).await;
    let before = late.events.len();
    late.until("the inbox", |c| c.events.len() > before).await;
    let event = &late.events[before];
    assert!(matches!(event, Event::InboxChanged { .. }), "{event:?}");
    host.stop().await;
}

// C04 C07
#[tokio::test]
async fn any_view_may_answer_the_questions_of_all_sessions() {
    let TwoQuestions { host, mut here, mut one, first, second, _dir, _two } = two_questions().await;
    // A view shows a question of another session, which starts its clock, and answers it.
    let (session, id) = (Some(first.session.clone()), first.question.id.clone());
    here.view.send(Command::Shown { session: session.clone(), id: id.clone() });
    here.until("its clock", |c| c.inbox()[0].question.deadline.is_some()).await;
    let answer = Answer::Approval(Choice::Deny);
    here.view.send(Command::Answer { session: session.clone(), id: id.clone(), answer });
    here.until("one less", |c| c.inbox().len() == 1).await;
    one.until("the answer", |c| c.resolved().is_some()).await;
    let by = Some("terminal".to_owned());
    assert_eq!(one.resolved(), Some((id.clone(), Answer::Approval(Choice::Deny), by)));
    // A late answer has no effect, and its view is notified.
    assert_eq!(here.late_answers(), 0);
    let answer = Answer::Approval(Choice::Once);
    here.view.send(Command::Answer { session, id, answer });
    here.until("the notice that it was late", |c| c.late_answers() == 1).await;
    // The id of a question counts in its own session alone.
    let other = Some(one.transcript.session.clone());
    let (id, answer) = (second.question.id.clone(), Answer::Text("no".to_owned()));
    here.view.send(Command::Answer { session: other, id: id.clone(), answer });
    let (session, title) = (Some(second.session.clone()), "Colours".to_owned());
    here.view.send(Command::SetTitle { session: session.clone(), title });
    here.until("its new name", |c| c.inbox().first().is_some_and(|a| a.name == "Colours")).await;
    assert_eq!(here.inbox().len(), 1, "it still waits");
    here.view.send(Command::Answer { session, id, answer: Answer::Text("blue".to_owned()) });
    here.until("none", |c| c.inbox().is_empty()).await;
    assert_eq!(here.failures(), []);
    let inboxes = here.inboxes();
    assert!(inboxes.windows(2).all(|two| two[0] != two[1]), "sent twice: {inboxes:#?}");

    // The inbox is empty: only a view that has had another one gets it.
    let next = Client::attached(&host, Target::New).await;
    here.view.send(Command::Open(Target::New));
    let before = here.events.len();
    here.until("a window", |c| c.events[before..].iter().any(is_window)).await;
    let at = here.events.iter().rposition(is_window).unwrap();
    here.until("an empty inbox", |c| c.events.len() > at + 1).await;
    assert_eq!(here.events[at + 1], Event::InboxChanged { questions: Vec::new() });
    assert_eq!(next.inboxes(), [] as [&[Asked]; 0]);
    host.stop().await;
}

fn is_window(event: &Event) -> bool {
    matches!(event, Event::Attached { .. })
}

// W19
#[tokio::test]
async fn a_question_of_a_deleted_session_leaves_the_inbox() {
    let dir = tempfile::tempdir().unwrap();
    let host = start(dir.path());
    let mut here = Client::attached(&host, Target::New).await;
    let asks = Client::attached(&host, Target::New).await;
    asks.prompt("clarify");
    here.until("it", |c| c.inbox().len() == 1).await;
    let asked = here.inbox()[0].clone();
    here.view.send(Command::Delete { session: asked.session.clone() });
    here.until("none", |c| c.inbox().is_empty()).await;
    let (session, answer) = (Some(asked.session.clone()), Answer::Text("blue".to_owned()));
    here.view.send(Command::Answer { session, id: asked.question.id, answer });
    here.until("a refusal", |c| !c.failures().is_empty()).await;
    let message = format!("session {} was deleted", asked.session);
    assert_eq!(here.failures(), [(&Subject::Answer, message.as_str())]);
    host.stop().await;
}

// S04
#[tokio::test]
async fn a_session_out_of_memory_is_changed_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let host = start(dir.path());
    let mut there = Client::attached(&host, Target::New).await;
    there.prompt("hello");
    there.until("its end", |c| c.events.iter().any(|e| matches!(e, Event::TurnEnded { .. }))).await;
    let id = there.transcript.session.clone();
    drop(there);
    let lease = dir.path().join("state/leases").join(&id.0);
    let is_loaded = || Lock::take(&lease).is_err();
    eventually("it is unloaded", || !is_loaded()).await;
    let mut here = Client::attached(&host, Target::New).await;
    let session = Some(id.clone());
    here.view.send(Command::SetTitle { session: session.clone(), title: "T".to_owned() });
    here.view.send(Command::Pin { session: session.clone(), pinned: true });
    here.view.send(Command::Archive { session: session.clone(), archived: true });
    // It has no question: nothing happens.
    let question = QuestionId("q1".to_owned());
    let answer = Answer::Text("x".to_owned());
    here.view.send(Command::Answer { session: session.clone(), id: question.clone(), answer });
    here.view.send(Command::Shown { session, id: question.clone() });
    let row = || {
        let reader = Reader::open(&dir.path().join("state")).unwrap();
        reader.sessions(10).unwrap().into_iter().find(|row| row.id == id).unwrap()
    };
    eventually("the changes", || row().archived).await;
    assert_eq!((row().title.as_str(), row().pinned), ("T", true));
    eventually("it is unloaded again", || !is_loaded()).await;
    assert_eq!(here.transcript.title, None, "it is not the one the view is attached to");
    assert_eq!(here.failures(), []);

    let unknown = Some(SessionId("20200101_000000_000000".to_owned()));
    let title = "T".to_owned();
    let answer = Answer::Text("x".to_owned());
    here.view.send(Command::SetTitle { session: unknown.clone(), title });
    here.view.send(Command::Pin { session: unknown.clone(), pinned: true });
    here.view.send(Command::Archive { session: unknown.clone(), archived: true });
    here.view.send(Command::Shown { session: unknown.clone(), id: question.clone() });
    here.view.send(Command::Answer { session: unknown, id: question, answer });
    here.until("refusals", |c| c.failures().len() == 5).await;
    let why = "there is no session 20200101_000000_000000";
    let about =
        [&Subject::Rename, &Subject::Pin, &Subject::Archive, &Subject::Answer, &Subject::Answer];
    assert_eq!(here.failures(), about.map(|about| (about, why)));
    host.stop().await;
}

// Invariant 4: nothing but streamed text leaves the host before the commit it rests on.
#[tokio::test]
async fn a_question_is_not_in_the_inbox_before_it_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings_in(dir.path());
    let (mut host, mut receivers) = HostLoop::open(settings, Role::Owner).unwrap();
    let id = host.open_new();
    host.shutdown.set_stopping(); // The turn is played by hand.
    let (prompt, text, attendance) = (PromptId::fresh(), "go".to_owned(), Attendance::Attended);
    host.feed(&id, Input::Prompt { id: prompt, text, attendance });
    let ask = Ask::Clarify { question: "Which?".to_owned(), choices: Vec::new() };
    let event = TurnEvent::Ask { call: CallId("c".to_owned()), ask, timeout: 1_000 };
    host.feed(&id, Input::TurnEvent { turn: TurnId(1), ack: Ack(1), event });
    let pending = host.sessions.get(&id).unwrap().transcript().questions.len();
    assert_eq!((pending, host.inbox().len()), (1, 0));
    while host.inbox().is_empty() {
        let report = tokio::time::timeout(Duration::from_secs(30), receivers.reports.recv()).await;
        let Ok(Some(Report::Committed(no))) = report else { panic!("{report:?}") };
        host.release(no);
    }
    assert_eq!(host.inbox()[0].session, id);
}
