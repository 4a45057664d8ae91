//! What a hermes-webui would say of our sessions.

pub(crate) mod frame;
pub(crate) mod session;
