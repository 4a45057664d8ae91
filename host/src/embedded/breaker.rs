//! The limit on matches of watched processes in the whole host (P04). It drops matches only, never
//! the end of a process, and counts for each session how many.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::{Millis, SessionId};

/// Matches that are admitted within [`SPAN`].
const MOST: usize = 15;
/// The time within which matches are counted.
const SPAN: Millis = 10_000;

/// Counts the matches of all sessions.
#[derive(Debug)]
pub(super) struct Breaker {
    /// How long it stays open after one match too many.
    silence: Millis,
    /// When the last ones were admitted.
    admitted: VecDeque<Millis>,
    /// Since when it is open and drops all matches; `None` = it is closed.
    open_since: Option<Millis>,
    dropped: BTreeMap<SessionId, u64>,
}

/// Whether a match reaches its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It does.
    Admitted,
    /// It is dropped, as the first one of its session since the breaker opened.
    Tripped,
    /// It is dropped.
    Dropped,
}

impl Breaker {
    pub(super) fn new(silence: Duration) -> Self {
        let silence = i64::try_from(silence.as_millis()).unwrap_or(i64::MAX);
        Self { silence, admitted: VecDeque::new(), open_since: None, dropped: BTreeMap::new() }
    }

    /// Counts a match of a session and decides whether it passes.
    pub(super) fn admit(&mut self, session: &SessionId, now: Millis) -> Admission {
        if self.open_since.is_none() {
            // A clock that was set back counts nothing twice.
            self.admitted.retain(|at| (0..SPAN).contains(&(now - at)));
            if self.admitted.len() < MOST {
                self.admitted.push_back(now);
                return Admission::Admitted;
            }
            self.admitted.clear();
            self.open_since = Some(now);
        }
        let dropped = self.dropped.entry(session.clone()).or_default();
        *dropped += 1;
        if *dropped == 1 { Admission::Tripped } else { Admission::Dropped }
    }

    /// When it closes again, while it is open.
    pub(super) fn deadline(&self) -> Option<Millis> {
        self.open_since.map(|since| since + self.silence)
    }

    /// Closes the breaker if its time is over; returns how many matches each session has lost.
    pub(super) fn release(&mut self, now: Millis) -> BTreeMap<SessionId, u64> {
        match self.open_since {
            Some(since) if !(0..self.silence).contains(&(now - since)) => {
                self.open_since = None;
                std::mem::take(&mut self.dropped)
            }
            Some(_) | None => BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(crate::settings::Timing::default().match_silence)
    }

    fn id(name: &str) -> SessionId {
        SessionId(name.to_owned())
    }

    #[test]
    fn the_sixteenth_match_in_ten_seconds_trips_the_breaker() {
        // P04
        let mut breaker = breaker();
        for n in 0..15 {
            assert_eq!(breaker.admit(&id("a"), 1_000 + n), Admission::Admitted);
        }
        assert_eq!(breaker.deadline(), None);
        assert_eq!(breaker.admit(&id("a"), 10_999), Admission::Tripped);
        assert_eq!(breaker.deadline(), Some(40_999));
    }

    #[test]
    fn a_match_ten_seconds_old_does_not_count() {
        // P04
        let mut breaker = breaker();
        for n in 0..15 {
            breaker.admit(&id("a"), 1_000 + n);
        }
        assert_eq!(breaker.admit(&id("a"), 11_000), Admission::Admitted);
        assert_eq!(breaker.admit(&id("a"), 11_000), Admission::Tripped);
    }

    #[test]
    fn each_session_trips_once_and_gets_its_own_count() {
        // P04
        let mut breaker = breaker();
        for _ in 0..15 {
            breaker.admit(&id("a"), 0);
        }
        let lost = ["b", "a", "b", "b"].map(|name| breaker.admit(&id(name), 1));
        assert_eq!(
            lost,
            [Admission::Tripped, Admission::Tripped, Admission::Dropped, Admission::Dropped]
        );
        assert!(breaker.release(30_000).is_empty());
        assert_eq!(breaker.admit(&id("a"), 30_000), Admission::Dropped);
        let released: Vec<_> = breaker.release(30_001).into_iter().collect();
        assert_eq!(released, [(id("a"), 2), (id("b"), 3)]);
        assert!(breaker.release(30_002).is_empty() && breaker.deadline().is_none());
        // Counting starts anew.
        assert_eq!(breaker.admit(&id("a"), 30_002), Admission::Admitted);
    }

    #[test]
    fn a_clock_that_is_set_back_closes_the_breaker() {
        // P04
        let mut breaker = breaker();
        for _ in 0..16 {
            breaker.admit(&id("a"), 1_000_000);
        }
        assert_eq!(breaker.release(1).len(), 1);
        assert_eq!(breaker.admit(&id("a"), 1), Admission::Admitted);
    }
}
