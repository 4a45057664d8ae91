//! Events of the running turn: what they do to the session.

use std::fmt::Write as _;

use super::turn::Turn;
use super::{Ack, ConsumeAt, Effects, FinishedCall, Reply, Session, TurnEvent};
use crate::store::Record;
use protocol::{
    Assistant, Body, Event, Gauge, Millis, Part, ProcessId, Queued, Row, TurnId, Usage,
};

impl Session {
    pub(super) fn turn_event(
        &mut self,
        turn: TurnId,
        ack: Ack,
        event: TurnEvent,
        now: Millis,
        out: &mut Effects,
    ) {
        match event {
            // Facts about a process hold whether its turn still runs or not.
            TurnEvent::Running { process, pid } => self.process_runs(&process, Some(pid), out),
            TurnEvent::FailedStart { process, exit } => {
                self.failed_start(turn, &process, exit, now, out);
            }
            // So does what a request has cost.
            TurnEvent::Used(usage) => {
                self.count(&usage, out);
                self.touch(now, out);
            }
            event => match self.refusal(turn, &event) {
                Some(reason) => out.reply(ack, Reply::Refused(reason.to_owned())),
                None => self.running_turn_event(turn, ack, event, now, out),
            },
        }
    }

    /// Why an event of that turn has no effect: it is over, so that what it still reports never
    /// touches its successor (W23), or it was interrupted and begins something new.
    fn refusal(&self, turn: TurnId, event: &TurnEvent) -> Option<&'static str> {
        let running = self.turn.as_ref();
        let begins = matches!(
            event,
            TurnEvent::Spawn(_) | TurnEvent::Delegate { .. } | TurnEvent::Ask { .. }
        );
        if begins && running.is_some_and(Turn::is_cancelled) {
            return Some("the turn was interrupted");
        }
        running.is_none_or(|running| running.id != turn).then_some("the turn is over")
    }

    fn running_turn_event(
        &mut self,
        turn: TurnId,
        ack: Ack,
        event: TurnEvent,
        now: Millis,
        out: &mut Effects,
    ) {
        match event {
            TurnEvent::Delta { part, text } => self.delta(turn, part, text, out),
            TurnEvent::Status { text, activity } => {
                self.publish(Event::TurnStatus { turn, text, activity }, out);
            }
            TurnEvent::Answered { answer, usage, context } => {
                self.answered(answer, usage, context, ack, now, out);
            }
            TurnEvent::CallStarted(call) => {
                self.publish(Event::CallStarted { call, at: now }, out);
                out.reply(ack, Reply::Go);
            }
            TurnEvent::CallOutput { call, text } => {
                self.publish(Event::CallOutput { call, text }, out);
            }
            TurnEvent::Result(finished) => self.result(finished, ack, now, out),
            TurnEvent::Awaiting(process) => self.awaiting(process),
            TurnEvent::Processes => {
                out.reply(ack, Reply::Processes(self.view.processes.clone()));
            }
            TurnEvent::Delegate { process, brief, waits } => {
                self.delegate(*process, brief, waits, ack, now, out);
            }
            TurnEvent::AwaitEnd(process) => self.await_end(&process, ack, out),
            TurnEvent::Compressed(summary) => self.compressed(summary, ack, now, out),
            TurnEvent::NotCompressed { message, failed } => {
                self.not_compressed(message, failed, now, out);
            }
            TurnEvent::Judged { goal, verdict } => self.judged(&goal, verdict, ack, out),
            TurnEvent::NotJudged(reason) => self.not_judged(&reason, out),
            TurnEvent::Ask { call, ask, timeout } => self.ask(call, ask, timeout, ack, now, out),
            TurnEvent::Spawn(process) => self.spawn(*process, ack, now, out),
            TurnEvent::Killing(process) => self.killing(&process, ack, out),
            TurnEvent::Ended { outcome, failure } => self.finish_turn(outcome, failure, now, out),
            // Handled before, for a turn that is over too.
            TurnEvent::Running { .. } | TurnEvent::FailedStart { .. } | TurnEvent::Used(_) => {}
        }
    }

    fn delta(&mut self, turn: TurnId, part: Part, text: String, out: &mut Effects) {
        let n = self.view.running.as_ref().map_or(0, |r| r.n) + 1;
        out.record(Record::Delta { session: self.id(), turn, n, part, text: text.clone() });
        self.publish(Event::Delta { turn, n, part, text }, out);
    }

    fn answered(
        &mut self,
        answer: Assistant,
        usage: Option<Usage>,
        context: Option<u64>,
        ack: Ack,
        now: Millis,
        out: &mut Effects,
    ) {
        let row = self.add_answer(answer, now, out);
        if let Some(usage) = usage {
            self.meta.gauge = Gauge { used: Some(usage.prompt), length: context };
            self.count(&usage, out);
            self.touch(now, out);
            self.publish(Event::UsageReported { usage, context }, out);
        }
        self.deliver(out);
        out.reply(ack, Reply::Row(row));
    }

    /// Makes a row of what was streamed; the journal of the block is folded into it.
    pub(super) fn add_answer(&mut self, answer: Assistant, now: Millis, out: &mut Effects) -> Row {
        let (turn, n) = self.view.running.as_ref().map_or((self.turns, 0), |r| (r.turn, r.n));
        let row = self.add_row(turn, now, Body::Assistant(answer), out);
        out.record(Record::Folded { session: self.id(), turn, n });
        row
    }

    /// The model has answered: what the turn carried is delivered.
    fn deliver(&mut self, out: &mut Effects) {
        let Some(turn) = self.turn.as_ref().map(|turn| turn.id) else { return };
        if self.ledger.carries() && self.meta.retry.take().is_some() {
            out.record(Record::Session(self.meta.clone()));
        }
        let delivered = self.ledger.deliver(turn);
        self.apply_transitions(delivered, out);
    }

    fn awaiting(&mut self, process: ProcessId) {
        if let Some(turn) = &mut self.turn {
            turn.awaited.insert(process);
        }
    }

    fn result(&mut self, finished: FinishedCall, ack: Ack, now: Millis, out: &mut Effects) {
        let FinishedCall { mut result, seen, shell, todo } = finished;
        if let Some(Queued { text, .. }) = self.take_remark(out) {
            let _ = write!(result.text, "\n\n[The user says, while this turn runs: {text}]");
        }
        for (process, when) in seen {
            match (when, &self.turn) {
                (ConsumeAt::TurnEnd, Some(_)) => {
                    self.meta.polled.insert(process);
                }
                (ConsumeAt::Now | ConsumeAt::TurnEnd, _) => self.consume(&process, out),
            }
        }
        // A call that is over waits for no answer, whatever it asked before a restart.
        self.withdraw(|q| q.call == result.call, now, out);
        self.forget_answers(Some(&result.call), out);
        let row = self.add_row(self.turns, now, Body::Tool(result), out);
        if let Some(todo) = todo {
            self.meta.todo = todo;
        }
        if let Some(shell) = shell {
            let stays = self.turn.as_ref().is_some_and(|turn| turn.user_moved);
            self.meta.env = shell.env;
            if !stays && self.meta.cwd != shell.cwd {
                self.meta.cwd.clone_from(&shell.cwd);
                self.publish(Event::CwdChanged { cwd: shell.cwd }, out);
            }
        }
        self.touch(now, out);
        out.reply(ack, Reply::Row(row));
    }
}
