//! The words of a command as it would see them: quotes removed, variables with a known literal
//! value put in, and marks for what only a running shell knows. The text work is in
//! [`super::words`].

use tree_sitter::Node;

use super::words::{HOLE, Quoting, SPLIT, ansi_c, quoted, unescape};
use super::{Io, Reader, all, named, text};

impl Reader {
    /// Appends a word's text as the command would see it, with marks for what happens later.
    pub(super) fn expand(&mut self, node: Node<'_>, src: &str, out: &mut String, quoting: Quoting) {
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
