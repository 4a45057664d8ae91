//! What must be true when a run is over.

use super::world::{World, process_id};
use crate::store::Stage;
use protocol::{Body, Wakeup, WakeupKind};

/// Turns that one word of the user about a goal may bring, with those of a restart.
const GOAL_TURNS: u32 = 40;

impl World<'_> {
    /// What must be true when all is over.
    pub(super) fn judge(&mut self) {
        if let Err(what) = self.verdict() {
            return self.fail(what);
        }
        // Another host finds nothing to do.
        match self.db.unsettled() {
            Ok(sessions) if sessions.is_empty() => {}
            other => return self.fail(format!("rest: the store is not settled: {other:?}")),
        }
        let wakeups = self.tally.wakeups;
        self.restart(0);
        for s in 0..self.ids.len() {
            self.open(s);
        }
        self.pump();
        let busy = self.host.live.values().any(|l| !l.session.is_at_rest());
        if busy || self.tally.wakeups != wakeups {
            self.fail("rest: another host finds something to do".to_owned());
        }
    }

    fn verdict(&self) -> Result<(), String> {
        self.each_completion_once()?;
        self.each_prompt_once()?;
        self.each_match_once()?;
        let held = self.tally.matches
            + self.tally.restarts
            + self.tally.releases
            + self.tally.recoveries
            + self.tally.failures;
        let bound = (self.procs.len() + self.prompts.len()) as u64 + held;
        if self.tally.wakeups > bound {
            return Err(format!("loop: {} wakeups, {bound} at most", self.tally.wakeups));
        }
        let turns = self.tally.goals * u64::from(GOAL_TURNS);
        if self.tally.goal_turns > turns {
            return Err(format!(
                "loop: {} turns for a goal, {turns} at most",
                self.tally.goal_turns
            ));
        }
        for p in self.host.watched.iter().copied() {
            let stored = self.stored.processes.get(&process_id(p)).is_some_and(|p| !p.is_live());
            if stored && self.procs[p].exit.is_some() && !self.procs[p].acknowledged {
                return Err(format!("stays: the supervisor of {} is not let go", process_id(p)));
            }
        }
        for p in self.stored.processes.values() {
            if p.is_live() {
                return Err(format!("live: {} is live for ever", p.id));
            }
        }
        Ok(())
    }

    fn each_completion_once(&self) -> Result<(), String> {
        for (p, proc) in self.procs.iter().enumerate() {
            let id = process_id(p);
            let Some(stored) = self.stored.processes.get(&id) else {
                if proc.launched {
                    return Err(format!("lost: {id} ran and is not in the store"));
                }
                continue;
            };
            let owner = &self.ids[proc.owner];
            if stored.session != *owner {
                return Err(format!("owner: {id} belongs to {}, not {owner}", stored.session));
            }
            let wakeup_rows: Vec<_> =
                self.stored.wakeup_rows.iter().filter(|(.., w)| w.process == id).collect();
            if let Some((session, n, _)) = wakeup_rows.iter().find(|(session, ..)| session != owner)
            {
                return Err(format!("owner: row {n} of {session} tells {id} of {owner}"));
            }
            let kind = match proc.worker {
                Some(_) => WakeupKind::Delegation,
                None => WakeupKind::Exit,
            };
            let exits: Vec<_> = wakeup_rows.iter().filter(|(.., w)| w.kind == kind).collect();
            let known = self.stored.is_known_otherwise(&id);
            let stage = self.stored.ledger.get(&(id.clone(), kind, 0)).map(|e| &e.state);
            match (exits.as_slice(), stage) {
                ([], None) if !stored.notify => {}
                ([], Some(Stage::Consumed)) if known => {}
                ([(_, _, wakeup)], Some(Stage::Delivered(_) | Stage::Consumed)) => {
                    if let (Some(truth), Some(wakeup_rows)) = (&proc.exit, &wakeup.exit)
                        && (truth.code, truth.signal) != (wakeup_rows.code, wakeup_rows.signal)
                    {
                        return Err(format!(
                            "wrong: {id} ended {truth:?}, told was {wakeup_rows:?}"
                        ));
                    }
                }
                ([_, _, ..], _) => return Err(format!("twice: the end of {id} is told twice")),
                (rows, _) => {
                    let n = rows.len();
                    return Err(format!(
                        "lost: the end of {id} is in {n} rows, {stage:?}, known otherwise: {known}"
                    ));
                }
            }
            if let [(_, n, _)] = exits.as_slice() {
                let mut shown = self.stored.shown.iter().filter(|s| s.process == id);
                if let Some(s) = shown.find(|s| self.stored.counts(s).is_some_and(|from| from < *n))
                {
                    return Err(format!(
                        "again: row {n} tells the end of {id}, which row {} showed",
                        s.row
                    ));
                }
                if stored.killed_by.is_some() {
                    return Err(format!(
                        "again: row {n} tells the end of {id}, which was asked for"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Events of watches have rows of their own.
    fn each_match_once(&self) -> Result<(), String> {
        for ((id, kind, ordinal), entry) in &self.stored.ledger {
            let tells = |w: &Wakeup| w.process == *id && w.kind == *kind && w.ordinal == *ordinal;
            let rows = self.stored.wakeup_rows.iter().filter(|(.., w)| tells(w)).count();
            let right = match entry.state {
                Stage::Delivered(_) => rows == 1,
                Stage::Consumed => rows <= 1,
                Stage::Stale | Stage::Orphaned => rows == 0,
                _ => false,
            };
            if !right && !matches!(kind, WakeupKind::Exit | WakeupKind::Delegation) {
                let state = &entry.state;
                return Err(format!(
                    "lost: {kind:?} {ordinal} of {id} is in {rows} rows, {state:?}"
                ));
            }
        }
        Ok(())
    }

    fn each_prompt_once(&self) -> Result<(), String> {
        for (s, id) in self.ids.iter().enumerate() {
            let Some(projects) = self.stored.projects(id) else { continue };
            let users: Vec<&str> = projects
                .rows
                .values()
                .filter_map(|r| match &r.body {
                    Body::User { text } => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            let mut order = 0;
            for typed in self.prompts.iter().filter(|p| p.session == s) {
                let at: Vec<usize> = (0..users.len()).filter(|i| users[*i] == typed.text).collect();
                let must =
                    projects.queued.contains(&typed.id) || typed.generation == self.generation;
                match at.as_slice() {
                    [only] if *only < order => {
                        return Err(format!("order: {} of {id} came late", typed.text));
                    }
                    [only] => order = *only,
                    [] if typed.unqueued || !must || projects.undone.contains(&typed.text) => {}
                    _ => {
                        return Err(format!(
                            "prompt: {} is in {} rows of {id}",
                            typed.text,
                            at.len()
                        ));
                    }
                }
            }
            for (i, text) in users.iter().enumerate().filter(|(_, t)| t.starts_with("remark")) {
                if users[i + 1..].contains(text) {
                    return Err(format!("prompt: the remark {text:?} is told twice"));
                }
            }
        }
        Ok(())
    }
}
