//! `host status` and `host stop`: the host of the state directory, over its socket.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use host::state_dir::StateDir;
use host::store::Lock;
use serde_json::{Value, json};

use crate::args::HostCommand;
use crate::running_host::{self, is_suspended};

/// How long a host may take to stop.
const STOP: Duration = Duration::from_mins(1);

/// Runs the subcommand.
pub(crate) fn run(state: &StateDir, command: HostCommand) -> anyhow::Result<ExitCode> {
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

/// Prints whether one runs: exit code 0, else 1.
async fn show(state: &StateDir, json: bool) -> anyhow::Result<ExitCode> {
    let holder = Lock::holder(&state.host_lock());
    let answer = running_host::status(state).await.ok();
    let mut out = std::io::stdout().lock();
    let running = holder.is_some() || answer.is_some();
    if json {
        let mut report = json!({ "running": running, "answers": answer.is_some(), "pid": holder });
        if let (Value::Object(report), Some(Value::Object(answer))) = (&mut report, answer) {
            report.extend(answer);
        }
        writeln!(out, "{report:#}")?;
    } else {
        match (&answer, holder) {
            (Some(answer), _) => writeln!(out, "{}", as_text(answer))?,
            (None, Some(pid)) => {
                let why = if is_suspended(pid) {
                    format!("is suspended: resume it with `fg` in its shell or `kill -CONT {pid}`")
                } else {
                    "does not answer".to_owned()
                };
                writeln!(out, "Process {pid} owns {} and {why}.", state.display())?;
            }
            (None, None) => writeln!(out, "No host runs on {}.", state.display())?,
        }
    }
    Ok(if running { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The status of a host as text.
fn as_text(answer: &Value) -> String {
    let count = |key: &str, one: &str, many: &str| {
        let n = answer[key].as_u64().unwrap_or(0);
        format!("{n} {}", if n == 1 { one } else { many })
    };
    let since = answer["server_started_at"].as_f64().unwrap_or_default() as i64;
    let since = jiff::Timestamp::from_second(since).unwrap_or_default();
    let since = since.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S");
    let text = format!(
        "A host has been running since {since}: process {}, {}, {}, {}.",
        answer["pid"],
        count("turns", "turn", "turns"),
        count("processes", "background process", "background processes"),
        count("views", "client", "clients"),
    );
    match answer["address"].as_str() {
        Some(address) => format!("{text}\nIt listens on http://{address}."),
        None => text,
    }
}

/// Asks it to stop and waits until it has.
async fn stop(state: &StateDir) -> anyhow::Result<ExitCode> {
    let lock = state.host_lock();
    let mut out = std::io::stdout().lock();
    let holder = Lock::holder(&lock);
    if let Some(pid) = holder.filter(|pid| is_suspended(*pid)) {
        // Asked now, it would stop whenever it is continued.
        anyhow::bail!(
            "process {pid} owns the state directory and is suspended: resume it with `fg` in its \
             shell, or end it with `kill {pid}; kill -CONT {pid}`"
        );
    }
    if let Err(error) = running_host::stop(state).await {
        match holder {
            None => {
                writeln!(out, "No host runs on {}.", state.display())?;
                return Ok(ExitCode::SUCCESS);
            }
            Some(pid) => {
                tracing::debug!("no answer: {error}");
                anyhow::bail!(
                    "process {pid} owns the state directory and does not answer; `kill {pid}` ends it"
                )
            }
        }
    }
    let end = Instant::now() + STOP;
    while Lock::holder(&lock).is_some_and(|pid| Some(pid) == holder) {
        anyhow::ensure!(
            Instant::now() < end,
            "the host has not stopped yet; it is waiting for running turns"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    writeln!(out, "The host has stopped. Unfinished turns resume at the next start.")?;
    Ok(ExitCode::SUCCESS)
}
