//! A turn as the frames of its stream, and the small objects that other streams carry. What has
//! been told is remembered, so that a window in the middle of a turn (a late start, a resync)
//! continues it or tells it from its beginning by the same code as events do.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::compress;
use crate::protocol::{
    Answer, Ask, Assistant, Body, CallId, Choice, End, Event, Exit, Goal, GoalState, Millis, News,
    Outcome, Part, Question, QuestionId, Row, Running, SessionId, Summary, Toast, ToolCall,
    ToolResult, Transcript, TurnId, Usage,
};
use crate::wire::encode::session::session;

/// Most arguments of a call that are told.
const ARGS: usize = 4;
/// Characters of an argument.
const ARG: usize = 120;
/// Characters of a tool's result.
const PREVIEW: usize = 2_000;
/// Usage is told at most this often while text flows.
const METERING: Millis = 1_000;
/// Bytes of text per token, roughly: for the speed shown while it flows.
const PER_TOKEN: f64 = 4.0;

/// One event of a stream: its name and its data.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) name: &'static str,
    pub(crate) data: Value,
}

impl Frame {
    pub(crate) fn new(name: &'static str, data: Value) -> Self {
        Self { name, data }
    }
}

/// Which questions are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Approval,
    Clarify,
}

impl Kind {
    /// The name of it in events and paths.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Clarify => "clarify",
        }
    }

    /// Which kind a question is of.
    pub(crate) fn of(question: &Question) -> Self {
        match question.ask {
            Ask::Approval { .. } => Self::Approval,
            Ask::Clarify { .. } => Self::Clarify,
        }
    }
}

/// The oldest pending question of a kind, and how many there are (C01, C02).
pub(crate) fn head(questions: &[Question], kind: Kind) -> (Option<&Question>, usize) {
    let mut pending = questions.iter().filter(|q| Kind::of(q) == kind);
    let head = pending.next();
    (head, usize::from(head.is_some()) + pending.count())
}

/// A pending question as clients know it.
pub(crate) fn question(session: &SessionId, question: &Question) -> Value {
    let seconds = question.timeout as f64 / 1000.0;
    match &question.ask {
        Ask::Approval { command, part, rule, reason, allow_always } => json!({
            "command": command,
            "pattern_key": rule,
            "pattern_keys": [rule],
            "description": reason,
            "allow_permanent": allow_always,
            "approval_id": question.id,
            "session_id": session,
            "part": part,
            "requested_at": secs(question.asked_at),
            "timeout_seconds": seconds,
            "expires_at": question.deadline.map(secs),
        }),
        Ask::Clarify { question: text, choices } => json!({
            "question": text,
            "choices_offered": choices,
            "session_id": session,
            "kind": "clarify",
            "requested_at": secs(question.asked_at),
            "timeout_seconds": seconds,
            // 0 = its clock has not started.
            "expires_at": question.deadline.map_or(0.0, secs),
            "clarify_id": question.id,
        }),
    }
}

/// A question that is no longer pending, and who has answered it.
pub(crate) fn resolved(
    session: &SessionId,
    kind: Kind,
    id: &QuestionId,
    answer: &Answer,
    by: Option<&str>,
) -> Frame {
    let (outcome, key, value) = match answer {
        Answer::Approval(choice) => ("answered", "choice", json!(choice_word(*choice))),
        Answer::Text(text) => ("answered", "response", json!(text)),
        Answer::Expired => ("expired", "choice", Value::Null),
        Answer::Withdrawn => ("withdrawn", "choice", Value::Null),
    };
    let id_key = match kind {
        Kind::Approval => "approval_id",
        Kind::Clarify => "clarify_id",
    };
    Frame::new(
        "resolved",
        json!({
            "session_id": session,
            "kind": kind.name(),
            id_key: id,
            "outcome": outcome,
            key: value,
            "by": by,
        }),
    )
}

/// The word for a choice.
pub(crate) fn choice_word(choice: Choice) -> &'static str {
    match choice {
        Choice::Once => "once",
        Choice::Session => "session",
        Choice::Always => "always",
        Choice::Deny => "deny",
    }
}

/// The data of `bg_task_complete` and its alias, if the news is about a task. The same event of
/// the ledger has the same id, whoever tells it and however often (E11).
pub(crate) fn background(toast: &Toast, transcript: &Transcript, now: Millis) -> Option<Value> {
    let id = toast.process.as_ref()?;
    let task = if id.0.starts_with("deleg_") { "Delegated task" } else { "Background process" };
    let (kind, ordinal, at, summary) = match &toast.news {
        News::Ended { exit, .. } => {
            ("exit", 0, exit.at, format!("IMPORTANT: {task} {id} {}.", ended(exit)))
        }
        News::Matched { pattern } => {
            let known = transcript.processes.iter().find(|p| p.id == *id);
            let ordinal = known.map_or(0, |p| p.watching.matches);
            let text = format!("IMPORTANT: {task} {id} matched watch pattern \"{pattern}\".");
            ("match", ordinal, now, text)
        }
        News::WatchDisabled => {
            let text = format!("IMPORTANT: Watch patterns disabled for process {id}.");
            ("watch_disabled", 0, now, text)
        }
        News::Tripped
        | News::Released { .. }
        | News::Asked
        | News::Held { .. }
        | News::Working { .. }
        | News::Unknown => return None,
    };
    let exit_code = match &toast.news {
        News::Ended { exit, .. } => json!(exit.code),
        _ => Value::Null,
    };
    Some(json!({
        "session_id": toast.session,
        "task_id": id,
        "completed_at": secs(at),
        "event_id": format!("{id}-{kind}-{ordinal}"),
        "summary": summary,
        "kind": kind,
        "exit_code": exit_code,
        "text": toast.text,
    }))
}

