//! The limit on matches in the whole host (P04). It drops matches only, never the end of a
//! process, and remembers for each session how many.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::{Millis, SessionId};

/// So many matches may be told within [`SPAN`].
const MOST: usize = 15;
const SPAN: Millis = 10_000;

/// Counts the matches of all sessions.
#[derive(Debug)]
pub(super) struct Breaker {
    /// How long matches are dropped after one too many.
    silence: Millis,
    /// When the last ones were told.
    told: VecDeque<Millis>,
    /// When the silence began, while there is one.
    silent_since: Option<Millis>,
    dropped: BTreeMap<SessionId, u64>,
}

/// Whether a match may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Yes.
    Free,
    /// No, and it is the first one that its session loses.
    Tripped,
    /// No.
    Dropped,
}

impl Breaker {
    pub(super) fn new(silence: Duration) -> Self {
        let silence = i64::try_from(silence.as_millis()).unwrap_or(i64::MAX);
        Self { silence, told: VecDeque::new(), silent_since: None, dropped: BTreeMap::new() }
    }

    /// A match would be told.
    pub(super) fn admit(&mut self, session: &SessionId, now: Millis) -> Pass {
        if self.silent_since.is_none() {
            // A clock that was set back counts nothing twice.
            self.told.retain(|at| (0..SPAN).contains(&(now - at)));
            if self.told.len() < MOST {
                self.told.push_back(now);
                return Pass::Free;
            }
            self.told.clear();
            self.silent_since = Some(now);
        }
        let dropped = self.dropped.entry(session.clone()).or_default();
        *dropped += 1;
        if *dropped == 1 { Pass::Tripped } else { Pass::Dropped }
    }

    /// When the silence ends, while there is one.
    pub(super) fn deadline(&self) -> Option<Millis> {
        self.silent_since.map(|since| since + self.silence)
    }

    /// Ends a silence that is over: what each session has lost.
    pub(super) fn release(&mut self, now: Millis) -> BTreeMap<SessionId, u64> {
        match self.silent_since {
            Some(since) if !(0..self.silence).contains(&(now - since)) => {
                self.silent_since = None;
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
    fn fifteen_matches_in_ten_seconds_pass_and_the_sixteenth_trips() {
        // P04
        let mut breaker = breaker();
        for n in 0..15 {
            assert_eq!(breaker.admit(&id("a"), 1_000 + n), Pass::Free);
        }
        assert_eq!(breaker.deadline(), None);
        assert_eq!(breaker.admit(&id("a"), 10_999), Pass::Tripped);
        assert_eq!(breaker.deadline(), Some(40_999));
    }

    #[test]
    fn a_match_ten_seconds_old_does_not_count_any_more() {
        // P04
        let mut breaker = breaker();
        for n in 0..15 {
            breaker.admit(&id("a"), 1_000 + n);
        }
        assert_eq!(breaker.admit(&id("a"), 11_000), Pass::Free);
        assert_eq!(breaker.admit(&id("a"), 11_000), Pass::Tripped);
    }

    #[test]
    fn each_session_that_lost_one_is_told_once_and_gets_its_own_count_at_the_end() {
        // P04
        let mut breaker = breaker();
        for _ in 0..15 {
            breaker.admit(&id("a"), 0);
        }
        let lost = ["b", "a", "b", "b"].map(|name| breaker.admit(&id(name), 1));
        assert_eq!(lost, [Pass::Tripped, Pass::Tripped, Pass::Dropped, Pass::Dropped]);
        assert!(breaker.release(30_000).is_empty());
        assert_eq!(breaker.admit(&id("a"), 30_000), Pass::Dropped);
        let released: Vec<_> = breaker.release(30_001).into_iter().collect();
        assert_eq!(released, [(id("a"), 2), (id("b"), 3)]);
        assert!(breaker.release(30_002).is_empty() && breaker.deadline().is_none());
        // And it begins anew.
        assert_eq!(breaker.admit(&id("a"), 30_002), Pass::Free);
    }

    #[test]
    fn a_clock_that_is_set_back_ends_a_silence() {
        // P04
        let mut breaker = breaker();
        for _ in 0..16 {
            breaker.admit(&id("a"), 1_000_000);
        }
        assert_eq!(breaker.release(1).len(), 1);
        assert_eq!(breaker.admit(&id("a"), 1), Pass::Free);
    }
}
