//! The stream of a running turn (E03, E10, E15).

use serde_json::Value;

use super::{Mirror, Request, is_prompt, rows};
use crate::wire::decode;
use protocol::{
    Activity, Assistant, Body, CallId, Event, Millis, Outcome, Part, Row, SessionId, Stop,
    ToolCall, ToolResult, Usage,
};

impl Mirror {
    /// A frame of the chat stream. `id` is `STREAM:number`, if the frame has one.
    pub(in crate::remote) fn chat(
        &mut self,
        name: &str,
        data: Value,
        id: Option<&str>,
        now: Millis,
    ) {
        let Some(chat) = &mut self.chat else { return };
        if let Some((stream, seq)) = id.and_then(|id| id.rsplit_once(':')) {
            if stream != chat.stream {
                return;
            }
            let seq: u64 = seq.parse().unwrap_or(0);
            // These are not in the server's journal and carry the number of the frame before.
            let unnumbered = matches!(name, "bg_task_complete" | "process_complete" | "cancel");
            // A frame without an id carries that of the one before, too.
            let known = seq < chat.seq || seq == chat.seq && chat.again;
            if seq != 0 && known && !unnumbered {
                return;
            }
            if seq > chat.seq {
                (chat.seq, chat.again) = (seq, false);
            }
        }
        match name {
            "token" => self.token(Part::Text, decode::read(data)),
            "reasoning" => self.token(Part::Reasoning, decode::read(data)),
            "interim_assistant" => {
                let said: decode::Interim = decode::read(data);
                if !said.already_streamed {
                    let text = said.text;
                    self.token(Part::Text, decode::Spoken { text, ..Default::default() });
                }
            }
            "tool" => self.tool(&decode::read(data), now),
            "tool_complete" => self.tool_complete(&decode::read(data), now),
            "approval" | "clarify" => {
                // A replay tells old ones too; what is pending now is known elsewhere.
                if !self.out.requests.contains(&Request::Questions) {
                    self.request(Request::Questions);
                }
            }
            "metering" => self.metering(decode::read::<decode::Metering>(data).usage),
            "compressing" | "warning" => {
                let said: decode::Spoken = decode::read(data);
                self.waits(&said.message);
            }
            "compressed" => {
                let compressed: decode::Compressed = decode::read(data);
                self.metering(compressed.usage);
                let next = if compressed.new_session_id.is_empty() {
                    compressed.continuation_session_id
                } else {
                    compressed.new_session_id
                };
                self.moved(&next);
                self.waits(&compressed.message);
            }
            "goal" => self.request(Request::Goal),
            "goal_continue" => {
                let next: decode::Spoken = decode::read(data);
                self.queue.continuation = Some(next.continuation_prompt).filter(|t| !t.is_empty());
                self.request(Request::Goal);
            }
            "pending_steer_leftover" => {
                let left: decode::Spoken = decode::read(data);
                if self.view.steer.is_some() {
                    self.emit(Event::Steered { text: None });
                }
                self.leftover(&left.text);
            }
            "bg_task_complete" | "process_complete" => self.background(data),
            "title" | "title_status" => {
                let title: decode::Title = decode::read(data);
                self.entitle(&title.title);
            }
            "done" => self.done(decode::read(data), now),
            "stream_end" => {
                if self.chat.as_ref().is_some_and(|chat| !chat.done) {
                    self.load();
                } else {
                    self.close();
                }
            }
            "cancel" => {
                let cancelled: decode::Cancelled = decode::read(data);
                self.finish(cancelled.session.as_ref(), Outcome::Cancelled, now);
                self.close();
            }
            "apperror" | "error" => self.broke(decode::read(data), now),
            "context_status" | "state_saved" | "todo_state" => {}
            other => self.ignored(other),
        }
    }

    /// A connection to the stream of the turn is open.
    pub(in crate::remote) fn chat_opened(&mut self) {
        if let Some(chat) = &mut self.chat {
            chat.again = chat.seq > 0;
        }
    }

    /// The stream of the turn is gone for good: only the stored messages can tell the rest.
    pub(in crate::remote) fn chat_lost(&mut self) {
        if self.chat.as_ref().is_some_and(|chat| chat.done) {
            return self.close();
        }
        self.keep_salvage();
        self.resync();
    }

    fn token(&mut self, part: Part, said: decode::Spoken) {
        let Some((chat, running)) = self.chat.as_mut().zip(self.view.running.as_ref()) else {
            return;
        };
        let begun = match part {
            Part::Text => !running.text.is_empty(),
            Part::Reasoning => !running.reasoning.is_empty(),
        };
        // After a tool the server puts an empty line before the text.
        let text = if begun { said.text.as_str() } else { said.text.trim_start_matches('\n') };
        if text.is_empty() {
            return;
        }
        chat.deltas += 1;
        let (turn, n, text) = (chat.turn, chat.deltas, text.to_owned());
        self.emit(Event::Delta { turn, n, part, text });
    }

