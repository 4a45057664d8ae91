//! Compression: when the model's context fills up, its older part is told by a summary. The rows
//! themselves stay in the transcript for ever; what the model gets is [`context`].
//!
//! Invariant: the session stays the same one. A compression adds a row and takes none away, so
//! that background events of earlier processes find their session as before (W18).

mod cut;
mod prompt;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::completion::quietly;
use crate::model::{self, Class, Message, Model, Purpose, Request};
use crate::session::{POOR_COMPRESSIONS as POOR, Reply, TurnEvent, is_poor};
use crate::settings::Compression;
use crate::turn_link::TurnLink;
use cut::Cut;
pub(crate) use prompt::record;
use protocol::{Activity, Body, Outcome, Row, Stop, Summary, Usage};

/// The status of the turn while its context is being compressed.
const STATUS: &str = "compressing the context";
/// How long the automatic rests after a failure.
pub(crate) const COOL_DOWN: Duration = Duration::from_mins(10);
/// How often one turn compresses because the provider says that the context is too long.
const OVERFLOWS: u32 = 3;
/// Fewest and most tokens of a summary.
const BUDGET: (u64, u64) = (2_000, 10_000);
/// How often a record that is itself too long is shortened.
const TRIES: u32 = 3;

/// The rows that the model gets, in order: the head, the last summary, and what follows the part
/// it stands for. The one rule of it, for every turn, restart and copy alike.
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

/// What a turn may compress by, and when.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) rules: Compression,
    /// Longest answer in tokens, when configured.
    pub(crate) max_tokens: u64,
    /// Poor compressions in a row before this turn.
    pub(crate) poor: u32,
    /// How long the automatic still rests after an earlier failure.
    pub(crate) rest: Duration,
}

/// Keeps the requests of one turn within the model's context.
pub(crate) struct Keeper {
    model: Arc<dyn Model>,
    link: TurnLink,
    limits: Limits,
    /// Estimated tokens of the system prompt and the tools.
    frame: u64,
    /// Tokens of the last prompt, or of the context after the last compression.
    used: Option<u64>,
    overflows: u32,
    rest_until: Instant,
}

/// Why a context was not compressed.
enum Trouble {
    /// There is nothing to compress.
    Nothing,
    /// It failed: its class, and a text for the user.
    Failed(String, String),
}

impl Keeper {
    pub(crate) fn new(
        model: Arc<dyn Model>,
        link: TurnLink,
        limits: Limits,
        request: &Request,
        used: Option<u64>,
    ) -> Self {
        let schema = |s: &model::Schema| s.description.len() + s.parameters.to_string().len();
        let frame = request.system.len() + request.tools.iter().map(schema).sum::<usize>();
        let rest_until = Instant::now() + limits.rest;
        let frame = frame as u64 / 4;
        Self { model, link, limits, frame, used, overflows: 0, rest_until }
    }

    /// The model has answered.
    pub(crate) fn answered(&mut self, usage: Option<Usage>) {
        self.used = usage.map(|u| u.prompt);
    }

    /// Before each request: compresses when the context has filled up to the trigger. What goes
    /// wrong does not stop the turn.
    pub(crate) async fn make_room(&mut self, rows: &mut Vec<Arc<Row>>) {
        let Some(trigger) = self.trigger() else { return };
        if !self.limits.rules.enabled
            || self.limits.poor >= POOR
            || Instant::now() < self.rest_until
            || self.tokens(rows) <= trigger
        {
            return;
        }
        if let Err(Trouble::Failed(_, why)) = self.compress(rows, None, 0..1).await {
            self.rest_until = Instant::now() + COOL_DOWN;
            let minutes = COOL_DOWN.as_secs() / 60;
            let message = format!(
                "The context is nearly full and could not be compressed: {why} The turn goes on; \
                 it is tried again after {minutes} minutes, or with /compress."
            );
            self.link.report(TurnEvent::NotCompressed { message, failed: true });
        }
    }

    /// The provider says that the context is too long. Compresses it; the error says why there is
    /// no way out, and what to do.
    pub(crate) async fn overflowed(&mut self, rows: &mut Vec<Arc<Row>>) -> Result<(), String> {
        if !self.limits.rules.enabled {
            return Err("compression.enabled is off: send /compress to compress it now.".into());
        }
        self.overflows += 1;
        if self.overflows > OVERFLOWS {
            let text = "It was compressed three times and is still too long. Begin a new session \
                        with /new, or choose a model with a larger context with /model.";
            return Err(text.to_owned());
        }
        // What did not suffice before is cut shorter now.
        match self.compress(rows, None, self.overflows - 1..OVERFLOWS + 1).await {
            Ok(()) => Ok(()),
            Err(Trouble::Nothing) => Err("What is left of it cannot be made smaller. Begin a new \
                                          session with /new, or choose a model with a larger \
                                          context with /model."
                .to_owned()),
            Err(Trouble::Failed(_, why)) => Err(format!(
                "It could not be compressed: {why} Send /compress to try again, or begin a new \
                 session with /new."
            )),
        }
    }

    /// The user wants it compressed, now.
    pub(crate) async fn asked(&mut self, rows: &mut Vec<Arc<Row>>, focus: Option<&str>) -> Outcome {
        match self.compress(rows, focus, 0..1).await {
            Ok(()) => Outcome::Done,
            Err(Trouble::Nothing) => {
                let message = "There is nothing to compress yet.".to_owned();
                self.link.report(TurnEvent::NotCompressed { message, failed: false });
                Outcome::Done
            }
            Err(Trouble::Failed(class, why)) => {
                let message = format!("The context was not compressed, nothing has changed: {why}");
                self.link.report(TurnEvent::NotCompressed { message, failed: true });
                Outcome::Failed { class }
            }
        }
    }

