//! Compression: when the model's context fills up, a summary takes the place of its older part. The
//! rows themselves stay in the transcript permanently; what the model gets is [`context`].
//!
//! Invariant: the session stays the same one. A compression adds a row and removes none, so that
//! background events of earlier processes find their session as before (W18).

mod budget;
mod prompt;
mod replacement;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::completion::complete;
use crate::model::{self, Class, Completion, Message, Model, Purpose, Request};
use crate::session::{POOR_COMPRESSIONS as POOR, Reply, TurnEvent, is_poor};
use crate::settings::Compression;
use crate::turn_link::TurnLink;
use protocol::{Activity, Body, Outcome, Row, Stop, Summary, Usage};
use replacement::Replacement;

/// The status of the turn while its context is being compressed.
const STATUS: &str = "compressing the context";
/// Pause of the automatic compression after a failure.
pub(crate) const COOL_DOWN: Duration = Duration::from_mins(10);
/// How often one turn compresses because the provider says that the context is too long.
const OVERFLOWS: u32 = 3;
/// The fewest and the most tokens of a summary.
const BUDGET: (u64, u64) = (2_000, 10_000);
/// How often a summary is asked for when the request itself is too long; it is shortened each time.
const TRIES: u32 = 3;

/// The rows that the model gets, in order: the head, the last summary, and the rows after the part
/// that it replaces. Every turn, restart and copy of a session follows this one rule.
pub(crate) fn context(rows: &[Arc<Row>]) -> Vec<Arc<Row>> {
    let last = rows.iter().rev().find_map(|row| match &row.body {
        Body::Summary(summary) => Some((row, summary)),
        _ => None,
    });
    let Some((row, summary)) = last else { return rows.to_vec() };
    let plain = |r: &&Arc<Row>| !matches!(r.body, Body::Summary(_));
    let head = rows.iter().filter(plain).filter(|r| r.n <= summary.head);
    let tail = rows.iter().filter(plain).filter(|r| r.n >= summary.tail);
    head.chain([row]).chain(tail).cloned().collect()
}

/// When a turn compresses its context, and how far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) rules: Compression,
    /// The configured limit of an answer in tokens; 0 = none.
    pub(crate) max_tokens: u64,
    /// Poor compressions in a row before this turn.
    pub(crate) poor: u32,
    /// The rest of the pause after an earlier failure.
    pub(crate) rest: Duration,
}

/// Keeps the requests of one turn within the model's context.
pub(crate) struct Compressor {
    model: Arc<dyn Model>,
    link: TurnLink,
    limits: Limits,
    /// Estimated tokens of the system prompt and the tools.
    frame: u64,
    /// Tokens of the last prompt, or of the context after the last compression; `None` = unknown.
    used: Option<u64>,
    overflows: u32,
    paused_until: Instant,
}

/// A context was not compressed.
enum CompressionError {
    /// No part of it is worth replacing.
    NothingToReplace,
    /// The model or the store has failed. The message is for the user.
    Failed { class: String, message: String },
}

impl From<model::Error> for CompressionError {
    fn from(error: model::Error) -> Self {
        Self::Failed { class: error.class.as_str().to_owned(), message: error.message }
    }
}

impl Compressor {
    /// A compressor for a turn whose requests all begin like `request`; `used` is the number of
    /// tokens of the session's last prompt.
    pub(crate) fn new(
        model: Arc<dyn Model>,
        link: TurnLink,
        limits: Limits,
        request: &Request,
        used: Option<u64>,
    ) -> Self {
        let schema = |s: &model::Schema| s.description.len() + s.parameters.to_string().len();
        let frame = request.system.len() + request.tools.iter().map(schema).sum::<usize>();
        let paused_until = Instant::now() + limits.rest;
        let frame = frame as u64 / 4;
        Self { model, link, limits, frame, used, overflows: 0, paused_until }
    }

    /// Notes the provider's count of the last request.
    pub(crate) fn set_usage(&mut self, usage: Option<Usage>) {
        self.used = usage.map(|u| u.prompt);
    }

