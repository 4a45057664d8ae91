//! Background work wakes the agent: the whole host in this process, real commands, a real model
//! server.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use host::settings;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use protocol::{Body, Command, Delivery, End, Event, Killer, Outcome, Source, Target};
use serde_json::json;

use crate::support::{
    Gate, Home, Reply, Server, TestView, answer, demo, eventually, exit_of, is_alive, obey, start,
    wakeups,
};

/// A command that says that it is there and then waits until the fifo `gate` is let go.
pub(crate) fn waiting(name: &str, then: &str) -> String {
    format!("exec 3<gate; echo up > up-{name}; cat <&3; {then}")
}

/// The prompt that starts a command in the background and wants to be woken.
pub(crate) fn spawn(command: &str) -> String {
    let args = json!({ "command": command, "background": true, "notify_on_complete": true });
    format!("call terminal {args}")
}

/// Holds a fifo open on both sides: who reads it ends when this is dropped.
pub(crate) fn fifo(folder: &Path) -> File {
    let path = folder.join("gate");
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

// W01
#[tokio::test]
async fn without_a_view_a_completion_runs_one_turn() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn(&waiting("a", "echo over"))).await;
    home.line_in("up-a").await;
    let session = view.session();
    drop(view);
    drop(gate);
    let seen = server.requests(3).await;
    assert!(seen[2].last_user().starts_with("[IMPORTANT: Background process proc_"));
    eventually("the wakeup turn in the store", || home.is_settled().then_some(())).await;
    let rows = home.stored(&session).rows;
    assert_eq!(wakeups(&rows).len(), 1, "{}", home.dump());
    assert!(matches!(&rows.last().unwrap().body, Body::Assistant(a) if a.text == "I was woken."));
    server.stays_at(3).await;
    let late = TestView::attach(&local, Target::Id(session)).await;
    assert_eq!(wakeups(&late.transcript.rows).len(), 1);
    assert_eq!(late.process().delivery, Delivery::Delivered);
    assert!(late.transcript.running.is_none());
}

// W02
#[tokio::test]
async fn a_front_end_gets_a_toast_and_the_turn_from_its_first_delta() {
    let home = Home::new();
    let local = start(home.settings(demo()));
    let mut other = TestView::new(&local).await;
    let mut view = TestView::new(&local).await;
    view.ask(1, "background 1").await;
    assert_eq!(view.turn(2).await, Outcome::Done);
    let at = |wanted: fn(&Event) -> bool| view.events.iter().position(wanted).unwrap();
    let begun = at(|e| matches!(e, Event::TurnStarted { source: Source::Wakeup, .. }));
    let toast = at(|e| matches!(e, Event::Toast(_)));
    assert!(toast < begun);
    assert!(view.events[begun..].iter().any(|e| matches!(e, Event::Delta { n: 1, .. })));
    other.until("the toast", |v| (v.toasts() == 1).then_some(())).await;
    assert_eq!(other.turns(), [0; 0], "the turn is the other session's");
}

// W03 W05
#[tokio::test]
async fn completions_during_a_turn_go_with_the_prompt_in_one_request() {
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
    view.ask(1, &spawn(&waiting("a", "exit 4"))).await;
    home.line_in("up-a").await;
    view.prompt("hold");
    server.requests(3).await;
    drop(gate);
    view.until("the toast", |v| (v.toasts() == 1).then_some(())).await;
    view.prompt("and this");
    view.until("the prompt in the queue", |v| (v.transcript.queued.len() == 1).then_some(())).await;
    assert_eq!(view.turns(), [1, 2]);
    server.stays_at(3).await;
    hold.open();
    assert_eq!(view.turn(3).await, Outcome::Done);
    let asked = server.requests(4).await.pop().unwrap();
    let text = asked.last_user();
    let told = text.find("[IMPORTANT: Background process").expect("the event");
    assert!(text.contains("exited (exit code 4)"), "{text}");
    assert!(told < text.find("and this").expect("the prompt"));
    server.stays_at(4).await;
    view.quiet().await;
    assert_eq!(view.turns(), [1, 2, 3]);
    let third: Vec<_> = view.transcript.rows.iter().filter(|r| r.turn.0 == 3).collect();
    assert!(matches!(third[0].body, Body::Wakeup(_)) && matches!(third[1].body, Body::User { .. }));
    assert_eq!(view.process().delivery, Delivery::Delivered);
}

