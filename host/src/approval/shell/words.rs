//! Text of words: the marks that expansion leaves in them, escapes, and the splitting of a word
//! into fields and brace alternatives. It knows no syntax tree.

/// Stands in a word for text that is not known.
pub(in crate::approval) const HOLE: char = '\u{1}';
/// Where an unquoted expansion splits a word.
pub(super) const SPLIT: char = '\u{2}';
/// Unquoted `{`, `,` and `}`.
const OPEN: char = '\u{3}';
const COMMA: char = '\u{4}';
const CLOSE: char = '\u{5}';

const MAX_BRACE_WORDS: usize = 64;

/// How a part of a word is quoted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quoting {
    Bare,
    Double,
}

/// A quoted `~` is a file of that name, not the home.
pub(super) fn quoted(text: &str, out: &mut String) {
    if out.is_empty() && text.starts_with('~') {
        out.push_str("./");
    }
    out.push_str(text);
}

pub(super) fn unescape(raw: &str, out: &mut String, quoting: Quoting) {
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
pub(super) fn ansi_c(raw: &str) -> String {
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
pub(super) fn plain(word: &str) -> String {
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
pub(super) fn fields(word: &str) -> (Vec<String>, bool) {
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
