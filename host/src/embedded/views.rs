//! The views of a host: which session each is attached to, and how events reach them.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::host_loop::HostLoop;
use super::session_list::ListChanges;
use crate::session::Attendance;
use protocol::{Asked, Event, Failure, Pushed, SessionId, Subject, ViewId, ViewSink, keep_tail};

/// The label of a view whose client gives none.
pub(super) const TERMINAL: &str = "terminal";
/// Bytes of streamed text that a fresh window carries.
const LIVE_TEXT: usize = 256 * 1024;

/// A view that is attached to a session.
pub(super) struct AttachedView {
    pub(super) sink: ViewSink,
    session: SessionId,
    pub(super) attendance: Attendance,
    /// The kind of client, shown to others (C07).
    pub(super) label: Box<str>,
    /// Its window is on the way: what is published until then is in it already.
    pub(super) awaits_window: bool,
    /// The inbox that was sent last; `None` = none yet.
    pub(super) sent_inbox: Option<Arc<[Asked]>>,
    /// Requests to the model that were made for it alone: they end with it.
    pub(super) side_requests: JoinSet<()>,
}

impl AttachedView {
    pub(super) fn new(
        sink: ViewSink,
        session: SessionId,
        attendance: Attendance,
        label: Box<str>,
    ) -> Self {
        Self {
            sink,
            session,
            attendance,
            label,
            awaits_window: false,
            sent_inbox: None,
            side_requests: JoinSet::new(),
        }
    }

    /// The session it is attached to.
    pub(super) fn session(&self) -> &SessionId {
        &self.session
    }

    /// The inbox as its client knows it.
    pub(super) fn known_inbox(&self) -> &[Asked] {
        self.sent_inbox.as_deref().unwrap_or_default()
    }
}

/// All views of a host. An event of a session costs what its own views cost, however many others
/// there are.
#[derive(Default)]
pub(super) struct Views {
    all: HashMap<ViewId, AttachedView>,
    /// Invariant: each view stands below its session, once.
    by_session: HashMap<SessionId, Vec<ViewId>>,
    /// Whether the lists of sessions that views show are out of date.
    pub(super) list_changes: ListChanges,
}

impl Views {
    pub(super) fn insert(&mut self, id: ViewId, view: AttachedView) {
        self.remove(id);
        self.by_session.entry(view.session.clone()).or_default().push(id);
        self.all.insert(id, view);
    }

    pub(super) fn remove(&mut self, id: ViewId) -> Option<AttachedView> {
        let removed = self.all.remove(&id)?;
        self.leave(id, &removed.session);
        Some(removed)
    }

    /// Attaches a view to another session.
    pub(super) fn switch(&mut self, id: ViewId, session: &SessionId) {
        let Some(view) = self.all.get_mut(&id) else { return };
        if view.session == *session {
            return;
        }
        let before = std::mem::replace(&mut view.session, session.clone());
        self.leave(id, &before);
        self.by_session.entry(session.clone()).or_default().push(id);
    }

    pub(super) fn get(&self, id: ViewId) -> Option<&AttachedView> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ViewId) -> Option<&mut AttachedView> {
        self.all.get_mut(&id)
    }

    pub(super) fn ids(&self) -> Vec<ViewId> {
        self.all.keys().copied().collect()
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// The views that are attached to a session.
    pub(super) fn of(&self, session: &SessionId) -> &[ViewId] {
        self.by_session.get(session).map_or(&[], Vec::as_slice)
    }

    fn leave(&mut self, id: ViewId, session: &SessionId) {
        if let Some(views) = self.by_session.get_mut(session) {
            views.retain(|known| *known != id);
            if views.is_empty() {
                self.by_session.remove(session);
            }
        }
    }
}

impl HostLoop {
    /// Sends an event to one view. A view that cannot keep up gets a fresh window instead.
    pub(super) fn push(&mut self, view: ViewId, event: Event) {
        let Some(attached) = self.views.get(view) else { return };
        if attached.sink.push(event) == Pushed::Overflowed {
            let session = attached.session().clone();
            self.push_window(view, &session, true);
        }
    }

    /// Sends an event to every view of the host.
    pub(super) fn announce(&mut self, event: &Event) {
        for view in self.views.ids() {
            self.push(view, event.clone());
        }
    }

    /// Sends the event to the views of a session. A view that awaits its window gets it in there.
    pub(super) fn push_to_session(&mut self, session: &SessionId, event: &Event) {
        for view in self.views.of(session).to_vec() {
            if self.views.get(view).is_some_and(|attached| !attached.awaits_window) {
                self.push(view, event.clone());
            }
        }
    }

    /// Reports a failure to one view.
    pub(super) fn fail(&mut self, view: ViewId, about: Subject, message: String) {
        self.push(view, Event::Failed(Failure { about, message }));
    }

    /// Attaches a view to a session in memory: it gets a window, and the damage of the session.
    pub(super) fn show(&mut self, view: ViewId, session: &SessionId) {
        self.views.switch(view, session);
        self.push_window(view, session, false);
        let damage = self.sessions.get(session).map(|live| live.damage.clone()).unwrap_or_default();
        for line in damage {
            self.fail(view, Subject::State, line);
        }
    }

    /// Sends a view the session as it is now, once everything in it may leave.
    pub(super) fn push_window(&mut self, view: ViewId, session: &SessionId, resynced: bool) {
        let Some(live) = self.sessions.get_mut(session) else { return };
        let mut transcript = Box::new(live.transcript().clone());
        if let Some(running) = &mut transcript.running {
            keep_tail(&mut running.text, LIVE_TEXT);
            keep_tail(&mut running.reasoning, LIVE_TEXT);
        }
        let event = Event::Attached { transcript, resynced };
        match live.outbox.put_window(view, session.clone(), event) {
            Some(event) => self.deliver_window(view, session, event),
            None => {
                if let Some(attached) = self.views.get_mut(view) {
                    attached.awaits_window = true;
                }
            }
        }
    }

    /// Hands a view its window. A view that has been attached to another session since gets that
    /// one's window instead.
    pub(super) fn deliver_window(&mut self, view: ViewId, session: &SessionId, event: Event) {
        if let Some(attached) = self.views.get_mut(view)
            && attached.session() == session
        {
            attached.awaits_window = false;
            // An emptied queue takes a window whatever its size.
            let _ = attached.sink.push(event);
            self.send_inbox_after_window(view);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use protocol::pair;

    fn view(id: u64, session: &str) -> (ViewId, AttachedView) {
        let (_, sink) = pair(ViewId(id), mpsc::unbounded_channel().0);
        let session = SessionId(session.to_owned());
        (ViewId(id), AttachedView::new(sink, session, Attendance::Attended, TERMINAL.into()))
    }

    #[test]
    fn a_view_stands_below_the_session_it_is_attached_to() {
        // E06, E09
        let session = |name: &str| SessionId(name.to_owned());
        let mut views = Views::default();
        for (id, view) in [view(1, "a"), view(2, "a"), view(3, "b")] {
            views.insert(id, view);
        }
        assert_eq!(views.of(&session("a")), [ViewId(1), ViewId(2)]);
        for _ in 0..1_000 {
            views.switch(ViewId(1), &session("b"));
            views.switch(ViewId(1), &session("c"));
        }
        assert_eq!(views.of(&session("a")), [ViewId(2)]);
        assert_eq!(views.of(&session("b")), [ViewId(3)]);
        assert_eq!(views.of(&session("c")), [ViewId(1)]);
        for id in 1..=3 {
            views.remove(ViewId(id));
        }
        assert!(views.by_session.is_empty() && views.all.is_empty());
    }
}
