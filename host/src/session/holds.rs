//! Wakeups that may not start a turn by themselves, and what lets them go on: an interrupt or too
//! many in a row hold them (W22, W31), a key that was refused pauses them (W20), a failure puts
//! them off (W29). None is lost, and a prompt of the user's takes all of them along (W05).

use super::turn::Turn;
use super::{Effects, Session};
use crate::model::Class;
use crate::store::{Entry, Pause, Record, Retry};
use crate::wakeup;
use protocol::{Event, Millis, News, Storage, Wakeup, WakeupKind};

const MINUTE: Millis = 60_000;
/// Failed wakeups are tried again by themselves after these times, then they wait (W29).
const RETRIES: [Millis; 4] = [MINUTE, 5 * MINUTE, 15 * MINUTE, 60 * MINUTE];

impl Session {
    /// When what waits may start a turn of its own; `None` = not without somebody's doing.
    pub(super) fn wakes_at(&self) -> Option<Millis> {
        let meta = &self.meta;
        if self.passive
            || meta.held.is_some()
            || meta.pause.is_some()
            || self.view.storage != Storage::Ok
        {
            return None;
        }
        let retried = meta.retry.as_ref().is_some_and(|r| delay(r.attempt).is_some());
        if !self.ledger.is_due(retried) {
            return None;
        }
        // What ends while a provider is down joins those that wait: one request finds out for all.
        let retry = meta.retry.as_ref().map_or(0, |r| r.at);
        Some(retry.max(self.settled_at().unwrap_or(0)))
    }

    /// When the waiting completions may be claimed, if a sibling may still join them.
    fn settled_at(&self) -> Option<Millis> {
        let sibling = self.view.processes.iter().any(|p| p.notify && p.is_live());
        self.ledger.settles_at().filter(|_| sibling)
    }

    /// Holds the session's wakeups until somebody acts (W22).
    pub(super) fn hold(&mut self, reason: &str, out: &mut Effects) {
        self.meta.held = Some(reason.to_owned());
        out.record(Record::Session(self.meta.clone()));
    }

    /// Lets all go, as the user asked: held, paused and put off (W20, W22, W29, W31).
    pub(super) fn release(&mut self, out: &mut Effects) {
        self.meta.wakeups_in_a_row = 0;
        self.end_hold(out);
        self.end_pause(out);
    }

    /// Ends a hold (W22).
    pub(super) fn end_hold(&mut self, out: &mut Effects) {
        if self.meta.held.take().is_some() {
            out.record(Record::Session(self.meta.clone()));
        }
    }

    /// What failed is worth a try at once: with another model, or because the last try worked.
    pub(super) fn end_pause(&mut self, out: &mut Effects) {
        if self.meta.pause.take().is_some() | self.meta.retry.take().is_some() {
            out.record(Record::Session(self.meta.clone()));
        }
        self.release_held(out);
    }

    fn release_held(&mut self, out: &mut Effects) {
        let released = self.ledger.release();
        self.apply_transitions(released, out);
    }

    /// Another model, address or key: what the earlier one refused or failed at may work now.
    pub(super) fn set_fingerprint(&mut self, fingerprint: String, out: &mut Effects) {
        if fingerprint != self.rules.fingerprint {
            self.rules.fingerprint = fingerprint;
            self.end_pause(out);
        }
    }

    /// A start of the host is one of the occasions to try again (W29); a refused key needs another
    /// one (W20).
    pub(super) fn resume_wakeups(&mut self, now: Millis, out: &mut Effects) {
        match (&self.meta.pause, &mut self.meta.retry) {
            (Some(pause), _) if pause.fingerprint == self.rules.fingerprint => {}
            (Some(_), _) => self.end_pause(out),
            (None, retry) => {
                if let Some(retry) = retry {
                    retry.at = retry.at.min(now);
                }
                self.release_held(out);
            }
        }
    }

    /// Puts back what a failed turn carried. It is tried again later, or waits for another key.
    pub(super) fn put_off(&mut self, class: &str, turn: &Turn, now: Millis, out: &mut Effects) {
        if !self.ledger.carries() {
            return;
        }
        let refusal = refusal(class);
        if refusal.is_some() && turn.fingerprint != self.rules.fingerprint {
            // The user has chosen another one meanwhile.
            return self.requeue(out);
        }
        let reason = if let Some(fix) = refusal {
            let pause =
                Pause { reason: fix.to_owned(), fingerprint: self.rules.fingerprint.clone() };
            self.meta.pause = Some(pause);
            self.meta.retry = None;
            fix.to_owned()
        } else {
            let attempt = self.retry_after(now);
            let next = match delay(attempt) {
                Some(delay) => format!("it is tried again within {} min", delay / MINUTE),
                None => "it waits".to_owned(),
            };
            let class = class.replace('_', " ");
            format!("the turn failed ({class}); {next}, or with your next prompt, or /wake")
        };
        out.record(Record::Session(self.meta.clone()));
        let held = self.ledger.hold(reason);
        self.apply_transitions(held, out);
    }

