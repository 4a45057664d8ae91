//! The limits of what a client of the seam wire may send.

use super::*;

#[tokio::test]
async fn commands_with_a_too_long_id_or_name_refuse_their_whole_batch() {
    let site = Site::start(None).await;
    let (token, mut frames) = site.view(&site.http, "new").await;
    frames.event("attached").await;
    let send = |body: Value| {
        let request = site.post(&format!("/api/tui/v1/commands?view={token}"), &body);
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let (id, name) = ("x".repeat(257), "x".repeat(4097));
    let cases = [
        json!({ "command": "prompt", "id": id, "text": "hello" }),
        json!({ "command": "unqueue", "id": id }),
        json!({ "command": "retry", "id": id }),
        json!({ "command": "answer", "id": id, "answer": { "kind": "text", "value": "x" } }),
        json!({ "command": "answer", "id": "q", "session": id, "answer": { "kind": "expired" } }),
        json!({ "command": "shown", "id": id }),
        json!({ "command": "kill", "id": id }),
        json!({ "command": "tail", "id": id }),
        json!({ "command": "open", "id": id }),
        json!({ "command": "delete", "session": id }),
        json!({ "command": "set_model", "model": name }),
        json!({ "command": "set_title", "title": name }),
        json!({ "command": "set_cwd", "cwd": name }),
        json!({ "command": "set_reasoning", "effort": name }),
        json!({ "command": "set_profile", "name": name }),
        json!({ "command": "upload", "name": name, "data": "" }),
        json!({ "command": name }),
    ];
    let prompt = json!({ "command": "prompt", "id": "p1", "text": "not run" });
    for case in &cases {
        for body in [case.clone(), json!([prompt, case])] {
            let (status, answer) = send(body).await;
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(status == 400 && error.contains("is too long"), "{case}: {answer}");
            assert!(error.len() < 200, "{error}");
        }
    }
    // Free text may be long, and this is the first prompt that was carried out.
    let text = "clarify open ".to_owned() + &"long ".repeat(2_000);
    let prompt = json!({ "command": "prompt", "id": "x".repeat(256), "text": text });
    assert_eq!(send(prompt).await.0, 200);
    let row = frames.event("row_added").await;
    assert_eq!(row["row"]["body"]["text"], json!(text));
    site.end().await;
}

#[tokio::test]
async fn extreme_numbers_in_commands_do_no_harm() {
    let site = Site::start(None).await;
    let (token, mut frames) = site.view(&site.http, "new").await;
    frames.event("attached").await;
    let url = format!("/api/tui/v1/commands?view={token}");
    let hello = json!({ "command": "prompt", "id": "p1", "text": "hello" });
    site.post(&url, &hello).send().await.unwrap();
    frames.event("turn_ended").await;
    for before in [0, 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let page = json!({ "command": "page", "before": before, "limit": u32::MAX });
        assert_eq!(site.post(&url, &page).send().await.unwrap().status(), 200);
        let paged = frames.event("paged").await;
        let rows = paged["rows"].as_array().unwrap().len();
        let expected = if before > 1 { 2 } else { 0 };
        assert_eq!((rows, &paged["earlier"]), (expected, &json!(0)), "{before}");
    }
    // Anything but such a number is skipped, and the view continues.
    for before in [json!(-1), json!(1e300), json!("1"), json!(null)] {
        let page = json!({ "command": "page", "before": before, "limit": 1 });
        let answer = site.post(&url, &page).send().await.unwrap().json::<Value>().await.unwrap();
        assert_eq!(answer["unknown"], json!(["page"]), "{before}");
    }
    site.end().await;
}
