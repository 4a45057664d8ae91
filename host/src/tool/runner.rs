//! Runs the tool calls of one answer: which of them at the same time, and what is reported of each.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Access, CallContext, Error, ToolContext, ToolOutput, access, dispatch};
use crate::session::{FinishedCall, Reply, Shell, TurnEvent, TurnPlan};
use crate::turn_link::TurnLink;
use protocol::{ToolCall, ToolResult};

/// Most characters of a result. Tools bound themselves well below; this is the last line.
const RESULT: usize = 120_000;

/// Runs the tool calls of one turn, one answer's after another's.
pub(crate) struct ToolRunner {
    plan: TurnPlan,
    link: TurnLink,
    tools: Arc<ToolContext>,
    alive: mpsc::Sender<()>,
}

impl ToolRunner {
    pub(crate) fn new(
        plan: TurnPlan,
        link: TurnLink,
        tools: Arc<ToolContext>,
        alive: mpsc::Sender<()>,
    ) -> Self {
        Self { plan, link, tools, alive }
    }

    /// Runs the calls of one answer, at the same time where they do not conflict. Each result is
    /// stored as soon as it exists; the replies are in the order of the calls.
    pub(crate) async fn run(&mut self, calls: &[ToolCall]) -> Vec<Reply> {
        let mut replies = Vec::with_capacity(calls.len());
        let cwd = PathBuf::from(&self.plan.shell.cwd);
        for group in groups(calls, |a, b| conflict(a, b, &cwd)) {
            let running = group.iter().map(|call| self.run_call(call));
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

    async fn run_call(&self, call: &ToolCall) -> (Reply, Option<Shell>, Option<Value>) {
        match self.link.ask(TurnEvent::CallStarted(call.id.clone())).await {
            Reply::Go => {}
            other => return (other, None, None),
        }
        let started = Instant::now();
        let ctx = CallContext {
            call: call.id.clone(),
            plan: self.plan.clone(),
            link: self.link.clone(),
            tools: self.tools.clone(),
            alive: self.alive.clone(),
        };
        let (output, failed) = match dispatch(call, ctx).await {
            Ok(output) => {
                let failed = is_failure(&output.value);
                (output, failed)
            }
            Err(Error(text)) => (ToolOutput::from(json!({ "error": text })), true),
        };
        let result = ToolResult {
            call: call.id.clone(),
            name: call.name.clone(),
            text: bounded(output.value.to_string()),
            failed,
            millis: started.elapsed().as_millis() as u64,
            unanswered: output.unanswered,
        };
        let finished = FinishedCall {
            result,
            seen: output.seen,
            shell: output.shell.clone(),
            todo: output.todo.clone(),
        };
        let reply = self.link.ask(TurnEvent::Result(finished)).await;
        (reply, output.shell, output.todo)
    }
}

/// Which calls of one answer may run at the same time: contiguous groups that do not conflict.
fn groups(calls: &[ToolCall], conflict: impl Fn(&ToolCall, &ToolCall) -> bool) -> Vec<&[ToolCall]> {
    let mut groups = Vec::new();
    let mut start = 0;
    for end in 1..=calls.len() {
        let joins = end < calls.len()
            && end - start < 8
            && calls[start..end].iter().all(|earlier| !conflict(earlier, &calls[end]));
        if !joins {
            groups.push(&calls[start..end]);
            start = end;
        }
    }
    groups
}

/// Whether two calls of one answer must not run at the same time.
fn conflict(a: &ToolCall, b: &ToolCall, cwd: &Path) -> bool {
    match (access(a, cwd), access(b, cwd)) {
        (Access::All, _) | (_, Access::All) => true,
        (Access::Reads(_), Access::Reads(_)) => false,
        (Access::Writes(a), Access::Reads(b) | Access::Writes(b))
        | (Access::Reads(a), Access::Writes(b)) => {
            // A search reads below a directory, so a prefix is an overlap too.
            a.iter().any(|a| b.iter().any(|b| a.starts_with(b) || b.starts_with(a)))
        }
    }
}

/// Whether a result reports a failure.
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

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::CallId;

    fn call(id: &str, name: &str) -> ToolCall {
        ToolCall { id: CallId(id.to_owned()), name: name.to_owned(), args: Value::Null }
    }

    #[test]
    fn calls_that_conflict_run_one_after_the_other() {
        let calls = ["r1", "r2", "w", "r3", "r4"].map(|id| call(id, id)).to_vec();
        let conflict = |a: &ToolCall, b: &ToolCall| a.name == "w" || b.name == "w";
        let sizes: Vec<_> = groups(&calls, conflict).iter().map(|g| g.len()).collect();
        assert_eq!(sizes, [2, 1, 2]);
        assert_eq!(groups(&[], conflict).len(), 0);
    }
}
