//! A turn as the frames of its stream. What has been told is remembered, so that a window in the
//! middle of a turn (a late start, a resync) is told by the same code as the events that follow.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Frame, Kind, args, head, preview, question};
use crate::wire::encode::session::{UNTITLED, session, tokens};
use protocol::{
    Activity, Assistant, Body, CallId, Event, Millis, Outcome, Part, QuestionId, Row, Running,
    SessionId, Summary, ToolCall, ToolResult, Transcript, TurnId, Usage,
};

/// Usage is told at most this often while text flows.
const METERING: Millis = 1_000;
/// Bytes of text per token, roughly: for the speed shown while it flows.
const PER_TOKEN: f64 = 4.0;

/// What the stream of one turn has told so far.
#[derive(Debug)]
pub(crate) struct FrameEncoder {
    session: SessionId,
    turn: TurnId,
    started_at: Millis,
    /// The last row told.
    row: u64,
    /// Bytes told of the block that is being streamed.
    text: usize,
    reasoning: usize,
    /// The last thing told was a tool's result: the next text begins a paragraph.
    after_tool: bool,
    calls: HashMap<CallId, ToolCall>,
    /// Calls whose start was told.
    begun: Vec<CallId>,
    /// The head and number of the pending questions as they were told.
    approvals: (Option<QuestionId>, usize),
    clarifies: (Option<QuestionId>, usize),
    compressing: bool,
    /// Why it failed, once a row says so.
    pub(super) failure: Option<String>,
    first_text: Option<Millis>,
    told_bytes: usize,
    metered_at: Millis,
    /// Tokens of its answers, as far as they were counted.
    answered: Option<u64>,
}

impl FrameEncoder {
    /// Nothing of that turn has been told.
    pub(crate) fn new(session: SessionId, turn: TurnId, started_at: Millis) -> Self {
        Self {
            session,
            turn,
            started_at,
            row: 0,
            text: 0,
            reasoning: 0,
            after_tool: false,
            calls: HashMap::new(),
            begun: Vec::new(),
            approvals: (None, 0),
            clarifies: (None, 0),
            compressing: false,
            failure: None,
            first_text: None,
            told_bytes: 0,
            metered_at: 0,
            answered: None,
        }
    }

    /// The turn it is about.
    pub(crate) fn turn(&self) -> TurnId {
        self.turn
    }

    /// What the window holds of the turn and was not told: all of it at the start of a tape.
    pub(crate) fn catch_up(&mut self, transcript: &Transcript, now: Millis) -> Vec<Frame> {
        let mut out = Vec::new();
        if self.row == 0 && self.text == 0 && self.reasoning == 0 && self.begun.is_empty() {
            out.push(self.context_status());
        }
        let turn = self.turn;
        for row in transcript.rows.iter().filter(|row| row.turn == turn) {
            self.tell_row(row, transcript, &mut out);
        }
        if let Some(running) = transcript.running.as_ref().filter(|r| r.turn == self.turn) {
            self.tell_live(running, now, &mut out);
        }
        self.tell_questions(transcript, &mut out);
        out
    }

