//! What is done to a session over the WebUI protocol.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::named;
use crate::model::catalog;
use crate::serve::ask::{self, RequestView};
use crate::serve::client_state::Job;
use crate::serve::{Body, Params, Refusal, Serving, answer, projects};
use crate::settings::Settings;
use crate::wire::encode::session::{goal, head, seconds, with_messages};
use protocol::Subject;
use protocol::{Body as RowBody, Command, Event, GoalAsk, GoalState, SessionId};

/// Longest draft that is kept, as JSON.
const DRAFT: usize = 256 * 1024;

pub(super) fn routes() -> Router<Serving> {
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
        .route("/api/session/compress/start", post(compress))
        .route("/api/session/compress/status", get(compress_status))
        .route("/api/goal", post(set_goal))
}

/// The texts of these members, or 400 with the names of those that are missing.
pub(in crate::serve) fn require<const N: usize>(
    body: &Body,
    keys: [&str; N],
) -> Result<[String; N], Refusal> {
    let missing: Vec<&str> = keys.into_iter().filter(|key| body.text(key).is_none()).collect();
    if missing.is_empty() {
        Ok(keys.map(|key| body.text(key).unwrap_or_default().to_owned()))
    } else {
        Err(crate::serve::missing(&missing.join(", ")))
    }
}

/// A view on the session that a body names.
pub(super) async fn view_of(serving: &Serving, body: &Body) -> Result<RequestView, Refusal> {
    let [id] = require(body, ["session_id"])?;
    ask::open(serving, &id).await
}

/// A switch of a body; what is not named is on.
fn is_on(body: &Body, key: &str) -> bool {
    body.0.get(key).and_then(Value::as_bool).unwrap_or(true)
}

/// A model as the host takes it, from a name and a provider of that protocol.
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
            // A name for the provider of a client need not be one of ours.
            if catalog::select(&settings.model, &named).is_ok() { named } else { model.to_owned() }
        }
        Some(_) | None => model.to_owned(),
    }
}

async fn set_model(view: &mut RequestView, model: String) -> Result<(), Refusal> {
    if view.transcript.model == model {
        return Ok(());
    }
    let set = |event: &Event| matches!(event, Event::ModelChanged { .. }).then_some(());
    view.ask(Command::SetModel { model }, set).await
}

async fn set_cwd(view: &mut RequestView, cwd: String) -> Result<(), Refusal> {
    if view.transcript.cwd == cwd {
        return Ok(());
    }
    let set = |event: &Event| matches!(event, Event::CwdChanged { .. }).then_some(());
    view.ask(Command::SetCwd { cwd }, set).await
}

async fn new(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let profile = body.text("profile").filter(|profile| *profile != "default");
    if let Some(profile) = profile {
        return Err(Refusal::bad(format!("this host has no profile {profile}")));
    }
    let toolsets = chosen(body.0.get("enabled_toolsets"))?;
    let mut view = ask::anywhere(&serving).await?;
    set_toolsets(&mut view, toolsets).await?;
    if let Some(cwd) = body.text("workspace") {
        set_cwd(&mut view, cwd.to_owned()).await?;
    }
    if let Some(model) = body.text("model") {
        let model = model_name(&serving.settings, model, body.text("model_provider"));
        set_model(&mut view, model).await?;
    }
    if let Some(project) = body.text("project_id") {
        projects::move_to(&serving, view.transcript.session.clone(), Some(project)).await?;
    }
    let session = with_messages(head(&view.transcript, None), &[], 0);
    let session = ask::completed(&serving, session, &view.transcript);
    if !serving.client_state.hold(view.into_host()) {
        return Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many new sessions wait for their first prompt",
        ));
    }
    Ok(answer(&json!({ "session": session })))
}

async fn rename(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let [id, title] = require(&body, ["session_id", "title"])?;
    let mut view = ask::open(&serving, &id).await?;
    set_title(&mut view, title).await?;
    Ok(answer(&json!({ "session": view.head(&serving).await? })))
}

pub(super) async fn set_title(view: &mut RequestView, title: String) -> Result<(), Refusal> {
    if view.transcript.title.as_deref().unwrap_or_default() == title {
        return Ok(());
    }
    let set = |event: &Event| matches!(event, Event::TitleChanged { .. }).then_some(());
    view.ask(Command::SetTitle { session: None, title }, set).await
}

async fn pin(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let pinned = is_on(&body, "pinned");
    let mut view = view_of(&serving, &body).await?;
    view.until_listed(Command::Pin { session: None, pinned }, |row| row.pinned == pinned).await?;
    marked(&serving, view, "pinned", pinned).await
}

