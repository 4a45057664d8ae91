//! Changes of a session over the WebUI protocol: created, renamed, marked, copied, deleted, undone,
//! and its settings and draft.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::named;
use crate::embedded::Attendance;
use crate::model::catalog;
use crate::serve::request_view::{RequestView, with_server_state};
use crate::serve::{ApiError, JsonBody, QueryParams, ServerState, ok_json, projects};
use crate::settings::Settings;
use crate::wire::encode::session::{head, with_messages};
use protocol::{Body, Command, Event, SessionId};

/// Longest draft that is kept, in bytes of JSON.
const MAX_DRAFT: usize = 256 * 1024;

pub(super) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/api/session/new", post(new))
        .route("/api/session/rename", post(rename))
        .route("/api/session/pin", post(pin))
        .route("/api/session/archive", post(archive))
        .route("/api/session/delete", post(delete))
        .route("/api/session/duplicate", post(duplicate))
        .route("/api/session/branch", post(branch))
        .route("/api/session/undo", post(undo))
        .route("/api/session/retry", post(retry))
        .route("/api/session/update", post(update))
        .route("/api/session/toolsets", post(toolsets))
        .route("/api/session/draft", get(draft).post(keep_draft))
        .route("/api/session/yolo", get(yolo).post(set_yolo))
}

/// The texts of these members, or 400 with the names of those that are missing.
pub(in crate::serve) fn require<const N: usize>(
    body: &JsonBody,
    keys: [&str; N],
) -> Result<[String; N], ApiError> {
    let missing: Vec<&str> = keys.into_iter().filter(|key| body.text(key).is_none()).collect();
    if missing.is_empty() {
        Ok(keys.map(|key| body.text(key).unwrap_or_default().to_owned()))
    } else {
        Err(crate::serve::missing_fields(&missing.join(", ")))
    }
}

/// A view of the session that a body names.
pub(super) async fn open_named(
    server: &ServerState,
    body: &JsonBody,
) -> Result<RequestView, ApiError> {
    let [id] = require(body, ["session_id"])?;
    RequestView::open(server, &id).await
}

/// A flag of a body; an absent one is on.
fn is_on(body: &JsonBody, key: &str) -> bool {
    body.0.get(key).and_then(Value::as_bool).unwrap_or(true)
}

/// The host's name of a model, from a name and a provider of that protocol.
pub(in crate::serve) fn model_name(
    settings: &Settings,
    model: &str,
    provider: Option<&str>,
) -> String {
    let own = catalog::provider_name(settings.model.provider);
    let known = catalog::select(&settings.model, model).is_ok();
    match provider {
        Some(provider) if !known || (provider != own && !model.contains('/')) => {
            let named = format!("{provider}/{model}");
            // A client may name a provider that this host does not know.
            if catalog::select(&settings.model, &named).is_ok() { named } else { model.to_owned() }
        }
        Some(_) | None => model.to_owned(),
    }
}

async fn set_model(view: &mut RequestView, model: String) -> Result<(), ApiError> {
    if view.transcript.model == model {
        return Ok(());
    }
    let set = |event: &Event| matches!(event, Event::ModelChanged { .. }).then_some(());
    view.request(Command::SetModel { model }, set).await
}

async fn set_cwd(view: &mut RequestView, cwd: String) -> Result<(), ApiError> {
    if view.transcript.cwd == cwd {
        return Ok(());
    }
    let set = |event: &Event| matches!(event, Event::CwdChanged { .. }).then_some(());
    view.request(Command::SetCwd { cwd }, set).await
}

async fn new(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let profile = body.text("profile").filter(|profile| *profile != "default");
    if let Some(profile) = profile {
        return Err(ApiError::bad_request(format!("this host has no profile {profile}")));
    }
    let toolsets = parse_toolsets(body.0.get("enabled_toolsets"))?;
    let mut view = RequestView::open_new(&server).await?;
    set_toolsets(&mut view, toolsets).await?;
    if let Some(cwd) = body.text("workspace") {
        set_cwd(&mut view, cwd.to_owned()).await?;
    }
    if let Some(model) = body.text("model") {
        let model = model_name(&server.settings, model, body.text("model_provider"));
        set_model(&mut view, model).await?;
    }
    if let Some(project) = body.text("project_id") {
        projects::move_to(&server, view.transcript.session.clone(), Some(project)).await?;
    }
    let session = with_messages(head(&view.transcript, None), &[], 0);
    let session = with_server_state(&server, session, &view.transcript);
    if !server.client_state.hold_new(view.into_view()) {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many new sessions wait for their first prompt",
        ));
    }
    Ok(ok_json(&json!({ "session": session })))
}

