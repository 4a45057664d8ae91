//! What a host does now, in numbers: no text and no name of a session.

use super::host_loop::HostLoop;
use protocol::{Millis, Storage, Transcript};

/// The work of a host, counted over all its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Running turns, those that wait for an answer included.
    pub turns: usize,
    /// Running background commands and delegated tasks.
    pub processes: usize,
    /// Sessions in which something starts by itself later, such as a wakeup that is retried.
    pub timers: usize,
    /// Attached views.
    pub views: usize,
}

impl Work {
    /// Whether a turn or a process runs.
    pub fn runs(&self) -> bool {
        self.turns + self.processes > 0
    }
}

/// The running turns of a host and the state of its store, for monitoring.
#[derive(Clone, Debug, PartialEq)]
pub struct Runs {
    /// The running turns, the oldest first.
    pub runs: Vec<Run>,
    /// When a turn ended last since the host started.
    pub last_ended: Option<Millis>,
    /// The number of stored sessions; `None` = they cannot be counted.
    pub sessions: Option<u64>,
    /// Whether the state can be written.
    pub storage: Storage,
}

/// A running turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// When it started.
    pub started_at: Millis,
    /// Whether it works.
    pub phase: Phase,
    /// Its model, as its session names it.
    pub model: String,
}

/// The phase of a running turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It works.
    Running,
    /// It waits for an answer of the user.
    Waiting,
    /// It was interrupted and has not ended yet.
    Cancelling,
}

impl HostLoop {
    /// Counts what the sessions do.
    pub(super) fn work(&self) -> Work {
        let (timers, views) = (self.sessions.skipped_count(), self.views.count());
        let mut work = Work { timers, views, ..Work::default() };
        for (_, live) in self.sessions.iter() {
            let transcript = live.transcript();
            work.turns += usize::from(transcript.running.is_some());
            work.processes += transcript.processes.iter().filter(|p| p.is_live()).count();
            work.timers += usize::from(live.session.deadline().is_some());
        }
        work
    }

    /// Lists the running turns.
    pub(super) fn runs(&self) -> Runs {
        let running = self.sessions.iter().filter_map(|(_, live)| run(live.transcript()));
        let mut runs: Vec<Run> = running.collect();
        runs.sort_by_key(|run| run.started_at);
        let sessions = self.store.reader.count().inspect_err(|error| {
            tracing::warn!("the sessions cannot be counted: {error}");
        });
        Runs {
            runs,
            last_ended: self.turns.last_ended(),
            sessions: sessions.ok(),
            storage: self.store.state().clone(),
        }
    }
}

fn run(transcript: &Transcript) -> Option<Run> {
    let running = transcript.running.as_ref()?;
    let phase = match (running.cancelling, transcript.questions.is_empty()) {
        (true, _) => Phase::Cancelling,
        (false, false) => Phase::Waiting,
        (false, true) => Phase::Running,
    };
    Some(Run { started_at: running.started_at, phase, model: transcript.model.clone() })
}
