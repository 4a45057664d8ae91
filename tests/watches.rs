//! Watched output, end to end: real commands, real supervisors, hosts that come and go.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use host::process::{Adoption, Notice, Processes, Watch, WatchHit};
use host::settings::Timing;
use protocol::{
    Command, End, Event, News, Outcome, Process, ProcessId, SessionId, Target, WakeupKind,
};
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::process::{Bench, printed};
use crate::support::{
    Gate, Home, LONG, Reply, Server, Terminal, TestView, eventually, obey, quick, start, wakeups,
};
use crate::wakeups::{fifo, waiting};

/// The prompt that starts a command in the background and wants to hear of lines.
fn watch(command: &str, pattern: &str, pty: bool) -> String {
    let args = json!({
        "command": command, "background": true, "pty": pty, "watch_patterns": [pattern],
    });
    format!("call terminal {args}")
}

fn patterns(pattern: &str, offset: u64) -> Watch {
    Watch { patterns: vec![pattern.to_owned()], offset }
}

async fn heard(told: &mut UnboundedReceiver<Notice>) -> Notice {
    timeout(LONG, told.recv()).await.unwrap().unwrap()
}

/// The lines of the next news, which must be a match.
async fn matched(told: &mut UnboundedReceiver<Notice>) -> WatchHit {
    match heard(told).await {
        Notice::Matched { hit, .. } => hit,
        Notice::Exited { exit, .. } => panic!("not matched but ended: {exit:?}"),
    }
}

async fn exited(told: &mut UnboundedReceiver<Notice>) {
    let notice = heard(told).await;
    assert!(matches!(notice, Notice::Exited { .. }), "{notice:?}");
}

async fn go_on(processes: &Processes, id: &ProcessId) {
    assert_eq!(processes.write(id, b"\n").await, Ok(1));
}

// P01 P02
#[tokio::test]
async fn a_pattern_split_over_two_reads_is_found() {
    for pty in [false, true] {
        let bench = Bench::new();
        let (processes, mut told) = bench.host();
        let command = "stty -echo 2>/dev/null; printf 'one\nse'; read x; printf 'arc'; read x; \
                       printf 'h it\ntwo\n'; read x; printf 'search? '; read x";
        let mut spec = bench.spec(command);
        (spec.pty, spec.watch) = (pty, patterns("search", 0));
        let id = spec.id.clone();
        processes.spawn(spec).await.unwrap();
        printed(&processes, &id, "se").await;
        go_on(&processes, &id).await;
        printed(&processes, &id, "arc").await;
        assert!(told.try_recv().is_err());
        go_on(&processes, &id).await;
        let hit = matched(&mut told).await;
        // How much of the line was there by then is the shell's business.
        assert!("search it".starts_with(&hit.text) && hit.text.starts_with("search"), "{hit:?}");
        assert_eq!((hit.pattern.as_str(), hit.lines), ("search", 1));
        // A prompt counts before its line has an end.
        printed(&processes, &id, "two").await;
        go_on(&processes, &id).await;
        let hit = matched(&mut told).await;
        assert_eq!((hit.text.as_str(), hit.lines), ("search?", 1), "pty: {pty}");
        go_on(&processes, &id).await;
        exited(&mut told).await;
        assert!(told.try_recv().is_err());
    }
}

