//! One session as a pure state machine: inputs in, effects out. No I/O, no clock, no channel;
//! time and ids come in as values.
//!
//! Invariant: the fold of the published events is the session's own transcript.
//! Invariant: a session runs at most one turn at a time, and a background event reaches the
//! agent in exactly one row ([`ledger`]).

mod choices;
mod compression;
mod delegations;
mod deletion;
mod effect;
mod goal;
mod holds;
mod input;
mod ledger;
mod processes;
mod prompts;
mod questions;
mod restore;
mod resume;
mod stop;
#[cfg(test)]
mod tests;
mod turn;
mod turn_end;
mod turn_events;
mod turns;
mod undo;
mod uploads;
mod watches;

pub use input::Attendance;

pub(crate) use compression::{POOR_COMPRESSIONS, is_poor};
pub(crate) use delegations::{TaskResult, task_result};
pub(crate) use effect::{Effect, Reply, TurnKind, TurnPlan};
pub(crate) use goal::GoalVerdict;
pub(crate) use input::{Ack, ConsumeAt, FinishedCall, Input, Shell, TurnEvent};
pub(crate) use processes::LIVE;
pub(crate) use questions::clarify_result;
pub(crate) use turn_end::STORE;
pub(crate) use undo::UnloadedRows;
pub(crate) use uploads::{mention, mentioned};

use std::collections::{BTreeSet, VecDeque};

use delegations::TaskProgress;
use effect::Effects;
use ledger::Ledger;
use turn::Turn;

use crate::store::{Meta, Record};
use protocol::{
    Body, Event, Gauge, Millis, News, Outcome, Process, ProcessId, PromptId, Queued, Row,
    SessionId, Storage, Toast, Transcript, TurnId, Usage,
};

/// The settings of the host that a session works with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    /// How long a question waits that no client has shown (C16).
    pub(crate) unattended_wait: Millis,
    /// Wakeup turns in a row without a user; further ones are held (W31).
    pub(crate) max_wakeups: u32,
    /// How old the tail of an interrupted turn may be for it to be resumed by itself; `None` = it
    /// never is (R01).
    pub(crate) freshness: Option<Millis>,
    /// After how long a running turn shows that it still works (R10).
    pub(crate) notify_interval: Option<Millis>,
    /// A digest of provider, address, model and key of the session's requests (W20).
    pub(crate) fingerprint: String,
    /// How many delegated tasks run at once.
    pub(crate) max_children: usize,
    /// How long a cancelled turn may take to unwind (W23).
    pub(crate) unwind: Millis,
    /// Shortest time between two matches of one process that are reported (P03).
    pub(crate) match_gap: Millis,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            unattended_wait: 24 * 3_600_000,
            max_wakeups: 20,
            freshness: Some(3_600_000),
            notify_interval: Some(180_000),
            fingerprint: String::new(),
            max_children: 3,
            unwind: 10_000,
            match_gap: 15_000,
        }
    }
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    view: Transcript,
    meta: Meta,
    stored: Stored,
    /// The number of the last turn.
    turns: TurnId,
    next_row: u64,
    /// Background events that no turn has answered yet.
    ledger: Ledger,
    /// Prompts that wait, with what their senders can take part in.
    prompts: VecDeque<(Queued, Attendance)>,
    /// The prompt that the remark to the running turn becomes if no result takes it along.
    remark: Option<PromptId>,
    turn: Option<Turn>,
    /// How many held wakeups the last toast reported.
    held_toasted: usize,
    /// Rules granted permanently, as far as the host knows them.
    always: BTreeSet<String>,
    stopping: bool,
    /// Nothing starts but the prompts of its client: a one-shot run.
    passive: bool,
    task_progress: TaskProgress,
    goal_step: goal::GoalStep,
    rules: Rules,
}

/// Whether the store knows a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    /// Not before its first prompt.
    NotYet,
    Yes,
    /// It was deleted; no input has an effect any more.
    Deleted,
}

