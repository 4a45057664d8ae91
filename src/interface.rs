//! What every run of the interface needs, whether its host is in this process or not: its options,
//! its drafts and what is printed after it.

use std::path::Path;

use tui::{Interface, Palette};

use crate::drafts::{self, Drafts};

/// The options of an interface. `attached`: the host is another process.
pub(crate) fn options(notes: Vec<String>, attached: bool, drafts: Drafts) -> tui::Options {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    tui::Options {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        home: std::env::home_dir().map(|h| h.display().to_string()),
        palette: if is_plain { Palette::Plain } else { Palette::Ansi },
        term: std::env::var("TERM").unwrap_or_default(),
        notes,
        host_name: None,
        attached,
        follow: false,
        drafts,
    }
}

/// Writes what is being typed to a directory of drafts, which holds `saved` so far.
pub(crate) fn save_drafts(dir: &Path, saved: &mut Drafts, interface: &Interface) {
    let now = interface.drafts();
    match drafts::save(dir, saved, &now) {
        Ok(()) => *saved = now,
        Err(error) => {
            tracing::error!("cannot save the drafts in {}: {error}", dir.display());
        }
    }
}

/// Lines about prompts that no host has taken. Those in `kept` are sent at the `next` occasion:
/// the next start or attach.
pub(crate) fn unsent(unsent: &[String], kept: &[String], next: &str) -> Vec<String> {
    let lost = unsent.iter().filter(|text| !kept.contains(text));
    let lost = lost.map(|text| format!("Not sent: {}", host::redact::plain(text)));
    let kept = kept.iter().map(|text| {
        format!("Not sent yet, will be sent at the next {next}: {}", host::redact::plain(text))
    });
    lost.chain(kept).collect()
}
