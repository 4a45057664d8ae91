//! The signals that end a run, as one stream. What is done about them is the run's.

use anyhow::Context as _;
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
