//! Delegated tasks between sessions: the worker is loaded, stopped when its task is taken back, and
//! its result reported to the parent.

use super::host_loop::HostLoop;
use super::{Attendance, Role};
use crate::clock::now;
use crate::redact;
use crate::session::{Input, task_result};
use crate::store::Task;
use protocol::{End, Exit, Process, ProcessId, SessionId};

/// Rows of a worker's session that are read for its last answer.
const LAST: usize = 50;

impl HostLoop {
    /// The session that works on a delegated task; `None` for a command.
    pub(super) fn worker(&self, process: &ProcessId) -> Option<SessionId> {
        let parent = self.sessions.get(self.processes.owner(process)?)?;
        let mut known = parent.transcript().processes.iter();
        known.find(|p| p.id == *process)?.worker().cloned()
    }

    /// Whether the session that is to work on a task exists already.
    pub(super) fn is_worker_taken(&self, process: &Process) -> bool {
        process.worker().is_some_and(|worker| self.is_known(worker))
    }

    /// Starts a session that was stored just now: the worker of a task, or another one.
    pub(super) fn start_stored(&mut self, parent: &SessionId, session: &SessionId) {
        let tasks = self.delegations(parent);
        match tasks.into_iter().find(|(_, worker)| worker == session) {
            Some((task, worker)) => self.follow(parent, task, &worker),
            None => {
                if let Err(why) = self.load(session) {
                    tracing::error!(session = %session, "cannot start the session: {why}");
                }
            }
        }
    }

    /// Resumes the workers of a session that was loaded. A one-shot run leaves them alone.
    pub(super) fn adopt_delegations(&mut self, parent: &SessionId) {
        if self.role == Role::Owner {
            for (task, worker) in self.delegations(parent) {
                self.follow(parent, task, &worker);
            }
        }
    }

    fn delegations(&self, parent: &SessionId) -> Vec<(ProcessId, SessionId)> {
        self.sessions.get(parent).map(|l| l.session.live_delegations()).unwrap_or_default()
    }

    /// Loads the worker of a task and reports its state to the parent.
    fn follow(&mut self, parent: &SessionId, task: ProcessId, worker: &SessionId) {
        if !self.sessions.contains(worker) {
            if self.shutdown.is_draining() {
                // It is stored: the next host starts it.
                return;
            }
            if self.sessions.lease(worker).is_err() {
                self.sessions.retry_later(worker);
                return;
            }
            if let Err(why) = self.load_with(worker, Attendance::Delegated) {
                let exit = Exit { end: End::FailedStart, code: None, signal: None, at: now() };
                let output = format!("Its session cannot be loaded: {why}.");
                self.feed(parent, Input::Exited { process: task, exit, output });
                return;
            }
        }
        // A kill that was stored is repeated with it.
        self.feed(parent, Input::Adopted { process: task.clone(), pid: None });
        self.settle_task(parent, task, worker);
    }

    /// Reports the end of a task to its parent, if the worker is done with it.
    fn settle_task(&mut self, parent: &SessionId, task: ProcessId, worker: &SessionId) {
        let result = self.sessions.get(worker).and_then(|live| live.session.task_end(now()));
        if let Some((exit, output)) = result {
            self.feed(parent, Input::Exited { process: task, exit, output });
        }
    }

    /// Checks the task of a session that was loaded late: its parent may have taken it back since.
    pub(super) fn confirm_task(&mut self, worker: &SessionId) {
        let task = self.sessions.get(worker).and_then(|live| live.session.meta().task.clone());
        if let Some(task) = task
            && self.sessions.contains(&task.parent)
        {
            self.feed(&task.parent, Input::Adopted { process: task.process, pid: None });
        }
    }

    /// Stops the worker of a task that was taken back.
    pub(super) fn abandon(&mut self, parent: &SessionId, task: &ProcessId, worker: &SessionId) {
        if !self.sessions.contains(worker) && self.load(worker).is_err() {
            // Once it can be loaded, it is stopped then.
            self.follow(parent, task.clone(), worker);
            return;
        }
        self.feed(worker, Input::Abandon);
        self.settle_task(parent, task.clone(), worker);
    }

    /// Reports the loss of a task whose worker was deleted.
    pub(super) fn end_deleted_task(&mut self, task: Option<Task>) {
        if let Some(Task { parent, process }) = task
            && self.sessions.contains(&parent)
        {
            let exit = Exit { end: End::Lost, code: None, signal: None, at: now() };
            let output = "Its session was deleted.".to_owned();
            self.feed(&parent, Input::Exited { process, exit, output });
        }
    }

    /// Reports the end of a task to its parent, which is loaded for it.
    pub(super) fn report_task(
        &mut self,
        parent: &SessionId,
        process: ProcessId,
        exit: Exit,
        output: String,
    ) {
        if let Err(why) = self.load(parent) {
            tracing::warn!(session = %parent, "cannot report the end of {process}: {why}");
            // Once loaded, it asks for the end of its tasks itself.
            if self.sessions.lease(parent).is_err() {
                self.sessions.retry_later(parent);
            }
            return;
        }
        self.feed(parent, Input::Exited { process, exit, output });
        self.sessions.mark_unused(parent);
    }

    /// The last answer of the session that works on a task, for a view.
    pub(super) fn last_answer(&self, worker: &SessionId) -> String {
        let result = match self.sessions.get(worker) {
            Some(live) => task_result(&live.transcript().rows),
            None => match self.store.reader.load(worker, LAST) {
                Ok(Some(loaded)) => task_result(&loaded.rows),
                Ok(None) | Err(_) => return String::new(),
            },
        };
        redact::secrets(&redact::plain(&result.answer)).into_owned()
    }
}
