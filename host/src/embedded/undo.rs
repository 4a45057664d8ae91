//! Taking rows of a session back: the part of them that is outside its window is read from the
//! store.

use super::Attendance;
use super::host_loop::HostLoop;
use crate::session::{Input, UnloadedRows};
use crate::store;
use protocol::{Body, PromptId, SessionId, Subject, ViewId};

/// Rows that are read for a window that loses all it holds.
const BEFORE: usize = 100;

impl HostLoop {
    /// Takes the last user turn of a session back; with `again` its text is sent once more.
    pub(super) fn undo(
        &mut self,
        view: ViewId,
        id: &SessionId,
        again: Option<(PromptId, Attendance)>,
    ) {
        let Some(session) = self.sessions.get(id).map(|live| &live.session) else { return };
        let first = if let Some(prompt) = session.last_prompt() {
            Ok(Some(prompt.n))
        } else {
            let prompt = self.store.reader.last_prompt(id, session.last_row());
            prompt.map(|prompt| prompt.map(|row| row.n))
        };
        match first.and_then(|first| self.unloaded(id, first)) {
            Ok(unloaded) => self.feed(id, Input::Undo { unloaded, again }),
            Err(error) => self.fail(view, Subject::Undo, error.to_string()),
        }
    }

    /// Takes all rows of a session after that one back.
    pub(super) fn truncate(&mut self, view: ViewId, id: &SessionId, after: u64) {
        match self.unloaded(id, after.checked_add(1)) {
            Ok(unloaded) => self.feed(id, Input::Truncate { after, unloaded }),
            Err(error) => self.fail(view, Subject::Truncate, error.to_string()),
        }
    }

    /// The facts about the rows from that one on that a session cannot read off its window.
    fn unloaded(
        &mut self,
        id: &SessionId,
        first: Option<u64>,
    ) -> Result<UnloadedRows, store::Error> {
        // The context is loaded before the rows are removed: read later, it would lack them.
        let rows = self.context(id);
        let Some(live) = self.sessions.get(id) else { return Ok(UnloadedRows::default()) };
        let window = live.transcript().rows.first().map_or(u64::MAX, |row| row.n);
        let Some(first) = first else { return Ok(UnloadedRows::default()) };
        let removed = || rows.iter().skip_while(|row| row.n < first);
        let row = removed().next().map(|row| (**row).clone());
        if first > window {
            return Ok(UnloadedRows { first: row, ..UnloadedRows::default() });
        }
        let summaries = removed().take_while(|row| row.n < window);
        let summaries = summaries.filter(|row| matches!(row.body, Body::Summary(_))).count();
        let before = self.store.reader.page(id, first, BEFORE)?.0;
        Ok(UnloadedRows {
            first: row,
            before,
            summaries: u32::try_from(summaries).unwrap_or(u32::MAX),
        })
    }
}
