//! Models, commands, profiles and workspaces over the WebUI protocol.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::request_view::RequestView;
use super::sessions::model_name;
use super::{ApiError, JsonBody, QueryParams, ServerState, ok_json};
use crate::embedded::SessionDefault;
use crate::model::cached::Cached;
use crate::model::{EFFORTS, catalog};
use protocol::{Command, Event};

/// Most directories that are suggested.
const MAX_SUGGESTIONS: usize = 20;

pub(super) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/api/models", get(models))
        .route("/api/models/live", get(live_models))
        .route("/api/models/refresh", post(refresh_models))
        .route("/api/default-model", post(set_default_model))
        .route("/api/reasoning", get(reasoning).post(set_reasoning))
        .route("/api/commands", get(commands))
        .route("/api/commands/exec", post(run_command))
        .route("/api/profiles", get(profiles))
        .route("/api/profile/active", get(active_profile))
        .route("/api/profile/switch", post(switch_profile))
        .route("/api/personalities", get(personalities))
        .route("/api/personality/set", post(set_personality))
        .route("/api/workspaces", get(workspaces))
        .route("/api/workspaces/suggest", get(suggest))
        .route("/api/prompts", get(prompts))
}

/// A model that clients can choose.
struct OfferedModel {
    /// Its name in a session.
    id: String,
    /// Its name for people.
    label: String,
    /// The name of its provider.
    provider: &'static str,
}

/// The models that clients can choose, the configured one first, and the model of new sessions.
async fn offered_models(server: &ServerState) -> Result<(Vec<OfferedModel>, String), ApiError> {
    let mut view = RequestView::open_new(server).await?;
    let listed = |event: &Event| match event {
        Event::ModelsListed { models } => Some(models.clone()),
        _ => None,
    };
    let names = view.request(Command::ListModels, listed).await?;
    let own = &server.settings.model;
    let offered = names.into_iter().map(|name| match catalog::select(own, &name) {
        // Sessions that use the configured model name it so.
        Ok(model) if model == *own => OfferedModel {
            id: server.settings.model_name(),
            label: model.name,
            provider: catalog::provider_name(model.provider),
        },
        Ok(model) => OfferedModel {
            id: name,
            label: model.name,
            provider: catalog::provider_name(model.provider),
        },
        Err(_) => OfferedModel {
            id: name.clone(),
            label: name,
            provider: catalog::provider_name(own.provider),
        },
    });
    Ok((offered.collect(), view.transcript.model))
}

async fn models(State(server): State<ServerState>) -> Result<Response, ApiError> {
    let (offered, default) = offered_models(&server).await?;
    let own = provider_of(&server, &default);
    let mut groups: Vec<(&str, Vec<Value>)> = Vec::new();
    for offer in &offered {
        let model = json!({ "id": offer.id, "label": offer.label });
        match groups.iter_mut().find(|(provider, _)| *provider == offer.provider) {
            Some((_, models)) => models.push(model),
            None => groups.push((offer.provider, vec![model])),
        }
    }
    let groups = groups.into_iter().map(|(provider, models)| {
        json!({ "provider": provider, "provider_id": provider, "models": models })
    });
    let badge = json!({ "role": "primary", "label": "Primary", "provider": own });
    Ok(ok_json(&json!({
        "active_provider": own,
        "default_model": default,
        "configured_model_badges": { default: badge },
        "groups": groups.collect::<Vec<_>>(),
        "aliases": {},
    })))
}

async fn live_models(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let own = catalog::provider_name(server.settings.model.provider);
    let provider = params.get("provider").unwrap_or(own);
    let (offered, _) = offered_models(&server).await?;
    let models: Vec<Value> = offered
        .iter()
        .filter(|model| model.provider == provider)
        .map(|model| json!({ "id": model.id, "label": model.label }))
        .collect();
    Ok(ok_json(&json!({ "provider": provider, "count": models.len(), "models": models })))
}

async fn refresh_models(
    State(server): State<ServerState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let provider =
        body.text("provider").ok_or_else(|| ApiError::bad_request("provider is required"))?;
    Cached::forget(server.host.state()).map_err(|error| {
        tracing::error!("the cached list of models could not be removed: {error}");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the list of models cannot be refreshed")
    })?;
    Ok(ok_json(&json!({ "ok": true, "provider": provider.to_lowercase() })))
}

/// The provider of the model with that name.
pub(super) fn provider_of(server: &ServerState, model: &str) -> &'static str {
    let own = &server.settings.model;
    let provider = catalog::select(own, model).map_or(own.provider, |model| model.provider);
    catalog::provider_name(provider)
}

