//! A tape: an append-only log of encoded frames. A reader holds a position and nothing else, so a
//! slow reader costs a number, and what it has missed is known exactly (E04).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::wire::encode::frame::Frame;

/// Most bytes of one read.
const BATCH: usize = 64 * 1024;

/// A log of encoded frames (see the module).
#[derive(Debug)]
pub(super) struct Tape {
    /// The prefix of its frames' ids; without a name they have none.
    name: Option<String>,
    /// Most bytes kept.
    cap: usize,
    /// The number of the oldest frame kept.
    first: u64,
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Whether it still holds everything since its beginning or last restart.
    complete: bool,
    ended: bool,
    last_name: &'static str,
}

/// The result of a read.
#[derive(Debug, PartialEq)]
pub(super) enum Read {
    /// Frames, and the number of the last of them.
    Frames(Bytes, u64),
    /// There are no more frames yet.
    Wait,
    /// There will be no more frames.
    End,
    /// The next frames were dropped: how many.
    Behind(u64),
}

impl Tape {
    /// An empty tape of at most `cap` bytes. `name` gives the ids: `name:1`, `name:2` …
    pub(super) fn new(name: Option<String>, cap: usize) -> Self {
        Self {
            name,
            cap,
            first: 1,
            frames: VecDeque::new(),
            bytes: 0,
            complete: true,
            ended: false,
            last_name: "",
        }
    }

    /// Adds a frame. The oldest ones are dropped if the tape is too long now, never the last.
    pub(super) fn push(&mut self, frame: &Frame) {
        let id = self.name.as_ref().map(|name| (name.as_str(), self.last() + 1));
        let bytes = encode(id, frame);
        self.last_name = frame.name;
        self.bytes += bytes.len();
        self.frames.push_back(bytes);
        while self.bytes > self.cap && self.frames.len() > 1 {
            self.bytes -= self.frames.pop_front().map_or(0, |old| old.len());
            self.first += 1;
            self.complete = false;
        }
    }

    /// Starts over: what follows is everything again. Readers of what was before are behind, also
    /// those that have read all of it.
    pub(super) fn restart(&mut self) {
        self.first = self.last() + 2;
        self.frames.clear();
        self.bytes = 0;
        self.complete = true;
    }

    /// Marks the end: no frame follows.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// The prefix of ids; empty without a name.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The number of the newest frame; of the one before the first if there is none.
    pub(super) fn last(&self) -> u64 {
        self.first + self.frames.len() as u64 - 1
    }

    /// The name of the newest frame.
    pub(super) fn last_name(&self) -> &'static str {
        self.last_name
    }

    /// The bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The position before the first frame; `None` if frames were dropped.
    pub(super) fn start(&self) -> Option<u64> {
        self.complete.then_some(self.first - 1)
    }

    /// Reads what follows the frame of that number.
    pub(super) fn read(&self, after: u64) -> Read {
        if after + 1 < self.first {
            return Read::Behind(self.first - 1 - after);
        }
        let skip = usize::try_from(after + 1 - self.first).unwrap_or(usize::MAX);
        let mut upto = after;
        let mut batch: Vec<&Bytes> = Vec::new();
        let mut bytes = 0;
        for frame in self.frames.iter().skip(skip) {
            if bytes > 0 && bytes + frame.len() > BATCH {
                break;
            }
            bytes += frame.len();
            upto += 1;
            batch.push(frame);
        }
        match batch.as_slice() {
            [] if self.ended => Read::End,
            [] => Read::Wait,
            [one] => Read::Frames((*one).clone(), upto),
            many => {
                let mut joined = Vec::with_capacity(bytes);
                for frame in many {
                    joined.extend_from_slice(frame);
                }
                Read::Frames(joined.into(), upto)
            }
        }
    }
}

/// A frame as a server-sent event, with its id if it has one.
pub(super) fn encode(id: Option<(&str, u64)>, frame: &Frame) -> Bytes {
    let id = id.map(|(name, n)| format!("id: {name}:{n}\n")).unwrap_or_default();
    // JSON is one line: a line break in a text is escaped.
    format!("{id}event: {}\ndata: {}\n\n", frame.name, frame.data).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn frame(text: &str) -> Frame {
        Frame::new("token", json!({ "text": text }))
    }

    fn tape(cap: usize, frames: usize) -> Tape {
        let mut tape = Tape::new(Some("s".to_owned()), cap);
        for n in 1..=frames {
            tape.push(&frame(&format!("t{n}")));
        }
        tape
    }

    fn all(tape: &Tape, mut after: u64) -> String {
        let mut text = String::new();
        while let Read::Frames(bytes, upto) = tape.read(after) {
            text += std::str::from_utf8(&bytes).unwrap();
            after = upto;
        }
        text
    }

    #[test]
    fn a_frame_is_one_event_with_the_next_number_and_one_data_line() {
        let mut tape = tape(1000, 1);
        tape.push(&frame("a\nb"));
        let expected = "id: s:1\nevent: token\ndata: {\"text\":\"t1\"}\n\n\
                        id: s:2\nevent: token\ndata: {\"text\":\"a\\nb\"}\n\n";
        assert_eq!(all(&tape, 0), expected);
        assert_eq!((tape.last(), tape.last_name()), (2, "token"));
    }

    // E03
    #[test]
    fn from_every_position_the_rest_follows_without_gap_or_double() {
        let tape = tape(1_000_000, 5_000);
        let whole = all(&tape, 0);
        for after in [0, 1, 2, 17, 2_499, 4_998, 4_999, 5_000] {
            let rest = all(&tape, after);
            assert!(whole.ends_with(&rest));
            assert_eq!(rest.matches("\n\n").count() as u64, 5_000 - after);
        }
        assert_eq!(tape.read(5_000), Read::Wait);
    }

    // E04
    #[test]
    fn a_full_tape_drops_its_oldest_and_counts_what_was_missed() {
        let tape = tape(400, 1_000);
        assert!(tape.bytes() <= 400);
        assert_eq!(tape.last(), 1_000);
        assert_eq!(tape.start(), None, "the beginning is gone");
        let Read::Behind(dropped) = tape.read(10) else { panic!() };
        let rest = all(&tape, 10 + dropped);
        assert_eq!(rest.matches("\n\n").count() as u64, 1_000 - 10 - dropped);
        assert!(rest.contains("s:1000\n"));
    }

    #[test]
    fn a_frame_beyond_the_limit_is_kept_while_it_is_the_last() {
        let mut tape = tape(10, 1);
        assert!(matches!(tape.read(0), Read::Frames(_, 1)));
        tape.push(&frame("x"));
        assert_eq!(tape.read(0), Read::Behind(1));
        assert!(matches!(tape.read(1), Read::Frames(_, 2)));
    }

    // E03
    #[test]
    fn after_a_restart_readers_are_behind_and_can_start_over() {
        let mut tape = tape(1_000, 3);
        tape.restart();
        tape.push(&frame("again"));
        for after in 0..=3 {
            assert!(matches!(tape.read(after), Read::Behind(_)), "{after}");
        }
        let start = tape.start().unwrap();
        assert!(all(&tape, start).contains("id: s:5\n"));
    }

    #[test]
    fn an_ended_tape_is_read_to_its_end() {
        let mut tape = tape(1_000, 1);
        tape.end();
        assert!(matches!(tape.read(0), Read::Frames(_, 1)));
        assert_eq!(tape.read(1), Read::End);
    }
}
