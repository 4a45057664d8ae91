//! `patch`: changes parts of files. Either one text for another in one file (here), or a patch over
//! several files ([`v4a`]).
//!
//! Invariant: nothing is written before everything has been found, and what is found at several
//! places is never guessed. A file keeps its line ends.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use similar::TextDiff;

use super::disk::{self, Staged};
use super::{Access, Error, Run, Tool, parse};
use crate::toolset::Toolset;

mod fuzzy;
mod v4a;

/// Characters of the diff in the result at most.
const LONGEST_DIFF: usize = 30_000;
/// A diff that takes longer is made coarser.
const LONGEST_DIFFING: Duration = Duration::from_secs(1);
/// Places named when there are several.
const MOST_PLACES: usize = 10;

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Replace,
    Patch,
}

#[derive(Deserialize)]
struct Args {
    #[serde(default)]
    mode: Mode,
    path: Option<String>,
    old_string: Option<String>,
    new_string: Option<String>,
    #[serde(default)]
    replace_all: bool,
    patch: Option<String>,
}

pub(super) const TOOL: Tool = Tool {
    name: "patch",
    description: "Edit files. mode=replace: old_string for new_string in one file. mode=patch: \
                  a V4A patch over several files, all or nothing (*** Begin Patch, *** Update \
                  File: p, @@ anchor, lines with ' ', - or +, *** Add File: p, *** Delete \
                  File: p, *** Move to: p, *** End Patch).",
    parameters,
    toolset: Toolset::File,
    run: Run::OnFiles { run, access },
};

fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "mode": {"type": "string", "enum": ["replace", "patch"], "default": "replace"},
            "path": {"type": "string", "description": "replace: the file"},
            "old_string": {"type": "string", "description": "replace: text that occurs once, with enough around it"},
            "new_string": {"type": "string", "description": "replace: the text instead; empty deletes"},
            "replace_all": {"type": "boolean", "default": false, "description": "Replace every occurrence"},
            "patch": {"type": "string", "description": "patch: the V4A text"},
            "cross_profile": {"type": "boolean", "default": false, "description": "Ignored"}
        },
        "required": ["mode"]
    })
}

/// Makes the change.
fn run(args: &Value, cwd: &Path) -> Result<Value, Error> {
    let args: Args = parse(args)?;
    let needed = |arg: Option<String>, name: &str, mode: &str| {
        arg.ok_or_else(|| Error(format!("mode={mode} needs {name}")))
    };
    match args.mode {
        Mode::Replace => {
            let edit = Edit {
                old: needed(args.old_string, "old_string", "replace")?,
                new: needed(args.new_string, "new_string", "replace")?,
                places: if args.replace_all { Places::All } else { Places::One },
            };
            let path = args.path.filter(|path| !path.is_empty());
            replace(&needed(path, "path", "replace")?, &edit, cwd)
        }
        Mode::Patch => v4a::run(&needed(args.patch, "patch", "patch")?, cwd),
    }
}

