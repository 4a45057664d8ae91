//! `process` on a delegated task: no supervisor runs it, another session of this host does.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::delegate_task::{clean, load_findings, result, status};
use super::{Args, CallContext, Error, LOG, ToolOutput, ending, uptime, with};
use crate::session::{ConsumeAt, Reply, TurnEvent};
use crate::wakeup;
use protocol::{Exit, Process};

/// How long a kill waits for the task to unwind.
const UNWIND: Duration = Duration::from_secs(12);

pub(super) async fn run(
    process: &Process,
    args: &Args,
    ctx: &CallContext,
) -> Result<ToolOutput, Error> {
    match args.action.as_str() {
        "poll" => Ok(poll(process, ctx).await),
        "log" => Ok(log(process, args, ctx).await),
        "wait" => Ok(wait(process, args, ctx).await),
        "kill" => Ok(kill(process, ctx).await),
        action => Err(Error(format!(
            "{} is a delegated task and takes no input: `{action}` is for commands",
            process.id
        ))),
    }
}

/// What its agent said last.
pub(super) async fn preview(process: &Process, ctx: &CallContext, chars: usize) -> String {
    wakeup::both_ends(&clean(&load_findings(process, &ctx.tools).await.answer), chars, &process.id)
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

async fn poll(process: &Process, ctx: &CallContext) -> ToolOutput {
    let exit = process.exit.as_ref();
    let fields = vec![
        ("uptime_seconds", json!(uptime(process))),
        ("output_preview", json!(preview(process, ctx, 1_000).await)),
    ];
    let seen = exit.iter().map(|_| (process.id.clone(), ConsumeAt::TurnEnd)).collect();
    ToolOutput { value: with(about(process, exit), fields), seen, ..ToolOutput::default() }
}

/// The whole result, or what there is of it so far.
async fn log(process: &Process, args: &Args, ctx: &CallContext) -> ToolOutput {
    let exit = process.exit.as_ref();
    let found = load_findings(process, &ctx.tools).await;
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
    let seen = if saw_the_end { vec![(process.id.clone(), ConsumeAt::Now)] } else { Vec::new() };
    ToolOutput { value: with(about(process, exit), fields), seen, ..ToolOutput::default() }
}

async fn wait(process: &Process, args: &Args, ctx: &CallContext) -> ToolOutput {
    let most = ctx.tools.terminal.timeout;
    let limit = args.timeout.map_or(most, Duration::from_secs).min(most);
    if let Some(exit) = end(process, limit, ctx).await {
        return ended(process, "exited", &exit, ctx).await;
    }
    let note = format!("Waited {}s, the task still runs", limit.as_secs());
    let fields = vec![("status", json!("timeout")), ("timeout_note", json!(note))];
    with(about(process, None), fields).into()
}

async fn kill(process: &Process, ctx: &CallContext) -> ToolOutput {
    if let Some(exit) = &process.exit {
        return ended(process, "already_exited", exit, ctx).await;
    }
    if let Reply::Refused(why) = ctx.link.ask(TurnEvent::Killing(process.id.clone())).await {
        return json!({ "status": "error", "error": why }).into();
    }
    match end(process, UNWIND, ctx).await {
        Some(exit) => ended(process, "killed", &exit, ctx).await,
        None => with(about(process, None), vec![("status", json!("killing"))]).into(),
    }
}

/// Waits for its end, so long at most.
async fn end(process: &Process, limit: Duration, ctx: &CallContext) -> Option<Exit> {
    if process.exit.is_some() {
        return process.exit.clone();
    }
    let ask = ctx.link.ask(TurnEvent::AwaitEnd(process.id.clone()));
    match tokio::time::timeout(limit, ask).await {
        Ok(Reply::Ended { exit }) => Some(exit),
        Ok(_) | Err(_) => None,
    }
}

/// The result that shows its end.
async fn ended(process: &Process, how: &str, exit: &Exit, ctx: &CallContext) -> ToolOutput {
    let fields = vec![("status", json!(how)), ("output", json!(result(process, &ctx.tools).await))];
    let seen = vec![(process.id.clone(), ConsumeAt::Now)];
    ToolOutput { value: with(about(process, Some(exit)), fields), seen, ..ToolOutput::default() }
}
