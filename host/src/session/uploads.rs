//! Files that go along with the next prompt (S05).

use std::fmt::Write as _;

use super::{Effect, Effects, Session};
use protocol::{Attachment, Event};

impl Session {
    /// A file was written for the next prompt.
    pub(super) fn uploaded(&mut self, attachment: Attachment, out: &mut Effects) {
        self.meta.attachments.push(attachment);
        self.show_attachments(out);
    }

    /// The user takes the files back: they go.
    pub(super) fn drop_uploads(&mut self, out: &mut Effects) {
        let dropped = std::mem::take(&mut self.meta.attachments);
        if !dropped.is_empty() {
            self.show_attachments(out);
            out.push(Effect::Discard(dropped));
        }
    }

    /// The text of a prompt with what goes along with it, a line each; from now on nothing does.
    pub(super) fn with_attachments(&mut self, mut text: String, out: &mut Effects) -> String {
        let attached = std::mem::take(&mut self.meta.attachments);
        if attached.is_empty() {
            return text;
        }
        for file in &attached {
            mention(&mut text, file);
        }
        self.show_attachments(out);
        text
    }

    fn show_attachments(&mut self, out: &mut Effects) {
        self.store_meta(out);
        let attachments = self.meta.attachments.clone();
        self.publish(Event::AttachmentsChanged { attachments }, out);
    }
}

/// How a prompt's text names a file that goes along with it: a line at its end.
const MENTION: &str = "[Attached file: ";

/// Adds such a line.
pub(crate) fn mention(text: &mut String, Attachment { path, mime, size, .. }: &Attachment) {
    if !text.is_empty() {
        text.push('\n');
    }
    let _ = write!(text, "{MENTION}{path} ({mime}, {})]", human(*size));
}

/// The paths in such lines at the end of a text, in their order.
pub(crate) fn mentioned(text: &str) -> Vec<&str> {
    let path =
        |line| Some(str::strip_prefix(line, MENTION)?.strip_suffix(")]")?.rsplit_once(" (")?.0);
    let mut paths: Vec<&str> = text.lines().rev().map_while(path).collect();
    paths.reverse();
    paths
}

/// A size for people.
fn human(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_a_prompt_names_are_found_again() {
        let file = |path: &str, size| Attachment {
            name: "x".to_owned(),
            path: path.to_owned(),
            mime: "text/plain".to_owned(),
            size,
        };
        let mut text = "[Attached file: /quoted (x, 1)]\nlook".to_owned();
        assert_eq!(mentioned(&text), [] as [&str; 0]);
        mention(&mut text, &file("/s/a (1).txt", 5));
        mention(&mut text, &file("/s/b.txt", 1_500_000));
        assert_eq!(mentioned(&text), ["/s/a (1).txt", "/s/b.txt"]);
        let mut alone = String::new();
        mention(&mut alone, &file("/s/b.txt", 7));
        assert_eq!(alone, "[Attached file: /s/b.txt (text/plain, 7 bytes)]");
    }
}
