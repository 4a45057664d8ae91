//! Walking away: what runs goes on with the interface left, its terminal gone, or suspended; and
//! several interfaces on one host. The real binary in a real pseudo-terminal.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use host::store::Lock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::{Body, Row};

use crate::attach::Served;
use crate::support::{
    Home, Reply, Server, Terminal, demo, eventually, exe, is_alive, obey, wakeups,
};
use crate::wakeups::{fifo, spawn, waiting};

/// What the model says once a turn goes on.
const WHOLE: &str = "The whole answer.";

/// A model that hangs in its first answer to `hang`, and answers when it is asked again.
async fn hanging() -> Server {
    let hung = AtomicBool::new(false);
    Server::start(move |asked| match asked.last_user() {
        "hang" if !hung.swap(true, Ordering::Relaxed) => Reply::Hang("On and on".to_owned()),
        // What was said is not always stored before a kill.
        text if text == "hang" || text.starts_with("[The host stopped") => {
            Reply::Text(WHOLE.to_owned())
        }
        _ => obey(asked),
    })
    .await
}

/// Closes the terminal. The library that makes it types a newline and Ctrl+D into it first, which
/// would quit: there is text for them.
async fn hang_up(terminal: &mut Terminal) {
    terminal.keys("half a thought");
    terminal.shows("half a thought").await;
    terminal.hang_up();
}

/// The process that owns the state.
fn holder(home: &Home) -> Option<u32> {
    Lock::holder(&home.state().host_lock())
}

/// Waits until another process than that one owns the state.
async fn successor(home: &Home, of: u32) -> u32 {
    eventually("another host", || holder(home).filter(|pid| *pid != of)).await
}

async fn gone(pid: u32) {
    eventually(&format!("the end of {pid}"), || (!is_alive(pid)).then_some(())).await;
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

fn answers<'a>(rows: &'a [Row], text: &str) -> Vec<&'a Row> {
    let says = |row: &&Row| matches!(&row.body, Body::Assistant(answer) if answer.text == text);
    rows.iter().filter(says).collect()
}

/// Waits until the turn that was cut off has its answer, exactly once, and nothing is open.
async fn answered(home: &Home, server: &Server) {
    let session = home.latest().unwrap();
    eventually("the answer in the store", || {
        let rows = home.stored(&session).rows;
        (!answers(&rows, WHOLE).is_empty() && home.is_settled()).then_some(())
    })
    .await;
    let rows = home.stored(&session).rows;
    assert_eq!(answers(&rows, WHOLE).len(), 1, "{}", home.dump());
    assert_eq!(rows.iter().filter(|row| row.text() == "hang").count(), 1, "{}", home.dump());
    server.stays_at(2).await;
}

/// Starts a command that waits for its gate, and waits until it runs.
async fn start_command(home: &Home, terminal: &mut Terminal) {
    terminal.send(&spawn(&waiting("a", "echo late")));
    terminal.shows("As you say.").await;
    home.line_in("up-a").await;
    terminal.until("the end of the turn", |s| !s.contains("Esc interrupts")).await;
}

// P10 W02
#[tokio::test]
async fn kept_work_goes_on_without_a_terminal_and_is_found_again() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let gate = fifo(&home.work());
    let mut terminal = Terminal::open(&home, &[]).await;
    start_command(&home, &mut terminal).await;
    terminal.keys("\x04");
    let screen = terminal.shows("1 keep it running").await;
    assert!(screen.contains("Still running: 1 background command."), "{screen}");
    terminal.keys("\r");
    assert_eq!(terminal.exit().await, 0);
    let said = terminal.raw();
    let first = terminal.pid();
    let second = successor(&home, first).await;
    assert!(said.contains(&format!("goes on in the background (process {second})")), "{said}");
    drop(terminal);
    server.stays_at(2).await;

    drop(gate);
    let seen = server.requests(3).await;
    assert!(seen[2].last_user().contains("\nlate]"), "{}", seen[2].last_user());
    eventually("the turn in the store", || home.is_settled().then_some(())).await;
    assert_eq!(wakeups(&home.stored(&home.latest().unwrap()).rows).len(), 1, "{}", home.dump());

    let mut terminal = Terminal::open(&home, &["-c"]).await;
    terminal.shows("I was woken.").await;
    assert_eq!(holder(&home), Some(second), "it is the same host");
    terminal.send("and on");
    server.requests(4).await;
    terminal.until("two answers", |s| s.matches("As you say.").count() == 2).await;
    // Nothing is asked: nothing of it is in this process.
    terminal.keys("\x04");
    assert_eq!(terminal.exit().await, 0);
    assert!(is_alive(second));
    assert!(home.run(&["host", "stop"]).await.status.success());
    gone(second).await;
}

