//! The streams of the WebUI protocol over real sockets: turns, channels, questions. What is read
//! is cut, resumed, left unread; a host in this process serves it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use host::local::Local;
use host::protocol::{Answer, Body, Choice, Command, SessionId, Target, WakeupKind};
use host::serve::{self, Options};
use host::settings::Settings;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Home, LONG, Reply, Server, View, answer, obey, start, wakeups};

/// A host that serves.
struct Site {
    home: Home,
    local: Local,
    server: serve::Server,
    http: reqwest::Client,
    model: Server,
}

impl Site {
    async fn new(model: Server) -> Self {
        Self::with(model, |_| ()).await
    }

    async fn with(model: Server, change: impl FnOnce(&mut Settings)) -> Self {
        let home = Home::new();
        let mut settings = home.settings(model.model());
        change(&mut settings);
        let local = start(settings.clone());
        let tcp = Some("127.0.0.1:0".parse().unwrap());
        let options = Options { tcp, version: "test".to_owned(), ..Options::default() };
        let server = serve::start(local.access(), &settings, options).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { home, local, server, http, model }
    }

    /// A session with one turn behind it, so that it is stored.
    async fn session(&self) -> String {
        let mut view = View::new(&self.local).await;
        view.ask(1, "hello").await;
        view.session().0
    }

    async fn view(&self, session: &str) -> View {
        View::attach(&self.local, Target::Id(SessionId(session.to_owned()))).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address().unwrap())
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.http.request(method, self.url(path));
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = tokio::time::timeout(LONG, request.send()).await.expect("an answer").unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Starts a turn and gives the id of its stream.
    async fn prompt(&self, session: &str, message: &str) -> String {
        let body = json!({ "session_id": session, "message": message });
        let (status, begun) = self.post("/api/chat/start", body).await;
        assert_eq!(status, 200, "{begun}");
        begun["stream_id"].as_str().unwrap().to_owned()
    }

    async fn open(&self, path: &str) -> Sse {
        self.open_after(path, None).await
    }

    async fn open_after(&self, path: &str, last: Option<&str>) -> Sse {
        let mut request = self.http.get(self.url(path));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let answer = tokio::time::timeout(LONG, request.send()).await.expect("an answer").unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.headers()["content-type"], "text/event-stream; charset=utf-8");
        let bytes = answer.bytes_stream().map(|chunk| chunk.map(|bytes| bytes.to_vec()));
        Sse { bytes: Box::pin(bytes), text: String::new(), taken: 0, over: false }
    }

    /// The stream of a turn from its beginning.
    async fn replay(&self, stream: &str) -> Sse {
        self.open(&format!("/api/chat/stream?stream_id={stream}&replay=1")).await
    }

    async fn end(self) {
        self.server.stop().await;
        self.local.end().await;
    }
}

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
struct Frame {
    id: Option<String>,
    event: String,
    data: Value,
}

type Chunk = Result<Vec<u8>, reqwest::Error>;

/// A stream being read.
struct Sse {
    bytes: std::pin::Pin<Box<dyn futures::Stream<Item = Chunk> + Send>>,
    text: String,
    taken: usize,
    over: bool,
}

impl Sse {
    /// The next event; `None` at the end. Comments are passed over.
    async fn next(&mut self) -> Option<Frame> {
        let reading = async {
            loop {
                if let Some(end) = self.text[self.taken..].find("\n\n") {
                    let block = self.text[self.taken..self.taken + end].to_owned();
                    self.taken += end + 2;
                    if let Some(frame) = parse(&block) {
                        return Some(frame);
                    }
                    continue;
                }
                match self.bytes.next().await {
                    Some(Ok(chunk)) => self.text.push_str(std::str::from_utf8(&chunk).unwrap()),
                    Some(Err(_)) | None => {
                        self.over = true;
                        return None;
                    }
                }
            }
        };
        tokio::time::timeout(LONG, reading).await.expect("something on the stream")
    }

