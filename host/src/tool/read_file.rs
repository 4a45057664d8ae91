//! `read_file`: a page of a text file with line numbers. The file is streamed: what is kept is the
//! page, whatever the size of the file. Directories and devices are refused.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Access, Error, Run, Tool, disk, parse};
use crate::toolset::Toolset;

/// Lines of a page unless asked otherwise.
const LINES: usize = 500;
/// Lines of a page at most.
const MOST_LINES: usize = 2000;
/// Characters of a line at most.
const LONGEST_LINE: usize = 2000;
/// Characters of a page at most.
const MOST_CHARS: usize = 100_000;
/// Bytes looked at to tell text from binary.
const SNIFF: usize = 8192;
/// Bytes read behind the page to count the lines of the file.
const COUNT_AHEAD: u64 = 64 * 1024 * 1024;

#[derive(Deserialize)]
struct Args {
    path: String,
    offset: Option<i64>,
    limit: Option<i64>,
}

pub(super) const TOOL: Tool = Tool {
    name: "read_file",
    description: "Read a text file. Lines come as N|text with their line number; long files \
                  in pages. Use this instead of cat, head or tail.",
    parameters,
    toolset: Toolset::File,
    run: Run::OnFiles { run, access },
};

fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "File, relative to the working directory, absolute or ~/…"},
            "offset": {"type": "integer", "default": 1, "minimum": 1, "description": "First line"},
            "limit": {"type": "integer", "default": LINES, "maximum": MOST_LINES, "description": "Number of lines"}
        },
        "required": ["path"]
    })
}

/// Reads the page.
fn run(args: &Value, cwd: &Path) -> Result<Value, Error> {
    let Args { path, offset, limit } = parse(args)?;
    if path.is_empty() {
        return Err(Error("path is empty".to_owned()));
    }
    let first = offset.map_or(1, |n| usize::try_from(n).unwrap_or(1).max(1));
    let limit = limit.map_or(LINES, |n| usize::try_from(n).unwrap_or(1).clamp(1, MOST_LINES));
    let (file, meta) = disk::open(&disk::resolve(&path, cwd), &path)?;
    let page =
        Page::read(file, first, limit).map_err(|e| Error(format!("cannot read {path}: {e}")))?;
    let (image, binary) = (is_image(&page.head), page.binary());
    let mut result = json!({
        "content": if binary { "" } else { page.text.as_str() },
        "total_lines": if binary { 0 } else { page.total },
        "file_size": meta.len(),
        "truncated": !binary && page.more(),
    });
    if let Some(hint) = hint(&page, first, binary) {
        result["hint"] = json!(hint);
    }
    result["is_binary"] = json!(binary);
    result["is_image"] = json!(image);
    Ok(result)
}

fn access(args: &Value, cwd: &Path) -> Access {
    Access::Reads(disk::named(args, "path", cwd))
}

fn hint(page: &Page, first: usize, binary: bool) -> Option<String> {
    let total = if page.counted_all {
        format!("of {} lines", page.total)
    } else {
        format!("of more than {} lines", page.total)
    };
    if binary {
        Some("Not a text file; look at it with the terminal tool".to_owned())
    } else if page.next == first && page.total > 0 {
        Some(format!("offset={first} is past the end (showing nothing {total})"))
    } else if page.more() {
        let next = page.next;
        Some(format!(
            "Use offset={next} to continue reading (showing {first}-{} {total})",
            next - 1
        ))
    } else {
        None
    }
}

fn is_image(head: &[u8]) -> bool {
    let webp = head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP");
    let magics: [&[u8]; 4] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"];
    webp || magics.iter().any(|magic| head.starts_with(magic))
}

#[expect(clippy::naive_bytecount, reason = "fast enough once it is vectorised")]
fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

/// A page of a file while it is being read.
struct Page {
    /// The first bytes of the file.
    head: Vec<u8>,
    /// The page as the model gets it.
    text: String,
    chars: usize,
    /// The line after the page.
    next: usize,
    /// Lines of the file, as far as they were counted.
    total: usize,
    counted_all: bool,
}

