//! The background processes of a host: whose they are, adopting and killing them, and what happens
//! when they end or print something that is watched for.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::breaker::{Admission, Breaker};
use super::host_loop::HostLoop;
use super::orphans::Orphans;
use crate::clock::now;
use crate::process::{Adoption, Notice, Processes, Watch, WatchHit};
use crate::session::Input;
use crate::tool::terminal;
use crate::wakeup;
use protocol::{Event, Exit, Killer, Millis, News, ProcessId, SessionId, Subject, Toast, ViewId};

/// The directory of process directories, below the state directory.
pub(super) const DIRECTORY: &str = "proc";
/// How long the output of a process is kept that no session in memory names.
const KEPT: Duration = Duration::from_hours(7 * 24);
/// A short-lived file older than this is left over: no foreground command takes as long.
const STALE: Duration = Duration::from_hours(1);

/// The background processes of a host.
pub(super) struct HostProcesses {
    pub(super) registry: Processes,
    /// The session that each process belongs to.
    owners: HashMap<ProcessId, SessionId>,
    pub(super) orphans: Orphans,
    /// Kills that are under way.
    kills: JoinSet<()>,
    /// Gets the state in which each process was adopted.
    adoptions: mpsc::UnboundedSender<(ProcessId, Adoption)>,
    breaker: Breaker,
}

impl HostProcesses {
    pub(super) fn new(
        registry: Processes,
        adoptions: mpsc::UnboundedSender<(ProcessId, Adoption)>,
        match_silence: Duration,
    ) -> Self {
        Self {
            registry,
            owners: HashMap::new(),
            orphans: Orphans::default(),
            kills: JoinSet::new(),
            adoptions,
            breaker: Breaker::new(match_silence),
        }
    }

    /// The session that a process belongs to.
    pub(super) fn owner(&self, id: &ProcessId) -> Option<&SessionId> {
        self.owners.get(id)
    }

    pub(super) fn set_owner(&mut self, id: &ProcessId, session: &SessionId) {
        self.owners.insert(id.clone(), session.clone());
    }

    /// Forgets a process and removes its output.
    pub(super) fn remove(&mut self, id: &ProcessId) {
        self.owners.remove(id);
        self.registry.remove(id);
    }

    /// Forgets which processes belong to a session that leaves memory.
    pub(super) fn forget_session(&mut self, session: &SessionId) {
        self.owners.retain(|_, owner| owner != session);
    }

    /// Takes over a process that an earlier host has spawned; its state follows as an adoption.
    pub(super) fn adopt(&self, id: ProcessId, watch: Watch) {
        let (registry, adoptions) = (self.registry.clone(), self.adoptions.clone());
        tokio::spawn(async move {
            let found = registry.adopt_watched(&id, watch).await;
            adoptions.send((id, found)).ok();
        });
    }

    /// Kills a process of a session; a notice follows its end.
    pub(super) fn kill(&mut self, id: ProcessId) {
        let registry = self.registry.clone();
        while self.kills.try_join_next().is_some() {}
        self.kills.spawn(async move {
            registry.kill(&id).await;
        });
    }

    /// Kills an orphan; its end follows as an adoption.
    pub(super) fn kill_orphan(&mut self, id: &ProcessId) {
        let (registry, adoptions, id) = (self.registry.clone(), self.adoptions.clone(), id.clone());
        self.kills.spawn(async move {
            // Where only the child was left no notice follows its end.
            if let Some(exit) = registry.kill(&id).await {
                adoptions.send((id, Adoption::Ended(exit))).ok();
            }
        });
    }

    /// Takes the kills that are under way.
    pub(super) fn take_kills(&mut self) -> JoinSet<()> {
        std::mem::take(&mut self.kills)
    }

    /// When dropped matches are to be reported.
    pub(super) fn breaker_deadline(&self) -> Option<Millis> {
        self.breaker.deadline()
    }
}

