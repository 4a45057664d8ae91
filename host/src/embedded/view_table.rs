//! The views of the host, and which of them look at a session.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::session::Attendance;
use protocol::{Asked, SessionId};
use protocol::{ViewId, ViewSink};

/// What a front end is called that says nothing of itself.
pub(super) const TERMINAL: &str = "terminal";

/// A view.
pub(super) struct Front {
    pub(super) backend: ViewSink,
    session: SessionId,
    pub(super) attendance: Attendance,
    /// What kind of front end it is, for others to read (C07).
    pub(super) label: Box<str>,
    /// Its window is on the way: what is published until then is in it already.
    pub(super) awaits_window: bool,
    /// The inbox as it was told last; `None` = it never was.
    pub(super) inbox: Option<Arc<[Asked]>>,
    /// Requests to the model that were made for it alone: they end with it.
    pub(super) asides: JoinSet<()>,
}

impl Front {
    /// A view on a session.
    pub(super) fn new(
        backend: ViewSink,
        session: SessionId,
        attendance: Attendance,
        label: Box<str>,
    ) -> Self {
        let asides = JoinSet::new();
        Self { backend, session, attendance, label, awaits_window: false, asides, inbox: None }
    }

    /// The session it looks at.
    pub(super) fn session(&self) -> &SessionId {
        &self.session
    }

    /// What it knows to wait for an answer.
    pub(super) fn inbox(&self) -> &[Asked] {
        self.inbox.as_deref().unwrap_or_default()
    }
}

/// All views. What happens in a session costs what its own views cost, however many others there
/// are.
#[derive(Default)]
pub(super) struct Fronts {
    all: HashMap<ViewId, Front>,
    /// Invariant: each view stands below its session, once.
    of: HashMap<SessionId, Vec<ViewId>>,
}

impl Fronts {
    pub(super) fn insert(&mut self, id: ViewId, front: Front) {
        self.remove(id);
        self.of.entry(front.session.clone()).or_default().push(id);
        self.all.insert(id, front);
    }

    pub(super) fn remove(&mut self, id: ViewId) -> Option<Front> {
        let gone = self.all.remove(&id)?;
        self.leave(id, &gone.session);
        Some(gone)
    }

    /// A view looks at another session from now on.
    pub(super) fn turn_to(&mut self, id: ViewId, session: &SessionId) {
        let Some(front) = self.all.get_mut(&id) else { return };
        if front.session == *session {
            return;
        }
        let before = std::mem::replace(&mut front.session, session.clone());
        self.leave(id, &before);
        self.of.entry(session.clone()).or_default().push(id);
    }

    pub(super) fn get(&self, id: ViewId) -> Option<&Front> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ViewId) -> Option<&mut Front> {
        self.all.get_mut(&id)
    }

    /// All views.
    pub(super) fn ids(&self) -> Vec<ViewId> {
        self.all.keys().copied().collect()
    }

    /// How many views there are.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// The views that look at a session.
    pub(super) fn of(&self, session: &SessionId) -> &[ViewId] {
        self.of.get(session).map_or(&[], Vec::as_slice)
    }

    fn leave(&mut self, id: ViewId, session: &SessionId) {
        if let Some(views) = self.of.get_mut(session) {
            views.retain(|known| *known != id);
            if views.is_empty() {
                self.of.remove(session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use protocol::pair;

    fn front(id: u64, session: &str) -> (ViewId, Front) {
        let (_, backend) = pair(ViewId(id), mpsc::unbounded_channel().0);
        let session = SessionId(session.to_owned());
        (ViewId(id), Front::new(backend, session, Attendance::Attended, TERMINAL.into()))
    }

    #[test]
    fn a_view_stands_below_the_session_it_looks_at_and_no_other() {
        // E06, E09
        let session = |name: &str| SessionId(name.to_owned());
        let mut fronts = Fronts::default();
        for (id, view) in [front(1, "a"), front(2, "a"), front(3, "b")] {
            fronts.insert(id, view);
        }
        assert_eq!(fronts.of(&session("a")), [ViewId(1), ViewId(2)]);
        for _ in 0..1_000 {
            fronts.turn_to(ViewId(1), &session("b"));
            fronts.turn_to(ViewId(1), &session("c"));
        }
        assert_eq!(fronts.of(&session("a")), [ViewId(2)]);
        assert_eq!(fronts.of(&session("b")), [ViewId(3)]);
        assert_eq!(fronts.of(&session("c")), [ViewId(1)]);
        for id in 1..=3 {
            fronts.remove(ViewId(id));
        }
        assert!(fronts.of.is_empty() && fronts.all.is_empty());
    }
}