async fn rename(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let [id, title] = require(&body, ["session_id", "title"])?;
    let mut view = RequestView::open(&server, &id).await?;
    set_title(&mut view, title).await?;
    Ok(ok_json(&json!({ "session": view.head(&server).await? })))
}

pub(super) async fn set_title(view: &mut RequestView, title: String) -> Result<(), ApiError> {
    if view.transcript.title.as_deref().unwrap_or_default() == title {
        return Ok(());
    }
    let set = |event: &Event| matches!(event, Event::TitleChanged { .. }).then_some(());
    view.request(Command::SetTitle { session: None, title }, set).await
}

async fn pin(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let pinned = is_on(&body, "pinned");
    let mut view = open_named(&server, &body).await?;
    view.send_until_listed(Command::Pin { session: None, pinned }, |row| row.pinned == pinned)
        .await?;
    marked(&server, view, "pinned", pinned).await
}

async fn archive(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let archived = is_on(&body, "archived");
    let mut view = open_named(&server, &body).await?;
    view.send_until_listed(Command::Archive { session: None, archived }, |row| {
        row.archived == archived
    })
    .await?;
    marked(&server, view, "archived", archived).await
}

/// The response with a mark; a session that is not stored yet is in no list to read it from.
async fn marked(
    server: &ServerState,
    mut view: RequestView,
    key: &str,
    value: bool,
) -> Result<Response, ApiError> {
    let mut session = view.head(server).await?;
    session[key] = json!(value);
    Ok(ok_json(&json!({ "ok": true, "session": session })))
}

async fn delete(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let [id] = require(&body, ["session_id"])?;
    let id = SessionId(id);
    let mut view = RequestView::open_new(&server).await?;
    view.send(Command::Delete { session: id.clone() });
    // The list is read after the command was carried out, so an error comes before it.
    match view.list_sessions().await {
        Ok(_) => {
            server.client_state.forget(&id);
            server.projects.forget(&id);
        }
        // Deleting twice is not an error.
        Err(_) if is_unknown(&server, &id).await => {}
        Err(error) => {
            return Err(ApiError { status: StatusCode::SERVICE_UNAVAILABLE, ..error });
        }
    }
    Ok(ok_json(&json!({ "ok": true, "state_db_cleanup_failed": false })))
}

async fn is_unknown(server: &ServerState, id: &SessionId) -> bool {
    let opened = server.host.open(id.clone(), Attendance::Attended).await;
    opened.is_err_and(|error| error.is_unknown())
}

/// Sends a command that copies the session and waits until the view shows the copy.
async fn copy(view: &mut RequestView, command: Command) -> Result<(), ApiError> {
    let from = view.transcript.session.clone();
    view.request(command, |event| match event {
        Event::Attached { transcript, .. } if transcript.session != from => Some(()),
        _ => None,
    })
    .await
}

async fn duplicate(
    State(server): State<ServerState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let mut view = open_named(&server, &body).await?;
    copy(&mut view, Command::Duplicate).await?;
    Ok(ok_json(&json!({ "session": view.head(&server).await? })))
}

async fn branch(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let keep = match body.0.get("keep_count") {
        None | Some(Value::Null) => None,
        Some(count) => {
            let count = count.as_u64().or_else(|| count.as_str()?.parse().ok());
            Some(count.ok_or_else(|| ApiError::bad_request("keep_count must be a whole number"))?)
        }
    };
    let mut view = open_named(&server, &body).await?;
    let parent = view.transcript.session.clone();
    copy(&mut view, Command::Branch).await?;
    // A branch ends where a turn ends: at the last such place that keeps at most `keep` rows.
    let mut count = rows(&view);
    while keep.is_some_and(|keep| count > keep) {
        count -= undo_turn(&mut view, count).await?.1;
    }
    if let Some(title) = body.text("title") {
        set_title(&mut view, title.to_owned()).await?;
    }
    let session = view.head(&server).await?;
    Ok(ok_json(&json!({
        "session_id": session["session_id"],
        "title": session["title"],
        "parent_session_id": parent,
    })))
}

pub(super) fn rows(view: &RequestView) -> u64 {
    view.transcript.earlier + view.transcript.rows.len() as u64
}

/// Undoes the last user turn of a session of `count` rows; returns its text and the number of rows
/// removed.
async fn undo_turn(view: &mut RequestView, count: u64) -> Result<(String, u64), ApiError> {
    let text = view.transcript.rows.iter().rev().find_map(|row| match &row.body {
        Body::User { text } => Some(text.clone()),
        _ => None,
    });
    // The window may hold fewer rows than are removed.
    let removed = |event: &Event| match event {
        Event::RowsRemoved { after } => Some(*after),
        _ => None,
    };
    match view.request(Command::Undo, removed).await? {
        after if after < count => Ok((text.unwrap_or_default(), count - after)),
        _ => Err(ApiError::bad_request("nothing was undone")),
    }
}

