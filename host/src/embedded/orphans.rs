//! Processes that live on after their session was deleted (W19). They wake no session; the host
//! only waits for their end.

use std::collections::BTreeMap;

use super::host_loop::HostLoop;
use crate::process::{Adoption, Watch};
use crate::store::{Error, Record};
use protocol::{Delivery, Exit, Killer, Process, ProcessId, State};

/// Live processes without a session.
#[derive(Default)]
pub(super) struct Orphans(BTreeMap<ProcessId, Process>);

/// What follows for an orphan whose state is known now.
enum NextStep {
    /// Its end is waited for.
    Wait,
    /// It was to be killed, and lives.
    Kill,
    /// It has ended: its record is stored and its directory removed.
    Bury(Box<Process>),
}

impl Orphans {
    pub(super) fn contains(&self, id: &ProcessId) -> bool {
        self.0.contains_key(id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &ProcessId> {
        self.0.keys()
    }

    pub(super) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.0.values()
    }

    fn insert(&mut self, process: Process) {
        let process = Process { delivery: Delivery::Orphaned, ..process };
        self.0.insert(process.id.clone(), process);
    }

    /// Notes that an orphan is to be killed and by whom; returns its record. `None` = it is not an
    /// orphan.
    pub(super) fn request_kill(&mut self, id: &ProcessId, by: Killer) -> Option<Record> {
        let process = self.0.get_mut(id)?;
        process.killed_by = Some(by);
        Some(Record::Process(process.clone()))
    }

    /// Brings an orphan up to date; one that has ended is no longer among them.
    fn update(&mut self, id: &ProcessId, found: Adoption) -> NextStep {
        match found {
            Adoption::Running { pid } | Adoption::Lost { child: pid @ Some(_), .. } => {
                let Some(process) = self.0.get_mut(id) else { return NextStep::Wait };
                process.state = State::Running;
                process.pid = pid.or(process.pid);
                if process.killed_by.is_some() { NextStep::Kill } else { NextStep::Wait }
            }
            Adoption::Ended(exit) | Adoption::Lost { exit, child: None } => self.end(id, exit),
        }
    }

    fn end(&mut self, id: &ProcessId, exit: Exit) -> NextStep {
        let Some(process) = self.0.remove(id) else { return NextStep::Wait };
        let process = Process { state: State::Ended, exit: Some(exit), ..process };
        NextStep::Bury(Box::new(process))
    }
}

impl HostLoop {
    /// Adopts the processes that earlier hosts left without a session, so that their end is
    /// noticed.
    pub(super) fn find_orphans(&mut self) -> Result<(), Error> {
        for session in self.store.reader.lost_owners()? {
            tracing::error!(%session, "the session is lost: its processes are orphans now");
            self.store.write(vec![Record::Deleted { session }]);
        }
        let orphans = self.store.reader.orphans()?;
        self.adopt_orphans(orphans);
        Ok(())
    }

    pub(super) fn adopt_orphans(&mut self, processes: Vec<Process>) {
        for process in processes {
            let id = process.id.clone();
            self.processes.orphans.insert(process);
            self.processes.adopt(id, Watch::default());
        }
    }

    /// Handles the state of an orphan. No session is notified of its end.
    pub(super) fn handle_orphan(&mut self, id: &ProcessId, found: Adoption) {
        match self.processes.orphans.update(id, found) {
            NextStep::Wait => {}
            NextStep::Kill => self.processes.kill_orphan(id),
            NextStep::Bury(process) => {
                let (command, exit) = (&process.command, &process.exit);
                tracing::info!(process = %id, command, ?exit, "an orphan has ended");
                self.store.write(vec![Record::Process(*process)]);
                self.processes.registry.remove(id);
            }
        }
    }
}
