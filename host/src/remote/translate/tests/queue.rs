//! What waits for a running turn of a hermes-webui, and what became of it.

use super::*;
use protocol::Attachment;

fn id(text: &str) -> PromptId {
    PromptId(text.to_owned())
}

fn start(prompt: &str, text: &str) -> Request {
    Request::Start { prompt: Some(id(prompt)), text: text.to_owned() }
}

fn accepted(stream: &str) -> Accepted {
    Accepted { stream: stream.to_owned(), at: 1_795_251_871_000, title: String::new() }
}

fn idle() -> Harness {
    let mut view = Harness::on(&at_rest(&[user("a"), assistant("b")]));
    view.take_requests();
    view.take_events();
    view
}

fn queued(view: &Harness) -> Vec<String> {
    view.fold.queued.iter().map(|queued| queued.text.clone()).collect()
}

impl Harness {
    fn accept(&mut self, stream: &str) {
        self.mirror.accepted(&accepted(stream), NOW);
        self.settle();
    }

    fn refuse(&mut self, refused: StartRefusal) {
        self.mirror.refused(refused, NOW);
        self.settle();
    }

    fn finish(&mut self, messages: &[Value]) {
        let session = json!({"session_id": "s1", "messages": messages, "message_count": messages.len(),
            "user_message_count": messages.iter().filter(|m| m["role"] == "user").count()});
        self.chat_event("done", json!({ "session": session }));
        self.chat_event("stream_end", json!({}));
    }
}

#[test]
fn a_prompt_is_queued_until_the_server_has_it_and_then_a_row() {
    let mut view = idle();
    view.prompt("p1", "hello");
    assert_eq!(view.take_requests(), [start("p1", "hello")]);
    assert_eq!(queued(&view), ["hello"]);
    view.accept("st");
    assert_eq!(view.take_requests(), [Request::OpenChat("st".to_owned())]);
    assert!(queued(&view).is_empty());
    assert_eq!(view.rows().last().unwrap(), "user hello");
    assert_eq!(view.fold.running.as_ref().map(|r| r.turn), Some(TurnId(2)));
    // Sent twice by the front end: one prompt.
    view.prompt("p2", "x");
    view.prompt("p2", "x");
    assert_eq!(queued(&view), ["x"]);
}

#[test]
fn a_queued_prompt_is_sent_when_the_stream_of_the_turn_ended() {
    // E10
    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.prompt("p1", "next");
    view.take_requests();
    view.chat_event(
        "done",
        json!({"session": {"session_id": "s1", "messages": [user("go"), assistant("x")]}}),
    );
    assert!(view.fold.running.is_none());
    assert_eq!(view.take_requests(), [], "the stream has not ended");
    view.chat_event("title", json!({"title": "New"}));
    assert_eq!(view.fold.title.as_deref(), Some("New"));
    view.chat_event("stream_end", json!({}));
    assert_eq!(view.take_requests(), [Request::CloseChat, start("p1", "next")]);
}

#[test]
fn each_word_that_ends_a_stream_closes_it() {
    // E10
    let session = json!({"session_id": "s1", "messages": [user("go"), assistant("x")]});
    for (word, data) in [
        ("cancel", json!({ "session": session })),
        ("cancel", json!({})),
        ("apperror", json!({"type": "auth", "message": "no key"})),
        ("error", json!({"error": "broken"})),
    ] {
        let mut view = Harness::on(&busy(&[], "go", "st"));
        view.take_requests();
        view.chat_event("token", json!({"text": "so"}));
        assert_eq!(view.take_requests(), [], "it goes on");
        view.chat_event(word, data);
        assert!(view.take_requests().contains(&Request::CloseChat), "{word}");
        assert!(view.fold.running.is_none(), "{word}");
    }
}

#[test]
fn files_go_along_with_one_prompt() {
    // S05
    let mut view = idle();
    view.mirror.attach_file(Attachment {
        name: "a".to_owned(),
        path: "/a".to_owned(),
        mime: "text/plain".to_owned(),
        size: 1,
    });
    view.prompt("p1", "hello");
    assert_eq!(view.fold.attachments.len(), 1, "it is not sent yet");
    view.accept("st");
    assert!(view.fold.attachments.is_empty());
}

#[test]
fn a_busy_server_is_attached_to_and_the_text_is_kept() {
    let mut view = idle();
    view.prompt("p1", "hello");
    view.take_requests();
    view.refuse(StartRefusal::Busy(Some("other".to_owned())));
    assert_eq!(view.take_requests(), [Request::Load]);
    view.load(&busy(&[user("a"), assistant("b")], "of somebody else", "other"));
    assert_eq!(view.take_requests(), [Request::OpenChat("other".to_owned())]);
    assert_eq!(queued(&view), ["hello"]);
    view.finish(&[user("a"), assistant("b"), user("of somebody else"), assistant("c")]);
    assert_eq!(view.take_requests(), [Request::CloseChat, start("p1", "hello")]);
}

#[test]
fn a_run_that_unwinds_and_cannot_be_attached_to_is_waited_for() {
    let mut view = idle();
    view.prompt("p1", "hello");
    view.refuse(StartRefusal::Busy(Some("dying".to_owned())));
    view.take_requests();
    view.load(&at_rest(&[user("a"), assistant("b")]));
    assert_eq!(view.take_requests(), [Request::CloseChat], "not at once: it unwinds for long");
    assert_eq!(view.mirror.wants_tick(), Some(NOW + 1_000));
    view.mirror.tick(NOW + 1_000);
    view.settle();
    assert_eq!(view.take_requests(), [start("p1", "hello")]);
    assert_eq!(view.mirror.wants_tick(), None);
    view.refuse(StartRefusal::Busy(None));
    assert_eq!(view.mirror.wants_tick(), Some(NOW + 1_000));
}

