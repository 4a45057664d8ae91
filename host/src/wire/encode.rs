//! What a hermes-webui would say of our sessions.

pub(crate) mod session;
