//! Prompts and turns: what starts when, and what a running turn's words do to the session.

use std::fmt::Write as _;

use std::collections::BTreeSet;

use super::resume::{self, ALONE, NEVER};
use super::{
    Ack, Aim, Attendance, Effect, Finished, Out, Reply, Seen, Session, Shell, Stored, Turn,
    TurnEvent, TurnKind, TurnPlan,
};
use crate::store::{Entry, Record, Stage};
use crate::wakeup;
use protocol::{
    Assistant, Body, CallId, Delivery, Event, Gauge, Killer, Millis, Outcome, Part, Process,
    PromptId, Queued, Row, Source, Stop, Storage, ToolResult, TurnId, Usage,
};

/// Prompt ids remembered to recognise a prompt that is sent again.
const KNOWN_PROMPTS: usize = 64;
/// What the next turn reads after a prompt that was interrupted before anything was said to it.
const INTERRUPTED: &str = "[The user interrupted this before it was answered. Do not act on it \
                           unless asked again.]";
/// The class of a failure of our own store.
pub(crate) const STORE: &str = "store";
/// Rows kept in the host's window of a session; older ones are paged in by front ends.
const WINDOW: usize = 400;
/// Characters of the first prompt that a session list shows.
pub(super) const PREVIEW: usize = 80;

/// What a turn begins with.
enum Lead {
    Prompt(Queued),
    /// What has happened in the background.
    Events,
    /// The goal goes on, in these words.
    Goal(String),
}

impl Session {
    pub(super) fn prompt(
        &mut self,
        id: PromptId,
        text: String,
        attendance: Attendance,
        now: Millis,
        out: &mut Out,
    ) {
        if self.knows_prompt(&id) {
            return;
        }
        self.remember_prompt(&id);
        if self.stored == Stored::NotYet || self.next_row == 1 {
            self.stored = Stored::Yes;
            self.meta.preview = text.chars().take(PREVIEW).collect();
            self.touch(now, out);
        }
        let text = self.with_attachments(text, out);
        let prompt = Queued { id, text };
        // Written down also when it starts at once: `start_next` takes it from the same queue,
        // in the same commit.
        if self.turn.is_some() || self.stopping {
            self.enqueue(prompt.clone(), out);
        }
        self.prompts.push_back((prompt, attendance));
    }

    pub(super) fn knows_prompt(&self, id: &PromptId) -> bool {
        self.meta.prompts.contains(id)
    }

    /// Written down with the row of the prompt; until there is one, its place in the queue is
    /// what is stored of it.
    pub(super) fn remember_prompt(&mut self, id: &PromptId) {
        let known = &mut self.meta.prompts;
        known.push_back(id.clone());
        if known.len() > KNOWN_PROMPTS {
            known.pop_front();
        }
    }

    fn enqueue(&mut self, prompt: Queued, out: &mut Out) {
        out.record(Record::Queued { session: self.id(), prompt: prompt.clone() });
        self.publish(Event::PromptQueued { prompt }, out);
    }

    pub(super) fn unqueue(&mut self, id: &PromptId, out: &mut Out) {
        if self.prompts.iter().any(|(p, _)| p.id == *id) {
            self.prompts.retain(|(p, _)| p.id != *id);
            self.leave_queue(id, out);
        }
    }

    pub(super) fn leave_queue(&mut self, id: &PromptId, out: &mut Out) {
        if self.view.queued.iter().any(|q| q.id == *id) {
            out.record(Record::Unqueued { session: self.id(), prompt: id.clone() });
            self.publish(Event::PromptUnqueued { id: id.clone() }, out);
        }
    }

    /// A remark waits for the next tool result. It is stored as the prompt that it becomes if no
    /// result takes it along, so that a killed host does not lose it.
    pub(super) fn steer(&mut self, text: String, now: Millis, out: &mut Out) {
        let Some(turn) = &self.turn else {
            let about = "steer".to_owned();
            let message = "no turn is running; send it as a prompt".to_owned();
            self.publish(Event::Failed(protocol::Failure { about, message }), out);
            return;
        };
        if turn.cancelled {
            return self.note_remark(&text, out);
        }
        let text = match self.view.steer.take() {
            Some(earlier) => format!("{earlier}\n{text}"),
            None => text,
        };
        let id = steer_prompt_id(turn.id, now);
        let id = self.remark.get_or_insert(id).clone();
        let prompt = Queued { id, text: text.clone() };
        out.record(Record::Queued { session: self.id(), prompt });
        self.publish(Event::Steered { text: Some(text) }, out);
    }

