//! Uploads over the WebUI protocol, and what of them goes along with a prompt.

use reqwest::StatusCode;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_kept_below_the_folder_of_its_session() {
    // S05
    let rig = Rig::new().await;
    let (_view, id) = rig.session(1).await;
    let (status, kept) = rig.upload(&id, "note.txt", b"seventeen letters".to_vec()).await;
    assert_eq!(status, 200, "{kept}");
    assert_eq!(names(&kept), names(&capture("upload")));
    assert_eq!(kept["size"], 17);
    assert_eq!((&kept["mime"], &kept["is_image"]), (&json!("text/plain"), &json!(false)));
    let folder = rig.home.state().join("uploads").join(&id);
    assert_eq!(kept["path"], json!(folder.join("note.txt")));
    assert_eq!(std::fs::read(folder.join("note.txt")).unwrap(), b"seventeen letters");
    for (name, kept_as) in [
        ("../../../escape.png", "escape.png"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\evil.exe", "evil.exe"),
        ("a/../b.txt", "b.txt"),
    ] {
        let (status, kept) = rig.upload(&id, name, b"x".to_vec()).await;
        assert_eq!((status, &kept["filename"]), (200, &json!(kept_as)), "{name}");
        assert!(folder.join(kept_as).is_file(), "{name}");
    }
    for name in ["..", ".", "dir/", "  "] {
        let refused = (400, json!({ "error": "No filename in upload" }));
        assert_eq!(rig.upload(&id, name, b"x".to_vec()).await, refused, "{name:?}");
    }
    for session in ["none", "", "../..", &format!("../uploads/{id}")] {
        let refused = (404, json!({ "error": "Session not found" }));
        assert_eq!(rig.upload(session, "a.txt", b"x".to_vec()).await, refused, "{session:?}");
    }
    let (status, refused) = rig.post("/api/upload", json!({ "session_id": id })).await;
    assert_eq!((status, refused), (400, json!({ "error": "No file field in request" })));
    let mut found: Vec<_> = std::fs::read_dir(rig.home.state().join("uploads"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, [id]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_sessions_own_uploads_go_along_with_its_prompt() {
    // S05
    let server = Server::start(obey).await;
    let rig = Rig::with(server.model()).await;
    let (mut view, id) = rig.session(1).await;
    let (_other, elsewhere) = rig.session(1).await;
    let (_, mine) = rig.upload(&id, "note.txt", b"seventeen letters".to_vec()).await;
    let (_, foreign) = rig.upload(&elsewhere, "theirs.txt", b"x".to_vec()).await;
    let start = |attachments: Value| json!({ "session_id": id, "message": "Read it.", "attachments": attachments });
    for wrong in [
        json!([foreign]),
        json!([{ "path": "/etc/passwd", "name": "note.txt" }]),
        json!(["../../host.db"]),
        json!([{ "name": "../note.txt" }]),
        json!([mine, "gone.txt"]),
        json!([{}]),
        json!(vec![mine.clone(); 21]),
    ] {
        let (status, refused) = rig.post("/api/chat/start", start(wrong.clone())).await;
        assert_eq!(status, 400, "{wrong}: {refused}");
        assert!(refused["error"].as_str().unwrap().contains("attachment"), "{refused}");
    }
    rig.done("/api/chat/start", start(json!([mine]))).await;
    view.turn(2).await;
    let path = mine["path"].as_str().unwrap();
    let asked = server.seen().into_iter().rfind(|asked| !asked.body.is_null()).unwrap();
    let expected = format!("Read it.\n[Attached file: {path} (text/plain, 17 bytes)]");
    assert_eq!(asked.last_user(), expected);
    let loaded = rig.got(&format!("/api/session?session_id={id}")).await;
    assert_eq!(loaded["session"]["messages"][2]["attachments"], json!(["note.txt"]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_more_than_20_mb_is_refused_and_leaves_nothing() {
    // S05
    let rig = Rig::new().await;
    let (_view, id) = rig.session(1).await;
    let mb = 1024 * 1024;
    let (status, refused) = rig.upload(&id, "big.bin", vec![7; 21 * mb]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE.as_u16());
    assert_eq!(refused, json!({ "error": "File too large (max 20MB)" }));
    assert!(!rig.home.state().join("uploads").exists());
    // The next one is not disturbed by it.
    let (status, kept) = rig.upload(&id, "big.bin", vec![7; 20 * mb]).await;
    assert_eq!((status, &kept["size"]), (200, &json!(20 * mb)));
    rig.stop().await;
}
