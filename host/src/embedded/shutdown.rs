//! The end of a host: draining, interrupting everything, and the orderly stop.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::host_loop::{HostLoop, Receivers};
use crate::session::Input;
use crate::store::Report;

/// How long a stop waits for processes to die: a polite request, its grace, and force.
const KILLS: Duration = Duration::from_secs(3);

/// How a host ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The next host decides whether it continues the running turns.
    Stop,
    /// Another host follows at once and continues the running turns whatever their age (P10).
    HandOver,
}

/// How far the end of a host has come.
#[derive(Default)]
pub(super) struct Shutdown {
    drain: Option<Drain>,
    stopping: bool,
}

/// A host in which nothing starts any more, and the running turns may end.
struct Drain {
    /// Until when they may.
    until: Instant,
    /// The callers that wait for that.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Shutdown {
    /// Whether no turn starts any more.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether running turns are being cut off, too.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    pub(super) fn set_stopping(&mut self) {
        self.stopping = true;
    }

    /// Begins a drain, or joins the one that has begun; `done` is notified at its end.
    fn drain(&mut self, until: Instant, done: oneshot::Sender<()>) {
        let drain = self.drain.get_or_insert_with(|| Drain { until, waiting: Vec::new() });
        drain.waiting.push(done);
    }

    /// When the drain ends: now if no turn works. `None` if no caller waits for it.
    fn deadline(&self, works: impl FnOnce() -> bool) -> Option<Instant> {
        let drain = self.drain.as_ref().filter(|drain| !drain.waiting.is_empty())?;
        Some(if works() { drain.until } else { Instant::now() })
    }

    /// Notifies the callers that wait for the drain.
    pub(super) fn end_drain(&mut self) {
        for waiting in self.drain.iter_mut().flat_map(|drain| drain.waiting.drain(..)) {
            waiting.send(()).ok();
        }
    }
}

impl HostLoop {
    /// Starts nothing from now on; running turns may end (R05). `done` is notified when they have,
    /// or when [`crate::settings::Agent::drain`] has passed.
    pub(super) fn start_drain(&mut self, done: oneshot::Sender<()>) {
        self.shutdown.drain(Instant::now() + self.settings.agent.drain, done);
        for id in self.sessions.ids() {
            self.feed(&id, Input::Drain);
        }
    }

    /// When the callers that wait for the drain are to be notified.
    pub(super) fn drain_deadline(&self) -> Option<Instant> {
        self.shutdown.deadline(|| self.sessions.has_working_turn())
    }

    /// Ends all work of all sessions in the user's name. The turns that wait behind it must not
    /// start.
    pub(super) fn interrupt_all(&mut self) {
        for id in self.sessions.ids() {
            self.feed(&id, Input::Drain);
            if self.sessions.get(&id).is_some_and(|live| live.transcript().running.is_some()) {
                self.feed(&id, Input::Cancel);
            }
            self.feed(&id, Input::Kill(None));
        }
    }

    /// Stops the running turns where they are and waits until everything is written.
    pub(super) async fn stop(mut self, ending: Ending, receivers: &mut Receivers) {
        self.shutdown.set_stopping();
        for id in self.sessions.ids() {
            let input = match ending {
                Ending::Stop => Input::Stop,
                Ending::HandOver => Input::HandOver,
            };
            self.feed(&id, input);
        }
        let commands = self.turns.abort_all().await;
        self.drain_turn_messages(receivers);
        self.flush();
        self.settle_writes(receivers).await;
        let kills = self.processes.take_kills();
        let ends = futures::future::join(kills.join_all(), commands);
        if tokio::time::timeout(KILLS, ends).await.is_err() {
            // Its record is stored: the next host repeats the kill.
            tracing::warn!("a process did not die before the host stopped");
        }
        if let Err(error) = self.store.close() {
            tracing::error!("the store did not close: {error}");
        }
    }

    /// Releases effects until everything that was written is stored, or cannot be.
    async fn settle_writes(&mut self, receivers: &mut Receivers) {
        let last = self.store.write(Vec::new());
        while let Some(report) = receivers.reports.recv().await {
            let no = match report {
                Report::Committed(no) => {
                    self.release(no);
                    no
                }
                Report::Recovered(no) => {
                    self.release_recovered(no);
                    no
                }
                Report::Failing { upto, message } => {
                    tracing::error!("not everything could be written: {message}");
                    self.release_unstored(upto);
                    upto
                }
            };
            if no >= last {
                break;
            }
        }
    }
}
