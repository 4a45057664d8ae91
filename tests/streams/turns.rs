//! The stream of a turn: cut, resumed, joined, left unread.

use super::*;

// E03 E10
#[tokio::test]
async fn a_stream_resumed_at_any_byte_has_no_gap_and_no_double() {
    let site = Site::new(Server::obedient().await).await;
    let session = site.session().await;
    let order = format!("call terminal {}\nthen\n", json!({ "command": "echo über" }));
    let stream = site.prompt(&session, &order).await;
    let mut whole = site.replay(&stream).await;
    let frames = whole.rest().await;
    let wanted = ["context_status", "tool", "tool_complete", "token", "done", "stream_end"];
    let mut kinds = names(&frames);
    kinds.retain(|name| *name != "metering");
    assert_eq!(kinds, wanted, "`done` is not the end");
    assert_eq!(numbers(&frames), (1..=frames.len() as u64).collect::<Vec<_>>());

    let text = whole.text.as_bytes().to_vec();
    let mut rests: BTreeMap<Option<String>, Vec<Frame>> = BTreeMap::new();
    for cut in 0..=text.len() {
        let seen = parsed(&String::from_utf8_lossy(&text[..cut]));
        let cursor = seen.iter().rev().find_map(|frame| frame.id.clone());
        if !rests.contains_key(&cursor) {
            let path = format!("/api/chat/stream?stream_id={stream}");
            let rest = site.open_after(&path, cursor.as_deref()).await.rest().await;
            rests.insert(cursor.clone(), rest);
        }
        let joined: Vec<Frame> = seen.into_iter().chain(rests[&cursor].clone()).collect();
        assert_eq!(joined, frames, "cut at byte {cut}");
    }
    assert_eq!(rests.len(), frames.len() + 1, "every place was tried");
    site.end().await;
}

// E03
#[tokio::test]
async fn a_turn_cut_after_every_event_is_read_whole() {
    let site = Site::new(slow(25, 40).await).await;
    let session = site.session().await;
    let stream = site.prompt(&session, "slow").await;
    let mut got: Vec<Frame> = Vec::new();
    loop {
        let path = format!("/api/chat/stream?stream_id={stream}");
        let cursor = got.last().and_then(|frame| frame.id.clone());
        let mut sse = match &cursor {
            // By the header, and by the query with a header that must not count.
            Some(id) if got.len().is_multiple_of(2) => site.open_after(&path, Some(id)).await,
            Some(id) => {
                let path = format!("{path}&after_event_id={id}");
                site.open_after(&path, Some("nonsense:7")).await
            }
            None => site.open(&path).await,
        };
        match sse.next().await {
            Some(frame) => got.push(frame),
            None => break,
        }
    }
    let whole = site.replay(&stream).await.rest().await;
    assert_eq!(got, whole);
    let expected: String = (0..25).map(|n| format!("piece{n} ")).collect();
    assert_eq!(said(&got), expected);
    site.end().await;
}

// E03
#[tokio::test]
async fn a_cursor_that_means_nothing_here_replays_from_the_start() {
    let site = Site::new(Server::obedient().await).await;
    let session = site.session().await;
    let stream = site.prompt(&session, "hello").await;
    let whole = site.replay(&stream).await.rest().await;
    let other = format!("{}{}", &stream[..28], "ffff");
    for query in [
        "after_seq=100000".to_owned(),
        "after_seq=x".to_owned(),
        "after_seq=0".to_owned(),
        format!("after_event_id={other}:2"),
        format!("after_event_id={stream}:100000"),
        "after_event_id=nonsense".to_owned(),
    ] {
        let path = format!("/api/chat/stream?stream_id={stream}&{query}");
        assert_eq!(site.open(&path).await.rest().await, whole, "{query}");
    }
    for unknown in
        ["deadbeef", &"0".repeat(32), &format!("{}0000ffff{}", &stream[..20], &stream[28..])]
    {
        let (status, body) = site.get(&format!("/api/chat/stream?stream_id={unknown}")).await;
        assert_eq!((status, body), (404, json!({ "error": "stream not found" })));
    }
    site.end().await;
}

// E03
#[tokio::test]
async fn after_a_restart_a_turn_is_sent_from_its_rows() {
    let home = Home::new();
    let model = Server::obedient().await;
    let settings = home.settings(model.model());
    let order = format!("call terminal {}\nthen\n", json!({ "command": "echo kept" }));
    let options = || Options { tcp: Some("127.0.0.1:0".parse().unwrap()), ..Options::default() };

    let local = start(settings.clone());
    let server = serve::start(local.handle(), &settings, options()).await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let site = Site { home, local, server, http: http.clone(), model };
    let session = site.session().await;
    let stream = site.prompt(&session, &order).await;
    let live = site.replay(&stream).await.rest().await;
    let Site { home, local, server, model, .. } = site;
    server.stop().await;
    local.end().await;

    let local = start(settings.clone());
    let server = serve::start(local.handle(), &settings, options()).await.unwrap();
    let site = Site { home, local, server, http, model };
    let told = site.replay(&stream).await.rest().await;
    assert_eq!(said(&told), said(&live));
    let kinds = |frames: &[Frame]| -> Vec<String> {
        let names = names(frames).into_iter().filter(|name| *name != "metering");
        names.map(str::to_owned).collect()
    };
    assert_eq!(kinds(&told), kinds(&live));
    assert_eq!(numbers(&told), (1..=told.len() as u64).collect::<Vec<_>>());

    let path = format!("/api/chat/stream?stream_id={stream}&after_seq=3");
    let lost = site.open(&path).await.rest().await;
    assert_eq!(names(&lost), ["apperror"]);
    assert_eq!(lost[0].data["recovery_control"], true);
    let (_, status) = site.get(&format!("/api/chat/stream/status?stream_id={stream}")).await;
    assert_eq!(status["active"], false);
    assert_eq!(status["journal"]["terminal_state"], "completed");
    site.end().await;
}