impl Page {
    fn read(mut file: File, first: usize, limit: usize) -> std::io::Result<Self> {
        let mut page = Self {
            head: Vec::new(),
            text: String::new(),
            chars: 0,
            next: first,
            total: 0,
            counted_all: false,
        };
        let mut buffer = vec![0; 256 * 1024];
        let mut line = Line::default();
        let mut full = false;
        let mut ahead = 0;
        loop {
            let count = match file.read(&mut buffer) {
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let mut rest = &buffer[..count];
            if page.head.len() < SNIFF {
                page.head.extend_from_slice(&rest[..count.min(SNIFF - page.head.len())]);
            }
            if page.binary() {
                return Ok(page);
            }
            if count == 0 {
                if line.length > 0 {
                    page.end_line(&mut line, first, limit, &mut full);
                }
                page.counted_all = true;
                return Ok(page);
            }
            while !full && !rest.is_empty() {
                let end = rest.iter().position(|&byte| byte == b'\n');
                let (part, after) =
                    end.map_or((rest, &rest[..0]), |at| (&rest[..at], &rest[at + 1..]));
                line.push(part);
                rest = after;
                if end.is_some() {
                    line.length += 1;
                    page.end_line(&mut line, first, limit, &mut full);
                }
            }
            if full {
                page.total += newlines(rest);
                if let Some(&last) = rest.last() {
                    line.length = u64::from(last != b'\n');
                }
                ahead += count as u64;
                if ahead > COUNT_AHEAD {
                    return Ok(page);
                }
            }
        }
    }

    fn end_line(&mut self, line: &mut Line, first: usize, limit: usize, full: &mut bool) {
        self.total += 1;
        let text = std::mem::take(line);
        if *full || self.total < first {
            return;
        }
        let numbered = format!("{}|{}", self.total, text.shown());
        let chars = numbered.chars().count() + 1;
        if self.chars + chars > MOST_CHARS {
            *full = true;
            return;
        }
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(&numbered);
        self.chars += chars;
        self.next = self.total + 1;
        *full = self.next - first >= limit;
    }

    fn binary(&self) -> bool {
        is_image(&self.head) || self.head.contains(&0)
    }

    /// Whether the file goes on behind the page.
    fn more(&self) -> bool {
        self.next <= self.total || !self.counted_all
    }
}

/// A line while it is being read: its first bytes and how many there are.
#[derive(Default)]
struct Line {
    start: Vec<u8>,
    /// Bytes, the newline included.
    length: u64,
}

impl Line {
    fn push(&mut self, part: &[u8]) {
        let room = (LONGEST_LINE * 4 + 4).saturating_sub(self.start.len());
        self.start.extend_from_slice(&part[..part.len().min(room)]);
        self.length += part.len() as u64;
    }

    fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.start);
        let text = text.strip_suffix('\r').unwrap_or(&text);
        match text.char_indices().nth(LONGEST_LINE) {
            None => text.to_owned(),
            Some((cut, _)) => format!("{}… [line cut: {} bytes]", &text[..cut], self.length),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    fn read(content: &[u8], offset: i64, limit: i64) -> Value {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), content).unwrap();
        run(&json!({"path": "f", "offset": offset, "limit": limit}), dir.path()).unwrap()
    }

    #[test]
    fn a_whole_file_comes_with_line_numbers() {
        assert_eq!(
            read(b"a\r\n\n  b", 1, 500),
            json!({"content": "1|a\n2|\n3|  b", "total_lines": 3, "file_size": 7,
                   "truncated": false, "is_binary": false, "is_image": false})
        );
        assert_eq!(read(b"a\nb\n", 1, 500)["total_lines"], 2);
        assert_eq!(read(b"a\nb\n", 1, 500)["content"], "1|a\n2|b");
        let empty = read(b"", 1, 500);
        assert_eq!((&empty["total_lines"], &empty["content"]), (&json!(0), &json!("")));
        assert!(empty.get("hint").is_none());
    }

    #[test]
    fn pages_join_to_the_whole_and_say_where_to_go_on() {
        let text = "l1\nl2\nl3\nl4\nl5\n";
        let page = read(text.as_bytes(), 2, 2);
        assert_eq!(page["content"], "2|l2\n3|l3");
        assert_eq!(page["total_lines"], 5);
        assert_eq!(page["truncated"], true);
        assert_eq!(page["hint"], "Use offset=4 to continue reading (showing 2-3 of 5 lines)");
        let last = read(text.as_bytes(), 4, 2);
        assert_eq!(last["content"], "4|l4\n5|l5");
        assert_eq!(last["truncated"], false);
        let beyond = read(text.as_bytes(), 9, 2);
        assert_eq!(beyond["content"], "");
        assert!(beyond["hint"].as_str().unwrap().contains("past the end"));
        // Also a last line without a newline, behind the page, is counted.
        assert_eq!(read(b"a\nb\nc", 1, 1)["total_lines"], 3);
        assert_eq!(read(b"a\nb\n", 1, 1)["total_lines"], 2);
        // Nonsense is bent into range.
        assert_eq!(read(b"a\nb\n", -3, 0)["content"], "1|a");
    }

    #[test]
    fn at_most_2000_lines_and_100_000_characters_come_at_once() {
        let page = read("x\n".repeat(5000).as_bytes(), 1, 1_000_000);
        assert_eq!(page["content"].as_str().unwrap().lines().count(), 2000);
        assert_eq!(page["total_lines"], 5000);
        let page = read(format!("{}\n", "é".repeat(1500)).repeat(300).as_bytes(), 1, 2000);
        let chars = page["content"].as_str().unwrap().chars().count();
        assert!((90_000..=100_000).contains(&chars), "{chars}");
        assert_eq!(page["total_lines"], 300);
        assert!(page["hint"].as_str().unwrap().contains("offset=67"), "{}", page["hint"]);
    }

    #[test]
    fn a_line_of_5_mb_is_cut_with_a_mark() {
        let mut text = "é".repeat(2_500_000);
        text.push_str("\nnext\n");
        let page = read(text.as_bytes(), 1, 10);
        let content = page["content"].as_str().unwrap();
        assert!(content.starts_with("1|éé"));
        assert!(content.ends_with("é… [line cut: 5000001 bytes]\n2|next"), "{}", &content[3990..]);
        assert_eq!(page["truncated"], false);
    }

    #[test]
    fn a_huge_file_is_streamed() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("sparse")).unwrap();
        file.set_len(10 * 1024 * 1024 * 1024).unwrap();
        let page = run(&json!({"path": "sparse"}), dir.path()).unwrap();
        assert_eq!(page["is_binary"], true);
        assert_eq!(page["file_size"], 10_737_418_240_u64);
        let mut file = File::options().write(true).open(dir.path().join("sparse")).unwrap();
        file.write_all("text\n".repeat(2000).as_bytes()).unwrap();
        let page = run(&json!({"path": "sparse", "limit": 1}), dir.path()).unwrap();
        assert_eq!(
            page["hint"],
            "Use offset=2 to continue reading (showing 1-1 of more than 2000 lines)"
        );
    }

    #[test]
    fn binary_files_and_images_are_named_instead_of_shown() {
        let page = read(b"ELF\0\x01\x02", 1, 10);
        assert_eq!((&page["is_binary"], &page["is_image"]), (&json!(true), &json!(false)));
        assert_eq!((&page["content"], &page["truncated"]), (&json!(""), &json!(false)));
        let page = read(b"\x89PNG\r\n\x1a\n\0\0", 1, 10);
        assert_eq!((&page["is_binary"], &page["is_image"]), (&json!(true), &json!(true)));
        assert_eq!(read(b"caf\xe9\n", 1, 10)["content"], "1|caf\u{fffd}");
    }

    #[test]
    fn a_missing_file_suggests_names_like_it() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["Config.yaml", "config.yml", "other.rs"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let error = |path: &str| run(&json!({"path": path}), dir.path()).unwrap_err().0;
        assert_eq!(
            error("./config.yaml"),
            "File not found: ./config.yaml. Similar names: ./Config.yaml, ./config.yml"
        );
        assert_eq!(error("zzz"), "File not found: zzz");
        assert!(error("no/zzz").contains("there is no directory"));
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let error = |path: &str| run(&json!({"path": path}), dir.path()).unwrap_err().0;
        assert!(error(".").contains("directory"));
        assert!(error("fifo").contains("FIFO"));
        assert!(error("/dev/zero").contains("device"));
        assert!(error("a").contains("symbolic links"), "{}", error("a"));
        assert!(error("x\0y").contains("cannot read"));
        assert!(error("").contains("empty"));
    }

    #[test]
    fn the_schema_is_small() {
        let schema = TOOL.schema();
        assert!(schema.description.len() <= 300, "{}", schema.description.len());
        assert!(schema.parameters.to_string().len() <= 1200, "{}", schema.parameters);
    }
}
