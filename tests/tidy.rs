//! Rules about the tree itself that no compiler checks: sizes, dependency arrows, one home for
//! colours, SQL and tools, and ids that stand for the rules of `docs/rules.md`.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines a file of the product may have.
const PRODUCT: usize = 600;
/// The most lines a file of tests may have.
const TESTS: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder of the tree, without what is generated.
fn files(below: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    walk(&path, found);
                }
            } else if name != ".git" {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(below), &mut found);
    found.sort();
    assert!(!found.is_empty(), "nothing below {below:?}");
    found
}

/// Each Rust file below a folder: its path in the tree and its text.
fn sources(below: &str) -> Vec<(String, String)> {
    let rust = |path: &PathBuf| path.extension().is_some_and(|e| e == "rs");
    files(below).into_iter().filter(rust).map(|path| (name(&path), read(&path))).collect()
}

fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/") || name.ends_with("/testing.rs")
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Lines of a text that are code, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let all = text.lines().enumerate().map(|(n, line)| (n + 1, line));
    all.filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// The names under `[dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let text = read(&root().join(manifest));
    let (_, rest) = text.split_once("\n[dependencies]\n").unwrap();
    let list = rest.split("\n[").next().unwrap();
    let name = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    let names: Vec<_> = list.lines().map(name).filter(|name| !name.is_empty()).collect();
    assert!(names.contains(&"tokio".to_owned()), "{manifest} is not read rightly: {names:?}");
    names
}

#[test]
fn no_rust_file_is_too_long() {
    let mut long = Vec::new();
    for (name, text) in sources("") {
        let lines = text.lines().count();
        let most = if is_test(&name) || name.starts_with("tests/") { TESTS } else { PRODUCT };
        if lines > most {
            long.push(format!("{name}: {lines} lines, {most} are the most"));
        }
    }
    none("split these", long);
}

#[test]
fn functions_are_short() {
    let mut lengths = Vec::new();
    for below in ["host/src", "host/protocol/src", "tui/src", "src"] {
        for (name, text) in sources(below).into_iter().filter(|(name, _)| !is_test(name)) {
            lengths.extend(functions(&name, product(&text)));
        }
    }
    assert!(lengths.len() > 1_000, "functions are not found any more");
    lengths.sort_by_key(|(lines, _)| std::cmp::Reverse(*lines));
    let (ninety_ninth, _) = lengths[lengths.len() / 100];
    let longest: Vec<_> =
        lengths.iter().take(40).map(|(lines, name)| format!("{lines} {name}")).collect();
    assert!(ninety_ninth <= 60, "99 of 100 have at most 60 lines:\n{}", longest.join("\n"));
}

/// The code of a file before its tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

/// Each function of a text: its length in lines and its name. By indentation, as the formatter
/// leaves it.
fn functions(file: &str, text: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let is_fn = code.starts_with("fn ") || {
            let visible = code.starts_with("pub") || code.starts_with("async ");
            visible && code.split('(').next().is_some_and(|head| head.contains("fn "))
                || code.starts_with("pub(") && code.contains(" fn ")
        };
        if !is_fn || code.ends_with(';') {
            continue;
        }
        let indent = &line[..line.len() - code.len()];
        let end = format!("{indent}}}");
        let one_line = code.ends_with('}');
        let length = lines[at..].iter().position(|l| one_line || **l == *end).unwrap_or(0) + 1;
        let name = code.split('(').find(|part| part.contains("fn ")).unwrap_or(code);
        found.push((length, format!("{file}: {}", name.rsplit("fn ").next().unwrap())));
    }
    found
}

#[test]
fn what_a_failure_is_about_is_named_in_one_file() {
    let mut wrong = Vec::new();
    for (name, text) in ["host", "tui/src", "src"].into_iter().flat_map(sources) {
        let home = name == "host/protocol/src/failure.rs";
        for (n, line) in code(&text).filter(|(_, line)| !home && line.contains("about")) {
            let literal = ["about: \"", "about == \"", "about != \"", "about.contains(\""];
            if literal.iter().any(|literal| line.contains(literal)) {
                wrong.push(format!("{name}:{n}: {}", line.trim()));
            }
        }
    }
    none("use `Subject`", wrong);
}

#[test]
fn the_interface_depends_on_the_protocol_alone_and_the_host_on_no_interface() {
    let host = dependencies("host/Cargo.toml");
    for front in ["tui", "ratatui", "crossterm", "clap"] {
        assert!(!host.contains(&front.to_owned()), "the host must not depend on {front}");
    }
    let tui = dependencies("tui/Cargo.toml");
    for back in ["host", "rusqlite", "reqwest", "genai", "nix", "portable-pty", "clap"] {
        assert!(!tui.contains(&back.to_owned()), "the interface must not depend on {back}");
    }
    let protocol = dependencies("host/protocol/Cargo.toml");
    for other in ["host", "tui", "rusqlite", "reqwest", "axum", "ratatui"] {
        assert!(!protocol.contains(&other.to_owned()), "the protocol must not depend on {other}");
    }
}

