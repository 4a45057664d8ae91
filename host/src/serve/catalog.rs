//! Models, commands, profiles and workspaces over the WebUI protocol.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::sessions::model_name;
use super::{Body, Params, Refusal, Serving, answer, ask};
use crate::embedded::SessionDefault;
use crate::model::cached::Cached;
use crate::model::{EFFORTS, catalog};
use protocol::{Command, Event};

/// Folders that are suggested.
const SUGGESTED: usize = 20;

pub(super) fn routes() -> Router<Serving> {
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

/// A model that can be named.
struct Named {
    /// As a session takes it.
    id: String,
    /// As people read it.
    label: String,
    /// Who serves it.
    provider: &'static str,
}

/// What can be named, the configured model first, and with what a new session begins.
async fn offered(serving: &Serving) -> Result<(Vec<Named>, String), Refusal> {
    let mut view = ask::anywhere(serving).await?;
    let listed = |event: &Event| match event {
        Event::ModelsListed { models } => Some(models.clone()),
        _ => None,
    };
    let names = view.ask(Command::ListModels, listed).await?;
    let own = &serving.settings.model;
    let named = names.into_iter().map(|name| match catalog::select(own, &name) {
        // A session that uses the configured model has it under that name.
        Ok(model) if model == *own => Named {
            id: serving.settings.model_name(),
            label: model.name,
            provider: catalog::provider_name(model.provider),
        },
        Ok(model) => {
            Named { id: name, label: model.name, provider: catalog::provider_name(model.provider) }
        }
        Err(_) => {
            Named { id: name.clone(), label: name, provider: catalog::provider_name(own.provider) }
        }
    });
    Ok((named.collect(), view.transcript.model))
}

async fn models(State(serving): State<Serving>) -> Result<Response, Refusal> {
    let (offered, default) = offered(&serving).await?;
    let own = provider_of(&serving, &default);
    let mut groups: Vec<(&str, Vec<Value>)> = Vec::new();
    for named in &offered {
        let model = json!({ "id": named.id, "label": named.label });
        match groups.iter_mut().find(|(provider, _)| *provider == named.provider) {
            Some((_, models)) => models.push(model),
            None => groups.push((named.provider, vec![model])),
        }
    }
    let groups = groups.into_iter().map(|(provider, models)| {
        json!({ "provider": provider, "provider_id": provider, "models": models })
    });
    let badge = json!({ "role": "primary", "label": "Primary", "provider": own });
    Ok(answer(&json!({
        "active_provider": own,
        "default_model": default,
        "configured_model_badges": { default: badge },
        "groups": groups.collect::<Vec<_>>(),
        "aliases": {},
    })))
}

async fn live_models(State(serving): State<Serving>, params: Params) -> Result<Response, Refusal> {
    let own = catalog::provider_name(serving.settings.model.provider);
    let provider = params.get("provider").unwrap_or(own);
    let (offered, _) = offered(&serving).await?;
    let models: Vec<Value> = offered
        .iter()
        .filter(|named| named.provider == provider)
        .map(|named| json!({ "id": named.id, "label": named.label }))
        .collect();
    Ok(answer(&json!({ "provider": provider, "count": models.len(), "models": models })))
}

async fn refresh_models(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let provider = body.text("provider").ok_or_else(|| Refusal::bad("provider is required"))?;
    Cached::forget(serving.access.state()).map_err(|error| {
        tracing::error!("the list of models could not be forgotten: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the list cannot be made anew")
    })?;
    Ok(answer(&json!({ "ok": true, "provider": provider.to_lowercase() })))
}

/// Who serves the model of that name.
pub(super) fn provider_of(serving: &Serving, model: &str) -> &'static str {
    let own = &serving.settings.model;
    let provider = catalog::select(own, model).map_or(own.provider, |model| model.provider);
    catalog::provider_name(provider)
}

