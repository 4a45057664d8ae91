//! The real binary in a terminal: what a user sees and types.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::support::{Home, Reply, Server, Terminal, eventually, is_alive, obey, wakeups};
use crate::wakeups::{fifo, spawn, waiting};

// W01 W02
#[tokio::test]
async fn with_the_keyboard_left_alone_the_wakeup_appears() {
    let home = Home::new();
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("background 2");
    terminal.shows("I will be woken when it ends").await;
    let screen = terminal.shows("ended with exit code 0").await;
    assert!(screen.contains("⚑ finished · proc_"), "{screen}");
    assert!(screen.contains("I was woken:"), "{screen}");
    eventually("the turn in the store", || home.is_settled().then_some(())).await;
    let rows = home.stored(&home.latest().unwrap()).rows;
    assert_eq!(wakeups(&rows).len(), 1, "{}", home.dump());
}

// W06
#[tokio::test]
async fn the_answer_to_several_completions_names_each() {
    let home = Home::new();
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("background 1 times 3");
    terminal
        .until("three ends", |screen| screen.matches("ended with exit code 0").count() == 3)
        .await;
}

// W02 W24
#[tokio::test]
async fn with_a_hermes_home_exactly_one_wakeup_request_arrives() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    let gate = fifo(&home.work());
    let command = waiting("a", "printf 'one\\n\\033[31mtwo\\033[0m\\n'; exit 7");
    terminal.send(&spawn(&command));
    terminal.shows("As you say.").await;
    home.line_in("up-a").await;
    drop(gate);
    terminal.shows("I was woken.").await;
    let seen = server.requests(3).await;
    let id = home.stored(&home.latest().unwrap()).processes[0].id.clone();
    assert_eq!(
        seen[2].last_user(),
        format!(
            "[IMPORTANT: Background process {id} exited (exit code 7).\nCommand: {command}\n\
             Output:\none\ntwo]"
        )
    );
    assert!(terminal.screen().contains("⚑ failed (exit 7)"), "{}", terminal.screen());
    server.stays_at(3).await;
}

// C10 C08
#[tokio::test]
async fn an_approval_shows_a_card_and_enter_alone_denies() {
    let home = Home::new();
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("approval");
    let screen = terminal.shows("↑↓ Enter or a digit").await;
    assert!(screen.contains("Run this?") && screen.contains("rm -rf"), "{screen}");
    assert!(screen.contains("s left"), "{screen}");
    terminal.keys("\r");
    let screen = terminal.shows("What came of it").await;
    assert!(screen.contains("denied"), "{screen}");
    assert!(!screen.contains("Run this?"), "{screen}");
}

// C11
#[tokio::test]
async fn a_card_takes_no_keys_that_were_meant_for_the_input() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    std::fs::create_dir(home.work().join("victim")).unwrap();
    let args = json!({ "command": "rm -r victim" });
    terminal.send(&format!("call terminal {args}"));
    // Somebody goes on typing while the card comes.
    let mut typed = 0;
    while !terminal.screen().contains("Run this?") {
        terminal.keys("1");
        typed += 1;
        assert!(typed < 3_000, "no card: {}", terminal.screen());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..20 {
        terminal.keys("1");
        typed += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let all = "1".repeat(typed.min(60));
    terminal.shows(&all).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    terminal.keys("1");
    let screen = terminal.shows("Run this?").await;
    assert!(screen.contains("ready once the input is empty"), "{screen}");
    assert!(home.work().join("victim").exists());
    // With the input empty and the keyboard quiet it is answered.
    terminal.keys("\x15");
    terminal.shows("↑↓ Enter or a digit").await;
    terminal.keys("1");
    terminal.shows("As you say.").await;
    assert!(!home.work().join("victim").exists());
}

// W22
#[tokio::test]
async fn esc_ends_a_foreground_command_and_the_queue_goes_on() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    let args = json!({ "command": "sleep 40 & echo $! > child; echo $$ > shell; wait" });
    terminal.send(&format!("call terminal {args}"));
    let child: u32 = home.line_in("child").await.parse().unwrap();
    let shell: u32 = home.line_in("shell").await.parse().unwrap();
    terminal.send("and then this");
    terminal.shows("and then this").await;
    terminal.keys("\x1b");
    eventually("the end of the command", || (!is_alive(child) && !is_alive(shell)).then_some(()))
        .await;
    terminal.shows("As you say.").await;
    let seen = server.requests(2).await;
    assert_eq!(seen[1].last_user(), "and then this");
    assert!(seen[1].last_tool().contains("interrupted by the user"), "{}", seen[1].last_tool());
}