#[test]
fn colours_have_one_home() {
    let mut wrong = Vec::new();
    for (name, text) in sources("tui/src").into_iter().chain(sources("src")) {
        // Tests may look at colours; the theme may make them.
        if name == "tui/src/theme.rs" || is_test(&name) {
            continue;
        }
        for (n, line) in code(&text).filter(|(_, line)| line.contains("Color::")) {
            wrong.push(format!("{name}:{n}: {}", line.trim()));
        }
    }
    none("ask the theme for a style", wrong);
}

#[test]
fn sql_has_one_home() {
    let mut wrong = Vec::new();
    for (name, text) in ["host/src", "src", "tui/src"].into_iter().flat_map(sources) {
        let inside = name == "host/src/store.rs" || name.starts_with("host/src/store/");
        if !inside && code(&text).any(|(_, line)| line.contains("rusqlite")) {
            wrong.push(name);
        }
    }
    none("the store is the only one to speak SQL", wrong);
}

#[test]
fn every_tool_is_in_the_table_under_its_file_name() {
    let tools = read(&root().join("host/src/tool.rs"));
    let (_, table) = tools.split_once("const TABLE").unwrap();
    let table = table.split("\n];\n").next().unwrap();
    let mut count = 0;
    for path in fs::read_dir(root().join("host/src/tool")).unwrap().map(|e| e.unwrap().path()) {
        let tool = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_file() && read(&path).contains("const TOOL: Tool = Tool {") {
            count += 1;
            assert!(table.contains(&format!(" &{tool}::TOOL,")), "{tool} is not in TABLE");
            let name = format!("TOOL: Tool = Tool {{\n    name: \"{tool}\",");
            assert!(read(&path).contains(&name), "{tool} is not named after its file");
        }
    }
    assert_eq!(count, table.matches("::TOOL").count(), "a tool has a file of its own");
}

/// The modules of the host, lowest first: each uses only those above it in this list.
const HOST: [&str; 22] = [
    "lib",
    "clock",
    "digest",
    "state_dir",
    "redact",
    "settings",
    "approval",
    "model",
    "process",
    "store",
    "toolset",
    "wakeup",
    "session",
    "turn_link",
    "wire",
    "tool",
    "agent",
    "embedded",
    "serve",
    "remote",
    "simulation",
    "testing",
];

#[test]
fn modules_of_the_host_use_only_what_is_below_them() {
    let place = |module: &str| HOST.iter().position(|m| *m == module);
    let mut wrong = Vec::new();
    for (from, to, name) in uses("host/src") {
        match (place(&from), place(&to)) {
            (Some(from), Some(to)) if to < from => {}
            _ => wrong.push(format!("{name} uses {to}")),
        }
    }
    none("these arrows point up (HOST in tests/tidy.rs holds the order)", wrong);
}

#[test]
fn modules_of_a_crate_form_no_circle() {
    for below in CRATES {
        let uses = uses(below);
        let mut left: Vec<&str> = uses.iter().flat_map(|(a, b, _)| [&**a, &**b]).collect();
        left.sort_unstable();
        left.dedup();
        // What uses nothing that is left is in no circle.
        loop {
            let before = left.len();
            let has = |m: &str, of: &[&str]| of.contains(&m);
            let stays = |m: &&str| uses.iter().any(|(a, b, _)| a == m && has(b, &left));
            let next: Vec<&str> = left.iter().filter(|m| stays(m)).copied().collect();
            left = next;
            if left.len() == before {
                break;
            }
        }
        assert!(left.is_empty(), "{below}: a circle is among {left:?}");
    }
}

/// The crates whose top-level modules form no circle.
const CRATES: [&str; 4] = ["host/src", "host/protocol/src", "tui/src", "src"];

/// Which top-level module of a crate names which other one, and in which file. Tests may look
/// anywhere.
fn uses(below: &str) -> Vec<(String, String, String)> {
    let module = |name: &str| {
        let inside = name.strip_prefix(below).unwrap().trim_start_matches('/');
        inside.split('/').next().unwrap().trim_end_matches(".rs").to_owned()
    };
    let sources: Vec<_> = sources(below).into_iter().filter(|(name, _)| !is_test(name)).collect();
    let known: Vec<String> = sources.iter().map(|(name, _)| module(name)).collect();
    let mut uses = Vec::new();
    for (name, text) in &sources {
        let from = module(name);
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let code: Vec<&str> = code(text).map(|(_, line)| line).collect();
        let code = code.join("\n");
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + "crate::".len()..];
            let named: Vec<&str> = match rest.strip_prefix('{') {
                // Names at the beginning of each item of the list.
                Some(list) => list.split('}').next().unwrap().split(',').collect(),
                None => vec![rest],
            };
            for item in named {
                let item = item.trim_start();
                let end = item.find(|c: char| !c.is_alphanumeric() && c != '_');
                let to = &item[..end.unwrap_or(item.len())];
                if to != from && known.iter().any(|m| m == to) {
                    uses.push((from.clone(), to.to_owned(), name.clone()));
                }
            }
        }
    }
    assert!(!uses.is_empty() || known.len() < 10, "{below} is not read rightly");
    uses
}

