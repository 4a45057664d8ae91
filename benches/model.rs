//! A model on a loopback socket that speaks OpenAI's chat completions. The last message picks
//! the answer; every request is told with the moment it arrived.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use futures::stream;
use serde_json::{Value, json};

/// What the last line of a long answer says.
pub(crate) const LAST_LINE: &str = "ENDMARK.";

/// The model; it ends with this value.
pub(crate) struct Model {
    /// Where it is, as `model.base_url` wants it.
    pub(crate) url: String,
    requests: Receiver<Request>,
    _runtime: tokio::runtime::Runtime,
}

/// A request as it arrived.
pub(crate) struct Request {
    pub(crate) at: Instant,
    /// Nanoseconds since 1970.
    pub(crate) clock: u128,
    pub(crate) body: Bytes,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Model {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (told, requests) = channel();
        let app = Router::new()
            .route("/v1/chat/completions", post(answer))
            .with_state(told)
            .layer(axum::extract::DefaultBodyLimit::disable());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, requests, _runtime: runtime }
    }

    /// The next request.
    pub(crate) fn next(&self) -> Request {
        self.requests.recv_timeout(Duration::from_mins(1)).expect("a request arrives")
    }

    /// The next request whose last message contains this.
    pub(crate) fn next_about(&self, text: &str) -> Request {
        loop {
            let request = self.next();
            let last = request.json()["messages"].as_array().unwrap().last().unwrap().to_string();
            if last.contains(text) {
                return request;
            }
        }
    }
}

async fn answer(State(told): State<Sender<Request>>, body: Bytes) -> Response {
    let (at, clock) = (Instant::now(), SystemTime::now());
    let clock = clock.duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let request: Value = serde_json::from_slice(&body).unwrap();
    told.send(Request { at, clock, body }).ok();
    let body = match script(&request["messages"]) {
        Script::Text(text) => Body::from(events(&[text])),
        Script::Call(args) => Body::from(call(&args)),
        Script::Burst { deltas, size } => Body::from(events(&pieces(deltas, size))),
        Script::Steady { deltas, size, rate } => paced(pieces(deltas, size).into_iter(), rate),
        // Each is made when it is due.
        Script::Stamps { pieces, rate } => {
            let words = "and words that fill a line of an answer ".repeat(5);
            paced((0..pieces).map(move |_| format!("<{}>{words}", crate::fanout::micros())), rate)
        }
    };
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

enum Script {
    Text(String),
    Call(Value),
    Burst { deltas: usize, size: usize },
    Steady { deltas: usize, size: usize, rate: usize },
    Stamps { pieces: usize, rate: usize },
}

/// `RUN command` starts the command in the background, `CHAIN n` runs `true` n times in the
/// foreground, `STREAM deltas size rate` streams (rate 0: at once); all else is greeted.
fn script(messages: &Value) -> Script {
    let messages = messages.as_array().map(Vec::as_slice).unwrap_or_default();
    let results = messages.iter().rev().take_while(|m| m["role"] != "user");
    let results = results.filter(|m| m["role"] == "tool").count();
    let user = messages.iter().rev().find(|m| m["role"] == "user");
    let prompt = user.map(|m| text(&m["content"])).unwrap_or_default();
    let numbers = || prompt.split(' ').skip(1).map(|n| n.trim().parse::<usize>().unwrap());
    match prompt.split(' ').next() {
        Some("RUN") if results == 0 => Script::Call(json!({
            "command": prompt.trim_start_matches("RUN "),
            "background": true,
            "notify_on_complete": true
        })),
        Some("CHAIN") if numbers().next().is_some_and(|n| results < n) => {
            Script::Call(json!({ "command": "true" }))
        }
        Some("STAMPS") => {
            let numbers: Vec<usize> = numbers().collect();
            let [pieces, rate] = numbers[..] else { panic!("STAMPS pieces rate") };
            Script::Stamps { pieces, rate }
        }
        Some("STREAM") => {
            let numbers: Vec<usize> = numbers().collect();
            match numbers[..] {
                [deltas, size, 0] => Script::Burst { deltas, size },
                [deltas, size, rate] => Script::Steady { deltas, size, rate },
                _ => panic!("STREAM deltas size rate"),
            }
        }
        _ => Script::Text("Hello.".to_owned()),
    }
}

/// The text of a message, whole or in parts.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// Markdown as agents write it: paragraphs, code in five languages, lists.
fn markdown(length: usize) -> String {
    let mut text = String::new();
    let last = format!("\n\n{LAST_LINE}");
    for i in 1.. {
        if text.len() + last.len() >= length {
            break;
        }
        let block = match i % 3 {
            1 => format!(
                "Here is **paragraph {i}** of the answer with `inline code`, a \
                 [link](https://example.org) and some words to wrap over the width of the \
                 terminal so that the markdown renderer has work to do.\n\n"
            ),
            2 => match i / 3 % 5 {
                0 => format!(
                    "```rust\nfn step_{i}(x: u64) -> Option<u64> {{\n    x.checked_mul(31) // comment\n}}\n```\n\n"
                ),
                1 => format!(
                    "```python\ndef step_{i}(x):\n    \"\"\"Text.\"\"\"\n    return [y * 31 for y in x]\n```\n\n"
                ),
                2 => format!(
                    "```typescript\nconst step{i} = (x: number): string => `${{x * 31}}`;\n```\n\n"
                ),
                3 => format!(
                    "```sh\nfor f in *.{i}; do\n  echo \"$f\" | tr a-z A-Z # comment\ndone\n```\n\n"
                ),
                _ => {
                    format!("```json\n{{ \"step\": {i}, \"list\": [1, 2.5, null, true] }}\n```\n\n")
                }
            },
            _ => format!("- item one of {i}\n- item **two**\n  - nested item\n\n"),
        };
        text.push_str(&block);
    }
    text.truncate(length - last.len());
    text + &last
}

/// The markdown in pieces of equal size.
fn pieces(deltas: usize, size: usize) -> Vec<String> {
    let text = markdown(deltas * size);
    text.as_bytes().chunks(size).map(|c| String::from_utf8(c.to_vec()).unwrap()).collect()
}

fn paced(pieces: impl Iterator<Item = String> + Send + 'static, rate: usize) -> Body {
    let begin = tokio::time::Instant::now();
    let all = pieces.map(|p| event(&json!({ "content": p }), None));
    let all = all.chain([last("stop")]);
    Body::from_stream(stream::unfold((0, all), move |(i, mut all)| async move {
        let due = begin + Duration::from_secs_f64(f64::from(i) / rate as f64);
        tokio::time::sleep_until(due).await;
        Some((Ok::<_, std::io::Error>(all.next()?), (i + 1, all)))
    }))
}

fn events(pieces: &[String]) -> String {
    let all = pieces.iter().map(|p| event(&json!({ "content": p }), None));
    all.chain([last("stop")]).collect()
}

fn call(args: &Value) -> String {
    let id = format!("call_{}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos());
    let function = json!({ "name": "terminal", "arguments": args.to_string() });
    let call = json!({ "index": 0, "id": id, "type": "function", "function": function });
    event(&json!({ "role": "assistant", "tool_calls": [call] }), None) + &last("tool_calls")
}

fn last(reason: &str) -> String {
    event(&json!({}), Some(reason)) + "data: [DONE]\n\n"
}

fn event(delta: &Value, reason: Option<&str>) -> String {
    let mut event = json!({
        "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "bench",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }]
    });
    if reason.is_some() {
        event["usage"] =
            json!({ "prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20 });
    }
    format!("data: {event}\n\n")
}