// W03
#[tokio::test]
async fn a_completion_during_a_turn_fires_once_when_that_ends() {
    let home = Home::new();
    let hold = Gate::closed();
    let held = hold.clone();
    let server = Server::start(move |asked| match asked.last_user() {
        "hold" => Reply::After(held.clone(), Box::new(Reply::Text("Held.".to_owned()))),
        _ => obey(asked),
    })
    .await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    let gate = fifo(&home.work());
    view.ask(1, &spawn(&waiting("a", "true"))).await;
    home.line_in("up-a").await;
    view.prompt("hold");
    server.requests(3).await;
    drop(gate);
    view.until("the toast", |v| (v.toasts() == 1).then_some(())).await;
    server.stays_at(3).await;
    hold.open();
    assert_eq!(view.turn(3).await, Outcome::Done);
    server.stays_at(4).await;
    assert_eq!(wakeups(&view.transcript.rows).len(), 1);
}

// W04
#[tokio::test]
async fn a_task_that_ends_before_its_turn_is_reported_exactly_once() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    for turn in 1..=10 {
        view.ask(2 * turn - 1, &spawn("true")).await;
        assert_eq!(view.turn(2 * turn).await, Outcome::Done);
        assert_eq!(wakeups(&view.transcript.rows).len() as u64, turn);
    }
    // Three requests a time: the call, its end, the wakeup.
    server.stays_at(30).await;
    view.quiet().await;
    assert_eq!(view.turns().len(), 20);
}

// W06
#[tokio::test]
async fn tasks_that_end_together_cost_one_request() {
    let home = Home::new();
    for file in [".bash_profile", ".bashrc", ".profile"] {
        std::fs::write(home.user().join(file), "sleep 0.1\nexport FROM_LOGIN=yes\n").unwrap();
    }
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    let mut asked = 0;
    let mut turn = 1;
    for round in 0.. {
        let gate = fifo(&home.work());
        let names: Vec<String> = (0..4).map(|i| format!("{round}-{i}")).collect();
        let calls: Vec<_> =
            names.iter().map(|n| spawn(&waiting(n, &format!("echo $FROM_LOGIN-{n}")))).collect();
        view.ask(turn, &calls.join("\n")).await;
        asked += 2;
        for name in &names {
            home.line_in(&format!("up-{name}")).await;
        }
        let before = view.events.len();
        std::fs::remove_file(home.work().join("gate")).unwrap();
        drop(gate);
        // When the host heard of each end.
        let mut heard = Vec::new();
        while heard.len() < 4 {
            let known = heard.len();
            view.until("a toast", |v| {
                let news = &v.events[before..];
                let toasts = news.iter().filter(|e| matches!(e, Event::Toast(_))).count();
                (toasts > known).then_some(())
            })
            .await;
            heard.push(Instant::now());
        }
        turn += 1;
        assert_eq!(view.turn(turn).await, Outcome::Done);
        let settled = "all delivered";
        view.until(settled, |v| {
            let last = &v.transcript.processes[round * 4..];
            last.iter().all(|p| p.delivery == Delivery::Delivered).then_some(())
        })
        .await;
        let gap = heard.windows(2).map(|w| w[1] - w[0]).max().unwrap();
        if gap > Duration::from_millis(35) {
            // The machine was too busy for them to end together: that proves nothing.
            assert!(round < 20, "they never ended together");
            view.quiet().await;
            turn = view.turns().len() as u64 + 1;
            asked = server.seen().len();
            continue;
        }
        asked += 1;
        server.stays_at(asked).await;
        let text = server.seen().pop().unwrap().last_user().to_owned();
        assert_eq!(text.matches("[IMPORTANT: Background process").count(), 4, "{text}");
        for name in &names {
            assert!(text.contains(&format!("yes-{name}")), "{text}");
        }
        return;
    }
}

