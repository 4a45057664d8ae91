//! A session from the store: after a restart, or when somebody opens it again.

use std::collections::VecDeque;

use super::questions::clarify_result;
use super::resume::{
    self, AWAITED, Case, LEFT, NOT_RUN_AGAIN, RECOVERY, Verdict, Why, unanswered_calls,
};
use super::{Attendance, Effect, Out, Rules, Session, Stored, TurnKind};
use crate::store::{Entry, Loaded, OpenTurn, Record, Stage};
use protocol::{
    Answer, Ask, Body, CallId, Gauge, Millis, News, Outcome, Question, Running, Source, ToolResult,
    Transcript, TurnId,
};

/// Why wakeups are held whose turn the host did not survive again and again (R03).
const AGAIN_AND_AGAIN: &str =
    "the host stopped again and again while it was answered; your next prompt or /wake goes on";

impl Session {
    /// Takes up a stored session. What its host left unfinished goes on or is brought to an end
    /// ([`resume::decide`]): text becomes a partial answer, calls without a result are reported
    /// as interrupted (never run again, R06).
    ///
    /// For a one-shot run nothing starts by itself: what waits stays, or rides along with its
    /// prompt (W05, W26).
    pub(crate) fn restore(
        loaded: Loaded,
        attendance: Attendance,
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
        session.passive = attendance == Attendance::Stateless;
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
            processes,
            unattended: meta.wakeups_in_a_row,
            gauge: Gauge { used: meta.gauge.used, length: context.or(meta.gauge.length) },
            ..session.view
        };
        for prompt in &queued {
            if !session.knows_prompt(&prompt.id) {
                session.remember_prompt(&prompt.id);
            }
        }
        if !session.passive {
            session.prompts =
                queued.into_iter().map(|q| (q, Attendance::Attended)).collect::<VecDeque<_>>();
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
        if !session.passive {
            // Before the open turn is looked at: what is held because of that stays so (R03).
            session.resume_wakeups(now, &mut out);
        }
        if let Some(open) = open {
            session.take_up(open, claimed, questions, now, &mut out);
        } else {
            session.view.questions = questions;
            session.withdraw_questions(now, &mut out);
            session.requeue(claimed, &Stage::Finished, &mut out);
        }
        session.start_next(now, &mut out);
        session.report(now, &mut out);
        session.show_holds(&mut out);
        (session, out.effects)
    }

    /// Takes up a turn that was left open. It keeps its number, and what it had claimed.
    fn take_up(
        &mut self,
        open: OpenTurn,
        claimed: Vec<Entry>,
        questions: Vec<Question>,
        now: Millis,
        out: &mut Out,
    ) {
        // It counts once: what this host does not finish is judged by its age again.
        let handed_over = self.meta.handed_over.take() == Some(open.turn);
        if handed_over {
            out.record(Record::Session(self.meta.clone()));
        }
        let verdict = if self.passive {
            // A one-shot run goes on with nothing but its own prompt.
            Verdict::Left(Why::Stale)
        } else {
            resume::decide(&Case {
                open: &open,
                questions: &questions,
                claims: !claimed.is_empty(),
                freshness: self.rules.freshness,
                handed_over,
                wait: self.rules.unattended_wait,
                now,
            })
        };
        let OpenTurn { turn, source, started_at, n, text, reasoning, rows, .. } = open;
        let ends = resume::tail(&rows).is_some_and(|row| match &row.body {
            Body::Assistant(answer) => answer.calls.is_empty(),
            _ => false,
        });
        let silent = !rows.iter().any(|row| matches!(row.body, Body::Assistant(_) | Body::Tool(_)));
        self.view.running = Some(Running {
            turn,
            source,
            started_at,
            n,
            reasoning,
            text,
            calls: unanswered_calls(&rows),
            status: None,
            cancelling: false,
        });
        let mut running = self.begun(turn, claimed, now);
        (running.answered, self.view.questions) =
            questions.into_iter().partition(|q| q.answer.is_some());
        self.turn = Some(running);
        self.last_fingerprint.clone_from(&self.rules.fingerprint);
        match verdict {
            Verdict::Done => self.ended(Outcome::Done, None, now, out),
            Verdict::Cancelled => self.ended(Outcome::Cancelled, None, now, out),
            Verdict::Left(why) => self.leave(source, why, silent, now, out),
            Verdict::Resume { from, attempt } => {
                let partial = self.keep_text(now, out);
                let cut = self.end_calls(NOT_RUN_AGAIN, from.as_ref(), now, out);
                if attempt.is_some() && from.is_none() && (partial || ends || cut > 0) {
                    self.add_row(turn, now, Body::Note { text: RECOVERY.to_owned() }, out);
                }
                self.drop_stray_questions(now, out);
                if let Some(attempt) = attempt {
                    self.mark_resumed(turn, attempt, out);
                }
                let attendance = match self.meta.task {
                    Some(_) => Attendance::Delegated,
                    None => Attendance::Attended,
                };
                out.effects.push(Effect::Start(self.plan(
                    turn,
                    source,
                    attendance,
                    TurnKind::Resume,
                )));
            }
        }
    }

