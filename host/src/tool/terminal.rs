//! `terminal`: commands in the foreground and the background. The policy on what may run is
//! [`crate::approval`], the supervision [`crate::process`]; here is what the agent sees of it.

mod background;
mod foreground;
mod shell;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{CallContext, Error, Run, Tool, ToolOutput, parse};
use crate::approval::{self, Decision, Finding, Grants, Policy};
use crate::process::Output;
use crate::redact;
use crate::session::{Attendance, Reply, Shell, TurnEvent};
use crate::settings::Mode;
use crate::toolset::Toolset;
use protocol::{Answer, Ask, Choice};

/// No secret that is recognised is longer, in characters.
const SECRET: usize = 8 * 1024;
/// The `approval` field of a result that was denied because nobody could be asked.
pub const UNATTENDED: &str = "denied: nobody to ask";

pub(super) const TOOL: Tool = Tool {
    name: "terminal",
    description: "Run a shell command. Working directory and exported variables are kept \
                  between calls. For anything long (builds, tests, servers, downloads) use \
                  background=true with notify_on_complete=true and end your turn: you are \
                  woken with the exit code and the last output.",
    parameters,
    toolset: Toolset::Terminal,
    run: Run::Alone(|args, ctx| Box::pin(run(args, ctx))),
};

fn parameters() -> Value {
    json!({
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
            "watch_patterns": { "type": "array", "items": { "type": "string" },
                "description": "Background only, instead of notify_on_complete: wake me at \
                                lines that contain one of these texts" }
        },
        "required": ["command"]
    })
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

async fn run(args: &Value, ctx: CallContext) -> Result<ToolOutput, Error> {
    let args: Args = parse(args)?;
    if args.command.trim().is_empty() {
        return Err(Error("`command` is empty".to_owned()));
    }
    if let Some(why) = &ctx.tools.terminal.refused {
        return Ok(blocked(why, "error").into());
    }
    let cwd = workdir(&args, &ctx.plan.shell)?;
    let approval = match approve(&args.command, &ctx).await {
        Ok(note) => note,
        Err(Refusal { value, unanswered }) => {
            return Ok(ToolOutput { value, unanswered, ..ToolOutput::default() });
        }
    };
    let mut outcome = if args.background {
        background::run(args, cwd, &ctx).await?
    } else {
        foreground::run(args, cwd, &ctx).await?
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

/// Why a command does not run, as the agent gets it.
struct Refusal {
    value: Value,
    /// Nobody answered in time.
    unanswered: bool,
}

impl From<Value> for Refusal {
    fn from(value: Value) -> Self {
        Self { value, unanswered: false }
    }
}

/// Decides whether a command may run, asking as often as it breaks rules nobody has granted.
/// `Err` is the result that says why not.
async fn approve(command: &str, ctx: &CallContext) -> Result<Option<String>, Refusal> {
    let settings = &ctx.tools.approvals;
    let mode = match ctx.plan.attendance {
        // Whether it asks is the session's matter, and may change at any moment.
        Attendance::Attended => Mode::Manual,
        Attendance::Stateless | Attendance::Delegated => settings.mode,
    };
    let policy = Policy { mode, deny: settings.deny.clone(), always: settings.allow.clone() };
    let mut granted = Grants::default();
    let mut note = None;
    loop {
        let finding = match approval::check(command, &policy, &granted) {
            Decision::Allow => return Ok(note),
            Decision::Block(finding) => {
                let why = format!(
                    "Blocked: {} (rule {}, in `{}`). This cannot be approved; do not try to get \
                     around it.",
                    finding.reason, finding.rule, finding.part
                );
                return Err(blocked(&why, "blocked").into());
            }
            Decision::Ask(finding) => finding,
        };
        let rule = finding.rule;
        match answer(command, finding, ctx).await {
            Ok(None) => {}
            Ok(Some(Choice::Once)) => note = Some("approved by the user".to_owned()),
            Ok(Some(Choice::Session | Choice::Always)) => {
                note = Some(format!("approved by the user (rule {rule})"));
            }
            Ok(Some(Choice::Deny)) => {
                let why = "The user denied this command. Do not run it in another form; ask what \
                           to do instead.";
                return Err(blocked(why, "blocked").into());
            }
            Err(refusal) => return Err(refusal),
        }
        granted.grant(rule);
    }
}

/// The user's choice; none where approvals are off.
async fn answer(
    command: &str,
    finding: Finding,
    ctx: &CallContext,
) -> Result<Option<Choice>, Refusal> {
    if ctx.plan.attendance != Attendance::Attended {
        // C12: nobody can answer, so the policy decides at once; the field tells the caller.
        let place = match ctx.plan.attendance {
            Attendance::Delegated => "a delegated task",
            Attendance::Attended | Attendance::Stateless => "a one-shot run",
        };
        let why = format!(
            "This command needs an approval ({}), and nobody can give one in {place}: denied. \
             Find a safer way, or stop and say what is needed.",
            finding.reason
        );
        let mut refusal = blocked(&why, "blocked");
        refusal["approval"] = UNATTENDED.into();
        return Err(refusal.into());
    }
    let ask = Ask::Approval {
        command: command.to_owned(),
        part: finding.part,
        rule: finding.rule.to_owned(),
        reason: finding.reason,
        allow_always: finding.allow_always,
    };
    let timeout = ctx.tools.approvals.timeout.as_millis() as i64;
    let mut unanswered = false;
    let why = match ctx.link.ask(TurnEvent::Ask { call: ctx.call.clone(), ask, timeout }).await {
        Reply::Answer(Answer::Approval(choice)) => return Ok(Some(choice)),
        Reply::Go => return Ok(None),
        Reply::Answer(Answer::Expired) => {
            unanswered = true;
            "Nobody approved this command in time, so it did not run. Silence is not consent."
                .to_owned()
        }
        Reply::Answer(Answer::Withdrawn | Answer::Text(_)) => {
            "The turn was interrupted before the command was approved.".to_owned()
        }
        Reply::Refused(why) => why,
        Reply::Row(_) | Reply::Processes(_) | Reply::Ended { .. } => {
            return Ok(Some(Choice::Deny));
        }
    };
    Err(Refusal { value: blocked(&why, "blocked"), unanswered })
}

/// Output as the agent and the user may see it.
pub(crate) fn clean(text: &str) -> String {
    redact::secrets(&redact::plain(text)).into_owned()
}

/// The last `chars` characters of an output as the agent and the user may see them. More than
/// that is read, so that a secret which the cut goes through is recognised first.
pub(crate) fn tail(output: &Output, chars: usize) -> String {
    let text = clean(&output.tail(chars + SECRET).text);
    let surplus = text.chars().count().saturating_sub(chars);
    text.chars().skip(surplus).collect()
}