    fn waits(&mut self, message: &str) {
        if let Some(running) = &self.view.running
            && !message.is_empty()
        {
            let turn = running.turn;
            self.emit(Event::TurnStatus {
                turn,
                text: Some(message.to_owned()),
                activity: Activity::Compressing,
            });
        }
    }

    fn metering(&mut self, usage: Option<decode::UsageNumbers>) {
        let Some(usage) = usage else { return };
        let gauge = rows::gauge(usage.last_prompt_tokens, usage.context_length);
        let Some(prompt) = gauge.used else { return };
        if self.metered == Some(usage) && self.view.gauge == gauge {
            return;
        }
        self.metered = Some(usage);
        let usage = Usage {
            prompt,
            completion: usage.output_tokens,
            cached: usage.cache_read_tokens,
            ..Usage::default()
        };
        let context = gauge.length.or(self.view.gauge.length);
        self.emit(Event::UsageReported { usage, context });
    }

    fn add(&mut self, body: Body, at: Millis) {
        let Some(chat) = &self.chat else { return };
        let row = Row { n: self.last() + 1, turn: chat.turn, at, cut: 0, body };
        self.emit(Event::RowAdded { row });
    }

    fn is_called(&self, id: &CallId) -> bool {
        let of_turn = self.view.rows.iter().rev().take_while(|row| !is_prompt(&row.body));
        let mut answers = of_turn.filter_map(|row| match &row.body {
            Body::Assistant(answer) => Some(answer),
            _ => None,
        });
        answers.any(|answer| answer.calls.iter().any(|call| call.id == *id))
    }

    fn tool(&mut self, frame: &decode::ToolFrame, now: Millis) {
        let call = ToolCall {
            id: CallId(frame.tid.clone()),
            name: frame.name.clone(),
            args: rows::live_args(&frame.args),
        };
        if self.is_called(&call.id) {
            return;
        }
        let Some(running) = &self.view.running else { return };
        let (id, fresh) =
            (call.id.clone(), running.text.is_empty() && running.reasoning.is_empty());
        if !running.calls.is_empty() && fresh {
            self.join_call(call);
        } else {
            self.answer(vec![call], Stop::Calls, now);
        }
        self.emit(Event::CallStarted { call: id, at: now });
    }

    /// Makes the streamed text a row.
    fn answer(&mut self, calls: Vec<ToolCall>, stop: Stop, now: Millis) {
        let Some(running) = &self.view.running else { return };
        let (text, reasoning) = (running.text.clone(), running.reasoning.clone());
        let answer = Assistant { text, reasoning, calls, stop, opaque: Value::Null };
        self.add(Body::Assistant(answer), now);
    }

    /// A call beside others that run still: all are of one answer, which is told again.
    fn join_call(&mut self, call: ToolCall) {
        let rows = &self.view.rows;
        let Some(at) = rows.iter().rposition(|row| matches!(row.body, Body::Assistant(_))) else {
            return;
        };
        let mut again: Vec<Row> = rows[at..].to_vec();
        if let Body::Assistant(answer) = &mut again[0].body {
            answer.calls.push(call);
        }
        let started: Vec<_> = self
            .view
            .running
            .iter()
            .flat_map(|running| &running.calls)
            .filter_map(|live| live.started_at.map(|at| (live.call.id.clone(), at)))
            .collect();
        self.tell(again[0].n - 1, &again);
        for (call, at) in started {
            self.emit(Event::CallStarted { call, at });
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float saturates"
    )]
    fn tool_complete(&mut self, frame: &decode::ToolFrame, now: Millis) {
        let id = CallId(frame.tid.clone());
        if !self.is_called(&id) {
            // Its beginning was before this view.
            self.tool(frame, now);
        }
        let Some(running) = &self.view.running else { return };
        let Some(live) = running.calls.iter().find(|live| live.call.id == id) else { return };
        let ran = live.started_at.map_or(0, |at| u64::try_from(now - at).unwrap_or(0));
        let millis = if frame.duration > 0.0 { (frame.duration * 1000.0) as u64 } else { ran };
        self.durations.insert(id.clone(), millis);
        let result = ToolResult {
            call: id,
            name: frame.name.clone(),
            text: frame.preview.clone(),
            failed: frame.is_error,
            millis,
            unanswered: false,
        };
        self.add(Body::Tool(result), now);
        if self.view.steer.is_some() {
            self.emit(Event::Steered { text: None });
        }
    }

