//! The real client against a server on loopback that speaks the providers' dialects.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as Incoming;
use axum::http::{HeaderMap, Response};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{collect, completion, failure, prompt, text};
use crate::model::{Chunk, Class, Completion, Message, Model, Request, Schema, catalog};
use crate::settings::{self, Provider};
use protocol::{Stop, ToolCall, Usage};

/// What the server answers to one request.
enum Reply {
    /// A stream of server-sent events (or lines) that ends well.
    Stream(String),
    /// A stream that says this and is then cut.
    Cut(String),
    /// A stream that says this and then nothing more; tells when the client has gone.
    Hang(String, Option<oneshot::Sender<()>>),
    /// A status with headers and a body.
    Status(u16, Vec<(&'static str, &'static str)>, &'static str),
    /// Not even headers.
    Silence,
}

/// A server on loopback, and what it was asked.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<(String, HeaderMap, Value)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(replies: Vec<Reply>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let replies = Arc::new(Mutex::new(VecDeque::from(replies)));
        let log = seen.clone();
        let app = Router::new().fallback(move |request: Incoming| {
            let (log, replies) = (log.clone(), replies.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let body = serde_json::from_slice(&body).unwrap();
                log.lock().unwrap().push((head.uri.path().to_owned(), head.headers, body));
                let reply = replies.lock().unwrap().pop_front().expect("a reply");
                answer(reply).await
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, seen, task }
    }

    fn body(&self, at: usize) -> Value {
        self.seen.lock().unwrap()[at].2.clone()
    }

    fn model(&self, provider: Provider) -> Arc<dyn Model> {
        catalog::open(&settings(provider, &self.url)).unwrap()
    }
}

/// Settings without retries and with a short patience.
fn settings(provider: Provider, url: &str) -> settings::Model {
    settings::Model {
        provider,
        name: "test-model".to_owned(),
        base_url: Some(url.to_owned()),
        api_key: Some("key-for-tests".to_owned()),
        context_length: None,
        max_tokens: None,
        retries: 0,
        stale: Duration::from_secs(30),
    }
}

/// Says when it is dropped.
struct Gone(Option<oneshot::Sender<()>>);

impl Drop for Gone {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            let _ = tell.send(());
        }
    }
}

async fn answer(reply: Reply) -> Response<Body> {
    type Piece = Result<String, std::io::Error>;
    let sse = Response::builder().header("content-type", "text/event-stream");
    match reply {
        Reply::Stream(body) => sse.body(Body::from(body)),
        Reply::Cut(body) => {
            let end: Piece = Err(std::io::ErrorKind::BrokenPipe.into());
            let pieces = stream::iter([Ok(body)]).chain(stream::once(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                end
            }));
            sse.body(Body::from_stream(pieces))
        }
        Reply::Hang(body, tell) => {
            let gone = Gone(tell);
            let first: Piece = Ok(body);
            let pieces = stream::iter([first]).chain(stream::once(async move {
                let _gone = gone;
                std::future::pending::<Piece>().await
            }));
            sse.body(Body::from_stream(pieces))
        }
        Reply::Status(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::from(body))
        }
        Reply::Silence => std::future::pending().await,
    }
    .unwrap()
}

/// Server-sent events in OpenAI's shape: one per delta, then the end.
fn openai(deltas: &[Value], finish: &str) -> String {
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 5}});
    let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]});
    let counted = json!({"choices": [], "usage": usage});
    let body = open_ended(deltas);
    format!("{body}data: {last}\n\ndata: {counted}\n\ndata: [DONE]\n\n")
}

fn open_ended(deltas: &[Value]) -> String {
    deltas
        .iter()
        .map(|delta| json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]}))
        .map(|event| format!(": PROCESSING\n\ndata: {event}\n\n"))
        .collect::<Vec<_>>()
        .concat()
}

fn call(index: u32, id: Option<&str>, name: Option<&str>, arguments: &str) -> Value {
    let mut call = json!({"index": index, "function": {"arguments": arguments}});
    if let Some(id) = id {
        call["id"] = json!(id);
    }
    if let Some(name) = name {
        call["function"]["name"] = json!(name);
    }
    json!({ "tool_calls": [call] })
}

/// The message that an answer becomes.
fn assistant(done: &Completion) -> Message {
    Message::Assistant {
        text: done.text.clone(),
        reasoning: done.reasoning.clone(),
        calls: done.calls.clone(),
        opaque: done.opaque.clone(),
    }
}

