//! What the WebUI protocol wants remembered between two requests: drafts, the state of
//! compressions, new sessions that wait for their first prompt. All of it is in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use protocol::{Event, SessionId, View};

/// Most drafts that are kept.
const MAX_DRAFTS: usize = 1_000;
/// Most compressions that are remembered.
const MAX_COMPRESSIONS: usize = 1_000;
/// Most new sessions that wait for their first prompt at once.
const MAX_NEW: usize = 256;
/// How long each of them waits.
const FIRST_PROMPT_TIMEOUT: Duration = Duration::from_hours(1);

/// What is remembered for clients (see the module).
#[derive(Clone, Debug)]
pub(super) struct ClientState {
    memory: Arc<Mutex<Memory>>,
    new_sessions: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Memory {
    drafts: HashMap<SessionId, Value>,
    compressions: HashMap<SessionId, Compression>,
}

/// The state of a compression that a client has started.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Compression {
    /// It runs.
    Running,
    /// The summary is stored.
    Done,
    /// It failed; the reason.
    Failed(String),
}

impl Default for ClientState {
    fn default() -> Self {
        Self { memory: Arc::default(), new_sessions: Arc::new(Semaphore::new(MAX_NEW)) }
    }
}

impl ClientState {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The draft of a session: text typed and not sent; an empty object if there is none.
    pub(super) fn draft(&self, session: &SessionId) -> Value {
        self.lock().drafts.get(session).cloned().unwrap_or_else(|| json!({}))
    }

    /// Keeps a draft. Beyond a bound some other draft is forgotten.
    pub(super) fn keep_draft(&self, session: SessionId, draft: Value) {
        let mut memory = self.lock();
        make_room(&mut memory.drafts, MAX_DRAFTS);
        memory.drafts.insert(session, draft);
    }

    /// The state of the last compression of a session.
    pub(super) fn compression(&self, session: &SessionId) -> Option<Compression> {
        self.lock().compressions.get(session).cloned()
    }

    /// Sets the state of a compression.
    pub(super) fn set_compression(&self, session: SessionId, state: Compression) {
        let mut memory = self.lock();
        make_room(&mut memory.compressions, MAX_COMPRESSIONS);
        memory.compressions.insert(session, state);
    }

    /// Forgets a session.
    pub(super) fn forget(&self, session: &SessionId) {
        let mut memory = self.lock();
        memory.drafts.remove(session);
        memory.compressions.remove(session);
    }

    /// Holds the view of a new session: the session is stored only with its first prompt, and until
    /// then it lives as long as its view. False when too many wait already.
    pub(super) fn hold_new(&self, mut view: View) -> bool {
        let Ok(permit) = self.new_sessions.clone().try_acquire_owned() else { return false };
        tokio::spawn(async move {
            let stored = async {
                while let Some(event) = view.next().await {
                    if matches!(event, Event::RowAdded { .. }) {
                        return;
                    }
                }
            };
            // In either case the view ends here.
            let _ = tokio::time::timeout(FIRST_PROMPT_TIMEOUT, stored).await;
            drop(permit);
        });
        true
    }
}

/// Makes room for one more entry.
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
    use protocol::{Body, Pushed, Row, Signal, TurnId, ViewId, pair};

    #[tokio::test]
    async fn a_new_session_is_held_until_it_is_stored() {
        let (signals, mut sent) = mpsc::unbounded_channel();
        let (view, sink) = pair(ViewId(1), signals);
        assert!(ClientState::default().hold_new(view));
        let title = Event::TitleChanged { title: "x".to_owned() };
        assert_eq!(sink.push(title), Pushed::Queued);
        tokio::task::yield_now().await;
        assert!(sent.try_recv().is_err(), "a name alone is not stored");
        let body = Body::User { text: "x".to_owned() };
        let row = Row { n: 1, turn: TurnId(1), at: 0, cut: 0, body };
        assert_eq!(sink.push(Event::RowAdded { row }), Pushed::Queued);
        assert_eq!(sent.recv().await, Some((ViewId(1), Signal::Detached)));
    }

    #[tokio::test(start_paused = true)]
    async fn unused_new_sessions_are_bounded_and_let_go() {
        let client_state = ClientState::default();
        let (signals, mut sent) = mpsc::unbounded_channel();
        let mut sinks = Vec::new();
        for n in 0..=MAX_NEW as u64 {
            let (view, sink) = pair(ViewId(n), signals.clone());
            assert_eq!(client_state.hold_new(view), n < MAX_NEW as u64);
            sinks.push(sink);
        }
        assert_eq!(sent.recv().await, Some((ViewId(MAX_NEW as u64), Signal::Detached)));
        tokio::time::advance(FIRST_PROMPT_TIMEOUT).await;
        for _ in 0..MAX_NEW {
            assert!(sent.recv().await.is_some());
        }
        let (view, _sink) = pair(ViewId(0), signals);
        assert!(client_state.hold_new(view), "there is room again");
    }

    #[test]
    fn drafts_are_bounded() {
        let client_state = ClientState::default();
        for n in 0..MAX_DRAFTS + 5 {
            client_state.keep_draft(SessionId(n.to_string()), json!({ "text": n }));
        }
        assert_eq!(client_state.lock().drafts.len(), MAX_DRAFTS);
        let last = SessionId((MAX_DRAFTS + 4).to_string());
        assert_eq!(client_state.draft(&last), json!({ "text": MAX_DRAFTS + 4 }));
        client_state.forget(&last);
        assert_eq!(client_state.draft(&last), json!({}));
    }
}