// P10 W15
#[tokio::test]
async fn quitting_asks_and_work_left_running_wakes_at_the_next_start() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let gate = fifo(&home.work());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send(&spawn(&waiting("a", "echo late")));
    terminal.shows("As you say.").await;
    home.line_in("up-a").await;
    terminal.keys("\x04");
    terminal.shows("2 stop only the agent").await;
    terminal.keys("\x1b[B");
    terminal.shows("The command keeps running").await;
    terminal.keys("\r");
    assert_eq!(terminal.exit().await, 0);
    let session = home.latest().unwrap();
    let line = format!("hermes-tui --resume {session}");
    assert!(terminal.raw().contains(&line), "it says how to go on");
    drop(gate);
    server.stays_at(2).await;
    let mut terminal = Terminal::open(&home, &["--resume", &session.0]).await;
    terminal.shows("I was woken.").await;
    let seen = server.requests(3).await;
    assert!(seen[2].last_user().contains("completed normally (exit code 0)"));
    assert!(seen[2].last_user().contains("\nlate]"));
    server.stays_at(3).await;
}

// P10 W09
#[tokio::test]
async fn quitting_can_stop_what_runs_and_then_nothing_wakes_later() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send(&spawn("echo $$ > pid; sleep 300"));
    terminal.shows("As you say.").await;
    let pid: u32 = home.line_in("pid").await.parse().unwrap();
    terminal.until("the end of the turn", |s| !s.contains("Esc interrupts")).await;
    terminal.keys("\x04");
    terminal.shows("kill it").await;
    terminal.keys("\x1b[B\x1b[B\r");
    assert_eq!(terminal.exit().await, 0);
    eventually("its end", || (!is_alive(pid)).then_some(())).await;
    let mut terminal = Terminal::open(&home, &["-c"]).await;
    eventually("the end in the store", || home.is_settled().then_some(())).await;
    server.stays_at(2).await;
    terminal.send("go on");
    let asked = server.requests(3).await.pop().unwrap();
    assert!(asked.last_user().contains("The user ended the background process"));
    assert!(wakeups(&home.stored(&home.latest().unwrap()).rows).is_empty());
}

// S07 W26
#[tokio::test]
async fn other_sessions_can_be_used_beside_a_running_turn() {
    let home = Home::new();
    let server = Server::start(|asked| match asked.last_user() {
        "hang" => Reply::Hang("On and on".to_owned()),
        _ => obey(asked),
    })
    .await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("hang");
    terminal.shows("On and on").await;
    let session = eventually("the session", || home.latest()).await;

    let output = home.run(&["-z", "hello"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "As you say.\n");

    let output = home.run(&["sessions", "list"]).await;
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && list.contains(&session.0), "{list}");
    assert_eq!(list.lines().count(), 3, "{list}");

    let output = home.run(&["-z", "hello", "--resume", &session.0]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    assert!(said.contains(&session.0), "{said}");
    assert!(said.contains(&format!("process {}", terminal.pid())), "{said}");
    assert!(!said.contains("panicked"));

    // The interface has noticed nothing of it.
    let screen = terminal.screen();
    assert!(screen.contains("On and on") && screen.contains("Esc interrupts"), "{screen}");
    server.stays_at(2).await;
}

#[tokio::test]
async fn two_one_shot_runs_at_once_keep_to_themselves() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let runs = (0..6).map(|i| {
        let mut command = home.command(&["-z", &format!("number {i}")]);
        command.stdin(Stdio::null());
        crate::support::run(command)
    });
    for output in futures::future::join_all(runs).await {
        assert!(output.status.success(), "{output:?}");
    }
    let sessions = home.reader().sessions(100).unwrap();
    assert_eq!(sessions.len(), 6);
    assert!(sessions.iter().all(|s| s.rows == 2), "{sessions:?}");
}

#[tokio::test]
async fn a_smaller_screen_is_drawn_anew() {
    let home = Home::new();
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("hello");
    terminal.shows("demo model").await;
    terminal.resize(12, 40);
    let screen = terminal
        .until("a screen of 40 columns", |screen| {
            screen.contains('❯') && screen.lines().all(|line| line.chars().count() <= 40)
        })
        .await;
    assert!(screen.lines().count() <= 12, "{screen}");
}

/// Without brackets a paste is a burst of keys, longer than one read of the terminal.
#[tokio::test]
async fn a_burst_of_keys_arrives_whole_without_another_key() {
    let home = Home::new();
    let mut terminal = Terminal::open(&home, &[]).await;
    let words: Vec<String> = (0..600).map(|n| format!("w{n:03}")).collect();
    terminal.keys(&words.join(" "));
    terminal.shows("w598 w599").await;
}
