//! Letting running turns finish before the host of this process stops.

use std::io::Write as _;
use std::pin::pin;
use std::time::Duration;

use host::embedded::EmbeddedHost;
use tokio::sync::mpsc::UnboundedReceiver;

/// If it takes longer than this, the user is told what is being waited for.
const SOON: Duration = Duration::from_millis(300);

/// Waits for running turns for as long as the config allows (`agent.restart_drain_timeout`);
/// another signal ends the wait.
pub(crate) async fn drain(host: &EmbeddedHost, signals: &mut UnboundedReceiver<i32>) {
    let mut drained = pin!(host.drain());
    if tokio::time::timeout(SOON, &mut drained).await.is_err() {
        let text = "Waiting for running turns. Ctrl-C stops now; unfinished turns resume at the next start.";
        writeln!(std::io::stderr().lock(), "{text}").ok();
        tokio::select! {
            () = drained => {}
            _ = signals.recv() => {}
        }
    }
}