#[test]
fn unsent_prompts_are_tried_again_and_refused_ones_kept() {
    let mut view = idle();
    view.prompt("p1", "hello");
    view.take_requests();
    view.refuse(StartRefusal::Unsent);
    assert_eq!(queued(&view), ["hello"]);
    view.mirror.tick(NOW);
    view.settle();
    assert_eq!(view.take_requests(), []);
    view.mirror.tick(NOW + 3_000);
    view.settle();
    assert_eq!(view.take_requests(), [start("p1", "hello")]);
    view.refuse(StartRefusal::No("workspace gone".to_owned()));
    assert_eq!(queued(&view), ["hello"]);
    assert!(
        matches!(view.take_events().last(), Some(Event::Failed(f)) if f.message == "workspace gone")
    );
    view.mirror.tick(NOW + 900_000);
    view.settle();
    assert_eq!(view.take_requests(), [], "the same refusal for ever");
    view.mirror.unqueue(&id("p1"));
    view.settle();
    view.prompt("p2", "other");
    assert_eq!(view.take_requests(), [start("p2", "other")]);
}

#[test]
fn an_unanswered_prompt_is_looked_up_before_it_is_sent_again() {
    let before = [user("a"), assistant("b")];
    for arrived in ["pending", "row", "no"] {
        let mut view = idle();
        view.prompt("p1", "hello");
        view.take_requests();
        view.refuse(StartRefusal::Unanswered);
        assert!(view.mirror.is_uncertain());
        view.mirror.tick(NOW + 900_000);
        view.mirror.reload();
        view.settle();
        assert_eq!(view.take_requests(), [Request::Load]);
        match arrived {
            "pending" => view.load(&busy(&before, "hello", "st")),
            "row" => {
                view.load(&at_rest(&[user("a"), assistant("b"), user("hello"), assistant("c")]));
            }
            _ => view.load(&at_rest(&before)),
        }
        let again = view.take_requests().contains(&start("p1", "hello"));
        assert_eq!(again, arrived == "no", "{arrived}");
        assert_eq!(queued(&view).is_empty(), arrived != "no", "{arrived}");
        assert_eq!(
            view.rows().iter().filter(|row| *row == "user hello").count(),
            usize::from(arrived != "no")
        );
    }
}

#[test]
fn the_same_words_before_do_not_count_as_arrived() {
    let mut view = Harness::on(&at_rest(&[user("hello"), assistant("b")]));
    view.prompt("p1", "hello");
    view.take_requests();
    view.refuse(StartRefusal::Unanswered);
    view.mirror.reload();
    view.load(&at_rest(&[user("hello"), assistant("b")]));
    assert!(view.take_requests().contains(&start("p1", "hello")));
}

#[test]
fn a_goal_goes_on_after_a_turn_that_ended_well_and_only_once() {
    // S08
    let goes_on = |view: &mut Harness| {
        view.take_requests()
            .iter()
            .any(|request| matches!(request, Request::Start { prompt: None, .. }))
    };
    let next = json!({"continuation_prompt": "keep going"});
    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.chat_event("goal_continue", next.clone());
    view.finish(&[user("go"), assistant("x")]);
    assert!(goes_on(&mut view));
    // Another client was faster: fine.
    view.refuse(StartRefusal::Busy(Some("st2".to_owned())));
    assert_eq!(view.take_requests(), [Request::Load]);
    view.load(&busy(&[user("go"), assistant("x")], "keep going", "st2"));
    view.finish(&[user("go"), assistant("x"), user("keep going"), assistant("y")]);
    assert!(!goes_on(&mut view));
    assert!(!view.take_events().iter().any(|event| matches!(event, Event::Failed(_))));

    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.chat_event("goal_continue", next.clone());
    view.chat_event("cancel", json!({"type": "cancelled"}));
    view.load(&at_rest(&[user("go")]));
    assert!(!goes_on(&mut view), "after a cancel");

    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.chat_event("goal_continue", next.clone());
    view.chat_event("apperror", json!({"type": "rate_limit", "message": "slow"}));
    view.load(&at_rest(&[user("go")]));
    assert!(!goes_on(&mut view), "after a failure");

    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.prompt("p1", "mine");
    view.chat_event("goal_continue", next);
    view.finish(&[user("go"), assistant("x")]);
    assert!(!goes_on(&mut view), "the user's own prompt goes first");
}

#[test]
fn a_remark_that_came_too_late_is_the_next_prompt() {
    let mut view = Harness::on(&busy(&[], "go", "st"));
    assert!(view.mirror.steer("left"));
    view.settle();
    assert_eq!(view.fold.steer.as_deref(), Some("left"));
    view.chat_event("pending_steer_leftover", json!({"text": "left"}));
    assert_eq!((view.fold.steer.as_deref(), queued(&view)), (None, vec!["left".to_owned()]));
    let mut view = idle();
    assert!(!view.mirror.steer("x"));
    view.mirror.steer_missed("x");
    view.settle();
    assert!(matches!(view.take_requests()[..], [Request::Start { .. }]));
}

#[test]
fn a_text_that_the_server_ignores_does_not_stay_queued() {
    let mut view = idle();
    view.prompt("p1", "[SILENT]");
    view.refuse(StartRefusal::Suppressed);
    assert!(queued(&view).is_empty());
    assert!(matches!(view.take_events().last(), Some(Event::Failed(_))));
}
