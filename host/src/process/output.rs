//! The output of a process on disk, bounded: its first megabyte and its last two to four.
//!
//! Kept in pieces whose names say where they begin (`output`, `output.N`), so that a reader needs
//! no index, sees what was left out, and may read while the supervisor writes. Raw bytes on disk;
//! text only when read.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::directory::ProcessDir;

/// Size of the first piece, kept permanently.
const HEAD: u64 = 1 << 20;
/// Size of every further piece; the last two are kept.
const PIECE: u64 = 2 << 20;
const PIECES: usize = 2;
/// How long output is dropped after a failed write before the next try.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes the pieces. A write that fails drops output; it never stops the child.
pub(super) struct OutputWriter {
    dir: PathBuf,
    file: Option<File>,
    room: u64,
    seen: u64,
    pieces: VecDeque<PathBuf>,
    retry: Option<Instant>,
}

impl OutputWriter {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            file: None,
            room: 0,
            seen: 0,
            pieces: VecDeque::new(),
            retry: None,
        }
    }

    /// Bytes the child has printed so far, kept or not.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.room == 0 {
                self.file = None;
            }
            if self.file.is_none() && !self.open() {
                break;
            }
            let Some(file) = &mut self.file else { break };
            let fits = bytes.len().min(usize::try_from(self.room).unwrap_or(usize::MAX));
            match file.write(bytes.get(..fits).unwrap_or_default()) {
                Ok(0) => self.pause(),
                Ok(written) => {
                    self.room -= written as u64;
                    self.seen += written as u64;
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => (),
                Err(_) => self.pause(),
            }
        }
        self.seen += bytes.len() as u64;
    }

    fn pause(&mut self) {
        self.file = None;
        self.retry = Some(Instant::now() + PAUSE);
    }

    /// Begins the next piece at the current position.
    fn open(&mut self) -> bool {
        if self.retry.is_some_and(|retry| Instant::now() < retry) {
            return false;
        }
        let (name, room) = match self.seen {
            0 => ("output".to_owned(), HEAD),
            seen => (format!("output.{seen}"), PIECE),
        };
        let path = self.dir.join(name);
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let Ok(file) = file else {
            self.pause();
            return false;
        };
        if self.seen > 0 && self.pieces.back() != Some(&path) {
            self.pieces.push_back(path);
        }
        if self.pieces.len() > PIECES
            && let Some(oldest) = self.pieces.pop_front()
        {
            let _ = fs::remove_file(oldest);
        }
        self.file = Some(file);
        self.room = room;
        true
    }
}

/// The output of a process, now or long after its end. Nothing is read until asked for.
#[derive(Clone, Debug)]
pub struct Output {
    dir: ProcessDir,
}

/// The end of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Text; what is not UTF-8 is replaced, what was left out is named in a line of its own.
    pub text: String,
    /// Bytes printed so far.
    pub seen: u64,
    /// Bytes of them that were not kept.
    pub dropped: u64,
}

/// Some lines of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The lines, as in [`Text`].
    pub text: String,
    /// Number of the first one, from 0.
    pub first: usize,
    /// How many lines there are in all.
    pub total: usize,
    /// Bytes printed so far.
    pub seen: u64,
    /// Bytes of them that were not kept.
    pub dropped: u64,
}

/// Raw bytes of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where they begin; later than requested if that part was not kept.
    pub from: u64,
    /// The bytes; empty at the end.
    pub bytes: Vec<u8>,
}

struct Piece {
    path: PathBuf,
    start: u64,
    len: u64,
}

impl Output {
    pub(super) fn of(dir: ProcessDir) -> Self {
        Self { dir }
    }

    /// The last `chars` characters.
    pub fn tail(&self, chars: usize) -> Text {
        let (pieces, seen) = self.pieces();
        let kept: u64 = pieces.iter().map(|piece| piece.len).sum();
        let text = read(&pieces, seen, (chars as u64).saturating_mul(4).saturating_add(4));
        let surplus = text.chars().count().saturating_sub(chars);
        let text = text.chars().skip(surplus).collect();
        Text { text, seen, dropped: seen.saturating_sub(kept) }
    }

    /// At most `limit` lines from line `first` (from 0) on.
    pub fn lines(&self, first: usize, limit: usize) -> Page {
        self.page(|total| first.min(total), limit)
    }

    /// The last `limit` lines.
    pub fn last_lines(&self, limit: usize) -> Page {
        self.page(|total| total.saturating_sub(limit), limit)
    }

    fn page(&self, first: impl Fn(usize) -> usize, limit: usize) -> Page {
        let (pieces, seen) = self.pieces();
        let kept: u64 = pieces.iter().map(|piece| piece.len).sum();
        let all = read(&pieces, seen, u64::MAX);
        let total = all.lines().count();
        let first = first(total);
        let lines: Vec<&str> = all.lines().skip(first).take(limit).collect();
        let dropped = seen.saturating_sub(kept);
        Page { text: lines.join("\n"), first, total, seen, dropped }
    }

    /// How many bytes were printed, as far as is known.
    pub(super) fn seen(&self) -> u64 {
        self.pieces().1
    }