/// That protocol reports a failed undo with status 200.
fn with_status_200(result: Result<Response, ApiError>) -> Result<Response, ApiError> {
    match result {
        Err(refusal) if refusal.status == StatusCode::BAD_REQUEST => Ok(ok_json(&refusal.body)),
        other => other,
    }
}

async fn undo(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let mut view = open_named(&server, &body).await?;
    let count = rows(&view);
    if count == 0 {
        return Ok(ok_json(&json!({ "error": "Nothing to undo." })));
    }
    let undone = undo_turn(&mut view, count).await.map(|(text, count)| {
        let preview: String = text.chars().take(40).collect();
        ok_json(&json!({ "ok": true, "removed_count": count, "removed_preview": preview }))
    });
    with_status_200(undone)
}

/// Undoes the last turn; the client sends its text again.
async fn retry(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let mut view = open_named(&server, &body).await?;
    let count = rows(&view);
    if count == 0 {
        return Ok(ok_json(&json!({ "error": "No previous message to retry." })));
    }
    let undone = undo_turn(&mut view, count).await.map(|(text, count)| {
        ok_json(&json!({ "ok": true, "last_user_text": text, "removed_count": count }))
    });
    with_status_200(undone)
}

async fn update(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let mut view = open_named(&server, &body).await?;
    if let Some(cwd) = body.text("workspace") {
        set_cwd(&mut view, cwd.to_owned()).await?;
    }
    if let Some(model) = body.text("model") {
        let model = model_name(&server.settings, model, body.text("model_provider"));
        set_model(&mut view, model).await?;
    }
    Ok(ok_json(&json!({ "session": view.head(&server).await? })))
}

/// The toolsets of a body: a list, or null for all.
fn parse_toolsets(value: Option<&Value>) -> Result<Option<Vec<String>>, ApiError> {
    let list = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(_) => return Err(ApiError::bad_request("toolsets must be a non-empty list or null")),
    };
    let name = |name: &Value| name.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    let names: Option<Vec<String>> = list.iter().map(name).collect();
    names.map(Some).ok_or_else(|| ApiError::bad_request("each toolset must be a non-empty string"))
}

async fn set_toolsets(
    view: &mut RequestView,
    toolsets: Option<Vec<String>>,
) -> Result<(), ApiError> {
    if view.transcript.toolsets == toolsets {
        return Ok(());
    }
    let set = |event: &Event| matches!(event, Event::ToolsetsChanged { .. }).then_some(());
    view.request(Command::SetToolsets { toolsets }, set).await
}

async fn toolsets(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    require(&body, ["session_id"])?;
    let toolsets = parse_toolsets(body.0.get("toolsets"))?;
    let mut view = open_named(&server, &body).await?;
    set_toolsets(&mut view, toolsets).await?;
    Ok(ok_json(&json!({ "ok": true, "enabled_toolsets": view.transcript.toolsets })))
}

async fn draft(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let id =
        params.get("session_id").ok_or_else(|| ApiError::bad_request("session_id is required"))?;
    let view = RequestView::open(&server, id).await?;
    Ok(ok_json(&json!({ "draft": server.client_state.draft(&view.transcript.session) })))
}

async fn keep_draft(
    State(server): State<ServerState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let view = open_named(&server, &body).await?;
    // Not trimmed: the user is still typing it.
    let text = body.0.get("text").and_then(Value::as_str).unwrap_or_default();
    let files = body.0.get("files").filter(|files| files.is_array());
    let files = files.cloned().unwrap_or_else(|| json!([]));
    let draft = json!({ "text": text, "files": files });
    // Drafts stay in memory.
    if draft.to_string().len() > MAX_DRAFT {
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "The draft is too long to keep"));
    }
    server.client_state.keep_draft(view.transcript.session, draft.clone());
    Ok(ok_json(&json!({ "ok": true, "draft": draft })))
}

async fn yolo(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let view = named(&server, &params).await?;
    Ok(ok_json(&json!({ "yolo_enabled": view.transcript.yolo })))
}

async fn set_yolo(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let yolo = is_on(&body, "enabled");
    let mut view = open_named(&server, &body).await?;
    if view.transcript.yolo != yolo {
        let set = |event: &Event| matches!(event, Event::YoloChanged { .. }).then_some(());
        view.request(Command::SetYolo { yolo }, set).await?;
    }
    Ok(ok_json(&json!({ "ok": true, "yolo_enabled": view.transcript.yolo })))
}
