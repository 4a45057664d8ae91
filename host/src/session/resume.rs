//! What becomes of a turn that an earlier host left open: the decision, as a pure function. The
//! mark of such a turn is that its end is not stored.

use crate::store::OpenTurn;
use protocol::{
    Answer, Ask, Assistant, Body, CallId, LiveCall, Millis, Question, Row, Source, Stop, open_calls,
};

/// Automatic starts of a turn in a row without a new row; then it is held (R03).
const STARTS: u32 = 3;
/// The number of starts of a turn that the user has interrupted: it never starts again.
pub(super) const NEVER: u32 = u32::MAX;
/// The number of starts of a turn of a one-shot run: nobody waits for the rest of it.
pub(super) const ALONE: u32 = u32::MAX - 1;

/// What the model reads about a call that was cut off.
pub(super) const NOT_RUN_AGAIN: &str = "the host stopped while it ran; it was not run again";
/// What the model reads when it is to go on.
pub(super) const RECOVERY: &str = "[The host stopped while you worked on this, and runs again now. Go on where you were and \
     finish it. What has a result was done: do not do it again. What was interrupted may be done \
     in part: look first.]";
/// What the model reads after a prompt that is not taken up again, when something else is told.
pub(super) const LEFT: &str = "[The host stopped before this was answered. Do not act on it unless asked again; answer only \
     what happened in the background.]";

/// What the model reads where a question has run out of time: the next prompt is not its answer.
pub(super) const AWAITED: &str =
    "[Nobody answered in time, and the host stopped. Leave this until the user comes back to it.]";

/// An open turn and what the session knows of it.
pub(super) struct Case<'a> {
    pub(super) open: &'a OpenTurn,
    /// Its questions, with and without an answer.
    pub(super) questions: &'a [Question],
    /// Whether it carries completions that the model has not answered.
    pub(super) claims: bool,
    /// [`super::Rules::freshness`].
    pub(super) freshness: Option<Millis>,
    /// Whether the host before this one left it on purpose, for this one to go on with (P10).
    pub(super) handed_over: bool,
    /// [`super::Rules::unattended_wait`].
    pub(super) wait: Millis,
    pub(super) now: Millis,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It had done all there was to do: its end is stored, nothing runs (R02).
    Done,
    /// The user had interrupted it.
    Cancelled,
    /// It goes on.
    Resume {
        /// This call and those after it are run; others without a result were interrupted (R06).
        from: Option<CallId>,
        /// How often it was started by itself without a new row, this time included; `None` =
        /// this start does not count: it makes no request, or it is the first one of a completion.
        attempt: Option<u32>,
    },
    /// It does not go on by itself.
    Left(Why),
}

/// Why a turn does not go on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// What it did last was too long ago, or turns never go on (R01).
    Stale,
    /// An earlier start of it came to nothing (R03).
    Empty,
    /// It was started as often as it may (R03).
    Held,
    /// It asked the user something and got no answer in time (R04).
    Unanswered,
}

impl Why {
    /// For the user.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Stale | Self::Empty => {
                "The host stopped while this turn ran. What it had done is kept; send `continue` \
                 to go on."
            }
            Self::Held => {
                "The host stopped again and again while this turn ran, so it is held. What it had \
                 done is kept; send `continue` to try once more."
            }
            Self::Unanswered => {
                "The host stopped after a question of this turn had run out of time. The turn \
                 waits for you: send your answer, or `continue`."
            }
        }
    }
}

/// Decides about an open turn.
pub(super) fn decide(case: &Case<'_>) -> Verdict {
    let open = case.open;
    if open.attempts == NEVER {
        return Verdict::Cancelled;
    }
    if open.attempts == ALONE {
        return Verdict::Left(Why::Stale);
    }
    let streamed = !open.text.is_empty() || !open.reasoning.is_empty();
    let tail = tail(&open.rows);
    if let Some(Row { body: Body::Assistant(answer), .. }) = tail
        && !streamed
        && is_final(answer)
    {
        return Verdict::Done;
    }
    let answered = open.rows.iter().any(|row| matches!(row.body, Body::Assistant(_)));
    if open.source == Source::Wakeup && case.claims && !streamed && !answered {
        // Not a resume: what happened has never been answered, however old it is (W15, W16).
        return Verdict::Resume { from: None, attempt: None };
    }
    if tail.is_none() && !streamed {
        return Verdict::Done;
    }
    // A turn that tells again what has its row already has none of its own before its answer.
    let mut at = tail.map_or(open.started_at, |row| row.at);
    let mut from = None;
    let calls = unanswered_calls(&open.rows);
    let asks = |call: &CallId| calls.iter().any(|live| live.call.id == *call);
    let mut questions = case.questions.iter().filter(|q| asks(&q.call));
    if let Some(pending) = questions.clone().find(|q| q.answer.is_none()) {
        return if expiry(pending, case.wait) <= case.now {
            Verdict::Left(Why::Unanswered)
        } else {
            Verdict::Resume { from: Some(pending.call.clone()), attempt: None }
        };
    }
    if questions.clone().any(|q| q.answer == Some(Answer::Expired)) || ran_out(&open.rows) {
        return Verdict::Left(Why::Unanswered);
    }
    // An approved command may have begun. An answered question of the agent's own has only lost
    // the answer on its way.
    if let Some(given) = questions.find(|q| matches!(q.ask, Ask::Clarify { .. })) {
        from = Some(given.call.clone());
        at = at.max(given.deadline.unwrap_or(0));
    }

    let noted =
        tail.is_some_and(|row| matches!(row.body, Body::Note { .. }) && row.n == open.resumed_row);
    if noted && !streamed && open.attempts > 0 && !case.handed_over {
        return Verdict::Left(Why::Empty);
    }
    let window = case.freshness.filter(|window| *window > 0);
    let fresh =
        at > 0 && window.is_some_and(|window| case.now.abs_diff(at) <= window.unsigned_abs());
    if !fresh && !case.handed_over {
        return Verdict::Left(Why::Stale);
    }
    let last = open.rows.last().map_or(0, |row| row.n);
    let attempt = if last > open.resumed_row { 1 } else { open.attempts.saturating_add(1) };
    if attempt > STARTS {
        return Verdict::Left(Why::Held);
    }
    Verdict::Resume { from, attempt: Some(attempt) }
}

/// The last row of a turn that is work of its own.
pub(super) fn tail(rows: &[Row]) -> Option<&Row> {
    rows.iter().rev().find(|row| !matches!(row.body, Body::Failure { .. } | Body::Summary(_)))
}

fn is_final(answer: &Assistant) -> bool {
    answer.calls.is_empty() && matches!(answer.stop, Stop::End | Stop::Calls)
}

/// Whether a call of the last answer asked the user and ran out of time.
fn ran_out(rows: &[Row]) -> bool {
    let last = rows.iter().rev().take_while(|row| !matches!(row.body, Body::Assistant(_)));
    last.into_iter().any(|row| matches!(&row.body, Body::Tool(result) if result.unanswered))
}

/// When a question expires: by its own clock once it was shown, else after the time a question may
/// wait for somebody to come (C16).
pub(super) fn expiry(question: &Question, wait: Millis) -> Millis {
    question.deadline.unwrap_or(question.asked_at.saturating_add(wait))
}

/// Calls of the turn's last answer that have no result row, as they are shown.
pub(super) fn unanswered_calls(rows: &[Row]) -> Vec<LiveCall> {
    open_calls(rows).iter().map(LiveCall::waiting).collect()
}
