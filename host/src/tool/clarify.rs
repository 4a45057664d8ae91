//! `clarify`: the agent asks the user a question. Not how the question is shown.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{CallContext, Error, Run, Tool, ToolOutput, parse};
use crate::session::{Attendance, Reply, TurnEvent, clarify_result};
use crate::toolset::Toolset;
use protocol::{Answer, Ask};

const NO_ANSWER: &str = "Nobody answered. Go on with your best guess and say which one you made, \
                      or stop here if it is too risky.";

pub(super) const TOOL: Tool = Tool {
    name: "clarify",
    description: "Ask the user a question you cannot answer yourself. Offer up to four \
                  choices, or none for free text; the user may always answer freely.",
    parameters,
    toolset: Toolset::Clarify,
    run: Run::Alone(|args, ctx| Box::pin(run(args, ctx))),
};

fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "question": { "type": "string" },
            "choices": { "type": "array", "items": { "type": "string" }, "maxItems": 4 }
        },
        "required": ["question"]
    })
}

#[derive(Deserialize)]
struct Args {
    question: String,
    #[serde(default)]
    choices: Vec<Value>,
}

async fn run(args: &Value, ctx: CallContext) -> Result<ToolOutput, Error> {
    let Args { question, choices } = parse(args)?;
    if question.trim().is_empty() {
        return Err(Error("`question` is empty".to_owned()));
    }
    let choices: Vec<String> = choices.iter().take(4).filter_map(label).collect();
    let mut unanswered = false;
    let text = match ctx.plan.attendance {
        Attendance::Stateless | Attendance::Delegated => NO_ANSWER.to_owned(),
        Attendance::Attended => {
            let ask = Ask::Clarify { question: question.clone(), choices: choices.clone() };
            let timeout = ctx.tools.clarify_timeout.as_millis() as i64;
            match ctx.link.ask(TurnEvent::Ask { call: ctx.call, ask, timeout }).await {
                Reply::Answer(Answer::Text(text)) => text,
                Reply::Answer(Answer::Expired) => {
                    unanswered = true;
                    NO_ANSWER.to_owned()
                }
                Reply::Answer(Answer::Withdrawn | Answer::Approval(_)) => NO_ANSWER.to_owned(),
                Reply::Refused(text) => return Err(Error(text)),
                Reply::Go | Reply::Row(_) | Reply::Processes(_) | Reply::Ended { .. } => {
                    NO_ANSWER.to_owned()
                }
            }
        }
    };
    let value = clarify_result(&question, &choices, &text);
    Ok(ToolOutput { value, unanswered, ..ToolOutput::default() })
}

/// A choice as text; models also send objects.
fn label(choice: &Value) -> Option<String> {
    if let Some(text) = choice.as_str() {
        return Some(text.to_owned());
    }
    ["label", "description", "text", "title"]
        .iter()
        .find_map(|key| choice.get(key).and_then(Value::as_str))
        .map(str::to_owned)
}
