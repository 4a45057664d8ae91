//! `host …`: looks at the host of the state folder and stops it, over its socket.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use host::state_dir::socket_path;
use host::store::Lock;
use serde_json::{Value, json};

use crate::args::HostCommand;
use crate::interactive::is_suspended;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a host may take to stop beyond what it drains.
const STOP: Duration = Duration::from_mins(1);

/// Runs the subcommand.
pub(crate) fn run(state: &Path, command: HostCommand) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        match command {
            HostCommand::Status { json } => show(state, json).await,
            HostCommand::Stop => stop(state).await,
        }
    })
}

/// What the host says about itself.
pub(crate) async fn status(state: &Path) -> anyhow::Result<Value> {
    ask(state, reqwest::Method::GET, "/api/tui/v1/status").await
}

async fn ask(state: &Path, method: reqwest::Method, path: &str) -> anyhow::Result<Value> {
    let socket = Lock::place(&state.join("host.lock")).unwrap_or_else(|| socket_path(state));
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(ANSWER)
        .unix_socket(socket)
        .build()
        .context("cannot make a client")?;
    let answer = client.request(method, format!("http://localhost{path}")).send().await?;
    Ok(answer.error_for_status()?.json().await?)
}

/// Says whether one runs: exit code 0, else 1.
async fn show(state: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let holder = Lock::holder(&state.join("host.lock"));
    let answer = status(state).await.ok();
    let mut out = std::io::stdout().lock();
    let running = holder.is_some() || answer.is_some();
    if json {
        let mut told = json!({ "running": running, "answers": answer.is_some(), "pid": holder });
        if let (Value::Object(told), Some(Value::Object(answer))) = (&mut told, answer) {
            told.extend(answer);
        }
        writeln!(out, "{told:#}")?;
    } else {
        match (&answer, holder) {
            (Some(answer), _) => writeln!(out, "{}", words(answer))?,
            (None, Some(pid)) => {
                let why = if is_suspended(pid) {
                    format!(
                        "is suspended: `fg` in its shell brings it back, `kill -CONT {pid}` too"
                    )
                } else {
                    "does not answer".to_owned()
                };
                writeln!(out, "Process {pid} holds {} and {why}.", state.display())?;
            }
            (None, None) => writeln!(out, "No host runs on {}.", state.display())?,
        }
    }
    Ok(if running { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The answer of a host, for people.
fn words(answer: &Value) -> String {
    let count = |key: &str, one: &str, many: &str| {
        let n = answer[key].as_u64().unwrap_or(0);
        format!("{n} {}", if n == 1 { one } else { many })
    };
    let since = answer["server_started_at"].as_f64().unwrap_or_default() as i64;
    let since = jiff::Timestamp::from_second(since).unwrap_or_default();
    let since = since.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S");
    let text = format!(
        "A host runs since {since}: process {}, {}, {}, {}.",
        answer["pid"],
        count("turns", "turn", "turns"),
        count("processes", "background process", "background processes"),
        count("views", "front end", "front ends"),
    );
    match answer["address"].as_str() {
        Some(address) => format!("{text}\nIt listens on http://{address}."),
        None => text,
    }
}

/// Asks it to stop and waits until it has.
async fn stop(state: &Path) -> anyhow::Result<ExitCode> {
    let lock = state.join("host.lock");
    let mut out = std::io::stdout().lock();
    let holder = Lock::holder(&lock);
    if let Some(pid) = holder.filter(|pid| is_suspended(*pid)) {
        // Asked now, it would stop when it goes on, whenever that is.
        anyhow::bail!(
            "process {pid} holds the state and is suspended: `fg` in its shell brings it back; \
             `kill {pid}; kill -CONT {pid}` ends it"
        );
    }
    if let Err(error) = ask(state, reqwest::Method::POST, "/api/tui/v1/stop").await {
        match holder {
            None => {
                writeln!(out, "No host runs on {}.", state.display())?;
                return Ok(ExitCode::SUCCESS);
            }
            Some(pid) => {
                tracing::debug!("no answer: {error}");
                anyhow::bail!(
                    "process {pid} holds the state and does not answer; `kill {pid}` ends it"
                )
            }
        }
    }
    let end = Instant::now() + STOP;
    while Lock::holder(&lock).is_some_and(|pid| Some(pid) == holder) {
        anyhow::ensure!(
            Instant::now() < end,
            "the host has not stopped yet; it finishes what runs"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    writeln!(out, "The host has stopped. What runs goes on at the next start.")?;
    Ok(ExitCode::SUCCESS)
}
