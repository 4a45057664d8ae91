//! When a card or a dialog takes keys: only once the keyboard has been quiet, so that a key that
//! was meant for something else decides nothing (C11).

use ratatui::text::Line;

use crate::theme::Theme;
use crate::wrap::fit;

/// How long the keyboard must be quiet before a card takes keys (C11).
pub(crate) const QUIET: u64 = 500;

/// Whether a card takes keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It does.
    Armed,
    /// Not yet: the keyboard was in use a moment ago.
    Quieting,
    /// Not while something is typed in the input.
    Typing,
}

/// The line that names the keys of a card, or why it takes none.
pub(crate) fn hint(keys: Readiness, armed: &str, width: usize, theme: &Theme) -> Line<'static> {
    let text = match keys {
        Readiness::Armed => armed,
        Readiness::Quieting => "ready once you stop typing",
        Readiness::Typing => "ready once the input is empty",
    };
    Line::styled(fit(text, width), theme.dim)
}
