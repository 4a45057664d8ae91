//! A turn as the frames of its stream. The encoder remembers what it has encoded, so that a window
//! in the middle of a turn (a late start, a resync) goes through the same code as the events that
//! follow.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::meter::{self, Meter};
use super::{Frame, Kind, args, head, preview, question};
use crate::wire::encode::session::session;
use protocol::{
    Activity, Assistant, Body, CallId, Event, Millis, Outcome, Part, QuestionId, Row, Running,
    SessionId, Summary, ToolCall, ToolResult, Transcript, TurnId,
};

/// The encoder of one turn.
#[derive(Debug)]
pub(crate) struct FrameEncoder {
    session: SessionId,
    turn: TurnId,
    /// The number of the last row encoded.
    row: u64,
    /// Bytes encoded of the block that is being streamed.
    text: usize,
    reasoning: usize,
    /// The last frame was a tool's result: the next text begins a paragraph.
    after_tool: bool,
    calls: HashMap<CallId, ToolCall>,
    /// Calls whose start was encoded, without their result.
    started: Vec<CallId>,
    /// The head and number of the pending questions as last encoded.
    approvals: (Option<QuestionId>, usize),
    clarifies: (Option<QuestionId>, usize),
    compressing: bool,
    /// Why the turn failed, once a row says so.
    pub(super) failure: Option<String>,
    meter: Meter,
}

impl FrameEncoder {
    /// An encoder that has encoded nothing of the turn yet.
    pub(crate) fn new(session: SessionId, turn: TurnId, started_at: Millis) -> Self {
        Self {
            session,
            turn,
            row: 0,
            text: 0,
            reasoning: 0,
            after_tool: false,
            calls: HashMap::new(),
            started: Vec::new(),
            approvals: (None, 0),
            clarifies: (None, 0),
            compressing: false,
            failure: None,
            meter: Meter::new(started_at),
        }
    }

    /// The turn it encodes.
    pub(crate) fn turn(&self) -> TurnId {
        self.turn
    }

    /// What the window holds of the turn and was not encoded yet: at the start of a tape, all.
    pub(crate) fn catch_up(&mut self, transcript: &Transcript, now: Millis) -> Vec<Frame> {
        let mut out = Vec::new();
        if self.row == 0 && self.text == 0 && self.reasoning == 0 && self.started.is_empty() {
            out.push(self.context_status());
        }
        let turn = self.turn;
        for row in transcript.rows.iter().filter(|row| row.turn == turn) {
            self.push_row(row, transcript, &mut out);
        }
        if let Some(running) = transcript.running.as_ref().filter(|r| r.turn == self.turn) {
            self.push_running(running, now, &mut out);
        }
        self.push_questions(transcript, &mut out);
        out
    }

