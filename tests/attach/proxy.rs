//! A proxy between a client and a host that does what a bad network does, and a host that says
//! word for word what it is told to.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Response, StatusCode, header};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

/// The page that a proxy shows when nobody is behind it.
pub(crate) const PAGE: &str = "<html><h1>502 Bad Gateway</h1></html>";

/// What happens to one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Its answer breaks off after so many bytes.
    Cut(usize),
    /// It is not passed on; this is answered: a status, a header and a body.
    Answer(u16, (&'static str, &'static str), &'static str),
    /// It is passed on, and then [`PAGE`] is answered.
    Forgotten,
}

/// See the module.
pub(crate) struct Proxy {
    pub(crate) url: String,
    way: Arc<Mutex<Way>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Way {
    /// Where the host is; `None` = nowhere.
    to: Option<String>,
    /// The status of [`PAGE`]; 502 if there is none.
    status: Option<u16>,
    events: VecDeque<Fault>,
    commands: VecDeque<Fault>,
    /// The paths that were asked for.
    asked: Vec<String>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// A proxy to the host at that URL.
    pub(crate) async fn start(to: &str) -> Self {
        let way = Arc::new(Mutex::new(Way { to: Some(to.to_owned()), ..Way::default() }));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let passed = way.clone();
        let app = Router::new().fallback(move |request: Request| pass(passed, http, request));
        let (url, task) = listen(app).await;
        Self { url, way, task }
    }

    /// What happens to the next requests for events.
    pub(crate) fn events(&self, faults: impl IntoIterator<Item = Fault>) {
        self.way.lock().unwrap().events.extend(faults);
    }

    /// What happens to the next requests with commands.
    pub(crate) fn commands(&self, faults: impl IntoIterator<Item = Fault>) {
        self.way.lock().unwrap().commands.extend(faults);
    }

    /// The host moves, or is gone. Streams that are open stay so.
    pub(crate) fn lead(&self, to: Option<&str>) {
        self.way.lock().unwrap().to = to.map(str::to_owned);
    }

    /// While the host is nowhere, the page has that status.
    pub(crate) fn shows(&self, status: u16) {
        self.way.lock().unwrap().status = Some(status);
    }

    /// How often such a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.way.lock().unwrap().asked.iter().filter(|asked| asked.starts_with(path)).count()
    }
}

async fn pass(way: Arc<Mutex<Way>>, http: reqwest::Client, request: Request) -> Response<Body> {
    let path = request.uri().path_and_query().unwrap().to_string();
    let (to, fault, status) = {
        let mut way = way.lock().unwrap();
        way.asked.push(path.clone());
        let fault = if path.starts_with("/api/tui/v1/events") {
            way.events.pop_front()
        } else if path.starts_with("/api/tui/v1/commands") {
            way.commands.pop_front()
        } else {
            None
        };
        (way.to.clone(), fault, way.status.unwrap_or(502))
    };
    let page = || answer(status, ("content-type", "text/html"), PAGE);
    if let Some(Fault::Answer(status, head, body)) = fault {
        return answer(status, head, body);
    }
    let Some(to) = to else { return page() };
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let sent = http.request(parts.method, format!("{to}{path}")).headers(headers).body(body);
    let Ok(answered) = sent.send().await else { return page() };
    if matches!(fault, Some(Fault::Forgotten)) {
        return page();
    }
    let mut response = Response::builder().status(answered.status());
    if let Some(kind) = answered.headers().get(header::CONTENT_TYPE) {
        response = response.header(header::CONTENT_TYPE, kind);
    }
    for cookie in answered.headers().get_all(header::SET_COOKIE) {
        response = response.header(header::SET_COOKIE, cookie);
    }
    let bytes = answered.bytes_stream();
    let body = match fault {
        Some(Fault::Cut(left)) => Body::from_stream(cut(bytes.boxed(), left)),
        _ => Body::from_stream(bytes),
    };
    response.body(body).unwrap()
}

type Chunks = stream::BoxStream<'static, reqwest::Result<Bytes>>;

/// The first `left` bytes of a body, and then an error that resets the connection.
fn cut(body: Chunks, left: usize) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> {
    stream::unfold(Some((body, left)), |state| async move {
        let (mut body, left) = state?;
        let mut chunk = if left == 0 { None } else { body.next().await?.ok() };
        let Some(chunk) = &mut chunk else { return Some((Err(broken()), None)) };
        let chunk = chunk.split_to(left.min(chunk.len()));
        let left = left - chunk.len();
        Some((Ok(chunk), Some((body, left))))
    })
}

fn broken() -> std::io::Error {
    std::io::ErrorKind::ConnectionReset.into()
}

fn answer(status: u16, (name, value): (&str, &str), body: &'static str) -> Response<Body> {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header(name, value)
        .body(Body::from(body))
        .unwrap()
}

async fn listen(app: Router) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }))
}

/// What a [`Fake`] does on a stream.
#[derive(Clone, Debug)]
pub(crate) enum Do {
    Say(Vec<u8>),
    Wait(Duration),
    /// Nothing more, for ever.
    Hold,
}

/// A host of the seam wire with a script for each of its streams. After them it takes none.
pub(crate) struct Fake {
    pub(crate) url: String,
    commands: Arc<Mutex<Vec<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(crate) async fn start(scripts: Vec<Vec<Do>>) -> Self {
        let scripts = Arc::new(Mutex::new(VecDeque::from(scripts)));
        let commands: Arc<Mutex<Vec<Value>>> = Arc::default();
        let log = commands.clone();
        let app = Router::new().fallback(move |request: Request| {
            let (scripts, log) = (scripts.clone(), log.clone());
            async move {
                match request.uri().path() {
                    "/health" => said(&json!({"status": "ok", "server_started_at": 1.5, "tui": 1})),
                    "/api/auth/status" => said(&json!({"auth_enabled": false})),
                    "/api/tui/v1/events" => {
                        let script = scripts.lock().unwrap().pop_front();
                        script.map_or_else(|| answer(503, ("x", "y"), ""), played)
                    }
                    "/api/tui/v1/commands" => {
                        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
                        let asked = serde_json::from_slice(&body.unwrap()).unwrap();
                        log.lock().unwrap().push(asked);
                        said(&json!({"ok": true}))
                    }
                    _ => answer(404, ("content-type", "application/json"), "{\"error\":\"no\"}"),
                }
            }
        });
        let (url, task) = listen(app).await;
        Self { url, commands, task }
    }

    /// The bodies of the requests with commands.
    pub(crate) fn commands(&self) -> Vec<Value> {
        self.commands.lock().unwrap().clone()
    }
}

fn said(value: &Value) -> Response<Body> {
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(value.to_string()))
        .unwrap()
}

fn played(script: Vec<Do>) -> Response<Body> {
    let body = stream::unfold(VecDeque::from(script), |mut script| async move {
        loop {
            match script.pop_front()? {
                Do::Say(bytes) => return Some((Ok::<_, Infallible>(Bytes::from(bytes)), script)),
                Do::Wait(time) => tokio::time::sleep(time).await,
                Do::Hold => std::future::pending().await,
            }
        }
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")
        .body(Body::from_stream(body))
        .unwrap()
}
