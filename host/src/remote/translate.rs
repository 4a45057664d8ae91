//! One view on a session of a hermes-webui as a state machine: what the server says goes in, events
//! of the seam and requests to the server come out. Pure: no I/O, no clock.
//!
//! The server keeps the truth as a list of messages, tells a running turn as a stream of its own, and
//! tells the transcript once more when the turn is done. So the rows of a running turn are made up
//! from the stream and replaced by the stored ones at its end. A stream that is opened again is
//! replayed from its start, over the rows as they were before that turn.

mod live;
mod questions;
mod queue;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use crate::wire::decode;
use protocol::{
    Body, CallId, Event, Goal, GoalState, Millis, Outcome, PromptId, Row, Running, SessionId,
    Source, Toast, Transcript, TurnId, Usage,
};

pub(super) use questions::{AnswerResult, QuestionKind, answer_result, approval_ask, clarify_ask};
pub(super) use queue::{Accepted, StartRefusal};
pub(super) use rows::{latest, list, search_hits, woken_by};

/// What the server is to be asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// The tail of the session: [`Mirror::loaded`].
    Load,
    /// This stream from its start: [`Mirror::chat`]. It replaces the one that is open.
    OpenChat(String),
    /// No chat stream is needed any more.
    CloseChat,
    /// The session goes on under another id: its streams are to be opened again.
    Follow {
        /// The one it had.
        from: SessionId,
        /// The one it has.
        to: SessionId,
    },
    /// Run a turn: [`Mirror::accepted`] or [`Mirror::refused`].
    Start {
        /// Whose; `None` = the server's own goal goes on.
        prompt: Option<PromptId>,
        /// What to say.
        text: String,
    },
    /// The heads of the queues of questions: [`Mirror::approval`], [`Mirror::clarify`].
    Questions,
    /// The goal: [`Mirror::goal`].
    Goal,
}

/// What came of an input.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// For the front end, in order.
    pub events: Vec<Event>,
    /// For the server, in order.
    pub requests: Vec<Request>,
}

/// The turn whose stream is open.
#[derive(Debug)]
struct Chat {
    stream: String,
    turn: TurnId,
    /// The number of the last frame that was taken.
    seq: u64,
    /// The connection is a new one: what was taken may come once more.
    again: bool,
    /// Deltas so far.
    deltas: u64,
    /// The turn has ended; its stream has not (E10).
    done: bool,
    /// It ended as it should (S08).
    well: bool,
}

/// A session in view.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    view: Transcript,
    attached: bool,
    chat: Option<Chat>,
    /// The next window was not brought about by its events: say so.
    resync: bool,
    /// A load was asked for and has not come.
    loading: bool,
    /// Messages the server has, by its own count.
    count: u64,
    /// The count of a status poll that a load was made for.
    counted: Option<u64>,
    heads: questions::Heads,
    queue: queue::Queue,
    /// Background events that were told (E11). Kept as long as the view.
    told: HashSet<String>,
    /// Events nobody knows, logged once (E15).
    unknown: HashSet<String>,
    durations: HashMap<CallId, u64>,
    /// Rows of a turn whose server died: only its stream had them.
    salvage: Vec<Row>,
    /// The model's context length and the last usage, as told.
    metered: Option<decode::UsageNumbers>,
    out: Out,
}

impl Mirror {
    /// What came of the inputs so far.
    pub(in crate::remote) fn take_output(&mut self) -> Out {
        std::mem::take(&mut self.out)
    }

    /// The fold of all events.
    pub(in crate::remote) fn view(&self) -> &Transcript {
        &self.view
    }

    /// Whether a window was given to the front end yet.
    pub(in crate::remote) fn is_attached(&self) -> bool {
        self.attached
    }

    /// How many messages are known: what the session channel wants to hear.
    pub(in crate::remote) fn known_count(&self) -> u64 {
        self.count
    }

