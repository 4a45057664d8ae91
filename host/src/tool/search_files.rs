//! `search_files`: text in files, or files by name, below a directory.
//!
//! The order is fixed (paths sorted, or newest file first), so that pages fit together. A search
//! is bounded in time, in what it keeps and in what it returns; the result says when it was cut.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use globset::{GlobBuilder, GlobMatcher};
use grep_matcher::Matcher;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{
    BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkContextKind, SinkMatch,
};
use ignore::{DirEntry, WalkBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Access, Error, Run, Tool, disk, parse};
use crate::toolset::Toolset;

/// A search takes no longer.
const LONGEST_SEARCH: Duration = Duration::from_secs(10);
/// Results at once unless asked otherwise, and at most.
const RESULTS: usize = 50;
const MOST_RESULTS: usize = 500;
/// Results that can be passed over.
const MOST_OFFSET: usize = 100_000;
/// Lines of context at most.
const MOST_CONTEXT: usize = 20;
/// Characters shown of a line.
const LONGEST_LINE: usize = 500;
/// Characters shown before a match in a longer line.
const LEAD: usize = 100;
/// Bytes of all lines at most.
const MOST_BYTES: usize = 100_000;
/// Memory for a line while searching, in bytes; files with longer lines are passed over.
const LINE_MEMORY: usize = 64 * 1024 * 1024;

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Target {
    #[default]
    Content,
    Files,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Output {
    #[default]
    Content,
    FilesOnly,
    Count,
}

#[derive(Deserialize)]
struct Args {
    pattern: String,
    #[serde(default)]
    target: Target,
    path: Option<String>,
    file_glob: Option<String>,
    limit: Option<i64>,
    offset: Option<i64>,
    #[serde(default)]
    output_mode: Output,
    context: Option<i64>,
}

pub(super) const TOOL: Tool = Tool {
    name: "search_files",
    description: "Search file contents by regular expression, or find files by glob \
                  (target=files, newest first). Skips binary files and what .gitignore names. \
                  Use this instead of grep, find or ls.",
    parameters,
    toolset: Toolset::File,
    run: Run::OnFiles { run, access },
};

fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "pattern": {"type": "string", "description": "Regex (Rust syntax), or a glob like *.py for target=files"},
            "target": {"type": "string", "enum": ["content", "files"], "default": "content"},
            "path": {"type": "string", "default": ".", "description": "Directory or file to search"},
            "file_glob": {"type": "string", "description": "Only files whose name matches"},
            "limit": {"type": "integer", "default": RESULTS},
            "offset": {"type": "integer", "default": 0, "description": "Results to skip"},
            "output_mode": {"type": "string", "enum": ["content", "files_only", "count"], "default": "content"},
            "context": {"type": "integer", "default": 0, "description": "Lines around each match"}
        },
        "required": ["pattern"]
    })
}

/// Searches.
fn run(args: &Value, cwd: &Path) -> Result<Value, Error> {
    search(args, cwd, LONGEST_SEARCH)
}

fn access(args: &Value, cwd: &Path) -> Access {
    let path = args.get("path").and_then(Value::as_str).unwrap_or(".");
    Access::Reads(vec![if path == "." { cwd.to_owned() } else { cwd.join(path) }])
}

fn search(args: &Value, cwd: &Path, longest: Duration) -> Result<Value, Error> {
    let args: Args = parse(args)?;
    if args.pattern.is_empty() {
        return Err(Error("pattern is empty".to_owned()));
    }
    let shown = args.path.as_deref().filter(|path| !path.is_empty()).unwrap_or(".");
    let bounded = |n: Option<i64>, most| n.map(|n| usize::try_from(n).unwrap_or(0).min(most));
    let walk = Walk {
        root: disk::resolve(shown, cwd),
        cwd: disk::resolve(".", cwd),
        glob: args.file_glob.as_deref().filter(|glob| !glob.is_empty()).map(glob).transpose()?,
        deadline: Instant::now() + longest,
    };
    match std::fs::metadata(&walk.root) {
        Ok(meta) if meta.is_dir() => {}
        // Also finds out that it is missing or no regular file, with the usual words.
        Ok(_) | Err(_) => drop(disk::open(&walk.root, shown)?),
    }
    let page = Page {
        offset: bounded(args.offset, MOST_OFFSET).unwrap_or(0),
        limit: bounded(args.limit, MOST_RESULTS).unwrap_or(RESULTS).max(1),
    };
    if args.target == Target::Files {
        return Ok(by_name(&walk, &page, &glob(&args.pattern)?));
    }
    let matcher = RegexMatcherBuilder::new()
        .line_terminator(Some(b'\n'))
        .build(&args.pattern)
        .map_err(|e| Error(format!("invalid pattern (Rust regex syntax, within a line): {e}")))?;
    let context = bounded(args.context, MOST_CONTEXT).unwrap_or(0);
    Ok(match args.output_mode {
        Output::Content => lines(&walk, &page, &matcher, context),
        Output::FilesOnly | Output::Count => files(&walk, &page, &matcher, args.output_mode),
    })
}

