//! The stop of the host, and whether a session is busy.

use super::resume::Reason;
use super::{Effects, Session};
use crate::store::Record;
use protocol::{Millis, Outcome, Process};

impl Session {
    /// The host stops. The running turn stays open with all it has: the next host resumes it.
    pub(super) fn stop(&mut self, now: Millis, out: &mut Effects) {
        self.stopping = true;
        let Some(turn) = &self.turn else { return };
        if turn.is_cancelled() || turn.purpose.is_internal() || self.passive {
            // A compression that was cut off has changed nothing: nobody needs to know.
            let failure = (!turn.purpose.is_internal()).then(|| Reason::Stale.text().to_owned());
            self.finish_turn(Outcome::Interrupted, failure, now, out);
        } else {
            self.queue_remark(out);
        }
    }

    /// The turn that was left open is to be resumed, however late the next host starts (P10).
    pub(super) fn hand_over(&mut self, out: &mut Effects) {
        let left = self.turn.as_ref().map(|turn| turn.id);
        if left.is_some() && self.meta.handed_over != left {
            self.meta.handed_over = left;
            out.record(Record::Session(self.meta.clone()));
        }
    }

    /// Processes whose supervisors the host loop must find.
    pub(crate) fn live_processes(&self) -> impl Iterator<Item = &Process> {
        self.view.processes.iter().filter(|p| p.is_live() && p.worker().is_none())
    }

    /// Whether a turn runs that may come to its end without the user.
    pub(crate) fn works(&self) -> bool {
        self.turn.is_some() && self.view.questions.is_empty()
    }

    /// Whether nothing happens in it by itself any more.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.turn.is_none()
            && self.ledger.waiting() == 0
            && self.prompts.is_empty()
            && !self.has_active_goal()
            && !self.view.processes.iter().any(Process::is_live)
    }
}
