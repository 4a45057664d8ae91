//! Wakeups that may not run now: refused, failed, interrupted, too many. The whole host, real
//! commands, a real model server; what waits is looked at in the store too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use host::settings::Timing;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::{Body, Command, Delivery, Event, News, Outcome, Target, Toast};
use serde_json::json;

use crate::support::{
    Asked, Home, Reply, Server, Terminal, TestView, answer, eventually, is_alive, obey, quick,
    start, wakeups,
};
use crate::wakeups::{fifo, spawn, waiting};

fn refused() -> Reply {
    Reply::Status(401, "{\"error\": {\"message\": \"Incorrect API key provided\"}}".to_owned())
}

/// Whether the request is about background events alone.
fn is_wakeup(asked: &Asked) -> bool {
    asked.last_user().starts_with("[IMPORTANT: Background process")
}

/// A server that refuses or fails while the switch is on.
async fn switched(reply: fn() -> Reply) -> (Arc<AtomicBool>, Server) {
    let switch = Arc::new(AtomicBool::new(false));
    let broken = switch.clone();
    let server = Server::start(
        move |asked| {
            if broken.load(Ordering::Relaxed) { reply() } else { obey(asked) }
        },
    )
    .await;
    (switch, server)
}

/// How many wait, as the last toast about it says.
fn last_toast(view: &TestView) -> Option<(u64, String)> {
    view.events.iter().rev().find_map(|event| match event {
        Event::Toast(Toast { news: News::Held { waiting }, text, .. }) => {
            Some((*waiting, text.clone()))
        }
        _ => None,
    })
}

// W20
#[tokio::test]
async fn a_refused_key_pauses_wakeups_until_another_model() {
    let home = Home::new();
    let server = Server::start(|asked| match asked.body["model"].as_str() {
        Some("test-model") if asked.last_user().starts_with("[IMPORTANT") => refused(),
        _ => obey(asked),
    })
    .await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    let ended = |v: &TestView, n: usize| {
        (v.transcript.processes.iter().filter(|p| !p.is_live()).count() == n).then_some(())
    };
    view.ask(1, &format!("{}\n{}", spawn("exit 1"), spawn(&waiting("a", "exit 2")))).await;
    home.line_in("up-a").await;
    assert_eq!(view.turn(2).await, Outcome::Failed { class: "auth".to_owned() });
    let held = view.until("the pause", |v| v.transcript.held.clone()).await;
    assert!(held.contains("/model"), "{held}");
    drop(gate);
    view.until("the second end", |v| ended(v, 2)).await;
    server.stays_at(3).await;
    view.until("the toast", |v| last_toast(v).filter(|(waiting, _)| *waiting == 2)).await;
    view.send(Command::SetModel { model: "other-model".to_owned() });
    assert_eq!(view.turn(3).await, Outcome::Done);
    let asked = server.requests(4).await.pop().unwrap();
    let text = asked.last_user();
    let place = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what}: {text}"));
    assert!(place("(exit code 1)") < place("(exit code 2)"), "both in one request");
    assert_eq!(wakeups(&view.transcript.rows).len(), 2, "one row each");
    assert!(view.transcript.processes.iter().all(|p| p.delivery == Delivery::Delivered));
    assert_eq!(view.transcript.held, None);
    server.stays_at(4).await;
}

// W20
#[tokio::test]
async fn a_pause_outlives_a_restart_until_the_key_changes() {
    let home = Home::new();
    let (refuses, server) = switched(refused).await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    let gate = fifo(&home.work());
    view.ask(1, &spawn(&waiting("a", "true"))).await;
    home.line_in("up-a").await;
    refuses.store(true, Ordering::Relaxed);
    drop(gate);
    assert_eq!(view.turn(2).await, Outcome::Failed { class: "auth".to_owned() });
    let session = view.session();
    drop(view);
    local.stop().await;

    let local = start(home.settings(server.model()));
    let view = TestView::attach(&local, Target::Id(session.clone())).await;
    assert!(view.transcript.held.is_some(), "still visible");
    server.stays_at(3).await;
    drop(view);
    local.stop().await;

    refuses.store(false, Ordering::Relaxed);
    let mut model = server.model();
    model.api_key = Some("another-key-for-tests".to_owned());
    // Nobody looks: it goes on by itself.
    let local = start(home.settings(model));
    eventually("the delivery", || home.is_settled().then_some(())).await;
    server.stays_at(4).await;
    local.stop().await;
    let stored = home.stored(&session);
    assert_eq!(stored.meta.pause, None);
    assert_eq!(wakeups(&stored.rows).len(), 1);
    assert_eq!(stored.processes[0].delivery, Delivery::Delivered);
}

