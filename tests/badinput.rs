//! Damaged files, a clock that is wrong and a disk that is full: each has a defined, visible
//! outcome; nothing is told twice, and nothing disappears in silence.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::Subject;
use protocol::{Delivery, End, Event, Process, SessionId, Storage, Target, Wakeup};

use crate::support::{Home, Server, TestView, eventually, exit_of, is_alive, start, wakeups};
use crate::wakeups::{fifo, spawn, waiting};

/// A session whose process has ended with code 5 and the output `over`, while no host ran; its
/// supervisor is gone too.
async fn ended_alone(home: &Home, server: &Server) -> (SessionId, Process) {
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn(&waiting("a", "echo over; exit 5"))).await;
    home.line_in("up-a").await;
    let (session, process) = (view.session(), view.process());
    drop(view);
    local.stop().await;
    drop(gate);
    let folder = home.state().join("proc").join(&process.id.0);
    eventually("the exit record", || {
        fs::read_to_string(folder.join("exit")).ok().filter(|t| t.contains("\"code\":5"))
    })
    .await;
    let text = fs::read_to_string(folder.join("supervisor")).unwrap();
    let birth: serde_json::Value = serde_json::from_str(&text).unwrap();
    let supervisor = i32::try_from(birth["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).ok();
    eventually("its end", || (!is_alive(supervisor.unsigned_abs())).then_some(())).await;
    (session, process)
}

/// What the agent is told once by the next host, and by the one after it no second time.
async fn told_once(home: &Home, server: &Server, session: &SessionId) -> Wakeup {
    let local = start(home.settings(server.model()));
    server.requests(3).await;
    eventually("the wakeup turn in the store", || home.is_settled().then_some(())).await;
    local.stop().await;
    let local = start(home.settings(server.model()));
    let view = TestView::attach(&local, Target::Id(session.clone())).await;
    server.stays_at(3).await;
    let told = wakeups(&view.transcript.rows);
    assert_eq!(told.len(), 1, "{}", home.dump());
    told[0].clone()
}

/// The wakeup of a process whose folder was damaged.
async fn after(damage: impl FnOnce(&Path)) -> Wakeup {
    let home = Home::new();
    let server = Server::obedient().await;
    let (session, process) = ended_alone(&home, &server).await;
    damage(&home.state().join("proc").join(&process.id.0));
    told_once(&home, &server, &session).await
}

// W12
#[tokio::test]
async fn a_process_folder_full_of_garbage_is_told_once_as_a_loss() {
    let told = after(|folder| {
        for file in ["exit", "child"] {
            fs::write(folder.join(file), b"\xff\x00{\"garbage\":").unwrap();
        }
        fs::remove_file(folder.join("lock")).unwrap();
    })
    .await;
    let exit = exit_of(&told);
    assert_eq!((exit.end, exit.code), (End::Lost, None));
    assert!(told.text.contains("exit code ?"), "{}", told.text);
}

// W12
#[tokio::test]
async fn a_process_folder_that_is_gone_is_told_once_without_a_code() {
    let told = after(|folder| fs::remove_dir_all(folder).unwrap()).await;
    let exit = exit_of(&told);
    assert!(exit.end != End::Exited && exit.code.is_none(), "{exit:?}");
}

// W12
#[tokio::test]
async fn without_its_output_the_true_end_of_a_process_is_told() {
    let told = after(|folder| {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().starts_with("out") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    })
    .await;
    assert_eq!(exit_of(&told).code, Some(5));
    assert!(!told.text.contains("Output:\nover"), "{}", told.text);
}

// W12 W16
#[tokio::test]
async fn unreadable_records_are_named_and_keep_no_session_closed() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let (session, process) = ended_alone(&home, &server).await;
    let conn = rusqlite::Connection::open(home.state().join("hermes-tui.db")).unwrap();
    conn.execute("UPDATE processes SET body = '{'", []).unwrap();
    conn.execute(
        "INSERT INTO ledger (process, kind, ordinal, session, stage, at)
         VALUES (?, 'telepathy', 0, ?, 'finished', 1)",
        (&process.id.0, &session.0),
    )
    .unwrap();
    conn.close().unwrap();
    let ran = home.run(&["doctor"]).await;
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(out.contains("telepathy") && out.contains("broken"), "{out}");
    assert!(out.contains(&format!("process {} in the state database", process.id)), "{out}");
    let local = start(home.settings(server.model()));
    server.requests(3).await;
    let mut view = TestView::attach(&local, Target::Id(session)).await;
    view.until("the line", |v| {
        v.events.iter().find(|e| {
            matches!(e, Event::Failed(f) if f.about == Subject::State && f.message.contains("telepathy"))
        })
        .map(|_| ())
    })
    .await;
    view.delivery(Delivery::Delivered).await;
    let told = wakeups(&view.transcript.rows);
    assert_eq!(told.len(), 1);
    assert_eq!(exit_of(&told[0]).code, Some(5));
}

// W16
#[tokio::test]
async fn an_unrecorded_exit_is_reported_once_the_store_recovers() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    view.ask(1, &spawn(&waiting("a", "exit 5"))).await;
    home.line_in("up-a").await;
    // Another program keeps the database for itself for longer than the writer waits.
    let conn = rusqlite::Connection::open(home.state().join("hermes-tui.db")).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    drop(gate);
    view.until("the failure", |v| {
        matches!(v.transcript.storage, Storage::Failing(_)).then_some(())
    })
    .await;
    server.stays_at(2).await;
    conn.execute_batch("ROLLBACK").unwrap();
    view.until("the recovery", |v| (v.transcript.storage == Storage::Ok).then_some(())).await;
    view.delivery(Delivery::Delivered).await;
    server.stays_at(3).await;
    let told = wakeups(&view.transcript.rows);
    assert_eq!(told.len(), 1);
    assert_eq!(exit_of(&told[0]).code, Some(5));
}
