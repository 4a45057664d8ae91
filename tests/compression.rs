//! The context is compressed, by itself and when asked, and sessions are branched: the whole host
//! in this process, real commands, a real model server.

use host::settings;
use protocol::{
    Body, Command, Delivery, Event, Outcome, Row, SessionId, Source, Subject, Summary, Target,
};
use serde_json::json;

use crate::support::Asked;
use crate::support::{
    Gate, Home, Reply, Server, Terminal, TestView, answer, eventually, obey, start, wakeups,
};
use crate::wakeups::{fifo, spawn, waiting};

/// What the server writes as a summary.
const SHORT: &str = "## Task\nall of it in short";

/// Whether a request asks for a summary.
fn wants_summary(asked: &Asked) -> bool {
    asked.texts("system").iter().any(|text| text.starts_with("You write the notes"))
}

/// Does what it is told, at length, and summarises.
fn long(asked: &Asked) -> Reply {
    match obey(asked) {
        _ if wants_summary(asked) => Reply::Text(SHORT.to_owned()),
        Reply::Text(text) => Reply::Text(format!("{text} {}", "word ".repeat(800))),
        reply => reply,
    }
}

/// Asks so many things, one after the other, after that many turns.
async fn talk(view: &mut TestView, from: u64, count: u64) {
    for n in from..from + count {
        view.ask(n, &format!("question {n}")).await;
    }
}

fn summaries(rows: &[Row]) -> Vec<Summary> {
    let summary = |row: &Row| match &row.body {
        Body::Summary(summary) => Some(summary.clone()),
        _ => None,
    };
    rows.iter().filter_map(summary).collect()
}

/// Asks for a compression and waits for its summary.
async fn compress(view: &mut TestView, focus: Option<&str>) -> Summary {
    let before = summaries(&view.transcript.rows).len();
    view.send(Command::Compress { focus: focus.map(str::to_owned) });
    view.until("the summary", |v| {
        let all = summaries(&v.transcript.rows);
        (all.len() > before && v.transcript.running.is_none()).then(|| all.last().cloned())?
    })
    .await
}

/// What the host refused or reported about that.
async fn failure(view: &mut TestView, wanted: &str) -> String {
    view.until(&format!("a word about {wanted}"), |v| {
        v.events.iter().rev().find_map(|event| match event {
            Event::Failed(failure) if failure.about == Subject::of_name(wanted) => {
                Some(failure.message.clone())
            }
            _ => None,
        })
    })
    .await
}

/// The beginnings of a request's messages, without the system prompt.
fn outline(asked: &Asked) -> Vec<String> {
    let texts = asked.messages().iter().filter(|m| m["role"] != "system");
    texts.map(|m| m["content"].as_str().unwrap_or_default().chars().take(12).collect()).collect()
}

