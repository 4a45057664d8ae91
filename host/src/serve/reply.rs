//! How requests are read and answers written: JSON in the shape of the WebUI.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// A request that is not carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Its status.
    pub status: StatusCode,
    /// Its body: `error` is for people, other keys for clients.
    pub body: Value,
}

impl Refusal {
    /// A refusal that says why.
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        let error: String = error.into();
        Self { status, body: json!({ "error": error }) }
    }

    /// 400.
    pub(crate) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// 404.
    pub(crate) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// With a further key in its body.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        if let Value::Object(body) = &mut self.body {
            body.insert(key.to_owned(), value.into());
        }
        self
    }
}

/// 400: these keys are missing in the body.
pub(crate) fn missing(keys: &str) -> Refusal {
    Refusal::bad(format!("Missing required field(s): {keys}"))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, answer(&self.body)).into_response()
    }
}

/// An answer of 200.
pub(crate) fn answer(body: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body.to_string()).into_response()
}

/// The body of a request. What is no JSON object reads as an empty one, so that the answer names
/// what is missing, as the WebUI's does.
#[derive(Clone, Debug)]
pub(crate) struct Body(pub(crate) Value);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let status = rejection.status();
            let error = match status {
                StatusCode::PAYLOAD_TOO_LARGE => "Request body too large",
                _ => "The request body could not be read",
            };
            Refusal::new(status, error)
        })?;
        let value = serde_json::from_slice(&bytes).ok().filter(Value::is_object);
        let value = value.unwrap_or_else(|| Value::Object(Map::new()));
        bounded(&value)?;
        Ok(Self(value))
    }
}

/// Longest id, in bytes. Some are remembered, so none may be long.
const ID: usize = 256;
/// Longest name, path or word, in bytes.
const NAME: usize = 4096;
/// Members that hold what somebody has written, or a file: as long as a body may be.
const WRITTEN: [&str; 14] = [
    "answer",
    "args",
    "choice",
    "content",
    "data",
    "focus",
    "focus_topic",
    "message",
    "prompt",
    "query",
    "question",
    "response",
    "text",
    "topic",
];

/// Refuses ids and names in an object from the wire that are longer than any can be.
pub(crate) fn bounded(object: &Value) -> Result<(), Refusal> {
    for (key, value) in object.as_object().into_iter().flatten() {
        let most = match key.as_str() {
            "id" | "session" => ID,
            id if id.ends_with("_id") => ID,
            written if WRITTEN.contains(&written) => continue,
            _ => NAME,
        };
        if value.as_str().is_some_and(|text| text.len() > most) {
            let key: String = key.chars().take(40).collect();
            return Err(Refusal::bad(format!("{key} is too long: {most} bytes are the most")));
        }
    }
    Ok(())
}

impl Body {
    /// A text of the body, trimmed; `None` if it is not there, empty or no text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
    }
}

/// The query of a request. What cannot be read is not there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        Ok(Self(pairs.map(|Query(pairs)| pairs.into_iter().collect()).unwrap_or_default()))
    }
}

impl Params {
    /// A value, trimmed; `None` if it is not there or empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}
