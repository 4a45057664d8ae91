//! Turns the events of the markdown parser into lines.

use pulldown_cmark::{Alignment, CodeBlockKind, Event, HeadingLevel, Tag, TagEnd};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::code::{code_line, label};
use super::table::Table;
use crate::clean::clean;
use crate::theme::Theme;
use crate::wrap::{Break, columns, wrap};

/// The prefix of the lines of a container: a bullet once, then its indent.
struct Prefix {
    first: Option<String>,
    rest: String,
    style: Style,
}

/// The lines so far, and the open containers.
pub(super) struct Writer<'t> {
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
    pub(super) fn new(width: usize, theme: &'t Theme) -> Self {
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

    pub(super) fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// The lines, the last one included.
    pub(super) fn into_lines(mut self) -> Vec<Line<'static>> {
        self.flush();
        self.lines
    }

    /// A blank line before a block that is not the first.
    pub(super) fn separate_block(&mut self) {
        if !self.lines.is_empty() {
            self.lines.push(Line::default());
        }
    }

    /// Whether a text begins with the marker that the next item of the open list gets.
    pub(super) fn is_next_item(&self, text: &str) -> bool {
        match self.lists.last() {
            Some(Some(number)) => text.starts_with(&format!("{number}.")),
            Some(None) | None => true,
        }
    }

    pub(super) fn write(&mut self, event: Event<'_>) {
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
            Tag::Paragraph => self.start_paragraph(),
            Tag::Heading { level, .. } => self.start_heading(level),
            Tag::BlockQuote(_) => self.start_quote(),
            Tag::CodeBlock(kind) => self.start_code(&kind),
            Tag::List(first) => self.start_list(first),
            Tag::Item => self.start_item(),
            Tag::Table(alignments) => self.start_table(&alignments),
            Tag::Emphasis => self.nest(Modifier::ITALIC),
            Tag::Strong => self.nest(Modifier::BOLD),
            Tag::Strikethrough => self.nest(Modifier::CROSSED_OUT),
            Tag::Link { dest_url, .. } => self.start_link(dest_url.into_string(), self.theme.link),
            Tag::Image { dest_url, .. } => {
                self.push("image: ", self.theme.dim);
                self.start_link(dest_url.into_string(), Style::new());
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
            TagEnd::Heading(_) => self.end_heading(),
            TagEnd::BlockQuote(_) => self.end_container(),
            TagEnd::CodeBlock => self.end_code(),
            TagEnd::List(_) => self.end_list(),
            TagEnd::Item => self.end_item(),
            TagEnd::TableCell => self.end_cell(),
            TagEnd::TableHead | TagEnd::TableRow => self.end_row(),
            TagEnd::Table => self.end_table(),
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => {
                self.styles.pop();
            }
            TagEnd::Link | TagEnd::Image => self.end_link(),
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

    /// Separates the paragraphs of a quote.
    fn start_paragraph(&mut self) {
        let in_quote = self.prefixes.last().is_some_and(|p| p.first.is_none());
        if in_quote && self.lists.is_empty() && self.follows_text() {
            let blank = self.prefix();
            self.lines.push(Line::from(blank));
        }
    }

    fn start_heading(&mut self, level: HeadingLevel) {
        let mut style = self.theme.heading;
        if level == HeadingLevel::H1 {
            style = style.add_modifier(Modifier::UNDERLINED);
        }
        self.styles.push(style);
    }

    fn end_heading(&mut self) {
        self.flush();
        self.styles.pop();
    }

    fn start_quote(&mut self) {
        self.flush();
        self.prefixes.push(Prefix { first: None, rest: "▌ ".to_owned(), style: self.theme.dim });
    }

    fn end_container(&mut self) {
        self.flush();
        self.prefixes.pop();
    }

    fn start_code(&mut self, kind: &CodeBlockKind<'_>) {
        self.flush();
        if let CodeBlockKind::Fenced(info) = kind {
            let label = label(info);
            if !label.is_empty() {
                self.inline.push(Span::styled(format!("  {label}"), self.theme.dim));
                self.flush();
            }
        }
        self.code = Some(String::new());
    }

    fn end_code(&mut self) {
        let code = self.code.take().unwrap_or_default();
        let width = self.room();
        for line in code.lines().flat_map(|line| code_line(line, width, self.theme)) {
            self.push_line(line);
        }
    }

    fn start_list(&mut self, first: Option<u64>) {
        self.flush();
        self.lists.push(first);
    }

    fn end_list(&mut self) {
        self.flush();
        self.lists.pop();
    }

    fn start_item(&mut self) {
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

    fn end_item(&mut self) {
        if self.inline.is_empty() && self.prefixes.last().is_some_and(|p| p.first.is_some()) {
            let bullet = self.prefix();
            self.lines.push(Line::from(bullet));
        }
        self.end_container();
    }

    fn start_table(&mut self, alignments: &[Alignment]) {
        self.flush();
        self.table = Some(Table::new(alignments));
    }

    fn end_cell(&mut self) {
        let cell = std::mem::take(&mut self.inline);
        if let Some(table) = &mut self.table {
            table.cell(cell);
        }
    }

    fn end_row(&mut self) {
        if let Some(table) = &mut self.table {
            table.end_row();
        }
    }

    fn end_table(&mut self) {
        let width = self.room();
        let lines = self.table.take().map(|table| table.lines(width, self.theme));
        for line in lines.unwrap_or_default() {
            self.push_line(line);
        }
    }

    fn start_link(&mut self, url: String, style: Style) {
        self.link = Some((url, self.inline.len()));
        self.styles.push(self.style().patch(style));
    }

    /// Puts the address behind a text that does not show it.
    fn end_link(&mut self) {
        self.styles.pop();
        let Some((url, start)) = self.link.take() else { return };
        let text = self.inline.get(start..).unwrap_or_default();
        let text: String = text.iter().map(|span| span.content.as_ref()).collect();
        if text != url && !url.is_empty() {
            self.push(&format!(" ({url})"), self.theme.dim);
        }
    }

    /// Adds a line behind the prefixes.
    fn push_line(&mut self, line: Line<'static>) {
        let mut spans = self.prefix();
        spans.extend(line.spans);
        self.lines.push(Line::from(spans));
    }

    fn style(&self) -> Style {
        self.styles.last().copied().unwrap_or(self.theme.text)
    }

    fn nest(&mut self, modifier: Modifier) {
        self.styles.push(self.style().add_modifier(modifier));
    }

    /// Adds text in a style; a newline ends the line, but not in a table.
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
            self.push_line(Line::from(line));
        }
    }
}
