//! What the doctor says of background work: the ledger's counts, what waits for somebody, what has
//! no owner, and what cannot be read.

use host::state_dir::StateDir;

use host::store::{Error, Lock, Reader, Underway};

use super::{Check, broken, folders, note, ok, several};

/// Characters of a command line.
const COMMAND: usize = 60;

/// All checks of it. Nothing is said where there is no database yet.
pub(super) fn checks(state: &StateDir) -> Vec<Check> {
    let looked = Reader::open(state).and_then(|reader| look(&reader, state));
    looked.unwrap_or_else(|error| vec![broken("ledger", error.to_string())])
}

fn look(reader: &Reader, state: &StateDir) -> Result<Vec<Check>, Error> {
    let counts = reader.ledger_counts()?;
    let underway = reader.underway()?;
    let mut checks: Vec<Check> =
        open(underway, Lock::is_held(&state.host_lock())).into_iter().collect();
    if !counts.is_empty() {
        let words: Vec<String> = counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
        checks.push(ok("ledger", words.join(", ")));
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

/// What is open in all sessions, if anything is.
fn open(underway: Underway, is_running: bool) -> Option<Check> {
    let counts = [
        (underway.turns, "open turn"),
        (underway.queued, "waiting prompt"),
        (underway.questions, "unanswered question"),
    ];
    let words = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| several(*n, what));
    let words: Vec<_> = words.collect();
    if words.is_empty() {
        return None;
    }
    let words = words.join(", ");
    Some(if is_running {
        ok("open", words)
    } else {
        note("open", format!("{words}; the next start of an interface or a host goes on with it"))
    })
}

/// What a state of the ledger that deserves a word means for the user. Of all that are
/// `undelivered` so many are `due`: delivered without anybody's help.
fn meaning(word: &str, n: u64, due: u64, undelivered: u64) -> Check {
    let partly = format!(
        "not answered by the agent yet; a running host delivers {due} of {undelivered} by itself, \
         the sessions of the others are held, see `wakeups`"
    );
    let text = match word {
        "held" => "they wait for somebody, see `wakeups`",
        "finished" | "claimed" if due >= undelivered => {
            "not answered by the agent yet; a running host delivers them by itself"
        }
        "finished" | "claimed" if due == 0 => {
            "not answered by the agent yet, and their sessions are held, see `wakeups`"
        }
        "finished" | "claimed" => &partly,
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
fn strangers(reader: &Reader, state: &StateDir) -> Result<Option<Check>, Error> {
    let known = reader.process_ids()?;
    let mut strangers = folders(&state.processes());
    strangers.retain(|name| !known.iter().any(|id| id.0 == *name));
    let Some(first) = strangers.first() else { return Ok(None) };
    let n = strangers.len();
    Ok(Some(note(
        "processes",
        format!(
            "{} of processes that no session knows ({first} …): foreground commands of now, or \
             left over; a host removes them when they are a week old",
            several(n as u64, "folder")
        ),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn what_waits_is_said_to_be_delivered_only_where_nothing_holds_it() {
        let says = |due| meaning("finished", 3, due, 3).text;
        assert!(says(3).ends_with("a running host delivers them by itself"), "{}", says(3));
        assert!(says(0).contains("held, see `wakeups`"), "{}", says(0));
        assert!(!says(0).contains("delivers"), "{}", says(0));
        assert!(says(1).contains("delivers 1 of 3 by itself"), "{}", says(1));
    }

    #[test]
    fn what_is_open_needs_a_start_only_where_no_host_runs() {
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
