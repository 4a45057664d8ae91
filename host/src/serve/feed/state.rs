//! What a feed knows: the transcript of its session, the tapes of its turns and what its channel
//! and its questions have told. Pure: it reads no clock and waits for nothing.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::serve::tape::Tape;
use crate::wire::encode::frame::{self, Frame, FrameEncoder, Kind, secs};
use crate::wire::encode::session::{UNTITLED, settled};
use protocol::CommandSender;
use protocol::{
    Answer, Command, Event, Millis, Outcome, Question, QuestionId, Source, Toast, Transcript,
    TurnId,
};

/// Rows kept of a session, as in the host's own window.
const WINDOW: usize = 400;
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

#[derive(Debug)]
pub(in crate::serve) struct State {
    pub(in crate::serve) transcript: Transcript,
    /// Oldest first; the last one may be of the running turn.
    pub(in crate::serve) runs: VecDeque<Run>,
    streams: Streams,
    /// Whether the first window has come.
    open: bool,
    encoder: Option<FrameEncoder>,
    /// What the session's channel has told.
    pub(in crate::serve) channel: Tape,
    /// The questions that were answered.
    pub(in crate::serve) approvals: Tape,
    pub(in crate::serve) clarifies: Tape,
    answers: VecDeque<(QuestionId, Answer)>,
    /// Questions that a client answers over HTTP: what it calls itself, and what it has said.
    answering: HashMap<QuestionId, (String, Option<Answer>)>,
    /// Questions whose clock was asked to start.
    shown: Vec<QuestionId>,
    /// How many streams show approvals and clarify questions.
    showing: [usize; 2],
    /// The way to the host, once there is one.
    pub(super) command_sender: Option<CommandSender>,
    /// How many hold the feed.
    pub(super) users: usize,
    /// Since when nobody reads and nothing runs, if so.
    pub(super) idle_since: Instant,
}

/// Names the streams of a session's turns.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// 20 hex digits for the session.
    pub(super) session: String,
    /// Four that tell this run of the host from an earlier one.
    pub(super) nonce: String,
}

impl Streams {
    pub(super) fn of(&self, turn: TurnId) -> String {
        format!("{}{:08x}{}", self.session, turn.0, self.nonce)
    }
}

/// What there is more to read of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) tapes: bool,
    pub(super) channel: bool,
    pub(super) questions: bool,
}

/// One turn and its tape.
#[derive(Debug)]
pub(in crate::serve) struct Run {
    pub(in crate::serve) turn: TurnId,
    pub(in crate::serve) tape: Tape,
    pub(in crate::serve) outcome: Option<Outcome>,
    readers: usize,
    /// Up to where the last reader had read when it left.
    left_at: u64,
}

impl State {
    pub(super) fn new(streams: Streams, now: Instant) -> Self {
        let token = uuid::Uuid::new_v4().simple().to_string();
        Self {
            transcript: Transcript::default(),
            runs: VecDeque::new(),
            streams,
            open: false,
            encoder: None,
            channel: Tape::new(Some(token), CHANNEL),
            approvals: Tape::new(None, ANSWERED),
            clarifies: Tape::new(None, ANSWERED),
            answers: VecDeque::new(),
            answering: HashMap::new(),
            shown: Vec::new(),
            showing: [0; 2],
            command_sender: None,
            users: 0,
            idle_since: now,
        }
    }

    /// Folds an event of the session's view and tells it. `None`: the view has gone on to another
    /// session, this one is no more.
    pub(super) fn take(&mut self, event: &Event, now: Millis) -> Option<News> {
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
        let mut news = News { tapes: true, ..News::default() };
        match event {
            Event::Attached { .. } => {
                self.begin_anew(now);
                news = News { channel: true, questions: true, ..news };
            }
            Event::TurnStarted { turn, source, at } => {
                self.start(*turn, *at, now);
                self.announce_turn(*turn, *source, *at);
                news.channel = true;
            }
            Event::TurnEnded { turn, outcome, at } => {
                self.finish(*turn, outcome, *at);
                self.transcript.trim(WINDOW);
            }
            Event::QuestionAsked { .. } => {
                self.tell(event, now);
                self.start_clocks();
                news.questions = true;
            }
            Event::QuestionResolved { id, answer, by } => {
                self.tell(event, now);
                if let Some(kind) = kind {
                    self.resolved(kind, id, answer, by.as_deref());
                }
                self.start_clocks();
                news.questions = true;
            }
            Event::Toast(toast) => news.channel = self.announce_background(toast, now),
            Event::TitleChanged { title } => {
                self.tell(event, now);
                let title = if title.is_empty() { UNTITLED } else { title };
                let data = json!({ "session_id": self.transcript.session, "title": title });
                self.channel.push(&Frame::new("title", data));
                news.channel = true;
            }
            Event::RowsRemoved { .. } => {
                self.updated("rows_removed");
                news.channel = true;
            }
            _ => self.tell(event, now),
        }
        Some(news)
    }

