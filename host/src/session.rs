//! One session as a pure state machine: inputs in, effects out. No I/O, no clock, no channel;
//! time and ids come in as values.
//!
//! Invariant: the fold of the published events is the session's own transcript.
//! Invariant: a session runs at most one turn at a time, and a background event is told to the
//! agent in exactly one row.

mod choices;
mod compression;
mod delegations;
mod deletion;
mod goal;
mod holds;
mod processes;
mod questions;
mod restore;
mod resume;
#[cfg(test)]
mod tests;
mod turns;
mod undo;
mod uploads;
mod watches;

pub(crate) use compression::{COMPRESSING, POOR_COMPRESSIONS, is_poor};
pub(crate) use delegations::{Findings, findings};
pub(crate) use goal::GoalVerdict;
pub(crate) use processes::LIVE;
pub(crate) use questions::clarify_result;
pub(crate) use turns::{STORE, UNWIND};
pub(crate) use undo::Past;
pub(crate) use uploads::{mention, mentioned};

use delegations::TaskProgress;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::process::Hit;
use crate::store::{Entry, Meta, Record};
use protocol::{
    Answer, Assistant, Attachment, CallId, Event, Exit, GoalAsk, Millis, News, Outcome, Part,
    Process, ProcessId, PromptId, Question, QuestionId, Queued, Row, SessionId, Source, Storage,
    Summary, Toast, ToolResult, Transcript, TurnId, Usage,
};

/// Characters of a title that are kept.
const TITLE: usize = 200;

/// What a caller of turns can take part in (W26). Each front end states it when it attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attendance {
    /// Somebody who stays: can be asked, and woken later.
    Attended,
    /// A one-shot run: nobody answers questions, and nobody is there when a process ends.
    Stateless,
    /// A session that works on a delegated task: nobody answers questions, but it can be woken.
    Delegated,
}

/// What a session needs to know of its host's settings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    /// How long a question waits that no front end has shown (C16).
    pub(crate) unattended_wait: Millis,
    /// Wakeup turns in a row without a user; further ones are held (W31).
    pub(crate) max_wakeups: u32,
    /// How old the tail of an interrupted turn may be for it to go on by itself; `None` = it never
    /// does (R01).
    pub(crate) freshness: Option<Millis>,
    /// After how long a running turn says that it still works (R10).
    pub(crate) notify_interval: Option<Millis>,
    /// A digest of what the session's requests are made with: provider, address, model and key
    /// (W20).
    pub(crate) fingerprint: String,
    /// The same as earlier versions stored it. It counts for a pause once, which then gets
    /// `fingerprint`.
    pub(crate) legacy_fingerprint: String,
    /// How many delegated tasks run at once.
    pub(crate) max_children: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            unattended_wait: 24 * 3_600_000,
            max_wakeups: 20,
            freshness: Some(3_600_000),
            notify_interval: Some(180_000),
            fingerprint: String::new(),
            legacy_fingerprint: String::new(),
            max_children: 3,
        }
    }
}

/// What happens to a session.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// A front end sent a prompt.
    Prompt { id: PromptId, text: String, attendance: Attendance },
    /// A front end took a waiting prompt back.
    Unqueue(PromptId),
    /// A front end has a remark for the running turn.
    Steer(String),
    /// A front end interrupts the running turn.
    Cancel,
    /// A front end answers; what kind of one it is.
    Answer { id: QuestionId, answer: Answer, by: Option<String> },
    /// A front end that can answer shows the question.
    Shown(QuestionId),
    /// A front end ends processes: one, or all.
    Kill(Option<ProcessId>),
    /// A front end releases held wakeups.
    WakeNow,
    /// A front end wants the context compressed.
    Compress { focus: Option<String> },
    /// A front end put the session away, or took it back.
    Archive(bool),
    /// A front end takes the last user turn back; `again`: its text is asked once more, as this
    /// prompt.
    Undo { past: Past, again: Option<(PromptId, Attendance)> },
    /// A front end takes all rows after that one back.
    Truncate { after: u64, past: Past },
    /// A front end chose the tools of the session's turns; `None` = all.
    SetToolsets(Option<Vec<String>>),
    /// A file was written for the next prompt.
    Uploaded(Attachment),
    /// A front end takes back what was uploaded for the next prompt.
    DropUploads,
    /// A front end sets the goal, or says how it goes on.
    Goal(GoalAsk),
    /// A front end put the session on top of lists, or took it from there.
    Pin(bool),
    /// A front end switched approvals off or on; what kind of one it is.
    SetYolo { yolo: bool, by: Option<String> },
    /// A front end chose another working directory: an existing folder.
    SetCwd(String),
    /// A front end chose how hard the model thinks; `None` = as configured.
    SetReasoning(Option<String>),
    /// The user deletes the session. Nothing is heard of it any more.
    Delete,
    /// The user began anew elsewhere: matches of earlier processes start no turn here (P05).
    Reset,
    /// A front end chose another model; its context length if known, and the fingerprint of its credentials.
    SetModel { model: String, context: Option<u64>, fingerprint: String },
    /// A front end renamed the session.
    SetTitle(String),
    /// The running turn says something; `ack` is how it hears back.
    TurnEvent { turn: TurnId, ack: Ack, event: TurnEvent },
    /// A process has ended; its last output, plain and redacted.
    Exited { process: ProcessId, exit: Exit, output: String },
    /// Lines of a watched process matched. Not admitted: too many matched in the whole host (P04).
    Matched { process: ProcessId, hit: Hit, admitted: bool },
    /// A process from before a restart runs.
    Adopted { process: ProcessId, pid: Option<u32> },
    /// Time has passed ([`Session::deadline`]).
    Tick,
    /// A rule was granted for ever, here or in another session.
    Granted(String),
    /// The store failed or recovered.
    Storage(Storage),
    /// The task that the session works on for another one was taken back.
    Abandon,
    /// The host is about to stop: nothing starts any more, the running turn may come to its end.
    Drain,
    /// The host stops: the running turn is left open, for the next host to go on with.
    Stop,
    /// As `Stop`, and the next host is to go on with the turn whatever its age (P10).
    HandOver,
}

