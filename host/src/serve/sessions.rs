//! Sessions over the WebUI protocol: lists, search, windows and status. Changes: [`change`],
//! [`compress`], [`cut`], [`goal`].

mod change;
mod compress;
mod cut;
mod export;
mod goal;

pub(super) use change::{model_name, require};

use axum::Router;
use std::path::Path;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::request_view::{RequestView, list_item, with_server_state};
use super::{ApiError, QueryParams, ServerState, ok_json};
use crate::clock::now;
use crate::store::{Error, Reader};
use crate::wire::encode::seconds;
use crate::wire::encode::session::{
    MOST_MESSAGES, head, rows_before_output, settled, with_messages,
};
use protocol::{Command, Event, Found, Row, SessionId, SessionRow, Transcript, TurnId};

/// Most messages of a session in one response without a limit in the request.
const MAX_MESSAGES: usize = 10_000;

pub(super) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/api/sessions", get(list))
        .route("/api/sessions/search", get(search))
        .route("/api/session", get(load))
        .route("/api/session/status", get(status))
        .route("/api/session/usage", get(usage))
        .merge(export::routes())
        .merge(change::routes())
        .merge(compress::routes())
        .merge(cut::routes())
        .merge(goal::routes())
}

/// A flag in a query.
fn is_on(params: &QueryParams, key: &str) -> bool {
    params.get(key).is_some_and(|value| matches!(value, "1" | "true" | "yes" | "on"))
}

/// A count in a query.
fn count(params: &QueryParams, key: &str) -> Option<usize> {
    params.get(key)?.parse().ok()
}

async fn list(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let all = RequestView::open_new(&server).await?.list_sessions().await?;
    let include_archived = is_on(&params, "include_archived");
    let (archived, mut shown): (Vec<_>, Vec<_>) = all.into_iter().partition(|row| row.archived);
    let archived_count = archived.len();
    let total = shown.len();
    if include_archived {
        let offset = count(&params, "archived_offset").unwrap_or(0);
        let limit = count(&params, "archived_limit").unwrap_or(usize::MAX);
        shown.extend(archived.into_iter().skip(offset).take(limit));
    }
    // All sessions of this host are its own: in that sense none is of the command line.
    if params.get("sidebar_source") == Some("cli") {
        shown.clear();
    }
    Ok(ok_json(&json!({
        "sessions": shown.iter().map(|row| list_item(&server, row)).collect::<Vec<_>>(),
        "sidebar_reference_sessions": [],
        "cli_count": 0,
        "archived_count": archived_count,
        "archived_webui_count": archived_count,
        "archived_cli_count": 0,
        "include_archived": include_archived,
        "all_profiles": is_on(&params, "all_profiles"),
        "active_profile": "default",
        "other_profile_count": 0,
        "server_time": seconds(now()),
        "server_tz": jiff::Zoned::now().strftime("%z").to_string(),
        "webui_session_count": total,
        "cli_session_count": 0,
    })))
}

async fn search(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let query = params.get("q").unwrap_or_default().to_owned();
    let mut view = RequestView::open_new(&server).await?;
    let rows = view.list_sessions().await?;
    let sessions: Vec<Value> = if query.is_empty() {
        rows.iter().map(|row| list_item(&server, row)).collect()
    } else {
        let content = params.get("content").is_none() || is_on(&params, "content");
        let command = Command::Search { query: query.clone() };
        let hits = view
            .request(command, |event| match event {
                Event::SessionsFound { query: of, found } if *of == query => Some(found.clone()),
                _ => None,
            })
            .await?;
        hits.iter().filter_map(|hit| search_item(&server, &rows, hit, &query, content)).collect()
    };
    Ok(ok_json(&json!({
        "count": sessions.len(),
        "sessions": sessions,
        "query": query,
        "all_profiles": false,
        "active_profile": "default",
    })))
}

/// The object of a search hit; `None` if only its messages match and `content` is false.
fn search_item(
    server: &ServerState,
    rows: &[SessionRow],
    hit: &Found,
    query: &str,
    content: bool,
) -> Option<Value> {
    let row = rows.iter().find(|row| row.id == hit.session)?;
    let title = hit.title.to_lowercase();
    let in_title = query.split_whitespace().all(|word| title.contains(&word.to_lowercase()));
    if !in_title && !content {
        return None;
    }
    let mut object = list_item(server, row);
    object["match_type"] = json!(if in_title { "title" } else { "content" });
    if let Some(excerpt) = hit.excerpt.as_ref().filter(|_| !in_title) {
        object["match_preview"] = json!(excerpt);
    }
    Some(object)
}

async fn load(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let id =
        params.get("session_id").ok_or_else(|| ApiError::bad_request("session_id is required"))?;
    let mut view = RequestView::open(&server, id).await?;
    let row = view.list_row().await?;
    let transcript = &view.transcript;
    let (rows, earlier) = if params.get("messages") == Some("0") {
        (Vec::new(), 0)
    } else {
        let limit = match count(&params, "msg_limit") {
            Some(limit) => limit.clamp(1, MOST_MESSAGES),
            None if params.get("msg_before").is_some() => MOST_MESSAGES,
            None => MAX_MESSAGES,
        };
        // Rows are numbered from 1 without gaps, messages from 0.
        let end = count(&params, "msg_before")
            .map_or(u64::MAX, |before| (before as u64).saturating_add(1));
        page(&server, transcript, end, limit).await?
    };
    let object = with_messages(head(transcript, row.as_ref()), &rows, earlier);
    let object = with_server_state(&server, object, transcript);
    Ok(ok_json(&json!({ "session": object })))
}

