//! The window of a session: made of its stored messages when it is loaded, and brought in line with
//! them afterwards.

use std::collections::HashMap;

use super::{Chat, Mirror, Request, is_prompt, rows};
use crate::wire::decode;
use protocol::{Body, Event, Millis, Row, Running, SessionId, Source, Transcript, TurnId, Usage};

impl Mirror {
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
            // Its stream brings the rest, and is newer than this.
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

    pub(super) fn attach(
        &mut self,
        session: &decode::Session,
        rows: Vec<Row>,
        running: Option<Running>,
    ) {
        let id = SessionId(session.session_id.clone());
        let mut old = std::mem::take(&mut self.view);
        if self.attached && old.session != id && !self.queue.is_moving() {
            // Another session: questions and queue stay with the old one.
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
    pub(super) fn described(&mut self, session: &decode::Session) {
        self.entitle(&session.title);
        if !session.model.is_empty() && session.model != self.view.model {
            let context = session.context_length.filter(|n| *n > 0).or(self.view.gauge.length);
            self.emit(Event::ModelChanged { model: session.model.clone(), context });
        }
        if !session.workspace.is_empty() && session.workspace != self.view.cwd {
            self.emit(Event::CwdChanged { cwd: session.workspace.clone() });
        }
        // A turn that ended before this view was attached has sent its numbers to nobody.
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

    pub(super) fn entitle(&mut self, title: &str) {
        if is_title(title) && self.view.title.as_deref() != Some(title) {
            self.emit(Event::TitleChanged { title: title.to_owned() });
        }
    }

    /// Whether these rows go on where the window ends, or lie in it.
    pub(super) fn meets(&self, rows: &[Row]) -> bool {
        match (self.view.rows.first(), self.view.rows.last(), rows.first()) {
            (Some(first), Some(last), Some(new)) => new.n >= first.n && new.n <= last.n + 1,
            (None, _, _) => self.view.earlier == 0 && rows.first().is_none_or(|row| row.n == 1),
            (Some(first), _, None) => first.n == 1,
            (Some(_), None, _) => false,
        }
    }

    /// Brings the window in line with these rows: they are the server's own.
    pub(super) fn sync(&mut self, rows: &[Row]) {
        let from = rows.first().map_or(1, |row| row.n);
        let mut known = self.view.rows.iter().filter(|row| row.n >= from);
        let same = rows.iter().take_while(|row| known.next() == Some(*row)).count();
        let kept = if same == 0 { from - 1 } else { rows[same - 1].n };
        self.tell(kept, &rows[same..]);
    }

    /// Puts these rows in place of those after `kept`.
    pub(super) fn tell(&mut self, kept: u64, rows: &[Row]) {
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

    /// What only the stream of a dead server had: kept while the server has nothing in its place.
    pub(super) fn salvaged(&mut self, rows: &mut Vec<Row>) {
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

    /// Older messages.
    pub(in crate::remote) fn paged(&mut self, session: &decode::Session) {
        let first = self.view.rows.first().map_or(u64::MAX, |row| row.n);
        let mut rows = rows::rows(session, &self.durations);
        rows.retain(|row| row.n < first);
        let earlier = rows.first().map_or(session.messages_offset, |row| row.n - 1);
        self.emit(Event::Paged { rows, earlier });
    }
}

/// Why wakeups of a session do not run.
fn paused(session: &decode::Session) -> Option<String> {
    if session.process_wakeup_pause.is_empty() {
        return None;
    }
    Some("wakeups are paused by the server: the provider has no credentials".to_owned())
}

/// Whether it is a real title: the server has a word for none.
fn is_title(title: &str) -> bool {
    !title.is_empty() && title != "Untitled"
}

/// Cuts the rows to where the running turn began, and returns that turn: its stream is replayed
/// over them.
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