    /// Everything up to the end.
    async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// The next event of that name; those before it are passed over.
    async fn until(&mut self, event: &str) -> Frame {
        loop {
            let frame = self.next().await;
            let frame = frame.unwrap_or_else(|| panic!("no {event} in {}", self.text));
            if frame.event == event {
                return frame;
            }
        }
    }
}

fn parse(block: &str) -> Option<Frame> {
    let field = |name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).map(str::to_owned)
    };
    let event = field("event:")?;
    let data = serde_json::from_str(&field("data:")?).unwrap();
    Some(Frame { id: field("id:"), event, data })
}

/// The events that are whole in a text.
fn parsed(text: &str) -> Vec<Frame> {
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    whole.split("\n\n").filter_map(parse).collect()
}

fn names(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.event.as_str()).collect()
}

/// What the model said, as a client puts it together.
fn said(frames: &[Frame]) -> String {
    let tokens = frames.iter().filter(|frame| frame.event == "token");
    tokens.map(|frame| frame.data["text"].as_str().unwrap()).collect()
}

fn numbers(frames: &[Frame]) -> Vec<u64> {
    let id = |frame: &Frame| frame.id.as_deref()?.rsplit_once(':')?.1.parse().ok();
    frames.iter().filter_map(id).collect()
}

/// A model whose answers come in pieces, with a pause between; some order tools.
async fn slow(pieces: usize, pause: u64) -> Server {
    Server::start(move |asked| match asked.last_user() {
        "slow" => {
            let pieces = (0..pieces).map(|n| format!("piece{n} ")).collect();
            Reply::Slow(pieces, Duration::from_millis(pause))
        }
        "hang" => Reply::Hang("waiting ".to_owned()),
        "fail" => Reply::Status(401, "{\"error\": {\"message\": \"no such key\"}}".to_owned()),
        _ => obey(asked),
    })
    .await
}

fn removal(folder: &str) -> String {
    format!("call terminal {}", json!({ "command": format!("rm -r {folder}") }))
}

fn background(command: &str) -> String {
    let args = json!({ "command": command, "background": true, "notify_on_complete": true });
    format!("call terminal {args}")
}

