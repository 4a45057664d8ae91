//! Opening what was stored: huge sessions, files of another version, sessions in use.

use std::time::{Duration, Instant};

use host::embedded::{Attendance, Role};
use host::store::{Durability, Meta, Record, Report, Store};
use protocol::{
    Answer, Assistant, Body, Choice, Command, Event, News, Outcome, Question, Row, SessionId,
    Target, TurnId,
};
use tokio::sync::mpsc;

use crate::support::{
    Gate, Home, LONG, Reply, Server, Terminal, TestView, demo, eventually, exe, obey, start,
};

/// Writes a session as a host would have.
async fn store(home: &Home, id: &str, bodies: Vec<Body>) -> SessionId {
    let session = SessionId(id.to_owned());
    let (tx, mut reports) = mpsc::unbounded_channel();
    let store = Store::open(&home.state(), tx).unwrap();
    let meta = Meta {
        id: session.clone(),
        source: "tui".to_owned(),
        started_at: 1,
        active_at: 1,
        preview: "a big one".to_owned(),
        model: "demo".to_owned(),
        system: "You are a test.".to_owned(),
        cwd: home.work().display().to_string(),
        ..Meta::default()
    };
    let mut records = vec![Record::Session(meta)];
    for (i, body) in bodies.into_iter().enumerate() {
        let n = i as u64 + 1;
        let row = Row { n, turn: TurnId(n.div_ceil(2)), at: n as i64, cut: 0, body };
        records.push(Record::Row { session: session.clone(), row });
    }
    let last = store.write(records, Durability::Barrier);
    loop {
        match tokio::time::timeout(LONG, reports.recv()).await.unwrap().unwrap() {
            Report::Committed(no) | Report::Recovered(no) if no >= last => break,
            Report::Committed(_) | Report::Recovered(_) => {}
            Report::Failing { message, .. } => panic!("{message}"),
        }
    }
    store.close().unwrap();
    session
}

fn said(text: String) -> Body {
    Body::Assistant(Assistant { text, ..Assistant::default() })
}

fn asked(text: &str) -> Body {
    Body::User { text: text.to_owned() }
}

/// The bytes of a window as it goes to a front end.
fn bytes(view: &TestView) -> usize {
    serde_json::to_vec(&view.transcript).unwrap().len()
}

// R08
#[tokio::test]
async fn a_session_of_4000_rows_opens_with_its_tail_and_pages_back() {
    let home = Home::new();
    let bodies = (1..=2_000)
        .flat_map(|i| [asked(&format!("question {i}")), said(format!("answer {i}"))])
        .collect();
    let session = store(&home, "20260101_000000_aaaaaa", bodies).await;
    let local = start(home.settings(demo()));
    let mut view = TestView::attach(&local, Target::Id(session)).await;
    let rows = &view.transcript.rows;
    assert!(rows.len() <= 400, "{} rows", rows.len());
    assert!(bytes(&view) < 256 * 1024, "{} bytes", bytes(&view));
    assert_eq!(rows.last().unwrap().text(), "answer 2000");
    assert_eq!(view.transcript.earlier + rows.len() as u64, 4_000);
    let before = rows[0].n;
    view.send(protocol::Command::Page { before, limit: 50 });
    let (rows, earlier) = view
        .until("a page", |v| {
            v.events.iter().find_map(|event| match event {
                Event::Paged { rows, earlier } => Some((rows.clone(), *earlier)),
                _ => None,
            })
        })
        .await;
    assert_eq!((rows.len(), rows.last().unwrap().n), (50, before - 1));
    assert_eq!(earlier, before - 51);
    // The whole of it is the model's context.
    view.ask(2_001, "hello").await;
}

