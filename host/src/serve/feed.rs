//! What the streams of the WebUI protocol share: one view of each session that somebody reads,
//! folded into its transcript and told on tapes. Any number of readers costs the host that one
//! view; the lock of a feed is held for a fold or a read and never across a wait.

mod state;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::clock::now;
use crate::embedded::{Attendance, HostHandle};
use crate::settings::Settings;
use crate::wire::encode::frame::Kind;
use protocol::View;
use protocol::{
    Answer, Command, Event, Millis, Question, QuestionId, SessionId, Target, Transcript, TurnId,
};
use state::{State, Streams};

/// How long a feed stays after its last reader left (E05).
const LINGER: Duration = Duration::from_mins(1);
/// How long an answer may take to be written down before its sender is told without it.
const SETTLE: Duration = Duration::from_secs(10);

/// All feeds of a server.
#[derive(Clone, Debug)]
pub(crate) struct Feeds(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    access: HostHandle,
    /// Four hex digits that tell this run's streams from those of an earlier one.
    nonce: String,
    linger: Duration,
    map: Mutex<HashMap<SessionId, Arc<Feed>>>,
    /// Sessions whose ids do not fit into the id of a stream, by what stands for them.
    odd: Mutex<HashMap<String, SessionId>>,
    /// Counts changes of what lists show.
    lists: watch::Sender<u64>,
    /// Whether somebody listens to the host for them.
    listening: Mutex<bool>,
}