// P10
#[tokio::test]
async fn work_of_sessions_out_of_view_is_asked_about_and_kept_too() {
    let home = Home::new();
    let server = hanging().await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("hang");
    terminal.shows("On and on").await;
    terminal.send("/new");
    terminal.until("a new session", |s| !s.contains("On and on")).await;
    terminal.keys("\x04");
    terminal.shows("Still running: a turn, also in other sessions.").await;
    terminal.keys("\r");
    assert_eq!(terminal.exit().await, 0);
    answered(&home, &server).await;
}

// P13
#[tokio::test]
async fn a_turn_whose_terminal_is_closed_is_answered_exactly_once() {
    let home = Home::new();
    let server = hanging().await;
    home.configure(server.url());
    // It goes on because it was handed over, not because it is fresh.
    let config = home.path().join("hermes/config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, format!("{text}  gateway_auto_continue_freshness: 0\n")).unwrap();
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("hang");
    terminal.shows("On and on").await;
    let first = terminal.pid();
    hang_up(&mut terminal).await;
    answered(&home, &server).await;
    assert_eq!(terminal.exit().await, 129);
    let second = successor(&home, first).await;
    drop(terminal);
    // What was being written is there for the next interface, and only until it is sent.
    let mut terminal = Terminal::open(&home, &["-c"]).await;
    let screen = terminal.shows("half a thought").await;
    assert!(screen.contains(WHOLE), "{screen}");
    assert_eq!(holder(&home), Some(second));
    terminal.keys("\r");
    assert_eq!(server.requests(3).await[2].last_user().trim(), "half a thought");
    terminal.shows("As you say.").await;
    terminal.keys("\x04");
    assert_eq!(terminal.exit().await, 0);
    assert_eq!(fs::read_dir(home.state().join("drafts")).unwrap().count(), 0);
}

// P13
#[tokio::test]
async fn a_turn_of_a_terminated_interface_goes_on_and_says_where() {
    let home = Home::new();
    let server = hanging().await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("hang");
    terminal.shows("On and on").await;
    send(terminal.pid(), Signal::SIGTERM);
    assert_eq!(terminal.exit().await, 143);
    let said = terminal.raw();
    assert!(said.contains("goes on in the background (process "), "{said}");
    assert!(said.contains(&format!("hermes-tui --resume {}", home.latest().unwrap())), "{said}");
    answered(&home, &server).await;
}

// P13
#[tokio::test]
async fn without_work_a_hang_up_leaves_no_host() {
    let home = Home::new();
    let mut terminal = Terminal::open(&home, &[]).await;
    hang_up(&mut terminal).await;
    assert_eq!(terminal.exit().await, 129);
    assert_eq!(holder(&home), None);
    assert!(!home.state().join("logs/serve.log").exists(), "none was started");
}

// P13
#[tokio::test]
async fn on_hangup_leave_or_kill_ends_the_host() {
    tokio::join!(hung_up("leave", true), hung_up("kill", false));
}

/// With that setting; `lives` says whether the command does.
async fn hung_up(wish: &str, lives: bool) {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let config = home.path().join("hermes/config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, format!("{text}hermes_tui:\n  on_hangup: {wish}\n")).unwrap();
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send(&spawn("echo $$ > pid; sleep 300"));
    terminal.shows("As you say.").await;
    let pid: u32 = home.line_in("pid").await.parse().unwrap();
    terminal.until("the end of the turn", |s| !s.contains("Esc interrupts")).await;
    hang_up(&mut terminal).await;
    assert_eq!(terminal.exit().await, 129);
    assert_eq!(holder(&home), None, "{wish}");
    if lives {
        assert!(is_alive(pid), "{wish}");
    } else {
        gone(pid).await;
    }
    assert!(!home.state().join("logs/serve.log").exists(), "{wish}: no other host");
}

/// A shell with the interface in it, and the pid of that.
async fn in_a_shell(home: &Home) -> (Terminal, u32) {
    let mut shell = Terminal::shell(home);
    shell.shows("bash-").await;
    shell.keys(&format!("{}\r", exe().display()));
    shell.shows("❯").await;
    let pid = eventually("the host", || holder(home)).await;
    (shell, pid)
}

fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

async fn stopped(pid: u32) {
    eventually("a stopped process", || is_stopped(pid).then_some(())).await;
}

// P14
#[tokio::test]
async fn ctrl_z_without_work_suspends_all_and_fg_restores_the_screen() {
    let home = Home::new();
    let (mut shell, pid) = in_a_shell(&home).await;
    shell.keys("half a thought");
    shell.shows("half a thought").await;
    for round in 1..=2 {
        shell.keys("\x1a");
        stopped(pid).await;
        shell.shows("Stopped").await;
        assert_eq!(holder(&home), Some(pid), "round {round}");
        // Who comes now is told why nobody answers.
        let begun = Instant::now();
        let mut second = Terminal::start(&home, &[]);
        assert_eq!(second.exit().await, 1);
        let waited = begun.elapsed();
        let said = second.raw();
        assert!(
            said.contains(&format!("is suspended (process {pid}): resume it with `fg`")),
            "{said}"
        );
        // One that may just be starting is waited for; this one is not.
        assert!(waited < Duration::from_millis(1500), "{waited:?}");
        if round == 1 {
            let status = home.run(&["host", "status"]).await;
            let said = String::from_utf8_lossy(&status.stdout);
            assert!(said.contains("is suspended: resume it with `fg`"), "{said}");
        }
        shell.keys("fg\r");
        shell.shows("half a thought").await;
        shell.keys("!");
        shell.shows(&format!("half a thought{}", "!".repeat(round))).await;
    }
    // As from elsewhere.
    send(pid, Signal::SIGTSTP);
    stopped(pid).await;
    shell.keys("fg\r");
    shell.shows("half a thought!!").await;
}

// P14
#[tokio::test]
async fn ctrl_z_with_work_suspends_only_the_interface() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let gate = fifo(&home.work());
    let (mut shell, first) = in_a_shell(&home).await;
    start_command(&home, &mut shell).await;
    shell.keys("half a thought");
    shell.keys("\x1a");
    stopped(first).await;
    shell.shows("Stopped").await;
    let second = successor(&home, first).await;
    assert!(!is_stopped(second));
    drop(gate);
    server.requests(3).await;
    eventually("the turn in the store", || home.is_settled().then_some(())).await;
    assert!(is_stopped(first));
    shell.keys("fg\r");
    let screen = shell.shows("I was woken.").await;
    assert!(screen.contains("half a thought"), "{screen}");
    shell.keys("\r");
    assert_eq!(server.requests(4).await[3].last_user(), "half a thought");
    shell.until("two answers", |s| s.matches("As you say.").count() == 2).await;
    // It can be done again, and then nothing needs to move.
    shell.keys("\x1a");
    stopped(first).await;
    shell.keys("fg\r");
    shell.until("the screen", |s| s.matches("As you say.").count() == 2).await;
    assert_eq!(holder(&home), Some(second));
}

// P14
#[tokio::test]
async fn ctrl_z_under_another_interface_suspends_only_its_own() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let (mut shell, first) = in_a_shell(&home).await;
    let mut second = Terminal::open(&home, &[]).await;
    second.send("hello");
    second.shows("As you say.").await;
    shell.keys("\x1a");
    stopped(first).await;
    shell.shows("Stopped").await;
    let host = successor(&home, first).await;
    assert!(!is_stopped(host));
    second.send("still there?");
    second.until("two answers", |s| s.matches("As you say.").count() == 2).await;
    shell.keys("fg\r");
    shell.keys("back");
    shell.shows("back").await;
    assert_eq!(holder(&home), Some(host));
}

