//! Rows of a session taken back over the WebUI protocol: all after some row, or all.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

use super::change::{require, rows, set_title, view_of};
use super::page;
use crate::serve::ask::{self, RequestView};
use crate::serve::{Body, Refusal, Serving, answer};
use crate::wire::encode::session::with_messages;
use protocol::{Command, Event};

pub(super) fn routes() -> Router<Serving> {
    Router::new()
        .route("/api/session/truncate", post(truncate))
        .route("/api/session/clear", post(clear))
}

/// How many messages are to stay.
fn keep_count(body: &Body) -> Result<u64, Refusal> {
    let whole = || Refusal::bad("keep_count must be an integer");
    let count = match body.0.get("keep_count") {
        None | Some(Value::Null) => {
            return Err(Refusal::bad("Missing required field(s): keep_count"));
        }
        Some(Value::Number(number)) => number.as_i64().ok_or_else(whole)?,
        Some(Value::String(text)) => text.trim().parse().map_err(|_| whole())?,
        Some(_) => return Err(whole()),
    };
    u64::try_from(count).map_err(|_| Refusal::bad("keep_count must be non-negative"))
}

/// Leaves so many rows, which are messages one each.
async fn keep(view: &mut RequestView, count: u64) -> Result<(), Refusal> {
    if view.transcript.running.is_some() {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "Session is still streaming; wait for the current turn to finish.",
        ));
    }
    if rows(view) <= count {
        return Ok(());
    }
    let removed = |event: &Event| matches!(event, Event::RowsRemoved { .. }).then_some(());
    view.ask(Command::Truncate { after: count }, removed).await
}

async fn truncate(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    require(&body, ["session_id"])?;
    let count = keep_count(&body)?;
    let mut view = view_of(&serving, &body).await?;
    keep(&mut view, count).await?;
    let head = view.head(&serving).await?;
    // A window that was emptied has been filled with what is older by now.
    let (rows, earlier) = page(&serving, &view.transcript, u64::MAX, super::ALL).await?;
    Ok(answer(&json!({ "ok": true, "session": with_messages(head, &rows, earlier) })))
}

async fn clear(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let [id] = require(&body, ["session_id"])?;
    let mut view = ask::open(&serving, &id).await?;
    keep(&mut view, 0).await?;
    set_title(&mut view, String::new()).await?;
    Ok(answer(&json!({ "ok": true, "session": view.head(&serving).await? })))
}