    /// The frames that an event adds. The transcript includes the event already.
    pub(crate) fn event(
        &mut self,
        event: &Event,
        transcript: &Transcript,
        now: Millis,
    ) -> Vec<Frame> {
        let mut out = Vec::new();
        match event {
            Event::Delta { turn, part, text, .. } if *turn == self.turn => {
                self.push_delta(*part, text, transcript, now, &mut out);
            }
            Event::RowAdded { row } if row.turn == self.turn => {
                self.push_row(row, transcript, &mut out);
            }
            Event::CallStarted { call, .. } => self.push_call_start(call, &mut out),
            Event::TurnStatus { turn, text, activity } if *turn == self.turn => {
                self.push_status(text.as_deref(), *activity, &mut out);
            }
            Event::QuestionAsked { .. } | Event::QuestionResolved { .. } => {
                self.push_questions(transcript, &mut out);
            }
            Event::UsageReported { usage, .. } => {
                self.meter.add_usage(usage);
                out.push(self.meter.frame(&self.session, transcript, now));
            }
            Event::TitleChanged { title } => out.push(super::title(&self.session, title)),
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
            // This host itself runs a steer that no tool result carried as the next prompt: a
            // client that is notified of the leftover would send it a second time.
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

    /// The last frames of the turn's stream. The transcript includes the end already.
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
                        "usage": self.meter.final_usage(transcript, at),
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

    fn push_row(&mut self, row: &Row, transcript: &Transcript, out: &mut Vec<Frame>) {
        if row.n <= self.row {
            return;
        }
        self.row = row.n;
        match &row.body {
            Body::Assistant(answer) => self.push_answer(answer, row.at, out),
            Body::Tool(result) => self.push_result(result, out),
            Body::Summary(summary) => {
                self.compressing = false;
                out.push(self.compressed(summary, transcript));
            }
            Body::Failure { message } => self.failure = Some(message.clone()),
            Body::User { .. } | Body::Wakeup(_) | Body::Note { .. } => {}
        }
    }

    /// The rest of an answer that no delta brought.
    fn push_answer(&mut self, answer: &Assistant, at: Millis, out: &mut Vec<Frame>) {
        if let Some(rest) = answer.reasoning.get(self.reasoning..).filter(|r| !r.is_empty()) {
            self.push_text(Part::Reasoning, rest, at, out);
        }
        if let Some(rest) = answer.text.get(self.text..).filter(|r| !r.is_empty()) {
            self.push_text(Part::Text, rest, at, out);
        }
        (self.text, self.reasoning) = (0, 0);
        self.calls = answer.calls.iter().map(|call| (call.id.clone(), call.clone())).collect();
    }

    /// The rest of what is being streamed, and the running calls.
    fn push_running(&mut self, running: &Running, now: Millis, out: &mut Vec<Frame>) {
        if let Some(rest) = running.reasoning.get(self.reasoning..).filter(|r| !r.is_empty()) {
            self.push_text(Part::Reasoning, rest, now, out);
            self.reasoning = running.reasoning.len();
        }
        if let Some(rest) = running.text.get(self.text..).filter(|r| !r.is_empty()) {
            self.push_text(Part::Text, rest, now, out);
            self.text = running.text.len();
        }
        for live in &running.calls {
            self.calls.entry(live.call.id.clone()).or_insert_with(|| live.call.clone());
            if live.started_at.is_some() {
                self.push_call_start(&live.call.id, out);
            }
        }
    }

    fn push_delta(
        &mut self,
        part: Part,
        text: &str,
        transcript: &Transcript,
        now: Millis,
        out: &mut Vec<Frame>,
    ) {
        match part {
            Part::Text => self.text += text.len(),
            Part::Reasoning => self.reasoning += text.len(),
        }
        self.push_text(part, text, now, out);
        if self.meter.is_due(now) {
            out.push(self.meter.frame(&self.session, transcript, now));
        }
    }

    fn push_text(&mut self, part: Part, text: &str, now: Millis, out: &mut Vec<Frame>) {
        self.meter.add_text(text, now);
        match part {
            Part::Reasoning => out.push(Frame::new("reasoning", json!({ "text": text }))),
            Part::Text => {
                let gap = if std::mem::take(&mut self.after_tool) { "\n\n" } else { "" };
                out.push(Frame::new("token", json!({ "text": format!("{gap}{text}") })));
            }
        }
    }

    fn push_status(&mut self, text: Option<&str>, activity: Activity, out: &mut Vec<Frame>) {
        let compressing = activity == Activity::Compressing;
        if compressing && !self.compressing {
            let data = json!({ "session_id": self.session, "message": text });
            out.push(Frame::new("compressing", data));
        }
        self.compressing = compressing;
    }

    fn push_call_start(&mut self, call: &CallId, out: &mut Vec<Frame>) {
        let Some(known) = self.calls.get(call) else { return };
        if self.started.contains(call) {
            return;
        }
        self.started.push(call.clone());
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

    fn push_result(&mut self, result: &ToolResult, out: &mut Vec<Frame>) {
        // A call that never ran is started here too: clients drop a result without its call.
        self.push_call_start(&result.call, out);
        self.started.retain(|call| *call != result.call);
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

    /// The head of each kind of question, if it or their number has changed.
    fn push_questions(&mut self, transcript: &Transcript, out: &mut Vec<Frame>) {
        for kind in [Kind::Approval, Kind::Clarify] {
            let (head, total) = head(&transcript.questions, kind);
            let current = (head.map(|q| q.id.clone()), total);
            let last = match kind {
                Kind::Approval => &mut self.approvals,
                Kind::Clarify => &mut self.clarifies,
            };
            if *last == current {
                continue;
            }
            *last = current;
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
                "usage": meter::usage(transcript),
            }),
        )
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
