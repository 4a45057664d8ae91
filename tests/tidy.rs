//! Rules about the tree itself that no compiler checks: sizes, dependency arrows, one home for
//! colours, SQL and tools.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this is split.
const HARD: usize = 800;
/// A file longer than this is told about.
const SOFT: usize = 500;
/// Files that are long because they are tables of data, with the reason.
const TABLES: [&str; 0] = [];

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
        if lines > HARD && !TABLES.contains(&name.as_str()) {
            long.push(format!("{name}: {lines} lines"));
        } else if lines > SOFT {
            println!("long: {name}: {lines} lines");
        }
    }
    none(&format!("split these, {HARD} lines are the most"), long);
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
fn every_tool_is_in_the_table() {
    let table = read(&root().join("host/src/tool.rs"));
    let (_, list) = table.split_once("fn schemas(").unwrap();
    let list = list.split("\n}\n").next().unwrap();
    let mut tools = 0;
    for path in fs::read_dir(root().join("host/src/tool")).unwrap().map(|e| e.unwrap().path()) {
        let tool = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_file() && read(&path).contains("pub(crate) fn schema()") {
            tools += 1;
            assert!(list.contains(&format!("{tool}::schema()")), "{tool} is in no request");
            assert!(table.contains(&format!("\"{tool}\" =>")), "{tool} is never called");
        }
    }
    assert_eq!(tools, list.matches("::schema()").count(), "a tool has a file of its own");
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

#[test]
fn every_rule_of_the_host_stands_beside_a_test() {
    let ids = [('W', 31), ('P', 14), ('R', 10), ('E', 17), ('C', 16)]
        .into_iter()
        .flat_map(|(letter, last)| (1..=last).map(move |n| format!("{letter}{n:02}")))
        .chain((4..=8).map(|n| format!("S{n:02}")));
    let sources = sources("");
    let beside = |id: &str| {
        sources.iter().any(|(_, text)| {
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            let near = |at: usize| {
                let from = at.saturating_sub(5);
                lines[from..(at + 5).min(lines.len())]
                    .iter()
                    .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
            };
            lines.iter().enumerate().any(|(at, line)| {
                line.strip_prefix("//").is_some_and(|words| {
                    words.split(|c: char| !c.is_alphanumeric()).any(|word| word == id)
                }) && near(at)
            })
        })
    };
    none("no test names these", ids.filter(|id| !beside(id)).collect());
}
