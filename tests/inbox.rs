//! The inbox: what all sessions of a host ask, in every front end, to be answered there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use host::{remote, state_dir};
use protocol::{Answer, Ask, Asked, Choice, Command, Event, Outcome, SessionId, Target};
use serde_json::json;

use crate::contract::{Over, Rig, Way, no_question, removal, said};
use crate::serve::Serve;
use crate::support::{self, Fault, Home, Proxy, Seen, Server, TestView, eventually, start};

/// The inbox as a view was told it last.
fn inbox(view: &TestView) -> &[Asked] {
    let mut told = view.events.iter().rev().filter_map(|event| match event {
        Event::InboxChanged { questions } => Some(questions.as_slice()),
        _ => None,
    });
    told.next().unwrap_or_default()
}

/// Waits until so much is asked, and says what.
async fn asked(view: &mut TestView, count: usize) -> Vec<Asked> {
    view.until(&format!("{count} in the inbox"), |v| {
        (inbox(v).len() == count).then(|| inbox(v).to_vec())
    })
    .await
}

fn answer(asked: &Asked, answer: Answer) -> Command {
    let (session, id) = (Some(asked.session.clone()), asked.question.id.clone());
    Command::Answer { session, id, answer }
}

fn clarify() -> String {
    let args = json!({ "question": "Which colour?", "choices": ["red", "blue"] });
    format!("call clarify {args}")
}

fn failures(view: &TestView) -> Vec<&Event> {
    view.events.iter().filter(|event| matches!(event, Event::Failed(_))).collect()
}

fn of<'a>(inbox: &'a [Asked], session: &SessionId) -> &'a Asked {
    inbox.iter().find(|asked| asked.session == *session).expect("it asks")
}

/// A session asks for an approval and another one a question; a front end that looks at a third
/// answers both.
async fn answered_from_a_third(way: Way) {
    let rig = Rig::start(way).await;
    let folder = rig.home.work().join("to-be-kept");
    std::fs::create_dir(&folder).unwrap();
    let mut here = rig.view(Target::New).await;
    here.prompt("hello");
    said(&mut here, "As you say.", 1).await;
    let mut one = rig.view(Target::New).await;
    let mut two = rig.view(Target::New).await;
    one.prompt(&removal(&folder));
    asked(&mut here, 1).await;
    two.prompt(&clarify());
    let both = asked(&mut here, 2).await;
    assert_eq!(both[0].session, one.session(), "the longest waiting first");
    let (first, second) = (of(&both, &one.session()), of(&both, &two.session()));
    assert!(matches!(&first.question.ask, Ask::Approval { command, .. }
        if command.contains("to-be-kept")));
    assert!(matches!(&second.question.ask, Ask::Clarify { question, .. }
        if question == "Which colour?"));
    assert!(!first.name.is_empty() && first.name != second.name, "{both:#?}");
    assert!(here.transcript.questions.is_empty(), "nothing of another session is in view");
    for view in [&mut one, &mut two] {
        // A hermes-webui does not tell since when it asks.
        let seen = asked(view, 2).await;
        assert!(both.iter().all(|asked| seen.iter().any(|a| a.session == asked.session)));
    }

    here.send(answer(first, Answer::Approval(Choice::Deny)));
    for view in [&mut here, &mut one, &mut two] {
        assert_eq!(asked(view, 1).await[0].question.id, second.question.id);
    }
    no_question(&mut one).await;
    said(&mut one, "As you say.", 1).await;
    assert!(folder.exists());
    // Late: nobody is bothered.
    here.send(answer(first, Answer::Approval(Choice::Once)));
    here.send(answer(second, Answer::Text("green,\nbut pale".to_owned())));
    for view in [&mut here, &mut one, &mut two] {
        asked(view, 0).await;
    }
    said(&mut two, "As you say.", 1).await;
    let heard = two.transcript.rows.iter().any(|row| row.text().contains("but pale"));
    assert!(heard, "{:#?}", two.transcript.rows);
    here.quiet().await;
    for view in [&here, &one, &two] {
        assert!(failures(view).is_empty(), "{:#?}", failures(view));
    }
    assert!(folder.exists());

    // The other sessions are named and put on top from here too.
    let (session, title) = (Some(one.session()), "Named from afar".to_owned());
    here.send(Command::SetTitle { session: session.clone(), title });
    here.send(Command::Pin { session, pinned: true });
    one.until("its name", |v| {
        (v.transcript.title.as_deref() == Some("Named from afar")).then_some(())
    })
    .await;
    assert_ne!(here.transcript.title.as_deref(), Some("Named from afar"));
    rig.stop().await;
}

// C02 C07 C16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_answered_from_a_third_session_embedded() {
    answered_from_a_third(Way::Embedded).await;
}

// C02 C07 C16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_answered_from_a_third_session_on_the_seam() {
    answered_from_a_third(Way::Seam(Over::Tcp)).await;
    answered_from_a_third(Way::Seam(Over::Socket)).await;
}

