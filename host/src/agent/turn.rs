//! One turn: model ↔ tools until the model is done. It owns no state that outlives it: it reports
//! every result to its session, and does not continue until what must not get lost is stored.
//! Dropping the future cancels the turn, its request and its commands.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::completion::stream;
use super::compression::{self, Compressor};
use super::goal_judge;
use super::messages::messages;
use crate::model::{self, Class, Completion, Model, Request};
use crate::session::{Attendance, Reply, TurnEvent, TurnKind, TurnPlan};
use crate::tool;
use crate::turn_link::TurnLink;
use protocol::{Assistant, Outcome, Row, Stop, ToolCall, Usage, open_calls};

/// The inputs of a turn.
pub(crate) struct TurnContext {
    pub(crate) plan: TurnPlan,
    pub(crate) link: TurnLink,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) system: String,
    /// The conversation so far; it ends with the request of this turn.
    pub(crate) rows: Vec<Arc<Row>>,
    pub(crate) tools: Arc<tool::ToolContext>,
    /// Held by the turn and its foreground commands, so that the receiver sees when all are gone.
    pub(crate) alive: mpsc::Sender<()>,
    pub(crate) max_requests: u32,
    pub(crate) compression: compression::Limits,
}

/// Runs a turn to its end and reports how it ended.
pub(crate) async fn run(context: TurnContext) {
    let link = context.link.clone();
    let (outcome, failure) = match context.plan.kind.clone() {
        TurnKind::Compress { focus } => compress(context, focus.as_deref()).await,
        TurnKind::Judge { goal, turns } => judge(context, &goal, turns).await,
        TurnKind::Answer => answer(AgentLoop::new(context)).await,
        TurnKind::Resume => resume(context).await,
    };
    link.report(TurnEvent::Ended { outcome, failure });
}

/// The outcome of a turn, and a text about it for the user.
type End = (Outcome, Option<String>);

fn failed(class: &str, message: String) -> End {
    (Outcome::Failed { class: class.to_owned() }, Some(message))
}

fn refused(reply: &Reply) -> End {
    failed("store", format!("The turn could not go on: {reply:?}"))
}

async fn compress(context: TurnContext, focus: Option<&str>) -> End {
    let AgentLoop { mut compressor, mut rows, .. } = AgentLoop::new(context);
    (compressor.compress_now(&mut rows, focus).await, None)
}

async fn judge(context: TurnContext, goal: &str, turns: u32) -> End {
    let rows = compression::context(&context.rows);
    let model = context.model.as_ref();
    (goal_judge::judge(model, &context.link, &rows, goal, turns).await, None)
}

/// Continues where an earlier host stopped: with the calls that have no result yet.
async fn resume(context: TurnContext) -> End {
    // Commands that a killed host left running end before the model reads that they were cut off
    // (R06).
    context.tools.processes.end_leftovers(&context.link.session).await;
    let mut agent = AgentLoop::new(context);
    let calls = open_calls(agent.rows.iter().map(AsRef::as_ref));
    match agent.run_tools(&calls).await {
        Ok(()) => answer(agent).await,
        Err(end) => end,
    }
}

async fn answer(mut agent: AgentLoop) -> End {
    for _ in 0..agent.max_requests {
        match agent.step().await {
            Ok(()) => {}
            Err(end) => return end,
        }
    }
    let text = format!(
        "The turn reached its limit of {} requests ({}). Say `continue` to go on.",
        agent.max_requests, agent.limit
    );
    (Outcome::Limit, Some(text))
}

/// The model and the tools taking turns over one conversation.
struct AgentLoop {
    link: TurnLink,
    model: Arc<dyn Model>,
    /// The part that all requests of the turn share.
    frame: Request,
    rows: Vec<Arc<Row>>,
    compressor: Compressor,
    runner: tool::ToolRunner,
    max_requests: u32,
    /// The name of the setting that limits the requests.
    limit: &'static str,
    /// The number of empty answers in this turn.
    empty: u32,
}

