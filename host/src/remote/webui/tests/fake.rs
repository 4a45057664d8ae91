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
pub(super) struct Does {
    /// What streams answer in place of 200.
    pub(super) streams: Mutex<u16>,
    /// Whether open streams end.
    pub(super) hang_up: tokio::sync::watch::Sender<u64>,
    pub(super) open: AtomicUsize,
    pub(super) began: AtomicI64,
    pub(super) approval: Mutex<Value>,
    /// What another session than the one in view waits for.
    pub(super) attention: Mutex<Value>,
    pub(super) messages: Mutex<Vec<Value>>,
    /// What every request answers in place of its own.
    pub(super) all: Mutex<Option<(u16, &'static str)>>,
    /// The next `chat/start` takes the prompt and breaks off.
    pub(super) swallow: AtomicBool,
    pub(super) starts: AtomicUsize,
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
    pub(super) does: Arc<Does>,
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
        let does = Arc::new(Does {
            streams: Mutex::new(200),
            hang_up: tokio::sync::watch::channel(0).0,
            open: AtomicUsize::new(0),
            began: AtomicI64::new(1_795_000_000),
            approval: Mutex::new(Value::Null),
            attention: Mutex::new(Value::Null),
            messages: Mutex::new(vec![json!({"role": "user", "content": "hi"})]),
            all: Mutex::new(None),
            swallow: AtomicBool::new(false),
            starts: AtomicUsize::new(0),
            stubborn: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            hangs: AtomicBool::new(false),
            babbles: AtomicBool::new(false),
        });
        let app = Router::new()
            .route(
                "/health",
                get(|State(d): State<Arc<Does>>| async move {
                    let began = d.began.load(Ordering::SeqCst);
                    Json(json!({"status": "ok", "server_started_at": began}))
                }),
            )
            .route("/api/auth/status", get(|| async { Json(json!({"auth_enabled": false})) }))
            .route(
                "/api/sessions",
                get(|State(d): State<Arc<Does>>| async move {
                    let attention = d.attention.lock().unwrap().clone();
                    Json(json!({"sessions": [
                        {"session_id": "s0", "title": "x", "last_message_at": 9.0},
                        {"session_id": "s1", "title": "other", "attention": attention},
                    ]}))
                }),
            )
            .route(
                "/api/session",
                get(|State(d): State<Arc<Does>>, Query(q): Asked| async move {
                    Json(json!({ "session": session(&d, &q["session_id"]) }))
                }),
            )
            .route(
                "/api/session/status",
                get(|State(d): State<Arc<Does>>, Query(q): Asked| async move {
                    let mut status = session(&d, &q["session_id"]);
                    status["messages"] = Value::Null;
                    Json(status)
                }),
            )
            .route(
                "/api/approval/pending",
                get(|State(d): State<Arc<Does>>| async move {
                    Json(json!({ "pending": *d.approval.lock().unwrap() }))
                }),
            )
            .route("/api/clarify/pending", get(|| async { Json(json!({"pending": null})) }))
            .route(
                "/api/approval/respond",
                post(|| async { (StatusCode::CONFLICT, Json(json!({"error": "stale"}))) }),
            )
            .route("/api/chat/start", post(start))
            .route("/api/session/undo", post(take_back))
            .route("/api/session/retry", post(take_back))
            .route("/api/session/stream", get(stream))
            .route("/api/sessions/events", get(stream))
            .route("/api/chat/stream", get(stream))
            .route("/api/approval/stream", get(stream))
            .route("/api/clarify/stream", get(stream))
            .layer(axum::middleware::from_fn_with_state(does.clone(), instead))
            .with_state(does.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, does, task }
    }

    pub(super) fn streams(&self, status: u16) {
        *self.does.streams.lock().unwrap() = status;
        self.does.hang_up.send_modify(|n| *n += 1);
    }
}

fn session(does: &Does, id: &str) -> Value {
    let messages = does.messages.lock().unwrap();
    json!({"session_id": id, "title": "x", "model": "m", "workspace": "/w", "messages": *messages,
        "message_count": messages.len(), "_messages_offset": 0})
}

async fn instead(
    State(does): State<Arc<Does>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    does.asked.fetch_add(1, Ordering::SeqCst);
    let all = *does.all.lock().unwrap();
    match all {
        Some((code, body)) => (StatusCode::from_u16(code).unwrap(), body).into_response(),
        None => next.run(request).await,
    }
}

async fn start(State(does): State<Arc<Does>>, Json(body): Json<Value>) -> Response {
    does.starts.fetch_add(1, Ordering::SeqCst);
    let mut messages = does.messages.lock().unwrap();
    messages.push(json!({"role": "user", "content": body["message"]}));
    messages.push(json!({"role": "assistant", "content": "done", "finish_reason": "stop"}));
    if does.swallow.swap(false, Ordering::SeqCst) {
        return (StatusCode::BAD_GATEWAY, "<html>bad gateway</html>").into_response();
    }
    Json(json!({"stream_id": "st", "session_id": body["session_id"]})).into_response()
}

async fn take_back(State(does): State<Arc<Does>>) -> Response {
    let mut messages = does.messages.lock().unwrap();
    let Some(at) = messages.iter().rposition(|m| m["role"] == "user") else {
        return Json(json!({"error": "Nothing to undo."})).into_response();
    };
    let text = messages[at]["content"].clone();
    let lost = |n: usize| n.checked_sub(1);
    if does.stubborn.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lost).is_err() {
        messages.truncate(at);
    }
    Json(json!({"ok": true, "removed_count": 1, "last_user_text": text})).into_response()
}

struct Counted(Arc<Does>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn stream(State(does): State<Arc<Does>>, uri: axum::http::Uri, Query(q): Asked) -> Response {
    let status = *does.streams.lock().unwrap();
    if status != 200 {
        return (StatusCode::from_u16(status).unwrap(), Json(json!({"error": "no"})))
            .into_response();
    }
    does.open.fetch_add(1, Ordering::SeqCst);
    let counted = Counted(does.clone());
    let mut hang_up = does.hang_up.subscribe();
    hang_up.mark_unchanged();
    let mut first = match uri.path() {
        "/api/chat/stream" if does.hangs.load(Ordering::SeqCst) => ": heartbeat\n\n".to_owned(),
        "/api/chat/stream" => {
            let session = session(&does, "s0");
            format!(
                "id: {}:1\nevent: done\ndata: {}\n\nid: {0}:2\nevent: stream_end\ndata: {{}}\n\n",
                q["stream_id"],
                json!({ "session": session })
            )
        }
        "/api/session/stream" => {
            let count = does.messages.lock().unwrap().len();
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
        "/api/sessions/events" if does.attention.lock().unwrap().is_object() => {
            "event: sessions_changed\ndata: {\"reason\": \"attention_pending\"}\n\n".to_owned()
        }
        "/api/sessions/events" => ": keepalive\n\n".to_owned(),
        "/api/approval/stream" => {
            let head = does.approval.lock().unwrap().clone();
            format!("event: initial\ndata: {}\n\n", json!({ "pending": head }))
        }
        _ => "event: initial\ndata: {\"pending\": null}\n\n".to_owned(),
    };
    if does.babbles.load(Ordering::SeqCst) {
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
