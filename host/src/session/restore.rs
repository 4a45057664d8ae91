//! A session from the store: after a restart, or when somebody opens it again.

use super::questions::clarify_result;
use super::resume::{
    self, Decision, LEFT, NOT_RUN_AGAIN, RECOVERY, Reason, Situation, UNANSWERED, unanswered_calls,
};
use super::turn::Turn;
use super::{Attendance, Effect, Effects, Ledger, Rules, Session, Stored, TurnKind};
use crate::store::{Loaded, OpenTurn, Record};
use protocol::{
    Answer, Ask, Body, CallId, Gauge, Millis, Outcome, Question, Row, Running, Source, ToolResult,
    Transcript, TurnId,
};

/// Why wakeups are held whose turn the host did not survive again and again (R03).
const AGAIN_AND_AGAIN: &str =
    "the host stopped again and again while it was answered; your next prompt or /wake goes on";

impl Session {
    /// Restores a stored session. What its host left unfinished is resumed or brought to an end
    /// ([`resume::decide`]): text becomes a partial answer, calls without a result are reported
    /// as interrupted (never run again, R06).
    ///
    /// For a one-shot run nothing starts by itself: what waits stays, or rides along with its
    /// prompt (W05, W26).
    pub(crate) fn restore(
        mut loaded: Loaded,
        attendance: Attendance,
        context: Option<u64>,
        rules: Rules,
        now: Millis,
    ) -> (Self, Vec<Effect>) {
        let (open, questions) = (loaded.open.take(), std::mem::take(&mut loaded.questions));
        let passive = attendance == Attendance::Stateless;
        let mut session = Self::from_stored(loaded, passive, context, rules);
        let mut out = Effects::default();
        if !passive {
            // Before the open turn is decided about: what is held because of that stays so (R03).
            session.resume_wakeups(now, &mut out);
        }
        if let Some(open) = open {
            session.restore_turn(open, questions, now, &mut out);
        } else {
            session.view.questions = questions;
            session.withdraw_questions(now, &mut out);
            session.requeue(&mut out);
        }
        session.start_next(now, &mut out);
        session.report(now, &mut out);
        session.show_holds(&mut out);
        (session, out.into_list())
    }

    /// The session as it is stored, but for its open turn and its questions.
    fn from_stored(loaded: Loaded, passive: bool, context: Option<u64>, rules: Rules) -> Self {
        let Loaded { meta, rows, earlier, turns, queued, processes, ledger, .. } = loaded;
        let mut session = Self::new(meta, context, rules);
        session.stored = Stored::Yes;
        session.passive = passive;
        session.turns = turns;
        let last = rows.last().map_or(earlier + rows.len() as u64, |last| last.n);
        session.next_row = last + 1;
        session.ledger = Ledger::restore(session.id(), ledger);
        let meta = &session.meta;
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
        if !passive {
            session.prompts = queued.into_iter().map(|q| (q, Attendance::Attended)).collect();
        }
        session
    }

    /// Restores a turn that was left open. It keeps its number, and what it had claimed.
    fn restore_turn(
        &mut self,
        open: OpenTurn,
        questions: Vec<Question>,
        now: Millis,
        out: &mut Effects,
    ) {
        let decision = self.decide_resumption(&open, &questions, now, out);
        let (turn, source) = (open.turn, open.source);
        let ends_with_answer = resume::tail(&open.rows).is_some_and(
            |row| matches!(&row.body, Body::Assistant(answer) if answer.calls.is_empty()),
        );
        let silent = !open.rows.iter().any(is_work);
        self.show_turn(open, questions, now);
        match decision {
            Decision::Complete => self.finish_turn(Outcome::Done, None, now, out),
            Decision::Cancelled => self.finish_turn(Outcome::Cancelled, None, now, out),
            Decision::GiveUp(reason) => self.give_up(source, reason, silent, now, out),
            Decision::Resume { from, attempt } => {
                let partial = self.keep_text(now, out);
                let cut = self.end_calls(NOT_RUN_AGAIN, from.as_ref(), now, out);
                let unclear = partial || ends_with_answer || cut > 0;
                if attempt.is_some() && from.is_none() && unclear {
                    self.add_row(turn, now, Body::Note { text: RECOVERY.to_owned() }, out);
                }
                self.drop_stray_questions(now, out);
                if let Some(attempt) = attempt {
                    self.mark_resumed(turn, attempt, out);
                }
                let plan = self.plan(turn, source, Attendance::Attended, TurnKind::Resume);
                out.push(Effect::Start(plan));
            }
        }
    }

