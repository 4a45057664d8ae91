//! Finds the lines of a process's output that contain a pattern. Bytes in, hits out; it reads
//! nothing itself.
//!
//! A pattern is searched in a line as a person sees it, without escape sequences. An unfinished
//! line (a prompt) counts as soon as it matches, and only once.

use super::output::Chunk;
use super::{Watch, WatchHit};
use crate::redact;
use protocol::Millis;

/// Most lines that a hit shows.
const LINES: usize = 20;
/// Most characters that a hit shows.
const CHARS: usize = 2_000;
/// How much of an unfinished line is kept for its rest to come, in bytes; its end.
const UNFINISHED: usize = 16 * 1024;
/// What stands for a line that is part of a secret of several lines.
const HIDDEN: &str = "[redacted]";

/// The state of a search through growing output.
pub(super) struct Scanner {
    patterns: Vec<String>,
    /// Where the next bytes belong.
    at: u64,
    /// The line that is not finished yet, or its end.
    unfinished: Vec<u8>,
    /// The unfinished line has matched already.
    counted: bool,
    pending: Option<PendingHit>,
}

/// The matches since the last [`Scanner::take`].
struct PendingHit {
    pattern: String,
    text: String,
    shown: usize,
    lines: u64,
}

impl Scanner {
    pub(super) fn new(watch: Watch) -> Self {
        Self {
            patterns: watch.patterns,
            at: watch.offset,
            unfinished: Vec::new(),
            counted: false,
            pending: None,
        }
    }

