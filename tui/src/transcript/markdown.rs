//! Markdown as lines of the terminal. Not a full renderer: what models write, without surprises.
//!
//! [`Stream`] renders a text that grows; [`render`] renders a text once.

mod code;
mod stream;
mod table;
mod writer;

use pulldown_cmark::{Event, Options, Parser, Tag};
use ratatui::text::Line;

pub(crate) use stream::Stream;
use writer::Writer;

use crate::theme::Theme;

/// Rendered text, and the last top-level block that more text could change. A block that begins in
/// an unfinished line does not count: the line may yet belong to the one before.
pub(crate) struct Rendered {
    pub(crate) lines: Vec<Line<'static>>,
    tail: Tail,
}

/// Where the last block that more text could change begins.
#[derive(Clone, Copy, Default)]
struct Tail {
    byte: usize,
    line: usize,
    /// It begins with an item of a list that began before.
    joins: bool,
}

/// Renders markdown.
pub(crate) fn render(text: &str, width: usize, theme: &Theme) -> Rendered {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut writer = Writer::new(width, theme);
    let finished = text.rfind('\n').map_or(0, |at| at + 1);
    let mut tail = Tail::default();
    let (mut depth, mut items) = (0_usize, 0);
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        let opens = matches!(event, Event::Start(_));
        if depth == 0 && (opens || matches!(event, Event::Rule | Event::Html(_))) {
            if range.start < finished {
                tail = Tail { byte: range.start, line: writer.line_count(), joins: false };
            }
            items = 0;
            writer.separate_block();
        }
        if depth == 1 && matches!(event, Event::Start(Tag::Item)) {
            items += 1;
            // An item can be rendered without those before it if it carries its own number.
            let rest = text.get(range.start..).unwrap_or_default();
            if items > 1 && range.start < finished && writer.is_next_item(rest) {
                tail = Tail { byte: range.start, line: writer.line_count(), joins: true };
            }
        }
        if opens {
            depth += 1;
        } else if matches!(event, Event::End(_)) {
            depth = depth.saturating_sub(1);
        }
        writer.write(event);
    }
    Rendered { lines: writer.into_lines(), tail }
}
