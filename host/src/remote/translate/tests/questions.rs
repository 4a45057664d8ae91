//! Approvals and clarify questions of a hermes-webui, whoever answers them.

use super::*;
use protocol::{Answer, Choice, QuestionId};

fn approval(id: &str) -> decode::Approval {
    decode::Approval {
        approval_id: id.to_owned(),
        command: "rm -rf x".to_owned(),
        allow_permanent: true,
        ..Default::default()
    }
}

fn working() -> Harness {
    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.chat_event("tool", json!({"name": "terminal", "args": {"command": "rm"}, "tid": "c1"}));
    view.take_events();
    view
}

fn pending(view: &Harness) -> Vec<String> {
    view.fold.questions.iter().map(|q| q.id.0.clone()).collect()
}

fn resolved(view: &mut Harness) -> Vec<(String, Answer, Option<String>)> {
    let resolved = view.take_events().into_iter().filter_map(|event| match event {
        Event::QuestionResolved { id, answer, by } => Some((id.0, answer, by)),
        _ => None,
    });
    resolved.collect()
}

#[test]
fn the_same_head_told_three_times_is_one_question() {
    // E11
    let mut view = working();
    for _ in 0..3 {
        view.mirror.approval(Some(approval("a1")), true, NOW);
        view.settle();
    }
    assert_eq!(pending(&view), ["a1"]);
    assert_eq!(view.take_events().len(), 1);
    assert_eq!(view.fold.questions[0].call.0, "c1");
    assert_eq!(view.fold.questions[0].deadline, Some(NOW + 60_000));
}

#[test]
fn a_question_that_another_client_answers_goes_and_says_so() {
    // C07 E11
    let mut view = working();
    view.mirror.approval(Some(approval("a1")), true, NOW);
    view.mirror.approval(None, true, NOW);
    view.settle();
    assert!(pending(&view).is_empty());
    let by = Some("another client".to_owned());
    assert_eq!(resolved(&mut view), [("a1".to_owned(), Answer::Text(String::new()), by)]);
    // A frame that was on its way does not ask again.
    view.mirror.approval(Some(approval("a1")), true, NOW);
    view.settle();
    assert!(pending(&view).is_empty());
}

#[test]
fn our_own_answer_is_shown_as_ours_in_either_order() {
    // C07
    let once = Answer::Approval(Choice::Once);
    let id = QuestionId("a1".to_owned());
    for stream_first in [true, false] {
        let mut view = working();
        view.mirror.approval(Some(approval("a1")), true, NOW);
        assert_eq!(view.mirror.begin_answer(&id, &once), Some(QuestionKind::Approval));
        if stream_first {
            view.mirror.approval(None, true, NOW);
            view.mirror.answered(&id, AnswerResult::Accepted);
        } else {
            view.mirror.answered(&id, AnswerResult::Accepted);
            view.mirror.approval(None, true, NOW);
        }
        view.settle();
        assert!(pending(&view).is_empty());
        assert_eq!(resolved(&mut view), [("a1".to_owned(), once.clone(), None)]);
    }
}

#[test]
fn a_late_answer_never_meets_another_question() {
    // C07
    let mut view = working();
    view.mirror.approval(Some(approval("a1")), true, NOW);
    view.mirror.approval(Some(approval("a2")), true, NOW);
    view.settle();
    assert_eq!(pending(&view), ["a2"]);
    let deny = Answer::Approval(Choice::Deny);
    assert_eq!(view.mirror.begin_answer(&QuestionId("a1".to_owned()), &deny), None);
    let id = QuestionId("a2".to_owned());
    assert_eq!(view.mirror.begin_answer(&id, &deny), Some(QuestionKind::Approval));
    view.mirror.answered(&id, AnswerResult::Late);
    view.settle();
    assert!(pending(&view).is_empty());
}

#[test]
fn an_answer_that_did_not_arrive_leaves_the_question() {
    let mut view = working();
    view.mirror.approval(Some(approval("a1")), true, NOW);
    let id = QuestionId("a1".to_owned());
    view.mirror.begin_answer(&id, &Answer::Approval(Choice::Once));
    view.mirror.answered(&id, AnswerResult::Undelivered);
    view.settle();
    assert_eq!(pending(&view), ["a1"]);
    assert!(view.mirror.begin_answer(&id, &Answer::Approval(Choice::Once)).is_some());
}

#[test]
fn what_ran_out_of_time_says_so_and_what_a_cancel_took_does_not() {
    let mut view = working();
    view.mirror.approval(Some(approval("a1")), true, NOW);
    view.mirror.approval(None, true, NOW + 60_000);
    view.settle();
    assert_eq!(resolved(&mut view)[0].1, Answer::Expired);
    let mut view = working();
    view.mirror.approval(Some(approval("a1")), true, NOW);
    assert_eq!(view.mirror.begin_cancel().as_deref(), Some("st"));
    view.mirror.approval(None, true, NOW);
    view.settle();
    assert_eq!(resolved(&mut view), [("a1".to_owned(), Answer::Withdrawn, None)]);
}

#[test]
fn a_clarify_question_keeps_the_clock_of_the_server() {
    let mut view = working();
    let head = decode::Clarify {
        clarify_id: "q1".to_owned(),
        question: "Which?".to_owned(),
        choices_offered: vec!["a".to_owned(), String::new()],
        requested_at: NOW - 5,
        timeout_seconds: 3_600_000,
        expires_at: 0,
    };
    view.mirror.clarify(Some(head), NOW);
    view.settle();
    let question = &view.fold.questions[0];
    assert_eq!(
        (question.deadline, question.timeout, question.asked_at),
        (None, 3_600_000, NOW - 5)
    );
    let choices = vec!["a".to_owned()];
    assert_eq!(question.ask, protocol::Ask::Clarify { question: "Which?".to_owned(), choices });
}

#[test]
fn a_replayed_question_is_looked_up_and_not_believed() {
    let mut view = working();
    view.take_requests();
    view.chat_event("approval", json!({"approval_id": "old", "command": "x"}));
    assert!(pending(&view).is_empty());
    assert_eq!(view.take_requests(), [Request::Questions]);
}

#[test]
fn the_recorded_approvals_ask_once_and_go() {
    let bytes = include_bytes!("../../../../../tests/data/captures/approval_stream.sse");
    let mut view = working();
    for text in std::str::from_utf8(bytes).unwrap().split("\n\n") {
        let Some((_, data)) = text.split_once("\ndata: ") else { continue };
        let head: decode::Pending<decode::Approval> = serde_json::from_str(data).unwrap();
        view.mirror.approval(head.pending, true, NOW);
        view.settle();
    }
    let take_requests =
        view.events.iter().filter(|e| matches!(e, Event::QuestionAsked { .. })).count();
    assert_eq!((take_requests, resolved(&mut view).len(), pending(&view).len()), (1, 1, 0));
}
