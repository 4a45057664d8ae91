//! Turns over the WebUI protocol: start, stream, cancel, steer.

use axum::Router;

use super::Serving;

pub(super) fn routes() -> Router<Serving> {
    Router::new()
}
