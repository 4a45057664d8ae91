//! Projects: drawers that sessions are filed in.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_filed_in_a_project_and_a_restart_finds_it_there() {
    let mut rig = Rig::new().await;
    let (view, id) = rig.session(1).await;
    drop(view);
    assert_eq!(rig.got("/api/projects").await, capture("projects"));
    let long = format!("  Blue \u{1f433} {}", "x".repeat(500));
    let made = rig.done("/api/projects/create", json!({ "name": long, "color": "#1e90FF" })).await;
    let project = made["project"].clone();
    assert_eq!(names(&project), ["project_id", "name", "color", "profile", "created_at"]);
    assert_eq!(project["name"].as_str().unwrap().chars().count(), 128);
    assert_eq!(project["color"], "#1e90FF");
    let drawer = project["project_id"].as_str().unwrap().to_owned();
    assert!(drawer.len() == 12 && drawer.bytes().all(|b| b.is_ascii_hexdigit()), "{drawer}");
    let move_to = |project: Value| json!({ "session_id": id, "project_id": project });
    let moved = rig.done("/api/session/move", move_to(json!(drawer))).await;
    assert_eq!((&moved["ok"], &moved["session"]["project_id"]), (&json!(true), &json!(drawer)));
    let of = |list: &Value| list["sessions"][0]["project_id"].clone();
    assert_eq!(of(&rig.got("/api/sessions").await), json!(drawer));
    let loaded = rig.got(&format!("/api/session?session_id={id}")).await;
    assert_eq!(loaded["session"]["project_id"], json!(drawer));
    // Its color stays where only its name changes.
    let other = json!({ "project_id": drawer, "name": "Whales" });
    let renamed = rig.done("/api/projects/rename", other).await;
    assert_eq!(
        (&renamed["project"]["name"], &renamed["project"]["color"]),
        (&json!("Whales"), &json!("#1e90FF"))
    );
    let bare = json!({ "project_id": drawer, "name": "Whales", "color": null });
    let renamed = rig.done("/api/projects/rename", bare).await;
    assert_eq!(renamed["project"]["color"], Value::Null);

    rig = rig.again().await;
    let list = rig.got("/api/projects").await;
    assert_eq!(list["projects"], json!([renamed["project"]]));
    assert_eq!(of(&rig.got("/api/sessions").await), json!(drawer));
    let out = rig.done("/api/session/move", move_to(Value::Null)).await;
    assert_eq!(out["session"]["project_id"], Value::Null);
    rig.done("/api/session/move", move_to(json!(drawer))).await;
    // A project that is gone leaves its sessions where they are.
    assert_eq!(
        rig.done("/api/projects/delete", json!({ "project_id": drawer })).await,
        json!({ "ok": true })
    );
    assert_eq!(rig.post("/api/session/move", move_to(json!(drawer))).await.0, 404);
    rig = rig.again().await;
    assert_eq!(rig.got("/api/projects").await["projects"], json!([]));
    assert_eq!(of(&rig.got("/api/sessions").await), Value::Null);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_session_leaves_nothing_in_its_project() {
    let rig = Rig::new().await;
    let made = rig.done("/api/projects/create", json!({ "name": "Whales" })).await;
    let drawer = made["project"]["project_id"].clone();
    let new = rig.done("/api/session/new", json!({ "project_id": drawer })).await;
    assert_eq!(new["session"]["project_id"], drawer);
    let id = new["session"]["session_id"].as_str().unwrap().to_owned();
    let mut view = TestView::attach(&rig.local, Target::Id(SessionId(id.clone()))).await;
    view.ask(1, "hello").await;
    drop(view);
    assert_eq!(rig.got("/api/sessions").await["sessions"][0]["project_id"], drawer);
    assert_eq!(rig.home.reader().placed().unwrap().len(), 1);
    rig.done("/api/session/delete", json!({ "session_id": id })).await;
    eventually("the end of its place", || {
        rig.home.reader().placed().unwrap().is_empty().then_some(())
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_clients_are_told_that_a_session_was_moved() {
    // S04
    let rig = Rig::new().await;
    let (view, id) = rig.session(1).await;
    drop(view);
    let made = rig.done("/api/projects/create", json!({ "name": "Whales" })).await;
    let mut news = rig.client.get(rig.url("/api/sessions/events")).send().await.unwrap();
    // The stream counts from when it was opened.
    let moved = json!({ "session_id": id, "project_id": made["project"]["project_id"] });
    rig.done("/api/session/move", moved).await;
    let mut text = String::new();
    while !text.contains("sessions_changed") {
        let chunk = tokio::time::timeout(LONG, news.chunk()).await.expect("news").unwrap();
        text += std::str::from_utf8(&chunk.unwrap()).unwrap();
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_cannot_be_stored_is_not_there_until_it_is() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(1).await;
    let conn = rusqlite::Connection::open(rig.home.state().join("hermes-tui.db")).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, refused) = rig.post("/api/projects/create", json!({ "name": "Whales" })).await;
    assert_eq!(status, 503, "{refused}");
    assert!(!refused.to_string().contains("sqlite"), "{refused}");
    assert_eq!(rig.got("/api/projects").await["projects"], json!([]));
    conn.execute_batch("ROLLBACK").unwrap();
    // The host goes on, and so do projects.
    let end = std::time::Instant::now() + LONG;
    while rig.post("/api/projects/create", json!({ "name": "Whales" })).await.0 != 200 {
        assert!(std::time::Instant::now() < end);
    }
    rig.got(&format!("/api/session?session_id={id}")).await;
    // The store tries again by itself: what it has by now is told before the next start, too.
    let told = rig.got("/api/projects").await["projects"].clone();
    let told: Vec<&str> =
        told.as_array().unwrap().iter().map(|p| p["project_id"].as_str().unwrap()).collect();
    let stored = rig.home.reader().projects().unwrap();
    assert_eq!(told, stored.iter().map(|p| p.id.as_str()).collect::<Vec<_>>());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_prompts_leaves_no_trace_in_its_project() {
    let rig = Rig::new().await;
    let made = rig.done("/api/projects/create", json!({ "name": "p" })).await;
    let project = &made["project"]["project_id"];
    rig.done("/api/session/new", json!({ "project_id": project })).await;
    let (mut view, kept) = rig.session(1).await;
    view.quiet().await;
    rig.done("/api/session/move", json!({ "session_id": kept, "project_id": project })).await;
    assert_eq!(rig.home.reader().placed().unwrap().len(), 2);
    drop(view);
    let rig = rig.again().await;
    let placed = rig.home.reader().placed().unwrap();
    assert_eq!(placed.keys().map(|id| id.0.clone()).collect::<Vec<_>>(), [kept]);
    rig.stop().await;
}