struct Page {
    offset: usize,
    limit: usize,
}

impl Page {
    fn end(&self) -> usize {
        self.offset + self.limit
    }
}

/// Why a search ended before its end.
#[derive(Clone, Copy, PartialEq)]
enum Cut {
    Full,
    Time,
}

fn finish(mut result: Value, page: &Page, shown: usize, cut: Option<Cut>) -> Value {
    let Some(cut) = cut else { return result };
    result["truncated"] = json!(true);
    result["hint"] = json!(match cut {
        Cut::Full => format!(
            "More results exist (total_count counts those seen); use offset={} to continue",
            page.offset + shown
        ),
        Cut::Time => "The search took too long and was stopped: results are missing; give a \
                      narrower path or file_glob"
            .to_owned(),
    });
    result
}

/// A glob on the name of a file, or on its path if it holds a slash. Without wildcards: part of
/// the name.
struct NameGlob {
    glob: GlobMatcher,
    path: bool,
}

impl NameGlob {
    fn matches(&self, relative: &Path) -> bool {
        let name = if self.path { Some(relative.as_os_str()) } else { relative.file_name() };
        name.is_some_and(|name| self.glob.is_match(name))
    }
}

fn glob(pattern: &str) -> Result<NameGlob, Error> {
    let trimmed = pattern.trim_start_matches("./").trim_start_matches('/');
    let path = trimmed.contains('/');
    let text = match (trimmed.contains(['*', '?', '[', '{']), path) {
        (true, true | false) => trimmed.to_owned(),
        (false, false) => format!("*{trimmed}*"),
        (false, true) => format!("**/{trimmed}*"),
    };
    let glob = GlobBuilder::new(&text)
        .literal_separator(true)
        .build()
        .map_err(|e| Error(format!("invalid glob: {e}")))?;
    Ok(NameGlob { glob: glob.compile_matcher(), path })
}

/// Which files are looked at.
struct Walk {
    root: PathBuf,
    cwd: PathBuf,
    glob: Option<NameGlob>,
    deadline: Instant,
}

impl Walk {
    /// The regular files, in the order of their paths; `None` once the time is over.
    fn files(&self) -> impl Iterator<Item = Option<DirEntry>> + '_ {
        let mut builder = WalkBuilder::new(&self.root);
        builder
            .hidden(false)
            .require_git(false)
            .git_global(false)
            .sort_by_file_path(Path::cmp)
            .filter_entry(|entry| {
                let vcs =
                    matches!(entry.file_name().to_str(), Some(".git" | ".hg" | ".svn" | ".jj"));
                !vcs || entry.depth() == 0
            });
        builder.build().filter_map(|entry| {
            if Instant::now() >= self.deadline {
                return Some(None);
            }
            let entry = entry.ok()?;
            let wanted = entry.file_type().is_some_and(|kind| kind.is_file())
                && self.glob.as_ref().is_none_or(|glob| glob.matches(self.relative(entry.path())));
            wanted.then_some(Some(entry))
        })
    }

    fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        // The root itself, if it is a file.
        if relative.as_os_str().is_empty() { path } else { relative }
    }

    /// The path in the model's words.
    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.cwd).unwrap_or(path).display().to_string()
    }

    fn open(&self, path: &Path) -> Option<Timed> {
        let (file, _) = disk::open(path, "").ok()?;
        Some(Timed { file, deadline: self.deadline })
    }
}

