//! A side question: a request beside the turns of a session. It leaves no row; what it took counts
//! for the session all the same.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::completion::stream;
use super::messages::messages;
use crate::model::{Message, Model, Purpose, Request};
use crate::session::TurnEvent;
use crate::turn_link::TurnLink;
use protocol::{Part, Row, Usage};

/// What goes before a side question.
const LEAD: &str = "[A side question, which is no part of the work: answer it from what you know \
                    by now, in one answer and without calling tools. Neither it nor your answer \
                    will be in the conversation.]";

/// The request of a side question: that of a turn, so that what it begins with is cached, and the
/// question.
pub(crate) fn request(frame: Request, rows: &[Arc<Row>], question: &str) -> Request {
    let mut conversation = messages(rows);
    conversation.push(Message::User(format!("{LEAD}\n\n{question}")));
    Request { messages: conversation, purpose: Purpose::SideQuestion, ..frame }
}

/// Asks a side question and says its answer as it comes. Calls in it are not run. Gives the answer
/// and what it took, else why there is none.
pub(crate) async fn ask(
    model: &dyn Model,
    request: Request,
    link: &TurnLink,
    said: impl Fn(Part, String),
) -> Result<(String, Option<Usage>), String> {
    let (messages, mut heard) = mpsc::unbounded_channel();
    let mouth = TurnLink { messages, ..link.clone() };
    let tell = |report| {
        if let TurnEvent::Delta { part, text } = report {
            said(part, text);
        }
    };
    let answer = stream(model, request, &mouth);
    tokio::pin!(answer);
    let done = loop {
        tokio::select! {
            biased;
            Some(message) = heard.recv() => tell(message.event),
            done = &mut answer => break done,
        }
    };
    while let Ok(message) = heard.try_recv() {
        tell(message.event);
    }
    let done = done.map_err(|error| error.message)?;
    if let Some(usage) = done.usage {
        link.report(TurnEvent::Used(usage));
    }
    if done.text.trim().is_empty() {
        return Err("The model gave no answer.".to_owned());
    }
    Ok((done.text, done.usage))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Assistant, Body, TurnId};

    fn row(n: u64, body: Body) -> Arc<Row> {
        Arc::new(Row { n, turn: TurnId(1), at: 0, cut: 0, body })
    }

    fn user(n: u64, text: &str) -> Arc<Row> {
        row(n, Body::User { text: text.to_owned() })
    }

    fn answer(n: u64, text: &str) -> Arc<Row> {
        row(n, Body::Assistant(Assistant { text: text.to_owned(), ..Assistant::default() }))
    }

    #[test]
    fn a_side_question_begins_as_the_next_request_of_the_session_would() {
        let rows = [user(1, "one"), answer(2, "to one")];
        let frame = Request { system: "s".to_owned(), ..Request::default() };
        let asked = request(frame, &rows, "why?");
        let (last, before) = asked.messages.split_last().unwrap();
        assert_eq!((asked.system.as_str(), before), ("s", &messages(&rows)[..]));
        assert!(matches!(last, Message::User(text) if text.ends_with("\n\nwhy?")));
    }
}
