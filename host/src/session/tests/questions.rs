//! Questions of a session: their queue, their answers, grants and ends.

use super::disk::Disk;
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
    // C01, C03, C05, C07
    let mut rig = Rig::new();
    rig.prompt("go");
    ask(&mut rig, "a", approval("r1"));
    ask(&mut rig, "b", approval("r1"));
    let ids: Vec<_> = rig.session.transcript().questions.iter().map(|q| q.id.clone()).collect();
    assert_eq!(ids.len(), 2, "approvals of two calls are never merged");
    let once = Answer::Approval(Choice::Once);
    let effects = rig.feed(Input::Answer { id: ids[0].clone(), answer: once.clone(), by: None });
    assert_eq!(answers(&effects), [once]);
    let late = Answer::Approval(Choice::Deny);
    assert_eq!(rig.feed(Input::Answer { id: ids[0].clone(), answer: late, by: None }), []);
    assert_eq!(rig.session.transcript().questions[0].id, ids[1]);
}

#[test]
fn equal_questions_are_one_entry_and_all_get_the_answer() {
    // C05
    let mut rig = Rig::new();
    rig.prompt("go");
    let clarify = Ask::Clarify { question: "which?".to_owned(), choices: vec!["a".to_owned()] };
    ask(&mut rig, "a", clarify.clone());
    let again = ask(&mut rig, "b", clarify);
    assert!(!again.iter().any(|e| matches!(e, Effect::Publish(_))), "no new event");
    let id = rig.session.transcript().questions[0].id.clone();
    let text = Answer::Text("a\nb".to_owned());
    let effects = rig.feed(Input::Answer { id, answer: text.clone(), by: None });
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
    let effects =
        rig.feed(Input::Answer { id, answer: Answer::Approval(Choice::Session), by: None });
    assert_eq!(answers(&effects).len(), 2);
    assert_eq!(rig.session.transcript().questions.len(), 1);
    let effects = ask(&mut rig, "d", approval("r1"));
    assert_eq!(answers(&effects), [Answer::Approval(Choice::Session)]);
}

#[test]
fn once_is_once_and_the_next_call_of_the_rule_asks_again() {
    // C10
    for choice in [Choice::Once, Choice::Deny] {
        let mut rig = Rig::new();
        rig.prompt("go");
        ask(&mut rig, "a", approval("r1"));
        ask(&mut rig, "b", approval("r1"));
        let id = rig.session.transcript().questions[0].id.clone();
        let answer = Answer::Approval(choice);
        let effects = rig.feed(Input::Answer { id, answer: answer.clone(), by: None });
        assert_eq!(answers(&effects), [answer], "that one alone");
        assert_eq!(answers(&ask(&mut rig, "c", approval("r1"))), []);
        assert_eq!(rig.session.transcript().questions.len(), 2);
    }
}

