//! Delegated tasks: sessions of their own that work for this one.

use super::{Ack, Out, Reply, Session};
use crate::protocol::{Millis, Process, ProcessId};

impl Session {
    /// A tool call delegates a task.
    pub(super) fn delegate(
        &mut self,
        _process: Process,
        _brief: String,
        ack: Ack,
        _now: Millis,
        out: &mut Out,
    ) {
        out.reply(ack, Reply::Refused("not here yet".to_owned()));
    }

    /// A tool call waits for the end of a delegated task.
    pub(super) fn await_end(&mut self, _process: &ProcessId, ack: Ack, out: &mut Out) {
        out.reply(ack, Reply::Refused("not here yet".to_owned()));
    }
}
