//! The signals that end a run, as one stream, and the one that suspends it. Handling them is up to
//! the run.

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// SIGINT, SIGTERM and SIGHUP from now on, by number.
pub(crate) fn signals() -> anyhow::Result<UnboundedReceiver<i32>> {
    let (tx, rx) = unbounded_channel();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut stream = signal(kind).context("cannot listen for signals")?;
        let tx = tx.clone();
        let number = kind.as_raw_value();
        tokio::spawn(
            async move { while stream.recv().await.is_some() && tx.send(number).is_ok() {} },
        );
    }
    Ok(rx)
}

/// Unblocks the signal that [`Suspension`] blocks: a process started by an interface inherits the
/// block.
pub(crate) fn unblock_suspend() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTSTP);
    if let Err(error) = signals.thread_unblock() {
        tracing::debug!("SIGTSTP may stay blocked: {error}");
    }
}

/// SIGTSTP as a request: by itself it would stop the host in the middle of its work (P14).
#[derive(Debug)]
pub(crate) struct Suspension {
    signals: SigSet,
    requests: UnboundedReceiver<()>,
}

impl Suspension {
    /// Must be called before any other thread starts: threads inherit the block.
    pub(crate) fn take_over() -> anyhow::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTSTP);
        signals.thread_block().context("cannot block SIGTSTP")?;
        let (tx, requests) = unbounded_channel();
        std::thread::spawn(move || while signals.wait().is_ok() && tx.send(()).is_ok() {});
        Ok(Self { signals, requests })
    }

    /// Returns when the process is asked to suspend itself.
    pub(crate) async fn asked(&mut self) {
        if self.requests.recv().await.is_none() {
            // The thread is gone.
            std::future::pending::<()>().await;
        }
    }

    /// Stops this process, and others of the same shell job, until it is continued. Returns at once
    /// where no shell controls the job.
    pub(crate) async fn suspend(&mut self) -> anyhow::Result<()> {
        while self.requests.try_recv().is_ok() {}
        kill(Pid::from_raw(0), Signal::SIGTSTP).context("cannot suspend")?;
        // Our own copy of the signal.
        self.asked().await;
        self.signals.thread_unblock().context("cannot unblock SIGTSTP")?;
        let raised = raise(Signal::SIGTSTP);
        self.signals.thread_block().context("cannot block SIGTSTP")?;
        raised.context("cannot suspend")
    }
}
