//! When a stream counts as dead, and when it is tried again: values without a clock.

use std::collections::VecDeque;
use std::time::Duration;

use crate::settings::Timing;

/// Silence that is borne until the server's own pace is known: older servers send a keepalive
/// every 30 s.
const UNKNOWN: Duration = Duration::from_secs(90);
/// Keepalives that may be missed.
const MISSED: u32 = 3;
/// Silence that is borne in any case: a busy machine is not a dead link.
const LEAST: Duration = Duration::from_secs(2);
/// A comment that follows something so soon is no keepalive: a greeting, or several that were
/// held up and came together.
const TOO_SOON: Duration = Duration::from_millis(100);
/// Keepalives that are remembered. One distance is enough to know the pace; the longest of some
/// bears with a server whose clock stumbles.
const REMEMBERED: usize = 8;

/// How often a server gives a sign of life, as learned from it (E07).
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    distances: VecDeque<Duration>,
    /// How long ago the connection opened or the last keepalive came, if nothing but silence lies
    /// between: the only distance that says the pace of any kind of server.
    silent_for: Option<Duration>,
}

impl Pace {
    /// A connection has been opened.
    pub(crate) fn opened(&mut self) {
        self.silent_for = Some(Duration::ZERO);
    }

    /// A comment came, `after` the last byte before it.
    pub(crate) fn comment(&mut self, after: Duration) {
        if let Some(silent) = self.silent_for.map(|s| s + after)
            && silent >= TOO_SOON
        {
            if self.distances.len() == REMEMBERED {
                self.distances.pop_front();
            }
            self.distances.push_back(silent);
        }
        self.silent_for = Some(Duration::ZERO);
    }

    /// Takes over what another stream of the same server has learned.
    pub(crate) fn learn(&mut self, other: &Self) {
        self.distances.clone_from(&other.distances);
    }

    /// Something else came: from here to the next keepalive is no whole distance.
    pub(crate) fn event(&mut self) {
        self.silent_for = None;
    }

    /// The silence after which the stream is dead.
    pub(crate) fn limit(&self) -> Duration {
        match self.distances.iter().max() {
            // A quarter more: the third one may be late.
            Some(pace) => (*pace * MISSED + *pace / 4).max(LEAST),
            None => UNKNOWN,
        }
    }
}

/// Pauses between tries: `first` doubled up to `longest`, each shortened by up to a quarter so
/// that many clients of one server do not come at once (E08).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl From<Timing> for Backoff {
    fn from(timing: Timing) -> Self {
        Self { first: timing.reconnect, longest: timing.reconnect_at_most }
    }
}

impl Backoff {
    /// The pause after the failed try number `attempt`, from 1; `dice` is between 0 and 255.
    pub(crate) fn pause(&self, attempt: u32, dice: u8) -> Duration {
        let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(doubled).min(self.longest);
        if attempt <= 1 {
            // Never below the first pause.
            return whole + whole / 4 * u32::from(dice) / 255;
        }
        whole.saturating_sub(whole / 4 * u32::from(dice) / 255)
    }

    /// Whether a connection has lived so long that what failed before is forgotten.
    pub(crate) fn forgets(&self, lived: Duration) -> bool {
        lived >= self.longest / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    // E07
    #[test]
    fn silence_may_last_90_s_and_then_three_known_keepalives() {
        let mut pace = Pace::default();
        pace.opened();
        assert_eq!(pace.limit(), s(90));
        pace.comment(s(5));
        assert!(pace.limit() > s(15) && pace.limit() < s(18), "{:?}", pace.limit());
        let mut old = Pace::default();
        old.opened();
        old.comment(s(30));
        assert!(old.limit() > s(90) && old.limit() < s(100), "{:?}", old.limit());
    }

    // E07
    #[test]
    fn what_one_stream_of_a_server_has_learned_holds_for_another() {
        let mut known = Pace::default();
        known.opened();
        known.comment(s(5));
        let mut fresh = Pace::default();
        fresh.learn(&known);
        fresh.opened();
        fresh.event();
        assert_eq!(fresh.limit(), known.limit());
    }

    // E07
    #[test]
    fn only_a_whole_distance_of_silence_says_the_pace() {
        // A clock that does not care for events: 30 s, and an event just before a tick.
        let mut pace = Pace::default();
        pace.opened();
        pace.event();
        pace.comment(s(1));
        assert_eq!(pace.limit(), s(90), "one second is not its pace");
        pace.comment(s(30));
        assert!(pace.limit() > s(90));
        for _ in 0..20 {
            pace.event();
            pace.comment(s(1));
        }
        assert!(pace.limit() > s(90), "a quiet healthy link is never churned");
    }

    // E07
    #[test]
    fn greetings_and_bunched_keepalives_do_not_shorten_the_limit() {
        let mut pace = Pace::default();
        pace.opened();
        pace.comment(Duration::from_millis(3));
        assert_eq!(pace.limit(), s(90), "a greeting");
        pace.comment(s(5));
        let known = pace.limit();
        for _ in 0..20 {
            pace.comment(Duration::from_millis(1));
        }
        assert_eq!(pace.limit(), known);
    }

    // E07
    #[test]
    fn a_stumble_is_forgotten_in_time() {
        let mut pace = Pace::default();
        pace.opened();
        pace.comment(s(5));
        let known = pace.limit();
        pace.comment(s(14));
        assert!(pace.limit() > known);
        for _ in 0..REMEMBERED {
            pace.comment(s(5));
        }
        assert_eq!(pace.limit(), known);
    }

    // E08
    #[test]
    fn pauses_grow_from_one_and_a_half_to_twenty_seconds() {
        let backoff = Backoff::from(Timing::default());
        let plain: Vec<_> = (1..=6).map(|n| backoff.pause(n, 0).as_millis()).collect();
        assert_eq!(plain, [1500, 3000, 6000, 12_000, 20_000, 20_000]);
        for attempt in [0, 1, 2, 5, 31, 32, 33, 1000, u32::MAX] {
            for dice in [0, 1, 128, 255] {
                let pause = backoff.pause(attempt, dice);
                assert!(pause >= backoff.first && pause <= backoff.longest, "{attempt} {pause:?}");
            }
        }
        assert_ne!(backoff.pause(3, 0), backoff.pause(3, 255), "there is jitter");
        assert_ne!(backoff.pause(1, 0), backoff.pause(1, 255));
        assert!(!backoff.forgets(s(9)) && backoff.forgets(s(10)));
    }
}
