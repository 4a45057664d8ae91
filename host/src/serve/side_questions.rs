//! What is asked beside the turns of a session over the WebUI protocol: side questions with
//! streams of their own, prompts that run in a session of their own, and titles.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use futures::stream;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::ask::{self, RequestView};
use super::chat::{Cursor, HEARTBEAT};
use super::sessions::require;
use super::tape::{Read, Tape};
use super::{Body, Params, Refusal, Serving, answer, sse};
use crate::clock::now;
use crate::wire::encode::frame::{Frame, secs};
use crate::wire::encode::session;
use protocol::View;
use protocol::{
    Body as RowBody, Command, Event, Part, PromptId, SessionId, Tokens, Transcript, TurnId,
};

/// Side questions that are answered at once, and prompts that run beside sessions.
const RUNNING: usize = 16;
/// Side questions whose streams are kept, those being answered included.
const KEPT: usize = 64;
/// Bytes of such a stream.
const TAPE: usize = 4 * 1024 * 1024;
/// Results that wait to be asked for.
const RESULTS: usize = 1_000;
/// Characters of a prompt in the title of its session.
const TITLE: usize = 60;
/// How long the model may take to find a title.
const TITLED: Duration = Duration::from_mins(2);

pub(super) fn routes() -> Router<Serving> {
    Router::new()
        .route("/api/btw", post(btw))
        .route("/api/background", post(background))
        .route("/api/background/status", get(results))
        .route("/api/session/title/regenerate", post(retitle))
}

/// All of it that a server remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct SideQuestions(Arc<Mutex<Questions>>);

#[derive(Debug, Default)]
struct Questions {
    /// Oldest first.
    questions: VecDeque<(String, Arc<Question>)>,
    tasks: Vec<Task>,
}

/// A side question and its stream.
#[derive(Debug)]
pub(super) struct Question {
    /// What its session would be called.
    session: String,
    tape: Mutex<Tape>,
    changes: watch::Sender<u64>,
    cancelled: watch::Sender<bool>,
}

/// A prompt that runs in a session of its own.
#[derive(Debug)]
struct Task {
    id: String,
    parent: SessionId,
    prompt: String,
    /// Its answer, and when it came.
    answer: Option<(String, f64)>,
}

impl SideQuestions {
    fn lock(&self) -> MutexGuard<'_, Questions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The question whose stream has that id.
    pub(super) fn question(&self, stream: &str) -> Option<Arc<Question>> {
        let papers = self.lock();
        papers.questions.iter().find(|(id, _)| id == stream).map(|(_, question)| question.clone())
    }

    /// A fresh stream; `None` if too many are being told.
    fn begin(&self) -> Option<(String, Arc<Question>)> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let mut papers = self.lock();
        let running = papers.questions.iter().filter(|(_, question)| !question.has_ended());
        if running.count() >= RUNNING {
            return None;
        }
        while papers.questions.len() >= KEPT {
            let ended = papers.questions.iter().position(|(_, question)| question.has_ended())?;
            papers.questions.remove(ended);
        }
        let question = Arc::new(Question {
            session: format!("btw_{}", &id[..12]),
            tape: Mutex::new(Tape::new(Some(id.clone()), TAPE)),
            changes: watch::Sender::new(0),
            cancelled: watch::Sender::new(false),
        });
        papers.questions.push_back((id.clone(), question.clone()));
        Some((id, question))
    }

    /// Notes a task; false if too many run.
    fn note(&self, id: &str, parent: &SessionId, prompt: &str) -> bool {
        let mut papers = self.lock();
        if papers.tasks.iter().filter(|task| task.answer.is_none()).count() >= RUNNING {
            return false;
        }
        // Nobody has asked for the oldest for longest.
        while papers.tasks.len() >= RESULTS
            && let Some(ended) = papers.tasks.iter().position(|task| task.answer.is_some())
        {
            papers.tasks.remove(ended);
        }
        let (id, parent, prompt) = (id.to_owned(), parent.clone(), prompt.to_owned());
        papers.tasks.push(Task { id, parent, prompt, answer: None });
        true
    }

    fn finish(&self, id: &str, answer: String) {
        let mut papers = self.lock();
        if let Some(task) = papers.tasks.iter_mut().find(|task| task.id == id) {
            task.answer = Some((answer, secs(now())));
        }
    }

    /// A task that never began.
    fn withdraw(&self, id: &str) {
        self.lock().tasks.retain(|task| task.id != id);
    }

    /// The results of a session's tasks, each given once.
    fn take(&self, parent: &SessionId) -> Vec<Value> {
        let done = |task: &mut Task| task.parent == *parent && task.answer.is_some();
        let done: Vec<Task> = self.lock().tasks.extract_if(.., done).collect();
        let told = |task: Task| {
            let (answer, at) = task.answer.unwrap_or_default();
            json!({
                "task_id": task.id,
                "prompt": task.prompt,
                "answer": answer,
                "completed_at": at,
            })
        };
        done.into_iter().map(told).collect()
    }
}

