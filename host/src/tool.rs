//! The tools: a file for each, which exports its [`Tool`], and the table of them. A tool returns a
//! result; it never changes the session itself.

mod clarify;
mod delegate_task;
mod disk;
mod patch;
mod process;
mod read_file;
mod runner;
mod search_files;
pub(crate) mod terminal;
mod todo;
mod write_file;

pub(crate) use runner::ToolRunner;
pub use terminal::UNATTENDED;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{OnceCell, mpsc};

use crate::model::Schema;
use crate::process::Processes;
use crate::session::{Attendance, ConsumeAt, Shell, TurnPlan};
use crate::settings;
use crate::state_dir::StateDir;
use crate::toolset::Toolset;
use crate::turn_link::TurnLink;
use protocol::{CallId, ProcessId, ToolCall};

/// Every tool, in the order in which the model gets them. One that is missing here is dead code,
/// which the compiler reports.
const TABLE: [&Tool; 9] = [
    &terminal::TOOL,
    &process::TOOL,
    &read_file::TOOL,
    &write_file::TOOL,
    &patch::TOOL,
    &search_files::TOOL,
    &todo::TOOL,
    &clarify::TOOL,
    &delegate_task::TOOL,
];

/// A tool: all that the host knows of it.
struct Tool {
    /// Its name for the model, also that of its file.
    name: &'static str,
    /// What it does and when to use it, for the model.
    description: &'static str,
    /// The JSON schema of its arguments.
    parameters: fn() -> Value,
    toolset: Toolset,
    run: Run,
}

/// How the calls of a tool run.
enum Run {
    /// By itself, after the calls before it and before those behind it in the answer. It may send
    /// events to the session and wait for replies.
    Alone(for<'a> fn(&'a Value, CallContext) -> BoxFuture<'a, Result<ToolOutput, Error>>),
    /// On a thread that may block, given the arguments and the working directory, beside other
    /// calls whose file access does not conflict.
    OnFiles { run: fn(&Value, &Path) -> Result<Value, Error>, access: fn(&Value, &Path) -> Access },
}

/// What a call accesses, which decides what runs beside it.
#[derive(Debug, PartialEq, Eq)]
enum Access {
    /// Reads these files, or those below these directories.
    Reads(Vec<PathBuf>),
    /// Writes these files.
    Writes(Vec<PathBuf>),
    /// Anything.
    All,
}

impl Tool {
    /// The tool as requests show it to the model.
    fn schema(&self) -> Schema {
        Schema { name: self.name, description: self.description, parameters: (self.parameters)() }
    }

    /// Whether turns have it. Nobody can answer questions of a delegated task, and it delegates no
    /// further.
    fn is_offered(&self, attendance: Attendance, toolsets: Option<&[String]>) -> bool {
        match self.toolset {
            Toolset::Clarify | Toolset::Delegation if attendance == Attendance::Delegated => false,
            set => toolsets.is_none_or(|chosen| set.is_in(chosen)),
        }
    }
}

/// Why a tool call failed; the text is written for the model and says what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Error(pub(crate) String);

/// The settings and services that tools use, the same for all turns of a host.
pub(crate) struct ToolContext {
    pub(crate) terminal: settings::Terminal,
    pub(crate) approvals: settings::Approvals,
    pub(crate) clarify_timeout: std::time::Duration,
    pub(crate) processes: Processes,
    /// How many delegated tasks of a session run at once.
    pub(crate) max_children: usize,
    /// Where sessions are stored.
    pub(crate) state: StateDir,
    /// A directory for short-lived files.
    pub(crate) scratch: PathBuf,
    /// The environment of a login shell, read once.
    pub(crate) login: OnceCell<Vec<(String, String)>>,
}

/// The result of a tool call, and what it changes for the session.
#[derive(Debug, Default)]
pub(crate) struct ToolOutput {
    /// The result for the model.
    pub(crate) value: Value,
    /// Processes whose end the result shows.
    pub(crate) seen: Vec<(ProcessId, ConsumeAt)>,
    /// The shell's directory and variables, if they changed.
    pub(crate) shell: Option<Shell>,
    /// The new list of steps, if it was written.
    pub(crate) todo: Option<Value>,
    /// The user was asked and did not answer in time.
    pub(crate) unanswered: bool,
}

