//! Rows taken back: the last user turn, or all after some row. They leave the transcript, the store
//! and the model's context; what was done in the world stays done.
//!
//! Row numbers have no gaps: those of rows that were taken back are given again. Numbers of turns
//! are not, so a row is named permanently by its number and its turn.

use super::prompts::PREVIEW;
use super::{Attendance, Effects, Session, Stored};
use crate::store::Record;
use protocol::{Body, Event, Failure, Millis, PromptId, Queued, Row, Storage, Subject, TurnId};

/// Matches of a process never wake the agent again (P05).
const NEVER: Millis = Millis::MAX;

/// The part of the removed rows that is not in the window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// The first removed row, whole.
    pub(crate) first: Option<Row>,
    /// Rows before it: the new window, should nothing else be left in it.
    pub(crate) before: Vec<Row>,
    /// How many of the removed summaries are older than the window.
    pub(crate) summaries: u32,
}

impl Session {
    /// The prompt of the last user turn if the window holds it whole.
    pub(crate) fn last_prompt(&self) -> Option<&Row> {
        let asked = |row: &&Row| matches!(row.body, Body::User { .. });
        self.view.rows.iter().rfind(asked).filter(|row| row.cut == 0)
    }

    /// The number of its last row; 0 = none.
    pub(crate) fn last_row(&self) -> u64 {
        self.next_row.saturating_sub(1)
    }

    /// Takes the last user turn back; with `again` its text is sent once more, in one commit.
    pub(super) fn undo(
        &mut self,
        past: Past,
        again: Option<(PromptId, Attendance)>,
        now: Millis,
        out: &mut Effects,
    ) {
        if again.as_ref().is_some_and(|(id, _)| self.knows_prompt(id)) {
            return;
        }
        let about = if again.is_some() { Subject::Retry } else { Subject::Undo };
        let prompt = self.may_undo().and_then(|()| {
            let known = self.last_prompt().cloned().or_else(|| past.first.clone());
            known.ok_or_else(|| "Nothing to undo.".to_owned())
        });
        let prompt = match prompt {
            Ok(prompt) => prompt,
            Err(message) => {
                let failure = Failure { about, message };
                return self.publish(Event::Failed(failure), out);
            }
        };
        self.cut_off(&prompt, past, out);
        if let (Some((id, attendance)), Body::User { text }) = (again, prompt.body) {
            self.remember_prompt(&id);
            if self.next_row == 1 {
                self.meta.preview = text.chars().take(PREVIEW).collect();
            }
            self.prompts.push_front((Queued { id, text }, attendance));
        }
        self.touch(now, out);
    }

    /// Takes all rows after that one back. In the midst of a turn what stays of it stays as it is;
    /// matches of what it spawned wake nobody any more.
    pub(super) fn truncate(&mut self, after: u64, past: Past, now: Millis, out: &mut Effects) {
        let first = self.may_undo().and_then(|()| {
            let known = self.view.rows.iter().chain(&past.first);
            let known = { known }.find(|row| row.n.checked_sub(1) == Some(after)).cloned();
            known.ok_or_else(|| format!("There is nothing after row {after}."))
        });
        match first {
            Ok(first) => {
                self.cut_off(&first, past, out);
                self.touch(now, out);
            }
            Err(message) => {
                let about = Subject::Truncate;
                self.publish(Event::Failed(Failure { about, message }), out);
            }
        }
    }

    fn may_undo(&self) -> Result<(), String> {
        if self.turn.is_some() {
            return Err(
                "A turn is running: wait for its end or interrupt it, then try again.".to_owned()
            );
        }
        if self.stopping {
            return Err("The host is stopping: try again when it has started anew.".to_owned());
        }
        if self.meta.task.is_some() {
            return Err("This session works for another one, which has been told of it: send a \
                        prompt with what is to be different."
                .to_owned());
        }
        if let Storage::Failing(why) = &self.view.storage {
            return Err(format!("Nothing is taken back while the store fails: {why}"));
        }
        if self.stored != Stored::Yes {
            return Err("Nothing to undo.".to_owned());
        }
        Ok(())
    }

    /// Removes a row and those after it.
    fn cut_off(&mut self, first: &Row, past: Past, out: &mut Effects) {
        let after = first.n.saturating_sub(1);
        let summaries = self.view.rows.iter().filter(|row| row.n > after);
        let summaries = summaries.filter(|row| matches!(row.body, Body::Summary(_))).count();
        let summaries = u32::try_from(summaries).unwrap_or(u32::MAX);
        let summaries = summaries.saturating_add(past.summaries);
        self.meta.compressions = self.meta.compressions.saturating_sub(summaries);
        // What was counted last counts what is gone.
        self.meta.gauge.used = None;
        self.next_row = after + 1;
        if after == 0 {
            // What it was called by is gone.
            self.meta.preview.clear();
        }
        out.record(Record::Undone { session: self.id(), after });
        self.publish(Event::RowsRemoved { after }, out);
        if self.view.rows.is_empty()
            && let Some(oldest) = past.before.first()
        {
            let earlier = oldest.n.saturating_sub(1);
            self.publish(Event::Paged { rows: past.before, earlier }, out);
        }
        self.forget_rows(first.n, out);
        self.disable_matches(first.turn, out);
    }

    /// What waits and whose rows are gone gets new rows: no model has answered it. What was answered
    /// stays delivered.
    fn forget_rows(&mut self, first: u64, out: &mut Effects) {
        let without_rows = self.ledger.forget_rows(first);
        self.apply_transitions(without_rows, out);
    }

    /// Matches of processes that these turns spawned wake nobody any more; their ends do (P05).
    fn disable_matches(&mut self, first: TurnId, out: &mut Effects) {
        let spawned = self.view.processes.iter().filter(|p| p.turn >= first).cloned();
        for mut process in spawned.collect::<Vec<_>>() {
            let stale = self.ledger.discard_matches(&process.id);
            let changes = process.is_watched() && process.watching.since != Some(NEVER);
            if changes {
                process.watching.since = Some(NEVER);
            }
            process.watching.stale += stale.len() as u64;
            if changes || !stale.is_empty() {
                self.change_process(process, out);
            }
            self.apply_transitions(stale, out);
        }
    }
}
