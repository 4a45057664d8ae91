//! The truncation of a session over the WebUI protocol: all rows after some row removed, or all.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

use super::change::{open_named, require, rows, set_title};
use super::{page, still_streaming};
use crate::serve::request_view::RequestView;
use crate::serve::{ApiError, JsonBody, ServerState, ok_json};
use crate::wire::encode::session::with_messages;
use protocol::{Command, Event};

pub(super) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/api/session/truncate", post(truncate))
        .route("/api/session/clear", post(clear))
}

/// The number of messages to keep.
fn keep_count(body: &JsonBody) -> Result<u64, ApiError> {
    let not_integer = || ApiError::bad_request("keep_count must be an integer");
    let count = match body.0.get("keep_count") {
        None | Some(Value::Null) => {
            return Err(ApiError::bad_request("Missing required field(s): keep_count"));
        }
        Some(Value::Number(number)) => number.as_i64().ok_or_else(not_integer)?,
        Some(Value::String(text)) => text.trim().parse().map_err(|_| not_integer())?,
        Some(_) => return Err(not_integer()),
    };
    u64::try_from(count).map_err(|_| ApiError::bad_request("keep_count must be non-negative"))
}

/// Keeps the first `count` rows; each row is a message.
async fn truncate_to(view: &mut RequestView, count: u64) -> Result<(), ApiError> {
    if view.transcript.running.is_some() {
        return Err(still_streaming());
    }
    if rows(view) <= count {
        return Ok(());
    }
    let removed = |event: &Event| matches!(event, Event::RowsRemoved { .. }).then_some(());
    view.request(Command::Truncate { after: count }, removed).await
}

async fn truncate(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    require(&body, ["session_id"])?;
    let count = keep_count(&body)?;
    let mut view = open_named(&server, &body).await?;
    truncate_to(&mut view, count).await?;
    let head = view.head(&server).await?;
    // A window that was emptied has been filled with older rows by now.
    let (rows, earlier) = page(&server, &view.transcript, u64::MAX, super::MAX_MESSAGES).await?;
    Ok(ok_json(&json!({ "ok": true, "session": with_messages(head, &rows, earlier) })))
}

async fn clear(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let [id] = require(&body, ["session_id"])?;
    let mut view = RequestView::open(&server, &id).await?;
    truncate_to(&mut view, 0).await?;
    set_title(&mut view, String::new()).await?;
    Ok(ok_json(&json!({ "ok": true, "session": view.head(&server).await? })))
}
