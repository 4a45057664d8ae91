//! The conversation as the model gets it: rows of the transcript as messages.

use std::sync::Arc;

use super::compression;
use crate::model::Message;
use protocol::{Body, CallId, Row, ToolCall};

/// The message after a prompt whose turn failed or was cut off before the model answered.
const UNANSWERED: &str = "[This got no answer: the turn failed or was cut off.]";
/// The result of a call that has none.
const MISSING: &str = "{\"error\":\"the result of this call is not there\"}";

/// The messages of a conversation; results are in the order of their calls.
pub(crate) fn messages(rows: &[Arc<Row>]) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut order: Vec<CallId> = Vec::new();
    let mut first_result = 0;
    let mut unanswered = false;
    for row in compression::context(rows) {
        match &row.body {
            Body::User { .. } | Body::Wakeup(_) | Body::Summary(_) | Body::Note { .. } => {
                if std::mem::take(&mut unanswered) {
                    messages.push(Message::User(UNANSWERED.to_owned()));
                }
                messages.push(Message::User(row.text().to_owned()));
            }
            Body::Assistant(answer) => {
                unanswered = false;
                // Providers do not accept an answer of reasoning alone, as it is left by a cut-off.
                if answer.text.is_empty() && answer.calls.is_empty() {
                    continue;
                }
                messages.push(Message::Assistant {
                    text: answer.text.clone(),
                    reasoning: answer.reasoning.clone(),
                    calls: answer.calls.clone(),
                    opaque: answer.opaque.clone(),
                });
                order = answer.calls.iter().map(|c| c.id.clone()).collect();
                first_result = messages.len();
            }
            Body::Tool(result) => {
                let place = |id: &str| order.iter().position(|c| c.0 == id);
                let mine = place(&result.call.0);
                let at = messages[first_result..]
                    .iter()
                    .position(|m| match m {
                        Message::Tool { call, .. } => place(call) > mine,
                        Message::User(_) | Message::Assistant { .. } => true,
                    })
                    .map_or(messages.len(), |i| first_result + i);
                messages.insert(
                    at,
                    Message::Tool {
                        call: result.call.0.clone(),
                        name: result.name.clone(),
                        text: result.text.clone(),
                    },
                );
            }
            // The user reads the failure; the model reads that it has not answered yet.
            Body::Failure { .. } => unanswered = matches!(messages.last(), Some(Message::User(_))),
        }
    }
    add_missing_results(&mut messages);
    messages
}

/// Gives each call a result. Calls whose results were taken back have none, and no provider accepts
/// a call without one.
fn add_missing_results(messages: &mut Vec<Message>) {
    let mut at = 0;
    while at < messages.len() {
        let calls = match &messages[at] {
            Message::Assistant { calls, .. } => calls.clone(),
            Message::User(_) | Message::Tool { .. } => Vec::new(),
        };
        at += 1;
        for ToolCall { id, name, .. } in calls {
            match messages.get(at) {
                Some(Message::Tool { call, .. }) if *call == id.0 => {}
                _ => {
                    let text = MISSING.to_owned();
                    messages.insert(at, Message::Tool { call: id.0, name, text });
                }
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use protocol::{Assistant, ToolResult, TurnId};

    fn row(n: u64, body: Body) -> Arc<Row> {
        Arc::new(Row { n, turn: TurnId(1), at: 0, cut: 0, body })
    }

    fn call(id: &str, name: &str) -> ToolCall {
        ToolCall { id: CallId(id.to_owned()), name: name.to_owned(), args: Value::Null }
    }

    fn result(id: &str) -> Body {
        Body::Tool(ToolResult {
            call: CallId(id.to_owned()),
            name: "t".to_owned(),
            text: format!("result of {id}"),
            failed: false,
            millis: 0,
            unanswered: false,
        })
    }

    #[test]
    fn results_are_in_the_order_of_their_calls() {
        let calls = ["a", "b", "c"].map(|id| call(id, "t")).to_vec();
        let answer = Assistant { calls, ..Assistant::default() };
        let rows = [
            row(1, Body::User { text: "go".to_owned() }),
            row(2, Body::Assistant(answer)),
            row(3, result("c")),
            row(4, result("a")),
            row(5, result("b")),
            row(6, Body::User { text: "next".to_owned() }),
        ];
        let order: Vec<_> = messages(&rows)
            .into_iter()
            .filter_map(|m| match m {
                Message::Tool { call, .. } => Some(call),
                Message::User(_) | Message::Assistant { .. } => None,
            })
            .collect();
        assert_eq!(order, ["a", "b", "c"]);
        assert!(matches!(messages(&rows).last(), Some(Message::User(text)) if text == "next"));
    }

    #[test]
    fn a_prompt_without_an_answer_is_marked() {
        let user = |n, text: &str| row(n, Body::User { text: text.to_owned() });
        let failure = row(2, Body::Failure { message: "401".to_owned() });
        let texts = |rows: &[Arc<Row>]| -> Vec<String> {
            let text = |m| match m {
                Message::User(text) => text,
                other => panic!("{other:?}"),
            };
            messages(rows).into_iter().map(text).collect()
        };
        let rows = [user(1, "delete"), failure, user(3, "hello")];
        assert_eq!(texts(&rows), ["delete", UNANSWERED, "hello"]);
        assert_eq!(texts(&rows[..2]), ["delete"], "sent again as it was");
    }
}