/// The last `limit` settled rows before row `end`, and the number of rows before them: from the
/// window, and from the store what is older than that.
async fn page(
    server: &ServerState,
    transcript: &Transcript,
    end: u64,
    limit: usize,
) -> Result<(Vec<Row>, u64), ApiError> {
    let known = settled(transcript);
    let upto = known.partition_point(|row| row.n < end);
    let from = upto.saturating_sub(limit);
    let mut rows = known.get(from..upto).unwrap_or_default().to_vec();
    let missing = limit - rows.len();
    if missing == 0 || transcript.earlier == 0 {
        return Ok((rows, from as u64 + transcript.earlier));
    }
    let (state, id) = (server.host.state().to_owned(), transcript.session.clone());
    let running = transcript.running.as_ref().map(|running| running.turn);
    let end = transcript.rows.first().map_or(end, |row| row.n.min(end));
    let read = tokio::task::spawn_blocking(move || older(&state, &id, running, end, missing));
    let read = read.await.map_err(|error| error.to_string());
    let (mut older, before) =
        read.and_then(|read| read.map_err(|error| error.to_string())).map_err(|error| {
            tracing::error!("a page of messages could not be read: {error}");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the messages cannot be read")
        })?;
    older.append(&mut rows);
    Ok((older, before))
}

/// Stored rows before row `end`, and the number of rows before them. A window may lie wholly in a
/// long running turn: then the earlier output of that turn is skipped.
fn older(
    state: &Path,
    id: &SessionId,
    running: Option<TurnId>,
    mut end: u64,
    limit: usize,
) -> Result<(Vec<Row>, u64), Error> {
    let reader = Reader::open(state)?;
    loop {
        let (rows, before) = reader.page(id, end, limit)?;
        let settled = rows_before_output(&rows, running).len();
        match rows.first() {
            Some(first) if settled == 0 && before > 0 => end = first.n,
            Some(_) | None => return Ok((rows.into_iter().take(settled).collect(), before)),
        }
    }
}

async fn status(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let mut view = named(&server, &params).await?;
    let session = view.head(&server).await?;
    let mut status = pick(
        &session,
        &[
            "session_id",
            "title",
            "model",
            "profile",
            "workspace",
            "personality",
            "message_count",
            "created_at",
            "updated_at",
            "active_stream_id",
            "input_tokens",
            "output_tokens",
            "total_tokens",
            "estimated_cost",
        ],
    );
    status["hermes_home"] = Value::Null;
    status["agent_running"] = json!(view.transcript.running.is_some());
    Ok(ok_json(&status))
}

async fn usage(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let mut view = named(&server, &params).await?;
    let session = view.head(&server).await?;
    let mut usage = pick(
        &session,
        &[
            "input_tokens",
            "output_tokens",
            "total_tokens",
            "cache_read_tokens",
            "cache_write_tokens",
            "cache_hit_percent",
            "estimated_cost",
            "model",
        ],
    );
    usage["last_prompt_tokens"] = json!(view.transcript.gauge.used);
    usage["context_length"] = json!(view.transcript.gauge.length);
    Ok(ok_json(&usage))
}

/// The error of a change that no running turn may see.
fn still_streaming() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "Session is still streaming; wait for the current turn to finish.",
    )
}

/// A view of the session that a query names.
async fn named(server: &ServerState, params: &QueryParams) -> Result<RequestView, ApiError> {
    let id = params.get("session_id").ok_or_else(|| ApiError::bad_request("Missing session_id"))?;
    RequestView::open(server, id).await
}

/// An object of these members only.
fn pick(object: &Value, keys: &[&str]) -> Value {
    let member = |key: &&str| ((*key).to_owned(), object.get(*key).cloned().unwrap_or_default());
    Value::Object(keys.iter().map(member).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, Meta, Record, Store};
    use protocol::{Assistant, Body};

    #[test]
    fn a_page_before_a_window_inside_a_turn_skips_its_output() {
        let dir = tempfile::tempdir().unwrap();
        let id = SessionId("20261121_090700_abcdef".to_owned());
        let (reports, _kept) = tokio::sync::mpsc::unbounded_channel();
        let store = Store::open(dir.path(), reports).unwrap();
        let body = |n: u64| match n {
            1 | 3 => Body::User { text: format!("prompt {n}") },
            _ => Body::Assistant(Assistant::default()),
        };
        // Turn 1 has rows 1 and 2; turn 2 runs and has written rows 4 to 30.
        let row = |n: u64| Row {
            n,
            turn: TurnId(if n < 3 { 1 } else { 2 }),
            at: 0,
            cut: 0,
            body: body(n),
        };
        let added = (1..=30).map(|n| Record::Row { session: id.clone(), row: row(n) });
        let meta = Record::Session(Meta { id: id.clone(), ..Meta::default() });
        store.write(std::iter::once(meta).chain(added).collect(), Durability::Barrier);
        store.close().unwrap();
        let numbers = |running, end, limit| {
            let (rows, before) = older(dir.path(), &id, running, end, limit).unwrap();
            (rows.iter().map(|row| row.n).collect::<Vec<_>>(), before)
        };
        let running = Some(TurnId(2));
        assert_eq!(numbers(running, 25, 100), (vec![1, 2, 3], 0));
        assert_eq!(numbers(running, 25, 5), (vec![1, 2, 3], 0));
        assert_eq!(numbers(running, 25, 2), (vec![3], 2));
        assert_eq!(numbers(running, 3, 5), (vec![1, 2], 0));
        assert_eq!(numbers(None, 25, 5), (vec![20, 21, 22, 23, 24], 19));
    }
}