// S07
#[tokio::test]
async fn two_interfaces_share_a_turn_and_one_outlives_the_other() {
    let home = Home::new();
    let server = hanging().await;
    home.configure(server.url());
    let mut first = Terminal::open(&home, &[]).await;
    let host = first.pid();
    first.send("hang");
    first.shows("On and on").await;
    let mut second = Terminal::open(&home, &["-c"]).await;
    second.shows("On and on").await;
    assert_eq!(holder(&home), Some(host), "there is one host");
    // Each sees what the other does.
    second.send("queued by the second");
    first.shows("queued by the second").await;
    second.keys("\x04");
    assert_eq!(second.exit().await, 0);
    assert!(first.is_running());
    // The first has another beside it: its end is no end of the host.
    let mut second = Terminal::open(&home, &["-c"]).await;
    second.shows("On and on").await;
    first.keys("\x04");
    first.shows("1 keep it running").await;
    first.keys("\x1b[B\r");
    assert_eq!(first.exit().await, 0);
    successor(&home, host).await;
    second.shows(WHOLE).await;
    second.shows("As you say.").await;
    second.send("still here");
    second.until("two answers", |s| s.matches("As you say.").count() == 2).await;
    assert!(!second.raw().contains("was stopped"), "it moved");
    let rows = home.stored(&home.latest().unwrap()).rows;
    assert_eq!(answers(&rows, WHOLE).len(), 1, "{}", home.dump());
    let queued = rows.iter().filter(|row| row.text() == "queued by the second").count();
    assert_eq!(queued, 1, "{}", home.dump());
    second.keys("\x04");
    assert_eq!(second.exit().await, 0);
}

