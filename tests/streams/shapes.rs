//! All routes with streams, and the shape of what they say.

use super::*;

/// Every route that answers with a stream, `$S` for a session and `$T` for the stream of a turn
/// that runs, and what it says while nothing happens.
const STREAMS: &[(&str, &str)] = &[
    ("/api/chat/stream?stream_id=$T&replay=1", ": heartbeat"),
    ("/api/session/stream?session_id=$S", ": keepalive"),
    ("/api/sessions/{sid}/events", ": keepalive"),
    ("/api/sessions/events", ": keepalive"),
    ("/api/approval/stream?session_id=$S", ": keepalive"),
    ("/api/clarify/stream?session_id=$S", ": keepalive"),
    ("/api/tui/v1/events?session=$S", ": keepalive"),
];

// E14
#[tokio::test]
async fn every_route_that_streams_is_tested_over_a_socket() {
    let site = Site::new(slow(1, 1).await).await;
    let session = site.session().await;
    let stream = site.prompt(&session, "hang").await;
    let mut routes = BTreeSet::new();
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("host/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.path().components().any(|part| part.as_os_str() == "serve") {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                let quoted = text.split('"').filter(|text| text.starts_with("/api/"));
                routes.extend(quoted.map(str::to_owned));
            }
        }
    }
    assert!(routes.len() > 30, "{routes:?}");
    let mut found = BTreeSet::new();
    for route in routes {
        let path = route.replace("{sid}", &session);
        let query = format!("session_id={session}&session={session}&stream_id={stream}");
        let sep = if path.contains('?') { '&' } else { '?' };
        // What only a POST asks for answers at once, too.
        let asked = site.http.get(site.url(&format!("{path}{sep}{query}"))).send();
        let answer = tokio::time::timeout(LONG, asked).await.expect(&path).unwrap();
        let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap());
        if kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            found.insert(route.split('?').next().unwrap().to_owned());
        }
        if route.ends_with("/cancel") {
            assert_eq!(answer.status(), 200);
        }
    }
    let known = STREAMS.iter().map(|(path, _)| path.split('?').next().unwrap().to_owned());
    assert_eq!(found, known.collect(), "found by asking, and tested");
    site.end().await;
}

// E07 E14
#[tokio::test]
async fn a_quiet_stream_carries_keepalives_at_the_set_pace() {
    let keepalive = Duration::from_secs(1);
    let site = Site::with(slow(1, 1).await, |settings| settings.timing.keepalive = keepalive).await;
    let session = site.session().await;
    let stream = site.prompt(&session, "hang").await;
    // Sessions that do not exist have quiet streams too.
    let unknown = [
        ("/api/session/stream?session_id=unknown", ": keepalive"),
        ("/api/approval/stream?session_id=unknown", ": keepalive"),
    ];
    let streams = STREAMS.iter().chain(&unknown).map(|(path, comment)| {
        let path = path.replace("$T", &stream).replace("$S", &session).replace("{sid}", &session);
        let site = &site;
        async move {
            let mut sse = site.open(&path).await;
            let begun = Instant::now();
            // Two of them: the first may follow an event.
            while sse.text.matches(comment).count() < 2 {
                let chunk = tokio::time::timeout(LONG, sse.bytes.next()).await;
                let chunk = chunk.unwrap_or_else(|_| panic!("{path} is silent"));
                sse.text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
            }
            assert!(begun.elapsed() > keepalive * 19 / 10, "{path} is too eager");
        }
    });
    futures::future::join_all(streams).await;
    site.end().await;
}

/// Keys that a capture has and we have on purpose not.
const NOT_OURS: &[&str] =
    &["_gateway_mirror", "_gateway_mirror_token", "_webui_mirror_token", "hint"];

// What a client of the original reads, it finds here too.
#[tokio::test]
async fn frames_have_the_keys_of_a_recorded_server() {
    let site = Site::new(
        Server::start(|asked| match asked.last_user() {
            // What was said of the turn before may stand before it.
            order if order.ends_with("hang") => Reply::Hang("x".to_owned()),
            order if order.ends_with("fail") => Reply::Status(401, String::new()),
            order => answer(asked, order),
        })
        .await,
    )
    .await;
    let session = site.session().await;
    let mut ours: BTreeMap<String, Value> = BTreeMap::new();
    let mut take = |frames: Vec<Frame>| {
        for frame in frames {
            ours.insert(frame.event, frame.data);
        }
    };
    let mut channel =
        site.open(&format!("/api/session/stream?session_id={session}&known_count=1")).await;
    take(vec![channel.until("initial").await, channel.until("session-updated").await]);
    let args = json!({ "question": "Which?", "choices": ["a", "b"] });
    let order =
        format!("{}\nthen\n{}\nthen\ncall clarify {args}", background("true"), removal("a"));
    let stream = site.prompt(&session, &order).await;
    let mut turn = site.replay(&stream).await;
    take(vec![turn.until("approval").await]);
    site.post("/api/approval/respond", json!({ "session_id": session })).await;
    take(vec![turn.until("clarify").await]);
    let yes = json!({ "session_id": session, "response": "a" });
    assert_eq!(site.post("/api/clarify/respond", yes).await.0, 200);
    turn.rest().await;
    take(site.replay(&stream).await.rest().await);
    take(vec![channel.until("bg_task_complete").await, channel.until("process_complete").await]);
    let mut view = site.view(&session).await;
    view.until("the end of the wakeup", |v| {
        let told = !wakeups(&v.transcript.rows).is_empty();
        (told && v.transcript.running.is_none()).then_some(())
    })
    .await;
    let stream = site.prompt(&session, "fail").await;
    take(site.replay(&stream).await.rest().await);
    let stream = site.prompt(&session, "hang").await;
    let mut turn = site.replay(&stream).await;
    turn.until("token").await;
    let mut late = site.open(&format!("/api/session/stream?session_id={session}")).await;
    take(vec![late.until("server_turn_started").await]);
    site.get(&format!("/api/chat/cancel?stream_id={stream}")).await;
    take(turn.rest().await);

    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/captures");
    let mut compared = BTreeSet::new();
    for file in [
        "chat_stream_tool",
        "chat_stream_approval",
        "chat_stream_clarify",
        "chat_stream_cancel",
        "chat_stream_http401",
        "session_stream_bg",
        "session_stream_recovered",
        "session_stream_known_count",
    ] {
        let text = std::fs::read_to_string(folder.join(format!("{file}.sse"))).unwrap();
        for theirs in parsed(&text) {
            // The title is made by another request there; usage is not always whole.
            if ["title", "title_status"].contains(&theirs.event.as_str()) {
                continue;
            }
            let own = ours.get(&theirs.event).unwrap_or_else(|| panic!("no {}", theirs.event));
            for key in theirs.data.as_object().unwrap().keys() {
                let known = own.get(key).is_some() || NOT_OURS.contains(&key.as_str());
                assert!(known, "{file}: {} lacks {key}: {own}", theirs.event);
            }
            compared.insert(theirs.event);
        }
    }
    assert_eq!(compared.len(), 16, "{compared:?}");
    site.end().await;
}