async fn archive(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let archived = is_on(&body, "archived");
    let mut view = view_of(&serving, &body).await?;
    view.until_listed(Command::Archive { session: None, archived }, |row| row.archived == archived)
        .await?;
    marked(&serving, view, "archived", archived).await
}

/// The session with a mark; one that is not stored yet is in no list to read it from.
async fn marked(
    serving: &Serving,
    mut view: RequestView,
    key: &str,
    value: bool,
) -> Result<Response, Refusal> {
    let mut session = view.head(serving).await?;
    session[key] = json!(value);
    Ok(answer(&json!({ "ok": true, "session": session })))
}

async fn delete(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let [id] = require(&body, ["session_id"])?;
    let id = SessionId(id);
    let mut view = ask::anywhere(&serving).await?;
    view.send(Command::Delete { session: id.clone() });
    // The list is read after the command was carried out, so a refusal comes before it.
    match view.sessions().await {
        Ok(_) => {
            serving.client_state.forget(&id);
            serving.projects.forget(&id);
        }
        // To delete twice is to delete.
        Err(refusal) if ask::is_unknown(refusal.body["error"].as_str().unwrap_or_default()) => {}
        Err(refusal) => {
            return Err(Refusal { status: StatusCode::SERVICE_UNAVAILABLE, ..refusal });
        }
    }
    Ok(answer(&json!({ "ok": true, "state_db_cleanup_failed": false })))
}

/// The copy that a command makes: the view goes there.
async fn copied(view: &mut RequestView, command: Command) -> Result<(), Refusal> {
    let from = view.transcript.session.clone();
    view.ask(command, |event| match event {
        Event::Attached { transcript, .. } if transcript.session != from => Some(()),
        _ => None,
    })
    .await
}

async fn duplicate(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let mut view = view_of(&serving, &body).await?;
    copied(&mut view, Command::Duplicate).await?;
    Ok(answer(&json!({ "session": view.head(&serving).await? })))
}

async fn branch(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let keep = match body.0.get("keep_count") {
        None | Some(Value::Null) => None,
        Some(count) => {
            let count = count.as_u64().or_else(|| count.as_str()?.parse().ok());
            Some(count.ok_or_else(|| Refusal::bad("keep_count must be a whole number"))?)
        }
    };
    let mut view = view_of(&serving, &body).await?;
    let parent = view.transcript.session.clone();
    copied(&mut view, Command::Branch).await?;
    // A branch ends where a turn ends: at the last such place that keeps no more than was asked.
    let mut count = rows(&view);
    while keep.is_some_and(|keep| count > keep) {
        count -= take_back(&mut view, count).await?.1;
    }
    if let Some(title) = body.text("title") {
        set_title(&mut view, title.to_owned()).await?;
    }
    let session = view.head(&serving).await?;
    Ok(answer(&json!({
        "session_id": session["session_id"],
        "title": session["title"],
        "parent_session_id": parent,
    })))
}

pub(super) fn rows(view: &RequestView) -> u64 {
    view.transcript.earlier + view.transcript.rows.len() as u64
}

/// Takes the last user turn of so many rows back: its text and how many rows went.
async fn take_back(view: &mut RequestView, count: u64) -> Result<(String, u64), Refusal> {
    let text = view.transcript.rows.iter().rev().find_map(|row| match &row.body {
        RowBody::User { text } => Some(text.clone()),
        _ => None,
    });
    // The window may hold less than what goes.
    let removed = |event: &Event| match event {
        Event::RowsRemoved { after } => Some(*after),
        _ => None,
    };
    match view.ask(Command::Undo, removed).await? {
        after if after < count => Ok((text.unwrap_or_default(), count - after)),
        _ => Err(Refusal::bad("nothing was taken back")),
    }
}

/// That protocol tells this failure with status 200.
fn told(result: Result<Response, Refusal>) -> Result<Response, Refusal> {
    match result {
        Err(refusal) if refusal.status == StatusCode::BAD_REQUEST => Ok(answer(&refusal.body)),
        other => other,
    }
}

async fn undo(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let mut view = view_of(&serving, &body).await?;
    let count = rows(&view);
    if count == 0 {
        return Ok(answer(&json!({ "error": "Nothing to undo." })));
    }
    let undone = take_back(&mut view, count).await.map(|(text, count)| {
        let preview: String = text.chars().take(40).collect();
        answer(&json!({ "ok": true, "removed_count": count, "removed_preview": preview }))
    });
    told(undone)
}

