//! What the streams of the WebUI protocol share: one view of each session that somebody reads,
//! folded into its transcript and told on tapes. Any number of readers costs the host that one
//! view; the lock of a feed is held for a fold or a read and never across a wait.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::tape::Tape;
use crate::handle::{Asker, Host};
use crate::local::{Access, Caller, now};
use crate::protocol::{
    Answer, Command, Event, Millis, Outcome, Question, QuestionId, SessionId, Source, Target,
    Toast, Transcript, TurnId,
};
use crate::settings::Settings;
use crate::wire::encode::frame::{self, Frame, Kind, Teller, secs};
use crate::wire::encode::session::settled;

/// How long a feed stays after its last reader left (E05).
const LINGER: Duration = Duration::from_secs(60);
/// So many times as long stays the feed of a session that was never written to: such a session is
/// nowhere else (4 h).
const BLANK: u32 = 240;
/// Bytes of a turn's tape (E04).
const TAPE: usize = 64 * 1024 * 1024;
/// Bytes of the tapes of ended turns that are kept, and how many at most.
const ENDED: usize = 16 * 1024 * 1024;
const ENDED_TURNS: usize = 8;
/// Bytes of the log of a session's channel.
const CHANNEL: usize = 256 * 1024;
/// Bytes of the log of answered questions.
const ANSWERED: usize = 256 * 1024;
/// Answers remembered for those who wait for theirs.
const ANSWERS: usize = 256;
/// Rows kept of a session, as in the host's own window.
const WINDOW: usize = 400;
/// How long an answer may take to be written down before its sender is told without it.
const SETTLE: Duration = Duration::from_secs(10);

/// All feeds of a server.
#[derive(Clone, Debug)]
pub(crate) struct Feeds(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    access: Access,
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
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    Opening,
    Open,
    Refused(String),
    Over,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) transcript: Transcript,
    /// Oldest first; the last one may be of the running turn.
    pub(super) runs: VecDeque<Run>,
    teller: Option<Teller>,
    /// What the session's channel has told.
    pub(super) channel: Tape,
    /// The questions that were answered.
    pub(super) approvals: Tape,
    pub(super) clarifies: Tape,
    answers: VecDeque<(QuestionId, Answer)>,
    /// Questions that a client has answered over HTTP, and what it calls itself.
    answering: HashMap<QuestionId, String>,
    /// Questions whose clock was asked to start.
    shown: Vec<QuestionId>,
    /// How many streams show approvals and clarify questions.
    showing: [usize; 2],
    asker: Option<Asker>,
    users: usize,
    /// Since when nobody reads and nothing runs, if so.
    idle_since: Instant,
}

