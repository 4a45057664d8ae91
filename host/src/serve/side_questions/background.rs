//! A background task: a prompt that runs in a session of its own. That session takes over only the
//! directory and the settings of its parent. The answer is fetched later.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::too_many;
use crate::clock::now;
use crate::serve::request_view::RequestView;
use crate::serve::sessions::require;
use crate::serve::{ApiError, JsonBody, QueryParams, ServerState, ok_json};
use crate::wire::encode::seconds;
use protocol::{Body, Command, Event, Millis, PromptId, SessionId, Transcript, TurnId, View};

/// Characters of a prompt in the title of its session.
const TITLE_CHARS: usize = 60;

/// A prompt that runs in a session of its own.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) parent: SessionId,
    prompt: String,
    /// Its answer, and when it came.
    pub(super) answer: Option<(String, Millis)>,
}

impl Task {
    pub(super) fn new(id: &str, parent: &SessionId, prompt: &str) -> Self {
        let (id, parent, prompt) = (id.to_owned(), parent.clone(), prompt.to_owned());
        Self { id, parent, prompt, answer: None }
    }

    pub(super) fn finish(&mut self, answer: String) {
        self.answer = Some((answer, now()));
    }

    fn result(self) -> Value {
        let (answer, at) = self.answer.unwrap_or_default();
        json!({
            "task_id": self.id,
            "prompt": self.prompt,
            "answer": answer,
            "completed_at": seconds(at),
        })
    }
}

pub(super) async fn start(
    State(server): State<ServerState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let [parent, prompt] = require(&body, ["session_id", "prompt"])?;
    let parent = RequestView::open(&server, &parent).await?.transcript;
    let task = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    if !server.side_questions.add_task(&task, &parent.session, &prompt) {
        return Err(too_many());
    }
    let started = start_turn(&server, &parent, &prompt).await;
    let (view, turn) = started.inspect_err(|_| server.side_questions.remove_task(&task))?;
    let session = view.transcript.session.clone();
    let response = json!({
        "task_id": task,
        "stream_id": server.feeds.stream_id(&session, turn),
        "session_id": session,
    });
    let side_questions = server.side_questions.clone();
    let transcript = view.transcript.clone();
    tokio::spawn(async move {
        let answer = answer(view.into_view(), transcript, turn).await;
        side_questions.finish_task(&task, answer);
    });
    Ok(ok_json(&response))
}

/// Starts a prompt in a new session.
async fn start_turn(
    server: &ServerState,
    parent: &Transcript,
    prompt: &str,
) -> Result<(RequestView, TurnId), ApiError> {
    let mut view = RequestView::open_new(server).await?;
    for command in setup(&view.transcript, parent, prompt) {
        let done = |event: &Event| {
            let set = matches!(
                event,
                Event::TitleChanged { .. }
                    | Event::CwdChanged { .. }
                    | Event::ModelChanged { .. }
                    | Event::ToolsetsChanged { .. }
                    | Event::ReasoningChanged { .. }
            );
            set.then_some(())
        };
        view.request(command, done).await?;
    }
    let command = Command::Prompt { id: PromptId::fresh(), text: prompt.to_owned() };
    let started = |event: &Event| match event {
        Event::TurnStarted { turn, .. } => Some(*turn),
        _ => None,
    };
    let turn = view.request(command, started).await?;
    Ok((view, turn))
}

/// The commands that set up the new session.
fn setup(new: &Transcript, parent: &Transcript, prompt: &str) -> Vec<Command> {
    let title: String = prompt.chars().filter(|c| !c.is_control()).take(TITLE_CHARS).collect();
    let mut commands = vec![Command::SetTitle { session: None, title: format!("bg: {title}") }];
    if new.cwd != parent.cwd {
        commands.push(Command::SetCwd { cwd: parent.cwd.clone() });
    }
    if new.model != parent.model {
        commands.push(Command::SetModel { model: parent.model.clone() });
    }
    commands.push(Command::SetToolsets { toolsets: parent.toolsets.clone() });
    commands.push(Command::SetReasoning { effort: parent.reasoning.clone() });
    commands
}

/// Waits for the end of a turn and returns its answer. Its session is deleted, unless something it
/// started still runs there, or the session was continued.
async fn answer(mut view: View, mut transcript: Transcript, turn: TurnId) -> String {
    while transcript.running.as_ref().is_some_and(|running| running.turn == turn) {
        match view.next().await {
            Some(event) => transcript.apply(&event),
            None => return "(background task failed: the host has stopped)".to_owned(),
        }
    }
    let rows = || transcript.rows.iter().rev().filter(|row| row.turn == turn);
    let answer = rows().find_map(|row| match &row.body {
        Body::Assistant(answer) if !answer.text.trim().is_empty() => Some(answer.text.clone()),
        _ => None,
    });
    let failure = rows().find_map(|row| match &row.body {
        Body::Failure { message } => Some(format!("(background task failed: {message})")),
        _ => None,
    });
    let is_in_use = transcript.running.is_some()
        || !transcript.queued.is_empty()
        || transcript.processes.iter().any(protocol::Process::is_live);
    if !is_in_use {
        view.send(Command::Delete { session: transcript.session.clone() });
    }
    failure.or(answer).unwrap_or_else(|| "(no answer produced)".to_owned())
}

pub(super) async fn results(
    State(server): State<ServerState>,
    params: QueryParams,
) -> Result<Response, ApiError> {
    let id = params.get("session_id");
    let id = id.ok_or_else(|| ApiError::bad_request("Missing session_id"))?;
    let finished = server.side_questions.take_finished(&SessionId(id.to_owned()));
    let results: Vec<Value> = finished.into_iter().map(Task::result).collect();
    Ok(ok_json(&json!({ "results": results })))
}
