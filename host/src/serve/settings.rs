//! Settings over the WebUI protocol: those that a client needs, to be read.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use super::catalog::provider_of;
use super::{Refusal, Serving, answer, ask};

pub(super) fn routes() -> Router<Serving> {
    Router::new().route("/api/settings", get(settings))
}

async fn settings(State(serving): State<Serving>) -> Result<Response, Refusal> {
    let settings = &serving.settings;
    // With what a new session begins.
    let model = ask::anywhere(&serving).await?.transcript.model;
    Ok(answer(&json!({
        "default_workspace": settings.cwd.display().to_string(),
        "default_model": model,
        "default_model_provider": provider_of(&serving, &model),
        "default_message_mode": "queue",
        "bot_name": "Hermes",
        "show_thinking": true,
        // Here as many as one likes may be pinned.
        "pinned_sessions_limit": 1_000_000,
        "max_tokens": settings.model.max_tokens,
        "auth_enabled": serving.auth.is_on(),
        "password_auth_enabled": serving.auth.is_on(),
        "passkeys_enabled": false,
        "passwordless_enabled": false,
        // No `webui_version`: that is the page's, which asks to be loaded anew where another is named.
        "agent_version": &*serving.version,
    })))
}
