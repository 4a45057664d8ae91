//! The goal that the agent works towards turn by turn (S08): as one line and in full.

use protocol::{Goal, GoalState};

use crate::clean::{head, one_line};
use crate::numbers::count;

/// Bytes of a goal that are read at most.
const MAX_BYTES: usize = 2_000;

/// One line for a goal that is not reached, and whether it waits for the user.
pub(crate) fn line(goal: &Goal) -> Option<(String, bool)> {
    let turns = format!("{}/{}", goal.turns, goal.max_turns);
    let text = one_line(head(&goal.text, MAX_BYTES));
    match &goal.state {
        GoalState::Active => Some((format!("goal · {turns} · {text}"), false)),
        GoalState::Paused(why) => {
            let why = one_line(head(why, MAX_BYTES));
            let why = if why.is_empty() { String::new() } else { format!(" · {why}") };
            Some((format!("goal paused · {turns}{why} · {text}"), true))
        }
        GoalState::Done => None,
    }
}

/// The goal and its state, in two or three lines.
pub(crate) fn describe(goal: Option<&Goal>) -> String {
    let Some(goal) = goal else { return "no goal is set; /goal TEXT sets one".to_owned() };
    let text = one_line(head(&goal.text, MAX_BYTES));
    let turns = count(goal.turns, "turn");
    let state = match &goal.state {
        GoalState::Active => format!("active: {turns} of {}", goal.max_turns),
        GoalState::Paused(why) => {
            let why = one_line(head(why, MAX_BYTES));
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("paused after {turns} of {}{why}; /goal resume continues", goal.max_turns)
        }
        GoalState::Done => format!("reached after {turns}; /goal clear removes it"),
    };
    let verdict = goal.verdict.as_deref().map(|verdict| one_line(head(verdict, MAX_BYTES)));
    let verdict = verdict.filter(|verdict| !verdict.is_empty());
    let verdict = verdict.map_or_else(String::new, |verdict| format!("\n{verdict}"));
    format!("goal: {text}\n{state}{verdict}")
}
