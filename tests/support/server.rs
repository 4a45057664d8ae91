//! A model server on loopback that speaks OpenAI's chat completions as a stream. What it answers
//! is a function of the request; every request is kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use futures::{StreamExt as _, stream};
use host::settings::{self, Provider};
use serde_json::{Value, json};
use tokio::sync::watch;

/// What the server answers to one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Text, whole.
    Text(String),
    /// Text, whole, and how many tokens its prompt had.
    Counted(String, u64),
    /// Text and tool calls: names with arguments.
    Calls(String, Vec<(String, Value)>),
    /// Pieces of text with a pause before each.
    Slow(Vec<String>, Duration),
    /// Text, and more of it once the gate is open.
    Halves(String, Gate, String),
    /// Text, and then nothing more for ever.
    Hang(String),
    /// Text, and then the connection is cut.
    Cut(String),
    /// A refusal: its status and body.
    Status(u16, String),
    /// That, once the gate is open.
    After(Gate, Box<Reply>),
}

/// Holds a reply back until it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn pass(&self) {
        let mut opened = self.0.subscribe();
        let _ = opened.wait_for(|open| *open).await;
    }
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Its body.
    pub(crate) body: Value,
}

impl Asked {
    pub(crate) fn messages(&self) -> &[Value] {
        self.body["messages"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The texts of all messages of a role.
    pub(crate) fn texts(&self, role: &str) -> Vec<&str> {
        self.messages().iter().filter(|m| m["role"] == role).map(text).collect()
    }

    /// The last message of the user's side.
    pub(crate) fn last_user(&self) -> &str {
        self.texts("user").pop().unwrap_or_default()
    }

    /// The last tool result.
    pub(crate) fn last_tool(&self) -> &str {
        self.texts("tool").pop().unwrap_or_default()
    }

    /// How often the model has answered since the last message of the user's side.
    fn round(&self) -> usize {
        let messages = self.messages();
        let asked = messages.iter().rposition(|m| m["role"] == "user").unwrap_or(0);
        messages[asked..].iter().filter(|m| m["role"] == "assistant").count()
    }
}

fn text(message: &Value) -> &str {
    match &message["content"] {
        Value::String(text) => text,
        Value::Array(parts) => parts.iter().find_map(|p| p["text"].as_str()).unwrap_or_default(),
        _ => "",
    }
}

/// See the module.
pub(crate) struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// A server that answers as `script` says.
    pub(crate) async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", script).await
    }

