//! Delegated tasks: sessions that work for another one, with the whole host, and the host killed
//! under them.

use std::time::{Duration, Instant};

use host::embedded::EmbeddedHost;
use protocol::{
    Body, Command, Delivery, End, Event, Killer, Outcome, SessionId, SessionRow, Source, State,
    Target, WakeupKind,
};
use serde_json::{Value, json};

use crate::crash::{Dice, in_homes};
use crate::support::{
    Asked, Gate, Home, LONG, Reply, Server, Terminal, TestView, answer, demo, eventually, exit_of,
    start, wakeups,
};

/// How the first prompt of a delegated task begins.
const BRIEF: &str = "[Another agent has delegated";

/// Runs of the loop under kills.
const RUNS: u64 = 20;

/// The prompt that delegates these goals in one call.
fn delegate(goals: &[&str]) -> String {
    let tasks: Vec<Value> = goals.iter().map(|goal| json!({ "goal": goal })).collect();
    format!("call delegate_task {}", json!({ "tasks": tasks }))
}

/// The goal of a request that comes from a delegated task.
fn goal(asked: &Asked) -> Option<String> {
    let brief = asked.texts("user").first()?.strip_prefix(BRIEF)?.to_owned();
    let (_, goal) = brief.split_once("Task: ")?;
    Some(goal.lines().next()?.to_owned())
}

/// As the server of most tests: who works on a task finds what its goal says, `hang` hangs, a
/// goal that orders calls makes them; the others obey. `$TASK` is the first task of the last
/// delegation.
fn script(asked: &Asked) -> Reply {
    match goal(asked).as_deref() {
        Some("hang") => Reply::Hang("I was".to_owned()),
        Some(order) if order.starts_with("call ") => match answer(asked, order) {
            Reply::Calls(text, calls) => Reply::Calls(text, calls),
            _ => Reply::Text(format!("It said: {}", asked.last_tool())),
        },
        Some(goal) => Reply::Text(format!("Found {goal}.")),
        None if asked.last_user().starts_with("[IMPORTANT: Delegated task") => {
            Reply::Text("I was told.".to_owned())
        }
        None => {
            let task = asked.texts("tool").into_iter().rev().find_map(|result| {
                let result: Value = serde_json::from_str(result).ok()?;
                result["tasks"][0]["session_id"].as_str().map(str::to_owned)
            });
            let order = asked.last_user().replace("$TASK", task.as_deref().unwrap_or("none"));
            answer(asked, &order)
        }
    }
}

fn workers(home: &Home) -> Vec<SessionRow> {
    let all = home.reader().sessions(100).unwrap();
    all.into_iter().filter(|session| session.source == "delegate").collect()
}

/// The names of the tools in a request.
fn tools(asked: &Asked) -> Vec<&str> {
    let tools = asked.body["tools"].as_array().unwrap().iter();
    tools.filter_map(|tool| tool["function"]["name"].as_str()).collect()
}

fn tail_of(event: &Event) -> Option<String> {
    match event {
        Event::ProcessTail { text, .. } => Some(text.clone()),
        _ => None,
    }
}

async fn rig(home: &Home, server: &Server) -> (EmbeddedHost, TestView) {
    let local = start(home.settings(server.model()));
    let view = TestView::new(&local).await;
    (local, view)
}

// W01 W17
#[tokio::test]
async fn a_delegated_task_wakes_its_session_with_the_result_once() {
    let home = Home::new();
    let server = Server::start(script).await;
    let (_local, mut view) = rig(&home, &server).await;
    view.ask(1, &delegate(&["A"])).await;
    assert_eq!(view.turn(2).await, Outcome::Done);
    server.stays_at(4).await;
    view.quiet().await;
    assert_eq!(view.turns(), [1, 2]);
    assert_eq!(view.toasts(), 1);
    let told = wakeups(&view.transcript.rows);
    let [told] = told.as_slice() else { panic!("{told:?}") };
    let id = &view.process().id;
    assert!(id.0.starts_with("deleg_") && id.0.len() == 18, "{id}");
    assert_eq!((&told.process, told.kind), (id, WakeupKind::Delegation));
    let text = format!("[IMPORTANT: Delegated task {id} completed.\nGoal: A\nResult:\nFound A.]");
    assert_eq!(told.text, text);
    assert_eq!(view.process().delivery, Delivery::Delivered);
    view.send(Command::Tail { id: id.clone() });
    let tail = view.until("what it said last", |v| v.events.iter().find_map(tail_of)).await;
    assert_eq!(tail, "Found A.");
    eventually("the end in the store", || home.is_settled().then_some(())).await;
    let [worker] = workers(&home).try_into().unwrap();
    assert_eq!(worker.parent, Some(view.session()));
    assert_eq!(view.process().worker(), Some(&worker.id));
    assert_eq!(home.latest(), Some(view.session()), "`-c` opens what the user worked in");
}

