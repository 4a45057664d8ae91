//! `sessions …`, and the session that `-c` and `--resume` mean. Works on the store, also beside a
//! running host; a session that is changed must not be open there.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use host::redact;
use host::state_dir::StateDir;
use host::store::{Durability, Lock, Reader, Record, Report, Store};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use protocol::{Body, Row, SessionId, SessionRow, Target};
use tokio::sync::mpsc;

use crate::args;
use crate::exit::Usage;

/// Characters of a title in the list.
const TITLE: usize = 60;

/// The session of a run. `-c` prefers those that `source` opened: an interface continues a
/// conversation, not the last question of a script.
pub(crate) fn target(
    state: &StateDir,
    run: &args::Run,
    source: Option<&str>,
) -> anyhow::Result<Target> {
    if let Some(name) = &run.resume {
        return match Reader::open(state)?.find(name)? {
            Some(id) => Ok(Target::Id(id)),
            None => anyhow::bail!(
                "Session not found: {}\nRun `hermes-tui sessions list` to see all sessions.",
                redact::plain(name)
            ),
        };
    }
    if run.continue_ {
        return match Reader::open(state)?.latest(source)? {
            Some(id) => Ok(Target::Id(id)),
            None => anyhow::bail!("There is no session to continue yet."),
        };
    }
    Ok(Target::New)
}

/// Runs the subcommand.
pub(crate) fn run(state: &StateDir, command: &args::Sessions) -> anyhow::Result<ExitCode> {
    match command {
        args::Sessions::List { limit, all, json } => list(state, *limit, *all, *json),
        args::Sessions::Show { id, json } => show(state, id, *json),
        args::Sessions::Delete { id, yes } => delete(state, id, *yes),
        args::Sessions::Archive { id } => archive(state, id, true),
        args::Sessions::Unarchive { id } => archive(state, id, false),
    }
}

