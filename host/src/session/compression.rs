//! Compression of the model's context: what a summary does to the session.

use super::{Ack, Out, Reply, Session};
use crate::protocol::{Millis, Summary};

impl Session {
    /// A front end wants the context compressed.
    pub(super) fn compress(&mut self, _focus: Option<String>, _now: Millis, _out: &mut Out) {}

    /// A turn has compressed the context.
    pub(super) fn compressed(&mut self, _summary: Summary, ack: Ack, _now: Millis, out: &mut Out) {
        out.reply(ack, Reply::Refused("not here yet".to_owned()));
    }
}