    /// The view is gone: a turn that runs is told no further here.
    pub(super) fn end(&mut self) {
        self.encoder = None;
        self.break_off();
    }

    /// A stream shows questions of this kind from now on, or no longer.
    pub(super) fn show(&mut self, kind: Kind, more: bool) {
        let count = &mut self.showing[slot(kind)];
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        self.start_clocks();
    }

    /// See [`super::Feed::claim`].
    pub(super) fn claim(
        &mut self,
        kind: Kind,
        id: Option<&str>,
        by: String,
    ) -> Result<Question, usize> {
        let asked = self.transcript.questions.iter().filter(|q| Kind::of(q) == kind);
        let mut pending = asked.clone().filter(|q| !self.answering.contains_key(&q.id));
        let count = pending.clone().count();
        let found = match id {
            Some(id) => pending.find(|q| q.id.0 == id),
            // One that is being answered is there still: an answer sent twice is not the next
            // question's.
            None if asked.count() == 1 => pending.next(),
            None => None,
        };
        let question = found.cloned().ok_or(count)?;
        self.answering.insert(question.id.clone(), (by, None));
        Ok(question)
    }

    /// A claimed question is given back: the answer does not fit it.
    pub(super) fn release(&mut self, id: &QuestionId) {
        self.answering.remove(id);
    }

    /// A claimed question is being answered.
    pub(super) fn answering(&mut self, id: &QuestionId, answer: &Answer) {
        if let Some((_, said)) = self.answering.get_mut(id) {
            *said = Some(answer.clone());
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

    /// Until when it is kept, if nobody reads it and nothing runs.
    pub(super) fn idle_until(&self, linger: Duration) -> Option<Instant> {
        let idle = self.users == 0 && self.transcript.running.is_none();
        idle.then(|| self.idle_since + linger)
    }

    pub(in crate::serve) fn run(&mut self, turn: TurnId) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.turn == turn)
    }

    /// How many messages clients know of.
    pub(in crate::serve) fn messages(&self) -> u64 {
        self.transcript.earlier + settled(&self.transcript).len() as u64
    }

    /// A fresh window. What runs is told again from its beginning: what was told of it may lack
    /// what the window came instead of.
    fn begin_anew(&mut self, now: Millis) {
        let late = std::mem::replace(&mut self.open, true);
        self.encoder = None;
        let running = self.transcript.running.as_ref().map(|r| (r.turn, r.started_at));
        if self.runs.back().is_some_and(|run| Some(run.turn) != running.map(|(turn, _)| turn)) {
            self.break_off();
        }
        match running {
            Some((turn, _)) if let Some(run) = self.run(turn) => run.tape.restart(),
            _ => {}
        }
        if let Some((turn, at)) = running {
            self.start(turn, at, now);
        }
        if late {
            self.updated("resync");
        }
        self.start_clocks();
    }

    /// Begins the tape of a turn, or goes on with it, and tells what the transcript holds of it.
    fn start(&mut self, turn: TurnId, at: Millis, now: Millis) {
        let session = self.transcript.session.clone();
        if self.run(turn).is_none() {
            let tape = Tape::new(Some(self.streams.of(turn)), TAPE);
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

    fn tell(&mut self, event: &Event, now: Millis) {
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

    fn announce_turn(&mut self, turn: TurnId, source: Source, at: Millis) {
        let source = match source {
            Source::Wakeup => "process_wakeup",
            Source::User => "user",
        };
        let session = &self.transcript.session;
        let data = json!({
            "session_id": session,
            "stream_id": self.streams.of(turn),
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
    pub(in crate::serve) fn update(&self, known: Option<u64>, why: &str) -> Value {
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
        // Ours was sent by this view of all who read here: who it was is known here alone.
        let ours = claimed.filter(|(_, said)| said.as_ref() == Some(answer)).map(|(by, _)| by);
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

    /// The clock of a head that a stream shows starts (C08).
    fn start_clocks(&mut self) {
        for kind in [Kind::Approval, Kind::Clarify] {
            if self.showing[slot(kind)] > 0 {
                self.start_clock(kind);
            }
        }
    }

    pub(super) fn start_clock(&mut self, kind: Kind) {
        let head = frame::head(&self.transcript.questions, kind).0;
        if let (Some(head), Some(command_sender)) = (head, &self.command_sender)
            && head.deadline.is_none()
            && !self.shown.contains(&head.id)
        {
            command_sender.send(Command::Shown { session: None, id: head.id.clone() });
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
