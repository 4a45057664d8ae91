//! `sessions list` and `sessions show`, and which session `-c` and `--resume` mean. Reads the
//! store only, also beside a running host.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use host::protocol::{Body, Row, SessionRow, Target};
use host::redact;
use host::store::Reader;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::args;

/// Characters of a title in the list.
const TITLE: usize = 60;

/// Which session a run is about.
pub(crate) fn target(state: &Path, run: &args::Run) -> anyhow::Result<Target> {
    if let Some(name) = &run.resume {
        return match Reader::open(state)?.find(name)? {
            Some(id) => Ok(Target::Id(id)),
            None => anyhow::bail!(
                "Session not found: {}\n`hermes-tui sessions list` shows what there is.",
                redact::plain(name)
            ),
        };
    }
    if run.continue_ {
        return match Reader::open(state)?.latest()? {
            Some(id) => Ok(Target::Id(id)),
            None => anyhow::bail!("There is no session to continue yet."),
        };
    }
    Ok(Target::New)
}

/// Runs the subcommand.
pub(crate) fn run(state: &Path, command: &args::Sessions) -> anyhow::Result<ExitCode> {
    match command {
        args::Sessions::List { limit, json } => list(state, *limit, *json),
        args::Sessions::Show { id, json } => show(state, id, *json),
    }
}

fn list(state: &Path, limit: usize, json: bool) -> anyhow::Result<ExitCode> {
    let sessions = Reader::open(state)?.sessions(limit)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if json {
        serde_json::to_writer_pretty(&mut out, &sessions)?;
        writeln!(out)?;
    } else if sessions.is_empty() {
        writeln!(out, "No sessions yet.")?;
    } else {
        writeln!(out, "{:<22}  {:<16}  {:>5}  TITLE", "ID", "LAST ACTIVE", "ROWS")?;
        for session in sessions {
            let title: String = one_line(&session.title).chars().take(TITLE).collect();
            let when = when(session.active_at);
            let lineage = lineage(&session);
            writeln!(
                out,
                "{:<22}  {when:<16}  {:>5}  {title}{lineage}",
                session.id.0, session.rows
            )?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Where a session comes from and how often its context was compressed, in a few words.
fn lineage(session: &SessionRow) -> String {
    let parent = session.parent.as_ref().map(|id| format!("from {}", one_line(&id.0)));
    let compressed =
        (session.compressions > 0).then(|| format!("compressed {}×", session.compressions));
    let words: Vec<_> = parent.into_iter().chain(compressed).collect();
    if words.is_empty() { String::new() } else { format!("  ({})", words.join(", ")) }
}

fn show(state: &Path, name: &str, json: bool) -> anyhow::Result<ExitCode> {
    let reader = Reader::open(state)?;
    let Some(id) = reader.find(name)? else {
        anyhow::bail!("Session not found: {}", redact::plain(name));
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut failure = None;
    reader.each_row(&id, |row| {
        let written = if json {
            serde_json::to_writer(&mut out, &row)
                .map_err(std::io::Error::from)
                .and_then(|()| writeln!(out))
        } else {
            show_row(&mut out, &row)
        };
        // A closed pipe ends the output, not the reading: the rows left are few and cheap.
        if let Err(error) = written {
            failure.get_or_insert(error);
        }
        Ok::<(), host::store::Error>(())
    })?;
    if let Some(error) = failure {
        return Err(error.into());
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn show_row(out: &mut impl std::io::Write, row: &Row) -> std::io::Result<()> {
    let who = match &row.body {
        Body::User { .. } => "user".to_owned(),
        Body::Wakeup(wakeup) => format!("wakeup {}", wakeup.process),
        Body::Summary(_) => "summary".to_owned(),
        Body::Note { .. } => "note".to_owned(),
        Body::Assistant(_) => "assistant".to_owned(),
        Body::Tool(result) => format!("tool {}", result.name),
        Body::Failure { .. } => "failure".to_owned(),
    };
    writeln!(out, "── {} · {} ──", redact::plain(&who), when(row.at))?;
    let text = redact::plain(row.text());
    if !text.is_empty() {
        writeln!(out, "{text}")?;
    }
    if let Body::Assistant(answer) = &row.body {
        for call in &answer.calls {
            writeln!(
                out,
                "→ {} {}",
                redact::plain(&call.name),
                redact::plain(&call.args.to_string())
            )?;
        }
    }
    writeln!(out)
}

fn one_line(text: &str) -> String {
    redact::plain(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn when(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(
        |_| "?".to_owned(),
        |t| t.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string(),
    )
}
