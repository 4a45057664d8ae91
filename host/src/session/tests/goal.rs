//! A goal that the agent works on turn by turn.

use super::*;
use crate::session::GoalVerdict;
use protocol::Subject;
use protocol::{Goal, GoalAsk, GoalState};

fn set(rig: &mut Rig, text: &str) -> Vec<Effect> {
    rig.feed(Input::Goal(GoalAsk::Set { text: text.to_owned() }))
}

fn goal(rig: &Rig) -> Goal {
    assert_eq!(rig.view.goal, rig.session.meta().goal, "front ends see what is stored");
    rig.view.goal.clone().unwrap()
}

/// What the running turn is for.
fn kind(rig: &Rig) -> Option<TurnKind> {
    let mut started = rig.effects.iter().rev().filter_map(|e| match e {
        Effect::Start(plan) => Some(plan.kind.clone()),
        _ => None,
    });
    rig.session.turn.as_ref().and_then(|_| started.next())
}

fn judges(rig: &Rig) -> bool {
    matches!(kind(rig), Some(TurnKind::Judge { .. }))
}

fn turn(rig: &mut Rig) {
    rig.answer("worked");
    rig.end();
}

fn verdict(rig: &mut Rig, verdict: Option<(bool, &str)>) {
    let Some(TurnKind::Judge { goal, .. }) = kind(rig) else { panic!("{:?}", kind(rig)) };
    let verdict = verdict.map(|(done, reason)| GoalVerdict { done, reason: reason.to_owned() });
    rig.event(TurnEvent::Judged { goal, verdict });
    rig.end();
}

fn ends(rig: &mut Rig, outcome: Outcome) {
    rig.event(TurnEvent::Ended { outcome, failure: None });
}

fn paused(rig: &Rig) -> Option<String> {
    match goal(rig).state {
        GoalState::Paused(why) => Some(why),
        GoalState::Active | GoalState::Done => None,
    }
}

/// The session as the next host finds it.
fn restarted(rig: &Rig) -> Rig {
    let loaded = Loaded {
        meta: rig.session.meta().clone(),
        rows: rig.session.transcript().rows.clone(),
        turns: rig.session.turns,
        ..Loaded::default()
    };
    let rules = Rules::default();
    let (session, effects) =
        Session::restore(loaded, Attendance::Attended, Some(1000), rules, rig.now);
    let view = session.transcript().clone();
    Rig { session, now: rig.now, prompts: 50, effects, view }
}

#[test]
fn a_goal_goes_on_turn_by_turn_until_it_is_reached() {
    // S08
    let mut rig = Rig::new();
    set(&mut rig, " build it ");
    assert_eq!(kind(&rig), Some(TurnKind::Answer));
    assert_eq!(rig.session.transcript().rows[0].text(), "build it");
    turn(&mut rig);
    assert!(judges(&rig));
    assert_eq!(rig.rows(), ["user", "assistant"], "the judgement leaves no row");
    verdict(&mut rig, Some((false, "no tests yet")));
    assert_eq!(rig.rows(), ["user", "assistant", "note"]);
    let note = rig.session.transcript().rows[2].text().to_owned();
    assert!(note.contains("build it") && note.contains("no tests yet"), "{note}");
    assert_eq!(goal(&rig).turns, 1);
    turn(&mut rig);
    verdict(&mut rig, Some((true, "tests pass")));
    let reached = goal(&rig);
    assert_eq!((reached.state, reached.turns), (GoalState::Done, 2));
    assert_eq!(reached.verdict.as_deref(), Some("tests pass"));
    assert!(rig.session.turn.is_none() && rig.session.is_at_rest());
    assert_eq!(&rig.view, rig.session.transcript());
}

#[test]
fn a_turn_that_did_not_end_well_pauses_it_with_the_reason() {
    // S08
    let failed = Outcome::Failed { class: "rate_limit".to_owned() };
    for (outcome, why) in [
        (Outcome::Cancelled, "interrupted"),
        (failed, "rate limit"),
        (Outcome::Limit, "limit"),
        (Outcome::Interrupted, "host stopped"),
    ] {
        let mut rig = Rig::new();
        set(&mut rig, "build it");
        rig.answer("half");
        ends(&mut rig, outcome);
        assert!(paused(&rig).unwrap().contains(why), "{:?}", goal(&rig));
        assert!(rig.session.turn.is_none());
        rig.feed(Input::Tick);
        assert!(rig.session.turn.is_none(), "nothing goes on by itself");
    }
    let mut rig = Rig::new();
    set(&mut rig, "build it");
    rig.event(TurnEvent::Delta { part: Part::Text, text: "half of".to_owned() });
    rig.end();
    assert!(paused(&rig).unwrap().contains("cut off"));
}

