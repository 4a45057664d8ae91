//! Markdown as lines of the terminal. Not a full renderer: what models write, without surprises.
//!
//! [`Stream`] renders a text that grows: finished blocks are rendered once and kept, only the
//! last block is rendered again.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::table::Table;
use crate::clean::{clean, one_line};
use crate::theme::Theme;
use crate::wrap::{Break, columns, wrap};

/// Text longer than this is not laid out as a whole,
const LONG: usize = 1024 * 1024;
/// only this much of its end is.
const TAIL: usize = 256 * 1024;

/// Rendered text, and where the last top-level block begins that more text could change. A block
/// that begins in an unfinished line does not count: the line may yet belong to the one before.
pub(crate) struct Rendered {
    pub(crate) lines: Vec<Line<'static>>,
    tail_byte: usize,
    tail_line: usize,
    /// The rest begins with an item of a list that began before.
    tail_joins: bool,
}

/// Renders markdown.
pub(crate) fn render(text: &str, width: usize, theme: &Theme) -> Rendered {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut writer = Writer::new(width, theme);
    let finished = text.rfind('\n').map_or(0, |at| at + 1);
    let (mut depth, mut tail_byte, mut tail_line, mut tail_joins) = (0_usize, 0, 0, false);
    let mut items = 0;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        let opens = matches!(event, Event::Start(_));
        if depth == 0 && (opens || matches!(event, Event::Rule | Event::Html(_))) {
            if range.start < finished {
                tail_byte = range.start;
                tail_line = writer.lines.len();
                tail_joins = false;
            }
            items = 0;
            if !writer.lines.is_empty() {
                writer.lines.push(Line::default());
            }
        }
        if depth == 1 && matches!(event, Event::Start(Tag::Item)) {
            items += 1;
            // Items of a list stand for themselves, as long as they carry their own number.
            let rest = text.get(range.start..).unwrap_or_default();
            let numbered = match writer.lists.last() {
                Some(Some(number)) => rest.starts_with(&format!("{number}.")),
                Some(None) | None => true,
            };
            if items > 1 && range.start < finished && numbered {
                tail_byte = range.start;
                tail_line = writer.lines.len();
                tail_joins = true;
            }
        }
        if opens {
            depth += 1;
        } else if matches!(event, Event::End(_)) {
            depth = depth.saturating_sub(1);
        }
        writer.write(event);
    }
    writer.flush();
    Rendered { lines: writer.lines, tail_byte, tail_line, tail_joins }
}

/// A text that grows, rendered.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    width: usize,
    seen: usize,
    base: usize,
    settled_bytes: usize,
    settled_lines: usize,
    fence: Option<String>,
    /// What comes next continues a list: no blank line before it.
    joins: bool,
    lines: Vec<Line<'static>>,
}

impl Stream {
    /// Brings the lines up to date. `cut` counts bytes that lie before the text.
    pub(crate) fn update(&mut self, text: &str, cut: u64, width: usize, theme: &Theme) {
        if width == self.width && text.len() == self.seen {
            return;
        }
        if width != self.width || text.len() < self.seen || text.len() - self.base > LONG {
            *self = Self { width, ..Self::default() };
            if text.len() > LONG {
                self.base = line_start(text, text.len() - TAIL);
            }
            let above = cut + self.base as u64;
            if above > 0 {
                let note = format!("… {} kB above are not shown", above.div_ceil(1024));
                self.lines.push(Line::styled(note, theme.dim));
            }
            self.settled_bytes = self.base;
            self.settled_lines = self.lines.len();
        }
        self.seen = text.len();
        self.lines.truncate(self.settled_lines);
        loop {
            let rest = text.get(self.settled_bytes..).unwrap_or_default();
            if self.fence.is_some() {
                if self.code(rest, theme) {
                    continue;
                }
                return;
            }
            let rendered = render(rest, width, theme);
            let mut lines = rendered.lines;
            let tail = lines.split_off(rendered.tail_line.min(lines.len()));
            if !lines.is_empty() && !self.joins {
                self.gap();
            }
            if rendered.tail_byte > 0 {
                self.joins = rendered.tail_joins;
            }
            self.lines.append(&mut lines);
            self.settled_lines = self.lines.len();
            self.settled_bytes += rendered.tail_byte;
            let last = rest.get(rendered.tail_byte..).unwrap_or_default();
            if let Some((fence, label, length)) = opening(last) {
                self.gap();
                if !label.is_empty() {
                    self.lines.push(Line::from(Span::styled(format!("  {label}"), theme.dim)));
                }
                self.fence = Some(fence);
                self.joins = false;
                self.settled_bytes += length;
                self.settled_lines = self.lines.len();
                continue;
            }
            if !self.joins && tail.first().is_some_and(|line| !line.spans.is_empty()) {
                self.gap();
            }
            self.lines.extend(tail);
            return;
        }
    }

