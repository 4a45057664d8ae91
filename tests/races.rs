//! Two things at the same moment: interrupts, kills and closed terminals in the middle of work.

use std::time::{Duration, Instant};

use host::embedded::{Attendance, Role};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::{
    Command, Delivery, End, Event, Killer, Outcome, PromptId, SessionId, State, Target,
};
use serde_json::json;

use crate::support::{
    Gate, Home, LONG, Reply, Server, Terminal, TestView, demo, eventually, is_alive, obey, start,
    wakeups,
};
use crate::wakeups::{fifo, spawn, waiting};

// W27
#[tokio::test]
async fn a_spawn_cut_off_by_an_interrupt_does_not_stay_for_ever() {
    let home = Home::new();
    // Between the record of a spawn and its start the login shell is asked.
    std::fs::write(home.user().join(".bash_profile"), "sleep 1\n").unwrap();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.prompt(&spawn("sleep 0.3; echo over"));
    view.until("the record of the spawn", |v| v.transcript.processes.first().map(|_| ())).await;
    view.send(Command::Cancel);
    assert_eq!(view.turn(1).await, Outcome::Cancelled);
    view.until("its end", |v| (!v.process().is_live()).then_some(())).await;
    let exit = view.process().exit.unwrap();
    assert!(matches!(exit.end, End::FailedStart | End::Exited), "{exit:?}");
    view.ask(2, "go on").await;
    view.until("its completion", |v| {
        matches!(v.process().delivery, Delivery::Delivered | Delivery::Consumed).then_some(())
    })
    .await;
    assert!(home.is_settled(), "{}", home.dump());
}

// W08
#[tokio::test]
async fn a_kill_by_the_agent_survives_an_interrupt_of_the_turn() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    // Something that ignores the polite request.
    let stubborn = "trap '' TERM; echo $$ > pid; while :; do sleep 0.2; done";
    view.ask(1, &spawn(stubborn)).await;
    let pid: u32 = home.line_in("pid").await.parse().unwrap();
    let id = view.process().id;
    view.prompt(&format!("call process {}", json!({ "action": "kill", "session_id": id })));
    view.until("the record of the kill", |v| v.process().killed_by).await;
    view.send(Command::Cancel);
    assert_eq!(view.turn(2).await, Outcome::Cancelled);
    eventually("its end", || (!is_alive(pid)).then_some(())).await;
    view.delivery(Delivery::Consumed).await;
    assert_eq!(view.process().killed_by, Some(Killer::Agent));
    assert!(wakeups(&view.transcript.rows).is_empty());
}

// W09 P10
#[tokio::test]
async fn a_kill_requested_last_is_done_before_the_host_stops() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    let stubborn = "trap '' TERM; echo $$ > stubborn; while :; do sleep 0.2; done";
    let meek = "echo $$ > meek; sleep 300";
    view.ask(1, &format!("{}\n{}", spawn(stubborn), spawn(meek))).await;
    let pids = [home.line_in("stubborn").await, home.line_in("meek").await];
    view.send(Command::Kill { id: None });
    local.stop().await;
    for pid in pids {
        assert!(!is_alive(pid.parse().unwrap()), "{}", home.dump());
    }
    let stored = home.stored(&view.session()).processes;
    assert!(stored.iter().all(|p| p.killed_by == Some(Killer::User)));
}

// W08 W14
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_cut_off_by_a_crash_is_repeated_and_wakes_nobody() {
    let mut runs = tokio::task::JoinSet::new();
    for pause in [50, 100, 150, 200, 300] {
        runs.spawn(killed_while_killing(Some(Duration::from_millis(pause))));
    }
    runs.spawn(killed_while_killing(None));
    runs.join_all().await;
}

