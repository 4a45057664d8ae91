//! `/health`: what runs and whether it works, told to everybody, and nothing that only some may
//! know.

use protocol::Command;

use super::*;

/// A session whose turn waits for an answer.
async fn waiting(local: &EmbeddedHost) -> TestView {
    let mut view = TestView::new(local).await;
    view.prompt("clarify open");
    view.until("the question", |v| v.transcript.questions.first().map(|_| ())).await;
    view
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_what_runs_and_when_it_has_ended() {
    let rig = Rig::new().await;
    let idle = rig.got("/health").await;
    assert_eq!((&idle["sessions"], &idle["active_runs"]), (&json!(0), &json!(0)));
    assert_eq!((&idle["runs"], &idle["last_run_finished_at"]), (&json!([]), &Value::Null));
    assert!(idle.get("oldest_run_age_seconds").is_none(), "{idle}");

    let mut view = waiting(&rig.local).await;
    let busy = rig.got("/health").await;
    assert_eq!((&busy["sessions"], &busy["active_runs"]), (&json!(1), &json!(1)));
    assert_eq!(busy["active_streams"], 1);
    for name in names(&capture("health")) {
        assert!(busy.get(&name).is_some(), "{name} in {busy}");
    }
    let run = &busy["runs"][0];
    assert_eq!(names(run), names(&capture("health")["runs"][0]));
    assert_eq!((&run["phase"], &run["model"]), (&json!("waiting"), &json!("demo")));
    assert_eq!((&run["provider"], &run["ephemeral"]), (&json!("demo"), &json!(false)));
    assert!(run["started_at"].as_f64().unwrap() > 1e9);
    assert_eq!(run["age_seconds"], busy["oldest_run_age_seconds"]);
    let count = |health: &Value| health["accept_loop"]["requests_total"].as_u64().unwrap();
    assert_eq!(count(&busy), count(&idle) + 1);
    assert!(busy["accept_loop"]["last_request_at"].as_f64().unwrap() > 1e9);

    view.send(Command::Cancel);
    view.turn(1).await;
    let after = rig.got("/health").await;
    assert_eq!((&after["active_runs"], &after["runs"]), (&json!(0), &json!([])));
    let ended = after["last_run_finished_at"].as_f64().unwrap();
    assert!(ended >= run["started_at"].as_f64().unwrap(), "{after}");
    assert!(after["idle_seconds_since_last_run"].as_f64().unwrap() >= 0.0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_logged_in_learns_numbers_alone() {
    let home = Home::new();
    let settings = home.settings(demo());
    let local = start(settings.clone());
    let options = serve::Options {
        tcp: Some("127.0.0.1:0".parse().unwrap()),
        password: Some("secret".to_owned()),
        version: "1.2.3".to_owned(),
        ..serve::Options::default()
    };
    let server = serve::start(local.handle(), &settings, options).await.unwrap();
    let base = format!("http://{}", server.address().unwrap());
    let client = Client::builder().no_proxy().timeout(LONG).build().unwrap();
    let view = waiting(&local).await;
    let health = |cookie: String| {
        let asked = client.get(format!("{base}/health?deep=1")).header("cookie", cookie);
        async move { told(asked.send().await.unwrap()).await }
    };
    for cookie in ["", "hermes_session=a.b"] {
        let (status, seen) = health(cookie.to_owned()).await;
        assert_eq!((status, &seen["active_runs"]), (200, &json!(1)), "{seen}");
        assert_eq!(
            (&seen["runs"][0]["model"], &seen["runs"][0]["provider"]),
            (&json!(null), &json!(null))
        );
        let text = seen.to_string();
        for secret in [&view.session().0, "demo", "clarify", home.path().to_str().unwrap()] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    let login = client.post(format!("{base}/api/auth/login"));
    let login = login.json(&json!({ "password": "secret" })).send().await.unwrap();
    let cookie = login.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    assert_eq!(health(cookie.to_owned()).await.1["runs"][0]["model"], "demo");
    server.stop().await;
    local.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_look_says_whether_host_and_store_work() {
    let rig = Rig::new().await;
    let (_view, _) = rig.session(1).await;
    let sound = rig.got("/health?deep=1").await;
    assert_eq!(
        (&sound["status"], &sound["checks"]["host"]["status"]),
        (&json!("ok"), &json!("ok"))
    );
    assert_eq!(sound["checks"]["store"]["status"], "ok");
    // Another program keeps the database for itself.
    let conn = rusqlite::Connection::open(rig.home.state().join("hermes-tui.db")).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let end = std::time::Instant::now() + LONG;
    let ill = loop {
        let (status, ill) = rig.get("/health?deep=1").await;
        // What was found holds for a second.
        if status == 503 {
            break ill;
        }
        assert!(std::time::Instant::now() < end, "{ill}");
    };
    assert_eq!(
        (&ill["status"], &ill["checks"]["host"]["status"]),
        (&json!("degraded"), &json!("ok"))
    );
    assert_eq!(ill["checks"]["store"]["status"], "error");
    assert!(!ill.to_string().contains(rig.home.path().to_str().unwrap()), "{ill}");
    // The short look does not ask the store.
    assert_eq!(rig.got("/health").await["status"], "ok");
    conn.execute_batch("ROLLBACK").unwrap();
    while rig.get("/health?deep=1").await.0 != 200 {
        assert!(std::time::Instant::now() < end);
    }
    // Nothing was changed by looking.
    assert_eq!(rig.home.reader().sessions(9).unwrap().len(), 1);
    rig.local.end().await;
    let url = format!("http://{}/health?deep=1", rig.server.address().unwrap());
    let (status, gone) = told(rig.client.get(url).send().await.unwrap()).await;
    assert_eq!((status, &gone["checks"]["host"]["error"]), (503, &json!("stopped")), "{gone}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_in_progress_is_shared_with_the_next_client() {
    let rig = Rig::new().await;
    let (_view, _) = rig.session(1).await;
    let conn = rusqlite::Connection::open(rig.home.state().join("hermes-tui.db")).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    let short = std::time::Duration::from_millis(300);
    let asked = rig.client.get(rig.url("/health?deep=1")).timeout(short).send().await;
    assert!(asked.unwrap_err().is_timeout());
    conn.execute_batch("ROLLBACK").unwrap();
    // The look that was begun ends by itself, and what it has found holds for a second.
    tokio::time::sleep(short).await;
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(rig.got("/health?deep=1").await["checks"]["store"]["status"], "ok");
    drop(conn);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_names_its_server() {
    let rig = Rig::new().await;
    let (_view, id) = rig.session(1).await;
    for path in [
        "/health".to_owned(),
        "/api/nothing".to_owned(),
        "/api/session".to_owned(),
        format!("/api/session/stream?session_id={id}"),
        format!("/api/session/export?session_id={id}"),
    ] {
        let answer = rig.client.get(rig.url(&path)).send().await.unwrap();
        assert_eq!(answer.headers()["server"], "hermes-tui/1.2.3", "{path}");
    }
    let foreign = rig.client.get(rig.url("/health")).header("origin", "http://evil.example");
    let refused = foreign.send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["server"]),
        (403, &"hermes-tui/1.2.3".parse().unwrap())
    );
    rig.stop().await;
}
