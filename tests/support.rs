//! What the end-to-end tests share: a home to run in, a model server on loopback, views on hosts
//! in this process, and the real binary in a terminal. No test stands here.

mod home;
mod proxy;
mod server;
mod terminal;
mod view;

pub(crate) use home::{Home, client, demo, exe, is_alive, quick, reap, run, settings_in};
pub(crate) use proxy::{BAD_GATEWAY, Fault, Proxy, Seen, TO_LOGIN};
pub(crate) use server::{Asked, Gate, Reply, Server, answer, obey};
pub(crate) use terminal::Terminal;
pub(crate) use view::{TestView, exit_of, start, wakeups};

use std::time::{Duration, Instant};

/// Generous bound for anything that must happen: never what decides a test that passes.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// How long something is watched that must not happen.
pub(crate) const QUIET: Duration = Duration::from_millis(400);

/// Looks until there is something, or fails and says what was waited for.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
