//! One turn: model ↔ tools until the model is done. Owns no state that outlives it: everything it
//! learns it says to its session, and everything that must not get lost is written down before
//! it goes on. Dropping the future cancels the turn, its request and its commands.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::compress::{self, Keeper};
use crate::goal;
use crate::model::{self, Chunk, Class, Completion, Message, Model, Request};
use crate::session::{Caller, Errand, Plan, Reply, Say};
use crate::tool;
use protocol::{
    Assistant, Body, CallId, Outcome, Part, Row, SessionId, Stop, ToolCall, TurnId, open_calls,
};

/// What follows a prompt whose turn failed or was cut off before the model said anything.
const UNANSWERED: &str = "[This got no answer: the turn failed or was cut off.]";
/// The result of a call whose result is not there.
const MISSING: &str = "{\"error\":\"the result of this call is not there\"}";
/// Streamed text is merged to one delta per this time.
const MERGE: Duration = Duration::from_millis(30);

/// What a turn said, on its way to the loop.
#[derive(Debug)]
pub(crate) struct Spoken {
    pub(crate) session: SessionId,
    pub(crate) turn: TurnId,
    pub(crate) say: Say,
    /// Where the reply goes, if the turn waits for one.
    pub(crate) reply: Option<oneshot::Sender<Reply>>,
}

/// How a turn speaks to its session.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    pub(crate) session: SessionId,
    pub(crate) turn: TurnId,
    pub(crate) spoken: mpsc::UnboundedSender<Spoken>,
}

impl Voice {
    /// Says something without waiting.
    pub(crate) fn say(&self, say: Say) {
        self.send(say, None);
    }

    /// Says something and waits until it is written down or answered.
    pub(crate) async fn ask(&self, say: Say) -> Reply {
        let (tx, rx) = oneshot::channel();
        self.send(say, Some(tx));
        // The loop is gone only when the host stops, and then this future is dropped too.
        rx.await.unwrap_or_else(|_| Reply::Refused("the host is stopping".to_owned()))
    }

    fn send(&self, say: Say, reply: Option<oneshot::Sender<Reply>>) {
        let spoken = Spoken { session: self.session.clone(), turn: self.turn, say, reply };
        self.spoken.send(spoken).ok();
    }
}

/// Everything a turn runs with.
pub(crate) struct Job {
    pub(crate) plan: Plan,
    pub(crate) voice: Voice,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) system: String,
    /// The conversation so far, ending with what this turn is about.
    pub(crate) rows: Vec<Arc<Row>>,
    pub(crate) kit: Arc<tool::Kit>,
    /// Held by the turn and its foreground commands while they live.
    pub(crate) alive: mpsc::Sender<()>,
    pub(crate) max_requests: u32,
    pub(crate) compression: compress::Limits,
}

/// Runs a turn to its end and says how it ended.
pub(crate) async fn run(job: Job) {
    let voice = job.voice.clone();
    let (outcome, failure) = go(job).await;
    voice.say(Say::Ended { outcome, failure });
}

type End = (Outcome, Option<String>);

fn failed(class: &str, message: String) -> End {
    (Outcome::Failed { class: class.to_owned() }, Some(message))
}

