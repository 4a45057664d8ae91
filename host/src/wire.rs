//! The JSON of hermes-webui: its names stand here and nowhere else. `decode` reads what such a
//! server says, `encode` says it in its place.

pub(crate) mod decode;
pub(crate) mod encode;
