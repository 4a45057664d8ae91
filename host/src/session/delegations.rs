//! Delegated tasks: sessions of their own that work for this one; and, in such a session, when
//! its task has come to an end and what came of it.

use super::prompts::PREVIEW;
use super::{Ack, Attendance, Effect, Effects, Reply, Session};
use crate::store::{Meta, Record, Task};
use protocol::{
    Body, End, Exit, Millis, Process, ProcessId, PromptId, Queued, Row, SessionId, Stop, Storage,
    Work,
};

/// What came of a delegated task, as far as the last rows of its session tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// The last thing its agent said.
    pub(crate) answer: String,
    /// Why that is not the end of its work, if it is not.
    pub(crate) failure: Option<String>,
}

/// Told from rows alone, so that it is the same before and after a restart.
pub(crate) fn findings(rows: &[Row]) -> Findings {
    let said = |row: &Row| match &row.body {
        Body::Assistant(answer) if !answer.text.trim().is_empty() => Some(answer.text.clone()),
        _ => None,
    };
    let failure = match rows.last().map(|row| &row.body) {
        Some(Body::Assistant(answer))
            if answer.calls.is_empty() && matches!(answer.stop, Stop::End | Stop::Calls) =>
        {
            None
        }
        Some(Body::Failure { message }) => Some(message.clone()),
        Some(_) => Some("It was interrupted before it was done.".to_owned()),
        None => Some("It never began.".to_owned()),
    };
    Findings { answer: rows.iter().rev().find_map(said).unwrap_or_default(), failure }
}

impl Findings {
    /// As one text for the agent that delegated.
    pub(crate) fn text(&self) -> String {
        match (&self.failure, self.answer.as_str()) {
            (None, answer) => answer.to_owned(),
            (Some(why), "") => why.clone(),
            (Some(why), answer) => format!("{why}\nWhat it said last:\n{answer}"),
        }
    }
}

/// How far the task that a session works on has come, in this run of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskProgress {
    /// It is worked on, if there is one.
    Open,
    /// It was taken back.
    Abandoned,
    /// Its end was reported.
    Reported,
}

/// The first prompt of the session that works on a task is named after the task.
fn brief_of(task: &ProcessId) -> PromptId {
    PromptId(task.0.clone())
}

impl Session {
    /// A tool call delegates a task. The entry in the list, the ledger, the session that will work
    /// on it and its first prompt are one commit: a crash leaves all of it or nothing.
    pub(super) fn delegate(
        &mut self,
        process: Process,
        brief: String,
        waits: bool,
        ack: Ack,
        now: Millis,
        out: &mut Effects,
    ) {
        let child = match (self.may_delegate(), process.worker().cloned()) {
            (Ok(()), Some(child)) => child,
            (Ok(()), None) => {
                return out.reply(ack, Reply::Refused("this is no task".to_owned()));
            }
            (Err(why), _) => return out.reply(ack, Reply::Refused(why)),
        };
        let meta = Meta {
            id: child.clone(),
            parent: Some(self.id()),
            source: "delegate".to_owned(),
            started_at: now,
            active_at: now,
            preview: process.command.chars().take(PREVIEW).collect(),
            model: self.meta.model.clone(),
            cwd: self.meta.cwd.clone(),
            env: self.meta.env.clone(),
            // Who works on its task has no tool that it has not.
            toolsets: self.meta.toolsets.clone(),
            task: Some(Task { parent: self.id(), process: process.id.clone() }),
            ..Meta::default()
        };
        let prompt = Queued { id: brief_of(&process.id), text: brief };
        if let (true, Some(turn)) = (waits, &mut self.turn) {
            turn.tasks.insert(process.id.clone());
            turn.awaited.insert(process.id.clone());
        }
        self.store_spawn(process, now, out);
        out.record(Record::Session(meta));
        out.record(Record::Queued { session: child.clone(), prompt });
        out.reply(ack, Reply::Go);
        out.push(Effect::Open(child));
    }

    fn may_delegate(&self) -> Result<(), String> {
        if self.meta.task.is_some() {
            return Err("a delegated task cannot delegate further; do the work here".to_owned());
        }
        if let Storage::Failing(why) = &self.view.storage {
            let text = format!("delegated tasks need a working store, and it fails: {why}");
            return Err(text);
        }
        let live = self.live_delegations();
        if live.len() >= self.rules.max_children {
            let ids: Vec<_> = live.iter().map(|(id, _)| id.0.as_str()).collect();
            return Err(format!(
                "{} delegated tasks of this session run already ({}), and that is the most at \
                 once. Wait for the end of one, or end one with `process kill`.",
                ids.len(),
                ids.join(", ")
            ));
        }
        Ok(())
    }