    /// The session goes on under another id.
    fn moved(&mut self, next: &str) {
        if next.is_empty() || next == self.view.session.0 {
            return;
        }
        let (from, to) = (self.view.session.clone(), SessionId(next.to_owned()));
        let transcript =
            Box::new(protocol::Transcript { session: to.clone(), ..self.view.clone() });
        self.emit(Event::Attached { transcript, resynced: false });
        self.request(Request::Follow { from, to });
    }

    fn done(&mut self, done: decode::Done, now: Millis) {
        self.metering(done.usage);
        let said = [done.terminal_state.as_str(), done.terminal_reason.as_str()];
        let is = |word: &str| said.iter().any(|said| said.contains(word));
        let outcome = if is("tool_limit") {
            Outcome::Limit
        } else if is("error") {
            Outcome::Failed { class: "error".to_owned() }
        } else if is("interrupted-by-user") || is("cancel") {
            Outcome::Cancelled
        } else if is("interrupted") {
            Outcome::Interrupted
        } else {
            Outcome::Done
        };
        self.finish(done.session.as_ref(), outcome, now);
    }

    /// The turn has ended. The session in its last frame is what was stored.
    fn finish(&mut self, session: Option<&decode::Session>, outcome: Outcome, now: Millis) {
        let Some(chat) = &mut self.chat else { return };
        if std::mem::replace(&mut chat.done, true) {
            return;
        }
        chat.well = outcome == Outcome::Done;
        // What was streamed stands until something stored takes its place.
        let left = self.view.running.as_ref().is_some_and(|r| !r.text.is_empty());
        let stored = session.filter(|session| !session.messages.is_empty());
        if left && stored.is_none() {
            let stop = if outcome == Outcome::Done { Stop::End } else { Stop::Partial };
            self.answer(Vec::new(), stop, now);
        }
        if let Some(session) = stored {
            self.moved(&session.session_id);
            self.count = session.message_count;
            let rows = rows::rows(session, &self.durations);
            if self.meets_whole(&rows) {
                self.sync(&rows);
            } else {
                self.load();
            }
            self.described(session);
        } else {
            self.load();
        }
        self.ended(outcome, now);
    }

    /// Like `meets`, for a session that comes with all its messages.
    fn meets_whole(&self, rows: &[Row]) -> bool {
        let first = self.view.rows.first().map_or(1, |row| row.n);
        rows.first().is_none_or(|row| row.n <= first)
            && rows.last().is_some_and(|row| row.n >= first)
    }

    fn broke(&mut self, error: decode::AppError, now: Millis) {
        if error.recovery_control {
            if error.offline_dropped_events == 0 {
                self.keep_salvage();
            }
            self.resync();
            return;
        }
        self.moved(&error.new_session_id);
        let cancelled = error.kind == "cancelled";
        let outcome = match error.kind.as_str() {
            "cancelled" => Outcome::Cancelled,
            "tool_limit_reached" => Outcome::Limit,
            "interrupted" => Outcome::Interrupted,
            "" => Outcome::Failed { class: "error".to_owned() },
            kind => Outcome::Failed { class: kind.to_owned() },
        };
        let stored = error.session.as_ref().filter(|session| !session.messages.is_empty());
        if stored.is_none() && !cancelled {
            if self.view.running.as_ref().is_some_and(|r| !r.text.is_empty()) {
                self.answer(Vec::new(), Stop::Partial, now);
            }
            let said = if error.message.is_empty() { error.error } else { error.message };
            let hint =
                if error.hint.is_empty() { String::new() } else { format!("\n{}", error.hint) };
            self.add(Body::Failure { message: format!("{said}{hint}") }, now);
        }
        self.finish(error.session.as_ref(), outcome, now);
        self.close();
    }

    /// Keeps what was streamed of a turn whose server is gone: no stored message has it.
    pub(super) fn keep_salvage(&mut self) {
        let Some(chat) = &self.chat else { return };
        let turn = chat.turn;
        let begun = self.view.rows.iter().rposition(|row| is_prompt(&row.body));
        let mut kept: Vec<Row> = self.view.rows[begun.map_or(0, |at| at + 1)..].to_vec();
        if let Some(running) = &self.view.running
            && !(running.text.is_empty() && running.reasoning.is_empty())
        {
            let body = Body::Assistant(Assistant {
                text: running.text.clone(),
                reasoning: running.reasoning.clone(),
                calls: Vec::new(),
                stop: Stop::Partial,
                opaque: Value::Null,
            });
            let at = running.started_at;
            kept.push(Row { n: self.last() + 1, turn, at, cut: 0, body });
        }
        self.salvage = kept;
    }

    /// The stream needs no reading any more (E10).
    fn close(&mut self) {
        let Some(chat) = self.chat.take() else { return };
        self.request(Request::CloseChat);
        if !chat.well {
            self.queue.continuation = None;
        }
        self.flush();
    }
}
