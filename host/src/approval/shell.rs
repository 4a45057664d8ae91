//! Reads shell text into a flat list of the commands it would run, in order, each with its words
//! as the command would see them. It decides nothing about danger.
//!
//! What only a running shell knows (an unset variable, the output of a command) is a [`HOLE`] in a
//! word. A variable is known while all assignments seen gave it one literal value.
//!
//! Invariant: depth, nesting and work are bounded; past a bound the script is `flawed`.

use super::paths;
use super::wrap::{self, Inside};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use tree_sitter::{Node, ParseOptions, ParseState, Parser, Tree};

/// Stands in a word for text that is not known.
pub(super) const HOLE: char = '\u{1}';
/// Where an unquoted expansion splits a word.
const SPLIT: char = '\u{2}';
const OPEN: char = '\u{3}';
const COMMA: char = '\u{4}';
const CLOSE: char = '\u{5}';

const MAX_LENGTH: usize = 128 * 1024;
const MAX_DEPTH: usize = 120;
const MAX_NEST: usize = 8;
const MAX_WORK: usize = 2_000_000;
const MAX_PARSE_STEPS: usize = 3_000;
const MAX_BRACE_WORDS: usize = 64;

/// Everything a text would run.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// The commands in order; one found inside another (substitution) comes before it, one run by
    /// a wrapper after it.
    pub(super) calls: Vec<Call>,
    /// Something could not be read for sure.
    pub(super) flawed: bool,
    /// Function definitions that only multiply themselves.
    pub(super) bombs: Vec<String>,
}

/// One command.
#[derive(Debug)]
pub(super) struct Call {
    /// Its name and arguments; empty for a bare redirection.
    pub(super) words: Vec<String>,
    /// Its source text.
    pub(super) part: String,
    /// The directory it runs in, if a `cd` said so.
    pub(super) cwd: Option<String>,
    /// Its input and output.
    pub(super) io: Io,
    /// Commands inside its words, as indices into the script's calls.
    pub(super) inner: Range<usize>,
}

impl Call {
    /// The program's name without its directory.
    pub(super) fn name(&self) -> &str {
        wrap::name(&self.words)
    }

    /// The arguments.
    pub(super) fn args(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }
}

/// Where a command reads and writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Io {
    /// The commands whose output is piped in, as indices into the script's calls.
    pub(super) feeds: Range<usize>,
    /// The text of a heredoc or herestring.
    pub(super) text: Option<String>,
    /// Files that redirections write.
    pub(super) writes: Vec<String>,
    /// Arguments found behind redirections, on their way to their command.
    arguments: Vec<String>,
}

/// Reads a command line.
pub(super) fn read(source: &str) -> Script {
    let mut reader = Reader::default();
    if source.len() > MAX_LENGTH || source.chars().any(is_hidden) {
        reader.script.flawed = true;
    } else {
        reader.code(source, &Io::default());
    }
    reader.script
}

/// Characters that make a text read differently from what it does.
fn is_hidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn parse(source: &str) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_bash::LANGUAGE.into()).ok()?;
    // The grammar's scanner looks characters up in a table of 256: one beyond it reads foreign
    // memory, and some of them end the program. To a shell every byte of such a character is part
    // of a word, so a letter stands in for it; nodes are read from the text itself, by offset.
    let bytes: Vec<u8> = source.bytes().map(|b| if b.is_ascii() { b } else { b'x' }).collect();
    let mut steps = 0usize;
    let mut on_progress = |_: &ParseState| {
        steps += 1;
        if steps > MAX_PARSE_STEPS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    parser.parse_with_options(
        &mut |at, _| bytes.get(at..).unwrap_or_default(),
        None,
        Some(ParseOptions::new().progress_callback(&mut on_progress)),
    )
}

#[derive(Default)]
struct Reader {
    script: Script,
    vars: BTreeMap<String, Option<String>>,
    cwd: Option<String>,
    work: usize,
    depth: usize,
    nest: usize,
}