// R08
#[tokio::test]
async fn a_session_with_an_answer_of_20_mb_opens_with_its_tail() {
    let home = Home::new();
    let mut long = "a line of a very long answer\n".repeat(20 * 1024 * 1024 / 29);
    long.push_str("and this is its end");
    let length = long.len();
    let session =
        store(&home, "20260101_000000_bbbbbb", vec![asked("tell me everything"), said(long)]).await;
    let local = start(home.settings(demo()));
    let view = TestView::attach(&local, Target::Id(session.clone())).await;
    let answer = view.transcript.rows.last().unwrap();
    assert!(bytes(&view) < 256 * 1024, "{} bytes", bytes(&view));
    assert!(answer.text().ends_with("and this is its end"));
    assert_eq!(answer.cut + answer.text().len() as u64, length as u64);
    drop(view);
    local.stop().await;
    let begun = Instant::now();
    let mut terminal = Terminal::open(&home, &["--resume", &session.0]).await;
    terminal.shows("and this is its end").await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

// R09
#[tokio::test]
async fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let home = Home::new();
    store(&home, "20260101_000000_cccccc", vec![asked("hello")]).await;
    let path = home.state().join("hermes-tui.db");
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.pragma_update(None, "user_version", 9_999).unwrap();
    conn.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    for args in [vec!["-z", "hello"], vec!["sessions", "list"], vec!["-z", "x", "-c"]] {
        let output = home.run(&args).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert!(text.contains("hermes-tui.db") && text.contains("newer"), "{args:?}: {text}");
    }
    let mut terminal = Terminal::start(&home, &[]);
    assert!(matches!(terminal.exit().await, 1 | 2));
    assert!(terminal.raw().contains("newer"), "{}", terminal.raw());
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

// S07
#[tokio::test]
async fn a_session_held_by_a_one_shot_run_is_refused_by_name_and_pid() {
    let home = Home::new();
    let server = Server::obedient().await;
    let owner = start(home.settings(server.model()));
    let mut view = TestView::new(&owner).await;
    view.ask(1, "hello").await;
    let oneshot = host::embedded::start(home.settings(server.model()), Role::OneShot).unwrap();
    let mut other = oneshot.attach(Target::Id(view.session()), Attendance::Stateless);
    let refusal = loop {
        let event = tokio::time::timeout(LONG, other.next()).await.unwrap().unwrap();
        if let Event::Failed(failure) = event {
            break failure.message;
        }
    };
    assert!(refusal.contains(&view.session().0), "{refusal}");
    assert!(refusal.contains(&format!("process {}", std::process::id())), "{refusal}");
    // A second owner is refused whole.
    let second = host::embedded::start(home.settings(server.model()), Role::Owner).unwrap_err();
    let text = second.to_string();
    assert!(text.contains("HERMES_TUI_HOME"), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
}

// W14
#[tokio::test]
async fn a_host_that_stops_leaves_its_processes_to_the_next_one() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let gate = crate::wakeups::fifo(&home.work());
    let mut view = TestView::new(&local).await;
    let command = crate::wakeups::waiting("a", "read line; echo got $line; exit 6");
    view.ask(1, &crate::wakeups::spawn(&command)).await;
    home.line_in("up-a").await;
    let (session, process) = (view.session(), view.process());
    drop(view);
    local.stop().await;
    server.stays_at(2).await;
    let local = start(home.settings(server.model()));
    let mut view = TestView::attach(&local, Target::Id(session)).await;
    view.until("the adopted process", |v| {
        let p = v.process();
        (p.state == protocol::State::Running && p.pid == process.pid).then_some(())
    })
    .await;
    drop(gate);
    // Its input is reachable too (P07).
    let line = serde_json::json!({ "action": "submit", "session_id": process.id, "data": "it" });
    view.ask(2, &format!("call process {line}")).await;
    assert_eq!(view.turn(3).await, protocol::Outcome::Done);
    let text = server.seen().pop().unwrap().last_user().to_owned();
    assert!(text.contains("exited (exit code 6)") && text.contains("\ngot it]"), "{text}");
    assert_eq!(crate::support::wakeups(&view.transcript.rows).len(), 1);
}

/// An upgrade replaces the file under a running host.
#[tokio::test]
async fn commands_run_also_when_the_programs_file_is_gone() {
    let home = Home::new();
    let copy = home.path().join("copy");
    std::fs::copy(exe(), &copy).unwrap();
    let mut command = std::process::Command::new(&copy);
    command.args(["-z", "loop", "--max-turns", "4"]).env_clear().envs(home.env());
    command.current_dir(home.work()).stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let child = command.spawn().unwrap();
    std::fs::remove_file(&copy).unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output());
    tokio::time::timeout(LONG, output).await.unwrap().unwrap().unwrap();
    let rows = home.reader().rows(&home.latest().unwrap()).unwrap();
    let results: Vec<_> = rows
        .iter()
        .filter_map(|row| match &row.body {
            Body::Tool(result) => Some(result.text.clone()),
            _ => None,
        })
        .collect();
    assert!(results.len() >= 3, "{results:?}");
    assert!(results.iter().all(|r| r.contains("\"exit_code\":0")), "{results:?}");
}

/// A prompt, as the commands below know it.
fn ask_user() -> String {
    let args = serde_json::json!({ "question": "Which one?", "choices": ["red", "blue"] });
    format!("call clarify {args}")
}

