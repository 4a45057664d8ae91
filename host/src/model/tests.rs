//! Tests of the models: the demo's words, retries under a paused clock, and the real client
//! against a server on loopback that speaks the providers' dialects.

use futures::StreamExt;

use super::{Answer, Chunk, Completion, Error, Message, Request};

mod catalog;
mod demo;
mod error;
mod remote;
mod retry;

/// A request with one prompt.
fn prompt(text: &str) -> Request {
    Request { messages: vec![Message::User(text.to_owned())], ..Request::default() }
}

/// All that an answer says.
async fn collect(mut answer: Answer) -> Vec<Result<Chunk, Error>> {
    let mut items = Vec::new();
    while let Some(item) = answer.next().await {
        items.push(item);
    }
    items
}

/// The completion an answer ends with.
fn completion(items: &[Result<Chunk, Error>]) -> &Completion {
    match items.last() {
        Some(Ok(Chunk::Done(done))) => done,
        other => panic!("no completion but {other:?}"),
    }
}

/// The error an answer ends with.
fn failure(items: &[Result<Chunk, Error>]) -> &Error {
    match items.last() {
        Some(Err(error)) => error,
        other => panic!("no error but {other:?}"),
    }
}

/// The text deltas of an answer.
fn text(items: &[Result<Chunk, Error>]) -> String {
    items
        .iter()
        .filter_map(|i| if let Ok(Chunk::Text(t)) = i { Some(t.as_str()) } else { None })
        .collect()
}
