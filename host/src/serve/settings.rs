//! Settings and reasoning over the WebUI protocol.

use axum::Router;

use super::Serving;

pub(super) fn routes() -> Router<Serving> {
    Router::new()
}
