//! The state of a feed: the transcript of its session, the tapes of its turns, of its channel and
//! of its answered questions. Pure but for the command sender: it waits for nothing.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::stream_ids::SessionStreams;
use crate::serve::tape::Tape;
use crate::wire::encode::frame::{self, Frame, FrameEncoder, Kind};
use crate::wire::encode::seconds;
use crate::wire::encode::session::settled;
use protocol::{
    Answer, Command, CommandSender, Event, Millis, Outcome, Question, QuestionId, Source, Toast,
    Transcript, TurnId,
};

/// Rows kept of a session, as in the host's own window.
const WINDOW: usize = 400;
/// Bytes of a turn's tape (E04).
const TAPE_BYTES: usize = 64 * 1024 * 1024;
/// Most bytes of the tapes of ended turns that are kept, and most turns.
const ENDED_BYTES: usize = 16 * 1024 * 1024;
const ENDED_TURNS: usize = 8;
/// Bytes of the log of a session's channel.
const CHANNEL_BYTES: usize = 256 * 1024;
/// Bytes of the log of answered questions.
const ANSWERED_BYTES: usize = 256 * 1024;
/// Most answers remembered for the clients that wait for theirs.
const MAX_ANSWERS: usize = 256;

#[derive(Debug)]
pub(in crate::serve) struct State {
    pub(in crate::serve) transcript: Transcript,
    /// Oldest first; the last one may be of the running turn.
    pub(in crate::serve) runs: VecDeque<Run>,
    streams: SessionStreams,
    /// Whether the first window has come.
    open: bool,
    encoder: Option<FrameEncoder>,
    /// The log of the session's channel.
    pub(in crate::serve) channel: Tape,
    /// The logs of the answered questions.
    pub(in crate::serve) approvals: Tape,
    pub(in crate::serve) clarifies: Tape,
    answers: VecDeque<(QuestionId, Answer)>,
    /// Questions that a client answers over HTTP: its name, and its answer.
    claimed: HashMap<QuestionId, (String, Option<Answer>)>,
    /// Questions whose clock was started.
    clocked: Vec<QuestionId>,
    /// How many streams show approvals, and how many clarify questions.
    shown_by: [usize; 2],
    /// The command sender of the view, once it is open.
    pub(super) command_sender: Option<CommandSender>,
    /// The number of leases.
    pub(super) users: usize,
    /// When the last lease or turn ended.
    pub(super) idle_since: Instant,
}

/// The logs that an event has added to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) tapes: bool,
    pub(super) channel: bool,
    pub(super) questions: bool,
}

impl Changes {
    const TAPES: Self = Self { tapes: true, channel: false, questions: false };
    const CHANNEL: Self = Self { tapes: true, channel: true, questions: false };
    const QUESTIONS: Self = Self { tapes: true, channel: false, questions: true };
}

/// One turn and its tape.
#[derive(Debug)]
pub(in crate::serve) struct Run {
    pub(in crate::serve) turn: TurnId,
    pub(in crate::serve) tape: Tape,
    pub(in crate::serve) outcome: Option<Outcome>,
    readers: usize,
    /// The position of the last reader when it left.
    left_at: u64,
}

impl State {
    pub(super) fn new(streams: SessionStreams, now: Instant) -> Self {
        let token = uuid::Uuid::new_v4().simple().to_string();
        Self {
            transcript: Transcript::default(),
            runs: VecDeque::new(),
            streams,
            open: false,
            encoder: None,
            channel: Tape::new(Some(token), CHANNEL_BYTES),
            approvals: Tape::new(None, ANSWERED_BYTES),
            clarifies: Tape::new(None, ANSWERED_BYTES),
            answers: VecDeque::new(),
            claimed: HashMap::new(),
            clocked: Vec::new(),
            shown_by: [0; 2],
            command_sender: None,
            users: 0,
            idle_since: now,
        }
    }