/// One turn and its tape.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) turn: TurnId,
    pub(super) tape: Tape,
    pub(super) outcome: Option<Outcome>,
    readers: usize,
    /// Up to where the last reader had read when it left.
    left_at: u64,
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
    pub(super) fn new(access: &Access, _settings: &Arc<Settings>) -> Self {
        Self::lingering(access, LINGER)
    }

    /// With another time for E05.
    pub(super) fn lingering(access: &Access, linger: Duration) -> Self {
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

    /// A new session and its feed, which alone keeps it until its first prompt.
    #[expect(dead_code, reason = "for the route that makes sessions")]
    pub(crate) async fn fresh(&self) -> Result<Lease, String> {
        let mut host = self.0.access.attach(Target::New, Caller::Attended);
        match host.next().await {
            Some(Event::Attached { transcript, .. }) => self.lease(&transcript.session).await,
            Some(Event::Failed(failure)) => Err(failure.message),
            _ => Err("the host has stopped".to_owned()),
        }
    }

    /// The id of a turn's stream: 32 hex digits that say which session and turn it is.
    pub(crate) fn stream(&self, session: &SessionId, turn: TurnId) -> String {
        format!("{}{:08x}{}", self.0.digits(session), turn.0, self.0.nonce)
    }

    /// The id of the stream that a client of this session can attach to, if a turn runs. Not that
    /// of a turn that is being cancelled: who attached to it would wait for nothing (E02).
    #[expect(dead_code, reason = "for the routes that show sessions")]
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
            let feed = Arc::new(Feed::new(session.clone()));
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
    let mut host: Host = match shared.access.open(feed.session.clone(), Caller::Attended).await {
        Ok(host) => host,
        Err(why) => {
            shared.remove(&feed);
            feed.phase.send_replace(Phase::Refused(why));
            return;
        }
    };
    feed.lock().asker = Some(host.asker());
    let feeds = Feeds(shared.clone());
    loop {
        let idle_until = feed.lock().idle_until(shared.linger);
        tokio::select! {
            event = host.next() => {
                let Some(event) = event else { break };
                if !feed.take(&event, &feeds, now()) {
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
    let mut host = shared.access.attach(Target::New, Caller::Attended);
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
    fn new(session: SessionId) -> Self {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let state = State {
            transcript: Transcript::default(),
            runs: VecDeque::new(),
            teller: None,
            channel: Tape::new(Some(token), CHANNEL),
            approvals: Tape::new(None, ANSWERED),
            clarifies: Tape::new(None, ANSWERED),
            answers: VecDeque::new(),
            answering: HashMap::new(),
            shown: Vec::new(),
            showing: [0; 2],
            asker: None,
            users: 0,
            idle_since: Instant::now(),
        };
        Self {
            session,
            state: Mutex::new(state),
            phase: watch::Sender::new(Phase::Opening),
            tapes: watch::Sender::new(0),
            channel: watch::Sender::new(0),
            questions: watch::Sender::new(0),
            left: Notify::new(),
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
        if let Some(asker) = &self.lock().asker {
            asker.send(command);
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

    /// A stream shows questions of this kind from now on, or no longer.
    pub(super) fn show(&self, kind: Kind, more: bool) {
        let mut state = self.lock();
        let count = &mut state.showing[slot(kind)];
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        state.start_clocks();
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
        let mut state = self.lock();
        let open = |q: &&Question| Kind::of(q) == kind && !state.answering.contains_key(&q.id);
        let mut pending = state.transcript.questions.iter().filter(open);
        let count = pending.clone().count();
        let found = match id {
            Some(id) => pending.find(|q| q.id.0 == id),
            None if count == 1 => pending.next(),
            None => None,
        };
        let question = found.cloned().ok_or(count)?;
        state.answering.insert(question.id.clone(), by);
        Ok(question)
    }

    /// Gives a claimed question back: the answer does not fit it.
    pub(super) fn release(&self, id: &QuestionId) {
        self.lock().answering.remove(id);
    }

    /// Answers a claimed question, and says what its answer is in the end: somebody else's may
    /// have been first.
    pub(super) async fn answer(&self, id: &QuestionId, answer: Answer) -> Option<Answer> {
        let mut changes = self.question_changes();
        self.send(Command::Answer { id: id.clone(), answer });
        let settled = async {
            loop {
                changes.borrow_and_update();
                let known = {
                    let state = self.lock();
                    state.answers.iter().rev().find(|(q, _)| q == id).map(|(_, a)| a.clone())
                };
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

    /// Folds an event and tells it. False: this is no longer our session's view.
    fn take(&self, event: &Event, feeds: &Feeds, now: Millis) -> bool {
        let mut state = self.lock();
        if let Event::Attached { transcript, .. } = event
            && transcript.session != self.session
        {
            return false;
        }
        // The transcript forgets a question that is resolved.
        let kind = match event {
            Event::QuestionResolved { id, .. } => {
                state.transcript.questions.iter().find(|q| q.id == *id).map(Kind::of)
            }
            _ => None,
        };
        state.transcript.apply(event);
        match event {
            Event::Attached { .. } => {
                let late = *self.phase.borrow() == Phase::Open;
                state.begin_anew(feeds, late, now);
                self.phase
                    .send_if_modified(|phase| std::mem::replace(phase, Phase::Open) != Phase::Open);
                bump(&self.channel);
                bump(&self.questions);
            }
            Event::TurnStarted { turn, source, at } => {
                state.start(feeds, *turn, *at, now);
                state.announce_turn(feeds, *turn, *source, *at);
                bump(&self.channel);
            }
            Event::TurnEnded { turn, outcome, at } => {
                state.finish(*turn, outcome, *at);
                state.transcript.trim(WINDOW);
            }
            Event::QuestionAsked { .. } => {
                state.tell(event, now);
                state.start_clocks();
                bump(&self.questions);
            }
            Event::QuestionResolved { id, answer, by } => {
                state.tell(event, now);
                if let Some(kind) = kind {
                    state.resolved(kind, id, answer, by.as_deref());
                }
                state.start_clocks();
                bump(&self.questions);
            }
            Event::Toast(toast) => {
                if state.announce_background(toast, now) {
                    bump(&self.channel);
                }
            }
            Event::TitleChanged { title } => {
                state.tell(event, now);
                let data = json!({ "session_id": self.session, "title": title });
                state.channel.push(&Frame::new("title", data));
                bump(&self.channel);
            }
            Event::RowsRemoved { .. } => {
                state.updated("rows_removed");
                bump(&self.channel);
            }
            _ => state.tell(event, now),
        }
        drop(state);
        bump(&self.tapes);
        true
    }

    /// The view is gone: a turn that runs is told no further here.
    fn end(&self) {
        let mut state = self.lock();
        state.teller = None;
        state.break_off();
        drop(state);
        for changes in [&self.tapes, &self.channel, &self.questions] {
            bump(changes);
        }
    }

    /// The position at which a new reader without a cursor begins: who comes first to a running
    /// turn misses nothing, a later one joins what is being told. `None` = its beginning is gone.
    pub(super) fn join(&self, turn: TurnId) -> Option<u64> {
        let state = self.lock();
        let run = state.runs.iter().find(|run| run.turn == turn)?;
        if run.tape.is_ended() {
            return run.tape.start();
        }
        let left = run.left_at.max(run.tape.start().unwrap_or(0));
        Some(if run.readers == 0 { left } else { run.tape.last() })
    }

    /// Counts a reader of a turn's tape.
    pub(super) fn enter_tape(&self, turn: TurnId) {
        if let Some(run) = self.lock().run(turn) {
            run.readers += 1;
        }
    }

    /// A reader of a turn's tape leaves, having read up to that frame.
    pub(super) fn leave_tape(&self, turn: TurnId, upto: u64) {
        if let Some(run) = self.lock().run(turn) {
            run.readers = run.readers.saturating_sub(1);
            if run.readers == 0 {
                run.left_at = upto.min(run.tape.last());
            }
        }
    }
}

impl State {
    /// Until when it is kept, if nobody reads it and nothing runs.
    fn idle_until(&self, linger: Duration) -> Option<Instant> {
        let idle = self.users == 0 && self.transcript.running.is_none();
        let blank = self.transcript.rows.is_empty() && self.transcript.earlier == 0;
        let linger = if blank { linger * BLANK } else { linger };
        idle.then(|| self.idle_since + linger)
    }

    pub(super) fn run(&mut self, turn: TurnId) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.turn == turn)
    }

    /// How many messages clients know of.
    pub(super) fn messages(&self) -> u64 {
        self.transcript.earlier + settled(&self.transcript).len() as u64
    }

    /// A fresh window. What runs is told again from its beginning: what was told of it may lack
    /// what the window came instead of.
    fn begin_anew(&mut self, feeds: &Feeds, late: bool, now: Millis) {
        self.teller = None;
        let running = self.transcript.running.as_ref().map(|r| (r.turn, r.started_at));
        if self.runs.back().is_some_and(|run| Some(run.turn) != running.map(|(turn, _)| turn)) {
            self.break_off();
        }
        match running {
            Some((turn, _)) if let Some(run) = self.run(turn) => run.tape.restart(),
            _ => {}
        }
        if let Some((turn, at)) = running {
            self.start(feeds, turn, at, now);
        }
        if late {
            self.updated("resync");
        }
        self.start_clocks();
    }

    /// Begins the tape of a turn, or goes on with it, and tells what the transcript holds of it.
    fn start(&mut self, feeds: &Feeds, turn: TurnId, at: Millis, now: Millis) {
        let session = self.transcript.session.clone();
        if self.run(turn).is_none() {
            let tape = Tape::new(Some(feeds.stream(&session, turn)), TAPE);
            self.runs.push_back(Run { turn, tape, outcome: None, readers: 0, left_at: 0 });
        }
        let mut teller = Teller::new(session, turn, at);
        let frames = teller.catch_up(&self.transcript, now);
        self.teller = Some(teller);
        self.put(turn, &frames);
    }

    fn put(&mut self, turn: TurnId, frames: &[Frame]) {
        if let Some(run) = self.run(turn) {
            frames.iter().for_each(|frame| run.tape.push(frame));
        }
    }

    fn tell(&mut self, event: &Event, now: Millis) {
        let Some(teller) = &mut self.teller else { return };
        let turn = teller.turn();
        let frames = teller.event(event, &self.transcript, now);
        self.put(turn, &frames);
    }

    fn finish(&mut self, turn: TurnId, outcome: &Outcome, at: Millis) {
        self.idle_since = Instant::now();
        if let Some(teller) = self.teller.take_if(|teller| teller.turn() == turn) {
            let frames = teller.end(outcome, &self.transcript, at);
            self.put(turn, &frames);
        }
        if let Some(run) = self.run(turn) {
            run.tape.end();
            run.outcome = Some(outcome.clone());
        }
        self.forget_runs();
    }

    /// The tapes of old turns go; they can be told again from what is stored.
    fn forget_runs(&mut self) {
        let ended = |runs: &VecDeque<Run>| -> (usize, usize) {
            let ended = runs.iter().filter(|run| run.tape.is_ended());
            ended.fold((0, 0), |(n, bytes), run| (n + 1, bytes + run.tape.bytes()))
        };
        while let (count @ 2.., bytes) = ended(&self.runs)
            && (count > ENDED_TURNS || bytes > ENDED)
        {
            self.runs.pop_front();
        }
    }

    /// Ends the tapes of turns that are told no further.
    fn break_off(&mut self) {
        let session = self.transcript.session.clone();
        for run in self.runs.iter_mut().filter(|run| !run.tape.is_ended()) {
            let frame = frame::interrupted(&session, run.tape.name(), run.tape.last(), 0);
            run.tape.push(&frame);
            run.tape.end();
            run.outcome = Some(Outcome::Interrupted);
        }
    }

    fn announce_turn(&mut self, feeds: &Feeds, turn: TurnId, source: Source, at: Millis) {
        let source = match source {
            Source::Wakeup => "process_wakeup",
            Source::User => "user",
        };
        let session = &self.transcript.session;
        let data = json!({
            "session_id": session,
            "stream_id": feeds.stream(session, turn),
            "pending_started_at": secs(at),
            "source": source,
        });
        self.channel.push(&Frame::new("server_turn_started", data));
    }

    /// Tells of a task of this session under both names, on the channel and in the running turn.
    fn announce_background(&mut self, toast: &Toast, now: Millis) -> bool {
        // News goes to every view of the host (E06).
        if toast.session != self.transcript.session {
            return false;
        }
        let Some(data) = frame::background(toast, &self.transcript, now) else { return false };
        let running = self.transcript.running.as_ref().map(|running| running.turn);
        for name in ["bg_task_complete", "process_complete"] {
            let frame = Frame::new(name, data.clone());
            self.channel.push(&frame);
            if let Some(turn) = running {
                self.put(turn, std::slice::from_ref(&frame));
            }
        }
        true
    }

    /// Says on the channel that the messages are to be loaded anew.
    fn updated(&mut self, why: &str) {
        let data = self.update(None, why);
        self.channel.push(&Frame::new("session-updated", data));
    }

    /// The data of `session-updated`.
    pub(super) fn update(&self, known: Option<u64>, why: &str) -> serde_json::Value {
        json!({
            "session_id": self.transcript.session,
            "message_count": self.messages(),
            "known_count": known,
            "source": why,
        })
    }

    fn resolved(&mut self, kind: Kind, id: &QuestionId, answer: &Answer, by: Option<&str>) {
        let claimed = self.answering.remove(id);
        self.shown.retain(|shown| shown != id);
        self.answers.push_back((id.clone(), answer.clone()));
        if self.answers.len() > ANSWERS {
            self.answers.pop_front();
        }
        let by = by.or(claimed.as_deref());
        let frame = frame::resolved(&self.transcript.session, kind, id, answer, by);
        self.answered(kind).push(&frame);
    }

    /// The log of answered questions of a kind.
    pub(super) fn answered(&mut self, kind: Kind) -> &mut Tape {
        match kind {
            Kind::Approval => &mut self.approvals,
            Kind::Clarify => &mut self.clarifies,
        }
    }

    /// The clock of a head that a stream shows starts (C08).
    fn start_clocks(&mut self) {
        for kind in [Kind::Approval, Kind::Clarify] {
            if self.showing[slot(kind)] > 0 {
                self.start_clock(kind);
            }
        }
    }

    fn start_clock(&mut self, kind: Kind) {
        let head = frame::head(&self.transcript.questions, kind).0;
        if let (Some(head), Some(asker)) = (head, &self.asker)
            && head.deadline.is_none()
            && !self.shown.contains(&head.id)
        {
            asker.send(Command::Shown { id: head.id.clone() });
            self.shown.push(head.id.clone());
        }
    }
}

fn slot(kind: Kind) -> usize {
    match kind {
        Kind::Approval => 0,
        Kind::Clarify => 1,
    }
}

fn bump(changes: &watch::Sender<u64>) {
    changes.send_modify(|n| *n += 1);
}

#[cfg(test)]
mod tests;