    /// The stream of the running turn.
    pub(in crate::remote) fn stream(&self) -> Option<&str> {
        self.chat.as_ref().filter(|chat| !chat.done).map(|chat| chat.stream.as_str())
    }

    /// Whether the turn has ended and the server has not done with it yet.
    pub(in crate::remote) fn is_settling(&self) -> bool {
        self.chat.as_ref().is_some_and(|chat| chat.done)
    }

    fn emit(&mut self, event: Event) {
        self.view.apply(&event);
        self.out.events.push(event);
    }

    fn request(&mut self, request: Request) {
        self.out.requests.push(request);
    }

    fn load(&mut self) {
        if !self.loading {
            self.loading = true;
            self.request(Request::Load);
        }
    }

    /// What happened since is not known: load, and show that.
    pub(in crate::remote) fn resync(&mut self) {
        self.resync = true;
        self.load();
    }

    /// What is shown is out of date.
    pub(in crate::remote) fn reload(&mut self) {
        self.load();
    }

    /// A load failed; the next reason makes another one.
    pub(in crate::remote) fn not_loaded(&mut self) {
        self.loading = false;
    }

    /// The window again, for a front end whose queue ran over.
    pub(in crate::remote) fn window(&self) -> Event {
        Event::Attached { transcript: Box::new(self.view.clone()), resynced: true }
    }

    /// The server is another process than before: what lived only in the old one is gone (E13).
    pub(in crate::remote) fn restarted(&mut self, now: Millis) {
        self.keep_salvage();
        self.drop_questions(now);
        if self.view.yolo {
            self.emit(Event::YoloChanged { yolo: false });
        }
        if self.view.steer.is_some() {
            self.emit(Event::Steered { text: None });
        }
        self.resync();
    }

    /// The tail of the session.
    pub(in crate::remote) fn loaded(&mut self, session: &decode::Session, now: Millis) {
        self.loading = false;
        let id = SessionId(session.session_id.clone());
        let live = session.active_stream_id.as_deref().filter(|_| session.is_streaming);
        let same = self.attached && id == self.view.session;
        self.count = session.message_count;
        if let (Some(stream), true, false) = (live, same, self.resync)
            && self.chat.as_ref().is_some_and(|chat| chat.stream == stream)
        {
            // Its stream tells the rest, and newer than this.
            return self.described(session);
        }
        let mut rows = rows::rows(session, &self.durations);
        let running = live.map(|_| begun(session, &mut rows, now));
        if live.is_none() {
            self.salvaged(&mut rows);
        }
        self.chat = live.zip(running.as_ref()).map(|(stream, running)| Chat {
            stream: stream.to_owned(),
            turn: running.turn,
            seq: 0,
            again: false,
            deltas: 0,
            done: false,
            well: false,
        });
        let fits = running.is_none() && self.view.running.is_none();
        if same && fits && !self.resync && self.meets(&rows) {
            self.sync(&rows);
            self.described(session);
        } else {
            self.attach(session, rows, running);
        }
        let request =
            live.map_or(Request::CloseChat, |stream| Request::OpenChat(stream.to_owned()));
        self.request(request);
        self.queue_after_load(session);
        if live.is_none() && self.queue.again.is_none_or(|at| at <= now) {
            self.flush();
        }
    }

    fn attach(&mut self, session: &decode::Session, rows: Vec<Row>, running: Option<Running>) {
        let id = SessionId(session.session_id.clone());
        let mut old = std::mem::take(&mut self.view);
        if self.attached && old.session != id && !self.queue.is_moving() {
            // Another session: what was asked and queued stays with the old one.
            old = Transcript::default();
        }
        let transcript = Transcript {
            session: id,
            title: Some(session.title.clone()).filter(|title| is_title(title)),
            model: session.model.clone(),
            cwd: session.workspace.clone(),
            earlier: rows.first().map_or(session.messages_offset, |row| row.n - 1),
            rows,
            running,
            parent: session.parent_session_id.clone().map(SessionId),
            gauge: rows::gauge(session.last_prompt_tokens, session.context_length),
            held: paused(session),
            steer: None,
            processes: Vec::new(),
            ..old
        };
        let resynced = std::mem::take(&mut self.resync) && self.attached;
        self.attached = true;
        self.emit(Event::Attached { transcript: Box::new(transcript), resynced });
    }

