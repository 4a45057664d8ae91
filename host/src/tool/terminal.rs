//! `terminal`: commands in the foreground and the background. The policy on what may run is
//! [`crate::approval`], the supervision [`crate::process`]; here is what the agent sees of it.

mod shell;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Error, Job, Outcome, parse};
use crate::approval::{self, Finding, Grants, Policy, Verdict};
use crate::model::Schema;
use crate::process::{Kind, Processes, Spec};
use crate::protocol::{Answer, Ask, Choice, Delivery, End, Exit, Process, ProcessId, State};
use crate::redact;
use crate::session::{Caller, Reply, Say, Seen, Shell};

/// Most characters of output in a result: 40 % from the beginning, 60 % from the end.
const OUTPUT: usize = 50_000;
/// How often live output is looked for.
const LIVE: Duration = Duration::from_millis(60);
/// Most bytes of live output handed on at once.
const LIVE_BYTES: usize = 8 * 1024;

pub(crate) fn schema() -> Schema {
    Schema {
        name: "terminal",
        description: "Run a shell command. Working directory and exported variables are kept \
                      between calls. For anything long (builds, tests, servers, downloads) use \
                      background=true with notify_on_complete=true and end your turn: you are \
                      woken with the exit code and the last output.",
        parameters: json!({
            "type": "object",
            "properties": {
                "command": { "type": "string" },
                "background": { "type": "boolean", "default": false },
                "timeout": { "type": "integer", "minimum": 1,
                    "description": "Seconds a foreground command may run (default 180, at most 600)" },
                "workdir": { "type": "string" },
                "pty": { "type": "boolean", "default": false,
                    "description": "Run in a pseudo-terminal" },
                "notify_on_complete": { "type": "boolean", "default": false,
                    "description": "Background only: wake me when it ends" },
                "watch_patterns": { "type": "array", "items": { "type": "string" } }
            },
            "required": ["command"]
        }),
    }
}

#[derive(Debug, Deserialize)]
struct Args {
    command: String,
    #[serde(default)]
    background: bool,
    timeout: Option<u64>,
    workdir: Option<String>,
    #[serde(default)]
    pty: bool,
    #[serde(default)]
    notify_on_complete: bool,
    #[serde(default)]
    watch_patterns: Vec<String>,
}

pub(crate) async fn run(args: &Value, job: Job) -> Result<Outcome, Error> {
    let args: Args = parse(args)?;
    if args.command.trim().is_empty() {
        return Err(Error("`command` is empty".to_owned()));
    }
    if let Some(why) = &job.kit.terminal.refused {
        return Ok(blocked(why, "error").into());
    }
    let cwd = workdir(&args, &job.plan.shell)?;
    let approval = match approve(&args.command, &job).await {
        Ok(note) => note,
        Err(refusal) => return Ok(refusal.into()),
    };
    let mut outcome = if args.background {
        background(args, cwd, &job).await?
    } else {
        foreground(args, cwd, &job).await?
    };
    if let (Some(note), Value::Object(map)) = (approval, &mut outcome.value) {
        map.insert("approval".to_owned(), note.into());
    }
    Ok(outcome)
}

fn blocked(why: &str, status: &str) -> Value {
    json!({ "output": "", "exit_code": -1, "error": why, "status": status })
}

fn workdir(args: &Args, shell: &Shell) -> Result<PathBuf, Error> {
    let base = Path::new(&shell.cwd);
    let cwd = match args.workdir.as_deref() {
        Some(dir) => match dir.strip_prefix("~/").zip(std::env::home_dir()) {
            Some((rest, home)) => home.join(rest),
            None => base.join(dir),
        },
        None => base.to_owned(),
    };
    if cwd.is_dir() {
        return Ok(cwd);
    }
    Err(Error(format!("the working directory {} does not exist; pass `workdir`", cwd.display())))
}

