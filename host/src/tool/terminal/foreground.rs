//! A command in the foreground: the call waits for it and streams its output, and it ends with its
//! call.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Args, blocked, clean, shell};
use crate::process::{Kind, Processes, SpawnError, Spec, Watch};
use crate::session::TurnEvent;
use crate::tool::{CallContext, Error, ToolOutput};
use protocol::{Exit, ProcessId};

/// Most characters of output in a result: 40 % from the beginning, 60 % from the end.
const OUTPUT: usize = 50_000;
/// How often live output is polled.
const LIVE: Duration = Duration::from_millis(60);
/// Most bytes of live output handed on at once.
const LIVE_BYTES: usize = 8 * 1024;

pub(super) async fn run(args: Args, cwd: PathBuf, ctx: &CallContext) -> Result<ToolOutput, Error> {
    if let Some(advice) = belongs_in_background(&args.command) {
        return Ok(blocked(advice, "error").into());
    }
    let limit = args.timeout.map_or(ctx.tools.terminal.timeout, Duration::from_secs);
    if limit > ctx.tools.terminal.max_timeout {
        let why = format!(
            "A foreground command may run at most {} s. Use background=true with \
             notify_on_complete=true for longer ones.",
            ctx.tools.terminal.max_timeout.as_secs()
        );
        return Ok(blocked(&why, "error").into());
    }
    let base = shell::login(&ctx.tools).await.to_vec();
    let running = match start(&args, cwd, &base, ctx).await {
        Ok(running) => running,
        Err(error) => {
            let why = format!("The command did not start: {error}");
            return Ok(blocked(&why, "error").into());
        }
    };
    let (processes, id) = (&running.processes, &running.id);
    let mut follower = Follower { processes, id, ctx, from: 0, held: Vec::new() };
    let ended = tokio::select! {
        exit = processes.wait(id) => exit,
        () = follower.follow() => None,
        () = tokio::time::sleep(limit) => None,
    };
    let timed_out = ended.is_none().then_some(limit);
    let exit = match ended {
        Some(exit) => Some(exit),
        None => processes.kill(id).await,
    };
    let text = processes.output(id).tail(OUTPUT * 8).text;
    let value = result(&shorten(&clean(&text), OUTPUT), exit.as_ref(), timed_out);
    let after = shell::read_back(&running.snapshot, &base, &ctx.plan.shell);
    Ok(ToolOutput { value, shell: after, ..ToolOutput::default() })
}

/// Starts the command. What is returned, or dropped here after a failure, cleans up after it.
async fn start(
    args: &Args,
    cwd: PathBuf,
    base: &[(String, String)],
    ctx: &CallContext,
) -> Result<Running, SpawnError> {
    let id = Processes::foreground_id(&ctx.link.session);
    let snapshot = ctx.tools.scratch.join(format!("{id}.shell"));
    let spec = Spec {
        id: id.clone(),
        command: shell::wrapped(&args.command, &snapshot),
        shell: shell::program(&ctx.tools.terminal.shell),
        cwd,
        env: shell::environment(base, ctx, args.pty),
        pty: args.pty,
        kind: Kind::Foreground,
        watch: Watch::default(),
    };
    let processes = ctx.tools.processes.clone();
    let mut running = Running { processes, id, snapshot, alive: ctx.alive.clone() };
    let mut started = running.processes.spawn(spec.clone()).await;
    if let (Err(SpawnError::Launch(_)), Ok(spare)) = (&started, running.processes.spare()) {
        // A full or read-only state directory: a foreground command needs none that lasts.
        running.processes.remove(&running.id);
        running.processes = spare;
        started = running.processes.spawn(spec).await;
    }
    started.map(|_| running)
}

/// The result for the model; `timed_out` is the limit that was exceeded.
fn result(output: &str, exit: Option<&Exit>, timed_out: Option<Duration>) -> Value {
    let mut output = output.to_owned();
    let mut code = exit.and_then(|e| e.code);
    if let Some(limit) = timed_out {
        if !output.is_empty() && !output.ends_with('\n') {
            output.push('\n');
        }
        output = format!("{output}[Command timed out after {}s]", limit.as_secs());
        code = Some(124);
    }
    let output = output.trim_end_matches('\n');
    let mut value = json!({ "output": output, "exit_code": code, "error": null });
    if let (None, Some(exit)) = (code, exit) {
        value["error"] = crate::wakeup::summary(exit).into();
        // Shells report the death of a child by a signal as 128 + its number.
        if let Some(signal) = exit.signal {
            value["exit_code"] = (128 + signal).into();
        }
    }
    value
}