    /// The position from which it continues, in bytes.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Scans the next bytes. A gap before them, output that was not kept, is skipped.
    pub(super) fn feed(&mut self, chunk: &Chunk) {
        if chunk.from > self.at {
            self.unfinished.clear();
            self.counted = false;
        }
        self.at = chunk.from + chunk.bytes.len() as u64;
        let mut hits: Vec<(String, usize)> = Vec::new();
        let mut rest = chunk.bytes.as_slice();
        // A carriage return ends a line too: what it overwrites was visible for a while.
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend(&rest[..end]);
            self.match_line(&mut hits);
            self.unfinished.clear();
            self.counted = false;
            rest = &rest[end + 1..];
        }
        self.extend(rest);
        self.match_line(&mut hits);
        if !hits.is_empty() {
            self.add(hits, &chunk.bytes);
        }
    }

    /// The matches since the last call, if any.
    pub(super) fn take(&mut self, at: Millis) -> Option<WatchHit> {
        let PendingHit { pattern, text, lines, .. } = self.pending.take()?;
        // After a restart an unfinished line is scanned again as a whole, unless it has matched.
        let again = if self.counted { 0 } else { self.unfinished.len() as u64 };
        Some(WatchHit { pattern, text, lines, upto: self.at - again, at })
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.unfinished.extend_from_slice(bytes);
        let surplus = self.unfinished.len().saturating_sub(UNFINISHED);
        self.unfinished.drain(..surplus);
    }

    /// Matches the unfinished line as far as it is known.
    fn match_line(&mut self, hits: &mut Vec<(String, usize)>) {
        if self.counted || self.unfinished.is_empty() {
            return;
        }
        let line = redact::plain(&String::from_utf8_lossy(&self.unfinished));
        if let Some(i) = self.patterns.iter().position(|pattern| line.contains(pattern)) {
            self.counted = true;
            hits.push((line, i));
        }
    }

    fn add(&mut self, hits: Vec<(String, usize)>, around: &[u8]) {
        let around = redact::plain(&String::from_utf8_lossy(around).replace('\r', "\n"));
        let shown_around = redact::secrets(&around);
        for (line, pattern) in hits {
            let pending = self.pending.get_or_insert_with(|| PendingHit {
                pattern: self.patterns.get(pattern).cloned().unwrap_or_default(),
                text: String::new(),
                shown: 0,
                lines: 0,
            });
            pending.lines += 1;
            let room = CHARS.saturating_sub(pending.text.chars().count() + 1);
            if pending.shown == LINES || room == 0 {
                continue;
            }
            let shown = redact::secrets(&line);
            // By itself it looks harmless, but its neighbours show that it is secret.
            let hidden = around.contains(&*line) && !shown_around.contains(&*shown);
            let shown = if hidden { HIDDEN } else { &*shown };
            if pending.shown > 0 {
                pending.text.push('\n');
            }
            pending.text.extend(shown.trim_end().chars().take(room));
            pending.shown += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner(patterns: &[&str]) -> Scanner {
        let patterns = patterns.iter().map(|p| (*p).to_owned()).collect();
        Scanner::new(Watch { patterns, offset: 0 })
    }

    fn feed(scanner: &mut Scanner, text: &str) -> Option<(u64, String)> {
        let from = scanner.at();
        scanner.feed(&Chunk { from, bytes: text.as_bytes().to_vec() });
        scanner.take(5).map(|hit| (hit.lines, hit.text))
    }

    #[test]
    fn lines_that_contain_a_pattern_are_a_hit_named_by_the_first() {
        // P01
        let mut scanner = scanner(&["ERROR", "listening"]);
        let bytes = b"one\nnow listening on 80\nan ERROR of listening\ntwo\n".to_vec();
        scanner.feed(&Chunk { from: 0, bytes });
        let hit = scanner.take(7).unwrap();
        assert_eq!(hit.pattern, "listening");
        assert_eq!(hit.text, "now listening on 80\nan ERROR of listening");
        assert_eq!((hit.lines, hit.upto, hit.at), (2, 50, 7));
        assert_eq!(scanner.take(8), None);
    }

    #[test]
    fn the_first_pattern_of_the_list_that_a_line_contains_names_it() {
        // P01
        let mut scanner = scanner(&["ERROR", "listening"]);
        scanner.feed(&Chunk { from: 0, bytes: b"listening with an ERROR\n".to_vec() });
        assert_eq!(scanner.take(0).unwrap().pattern, "ERROR");
    }

    #[test]
    fn a_pattern_split_over_two_reads_at_any_byte_is_found_once() {
        // P02
        let text = "früh\nein späßiges Wort\r\nspät\n";
        for cut in 0..=text.len() {
            let mut scanner = scanner(&["späßig"]);
            let mut lines = 0;
            for bytes in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                scanner.feed(&Chunk { from: scanner.at(), bytes: bytes.to_vec() });
                lines += scanner.take(0).map_or(0, |hit| hit.lines);
            }
            assert_eq!(lines, 1, "cut at {cut}");
        }
    }

    #[test]
    fn an_unfinished_line_counts_at_once_and_only_once() {
        // P02
        let mut scanner = scanner(&["Password", "ok"]);
        assert_eq!(feed(&mut scanner, "Pass"), None);
        assert_eq!(feed(&mut scanner, "word: "), Some((1, "Password:".to_owned())));
        assert_eq!(feed(&mut scanner, "Password ok"), None);
        assert_eq!(feed(&mut scanner, "\r\n"), None);
        assert_eq!(feed(&mut scanner, "Password again"), Some((1, "Password again".to_owned())));
    }

    #[test]
    fn after_a_restart_an_unfinished_line_is_scanned_again() {
        // P02
        let mut first = scanner(&["ready", "go"]);
        let output = b"go\nrea".to_vec();
        first.feed(&Chunk { from: 0, bytes: output });
        let upto = first.take(0).unwrap().upto;
        assert_eq!(upto, 3);
        let mut next = Scanner::new(Watch { patterns: vec!["ready".to_owned()], offset: upto });
        assert_eq!(feed(&mut next, "ready\n"), Some((1, "ready".to_owned())));
        // One that was reported is not.
        let mut first = scanner(&["ready"]);
        first.feed(&Chunk { from: 0, bytes: b"ready".to_vec() });
        assert_eq!(first.take(0).unwrap().upto, 5);
    }

    #[test]
    fn of_an_unfinished_line_the_last_16_kilobytes_are_rescanned() {
        // P02
        for (length, again) in [(5_000, 5_000), (20_000, 16 * 1024)] {
            let mut scanner = scanner(&["go"]);
            let bytes = format!("go\n{}", "x".repeat(length)).into_bytes();
            let end = bytes.len() as u64;
            scanner.feed(&Chunk { from: 0, bytes });
            assert_eq!(scanner.take(0).unwrap().upto, end - again);
        }
    }

    #[test]
    fn output_that_was_not_kept_is_skipped_and_joins_no_line() {
        // P02
        let mut scanner = scanner(&["split"]);
        assert_eq!(feed(&mut scanner, "spl"), None);
        scanner.feed(&Chunk { from: 100, bytes: b"it\nsplit\n".to_vec() });
        assert_eq!(scanner.take(0).unwrap().lines, 1);
        assert_eq!(scanner.at(), 109);
    }

    #[test]
    fn a_hit_shows_at_most_twenty_lines_and_two_thousand_characters() {
        // P01
        let mut many = scanner(&["x"]);
        let (lines, text) = feed(&mut many, &"x\n".repeat(21)).unwrap();
        assert_eq!((lines, text.lines().count()), (21, 20));
        let mut long = scanner(&["x"]);
        let (lines, text) = feed(&mut long, &format!("{}\n", "x".repeat(1_200)).repeat(3)).unwrap();
        assert_eq!(lines, 3);
        assert!(text.chars().count() <= 2_000 && text.chars().count() > 1_990);
        // A line without an end is kept in bounds, and found all the same.
        let mut endless = scanner(&["needle"]);
        for _ in 0..100 {
            assert_eq!(feed(&mut endless, &"-".repeat(10_000)), None);
        }
        assert!(endless.unfinished.len() <= UNFINISHED);
        assert_eq!(feed(&mut endless, "needle").unwrap().0, 1);
    }

    #[test]
    fn a_hit_has_no_escape_sequences_and_no_secrets() {
        // P01
        let mut colours = scanner(&["ERROR: disk"]);
        let shown = feed(&mut colours, "\x1b[31mERROR\x1b[0m: disk\x07\r\n");
        assert_eq!(shown, Some((1, "ERROR: disk".to_owned())));
        let mut key = scanner(&["key"]);
        let (_, text) = feed(&mut key, "the key is sk-abcdefghijklmnopqrstuvwx1234\n").unwrap();
        assert!(!text.contains("ijklmnop"), "{text}");
        // A line of a private key looks harmless without the lines around it.
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\nMIIEneedle{}\n-----END PRIVATE KEY-----\n",
            "A".repeat(64),
            "B".repeat(54)
        );
        let mut pattern = scanner(&["needle"]);
        assert_eq!(feed(&mut pattern, &pem), Some((1, HIDDEN.to_owned())));
    }
}
