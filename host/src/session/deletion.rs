//! The end of a session at the user's wish.

use super::{Effect, Out, Session, Stored};
use crate::store::Record;

impl Session {
    /// Ends all that runs, processes as the user's wish (W09), and leaves nothing. Whatever comes
    /// later (words of its turn, exits, answers) finds nobody (W19).
    pub(super) fn delete(&mut self, out: &mut Out) {
        if let Some(turn) = &self.turn {
            out.effects.push(Effect::Stop(turn.id));
        }
        self.kill(None, out);
        self.stopping = true;
        self.stored = Stored::NoMore;
        out.record(Record::Deleted { session: self.id() });
        out.effects.push(Effect::Forget);
    }
}
