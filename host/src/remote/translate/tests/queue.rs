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

fn idle() -> View {
    let mut view = View::on(&at_rest(&[user("a"), said("b")]));
    view.asked();
    view.told();
    view
}

fn queued(view: &View) -> Vec<String> {
    view.front.queued.iter().map(|queued| queued.text.clone()).collect()
}

impl View {
    fn accept(&mut self, stream: &str) {
        self.mirror.accepted(&accepted(stream), NOW);
        self.settle();
    }

    fn refuse(&mut self, refused: Refused) {
        self.mirror.refused(refused, NOW);
        self.settle();
    }

    fn finish(&mut self, messages: &[Value]) {
        let session = json!({"session_id": "s1", "messages": messages, "message_count": messages.len(),
            "user_message_count": messages.iter().filter(|m| m["role"] == "user").count()});
        self.say("done", json!({ "session": session }));
        self.say("stream_end", json!({}));
    }
}

#[test]
fn a_prompt_waits_visibly_until_the_server_has_it_and_is_then_a_row() {
    let mut view = idle();
    view.prompt("p1", "hello");
    assert_eq!(view.asked(), [start("p1", "hello")]);
    assert_eq!(queued(&view), ["hello"]);
    view.accept("st");
    assert_eq!(view.asked(), [Request::OpenChat("st".to_owned())]);
    assert!(queued(&view).is_empty());
    assert_eq!(view.rows().last().unwrap(), "user hello");
    assert_eq!(view.front.running.as_ref().map(|r| r.turn), Some(TurnId(2)));
    // Sent twice by the front end: one prompt.
    view.prompt("p2", "x");
    view.prompt("p2", "x");
    assert_eq!(queued(&view), ["x"]);
}

#[test]
fn what_is_typed_while_a_turn_runs_goes_when_its_stream_has_ended() {
    // E10
    let mut view = View::on(&busy(&[], "go", "st"));
    view.prompt("p1", "next");
    view.asked();
    view.say("done", json!({"session": {"session_id": "s1", "messages": [user("go"), said("x")]}}));
    assert!(view.front.running.is_none());
    assert_eq!(view.asked(), [], "the stream has not ended");
    view.say("title", json!({"title": "New"}));
    assert_eq!(view.front.title.as_deref(), Some("New"));
    view.say("stream_end", json!({}));
    assert_eq!(view.asked(), [Request::CloseChat, start("p1", "next")]);
}

