//! Deleted sessions, the processes that outlive them, and the list of all processes of the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::host_loop::HostLoop;
use crate::process::Found;
use crate::session::Input;
use crate::store::{Durability, Record};
use protocol::Subject;
use protocol::ViewId;
use protocol::{Delivery, Event, Exit, Killer, Process, ProcessId, SessionId, State, Storage};

/// What is left of sessions that are gone.
#[derive(Default)]
pub(super) struct Orphans {
    /// Processes that live on without a session (W19).
    processes: BTreeMap<ProcessId, Process>,
    /// Sessions this host has deleted: the store may not know yet.
    deleted: BTreeSet<SessionId>,
}

impl Orphans {
    pub(super) fn is_deleted(&self, session: &SessionId) -> bool {
        self.deleted.contains(session)
    }

    pub(super) fn has(&self, process: &ProcessId) -> bool {
        self.processes.contains_key(process)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &ProcessId> {
        self.processes.keys()
    }
}

impl HostLoop {
    /// Deletes a session with the tasks it has delegated, everywhere at once (W19, S04).
    pub(super) fn delete(&mut self, front: ViewId, session: &SessionId) {
        if let Err(message) = self.try_delete(session) {
            self.fail(front, Subject::Delete, message);
        }
    }

    fn try_delete(&mut self, session: &SessionId) -> Result<(), String> {
        if let Storage::Failing(why) = &self.storage {
            return Err(format!("nothing can be deleted while the state cannot be written: {why}"));
        }
        let mut doomed = self.reader.delegated(session).map_err(|e| e.to_string())?;
        let ours = self.sessions.iter().filter(|(_, live)| {
            live.session.meta().task.as_ref().is_some_and(|task| task.parent == *session)
        });
        doomed.extend(ours.map(|(id, _)| id.clone()));
        doomed.push(session.clone());
        doomed.sort();
        doomed.dedup();
        doomed.retain(|id| !self.orphans.is_deleted(id));
        // All of them or none. What is in memory is leased already.
        let mut leases = Vec::new();
        for id in doomed.iter().filter(|id| !self.sessions.contains_key(id)) {
            let known = self.reader.find(&id.0).map_err(|e| e.to_string())?;
            if known.as_ref() != Some(id) {
                return Err(format!("there is no session {id}"));
            }
            leases.push(self.lease(id)?);
        }
        for id in doomed {
            self.orphans.deleted.insert(id.clone());
            if self.sessions.contains_key(&id) {
                self.feed(&id, Input::Delete);
            } else {
                // A session with anything under way is in memory, so nothing runs here.
                self.store
                    .write(vec![Record::Deleted { session: id.clone() }], Durability::Barrier);
                self.clear_away(&id);
                self.lists_changed();
            }
        }
        Ok(())
    }

    /// The deletion of a session is stored: it leaves memory, its views begin anew, and what of
    /// it still runs is waited for here.
    pub(super) fn forget(&mut self, id: &SessionId) {
        let Some(gone) = self.sessions.remove(id) else { return };
        self.lists_changed();
        self.owners.retain(|_, owner| owner != id);
        self.clear_away(id);
        self.forget_task(gone.session.meta().task.clone());
        let transcript = gone.session.transcript();
        let left: Vec<Process> = transcript
            .processes
            .iter()
            .filter(|p| p.is_live() && p.work == protocol::Work::Command)
            .cloned()
            .collect();
        self.adopt_orphans(left);
        let name = transcript.title.clone().unwrap_or_else(|| id.to_string());
        for front in self.fronts.of(id).to_vec() {
            let fresh = self.open_new();
            self.show(front, &fresh);
            let message = format!("the session \"{name}\" was deleted; this is a new one");
            self.fail(front, Subject::Session, message);
        }
    }

    /// What a deleted session leaves beside the store.
    fn clear_away(&self, id: &SessionId) {
        self.remove_uploads(id);
        // Nobody writes a session that is gone, so nobody misses the file.
        fs::remove_file(self.settings.state.lease(&id)).ok();
    }

