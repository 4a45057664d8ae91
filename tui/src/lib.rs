//! The terminal interface: how a session looks and what keys do.
//!
//! It knows [`protocol`] alone, nothing of models and tools. [`run()`] owns the terminal and all
//! waiting; everything else is state ([`app`]) and drawing.

mod app;
mod arming;
mod boxed;
mod card;
mod clean;
mod composer;
mod confirm;
mod draw;
mod files;
mod goal;
mod help;
mod inbox;
mod keymap;
mod link;
mod numbers;
mod options;
mod picker;
mod process_exit;
mod processes;
mod quit;
mod refresh;
mod run;
mod select;
mod sessions;
mod slash;
mod status;
mod term;
#[cfg(test)]
mod testing;
mod theme;
mod time;
mod toast;
mod transcript;
mod wrap;

pub use options::Options;
pub use quit::ExitMode;
pub use run::{Exit, Interface, run};
pub use term::DrawStats;
pub use theme::Palette;