#[test]
fn each_word_that_ends_a_stream_closes_it() {
    // E10
    let session = json!({"session_id": "s1", "messages": [user("go"), said("x")]});
    for (word, data) in [
        ("cancel", json!({ "session": session })),
        ("cancel", json!({})),
        ("apperror", json!({"type": "auth", "message": "no key"})),
        ("error", json!({"error": "broken"})),
    ] {
        let mut view = View::on(&busy(&[], "go", "st"));
        view.asked();
        view.say("token", json!({"text": "so"}));
        assert_eq!(view.asked(), [], "it goes on");
        view.say(word, data);
        assert!(view.asked().contains(&Request::CloseChat), "{word}");
        assert!(view.front.running.is_none(), "{word}");
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
    assert_eq!(view.front.attachments.len(), 1, "it is not sent yet");
    view.accept("st");
    assert!(view.front.attachments.is_empty());
}

#[test]
fn a_busy_server_is_attached_to_and_the_text_is_kept() {
    let mut view = idle();
    view.prompt("p1", "hello");
    view.asked();
    view.refuse(Refused::Busy(Some("other".to_owned())));
    assert_eq!(view.asked(), [Request::Load]);
    view.load(&busy(&[user("a"), said("b")], "of somebody else", "other"));
    assert_eq!(view.asked(), [Request::OpenChat("other".to_owned())]);
    assert_eq!(queued(&view), ["hello"]);
    view.finish(&[user("a"), said("b"), user("of somebody else"), said("c")]);
    assert_eq!(view.asked(), [Request::CloseChat, start("p1", "hello")]);
}

#[test]
fn a_run_that_unwinds_and_cannot_be_attached_to_is_waited_for() {
    let mut view = idle();
    view.prompt("p1", "hello");
    view.refuse(Refused::Busy(Some("dying".to_owned())));
    view.asked();
    view.load(&at_rest(&[user("a"), said("b")]));
    assert_eq!(view.asked(), [Request::CloseChat], "not at once: it unwinds for long");
    assert_eq!(view.mirror.wants_tick(), Some(NOW + 1_000));
    view.mirror.tick(NOW + 1_000);
    view.settle();
    assert_eq!(view.asked(), [start("p1", "hello")]);
    assert_eq!(view.mirror.wants_tick(), None);
    view.refuse(Refused::Busy(None));
    assert_eq!(view.mirror.wants_tick(), Some(NOW + 1_000));
}

#[test]
fn a_prompt_that_never_left_is_tried_again_and_one_refused_is_kept() {
    let mut view = idle();
    view.prompt("p1", "hello");
    view.asked();
    view.refuse(Refused::Unsent);
    assert_eq!(queued(&view), ["hello"]);
    view.mirror.tick(NOW);
    view.settle();
    assert_eq!(view.asked(), []);
    view.mirror.tick(NOW + 3_000);
    view.settle();
    assert_eq!(view.asked(), [start("p1", "hello")]);
    view.refuse(Refused::No("workspace gone".to_owned()));
    assert_eq!(queued(&view), ["hello"]);
    assert!(matches!(view.told().last(), Some(Event::Failed(f)) if f.message == "workspace gone"));
    view.mirror.tick(NOW + 900_000);
    view.settle();
    assert_eq!(view.asked(), [], "the same refusal for ever");
    view.mirror.unqueue(&id("p1"));
    view.settle();
    view.prompt("p2", "other");
    assert_eq!(view.asked(), [start("p2", "other")]);
}

#[test]
fn a_prompt_whose_answer_was_lost_is_looked_for_before_it_is_sent_again() {
    let before = [user("a"), said("b")];
    for arrived in ["pending", "row", "no"] {
        let mut view = idle();
        view.prompt("p1", "hello");
        view.asked();
        view.refuse(Refused::Unanswered);
        assert!(view.mirror.is_uncertain());
        view.mirror.tick(NOW + 900_000);
        view.mirror.reload();
        view.settle();
        assert_eq!(view.asked(), [Request::Load]);
        match arrived {
            "pending" => view.load(&busy(&before, "hello", "st")),
            "row" => view.load(&at_rest(&[user("a"), said("b"), user("hello"), said("c")])),
            _ => view.load(&at_rest(&before)),
        }
        let again = view.asked().contains(&start("p1", "hello"));
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
    let mut view = View::on(&at_rest(&[user("hello"), said("b")]));
    view.prompt("p1", "hello");
    view.asked();
    view.refuse(Refused::Unanswered);
    view.mirror.reload();
    view.load(&at_rest(&[user("hello"), said("b")]));
    assert!(view.asked().contains(&start("p1", "hello")));
}

#[test]
fn a_goal_goes_on_after_a_turn_that_ended_well_and_only_once() {
    // S08
    let goes_on = |view: &mut View| {
        view.asked().iter().any(|request| matches!(request, Request::Start { prompt: None, .. }))
    };
    let next = json!({"continuation_prompt": "keep going"});
    let mut view = View::on(&busy(&[], "go", "st"));
    view.say("goal_continue", next.clone());
    view.finish(&[user("go"), said("x")]);
    assert!(goes_on(&mut view));
    // Another client was faster: fine.
    view.refuse(Refused::Busy(Some("st2".to_owned())));
    assert_eq!(view.asked(), [Request::Load]);
    view.load(&busy(&[user("go"), said("x")], "keep going", "st2"));
    view.finish(&[user("go"), said("x"), user("keep going"), said("y")]);
    assert!(!goes_on(&mut view));
    assert!(!view.told().iter().any(|event| matches!(event, Event::Failed(_))));

    let mut view = View::on(&busy(&[], "go", "st"));
    view.say("goal_continue", next.clone());
    view.say("cancel", json!({"type": "cancelled"}));
    view.load(&at_rest(&[user("go")]));
    assert!(!goes_on(&mut view), "after a cancel");

    let mut view = View::on(&busy(&[], "go", "st"));
    view.say("goal_continue", next.clone());
    view.say("apperror", json!({"type": "rate_limit", "message": "slow"}));
    view.load(&at_rest(&[user("go")]));
    assert!(!goes_on(&mut view), "after a failure");

    let mut view = View::on(&busy(&[], "go", "st"));
    view.prompt("p1", "mine");
    view.say("goal_continue", next);
    view.finish(&[user("go"), said("x")]);
    assert!(!goes_on(&mut view), "the user's own prompt goes first");
}

#[test]
fn a_remark_that_came_too_late_is_the_next_prompt() {
    let mut view = View::on(&busy(&[], "go", "st"));
    assert!(view.mirror.steer("left"));
    view.settle();
    assert_eq!(view.front.steer.as_deref(), Some("left"));
    view.say("pending_steer_leftover", json!({"text": "left"}));
    assert_eq!((view.front.steer.as_deref(), queued(&view)), (None, vec!["left".to_owned()]));
    let mut view = idle();
    assert!(!view.mirror.steer("x"));
    view.mirror.steer_missed("x");
    view.settle();
    assert!(matches!(view.asked()[..], [Request::Start { .. }]));
}

#[test]
fn a_text_that_the_server_ignores_on_purpose_does_not_wait_for_ever() {
    let mut view = idle();
    view.prompt("p1", "[SILENT]");
    view.refuse(Refused::Suppressed);
    assert!(queued(&view).is_empty());
    assert!(matches!(view.told().last(), Some(Event::Failed(_))));
}
