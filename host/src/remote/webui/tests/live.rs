//! The client against a hermes-webui that really runs: `HERMES_WEBUI_URL` names it, `HERMES_WEBUI_PID`
//! and `HERMES_WEBUI_START` (a command) let it be killed and started again. Its model must be scripted:
//! `ECHO`, `LONG`, `TOOL`, `DANGER`, `CLARIFY`, `BG` as first word. Without the variables they do nothing.

use super::*;
use protocol::Subject;

fn url() -> Option<String> {
    std::env::var("HERMES_WEBUI_URL").ok().filter(|url| !url.is_empty())
}

/// Rows as everybody sees them: how long a call ran only those know who saw it run.
fn plain(rows: &[Row]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    for row in &mut rows {
        if let Body::Tool(result) = &mut row.body {
            result.millis = 0;
        }
    }
    rows
}

/// What another client, that attaches now, sees.
async fn fresh(url: &str, front: &Front) -> Transcript {
    let mut other = Front::attach(url, front.id());
    other.until("a window", |f| !f.view.session.0.is_empty()).await;
    other.view.clone()
}

#[tokio::test]
async fn a_prompt_streams_and_is_stored_as_it_was_shown() {
    let Some(url) = url() else { return };
    let mut front = Front::new(&url).await;
    front.prompt("LONG 30");
    front.until("a delta", |f| f.events.iter().any(|e| matches!(e, Event::Delta { .. }))).await;
    front.until("the end", |f| f.is_idle() && f.view.rows.len() == 2).await;
    assert_eq!(plain(&front.view.rows), plain(&fresh(&url, &front).await.rows));
    assert!(front.view.gauge.used.is_some(), "{:?}", front.view.gauge);
    front
        .until("the link", |f| f.events.iter().any(|e| matches!(e, Event::Link { link: Link::Up })))
        .await;
    // A title comes after the end of the turn (E10).
    front.until("a title", |f| f.view.title.as_deref().is_some_and(|t| !t.contains("LONG"))).await;
    front.turn("ECHO again").await;
    assert_eq!(front.last(), "again");
}

