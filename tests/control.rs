//! What an agent does with a background process, on pipes and on terminals, before and after a
//! restart of the host.

use std::fs;

use host::embedded::EmbeddedHost;
use protocol::{Outcome, ProcessId, Target};
use serde_json::{Value, json};

use crate::support::{Home, Server, TestView, eventually, is_alive, start};

/// A session with a background command that has printed `begin`, under the host that started it
/// or under the next one.
async fn running(
    home: &Home,
    server: &Server,
    command: &str,
    pty: bool,
    next: bool,
) -> (EmbeddedHost, TestView) {
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    let args = json!({ "command": command, "background": true, "pty": pty });
    view.ask(1, &format!("call terminal {args}")).await;
    let id = view.process().id;
    let output = home.state().join("proc").join(&id.0).join("output");
    eventually("the first line", || {
        fs::read_to_string(&output).ok()?.contains("begin").then_some(())
    })
    .await;
    if !next {
        return (local, view);
    }
    let session = view.session();
    drop(view);
    local.stop().await;
    let local = start(home.settings(server.model()));
    let view = TestView::attach(&local, Target::Id(session)).await;
    (local, view)
}

/// On a pipe and on a terminal, under the host that started it and under the next one.
async fn in_all_ways<F: Future<Output = ()>>(one: impl Fn(bool, bool) -> F) {
    let ways = [(false, false), (false, true), (true, false), (true, true)];
    futures::future::join_all(ways.map(|(pty, next)| one(pty, next))).await;
}

/// Asks for these calls of `process`, one after the other, and gives their results.
async fn calls(view: &mut TestView, id: &ProcessId, turn: u64, calls: &[Value]) -> Vec<Value> {
    let known = view.results().len();
    let orders: Vec<String> = calls
        .iter()
        .map(|call| {
            let mut call = call.clone();
            call["session_id"] = json!(id);
            format!("call process {call}")
        })
        .collect();
    view.prompt(&orders.join("\nthen\n"));
    assert_eq!(view.turn(turn).await, Outcome::Done);
    view.results().split_off(known)
}

// P07
#[tokio::test]
async fn every_action_works_before_and_after_a_restart() {
    in_all_ways(every_action).await;
}

async fn every_action(pty: bool, next: bool) {
    let case = format!("pty: {pty}, after a restart: {next}");
    let home = Home::new();
    let server = Server::obedient().await;
    let command = "echo begin; read a; echo got:$a; read b; echo got:$b; cat; exit 7";
    let (_local, mut view) = running(&home, &server, command, pty, next).await;
    let id = view.process().id;
    let results = calls(
        &mut view,
        &id,
        2,
        &[
            json!({ "action": "list" }),
            json!({ "action": "poll" }),
            json!({ "action": "log" }),
            json!({ "action": "wait", "timeout": 1 }),
            json!({ "action": "write", "data": "one\n" }),
            json!({ "action": "submit", "data": "two" }),
            json!({ "action": "write", "data": "unfinished" }),
            json!({ "action": "close" }),
            json!({ "action": "wait", "timeout": 60 }),
            json!({ "action": "log" }),
            json!({ "action": "write", "data": "late" }),
            json!({ "action": "kill" }),
        ],
    )
    .await;
    let status = |n: usize| results[n]["status"].as_str().unwrap_or_default();
    let listed = &results[0]["processes"][0];
    assert_eq!(
        (&listed["session_id"], &listed["status"]),
        (&json!(id), &json!("running")),
        "{case}"
    );
    assert_eq!(status(1), "running", "{case}");
    assert!(results[1]["output_preview"].as_str().unwrap().contains("begin"), "{case}");
    assert_eq!((status(2), results[2]["total_lines"].as_u64()), ("running", Some(1)), "{case}");
    assert_eq!(status(3), "timeout", "{case}");
    assert_eq!((status(4), results[4]["bytes_written"].as_u64()), ("ok", Some(4)), "{case}");
    assert_eq!((status(5), results[5]["bytes_written"].as_u64()), ("ok", Some(4)), "{case}");
    assert_eq!((status(6), status(7)), ("ok", "ok"), "{case}: {}", results[7]);
    assert_eq!((status(8), results[8]["exit_code"].as_i64()), ("exited", Some(7)), "{case}");
    let output = results[9]["output"].as_str().unwrap();
    for part in ["begin", "got:one", "got:two", "unfinished"] {
        assert!(output.contains(part), "{case}: {output}");
    }
    assert_eq!(status(10), "error", "{case}");
    assert_eq!(status(11), "already_exited", "{case}");
}

// P07 P08
#[tokio::test]
async fn a_kill_by_the_agent_ends_the_tree_before_and_after_a_restart() {
    in_all_ways(kill_by_the_agent).await;
}

async fn kill_by_the_agent(pty: bool, next: bool) {
    let home = Home::new();
    let server = Server::obedient().await;
    // One that ignores the polite signal, and one in a session of its own.
    let command = "sh -c 'trap \"\" TERM HUP; echo $$ > deaf; while :; do sleep 1; done' & \
                   setsid sh -c 'echo $$ > away; exec sleep 100' & \
                   while ! [ -s deaf -a -s away ]; do sleep 0.01; done; echo begin; wait";
    let (_local, mut view) = running(&home, &server, command, pty, next).await;
    let id = view.process().id;
    let deaf: u32 = home.line_in("deaf").await.parse().unwrap();
    let away: u32 = home.line_in("away").await.parse().unwrap();
    let results = calls(&mut view, &id, 2, &[json!({ "action": "kill" })]).await;
    assert_eq!(results[0]["status"], "killed", "{}", results[0]);
    for pid in [deaf, away] {
        eventually("the end of the tree", || (!is_alive(pid)).then_some(())).await;
    }
    view.quiet().await;
    assert_eq!(view.turns().last(), Some(&2), "a kill wakes nobody");
}