#[test]
fn modules_are_named_files() {
    let named = |(name, _): &(String, String)| name.ends_with("/mod.rs");
    none(
        "name the file after the module",
        sources("").into_iter().filter(named).map(|f| f.0).collect(),
    );
}

#[test]
fn every_file_says_what_it_is() {
    let silent = |(name, text): &(String, String)| {
        // A file of tests beside its module needs no words of its own.
        !text.starts_with("//!") && !name.ends_with("/tests.rs")
    };
    none("begin with `//!`", sources("").into_iter().filter(silent).map(|f| f.0).collect());
}

#[test]
fn the_tree_names_no_path_of_a_machine() {
    // Put together here, so that this file does not find itself.
    let homes = ["root", "work", "Users"].map(|home| format!("/{home}/"));
    let mut wrong = Vec::new();
    for path in files("") {
        let text = read(&path);
        for (n, line) in text.lines().enumerate() {
            let names = |home: &String| {
                line.match_indices(home.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}".contains(c))
                })
            };
            if homes.iter().any(names) {
                wrong.push(format!("{}:{}: {}", name(&path), n + 1, line.trim()));
            }
        }
    }
    none("no path of a machine belongs here", wrong);
}

/// The page that holds the text of every rule.
const RULES: &str = "docs/rules.md";

/// A row of that page.
struct Rule {
    id: String,
    holds: bool,
}

/// The rules of the page in its order. A row of a table that cannot be read as one is an error.
fn rules() -> Vec<Rule> {
    let text = fs::read_to_string(root().join(RULES)).unwrap();
    let mut rules = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        match cells[..] {
            ["id", "state", "rule"] | ["---", "---", "---"] => {}
            [id, state @ ("holds" | "planned"), rule] if is_id(id) && !rule.is_empty() => {
                rules.push(Rule { id: id.to_owned(), holds: state == "holds" });
            }
            _ => panic!("{RULES}: this row is no rule: {line}"),
        }
    }
    rules
}

/// A capital letter and two digits.
fn is_id(word: &str) -> bool {
    matches!(word.as_bytes(), [b'A'..=b'Z', b'0'..=b'9', b'0'..=b'9'])
}

/// The ids in a text: whole words, as `grep -w` sees them.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| is_id(word))
}

/// What a line of Rust says as a comment, alone or behind code. Strings are no comments.
fn comment(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("//").or_else(|| line.split_once(" // ").map(|(_, after)| after))
}

/// The ids in comments at most five lines away from the head of a test.
fn beside_tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, text) in sources("") {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let near = &lines[at.saturating_sub(5)..(at + 5).min(lines.len())];
            let is_head = |l: &&str| l.starts_with("#[test]") || l.starts_with("#[tokio::test");
            if let Some(words) = line.strip_prefix("//")
                && near.iter().any(is_head)
            {
                found.extend(ids(words).map(str::to_owned));
            }
        }
    }
    found
}

#[test]
fn rules_are_grouped_by_letter_and_numbered_without_gaps() {
    let mut last = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut letter = None;
    for Rule { id, .. } in rules() {
        let (group, number) = id.split_at(1);
        let number: u32 = number.parse().unwrap();
        let before = last.insert(group.to_owned(), number).unwrap_or(0);
        let goes_on = before == 0 || letter.as_deref() == Some(group);
        if number != before + 1 || !goes_on {
            wrong.push(id.clone());
        }
        letter = Some(group.to_owned());
    }
    assert!(!last.is_empty(), "{RULES} holds no rule");
    none("these stand twice, or not behind the one before them", wrong);
}

#[test]
fn a_rule_holds_exactly_if_its_id_stands_beside_a_test() {
    let proven = beside_tests();
    let rules = rules();
    let differ = |holds: bool| {
        let wrong = rules.iter().filter(|r| r.holds == holds && proven.contains(&r.id) != holds);
        wrong.map(|r| r.id.clone()).collect()
    };
    none(&format!("{RULES} says that these hold, but no test names them"), differ(true));
    none(&format!("{RULES} says that these are planned, but a test names them"), differ(false));
}

#[test]
fn every_id_in_the_tree_is_a_rule() {
    let rules = rules();
    let is_wrong = |id: &&str| {
        let used = rules.iter().any(|rule| rule.id[..1] == id[..1]);
        used && !rules.iter().any(|rule| rule.id == *id)
    };
    let mut wrong = Vec::new();
    let mut look = |name: &str, n: usize, words: &str| {
        wrong.extend(ids(words).filter(is_wrong).map(|id| format!("{name}:{}: {id}", n + 1)));
    };
    for (name, text) in sources("") {
        for (n, line) in text.lines().enumerate() {
            look(&name, n, comment(line).unwrap_or_default());
        }
    }
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", RULES] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        for (n, line) in text.lines().enumerate() {
            look(name, n, line);
        }
    }
    none(&format!("{RULES} has no such rule"), wrong);
}
