//! As much of a hermes-webui as the loop needs: sessions in memory, streams that are counted and can
//! be broken.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::StreamExt as _;
use serde_json::{Value, json};

/// What the server does, to be changed while it runs.
#[derive(Debug)]
pub(super) struct Behaviour {
    /// What streams answer in place of 200.
    pub(super) streams: Mutex<u16>,
    /// Whether open streams end.
    pub(super) hang_up: tokio::sync::watch::Sender<u64>,
    pub(super) open: AtomicUsize,
    pub(super) began: AtomicI64,
    pub(super) approval: Mutex<Value>,
    /// What another session than the one in view waits for.
    pub(super) attention: Mutex<Value>,
    /// What that session asks, and what it asks when that is answered.
    pub(super) other: Mutex<(String, Value)>,
    pub(super) next: Mutex<(String, Value)>,
    /// How often that was asked for.
    pub(super) heads: AtomicUsize,
    /// What sessions were told, and what is answered to it.
    pub(super) said: Mutex<Vec<Value>>,
    pub(super) verdict: Mutex<(u16, Value)>,
    /// What else the list says of that session.
    pub(super) line: Mutex<Value>,
    /// The next turn compresses its session, which goes on as `s9`.
    pub(super) compress: AtomicBool,
    pub(super) messages: Mutex<Vec<Value>>,
    /// What every request answers in place of its own.
    pub(super) all: Mutex<Option<(u16, &'static str)>>,
    /// The next `chat/start` takes the prompt and breaks off.
    pub(super) swallow: AtomicBool,
    pub(super) starts: AtomicUsize,
    /// Where they were.
    pub(super) sessions: Mutex<Vec<Value>>,
    /// As many times a turn that was taken back comes back.
    pub(super) stubborn: AtomicUsize,
    pub(super) asked: AtomicUsize,
    /// Whether a turn goes on for ever.
    pub(super) hangs: AtomicBool,
    /// Whether streams begin with what is no event.
    pub(super) babbles: AtomicBool,
}

pub(super) struct Fake {
    pub(super) url: String,
    pub(super) behaviour: Arc<Behaviour>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Asked = Query<std::collections::HashMap<String, String>>;

impl Fake {
    pub(super) async fn start() -> Self {
        let behaviour = Arc::new(Behaviour {
            streams: Mutex::new(200),
            hang_up: tokio::sync::watch::channel(0).0,
            open: AtomicUsize::new(0),
            began: AtomicI64::new(1_795_000_000),
            approval: Mutex::new(Value::Null),
            attention: Mutex::new(Value::Null),
            other: Mutex::default(),
            next: Mutex::default(),
            heads: AtomicUsize::new(0),
            said: Mutex::default(),
            verdict: Mutex::new((200, json!({"ok": true}))),
            line: Mutex::new(json!({})),
            compress: AtomicBool::new(false),
            messages: Mutex::new(vec![json!({"role": "user", "content": "hi"})]),
            all: Mutex::new(None),
            swallow: AtomicBool::new(false),
            starts: AtomicUsize::new(0),
            sessions: Mutex::new(Vec::new()),
            stubborn: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            hangs: AtomicBool::new(false),
            babbles: AtomicBool::new(false),
        });
        let app = Router::new()
            .route(
                "/health",
                get(|State(d): State<Arc<Behaviour>>| async move {
                    let began = d.began.load(Ordering::SeqCst);
                    Json(json!({"status": "ok", "server_started_at": began}))
                }),
            )
            .route("/api/auth/status", get(|| async { Json(json!({"auth_enabled": false})) }))
            .route(
                "/api/sessions",
                get(|State(d): State<Arc<Behaviour>>| async move {
                    let attention = d.attention.lock().unwrap().clone();
                    let mut other = d.line.lock().unwrap().clone();
                    other["session_id"] = json!("s1");
                    other["title"] = json!("other");
                    other["attention"] = attention;
                    Json(json!({"sessions": [
                        {"session_id": "s0", "title": "x", "last_message_at": 9.0}, other,
                    ]}))
                }),
            )
            .route(
                "/api/session",
                get(|State(d): State<Arc<Behaviour>>, Query(q): Asked| async move {
                    Json(json!({ "session": session(&d, &q["session_id"]) }))
                }),
            )
            .route(
                "/api/session/status",
                get(|State(d): State<Arc<Behaviour>>, Query(q): Asked| async move {
                    let mut status = session(&d, &q["session_id"]);
                    status["messages"] = Value::Null;
                    Json(status)
                }),
            )
            .route(
                "/api/approval/pending",
                get(|State(d): State<Arc<Behaviour>>, Query(q): Asked| async move {
                    let pending = match q["session_id"].as_str() {
                        "s1" => head(&d, "approval"),
                        _ => d.approval.lock().unwrap().clone(),
                    };
                    Json(json!({ "pending": pending }))
                }),
            )
            .route(
                "/api/clarify/pending",
                get(|State(d): State<Arc<Behaviour>>, Query(q): Asked| async move {
                    let of_other = q["session_id"] == "s1";
                    let pending = if of_other { head(&d, "clarify") } else { Value::Null };
                    Json(json!({ "pending": pending }))
                }),
            )
            .route("/api/approval/respond", post(said))
            .route("/api/clarify/respond", post(said))
            .route("/api/session/rename", post(said))
            .route("/api/session/pin", post(said))
            .route("/api/session/archive", post(said))
            .route("/api/chat/start", post(start))
            .route("/api/session/undo", post(take_back))
            .route("/api/session/retry", post(take_back))
            .route("/api/session/stream", get(stream))
            .route("/api/sessions/events", get(stream))
            .route("/api/chat/stream", get(stream))
            .route("/api/approval/stream", get(stream))
            .route("/api/clarify/stream", get(stream))
            .layer(axum::middleware::from_fn_with_state(behaviour.clone(), instead))
            .with_state(behaviour.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, behaviour, task }
    }

