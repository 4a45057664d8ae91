//! The goal of a session over the WebUI protocol: set, paused, resumed and cleared by one request.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};

use super::change::open_named;
use crate::serve::request_view::RequestView;
use crate::serve::{ApiError, JsonBody, ServerState, ok_json};
use crate::wire::encode::seconds;
use crate::wire::encode::session::{goal, head};
use protocol::{Command, Event, Goal, GoalAsk, GoalState};

pub(super) fn routes() -> Router<ServerState> {
    Router::new().route("/api/goal", post(change_goal))
}

async fn change_goal(
    State(server): State<ServerState>,
    body: JsonBody,
) -> Result<Response, ApiError> {
    let mut view = open_named(&server, &body).await?;
    let args = body.text("args").unwrap_or("status");
    let (action, change) = match args.to_lowercase().as_str() {
        "status" => ("status", None),
        "pause" => ("pause", Some(GoalAsk::Pause)),
        "resume" => ("resume", Some(GoalAsk::Resume)),
        "clear" | "stop" | "done" => ("clear", Some(GoalAsk::Clear)),
        _ => ("set", Some(GoalAsk::Set { text: args.to_owned() })),
    };
    let before = view.transcript.goal.as_ref().map(|goal| goal.state.clone());
    if let Some(change) = change.filter(|change| has_effect(change, before.as_ref())) {
        let changed = |event: &Event| matches!(event, Event::GoalChanged { .. }).then_some(());
        view.request(Command::Goal(change), changed).await?;
    }
    let current = view.transcript.goal.as_ref();
    let (key, message) = message(action, before.is_some(), current);
    let mut response = json!({
        "ok": true,
        "action": action,
        "message": message,
        "goal": current.map(goal),
        "message_key": key,
    });
    if action == "set" {
        add_kickoff(&mut response, &server, &mut view).await;
    }
    Ok(ok_json(&response))
}

/// Whether a change has an effect: one without is answered by no event.
fn has_effect(change: &GoalAsk, before: Option<&GoalState>) -> bool {
    match (change, before) {
        (GoalAsk::Set { .. }, _) | (GoalAsk::Clear, Some(_)) => true,
        (GoalAsk::Pause, Some(state)) => *state == GoalState::Active,
        (GoalAsk::Resume, Some(state)) => *state != GoalState::Active,
        (GoalAsk::Clear | GoalAsk::Pause | GoalAsk::Resume, None) => false,
    }
}

/// The result of an action: its key, and a text for the user.
fn message(action: &str, had_goal: bool, current: Option<&Goal>) -> (&'static str, String) {
    let text = current.map(|goal| goal.text.as_str()).unwrap_or_default();
    match (action, current) {
        ("set", _) => ("goal_set", format!("Goal set: {text}")),
        ("clear", _) if had_goal => ("goal_cleared", "The goal is forgotten.".to_owned()),
        (_, None) => ("goal_status_none", "No goal is set.".to_owned()),
        ("pause", Some(_)) => ("goal_paused", format!("Goal paused: {text}")),
        ("resume", Some(_)) => ("goal_resumed", format!("Goal resumed: {text}")),
        (_, Some(_)) => ("goal_status", format!("Goal: {text}")),
    }
}

/// Adds the turn with which a new goal begins.
async fn add_kickoff(response: &mut Value, server: &ServerState, view: &mut RequestView) {
    if view.transcript.running.is_none() {
        let started = |event: &Event| matches!(event, Event::TurnStarted { .. }).then_some(());
        // While another turn runs it starts later; then the session's stream announces it.
        view.wait_for(started).await.ok();
    }
    let transcript = &view.transcript;
    let text = transcript.goal.as_ref().map(|goal| goal.text.as_str()).unwrap_or_default();
    let running = transcript.running.as_ref();
    response["kickoff_prompt"] = json!(text);
    response["session_id"] = json!(transcript.session);
    response["stream_id"] = json!(server.feeds.active(transcript));
    response["pending_started_at"] = json!(running.map(|running| seconds(running.started_at)));
    response["turn_id"] = json!(running.map(|running| running.turn.to_string()));
    response["title"] = head(transcript, None)["title"].clone();
}
