//! Patches over several files in the V4A form. Every hunk of every file is placed first; only then
//! are the new texts put beside their files, and only then do they take their places.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Error, Staged, Text, diff, disk, fuzzy, places, real_lines, shortened};

/// What a patch asks for, in its order.
#[derive(Debug, PartialEq)]
enum Action<'a> {
    Add { path: &'a str, text: String },
    Delete { path: &'a str },
    Update { path: &'a str, to: Option<&'a str>, hunks: Vec<Hunk<'a>> },
}

/// Some lines to be found in a file and what they become.
#[derive(Debug, Default, PartialEq)]
struct Hunk<'a> {
    /// Lines that stand before it, outermost first.
    anchors: Vec<&'a str>,
    old: Vec<&'a str>,
    new: Vec<&'a str>,
    /// It is at the end of the file.
    at_end: bool,
}

/// Applies the patch.
pub(super) fn run(patch: &str, cwd: &Path) -> Result<Value, Error> {
    let mut plan = Plan { cwd, files: BTreeMap::new(), diff: String::new(), notes: Vec::new() };
    let actions = parse(patch)?;
    for action in &actions {
        plan.add(action)?;
    }
    plan.write()
}

/// The files that a patch names, also if it is broken.
pub(super) fn paths(patch: &str, cwd: &Path) -> Vec<PathBuf> {
    let headers = ["*** Update File:", "*** Add File:", "*** Delete File:", "*** Move to:"];
    patch
        .lines()
        .filter_map(|line| headers.iter().find_map(|header| line.trim().strip_prefix(header)))
        .map(|path| disk::resolve(path.trim(), cwd))
        .collect()
}

fn parse(patch: &str) -> Result<Vec<Action<'_>>, Error> {
    let mut lines = patch
        .lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line))
        .skip_while(|(_, line)| line.trim() != "*** Begin Patch")
        .peekable();
    if lines.next().is_none() {
        return Err(Error("the patch has no line *** Begin Patch".to_owned()));
    }
    let mut actions = Vec::new();
    loop {
        let Some((n, line)) = lines.next() else {
            return Err(Error(
                "the patch has no line *** End Patch; it may have been cut off".to_owned(),
            ));
        };
        let header = |name: &str| line.trim_end().strip_prefix(name).map(str::trim);
        if line.trim() == "*** End Patch" {
            break;
        }
        let path = ["*** Update File:", "*** Add File:", "*** Delete File:"]
            .into_iter()
            .find_map(|name| header(name).map(|path| (name, path)));
        let mut body: Vec<(usize, &str)> = Vec::new();
        while let Some(next) = lines.next_if(|(_, line)| !ends_section(line)) {
            body.push(next);
        }
        while body.last().is_some_and(|(_, line)| line.is_empty()) {
            body.pop();
        }
        match path {
            Some((_, "")) => return Err(Error(format!("line {n} of the patch names no file"))),
            Some(("*** Add File:", path)) => actions.push(added(path, &body)?),
            Some(("*** Delete File:", path)) => match body.first() {
                None => actions.push(Action::Delete { path }),
                Some((n, _)) => {
                    return Err(Error(format!("line {n} of the patch follows a deleted file")));
                }
            },
            Some((_, path)) => actions.push(updated(path, &body)?),
            None if line.trim().is_empty() && body.is_empty() => {}
            None => {
                return Err(Error(format!(
                    "line {n} of the patch is {line:?}; expected *** Update File: path, \
                     *** Add File: path or *** Delete File: path"
                )));
            }
        }
    }
    if actions.is_empty() {
        return Err(Error("the patch changes nothing".to_owned()));
    }
    Ok(actions)
}

fn ends_section(line: &str) -> bool {
    ["*** Update File:", "*** Add File:", "*** Delete File:", "*** End Patch"]
        .iter()
        .any(|name| line.starts_with(name))
}