fn list(state: &StateDir, limit: usize, all: bool, json: bool) -> anyhow::Result<ExitCode> {
    let mut sessions = Reader::open(state)?.sessions(if all { limit } else { usize::MAX })?;
    let stored = sessions.len();
    if !all {
        sessions.retain(|session| !session.archived);
        sessions.truncate(limit);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if json {
        serde_json::to_writer_pretty(&mut out, &sessions)?;
        writeln!(out)?;
    } else if sessions.is_empty() && (stored == 0 || limit == 0) {
        writeln!(out, "No sessions yet.")?;
    } else if sessions.is_empty() {
        let them = match stored {
            1 => "The only session is".to_owned(),
            _ => format!("All {stored} sessions are"),
        };
        writeln!(out, "{them} archived; `hermes-tui sessions list --all` includes them.")?;
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

fn find(reader: &Reader, name: &str) -> anyhow::Result<SessionId> {
    let Some(id) = reader.find(name)? else {
        anyhow::bail!(
            "Session not found: {}\nRun `hermes-tui sessions list --all` to see all sessions.",
            redact::plain(name)
        );
    };
    Ok(id)
}

/// Deletes a session with the tasks it has delegated. Its background processes keep running
/// without an owner: there is no host that could end them.
fn delete(state: &StateDir, name: &str, yes: bool) -> anyhow::Result<ExitCode> {
    let reader = Reader::open(state)?;
    let id = find(&reader, name)?;
    let mut ids = reader.delegated(&id)?;
    ids.push(id.clone());
    let leases = ids.iter().map(|id| lease(state, id)).collect::<anyhow::Result<Vec<_>>>()?;
    let live =
        reader.pending_processes()?.into_iter().filter(|p| p.is_live() && p.session == id).count();
    if !yes {
        let title = reader.sessions(usize::MAX)?.into_iter().find(|s| s.id == id);
        let title = title.map(|s| one_line(&s.title)).unwrap_or_default();
        if !confirmed(&format!("Delete session {id} ({title}) and everything in it?"))? {
            writeln!(std::io::stderr(), "Nothing was deleted.")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    let deleted = ids.iter().map(|session| Record::Deleted { session: session.clone() });
    write(state, deleted.collect())?;
    for id in &ids {
        std::fs::remove_file(state.lease(id)).ok();
    }
    drop(leases);
    let mut out = std::io::stdout().lock();
    writeln!(out, "Deleted {id}.")?;
    if live > 0 {
        writeln!(
            out,
            "{live} of its background processes are still running; the process list of the \
             interface shows them as orphaned and can end them."
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Archives a session, or restores it.
fn archive(state: &StateDir, name: &str, archived: bool) -> anyhow::Result<ExitCode> {
    let id = find(&Reader::open(state)?, name)?;
    let _lease = lease(state, &id)?;
    // Read under the lease: the record replaces all of the metadata.
    let Some(mut loaded) = Reader::open(state)?.load(&id, 0)? else {
        anyhow::bail!("Session not found: {id}");
    };
    loaded.meta.archived = archived;
    write(state, vec![Record::Session(loaded.meta)])?;
    let done = if archived { "Archived" } else { "Restored" };
    writeln!(std::io::stdout(), "{done} {id}.")?;
    Ok(ExitCode::SUCCESS)
}

/// Asks on the terminal; an empty answer means no.
fn confirmed(question: &str) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    anyhow::ensure!(
        stdin.is_terminal(),
        Usage("deleting asks for confirmation: run it on a terminal, or pass -y".to_owned())
    );
    let mut stderr = std::io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin.read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The right to change a session; a host that has it open keeps it.
fn lease(state: &StateDir, id: &SessionId) -> anyhow::Result<Lock> {
    Lock::take(&state.lease(id)).map_err(|busy| match (busy.error, busy.pid) {
        (Some(error), _) => anyhow::anyhow!("cannot lock session {id}: {error}"),
        (None, pid) => {
            let holder =
                pid.map_or_else(|| "another process".to_owned(), |p| format!("process {p}"));
            anyhow::anyhow!(
                "session {id} is in use by {holder}; change it there, or stop that process first"
            )
        }
    })
}

/// Stores records; returns once they are committed.
fn write(state: &StateDir, records: Vec<Record>) -> anyhow::Result<()> {
    let (sender, mut reports) = mpsc::unbounded_channel();
    let store = Store::open(state, sender)?;
    let no = store.write(records, Durability::Barrier);
    while let Some(report) = reports.blocking_recv() {
        match report {
            Report::Committed(upto) | Report::Recovered(upto) if upto >= no => break,
            Report::Committed(_) | Report::Recovered(_) => {}
            Report::Failing { message, .. } => {
                anyhow::bail!("cannot write to the store: {message}")
            }
        }
    }
    store.close()?;
    Ok(())
}

/// The session this one was branched from and how often its context was compressed, as a suffix
/// of its line.
fn lineage(session: &SessionRow) -> String {
    let parent = session.parent.as_ref().map(|id| format!("from {}", one_line(&id.0)));
    let compressed =
        (session.compressions > 0).then(|| format!("compressed {}×", session.compressions));
    let parts: Vec<_> = parent.into_iter().chain(compressed).collect();
    if parts.is_empty() { String::new() } else { format!("  ({})", parts.join(", ")) }
}

fn show(state: &StateDir, name: &str, json: bool) -> anyhow::Result<ExitCode> {
    let reader = Reader::open(state)?;
    let id = find(&reader, name)?;
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
    let author = match &row.body {
        Body::User { .. } => "user".to_owned(),
        Body::Wakeup(wakeup) => format!("wakeup {}", wakeup.process),
        Body::Summary(_) => "summary".to_owned(),
        Body::Note { .. } => "note".to_owned(),
        Body::Assistant(_) => "assistant".to_owned(),
        Body::Tool(result) => format!("tool {}", result.name),
        Body::Failure { .. } => "failure".to_owned(),
    };
    writeln!(out, "── {} · {} ──", redact::plain(&author), when(row.at))?;
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
