//! Toolsets: the names by which tools are chosen for a session. Which tool is in which one stands
//! in the table of tools.

/// A group of tools that is chosen as one, by the name that hermes gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolset {
    Terminal,
    File,
    Todo,
    Clarify,
    Delegation,
}

/// The name of them all.
const ALL: &str = "all";

impl Toolset {
    pub(crate) const ALL: [Self; 5] =
        [Self::Terminal, Self::File, Self::Todo, Self::Clarify, Self::Delegation];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::File => "file",
            Self::Todo => "todo",
            Self::Clarify => "clarify",
            Self::Delegation => "delegation",
        }
    }

    /// Whether a choice of names holds this one.
    pub(crate) fn is_in(self, chosen: &[String]) -> bool {
        chosen.iter().any(|name| name == self.name() || name == ALL)
    }
}

/// Checks a choice of toolsets; the error names what is wrong with it.
pub(crate) fn check(chosen: &[String]) -> Result<(), String> {
    let known = || Toolset::ALL.into_iter().map(Toolset::name).chain([ALL]);
    let listed = known().collect::<Vec<_>>().join(", ");
    if chosen.is_empty() {
        return Err(format!("name at least one toolset of {listed}"));
    }
    let unknown = chosen.iter().filter(|name| !known().any(|known| known == name.as_str()));
    let unknown: Vec<String> = unknown.map(|name| name.chars().take(40).collect()).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(format!("this host has no toolset {}; it has {listed}", unknown.join(", ")))
}