/// The turn that was left open is in the store, with that text streamed.
async fn streamed(home: &Home, text: &str) {
    eventually("the text in the journal", || {
        let open = home.stored(&home.latest()?).open?;
        (open.text == text).then_some(())
    })
    .await;
}

fn asked_questions(home: &Home) -> Vec<Question> {
    home.latest().map(|id| home.stored(&id).questions).unwrap_or_default()
}

// R01 R07
#[tokio::test]
async fn a_user_turn_that_was_cut_off_goes_on_by_itself_after_a_kill() {
    let home = Home::new();
    let server = Server::start(|asked| match asked.last_user() {
        "tell me" => Reply::Hang("Once upon".to_owned()),
        _ => Reply::Text(" a time.".to_owned()),
    })
    .await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("tell me");
    terminal.shows("Once upon").await;
    streamed(&home, "Once upon").await;
    terminal.kill();

    let mut terminal = Terminal::open(&home, &["-c"]).await;
    terminal.shows("a time.").await;
    let asked = server.requests(2).await.pop().unwrap();
    assert_eq!(asked.texts("assistant"), ["Once upon"]);
    assert!(asked.last_user().contains("The host stopped while you worked"), "{asked:?}");
    eventually("the end", || home.is_settled().then_some(())).await;
    let stored = home.stored(&home.latest().unwrap());
    assert_eq!((stored.turns, stored.rows.len()), (TurnId(1), 4), "{}", home.dump());
    server.stays_at(2).await;
}

// R03
#[tokio::test]
async fn a_turn_that_never_comes_to_a_row_is_held_after_three_starts() {
    let home = Home::new();
    let server = Server::start(|asked| match asked.last_user() {
        "tell me" => Reply::Hang(String::new()),
        _ => obey(asked),
    })
    .await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("tell me");
    for start in 1..=4 {
        server.requests(start).await;
        terminal.kill();
        terminal = Terminal::open(&home, &["-c"]).await;
    }
    terminal.shows("again and again").await;
    server.stays_at(4).await;
    assert!(home.is_settled(), "{}", home.dump());
    terminal.send("go on");
    server.requests(5).await;
}

// R01
#[tokio::test]
async fn a_turn_that_was_cut_off_long_ago_waits_for_the_user() {
    let home = Home::new();
    let server = Server::start(|_| Reply::Hang("Once upon".to_owned())).await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("tell me");
    streamed(&home, "Once upon").await;
    terminal.kill();
    let conn = rusqlite::Connection::open(home.state().join("hermes-tui.db")).unwrap();
    conn.execute("UPDATE rows SET at = at - 3601000", []).unwrap();
    conn.close().unwrap();
    let mut terminal = Terminal::open(&home, &["-c"]).await;
    let screen = terminal.shows("The host stopped").await;
    assert!(screen.contains("Once upon"), "{screen}");
    server.stays_at(1).await;
}

// C15 R04
#[tokio::test]
async fn a_question_pending_at_a_kill_is_asked_again() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send(&ask_user());
    terminal.shows("Which one?").await;
    let before =
        eventually("its clock", || asked_questions(&home).pop().filter(|q| q.deadline.is_some()))
            .await;
    terminal.kill();
    let mut terminal = Terminal::open(&home, &["-c"]).await;
    terminal.shows("Which one?").await;
    assert_eq!(asked_questions(&home), [before]);
    server.stays_at(1).await;
    drop(terminal);

    // Answered by another front end of the next host.
    let local = start(home.settings(server.model()));
    let mut view = TestView::attach(&local, Target::Latest).await;
    let asked = view.until("the question", |v| v.transcript.questions.first().cloned()).await;
    let answer = Answer::Text("blue".to_owned());
    view.send(Command::Answer { session: None, id: asked.id, answer });
    assert_eq!(view.turn(1).await, Outcome::Done);
    let request = server.requests(2).await.pop().unwrap();
    assert!(request.last_tool().contains("blue"), "{}", request.last_tool());
    assert_eq!(asked_questions(&home), []);
    server.stays_at(2).await;
}

