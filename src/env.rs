//! The environment as a value: read once in `main`, passed on from there. `.env` of the home lies
//! over what the shell exported, as hermes has it. Not the environment of children
//! ([`crate::config`] makes that).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use host::settings::Timing;

/// What a shell cannot work without, whatever `.env` says.
const NEEDED: [&str; 7] = ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "USER"];

/// For tests of this program alone: waiting times that differ from the built-in ones, as in
/// `unwind=500ms,keepalive=2s`. The names are the fields of [`Timing`].
const TEST_TIMING: &str = "HERMES_TUI_TEST_TIMING";

/// Environment variables: the shell's, and those of `.env` over them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Env {
    shell: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
}

impl Env {
    /// The process's own environment. Names and values that are not UTF-8 are left out.
    pub(crate) fn of_process() -> Self {
        let shell = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        Self { shell, file: BTreeMap::new() }
    }

    /// Lays the text of a `.env` file over it.
    pub(crate) fn with_file(mut self, text: &str) -> Self {
        self.file = parse(text);
        self
    }

    /// A variable that is set and not blank.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.file.get(name).or_else(|| self.shell.get(name))?.trim();
        (!value.is_empty()).then_some(value)
    }

    /// Whether a switch is on: `1`, `true`, `yes`, `on`.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|v| ["1", "true", "yes", "on"].contains(&v.to_ascii_lowercase().as_str()))
    }

    /// The built-in waiting times, changed as `HERMES_TUI_TEST_TIMING` says.
    ///
    /// # Errors
    /// A text for the user: which part of the variable cannot be read.
    pub(crate) fn timing(&self) -> Result<Timing, String> {
        let mut timing = Timing::default();
        for part in self.get(TEST_TIMING).into_iter().flat_map(|text| text.split(',')) {
            let wrong = |what| Err(format!("{TEST_TIMING}: `{part}` {what}"));
            let Some((name, value)) = part.split_once('=') else {
                return wrong("is not NAME=TIME, as in unwind=500ms");
            };
            let Some(time) = timing.by_name(name.trim()) else {
                return wrong("names no waiting time");
            };
            let Some(value) = duration(value.trim()) else {
                return wrong("is no time above zero in ms or s");
            };
            *time = value;
        }
        Ok(timing)
    }

    /// Whether the value comes from `.env`.
    pub(crate) fn is_from_file(&self, name: &str) -> bool {
        self.file.contains_key(name)
    }

    /// The names in `.env` that children do not get from it.
    pub(crate) fn secret_names(&self) -> impl Iterator<Item = String> {
        self.file.keys().filter(|name| !NEEDED.contains(&name.as_str())).cloned()
    }

    /// What children start from: the shell's variables without `hidden`, without those of `.env`
    /// and without `HERMES_SESSION_*` of an outer session; `passed` are kept or added.
    pub(crate) fn for_children(
        &self,
        hidden: &BTreeSet<String>,
        passed: &[String],
    ) -> Vec<(String, String)> {
        let mut env: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in &self.shell {
            let secret = hidden.contains(name) || self.file.contains_key(name);
            let session = name.starts_with("HERMES_SESSION_");
            if NEEDED.contains(&name.as_str()) || !(secret || session) {
                env.insert(name, value);
            }
        }
        for name in passed {
            if let Some(value) = self.file.get(name).or_else(|| self.shell.get(name)) {
                env.insert(name, value);
            }
        }
        env.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }
}

/// Reads a `.env` file: `NAME=value`, `export NAME=value`, quotes, comments. Lines that are none
/// of these are skipped; of a repeated name the last counts.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else { continue };
        let name = name.trim();
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(legal) {
            continue;
        }
        found.insert(name.to_owned(), unquote(value.trim()));
    }
    found
}

/// `500ms` or `2s`, not zero.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s')?, 1000),
    };
    let millis = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

fn unquote(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some((inner, _)) = value.strip_prefix(quote).and_then(|v| v.split_once(quote)) {
            return inner.to_owned();
        }
    }
    value.split_once(" #").map_or(value, |(v, _)| v).trim_end().to_owned()
}

#[cfg(test)]
impl Env {
    /// An environment for tests.
    pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
        let own = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        Self { shell: pairs.iter().map(own).collect(), file: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotenv_file_is_read_with_quotes_comments_and_exports() {
        let read =
            parse("# top\nA=1\nexport B = two # note\nC=\"x # y\" # z\nD='q'\nA=3\nnoise\n2 x=1\n");
        let all: Vec<_> = read.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(all, ["A=3", "B=two", "C=x # y", "D=q"]);
    }

    #[test]
    fn the_file_lies_over_the_shell_and_blank_is_unset() {
        let env = Env::of(&[("A", "shell"), ("B", "  ")]).with_file("A=file\n");
        assert_eq!(env.get("A"), Some("file"));
        assert_eq!(env.get("B"), None);
        assert!(env.is_from_file("A") && !env.is_from_file("B"));
    }

    #[test]
    fn waiting_times_are_changed_by_name_or_refused() {
        let timing = |text| Env::of(&[(TEST_TIMING, text)]).timing();
        let usual = Timing::default();
        assert_eq!(Env::of(&[]).timing(), Ok(usual));
        let changed = Timing {
            unwind: Duration::from_millis(500),
            keepalive: Duration::from_secs(2),
            ..usual
        };
        assert_eq!(timing("unwind=500ms, keepalive = 2s"), Ok(changed));
        for wrong in ["unwind", "unwind=", "unwind=0ms", "unwind=5", "unwind=-1s", "rest=1s", ","] {
            let error = timing(wrong).unwrap_err();
            assert!(error.starts_with("HERMES_TUI_TEST_TIMING: `"), "{error}");
        }
    }

    #[test]
    fn children_get_no_key_nothing_of_the_file_and_no_outer_session() {
        let env = Env::of(&[
            ("PATH", "/bin"),
            ("OPENAI_API_KEY", "sk-1"),
            ("HERMES_SESSION_ID", "s"),
            ("MY_TOKEN", "t"),
            ("EDITOR", "vi"),
        ])
        .with_file("MY_TOKEN=t\nPATH=/odd\nWANTED=w\n");
        let hidden = BTreeSet::from(["OPENAI_API_KEY".to_owned()]);
        let names = |passed: &[String]| {
            let env = env.for_children(&hidden, passed);
            env.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["EDITOR=vi", "PATH=/bin"]);
        let passed = ["WANTED".to_owned(), "OPENAI_API_KEY".to_owned()];
        assert_eq!(names(&passed), ["EDITOR=vi", "OPENAI_API_KEY=sk-1", "PATH=/bin", "WANTED=w"]);
    }
}
