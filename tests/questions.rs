//! Questions to the user through the whole host: one head, one answer, nobody waits in vain.

use std::time::{Duration, Instant};

use host::settings::Mode;
use protocol::{Answer, Ask, Choice, Command, Event, Outcome, Question, Target};
use serde_json::json;

use crate::support::{Home, LONG, Server, TestView, eventually, start};

async fn question(view: &mut TestView) -> Question {
    view.until("a question", |v| v.transcript.questions.first().cloned()).await
}

fn resolved(view: &TestView) -> Vec<Answer> {
    let answers = view.events.iter().filter_map(|event| match event {
        Event::QuestionResolved { answer, .. } => Some(answer.clone()),
        _ => None,
    });
    answers.collect()
}

fn removal(folder: &str) -> String {
    format!("call terminal {}", json!({ "command": format!("rm -r {folder}") }))
}

// C03 C04 C07
#[tokio::test]
async fn of_two_views_the_first_answer_wins_and_the_other_sees_it() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut one = TestView::new(&local).await;
    std::fs::create_dir(home.work().join("a")).unwrap();
    std::fs::create_dir(home.work().join("b")).unwrap();
    one.prompt(&format!("{}\n{}", removal("a"), removal("b")));
    let first = question(&mut one).await;
    // It comes late and finds the head.
    let mut two = TestView::attach(&local, Target::Id(one.session())).await;
    assert_eq!(two.transcript.questions, std::slice::from_ref(&first));

    two.send(Command::Answer {
        session: None,
        id: first.id.clone(),
        answer: Answer::Approval(Choice::Deny),
    });
    one.send(Command::Answer {
        session: None,
        id: first.id.clone(),
        answer: Answer::Approval(Choice::Once),
    });
    let gone = |v: &TestView| (!resolved(v).is_empty()).then_some(());
    one.until("the answer", gone).await;
    two.until("the answer", gone).await;
    assert_eq!(resolved(&one), [Answer::Approval(Choice::Deny)]);

    // The next head comes at once to both; the answer to the first one is not its answer.
    let second = question(&mut two).await;
    assert_ne!(second.id, first.id);
    one.until("the next head", |v| {
        v.transcript.questions.first().filter(|q| q.id == second.id).map(|_| ())
    })
    .await;
    one.send(Command::Answer {
        session: None,
        id: first.id,
        answer: Answer::Approval(Choice::Once),
    });
    one.quiet().await;
    assert_eq!(one.transcript.questions.len(), 1);
    one.send(Command::Answer {
        session: None,
        id: second.id,
        answer: Answer::Approval(Choice::Once),
    });
    assert_eq!(one.turn(1).await, Outcome::Done);
    assert_eq!(two.turn(1).await, Outcome::Done);
    assert!(one.transcript.questions.is_empty() && two.transcript.questions.is_empty());
    assert!(!one.events.iter().any(|e| matches!(e, Event::Failed(_))), "no error box");
    assert!(home.work().join("a").exists(), "denied");
    assert!(!home.work().join("b").exists(), "allowed");
    assert_eq!(one.transcript, two.transcript);
}

// C05 C10
#[tokio::test]
async fn an_approval_for_a_session_holds_in_that_session_only() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.prompt(&removal("a"));
    let id = question(&mut view).await.id;
    view.send(Command::Answer { session: None, id, answer: Answer::Approval(Choice::Session) });
    assert_eq!(view.turn(1).await, Outcome::Done);
    view.ask(2, &removal("b")).await;
    assert_eq!(resolved(&view).len(), 1);
    let mut other = TestView::new(&local).await;
    other.prompt(&removal("c"));
    question(&mut other).await;
}

// C08
#[tokio::test]
async fn a_questions_clock_starts_when_shown_and_silence_is_no() {
    let home = Home::new();
    let server = Server::obedient().await;
    let mut settings = home.settings(server.model());
    settings.approvals.timeout = Duration::from_millis(600);
    let local = start(settings);
    let mut view = TestView::new(&local).await;
    std::fs::create_dir(home.work().join("a")).unwrap();
    view.prompt(&removal("a"));
    let asked = question(&mut view).await;
    assert_eq!(asked.deadline, None);
    tokio::time::sleep(Duration::from_millis(800)).await;
    view.drain();
    assert_eq!(view.transcript.questions.len(), 1, "nobody has seen it yet");
    view.send(Command::Shown { session: None, id: asked.id });
    assert_eq!(view.turn(1).await, Outcome::Done);
    assert_eq!(resolved(&view), [Answer::Expired]);
    assert!(home.work().join("a").exists());
    let error = view.results().pop().unwrap()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("Nobody approved"), "{error}");
}

// C09
#[tokio::test]
async fn an_interrupt_clears_the_question() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.prompt(&removal("a"));
    let asked = question(&mut view).await;
    view.send(Command::Cancel);
    assert_eq!(view.turn(1).await, Outcome::Cancelled);
    assert_eq!(resolved(&view), [Answer::Withdrawn]);
    view.send(Command::Answer {
        session: None,
        id: asked.id,
        answer: Answer::Approval(Choice::Once),
    });
    view.ask(2, "go on").await;
    assert!(view.transcript.questions.is_empty());
}

