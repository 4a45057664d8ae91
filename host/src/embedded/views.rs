//! Views: what front ends ask, and the answers that concern one view only.

use super::host_loop::HostLoop;
use super::outbox::Live;
use super::view_table::Front;
use super::{Attendance, Role};
use crate::agent::system_prompt;
use crate::clock::now;
use crate::session::{Input, Session};
use crate::store::Meta;
use crate::tool::terminal;
use protocol::Subject;
use protocol::{Command, Event, Failure, SessionId, Storage, Target, keep_tail};
use protocol::{Pushed, Signal, ViewId, ViewSink};

/// Characters of a process's output that a view gets.
const TAIL: usize = 20_000;
/// Rows of a page, whatever is asked for: the loop reads them.
const PAGE: usize = 1_000;
/// Bytes of streamed text that a fresh window carries.
const LIVE_TEXT: usize = 256 * 1024;

impl HostLoop {
    pub(super) fn attach(
        &mut self,
        front: ViewId,
        backend: ViewSink,
        target: &Target,
        attendance: Attendance,
        label: &str,
    ) {
        let (session, failure) = match self.open_target(target) {
            Ok(session) => (session, None),
            Err(message) => (self.open_new(), Some(message)),
        };
        self.fronts.insert(front, Front::new(backend, session.clone(), attendance, label.into()));
        self.show(front, &session);
        if let Some(message) = failure {
            self.fail(front, Subject::Open, message);
        }
    }

    /// A view on that session and no other.
    pub(super) fn open_view(
        &mut self,
        front: ViewId,
        backend: ViewSink,
        session: &SessionId,
        attendance: Attendance,
        label: &str,
    ) -> Result<(), String> {
        self.load(session)?;
        self.fronts.insert(front, Front::new(backend, session.clone(), attendance, label.into()));
        self.show(front, session);
        Ok(())
    }

    /// Lets a view look at a session that is in memory.
    pub(super) fn show(&mut self, front: ViewId, session: &SessionId) {
        self.fronts.turn_to(front, session);
        self.push_window(front, session, false);
        let damage = self.sessions.get(session).map(|l| l.damage.clone()).unwrap_or_default();
        for line in damage {
            self.fail(front, Subject::State, line);
        }
    }

    pub(super) fn signalled(&mut self, front: ViewId, signal: Signal) {
        match signal {
            Signal::Command(command) => self.command(front, command),
            Signal::Detached => {
                if let Some(gone) = self.fronts.remove(front) {
                    self.unload_if_unused(gone.session());
                }
            }
        }
    }