    /// Takes up processes that earlier hosts left without a session, so that their end is noticed.
    pub(super) fn find_orphans(&mut self) -> Result<(), crate::store::Error> {
        for session in self.reader.lost_owners()? {
            tracing::error!(%session, "what this session had under way is orphaned: it is lost");
            self.store.write(vec![Record::Deleted { session }], Durability::Barrier);
        }
        let orphans = self.reader.orphans()?;
        self.adopt_orphans(orphans);
        Ok(())
    }

    fn adopt_orphans(&mut self, processes: Vec<Process>) {
        for process in processes {
            let id = process.id.clone();
            let process = Process { delivery: Delivery::Orphaned, ..process };
            self.orphans.processes.insert(id.clone(), process);
            let (processes, adopted) = (self.processes.clone(), self.adopted.clone());
            tokio::spawn(async move {
                let found = processes.adopt(&id).await;
                adopted.send((id, found)).ok();
            });
        }
    }

    /// What became of an orphan.
    pub(super) fn found_orphan(&mut self, id: &ProcessId, found: Found) {
        let Some(process) = self.orphans.processes.get_mut(id) else { return };
        match found {
            Found::Running { pid } | Found::Lost { child: pid @ Some(_), .. } => {
                process.state = State::Running;
                process.pid = pid.or(process.pid);
                if process.killed_by.is_some() {
                    self.end_orphan(id);
                }
            }
            Found::Ended(exit) | Found::Lost { exit, child: None } => self.bury(id, exit),
        }
    }

    fn end_orphan(&mut self, id: &ProcessId) {
        let (processes, adopted, id) = (self.processes.clone(), self.adopted.clone(), id.clone());
        self.kills.spawn(async move {
            // Where only the child was left no notice follows its end.
            if let Some(exit) = processes.kill(&id).await {
                adopted.send((id, Found::Ended(exit))).ok();
            }
        });
    }

    /// An orphan has ended. Nobody is told; its folder goes.
    fn bury(&mut self, id: &ProcessId, exit: Exit) {
        let Some(process) = self.orphans.processes.remove(id) else { return };
        tracing::info!(process = %id, command = process.command, ?exit, "an orphan has ended");
        let ended = Process { state: State::Ended, exit: Some(exit), ..process };
        self.store.write(vec![Record::Process(ended)], Durability::Barrier);
        self.processes.remove(id);
    }

    /// Ends a process, whichever session's it is (W09).
    pub(super) fn kill(&mut self, front: ViewId, id: ProcessId) {
        if let Some(process) = self.orphans.processes.get_mut(&id) {
            // It wakes nobody, so the wish need not be stored before the signal.
            process.killed_by = Some(Killer::User);
            let record = Record::Process(process.clone());
            self.store.write(vec![record], Durability::Barrier);
            self.end_orphan(&id);
            return;
        }
        if let Some(owner) = self.owners.get(&id).cloned()
            && self.sessions.contains_key(&owner)
        {
            self.feed(&owner, Input::Kill(Some(id)));
            return;
        }
        let message = match self.reader.pending_processes() {
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
        self.fail(front, Subject::Kill, message);
    }

    /// All processes of the host that live or wait, oldest first.
    pub(super) fn list_processes(&mut self, front: ViewId) {
        let stored = match self.reader.pending_processes() {
            Ok(stored) => stored,
            Err(error) => {
                self.fail(front, Subject::Processes, error.to_string());
                return;
            }
        };
        let ours = self.sessions.values().flat_map(|l| &l.session.transcript().processes);
        let mut processes: Vec<Process> =
            ours.filter(|p| p.is_live() || p.delivery.is_pending()).cloned().collect();
        processes.extend(self.orphans.processes.values().cloned());
        // What is in memory is newer than what is stored of it.
        processes.extend(stored.into_iter().filter(|p| {
            !self.sessions.contains_key(&p.session)
                && !self.orphans.is_deleted(&p.session)
                && !self.orphans.has(&p.id)
        }));
        processes.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        self.push(front, Event::ProcessesListed { processes });
    }
}
