//! Who is logged in: the password, the sessions of those who knew it, and the routes around them.

use std::path::Path;

use axum::Router;

use super::{Error, Serving};

pub(super) fn routes() -> Router<Serving> {
    Router::new()
}

#[derive(Debug)]
pub(super) struct Auth {
    _password: Option<String>,
}

impl Auth {
    pub(super) fn load(_state: &Path, password: Option<String>) -> Result<Self, Error> {
        Ok(Self { _password: password })
    }
}