/// The host is killed that long after it was asked to start something and kill it; or as soon as
/// it has written down that it will.
async fn killed_while_killing(pause: Option<Duration>) {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    let action = json!({ "action": "kill", "session_id": "$ID" });
    let stubborn = "trap '' TERM; while :; do sleep 0.2; done";
    terminal.send(&format!("{}\nthen\ncall process {action}", spawn(stubborn)));
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => {
            eventually("the record of the kill", || {
                home.stored(&home.latest()?).processes.pop()?.killed_by
            })
            .await;
        }
    }
    terminal.kill();
    let Some(session) = home.latest() else { return };
    let _terminal = Terminal::open(&home, &["-c"]).await;
    if home.stored(&session).processes.is_empty() {
        return;
    }
    let process = eventually("a known state", || {
        let process = home.stored(&session).processes.pop()?;
        (process.state != State::Starting).then_some(process)
    })
    .await;
    if process.killed_by.is_none() {
        // Killed before the agent's kill was written down: it lives, or never started.
        let failed = process.exit.is_some_and(|e| e.end == End::FailedStart);
        assert!(failed || process.pid.is_some_and(is_alive), "{}", home.dump());
        assert!(pause.is_some());
        return;
    }
    eventually("the end", || home.is_settled().then_some(())).await;
    let stored = home.stored(&session);
    assert_eq!(stored.processes[0].delivery, Delivery::Consumed, "{}", home.dump());
    assert!(process.pid.is_none_or(|pid| !is_alive(pid)), "{}", home.dump());
    assert!(wakeups(&stored.rows).is_empty(), "{}", home.dump());
}

// W15 W06
#[tokio::test]
async fn many_that_end_while_no_host_runs_are_told_once_in_few_turns() {
    const TASKS: usize = 20;
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    let calls: Vec<_> = (0..TASKS)
        .map(|i| spawn(&waiting(&i.to_string(), &format!("echo end {i}; exit {i}"))))
        .collect();
    view.ask(1, &calls.join("\n")).await;
    for i in 0..TASKS {
        home.line_in(&format!("up-{i}")).await;
    }
    let session = view.session();
    let pids: Vec<u32> = view.transcript.processes.iter().filter_map(|p| p.pid).collect();
    drop(view);
    drop(local);
    drop(gate);
    eventually("all ends", || pids.iter().all(|pid| !is_alive(*pid)).then_some(())).await;
    server.stays_at(2).await;
    let local = start(home.settings(server.model()));
    eventually("all told", || home.is_settled().then_some(())).await;
    let stored = home.stored(&session);
    let told = wakeups(&stored.rows);
    assert_eq!(told.len(), TASKS, "{}", home.dump());
    for i in 0..TASKS {
        let code = Some(i as i32);
        let mine: Vec<_> =
            told.iter().filter(|w| w.exit.as_ref().is_some_and(|e| e.code == code)).collect();
        assert_eq!(mine.len(), 1);
        assert!(mine[0].text.ends_with(&format!("\nend {i}]")), "{}", mine[0].text);
    }
    // They ended together: a turn each would be the old way.
    assert!(server.seen().len() <= 2 + TASKS / 4, "{} requests", server.seen().len());
    drop(local);
}

// W01 P11
#[tokio::test]
async fn after_a_restart_an_unopened_session_is_woken_with_a_toast() {
    let home = Home::new();
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("background 2");
    terminal.shows("I will be woken when it ends").await;
    let session = home.latest().unwrap();
    terminal.kill();
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.shows("⚑ finished").await;
    eventually("the wakeup turn", || home.is_settled().then_some(())).await;
    let rows = home.stored(&session).rows;
    assert_eq!(wakeups(&rows).len(), 1);
    assert!(rows.last().unwrap().text().contains("ended with exit code 0"));
    assert!(!terminal.screen().contains("I was woken"), "it is the other session's turn");
}

// W15 W26
#[tokio::test]
async fn a_session_held_by_a_one_shot_run_is_loaded_when_free() {
    let home = Home::new();
    let hold = Gate::closed();
    let held = hold.clone();
    let server = Server::start(move |asked| match asked.last_user() {
        "hold" => Reply::After(held.clone(), Box::new(Reply::Text("Held.".to_owned()))),
        _ => obey(asked),
    })
    .await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn(&waiting("a", "true"))).await;
    home.line_in("up-a").await;
    let session = view.session();
    drop(view);
    local.stop().await;
    let oneshot = host::embedded::start(home.settings(server.model()), Role::OneShot).unwrap();
    let mut asking = oneshot.attach(Target::Id(session.clone()), Attendance::Stateless);
    asking.send(Command::Prompt { id: PromptId::fresh(), text: "hold".to_owned() });
    server.requests(3).await;
    let local = start(home.settings(server.model()));
    let mut other = TestView::new(&local).await;
    other.ask(1, "something else").await;
    drop(gate);
    hold.open();
    let end = loop {
        let event = tokio::time::timeout(LONG, asking.next()).await.unwrap().unwrap();
        if let Event::TurnEnded { outcome, .. } = event {
            break outcome;
        }
    };
    assert_eq!(end, Outcome::Done);
    drop(asking);
    oneshot.stop().await;
    eventually("the wakeup", || home.is_settled().then_some(())).await;
    assert_eq!(wakeups(&home.stored(&session).rows).len(), 1, "{}", home.dump());
    drop(local);
}