fn access(args: &Value, cwd: &Path) -> Access {
    let text = |name: &str| args.get(name).and_then(Value::as_str);
    Access::Writes(match text("mode") {
        Some("patch") => v4a::paths(text("patch").unwrap_or_default(), cwd),
        Some(_) | None => disk::named(args, "path", cwd),
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Places {
    One,
    All,
}

struct Edit {
    old: String,
    new: String,
    places: Places,
}

fn replace(path: &str, edit: &Edit, cwd: &Path) -> Result<Value, Error> {
    if edit.old.is_empty() {
        return Err(Error("old_string is empty; to make a new file use write_file".to_owned()));
    }
    if edit.old == edit.new {
        return Err(Error("old_string and new_string are the same".to_owned()));
    }
    let target = disk::resolve(path, cwd);
    let raw = disk::load(&target, path)?;
    let text = Text::of(&raw);
    let (changed, overlooked) = replaced(&text, edit).map_err(|e| Error(format!("{path}: {e}")))?;
    let changed = text.raw(&changed);
    let staged = Staged::write(&target, &target, path, &changed)?;
    staged.commit().map_err(|e| Error(format!("cannot write {path}: {e}")))?;
    let mut result = json!({
        "success": true,
        "diff": shortened(diff(path, path, &raw, &changed)),
        "files_modified": [target],
        "resolved_path": target,
    });
    if let Some(overlooked) = overlooked {
        result["note"] = json!(format!("matched by overlooking {overlooked}"));
    }
    Ok(result)
}

/// A text with its line ends taken to be `\n`, if all of them are `\r\n`.
struct Text {
    body: String,
    crlf: bool,
}

impl Text {
    fn of(raw: &str) -> Self {
        let newlines = raw.matches('\n').count();
        let crlf = newlines > 0 && raw.matches("\r\n").count() == newlines;
        Self { body: if crlf { raw.replace("\r\n", "\n") } else { raw.to_owned() }, crlf }
    }

    /// `body` with the line ends of this text.
    fn raw(&self, body: &str) -> String {
        if self.crlf { body.replace('\n', "\r\n") } else { body.to_owned() }
    }

    /// What the model gave, in the form of the body.
    fn given(&self, text: &str) -> String {
        if self.crlf { text.replace("\r\n", "\n") } else { text.to_owned() }
    }
}

/// The changed text and what had to be overlooked for it.
fn replaced(text: &Text, edit: &Edit) -> Result<(String, Option<&'static str>), Error> {
    let (old, new) = (text.given(&edit.old), text.given(&edit.new));
    let body = text.body.as_str();
    let exact: Vec<usize> = body.match_indices(&old).map(|(at, _)| at).collect();
    if !exact.is_empty() {
        if edit.places == Places::One {
            let mut places = exact.clone();
            if let [only] = exact[..] {
                // It may also overlap itself.
                let next = only + old.chars().next().map_or(1, char::len_utf8);
                places.extend(body[next..].find(&old).map(|at| next + at));
            }
            unique(&places.iter().map(|&at| line_of(body, at)).collect::<Vec<_>>())?;
        }
        return Ok((body.replace(&old, &new), None));
    }
    if let Some(changed) = replaced_folded(body, &old, &new, edit.places)? {
        return Ok((changed, fuzzy::Step::Typography.overlooked()));
    }
    replaced_lines(body, &old, &new, edit.places)
}

/// Also within lines: curly quotes and the like for plain ones. Characters at both ends that stay
/// the same keep the form they have in the text.
fn replaced_folded(
    body: &str,
    old: &str,
    new: &str,
    places: Places,
) -> Result<Option<String>, Error> {
    let fold = |text: &str| text.chars().map(fuzzy::fold).collect::<String>();
    let (folded, wanted) = (fold(body), fold(old));
    let found: Vec<usize> = folded.match_indices(&wanted).map(|(at, _)| at).collect();
    if found.is_empty() || wanted.trim().is_empty() {
        return Ok(None);
    }
    if places == Places::One {
        unique(&found.iter().map(|&at| line_of(&folded, at)).collect::<Vec<_>>())?;
    }
    let count = old.chars().count();
    let most = count.min(new.chars().count());
    let same = |(a, b): &(char, char)| a == b;
    let head = old.chars().zip(new.chars()).take(most).take_while(same).count();
    let tail = old.chars().rev().zip(new.chars().rev()).take(most - head).take_while(same).count();
    let inner: String = new.chars().skip(head).take(new.chars().count() - head - tail).collect();

    let mut changed = String::with_capacity(body.len());
    let mut rest = body.chars();
    let mut at = 0;
    for place in found {
        // Folding keeps the number of characters, not of bytes.
        let before = folded[at..place].chars().count();
        changed.extend(rest.by_ref().take(before + head));
        changed.push_str(&inner);
        rest.by_ref().take(count - head - tail).for_each(drop);
        changed.extend(rest.by_ref().take(tail));
        at = place + wanted.len();
    }
    changed.push_str(rest.as_str());
    Ok(Some(changed))
}

fn replaced_lines(
    body: &str,
    old: &str,
    new: &str,
    places: Places,
) -> Result<(String, Option<&'static str>), Error> {
    let lines: Vec<&str> = body.split('\n').collect();
    let mut old_lines: Vec<&str> = old.split('\n').collect();
    let mut new_lines: Vec<&str> = new.split('\n').collect();
    if old_lines.len() > 1 && old_lines.last().is_some_and(|last| last.trim().is_empty()) {
        // It ends with a newline: whole lines, and so does what comes instead.
        old_lines.pop();
        if new_lines.last().is_some_and(|last| last.trim().is_empty()) {
            new_lines.pop();
        }
    }
    let (step, found) = fuzzy::find(real_lines(&lines), &old_lines);
    if found.is_empty() {
        return Err(not_found(&lines, &old_lines));
    }
    if places == Places::One {
        unique(&found.iter().map(|place| place.lines.start + 1).collect::<Vec<_>>())?;
    }
    let mut changed: Vec<String> = Vec::with_capacity(lines.len());
    let mut at = 0;
    for place in &found {
        if place.lines.start < at {
            continue;
        }
        changed.extend(lines[at..place.lines.start].iter().map(|&line| line.to_owned()));
        changed.extend(place.replacement(&lines, &old_lines, &new_lines));
        at = place.lines.end;
    }
    changed.extend(lines[at..].iter().map(|&line| line.to_owned()));
    Ok((changed.join("\n"), step.overlooked()))
}

/// Without the empty rest after the last newline, which is no line.
fn real_lines<'a, 'b>(lines: &'a [&'b str]) -> &'a [&'b str] {
    lines.strip_suffix(&[""]).unwrap_or(lines)
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn unique(lines: &[usize]) -> Result<(), Error> {
    if lines.len() < 2 {
        return Ok(());
    }
    Err(Error(format!(
        "old_string matches {} places ({}); give more of the text around it, or set replace_all",
        lines.len(),
        places(lines)
    )))
}

fn places(lines: &[usize]) -> String {
    let named: Vec<String> = lines.iter().take(MOST_PLACES).map(usize::to_string).collect();
    let more = if lines.len() > MOST_PLACES { ", …" } else { "" };
    format!("lines {}{more}", named.join(", "))
}

fn not_found(lines: &[&str], old: &[&str]) -> Error {
    let text = "Could not find a match for old_string in the file";
    let advice = nearest(lines, old)
        .unwrap_or_else(|| "Use read_file or search_files to see the current text".to_owned());
    Error(format!("{text}. {advice}"))
}

/// Where the most of the first lines are, and what is there instead of the next.
fn nearest(lines: &[&str], old: &[&str]) -> Option<String> {
    let wanted: Vec<&str> =
        old.iter().map(|line| line.trim()).skip_while(|line| line.is_empty()).collect();
    let same_from =
        |at: usize| wanted.iter().zip(&lines[at..]).take_while(|(a, b)| **a == b.trim()).count();
    let (count, at) = (0..lines.len())
        .map(|at| (same_from(at), at))
        .max_by_key(|&(count, at)| (count, std::cmp::Reverse(at)))?;
    let there = lines.get(at + count)?;
    if count == 0 {
        return None;
    }
    let there: String = there.chars().take(200).collect();
    Some(format!(
        "Its first lines are at line {}, but line {} is {there:?}",
        at + 1,
        at + count + 1
    ))
}

/// A unified diff; an empty name stands for no file.
fn diff(from: &str, to: &str, old: &str, new: &str) -> String {
    let name = |side: char, path: &str| match path.trim_start_matches('/') {
        "" => "/dev/null".to_owned(),
        path => format!("{side}/{path}"),
    };
    TextDiff::configure()
        .timeout(LONGEST_DIFFING)
        .diff_lines(old, new)
        .unified_diff()
        .header(&name('a', from), &name('b', to))
        .to_string()
}

fn shortened(diff: String) -> String {
    match diff.char_indices().nth(LONGEST_DIFF) {
        None => diff,
        Some((cut, _)) => format!("{}\n… [diff cut: {} bytes]", &diff[..cut], diff.len()),
    }
}

#[cfg(test)]
mod tests;
