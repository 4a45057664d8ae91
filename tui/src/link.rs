//! The state of the link to a remote host, in words.

use protocol::{Link, Millis};

use crate::clean::one_line;
use crate::time::span;
use crate::wrap::{columns, fit};

/// Columns of a reason at most.
const MAX_REASON: usize = 44;

/// Columns of a reason at least; with fewer it is left out.
const MIN_REASON: usize = 8;

/// The text for the status line in that many columns; `None` while the link is up.
pub(crate) fn status(link: &Link, now: Millis, width: usize) -> Option<String> {
    Some(match link {
        Link::Up => return None,
        Link::Connecting => "connecting…".to_owned(),
        Link::Down { why, attempt: _, retry_at } => {
            let left = seconds(*retry_at, now);
            let again =
                if left == 0 { "retrying".to_owned() } else { format!("retry in {}", span(left)) };
            with_reason("disconnected", why, &again, width)
        }
        Link::Polling { why } => with_reason("polling", why, "", width),
        Link::Refused { .. } => "not connected".to_owned(),
        Link::Stopped { retry_at } => match retry_at.map(|at| seconds(at, now)) {
            None => "the host was stopped".to_owned(),
            Some(0) => "the host was stopped · retrying".to_owned(),
            Some(left) => format!("the host was stopped · retry in {}", span(left)),
        },
    })
}

/// When that text changes by itself.
pub(crate) fn next_tick(link: &Link, now: Millis) -> Option<Millis> {
    match link {
        Link::Down { retry_at, .. } | Link::Stopped { retry_at: Some(retry_at) } => {
            let left = Millis::try_from(seconds(*retry_at, now)).ok().filter(|left| *left > 0)?;
            Some(retry_at.saturating_sub((left - 1).saturating_mul(1_000)))
        }
        Link::Up
        | Link::Connecting
        | Link::Polling { .. }
        | Link::Refused { .. }
        | Link::Stopped { retry_at: None } => None,
    }
}

/// Whole seconds until then, rounded up.
fn seconds(then: Millis, now: Millis) -> u64 {
    u64::try_from(then.saturating_sub(now)).unwrap_or(0).div_ceil(1_000)
}

/// State, reason and next step; the reason gets the room that is left.
fn with_reason(what: &str, why: &str, next: &str, width: usize) -> String {
    let next = if next.is_empty() { String::new() } else { format!(" · {next}") };
    let room = width.saturating_sub(columns(what) + columns(&next) + 5).min(MAX_REASON);
    let why = one_line(why);
    if why.is_empty() || room < MIN_REASON {
        return format!("{what}{next}");
    }
    format!("{what} · {}{next}", fit(&why, room))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_host_is_reported_with_a_countdown() {
        let says = |retry_at| status(&Link::Stopped { retry_at }, 1_000, 80).unwrap();
        assert_eq!(says(None), "the host was stopped");
        assert_eq!(says(Some(13_000)), "the host was stopped · retry in 12 s");
        assert_eq!(says(Some(500)), "the host was stopped · retrying");
        let tick = |retry_at| next_tick(&Link::Stopped { retry_at }, 1_000);
        assert_eq!((tick(None), tick(Some(3_000))), (None, Some(2_000)));
    }
}