    fn trigger(&self) -> Option<u64> {
        let length = self.model.context_length()?;
        Some(cut::trigger(&self.limits.rules, length, self.limits.max_tokens))
    }

    /// Tokens of the next request: what the provider counted last and what came since, else an
    /// estimate of all.
    fn tokens(&self, rows: &[Arc<Row>]) -> u64 {
        let counted = rows.iter().rposition(|row| match &row.body {
            Body::Summary(_) => true,
            Body::Assistant(answer) => answer.stop != Stop::Partial,
            _ => false,
        });
        match (self.used, counted) {
            (Some(used), Some(at)) => {
                // A summary is counted itself, an answer is not: it came after its prompt.
                let from = at + usize::from(matches!(rows[at].body, Body::Summary(_)));
                used + rows[from..].iter().map(|r| cut::tokens(r)).sum::<u64>()
            }
            _ => self.estimate(rows),
        }
    }

    fn estimate(&self, rows: &[Arc<Row>]) -> u64 {
        self.frame + context(rows).iter().map(|r| cut::tokens(r)).sum::<u64>()
    }

    async fn compress(
        &mut self,
        rows: &mut Vec<Arc<Row>>,
        focus: Option<&str>,
        squeezes: std::ops::Range<u32>,
    ) -> Result<(), Trouble> {
        let before = self.tokens(rows);
        // Rows are weighed by estimates, so what they may weigh is put on the same scale. What
        // every request begins with can be neither kept nor replaced.
        let whole = self.trigger().map_or(before, |trigger| trigger.min(before));
        let scale = self.estimate(rows) as f64 / before.max(1) as f64;
        let base = cut::part(whole, scale).saturating_sub(self.frame);
        let rules = self.limits.rules;
        let mut cuts = { squeezes }.filter_map(|squeeze| cut::cut(rows, &rules, base, squeeze));
        let cut = cuts.next().ok_or(Trouble::Nothing)?;
        self.link.report(TurnEvent::Status {
            text: Some(STATUS.to_owned()),
            activity: Activity::Compressing,
        });
        let done = self.summary(rows, &cut, focus, before).await;
        let said = match done {
            Ok(summary) => self.link.ask(TurnEvent::Compressed(summary)).await,
            Err(error) => {
                self.link.report(TurnEvent::Status { text: None, activity: Activity::Other });
                return Err(Trouble::Failed(error.class.as_str().to_owned(), error.message));
            }
        };
        let Reply::Row(row) = said else {
            let why = "The summary could not be written down.".to_owned();
            return Err(Trouble::Failed("store".to_owned(), why));
        };
        if let Body::Summary(summary) = &row.body {
            self.used = Some(summary.after);
            self.limits.poor = if is_poor(summary) { self.limits.poor + 1 } else { 0 };
        }
        rows.push(Arc::new(row));
        Ok(())
    }

    /// Asks the model for a summary and puts it into words of our own.
    async fn summary(
        &self,
        rows: &[Arc<Row>],
        cut: &Cut,
        focus: Option<&str>,
        before: u64,
    ) -> Result<Summary, model::Error> {
        let replaced: u64 = cut.replaced.iter().map(|r| cut::tokens(r)).sum();
        let known = cut.earlier.as_ref().map_or(0, |s| s.text.len() as u64 / 4);
        let window = self.model.context_length().unwrap_or(before).min(before.max(1));
        let budget = ((replaced + known) / 5).clamp(BUDGET.0, BUDGET.1).min(window.max(800) / 4);
        let mut bytes = (window * 4 * 6 / 10) as usize;
        let mut tries = 1;
        let done = loop {
            let text = prompt::request(cut, focus, budget, bytes.max(2_000));
            let length = text.len();
            let request = Request {
                purpose: Purpose::Summary,
                system: prompt::SYSTEM.to_owned(),
                messages: vec![Message::User(text)],
                tools: Vec::new(),
                session: self.link.session.0.clone(),
                reasoning: None,
            };
            match quietly(self.model.as_ref(), request, &self.link, STATUS).await {
                Err(e) if e.class == Class::ContextOverflow && tries < TRIES => {
                    tries += 1;
                    bytes = length / 2;
                }
                done => break done?,
            }
        };
        if done.text.trim().is_empty() {
            return Err(failure("The model wrote no summary."));
        }
        // Twice the budget is more than enough; a model that rambles must not fill the context.
        let mut summary = Summary {
            text: prompt::told(&done.text, &cut.asked, budget as usize * 8),
            head: cut.head,
            tail: cut.tail,
            rows: cut.replaced.len() as u64 + cut.earlier.as_ref().map_or(0, |s| s.rows),
            before,
            after: 0,
        };
        let known = self.estimate(rows);
        let body = Body::Summary(summary.clone());
        let n = rows.last().map_or(1, |r| r.n + 1);
        let row = Row { n, turn: self.link.turn, at: 0, cut: 0, body };
        let new = [rows, &[Arc::new(row)]].concat();
        let left = self.estimate(&new);
        if left >= known {
            return Err(failure("The summary would be longer than what it stands for."));
        }
        summary.after = cut::part(before, left as f64 / known as f64);
        Ok(summary)
    }
}

fn failure(message: &str) -> model::Error {
    model::Error { class: Class::Truncated, message: message.to_owned(), retry_after: None }
}
