//! A command in the background: written down first, then started, then left alone.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Args, blocked, shell};
use crate::process::{Kind, Processes, Spec};
use crate::protocol::{Delivery, End, Exit, Process, ProcessId, State, Watching, Work};
use crate::session::{Caller, Reply, Say, Seen};
use crate::tool::{Error, Job, Outcome};
use crate::turn::Voice;

pub(super) async fn run(args: Args, cwd: PathBuf, job: &Job) -> Result<Outcome, Error> {
    let wants_wakeup = args.notify_on_complete || !args.watch_patterns.is_empty();
    let notify = wants_wakeup && job.plan.caller != Caller::Stateless;
    let id = ProcessId::fresh();
    let process = Process {
        id: id.clone(),
        session: job.voice.session.clone(),
        turn: job.plan.turn,
        command: args.command.clone(),
        cwd: cwd.display().to_string(),
        pid: None,
        started_at: crate::local::now(),
        state: State::Starting,
        exit: None,
        notify,
        watch: Vec::new(),
        watching: Watching::default(),
        work: Work::Command,
        pty: args.pty,
        killed_by: None,
        delivery: Delivery::Open,
    };
    let base = shell::login(&job.kit).await.to_vec();
    let spec = Spec {
        id: id.clone(),
        command: args.command,
        shell: shell::program(&job.kit.terminal.shell),
        cwd,
        env: shell::environment(&base, job, args.pty),
        pty: args.pty,
        kind: Kind::Background,
    };
    // A task of its own: a turn that is interrupted here must not part the record from the child.
    let spawning = spawn(process, spec, job.voice.clone(), job.kit.processes.clone());
    let spawned = tokio::spawn(spawning).await;
    let pid = match spawned.unwrap_or_else(|_| Err(Failed("the spawn broke".to_owned()))) {
        Ok(pid) => pid,
        Err(failed) => {
            let value = blocked(&failed.0, "error");
            // The agent reads of it here: no wakeup needed on top.
            return Ok(Outcome { value, seen: vec![(id, Seen::Now)], ..Outcome::default() });
        }
    };
    let mut value = json!({
        "output": "Background process started",
        "session_id": id.0,
        "pid": pid,
        "exit_code": 0,
        "error": null,
    });
    if let Value::Object(map) = &mut value {
        let mut add = |key: &str, value: Value| map.insert(key.to_owned(), value);
        if notify {
            add("notify_on_complete", true.into());
        } else if wants_wakeup {
            add("notify_on_complete", false.into());
            let why = "Nobody is there to be woken after a one-shot run: poll the process, or \
                       use `process wait`, before you answer.";
            add("notify_unsupported", why.into());
        } else {
            let hint = "You will not be told when it ends; pass notify_on_complete=true for \
                        that, or look with `process`.";
            add("hint", hint.into());
        }
        if !args.watch_patterns.is_empty() {
            let why = "Watch patterns are not supported here; the end of the process wakes you.";
            add("watch_patterns_ignored", why.into());
        }
    }
    Ok(value.into())
}

/// Why it does not run, for the model.
struct Failed(String);

/// Writes a spawn down (W27), starts it, and says what came of it.
async fn spawn(
    process: Process,
    spec: Spec,
    voice: Voice,
    processes: Processes,
) -> Result<u32, Failed> {
    let id = process.id.clone();
    match voice.ask(Say::Spawn(Box::new(process))).await {
        Reply::Go => {}
        Reply::Refused(why) => return Err(Failed(why)),
        Reply::Row(_) | Reply::Answer(_) | Reply::Processes(_) | Reply::Ended { .. } => {
            return Err(Failed("the spawn was not written down".to_owned()));
        }
    }
    match processes.spawn(spec).await {
        Ok(pid) => {
            voice.say(Say::Running { process: id, pid });
            Ok(pid)
        }
        Err(error) => {
            let at = crate::local::now();
            let exit = Exit { end: End::FailedStart, code: None, signal: None, at };
            voice.say(Say::FailedStart { process: id, exit });
            Err(Failed(format!("The process did not start: {error}")))
        }
    }
}
