//! `process`: the agent looks after its background processes. What it sees of an end counts as
//! delivered (W07); a kill is stored before the signal is sent (W08).

mod task;

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{CallContext, Error, Run, Tool, ToolOutput, parse, terminal};
use crate::session::{ConsumeAt, Reply, TurnEvent};
use crate::toolset::Toolset;
use protocol::{End, Exit, Killer, Process, ProcessId};

/// Characters of output in `poll`, `wait` and `kill`.
const PREVIEW: usize = 2_000;
/// Most characters of a `log`.
const LOG: usize = 50_000;
/// Lines of a `log` without a limit.
const LINES: usize = 200;

pub(super) const TOOL: Tool = Tool {
    name: "process",
    description: "Look after background processes and delegated tasks: list, poll (state and last output), log \
                  (output by line), wait, kill, write (raw input), submit (a line of input), \
                  close (end of input). Prefer notify_on_complete and ending your turn over \
                  polling.",
    parameters,
    toolset: Toolset::Terminal,
    run: Run::Alone(|args, ctx| Box::pin(run(args, ctx))),
};

fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "action": { "type": "string",
                "enum": ["list", "poll", "log", "wait", "kill", "write", "submit", "close"] },
            "session_id": { "type": "string",
                "description": "The process id; needed for all but list" },
            "data": { "type": "string" },
            "timeout": { "type": "integer", "minimum": 1,
                "description": "Seconds to wait" },
            "offset": { "type": "integer" },
            "limit": { "type": "integer", "minimum": 1 }
        },
        "required": ["action"]
    })
}

#[derive(Deserialize)]
struct Args {
    action: String,
    session_id: Option<String>,
    data: Option<String>,
    timeout: Option<u64>,
    offset: Option<usize>,
    limit: Option<usize>,
}

async fn run(args: &Value, ctx: CallContext) -> Result<ToolOutput, Error> {
    let args: Args = parse(args)?;
    let Reply::Processes(all) = ctx.link.ask(TurnEvent::Processes).await else {
        return Err(Error("the processes cannot be listed now".to_owned()));
    };
    if args.action == "list" {
        return Ok(list(&all, &ctx).await.into());
    }
    let known = ["poll", "log", "wait", "kill", "write", "submit", "close"];
    if !known.contains(&args.action.as_str()) {
        let text =
            format!("Unknown process action: {}. Use: list, {}", args.action, known.join(", "));
        return Err(Error(text));
    }
    let Some(id) = args.session_id.clone() else {
        return Err(Error(format!("`session_id` is needed for {}", args.action)));
    };
    let Some(process) = all.into_iter().find(|p| p.id.0 == id) else {
        return Ok(
            json!({ "status": "not_found", "error": format!("No process with ID {id}") }).into()
        );
    };
    if process.worker().is_some() {
        return task::run(&process, &args, &ctx).await;
    }
    match args.action.as_str() {
        "poll" => Ok(poll(&process, &ctx)),
        "log" => Ok(log(&process, &args, &ctx)),
        "wait" => Ok(wait(&process, &args, &ctx).await),
        "kill" => Ok(kill(&process, &ctx).await),
        "close" => close(&process, &ctx).await,
        action => write(&process, action, &args, &ctx).await,
    }
}

/// How it ended, if known: as the session has stored it, else as the supervisor has.
fn exit_of(process: &Process, ctx: &CallContext) -> Option<Exit> {
    process.exit.clone().or_else(|| ctx.tools.processes.exit(&process.id))
}

fn preview(id: &ProcessId, ctx: &CallContext, chars: usize) -> String {
    terminal::tail(&ctx.tools.processes.output(id), chars)
}

fn uptime(process: &Process) -> i64 {
    let end = process.exit.as_ref().map_or_else(crate::clock::now, |e| e.at);
    ((end - process.started_at) / 1000).max(0)
}