// W07
#[tokio::test]
async fn an_end_that_the_agent_has_awaited_does_not_wake_it() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    for (turn, look) in ["wait", "log", "poll"].into_iter().enumerate() {
        let order = match look {
            // The end must be there before it can be looked at.
            "log" | "poll" => {
                let wait = json!({ "command": format!("until [ -e over-{look} ]; do sleep 0.02; done; sleep 0.3") });
                let command = format!("touch over-{look}; exit 3");
                let look = json!({ "action": look, "session_id": "$ID" });
                format!(
                    "{}\nthen\ncall terminal {wait}\nthen\ncall process {look}",
                    spawn(&command)
                )
            }
            _ => {
                let wait = json!({ "action": look, "session_id": "$ID" });
                format!("{}\nthen\ncall process {wait}", spawn("sleep 0.3; exit 3"))
            }
        };
        view.ask(turn as u64 + 1, &order).await;
        let seen = view.results().pop().unwrap();
        assert_eq!((&seen["status"], &seen["exit_code"]), (&json!("exited"), &json!(3)), "{look}");
        view.delivery(Delivery::Consumed).await;
        let asked = server.seen().len();
        server.stays_at(asked).await;
        view.quiet().await;
        assert_eq!(view.turns().len(), turn + 1, "{look}");
        if look == "wait" {
            assert_eq!(view.toasts(), 0, "the agent was there when it ended");
        }
    }
    assert!(wakeups(&view.transcript.rows).is_empty());
    assert!(home.is_settled());
}

// W08
#[tokio::test]
async fn a_kill_by_the_agent_does_not_wake_it() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    let kill = json!({ "action": "kill", "session_id": "$ID" });
    for turn in 1..=5 {
        view.ask(turn, &format!("{}\nthen\ncall process {kill}", spawn("sleep 60"))).await;
        assert_eq!(view.results().pop().unwrap()["status"], "killed");
        view.until("the end", |v| (!v.process().is_live()).then_some(())).await;
        view.delivery(Delivery::Consumed).await;
        let process = view.process();
        assert_eq!(process.killed_by, Some(Killer::Agent));
        assert_eq!(process.exit.unwrap().end, End::Killed);
        assert!(!is_alive(process.pid.unwrap()));
    }
    server.stays_at(15).await;
    view.quiet().await;
    assert_eq!((view.turns().len(), view.toasts()), (5, 0));
    assert!(wakeups(&view.transcript.rows).is_empty());
}

// W09
#[tokio::test]
async fn a_kill_by_the_user_starts_no_turn_the_next_request_says_it() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn("sleep 60")).await;
    let id = view.process().id;
    view.send(Command::Kill { id: Some(id.clone()) });
    view.until("the end", |v| (!v.process().is_live()).then_some(())).await;
    view.delivery(Delivery::Consumed).await;
    server.stays_at(2).await;
    view.quiet().await;
    assert_eq!((view.turns(), view.toasts()), (vec![1], 0));
    view.ask(2, "go on").await;
    let asked = server.requests(3).await.pop().unwrap();
    let line = format!("The user ended the background process {id} (sleep 60)");
    assert_eq!(asked.last_user().matches(&line).count(), 1, "{}", asked.last_user());
    view.ask(3, "and on").await;
    let asked = server.requests(4).await.pop().unwrap();
    assert!(!asked.last_user().contains("The user ended"), "said once");
}

