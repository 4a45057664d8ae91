//! One-shot runs: `-z` and `chat -q`. The answer alone goes to stdout; everything about it to
//! stderr; the exit code says how it went. Nobody is asked anything (C12), and nothing is
//! promised in the background (W26).

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use host::embedded::{self, Attendance, Role};
use host::redact;
use protocol::View;
use protocol::{
    Body, Command, Event, Outcome, PromptId, Row, SessionId, Storage, Target, TurnId, Usage,
};
use serde_json::json;

use crate::config::Config;
use crate::exit::{self, Interrupted};
use crate::signals::signals;
use crate::{args, sessions_cmd};

/// How a one-shot run reports.
#[derive(Debug)]
pub(crate) enum Report<'a> {
    /// `-z`: only the answer.
    Bare {
        /// Where the usage goes.
        usage_file: Option<&'a Path>,
    },
    /// `chat -Q -q`: the session's id on stderr.
    Quiet,
    /// `chat -q`: also which tools ran, on stderr.
    Verbose,
}

/// Sends one prompt and prints the answer.
pub(crate) fn run(
    config: &Config,
    run: &args::Run,
    prompt: &str,
    report: &Report<'_>,
) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!prompt.trim().is_empty(), exit::Usage("the prompt is empty".to_owned()));
    let target = sessions_cmd::target(&config.settings.state, run, None)?;
    for note in &config.notes {
        log(note);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(ask(config, target, run.model.clone(), prompt, report))
}

/// What the events of a run have brought so far.
#[derive(Default)]
struct Progress {
    session: SessionId,
    /// The session to resume; `None` = a new one.
    resumed: Option<SessionId>,
    turn: Option<TurnId>,
    answer: String,
    failure: Option<String>,
    denied: bool,
    requests: u32,
    usage: Usage,
    model: String,
    /// The model that the command line names: a resumed session has one of its own.
    model_flag: Option<String>,
}

async fn ask(
    config: &Config,
    target: Target,
    model_flag: Option<String>,
    prompt: &str,
    report: &Report<'_>,
) -> anyhow::Result<ExitCode> {
    let host = embedded::start(config.settings.clone(), Role::OneShot)?;
    let resumed = match &target {
        Target::Id(id) => Some(id.clone()),
        Target::New | Target::Latest => None,
    };
    let mut view = host.attach(target, Attendance::Stateless);
    let mut progress = Progress { resumed, model_flag, ..Progress::default() };
    let outcome = follow(&mut view, prompt, &mut progress, report).await;
    drop(view);
    host.stop().await;
    finish(config, &outcome?, &progress, report)
}

/// Reads events until the turn has ended. An interrupt cancels it and waits for its end.
async fn follow(
    view: &mut View,
    prompt: &str,
    progress: &mut Progress,
    report: &Report<'_>,
) -> anyhow::Result<Outcome> {
    let mut signals = signals()?;
    loop {
        let event = tokio::select! {
            event = view.next() => event.context("the host ended before the turn did")?,
            _ = signals.recv() => {
                view.send(Command::Cancel);
                if progress.turn.is_none() {
                    return Ok(Outcome::Cancelled);
                }
                continue;
            }
        };
        match event {
            Event::Attached { transcript, .. } => {
                progress.session = transcript.session.clone();
                progress.model.clone_from(&transcript.model);
                if progress.resumed.as_ref().is_some_and(|id| *id != progress.session) {
                    // It could not be opened; the reason follows.
                    continue;
                }
                if let Some(model) =
                    progress.model_flag.take().filter(|_| progress.resumed.is_some())
                {
                    progress.model.clone_from(&model);
                    view.send(Command::SetModel { model });
                }
                view.send(Command::Prompt { id: PromptId::fresh(), text: prompt.to_owned() });
                if progress.resumed.is_some() {
                    let all = transcript.earlier + transcript.rows.len() as u64;
                    log(&format!("↻ Resumed session {} ({all} messages)", progress.session));
                }
            }
            Event::TurnStarted { turn, .. } => progress.turn = progress.turn.or(Some(turn)),
            Event::RowAdded { row } => progress.row(&row, report),
            Event::UsageReported { usage, .. } => {
                progress.usage.prompt += usage.prompt;
                progress.usage.completion += usage.completion;
                progress.usage.cached += usage.cached;
                progress.usage.reasoning += usage.reasoning;
            }
            Event::TurnStatus { text: Some(text), .. } if matches!(report, Report::Verbose) => {
                log(&text);
            }
            Event::StorageChanged { storage: Storage::Failing(why) } => {
                log(&format!("the session is not being saved: {why}"));
            }
            Event::TurnEnded { turn, outcome, .. } if progress.turn == Some(turn) => {
                return Ok(outcome);
            }
            Event::Failed(failure) => anyhow::bail!(failure.message),
            _ => {}
        }
    }
}