/// Kills a foreground command whose call was dropped, and cleans up after every one.
struct Running {
    processes: Processes,
    id: ProcessId,
    snapshot: PathBuf,
    alive: mpsc::Sender<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let (processes, id) = (self.processes.clone(), self.id.clone());
        let snapshot = std::mem::take(&mut self.snapshot);
        if processes.exit(&id).is_some() {
            std::fs::remove_file(snapshot).ok();
            processes.remove(&id);
            return;
        }
        let alive = self.alive.clone();
        tokio::spawn(async move {
            processes.kill(&id).await;
            // Not before: the trap of a shell that is being ended writes it.
            std::fs::remove_file(snapshot).ok();
            processes.remove(&id);
            drop(alive);
        });
    }
}

/// Hands live output on while a command runs, by whole lines: a secret or an escape sequence is
/// never cut in two. A line that stays unfinished for a while goes out as it is.
struct Follower<'a> {
    processes: &'a Processes,
    id: &'a ProcessId,
    ctx: &'a CallContext,
    from: u64,
    held: Vec<u8>,
}

impl Follower<'_> {
    async fn follow(&mut self) {
        loop {
            tokio::time::sleep(LIVE).await;
            let chunk = self.processes.output(self.id).read(self.from, LIVE_BYTES);
            let quiet = chunk.bytes.is_empty();
            self.from = chunk.from + chunk.bytes.len() as u64;
            self.held.extend(chunk.bytes);
            let end = match self.held.iter().rposition(|b| *b == b'\n') {
                _ if quiet || self.held.len() > LIVE_BYTES => self.held.len(),
                Some(newline) => newline + 1,
                None => 0,
            };
            if end == 0 {
                continue;
            }
            let lines: Vec<u8> = self.held.drain(..end).collect();
            let text = clean(&String::from_utf8_lossy(&lines));
            self.ctx.link.report(TurnEvent::CallOutput { call: self.ctx.call.clone(), text });
        }
    }
}

/// Commands that would hang the foreground or escape from it.
fn belongs_in_background(command: &str) -> Option<&'static str> {
    const ADVICE: &str = "Do not detach a command yourself (`&`, nohup, setsid, disown): use \
                          background=true, with notify_on_complete=true if you want to be woken.";
    let command = command.trim();
    let first = command.split_whitespace().next().unwrap_or_default();
    let detaches = (command.ends_with('&') && !command.ends_with("&&"))
        || matches!(first, "nohup" | "setsid")
        || command.ends_with("disown");
    detaches.then_some(ADVICE)
}

/// Keeps the beginning and the end of a long text.
fn shorten(text: &str, max: usize) -> String {
    let count = text.chars().count();
    if count <= max {
        return text.to_owned();
    }
    let head: String = text.chars().take(max * 2 / 5).collect();
    let tail: String = text.chars().skip(count - max * 3 / 5).collect();
    format!("{head}\n[… {} characters left out …]\n{tail}", count - max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_output_keeps_its_beginning_and_its_end() {
        let text: String = (0..30_000).map(|i| format!("{i}\n")).collect();
        let short = shorten(&text, OUTPUT);
        assert!(short.starts_with("0\n1\n"));
        assert!(short.ends_with("29999\n"));
        assert!(short.contains("characters left out"));
        assert!(short.chars().count() < OUTPUT + 100);
    }

    #[test]
    fn a_command_that_detaches_itself_is_sent_to_the_background() {
        for command in ["sleep 9 &", "nohup make", "setsid x", "x & disown"] {
            assert!(belongs_in_background(command).is_some(), "{command}");
        }
        for command in ["make && make test", "echo 'a & b'", "a & wait"] {
            assert!(belongs_in_background(command).is_none(), "{command}");
        }
    }
}
