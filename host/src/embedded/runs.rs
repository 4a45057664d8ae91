//! What runs in the whole host, for those who watch over it: numbers and models, no word of what
//! is said and no name of a session.

use super::host_loop::HostLoop;
use protocol::{Millis, Storage};

/// What runs now.
#[derive(Clone, Debug, PartialEq)]
pub struct Runs {
    /// The running turns, the oldest first.
    pub runs: Vec<Run>,
    /// When a turn ended last since the host started.
    pub last_ended: Option<Millis>,
    /// How many sessions are stored; `None` = they cannot be counted.
    pub sessions: Option<u64>,
    /// Whether what happens is being stored.
    pub storage: Storage,
}

/// A running turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Since when.
    pub started_at: Millis,
    /// What it does.
    pub phase: Phase,
    /// Its model, as its session names it.
    pub model: String,
}

/// What a running turn does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It works.
    Running,
    /// It waits for an answer of the user.
    Waiting,
    /// Somebody has interrupted it.
    Cancelling,
}

impl HostLoop {
    pub(super) fn runs(&self) -> Runs {
        let mut runs: Vec<Run> = self
            .sessions
            .values()
            .filter_map(|live| {
                let view = live.session.transcript();
                let running = view.running.as_ref()?;
                let phase = match (running.cancelling, view.questions.is_empty()) {
                    (true, _) => Phase::Cancelling,
                    (false, false) => Phase::Waiting,
                    (false, true) => Phase::Running,
                };
                Some(Run { started_at: running.started_at, phase, model: view.model.clone() })
            })
            .collect();
        runs.sort_by_key(|run| run.started_at);
        let sessions = self.reader.count().inspect_err(|error| {
            tracing::warn!("the sessions cannot be counted: {error}");
        });
        Runs {
            runs,
            last_ended: self.last_ended,
            sessions: sessions.ok(),
            storage: self.storage.clone(),
        }
    }
}