#[test]
fn a_judgement_that_fails_pauses_it_and_one_that_cannot_be_read_does_not() {
    // S08
    let mut rig = Rig::new();
    set(&mut rig, "build it");
    turn(&mut rig);
    verdict(&mut rig, None);
    assert_eq!(kind(&rig), Some(TurnKind::Answer), "it goes on");
    turn(&mut rig);
    rig.event(TurnEvent::NotJudged("no network".to_owned()));
    ends(&mut rig, Outcome::Failed { class: "unreachable".to_owned() });
    assert!(paused(&rig).unwrap().contains("no network"));
    // Where not even that was said.
    rig.feed(Input::Goal(GoalAsk::Resume));
    turn(&mut rig);
    ends(&mut rig, Outcome::Failed { class: "model".to_owned() });
    assert!(paused(&rig).unwrap().contains("model"));
    rig.feed(Input::Goal(GoalAsk::Resume));
    turn(&mut rig);
    rig.feed(Input::Cancel);
    ends(&mut rig, Outcome::Cancelled);
    assert!(paused(&rig).unwrap().contains("interrupted"));
    assert!(!rig.rows().contains(&"failure"));
}

#[test]
fn it_pauses_after_its_most_turns_and_a_resume_gives_it_as_many_again() {
    // S08
    let mut rig = Rig::new();
    set(&mut rig, "build it");
    for _ in 0..20 {
        turn(&mut rig);
        verdict(&mut rig, None);
    }
    assert_eq!(goal(&rig).turns, 20);
    assert!(paused(&rig).unwrap().contains("20 turns"));
    assert!(rig.session.turn.is_none());
    rig.feed(Input::Goal(GoalAsk::Resume));
    assert_eq!((kind(&rig), goal(&rig).turns), (Some(TurnKind::Answer), 0));
}

#[test]
fn prompts_and_completions_go_first_and_count() {
    // S08, W05
    let mut rig = Rig::new();
    set(&mut rig, "build it");
    rig.spawn("a");
    rig.prompt("and paint it");
    turn(&mut rig);
    assert_eq!(rig.session.transcript().rows.last().unwrap().text(), "and paint it");
    rig.exit("a");
    turn(&mut rig);
    assert_eq!(rig.told(), ["a"], "then what has happened");
    assert!(!judges(&rig));
    turn(&mut rig);
    assert_eq!(goal(&rig).turns, 3);
    assert!(judges(&rig), "then the goal");
    // What comes while it is judged is served by the turn that follows.
    rig.prompt("faster");
    verdict(&mut rig, Some((false, "unpainted")));
    assert_eq!(rig.session.transcript().rows.last().unwrap().text(), "faster");
    turn(&mut rig);
    assert!(judges(&rig));
}

#[test]
fn a_goal_set_while_a_turn_runs_begins_after_it_and_does_not_answer_for_it() {
    // S08
    let mut rig = Rig::new();
    rig.prompt("something else");
    set(&mut rig, "build it");
    ends(&mut rig, Outcome::Failed { class: "server".to_owned() });
    assert_eq!(goal(&rig).state, GoalState::Active);
    assert_eq!(goal(&rig).turns, 0);
    assert_eq!(rig.session.transcript().rows.last().unwrap().text(), "build it");
    turn(&mut rig);
    assert!(judges(&rig));
}

