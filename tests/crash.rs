//! The host is killed as nothing can resist, at any moment: what ran in the background is told
//! exactly once, with its true end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use host::store::Stage;
use protocol::{Body, Delivery, End, SessionId, State, Stop};

use serde_json::json;

use crate::support::{
    Home, LONG, Reply, Server, Terminal, answer, eventually, exit_of, is_alive, obey, wakeups,
};
use crate::wakeups::spawn;

/// Runs of the loop (`E2E_RUNS` asks for another number), and how many go on at the same time.
const RUNS: u64 = 60;
const AT_ONCE: usize = 10;

/// A small generator: a seed gives the same run again.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A pause below that many milliseconds.
    pub(crate) fn pause(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.next() % most)
    }
}

/// Homes in which a host is killed, some at the same time. `one` counts what was told.
/// `E2E_RUNS` and `E2E_SEED` ask for other runs.
pub(crate) async fn in_homes<F>(runs: u64, one: impl Fn(Arc<Home>, Dice, u64) -> F)
where
    F: Future<Output = Result<usize, String>> + Send + 'static,
{
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("E2E_SEED").unwrap_or_else(now);
    let runs = number("E2E_RUNS").unwrap_or(runs);
    let mut counted = 0;
    let mut left = 0..runs;
    let mut lanes = tokio::task::JoinSet::new();
    loop {
        while lanes.len() < AT_ONCE
            && let Some(run) = left.next()
        {
            let home = Arc::new(Home::new());
            let dice = Dice(seed ^ run.wrapping_mul(0x2545_f491_4f6c_dd1d));
            let running = one(home.clone(), dice, run);
            lanes.spawn(async move {
                let counted = running.await;
                counted.unwrap_or_else(|why| {
                    panic!("E2E_SEED={seed} run {run}: {why}\n{}", home.dump())
                })
            });
        }
        let Some(done) = lanes.join_next().await else { break };
        counted += done.unwrap();
    }
    // Some runs are killed before anything was started; most are not.
    assert!(counted > runs as usize, "E2E_SEED={seed}: only {counted} told in {runs} runs");
}

// W14 W15 W16 W27
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_each_completion_is_told_exactly_once() {
    in_homes(RUNS, |home, dice, run| async move { one(&home, dice, run).await }).await;
}

