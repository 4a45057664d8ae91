//! What the loop does with the questions of sessions that are not in view.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::fake::Fake;
use super::loops::{attached, becomes};
use super::*;
use protocol::Asked;
use protocol::Subject;

impl Front {
    fn inbox(&self) -> &[Asked] {
        let mut inboxes = self.events.iter().rev().filter_map(|event| match event {
            Event::InboxChanged { questions } => Some(questions.as_slice()),
            _ => None,
        });
        inboxes.next().unwrap_or_default()
    }

    fn inboxes(&self) -> usize {
        self.events.iter().filter(|e| matches!(e, Event::InboxChanged { .. })).count()
    }

    fn failures(&self) -> Vec<&Subject> {
        let failures = self.events.iter().filter_map(|event| match event {
            Event::Failed(failure) => Some(&failure.about),
            _ => None,
        });
        failures.collect()
    }
}

/// Session `s1` asks that, from now on.
fn asks(fake: &Fake, kind: &str, head: Value) {
    *fake.does.attention.lock().unwrap() = json!({"kind": kind, "count": 2});
    *fake.does.other.lock().unwrap() = (kind.to_owned(), head);
    fake.streams(200);
}

async fn asked() -> (Fake, Front, Asked) {
    let (fake, mut front) = attached().await;
    asks(&fake, "approval", json!({"approval_id": "a1", "command": "rm -r x"}));
    front.until("it", |f| f.inbox().len() == 1).await;
    let asked = front.inbox()[0].clone();
    (fake, front, asked)
}

fn answer(asked: &Asked, answer: Answer) -> Command {
    let (session, id) = (Some(asked.session.clone()), asked.question.id.clone());
    Command::Answer { session, id, answer }
}

// C02 C07 C16
#[tokio::test]
async fn what_another_session_asks_is_in_the_inbox_and_answered_there() {
    let (fake, mut front, first) = asked().await;
    assert_eq!((first.session.0.as_str(), first.name.as_str()), ("s1", "other"));
    assert_eq!((first.question.id.0.as_str(), first.behind), ("a1", 1));
    assert!(matches!(&first.question.ask, Ask::Approval { command, .. } if command == "rm -r x"));
    // What the one in view asks is there too, behind what waits longer.
    *fake.does.approval.lock().unwrap() = json!({"approval_id": "here", "command": "dd"});
    fake.streams(200);
    front.until("both", |f| f.inbox().len() == 2).await;
    assert_eq!(front.inbox()[0], first);
    assert_eq!(front.inbox()[1].session, front.view.session);
    *fake.does.approval.lock().unwrap() = Value::Null;
    fake.streams(200);
    front.until("one", |f| f.inbox().len() == 1).await;

    // The next question of that session takes its place.
    *fake.does.next.lock().unwrap() =
        ("clarify".to_owned(), json!({"clarify_id": "k1", "question": "Which?"}));
    front.host.send(answer(&first, Answer::Approval(Choice::Once)));
    front.until("the next", |f| f.inbox().first().is_some_and(|a| a.question.id.0 == "k1")).await;
    let second = front.inbox()[0].clone();
    front.host.send(answer(&second, Answer::Text("this\none".to_owned())));
    front.until("none", |f| f.inbox().is_empty()).await;
    let said = fake.does.said.lock().unwrap().clone();
    assert_eq!(
        said,
        [
            json!({"at": "/api/approval/respond", "session_id": "s1", "choice": "once",
            "approval_id": "a1"}),
            json!({"at": "/api/clarify/respond", "session_id": "s1", "response": "this\none",
            "clarify_id": "k1"}),
        ]
    );
    // Late: a friendly nothing, and nothing is sent.
    front.host.send(answer(&first, Answer::Approval(Choice::Deny)));
    front.turn("go on").await;
    assert_eq!(fake.does.said.lock().unwrap().len(), 2);
    assert_eq!(front.failures(), [] as [&Subject; 0]);
}