    /// Compresses the context before a request if it has filled up to the trigger. A failure does
    /// not stop the turn.
    pub(crate) async fn compress_if_full(&mut self, rows: &mut Vec<Arc<Row>>) {
        let Some(trigger) = self.trigger() else { return };
        if !self.limits.rules.enabled
            || self.limits.poor >= POOR
            || Instant::now() < self.paused_until
            || self.tokens(rows) <= trigger
        {
            return;
        }
        let result = self.compress(rows, None, 0..1).await;
        if let Err(CompressionError::Failed { message: why, .. }) = result {
            self.paused_until = Instant::now() + COOL_DOWN;
            let minutes = COOL_DOWN.as_secs() / 60;
            let message = format!(
                "The context is nearly full and could not be compressed: {why} The turn goes on; \
                 it is tried again after {minutes} minutes, or with /compress."
            );
            self.link.report(TurnEvent::NotCompressed { message, failed: true });
        }
    }

    /// Compresses a context that is too long for the provider. An error tells the user why that is
    /// impossible and what to do.
    pub(crate) async fn compress_after_overflow(
        &mut self,
        rows: &mut Vec<Arc<Row>>,
    ) -> Result<(), String> {
        if !self.limits.rules.enabled {
            return Err("compression.enabled is off: send /compress to compress it now.".into());
        }
        self.overflows += 1;
        if self.overflows > OVERFLOWS {
            let text = "It was compressed three times and is still too long. Begin a new session \
                        with /new, or choose a model with a larger context with /model.";
            return Err(text.to_owned());
        }
        // What did not suffice before is squeezed more now.
        match self.compress(rows, None, self.overflows - 1..OVERFLOWS + 1).await {
            Ok(()) => Ok(()),
            Err(CompressionError::NothingToReplace) => {
                let text = "What is left of it cannot be made smaller. Begin a new session with \
                            /new, or choose a model with a larger context with /model.";
                Err(text.to_owned())
            }
            Err(CompressionError::Failed { message, .. }) => Err(format!(
                "It could not be compressed: {message} Send /compress to try again, or begin a \
                 new session with /new."
            )),
        }
    }

    /// Compresses the context because the user wants it; `focus` is what matters most to them.
    pub(crate) async fn compress_now(
        &mut self,
        rows: &mut Vec<Arc<Row>>,
        focus: Option<&str>,
    ) -> Outcome {
        match self.compress(rows, focus, 0..1).await {
            Ok(()) => Outcome::Done,
            Err(CompressionError::NothingToReplace) => {
                let message = "There is nothing to compress yet.".to_owned();
                self.link.report(TurnEvent::NotCompressed { message, failed: false });
                Outcome::Done
            }
            Err(CompressionError::Failed { class, message: why }) => {
                let message = format!("The context was not compressed, nothing has changed: {why}");
                self.link.report(TurnEvent::NotCompressed { message, failed: true });
                Outcome::Failed { class }
            }
        }
    }

    fn trigger(&self) -> Option<u64> {
        let length = self.model.context_length()?;
        Some(budget::trigger(&self.limits.rules, length, self.limits.max_tokens))
    }

    /// Tokens of the next request: the provider's last count and an estimate of the rows since,
    /// else an estimate of everything.
    fn tokens(&self, rows: &[Arc<Row>]) -> u64 {
        let counted = rows.iter().rposition(|row| match &row.body {
            Body::Summary(_) => true,
            Body::Assistant(answer) => answer.stop != Stop::Partial,
            _ => false,
        });
        match (self.used, counted) {
            (Some(used), Some(at)) => {
                // A summary is part of the count, an answer is not: it came after its prompt.
                let from = at + usize::from(matches!(rows[at].body, Body::Summary(_)));
                used + rows[from..].iter().map(|r| budget::tokens(r)).sum::<u64>()
            }
            _ => self.estimate(rows),
        }
    }

    fn estimate(&self, rows: &[Arc<Row>]) -> u64 {
        self.frame + context(rows).iter().map(|r| budget::tokens(r)).sum::<u64>()
    }