/// Holds for new sessions until this host ends: its config.yaml is the user's to write.
async fn set_default_model(
    State(serving): State<Serving>,
    body: Body,
) -> Result<Response, Refusal> {
    let model = body.text("model").ok_or_else(|| Refusal::bad("model is required"))?;
    let provider = body.text("provider").filter(|name| !name.eq_ignore_ascii_case("auto"));
    let model = model_name(&serving.settings, model, provider);
    let default = SessionDefault::Model(model.clone());
    serving.access.set_default(default).await.map_err(Refusal::bad)?;
    let provider = provider_of(&serving, &model);
    Ok(answer(&json!({
        "ok": true,
        "model": model,
        "provider": provider,
        "persisted": false,
        "message": "New sessions of this host begin with it. After its end, config.yaml counts.",
    })))
}

/// Reasoning of a session if one is named, else of sessions to come.
async fn reasoning(State(serving): State<Serving>, params: Params) -> Result<Response, Refusal> {
    let view = match params.get("session_id") {
        Some(id) => ask::open(&serving, id).await?,
        None => ask::anywhere(&serving).await?,
    };
    Ok(answer(&reasoning_status(view.transcript.reasoning.as_deref())))
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

async fn set_reasoning(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let Some(effort) = body.text("effort") else {
        return Err(Refusal::bad("effort is required: what is shown is the client's affair"));
    };
    let effort = effort.to_lowercase();
    let effort = match effort.as_str() {
        "default" | "auto" => None,
        known if EFFORTS.contains(&known) => Some(effort),
        unknown => {
            let known = EFFORTS.join("|");
            return Err(Refusal::bad(format!("effort must be {known} (got '{unknown}')")));
        }
    };
    let Some(id) = body.text("session_id") else {
        let default = SessionDefault::Reasoning(effort.clone());
        serving.access.set_default(default).await.map_err(Refusal::bad)?;
        return Ok(answer(&reasoning_status(effort.as_deref())));
    };
    let mut view = ask::open(&serving, id).await?;
    if view.transcript.reasoning != effort {
        let set = |event: &Event| matches!(event, Event::ReasoningChanged { .. }).then_some(());
        view.ask(Command::SetReasoning { effort }, set).await?;
    }
    Ok(answer(&reasoning_status(view.transcript.reasoning.as_deref())))
}

/// A slash command that makes sense over this protocol; clients carry them out. Name, what it
/// does, category, aliases, arguments.
type Slash = (&'static str, &'static str, &'static str, &'static [&'static str], &'static str);

const COMMANDS: [Slash; 20] = [
    ("new", "Begin a new session", "Session", &["reset"], ""),
    ("resume", "Go on in another session", "Session", &["sessions"], "[session]"),
    ("title", "Rename the session", "Session", &["rename"], "<title>"),
    ("branch", "Go on in a copy of the session", "Session", &["fork"], ""),
    ("undo", "Take the last turn back", "Session", &[], ""),
    ("retry", "Run the last prompt again", "Session", &[], ""),
    ("compress", "Replace older messages by a summary", "Session", &["compact"], "[focus]"),
    ("export", "Save the session as a document", "Session", &["save"], ""),
    ("stop", "Interrupt the running turn", "Turn", &["cancel"], ""),
    ("steer", "Hand the running turn a remark", "Turn", &[], "<text>"),
    ("queue", "Send a prompt after the running turn", "Turn", &[], "<text>"),
    ("goal", "Work on a goal turn by turn", "Turn", &[], "<text>|status|pause|resume|clear"),
    ("model", "Use another model", "Settings", &[], "<model>"),
    ("reasoning", "Say how hard the model thinks", "Settings", &[], "<effort>"),
    ("yolo", "Run dangerous commands without asking", "Settings", &[], ""),
    ("workspace", "Work in another folder", "Settings", &["cwd"], "<folder>"),
    ("profile", "Show the profile", "Settings", &[], ""),
    ("status", "Show what the session is", "Info", &[], ""),
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
    answer(&json!({ "commands": commands }))
}

/// There are no plugins: what a command does is up to clients.
async fn run_command(body: Body) -> Refusal {
    match body.text("command") {
        Some(_) => Refusal::not_found("Plugin command not found"),
        None => Refusal::bad("command is required"),
    }
}

/// The names of the profiles, and the one in use.
async fn known_profiles(serving: &Serving) -> Result<(Vec<String>, String), Refusal> {
    let mut view = ask::anywhere(serving).await?;
    view.ask(Command::ListProfiles, |event| match event {
        Event::ProfilesListed { names, active } => Some((names.clone(), active.clone())),
        _ => None,
    })
    .await
}

async fn profiles(State(serving): State<Serving>) -> Result<Response, Refusal> {
    let (names, active) = known_profiles(&serving).await?;
    let provider = catalog::provider_name(serving.settings.model.provider);
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
                "model": is_active.then(|| serving.settings.model_name()),
                "provider": is_active.then_some(provider),
                "visible": true,
            })
        })
        .collect();
    let single = profiles.len() <= 1;
    Ok(answer(&json!({
        "profiles": profiles,
        "active": active,
        "single_profile_mode": single,
    })))
}

