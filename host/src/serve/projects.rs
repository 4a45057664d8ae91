//! Projects over the WebUI protocol: folders for sessions. Only this server changes them, so the
//! stored ones are read once and kept up to date here.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::request_view::RequestView;
use super::{ApiError, JsonBody, QueryParams, ServerState, missing_fields, ok_json};
use crate::clock::now;
use crate::embedded::HostHandle;
use crate::store::{self, Project, ProjectChange, Reader};
use crate::wire::encode::seconds;
use protocol::{SessionId, Storage};

/// Most projects.
const MAX_PROJECTS: usize = 1_000;
/// Most characters of a name.
const NAME_CHARS: usize = 128;

pub(super) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/api/projects", get(list))
        .route("/api/projects/create", post(create))
        .route("/api/projects/rename", post(rename))
        .route("/api/projects/delete", post(delete))
        .route("/api/session/move", post(move_session))
}

/// All projects and the sessions in them.
#[derive(Clone, Debug, Default)]
pub(super) struct Projects {
    folders: Arc<Mutex<ProjectFolders>>,
    /// Held during a change: changes are applied here in the order in which they are stored.
    changing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct ProjectFolders {
    /// Oldest first.
    projects: Vec<Project>,
    /// The project of each session that is in one.
    sessions: HashMap<SessionId, String>,
    /// A change could not be stored at once. The store retries by itself.
    is_behind: bool,
}

impl Projects {
    /// The stored projects. Before the server starts no client holds a session that is stored later.
    pub(super) async fn load(host: &HostHandle) -> Result<Self, store::Error> {
        if let Err(why) = host.change_project(ProjectChange::Tidied).await {
            tracing::warn!("projects were not tidied: {why}");
        }
        let folders = ProjectFolders::load(host.state())?;
        Ok(Self { folders: Arc::new(Mutex::new(folders)), changing: Arc::default() })
    }

    /// Reads the stored projects again once the store works again, if a change was left to it.
    async fn catch_up(&self, host: &HostHandle) {
        if !self.lock().is_behind
            || host.runs().await.is_none_or(|runs| runs.storage != Storage::Ok)
        {
            return;
        }
        let state = host.state().to_owned();
        match tokio::task::spawn_blocking(move || ProjectFolders::load(&state)).await {
            Ok(Ok(folders)) => *self.lock() = folders,
            Ok(Err(error)) => tracing::warn!("projects cannot be read: {error}"),
            Err(error) => tracing::warn!("projects were not read: {error}"),
        }
    }

    /// Waits until no other change is under way.
    async fn begin_change(&self, host: &HostHandle) -> tokio::sync::MutexGuard<'_, ()> {
        let changing = self.changing.lock().await;
        self.catch_up(host).await;
        changing
    }

    fn lock(&self) -> MutexGuard<'_, ProjectFolders> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The project of a session.
    pub(super) fn of(&self, session: &SessionId) -> Option<String> {
        self.lock().sessions.get(session).cloned()
    }

    /// Forgets a deleted session.
    pub(super) fn forget(&self, session: &SessionId) {
        self.lock().sessions.remove(session);
    }

    fn project(&self, id: &str) -> Result<Project, ApiError> {
        let project = self.lock().projects.iter().find(|project| project.id == id).cloned();
        project.ok_or_else(|| ApiError::not_found("Project not found"))
    }
}

impl ProjectFolders {
    fn load(state: &Path) -> Result<Self, store::Error> {
        let reader = Reader::open(state)?;
        Ok(Self { projects: reader.projects()?, sessions: reader.placed()?, is_behind: false })
    }

    fn apply(&mut self, change: ProjectChange) {
        match change {
            ProjectChange::Project(project) => {
                match self.projects.iter_mut().find(|known| known.id == project.id) {
                    Some(known) => *known = project,
                    None => self.projects.push(project),
                }
            }
            ProjectChange::Gone { project } => {
                self.projects.retain(|known| known.id != project);
                self.sessions.retain(|_, known| *known != project);
            }
            ProjectChange::Placed { session, project: Some(project) } => {
                self.sessions.insert(session, project);
            }
            ProjectChange::Placed { session, project: None } => {
                self.sessions.remove(&session);
            }
            ProjectChange::Tidied => {}
        }
    }
}