async fn go(job: Job) -> End {
    let Job { plan, voice, model, system, mut rows, kit, alive, max_requests, compression } = job;
    let limit = match plan.caller {
        Caller::Attended | Caller::Stateless => "agent.max_turns",
        Caller::Delegated => "delegation.max_iterations",
    };
    let frame = Request {
        system,
        tools: tool::schemas(plan.caller, plan.toolsets.as_deref()),
        reasoning: plan.reasoning.clone(),
        ..Request::default()
    };
    let mut keeper = Keeper::new(model.clone(), voice.clone(), compression, &frame, plan.used);
    if let Errand::Compress { focus } = &plan.errand {
        return (keeper.asked(&mut rows, focus.as_deref()).await, None);
    }
    if let Errand::Judge { goal, turns } = &plan.errand {
        let told = compress::context(&rows);
        return (goal::judge(model.as_ref(), &voice, &told, goal, *turns).await, None);
    }
    let resumes = plan.errand == Errand::Resume;
    if resumes {
        // What a killed host left running is dead before the model reads that it was cut off (R06).
        kit.processes.end_leftovers(&voice.session).await;
    }
    let mut bench = tool::Bench::new(plan, voice.clone(), kit, alive);
    if resumes {
        let calls = open_calls(rows.iter().map(AsRef::as_ref));
        for result in bench.run(&calls).await {
            match result {
                Reply::Row(row) => rows.push(Arc::new(row)),
                other => return refused(&other),
            }
        }
    }
    let mut empty = 0;
    for _ in 0..max_requests {
        keeper.make_room(&mut rows).await;
        let request = Request {
            messages: messages(&rows),
            session: voice.session.0.clone(),
            ..frame.clone()
        };
        let done = match stream(model.as_ref(), request, &voice).await {
            Ok(done) => done,
            Err(error) if error.class == Class::ContextOverflow => {
                match keeper.overflowed(&mut rows).await {
                    Ok(()) => continue,
                    Err(why) => {
                        return failed(error.class.as_str(), format!("{} {why}", error.message));
                    }
                }
            }
            Err(error) => return failed(error.class.as_str(), error.message),
        };
        if done.calls.is_empty() && done.text.trim().is_empty() && done.stop == Stop::End {
            empty += 1;
            if let Some(usage) = done.usage {
                voice.say(Say::Used(usage));
            }
            if empty < 3 {
                continue;
            }
            return failed("empty", "The model answered with nothing, three times.".to_owned());
        }
        let calls = done.calls.clone();
        let stop = done.stop;
        let answer = Assistant {
            text: done.text,
            reasoning: done.reasoning,
            calls: done.calls,
            stop,
            opaque: done.opaque,
        };
        keeper.answered(done.usage);
        let said = Say::Answered { answer, usage: done.usage, context: model.context_length() };
        match voice.ask(said).await {
            Reply::Row(row) => rows.push(Arc::new(row)),
            other => return refused(&other),
        }
        if calls.is_empty() {
            return match stop {
                Stop::Length => {
                    let text = "The answer reached the model's output limit. Say `continue`, or \
                                raise model.max_tokens in config.yaml.";
                    (Outcome::Limit, Some(text.to_owned()))
                }
                Stop::End | Stop::Calls | Stop::Partial => (Outcome::Done, None),
            };
        }
        for result in bench.run(&calls).await {
            match result {
                Reply::Row(row) => rows.push(Arc::new(row)),
                other => return refused(&other),
            }
        }
    }
    let text = format!(
        "The turn reached its limit of {max_requests} requests ({limit}). \
         Say `continue` to go on."
    );
    (Outcome::Limit, Some(text))
}

fn refused(reply: &Reply) -> End {
    failed("store", format!("The turn could not go on: {reply:?}"))
}

/// The answer to a request nobody reads along with; what happens meanwhile is said as `status`.
pub(crate) async fn quietly(
    model: &dyn Model,
    request: Request,
    voice: &Voice,
    status: &str,
) -> Result<Completion, model::Error> {
    let mut answer = model.stream(request);
    while let Some(chunk) = answer.next().await {
        match chunk? {
            Chunk::Done(done) => {
                if let Some(usage) = done.usage {
                    voice.say(Say::Used(usage));
                }
                return Ok(done);
            }
            Chunk::Retrying { error, .. } => {
                let text = format!("{status}: trying again. {}", error.message);
                voice.say(Say::Status(Some(text)));
            }
            Chunk::Text(_) | Chunk::Reasoning(_) | Chunk::Calling { .. } => {}
        }
    }
    Err(model::Error {
        class: Class::Truncated,
        message: "The model broke off its answer.".to_owned(),
        retry_after: None,
    })
}