impl From<Value> for ToolOutput {
    fn from(value: Value) -> Self {
        Self { value, ..Self::default() }
    }
}

/// The schemas of the tools that turns have.
pub(crate) fn schemas(attendance: Attendance, toolsets: Option<&[String]>) -> Vec<Schema> {
    offered(attendance, toolsets).map(Tool::schema).collect()
}

fn offered(
    attendance: Attendance,
    toolsets: Option<&[String]>,
) -> impl Iterator<Item = &'static Tool> {
    TABLE.into_iter().filter(move |tool| tool.is_offered(attendance, toolsets))
}

/// What a call accesses; an unknown tool anything.
fn access(call: &ToolCall, cwd: &Path) -> Access {
    match TABLE.iter().find(|tool| tool.name == call.name).map(|tool| &tool.run) {
        Some(Run::OnFiles { access, .. }) => access(&call.args, cwd),
        Some(Run::Alone(_)) | None => Access::All,
    }
}

/// Runs a call.
async fn dispatch(call: &ToolCall, ctx: CallContext) -> Result<ToolOutput, Error> {
    let offered = || offered(ctx.plan.attendance, ctx.plan.toolsets.as_deref());
    let Some(tool) = offered().find(|tool| tool.name == call.name) else {
        let names: Vec<_> = offered().map(|tool| tool.name).collect();
        let name = &call.name;
        return Err(Error(format!(
            "there is no tool `{name}`; the tools are {}",
            names.join(", ")
        )));
    };
    match tool.run {
        Run::Alone(run) => run(&call.args, ctx).await,
        Run::OnFiles { run, .. } => {
            let (args, cwd) = (call.args.clone(), PathBuf::from(&ctx.plan.shell.cwd));
            match tokio::task::spawn_blocking(move || run(&args, &cwd)).await {
                Ok(result) => result.map(ToolOutput::from),
                Err(_) => Err(Error("the tool broke; this is a bug of the host".to_owned())),
            }
        }
    }
}

/// Deserializes a tool's arguments; the error says for the model what is wrong with them.
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

/// The context of one running call.
#[derive(Clone)]
pub(crate) struct CallContext {
    pub(crate) call: CallId,
    pub(crate) plan: TurnPlan,
    pub(crate) link: TurnLink,
    pub(crate) tools: Arc<ToolContext>,
    /// Held by everything that must end before the turn counts as over.
    pub(crate) alive: mpsc::Sender<()>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_found_by_its_name() {
        for tool in TABLE {
            let named: Vec<_> = TABLE.iter().filter(|other| other.name == tool.name).collect();
            assert_eq!(named.len(), 1, "{}", tool.name);
        }
    }

    #[test]
    fn every_toolset_holds_a_tool() {
        for set in Toolset::ALL {
            assert!(TABLE.iter().any(|tool| tool.toolset == set), "{}", set.name());
        }
    }

    #[test]
    fn arguments_are_described_as_an_object() {
        for tool in TABLE {
            let parameters = (tool.parameters)();
            assert_eq!(parameters["type"], "object", "{}", tool.name);
            let known = &parameters["properties"];
            for name in parameters["required"].as_array().into_iter().flatten() {
                assert!(known.get(name.as_str().unwrap()).is_some(), "{}: {name}", tool.name);
            }
        }
    }

    #[test]
    fn only_files_are_accessed_side_by_side() {
        let access = |name: &str| {
            let args = serde_json::json!({ "path": "f", "pattern": "x" });
            let call = ToolCall { id: CallId("1".to_owned()), name: name.to_owned(), args };
            access(&call, Path::new("/nowhere"))
        };
        let file = vec![PathBuf::from("/nowhere/f")];
        assert_eq!(access("read_file"), Access::Reads(file.clone()));
        assert_eq!(access("search_files"), Access::Reads(file.clone()));
        assert_eq!(access("write_file"), Access::Writes(file.clone()));
        assert_eq!(access("patch"), Access::Writes(file));
        assert_eq!(access("terminal"), Access::All);
        assert_eq!(access("unknown"), Access::All);
    }
}
