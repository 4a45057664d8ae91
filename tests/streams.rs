//! The streams of the WebUI protocol over real sockets: turns, channels, questions. What is read
//! is cut, resumed, left unread; a host in this process serves it.

mod channels;
mod questions;
mod shapes;
mod start;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use host::embedded::EmbeddedHost;
use host::serve::{self, Options};
use host::settings::Settings;
use protocol::{Answer, Body, Choice, Command, SessionId, Target, WakeupKind};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Home, LONG, Reply, Server, TestView, answer, obey, start, wakeups};

/// A host that serves.
struct Site {
    home: Home,
    local: EmbeddedHost,
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
        let server = serve::start(local.handle(), &settings, options).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { home, local, server, http, model }
    }

    /// A session with one turn behind it, so that it is stored.
    async fn session(&self) -> String {
        let mut view = TestView::new(&self.local).await;
        view.ask(1, "hello").await;
        view.session().0
    }

    async fn view(&self, session: &str) -> TestView {
        TestView::attach(&self.local, Target::Id(SessionId(session.to_owned()))).await
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
        Sse { bytes: Box::pin(bytes), text: String::new(), taken: 0 }
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
                // A stream that breaks has ended, too.
                let chunk = self.bytes.next().await?.ok()?;
                self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        let read = tokio::time::timeout(LONG, reading).await;
        read.unwrap_or_else(|_| panic!("nothing comes on the stream after:\n{}", self.text))
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