    fn command(&mut self, front: ViewId, command: Command) {
        let Some(view) = self.fronts.get(front) else { return };
        let (mut session, attendance) = (view.session().clone(), view.attendance);
        if let Some(named) = named(&command) {
            session = named.clone();
            if let Err(message) = self.load(&session) {
                self.fail(front, Subject::of(&command), message);
                return;
            }
        }
        let Some(view) = self.fronts.get(front) else { return };
        let input = match command {
            Command::Prompt { id, text } => {
                if let Err(message) = self.before_prompt(&session) {
                    self.fail(front, Subject::NamedPrompt(id), message);
                    return;
                }
                Input::Prompt { id, text, attendance }
            }
            Command::Unqueue { id } => Input::Unqueue(id),
            Command::Steer { text } => Input::Steer(text),
            Command::Cancel => Input::Cancel,
            Command::Answer { session: named, id, answer } => {
                let by = Some(view.label.to_string());
                // Who looks at the session sees what became of it; others are told (C07).
                if named.is_some() {
                    self.tell_if_late(front, &session, &id);
                }
                Input::Answer { id, answer, by }
            }
            Command::Shown { session: _, id } => Input::Shown(id),
            Command::Kill { id: Some(id) } => {
                self.kill(front, id);
                return;
            }
            Command::Kill { id: None } => Input::Kill(None),
            Command::WakeNow => Input::WakeNow,
            Command::SetTitle { session: _, title } => Input::SetTitle(title),
            Command::SetModel { model } => match self.model(&model) {
                Ok(known) => {
                    let (context, fingerprint) = (known.context_length(), self.fingerprint(&model));
                    Input::SetModel { model, context, fingerprint }
                }
                Err(message) => {
                    self.fail(front, Subject::Model, message);
                    return;
                }
            },
            Command::Compress { focus } => Input::Compress { focus },
            Command::Archive { session: _, archived } => Input::Archive(archived),
            Command::Delete { session } => {
                self.delete(front, &session);
                return;
            }
            Command::ListProcesses => {
                self.list_processes(front);
                return;
            }
            Command::Branch => {
                self.branch(front, &session);
                return;
            }
            Command::Tail { id } => {
                let text = match self.worker(&id) {
                    Some(worker) => self.last_answer(&worker),
                    None => terminal::tail(&self.processes.output(&id), TAIL),
                };
                self.push(front, Event::ProcessTail { id, text });
                return;
            }
            Command::Open(target) => {
                match self.open_target(&target) {
                    Ok(opened) => {
                        self.show(front, &opened);
                        self.tell_of_switch(front, &opened);
                        let viewed = !self.fronts.of(&session).is_empty();
                        if target == Target::New && !viewed {
                            self.feed(&session, Input::Reset);
                        }
                        self.unload_if_unused(&session);
                    }
                    Err(message) => self.fail(front, Subject::Open, message),
                }
                return;
            }
            Command::Page { before, limit } => {
                match self.reader.page(&session, before, (limit as usize).min(PAGE)) {
                    Ok((rows, earlier)) => self.push(front, Event::Paged { rows, earlier }),
                    Err(error) => self.fail(front, Subject::Page, error.to_string()),
                }
                return;
            }
            Command::ListSessions => {
                self.list_sessions(front);
                return;
            }
            Command::Duplicate => {
                self.duplicate(front, &session);
                return;
            }
            Command::Pin { session: _, pinned } => Input::Pin(pinned),
            Command::Export => {
                self.export(front, &session);
                return;
            }
            Command::SetYolo { yolo } => {
                let by = Some(view.label.to_string());
                Input::SetYolo { yolo, by }
            }
            Command::SetCwd { cwd } => {
                self.set_cwd(front, &session, &cwd);
                return;
            }
            Command::SetReasoning { effort } => Input::SetReasoning(effort),
            Command::ListWorkspaces => {
                self.list_workspaces(front);
                return;
            }
            Command::ListProfiles => {
                self.list_profiles(front);
                return;
            }
            Command::SetProfile { name } => {
                self.set_profile(front, &name);
                return;
            }
            Command::Search { query } => {
                self.search(front, query);
                return;
            }
            Command::Undo => {
                self.undo(front, &session, None);
                return;
            }
            Command::Retry { id } => {
                self.undo(front, &session, Some((id, attendance)));
                return;
            }
            Command::Truncate { after } => {
                self.truncate(front, &session, after);
                return;
            }
            Command::Aside { id, question } => {
                self.aside(front, &session, id, question);
                return;
            }
            Command::Retitle { latest } => {
                self.retitle(front, &session, latest);
                return;
            }
            Command::SetToolsets { toolsets } => Input::SetToolsets(toolsets),
            Command::Upload { name, data } => {
                self.upload(front, &session, &name, data.0);
                return;
            }
            Command::DropUploads => Input::DropUploads,
            Command::Goal(ask) => {
                if let Err(message) = self.before_prompt(&session) {
                    self.fail(front, Subject::Goal, message);
                    return;
                }
                Input::Goal(ask)
            }
            Command::ListModels => {
                let models = self.catalog.names(now());
                self.push(front, Event::ModelsListed { models });
                return;
            }
        };
        self.feed(&session, input);
        // It may be in memory for this alone.
        self.unload_if_unused(&session);
    }

    /// What a view looks at is its own affair; the others may go along (S04). A session without
    /// rows is nothing to look at yet.
    fn tell_of_switch(&mut self, by: ViewId, session: &SessionId) {
        let Some(live) = self.sessions.get(session) else { return };
        let view = live.session.transcript();
        if view.rows.is_empty() && view.earlier == 0 {
            return;
        }
        let event = Event::Switched { session: session.clone(), name: live.session.name() };
        for front in self.fronts.ids() {
            if front != by {
                self.push(front, event.clone());
            }
        }
    }

    /// The first prompt makes a session: its lease, and its system prompt, built once.
    fn before_prompt(&mut self, id: &SessionId) -> Result<(), String> {
        let lease = match self.sessions.get(id) {
            Some(live) if live.lease.is_none() => Some(self.lease(id)?),
            Some(_) | None => None,
        };
        let Some(live) = self.sessions.get_mut(id) else { return Ok(()) };
        live.lease = live.lease.take().or(lease.flatten());
        if live.session.meta().system.is_empty() {
            let meta = live.session.meta().clone();
            let system = self.system_prompt(&meta);
            if let Some(live) = self.sessions.get_mut(id) {
                live.session.set_system(system);
            }
        }
        Ok(())
    }

