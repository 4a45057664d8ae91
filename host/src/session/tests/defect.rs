//! A defect on demand, for the simulation, which must notice it.

use crate::session::Session;

impl Session {
    /// Forgets what waits for a turn.
    pub(crate) fn drop_waiting(&mut self) {
        self.ledger.drop_waiting();
    }
}
