//! The doctor's checks of background work: counts of the ledger, what waits for the user, what has
//! no owner, and what cannot be read.

use host::state_dir::StateDir;

use host::store::{Error, Lock, Reader, Underway};

use super::{Check, broken, count, note, ok, subdirectories};

/// Characters of a command line that are shown.
const COMMAND: usize = 60;

/// All checks. Empty where there is no database yet.
pub(super) fn checks(state: &StateDir) -> Vec<Check> {
    let checks = Reader::open(state).and_then(|reader| read(&reader, state));
    checks.unwrap_or_else(|error| vec![broken("ledger", error.to_string())])
}

fn read(reader: &Reader, state: &StateDir) -> Result<Vec<Check>, Error> {
    let counts = reader.ledger_counts()?;
    let underway = reader.underway()?;
    let mut checks: Vec<Check> =
        open(underway, Lock::is_held(&state.host_lock())).into_iter().collect();
    if !counts.is_empty() {
        let stages: Vec<String> = counts.iter().map(|(stage, n)| format!("{n} {stage}")).collect();
        checks.push(ok("ledger", stages.join(", ")));
    }
    let undelivered = ["finished", "claimed"].iter().filter_map(|word| counts.get(*word)).sum();
    for (word, n) in &counts {
        if !matches!(word.as_str(), "spawned" | "delivered" | "consumed") {
            checks.push(meaning(word, *n, underway.due, undelivered));
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
            format!(
                "session {}: {} waiting ({}); {release}",
                hold.session, hold.waiting, hold.reason
            ),
        ));
    }
    let orphans = reader.orphans()?;
    for orphan in &orphans {
        let command: String = orphan.command.chars().take(COMMAND).collect();
        checks.push(note(
            "orphan",
            format!(
                "{} ({}) is running for session {}, which was deleted; the process list of the \
                 interface can end it",
                orphan.id,
                host::redact::secrets(&command),
                orphan.session
            ),
        ));
    }
    for session in reader.lost_owners()? {
        checks.push(broken(
            "ledger",
            format!("session {session} is gone but has unfinished work; the next start orphans it"),
        ));
    }
    checks.extend(reader.damage()?.into_iter().map(|line| broken("ledger", line)));
    checks.extend(unknown_processes(reader, state)?);
    Ok(checks)
}

/// Unfinished turns, prompts and questions of all sessions, if there are any.
fn open(underway: Underway, is_running: bool) -> Option<Check> {
    let counts = [
        (underway.turns, "open turn"),
        (underway.queued, "waiting prompt"),
        (underway.questions, "unanswered question"),
    ];
    let words = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| count(*n, what));
    let words: Vec<_> = words.collect();
    if words.is_empty() {
        return None;
    }
    let words = words.join(", ");
    Some(if is_running {
        ok("open", words)
    } else {
        note("open", format!("{words}; the next start of an interface or a host resumes it"))
    })
}

/// What a stage of the ledger means for the user. Of all `undelivered` entries so many are `due`:
/// delivered without help.
fn meaning(word: &str, n: u64, due: u64, undelivered: u64) -> Check {
    let partly = format!(
        "not answered by the agent yet; a running host delivers {due} of {undelivered} by itself, \
         the sessions of the others are held, see `wakeups`"
    );
    let text = match word {
        "held" => "they wait for the user, see `wakeups`",
        "finished" | "claimed" if due >= undelivered => {
            "not answered by the agent yet; a running host delivers them by itself"
        }
        "finished" | "claimed" if due == 0 => {
            "not answered by the agent yet, and their sessions are held, see `wakeups`"
        }
        "finished" | "claimed" => &partly,
        "stale" => {
            "matches that came too soon after others to start a turn; nothing needs to be done"
        }
        "orphaned" => {
            "their session was deleted before they were delivered; nothing needs to be done"
        }
        _ => {
            let text = "an unknown state: held until /wake or the next prompt of their \
                        session; a newer hermes-tui may know it";
            return broken("ledger", format!("{n} {word}: {text}"));
        }
    };
    note("ledger", format!("{n} {word}: {text}"))
}

/// Process directories that the database does not know.
fn unknown_processes(reader: &Reader, state: &StateDir) -> Result<Option<Check>, Error> {
    let known = reader.process_ids()?;
    let mut unknown = subdirectories(&state.processes());
    unknown.retain(|name| !known.iter().any(|id| id.0 == *name));
    let Some(first) = unknown.first() else { return Ok(None) };
    let n = unknown.len();
    Ok(Some(note(
        "processes",
        format!(
            "{} of processes that no session knows ({first} …): running foreground commands, or \
             leftovers, which a host removes after a week",
            count(n as u64, "directory")
        ),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn only_entries_that_nothing_holds_are_said_to_be_delivered() {
        let says = |due| meaning("finished", 3, due, 3).text;
        assert!(says(3).ends_with("a running host delivers them by itself"), "{}", says(3));
        assert!(says(0).contains("held, see `wakeups`"), "{}", says(0));
        assert!(!says(0).contains("delivers"), "{}", says(0));
        assert!(says(1).contains("delivers 1 of 3 by itself"), "{}", says(1));
    }

    #[test]
    fn unfinished_work_needs_a_start_only_where_no_host_runs() {
        let underway = Underway { turns: 2, questions: 1, ..Underway::default() };
        let check = open(underway, true).unwrap();
        assert_eq!(
            (check.state, check.text.as_str()),
            (State::Ok, "2 open turns, 1 unanswered question")
        );
        assert_eq!(open(underway, false).unwrap().state, State::Note);
        assert!(open(Underway { due: 4, ..Underway::default() }, false).is_none());
    }
}