    /// Plans the next timed retry and gives its number. A try ahead of time costs none.
    fn retry_after(&mut self, now: Millis) -> u32 {
        match &self.meta.retry {
            Some(pending) if pending.at > now => pending.attempt,
            last => {
                let attempt = last.as_ref().map_or(0, |r| r.attempt).saturating_add(1);
                // Those that end after the last retry still keep a distance.
                let at = now + delay(attempt).unwrap_or(60 * MINUTE);
                self.meta.retry = Some(Retry { attempt, at });
                attempt
            }
        }
    }

    /// A clock that was set back must not make anything wait longer than it should.
    pub(super) fn check_clock(&mut self, now: Millis) {
        if let Some(retry) = &mut self.meta.retry {
            retry.at = retry.at.min(now + delay(retry.attempt).unwrap_or(60 * MINUTE));
        }
        self.ledger.check_clock(now);
        if let Some(at) = self.turn.as_mut().and_then(|turn| turn.give_up_at.as_mut()) {
            *at = (*at).min(now + self.rules.unwind);
        }
    }

    /// The wakeup of an event whose text is missing or could not be read: it costs only itself
    /// (W29).
    pub(super) fn unreadable_wakeup(&self, entry: &Entry) -> Wakeup {
        let id = &entry.process;
        let process = self.process(id);
        let command = process.map_or_else(|| "(unknown)".to_owned(), |p| p.command.clone());
        let lost = format!("[what was kept of its output cannot be read: process log {id}]");
        if let (WakeupKind::Exit, Some(exit)) = (entry.kind, process.and_then(|p| p.exit.as_ref()))
        {
            return wakeup::exited(id, &command, exit, &lost);
        }
        let command = crate::redact::secrets(&command).into_owned();
        Wakeup {
            process: id.clone(),
            kind: entry.kind,
            ordinal: entry.ordinal,
            text: format!(
                "[IMPORTANT: Background process {id} has news that cannot be read any more.\n\
                 Command: {command}\nOutput:\n{lost}]"
            ),
            command,
            exit: None,
            pattern: None,
        }
    }

    /// Shows the views why wakeups wait and how many ran without a user, when that has changed.
    pub(super) fn show_holds(&mut self, out: &mut Effects) {
        let reason = self.hold_reason();
        if self.view.held != reason {
            self.publish(Event::Held { reason: reason.clone() }, out);
        }
        let wakeups = self.meta.wakeups_in_a_row;
        if self.view.unattended != wakeups {
            self.publish(Event::Unattended { wakeups }, out);
        }
        // While a turn runs nothing waits for somebody; its end may change what does.
        let waiting =
            if self.turn.is_none() && reason.is_some() { self.ledger.waiting() } else { 0 };
        if let Some(text) = reason
            && waiting > self.held_toasted
        {
            self.toast(None, News::Held { waiting: waiting as u64 }, text, out);
        }
        self.held_toasted = waiting;
    }

    /// One line: how many wait, why, and what to do; `None` = nothing is held back.
    fn hold_reason(&self) -> Option<String> {
        let put_off = || self.ledger.held_reason().map(str::to_owned);
        let pause = || self.meta.pause.as_ref().map(|p| p.reason.clone());
        let reason = self.meta.held.clone().or_else(pause).or_else(put_off)?;
        Some(match self.ledger.waiting() {
            0 => reason,
            1 => format!("1 wakeup waits: {reason}"),
            n => format!("{n} wakeups wait: {reason}"),
        })
    }
}

/// How long after a failure that retry comes; `None` = no further one comes by itself.
fn delay(attempt: u32) -> Option<Millis> {
    let index = usize::try_from(attempt).ok()?.checked_sub(1)?;
    RETRIES.get(index).copied()
}

/// What to do about a failure that no retry can mend; `None` for the others.
fn refusal(class: &str) -> Option<&'static str> {
    if class == Class::Auth.as_str() {
        Some(
            "the provider refused the key, or there is none; choose another model with /model, or \
             set the key in .env or config.yaml and start again, then send a prompt or /wake",
        )
    } else if class == Class::Quota.as_str() {
        Some(
            "the account is out of credit; add some or choose another model with /model, then \
             send a prompt or /wake",
        )
    } else {
        None
    }
}
