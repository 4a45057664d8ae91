//! The settings that a client of the WebUI protocol reads. None can be changed here.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use super::catalog::provider_of;
use super::request_view::RequestView;
use super::{ApiError, ServerState, ok_json};

pub(super) fn routes() -> Router<ServerState> {
    Router::new().route("/api/settings", get(settings))
}

async fn settings(State(server): State<ServerState>) -> Result<Response, ApiError> {
    let settings = &server.settings;
    // The model of new sessions.
    let model = RequestView::open_new(&server).await?.transcript.model;
    Ok(ok_json(&json!({
        "default_workspace": settings.cwd.display().to_string(),
        "default_model": model,
        "default_model_provider": provider_of(&server, &model),
        "default_message_mode": "queue",
        "bot_name": "Hermes",
        "show_thinking": true,
        // There is no limit here.
        "pinned_sessions_limit": 1_000_000,
        "max_tokens": settings.model.max_tokens,
        "auth_enabled": server.auth.is_on(),
        "password_auth_enabled": server.auth.is_on(),
        "passkeys_enabled": false,
        "passwordless_enabled": false,
        // No `webui_version`: the page asks to be reloaded where that differs from its own.
        "agent_version": &*server.version,
    })))
}