impl Question {
    fn lock(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.lock().is_ended()
    }

    fn put(&self, name: &'static str, data: Value) {
        self.lock().push(&Frame::new(name, data));
        self.changes.send_modify(|n| *n += 1);
    }

    fn end(&self) {
        self.lock().end();
        self.changes.send_modify(|n| *n += 1);
    }

    /// Takes it back; whether it was still being answered.
    pub(super) fn cancel(&self) -> bool {
        let runs = !self.has_ended();
        self.cancelled.send_replace(true);
        runs
    }

    /// What `/api/chat/stream/status` says of it.
    pub(super) fn status(&self, stream: &str) -> Value {
        let tape = self.lock();
        let state = match (tape.is_ended(), tape.last_name()) {
            (false, _) => "running",
            (true, "cancel") => "interrupted-by-user",
            (true, "apperror") => "errored",
            (true, _) => "completed",
        };
        json!({
            "active": !tape.is_ended(),
            "stream_id": stream,
            "replay_available": true,
            "journal": {
                "session_id": self.session,
                "run_id": stream,
                "last_seq": tape.last(),
                "last_event_id": format!("{stream}:{}", tape.last()),
                "last_event": tape.last_name(),
                "terminal": tape.is_ended(),
                "terminal_state": state,
            },
        })
    }
}

/// The stream of a side question. Its beginning is always there: without a cursor it is told.
pub(super) fn response(serving: &Serving, question: Arc<Question>, cursor: Cursor) -> Response {
    let last = question.lock().last();
    let after = match cursor {
        Cursor::After(n) if n <= last => n,
        Cursor::After(_) | Cursor::Start | Cursor::None => 0,
    };
    let changes = question.changes.subscribe();
    let frames = stream::unfold(
        (question, changes, after),
        |(question, mut changes, mut after)| async move {
            loop {
                changes.borrow_and_update();
                let read = question.lock().read(after);
                match read {
                    Read::Frames(bytes, upto) => return Some((bytes, (question, changes, upto))),
                    Read::Wait => changes.changed().await.ok()?,
                    Read::End => return None,
                    // What is gone is in the answer at the end.
                    Read::Behind(gone) => after += gone,
                }
            }
        },
    );
    sse::response(serving, HEARTBEAT, frames)
}

fn too_many() -> Refusal {
    let why = "too many requests beside sessions run already; try again when one has ended";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)
}

/// A side question: answered with what the session knows, by no turn of it.
async fn btw(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let [parent, text] = require(&body, ["session_id", "question"])?;
    let view = ask::open(&serving, &parent).await?;
    let (stream, question) = serving.side_questions.begin().ok_or_else(too_many)?;
    let told = json!({
        "stream_id": stream,
        "session_id": question.session,
        "parent_session_id": parent,
    });
    tokio::spawn(follow(view, question, text));
    Ok(answer(&told))
}

/// Tells the answer of a side question on its tape. The view ends with it, and the request with
/// the view.
async fn follow(view: RequestView, question: Arc<Question>, text: String) {
    let mut host = view.into_host();
    let id = PromptId::fresh();
    host.send(Command::Aside { id: id.clone(), question: text.clone() });
    let mut cancelled = question.cancelled.subscribe();
    let session = &question.session;
    loop {
        let event = tokio::select! {
            biased;
            _ = cancelled.wait_for(|cancelled| *cancelled) => {
                let message = "Task cancelled.";
                question.put("cancel", json!({
                    "message": message, "type": "cancelled", "status": "cancelled",
                    "session_id": session,
                }));
                break;
            }
            event = host.next() => event,
        };
        let failure = match event {
            Some(Event::AsideSaid { id: of, part, text }) if of == id => {
                let name = match part {
                    Part::Text => "token",
                    Part::Reasoning => "reasoning",
                };
                question.put(name, json!({ "text": text }));
                continue;
            }
            Some(Event::AsideEnded { id: of, text: answer, failed: false, usage }) if of == id => {
                let mut tokens = Tokens::default();
                if let Some(usage) = usage {
                    tokens.add(&usage);
                }
                question.put(
                    "done",
                    json!({
                        "session": {
                            "session_id": session,
                            "messages": [
                                { "role": "user", "content": text },
                                { "role": "assistant", "content": answer },
                            ],
                        },
                        "usage": session::tokens(&tokens),
                        "ephemeral": true,
                        "answer": answer,
                    }),
                );
                question.put("stream_end", json!({ "session_id": session }));
                break;
            }
            Some(Event::AsideEnded { id: of, text, failed: true, .. }) if of == id => text,
            Some(_) => continue,
            None => "the host has stopped".to_owned(),
        };
        question.put(
            "apperror",
            json!({
                "message": failure, "type": "error", "session_id": session,
            }),
        );
        break;
    }
    question.end();
}

