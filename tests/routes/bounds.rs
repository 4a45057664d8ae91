//! What is longer or larger than anything can be: refused in words, and nothing breaks.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_that_is_too_long_is_refused_and_the_last_one_stays() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(1).await;
    let draft = |text: String| json!({ "session_id": id, "text": text });
    rig.done("/api/session/draft", draft("x".repeat(255 * 1024))).await;
    rig.done("/api/session/draft", draft("kept".to_owned())).await;
    let (status, refused) = rig.post("/api/session/draft", draft("x".repeat(256 * 1024))).await;
    assert_eq!(status, 413, "{refused}");
    assert!(!refused["error"].as_str().unwrap().is_empty());
    // Many small things are one large one.
    let files: Vec<Value> = (0..20_000).map(|n| json!({ "name": format!("file {n}") })).collect();
    let many = json!({ "session_id": id, "text": "", "files": files });
    assert_eq!(rig.post("/api/session/draft", many).await.0, 413);
    let kept = rig.got(&format!("/api/session/draft?session_id={id}")).await;
    assert_eq!(kept["draft"]["text"], "kept");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_before_any_number_is_a_page() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(3).await;
    let page = |before: &str, limit: &str| {
        let url = format!("/api/session?session_id={id}&msg_before={before}&msg_limit={limit}");
        let rig = &rig;
        async move {
            let page = rig.got(&url).await["session"].clone();
            (page["messages"].as_array().unwrap().len(), page["_messages_offset"].as_u64().unwrap())
        }
    };
    let most = u64::MAX.to_string();
    for before in [most.as_str(), "9223372036854775807", "9223372036854775808", "1000000", "6"] {
        assert_eq!(page(before, "4").await, (4, 2), "{before}");
        assert_eq!(page(before, &most).await, (6, 0), "{before}");
    }
    // What is no number is not there.
    for before in ["18446744073709551616", "-1", "x", "1e3"] {
        assert_eq!(page(before, "4").await, (4, 2), "{before}");
    }
    assert_eq!(page("0", "4").await, (0, 0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_id_and_no_name_from_the_wire_is_longer_than_any_can_be() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(1).await;
    let (long, longest) = ("x".repeat(257), "x".repeat(4097));
    for (path, body, key) in [
        ("/api/session/rename", json!({ "session_id": long, "title": "x" }), "session_id"),
        ("/api/session/rename", json!({ "session_id": id, "title": longest }), "title"),
        ("/api/session/update", json!({ "session_id": id, "model": longest }), "model"),
        ("/api/session/update", json!({ "session_id": id, "workspace": longest }), "workspace"),
        ("/api/chat/start", json!({ "session_id": long, "message": "x" }), "session_id"),
        ("/api/approval/respond", json!({ "session_id": id, "approval_id": long }), "approval_id"),
        (
            "/api/clarify/respond",
            json!({ "session_id": id, "clarify_id": long, "response": "x" }),
            "clarify_id",
        ),
        ("/api/projects/create", json!({ "name": longest }), "name"),
    ] {
        let (status, refused) = rig.post(path, body).await;
        let error = refused["error"].as_str().unwrap();
        assert_eq!((status, error.split(' ').next()), (400, Some(key)), "{path}: {refused}");
        assert!(refused.to_string().len() < 200, "{path}: it does not come back");
    }
    // In a query, too, it leads nowhere.
    let nowhere = rig.get(&format!("/api/session?session_id={}", "x".repeat(20_000))).await;
    assert_eq!(nowhere, (404, json!({ "error": "Session not found" })));
    // What people write may be long.
    let message = "long ".repeat(2_000);
    rig.done("/api/chat/start", json!({ "session_id": id, "message": message })).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_was_started_has_its_stream_when_its_id_is_told() {
    let rig = Rig::new().await;
    let rig = &rig;
    let starts = (0..24).map(|n| async move {
        let new = rig.done("/api/session/new", json!({})).await;
        let id = new["session"]["session_id"].clone();
        for turn in 0..3 {
            let body = json!({ "session_id": id, "message": format!("hello {n}"), "queue": true });
            let begun = rig.done("/api/chat/start", body).await;
            let stream =
                begun["stream_id"].as_str().unwrap_or_else(|| panic!("{begun}")).to_owned();
            let status = rig.got(&format!("/api/chat/stream/status?stream_id={stream}")).await;
            assert_eq!(status["replay_available"], true, "{turn}: {status}");
            let state = status["journal"]["terminal_state"].as_str().unwrap();
            assert!(["running", "completed"].contains(&state), "{turn}: {status}");
            let url = rig.url(&format!("/api/chat/stream?stream_id={stream}&replay=1"));
            let told = rig.client.get(url).send().await.unwrap().text().await.unwrap();
            assert!(told.contains("event: stream_end"), "{turn}: {told}");
        }
    });
    futures::future::join_all(starts).await;
    // And what is told of it is what its session says.
    let new = rig.done("/api/session/new", json!({})).await;
    let id = new["session"]["session_id"].as_str().unwrap();
    let body = json!({ "session_id": id, "message": "clarify open" });
    let begun = rig.done("/api/chat/start", body).await;
    let session = rig.got(&format!("/api/session?session_id={id}")).await["session"].clone();
    assert_eq!(begun["pending_started_at"], session["pending_started_at"]);
    assert_eq!(begun["stream_id"], session["active_stream_id"]);
}
