//! What the store holds, as plain values: a mirror of the committed records, fast to ask. The real
//! database is compared with it at every restart.

use std::collections::{BTreeMap, BTreeSet};

use crate::session::ConsumeAt;
use crate::store::{Entry, Loaded, Record, Stage};
use protocol::{
    Body, CallId, Outcome, Process, ProcessId, PromptId, QuestionId, Row, SessionId, TurnId,
    Wakeup, WakeupKind,
};

pub(super) type Key = (ProcessId, WakeupKind, u64);

#[derive(Default)]
pub(super) struct Stored {
    pub(super) sessions: BTreeMap<SessionId, StoredSession>,
    pub(super) processes: BTreeMap<ProcessId, Process>,
    pub(super) ledger: BTreeMap<Key, Entry>,
    /// Wakeup rows: their session, place in the order of all rows, and content. Also those that
    /// were taken back after an answer.
    pub(super) wakeup_rows: Vec<(SessionId, u64, Wakeup)>,
    /// Calls that show the end of a process, as the world knows them.
    pub(super) shows: BTreeMap<CallId, (ProcessId, ConsumeAt)>,
    /// Rules granted for ever.
    pub(super) grants: BTreeSet<String>,
    /// Results of such calls.
    pub(super) shown: Vec<Shown>,
    /// Rows committed so far: numbers of rows come again, places do not.
    places: u64,
}

/// A committed result that shows the end of a process.
pub(super) struct Shown {
    pub(super) process: ProcessId,
    pub(super) session: SessionId,
    pub(super) turn: TurnId,
    /// The place of the result.
    pub(super) row: u64,
    pub(super) how: ConsumeAt,
}

#[derive(Default)]
pub(super) struct StoredSession {
    pub(super) rows: BTreeMap<u64, Row>,
    /// All that ever were, also those that were taken back.
    pub(super) written: Vec<Row>,
    /// Prompts that were taken back.
    pub(super) undone: BTreeSet<String>,
    pub(super) turns: BTreeMap<TurnId, UnloadedRows>,
    pub(super) questions: BTreeSet<QuestionId>,
    pub(super) queued: BTreeSet<PromptId>,
}

pub(super) struct UnloadedRows {
    pub(super) outcome: Option<Outcome>,
    /// The place of the last row when it ended.
    pub(super) last: u64,
}

impl Stored {
    pub(super) fn projects(&self, id: &SessionId) -> Option<&StoredSession> {
        self.sessions.get(id)
    }

    fn shelf_mut(&mut self, id: &SessionId) -> &mut StoredSession {
        if !self.sessions.contains_key(id) {
            self.sessions.insert(id.clone(), StoredSession::default());
        }
        self.sessions.entry(id.clone()).or_default()
    }

    pub(super) fn apply(&mut self, record: &Record) {
        match record {
            Record::Session(meta) => {
                self.shelf_mut(&meta.id);
            }
            Record::Row { session, row } => {
                self.places += 1;
                let place = self.places;
                match &row.body {
                    Body::Wakeup(wakeup) => {
                        self.wakeup_rows.push((session.clone(), place, wakeup.clone()));
                    }
                    Body::Tool(result) => {
                        // Not one that only says that it was cut off.
                        if let (false, Some((process, how))) =
                            (result.failed, self.shows.get(&result.call))
                        {
                            self.shown.push(Shown {
                                process: process.clone(),
                                session: session.clone(),
                                turn: row.turn,
                                row: place,
                                how: *how,
                            });
                        }
                    }
                    _ => {}
                }
                let projects = self.shelf_mut(session);
                projects.rows.insert(row.n, row.clone());
                projects.written.push(row.clone());
            }
            Record::Undone { session, after } => self.undone(session, *after),
            Record::TurnStarted { session, turn, .. } => {
                let unloaded = UnloadedRows { outcome: None, last: 0 };
                self.shelf_mut(session).turns.insert(*turn, unloaded);
            }
            Record::TurnEnded { session, turn, outcome, .. } => {
                let last = self.places;
                let projects = self.shelf_mut(session);
                // Of a turn that only judged a goal the end is all that is known.
                let unloaded = UnloadedRows { outcome: Some(outcome.clone()), last };
                projects.turns.insert(*turn, unloaded);
            }
            Record::Queued { session, prompt } => {
                self.shelf_mut(session).queued.insert(prompt.id.clone());
            }
            Record::Process(process) => {
                self.processes.insert(process.id.clone(), process.clone());
            }
            Record::Ledger(entry) => {
                let key = (entry.process.clone(), entry.kind, entry.ordinal);
                self.ledger.insert(key, entry.clone());
            }
            Record::Granted { rule } => {
                self.grants.insert(rule.clone());
            }
            Record::Asked { session, question } => {
                self.shelf_mut(session).questions.insert(question.id.clone());
            }
            _ => {}
        }
    }

