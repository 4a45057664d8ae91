//! Sessions over the WebUI protocol: lists, windows and what is done to them.

use axum::Router;

use super::Serving;

pub(super) fn routes() -> Router<Serving> {
    Router::new()
}
