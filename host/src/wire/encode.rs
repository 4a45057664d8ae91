//! The objects and frames of the hermes-webui protocol that this host sends. Nothing here reads a
//! clock or a store.

pub(crate) mod frame;
pub(crate) mod session;

use protocol::Millis;

/// Seconds since the Unix epoch, as that protocol counts time.
pub(crate) fn seconds(at: Millis) -> f64 {
    at as f64 / 1000.0
}