impl Reader {
    /// Parses a text and reads what it runs.
    fn code(&mut self, source: &str, io: &Io) {
        if self.nest >= MAX_NEST || !self.afford(source.len()) {
            self.script.flawed = true;
            return;
        }
        let source = source.replace(HOLE, "${__}");
        let Some(tree) = parse(&source) else {
            self.script.flawed = true;
            return;
        };
        let root = tree.root_node();
        self.script.flawed |= root.has_error();
        self.nest += 1;
        self.walk(root, &source, io);
        self.nest -= 1;
    }

    fn afford(&mut self, work: usize) -> bool {
        self.work = self.work.saturating_add(work + 1);
        self.script.flawed |= self.work > MAX_WORK;
        self.work <= MAX_WORK
    }

    fn enter(&mut self) -> bool {
        if self.depth >= MAX_DEPTH {
            self.script.flawed = true;
        }
        self.depth < MAX_DEPTH && self.afford(1)
    }

    fn walk(&mut self, node: Node<'_>, src: &str, io: &Io) {
        if !self.enter() {
            return;
        }
        self.depth += 1;
        match node.kind() {
            "command" => self.command(node, src, io),
            "pipeline" => self.pipeline(node, src, io.feeds.clone(), io),
            "redirected_statement" => self.redirected(node, src, io),
            "subshell" | "command_substitution" | "process_substitution" => {
                self.scope(node, src, io);
            }
            "function_definition" => self.function(node, src, io),
            "variable_assignment" => self.assignment(node, src),
            "for_statement" => self.for_loop(node, src, io),
            "comment" | "raw_string" | "ansi_c_string" => {}
            _ => self.children(node, src, io),
        }
        self.depth -= 1;
    }

    fn children(&mut self, node: Node<'_>, src: &str, io: &Io) {
        for child in named(node) {
            self.walk(child, src, io);
        }
    }

    /// Reads what runs in a shell of its own: its `cd` does not last.
    fn scope(&mut self, node: Node<'_>, src: &str, io: &Io) {
        let cwd = self.cwd.clone();
        self.children(node, src, io);
        self.cwd = cwd;
    }

    fn pipeline(&mut self, node: Node<'_>, src: &str, first: Range<usize>, io: &Io) {
        let start = if first.is_empty() { self.script.calls.len() } else { first.start };
        let mut feeds = first;
        for stage in named(node) {
            let cwd = self.cwd.clone();
            let stage_io = Io { feeds: feeds.clone(), ..io.clone() };
            self.walk(stage, src, &stage_io);
            self.cwd = cwd;
            feeds = start..self.script.calls.len();
        }
    }

    fn redirected(&mut self, node: Node<'_>, src: &str, io: &Io) {
        let mut own = io.clone();
        let body = node.child_by_field_name("body");
        let mut rest = Vec::new();
        for child in named(node) {
            match child.kind() {
                "file_redirect" | "herestring_redirect" => self.redirect(child, src, &mut own),
                "heredoc_redirect" => self.heredoc(child, src, &mut own, &mut rest),
                _ => {}
            }
        }
        let start = self.script.calls.len();
        if let Some(body) = body {
            self.walk(body, src, &own);
        } else {
            let words = std::mem::take(&mut own.arguments);
            self.push(words, text(node, src), own, start..start);
        }
        let written = start..self.script.calls.len();
        for node in rest {
            match node.kind() {
                "pipeline" => self.pipeline(node, src, written.clone(), io),
                _ => self.walk(node, src, io),
            }
        }
    }

