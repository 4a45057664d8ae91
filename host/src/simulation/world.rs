//! The world of a run: what a crash leaves (processes, the database, time) and what it takes (the
//! host: sessions, outboxes, running turns, all that is on its way).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Defect;
use super::coverage::{Coverage, Interleaving};
use super::stored::Stored;
use super::turn::Actor;
use crate::embedded::outbox::Outbox;
use crate::session::{Ack, Input, Session, TurnEvent};
use crate::store::memory::Memory;
use crate::store::{CommitNo, Record, Report};
use protocol::ViewId;
use protocol::{
    Ask, CallId, End, Event, Exit, Millis, Outcome, ProcessId, PromptId, SessionId, Storage,
    Transcript, TurnId,
};

/// How long a cancelled turn may take to unwind.
const UNWIND: Millis = 10_000;

/// Everything of a run.
pub(super) struct World<'a> {
    pub(super) db: &'a Memory,
    pub(super) defect: Option<Defect>,
    pub(super) coverage: &'a mut Coverage,
    pub(super) now: Millis,
    /// The user's sessions, then those that work on tasks, in the order of their delegation.
    pub(super) ids: Vec<SessionId>,
    /// How many of them are the user's.
    pub(super) users: usize,
    pub(super) procs: Vec<SimProcess>,
    pub(super) prompts: Vec<SentPrompt>,
    pub(super) host: SimHost,
    pub(super) stored: Stored,
    pub(super) tally: Tally,
    /// The session the user looks at.
    pub(super) current: usize,
    pub(super) generation: u32,
    /// What calls have asked: run again, they ask the same.
    pub(super) asks: BTreeMap<CallId, Ask>,
    /// Calls that have done something.
    pub(super) begun: BTreeSet<CallId>,
    /// How often each turn was started by itself without a new row since, and the last row then.
    pub(super) resumes: BTreeMap<(usize, TurnId), (u32, u64)>,
    /// How long the next start of a host lets itself be awaited.
    pub(super) away: Millis,
    /// What went wrong first.
    pub(super) trouble: Option<String>,
    /// What happened, if it is wanted.
    pub(super) trace: Option<Vec<String>>,
    calls: u64,
}

/// A process, or what is written down of one that never ran.
#[derive(Debug)]
pub(super) struct SimProcess {
    pub(super) owner: usize,
    pub(super) turn: TurnId,
    pub(super) launched: bool,
    pub(super) exit: Option<Exit>,
    /// Its supervisor has gone: the exit is known to the store only.
    pub(super) acknowledged: bool,
    /// A turn has shown its end.
    pub(super) seen: bool,
    /// The session that works on it: it is a delegated task.
    pub(super) worker: Option<usize>,
}

/// A prompt that was typed.
pub(super) struct SentPrompt {
    pub(super) session: usize,
    pub(super) id: PromptId,
    pub(super) text: String,
    pub(super) generation: u32,
    pub(super) unqueued: bool,
}

/// What bounds the number of wakeup turns.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) wakeups: u64,
    pub(super) restarts: u64,
    pub(super) releases: u64,
    pub(super) recoveries: u64,
    pub(super) matches: u64,
    pub(super) failures: u64,
    /// Words of the user about a goal, and turns that started for one.
    pub(super) goals: u64,
    pub(super) goal_turns: u64,
}

/// What a crash takes.
#[derive(Default)]
pub(super) struct SimHost {
    pub(super) live: BTreeMap<usize, LiveSession>,
    pub(super) owners: BTreeMap<ProcessId, usize>,
    pub(super) storage: Storage,
    pub(super) draining: bool,
    pub(super) is_stopping: bool,
    pub(super) last: u64,
    /// Batches that are not committed.
    pub(super) waiting: VecDeque<(CommitNo, Vec<Record>)>,
    /// The store has said that it fails, and up to where.
    pub(super) failing: Option<u64>,
    pub(super) broken: bool,
    pub(super) reports: VecDeque<Report>,
    /// Written down, to be launched: session, turn, process.
    pub(super) launching: VecDeque<(usize, TurnId, usize)>,
    /// Words on their way: session, turn.
    pub(super) launch_events: VecDeque<(usize, TurnId, TurnEvent)>,
    /// Processes this host spawned or has found again.
    pub(super) watched: BTreeSet<usize>,
    pub(super) notices: Vec<usize>,
    pub(super) finding: VecDeque<usize>,
    pub(super) killing: Vec<usize>,
    /// Turns that only judge a goal: nothing of them is written down.
    pub(super) internal_turns: BTreeSet<(usize, TurnId)>,
    views: u64,
}

