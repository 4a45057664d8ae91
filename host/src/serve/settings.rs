//! Settings over the WebUI protocol: those that a client needs, to be read.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use super::{Serving, answer};
use crate::model::catalog;

pub(super) fn routes() -> Router<Serving> {
    Router::new().route("/api/settings", get(settings))
}

async fn settings(State(serving): State<Serving>) -> Response {
    let settings = &serving.settings;
    answer(&json!({
        "default_workspace": settings.cwd.display().to_string(),
        "default_model": settings.model_name(),
        "default_model_provider": catalog::provider_name(settings.model.provider),
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
    }))
}
