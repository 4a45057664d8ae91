//! What the doctor says of background work: the ledger's counts, what waits for somebody, what has
//! no owner, and what cannot be read.

use std::path::Path;

use host::store::{Error, Reader};

use super::{Check, broken, folders, note, ok};

/// Characters of a command line.
const COMMAND: usize = 60;

/// All checks of it. Nothing is said where there is no database yet.
pub(super) fn checks(state: &Path) -> Vec<Check> {
    let looked = Reader::open(state).and_then(|reader| look(&reader, state));
    looked.unwrap_or_else(|error| vec![broken("ledger", error.to_string())])
}

fn look(reader: &Reader, state: &Path) -> Result<Vec<Check>, Error> {
    let counts = reader.ledger_counts()?;
    let mut checks = Vec::new();
    if !counts.is_empty() {
        let words: Vec<String> = counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
        checks.push(ok("ledger", words.join(", ")));
    }
    for (word, n) in &counts {
        if !matches!(word.as_str(), "spawned" | "delivered" | "consumed") {
            checks.push(meaning(word, *n));
        }
    }
    for hold in reader.held()? {
        let release = if hold.paused {
            "other credentials, another model or a successful turn releases them"
        } else {
            "/wake or a prompt in the session releases them"
        };
        checks.push(note(
            "wakeups",
            format!("session {}: {} wait ({}); {release}", hold.session, hold.waiting, hold.reason),
        ));
    }
    let orphans = reader.orphans()?;
    for orphan in &orphans {
        let command: String = orphan.command.chars().take(COMMAND).collect();
        checks.push(note(
            "orphan",
            format!(
                "{} ({}) runs for session {}, which was deleted; the process list of the interface \
                 can end it",
                orphan.id,
                host::redact::secrets(&command),
                orphan.session
            ),
        ));
    }
    for session in reader.lost_owners()? {
        checks.push(broken(
            "ledger",
            format!("session {session} is gone but has work under way; the next start orphans it"),
        ));
    }
    checks.extend(reader.damage()?.into_iter().map(|line| broken("ledger", line)));
    checks.extend(strangers(reader, state)?);
    Ok(checks)
}

/// What a state of the ledger that deserves a word means for the user.
fn meaning(word: &str, n: u64) -> Check {
    let text = match word {
        "held" => "they wait for somebody, see `wakeups`",
        "finished" | "claimed" => {
            "not answered by the agent yet; a running host delivers them by itself"
        }
        "stale" => "matches that came too early to wake anybody; nothing needs to be done",
        "orphaned" => {
            "their session was deleted before they could be told; nothing needs to be done"
        }
        _ => {
            let text = "a state nobody knows: held until /wake or the next prompt of their \
                        session; a newer hermes-tui may know it";
            return broken("ledger", format!("{n} {word}: {text}"));
        }
    };
    note("ledger", format!("{n} {word}: {text}"))
}

/// Folders of processes that the database does not know.
fn strangers(reader: &Reader, state: &Path) -> Result<Option<Check>, Error> {
    let known = reader.process_ids()?;
    let mut strangers = folders(&state.join("proc"));
    strangers.retain(|name| !known.iter().any(|id| id.0 == *name));
    let Some(first) = strangers.first() else { return Ok(None) };
    let n = strangers.len();
    Ok(Some(note(
        "processes",
        format!(
            "{n} folders of processes that no session knows ({first} …): foreground commands of \
             now, or left over; a host removes them when they are a week old"
        ),
    )))
}
