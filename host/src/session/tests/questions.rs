//! Questions of a session: their queue, their answers, grants and ends.

use super::*;

fn answers(effects: &[Effect]) -> Vec<Answer> {
    effects
        .iter()
        .filter_map(|e| match e {
            Effect::Reply { reply: Reply::Answer(answer), .. } => Some(answer.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn questions_are_a_queue_and_only_a_pending_one_takes_an_answer() {
    // C01, C03, C07
    let mut rig = Rig::new();
    rig.prompt("go");
    ask(&mut rig, "a", approval("r1"));
    ask(&mut rig, "b", approval("r1"));
    let ids: Vec<_> = rig.session.transcript().questions.iter().map(|q| q.id.clone()).collect();
    assert_eq!(ids.len(), 2, "approvals of two calls are never merged");
    let once = Answer::Approval(Choice::Once);
    let effects = rig.feed(Input::Answer { id: ids[0].clone(), answer: once.clone() });
    assert_eq!(answers(&effects), [once]);
    let late = Answer::Approval(Choice::Deny);
    assert_eq!(rig.feed(Input::Answer { id: ids[0].clone(), answer: late }), []);
    assert_eq!(rig.session.transcript().questions[0].id, ids[1]);
}

#[test]
fn the_same_call_and_an_equal_clarify_are_one_entry_and_all_askers_get_the_answer() {
    // C05
    let mut rig = Rig::new();
    rig.prompt("go");
    let clarify = Ask::Clarify { question: "which?".to_owned(), choices: vec!["a".to_owned()] };
    ask(&mut rig, "a", clarify.clone());
    let again = ask(&mut rig, "b", clarify);
    assert!(!again.iter().any(|e| matches!(e, Effect::Publish(_))), "no new event");
    let id = rig.session.transcript().questions[0].id.clone();
    let text = Answer::Text("a\nb".to_owned());
    let effects = rig.feed(Input::Answer { id, answer: text.clone() });
    // C13: multi-line text survives.
    assert_eq!(answers(&effects), [text.clone(), text]);
}

#[test]
fn a_session_grant_answers_the_other_approvals_of_its_rule() {
    // C05, C10
    let mut rig = Rig::new();
    rig.prompt("go");
    ask(&mut rig, "a", approval("r1"));
    ask(&mut rig, "b", approval("r1"));
    ask(&mut rig, "c", approval("r2"));
    let id = rig.session.transcript().questions[0].id.clone();
    let effects = rig.feed(Input::Answer { id, answer: Answer::Approval(Choice::Session) });
    assert_eq!(answers(&effects).len(), 2);
    assert_eq!(rig.session.transcript().questions.len(), 1);
    let effects = ask(&mut rig, "d", approval("r1"));
    assert_eq!(answers(&effects), [Answer::Approval(Choice::Session)]);
}

#[test]
fn always_is_refused_where_no_permanent_rule_is_allowed() {
    // C10, C14
    let mut rig = Rig::new();
    rig.prompt("go");
    ask(&mut rig, "a", approval("r1"));
    let id = rig.session.transcript().questions[0].id.clone();
    let effects = rig.feed(Input::Answer { id, answer: Answer::Approval(Choice::Always) });
    assert_eq!(effects, []);
    assert_eq!(rig.session.transcript().questions.len(), 1);
}

#[test]
fn a_question_expires_only_after_it_was_shown() {
    // C08
    let mut rig = Rig::new();
    rig.prompt("go");
    ask(&mut rig, "a", approval("r1"));
    // C16: until somebody comes it waits for a day.
    assert_eq!(rig.session.deadline(), Some(rig.now + 86_400_000));
    rig.now += 10_000_000;
    assert_eq!(rig.feed(Input::Tick), []);
    let id = rig.session.transcript().questions[0].id.clone();
    rig.feed(Input::Shown(id.clone()));
    rig.now += 30_000;
    rig.feed(Input::Shown(id));
    rig.now += 30_000;
    let effects = rig.feed(Input::Tick);
    assert_eq!(answers(&effects), [Answer::Expired]);
    assert!(rig.session.transcript().questions.is_empty());
}

#[test]
fn an_interrupt_clears_the_pending_questions() {
    // C09
    let mut rig = Rig::new();
    rig.prompt("go");
    ask(&mut rig, "a", approval("r1"));
    let effects = rig.feed(Input::Cancel);
    assert!(rig.session.transcript().questions.is_empty());
    assert!(effects.contains(&Effect::Stop(TurnId(1))));
}

#[test]
fn a_permanent_grant_given_elsewhere_answers_what_is_pending_here() {
    // C05
    let mut rig = Rig::new();
    rig.prompt("go");
    ask(&mut rig, "a", approval("r1"));
    let effects = rig.feed(Input::Granted("r1".to_owned()));
    assert_eq!(answers(&effects), [Answer::Approval(Choice::Session)]);
}