/// How a task ended, in the words that clients look for; an unknown code is `?`, never 0 (W12).
fn ended(exit: &Exit) -> String {
    let code = exit.code.map_or_else(|| "?".to_owned(), |code| code.to_string());
    let how = match exit.end {
        End::Exited => "completed",
        End::Killed => "was killed",
        End::Lost => "was lost",
        End::FailedStart => "failed to start",
    };
    format!("{how} (exit_code={code})")
}

/// What a client gets instead of frames that are no longer there: it loads the session anew.
pub(crate) fn interrupted(session: &SessionId, stream: &str, last: u64, dropped: u64) -> Frame {
    Frame::new(
        "apperror",
        json!({
            "message": "This part of the turn can no longer be replayed.",
            "type": "interrupted",
            "hint": "Load the session to see what it holds.",
            "recovery_control": true,
            "session_id": session,
            "stream_id": stream,
            "journal_last_seq": last,
            "offline_dropped_events": dropped,
        }),
    )
}

/// What the stream of one turn has told so far.
#[derive(Debug)]
pub(crate) struct Teller {
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
    failure: Option<String>,
    first_text: Option<Millis>,
    told_bytes: usize,
    metered_at: Millis,
    /// Tokens of its answers, as far as they were counted.
    answered: Option<u64>,
}

impl Teller {
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
            Event::TurnStatus { turn, text } if *turn == self.turn => {
                let compressing = text.as_deref() == Some(compress::STATUS);
                if compressing && !self.compressing {
                    let data = json!({ "session_id": self.session, "message": compress::STATUS });
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
                let data = json!({ "session_id": self.session, "title": title });
                out.push(Frame::new("title", data));
            }
            Event::GoalChanged { goal } => out.push(self::goal(&self.session, goal.as_ref())),
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
            | Event::YoloChanged { .. }
            | Event::ReasoningChanged { .. }
            | Event::AttachmentsChanged { .. }
            | Event::SessionsChanged
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
            "input_tokens": null,
            "output_tokens": null,
            "estimated_cost": null,
            "cache_read_tokens": null,
            "cache_write_tokens": null,
            "cache_hit_percent": null,
            "context_length": gauge.length,
            "threshold_tokens": null,
            "last_prompt_tokens": gauge.used,
            "post_compression_context_tokens_estimate": null,
        });
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

fn goal(session: &SessionId, goal: Option<&Goal>) -> Frame {
    let (state, message) = match goal {
        None => ("idle", "The goal was cleared.".to_owned()),
        Some(Goal { state: GoalState::Active, verdict, turns, max_turns, .. }) => {
            let verdict = verdict.as_deref().map(|v| format!(": {v}")).unwrap_or_default();
            ("continuing", format!("Goal, turn {turns} of {max_turns}{verdict}"))
        }
        Some(Goal { state: GoalState::Paused(why), .. }) => {
            ("idle", format!("The goal waits: {why}"))
        }
        Some(Goal { state: GoalState::Done, .. }) => ("idle", "The goal is reached.".to_owned()),
    };
    Frame::new(
        "goal",
        json!({
            "session_id": session,
            "state": state,
            "message": message,
            "message_key": null,
            "goal": goal,
        }),
    )
}

/// Arguments as that protocol tells them: the first four, as text, cut.
fn args(args: &Value) -> Value {
    let Value::Object(args) = args else { return Value::Object(Map::new()) };
    let told = args.iter().take(ARGS).map(|(key, value)| {
        let text: String = python(value, false).chars().take(ARG).collect();
        (key.clone(), Value::String(text))
    });
    Value::Object(told.collect())
}

/// A value as Python's `str` writes it; `inner` for those inside of others.
fn python(value: &Value, inner: bool) -> String {
    let joined = |items: Vec<String>| items.join(", ");
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if inner => {
            let text = text.replace('\\', "\\\\").replace('\n', "\\n");
            match (text.contains('\''), text.contains('"')) {
                (true, false) => format!("\"{text}\""),
                _ => format!("'{}'", text.replace('\'', "\\'")),
            }
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", joined(items.iter().map(|item| python(item, true)).collect()))
        }
        Value::Object(items) => {
            let pair = |(key, value): (&String, &Value)| {
                format!("{}: {}", python(&json!(key), true), python(value, true))
            };
            format!("{{{}}}", joined(items.iter().map(pair).collect()))
        }
    }
}

/// The short text of a result: its output where it has one.
fn preview(text: &str) -> String {
    let parsed = serde_json::Deserializer::from_str(text).into_iter::<Value>().next();
    let output = match parsed {
        Some(Ok(Value::Object(result))) => {
            let of = |key: &str| {
                let text = result.get(key).and_then(Value::as_str).map(str::trim);
                text.filter(|text| !text.is_empty()).map(str::to_owned)
            };
            of("error").or_else(|| of("output"))
        }
        _ => None,
    };
    output.as_deref().unwrap_or(text).chars().take(PREVIEW).collect()
}

/// Seconds since the Unix epoch.
pub(crate) fn secs(at: Millis) -> f64 {
    at as f64 / 1000.0
}

#[cfg(test)]
mod tests;