/// Takes the last turn back; the client sends its text again.
async fn retry(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let mut view = view_of(&serving, &body).await?;
    let count = rows(&view);
    if count == 0 {
        return Ok(answer(&json!({ "error": "No previous message to retry." })));
    }
    let undone = take_back(&mut view, count).await.map(|(text, count)| {
        answer(&json!({ "ok": true, "last_user_text": text, "removed_count": count }))
    });
    told(undone)
}

async fn update(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let mut view = view_of(&serving, &body).await?;
    if let Some(cwd) = body.text("workspace") {
        set_cwd(&mut view, cwd.to_owned()).await?;
    }
    if let Some(model) = body.text("model") {
        let model = model_name(&serving.settings, model, body.text("model_provider"));
        set_model(&mut view, model).await?;
    }
    Ok(answer(&json!({ "session": view.head(&serving).await? })))
}

/// A choice of toolsets as that protocol has it: a list, or null for all.
fn chosen(value: Option<&Value>) -> Result<Option<Vec<String>>, Refusal> {
    let list = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(_) => return Err(Refusal::bad("toolsets must be a non-empty list or null")),
    };
    let name = |name: &Value| name.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    let names: Option<Vec<String>> = list.iter().map(name).collect();
    names.map(Some).ok_or_else(|| Refusal::bad("each toolset must be a non-empty string"))
}

async fn set_toolsets(
    view: &mut RequestView,
    toolsets: Option<Vec<String>>,
) -> Result<(), Refusal> {
    if view.transcript.toolsets == toolsets {
        return Ok(());
    }
    let set = |event: &Event| matches!(event, Event::ToolsetsChanged { .. }).then_some(());
    view.ask(Command::SetToolsets { toolsets }, set).await
}

async fn toolsets(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    require(&body, ["session_id"])?;
    let toolsets = chosen(body.0.get("toolsets"))?;
    let mut view = view_of(&serving, &body).await?;
    set_toolsets(&mut view, toolsets).await?;
    Ok(answer(&json!({ "ok": true, "enabled_toolsets": view.transcript.toolsets })))
}

async fn draft(State(serving): State<Serving>, params: Params) -> Result<Response, Refusal> {
    let id = params.get("session_id").ok_or_else(|| Refusal::bad("session_id is required"))?;
    let view = ask::open(&serving, id).await?;
    Ok(answer(&json!({ "draft": serving.client_state.draft(&view.transcript.session) })))
}

async fn keep_draft(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let view = view_of(&serving, &body).await?;
    // Not trimmed: it is what somebody is typing.
    let text = body.0.get("text").and_then(Value::as_str).unwrap_or_default();
    let files = body.0.get("files").filter(|files| files.is_array());
    let files = files.cloned().unwrap_or_else(|| json!([]));
    let draft = json!({ "text": text, "files": files });
    // They stay in memory.
    if draft.to_string().len() > DRAFT {
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "The draft is too long to keep"));
    }
    serving.client_state.keep_draft(view.transcript.session, draft.clone());
    Ok(answer(&json!({ "ok": true, "draft": draft })))
}

async fn yolo(State(serving): State<Serving>, params: Params) -> Result<Response, Refusal> {
    let view = named(&serving, &params).await?;
    Ok(answer(&json!({ "yolo_enabled": view.transcript.yolo })))
}

async fn set_yolo(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let yolo = is_on(&body, "enabled");
    let mut view = view_of(&serving, &body).await?;
    if view.transcript.yolo != yolo {
        let set = |event: &Event| matches!(event, Event::YoloChanged { .. }).then_some(());
        view.ask(Command::SetYolo { yolo }, set).await?;
    }
    Ok(answer(&json!({ "ok": true, "yolo_enabled": view.transcript.yolo })))
}

async fn compress(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let mut view = view_of(&serving, &body).await?;
    let focus = body.text("focus_topic").or_else(|| body.text("topic")).map(str::to_owned);
    let id = view.transcript.session.clone();
    let running = view.transcript.running.is_some();
    let started = |event: &Event| matches!(event, Event::TurnStarted { .. }).then_some(());
    if running {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "Session is still streaming; wait for the current turn to finish.",
        ));
    }
    serving.client_state.note_job(id.clone(), Job::Running);
    if let Err(refusal) = view.ask(Command::Compress { focus }, started).await {
        let why = refusal.body["error"].as_str().unwrap_or_default().to_owned();
        serving.client_state.note_job(id.clone(), Job::Failed(why));
        return Ok(job(&serving, &id));
    }
    let (client_state, mut host, session) =
        (serving.client_state.clone(), view.into_host(), id.clone());
    tokio::spawn(async move {
        let mut end = Job::Failed("the context was not compressed".to_owned());
        while let Some(event) = host.next().await {
            match event {
                Event::RowAdded { row } if matches!(row.body, RowBody::Summary(_)) => {
                    end = Job::Done;
                }
                Event::Failed(failure)
                    if failure.about == Subject::Compress && end != Job::Done =>
                {
                    end = Job::Failed(failure.message);
                }
                Event::TurnEnded { .. } => break,
                _ => {}
            }
        }
        client_state.note_job(session, end);
    });
    Ok(job(&serving, &id))
}