impl HostLoop {
    /// Handles a notice of a process.
    pub(super) fn handle_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Exited { id, exit } => self.handle_exit(&id, exit),
            Notice::Matched { id, hit } => self.handle_match(id, hit),
        }
    }

    /// Handles the state in which a process was adopted.
    pub(super) fn handle_adoption(&mut self, id: ProcessId, found: Adoption) {
        if self.processes.orphans.contains(&id) {
            self.handle_orphan(&id, found);
            return;
        }
        match found {
            Adoption::Running { pid } => {
                if let Some(session) = self.processes.owner(&id).cloned() {
                    self.feed(&session, Input::Adopted { process: id, pid });
                }
            }
            Adoption::Ended(exit) => self.handle_exit(&id, exit),
            Adoption::Lost { exit, child } => {
                self.handle_exit(&id, exit);
                // Its supervisor is gone, but a kill was asked for and the child still lives.
                if child.is_some() && self.is_kill_requested(&id) {
                    let registry = self.processes.registry.clone();
                    tokio::spawn(async move { registry.kill(&id).await });
                }
            }
        }
    }

    fn handle_exit(&mut self, id: &ProcessId, exit: Exit) {
        if self.processes.orphans.contains(id) {
            self.handle_orphan(id, Adoption::Ended(exit));
            return;
        }
        let Some(session) = self.processes.owner(id).cloned() else {
            tracing::warn!(process = %id, "a process of no known session ended");
            self.processes.registry.acknowledge(id);
            return;
        };
        let output = terminal::tail(&self.processes.registry.output(id), wakeup::TAIL * 2);
        self.feed(&session, Input::Exited { process: id.clone(), exit, output });
    }

    /// Handles lines of a watched process that match. A match that the agent would be notified of
    /// counts for the limit of the whole host (P04).
    fn handle_match(&mut self, id: ProcessId, hit: WatchHit) {
        let Some(session) = self.processes.owner(&id).cloned() else {
            self.processes.registry.unwatch(&id);
            return;
        };
        let now = now();
        self.release_breaker(now);
        let live = self.sessions.get(&session);
        let counts = live.is_some_and(|live| live.session.would_deliver(&id, &hit, now));
        let admission =
            if counts { self.processes.breaker.admit(&session, now) } else { Admission::Admitted };
        if admission == Admission::Tripped {
            let text = "too many watched processes matched at once: for 30 s matches are dropped";
            self.announce_toast(&session, News::Tripped, text.to_owned());
        }
        let admitted = admission == Admission::Admitted;
        self.feed(&session, Input::Matched { process: id.clone(), hit, admitted });
        let is_watched = self.sessions.get(&session).is_some_and(|live| {
            live.transcript().processes.iter().any(|p| p.id == id && p.is_watched())
        });
        if !is_watched {
            self.processes.registry.unwatch(&id);
        }
    }

    /// Reports to each session how many of its matches were dropped, once the breaker closes.
    pub(super) fn release_breaker(&mut self, now: Millis) {
        for (session, dropped) in self.processes.breaker.release(now) {
            let text =
                format!("matches are reported again; {dropped} of this session were dropped");
            self.announce_toast(&session, News::Released { dropped }, text);
        }
    }

    fn announce_toast(&mut self, session: &SessionId, news: News, text: String) {
        let name = self.sessions.get(session).map(|l| l.session.name()).unwrap_or_default();
        let session = session.clone();
        self.announce(&Event::Toast(Toast { session, name, process: None, news, text }));
    }

    fn is_kill_requested(&self, id: &ProcessId) -> bool {
        let live = self.processes.owner(id).and_then(|session| self.sessions.get(session));
        live.is_some_and(|live| {
            let mut processes = live.transcript().processes.iter();
            processes.any(|p| p.id == *id && p.killed_by.is_some())
        })
    }

    /// Kills a process of any session in the user's name (W09).
    pub(super) fn kill(&mut self, view: ViewId, id: ProcessId) {
        if let Some(orphan) = self.processes.orphans.request_kill(&id, Killer::User) {
            // It wakes no session, so the signal need not wait for the record.
            self.store.write(vec![orphan]);
            self.processes.kill_orphan(&id);
            return;
        }
        if let Some(owner) = self.processes.owner(&id).cloned()
            && self.sessions.contains(&owner)
        {
            self.feed(&owner, Input::Kill(Some(id)));
            return;
        }
        let message = match self.store.reader.pending_processes() {
            Ok(all) => match all.into_iter().find(|p| p.id == id) {
                Some(process) => format!(
                    "process {id} belongs to session {}, which another process has open; end it \
                     there",
                    process.session
                ),
                None => format!("there is no process {id}"),
            },
            Err(error) => error.to_string(),
        };
        self.fail(view, Subject::Kill, message);
    }

    /// Removes what earlier hosts left: directories of processes that ended long ago and that no
    /// session in memory names, and short-lived files of runs that were killed.
    pub(super) fn clean_up(&self) {
        let registry = self.processes.registry.clone();
        let known: BTreeSet<ProcessId> =
            self.processes.owners.keys().chain(self.processes.orphans.ids()).cloned().collect();
        let scratch = self.turns.scratch().to_owned();
        let root = self.settings.state.join(DIRECTORY);
        tokio::spawn(async move {
            for id in registry.stored_ids() {
                // Young ones are left alone: a one-shot run may be using them.
                if !known.contains(&id)
                    && is_older(&root.join(&id.0), KEPT)
                    && let Adoption::Ended(_) | Adoption::Lost { child: None, .. } =
                        registry.adopt(&id).await
                {
                    registry.remove(&id);
                }
            }
            for entry in fs::read_dir(scratch).into_iter().flatten().flatten() {
                if is_older(&entry.path(), STALE) {
                    fs::remove_file(entry.path()).ok();
                }
            }
        });
    }
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|m| m.modified()).ok();
    modified.and_then(|at| at.elapsed().ok()).is_some_and(|a| a > age)
}