    pub(crate) fn lines(&self) -> &[Line<'static>] {
        &self.lines
    }

    pub(crate) fn into_lines(self) -> Vec<Line<'static>> {
        self.lines
    }

    /// A blank line between blocks.
    fn gap(&mut self) {
        if self.lines.last().is_some_and(|line| !line.spans.is_empty()) {
            self.lines.push(Line::default());
        }
    }

    /// Takes lines of an open code block; true when it was closed.
    fn code(&mut self, rest: &str, theme: &Theme) -> bool {
        let fence = self.fence.clone().unwrap_or_default();
        let mut taken = 0;
        for line in rest.split_inclusive('\n') {
            let whole = line.ends_with('\n');
            let mark = line.trim();
            let closes = mark.len() >= fence.len()
                && mark.chars().all(|c| fence.starts_with(c))
                && line.len() - line.trim_start().len() < 4;
            if closes && whole {
                self.fence = None;
                self.settled_bytes += taken + line.len();
                self.settled_lines = self.lines.len();
                return true;
            }
            let may_close = !mark.is_empty() && fence.starts_with(mark) && !whole;
            if !closes && !may_close {
                self.lines.extend(code_line(
                    line.trim_end_matches(['\n', '\r']),
                    self.width,
                    theme,
                ));
            }
            if whole {
                taken += line.len();
                self.settled_lines = self.lines.len();
            }
        }
        self.settled_bytes += taken;
        false
    }
}

/// The fence, the label and the length of the line that opens a code block.
fn opening(block: &str) -> Option<(String, String, usize)> {
    let end = block.find('\n')?;
    let line = block.get(..end)?;
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let info = line.trim_start_matches(mark);
    let fence = line.get(..line.len() - info.len())?;
    if fence.len() < 3 || (mark == '`' && info.contains('`')) {
        return None;
    }
    Some((fence.to_owned(), label(info), end + 1))
}

fn label(info: &str) -> String {
    one_line(info.trim().split([' ', ',', '{']).next().unwrap_or_default())
}

fn code_line(line: &str, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let line = clean(line);
    wrap(&[Span::styled(line, theme.code)], width.saturating_sub(2), Break::Glyph)
        .into_iter()
        .map(|mut spans| {
            spans.insert(0, Span::raw("  "));
            Line::from(spans)
        })
        .collect()
}

/// The start of the first line at or after `at`, or failing that the next character.
fn line_start(text: &str, at: usize) -> usize {
    let mut start = at;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let rest = text.get(start..).unwrap_or_default();
    rest.find('\n').filter(|i| i + 1 < rest.len()).map_or(start, |i| start + i + 1)
}

/// What stands before the lines of a container: a bullet once, then its indent.
struct Prefix {
    first: Option<String>,
    rest: String,
    style: Style,
}

struct Writer<'t> {
    theme: &'t Theme,
    width: usize,
    lines: Vec<Line<'static>>,
    inline: Vec<Span<'static>>,
    styles: Vec<Style>,
    prefixes: Vec<Prefix>,
    lists: Vec<Option<u64>>,
    code: Option<String>,
    link: Option<(String, usize)>,
    table: Option<Table>,
}