/// A file that cannot be read any more once the time is over.
struct Timed {
    file: File,
    deadline: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if Instant::now() >= self.deadline {
            return Err(ErrorKind::TimedOut.into());
        }
        self.file.read(buffer)
    }
}

fn by_name(walk: &Walk, page: &Page, name: &NameGlob) -> Value {
    let mut found: Vec<(Reverse<SystemTime>, PathBuf)> = Vec::new();
    let mut total = 0;
    let mut cut = None;
    for entry in walk.files() {
        let Some(entry) = entry else {
            cut = Some(Cut::Time);
            break;
        };
        if !name.matches(walk.relative(entry.path())) {
            continue;
        }
        total += 1;
        let modified = entry.metadata().ok().and_then(|meta| meta.modified().ok());
        found.push((Reverse(modified.unwrap_or(SystemTime::UNIX_EPOCH)), entry.into_path()));
        if found.len() >= 2 * page.end().max(2048) {
            found.sort();
            found.truncate(page.end());
        }
    }
    found.sort();
    let files: Vec<String> =
        found.iter().skip(page.offset).take(page.limit).map(|(_, path)| walk.shown(path)).collect();
    let cut = cut.or((total > page.end()).then_some(Cut::Full));
    let shown = files.len();
    finish(json!({"total_count": total, "files": files}), page, shown, cut)
}

fn searcher(context: usize) -> Searcher {
    SearcherBuilder::new()
        .line_number(true)
        .before_context(context)
        .after_context(context)
        .binary_detection(BinaryDetection::quit(0))
        .heap_limit(Some(LINE_MEMORY))
        .build()
}

fn files(walk: &Walk, page: &Page, matcher: &RegexMatcher, output: Output) -> Value {
    let mut searcher = searcher(0);
    let mut counts: BTreeMap<PathBuf, u64> = BTreeMap::new();
    let mut seen = 0;
    let mut cut = None;
    let first_only = matches!(output, Output::FilesOnly);
    for entry in walk.files() {
        let Some(entry) = entry else {
            cut = Some(Cut::Time);
            break;
        };
        let Some(file) = walk.open(entry.path()) else { continue };
        let mut sink = MatchCounter { count: 0, first_only };
        let done = searcher.search_reader(matcher, file, &mut sink);
        if done.is_err_and(|e| e.kind() == ErrorKind::TimedOut) {
            cut = Some(Cut::Time);
            break;
        }
        if sink.count == 0 {
            continue;
        }
        if seen >= page.end() {
            cut = Some(Cut::Full);
            break;
        }
        seen += 1;
        if seen > page.offset {
            counts.insert(entry.into_path(), sink.count);
        }
    }
    let shown = counts.len();
    let names = counts.keys().map(|path| walk.shown(path));
    let result = match output {
        Output::FilesOnly | Output::Content => {
            json!({"total_count": seen + usize::from(cut == Some(Cut::Full)), "files": names.collect::<Vec<_>>()})
        }
        Output::Count => {
            let total: u64 = counts.values().sum();
            let counts: serde_json::Map<String, Value> =
                names.zip(counts.values().map(|&count| json!(count))).collect();
            json!({"total_count": total, "counts": counts})
        }
    };
    finish(result, page, shown, cut)
}

struct MatchCounter {
    count: u64,
    first_only: bool,
}

impl Sink for MatchCounter {
    type Error = std::io::Error;

    fn matched(&mut self, _: &Searcher, _: &SinkMatch<'_>) -> Result<bool, Self::Error> {
        self.count += 1;
        Ok(!self.first_only)
    }

    fn binary_data(&mut self, _: &Searcher, _: u64) -> Result<bool, Self::Error> {
        self.count = 0;
        Ok(false)
    }
}

#[derive(Serialize)]
struct Match {
    path: String,
    line: u64,
    content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    before: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    after: Vec<String>,
}

