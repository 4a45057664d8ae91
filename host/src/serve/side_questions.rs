//! Model requests beside the turns of a session over the WebUI protocol: side questions with
//! streams of their own, prompts that run in a session of their own (background tasks), and titles.

mod background;
mod question;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::request_view::RequestView;
use super::sessions::require;
use super::{ApiError, JsonBody, ServerState, ok_json};
use background::Task;
use protocol::{Command, Event, SessionId};
use question::Question;
pub(super) use question::response;

/// Most side questions that are answered at once, and most background tasks that run at once.
const MAX_RUNNING: usize = 16;
/// Most side questions whose streams are kept, including those being answered.
const MAX_KEPT: usize = 64;
/// Most results of background tasks that wait to be fetched.
const MAX_RESULTS: usize = 1_000;
/// How long the model may take to find a title.
const TITLE_TIMEOUT: Duration = Duration::from_mins(2);

pub(super) fn routes() -> Router<ServerState> {
    Router::new()
        .route("/api/btw", post(question::ask))
        .route("/api/background", post(background::start))
        .route("/api/background/status", get(background::results))
        .route("/api/session/title/regenerate", post(regenerate_title))
}

/// The side questions and background tasks that a server remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct SideQuestions(Arc<Mutex<Remembered>>);

#[derive(Debug, Default)]
struct Remembered {
    /// By the ids of their streams, oldest first.
    questions: VecDeque<(String, Arc<Question>)>,
    /// Oldest first.
    tasks: Vec<Task>,
}

impl SideQuestions {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The question whose stream has that id.
    pub(super) fn question(&self, stream: &str) -> Option<Arc<Question>> {
        let remembered = self.lock();
        let found = remembered.questions.iter().find(|(id, _)| id == stream);
        found.map(|(_, question)| question.clone())
    }

    /// A fresh question and the id of its stream; `None` if too many are being answered.
    fn add_question(&self) -> Option<(String, Arc<Question>)> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let questions = &mut self.lock().questions;
        if questions.iter().filter(|(_, question)| !question.has_ended()).count() >= MAX_RUNNING {
            return None;
        }
        while questions.len() >= MAX_KEPT {
            let ended = questions.iter().position(|(_, question)| question.has_ended())?;
            questions.remove(ended);
        }
        let question = Arc::new(Question::new(&id));
        questions.push_back((id.clone(), question.clone()));
        Some((id, question))
    }

    /// Adds a task; false if too many run.
    fn add_task(&self, id: &str, parent: &SessionId, prompt: &str) -> bool {
        let tasks = &mut self.lock().tasks;
        if tasks.iter().filter(|task| task.answer.is_none()).count() >= MAX_RUNNING {
            return false;
        }
        // The result that has waited longest goes.
        while tasks.len() >= MAX_RESULTS
            && let Some(ended) = tasks.iter().position(|task| task.answer.is_some())
        {
            tasks.remove(ended);
        }
        tasks.push(Task::new(id, parent, prompt));
        true
    }

    fn finish_task(&self, id: &str, answer: String) {
        if let Some(task) = self.lock().tasks.iter_mut().find(|task| task.id == id) {
            task.finish(answer);
        }
    }

    /// Removes a task that could not be started.
    fn remove_task(&self, id: &str) {
        self.lock().tasks.retain(|task| task.id != id);
    }

    /// Takes the finished tasks of a session: each result is returned once.
    fn take_finished(&self, parent: &SessionId) -> Vec<Task> {
        let is_finished = |task: &mut Task| task.parent == *parent && task.answer.is_some();
        self.lock().tasks.extract_if(.., is_finished).collect()
    }
}

fn too_many() -> ApiError {
    let why = "too many requests beside sessions run already; try again when one has ended";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why)
}

async fn regenerate_title(
    State(server): State<ServerState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let [id] = require(&body, ["session_id"])?;
    let latest = body.0.get("prefer_latest") == Some(&Value::Bool(true));
    let mut view = RequestView::open(&server, &id).await?;
    let titled = |event: &Event| match event {
        Event::TitleChanged { title } => Some(title.clone()),
        _ => None,
    };
    let title = view.request_within(TITLE_TIMEOUT, Command::Retitle { latest }, titled).await;
    let title = title.map_err(|error| match error.status {
        StatusCode::BAD_REQUEST => {
            let why = error.body["error"].as_str().unwrap_or_default();
            let text = format!("Could not generate a better title ({why})");
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, text)
        }
        _ => error,
    })?;
    let session = view.head(&server).await?;
    Ok(ok_json(&json!({
        "session": session,
        "title": title,
        "status": "llm",
        "raw_preview": title,
    })))
}
