//! Keep: what an interface ran goes on in a host in the background. A restart, not a hand-over of
//! memory: the next host waits for the state folder, this one stops up to its last commit and
//! marks the turns it leaves open, the next one takes them up with the running commands.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use host::local::Local;
use host::serve::Server;
use host::store::Lock;

use crate::args;
use crate::detach::{self, Detached};
use crate::dirs::Dirs;

/// How long the next host may take until it answers.
const ANSWER: Duration = Duration::from_secs(10);
/// How often it is looked at whether the host lives.
const LOOK: Duration = Duration::from_millis(500);

/// What the next host is started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start<'a> {
    pub(crate) exe: &'a Path,
    pub(crate) dirs: &'a Dirs,
    pub(crate) run: &'a args::Run,
}

impl Start<'_> {
    /// Starts a host in the background. It waits for the state folder.
    pub(crate) fn detached(&self) -> anyhow::Result<Detached> {
        detach::start(self.exe, self.dirs, &detach::kept(self.run))
    }
}

/// Stops the host of this process in favour of the one that waits.
pub(crate) async fn make_way(local: Local, server: Option<Server>) {
    // First: its socket must be gone before the next host makes its own.
    if let Some(server) = server {
        server.stop().await;
    }
    local.hand_over().await;
}

/// Waits until the next host answers.
pub(crate) async fn taken_over(detached: &mut Detached, state: &Path) -> anyhow::Result<()> {
    let answers = tokio::time::timeout(ANSWER, detached.answers(state)).await;
    answers.context("the host in the background does not answer")??;
    Ok(())
}

/// Returns once the host of a state folder has died without a word. One that stopped on purpose
/// has emptied its lock file; nobody wants that one back.
pub(crate) async fn died(state: &Path) {
    let lock = state.join("host.lock");
    let is_dead = || {
        let left = std::fs::read(&lock).is_ok_and(|text| !text.is_empty());
        left && !Lock::is_held(&lock)
    };
    let mut looks = 0;
    // Once is not enough: who takes the lock says so a moment later.
    while looks < 2 {
        tokio::time::sleep(LOOK).await;
        looks = if is_dead() { looks + 1 } else { 0 };
    }
}