#[tokio::test]
async fn a_tool_runs_and_its_call_and_result_are_rows() {
    let Some(url) = url() else { return };
    let mut front = Front::new(&url).await;
    front.turn(r#"TOOL terminal {"command":"echo tool-out"}"#).await;
    let [_, call, result, end] = &front.view.rows[..] else { panic!("{:?}", front.texts()) };
    let Body::Assistant(call) = &call.body else { panic!("{call:?}") };
    let Body::Tool(result) = &result.body else { panic!("{result:?}") };
    assert_eq!(call.calls[0].id, result.call);
    assert!(result.text.contains("tool-out") && !result.failed);
    assert!(end.text().contains("tool finished"));
    assert!(front.events.iter().any(|e| matches!(e, Event::CallStarted { .. })));
}

#[tokio::test]
async fn an_approval_is_asked_answered_and_gone_for_both_of_two_clients() {
    // C07
    let Some(url) = url() else { return };
    let mut one = Front::new(&url).await;
    one.prompt("DANGER");
    one.until("a question", |f| !f.view.questions.is_empty()).await;
    let mut two = Front::attach(&url, one.id());
    two.until("a question", |f| !f.view.questions.is_empty()).await;
    let question = two.view.questions[0].clone();
    assert!(matches!(&question.ask, Ask::Approval { command, .. } if command.contains("rm -rf")));
    let answer = Answer::Approval(Choice::Deny);
    two.host.send(Command::Answer {
        session: None,
        id: question.id.clone(),
        answer: answer.clone(),
    });
    one.until("its end", |f| f.view.questions.is_empty() && f.is_idle()).await;
    two.until("its end", |f| f.view.questions.is_empty() && f.is_idle()).await;
    let how = |f: &Front| {
        f.events.iter().find_map(|e| match e {
            Event::QuestionResolved { answer, by, .. } => Some((answer.clone(), by.clone())),
            _ => None,
        })
    };
    assert_eq!(how(&two), Some((answer.clone(), None)));
    assert_eq!(how(&one).and_then(|(_, by)| by).as_deref(), Some("another client"));
    // Late: a friendly nothing.
    one.host.send(Command::Answer { session: None, id: question.id, answer });
    one.turn("ECHO after").await;
    assert!(!one.events.iter().any(|e| matches!(e, Event::Failed(_))), "{:?}", one.events);
    two.until("the same", |f| f.last() == "after").await;
    assert_eq!(plain(&one.view.rows), plain(&fresh(&url, &one).await.rows));
}

#[tokio::test]
async fn a_clarify_question_takes_free_text() {
    let Some(url) = url() else { return };
    let mut front = Front::new(&url).await;
    front.prompt("CLARIFY Which colour?");
    front.until("a question", |f| !f.view.questions.is_empty()).await;
    let question = front.view.questions[0].clone();
    assert!(matches!(&question.ask, Ask::Clarify { choices, .. } if choices.len() == 3));
    let answer = Answer::Text("ultramarine\nof course".to_owned());
    front.host.send(Command::Answer { session: None, id: question.id, answer });
    front.until("the end", |f| f.is_idle() && f.view.rows.len() > 2).await;
    assert!(front.last().contains("ultramarine"), "{}", front.last());
}

#[tokio::test]
async fn a_cancelled_turn_keeps_its_text_and_the_queue_goes_on() {
    let Some(url) = url() else { return };
    let mut front = Front::new(&url).await;
    front.prompt("LONG 400");
    front.until("text", |f| f.view.running.as_ref().is_some_and(|r| r.text.len() > 20)).await;
    front.prompt("ECHO queued");
    front.until("a queue", |f| f.view.queued.len() == 1).await;
    front.host.send(Command::Cancel);
    front.until("the next", |f| f.is_idle() && f.last() == "queued").await;
    assert!(front.texts()[1].starts_with("tok0"), "{:?}", front.texts());
    assert_eq!(plain(&front.view.rows), plain(&fresh(&url, &front).await.rows));
}

#[tokio::test]
async fn a_remark_reaches_the_running_turn() {
    let Some(url) = url() else { return };
    let mut front = Front::new(&url).await;
    front.prompt(r#"TOOL terminal {"command":"sleep 3; echo steered"}"#);
    front
        .until("a call", |f| {
            f.view.running.as_ref().is_some_and(|r| r.calls.iter().any(|c| c.started_at.is_some()))
        })
        .await;
    front.host.send(Command::Steer { text: "mind the gap".to_owned() });
    front.until("a remark", |f| f.view.steer.is_some()).await;
    front.until("the end", |f| f.is_idle() && f.view.rows.len() > 2).await;
    assert!(front.view.steer.is_none());
    assert!(front.texts().iter().any(|t| t.contains("mind the gap")), "{:?}", front.texts());
}

#[tokio::test]
async fn a_background_task_wakes_and_its_wakeup_is_a_card() {
    // W24 P11
    let Some(url) = url() else { return };
    let mut front = Front::new(&url).await;
    front.turn("BG 3 bg-out").await;
    front.until("a wakeup", |f| f.is_idle() && f.last().starts_with("WAKEUP-ACK")).await;
    let cards = front.view.rows.iter().filter(|row| matches!(row.body, Body::Wakeup(_)));
    assert_eq!(cards.count(), 1);
    // Other sessions of the server have news of their own.
    let own = &front.view.session;
    let toasts = front.events.iter().filter(|e| matches!(e, Event::Toast(t) if t.session == *own));
    assert_eq!(toasts.count(), 1);
    assert_eq!(plain(&front.view.rows), plain(&fresh(&url, &front).await.rows));
}

#[tokio::test]
async fn a_background_task_of_a_session_that_is_not_in_view_is_news() {
    // P11
    let Some(url) = url() else { return };
    let mut front = Front::new(&url).await;
    front.turn("BG 4 elsewhere-out").await;
    let first = front.view.session.clone();
    front.host.send(Command::Open(Target::New));
    front.until("another", |f| f.view.session != first).await;
    front
        .until("news", |f| {
            f.events.iter().any(|e| {
                matches!(e, Event::Toast(t) if t.session == first && t.text.contains("elsewhere-out")
                    && matches!(t.news, News::Ended { .. }))
            })
        })
        .await;
}

#[tokio::test]
async fn two_clients_see_each_others_turns_and_a_busy_session_keeps_the_text() {
    // S04
    let Some(url) = url() else { return };
    let mut one = Front::new(&url).await;
    one.turn("ECHO first").await;
    let mut two = Front::attach(&url, one.id());
    two.until("rows", |f| f.last() == "first").await;
    one.prompt("LONG 150");
    one.until("text", |f| f.view.running.as_ref().is_some_and(|r| !r.text.is_empty())).await;
    // The other one does not know yet, or does: both ways the text waits.
    two.prompt("ECHO from-two");
    two.until("the running turn", |f| f.view.running.as_ref().is_some_and(|r| r.text.len() > 20))
        .await;
    assert_eq!(two.view.queued.len(), 1);
    two.until("its own", |f| f.is_idle() && f.last() == "from-two").await;
    one.until("the other's", |f| f.is_idle() && f.last() == "from-two").await;
    assert_eq!(plain(&one.view.rows), plain(&two.view.rows));
    one.host.send(Command::SetTitle { session: None, title: "named by one".to_owned() });
    two.until("the name", |f| f.view.title.as_deref() == Some("named by one")).await;
}

#[tokio::test]
async fn sessions_are_listed_found_copied_pinned_taken_back_and_deleted() {
    let Some(url) = url() else { return };
    let mut front = Front::new(&url).await;
    let word = uuid::Uuid::new_v4().simple().to_string();
    front.turn(&format!("ECHO {word}")).await;
    let first = front.view.session.clone();
    front.host.send(Command::SetTitle { session: None, title: format!("T {word}") });
    front.host.send(Command::Pin { session: None, pinned: true });
    front.host.send(Command::ListSessions);
    front.until("a list", |f| f.events.iter().any(|e| matches!(e, Event::SessionsListed { sessions } if sessions.iter().any(|s| s.id == f.view.session)))).await;
    front.host.send(Command::Pin { session: None, pinned: false });
    front.host.send(Command::Search { query: word.clone() });
    front.until("a find", |f| f.events.iter().any(|e| matches!(e, Event::SessionsFound { found, .. } if found.iter().any(|s| s.session == first)))).await;
    front.host.send(Command::ListModels);
    front
        .until("models", |f| {
            f.events
                .iter()
                .any(|e| matches!(e, Event::ModelsListed { models } if !models.is_empty()))
        })
        .await;
    front.host.send(Command::ListWorkspaces);
    front
        .until("workspaces", |f| {
            f.events
                .iter()
                .any(|e| matches!(e, Event::WorkspacesListed { paths } if !paths.is_empty()))
        })
        .await;
    front.host.send(Command::ListProfiles);
    front
        .until("profiles", |f| {
            f.events
                .iter()
                .any(|e| matches!(e, Event::ProfilesListed { active, .. } if !active.is_empty()))
        })
        .await;
    front.host.send(Command::Export);
    front
        .until("a document", |f| {
            f.events
                .iter()
                .any(|e| matches!(e, Event::Exported { text, .. } if text.contains(&word)))
        })
        .await;
    front.host.send(Command::SetYolo { yolo: true });
    front.until("yolo", |f| f.view.yolo).await;
    front.host.send(Command::Duplicate);
    front.until("a copy", |f| f.view.session != first).await;
    assert_eq!(front.last(), word);
    assert!(!front.view.yolo);
    front.host.send(Command::Retry { id: PromptId::fresh() });
    front
        .until("the same again", |f| {
            f.events.iter().any(|e| matches!(e, Event::RowsRemoved { after: 0 }))
                && f.is_idle()
                && f.last() == word
        })
        .await;
    assert_eq!(front.view.rows.len(), 2);
    front.host.send(Command::Undo);
    front.until("nothing", |f| f.view.rows.is_empty()).await;
    front.host.send(Command::Undo);
    front
        .until("a refusal", |f| {
            f.events.iter().any(|e| matches!(e, Event::Failed(f) if f.about == Subject::Undo))
        })
        .await;
    front.host.send(Command::Open(Target::Id(first.clone())));
    front.until("the first", |f| f.view.session == first).await;
    front.host.send(Command::Branch);
    front.until("a branch", |f| f.view.session != first).await;
    assert_eq!(front.last(), word);
    let branch = front.view.session.clone();
    front.host.send(Command::Delete { session: branch.clone() });
    front.until("another", |f| f.view.session != branch).await;
    front.host.send(Command::Open(Target::Id(SessionId("000000000000".to_owned()))));
    front
        .until("a refusal", |f| {
            f.events.iter().any(|e| matches!(e, Event::Failed(f) if f.about == Subject::Open))
        })
        .await;
    for command in [Command::Kill { id: None }, Command::WakeNow] {
        front.host.send(command);
    }
    front
        .until("two refusals", |f| {
            f.events
                .iter()
                .filter(|e| matches!(e, Event::Failed(f) if f.about == Subject::Kill || f.about == Subject::Wake))
                .count()
                == 2
        })
        .await;
}

#[tokio::test]
async fn a_file_goes_along_with_the_next_prompt_and_only_with_that() {
    // S05
    let Some(url) = url() else { return };
    let mut front = Front::new(&url).await;
    let data = protocol::Data(b"some text".to_vec());
    front.host.send(Command::Upload { name: "note.txt".to_owned(), data });
    front.until("a file", |f| f.view.attachments.len() == 1).await;
    front.turn("ECHO with-file").await;
    assert!(front.view.attachments.is_empty());
}

#[tokio::test]
async fn a_goal_is_set_goes_on_by_itself_and_is_cleared() {
    // S08
    let Some(url) = url() else { return };
    let mut front = Front::new(&url).await;
    let text = "ECHO goal-work".to_owned();
    front.host.send(Command::Goal(protocol::GoalAsk::Set { text }));
    front.until("a goal", |f| f.view.goal.is_some()).await;
    front
        .until("a second turn", |f| {
            f.view.rows.iter().filter(|row| matches!(row.body, Body::User { .. })).count() >= 2
        })
        .await;
    front.host.send(Command::Goal(protocol::GoalAsk::Clear));
    front.until("no goal", |f| f.view.goal.is_none()).await;
    front.host.send(Command::Cancel);
    front.until("rest", Front::is_idle).await;
}

#[tokio::test]
async fn a_killed_server_is_noticed_and_its_session_goes_on_with_the_next_one() {
    // E13
    let (Some(url), Ok(start)) = (url(), std::env::var("HERMES_WEBUI_START")) else { return };
    let pid = std::env::var("HERMES_WEBUI_PID").unwrap();
    let mut front = Front::new(&url).await;
    front.turn("ECHO before").await;
    front.prompt("LONG 400");
    front.until("text", |f| f.view.running.as_ref().is_some_and(|r| r.text.len() > 40)).await;
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    front
        .until("the loss", |f| {
            f.events.iter().any(|e| {
                matches!(e, Event::Link { link: Link::Down { .. } | Link::Polling { .. } })
            })
        })
        .await;
    front.prompt("ECHO typed-while-down");
    front.until("a queue", |f| f.view.queued.len() == 1).await;
    let mut server = std::process::Command::new("sh").args(["-c", &start]).spawn().unwrap();
    front
        .until("a resync", |f| {
            f.events.iter().any(|e| matches!(e, Event::Attached { resynced: true, .. }))
        })
        .await;
    // Whether the server still has what the dead one streamed is its own affair; where it has not,
    // the model is told both prompts as one, and answers the first.
    let answered = |f: &Front| {
        let last = f.view.rows.iter().rev().take(2).map(|row| &row.body);
        let last: Vec<_> = last.collect();
        matches!(&last[..], [Body::Assistant(_), Body::User { text }] if text == "ECHO typed-while-down")
    };
    front.until("its answer", |f| f.is_idle() && answered(f)).await;
    front
        .until("the link", |f| {
            let mut links = f.events.iter().rev();
            links.find_map(|e| match e {
                Event::Link { link } => Some(*link == Link::Up),
                _ => None,
            }) == Some(true)
        })
        .await;
    let texts = front.texts().join("|");
    server.kill().ok();
    server.wait().ok();
    assert_eq!(texts.matches("ECHO typed-while-down").count(), 1, "{texts}");
    assert!(texts.contains("before") && texts.contains("tok3"), "{texts}");
}