// W29
#[tokio::test]
async fn a_failed_wakeup_is_retried_at_the_next_start_in_one_row() {
    let home = Home::new();
    let (fails, server) = switched(|| Reply::Status(503, "overloaded".to_owned())).await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    let gate = fifo(&home.work());
    view.ask(1, &spawn(&waiting("a", "exit 4"))).await;
    home.line_in("up-a").await;
    fails.store(true, Ordering::Relaxed);
    drop(gate);
    assert_eq!(view.turn(2).await, Outcome::Failed { class: "server".to_owned() });
    let (waiting, text) = view.until("the toast", last_toast).await;
    assert_eq!(waiting, 1);
    assert!(text.contains("within 1 min") && text.contains("/wake"), "{text}");
    let session = view.session();
    drop(view);
    local.stop().await;
    let stored = home.stored(&session);
    assert_eq!(stored.meta.retry.as_ref().map(|r| r.attempt), Some(1), "the plan is stored");

    // It fails once more, and then it does not.
    let local = start(home.settings(server.model()));
    server.requests(4).await;
    eventually("the second plan", || {
        let retry = home.stored(&session).meta.retry;
        retry.filter(|r| r.attempt == 2)
    })
    .await;
    local.stop().await;
    fails.store(false, Ordering::Relaxed);
    let local = start(home.settings(server.model()));
    eventually("the delivery", || home.is_settled().then_some(())).await;
    server.stays_at(5).await;
    local.stop().await;
    let stored = home.stored(&session);
    assert_eq!(wakeups(&stored.rows).len(), 1, "{}", home.dump());
    assert_eq!(stored.processes[0].delivery, Delivery::Delivered);
    assert_eq!(stored.meta.retry, None);
}

// W28 W29
#[tokio::test]
async fn without_the_working_directory_wakeup_and_prompt_start_alike() {
    let home = Home::new();
    let server = Server::start(|asked| match asked.last_user() {
        text if is_wakeup(asked) || text == "look" => {
            answer(asked, "call terminal {\"command\": \"pwd\"}")
        }
        text => answer(asked, text),
    })
    .await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    let folder = home.work().join("sub");
    std::fs::create_dir(&folder).unwrap();
    let gate = fifo(&folder);
    let enter = json!({ "command": "cd sub" });
    let stay = spawn(&waiting("a", "true"));
    view.ask(1, &format!("call terminal {enter}\nthen\n{stay}")).await;
    eventually("the command", || folder.join("up-a").exists().then_some(())).await;
    std::fs::remove_dir_all(&folder).unwrap();
    drop(gate);
    assert_eq!(view.turn(2).await, Outcome::Done);
    let woken = view.results().pop().unwrap();
    view.ask(3, "look").await;
    let asked = view.results().pop().unwrap();
    assert_eq!(woken["error"], asked["error"], "{woken} {asked}");
    assert_eq!(woken["exit_code"], asked["exit_code"], "{woken} {asked}");
    assert_eq!(wakeups(&view.transcript.rows).len(), 1);
    assert_eq!(view.process().delivery, Delivery::Delivered);
}

// W22
#[tokio::test]
async fn wakeups_held_by_an_interrupt_outlive_a_killed_host() {
    let home = Home::new();
    let server = Server::start(|asked| match asked.last_user() {
        "hang" => Reply::Hang("Well".to_owned()),
        _ => obey(asked),
    })
    .await;
    home.configure(server.url());
    let gate = fifo(&home.work());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send(&spawn(&waiting("a", "true")));
    terminal.shows("As you say.").await;
    home.line_in("up-a").await;
    terminal.send("hang");
    server.requests(3).await;
    terminal.shows("Well").await;
    terminal.keys("\x1b");
    terminal.shows("held:").await;
    let session = home.latest().unwrap();
    eventually("the stored hold", || home.stored(&session).meta.held).await;
    terminal.kill();
    drop(gate);

    let mut terminal = Terminal::open(&home, &["--resume", &session.0]).await;
    terminal.shows("held: 1 wakeup").await;
    server.stays_at(3).await;
    terminal.kill();
    let mut terminal = Terminal::open(&home, &["--resume", &session.0]).await;
    terminal.shows("held: 1 wakeup").await;
    terminal.send("go on");
    let asked = server.requests(4).await.pop().unwrap();
    assert!(asked.last_user().ends_with("go on"), "{}", asked.last_user());
    let texts = asked.texts("user").join("\n");
    assert_eq!(texts.matches("[IMPORTANT: Background process").count(), 1, "{texts}");
    eventually("the delivery", || home.is_settled().then_some(())).await;
    server.stays_at(4).await;
    assert_eq!(wakeups(&home.stored(&session).rows).len(), 1);
}

