//! The gate for foreign text: text from a model, a tool, a file, a title or a server passes here
//! before it enters a line of the screen.
//!
//! Invariant: what leaves is printable: no ESC, C0 (but newline), C1, DEL, bidi control, and no
//! invisible character that could shift or hide its neighbours.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

use unicode_width::UnicodeWidthChar;

/// Marks of no width that may follow each other. Real scripts and emoji need five.
const MARKS: usize = 8;

/// Spaces for a tab.
const TAB: &str = "    ";

/// Printable text: escape sequences and hidden characters are dropped, tabs become spaces.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if is_clean(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut marks = 0;
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\t' => out.push_str(TAB),
            '\r' if chars.peek() != Some(&'\n') => out.push('\n'),
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_csi(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string(&mut chars),
            c if is_hidden(c) => {}
            c if c.width() == Some(0) => {
                marks += 1;
                if marks <= MARKS {
                    out.push(c);
                }
                continue;
            }
            c => out.push(c),
        }
        marks = 0;
    }
    Cow::Owned(out)
}

/// The same on one line: for titles, commands, headers.
pub(crate) fn one_line(text: &str) -> String {
    let text = clean(text);
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// The output of a program as a terminal would show it: of a line that was rewritten after a
/// carriage return, the last version.
pub(crate) fn output(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (body, end) = match line.strip_suffix('\n') {
            Some(body) => (body, "\n"),
            None => (line, ""),
        };
        let body = body.trim_end_matches('\r');
        let last = body.rsplit('\r').next().unwrap_or(body);
        out.push_str(&clean(last));
        out.push_str(end);
    }
    out
}

/// The beginning of a text, at most `max` bytes.
pub(crate) fn head(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

/// The end of a text, at most `max` bytes.
pub(crate) fn tail(text: &str, max: usize) -> &str {
    text.get(text.ceil_char_boundary(text.len().saturating_sub(max))..).unwrap_or(text)
}

fn is_clean(text: &str) -> bool {
    let mut marks = 0;
    text.chars().all(|c| {
        if c.is_ascii() {
            marks = 0;
            return c == '\n' || !c.is_ascii_control();
        }
        if is_hidden(c) || matches!(c, '\u{2028}' | '\u{2029}') {
            return false;
        }
        marks = if c.width() == Some(0) { marks + 1 } else { 0 };
        marks <= MARKS
    })
}

/// Characters that are never shown. The joiners U+200C and U+200D stay: scripts and emoji need
/// them, and they cannot reorder anything.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// After ESC: a whole sequence goes, so that no `[31m` stays behind.
fn skip_escape(chars: &mut Peekable<Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_csi(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            skip_string(chars);
        }
        Some(' '..='~') => {
            while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            chars.next_if(|c| matches!(c, '0'..='~'));
        }
        Some(_) | None => {}
    }
}

fn skip_csi(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

/// A string sequence ends at BEL, ST or, when its end is missing, with the line.
fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    while let Some(c) = chars.next_if(|c| *c != '\n') {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' if chars.next_if_eq(&'\\').is_some() => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_go_as_a_whole() {
        assert_eq!(clean("a\u{1b}[31mred\u{1b}[0m b"), "ared b");
        assert_eq!(clean("\u{1b}]0;title\u{7}x\u{1b}]8;;http://e\u{1b}\\y"), "xy");
        assert_eq!(clean("\u{9b}31mC1\u{85}\u{7f}\u{1b}Pq\u{9c}z"), "C1z");
        assert_eq!(clean("\u{1b}(Bx\u{1b}7y\u{1b}"), "xy");
        assert_eq!(clean("\u{1b}]52;c;never closed\nnext"), "\nnext");
    }

    #[test]
    fn bidi_controls_and_invisible_characters_go_and_joiners_stay() {
        assert_eq!(clean("a\u{202e}b\u{2066}c\u{200b}d\u{feff}e\u{ad}f"), "abcdef");
        let emoji = "👩\u{200d}👩\u{200d}👧 ❤\u{fe0f}";
        assert_eq!(clean(emoji), emoji);
        let tower = format!("a{}b", "\u{301}".repeat(500));
        assert_eq!(clean(&tower).chars().count(), 2 + MARKS);
    }

    #[test]
    fn clean_text_is_borrowed_and_tabs_become_spaces() {
        assert!(matches!(clean("plain – 日本語\nline"), Cow::Borrowed(_)));
        assert_eq!(clean("a\tb\r\nc"), "a    b\nc");
        assert_eq!(one_line(" a\tb\r\n\n c "), "a b c");
    }

    #[test]
    fn of_a_rewritten_line_the_last_version_is_shown() {
        assert_eq!(output("10%\r50%\r100%\r\ndone\n"), "100%\ndone\n");
    }
}
