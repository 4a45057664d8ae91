//! Delegated tasks between sessions: who works on them is loaded, told to stop, and heard.

use super::host_loop::HostLoop;
use super::{Attendance, Role};
use crate::clock::now;
use crate::redact;
use crate::session::{Input, task_result};
use crate::store::Task;
use protocol::{End, Exit, Process, ProcessId, SessionId};

/// Rows of a session that are read for what it said last.
const LAST: usize = 50;

impl HostLoop {
    /// The session that works on a delegated task; none for a command.
    pub(super) fn worker(&self, process: &ProcessId) -> Option<SessionId> {
        let owner = self.sessions.get(self.owners.get(process)?)?;
        let mut known = owner.session.transcript().processes.iter();
        known.find(|p| p.id == *process)?.worker().cloned()
    }

    /// Whether a task would be given to a session that exists.
    pub(super) fn is_taken(&self, process: &Process) -> bool {
        process.worker().is_some_and(|worker| {
            let known = self.sessions.contains_key(worker);
            known || self.reader.find(&worker.0).is_ok_and(|found| found.is_some())
        })
    }

    /// A session that was just written down begins to work.
    pub(super) fn take_up(&mut self, opener: &SessionId, session: &SessionId) {
        let live = self.delegations(opener);
        match live.into_iter().find(|(_, worker)| worker == session) {
            Some((task, worker)) => self.follow(opener, task, &worker),
            None => {
                if let Err(why) = self.load(session) {
                    tracing::error!(session = %session, "not taken up: {why}");
                }
            }
        }
    }

    /// Takes up who works for a session that was loaded. A one-shot run leaves them alone.
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

    /// Loads who works on a task, and tells whose task it is what has become of it.
    fn follow(&mut self, parent: &SessionId, task: ProcessId, worker: &SessionId) {
        if !self.sessions.contains_key(worker) {
            if self.drain.is_some() {
                // It is written down: the next host begins with it.
                return;
            }
            if self.lease(worker).is_err() {
                self.look_again(worker);
                return;
            }
            if let Err(why) = self.load_for(worker, Attendance::Delegated) {
                let exit = Exit { end: End::FailedStart, code: None, signal: None, at: now() };
                let output = format!("Its session cannot be loaded: {why}.");
                self.feed(parent, Input::Exited { process: task, exit, output });
                return;
            }
        }
        // A kill that was written down is repeated with it.
        self.feed(parent, Input::Adopted { process: task.clone(), pid: None });
        self.settle(parent, task, worker);
    }

    /// If that session is done with its task, whose task it is hears so.
    fn settle(&mut self, parent: &SessionId, task: ProcessId, worker: &SessionId) {
        let verdict = self.sessions.get(worker).and_then(|l| l.session.task_end(now()));
        if let Some((exit, output)) = verdict {
            self.feed(parent, Input::Exited { process: task, exit, output });
        }
    }

    /// A session was loaded late: whoever gave it a task may have taken it back since.
    pub(super) fn confirm(&mut self, worker: &SessionId) {
        let task = self.sessions.get(worker).and_then(|l| l.session.meta().task.clone());
        if let Some(task) = task
            && self.sessions.contains_key(&task.parent)
        {
            self.feed(&task.parent, Input::Adopted { process: task.process, pid: None });
        }
    }

    /// A task is taken back: who works on it stops.
    pub(super) fn abandon(&mut self, parent: &SessionId, task: &ProcessId, worker: &SessionId) {
        if !self.sessions.contains_key(worker) && self.load(worker).is_err() {
            // Loaded later, it hears of it then.
            self.follow(parent, task.clone(), worker);
            return;
        }
        self.feed(worker, Input::Abandon);
        self.settle(parent, task.clone(), worker);
    }

    /// A session that worked on a task was deleted: nothing comes of it any more.
    pub(super) fn forget_task(&mut self, task: Option<Task>) {
        if let Some(Task { parent, process }) = task
            && self.sessions.contains_key(&parent)
        {
            let exit = Exit { end: End::Lost, code: None, signal: None, at: now() };
            let output = "Its session was deleted.".to_owned();
            self.feed(&parent, Input::Exited { process, exit, output });
        }
    }

    /// A session is done with its task.
    pub(super) fn tell(
        &mut self,
        parent: &SessionId,
        process: ProcessId,
        exit: Exit,
        output: String,
    ) {
        if let Err(why) = self.load(parent) {
            tracing::warn!(session = %parent, "the end of {process} is not told: {why}");
            // Once loaded, it asks for the end of its tasks itself.
            if self.lease(parent).is_err() {
                self.look_again(parent);
            }
            return;
        }
        self.feed(parent, Input::Exited { process, exit, output });
        self.unused.push(parent.clone());
    }

    /// What the session that works on a task has said last, for a view.
    pub(super) fn last_answer(&self, worker: &SessionId) -> String {
        let task_result = match self.sessions.get(worker) {
            Some(live) => task_result(&live.session.transcript().rows),
            None => match self.reader.load(worker, LAST) {
                Ok(Some(loaded)) => task_result(&loaded.rows),
                Ok(None) | Err(_) => return String::new(),
            },
        };
        redact::secrets(&redact::plain(&task_result.answer)).into_owned()
    }
}
