//! `process` on a delegated task: no supervisor runs it, another session of this host does.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::delegate_task::{clean, found, result, status};
use super::{Args, Error, Job, LOG, Outcome, ending, uptime, with};
use crate::session::{Reply, Say, Seen};
use crate::wakeup;
use protocol::{Exit, Process};

/// How long a kill waits for the task to unwind.
const UNWIND: Duration = Duration::from_secs(12);

pub(super) async fn run(process: &Process, args: &Args, job: &Job) -> Result<Outcome, Error> {
    match args.action.as_str() {
        "poll" => Ok(poll(process, job).await),
        "log" => Ok(log(process, args, job).await),
        "wait" => Ok(wait(process, args, job).await),
        "kill" => Ok(kill(process, job).await),
        action => Err(Error(format!(
            "{} is a delegated task and takes no input: `{action}` is for commands",
            process.id
        ))),
    }
}

/// What its agent said last.
pub(super) async fn preview(process: &Process, job: &Job, chars: usize) -> String {
    wakeup::both_ends(&clean(&found(process, &job.kit).await.answer), chars, &process.id)
}

/// What every result tells.
fn about(process: &Process, exit: Option<&Exit>) -> Value {
    let value = json!({
        "session_id": process.id.0,
        "command": process.command,
        "delegated_to_session": process.worker().map(|w| &w.0),
        "status": if exit.is_some() { "exited" } else { "running" },
        "task": exit.map_or("running", status),
    });
    with(value, exit.map(|e| ending(process, e)).unwrap_or_default())
}

async fn poll(process: &Process, job: &Job) -> Outcome {
    let exit = process.exit.as_ref();
    let fields = vec![
        ("uptime_seconds", json!(uptime(process))),
        ("output_preview", json!(preview(process, job, 1_000).await)),
    ];
    let seen = exit.iter().map(|_| (process.id.clone(), Seen::AtTurnEnd)).collect();
    Outcome { value: with(about(process, exit), fields), seen, ..Outcome::default() }
}

/// The whole result, or what there is of it so far.
async fn log(process: &Process, args: &Args, job: &Job) -> Outcome {
    let exit = process.exit.as_ref();
    let found = found(process, &job.kit).await;
    let text = clean(&if exit.is_some() { found.text() } else { found.answer });
    let total = text.lines().count();
    let first = args.offset.unwrap_or(0).min(total);
    let shown: Vec<&str> = text.lines().skip(first).take(args.limit.unwrap_or(total)).collect();
    let last_shown = first + shown.len() >= total;
    let joined = shown.join("\n");
    let output: String = joined.chars().take(LOG).collect();
    let complete = output.len() == joined.len();
    let fields = vec![
        ("total_lines", json!(total)),
        ("showing", json!(format!("{} lines", shown.len()))),
        ("truncated", json!(!complete)),
        ("output", json!(output)),
    ];
    let saw_the_end = exit.is_some() && last_shown && complete;
    let seen = if saw_the_end { vec![(process.id.clone(), Seen::Now)] } else { Vec::new() };
    Outcome { value: with(about(process, exit), fields), seen, ..Outcome::default() }
}

async fn wait(process: &Process, args: &Args, job: &Job) -> Outcome {
    let most = job.kit.terminal.timeout;
    let limit = args.timeout.map_or(most, Duration::from_secs).min(most);
    if let Some(exit) = end(process, limit, job).await {
        return ended(process, "exited", &exit, job).await;
    }
    let note = format!("Waited {}s, the task still runs", limit.as_secs());
    let fields = vec![("status", json!("timeout")), ("timeout_note", json!(note))];
    with(about(process, None), fields).into()
}

async fn kill(process: &Process, job: &Job) -> Outcome {
    if let Some(exit) = &process.exit {
        return ended(process, "already_exited", exit, job).await;
    }
    if let Reply::Refused(why) = job.voice.ask(Say::Killing(process.id.clone())).await {
        return json!({ "status": "error", "error": why }).into();
    }
    match end(process, UNWIND, job).await {
        Some(exit) => ended(process, "killed", &exit, job).await,
        None => with(about(process, None), vec![("status", json!("killing"))]).into(),
    }
}

/// Waits for its end, so long at most.
async fn end(process: &Process, limit: Duration, job: &Job) -> Option<Exit> {
    if process.exit.is_some() {
        return process.exit.clone();
    }
    let ask = job.voice.ask(Say::AwaitEnd(process.id.clone()));
    match tokio::time::timeout(limit, ask).await {
        Ok(Reply::Ended { exit }) => Some(exit),
        Ok(_) | Err(_) => None,
    }
}

/// The result that shows its end.
async fn ended(process: &Process, how: &str, exit: &Exit, job: &Job) -> Outcome {
    let fields = vec![("status", json!(how)), ("output", json!(result(process, &job.kit).await))];
    let seen = vec![(process.id.clone(), Seen::Now)];
    Outcome { value: with(about(process, Some(exit)), fields), seen, ..Outcome::default() }
}
