//! Finding lines in a text that are not quite the lines asked for, and putting others in their
//! place. Pure; what is done with several finds is the caller's decision.
//!
//! Invariant: lines that the caller leaves unchanged keep the text's own form, whatever form the
//! caller gave them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// How much a difference is overlooked. Each step overlooks what those before it do, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Exact,
    /// White space at the ends of lines.
    LineEnds,
    /// One indentation for another, if it can be translated line by line.
    Indentation,
    /// Curly quotes, dashes, odd spaces, the width of white space.
    Typography,
    /// Blank lines.
    BlankLines,
}

impl Step {
    const ALL: [Self; 5] =
        [Self::Exact, Self::LineEnds, Self::Indentation, Self::Typography, Self::BlankLines];

    /// What was overlooked, in the model's words.
    pub(super) fn overlooked(self) -> Option<&'static str> {
        match self {
            Self::Exact => None,
            Self::LineEnds => Some("white space at line ends"),
            Self::Indentation => Some("indentation"),
            Self::Typography => Some("quotes, dashes or spacing"),
            Self::BlankLines => Some("blank lines"),
        }
    }

    fn key(self, line: &str) -> Cow<'_, str> {
        match self {
            Self::Exact => Cow::Borrowed(line),
            Self::LineEnds => Cow::Borrowed(line.trim_end()),
            Self::Indentation => Cow::Borrowed(line.trim()),
            Self::Typography | Self::BlankLines => {
                let words: Vec<&str> = line.split_whitespace().collect();
                Cow::Owned(words.join(" ").replace('…', "...").chars().map(fold).collect())
            }
        }
    }
}

/// A place where the pattern stands.
#[derive(Debug)]
pub(super) struct LineMatch {
    /// The lines of the text.
    pub(super) lines: Range<usize>,
    /// Where in the text each line of the pattern is.
    rows: Vec<Option<usize>>,
    indents: Indents,
}

/// All places of the first step that finds any.
pub(super) fn find(text: &[&str], pattern: &[&str]) -> (Step, Vec<LineMatch>) {
    if pattern.iter().any(|line| !line.trim().is_empty()) {
        for step in Step::ALL {
            let found = find_at(step, text, pattern);
            if !found.is_empty() {
                return (step, found);
            }
        }
    } else if !pattern.is_empty() {
        // Blank lines alone are only found as they are.
        return (Step::Exact, find_at(Step::Exact, text, pattern));
    }
    (Step::Exact, Vec::new())
}

fn find_at(step: Step, text: &[&str], pattern: &[&str]) -> Vec<LineMatch> {
    let counts = |line: &str| step != Step::BlankLines || !line.trim().is_empty();
    let keyed = |lines: &[&str]| -> Vec<(usize, String)> {
        let counted = lines.iter().enumerate().filter(|(_, line)| counts(line));
        counted.map(|(n, line)| (n, step.key(line).into_owned())).collect()
    };
    let (text_keys, pattern_keys) = (keyed(text), keyed(pattern));
    if pattern_keys.is_empty() {
        return Vec::new();
    }
    let same = |window: &[(usize, String)]| {
        window.iter().zip(&pattern_keys).all(|((_, ours), (_, theirs))| ours == theirs)
    };
    let place = |window: &[(usize, String)]| {
        let mut rows = vec![None; pattern.len()];
        for ((at, _), (row, _)) in window.iter().zip(&pattern_keys) {
            rows[*row] = Some(*at);
        }
        let (first, last) = (window.first()?.0, window.last()?.0);
        let indents = Indents::between(pattern, &rows, text)?;
        Some(LineMatch { lines: first..last + 1, rows, indents })
    };
    text_keys.windows(pattern_keys.len()).filter(|window| same(window)).filter_map(place).collect()
}

