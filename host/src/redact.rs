//! Makes foreign text fit to show: without secrets, and without anything a terminal would obey.
//!
//! Both are guesses on the safe side: [`secrets`] hides what looks like a key, [`plain`] drops
//! what is not text. Neither knows where the text comes from.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Values of settings shorter than this are not taken for secrets.
const SHORTEST: usize = 16;
/// From this length on the ends of a secret are shown, so that two can be told apart.
const ENDS_FROM: usize = 20;

/// One pattern for all, so that a text is gone through once. Groups: `token` is a secret by its
/// own form, `value` one only after the word before it, `guess` only if it also looks random, and
/// `pem` a private key.
///
/// ASCII classes only: Unicode word boundaries would make the search many times slower.
static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let pattern = r#"(?x)
    (?P<pem> -----BEGIN\ [A-Z0-9\ ]{0,32}PRIVATE\ KEY-----
        (?: [A-Za-z0-9+/=\s\\|:,.-]*? -----END\ [A-Z0-9\ ]{0,32}PRIVATE\ KEY-----
          | [A-Za-z0-9+/=\s\\|]{40,} ) )
    | (?-u:\b) (?P<token>
        sk-[A-Za-z0-9_-]{16,}
      | (?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}
      | gh[pousr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,} | glpat-[A-Za-z0-9_-]{16,}
      | xox[abceoprs]-[A-Za-z0-9-]{10,} | xapp-[A-Za-z0-9-]{10,}
      | (?:AKIA|ASIA)[A-Z0-9]{16}(?-u:\b)
      | AIza[A-Za-z0-9_-]{30,}
      | (?:hf|npm|gsk)_[A-Za-z0-9]{20,} | (?:xai|tvly|pypi)-[A-Za-z0-9_-]{20,}
      | SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}
      | AGE-SECRET-KEY-1[A-Z0-9]{20,}
      | eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]* )
    | (?-u:\b) (?i-u:bearer|authorization:[\ \t]*(?:basic|token)) [\ \t]+
        (?P<value> [A-Za-z0-9._~+/=-]{16,} )
    | :// [^\s/:@"'<>]* : (?P<password> [^\s/@"'<>{}$]{3,} ) @
    | (?i-u: (?: api[_-]?key | access[_-]?key | private[_-]?key | signing[_-]?key
               | encryption[_-]?key | secret | token | passwd | password | passphrase
               | credential ) s? (?:[_-][a-z0-9]{1,32}){0,4} )
        \\?["']? (?: [\ \t]*(?:=>|:=|[:=])[\ \t]* | [\ \t]+ ) \\?["']?
        (?P<guess> [^\s"'\\,;&()<>{}\[\]$`|…]{16,} )
    "#;
    Regex::new(pattern).ok()
});

/// The text with keys, tokens and passwords cut to their ends (`sk-a…9f3c`).
pub fn secrets(text: &str) -> Cow<'_, str> {
    let Some(pattern) = PATTERN.as_ref() else {
        // Never happens: the tests build the pattern. Showing nothing is the safe side.
        return Cow::Borrowed("[redacted]");
    };
    let mut shown = String::new();
    let mut at = 0;
    for found in pattern.captures_iter(text) {
        if let Some((range, instead)) = hidden_part(&found) {
            shown.push_str(&text[at..range.start]);
            shown.push_str(&instead);
            at = range.end;
        }
    }
    if at == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[at..]);
    Cow::Owned(shown)
}

/// Which part of a match is the secret and what is shown instead. The words around it stay.
fn hidden_part(found: &Captures<'_>) -> Option<(Range<usize>, String)> {
    if let Some(key) = found.name("pem") {
        return Some((key.range(), "[private key redacted]".to_owned()));
    }
    if let Some(password) = found.name("password") {
        return Some((password.range(), "***".to_owned()));
    }
    let guess = found.name("guess").filter(|guess| looks_random(guess.as_str()));
    let secret = found.name("token").or(found.name("value")).or(guess)?;
    Some((secret.range(), mask(secret.as_str())))
}