// S07
#[tokio::test]
async fn a_second_interface_works_where_it_was_started() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let _first = Terminal::open(&home, &[]).await;
    let mut second = Terminal::open(&home, &[]).await;
    fs::write(home.work().join("there"), "").unwrap();
    second.send("call terminal {\"command\": \"pwd > where\"}");
    second.shows("As you say.").await;
    let there = home.line_in("where").await;
    assert_eq!(there, home.work().canonicalize().unwrap().display().to_string());
}

// S07 E13
#[tokio::test]
async fn the_second_interface_survives_a_kill_of_the_first() {
    let home = Home::new();
    let server = hanging().await;
    home.configure(server.url());
    let mut first = Terminal::open(&home, &[]).await;
    let host = first.pid();
    first.send("hang");
    first.shows("On and on").await;
    let mut second = Terminal::open(&home, &["-c"]).await;
    second.shows("On and on").await;
    first.kill();
    successor(&home, host).await;
    second.shows(WHOLE).await;
    answered(&home, &server).await;
    second.send("still here");
    second.shows("As you say.").await;
    assert_eq!(home.reader().sessions(10).unwrap().len(), 1);
}

// S07
#[tokio::test]
async fn who_holds_the_state_and_does_not_answer_is_named() {
    let home = Home::new();
    let _lock = Lock::take(&home.state().host_lock()).unwrap();
    let begun = Instant::now();
    let mut terminal = Terminal::start(&home, &[]);
    assert_eq!(terminal.exit().await, 1);
    assert!(begun.elapsed() > Duration::from_secs(1), "it may just be starting");
    let said = terminal.raw();
    assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
    assert!(said.contains("HERMES_TUI_HOME"), "{said}");
    let state = home.state().display().to_string();
    assert!(said.replace("\r\n", "").contains(&state), "{said}");
}

// P10
#[tokio::test]
async fn a_host_that_nobody_needs_any_more_ends_by_itself() {
    let home = Home::new();
    let args = ["serve", "--no-tcp", "--until-idle=1", "--detach"];
    assert!(home.run(&args).await.status.success());
    let pid = eventually("the host", || holder(&home)).await;
    let mut terminal = Terminal::open(&home, &[]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(holder(&home), Some(pid), "somebody looks");
    terminal.keys("\x04");
    assert_eq!(terminal.exit().await, 0);
    gone(pid).await;
}

// P13 C15
#[tokio::test]
async fn a_question_of_a_closed_terminal_is_asked_by_the_next_one() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    fs::create_dir(home.work().join("victim")).unwrap();
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("call terminal {\"command\": \"rm -r victim\"}");
    terminal.shows("Run this?").await;
    let first = terminal.pid();
    hang_up(&mut terminal).await;
    assert_eq!(terminal.exit().await, 129);
    successor(&home, first).await;
    let mut terminal = Terminal::open(&home, &["-c"]).await;
    terminal.shows("Run this?").await;
    // The draft is in the way of a key.
    terminal.keys("\x15\x7f\x15");
    terminal.shows("↑↓ Enter or a digit").await;
    terminal.keys("1");
    terminal.shows("As you say.").await;
    assert!(!home.work().join("victim").exists());
    let seen = server.requests(2).await;
    assert!(!seen[1].last_tool().contains("interrupted"), "{}", seen[1].last_tool());
    server.stays_at(2).await;
}

