//! What a session holds: cut, cleared, counted, asked again, and which tools it has.

use host::embedded::Attendance;

use super::*;
use crate::support::Asked;

/// The object of a session.
async fn loaded(rig: &Rig, id: &str) -> Value {
    rig.got(&format!("/api/session?session_id={id}")).await["session"].clone()
}

fn contents(session: &Value) -> Vec<String> {
    let messages = session["messages"].as_array().unwrap();
    messages.iter().map(|m| m["content"].as_str().unwrap().to_owned()).collect()
}

/// The data of the first frame of that name in a stream that has ended.
async fn frame(rig: &Rig, stream: &str, name: &str) -> Value {
    let url = rig.url(&format!("/api/chat/stream?stream_id={stream}&replay=1"));
    let text = rig.client.get(url).send().await.unwrap().text().await.unwrap();
    let mark = format!("event: {name}\ndata: ");
    let (_, rest) = text.split_once(&mark).unwrap_or_else(|| panic!("no {name} in {text}"));
    serde_json::from_str(rest.lines().next().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_rows_are_gone_for_the_model_too() {
    let server = Server::start(obey).await;
    let rig = Rig::with(server.model()).await;
    let (mut view, id) = rig.session(1).await;
    view.ask(2, "call todo {}").await;
    view.ask(3, "prompt 3").await;
    let cut = |keep: Value| json!({ "session_id": id, "keep_count": keep });
    let truncate = "/api/session/truncate";
    // More than there are: nothing goes.
    let whole = rig.done(truncate, cut(json!(99))).await;
    assert_eq!(whole["session"]["message_count"], 8);
    let mut wanted = names(&capture("session_truncate")["session"]);
    wanted.retain(|name| whole["session"].get(name).is_none());
    let foreign = |name: &str| name.starts_with("compression_anchor") || name.contains("routing");
    wanted.retain(|name| !foreign(name) && !name.starts_with("share_"));
    assert_eq!(wanted, ["context_engine", "context_engine_state", "recommended_recovery_action"]);
    let back = rig.done(truncate, cut(json!(6))).await;
    assert_eq!((&back["ok"], &back["session"]["message_count"]), (&json!(true), &json!(6)));
    assert_eq!(contents(&back["session"]).len(), 6);
    // In the midst of a turn: a call stays whose result goes.
    let back = rig.done(truncate, cut(json!("4"))).await;
    assert_eq!(contents(&back["session"])[..3], ["prompt 1", "As you say.", "call todo {}"]);
    view.ask(4, "go on").await;
    let asked = server.seen().pop().unwrap();
    assert!(asked.last_tool().contains("result of this call is not there"), "{:?}", asked.body);
    assert_eq!(asked.last_user(), "go on");
    assert!(!asked.body.to_string().contains("prompt 3"));
    assert_eq!(loaded(&rig, &id).await["message_count"], 6);
    assert_eq!(rig.home.reader().rows(&SessionId(id.clone())).unwrap().len(), 6);
    for (keep, error) in [
        (json!(-1), "keep_count must be non-negative"),
        (json!(1.5), "keep_count must be an integer"),
        (json!("x"), "keep_count must be an integer"),
        (json!([1]), "keep_count must be an integer"),
        (Value::Null, "Missing required field(s): keep_count"),
    ] {
        assert_eq!(rig.post(truncate, cut(keep)).await, (400, json!({ "error": error })));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_session_is_cut_far_before_its_window() {
    let rig = Rig::new().await;
    let (view, id) = rig.session(110).await;
    drop(view);
    let body = json!({ "session_id": id, "keep_count": 5 });
    let back = rig.done("/api/session/truncate", body).await;
    assert_eq!(back["session"]["message_count"], 5);
    let texts = contents(&back["session"]);
    assert_eq!((texts.len(), texts[4].as_str()), (5, "prompt 3"));
    assert_eq!(contents(&loaded(&rig, &id).await), texts);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleared_session_is_untitled_and_empty_and_can_be_worked_in() {
    let rig = Rig::new().await;
    let (mut view, id) = rig.session(2).await;
    let named = json!({ "session_id": id, "title": "Mine" });
    rig.done("/api/session/rename", named).await;
    for _ in 0..2 {
        let cleared = rig.done("/api/session/clear", json!({ "session_id": id })).await;
        let session = &cleared["session"];
        assert_eq!((&cleared["ok"], &session["title"]), (&json!(true), &json!("Untitled")));
        assert_eq!(
            (&session["message_count"], &session["manual_title"]),
            (&json!(0), &json!(false))
        );
        assert!(session.get("messages").is_none());
        assert!(session["input_tokens"].as_u64().unwrap() > 0, "what was spent is spent");
    }
    assert_eq!(contents(&loaded(&rig, &id).await), [""; 0]);
    assert_eq!(rig.got("/api/sessions").await["sessions"][0]["title"], "Untitled");
    view.ask(3, "anew").await;
    assert_eq!(rig.got("/api/sessions").await["sessions"][0]["title"], "anew");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_cut_or_cleared_while_a_turn_runs() {
    let gate = Gate::closed();
    let opened = gate.clone();
    let server = Server::start(move |asked| match asked.last_user() {
        "wait" => Reply::After(opened.clone(), Box::new(Reply::Text("Done.".to_owned()))),
        _ => obey(asked),
    })
    .await;
    let rig = Rig::with(server.model()).await;
    let (mut view, id) = rig.session(1).await;
    view.prompt("wait");
    view.until("a turn", |v| v.transcript.running.as_ref().map(|_| ())).await;
    let body = json!({ "session_id": id, "keep_count": 0 });
    for path in ["/api/session/truncate", "/api/session/clear"] {
        assert_eq!(rig.post(path, body.clone()).await.0, 409, "{path}");
    }
    gate.open();
    view.until("its end", |v| v.transcript.running.is_none().then_some(())).await;
    assert_eq!(loaded(&rig, &id).await["message_count"], 4);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_counts_are_summed_over_turns_and_hosts() {
    // S01
    let server = Server::start(|asked| match asked.last_user() {
        "nothing" => Reply::Counted(String::new(), 7),
        _ => obey(asked),
    })
    .await;
    let rig = Rig::with(server.model()).await;
    let new = rig.done("/api/session/new", json!({})).await;
    for key in ["input_tokens", "output_tokens", "total_tokens", "cache_read_tokens"] {
        assert_eq!(new["session"][key], Value::Null, "{key}: unknown is never 0");
    }
    let (mut view, id) = rig.session(1).await;
    // A round with a call is a request too.
    view.ask(2, "call todo {}").await;
    let sums = |object: &Value| {
        ["input_tokens", "output_tokens", "total_tokens"].map(|key| object[key].as_u64().unwrap())
    };
    let told = [300, 60, 360];
    let session = loaded(&rig, &id).await;
    assert_eq!(sums(&session), told);
    assert_eq!(
        (&session["cache_read_tokens"], &session["estimated_cost"]),
        (&json!(0), &Value::Null)
    );
    for path in ["status", "usage"] {
        let object = rig.got(&format!("/api/session/{path}?session_id={id}")).await;
        assert_eq!(sums(&object), told, "{path}");
    }
    assert_eq!(sums(&rig.got("/api/sessions").await["sessions"][0]), told);
    let third = json!({ "session_id": id, "message": "prompt 3" });
    let begun = rig.done("/api/chat/start", third).await;
    let done = frame(&rig, begun["stream_id"].as_str().unwrap(), "done").await;
    assert_eq!(sums(&done["usage"]), [400, 80, 480]);
    assert_eq!(sums(&done["session"]), [400, 80, 480]);
    // An answer of nothing is asked for three times, and three times paid.
    view.until("an end", |v| (v.transcript.running.is_none()).then_some(())).await;
    view.prompt("nothing");
    view.until("the count", |v| (v.transcript.tokens.requests == 7).then_some(())).await;
    assert_eq!(view.transcript.tokens.input, 421);
    drop(view);
    let Rig { home, local, server: serving, .. } = rig;
    serving.stop().await;
    local.stop().await;
    let local = start(home.settings(server.model()));
    let view =
        TestView::over(local.handle().open(SessionId(id), Attendance::Attended).await.unwrap())
            .await;
    assert_eq!(view.transcript.tokens.input, 421, "in another host");
    local.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_the_chosen_tools_and_refuses_the_others() {
    let server = Server::start(obey).await;
    let rig = Rig::with(server.model()).await;
    let (mut view, id) = rig.session(1).await;
    let tools = |asked: &Asked| -> Vec<String> {
        let tools = asked.body["tools"].as_array().unwrap().iter();
        tools.map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let path = "/api/session/toolsets";
    let choose = |toolsets: Value| json!({ "session_id": id, "toolsets": toolsets });
    assert_eq!(loaded(&rig, &id).await["enabled_toolsets"], Value::Null);
    let all = tools(&server.seen().pop().unwrap());
    let set = rig.done(path, choose(json!(["todo", "file"]))).await;
    assert_eq!(set, json!({ "ok": true, "enabled_toolsets": ["todo", "file"] }));
    view.ask(2, "call terminal {\"command\":\"touch ran\"}").await;
    let asked = server.seen().pop().unwrap();
    let some = ["read_file", "write_file", "patch", "search_files", "todo"];
    assert_eq!(tools(&asked), some, "in the order they always have");
    assert!(asked.last_tool().contains("no tool `terminal`"), "{}", asked.last_tool());
    assert!(!rig.home.work().join("ran").exists());
    assert_eq!(loaded(&rig, &id).await["enabled_toolsets"], json!(["todo", "file"]));
    let listed = &rig.got("/api/sessions").await["sessions"][0];
    assert_eq!(listed["enabled_toolsets"], json!(["todo", "file"]));
    for wrong in [json!([]), json!("todo"), json!([1]), json!([""]), json!(["todo", "web", "moa"])]
    {
        let (status, refused) = rig.post(path, choose(wrong.clone())).await;
        assert_eq!(status, 400, "{wrong}: {refused}");
        let (status, refused) =
            rig.post("/api/session/new", json!({ "enabled_toolsets": wrong.clone() })).await;
        assert_eq!(status, 400, "{wrong}: {refused}");
    }
    let (_, refused) = rig.post(path, choose(json!(["web", "todo", "moa"]))).await;
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("no toolset web, moa;"), "{error}");
    let reset = rig.done(path, choose(Value::Null)).await;
    assert_eq!(reset["enabled_toolsets"], Value::Null);
    view.ask(3, "prompt 3").await;
    assert_eq!(tools(&server.seen().pop().unwrap()), all);

    let body = json!({ "enabled_toolsets": ["clarify"] });
    let new = rig.done("/api/session/new", body).await["session"].clone();
    assert_eq!(new["enabled_toolsets"], json!(["clarify"]));
    let new = SessionId(new["session_id"].as_str().unwrap().to_owned());
    let mut view = TestView::attach(&rig.local, Target::Id(new)).await;
    view.ask(1, "hello").await;
    assert_eq!(tools(&server.seen().pop().unwrap()), ["clarify"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_needs_to_know_what_the_session_holds() {
    let server = Server::start(obey).await;
    let rig = Rig::with(server.model()).await;
    let (mut view, id) = rig.session(1).await;
    let again = |revision: Value| json!({ "session_id": id, "regenerate": true, "regeneration_revision": revision });
    let path = "/api/chat/start";
    let seen = loaded(&rig, &id).await["regeneration_revision"].clone();
    assert!(seen.is_string(), "{seen}");
    view.ask(2, "prompt 2").await;
    for wrong in [seen, json!("x"), Value::Null, json!(7)] {
        let (status, refused) = rig.post(path, again(wrong.clone())).await;
        assert_eq!(
            (status, &refused["code"]),
            (409, &json!("stale_regeneration_revision")),
            "{wrong}"
        );
    }
    let mut both = again(json!("x"));
    both["message"] = json!("prompt");
    let (status, refused) = rig.post(path, both).await;
    assert_eq!((status, &refused["code"]), (400, &json!("invalid_regeneration_request")));
    assert_eq!(loaded(&rig, &id).await["message_count"], 4, "nothing was taken back");

    let seen = loaded(&rig, &id).await["regeneration_revision"].clone();
    let begun = rig.done(path, again(seen.clone())).await;
    let done = frame(&rig, begun["stream_id"].as_str().unwrap(), "done").await;
    let texts = contents(&done["session"]);
    assert_eq!(texts, ["prompt 1", "As you say.", "prompt 2", "As you say."]);
    assert_ne!(done["session"]["regeneration_revision"], seen, "the same text in another turn");
    let (status, _) = rig.post(path, again(seen)).await;
    assert_eq!(status, 409, "once is once");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compression_that_was_asked_for_is_done_and_counted() {
    let server = Server::start(|asked| {
        if asked.texts("system").iter().any(|text| text.starts_with("You write the notes")) {
            return Reply::Counted("## Task\nin short".to_owned(), 1_000);
        }
        Reply::Text(format!("As you say. {}", "word ".repeat(800)))
    })
    .await;
    let model = host::settings::Model { context_length: Some(20_000), ..server.model() };
    let rig = Rig::with(model).await;
    let (view, id) = rig.session(9).await;
    drop(view);
    let before = loaded(&rig, &id).await["input_tokens"].as_u64().unwrap();
    let started = rig.done("/api/session/compress/start", json!({ "session_id": id })).await;
    assert!(["running", "done"].contains(&started["status"].as_str().unwrap()), "{started}");
    let url = format!("/api/session/compress/status?session_id={id}");
    let end = std::time::Instant::now() + LONG;
    let ended = loop {
        let status = rig.got(&url).await;
        if status["status"] != "running" {
            break status;
        }
        assert!(std::time::Instant::now() < end, "{status}");
    };
    assert_eq!((&ended["ok"], &ended["status"]), (&json!(true), &json!("done")), "{ended}");
    let session = loaded(&rig, &id).await;
    assert_eq!(session["_compression_segment_count"], 2);
    assert_eq!(session["input_tokens"], before + 1_000);
    let texts = contents(&session);
    assert!(texts.last().unwrap().contains("in short"), "{texts:?}");
    rig.stop().await;
}