impl Progress {
    fn row(&mut self, row: &Row, report: &Report<'_>) {
        match &row.body {
            Body::Assistant(answer) => {
                self.requests += 1;
                self.answer.clone_from(&answer.text);
            }
            Body::Tool(result) => {
                let value: serde_json::Value =
                    serde_json::from_str(&result.text).unwrap_or_default();
                if value["approval"] == host::tool::UNATTENDED {
                    self.denied = true;
                    log("a command needed approval and was denied; --yolo runs it without asking");
                } else if matches!(report, Report::Verbose) {
                    let status = if result.failed { "failed" } else { "done" };
                    log(&format!("{} {status} ({} ms)", result.name, result.millis));
                }
            }
            Body::Failure { message } => self.failure = Some(message.clone()),
            Body::User { .. } | Body::Wakeup(_) | Body::Summary(_) | Body::Note { .. } => {}
        }
    }
}

fn finish(
    config: &Config,
    outcome: &Outcome,
    progress: &Progress,
    report: &Report<'_>,
) -> anyhow::Result<ExitCode> {
    if !progress.answer.is_empty() {
        print_answer(&progress.answer)?;
    }
    let done = *outcome == Outcome::Done && !progress.answer.trim().is_empty();
    if let Some(message) = &progress.failure {
        log(message);
    } else if !done && *outcome != Outcome::Cancelled {
        log("the model returned no answer");
    }
    match report {
        Report::Bare { usage_file: Some(path) } => {
            write_usage(path, config, progress, done)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Report::Bare { usage_file: None } => {}
        Report::Quiet | Report::Verbose => log_plain(&format!("session_id: {}", progress.session)),
    }
    match outcome {
        Outcome::Cancelled => Err(Interrupted.into()),
        _ if done && !progress.denied => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Prints the answer: to a terminal without control characters, to a pipe unchanged.
fn print_answer(answer: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    if stdout.is_terminal() {
        stdout.write_all(redact::plain(answer).as_bytes())?;
    } else {
        stdout.write_all(answer.as_bytes())?;
    }
    if !answer.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

fn log(text: &str) {
    log_plain(&format!("hermes-tui: {text}"));
}

fn log_plain(text: &str) {
    writeln!(std::io::stderr().lock(), "{}", redact::plain(text)).ok();
}

fn write_usage(
    path: &Path,
    config: &Config,
    progress: &Progress,
    done: bool,
) -> anyhow::Result<()> {
    let usage = &progress.usage;
    let mut value = json!({
        "estimated_cost_usd": null,
        "cost_status": "unknown",
        "cost_source": null,
        "input_tokens": usage.prompt.saturating_sub(usage.cached),
        "output_tokens": usage.completion,
        "cache_read_tokens": usage.cached,
        "cache_write_tokens": 0,
        "reasoning_tokens": usage.reasoning,
        "total_tokens": usage.prompt + usage.completion,
        "api_calls": progress.requests,
        "model": progress.model,
        "provider": config.provider,
        "session_id": progress.session,
        "completed": done,
        "failed": !done,
    });
    if let (Some(failure), Some(map)) = (&progress.failure, value.as_object_mut()) {
        map.insert("failure".to_owned(), failure.clone().into());
    }
    std::fs::write(path, format!("{value:#}\n"))?;
    Ok(())
}
