//! What the loop does when things break.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::fake::Fake;
use super::*;
use protocol::Subject;

pub(super) async fn attached() -> (Fake, Front) {
    let fake = Fake::start().await;
    let mut front = Front::attach(&fake.url, Target::Latest);
    front.until("a window", |f| !f.view.session.0.is_empty()).await;
    front.until("the link", |f| f.link() == Some(&Link::Up)).await;
    (fake, front)
}

impl Front {
    fn link(&self) -> Option<&Link> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Link { link } => Some(link),
            _ => None,
        })
    }
}

/// Waits for something that is no event.
pub(super) async fn becomes(what: &str, mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + LIMIT;
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_thousand_switches_leave_one_set_of_streams() {
    // E09
    let (fake, mut front) = attached().await;
    for n in 0..200 {
        for m in 0..5 {
            let id = SessionId(format!("s{}", n * 5 + m));
            front.host.send(Command::Open(Target::Id(id)));
        }
        let last = format!("s{}", n * 5 + 4);
        front.until("the last one", |f| f.view.session.0 == last).await;
        front.events.clear();
    }
    // The list, and the session's channel, approvals and clarify questions.
    becomes("four streams", || fake.does.open.load(Ordering::SeqCst) == 4).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fake.does.open.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn when_streams_fail_twice_the_state_is_asked_for_until_they_work() {
    // E08
    let (fake, mut front) = attached().await;
    fake.streams(503);
    front.until("polling", |f| matches!(f.link(), Some(Link::Polling { .. }))).await;
    let lost = front
        .events
        .iter()
        .position(|e| matches!(e, Event::Link { link: Link::Down { attempt: 1, .. } }));
    assert!(lost.is_some(), "{:?}", front.events);
    *fake.does.approval.lock().unwrap() = json!({"approval_id": "a1", "command": "rm"});
    front.until("a question", |f| f.view.questions.len() == 1).await;
    *fake.does.approval.lock().unwrap() = Value::Null;
    front.until("no question", |f| f.view.questions.is_empty()).await;
    fake.does.messages.lock().unwrap().push(json!({"role": "assistant", "content": "while down"}));
    front.until("a row", |f| f.last() == "while down").await;
    fake.streams(200);
    front.until("streams", |f| f.link() == Some(&Link::Up)).await;
}

#[tokio::test]
async fn what_was_missed_between_two_connections_is_loaded() {
    // E01
    let (fake, mut front) = attached().await;
    fake.does.messages.lock().unwrap().push(json!({"role": "assistant", "content": "missed"}));
    fake.streams(200);
    front.until("a row", |f| f.last() == "missed").await;
}

#[tokio::test]
async fn a_server_with_another_start_time_is_loaded_anew() {
    // E13
    let (fake, mut front) = attached().await;
    becomes("the first health", || fake.does.asked.load(Ordering::SeqCst) > 8).await;
    fake.does.began.store(1_795_009_999, Ordering::SeqCst);
    fake.streams(200);
    front
        .until("a resync", |f| {
            f.events.iter().any(|e| matches!(e, Event::Attached { resynced: true, .. }))
        })
        .await;
}

#[tokio::test]
async fn a_server_that_wants_a_login_is_asked_no_more() {
    // E08: 401 is final.
    let (fake, mut front) = attached().await;
    *fake.does.all.lock().unwrap() = Some((401, r#"{"error": "Authentication required"}"#));
    fake.streams(200);
    front.until("a refusal", |f| matches!(f.link(), Some(Link::Refused { .. }))).await;
    front.prompt("kept");
    front.until("a queue", |f| f.view.queued.len() == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let asked = fake.does.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(fake.does.asked.load(Ordering::SeqCst), asked, "it goes on asking");
    assert_eq!(front.view.queued.len(), 1);
}

#[tokio::test]
async fn a_server_without_some_stream_is_polled() {
    // E08: 404 is final for that stream.
    let fake = Fake::start().await;
    fake.streams(404);
    let mut front = Front::attach(&fake.url, Target::Latest);
    front.until("polling", |f| matches!(f.link(), Some(Link::Polling { .. }))).await;
    fake.does.messages.lock().unwrap().push(json!({"role": "assistant", "content": "new"}));
    front.until("a row", |f| f.last() == "new").await;
}

#[tokio::test]
async fn a_prompt_whose_answer_a_proxy_ate_is_not_sent_twice() {
    let (fake, mut front) = attached().await;
    fake.does.swallow.store(true, Ordering::SeqCst);
    front.prompt("once");
    front.until("its answer", |f| f.last() == "done" && f.is_idle()).await;
    assert_eq!(front.texts(), ["hi", "once", "done"]);
    front.turn("twice").await;
    assert_eq!(fake.does.starts.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn pages_that_are_no_answers_end_nothing() {
    // E15
    let (fake, mut front) = attached().await;
    *fake.does.all.lock().unwrap() = Some((200, "<html>maintenance</html>"));
    fake.streams(200);
    front.until("the loss", |f| matches!(f.link(), Some(Link::Down { .. }))).await;
    front.prompt("kept");
    front.until("a queue", |f| f.view.queued.len() == 1).await;
    *fake.does.all.lock().unwrap() = None;
    front.until("its answer", |f| f.last() == "done" && f.is_idle()).await;
    assert_eq!(front.texts(), ["hi", "kept", "done"]);
    front.until("the link", |f| f.link() == Some(&Link::Up)).await;
}

#[tokio::test]
async fn what_was_typed_and_not_sent_is_sent_by_the_next_client() {
    let fake = Fake::start().await;
    let mut front = Front::attach(&fake.url, Target::Latest);
    front.until("a window", |f| !f.view.session.0.is_empty()).await;
    *fake.does.all.lock().unwrap() = Some((503, ""));
    front.prompt("left behind");
    front.until("a queue", |f| f.view.queued.len() == 1).await;
    let Front { host, remote, dir, .. } = front;
    drop(host);
    remote.end().await;
    *fake.does.all.lock().unwrap() = None;
    let mut next = Front::attach_in(&fake.url, Target::Latest, dir);
    next.until("its answer", |f| f.last() == "done" && f.is_idle()).await;
    assert_eq!(next.texts(), ["hi", "left behind", "done"]);
    assert_eq!(fake.does.starts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_turn_that_comes_back_after_it_was_taken_back_is_taken_back_again() {
    let (fake, mut front) = attached().await;
    front.turn("one").await;
    fake.does.stubborn.store(2, Ordering::SeqCst);
    front.host.send(Command::Undo);
    front.until("the rows to go", |f| f.view.rows.len() == 1).await;
    assert_eq!(front.texts(), ["hi"], "no turn more than that");
    front.turn("two").await;
    fake.does.stubborn.store(1, Ordering::SeqCst);
    front.host.send(Command::Retry { id: PromptId::fresh() });
    front.until("the rows to go", |f| f.view.rows.len() == 1).await;
    front.until("its answer", |f| f.last() == "done" && f.is_idle()).await;
    assert_eq!(front.texts(), ["hi", "two", "done"]);
}

#[tokio::test]
async fn a_server_that_never_takes_a_turn_back_is_named() {
    let (fake, mut front) = attached().await;
    front.turn("one").await;
    fake.does.stubborn.store(usize::MAX, Ordering::SeqCst);
    front.host.send(Command::Retry { id: PromptId::fresh() });
    front
        .until("a refusal", |f| {
            f.events.iter().any(|e| matches!(e, Event::Failed(f) if f.about == Subject::Retry))
        })
        .await;
    assert_eq!(fake.does.starts.load(Ordering::SeqCst), 1, "it does not run twice");
}

#[tokio::test]
async fn a_session_that_is_not_in_view_and_asks_is_told_once() {
    // C16
    let (fake, mut front) = attached().await;
    *fake.does.attention.lock().unwrap() = json!({"kind": "approval", "count": 1});
    fake.streams(200);
    let asked = |f: &Front| {
        let toasts = f.events.iter().filter(|e| {
            matches!(e, Event::Toast(t) if t.session.0 == "s1" && t.name == "other"
                && t.news == News::Asked)
        });
        toasts.count()
    };
    front.until("a toast", |f| asked(f) > 0).await;
    // As often as it is heard of while it waits.
    fake.streams(200);
    front.events.clear();
    front.until("the list again", |f| f.events.contains(&Event::SessionsChanged)).await;
    front.turn("one").await;
    assert_eq!(asked(&front), 0);
    // Answered, and asked once more.
    *fake.does.attention.lock().unwrap() = Value::Null;
    fake.streams(200);
    front.events.clear();
    front.until("the list again", |f| f.events.contains(&Event::SessionsChanged)).await;
    front.turn("two").await;
    *fake.does.attention.lock().unwrap() = json!({"kind": "clarify", "count": 1});
    fake.streams(200);
    front.until("a toast", |f| asked(f) == 1).await;
}

#[tokio::test]
async fn a_turn_that_ended_in_a_session_that_is_not_in_view_is_told_once() {
    // P11: and with what woke it.
    let (fake, mut front) = attached().await;
    let told = |f: &Front| {
        let toasts = f.events.iter().filter_map(|e| match e {
            Event::Toast(toast) if toast.session.0 == "s1" => Some(toast.clone()),
            _ => None,
        });
        toasts.collect::<Vec<_>>()
    };
    let row = |count: u64, running: bool| json!({"message_count": count, "is_streaming": running, "last_message_at": count});
    *fake.does.line.lock().unwrap() = row(3, true);
    fake.streams(200);
    front.until("the list", |f| f.events.contains(&Event::SessionsChanged)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Its end comes without a word, when a turn was seen to run.
    *fake.does.line.lock().unwrap() = row(5, false);
    front.until("a toast", |f| told(f).len() == 1).await;
    let toast = told(&front).remove(0);
    assert_eq!((toast.news, toast.name.as_str()), (News::Unknown, "other"));
    assert_eq!(toast.text, "a turn has ended");
    let text = "[IMPORTANT: Background process proc_1 completed (exit_code=3).\nCommand: make\n\
                Output:\nx]";
    fake.does.messages.lock().unwrap().push(json!({"role": "user", "content": text}));
    *fake.does.line.lock().unwrap() = row(7, false);
    fake.streams(200);
    front.until("another", |f| told(f).len() == 2).await;
    let toast = told(&front).remove(1);
    assert!(matches!(toast.news, News::Ended { .. }), "{toast:?}");
    assert_eq!((toast.process.unwrap().0.as_str(), toast.text.as_str()), ("proc_1", "make"));
    fake.streams(200);
    front.events.clear();
    front.until("the list again", |f| f.events.contains(&Event::SessionsChanged)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(told(&front), []);
    becomes("no stream more", || fake.does.open.load(Ordering::SeqCst) == 4).await;
}

#[tokio::test]
async fn a_list_of_processes_that_nobody_has_is_refused_and_not_empty() {
    let (_fake, mut front) = attached().await;
    front.host.send(Command::ListProcesses);
    front
        .until("a refusal", |f| {
            f.events.iter().any(|e| matches!(e, Event::Failed(f) if f.about == Subject::Processes))
        })
        .await;
}

#[tokio::test]
async fn a_compressed_session_is_followed_with_all_its_streams_and_what_waits() {
    // S03
    let (fake, mut front) = attached().await;
    fake.does.compress.store(true, Ordering::SeqCst);
    front.prompt("one");
    front.prompt("two");
    front.until("both", |f| f.is_idle() && f.view.rows.len() == 5).await;
    assert_eq!(front.view.session.0, "s9");
    assert_eq!(front.texts(), ["hi", "one", "done", "two", "done"]);
    let asked = fake.does.sessions.lock().unwrap().clone();
    assert_eq!(asked, ["s0", "s9"], "each prompt goes where its session is");
    becomes("four streams", || fake.does.open.load(Ordering::SeqCst) == 4).await;
}

#[tokio::test]
async fn a_session_of_another_profile_is_refused_with_the_way_to_it() {
    let (fake, mut front) = attached().await;
    *fake.does.all.lock().unwrap() =
        Some((409, r#"{"error": "no", "code": "session_profile_mismatch", "profile": "work"}"#));
    front.host.send(Command::Open(Target::Id(SessionId("s7".to_owned()))));
    front
        .until("a refusal", |f| {
            f.events.iter().any(|e| {
                matches!(e, Event::Failed(f) if f.about == Subject::Open
                    && f.message.contains("/profile work"))
            })
        })
        .await;
    assert_eq!(front.view.session.0, "s0");
}

#[tokio::test]
async fn who_leaves_a_session_leaves_the_stream_of_its_turn() {
    // E09
    let (fake, mut front) = attached().await;
    fake.does.hangs.store(true, Ordering::SeqCst);
    front.prompt("long");
    becomes("a fifth stream", || fake.does.open.load(Ordering::SeqCst) == 5).await;
    front.host.send(Command::Open(Target::Id(SessionId("s1".to_owned()))));
    front.until("the other one", |f| f.view.session.0 == "s1").await;
    becomes("four streams", || fake.does.open.load(Ordering::SeqCst) == 4).await;
    assert!(front.view.running.is_none());
}

#[tokio::test]
async fn a_refusal_for_good_is_shown_with_the_servers_word() {
    // E08: 403 is final.
    let (fake, mut front) = attached().await;
    fake.streams(403);
    front.until("a refusal", |f| matches!(f.link(), Some(Link::Refused { .. }))).await;
    let Some(Link::Refused { message }) = front.link() else { panic!() };
    assert!(message.contains("no"), "{message}");
}

#[tokio::test]
async fn an_event_that_is_no_json_or_says_nothing_ends_nothing() {
    // E15
    let (fake, mut front) = attached().await;
    fake.does.babbles.store(true, Ordering::SeqCst);
    fake.does.messages.lock().unwrap().push(json!({"role": "assistant", "content": "after"}));
    fake.streams(200);
    front.until("a row", |f| f.last() == "after").await;
    front.until("the link", |f| f.link() == Some(&Link::Up)).await;
    front.turn("go on").await;
    assert_eq!(front.texts(), ["hi", "after", "go on", "done"]);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_no_error() {
    // C07
    let fake = Fake::start().await;
    *fake.does.approval.lock().unwrap() = json!({"approval_id": "a1", "command": "rm"});
    *fake.does.verdict.lock().unwrap() = (409, json!({"error": "stale"}));
    let mut front = Front::attach(&fake.url, Target::Latest);
    front.until("a question", |f| f.view.questions.len() == 1).await;
    let id = front.view.questions[0].id.clone();
    let answer = Answer::Approval(Choice::Once);
    front.host.send(Command::Answer { session: None, id, answer });
    front.until("its end", |f| f.view.questions.is_empty()).await;
    let by = front.events.iter().find_map(|event| match event {
        Event::QuestionResolved { by, .. } => by.clone(),
        _ => None,
    });
    assert_eq!(by.as_deref(), Some("another client"));
    front.turn("on").await;
    assert!(!front.events.iter().any(|e| matches!(e, Event::Failed(_))), "{:?}", front.events);
}

#[tokio::test]
async fn an_upload_that_fails_is_told_and_leaves_nothing_on_its_way() {
    // S05
    let (_fake, mut front) = attached().await;
    let data = protocol::Data(b"text".to_vec());
    front.host.send(Command::Upload { name: "note.txt".to_owned(), data });
    front
        .until("a failure", |f| {
            f.events.iter().any(|e| {
                matches!(e, Event::Failed(f) if f.about == Subject::Upload && f.message.contains("note.txt"))
            })
        })
        .await;
    let settled = |f: &Front| {
        f.events.iter().any(
            |e| matches!(e, Event::AttachmentsChanged { attachments } if attachments.is_empty()),
        )
    };
    front.until("its end", settled).await;
}
