//! How requests are read and responses written: JSON in the shapes of the WebUI protocol.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// A request that is not carried out: the status and body of its response.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The status.
    pub status: StatusCode,
    /// The body, an object: `error` is for people, other keys for clients.
    pub body: Value,
}

impl ApiError {
    /// An error with that message.
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        let error: String = error.into();
        Self { status, body: json!({ "error": error }) }
    }

    /// 400.
    pub(crate) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// 404.
    pub(crate) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// 503: the host is gone.
    pub(crate) fn host_stopped() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the host has stopped")
    }

    /// With a further key in the body.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        if let Value::Object(body) = &mut self.body {
            body.insert(key.to_owned(), value.into());
        }
        self
    }
}

/// 400: the body lacks these keys.
pub(crate) fn missing_fields(keys: &str) -> ApiError {
    ApiError::bad_request(format!("Missing required field(s): {keys}"))
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, ok_json(&self.body)).into_response()
    }
}

/// A response of 200.
pub(crate) fn ok_json(body: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body.to_string()).into_response()
}

/// The body of a request. What is not a JSON object reads as an empty one, so that the response
/// names the missing fields, as the WebUI's does.
#[derive(Clone, Debug)]
pub(crate) struct JsonBody(pub(crate) Value);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let status = rejection.status();
            let error = match status {
                StatusCode::PAYLOAD_TOO_LARGE => "Request body too large",
                _ => "The request body could not be read",
            };
            ApiError::new(status, error)
        })?;
        let value = serde_json::from_slice(&bytes).ok().filter(Value::is_object);
        let value = value.unwrap_or_else(|| Value::Object(Map::new()));
        check_lengths(&value)?;
        Ok(Self(value))
    }
}

/// Longest id, in bytes. Some are remembered, so none may be long.
const MAX_ID: usize = 256;
/// Longest name, path or word, in bytes.
const MAX_NAME: usize = 4096;
/// Members that hold free text or a file: as long as a body may be.
const UNBOUNDED: [&str; 14] = [
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

/// Refuses an object from the wire with an id or a name that is longer than any can be.
pub(crate) fn check_lengths(object: &Value) -> Result<(), ApiError> {
    for (key, value) in object.as_object().into_iter().flatten() {
        let most = match key.as_str() {
            "id" | "session" => MAX_ID,
            id if id.ends_with("_id") => MAX_ID,
            text if UNBOUNDED.contains(&text) => continue,
            _ => MAX_NAME,
        };
        if value.as_str().is_some_and(|text| text.len() > most) {
            let key: String = key.chars().take(40).collect();
            return Err(ApiError::bad_request(format!(
                "{key} is too long: at most {most} bytes are allowed"
            )));
        }
    }
    Ok(())
}

impl JsonBody {
    /// A text of the body, trimmed; `None` if it is absent, empty or not a text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
    }
}

/// The query of a request; one that cannot be parsed is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueryParams(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for QueryParams {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        Ok(Self(pairs.map(|Query(pairs)| pairs.into_iter().collect()).unwrap_or_default()))
    }
}

impl QueryParams {
    /// A value, trimmed; `None` if it is absent or empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}