fn added<'a>(path: &'a str, body: &[(usize, &'a str)]) -> Result<Action<'a>, Error> {
    let mut text = String::new();
    for (n, line) in body {
        let Some(line) = line.strip_prefix('+').or(line.is_empty().then_some("")) else {
            return Err(Error(format!(
                "line {n} of the patch is {line:?}; the lines of an added file start with +"
            )));
        };
        text.push_str(line);
        text.push('\n');
    }
    Ok(Action::Add { path, text })
}

fn updated<'a>(path: &'a str, body: &[(usize, &'a str)]) -> Result<Action<'a>, Error> {
    let mut to = None;
    let mut hunks: Vec<Hunk<'a>> = Vec::new();
    let mut hunk = Hunk::default();
    for &(n, line) in body {
        if let Some(path) = line.strip_prefix("*** Move to:") {
            to = Some(path.trim());
        } else if line.trim_end() == "*** End of File" {
            hunk.at_end = true;
        } else if let Some(anchor) = line.strip_prefix("@@") {
            if !hunk.is_empty() {
                hunks.push(std::mem::take(&mut hunk));
            }
            hunk.anchors.extend(Some(anchor_text(anchor)).filter(|text| !text.is_empty()));
        } else {
            if hunk.at_end {
                hunks.push(std::mem::take(&mut hunk));
            }
            hunk.line(line).map_err(|()| {
                Error(format!(
                    "line {n} of the patch is {line:?}; lines of a hunk start with a space, - or +"
                ))
            })?;
        }
    }
    if !hunk.is_empty() {
        hunks.push(hunk);
    }
    if hunks.is_empty() && to.is_none() {
        return Err(Error(format!("{path}: the patch has no hunk for it")));
    }
    for hunk in &mut hunks {
        hunk.trim();
    }
    Ok(Action::Update { path, to, hunks })
}

/// The text of `@@ text`, also of `@@ -1,2 +1,2 @@ text`, whose numbers are not relied on.
fn anchor_text(anchor: &str) -> &str {
    let anchor = anchor.trim();
    match anchor.strip_prefix('-').and_then(|rest| rest.split_once("@@")) {
        Some((numbers, text)) if numbers.starts_with(|c: char| c.is_ascii_digit()) => text.trim(),
        Some(_) | None => anchor.strip_suffix("@@").unwrap_or(anchor).trim(),
    }
}

impl<'a> Hunk<'a> {
    fn is_empty(&self) -> bool {
        self.old.is_empty() && self.new.is_empty()
    }

    fn line(&mut self, line: &'a str) -> Result<(), ()> {
        if let Some(added) = line.strip_prefix('+') {
            self.new.push(added);
        } else if let Some(removed) = line.strip_prefix('-') {
            self.old.push(removed);
        } else if line.is_empty() || line.starts_with(' ') {
            // An empty context line often loses its space.
            let context = line.strip_prefix(' ').unwrap_or(line);
            self.old.push(context);
            self.new.push(context);
        } else {
            return Err(());
        }
        Ok(())
    }

    /// Without blank context at its end: it is often there to separate hunks.
    fn trim(&mut self) {
        while self.old.len() > 1 && self.old.last() == Some(&"") && self.new.last() == Some(&"") {
            self.old.pop();
            self.new.pop();
        }
    }

    /// Where it goes in a file and what it puts there.
    fn place(&self, lines: &[&str], after: usize) -> Result<PlacedHunk, Error> {
        let text = real_lines(lines);
        let starts = self.starts(text, after)?;
        if self.old.is_empty() {
            let later: Vec<usize> = starts.iter().copied().filter(|&at| at >= after).collect();
            let starts = if later.is_empty() { starts } else { later };
            let at = match starts[..] {
                _ if self.anchors.is_empty() || self.at_end => text.len(),
                [one] => one + 1,
                _ => return Err(self.ambiguous(&starts)),
            };
            let new = self.new.iter().map(|&line| line.to_owned()).collect();
            return Ok(PlacedHunk { lines: at..at, new, step: fuzzy::Step::Exact });
        }
        let (step, mut found) = fuzzy::find(text, &self.old);
        if self.at_end {
            found.retain(|place| place.lines.end == text.len());
        }
        if found.is_empty() {
            return Err(self.not_found(text));
        }
        let all: Vec<usize> = found.iter().map(|place| place.lines.start).collect();
        let mut at: Vec<usize> = if self.anchors.is_empty() {
            let later: Vec<usize> = all.iter().copied().filter(|&at| at >= after).collect();
            if later.is_empty() { all } else { later }
        } else {
            let below = |after: usize| -> Vec<usize> {
                let next = |start: &usize| all.iter().copied().find(|&at| at >= after.max(*start));
                starts.iter().filter_map(next).collect()
            };
            let later = below(after);
            if later.is_empty() { below(0) } else { later }
        };
        at.dedup();
        let only = match at[..] {
            [only] => only,
            [] => return Err(Error(format!("{} is not below its @@ anchor", self.named()))),
            _ => return Err(self.ambiguous(&at)),
        };
        let Some(place) = found.iter().find(|place| place.lines.start == only) else {
            return Err(self.not_found(text));
        };
        let new = place.replacement(lines, &self.old, &self.new);
        Ok(PlacedHunk { lines: place.lines.clone(), new, step })
    }

    /// The lines at which the innermost anchor stands.
    fn starts(&self, text: &[&str], after: usize) -> Result<Vec<usize>, Error> {
        let mut starts: Option<Vec<usize>> = None;
        for anchor in &self.anchors {
            let lines = |matches: &dyn Fn(&str) -> bool| -> Vec<usize> {
                (0..text.len()).filter(|&at| matches(text[at].trim())).collect()
            };
            let mut all = lines(&|line| line == *anchor);
            if all.is_empty() {
                all = lines(&|line| line.contains(anchor));
            }
            let mut next: Vec<usize> = match &starts {
                // The one before counts too: several hunks may stand below one anchor.
                None => {
                    let passed = all.iter().filter(|&&at| at < after).count();
                    all.split_off(passed.saturating_sub(1))
                }
                Some(outer) => outer
                    .iter()
                    .filter_map(|start| all.iter().copied().find(|at| at > start))
                    .collect(),
            };
            next.dedup();
            if next.is_empty() {
                return Err(Error(format!("the anchor @@ {anchor} is not in the file")));
            }
            starts = Some(next);
        }
        Ok(starts.unwrap_or_default())
    }

    fn named(&self) -> String {
        let first = self.old.iter().chain(&self.new).find(|line| !line.trim().is_empty());
        let first: String = first.unwrap_or(&"").trim().chars().take(80).collect();
        format!("the hunk with {first:?}")
    }

    fn ambiguous(&self, at: &[usize]) -> Error {
        let lines: Vec<usize> = at.iter().map(|at| at + 1).collect();
        Error(format!(
            "{} matches {} places ({}); give more context or an @@ anchor",
            self.named(),
            lines.len(),
            places(&lines)
        ))
    }

    fn not_found(&self, text: &[&str]) -> Error {
        let near = super::nearest(text, &self.old).map(|near| format!(". {near}"));
        let end = if self.at_end { " at the end of the file" } else { "" };
        Error(format!(
            "could not find {} in the file{end}{}",
            self.named(),
            near.unwrap_or_default()
        ))
    }
}

struct PlacedHunk {
    lines: std::ops::Range<usize>,
    new: Vec<String>,
    step: fuzzy::Step,
}

/// The text with all hunks in their places, and what was overlooked in finding them.
fn apply(body: &str, hunks: &[Hunk<'_>]) -> Result<(String, Vec<&'static str>), Error> {
    let lines: Vec<&str> = body.split('\n').collect();
    let mut placed: Vec<PlacedHunk> = Vec::new();
    for hunk in hunks {
        let after = placed.last().map_or(0, |last| last.lines.end);
        placed.push(hunk.place(&lines, after)?);
    }
    let overlooked = placed.iter().filter_map(|place| place.step.overlooked()).collect();
    // Stable: several additions at one place keep their order.
    placed.sort_by_key(|place| (place.lines.start, place.lines.end));
    let mut changed: Vec<String> = Vec::new();
    let mut at = 0;
    for place in placed {
        if place.lines.start < at {
            return Err(Error(format!("two hunks change line {}", place.lines.start + 1)));
        }
        changed.extend(lines[at..place.lines.start].iter().map(|&line| line.to_owned()));
        changed.extend(place.new);
        at = place.lines.end;
    }
    changed.extend(lines[at..].iter().map(|&line| line.to_owned()));
    Ok((changed.join("\n"), overlooked))
}

/// What the files will be, before any of them is touched.
struct Plan<'a> {
    cwd: &'a Path,
    files: BTreeMap<PathBuf, PlannedFile>,
    diff: String,
    notes: Vec<String>,
}

struct PlannedFile {
    /// The path in the model's words.
    shown: String,
    /// Whether there is such a file now.
    exists: bool,
    /// The file whose mode it gets if it is new.
    like: PathBuf,
    /// Its text afterwards; `None`: it is gone.
    text: Option<String>,
}

impl Plan<'_> {
    fn add(&mut self, action: &Action<'_>) -> Result<(), Error> {
        match action {
            Action::Add { path, text } => {
                self.check_free(path)?;
                self.show("", path, "", text);
                self.put(path, path, Some(text.clone()));
            }
            Action::Delete { path } => {
                self.check_no_link(path)?;
                match self.text(path) {
                    Ok(old) => self.show(path, "", &old, ""),
                    // What is no text can still be deleted.
                    Err(e) => {
                        let file = disk::resolve(path, self.cwd);
                        if self.files.contains_key(&file) || disk::open(&file, path).is_err() {
                            return Err(e);
                        }
                        let _ = writeln!(self.diff, "deleted {path}");
                    }
                }
                self.put(path, path, None);
            }
            Action::Update { path, to, hunks } => {
                let raw = self.text(path)?;
                let text = Text::of(&raw);
                let (body, overlooked) =
                    apply(&text.body, hunks).map_err(|e| Error(format!("{path}: {e}")))?;
                let new = text.raw(&body);
                for overlooked in overlooked {
                    self.notes.push(format!("{path}: matched by overlooking {overlooked}"));
                }
                let to =
                    to.filter(|to| disk::resolve(to, self.cwd) != disk::resolve(path, self.cwd));
                if let Some(to) = to {
                    self.check_no_link(path)?;
                    self.check_free(to)?;
                    self.put(path, path, None);
                }
                self.show(path, to.unwrap_or(path), &raw, &new);
                self.put(to.unwrap_or(path), path, Some(new));
            }
        }
        Ok(())
    }

    fn show(&mut self, from: &str, to: &str, old: &str, new: &str) {
        if !self.diff.is_empty() {
            self.diff.push('\n');
        }
        if from != to && old == new && !from.is_empty() && !to.is_empty() {
            let _ = writeln!(self.diff, "rename from {from}\nrename to {to}");
        }
        self.diff.push_str(&diff(from, to, old, new));
    }

    fn text(&self, path: &str) -> Result<String, Error> {
        let file = disk::resolve(path, self.cwd);
        match self.files.get(&file) {
            Some(PlannedFile { text: Some(text), .. }) => Ok(text.clone()),
            Some(PlannedFile { text: None, .. }) => {
                Err(Error(format!("{path} is already gone at this place of the patch")))
            }
            None => disk::load(&file, path),
        }
    }

    fn check_free(&self, path: &str) -> Result<(), Error> {
        let file = disk::resolve(path, self.cwd);
        let taken = match self.files.get(&file) {
            Some(planned) => planned.text.is_some(),
            None => file.symlink_metadata().is_ok(),
        };
        if taken {
            return Err(Error(format!("{path} already exists; change it with *** Update File:")));
        }
        Ok(())
    }

    fn check_no_link(&self, path: &str) -> Result<(), Error> {
        if self.cwd.join(path).is_symlink() {
            return Err(Error(format!("{path} is a symbolic link; remove it with the terminal")));
        }
        Ok(())
    }

    fn put(&mut self, path: &str, like: &str, text: Option<String>) {
        let like = disk::resolve(like, self.cwd);
        let file = disk::resolve(path, self.cwd);
        let (shown, exists) = (path.to_owned(), file.exists());
        let new = PlannedFile { shown, exists, like: like.clone(), text: None };
        let planned = self.files.entry(file).or_insert(new);
        (planned.like, planned.text) = (like, text);
    }

    fn write(self) -> Result<Value, Error> {
        let mut staged = Vec::new();
        let mut gone = Vec::new();
        for (file, planned) in &self.files {
            match &planned.text {
                Some(text) => {
                    staged.push((
                        file,
                        planned,
                        Staged::write(file, &planned.like, &planned.shown, text)?,
                    ));
                }
                None if planned.exists => gone.push((file, planned)),
                None => {}
            }
        }
        let mut done: Vec<&PathBuf> = Vec::new();
        let mut created = Vec::new();
        for (file, planned, staged) in staged {
            staged.commit().map_err(|e| broken(&planned.shown, &e, &done))?;
            done.push(file);
            created.extend((!planned.exists).then_some(&planned.shown));
        }
        let mut deleted = Vec::new();
        for (file, planned) in gone {
            std::fs::remove_file(file).map_err(|e| broken(&planned.shown, &e, &done))?;
            done.push(file);
            deleted.push(&planned.shown);
        }
        let mut result = json!({
            "success": true,
            "diff": shortened(self.diff),
            "files_modified": done,
        });
        for (name, files) in [("files_created", created), ("files_deleted", deleted)] {
            if !files.is_empty() {
                result[name] = json!(files);
            }
        }
        if !self.notes.is_empty() {
            result["note"] = json!(self.notes.join("; "));
        }
        Ok(result)
    }
}

/// The disk failed between two files, which nothing can take back.
fn broken(shown: &str, e: &std::io::Error, done: &[&PathBuf]) -> Error {
    let done: Vec<String> = done.iter().map(|path| path.display().to_string()).collect();
    let done = if done.is_empty() { "nothing".to_owned() } else { done.join(", ") };
    Error(format!("cannot write {shown}: {e}; already changed: {done}"))
}
