//! Keeping the work of an interface running in a background host. A restart, not a hand-over of
//! memory: the next host waits for the state directory, this one stops after its last commit and
//! marks the turns it leaves open, the next one resumes them and adopts the running commands.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use host::embedded::EmbeddedHost;
use host::serve::Server;
use host::state_dir::StateDir;
use host::store::Lock;

use crate::args;
use crate::detach::{self, Detached};
use crate::dirs::Dirs;

/// How long the next host may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How often the lock is checked.
const POLL: Duration = Duration::from_millis(500);

/// How the next host is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start<'a> {
    pub(crate) exe: &'a Path,
    pub(crate) dirs: &'a Dirs,
    pub(crate) run: &'a args::Run,
}

impl Start<'_> {
    /// Starts a host in the background. It waits for the state directory.
    pub(crate) fn detached(&self) -> anyhow::Result<Detached> {
        detach::start(self.exe, self.dirs, &detach::kept_host_args(self.run))
    }
}

/// Stops the host of this process in favour of the one that waits.
pub(crate) async fn make_way(host: EmbeddedHost, server: Option<Server>) {
    // First: its socket must be gone before the next host creates its own.
    if let Some(server) = server {
        server.hand_over().await;
    }
    host.hand_over().await;
}

/// Waits until the next host answers.
pub(crate) async fn taken_over(detached: &mut Detached, state: &StateDir) -> anyhow::Result<()> {
    let answers = tokio::time::timeout(ANSWER, detached.answers(state)).await;
    answers.context("the host in the background does not answer")??;
    Ok(())
}

/// How the host of another process was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It did not stop by itself.
    Killed,
    /// It stopped on purpose: it is replaced only once the user sends something.
    Stopped,
    /// It stopped on purpose, and the user has sent something since.
    Wanted,
}

/// Watches whether a host owns the state directory.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// How many checks in a row found none.
    misses: u32,
    /// The user was notified that it stopped.
    is_notified: bool,
    /// A killed one is not replaced by itself any more.
    is_given_up: bool,
}

impl Watch {
    /// Returns once the host is gone and something is to be done about it. `is_wanted` says
    /// whether the user has sent something. Cancel-safe.
    pub(crate) async fn next(&mut self, state: &StateDir, is_wanted: impl Fn() -> bool) -> Loss {
        let lock = state.host_lock();
        loop {
            tokio::time::sleep(POLL).await;
            if Lock::is_held(&lock) {
                *self = Self::default();
                continue;
            }
            self.misses += 1;
            // One miss is not enough: a new host writes its name a moment after it takes the lock.
            if self.misses < 2 {
                continue;
            }
            // One that stopped on purpose has emptied its lock file.
            let was_killed = std::fs::read(&lock).is_ok_and(|text| !text.is_empty());
            if was_killed && !self.is_given_up {
                self.misses = 0;
                return Loss::Killed;
            }
            if !std::mem::replace(&mut self.is_notified, true) {
                return Loss::Stopped;
            }
            if is_wanted() {
                self.misses = 0;
                return Loss::Wanted;
            }
        }
    }

    /// Replaces killed hosts no more until the user sends something.
    pub(crate) fn give_up(&mut self) {
        self.is_given_up = true;
    }
}
