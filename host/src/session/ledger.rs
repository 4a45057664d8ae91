//! The ledger of a session: the one place that moves background events on their way into the
//! transcript. Nothing else in the product creates an [`Entry`], sets a [`Stage`] or writes
//! [`Record::Ledger`]; together with the claim at the start of a turn this is what makes each
//! completion reach the agent exactly once.
//!
//! An entry is one event of one process: its end, a match of its watch, or the end of that watch.
//! Its key is (process, kind, ordinal), so no event uses up another one (P01).
//!
//! ```text
//!            expect               finish            claim            deliver
//!  (none) ───────────▶ Spawned ───────────▶ Finished ─────▶ Claimed ─────────▶ Delivered
//!     │                   │                 ▲  │  ▲  ▲         │
//!     │ add_watch_event   │ consume         │  │  │  └─────────┤ requeue
//!     └───────────────────┼─────────────────┘  │  │ release    │ hold
//!                         ▼                    │  │            ▼
//!                      Consumed ◀──────────────┤  └────────── Held ──▶ Claimed
//!                                      consume │ discard_matches │
//!                                              ▼                 ▼
//!                                            Stale    Consumed, Stale
//! ```
//!
//! - `Spawned`: stored before the child may run (W27); such entries are not kept in memory, the
//!   list of processes holds what is needed of them.
//! - `Finished`: it happened and waits for a turn (W03, W06), also over a restart (W15).
//! - `Claimed`: the running turn carries it. All that waits is claimed at once, at most once in a
//!   turn, in the commit that starts the turn (W05, W16). Its row is written with its first claim
//!   and never again, however often it is put back (W16, W29), unless that row was taken back.
//! - `Delivered`: the model has answered to it, or the user interrupted the turn that carried it
//!   (W22).
//! - `Held`: the turn that carried it failed before the model answered; the reason is shown and it
//!   waits for a retry, a prompt or the user (W20, W29).
//! - `Consumed`: the agent has seen the end (W07) or somebody has caused it (W08, W09).
//! - `Stale`: a match that came too early to start a turn, or whose spawn was taken back (P05).
//! - `Orphaned`: its session was deleted (W19). Only the store moves an entry there, while it
//!   applies [`Record::Deleted`].
//!
//! The last four but `Held` are final: an entry never leaves them. That wakeups of the whole
//! session wait for the user (W22, W31) is no stage; `Meta::held` says so.

#[cfg(test)]
mod tests;

use super::{Effects, Session};
use crate::store::{Entry, Record, Stage};
use protocol::{Delivery, Millis, Process, ProcessId, SessionId, TurnId, Wakeup, WakeupKind, Work};

/// While other notify processes of the session run, a claim waits for this long without a
/// further exit, so that tasks which end together cost one request (W06).
const SETTLE: Millis = 50;
/// But never longer than this.
const SETTLE_AT_MOST: Millis = 250;

/// The background events of a session that no turn has answered yet.
#[derive(Debug)]
pub(super) struct Ledger {
    session: SessionId,
    /// `Finished` or `Held`.
    waiting: Vec<Entry>,
    /// `Claimed` by the running turn.
    claimed: Vec<Entry>,
    settling: Option<Settling>,
}

/// When the last end came and when the first of the waiting ones did (W06).
#[derive(Clone, Copy, Debug)]
struct Settling {
    first: Millis,
    last: Millis,
}

/// An entry that has moved on. It must be stored, in the commit of the input that moved it.
#[derive(Debug)]
#[must_use = "a transition that is not stored is undone by the next restart"]
pub(super) struct Transition {
    entry: Entry,
}

/// An entry that a turn takes along.
#[derive(Debug)]
#[must_use = "a claim must be stored"]
pub(super) struct Claim {
    pub(super) transition: Transition,
    /// It has no row yet: the one whose number the entry holds now is to be written before it.
    pub(super) needs_row: bool,
}

