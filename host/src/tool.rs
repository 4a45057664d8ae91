//! The tools: one file each with its schema and its work, and this table. A tool returns what it
//! found; it never changes the session itself.

pub(crate) mod clarify;
pub(crate) mod delegate_task;
mod disk;
pub(crate) mod patch;
pub(crate) mod process;
pub(crate) mod read_file;
pub(crate) mod search_files;
pub(crate) mod terminal;
pub(crate) mod todo;
pub(crate) mod write_file;

pub use terminal::UNATTENDED;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::{OnceCell, mpsc};

use crate::model::Schema;
use crate::process::Processes;
use crate::session::{Caller, Finished, Plan, Reply, Say, Seen, Shell};
use crate::settings;
use crate::turn::{self, Voice};
use protocol::{CallId, ProcessId, ToolCall, ToolResult};

/// The toolsets that can be chosen, by the names that hermes gives them.
const TOOLSETS: [(&str, &[&str]); 5] = [
    ("terminal", &["terminal", "process"]),
    ("file", &["read_file", "write_file", "patch", "search_files"]),
    ("todo", &["todo"]),
    ("clarify", &["clarify"]),
    ("delegation", &["delegate_task"]),
];
/// The name of them all.
const ALL: &str = "all";

/// Most characters of a result. Tools bound themselves well below; this is the last line.
const RESULT: usize = 120_000;

/// Why a tool could not do what it was asked; the text is written for the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Error(pub(crate) String);

/// What tools work with, the same for all turns of a host.
pub(crate) struct Kit {
    pub(crate) terminal: settings::Terminal,
    pub(crate) approvals: settings::Approvals,
    pub(crate) clarify_timeout: std::time::Duration,
    pub(crate) processes: Processes,
    /// How many delegated tasks of a session run at once.
    pub(crate) max_children: usize,
    /// Where sessions are stored.
    pub(crate) state: PathBuf,
    /// A folder for short-lived files.
    pub(crate) scratch: PathBuf,
    /// The environment of a login shell, taken once.
    pub(crate) login: OnceCell<Vec<(String, String)>>,
}

/// What a tool call produced.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) value: Value,
    pub(crate) seen: Vec<(ProcessId, Seen)>,
    pub(crate) shell: Option<Shell>,
    pub(crate) todo: Option<Value>,
    /// It asked the user and nobody answered in time.
    pub(crate) unanswered: bool,
}

impl From<Value> for Outcome {
    fn from(value: Value) -> Self {
        Self { value, ..Self::default() }
    }
}

/// The schemas of the tools that a caller's turns have, in the order the model gets them. Nobody
/// can be asked in a delegated task, and it delegates no further.
pub(crate) fn schemas(caller: Caller, toolsets: Option<&[String]>) -> Vec<Schema> {
    let mut all = vec![
        terminal::schema(),
        process::schema(),
        read_file::schema(),
        write_file::schema(),
        patch::schema(),
        search_files::schema(),
        todo::schema(),
    ];
    if caller != Caller::Delegated {
        all.extend([clarify::schema(), delegate_task::schema()]);
    }
    if let Some(chosen) = toolsets {
        let has = |schema: &Schema| {
            let sets = TOOLSETS.iter().filter(|(_, tools)| tools.contains(&schema.name));
            sets.into_iter().any(|(set, _)| chosen.iter().any(|name| name == set || name == ALL))
        };
        all.retain(has);
    }
    all
}

/// Checks a choice of toolsets; the error names what is wrong with it.
pub(crate) fn check(toolsets: &[String]) -> Result<(), String> {
    let known = || TOOLSETS.iter().map(|(name, _)| *name).chain([ALL]);
    let listed = known().collect::<Vec<_>>().join(", ");
    if toolsets.is_empty() {
        return Err(format!("name at least one toolset of {listed}"));
    }
    let unknown = toolsets.iter().filter(|name| !known().any(|known| known == name.as_str()));
    let unknown: Vec<String> = unknown.map(|name| name.chars().take(40).collect()).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(format!("this host has no toolset {}; it has {listed}", unknown.join(", ")))
}

/// Reads a tool's arguments into its own type; the error names what is wrong for the model.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(args: &Value) -> Result<T, Error> {
    if let Value::String(text) = args {
        let start: String = text.chars().take(200).collect();
        return Err(Error(format!("the arguments are not valid JSON; they begin with: {start}")));
    }
    if !args.is_object() {
        return Err(Error("the arguments must be a JSON object".to_owned()));
    }
    T::deserialize(args).map_err(|e| Error(format!("invalid arguments: {e}")))
}

/// Where the tool calls of one turn run, one answer's after another's.
pub(crate) struct Bench {
    plan: Plan,
    voice: Voice,
    kit: Arc<Kit>,
    alive: mpsc::Sender<()>,
}

/// What one running call knows.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) call: CallId,
    pub(crate) plan: Plan,
    pub(crate) voice: Voice,
    pub(crate) kit: Arc<Kit>,
    /// Kept by whatever must be gone before the turn counts as over.
    pub(crate) alive: mpsc::Sender<()>,
}

impl Bench {
    pub(crate) fn new(plan: Plan, voice: Voice, kit: Arc<Kit>, alive: mpsc::Sender<()>) -> Self {
        Self { plan, voice, kit, alive }
    }

