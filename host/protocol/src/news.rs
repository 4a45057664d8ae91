//! News about background events, and the state of the connection to a host.

use serde::{Deserialize, Serialize};

use crate::id::{Millis, ProcessId, SessionId};
use crate::process::{Delivery, Exit};

/// A notification about a background event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Toast {
    /// The session it belongs to.
    pub session: SessionId,
    /// The session's display name: its title, or the beginning of its first prompt.
    #[serde(default)]
    pub name: String,
    /// The process it is about, if it is about one.
    pub process: Option<ProcessId>,
    /// What happened.
    pub news: News,
    /// One line.
    pub text: String,
}

impl Toast {
    /// The toast about an answer to a question of that session that came too late.
    pub fn late(session: SessionId, name: String) -> Self {
        Self { session, name, process: None, news: News::Late, text: String::new() }
    }
}

/// What a toast reports (P11).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum News {
    /// A process or a delegated task ended.
    Ended {
        /// How.
        exit: Exit,
        /// What became of its completion.
        delivery: Delivery,
    },
    /// Output matched a watch pattern.
    Matched {
        /// The pattern.
        pattern: String,
    },
    /// A watch was disabled because it matched too often.
    WatchDisabled,
    /// Too many watches matched at once; matches are dropped for a while (P04).
    Tripped,
    /// Matches are delivered again.
    Released {
        /// How many matches of this session were dropped.
        dropped: u64,
    },
    /// The agent asked a question and waits for the answer (C16).
    Asked,
    /// Wakeups are held until the user acts (W20, W22, W29, W31).
    Held {
        /// How many are held now.
        waiting: u64,
    },
    /// A turn has been running for a long time (R10).
    Working {
        /// For how long, in milliseconds.
        elapsed: Millis,
    },
    /// This view's answer to a question of another session came too late and was ignored.
    Late,
    /// Unknown: from a newer host.
    #[serde(other)]
    Unknown,
}

/// The state of the connection to a remote host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Link {
    /// Connected.
    Up,
    /// Connecting.
    Connecting,
    /// Lost; another attempt follows.
    Down {
        /// What went wrong, in one line.
        why: String,
        /// The number of attempts that failed in a row.
        attempt: u32,
        /// When the next attempt is made, by the local clock.
        retry_at: Millis,
    },
    /// Event streams do not work; the state is polled every few seconds instead (E08).
    Polling {
        /// Why the streams do not work.
        why: String,
    },
    /// The host refused the connection; no further attempt is made.
    Refused {
        /// What to do.
        message: String,
    },
    /// The host was stopped on purpose. Attempts go on: another host may take its place.
    Stopped {
        /// When the next attempt is made; `None` = continuously, because it costs nothing.
        retry_at: Option<Millis>,
    },
}
