use super::*;
use crate::remote::testing::{Action, Fake, answer, events, send};

const SHORT: Backoff =
    Backoff { first: Duration::from_millis(10), longest: Duration::from_millis(40) };

/// All items of a stream until `last`.
async fn items(stream: &mut Stream, last: impl Fn(&Item) -> bool) -> Vec<Item> {
    let mut items = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(30), stream.next()).await;
        let Some(item) = next.expect("an item") else { return items };
        let is_last = last(&item);
        items.push(item);
        if is_last {
            return items;
        }
    }
}

fn short(fake: &Fake) -> Stream {
    let mut stream = Stream::new(&fake.client, "/api/x", &[("session_id", "a b")]);
    stream.backoff = SHORT;
    stream
}

fn event(name: &str, data: &str, id: Option<&str>) -> Item {
    Item::Event { name: name.to_owned(), data: data.to_owned(), id: id.map(str::to_owned) }
}

fn is_event(wanted: &str) -> impl Fn(&Item) -> bool {
    move |item| matches!(item, Item::Event { data, .. } if data == wanted)
}

// E03
#[tokio::test]
async fn the_cursor_survives_events_without_id_and_reconnects() {
    let fake = Fake::start(vec![
        events("id: r:1\ndata: one\n\nid: r:7\ndata: seven\n\nid: r:8\ndata: cut of"),
        events("event: initial\ndata: {}\n\n"),
        events("event: initial\ndata: {}\n\n"),
        events("data: last\n\n"),
    ])
    .await;
    let mut stream = short(&fake).at_first(&[("replay", "1")]);
    let seen = items(&mut stream, is_event("last")).await;
    assert_eq!(seen[1], event("message", "one", Some("r:1")));
    assert!(!seen.iter().any(|i| matches!(i, Item::Event { data, .. } if data.contains("cut"))));
    assert_eq!(stream.cursor(), Some("r:7"));
    let requests = fake.requests();
    assert!(requests[0].starts_with("get /pre/fix/api/x?session_id=a+b&replay=1 http/1.1"));
    assert!(!requests[0].contains("last-event-id"));
    for later in &requests[1..] {
        assert!(later.starts_with("get /pre/fix/api/x?session_id=a+b http/1.1"), "{later}");
        assert!(later.contains("last-event-id: r:7\r\n"), "{later}");
    }
    for head in &requests {
        assert!(!head.contains("origin:") && !head.contains("referer:"), "{head}");
    }
}

// E08
#[tokio::test]
async fn refusals_are_final_after_one_try_and_say_why() {
    for status in [204, 400, 401, 403, 404, 410] {
        let said = answer(status, "content-type: application/json\r\n", "{\"error\":\"go away\"}");
        let fake = Fake::start(vec![said, events("data: never\n\n")]).await;
        let mut stream = short(&fake);
        let seen = items(&mut stream, is_event("never")).await;
        let [Item::Refused { status: told, message }] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!(*told, status);
        assert!(status == 204 || message.contains("go away"), "{message}");
        assert_eq!(fake.requests().len(), 1);
        assert_eq!(stream.next().await, None);
    }
}