/// Names the turn's wait for a reply; 0 = it does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ack(pub(crate) u64);

/// What a running turn says.
#[derive(Clone, Debug)]
pub(crate) enum TurnEvent {
    /// The model streamed text.
    Delta { part: Part, text: String },
    /// What the turn waits for.
    Status(Option<String>),
    /// The model's answer is complete. Replied with its row.
    Answered { answer: Assistant, usage: Option<Usage>, context: Option<u64> },
    /// A tool call begins. Replied once that is written down.
    CallStarted(CallId),
    /// A running tool printed something.
    CallOutput { call: CallId, text: String },
    /// A tool call has ended. Replied with its row.
    Result(Finished),
    /// A tool call asks the user. Replied with the answer.
    Ask { call: CallId, ask: protocol::Ask, timeout: Millis },
    /// A tool call spawns a background process. Replied before the child may run (W27).
    Spawn(Box<Process>),
    /// The child of that process runs.
    Running { process: ProcessId, pid: u32 },
    /// The child of that process never ran. Replied when that is written down.
    FailedStart { process: ProcessId, exit: Exit },
    /// A tool call waits for the end of that process and will show it.
    Awaiting(ProcessId),
    /// A tool call delegates a task: written down with the session that will work on it, its
    /// first prompt and its place in the list, all in one commit. Replied then. Where the call
    /// `waits` for its end, a cancel of the turn ends the task too.
    Delegate { process: Box<Process>, brief: String, waits: bool },
    /// A tool call waits for the end of a delegated task and will show it. Replied then.
    AwaitEnd(ProcessId),
    /// The context was compressed. Replied with the row of the summary.
    Compressed(Summary),
    /// The context was not compressed; the text is for the user.
    NotCompressed { message: String, failed: bool },
    /// The model was asked whether that goal is reached: what it found, if that can be read.
    /// Replied when it is written down.
    Judged { goal: String, verdict: Option<GoalVerdict> },
    /// The model could not be asked; why.
    NotJudged(String),
    /// The provider counted that for a request that no [`TurnEvent::Answered`] tells of.
    Used(Usage),
    /// A tool call wants to know the session's processes.
    Processes,
    /// A tool call will kill a process. Replied before the signal may be sent (W08).
    Killing(ProcessId),
    /// The turn is over. No more follows.
    Ended { outcome: Outcome, failure: Option<String> },
}

/// The end of a tool call and what it changed.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    /// The result.
    pub(crate) result: ToolResult,
    /// Processes whose end this result shows to the agent (W07).
    pub(crate) seen: Vec<(ProcessId, Seen)>,
    /// The session's shell after it, if it changed.
    pub(crate) shell: Option<Shell>,
    /// The todo list after it, if it changed.
    pub(crate) todo: Option<serde_json::Value>,
}

/// How the agent saw the end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// By `wait`, `log` or `kill`: it counts at once.
    Now,
    /// By `poll`: it counts when the turn ends normally.
    AtTurnEnd,
}

