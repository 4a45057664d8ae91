//! Branches: a copy of a session as it is after its last finished turn, with a life of its own.
//! What runs in the background stays with the original, and so do its completions (W18).

use super::hub::Hub;
use super::now;
use crate::handle::FrontId;
use crate::protocol::{SessionId, Storage};
use crate::store::Record;

/// What a refusal is about.
const ABOUT: &str = "branch";
/// What the title of a branch ends with.
const MARK: &str = " (branch";

impl Hub {
    /// Copies a session; the view goes on in the copy as soon as it is stored.
    pub(super) fn branch(&mut self, front: FrontId, from: &SessionId) {
        match self.copied(from) {
            Ok((record, to)) => self.write_branch(front, from, to, record),
            Err(why) => self.fail(front, ABOUT, why),
        }
    }

    fn copied(&mut self, from: &SessionId) -> Result<(Record, SessionId), String> {
        if let Storage::Failing(why) = &self.storage {
            return Err(format!("a branch needs a working store, and it fails: {why}"));
        }
        let nothing = "there is nothing to branch from yet: no turn has ended";
        let live = self.sessions.get(from).ok_or(nothing)?;
        let transcript = live.session.transcript();
        let upto = match &transcript.running {
            None => transcript.rows.last().map(|r| r.n),
            // A window that holds nothing older than the running turn: older rows are stored.
            Some(running) => match transcript.rows.iter().rfind(|r| r.turn < running.turn) {
                Some(row) => Some(row.n),
                None => self.reader.last_row(from, running.turn).map_err(|e| e.to_string())?,
            },
        };
        let upto = upto.ok_or(nothing)?;
        let mut meta = live.session.meta().branch(now());
        if transcript.running.is_some() {
            // What was counted last counts rows that stay behind.
            meta.gauge.used = None;
        }
        let title = live.session.name();
        meta.title = Some(self.branch_title(&title));
        meta.id = self.fresh_id();
        let id = meta.id.clone();
        Ok((Record::Branched { from: from.clone(), upto, meta }, id))
    }

    /// The first free title of a branch of that session, or of a sister of it.
    fn branch_title(&self, title: &str) -> String {
        let stem = match title.rfind(MARK) {
            Some(at) if title.ends_with(')') => &title[..at],
            _ => title,
        };
        let taken = |title: &str| {
            self.sessions.values().any(|l| l.session.name() == title)
                || self.reader.find(title).is_ok_and(|found| found.is_some())
        };
        let first = format!("{stem}{MARK})");
        let others = (2..).map(|n| format!("{stem}{MARK} {n})"));
        std::iter::once(first.clone()).chain(others).find(|t| !taken(t)).unwrap_or(first)
    }

    /// The branch is stored, or could not be: the view that asked goes there, unless it has gone
    /// elsewhere meanwhile.
    pub(super) fn branched(&mut self, front: FrontId, from: &SessionId, to: &SessionId) {
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