async fn active_profile(State(serving): State<Serving>) -> Result<Response, Refusal> {
    let (_, active) = known_profiles(&serving).await?;
    Ok(answer(&json!({
        "name": active,
        "path": null,
        "is_default": active == "default",
        "default_workspace": serving.settings.cwd.display().to_string(),
    })))
}

async fn switch_profile(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let name = body.text("name").ok_or_else(|| Refusal::bad("name is required"))?;
    let (names, active) = known_profiles(&serving).await?;
    if !names.iter().any(|known| known == name) {
        return Err(Refusal::not_found(format!("Profile '{name}' does not exist")));
    }
    if name != active {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            format!("this host runs the profile {active}; start another host for {name}"),
        ));
    }
    Ok(answer(&json!({ "ok": true, "active": active, "name": active })))
}

async fn personalities() -> Response {
    answer(&json!({ "personalities": [] }))
}

async fn set_personality(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let id = body
        .text("session_id")
        .ok_or_else(|| Refusal::bad("Missing required field(s): session_id"))?;
    let Some(name) = body.0.get("name").and_then(Value::as_str) else {
        return Err(Refusal::bad("Missing required field: name"));
    };
    ask::open(&serving, id).await?;
    if name.trim().is_empty() {
        return Ok(answer(&json!({ "ok": true, "personality": null })));
    }
    Err(Refusal::not_found("this host has no personalities"))
}

async fn listed_workspaces(serving: &Serving) -> Result<Vec<String>, Refusal> {
    let mut view = ask::anywhere(serving).await?;
    view.ask(Command::ListWorkspaces, |event| match event {
        Event::WorkspacesListed { paths } => Some(paths.clone()),
        _ => None,
    })
    .await
}

async fn workspaces(State(serving): State<Serving>) -> Result<Response, Refusal> {
    let own = serving.settings.cwd.display().to_string();
    let mut paths = listed_workspaces(&serving).await?;
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
    Ok(answer(&json!({
        "workspaces": workspaces,
        "last": last,
        "terminal_remote_backend": false,
    })))
}

async fn suggest(State(serving): State<Serving>, params: Params) -> Result<Response, Refusal> {
    let prefix = params.get("prefix").unwrap_or_default().to_owned();
    let suggestions = if prefix.starts_with('/') {
        let typed = PathBuf::from(&prefix);
        // A name that ends with a slash asks for what is inside.
        let (folder, start) = match (prefix.ends_with('/'), typed.parent(), typed.file_name()) {
            (false, Some(parent), Some(name)) => {
                (parent.to_owned(), name.to_string_lossy().into_owned())
            }
            _ => (typed.clone(), String::new()),
        };
        tokio::task::spawn_blocking(move || folders(&folder, &start)).await.unwrap_or_default()
    } else {
        let known = listed_workspaces(&serving).await?;
        known.into_iter().filter(|path| path.contains(&prefix)).take(SUGGESTED).collect()
    };
    Ok(answer(&json!({ "suggestions": suggestions, "prefix": prefix })))
}

/// Folders in a folder whose names begin so; hidden ones only if their dot was typed.
fn folders(folder: &Path, start: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<String> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(start) && (start.starts_with('.') || !name.starts_with('.'))
        })
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.path().display().to_string())
        .collect();
    found.sort();
    found.truncate(SUGGESTED);
    found
}

async fn prompts() -> Response {
    answer(&json!({ "prompts": [] }))
}
