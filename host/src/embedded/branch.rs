//! Copies of a session with a life of their own: a branch as it is after its last finished turn, a
//! duplicate as it is now.
//! What runs in the background stays with the original, and so do its completions (W18).

use super::host_loop::HostLoop;
use crate::clock::now;
use crate::store::Record;
use protocol::ViewId;
use protocol::{Body, Row, SessionId, Storage, Subject, Transcript};

/// What a refusal is about.
const ABOUT: Subject = Subject::Branch;
/// What the title of a branch ends with.
const BRANCH: &str = " (branch";
/// What the title of a duplicate ends with.
const COPY: &str = " (copy";

impl HostLoop {
    /// Copies a session; the view goes on in the copy as soon as it is stored.
    pub(super) fn branch(&mut self, front: ViewId, from: &SessionId) {
        let upto = self.upto_last_turn(from);
        self.copy(front, from, upto, BRANCH);
    }

    /// Copies all of a session; of a running turn as much as stands for itself.
    pub(super) fn duplicate(&mut self, front: ViewId, from: &SessionId) {
        let upto = match self.sessions.get(from).map(|l| l.session.transcript()) {
            Some(view) => upto_now(view).map_or_else(|| self.upto_last_turn(from), |n| Ok(Some(n))),
            None => Ok(None),
        };
        self.copy(front, from, upto, COPY);
    }

    fn copy(
        &mut self,
        front: ViewId,
        from: &SessionId,
        upto: Result<Option<u64>, String>,
        mark: &str,
    ) {
        match upto.and_then(|upto| self.copied(from, upto, mark)) {
            Ok((record, to)) => self.write_branch(front, from, to, record),
            Err(why) => self.fail(front, ABOUT, why),
        }
    }

    /// The last row of the turns that have ended.
    fn upto_last_turn(&self, from: &SessionId) -> Result<Option<u64>, String> {
        let Some(live) = self.sessions.get(from) else { return Ok(None) };
        let transcript = live.session.transcript();
        match &transcript.running {
            None => Ok(transcript.rows.last().map(|r| r.n)),
            // A window that holds nothing older than the running turn: older rows are stored.
            Some(running) => match transcript.rows.iter().rfind(|r| r.turn < running.turn) {
                Some(row) => Ok(Some(row.n)),
                None => self.reader.last_row(from, running.turn).map_err(|e| e.to_string()),
            },
        }
    }

    fn copied(
        &mut self,
        from: &SessionId,
        upto: Option<u64>,
        mark: &str,
    ) -> Result<(Record, SessionId), String> {
        if let Storage::Failing(why) = &self.storage {
            return Err(format!("a copy needs a working store, and it fails: {why}"));
        }
        let nothing = "there is nothing to copy yet: no turn has ended";
        let live = self.sessions.get(from).ok_or(nothing)?;
        let transcript = live.session.transcript();
        let upto = upto.ok_or(nothing)?;
        let mut meta = live.session.meta().branch(now());
        if transcript.running.is_some() {
            // What was counted last counts rows that stay behind.
            meta.gauge.used = None;
        }
        let title = live.session.name();
        meta.title = Some(self.copy_title(&title, mark));
        meta.id = self.fresh_id();
        let id = meta.id.clone();
        Ok((Record::Branched { from: from.clone(), upto, meta }, id))
    }

    /// The first free title of a copy of that session, or of a sister of it.
    fn copy_title(&self, title: &str, mark: &str) -> String {
        let stem = match title.rfind(mark) {
            Some(at) if title.ends_with(')') => &title[..at],
            _ => title,
        };
        let taken = |title: &str| {
            self.sessions.values().any(|l| l.session.name() == title)
                || self.reader.find(title).is_ok_and(|found| found.is_some())
        };
        let first = format!("{stem}{mark})");
        let others = (2..).map(|n| format!("{stem}{mark} {n})"));
        std::iter::once(first.clone()).chain(others).find(|t| !taken(t)).unwrap_or(first)
    }

    /// The branch is stored, or could not be: the view that asked goes there, unless it has gone
    /// elsewhere meanwhile.
    pub(super) fn branched(&mut self, front: ViewId, from: &SessionId, to: &SessionId) {
        if let Err(why) = self.load(to) {
            self.fail(front, ABOUT, format!("the branch could not be opened: {why}"));
            return;
        }
        self.lists_changed();
        match self.fronts.get(front) {
            Some(view) if view.session() == from => {
                self.fronts.turn_to(front, to);
                self.push_window(front, to, false);
            }
            Some(_) | None => self.unload_if_unused(to),
        }
    }
}

/// The last row behind which every call has its result: a model takes nothing else. None if the
/// window holds no such row.
fn upto_now(view: &Transcript) -> Option<u64> {
    let calls = view.running.as_ref().is_some_and(|running| !running.calls.is_empty());
    let answers = |row: &&Row| matches!(row.body, Body::Assistant(_));
    let open = view.rows.iter().rfind(answers).filter(|_| calls).map(|row| row.n);
    view.rows.iter().rfind(|row| open.is_none_or(|open| row.n < open)).map(|row| row.n)
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
        let mut view = Transcript::default();
        assert_eq!(upto_now(&view), None);
        view.rows = vec![
            row(7, Body::User { text: "go".to_owned() }),
            row(8, Body::Assistant(answer)),
            row(9, Body::Note { text: "n".to_owned() }),
        ];
        assert_eq!(upto_now(&view), Some(9));
        view.running = Some(Running {
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
        assert_eq!(upto_now(&view), Some(7));
    }
}
