//! What the inbox holds, and who is told of it.

use std::time::Duration;

use super::*;
use crate::embedded::{self, Attendance, EmbeddedHost, Role};
use crate::serve::tests::{eventually, settings_in};
use crate::session::{Ack, Input, TurnEvent};
use crate::store::{Lock, Reader, Report};
use protocol::View;
use protocol::{
    Answer, Ask, CallId, Choice, Command, Millis, News, PromptId, QuestionId, Subject, Target,
    Toast, Transcript, TurnId,
};

fn asked(id: &str, at: Millis) -> Question {
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
fn the_inbox_holds_the_head_of_each_session_the_longest_waiting_first() {
    let b = [asked("b1", 20), asked("b2", 25), asked("b3", 26)];
    let inbox = of(&[("a", &[asked("a1", 30), asked("a2", 31)]), ("b", &b), ("c", &[])]);
    assert_eq!(inbox, [line("b", "b1", 2), line("a", "a1", 1)]);
    // Of two that wait equally long always the same one is first.
    let inbox = of(&[("d", &[asked("d1", 5)]), ("c", &[asked("c1", 5)])]);
    assert_eq!(inbox, [line("c", "c1", 0), line("d", "d1", 0)]);
}

// C03
#[test]
fn a_question_whose_answer_waits_for_its_result_is_not_in_the_inbox() {
    let answered =
        |id: &str| Question { answer: Some(Answer::Approval(Choice::Once)), ..asked(id, 1) };
    assert_eq!(of(&[("a", &[answered("a1")])]), []);
    let inbox = of(&[("a", &[answered("a1"), asked("a2", 7), answered("a3")])]);
    assert_eq!(inbox, [line("a", "a2", 0)]);
}

// C03 C08
#[test]
fn what_a_session_tells_of_its_questions_is_what_the_inbox_knows_of_them() {
    let mut told = Vec::new();
    let (one, two) = (asked("1", 1), asked("2", 2));
    note(&mut told, &Event::QuestionAsked { question: one.clone() });
    note(&mut told, &Event::QuestionAsked { question: two.clone() });
    let one = Question { deadline: Some(9), ..one };
    note(&mut told, &Event::QuestionAsked { question: one.clone() });
    assert_eq!(told, [one.clone(), two.clone()], "its clock runs; it stays the head");
    let (answer, by) = (Answer::Withdrawn, None);
    note(&mut told, &Event::QuestionResolved { id: one.id, answer, by });
    assert_eq!(told, [two]);
}

/// A front end of a host.
struct Front {
    host: View,
    view: Transcript,
    told: Vec<Event>,
}

impl Front {
    fn on(local: &EmbeddedHost, target: Target) -> Self {
        let host = local.attach(target, Attendance::Attended);
        Self { host, view: Transcript::default(), told: Vec::new() }
    }

    fn prompt(&self, text: &str) {
        self.host.send(Command::Prompt { id: PromptId::fresh(), text: text.to_owned() });
    }

    fn inboxes(&self) -> Vec<&[Asked]> {
        let inboxes = self.told.iter().filter_map(|event| match event {
            Event::InboxChanged { questions } => Some(questions.as_slice()),
            _ => None,
        });
        inboxes.collect()
    }

    fn inbox(&self) -> &[Asked] {
        self.inboxes().pop().unwrap_or_default()
    }

    /// Takes events until that holds.
    async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let wait = async {
            while !holds(self) {
                let event = self.host.next().await.expect("the host lives");
                self.view.apply(&event);
                self.told.push(event);
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(30), wait).await;
        assert!(done.is_ok(), "waited in vain for {what}: {:#?}", self.told.last());
    }

    async fn attached(local: &EmbeddedHost, target: Target) -> Self {
        let mut front = Self::on(local, target);
        front.until("a window", |f| !f.told.is_empty()).await;
        front
    }

    fn failures(&self) -> Vec<(&Subject, &str)> {
        let failures = self.told.iter().filter_map(|event| match event {
            Event::Failed(failure) => Some((&failure.about, failure.message.as_str())),
            _ => None,
        });
        failures.collect()
    }
}

fn host(dir: &std::path::Path) -> EmbeddedHost {
    embedded::start(settings_in(dir), Role::Owner).unwrap()
}

// C02 C04 C07 C16
#[tokio::test]
async fn every_view_knows_what_all_sessions_ask_and_any_of_them_may_answer() {
    let dir = tempfile::tempdir().unwrap();
    let local = host(dir.path());
    let mut here = Front::attached(&local, Target::New).await;
    let mut one = Front::attached(&local, Target::New).await;
    let two = Front::attached(&local, Target::New).await;
    assert_eq!([here.inboxes(), one.inboxes(), two.inboxes()], [[] as [&[Asked]; 0]; 3]);
    one.prompt("approval");
    here.until("the first", |f| f.inbox().len() == 1).await;
    two.prompt("clarify");
    here.until("both", |f| f.inbox().len() == 2).await;
    let (first, second) = (here.inbox()[0].clone(), here.inbox()[1].clone());
    assert_eq!((&first.session, &second.session), (&one.view.session, &two.view.session));
    assert_eq!((first.name.as_str(), second.name.as_str()), ("approval", "clarify"));

    // Who comes now hears of both behind its window; who switches, hears it again.
    let mut late = Front::on(&local, Target::New);
    late.until("what is asked", |f| f.told.len() == 2).await;
    assert!(matches!(late.told[0], Event::Attached { .. }));
    assert_eq!(late.inbox(), [first.clone(), second.clone()]);
    late.host.send(Command::Open(Target::Id(one.view.session.clone())));
    late.until("a window", |f| f.view.session == first.session).await;
    let before = late.told.len();
    late.until("what is asked", |f| f.told.len() > before).await;
    assert!(matches!(late.told[before], Event::InboxChanged { .. }), "{:?}", late.told[before]);

    // The clock of a question that another view shows; its answer, and who gave it.
    let (session, id) = (Some(first.session.clone()), first.question.id.clone());
    here.host.send(Command::Shown { session: session.clone(), id: id.clone() });
    here.until("its clock", |f| f.inbox()[0].question.deadline.is_some()).await;
    let answer = Answer::Approval(Choice::Deny);
    here.host.send(Command::Answer { session: session.clone(), id: id.clone(), answer });
    here.until("one less", |f| f.inbox().len() == 1).await;
    let resolved = |f: &Front| {
        let mut found = f.told.iter().filter_map(|event| match event {
            Event::QuestionResolved { id, answer, by } => Some((id, answer, by.as_deref())),
            _ => None,
        });
        found.next().map(|(id, answer, by)| (id.clone(), answer.clone(), by.map(str::to_owned)))
    };
    one.until("the answer", |f| resolved(f).is_some()).await;
    let by = Some("terminal".to_owned());
    assert_eq!(resolved(&one), Some((id.clone(), Answer::Approval(Choice::Deny), by)));
    // Late: nothing happens, and who answered is told so.
    let late = |f: &Front| {
        let late = |e: &&Event| matches!(e, Event::Toast(Toast { news: News::Late, .. }));
        f.told.iter().filter(late).count()
    };
    assert_eq!(late(&here), 0);
    let answer = Answer::Approval(Choice::Once);
    here.host.send(Command::Answer { session, id, answer });
    here.until("the word that it was late", |f| late(f) == 1).await;
    // The id of a question counts in its own session alone.
    let elsewhere = Some(one.view.session.clone());
    let (id, answer) = (second.question.id.clone(), Answer::Text("no".to_owned()));
    here.host.send(Command::Answer { session: elsewhere, id: id.clone(), answer });
    here.host.send(Command::SetTitle {
        session: Some(second.session.clone()),
        title: "Colours".to_owned(),
    });
    here.until("its new name", |f| f.inbox().first().is_some_and(|a| a.name == "Colours")).await;
    assert_eq!(here.inbox().len(), 1, "it still waits");
    let (session, answer) = (Some(second.session), Answer::Text("blue".to_owned()));
    here.host.send(Command::Answer { session, id, answer });
    here.until("none", |f| f.inbox().is_empty()).await;
    assert_eq!(here.failures(), []);
    let pairs = here.inboxes();
    assert!(pairs.windows(2).all(|two| two[0] != two[1]), "told twice: {pairs:#?}");

    // None are asked: a view that never heard of any is not told, one that did is.
    let next = Front::attached(&local, Target::New).await;
    here.host.send(Command::Open(Target::New));
    let before = here.told.len();
    here.until("a window", |f| f.told[before..].iter().any(is_window)).await;
    let at = here.told.iter().rposition(is_window).unwrap();
    here.until("an empty inbox", |f| f.told.len() > at + 1).await;
    assert_eq!(here.told[at + 1], Event::InboxChanged { questions: Vec::new() });
    assert_eq!(next.inboxes(), [] as [&[Asked]; 0]);
    local.stop().await;
}

fn is_window(event: &Event) -> bool {
    matches!(event, Event::Attached { .. })
}

// W19
#[tokio::test]
async fn a_question_of_a_session_that_is_deleted_leaves_the_inbox() {
    let dir = tempfile::tempdir().unwrap();
    let local = host(dir.path());
    let mut here = Front::attached(&local, Target::New).await;
    let asks = Front::attached(&local, Target::New).await;
    asks.prompt("clarify");
    here.until("it", |f| f.inbox().len() == 1).await;
    let asked = here.inbox()[0].clone();
    here.host.send(Command::Delete { session: asked.session.clone() });
    here.until("none", |f| f.inbox().is_empty()).await;
    let (session, answer) = (Some(asked.session.clone()), Answer::Text("blue".to_owned()));
    here.host.send(Command::Answer { session, id: asked.question.id, answer });
    here.until("a refusal", |f| !f.failures().is_empty()).await;
    let message = format!("session {} was deleted", asked.session);
    assert_eq!(here.failures(), [(&Subject::Answer, message.as_str())]);
    local.stop().await;
}

// S04
#[tokio::test]
async fn a_session_that_is_not_in_memory_is_changed_by_its_name_and_leaves_memory_again() {
    let dir = tempfile::tempdir().unwrap();
    let local = host(dir.path());
    let mut there = Front::attached(&local, Target::New).await;
    there.prompt("hello");
    there.until("its end", |f| f.told.iter().any(|e| matches!(e, Event::TurnEnded { .. }))).await;
    let id = there.view.session.clone();
    drop(there);
    let lease = dir.path().join("state/leases").join(&id.0);
    let is_loaded = || Lock::take(&lease).is_err();
    eventually("it is unloaded", || !is_loaded()).await;
    let mut here = Front::attached(&local, Target::New).await;
    let session = Some(id.clone());
    here.host.send(Command::SetTitle { session: session.clone(), title: "T".to_owned() });
    here.host.send(Command::Pin { session: session.clone(), pinned: true });
    here.host.send(Command::Archive { session: session.clone(), archived: true });
    // Nothing of it is asked: a friendly nothing.
    let question = QuestionId("q1".to_owned());
    let answer = Answer::Text("x".to_owned());
    here.host.send(Command::Answer { session: session.clone(), id: question.clone(), answer });
    here.host.send(Command::Shown { session, id: question.clone() });
    let row = || {
        let reader =
            Reader::open(&crate::state_dir::StateDir::new(dir.path().join("state"))).unwrap();
        reader.sessions(10).unwrap().into_iter().find(|row| row.id == id).unwrap()
    };
    eventually("the changes", || row().archived).await;
    assert_eq!((row().title.as_str(), row().pinned), ("T", true));
    eventually("it is unloaded again", || !is_loaded()).await;
    assert_eq!(here.view.title, None, "it is not the one in view");
    assert_eq!(here.failures(), []);

    let nobody = Some(SessionId("20200101_000000_000000".to_owned()));
    let title = "T".to_owned();
    let answer = Answer::Text("x".to_owned());
    here.host.send(Command::SetTitle { session: nobody.clone(), title });
    here.host.send(Command::Pin { session: nobody.clone(), pinned: true });
    here.host.send(Command::Archive { session: nobody.clone(), archived: true });
    here.host.send(Command::Shown { session: nobody.clone(), id: question.clone() });
    here.host.send(Command::Answer { session: nobody, id: question, answer });
    here.until("refusals", |f| f.failures().len() == 5).await;
    let why = "there is no session 20200101_000000_000000";
    let about =
        [&Subject::Rename, &Subject::Pin, &Subject::Archive, &Subject::Answer, &Subject::Answer];
    assert_eq!(here.failures(), about.map(|about| (about, why)));
    local.stop().await;
}

// Invariant 4: nothing but streamed text leaves the host before the commit it rests on.
#[tokio::test]
async fn a_question_is_not_in_the_inbox_before_it_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings_in(dir.path());
    let (mut hub, mut inbox) = HostLoop::open(settings, Role::Owner).unwrap();
    let id = hub.open_new();
    hub.stopping = true; // The turn is played by hand.
    let (prompt, text, attendance) = (PromptId::fresh(), "go".to_owned(), Attendance::Attended);
    hub.feed(&id, Input::Prompt { id: prompt, text, attendance });
    let ask = Ask::Clarify { question: "Which?".to_owned(), choices: Vec::new() };
    let event = TurnEvent::Ask { call: CallId("c".to_owned()), ask, timeout: 1_000 };
    hub.feed(&id, Input::TurnEvent { turn: TurnId(1), ack: Ack(1), event });
    let pending = hub.sessions[&id].session.transcript().questions.len();
    assert_eq!((pending, hub.inbox().len()), (1, 0));
    while hub.inbox().is_empty() {
        let report = tokio::time::timeout(Duration::from_secs(30), inbox.reports.recv()).await;
        let Ok(Some(Report::Committed(no))) = report else { panic!("{report:?}") };
        hub.release(no);
    }
    assert_eq!(hub.inbox()[0].session, id);
}
