//! Whether a turn that an earlier host left open is resumed: the decision, as a pure function. The
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
pub(super) const ONE_SHOT: u32 = u32::MAX - 1;

/// What the model reads about a call that was cut off.
pub(super) const NOT_RUN_AGAIN: &str = "the host stopped while it ran; it was not run again";
/// What the model reads when its turn is resumed.
pub(super) const RECOVERY: &str = "[The host stopped while you worked on this, and runs again now. Go on where you were and \
     finish it. What has a result was done: do not do it again. What was interrupted may be done \
     in part: look first.]";
/// What the model reads after a prompt that is given up, when background events follow.
pub(super) const LEFT: &str = "[The host stopped before this was answered. Do not act on it unless asked again; answer only \
     what happened in the background.]";

/// What the model reads where a question has run out of time: the next prompt is not its answer.
pub(super) const UNANSWERED: &str =
    "[Nobody answered in time, and the host stopped. Leave this until the user comes back to it.]";

/// An open turn and the session's knowledge of it.
pub(super) struct Situation<'a> {
    pub(super) open: &'a OpenTurn,
    /// Its questions, with and without an answer.
    pub(super) questions: &'a [Question],
    /// Whether it carries completions that the model has not answered.
    pub(super) claims: bool,
    /// [`super::Rules::freshness`].
    pub(super) freshness: Option<Millis>,
    /// Whether the host before this one left it on purpose, for this one to resume (P10).
    pub(super) handed_over: bool,
    /// [`super::Rules::unattended_wait`].
    pub(super) wait: Millis,
    pub(super) now: Millis,
}

/// The decision about an open turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It had done all there was to do: its end is stored, nothing runs (R02).
    Complete,
    /// The user had interrupted it.
    Cancelled,
    /// It is resumed.
    Resume {
        /// This call and those after it are run; others without a result were interrupted (R06).
        from: Option<CallId>,
        /// How often it was started by itself without a new row, this time included; `None` =
        /// this start does not count: it makes no request, or it is the first one of a completion.
        attempt: Option<u32>,
    },
    /// It is not resumed by itself.
    GiveUp(Reason),
}

/// Why a turn is not resumed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// What it did last was too long ago, or turns are never resumed (R01).
    Stale,
    /// An earlier start of it made no progress (R03).
    NoProgress,
    /// It was started as often as it may (R03).
    TooOften,
    /// It asked the user something and got no answer in time (R04).
    Unanswered,
}

impl Reason {
    /// The message to the user.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Stale | Self::NoProgress => {
                "The host stopped while this turn ran. What it had done is kept; send `continue` \
                 to go on."
            }
            Self::TooOften => {
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
pub(super) fn decide(situation: &Situation<'_>) -> Decision {
    let open = situation.open;
    match open.attempts {
        NEVER => return Decision::Cancelled,
        ONE_SHOT => return Decision::GiveUp(Reason::Stale),
        _ => {}
    }
    let streamed = has_streamed(open);
    let tail = tail(&open.rows);
    if !streamed && tail.is_some_and(is_final) {
        return Decision::Complete;
    }
    let answered = open.rows.iter().any(|row| matches!(row.body, Body::Assistant(_)));
    if open.source == Source::Wakeup && situation.claims && !streamed && !answered {
        // Not a resumption: what happened has never been answered, however old it is (W15, W16).
        return Decision::Resume { from: None, attempt: None };
    }
    if tail.is_none() && !streamed {
        return Decision::Complete;
    }
    decide_by_questions(situation).unwrap_or_else(|| {
        // A turn that carries what has its row already has no row of its own before its answer.
        let at = tail.map_or(open.started_at, |row| row.at);
        // An approved command may have begun. An answered question of the agent's own has only
        // lost the answer on its way.
        let given = open_questions(situation).find(|q| matches!(q.ask, Ask::Clarify { .. }));
        let answered_at = given.and_then(|q| q.deadline).unwrap_or(0);
        decide_by_age(situation, given.map(|q| q.call.clone()), at.max(answered_at))
    })
}

/// Questions of calls that have no result.
fn open_questions<'a>(situation: &Situation<'a>) -> impl Iterator<Item = &'a Question> {
    let calls = unanswered_calls(&situation.open.rows);
    let questions = situation.questions.iter();
    questions.filter(move |q| calls.iter().any(|live| live.call.id == q.call))
}

/// A turn that waited for the user goes on waiting, for as long as the question does.
fn decide_by_questions(situation: &Situation<'_>) -> Option<Decision> {
    if let Some(pending) = open_questions(situation).find(|q| q.answer.is_none()) {
        let expired = expiry(pending, situation.wait) <= situation.now;
        return Some(if expired {
            Decision::GiveUp(Reason::Unanswered)
        } else {
            Decision::Resume { from: Some(pending.call.clone()), attempt: None }
        });
    }
    let expired = open_questions(situation).any(|q| q.answer == Some(Answer::Expired));
    let unanswered = expired || ran_out(&situation.open.rows);
    unanswered.then_some(Decision::GiveUp(Reason::Unanswered))
}

/// Resumes a turn that did something at that time, unless that was too long ago or was tried too
/// often.
fn decide_by_age(situation: &Situation<'_>, from: Option<CallId>, at: Millis) -> Decision {
    let open = situation.open;
    let noted = tail(&open.rows)
        .is_some_and(|row| matches!(row.body, Body::Note { .. }) && row.n == open.resumed_row);
    if noted && !has_streamed(open) && open.attempts > 0 && !situation.handed_over {
        return Decision::GiveUp(Reason::NoProgress);
    }
    let window = situation.freshness.filter(|window| *window > 0);
    let age = situation.now.abs_diff(at);
    let fresh = at > 0 && window.is_some_and(|window| age <= window.unsigned_abs());
    if !fresh && !situation.handed_over {
        return Decision::GiveUp(Reason::Stale);
    }
    let last = open.rows.last().map_or(0, |row| row.n);
    let attempt = if last > open.resumed_row { 1 } else { open.attempts.saturating_add(1) };
    if attempt > STARTS {
        return Decision::GiveUp(Reason::TooOften);
    }
    Decision::Resume { from, attempt: Some(attempt) }
}

/// Whether it has text that no row holds.
fn has_streamed(open: &OpenTurn) -> bool {
    !open.text.is_empty() || !open.reasoning.is_empty()
}

/// The last row of a turn that is work of its own.
pub(super) fn tail(rows: &[Row]) -> Option<&Row> {
    rows.iter().rev().find(|row| !matches!(row.body, Body::Failure { .. } | Body::Summary(_)))
}

/// Whether a row is an answer that ends a turn.
fn is_final(row: &Row) -> bool {
    matches!(&row.body, Body::Assistant(Assistant { calls, stop, .. })
        if calls.is_empty() && matches!(stop, Stop::End | Stop::Calls))
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