/// Decides whether a command may run, asking as often as it breaks rules nobody has granted.
/// `Err` is the result that says why not.
async fn approve(command: &str, job: &Job) -> Result<Option<String>, Value> {
    let settings = &job.kit.approvals;
    let policy =
        Policy { mode: settings.mode, deny: settings.deny.clone(), always: settings.allow.clone() };
    let mut granted = Grants::default();
    let mut note = None;
    loop {
        let finding = match approval::check(command, &policy, &granted) {
            Verdict::Allow => return Ok(note),
            Verdict::Block(finding) => {
                let why = format!(
                    "Blocked: {} (rule {}, in `{}`). This cannot be approved; do not try to get \
                     around it.",
                    finding.reason, finding.rule, finding.part
                );
                return Err(blocked(&why, "blocked"));
            }
            Verdict::Ask(finding) => finding,
        };
        let rule = finding.rule;
        match answer(command, finding, job).await {
            Ok(Choice::Once) => note = Some("approved by the user".to_owned()),
            Ok(Choice::Session | Choice::Always) => {
                note = Some(format!("approved by the user (rule {rule})"));
            }
            Ok(Choice::Deny) => {
                let why = "The user denied this command. Do not run it in another form; ask what \
                           to do instead.";
                return Err(blocked(why, "blocked"));
            }
            Err(why) => return Err(blocked(&why, "blocked")),
        }
        granted.grant(rule);
    }
}

async fn answer(command: &str, finding: Finding, job: &Job) -> Result<Choice, String> {
    if job.plan.caller == Caller::Stateless {
        // C12: nobody can answer, so the policy decides at once.
        return Err(format!(
            "This command needs an approval ({}), and nobody can give one in a one-shot run: \
             denied. Find a safer way, or stop and say what is needed.",
            finding.reason
        ));
    }
    let ask = Ask::Approval {
        command: command.to_owned(),
        part: finding.part,
        rule: finding.rule.to_owned(),
        reason: finding.reason,
        allow_always: finding.allow_always,
    };
    let timeout = job.kit.approvals.timeout.as_millis() as i64;
    match job.voice.ask(Say::Ask { call: job.call.clone(), ask, timeout }).await {
        Reply::Answer(Answer::Approval(choice)) => Ok(choice),
        Reply::Answer(Answer::Expired) => Err("Nobody approved this command in time, so it did \
                                               not run. Silence is not consent."
            .to_owned()),
        Reply::Answer(Answer::Withdrawn | Answer::Text(_)) => {
            Err("The turn was interrupted before the command was approved.".to_owned())
        }
        Reply::Refused(why) => Err(why),
        Reply::Go | Reply::Row(_) | Reply::Processes(_) => Ok(Choice::Deny),
    }
}

async fn foreground(args: Args, cwd: PathBuf, job: &Job) -> Result<Outcome, Error> {
    if let Some(advice) = belongs_in_background(&args.command) {
        return Ok(blocked(advice, "error").into());
    }
    let limit = args.timeout.map_or(job.kit.terminal.timeout, Duration::from_secs);
    if limit > job.kit.terminal.max_timeout {
        let why = format!(
            "A foreground command may run at most {} s. Use background=true with \
             notify_on_complete=true for longer ones.",
            job.kit.terminal.max_timeout.as_secs()
        );
        return Ok(blocked(&why, "error").into());
    }
    let id = ProcessId::fresh();
    let snapshot = job.kit.scratch.join(format!("{id}.shell"));
    let shell = shell::program(&job.kit.terminal.shell);
    let base = shell::login(&job.kit).await.to_vec();
    let spec = Spec {
        id: id.clone(),
        command: shell::wrapped(&args.command, &snapshot),
        shell,
        cwd,
        env: shell::environment(&base, job, args.pty),
        pty: args.pty,
        kind: Kind::Foreground,
    };
    let processes = &job.kit.processes;
    let running = Running { processes: processes.clone(), id: id.clone(), snapshot };
    if let Err(error) = processes.spawn(spec).await {
        return Ok(blocked(&format!("The command did not start: {error}"), "error").into());
    }
    let mut follower = Follower { processes, id: &id, job, from: 0 };
    let ended = tokio::select! {
        exit = processes.wait(&id) => exit,
        () = follower.follow() => None,
        () = tokio::time::sleep(limit) => None,
    };
    let timed_out = ended.is_none();
    let exit = match ended {
        Some(exit) => Some(exit),
        None => processes.kill(&id).await,
    };
    let text = processes.output(&id).tail(OUTPUT * 8).text;
    let mut output = shorten(&clean(&text), OUTPUT);
    let mut code = exit.as_ref().and_then(|e| e.code);
    if timed_out {
        if !output.is_empty() && !output.ends_with('\n') {
            output.push('\n');
        }
        let _ = write!(output, "[Command timed out after {}s]", limit.as_secs());
        code = Some(124);
    }
    let output = output.trim_end_matches('\n');
    let mut value = json!({ "output": output, "exit_code": code, "error": null });
    if let (None, Some(exit), Value::Object(map)) = (code, &exit, &mut value) {
        map.insert("error".to_owned(), crate::wakeup::summary(exit).into());
        // Shells report the death of a child by a signal as 128 + its number.
        if let Some(signal) = exit.signal {
            map.insert("exit_code".to_owned(), (128 + signal).into());
        }
    }
    let after = shell::read_back(&running.snapshot, &base, &job.plan.shell);
    Ok(Outcome { value, shell: after, ..Outcome::default() })
}