/// Sends one request and says what arrives, merged; returns the complete answer.
pub(crate) async fn stream(
    model: &dyn Model,
    request: Request,
    voice: &Voice,
) -> Result<Completion, model::Error> {
    let mut answer = model.stream(request);
    let mut merger = Merger::default();
    loop {
        let chunk = tokio::select! {
            biased;
            () = merger.due() => {
                merger.flush(voice);
                continue;
            }
            chunk = answer.next() => chunk,
        };
        match chunk {
            Some(Ok(Chunk::Text(text))) => merger.add(Part::Text, &text, voice),
            Some(Ok(Chunk::Reasoning(text))) => merger.add(Part::Reasoning, &text, voice),
            Some(Ok(Chunk::Calling { name, bytes })) => {
                merger.flush(voice);
                let text = format!("writing {name} ({} kB)", bytes.div_ceil(1024));
                voice.say(Say::Status(Some(text)));
            }
            Some(Ok(Chunk::Retrying { attempt, after, error })) => {
                let pause = after.as_secs_f64().ceil();
                let why = error.class.as_str().replace('_', " ");
                let text = format!("{why}: attempt {attempt} in {pause:.0} s. {}", error.message);
                voice.say(Say::Status(Some(text)));
            }
            Some(Ok(Chunk::Done(done))) => {
                merger.flush(voice);
                return Ok(done);
            }
            Some(Err(error)) => {
                merger.flush(voice);
                return Err(error);
            }
            None => {
                merger.flush(voice);
                return Err(model::Error {
                    class: Class::Truncated,
                    message: "The model's stream ended in the middle of the answer.".to_owned(),
                    retry_after: None,
                });
            }
        }
    }
}

/// Merges streamed text: the first piece goes out at once, later ones at most every [`MERGE`].
#[derive(Default)]
struct Merger {
    part: Option<Part>,
    text: String,
    last: Option<Instant>,
}

impl Merger {
    fn add(&mut self, part: Part, text: &str, voice: &Voice) {
        if self.part != Some(part) {
            self.flush(voice);
            self.part = Some(part);
        }
        self.text.push_str(text);
        if self.last.is_none_or(|last| last.elapsed() >= MERGE) {
            self.flush(voice);
        }
    }

    /// Resolves when waiting text is due; never while there is none.
    async fn due(&self) {
        match self.last {
            Some(last) if !self.text.is_empty() => tokio::time::sleep_until(last + MERGE).await,
            Some(_) | None => std::future::pending().await,
        }
    }

    fn flush(&mut self, voice: &Voice) {
        if let (Some(part), false) = (self.part, self.text.is_empty()) {
            voice.say(Say::Delta { part, text: std::mem::take(&mut self.text) });
            self.last = Some(Instant::now());
        }
    }
}

/// The conversation as the model gets it; results stand in the order of their calls.
pub(crate) fn messages(rows: &[Arc<Row>]) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut order: Vec<CallId> = Vec::new();
    let mut first_result = 0;
    let mut unanswered = false;
    for row in compress::context(rows) {
        match &row.body {
            Body::User { .. } | Body::Wakeup(_) | Body::Summary(_) | Body::Note { .. } => {
                if std::mem::take(&mut unanswered) {
                    messages.push(Message::User(UNANSWERED.to_owned()));
                }
                messages.push(Message::User(row.text().to_owned()));
            }
            Body::Assistant(answer) => {
                unanswered = false;
                // Reasoning alone, cut off, is nothing a provider takes back.
                if answer.text.is_empty() && answer.calls.is_empty() {
                    continue;
                }
                messages.push(Message::Assistant {
                    text: answer.text.clone(),
                    reasoning: answer.reasoning.clone(),
                    calls: answer.calls.clone(),
                    opaque: answer.opaque.clone(),
                });
                order = answer.calls.iter().map(|c| c.id.clone()).collect();
                first_result = messages.len();
            }
            Body::Tool(result) => {
                let place = |id: &str| order.iter().position(|c| c.0 == id);
                let mine = place(&result.call.0);
                let at = messages[first_result..]
                    .iter()
                    .position(|m| match m {
                        Message::Tool { call, .. } => place(call) > mine,
                        Message::User(_) | Message::Assistant { .. } => true,
                    })
                    .map_or(messages.len(), |i| first_result + i);
                messages.insert(
                    at,
                    Message::Tool {
                        call: result.call.0.clone(),
                        name: result.name.clone(),
                        text: result.text.clone(),
                    },
                );
            }
            // The user reads why; the model, that it has not answered yet.
            Body::Failure { .. } => unanswered = matches!(messages.last(), Some(Message::User(_))),
        }
    }
    fill_in(&mut messages);
    messages
}