    /// A heredoc's node also holds what stands behind it on its line.
    fn heredoc<'t>(&mut self, node: Node<'t>, src: &str, io: &mut Io, rest: &mut Vec<Node<'t>>) {
        for child in named(node) {
            match child.kind() {
                "heredoc_start" | "heredoc_end" | "file_descriptor" => {}
                "heredoc_body" => {
                    io.text = Some(text(child, src));
                    self.children(child, src, &Io::default());
                }
                "file_redirect" | "herestring_redirect" => self.redirect(child, src, io),
                "word"
                | "string"
                | "raw_string"
                | "ansi_c_string"
                | "concatenation"
                | "number"
                | "simple_expansion"
                | "expansion"
                | "command_substitution" => {
                    self.argument(child, src, io);
                }
                _ => rest.push(child),
            }
        }
    }

    /// Arguments that stand behind a redirection belong to its node.
    fn redirect(&mut self, node: Node<'_>, src: &str, io: &mut Io) {
        let writes = all(node).iter().any(|n| !n.is_named() && n.kind().contains('>'));
        let mut targets = named(node).into_iter().filter(|n| n.kind() != "file_descriptor");
        let Some(target) = targets.next() else { return };
        let mut out = String::new();
        self.expand(target, src, &mut out, Quoting::Bare);
        if node.kind() == "herestring_redirect" {
            io.text = Some(plain(&out));
        } else if writes {
            io.writes.extend(fields(&out).0);
        }
        for argument in targets {
            self.argument(argument, src, io);
        }
    }

    fn argument(&mut self, node: Node<'_>, src: &str, io: &mut Io) {
        let mut out = String::new();
        self.expand(node, src, &mut out, Quoting::Bare);
        let (words, complete) = fields(&out);
        self.script.flawed |= !complete;
        io.arguments.extend(words);
    }

    fn function(&mut self, node: Node<'_>, src: &str, io: &Io) {
        let start = self.script.calls.len();
        self.children(node, src, io);
        let Some(name) = node.child_by_field_name("name") else { return };
        let name = text(name, src);
        let own = self.script.calls.iter().skip(start).filter(|call| call.name() == name).count();
        let body = text(node, src).replace("&&", "").replace(">&", "");
        if own >= 2 && body.contains('&') {
            self.script.bombs.push(text(node, src));
        }
    }

    fn for_loop(&mut self, node: Node<'_>, src: &str, io: &Io) {
        let mut cursor = node.walk();
        let mut values = Vec::new();
        let nodes: Vec<Node<'_>> = node.children_by_field_name("value", &mut cursor).collect();
        for value in nodes {
            let mut out = String::new();
            self.expand(value, src, &mut out, Quoting::Bare);
            values.extend(fields(&out).0);
        }
        if let Some(name) = node.child_by_field_name("variable") {
            let value = if values.len() == 1 { values.pop() } else { None };
            self.set(&text(name, src), value);
        }
        if let Some(body) = node.child_by_field_name("body") {
            self.walk(body, src, io);
        }
    }

    fn assignment(&mut self, node: Node<'_>, src: &str) {
        if let Some((name, value)) = self.assigned(node, src) {
            self.set(&name, value);
        }
    }

    fn assigned(&mut self, node: Node<'_>, src: &str) -> Option<(String, Option<String>)> {
        let name = text(node.child_by_field_name("name")?, src);
        let Some(value) = node.child_by_field_name("value") else {
            return Some((name, Some(String::new())));
        };
        if value.kind() == "array" {
            self.children(value, src, &Io::default());
            return Some((name, None));
        }
        let mut out = String::new();
        self.expand(value, src, &mut out, Quoting::Bare);
        let out = plain(&out);
        let appended = src
            .get(node.byte_range())
            .is_some_and(|t| t.get(name.len()..).is_some_and(|rest| rest.starts_with('+')));
        Some((name, (!appended && !out.contains(HOLE)).then_some(out)))
    }

    /// The first value counts; a second, different one makes the variable unknown.
    fn set(&mut self, name: &str, value: Option<String>) {
        match self.vars.get_mut(name) {
            Some(known) if *known != value => *known = None,
            Some(_) => {}
            None => {
                self.vars.insert(name.to_owned(), value);
            }
        }
    }

    fn command(&mut self, node: Node<'_>, src: &str, io: &Io) {
        let mut io = io.clone();
        let start = self.script.calls.len();
        let mut raw: Vec<String> = Vec::new();
        let mut assigned = Vec::new();
        let mut end: Option<usize> = None;
        for child in all(node) {
            match child.kind() {
                "variable_assignment" => assigned.extend(self.assigned(child, src)),
                "file_redirect" | "herestring_redirect" => {
                    self.redirect(child, src, &mut io);
                    end = None;
                }
                // `time ( … )` is parsed as a command with a subshell for an argument.
                "subshell" | "compound_statement" => self.scope(child, src, &io),
                _ => {
                    // The parser ends a word at a continued line; the shell does not.
                    let joined = end.and_then(|end| src.get(end..child.start_byte()));
                    let joined = joined.is_some_and(|gap| gap.replace("\\\n", "").is_empty());
                    if !joined || raw.is_empty() {
                        raw.push(String::new());
                    }
                    end = Some(child.end_byte());
                    let localized = child.kind() == "$"
                        && src.get(child.end_byte()..).is_some_and(|s| s.starts_with('"'));
                    if let (false, Some(out)) = (localized, raw.last_mut()) {
                        self.expand(child, src, out, Quoting::Bare);
                    }
                }
            }
        }
        for (name, value) in assigned {
            self.set(&name, value);
        }
        let mut words = Vec::new();
        for word in &raw {
            let (mut split, complete) = fields(word);
            self.script.flawed |= !complete;
            words.append(&mut split);
        }
        words.append(&mut io.arguments);
        let inner = start..self.script.calls.len();
        self.push(words, text(node, src), io, inner);
    }

    /// Adds a command, then what it runs in turn.
    fn push(&mut self, words: Vec<String>, part: String, io: Io, inner: Range<usize>) {
        if !self.enter() {
            return;
        }
        let cwd = self.cwd.clone();
        let call = Call { words, part, cwd, io, inner };
        if let ("cd" | "pushd", [dir]) = (call.name(), call.args())
            && !dir.contains(HOLE)
        {
            self.cwd = Some(paths::resolve(dir, self.cwd.as_deref()));
        }
        let mut insides = wrap::inside(&call.words);
        if wrap::reads_code(&call.words) {
            let fed = self.script.calls.get(call.io.feeds.clone()).and_then(literal_output);
            insides.extend(call.io.text.clone().or(fed).map(Inside::Code));
        }
        let (part, io, inner) = (call.part.clone(), call.io.clone(), call.inner.clone());
        self.script.calls.push(call);
        self.depth += 1;
        for inside in insides {
            match inside {
                Inside::Words(words) => self.push(words, part.clone(), io.clone(), inner.clone()),
                Inside::Code(code) => {
                    self.code(&code, &Io { text: None, ..io.clone() });
                }
                Inside::Variable(name, value) => {
                    self.set(&name, (!value.contains(HOLE)).then_some(value));
                }
            }
        }
        self.depth -= 1;
    }

    /// Appends a word's text as the command would see it, with marks for what happens later.
    fn expand(&mut self, node: Node<'_>, src: &str, out: &mut String, quoting: Quoting) {
        if !self.enter() {
            out.push(HOLE);
            return;
        }
        self.depth += 1;
        let raw = src.get(node.byte_range()).unwrap_or_default();
        match node.kind() {
            "word" | "extglob_pattern" | "regex" | "string_content" => {
                unescape(raw, out, quoting);
            }
            "raw_string" => quoted(raw.trim_matches('\''), out),
            "ansi_c_string" => {
                let inner = raw.strip_prefix("$'").and_then(|s| s.strip_suffix('\''));
                quoted(&ansi_c(inner.unwrap_or(raw)), out);
            }
            "string" | "translated_string" => self.expand_string(node, src, out),
            "command_name" | "concatenation" => {
                for child in all(node) {
                    self.expand(child, src, out, quoting);
                }
            }
            "simple_expansion" | "expansion" => self.expand_variable(node, src, out, quoting),
            "command_substitution" | "process_substitution" => {
                self.scope(node, src, &Io::default());
                out.push(HOLE);
            }
            "arithmetic_expansion" | "brace_expression" => {
                self.children(node, src, &Io::default());
                out.push(HOLE);
            }
            _ if node.child_count() == 0 => unescape(raw, out, quoting),
            _ => {
                self.children(node, src, &Io::default());
                out.push(HOLE);
            }
        }
        self.depth -= 1;
    }

    /// Text between the children belongs to the string too.
    fn expand_string(&mut self, node: Node<'_>, src: &str, out: &mut String) {
        let quote = |n: &Node<'_>| !n.is_named() && n.kind() == "\"";
        let children = all(node);
        let mut at = children.iter().find(|n| quote(n)).map_or(node.start_byte(), Node::end_byte);
        for child in children {
            if child.start_byte() > at {
                unescape(src.get(at..child.start_byte()).unwrap_or_default(), out, Quoting::Double);
            }
            if child.start_byte() >= at && !quote(&child) {
                self.expand(child, src, out, Quoting::Double);
            }
            at = at.max(child.end_byte());
        }
    }

    fn expand_variable(&mut self, node: Node<'_>, src: &str, out: &mut String, quoting: Quoting) {
        let children = named(node);
        let name = children.first().map(|n| text(*n, src)).unwrap_or_default();
        for child in children.iter().skip(1) {
            self.walk(*child, src, &Io::default());
        }
        let simple = node.kind() == "simple_expansion" || all(node).len() == 3;
        let known = self.vars.get(&name).cloned();
        match (known, name.as_str(), quoting) {
            (Some(Some(value)), _, _) if simple => {
                if !self.afford(value.len()) {
                    out.push(HOLE);
                    return;
                }
                match quoting {
                    Quoting::Bare => {
                        out.extend(
                            value.chars().map(|c| if c.is_whitespace() { SPLIT } else { c }),
                        );
                    }
                    Quoting::Double => out.push_str(&value),
                }
            }
            (None, "HOME", _) if simple || text(node, src).starts_with("${HOME:") => out.push('~'),
            (None, "IFS", Quoting::Bare) => out.push(SPLIT),
            (None, "PWD", _) if simple => out.push_str(self.cwd.as_deref().unwrap_or(".")),
            _ => out.push(HOLE),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Bare,
    Double,
}

fn all(node: Node<'_>) -> Vec<Node<'_>> {
    node.children(&mut node.walk()).collect()
}

fn named(node: Node<'_>) -> Vec<Node<'_>> {
    node.named_children(&mut node.walk()).collect()
}

fn text(node: Node<'_>, src: &str) -> String {
    src.get(node.byte_range()).unwrap_or_default().to_owned()
}

/// A quoted `~` is a file of that name, not the home.
fn quoted(text: &str, out: &mut String) {
    if out.is_empty() && text.starts_with('~') {
        out.push_str("./");
    }
    out.push_str(text);
}

fn unescape(raw: &str, out: &mut String, quoting: Quoting) {
    let literal_tilde = quoting == Quoting::Double && raw.starts_with('~');
    if out.is_empty() && (literal_tilde || raw.starts_with("\\~")) {
        out.push_str("./");
    }
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match (c, quoting) {
            ('\\', _) => match chars.next() {
                Some('\n') => {}
                Some(next) => {
                    if quoting == Quoting::Double && !matches!(next, '$' | '`' | '"' | '\\') {
                        out.push('\\');
                    }
                    out.push(next);
                }
                None => out.push('\\'),
            },
            ('{', Quoting::Bare) => out.push(OPEN),
            (',', Quoting::Bare) => out.push(COMMA),
            ('}', Quoting::Bare) => out.push(CLOSE),
            _ => out.push(c),
        }
    }
}

/// The text of `$'…'`. Control characters that serve as marks become unknown text.
fn ansi_c(raw: &str) -> String {
    let mut out = String::new();
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let (radix, most) = match chars.peek() {
            Some('x') => (16, 2),
            Some('u') => (16, 4),
            Some('U') => (16, 8),
            Some('0'..='7') => (8, 3),
            Some(_) | None => (0, 0),
        };
        if radix == 0 {
            out.push(match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('a' | 'b' | 'e' | 'E' | 'f' | 'v' | 'c') => HOLE,
                Some(other) => other,
                None => '\\',
            });
            continue;
        }
        if radix == 16 {
            chars.next();
        }
        let mut code = 0u32;
        for _ in 0..most {
            let Some(digit) = chars.peek().and_then(|c| c.to_digit(radix)) else { break };
            code = code.saturating_mul(radix).saturating_add(digit);
            chars.next();
        }
        let decoded = char::from_u32(code).unwrap_or(HOLE);
        out.push(if decoded < '\u{8}' { HOLE } else { decoded });
    }
    out
}

