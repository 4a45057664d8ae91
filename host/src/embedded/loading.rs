//! Sessions on their way into memory and out of it: creating, loading, resuming unfinished ones,
//! unloading.

use std::time::Duration;

use super::handle::OpenError;
use super::host_loop::HostLoop;
use super::live_session::LiveSession;
use super::{Attendance, Role};
use crate::agent::system_prompt;
use crate::clock::now;
use crate::process::Watch;
use crate::session::{Input, Rules, Session};
use crate::settings::Mode;
use crate::store::{Loaded, Lock, Meta};
use protocol::{Process, ProcessId, SessionId};

/// Rows a session is loaded with.
const WINDOW: usize = 200;

impl HostLoop {
    /// Resumes the work that an earlier host left unfinished. A one-shot run leaves it alone.
    pub(super) fn resume_unfinished(&mut self) {
        if self.role == Role::OneShot {
            return;
        }
        if let Err(error) = self.find_orphans() {
            tracing::error!("cannot read which processes are orphans: {error}");
        }
        match self.store.reader.unsettled() {
            Ok(sessions) => {
                self.load_unfinished(sessions);
                self.clean_up();
            }
            Err(error) => tracing::error!("cannot read what is unfinished: {error}"),
        }
    }

    /// Loads sessions with unfinished work. One that another process uses is tried again later; one
    /// that cannot be read is left out.
    pub(super) fn load_unfinished(&mut self, sessions: Vec<SessionId>) {
        for id in sessions {
            if self.sessions.is_deleted(&id) {
                continue;
            }
            if self.sessions.lease(&id).is_err() {
                self.sessions.retry_later(&id);
            } else if let Err(why) = self.load(&id) {
                tracing::error!(session = %id, "cannot resume the session: {why}");
            } else {
                self.confirm_task(&id);
            }
        }
    }

    /// Loads a stored session, unless it is in memory. An error is a text for the user.
    pub(super) fn load(&mut self, id: &SessionId) -> Result<(), OpenError> {
        let attendance = match self.role {
            Role::Owner => Attendance::Attended,
            Role::OneShot => Attendance::Stateless,
        };
        self.load_with(id, attendance)
    }

    /// As [`HostLoop::load`], with the attendance of the prompts that wait in it.
    pub(super) fn load_with(
        &mut self,
        id: &SessionId,
        attendance: Attendance,
    ) -> Result<(), OpenError> {
        if self.sessions.is_deleted(id) {
            return Err(OpenError::Deleted(id.clone()));
        }
        if self.sessions.contains(id) {
            return Ok(());
        }
        if self.shutdown.is_draining() {
            return Err(OpenError::Refused("the host is stopping".to_owned()));
        }
        let lease = self.sessions.lease(id).map_err(OpenError::Refused)?;
        let loaded = self
            .store
            .reader
            .load(id, WINDOW)
            .map_err(|error| OpenError::Refused(error.to_string()))?
            .ok_or_else(|| OpenError::Unknown(id.clone()))?;
        self.restore(id, loaded, lease, attendance);
        Ok(())
    }

    /// Puts a session that was read into memory and resumes what it had under way.
    fn restore(
        &mut self,
        id: &SessionId,
        mut loaded: Loaded,
        lease: Option<Lock>,
        attendance: Attendance,
    ) {
        for line in &loaded.damage {
            tracing::error!(session = %id, "{line}");
        }
        let damage = loaded.damage.clone();
        let context = self.models.context_length(&loaded.meta.model);
        let rules = self.session_rules(&loaded.meta.model);
        // The first turn of a delegated session starts by itself.
        if loaded.meta.task.is_some() && loaded.meta.system.is_empty() {
            loaded.meta.system = self.system_prompt(&loaded.meta);
        }
        let (session, effects) = Session::restore(loaded, attendance, context, rules, now());
        let mut live = LiveSession::new(self.prepared(session));
        live.lease = lease;
        live.damage = damage;
        for process in &live.transcript().processes {
            self.processes.set_owner(&process.id, id);
        }
        let running: Vec<(ProcessId, Watch)> =
            live.session.live_processes().map(|p| (p.id.clone(), watch(p))).collect();
        if !live.published_questions.is_empty() {
            self.lists_changed();
        }
        self.sessions.insert(id.clone(), live);
        self.apply_effects(id, effects);
        for (process, watch) in running {
            self.processes.adopt(process, watch);
        }
        self.adopt_delegations(id);
    }

