//! Rows of a session taken back: what its window does not know of them is read from the store.

use super::Attendance;
use super::host_loop::HostLoop;
use crate::session::{Input, Past};
use crate::store;
use protocol::Subject;
use protocol::ViewId;
use protocol::{Body, PromptId, SessionId};

/// Rows of a window that has lost all it held.
const BEFORE: usize = 100;

impl HostLoop {
    /// Takes the last user turn of a session back, and asks its text again if that is wanted.
    pub(super) fn undo(
        &mut self,
        front: ViewId,
        id: &SessionId,
        again: Option<(PromptId, Attendance)>,
    ) {
        let Some(session) = self.sessions.get(id).map(|live| &live.session) else { return };
        let first = if let Some(prompt) = session.last_prompt() {
            Ok(Some(prompt.n))
        } else {
            let prompt = self.reader.last_prompt(id, session.last_row());
            prompt.map(|prompt| prompt.map(|row| row.n))
        };
        match first.and_then(|first| self.past(id, first)) {
            Ok(past) => self.feed(id, Input::Undo { past, again }),
            Err(error) => self.fail(front, Subject::Undo, error.to_string()),
        }
    }

    /// Takes all rows of a session after that one back.
    pub(super) fn truncate(&mut self, front: ViewId, id: &SessionId, after: u64) {
        match self.past(id, after.checked_add(1)) {
            Ok(past) => self.feed(id, Input::Truncate { after, past }),
            Err(error) => self.fail(front, Subject::Truncate, error.to_string()),
        }
    }

    /// What a session cannot know from its window of the rows from that one on.
    fn past(&mut self, id: &SessionId, first: Option<u64>) -> Result<Past, store::Error> {
        // What the model was told is cut when the rows are; read later, it might not be.
        let rows = self.context(id);
        let Some(live) = self.sessions.get(id) else { return Ok(Past::default()) };
        let window = live.session.transcript().rows.first().map_or(u64::MAX, |row| row.n);
        let Some(first) = first else { return Ok(Past::default()) };
        let gone = || rows.iter().skip_while(|row| row.n < first);
        let row = gone().next().map(|row| (**row).clone());
        if first > window {
            return Ok(Past { first: row, ..Past::default() });
        }
        let summaries = gone().take_while(|row| row.n < window);
        let summaries = summaries.filter(|row| matches!(row.body, Body::Summary(_))).count();
        let before = self.reader.page(id, first, BEFORE)?.0;
        Ok(Past { first: row, before, summaries: u32::try_from(summaries).unwrap_or(u32::MAX) })
    }
}
