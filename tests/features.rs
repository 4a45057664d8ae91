//! What front ends ask of a session beside prompts: taking turns back, files, goals, copies, and
//! lists that are never out of date. The whole host in this process, a real model server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::{
    Answer, Attention, Body, Choice, Command, Data, Event, GoalAsk, GoalState, Outcome, PromptId,
    Row, SessionRow, Subject, Target,
};
use serde_json::{Value, json};

use crate::support::{Asked, Gate, Home, Reply, Server, TestView, eventually, obey, start};

fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.text().to_owned()).collect()
}

/// The first thing of that kind that a view hears from now on.
async fn hears<T>(view: &mut TestView, what: &str, mut look: impl FnMut(&Event) -> Option<T>) -> T {
    view.until(what, |v| v.events.iter().rev().find_map(&mut look)).await
}

/// What the host refused about that.
async fn refusal(view: &mut TestView, about: &str) -> String {
    hears(view, &format!("a refusal of {about}"), |event| match event {
        Event::Failed(failure) if failure.about == Subject::of_name(about) => {
            Some(failure.message.clone())
        }
        _ => None,
    })
    .await
}

/// The sessions as the host lists them now.
async fn listed(view: &mut TestView) -> Vec<SessionRow> {
    view.events.retain(|e| !matches!(e, Event::SessionsListed { .. }));
    view.send(Command::ListSessions);
    hears(view, "the list", |event| match event {
        Event::SessionsListed { sessions } => Some(sessions.clone()),
        _ => None,
    })
    .await
}

/// The list once it is as wanted; looked at again only when the host says that it has changed.
async fn until_listed(
    view: &mut TestView,
    wanted: impl Fn(&[SessionRow]) -> bool,
) -> Vec<SessionRow> {
    loop {
        view.events.retain(|e| !matches!(e, Event::SessionsChanged));
        let sessions = listed(view).await;
        if wanted(&sessions) {
            return sessions;
        }
        hears(view, "the word that lists have changed", |event| {
            matches!(event, Event::SessionsChanged).then_some(())
        })
        .await;
    }
}

// S04
#[tokio::test]
async fn an_undone_turn_is_gone_for_views_model_and_the_next_host() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.ask(1, "one").await;
    let session = view.session();
    let mut other = TestView::attach(&local, Target::Id(session.clone())).await;
    view.ask(2, "two").await;
    view.send(Command::Undo);
    for view in [&mut view, &mut other] {
        view.until("the removal", |v| (v.transcript.rows.len() == 2).then_some(())).await;
        assert_eq!(texts(&view.transcript.rows), ["one", "As you say."]);
        assert_eq!(view.transcript.gauge.used, None);
    }
    drop((view, other));
    local.stop().await;

    let local = start(home.settings(server.model()));
    let mut view = TestView::attach(&local, Target::Id(session.clone())).await;
    assert_eq!(texts(&view.transcript.rows), ["one", "As you say."]);
    view.ask(3, "three").await;
    let asked = server.seen().last().unwrap().clone();
    assert_eq!(asked.texts("user"), ["one", "three"], "the model knows nothing of it");
    let numbers: Vec<u64> = home.stored(&session).rows.iter().map(|row| row.n).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    // Asked again: the same words, a new turn, in the next host too.
    view.send(Command::Retry { id: PromptId::fresh() });
    assert_eq!(view.turn(4).await, Outcome::Done);
    assert_eq!(server.seen().last().unwrap().texts("user"), ["one", "three"]);
    assert_eq!(texts(&home.stored(&session).rows), texts(&view.transcript.rows));
    for _ in 0..2 {
        view.send(Command::Undo);
    }
    view.until("nothing", |v| v.transcript.rows.is_empty().then_some(())).await;
    view.send(Command::Undo);
    assert_eq!(refusal(&mut view, "undo").await, "Nothing to undo.");
    let found = home.run(&["sessions", "search", "three"]).await;
    assert!(!String::from_utf8_lossy(&found.stdout).contains("three"));
}

