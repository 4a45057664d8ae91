//! The signals that end a run, as one stream, and the one that suspends it. What is done about
//! them is the run's.

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

/// Undoes in a process that an interface has started what that holds back ([`Suspension`]): it is
/// inherited.
pub(crate) fn let_through() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTSTP);
    if let Err(error) = signals.thread_unblock() {
        tracing::debug!("SIGTSTP may be held back: {error}");
    }
}

/// SIGTSTP, which would stop the host in the middle of its work: it is taken as a wish (P14).
#[derive(Debug)]
pub(crate) struct Suspension {
    signals: SigSet,
    asked: UnboundedReceiver<()>,
}

impl Suspension {
    /// Must be made before any other thread is: they are to hold the signal back too.
    pub(crate) fn take_over() -> anyhow::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTSTP);
        signals.thread_block().context("cannot hold SIGTSTP back")?;
        let (tx, asked) = unbounded_channel();
        std::thread::spawn(move || while signals.wait().is_ok() && tx.send(()).is_ok() {});
        Ok(Self { signals, asked })
    }

    /// Returns when somebody wants the process to be suspended.
    pub(crate) async fn asked(&mut self) {
        if self.asked.recv().await.is_none() {
            // Nobody listens any more.
            std::future::pending::<()>().await;
        }
    }

    /// Stops this process, and who belongs to the same job of the shell, until it is continued.
    /// Returns at once where no shell waits for that.
    pub(crate) async fn suspend(&mut self) -> anyhow::Result<()> {
        while self.asked.try_recv().is_ok() {}
        kill(Pid::from_raw(0), Signal::SIGTSTP).context("cannot suspend")?;
        // Our own share of it.
        self.asked().await;
        self.signals.thread_unblock().context("cannot let SIGTSTP through")?;
        let raised = raise(Signal::SIGTSTP);
        self.signals.thread_block().context("cannot hold SIGTSTP back")?;
        raised.context("cannot suspend")
    }
}
