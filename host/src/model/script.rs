//! A scripted model: plays lists of [`Step`]s as if a provider had streamed them. The demo model
//! and the tests are built on it. It never reads the request beyond counting it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Answer, Chunk, Class, Completion, Error, Message, Model, Request};
use protocol::{CallId, Stop, ToolCall, Usage};

/// Between two deltas that are sent as fast as possible the runtime gets its turn this often.
const YIELD_EVERY: u64 = 32;

/// One step of a scripted answer.
#[derive(Clone, Debug)]
pub enum Step {
    /// A delta of text.
    Text(String),
    /// A delta of reasoning.
    Reasoning(String),
    /// `count` deltas: the words of `text`, over and over.
    Stream {
        /// What is streamed.
        text: String,
        /// How many deltas.
        count: u64,
        /// Deltas per second; 0 = as fast as possible.
        rate: u64,
    },
    /// A pause.
    Delay(Duration),
    /// Waits for a notification: a pause that a test ends.
    Wait(Arc<Notify>),
    /// A tool call. Its id is made from the length of the conversation.
    Call {
        /// The tool.
        name: String,
        /// The arguments.
        args: Value,
    },
    /// The request "failed transiently": reports it, pauses and continues.
    Retrying {
        /// The pause.
        after: Duration,
        /// What went wrong.
        error: Error,
    },
    /// The answer ends with this instead of what its calls imply.
    Stop(Stop),
    /// The request fails.
    Fail(Error),
    /// The stream ends without a completion.
    Cut,
}

impl Step {
    /// A delta of text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A tool call.
    pub fn call(name: &str, args: Value) -> Self {
        Self::Call { name: name.to_owned(), args }
    }

    /// A failure of a class.
    pub fn fail(class: Class, message: &str) -> Self {
        Self::Fail(Error { class, message: message.to_owned(), retry_after: None })
    }
}

/// A model that plays one list of steps per request, in order.
#[derive(Debug, Default)]
pub struct Scripted {
    answers: Mutex<VecDeque<Vec<Step>>>,
    requests: Mutex<Vec<Request>>,
}

/// A model that plays `answers`, one per request. A request beyond the last one is rejected.
pub fn scripted(answers: impl IntoIterator<Item = Vec<Step>>) -> Arc<Scripted> {
    Arc::new(Scripted {
        answers: Mutex::new(answers.into_iter().collect()),
        requests: Mutex::default(),
    })
}

impl Scripted {
    /// The requests so far, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds an answer for the next request that has none yet.
    pub fn push(&self, answer: Vec<Step>) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push_back(answer);
    }
}

impl Model for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn context_length(&self) -> Option<u64> {
        Some(128_000)
    }

    fn stream(&self, request: Request) -> Answer {
        let steps = self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let answer = play(
            steps.unwrap_or_else(|| {
                vec![Step::fail(Class::Rejected, "The script has no further answer.")]
            }),
            &request,
        );
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        answer
    }
}

/// Plays steps as the answer to a request.
pub fn play(steps: Vec<Step>, request: &Request) -> Answer {
    let player = Player {
        steps: steps.into(),
        streaming: None,
        serial: request.messages.len(),
        prompt: tokens(size(request)),
        attempt: 1,
        stop: None,
        done: Completion::default(),
        ended: false,
    };
    Box::pin(stream::unfold(player, |mut player| async move {
        let item = player.next().await?;
        Some((item, player))
    }))
}

/// The state of an answer being played.
struct Player {
    steps: VecDeque<Step>,
    streaming: Option<Streaming>,
    serial: usize,
    prompt: u64,
    attempt: u32,
    stop: Option<Stop>,
    done: Completion,
    ended: bool,
}

/// A [`Step::Stream`] under way.
struct Streaming {
    words: Vec<String>,
    sent: u64,
    count: u64,
    rate: u64,
    since: Instant,
}

impl Player {
    async fn next(&mut self) -> Option<Result<Chunk, Error>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(word) = self.next_word().await {
                self.done.text.push_str(&word);
                return Some(Ok(Chunk::Text(word)));
            }
            let Some(step) = self.steps.pop_front() else {
                self.ended = true;
                return Some(Ok(Chunk::Done(self.finish())));
            };
            match step {
                Step::Text(text) => {
                    self.done.text.push_str(&text);
                    return Some(Ok(Chunk::Text(text)));
                }
                Step::Reasoning(text) => {
                    self.done.reasoning.push_str(&text);
                    return Some(Ok(Chunk::Reasoning(text)));
                }
                Step::Stream { text, count, rate } => {
                    self.streaming = Some(Streaming {
                        words: text.split_inclusive([' ', '\n']).map(str::to_owned).collect(),
                        sent: 0,
                        count,
                        rate,
                        since: Instant::now(),
                    });
                }
                Step::Delay(pause) => tokio::time::sleep(pause).await,
                Step::Wait(notify) => notify.notified().await,
                Step::Call { name, args } => {
                    let bytes = args.to_string().len();
                    let id = format!("call_{}_{}", self.serial, self.done.calls.len() + 1);
                    self.done.calls.push(ToolCall { id: CallId(id), name: name.clone(), args });
                    return Some(Ok(Chunk::Calling { name, bytes }));
                }
                Step::Retrying { after, error } => {
                    self.attempt += 1;
                    self.steps.push_front(Step::Delay(after));
                    return Some(Ok(Chunk::Retrying { attempt: self.attempt, after, error }));
                }
                Step::Stop(stop) => self.stop = Some(stop),
                Step::Fail(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                Step::Cut => self.ended = true,
            }
        }
    }

    /// The next delta of a stream under way, when it is due.
    async fn next_word(&mut self) -> Option<String> {
        let streaming = self.streaming.as_mut()?;
        if streaming.sent >= streaming.count || streaming.words.is_empty() {
            self.streaming = None;
            return None;
        }
        if streaming.rate > 0 {
            let due = Duration::from_secs(1).mul_f64(streaming.sent as f64 / streaming.rate as f64);
            tokio::time::sleep_until(streaming.since + due).await;
        } else if streaming.sent.is_multiple_of(YIELD_EVERY) {
            tokio::task::yield_now().await;
        }
        let at = streaming.sent as usize % streaming.words.len();
        streaming.sent += 1;
        streaming.words.get(at).cloned()
    }

    fn finish(&mut self) -> Completion {
        let mut done = std::mem::take(&mut self.done);
        done.stop =
            self.stop.unwrap_or(if done.calls.is_empty() { Stop::End } else { Stop::Calls });
        let calls: usize = done.calls.iter().map(|c| c.name.len() + c.args.to_string().len()).sum();
        done.usage = Some(Usage {
            prompt: self.prompt,
            completion: tokens(done.text.len() + done.reasoning.len() + calls),
            cached: 0,
            reasoning: tokens(done.reasoning.len()),
            written: 0,
        });
        done
    }
}

/// About as many tokens as `bytes` are.
fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

/// The bytes of a request that a provider would count.
fn size(request: &Request) -> usize {
    let tools: usize = request
        .tools
        .iter()
        .map(|t| t.name.len() + t.description.len() + t.parameters.to_string().len())
        .sum();
    let messages: usize = request
        .messages
        .iter()
        .map(|message| match message {
            Message::User(text) | Message::Tool { text, .. } => text.len(),
            Message::Assistant { text, reasoning, calls, .. } => {
                text.len()
                    + reasoning.len()
                    + calls.iter().map(|c| c.name.len() + c.args.to_string().len()).sum::<usize>()
            }
        })
        .sum();
    request.system.len() + tools + messages
}