/// Stores a change, and only then applies it here.
async fn store_change(server: &ServerState, change: ProjectChange) -> Result<(), ApiError> {
    server.host.change_project(change.clone()).await.map_err(|why| {
        tracing::error!("a project could not be stored: {why}");
        server.projects.lock().is_behind = true;
        let text = "The store cannot be written now; the change is retried automatically.";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text)
    })?;
    server.projects.lock().apply(change);
    server.feeds.lists_changed();
    Ok(())
}

/// Moves a session into a project, or out of any.
pub(super) async fn move_to(
    server: &ServerState,
    session: SessionId,
    project: Option<&str>,
) -> Result<(), ApiError> {
    let _changing = server.projects.begin_change(&server.host).await;
    let project = project.map(|id| server.projects.project(id)).transpose()?;
    let project = project.map(|project| project.id);
    store_change(server, ProjectChange::Placed { session, project }).await
}

async fn list(State(server): State<ServerState>, params: QueryParams) -> Response {
    let all = matches!(params.get("all_profiles"), Some("1" | "true" | "yes" | "on"));
    if server.projects.lock().is_behind {
        drop(server.projects.begin_change(&server.host).await);
    }
    let projects: Vec<Value> = server.projects.lock().projects.iter().map(object).collect();
    ok_json(&json!({
        "projects": projects,
        "all_profiles": all,
        "active_profile": "default",
        "other_profile_count": 0,
    }))
}

/// The object of a project.
fn object(project: &Project) -> Value {
    json!({
        "project_id": project.id,
        "name": project.name,
        "color": project.color,
        "profile": "default",
        "created_at": seconds(project.at),
    })
}

/// The color after a request: the one in the body, none (null or empty), or as before (absent).
fn color(body: &JsonBody, known: Option<String>) -> Result<Option<String>, ApiError> {
    let wrong = || ApiError::bad_request("color must be # and three to eight hex digits");
    match body.0.get("color") {
        None => Ok(known),
        Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => {
            let digits = text.strip_prefix('#').ok_or_else(wrong)?;
            let fits =
                (3..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            if fits { Ok(Some(text.clone())) } else { Err(wrong()) }
        }
        Some(_) => Err(wrong()),
    }
}

fn name(body: &JsonBody) -> Option<String> {
    Some(body.text("name")?.chars().take(NAME_CHARS).collect())
}

async fn create(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let name = name(&body).ok_or_else(|| missing_fields("name"))?;
    let color = color(&body, None)?;
    if let Some(profile) = body.text("profile").filter(|profile| *profile != "default") {
        return Err(ApiError::bad_request(format!("this host has no profile {profile}")));
    }
    let _changing = server.projects.begin_change(&server.host).await;
    if server.projects.lock().projects.len() >= MAX_PROJECTS {
        return Err(ApiError::new(StatusCode::CONFLICT, "there are too many projects"));
    }
    let mut id = uuid::Uuid::new_v4().simple().to_string();
    id.truncate(12);
    let project = Project { id, name, color, at: now() };
    store_change(&server, ProjectChange::Project(project.clone())).await?;
    Ok(ok_json(&json!({ "ok": true, "project": object(&project) })))
}

async fn rename(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let (Some(id), Some(name)) = (body.text("project_id"), name(&body)) else {
        return Err(missing_fields("project_id, name"));
    };
    let _changing = server.projects.begin_change(&server.host).await;
    let known = server.projects.project(id)?;
    let project = Project { name, color: color(&body, known.color.clone())?, ..known };
    store_change(&server, ProjectChange::Project(project.clone())).await?;
    Ok(ok_json(&json!({ "ok": true, "project": object(&project) })))
}

async fn delete(State(server): State<ServerState>, body: JsonBody) -> Result<Response, ApiError> {
    let id = body.text("project_id").ok_or_else(|| missing_fields("project_id"))?;
    let _changing = server.projects.begin_change(&server.host).await;
    let project = server.projects.project(id)?.id;
    store_change(&server, ProjectChange::Gone { project }).await?;
    Ok(ok_json(&json!({ "ok": true })))
}

async fn move_session(
    State(server): State<ServerState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let id = body.text("session_id").ok_or_else(|| missing_fields("session_id"))?;
    let mut view = RequestView::open(&server, id).await?;
    let session = view.transcript.session.clone();
    move_to(&server, session, body.text("project_id")).await?;
    Ok(ok_json(&json!({ "ok": true, "session": view.head(&server).await? })))
}