/// A prompt in a session of its own that begins with nothing of this one but where it works and
/// with which model. Its answer is asked for later.
async fn background(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let [parent, prompt] = require(&body, ["session_id", "prompt"])?;
    let from = ask::open(&serving, &parent).await?.transcript;
    let task = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    if !serving.side_questions.note(&task, &from.session, &prompt) {
        return Err(too_many());
    }
    let begun = begin(&serving, &from, &prompt).await;
    let (view, turn) = begun.inspect_err(|_| serving.side_questions.withdraw(&task))?;
    let session = view.transcript.session.clone();
    let told = json!({
        "task_id": task,
        "stream_id": serving.feeds.stream(&session, turn),
        "session_id": session,
    });
    let side_questions = serving.side_questions.clone();
    let transcript = view.transcript.clone();
    tokio::spawn(async move {
        let answer = run(view.into_host(), transcript, turn).await;
        side_questions.finish(&task, answer);
    });
    Ok(answer(&told))
}

/// Starts a prompt in a new session.
async fn begin(
    serving: &Serving,
    from: &Transcript,
    prompt: &str,
) -> Result<(RequestView, TurnId), Refusal> {
    let mut view = ask::anywhere(serving).await?;
    let title: String = prompt.chars().filter(|c| !c.is_control()).take(TITLE).collect();
    let mut commands = vec![Command::SetTitle { session: None, title: format!("bg: {title}") }];
    if view.transcript.cwd != from.cwd {
        commands.push(Command::SetCwd { cwd: from.cwd.clone() });
    }
    if view.transcript.model != from.model {
        commands.push(Command::SetModel { model: from.model.clone() });
    }
    let toolsets = from.toolsets.clone();
    commands.push(Command::SetToolsets { toolsets });
    commands.push(Command::SetReasoning { effort: from.reasoning.clone() });
    for command in commands {
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
        view.ask(command, done).await?;
    }
    let command = Command::Prompt { id: PromptId::fresh(), text: prompt.to_owned() };
    let started = |event: &Event| match event {
        Event::TurnStarted { turn, .. } => Some(*turn),
        _ => None,
    };
    let turn = view.ask(command, started).await?;
    Ok((view, turn))
}

/// Waits for the end of a turn and gives its answer. Its session goes, unless something it began
/// is still running there, or somebody has asked on in it.
async fn run(mut host: View, mut transcript: Transcript, turn: TurnId) -> String {
    while transcript.running.as_ref().is_some_and(|running| running.turn == turn) {
        match host.next().await {
            Some(event) => transcript.apply(&event),
            None => return "(background task failed: the host has stopped)".to_owned(),
        }
    }
    let rows = || transcript.rows.iter().rev().filter(|row| row.turn == turn);
    let said = rows().find_map(|row| match &row.body {
        RowBody::Assistant(answer) if !answer.text.trim().is_empty() => Some(answer.text.clone()),
        _ => None,
    });
    let failed = rows().find_map(|row| match &row.body {
        RowBody::Failure { message } => Some(format!("(background task failed: {message})")),
        _ => None,
    });
    let goes_on = transcript.running.is_some()
        || !transcript.queued.is_empty()
        || transcript.processes.iter().any(protocol::Process::is_live);
    if !goes_on {
        host.send(Command::Delete { session: transcript.session.clone() });
    }
    let none = || "(no answer produced)".to_owned();
    failed.or(said).unwrap_or_else(none)
}

async fn results(State(serving): State<Serving>, params: Params) -> Result<Response, Refusal> {
    let id = params.get("session_id").ok_or_else(|| Refusal::bad("Missing session_id"))?;
    Ok(answer(&json!({ "results": serving.side_questions.take(&SessionId(id.to_owned())) })))
}

async fn retitle(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let [id] = require(&body, ["session_id"])?;
    let latest = body.0.get("prefer_latest") == Some(&Value::Bool(true));
    let mut view = ask::open(&serving, &id).await?;
    let titled = |event: &Event| match event {
        Event::TitleChanged { title } => Some(title.clone()),
        _ => None,
    };
    let title = view.ask_within(TITLED, Command::Retitle { latest }, titled).await;
    let title = title.map_err(|refusal| match refusal.status {
        StatusCode::BAD_REQUEST => {
            let why = refusal.body["error"].as_str().unwrap_or_default();
            let error = format!("Could not generate a better title ({why})");
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error)
        }
        _ => refusal,
    })?;
    let session = view.head(&serving).await?;
    Ok(answer(&json!({
        "session": session,
        "title": title,
        "status": "llm",
        "raw_preview": title,
    })))
}
