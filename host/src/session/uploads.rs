//! Files that go along with the next prompt (S05).

use std::fmt::Write as _;

use super::{Effect, Out, Session};
use crate::protocol::{Attachment, Event};

impl Session {
    /// A file was written for the next prompt.
    pub(super) fn uploaded(&mut self, attachment: Attachment, out: &mut Out) {
        self.meta.attachments.push(attachment);
        self.show_attachments(out);
    }

    /// The user takes the files back: they go.
    pub(super) fn drop_uploads(&mut self, out: &mut Out) {
        let dropped = std::mem::take(&mut self.meta.attachments);
        if !dropped.is_empty() {
            self.show_attachments(out);
            out.effects.push(Effect::Discard(dropped));
        }
    }

    /// The text of a prompt with what goes along with it, a line each; from now on nothing does.
    pub(super) fn with_attachments(&mut self, mut text: String, out: &mut Out) -> String {
        let attached = std::mem::take(&mut self.meta.attachments);
        if attached.is_empty() {
            return text;
        }
        for Attachment { path, mime, size, .. } in &attached {
            if !text.is_empty() {
                text.push('\n');
            }
            let _ = write!(text, "[Attached file: {path} ({mime}, {})]", human(*size));
        }
        self.show_attachments(out);
        text
    }

    fn show_attachments(&mut self, out: &mut Out) {
        self.store_meta(out);
        let attachments = self.meta.attachments.clone();
        self.publish(Event::AttachmentsChanged { attachments }, out);
    }
}

/// A size for people.
fn human(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