// S05
#[tokio::test]
async fn an_upload_waits_for_the_next_prompt_also_over_a_restart() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.ask(1, "go").await;
    let session = view.session();
    let upload = |name: &str, data: &[u8]| Command::Upload {
        name: name.to_owned(),
        data: Data(data.to_owned()),
    };
    view.send(upload("../../notes.md", b"# secret plan"));
    view.until("the file", |v| (v.transcript.attachments.len() == 1).then_some(())).await;
    view.send(upload("huge", &vec![0; 20_000_001]));
    assert!(refusal(&mut view, "upload").await.contains("20 MB"));
    drop(view);
    local.stop().await;

    let local = start(home.settings(server.model()));
    let mut view = TestView::attach(&local, Target::Id(session.clone())).await;
    let file = view.transcript.attachments[0].clone();
    let folder = home.state().join("uploads").join(&session.0);
    let path = Path::new(&file.path);
    assert_eq!((file.name.as_str(), path.parent()), ("notes.md", Some(folder.as_path())));
    assert_eq!(fs::read(path).unwrap(), b"# secret plan");
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    view.ask(2, "read it").await;
    let asked = format!("read it\n[Attached file: {} (text/markdown, 13 bytes)]", file.path);
    assert_eq!(server.seen().last().unwrap().last_user(), asked);
    assert_eq!(view.transcript.attachments, []);
    view.ask(3, "next").await;
    assert_eq!(server.seen().last().unwrap().last_user(), "next");
    // What is taken back is gone, what a prompt took along stays as long as its session.
    view.send(upload("other", b"x"));
    view.until("the file", |v| (!v.transcript.attachments.is_empty()).then_some(())).await;
    let other = view.transcript.attachments[0].path.clone();
    view.send(Command::DropUploads);
    eventually("the end of the file", || (!Path::new(&other).exists()).then_some(())).await;
    assert!(path.exists());
    view.send(Command::Delete { session });
    eventually("the end of the folder", || (!folder.exists()).then_some(())).await;
}

/// Whether a request asks whether the goal is reached.
fn judges(asked: &Asked) -> bool {
    asked.texts("system").iter().any(|text| text.starts_with("You judge"))
}

// S08
#[tokio::test]
async fn a_goal_goes_on_once_in_the_next_host_until_it_is_reached() {
    let home = Home::new();
    let gate = Gate::closed();
    let judged = AtomicUsize::new(0);
    let held = gate.clone();
    let server = Server::start(move |asked| {
        if !judges(asked) {
            return obey(asked);
        }
        // The first is cut off, the second finds it unfinished.
        let done = judged.fetch_add(1, Ordering::Relaxed) >= 2;
        let verdict = json!({ "done": done, "reason": "the roof" }).to_string();
        Reply::After(held.clone(), Box::new(Reply::Text(verdict)))
    })
    .await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.send(Command::Goal(GoalAsk::Set { text: "build a house".to_owned() }));
    assert_eq!(view.turn(1).await, Outcome::Done);
    let session = view.session();
    let seen = server.requests(2).await;
    assert!(judges(&seen[1]) && seen[1].last_user().contains("build a house"));
    // Stopped while it is judged, and taken up with nobody attached.
    drop(view);
    local.stop().await;
    gate.open();
    let local = start(home.settings(server.model()));
    let seen = server.requests(4).await;
    assert!(judges(&seen[2]), "what was judged is not known");
    let went_on = seen[3].last_user().to_owned();
    assert!(went_on.contains("build a house") && went_on.contains("the roof"), "{went_on}");
    eventually("the end of the goal", || {
        let goal = home.stored(&session).meta.goal?;
        (goal.state == GoalState::Done).then_some(())
    })
    .await;
    server.stays_at(5).await;
    let rows = home.stored(&session).rows;
    let notes = rows.iter().filter(|row| matches!(row.body, Body::Note { .. })).count();
    assert_eq!((rows.len(), notes), (4, 1), "{}", home.dump());
    let late = TestView::attach(&local, Target::Id(session)).await;
    let goal = late.transcript.goal.clone().unwrap();
    assert_eq!((goal.turns, goal.verdict.as_deref()), (2, Some("the roof")));
    assert!(home.is_settled());
}

