//! The compression of a session over the WebUI protocol: started by one request, polled by others.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::json;

use super::change::open_named;
use super::still_streaming;
use crate::serve::client_state::Compression;
use crate::serve::{ApiError, JsonBody, QueryParams, ServerState, ok_json};
use protocol::{Body, Command, Event, SessionId, Subject, View};

pub(super) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/api/session/compress/start", post(start))
        .route("/api/session/compress/status", get(status))
}

async fn start(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let mut view = open_named(&server, &body).await?;
    let focus = body.text("focus_topic").or_else(|| body.text("topic")).map(str::to_owned);
    let id = view.transcript.session.clone();
    if view.transcript.running.is_some() {
        return Err(still_streaming());
    }
    server.client_state.set_compression(id.clone(), Compression::Running);
    let started = |event: &Event| matches!(event, Event::TurnStarted { .. }).then_some(());
    if let Err(error) = view.request(Command::Compress { focus }, started).await {
        let why = error.body["error"].as_str().unwrap_or_default().to_owned();
        server.client_state.set_compression(id.clone(), Compression::Failed(why));
        return Ok(response(&server, &id));
    }
    let (client_state, view, session) = (server.client_state.clone(), view.into_view(), id.clone());
    tokio::spawn(async move {
        client_state.set_compression(session, result(view).await);
    });
    Ok(response(&server, &id))
}

/// Waits for the end of the turn that compresses.
async fn result(mut view: View) -> Compression {
    let mut result = Compression::Failed("the context was not compressed".to_owned());
    while let Some(event) = view.next().await {
        match event {
            Event::RowAdded { row } if matches!(row.body, Body::Summary(_)) => {
                result = Compression::Done;
            }
            Event::Failed(failure)
                if failure.about == Subject::Compress && result != Compression::Done =>
            {
                result = Compression::Failed(failure.message);
            }
            Event::TurnEnded { .. } => break,
            _ => {}
        }
    }
    result
}

async fn status(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let id = params.get("session_id");
    let id = id.ok_or_else(|| ApiError::bad_request("session_id is required"))?;
    Ok(response(&server, &SessionId(id.to_owned())))
}

/// The state of the last compression of a session.
fn response(server: &ServerState, id: &SessionId) -> Response {
    let (status, error) = match server.client_state.compression(id) {
        None => ("idle", None),
        Some(Compression::Running) => ("running", None),
        Some(Compression::Done) => ("done", None),
        Some(Compression::Failed(why)) => ("error", Some(why)),
    };
    let mut body = json!({ "ok": error.is_none(), "status": status, "session_id": id });
    if let Some(error) = error {
        body["error"] = json!(error);
        body["error_status"] = json!(400);
    }
    ok_json(&body)
}