#[test]
fn the_user_pauses_resumes_and_clears_it_at_any_moment() {
    // S08
    let mut rig = Rig::new();
    let failed = |effects: &[Effect]| {
        effects
            .iter()
            .any(|e| matches!(e, Effect::Publish(Event::Failed(f)) if f.about == Subject::Goal))
    };
    assert!(failed(&rig.feed(Input::Goal(GoalAsk::Pause))));
    assert!(failed(&rig.feed(Input::Goal(GoalAsk::Resume))));
    assert!(failed(&set(&mut rig, " ")));
    assert!(!failed(&rig.feed(Input::Goal(GoalAsk::Clear))));
    set(&mut rig, "build it");
    rig.feed(Input::Goal(GoalAsk::Pause));
    turn(&mut rig);
    assert!(rig.session.turn.is_none(), "its turn came to its end, and that was all");
    rig.feed(Input::Goal(GoalAsk::Resume));
    assert_eq!(rig.rows().last(), Some(&"note"));
    turn(&mut rig);
    // What was said about a goal that is gone holds for no other.
    let Some(TurnKind::Judge { goal: old, .. }) = kind(&rig) else { panic!() };
    set(&mut rig, "another");
    let verdict = Some(GoalVerdict { done: true, reason: "built".to_owned() });
    rig.event(TurnEvent::Judged { goal: old, verdict });
    rig.end();
    assert_eq!(goal(&rig).state, GoalState::Active);
    assert_eq!(rig.session.transcript().rows.last().unwrap().text(), "another");
    rig.feed(Input::Goal(GoalAsk::Clear));
    turn(&mut rig);
    assert_eq!((rig.session.turn.is_none(), &rig.view.goal), (true, &None));
}

#[test]
fn after_a_restart_an_active_goal_goes_on_once() {
    // S08
    let mut rig = Rig::new();
    set(&mut rig, "build it");
    turn(&mut rig);
    assert!(judges(&rig));
    let mut rig = restarted(&rig);
    assert!(judges(&rig), "what was judged is not known");
    verdict(&mut rig, Some((false, "not yet")));
    assert_eq!(rig.rows(), ["user", "assistant", "note"]);
    assert_eq!(starts(&rig.effects).len(), 2, "one judgement, one turn");
    turn(&mut rig);
    verdict(&mut rig, Some((true, "done")));
    assert!(restarted(&rig).session.turn.is_none());
    set(&mut rig, "again");
    rig.feed(Input::Goal(GoalAsk::Pause));
    turn(&mut rig);
    assert!(restarted(&rig).session.turn.is_none(), "a paused one waits");
}

#[test]
fn a_stopping_host_starts_nothing_for_it_and_the_next_one_asks_again() {
    // S08, R05
    let mut rig = Rig::new();
    set(&mut rig, "build it");
    rig.feed(Input::Drain);
    turn(&mut rig);
    assert!(rig.session.turn.is_none());
    assert!(judges(&restarted(&rig)));
    let mut rig = Rig::new();
    set(&mut rig, "build it");
    turn(&mut rig);
    rig.feed(Input::Stop);
    assert_eq!(goal(&rig).state, GoalState::Active, "a judgement that was cut off says nothing");
    assert!(!rig.rows().contains(&"failure"));
    assert!(judges(&restarted(&rig)));
}

#[test]
fn while_the_store_fails_it_waits() {
    // S08
    let mut rig = Rig::new();
    set(&mut rig, "build it");
    rig.feed(Input::Storage(Storage::Failing("full".to_owned())));
    turn(&mut rig);
    assert!(rig.session.turn.is_none());
    rig.feed(Input::Storage(Storage::Ok));
    assert!(judges(&rig));
}

#[test]
fn what_is_held_stays_held_while_a_goal_goes_on() {
    // S08, W22
    let mut rig = Rig::new();
    set(&mut rig, "build it");
    rig.spawn("a");
    rig.exit("a");
    rig.feed(Input::Cancel);
    ends(&mut rig, Outcome::Cancelled);
    assert!(rig.view.held.is_some());
    rig.feed(Input::Goal(GoalAsk::Resume));
    assert_eq!(kind(&rig), Some(TurnKind::Answer));
    turn(&mut rig);
    verdict(&mut rig, None);
    assert_eq!(rig.told(), Vec::<String>::new());
    rig.prompt("go on");
    turn(&mut rig);
    assert_eq!(rig.told(), ["a"]);
}

#[test]
fn a_goal_is_not_held_by_the_limit_of_wakeups_and_does_not_count_for_it() {
    // S08, W31
    let mut rig = Rig::new();
    set(&mut rig, "build it");
    for _ in 0..5 {
        turn(&mut rig);
        verdict(&mut rig, None);
    }
    assert_eq!(rig.session.meta().wakeups_in_a_row, 0);
    assert_eq!(goal(&rig).turns, 5);
}
