//! Watched output: what a match does to the session (P01 to P05).

use super::{Out, Session};
use crate::process::Hit;
use crate::protocol::{Millis, ProcessId};

impl Session {
    /// Lines of a watched process matched.
    pub(super) fn matched(
        &mut self,
        _process: &ProcessId,
        _hit: Hit,
        _admitted: bool,
        _now: Millis,
        _out: &mut Out,
    ) {
    }

    /// The user began anew elsewhere.
    pub(super) fn reset(&mut self, _out: &mut Out) {}
}