    /// One at that address.
    pub(crate) async fn at(
        address: &str,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let seen: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, script) = (seen.clone(), Arc::new(script));
        let app = Router::new().fallback(move |request: Request| {
            let (log, script) = (log.clone(), script.clone());
            async move {
                let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let asked = {
                    let mut log = log.lock().unwrap();
                    let asked = Asked { body };
                    log.push(asked.clone());
                    asked
                };
                respond(script(&asked)).await
            }
        });
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, seen, task }
    }

    /// A server that does what the prompts say ([`obey`]).
    pub(crate) async fn obedient() -> Self {
        Self::start(obey).await
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The model it serves.
    pub(crate) fn model(&self) -> settings::Model {
        settings::Model {
            provider: Provider::OpenAi,
            name: "test-model".to_owned(),
            base_url: Some(self.url.clone()),
            api_key: Some("key-for-tests".to_owned()),
            context_length: Some(128_000),
            max_tokens: None,
            retries: 0,
            stale: Duration::from_mins(2),
        }
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests, once there are that many.
    pub(crate) async fn requests(&self, count: usize) -> Vec<Asked> {
        super::eventually(&format!("{count} requests"), || {
            let seen = self.seen();
            (seen.len() >= count).then_some(seen)
        })
        .await
    }

    /// That no request comes beyond those.
    pub(crate) async fn stays_at(&self, count: usize) {
        tokio::time::sleep(super::QUIET).await;
        let seen = self.seen();
        let last = seen.last().map(|asked| asked.last_user().to_owned());
        assert_eq!(seen.len(), count, "the last request: {last:?}");
    }
}

/// Does what the last message of the user's side says: its lines `call TOOL ARGS` are tool calls,
/// a line `then` separates the answers. `$ID` in the arguments is the process that was started
/// last. A message about a background event, or any other, gets a text.
pub(crate) fn obey(asked: &Asked) -> Reply {
    answer(asked, asked.last_user())
}

/// As [`obey`], by another text.
pub(crate) fn answer(asked: &Asked, order: &str) -> Reply {
    let rounds: Vec<&str> = order.split("\nthen\n").collect();
    let started = asked.texts("tool").into_iter().rev().find_map(|result| {
        let result: Value = serde_json::from_str(result).ok()?;
        result["session_id"].as_str().map(str::to_owned)
    });
    let calls: Vec<(String, Value)> = rounds
        .get(asked.round())
        .into_iter()
        .flat_map(|round| round.lines())
        .filter_map(|line| line.strip_prefix("call ")?.split_once(' '))
        .map(|(tool, args)| {
            let args = args.replace("$ID", started.as_deref().unwrap_or("none"));
            let args = serde_json::from_str(&args).expect("arguments are JSON");
            (tool.to_owned(), args)
        })
        .collect();
    if !calls.is_empty() {
        return Reply::Calls(String::new(), calls);
    }
    if order.starts_with("[IMPORTANT: ") {
        return Reply::Text("I was woken.".to_owned());
    }
    Reply::Text("As you say.".to_owned())
}

async fn respond(reply: Reply) -> Response<Body> {
    type Piece = Result<String, std::io::Error>;
    let mut reply = reply;
    while let Reply::After(gate, then) = reply {
        gate.pass().await;
        reply = *then;
    }
    let sse = Response::builder().header("content-type", "text/event-stream");
    match reply {
        Reply::Text(text) => sse.body(Body::from(said(&text) + &end("stop"))),
        Reply::Counted(text, tokens) => {
            sse.body(Body::from(said(&text) + &counted("stop", tokens)))
        }
        Reply::Calls(text, calls) => {
            let body: String =
                calls.iter().enumerate().map(|(i, (name, args))| call(i, name, args)).collect();
            sse.body(Body::from(said(&text) + &body + &end("tool_calls")))
        }
        Reply::Slow(pieces, pause) => {
            let last: Piece = Ok(end("stop"));
            let pieces = stream::iter(pieces)
                .then(move |piece| async move {
                    tokio::time::sleep(pause).await;
                    Piece::Ok(said(&piece))
                })
                .chain(stream::iter([last]));
            sse.body(Body::from_stream(pieces))
        }
        Reply::Halves(first, gate, second) => {
            let first: Piece = Ok(said(&first));
            let second = stream::once(async move {
                gate.pass().await;
                Piece::Ok(said(&second) + &end("stop"))
            });
            sse.body(Body::from_stream(stream::iter([first]).chain(second)))
        }
        Reply::Hang(text) => {
            let first: Piece = Ok(said(&text));
            sse.body(Body::from_stream(stream::iter([first]).chain(stream::pending())))
        }
        Reply::Cut(text) => {
            let first: Piece = Ok(said(&text));
            let cut = stream::once(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Piece::Err(std::io::ErrorKind::BrokenPipe.into())
            });
            sse.body(Body::from_stream(stream::iter([first]).chain(cut)))
        }
        Reply::Status(status, body) => Response::builder().status(status).body(Body::from(body)),
        Reply::After(..) => unreachable!("opened above"),
    }
    .unwrap()
}

fn event(delta: &Value) -> String {
    let event = json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
    format!("data: {event}\n\n")
}

fn said(text: &str) -> String {
    if text.is_empty() { String::new() } else { event(&json!({ "content": text })) }
}

fn call(index: usize, name: &str, args: &Value) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = format!("call_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let function = json!({ "name": name, "arguments": args.to_string() });
    event(&json!({"tool_calls": [{"index": index, "id": id, "function": function}]}))
}

fn end(finish: &str) -> String {
    counted(finish, 100)
}

fn counted(finish: &str, prompt: u64) -> String {
    let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]});
    let usage =
        json!({"prompt_tokens": prompt, "completion_tokens": 20, "total_tokens": prompt + 20});
    let counted = json!({"choices": [], "usage": usage});
    format!("data: {last}\n\ndata: {counted}\n\ndata: [DONE]\n\n")
}
