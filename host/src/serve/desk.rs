//! What the WebUI protocol wants remembered between two requests: drafts, compressions that were
//! asked for, sessions that wait for their first prompt. All of it is in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::handle::Host;
use crate::protocol::{Event, SessionId};

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
pub(super) struct Desk {
    papers: Arc<Mutex<Papers>>,
    new: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Papers {
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

impl Default for Desk {
    fn default() -> Self {
        Self { papers: Arc::default(), new: Arc::new(Semaphore::new(NEW)) }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Papers> {
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
    pub(super) fn hold(&self, mut host: Host) -> bool {
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
