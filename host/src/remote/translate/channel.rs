//! What a session reports besides its messages and the stream of its turn: the session channel, the
//! status poll and the goal.

use super::Mirror;
use crate::wire::decode;
use protocol::{Event, Goal, GoalState, Toast};

impl Mirror {
    /// The status poll. `deaf`: the chat stream is not connected.
    pub(in crate::remote) fn status(&mut self, status: &decode::Status, deaf: bool) {
        self.entitle(&status.title);
        if !status.workspace.is_empty() && status.workspace != self.view.cwd {
            self.emit(Event::CwdChanged { cwd: status.workspace.clone() });
        }
        if !status.model.is_empty() && status.model != self.view.model {
            let context = self.view.gauge.length;
            self.emit(Event::ModelChanged { model: status.model.clone(), context });
        }
        let known = self.chat.as_ref().map(|chat| chat.stream.as_str());
        match (&status.active_stream_id, known) {
            (Some(stream), known) if known != Some(stream.as_str()) => self.load(),
            (None, Some(_)) if deaf => {
                self.keep_salvage();
                self.load();
            }
            // Some servers count otherwise here: one load a count.
            (None, None)
                if status.message_count != self.count
                    && self.counted != Some(status.message_count) =>
            {
                self.counted = Some(status.message_count);
                self.load();
            }
            _ => {}
        }
    }

    /// A frame of the session channel.
    pub(in crate::remote) fn channel(&mut self, name: &str, data: serde_json::Value) {
        match name {
            "server_turn_started" => {
                let started: decode::TurnStarted = decode::read(data);
                let known = self.chat.as_ref().is_some_and(|chat| chat.stream == started.stream_id);
                if self.concerns(&started.session_id) && !started.stream_id.is_empty() && !known {
                    self.load();
                }
            }
            "session-updated" => {
                let updated: decode::SessionUpdated = decode::read(data);
                if self.concerns(&updated.session_id) && updated.message_count != self.count {
                    self.load();
                }
            }
            "bg_task_complete" | "process_complete" => self.background(data),
            "initial" => {}
            other => self.ignored(other),
        }
    }

    /// Whether something is about the session in view (E06).
    pub(super) fn concerns(&self, session: &str) -> bool {
        session.is_empty() || session == self.view.session.0
    }

    /// Something ended or matched in the background. Sent on two channels, under two names (E11).
    pub(super) fn background(&mut self, data: serde_json::Value) {
        let event: decode::Background = decode::read(data);
        if !self.concerns(&event.session_id) || event.event_id.is_empty() {
            return;
        }
        if !self.reported.insert(format!("{}:{}", event.session_id, event.event_id)) {
            return;
        }
        let (news, text) = decode::news(&event.summary, event.completed_at);
        self.emit(Event::Toast(Toast {
            session: self.view.session.clone(),
            name: self.view.title.clone().unwrap_or_default(),
            process: Some(protocol::ProcessId(event.task_id)),
            news,
            text,
        }));
    }

    /// The goal as the server has it.
    pub(in crate::remote) fn goal(&mut self, goal: Option<decode::Goal>) {
        let goal = goal.filter(|goal| !goal.goal.is_empty()).map(|goal| Goal {
            text: goal.goal,
            state: match goal.status.as_str() {
                "paused" => GoalState::Paused(goal.paused_reason.unwrap_or_default()),
                "done" | "completed" | "achieved" => GoalState::Done,
                _ => GoalState::Active,
            },
            turns: goal.turns_used,
            max_turns: goal.max_turns,
            verdict: goal.last_reason,
        });
        if goal != self.view.goal {
            self.emit(Event::GoalChanged { goal });
        }
    }
}
