//! A goal that the agent works on turn by turn (S08). After each turn that ended normally, the model
//! is asked whether the goal is reached; if not, the next turn starts by itself. Prompts and
//! completions that wait go first. A turn that did not end normally pauses it.

use super::turn::{Purpose, Turn};
use super::{Ack, Attendance, Effects, Reply, Session, TurnKind};
use protocol::{
    Body, Event, Failure, Goal, GoalAsk, GoalState, Millis, Outcome, PromptId, Queued, Stop,
    Storage, Subject,
};

/// Turns after which a goal waits for the user.
const MAX_TURNS: u32 = 20;
/// How the user resumes a paused one.
const RESUME_HINT: &str = "/goal resume goes on";
/// The prefix of the ids of prompts that set a new goal.
const PROMPT_PREFIX: &str = "goal-";

/// The next step of an active goal, when nothing else is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoalStep {
    /// To be judged. Also after a restart: whether its last turn was is not known.
    Judge,
    /// A turn.
    Turn,
}

/// The model's verdict on whether a goal is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoalVerdict {
    /// The goal is reached.
    pub(crate) done: bool,
    /// What shows it or what is missing, one line.
    pub(crate) reason: String,
}

/// Whether a prompt sets a new goal: the turn before it did not work on that one.
fn sets_goal(prompt: &Queued) -> bool {
    prompt.id.0.starts_with(PROMPT_PREFIX)
}

impl Session {
    /// The user sets the goal, or pauses, resumes or clears it.
    pub(super) fn goal(&mut self, ask: GoalAsk, now: Millis, out: &mut Effects) {
        let result = match (ask, self.meta.goal.clone()) {
            (GoalAsk::Set { text }, _) => self.set_goal(text.trim(), now, out),
            (GoalAsk::Clear, None) => Ok(()),
            (GoalAsk::Clear, Some(_)) => {
                self.change_goal(None, out);
                Ok(())
            }
            (GoalAsk::Pause | GoalAsk::Resume, None) => {
                Err("There is no goal. Set one with /goal and what is to be reached.".to_owned())
            }
            (GoalAsk::Pause, Some(goal)) => {
                if goal.state == GoalState::Active {
                    self.pause_goal("you paused it", out);
                }
                Ok(())
            }
            (GoalAsk::Resume, Some(Goal { state: GoalState::Done, .. })) => {
                Err("The goal is reached. Set a new one with /goal.".to_owned())
            }
            (GoalAsk::Resume, Some(goal)) => {
                if goal.state != GoalState::Active {
                    let spent = goal.turns >= goal.max_turns;
                    let turns = if spent { 0 } else { goal.turns };
                    self.goal_step = GoalStep::Turn;
                    let goal = Goal { state: GoalState::Active, turns, ..goal };
                    self.change_goal(Some(goal), out);
                }
                Ok(())
            }
        };
        if let Err(message) = result {
            let about = Subject::Goal;
            self.publish(Event::Failed(Failure { about, message }), out);
        }
    }

    /// A new goal; its text is the first prompt.
    fn set_goal(&mut self, text: &str, now: Millis, out: &mut Effects) -> Result<(), String> {
        if text.is_empty() {
            return Err("Say what is to be reached: /goal and the goal.".to_owned());
        }
        if self.meta.task.is_some() {
            return Err("This session works for another one; set the goal there.".to_owned());
        }
        let goal = Goal {
            text: text.to_owned(),
            state: GoalState::Active,
            turns: 0,
            max_turns: MAX_TURNS,
            verdict: None,
        };
        self.goal_step = GoalStep::Turn;
        self.change_goal(Some(goal), out);
        let id = PromptId(format!("{PROMPT_PREFIX}{}-{now}", self.turns));
        self.prompt(id, text.to_owned(), Attendance::Attended, now, out);
        Ok(())
    }

    fn change_goal(&mut self, goal: Option<Goal>, out: &mut Effects) {
        self.meta.goal.clone_from(&goal);
        self.store_meta(out);
        self.publish(Event::GoalChanged { goal }, out);
    }

    fn pause_goal(&mut self, reason: &str, out: &mut Effects) {
        if let Some(goal) = self.active_goal().cloned() {
            let state = GoalState::Paused(format!("{reason}; {RESUME_HINT}"));
            self.change_goal(Some(Goal { state, ..goal }), out);
        }
    }

    fn active_goal(&self) -> Option<&Goal> {
        self.meta.goal.as_ref().filter(|goal| goal.state == GoalState::Active)
    }

    /// Whether a goal makes turns start by themselves.
    pub(super) fn has_active_goal(&self) -> bool {
        self.active_goal().is_some() && !self.passive
    }