    /// Delegated tasks that have not ended, with the sessions that work on them.
    pub(crate) fn live_delegations(&self) -> Vec<(ProcessId, SessionId)> {
        let live = self.view.processes.iter().filter(|p| p.is_live());
        live.filter_map(|p| Some((p.id.clone(), p.worker()?.clone()))).collect()
    }

    /// A task that could not be written down must not begin when the store works again.
    pub(super) fn withdraw_brief(&mut self, id: &ProcessId, out: &mut Effects) {
        if let Some(Work::Delegation { session }) = self.process(id).map(|p| p.work.clone()) {
            out.record(Record::Unqueued { session, prompt: brief_of(id) });
        }
    }

    /// A tool call waits for the end of a delegated task.
    pub(super) fn await_end(&mut self, id: &ProcessId, ack: Ack, out: &mut Effects) {
        match (self.process(id).map(|p| p.exit.clone()), &mut self.turn) {
            (Some(Some(exit)), _) => out.reply(ack, Reply::Ended { exit }),
            (Some(None), Some(turn)) => {
                turn.awaited.insert(id.clone());
                turn.end_waits.push((id.clone(), ack));
            }
            (None, _) | (_, None) => {
                out.reply(ack, Reply::Refused(format!("there is no task {id}")));
            }
        }
    }

    /// Calls that wait for that end hear of it.
    pub(super) fn reply_end(&mut self, id: &ProcessId, exit: &Exit, out: &mut Effects) {
        let Some(turn) = &mut self.turn else { return };
        for (_, ack) in turn.end_waits.extract_if(.., |(process, _)| process == id) {
            out.reply(ack, Reply::Ended { exit: exit.clone() });
        }
    }

    /// What a turn of this session can take part in: nobody sits in front of a delegated task.
    pub(super) fn attendance(&self, attendance: Attendance) -> Attendance {
        match attendance {
            Attendance::Attended if self.meta.task.is_some() => Attendance::Delegated,
            other => other,
        }
    }

    /// Nobody waits for the task of this session any more: what runs for it ends.
    pub(super) fn abandon(&mut self, now: Millis, out: &mut Effects) {
        self.task_progress = TaskProgress::Abandoned;
        self.prompts.clear();
        for prompt in self.view.queued.clone() {
            self.leave_queue(&prompt.id, out);
        }
        self.kill(None, out);
        if self.ledger.waiting() > 0 {
            // Neither a retry nor the next host goes on with it.
            self.hold("its task was taken back; your next prompt or /wake goes on", out);
        }
        self.cancel(now, out);
    }

    /// Tells the session that delegated, once its task has come to an end; also while the host
    /// drains, for who waits for it would else use up that time (R05). A turn that a stopping host
    /// leaves open is no end, and a one-shot run that was only asked something here makes none.
    pub(super) fn report(&mut self, now: Millis, out: &mut Effects) {
        let silent = match self.task_progress {
            TaskProgress::Open => self.passive,
            TaskProgress::Abandoned => false,
            TaskProgress::Reported => true,
        };
        if silent {
            return;
        }
        if let (Some(task), Some((exit, text))) = (self.meta.task.clone(), self.verdict(now)) {
            self.task_progress = TaskProgress::Reported;
            out.push(Effect::Report { parent: task.parent, process: task.process, exit, text });
        }
    }

    /// How its task ended, once nothing of it can go on by itself.
    pub(crate) fn verdict(&self, now: Millis) -> Option<(Exit, String)> {
        self.meta.task.as_ref()?;
        if self.turn.is_some() || !self.prompts.is_empty() || !self.view.queued.is_empty() {
            return None;
        }
        let mut findings = findings(&self.view.rows);
        let lives = self.view.processes.iter().any(Process::may_wake);
        let pause = self.meta.pause.as_ref().map(|p| &p.reason);
        let held = self.meta.held.as_ref().or(pause).filter(|_| lives || self.ledger.waiting() > 0);
        let comes =
            lives || self.wakes_at().is_some() || matches!(self.view.storage, Storage::Failing(_));
        match held {
            _ if self.task_progress == TaskProgress::Abandoned => {}
            Some(why) => findings.failure = Some(format!("It cannot go on by itself: {why}.")),
            None if comes => return None,
            None => {}
        }
        let code = Some(i32::from(findings.failure.is_some()));
        let exit = Exit { end: End::Exited, code, signal: None, at: now };
        Some((exit, findings.text()))
    }
}
