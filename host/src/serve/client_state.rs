//! What the WebUI protocol wants remembered between two requests: drafts, compressions that were
//! asked for, sessions that wait for their first prompt. All of it is in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use protocol::View;
use protocol::{Event, SessionId};

/// Drafts that are kept.
const DRAFTS: usize = 1_000;
/// Compressions that are remembered.
const JOBS: usize = 1_000;
/// New sessions that may wait for their first prompt at once.
const NEW: usize = 256;
/// How long each of them waits.
const FIRST_PROMPT: Duration = Duration::from_hours(1);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct ClientState {
    papers: Arc<Mutex<State>>,
    new: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    drafts: HashMap<SessionId, Value>,
    jobs: HashMap<SessionId, Job>,
}

/// How a compression goes that somebody asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Job {
    /// It goes on.
    Running,
    /// The summary is there.
    Done,
    /// There is none; why.
    Failed(String),
}

impl Default for ClientState {
    fn default() -> Self {
        Self { papers: Arc::default(), new: Arc::new(Semaphore::new(NEW)) }
    }
}

impl ClientState {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was typed and not sent; an empty object if nothing was.
    pub(super) fn draft(&self, session: &SessionId) -> Value {
        self.lock().drafts.get(session).cloned().unwrap_or_else(|| json!({}))
    }

    /// Keeps what was typed and not sent. Beyond a bound some other draft is forgotten.
    pub(super) fn keep_draft(&self, session: SessionId, draft: Value) {
        let mut papers = self.lock();
        make_room(&mut papers.drafts, DRAFTS);
        papers.drafts.insert(session, draft);
    }

    /// How the compression goes that was asked for last.
    pub(super) fn job(&self, session: &SessionId) -> Option<Job> {
        self.lock().jobs.get(session).cloned()
    }

    /// Notes how a compression goes.
    pub(super) fn note_job(&self, session: SessionId, job: Job) {
        let mut papers = self.lock();
        make_room(&mut papers.jobs, JOBS);
        papers.jobs.insert(session, job);
    }

    /// Forgets a session.
    pub(super) fn forget(&self, session: &SessionId) {
        let mut papers = self.lock();
        papers.drafts.remove(session);
        papers.jobs.remove(session);
    }

    /// Holds a new session: it is stored only with its first prompt, and until then it lives as
    /// long as its view. False when too many wait already.
    pub(super) fn hold(&self, mut host: View) -> bool {
        let Ok(room) = self.new.clone().try_acquire_owned() else { return false };
        tokio::spawn(async move {
            let stored = async {
                while let Some(event) = host.next().await {
                    if matches!(event, Event::RowAdded { .. }) {
                        return;
                    }
                }
            };
            // Either way the view ends here.
            let _ = tokio::time::timeout(FIRST_PROMPT, stored).await;
            drop(room);
        });
        true
    }
}

/// Room for one more.
fn make_room<T>(map: &mut HashMap<SessionId, T>, most: usize) {
    if map.len() >= most
        && let Some(any) = map.keys().next().cloned()
    {
        map.remove(&any);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use protocol::{Body, Row, TurnId};
    use protocol::{Pushed, Signal, ViewId, pair};

    #[tokio::test]
    async fn a_new_session_is_held_until_it_is_stored() {
        let (signals, mut asked) = mpsc::unbounded_channel();
        let (host, backend) = pair(ViewId(1), signals);
        assert!(ClientState::default().hold(host));
        let title = Event::TitleChanged { title: "x".to_owned() };
        assert_eq!(backend.push(title), Pushed::Queued);
        tokio::task::yield_now().await;
        assert!(asked.try_recv().is_err(), "a name alone is not stored");
        let body = Body::User { text: "x".to_owned() };
        let row = Row { n: 1, turn: TurnId(1), at: 0, cut: 0, body };
        assert_eq!(backend.push(Event::RowAdded { row }), Pushed::Queued);
        assert_eq!(asked.recv().await, Some((ViewId(1), Signal::Detached)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_never_used_is_let_go_and_too_many_are_not_taken() {
        let client_state = ClientState::default();
        let (signals, mut asked) = mpsc::unbounded_channel();
        let mut ends = Vec::new();
        for n in 0..=NEW as u64 {
            let (host, backend) = pair(ViewId(n), signals.clone());
            assert_eq!(client_state.hold(host), n < NEW as u64);
            ends.push(backend);
        }
        assert_eq!(asked.recv().await, Some((ViewId(NEW as u64), Signal::Detached)));
        tokio::time::advance(FIRST_PROMPT).await;
        for _ in 0..NEW {
            assert!(asked.recv().await.is_some());
        }
        let (host, _backend) = pair(ViewId(0), signals);
        assert!(client_state.hold(host), "there is room again");
    }

    #[test]
    fn drafts_are_bounded() {
        let client_state = ClientState::default();
        for n in 0..DRAFTS + 5 {
            client_state.keep_draft(SessionId(n.to_string()), json!({ "text": n }));
        }
        assert_eq!(client_state.lock().drafts.len(), DRAFTS);
        let last = SessionId((DRAFTS + 4).to_string());
        assert_eq!(client_state.draft(&last), json!({ "text": DRAFTS + 4 }));
        client_state.forget(&last);
        assert_eq!(client_state.draft(&last), json!({}));
    }
}
