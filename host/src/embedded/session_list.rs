//! The list of sessions, and the notification that it has changed (S04).

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::host_loop::HostLoop;
use crate::session::Session;
use crate::store::Error;
use protocol::{Ask, Attention, Body, Event, ListedTurn, SessionRow, Subject, ViewId};

/// Sessions that a list shows, besides those in memory.
const SESSIONS: usize = 5_000;
/// The shortest time between two notifications.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether an event of a session changes the row of the session in a list. Streamed text never
/// does.
pub(super) fn changes_list(event: &Event) -> bool {
    match event {
        Event::TurnStarted { .. }
        | Event::TurnEnded { .. }
        | Event::TurnCancelling { .. }
        | Event::TitleChanged { .. }
        | Event::ModelChanged { .. }
        | Event::CwdChanged { .. }
        | Event::QuestionAsked { .. }
        | Event::QuestionResolved { .. }
        | Event::RowsRemoved { .. } => true,
        Event::RowAdded { row } => row.n == 1 || matches!(row.body, Body::Summary(_)),
        Event::Attached { .. }
        | Event::Delta { .. }
        | Event::TurnStatus { .. }
        | Event::CallStarted { .. }
        | Event::CallOutput { .. }
        | Event::PromptQueued { .. }
        | Event::PromptUnqueued { .. }
        | Event::Steered { .. }
        | Event::ProcessChanged { .. }
        | Event::ProcessForgotten { .. }
        | Event::Held { .. }
        | Event::Unattended { .. }
        | Event::UsageReported { .. }
        | Event::TokensCounted { .. }
        | Event::AsideSaid { .. }
        | Event::AsideEnded { .. }
        | Event::ToolsetsChanged { .. }
        | Event::StorageChanged { .. }
        | Event::Toast(_)
        | Event::Paged { .. }
        | Event::ProcessTail { .. }
        | Event::SessionsListed { .. }
        | Event::ProcessesListed { .. }
        | Event::ModelsListed { .. }
        | Event::YoloChanged { .. }
        | Event::ReasoningChanged { .. }
        | Event::GoalChanged { .. }
        | Event::AttachmentsChanged { .. }
        | Event::SessionsChanged
        | Event::InboxChanged { .. }
        | Event::Switched { .. }
        | Event::Link { .. }
        | Event::SessionsFound { .. }
        | Event::WorkspacesListed { .. }
        | Event::ProfilesListed { .. }
        | Event::Exported { .. }
        | Event::Failed(_) => false,
    }
}

/// When views are to be notified that lists have changed: of the first change at once, of those of
/// a burst together at its end or every [`PAUSE`].
#[derive(Debug, Default)]
pub(super) struct ListChanges {
    due: Option<Instant>,
    notified_at: Option<Instant>,
}

impl ListChanges {
    /// Notes a change.
    pub(super) fn note(&mut self, now: Instant) {
        let earliest = self.notified_at.map(|at| at + PAUSE);
        self.due.get_or_insert(earliest.map_or(now, |earliest| earliest.max(now)));
    }

    /// When the notification is due; `None` = nothing has changed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn mark_notified(&mut self, now: Instant) {
        self.due = None;
        self.notified_at = Some(now);
    }
}

impl HostLoop {
    /// Notes that something has changed that lists of sessions show.
    pub(super) fn lists_changed(&mut self) {
        self.views.list_changes.note(Instant::now());
    }

    /// Notifies every view that lists are out of date, and sends the inbox where it has changed.
    pub(super) fn announce_list_changes(&mut self) {
        self.views.list_changes.mark_notified(Instant::now());
        self.announce(&Event::SessionsChanged);
        self.send_inbox();
    }

    /// Sends a view the sessions, newest first, those in memory with what they do.
    pub(super) fn list_sessions(&mut self, view: ViewId) {
        match self.listed(SESSIONS) {
            Ok(mut sessions) => {
                sessions.retain(|row| !self.sessions.is_deleted(&row.id));
                for row in &mut sessions {
                    if let Some(live) = self.sessions.get(&row.id) {
                        mark(row, &live.session);
                    }
                }
                self.push(view, Event::SessionsListed { sessions });
            }
            Err(error) => self.fail(view, Subject::Sessions, error.to_string()),
        }
    }

