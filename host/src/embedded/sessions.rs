//! The table of the sessions in memory, their leases, and the lists of sessions to unload or to
//! try again. Loading and unloading is [`super::loading`].

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::live_session::LiveSession;
use crate::session::LIVE;
use crate::store::Lock;
use protocol::{Millis, Process, SessionId};

/// Pause between two attempts to load a session that another process has leased.
const RETRY: Duration = Duration::from_secs(1);

/// The sessions of a host.
pub(super) struct Sessions {
    loaded: HashMap<SessionId, LiveSession>,
    /// Sessions this host has deleted: the store may not know yet.
    deleted: BTreeSet<SessionId>,
    /// Sessions that may leave memory unless a view is attached to them by then. They are unloaded
    /// between two inputs of the loop only: the present one may be about to use them.
    unused: Vec<SessionId>,
    /// Sessions with unfinished work that another process had leased.
    skipped: Vec<SessionId>,
    retry_at: Option<Instant>,
    /// The rules that are granted permanently, in all sessions.
    granted: BTreeSet<String>,
    /// The directory of the lease files.
    leases: PathBuf,
}

impl Sessions {
    pub(super) fn new(leases: PathBuf, granted: BTreeSet<String>) -> Self {
        Self {
            loaded: HashMap::new(),
            deleted: BTreeSet::new(),
            unused: Vec::new(),
            skipped: Vec::new(),
            retry_at: None,
            granted,
            leases,
        }
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<&LiveSession> {
        self.loaded.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &SessionId) -> Option<&mut LiveSession> {
        self.loaded.get_mut(id)
    }

    pub(super) fn contains(&self, id: &SessionId) -> bool {
        self.loaded.contains_key(id)
    }

    pub(super) fn insert(&mut self, id: SessionId, live: LiveSession) {
        self.loaded.insert(id, live);
    }

    pub(super) fn remove(&mut self, id: &SessionId) -> Option<LiveSession> {
        self.loaded.remove(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&SessionId, &LiveSession)> {
        self.loaded.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&SessionId, &mut LiveSession)> {
        self.loaded.iter_mut()
    }

    /// The ids of all sessions in memory, for a loop that changes the table.
    pub(super) fn ids(&self) -> Vec<SessionId> {
        self.ids_where(|_| true)
    }

    /// The ids of the sessions in memory for which that holds.
    pub(super) fn ids_where(&self, holds: impl Fn(&LiveSession) -> bool) -> Vec<SessionId> {
        self.loaded.iter().filter(|(_, live)| holds(live)).map(|(id, _)| id.clone()).collect()
    }

    /// The processes of all sessions in memory, ended ones among them.
    pub(super) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.loaded.values().flat_map(|live| &live.transcript().processes)
    }

    /// Takes the right to write a session. Where lock files cannot be created at all (a full or
    /// read-only disk) the session is used without one: no process can write there.
    pub(super) fn lease(&self, id: &SessionId) -> Result<Option<Lock>, String> {
        Lock::take(&self.lease_path(id)).map(Some).or_else(|busy| {
            if let Some(error) = &busy.error {
                tracing::warn!(session = %id, "no lease: {error}");
                return Ok(None);
            }
            let holder =
                busy.pid.map_or_else(|| "another process".to_owned(), |p| format!("process {p}"));
            Err(format!(
                "session {id} is in use by {holder}; end that one first, or start a new session"
            ))
        })
    }

    /// Removes the lease file of a session that is deleted.
    pub(super) fn remove_lease(&self, id: &SessionId) {
        fs::remove_file(self.lease_path(id)).ok();
    }

    fn lease_path(&self, id: &SessionId) -> PathBuf {
        self.leases.join(&id.0)
    }

    pub(super) fn is_deleted(&self, id: &SessionId) -> bool {
        self.deleted.contains(id)
    }

    pub(super) fn mark_deleted(&mut self, id: &SessionId) {
        self.deleted.insert(id.clone());
    }

    /// Lets a session leave memory after the present input, unless it is in use by then.
    pub(super) fn mark_unused(&mut self, id: &SessionId) {
        self.unused.push(id.clone());
    }

    pub(super) fn take_unused(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.unused)
    }

    /// Schedules another attempt to load a session that another process has leased.
    pub(super) fn retry_later(&mut self, id: &SessionId) {
        if !self.skipped.contains(id) {
            self.skipped.push(id.clone());
        }
        self.retry_at.get_or_insert(Instant::now() + RETRY);
    }

    /// When the next attempt is due; `None` = no session was skipped.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Takes the skipped sessions for an attempt that begins now.
    pub(super) fn take_skipped(&mut self) -> Vec<SessionId> {
        self.retry_at = None;
        std::mem::take(&mut self.skipped)
    }

    pub(super) fn skipped_count(&self) -> usize {
        self.skipped.len()
    }

    pub(super) fn granted(&self) -> &BTreeSet<String> {
        &self.granted
    }

    /// Adds a permanently granted rule.
    pub(super) fn grant(&mut self, rule: String) {
        self.granted.insert(rule);
    }

    /// The first time at which a session needs a tick.
    pub(super) fn deadline(&self) -> Option<Millis> {
        self.loaded.values().filter_map(|live| live.session.deadline()).min()
    }

    /// Whether a turn does anything but wait for the user.
    pub(super) fn has_working_turn(&self) -> bool {
        self.loaded.values().any(|live| live.session.works())
    }

    /// Whether the host runs as many background processes as it may, those of other sessions
    /// among them (P12). A session that reaches the limit by itself refuses by itself, with the
    /// name of its oldest.
    pub(super) fn is_full_beside(&self, session: &SessionId) -> bool {
        let live = |live: &LiveSession| live.session.live_processes().count();
        self.loaded.get(session).map_or(0, live) < LIVE
            && self.loaded.values().map(live).sum::<usize>() >= LIVE
    }
}