    /// Creates a session with the defaults of new ones. It is stored with its first prompt.
    pub(super) fn open_new(&mut self) -> SessionId {
        let id = self.fresh_id();
        let source = match self.role {
            Role::Owner => "tui",
            Role::OneShot => "cli",
        };
        let meta = Meta {
            id: id.clone(),
            source: source.to_owned(),
            started_at: now(),
            active_at: now(),
            model: self.models.default_model().to_owned(),
            reasoning: self.models.default_reasoning().map(str::to_owned),
            cwd: self.settings.cwd.display().to_string(),
            ..Meta::default()
        };
        let context = self.models.context_length(&meta.model);
        let rules = self.session_rules(&meta.model);
        let session = self.prepared(Session::new(meta, context, rules));
        let mut live = LiveSession::new(session);
        live.context = Some(Vec::new());
        self.sessions.insert(id.clone(), live);
        id
    }

    /// An id that no session has.
    pub(super) fn fresh_id(&self) -> SessionId {
        loop {
            let id = SessionId::fresh(&jiff::Zoned::now());
            // Six digits repeat now and then among many sessions of one second.
            if !self.is_known(&id) {
                return id;
            }
        }
    }

    /// Whether a session of that id is in memory or stored.
    pub(super) fn is_known(&self, id: &SessionId) -> bool {
        self.sessions.contains(id) || self.store.reader.find(&id.0).is_ok_and(|f| f.is_some())
    }

    /// Sets what a session knows of its host.
    fn prepared(&self, mut session: Session) -> Session {
        session.set_granted(self.sessions.granted().clone());
        if self.settings.approvals.mode == Mode::Off {
            session.set_yolo();
        }
        session.handle(Input::Storage(self.store.state().clone()), now());
        if self.shutdown.is_draining() {
            session.handle(Input::Drain, now());
        }
        session
    }

    /// The settings that a session with that model follows.
    fn session_rules(&self, model: &str) -> Rules {
        let agent = &self.settings.agent;
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        Rules {
            unattended_wait: millis(agent.unattended_wait),
            max_wakeups: agent.max_wakeups,
            freshness: agent.freshness.map(millis),
            notify_interval: agent.notify_interval.map(millis),
            unwind: millis(self.settings.timing.unwind),
            match_gap: millis(self.settings.timing.match_gap),
            fingerprint: self.models.fingerprint(model),
            max_children: self.settings.delegation.max_children,
        }
    }

    /// Prepares a session for a prompt. With its first one it is leased and gets its system
    /// prompt, which stays the same from then on. An error is a text for the user.
    pub(super) fn prepare_prompt(&mut self, id: &SessionId) -> Result<(), String> {
        let Some(live) = self.sessions.get(id) else { return Ok(()) };
        let lease = if live.lease.is_none() { self.sessions.lease(id)? } else { None };
        let meta = live.session.meta();
        let system = meta.system.is_empty().then(|| self.system_prompt(meta));
        if let Some(live) = self.sessions.get_mut(id) {
            live.lease = live.lease.take().or(lease);
            if let Some(system) = system {
                live.session.set_system(system);
            }
        }
        Ok(())
    }

    /// The system prompt of a session that begins now.
    pub(super) fn system_prompt(&self, meta: &Meta) -> String {
        let configured = self.models.configured_name();
        let model = if meta.model.is_empty() { configured } else { &meta.model };
        system_prompt::build(&self.settings, &meta.cwd, model)
    }

    /// Unloads a session that no view is attached to and that has nothing to do.
    pub(super) fn unload_if_unused(&mut self, id: &SessionId) {
        let is_unused = self.views.of(id).is_empty()
            // While the store fails, rows that are not stored are in memory only.
            && self.store.is_ok()
            && self.sessions.get(id).is_some_and(LiveSession::is_at_rest);
        if is_unused {
            self.sessions.remove(id);
            self.processes.forget_session(id);
        }
    }
}

/// The patterns to look for in the output of a process, and from where on.
fn watch(process: &Process) -> Watch {
    if !process.is_watched() {
        return Watch::default();
    }
    Watch { patterns: process.watch.clone(), offset: process.watching.offset }
}
