//! The fold of events into a [`Transcript`]: the single definition of a session's state.

use crate::event::Event;
use crate::id::{CallId, Millis, TurnId};
use crate::row::{Body, Row};
use crate::session::Gauge;
use crate::transcript::Transcript;
use crate::turn::{LiveCall, Part, Running, Source};

impl Transcript {
    /// Applies an event. This is the single definition of a session's state.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Attached { transcript, .. } => *self = (**transcript).clone(),
            Event::TurnStarted { turn, source, at } => self.start_turn(*turn, *source, *at),
            Event::Delta { n, part, text, .. } => self.add_delta(*n, *part, text),
            Event::TurnStatus { text, .. } => self.on_turn(|turn| turn.status.clone_from(text)),
            Event::RowAdded { row } => self.add_row(row),
            Event::CallStarted { call, at } => {
                self.on_call(call, |live| live.started_at = Some(*at));
            }
            Event::CallOutput { call, text } => self.on_call(call, |live| live.print(text)),
            Event::TurnCancelling { .. } => self.on_turn(|turn| turn.cancelling = true),
            Event::TurnEnded { .. } => self.running = None,
            Event::PromptQueued { prompt } => self.queued.push(prompt.clone()),
            Event::PromptUnqueued { id } => self.queued.retain(|q| q.id != *id),
            Event::Steered { text } => self.steer.clone_from(text),
            Event::QuestionAsked { question } => {
                replace(&mut self.questions, question, |q| q.id == question.id);
            }
            Event::QuestionResolved { id, .. } => self.questions.retain(|q| q.id != *id),
            Event::ProcessChanged { process } => {
                replace(&mut self.processes, process, |p| p.id == process.id);
            }
            Event::ProcessForgotten { id } => self.processes.retain(|p| p.id != *id),
            Event::Held { reason } => self.held.clone_from(reason),
            Event::Unattended { wakeups } => self.unattended = *wakeups,
            Event::UsageReported { usage, context } => {
                self.gauge = Gauge { used: Some(usage.prompt), length: *context };
            }
            Event::ModelChanged { model, context } => {
                self.model.clone_from(model);
                self.gauge.length = *context;
            }
            Event::TitleChanged { title } => {
                self.title = Some(title.clone()).filter(|title| !title.is_empty());
            }
            Event::CwdChanged { cwd } => self.cwd.clone_from(cwd),
            Event::StorageChanged { storage } => self.storage.clone_from(storage),
            Event::Paged { rows, earlier } => self.add_older_rows(rows, *earlier),
            Event::RowsRemoved { after } => self.remove_rows(*after),
            Event::YoloChanged { yolo } => self.yolo = *yolo,
            Event::ReasoningChanged { effort } => self.reasoning.clone_from(effort),
            Event::GoalChanged { goal } => self.goal.clone_from(goal),
            Event::AttachmentsChanged { attachments } => self.attachments.clone_from(attachments),
            Event::TokensCounted { tokens } => self.tokens = *tokens,
            Event::ToolsetsChanged { toolsets } => self.toolsets.clone_from(toolsets),
            // Of the host, or answers to one view: no state of the session.
            Event::Toast(_)
            | Event::SessionsChanged
            | Event::InboxChanged { .. }
            | Event::Switched { .. }
            | Event::Link { .. }
            | Event::SessionsFound { .. }
            | Event::WorkspacesListed { .. }
            | Event::ProfilesListed { .. }
            | Event::Exported { .. }
            | Event::ProcessTail { .. }
            | Event::SessionsListed { .. }
            | Event::ProcessesListed { .. }
            | Event::ModelsListed { .. }
            | Event::AsideSaid { .. }
            | Event::AsideEnded { .. }
            | Event::Failed(_) => {}
        }
    }

    fn start_turn(&mut self, turn: TurnId, source: Source, started_at: Millis) {
        self.running = Some(Running {
            turn,
            source,
            started_at,
            n: 0,
            reasoning: String::new(),
            text: String::new(),
            calls: Vec::new(),
            status: None,
            cancelling: false,
        });
    }

    fn on_turn(&mut self, change: impl FnOnce(&mut Running)) {
        self.running.as_mut().map(change);
    }

    fn on_call(&mut self, id: &CallId, change: impl FnOnce(&mut LiveCall)) {
        self.on_turn(|turn| {
            turn.calls.iter_mut().find(|live| live.call.id == *id).map(change);
        });
    }

    fn add_delta(&mut self, n: u64, part: Part, text: &str) {
        self.on_turn(|turn| {
            turn.n = n;
            turn.status = None;
            match part {
                Part::Text => turn.text.push_str(text),
                Part::Reasoning => turn.reasoning.push_str(text),
            }
        });
    }

    fn add_row(&mut self, row: &Row) {
        if let Body::Summary(summary) = &row.body {
            self.gauge.used = Some(summary.after);
        }
        self.on_turn(|turn| match &row.body {
            Body::Assistant(answer) => {
                turn.text.clear();
                turn.reasoning.clear();
                turn.status = None;
                turn.calls = answer.calls.iter().map(LiveCall::waiting).collect();
            }
            Body::Tool(result) => turn.calls.retain(|c| c.call.id != result.call),
            Body::Summary(_) => turn.status = None,
            Body::User { .. } | Body::Wakeup(_) | Body::Note { .. } | Body::Failure { .. } => {}
        });
        self.rows.push(row.clone());
    }

    /// A window that reaches further back already learns nothing.
    fn add_older_rows(&mut self, rows: &[Row], earlier: u64) {
        let known = self.rows.first().map_or(u64::MAX, |r| r.n);
        if rows.first().is_none_or(|oldest| oldest.n < known) {
            self.rows.splice(0..0, rows.iter().filter(|r| r.n < known).cloned());
            self.earlier = earlier;
        }
    }

    fn remove_rows(&mut self, after: u64) {
        self.rows.retain(|row| row.n <= after);
        self.earlier = self.earlier.min(after);
        // The last count includes what is gone.
        self.gauge.used = None;
    }
}

/// Replaces the older version of a value, or appends it.
fn replace<T: Clone>(values: &mut Vec<T>, value: &T, is_same: impl FnMut(&&mut T) -> bool) {
    match values.iter_mut().find(is_same) {
        Some(known) => known.clone_from(value),
        None => values.push(value.clone()),
    }
}

#[cfg(test)]
mod tests;
