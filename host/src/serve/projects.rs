//! Projects over the WebUI protocol: drawers that sessions are filed in. Only this server changes
//! them, so what is stored is read once and kept up to date here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::{Body, Params, Refusal, Serving, answer, ask, missing};
use crate::clock::now;
use crate::embedded::HostHandle;
use crate::state_dir::StateDir;
use crate::store::{self, Project, ProjectChange, Reader};
use crate::wire::encode::session::seconds;
use protocol::{SessionId, Storage};

/// Projects that there may be.
const MOST: usize = 1_000;
/// Characters of a name.
const NAME: usize = 128;

pub(super) fn routes() -> Router<Serving> {
    Router::new()
        .route("/api/projects", get(list))
        .route("/api/projects/create", post(create))
        .route("/api/projects/rename", post(rename))
        .route("/api/projects/delete", post(delete))
        .route("/api/session/move", post(place))
}

/// All projects and what is in them.
#[derive(Clone, Debug, Default)]
pub(super) struct Projects {
    drawers: Arc<Mutex<ProjectFolders>>,
    /// Held by who changes something: what is stored last is what is known here.
    changing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct ProjectFolders {
    /// The oldest first.
    projects: Vec<Project>,
    placed: HashMap<SessionId, String>,
    /// Something could not be stored at once. The store tries again by itself.
    is_behind: bool,
}

impl Projects {
    /// What is stored. Nobody serves yet, so nobody holds a session that is to be stored later.
    pub(super) async fn load(access: &HostHandle) -> Result<Self, store::Error> {
        if let Err(why) = access.file(ProjectChange::Tidied).await {
            tracing::warn!("projects were not tidied: {why}");
        }
        let drawers = ProjectFolders::stored(access.state())?;
        Ok(Self { drawers: Arc::new(Mutex::new(drawers)), changing: Arc::default() })
    }

    /// Reads what is stored once the store works again, if something was left to it.
    async fn catch_up(&self, access: &HostHandle) {
        if !self.lock().is_behind
            || access.runs().await.is_none_or(|runs| runs.storage != Storage::Ok)
        {
            return;
        }
        let state = access.state().to_owned();
        match tokio::task::spawn_blocking(move || ProjectFolders::stored(&state)).await {
            Ok(Ok(drawers)) => *self.lock() = drawers,
            Ok(Err(error)) => tracing::warn!("projects cannot be read: {error}"),
            Err(error) => tracing::warn!("projects were not read: {error}"),
        }
    }

    /// Waits until nobody else changes something.
    async fn change(&self, access: &HostHandle) -> tokio::sync::MutexGuard<'_, ()> {
        let changing = self.changing.lock().await;
        self.catch_up(access).await;
        changing
    }

    fn lock(&self) -> MutexGuard<'_, ProjectFolders> {
        self.drawers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The project that a session is filed in.
    pub(super) fn of(&self, session: &SessionId) -> Option<String> {
        self.lock().placed.get(session).cloned()
    }

    /// Forgets a session: what is stored of it is gone with it.
    pub(super) fn forget(&self, session: &SessionId) {
        self.lock().placed.remove(session);
    }

    fn project(&self, id: &str) -> Result<Project, Refusal> {
        let found = self.lock().projects.iter().find(|project| project.id == id).cloned();
        found.ok_or_else(|| Refusal::not_found("Project not found"))
    }
}

impl ProjectFolders {
    fn stored(state: &StateDir) -> Result<Self, store::Error> {
        let reader = Reader::open(state)?;
        Ok(Self { projects: reader.projects()?, placed: reader.placed()?, is_behind: false })
    }

    fn take(&mut self, project_change: ProjectChange) {
        match project_change {
            ProjectChange::Project(project) => {
                match self.projects.iter_mut().find(|known| known.id == project.id) {
                    Some(known) => *known = project,
                    None => self.projects.push(project),
                }
            }
            ProjectChange::Gone { project } => {
                self.projects.retain(|known| known.id != project);
                self.placed.retain(|_, known| *known != project);
            }
            ProjectChange::Placed { session, project: Some(project) } => {
                self.placed.insert(session, project);
            }
            ProjectChange::Placed { session, project: None } => {
                self.placed.remove(&session);
            }
            ProjectChange::Tidied => {}
        }
    }
}