    /// What an event adds. The transcript holds it already.
    pub(crate) fn event(
        &mut self,
        event: &Event,
        transcript: &Transcript,
        now: Millis,
    ) -> Vec<Frame> {
        let mut out = Vec::new();
        match event {
            Event::Delta { turn, part, text, .. } if *turn == self.turn => {
                match part {
                    Part::Text => self.text += text.len(),
                    Part::Reasoning => self.reasoning += text.len(),
                }
                self.tell_text(*part, text, now, &mut out);
                if now - self.metered_at >= METERING {
                    out.push(self.metering(transcript, now));
                }
            }
            Event::RowAdded { row } if row.turn == self.turn => {
                self.tell_row(row, transcript, &mut out);
            }
            Event::CallStarted { call, .. } => self.tell_start(call, &mut out),
            Event::TurnStatus { turn, text, activity } if *turn == self.turn => {
                let compressing = *activity == Activity::Compressing;
                if compressing && !self.compressing {
                    let data = json!({ "session_id": self.session, "message": text });
                    out.push(Frame::new("compressing", data));
                }
                self.compressing = compressing;
            }
            Event::QuestionAsked { .. } | Event::QuestionResolved { .. } => {
                self.tell_questions(transcript, &mut out);
            }
            Event::UsageReported { usage, .. } => {
                self.count(usage);
                out.push(self.metering(transcript, now));
            }
            Event::TitleChanged { title } => {
                let title = if title.is_empty() { UNTITLED } else { title };
                let data = json!({ "session_id": self.session, "title": title });
                out.push(Frame::new("title", data));
            }
            Event::GoalChanged { goal } => out.push(super::goal(&self.session, goal.as_ref())),
            Event::Attached { .. }
            | Event::TurnStarted { .. }
            | Event::Delta { .. }
            | Event::RowAdded { .. }
            | Event::TurnStatus { .. }
            | Event::CallOutput { .. }
            | Event::TurnCancelling { .. }
            | Event::TurnEnded { .. }
            | Event::PromptQueued { .. }
            | Event::PromptUnqueued { .. }
            // What no tool result takes along this host runs by itself as the next prompt: a
            // client that is told of a leftover would send it a second time.
            | Event::Steered { .. }
            | Event::ProcessChanged { .. }
            | Event::ProcessForgotten { .. }
            | Event::Held { .. }
            | Event::Unattended { .. }
            | Event::ModelChanged { .. }
            | Event::CwdChanged { .. }
            | Event::StorageChanged { .. }
            | Event::Toast(_)
            | Event::Paged { .. }
            | Event::ProcessTail { .. }
            | Event::SessionsListed { .. }
            | Event::ProcessesListed { .. }
            | Event::ModelsListed { .. }
            | Event::RowsRemoved { .. }
            | Event::TokensCounted { .. }
            | Event::AsideSaid { .. }
            | Event::AsideEnded { .. }
            | Event::ToolsetsChanged { .. }
            | Event::YoloChanged { .. }
            | Event::ReasoningChanged { .. }
            | Event::AttachmentsChanged { .. }
            | Event::SessionsChanged
            | Event::InboxChanged { .. }
            | Event::Switched { .. }
            | Event::Link { .. }
            | Event::SessionsFound { .. }
            | Event::WorkspacesListed { .. }
            | Event::ProfilesListed { .. }
            | Event::Exported { .. }
            | Event::Failed(_) => {}
        }
        out
    }

    /// How the stream of the turn ends. The transcript holds the end already.
    pub(crate) fn end(&self, outcome: &Outcome, transcript: &Transcript, at: Millis) -> Vec<Frame> {
        let id = &self.session;
        let stored = session(transcript, None);
        match outcome {
            Outcome::Done => vec![
                Frame::new(
                    "done",
                    json!({
                        "session_id": id,
                        "session": stored,
                        "usage": self.usage(transcript, Some(at)),
                    }),
                ),
                Frame::new("stream_end", json!({ "session_id": id })),
            ],
            Outcome::Cancelled => vec![Frame::new(
                "cancel",
                json!({
                    "message": "The user cancelled the turn",
                    "type": "cancelled",
                    "status": "cancelled",
                    "session_id": id,
                    "session": stored,
                }),
            )],
            Outcome::Failed { class } => {
                let message = self.failure.as_deref().unwrap_or("The turn failed.");
                vec![self.error(error_type(class), class, message, "errored", stored)]
            }
            Outcome::Limit => {
                let message = self.failure.as_deref().unwrap_or("The turn reached its limit.");
                let kind = "tool_limit_reached";
                vec![self.error(kind, "limit", message, kind, stored)]
            }
            Outcome::Interrupted => {
                let message = self.failure.as_deref().unwrap_or("The turn was interrupted.");
                let state = "interrupted-by-crash";
                let mut frame = self.error("interrupted", "interrupted", message, state, stored);
                frame.data["recovery_control"] = json!(true);
                vec![frame]
            }
        }
    }