impl<'t> Writer<'t> {
    fn new(width: usize, theme: &'t Theme) -> Self {
        Self {
            theme,
            width,
            lines: Vec::new(),
            inline: Vec::new(),
            styles: vec![theme.text],
            prefixes: Vec::new(),
            lists: Vec::new(),
            code: None,
            link: None,
            table: None,
        }
    }

    fn write(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.code {
                Some(code) => code.push_str(&text),
                None => self.push(&text, self.style()),
            },
            Event::Code(text) => self.push(&text, self.style().patch(self.theme.code)),
            Event::Html(text) | Event::InlineHtml(text) => self.push(&text, self.style()),
            Event::SoftBreak | Event::HardBreak if self.table.is_some() => {
                self.push(" ", self.style());
            }
            Event::SoftBreak | Event::HardBreak => self.flush(),
            Event::Rule => {
                let rule = "─".repeat(self.room().min(40));
                self.inline.push(Span::styled(rule, self.theme.dim));
                self.flush();
            }
            Event::TaskListMarker(done) => {
                self.push(if done { "[x] " } else { "[ ] " }, self.theme.dim);
            }
            Event::FootnoteReference(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.push(&text, self.style());
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph => {
                let in_quote = self.prefixes.last().is_some_and(|p| p.first.is_none());
                if in_quote && self.lists.is_empty() && self.follows_text() {
                    let blank = self.prefix();
                    self.lines.push(Line::from(blank));
                }
            }
            Tag::Heading { level, .. } => {
                let mut style = self.theme.heading;
                if level == HeadingLevel::H1 {
                    style = style.add_modifier(Modifier::UNDERLINED);
                }
                self.styles.push(style);
            }
            Tag::BlockQuote(_) => {
                self.flush();
                self.prefixes.push(Prefix {
                    first: None,
                    rest: "▌ ".to_owned(),
                    style: self.theme.dim,
                });
            }
            Tag::CodeBlock(kind) => {
                self.flush();
                if let CodeBlockKind::Fenced(info) = kind {
                    let label = label(&info);
                    if !label.is_empty() {
                        self.inline.push(Span::styled(format!("  {label}"), self.theme.dim));
                        self.flush();
                    }
                }
                self.code = Some(String::new());
            }
            Tag::List(first) => {
                self.flush();
                self.lists.push(first);
            }
            Tag::Item => {
                let marker = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let marker = format!("{number}. ");
                        *number = number.saturating_add(1);
                        marker
                    }
                    Some(None) | None => "• ".to_owned(),
                };
                let rest = " ".repeat(columns(&marker));
                self.prefixes.push(Prefix { first: Some(marker), rest, style: self.theme.accent });
            }
            Tag::Table(alignments) => {
                self.flush();
                self.table = Some(Table::new(&alignments));
            }
            Tag::Emphasis => self.nest(Modifier::ITALIC),
            Tag::Strong => self.nest(Modifier::BOLD),
            Tag::Strikethrough => self.nest(Modifier::CROSSED_OUT),
            Tag::Link { dest_url, .. } => {
                self.link = Some((dest_url.into_string(), self.inline.len()));
                self.styles.push(self.style().patch(self.theme.link));
            }
            Tag::Image { dest_url, .. } => {
                self.push("image: ", self.theme.dim);
                self.link = Some((dest_url.into_string(), self.inline.len()));
                self.styles.push(self.style());
            }
            Tag::TableHead
            | Tag::TableRow
            | Tag::TableCell
            | Tag::HtmlBlock
            | Tag::FootnoteDefinition(_)
            | Tag::DefinitionList
            | Tag::DefinitionListTitle
            | Tag::DefinitionListDefinition
            | Tag::Superscript
            | Tag::Subscript
            | Tag::MetadataBlock(_) => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                self.flush();
                self.styles.pop();
            }
            TagEnd::BlockQuote(_) => {
                self.flush();
                self.prefixes.pop();
            }
            TagEnd::CodeBlock => {
                let code = self.code.take().unwrap_or_default();
                let width = self.room();
                for line in code.lines().flat_map(|line| code_line(line, width, self.theme)) {
                    let mut spans = self.prefix();
                    spans.extend(line.spans);
                    self.lines.push(Line::from(spans));
                }
            }
            TagEnd::List(_) => {
                self.flush();
                self.lists.pop();
            }
            TagEnd::Item => {
                if self.inline.is_empty() && self.prefixes.last().is_some_and(|p| p.first.is_some())
                {
                    let bullet = self.prefix();
                    self.lines.push(Line::from(bullet));
                }
                self.flush();
                self.prefixes.pop();
            }
            TagEnd::TableCell => {
                let cell = std::mem::take(&mut self.inline);
                if let Some(table) = &mut self.table {
                    table.cell(cell);
                }
            }
            TagEnd::TableHead | TagEnd::TableRow => {
                if let Some(table) = &mut self.table {
                    table.end_row();
                }
            }
            TagEnd::Table => {
                let width = self.room();
                for line in
                    self.table.take().map(|t| t.lines(width, self.theme)).unwrap_or_default()
                {
                    let mut spans = self.prefix();
                    spans.extend(line.spans);
                    self.lines.push(Line::from(spans));
                }
            }
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => {
                self.styles.pop();
            }
            TagEnd::Link | TagEnd::Image => {
                self.styles.pop();
                if let Some((url, start)) = self.link.take() {
                    let shown: String = self
                        .inline
                        .get(start..)
                        .unwrap_or_default()
                        .iter()
                        .map(|span| span.content.as_ref())
                        .collect();
                    if shown != url && !url.is_empty() {
                        self.push(&format!(" ({url})"), self.theme.dim);
                    }
                }
            }
            TagEnd::Paragraph | TagEnd::HtmlBlock => self.flush(),
            TagEnd::FootnoteDefinition
            | TagEnd::DefinitionList
            | TagEnd::DefinitionListTitle
            | TagEnd::DefinitionListDefinition
            | TagEnd::Superscript
            | TagEnd::Subscript
            | TagEnd::MetadataBlock(_) => {}
        }
    }

    fn style(&self) -> Style {
        self.styles.last().copied().unwrap_or(self.theme.text)
    }

    fn nest(&mut self, modifier: Modifier) {
        self.styles.push(self.style().add_modifier(modifier));
    }

    fn push(&mut self, text: &str, style: Style) {
        let text = clean(text);
        let mut parts = text.split('\n');
        if let Some(first) = parts.next().filter(|part| !part.is_empty()) {
            self.inline.push(Span::styled(first.to_owned(), style));
        }
        for part in parts {
            if self.table.is_none() {
                self.flush();
            }
            if !part.is_empty() {
                self.inline.push(Span::styled(part.to_owned(), style));
            }
        }
    }

    /// Columns left beside the prefixes.
    fn room(&self) -> usize {
        let taken: usize = self.prefixes.iter().map(|p| columns(&p.rest)).sum();
        self.width.saturating_sub(taken).max(1)
    }

    fn follows_text(&self) -> bool {
        self.lines.last().is_some_and(|line| !line.spans.is_empty())
    }

    /// The prefix of the next line; bullets are used up.
    fn prefix(&mut self) -> Vec<Span<'static>> {
        self.prefixes
            .iter_mut()
            .map(|p| Span::styled(p.first.take().unwrap_or_else(|| p.rest.clone()), p.style))
            .collect()
    }

    /// Ends the line being collected.
    fn flush(&mut self) {
        if self.inline.is_empty() {
            return;
        }
        let inline = std::mem::take(&mut self.inline);
        for line in wrap(&inline, self.room(), Break::Word) {
            let mut spans = self.prefix();
            spans.extend(line);
            self.lines.push(Line::from(spans));
        }
    }
}