    /// The remark that waits, which is something else from now on.
    fn take_remark(&mut self, out: &mut Out) -> Option<Queued> {
        let (text, id) = (self.view.steer.take()?, self.remark.take()?);
        out.record(Record::Unqueued { session: self.id(), prompt: id.clone() });
        self.publish(Event::Steered { text: None }, out);
        Some(Queued { id, text })
    }

    /// A remark to an interrupted turn starts no other one; the next one reads it.
    fn note_remark(&mut self, remark: &str, out: &mut Out) {
        self.meta.notes.push(format!("[The user said, before interrupting: {remark}]"));
        out.record(Record::Session(self.meta.clone()));
    }

    pub(super) fn cancel(&mut self, now: Millis, out: &mut Out) {
        let Some(turn) = &mut self.turn else { return };
        if turn.cancelled {
            return;
        }
        turn.cancelled = true;
        let id = turn.id;
        let tasks = std::mem::take(&mut turn.tasks);
        self.reclaim_at = Some(now + self.rules.unwind);
        self.publish(Event::TurnCancelling { turn: id }, out);
        self.withdraw_questions(now, out);
        if let Some(remark) = self.take_remark(out) {
            self.note_remark(&remark.text, out);
        }
        for task in tasks {
            self.request_kill(&task, Killer::User, out);
        }
        // Also a host that dies before the turn has unwound must not go on with it.
        self.mark_resumed(id, NEVER, out);
        out.effects.push(Effect::Stop(id));
    }

    /// The one rule of what runs next: the oldest prompt, and with it all that waits; without a
    /// prompt, all that waits (W05, W06); without that, the goal (S08).
    pub(super) fn start_next(&mut self, now: Millis, out: &mut Out) {
        if self.turn.is_some() || self.stopping {
            return;
        }
        let (lead, attendance) = match self.prompts.pop_front() {
            Some((prompt, attendance)) => (Lead::Prompt(prompt), attendance),
            None if self.may_wake(now, out) => (Lead::Events, Attendance::Attended),
            None if self.is_driven() => match self.pursue(now, out) {
                Some(words) => (Lead::Goal(words), Attendance::Attended),
                None => return,
            },
            None => return,
        };
        let source = match lead {
            Lead::Prompt(_) => Source::User,
            Lead::Events | Lead::Goal(_) => Source::Wakeup,
        };
        if source == Source::User {
            self.end_hold(out);
        }
        let id = TurnId(self.turns.0 + 1);
        self.turns = id;
        self.settling = None;
        self.last_fingerprint.clone_from(&self.rules.fingerprint);
        out.record(Record::TurnStarted { session: self.id(), turn: id, source, at: now });
        self.publish(Event::TurnStarted { turn: id, source, at: now }, out);
        if attendance == Attendance::Stateless {
            self.mark_resumed(id, ALONE, out);
        }
        let before = self.next_row;
        let claimed = match lead {
            Lead::Prompt(_) | Lead::Events => self.claim(id, now, out),
            // What may start a turn has done so; what is held waits for the user (W22).
            Lead::Goal(_) => Vec::new(),
        };
        self.turn = Some(self.begun(id, claimed, now));
        for text in std::mem::take(&mut self.meta.notes) {
            self.add_row(id, now, Body::Note { text }, out);
        }
        match lead {
            Lead::Prompt(prompt) => {
                self.leave_queue(&prompt.id, out);
                self.add_row(id, now, Body::User { text: prompt.text }, out);
                self.meta.wakeups_in_a_row = 0;
            }
            Lead::Events => self.meta.wakeups_in_a_row += 1,
            // It has a bound of its own.
            Lead::Goal(text) => drop(self.add_row(id, now, Body::Note { text }, out)),
        }
        // A wakeup that is told already starts its turn without a new row. Where a partial answer
        // follows it, the model needs a word to answer to.
        let told = |r: &&Row| !matches!(r.body, Body::Failure { .. } | Body::Summary(_));
        if self.next_row == before
            && let Some(Row { body: Body::Assistant(_) | Body::Tool(_), .. }) =
                self.view.rows.iter().rev().find(told)
        {
            let text = "[Your answer to this was cut off. Answer it now.]".to_owned();
            self.add_row(id, now, Body::Note { text }, out);
        }
        self.touch(now, out);
        out.effects.push(Effect::Start(self.plan(id, source, attendance, TurnKind::Answer)));
    }