// P13
#[tokio::test]
async fn a_closed_terminal_leaves_no_busy_host_and_loses_nothing() {
    let ends = [Some(Signal::SIGHUP), Some(Signal::SIGTERM), None];
    futures::future::join_all(ends.map(terminal_closed)).await;
}

/// By that signal, or really.
async fn terminal_closed(signal: Option<Signal>) {
    let home = Home::new();
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("background 1");
    terminal.shows("I will be woken when it ends").await;
    let (session, pid) = (home.latest().unwrap(), terminal.pid());
    match signal {
        Some(signal) => kill(Pid::from_raw(pid as i32), signal).unwrap(),
        None => terminal.hang_up(),
    }
    // It goes on without a terminal, or it goes; both are fine, a busy loop is not.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let before = cpu(pid);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let spent = cpu(pid).saturating_sub(before);
    assert!(spent < 20, "{signal:?}: {spent} ticks in half a second");
    if terminal.is_running() {
        eventually("the wakeup", || home.is_settled().then_some(())).await;
        terminal.kill();
    }
    let _again = Terminal::open(&home, &["-c"]).await;
    eventually("the wakeup", || home.is_settled().then_some(())).await;
    assert_eq!(wakeups(&home.stored(&session).rows).len(), 1, "{}", home.dump());
}

/// Clock ticks a process has used.
fn cpu(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    field(11) + field(12)
}

// W05
#[tokio::test]
async fn the_demo_model_answers_a_prompt_that_came_with_a_completion() {
    let home = Home::new();
    let local = start(home.settings(demo()));
    let mut view = TestView::new(&local).await;
    view.ask(1, "background 1").await;
    view.prompt("slow 30");
    view.until("the toast", |v| (v.toasts() == 1).then_some(())).await;
    view.prompt("tool");
    view.send(Command::Cancel);
    assert_eq!(view.turn(2).await, Outcome::Cancelled);
    assert_eq!(view.turn(3).await, Outcome::Done);
    assert_eq!(wakeups(&view.transcript.rows).len(), 1);
    let result = view.results().pop().unwrap();
    assert!(result["output"].as_str().unwrap().contains("hello from the demo"), "{result}");
}

#[tokio::test]
async fn a_prompt_queued_at_a_kill_runs_once_after_the_restart() {
    let home = Home::new();
    let server = Server::start(|asked| match asked.last_user() {
        "hang" => Reply::Hang("Well".to_owned()),
        _ => obey(asked),
    })
    .await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("hang");
    terminal.shows("Well").await;
    terminal.send("and then this");
    let session = eventually("the prompt in the store", || {
        home.latest().filter(|id| home.stored(id).queued.len() == 1)
    })
    .await;
    terminal.kill();
    let mut terminal = Terminal::open(&home, &["-c"]).await;
    terminal.shows("As you say.").await;
    // The turn that was cut off goes on first (R01).
    let seen = server.requests(3).await;
    assert!(seen[2].last_user().ends_with("and then this"), "{}", seen[2].last_user());
    server.stays_at(3).await;
    assert!(home.stored(&session).queued.is_empty());
}

// W25
#[tokio::test]
async fn sessions_that_begin_in_the_same_second_have_ids_of_their_own() {
    let home = Home::new();
    let local = start(home.settings(demo()));
    let mut ids = std::collections::BTreeSet::<SessionId>::new();
    let mut views = Vec::new();
    let begun = Instant::now();
    for _ in 0..2_000 {
        let view = TestView::new(&local).await;
        assert!(ids.insert(view.session()), "an id came twice");
        views.push(view);
    }
    assert!(begun.elapsed() < LONG);
}
