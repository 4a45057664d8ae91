//! One request to the model and its complete answer, with or without reporting the text as it is
//! streamed.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use crate::model::{self, Chunk, Class, Completion, Model, Request};
use crate::session::TurnEvent;
use crate::turn_link::TurnLink;
use protocol::Part;

/// The shortest time between two deltas of streamed text.
const MERGE: Duration = Duration::from_millis(30);

/// Sends one request and returns the complete answer, without reporting its text. Retries are
/// reported as a status that begins with `status`.
pub(super) async fn complete(
    model: &dyn Model,
    request: Request,
    link: &TurnLink,
    status: &str,
) -> Result<Completion, model::Error> {
    let mut answer = model.stream(request);
    while let Some(chunk) = answer.next().await {
        match chunk? {
            Chunk::Done(done) => {
                if let Some(usage) = done.usage {
                    link.report(TurnEvent::Used(usage));
                }
                return Ok(done);
            }
            Chunk::Retrying { error, .. } => {
                let text = format!("{status}: trying again. {}", error.message);
                link.report(TurnEvent::status(text));
            }
            Chunk::Text(_) | Chunk::Reasoning(_) | Chunk::Calling { .. } => {}
        }
    }
    Err(model::Error {
        class: Class::Truncated,
        message: "The model broke off its answer.".to_owned(),
        retry_after: None,
    })
}

/// Sends one request, reports its text as it is streamed, and returns the complete answer.
pub(super) async fn stream(
    model: &dyn Model,
    request: Request,
    link: &TurnLink,
) -> Result<Completion, model::Error> {
    let mut answer = model.stream(request);
    let mut merger = Merger::default();
    loop {
        let chunk = tokio::select! {
            biased;
            () = merger.due() => {
                merger.flush(link);
                continue;
            }
            chunk = answer.next() => chunk,
        };
        match chunk {
            Some(Ok(Chunk::Text(text))) => merger.add(Part::Text, &text, link),
            Some(Ok(Chunk::Reasoning(text))) => merger.add(Part::Reasoning, &text, link),
            Some(Ok(Chunk::Calling { name, bytes })) => {
                merger.flush(link);
                let text = format!("writing {name} ({} kB)", bytes.div_ceil(1024));
                link.report(TurnEvent::status(text));
            }
            Some(Ok(Chunk::Retrying { attempt, after, error })) => {
                let pause = after.as_secs_f64().ceil();
                let why = error.class.as_str().replace('_', " ");
                let text = format!("{why}: attempt {attempt} in {pause:.0} s. {}", error.message);
                link.report(TurnEvent::status(text));
            }
            Some(Ok(Chunk::Done(done))) => {
                merger.flush(link);
                return Ok(done);
            }
            Some(Err(error)) => {
                merger.flush(link);
                return Err(error);
            }
            None => {
                merger.flush(link);
                return Err(model::Error {
                    class: Class::Truncated,
                    message: "The model's stream ended in the middle of the answer.".to_owned(),
                    retry_after: None,
                });
            }
        }
    }
}

/// Merges streamed text: the first piece is reported at once, later ones at most every [`MERGE`].
#[derive(Default)]
struct Merger {
    part: Option<Part>,
    text: String,
    last: Option<Instant>,
}

impl Merger {
    fn add(&mut self, part: Part, text: &str, link: &TurnLink) {
        if self.part != Some(part) {
            self.flush(link);
            self.part = Some(part);
        }
        self.text.push_str(text);
        if self.last.is_none_or(|last| last.elapsed() >= MERGE) {
            self.flush(link);
        }
    }

    /// Resolves when waiting text is due; never while there is none.
    async fn due(&self) {
        match self.last {
            Some(last) if !self.text.is_empty() => tokio::time::sleep_until(last + MERGE).await,
            Some(_) | None => std::future::pending().await,
        }
    }

    fn flush(&mut self, link: &TurnLink) {
        if let (Some(part), false) = (self.part, self.text.is_empty()) {
            link.report(TurnEvent::Delta { part, text: std::mem::take(&mut self.text) });
            self.last = Some(Instant::now());
        }
    }
}
