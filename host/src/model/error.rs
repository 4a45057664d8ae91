//! Provider failures as a user reads them.

use super::Class;

impl Class {
    /// All of them.
    pub(super) const ALL: [Self; 9] = [
        Self::Auth,
        Self::Quota,
        Self::RateLimit,
        Self::ContextOverflow,
        Self::Unreachable,
        Self::Server,
        Self::Truncated,
        Self::UnknownModel,
        Self::Rejected,
    ];
}
