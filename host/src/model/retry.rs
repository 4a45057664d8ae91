//! Sends a request again after a transient failure. It does not classify failures
//! ([`super::error`]): it goes by their class alone.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};

use super::{Answer, Chunk, Class, Error, Model, Request};

/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause of our own choice.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// The longest pause a provider may ask for; with a longer one the request fails at once.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(10);

/// A model whose transient failures are retried.
pub(super) struct Retry {
    model: Arc<dyn Model>,
    retries: u32,
}

impl Retry {
    /// Retries the requests of `model` up to `retries` times each.
    pub(super) fn new(model: Arc<dyn Model>, retries: u32) -> Self {
        Self { model, retries }
    }
}

impl Model for Retry {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn context_length(&self) -> Option<u64> {
        self.model.context_length()
    }

    fn stream(&self, request: Request) -> Answer {
        let attempt = Attempt {
            answer: self.model.stream(request.clone()),
            model: self.model.clone(),
            request,
            failed: 0,
            retries: self.retries,
            pause: None,
            progress: Progress::None,
        };
        Box::pin(stream::unfold(attempt, |mut attempt| async move {
            let item = attempt.next().await?;
            Some((item, attempt))
        }))
    }
}

/// A request under way.
struct Attempt {
    model: Arc<dyn Model>,
    request: Request,
    answer: Answer,
    failed: u32,
    retries: u32,
    pause: Option<Duration>,
    progress: Progress,
}

/// How far an answer got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing of it was streamed.
    None,
    /// Some was streamed: sent again, it would appear twice.
    Some,
    /// It is complete, or has failed permanently.
    Over,
}

impl Attempt {
    async fn next(&mut self) -> Option<Result<Chunk, Error>> {
        if self.progress == Progress::Over {
            return None;
        }
        if let Some(pause) = self.pause.take() {
            tokio::time::sleep(pause).await;
            self.answer = self.model.stream(self.request.clone());
        }
        let error = match self.answer.next().await {
            Some(Ok(chunk)) => {
                self.progress =
                    if matches!(chunk, Chunk::Done(_)) { Progress::Over } else { Progress::Some };
                return Some(Ok(chunk));
            }
            Some(Err(error)) => error,
            None => Error {
                class: Class::Truncated,
                message: format!("{} broke off its answer.", self.model.name()),
                retry_after: None,
            },
        };
        let after = pause(&error, self.failed)
            .filter(|_| self.progress == Progress::None && self.failed < self.retries);
        let Some(after) = after else {
            self.progress = Progress::Over;
            return Some(Err(error));
        };
        self.failed += 1;
        self.pause = Some(after);
        Some(Ok(Chunk::Retrying { attempt: self.failed + 1, after, error }))
    }
}

/// How long to wait after an error before the next attempt; `None` if the error is permanent.
fn pause(error: &Error, failed: u32) -> Option<Duration> {
    let growing = |first: Duration| {
        let doubled = first.saturating_mul(2_u32.saturating_pow(failed.min(16)));
        doubled.min(LONGEST_PAUSE)
    };
    match (error.class, error.retry_after) {
        // A server that refuses connections at once is tried again soon; see `error::REFUSED_PAUSE`.
        (Class::Unreachable, Some(first)) => Some(growing(first)),
        (Class::RateLimit | Class::Server, Some(after)) => {
            (after <= LONGEST_RETRY_AFTER).then_some(after)
        }
        (Class::RateLimit | Class::Server | Class::Unreachable | Class::Truncated, None) => {
            Some(jittered(growing(FIRST_PAUSE)))
        }
        (Class::Truncated, Some(after)) => Some(growing(after)),
        (
            Class::Auth
            | Class::Quota
            | Class::ContextOverflow
            | Class::UnknownModel
            | Class::Rejected,
            _,
        ) => None,
    }
}

/// Up to half as long again, so that many clients do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() % 1_000;
    pause + pause.mul_f64(random as f64 / 2_000.0)
}
