//! The rules that the user granted for a session. Not the permanent list, which is configuration.

use std::collections::BTreeSet;

/// Rules that are not asked about again in this session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Ids of granted rules.
    pub rules: BTreeSet<String>,
}

impl Grants {
    /// Grants a rule.
    pub fn grant(&mut self, rule: &str) {
        self.rules.insert(rule.to_owned());
    }

    /// Whether a rule is granted.
    pub fn contains(&self, rule: &str) -> bool {
        self.rules.contains(rule)
    }
}
