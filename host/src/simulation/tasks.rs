//! Delegated tasks as the loop handles them: who works on one is loaded, told to stop, and heard.

use super::coverage::Interleaving;
use super::turn::Phase;
use super::world::{Awaited, World, number_of, process_id};
use crate::session::{Input, TurnEvent};
use protocol::{Delivery, End, Exit, Process, ProcessId, SessionId, State, TurnId, Watching, Work};

impl World<'_> {
    /// A call delegates a task.
    pub(super) fn delegate(&mut self, s: usize, turn: TurnId, waits: bool) {
        let p = self.new_process(s, turn);
        let worker = self.ids.len();
        self.ids.push(SessionId(format!("t{p}")));
        self.procs[p].worker = Some(worker);
        let ack = self.fresh_ack(s);
        self.set_phase(s, Phase::Delegating { ack, process: p, waits });
        let process = Process {
            id: process_id(p),
            session: self.ids[s].clone(),
            turn,
            work: Work::Delegation { session: self.ids[worker].clone() },
            command: format!("task {p}"),
            cwd: "/".to_owned(),
            pid: None,
            started_at: self.now,
            state: State::Starting,
            exit: None,
            notify: true,
            watch: Vec::new(),
            watching: Watching::default(),
            pty: false,
            killed_by: None,
            delivery: Delivery::Open,
        };
        self.coverage.note(if waits {
            Interleaving::DelegatedAndAwaited
        } else {
            Interleaving::Delegated
        });
        self.coverage.note_if(self.is_failing(), Interleaving::FailingDelegation);
        self.coverage.note_if(self.host.draining, Interleaving::DelegatedInDrain);
        let event =
            TurnEvent::Delegate { process: Box::new(process), brief: format!("brief {p}"), waits };
        self.event(s, turn, event, Some((ack, Awaited::Task(p))));
    }

    /// A call waits for the end of a task.
    pub(super) fn await_end(&mut self, s: usize, turn: TurnId, p: usize, bounded: bool) {
        let ack = self.fresh_ack(s);
        self.set_phase(s, Phase::Ending { ack, process: p, bounded });
        self.event(s, turn, TurnEvent::AwaitEnd(process_id(p)), Some((ack, Awaited::Turn)));
    }

    pub(super) fn task_of(&self, session: &SessionId) -> Option<usize> {
        let s = self.ids.iter().position(|id| id == session)?;
        self.procs.iter().position(|proc| proc.worker == Some(s))
    }

    fn delegations(&self, s: usize) -> Vec<ProcessId> {
        let live = self.session(s).map(crate::session::Session::live_delegations);
        live.unwrap_or_default().into_iter().map(|(task, _)| task).collect()
    }

    /// A session that was just written down begins to work.
    pub(super) fn open_task(&mut self, opener: usize, session: &SessionId) {
        let Some(p) = self.task_of(session) else { return };
        if self.delegations(opener).contains(&process_id(p)) {
            self.follow(opener, p);
        } else if let Some(worker) = self.procs[p].worker {
            self.open(worker);
        }
    }

    pub(super) fn adopt_tasks(&mut self, parent: usize) {
        for task in self.delegations(parent) {
            self.follow(parent, number_of(&task));
        }
    }

    fn follow(&mut self, parent: usize, p: usize) {
        let Some(worker) = self.procs.get(p).and_then(|proc| proc.worker) else { return };
        if !self.open(worker) {
            if !self.host.draining {
                let exit = Exit { end: End::FailedStart, code: None, signal: None, at: self.now };
                self.receive_end(parent, p, exit, "Its session cannot be loaded".to_owned());
            }
            return;
        }
        self.feed(parent, Input::Adopted { process: process_id(p), pid: None });
        self.settle(parent, p, worker);
    }

    fn settle(&mut self, parent: usize, p: usize, worker: usize) {
        let now = self.now;
        let verdict = self.session(worker).and_then(|session| session.task_end(now));
        if let Some((exit, output)) = verdict {
            self.receive_end(parent, p, exit, output);
        }
    }

    /// A session was loaded late: whoever gave it a task may have taken it back since.
    pub(super) fn confirm(&mut self, worker: usize) {
        let task = self.session(worker).and_then(|session| session.meta().task.clone());
        let Some(task) = task else { return };
        let parent = self.ids.iter().position(|id| *id == task.parent);
        if let Some(parent) = parent.filter(|parent| self.host.live.contains_key(parent)) {
            self.feed(parent, Input::Adopted { process: task.process, pid: None });
        }
    }

    /// A task is taken back: who works on it stops.
    pub(super) fn abandon(&mut self, parent: usize, p: usize, worker: usize) {
        self.coverage.note(Interleaving::TaskTakenBack);
        // Nobody wants anything of it any more: what was typed there leaves the queue, visibly.
        self.prompts.iter_mut().filter(|p| p.session == worker).for_each(|p| p.unqueued = true);
        if !self.open(worker) {
            return self.follow(parent, p);
        }
        let runs = self.session(worker).is_some_and(|x| x.transcript().running.is_some());
        self.coverage.note_if(runs, Interleaving::TaskTakenBackInTurn);
        self.feed(worker, Input::Abandon);
        self.settle(parent, p, worker);
    }

    /// A session is done with its task.
    pub(super) fn report_task_end(
        &mut self,
        parent: &SessionId,
        task: &ProcessId,
        exit: Exit,
        text: String,
    ) {
        self.coverage.note(Interleaving::TaskReported);
        let Some(s) = self.ids.iter().position(|id| id == parent) else { return };
        if self.open(s) {
            self.receive_end(s, number_of(task), exit, text);
        }
    }

    fn receive_end(&mut self, parent: usize, p: usize, exit: Exit, output: String) {
        let id = process_id(p);
        let session = self.session(parent);
        let ended = session
            .is_some_and(|x| x.transcript().processes.iter().any(|q| q.id == id && !q.is_live()));
        self.coverage.note_if(ended, Interleaving::TaskReportedTwice);
        self.feed(parent, Input::Exited { process: id, exit, output });
    }
}
