//! Watched output: what a match does to the session (P01 to P05).

use super::{Effects, Session};
use crate::process::WatchHit;
use crate::redact;
use crate::store::Record;
use crate::wakeup;
use protocol::{Delivery, Millis, News, Process, ProcessId, TurnId, Wakeup, Watching};

/// A watch is switched off in the window that would be this many in a row with suppressed lines.
const STRIKES: u32 = 3;

/// The decision about a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MatchDecision {
    /// It is delivered, with the number of lines suppressed before it.
    Deliver { suppressed: u64 },
    /// It is counted only: another one was delivered shortly before.
    Suppress,
    /// The watch is switched off, which is delivered with the number of suppressed lines.
    Disable { suppressed: u64 },
    /// It came too early or too late to start a turn: kept in the list (P05).
    Stale,
}

/// The rate limit of one process: `lines` matched at `now`.
///
/// A window is the time `gap` after a match that was delivered. The first line that is suppressed in it is
/// its strike; a window without one begins the count anew.
fn limit(watching: &mut Watching, lines: u64, gap: Millis, now: Millis) -> MatchDecision {
    // A clock that was set back never keeps a window open.
    let inside = watching.told_at.is_some_and(|told| (0..gap).contains(&(now - told)));
    if !inside {
        if watching.suppressed == 0 {
            watching.strikes = 0;
        }
        watching.told_at = Some(now);
        return MatchDecision::Deliver { suppressed: std::mem::take(&mut watching.suppressed) };
    }
    if watching.suppressed == 0 {
        watching.strikes += 1;
    }
    watching.suppressed += lines;
    if watching.strikes < STRIKES {
        return MatchDecision::Suppress;
    }
    watching.off = true;
    MatchDecision::Disable { suppressed: std::mem::take(&mut watching.suppressed) }
}

impl Session {
    /// Whether a match would be delivered: what the whole host's limit counts (P04).
    pub(crate) fn would_deliver(&self, id: &ProcessId, hit: &WatchHit, now: Millis) -> bool {
        let Some(process) = self.process(id).filter(|p| p.is_watched()) else { return false };
        matches!(self.decide_match(process, hit, now).1, MatchDecision::Deliver { .. })
    }

    /// The state of the watch after a match, and the decision about it.
    fn decide_match(
        &self,
        process: &Process,
        hit: &WatchHit,
        now: Millis,
    ) -> (Watching, MatchDecision) {
        let mut watching = process.watching.clone();
        watching.hits += hit.lines;
        watching.offset = watching.offset.max(hit.upto);
        let decision = if self.is_stale(process, hit) {
            watching.stale += 1;
            MatchDecision::Stale
        } else {
            limit(&mut watching, hit.lines, self.rules.match_gap, now)
        };
        (watching, decision)
    }

    /// Whether a match starts no turn (P05): the turn that spawned the process had not given its
    /// final answer, the user began anew since, or somebody has asked for the end of the process.
    fn is_stale(&self, process: &Process, hit: &WatchHit) -> bool {
        let early = match process.watching.since {
            Some(since) => hit.at < since,
            None => self.turn.as_ref().is_some_and(|turn| turn.id == process.turn),
        };
        early || self.meta.reset >= process.turn || process.killed_by.is_some()
    }

    /// Lines of a watched process matched.
    pub(super) fn matched(
        &mut self,
        id: &ProcessId,
        hit: WatchHit,
        admitted: bool,
        now: Millis,
        out: &mut Effects,
    ) {
        let Some(mut process) = self.process(id).filter(|p| p.is_watched()).cloned() else {
            return;
        };
        let (mut watching, decision) = self.decide_match(&process, &hit, now);
        match decision {
            MatchDecision::Stale | MatchDecision::Suppress => {}
            // Dropped by the whole host's limit: as if it had not been, but for the counts.
            MatchDecision::Deliver { .. } if !admitted => {
                let Watching { hits, offset, .. } = watching;
                watching = Watching { hits, offset, ..process.watching };
            }
            MatchDecision::Deliver { suppressed } => {
                let wakeup = wakeup::matched(&process, &hit, watching.matches, suppressed);
                watching.matches += 1;
                self.add_watch_event(wakeup, hit.at, out);
                let text = format!(
                    "{} matched \"{}\"",
                    redact::secrets(&process.command),
                    redact::secrets(&hit.pattern)
                );
                self.toast(Some(id), News::Matched { pattern: hit.pattern }, text, out);
            }
            MatchDecision::Disable { suppressed } => {
                self.add_watch_event(wakeup::watch_disabled(&process, suppressed), hit.at, out);
                let command = redact::secrets(&process.command);
                let text = format!("{command} matched too often: only its end will be told");
                self.toast(Some(id), News::WatchDisabled, text, out);
                process.notify = true;
                if process.delivery != Delivery::Consumed {
                    self.expect_exit(&process, now, out);
                }
            }
        }
        process.watching = watching;
        self.change_process(process, out);
    }

    /// An event of a watch waits for a turn, in a ledger row of its own (P01).
    fn add_watch_event(&mut self, wakeup: Wakeup, at: Millis, out: &mut Effects) {
        let waits = self.ledger.add_watch_event(wakeup, at);
        self.apply_transition(waits, out);
    }

    /// A turn is over: from now on matches of what it spawned wake the agent (P05).
    pub(super) fn enable_matches(&mut self, turn: TurnId, now: Millis, out: &mut Effects) {
        let spawned = |p: &&Process| p.turn == turn && p.is_watched() && p.watching.since.is_none();
        let spawned: Vec<Process> = self.view.processes.iter().filter(spawned).cloned().collect();
        for mut process in spawned {
            process.watching.since = Some(now);
            self.change_process(process, out);
        }
    }

    /// The user began anew in another session. Not activity: the session does not become the latest one.
    pub(super) fn reset(&mut self, out: &mut Effects) {
        if self.stored == super::Stored::Yes && self.meta.reset != self.turns {
            self.meta.reset = self.turns;
            out.record(Record::Session(self.meta.clone()));
        }
    }
}
