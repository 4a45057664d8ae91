//! The tools: one file each with its schema and its work, and this table. A tool returns what it
//! found; it never changes the session itself.

pub(crate) mod clarify;
pub(crate) mod delegate_task;
mod disk;
pub(crate) mod patch;
pub(crate) mod process;
pub(crate) mod read_file;
mod runner;
pub(crate) mod search_files;
pub(crate) mod terminal;
pub(crate) mod todo;
pub(crate) mod write_file;

pub(crate) use runner::ToolRunner;
pub use terminal::UNATTENDED;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{OnceCell, mpsc};

use crate::model::Schema;
use crate::process::Processes;
use crate::session::{Attendance, Seen, Shell, TurnPlan};
use crate::settings;
use crate::state_dir::StateDir;
use crate::toolset::Toolset;
use crate::turn_link::TurnLink;
use protocol::{CallId, ProcessId, ToolCall};

/// Why a tool could not do what it was asked; the text is written for the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Error(pub(crate) String);

/// What tools work with, the same for all turns of a host.
pub(crate) struct ToolContext {
    pub(crate) terminal: settings::Terminal,
    pub(crate) approvals: settings::Approvals,
    pub(crate) clarify_timeout: std::time::Duration,
    pub(crate) processes: Processes,
    /// How many delegated tasks of a session run at once.
    pub(crate) max_children: usize,
    /// Where sessions are stored.
    pub(crate) state: StateDir,
    /// A folder for short-lived files.
    pub(crate) scratch: PathBuf,
    /// The environment of a login shell, taken once.
    pub(crate) login: OnceCell<Vec<(String, String)>>,
}

/// What a tool call produced.
#[derive(Debug, Default)]
pub(crate) struct ToolOutput {
    pub(crate) value: Value,
    pub(crate) seen: Vec<(ProcessId, Seen)>,
    pub(crate) shell: Option<Shell>,
    pub(crate) todo: Option<Value>,
    /// It asked the user and nobody answered in time.
    pub(crate) unanswered: bool,
}

impl From<Value> for ToolOutput {
    fn from(value: Value) -> Self {
        Self { value, ..Self::default() }
    }
}

/// Every tool with the toolset it is in, in the order the model gets them.
const TABLE: [(Toolset, fn() -> Schema); 9] = [
    (Toolset::Terminal, terminal::schema),
    (Toolset::Terminal, process::schema),
    (Toolset::File, read_file::schema),
    (Toolset::File, write_file::schema),
    (Toolset::File, patch::schema),
    (Toolset::File, search_files::schema),
    (Toolset::Todo, todo::schema),
    (Toolset::Clarify, clarify::schema),
    (Toolset::Delegation, delegate_task::schema),
];

/// The schemas of the tools that turns have. Nobody can be asked in a delegated task, and it
/// delegates no further.
pub(crate) fn schemas(attendance: Attendance, toolsets: Option<&[String]>) -> Vec<Schema> {
    let has = |set: Toolset| match set {
        Toolset::Clarify | Toolset::Delegation if attendance == Attendance::Delegated => false,
        _ => toolsets.is_none_or(|chosen| set.is_in(chosen)),
    };
    TABLE.iter().filter(|(set, _)| has(*set)).map(|(_, schema)| schema()).collect()
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

/// What one running call knows.
#[derive(Clone)]
pub(crate) struct CallContext {
    pub(crate) call: CallId,
    pub(crate) plan: TurnPlan,
    pub(crate) link: TurnLink,
    pub(crate) tools: Arc<ToolContext>,
    /// Kept by whatever must be gone before the turn counts as over.
    pub(crate) alive: mpsc::Sender<()>,
}

async fn dispatch(call: &ToolCall, ctx: CallContext) -> Result<ToolOutput, Error> {
    let args = call.args.clone();
    let cwd = PathBuf::from(&ctx.plan.shell.cwd);
    let known = schemas(ctx.plan.attendance, ctx.plan.toolsets.as_deref());
    let known: Vec<_> = known.iter().map(|s| s.name).collect();
    match call.name.as_str() {
        name if !known.contains(&name) => Err(missing(name, &known)),
        "terminal" => terminal::run(&args, ctx).await,
        "process" => process::run(&args, ctx).await,
        "clarify" => clarify::run(&args, ctx).await,
        "delegate_task" => delegate_task::run(&args, ctx).await,
        "read_file" => blocking(move || read_file::run(&args, &cwd)).await,
        "write_file" => blocking(move || write_file::run(&args, &cwd)).await,
        "patch" => blocking(move || patch::run(&args, &cwd)).await,
        "search_files" => blocking(move || search_files::run(&args, &cwd)).await,
        "todo" => {
            let (items, value) = todo::run(&args, &todo::stored(&ctx.plan.todo))?;
            Ok(ToolOutput { value, todo: Some(json!(items)), ..ToolOutput::default() })
        }
        name => Err(missing(name, &known)),
    }
}

fn missing(name: &str, known: &[&str]) -> Error {
    Error(format!("there is no tool `{name}`; the tools are {}", known.join(", ")))
}

async fn blocking(
    work: impl FnOnce() -> Result<Value, Error> + Send + 'static,
) -> Result<ToolOutput, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map(ToolOutput::from),
        Err(_) => Err(Error("the tool broke; this is a bug of the host".to_owned())),
    }
}