fn lines(walk: &Walk, page: &Page, matcher: &RegexMatcher, context: usize) -> Value {
    let mut searcher = searcher(context);
    let mut sink = MatchCollector {
        page,
        matcher,
        matches: Vec::new(),
        path: String::new(),
        seen: 0,
        bytes: 0,
        before: Vec::new(),
        cut: None,
    };
    for entry in walk.files() {
        let Some(entry) = entry else {
            sink.cut = Some(Cut::Time);
            break;
        };
        let Some(file) = walk.open(entry.path()) else { continue };
        sink.path = walk.shown(entry.path());
        sink.before.clear();
        let (seen, bytes, kept) = (sink.seen, sink.bytes, sink.matches.len());
        match searcher.search_reader(matcher, file, &mut sink).map_err(|e| e.kind()) {
            // Our own mark of a binary file. Another file that cannot be read to its end keeps
            // what was found in it.
            Err(ErrorKind::InvalidData) => {
                (sink.seen, sink.bytes, sink.cut) = (seen, bytes, None);
                sink.matches.truncate(kept);
            }
            Err(ErrorKind::TimedOut) => sink.cut = Some(Cut::Time),
            Ok(()) | Err(_) => {}
        }
        if sink.cut.is_some() {
            break;
        }
    }
    let (matches, cut) = (sink.matches, sink.cut);
    let mut result = json!({"total_count": sink.seen});
    if !matches.is_empty() {
        result["matches"] = json!(matches);
    }
    finish(result, page, matches.len(), cut)
}

/// Takes the matches of the page, and ends the search with the one after it.
struct MatchCollector<'a> {
    page: &'a Page,
    matcher: &'a RegexMatcher,
    matches: Vec<Match>,
    path: String,
    seen: usize,
    bytes: usize,
    before: Vec<String>,
    cut: Option<Cut>,
}

impl Sink for MatchCollector<'_> {
    type Error = std::io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, Self::Error> {
        self.seen += 1;
        let before = std::mem::take(&mut self.before);
        if self.seen <= self.page.offset {
            return Ok(true);
        }
        if self.matches.len() >= self.page.limit || self.bytes >= MOST_BYTES {
            self.cut = Some(Cut::Full);
            return Ok(false);
        }
        let at = self.matcher.find(found.bytes()).ok().flatten().map_or(0, |at| at.start());
        let content = excerpt(found.bytes(), at);
        self.bytes += content.len() + before.iter().map(String::len).sum::<usize>();
        self.matches.push(Match {
            path: self.path.clone(),
            line: found.line_number().unwrap_or(0),
            content,
            before,
            after: Vec::new(),
        });
        Ok(true)
    }

    fn context(&mut self, _: &Searcher, found: &SinkContext<'_>) -> Result<bool, Self::Error> {
        let line = excerpt(found.bytes(), 0);
        match found.kind() {
            SinkContextKind::Before => self.before.push(line),
            SinkContextKind::After => {
                let kept = self.seen > self.page.offset;
                if let Some(last) = self.matches.last_mut().filter(|_| kept) {
                    self.bytes += line.len();
                    last.after.push(line);
                }
            }
            SinkContextKind::Other => {}
        }
        Ok(true)
    }

    fn binary_data(&mut self, _: &Searcher, _: u64) -> Result<bool, Self::Error> {
        Err(ErrorKind::InvalidData.into())
    }
}

/// The line, or of a long one what is around the byte `at`.
fn excerpt(line: &[u8], at: usize) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // A character has four bytes at most.
    let from = if line.len() > LONGEST_LINE { at.saturating_sub(LEAD).min(line.len()) } else { 0 };
    let to = line.len().min(from + LONGEST_LINE * 4);
    let starts = |at: usize| line.get(at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let from = (from..to).find(|&at| starts(at)).unwrap_or(from);
    let to = (from..=to).rev().find(|&at| starts(at)).unwrap_or(to);
    let text = String::from_utf8_lossy(&line[from..to]);
    let cut = text.char_indices().nth(LONGEST_LINE).map(|(cut, _)| cut);
    let before = if from > 0 { "…" } else { "" };
    let after = if cut.is_some() || to < line.len() { "…" } else { "" };
    format!("{before}{}{after}", &text[..cut.unwrap_or(text.len())])
}

#[cfg(test)]
mod tests;
