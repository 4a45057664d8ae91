//! The end of a turn: what it leaves in the transcript, and what becomes of the events it carried.

use super::resume;
use super::turn::Turn;
use super::{Effects, Reply, Session};
use crate::store::Record;
use protocol::{
    Assistant, Body, CallId, Delivery, Event, Millis, Outcome, Process, Stop, Storage, ToolResult,
    TurnId,
};

/// What the next turn reads after a prompt that was interrupted before anything was answered.
const INTERRUPTED: &str = "[The user interrupted this before it was answered. Do not act on it \
                           unless asked again.]";
/// The class of a failure of the host's own store.
pub(crate) const STORE: &str = "store";
/// Rows kept in the host's window of a session; views page older ones in.
const WINDOW: usize = 400;

impl Session {
    /// The running turn is over. Also called for one that has not reported its end, and for one
    /// that an earlier host left open.
    pub(super) fn finish_turn(
        &mut self,
        outcome: Outcome,
        failure: Option<String>,
        now: Millis,
        out: &mut Effects,
    ) {
        self.withdraw_questions(now, out);
        self.keep_text(now, out);
        let reason = match outcome {
            Outcome::Interrupted => resume::NOT_RUN_AGAIN,
            Outcome::Done | Outcome::Cancelled | Outcome::Failed { .. } | Outcome::Limit => {
                "interrupted by the user"
            }
        };
        self.end_calls(reason, None, now, out);
        let Some(mut turn) = self.turn.take() else { return };
        let outcome = if turn.is_cancelled() { Outcome::Cancelled } else { outcome };
        self.end_waits(&mut turn, out);
        self.add_end_rows(&turn, &outcome, failure, now, out);
        let polled = std::mem::take(&mut self.meta.polled);
        if !polled.is_empty() {
            out.record(Record::Session(self.meta.clone()));
        }
        if matches!(outcome, Outcome::Done | Outcome::Limit) {
            for process in polled {
                self.consume(&process, out);
            }
        }
        self.settle_claims(&turn, &outcome, now, out);
        self.record_turn_end(turn.id, outcome.clone(), now, out);
        self.update_goal(&turn, &outcome, out);
        self.view.trim(WINDOW);
        self.queue_remark(out);
    }

    /// Calls that wait for the end of a task get a reply, and ends that were kept back for a call
    /// that never showed them are announced.
    fn end_waits(&self, turn: &mut Turn, out: &mut Effects) {
        for (_, ack) in std::mem::take(&mut turn.end_waits) {
            out.reply(ack, Reply::Refused("the turn is over".to_owned()));
        }
        for id in std::mem::take(&mut turn.awaited) {
            if let Some(process) = self.process(&id).filter(|p| p.delivery == Delivery::Waiting) {
                self.announce(process, out);
            }
        }
    }

    /// The rows that say how the turn ended, where its own rows do not.
    fn add_end_rows(
        &mut self,
        turn: &Turn,
        outcome: &Outcome,
        failure: Option<String>,
        now: Millis,
        out: &mut Effects,
    ) {
        let mut own_rows = self.view.rows.iter().rev().take_while(|r| r.turn == turn.id);
        let silent = !own_rows.any(|r| matches!(r.body, Body::Assistant(_) | Body::Tool(_)));
        if *outcome == Outcome::Cancelled && silent && !turn.purpose.is_internal() {
            self.add_row(turn.id, now, Body::Note { text: INTERRUPTED.to_owned() }, out);
        }
        if let (Some(message), false) = (failure, turn.is_cancelled()) {
            self.add_row(turn.id, now, Body::Failure { message }, out);
        }
    }

    /// Decides about the events that the turn carried and the model has not answered. None is lost,
    /// and none is only logged (W29).
    fn settle_claims(&mut self, turn: &Turn, outcome: &Outcome, now: Millis, out: &mut Effects) {
        match outcome {
            Outcome::Done | Outcome::Limit => {
                // A compression may have made no request (W20).
                if !self.ledger.carries() && !turn.purpose.is_internal() {
                    self.end_pause(out);
                }
                self.put_off("no answer", turn, now, out);
            }
            // What a cancelled turn carried counts as delivered; what waits is held (W22).
            Outcome::Cancelled => {
                let delivered = self.ledger.deliver(turn.id);
                self.apply_transitions(delivered, out);
                if self.ledger.waiting() > 0 || self.view.processes.iter().any(Process::may_wake) {
                    let reason = "you interrupted the turn; your next prompt or /wake goes on";
                    self.hold(reason, out);
                }
            }
            // The claim itself could not be stored: it waits for the store.
            Outcome::Failed { class } if class == STORE && self.view.storage != Storage::Ok => {
                self.requeue(out);
            }
            Outcome::Failed { class } => self.put_off(class, turn, now, out),
            Outcome::Interrupted => self.requeue(out),
        }
    }

    /// What the running turn carries waits again.
    pub(super) fn requeue(&mut self, out: &mut Effects) {
        let requeued = self.ledger.requeue();
        self.apply_transitions(requeued, out);
    }

    fn record_turn_end(&mut self, turn: TurnId, outcome: Outcome, at: Millis, out: &mut Effects) {
        let session = self.id();
        self.enable_matches(turn, at, out);
        out.record(Record::TurnEnded { session, turn, outcome: outcome.clone(), at });
        self.publish(Event::TurnEnded { turn, outcome, at }, out);
    }

    /// Keeps text that was streamed but never became a row, marked partial (R07); whether there was
    /// any.
    pub(super) fn keep_text(&mut self, now: Millis, out: &mut Effects) -> bool {
        let Some(running) = self.view.running.clone() else { return false };
        if running.text.is_empty() && running.reasoning.is_empty() {
            return false;
        }
        let answer = Assistant {
            text: running.text,
            reasoning: running.reasoning,
            stop: Stop::Partial,
            ..Assistant::default()
        };
        self.add_answer(answer, now, out);
        true
    }

    /// Gives calls without a result one that says why, so that no call stays open in the context:
    /// all, or those before a call that is run again. Returns how many.
    pub(super) fn end_calls(
        &mut self,
        reason: &str,
        before: Option<&CallId>,
        now: Millis,
        out: &mut Effects,
    ) -> usize {
        let Some(running) = self.view.running.clone() else { return 0 };
        let ended = running.calls.into_iter().take_while(|live| Some(&live.call.id) != before);
        let mut count = 0;
        for live in ended {
            self.forget_answers(Some(&live.call.id), out);
            let result = ToolResult {
                call: live.call.id,
                text: unfinished(&live.call.name, &live.output, reason),
                name: live.call.name,
                failed: true,
                millis: live.started_at.map_or(0, |at| (now - at).max(0) as u64),
                unanswered: false,
            };
            self.add_row(running.turn, now, Body::Tool(result), out);
            count += 1;
        }
        count
    }
}

/// The result of a call that was cut off.
fn unfinished(tool: &str, output: &str, reason: &str) -> String {
    let value = if tool == "terminal" {
        let output =
            if output.is_empty() { String::new() } else { format!("{}\n", output.trim_end()) };
        let output = crate::redact::plain(&output);
        let output = format!("{}[Command interrupted]", crate::redact::secrets(&output));
        serde_json::json!({ "output": output, "exit_code": 130, "error": reason })
    } else if tool == "delegate_task" && reason == resume::NOT_RUN_AGAIN {
        let tasks = "Tasks that it had begun go on; you are told when they end.";
        serde_json::json!({ "error": format!("{reason}. {tasks}") })
    } else {
        serde_json::json!({ "error": reason })
    };
    value.to_string()
}