/// Kills a foreground command whose call was dropped, and cleans up after every one.
struct Running {
    processes: Processes,
    id: ProcessId,
    snapshot: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        std::fs::remove_file(&self.snapshot).ok();
        let (processes, id) = (self.processes.clone(), self.id.clone());
        if processes.exit(&id).is_some() {
            processes.acknowledge(&id);
            processes.remove(&id);
            return;
        }
        tokio::spawn(async move {
            processes.kill(&id).await;
            processes.acknowledge(&id);
            processes.remove(&id);
        });
    }
}

/// Hands live output on while a command runs.
struct Follower<'a> {
    processes: &'a Processes,
    id: &'a ProcessId,
    job: &'a Job,
    from: u64,
}

impl Follower<'_> {
    async fn follow(&mut self) {
        loop {
            tokio::time::sleep(LIVE).await;
            let chunk = self.processes.output(self.id).read(self.from, LIVE_BYTES);
            if chunk.bytes.is_empty() {
                continue;
            }
            self.from = chunk.from + chunk.bytes.len() as u64;
            let text = redact::plain(&String::from_utf8_lossy(&chunk.bytes));
            self.job.voice.say(Say::CallOutput { call: self.job.call.clone(), text });
        }
    }
}

async fn background(args: Args, cwd: PathBuf, job: &Job) -> Result<Outcome, Error> {
    let wants_wakeup = args.notify_on_complete || !args.watch_patterns.is_empty();
    let notify = wants_wakeup && job.plan.caller == Caller::Attended;
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
        pty: args.pty,
        killed_by: None,
        delivery: Delivery::Open,
    };
    match job.voice.ask(Say::Spawn(Box::new(process))).await {
        Reply::Go => {}
        Reply::Refused(why) => return Ok(blocked(&why, "error").into()),
        Reply::Row(_) | Reply::Answer(_) | Reply::Processes(_) => {
            return Err(Error("the spawn was not written down".to_owned()));
        }
    }
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
    let pid = match job.kit.processes.spawn(spec).await {
        Ok(pid) => pid,
        Err(error) => {
            let at = crate::local::now();
            let exit = Exit { end: End::FailedStart, code: None, signal: None, at };
            job.voice.say(Say::FailedStart { process: id.clone(), exit });
            let value = blocked(&format!("The process did not start: {error}"), "error");
            // The agent reads of it here: no wakeup needed on top.
            return Ok(Outcome { value, seen: vec![(id, Seen::Now)], ..Outcome::default() });
        }
    };
    job.voice.say(Say::Running { process: id.clone(), pid });
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

/// Output as the agent and the user may see it.
pub(crate) fn clean(text: &str) -> String {
    redact::secrets(&redact::plain(text)).into_owned()
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
