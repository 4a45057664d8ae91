use std::path::Path;

use super::*;
use crate::wire::decode;
use protocol::{CallId, End, Gauge, ProcessId, SessionId, ToolCall, ToolResult, TurnId};

/// The JSON of a recorded answer.
fn capture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../tests/data/captures/{name}.response.txt"));
    let text = std::fs::read_to_string(path).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).unwrap();
    serde_json::from_str(body).unwrap()
}

fn row(n: u64, turn: u64, body: Body) -> Row {
    Row { n, turn: TurnId(turn), at: 1_700_000_000_000 + n as i64 * 500, cut: 0, body }
}

fn user(n: u64, turn: u64, text: &str) -> Row {
    row(n, turn, Body::User { text: text.to_owned() })
}

fn answer(n: u64, turn: u64, text: &str, stop: Stop) -> Row {
    row(n, turn, Body::Assistant(Assistant { text: text.to_owned(), stop, ..Assistant::default() }))
}

fn calling(n: u64, turn: u64) -> Row {
    let call = ToolCall {
        id: CallId("call_1".to_owned()),
        name: "terminal".to_owned(),
        args: json!({ "command": "make" }),
    };
    let calling = Assistant { calls: vec![call], stop: Stop::Calls, ..Assistant::default() };
    row(n, turn, Body::Assistant(calling))
}

fn result(n: u64, turn: u64) -> Row {
    row(
        n,
        turn,
        Body::Tool(ToolResult {
            call: CallId("call_1".to_owned()),
            name: "terminal".to_owned(),
            text: "{\"output\":\"x\"}".to_owned(),
            failed: false,
            millis: 7,
            unanswered: false,
        }),
    )
}

fn wakeup(n: u64, kind: WakeupKind, exit: Option<Exit>, pattern: Option<&str>) -> Row {
    row(
        n,
        2,
        Body::Wakeup(Wakeup {
            process: ProcessId("proc_0123456789ab".to_owned()),
            kind,
            ordinal: 0,
            command: "make".to_owned(),
            exit,
            pattern: pattern.map(str::to_owned),
            text: "[IMPORTANT: Background process …]".to_owned(),
        }),
    )
}

fn ended(code: Option<i32>) -> Exit {
    Exit { end: End::Exited, code, signal: None, at: 1_700_000_000_250 }
}

fn transcript(rows: Vec<Row>) -> Transcript {
    Transcript {
        session: SessionId("20261121_090700_abcdef".to_owned()),
        model: "demo".to_owned(),
        cwd: "/srv/project".to_owned(),
        rows,
        gauge: Gauge { used: Some(900), length: Some(128_000) },
        ..Transcript::default()
    }
}