// E03 E10
#[tokio::test]
async fn a_stream_cut_at_any_byte_and_resumed_by_its_id_has_no_gap_and_no_double() {
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
async fn a_running_turn_that_is_cut_after_every_event_is_read_whole_over_many_connections() {
    let site = Site::new(slow(25, 40).await).await;
    let session = site.session().await;
    let stream = site.prompt(&session, "slow").await;
    let mut got: Vec<Frame> = Vec::new();
    loop {
        let path = format!("/api/chat/stream?stream_id={stream}");
        let cursor = got.last().and_then(|frame| frame.id.clone());
        let mut sse = match &cursor {
            // By the header, and by the query with a header that must not count.
            Some(id) if got.len() % 2 == 0 => site.open_after(&path, Some(id)).await,
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
async fn after_a_restart_a_turn_is_told_from_its_rows_and_a_cursor_gets_the_advice_to_reload() {
    let home = Home::new();
    let model = Server::obedient().await;
    let settings = home.settings(model.model());
    let order = format!("call terminal {}\nthen\n", json!({ "command": "echo kept" }));
    let options = || Options { tcp: Some("127.0.0.1:0".parse().unwrap()), ..Options::default() };

    let local = start(settings.clone());
    let server = serve::start(local.access(), &settings, options()).await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let site = Site { home, local, server, http: http.clone(), model };
    let session = site.session().await;
    let stream = site.prompt(&session, &order).await;
    let live = site.replay(&stream).await.rest().await;
    let Site { home, local, server, model, .. } = site;
    server.stop().await;
    local.end().await;

    let local = start(settings.clone());
    let server = serve::start(local.access(), &settings, options()).await.unwrap();
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
async fn who_comes_late_learns_of_the_turn_and_gets_all_of_it_and_who_joins_gets_what_follows() {
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
async fn a_turn_that_is_being_cancelled_is_not_offered_and_its_end_is_told() {
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

// E06 E11 E12 W02
#[tokio::test]
async fn every_completion_is_told_once_a_name_and_only_where_it_belongs() {
    let site = Site::new(Server::obedient().await).await;
    let (a, b) = (site.session().await, site.session().await);
    let mut channel = site.open(&format!("/api/session/stream?session_id={a}")).await;
    let mut other = site.open(&format!("/api/session/stream?session_id={b}")).await;
    assert_eq!(other.next().await.unwrap().event, "initial");
    let order: Vec<String> = (0..5).map(|n| background(&format!("echo task{n}"))).collect();
    let stream = site.prompt(&a, &order.join("\n")).await;
    assert_eq!(names(&site.replay(&stream).await.rest().await).last(), Some(&"stream_end"));

    let mut seen: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut turns = BTreeSet::new();
    let mut last = None;
    while seen.values().map(Vec::len).sum::<usize>() < 10 || turns.len() < 2 {
        let frame = channel.next().await.unwrap();
        last = frame.id.clone().or(last);
        match frame.event.as_str() {
            "bg_task_complete" => seen.entry("canonical").or_default().push(frame.data),
            "process_complete" => seen.entry("alias").or_default().push(frame.data),
            "server_turn_started" => {
                turns.insert(frame.data["stream_id"].to_string());
            }
            _ => {}
        }
    }
    assert_eq!(seen["canonical"], seen["alias"], "one event under two names");
    let ids: BTreeSet<_> = seen["canonical"].iter().map(|d| d["event_id"].to_string()).collect();
    let tasks: BTreeSet<_> = seen["canonical"].iter().map(|d| d["task_id"].to_string()).collect();
    assert_eq!((ids.len(), tasks.len()), (5, 5));
    for data in &seen["canonical"] {
        let (task, summary) =
            (data["task_id"].as_str().unwrap(), data["summary"].as_str().unwrap());
        let said = format!("IMPORTANT: Background process {task} completed (exit_code=0).");
        assert_eq!(summary, said);
    }
    // What the channel has told is told again to who comes back with its cursor, and no more.
    let path = format!("/api/session/stream?session_id={a}");
    let first = channel.text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    let mut again = site.open_after(&path, Some(&first)).await;
    assert_eq!(again.next().await.unwrap().event, "initial");
    let mut repeated = Vec::new();
    while repeated.last().and_then(|f: &Frame| f.id.clone()) != last {
        repeated.push(again.next().await.unwrap());
    }
    let all = parsed(&channel.text);
    let from = all.iter().position(|frame| frame.id.as_ref() == Some(&first)).unwrap();
    let upto = all.iter().position(|frame| frame.id == last).unwrap();
    assert_eq!(repeated, all[from + 1..=upto]);

    // Nothing of this was said in the other session.
    let stream = site.prompt(&b, "hello").await;
    let turn = other.next().await.unwrap();
    assert_eq!(turn.event, "server_turn_started");
    assert_eq!(turn.data["stream_id"], stream);
    assert!(!other.text.contains(&a));
    site.end().await;
}

// W05 S08
#[tokio::test]
async fn a_prompt_takes_all_that_waits_along_as_rows_of_its_own() {
    let site = Site::new(slow(1, 1).await).await;
    let session = site.session().await;
    // Both end while a turn hangs that is then cancelled: their wakeups are held.
    let wait = "while [ ! -e go ]; do sleep 0.02; done";
    let order = [background(wait), background(&format!("{wait}; echo b"))].join("\n");
    let stream = site.prompt(&session, &order).await;
    site.replay(&stream).await.rest().await;
    let hang = site.prompt(&session, "hang").await;
    site.replay(&hang).await.until("token").await;
    std::fs::write(site.home.work().join("go"), "").unwrap();
    let mut reading = site.replay(&hang).await;
    let mut ended = BTreeSet::new();
    while ended.len() < 2 {
        // The turn that runs is told of them too, under both names (E11).
        ended.insert(reading.until("bg_task_complete").await.data["task_id"].to_string());
    }
    site.get(&format!("/api/chat/cancel?stream_id={hang}")).await;
    reading.until("cancel").await;
    let next = site.prompt(&session, "and now?").await;
    let end = site.replay(&next).await.rest().await;
    assert_eq!(names(&end).last(), Some(&"stream_end"));
    let view = site.view(&session).await;
    let turn = view.transcript.rows.last().unwrap().turn;
    let rows: Vec<_> =
        view.transcript.rows.iter().filter(|row| row.turn == turn).cloned().collect();
    let told = wakeups(&rows);
    assert_eq!(told.len(), 2, "{rows:#?}");
    assert!(told.iter().all(|wakeup| wakeup.kind == WakeupKind::Exit));
    let user = rows.iter().position(|row| matches!(row.body, Body::User { .. })).unwrap();
    let last = rows.iter().rposition(|row| matches!(row.body, Body::Wakeup(_))).unwrap();
    assert!(last < user, "they come before the prompt");
    site.end().await;
}

// W02
#[tokio::test]
async fn a_wakeup_is_announced_and_streamed_from_its_first_word() {
    let site = Site::new(Server::obedient().await).await;
    let session = site.session().await;
    let mut channel = site.open(&format!("/api/session/stream?session_id={session}")).await;
    let stream = site.prompt(&session, &background("while [ ! -e go ]; do sleep 0.02; done")).await;
    site.replay(&stream).await.rest().await;
    channel.until("server_turn_started").await;
    std::fs::write(site.home.work().join("go"), "").unwrap();
    let turn = channel.until("server_turn_started").await;
    assert_eq!(turn.data["source"], "process_wakeup");
    let wake = turn.data["stream_id"].as_str().unwrap();
    let frames = site.open(&format!("/api/chat/stream?stream_id={wake}")).await.rest().await;
    assert_eq!(said(&frames), "I was woken.");
    assert_eq!(numbers(&frames)[0], 1);
    site.end().await;
}

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
async fn of_many_starts_at_once_one_runs_and_the_others_are_told_of_it_and_leave_nothing() {
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
    let text = "neither:\n\n  \"c\" ß";
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

// C06
#[tokio::test]
async fn a_slow_client_of_a_hundred_questions_ends_on_the_right_head_and_number() {
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
        view.send(Command::Answer { id: id.clone(), answer: Answer::Approval(Choice::Deny) });
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

// E16
#[tokio::test]
async fn an_acknowledgement_changes_nothing_and_its_old_name_is_gone() {
    let site = Site::new(Server::obedient().await).await;
    let session = site.session().await;
    let ack = |body: Value| site.post("/api/bg-task-complete-ack", body);
    let noop = json!({ "ok": true, "session_id": session, "task_id": "proc_1", "noop": true });
    assert_eq!(
        ack(json!({ "session_id": session, "task_id": "proc_1" })).await,
        (200, noop.clone())
    );
    assert_eq!(ack(json!({ "session_id": session, "process_id": "proc_1" })).await, (200, noop));
    assert_eq!(ack(json!({ "session_id": "no such", "task_id": "proc_1" })).await.0, 404);
    assert_eq!(ack(json!({ "task_id": "proc_1" })).await.0, 400);
    let old =
        site.http.post(site.url("/api/process-complete-ack")).body("{}").send().await.unwrap();
    assert_eq!(old.status(), 410);
    assert_eq!(old.headers()["x-replaced-by"], "/api/bg-task-complete-ack");
    site.end().await;
}

// E07 E14
#[tokio::test]
async fn a_quiet_stream_says_every_five_seconds_that_it_lives() {
    let site = Site::new(slow(1, 1).await).await;
    let session = site.session().await;
    let stream = site.prompt(&session, "hang").await;
    let paths = [
        (format!("/api/chat/stream?stream_id={stream}&replay=1"), ": heartbeat"),
        (format!("/api/session/stream?session_id={session}"), ": keepalive"),
        (format!("/api/sessions/{session}/events"), ": keepalive"),
        ("/api/sessions/events".to_owned(), ": keepalive"),
        (format!("/api/approval/stream?session_id={session}"), ": keepalive"),
        (format!("/api/clarify/stream?session_id={session}"), ": keepalive"),
        ("/api/session/stream?session_id=unknown".to_owned(), ": keepalive"),
        ("/api/approval/stream?session_id=unknown".to_owned(), ": keepalive"),
    ];
    let streams = paths.map(|(path, comment)| {
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
            assert!(begun.elapsed() > Duration::from_millis(9_500), "{path} is too eager");
        }
    });
    futures::future::join_all(streams).await;
    site.end().await;
}

// S04
#[tokio::test]
async fn a_change_of_the_list_is_said_to_who_shows_it() {
    let site = Site::new(Server::obedient().await).await;
    let mut lists = site.open("/api/sessions/events").await;
    let session = site.session().await;
    let first = lists.until("sessions_changed").await.data;
    assert_eq!(first["type"], "sessions_changed");
    site.view(&session).await.send(Command::SetTitle { title: "Other".to_owned() });
    let next = lists.until("sessions_changed").await.data;
    assert!(next["version"].as_u64() > first["version"].as_u64());
    site.end().await;
}

#[tokio::test]
async fn the_relay_of_a_session_tells_its_turns_one_after_the_other() {
    let site = Site::new(Server::obedient().await).await;
    let session = site.session().await;
    let mut relay = site.open(&format!("/api/sessions/{session}/events")).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        let stream = site.prompt(&session, "hello").await;
        let turn = site.replay(&stream).await.rest().await;
        all.extend(turn);
    }
    let mut got = Vec::new();
    while got.len() < all.len() {
        got.push(relay.next().await.unwrap());
    }
    assert_eq!(got, all);
    // Resumed in the middle of the second turn.
    let cut = all.iter().position(|f| f.event == "stream_end").unwrap() + 2;
    let path = format!("/api/sessions/{session}/events");
    let mut resumed = site.open_after(&path, all[cut].id.as_deref()).await;
    for wanted in &all[cut + 1..] {
        assert_eq!(resumed.next().await.as_ref(), Some(wanted));
    }
    let mut lost = site.open_after(&path, Some("0000:7")).await;
    let snapshot = lost.next().await.unwrap();
    assert_eq!(snapshot.event, "session_snapshot");
    assert_eq!(snapshot.data["session"]["session_id"], json!(session));
    site.end().await;
}

// E01
#[tokio::test]
async fn a_client_whose_messages_are_too_few_is_told_so_and_no_other() {
    let site = Site::new(Server::obedient().await).await;
    for (known, told) in [(0, true), (1, true), (2, false), (3, false)] {
        let session = site.session().await;
        let path = format!("/api/session/stream?session_id={session}&known_count={known}");
        let mut channel = site.open(&path).await;
        assert_eq!(channel.next().await.unwrap().event, "initial");
        // Something follows in any case.
        site.prompt(&session, "hello").await;
        let next = channel.next().await.unwrap();
        assert_eq!(next.event == "session-updated", told, "known {known}: {next:?}");
        if told {
            let counts = (&next.data["message_count"], &next.data["known_count"]);
            assert_eq!(counts, (&json!(2), &json!(known)));
        }
    }
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
            "hang" => Reply::Hang("x".to_owned()),
            "fail" => Reply::Status(401, String::new()),
            other => answer(asked, other),
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
