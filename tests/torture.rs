//! A host with twenty sessions is killed again and again, and supervisors with it, while its
//! sessions start, await, watch and kill commands. In the end every completion is counted.
//!
//! Not part of `cargo test`; see CONTRIBUTING.md for the command.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use host::settings;
use host::store::Reader;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::{Body, Command, End, Process, ProcessId, SessionId, Target, WakeupKind};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::crash::Dice;
use crate::support::{Home, Reply, Server, TestView, obey, settings_in, start};
use host::state_dir::StateDir;

/// Sessions at work.
const SESSIONS: usize = 20;
/// How long the run may take to settle in the end.
const SETTLE: Duration = Duration::from_mins(5);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

// W14 W15 W16 W17 W27
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs for TORTURE_SECONDS; see CONTRIBUTING.md"]
async fn no_completion_is_lost_or_doubled_whatever_is_killed() {
    let seconds = number("TORTURE_SECONDS").unwrap_or(60);
    let seed = number("TORTURE_SEED")
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("TORTURE_SEED={seed} TORTURE_SECONDS={seconds}");
    let mut dice = Dice(seed);
    let home = Home::new();
    let server = Server::start(|asked| match obey(asked) {
        // Long enough for a kill to hit the answer.
        Reply::Text(text) if asked.last_user().starts_with("[IMPORTANT") => {
            let pieces = text.split_inclusive(' ').map(str::to_owned).collect();
            Reply::Slow(pieces, Duration::from_millis(40))
        }
        reply => reply,
    })
    .await;
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut hosts, mut orphaned) = (0, BTreeSet::new());
    while Instant::now() < end {
        let mut host = launch(&home, server.url(), dice.next(), "work");
        hosts += 1;
        let half = Duration::from_millis(150) + dice.pause(3_000);
        tokio::time::sleep(half).await;
        if dice.next().is_multiple_of(3) {
            orphaned.extend(kill_supervisor(home.path(), &mut dice));
        }
        tokio::time::sleep(half).await;
        if dice.next().is_multiple_of(4) {
            // Politely, and then as nothing can resist: a stop is cut off, too.
            kill(Pid::from_raw(host.id().cast_signed()), Signal::SIGTERM).unwrap();
            tokio::time::sleep(dice.pause(1_000)).await;
        }
        host.kill().unwrap();
        host.wait().unwrap();
        if dice.next().is_multiple_of(3) {
            orphaned.extend(kill_supervisor(home.path(), &mut dice));
        }
    }
    let mut host = launch(&home, server.url(), dice.next(), "settle");
    let end = Instant::now() + SETTLE;
    while !home.is_settled() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let count = count(&home, &orphaned);
    host.kill().unwrap();
    host.wait().unwrap();
    println!("hosts killed: {hosts}\n{}", count.table());
    assert!(home.is_settled(), "it does not settle\n{}", home.dump());
    assert!(count.faults.is_empty(), "TORTURE_SEED={seed}\n{}", count.faults.join("\n"));
}