fn result(call: &ToolCall, text: &str) -> Message {
    Message::Tool { call: call.id.0.clone(), name: call.name.clone(), text: text.to_owned() }
}

fn request() -> Request {
    Request {
        system: "You are a test.".to_owned(),
        tools: vec![Schema {
            name: "terminal",
            description: "Runs a command.",
            parameters: json!({"type": "object", "properties": {"command": {"type": "string"}}}),
        }],
        session: "20260101_000000_abcdef".to_owned(),
        ..prompt("hi")
    }
}

#[tokio::test]
async fn text_reasoning_and_usage_arrive() {
    let body = openai(
        &[
            json!({"role": "assistant", "content": ""}),
            json!({"reasoning_content": "hm "}),
            json!({"reasoning_content": "yes"}),
            json!({"content": "Grüße "}),
            json!({"content": "🚀"}),
        ],
        "stop",
    );
    let server = Server::start(vec![Reply::Stream(body)]).await;
    let items = collect(server.model(Provider::OpenAi).stream(request())).await;
    assert_eq!(text(&items), "Grüße 🚀");
    let done = completion(&items);
    assert_eq!((done.text.as_str(), done.reasoning.as_str()), ("Grüße 🚀", "hm yes"));
    assert_eq!(done.stop, Stop::End);
    let usage = Usage { prompt: 100, completion: 20, cached: 64, reasoning: 5, written: 0 };
    assert_eq!(done.usage, Some(usage));
    let (path, headers, body) = server.seen.lock().unwrap()[0].clone();
    assert_eq!(path, "/v1/chat/completions");
    assert_eq!(headers["authorization"], "Bearer key-for-tests");
    assert_eq!(body["model"], "test-model");
    assert_eq!(body["messages"][0], json!({"role": "system", "content": "You are a test."}));
    assert_eq!(body["tools"][0]["function"]["name"], "terminal");
}

#[tokio::test]
async fn parallel_calls_in_fragments_are_put_together() {
    let body = openai(
        &[
            json!({"content": "Two."}),
            call(0, Some("call_abc1"), Some("terminal"), ""),
            call(0, None, None, "{\"command\":"),
            call(1, Some("call_abc2"), Some("read_file"), "{\"pa"),
            call(0, None, None, "\"ls\"}"),
            call(1, None, None, "th\":\"x\"}"),
            call(2, Some("call_abc3"), Some("todo"), ""),
            call(3, Some("call_abc4"), Some("patch"), "{\"mode\": oops"),
        ],
        "tool_calls",
    );
    let server = Server::start(vec![Reply::Stream(body)]).await;
    let items = collect(server.model(Provider::OpenAi).stream(request())).await;
    let done = completion(&items);
    assert_eq!(done.stop, Stop::Calls);
    let calls: Vec<(&str, &str, &Value)> =
        done.calls.iter().map(|c| (c.id.0.as_str(), c.name.as_str(), &c.args)).collect();
    assert_eq!(
        calls,
        [
            ("call_abc1", "terminal", &json!({"command": "ls"})),
            ("call_abc2", "read_file", &json!({"path": "x"})),
            ("call_abc3", "todo", &json!({})),
            ("call_abc4", "patch", &json!("{\"mode\": oops")),
        ]
    );
    let names: Vec<&str> = items
        .iter()
        .filter_map(|i| if let Ok(Chunk::Calling { name, .. }) = i { Some(&**name) } else { None })
        .collect();
    assert_eq!(names, ["terminal", "read_file", "todo", "patch"]);
}

#[tokio::test]
async fn a_long_call_being_written_is_reported_in_steps() {
    let mut deltas = vec![call(0, Some("call_x1y2"), Some("write_file"), "{\"content\":\"")];
    deltas.extend((0..500).map(|_| call(0, None, None, &"x".repeat(40))));
    deltas.push(call(0, None, None, "\"}"));
    let server = Server::start(vec![Reply::Stream(openai(&deltas, "tool_calls"))]).await;
    let items = collect(server.model(Provider::OpenAi).stream(request())).await;
    let bytes: Vec<usize> = items
        .iter()
        .filter_map(|i| if let Ok(Chunk::Calling { bytes, .. }) = i { Some(*bytes) } else { None })
        .collect();
    assert_eq!(bytes.len(), 5, "{bytes:?}");
    assert!(bytes.windows(2).all(|pair| pair[1] >= pair[0] + 4_096), "{bytes:?}");
}