impl Transition {
    /// Moves an entry. The stage it leaves is the one it was stored with last.
    fn new(entry: &mut Entry, to: Stage) -> Self {
        debug_assert!(may_become(&entry.state, &to), "{entry:?} cannot become {to:?}");
        entry.state = to;
        Self { entry: entry.clone() }
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// What the list of processes shows of it; `None` = it shows nothing of such an entry. A match
    /// never touches the completion of its process (P01).
    pub(super) fn delivery(&self) -> Option<Delivery> {
        if !is_end(self.entry.kind) {
            return None;
        }
        match &self.entry.state {
            Stage::Spawned | Stage::Stale => None,
            Stage::Finished => Some(Delivery::Waiting),
            Stage::Claimed(turn) => Some(Delivery::Claimed(*turn)),
            Stage::Delivered(_) => Some(Delivery::Delivered),
            Stage::Held(reason) => Some(Delivery::Held(reason.clone())),
            Stage::Consumed => Some(Delivery::Consumed),
            Stage::Orphaned => Some(Delivery::Orphaned),
        }
    }

    /// Stores it. The caller shows its [`Self::delivery`].
    pub(super) fn store(self, out: &mut Effects) {
        out.record(Record::Ledger(self.entry));
    }
}

/// Whether an entry may go from one stage to the other.
fn may_become(from: &Stage, to: &Stage) -> bool {
    match (from, to) {
        (Stage::Spawned, Stage::Finished | Stage::Consumed)
        | (Stage::Finished, Stage::Claimed(_) | Stage::Consumed | Stage::Stale)
        | (Stage::Held(_), Stage::Finished | Stage::Claimed(_) | Stage::Consumed | Stage::Stale)
        | (Stage::Claimed(_), Stage::Finished | Stage::Held(_) | Stage::Delivered(_)) => true,
        (
            Stage::Spawned
            | Stage::Finished
            | Stage::Held(_)
            | Stage::Claimed(_)
            | Stage::Delivered(_)
            | Stage::Consumed
            | Stage::Stale
            | Stage::Orphaned,
            _,
        ) => false,
    }
}

/// Whether that is the end of a process rather than news of its watch.
fn is_end(kind: WakeupKind) -> bool {
    match kind {
        WakeupKind::Exit | WakeupKind::Delegation => true,
        WakeupKind::Match | WakeupKind::WatchDisabled => false,
    }
}

/// The kind of event that the end of a process is.
fn end_kind(process: &Process) -> WakeupKind {
    match process.work {
        Work::Command => WakeupKind::Exit,
        Work::Delegation { .. } => WakeupKind::Delegation,
    }
}

impl Ledger {
    pub(super) fn new(session: SessionId) -> Self {
        Self { session, waiting: Vec::new(), claimed: Vec::new(), settling: None }
    }

    /// The ledger as an earlier host left it.
    pub(super) fn restore(session: SessionId, entries: Vec<Entry>) -> Self {
        let mut ledger = Self::new(session);
        for entry in entries {
            match entry.state {
                Stage::Finished | Stage::Held(_) => ledger.waiting.push(entry),
                Stage::Claimed(_) => ledger.claimed.push(entry),
                Stage::Spawned
                | Stage::Delivered(_)
                | Stage::Consumed
                | Stage::Stale
                | Stage::Orphaned => {}
            }
        }
        ledger.waiting.sort_by_key(|e| e.at);
        ledger
    }

    /// How many events wait for a turn.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether an event waits that may start a turn: `with_held`, also one that was put off.
    pub(super) fn is_due(&self, with_held: bool) -> bool {
        let mut stages = self.waiting.iter().map(|e| &e.state);
        stages.any(|s| *s == Stage::Finished || (with_held && matches!(s, Stage::Held(_))))
    }

    /// Why events were put off, if any were.
    pub(super) fn held_reason(&self) -> Option<&str> {
        self.waiting.iter().find_map(|e| match &e.state {
            Stage::Held(reason) => Some(reason.as_str()),
            Stage::Spawned
            | Stage::Finished
            | Stage::Claimed(_)
            | Stage::Delivered(_)
            | Stage::Consumed
            | Stage::Stale
            | Stage::Orphaned => None,
        })
    }

