//! The options of the interface: where it runs, and what the user has configured.

use std::collections::BTreeMap;

use crate::theme::Palette;

/// The options of the interface.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The version in the banner.
    pub version: String,
    /// The home directory, shown as `~`.
    pub home: Option<String>,
    /// Colours; [`Palette::Plain`] under `NO_COLOR`.
    pub palette: Palette,
    /// The value of `TERM`.
    pub term: String,
    /// Notes shown to the user at the start.
    pub notes: Vec<String>,
    /// The name of the host for people, if it is not this machine's own.
    pub host_name: Option<String>,
    /// The host is another process: quitting leaves it running and asks nothing.
    pub attached: bool,
    /// Follow other clients to the session they open (`hermes_tui.follow`).
    pub follow: bool,
    /// The texts that were in the input when an interface ended, by session id; the empty id stands for
    /// a session without rows. Each returns to the input when its session comes to the screen.
    pub drafts: BTreeMap<String, String>,
}