impl Session {
    /// A session that begins now. Nothing is stored before its first prompt.
    pub(crate) fn new(meta: Meta, context: Option<u64>, rules: Rules) -> Self {
        let view = Transcript {
            session: meta.id.clone(),
            model: meta.model.clone(),
            cwd: meta.cwd.clone(),
            parent: meta.parent.clone(),
            reasoning: meta.reasoning.clone(),
            attachments: meta.attachments.clone(),
            goal: meta.goal.clone(),
            tokens: meta.tokens,
            toolsets: meta.toolsets.clone(),
            gauge: Gauge { used: None, length: context },
            ..Transcript::default()
        };
        let ledger = Ledger::new(meta.id.clone());
        Self {
            view,
            meta,
            stored: Stored::NotYet,
            turns: TurnId(0),
            next_row: 1,
            ledger,
            prompts: VecDeque::new(),
            remark: None,
            turn: None,
            held_toasted: 0,
            always: BTreeSet::new(),
            stopping: false,
            passive: false,
            task_progress: TaskProgress::Open,
            goal_step: goal::GoalStep::Judge,
            rules,
        }
    }

    /// The session as its views show it.
    pub(crate) fn transcript(&self) -> &Transcript {
        &self.view
    }

    /// Its metadata.
    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Sets the rules that are granted permanently.
    pub(crate) fn set_granted(&mut self, rules: BTreeSet<String>) {
        self.always = rules;
    }

    /// Switches approvals off.
    pub(crate) fn set_yolo(&mut self) {
        self.view.yolo = true;
    }

    /// Sets the system prompt; it is built once per session, before its first turn.
    pub(crate) fn set_system(&mut self, system: String) {
        self.meta.system = system;
    }