// W12
#[tokio::test]
async fn a_failure_wakes_with_its_true_status() {
    let home = Home::new();
    let server = Server::obedient().await;
    let mut settings = home.settings(server.model());
    // Or a shell that kills itself is asked about.
    settings.approvals.mode = settings::Mode::Off;
    let local = start(settings);
    let mut view = TestView::new(&local).await;
    let cases = [
        ("echo oh no; exit 3", Some(3), None, "exited (exit code 3)"),
        ("kill -KILL $$", None, Some(9), "(exit code ?, SIGKILL)"),
        ("no-such-command-here", Some(127), None, "exited (exit code 127)"),
    ];
    for (i, (command, code, signal, said)) in cases.into_iter().enumerate() {
        let turn = 2 * i as u64 + 1;
        view.ask(turn, &spawn(command)).await;
        assert_eq!(view.turn(turn + 1).await, Outcome::Done);
        let told = wakeups(&view.transcript.rows);
        assert_eq!(told.len(), i + 1);
        let exit = exit_of(&told[i]);
        assert_eq!((exit.code, exit.signal), (code, signal), "{command}");
        assert!(told[i].text.contains(said), "{}", told[i].text);
        assert!(server.seen().pop().unwrap().last_user().contains(said));
    }
}

// W12
#[tokio::test]
async fn a_command_that_cannot_start_says_so_and_leaves_nothing() {
    let home = Home::new();
    let server = Server::obedient().await;
    let mut settings = home.settings(server.model());
    let local = start(settings.clone());
    let mut view = TestView::new(&local).await;
    let args = json!({ "command": "true", "background": true, "notify_on_complete": true,
        "workdir": "/no/such/folder" });
    view.ask(1, &format!("call terminal {args}")).await;
    let result = view.results().pop().unwrap();
    assert!(result["error"].as_str().unwrap().contains("/no/such/folder"), "{result}");
    assert!(view.transcript.processes.iter().all(|p| !p.is_live()));
    server.stays_at(2).await;
    drop(view);
    local.stop().await;

    settings.terminal.shell = home.path().join("no/such/dash");
    let local = start(settings);
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn("true")).await;
    let result = view.results().pop().unwrap();
    assert!(result["error"].as_str().unwrap().contains("did not start"), "{result}");
    let exit = view.process().exit.expect("an end");
    assert_eq!((exit.end, exit.code), (End::FailedStart, None));
    view.delivery(Delivery::Consumed).await;
    server.stays_at(4).await;
    assert!(home.is_settled());
}

// W13
#[tokio::test]
async fn a_grandchild_holding_the_output_does_not_delay_the_wakeup() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn("sleep 300 & echo $! > grandchild; echo over")).await;
    assert_eq!(view.turn(2).await, Outcome::Done);
    let grandchild = home.line_in("grandchild").await.parse().unwrap();
    assert!(is_alive(grandchild), "it still holds the output open");
    let told = wakeups(&view.transcript.rows);
    assert_eq!(exit_of(&told[0]).code, Some(0));
    assert!(told[0].text.contains("\nover]"), "{}", told[0].text);
}

// W17 W25 P12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_sessions_at_once_are_each_woken_by_their_own() {
    const SESSIONS: usize = 100;
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut views = Vec::new();
    for _ in 0..SESSIONS {
        views.push(TestView::new(&local).await);
    }
    let order = spawn("echo I am of $HERMES_SESSION_ID; sleep 0.5");
    // More than 64 at once are refused; who is refused asks again.
    let mut requests = 0;
    let mut turn = 1;
    let mut left: Vec<&mut TestView> = views.iter_mut().collect();
    while !left.is_empty() {
        for view in &left {
            view.prompt(&order);
        }
        let mut refused = Vec::new();
        for view in left {
            assert_eq!(view.turn(turn).await, Outcome::Done);
            requests += 2;
            if view.transcript.processes.is_empty() {
                let error = view.results().pop().unwrap()["error"].as_str().unwrap().to_owned();
                assert!(error.contains("64 background processes"), "{error}");
                refused.push(view);
            } else {
                assert_eq!(view.turn(turn + 1).await, Outcome::Done);
                requests += 1;
            }
        }
        turn += 1;
        left = refused;
    }
    server.stays_at(requests).await;
    for view in &mut views {
        view.drain();
        let told = wakeups(&view.transcript.rows);
        assert_eq!(told.len(), 1);
        let own = format!("\nI am of {}]", view.session());
        assert!(told[0].text.contains(&own), "{} is not {own}", told[0].text);
        assert_eq!(told[0].process, view.process().id);
        assert_eq!(view.process().session, view.session());
    }
    assert!(home.is_settled());
}