    /// Whether the running turn carries an event.
    pub(super) fn carries(&self) -> bool {
        !self.claimed.is_empty()
    }

    /// Whether news of that process other than its exit waits or is being answered.
    pub(super) fn has_news_of(&self, process: &ProcessId) -> bool {
        let mut unanswered = self.waiting.iter().chain(&self.claimed);
        unanswered.any(|e| e.process == *process && e.kind != WakeupKind::Exit)
    }

    /// When the waiting completions may be claimed although a sibling may still join them (W06).
    pub(super) fn settles_at(&self) -> Option<Millis> {
        let settling = self.settling?;
        Some((settling.last + SETTLE).min(settling.first + SETTLE_AT_MOST))
    }

    /// Nothing is waited for any more: a turn starts.
    pub(super) fn end_settling(&mut self) {
        self.settling = None;
    }

    /// A clock that was set back must not make a claim wait.
    pub(super) fn check_clock(&mut self, now: Millis) {
        if self.settling.is_some_and(|s| now < s.last) {
            self.settling = None;
        }
    }

    /// The entry of an end that has none in memory: as it was stored at the spawn.
    fn expected(&self, process: &Process, at: Millis) -> Entry {
        Entry {
            session: self.session.clone(),
            process: process.id.clone(),
            kind: end_kind(process),
            ordinal: 0,
            state: Stage::Spawned,
            wakeup: None,
            row: None,
            at,
        }
    }

    /// The end of that process is to wake the agent (W27).
    pub(super) fn expect(&self, process: &Process, now: Millis) -> Transition {
        Transition { entry: self.expected(process, now) }
    }

    /// A process has ended, and that waits for a turn.
    pub(super) fn finish(
        &mut self,
        process: &Process,
        wakeup: Wakeup,
        ended_at: Millis,
        now: Millis,
    ) -> Transition {
        let at = self.after_matches(&process.id, ended_at);
        let mut entry = Entry { wakeup: Some(wakeup), ..self.expected(process, at) };
        let finished = Transition::new(&mut entry, Stage::Finished);
        self.waiting.push(entry);
        let first = self.settling.map_or(now, |s| s.first);
        self.settling = Some(Settling { first, last: now });
        finished
    }

    /// A process has ended that was killed, or whose end was seen before it was reported.
    pub(super) fn finish_consumed(&self, process: &Process, ended_at: Millis) -> Transition {
        let at = self.after_matches(&process.id, ended_at);
        Transition::new(&mut self.expected(process, at), Stage::Consumed)
    }

    /// What matched was printed before the end, whenever that was found (W06).
    fn after_matches(&self, process: &ProcessId, ended_at: Millis) -> Millis {
        let matches = self.waiting.iter().filter(|e| e.process == *process).map(|e| e.at);
        matches.max().map_or(ended_at, |last| ended_at.max(last.saturating_add(1)))
    }

    /// A watch has news for the agent, in an entry of its own (P01).
    pub(super) fn add_watch_event(&mut self, wakeup: Wakeup, at: Millis) -> Transition {
        let entry = Entry {
            session: self.session.clone(),
            process: wakeup.process.clone(),
            kind: wakeup.kind,
            ordinal: wakeup.ordinal,
            state: Stage::Finished,
            wakeup: Some(wakeup),
            row: None,
            at,
        };
        self.waiting.push(entry.clone());
        Transition { entry }
    }

    /// The agent has seen the end of that process: it wakes nobody (W07). Where the end was not
    /// reported yet, the report will find the mark.
    pub(super) fn consume(&mut self, process: &Process) -> Transition {
        let kind = end_kind(process);
        let is_it = |e: &Entry| e.process == process.id && e.kind == kind;
        let mut entry = if let Some(known) = self.waiting.iter().position(is_it) {
            self.waiting.remove(known)
        } else {
            let at = process.exit.as_ref().map_or(process.started_at, |exit| exit.at);
            self.expected(process, at)
        };
        if !self.is_due(false) {
            self.settling = None;
        }
        Transition::new(&mut entry, Stage::Consumed)
    }