/// The result fields about the end of a process, named as in hermes.
fn ending(process: &Process, exit: &Exit) -> Vec<(&'static str, Value)> {
    let (reason, by) = match (exit.end, process.killed_by) {
        (End::Exited, _) => ("exited", ""),
        (End::Lost, _) => ("lost", "backend_lost"),
        (End::FailedStart, _) => ("failed_start", "failed_start"),
        (End::Killed, Some(Killer::User)) => ("killed", "user"),
        (End::Killed, Some(Killer::Agent) | None) => ("killed", "process.kill"),
    };
    // hermes shows a death by a signal as the negative number; unknown stays null (W12).
    let code = exit.code.or_else(|| exit.signal.map(|s| -s));
    vec![
        ("exit_code", json!(code)),
        ("completion_reason", json!(reason)),
        ("termination_source", json!(by)),
    ]
}

/// The result fields about its watch, if it has one.
fn watch(process: &Process) -> Vec<(&'static str, Value)> {
    if process.watch.is_empty() {
        return Vec::new();
    }
    let watching = &process.watching;
    let mut fields = vec![
        ("watch_patterns", json!(process.watch)),
        ("watch_hit", json!(watching.hits > 0)),
        ("watch_lines", json!(watching.hits)),
    ];
    if watching.stale > 0 {
        fields.push(("watch_stale", json!(watching.stale)));
    }
    if watching.off {
        fields.push(("watch_disabled", json!(true)));
    }
    fields
}