/// Sets the model of new sessions until this host ends. config.yaml is the user's: it is not
/// written.
async fn set_default_model(
    State(server): State<ServerState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let model = body.text("model").ok_or_else(|| ApiError::bad_request("model is required"))?;
    let provider = body.text("provider").filter(|name| !name.eq_ignore_ascii_case("auto"));
    let model = model_name(&server.settings, model, provider);
    let default = SessionDefault::Model(model.clone());
    server.host.set_default(default).await.map_err(ApiError::bad_request)?;
    let provider = provider_of(&server, &model);
    Ok(ok_json(&json!({
        "ok": true,
        "model": model,
        "provider": provider,
        "persisted": false,
        "message": "New sessions of this host use it. After a restart config.yaml applies.",
    })))
}

/// The reasoning effort of a session if one is named, else of new sessions.
async fn reasoning(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let view = match params.get("session_id") {
        Some(id) => RequestView::open(&server, id).await?,
        None => RequestView::open_new(&server).await?,
    };
    Ok(ok_json(&reasoning_status(view.transcript.reasoning.as_deref())))
}

fn reasoning_status(effort: Option<&str>) -> Value {
    json!({
        "show_reasoning": true,
        "reasoning_effort": effort.unwrap_or_default(),
        "supported_efforts": EFFORTS,
        "supports_reasoning_effort": true,
        "supports_thinking_toggle": false,
    })
}

async fn set_reasoning(
    State(server): State<ServerState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let Some(effort) = body.text("effort") else {
        return Err(ApiError::bad_request(
            "effort is required: what is shown is set in the client",
        ));
    };
    let effort = effort.to_lowercase();
    let effort = match effort.as_str() {
        "default" | "auto" => None,
        known if EFFORTS.contains(&known) => Some(effort),
        unknown => {
            let known = EFFORTS.join("|");
            return Err(ApiError::bad_request(format!("effort must be {known} (got '{unknown}')")));
        }
    };
    let Some(id) = body.text("session_id") else {
        let default = SessionDefault::Reasoning(effort.clone());
        server.host.set_default(default).await.map_err(ApiError::bad_request)?;
        return Ok(ok_json(&reasoning_status(effort.as_deref())));
    };
    let mut view = RequestView::open(&server, id).await?;
    if view.transcript.reasoning != effort {
        let set = |event: &Event| matches!(event, Event::ReasoningChanged { .. }).then_some(());
        view.request(Command::SetReasoning { effort }, set).await?;
    }
    Ok(ok_json(&reasoning_status(view.transcript.reasoning.as_deref())))
}

/// A slash command that makes sense over this protocol; clients carry it out. Name, description,
/// category, aliases, arguments.
type Slash = (&'static str, &'static str, &'static str, &'static [&'static str], &'static str);

const COMMANDS: [Slash; 20] = [
    ("new", "Start a new session", "Session", &["reset"], ""),
    ("resume", "Continue another session", "Session", &["sessions"], "[session]"),
    ("title", "Rename the session", "Session", &["rename"], "<title>"),
    ("branch", "Continue in a copy of the session", "Session", &["fork"], ""),
    ("undo", "Undo the last turn", "Session", &[], ""),
    ("retry", "Run the last prompt again", "Session", &[], ""),
    ("compress", "Replace older messages by a summary", "Session", &["compact"], "[focus]"),
    ("export", "Save the session as a document", "Session", &["save"], ""),
    ("stop", "Interrupt the running turn", "Turn", &["cancel"], ""),
    ("steer", "Send a remark to the running turn", "Turn", &[], "<text>"),
    ("queue", "Send a prompt after the running turn", "Turn", &[], "<text>"),
    ("goal", "Work on a goal turn by turn", "Turn", &[], "<text>|status|pause|resume|clear"),
    ("model", "Use another model", "Settings", &[], "<model>"),
    ("reasoning", "Set the reasoning effort", "Settings", &[], "<effort>"),
    ("yolo", "Run dangerous commands without asking", "Settings", &[], ""),
    ("workspace", "Work in another directory", "Settings", &["cwd"], "<directory>"),
    ("profile", "Show the profile", "Settings", &[], ""),
    ("status", "Show the state of the session", "Info", &[], ""),
    ("usage", "Show tokens", "Info", &[], ""),
    ("help", "Show the commands", "Info", &[], ""),
];

async fn commands() -> Response {
    let commands = COMMANDS.map(|(name, description, category, aliases, args)| {
        json!({
            "name": name,
            "description": description,
            "category": category,
            "aliases": aliases,
            "args_hint": args,
            "subcommands": [],
            "cli_only": false,
            "gateway_only": false,
        })
    });
    ok_json(&json!({ "commands": commands }))
}

/// There are no plugins: clients carry out the commands.
async fn run_command(body: JsonBody) -> ApiError {
    match body.text("command") {
        Some(_) => ApiError::not_found("Plugin command not found"),
        None => ApiError::bad_request("command is required"),
    }
}

/// The names of the profiles, and the active one.
async fn known_profiles(server: &ServerState) -> Result<(Vec<String>, String), ApiError> {
    let mut view = RequestView::open_new(server).await?;
    view.request(Command::ListProfiles, |event| match event {
        Event::ProfilesListed { names, active } => Some((names.clone(), active.clone())),
        _ => None,
    })
    .await
}

async fn profiles(State(server): State<ServerState>) -> Result<Response, ApiError> {
    let (names, active) = known_profiles(&server).await?;
    let provider = catalog::provider_name(server.settings.model.provider);
    let profiles: Vec<Value> = names
        .iter()
        .map(|name| {
            let is_active = *name == active;
            json!({
                "name": name,
                "path": null,
                "is_default": name == "default",
                "is_active": is_active,
                "gateway_running": false,
                "model": is_active.then(|| server.settings.model_name()),
                "provider": is_active.then_some(provider),
                "visible": true,
            })
        })
        .collect();
    let single = profiles.len() <= 1;
    Ok(ok_json(&json!({
        "profiles": profiles,
        "active": active,
        "single_profile_mode": single,
    })))
}

async fn active_profile(State(server): State<ServerState>) -> Result<Response, ApiError> {
    let (_, active) = known_profiles(&server).await?;
    Ok(ok_json(&json!({
        "name": active,
        "path": null,
        "is_default": active == "default",
        "default_workspace": server.settings.cwd.display().to_string(),
    })))
}

async fn switch_profile(
    State(server): State<ServerState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let name = body.text("name").ok_or_else(|| ApiError::bad_request("name is required"))?;
    let (names, active) = known_profiles(&server).await?;
    if !names.iter().any(|known| known == name) {
        return Err(ApiError::not_found(format!("Profile '{name}' does not exist")));
    }
    if name != active {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("this host runs the profile {active}; start another host for {name}"),
        ));
    }
    Ok(ok_json(&json!({ "ok": true, "active": active, "name": active })))
}

