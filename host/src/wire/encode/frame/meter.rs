//! The speed and the token counts of one turn, as its stream shows them.

use serde_json::{Value, json};

use super::Frame;
use crate::wire::encode::session::tokens;
use protocol::{Millis, SessionId, Transcript, Usage};

/// Usage is sent at most this often while text flows.
const INTERVAL: Millis = 1_000;
/// Bytes of text per token, roughly: for the speed shown while it flows.
const BYTES_PER_TOKEN: f64 = 4.0;

/// What is measured of a turn.
#[derive(Debug)]
pub(super) struct Meter {
    started_at: Millis,
    /// When its first text came.
    first_text_at: Option<Millis>,
    /// Bytes of all its text so far.
    text_bytes: usize,
    /// Tokens of its answers, as far as they were counted.
    completion_tokens: Option<u64>,
    /// When usage was sent last.
    sent_at: Millis,
}

impl Meter {
    pub(super) fn new(started_at: Millis) -> Self {
        Self { started_at, first_text_at: None, text_bytes: 0, completion_tokens: None, sent_at: 0 }
    }

    /// Counts text of the model.
    pub(super) fn add_text(&mut self, text: &str, now: Millis) {
        self.text_bytes += text.len();
        self.first_text_at.get_or_insert(now);
    }

    /// Counts the tokens that a provider reported.
    pub(super) fn add_usage(&mut self, usage: &Usage) {
        self.completion_tokens = Some(self.completion_tokens.unwrap_or(0) + usage.completion);
    }

    /// Whether usage is to be sent again while text flows.
    pub(super) fn is_due(&self, now: Millis) -> bool {
        now - self.sent_at >= INTERVAL
    }

    /// The frame `metering`.
    pub(super) fn frame(
        &mut self,
        session: &SessionId,
        transcript: &Transcript,
        now: Millis,
    ) -> Frame {
        self.sent_at = now;
        let (tps, estimated) = self.tokens_per_second(now);
        Frame::new(
            "metering",
            json!({
                "tps": tps,
                "tps_available": tps.is_some(),
                "estimated": estimated,
                "high": null,
                "low": null,
                "active": 1,
                "ttft_ms": self.time_to_first_text(),
                "session_id": session,
                "usage": usage(transcript),
            }),
        )
    }

    /// The usage at the end of the turn, with its duration and speed.
    pub(super) fn final_usage(&self, transcript: &Transcript, ended_at: Millis) -> Value {
        let mut usage = usage(transcript);
        usage["turn_cache_hit_percent"] = Value::Null;
        usage["duration_seconds"] = json!((ended_at - self.started_at) as f64 / 1000.0);
        usage["tps"] = json!(self.tokens_per_second(ended_at).0);
        usage["ttft_ms"] = json!(self.time_to_first_text());
        usage["used_model"] = json!(transcript.model);
        usage
    }

    fn time_to_first_text(&self) -> Option<Millis> {
        self.first_text_at.map(|at| at - self.started_at)
    }

    /// Tokens per second, and whether they were estimated from the text.
    fn tokens_per_second(&self, now: Millis) -> (Option<f64>, bool) {
        let Some(elapsed) = self.first_text_at.map(|at| now - at).filter(|ms| *ms > 0) else {
            return (None, false);
        };
        let (tokens, estimated) = match self.completion_tokens {
            Some(tokens) => (tokens as f64, false),
            None => (self.text_bytes as f64 / BYTES_PER_TOKEN, true),
        };
        (Some((tokens / elapsed as f64 * 10_000.0).round() / 10.0), estimated)
    }
}

/// The known usage of a session; what is unknown is null, never 0 (S01).
pub(super) fn usage(transcript: &Transcript) -> Value {
    let gauge = transcript.gauge;
    let mut usage = json!({
        "context_length": gauge.length,
        "threshold_tokens": null,
        "last_prompt_tokens": gauge.used,
        "post_compression_context_tokens_estimate": null,
    });
    if let Some(fields) = usage.as_object_mut() {
        fields.extend(tokens(&transcript.tokens));
    }
    usage
}