fn with(mut value: Value, fields: Vec<(&'static str, Value)>) -> Value {
    if let Value::Object(map) = &mut value {
        map.extend(fields.into_iter().map(|(k, v)| (k.to_owned(), v)));
    }
    value
}

async fn list(all: &[Process], ctx: &CallContext) -> Value {
    let mut rows = Vec::with_capacity(all.len());
    for p in all {
        let (exit, preview, task) = match p.worker() {
            Some(worker) => (p.exit.clone(), task::preview(p, ctx, 200).await, Some(&worker.0)),
            None => (exit_of(p, ctx), preview(&p.id, ctx, 200), None),
        };
        let mut row = json!({
            "session_id": p.id.0,
            "command": p.command.chars().take(200).collect::<String>(),
            "cwd": p.cwd,
            "pid": p.pid,
            "started_at": p.started_at / 1000,
            "uptime_seconds": uptime(p),
            "status": if exit.is_some() { "exited" } else { "running" },
            "output_preview": preview,
            "notify_on_complete": p.notify,
        });
        if let Some(session) = task {
            row["delegated_to_session"] = json!(session);
        }
        let row = with(row, watch(p));
        rows.push(with(row, exit.map(|e| ending(p, &e)).unwrap_or_default()));
    }
    json!({ "processes": rows })
}

fn poll(process: &Process, ctx: &CallContext) -> ToolOutput {
    let exit = exit_of(process, ctx);
    let value = json!({
        "session_id": process.id.0,
        "command": process.command,
        "status": if exit.is_some() { "exited" } else { "running" },
        "pid": process.pid,
        "uptime_seconds": uptime(process),
        "output_preview": preview(&process.id, ctx, 1_000),
    });
    let seen = exit.iter().map(|_| (process.id.clone(), ConsumeAt::TurnEnd)).collect();
    let value = with(value, watch(process));
    let value = with(value, exit.map(|e| ending(process, &e)).unwrap_or_default());
    ToolOutput { value, seen, ..ToolOutput::default() }
}

fn log(process: &Process, args: &Args, ctx: &CallContext) -> ToolOutput {
    let exit = exit_of(process, ctx);
    let output = ctx.tools.processes.output(&process.id);
    let limit = args.limit.unwrap_or(LINES);
    let page = match args.offset {
        Some(offset) => output.lines(offset, limit),
        None => output.last_lines(limit),
    };
    let shown = page.text.lines().count();
    let last_shown = page.first + shown >= page.total;
    let text = terminal::clean(&page.text);
    let cut: String = text.chars().take(LOG).collect();
    let complete = cut.len() == text.len();
    let value = json!({
        "session_id": process.id.0,
        "command": process.command,
        "status": if exit.is_some() { "exited" } else { "running" },
        "output": cut,
        "total_lines": page.total,
        "showing": format!("{shown} lines"),
        "truncated": !complete,
    });
    let saw_the_end = exit.is_some() && last_shown && complete;
    let seen = if saw_the_end { vec![(process.id.clone(), ConsumeAt::Now)] } else { Vec::new() };
    let value = with(value, exit.map(|e| ending(process, &e)).unwrap_or_default());
    ToolOutput { value, seen, ..ToolOutput::default() }
}

async fn wait(process: &Process, args: &Args, ctx: &CallContext) -> ToolOutput {
    let most = ctx.tools.terminal.timeout;
    let asked = args.timeout.map_or(most, Duration::from_secs);
    let limit = asked.min(most);
    let mut exit = exit_of(process, ctx);
    if exit.is_none() {
        // So that an end which this call is about to show is not announced on top (W07).
        ctx.link.report(TurnEvent::Awaiting(process.id.clone()));
        exit =
            tokio::time::timeout(limit, ctx.tools.processes.wait(&process.id)).await.ok().flatten();
    }
    let output = preview(&process.id, ctx, PREVIEW);
    let value = json!({ "session_id": process.id.0, "command": process.command });
    let Some(exit) = exit else {
        let mut note = format!("Waited {}s, process still running", limit.as_secs());
        if asked > limit {
            let _ = write!(note, " (a wait is at most {} s)", most.as_secs());
        }
        let fields = vec![
            ("status", json!("timeout")),
            ("output", json!(output)),
            ("timeout_note", json!(note)),
        ];
        return with(value, fields).into();
    };
    let mut fields = vec![("status", json!("exited"))];
    fields.extend(ending(process, &exit));
    fields.push(("output", json!(output)));
    let seen = vec![(process.id.clone(), ConsumeAt::Now)];
    ToolOutput { value: with(value, fields), seen, ..ToolOutput::default() }
}

async fn kill(process: &Process, ctx: &CallContext) -> ToolOutput {
    let value = json!({ "session_id": process.id.0, "command": process.command });
    let (status, exit) = match exit_of(process, ctx) {
        Some(exit) => {
            // What is left of its tree, or of a child whose supervisor is gone.
            ctx.tools.processes.kill(&process.id).await;
            ("already_exited", Some(exit))
        }
        None => match ctx.link.ask(TurnEvent::Killing(process.id.clone())).await {
            Reply::Go => match ctx.tools.processes.kill(&process.id).await {
                Some(exit) => ("killed", Some(exit)),
                None => ("killing", None),
            },
            Reply::Refused(why) => return json!({ "status": "error", "error": why }).into(),
            Reply::Row(_) | Reply::Answer(_) | Reply::Processes(_) | Reply::Ended { .. } => {
                ("killing", None)
            }
        },
    };
    let seen = exit.iter().map(|_| (process.id.clone(), ConsumeAt::Now)).collect();
    let mut fields = vec![("status", json!(status))];
    fields.extend(exit.map(|e| ending(process, &e)).unwrap_or_default());
    fields.push(("output", json!(preview(&process.id, ctx, PREVIEW))));
    ToolOutput { value: with(value, fields), seen, ..ToolOutput::default() }
}

async fn write(
    process: &Process,
    action: &str,
    args: &Args,
    ctx: &CallContext,
) -> Result<ToolOutput, Error> {
    let Some(mut data) = args.data.clone() else {
        return Err(Error(format!("`data` is needed for {action}")));
    };
    if action == "submit" {
        data.push('\n');
    }
    Ok(match ctx.tools.processes.write(&process.id, data.as_bytes()).await {
        Ok(bytes) => json!({ "status": "ok", "bytes_written": bytes }),
        Err(error) => json!({ "status": "error", "error": error.to_string() }),
    }
    .into())
}

async fn close(process: &Process, ctx: &CallContext) -> Result<ToolOutput, Error> {
    Ok(match ctx.tools.processes.close_stdin(&process.id).await {
        Ok(()) => json!({ "status": "ok", "message": "EOF sent" }),
        Err(error) => json!({ "status": "error", "error": error.to_string() }),
    }
    .into())
}