// P10
#[tokio::test]
async fn without_a_host_to_take_over_work_is_left_and_it_says_so() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let gate = fifo(&home.work());
    let mut terminal = Terminal::open(&home, &[]).await;
    start_command(&home, &mut terminal).await;
    let config = home.path().join("hermes/config.yaml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, "model: [").unwrap();
    terminal.keys("\x04");
    terminal.shows("1 keep it running").await;
    terminal.keys("\r");
    terminal.exit().await;
    let said = terminal.raw();
    assert!(said.contains("No host runs in the background"), "{said}");
    assert!(said.contains("config.yaml"), "it says why: {said}");
    assert_eq!(holder(&home), None);
    fs::write(&config, good).unwrap();
    drop(gate);
    let mut terminal = Terminal::open(&home, &["-c"]).await;
    terminal.shows("I was woken.").await;
    server.stays_at(3).await;
}

// P10
#[tokio::test]
async fn an_interface_whose_host_is_asked_to_stop_leaves() {
    let home = Home::new();
    let server = hanging().await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("hang");
    terminal.shows("On and on").await;
    let output = home.run(&["host", "stop"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(terminal.exit().await, 0);
    assert!(terminal.raw().contains("The host was asked to stop."), "{}", terminal.raw());
    assert_eq!(holder(&home), None);
    let mut terminal = Terminal::open(&home, &["-c"]).await;
    terminal.shows(WHOLE).await;
}

/// A host in the background, and an interface on it with half a thought.
async fn attached_with_a_draft(home: &Home) -> (u32, Terminal) {
    assert!(home.run(&["serve", "--no-tcp", "--detach"]).await.status.success());
    let host = eventually("the host", || holder(home)).await;
    let mut terminal = Terminal::open(home, &[]).await;
    terminal.send("first");
    terminal.shows("As you say.").await;
    terminal.until("the end of the turn", |s| !s.contains("Esc interrupts")).await;
    terminal.keys("half a thought");
    terminal.shows("half a thought").await;
    (host, terminal)
}

/// The host was stopped, and the draft sent while a broken config let no other one start.
async fn sent_where_no_host_starts(home: &Home) -> (u32, Terminal) {
    let (host, mut terminal) = attached_with_a_draft(home).await;
    let config = home.path().join("hermes/config.yaml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, "model: [").unwrap();
    assert!(home.run(&["host", "stop"]).await.status.success());
    terminal.shows("your next message starts another").await;
    terminal.keys("\r");
    let screen = terminal.shows("no other host can be started").await;
    assert!(screen.contains("half a thought"), "{screen}");
    fs::write(&config, good).unwrap();
    (host, terminal)
}

// P10 E13
#[tokio::test]
async fn a_stopped_host_stays_stopped_until_the_user_sends_something() {
    tokio::join!(stopped_on_purpose(false), stopped_on_purpose(true));
}

/// By a signal or by a request.
async fn stopped_on_purpose(signal: bool) {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let (host, mut terminal) = attached_with_a_draft(&home).await;
    if signal {
        send(host, Signal::SIGTERM);
        gone(host).await;
    } else {
        assert!(home.run(&["host", "stop"]).await.status.success());
    }
    let screen = terminal.shows("your next message starts another").await;
    assert!(screen.contains("half a thought"), "{screen}");
    // A killed one is replaced after two looks of half a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(holder(&home), None, "nobody asked for another");
    assert!(terminal.screen().contains("the host was stopped"), "{}", terminal.screen());
    // What was typed starts one, and arrives once.
    terminal.keys("\r");
    let second = successor(&home, host).await;
    terminal.until("two answers", |s| s.matches("As you say.").count() == 2).await;
    assert_eq!(server.requests(2).await[1].last_user(), "half a thought");
    let rows = home.stored(&home.latest().unwrap()).rows;
    assert_eq!(rows.iter().filter(|row| row.text() == "half a thought").count(), 1);
    assert_eq!(home.reader().sessions(10).unwrap().len(), 1, "{}", home.dump());
    // The same again, with another interface in between that brings the host back.
    assert!(home.run(&["host", "stop"]).await.status.success());
    gone(second).await;
    terminal.until("the end of it", |s| s.contains("the host was stopped")).await;
    let mut other = Terminal::open(&home, &["-c"]).await;
    other.until("two answers", |s| s.matches("As you say.").count() == 2).await;
    // In the status line: the notice above may have come, or not, before the other interface did.
    let status = |s: &str| s.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned);
    let is_up = |s: &str| status(s).is_some_and(|line| !line.contains("the host was stopped"));
    terminal.until("the link", is_up).await;
    other.send("third");
    terminal.until("three answers", |s| s.matches("As you say.").count() == 3).await;
}

// P10
#[tokio::test]
async fn where_no_host_starts_prompts_are_kept_and_the_reason_shown() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let (host, mut terminal) = sent_where_no_host_starts(&home).await;
    terminal.send("and this");
    successor(&home, host).await;
    server.requests(3).await;
    eventually("the turns in the store", || home.is_settled().then_some(())).await;
    let rows = home.stored(&home.latest().unwrap()).rows;
    let count = |text: &str| rows.iter().filter(|row| row.text() == text).count();
    assert_eq!((count("half a thought"), count("and this")), (1, 1), "{}", home.dump());
}

// P13
#[tokio::test]
async fn prompts_sent_without_a_host_go_out_once_at_the_next_start() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let (_host, mut terminal) = sent_where_no_host_starts(&home).await;
    terminal.keys("\x04");
    assert_eq!(terminal.exit().await, 0);
    let said = terminal.raw();
    assert!(said.contains("will be sent at the next start: half a thought"), "{said}");
    let mut terminal = Terminal::open(&home, &["-c"]).await;
    terminal.until("two answers", |s| s.matches("As you say.").count() == 2).await;
    assert_eq!(server.requests(2).await[1].last_user(), "half a thought");
    let rows = home.stored(&home.latest().unwrap()).rows;
    assert_eq!(rows.iter().filter(|row| row.text() == "half a thought").count(), 1);
    server.stays_at(2).await;
    assert_eq!(home.reader().sessions(10).unwrap().len(), 1, "{}", home.dump());
}

// S07
#[tokio::test]
async fn flags_of_a_second_interface_are_heeded_or_named_as_void() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let mut first = Terminal::open(&home, &[]).await;
    first.send("first");
    first.shows("As you say.").await;
    first.until("the end of the turn", |s| !s.contains("Esc interrupts")).await;
    let flags = ["-c", "--provider", "custom", "--max-turns", "3", "--model", "other", "--yolo"];
    let mut second = Terminal::open(&home, &flags).await;
    let screen = second.shows("--provider and --max-turns have no effect").await;
    assert!(screen.contains("hermes-tui host stop"), "{screen}");
    first.shows("other").await;
    second.send("second");
    assert_eq!(server.requests(2).await[1].body["model"], "other");
    first.until("two answers", |s| s.matches("As you say.").count() == 2).await;
    // Without approvals nobody is asked.
    fs::create_dir(home.work().join("victim")).unwrap();
    second.send("call terminal {\"command\": \"rm -r victim\"}");
    second.until("three answers", |s| s.matches("As you say.").count() == 3).await;
    assert!(!home.work().join("victim").exists());
    let third = Terminal::open(&home, &["-c"]).await;
    assert!(!third.raw().contains("no effect"), "{}", third.screen());
}

// S07
#[tokio::test]
async fn a_continued_session_takes_the_model_of_the_command_line() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("first");
    terminal.shows("As you say.").await;
    terminal.until("the end of the turn", |s| !s.contains("Esc interrupts")).await;
    terminal.keys("\x04");
    assert_eq!(terminal.exit().await, 0);
    let mut terminal = Terminal::open(&home, &["-c", "--model", "other"]).await;
    terminal.send("second");
    assert_eq!(server.requests(2).await[1].body["model"], "other");
    terminal.until("two answers", |s| s.matches("As you say.").count() == 2).await;
    terminal.until("the end of the turn", |s| !s.contains("Esc interrupts")).await;
    terminal.keys("\x04");
    assert_eq!(terminal.exit().await, 0);
    // A run without an interface too.
    let ran = home.run(&["-z", "third", "-c", "--model", "one-more"]).await;
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(server.requests(3).await[2].body["model"], "one-more");
}