#[tokio::test]
async fn a_delegated_task_has_its_own_context_and_asks_nobody() {
    let home = Home::new();
    let server = Server::start(script).await;
    let (_local, mut view) = rig(&home, &server).await;
    view.ask(1, "my secret thoughts").await;
    let danger = home.work().join("precious");
    std::fs::create_dir(&danger).unwrap();
    let calls = [
        json!({ "goal": "call delegate_task {\"goal\": \"deeper\"}", "context": "Mind the gap." }),
        json!({ "goal": "call clarify {\"question\": \"may I?\"}" }),
        json!({ "goal": "call terminal {\"command\": \"rm -rf precious\"}" }),
    ];
    view.ask(2, &format!("call delegate_task {}", json!({ "tasks": calls }))).await;
    eventually("all three", || {
        view.drain();
        (wakeups(&view.transcript.rows).len() == 3).then_some(())
    })
    .await;
    let told: Vec<_> = wakeups(&view.transcript.rows).into_iter().map(|w| w.text).collect();
    let of = |goal: &str| told.iter().find(|t| t.contains(&format!("Goal: {goal}"))).unwrap();
    assert!(of("call delegate_task").contains("there is no tool `delegate_task`"), "{told:?}");
    assert!(of("call clarify").contains("there is no tool `clarify`"), "{told:?}");
    assert!(of("call terminal").contains("nobody can give one in a delegated task"), "{told:?}");
    assert!(danger.is_dir());
    let seen = server.seen();
    let (of_tasks, of_parent): (Vec<_>, Vec<_>) = seen.iter().partition(|a| goal(a).is_some());
    for asked in &of_tasks {
        assert!(!tools(asked).iter().any(|t| ["delegate_task", "clarify"].contains(t)));
        assert!(tools(asked).contains(&"terminal"));
        assert!(!asked.body.to_string().contains("my secret thoughts"));
        assert!(asked.texts("system")[0].contains("Working directory"), "{:?}", asked.body);
    }
    assert!(of_tasks.iter().any(|a| a.texts("user")[0].ends_with("Context:\nMind the gap.")));
    assert!(tools(of_parent[0]).contains(&"delegate_task"));
    assert!(view.transcript.questions.is_empty());
}

// W06
#[tokio::test]
async fn results_that_wait_together_cost_one_request() {
    let home = Home::new();
    let hold = Gate::closed();
    let held = hold.clone();
    let server = Server::start(move |asked| match script(asked) {
        Reply::Text(text) if text == "As you say." => {
            Reply::After(held.clone(), Box::new(Reply::Text(text)))
        }
        reply => reply,
    })
    .await;
    let (_local, mut view) = rig(&home, &server).await;
    view.prompt(&delegate(&["A", "B", "C"]));
    view.until("three ends", |v| (v.toasts() == 3).then_some(())).await;
    hold.open();
    assert_eq!(view.turn(2).await, Outcome::Done);
    // The call, its end, three tasks, one wakeup.
    server.stays_at(6).await;
    view.quiet().await;
    assert_eq!(view.turns(), [1, 2]);
    assert_eq!(wakeups(&view.transcript.rows).len(), 3);
}