async fn personalities() -> Response {
    ok_json(&json!({ "personalities": [] }))
}

async fn set_personality(
    State(server): State<ServerState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let id = body
        .text("session_id")
        .ok_or_else(|| ApiError::bad_request("Missing required field(s): session_id"))?;
    let Some(name) = body.0.get("name").and_then(Value::as_str) else {
        return Err(ApiError::bad_request("Missing required field: name"));
    };
    RequestView::open(&server, id).await?;
    if name.trim().is_empty() {
        return Ok(ok_json(&json!({ "ok": true, "personality": null })));
    }
    Err(ApiError::not_found("this host has no personalities"))
}

async fn listed_workspaces(server: &ServerState) -> Result<Vec<String>, ApiError> {
    let mut view = RequestView::open_new(server).await?;
    view.request(Command::ListWorkspaces, |event| match event {
        Event::WorkspacesListed { paths } => Some(paths.clone()),
        _ => None,
    })
    .await
}

async fn workspaces(State(server): State<ServerState>) -> Result<Response, ApiError> {
    let own = server.settings.cwd.display().to_string();
    let mut paths = listed_workspaces(&server).await?;
    if !paths.contains(&own) {
        paths.push(own.clone());
    }
    let last = paths.first().cloned();
    let workspaces: Vec<Value> = paths
        .iter()
        .map(|path| {
            let name = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
            json!({ "path": path, "name": name.unwrap_or_else(|| path.clone()) })
        })
        .collect();
    Ok(ok_json(&json!({
        "workspaces": workspaces,
        "last": last,
        "terminal_remote_backend": false,
    })))
}

async fn suggest(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let prefix = params.get("prefix").unwrap_or_default().to_owned();
    let suggestions = if prefix.starts_with('/') {
        let typed = PathBuf::from(&prefix);
        // A path that ends with a slash means the directory's content.
        let (directory, start) = match (prefix.ends_with('/'), typed.parent(), typed.file_name()) {
            (false, Some(parent), Some(name)) => {
                (parent.to_owned(), name.to_string_lossy().into_owned())
            }
            _ => (typed.clone(), String::new()),
        };
        tokio::task::spawn_blocking(move || directories(&directory, &start))
            .await
            .unwrap_or_default()
    } else {
        let known = listed_workspaces(&server).await?;
        known.into_iter().filter(|path| path.contains(&prefix)).take(MAX_SUGGESTIONS).collect()
    };
    Ok(ok_json(&json!({ "suggestions": suggestions, "prefix": prefix })))
}

/// The directories in `parent` whose names begin with `start`; hidden ones only if it has a dot.
fn directories(parent: &Path, start: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut paths: Vec<String> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(start) && (start.starts_with('.') || !name.starts_with('.'))
        })
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.path().display().to_string())
        .collect();
    paths.sort();
    paths.truncate(MAX_SUGGESTIONS);
    paths
}

async fn prompts() -> Response {
    ok_json(&json!({ "prompts": [] }))
}
