//! What commands are given and what they leave behind: environment, folder, remarks, output.

use std::fs;

use protocol::{Body, Command, Outcome};
use serde_json::{Value, json};

use crate::support::{Home, Reply, Server, TestView, eventually, is_alive, obey, run, start};
use crate::wakeups::{fifo, spawn};

fn call(command: &str) -> String {
    format!("call terminal {}", json!({ "command": command }))
}

/// The variables a command wrote with `env`.
fn variables(home: &Home, file: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(home.work().join(file)).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

fn variable(home: &Home, file: &str, name: &str) -> Option<String> {
    variables(home, file).into_iter().find(|(n, _)| n == name).map(|(_, v)| v)
}

// W25
#[tokio::test]
async fn children_know_the_session_of_their_own_turn() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut views = [TestView::new(&local).await, TestView::new(&local).await];
    // In the foreground and in the background, in both at once.
    for (i, view) in views.iter().enumerate() {
        let fore = call(&format!("sleep 0.2; env > fore-{i}"));
        view.prompt(&format!("{fore}\n{}", spawn(&format!("sleep 0.2; env > back-{i}"))));
    }
    for view in &mut views {
        assert_eq!(view.turn(1).await, Outcome::Done);
        assert_eq!(view.turn(2).await, Outcome::Done);
    }
    for (i, view) in views.iter().enumerate() {
        for file in [format!("fore-{i}"), format!("back-{i}")] {
            for name in ["HERMES_SESSION_ID", "HERMES_SESSION_KEY", "HERMES_SESSION_CHAT_ID"] {
                assert_eq!(variable(&home, &file, name), Some(view.session().0), "{file} {name}");
            }
            for name in ["HERMES_SESSION_PLATFORM", "HERMES_SESSION_SOURCE"] {
                assert!(variable(&home, &file, name).is_some(), "{file} {name}");
            }
        }
    }
    assert_ne!(views[0].session(), views[1].session());
}

// W25
#[tokio::test]
async fn outer_sessions_and_provider_keys_never_reach_a_child() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    // A login shell that sets a key does not smuggle it in either.
    fs::write(home.user().join(".bash_profile"), "export OPENAI_API_KEY=from-login\n").unwrap();
    fs::write(home.path().join("hermes/.env"), "ANTHROPIC_API_KEY=from-file\nMINE=x\n").unwrap();
    let order = format!("{}\n{}", call("env > fore"), call("env > fore-again"));
    let mut command = home.command(&["-z", &order]);
    for (name, value) in [
        ("HERMES_SESSION_ID", "outer"),
        ("HERMES_SESSION_KEY", "outer"),
        ("HERMES_SESSION_USER_ID", "outer"),
        ("OPENAI_API_KEY", "from-shell"),
        ("OPENROUTER_API_KEY", "from-shell"),
        ("KEPT", "kept"),
    ] {
        command.env(name, value);
    }
    let output = run(command).await;
    assert!(output.status.success(), "{output:?}");
    for file in ["fore", "fore-again"] {
        let env = variables(&home, file);
        assert!(env.contains(&("KEPT".to_owned(), "kept".to_owned())), "{env:?}");
        for (name, value) in env {
            let bad = ["outer", "from-shell", "from-login", "from-file"].contains(&value.as_str());
            assert!(!bad, "{name}={value}");
        }
        assert_eq!(variable(&home, file, "HERMES_SESSION_ID"), home.latest().map(|id| id.0));
    }
}

// W26
#[tokio::test]
async fn a_one_shot_run_is_told_that_nobody_can_be_woken() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let output = home.run(&["-z", &spawn("echo over")]).await;
    assert!(output.status.success(), "{output:?}");
    let seen = server.seen();
    let result: Value = serde_json::from_str(seen[1].last_tool()).unwrap();
    assert_eq!(result["notify_on_complete"], false, "{result}");
    assert!(result["notify_unsupported"].as_str().unwrap().contains("poll"), "{result}");
    server.stays_at(2).await;
    // Nor does a host that comes later owe it a turn.
    let session = home.latest().unwrap();
    let local = start(home.settings(server.model()));
    let mut view = TestView::attach(&local, protocol::Target::Id(session)).await;
    view.quiet().await;
    assert_eq!(view.turns(), [0; 0]);
    server.stays_at(2).await;
    // There the same session can be woken again.
    view.ask(2, &spawn("echo again")).await;
    assert_eq!(view.turn(3).await, Outcome::Done);
}