    /// Replaces a part of the context by a summary, which is stored as a row. The first of the
    /// `squeezes` is used with which anything can be replaced.
    async fn compress(
        &mut self,
        rows: &mut Vec<Arc<Row>>,
        focus: Option<&str>,
        mut squeezes: Range<u32>,
    ) -> Result<(), CompressionError> {
        let before = self.tokens(rows);
        let base = self.base(rows, before);
        let rules = self.limits.rules;
        let replacement = squeezes
            .find_map(|squeeze| replacement::choose(rows, &rules, base, squeeze))
            .ok_or(CompressionError::NothingToReplace)?;
        let text = Some(STATUS.to_owned());
        self.link.report(TurnEvent::Status { text, activity: Activity::Compressing });
        let reply = match self.summarise(rows, &replacement, focus, before).await {
            Ok(summary) => self.link.ask(TurnEvent::Compressed(summary)).await,
            Err(error) => {
                self.link.report(TurnEvent::Status { text: None, activity: Activity::Other });
                return Err(error.into());
            }
        };
        let Reply::Row(row) = reply else {
            let message = "The summary could not be stored.".to_owned();
            return Err(CompressionError::Failed { class: "store".to_owned(), message });
        };
        if let Body::Summary(summary) = &row.body {
            self.used = Some(summary.after);
            self.limits.poor = if is_poor(summary) { self.limits.poor + 1 } else { 0 };
        }
        rows.push(Arc::new(row));
        Ok(())
    }

    /// The estimated tokens of which the rules keep a part. Rows are weighed by estimates, so the
    /// counted tokens are put on the same scale; the frame of a request can be neither kept nor
    /// replaced.
    fn base(&self, rows: &[Arc<Row>], before: u64) -> u64 {
        let whole = self.trigger().map_or(before, |trigger| trigger.min(before));
        let scale = self.estimate(rows) as f64 / before.max(1) as f64;
        budget::part(whole, scale).saturating_sub(self.frame)
    }

    /// Asks the model for a summary and makes the row of it, unless it would save nothing.
    async fn summarise(
        &self,
        rows: &[Arc<Row>],
        replacement: &Replacement,
        focus: Option<&str>,
        before: u64,
    ) -> Result<Summary, model::Error> {
        let replaced: u64 = replacement.rows.iter().map(|r| budget::tokens(r)).sum();
        let earlier = replacement.earlier_summary.as_ref();
        let known = earlier.map_or(0, |s| s.text.len() as u64 / 4);
        let window = self.model.context_length().unwrap_or(before).min(before.max(1));
        let most = ((replaced + known) / 5).clamp(BUDGET.0, BUDGET.1).min(window.max(800) / 4);
        let answer = self.request_summary(replacement, focus, most, window).await?;
        if answer.text.trim().is_empty() {
            return Err(failure("The model wrote no summary."));
        }
        let mut summary = Summary {
            // Twice the budget is more than enough; a model that rambles must not fill the context.
            text: prompt::summary_text(&answer.text, &replacement.requests, most as usize * 8),
            head: replacement.head,
            tail: replacement.tail,
            rows: replacement.rows.len() as u64 + earlier.map_or(0, |s| s.rows),
            before,
            after: 0,
        };
        let old = self.estimate(rows);
        let new = self.estimate(&self.with_summary(rows, &summary));
        if new >= old {
            return Err(failure("The summary would be longer than what it stands for."));
        }
        summary.after = budget::part(before, new as f64 / old as f64);
        Ok(summary)
    }

    /// Asks for a summary of at most `tokens` tokens. A request that is too long itself is
    /// shortened and sent again.
    async fn request_summary(
        &self,
        replacement: &Replacement,
        focus: Option<&str>,
        tokens: u64,
        window: u64,
    ) -> Result<Completion, model::Error> {
        let mut bytes = (window * 4 * 6 / 10) as usize;
        let mut tries = 1;
        loop {
            let text = prompt::request(replacement, focus, tokens, bytes.max(2_000));
            let length = text.len();
            let request = Request {
                purpose: Purpose::Summary,
                system: prompt::SYSTEM.to_owned(),
                messages: vec![Message::User(text)],
                tools: Vec::new(),
                session: self.link.session.0.clone(),
                reasoning: None,
            };
            match complete(self.model.as_ref(), request, &self.link, STATUS).await {
                Err(e) if e.class == Class::ContextOverflow && tries < TRIES => {
                    tries += 1;
                    bytes = length / 2;
                }
                result => return result,
            }
        }
    }

    /// The rows as they are once the summary is stored.
    fn with_summary(&self, rows: &[Arc<Row>], summary: &Summary) -> Vec<Arc<Row>> {
        let n = rows.last().map_or(1, |r| r.n + 1);
        let body = Body::Summary(summary.clone());
        let row = Row { n, turn: self.link.turn, at: 0, cut: 0, body };
        [rows, &[Arc::new(row)]].concat()
    }
}

fn failure(message: &str) -> model::Error {
    model::Error { class: Class::Truncated, message: message.to_owned(), retry_after: None }
}