// C07
#[tokio::test]
async fn an_answer_that_comes_too_late_for_another_session_is_no_error() {
    for (code, says) in [
        (200, json!({"ok": false, "choice": "once"})),
        (200, json!({"ok": true, "stale_cleared": true})),
        (404, json!({"error": "not found"})),
        (409, json!({"ok": false, "stale": true, "error": "gone"})),
    ] {
        let (fake, mut front, first) = asked().await;
        *fake.does.verdict.lock().unwrap() = (code, says);
        *fake.does.attention.lock().unwrap() = Value::Null;
        front.host.send(answer(&first, Answer::Approval(Choice::Once)));
        front.until("none", |f| f.inbox().is_empty()).await;
        assert_eq!(front.failures(), [] as [&Subject; 0]);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_arrive_leaves_the_question_of_another_session() {
    let (fake, mut front, first) = asked().await;
    *fake.does.verdict.lock().unwrap() = (500, json!({"error": "no"}));
    front.host.send(answer(&first, Answer::Approval(Choice::Once)));
    front.until("a failure", |f| f.failures() == [&Subject::Answer]).await;
    front.turn("go on").await;
    assert_eq!(front.inbox(), std::slice::from_ref(&first));
    *fake.does.verdict.lock().unwrap() = (200, json!({"ok": true}));
    front.host.send(answer(&first, Answer::Approval(Choice::Once)));
    front.until("none", |f| f.inbox().is_empty()).await;
}

// E08
#[tokio::test]
async fn heads_are_asked_for_once_however_often_the_list_says_the_same() {
    let begun = std::time::Instant::now();
    let (fake, mut front, _) = asked().await;
    becomes("rest", || fake.does.heads.load(Ordering::SeqCst) == 1).await;
    let told = front.inboxes();
    for n in 0..2 {
        front.events.retain(|e| *e != Event::SessionsChanged);
        fake.streams(200);
        front.until("the list again", |f| f.events.contains(&Event::SessionsChanged)).await;
        front.turn(&format!("turn {n}")).await;
    }
    let asked = fake.does.heads.load(Ordering::SeqCst);
    assert!(asked <= 1 + begun.elapsed().as_secs() as usize / 15, "{asked} times");
    assert_eq!(front.inboxes(), told, "the same is told once");
}

// S04 E09
#[tokio::test]
async fn another_session_is_renamed_pinned_and_put_away_by_its_name() {
    let (fake, mut front) = attached().await;
    let session = Some(SessionId("s1".to_owned()));
    let changed = |f: &Front| f.events.contains(&Event::SessionsChanged);
    for (command, wanted) in [
        (
            Command::SetTitle { session: session.clone(), title: "T".to_owned() },
            json!({"at": "/api/session/rename", "session_id": "s1", "title": "T"}),
        ),
        (
            Command::Pin { session: session.clone(), pinned: true },
            json!({"at": "/api/session/pin", "session_id": "s1", "pinned": true}),
        ),
        (
            Command::Archive { session, archived: false },
            json!({"at": "/api/session/archive", "session_id": "s1", "archived": false}),
        ),
    ] {
        front.events.clear();
        front.host.send(command);
        front.until("the change", changed).await;
        assert_eq!(fake.does.said.lock().unwrap().pop(), Some(wanted));
    }
    assert_eq!(front.view.title.as_deref(), Some("x"), "it is not the one in view");
    *fake.does.verdict.lock().unwrap() = (404, json!({"error": "Session not found"}));
    let nobody = Some(SessionId("gone".to_owned()));
    front.host.send(Command::Pin { session: nobody, pinned: true });
    front.until("a failure", |f| f.failures() == [&Subject::Pin]).await;
    // The one in view by its name is the one in view.
    *fake.does.verdict.lock().unwrap() = (200, json!({"ok": true}));
    let here = Some(front.view.session.clone());
    front.host.send(Command::SetTitle { session: here, title: "mine".to_owned() });
    front.until("its title", |f| f.view.title.as_deref() == Some("mine")).await;
}

// E09 C04
#[tokio::test]
async fn a_question_stays_in_the_inbox_when_its_session_leaves_the_view_and_comes_back() {
    let (fake, mut front, first) = asked().await;
    *fake.does.approval.lock().unwrap() = json!({"approval_id": "a1", "command": "rm -r x"});
    front.host.send(Command::Open(Target::Id(first.session.clone())));
    front.until("it in view", |f| f.view.session == first.session).await;
    front.until("its question", |f| f.view.questions.len() == 1).await;
    *fake.does.approval.lock().unwrap() = Value::Null;
    front.host.send(Command::Open(Target::Id(SessionId("s0".to_owned()))));
    front.until("the other in view", |f| f.view.session.0 == "s0").await;
    let at = front.events.iter().rposition(|e| matches!(e, Event::Attached { .. })).unwrap();
    front
        .until("the inbox behind its window", |f| {
            f.events[at..].iter().any(|e| matches!(e, Event::InboxChanged { .. }))
        })
        .await;
    let ids: Vec<_> =
        front.inbox().iter().map(|a| (&a.session, a.question.id.0.as_str())).collect();
    assert_eq!(ids, [(&first.session, "a1")]);
}
