//! `delegate_task`: the agent gives work to sessions of their own. What becomes of them is the
//! session's ([`crate::session`]); what they found is read from the store.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{CallContext, Error, Run, Tool, ToolContext, ToolOutput, parse};
use crate::redact;
use crate::session::{Attendance, ConsumeAt, Reply, TaskResult, TurnEvent, task_result};
use crate::store::Reader;
use crate::toolset::Toolset;
use crate::wakeup;
use protocol::{Delivery, Exit, Process, ProcessId, SessionId, State, Watching, Work};

/// Characters of a goal in lists.
const GOAL: usize = 200;
/// Rows of a session that are read for what it found.
const LAST: usize = 50;
/// Why a call waits that did not request it.
const WAITED: &str = "Nobody is there to be woken after a one-shot run, so this call has waited \
                      for the tasks.";

pub(super) const TOOL: Tool = Tool {
    name: "delegate_task",
    description: "Give work to agents of their own. Each starts with an empty context and \
                  your working directory, knows only the goal and context you write, cannot \
                  ask anybody, and reports one result. By default it works in the background \
                  and its result wakes you: end your turn meanwhile. Pass background=false \
                  to wait for the results instead. `process` shows and ends what runs.",
    parameters,
    toolset: Toolset::Delegation,
    run: Run::Alone(|args, ctx| Box::pin(run(args, ctx))),
};

fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "goal": { "type": "string",
                "description": "What is to be done, and what the result must say" },
            "context": { "type": "string",
                "description": "All it needs to know: paths, findings, limits" },
            "tasks": {
                "type": "array",
                "description": "A few tasks at once, instead of goal and context",
                "items": {
                    "type": "object",
                    "properties": {
                        "goal": { "type": "string" },
                        "context": { "type": "string" }
                    },
                    "required": ["goal"]
                }
            },
            "background": { "type": "boolean" }
        }
    })
}

#[derive(Deserialize)]
struct Args {
    goal: Option<String>,
    context: Option<String>,
    #[serde(default)]
    tasks: Vec<Task>,
    background: Option<bool>,
}

#[derive(Deserialize)]
struct Task {
    goal: String,
    context: Option<String>,
}

impl Args {
    fn into_tasks(self, most: usize) -> Result<Vec<Task>, Error> {
        let Self { goal, context, mut tasks, .. } = self;
        match goal {
            Some(_) if !tasks.is_empty() => {
                return Err(Error("pass either `goal` or `tasks`".to_owned()));
            }
            Some(goal) => tasks.push(Task { goal, context }),
            None => {}
        }
        if tasks.is_empty() || tasks.iter().any(|task| task.goal.trim().is_empty()) {
            return Err(Error("each task needs a `goal`".to_owned()));
        }
        if tasks.len() > most {
            let text = format!("{} tasks are too many: at most {most} run at once", tasks.len());
            return Err(Error(text));
        }
        Ok(tasks)
    }
}

impl Task {
    /// The prompt of the session that works on it.
    fn brief(&self) -> String {
        let mut text = format!(
            "[Another agent has delegated this task to you. Work on it alone: nobody answers \
             questions, and no approval can be given. Your last message is all that it gets to \
             read: say in it what you found or did, and what is left.]\n\nTask: {}",
            self.goal.trim()
        );
        if let Some(context) = self.context.as_deref().filter(|c| !c.trim().is_empty()) {
            write!(text, "\n\nContext:\n{}", context.trim()).ok();
        }
        text
    }

    fn process(&self, notify: bool, ctx: &CallContext) -> Process {
        let goal: Vec<&str> = self.goal.split_whitespace().collect();
        Process {
            id: ProcessId::fresh_task(),
            session: ctx.link.session.clone(),
            turn: ctx.plan.turn,
            work: Work::Delegation { session: SessionId::fresh(&jiff::Zoned::now()) },
            command: goal.join(" ").chars().take(GOAL).collect(),
            cwd: ctx.plan.shell.cwd.clone(),
            pid: None,
            started_at: crate::clock::now(),
            state: State::Starting,
            exit: None,
            notify,
            watch: Vec::new(),
            watching: Watching::default(),
            pty: false,
            killed_by: None,
            delivery: Delivery::Open,
        }
    }
}

