//! What the streams of the WebUI protocol share: one view of each session that clients read,
//! folded into its transcript and encoded on tapes. Any number of readers costs the host that one
//! view. The lock of a feed is held for a fold or a read and never across a wait.

mod list_watch;
mod state;
mod stream_ids;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::clock::now;
use crate::embedded::{Attendance, HostHandle, OpenError};
use crate::wire::encode::frame::Kind;
use list_watch::ListWatch;
use protocol::{
    Answer, Command, Event, Millis, Question, QuestionId, SessionId, Transcript, TurnId,
};
use state::State;
pub(super) use stream_ids::StreamId;
use stream_ids::{SessionStreams, StreamIds};

/// How long a feed stays after its last reader left (E05).
const LINGER: Duration = Duration::from_mins(1);
/// How long a client waits until its answer to a question is stored.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// All feeds of a server.
#[derive(Clone, Debug)]
pub(crate) struct Feeds(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    host: HostHandle,
    stream_ids: StreamIds,
    linger: Duration,
    map: Mutex<HashMap<SessionId, Arc<Feed>>>,
    lists: Arc<ListWatch>,
}

/// The shared view of one session.
#[derive(Debug)]
pub(crate) struct Feed {
    session: SessionId,
    state: Mutex<State>,
    phase: watch::Sender<Phase>,
    /// Each counts up when there is more to read.
    tapes: watch::Sender<u64>,
    channel: watch::Sender<u64>,
    questions: watch::Sender<u64>,
    /// Notified when a reader leaves.
    left: Notify,
    /// Held while a client starts a turn: of several at once each sees the result of the one
    /// before.
    pub(super) starting: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Opening,
    Open,
    Refused(OpenError),
    Closed,
}

/// Keeps a feed; the right to read it.
#[derive(Debug)]
pub(crate) struct Lease {
    feed: Arc<Feed>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.feed.lock();
        state.users -= 1;
        state.idle_since = Instant::now();
        drop(state);
        self.feed.left.notify_one();
    }
}

impl std::ops::Deref for Lease {
    type Target = Feed;

    fn deref(&self) -> &Feed {
        &self.feed
    }
}

impl Feeds {
    pub(super) fn new(host: &HostHandle) -> Self {
        Self::with_linger(host, LINGER)
    }

    /// With another time for E05.
    pub(super) fn with_linger(host: &HostHandle, linger: Duration) -> Self {
        Self(Arc::new(Shared {
            host: host.clone(),
            stream_ids: StreamIds::new(),
            linger,
            map: Mutex::default(),
            lists: ListWatch::new(host.clone(), linger),
        }))
    }

    /// The feed of a session, opened if it is not.
    pub(crate) async fn lease(&self, session: &SessionId) -> Result<Lease, OpenError> {
        // One that closes at this moment is followed by a fresh one.
        for _ in 0..3 {
            let (lease, fresh) = self.0.enter(session);
            if fresh {
                tokio::spawn(run(self.0.clone(), lease.feed.clone()));
            }
            let mut phase = lease.feed.phase.subscribe();
            let reached = phase.wait_for(|phase| *phase != Phase::Opening).await;
            match reached.map(|phase| phase.clone()) {
                Ok(Phase::Open) => return Ok(lease),
                Ok(Phase::Refused(error)) => return Err(error),
                Ok(Phase::Closed | Phase::Opening) | Err(_) => {}
            }
        }
        Err(OpenError::Refused("the host has stopped".to_owned()))
    }

    /// The id of a turn's stream.
    pub(crate) fn stream_id(&self, session: &SessionId, turn: TurnId) -> String {
        self.0.stream_ids.of(session).id(turn)
    }

    /// The id of the stream that a client of this session can attach to, if a turn runs. Not that
    /// of a turn that is being cancelled: a client attached to it would wait for nothing (E02).
    pub(crate) fn active(&self, transcript: &Transcript) -> Option<String> {
        let running = transcript.running.as_ref().filter(|running| !running.cancelling)?;
        Some(self.stream_id(&transcript.session, running.turn))
    }

