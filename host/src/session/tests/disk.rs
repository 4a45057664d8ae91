//! A store in memory: what a host that is killed leaves behind, and the session it makes again.

use std::collections::BTreeMap;

use super::*;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) meta: Meta,
    pub(super) rows: Vec<Row>,
    turns: BTreeMap<TurnId, Turn>,
    queued: Vec<Queued>,
    pub(super) questions: Vec<Question>,
    processes: Vec<Process>,
    pub(super) ledger: Vec<Entry>,
}

#[derive(Clone)]
struct Turn {
    source: Source,
    at: Millis,
    outcome: Option<Outcome>,
    attempts: u32,
    row: u64,
    folded: u64,
    journal: Vec<(u64, Part, String)>,
}

impl Disk {
    /// Everything that a rig has recorded.
    pub(super) fn of(rig: &Rig) -> Self {
        Self::that_began_with(meta(), rig)
    }

    /// As [`Disk::of`], for a session that was written down by another one.
    pub(super) fn that_began_with(meta: Meta, rig: &Rig) -> Self {
        let mut disk = Self { meta, ..Self::default() };
        disk.write(&rig.effects);
        disk
    }

    pub(super) fn write(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Record(record) = effect {
                self.apply(record.clone());
            }
        }
    }

    fn apply(&mut self, record: Record) {
        if record.session().is_some_and(|session| *session != self.meta.id) {
            // Of the session that works on a delegated task.
            return;
        }
        match record {
            Record::Session(meta) => self.meta = meta,
            Record::Row { row, .. } => {
                assert_eq!(row.n, self.rows.len() as u64 + 1, "rows are numbered without gaps");
                self.rows.push(row);
            }
            Record::TurnStarted { turn, source, at, .. } => {
                let (outcome, journal) = (None, Vec::new());
                let new = Turn { source, at, outcome, attempts: 0, row: 0, folded: 0, journal };
                assert!(self.turns.insert(turn, new).is_none(), "a turn begins once");
            }
            Record::TurnEnded { turn, outcome, .. } => {
                // Of a compression only the end is known.
                if let Some(turn) = self.turns.get_mut(&turn) {
                    assert_eq!(turn.outcome.replace(outcome), None, "a turn ends once");
                }
            }
            Record::Delta { turn, n, part, text, .. } => {
                let journal = &mut self.turns.get_mut(&turn).unwrap().journal;
                let last = journal.last().map_or(0, |(n, ..)| *n);
                assert_eq!(n, last + 1, "deltas are numbered without gaps");
                journal.push((n, part, text));
            }
            Record::Folded { turn, n, .. } => self.turns.get_mut(&turn).unwrap().folded = n,
            Record::Queued { prompt, .. } => {
                self.queued.retain(|q| q.id != prompt.id);
                self.queued.push(prompt);
            }
            Record::Unqueued { prompt, .. } => self.queued.retain(|q| q.id != prompt),
            Record::Process(process) => {
                self.processes.retain(|p| p.id != process.id);
                self.processes.push(process);
            }
            Record::Ledger(entry) => {
                let key = |e: &Entry| (e.process.clone(), e.kind, e.ordinal);
                self.ledger.retain(|e| key(e) != key(&entry));
                self.ledger.push(entry);
            }
            Record::Asked { question, .. } => {
                self.questions.retain(|q| q.id != question.id);
                self.questions.push(question);
            }
            Record::Resolved { question, .. } => self.questions.retain(|q| q.id != question),
            Record::Resumed { turn, attempt, row, .. } => {
                if let Some(turn) = self.turns.get_mut(&turn) {
                    (turn.attempts, turn.row) = (attempt, row);
                }
            }
            Record::Undone { after, .. } => self.rows.retain(|row| row.n <= after),
            Record::Branched { .. }
            | Record::Deleted { .. }
            | Record::Granted { .. }
            | Record::Projects(_) => {}
        }
    }

    pub(super) fn outcome(&self, turn: u64) -> Option<Outcome> {
        self.turns[&TurnId(turn)].outcome.clone()
    }

    /// As the store reads it back.
    pub(super) fn loaded(&self) -> Loaded {
        let open = self.turns.iter().rfind(|(_, turn)| turn.outcome.is_none());
        let open = open.map(|(id, turn)| {
            let open = turn.journal.iter().filter(|(n, ..)| *n > turn.folded);
            let texts = |wanted| {
                let mine = open.clone().filter(|(_, part, _)| *part == wanted);
                mine.map(|(_, _, text)| text.as_str()).collect()
            };
            OpenTurn {
                turn: *id,
                source: turn.source,
                started_at: turn.at,
                n: turn.journal.last().map_or(0, |(n, ..)| *n),
                text: texts(Part::Text),
                reasoning: texts(Part::Reasoning),
                rows: self.rows.iter().filter(|row| row.turn == *id).cloned().collect(),
                attempts: turn.attempts,
                resumed_row: turn.row,
            }
        });
        Loaded {
            meta: self.meta.clone(),
            rows: self.rows.clone(),
            earlier: 0,
            turns: self.turns.keys().last().copied().unwrap_or_default(),
            open,
            queued: self.queued.clone(),
            questions: self.questions.clone(),
            processes: self.processes.clone(),
            ledger: self.ledger.iter().filter(|e| !e.state.is_settled()).cloned().collect(),
            ..Loaded::default()
        }
    }

    /// The next host takes it up at that time. Its rig has the effects of that, and the disk what
    /// they recorded.
    pub(super) fn restart(&mut self, now: Millis) -> Rig {
        self.restart_with(Rules::default(), now)
    }

    pub(super) fn restart_with(&mut self, rules: Rules, now: Millis) -> Rig {
        let (session, effects) =
            Session::restore(self.loaded(), Attendance::Attended, None, rules, now);
        self.write(&effects);
        let view = session.transcript().clone();
        Rig { session, now, prompts: 100, effects, view }
    }
}