    /// Whether what waits may start a turn of its own now; too many in a row are held (W31).
    fn may_wake(&mut self, now: Millis, out: &mut Out) -> bool {
        if self.wakes_at().is_none_or(|at| at > now) {
            return false;
        }
        let most = self.rules.max_wakeups;
        if self.meta.wakeups_in_a_row < most {
            return true;
        }
        let reason =
            format!("{most} wakeups ran in a row without you; your next prompt or /wake goes on");
        self.hold(&reason, out);
        false
    }

    /// A turn that starts now in this host.
    pub(super) fn begun(&self, id: TurnId, claimed: Vec<Entry>, now: Millis) -> Turn {
        Turn {
            id,
            aim: if self.works_on_goal() { Aim::Goal } else { Aim::Answer },
            cancelled: false,
            claimed,
            awaited: BTreeSet::new(),
            tasks: BTreeSet::new(),
            ends: Vec::new(),
            asking: Vec::new(),
            answered: Vec::new(),
            moved: false,
            since: now,
            note_at: self.rules.notify_interval.map(|interval| now.saturating_add(interval)),
        }
    }

    pub(super) fn plan(
        &self,
        turn: TurnId,
        source: Source,
        attendance: Attendance,
        kind: TurnKind,
    ) -> TurnPlan {
        TurnPlan {
            turn,
            source,
            attendance: self.attendance(attendance),
            kind,
            used: self.view.gauge.used,
            model: self.meta.model.clone(),
            reasoning: self.meta.reasoning.clone(),
            toolsets: self.meta.toolsets.clone(),
            shell: Shell { cwd: self.meta.cwd.clone(), env: self.meta.env.clone() },
            todo: self.meta.todo.clone(),
        }
    }

    /// Moves all that waits into the turn, each with one row of its own. An event that already
    /// has its row (a restart, a failed attempt) gets no second one (W16, W29).
    fn claim(&mut self, turn: TurnId, now: Millis, out: &mut Out) -> Vec<Entry> {
        if self.view.storage != Storage::Ok {
            return Vec::new();
        }
        let mut entries = std::mem::take(&mut self.waiting);
        entries.sort_by_key(|e| e.at);
        let text = |e: &Entry| e.wakeup.clone().unwrap_or_else(|| self.retold(e));
        let mut fresh: Vec<_> = entries.iter().filter(|e| e.row.is_none()).map(text).collect();
        wakeup::fit(&mut fresh);
        let mut fresh = fresh.into_iter();
        for entry in &mut entries {
            entry.state = Stage::Claimed(turn);
            if entry.row.is_none()
                && let Some(wakeup) = fresh.next()
            {
                entry.row = Some(self.add_row(turn, now, Body::Wakeup(wakeup), out).n);
            }
            out.record(Record::Ledger(entry.clone()));
            self.set_delivery(entry, Delivery::Claimed(turn), out);
        }
        entries
    }