// R01
#[tokio::test]
async fn the_doctor_names_open_work_and_what_to_do_about_it() {
    let home = Home::new();
    let server = hanging().await;
    home.configure(server.url());
    let doctor = async || {
        let ran = home.run(&["doctor"]).await;
        let out = String::from_utf8_lossy(&ran.stdout).into_owned();
        let line = out.lines().find(|line| line.starts_with("open ")).unwrap_or_default();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(doctor().await, "");
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("hang");
    terminal.shows("On and on").await;
    terminal.send("and then this");
    terminal.shows("and then this").await;
    let queued = || home.latest().filter(|id| !home.stored(id).queued.is_empty());
    eventually("the prompt in the store", queued).await;
    assert_eq!(doctor().await, "ok 1 open turn, 1 waiting prompt");
    terminal.kill();
    let said = doctor().await;
    assert!(said.starts_with("note 1 open turn, 1 waiting prompt; the next start"), "{said}");
}

// P14
#[tokio::test]
async fn commands_do_not_inherit_blocked_signals() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("call terminal {\"command\": \"grep SigBlk /proc/self/status > blocked\"}");
    terminal.shows("As you say.").await;
    let blocked = home.line_in("blocked").await;
    assert!(blocked.ends_with("\t0000000000000000"), "{blocked}");
    let own = fs::read_to_string(format!("/proc/{}/status", terminal.pid())).unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
    assert_ne!(own, "0000000000000000", "or this proves nothing");
}

