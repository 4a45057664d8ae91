//! A session from the store: after a restart, or when somebody opens it again.

use std::collections::VecDeque;

use super::{Caller, Effect, Out, Rules, Session, Stored};
use crate::protocol::{Body, Gauge, LiveCall, Millis, Outcome, Running, Transcript, TurnId};
use crate::store::{Entry, Loaded, Stage};

/// What the user reads when a turn did not survive the host.
const CUT_OFF: &str = "The host stopped while this turn ran. What it had done is kept; \
                       send `continue` to go on.";

impl Session {
    /// Takes up a stored session. What its host left unfinished is brought to an end or waits
    /// again: text becomes a partial answer, calls without a result are reported as interrupted
    /// (never run again, R06), events that the model has not answered to wait for a turn.
    ///
    /// For a one-shot run nothing starts by itself: what waits stays, or rides along with its
    /// prompt (W05, W26).
    pub(crate) fn restore(
        loaded: Loaded,
        caller: Caller,
        context: Option<u64>,
        rules: Rules,
        now: Millis,
    ) -> (Self, Vec<Effect>) {
        let Loaded {
            meta,
            rows,
            earlier,
            turns,
            open,
            queued,
            questions,
            processes,
            ledger,
            damage: _,
        } = loaded;
        let mut session = Self::new(meta.clone(), context, rules);
        session.stored = Stored::Yes;
        session.passive = caller == Caller::Stateless;
        session.turns = turns;
        session.next_row = earlier + rows.len() as u64 + 1;
        if let Some(last) = rows.last() {
            session.next_row = last.n + 1;
        }
        session.view = Transcript {
            title: meta.title.clone(),
            earlier,
            rows,
            queued: queued.clone(),
            questions,
            processes,
            unattended: meta.wakeups_in_a_row,
            gauge: Gauge { used: meta.gauge.used, length: context.or(meta.gauge.length) },
            ..session.view
        };
        if !session.passive {
            session.prompts =
                queued.into_iter().map(|q| (q, Caller::Attended)).collect::<VecDeque<_>>();
        }
        let mut out = Out::default();
        let mut claimed = Vec::new();
        for entry in ledger {
            match entry.state {
                Stage::Finished | Stage::Held(_) => session.waiting.push(entry),
                Stage::Claimed(_) => claimed.push(entry),
                Stage::Spawned
                | Stage::Delivered(_)
                | Stage::Consumed
                | Stage::Stale
                | Stage::Orphaned => {}
            }
        }
        session.waiting.sort_by_key(|e| e.at);
        if let Some(open) = open {
            session.close_open_turn(open, claimed, now, &mut out);
        } else {
            session.requeue(claimed, &Stage::Finished, &mut out);
        }
        if !session.passive {
            session.resume_wakeups(now, &mut out);
        }
        session.start_next(now, &mut out);
        session.show_holds(&mut out);
        (session, out.effects)
    }

    fn close_open_turn(
        &mut self,
        open: crate::store::OpenTurn,
        claimed: Vec<Entry>,
        now: Millis,
        out: &mut Out,
    ) {
        let calls = unanswered_calls(&open.rows);
        self.view.running = Some(Running {
            turn: open.turn,
            source: open.source,
            started_at: open.started_at,
            n: open.n,
            reasoning: open.reasoning,
            text: open.text,
            calls,
            status: None,
            cancelling: false,
        });
        self.withdraw_questions(out);
        self.keep_partial(&Outcome::Interrupted, now, out);
        self.cut_off(open.turn, claimed, now, out);
        self.end_turn(open.turn, Outcome::Interrupted, now, out);
    }

    /// A wakeup whose turn the model never answered runs again by itself; a turn of the user's
    /// says that it was cut off.
    pub(super) fn cut_off(
        &mut self,
        turn: TurnId,
        claimed: Vec<Entry>,
        now: Millis,
        out: &mut Out,
    ) {
        if claimed.is_empty() {
            self.add_row(turn, now, Body::Failure { message: CUT_OFF.to_owned() }, out);
        }
        self.requeue(claimed, &Stage::Finished, out);
    }

    /// Processes whose supervisors the loop must look for.
    pub(crate) fn live_processes(&self) -> Vec<crate::protocol::ProcessId> {
        self.view.processes.iter().filter(|p| p.is_live()).map(|p| p.id.clone()).collect()
    }

    /// Whether anything of it may still happen by itself.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.turn.is_none()
            && self.waiting.is_empty()
            && self.prompts.is_empty()
            && !self.view.processes.iter().any(crate::protocol::Process::is_live)
    }
}

/// Calls of the turn's last answer that have no result row.
fn unanswered_calls(rows: &[crate::protocol::Row]) -> Vec<LiveCall> {
    let mut calls = Vec::new();
    for row in rows {
        match &row.body {
            Body::Assistant(answer) => {
                calls = answer.calls.iter().map(LiveCall::waiting).collect();
            }
            Body::Tool(result) => calls.retain(|c: &LiveCall| c.call.id != result.call),
            Body::User { .. }
            | Body::Wakeup(_)
            | Body::Summary(_)
            | Body::Note { .. }
            | Body::Failure { .. } => {}
        }
    }
    calls
}