// W30
#[tokio::test]
async fn folder_and_variables_belong_to_the_session() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut views = [TestView::new(&local).await, TestView::new(&local).await];
    for (i, view) in views.iter().enumerate() {
        fs::create_dir(home.work().join(format!("of-{i}"))).unwrap();
        view.prompt(&call(&format!("cd of-{i}; export MINE='m {i}'; unset LANG; ONLY_{i}=x")));
    }
    for view in &mut views {
        assert_eq!(view.turn(1).await, Outcome::Done);
    }
    let look = "sleep 0.1; pwd; echo \"$MINE ${LANG-unset} ${ONLY_0-}${ONLY_1-}\"; printenv MINE";
    for round in 2..=4 {
        for view in &views {
            view.prompt(&call(look));
        }
        for (i, view) in views.iter_mut().enumerate() {
            assert_eq!(view.turn(round).await, Outcome::Done);
            let folder = home.work().canonicalize().unwrap().join(format!("of-{i}"));
            let expected = format!("{}\nm {i} unset \nm {i}", folder.display());
            assert_eq!(view.results().pop().unwrap()["output"], expected);
            assert_eq!(view.transcript.cwd, folder.display().to_string());
        }
    }
    // Background commands start there too, and a restart keeps it.
    let session = views[0].session();
    drop(views);
    local.stop().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::attach(&local, protocol::Target::Id(session)).await;
    view.ask(5, &spawn("pwd; echo $MINE")).await;
    assert_eq!(view.turn(6).await, Outcome::Done);
    let told = crate::support::wakeups(&view.transcript.rows);
    assert!(told[0].text.ends_with("/of-0\nm 0]"), "{}", told[0].text);
}

#[tokio::test]
async fn a_remark_joins_the_next_tool_result() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    view.prompt(&call("exec 3<gate; echo up > up; cat <&3; echo over"));
    home.line_in("up").await;
    view.send(Command::Steer { text: "mind the gap".to_owned() });
    view.until("the remark", |v| v.transcript.steer.clone()).await;
    drop(gate);
    assert_eq!(view.turn(1).await, Outcome::Done);
    let seen = server.requests(2).await;
    assert!(seen[1].last_tool().contains("over"), "{}", seen[1].last_tool());
    assert!(seen[1].last_tool().contains("mind the gap"), "{}", seen[1].last_tool());
    assert_eq!(seen[1].last_user(), seen[0].last_user(), "it is no prompt");
    view.drain();
    assert_eq!(view.transcript.steer, None);
    server.stays_at(2).await;
}

#[tokio::test]
async fn an_interrupt_kills_the_whole_tree_and_the_next_prompt_runs() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.prompt(&call("sleep 40 & echo $! > child; wait"));
    let child: u32 = home.line_in("child").await.parse().unwrap();
    view.prompt("and then this");
    view.send(Command::Cancel);
    assert_eq!(view.turn(1).await, Outcome::Cancelled);
    assert_eq!(view.turn(2).await, Outcome::Done);
    eventually("the end of the child", || (!is_alive(child)).then_some(())).await;
    let result = view.results().pop().unwrap();
    assert_eq!(result["error"], "interrupted by the user", "{result}");
}

#[tokio::test]
async fn a_cut_answer_is_kept_as_partial_and_the_turn_says_why() {
    let home = Home::new();
    let server = Server::start(|asked| match asked.last_user() {
        "cut" => Reply::Cut("Half an ans".to_owned()),
        "slow" => Reply::Slow(
            ["one ", "two ", "three"].map(str::to_owned).to_vec(),
            std::time::Duration::from_millis(40),
        ),
        _ => obey(asked),
    })
    .await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    view.prompt("cut");
    assert!(matches!(view.turn(1).await, Outcome::Failed { .. }));
    let texts: Vec<_> = view.transcript.rows.iter().map(protocol::Row::text).collect();
    assert!(texts.contains(&"Half an ans"), "{texts:?}");
    assert!(matches!(view.transcript.rows.last().unwrap().body, Body::Failure { .. }));
    view.ask(2, "slow").await;
    assert_eq!(view.transcript.rows.last().unwrap().text(), "one two three");
}