    /// Runs the calls of one answer, at the same time where they do not conflict. Each result is
    /// written down as soon as it is there; the replies stand in the order of the calls.
    pub(crate) async fn run(&mut self, calls: &[ToolCall]) -> Vec<Reply> {
        let mut replies = Vec::with_capacity(calls.len());
        let cwd = PathBuf::from(&self.plan.shell.cwd);
        for group in turn::groups(calls, |a, b| conflict(a, b, &cwd)) {
            let running = group.iter().map(|call| self.one(call));
            for (reply, shell, todo) in futures::future::join_all(running).await {
                replies.push(reply);
                if let Some(shell) = shell {
                    self.plan.shell = shell;
                }
                if let Some(todo) = todo {
                    self.plan.todo = todo;
                }
            }
        }
        replies
    }

    async fn one(&self, call: &ToolCall) -> (Reply, Option<Shell>, Option<Value>) {
        match self.voice.ask(Say::CallStarted(call.id.clone())).await {
            Reply::Go => {}
            other => return (other, None, None),
        }
        let started = Instant::now();
        let job = Job {
            call: call.id.clone(),
            plan: self.plan.clone(),
            voice: self.voice.clone(),
            kit: self.kit.clone(),
            alive: self.alive.clone(),
        };
        let (outcome, failed) = match dispatch(call, job).await {
            Ok(outcome) => {
                let failed = is_failure(&outcome.value);
                (outcome, failed)
            }
            Err(Error(text)) => (Outcome::from(json!({ "error": text })), true),
        };
        let result = ToolResult {
            call: call.id.clone(),
            name: call.name.clone(),
            text: bounded(outcome.value.to_string()),
            failed,
            millis: started.elapsed().as_millis() as u64,
            unanswered: outcome.unanswered,
        };
        let finished = Finished {
            result,
            seen: outcome.seen,
            shell: outcome.shell.clone(),
            todo: outcome.todo.clone(),
        };
        let reply = self.voice.ask(Say::Result(finished)).await;
        (reply, outcome.shell, outcome.todo)
    }
}

async fn dispatch(call: &ToolCall, job: Job) -> Result<Outcome, Error> {
    let args = call.args.clone();
    let cwd = PathBuf::from(&job.plan.shell.cwd);
    let known = schemas(job.plan.caller, job.plan.toolsets.as_deref());
    let known: Vec<_> = known.iter().map(|s| s.name).collect();
    match call.name.as_str() {
        name if !known.contains(&name) => Err(missing(name, &known)),
        "terminal" => terminal::run(&args, job).await,
        "process" => process::run(&args, job).await,
        "clarify" => clarify::run(&args, job).await,
        "delegate_task" => delegate_task::run(&args, job).await,
        "read_file" => blocking(move || read_file::run(&args, &cwd)).await,
        "write_file" => blocking(move || write_file::run(&args, &cwd)).await,
        "patch" => blocking(move || patch::run(&args, &cwd)).await,
        "search_files" => blocking(move || search_files::run(&args, &cwd)).await,
        "todo" => {
            let (items, value) = todo::run(&args, &todo::stored(&job.plan.todo))?;
            Ok(Outcome { value, todo: Some(json!(items)), ..Outcome::default() })
        }
        name => Err(missing(name, &known)),
    }
}

fn missing(name: &str, known: &[&str]) -> Error {
    Error(format!("there is no tool `{name}`; the tools are {}", known.join(", ")))
}

async fn blocking(
    work: impl FnOnce() -> Result<Value, Error> + Send + 'static,
) -> Result<Outcome, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map(Outcome::from),
        Err(_) => Err(Error("the tool broke; this is a bug of the host".to_owned())),
    }
}

/// Whether two calls of one answer must not run at the same time.
fn conflict(a: &ToolCall, b: &ToolCall, cwd: &Path) -> bool {
    match (reach(a, cwd), reach(b, cwd)) {
        (Reach::All, _) | (_, Reach::All) => true,
        (Reach::Reads(_), Reach::Reads(_)) => false,
        (Reach::Writes(a), Reach::Reads(b) | Reach::Writes(b))
        | (Reach::Reads(a), Reach::Writes(b)) => {
            // A search reads below a folder, so a prefix is an overlap too.
            a.iter().any(|a| b.iter().any(|b| a.starts_with(b) || b.starts_with(a)))
        }
    }
}

/// What a call touches.
enum Reach {
    Reads(Vec<PathBuf>),
    Writes(Vec<PathBuf>),
    All,
}

fn reach(call: &ToolCall, cwd: &Path) -> Reach {
    match call.name.as_str() {
        "read_file" => Reach::Reads(read_file::paths(&call.args, cwd)),
        "search_files" => {
            let path = call.args.get("path").and_then(Value::as_str).unwrap_or(".");
            Reach::Reads(vec![if path == "." { cwd.to_owned() } else { cwd.join(path) }])
        }
        "write_file" => Reach::Writes(write_file::paths(&call.args, cwd)),
        "patch" => Reach::Writes(patch::paths(&call.args, cwd)),
        _ => Reach::All,
    }
}

/// Whether a result says of itself that it failed.
fn is_failure(value: &Value) -> bool {
    let error = value.get("error").is_some_and(|e| !e.is_null());
    let code = value.get("exit_code").and_then(Value::as_i64).is_some_and(|c| c != 0);
    let refused = value.get("success").and_then(Value::as_bool) == Some(false);
    error || code || refused
}

fn bounded(mut text: String) -> String {
    if text.len() > RESULT {
        let mut end = RESULT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let left_out = text.len() - end;
        text.truncate(end);
        let _ = write!(text, "\n[{left_out} bytes of this result left out]");
    }
    text
}