fn listed() -> SessionRow {
    SessionRow {
        id: SessionId("20261121_090700_abcdef".to_owned()),
        title: "Hello".to_owned(),
        started_at: 1_700_000_000_000,
        active_at: 1_700_000_009_000,
        rows: 2,
        model: "demo".to_owned(),
        source: "tui".to_owned(),
        cwd: "/srv/project".to_owned(),
        ..SessionRow::default()
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The named members are there and of the recorded types; either side may not know one (`null`).
fn assert_like(ours: &Value, recorded: &Value, keys: &[&str]) {
    for key in keys {
        let (Some(own), Some(theirs)) = (ours.get(key), recorded.get(key)) else {
            panic!("{key}: {:?} against {:?}", ours.get(key), recorded.get(key));
        };
        let (own, theirs) = (kind(own), kind(theirs));
        let same = own == theirs || own == "null" || theirs == "null";
        assert!(same, "{key}: {own}, recorded as {theirs}");
    }
}

/// What a client needs of a session.
const NEEDED: [&str; 38] = [
    "session_id",
    "title",
    "workspace",
    "model",
    "model_provider",
    "message_count",
    "user_message_count",
    "created_at",
    "updated_at",
    "last_message_at",
    "pinned",
    "archived",
    "project_id",
    "profile",
    "input_tokens",
    "output_tokens",
    "estimated_cost",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_hit_percent",
    "context_length",
    "threshold_tokens",
    "last_prompt_tokens",
    "post_compression_context_tokens_estimate",
    "active_stream_id",
    "is_streaming",
    "pending_user_message",
    "has_pending_user_message",
    "pending_started_at",
    "pending_user_source",
    "pending_attachments",
    "personality",
    "enabled_toolsets",
    "composer_draft",
    "process_wakeup_pause",
    "compression_recovery",
    "read_only",
    "is_cli_session",
];

#[test]
fn a_session_has_all_that_a_client_needs_in_the_recorded_types() {
    let rows = vec![user(1, 1, "hello"), answer(2, 1, "Hi.", Stop::End)];
    let ours = session(&transcript(rows), Some(&listed()));
    let recorded = &capture("session_get")["session"];
    assert_like(&ours, recorded, &NEEDED);
    let more = ["messages", "tool_calls", "_messages_truncated", "_messages_offset"];
    assert_like(&ours, recorded, &more);
    let origin = ["source_tag", "raw_source", "session_source", "source_label", "_msg_limit_max"];
    assert_like(&ours, recorded, &origin);
    // The page of a hermes-webui hides what these call a session of the command line.
    assert_eq!((&ours["raw_source"], &ours["session_source"]), (&json!("webui"), &json!("webui")));
    assert_eq!(ours["source_tag"], "tui");
    for (own, theirs) in
        ours["messages"].as_array().unwrap().iter().zip(recorded["messages"].as_array().unwrap())
    {
        let keys: Vec<&str> = theirs.as_object().unwrap().keys().map(String::as_str).collect();
        let measured = |key: &&str| {
            !["_turnDuration", "_turnTps", "_firstTokenMs", "_usedModel"].contains(key)
        };
        let keys: Vec<&str> = keys.into_iter().filter(measured).collect();
        assert_like(own, theirs, &keys);
    }
    assert_eq!(ours["created_at"], json!(1_700_000_000.0));
    assert_eq!(ours["message_count"], 2);
    assert_eq!(ours["last_prompt_tokens"], 900);
}

#[test]
fn a_new_session_is_untitled_and_empty() {
    let mut new = transcript(Vec::new());
    new.gauge = Gauge::default();
    let ours = session(&new, None);
    let recorded = &capture("session_new")["session"];
    // Where it is known they are there already.
    let later = ["pending_started_at", "pending_user_source", "pending_attachments"];
    let keys: Vec<&str> = NEEDED.into_iter().filter(|key| !later.contains(key)).collect();
    assert_like(&ours, recorded, &keys);
    assert_eq!(ours["title"], recorded["title"]);
    assert_eq!(ours["messages"], json!([]));
    assert!(ours["created_at"].as_f64().unwrap() > 1.7e9, "{ours}");
    // S01: unknown, not 0
    assert_eq!(ours["last_prompt_tokens"], Value::Null);
}

#[test]
fn a_list_row_has_all_that_a_client_needs_in_the_recorded_types() {
    let recorded = capture("sessions_list");
    let ours = list_row(&listed());
    for theirs in recorded["sessions"].as_array().unwrap() {
        let absent = ["user_message_count", "gateway_routing", "pending_started_at"];
        let keys: Vec<&str> = theirs.as_object().unwrap().keys().map(String::as_str).collect();
        let keys: Vec<&str> = keys.into_iter().filter(|key| !absent.contains(key)).collect();
        assert_like(&ours, theirs, &keys);
    }
    assert_eq!(ours["attention"], Value::Null);
    let asking = SessionRow { attention: Some((Attention::Approval, 2)), ..listed() };
    let expected = json!({ "kind": "approval", "count": 2, "severity": "critical" });
    assert_eq!(list_row(&asking)["attention"], expected);
    let asking = SessionRow { attention: Some((Attention::Clarify, 1)), running: true, ..listed() };
    assert_eq!(list_row(&asking)["attention"]["severity"], "question");
    assert_eq!(list_row(&asking)["is_streaming"], true);
}

#[test]
fn calls_and_results_have_the_recorded_shape() {
    let recorded = &capture("session_after_wakeup")["session"]["messages"];
    let ours = messages(&[user(1, 1, "build"), calling(2, 1), result(3, 1)]);
    for (own, theirs) in ours.iter().zip(recorded.as_array().unwrap()) {
        let keys: Vec<&str> = theirs.as_object().unwrap().keys().map(String::as_str).collect();
        assert_like(own, theirs, &keys);
    }
    let call = &ours[1]["tool_calls"][0];
    assert_like(call, &recorded[1]["tool_calls"][0], &["id", "call_id", "type", "function"]);
    assert_eq!(call["function"]["arguments"], "{\"command\":\"make\"}");
    assert_eq!(ours[1]["finish_reason"], "tool_calls");
    assert_eq!(ours[2]["tool_call_id"], call["id"]);
}

#[test]
fn each_wakeup_is_a_message_of_its_own_with_its_metadata() {
    // W24
    let rows = [
        wakeup(1, WakeupKind::Exit, Some(ended(Some(3))), None),
        wakeup(2, WakeupKind::Exit, Some(ended(None)), None),
        wakeup(3, WakeupKind::Match, None, Some("ERROR")),
    ];
    let messages = super::messages(&rows);
    assert_eq!(messages.len(), 3);
    for message in &messages {
        assert_eq!(message["role"], "user");
        assert_eq!(message["_source"], "process_wakeup");
        assert_eq!(message["_wakeup_meta"]["task_id"], "proc_0123456789ab");
        assert_eq!(message["_wakeup_meta"]["command"], "make");
    }
    assert_eq!(messages[0]["_wakeup_meta"]["type"], "completion");
    assert_eq!(messages[0]["_wakeup_meta"]["exit_code"], 3);
    // W12: unknown is not 0
    assert_eq!(messages[1]["_wakeup_meta"]["exit_code"], Value::Null);
    assert_eq!(messages[2]["_wakeup_meta"]["type"], "watch_match");
    assert_eq!(messages[2]["_wakeup_meta"]["pattern"], "ERROR");
    assert!(messages[2]["_wakeup_meta"].get("exit_code").is_none());
}

#[test]
fn a_partial_answer_and_a_failure_are_marked_as_recorded() {
    let recorded = &capture("session_after_cancel")["session"]["messages"];
    let failure = Body::Failure { message: "Refused.".to_owned() };
    let ours = messages(&[user(1, 1, "x"), answer(2, 1, "tok", Stop::Partial), row(3, 1, failure)]);
    for (own, theirs) in ours.iter().zip(recorded.as_array().unwrap()) {
        let keys: Vec<&str> = theirs.as_object().unwrap().keys().map(String::as_str).collect();
        assert_like(own, theirs, &keys);
    }
    assert_eq!(ours[1]["_partial"], true);
    assert!(ours[1].get("finish_reason").is_none());
    assert_eq!(ours[2]["_error"], true);
}

#[test]
fn the_output_of_a_running_turn_is_left_to_its_stream() {
    let mut running = transcript(vec![
        user(1, 1, "first"),
        answer(2, 1, "Done.", Stop::End),
        user(3, 2, "second"),
        calling(4, 2),
        result(5, 2),
    ]);
    running.running = Some(Running {
        turn: TurnId(2),
        source: Source::User,
        started_at: 1_700_000_001_000,
        n: 0,
        reasoning: String::new(),
        text: String::new(),
        calls: Vec::new(),
        status: None,
        cancelling: false,
    });
    let during = session(&running, None);
    assert_eq!(during["messages"].as_array().unwrap().len(), 3);
    assert_eq!(during["message_count"], 3);
    assert_eq!(during["is_streaming"], true);
    assert_eq!(during["pending_user_source"], "webui");
    running.running = None;
    let after = session(&running, None);
    assert_eq!(after["messages"].as_array().unwrap().len(), 5);
    assert_eq!(after["pending_user_source"], Value::Null);
}

#[test]
fn a_window_counts_earlier_messages_and_marks_a_cut_text() {
    let mut window = transcript(vec![Row { cut: 12, ..user(41, 9, "tail") }]);
    window.earlier = 40;
    let object = session(&window, None);
    assert_eq!(object["_messages_offset"], 40);
    assert_eq!(object["_messages_truncated"], true);
    assert_eq!(object["message_count"], 41);
    // Not counted, since not all are known.
    assert_eq!(object["user_message_count"], Value::Null);
    let message = &object["messages"][0];
    assert_eq!(message["_cut"], 12);
    assert_eq!(message["content"], "[12 bytes before this are left out]\ntail");
}

#[test]
fn what_is_encoded_can_be_decoded() {
    let exit = wakeup(4, WakeupKind::Exit, Some(ended(Some(3))), None);
    let failure = Body::Failure { message: "Refused.".to_owned() };
    let rows = vec![
        user(1, 1, "build"),
        calling(2, 1),
        result(3, 1),
        exit,
        answer(5, 2, "half", Stop::Partial),
        row(6, 2, failure),
    ];
    let mut transcript = transcript(rows);
    transcript.held = Some("no key".to_owned());
    let listed = SessionRow { pinned: true, compressions: 2, ..listed() };
    let read: decode::Session =
        serde_json::from_value(session(&transcript, Some(&listed))).unwrap();
    assert_eq!(read.session_id, "20261121_090700_abcdef");
    assert_eq!((read.title.as_str(), read.workspace.as_str()), ("Hello", "/srv/project"));
    assert_eq!((read.message_count, read.user_message_count), (6, 2));
    assert_eq!((read.created_at, read.last_message_at), (1_700_000_000_000, 1_700_000_003_000));
    assert_eq!((read.pinned, read.archived, read.segments), (true, false, 3));
    assert_eq!((read.last_prompt_tokens, read.context_length), (Some(900), Some(128_000)));
    assert!(!read.process_wakeup_pause.is_empty());
    let messages = &read.messages;
    assert_eq!(messages.len(), 6);
    assert_eq!(messages[1].tool_calls[0].id, "call_1");
    assert_eq!(messages[1].tool_calls[0].function.name, "terminal");
    assert_eq!(messages[2].tool_call_id, "call_1");
    assert_eq!(messages[3].source, "process_wakeup");
    let meta = messages[3].wakeup.as_ref().unwrap();
    assert_eq!((meta.kind.as_str(), meta.task_id.as_str()), ("completion", "proc_0123456789ab"));
    assert_eq!(meta.exit_code, 3);
    assert!(messages[4].partial && messages[5].error);
    let read: decode::Session = serde_json::from_value(list_row(&listed)).unwrap();
    assert_eq!((read.title.as_str(), read.message_count, read.pinned), ("Hello", 2, true));
    assert_eq!((read.segments, read.is_streaming), (3, false));
}