    /// At most `max` raw bytes from byte `from` on, for following the output.
    pub fn read(&self, from: u64, max: usize) -> Chunk {
        let (pieces, _) = self.pieces();
        for piece in pieces.iter().filter(|piece| from < piece.start + piece.len) {
            let from = from.max(piece.start);
            if let Some(bytes) = slice(piece, from, max as u64).filter(|bytes| !bytes.is_empty()) {
                return Chunk { from, bytes };
            }
        }
        Chunk { from, bytes: Vec::new() }
    }

    /// The pieces in order, and how many bytes were printed as far as is known.
    fn pieces(&self) -> (Vec<Piece>, u64) {
        let entries = fs::read_dir(self.dir.path()).into_iter().flatten().flatten();
        let mut pieces: Vec<Piece> = entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let start = match name.to_str()?.strip_prefix("output")? {
                    "" => 0,
                    rest => rest.strip_prefix('.')?.parse().ok()?,
                };
                Some(Piece { path: entry.path(), start, len: entry.metadata().ok()?.len() })
            })
            .collect();
        pieces.sort_by_key(|piece| piece.start);
        let end = pieces.last().map_or(0, |last| last.start + last.len);
        let recorded = self.dir.record().map_or(0, |record| record.seen);
        (pieces, end.max(recorded))
    }
}

/// `max` bytes of a piece from `from` on; `None` if it was deleted meanwhile.
fn slice(piece: &Piece, from: u64, max: u64) -> Option<Vec<u8>> {
    let mut file = File::open(&piece.path).ok()?;
    file.seek(SeekFrom::Start(from.saturating_sub(piece.start))).ok()?;
    let rest = (piece.start + piece.len).saturating_sub(from);
    let mut bytes = Vec::new();
    file.take(max.min(rest)).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// About the last `budget` bytes as text, with a line for each gap.
fn read(pieces: &[Piece], seen: u64, budget: u64) -> String {
    let begin = {
        let mut left = budget;
        let mut begin = 0;
        for piece in pieces.iter().rev() {
            if piece.len >= left {
                begin = piece.start + piece.len - left;
                break;
            }
            left -= piece.len;
        }
        begin
    };
    let mut text = String::new();
    let mut run: Vec<u8> = Vec::new();
    let mut at = begin;
    for piece in pieces.iter().filter(|piece| piece.start + piece.len > begin) {
        let from = piece.start.max(begin);
        let Some(bytes) = slice(piece, from, u64::MAX) else { continue };
        if from > at {
            flush(&mut text, &mut run);
            gap(&mut text, from - at);
        }
        at = from + bytes.len() as u64;
        if from == begin && begin > 0 {
            // The cut may have gone through a character.
            let rest = bytes.iter().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count();
            run.extend_from_slice(bytes.get(rest..).unwrap_or_default());
        } else {
            run.extend_from_slice(&bytes);
        }
    }
    flush(&mut text, &mut run);
    if seen > at {
        gap(&mut text, seen - at);
    }
    text
}

fn flush(text: &mut String, run: &mut Vec<u8>) {
    text.push_str(&String::from_utf8_lossy(run));
    run.clear();
}

fn gap(text: &mut String, bytes: u64) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str("[... ");
    text.push_str(&bytes.to_string());
    text.push_str(" bytes omitted ...]\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(dir: &tempfile::TempDir) -> Output {
        Output::of(ProcessDir::at(dir.path()))
    }

    #[test]
    fn short_output_reads_back_by_tail_and_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = OutputWriter::new(dir.path());
        writer.append("eins\nzwei ä\n".as_bytes());
        writer.append(b"drei\n");
        let out = output(&dir);
        assert_eq!(out.tail(100).text, "eins\nzwei ä\ndrei\n");
        assert_eq!(out.tail(7).text, "ä\ndrei\n");
        let page = out.lines(1, 1);
        assert_eq!((page.text.as_str(), page.first, page.total), ("zwei ä", 1, 3));
        assert_eq!(out.last_lines(2).text, "zwei ä\ndrei");
        assert_eq!(out.lines(9, 5).text, "");
        assert_eq!(out.read(5, 4), Chunk { from: 5, bytes: b"zwei".to_vec() });
        assert_eq!(out.read(99, 4).bytes, b"");
    }

    // P09
    #[test]
    fn long_output_keeps_its_first_and_last_megabytes() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = OutputWriter::new(dir.path());
        let mut printed = 0_u64;
        for n in 0..400_000 {
            let line = format!("line number {n:08} of the long output\n");
            writer.append(line.as_bytes());
            printed += line.len() as u64;
        }
        let on_disk: u64 =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(on_disk <= HEAD + 2 * PIECE);
        let tail = output(&dir).tail(10_000_000);
        assert_eq!((tail.seen, tail.dropped), (printed, printed - on_disk));
        assert!(tail.text.starts_with("line number 00000000 "));
        assert!(tail.text.ends_with("line number 00399999 of the long output\n"));
        let gap = format!("[... {} bytes omitted ...]\n", printed - on_disk);
        assert_eq!(tail.text.matches(&gap).count(), 1);
        assert_eq!(output(&dir).tail(5).text, "tput\n");
        // A follower that fell behind learns where it is.
        let late = output(&dir).read(HEAD, 100);
        assert!(late.from > HEAD && late.bytes.len() == 100);
    }

    #[test]
    fn output_that_cannot_be_written_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = OutputWriter::new(&dir.path().join("absent"));
        writer.append(b"12345");
        writer.append(b"678");
        assert_eq!(writer.seen(), 8);
    }
}