async fn compress_status(
    State(serving): State<Serving>,
    params: Params,
) -> Result<Response, Refusal> {
    let id = params.get("session_id").ok_or_else(|| Refusal::bad("session_id is required"))?;
    Ok(job(&serving, &SessionId(id.to_owned())))
}

fn job(serving: &Serving, id: &SessionId) -> Response {
    let (status, error) = match serving.client_state.job(id) {
        None => ("idle", None),
        Some(Job::Running) => ("running", None),
        Some(Job::Done) => ("done", None),
        Some(Job::Failed(why)) => ("error", Some(why)),
    };
    let mut told = json!({ "ok": error.is_none(), "status": status, "session_id": id });
    if let Some(error) = error {
        told["error"] = json!(error);
        told["error_status"] = json!(400);
    }
    answer(&told)
}

async fn set_goal(State(serving): State<Serving>, body: Body) -> Result<Response, Refusal> {
    let mut view = view_of(&serving, &body).await?;
    let args = body.text("args").unwrap_or("status");
    let (action, asked) = match args.to_lowercase().as_str() {
        "status" => ("status", None),
        "pause" => ("pause", Some(GoalAsk::Pause)),
        "resume" => ("resume", Some(GoalAsk::Resume)),
        "clear" | "stop" | "done" => ("clear", Some(GoalAsk::Clear)),
        _ => ("set", Some(GoalAsk::Set { text: args.to_owned() })),
    };
    let before = view.transcript.goal.as_ref().map(|goal| goal.state.clone());
    let none = before.is_none();
    // What changes nothing is answered by no event.
    let changes = match (&asked, &before) {
        (Some(GoalAsk::Set { .. }), _) | (Some(GoalAsk::Clear), Some(_)) => true,
        (Some(GoalAsk::Pause), Some(state)) => *state == GoalState::Active,
        (Some(GoalAsk::Resume), Some(state)) => *state != GoalState::Active,
        (None, _) | (Some(GoalAsk::Clear | GoalAsk::Pause | GoalAsk::Resume), None) => false,
    };
    if let Some(asked) = asked.filter(|_| changes) {
        let changed = |event: &Event| matches!(event, Event::GoalChanged { .. }).then_some(());
        view.ask(Command::Goal(asked), changed).await?;
    }
    let now = view.transcript.goal.as_ref();
    let text = now.map(|goal| goal.text.clone()).unwrap_or_default();
    let (key, message) = match (action, now) {
        ("set", _) => ("goal_set", format!("Goal set: {text}")),
        ("clear", _) if !none => ("goal_cleared", "The goal is forgotten.".to_owned()),
        (_, None) => ("goal_status_none", "No goal is set.".to_owned()),
        ("pause", Some(_)) => ("goal_paused", format!("Goal paused: {text}")),
        ("resume", Some(_)) => ("goal_resumed", format!("Goal resumed: {text}")),
        (_, Some(_)) => ("goal_status", format!("Goal: {text}")),
    };
    let mut told = json!({
        "ok": true,
        "action": action,
        "message": message,
        "goal": now.map(goal),
        "message_key": key,
    });
    if action == "set" {
        if view.transcript.running.is_none() {
            let started = |event: &Event| matches!(event, Event::TurnStarted { .. }).then_some(());
            // While another turn runs it starts later, and the session's stream will tell.
            view.wait(started).await.ok();
        }
        told["kickoff_prompt"] = json!(text);
        told["session_id"] = json!(view.transcript.session);
        told["stream_id"] = json!(serving.feeds.active(&view.transcript));
        let running = view.transcript.running.as_ref();
        told["pending_started_at"] = json!(running.map(|running| seconds(running.started_at)));
        told["turn_id"] = json!(running.map(|running| running.turn.to_string()));
        told["title"] = head(&view.transcript, None)["title"].clone();
    }
    Ok(answer(&told))
}
