//! The bytes of a stream, filtered for the parser: whole lines of known fields, valid UTF-8, events of
//! limited size. What the parser would end the connection over (an unknown field alone, a broken
//! character) is removed or replaced here.

/// Most bytes of one event: a whole transcript must pass.
pub(crate) const LARGEST: usize = 64 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct LineFilter {
    partial: Vec<u8>,
    /// Bytes of the event so far.
    event: usize,
    /// The last byte was a carriage return: a line feed right after it belongs to it.
    returned: bool,
    first: bool,
    largest: usize,
}

/// What is left of a chunk.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Filtered {
    /// Whole lines for the parser.
    pub(crate) lines: Vec<u8>,
    /// A comment was in the chunk.
    pub(crate) has_comment: bool,
    /// Something else was, also if it was removed.
    pub(crate) has_fields: bool,
}

/// An event has no end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl LineFilter {
    /// The beginning of a stream whose events have at most `largest` bytes.
    pub(crate) fn new(largest: usize) -> Self {
        Self { partial: Vec::new(), event: 0, returned: false, first: true, largest }
    }

    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, mut chunk: &[u8]) -> Result<Filtered, TooLarge> {
        let mut filtered = Filtered::default();
        while let Some(&next) = chunk.first() {
            if std::mem::take(&mut self.returned) && next == b'\n' {
                chunk = &chunk[1..];
                continue;
            }
            let end = chunk.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let part = &chunk[..end.unwrap_or(chunk.len())];
            if self.event + self.partial.len() + part.len() > self.largest {
                return Err(TooLarge);
            }
            self.partial.extend_from_slice(part);
            let Some(end) = end else {
                // Half a line counts as a field only if it cannot become a comment.
                filtered.has_fields |= self.partial.first().is_some_and(|b| *b != b':');
                break;
            };
            self.returned = chunk[end] == b'\r';
            chunk = &chunk[end + 1..];
            let line = std::mem::take(&mut self.partial);
            self.line(&line, &mut filtered);
        }
        Ok(filtered)
    }

    fn line(&mut self, mut line: &[u8], filtered: &mut Filtered) {
        if std::mem::take(&mut self.first) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            self.event = 0;
            filtered.lines.push(b'\n');
            return;
        }
        if line[0] == b':' {
            filtered.has_comment = true;
        } else {
            filtered.has_fields = true;
            if !is_known(line) {
                return;
            }
            self.event += line.len();
        }
        filtered.lines.extend_from_slice(String::from_utf8_lossy(line).as_bytes());
        filtered.lines.push(b'\n');
    }
}

/// Whether the parser can use a field.
fn is_known(line: &[u8]) -> bool {
    let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
    let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
    match &line[..colon] {
        b"data" => true,
        b"event" => !value.is_empty(),
        b"id" => !value.contains(&0),
        // `retry` too: the pauses are ours.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of it, fed in pieces of `size` bytes.
    fn fed(bytes: &[u8], size: usize) -> String {
        let mut lines = LineFilter::new(LARGEST);
        let mut out = Vec::new();
        for chunk in bytes.chunks(size) {
            out.extend(lines.feed(chunk).unwrap().lines);
        }
        String::from_utf8(out).unwrap()
    }

    // E15
    #[test]
    fn the_filter_does_not_depend_on_where_the_bytes_are_cut() {
        let stream = "\u{feff}id: a:1\r\nevent: token\r\ndata: {\"ä\":\"→\"}\r\n\r\n: ping\n\
                      event: x\rdata: 1\rdata: 2\r\rdata: last\n\n"
            .as_bytes();
        let whole = "id: a:1\nevent: token\ndata: {\"ä\":\"→\"}\n\n: ping\n\
                     event: x\ndata: 1\ndata: 2\n\ndata: last\n\n";
        for size in 1..=stream.len() {
            assert_eq!(fed(stream, size), whole, "{size}");
        }
    }

    // E15
    #[test]
    fn unknown_fields_are_removed_and_broken_characters_replaced() {
        let stream = b"colour: red\n\nevent:\n\nretry: soon\nretry: 5\n\nid: a\0b\n\n\
                       comment: no\ndata: \xff\xfe!\n\n";
        assert_eq!(fed(stream, 3), "\n\n\n\ndata: \u{fffd}\u{fffd}!\n\n");
    }

    // E15
    #[test]
    fn five_megabytes_pass_and_an_event_without_end_is_an_error() {
        let mut large = b"data: ".to_vec();
        large.resize(5 * 1024 * 1024, b'x');
        large.extend_from_slice(b"\n\n");
        assert_eq!(fed(&large, 4096).len(), large.len());
        let mut lines = LineFilter::new(100);
        for _ in 0..3 {
            assert!(lines.feed(b"data: 0123456789012345678901234567890123456789\n\n").is_ok());
        }
        assert_eq!(lines.feed(&[b'x'; 101]), Err(TooLarge));
        let mut lines = LineFilter::new(100);
        let many = std::iter::repeat_n(b"data: 0123456789\n", 10).map(|l| lines.feed(l));
        assert_eq!(many.last(), Some(Err(TooLarge)), "many lines of one event");
    }

    // E07
    #[test]
    fn comments_are_told_apart_from_fields() {
        let mut lines = LineFilter::new(LARGEST);
        let mut kind = |bytes: &[u8]| {
            let filtered = lines.feed(bytes).unwrap();
            (filtered.has_comment, filtered.has_fields)
        };
        assert_eq!(kind(b": keep"), (false, false));
        assert_eq!(kind(b"alive\n\n"), (true, false));
        assert_eq!(kind(b"data: x"), (false, true));
        assert_eq!(kind(b"\n\n"), (false, true));
    }
}