    /// That turn takes all that waits along, in the order in which it happened. The entries without
    /// a row get the numbers from `next_row` on.
    pub(super) fn claim(&mut self, turn: TurnId, mut next_row: u64) -> Vec<Claim> {
        debug_assert!(self.claimed.is_empty(), "{turn} claims twice");
        let mut entries = std::mem::take(&mut self.waiting);
        entries.sort_by_key(|e| e.at);
        let mut claims = Vec::with_capacity(entries.len());
        for entry in &mut entries {
            let needs_row = entry.row.is_none();
            if needs_row {
                entry.row = Some(next_row);
                next_row += 1;
            }
            let transition = Transition::new(entry, Stage::Claimed(turn));
            claims.push(Claim { transition, needs_row });
        }
        self.claimed.append(&mut entries);
        claims
    }

    /// What that turn carries counts as delivered.
    pub(super) fn deliver(&mut self, turn: TurnId) -> Vec<Transition> {
        let mut delivered = std::mem::take(&mut self.claimed);
        delivered.iter_mut().map(|e| Transition::new(e, Stage::Delivered(turn))).collect()
    }

    /// What the turn carries waits again, as if it had not been claimed, but for its row.
    pub(super) fn requeue(&mut self) -> Vec<Transition> {
        self.put_back(&Stage::Finished)
    }

    /// What the turn carries is put off (W20, W29).
    pub(super) fn hold(&mut self, reason: String) -> Vec<Transition> {
        self.put_back(&Stage::Held(reason))
    }

    fn put_back(&mut self, to: &Stage) -> Vec<Transition> {
        let mut entries = std::mem::take(&mut self.claimed);
        let moved = entries.iter_mut().map(|e| Transition::new(e, to.clone())).collect();
        entries.append(&mut self.waiting);
        self.waiting = entries;
        moved
    }

    /// What was put off may start a turn again.
    pub(super) fn release(&mut self) -> Vec<Transition> {
        let held = self.waiting.iter_mut().filter(|e| matches!(e.state, Stage::Held(_)));
        held.map(|e| Transition::new(e, Stage::Finished)).collect()
    }

    /// Rows from that one on were taken back: what waits and has one of them gets a new one with its
    /// next claim. What the model has answered stays answered.
    pub(super) fn forget_rows(&mut self, first: u64) -> Vec<Transition> {
        let gone = self.waiting.iter_mut().filter(|e| e.row.is_some_and(|row| row >= first));
        gone.map(|entry| {
            entry.row = None;
            Transition { entry: entry.clone() }
        })
        .collect()
    }

    /// The turn that spawned that process was taken back: its waiting matches start no turn (P05).
    /// One that has a row keeps it and is answered.
    pub(super) fn discard_matches(&mut self, process: &ProcessId) -> Vec<Transition> {
        let is_stale =
            |e: &mut Entry| e.process == *process && e.kind == WakeupKind::Match && e.row.is_none();
        let stale = self.waiting.extract_if(.., is_stale);
        stale.map(|mut entry| Transition::new(&mut entry, Stage::Stale)).collect()
    }
}

impl Session {
    /// Stores what has moved and shows it in the list of processes.
    pub(super) fn apply_transition(&mut self, moved: Transition, out: &mut Effects) {
        let (id, delivery) = (moved.entry.process.clone(), moved.delivery());
        moved.store(out);
        if let (Some(delivery), Some(process)) = (delivery, self.process(&id))
            && process.delivery != delivery
        {
            let process = Process { delivery, ..process.clone() };
            self.change_process(process, out);
        }
    }

    pub(super) fn apply_transitions(&mut self, moved: Vec<Transition>, out: &mut Effects) {
        for transition in moved {
            self.apply_transition(transition, out);
        }
    }
}
