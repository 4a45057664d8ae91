//! Decides whether a shell command runs at once, after approval, or never.
//!
//! The command is parsed, not searched: quoting is removed, and wrappers such as `sudo` or
//! `bash -c` are unwrapped. Pure: runs nothing, reads no file and no clock. It checks text that a
//! model wrote; it is not a sandbox, and a script it cannot read may still do anything.
//!
//! Invariant: what cannot be read is asked about, never silently allowed.

mod danger;
mod grants;
mod paths;
mod rules;
mod shell;
mod wrap;

#[cfg(test)]
mod tests;

use crate::settings::Mode;
pub use grants::Grants;
pub use rules::{Rule, Severity, rules};

/// What to do with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Run it.
    Allow,
    /// Ask the user first.
    Ask(Finding),
    /// Never run it; no answer can approve it.
    Block(Finding),
}

/// Why a command is not simply allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's stable id.
    pub rule: &'static str,
    /// The reason, for the user.
    pub reason: String,
    /// The part of the command that fired the rule; in code run by `bash -c` and the like, a part of
    /// that code.
    pub part: String,
    /// Whether "always" may be offered.
    pub allow_always: bool,
}

/// What the user configured.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Ask, or allow everything that is not blocked.
    pub mode: Mode,
    /// Globs of commands that never run, whatever the mode.
    pub deny: Vec<String>,
    /// Ids (or reasons) of rules that are always granted, where the rule allows that.
    pub always: Vec<String>,
}

/// Checks a command: hard blocks, then the user's deny globs, then the mode, then grants and rules.
/// `Ask` carries the most dangerous rule that is not granted.
pub fn check(command: &str, policy: &Policy, session_grants: &Grants) -> Decision {
    let script = shell::read(command);
    let mut hits = danger::hits(&script);
    if script.flawed {
        hits.extend(danger::scan(command));
        hits.push(danger::RuleHit { rule: "unparsable", part: command.to_owned() });
    }
    let mut findings: Vec<(&'static Rule, String)> =
        hits.into_iter().filter_map(|hit| Some((rules::find(hit.rule)?, hit.part))).collect();
    findings.sort_by_key(|(rule, _)| rules::rank(rule));

    if let Some((rule, part)) = findings.first()
        && rule.severity == Severity::Block
    {
        return Decision::Block(rule.finding(part.clone()));
    }
    if let Some(finding) = denied(command, &script, &policy.deny) {
        return Decision::Block(finding);
    }
    match policy.mode {
        Mode::Off => return Decision::Allow,
        Mode::Manual => {}
    }
    findings
        .into_iter()
        .find(|(rule, _)| !session_grants.contains(rule.id) && !always(rule, policy))
        .map_or(Decision::Allow, |(rule, part)| Decision::Ask(rule.finding(part)))
}

fn always(rule: &Rule, policy: &Policy) -> bool {
    rule.allow_always && policy.always.iter().any(|key| key == rule.id || key == rule.reason)
}

/// The first deny glob that matches the whole command, one of its commands as written, or one of
/// them without its quoting.
fn denied(command: &str, script: &shell::Script, globs: &[String]) -> Option<Finding> {
    let rule = rules::find("denied")?;
    globs.iter().find_map(|pattern| {
        let matches = |text: &str| glob_matches(pattern, text.trim());
        let part = if matches(command) {
            Some(command.to_owned())
        } else {
            script
                .calls
                .iter()
                .find(|call| matches(&call.part) || matches(&call.words.join(" ")))
                .map(|call| call.part.clone())
        }?;
        Some(Finding { reason: format!("{}: {pattern}", rule.reason), ..rule.finding(part) })
    })
}

/// Matches a glob; an invalid one is compared as plain text.
fn glob_matches(pattern: &str, text: &str) -> bool {
    globset::GlobBuilder::new(pattern)
        .case_insensitive(true)
        .build()
        .map_or(pattern == text, |glob| glob.compile_matcher().is_match(text))
}