// E08
#[tokio::test]
async fn passing_failures_are_retried_and_each_is_reported() {
    let page = "<html>Bad gateway</html>";
    let fake = Fake::start(vec![
        answer(502, "content-type: text/html\r\n", page),
        answer(503, "", ""),
        answer(200, "content-type: text/html\r\n", page),
        answer(302, "location: /login?next=/\r\n", ""),
        events("data: back\n\n"),
    ])
    .await;
    let mut stream = short(&fake);
    let seen = items(&mut stream, is_event("back")).await;
    let attempts: Vec<_> = seen
        .iter()
        .filter_map(|item| match item {
            Item::Lost { attempt, why, .. } => Some((*attempt, why.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(attempts.len(), 4, "{seen:?}");
    assert_eq!(attempts[0], (1, "the server answers 502 (Bad Gateway)"));
    assert!(attempts[2].1.contains("web page") && attempts[3].1.contains("login"), "{attempts:?}");
    assert_eq!(attempts[3].0, 4);
}

// E08
#[tokio::test]
async fn retry_after_is_obeyed_up_to_a_limit() {
    for (said, least, most) in [("7", 7, 8), ("86400", 120, 121)] {
        let busy = answer(503, &format!("retry-after: {said}\r\n"), "");
        let fake = Fake::start(vec![busy]).await;
        let seen = items(&mut short(&fake), |item| matches!(item, Item::Lost { .. })).await;
        let Some(Item::Lost { retry_in, .. }) = seen.last() else { panic!("{seen:?}") };
        assert!((least..most).contains(&retry_in.as_secs()), "{said}: {retry_in:?}");
    }
}

// E08
#[tokio::test]
async fn a_login_page_that_stays_ends_the_tries_and_says_what_to_do() {
    let login = answer(302, "location: https://sso.example/login\r\n", "");
    let fake = Fake::start(vec![login; 20]).await;
    let seen = items(&mut short(&fake), |_| false).await;
    assert_eq!(seen.len(), MAX_STRAYS as usize + 1, "{seen:?}");
    let Some(Item::Refused { message, .. }) = seen.last() else { panic!("{seen:?}") };
    assert!(message.contains("--cookie"), "{message}");
}

// E08
#[tokio::test]
async fn each_failed_attempt_to_connect_is_reported() {
    let fake = Fake::start(Vec::new()).await;
    let mut stream = short(&fake);
    let is_third = |item: &Item| matches!(item, Item::Lost { attempt: 3, .. });
    let seen = items(&mut stream, is_third).await;
    assert_eq!(seen.len(), 3, "{seen:?}");
}

// E15
#[tokio::test]
async fn the_next_event_arrives_after_odd_frames() {
    let mut bytes = b"event: lonely\n\nunknown: x\n\n: note\n\ndata: \xffx\n\ndata: ".to_vec();
    bytes.resize(bytes.len() + 5 * 1024 * 1024, b'y');
    bytes.extend_from_slice(b"\n\nnonsense\n\nevent: named\ndata: a\ndata: b\n\n");
    let mut script = events(bytes);
    script.push(Action::Hold);
    let fake = Fake::start(vec![script]).await;
    let seen = items(&mut short(&fake), is_event("a\nb")).await;
    let large = "y".repeat(5 * 1024 * 1024);
    assert_eq!(
        seen,
        [
            Item::Open,
            Item::Alive,
            event("message", "\u{fffd}x", None),
            event("message", &large, None),
            event("named", "a\nb", None),
        ]
    );
}

// E07
#[tokio::test]
async fn a_half_open_link_is_noticed_by_the_servers_own_pace() {
    let beat = Duration::from_millis(200);
    let mut script = events("");
    for _ in 0..3 {
        script.extend([Action::Wait(beat), send(": keepalive\n\n")]);
    }
    script.push(Action::Hold);
    let fake = Fake::start(vec![script]).await;
    let begun = Instant::now();
    let seen = items(&mut short(&fake), |item| matches!(item, Item::Lost { .. })).await;
    assert_eq!(seen[..4], [Item::Open, Item::Alive, Item::Alive, Item::Alive]);
    let Some(Item::Lost { why, .. }) = seen.last() else { panic!("{seen:?}") };
    assert!(why.contains("nothing was received"), "{why}");
    assert!(begun.elapsed() >= 6 * beat, "not before three are missed");
}

#[tokio::test]
async fn a_server_that_asks_for_patience_gets_it() {
    let fake =
        Fake::start(vec![answer(429, "retry-after: 7\r\n", "{\"error\":\"too many\"}")]).await;
    let seen = items(&mut short(&fake), |_| true).await;
    let [Item::Lost { why, retry_in, .. }] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((why.as_str(), *retry_in), ("too many", Duration::from_secs(7)));
}

/// What the crate makes of these bytes without our filter, in pieces of `size` bytes.
async fn unfiltered(bytes: &'static [u8], size: usize) -> Vec<String> {
    #[derive(Clone)]
    struct Bare(&'static [u8], usize);
    impl HttpTransport for Bare {
        fn request(&self, _: Request<Option<Bytes>>) -> ResponseFuture {
            let chunks: Vec<_> =
                self.0.chunks(self.1).map(|chunk| Ok(Bytes::from_static(chunk))).collect();
            let body: ByteStream = Box::pin(stream::iter(chunks));
            Box::pin(async move { Ok(http::Response::new(body)) })
        }
    }
    let once = ReconnectOptions::reconnect(false).build();
    let client = ClientBuilder::for_url("http://a/").unwrap().reconnect(once);
    let mut items = client.build_with_transport(Bare(bytes, size)).stream();
    let mut seen = Vec::new();
    while let Some(item) = items.next().await {
        seen.push(match item {
            Ok(SSE::Connected(_)) => continue,
            Ok(SSE::Comment(text)) => format!("comment {text:?}"),
            Ok(SSE::Event(event)) => {
                format!("{} {:?} {:?}", event.event_type, event.data, event.id)
            }
            Err(eventsource_client::Error::Eof) => "end".to_owned(),
            Err(eventsource_client::Error::InvalidEvent) => "invalid event".to_owned(),
            Err(eventsource_client::Error::InvalidLine(_)) => "invalid line".to_owned(),
            Err(error) => format!("{error:?}"),
        });
    }
    seen
}

// E15: what the documentation of the module says of the crate.
#[tokio::test]
async fn the_crate_reads_what_is_left_to_it() {
    let bytes =
        "\u{feff}id: 1\r\nevent: x\r\ndata: a\r\ndata: b\r\n\r\n: c\r\rdata: d\n\n".as_bytes();
    for size in 1..=bytes.len() {
        let seen = unfiltered(bytes, size).await;
        let expected =
            [r#"x "a\nb" Some("1")"#, r#"comment " c""#, r#"message "d" Some("1")"#, "end"];
        assert_eq!(seen, expected, "{size}");
    }
}

// E15
#[tokio::test]
async fn the_crate_needs_the_filter() {
    for (bytes, expected) in [
        (&b"colour: red\n\ndata: d\n\n"[..], &["invalid event"][..]),
        (b"event:\n\ndata: d\n\n", &["invalid event"]),
        (b"retry: soon\n\ndata: d\n\n", &["invalid event"]),
        (b"id: a\0b\n\ndata: d\n\n", &["invalid event"]),
        (b"data: \xff\n\ndata: d\n\n", &["invalid line"]),
        (b"comment: x\n\n", &["comment \"x\"", "end"]),
    ] {
        assert_eq!(unfiltered(bytes, 3).await, expected, "{}", bytes.escape_ascii());
    }
}