#[tokio::test]
async fn ids_that_would_come_again_are_replaced() {
    let body = || openai(&[call(0, None, Some("terminal"), "{}")], "tool_calls");
    let server = Server::start(vec![Reply::Stream(body()), Reply::Stream(body())]).await;
    let model = server.model(Provider::OpenAi);
    let first = collect(model.stream(request())).await;
    let second = collect(model.stream(request())).await;
    assert_ne!(completion(&first).calls[0].id, completion(&second).calls[0].id);
}

#[tokio::test]
async fn calls_that_are_counted_from_one_are_not_doubled() {
    let body = openai(
        &[
            call(1, Some("call_abc1"), Some("terminal"), "{\"command\":"),
            call(1, None, None, "\"ls\"}"),
        ],
        "tool_calls",
    );
    let server = Server::start(vec![Reply::Stream(body)]).await;
    let items = collect(server.model(Provider::OpenAi).stream(request())).await;
    let calls = &completion(&items).calls;
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0].args, json!({"command": "ls"}));
}

#[tokio::test]
async fn an_answer_cut_by_the_output_limit_has_no_calls() {
    let body = openai(
        &[json!({"content": "I "}), call(0, Some("call_q1w2"), Some("terminal"), "{\"comm")],
        "length",
    );
    let server = Server::start(vec![Reply::Stream(body)]).await;
    let items = collect(server.model(Provider::OpenAi).stream(request())).await;
    let done = completion(&items);
    assert_eq!((done.stop, done.calls.len(), done.text.as_str()), (Stop::Length, 0, "I "));
}

#[tokio::test]
async fn a_conversation_that_grows_keeps_the_bytes_of_its_beginning() {
    let calls = [
        json!({"reasoning_content": "because"}),
        call(0, Some("call_abc1"), Some("terminal"), "{\"command\":\"a\"}"),
        call(1, Some("call_abc2"), Some("terminal"), "broken"),
    ];
    let server = Server::start(vec![
        Reply::Stream(openai(&calls, "tool_calls")),
        Reply::Stream(openai(&[json!({"content": "done"})], "stop")),
    ])
    .await;
    let model = server.model(Provider::OpenAi);
    let mut request = request();
    let items = collect(model.stream(request.clone())).await;
    let done = completion(&items);
    request.messages.push(assistant(done));
    request.messages.extend(done.calls.iter().map(|call| result(call, "{\"exit_code\":0}")));
    collect(model.stream(request)).await;
    let (first, second) = (server.body(0), server.body(1));
    assert_eq!(first["tools"].to_string(), second["tools"].to_string());
    let messages = second["messages"].as_array().unwrap();
    let before = first["messages"].as_array().unwrap();
    assert_eq!(json!(&messages[..before.len()]).to_string(), json!(before).to_string());
    let added = &messages[before.len()..];
    assert_eq!(added.len(), 3);
    assert_eq!(added[0]["reasoning_content"], "because");
    for (call, answer) in added[0]["tool_calls"].as_array().unwrap().iter().zip(&added[1..]) {
        let args: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap())
            .expect("arguments are JSON");
        assert!(args.is_object(), "{args}");
        assert_eq!(answer["tool_call_id"], call["id"]);
        assert_eq!(answer["role"], "tool");
    }
}

#[tokio::test]
async fn a_model_name_that_ends_like_an_effort_is_sent_whole() {
    let server = Server::start(vec![Reply::Stream(openai(&[], "stop"))]).await;
    let settings =
        settings::Model { name: "qwen3-max".to_owned(), ..settings(Provider::OpenAi, &server.url) };
    collect(catalog::open(&settings).unwrap().stream(request())).await;
    let body = server.body(0);
    assert_eq!(body["model"], "qwen3-max");
    assert_eq!(body.get("reasoning_effort"), None);
}