/// This program again, as a host.
fn launch(home: &Home, url: &str, seed: u64, mode: &str) -> Child {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(home.path().join("hosts.log"))
        .unwrap();
    Program::new(std::env::current_exe().unwrap())
        .args(["torture::host", "--exact", "--ignored", "--nocapture"])
        .env("TORTURE_HOME", home.path())
        .env("TORTURE_URL", url)
        .env("TORTURE_SEED", seed.to_string())
        .env("TORTURE_MODE", mode)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Kills one supervisor of the home as nothing can resist; gives its process.
fn kill_supervisor(home: &Path, dice: &mut Dice) -> Option<ProcessId> {
    let ours = home.to_string_lossy().into_owned();
    let found: Vec<(i32, String)> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let args: Vec<String> =
                line.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect();
            let folder = args.iter().find(|a| a.contains(&ours))?;
            let supervises = args.iter().any(|a| a == "__supervise");
            let id = Path::new(folder).file_name()?.to_str()?.to_owned();
            (supervises && id.starts_with("proc_")).then_some((pid, id))
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    let (pid, id) = &found[dice.next() as usize % found.len()];
    kill(Pid::from_raw(*pid), Signal::SIGKILL).ok()?;
    Some(ProcessId(id.clone()))
}

/// The host of [`launch`]; alone it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of the torture test"]
async fn host() {
    let Some(dir) = std::env::var_os("TORTURE_HOME").map(PathBuf::from) else { return };
    let url = std::env::var("TORTURE_URL").unwrap();
    let mut dice = Dice(number("TORTURE_SEED").unwrap());
    let works = std::env::var("TORTURE_MODE").unwrap() == "work";
    let model = settings::Model {
        base_url: Some(url),
        api_key: Some("key-for-tests".to_owned()),
        name: "test-model".to_owned(),
        provider: settings::Provider::OpenAi,
        context_length: Some(1_000_000),
        max_tokens: None,
        retries: 0,
        stale: Duration::from_mins(2),
    };
    let local = start(settings_in(&dir, model));
    let known: Vec<SessionId> = Reader::open(&StateDir::new(dir.join("state")))
        .and_then(|r| r.sessions(1_000))
        .unwrap_or_default()
        .into_iter()
        .filter(|s| s.parent.is_none())
        .map(|s| s.id)
        .collect();
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..SESSIONS.max(known.len()) {
        let target = known.get(lane).cloned().map_or(Target::New, Target::Id);
        let mut view = TestView::attach(&local, target).await;
        let mut dice = Dice(dice.next());
        lanes.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50) + dice.pause(2_000)).await;
                view.drain();
                if works {
                    act(&view, &mut dice, lane);
                } else {
                    view.send(Command::WakeNow);
                }
            }
        });
    }
    let mut asked = signal(SignalKind::terminate()).unwrap();
    asked.recv().await;
    local.stop().await;
}

/// One thing a user does.
fn act(view: &TestView, dice: &mut Dice, lane: usize) {
    let token = format!("t{lane}-{:016x}", dice.next());
    let millis = dice.next() % 1_500;
    let code = dice.next() % 4;
    let spawn = |token: &str, more: &serde_json::Value| {
        let command = format!(
            "echo {token} >> ran; sleep {}.{:03}; echo READY {token}; exit {code}",
            millis / 1_000,
            millis % 1_000
        );
        let mut args = json!({ "command": command, "background": true });
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("call terminal {args}")
    };
    let notify = json!({ "notify_on_complete": true });
    let prompt = match dice.next() % 19 {
        0..5 => spawn(&token, &notify),
        5..8 => {
            let mut lines = String::new();
            for n in 0..3 {
                writeln!(lines, "{}", spawn(&format!("{token}-{n}"), &notify)).unwrap();
            }
            lines
        }
        8 => {
            spawn(&token, &notify)
                + "\nthen\ncall process {\"action\":\"wait\",\"session_id\":\"$ID\"}"
        }
        9 => {
            spawn(&token, &notify)
                + "\nthen\ncall process {\"action\":\"kill\",\"session_id\":\"$ID\"}"
        }
        10 => {
            spawn(&token, &notify)
                + "\nthen\ncall process {\"action\":\"poll\",\"session_id\":\"$ID\"}"
        }
        11 => spawn(&token, &json!({ "watch_patterns": ["READY"] })),
        12 => return view.send(Command::Kill { id: None }),
        13 => return view.send(Command::Cancel),
        14 => return view.send(Command::WakeNow),
        15 | 16 => format!("call delegate_task {}", json!({ "goal": format!("look at {token}") })),
        17 => {
            let args = json!({ "goal": format!("look at {token}"), "background": false });
            format!("call delegate_task {args}")
        }
        _ => "just talk".to_owned(),
    };
    // A user who waits for what is queued: the run must come to an end.
    if view.transcript.queued.len() < 3 {
        view.prompt(&prompt);
    }
}

/// What the store and the commands themselves tell in the end.
#[derive(Default)]
struct Count {
    classes: BTreeMap<&'static str, u64>,
    faults: Vec<String>,
}

impl Count {
    fn add(&mut self, class: &'static str) {
        *self.classes.entry(class).or_default() += 1;
    }

    fn table(&self) -> String {
        let mut text = String::new();
        for class in [
            "completions produced",
            "delivered",
            "consumed",
            "held",
            "lost with the supervisor killed",
            "failed to start",
            "lost otherwise",
            "doubled",
            "in the wrong session",
            "commands run twice",
            "commands run without a record",
            "matches told",
            "tasks delegated",
            "prompts doubled",
        ] {
            let n = self.classes.get(class).copied().unwrap_or(0);
            writeln!(text, "{class}: {n}").unwrap();
        }
        text
    }
}