// W22
#[tokio::test]
async fn an_interrupt_holds_later_ends_until_the_next_prompt() {
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
    view.until("the running turn", |v| v.transcript.running.as_ref().map(|_| ())).await;
    server.requests(3).await;
    view.send(Command::Cancel);
    assert_eq!(view.turn(2).await, Outcome::Cancelled);
    drop(gate);
    view.until("the end", |v| (!v.process().is_live()).then_some(())).await;
    server.stays_at(3).await;
    view.drain();
    assert!(view.transcript.held.is_some());
    let session = view.session();
    drop(view);
    local.stop().await;

    let local = start(home.settings(server.model()));
    let mut view = TestView::attach(&local, Target::Id(session)).await;
    assert!(view.transcript.held.is_some());
    server.stays_at(3).await;
    view.ask(3, "go on").await;
    let asked = server.requests(4).await.pop().unwrap();
    assert!(asked.last_user().contains("[IMPORTANT: Background process"));
    assert!(asked.last_user().ends_with("go on"));
    assert_eq!(view.process().delivery, Delivery::Delivered);
    server.stays_at(4).await;
}

// W29
#[tokio::test]
async fn an_unanswered_wakeup_goes_with_the_next_prompt() {
    let home = Home::new();
    let server = Server::start(|asked| match asked.last_user() {
        text if text.starts_with("[IMPORTANT") && !text.contains("go on") => {
            Reply::Status(500, "{\"error\": {\"message\": \"broken\"}}".to_owned())
        }
        text => answer(asked, text),
    })
    .await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn("exit 5")).await;
    assert!(matches!(view.turn(2).await, Outcome::Failed { .. }));
    assert!(matches!(view.process().delivery, Delivery::Held(_)), "{:?}", view.process());
    let asked = server.seen().len();
    server.stays_at(asked).await;
    view.ask(3, "go on").await;
    let text = server.seen().pop().unwrap().last_user().to_owned();
    assert_eq!(text.matches("[IMPORTANT: Background process").count(), 1, "{text}");
    assert_eq!(wakeups(&view.transcript.rows).len(), 1);
    assert_eq!(view.process().delivery, Delivery::Delivered);
}

// W20
#[tokio::test]
async fn a_wakeup_with_a_refused_key_goes_with_a_working_prompt() {
    let home = Home::new();
    let refuses = Arc::new(AtomicBool::new(false));
    let refusing = refuses.clone();
    let server = Server::start(move |asked| {
        if refusing.load(Ordering::Relaxed) {
            let body = "{\"error\": {\"message\": \"Incorrect API key provided\"}}";
            return Reply::Status(401, body.to_owned());
        }
        obey(asked)
    })
    .await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    view.ask(1, &format!("{}\n{}", spawn(&waiting("a", "exit 1")), spawn("sleep 300"))).await;
    home.line_in("up-a").await;
    refuses.store(true, Ordering::Relaxed);
    drop(gate);
    assert_eq!(view.turn(2).await, Outcome::Failed { class: "auth".to_owned() });
    let delivery = view.transcript.processes[0].delivery.clone();
    assert!(matches!(delivery, Delivery::Held(_)), "{delivery:?}");
    // No storm; and a prompt is never held back.
    server.stays_at(3).await;
    view.prompt("still refused?");
    assert_eq!(view.turn(3).await, Outcome::Failed { class: "auth".to_owned() });
    server.stays_at(4).await;
    refuses.store(false, Ordering::Relaxed);
    view.ask(4, "and now?").await;
    let text = server.seen().pop().unwrap().last_user().to_owned();
    assert_eq!(text.matches("[IMPORTANT: Background process").count(), 1, "{text}");
    assert_eq!(view.transcript.processes[0].delivery, Delivery::Delivered);
    server.stays_at(5).await;
}