// W26
#[tokio::test]
async fn a_one_shot_run_waits_for_its_tasks_and_says_so() {
    let home = Home::new();
    let server = Server::start(script).await;
    home.configure(server.url());
    let done = home.run(&["-z", &delegate(&["A", "B"])]).await;
    assert!(done.status.success(), "{done:?}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "As you say.\n");
    let seen = server.seen();
    let last = seen.iter().rev().find(|asked| goal(asked).is_none()).unwrap();
    let result: Value = serde_json::from_str(last.last_tool()).unwrap();
    for (task, found) in [(0, "Found A."), (1, "Found B.")] {
        assert_eq!(result["tasks"][task]["status"], "completed", "{result}");
        assert_eq!(result["tasks"][task]["result"], found, "{result}");
    }
    assert!(result["note"].as_str().unwrap().contains("one-shot"), "{result}");
    server.stays_at(4).await;
    assert!(home.is_settled(), "{}", home.dump());
    assert_eq!(workers(&home).len(), 2);
}

// W07 W26
#[tokio::test]
async fn a_call_that_waits_gives_the_result_and_wakes_nobody() {
    let home = Home::new();
    let server = Server::start(script).await;
    let (_local, mut view) = rig(&home, &server).await;
    view.ask(1, &format!("call delegate_task {}", json!({ "goal": "A", "background": false })))
        .await;
    let [result] = view.results().try_into().unwrap();
    assert_eq!(result["tasks"][0]["result"], "Found A.");
    assert_eq!(result.get("note"), None, "it was asked to wait");
    server.stays_at(3).await;
    view.quiet().await;
    assert_eq!((view.turns(), view.toasts()), (vec![1], 0));
    assert_eq!(view.process().delivery, Delivery::Consumed);
}

// W22
#[tokio::test]
async fn a_cancel_ends_the_task_that_the_turn_waits_for() {
    let home = Home::new();
    let server = Server::start(script).await;
    let (local, mut view) = rig(&home, &server).await;
    view.prompt(&format!("call delegate_task {}", json!({ "goal": "hang", "background": false })));
    server.requests(2).await;
    view.send(Command::Cancel);
    assert_eq!(view.turn(1).await, Outcome::Cancelled);
    view.until("the end of the task", |v| {
        v.transcript.processes.iter().all(|p| !p.is_live()).then_some(())
    })
    .await;
    let process = view.process();
    assert_eq!(process.killed_by, Some(Killer::User));
    assert_eq!(process.exit.unwrap().end, End::Killed);
    server.stays_at(2).await;
    assert_eq!(view.turns(), [1]);
    local.stop().await;
    assert!(home.is_settled(), "{}", home.dump());
}

// R05
#[tokio::test]
async fn a_task_that_ends_during_a_drain_ends_the_wait_for_it() {
    let home = Home::new();
    let gate = Gate::closed();
    let hold = gate.clone();
    let server = Server::start(move |asked| match goal(asked) {
        Some(_) => Reply::After(hold.clone(), Box::new(script(asked))),
        None => script(asked),
    })
    .await;
    let mut settings = home.settings(server.model());
    settings.agent.drain = LONG * 10;
    let local = start(settings);
    let view = TestView::new(&local).await;
    view.prompt(&format!("call delegate_task {}", json!({ "goal": "A", "background": false })));
    server.requests(2).await;
    let drained = async { tokio::join!(local.drain(), async { gate.open() }) };
    tokio::time::timeout(LONG, drained).await.expect("nobody waits for a turn that is over");
    local.end().await;
    assert!(home.is_settled(), "{}", home.dump());
}

// R05 W15
#[tokio::test]
async fn a_task_delegated_during_a_drain_is_left_to_the_next_host() {
    let home = Home::new();
    let gate = Gate::closed();
    let hold = gate.clone();
    let server = Server::start(move |asked| match script(asked) {
        Reply::Calls(text, calls) => {
            Reply::After(hold.clone(), Box::new(Reply::Calls(text, calls)))
        }
        reply => reply,
    })
    .await;
    let mut settings = home.settings(server.model());
    settings.agent.drain = LONG;
    let local = start(settings.clone());
    let view = TestView::new(&local).await;
    view.prompt(&delegate(&["A"]));
    server.requests(1).await;
    let session = view.session();
    let mut drain = Box::pin(local.drain());
    assert!(futures::poll!(&mut drain).is_pending());
    // What is asked of the host later is answered later: the drain has begun.
    drop(TestView::new(&local).await);
    gate.open();
    drain.as_mut().await;
    drop(drain);
    local.end().await;
    assert_eq!(wakeups(&home.stored(&session).rows).len(), 0, "{}", home.dump());
    let _local = start(settings);
    eventually("the end of all", || home.is_settled().then_some(())).await;
    let [told] = wakeups(&home.stored(&session).rows).try_into().unwrap();
    assert!(told.text.contains("Found A."), "{}", home.dump());
}

// E05
#[tokio::test]
async fn viewing_a_finished_task_does_not_block_its_session() {
    let home = Home::new();
    let server = Server::start(script).await;
    home.configure(server.url());
    let (local, mut view) = rig(&home, &server).await;
    view.ask(1, &delegate(&["A"])).await;
    assert_eq!(view.turn(2).await, Outcome::Done);
    let session = view.session();
    drop(view);
    local.stop().await;
    let worker = workers(&home).remove(0).id;
    let (_local, _view) = {
        let local = start(home.settings(server.model()));
        let view = TestView::attach(&local, Target::Id(worker)).await;
        (local, view)
    };
    let run = home.run(&["--resume", &session.0, "-z", "hello"]).await;
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

// W08 P07
#[tokio::test]
async fn the_process_tool_shows_and_ends_a_task() {
    let home = Home::new();
    let server = Server::start(script).await;
    let (_local, mut view) = rig(&home, &server).await;
    let action = |action: &str| {
        let args = json!({ "action": action, "session_id": "$TASK", "data": "x", "timeout": 1 });
        format!("call process {args}")
    };
    let mut order = delegate(&["hang"]);
    for name in ["list", "poll", "wait", "write", "close", "kill", "log"] {
        order = format!("{order}\nthen\n{}", action(name));
    }
    view.ask(1, &order).await;
    let results = view.results();
    let [_, list, poll, wait, write, close, kill, log] = results.as_slice() else { panic!() };
    let row = &list["processes"][0];
    assert_eq!((&row["command"], &row["status"]), (&json!("hang"), &json!("running")));
    assert_eq!(row["delegated_to_session"], json!(workers(&home)[0].id));
    assert_eq!(poll["status"], "running");
    assert_eq!(wait["status"], "timeout");
    assert!(write["error"].as_str().unwrap().contains("takes no input"), "{write}");
    assert!(close["error"].as_str().unwrap().contains("takes no input"), "{close}");
    assert_eq!((&kill["status"], &kill["completion_reason"]), (&json!("killed"), &json!("killed")));
    assert_eq!((&log["status"], &log["task"]), (&json!("exited"), &json!("was stopped")));
    view.quiet().await;
    assert_eq!((view.turns(), view.toasts()), (vec![1], 0), "a kill wakes nobody");
    assert_eq!(view.process().killed_by, Some(Killer::Agent));
    eventually("its session at rest", || home.is_settled().then_some(())).await;
}

// W09
#[tokio::test]
async fn a_task_that_the_user_ends_does_not_wake() {
    let home = Home::new();
    let server = Server::start(script).await;
    let (_local, mut view) = rig(&home, &server).await;
    view.ask(1, &delegate(&["hang"])).await;
    server.requests(3).await;
    let id = view.process().id;
    view.send(Command::Kill { id: Some(id.clone()) });
    view.delivery(Delivery::Consumed).await;
    server.stays_at(3).await;
    view.ask(2, "and now?").await;
    let asked = server.requests(4).await.pop().unwrap();
    assert!(asked.last_user().contains(&format!("[The user ended the delegated task {id}")));
}

// W12
#[tokio::test]
async fn a_task_whose_model_fails_is_told_as_failed_with_the_reason() {
    let home = Home::new();
    let server = Server::start(|asked| match goal(asked) {
        Some(_) => Reply::Status(400, "no such thing".to_owned()),
        None => script(asked),
    })
    .await;
    let (_local, mut view) = rig(&home, &server).await;
    view.ask(1, &delegate(&["A"])).await;
    assert_eq!(view.turn(2).await, Outcome::Done);
    let [told] = wakeups(&view.transcript.rows).try_into().unwrap();
    assert!(told.text.contains(" failed.\nGoal: A\n"), "{}", told.text);
    assert!(told.text.contains("no such thing"), "{}", told.text);
    assert_eq!(exit_of(&told).code, Some(1));
}

#[tokio::test]
async fn a_task_ends_at_its_own_limit_of_requests() {
    let home = Home::new();
    let server = Server::start(|asked| match goal(asked) {
        Some(_) => Reply::Calls(String::new(), vec![("todo".to_owned(), json!({}))]),
        None => script(asked),
    })
    .await;
    let mut settings = home.settings(server.model());
    settings.delegation.max_iterations = 3;
    let local = start(settings);
    let mut view = TestView::new(&local).await;
    view.ask(1, &delegate(&["A"])).await;
    assert_eq!(view.turn(2).await, Outcome::Done);
    let [told] = wakeups(&view.transcript.rows).try_into().unwrap();
    assert!(told.text.contains("3 requests (delegation.max_iterations)"), "{}", told.text);
    assert_eq!(server.seen().iter().filter(|asked| goal(asked).is_some()).count(), 3);
}

// W11: a task is over when its own background work is.
#[tokio::test]
async fn a_task_that_is_woken_by_its_own_command_reports_after_that() {
    let home = Home::new();
    let server = Server::start(|asked| match goal(asked) {
        Some(_) if asked.last_user().starts_with("[IMPORTANT: Background process") => {
            Reply::Text("The command is done.".to_owned())
        }
        Some(order) => answer(asked, &order),
        None => script(asked),
    })
    .await;
    let (_local, mut view) = rig(&home, &server).await;
    let args = json!({ "command": "true", "background": true, "notify_on_complete": true });
    view.ask(1, &delegate(&[&format!("call terminal {args}")])).await;
    assert_eq!(view.turn(2).await, Outcome::Done);
    let [told] = wakeups(&view.transcript.rows).try_into().unwrap();
    assert!(told.text.ends_with("Result:\nThe command is done.]"), "{}", told.text);
    view.quiet().await;
    assert_eq!(view.turns(), [1, 2]);
}

// R05 W15
#[tokio::test]
async fn a_task_running_at_a_stop_is_reported_once_by_the_next_host() {
    let home = Home::new();
    let server = Server::start(script).await;
    let (local, mut view) = rig(&home, &server).await;
    view.ask(1, &delegate(&["hang"])).await;
    server.requests(3).await;
    let session = view.session();
    drop(view);
    local.stop().await;
    drop(server);
    let server = Server::start(|asked| match goal(asked) {
        Some(_) => Reply::Text("Found in the end.".to_owned()),
        None => script(asked),
    })
    .await;
    let _local = start(home.settings(server.model()));
    eventually("the end of all", || home.is_settled().then_some(())).await;
    let stored = home.stored(&session);
    let [told] = wakeups(&stored.rows).try_into().unwrap();
    // By who works on it, not by a look for a process of that name, which there never was.
    assert_eq!(exit_of(&told).end, End::Exited, "{}", home.dump());
    assert!(told.text.contains("Found in the end."), "{}", told.text);
    let process = &stored.processes[0];
    assert_eq!((process.state, &process.delivery), (State::Ended, &Delivery::Delivered));
    assert_eq!(workers(&home).len(), 1);
}

// W19
#[tokio::test]
async fn a_task_whose_session_is_gone_did_not_start() {
    let home = Home::new();
    let server = Server::start(script).await;
    let (local, mut view) = rig(&home, &server).await;
    view.ask(1, &delegate(&["hang"])).await;
    server.requests(3).await;
    let session = view.session();
    drop(view);
    local.stop().await;
    let worker = workers(&home).remove(0).id;
    remove(&home, &worker).await;
    let _local = start(home.settings(server.model()));
    eventually("the end of all", || home.is_settled().then_some(())).await;
    let stored = home.stored(&session);
    let [told] = wakeups(&stored.rows).try_into().unwrap();
    assert!(told.text.contains("did not start"), "{}", told.text);
    assert_eq!(exit_of(&told).end, End::FailedStart);
}

async fn remove(home: &Home, session: &SessionId) {
    let (reports, mut told) = tokio::sync::mpsc::unbounded_channel();
    let store = host::store::Store::open(&home.state(), reports).unwrap();
    let gone = host::store::Record::Deleted { session: session.clone() };
    store.write(vec![gone], host::store::Durability::Barrier);
    told.recv().await.unwrap();
    store.close().unwrap();
}

// W19
#[tokio::test]
async fn deleting_a_session_loses_its_task_and_deletes_its_workers() {
    let home = Home::new();
    let server = Server::start(script).await;
    let (_local, mut view) = rig(&home, &server).await;
    view.ask(1, &delegate(&["hang"])).await;
    server.requests(3).await;
    let worker = view.process().worker().cloned().unwrap();
    view.send(Command::Delete { session: worker });
    assert_eq!(view.turn(2).await, Outcome::Done);
    let [told] = wakeups(&view.transcript.rows).try_into().unwrap();
    assert!(told.text.contains(" was lost.\nGoal: hang"), "{}", told.text);
    view.ask(3, &delegate(&["hang", "hang"])).await;
    server.requests(8).await;
    assert_eq!(workers(&home).len(), 2);
    view.send(Command::Delete { session: view.session() });
    eventually("no session", || home.reader().sessions(9).unwrap().is_empty().then_some(())).await;
    server.stays_at(8).await;
    assert!(home.is_settled(), "{}", home.dump());
}

// W14 W15 W16 W27
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_each_task_is_reported_exactly_once() {
    in_homes(RUNS, |home, dice, _| async move { one(&home, dice).await }).await;
}

/// One home: tasks are delegated, the host is killed once or twice, and then it may finish. Gives
/// how many results were told.
async fn one(home: &Home, mut dice: Dice) -> Result<usize, String> {
    let pause = 10 + dice.next() % 200;
    let server = Server::start(move |asked| match script(asked) {
        Reply::Text(text) => {
            let pieces = text.split_inclusive(' ').map(str::to_owned).collect();
            Reply::Slow(pieces, Duration::from_millis(pause))
        }
        reply => reply,
    })
    .await;
    home.configure(server.url());
    let mut terminal = Terminal::open(home, &[]).await;
    terminal.send(&delegate(&["A", "B", "C"]));
    tokio::time::sleep(dice.pause(1_500)).await;
    terminal.kill();
    let Some(session) = home.latest() else { return Ok(0) };
    if dice.next().is_multiple_of(2) {
        let mut terminal = Terminal::start(home, &["-c"]);
        tokio::time::sleep(dice.pause(1_500)).await;
        terminal.kill();
    }
    let _terminal = Terminal::open(home, &["-c"]).await;
    let end = Instant::now() + 2 * LONG;
    while !home.is_settled() {
        if Instant::now() > end {
            return Err("it does not settle".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    check(home, &session)
}

fn check(home: &Home, session: &SessionId) -> Result<usize, String> {
    let stored = home.stored(session);
    let told = wakeups(&stored.rows);
    let workers = workers(home);
    if workers.len() != stored.processes.len() {
        return Err(format!("{} sessions for {}", workers.len(), stored.processes.len()));
    }
    for process in &stored.processes {
        let id = &process.id;
        let mine: Vec<_> = told.iter().filter(|w| w.process == *id).collect();
        let [wakeup] = mine.as_slice() else {
            return Err(format!("{id} was told {} times", mine.len()));
        };
        if (process.state, &process.delivery) != (State::Ended, &Delivery::Delivered) {
            return Err(format!("{id} is {:?}, {:?}", process.state, process.delivery));
        }
        let found = format!("Result:\nFound {}.]", process.command);
        match exit_of(wakeup).code {
            Some(0) if wakeup.text.ends_with(&found) => {}
            // Its turn was cut off and not gone on with.
            Some(1) if wakeup.text.contains(" failed.\n") => {}
            _ => return Err(format!("{id} was told as {wakeup:?}")),
        }
        let worker = process.worker().and_then(|w| workers.iter().find(|s| s.id == *w));
        let worker = worker.ok_or(format!("nobody works on {id}"))?;
        let briefs = home.stored(&worker.id).rows;
        let briefs = briefs.iter().filter(|row| matches!(row.body, Body::User { .. }));
        if worker.parent.as_ref() != Some(session) || briefs.count() != 1 {
            return Err(format!("{id} did not begin once"));
        }
    }
    Ok(told.len())
}

// W28
#[tokio::test]
async fn delegating_and_hearing_of_it_can_be_seen_with_the_demo_model() {
    let home = Home::new();
    let local = start(home.settings(demo()));
    let mut view = TestView::new(&local).await;
    view.ask(1, "delegate").await;
    assert_eq!(view.turn(2).await, Outcome::Done);
    view.until("the end", |v| v.transcript.running.is_none().then_some(())).await;
    assert!(
        view.events.iter().any(|e| matches!(e, Event::TurnStarted { source: Source::Wakeup, .. }))
    );
    let mut answers = view.transcript.rows.iter().filter_map(|row| match &row.body {
        Body::Assistant(answer) => Some(answer.text.clone()),
        _ => None,
    });
    assert!(answers.next_back().unwrap().contains("completed"), "{:?}", view.transcript.rows);
}