// C02 C07 C16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_answered_from_a_third_session_on_webui_wire() {
    answered_from_a_third(Way::Webui(Over::Tcp)).await;
    answered_from_a_third(Way::Webui(Over::Socket)).await;
}

/// See `contract.rs` for what it needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a running hermes-webui"]
async fn questions_are_answered_from_a_third_session_running_webui() {
    let url = std::env::var("HERMES_TUI_CONTRACT_URL").expect("HERMES_TUI_CONTRACT_URL");
    answered_from_a_third(Way::Running(url)).await;
}

fn at(place: &str, home: &Home) -> remote::Server {
    support::client(place, &home.user().join("client"))
}

// C15 C16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_of_the_host_the_inbox_has_its_questions_again() {
    let home = Home::new();
    let model = Server::obedient().await;
    home.configure(model.url());
    let first = Serve::configured(&home);
    let socket = state_dir::socket_path(&home.state()).display().to_string();
    let view = |target| TestView::over(remote::connect(at(&socket, &home), target));
    let mut here = view(Target::New).await;
    here.ask(1, "hello").await;
    let asks = view(Target::New).await;
    asks.prompt(&clarify());
    let before = asked(&mut here, 1).await;
    let session = asks.session();
    drop(asks);
    // It is killed.
    drop(first);
    let told = here.events.len();
    let second = Serve::configured(&home);
    here.until("the inbox of the next host", |v| {
        let told = v.events.iter().skip(told);
        told.clone().any(|e| matches!(e, Event::InboxChanged { .. })).then_some(())
    })
    .await;
    let after = asked(&mut here, 1).await;
    assert_eq!(after, before);
    let mut new = view(Target::New).await;
    assert_eq!(asked(&mut new, 1).await, after, "who comes now sees it at once");
    here.send(answer(&after[0], Answer::Text("blue".to_owned())));
    asked(&mut here, 0).await;
    eventually("the end of the turn", || {
        let rows = home.stored(&session).rows;
        rows.last().is_some_and(|row| row.text() == "As you say.").then_some(())
    })
    .await;
    let rows = home.stored(&session).rows;
    assert!(rows.iter().any(|row| row.text().contains("blue")), "{rows:#?}");
    drop(second);
}

// C08
#[tokio::test]
async fn a_question_that_runs_out_leaves_the_inbox() {
    let home = Home::new();
    let model = Server::obedient().await;
    let mut settings = home.settings(model.model());
    settings.approvals.timeout = Duration::from_millis(600);
    let local = start(settings);
    let mut here = TestView::new(&local).await;
    let mut asks = TestView::new(&local).await;
    asks.prompt(&removal(&home.work().join("a")));
    let first = asked(&mut here, 1).await.remove(0);
    assert_eq!(first.question.deadline, None, "nobody has seen it");
    let (session, id) = (Some(first.session.clone()), first.question.id.clone());
    here.send(Command::Shown { session, id });
    here.until("its clock", |v| inbox(v).first()?.question.deadline).await;
    asked(&mut here, 0).await;
    assert_eq!(asks.turn(1).await, Outcome::Done);
    let ran_out = asks
        .events
        .iter()
        .any(|event| matches!(event, Event::QuestionResolved { answer: Answer::Expired, .. }));
    assert!(ran_out, "{:#?}", asks.events);
    // Too late: no error.
    here.send(answer(&first, Answer::Approval(Choice::Once)));
    here.quiet().await;
    assert!(failures(&here).is_empty());
    local.stop().await;
}

// C03 E04
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_answered_without_a_link_leave_the_inbox() {
    let home = Home::new();
    let model = Server::obedient().await;
    home.configure(model.url());
    let serving = Serve::configured(&home);
    let address = Arc::new(Mutex::new(serving.address().parse().unwrap()));
    let proxy = Proxy::before(address, Seen::Whole).await;
    let mut far = TestView::over(remote::connect(at(&proxy.url(), &home), Target::New)).await;
    far.ask(1, "hello").await;
    let url = format!("http://{}", serving.address());
    let mut near = TestView::over(remote::connect(at(&url, &home), Target::New)).await;
    near.prompt(&clarify());
    let first = asked(&mut far, 1).await.remove(0);
    proxy.set(Fault::Drop);
    far.until("the loss", |v| {
        let link = |e: &Event| matches!(e, Event::Link { link: protocol::Link::Down { .. } });
        v.events.iter().any(link).then_some(())
    })
    .await;
    near.send(answer(&first, Answer::Text("blue".to_owned())));
    asked(&mut near, 0).await;
    assert_eq!(inbox(&far).len(), 1, "it cannot know");
    // What is answered without a link is kept, and late when it arrives.
    far.send(answer(&first, Answer::Text("red".to_owned())));
    proxy.set(Fault::None);
    asked(&mut far, 0).await;
    assert_eq!(near.turn(1).await, Outcome::Done);
    near.quiet().await;
    assert!(near.results().pop().unwrap()["user_response"].as_str().unwrap().contains("blue"));
    far.quiet().await;
    assert!(failures(&far).is_empty(), "{:#?}", failures(&far));
}