// S08
#[tokio::test]
async fn an_interrupted_goal_pauses_and_stays_paused_in_the_next_host() {
    let home = Home::new();
    let server = Server::start(|_| Reply::Hang("I begin".to_owned())).await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.send(Command::Goal(GoalAsk::Set { text: "build a house".to_owned() }));
    view.until("its text", |v| {
        v.transcript.running.as_ref().is_some_and(|r| r.text == "I begin").then_some(())
    })
    .await;
    view.send(Command::Cancel);
    assert_eq!(view.turn(1).await, Outcome::Cancelled);
    let session = view.session();
    drop(view);
    local.stop().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::attach(&local, Target::Id(session)).await;
    view.quiet().await;
    let goal = view.transcript.goal.clone().unwrap();
    assert!(matches!(&goal.state, GoalState::Paused(why) if why.contains("interrupted")));
    server.stays_at(1).await;
    view.send(Command::Goal(GoalAsk::Resume));
    server.requests(2).await;
}

// S04, C07
#[tokio::test]
async fn what_one_front_end_changes_every_other_one_learns_at_once() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut other = TestView::new(&local).await;
    let browser = local.handle().labelled("browser");
    let mut asking = TestView::new(&local).await;
    fs::create_dir(home.work().join("x")).unwrap();
    let args = json!({ "command": "rm -rf x" });
    asking.prompt(&format!("call terminal {args}"));
    let question = asking.until("the question", |v| v.transcript.questions.first().cloned()).await;
    let asks = |all: &[SessionRow]| all.iter().any(|row| row.attention.is_some());
    let row = until_listed(&mut other, asks).await.remove(0);
    assert_eq!(row.id, asking.session());
    assert!(row.running);
    assert_eq!(row.attention, Some((Attention::Approval, 1)));
    // Answered elsewhere: who did it is told.
    let second =
        browser.open(asking.session(), host::embedded::Attendance::Attended).await.unwrap();
    let answer = Answer::Approval(Choice::Once);
    second.send(Command::Answer { session: None, id: question.id, answer });
    assert_eq!(asking.turn(1).await, Outcome::Done);
    let by = asking.events.iter().find_map(|event| match event {
        Event::QuestionResolved { by, .. } => by.clone(),
        _ => None,
    });
    assert_eq!(by.as_deref(), Some("browser"));
    let done = until_listed(&mut other, |all| !all[0].running).await.remove(0);
    assert_eq!(done.attention, None);

    asking.send(Command::Pin { session: None, pinned: true });
    until_listed(&mut other, |all| all[0].pinned).await;
    asking.send(Command::SetTitle { session: None, title: "Ships".to_owned() });
    until_listed(&mut other, |all| all[0].title == "Ships").await;
    asking.send(Command::Archive { session: None, archived: true });
    until_listed(&mut other, |all| all[0].archived).await;
    asking.send(Command::Duplicate);
    let both = until_listed(&mut other, |all| all.len() == 2).await;
    assert_eq!((both[0].title.as_str(), both[0].rows), ("Ships (copy)", done.rows));
    assert_eq!(both[0].parent, Some(row.id.clone()));
    asking.send(Command::Delete { session: row.id });
    let left = until_listed(&mut other, |all| all.len() == 1).await;
    assert_eq!(left[0].title, "Ships (copy)");
}