fn mask(secret: &str) -> String {
    let count = secret.chars().count();
    if count < ENDS_FROM {
        return "***".to_owned();
    }
    let start: String = secret.chars().take(4).collect();
    let end: String = secret.chars().skip(count - 4).collect();
    format!("{start}…{end}")
}

/// Whether a value is rather a key than a name, a number, a path or a sentence.
fn looks_random(value: &str) -> bool {
    let path = value.contains("://") || value.starts_with(['/', '.', '~']);
    if value.chars().count() < SHORTEST || path {
        return false;
    }
    let digits = value.chars().filter(char::is_ascii_digit).count();
    let letters = value.chars().filter(char::is_ascii_alphabetic).count();
    let class = |c: char| match c {
        'a'..='z' => 0,
        'A'..='Z' => 1,
        '0'..='9' => 2,
        _ => 3,
    };
    let changes = value.chars().zip(value.chars().skip(1)).filter(|&(a, b)| class(a) != class(b));
    let restless = changes.count() * 5 >= value.len() * 2;
    letters > 0 && (digits >= 2 || (digits == 1 && restless)) && entropy(value) >= 3.0
}

/// Shannon entropy in bits per byte.
fn entropy(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let total = value.len() as f64;
    let part = |&count: &u32| {
        let share = f64::from(count) / total;
        -share * share.log2()
    };
    counts.iter().filter(|&&count| count > 0).map(part).sum()
}

/// Where [`plain`] is in a text.
enum State {
    Text,
    /// After ESC.
    Escape,
    /// In a control sequence: it ends with its first letter.
    Sequence,
    /// In a command string (title, clipboard, image): it ends with BEL, ST or the line.
    Command,
    /// ESC in a command string.
    CommandEscape,
}

/// The text alone: no escape sequences, no control characters but newline and tab, no characters
/// that change the direction of writing. What a carriage return or a backspace overwrites is gone,
/// as it would be on a screen.
#[expect(clippy::match_same_arms, reason = "a table of states, in its order")]
pub fn plain(text: &str) -> String {
    let mut screen = Screen { text: String::with_capacity(text.len()), line: 0, returned: false };
    let mut state = State::Text;
    for c in text.chars() {
        state = match (state, c) {
            (_, '\n') => {
                screen.put('\n');
                State::Text
            }
            // ESC and the C1 forms begin anew wherever they stand.
            (State::Command, '\x1b') => State::CommandEscape,
            (State::CommandEscape, '\\') => State::Text,
            (_, '\x1b') => State::Escape,
            (_, '\u{9b}') => State::Sequence,
            (_, '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}') => State::Command,
            (State::Command, '\x07' | '\x18' | '\x1a' | '\u{9c}') => State::Text,
            (State::Command, _) => State::Command,
            (State::Escape | State::CommandEscape, '[') => State::Sequence,
            (State::Escape | State::CommandEscape, ']' | 'P' | 'X' | '^' | '_') => State::Command,
            (State::Escape | State::CommandEscape, ' '..='/') => State::Escape,
            (State::Escape | State::CommandEscape, '0'..='~') => State::Text,
            (State::Sequence, ' '..='?') => State::Sequence,
            (State::Sequence, '@'..='~') => State::Text,
            // Also what cannot be in a sequence ends it, and is itself text.
            (State::Text | State::Escape | State::CommandEscape | State::Sequence, c) => {
                screen.put(c);
                State::Text
            }
        };
    }
    screen.text
}

struct Screen {
    text: String,
    /// Where the current line begins.
    line: usize,
    /// A carriage return came; the next character overwrites the line.
    returned: bool,
}

impl Screen {
    fn put(&mut self, c: char) {
        match c {
            '\n' => {
                self.returned = false;
                self.text.push('\n');
                self.line = self.text.len();
            }
            '\r' => self.returned = true,
            '\x08' => {
                if !self.returned && self.text.len() > self.line {
                    self.text.pop();
                }
            }
            _ if hidden(c) => {}
            c => {
                if self.returned {
                    self.text.truncate(self.line);
                    self.returned = false;
                }
                self.text.push(c);
            }
        }
    }
}

fn hidden(c: char) -> bool {
    let bidi = matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    bidi || (c.is_control() && c != '\t')
}

#[cfg(test)]
mod tests;