#[tokio::test]
async fn refusals_have_their_class_and_the_providers_words() {
    let server = Server::start(vec![
        Reply::Status(401, vec![], r#"{"error":{"message":"Incorrect key key-for-tests"}}"#),
        Reply::Status(429, vec![("retry-after", "17")], r#"{"error":{"message":"slow"}}"#),
        Reply::Status(500, vec![], "<html><body>oops</body></html>"),
        Reply::Status(404, vec![], r#"{"error":{"message":"model test-model not found"}}"#),
    ])
    .await;
    let model = server.model(Provider::OpenAi);
    for (class, said) in [
        (Class::Auth, "Incorrect key ***"),
        (Class::RateLimit, "slow"),
        (Class::Server, "oops"),
        (Class::UnknownModel, "not found"),
    ] {
        let items = collect(model.stream(request())).await;
        let error = failure(&items);
        assert_eq!(error.class, class, "{error}");
        assert!(error.message.contains(said) && !error.message.contains('<'), "{error}");
        let asked = (class == Class::RateLimit).then(|| Duration::from_secs(17));
        assert_eq!(error.retry_after, asked);
    }
}

#[tokio::test]
async fn a_passing_failure_is_retried_over_the_wire() {
    let server = Server::start(vec![
        Reply::Status(503, vec![("retry-after-ms", "5")], "busy"),
        Reply::Stream(openai(&[json!({"content": "hello"})], "stop")),
    ])
    .await;
    let settings = settings::Model { retries: 3, ..settings(Provider::OpenAi, &server.url) };
    let items = collect(catalog::open(&settings).unwrap().stream(request())).await;
    assert!(matches!(&items[0], Ok(Chunk::Retrying { attempt: 2, .. })), "{:?}", items[0]);
    assert_eq!(completion(&items).text, "hello");
    assert_eq!(server.body(0), server.body(1));
}

#[tokio::test]
async fn an_error_inside_the_stream_ends_it() {
    let body = open_ended(&[json!({"content": "so far"})])
        + "data: {\"error\":{\"message\":\"engine died\",\"type\":\"server_error\"}}\n\n";
    let server = Server::start(vec![Reply::Stream(body)]).await;
    let items = collect(server.model(Provider::OpenAi).stream(request())).await;
    assert_eq!(text(&items), "so far");
    assert_eq!(failure(&items).class, Class::Server);
    assert!(failure(&items).message.contains("engine died"));
}

#[tokio::test]
async fn a_stream_that_ends_before_the_answer_is_truncated() {
    let so_far = || open_ended(&[json!({"content": "so far"})]);
    let server = Server::start(vec![Reply::Stream(so_far()), Reply::Cut(so_far())]).await;
    let model = server.model(Provider::OpenAi);
    for _ in 0..2 {
        let items = collect(model.stream(request())).await;
        assert_eq!(text(&items), "so far");
        assert_eq!(failure(&items).class, Class::Truncated, "{}", failure(&items));
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let so_far = open_ended(&[json!({"content": "so far"})]);
    let server = Server::start(vec![Reply::Hang(so_far, None), Reply::Silence]).await;
    let patience = Duration::from_millis(300);
    let settings = settings::Model { stale: patience, ..settings(Provider::OpenAi, &server.url) };
    let model = catalog::open(&settings).unwrap();
    for seen in ["so far", ""] {
        let items = collect(model.stream(request())).await;
        assert_eq!(text(&items), seen);
        assert_eq!(failure(&items).class, Class::Unreachable);
        assert!(failure(&items).message.contains("300ms"), "{}", failure(&items));
    }
}

#[tokio::test]
async fn a_refused_connection_says_so_and_may_be_tried_again_soon() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let model = catalog::open(&settings(Provider::OpenAi, &url)).unwrap();
    let items = collect(model.stream(request())).await;
    let error = failure(&items);
    assert_eq!(error.class, Class::Unreachable);
    assert_eq!(error.retry_after, Some(crate::model::error::REFUSED_PAUSE));
    assert!(error.message.contains("refused"), "{error}");
}

#[tokio::test]
async fn dropping_the_answer_closes_the_connection() {
    let (tell, gone) = oneshot::channel();
    let so_far = open_ended(&[json!({"content": "so far"})]);
    let server = Server::start(vec![Reply::Hang(so_far, Some(tell))]).await;
    let mut answer = server.model(Provider::OpenAi).stream(request());
    assert!(matches!(answer.next().await, Some(Ok(Chunk::Text(_)))));
    drop(answer);
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("closed").unwrap();
}

// W21
#[tokio::test]
async fn nothing_is_sent_before_the_answer_is_polled() {
    let server = Server::start(vec![]).await;
    let model = server.model(Provider::OpenAi);
    drop(model.stream(request()));
    tokio::task::yield_now().await;
    assert!(server.seen.lock().unwrap().is_empty());
}

// W20
#[tokio::test]
async fn a_missing_key_is_known_without_asking() {
    for provider in [Provider::OpenAi, Provider::Anthropic, Provider::Gemini] {
        let settings =
            settings::Model { api_key: None, base_url: None, ..settings(provider, "unused") };
        let items = collect(catalog::open(&settings).unwrap().stream(request())).await;
        assert_eq!(failure(&items).class, Class::Auth);
    }
}

/// Server-sent events in Anthropic's shape.
fn anthropic(blocks: &[(Value, Vec<Value>)], stop: &str) -> String {
    let mut events = vec![json!({"type": "message_start", "message": {"usage":
        {"input_tokens": 30, "cache_read_input_tokens": 60, "output_tokens": 1}}})];
    events.push(json!({"type": "ping"}));
    for (index, (block, deltas)) in blocks.iter().enumerate() {
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        events.extend(
            deltas.iter().map(
                |delta| json!({"type": "content_block_delta", "index": index, "delta": delta}),
            ),
        );
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": stop},
        "usage": {"output_tokens": 12}}));
    events.push(json!({"type": "message_stop"}));
    events
        .iter()
        .map(|e| format!("event: {}\ndata: {e}\n\n", e["type"].as_str().unwrap()))
        .collect::<Vec<_>>()
        .concat()
}

#[tokio::test]
async fn anthropic_text_thinking_and_calls_arrive_and_go_back() {
    let first = anthropic(
        &[
            (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                vec![
                    json!({"type": "thinking_delta", "thinking": "let me see"}),
                    json!({"type": "signature_delta", "signature": "SIGNED"}),
                ],
            ),
            (
                json!({"type": "text", "text": ""}),
                vec![json!({"type": "text_delta", "text": "Looking."})],
            ),
            (
                json!({"type": "tool_use", "id": "toolu_1", "name": "terminal", "input": {}}),
                vec![
                    json!({"type": "input_json_delta", "partial_json": "{\"command\":"}),
                    json!({"type": "input_json_delta", "partial_json": "\"ls\"}"}),
                ],
            ),
            (
                json!({"type": "tool_use", "id": "toolu_2", "name": "todo", "input": {}}),
                vec![json!({"type": "input_json_delta", "partial_json": ""})],
            ),
        ],
        "tool_use",
    );
    let done_text = vec![json!({"type": "text_delta", "text": "Done."})];
    let second = anthropic(&[(json!({"type": "text", "text": ""}), done_text)], "end_turn");
    let server = Server::start(vec![Reply::Stream(first), Reply::Stream(second)]).await;
    let model = server.model(Provider::Anthropic);
    let mut request = request();
    let items = collect(model.stream(request.clone())).await;
    let done = completion(&items);
    assert_eq!(done.stop, Stop::Calls);
    assert_eq!((done.text.as_str(), done.reasoning.as_str()), ("Looking.", "let me see"));
    assert_eq!(done.calls[0].args, json!({"command": "ls"}));
    assert_eq!(done.calls[1].args, json!({}));
    let usage = done.usage.unwrap();
    assert_eq!((usage.prompt, usage.cached, usage.completion), (90, 60, 12));

    // The store keeps `opaque` as JSON text.
    let Message::Assistant { text: said, reasoning, calls, opaque } = assistant(done) else {
        unreachable!()
    };
    let opaque = serde_json::from_str(&opaque.to_string()).unwrap();
    request.messages.push(Message::Assistant { text: said, reasoning, calls, opaque });
    request.messages.extend(done.calls.iter().map(|call| result(call, "ok")));
    let items = collect(model.stream(request)).await;
    assert_eq!(completion(&items).text, "Done.");
    let body = server.body(1);
    let messages = body["messages"].as_array().unwrap();
    let shape = |message: &Value| -> Vec<String> {
        let parts = message["content"].as_array().unwrap();
        parts.iter().map(|p| p["type"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(shape(&messages[1]), ["thinking", "text", "tool_use", "tool_use"]);
    assert_eq!(messages[1]["content"][0]["signature"], "SIGNED");
    assert_eq!(messages[1]["content"][0]["thinking"], "let me see");
    assert_eq!(shape(&messages[2]), ["tool_result", "tool_result"]);
    assert_eq!(messages.len(), 3);
    assert_eq!(body["system"][0]["cache_control"]["type"], "ephemeral");
    assert_eq!(messages[2]["content"][1]["cache_control"]["type"], "ephemeral");
    let (path, headers, _) = server.seen.lock().unwrap()[0].clone();
    assert_eq!(path, "/v1/messages");
    assert_eq!(headers["x-api-key"], "key-for-tests");
}

#[tokio::test]
async fn what_one_provider_wants_back_does_not_go_to_another() {
    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "terminal", "input": {}});
    let thinking = json!({"type": "thinking", "thinking": "secret", "signature": "SIGNED"});
    let first = anthropic(&[(thinking, vec![]), (call, vec![])], "tool_use");
    let server = Server::start(vec![
        Reply::Stream(first),
        Reply::Stream(openai(&[json!({"content": "ok"})], "stop")),
    ])
    .await;
    let mut request = request();
    let items = collect(server.model(Provider::Anthropic).stream(request.clone())).await;
    let done = completion(&items);
    assert!(!done.opaque.is_null());
    request.messages.push(assistant(done));
    request.messages.push(result(&done.calls[0], "ok"));
    collect(server.model(Provider::OpenAi).stream(request)).await;
    let body = server.body(1).to_string();
    assert!(!body.contains("SIGNED") && !body.contains("secret"), "{body}");
}

#[tokio::test]
async fn anthropic_errors_inside_the_stream_have_their_class() {
    let body = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\
                \"message\":\"Overloaded\"}}\n\n";
    let server = Server::start(vec![Reply::Stream(body.to_owned())]).await;
    let items = collect(server.model(Provider::Anthropic).stream(request())).await;
    assert_eq!(failure(&items).class, Class::Server);
    assert!(failure(&items).message.contains("Overloaded"));
}

#[tokio::test]
async fn ollama_speaks_its_own_protocol_beside_v1() {
    let lines = [
        json!({"message": {"role": "assistant", "content": "Hel"}, "done": false}),
        json!({"message": {"content": "lo", "tool_calls": [{"function":
            {"name": "terminal", "arguments": {"command": "ls"}}}]}, "done": false}),
        json!({"message": {"content": ""}, "done": true, "done_reason": "stop",
            "prompt_eval_count": 9, "eval_count": 4}),
    ];
    let body = lines.iter().map(|line| format!("{line}\n")).collect::<Vec<_>>().concat();
    let server = Server::start(vec![Reply::Stream(body)]).await;
    let items = collect(server.model(Provider::Ollama).stream(request())).await;
    let done = completion(&items);
    assert_eq!((done.text.as_str(), done.stop), ("Hello", Stop::Calls));
    assert_eq!(done.calls[0].args, json!({"command": "ls"}));
    assert_eq!(done.usage.map(|u| (u.prompt, u.completion)), Some((9, 4)));
    assert_eq!(server.seen.lock().unwrap()[0].0, "/api/chat");
}

#[tokio::test]
async fn gemini_text_calls_and_signatures_arrive_and_go_back() {
    let event = |parts: Value, finish: Option<&str>| {
        let mut candidate = json!({"content": {"role": "model", "parts": parts}});
        if let Some(finish) = finish {
            candidate["finishReason"] = json!(finish);
        }
        let usage = json!({"promptTokenCount": 7, "candidatesTokenCount": 3});
        format!("data: {}\n\n", json!({"candidates": [candidate], "usageMetadata": usage}))
    };
    let call = json!([{"functionCall": {"name": "terminal", "args": {"command": "ls"}},
        "thoughtSignature": "SIGNED"}]);
    let first = event(json!([{"text": "Looking."}]), None) + &event(call, Some("STOP"));
    let second = event(json!([{"text": "Done."}]), Some("STOP"));
    let server = Server::start(vec![Reply::Stream(first), Reply::Stream(second)]).await;
    let model = server.model(Provider::Gemini);
    let mut request = request();
    let items = collect(model.stream(request.clone())).await;
    let done = completion(&items);
    assert_eq!((done.text.as_str(), done.stop), ("Looking.", Stop::Calls));
    assert_eq!(done.usage.map(|u| (u.prompt, u.completion)), Some((7, 3)));
    request.messages.push(assistant(done));
    request.messages.push(result(&done.calls[0], "{\"exit_code\":0}"));
    let items = collect(model.stream(request)).await;
    assert_eq!(completion(&items).text, "Done.");
    let contents = server.body(1)["contents"].to_string();
    assert_eq!(contents.matches("SIGNED").count(), 1, "{contents}");
    assert!(contents.contains("functionResponse"), "{contents}");
}