    /// Title, model and so on, where they changed.
    fn described(&mut self, session: &decode::Session) {
        self.entitle(&session.title);
        if !session.model.is_empty() && session.model != self.view.model {
            let context = session.context_length.filter(|n| *n > 0).or(self.view.gauge.length);
            self.emit(Event::ModelChanged { model: session.model.clone(), context });
        }
        if !session.workspace.is_empty() && session.workspace != self.view.cwd {
            self.emit(Event::CwdChanged { cwd: session.workspace.clone() });
        }
        // A turn that was over before anybody looked has told its numbers to nobody.
        let gauge = rows::gauge(session.last_prompt_tokens, session.context_length);
        if let Some(prompt) = gauge.used.filter(|_| gauge != self.view.gauge) {
            let usage = Usage { prompt, ..Usage::default() };
            self.emit(Event::UsageReported { usage, context: gauge.length });
        }
        let held = paused(session);
        if held != self.view.held {
            self.emit(Event::Held { reason: held });
        }
    }

    fn entitle(&mut self, title: &str) {
        if is_title(title) && self.view.title.as_deref() != Some(title) {
            self.emit(Event::TitleChanged { title: title.to_owned() });
        }
    }

    /// Whether these rows go on where the window ends, or lie in it.
    fn meets(&self, rows: &[Row]) -> bool {
        match (self.view.rows.first(), self.view.rows.last(), rows.first()) {
            (Some(first), Some(last), Some(new)) => new.n >= first.n && new.n <= last.n + 1,
            (None, _, _) => self.view.earlier == 0 && rows.first().is_none_or(|row| row.n == 1),
            (Some(first), _, None) => first.n == 1,
            (Some(_), None, _) => false,
        }
    }

    /// Makes the window say what these rows say: they are the server's own.
    fn sync(&mut self, rows: &[Row]) {
        let from = rows.first().map_or(1, |row| row.n);
        let mut known = self.view.rows.iter().filter(|row| row.n >= from);
        let same = rows.iter().take_while(|row| known.next() == Some(*row)).count();
        let kept = if same == 0 { from - 1 } else { rows[same - 1].n };
        self.tell(kept, &rows[same..]);
    }

    /// Tells these rows in place of those after `kept`.
    fn tell(&mut self, kept: u64, rows: &[Row]) {
        let (last, gauge) = (self.last(), self.view.gauge);
        if last > kept {
            self.emit(Event::RowsRemoved { after: kept });
        }
        for row in rows {
            self.emit(Event::RowAdded { row: row.clone() });
        }
        // Rows that took the place of as many were not taken back: what was counted counts still.
        if let (Some(prompt), None, true) = (gauge.used, self.view.gauge.used, self.last() >= last)
        {
            let metered = self.metered.unwrap_or_default();
            let usage = Usage {
                prompt,
                completion: metered.output_tokens,
                cached: metered.cache_read_tokens,
                ..Usage::default()
            };
            self.emit(Event::UsageReported { usage, context: gauge.length });
        }
    }

    /// The number of the last row.
    pub(in crate::remote) fn last(&self) -> u64 {
        self.view.rows.last().map_or(self.view.earlier, |row| row.n)
    }

    /// What only the stream of a dead server had: kept while the server has nothing in its place.
    fn salvaged(&mut self, rows: &mut Vec<Row>) {
        let lost = match (rows.last(), self.salvage.first()) {
            (Some(last), Some(first)) => last.n + 1 == first.n && is_prompt(&last.body),
            _ => false,
        };
        if lost {
            // However often it is loaded: the death of a server is noticed in more than one way.
            rows.extend(self.salvage.iter().cloned());
        } else {
            self.salvage.clear();
        }
    }

