//! What a request to start or to steer a turn is told.

use super::*;

#[tokio::test]
async fn a_start_is_refused_or_queued_as_the_protocol_says() {
    let site = Site::new(slow(1, 1).await).await;
    let session = site.session().await;
    let start = |body: Value| site.post("/api/chat/start", body);
    assert_eq!(
        start(json!({})).await,
        (400, json!({ "error": "Missing required field(s): session_id" }))
    );
    assert_eq!(
        start(json!({ "session_id": session, "message": " " })).await,
        (400, json!({ "error": "message is required" }))
    );
    let (status, body) = start(json!({ "session_id": "doesnotexist", "message": "x" })).await;
    assert_eq!((status, &body["error"]), (404, &json!("Session not found")));
    let (status, body) = start(json!({ "session_id": session, "message": "[SILENT]" })).await;
    assert_eq!(status, 200);
    assert_eq!(body, json!({ "status": "suppressed", "reason": "silent_control_message" }));

    let (status, begun) = start(json!({ "session_id": session, "message": "hang" })).await;
    assert_eq!(status, 200);
    let keys = ["stream_id", "session_id", "pending_started_at", "turn_id", "title"];
    for key in keys.into_iter().chain(["effective_model_provider"]) {
        assert!(!begun[key].is_null(), "{key} in {begun}");
    }
    let stream = begun["stream_id"].as_str().unwrap();
    assert!(stream.len() == 32 && stream.bytes().all(|b| b.is_ascii_hexdigit()), "{stream}");
    let (status, busy) = start(json!({ "session_id": session, "message": "second" })).await;
    assert_eq!(status, 409);
    let error = "session already has an active stream";
    assert_eq!(busy, json!({ "error": error, "active_stream_id": stream }));
    for position in 1..=2 {
        let body = json!({ "session_id": session, "message": "hello", "queue": true });
        let (status, queued) = start(body).await;
        assert_eq!((status, &queued["queued"]), (202, &json!(true)));
        assert_eq!(queued["position"], position);
    }
    let (_, status) = site.get(&format!("/api/chat/stream/status?stream_id={stream}")).await;
    assert_eq!((&status["active"], &status["replay_available"]), (&json!(true), &json!(true)));
    assert_eq!(status["journal"]["terminal_state"], "running");
    // What waits runs when its turn comes.
    let mut channel = site.open(&format!("/api/session/stream?session_id={session}")).await;
    channel.until("server_turn_started").await;
    site.get(&format!("/api/chat/cancel?stream_id={stream}")).await;
    for _ in 0..2 {
        let turn = channel.until("server_turn_started").await;
        let id = turn.data["stream_id"].as_str().unwrap();
        assert_eq!(names(&site.replay(id).await.rest().await).last(), Some(&"stream_end"));
    }
    site.end().await;
}

#[tokio::test]
async fn of_many_starts_at_once_one_runs_and_the_others_join_it() {
    let site = Site::new(slow(1, 1).await).await;
    let session = site.session().await;
    let starts = (0..12)
        .map(|_| site.post("/api/chat/start", json!({ "session_id": session, "message": "hang" })));
    let answers = futures::future::join_all(starts).await;
    let started: Vec<_> = answers.iter().filter(|(status, _)| *status == 200).collect();
    assert_eq!(started.len(), 1, "{answers:?}");
    for (_, refused) in answers.iter().filter(|(status, _)| *status != 200) {
        assert_eq!(refused["active_stream_id"], started[0].1["stream_id"]);
    }
    let view = site.view(&session).await;
    assert!(view.transcript.queued.is_empty(), "{:?}", view.transcript.queued);
    site.end().await;
}

#[tokio::test]
async fn a_remark_reaches_a_running_turn_only() {
    let site = Site::new(Server::obedient().await).await;
    let session = site.session().await;
    let steer =
        |text: &str| site.post("/api/chat/steer", json!({ "session_id": session, "text": text }));
    let idle = json!({ "accepted": false, "fallback": "not_running", "stream_id": null });
    assert_eq!(steer("now").await, (200, idle));
    let order =
        format!("call terminal {}", json!({ "command": "while [ ! -e go ]; do sleep 0.02; done" }));
    let stream = site.prompt(&session, &order).await;
    site.replay(&stream).await.until("tool").await;
    let accepted = json!({ "accepted": true, "fallback": null, "stream_id": stream });
    assert_eq!(steer("be brief").await, (200, accepted));
    let view = site.view(&session).await;
    let mut view = view;
    view.until("the remark", |v| v.transcript.steer.clone()).await;
    std::fs::write(site.home.work().join("go"), "").unwrap();
    site.replay(&stream).await.until("stream_end").await;
    let heard = site.model.requests(3).await;
    assert!(heard.last().unwrap().last_tool().contains("be brief"));
    site.end().await;
}
