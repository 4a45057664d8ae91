//! The wall clock of the host.

use std::time::{SystemTime, UNIX_EPOCH};

use protocol::Millis;

/// Now, in milliseconds since the Unix epoch; 0 for a clock before it.
pub fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as Millis)
}