/// Gives each call a result: those of rows that were taken back have none, and no provider takes a
/// call without one.
fn fill_in(messages: &mut Vec<Message>) {
    let mut at = 0;
    while at < messages.len() {
        let calls = match &messages[at] {
            Message::Assistant { calls, .. } => calls.clone(),
            Message::User(_) | Message::Tool { .. } => Vec::new(),
        };
        at += 1;
        for ToolCall { id, name, .. } in calls {
            match messages.get(at) {
                Some(Message::Tool { call, .. }) if *call == id.0 => {}
                _ => {
                    let text = MISSING.to_owned();
                    messages.insert(at, Message::Tool { call: id.0, name, text });
                }
            }
            at += 1;
        }
    }
}

/// Which calls of one answer may run at the same time: contiguous groups that do not conflict.
pub(crate) fn groups(
    calls: &[ToolCall],
    conflict: impl Fn(&ToolCall, &ToolCall) -> bool,
) -> Vec<&[ToolCall]> {
    let mut groups = Vec::new();
    let mut start = 0;
    for end in 1..=calls.len() {
        let joins = end < calls.len()
            && end - start < 8
            && calls[start..end].iter().all(|earlier| !conflict(earlier, &calls[end]));
        if !joins {
            groups.push(&calls[start..end]);
            start = end;
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use protocol::ToolResult;

    fn row(n: u64, body: Body) -> Arc<Row> {
        Arc::new(Row { n, turn: TurnId(1), at: 0, cut: 0, body })
    }

    fn call(id: &str, name: &str) -> ToolCall {
        ToolCall { id: CallId(id.to_owned()), name: name.to_owned(), args: Value::Null }
    }

    fn result(id: &str) -> Body {
        Body::Tool(ToolResult {
            call: CallId(id.to_owned()),
            name: "t".to_owned(),
            text: format!("result of {id}"),
            failed: false,
            millis: 0,
            unanswered: false,
        })
    }

    #[test]
    fn results_stand_in_the_order_of_their_calls_however_they_came() {
        let calls = ["a", "b", "c"].map(|id| call(id, "t")).to_vec();
        let answer = Assistant { calls, ..Assistant::default() };
        let rows = [
            row(1, Body::User { text: "go".to_owned() }),
            row(2, Body::Assistant(answer)),
            row(3, result("c")),
            row(4, result("a")),
            row(5, result("b")),
            row(6, Body::User { text: "next".to_owned() }),
        ];
        let order: Vec<_> = messages(&rows)
            .into_iter()
            .filter_map(|m| match m {
                Message::Tool { call, .. } => Some(call),
                Message::User(_) | Message::Assistant { .. } => None,
            })
            .collect();
        assert_eq!(order, ["a", "b", "c"]);
        assert!(matches!(messages(&rows).last(), Some(Message::User(text)) if text == "next"));
    }

    #[test]
    fn a_prompt_whose_turn_failed_is_told_apart_from_the_next_one() {
        let user = |n, text: &str| row(n, Body::User { text: text.to_owned() });
        let failure = row(2, Body::Failure { message: "401".to_owned() });
        let texts = |rows: &[Arc<Row>]| -> Vec<String> {
            let text = |m| match m {
                Message::User(text) => text,
                other => panic!("{other:?}"),
            };
            messages(rows).into_iter().map(text).collect()
        };
        let rows = [user(1, "delete"), failure, user(3, "hello")];
        assert_eq!(texts(&rows), ["delete", UNANSWERED, "hello"]);
        assert_eq!(texts(&rows[..2]), ["delete"], "sent again as it was");
    }

    #[test]
    fn calls_that_conflict_run_one_after_the_other() {
        let calls = ["r1", "r2", "w", "r3", "r4"].map(|id| call(id, id)).to_vec();
        let conflict = |a: &ToolCall, b: &ToolCall| a.name == "w" || b.name == "w";
        let sizes: Vec<_> = groups(&calls, conflict).iter().map(|g| g.len()).collect();
        assert_eq!(sizes, [2, 1, 2]);
        assert_eq!(groups(&[], conflict).len(), 0);
    }
}
