//! Which heads are fetched, and how long they are kept.

use serde_json::json;

use super::*;

fn row(id: &str, kind: Option<&str>, count: u32, messages: u32) -> decode::Session {
    let attention = kind.map(|kind| json!({ "kind": kind, "count": count }));
    decode::read(json!({
        "session_id": id, "title": format!("name of {id}"), "message_count": messages,
        "attention": attention,
    }))
}

fn approval(id: &str) -> Head {
    Head::approval(decode::read(json!({ "approval_id": id, "command": "rm" })), 500)
}

fn session(id: &str) -> SessionId {
    SessionId(id.to_owned())
}

fn to_fetch(inbox: &mut Inbox, list: &[decode::Session], at: Instant) -> Vec<String> {
    inbox.update(list, &session("here"), at).into_iter().map(|(id, _)| id.0).collect()
}

// C16
#[test]
fn a_head_is_fetched_when_the_list_says_something_else() {
    let mut inbox = Inbox::default();
    let begin = Instant::now();
    let mut list = vec![
        row("a", Some("approval"), 1, 4),
        row("b", Some("clarify"), 2, 4),
        row("c", None, 0, 4),
        row("here", Some("approval"), 1, 4),
    ];
    assert_eq!(to_fetch(&mut inbox, &list, begin), ["a", "b"], "not the one in view");
    for id in ["a", "b"] {
        inbox.get_mut(&session(id)).unwrap().fetched = Some(begin);
    }
    assert_eq!(to_fetch(&mut inbox, &list, begin), [] as [&str; 0], "it says the same");
    list[1] = row("b", Some("clarify"), 1, 4);
    assert_eq!(to_fetch(&mut inbox, &list, begin), ["b"], "one was answered");
    list[0] = row("a", Some("approval"), 1, 6);
    assert_eq!(to_fetch(&mut inbox, &list, begin), ["a"], "it went on and asks again");
    assert_eq!(to_fetch(&mut inbox, &list, begin + FRESH), ["a", "b"], "that was long ago");
    list[0] = row("a", None, 0, 6);
    inbox.get_mut(&session("a")).unwrap().set_head(Some(approval("q")));
    to_fetch(&mut inbox, &list, begin);
    assert!(inbox.get_mut(&session("a")).is_none(), "it asks no more");
}

#[test]
fn of_a_thousand_waiting_sessions_a_few_heads_are_fetched() {
    let mut inbox = Inbox::default();
    let list: Vec<_> = (0..1_000).map(|n| row(&n.to_string(), Some("approval"), 1, 1)).collect();
    assert_eq!(to_fetch(&mut inbox, &list, Instant::now()).len(), MOST);
    assert_eq!(inbox.waiting.len(), MOST);
}

// C02
#[test]
fn a_head_that_comes_again_keeps_the_time_of_its_first_arrival() {
    let mut waiting = WaitingSession::new(session("a"));
    waiting.set_head(Some(approval("q")));
    let mut later = approval("q");
    later.question.asked_at = 900;
    waiting.set_head(Some(later));
    assert_eq!(waiting.head.as_ref().unwrap().question.asked_at, 500);
    let mut other = approval("r");
    other.question.asked_at = 900;
    waiting.set_head(Some(other));
    assert_eq!(waiting.head.as_ref().unwrap().question.asked_at, 900);
    waiting.set_head(None);
    assert!(waiting.head.is_none());
}

// C13
#[test]
fn a_clarify_question_of_another_session_has_its_own_clock() {
    let head = Head::clarify(
        decode::read(json!({
            "clarify_id": "k", "question": "Which?", "choices_offered": ["a", ""],
            "requested_at": 10.0, "timeout_seconds": 60, "expires_at": 70.0,
        })),
        500,
    );
    let question = &head.question;
    assert_eq!((question.asked_at, question.timeout), (10_000, 60_000));
    assert_eq!(question.deadline, Some(70_000));
    let ask = Ask::Clarify { question: "Which?".to_owned(), choices: vec!["a".to_owned()] };
    assert_eq!(question.ask, ask);
    assert!(matches!(&head.key, AnswerKey::Clarify(name) if name == "k"));
}

// C03
#[test]
fn a_question_answered_in_view_is_not_in_the_inbox_afterwards() {
    let mut inbox = Inbox::default();
    to_fetch(&mut inbox, &[row("a", Some("approval"), 1, 4)], Instant::now());
    inbox.get_mut(&session("a")).unwrap().set_head(Some(approval("q")));
    // It came into view, was answered there, and is left before a list has come.
    let mut left = Mirror::default();
    let loaded: decode::Session = decode::read(json!({ "session_id": "a", "messages": [] }));
    left.loaded(&loaded, 0);
    assert_eq!(left.view().session, session("a"));
    inbox.leave(&left);
    assert!(inbox.get_mut(&session("a")).is_none());
}