impl AgentLoop {
    fn new(context: TurnContext) -> Self {
        let TurnContext { plan, link, model, system, rows, tools, alive, max_requests, .. } =
            context;
        let limit = match plan.attendance {
            Attendance::Attended | Attendance::Stateless => "agent.max_turns",
            Attendance::Delegated => "delegation.max_iterations",
        };
        let frame = Request {
            system,
            tools: tool::schemas(plan.attendance, plan.toolsets.as_deref()),
            reasoning: plan.reasoning.clone(),
            session: link.session.0.clone(),
            ..Request::default()
        };
        let limits = context.compression;
        let compressor = Compressor::new(model.clone(), link.clone(), limits, &frame, plan.used);
        let runner = tool::ToolRunner::new(plan, link.clone(), tools, alive);
        Self { link, model, frame, rows, compressor, runner, max_requests, limit, empty: 0 }
    }

    /// Sends one request and runs the calls of its answer; `Err` is the end of the turn.
    async fn step(&mut self) -> Result<(), End> {
        self.compressor.compress_if_full(&mut self.rows).await;
        let request = Request { messages: messages(&self.rows), ..self.frame.clone() };
        let completion = match stream(self.model.as_ref(), request, &self.link).await {
            Ok(completion) => completion,
            Err(error) => return self.recover(error).await,
        };
        if is_empty(&completion) {
            return self.count_empty(completion.usage);
        }
        self.compressor.set_usage(completion.usage);
        let calls = completion.calls.clone();
        let stop = completion.stop;
        self.store_answer(completion).await?;
        if calls.is_empty() {
            return Err(match stop {
                Stop::Length => {
                    let text = "The answer reached the model's output limit. Say `continue`, or \
                                raise model.max_tokens in config.yaml.";
                    (Outcome::Limit, Some(text.to_owned()))
                }
                Stop::End | Stop::Calls | Stop::Partial => (Outcome::Done, None),
            });
        }
        self.run_tools(&calls).await
    }

    /// Compresses a context that is too long; any other error ends the turn.
    async fn recover(&mut self, error: model::Error) -> Result<(), End> {
        let class = error.class.as_str();
        if error.class != Class::ContextOverflow {
            return Err(failed(class, error.message));
        }
        let compressed = self.compressor.compress_after_overflow(&mut self.rows).await;
        compressed.map_err(|why| failed(class, format!("{} {why}", error.message)))
    }

    fn count_empty(&mut self, usage: Option<Usage>) -> Result<(), End> {
        self.empty += 1;
        if let Some(usage) = usage {
            self.link.report(TurnEvent::Used(usage));
        }
        if self.empty < 3 {
            return Ok(());
        }
        Err(failed("empty", "The model answered with nothing, three times.".to_owned()))
    }

    async fn store_answer(&mut self, completion: Completion) -> Result<(), End> {
        let Completion { text, reasoning, calls, stop, opaque, usage } = completion;
        let answer = Assistant { text, reasoning, calls, stop, opaque };
        let context = self.model.context_length();
        let stored = self.link.ask(TurnEvent::Answered { answer, usage, context }).await;
        self.add(stored)
    }

    async fn run_tools(&mut self, calls: &[ToolCall]) -> Result<(), End> {
        for result in self.runner.run(calls).await {
            self.add(result)?;
        }
        Ok(())
    }

    /// Adds a row to the conversation once it is stored.
    fn add(&mut self, reply: Reply) -> Result<(), End> {
        match reply {
            Reply::Row(row) => {
                self.rows.push(Arc::new(row));
                Ok(())
            }
            other => Err(refused(&other)),
        }
    }
}

fn is_empty(completion: &Completion) -> bool {
    completion.calls.is_empty() && completion.text.trim().is_empty() && completion.stop == Stop::End
}