fn count(home: &Home, killed: &BTreeSet<ProcessId>) -> Count {
    let mut count = Count::default();
    let store = rusqlite::Connection::open(home.state().join("hermes-tui.db")).unwrap();
    let all: Vec<Process> = texts(&store, "SELECT body FROM processes")
        .iter()
        .map(|body| serde_json::from_str(body).unwrap())
        .collect();
    let mut prompts = BTreeSet::new();
    let mut told: BTreeMap<(ProcessId, WakeupKind, u64), Vec<SessionId>> = BTreeMap::new();
    for session in home.reader().sessions(10_000).unwrap() {
        for row in home.reader().rows(&session.id).unwrap() {
            match row.body {
                Body::Wakeup(w) => {
                    let key = (w.process, w.kind, w.ordinal);
                    told.entry(key).or_default().push(session.id.clone());
                }
                Body::User { text } if text.contains("call ") && !prompts.insert(text.clone()) => {
                    count.add("prompts doubled");
                    count.faults.push(format!("a prompt stands twice: {text}"));
                }
                _ => {}
            }
        }
    }
    for (key, sessions) in &told {
        if key.1 == WakeupKind::Match {
            count.add("matches told");
        }
        if sessions.len() > 1 {
            count.add("doubled");
            count.faults.push(format!("{key:?} is told in {sessions:?}"));
        }
        let owner = all.iter().find(|p| p.id == key.0).map(|p| &p.session);
        if sessions.iter().any(|s| Some(s) != owner) {
            count.add("in the wrong session");
            count.faults.push(format!("{key:?} of {owner:?} is told in {sessions:?}"));
        }
    }
    for process in all.iter().filter(|p| p.notify) {
        completion(&store, process, &told, killed, &mut count);
    }
    let ran = fs::read_to_string(home.work().join("ran")).unwrap_or_default();
    let mut times: BTreeMap<&str, u64> = BTreeMap::new();
    for token in ran.lines() {
        *times.entry(token).or_default() += 1;
    }
    for (token, n) in times {
        if n > 1 {
            count.add("commands run twice");
            count.faults.push(format!("the command of {token} ran {n} times"));
        }
        let mark = format!("echo {token} >>");
        if !all.iter().any(|p| p.command.contains(&mark)) {
            count.add("commands run without a record");
            count.faults.push(format!("the command of {token} ran and is not known"));
        }
    }
    count
}

fn completion(
    store: &rusqlite::Connection,
    process: &Process,
    told: &BTreeMap<(ProcessId, WakeupKind, u64), Vec<SessionId>>,
    killed: &BTreeSet<ProcessId>,
    count: &mut Count,
) {
    count.add("completions produced");
    let (kind, word) = match process.worker() {
        Some(_) => (WakeupKind::Delegation, "delegation"),
        None => (WakeupKind::Exit, "exit"),
    };
    if kind == WakeupKind::Delegation {
        count.add("tasks delegated");
    }
    let rows = told.get(&(process.id.clone(), kind, 0)).map_or(0, Vec::len);
    let sql = format!(
        "SELECT stage FROM ledger WHERE process = '{}' AND kind = '{word}' AND ordinal = 0",
        process.id
    );
    let stage = texts(store, &sql).pop().unwrap_or_else(|| "missing".to_owned());
    let end = process.exit.as_ref().map(|e| e.end);
    match (stage.as_str(), rows) {
        ("delivered", 1) => count.add("delivered"),
        ("consumed", 0) => count.add("consumed"),
        ("held", 0 | 1) => count.add("held"),
        _ => {
            count.add("lost otherwise");
            count.faults.push(format!("{} is {stage}, told {rows} times: {process:?}", process.id));
        }
    }
    match end {
        Some(End::Lost) if killed.contains(&process.id) => {
            count.add("lost with the supervisor killed");
        }
        Some(End::Lost) => {
            count.add("lost otherwise");
            count.faults.push(format!("{} was lost, its supervisor not killed", process.id));
        }
        Some(End::FailedStart) => count.add("failed to start"),
        Some(End::Exited | End::Killed) => {}
        None => count.faults.push(format!("{} has no end", process.id)),
    }
}

fn texts(store: &rusqlite::Connection, sql: &str) -> Vec<String> {
    let mut select = store.prepare(sql).unwrap();
    select.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}
