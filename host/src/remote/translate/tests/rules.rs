//! The rules of a view on a hermes-webui, one by one.

use super::*;
use protocol::Summary;

fn loads(view: &mut Harness) -> usize {
    view.take_requests().iter().filter(|request| **request == Request::Load).count()
}

#[test]
fn a_running_turn_is_replayed_over_the_rows_before_it() {
    // E02
    let stored = [
        user("a"),
        assistant("b"),
        json!({"role": "user", "content": "go", "timestamp": 1_795_251_870.5}),
        json!({"role": "assistant", "content": "half", "timestamp": 1_795_251_871.0}),
    ];
    for messages in [&stored[..], &stored[..3], &stored[..2]] {
        let mut view = Harness::on(&busy(messages, "go", "st"));
        assert_eq!(view.rows(), ["user a", r#"said "b" [] End"#, "user go"]);
        assert_eq!(view.take_requests(), [Request::OpenChat("st".to_owned())]);
        let running = view.fold.running.as_ref().unwrap();
        assert_eq!((running.turn, running.source), (TurnId(2), Source::User));
        assert_eq!(running.started_at, 1_795_251_870_500);
    }
    // The same words as before are another prompt.
    let view = Harness::on(&busy(&[user("go"), assistant("b")], "go", "st"));
    assert_eq!(view.rows(), ["user go", r#"said "b" [] End"#, "user go"]);
}

#[test]
fn a_stream_that_a_killed_server_left_behind_is_not_attached_to() {
    let session = decode::Session { is_streaming: false, ..busy(&[user("go")], "go", "dead") };
    let mut view = Harness::on(&session);
    assert!(view.fold.running.is_none());
    assert_eq!(view.take_requests(), [Request::CloseChat]);
}

#[test]
fn a_turn_the_server_starts_is_attached_to_once() {
    // E02 E11
    let mut view = Harness::on(&at_rest(&[user("a"), assistant("b")]));
    view.take_requests();
    let started = json!({"session_id": "s1", "stream_id": "w1", "source": "process_wakeup"});
    view.channel("server_turn_started", started.clone());
    view.channel(
        "server_turn_started",
        json!({"session_id": "s1", "stream_id": "w1", "recovered": true}),
    );
    assert_eq!(loads(&mut view), 1);
    let take_events =
        "[IMPORTANT: Background process p1 completed (exit_code=0).\nCommand: x\nOutput:\ny]";
    view.load(&busy(&[user("a"), assistant("b")], take_events, "w1"));
    assert_eq!(view.fold.running.as_ref().map(|r| r.source), Some(Source::Wakeup));
    assert_eq!(view.rows().last().unwrap(), "wakeup p1");
    assert_eq!(view.take_requests(), [Request::OpenChat("w1".to_owned())]);
    view.channel("server_turn_started", started);
    assert_eq!(loads(&mut view), 0);
}

#[test]
fn nothing_of_another_session_is_taken() {
    // E06
    let mut view = Harness::on(&at_rest(&[]));
    view.take_requests();
    view.take_events();
    for name in ["server_turn_started", "session-updated", "bg_task_complete"] {
        view.channel(
            name,
            json!({"session_id": "s2", "stream_id": "x", "message_count": 9, "event_id": "e"}),
        );
    }
    assert_eq!((view.take_requests(), view.take_events()), (vec![], vec![]));
}

#[test]
fn a_background_event_under_both_names_is_reported_once() {
    // E11
    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.take_events();
    let event = json!({"session_id": "s1", "task_id": "p1", "event_id": "e1",
        "summary": "IMPORTANT: Background process p1 completed (exit_code=3)."});
    for name in ["bg_task_complete", "process_complete", "bg_task_complete"] {
        view.channel(name, event.clone());
        view.chat_event(name, event.clone());
    }
    let take_events = view.take_events();
    let [Event::Toast(toast)] = &take_events[..] else { panic!("{take_events:?}") };
    assert_eq!((toast.text.as_str(), toast.name.as_str()), ("failed (exit 3)", "T"));
    // W24 P11: what another one tells is another toast.
    view.channel(
        "bg_task_complete",
        json!({"session_id": "s1", "task_id": "p1", "event_id": "e2"}),
    );
    assert_eq!(view.take_events().len(), 1);
}

#[test]
fn calls_side_by_side_are_one_answer_and_calls_in_turn_are_two() {
    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.chat_event("token", json!({"text": "look"}));
    view.chat_event(
        "tool",
        json!({"name": "terminal", "args": {"command": "a", "background": "True"}, "tid": "c1"}),
    );
    view.chat_event("tool", json!({"name": "terminal", "args": {}, "tid": "c2"}));
    assert_eq!(view.rows()[1..], [r#"said "look" ["c1", "c2"] Calls"#]);
    let calls = &view.fold.running.as_ref().unwrap().calls;
    assert!(calls.len() == 2 && calls.iter().all(|call| call.started_at.is_some()));
    assert_eq!(calls[0].call.args, json!({"command": "a", "background": true}));
    view.chat_event(
        "tool_complete",
        json!({"name": "terminal", "tid": "c2", "preview": "x", "duration": 1.5}),
    );
    view.chat_event("tool_complete", json!({"name": "terminal", "tid": "c1", "is_error": true}));
    view.chat_event("tool", json!({"name": "terminal", "tid": "c3"}));
    assert_eq!(view.rows()[2..], ["result c2", "result c1", r#"said "" ["c3"] Calls"#]);
    let Body::Tool(result) = &view.fold.rows[2].body else { panic!() };
    assert_eq!((result.millis, result.failed), (1_500, false));
}

#[test]
fn the_end_of_a_call_without_a_start_shows_the_call_too() {
    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.chat_event("tool_complete", json!({"name": "terminal", "tid": "c9", "preview": "x"}));
    assert_eq!(view.rows()[1..], [r#"said "" ["c9"] Calls"#, "result c9"]);
}

#[test]
fn a_turn_that_fails_shows_why_until_a_reason_is_stored() {
    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.chat_event("token", json!({"text": "half"}));
    view.chat_event(
        "apperror",
        json!({"type": "auth_mismatch", "message": "401", "hint": "log in"}),
    );
    assert_eq!(view.rows()[1..], [r#"said "half" [] Partial"#, "failure 401\nlog in"]);
    let ended = view.take_events().into_iter().find_map(|event| match event {
        Event::TurnEnded { outcome, .. } => Some(outcome),
        _ => None,
    });
    assert_eq!(ended, Some(Outcome::Failed { class: "auth_mismatch".to_owned() }));
    let take_requests = view.take_requests();
    assert!(
        take_requests.contains(&Request::CloseChat) && take_requests.contains(&Request::Load),
        "{take_requests:?}"
    );
    view.load(&at_rest(&[
        user("go"),
        json!({"role": "assistant", "content": "stored", "_error": true}),
    ]));
    assert_eq!(view.rows(), ["user go", "failure stored"]);
}

#[test]
fn a_stream_that_lost_events_is_loaded_again_visibly() {
    // E03 E04
    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.chat_event("token", json!({"text": "half"}));
    view.take_requests();
    view.take_events();
    view.chat_event(
        "apperror",
        json!({"type": "interrupted", "recovery_control": true, "offline_dropped_events": 3}),
    );
    assert_eq!(view.take_requests(), [Request::Load]);
    assert_eq!(view.rows(), ["user go"], "no failure is shown");
    view.load(&busy(&[], "go", "st"));
    assert!(matches!(&view.take_events()[..], [Event::Attached { resynced: true, .. }]));
    assert_eq!(view.take_requests(), [Request::OpenChat("st".to_owned())]);
}

#[test]
fn text_that_only_a_killed_servers_stream_had_stays() {
    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.chat_event("token", json!({"text": "only here"}));
    view.chat_event("apperror", json!({"type": "interrupted", "recovery_control": true}));
    let after = at_rest(&[json!({"role": "user", "content": "go", "timestamp": 1_795_251_870.5})]);
    view.load(&after);
    assert_eq!(view.rows(), ["user go", r#"said "only here" [] Partial"#]);
    assert!(view.fold.running.is_none());
    // Once the server has something, that counts.
    view.mirror.resync();
    view.load(&at_rest(&[user("go"), assistant("stored")]));
    assert_eq!(view.rows(), ["user go", r#"said "stored" [] End"#]);
}

#[test]
fn it_stays_however_the_death_of_the_server_is_noticed() {
    let dead = at_rest(&[json!({"role": "user", "content": "go", "timestamp": 1_795_251_870.5})]);
    let kept = ["user go", r#"said "only here" [] Partial"#];
    let status =
        decode::Status { session_id: "s1".to_owned(), message_count: 1, ..Default::default() };
    // A poll hears it from the next server, before anything else does.
    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.chat_event("token", json!({"text": "only here"}));
    view.mirror.status(&status, true);
    view.settle();
    view.load(&dead);
    assert_eq!(view.rows(), kept);
    // Then its time of start tells the same once more.
    view.mirror.restarted(NOW);
    view.settle();
    view.load(&dead);
    assert_eq!(view.rows(), kept);
    view.load(&dead);
    assert_eq!(view.rows(), kept);
    // Once it is taken back it does not come again.
    view.load(&at_rest(&[]));
    view.load(&dead);
    assert_eq!(view.rows(), ["user go"]);
}

#[test]
fn a_restarted_server_is_loaded_without_its_old_live_state() {
    // E13
    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.mirror.apply(Event::YoloChanged { yolo: true });
    let head = decode::Approval { approval_id: "a1".to_owned(), ..Default::default() };
    view.mirror.approval(Some(head), true, NOW);
    view.mirror.steer("x");
    view.settle();
    view.take_requests();
    view.mirror.restarted(NOW);
    view.settle();
    assert_eq!(view.take_requests(), [Request::Load]);
    assert!(!view.fold.yolo && view.fold.questions.is_empty() && view.fold.steer.is_none());
    view.take_events();
    view.load(&at_rest(&[user("go")]));
    assert!(matches!(&view.take_events()[..], [Event::Attached { resynced: true, .. }]));
    assert_eq!(view.take_requests(), [Request::CloseChat]);
}

#[test]
fn a_compressed_session_is_followed_to_its_new_id() {
    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.prompt("p1", "later");
    view.take_requests();
    view.chat_event("compressing", json!({"message": "compressing"}));
    assert_eq!(view.fold.running.as_ref().unwrap().status.as_deref(), Some("compressing"));
    view.chat_event(
        "compressed",
        json!({"old_session_id": "s1", "new_session_id": "s9", "message": "done"}),
    );
    let [from, to] = ["s1", "s9"].map(|id| SessionId(id.to_owned()));
    assert_eq!(view.take_requests(), [Request::Follow { from, to }]);
    assert_eq!(view.fold.session.0, "s9");
    view.chat_event("token", json!({"text": "on"}));
    let after = json!({"session_id": "s9", "messages": [user("summary"), user("go"), assistant("on")], "message_count": 3});
    view.chat_event("done", json!({ "session": after }));
    view.chat_event("stream_end", json!({}));
    assert_eq!(view.rows(), ["user summary", "user go", r#"said "on" [] End"#]);
    let take_requests = view.take_requests();
    assert!(
        matches!(&take_requests[..], [Request::CloseChat, Request::Start { .. }]),
        "{take_requests:?}"
    );
}

#[test]
fn the_gauge_is_the_last_prompt_and_never_a_zero() {
    // S01
    let mut view = Harness::on(&at_rest(&[]));
    assert_eq!(view.fold.gauge.used, None);
    view.load(&busy(&[], "go", "st"));
    let usage = |used: u64| json!({"usage": {"input_tokens": 99999, "last_prompt_tokens": used, "context_length": 1000}});
    view.chat_event("metering", usage(0));
    assert_eq!(view.fold.gauge.used, None);
    view.chat_event("metering", usage(250));
    assert_eq!((view.fold.gauge.used, view.fold.gauge.length), (Some(250), Some(1000)));
    // A turn that nobody saw told its numbers to nobody: they stand in the session.
    let mut stored = at_rest(&[user("a"), assistant("b")]);
    (stored.last_prompt_tokens, stored.context_length) = (Some(600), Some(1000));
    view.load(&stored);
    assert_eq!(view.fold.gauge.used, Some(600));
    view.load(&busy(&[], "go", "st"));
    view.chat_event("metering", usage(250));
    view.take_events();
    view.chat_event("metering", usage(250));
    assert!(view.take_events().is_empty());
}

#[test]
fn a_change_by_another_client_shows() {
    // S04
    let mut view = Harness::on(&at_rest(&[user("a"), assistant("b")]));
    view.take_requests();
    let mut status = decode::Status {
        session_id: "s1".to_owned(),
        title: "Renamed".to_owned(),
        model: "other".to_owned(),
        workspace: "/elsewhere".to_owned(),
        message_count: 2,
        active_stream_id: None,
    };
    view.mirror.status(&status, false);
    view.settle();
    assert_eq!(view.fold.title.as_deref(), Some("Renamed"));
    assert_eq!((view.fold.model.as_str(), view.fold.cwd.as_str()), ("other", "/elsewhere"));
    assert_eq!(loads(&mut view), 0);
    status.message_count = 4;
    view.mirror.status(&status, false);
    view.settle();
    assert_eq!(loads(&mut view), 1);
    view.take_events();
    view.load(&at_rest(&[user("a"), assistant("b"), user("c"), assistant("d")]));
    assert_eq!(view.rows().len(), 4);
    let take_events = view.take_events();
    assert!(!take_events.iter().any(|e| matches!(e, Event::Attached { .. })), "{take_events:?}");
    // Of a turn that somebody else has started nothing else tells.
    status.active_stream_id = Some("st".to_owned());
    view.mirror.status(&status, false);
    view.settle();
    assert_eq!(loads(&mut view), 1);
}

#[test]
fn rows_that_were_taken_back_go() {
    let mut view = Harness::on(&at_rest(&[user("a"), assistant("b"), user("c"), assistant("d")]));
    view.mirror.reload();
    view.load(&at_rest(&[user("a"), assistant("b")]));
    assert_eq!(view.rows(), ["user a", r#"said "b" [] End"#]);
    view.mirror.reload();
    view.load(&at_rest(&[]));
    assert!(view.rows().is_empty());
}

#[test]
fn older_rows_come_by_pages_and_keep_their_numbers() {
    let tail = decode::Session {
        messages_offset: 40,
        user_message_count: 21,
        ..at_rest(&[user("y"), assistant("z")])
    };
    let mut view = Harness::on(&tail);
    assert_eq!(
        (view.fold.earlier, view.fold.rows[0].n, view.fold.rows[0].turn),
        (40, 41, TurnId(21))
    );
    let page = decode::Session { messages_offset: 38, ..at_rest(&[user("w"), assistant("x")]) };
    view.mirror.paged(&page);
    view.settle();
    assert_eq!(view.rows().len(), 4);
    assert_eq!((view.fold.earlier, view.fold.rows[0].n), (38, 39));
    // A load of the tail leaves the older rows where they are.
    view.mirror.reload();
    view.load(&tail);
    assert_eq!((view.rows().len(), view.fold.earlier), (4, 38));
}

#[test]
fn an_unknown_event_is_ignored() {
    // E15
    let mut view = Harness::on(&busy(&[], "go", "st"));
    view.take_events();
    view.chat_event("never_heard_of", json!({"x": 1}));
    view.channel("never_heard_of", json!(null));
    assert_eq!(view.mirror.unknown.len(), 1);
    assert!(view.take_events().is_empty());
}

#[test]
fn compressions_are_one_line_and_forks_lines_of_their_own() {
    // S03
    let row = |id: &str, parent: Option<&str>, snapshot: bool, at: f64| {
        session(json!({"session_id": id, "title": id, "parent_session_id": parent,
            "pre_compression_snapshot": snapshot, "last_message_at": at}))
    };
    let rows = list(&[
        row("first", None, true, 1.0),
        row("second", Some("first"), true, 2.0),
        row("tip", Some("second"), false, 3.0),
        row("fork", Some("tip"), false, 4.0),
        row("alone", None, true, 0.5),
    ]);
    let take_events: Vec<_> =
        rows.iter().map(|row| (row.id.0.as_str(), row.compressions)).collect();
    assert_eq!(take_events, [("fork", 0), ("tip", 2), ("alone", 0)]);
    // A ring of parents ends.
    assert_eq!(list(&[row("a", Some("b"), true, 1.0), row("b", Some("a"), true, 1.0)]).len(), 2);
}

#[test]
fn the_line_a_server_puts_before_a_prompt_is_not_shown() {
    let view =
        Harness::on(&at_rest(&[user("[Workspace::v1: /w]\nhello"), user("[Workspace::v1: x")]));
    assert_eq!(view.rows(), ["user hello", "user [Workspace::v1: x"]);
}

// E15
#[test]
fn numbers_beyond_all_bounds_end_nothing() {
    let huge = u64::MAX;
    for offset in [json!(huge), json!(huge - 1), json!(-1), json!(1e300), json!("7")] {
        let session = session(json!({
            "session_id": "s1", "messages": [user("hi"), assistant("ho"), user("again")],
            "_messages_offset": offset, "message_count": huge, "user_message_count": huge,
            "last_prompt_tokens": huge, "context_length": huge, "created_at": 1e300,
            "pending_started_at": 1e300, "active_stream_id": "s", "is_streaming": true,
            "pending_user_message": "more",
        }));
        let mut mirror = Mirror::default();
        mirror.loaded(&session, NOW);
        mirror.paged(&session);
        let usage = json!({"usage": {"last_prompt_tokens": huge, "context_length": huge,
            "output_tokens": huge, "cache_read_tokens": huge}});
        mirror.chat("metering", usage, None, NOW);
        let tool = json!({"tid": "t", "name": "n", "duration": 1e300});
        mirror.chat("tool", tool.clone(), None, NOW);
        mirror.chat("tool_complete", tool, None, NOW);
        mirror.chat("token", json!({"text": "x"}), None, NOW);
        let question = json!({"clarify_id": "c", "question": "?", "requested_at": 1e300,
            "timeout_seconds": 1e300, "expires_at": 1e300});
        mirror.clarify(Some(decode::read(question)), NOW);
        mirror.tick(NOW);
        mirror.chat(
            "done",
            json!({"session": {"session_id": "s1", "_messages_offset": offset,
            "message_count": huge, "messages": [user("hi"), assistant("ho")]}}),
            None,
            NOW,
        );
        mirror.chat("stream_end", json!({}), None, NOW);
        assert!(mirror.is_attached());
    }
}

#[test]
fn notes_and_summaries_of_our_server_are_not_user_prompts() {
    let note = json!({"role": "user", "content": "mind", "_source": "note"});
    let summary = json!({"role": "user", "content": "so far", "_source": "summary",
        "_summary": {"head": 1, "tail": 7, "rows": 5, "before": 900, "after": 90}});
    let bare = json!({"role": "user", "content": "so far", "_source": "summary"});
    let view = Harness::on(&at_rest(&[user("a"), note, summary, bare]));
    let bodies: Vec<_> = view.fold.rows.iter().map(|row| &row.body).collect();
    assert!(matches!(bodies[1], Body::Note { text } if text == "mind"), "{bodies:?}");
    let take_events =
        Summary { text: "so far".to_owned(), head: 1, tail: 7, rows: 5, before: 900, after: 90 };
    assert_eq!(bodies[2], &Body::Summary(take_events));
    assert!(matches!(bodies[3], Body::Note { text } if text == "so far"), "{bodies:?}");
}

#[test]
fn what_was_counted_counts_still_when_rows_are_told_anew() {
    let mut view = Harness::on(&busy(&[], "go", "st"));
    let usage = json!({"usage": {"last_prompt_tokens": 900, "context_length": 4_000}});
    view.mirror.chat("metering", usage, Some("st:1"), NOW);
    view.mirror.chat("token", json!({"text": "b"}), Some("st:2"), NOW);
    let stored = json!({"session_id": "s1", "title": "T", "message_count": 2, "_messages_offset": 0,
        "messages": [{"role": "user", "content": "go", "timestamp": 1_795_251_871.0}, assistant("b")]});
    view.mirror.chat("done", json!({ "session": stored }), Some("st:3"), NOW);
    view.settle();
    assert_eq!(view.rows(), ["user go", r#"said "b" [] End"#]);
    assert_eq!(view.fold.gauge.used, Some(900));
}

#[test]
fn an_error_is_shown_without_the_marks_of_a_browser() {
    let text = "**Task cancelled:** by you.\n\n*No provider failed.*";
    let error = json!({"role": "assistant", "content": text, "_error": true});
    let view = Harness::on(&at_rest(&[user("a"), error]));
    let Body::Failure { message } = &view.fold.rows[1].body else { panic!("{:?}", view.rows()) };
    assert_eq!(message, "Task cancelled: by you.\n\nNo provider failed.");
}

#[test]
fn a_prompt_listed_from_both_stores_of_the_server_is_one_row() {
    let stored = |text: &str| {
        json!({"role": "user", "content": text, "_db_persisted": true,
            "timestamp": 1_795_251_890.0})
    };
    let view = Harness::on(&at_rest(&[user("lost"), user("go"), stored("go"), assistant("b")]));
    assert_eq!(view.rows(), ["user lost", "user go", r#"said "b" [] End"#]);
    // Whoever says a thing twice is shown twice.
    let view = Harness::on(&at_rest(&[stored("go"), stored("go"), assistant("b")]));
    assert_eq!(view.rows().len(), 3);
    let view = Harness::on(&at_rest(&[user("go"), user("go"), assistant("b")]));
    assert_eq!(view.rows().len(), 3);
}
