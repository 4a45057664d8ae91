//! Tests on small trees.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

fn tree(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn ask(dir: &TempDir, args: Value) -> Value {
    run(&args, dir.path()).unwrap()
}

#[test]
fn lines_are_found_in_the_order_of_paths_also_below_a_dot() {
    let dir = tree(&[("b.py", "x = 1\nreturn x\n"), ("a/z.rs", "return;\n"), ("c", "none")]);
    let expected = json!({
        "total_count": 2,
        "matches": [
            {"path": "a/z.rs", "line": 1, "content": "return;"},
            {"path": "b.py", "line": 2, "content": "return x"}
        ]
    });
    assert_eq!(ask(&dir, json!({"pattern": "ret\\w+"})), expected);
    assert_eq!(ask(&dir, json!({"pattern": "ret\\w+", "path": "."})), expected);
    assert_eq!(ask(&dir, json!({"pattern": "ret\\w+", "path": "b.py"}))["matches"][0]["line"], 2);
    assert_eq!(ask(&dir, json!({"pattern": "nothing"})), json!({"total_count": 0}));
}

#[test]
fn ignored_binary_and_git_files_are_skipped_and_links_too() {
    let dir = tree(&[
        (".gitignore", "target/\n*.log\n"),
        ("target/x", "needle"),
        ("x.log", "needle"),
        (".git/config", "needle"),
        (".github/ci.yml", "needle"),
        ("bin", "needle\n\0\u{1}"),
        ("src/main.rs", "needle"),
    ]);
    symlink("..", dir.path().join("src/up")).unwrap();
    symlink("self", dir.path().join("self")).unwrap();
    let found = ask(&dir, json!({"pattern": "needle", "output_mode": "files_only"}));
    assert_eq!(found, json!({"total_count": 2, "files": [".github/ci.yml", "src/main.rs"]}));
    let found = ask(&dir, json!({"pattern": "needle"}));
    assert_eq!(found["total_count"], 2);
    // Asked for by name, an ignored directory is searched.
    assert_eq!(ask(&dir, json!({"pattern": "needle", "path": "target"}))["total_count"], 1);
}

#[test]
fn a_file_that_turns_out_binary_after_matches_counts_nowhere() {
    let mut late = "needle\n".repeat(100_000);
    late.push('\0');
    let dir = tree(&[("a", &late), ("b", "needle\n")]);
    let all = ask(&dir, json!({"pattern": "needle", "limit": 500, "offset": 99_000}));
    assert_eq!(all["total_count"], 1);
    let counts = ask(&dir, json!({"pattern": "needle", "output_mode": "count"}));
    assert_eq!(counts, json!({"total_count": 1, "counts": {"b": 1}}));
}

#[test]
fn pages_fit_together_and_say_that_there_is_more() {
    let dir = tree(&[("a", "n1\nn2\nn3\n"), ("b", "n4\nn5\n")]);
    let content = |offset: usize| {
        let page = ask(&dir, json!({"pattern": "n", "limit": 2, "offset": offset}));
        let lines: Vec<String> = page["matches"]
            .as_array()
            .map(|found| found.iter().map(|m| m["content"].as_str().unwrap().to_owned()).collect())
            .unwrap_or_default();
        (lines.join(" "), page["truncated"] == true)
    };
    assert_eq!(content(0), ("n1 n2".to_owned(), true));
    assert_eq!(content(2), ("n3 n4".to_owned(), true));
    assert_eq!(content(4), ("n5".to_owned(), false));
    assert_eq!(content(5), (String::new(), false));
    let page = ask(&dir, json!({"pattern": "n", "limit": 2, "offset": 2}));
    assert!(page["hint"].as_str().unwrap().contains("offset=4"));
    let files = ask(&dir, json!({"pattern": "n", "output_mode": "files_only", "limit": 1}));
    assert_eq!((&files["files"], &files["truncated"]), (&json!(["a"]), &json!(true)));
    let counts = ask(&dir, json!({"pattern": "n", "output_mode": "count", "offset": 1}));
    assert_eq!(counts, json!({"total_count": 2, "counts": {"b": 2}}));
}

#[test]
fn context_belongs_to_its_match_and_no_line_comes_twice() {
    let dir = tree(&[("a", "1\n2\nhit\n4\n5\nhit\n7\n8\n")]);
    let found = ask(&dir, json!({"pattern": "hit", "context": 2}));
    assert_eq!(
        found["matches"],
        json!([
            {"path": "a", "line": 3, "content": "hit", "before": ["1", "2"], "after": ["4", "5"]},
            {"path": "a", "line": 6, "content": "hit", "after": ["7", "8"]}
        ])
    );
    let second = ask(&dir, json!({"pattern": "hit", "context": 1, "offset": 1}));
    assert_eq!(
        second["matches"],
        json!([{"path": "a", "line": 6, "content": "hit", "before": ["5"], "after": ["7"]}])
    );
}

#[test]
fn files_are_found_by_glob_newest_first() {
    let dir = tree(&[("old.py", ""), ("d/new.py", ""), ("mid.py", ""), ("x.txt", "")]);
    for (name, age) in [("old.py", 300), ("mid.py", 200), ("d/new.py", 100), ("x.txt", 0)] {
        let file = File::options().write(true).open(dir.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    let files = |pattern: &str| ask(&dir, json!({"pattern": pattern, "target": "files"}));
    let all = json!({"total_count": 3, "files": ["d/new.py", "mid.py", "old.py"]});
    assert_eq!(files("*.py"), all);
    assert_eq!(files("*.{py,rs}"), all);
    assert_eq!(files("**/*.py"), all);
    assert_eq!(files("d/*.py")["files"], json!(["d/new.py"]));
    assert_eq!(files("./d/new")["files"], json!(["d/new.py"]));
    assert_eq!(files("mid")["files"], json!(["mid.py"]));
    assert_eq!(files("*.go"), json!({"total_count": 0, "files": []}));
    let page = ask(&dir, json!({"pattern": "*.py", "target": "files", "limit": 1, "offset": 1}));
    assert_eq!((&page["files"], &page["truncated"]), (&json!(["mid.py"]), &json!(true)));
    let only =
        ask(&dir, json!({"pattern": "^", "file_glob": "*.txt", "output_mode": "files_only"}));
    assert_eq!(only["total_count"], 0);
}

#[test]
fn a_file_glob_narrows_a_search_for_text() {
    let dir = tree(&[("a.rs", "x"), ("a.py", "x"), ("d/b.py", "x")]);
    let found =
        ask(&dir, json!({"pattern": "x", "file_glob": "*.py", "output_mode": "files_only"}));
    assert_eq!(found["files"], json!(["a.py", "d/b.py"]));
}

#[test]
fn wrong_questions_are_answered_with_the_reason() {
    let dir = tree(&[]);
    let error = |args: Value| run(&args, dir.path()).unwrap_err().0;
    assert!(error(json!({"pattern": "a("})).contains("unclosed group"));
    assert!(error(json!({"pattern": "(?=x)"})).contains("look-around"));
    assert!(error(json!({"pattern": "a\\nb"})).contains("invalid pattern"));
    assert!(error(json!({"pattern": "x", "path": "no"})).contains("not found"));
    assert!(error(json!({"pattern": "x", "path": "/dev/zero"})).contains("device"));
    assert!(error(json!({"pattern": "[", "target": "files"})).contains("invalid glob"));
    assert!(error(json!({"pattern": ""})).contains("empty"));
    assert!(error(json!({"pattern": "x", "target": "web"})).contains("web"));
}

#[test]
fn long_lines_and_invalid_text_are_cut_to_what_matters() {
    let mut long = "é".repeat(2_500_000);
    long.push_str("needle");
    long.push_str(&"x".repeat(1000));
    let dir = tree(&[("a", &long)]);
    fs::write(dir.path().join("b"), b"caf\xe9 needle\r\n").unwrap();
    let found = ask(&dir, json!({"pattern": "needle"}));
    let content = found["matches"][0]["content"].as_str().unwrap();
    assert!(content.starts_with("…é") && content.contains("needle") && content.ends_with("x…"));
    assert!(content.chars().count() <= LONGEST_LINE + 2);
    assert_eq!(found["matches"][1]["content"], "caf\u{fffd} needle");
}

#[test]
fn what_comes_back_is_bounded_in_bytes() {
    let line = format!("needle{}\n", "x".repeat(480));
    let dir = tree(&[("a", &line.repeat(1000))]);
    let found = ask(&dir, json!({"pattern": "needle", "limit": 500}));
    assert!(found["matches"].to_string().len() < 150_000);
    assert_eq!(found["truncated"], true);
    let next = found["matches"].as_array().unwrap().len();
    assert!(found["hint"].as_str().unwrap().contains(&format!("offset={next} ")));
}

#[test]
fn a_search_out_of_time_says_so() {
    let dir = tree(&[("a", "x")]);
    for args in [
        json!({"pattern": "x"}),
        json!({"pattern": "x", "output_mode": "count"}),
        json!({"pattern": "a", "target": "files"}),
    ] {
        let found = search(&args, dir.path(), Duration::ZERO).unwrap();
        assert_eq!((&found["total_count"], &found["truncated"]), (&json!(0), &json!(true)));
        assert!(found["hint"].as_str().unwrap().contains("took too long"));
    }
}

#[test]
fn the_schema_is_small() {
    let schema = TOOL.schema();
    assert!(schema.description.len() <= 300, "{}", schema.description.len());
    assert!(schema.parameters.to_string().len() <= 1200, "{}", schema.parameters);
}