// W22
#[tokio::test]
async fn wake_now_runs_what_an_interrupt_held_and_a_toast_counts_it() {
    let home = Home::new();
    let server = Server::start(|asked| match asked.last_user() {
        "hang" => Reply::Hang("Well".to_owned()),
        _ => obey(asked),
    })
    .await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn(&waiting("a", "true"))).await;
    home.line_in("up-a").await;
    view.prompt("hang");
    server.requests(3).await;
    view.send(Command::Cancel);
    assert_eq!(view.turn(2).await, Outcome::Cancelled);
    drop(gate);
    let (waiting, text) = view.until("the toast", last_toast).await;
    assert_eq!(waiting, 1);
    assert!(text.contains("/wake"), "{text}");
    server.stays_at(3).await;
    view.send(Command::WakeNow);
    assert_eq!(view.turn(3).await, Outcome::Done);
    assert_eq!(view.transcript.held, None);
    server.stays_at(4).await;
}

// W23
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_turn_whose_command_cannot_be_killed_is_reclaimed() {
    let home = Home::with_timing(Timing { unwind: Duration::from_secs(2), ..quick() });
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    // The parent of the shell is the one that would end it; stopped, it cannot.
    let command = json!({ "command": "echo $$ > shell; echo $PPID > parent; sleep 300" });
    view.prompt(&format!("call terminal {command}"));
    let parent = Pid::from_raw(home.line_in("parent").await.parse().unwrap());
    let shell: u32 = home.line_in("shell").await.parse().unwrap();
    kill(parent, Signal::SIGSTOP).unwrap();
    view.send(Command::Cancel);
    let cancelling =
        |v: &TestView| v.transcript.running.as_ref().filter(|r| r.cancelling).map(|_| ());
    view.until("the mark", cancelling).await;
    view.prompt("and then this");
    view.until("the waiting prompt", |v| v.transcript.queued.first().map(|_| ())).await;
    cancelling(&view).expect("a prompt waits while it unwinds");
    assert_eq!(view.turn(1).await, Outcome::Cancelled);
    assert_eq!(view.turn(2).await, Outcome::Done);
    assert!(is_alive(shell), "nothing could end it");
    // What the old turn's command still does is nothing to the session.
    let rows = view.transcript.rows.len();
    kill(parent, Signal::SIGCONT).unwrap();
    eventually("the end of the command", || (!is_alive(shell)).then_some(())).await;
    view.ask(3, "still there?").await;
    assert_eq!(view.transcript.rows.len(), rows + 2);
}

// W31
#[tokio::test]
async fn a_wakeup_turn_stops_at_the_limit_of_a_user_turn() {
    let home = Home::new();
    let server = Server::start(|asked| match asked.last_user() {
        text if is_wakeup(asked) || text == "for ever" => {
            let listing = ("process".to_owned(), json!({ "action": "list" }));
            Reply::Calls(String::new(), vec![listing])
        }
        text => answer(asked, text),
    })
    .await;
    let mut settings = home.settings(server.model());
    settings.agent.max_turns = 3;
    let local = start(settings);
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn("true")).await;
    assert_eq!(view.turn(2).await, Outcome::Limit);
    view.until("the mark", |v| (v.transcript.unattended == 1).then_some(())).await;
    view.prompt("for ever");
    assert_eq!(view.turn(3).await, Outcome::Limit);
    assert_eq!(view.transcript.unattended, 0);
    let said = view.transcript.rows.iter().filter_map(|row| match &row.body {
        Body::Failure { message } => Some(message.as_str()),
        _ => None,
    });
    let said: Vec<_> = said.collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("limit of 3 requests (agent.max_turns)"), "{said:?}");
    assert_eq!(said[0], said[1]);
    assert_eq!(view.process().delivery, Delivery::Delivered);
    server.stays_at(2 + 3 + 3).await;
}
