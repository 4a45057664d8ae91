//! Shapes of frames that a whole turn does not show.

use super::*;
use protocol::{Delivery, Event, Outcome, ProcessId, TurnId};

#[test]
fn arguments_are_the_first_four_as_text_and_cut() {
    let long = "ä".repeat(200);
    let shown = args(&json!({
        "command": long,
        "background": true,
        "watch_patterns": ["a", "it's", "\"q\""],
        "n": null,
        "fifth": 5,
    }));
    assert_eq!(
        shown,
        json!({
            "command": "ä".repeat(120),
            "background": "True",
            "watch_patterns": "['a', \"it's\", '\"q\"']",
            "n": "None",
        })
    );
    assert_eq!(args(&json!("no object")), json!({}));
    assert_eq!(python(&json!({ "a": [1.5, false, {}] }), false), "{'a': [1.5, False, {}]}");
}

#[test]
fn a_preview_is_the_error_or_output_of_a_result_else_its_text() {
    assert_eq!(preview(&json!({ "output": " hi\n", "exit_code": 0 }).to_string()), "hi");
    assert_eq!(preview(&json!({ "output": "", "error": "no" }).to_string()), "no");
    let answered = json!({ "user_response": "b" }).to_string();
    assert_eq!(preview(&answered), answered);
    assert_eq!(preview("plain"), "plain");
    let steered = format!("{}\n\n[The user says]", json!({ "output": "x" }));
    assert_eq!(preview(&steered), "x");
    assert_eq!(preview(&"y".repeat(9_000)).len(), PREVIEW_CHARS);
}

// S08
#[test]
fn a_goal_is_sent_and_no_client_is_asked_to_continue_it() {
    let session = SessionId("s".to_owned());
    let mut goal = Goal {
        text: "green".to_owned(),
        state: GoalState::Active,
        turns: 2,
        max_turns: 20,
        verdict: Some("two tests fail".to_owned()),
    };
    let mut encoder = FrameEncoder::new(session.clone(), TurnId(1), 0);
    let mut tell = |goal: Option<&Goal>| {
        let event = Event::GoalChanged { goal: goal.cloned() };
        let frames = encoder.event(&event, &Transcript::default(), 0);
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].name, "goal");
        frames[0].data["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(tell(Some(&goal)), "continuing");
    goal.state = GoalState::Paused("the turn failed".to_owned());
    assert_eq!(tell(Some(&goal)), "idle");
    goal.state = GoalState::Done;
    assert_eq!(tell(Some(&goal)), "idle");
    assert_eq!(tell(None), "idle");
}

#[test]
fn every_outcome_ends_the_stream_in_its_own_way() {
    let mut encoder = FrameEncoder::new(SessionId("s".to_owned()), TurnId(1), 0);
    encoder.failure = Some("why".to_owned());
    let end = |outcome: Outcome| {
        let frames = encoder.end(&outcome, &Transcript::default(), 5);
        let last = frames.last().unwrap().clone();
        assert!(["stream_end", "cancel", "apperror"].contains(&last.name), "E10");
        (last.name, last.data["type"].as_str().unwrap_or_default().to_owned(), last.data)
    };
    assert_eq!(end(Outcome::Done).0, "stream_end");
    assert_eq!(end(Outcome::Cancelled).1, "cancelled");
    for (class, kind) in [
        ("auth", "auth_mismatch"),
        ("quota", "quota_exhausted"),
        ("rate_limit", "rate_limit"),
        ("context_overflow", "compression_exhausted"),
        ("unknown_model", "model_not_found"),
        ("empty", "no_response"),
        ("unreachable", "error"),
        ("server", "error"),
    ] {
        let (name, error_type, data) = end(Outcome::Failed { class: class.to_owned() });
        assert_eq!(
            (name, error_type.as_str(), &data["message"]),
            ("apperror", kind, &json!("why"))
        );
        assert_eq!(data.get("recovery_control"), None);
    }
    assert_eq!(end(Outcome::Limit).1, "tool_limit_reached");
    let (_, kind, data) = end(Outcome::Interrupted);
    assert_eq!((kind.as_str(), &data["recovery_control"]), ("interrupted", &json!(true)));
}

// E11 W12
#[test]
fn each_event_of_the_ledger_has_one_id_and_its_own_text() {
    let data_of = |news: News, process: &str| {
        let toast = Toast {
            session: SessionId("s".to_owned()),
            name: String::new(),
            process: Some(ProcessId(process.to_owned())),
            news,
            text: "make".to_owned(),
        };
        background(&toast, &Transcript::default(), 9)
    };
    let exit = |end, code| News::Ended {
        exit: Exit { end, code, signal: None, at: 2_500 },
        delivery: Delivery::Waiting,
    };
    let done = data_of(exit(End::Exited, Some(0)), "proc_1").unwrap();
    assert_eq!(done, data_of(exit(End::Exited, Some(0)), "proc_1").unwrap());
    assert_eq!(done["completed_at"], 2.5);
    let lost = data_of(exit(End::Lost, None), "proc_2").unwrap();
    let summary = "IMPORTANT: Background process proc_2 was lost (exit_code=?).";
    assert_eq!((&lost["summary"], &lost["exit_code"]), (&json!(summary), &Value::Null));
    let task = data_of(exit(End::Exited, Some(0)), "deleg_1").unwrap();
    assert!(task["summary"].as_str().unwrap().starts_with("IMPORTANT: Delegated task deleg_1"));
    let matched = data_of(News::Matched { pattern: "READY".to_owned() }, "proc_1").unwrap();
    assert_ne!(matched["event_id"], done["event_id"]);
    assert!(matched["summary"].as_str().unwrap().contains("matched watch pattern \"READY\""));
    assert_eq!(data_of(News::Asked, "proc_1"), None);
}