/// Where a session's commands run and what they have exported.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shell {
    /// The working directory.
    pub(crate) cwd: String,
    /// Variables that differ from the login environment; `None` = unset.
    pub(crate) env: BTreeMap<String, Option<String>>,
}

/// What a waiting turn hears back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// It is written down: go on.
    Go,
    /// The row as it was written down.
    Row(Row),
    /// The user's answer.
    Answer(Answer),
    /// The session's processes.
    Processes(Vec<Process>),
    /// How a delegated task ended; what it found is in its session.
    Ended { exit: Exit },
    /// It must not be done; the text is for the model.
    Refused(String),
}

/// Work for the loop, in order.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "effects are few and live for one batch")]
pub(crate) enum Effect {
    /// Store this, in the commit of this batch of effects.
    Record(Record),
    /// Tell every front end of the session.
    Publish(Event),
    /// Tell every front end of the host.
    Announce(Event),
    /// Start a turn.
    Start(TurnPlan),
    /// Drop the running turn; [`TurnEvent::Ended`] follows.
    Stop(TurnId),
    /// Answer a waiting turn.
    Reply { ack: Ack, reply: Reply },
    /// Kill a process.
    Kill(ProcessId),
    /// The end of a process is stored: its supervisor may go.
    Acknowledge(ProcessId),
    /// A rule was granted for ever: tell the policy.
    Grant(String),
    /// The session is deleted: it leaves memory, and its views go elsewhere.
    Forget,
    /// Files that were uploaded go with no prompt: remove them.
    Discard(Vec<Attachment>),
    /// A session is written down and has something to do: take it up.
    Open(SessionId),
    /// A delegated task has come to its end: tell the session that waits for it.
    Report { parent: SessionId, process: ProcessId, exit: Exit, text: String },
}

/// What a turn is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TurnKind {
    /// Answer what the transcript ends with.
    Answer,
    /// Go on where an earlier host stopped: calls of the last answer that have no result yet are
    /// run first.
    Resume,
    /// Compress the context, and nothing else.
    Compress { focus: Option<String> },
    /// Find out whether the goal is reached that so many turns have worked on, and nothing else.
    Judge { goal: String, turns: u32 },
}

/// What a turn needs to know to run. User turns and wakeup turns differ in `source` only (W28).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TurnPlan {
    pub(crate) turn: TurnId,
    pub(crate) source: Source,
    pub(crate) attendance: Attendance,
    pub(crate) kind: TurnKind,
    /// Tokens of the session's last prompt, if known.
    pub(crate) used: Option<u64>,
    pub(crate) model: String,
    /// How hard the model thinks; `None` = as configured.
    pub(crate) reasoning: Option<String>,
    /// The toolsets it has; `None` = all.
    pub(crate) toolsets: Option<Vec<String>>,
    pub(crate) shell: Shell,
    pub(crate) todo: serde_json::Value,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    view: Transcript,
    meta: Meta,
    stored: Stored,
    turns: TurnId,
    next_row: u64,
    /// Events that wait for a turn, in order. Claimed ones are in `turn`.
    waiting: Vec<Entry>,
    /// Prompts that wait, with what their senders can take part in.
    prompts: VecDeque<(Queued, Attendance)>,
    /// What the remark to the running turn becomes if no result takes it along.
    remark: Option<PromptId>,
    turn: Option<Turn>,
    /// When the cancelled turn is given up (W23).
    reclaim_at: Option<Millis>,
    /// What the last turn was started with ([`Rules::fingerprint`]).
    last_fingerprint: String,
    /// How many held wakeups the last toast told of.
    toasted: usize,
    /// When the last exit came and when the first of the waiting ones did (W06).
    settling: Option<Settling>,
    /// Rules granted for ever, as far as the host knows them.
    always: BTreeSet<String>,
    stopping: bool,
    /// Nothing starts but the prompts of its front end: a one-shot run.
    passive: bool,
    task_progress: TaskProgress,
    /// What an active goal needs next.
    goal_next: goal::Next,
    rules: Rules,
}

/// Whether the store knows a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    /// Not before its first prompt.
    NotYet,
    Yes,
    /// It was deleted; nothing is heard of it any more.
    NoMore,
}

/// What a running turn is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    /// To answer what the transcript ends with.
    Answer,
    /// So too, and how it ends decides how the goal goes on.
    Goal,
    /// To compress the context.
    Compress,
    /// To find out whether the goal is reached.
    Judge,
}

impl Aim {
    /// It answers nothing, and is not in the store.
    fn is_internal(self) -> bool {
        match self {
            Self::Compress | Self::Judge => true,
            Self::Answer | Self::Goal => false,
        }
    }
}