    /// The session and turn of a stream id; `None` = not an id of this or an earlier run.
    pub(super) fn parse(&self, stream: &str) -> Option<StreamId> {
        self.0.stream_ids.parse(stream)
    }

    /// A counter of the changes of the session list, from now on.
    pub(super) fn list_changes(&self) -> watch::Receiver<u64> {
        self.0.lists.subscribe()
    }

    /// Reports a change of the session list that the host does not know of.
    pub(super) fn lists_changed(&self) {
        self.0.lists.count();
    }

    /// Whether a feed of that session is held.
    #[cfg(test)]
    pub(super) fn holds(&self, session: &SessionId) -> bool {
        self.0.lock().contains_key(session)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Feed>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed in the map, and whether it was put there now. It is counted as used before
    /// another task can find it unused.
    fn enter(&self, session: &SessionId) -> (Lease, bool) {
        let mut map = self.lock();
        let known = map.get(session).cloned();
        let fresh = known.is_none();
        let feed = known.unwrap_or_else(|| {
            let feed = Arc::new(Feed::new(session.clone(), self.stream_ids.of(session)));
            map.insert(session.clone(), feed.clone());
            feed
        });
        feed.lock().users += 1;
        (Lease { feed }, fresh)
    }

    fn remove(&self, feed: &Arc<Feed>) {
        let mut map = self.lock();
        if map.get(&feed.session).is_some_and(|known| Arc::ptr_eq(known, feed)) {
            map.remove(&feed.session);
        }
    }

    /// Takes a feed out of the map if it is still unused.
    fn remove_idle(&self, feed: &Arc<Feed>) -> bool {
        let mut map = self.lock();
        let due = feed.lock().idle_until(self.linger).is_some_and(|at| at <= Instant::now());
        if due && map.get(&feed.session).is_some_and(|known| Arc::ptr_eq(known, feed)) {
            map.remove(&feed.session);
        }
        due
    }
}

/// Feeds a feed with the events of its view until it is unused, its session deleted or the host
/// stopped.
async fn run(shared: Arc<Shared>, feed: Arc<Feed>) {
    let mut view = match shared.host.open(feed.session.clone(), Attendance::Attended).await {
        Ok(view) => view,
        Err(error) => {
            shared.remove(&feed);
            shared.stream_ids.forget(&feed.session);
            feed.phase.send_replace(Phase::Refused(error));
            return;
        }
    };
    feed.lock().command_sender = Some(view.command_sender());
    loop {
        let idle_until = feed.lock().idle_until(shared.linger);
        tokio::select! {
            event = view.next() => {
                let Some(event) = event else { break };
                if !feed.apply(&event, now()) {
                    break;
                }
            }
            () = feed.left.notified() => {}
            () = until(idle_until) => if shared.remove_idle(&feed) {
                feed.phase.send_replace(Phase::Closed);
                return;
            },
        }
    }
    // The session was deleted or the host has stopped.
    shared.remove(&feed);
    feed.phase.send_replace(Phase::Closed);
    feed.end();
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Feed {
    fn new(session: SessionId, streams: SessionStreams) -> Self {
        Self {
            session,
            state: Mutex::new(State::new(streams, Instant::now())),
            phase: watch::Sender::new(Phase::Opening),
            tapes: watch::Sender::new(0),
            channel: watch::Sender::new(0),
            questions: watch::Sender::new(0),
            left: Notify::new(),
            starting: tokio::sync::Mutex::default(),
        }
    }

    /// Its state. What is read under one lock is one moment: a position and a snapshot taken
    /// together lose and double nothing (E01).
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session.
    pub(crate) fn session(&self) -> &SessionId {
        &self.session
    }

    /// Sends the host a command.
    pub(crate) fn send(&self, command: Command) {
        if let Some(command_sender) = &self.lock().command_sender {
            command_sender.send(command);
        }
    }

    /// Reads from the session as it is now.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Transcript) -> T) -> T {
        read(&self.lock().transcript)
    }

    pub(super) fn tape_changes(&self) -> watch::Receiver<u64> {
        self.tapes.subscribe()
    }

    pub(super) fn channel_changes(&self) -> watch::Receiver<u64> {
        self.channel.subscribe()
    }

    pub(super) fn question_changes(&self) -> watch::Receiver<u64> {
        self.questions.subscribe()
    }

    /// Returns when the feed has closed: its session is gone, or the host.
    pub(super) async fn closed(&self) {
        // The sender lives as long as the feed.
        let _ = self.phase.subscribe().wait_for(|phase| *phase == Phase::Closed).await;
    }

    /// Waits for the next of these changes; `None` = the feed has closed first.
    pub(super) async fn changed(&self, changes: &mut watch::Receiver<u64>) -> Option<()> {
        tokio::select! {
            biased;
            changed = changes.changed() => changed.ok(),
            () = self.closed() => None,
        }
    }

    /// Counts a stream that shows questions of this kind in, or out again.
    pub(super) fn set_shown(&self, kind: Kind, shown: bool) {
        self.lock().set_shown(kind, shown);
    }

    /// A client that polls shows the head of this kind now.
    pub(super) fn start_clock(&self, kind: Kind) {
        self.lock().start_clock(kind);
    }

    /// Claims a pending question for an answer by the client `by`. `Err`: the number of its kind
    /// that are pending, without this one. Without an id there must be exactly one (C07).
    pub(super) fn claim(
        &self,
        kind: Kind,
        id: Option<&str>,
        by: String,
    ) -> Result<Question, usize> {
        self.lock().claim(kind, id, by)
    }

    /// Gives a claimed question back: the answer does not fit it.
    pub(super) fn release(&self, id: &QuestionId) {
        self.lock().release(id);
    }

    /// Answers a claimed question and returns its final answer: another client's may have been
    /// first. `None`: the host has not reported it in time.
    pub(super) async fn answer(&self, id: &QuestionId, answer: Answer) -> Option<Answer> {
        let mut changes = self.question_changes();
        self.lock().set_claimed_answer(id, &answer);
        self.send(Command::Answer { session: None, id: id.clone(), answer });
        let settled = async {
            loop {
                changes.borrow_and_update();
                let known = self.lock().answer_to(id);
                if known.is_some() || changes.changed().await.is_err() {
                    return known;
                }
            }
        };
        tokio::select! {
            settled = tokio::time::timeout(ANSWER_TIMEOUT, settled) => settled.unwrap_or_default(),
            () = self.closed() => None,
        }
    }

    /// The position at which a new reader without a cursor begins: the first reader of a running
    /// turn misses nothing, a later one joins at its current end. `None` = its beginning is gone.
    pub(super) fn join(&self, turn: TurnId) -> Option<u64> {
        self.lock().join(turn)
    }

    /// Counts a reader of a turn's tape.
    pub(super) fn enter_tape(&self, turn: TurnId) {
        self.lock().enter_tape(turn);
    }

    /// A reader of a turn's tape leaves, having read up to that frame.
    pub(super) fn leave_tape(&self, turn: TurnId, upto: u64) {
        self.lock().leave_tape(turn, upto);
    }

    /// Folds an event and notifies readers. False: this is no longer the view of our session.
    fn apply(&self, event: &Event, now: Millis) -> bool {
        let Some(changes) = self.lock().apply(event, now) else { return false };
        if matches!(event, Event::Attached { .. }) {
            self.phase
                .send_if_modified(|phase| std::mem::replace(phase, Phase::Open) != Phase::Open);
        }
        for (changed, counter) in [
            (changes.tapes, &self.tapes),
            (changes.channel, &self.channel),
            (changes.questions, &self.questions),
        ] {
            if changed {
                bump(counter);
            }
        }
        true
    }

    /// The view is gone.
    fn end(&self) {
        self.lock().end();
        for counter in [&self.tapes, &self.channel, &self.questions] {
            bump(counter);
        }
    }
}

fn bump(counter: &watch::Sender<u64>) {
    counter.send_modify(|n| *n += 1);
}

#[cfg(test)]
mod tests;