impl LineMatch {
    /// The lines to stand in its place: `new`, of which what `old` has too stays as it is in the
    /// text, and the rest gets the text's indentation.
    pub(super) fn replacement(&self, text: &[&str], old: &[&str], new: &[&str]) -> Vec<String> {
        let ending = if text[self.lines.start].ends_with('\r') { "\r" } else { "" };
        let mut lines = Vec::new();
        let mut at = self.lines.start;
        let insert = |lines: &mut Vec<String>, range: Range<usize>| {
            for line in &new[range] {
                let line = line.strip_suffix('\r').unwrap_or(line);
                lines.push(format!("{}{ending}", self.indents.translate(line)));
            }
        };
        for op in capture_diff_slices(Algorithm::Myers, old, new) {
            match op {
                DiffOp::Equal { old_index, len, .. } => {
                    for row in self.rows[old_index..old_index + len].iter().flatten() {
                        // With them, blank lines that the pattern leaves out.
                        lines.extend(text[at..=*row].iter().map(|&line| line.to_owned()));
                        at = row + 1;
                    }
                }
                DiffOp::Delete { old_index, old_len, .. } => {
                    at = self.after(old_index..old_index + old_len, at);
                }
                DiffOp::Insert { new_index, new_len, .. } => {
                    insert(&mut lines, new_index..new_index + new_len);
                }
                DiffOp::Replace { old_index, old_len, new_index, new_len } => {
                    at = self.after(old_index..old_index + old_len, at);
                    insert(&mut lines, new_index..new_index + new_len);
                }
            }
        }
        lines
    }

    fn after(&self, rows: Range<usize>, at: usize) -> usize {
        self.rows[rows].iter().flatten().last().map_or(at, |row| row + 1)
    }
}

/// Which indentation of the text each one of the pattern stands for. Empty: they are the same.
#[derive(Debug, Default)]
struct Indents(BTreeMap<String, String>);

impl Indents {
    /// `None` if the lines do not agree on it, so that the pattern has another structure.
    fn between(pattern: &[&str], rows: &[Option<usize>], text: &[&str]) -> Option<Self> {
        let mut map: BTreeMap<String, String> = BTreeMap::new();
        for (theirs, row) in pattern.iter().zip(rows) {
            let Some(ours) = row.and_then(|row| text.get(row)) else { continue };
            if theirs.trim().is_empty() {
                continue;
            }
            let (theirs, ours) = (indent(theirs), indent(ours));
            match map.get(theirs) {
                Some(known) if known != ours => return None,
                Some(_) => {}
                None if map.values().any(|known| known == ours) => return None,
                None => {
                    map.insert(theirs.to_owned(), ours.to_owned());
                }
            }
        }
        if map.iter().all(|(theirs, ours)| theirs == ours) {
            map.clear();
        }
        Some(Self(map))
    }

    fn translate<'a>(&self, line: &'a str) -> Cow<'a, str> {
        let (theirs, rest) = line.split_at(indent(line).len());
        if self.0.is_empty() || rest.is_empty() {
            return Cow::Borrowed(line);
        }
        let deeper = |(known, _): &(&String, &String)| theirs.starts_with(known.as_str());
        let ours = match self.0.iter().filter(deeper).max_by_key(|(known, _)| known.len()) {
            Some((known, ours)) => format!("{ours}{}", self.unit(&theirs[known.len()..])),
            // Less deep than all that is known: as much less deep in the text.
            None => match self.0.iter().min_by_key(|(known, _)| known.len()) {
                Some((known, ours)) => {
                    let less = self.unit(&known[theirs.len().min(known.len())..]).len();
                    let keep = ours.chars().count().saturating_sub(less);
                    ours.chars().take(keep).collect()
                }
                None => theirs.to_owned(),
            },
        };
        Cow::Owned(format!("{ours}{rest}"))
    }

    /// More indentation of the pattern in the text's characters: tabs for spaces or the reverse.
    fn unit(&self, more: &str) -> String {
        let tab = |indent: &String| indent.contains('\t');
        let (theirs, ours) = (self.0.keys().any(tab), self.0.values().any(tab));
        let width = self.width();
        if ours && more.chars().all(|c| c == ' ') {
            "\t".repeat(more.len().div_ceil(width))
        } else if theirs && !ours {
            more.replace('\t', &" ".repeat(width))
        } else {
            more.to_owned()
        }
    }

    /// How many spaces stand for a tab, as far as the known pairs tell.
    fn width(&self) -> usize {
        let tabs_to = |tabs: &str, spaces: &str| {
            let (count, spaces) = (tabs.matches('\t').count(), spaces.matches(' ').count());
            (count > 0 && spaces > 0).then(|| (spaces / count).clamp(1, 8))
        };
        let pair = |(a, b): (&String, &String)| tabs_to(a, b).or_else(|| tabs_to(b, a));
        self.0.iter().find_map(pair).unwrap_or(4)
    }
}