    /// The newest `most` sessions; those in memory are among them, however old they are.
    fn listed(&self, most: usize) -> Result<Vec<SessionRow>, Error> {
        let mut sessions = self.store.reader.sessions(most)?;
        if sessions.len() == most {
            let known: HashSet<_> = sessions.iter().map(|row| row.id.clone()).collect();
            for (id, _) in self.sessions.iter().filter(|(id, _)| !known.contains(*id)) {
                sessions.extend(self.store.reader.session(id)?);
            }
            let newest_first = |row: &SessionRow| Reverse((row.active_at, row.id.clone()));
            sessions.sort_by_key(newest_first);
        }
        Ok(sessions)
    }
}

/// Adds the running turn and the pending questions of a session to its row.
fn mark(row: &mut SessionRow, session: &Session) {
    let transcript = session.transcript();
    row.running = transcript.running.is_some();
    row.turn = transcript.running.as_ref().map(|running| ListedTurn {
        turn: running.turn,
        source: running.source,
        started_at: running.started_at,
        cancelling: running.cancelling,
    });
    let count = u32::try_from(transcript.questions.len()).unwrap_or(u32::MAX);
    row.attention = transcript.questions.first().map(|oldest| match oldest.ask {
        Ask::Approval { .. } => (Attention::Approval, count),
        Ask::Clarify { .. } => (Attention::Clarify, count),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::{self, Attendance, Role};
    use crate::serve::tests::settings_in;
    use crate::store::{Durability, Meta, Record, Store};
    use protocol::{Command, Part, SessionId, Target, TurnId};

    #[test]
    fn a_burst_of_changes_notifies_at_its_start_and_its_end() {
        // S04
        let mut changes = ListChanges::default();
        let begin = Instant::now();
        let mut notified = Vec::new();
        for millis in 0..120_u64 {
            let now = begin + Duration::from_millis(millis);
            if millis < 100 {
                changes.note(now);
            }
            if changes.due().is_some_and(|due| due <= now) {
                changes.mark_notified(now);
                notified.push(millis);
            }
        }
        assert_eq!(notified, [0, 50, 100]);
        assert_eq!(changes.due(), None);
    }

    #[tokio::test]
    async fn a_viewed_session_is_listed_however_many_are_newer() {
        // S04
        let dir = tempfile::tempdir().unwrap();
        let id = |n: usize| SessionId(format!("s{n:05}"));
        let (reports, _kept) = tokio::sync::mpsc::unbounded_channel();
        let store = Store::open(&settings_in(dir.path()).state, reports).unwrap();
        let metas = (0..=SESSIONS)
            .map(|n| Meta { id: id(n), active_at: n as i64 + 1, ..Meta::default() })
            .map(Record::Session);
        store.write(metas.collect(), Durability::Barrier);
        store.close().unwrap();
        let settings = settings_in(dir.path());
        let host = embedded::start(settings, Role::Owner).unwrap();
        for (target, sessions) in [(Target::New, SESSIONS), (Target::Id(id(0)), SESSIONS + 1)] {
            let mut view = host.attach(target, Attendance::Attended);
            view.send(Command::ListSessions);
            let listed = loop {
                if let Event::SessionsListed { sessions } = view.next().await.unwrap() {
                    break sessions;
                }
            };
            assert_eq!(listed.len(), sessions);
            assert!(listed.is_sorted_by(|a, b| a.active_at > b.active_at));
        }
        host.stop().await;
    }

    #[test]
    fn streamed_text_does_not_change_the_list() {
        // S04
        let delta = Event::Delta { turn: TurnId(1), n: 1, part: Part::Text, text: "x".to_owned() };
        assert!(!changes_list(&delta));
        assert!(changes_list(&Event::TitleChanged { title: "t".to_owned() }));
    }
}