    /// Ends a turn that does not go on by itself, and says so. Completions that the model has not
    /// answered are told again: they are no part of what is given up (W15), unless telling them
    /// is what failed again and again.
    fn leave(&mut self, source: Source, why: Why, silent: bool, now: Millis, out: &mut Out) {
        self.settle_asked(why, now, out);
        let silent = !self.keep_text(now, out) && silent;
        let claimed = self.turn.as_mut().map(|t| std::mem::take(&mut t.claimed));
        let claimed = claimed.unwrap_or_default();
        let told_again = !claimed.is_empty() && (silent || why != Why::Held);
        let id = self.turns;
        let failure = (source == Source::User || !told_again).then(|| why.text().to_owned());
        if !claimed.is_empty() && !told_again {
            // A hold, not a failure: another start of the host is no reason to try again.
            self.hold(AGAIN_AND_AGAIN, out);
        }
        self.requeue(claimed, &Stage::Finished, out);
        self.ended(Outcome::Interrupted, failure, now, out);
        if told_again && silent && source == Source::User {
            self.add_row(id, now, Body::Note { text: LEFT.to_owned() }, out);
        }
    }

    /// Gives the calls that asked the user a result: the answer that was on its way, or that there
    /// was none.
    fn settle_asked(&mut self, why: Why, now: Millis, out: &mut Out) {
        let Some(turn) = &self.turn else { return };
        let id = turn.id;
        let given: Vec<ToolResult> = turn.answered.iter().filter_map(given).collect();
        for result in given {
            let open = self.view.running.iter().flat_map(|r| &r.calls);
            if open.clone().any(|live| live.call.id == result.call) {
                self.forget_answers(Some(&result.call), out);
                self.add_row(id, now, Body::Tool(result), out);
            }
        }
        if why == Why::Unanswered {
            let why = "nobody answered in time, so it was not run";
            self.end_calls(why, None, now, out);
            self.add_row(id, now, Body::Note { text: AWAITED.to_owned() }, out);
        }
    }

    /// Questions of calls that will not ask again are nobody's.
    fn drop_stray_questions(&mut self, now: Millis, out: &mut Out) {
        let calls: Vec<CallId> = self
            .view
            .running
            .iter()
            .flat_map(|running| &running.calls)
            .map(|live| live.call.id.clone())
            .collect();
        self.withdraw(|q| !calls.contains(&q.call), now, out);
    }

    /// Stores that a turn was started by itself (R03).
    pub(super) fn mark_resumed(&self, turn: TurnId, attempt: u32, out: &mut Out) {
        let row = self.next_row.saturating_sub(1);
        out.record(Record::Resumed { session: self.meta.id.clone(), turn, attempt, row });
    }

    /// The host stops. The running turn stays open with all it has: the next host goes on with it.
    pub(super) fn stop(&mut self, now: Millis, out: &mut Out) {
        self.stopping = true;
        let Some(turn) = &self.turn else { return };
        if turn.cancelled || turn.aim.is_internal() || self.passive {
            // A compression that was cut off has changed nothing: nobody needs to know.
            let failure = (!turn.aim.is_internal()).then(|| Why::Stale.text().to_owned());
            self.ended(Outcome::Interrupted, failure, now, out);
        } else {
            self.queue_remark(out);
        }
    }

    /// The turn that was left open is meant to go on, however late the next host comes (P10).
    pub(super) fn hand_over(&mut self, out: &mut Out) {
        let left = self.turn.as_ref().map(|turn| turn.id);
        if left.is_some() && self.meta.handed_over != left {
            self.meta.handed_over = left;
            out.record(Record::Session(self.meta.clone()));
        }
    }

    /// When the running turn is to say that it still works (R10).
    pub(super) fn note_due(&self) -> Option<Millis> {
        let waits = !self.view.questions.is_empty();
        self.turn.as_ref().filter(|_| !waits)?.note_at
    }

    /// Says that the running turn still works, if it is time (R10).
    pub(super) fn note_long_turn(&mut self, now: Millis, out: &mut Out) {
        if self.note_due().is_none_or(|due| due > now) {
            return;
        }
        let interval = self.rules.notify_interval;
        let Some(turn) = &mut self.turn else { return };
        let elapsed = now.saturating_sub(turn.since).max(0);
        turn.note_at = interval.map(|interval| now.saturating_add(interval));
        let text = format!("still working, for {} min now", elapsed / 60_000);
        self.toast(None, News::Working { elapsed }, text, out);
    }

    /// Processes whose supervisors the loop must look for.
    pub(crate) fn live_processes(&self) -> impl Iterator<Item = &protocol::Process> {
        self.view.processes.iter().filter(|p| p.is_live() && p.worker().is_none())
    }

    /// Whether a turn runs that may come to its end without the user.
    pub(crate) fn works(&self) -> bool {
        self.turn.is_some() && self.view.questions.is_empty()
    }

    /// Whether anything of it may still happen by itself.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.turn.is_none()
            && self.waiting.is_empty()
            && self.prompts.is_empty()
            && !self.is_driven()
            && !self.view.processes.iter().any(protocol::Process::is_live)
    }
}

/// The result of an answered question of the agent's own, as its tool would have given it.
fn given(question: &Question) -> Option<ToolResult> {
    let (Ask::Clarify { question: asked, choices }, Some(Answer::Text(text))) =
        (&question.ask, &question.answer)
    else {
        return None;
    };
    Some(ToolResult {
        call: question.call.clone(),
        name: "clarify".to_owned(),
        text: clarify_result(asked, choices, text).to_string(),
        failed: false,
        millis: 0,
        unanswered: false,
    })
}
