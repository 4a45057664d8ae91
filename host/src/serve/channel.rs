//! The session channel and the global streams of the WebUI protocol.

use axum::Router;

use super::Serving;

pub(super) fn routes() -> Router<Serving> {
    Router::new()
}