// E01 E02
#[tokio::test]
async fn latecomers_get_the_whole_turn_and_joiners_what_follows() {
    let site = Site::new(slow(30, 30).await).await;
    let session = site.session().await;
    let stream = site.prompt(&session, "slow").await;
    let path = format!("/api/chat/stream?stream_id={stream}");
    // The first one comes late too and misses nothing all the same.
    let mut first = site.open(&path).await;
    assert_eq!(first.next().await.unwrap().event, "context_status");
    first.until("token").await;
    // In the middle of it: through the channel of the session, at every moment.
    let mut late = Vec::new();
    for _ in 0..10 {
        let mut channel = site.open(&format!("/api/session/stream?session_id={session}")).await;
        assert_eq!(channel.next().await.unwrap().event, "initial");
        let turn = channel.next().await.unwrap();
        assert_eq!(turn.event, "server_turn_started");
        assert_eq!(turn.data["recovered"], true);
        assert_eq!(turn.data["stream_id"], stream);
        late.push(site.replay(&stream).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut joined = site.open(&path).await;
    let joined = joined.rest().await;
    let whole = site.replay(&stream).await.rest().await;
    for mut one in late {
        assert_eq!(one.rest().await, whole);
    }
    assert!(joined.len() < whole.len() && whole.ends_with(&joined), "it joined in the middle");
    assert_eq!(numbers(&whole), (1..=whole.len() as u64).collect::<Vec<_>>());
    site.end().await;
}

// E02
#[tokio::test]
async fn a_turn_being_cancelled_is_not_offered_and_its_end_is_sent() {
    let site = Site::new(slow(1, 1).await).await;
    let session = site.session().await;
    let stream = site.prompt(&session, "hang").await;
    let mut reading = site.replay(&stream).await;
    reading.until("token").await;
    let cancel = format!("/api/chat/cancel?stream_id={stream}");
    let (status, cancelled) = site.get(&cancel).await;
    assert_eq!(status, 200);
    assert_eq!(cancelled, json!({ "ok": true, "cancelled": true, "stream_id": stream }));
    // E10: the end of the stream.
    let end = reading.rest().await;
    assert_eq!(names(&end).last(), Some(&"cancel"), "{end:?}");
    let mut channel = site.open(&format!("/api/session/stream?session_id={session}")).await;
    assert_eq!(channel.next().await.unwrap().event, "initial");
    let (_, again) = site.get(&cancel).await;
    assert_eq!(again["cancelled"], false);
    assert_eq!(site.get("/api/chat/cancel").await.0, 400);
    let from_elsewhere = site.http.get(site.url(&cancel)).header("Sec-Fetch-Site", "cross-site");
    assert_eq!(from_elsewhere.send().await.unwrap().status(), 403);
    site.end().await;
}

// E10
#[tokio::test]
async fn a_turn_that_fails_ends_its_stream_with_the_reason() {
    let site = Site::new(slow(1, 1).await).await;
    let session = site.session().await;
    let stream = site.prompt(&session, "fail").await;
    let frames = site.replay(&stream).await.rest().await;
    let end = frames.last().unwrap();
    assert_eq!(end.event, "apperror");
    assert_eq!(end.data["type"], "auth_mismatch");
    assert!(end.data["message"].as_str().unwrap().contains("no such key"), "{}", end.data);
    assert!(end.data.get("recovery_control").is_none());
    site.end().await;
}

// E04
#[tokio::test]
async fn who_does_not_read_slows_nobody_else() {
    let big: Vec<String> = (0..200).map(|n| format!("{n}{} ", "x".repeat(20_000))).collect();
    let text: String = big.concat();
    let model = Server::start(move |asked| match asked.last_user() {
        "big" => Reply::Slow(big.clone(), Duration::from_millis(1)),
        _ => obey(asked),
    });
    let site = Site::new(model.await).await;
    let session = site.session().await;
    let address = site.server.address().unwrap();
    let stream = site.prompt(&session, "big").await;
    let mut stuck = Vec::new();
    for path in [
        format!("/api/chat/stream?stream_id={stream}&replay=1"),
        format!("/api/sessions/{session}/events"),
        format!("/api/session/stream?session_id={session}"),
        format!("/api/approval/stream?session_id={session}"),
    ] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        stuck.push(socket);
    }
    let frames = site.replay(&stream).await.rest().await;
    assert_eq!(said(&frames), text);
    // The host goes on too.
    let next = site.prompt(&session, "hello").await;
    assert_eq!(names(&site.replay(&next).await.rest().await).last(), Some(&"stream_end"));
    // And the slow one gets all of it when it reads at last.
    let slow = &mut stuck[0];
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    let end = b"event: stream_end\n";
    while !bytes[bytes.len().saturating_sub(400)..].windows(end.len()).any(|w| w == end) {
        let read = tokio::time::timeout(LONG, slow.read(&mut chunk)).await.unwrap().unwrap();
        assert!(read > 0, "the stream ended early");
        bytes.extend_from_slice(&chunk[..read]);
    }
    assert!(bytes.len() > text.len());
    drop(stuck);
    site.end().await;
}