// C15 R06
#[tokio::test]
async fn a_command_pending_approval_at_a_kill_runs_once_approved() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    std::fs::create_dir(home.work().join("old")).unwrap();
    let mut terminal = Terminal::open(&home, &[]).await;
    let one = serde_json::json!({ "command": "echo ran >> runs; rm -r old" });
    let two = serde_json::json!({ "command": "echo then >> runs" });
    terminal.send(&format!("call terminal {one}\ncall terminal {two}"));
    eventually("the question", || asked_questions(&home).pop()).await;
    terminal.kill();
    assert!(!home.work().join("runs").exists());

    let local = start(home.settings(server.model()));
    let mut view = TestView::attach(&local, Target::Latest).await;
    let asked = view.until("the question", |v| v.transcript.questions.first().cloned()).await;
    view.send(Command::Answer {
        session: None,
        id: asked.id,
        answer: Answer::Approval(Choice::Once),
    });
    assert_eq!(view.turn(1).await, Outcome::Done);
    assert_eq!(std::fs::read_to_string(home.work().join("runs")).unwrap(), "ran\nthen\n");
    assert!(!home.work().join("old").exists());
    server.stays_at(2).await;
}

// R05
#[tokio::test]
async fn a_stop_lets_turns_finish_and_leaves_the_others_open() {
    let home = Home::new();
    let gate = Gate::closed();
    let hold = gate.clone();
    let server = Server::start(move |asked| match asked.last_user() {
        "slow" => Reply::After(hold.clone(), Box::new(Reply::Text("In the end.".to_owned()))),
        "never" => Reply::Hang("For ever".to_owned()),
        _ => obey(asked),
    })
    .await;
    let mut settings = home.settings(server.model());
    settings.agent.drain = Duration::from_millis(1500);
    let local = start(settings.clone());
    let mut slow = TestView::new(&local).await;
    slow.prompt("slow");
    let mut never = TestView::new(&local).await;
    never.prompt("never");
    server.requests(2).await;
    let (done, open) = (slow.session(), never.session());
    let opened = async {
        slow.drain();
        never
            .until("its text", |v| {
                v.transcript.running.as_ref().filter(|r| r.text == "For ever").map(|_| ())
            })
            .await;
        gate.open();
    };
    tokio::join!(local.drain(), opened);
    local.end().await;
    assert_eq!(home.stored(&done).open, None, "{}", home.dump());
    assert_eq!(home.stored(&done).rows.len(), 2);
    assert_eq!(home.stored(&open).open.unwrap().text, "For ever");
    let local = start(settings);
    server.requests(3).await;
    server.stays_at(3).await;
    drop(local);
}

// R05
#[tokio::test]
async fn at_sigterm_the_interface_goes_and_the_turn_comes_to_its_end() {
    let home = Home::new();
    let gate = Gate::closed();
    let hold = gate.clone();
    let server = Server::start(move |_| {
        Reply::After(hold.clone(), Box::new(Reply::Text("In the end.".to_owned())))
    })
    .await;
    home.configure(server.url());
    let config = home.path().join("hermes/config.yaml");
    let mut text = std::fs::read_to_string(&config).unwrap();
    text.push_str("  restart_drain_timeout: 20\nhermes_tui:\n  on_hangup: leave\n");
    std::fs::write(&config, text).unwrap();
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("slow");
    server.requests(1).await;
    let pid = nix::unistd::Pid::from_raw(terminal.pid() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    terminal.until("what it waits for", |s| s.contains("Finishing what runs")).await;
    gate.open();
    assert_eq!(terminal.exit().await, 128 + 15);
    assert!(home.is_settled(), "{}", home.dump());
    assert_eq!(home.stored(&home.latest().unwrap()).rows.len(), 2);
}

// R10
#[tokio::test]
async fn a_long_turn_notifies_every_view_until_it_ends() {
    let home = Home::new();
    let gate = Gate::closed();
    let hold = gate.clone();
    let server = Server::start(move |_| {
        Reply::After(hold.clone(), Box::new(Reply::Text("In the end.".to_owned())))
    })
    .await;
    let mut settings = home.settings(server.model());
    settings.agent.notify_interval = Some(Duration::from_millis(100));
    let local = start(settings);
    let mut elsewhere = TestView::new(&local).await;
    let mut view = TestView::new(&local).await;
    view.prompt("slow");
    elsewhere.until("two notes", |v| (v.toasts() >= 2).then_some(())).await;
    gate.open();
    assert_eq!(view.turn(1).await, Outcome::Done);
    view.drain();
    let told = view.toasts();
    view.quiet().await;
    assert_eq!(view.toasts(), told);
    assert!(view.events.iter().any(|event| matches!(event,
        Event::Toast(toast) if toast.session == view.session()
            && matches!(toast.news, News::Working { elapsed } if elapsed >= 100))));
}