    fn decide_resumption(
        &mut self,
        open: &OpenTurn,
        questions: &[Question],
        now: Millis,
        out: &mut Effects,
    ) -> Decision {
        // It counts once: what this host does not finish is judged by its age again.
        let handed_over = self.meta.handed_over.take() == Some(open.turn);
        if handed_over {
            out.record(Record::Session(self.meta.clone()));
        }
        if self.passive {
            // A one-shot run resumes nothing; it has its own prompt.
            return Decision::GiveUp(Reason::Stale);
        }
        resume::decide(&Situation {
            open,
            questions,
            claims: self.ledger.carries(),
            freshness: self.rules.freshness,
            handed_over,
            wait: self.rules.unattended_wait,
            now,
        })
    }

    /// Shows an open turn as the running one.
    fn show_turn(&mut self, open: OpenTurn, questions: Vec<Question>, now: Millis) {
        let OpenTurn { turn, source, started_at, n, text, reasoning, rows, .. } = open;
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
        let (answered, pending) = questions.into_iter().partition(|q| q.answer.is_some());
        self.view.questions = pending;
        self.turn = Some(Turn { answered, ..self.new_turn(turn, now) });
    }

    /// Ends a turn that is not resumed by itself, and says so. Completions that the model has not
    /// answered start a turn again: they are no part of what is given up (W15), unless answering
    /// them is what failed again and again.
    fn give_up(
        &mut self,
        source: Source,
        reason: Reason,
        silent: bool,
        now: Millis,
        out: &mut Effects,
    ) {
        self.settle_questions(reason, now, out);
        let silent = !self.keep_text(now, out) && silent;
        let carries = self.ledger.carries();
        let wakes_again = carries && (silent || reason != Reason::TooOften);
        let id = self.turns;
        let failure = (source == Source::User || !wakes_again).then(|| reason.text().to_owned());
        if carries && !wakes_again {
            // A hold, not a failure: another start of the host is no reason to try again.
            self.hold(AGAIN_AND_AGAIN, out);
        }
        self.requeue(out);
        self.finish_turn(Outcome::Interrupted, failure, now, out);
        if wakes_again && silent && source == Source::User {
            self.add_row(id, now, Body::Note { text: LEFT.to_owned() }, out);
        }
    }

    /// Gives the calls that asked the user a result: the answer that was on its way, or that there
    /// was none.
    fn settle_questions(&mut self, reason: Reason, now: Millis, out: &mut Effects) {
        let Some(turn) = &self.turn else { return };
        let id = turn.id;
        let results: Vec<ToolResult> = turn.answered.iter().filter_map(clarified).collect();
        for result in results {
            let open = self.view.running.iter().flat_map(|r| &r.calls);
            if open.clone().any(|live| live.call.id == result.call) {
                self.forget_answers(Some(&result.call), out);
                self.add_row(id, now, Body::Tool(result), out);
            }
        }
        if reason == Reason::Unanswered {
            self.end_calls("nobody answered in time, so it was not run", None, now, out);
            self.add_row(id, now, Body::Note { text: UNANSWERED.to_owned() }, out);
        }
    }

    /// Withdraws questions of calls that will not ask again.
    fn drop_stray_questions(&mut self, now: Millis, out: &mut Effects) {
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
    pub(super) fn mark_resumed(&self, turn: TurnId, attempt: u32, out: &mut Effects) {
        let row = self.next_row.saturating_sub(1);
        out.record(Record::Resumed { session: self.meta.id.clone(), turn, attempt, row });
    }
}

/// Whether a row is work of the agent.
fn is_work(row: &Row) -> bool {
    matches!(row.body, Body::Assistant(_) | Body::Tool(_))
}

/// The result of an answered question of the agent's own, as its tool would have given it.
fn clarified(question: &Question) -> Option<ToolResult> {
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