// W30, C14
#[tokio::test]
async fn a_front_end_sets_where_a_session_works_and_whether_it_asks() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    let there = home.user().join("there");
    fs::create_dir_all(there.join("x")).unwrap();
    view.send(Command::SetCwd { cwd: "~/nowhere".to_owned() });
    assert!(refusal(&mut view, "cwd").await.contains("no folder"));
    view.send(Command::SetCwd { cwd: "~/there".to_owned() });
    view.until("the folder", |v| v.transcript.cwd.ends_with("/there").then_some(())).await;
    let run = |command: &str| format!("call terminal {}", json!({ "command": command }));
    // A question that waits is answered, what comes later is not asked.
    view.prompt(&run("rm -rf x; mkdir y"));
    view.until("the question", |v| v.transcript.questions.first().cloned()).await;
    view.send(Command::SetYolo { yolo: true });
    assert_eq!(view.turn(1).await, Outcome::Done);
    assert!(there.join("y").exists() && !there.join("x").exists());
    view.events.clear();
    view.ask(2, &run("rm -rf y")).await;
    assert!(!there.join("y").exists());
    assert!(!view.events.iter().any(|e| matches!(e, Event::QuestionAsked { .. })));
    let blocked = json!({ "command": "mkfs.ext4 /no/such/device" });
    view.ask(3, &format!("call terminal {blocked}")).await;
    assert_eq!(view.results().pop().unwrap()["status"], "blocked");
    view.send(Command::SetYolo { yolo: false });
    view.prompt(&run("rm -rf z"));
    view.until("the question", |v| v.transcript.questions.first().cloned()).await;
    view.send(Command::Cancel);
    view.turn(4).await;

    view.send(Command::SetReasoning { effort: Some("low".to_owned()) });
    view.ask(5, "needle in the hay").await;
    assert_eq!(server.seen().last().unwrap().body["reasoning_effort"], "low");
    view.send(Command::ListWorkspaces);
    let paths = hears(&mut view, "the folders", |event| match event {
        Event::WorkspacesListed { paths } => Some(paths.clone()),
        _ => None,
    })
    .await;
    assert_eq!(paths, [there.display().to_string(), home.work().display().to_string()]);
    let session = view.session();
    let reader = home.reader();
    eventually("the index", || (!reader.search("needle", 1).unwrap().is_empty()).then_some(()))
        .await;
    view.send(Command::Search { query: "needle".to_owned() });
    let found = hears(&mut view, "what was found", |event| match event {
        Event::SessionsFound { found, .. } => Some(found.clone()),
        _ => None,
    })
    .await;
    assert_eq!(found.len(), 1);
    assert!(found[0].session == session && found[0].excerpt.is_some());
    view.send(Command::Export);
    let (name, text) = hears(&mut view, "the document", |event| match event {
        Event::Exported { name, text } => Some((name.clone(), text.clone())),
        _ => None,
    })
    .await;
    assert_eq!(name, format!("{session}.json"));
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["session"]["id"], json!(session));
    assert_eq!(document["rows"].as_array().unwrap().len(), view.transcript.rows.len());
    view.send(Command::SetProfile { name: "work".to_owned() });
    assert!(refusal(&mut view, "profile").await.contains("HERMES_HOME"));
}

// S04
#[tokio::test]
async fn another_views_switch_moves_nobody_and_is_reported() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut one = TestView::new(&local).await;
    one.ask(1, "hello").await;
    let first = one.session();
    let mut two = TestView::new(&local).await;
    let before = two.session();
    two.ask(1, "hello").await;
    one.send(Command::Open(Target::Id(two.session())));
    one.until("the other session", |v| (v.session() == before).then_some(())).await;
    let told = |v: &TestView| {
        v.events.iter().find_map(|event| match event {
            Event::Switched { session, .. } => Some(session.clone()),
            _ => None,
        })
    };
    assert_eq!(two.until("word of it", told).await, before);
    one.send(Command::Open(Target::Id(first.clone())));
    two.until("word of the way back", |v| {
        let mut events = v.events.iter();
        events
            .any(|e| matches!(e, Event::Switched { session, .. } if *session == first))
            .then_some(())
    })
    .await;
    assert_eq!(two.session(), before, "it stays where it is");
    assert!(told(&one).is_none(), "its own switch is no news");
}
