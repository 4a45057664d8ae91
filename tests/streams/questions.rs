//! Approvals and clarify questions, shown to all and answered once.

use super::*;

// C01 C02 C03 C04 C07
#[tokio::test]
async fn an_approval_is_shown_to_all_and_answered_once() {
    let site = Site::new(Server::obedient().await).await;
    let session = site.session().await;
    std::fs::create_dir(site.home.work().join("a")).unwrap();
    let path = format!("/api/approval/stream?session_id={session}");
    let mut early = site.open(&path).await;
    let none = json!({ "pending": null, "pending_count": 0 });
    let first = early.next().await.unwrap();
    assert_eq!((first.event.as_str(), &first.data), ("initial", &none));
    let stream = site.prompt(&session, &format!("{}\nthen\n{}", removal("a"), removal("b"))).await;
    let asked = early.until("approval").await.data;
    assert_eq!(asked["pending_count"], 1);
    let id = asked["pending"]["approval_id"].as_str().unwrap().to_owned();
    let mut late = site.open(&path).await;
    let head = late.next().await.unwrap();
    assert_eq!(
        (head.event.as_str(), &head.data["pending"]["approval_id"]),
        ("initial", &json!(id))
    );
    let (_, polled) = site.get(&format!("/api/approval/pending?session_id={session}")).await;
    assert_eq!(polled["pending"]["approval_id"], json!(id));
    // In the stream of the turn as well.
    let inline = site.replay(&stream).await.until("approval").await.data;
    assert_eq!((&inline["approval_id"], &inline["pending_count"]), (&json!(id), &json!(1)));

    let respond = |body: Value| site.post("/api/approval/respond", body);
    let (status, bad) =
        respond(json!({ "session_id": session, "choice": "bogus", "approval_id": id })).await;
    assert_eq!((status, bad), (400, json!({ "error": "Invalid choice: bogus" })));
    assert_eq!(respond(json!({ "choice": "once" })).await.0, 400);
    let wrong = json!({ "session_id": session, "choice": "once", "approval_id": "nope" });
    assert_eq!(respond(wrong).await, (200, json!({ "ok": false, "choice": "once" })));
    // Two at once: one counts.
    let (one, two) = tokio::join!(
        respond(json!({ "session_id": session, "choice": "once", "approval_id": id, "by": "one" })),
        respond(json!({ "session_id": session, "choice": "deny", "approval_id": id, "by": "two" })),
    );
    let won = [&one, &two]
        .iter()
        .filter(|(_, body)| body["ok"] == true && body.get("stale_cleared").is_none())
        .count();
    assert_eq!(won, 1, "{one:?} {two:?}");
    let winner =
        if one.1.get("stale_cleared").is_none() && one.1["ok"] == true { "one" } else { "two" };
    for sse in [&mut early, &mut late] {
        let resolved = sse.until("resolved").await.data;
        assert_eq!((&resolved["approval_id"], &resolved["by"]), (&json!(id), &json!(winner)));
    }
    // The next one comes to everybody, and a late answer to the first is not its answer.
    let next = loop {
        let frame = late.until("approval").await.data;
        if !frame["pending"].is_null() && frame["pending"]["approval_id"] != json!(id) {
            break frame;
        }
    };
    let stale = json!({ "session_id": session, "choice": "once", "approval_id": id });
    assert_eq!(respond(stale.clone()).await, (200, json!({ "ok": false, "choice": "once" })));
    // Without an id there is one meaning only; without a choice it is no.
    assert_eq!(
        respond(json!({ "session_id": session })).await,
        (200, json!({ "ok": true, "choice": "deny" }))
    );
    assert!(!next["pending"]["command"].is_null());
    site.replay(&stream).await.until("stream_end").await;
    let gone = json!({ "ok": true, "choice": "once", "stale_cleared": true });
    assert_eq!(respond(stale).await, (200, gone));
    for sse in [&mut early, &mut late] {
        loop {
            if sse.until("approval").await.data == none {
                break;
            }
        }
    }
    site.end().await;
}

// C03 C07 C13
#[tokio::test]
async fn a_clarify_question_takes_any_text_once() {
    let site = Site::new(Server::obedient().await).await;
    let session = site.session().await;
    let args = json!({ "question": "Which?", "choices": ["a", "b"] });
    let stream = site.prompt(&session, &format!("call clarify {args}")).await;
    let mut shown = site.open(&format!("/api/clarify/stream?session_id={session}")).await;
    let head = loop {
        let frame = shown.next().await.unwrap();
        if !frame.data["pending"].is_null() {
            break frame.data["pending"].clone();
        }
    };
    assert_eq!(head["choices_offered"], json!(["a", "b"]));
    let id = head["clarify_id"].as_str().unwrap().to_owned();
    let respond = |body: Value| site.post("/api/clarify/respond", body);
    let empty = json!({ "session_id": session, "response": "", "clarify_id": id });
    assert_eq!(respond(empty).await, (400, json!({ "error": "response is required" })));
    let wrong = json!({ "session_id": session, "response": "x", "clarify_id": "nope" });
    let (status, stale) = respond(wrong).await;
    assert_eq!((status, &stale["ok"], &stale["stale"]), (409, &json!(false), &json!(true)));
    let text = "  neither:\n\n  \"c\" ß\n";
    let given = json!({ "session_id": session, "response": text, "clarify_id": id });
    assert_eq!(respond(given.clone()).await, (200, json!({ "ok": true, "response": text })));
    let (status, stale) = respond(given).await;
    assert_eq!((status, &stale["stale"]), (409, &json!(true)));
    let (status, none) = respond(json!({ "session_id": session, "response": "x" })).await;
    assert_eq!((status, &none["stale"]), (409, &json!(true)));
    let resolved = shown.until("resolved").await.data;
    assert_eq!((&resolved["kind"], &resolved["response"]), (&json!("clarify"), &json!(text)));
    site.replay(&stream).await.until("stream_end").await;
    let heard = site.model.requests(3).await;
    assert!(heard.last().unwrap().last_tool().contains("neither"));
    site.end().await;
}

