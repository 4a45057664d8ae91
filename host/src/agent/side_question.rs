//! A side question: a request beside the turns of a session. It adds no row; its tokens count for
//! the session all the same.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::completion::stream;
use super::messages::messages;
use crate::model::{Message, Model, Purpose, Request};
use crate::session::TurnEvent;
use crate::turn_link::TurnLink;
use protocol::{Part, Row, Usage};

/// The text before a side question.
const LEAD: &str = "[A side question, which is no part of the work: answer it from what you know \
                    by now, in one answer and without calling tools. Neither it nor your answer \
                    will be in the conversation.]";

/// The request of a side question: the next request of the session with the question added, so that
/// its beginning is cached. `frame` is the part that all requests of the session share.
pub(crate) fn request(frame: Request, rows: &[Arc<Row>], question: &str) -> Request {
    let mut conversation = messages(rows);
    conversation.push(Message::User(format!("{LEAD}\n\n{question}")));
    Request { messages: conversation, purpose: Purpose::SideQuestion, ..frame }
}

/// Sends a side question; `on_text` gets the answer as it is streamed. Calls in it are not run.
/// Returns the answer and its usage; an error is a text for the user.
pub(crate) async fn ask(
    model: &dyn Model,
    request: Request,
    link: &TurnLink,
    on_text: impl Fn(Part, String),
) -> Result<(String, Option<Usage>), String> {
    // The text is for the one view that asked, so its events do not go to the session.
    let (messages, mut events) = mpsc::unbounded_channel();
    let own_link = TurnLink { messages, ..link.clone() };
    let forward = |event| {
        if let TurnEvent::Delta { part, text } = event {
            on_text(part, text);
        }
    };
    let answer = stream(model, request, &own_link);
    tokio::pin!(answer);
    let done = loop {
        tokio::select! {
            biased;
            Some(message) = events.recv() => forward(message.event),
            done = &mut answer => break done,
        }
    };
    while let Ok(message) = events.try_recv() {
        forward(message.event);
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
    fn a_side_question_begins_like_the_next_request() {
        let rows = [user(1, "one"), answer(2, "to one")];
        let frame = Request { system: "s".to_owned(), ..Request::default() };
        let request = request(frame, &rows, "why?");
        let (last, before) = request.messages.split_last().unwrap();
        assert_eq!((request.system.as_str(), before), ("s", &messages(&rows)[..]));
        assert!(matches!(last, Message::User(text) if text.ends_with("\n\nwhy?")));
    }
}