    pub(super) fn said(
        &mut self,
        turn: TurnId,
        ack: Ack,
        event: TurnEvent,
        now: Millis,
        out: &mut Out,
    ) {
        match event {
            // Facts about a process hold whether its turn still runs or not.
            TurnEvent::Running { process, pid } => return self.adopted(&process, Some(pid), out),
            TurnEvent::FailedStart { process, exit } => {
                return self.failed_start(turn, &process, exit, now, out);
            }
            // So does what a request has cost.
            TurnEvent::Used(usage) => {
                self.count(&usage, out);
                return self.touch(now, out);
            }
            _ => {}
        }
        if let (
            TurnEvent::Spawn(_) | TurnEvent::Delegate { .. } | TurnEvent::Ask { .. },
            Some(running),
        ) = (&event, &self.turn)
            && running.cancelled
        {
            return out.reply(ack, Reply::Refused("the turn was interrupted".to_owned()));
        }
        // A turn that is over has nothing to say: its late words never touch its successor.
        if self.turn.as_ref().is_none_or(|t| t.id != turn) {
            out.reply(ack, Reply::Refused("the turn is over".to_owned()));
            return;
        }
        match event {
            TurnEvent::Delta { part, text } => self.delta(turn, part, text, out),
            TurnEvent::Status(text) => self.publish(Event::TurnStatus { turn, text }, out),
            TurnEvent::Answered { answer, usage, context } => {
                self.answered(answer, usage, context, ack, now, out);
            }
            TurnEvent::CallStarted(call) => {
                self.publish(Event::CallStarted { call, at: now }, out);
                out.reply(ack, Reply::Go);
            }
            TurnEvent::CallOutput { call, text } => {
                self.publish(Event::CallOutput { call, text }, out);
            }
            TurnEvent::Result(finished) => self.result(finished, ack, now, out),
            TurnEvent::Awaiting(process) => {
                if let Some(turn) = &mut self.turn {
                    turn.awaited.insert(process);
                }
            }
            TurnEvent::Processes => {
                out.reply(ack, Reply::Processes(self.view.processes.clone()));
            }
            TurnEvent::Delegate { process, brief, waits } => {
                self.delegate(*process, brief, waits, ack, now, out);
            }
            TurnEvent::AwaitEnd(process) => self.await_end(&process, ack, out),
            TurnEvent::Compressed(summary) => self.compressed(summary, ack, now, out),
            TurnEvent::NotCompressed { message, failed } => {
                self.not_compressed(message, failed, now, out);
            }
            TurnEvent::Judged { goal, verdict } => self.judged(&goal, verdict, ack, out),
            TurnEvent::NotJudged(why) => self.not_judged(&why, out),
            TurnEvent::Ask { call, ask, timeout } => self.ask(call, ask, timeout, ack, now, out),
            TurnEvent::Spawn(process) => self.spawn(*process, ack, now, out),
            TurnEvent::Running { .. } | TurnEvent::FailedStart { .. } | TurnEvent::Used(_) => {}
            TurnEvent::Killing(process) => self.killing(&process, ack, out),
            TurnEvent::Ended { outcome, failure } => self.ended(outcome, failure, now, out),
        }
    }

    fn delta(&mut self, turn: TurnId, part: Part, text: String, out: &mut Out) {
        let n = self.view.running.as_ref().map_or(0, |r| r.n) + 1;
        out.record(Record::Delta { session: self.id(), turn, n, part, text: text.clone() });
        self.publish(Event::Delta { turn, n, part, text }, out);
    }

    fn answered(
        &mut self,
        answer: Assistant,
        usage: Option<Usage>,
        context: Option<u64>,
        ack: Ack,
        now: Millis,
        out: &mut Out,
    ) {
        let row = self.add_answer(answer, now, out);
        if let Some(usage) = usage {
            self.meta.gauge = Gauge { used: Some(usage.prompt), length: context };
            self.count(&usage, out);
            self.touch(now, out);
            self.publish(Event::UsageReported { usage, context }, out);
        }
        self.deliver(out);
        out.reply(ack, Reply::Row(row));
    }

    /// Makes a row of what was streamed; the journal of the block is folded into it.
    fn add_answer(&mut self, answer: Assistant, now: Millis, out: &mut Out) -> protocol::Row {
        let (turn, n) = self.view.running.as_ref().map_or((self.turns, 0), |r| (r.turn, r.n));
        let row = self.add_row(turn, now, Body::Assistant(answer), out);
        out.record(Record::Folded { session: self.id(), turn, n });
        row
    }