/// One home: work is started, the host is killed once or twice, and then it may finish. Gives how
/// many completions were told.
async fn one(home: &Home, mut dice: Dice, run: u64) -> Result<usize, String> {
    // Long enough for a kill to hit a wakeup turn that is not answered yet, or half.
    let server = Server::start(|asked| match obey(asked) {
        Reply::Text(text) if asked.last_user().starts_with("[IMPORTANT") => {
            let pieces = text.split_inclusive(' ').map(str::to_owned).collect();
            Reply::Slow(pieces, Duration::from_millis(200))
        }
        reply => reply,
    })
    .await;
    // The exit codes by command.
    let mut expected = BTreeMap::new();
    let prompt = if run.is_multiple_of(3) {
        expected.insert("sleep 1; echo done".to_owned(), 0);
        "background 1 times 3".to_owned()
    } else {
        home.configure(server.url());
        let commands: Vec<String> = (0..3)
            .map(|code| format!("sleep 0.{}; echo done; exit {code}", 1 + dice.next() % 9))
            .collect();
        expected.extend(commands.iter().cloned().zip(0..));
        commands.iter().map(|command| spawn(command)).collect::<Vec<_>>().join("\n")
    };
    // Half of the kills hit the moments in which the work is being started.
    let most = if dice.next().is_multiple_of(2) { 400 } else { 2_500 };

    let mut terminal = Terminal::open(home, &[]).await;
    terminal.send(&prompt);
    tokio::time::sleep(dice.pause(most)).await;
    terminal.kill();
    let Some(session) = home.latest() else { return Ok(0) };
    if dice.next().is_multiple_of(3) {
        let mut terminal = Terminal::start(home, &["-c"]);
        tokio::time::sleep(dice.pause(most)).await;
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
    check(home, &session, &expected, &server)
}

/// What the store must hold now.
fn check(
    home: &Home,
    session: &SessionId,
    expected: &BTreeMap<String, i32>,
    server: &Server,
) -> Result<usize, String> {
    let stored = home.stored(session);
    let told = wakeups(&stored.rows);
    for (at, row) in stored.rows.iter().enumerate() {
        if row.n != at as u64 + 1 {
            return Err(format!("row {} stands at {at}", row.n));
        }
    }
    for wakeup in &told {
        if !stored.processes.iter().any(|p| p.id == wakeup.process) {
            return Err(format!("{} is told and not known", wakeup.process));
        }
    }
    let last = server.seen().pop();
    for process in &stored.processes {
        let id = &process.id;
        let mine: Vec<_> = told.iter().filter(|w| w.process == *id).collect();
        let exit = process.exit.clone().ok_or(format!("{id} has no end"))?;
        if process.state != State::Ended || mine.len() > 1 {
            return Err(format!("{id} is {:?}, told {} times", process.state, mine.len()));
        }
        match (exit.end, &process.delivery, mine.as_slice()) {
            (End::Exited, Delivery::Delivered, [wakeup]) => {
                let code = Some(expected[&process.command]);
                if (exit.code, exit_of(wakeup).code) != (code, code)
                    || !wakeup.text.ends_with("Output:\ndone]")
                {
                    return Err(format!("{id} was told as {wakeup:?}"));
                }
            }
            // The host was killed between writing the spawn down and starting the child.
            (End::FailedStart, Delivery::Delivered, [wakeup]) if exit.code.is_none() => {
                if !wakeup.text.contains("failed to start (exit code ?)") {
                    return Err(format!("{id} was told as {wakeup:?}"));
                }
            }
            (_, delivery, _) => {
                let times = mine.len();
                return Err(format!("{id} ended as {exit:?}, {delivery:?}, told {times} times"));
            }
        }
        if let Some(last) = &last {
            let mark = format!("[IMPORTANT: Background process {id} ");
            let times: usize = last.texts("user").iter().map(|t| t.matches(&mark).count()).sum();
            if times != 1 {
                return Err(format!("the model was told of {id} {times} times"));
            }
        }
    }
    Ok(told.len())
}

// W16
#[tokio::test]
async fn a_wakeup_cut_off_by_a_kill_is_answered_again() {
    let home = Home::new();
    let first = AtomicBool::new(true);
    let server = Server::start(move |asked| match asked.last_user() {
        text if text.starts_with("[IMPORTANT") && first.swap(false, Ordering::Relaxed) => {
            Reply::Hang("I was".to_owned())
        }
        _ => obey(asked),
    })
    .await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send(&spawn("echo done; exit 3"));
    server.requests(3).await;
    eventually("the claim in the store", || {
        let entry = home.stored(&home.latest()?).ledger.pop()?;
        matches!(entry.state, Stage::Claimed(_)).then_some(())
    })
    .await;
    terminal.kill();
    let _terminal = Terminal::open(&home, &["-c"]).await;
    let seen = server.requests(4).await;
    let told: usize =
        seen[3].texts("user").iter().map(|t| t.matches("[IMPORTANT: Background").count()).sum();
    assert_eq!(told, 1);
    eventually("the end", || home.is_settled().then_some(())).await;
    let stored = home.stored(&home.latest().unwrap());
    assert_eq!(wakeups(&stored.rows).len(), 1, "{}", home.dump());
    assert_eq!(stored.processes[0].delivery, Delivery::Delivered, "{}", home.dump());
    server.stays_at(4).await;
}

// W16
#[tokio::test]
async fn a_wakeup_answered_before_a_kill_is_not_repeated() {
    let home = Home::new();
    let call = json!({ "command": "echo up > up; sleep 300" });
    let server = Server::start(move |asked| match asked.last_user() {
        text if text.starts_with("[IMPORTANT") => answer(asked, &format!("call terminal {call}")),
        text => answer(asked, text),
    })
    .await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send(&spawn("echo done; exit 3"));
    home.line_in("up").await;
    terminal.kill();
    let mut terminal = Terminal::open(&home, &["-c"]).await;
    // The turn goes on; what it was started for is not told again.
    let asked = server.requests(4).await.pop().unwrap();
    let told = asked.texts("user").into_iter().filter(|t| t.starts_with("[IMPORTANT")).count();
    assert_eq!(told, 1);
    terminal.shows("As you say.").await;
    eventually("the end", || home.is_settled().then_some(())).await;
    let stored = home.stored(&home.latest().unwrap());
    assert_eq!(wakeups(&stored.rows).len(), 1, "{}", home.dump());
    server.stays_at(4).await;
}

// R07
#[tokio::test]
async fn text_streamed_before_a_kill_is_kept_and_marked_partial() {
    let home = Home::new();
    let server = Server::start(|asked| match asked.last_user() {
        "hang" => Reply::Hang("What I had to say until then".to_owned()),
        _ => obey(asked),
    })
    .await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    terminal.send("hang");
    terminal.shows("What I had to say until then").await;
    // At most the last 250 ms are missing: wait for what is promised.
    eventually("the text in the journal", || {
        let open = home.stored(&home.latest()?).open?;
        (open.text == "What I had to say until then").then_some(())
    })
    .await;
    terminal.kill();
    let mut terminal = Terminal::open(&home, &["-c"]).await;
    let screen = terminal.shows("What I had to say until then").await;
    assert!(screen.contains("… interrupted"), "{screen}");
    let rows = home.stored(&home.latest().unwrap()).rows;
    let partial = rows.iter().find_map(|row| match &row.body {
        Body::Assistant(answer) => Some(answer.clone()),
        _ => None,
    });
    let partial = partial.expect("an answer");
    assert_eq!(
        (partial.text.as_str(), partial.stop),
        ("What I had to say until then", Stop::Partial)
    );
    // The model has it in its context when it goes on.
    let asked = server.requests(2).await.pop().unwrap();
    assert_eq!(asked.texts("assistant"), ["What I had to say until then"]);
}

// R06
#[tokio::test]
async fn a_command_running_at_a_kill_is_dead_and_not_run_again() {
    let home = Home::new();
    let server = Server::obedient().await;
    home.configure(server.url());
    let mut terminal = Terminal::open(&home, &[]).await;
    let args = json!({ "command": "trap '' TERM; echo ran >> runs; echo $$ > shell; sleep 300" });
    terminal.send(&format!("call terminal {args}"));
    let shell: u32 = home.line_in("shell").await.parse().unwrap();
    terminal.kill();
    let _terminal = Terminal::open(&home, &["-c"]).await;
    let asked = server.requests(2).await.pop().unwrap();
    assert!(!is_alive(shell), "it is dead before the model is told so");
    assert!(asked.last_tool().contains("it was not run again"), "{}", asked.last_tool());
    assert_eq!(home.line_in("runs").await, "ran");
}