fn indent(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

/// The plain form of a typographic character.
pub(super) fn fold(c: char) -> char {
    match c {
        '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{00b4}' => '\'',
        '\u{201c}'..='\u{201f}' | '\u{2033}' | '\u{00ab}' | '\u{00bb}' => '"',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{00a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str, old: &str, new: &str) -> (Step, Vec<String>) {
        let split = |text: &str| -> Vec<String> { text.split('\n').map(str::to_owned).collect() };
        let (text, old, new) = (split(text), split(old), split(new));
        let refs = |lines: &[String]| -> Vec<String> { lines.to_vec() };
        let (text, old, new) = (refs(&text), refs(&old), refs(&new));
        let text: Vec<&str> = text.iter().map(String::as_str).collect();
        let old: Vec<&str> = old.iter().map(String::as_str).collect();
        let new: Vec<&str> = new.iter().map(String::as_str).collect();
        let (step, found) = find(&text, &old);
        (step, found.iter().map(|f| f.replacement(&text, &old, &new).join("\n")).collect())
    }

    #[test]
    fn the_least_forgiving_step_that_finds_anything_is_taken() {
        assert_eq!(replaced("a\n a", "a", "b"), (Step::Exact, vec!["b".to_owned()]));
        assert_eq!(replaced("a \n a", "a", "b"), (Step::LineEnds, vec!["b".to_owned()]));
        assert_eq!(replaced("  a\nx", "a", "b"), (Step::Indentation, vec!["  b".to_owned()]));
        assert_eq!(replaced("x – ‘y’", "x - 'y'", "z"), (Step::Typography, vec!["z".to_owned()]));
        assert_eq!(replaced("a\n\nb", "a\nb", "a\nc").0, Step::BlankLines);
        assert_eq!(replaced("a\nb", "c", "d").1, Vec::<String>::new());
        assert_eq!(replaced("a\n  \nb", "\n", "d").1, Vec::<String>::new());
    }

    #[test]
    fn unchanged_lines_keep_their_form() {
        let (_, new) = replaced("keep  \nold\t\nkeep2 ", "keep\nold\nkeep2", "keep\nnew\nkeep2");
        assert_eq!(new, ["keep  \nnew\nkeep2 "]);
        let (_, new) = replaced("a\n\n\nb\nc", "a\nb\nc", "a\nb\nnew\nc");
        assert_eq!(new, ["a\n\n\nb\nnew\nc"]);
        let (_, new) = replaced("a\nb", "a\n\n\nb", "a\n\n\nb\nc");
        assert_eq!(new, ["a\nb\nc"]);
    }

    #[test]
    fn indentation_is_translated_deeper_and_less_deep() {
        let text = "        if x:\n            y()";
        let (step, new) =
            replaced(text, "if x:\n    y()", "while x:\n    if z:\n        y()\n        z()");
        assert_eq!(step, Step::Indentation);
        assert_eq!(
            new,
            ["        while x:\n            if z:\n                y()\n                z()"]
        );
        let (_, new) = replaced(
            "\tif x {\n\t\ty();",
            "    if x {\n        y();",
            "    if x {\n        if z {\n            y();\nend",
        );
        assert_eq!(new, ["\tif x {\n\t\tif z {\n\t\t\ty();\nend"]);
        let (_, new) = replaced("  a\n    b", "\ta\n\t\tb", "\ta\n\t\tb\n\t\t\tc");
        assert_eq!(new, ["  a\n    b\n      c"]);
    }

    #[test]
    fn another_structure_is_no_match() {
        let flat = replaced("if x:\n    y\nz", "if x:\ny\nz", "");
        assert_eq!(flat.1, Vec::<String>::new());
    }
}