    /// The model has answered: what the turn carried is delivered.
    fn deliver(&mut self, out: &mut Out) {
        let Some(turn) = &mut self.turn else { return };
        let id = turn.id;
        let claimed = std::mem::take(&mut turn.claimed);
        if !claimed.is_empty() && self.meta.retry.take().is_some() {
            out.record(Record::Session(self.meta.clone()));
        }
        for mut entry in claimed {
            entry.state = Stage::Delivered(id);
            self.set_delivery(&entry, Delivery::Delivered, out);
            out.record(Record::Ledger(entry));
        }
    }

    fn result(&mut self, finished: Finished, ack: Ack, now: Millis, out: &mut Out) {
        let Finished { mut result, seen, shell, todo } = finished;
        if let Some(Queued { text, .. }) = self.take_remark(out) {
            let _ = write!(result.text, "\n\n[The user says, while this turn runs: {text}]");
        }
        for (process, how) in seen {
            match (how, &self.turn) {
                (Seen::AtTurnEnd, Some(_)) => {
                    self.meta.polled.insert(process);
                }
                (Seen::Now | Seen::AtTurnEnd, _) => self.consume(&process, out),
            }
        }
        // A call that is over waits for no answer, whatever it asked before a restart.
        self.withdraw(|q| q.call == result.call, now, out);
        self.forget_answers(Some(&result.call), out);
        let row = self.add_row(self.turns, now, Body::Tool(result), out);
        if let Some(todo) = todo {
            self.meta.todo = todo;
        }
        if let Some(shell) = shell {
            let stays = self.turn.as_ref().is_some_and(|turn| turn.moved);
            self.meta.env = shell.env;
            if !stays && self.meta.cwd != shell.cwd {
                self.meta.cwd.clone_from(&shell.cwd);
                self.publish(Event::CwdChanged { cwd: shell.cwd }, out);
            }
        }
        self.touch(now, out);
        out.reply(ack, Reply::Row(row));
    }

    pub(super) fn ended(
        &mut self,
        outcome: Outcome,
        failure: Option<String>,
        now: Millis,
        out: &mut Out,
    ) {
        self.withdraw_questions(now, out);
        self.keep_text(now, out);
        let why = match outcome {
            Outcome::Interrupted => resume::NOT_RUN_AGAIN,
            Outcome::Done | Outcome::Cancelled | Outcome::Failed { .. } | Outcome::Limit => {
                "interrupted by the user"
            }
        };
        self.end_calls(why, None, now, out);
        let Some(mut turn) = self.turn.take() else { return };
        self.reclaim_at = None;
        let outcome = if turn.cancelled { Outcome::Cancelled } else { outcome };
        for (_, ack) in std::mem::take(&mut turn.ends) {
            out.reply(ack, Reply::Refused("the turn is over".to_owned()));
        }
        // Their end was kept back for a call that never showed it.
        for process in std::mem::take(&mut turn.awaited) {
            let waits = |p: &&Process| p.id == process && p.delivery == Delivery::Waiting;
            if let Some(process) = self.view.processes.iter().find(waits) {
                self.announce(process, out);
            }
        }
        let silent = !self
            .view
            .rows
            .iter()
            .rev()
            .take_while(|r| r.turn == turn.id)
            .any(|r| matches!(r.body, Body::Assistant(_) | Body::Tool(_)));
        if outcome == Outcome::Cancelled && silent && !turn.aim.is_internal() {
            self.add_row(turn.id, now, Body::Note { text: INTERRUPTED.to_owned() }, out);
        }
        if let (Some(message), false) = (failure, turn.cancelled) {
            self.add_row(turn.id, now, Body::Failure { message }, out);
        }
        let unanswered = std::mem::take(&mut turn.claimed);
        let polled = std::mem::take(&mut self.meta.polled);
        if !polled.is_empty() {
            out.record(Record::Session(self.meta.clone()));
        }
        match &outcome {
            Outcome::Done | Outcome::Limit => {
                for process in polled {
                    self.consume(&process, out);
                }
                // A compression may have asked nobody (W20).
                if unanswered.is_empty() && !turn.aim.is_internal() {
                    self.end_pause(out);
                }
                self.put_off("no answer", unanswered, now, out);
            }
            // What a cancelled turn carried counts as delivered; what waits is held (W22).
            Outcome::Cancelled => {
                for mut entry in unanswered {
                    entry.state = Stage::Delivered(turn.id);
                    self.set_delivery(&entry, Delivery::Delivered, out);
                    out.record(Record::Ledger(entry));
                }
                if !self.waiting.is_empty() || self.view.processes.iter().any(Process::may_wake) {
                    let reason = "you interrupted the turn; your next prompt or /wake goes on";
                    self.hold(reason, out);
                }
            }
            // The claim itself could not be written down: it waits for the store.
            Outcome::Failed { class } if class == STORE && self.view.storage != Storage::Ok => {
                self.requeue(unanswered, &Stage::Finished, out);
            }
            // Never lost, never only logged (W29).
            Outcome::Failed { class } => self.put_off(class, unanswered, now, out),
            Outcome::Interrupted => self.requeue(unanswered, &Stage::Finished, out),
        }
        self.end_turn(turn.id, outcome.clone(), now, out);
        self.goal_after(&turn, &outcome, out);
        self.view.trim(WINDOW);
        self.queue_remark(out);
    }