// S07 P10
#[tokio::test]
async fn a_kill_on_leaving_leaves_the_other_interface_alone() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let mut first = Terminal::open(&home, &[]).await;
    first.send(&spawn("echo $$ > pid; sleep 300"));
    first.shows("As you say.").await;
    let pid: u32 = home.line_in("pid").await.parse().unwrap();
    first.until("the end of the turn", |s| !s.contains("Esc interrupts")).await;
    let mut second = Terminal::open(&home, &["-c"]).await;
    second.shows("As you say.").await;
    let host = first.pid();
    first.keys("\x04");
    first.shows("3 kill it").await;
    first.keys("\x1b[B\x1b[B\r");
    assert_eq!(first.exit().await, 0);
    gone(pid).await;
    successor(&home, host).await;
    second.send("still here");
    second.until("two answers", |s| s.matches("As you say.").count() == 2).await;
    let seen = server.requests(3).await;
    assert!(seen[2].last_user().contains("The user ended the background process"));
    assert!(wakeups(&home.stored(&home.latest().unwrap()).rows).is_empty(), "{}", home.dump());
}

// P13
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_for_a_remote_host_returns_at_the_next_attach() {
    let (here, elsewhere, other) = (Home::new(), Home::new(), Home::new());
    let served = Served::start(&elsewhere, demo()).await;
    let mut terminal = Terminal::open(&here, &["attach", &served.url()]).await;
    terminal.send("hello");
    terminal.until("the end of the turn", |s| s.contains("1%") && !s.contains("Esc int")).await;
    hang_up(&mut terminal).await;
    assert_eq!(terminal.exit().await, 129);
    // A host with another name has sessions of its own.
    let not_that = Served::start(&other, demo()).await;
    let mut terminal = Terminal::open(&here, &["attach", &not_that.url(), "-c"]).await;
    terminal.keys("mine");
    let screen = terminal.shows("mine").await;
    assert!(!screen.contains("half a thought"), "{screen}");
    let mut terminal = Terminal::open(&here, &["attach", &served.url(), "-c"]).await;
    terminal.shows("half a thought").await;
    // Sent, it is no draft any more.
    terminal.keys("\r");
    terminal.until("two answers", |s| s.matches("understand nothing").count() == 2).await;
    terminal.keys("\x04");
    assert_eq!(terminal.exit().await, 0);
    let mut terminal = Terminal::open(&here, &["attach", &served.url()]).await;
    terminal.keys("x");
    let screen = terminal.shows("❯ x").await;
    assert!(!screen.contains("half a thought"), "{screen}");
}