    /// The last rows of a session are taken back: what no model has answered is told no more.
    fn undone(&mut self, session: &SessionId, after: u64) {
        let gone = self.shelf_mut(session).rows.split_off(&(after + 1));
        for row in gone.into_values() {
            if let Body::User { text } = row.body {
                self.shelf_mut(session).undone.insert(text);
            }
        }
        let open = |e: &&mut Entry| e.session == *session && !e.state.is_settled();
        for entry in self.ledger.values_mut().filter(open) {
            if entry.row.is_some_and(|row| row > after) {
                entry.row = None;
                let tells = |w: &Wakeup| {
                    w.process == entry.process && w.kind == entry.kind && w.ordinal == entry.ordinal
                };
                self.wakeup_rows.retain(|(.., wakeup)| !tells(wakeup));
            }
        }
    }

    /// Compares what was read from the database with the mirror, and looks whether it fits
    /// together: what a host finds after any crash.
    pub(super) fn compare(&self, id: &SessionId, loaded: &Loaded) -> Result<(), String> {
        let Some(projects) = self.projects(id) else {
            return Err(format!("store: {id} was not written"));
        };
        if !loaded.rows.iter().eq(projects.rows.values()) {
            return Err(format!("store: the rows of {id} are not those that were committed"));
        }
        if let Some(at) = (1..).zip(&loaded.rows).find(|(n, row)| *n != row.n) {
            return Err(format!("store: {id} has no row {}", at.0));
        }
        for process in &loaded.processes {
            if self.processes.get(&process.id) != Some(process) {
                return Err(format!("store: {} is not what was committed", process.id));
            }
        }
        for entry in &loaded.ledger {
            let open = loaded.open.as_ref().map(|o| o.turn);
            if let Stage::Claimed(turn) = entry.state
                && open != Some(turn)
            {
                let process = &entry.process;
                return Err(format!(
                    "claim: {process} is claimed by {turn}, which is not open ({open:?})"
                ));
            }
            if let Some(n) = entry.row {
                let row = projects.rows.get(&n);
                let tells = row.is_some_and(|row| {
                    matches!(&row.body, Body::Wakeup(w) if w.process == entry.process
                        && w.kind == entry.kind && w.ordinal == entry.ordinal)
                });
                if !tells {
                    return Err(format!("claim: row {n} of {id} does not tell {}", entry.process));
                }
            }
        }
        Ok(())
    }

    /// Whether the agent or the user knew of the end of a process otherwise.
    pub(super) fn is_known_otherwise(&self, process: &ProcessId) -> bool {
        self.processes.get(process).is_some_and(|p| p.killed_by.is_some())
            || self.shown.iter().any(|s| s.process == *process && self.counts(s).is_some())
    }

    /// From which row on the end that a result showed needs no other telling, if it counts.
    pub(super) fn counts(&self, shown: &Shown) -> Option<u64> {
        match shown.how {
            ConsumeAt::Now => Some(shown.row),
            ConsumeAt::TurnEnd => {
                let unloaded = self.projects(&shown.session)?.turns.get(&shown.turn)?;
                let whole = matches!(unloaded.outcome, Some(Outcome::Done | Outcome::Limit));
                whole.then_some(unloaded.last)
            }
        }
    }
}