    /// When [`Input::Tick`] is due next.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        if self.stored == Stored::Deleted {
            return None;
        }
        let question = self.view.questions.iter().map(|q| self.expiry(q)).min();
        let wakeup = if self.turn.is_none() && !self.stopping { self.wakes_at() } else { None };
        let give_up = self.turn.as_ref().and_then(|turn| turn.give_up_at);
        let turn = self.note_due().into_iter().chain(give_up);
        question.into_iter().chain(wakeup).chain(turn).min()
    }

    /// Handles one input and returns what is to be done. Effects that follow a [`Effect::Record`] of
    /// the same batch wait for its commit, except deltas.
    pub(crate) fn handle(&mut self, input: Input, now: Millis) -> Vec<Effect> {
        let mut out = Effects::default();
        if self.stored != Stored::Deleted {
            self.check_clock(now);
            self.dispatch(input, now, &mut out);
            self.start_next(now, &mut out);
            self.report(now, &mut out);
            self.show_holds(&mut out);
        }
        out.into_list()
    }

    fn dispatch(&mut self, input: Input, now: Millis, out: &mut Effects) {
        match input {
            Input::Prompt { id, text, attendance } => self.prompt(id, text, attendance, now, out),
            Input::Unqueue(id) => self.unqueue(&id, out),
            Input::Steer(text) => self.steer(text, now, out),
            Input::Cancel => self.cancel(now, out),
            Input::Answer { id, answer, by } => self.answer(&id, answer, by, now, out),
            Input::Shown(id) => self.shown(&id, now, out),
            Input::Kill(which) => self.kill(which, out),
            Input::WakeNow => self.release(out),
            Input::Compress { focus } => self.compress(focus, now, out),
            Input::Archive(archived) => self.archive(archived, now, out),
            Input::Undo { unloaded, again } => self.undo(unloaded, again, now, out),
            Input::Truncate { after, unloaded } => self.truncate(after, unloaded, now, out),
            Input::SetToolsets(toolsets) => self.set_toolsets(toolsets, out),
            Input::Uploaded(file) => self.uploaded(file, out),
            Input::DropUploads => self.drop_uploads(out),
            Input::Goal(ask) => self.goal(ask, now, out),
            Input::Pin(pinned) => self.pin(pinned, out),
            Input::SetYolo { yolo, by } => self.choose_yolo(yolo, by, now, out),
            Input::SetCwd(cwd) => self.set_cwd(cwd, out),
            Input::SetReasoning(effort) => self.set_reasoning(effort, out),
            Input::Delete => self.delete(out),
            Input::Reset => self.reset(out),
            Input::Matched { process, hit, admitted } => {
                self.matched(&process, hit, admitted, now, out);
            }
            Input::SetModel { model, context, fingerprint } => {
                self.set_model(model, context, fingerprint, now, out);
            }
            Input::SetTitle(title) => self.set_title(&title, now, out),
            Input::TurnEvent { turn, ack, event } => self.turn_event(turn, ack, event, now, out),
            Input::Exited { process, exit, output } => {
                self.exited(&process, exit, &output, now, out);
            }
            Input::Adopted { process, pid } => self.process_runs(&process, pid, out),
            Input::Granted(rule) => self.granted(rule, now, out),
            Input::Abandon => self.abandon(now, out),
            Input::Drain => self.stopping = true,
            Input::Stop => self.stop(now, out),
            Input::HandOver => {
                self.stop(now, out);
                self.hand_over(out);
            }
            Input::Tick => self.tick(now, out),
            Input::Storage(storage) => self.set_storage(storage, out),
        }
    }

    fn tick(&mut self, now: Millis, out: &mut Effects) {
        self.expire(now, out);
        self.note_long_turn(now, out);
        let give_up = self.turn.as_ref().and_then(|turn| turn.give_up_at);
        if give_up.is_some_and(|at| at <= now) {
            self.finish_turn(Outcome::Cancelled, None, now, out);
        }
    }

    fn set_storage(&mut self, storage: Storage, out: &mut Effects) {
        if self.view.storage != storage {
            self.publish(Event::StorageChanged { storage }, out);
        }
    }

    fn publish(&mut self, event: Event, out: &mut Effects) {
        self.view.apply(&event);
        out.push(Effect::Publish(event));
    }

    /// Stores the metadata as it is now, unless nothing of the session is stored yet.
    fn touch(&mut self, now: Millis, out: &mut Effects) {
        self.meta.active_at = now;
        if self.stored == Stored::Yes {
            out.record(Record::Session(self.meta.clone()));
        }
    }

    /// Counts a request. The caller stores the metadata.
    fn count(&mut self, usage: &Usage, out: &mut Effects) {
        self.meta.tokens.add(usage);
        self.publish(Event::TokensCounted { tokens: self.meta.tokens }, out);
    }

    /// Adds a row: stored, published, part of the model's context.
    fn add_row(&mut self, turn: TurnId, now: Millis, body: Body, out: &mut Effects) -> Row {
        let row = Row { n: self.next_row, turn, at: now, cut: 0, body };
        self.next_row += 1;
        out.record(Record::Row { session: self.meta.id.clone(), row: row.clone() });
        self.publish(Event::RowAdded { row: row.clone() }, out);
        row
    }

    /// Its name for people: its title, else the beginning of its first prompt.
    pub(crate) fn name(&self) -> String {
        self.meta.title.clone().unwrap_or_else(|| self.meta.preview.clone())
    }

    /// Sends news to every view of the host.
    fn toast(&self, process: Option<&ProcessId>, news: News, text: String, out: &mut Effects) {
        let (session, name, process) = (self.id(), self.name(), process.cloned());
        let toast = Toast { session, name, process, news, text };
        out.push(Effect::Announce(Event::Toast(toast)));
    }

    fn id(&self) -> SessionId {
        self.meta.id.clone()
    }

    fn process(&self, id: &ProcessId) -> Option<&Process> {
        self.view.processes.iter().find(|p| p.id == *id)
    }

    /// Stores and publishes a process as it is now.
    fn change_process(&mut self, process: Process, out: &mut Effects) {
        out.record(Record::Process(process.clone()));
        self.publish(Event::ProcessChanged { process }, out);
    }
}
