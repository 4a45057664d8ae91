//! Parses shell text into a flat list of the commands it would run, in order, each with its words
//! as the command would see them. It knows nothing of danger.
//!
//! What only a running shell knows (an unset variable, the output of a command) is a [`HOLE`] in a
//! word. A variable is known while all assignments seen gave it one literal value.
//!
//! Invariant: depth, nesting and work are bounded; past a bound the script is `flawed`.

mod expand;
mod words;

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use tree_sitter::{Node, ParseOptions, ParseState, Parser, Tree};

use super::paths;
use super::wrap::{self, Nested};
pub(super) use words::HOLE;
use words::{Quoting, fields, plain};

const MAX_LENGTH: usize = 128 * 1024;
const MAX_DEPTH: usize = 120;
const MAX_NEST: usize = 8;
const MAX_WORK: usize = 2_000_000;
const MAX_PARSE_STEPS: usize = 3_000;

/// The commands that a text would run.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// The commands in order; one found inside another (substitution) comes before it, one run by
    /// a wrapper after it.
    pub(super) calls: Vec<Call>,
    /// Something could not be parsed reliably.
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

/// Whether a character can make a text look different from what it does.
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
        let mut nested_commands = wrap::nested(&call.words);
        if wrap::reads_code(&call.words) {
            let fed = self.script.calls.get(call.io.feeds.clone()).and_then(literal_output);
            nested_commands.extend(call.io.text.clone().or(fed).map(Nested::Code));
        }
        let (part, io, inner) = (call.part.clone(), call.io.clone(), call.inner.clone());
        self.script.calls.push(call);
        self.depth += 1;
        for nested in nested_commands {
            match nested {
                Nested::Words(words) => self.push(words, part.clone(), io.clone(), inner.clone()),
                Nested::Code(code) => {
                    self.code(&code, &Io { text: None, ..io.clone() });
                }
                Nested::Variable(name, value) => {
                    self.set(&name, (!value.contains(HOLE)).then_some(value));
                }
            }
        }
        self.depth -= 1;
    }
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

/// The output of a pipe's first half, where its text alone shows it.
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
