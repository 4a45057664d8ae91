//! What is asked beside the turns of a session: side questions, prompts in sessions of their own,
//! titles.

use super::*;
use crate::support::Asked;

/// The names and data of all frames of a stream, once it has ended.
async fn frames(rig: &Rig, stream: &str) -> Vec<(String, Value)> {
    let url = rig.url(&format!("/api/chat/stream?stream_id={stream}"));
    let response = rig.client.get(url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let event = |block: &str| {
        let name = block.lines().find_map(|line| line.strip_prefix("event: "))?;
        let data = block.lines().find_map(|line| line.strip_prefix("data: "))?;
        Some((name.to_owned(), serde_json::from_str(data).unwrap()))
    };
    text.split("\n\n").filter_map(event).collect()
}

fn is_side(asked: &Asked) -> bool {
    asked.last_user().contains("[A side question")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_question_knows_the_session_and_leaves_no_trace() {
    let server = Server::start(|asked| match asked.last_user() {
        _ if is_side(asked) => Reply::Text("Because of the whales.".to_owned()),
        _ => obey(asked),
    })
    .await;
    let rig = Rig::with(server.model()).await;
    let (mut view, id) = rig.session(2).await;
    view.quiet().await;
    let before = rig.got(&format!("/api/session?session_id={id}")).await["session"].clone();
    let asked = json!({ "session_id": id, "question": " why? " });
    let begun = rig.done("/api/btw", asked).await;
    assert_eq!(begun["parent_session_id"], json!(id));
    let hidden = begun["session_id"].as_str().unwrap();
    assert_ne!(hidden, id);
    let stream = begun["stream_id"].as_str().unwrap();
    for _ in 0..2 {
        let told = frames(&rig, stream).await;
        let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["token", "done", "stream_end"], "also when it is replayed");
        assert_eq!(told[0].1["text"], "Because of the whales.");
        let done = &told[1].1;
        assert_eq!((&done["ephemeral"], &done["answer"]), (&json!(true), &told[0].1["text"]));
        assert_eq!(done["session"]["session_id"], hidden);
        assert_eq!(done["usage"]["input_tokens"], 100);
        assert_eq!(told[2].1["session_id"], hidden);
    }
    let status = rig.got(&format!("/api/chat/stream/status?stream_id={stream}")).await;
    assert_eq!(
        (&status["active"], &status["journal"]["terminal_state"]),
        (&json!(false), &json!("completed"))
    );
    // It begins as the session's own next request: it knows all that was said.
    let side = server.seen().into_iter().rfind(is_side).unwrap();
    assert!(side.last_user().ends_with("\n\nwhy?"));
    assert_eq!(side.texts("user")[..2], ["prompt 1", "prompt 2"]);
    // Nothing of it is there, but what it took.
    assert_eq!(rig.get(&format!("/api/session?session_id={hidden}")).await.0, 404);
    assert_eq!(rig.got("/api/sessions").await["webui_session_count"], 1);
    view.until("the count", |v| (v.transcript.tokens.requests == 3).then_some(())).await;
    let after = rig.got(&format!("/api/session?session_id={id}")).await["session"].clone();
    assert_eq!(after["messages"], before["messages"]);
    assert_eq!(after["input_tokens"], 300);
    view.ask(3, "go on").await;
    let next = server.seen().pop().unwrap();
    assert!(!next.body.to_string().contains("whales"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_question_during_a_turn_is_answered_without_tools() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let server = Server::start(move |asked| match asked.last_user() {
        "wait" => Reply::After(opened.clone(), Box::new(Reply::Text("Done.".to_owned()))),
        _ if is_side(asked) => Reply::Calls(String::new(), vec![("todo".to_owned(), json!({}))]),
        _ => obey(asked),
    })
    .await;
    let rig = Rig::with(server.model()).await;
    let (mut view, id) = rig.session(1).await;
    view.prompt("wait");
    view.until("a turn", |v| v.transcript.running.as_ref().map(|_| ())).await;
    let begun = rig.done("/api/btw", json!({ "session_id": id, "question": "why?" })).await;
    let told = frames(&rig, begun["stream_id"].as_str().unwrap()).await;
    let (name, data) = told.last().unwrap();
    assert_eq!((name.as_str(), &data["type"]), ("apperror", &json!("error")));
    assert!(data["message"].as_str().unwrap().contains("no answer"), "{data}");
    gate.open();
    view.until("its end", |v| v.transcript.running.is_none().then_some(())).await;
    assert_eq!(view.transcript.rows.len(), 4);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_side_question_can_be_cancelled_and_a_wrong_one_is_refused() {
    let server = Server::start(|asked| match asked.last_user() {
        _ if is_side(asked) => Reply::Hang("Well".to_owned()),
        _ => obey(asked),
    })
    .await;
    let rig = Rig::with(server.model()).await;
    let (_view, id) = rig.session(1).await;
    let begun = rig.done("/api/btw", json!({ "session_id": id, "question": "why?" })).await;
    let stream = begun["stream_id"].as_str().unwrap();
    let status = rig.got(&format!("/api/chat/stream/status?stream_id={stream}")).await;
    assert_eq!(
        (&status["active"], &status["journal"]["terminal_state"]),
        (&json!(true), &json!("running"))
    );
    let cancel = format!("/api/chat/cancel?stream_id={stream}");
    assert_eq!(rig.got(&cancel).await["cancelled"], true);
    let told = frames(&rig, stream).await;
    assert_eq!(told.last().unwrap().0, "cancel");
    assert_eq!(rig.got(&cancel).await["cancelled"], false);
    for path in ["/api/btw", "/api/background", "/api/session/title/regenerate"] {
        assert_eq!(rig.post(path, json!({})).await.0, 400, "{path}");
        let none = json!({ "session_id": "none", "question": "x", "prompt": "x" });
        let missing = (404, json!({ "error": "Session not found" }));
        assert_eq!(rig.post(path, none).await, missing, "{path}");
    }
    let blank = json!({ "session_id": id, "question": "  ", "prompt": "\n" });
    let error = |key: &str| json!({ "error": format!("Missing required field(s): {key}") });
    assert_eq!(rig.post("/api/btw", blank.clone()).await, (400, error("question")));
    assert_eq!(rig.post("/api/background", blank).await, (400, error("prompt")));
    // So many at once and no more.
    let ask = || rig.post("/api/btw", json!({ "session_id": id, "question": "why?" }));
    for _ in 0..16 {
        assert_eq!(ask().await.0, 200);
    }
    assert_eq!(ask().await.0, 503);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_prompt_has_its_own_session_and_one_answer() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let server = Server::start(move |asked| match asked.last_user() {
        "count" => Reply::After(opened.clone(), Box::new(Reply::Text("Three.".to_owned()))),
        "break" => Reply::Status(400, r#"{"error":{"message":"nothing today"}}"#.to_owned()),
        _ => obey(asked),
    })
    .await;
    let rig = Rig::with(server.model()).await;
    let (_view, id) = rig.session(1).await;
    let status = format!("/api/background/status?session_id={id}");
    let begun = rig.done("/api/background", json!({ "session_id": id, "prompt": "count" })).await;
    let own = begun["session_id"].as_str().unwrap().to_owned();
    assert_ne!(own, id);
    assert_eq!(begun["task_id"].as_str().unwrap().len(), 8);
    assert_eq!(rig.got(&status).await, json!({ "results": [] }), "it runs still");
    let session = rig.got(&format!("/api/session?session_id={own}")).await["session"].clone();
    assert_eq!(session["title"], "bg: count");
    gate.open();
    let results = async || {
        let end = std::time::Instant::now() + LONG;
        loop {
            let results = rig.got(&status).await["results"].clone();
            if results != json!([]) {
                return results;
            }
            assert!(std::time::Instant::now() < end);
        }
    };
    let told = results().await;
    assert_eq!(told.as_array().unwrap().len(), 1);
    assert_eq!(told[0]["task_id"], begun["task_id"]);
    assert_eq!((&told[0]["prompt"], &told[0]["answer"]), (&json!("count"), &json!("Three.")));
    assert!(told[0]["completed_at"].as_f64().unwrap() > 1.7e9);
    assert_eq!(rig.got(&status).await, json!({ "results": [] }), "once");
    // It began with nothing of the session, and leaves nothing.
    let asked = server.seen().into_iter().rfind(|asked| asked.last_user() == "count").unwrap();
    assert_eq!(asked.texts("user"), ["count"]);
    let end = std::time::Instant::now() + LONG;
    while rig.get(&format!("/api/session?session_id={own}")).await.0 != 404 {
        assert!(std::time::Instant::now() < end, "its session stays");
    }
    rig.done("/api/background", json!({ "session_id": id, "prompt": "break" })).await;
    let failed = results().await[0]["answer"].as_str().unwrap().to_owned();
    assert!(
        failed.starts_with("(background task failed: ") && failed.contains("nothing today"),
        "{failed}"
    );
    rig.stop().await;
}

// Nothing that was typed is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_background_prompts_session_stays_once_it_is_continued() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let server = Server::start(move |asked| match asked.last_user() {
        "count" => Reply::After(opened.clone(), Box::new(Reply::Text("Three.".to_owned()))),
        _ => obey(asked),
    })
    .await;
    let rig = Rig::with(server.model()).await;
    let (_view, id) = rig.session(1).await;
    let begun = rig.done("/api/background", json!({ "session_id": id, "prompt": "count" })).await;
    let own = SessionId(begun["session_id"].as_str().unwrap().to_owned());
    let mut other = TestView::attach(&rig.local, Target::Id(own.clone())).await;
    other.prompt("and then?");
    other.until("the queue", |v| (v.transcript.queued.len() == 1).then_some(())).await;
    gate.open();
    other.turn(2).await;
    let status = format!("/api/background/status?session_id={id}");
    let results = rig.got(&status).await["results"].clone();
    assert_eq!(results[0]["answer"], "Three.");
    other.ask(3, "still there?").await;
    assert_eq!(other.session(), own);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_finds_a_title_for_a_session() {
    let server = Server::start(|asked| {
        if asked.texts("system").iter().any(|text| text.starts_with("You give a conversation")) {
            return match asked.last_user() {
                text if text.contains("prompt 2") => Reply::Text("  \n".to_owned()),
                text => {
                    assert!(text.contains("USER: prompt 1"), "{text}");
                    Reply::Text("\u{1b}[31m\"Blue   whales\u{202e}\"\nof the sea".to_owned())
                }
            };
        }
        obey(asked)
    })
    .await;
    let rig = Rig::with(server.model()).await;
    let (mut view, id) = rig.session(2).await;
    let path = "/api/session/title/regenerate";
    let found = rig.done(path, json!({ "session_id": id })).await;
    assert_eq!(found["title"], "Blue whales");
    assert_eq!(found["session"]["title"], "Blue whales");
    view.until("the title", |v| {
        (v.transcript.title.as_deref() == Some("Blue whales")).then_some(())
    })
    .await;
    assert_eq!(rig.got("/api/sessions").await["sessions"][0]["title"], "Blue whales");
    let latest = json!({ "session_id": id, "prefer_latest": true });
    let (status, refused) = rig.post(path, latest).await;
    assert_eq!(status, 422, "{refused}");
    assert!(refused["error"].as_str().unwrap().starts_with("Could not generate a better title"));
    let new = rig.done("/api/session/new", json!({})).await;
    let empty = json!({ "session_id": new["session"]["session_id"] });
    assert_eq!(rig.post(path, empty).await.0, 422);
    assert_eq!(rig.got("/api/sessions").await["sessions"][0]["title"], "Blue whales", "it stays");
    rig.stop().await;
}