/// Takes the marks out of a word that is neither split nor brace-expanded.
fn plain(word: &str) -> String {
    word.chars()
        .map(|c| match c {
            SPLIT => ' ',
            OPEN => '{',
            COMMA => ',',
            CLOSE => '}',
            c => c,
        })
        .collect()
}

/// Splits a word and expands its braces; false if there were too many.
fn fields(word: &str) -> (Vec<String>, bool) {
    let mut out = Vec::new();
    let mut complete = true;
    for (at, field) in word.split(SPLIT).enumerate() {
        if field.is_empty() && (at > 0 || word.contains(SPLIT)) {
            continue;
        }
        let mut words = Vec::new();
        complete &= field.matches(OPEN).count() <= 16 && braces(field, &mut words);
        out.extend(words.iter().map(|w| plain(w)));
    }
    (out, complete)
}

fn braces(word: &str, out: &mut Vec<String>) -> bool {
    for (open, _) in word.match_indices(OPEN) {
        let Some((alternatives, close)) = alternatives(word, open + 1) else { continue };
        let head = word.get(..open).unwrap_or_default();
        let tail = word.get(close + 1..).unwrap_or_default();
        return alternatives.iter().all(|middle| braces(&format!("{head}{middle}{tail}"), out));
    }
    if out.len() >= MAX_BRACE_WORDS {
        return false;
    }
    out.push(word.to_owned());
    true
}

/// The comma-separated texts from `start` to the matching brace, and where that is.
fn alternatives(word: &str, start: usize) -> Option<(Vec<&str>, usize)> {
    let mut found = Vec::new();
    let (mut depth, mut from) = (0usize, start);
    for (offset, c) in word.get(start..)?.char_indices() {
        let at = start + offset;
        match c {
            OPEN => depth += 1,
            COMMA if depth == 0 => {
                found.push(word.get(from..at)?);
                from = at + 1;
            }
            CLOSE if depth == 0 => {
                found.push(word.get(from..at)?);
                return (found.len() > 1).then_some((found, at));
            }
            CLOSE => depth -= 1,
            _ => {}
        }
    }
    None
}

/// What a pipe's first half prints, when its text already says so.
fn literal_output(calls: &[Call]) -> Option<String> {
    let [call] = calls else { return None };
    match call.name() {
        "echo" | "printf" => {
            let words = call.args().iter().filter(|w| !matches!(w.as_str(), "-e" | "-n" | "-en"));
            let words: Vec<&str> = words.map(String::as_str).collect();
            Some(words.join(" ").replace("\\n", "\n"))
        }
        "cat" if call.args().is_empty() => call.io.text.clone(),
        _ => None,
    }
}