    /// Folds an event of the session's view and encodes it. `None`: the view has switched to
    /// another session because this one is gone.
    pub(super) fn apply(&mut self, event: &Event, now: Millis) -> Option<Changes> {
        if let Event::Attached { transcript, .. } = event
            && self.open
            && transcript.session != self.transcript.session
        {
            return None;
        }
        // The transcript forgets a question that is resolved.
        let kind = match event {
            Event::QuestionResolved { id, .. } => {
                self.transcript.questions.iter().find(|q| q.id == *id).map(Kind::of)
            }
            _ => None,
        };
        self.transcript.apply(event);
        Some(match event {
            Event::Attached { .. } => {
                self.resync(now);
                Changes { tapes: true, channel: true, questions: true }
            }
            Event::TurnStarted { turn, source, at } => {
                self.start(*turn, *at, now);
                self.announce_turn(*turn, *source, *at);
                Changes::CHANNEL
            }
            Event::TurnEnded { turn, outcome, at } => {
                self.finish(*turn, outcome, *at);
                self.transcript.trim(WINDOW);
                Changes::TAPES
            }
            Event::QuestionAsked { .. } => {
                self.encode(event, now);
                self.start_clocks();
                Changes::QUESTIONS
            }
            Event::QuestionResolved { id, answer, by } => {
                self.encode(event, now);
                if let Some(kind) = kind {
                    self.resolve(kind, id, answer, by.as_deref());
                }
                self.start_clocks();
                Changes::QUESTIONS
            }
            Event::Toast(toast) => {
                Changes { channel: self.announce_background(toast, now), ..Changes::TAPES }
            }
            Event::TitleChanged { title } => {
                self.encode(event, now);
                self.channel.push(&frame::title(&self.transcript.session, title));
                Changes::CHANNEL
            }
            Event::RowsRemoved { .. } => {
                self.announce_update("rows_removed");
                Changes::CHANNEL
            }
            _ => {
                self.encode(event, now);
                Changes::TAPES
            }
        })
    }

    /// The view is gone: a running turn gets no more frames here.
    pub(super) fn end(&mut self) {
        self.encoder = None;
        self.interrupt_open();
    }

    /// Counts a stream that shows questions of this kind in, or out again.
    pub(super) fn set_shown(&mut self, kind: Kind, shown: bool) {
        let count = &mut self.shown_by[slot(kind)];
        *count = if shown { *count + 1 } else { count.saturating_sub(1) };
        self.start_clocks();
    }

    /// See [`super::Feed::claim`].
    pub(super) fn claim(
        &mut self,
        kind: Kind,
        id: Option<&str>,
        by: String,
    ) -> Result<Question, usize> {
        let of_kind = self.transcript.questions.iter().filter(|q| Kind::of(q) == kind);
        let mut pending = of_kind.clone().filter(|q| !self.claimed.contains_key(&q.id));
        let count = pending.clone().count();
        let question = match id {
            Some(id) => pending.find(|q| q.id.0 == id),
            // One that is being answered still counts: an answer sent twice is not meant for the
            // next question.
            None if of_kind.count() == 1 => pending.next(),
            None => None,
        };
        let question = question.cloned().ok_or(count)?;
        self.claimed.insert(question.id.clone(), (by, None));
        Ok(question)
    }

    /// A claimed question is given back: the answer does not fit it.
    pub(super) fn release(&mut self, id: &QuestionId) {
        self.claimed.remove(id);
    }

    /// Remembers the answer that a claim was for.
    pub(super) fn set_claimed_answer(&mut self, id: &QuestionId, answer: &Answer) {
        if let Some((_, claimed)) = self.claimed.get_mut(id) {
            *claimed = Some(answer.clone());
        }
    }

    /// The answer that a question got.
    pub(super) fn answer_to(&self, id: &QuestionId) -> Option<Answer> {
        self.answers.iter().rev().find(|(q, _)| q == id).map(|(_, answer)| answer.clone())
    }