    fn error(&self, kind: &str, class: &str, message: &str, state: &str, stored: Value) -> Frame {
        Frame::new(
            "apperror",
            json!({
                "message": message,
                "type": kind,
                "details": message,
                "class": class,
                "session": stored,
                "session_id": self.session,
                "old_session_id": self.session,
                "terminal_state": state,
            }),
        )
    }

    fn context_status(&self) -> Frame {
        Frame::new(
            "context_status",
            json!({
                "session_id": self.session,
                "prefill": {
                    "status": "not_configured", "source": "none", "label": "", "message_count": 0,
                },
            }),
        )
    }

    fn tell_row(&mut self, row: &Row, transcript: &Transcript, out: &mut Vec<Frame>) {
        if row.n <= self.row {
            return;
        }
        self.row = row.n;
        match &row.body {
            Body::Assistant(answer) => self.tell_answer(answer, row.at, out),
            Body::Tool(result) => self.tell_result(result, out),
            Body::Summary(summary) => {
                self.compressing = false;
                out.push(self.compressed(summary, transcript));
            }
            Body::Failure { message } => self.failure = Some(message.clone()),
            Body::User { .. } | Body::Wakeup(_) | Body::Note { .. } => {}
        }
    }

    /// What of an answer was not told by deltas.
    fn tell_answer(&mut self, answer: &Assistant, at: Millis, out: &mut Vec<Frame>) {
        if let Some(rest) = answer.reasoning.get(self.reasoning..).filter(|r| !r.is_empty()) {
            self.tell_text(Part::Reasoning, rest, at, out);
        }
        if let Some(rest) = answer.text.get(self.text..).filter(|r| !r.is_empty()) {
            self.tell_text(Part::Text, rest, at, out);
        }
        (self.text, self.reasoning) = (0, 0);
        self.calls = answer.calls.iter().map(|call| (call.id.clone(), call.clone())).collect();
    }

    fn tell_live(&mut self, running: &Running, now: Millis, out: &mut Vec<Frame>) {
        if let Some(rest) = running.reasoning.get(self.reasoning..).filter(|r| !r.is_empty()) {
            self.tell_text(Part::Reasoning, rest, now, out);
            self.reasoning = running.reasoning.len();
        }
        if let Some(rest) = running.text.get(self.text..).filter(|r| !r.is_empty()) {
            self.tell_text(Part::Text, rest, now, out);
            self.text = running.text.len();
        }
        for live in &running.calls {
            self.calls.entry(live.call.id.clone()).or_insert_with(|| live.call.clone());
            if live.started_at.is_some() {
                self.tell_start(&live.call.id, out);
            }
        }
    }

    fn tell_text(&mut self, part: Part, text: &str, now: Millis, out: &mut Vec<Frame>) {
        self.told_bytes += text.len();
        self.first_text.get_or_insert(now);
        match part {
            Part::Reasoning => out.push(Frame::new("reasoning", json!({ "text": text }))),
            Part::Text => {
                let gap = if std::mem::take(&mut self.after_tool) { "\n\n" } else { "" };
                out.push(Frame::new("token", json!({ "text": format!("{gap}{text}") })));
            }
        }
    }

    fn tell_start(&mut self, call: &CallId, out: &mut Vec<Frame>) {
        let Some(known) = self.calls.get(call) else { return };
        if self.begun.contains(call) {
            return;
        }
        self.begun.push(call.clone());
        out.push(Frame::new(
            "tool",
            json!({
                "event_type": "tool.started",
                "name": known.name,
                "preview": null,
                "args": args(&known.args),
                "tid": call,
            }),
        ));
    }