    /// The status poll. `deaf`: the chat stream is not connected.
    pub(in crate::remote) fn status(&mut self, status: &decode::Status, deaf: bool) {
        self.entitle(&status.title);
        if !status.workspace.is_empty() && status.workspace != self.view.cwd {
            self.emit(Event::CwdChanged { cwd: status.workspace.clone() });
        }
        if !status.model.is_empty() && status.model != self.view.model {
            let context = self.view.gauge.length;
            self.emit(Event::ModelChanged { model: status.model.clone(), context });
        }
        let known = self.chat.as_ref().map(|chat| chat.stream.as_str());
        match (&status.active_stream_id, known) {
            (Some(stream), known) if known != Some(stream.as_str()) => self.load(),
            (None, Some(_)) if deaf => {
                self.keep_salvage();
                self.load();
            }
            // Some servers count otherwise here: one load a count.
            (None, None)
                if status.message_count != self.count
                    && self.counted != Some(status.message_count) =>
            {
                self.counted = Some(status.message_count);
                self.load();
            }
            _ => {}
        }
    }

    /// Older messages.
    pub(in crate::remote) fn paged(&mut self, session: &decode::Session) {
        let first = self.view.rows.first().map_or(u64::MAX, |row| row.n);
        let mut rows = rows::rows(session, &self.durations);
        rows.retain(|row| row.n < first);
        let earlier = rows.first().map_or(session.messages_offset, |row| row.n - 1);
        self.emit(Event::Paged { rows, earlier });
    }

    /// A frame of the session channel.
    pub(in crate::remote) fn channel(&mut self, name: &str, data: serde_json::Value) {
        match name {
            "server_turn_started" => {
                let started: decode::TurnStarted = decode::read(data);
                let known = self.chat.as_ref().is_some_and(|chat| chat.stream == started.stream_id);
                if self.concerns(&started.session_id) && !started.stream_id.is_empty() && !known {
                    self.load();
                }
            }
            "session-updated" => {
                let updated: decode::SessionUpdated = decode::read(data);
                if self.concerns(&updated.session_id) && updated.message_count != self.count {
                    self.load();
                }
            }
            "bg_task_complete" | "process_complete" => self.background(data),
            "initial" => {}
            other => self.ignored(other),
        }
    }

    /// Whether something is about the session in view (E06).
    fn concerns(&self, session: &str) -> bool {
        session.is_empty() || session == self.view.session.0
    }

    /// Something ended or matched in the background. Told on two channels, under two names (E11).
    fn background(&mut self, data: serde_json::Value) {
        let event: decode::Background = decode::read(data);
        if !self.concerns(&event.session_id) || event.event_id.is_empty() {
            return;
        }
        if !self.told.insert(format!("{}:{}", event.session_id, event.event_id)) {
            return;
        }
        let (news, text) = decode::news(&event.summary, event.completed_at);
        self.emit(Event::Toast(Toast {
            session: self.view.session.clone(),
            name: self.view.title.clone().unwrap_or_default(),
            process: Some(protocol::ProcessId(event.task_id)),
            news,
            text,
        }));
    }

    /// The goal as the server has it.
    pub(in crate::remote) fn goal(&mut self, goal: Option<decode::Goal>) {
        let goal = goal.filter(|goal| !goal.goal.is_empty()).map(|goal| Goal {
            text: goal.goal,
            state: match goal.status.as_str() {
                "paused" => GoalState::Paused(goal.paused_reason.unwrap_or_default()),
                "done" | "completed" | "achieved" => GoalState::Done,
                _ => GoalState::Active,
            },
            turns: goal.turns_used,
            max_turns: goal.max_turns,
            verdict: goal.last_reason,
        });
        if goal != self.view.goal {
            self.emit(Event::GoalChanged { goal });
        }
    }

