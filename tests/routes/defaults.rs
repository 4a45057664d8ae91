//! With what new sessions begin, and that config.yaml stays as it is.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn new_sessions_begin_with_the_default_until_the_host_ends() {
    let mut rig = Rig::new().await;
    let (_view, old) = rig.session(1).await;
    assert_eq!(rig.got("/api/reasoning").await["reasoning_effort"], "");
    let set = rig.done("/api/default-model", json!({ "model": "demo/other" })).await;
    assert_eq!((&set["ok"], &set["model"]), (&json!(true), &json!("demo/other")));
    assert_eq!((&set["persisted"], &set["provider"]), (&json!(false), &json!("demo")));
    assert!(set["message"].as_str().unwrap().contains("config.yaml"), "{set}");
    assert_eq!(rig.got("/api/models").await["default_model"], "demo/other");
    assert_eq!(rig.got("/api/settings").await["default_model"], "demo/other");
    let set = rig.done("/api/reasoning", json!({ "effort": "MAX" })).await;
    assert_eq!(set["reasoning_effort"], "max");
    assert_eq!(rig.got("/api/reasoning").await["reasoning_effort"], "max");

    let new = rig.done("/api/session/new", json!({})).await;
    assert_eq!(
        (&new["session"]["model"], &new["session"]["reasoning_effort"]),
        (&json!("demo/other"), &json!("max"))
    );
    let id = new["session"]["session_id"].as_str().unwrap();
    let seen = rig.got(&format!("/api/reasoning?session_id={id}")).await;
    assert_eq!(seen["reasoning_effort"], "max");
    // Also for those who do not come over this protocol.
    let view = TestView::new(&rig.local).await;
    assert_eq!(view.transcript.model, "demo/other");
    drop(view);
    // A session that was there keeps what it has.
    let kept = rig.got(&format!("/api/session?session_id={old}")).await;
    assert_eq!(
        (&kept["session"]["model"], &kept["session"]["reasoning_effort"]),
        (&json!("demo"), &Value::Null)
    );
    let cleared = rig.done("/api/reasoning", json!({ "effort": "default" })).await;
    assert_eq!(cleared["reasoning_effort"], "");

    rig = rig.again().await;
    assert_eq!(rig.got("/api/models").await["default_model"], "demo");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_reports_no_sessions_of_other_programs() {
    let rig = Rig::new().await;
    let (status, refused) = rig.get("/api/sessions/gateway/stream").await;
    assert_eq!((status, names(&refused)), (404, vec!["error".to_owned()]));
    let (status, probed) = rig.get("/api/sessions/gateway/stream?probe=1").await;
    assert_eq!((status, &probed["ok"], &probed["enabled"]), (404, &json!(false), &json!(false)));
    assert_eq!(probed["session_stream_available"], true);
    // What it points to is there.
    let path = probed["session_stream_path"].as_str().unwrap();
    let stream = rig.client.get(rig.url(&format!("{path}?session_id=x"))).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    rig.stop().await;
}
