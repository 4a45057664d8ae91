//! How views come and go: attaching, switching to another session, detaching.

use super::handle::OpenError;
use super::host_loop::HostLoop;
use super::views::AttachedView;
use super::{Attendance, Role};
use crate::session::Input;
use protocol::{Event, SessionId, Signal, Subject, Target, ViewId, ViewSink};

/// A view that asks to be attached.
#[derive(Debug)]
pub(super) struct NewView {
    pub(super) id: ViewId,
    pub(super) sink: ViewSink,
    pub(super) attendance: Attendance,
    /// The kind of client, shown to others (C07).
    pub(super) label: Box<str>,
}

impl HostLoop {
    /// Attaches a view to a session. If it cannot be opened the view gets a new one and the
    /// failure.
    pub(super) fn attach(&mut self, view: NewView, target: &Target) {
        let id = view.id;
        let (session, failure) = match self.open_target(target) {
            Ok(session) => (session, None),
            Err(message) => (self.open_new(), Some(message)),
        };
        self.insert_view(view, &session);
        if let Some(message) = failure {
            self.fail(id, Subject::Open, message);
        }
    }

    /// Attaches a view to that session or not at all. An error is a text for the user.
    pub(super) fn attach_to(
        &mut self,
        view: NewView,
        session: &SessionId,
    ) -> Result<(), OpenError> {
        self.load(session)?;
        self.insert_view(view, session);
        Ok(())
    }

    fn insert_view(&mut self, view: NewView, session: &SessionId) {
        let NewView { id, sink, attendance, label } = view;
        self.views.insert(id, AttachedView::new(sink, session.clone(), attendance, label));
        self.show(id, session);
    }

    /// Handles what a view has sent, its end included.
    pub(super) fn handle_signal(&mut self, view: ViewId, signal: Signal) {
        match signal {
            Signal::Command(command) => self.handle_command(view, command),
            Signal::Detached => {
                if let Some(removed) = self.views.remove(view) {
                    self.unload_if_unused(removed.session());
                }
            }
        }
    }

    /// Attaches a view to another session than `from`.
    pub(super) fn switch(&mut self, view: ViewId, from: &SessionId, target: &Target) {
        let session = match self.open_target(target) {
            Ok(session) => session,
            Err(message) => return self.fail(view, Subject::Open, message),
        };
        self.show(view, &session);
        self.announce_switch(view, &session);
        if *target == Target::New && self.views.of(from).is_empty() {
            self.feed(from, Input::Reset);
        }
        self.unload_if_unused(from);
    }

    /// Tells the other views where this one has gone: they may follow (S04). A session without
    /// rows has nothing to show yet.
    fn announce_switch(&mut self, by: ViewId, session: &SessionId) {
        let Some(live) = self.sessions.get(session) else { return };
        let transcript = live.transcript();
        if transcript.rows.is_empty() && transcript.earlier == 0 {
            return;
        }
        let event = Event::Switched { session: session.clone(), name: live.session.name() };
        for view in self.views.ids() {
            if view != by {
                self.push(view, event.clone());
            }
        }
    }

    /// Loads the session that a target names, or creates a new one.
    fn open_target(&mut self, target: &Target) -> Result<SessionId, String> {
        let found = match target {
            Target::New => return Ok(self.open_new()),
            Target::Latest => {
                let latest = self.store.reader.latest(self.preferred_source());
                latest.map_err(|e| e.to_string())?
            }
            Target::Id(name) if self.sessions.contains(name) => Some(name.clone()),
            Target::Id(name) => self.store.reader.find(&name.0).map_err(|e| e.to_string())?,
        };
        let id = found.ok_or_else(|| match target {
            Target::Id(name) => format!("there is no session `{name}`"),
            Target::New | Target::Latest => "there is no session yet".to_owned(),
        })?;
        self.load(&id).map_err(|error| error.to_string())?;
        Ok(id)
    }

    /// The source whose sessions [`Target::Latest`] prefers: an interface continues what an
    /// interface began, if there is such a session.
    fn preferred_source(&self) -> Option<&'static str> {
        match self.role {
            Role::Owner => Some("tui"),
            Role::OneShot => None,
        }
    }
}