async fn run(args: &Value, ctx: CallContext) -> Result<ToolOutput, Error> {
    let args: Args = parse(args)?;
    let asked = args.background.unwrap_or(true);
    let tasks = args.into_tasks(ctx.tools.max_children)?;
    let notify = ctx.plan.attendance != Attendance::Stateless;
    let waits = !(notify && asked);
    let mut entries = Vec::new();
    for task in tasks {
        let process = Box::new(task.process(notify, &ctx));
        let event = TurnEvent::Delegate { process: process.clone(), brief: task.brief(), waits };
        let entry = match ctx.link.ask(event).await {
            Reply::Go => TaskStart::Started(process),
            Reply::Refused(why) => TaskStart::Refused { goal: process.command, why },
            Reply::Row(_) | Reply::Answer(_) | Reply::Processes(_) | Reply::Ended { .. } => {
                TaskStart::Refused {
                    goal: process.command,
                    why: "it was not written down".to_owned(),
                }
            }
        };
        entries.push(entry);
    }
    let none = !entries.iter().any(|entry| matches!(entry, TaskStart::Started(_)));
    let shown = futures::future::join_all(entries.into_iter().map(|e| e.show(waits, &ctx))).await;
    let (rows, seen): (Vec<Value>, Vec<_>) = shown.into_iter().unzip();
    let mut value = json!({ "tasks": rows });
    if none {
        value["error"] = "no task was started".into();
    } else if waits && asked {
        value["note"] = WAITED.into();
    } else if !waits {
        let note = "You are woken with each result. End your turn, or go on with other work.";
        value["note"] = note.into();
    }
    let seen = seen.into_iter().flatten().map(|id| (id, ConsumeAt::Now)).collect();
    Ok(ToolOutput { value, seen, ..ToolOutput::default() })
}

/// The start of one task of a call.
enum TaskStart {
    Started(Box<Process>),
    Refused { goal: String, why: String },
}

impl TaskStart {
    /// As the agent reads it, and the task whose end that shows.
    async fn show(self, waits: bool, ctx: &CallContext) -> (Value, Option<ProcessId>) {
        let process = match self {
            Self::Refused { goal, why } => {
                let row = json!({ "goal": goal, "status": "not started", "error": why });
                return (row, None);
            }
            Self::Started(process) => process,
        };
        let worker = process.worker().map(|w| w.0.clone()).unwrap_or_default();
        let mut row = json!({
            "session_id": process.id.0,
            "goal": process.command,
            "session": worker,
            "status": "running",
        });
        if !waits {
            return (row, None);
        }
        match ctx.link.ask(TurnEvent::AwaitEnd(process.id.clone())).await {
            Reply::Ended { exit } => {
                row["status"] = status(&exit).into();
                row["result"] = result(&process, &ctx.tools).await.into();
                (row, Some(process.id))
            }
            _ => (row, None),
        }
    }
}

/// How it ended, as one word.
pub(super) fn status(exit: &Exit) -> &'static str {
    wakeup::task_status(exit)
}

/// Its result, shortened to what a tool result shows.
pub(super) async fn result(process: &Process, tools: &ToolContext) -> String {
    let text = load_findings(process, tools).await.text();
    wakeup::both_ends(&clean(&text), wakeup::RESULT, &process.id)
}

/// Its result, read from the session that worked on it.
pub(super) async fn load_findings(process: &Process, tools: &ToolContext) -> TaskResult {
    let Some(worker) = process.worker().cloned() else { return TaskResult::default() };
    let state = tools.state.clone();
    let read = move || Reader::open(&state)?.load(&worker, LAST);
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(Some(loaded))) => task_result(&loaded.rows),
        Ok(Ok(None)) => unread("its session is gone"),
        Ok(Err(error)) => unread(&format!("its session cannot be read: {error}")),
        Err(_) => unread("its session cannot be read"),
    }
}

fn unread(why: &str) -> TaskResult {
    TaskResult { answer: String::new(), failure: Some(format!("Nothing is known: {why}.")) }
}

/// Cleans the text of another agent like output.
pub(super) fn clean(text: &str) -> String {
    redact::secrets(&redact::plain(text)).into_owned()
}