// C08
#[tokio::test]
async fn the_clock_of_a_question_starts_when_a_stream_shows_it() {
    let site = Site::with(Server::obedient().await, |settings| {
        settings.approvals.timeout = Duration::from_millis(500);
    })
    .await;
    let session = site.session().await;
    let stream = site.prompt(&session, &removal("a")).await;
    let mut turn = site.replay(&stream).await;
    let asked = turn.until("approval").await.data;
    assert_eq!(asked["expires_at"], Value::Null);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let mut shown = site.open(&format!("/api/approval/stream?session_id={session}")).await;
    let resolved = shown.until("resolved").await.data;
    assert_eq!(
        (&resolved["outcome"], &resolved["approval_id"]),
        (&json!("expired"), &asked["approval_id"])
    );
    assert!(shown.text.contains("\"expires_at\":1"), "the countdown was told: {}", shown.text);
    turn.until("stream_end").await;
    site.end().await;
}

// C08
#[tokio::test]
async fn a_questions_clock_starts_when_a_polling_client_gets_it() {
    let site = Site::with(Server::obedient().await, |settings| {
        settings.approvals.timeout = Duration::from_millis(200);
    })
    .await;
    let session = site.session().await;
    let stream = site.prompt(&session, &removal("a")).await;
    let mut turn = site.replay(&stream).await;
    assert_eq!(turn.until("approval").await.data["expires_at"], Value::Null);
    let (_, polled) = site.get(&format!("/api/approval/pending?session_id={session}")).await;
    assert_eq!(polled["pending_count"], 1);
    turn.until("stream_end").await;
    site.end().await;
}

// C10
#[tokio::test]
async fn always_is_no_answer_where_a_rule_has_no_permanent_grant() {
    let site = Site::new(Server::obedient().await).await;
    let session = site.session().await;
    let order = format!("call terminal {}", json!({ "command": "sudo -n true" }));
    let stream = site.prompt(&session, &order).await;
    let asked = site.replay(&stream).await.until("approval").await.data;
    assert_eq!(asked["allow_permanent"], false);
    let answer = |choice: &str| {
        let id = &asked["approval_id"];
        let body = json!({ "session_id": session, "choice": choice, "approval_id": id });
        site.post("/api/approval/respond", body)
    };
    let (status, said) = answer("always").await;
    assert!(status == 400 && said["error"].as_str().unwrap().contains("always"), "{said}");
    assert_eq!(answer("deny").await, (200, json!({ "ok": true, "choice": "deny" })));
    site.replay(&stream).await.until("stream_end").await;
    site.end().await;
}

// C06
#[tokio::test]
async fn a_slow_client_of_100_questions_ends_on_the_right_head() {
    let site = Site::new(Server::obedient().await).await;
    let session = site.session().await;
    let address = site.server.address().unwrap();
    let mut slow = TcpStream::connect(address).await.unwrap();
    let path = format!("/api/approval/stream?session_id={session}");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut view = site.view(&session).await;
    let order: Vec<String> = (0..100).map(|n| removal(&format!("dir{n}"))).collect();
    site.prompt(&session, &order.join("\n")).await;
    let mut answered = BTreeSet::new();
    while answered.len() < 97 {
        let id = view
            .until("the next question", |v| {
                v.transcript
                    .questions
                    .iter()
                    .map(|q| q.id.clone())
                    .find(|id| !answered.contains(id))
            })
            .await;
        view.send(Command::Answer {
            session: None,
            id: id.clone(),
            answer: Answer::Approval(Choice::Deny),
        });
        answered.insert(id);
    }
    let head = view
        .until("the head", |v| {
            v.transcript.questions.first().map(|q| q.id.clone()).filter(|id| !answered.contains(id))
        })
        .await;
    let total = view.transcript.questions.len();
    let wanted = format!("\"approval_id\":\"{}\"", head.0);
    let mut text = String::new();
    let mut chunk = vec![0; 4096];
    let ends_right = |text: &str| {
        let last =
            text.lines().rev().find(|l| l.starts_with("data: ") && l.contains("pending_count"));
        last.is_some_and(|l| {
            l.contains(&wanted) && l.contains(&format!("\"pending_count\":{total}"))
        })
    };
    while !ends_right(&text) {
        let read = tokio::time::timeout(LONG, slow.read(&mut chunk)).await.unwrap().unwrap();
        assert!(read > 0);
        text.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    view.send(Command::Cancel);
    site.end().await;
}