// P02
#[tokio::test]
async fn matches_are_reported_before_the_end_and_none_after_it() {
    let bench = Bench::new();
    let (processes, mut told) = bench.host();
    // With a grandchild that goes on printing, and with an end that follows the line at once.
    let late = "(sleep 0.5; echo ERROR late; touch late) & echo fine; echo ERROR last; exit 3";
    for command in std::iter::once(late).chain(["echo ERROR last; exit 3"; 20]) {
        let mut spec = bench.spec(command);
        spec.watch = patterns("ERROR", 0);
        processes.spawn(spec).await.unwrap();
        let hit = matched(&mut told).await;
        assert_eq!(hit.text, "ERROR last");
        exited(&mut told).await;
    }
    eventually("the late line", || bench.dir.path().join("late").exists().then_some(())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(told.try_recv().is_err());
}

// P02, W14, W15
#[tokio::test]
async fn a_new_host_finds_what_matched_while_there_was_none() {
    for ended in [false, true] {
        let bench = Bench::new();
        let (processes, mut told) = bench.host();
        let command = "echo ERROR one; read x; echo ERROR two; read x; echo ERROR three; exit 4";
        let mut spec = bench.spec(command);
        spec.watch = patterns("ERROR", 0);
        let id = spec.id.clone();
        let pid = processes.spawn(spec).await.unwrap();
        let first = matched(&mut told).await;
        assert_eq!((first.text.as_str(), first.upto), ("ERROR one", 10));
        drop((processes, told));

        // Somebody who does not watch lets it go on.
        let (other, told) = bench.host();
        other.adopt(&id).await;
        go_on(&other, &id).await;
        printed(&other, &id, "ERROR two").await;
        if ended {
            go_on(&other, &id).await;
            crate::process::ended(&other, &id).await;
        }
        drop((other, told));

        let (processes, mut told) = bench.host();
        let found = processes.adopt_watched(&id, patterns("ERROR", first.upto)).await;
        let hit = matched(&mut told).await;
        if ended {
            assert!(matches!(found, Adoption::Ended(_)), "{found:?}");
            // Sent before the end was found: a host that reads in order tells them in order.
            assert_eq!((hit.text.as_str(), hit.lines), ("ERROR two\nERROR three", 2));
        } else {
            assert_eq!(found, Adoption::Running { pid: Some(pid) });
            assert_eq!(hit.text, "ERROR two");
            go_on(&processes, &id).await;
            assert_eq!(matched(&mut told).await.text, "ERROR three");
            exited(&mut told).await;
        }
        assert!(told.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_flood_of_matching_lines_is_few_hits() {
    let bench = Bench::new();
    let (processes, mut told) = bench.host();
    let mut spec = bench.spec("yes ERROR; exit 0");
    spec.watch = patterns("ERROR", 0);
    let id = spec.id.clone();
    processes.spawn(spec).await.unwrap();
    let begun = std::time::Instant::now();
    let mut hits: u128 = 0;
    while hits < 4 {
        let hit = matched(&mut told).await;
        assert!(hit.text.lines().count() <= 20 && hit.lines > 20, "{hit:?}");
        hits += 1;
    }
    assert!(begun.elapsed().as_millis() >= (hits - 1) * 200, "{:?}", begun.elapsed());
    processes.unwatch(&id);
    // Those under way.
    tokio::time::sleep(Duration::from_millis(300)).await;
    while told.try_recv().is_ok() {}
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(told.try_recv().is_err());
    assert!(processes.kill(&id).await.is_some());
    exited(&mut told).await;
}

// P01
#[tokio::test]
async fn the_output_of_an_older_supervisor_is_polled() {
    let bench = Bench::new();
    let id = ProcessId("proc_old".to_owned());
    let folder = bench.root().join(&id.0);
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.try_lock().unwrap();
    let listener = UnixListener::bind(folder.join("s")).unwrap();
    let (end, over) = std::sync::mpsc::channel::<()>();
    let (refused, refusal) = tokio::sync::oneshot::channel();
    let supervisor = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"{\"v\":1,\"is\":\"started\",\"pid\":7,\"exit\":null}\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        let asked: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((asked["do"].as_str(), asked["bytes"].as_u64()), (Some("watch"), Some(0)));
        let refuses = json!({"v": 1, "is": "refused", "n": asked["n"], "why": "not supported"});
        stream.write_all(format!("{refuses}\n").as_bytes()).unwrap();
        refused.send(()).unwrap();
        over.recv().unwrap();
        let exit = json!({"end": "exited", "code": 0, "signal": null, "at": 9});
        let ended = json!({"v": 1, "is": "ended", "exit": exit});
        stream.write_all(format!("{ended}\n").as_bytes()).unwrap();
        stream
    });
    let (processes, mut told) = bench.host();
    let found = processes.adopt_watched(&id, patterns("ERROR", 0)).await;
    assert_eq!(found, Adoption::Running { pid: Some(7) });
    timeout(LONG, refusal).await.unwrap().unwrap();
    let mut output =
        OpenOptions::new().create(true).append(true).open(folder.join("output")).unwrap();
    for n in 0..3 {
        output.write_all(format!("fine\nERROR {n}\n").as_bytes()).unwrap();
        assert_eq!(matched(&mut told).await.text, format!("ERROR {n}"));
    }
    output.write_all(b"ERROR last\n").unwrap();
    end.send(()).unwrap();
    let hit = matched(&mut told).await;
    assert_eq!(hit.text, "ERROR last");
    exited(&mut told).await;
    drop(supervisor.join().unwrap());
}

// P01 P11
#[tokio::test]
async fn a_pattern_wakes_the_agent_on_pipes_and_terminals() {
    for pty in [false, true] {
        let home = Home::new();
        let server = Server::obedient().await;
        let local = start(home.settings(server.model()));
        let gate = fifo(&home.work());
        let mut view = TestView::new(&local).await;
        let command = waiting("a", "printf 'Password: '; read x; echo got $x");
        view.ask(1, &watch(&command, "Password", pty)).await;
        assert_eq!(view.results()[0]["watch_patterns"], json!(["Password"]));
        home.line_in("up-a").await;
        drop(gate);
        assert_eq!(view.turn(2).await, Outcome::Done);
        let told = wakeups(&view.transcript.rows);
        assert_eq!(
            (told[0].kind, told[0].pattern.as_deref()),
            (WakeupKind::Match, Some("Password"))
        );
        let id = view.process().id;
        let text = server.seen().pop().unwrap().last_user().to_owned();
        let head =
            format!("[IMPORTANT: Background process {id} matched watch pattern \"Password\".");
        assert!(text.starts_with(&head), "{text}");
        assert!(text.ends_with("\nMatched output:\nPassword:]"), "{text}");
        let toast = |e: &Event| matches!(e, Event::Toast(t) if matches!(&t.news, News::Matched { pattern } if pattern == "Password"));
        assert!(view.events.iter().any(toast));
        // The agent answers it; the end wakes nobody, since nobody asked for that.
        let line = json!({ "action": "submit", "session_id": id, "data": "secret" });
        view.ask(3, &format!("call process {line}")).await;
        view.until("the end", |v| v.process().exit).await;
        view.ask(4, &format!("call process {}", json!({ "action": "list" }))).await;
        let listed = view.results().pop().unwrap()["processes"][0].clone();
        assert_eq!(
            (&listed["watch_patterns"], &listed["watch_hit"]),
            (&json!(["Password"]), &json!(true))
        );
        view.quiet().await;
        assert_eq!(view.turns(), [1, 2, 3, 4]);
    }
}

fn stored(home: &Home, session: &SessionId) -> Process {
    home.stored(session).processes.pop().unwrap()
}

// P05
#[tokio::test]
async fn a_match_in_the_spawning_turn_is_stale_and_a_later_one_wakes() {
    let home = Home::new();
    let hold = Gate::closed();
    let held = hold.clone();
    let server = Server::start(move |asked| match obey(asked) {
        Reply::Text(text) if text == "As you say." => {
            Reply::After(held.clone(), Box::new(Reply::Text(text)))
        }
        reply => reply,
    })
    .await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    view.prompt(&watch(
        &format!("echo ready; {}", waiting("a", "echo ready again; read x")),
        "ready",
        false,
    ));
    view.until("a stale match", |v| {
        v.transcript.processes.last().filter(|p| p.watching.stale == 1).map(|_| ())
    })
    .await;
    hold.open();
    assert_eq!(view.turn(1).await, Outcome::Done);
    view.quiet().await;
    assert_eq!((view.turns(), view.toasts()), (vec![1], 0));
    home.line_in("up-a").await;
    drop(gate);
    assert_eq!(view.turn(2).await, Outcome::Done);
    let told = wakeups(&view.transcript.rows);
    assert!(told[0].text.contains("\nMatched output:\nready again]"), "{}", told[0].text);
}

// P05
#[tokio::test]
async fn after_new_a_match_starts_no_turn() {
    for begin_anew in [true, false] {
        let home = Home::new();
        let server = Server::obedient().await;
        let local = start(home.settings(server.model()));
        let gate = fifo(&home.work());
        let mut view = TestView::new(&local).await;
        view.ask(1, &watch(&waiting("a", "echo ready; read x"), "ready", false)).await;
        home.line_in("up-a").await;
        let session = view.session();
        // Somebody else who still looks at it keeps it as it is.
        let other = if begin_anew {
            None
        } else {
            Some(TestView::attach(&local, Target::Id(session.clone())).await)
        };
        view.send(Command::Open(Target::New));
        view.until("a new session", |v| (v.session() != session).then_some(())).await;
        drop(gate);
        if let Some(mut other) = other {
            assert_eq!(other.turn(2).await, Outcome::Done);
        } else {
            eventually("a stale match", || {
                (stored(&home, &session).watching.stale == 1).then_some(())
            })
            .await;
            server.stays_at(2).await;
        }
    }
}

// P06
#[tokio::test]
async fn notify_wins_over_watch_and_the_result_says_so() {
    let home = Home::new();
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    let args = json!({
        "command": waiting("a", "echo ready; read x; exit 5"), "background": true,
        "notify_on_complete": true, "watch_patterns": ["ready"],
    });
    view.ask(1, &format!("call terminal {args}")).await;
    let result = &view.results()[0];
    assert_eq!(result["notify_on_complete"], true, "{result}");
    assert!(result["watch_patterns_ignored"].is_string(), "{result}");
    assert!(result.get("watch_patterns").is_none(), "{result}");
    home.line_in("up-a").await;
    drop(gate);
    view.quiet().await;
    assert_eq!(view.turns(), [1]);
    let line = json!({ "action": "submit", "session_id": view.process().id, "data": "go" });
    view.ask(2, &format!("call process {line}")).await;
    assert_eq!(view.turn(3).await, Outcome::Done);
    let told: Vec<_> = wakeups(&view.transcript.rows).iter().map(|w| w.kind).collect();
    assert_eq!(told, [WakeupKind::Exit]);
    // A pattern that no line or every line would contain is refused, and nothing runs.
    for bad in ["", "  ", "two\nlines"] {
        let turn = view.turns().len() as u64 + 1;
        view.ask(turn, &watch("touch ran", bad, false)).await;
        let result = view.results().pop().unwrap();
        assert!(result["error"].as_str().unwrap().contains("plain text"), "{result}");
    }
    assert!(!home.work().join("ran").exists());
}

// W26
#[tokio::test]
async fn a_one_shot_run_gets_no_watch() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let output = home.run(&["-z", &watch("echo ready", "ready", false)]).await;
    assert!(output.status.success(), "{output:?}");
    let seen = server.seen();
    let result: serde_json::Value = serde_json::from_str(seen[1].last_tool()).unwrap();
    assert!(result["notify_unsupported"].as_str().unwrap().contains("poll"), "{result}");
    assert!(result.get("watch_patterns").is_none(), "{result}");
    server.stays_at(2).await;
}

/// Waits until the next match of the process is reported again.
async fn gap_over(process: &Process, gap: Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let end = process.watching.told_at.unwrap() + gap.as_millis() as i64;
    tokio::time::sleep(Duration::from_millis((end - now).max(0) as u64)).await;
}

// P01 P03 W14
#[tokio::test]
async fn a_killed_host_loses_no_match_and_tells_none_twice() {
    let match_gap = Duration::from_secs(5);
    let home = Home::with_timing(Timing { match_gap, ..quick() });
    let server = Server::obedient().await;
    home.configure(server.url());
    let command = "echo up > up; read a < first; echo ERROR one; read a < second; \
                   echo ERROR two; read a < third; echo ERROR three; exit 9";
    for name in ["first", "second", "third"] {
        nix::unistd::mkfifo(&home.work().join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let go = |name: &str| fs::write(home.work().join(name), "\n").unwrap();
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send(&watch(command, "ERROR", false));
    server.requests(2).await;
    home.line_in("up").await;
    let session = eventually("the session", || home.latest()).await;
    eventually("the end of the turn", || home.stored(&session).open.is_none().then_some(())).await;
    go("first");
    server.requests(3).await;
    eventually("the answer to it", || {
        let told = wakeups(&home.stored(&session).rows);
        (told.len() == 1 && home.stored(&session).open.is_none()).then_some(())
    })
    .await;
    terminal.kill();
    go("second");
    gap_over(&stored(&home, &session), match_gap).await;
    let mut terminal = Terminal::open(&home, &["-c"]).await;
    let seen = server.requests(4).await;
    assert!(seen[3].last_user().ends_with("\nMatched output:\nERROR two]"), "{}", home.dump());
    eventually("the answer to it", || home.stored(&session).open.is_none().then_some(())).await;
    terminal.kill();
    // The last line comes with the end, both while nobody is there. Too soon after the second one
    // to be told, and counted.
    go("third");
    let _terminal = Terminal::open(&home, &["-c"]).await;
    let process = eventually("the end", || {
        let process = stored(&home, &session);
        process.exit.is_some().then_some(process)
    })
    .await;
    assert_eq!(process.exit.map(|e| (e.end, e.code)), Some((End::Exited, Some(9))));
    let watching = process.watching;
    assert_eq!((watching.hits, watching.matches, watching.suppressed), (3, 2, 1));
    let told = wakeups(&home.stored(&session).rows);
    let keys: Vec<_> = told.iter().map(|w| (w.kind, w.ordinal)).collect();
    assert_eq!(keys, [(WakeupKind::Match, 0), (WakeupKind::Match, 1)], "{}", home.dump());
    server.stays_at(4).await;
}

// P04
#[tokio::test]
async fn too_many_matches_are_dropped_for_a_while_completions_never() {
    let match_silence = Duration::from_secs(5);
    let home = Home::with_timing(Timing { match_silence, ..quick() });
    let server = Server::obedient().await;
    let local = start(home.settings(server.model()));
    let gate = fifo(&home.work());
    let mut view = TestView::new(&local).await;
    let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let calls: Vec<String> = names
        .iter()
        .map(|name| watch(&waiting(name, "echo ERROR; read x"), "ERROR", false))
        .chain([crate::wakeups::spawn(&waiting("end", "sleep 1"))])
        .collect();
    view.ask(1, &calls.join("\n")).await;
    for name in names.iter().map(String::as_str).chain(["end"]) {
        home.line_in(&format!("up-{name}")).await;
    }
    drop(gate);
    let news = |v: &TestView, wanted: fn(&News) -> bool| {
        v.events.iter().filter(|e| matches!(e, Event::Toast(t) if wanted(&t.news))).count()
    };
    view.until("the end of one", |v| {
        (news(v, |n| matches!(n, News::Ended { .. })) == 1).then_some(())
    })
    .await;
    view.until("all matches", |v| {
        let hits: u64 = v.transcript.processes.iter().map(|p| p.watching.hits).sum();
        (hits == 20).then_some(())
    })
    .await;
    assert_eq!(news(&view, |n| matches!(n, News::Matched { .. })), 15);
    assert_eq!(news(&view, |n| matches!(n, News::Tripped)), 1);
    let dropped = view
        .until("the release", |v| {
            v.events.iter().find_map(|event| match event {
                Event::Toast(toast) => match toast.news {
                    News::Released { dropped } => Some(dropped),
                    _ => None,
                },
                _ => None,
            })
        })
        .await;
    assert_eq!(dropped, 5);
    let told = wakeups(&view.transcript.rows);
    assert_eq!(told.iter().filter(|w| w.kind == WakeupKind::Match).count(), 15);
    assert_eq!(told.iter().filter(|w| w.kind == WakeupKind::Exit).count(), 1);
}

// P01 P03
#[tokio::test]
async fn a_watch_that_matches_too_often_is_off_and_the_end_wakes() {
    let match_gap = Duration::from_secs(4);
    let home = Home::with_timing(Timing { match_gap, ..quick() });
    let server = Server::obedient().await;
    let mut local = start(home.settings(server.model()));
    let mut view = TestView::new(&local).await;
    let command = "echo up > up; while read line; do echo ERROR $line; done; exit 6";
    view.ask(1, &watch(command, "ERROR", false)).await;
    home.line_in("up").await;
    let session = view.session();
    let mut turn = 1;
    for window in 1..=3 {
        // Each window: one that is told, one that is not.
        for line in ["told", "suppressed"] {
            let hits = view.process().watching.hits;
            let data = json!({ "action": "submit", "session_id": view.process().id, "data": line });
            turn += 1;
            view.ask(turn, &format!("call process {data}")).await;
            view.until("the match", |v| (v.process().watching.hits > hits).then_some(())).await;
            if line == "told" || window == 3 {
                turn += 1;
                assert_eq!(view.turn(turn).await, Outcome::Done);
            }
        }
        if window < 3 {
            assert_eq!(view.process().watching.strikes, window);
            // The count goes on under the next host.
            let process = view.process();
            drop(view);
            local.stop().await;
            gap_over(&process, match_gap).await;
            local = start(home.settings(server.model()));
            view = TestView::attach(&local, Target::Id(session.clone())).await;
        }
    }
    let process = view.process();
    assert!(process.watching.off && process.notify);
    let close = json!({ "action": "close", "session_id": process.id });
    turn += 1;
    view.ask(turn, &format!("call process {close}")).await;
    turn += 1;
    assert_eq!(view.turn(turn).await, Outcome::Done);
    let told: Vec<_> = wakeups(&view.transcript.rows).iter().map(|w| (w.kind, w.ordinal)).collect();
    let matches = [0, 1, 2].map(|n| (WakeupKind::Match, n));
    let rest = [(WakeupKind::WatchDisabled, 0), (WakeupKind::Exit, 0)];
    assert_eq!(told, [&matches[..], &rest].concat());
}