// C12
#[tokio::test]
async fn a_one_shot_run_never_waits_for_an_approval_and_says_so() {
    let home = Home::new();
    let begun = Instant::now();
    let output = home.run(&["-z", "approval"]).await;
    assert!(begun.elapsed() < LONG);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("needed approval and was denied"), "{said}");
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(answer.starts_with("What came of it"), "{answer}");
}

// C12
#[tokio::test]
async fn a_one_shot_run_never_waits_for_an_answer_to_a_question() {
    let home = Home::new();
    let asked = home.run(&["-z", "clarify"]);
    let output = tokio::time::timeout(LONG, asked).await.expect("it waits for nobody");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!output.stdout.is_empty());
}

// C13
#[tokio::test]
async fn a_multi_line_clarify_answer_reaches_the_model_unchanged() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    let args = json!({ "question": "Which one?", "choices": ["a", "b"] });
    view.prompt(&format!("call clarify {args}"));
    let asked = question(&mut view).await;
    assert!(matches!(&asked.ask, Ask::Clarify { choices, .. } if choices == &["a", "b"]));
    let text = "neither:\n\n  \"c\", und zwar ß\n";
    view.send(Command::Answer {
        session: None,
        id: asked.id,
        answer: Answer::Text(text.to_owned()),
    });
    assert_eq!(view.turn(1).await, Outcome::Done);
    let result = view.results().pop().unwrap();
    let heard = result["user_response"].as_str().expect("an answer").trim_end();
    assert_eq!(heard, text.trim_end());
}

// C08 C13 R04
#[tokio::test]
async fn an_unanswered_clarify_question_lets_the_agent_decide() {
    let home = Home::new();
    let server = Server::obedient().await;
    let mut settings = home.settings(server.model());
    settings.agent.clarify_timeout = Duration::from_millis(200);
    let local = start(settings);
    let mut view = TestView::new(&local).await;
    let args = json!({ "question": "Which one?", "choices": ["a", "b", "c", "d", "e", "f"] });
    view.prompt(&format!("call clarify {args}"));
    let asked = question(&mut view).await;
    let Ask::Clarify { choices, .. } = &asked.ask else { panic!("{asked:?}") };
    assert_eq!(choices, &["a", "b", "c", "d"], "four at most");
    view.send(Command::Shown { session: None, id: asked.id });
    assert_eq!(view.turn(1).await, Outcome::Done);
    assert_eq!(resolved(&view), [Answer::Expired]);
    let said = view.results().pop().unwrap()["user_response"].clone();
    let said = said.as_str().expect("a sentence");
    assert!(said.contains("Nobody answered") && said.contains("best guess"), "{said}");
    let marked = view
        .transcript
        .rows
        .iter()
        .any(|row| matches!(&row.body, protocol::Body::Tool(result) if result.unanswered));
    assert!(marked, "a restart waits for the user here");
}

// C14
#[tokio::test]
async fn a_hard_block_is_never_asked_about_also_with_approvals_off() {
    for mode in [Mode::Manual, Mode::Off] {
        let home = Home::new();
        let server = Server::obedient().await;
        let mut settings = home.settings(server.model());
        settings.approvals.mode = mode;
        // Harmless should it run after all: there is no such file and nothing to make it with.
        settings.approvals.allow = vec!["format-disk".to_owned()];
        let local = start(settings);
        let mut view = TestView::new(&local).await;
        let args = json!({ "command": "echo ran > ran; mkfs.ext4 /no/such/device" });
        view.ask(1, &format!("call terminal {args}")).await;
        let result = view.results().pop().unwrap();
        assert_eq!(result["status"], "blocked", "{result}");
        assert!(result["error"].as_str().unwrap().contains("cannot be approved"), "{result}");
        assert!(!view.events.iter().any(|e| matches!(e, Event::QuestionAsked { .. })));
        assert!(!home.work().join("ran").exists());
    }
}

// C16
#[tokio::test]
async fn a_question_of_a_turn_nobody_watches_waits_for_whoever_comes() {
    let home = Home::new();
    let server = Server::obedient().await;
    let mut settings = home.settings(server.model());
    settings.approvals.timeout = Duration::from_millis(100);
    let local = start(settings);
    let view = TestView::new(&local).await;
    let session = view.session();
    view.prompt(&removal("a"));
    drop(view);
    eventually("the question in the store", || {
        home.latest().filter(|id| !home.stored(id).questions.is_empty())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut view = TestView::attach(&local, Target::Id(session)).await;
    let asked = question(&mut view).await;
    view.send(Command::Answer {
        session: None,
        id: asked.id,
        answer: Answer::Approval(Choice::Once),
    });
    assert_eq!(view.turn(1).await, Outcome::Done);
}
