//! Keep: what an interface ran goes on in a host in the background. A restart, not a hand-over of
//! memory: the next host waits for the state folder, this one stops up to its last commit and
//! marks the turns it leaves open, the next one takes them up with the running commands.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use host::embedded::EmbeddedHost;
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
pub(crate) async fn make_way(local: EmbeddedHost, server: Option<Server>) {
    // First: its socket must be gone before the next host makes its own.
    if let Some(server) = server {
        server.hand_over().await;
    }
    local.hand_over().await;
}

/// Waits until the next host answers.
pub(crate) async fn taken_over(detached: &mut Detached, state: &Path) -> anyhow::Result<()> {
    let answers = tokio::time::timeout(ANSWER, detached.answers(state)).await;
    answers.context("the host in the background does not answer")??;
    Ok(())
}

/// What has become of the host of another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It died without a word.
    Killed,
    /// It stopped on purpose: nobody wants that one back before the user says so.
    Stopped,
    /// It stopped on purpose, and the user has sent something since.
    Wanted,
}

/// Looks whether the host of a state folder is there.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// How often in a row it was not.
    looks: u32,
    /// The user knows that it stopped.
    is_told: bool,
    /// A killed one is not replaced unasked.
    is_left: bool,
}

impl Watch {
    /// Returns once it is not there and something is to be done about that. `is_wanted` says
    /// whether the user has sent something. May be dropped and asked again.
    pub(crate) async fn next(&mut self, state: &Path, is_wanted: impl Fn() -> bool) -> Loss {
        let lock = state.join("host.lock");
        loop {
            tokio::time::sleep(LOOK).await;
            if Lock::is_held(&lock) {
                *self = Self::default();
                continue;
            }
            self.looks += 1;
            // Once is not enough: who takes the lock says so a moment later.
            if self.looks < 2 {
                continue;
            }
            // One that stopped on purpose has emptied its lock file.
            let was_killed = std::fs::read(&lock).is_ok_and(|text| !text.is_empty());
            if was_killed && !self.is_left {
                self.looks = 0;
                return Loss::Killed;
            }
            if !std::mem::replace(&mut self.is_told, true) {
                return Loss::Stopped;
            }
            if is_wanted() {
                self.looks = 0;
                return Loss::Wanted;
            }
        }
    }

    /// One that always dies is left dead, until the user sends something.
    pub(crate) fn leave(&mut self) {
        self.is_left = true;
    }
}