    /// A remark that no tool result has taken along waits like a prompt that was typed, so that a
    /// stopping host does not lose it.
    pub(super) fn queue_remark(&mut self, out: &mut Out) {
        if let Some(prompt) = self.take_remark(out) {
            self.enqueue(prompt.clone(), out);
            self.prompts.push_front((prompt, Attendance::Attended));
        }
    }

    pub(super) fn end_turn(&mut self, turn: TurnId, outcome: Outcome, at: Millis, out: &mut Out) {
        let session = self.id();
        self.watch_from_now(turn, at, out);
        out.record(Record::TurnEnded { session, turn, outcome: outcome.clone(), at });
        self.publish(Event::TurnEnded { turn, outcome, at }, out);
    }

    /// Text that was streamed but never became a row is kept, marked partial (R07); whether there
    /// was any.
    pub(super) fn keep_text(&mut self, now: Millis, out: &mut Out) -> bool {
        let Some(running) = self.view.running.clone() else { return false };
        if running.text.is_empty() && running.reasoning.is_empty() {
            return false;
        }
        let answer = Assistant {
            text: running.text,
            reasoning: running.reasoning,
            stop: Stop::Partial,
            ..Assistant::default()
        };
        self.add_answer(answer, now, out);
        true
    }

    /// Calls without a result get one that says why, so that no call stays open in the context:
    /// all, or those before a call that is run again. Gives how many.
    pub(super) fn end_calls(
        &mut self,
        why: &str,
        before: Option<&CallId>,
        now: Millis,
        out: &mut Out,
    ) -> usize {
        let Some(running) = self.view.running.clone() else { return 0 };
        let ended = running.calls.into_iter().take_while(|live| Some(&live.call.id) != before);
        let mut count = 0;
        for live in ended {
            self.forget_answers(Some(&live.call.id), out);
            let result = ToolResult {
                call: live.call.id,
                text: unfinished(&live.call.name, &live.output, why),
                name: live.call.name,
                failed: true,
                millis: live.started_at.map_or(0, |at| (now - at).max(0) as u64),
                unanswered: false,
            };
            self.add_row(running.turn, now, Body::Tool(result), out);
            count += 1;
        }
        count
    }
}

/// The result of a call that was cut off.
fn unfinished(tool: &str, output: &str, why: &str) -> String {
    let value = if tool == "terminal" {
        let output =
            if output.is_empty() { String::new() } else { format!("{}\n", output.trim_end()) };
        let output = crate::redact::plain(&output);
        let output = format!("{}[Command interrupted]", crate::redact::secrets(&output));
        serde_json::json!({ "output": output, "exit_code": 130, "error": why })
    } else if tool == "delegate_task" && why == super::resume::NOT_RUN_AGAIN {
        let tasks = "Tasks that it had begun go on; you are told when they end.";
        serde_json::json!({ "error": format!("{why}. {tasks}") })
    } else {
        serde_json::json!({ "error": why })
    };
    value.to_string()
}

/// The id of a prompt made from a steering remark that found no tool result to join.
fn steer_prompt_id(turn: TurnId, now: Millis) -> PromptId {
    PromptId(format!("steer-{turn}-{now}"))
}