    fn tell_result(&mut self, result: &ToolResult, out: &mut Vec<Frame>) {
        // A call that never ran is told like one that did: a result without its call is lost.
        self.tell_start(&result.call, out);
        self.begun.retain(|call| *call != result.call);
        let args = self.calls.get(&result.call).map(|call| args(&call.args));
        self.after_tool = true;
        out.push(Frame::new(
            "tool_complete",
            json!({
                "event_type": "tool.completed",
                "name": result.name,
                "preview": preview(&result.text),
                "args": args.unwrap_or_default(),
                "tid": result.call,
                "is_error": result.failed,
                "duration": result.millis as f64 / 1000.0,
            }),
        ));
    }

    fn tell_questions(&mut self, transcript: &Transcript, out: &mut Vec<Frame>) {
        for kind in [Kind::Approval, Kind::Clarify] {
            let (head, total) = head(&transcript.questions, kind);
            let now = (head.map(|q| q.id.clone()), total);
            let told = match kind {
                Kind::Approval => &mut self.approvals,
                Kind::Clarify => &mut self.clarifies,
            };
            if *told == now {
                continue;
            }
            *told = now;
            if let Some(head) = head {
                let mut data = question(&self.session, head);
                data["pending_count"] = json!(total);
                out.push(Frame::new(kind.name(), data));
            }
        }
    }

    fn compressed(&self, summary: &Summary, transcript: &Transcript) -> Frame {
        let id = &self.session;
        Frame::new(
            "compressed",
            json!({
                "session_id": id,
                // A session keeps its id when its context is compressed.
                "old_session_id": id,
                "new_session_id": id,
                "continuation_session_id": id,
                "message": format!("{} rows were summarised", summary.rows),
                "usage": self.usage(transcript, None),
            }),
        )
    }

    fn count(&mut self, usage: &Usage) {
        self.answered = Some(self.answered.unwrap_or(0) + usage.completion);
    }

    fn metering(&mut self, transcript: &Transcript, now: Millis) -> Frame {
        self.metered_at = now;
        let (tps, estimated) = self.speed(now);
        Frame::new(
            "metering",
            json!({
                "tps": tps,
                "tps_available": tps.is_some(),
                "estimated": estimated,
                "high": null,
                "low": null,
                "active": 1,
                "ttft_ms": self.first_text.map(|at| at - self.started_at),
                "session_id": self.session,
                "usage": self.usage(transcript, None),
            }),
        )
    }

    /// Tokens per second, and whether they were guessed from the text.
    fn speed(&self, now: Millis) -> (Option<f64>, bool) {
        let Some(elapsed) = self.first_text.map(|at| now - at).filter(|ms| *ms > 0) else {
            return (None, false);
        };
        let (tokens, estimated) = match self.answered {
            Some(tokens) => (tokens as f64, false),
            None => (self.told_bytes as f64 / PER_TOKEN, true),
        };
        (Some((tokens / elapsed as f64 * 10_000.0).round() / 10.0), estimated)
    }

    /// What is known of the session's use; what is not known is null, never 0 (S01).
    fn usage(&self, transcript: &Transcript, ended: Option<Millis>) -> Value {
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
        if let (Some(at), Some(fields)) = (ended, usage.as_object_mut()) {
            let more = json!({
                "turn_cache_hit_percent": null,
                "duration_seconds": (at - self.started_at) as f64 / 1000.0,
                "tps": self.speed(at).0,
                "ttft_ms": self.first_text.map(|first| first - self.started_at),
                "used_model": transcript.model,
            });
            fields.extend(more.as_object().cloned().unwrap_or_default());
        }
        usage
    }
}

/// The type that clients know for a class of failure.
fn error_type(class: &str) -> &'static str {
    match class {
        "auth" => "auth_mismatch",
        "quota" => "quota_exhausted",
        "rate_limit" => "rate_limit",
        "context_overflow" => "compression_exhausted",
        "unknown_model" => "model_not_found",
        "empty" => "no_response",
        _ => "error",
    }
}
