//! What lists of sessions show, and the word that it has changed (S04).

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::host_loop::HostLoop;
use crate::session::Session;
use protocol::Subject;
use protocol::ViewId;
use protocol::{Ask, Attention, Body, Event, ListedTurn, SessionRow};

/// Sessions that a list shows, beside those that somebody looks at or that are at work.
const SESSIONS: usize = 5_000;
/// The word that something has changed is given at most once in this time.
const PAUSE: Duration = Duration::from_millis(50);

/// Whether an event of a session changes what a list shows of it. Streamed text never does.
pub(super) fn shows(event: &Event) -> bool {
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

/// When the word is to be given: the first change is told at once, those of a burst together at
/// its end or every [`PAUSE`].
#[derive(Debug, Default)]
pub(super) struct News {
    due: Option<Instant>,
    told: Option<Instant>,
}

impl News {
    /// Something has changed.
    pub(super) fn note(&mut self, now: Instant) {
        let rest = self.told.map(|told| told + PAUSE);
        self.due.get_or_insert(rest.map_or(now, |rest| rest.max(now)));
    }

    /// When the word is due; `None` = nothing has changed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn given(&mut self, now: Instant) {
        self.due = None;
        self.told = Some(now);
    }
}

impl HostLoop {
    /// Something that lists show has changed.
    pub(super) fn lists_changed(&mut self) {
        self.news.note(Instant::now());
    }

    /// Tells every view that lists are out of date, and what is asked if that has changed.
    pub(super) fn tell_lists(&mut self) {
        self.news.given(Instant::now());
        self.announce(&Event::SessionsChanged);
        self.tell_inbox();
    }

    /// The sessions, newest first, with what those in memory do.
    pub(super) fn list_sessions(&mut self, front: ViewId) {
        match self.listed(SESSIONS) {
            Ok(mut sessions) => {
                sessions.retain(|s| !self.orphans.is_deleted(&s.id));
                for row in &mut sessions {
                    if let Some(live) = self.sessions.get(&row.id) {
                        mark(row, &live.session);
                    }
                }
                self.push(front, Event::SessionsListed { sessions });
            }
            Err(error) => self.fail(front, Subject::Sessions, error.to_string()),
        }
    }

    /// The newest `most` sessions; those in memory are among them, however old they are.
    fn listed(&self, most: usize) -> Result<Vec<SessionRow>, crate::store::Error> {
        let mut sessions = self.reader.sessions(most)?;
        if sessions.len() == most {
            let known: HashSet<_> = sessions.iter().map(|row| row.id.clone()).collect();
            for id in self.sessions.keys().filter(|id| !known.contains(*id)) {
                sessions.extend(self.reader.session(id)?);
            }
            let newest_first = |row: &SessionRow| Reverse((row.active_at, row.id.clone()));
            sessions.sort_by_key(newest_first);
        }
        Ok(sessions)
    }
}

/// Notes in a line of a list what the session does.
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
    fn a_burst_of_changes_is_told_at_its_begin_and_at_its_end_and_never_more_often() {
        // S04
        let mut news = News::default();
        let begin = Instant::now();
        let mut told = Vec::new();
        for millis in 0..120_u64 {
            let now = begin + Duration::from_millis(millis);
            if millis < 100 {
                news.note(now);
            }
            if news.due().is_some_and(|due| due <= now) {
                news.given(now);
                told.push(millis);
            }
        }
        assert_eq!(told, [0, 50, 100]);
        assert_eq!(news.due(), None);
    }

    #[tokio::test]
    async fn a_session_that_is_looked_at_is_listed_however_many_are_newer() {
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
        let local = embedded::start(settings, Role::Owner).unwrap();
        for (target, sessions) in [(Target::New, SESSIONS), (Target::Id(id(0)), SESSIONS + 1)] {
            let mut host = local.attach(target, Attendance::Attended);
            host.send(Command::ListSessions);
            let listed = loop {
                if let Event::SessionsListed { sessions } = host.next().await.unwrap() {
                    break sessions;
                }
            };
            assert_eq!(listed.len(), sessions);
            assert!(listed.is_sorted_by(|a, b| a.active_at > b.active_at));
        }
        local.stop().await;
    }

    #[test]
    fn streamed_text_changes_no_list() {
        // S04
        let delta = Event::Delta { turn: TurnId(1), n: 1, part: Part::Text, text: "x".to_owned() };
        assert!(!shows(&delta));
        assert!(shows(&Event::TitleChanged { title: "t".to_owned() }));
    }
}