/// A session in memory.
pub(super) struct LiveSession {
    pub(super) session: Session,
    pub(super) outbox: Outbox,
    pub(super) acks: BTreeMap<u64, (TurnId, Awaited)>,
    pub(super) next_ack: u64,
    pub(super) actor: Option<Actor>,
    pub(super) over: Vec<TurnId>,
    pub(super) views: Vec<SimView>,
    /// The turn that was started by itself, and the last row that an earlier host had stored.
    pub(super) resuming: Option<(TurnId, u64)>,
}

/// Who waits for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Turn,
    Spawn(usize),
    Task(usize),
}

/// A view.
pub(super) struct SimView {
    pub(super) id: ViewId,
    pub(super) view: Transcript,
    pub(super) awaits_window: bool,
}

pub(super) fn process_id(p: usize) -> ProcessId {
    ProcessId(format!("proc_{p:012x}"))
}

/// Every other process is watched.
pub(super) fn is_watched(p: usize) -> bool {
    p.is_multiple_of(2)
}

pub(super) fn number_of(id: &ProcessId) -> usize {
    id.0.strip_prefix("proc_").and_then(|n| usize::from_str_radix(n, 16).ok()).unwrap_or(usize::MAX)
}

impl<'a> World<'a> {
    pub(super) fn new(
        db: &'a Memory,
        sessions: u8,
        defect: Option<Defect>,
        coverage: &'a mut Coverage,
        traced: bool,
    ) -> Self {
        db.clear().expect("an empty database");
        Self {
            db,
            defect,
            coverage,
            now: 1_000_000,
            ids: (0..sessions).map(|s| SessionId(format!("s{s}"))).collect(),
            users: usize::from(sessions),
            procs: Vec::new(),
            prompts: Vec::new(),
            host: SimHost::default(),
            stored: Stored::default(),
            tally: Tally::default(),
            current: 0,
            generation: 0,
            asks: BTreeMap::new(),
            begun: BTreeSet::new(),
            resumes: BTreeMap::new(),
            away: 0,
            trouble: None,
            trace: traced.then(Vec::new),
            calls: 0,
        }
    }