    /// Whether a turn that begins now works on the goal.
    pub(super) fn works_on_goal(&self) -> bool {
        self.active_goal().is_some() && !self.prompts.iter().any(|(prompt, _)| sets_goal(prompt))
    }

    /// Nothing else is to be done: starts a turn that judges the goal, or returns the text that its
    /// next turn begins with.
    pub(super) fn pursue_goal(&mut self, now: Millis, out: &mut Effects) -> Option<String> {
        let goal = self.active_goal().filter(|_| self.view.storage == Storage::Ok)?.clone();
        match self.goal_step {
            GoalStep::Turn => Some(continuation(&goal)),
            GoalStep::Judge => {
                // Whatever the outcome, it is not judged twice in a row.
                self.goal_step = GoalStep::Turn;
                let kind = TurnKind::Judge { goal: goal.text, turns: goal.turns };
                self.start_internal(Purpose::Judge, kind, now, out);
                None
            }
        }
    }

    /// The model has judged the goal; no verdict = its answer cannot be read, so work continues.
    pub(super) fn judged(
        &mut self,
        goal: &str,
        verdict: Option<GoalVerdict>,
        ack: Ack,
        out: &mut Effects,
    ) {
        out.reply(ack, Reply::Go);
        // The user may have changed it meanwhile.
        let Some(known) = self.active_goal().filter(|known| known.text == goal) else { return };
        let mut goal = known.clone();
        match verdict {
            Some(GoalVerdict { done: true, reason }) => {
                goal.state = GoalState::Done;
                goal.verdict = Some(reason);
            }
            Some(GoalVerdict { done: false, reason }) => goal.verdict = Some(reason),
            None => goal.verdict = Some("the model gave no verdict that can be read".to_owned()),
        }
        if goal.state == GoalState::Active && goal.turns >= goal.max_turns {
            let most = goal.max_turns;
            goal.state =
                GoalState::Paused(format!("{most} turns have worked on it; {RESUME_HINT}"));
        }
        self.change_goal(Some(goal), out);
    }

    /// The model could not be asked.
    pub(super) fn not_judged(&mut self, reason: &str, out: &mut Effects) {
        self.pause_goal(&format!("whether it is reached could not be found out: {reason}"), out);
    }

    /// A turn has ended: work on the goal continues only after one that ended normally.
    pub(super) fn update_goal(&mut self, turn: &Turn, outcome: &Outcome, out: &mut Effects) {
        match turn.purpose {
            Purpose::Answer | Purpose::Compress => {}
            Purpose::Judge => self.after_judgement(outcome, out),
            Purpose::Goal => self.after_goal_turn(outcome, out),
        }
    }

    fn after_judgement(&mut self, outcome: &Outcome, out: &mut Effects) {
        match outcome {
            Outcome::Cancelled => self.pause_goal("you interrupted it", out),
            Outcome::Failed { class } => self.not_judged(&class.replace('_', " "), out),
            // The next host asks again.
            Outcome::Done | Outcome::Limit | Outcome::Interrupted => {}
        }
    }

    fn after_goal_turn(&mut self, outcome: &Outcome, out: &mut Effects) {
        let Some(goal) = self.active_goal().cloned() else { return };
        let turns = goal.turns.saturating_add(1);
        self.change_goal(Some(Goal { turns, ..goal }), out);
        self.goal_step = GoalStep::Judge;
        let last = self.view.rows.iter().rev().find_map(|row| match &row.body {
            Body::Assistant(answer) => Some(answer.stop),
            _ => None,
        });
        match outcome {
            Outcome::Done if last == Some(Stop::Partial) => {
                self.pause_goal("the last answer was cut off", out);
            }
            Outcome::Done => {}
            Outcome::Cancelled => self.pause_goal("you interrupted it", out),
            Outcome::Failed { class } => {
                let reason = format!("its turn failed ({})", class.replace('_', " "));
                self.pause_goal(&reason, out);
            }
            Outcome::Limit => self.pause_goal("its turn reached a limit", out),
            Outcome::Interrupted => {
                self.pause_goal("the host stopped while it was worked on", out);
            }
        }
    }
}

/// The text that a turn begins with which continues work on the goal.
fn continuation(goal: &Goal) -> String {
    let missing = match goal.verdict.as_deref() {
        None | Some("") => String::new(),
        Some(verdict) => {
            format!(" What is missing, as far as can be seen: {}.", verdict.trim_end_matches('.'))
        }
    };
    format!(
        "[Go on working towards the goal: {}.{missing} Do what is next. If nothing is left that \
         you can do, say so and why.]",
        goal.text.trim_end_matches('.')
    )
}