    pub(super) fn system_prompt(&self, meta: &Meta) -> String {
        let own = &self.settings.model.name;
        let model = if meta.model.is_empty() { own } else { &meta.model };
        system_prompt::build(&self.settings, &meta.cwd, model)
    }

    fn open_target(&mut self, target: &Target) -> Result<SessionId, String> {
        let found = match target {
            Target::New => return Ok(self.open_new()),
            Target::Latest => self.reader.latest(self.preferred()).map_err(|e| e.to_string())?,
            Target::Id(name) if self.sessions.contains_key(name) => Some(name.clone()),
            Target::Id(name) => self.reader.find(&name.0).map_err(|e| e.to_string())?,
        };
        let id = found.ok_or_else(|| match target {
            Target::Id(name) => format!("there is no session `{name}`"),
            Target::New | Target::Latest => "there is no session yet".to_owned(),
        })?;
        self.load(&id)?;
        Ok(id)
    }

    /// What `latest` means: an interface goes on with what an interface began, if there is that.
    fn preferred(&self) -> Option<&'static str> {
        match self.role {
            Role::Owner => Some("tui"),
            Role::OneShot => None,
        }
    }

    /// An id that no session has.
    pub(super) fn fresh_id(&self) -> SessionId {
        let mut id = SessionId::fresh(&jiff::Zoned::now());
        // Six digits repeat now and then among many sessions of one second.
        while self.sessions.contains_key(&id) || self.reader.find(&id.0).is_ok_and(|f| f.is_some())
        {
            id = SessionId::fresh(&jiff::Zoned::now());
        }
        id
    }

    pub(super) fn open_new(&mut self) -> SessionId {
        let id = self.fresh_id();
        let meta = Meta {
            id: id.clone(),
            source: match self.role {
                Role::Owner => "tui",
                Role::OneShot => "cli",
            }
            .to_owned(),
            started_at: now(),
            active_at: now(),
            model: self.defaults.model.clone().unwrap_or_else(|| self.settings.model_name()),
            reasoning: self.defaults.reasoning.clone(),
            cwd: self.settings.cwd.display().to_string(),
            ..Meta::default()
        };
        let context = self.context_length(&meta.model);
        let rules = self.rules(&meta.model);
        let session = self.prepared(Session::new(meta, context, rules));
        let mut live = Live::new(session);
        live.context = Some(Vec::new());
        self.sessions.insert(id.clone(), live);
        id
    }

    /// A session that nobody looks at and that has nothing to do leaves memory.
    pub(super) fn unload_if_unused(&mut self, id: &SessionId) {
        let viewed = !self.fronts.of(id).is_empty();
        // While the store fails its rows are nowhere else.
        let safe = self.storage == Storage::Ok;
        if !viewed
            && safe
            && self.sessions.get(id).is_some_and(|l| l.turn.is_none() && l.is_at_rest())
        {
            self.sessions.remove(id);
            self.owners.retain(|_, owner| owner != id);
        }
    }

    /// Gives a view an event; one that cannot keep up gets a fresh window instead.
    pub(super) fn push(&mut self, front: ViewId, event: Event) {
        let Some(view) = self.fronts.get(front) else { return };
        if view.backend.push(event) == Pushed::Overflowed {
            let session = view.session().clone();
            self.push_window(front, &session, true);
        }
    }

    pub(super) fn push_window(&mut self, front: ViewId, session: &SessionId, resynced: bool) {
        let Some(live) = self.sessions.get(session) else { return };
        let mut transcript = Box::new(live.session.transcript().clone());
        if let Some(running) = &mut transcript.running {
            keep_tail(&mut running.text, LIVE_TEXT);
            keep_tail(&mut running.reasoning, LIVE_TEXT);
        }
        self.queue_window(front, session, Event::Attached { transcript, resynced });
    }

    pub(super) fn fail(&mut self, front: ViewId, about: Subject, message: String) {
        self.push(front, Event::Failed(Failure { about, message }));
    }
}

/// The session that a command names, if it need not be the one in view.
fn named(command: &Command) -> Option<&SessionId> {
    match command {
        Command::Answer { session, .. }
        | Command::Shown { session, .. }
        | Command::SetTitle { session, .. }
        | Command::Archive { session, .. }
        | Command::Pin { session, .. } => session.as_ref(),
        _ => None,
    }
}
