//! The options of the interface: where it runs, and what the user has configured.

use std::collections::BTreeMap;

use crate::theme::Palette;

/// What the interface is told about where it runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Our version, for the banner.
    pub version: String,
    /// The home directory, shown as `~`.
    pub home: Option<String>,
    /// Colours; [`Palette::Plain`] under `NO_COLOR`.
    pub palette: Palette,
    /// The value of `TERM`.
    pub term: String,
    /// What the user should know from the start.
    pub notes: Vec<String>,
    /// How people call the host, if it is not this machine's own.
    pub host_name: Option<String>,
    /// The host is another process: quitting leaves it as it is, and asks nothing.
    pub attached: bool,
    /// Go along when another front end opens another session (`hermes_tui.follow`).
    pub follow: bool,
    /// What was being written when an interface ended, by session id; without one, for a session
    /// that has no rows. It is put back into the input when its session comes into view.
    pub drafts: BTreeMap<String, String>,
}