    pub(super) fn streams(&self, status: u16) {
        *self.behaviour.streams.lock().unwrap() = status;
        self.behaviour.hang_up.send_modify(|n| *n += 1);
    }
}

fn session(behaviour: &Behaviour, id: &str) -> Value {
    let messages = behaviour.messages.lock().unwrap();
    json!({"session_id": id, "title": "x", "model": "m", "workspace": "/w", "messages": *messages,
        "message_count": messages.len(), "_messages_offset": 0})
}

/// What the other session asks, if it is of that kind.
fn head(behaviour: &Behaviour, kind: &str) -> Value {
    behaviour.heads.fetch_add(1, Ordering::SeqCst);
    let other = behaviour.other.lock().unwrap();
    if other.0 == kind { other.1.clone() } else { Value::Null }
}

/// Takes what a session is told. An answer that counts is the end of the question.
async fn said(
    State(behaviour): State<Arc<Behaviour>>,
    uri: axum::http::Uri,
    Json(mut body): Json<Value>,
) -> Response {
    body["at"] = json!(uri.path());
    behaviour.said.lock().unwrap().push(body);
    let (code, says) = behaviour.verdict.lock().unwrap().clone();
    if code < 500 && uri.path().ends_with("respond") {
        let next = std::mem::take(&mut *behaviour.next.lock().unwrap());
        let attention =
            if next.1.is_null() { Value::Null } else { json!({"kind": next.0, "count": 1}) };
        *behaviour.attention.lock().unwrap() = attention;
        *behaviour.other.lock().unwrap() = next;
    }
    (StatusCode::from_u16(code).unwrap(), Json(says)).into_response()
}

async fn instead(
    State(behaviour): State<Arc<Behaviour>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    behaviour.asked.fetch_add(1, Ordering::SeqCst);
    let all = *behaviour.all.lock().unwrap();
    match all {
        Some((code, body)) => (StatusCode::from_u16(code).unwrap(), body).into_response(),
        None => next.run(request).await,
    }
}

async fn start(State(behaviour): State<Arc<Behaviour>>, Json(body): Json<Value>) -> Response {
    behaviour.starts.fetch_add(1, Ordering::SeqCst);
    behaviour.sessions.lock().unwrap().push(body["session_id"].clone());
    let mut messages = behaviour.messages.lock().unwrap();
    messages.push(json!({"role": "user", "content": body["message"]}));
    messages.push(json!({"role": "assistant", "content": "done", "finish_reason": "stop"}));
    if behaviour.swallow.swap(false, Ordering::SeqCst) {
        return (StatusCode::BAD_GATEWAY, "<html>bad gateway</html>").into_response();
    }
    Json(json!({"stream_id": "st", "session_id": body["session_id"]})).into_response()
}

async fn take_back(State(behaviour): State<Arc<Behaviour>>) -> Response {
    let mut messages = behaviour.messages.lock().unwrap();
    let Some(at) = messages.iter().rposition(|m| m["role"] == "user") else {
        return Json(json!({"error": "Nothing to undo."})).into_response();
    };
    let text = messages[at]["content"].clone();
    let lost = |n: usize| n.checked_sub(1);
    if behaviour.stubborn.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lost).is_err() {
        messages.truncate(at);
    }
    Json(json!({"ok": true, "removed_count": 1, "last_user_text": text})).into_response()
}

struct Counted(Arc<Behaviour>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn stream(
    State(behaviour): State<Arc<Behaviour>>,
    uri: axum::http::Uri,
    Query(q): Asked,
) -> Response {
    let status = *behaviour.streams.lock().unwrap();
    if status != 200 {
        return (StatusCode::from_u16(status).unwrap(), Json(json!({"error": "no"})))
            .into_response();
    }
    behaviour.open.fetch_add(1, Ordering::SeqCst);
    let counted = Counted(behaviour.clone());
    let mut hang_up = behaviour.hang_up.subscribe();
    hang_up.mark_unchanged();
    let mut first = match uri.path() {
        "/api/chat/stream" if behaviour.hangs.load(Ordering::SeqCst) => {
            ": heartbeat\n\n".to_owned()
        }
        "/api/chat/stream" => {
            let of = behaviour.sessions.lock().unwrap().last().cloned().unwrap_or_default();
            let mut id = of.as_str().unwrap_or("s0");
            let mut text = String::new();
            if behaviour.compress.swap(false, Ordering::SeqCst) {
                let data = json!({"old_session_id": id, "new_session_id": "s9"});
                text = format!("event: compressed\ndata: {data}\n\n");
                id = "s9";
            }
            let session = session(&behaviour, id);
            let done = format!(
                "id: {}:1\nevent: done\ndata: {}\n\nid: {0}:2\nevent: stream_end\ndata: {{}}\n\n",
                q["stream_id"],
                json!({ "session": session })
            );
            text + &done
        }
        "/api/session/stream" => {
            let count = behaviour.messages.lock().unwrap().len();
            let known = q.get("known_count").and_then(|n| n.parse::<usize>().ok());
            let id = &q["session_id"];
            let mut text = format!("event: initial\ndata: {}\n\n", json!({"session_id": id}));
            if known.is_some_and(|known| known < count) {
                let data = json!({"session_id": id, "message_count": count});
                text += "event: session-updated\ndata: ";
                text += &data.to_string();
                text += "\n\n";
            }
            text
        }
        "/api/sessions/events" if behaviour.attention.lock().unwrap().is_object() => {
            "event: sessions_changed\ndata: {\"reason\": \"attention_pending\"}\n\n".to_owned()
        }
        "/api/sessions/events" => ": keepalive\n\n".to_owned(),
        "/api/approval/stream" => {
            let head = behaviour.approval.lock().unwrap().clone();
            format!("event: initial\ndata: {}\n\n", json!({ "pending": head }))
        }
        _ => "event: initial\ndata: {\"pending\": null}\n\n".to_owned(),
    };
    if behaviour.babbles.load(Ordering::SeqCst) {
        first.insert_str(0, "event: title\ndata: {no json\n\nevent: approval\ndata: 7\n\n");
    }
    let first = futures::stream::once(async move { Ok::<_, Infallible>(Bytes::from(first)) });
    let rest = futures::stream::once(async move {
        let _counted = counted;
        hang_up.changed().await.ok();
        Ok(Bytes::new())
    });
    let headers = [("content-type", "text/event-stream; charset=utf-8")];
    (headers, Body::from_stream(first.chain(rest))).into_response()
}
