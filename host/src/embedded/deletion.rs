//! Deleting sessions: with their delegated ones, for all views at once (W19, S04).

use super::host_loop::HostLoop;
use crate::session::Input;
use crate::store::Record;
use protocol::{Process, SessionId, Subject, ViewId, Work};

impl HostLoop {
    /// Deletes a session with the tasks it has delegated.
    pub(super) fn delete(&mut self, view: ViewId, session: &SessionId) {
        if let Err(message) = self.try_delete(session) {
            self.fail(view, Subject::Delete, message);
        }
    }

    fn try_delete(&mut self, session: &SessionId) -> Result<(), String> {
        if let Some(why) = self.store.failure() {
            return Err(format!("nothing can be deleted while the state cannot be written: {why}"));
        }
        let doomed = self.with_delegated(session)?;
        // All of them or none. Sessions in memory are leased already.
        let mut leases = Vec::new();
        for id in doomed.iter().filter(|id| !self.sessions.contains(id)) {
            let known = self.store.reader.find(&id.0).map_err(|e| e.to_string())?;
            if known.as_ref() != Some(id) {
                return Err(format!("there is no session {id}"));
            }
            leases.push(self.sessions.lease(id)?);
        }
        for id in doomed {
            self.sessions.mark_deleted(&id);
            if self.sessions.contains(&id) {
                self.feed(&id, Input::Delete);
            } else {
                // A session with anything under way is in memory, so nothing runs here.
                self.store.write(vec![Record::Deleted { session: id.clone() }]);
                self.remove_files(&id);
                self.lists_changed();
            }
        }
        Ok(())
    }

    /// A session and those that work on its tasks, without the ones that are deleted already.
    fn with_delegated(&self, session: &SessionId) -> Result<Vec<SessionId>, String> {
        let mut ids = self.store.reader.delegated(session).map_err(|e| e.to_string())?;
        ids.extend(self.sessions.ids_where(|live| {
            live.session.meta().task.as_ref().is_some_and(|task| task.parent == *session)
        }));
        ids.push(session.clone());
        ids.sort();
        ids.dedup();
        ids.retain(|id| !self.sessions.is_deleted(id));
        Ok(ids)
    }

    /// Removes a session whose deletion is stored: its views get new sessions, its running
    /// processes become orphans.
    pub(super) fn forget(&mut self, id: &SessionId) {
        let Some(gone) = self.sessions.remove(id) else { return };
        self.lists_changed();
        self.processes.forget_session(id);
        self.remove_files(id);
        self.end_deleted_task(gone.session.meta().task.clone());
        let transcript = gone.transcript();
        let running: Vec<Process> = transcript
            .processes
            .iter()
            .filter(|p| p.is_live() && p.work == Work::Command)
            .cloned()
            .collect();
        self.adopt_orphans(running);
        let name = transcript.title.clone().unwrap_or_else(|| id.to_string());
        for view in self.views.of(id).to_vec() {
            let fresh = self.open_new();
            self.show(view, &fresh);
            let message = format!("the session \"{name}\" was deleted; this is a new one");
            self.fail(view, Subject::Session, message);
        }
    }

    /// Removes what a deleted session leaves beside the store.
    fn remove_files(&self, id: &SessionId) {
        self.remove_uploads(id);
        self.sessions.remove_lease(id);
    }
}