// W24
#[tokio::test]
async fn the_tail_in_a_wakeup_is_short_plain_and_without_secrets() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    let secret = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEF";
    let command = format!(
        "i=0; while [ $i -lt 900 ]; do i=$((i+1)); echo line $i; done; \
         printf '\\033]0;title\\007\\033[1mkey {secret}\\033[0m\\r\\n'"
    );
    view.ask(1, &spawn(&command)).await;
    assert_eq!(view.turn(2).await, Outcome::Done);
    let text = server.seen().pop().unwrap().last_user().to_owned();
    let (_, output) = text.split_once("\nOutput:\n").expect("an output");
    let id = view.process().id;
    assert!(output.starts_with(&format!("[earlier output left out: process log {id}]\nline ")));
    assert!(output.chars().count() <= 2_000, "{} characters", output.chars().count());
    assert!(!output.contains(secret) && !output.contains('\x1b'), "{output}");
    let last = output.lines().last().unwrap();
    assert!(last.starts_with("key ") && last.ends_with(']'), "{last}");
}

// W12
#[tokio::test]
async fn a_process_whose_supervisor_is_killed_is_told_as_lost() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn("echo $PPID > supervisor; exec sleep 300")).await;
    let supervisor = home.line_in("supervisor").await.parse().unwrap();
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
    assert_eq!(view.turn(2).await, Outcome::Done);
    let told = wakeups(&view.transcript.rows);
    let exit = exit_of(&told[0]);
    assert_eq!((exit.end, exit.code), (End::Lost, None));
    let said = "marked lost because the process backend disappeared (exit code ?)";
    assert!(told[0].text.contains(said), "{}", told[0].text);
}

// W11 W31
#[tokio::test]
async fn a_chain_of_wakeups_stops_after_twenty_until_a_user_acts() {
    let home = Home::new();
    let server = Server::start(|asked| match asked.last_user() {
        text if text.starts_with("[IMPORTANT") => answer(asked, &spawn("true")),
        text => answer(asked, text),
    })
    .await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn("true")).await;
    assert_eq!(view.turn(21).await, Outcome::Done);
    let held = view.until("the hold", |v| v.transcript.held.clone()).await;
    assert!(held.contains("20 wakeups"), "{held}");
    server.stays_at(42).await;
    view.drain();
    assert_eq!(view.turns().len(), 21);
    assert_eq!(wakeups(&view.transcript.rows).len(), 20);
    view.send(Command::WakeNow);
    assert_eq!(view.turn(22).await, Outcome::Done);
}

// W28
#[tokio::test]
async fn a_wakeup_turn_has_what_a_user_turn_has() {
    let home = Home::new();
    let server = Server::start(|asked| {
        let order = match asked.last_user() {
            text if text.starts_with("[IMPORTANT") => {
                "call terminal {\"command\": \"pwd; echo $KEPT\"}"
            }
            text => text,
        };
        answer(asked, order)
    })
    .await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    std::fs::create_dir(home.work().join("sub")).unwrap();
    let order = json!({ "command": "cd sub; export KEPT=kept" });
    view.ask(1, &format!("call terminal {order}\nthen\n{}", spawn("sleep 0.2"))).await;
    assert_eq!(view.turn(2).await, Outcome::Done);
    let result = view.results().pop().unwrap();
    let folder = home.work().join("sub").canonicalize().unwrap();
    assert_eq!(result["output"], format!("{}\nkept", folder.display()), "{result}");
    let seen = server.seen();
    let (user, woken) = (&seen[0].body, &seen[seen.len() - 2].body);
    let without = |body: &serde_json::Value| {
        let mut body = body.clone();
        body.as_object_mut().unwrap().remove("messages");
        body
    };
    assert_eq!(without(user), without(woken));
    assert_eq!(user["messages"][0], woken["messages"][0]);
}
