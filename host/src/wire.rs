//! The JSON of hermes-webui: its names stand here and nowhere else. `decode` reads what such a server
//! sends, `encode` writes what it would send in its place.

pub(crate) mod decode;
pub(crate) mod encode;