/// Stores a change, and only then shows it.
async fn file(serving: &Serving, project_change: ProjectChange) -> Result<(), Refusal> {
    serving.access.file(project_change.clone()).await.map_err(|why| {
        tracing::error!("a project could not be stored: {why}");
        serving.projects.lock().is_behind = true;
        let text = "The store cannot be written now; it is tried again by itself.";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
    })?;
    serving.projects.lock().take(project_change);
    serving.feeds.lists_changed();
    Ok(())
}

/// Files a session, or takes it out of where it is.
pub(super) async fn move_to(
    serving: &Serving,
    session: SessionId,
    project: Option<&str>,
) -> Result<(), Refusal> {
    let _changing = serving.projects.change(&serving.access).await;
    let project = project.map(|id| serving.projects.project(id)).transpose()?;
    let project = project.map(|project| project.id);
    file(serving, ProjectChange::Placed { session, project }).await
}

async fn list(State(serving): State<Serving>, params: Params) -> Response {
    let all = matches!(params.get("all_profiles"), Some("1" | "true" | "yes" | "on"));
    if serving.projects.lock().is_behind {
        drop(serving.projects.change(&serving.access).await);
    }
    let projects: Vec<Value> = serving.projects.lock().projects.iter().map(told).collect();
    answer(&json!({
        "projects": projects,
        "all_profiles": all,
        "active_profile": "default",
        "other_profile_count": 0,
    }))
}

fn told(project: &Project) -> Value {
    json!({
        "project_id": project.id,
        "name": project.name,
        "color": project.color,
        "profile": "default",
        "created_at": seconds(project.at),
    })
}

/// The color that a body names, takes away (null or empty) or leaves as it is.
fn color(body: &Body, known: Option<String>) -> Result<Option<String>, Refusal> {
    let wrong = || Refusal::bad("color must be # and three to eight hex digits");
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

fn name(body: &Body) -> Option<String> {
    Some(body.text("name")?.chars().take(NAME).collect())
}

async fn create(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let name = name(&body).ok_or_else(|| missing("name"))?;
    let color = color(&body, None)?;
    if let Some(profile) = body.text("profile").filter(|profile| *profile != "default") {
        return Err(Refusal::bad(format!("this host has no profile {profile}")));
    }
    let _changing = serving.projects.change(&serving.access).await;
    if serving.projects.lock().projects.len() >= MOST {
        return Err(Refusal::new(StatusCode::CONFLICT, "there are too many projects"));
    }
    let mut id = uuid::Uuid::new_v4().simple().to_string();
    id.truncate(12);
    let project = Project { id, name, color, at: now() };
    file(&serving, ProjectChange::Project(project.clone())).await?;
    Ok(answer(&json!({ "ok": true, "project": told(&project) })))
}

async fn rename(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let (Some(id), Some(name)) = (body.text("project_id"), name(&body)) else {
        return Err(missing("project_id, name"));
    };
    let _changing = serving.projects.change(&serving.access).await;
    let known = serving.projects.project(id)?;
    let project = Project { name, color: color(&body, known.color.clone())?, ..known };
    file(&serving, ProjectChange::Project(project.clone())).await?;
    Ok(answer(&json!({ "ok": true, "project": told(&project) })))
}

async fn delete(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let id = body.text("project_id").ok_or_else(|| missing("project_id"))?;
    let _changing = serving.projects.change(&serving.access).await;
    let project = serving.projects.project(id)?.id;
    file(&serving, ProjectChange::Gone { project }).await?;
    Ok(answer(&json!({ "ok": true })))
}

async fn place(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let id = body.text("session_id").ok_or_else(|| missing("session_id"))?;
    let mut view = ask::open(&serving, id).await?;
    let session = view.transcript.session.clone();
    move_to(&serving, session, body.text("project_id")).await?;
    Ok(answer(&json!({ "ok": true, "session": view.head(&serving).await? })))
}