    /// A rule is broken.
    pub(super) fn fail(&mut self, what: String) {
        self.note(|| format!("!! {what}"));
        self.trouble.get_or_insert(what);
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            let line = line();
            trace.push(format!("{now:>9}  {line}"));
        }
    }

    pub(super) fn actor(&self, s: usize) -> Option<&Actor> {
        self.host.live.get(&s)?.actor.as_ref()
    }

    pub(super) fn actor_mut(&mut self, s: usize) -> Option<&mut Actor> {
        self.host.live.get_mut(&s)?.actor.as_mut()
    }

    pub(super) fn session(&self, s: usize) -> Option<&Session> {
        self.host.live.get(&s).map(|live| &live.session)
    }

    /// Whether the session lists that process.
    pub(super) fn lists(&self, s: usize, p: usize) -> bool {
        let id = process_id(p);
        self.session(s).is_some_and(|x| x.transcript().processes.iter().any(|q| q.id == id))
    }

    /// Whether the session lists that process as ended.
    pub(super) fn has_ended(&self, s: usize, p: usize) -> bool {
        let id = process_id(p);
        let mut all = self.session(s).into_iter().flat_map(|x| &x.transcript().processes);
        all.any(|q| q.id == id && !q.is_live())
    }

    pub(super) fn is_failing(&self) -> bool {
        self.host.storage != Storage::Ok
    }

    pub(super) fn fresh_call(&mut self) -> CallId {
        self.calls += 1;
        CallId(format!("c{}", self.calls))
    }

    pub(super) fn fresh_ack(&mut self, s: usize) -> Ack {
        let Some(live) = self.host.live.get_mut(&s) else { return Ack(0) };
        live.next_ack += 1;
        Ack(live.next_ack)
    }

    pub(super) fn new_process(&mut self, owner: usize, turn: TurnId) -> usize {
        self.procs.push(SimProcess {
            owner,
            turn,
            launched: false,
            exit: None,
            acknowledged: false,
            seen: false,
            worker: None,
        });
        self.procs.len() - 1
    }

    /// Who owns what a session spawns.
    pub(super) fn owner_at_spawn(&self, s: usize) -> usize {
        if self.defect == Some(Defect::OwnerFromCurrent) { self.current } else { s }
    }

    /// A turn says something, as the loop hears it.
    pub(super) fn event(
        &mut self,
        s: usize,
        turn: TurnId,
        event: TurnEvent,
        reply: Option<(Ack, Awaited)>,
    ) {
        match &event {
            TurnEvent::Spawn(process) => {
                let owner = self.owner_at_spawn(s);
                self.host.owners.insert(process.id.clone(), owner);
            }
            TurnEvent::Delegate { process, .. } => {
                self.host.owners.insert(process.id.clone(), s);
            }
            _ => {}
        }
        if let (Some(Defect::HeldDropped), TurnEvent::Ended { .. }) = (self.defect, &event)
            && let Some(live) = self.host.live.get_mut(&s)
            && live.session.transcript().running.as_ref().is_some_and(|r| r.cancelling)
        {
            live.session.drop_waiting();
        }
        let ack = match reply {
            Some((ack, who)) => {
                if let Some(live) = self.host.live.get_mut(&s) {
                    live.acks.insert(ack.0, (turn, who));
                }
                ack
            }
            None => Ack(0),
        };
        self.feed(s, Input::TurnEvent { turn, ack, event });
    }

    /// Feeds one input to a session and carries out what follows.
    pub(super) fn feed(&mut self, s: usize, input: Input) {
        self.note(|| format!("s{s} <- {input:?}"));
        let now = self.now;
        let Some(live) = self.host.live.get_mut(&s) else { return };
        let effects = live.session.handle(input, now);
        self.carry_out(s, effects);
    }

    /// One more view.
    pub(super) fn attach(&mut self, s: usize) {
        self.host.views += 1;
        let id = ViewId(self.host.views);
        let Some(live) = self.host.live.get_mut(&s) else { return };
        if live.views.len() == 3 {
            live.views.remove(1);
        }
        live.views.push(SimView { id, view: Transcript::default(), awaits_window: false });
        let transcript = Box::new(live.session.transcript().clone());
        let event = Event::Attached { transcript, resynced: false };
        let session = self.ids[s].clone();
        if let Some(event) = live.outbox.put_window(id, session, event) {
            self.window(s, id, &event);
            return;
        }
        if let Some(front) = live.views.last_mut() {
            front.awaits_window = true;
        }
        self.coverage.note(Interleaving::LateView);
    }

    pub(super) fn window(&mut self, s: usize, id: ViewId, event: &Event) {
        let Some(live) = self.host.live.get_mut(&s) else { return };
        if let Some(front) = live.views.iter_mut().find(|f| f.id == id) {
            front.awaits_window = false;
            front.view.apply(event);
        }
    }

    /// Time passes: what is due happens.
    pub(super) fn clock(&mut self, by: Millis) {
        if by < 0 && self.host.live.values().any(|l| !l.session.is_at_rest()) {
            self.coverage.note(Interleaving::ClockBack);
        }
        self.now = (self.now + by).max(1);
        self.tick();
        for s in 0..self.ids.len() {
            let late =
                self.actor(s).and_then(|a| a.aborted).is_some_and(|at| at + UNWIND <= self.now);
            if late {
                self.coverage.note(Interleaving::LateUnwind);
                self.unwind(s);
            }
        }
    }

    pub(super) fn tick(&mut self) {
        for s in 0..self.ids.len() {
            let Some(session) = self.session(s) else { continue };
            if session.deadline().is_some_and(|d| d <= self.now) {
                let questions = session.transcript().questions.len();
                self.feed(s, Input::Tick);
                let left = self.session(s).map_or(0, |x| x.transcript().questions.len());
                self.coverage.note_if(left < questions, Interleaving::Expired);
            }
        }
    }

    /// An interrupted turn is gone.
    pub(super) fn unwind(&mut self, s: usize) {
        if self.actor(s).is_some_and(|a| a.aborted.is_some()) {
            self.end_turn(s, Outcome::Cancelled, None);
        }
    }

    /// A process ends by itself or by a signal.
    pub(super) fn ends(&mut self, p: usize, code: Option<i32>, signal: Option<i32>) {
        let at = self.now;
        let proc = &mut self.procs[p];
        if !proc.launched || proc.exit.is_some() {
            return;
        }
        proc.exit = Some(Exit { end: End::Exited, code, signal, at });
        self.note(|| format!("process {p} ends: {code:?} {signal:?}"));
        if self.host.watched.contains(&p) {
            self.host.notices.push(p);
        }
    }

    /// The loop hears that a process has ended.
    pub(super) fn noticed(&mut self, p: usize, exit: Exit) {
        let id = process_id(p);
        let Some(s) = self.host.owners.get(&id).copied() else {
            self.procs[p].acknowledged = true;
            return;
        };
        self.classify_exit(s, p);
        self.feed(s, Input::Exited { process: id, exit, output: format!("output {p}") });
    }

    fn classify_exit(&mut self, s: usize, p: usize) {
        let Some(session) = self.session(s) else { return };
        let view = session.transcript();
        let running = view.running.as_ref();
        let id = process_id(p);
        let listed = view.processes.iter().find(|q| q.id == id);
        let twice = listed.is_some_and(|q| !q.is_live());
        let starting = listed.is_some_and(|q| q.state == protocol::State::Starting);
        let turn = self.procs[p].turn;
        let teardown = running.is_some_and(|r| r.cancelling && r.turn == turn);
        let runs = running.is_some();
        let seen = self.procs[p].seen;
        self.coverage.note_if(twice, Interleaving::ExitTwice);
        self.coverage
            .note_if(!twice && starting && self.procs[p].launched, Interleaving::ExitBeforeRunning);
        self.coverage.note_if(!twice && teardown, Interleaving::ExitInTeardown);
        self.coverage.note_if(!twice && runs && !teardown, Interleaving::ExitInTurn);
        self.coverage.note_if(!twice && seen, Interleaving::ExitAfterSeen);
        self.coverage.note_if(!twice && self.is_failing(), Interleaving::FailingExit);
    }

    /// A process of an earlier host is looked up.
    pub(super) fn find(&mut self) {
        let Some(p) = self.host.finding.pop_front() else { return };
        let now = self.now;
        let Some(proc) = self.procs.get(p) else {
            return self.fail(format!("lost: process {p} was never made"));
        };
        let found = match &proc.exit {
            None if proc.launched => None,
            Some(exit) if !proc.acknowledged => Some(exit.clone()),
            _ => Some(Exit { end: End::Lost, code: None, signal: None, at: now }),
        };
        self.host.watched.insert(p);
        match found {
            None => {
                let id = process_id(p);
                if let Some(s) = self.host.owners.get(&id).copied() {
                    self.feed(s, Input::Adopted { process: id, pid: Some(p as u32) });
                }
            }
            Some(exit) => {
                self.coverage.note_if(exit.end == End::Exited, Interleaving::FoundEnded);
                // It could have ended only now.
                self.host.notices.retain(|q| *q != p);
                self.noticed(p, exit);
            }
        }
    }
}
