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

/// Asks once.
pub(crate) fn run(
    config: &Config,
    run: &args::Run,
    prompt: &str,
    report: &Report<'_>,
) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!prompt.trim().is_empty(), exit::Usage("the prompt is empty".to_owned()));
    let target = sessions_cmd::target(&config.settings.state, run, None)?;
    for note in &config.notes {
        say(note);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(ask(config, target, run.model.clone(), prompt, report))
}

/// What a run has seen so far.
#[derive(Default)]
struct Seen {
    session: SessionId,
    /// The session that was asked for; none = a new one.
    wanted: Option<SessionId>,
    turn: Option<TurnId>,
    answer: String,
    failure: Option<String>,
    denied: bool,
    requests: u32,
    usage: Usage,
    model: String,
    /// The model that the command line names: a session that is gone on with has one of its own.
    other: Option<String>,
}

async fn ask(
    config: &Config,
    target: Target,
    other: Option<String>,
    prompt: &str,
    report: &Report<'_>,
) -> anyhow::Result<ExitCode> {
    let local = embedded::start(config.settings.clone(), Role::OneShot)?;
    let wanted = match &target {
        Target::Id(id) => Some(id.clone()),
        Target::New | Target::Latest => None,
    };
    let mut host = local.attach(target, Attendance::Stateless);
    let mut seen = Seen { wanted, other, ..Seen::default() };
    let outcome = follow(&mut host, prompt, &mut seen, report).await;
    drop(host);
    local.stop().await;
    finish(config, &outcome?, &seen, report)
}

/// Reads events until the turn has ended. An interrupt cancels it and waits for its end.
async fn follow(
    host: &mut View,
    prompt: &str,
    seen: &mut Seen,
    report: &Report<'_>,
) -> anyhow::Result<Outcome> {
    let mut signals = signals()?;
    loop {
        let event = tokio::select! {
            event = host.next() => event.context("the host ended before the turn did")?,
            _ = signals.recv() => {
                host.send(Command::Cancel);
                if seen.turn.is_none() {
                    return Ok(Outcome::Cancelled);
                }
                continue;
            }
        };
        match event {
            Event::Attached { transcript, .. } => {
                seen.session = transcript.session.clone();
                seen.model.clone_from(&transcript.model);
                if seen.wanted.as_ref().is_some_and(|id| *id != seen.session) {
                    // It could not be opened; the reason follows.
                    continue;
                }
                if let Some(model) = seen.other.take().filter(|_| seen.wanted.is_some()) {
                    seen.model.clone_from(&model);
                    host.send(Command::SetModel { model });
                }
                host.send(Command::Prompt { id: PromptId::fresh(), text: prompt.to_owned() });
                if seen.wanted.is_some() {
                    let all = transcript.earlier + transcript.rows.len() as u64;
                    say(&format!("↻ Resumed session {} ({all} messages)", seen.session));
                }
            }
            Event::TurnStarted { turn, .. } => seen.turn = seen.turn.or(Some(turn)),
            Event::RowAdded { row } => seen.row(&row, report),
            Event::UsageReported { usage, .. } => {
                seen.usage.prompt += usage.prompt;
                seen.usage.completion += usage.completion;
                seen.usage.cached += usage.cached;
                seen.usage.reasoning += usage.reasoning;
            }
            Event::TurnStatus { text: Some(text), .. } if matches!(report, Report::Verbose) => {
                say(&text);
            }
            Event::StorageChanged { storage: Storage::Failing(why) } => {
                say(&format!("the session is not being saved: {why}"));
            }
            Event::TurnEnded { turn, outcome, .. } if seen.turn == Some(turn) => {
                return Ok(outcome);
            }
            Event::Failed(failure) => anyhow::bail!(failure.message),
            _ => {}
        }
    }
}

impl Seen {
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
                    say("a command needed an approval and was denied; --yolo runs it unasked");
                } else if matches!(report, Report::Verbose) {
                    let how = if result.failed { "failed" } else { "done" };
                    say(&format!("{} {how} ({} ms)", result.name, result.millis));
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
    seen: &Seen,
    report: &Report<'_>,
) -> anyhow::Result<ExitCode> {
    if !seen.answer.is_empty() {
        print_answer(&seen.answer)?;
    }
    let done = *outcome == Outcome::Done && !seen.answer.trim().is_empty();
    if let Some(message) = &seen.failure {
        say(message);
    } else if !done && *outcome != Outcome::Cancelled {
        say("the model gave no answer");
    }
    match report {
        Report::Bare { usage_file: Some(path) } => {
            write_usage(path, config, seen, done)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Report::Bare { usage_file: None } => {}
        Report::Quiet | Report::Verbose => say_plain(&format!("session_id: {}", seen.session)),
    }
    match outcome {
        Outcome::Cancelled => Err(Interrupted.into()),
        _ if done && !seen.denied => Ok(ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// To a terminal nothing goes that could control it; to a pipe the bytes go unchanged.
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

fn say(text: &str) {
    say_plain(&format!("hermes-tui: {text}"));
}

fn say_plain(text: &str) {
    writeln!(std::io::stderr().lock(), "{}", redact::plain(text)).ok();
}

fn write_usage(path: &Path, config: &Config, seen: &Seen, done: bool) -> anyhow::Result<()> {
    let usage = &seen.usage;
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
        "api_calls": seen.requests,
        "model": seen.model,
        "provider": config.provider,
        "session_id": seen.session,
        "completed": done,
        "failed": !done,
    });
    if let (Some(failure), Some(map)) = (&seen.failure, value.as_object_mut()) {
        map.insert("failure".to_owned(), failure.clone().into());
    }
    std::fs::write(path, format!("{value:#}\n"))?;
    Ok(())
}