    /// See [`super::Feed::join`].
    pub(super) fn join(&self, turn: TurnId) -> Option<u64> {
        let run = self.runs.iter().find(|run| run.turn == turn)?;
        if run.tape.is_ended() {
            return run.tape.start();
        }
        let left = run.left_at.max(run.tape.start().unwrap_or(0));
        Some(if run.readers == 0 { left } else { run.tape.last() })
    }

    pub(super) fn enter_tape(&mut self, turn: TurnId) {
        if let Some(run) = self.run(turn) {
            run.readers += 1;
        }
    }

    pub(super) fn leave_tape(&mut self, turn: TurnId, upto: u64) {
        if let Some(run) = self.run(turn) {
            run.readers = run.readers.saturating_sub(1);
            if run.readers == 0 {
                run.left_at = upto.min(run.tape.last());
            }
        }
    }

    /// Until when the feed is kept, if it has no lease and no turn runs.
    pub(super) fn idle_until(&self, linger: Duration) -> Option<Instant> {
        let idle = self.users == 0 && self.transcript.running.is_none();
        idle.then(|| self.idle_since + linger)
    }

    pub(in crate::serve) fn run(&mut self, turn: TurnId) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.turn == turn)
    }

    /// The number of messages that clients get.
    pub(in crate::serve) fn messages(&self) -> u64 {
        self.transcript.earlier + settled(&self.transcript).len() as u64
    }

    /// A fresh window. The running turn is encoded again from its beginning: its tape may lack the
    /// events that the window replaces.
    fn resync(&mut self, now: Millis) {
        let late = std::mem::replace(&mut self.open, true);
        self.encoder = None;
        let running = self.transcript.running.as_ref().map(|r| (r.turn, r.started_at));
        if self.runs.back().is_some_and(|run| Some(run.turn) != running.map(|(turn, _)| turn)) {
            self.interrupt_open();
        }
        match running {
            Some((turn, _)) if let Some(run) = self.run(turn) => run.tape.restart(),
            _ => {}
        }
        if let Some((turn, at)) = running {
            self.start(turn, at, now);
        }
        if late {
            self.announce_update("resync");
        }
        self.start_clocks();
    }

    /// Begins the tape of a turn, or continues it, with what the transcript holds of the turn.
    fn start(&mut self, turn: TurnId, at: Millis, now: Millis) {
        let session = self.transcript.session.clone();
        if self.run(turn).is_none() {
            let tape = Tape::new(Some(self.streams.id(turn)), TAPE_BYTES);
            self.runs.push_back(Run { turn, tape, outcome: None, readers: 0, left_at: 0 });
        }
        let mut encoder = FrameEncoder::new(session, turn, at);
        let frames = encoder.catch_up(&self.transcript, now);
        self.encoder = Some(encoder);
        self.put(turn, &frames);
    }

    fn put(&mut self, turn: TurnId, frames: &[Frame]) {
        if let Some(run) = self.run(turn) {
            for frame in frames {
                run.tape.push(frame);
            }
        }
    }

    fn encode(&mut self, event: &Event, now: Millis) {
        let Some(encoder) = &mut self.encoder else { return };
        let turn = encoder.turn();
        let frames = encoder.event(event, &self.transcript, now);
        self.put(turn, &frames);
    }

    fn finish(&mut self, turn: TurnId, outcome: &Outcome, at: Millis) {
        self.idle_since = Instant::now();
        if let Some(encoder) = self.encoder.take_if(|encoder| encoder.turn() == turn) {
            let frames = encoder.end(outcome, &self.transcript, at);
            self.put(turn, &frames);
        }
        if let Some(run) = self.run(turn) {
            run.tape.end();
            run.outcome = Some(outcome.clone());
        }
        self.forget_runs();
    }

    /// Drops the tapes of old turns; they can be encoded again from what is stored.
    fn forget_runs(&mut self) {
        let ended = |runs: &VecDeque<Run>| -> (usize, usize) {
            let ended = runs.iter().filter(|run| run.tape.is_ended());
            ended.fold((0, 0), |(n, bytes), run| (n + 1, bytes + run.tape.bytes()))
        };
        while let (count @ 2.., bytes) = ended(&self.runs)
            && (count > ENDED_TURNS || bytes > ENDED_BYTES)
        {
            self.runs.pop_front();
        }
    }

    /// Ends the tapes that have not ended, as interrupted.
    fn interrupt_open(&mut self) {
        let session = self.transcript.session.clone();
        for run in self.runs.iter_mut().filter(|run| !run.tape.is_ended()) {
            let frame = frame::interrupted(&session, run.tape.name(), run.tape.last(), 0);
            run.tape.push(&frame);
            run.tape.end();
            run.outcome = Some(Outcome::Interrupted);
        }
    }

    fn announce_turn(&mut self, turn: TurnId, source: Source, at: Millis) {
        let source = match source {
            Source::Wakeup => "process_wakeup",
            Source::User => "user",
        };
        let session = &self.transcript.session;
        let data = json!({
            "session_id": session,
            "stream_id": self.streams.id(turn),
            "pending_started_at": seconds(at),
            "source": source,
        });
        self.channel.push(&Frame::new("server_turn_started", data));
    }

    /// Announces the news of a task of this session under both names, on the channel and on the
    /// tape of the running turn.
    fn announce_background(&mut self, toast: &Toast, now: Millis) -> bool {
        // Toasts go to every view of the host (E06).
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

    /// Announces on the channel that the messages are to be reloaded.
    fn announce_update(&mut self, reason: &str) {
        let data = self.update(None, reason);
        self.channel.push(&Frame::new("session-updated", data));
    }

    /// The data of `session-updated`.
    pub(in crate::serve) fn update(&self, known: Option<u64>, reason: &str) -> Value {
        json!({
            "session_id": self.transcript.session,
            "message_count": self.messages(),
            "known_count": known,
            "source": reason,
        })
    }

    fn resolve(&mut self, kind: Kind, id: &QuestionId, answer: &Answer, by: Option<&str>) {
        let claimed = self.claimed.remove(id);
        self.clocked.retain(|clocked| clocked != id);
        self.answers.push_back((id.clone(), answer.clone()));
        if self.answers.len() > MAX_ANSWERS {
            self.answers.pop_front();
        }
        // An answer of a client here was sent by the view they all share: only here is it known
        // which client it was.
        let ours = claimed.filter(|(_, claimed)| claimed.as_ref() == Some(answer));
        let ours = ours.map(|(by, _)| by);
        let by = ours.as_deref().or(by);
        let frame = frame::resolved(&self.transcript.session, kind, id, answer, by);
        self.answered(kind).push(&frame);
    }

    /// The log of answered questions of a kind.
    pub(in crate::serve) fn answered(&mut self, kind: Kind) -> &mut Tape {
        match kind {
            Kind::Approval => &mut self.approvals,
            Kind::Clarify => &mut self.clarifies,
        }
    }

    /// Starts the clock of each head that a stream shows (C08).
    fn start_clocks(&mut self) {
        for kind in [Kind::Approval, Kind::Clarify] {
            if self.shown_by[slot(kind)] > 0 {
                self.start_clock(kind);
            }
        }
    }

    /// Starts the clock of the head of this kind, unless it runs.
    pub(super) fn start_clock(&mut self, kind: Kind) {
        let head = frame::head(&self.transcript.questions, kind).0;
        if let (Some(head), Some(command_sender)) = (head, &self.command_sender)
            && head.deadline.is_none()
            && !self.clocked.contains(&head.id)
        {
            command_sender.send(Command::Shown { session: None, id: head.id.clone() });
            self.clocked.push(head.id.clone());
        }
    }
}

fn slot(kind: Kind) -> usize {
    match kind {
        Kind::Approval => 0,
        Kind::Clarify => 1,
    }
}
