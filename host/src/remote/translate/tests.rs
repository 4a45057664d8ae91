//! A view is fed what a real server said (`tests/data/captures`), whole, cut, and mixed with what no
//! server has said yet; and the rules one by one.

mod captures;
mod questions;
mod queue;
mod rules;

use serde_json::{Value, json};

use super::*;
use protocol::Source;

/// A time.
const NOW: Millis = 1_795_252_000_000;

/// A frame as the parser gives it.
#[derive(Clone, Debug)]
struct Frame {
    id: Option<String>,
    name: String,
    data: Value,
}

fn frame(id: Option<&str>, name: &str, data: Value) -> Frame {
    Frame { id: id.map(str::to_owned), name: name.to_owned(), data }
}

fn session(value: Value) -> decode::Session {
    decode::read(value)
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text, "timestamp": 1_795_251_862.0})
}

fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "content": text, "finish_reason": "stop", "timestamp": 1_795_251_863.0})
}

/// A session at rest.
fn at_rest(messages: &[Value]) -> decode::Session {
    session(json!({
        "session_id": "s1", "title": "T", "model": "m", "workspace": "/w",
        "message_count": messages.len(), "messages": messages, "_messages_offset": 0,
        "user_message_count": messages.iter().filter(|m| m["role"] == "user").count(),
    }))
}

/// The same with a turn under way.
fn busy(messages: &[Value], prompt: &str, stream: &str) -> decode::Session {
    decode::Session {
        active_stream_id: Some(stream.to_owned()),
        is_streaming: true,
        pending_user_message: Some(prompt.to_owned()),
        pending_started_at: 1_795_251_870_500,
        pending_user_source: Some("webui".to_owned()),
        ..at_rest(messages)
    }
}

/// A view and the front end it feeds.
#[derive(Default)]
struct Harness {
    mirror: Mirror,
    /// The fold of the events by a front end.
    fold: Transcript,
    events: Vec<Event>,
    requests: Vec<Request>,
}

impl Harness {
    fn on(session: &decode::Session) -> Self {
        let mut view = Self::default();
        view.mirror.loaded(session, NOW);
        view.settle();
        view
    }

    fn settle(&mut self) {
        let out = self.mirror.take_output();
        for event in &out.events {
            self.fold.apply(event);
        }
        self.events.extend(out.events);
        self.requests.extend(out.requests);
        assert_eq!(self.fold, *self.mirror.view(), "a front end sees something else");
    }

    fn chat(&mut self, frame: &Frame) {
        self.mirror.chat(&frame.name, frame.data.clone(), frame.id.as_deref(), NOW);
        self.settle();
    }

    fn chat_event(&mut self, name: &str, data: Value) {
        self.chat(&frame(None, name, data));
    }

    fn channel(&mut self, name: &str, data: Value) {
        self.mirror.channel(name, data);
        self.settle();
    }

    fn load(&mut self, session: &decode::Session) {
        self.mirror.loaded(session, NOW);
        self.settle();
    }

    fn prompt(&mut self, id: &str, text: &str) {
        self.mirror.prompt(PromptId(id.to_owned()), text.to_owned());
        self.settle();
    }

    fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// What is on the screen, in short.
    fn rows(&self) -> Vec<String> {
        self.fold.rows.iter().map(short).collect()
    }
}

fn short(row: &Row) -> String {
    match &row.body {
        Body::User { text } => format!("user {text}"),
        Body::Wakeup(wakeup) => format!("wakeup {}", wakeup.process),
        Body::Assistant(answer) => {
            let calls: Vec<_> = answer.calls.iter().map(|call| call.id.0.as_str()).collect();
            format!("said {:?} {calls:?} {:?}", answer.text, answer.stop)
        }
        Body::Tool(result) => format!("result {}", result.call),
        Body::Failure { message } => format!("failure {message}"),
        Body::Note { text } => format!("note {text}"),
        Body::Summary(_) => "summary".to_owned(),
    }
}
