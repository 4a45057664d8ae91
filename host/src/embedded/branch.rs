//! Copies of a session: a branch as it is after its last finished turn, a duplicate as it is now.
//! What runs in the background stays with the original, and so do its completions (W18).

use super::host_loop::HostLoop;
use super::live_session::LiveSession;
use crate::clock::now;
use crate::store::Record;
use protocol::{Body, Row, SessionId, Subject, Transcript, ViewId};

/// What the failures are about.
const ABOUT: Subject = Subject::Branch;
/// The beginning of the suffix of a branch's title.
const BRANCH: &str = " (branch";
/// The beginning of the suffix of a duplicate's title.
const COPY: &str = " (copy";

/// A copy of a session that is to be stored.
struct Copy {
    id: SessionId,
    record: Record,
}

impl HostLoop {
    /// Copies the finished turns of a session; the view switches to the copy once it is stored.
    pub(super) fn branch(&mut self, view: ViewId, from: &SessionId) {
        let upto = self.last_row_of_finished_turns(from);
        self.copy(view, from, upto, BRANCH);
    }

    /// Copies all of a session; of a running turn the part that is complete in itself.
    pub(super) fn duplicate(&mut self, view: ViewId, from: &SessionId) {
        let upto = match self.sessions.get(from).map(LiveSession::transcript) {
            Some(transcript) => match last_complete_row(transcript) {
                Some(n) => Ok(Some(n)),
                None => self.last_row_of_finished_turns(from),
            },
            None => Ok(None),
        };
        self.copy(view, from, upto, COPY);
    }

    /// Writes a copy for a view, behind everything the session has written so far.
    fn copy(
        &mut self,
        view: ViewId,
        from: &SessionId,
        upto: Result<Option<u64>, String>,
        suffix: &str,
    ) {
        let copy = match upto.and_then(|upto| self.new_copy(from, upto, suffix)) {
            Ok(copy) => copy,
            Err(why) => return self.fail(view, ABOUT, why),
        };
        let Some(live) = self.sessions.get_mut(from) else { return };
        let mut batch = live.outbox.take_journal();
        batch.push(copy.record);
        let no = self.store.write(batch);
        live.outbox.put_branch(no, view, copy.id);
    }

    fn last_row_of_finished_turns(&self, from: &SessionId) -> Result<Option<u64>, String> {
        let Some(live) = self.sessions.get(from) else { return Ok(None) };
        let transcript = live.transcript();
        match &transcript.running {
            None => Ok(transcript.rows.last().map(|r| r.n)),
            // A window that holds nothing older than the running turn: older rows are stored.
            Some(running) => match transcript.rows.iter().rfind(|r| r.turn < running.turn) {
                Some(row) => Ok(Some(row.n)),
                None => self.store.reader.last_row(from, running.turn).map_err(|e| e.to_string()),
            },
        }
    }

    fn new_copy(
        &mut self,
        from: &SessionId,
        upto: Option<u64>,
        suffix: &str,
    ) -> Result<Copy, String> {
        if let Some(why) = self.store.failure() {
            return Err(format!("a copy needs a working store, and it fails: {why}"));
        }
        let nothing = "there is nothing to copy yet: no turn has ended";
        let live = self.sessions.get(from).ok_or(nothing)?;
        let upto = upto.ok_or(nothing)?;
        let mut meta = live.session.meta().branch(now());
        if live.transcript().running.is_some() {
            // The last count includes rows that are not copied.
            meta.gauge.used = None;
        }
        meta.title = Some(self.copy_title(&live.session.name(), suffix));
        let id = self.fresh_id();
        meta.id = id.clone();
        Ok(Copy { id, record: Record::Branched { from: from.clone(), upto, meta } })
    }

    /// The first free title for a copy of a session with that title; the title of a copy counts on.
    fn copy_title(&self, title: &str, suffix: &str) -> String {
        let stem = match title.rfind(suffix) {
            Some(at) if title.ends_with(')') => &title[..at],
            _ => title,
        };
        let taken = |title: &str| {
            self.sessions.iter().any(|(_, live)| live.session.name() == title)
                || self.store.reader.find(title).is_ok_and(|found| found.is_some())
        };
        let first = format!("{stem}{suffix})");
        let others = (2..).map(|n| format!("{stem}{suffix} {n})"));
        std::iter::once(first.clone()).chain(others).find(|t| !taken(t)).unwrap_or(first)
    }

    /// Attaches the view that asked for a copy to it, now that it is stored or could not be. A view
    /// that has switched to another session since stays there.
    pub(super) fn handle_branch(&mut self, view: ViewId, from: &SessionId, to: &SessionId) {
        if let Err(why) = self.load(to) {
            self.fail(view, ABOUT, format!("the branch could not be opened: {why}"));
            return;
        }
        self.lists_changed();
        match self.views.get(view) {
            Some(attached) if attached.session() == from => {
                self.views.switch(view, to);
                self.push_window(view, to, false);
            }
            Some(_) | None => self.unload_if_unused(to),
        }
    }
}

/// The last row up to which every call has its result, as models require. `None` = the window holds
/// no such row.
fn last_complete_row(transcript: &Transcript) -> Option<u64> {
    let calls = transcript.running.as_ref().is_some_and(|running| !running.calls.is_empty());
    let answers = |row: &&Row| matches!(row.body, Body::Assistant(_));
    let open = transcript.rows.iter().rfind(answers).filter(|_| calls).map(|row| row.n);
    transcript.rows.iter().rfind(|row| open.is_none_or(|open| row.n < open)).map(|row| row.n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Assistant, CallId, LiveCall, Running, Source, ToolCall, TurnId};

    #[test]
    fn a_duplicate_ends_where_every_call_has_its_result() {
        let row = |n, body| Row { n, turn: TurnId(1), at: 0, cut: 0, body };
        let call = ToolCall {
            id: CallId("c".to_owned()),
            name: "t".to_owned(),
            args: serde_json::Value::Null,
        };
        let answer = Assistant { calls: vec![call.clone()], ..Assistant::default() };
        let mut transcript = Transcript::default();
        assert_eq!(last_complete_row(&transcript), None);
        transcript.rows = vec![
            row(7, Body::User { text: "go".to_owned() }),
            row(8, Body::Assistant(answer)),
            row(9, Body::Note { text: "n".to_owned() }),
        ];
        assert_eq!(last_complete_row(&transcript), Some(9));
        transcript.running = Some(Running {
            turn: TurnId(1),
            source: Source::User,
            started_at: 0,
            n: 0,
            reasoning: String::new(),
            text: String::new(),
            calls: vec![LiveCall::waiting(&call)],
            status: None,
            cancelling: false,
        });
        assert_eq!(last_complete_row(&transcript), Some(7));
    }
}
