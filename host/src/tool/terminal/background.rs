//! A command in the background: stored first, then started, then left to run.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Args, blocked, shell};
use crate::process::{Kind, Processes, Spec, Watch};
use crate::session::{Attendance, ConsumeAt, Reply, TurnEvent};
use crate::tool::{CallContext, Error, ToolOutput};
use crate::turn_link::TurnLink;
use protocol::{Delivery, End, Exit, Process, ProcessId, State, Watching, Work};

/// Most patterns of one process.
const PATTERNS: usize = 20;
/// Most characters of a pattern.
const PATTERN: usize = 200;

pub(super) async fn run(args: Args, cwd: PathBuf, ctx: &CallContext) -> Result<ToolOutput, Error> {
    check(&args.watch_patterns)?;
    let can_wake = ctx.plan.attendance != Attendance::Stateless;
    let notify = args.notify_on_complete && can_wake;
    // Both at once would notify the agent twice of the same: the end wins (P06).
    let watch = if can_wake && !notify { args.watch_patterns.clone() } else { Vec::new() };
    let id = ProcessId::fresh();
    let process = Process {
        id: id.clone(),
        session: ctx.link.session.clone(),
        turn: ctx.plan.turn,
        command: args.command.clone(),
        cwd: cwd.display().to_string(),
        pid: None,
        started_at: crate::clock::now(),
        state: State::Starting,
        exit: None,
        notify,
        watch: watch.clone(),
        watching: Watching::default(),
        work: Work::Command,
        pty: args.pty,
        killed_by: None,
        delivery: Delivery::Open,
    };
    let base = shell::login(&ctx.tools).await.to_vec();
    let spec = Spec {
        id: id.clone(),
        command: args.command.clone(),
        shell: shell::program(&ctx.tools.terminal.shell),
        cwd,
        env: shell::environment(&base, ctx, args.pty),
        pty: args.pty,
        kind: Kind::Background,
        watch: Watch { patterns: watch.clone(), offset: 0 },
    };
    // A task of its own: a turn that is interrupted here must not part the record from the child.
    let spawning = spawn(process, spec, ctx.link.clone(), ctx.tools.processes.clone());
    let spawned = tokio::spawn(spawning).await;
    match spawned.unwrap_or_else(|_| Err(Failed("the spawn broke".to_owned()))) {
        Ok(pid) => Ok(started(&id, pid, &args, notify, &watch).into()),
        Err(failed) => {
            let value = blocked(&failed.0, "error");
            // The agent reads of it here: no wakeup needed on top.
            Ok(ToolOutput { value, seen: vec![(id, ConsumeAt::Now)], ..ToolOutput::default() })
        }
    }
}

/// The result of a start: what runs, and what will wake the agent.
fn started(id: &ProcessId, pid: u32, args: &Args, notify: bool, watch: &[String]) -> Value {
    let mut value = json!({
        "output": "Background process started",
        "session_id": id.0,
        "pid": pid,
        "exit_code": 0,
        "error": null,
    });
    let wants_wakeup = args.notify_on_complete || !args.watch_patterns.is_empty();
    if notify {
        value["notify_on_complete"] = true.into();
    } else if !watch.is_empty() {
        value["watch_patterns"] = json!(watch);
    } else if wants_wakeup {
        value["notify_on_complete"] = false.into();
        let why = "Nobody is there to be woken after a one-shot run: poll the process, or \
                   use `process wait`, before you answer.";
        value["notify_unsupported"] = why.into();
    } else {
        let hint = "You will not be told when it ends; pass notify_on_complete=true for \
                    that, or look with `process`.";
        value["hint"] = hint.into();
    }
    if notify && !args.watch_patterns.is_empty() {
        let why = "notify_on_complete and watch_patterns cannot be combined: the end of the \
                   process wakes you, its output does not.";
        value["watch_patterns_ignored"] = why.into();
    }
    value
}

/// Refuses patterns that no line could contain, or that every line would.
fn check(patterns: &[String]) -> Result<(), Error> {
    let bad = |p: &&String| {
        p.trim().is_empty() || p.contains(char::is_control) || p.chars().count() > PATTERN
    };
    if let Some(pattern) = patterns.iter().find(bad) {
        return Err(Error(format!(
            "watch pattern {pattern:?} cannot be looked for: a pattern is plain text within one \
             line, 1 to {PATTERN} characters"
        )));
    }
    if patterns.len() > PATTERNS {
        return Err(Error(format!("too many watch patterns: {PATTERNS} are the most")));
    }
    Ok(())
}

/// Why it does not run, for the model.
struct Failed(String);

/// Stores a spawn (W27), starts it, and reports the result.
async fn spawn(
    process: Process,
    spec: Spec,
    link: TurnLink,
    processes: Processes,
) -> Result<u32, Failed> {
    let id = process.id.clone();
    match link.ask(TurnEvent::Spawn(Box::new(process))).await {
        Reply::Go => {}
        Reply::Refused(why) => return Err(Failed(why)),
        Reply::Row(_) | Reply::Answer(_) | Reply::Processes(_) | Reply::Ended { .. } => {
            return Err(Failed("the spawn was not written down".to_owned()));
        }
    }
    match processes.spawn(spec).await {
        Ok(pid) => {
            link.report(TurnEvent::Running { process: id, pid });
            Ok(pid)
        }
        Err(error) => {
            let at = crate::clock::now();
            let exit = Exit { end: End::FailedStart, code: None, signal: None, at };
            link.report(TurnEvent::FailedStart { process: id, exit });
            Err(Failed(format!("The process did not start: {error}")))
        }
    }
}
