//! Colours and weights by what they mean. The only place that names a colour.
//!
//! Sixteen ANSI colours, bold and dim, so that the user's own palette decides and both dark and
//! light backgrounds work.

use ratatui::style::{Color, Modifier, Style};

/// How much colour the terminal gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Palette {
    /// The sixteen ANSI colours.
    #[default]
    Ansi,
    /// None (`NO_COLOR`): weight and underline only.
    Plain,
}

/// Styles by meaning.
#[derive(Clone, Debug)]
pub(crate) struct Theme {
    pub(crate) text: Style,
    pub(crate) dim: Style,
    pub(crate) bold: Style,
    pub(crate) accent: Style,
    pub(crate) user: Style,
    pub(crate) ok: Style,
    pub(crate) warn: Style,
    pub(crate) error: Style,
    pub(crate) code: Style,
    pub(crate) heading: Style,
    pub(crate) link: Style,
    pub(crate) added: Style,
    pub(crate) removed: Style,
    pub(crate) hunk: Style,
    pub(crate) fired: Style,
    pub(crate) selected: Style,
    pub(crate) toast: Style,
    pub(crate) question_border: Style,
    pub(crate) wakeup_border: Style,
}

impl Theme {
    pub(crate) fn new(palette: Palette) -> Self {
        let plain = Style::new();
        let colour = |colour: Color| match palette {
            Palette::Ansi => plain.fg(colour),
            Palette::Plain => plain,
        };
        let bold = plain.add_modifier(Modifier::BOLD);
        Self {
            text: plain,
            dim: plain.add_modifier(Modifier::DIM),
            bold,
            accent: colour(Color::Cyan),
            user: colour(Color::Cyan).add_modifier(Modifier::BOLD),
            ok: colour(Color::Green),
            warn: colour(Color::Yellow),
            error: colour(Color::Red).add_modifier(Modifier::BOLD),
            code: colour(Color::Cyan),
            heading: bold,
            link: plain.add_modifier(Modifier::UNDERLINED),
            added: colour(Color::Green),
            removed: colour(Color::Red),
            hunk: colour(Color::Cyan).add_modifier(Modifier::DIM),
            fired: colour(Color::Red).add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
            selected: plain.add_modifier(Modifier::REVERSED),
            toast: plain.add_modifier(Modifier::REVERSED),
            question_border: colour(Color::Yellow),
            wakeup_border: colour(Color::Magenta),
        }
    }
}