    /// The user interrupts the turn: its stream.
    pub(in crate::remote) fn begin_cancel(&mut self) -> Option<String> {
        let stream = self.stream()?.to_owned();
        let turn = self.chat.as_ref()?.turn;
        self.emit(Event::TurnCancelling { turn });
        Some(stream)
    }

    /// A remark for the running turn; false = none runs.
    pub(in crate::remote) fn steer(&mut self, text: &str) -> bool {
        let runs = self.stream().is_some();
        if runs {
            self.emit(Event::Steered { text: Some(text.to_owned()) });
        }
        runs
    }

    /// Something else that was found out, or done, by a request.
    pub(in crate::remote) fn apply(&mut self, event: Event) {
        self.emit(event);
    }

    fn ignored(&mut self, name: &str) {
        if self.unknown.insert(name.to_owned()) {
            tracing::info!(name, "an event of the server is not known and ignored");
        }
    }

    fn ended(&mut self, outcome: Outcome, at: Millis) {
        if self.view.steer.is_some() {
            self.emit(Event::Steered { text: None });
        }
        if outcome == Outcome::Done {
            // A turn that ended well had its answers: what is open here was answered elsewhere.
            self.drop_questions(at);
        }
        if let Some(running) = &self.view.running {
            let turn = running.turn;
            self.emit(Event::TurnEnded { turn, outcome, at });
        }
        self.drop_questions(at);
    }
}

/// Why wakeups of a session do not run.
fn paused(session: &decode::Session) -> Option<String> {
    if session.process_wakeup_pause.is_empty() {
        return None;
    }
    Some("wakeups are paused by the server: the provider has no credentials".to_owned())
}

/// A server has a word for none.
fn is_title(title: &str) -> bool {
    !title.is_empty() && title != "Untitled"
}

fn is_prompt(body: &Body) -> bool {
    match body {
        Body::User { .. } | Body::Wakeup(_) => true,
        Body::Summary(_)
        | Body::Note { .. }
        | Body::Assistant(_)
        | Body::Tool(_)
        | Body::Failure { .. } => false,
    }
}

/// Cuts the rows to where the running turn began: its stream is replayed over that.
fn begun(session: &decode::Session, rows: &mut Vec<Row>, now: Millis) -> Running {
    // Some writers store whole seconds.
    let since = session.pending_started_at / 1000 * 1000;
    let prompt = rows.iter().rposition(|row| is_prompt(&row.body) && row.at >= since);
    match (prompt, &session.pending_user_message) {
        (Some(at), _) => rows.truncate(at + 1),
        (None, Some(text)) => {
            let asked = decode::Message {
                role: "user".to_owned(),
                content: text.clone(),
                timestamp: session.pending_started_at,
                source: session.pending_user_source.clone().unwrap_or_default(),
                ..decode::Message::default()
            };
            let one = decode::Session {
                messages: vec![asked],
                messages_offset: rows.last().map_or(session.messages_offset, |row| row.n),
                ..decode::Session::default()
            };
            let turn = TurnId(rows.last().map_or(0, |row| row.turn.0) + 1);
            let asked = rows::rows(&one, &HashMap::new());
            rows.extend(asked.into_iter().map(|row| Row { turn, ..row }));
        }
        (None, None) => {
            let last = rows.iter().rposition(|row| is_prompt(&row.body));
            rows.truncate(last.map_or(0, |at| at + 1));
        }
    }
    let asked = rows.last();
    let woken = asked.is_some_and(|row| matches!(row.body, Body::Wakeup(_)));
    let source = if woken { Source::Wakeup } else { Source::User };
    let started_at = if session.pending_started_at > 0 { session.pending_started_at } else { now };
    Running {
        turn: asked.map_or(TurnId(1), |row| row.turn),
        source,
        started_at,
        n: 0,
        reasoning: String::new(),
        text: String::new(),
        calls: Vec::new(),
        status: None,
        cancelling: false,
    }
}
