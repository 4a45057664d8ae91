//! The ids of turn streams: 32 hex digits that name the session (20), the turn (8) and the run of
//! the host that gave the id out (4).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::{SessionId, TurnId};

/// What begins the digits of a session whose id does not fit into them. No id of ours begins so.
const HASHED: &str = "ffff";

/// The ids that one run of the host gives out.
#[derive(Debug)]
pub(super) struct StreamIds {
    /// Four hex digits that distinguish this run's ids from those of an earlier one.
    pub(super) nonce: String,
    /// Sessions whose ids do not fit, by the digits that stand for them.
    hashed: Mutex<HashMap<String, SessionId>>,
}

/// The ids of one session's streams.
#[derive(Clone, Debug)]
pub(super) struct SessionStreams {
    /// 20 hex digits for the session.
    pub(super) session: String,
    /// See [`StreamIds::nonce`].
    pub(super) nonce: String,
}

/// The id of a stream, parsed.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::serve) struct StreamId {
    pub(in crate::serve) session: SessionId,
    pub(in crate::serve) turn: TurnId,
    /// Whether this run of the host gave it out.
    pub(in crate::serve) is_current: bool,
}

impl SessionStreams {
    /// The id of a turn's stream.
    pub(super) fn id(&self, turn: TurnId) -> String {
        format!("{}{:08x}{}", self.session, turn.0, self.nonce)
    }
}

impl StreamIds {
    pub(super) fn new() -> Self {
        let nonce = uuid::Uuid::new_v4().simple().to_string()[..4].to_owned();
        Self { nonce, hashed: Mutex::default() }
    }

    /// The ids of a session's streams.
    pub(super) fn of(&self, session: &SessionId) -> SessionStreams {
        SessionStreams { session: self.digits(session), nonce: self.nonce.clone() }
    }

    /// Parses an id; `None` = no run of a host gave it out.
    pub(super) fn parse(&self, stream: &str) -> Option<StreamId> {
        if stream.len() != 32 || !stream.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let (session, rest) = stream.split_at(20);
        let (turn, nonce) = rest.split_at(8);
        let hashed = self.hashed().get(session).cloned();
        let session = hashed.unwrap_or_else(|| {
            SessionId(format!("{}_{}_{}", &session[..8], &session[8..14], &session[14..]))
        });
        let turn = TurnId(u64::from_str_radix(turn, 16).ok()?);
        Some(StreamId { session, turn, is_current: nonce == self.nonce })
    }

    /// Forgets a session that does not exist: names that clients invent must cost nothing.
    pub(super) fn forget(&self, session: &SessionId) {
        self.hashed().retain(|_, known| known != session);
    }

    /// Twenty hex digits for a session: its id without the underscores, or else a hash of it.
    fn digits(&self, session: &SessionId) -> String {
        let id = &session.0;
        let digits: String = id.chars().filter(|c| *c != '_').collect();
        let fits = id.len() == 22
            && digits.len() == 20
            && id.as_bytes().get(8) == Some(&b'_')
            && id.as_bytes().get(15) == Some(&b'_')
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            && !digits.starts_with('f');
        if fits {
            return digits;
        }
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let digits = format!("{HASHED}{:016x}", hasher.finish());
        self.hashed().insert(digits.clone(), session.clone());
        digits
    }

    pub(super) fn hashed(&self) -> MutexGuard<'_, HashMap<String, SessionId>> {
        self.hashed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