// S03
#[tokio::test]
async fn an_overflowing_context_is_compressed_and_the_turn_goes_on() {
    let home = Home::new();
    let server = Server::start(|asked| {
        if !wants_summary(asked) && asked.texts("user").len() > 6 {
            let error = json!({ "error": {
                "message": "This model's maximum context length is 8192 tokens.",
                "code": "context_length_exceeded",
            }});
            return Reply::Status(400, error.to_string());
        }
        long(asked)
    })
    .await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    talk(&mut view, 1, 7).await;
    let seen = server.seen();
    let kinds: Vec<_> = seen.iter().skip(6).map(wants_summary).collect();
    assert_eq!(kinds, [false, true, false], "refused, summarised, sent again");
    let after = outline(&seen[8]);
    assert_eq!(after[0], "question 1");
    assert_eq!(after.last().unwrap(), "question 7");
    assert!(!after.contains(&"question 3".to_owned()), "{after:?}");
    assert!(seen[8].texts("user").iter().any(|t| t.contains(SHORT)));
    // All rows are still there, and the session is one.
    let session = view.session();
    let questions =
        |rows: &[Row]| rows.iter().filter(|r| matches!(r.body, Body::User { .. })).count();
    assert_eq!(questions(&view.transcript.rows), 7);
    let list = home.reader().sessions(10).unwrap();
    assert_eq!(list.iter().map(|s| s.compressions).collect::<Vec<_>>(), [1]);
    drop(view);
    local.stop().await;
    let listed = home.run(&["sessions", "list"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("(compressed 1×)"), "{listed}");

    let local = start(home.settings(server.model()));
    let mut view = TestView::attach(&local, Target::Id(session)).await;
    assert_eq!(questions(&view.transcript.rows), 7);
    view.ask(8, "question 8").await;
    let again = outline(server.seen().last().unwrap());
    assert_eq!(again[..after.len()], after, "the same context, and what came since");
}

#[tokio::test]
async fn one_prompt_that_overflows_the_context_fails_helpfully() {
    let home = Home::new();
    let server = Server::start(|_| {
        let error = json!({ "error": { "message": "too long", "code": "context_length_exceeded" }});
        Reply::Status(400, error.to_string())
    })
    .await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.prompt("a very long prompt");
    assert_eq!(view.turn(1).await, Outcome::Failed { class: "context_overflow".to_owned() });
    let last = view.transcript.rows.last().unwrap();
    assert!(
        matches!(&last.body, Body::Failure { message } if message.contains("/new")),
        "{last:?}"
    );
    server.stays_at(1).await;
}

#[tokio::test]
async fn a_full_context_is_compressed_before_the_next_request() {
    let home = Home::new();
    let server = Server::start(|asked| match long(asked) {
        Reply::Text(text) if asked.last_user() == "question 6" => Reply::Counted(text, 18_000),
        reply => reply,
    })
    .await;
    let model = settings::Model { context_length: Some(20_000), ..server.model() };
    let local = start(home.settings(model));
    let mut view = TestView::new(&local).await;
    talk(&mut view, 1, 6).await;
    assert_eq!(server.seen().iter().filter(|a| wants_summary(a)).count(), 0);
    assert_eq!(view.transcript.gauge.used, Some(18_000));
    view.ask(7, "question 7").await;
    let seen = server.seen();
    assert_eq!(seen.iter().map(wants_summary).collect::<Vec<_>>()[5..], [false, true, false]);
    let [summary] = &summaries(&view.transcript.rows)[..] else { panic!("one summary") };
    assert!(summary.before >= 18_000 && summary.after < 18_000 * 9 / 10, "{summary:?}");
    let status = view.events.iter().any(|e| {
        matches!(e,
        Event::TurnStatus { text: Some(text), .. } if text.contains("compressing"))
    });
    assert!(status, "the user sees why it takes longer");
    assert_eq!(outline(&seen[7]).last().unwrap(), "question 7");
}

// W18 W25
#[tokio::test]
async fn a_process_from_before_a_compression_wakes_its_session() {
    let home = Home::new();
    let server = Server::start(long).await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn(&waiting("a", "echo over"))).await;
    home.line_in("up-a").await;
    talk(&mut view, 2, 5).await;
    let summary = compress(&mut view, Some("the colour of the shed")).await;
    assert!(summary.text.contains(SHORT));
    let asked = server.seen().into_iter().find(wants_summary).unwrap();
    assert!(asked.last_user().contains("the colour of the shed"));
    assert!(asked.body.get("tools").is_none(), "{}", asked.body["tools"]);
    let session = view.session();
    drop(gate);
    // Turn 7 was the compression.
    assert_eq!(view.turn(8).await, Outcome::Done);
    assert_eq!(view.session(), session);
    let woken = server.seen().pop().unwrap();
    assert!(woken.last_user().starts_with("[IMPORTANT: Background process"));
    assert!(woken.texts("user").iter().any(|t| t.contains(SHORT)));
    assert!(!woken.texts("user").contains(&"question 3"), "{:?}", outline(&woken));
    view.delivery(Delivery::Delivered).await;
    assert_eq!(wakeups(&home.stored(&session).rows).len(), 1);
    view.ask(9, r#"call terminal {"command": "echo $HERMES_SESSION_ID > id"}"#).await;
    assert_eq!(home.line_in("id").await, session.0);
    let turns = view
        .events
        .iter()
        .filter(|e| matches!(e, Event::TurnStarted { source: Source::Wakeup, .. }));
    assert_eq!(turns.count(), 1);
}

#[tokio::test]
async fn compression_is_refused_during_a_turn_and_without_content() {
    let home = Home::new();
    let gate = Gate::closed();
    let held = gate.clone();
    let server =
        Server::start(move |asked| Reply::After(held.clone(), Box::new(obey(asked)))).await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.send(Command::Compress { focus: None });
    assert_eq!(failure(&mut view, "compress").await, "There is nothing to compress yet.");
    view.prompt("hello");
    server.requests(1).await;
    view.events.clear();
    view.send(Command::Compress { focus: None });
    let why = failure(&mut view, "compress").await;
    assert!(why.starts_with("A turn is running"), "{why}");
    gate.open();
    assert_eq!(view.turn(1).await, Outcome::Done);
    view.events.clear();
    view.send(Command::Compress { focus: None });
    assert_eq!(failure(&mut view, "compress").await, "There is nothing to compress yet.");
}

#[tokio::test]
async fn a_host_that_dies_while_compressing_has_changed_nothing() {
    let home = Home::new();
    let never = Gate::closed();
    let held = never.clone();
    let server = Server::start(move |asked| match long(asked) {
        reply if wants_summary(asked) => Reply::After(held.clone(), Box::new(reply)),
        reply => reply,
    })
    .await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    talk(&mut view, 1, 6).await;
    let session = view.session();
    let before = home.stored(&session);
    view.send(Command::Compress { focus: None });
    server.requests(7).await;
    assert!(wants_summary(&server.seen()[6]));
    // As fast as a kill.
    drop((view, local));
    eventually("the session to be free", || {
        let stored = home.stored(&session);
        assert_eq!((&stored.rows, &stored.open, stored.turns), (&before.rows, &None, before.turns));
        host::store::Lock::take(&home.state().join("host.lock")).ok()
    })
    .await;
    never.open();
    let local = start(home.settings(server.model()));
    let mut view = TestView::attach(&local, Target::Id(session)).await;
    assert!(view.transcript.running.is_none());
    assert_eq!(view.transcript.rows, before.rows);
    compress(&mut view, None).await;
    view.ask(8, "question 8").await;
}

#[tokio::test]
async fn a_host_killed_while_it_compresses_by_itself_loses_nothing() {
    let home = Home::new();
    let gate = Gate::closed();
    let held = gate.clone();
    let server = Server::start(move |asked| match long(asked) {
        reply if wants_summary(asked) => Reply::After(held.clone(), Box::new(reply)),
        Reply::Text(text) if asked.last_user() == "question 5" => Reply::Counted(text, 97_000),
        reply => reply,
    })
    .await;
    home.configure(server.url());
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    talk(&mut view, 1, 5).await;
    let session = view.session();
    drop(view);
    local.stop().await;
    let mut terminal = Terminal::open(&home, &["-c"]).await;
    terminal.send("question 6");
    server.requests(6).await;
    assert!(wants_summary(&server.seen()[5]));
    terminal.kill();
    let rows = home.stored(&session).rows;
    assert_eq!(rows.len(), 11, "{}", home.dump());
    assert_eq!(summaries(&rows), []);
    gate.open();
    let local = start(home.settings(server.model()));
    let mut view = TestView::attach(&local, Target::Id(session.clone())).await;
    // The turn may have been taken up again by itself, or wait for a word.
    view.until("rest", |v| v.transcript.running.is_none().then_some(())).await;
    view.prompt("question 7");
    view.until("the answer", |v| {
        let asked = v.transcript.rows.iter().rposition(|r| r.text() == "question 7")?;
        let mut later = v.transcript.rows[asked..].iter();
        later.any(|r| matches!(r.body, Body::Assistant(_))).then_some(())
    })
    .await;
    let stored = home.stored(&session).rows;
    assert_eq!(stored[..11], rows);
    assert_eq!(summaries(&stored).len(), 1, "{}", home.dump());
}

/// Branches and waits for the view to be there.
async fn branch(view: &mut TestView) -> SessionId {
    let from = view.session();
    view.send(Command::Branch);
    view.until("the branch", |v| (v.session() != from).then(|| v.session())).await
}

// W18 W25 S03
#[tokio::test]
async fn a_process_is_reported_to_the_original_not_to_the_branch() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn(&waiting("a", "echo over"))).await;
    home.line_in("up-a").await;
    let original = view.session();
    let mut other = TestView::attach(&local, Target::Id(original.clone())).await;
    let copy = branch(&mut view).await;
    assert_eq!(view.transcript.rows, other.transcript.rows);
    assert_eq!(view.transcript.parent.as_ref(), Some(&original));
    assert!(view.transcript.processes.is_empty());
    let title = view.transcript.title.clone().unwrap();
    assert!(title.ends_with(" (branch)"), "{title}");
    drop(gate);
    assert_eq!(other.turn(2).await, Outcome::Done);
    other.delivery(Delivery::Delivered).await;
    assert_eq!(other.session(), original, "the other view stays");
    view.quiet().await;
    assert_eq!(view.turns(), [1], "only what it saw of the original");
    assert_eq!(wakeups(&home.stored(&original).rows).len(), 1);
    assert_eq!(wakeups(&home.stored(&copy).rows).len(), 0);
    // What the branch starts is the branch's.
    view.ask(2, &spawn("echo of $HERMES_SESSION_ID > id")).await;
    assert_eq!(home.line_in("id").await, format!("of {copy}"));
    view.until("its wakeup", |v| {
        v.transcript.processes.last().filter(|p| p.delivery == Delivery::Delivered).map(|_| ())
    })
    .await;
    assert_eq!(wakeups(&home.stored(&copy).rows).len(), 1);
    assert_eq!(wakeups(&home.stored(&original).rows).len(), 1);
    // Two rows of the list; one says where it comes from.
    let listed = home.run(&["sessions", "list"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert_eq!(listed.matches(&format!("(from {original})")).count(), 1, "{listed}");
    // A sister has a title of its own.
    view.send(Command::Open(Target::Id(original.clone())));
    view.until("the original", |v| (v.session() == original).then_some(())).await;
    branch(&mut view).await;
    let stem = title.strip_suffix(" (branch)").unwrap();
    assert_eq!(view.transcript.title, Some(format!("{stem} (branch 2)")));
}

#[tokio::test]
async fn a_branch_of_a_running_session_ends_with_a_finished_turn() {
    let home = Home::new();
    let gate = Gate::closed();
    let held = gate.clone();
    let server = Server::start(move |asked| match asked.last_user() {
        "wait" => Reply::After(held.clone(), Box::new(answer(asked, ""))),
        _ => obey(asked),
    })
    .await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.send(Command::Branch);
    let why = failure(&mut view, "branch").await;
    assert!(why.starts_with("there is nothing to copy yet"), "{why}");
    view.prompt("wait");
    server.requests(1).await;
    view.events.clear();
    view.send(Command::Branch);
    failure(&mut view, "branch").await;
    gate.open();
    assert_eq!(view.turn(1).await, Outcome::Done);
    let original = view.session();
    let finished = view.transcript.rows.clone();
    // A second turn, in the middle of its calls.
    let fifo = fifo(&home.work());
    let command = json!({ "command": waiting("a", "echo over") });
    view.prompt(&format!("call terminal {command}"));
    home.line_in("up-a").await;
    let copy = branch(&mut view).await;
    assert_eq!(view.transcript.rows, finished);
    assert!(view.transcript.running.is_none());
    view.ask(2, "another way").await;
    let asked = server.seen().pop().unwrap();
    assert_eq!(asked.texts("user"), ["wait", "another way"]);
    drop(fifo);
    eventually("the end of the original's turn", || home.is_settled().then_some(())).await;
    let rows = home.stored(&original).rows;
    assert_eq!(rows.len(), finished.len() + 4, "{}", home.dump());
    assert_eq!(home.stored(&copy).rows.len(), finished.len() + 2);
}