/// The live part of a running turn that the transcript does not show.
#[derive(Debug)]
struct Turn {
    id: TurnId,
    aim: Aim,
    cancelled: bool,
    claimed: Vec<Entry>,
    /// Processes whose end a running call will show.
    awaited: BTreeSet<ProcessId>,
    /// Delegated tasks that end with the turn if it is cancelled: a call waits for them.
    tasks: BTreeSet<ProcessId>,
    /// Calls that wait for the end of a delegated task.
    ends: Vec<(ProcessId, Ack)>,
    asking: Vec<(QuestionId, Ack)>,
    /// Questions of calls without a result that have their answer: what a user has answered is
    /// not asked again, whatever happens to the host meanwhile.
    answered: Vec<Question>,
    /// The user has chosen another folder meanwhile: it moves the session no more.
    moved: bool,
    /// Since when it has been running in this host.
    since: Millis,
    /// When to say again that it still works (R10).
    note_at: Option<Millis>,
}

#[derive(Clone, Copy, Debug)]
struct Settling {
    first: Millis,
    last: Millis,
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
            gauge: protocol::Gauge { used: None, length: context },
            ..Transcript::default()
        };
        Self {
            view,
            meta,
            stored: Stored::NotYet,
            turns: TurnId(0),
            next_row: 1,
            waiting: Vec::new(),
            prompts: VecDeque::new(),
            remark: None,
            turn: None,
            reclaim_at: None,
            last_fingerprint: String::new(),
            toasted: 0,
            settling: None,
            always: BTreeSet::new(),
            stopping: false,
            passive: false,
            task_progress: TaskProgress::Open,
            goal_next: goal::Next::Judge,
            rules,
        }
    }

    /// The session as everybody sees it.
    pub(crate) fn transcript(&self) -> &Transcript {
        &self.view
    }

    /// Its metadata.
    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Rules granted for ever.
    pub(crate) fn set_granted(&mut self, rules: BTreeSet<String>) {
        self.always = rules;
    }

    /// Approvals are off for it.
    pub(crate) fn set_yolo(&mut self) {
        self.view.yolo = true;
    }

    /// Sets the system prompt; it is built once per session, before its first turn.
    pub(crate) fn set_system(&mut self, system: String) {
        self.meta.system = system;
    }

    /// When [`Input::Tick`] is due next.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        if self.stored == Stored::NoMore {
            return None;
        }
        let question = self.view.questions.iter().map(|q| self.expiry(q)).min();
        let wakeup = if self.turn.is_none() && !self.stopping { self.wakes_at() } else { None };
        let turn = self.note_due().into_iter().chain(self.reclaim_at);
        question.into_iter().chain(wakeup).chain(turn).min()
    }

    /// Takes one input and says what is to be done. Effects that follow a [`Effect::Record`] of
    /// the same batch wait for its commit, except deltas.
    pub(crate) fn handle(&mut self, input: Input, now: Millis) -> Vec<Effect> {
        let mut out = Out::default();
        if self.stored == Stored::NoMore {
            return out.effects;
        }
        self.mind_the_clock(now);
        match input {
            Input::Prompt { id, text, attendance } => {
                self.prompt(id, text, attendance, now, &mut out);
            }
            Input::Unqueue(id) => self.unqueue(&id, &mut out),
            Input::Steer(text) => self.steer(text, now, &mut out),
            Input::Cancel => self.cancel(now, &mut out),
            Input::Answer { id, answer, by } => self.answer(&id, answer, by, now, &mut out),
            Input::Shown(id) => self.shown(&id, now, &mut out),
            Input::Kill(which) => self.kill(which, &mut out),
            Input::WakeNow => self.release(&mut out),
            Input::Compress { focus } => self.compress(focus, now, &mut out),
            Input::Archive(archived) => {
                self.meta.archived = archived;
                self.touch(now, &mut out);
                out.effects.push(Effect::Announce(Event::SessionsChanged));
            }
            Input::Undo { past, again } => self.undo(past, again, now, &mut out),
            Input::Truncate { after, past } => self.truncate(after, past, now, &mut out),
            Input::SetToolsets(toolsets) => self.set_toolsets(toolsets, &mut out),
            Input::Uploaded(file) => self.uploaded(file, &mut out),
            Input::DropUploads => self.drop_uploads(&mut out),
            Input::Goal(ask) => self.goal(ask, now, &mut out),
            Input::Pin(pinned) => self.pin(pinned, &mut out),
            Input::SetYolo { yolo, by } => self.choose_yolo(yolo, by, now, &mut out),
            Input::SetCwd(cwd) => self.set_cwd(cwd, &mut out),
            Input::SetReasoning(effort) => self.set_reasoning(effort, &mut out),
            Input::Delete => self.delete(&mut out),
            Input::Reset => self.reset(&mut out),
            Input::Matched { process, hit, admitted } => {
                self.matched(&process, hit, admitted, now, &mut out);
            }
            Input::SetModel { model, context, fingerprint } => {
                self.set_lane(fingerprint, &mut out);
                self.meta.model.clone_from(&model);
                self.touch(now, &mut out);
                self.publish(Event::ModelChanged { model, context }, &mut out);
            }
            Input::SetTitle(title) => {
                let title: String = title.chars().take(TITLE).collect();
                self.meta.title = Some(title.clone()).filter(|title| !title.is_empty());
                self.touch(now, &mut out);
                self.publish(Event::TitleChanged { title }, &mut out);
            }
            Input::TurnEvent { turn, ack, event } => self.said(turn, ack, event, now, &mut out),
            Input::Exited { process, exit, output } => {
                self.exited(&process, exit, &output, now, &mut out);
            }
            Input::Adopted { process, pid } => self.adopted(&process, pid, &mut out),
            Input::Granted(rule) => {
                self.resolve_rule(&rule, None, now, &mut out);
                self.always.insert(rule);
            }
            Input::Abandon => self.abandon(now, &mut out),
            Input::Drain => self.stopping = true,
            Input::Stop => self.stop(now, &mut out),
            Input::HandOver => {
                self.stop(now, &mut out);
                self.hand_over(&mut out);
            }
            Input::Tick => {
                self.expire(now, &mut out);
                self.note_long_turn(now, &mut out);
                if self.reclaim_at.is_some_and(|at| at <= now) {
                    self.ended(Outcome::Cancelled, None, now, &mut out);
                }
            }
            Input::Storage(storage) => {
                if self.view.storage != storage {
                    self.publish(Event::StorageChanged { storage }, &mut out);
                }
            }
        }
        self.start_next(now, &mut out);
        self.report(now, &mut out);
        self.show_holds(&mut out);
        out.effects
    }

    fn publish(&mut self, event: Event, out: &mut Out) {
        self.view.apply(&event);
        out.effects.push(Effect::Publish(event));
    }

    /// Stores the metadata as it is now, unless nothing of the session is stored yet.
    fn touch(&mut self, now: Millis, out: &mut Out) {
        self.meta.active_at = now;
        if self.stored == Stored::Yes {
            out.record(Record::Session(self.meta.clone()));
        }
    }

    /// Counts a request. The caller stores the metadata.
    fn count(&mut self, usage: &Usage, out: &mut Out) {
        self.meta.tokens.add(usage);
        self.publish(Event::TokensCounted { tokens: self.meta.tokens }, out);
    }

    /// Adds a row: stored, published, part of the model's context.
    fn add_row(&mut self, turn: TurnId, now: Millis, body: protocol::Body, out: &mut Out) -> Row {
        let row = Row { n: self.next_row, turn, at: now, cut: 0, body };
        self.next_row += 1;
        out.record(Record::Row { session: self.meta.id.clone(), row: row.clone() });
        self.publish(Event::RowAdded { row: row.clone() }, out);
        row
    }

    /// What people call it: its title, else the beginning of its first prompt.
    pub(crate) fn name(&self) -> String {
        self.meta.title.clone().unwrap_or_else(|| self.meta.preview.clone())
    }

    /// News for every view of the host.
    fn toast(&self, process: Option<&ProcessId>, news: News, text: String, out: &mut Out) {
        let (session, name, process) = (self.id(), self.name(), process.cloned());
        let toast = Toast { session, name, process, news, text };
        out.effects.push(Effect::Announce(Event::Toast(toast)));
    }

    fn id(&self) -> SessionId {
        self.meta.id.clone()
    }

    fn process(&self, id: &ProcessId) -> Option<&Process> {
        self.view.processes.iter().find(|p| p.id == *id)
    }

    /// Stores and publishes a process as it is now.
    fn change_process(&mut self, process: Process, out: &mut Out) {
        out.record(Record::Process(process.clone()));
        self.publish(Event::ProcessChanged { process }, out);
    }
}

/// The effects of one input, being collected.
#[derive(Debug, Default)]
struct Out {
    effects: Vec<Effect>,
}

impl Out {
    fn record(&mut self, record: Record) {
        self.effects.push(Effect::Record(record));
    }

    fn reply(&mut self, ack: Ack, reply: Reply) {
        if ack != Ack(0) {
            self.effects.push(Effect::Reply { ack, reply });
        }
    }
}