/// A stream's id, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StreamId {
    pub(super) session: SessionId,
    pub(super) turn: TurnId,
    /// Whether this run of the host gave it out.
    pub(super) ours: bool,
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
    /// A reader left.
    left: Notify,
    /// Held by who starts a turn: of several at once each sees what became of the one before.
    pub(super) starting: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Opening,
    Open,
    Refused(String),
    Over,
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
    pub(super) fn new(access: &HostHandle, _settings: &Arc<Settings>) -> Self {
        Self::lingering(access, LINGER)
    }

    /// With another time for E05.
    pub(super) fn lingering(access: &HostHandle, linger: Duration) -> Self {
        let nonce = uuid::Uuid::new_v4().simple().to_string()[..4].to_owned();
        Self(Arc::new(Shared {
            access: access.clone(),
            nonce,
            linger,
            map: Mutex::default(),
            odd: Mutex::default(),
            lists: watch::Sender::new(0),
            listening: Mutex::new(false),
        }))
    }

    /// The feed of a session, opened if it is not. An error says why it cannot be.
    pub(crate) async fn lease(&self, session: &SessionId) -> Result<Lease, String> {
        // One that ends at this moment is followed by a fresh one.
        for _ in 0..3 {
            let (lease, fresh) = self.0.enter(session);
            if fresh {
                tokio::spawn(run(self.0.clone(), lease.feed.clone()));
            }
            let mut phase = lease.feed.phase.subscribe();
            let reached = phase.wait_for(|phase| *phase != Phase::Opening).await;
            match reached.map(|phase| phase.clone()) {
                Ok(Phase::Open) => return Ok(lease),
                Ok(Phase::Refused(why)) => return Err(why),
                Ok(Phase::Over | Phase::Opening) | Err(_) => {}
            }
        }
        Err("the host has stopped".to_owned())
    }

    /// The id of a turn's stream: 32 hex digits that say which session and turn it is.
    pub(crate) fn stream(&self, session: &SessionId, turn: TurnId) -> String {
        self.0.streams(session).of(turn)
    }

    /// The id of the stream that a client of this session can attach to, if a turn runs. Not that
    /// of a turn that is being cancelled: who attached to it would wait for nothing (E02).
    pub(crate) fn active(&self, transcript: &Transcript) -> Option<String> {
        let running = transcript.running.as_ref().filter(|running| !running.cancelling)?;
        Some(self.stream(&transcript.session, running.turn))
    }

    /// The other way round. `None`: no id of a stream of ours.
    pub(super) fn parse(&self, stream: &str) -> Option<StreamId> {
        if stream.len() != 32 || !stream.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let (session, rest) = stream.split_at(20);
        let (turn, nonce) = rest.split_at(8);
        let odd = self.0.odd.lock().unwrap_or_else(PoisonError::into_inner).get(session).cloned();
        let session = odd.unwrap_or_else(|| {
            SessionId(format!("{}_{}_{}", &session[..8], &session[8..14], &session[14..]))
        });
        let turn = TurnId(u64::from_str_radix(turn, 16).ok()?);
        Some(StreamId { session, turn, ours: nonce == self.0.nonce })
    }

    /// Counts changes of what lists show, from now on.
    pub(super) fn lists(&self) -> watch::Receiver<u64> {
        let mut listening = self.0.listening.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.0.lists.subscribe();
        if !*listening {
            *listening = true;
            tokio::spawn(listen(self.0.clone()));
        }
        changes
    }

    /// Something that lists show has changed, and the host does not know of it.
    pub(super) fn lists_changed(&self) {
        bump(&self.0.lists);
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
    /// anybody can find it unused.
    fn enter(&self, session: &SessionId) -> (Lease, bool) {
        let mut map = self.lock();
        let known = map.get(session).cloned();
        let fresh = known.is_none();
        let feed = known.unwrap_or_else(|| {
            let feed = Arc::new(Feed::new(session.clone(), self.streams(session)));
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

    /// There is no such session: whatever names clients invent, they cost nothing.
    fn forget_odd(&self, session: &SessionId) {
        let mut odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        odd.retain(|_, known| known != session);
    }

    fn streams(&self, session: &SessionId) -> Streams {
        Streams { session: self.digits(session), nonce: self.nonce.clone() }
    }

    /// Twenty hex digits for a session: its id without the lines, or what stands for it.
    fn digits(&self, session: &SessionId) -> String {
        let id = &session.0;
        let digits: String = id.chars().filter(|c| *c != '_').collect();
        let ours = id.len() == 22
            && digits.len() == 20
            && id.as_bytes().get(8) == Some(&b'_')
            && id.as_bytes().get(15) == Some(&b'_')
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && !digits.starts_with('f');
        if ours {
            return digits;
        }
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let digits = format!("ffff{:016x}", hasher.finish());
        let mut odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        odd.insert(digits.clone(), session.clone());
        digits
    }
}

/// Feeds one feed until nobody needs it any more.
async fn run(shared: Arc<Shared>, feed: Arc<Feed>) {
    let mut host: View = match shared.access.open(feed.session.clone(), Attendance::Attended).await
    {
        Ok(host) => host,
        Err(why) => {
            shared.remove(&feed);
            shared.forget_odd(&feed.session);
            feed.phase.send_replace(Phase::Refused(why));
            return;
        }
    };
    feed.lock().command_sender = Some(host.command_sender());
    loop {
        let idle_until = feed.lock().idle_until(shared.linger);
        tokio::select! {
            event = host.next() => {
                let Some(event) = event else { break };
                if !feed.take(&event, now()) {
                    break;
                }
            }
            () = feed.left.notified() => {}
            () = until(idle_until) => if shared.remove_idle(&feed) {
                feed.phase.send_replace(Phase::Over);
                return;
            },
        }
    }
    // The session was deleted or the host has stopped.
    shared.remove(&feed);
    feed.phase.send_replace(Phase::Over);
    feed.end();
}

/// Counts what the host says about its lists, as long as somebody wants to know.
async fn listen(shared: Arc<Shared>) {
    // A view on a session that is never written to: what concerns all sessions reaches it too.
    let mut host = shared.access.attach(Target::New, Attendance::Attended);
    loop {
        tokio::select! {
            event = host.next() => match event {
                Some(Event::SessionsChanged) => shared.lists.send_modify(|n| *n += 1),
                Some(_) => continue,
                None => {
                    // The next one to ask tries again.
                    *shared.listening.lock().unwrap_or_else(PoisonError::into_inner) = false;
                    return;
                }
            },
            () = tokio::time::sleep(shared.linger) => {}
        }
        let mut listening = shared.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.lists.receiver_count() == 0 {
            *listening = false;
            return;
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Feed {
    fn new(session: SessionId, streams: Streams) -> Self {
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

    /// Asks the host for something.
    pub(crate) fn send(&self, command: Command) {
        if let Some(command_sender) = &self.lock().command_sender {
            command_sender.send(command);
        }
    }

    /// Looks at the session as it is now.
    pub(crate) fn look<T>(&self, f: impl FnOnce(&Transcript) -> T) -> T {
        f(&self.lock().transcript)
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

    /// Returns when the feed has come to its end: its session is gone, or the host.
    pub(super) async fn over(&self) {
        // The sender lives as long as the feed.
        let _ = self.phase.subscribe().wait_for(|phase| *phase == Phase::Over).await;
    }

    /// Waits for the next of these changes; `None` = the feed has come to its end first.
    pub(super) async fn changed(&self, changes: &mut watch::Receiver<u64>) -> Option<()> {
        tokio::select! {
            biased;
            changed = changes.changed() => changed.ok(),
            () = self.over() => None,
        }
    }

    /// A stream shows questions of this kind from now on, or no longer.
    pub(super) fn show(&self, kind: Kind, more: bool) {
        self.lock().show(kind, more);
    }

    /// A client that polls shows the head now.
    pub(super) fn shown(&self, kind: Kind) {
        self.lock().start_clock(kind);
    }

    /// Takes a pending question for an answer by `by`. `Err`: how many of its kind are pending,
    /// not this one among them. Without an id there must be exactly one (C07).
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

    /// Answers a claimed question, and says what its answer is in the end: somebody else's may
    /// have been first. `None`: the host has not said it in time.
    pub(super) async fn answer(&self, id: &QuestionId, answer: Answer) -> Option<Answer> {
        let mut changes = self.question_changes();
        self.lock().answering(id, &answer);
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
            settled = tokio::time::timeout(SETTLE, settled) => settled.unwrap_or_default(),
            () = self.over() => None,
        }
    }

    /// The position at which a new reader without a cursor begins: who comes first to a running
    /// turn misses nothing, a later one joins what is being told. `None` = its beginning is gone.
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

    /// Folds an event and lets readers know. False: this is no longer our session's view.
    fn take(&self, event: &Event, now: Millis) -> bool {
        let Some(news) = self.lock().take(event, now) else { return false };
        if matches!(event, Event::Attached { .. }) {
            self.phase
                .send_if_modified(|phase| std::mem::replace(phase, Phase::Open) != Phase::Open);
        }
        for (changed, changes) in [
            (news.tapes, &self.tapes),
            (news.channel, &self.channel),
            (news.questions, &self.questions),
        ] {
            if changed {
                bump(changes);
            }
        }
        true
    }

    /// The view is gone.
    fn end(&self) {
        self.lock().end();
        for changes in [&self.tapes, &self.channel, &self.questions] {
            bump(changes);
        }
    }
}

fn bump(changes: &watch::Sender<u64>) {
    changes.send_modify(|n| *n += 1);
}

#[cfg(test)]
mod tests;