#[test]
fn always_is_refused_where_no_permanent_rule_is_allowed() {
    // C10, C14
    let mut rig = Rig::new();
    rig.prompt("go");
    ask(&mut rig, "a", approval("r1"));
    let id = rig.session.transcript().questions[0].id.clone();
    let effects =
        rig.feed(Input::Answer { id, answer: Answer::Approval(Choice::Always), by: None });
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
fn a_permanent_grant_of_another_session_answers_here() {
    // C05
    let mut rig = Rig::new();
    rig.prompt("go");
    ask(&mut rig, "a", approval("r1"));
    let effects = rig.feed(Input::Granted("r1".to_owned()));
    assert_eq!(answers(&effects), [Answer::Approval(Choice::Session)]);
}

/// What a call asks.
fn which() -> Ask {
    Ask::Clarify { question: "which?".to_owned(), choices: vec!["a".to_owned()] }
}

/// A session whose turn runs those calls.
fn calling(calls: &[&str]) -> Rig {
    let mut rig = Rig::new();
    rig.prompt("go");
    let calls = calls.iter().map(|id| ToolCall {
        id: CallId((*id).to_owned()),
        name: "clarify".to_owned(),
        args: serde_json::Value::Null,
    });
    let answer = Assistant { calls: calls.collect(), stop: Stop::Calls, ..Assistant::default() };
    rig.event(TurnEvent::Answered { answer, usage: None, context: None });
    rig
}

fn only(rig: &Rig) -> Question {
    let [question] = &rig.session.transcript().questions[..] else {
        panic!("{:?}", rig.session.transcript().questions)
    };
    question.clone()
}

fn resumes(rig: &Rig) -> bool {
    rig.effects.iter().any(|e| matches!(e, Effect::Start(p) if p.kind == TurnKind::Resume))
}

fn open_calls(rig: &Rig) -> Vec<String> {
    let running = rig.session.transcript().running.iter();
    running.flat_map(|r| &r.calls).map(|live| live.call.id.0.clone()).collect()
}

/// The result of the call `c1`, as the rig makes it.
fn finish(rig: &mut Rig) -> Vec<Effect> {
    rig.result(Vec::new())
}

#[test]
fn a_pending_question_keeps_its_id_over_a_restart() {
    // C15
    for ask_first in [true, false] {
        let mut rig = calling(&["c1", "c2"]);
        ask(&mut rig, "c1", which());
        let asked = only(&rig);
        rig.feed(Input::Shown(asked.id.clone()));
        let shown = only(&rig);
        rig.feed(Input::Stop);
        let mut disk = Disk::of(&rig);
        let mut rig = disk.restart(rig.now + 59_999);
        // The same question with the same clock; what comes after it has not begun and will.
        assert_eq!(only(&rig), shown);
        assert!(resumes(&rig));
        assert_eq!(open_calls(&rig), ["c1", "c2"]);
        let text = Answer::Text("a".to_owned());
        let answer = Input::Answer { id: asked.id, answer: text.clone(), by: None };
        // The answer may come before the call has asked again.
        let effects = if ask_first {
            ask(&mut rig, "c1", which());
            rig.feed(answer)
        } else {
            assert_eq!(answers(&rig.feed(answer)), []);
            ask(&mut rig, "c1", which())
        };
        assert_eq!(answers(&effects), [text]);
        assert!(rig.session.transcript().questions.is_empty());
        finish(&mut rig);
        assert_eq!(open_calls(&rig), ["c2"]);
    }
}

#[test]
fn a_pending_question_waits_over_any_number_of_restarts() {
    // C15 C16
    let mut rig = calling(&["c1"]);
    ask(&mut rig, "c1", approval("r"));
    let mut disk = Disk::of(&rig);
    let asked = only(&rig);
    for n in 1..=7 {
        let mut rig = disk.restart(asked.asked_at + n * 3 * 3_600_000);
        assert_eq!(only(&rig), asked);
        assert_eq!(rig.feed(Input::Tick), []);
        let again = ask(&mut rig, "c1", approval("r"));
        assert_eq!(again, [], "it is the one that waits");
    }
}

#[test]
fn an_expired_question_leaves_the_turn_to_the_user() {
    // C15 R04
    for shown in [true, false] {
        let mut rig = calling(&["c1", "c2"]);
        ask(&mut rig, "c1", approval("r"));
        let wait = if shown { 60_000 } else { 86_400_000 };
        if shown {
            let id = only(&rig).id;
            rig.feed(Input::Shown(id));
        }
        let mut disk = Disk::of(&rig);
        assert!(resumes(&disk.clone().restart(rig.now + wait - 1)));
        let rig = disk.restart(rig.now + wait);
        assert!(!resumes(&rig));
        assert!(rig.session.transcript().questions.is_empty() && disk.questions.is_empty());
        let last: Vec<_> = disk.rows.iter().rev().take(4).map(Row::text).collect();
        assert!(last[0].contains("waits for you"), "{last:?}");
        assert!(last[3].contains("nobody answered in time"), "{last:?}");
    }
}

#[test]
fn an_answer_survives_a_host_that_dies_before_the_result() {
    // C15 C13
    let mut rig = calling(&["c1"]);
    ask(&mut rig, "c1", which());
    let id = only(&rig).id;
    // Thought about for long; the answer is what is fresh.
    rig.now += 5 * 3_600_000;
    let text = Answer::Text("two\nlines".to_owned());
    let effects = rig.feed(Input::Answer { id, answer: text.clone(), by: None });
    assert!(effects.iter().any(|e| matches!(e, Effect::Publish(Event::QuestionResolved { .. }))));
    let disk = Disk::of(&rig);
    let mut later = disk.clone();
    let mut rig = later.restart(rig.now + 3_600_000);
    assert!(resumes(&rig) && rig.session.transcript().questions.is_empty());
    assert_eq!(answers(&ask(&mut rig, "c1", which())), std::slice::from_ref(&text));
    let effects = finish(&mut rig);
    let resolved = |e: &Effect| matches!(e, Effect::Record(Record::Resolved { .. }));
    let row = |e: &Effect| matches!(e, Effect::Record(Record::Row { .. }));
    assert!(effects.iter().any(resolved) && effects.iter().any(row), "one commit");

    // Too old to go on by itself: the answer is in the transcript all the same.
    let mut old = disk;
    let rig = old.restart(rig.now + 30 * 3_600_000);
    assert!(!resumes(&rig) && old.questions.is_empty());
    assert!(old.rows[2].text().contains("two\\nlines"), "{}", old.rows[2].text());
}

#[test]
fn an_approved_command_is_not_run_again_after_a_crash() {
    // R06 C15: it may have begun.
    for choice in [Choice::Once, Choice::Deny, Choice::Session] {
        let mut rig = calling(&["c1"]);
        ask(&mut rig, "c1", approval("r"));
        let id = only(&rig).id;
        rig.feed(Input::Answer { id, answer: Answer::Approval(choice), by: None });
        let mut disk = Disk::of(&rig);
        let rig = disk.restart(rig.now);
        assert!(resumes(&rig) && open_calls(&rig).is_empty());
        assert!(disk.rows[2].text().contains("was not run again"));
        assert!(disk.questions.is_empty(), "nothing lingers");
    }
}

#[test]
fn an_answer_never_goes_to_another_question_of_the_same_call() {
    // C15 C07
    let mut rig = calling(&["c1"]);
    ask(&mut rig, "c1", approval("first"));
    let first = only(&rig).id;
    let once = Answer::Approval(Choice::Once);
    rig.feed(Input::Answer { id: first.clone(), answer: once.clone(), by: None });
    ask(&mut rig, "c1", approval("second"));
    let second = only(&rig);
    assert_ne!(second.id, first);
    let mut disk = Disk::of(&rig);
    let mut rig = disk.restart(rig.now);
    // The call runs again up to its second question; the answer to the first one still counts.
    assert!(resumes(&rig));
    assert_eq!(only(&rig), second);
    assert_eq!(answers(&ask(&mut rig, "c1", approval("first"))), std::slice::from_ref(&once));
    ask(&mut rig, "c1", approval("second"));
    // One that it did not ask before is a question of its own.
    ask(&mut rig, "c1", approval("third"));
    let pending = rig.session.transcript().questions.clone();
    assert_eq!(pending.len(), 2);
    assert!(pending[1].id != second.id && pending[1].id != first);
    assert_eq!(
        answers(&rig.feed(Input::Answer { id: second.id, answer: once.clone(), by: None })),
        [once]
    );
}

#[test]
fn an_interrupt_withdraws_a_restored_question() {
    // C09 C15 R04
    let mut rig = calling(&["c1"]);
    ask(&mut rig, "c1", which());
    let mut disk = Disk::of(&rig);
    let mut rig = disk.restart(rig.now);
    rig.prompt("something else");
    assert_eq!(rig.session.transcript().queued.len(), 1);
    assert_eq!(rig.rows(), ["user", "assistant"]);
    let effects = rig.feed(Input::Cancel);
    assert!(effects.contains(&Effect::Stop(TurnId(1))));
    assert!(rig.session.transcript().questions.is_empty());
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    assert_eq!(rig.rows().last(), Some(&"user"));
}

#[test]
fn a_wakeup_turns_question_expires_after_a_day() {
    // C16 C08
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.answer("started");
    rig.end();
    rig.exit("a");
    let answer = Assistant {
        calls: vec![ToolCall {
            id: CallId("c1".to_owned()),
            name: "terminal".to_owned(),
            args: serde_json::Value::Null,
        }],
        stop: Stop::Calls,
        ..Assistant::default()
    };
    rig.event(TurnEvent::Answered { answer, usage: None, context: None });
    ask(&mut rig, "c1", approval("r"));
    let day = rig.now + 86_400_000;
    let mut disk = Disk::of(&rig);
    let mut rig = disk.restart(rig.now + 3_600_000);
    ask(&mut rig, "c1", approval("r"));
    assert_eq!(rig.session.deadline(), Some(day));
    rig.now = day;
    assert_eq!(answers(&rig.feed(Input::Tick)), [Answer::Expired]);
    assert!(rig.session.transcript().questions.is_empty());
}

#[test]
fn a_question_is_news_for_whoever_looks_at_another_session() {
    // C16
    let mut rig = calling(&["c1"]);
    let call = CallId("c1".to_owned());
    let effects = rig.event(TurnEvent::Ask { call, ask: which(), timeout: 60_000 });
    let news = effects.iter().find_map(|effect| match effect {
        Effect::Announce(Event::Toast(toast)) => Some((toast.news.clone(), toast.text.clone())),
        _ => None,
    });
    let Ask::Clarify { question, .. } = which() else { panic!("a question") };
    assert_eq!(news, Some((protocol::News::Asked, question)));
}

#[test]
fn the_result_of_a_call_withdraws_its_own_questions_only() {
    // C09
    let mut rig = calling(&["c1", "c2"]);
    ask(&mut rig, "c1", approval("one"));
    ask(&mut rig, "c2", approval("two"));
    let effects = finish(&mut rig);
    assert_eq!(answers(&effects), [Answer::Withdrawn]);
    assert_eq!(only(&rig).call.0, "c2");
}

#[test]
fn a_question_that_is_withdrawn_leaves_no_answer_behind() {
    // C09, C15
    let mut rig = calling(&["c1"]);
    ask(&mut rig, "c1", approval("one"));
    let id = only(&rig).id;
    let effects = rig.feed(Input::Answer { id: id.clone(), answer: Answer::Withdrawn, by: None });
    let resolved = |e: &Effect| matches!(e, Effect::Record(Record::Resolved { question, .. }) if *question == id);
    assert!(effects.iter().any(resolved));
    assert!(!effects.iter().any(|e| matches!(e, Effect::Record(Record::Asked { .. }))));
    assert_eq!(ask(&mut rig, "c1", approval("one")).len(), 3, "it is asked anew");
}

#[test]
fn a_call_that_is_not_run_again_loses_its_question() {
    // C15, R06
    let mut rig = calling(&["c1", "c2"]);
    ask(&mut rig, "c2", approval("two"));
    ask(&mut rig, "c1", approval("one"));
    let rig = super::disk::Disk::of(&rig).restart(2_000);
    assert!(resumes(&rig));
    assert_eq!(open_calls(&rig), ["c2"]);
    assert_eq!(only(&rig).call.0, "c2");
}

#[test]
fn who_answered_is_told_to_every_front_end() {
    // C07
    let mut rig = Rig::new();
    rig.prompt("go");
    ask(&mut rig, "c1", approval("r"));
    ask(&mut rig, "c2", approval("r"));
    let id = rig.session.transcript().questions[0].id.clone();
    let answer = Answer::Approval(Choice::Session);
    let effects = rig.feed(Input::Answer { id, answer, by: Some("browser".to_owned()) });
    let by = effects.iter().filter_map(|e| match e {
        Effect::Publish(Event::QuestionResolved { by, .. }) => Some(by.clone()),
        _ => None,
    });
    // The grant answers the other one too.
    assert_eq!(by.collect::<Vec<_>>(), [Some("browser".to_owned()), Some("browser".to_owned())]);
}

#[test]
fn an_answer_that_does_not_fit_its_question_answers_nothing() {
    // C07, C10
    let mut rig = Rig::new();
    rig.prompt("go");
    let never = Ask::Approval {
        command: "rm x".to_owned(),
        part: "rm x".to_owned(),
        rule: "r1".to_owned(),
        reason: "removes x".to_owned(),
        allow_always: false,
    };
    ask(&mut rig, "a", never);
    let clarify = Ask::Clarify { question: "which?".to_owned(), choices: Vec::new() };
    ask(&mut rig, "b", clarify);
    let ids: Vec<_> = rig.session.transcript().questions.iter().map(|q| q.id.clone()).collect();
    let text = || Answer::Text("once".to_owned());
    for (id, answer) in [
        (0, text()),
        (0, Answer::Approval(Choice::Always)),
        (0, Answer::Expired),
        (1, Answer::Approval(Choice::Once)),
        (1, Answer::Expired),
    ] {
        let given = Input::Answer { id: ids[id].clone(), answer: answer.clone(), by: None };
        assert_eq!(rig.feed(given), [], "{answer:?}");
    }
    let effects = rig.feed(Input::Answer { id: ids[1].clone(), answer: text(), by: None });
    assert_eq!(answers(&effects), [text()]);
    assert_eq!(rig.session.transcript().questions.len(), 1);
}
