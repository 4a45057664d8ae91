//! The deletion of a session.

use super::{Effect, Effects, Session, Stored};
use crate::store::Record;

impl Session {
    /// Ends all that runs, its processes as the user's kill (W09), and leaves nothing. Whatever
    /// comes later (events of its turn, exits, answers) has no effect (W19).
    pub(super) fn delete(&mut self, out: &mut Effects) {
        if let Some(turn) = &self.turn {
            out.push(Effect::Stop(turn.id));
        }
        self.kill(None, out);
        self.stopping = true;
        self.stored = Stored::Deleted;
        out.record(Record::Deleted { session: self.id() });
        out.push(Effect::Forget);
    }
}
