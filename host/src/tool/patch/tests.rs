//! Tests of both modes on real files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn dir_with(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

fn swap(content: &str, old: &str, new: &str) -> Result<String, String> {
    let dir = dir_with(&[("f", content)]);
    let args = json!({"mode": "replace", "path": "f", "old_string": old, "new_string": new});
    let result = run(&args, dir.path());
    let now = fs::read_to_string(dir.path().join("f")).unwrap();
    match result {
        Ok(_) => Ok(now),
        Err(e) => {
            assert_eq!(now, content, "an error changes nothing");
            Err(e.0)
        }
    }
}

fn swap_all(content: &str, old: &str, new: &str) -> String {
    let dir = dir_with(&[("f", content)]);
    let args = json!({"path": "f", "old_string": old, "new_string": new, "replace_all": true});
    run(&args, dir.path()).unwrap();
    fs::read_to_string(dir.path().join("f")).unwrap()
}

#[test]
fn a_replacement_tells_what_it_changed() {
    let dir = dir_with(&[("b.py", "import os\n\ndef f(x):\n    return x + 1\n")]);
    let args =
        json!({"mode": "replace", "path": "b.py", "old_string": "x + 1", "new_string": "x + 2"});
    let real = fs::canonicalize(dir.path()).unwrap().join("b.py");
    assert_eq!(
        run(&args, dir.path()).unwrap(),
        json!({
            "success": true,
            "diff": "--- a/b.py\n+++ b/b.py\n@@ -1,4 +1,4 @@\n import os\n \n def f(x):\n-    return x + 1\n+    return x + 2\n",
            "files_modified": [real],
            "resolved_path": real
        })
    );
}

#[test]
fn several_places_are_never_guessed() {
    let error = swap("a\nb\na\nb\na\n", "a", "c").unwrap_err();
    assert!(error.contains("3 places (lines 1, 3, 5)"), "{error}");
    let error = swap("aaa", "aa", "b").unwrap_err();
    assert!(error.contains("2 places"), "{error}");
    let error = swap("  a(  )\n\t a( )\n", "a( )\n\n", "c").unwrap_err();
    assert!(error.contains("2 places (lines 1, 2)"), "{error}");
    let error = swap("say “x”, say ‘x’ – “x”", "\"x\"", "y").unwrap_err();
    assert!(error.contains("2 places"), "{error}");
    assert_eq!(swap_all("a\nb\na\n", "a", "c"), "c\nb\nc\n");
    assert_eq!(swap_all("  a \n    a\t\n", "a  ", "c"), "  c\n    c\n");
    let many = "x\n".repeat(50);
    assert!(
        swap(&many, "x", "y")
            .unwrap_err()
            .contains("50 places (lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …)")
    );
}

#[test]
fn small_differences_are_overlooked_and_named() {
    assert_eq!(swap("if a:  \n    b\n", "if a:\n    b", "if c:\n    b").unwrap(), "if c:\n    b\n");
    assert_eq!(
        swap(
            "class A:\n    def f():\n        x\n",
            "def f():\n    x\n",
            "def g():\n    x\n    y\n"
        )
        .unwrap(),
        "class A:\n    def g():\n        x\n        y\n"
    );
    assert_eq!(
        swap("He said “yes” – ‘really’.\n", "\"yes\" - 'really'", "\"no\" - 'really'").unwrap(),
        "He said “no” – ‘really’.\n"
    );
    assert_eq!(swap("a\n\n\nb\nc\n", "a\n\nb\n", "a\n\nB\n").unwrap(), "a\nB\nc\n");
    let dir = dir_with(&[("f", "  x\n")]);
    let args = json!({"path": "f", "old_string": "\tx", "new_string": "\ty"});
    let result = run(&args, dir.path()).unwrap();
    assert_eq!(result["note"], "matched by overlooking indentation");
}

#[test]
fn line_ends_and_the_end_of_the_file_stay() {
    assert_eq!(swap("a\r\nb\r\nc\r\n", "a\nb\n", "x\ny\nz\n").unwrap(), "x\r\ny\r\nz\r\nc\r\n");
    assert_eq!(swap("a\r\nb\r\n", "a\r\nb", "b\r\na").unwrap(), "b\r\na\r\n");
    assert_eq!(
        swap("a\r\n  b  \r\n", "b\n", "c\nd\n").unwrap(),
        "a\r\n  b  \r\n".replace("b  ", "c\r\n  d")
    );
    // Mixed ends: each line keeps its own, new ones get that of the first.
    assert_eq!(swap("a\r\nb\nc\n", "a\nb\n", "a\nx\nb\n").unwrap(), "a\r\nx\r\nb\nc\n");
    assert_eq!(swap("a\nb", "b", "c").unwrap(), "a\nc");
    assert_eq!(swap("a\n  b", "b \n", "c\n").unwrap(), "a\n  c");
    assert_eq!(swap("a\nb\n", "b\n", "").unwrap(), "a\n");
    assert_eq!(swap("\u{feff}a\n", "a", "b").unwrap(), "\u{feff}b\n");
}

#[test]
fn what_is_not_there_is_told_with_what_is_there_instead() {
    let error = swap("def f():\n    x = 1\n    y = 2\n", "def f():\n    x = 1\n    z = 2\n", "")
        .unwrap_err();
    assert!(error.contains("line 1, but line 3 is \"    y = 2\""), "{error}");
    assert!(swap("a\n", "zzz", "y").unwrap_err().contains("Could not find a match"));
    assert!(swap("a\n\nb\n", "\n\n\n\n", "y").unwrap_err().contains("Could not find"));
    assert!(swap("a", "", "y").unwrap_err().contains("write_file"));
    assert!(swap("a", "a", "a").unwrap_err().contains("the same"));
}

#[test]
fn what_is_no_text_is_refused() {
    let dir = dir_with(&[("nul", "a\0b")]);
    fs::write(dir.path().join("latin"), b"caf\xe9").unwrap();
    fs::File::create(dir.path().join("big")).unwrap().set_len(1 << 34).unwrap();
    let error = |path: &str| {
        let args = json!({"path": path, "old_string": "a", "new_string": "b"});
        run(&args, dir.path()).unwrap_err().0
    };
    assert!(error("nul").contains("binary"));
    assert!(error("latin").contains("not UTF-8 text (byte 3)"));
    assert!(error("big").contains("larger than"));
    assert!(error(".").contains("directory"));
    assert!(error("none").contains("File not found"));
    assert!(
        run(&json!({"mode": "replace", "path": "f"}), dir.path())
            .unwrap_err()
            .0
            .contains("needs old_string")
    );
    assert!(run(&json!({"mode": "patch"}), dir.path()).unwrap_err().0.contains("needs patch"));
}

#[test]
fn a_line_of_5_mb_is_edited() {
    let content = format!("{}needle{}", "x".repeat(2_500_000), "é".repeat(1_250_000));
    assert_eq!(swap(&content, "needle", "pin").unwrap(), content.replace("needle", "pin"));
    assert!(swap(&content, "needles", "pin").is_err());
}

fn v4a(dir: &TempDir, body: &str) -> Result<Value, String> {
    let patch = format!("*** Begin Patch\n{body}\n*** End Patch\n");
    run(&json!({"mode": "patch", "patch": patch}), dir.path()).map_err(|e| e.0)
}

fn text(dir: &TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).unwrap()
}

fn listing(dir: &TempDir) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| (name.clone(), fs::read_to_string(dir.path().join(name)).unwrap_or_default()))
        .collect();
    all.sort();
    all
}

#[test]
fn a_patch_updates_adds_deletes_and_moves() {
    let dir = dir_with(&[("u", "one\ntwo\n"), ("d", "gone\n"), ("m", "old\n")]);
    fs::set_permissions(dir.path().join("m"), fs::Permissions::from_mode(0o755)).unwrap();
    let result = v4a(
        &dir,
        "*** Update File: u\n one\n-two\n+2\n*** Add File: sub/a\n+hello\n+\n*** Delete File: d\n\
         *** Update File: m\n*** Move to: n\n@@\n-old\n+new",
    )
    .unwrap();
    assert_eq!(text(&dir, "u"), "one\n2\n");
    assert_eq!(text(&dir, "sub/a"), "hello\n\n");
    assert_eq!(text(&dir, "n"), "new\n");
    assert!(!dir.path().join("d").exists() && !dir.path().join("m").exists());
    let mode = fs::metadata(dir.path().join("n")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(result["files_modified"].as_array().unwrap().len(), 5);
    assert_eq!(result["files_created"], json!(["n", "sub/a"]));
    assert_eq!(result["files_deleted"], json!(["d", "m"]));
    let diff = result["diff"].as_str().unwrap();
    assert!(diff.contains("--- a/u\n+++ b/u\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"), "{diff}");
    assert!(diff.contains("--- /dev/null\n+++ b/sub/a\n"), "{diff}");
    assert!(diff.contains("--- a/d\n+++ /dev/null\n"), "{diff}");
    assert!(diff.contains("--- a/m\n+++ b/n\n"), "{diff}");
}

#[test]
fn a_patch_is_applied_as_a_whole_or_not_at_all() {
    let dir = dir_with(&[("a", "1\n2\n"), ("b", "x\nx\n"), ("c", "c\n")]);
    let before = listing(&dir);
    let good = "*** Update File: a\n-1\n+one\n*** Delete File: c\n*** Add File: new/n\n+n\n";
    for bad in [
        "*** Update File: b\n-nothing\n+y",
        "*** Update File: b\n-x\n+y",
        "*** Update File: missing\n-x\n+y",
        "*** Delete File: missing",
        "*** Delete File: c",
        "*** Add File: a\n+x",
        "*** Add File: c/below\n+x",
        "*** Update File: b\n*** Move to: a\n-x\n x\n+y",
        "*** Update File: b\nno prefix",
        "*** Update File: b",
        "*** Add File: z\nno plus",
        "*** Add File:\n+x",
        "*** Something: b",
    ] {
        let error = v4a(&dir, &format!("{good}{bad}")).unwrap_err();
        assert_eq!(listing(&dir), before, "{bad}: {error}");
    }
    v4a(&dir, good).unwrap();
    assert_eq!(text(&dir, "a"), "one\n2\n");
}

#[test]
fn a_patch_that_was_cut_off_is_refused() {
    let dir = dir_with(&[("a", "1\n")]);
    let error =
        |patch: &str| run(&json!({"mode": "patch", "patch": patch}), dir.path()).unwrap_err().0;
    assert!(error("*** Begin Patch\n*** Update File: a\n-1\n+2\n").contains("cut off"));
    assert!(error("*** Update File: a\n-1\n+2\n*** End Patch").contains("*** Begin Patch"));
    assert!(error("*** Begin Patch\n*** End Patch").contains("changes nothing"));
    assert_eq!(text(&dir, "a"), "1\n");
}

const TWICE: &str = "class A:\n    def f(self):\n        x = 1\n        return x\n\nclass B:\n    def f(self):\n        x = 1\n        return x\n";

#[test]
fn anchors_say_which_of_several_places_is_meant() {
    let hunk = "-        x = 1\n+        x = 2";
    let dir = dir_with(&[("a", TWICE)]);
    let error = v4a(&dir, &format!("*** Update File: a\n@@\n{hunk}")).unwrap_err();
    assert!(error.contains("2 places (lines 3, 8)"), "{error}");
    let error = v4a(&dir, &format!("*** Update File: a\n@@ def f(self):\n{hunk}")).unwrap_err();
    assert!(error.contains("2 places"), "{error}");
    let error = v4a(&dir, &format!("*** Update File: a\n@@ class C:\n{hunk}")).unwrap_err();
    assert!(error.contains("@@ class C:"), "{error}");
    assert_eq!(text(&dir, "a"), TWICE);
    v4a(&dir, &format!("*** Update File: a\n@@ class B:\n@@     def f(self):\n{hunk}")).unwrap();
    let second = format!("{}x = 2\n        return x\n", TWICE.rsplit_once("x = 1").unwrap().0);
    assert_eq!(text(&dir, "a"), second);
    v4a(&dir, &format!("*** Update File: a\n@@ -1,2 +1,2 @@ class A:\n{hunk}")).unwrap();
    assert_eq!(text(&dir, "a"), TWICE.replace("x = 1", "x = 2"));
}

#[test]
fn hunks_are_in_order_or_unique_and_never_overlap() {
    let dir = dir_with(&[("a", "a\nx\nb\nx\nc\n")]);
    // After the first hunk only one x is left.
    v4a(&dir, "*** Update File: a\n@@\n-b\n+B\n@@\n-x\n+y").unwrap();
    assert_eq!(text(&dir, "a"), "a\nx\nB\ny\nc\n");
    v4a(&dir, "*** Update File: a\n@@\n-c\n+C\n@@\n-a\n+A").unwrap();
    assert_eq!(text(&dir, "a"), "A\nx\nB\ny\nC\n");
    let error = v4a(&dir, "*** Update File: a\n@@\n-x\n-B\n+1\n@@\n-B\n+2").unwrap_err();
    assert!(error.contains("two hunks change line 3"), "{error}");
}

#[test]
fn the_same_file_may_come_up_again_later_in_a_patch() {
    let dir = dir_with(&[("a", "1\n")]);
    v4a(&dir, "*** Update File: a\n-1\n+2\n*** Update File: ./a\n-2\n+3\n*** Add File: b\n+b\n*** Update File: b\n-b\n+c").unwrap();
    assert_eq!(text(&dir, "a"), "3\n");
    assert_eq!(text(&dir, "b"), "c\n");
    v4a(&dir, "*** Delete File: a\n*** Add File: a\n+new").unwrap();
    assert_eq!(text(&dir, "a"), "new\n");
}

#[test]
fn additions_go_below_their_anchor_or_to_the_end() {
    let dir = dir_with(&[("a", "head\ntail\n"), ("b", "no newline"), ("e", "")]);
    v4a(&dir, "*** Update File: a\n@@ head\n+1\n+2\n@@\n+last").unwrap();
    assert_eq!(text(&dir, "a"), "head\n1\n2\ntail\nlast\n");
    v4a(&dir, "*** Update File: b\n+more\n*** Update File: e\n+first").unwrap();
    assert_eq!(text(&dir, "b"), "no newline\nmore");
    assert_eq!(text(&dir, "e"), "first\n");
    let dir = dir_with(&[("a", "x\ny\nx\n")]);
    v4a(&dir, "*** Update File: a\n-x\n+z\n*** End of File").unwrap();
    assert_eq!(text(&dir, "a"), "x\ny\nz\n");
}

#[test]
fn a_patch_too_keeps_line_ends_and_unchanged_lines() {
    let dir = dir_with(&[("a", "one\r\n\ttwo  \r\nthree\r\nlast")]);
    v4a(&dir, "*** Update File: a\n one\n     two\n-three\n+3\n+4\n last\n\n").unwrap();
    assert_eq!(text(&dir, "a"), "one\r\n\ttwo  \r\n3\r\n4\r\nlast");
}

#[test]
fn binary_files_can_be_deleted_but_links_are_left_to_the_user() {
    let dir = dir_with(&[("bin", "a\0b"), ("t", "t\n")]);
    std::os::unix::fs::symlink("t", dir.path().join("link")).unwrap();
    v4a(&dir, "*** Delete File: bin").unwrap();
    assert!(!dir.path().join("bin").exists());
    assert!(v4a(&dir, "*** Delete File: link").unwrap_err().contains("symbolic link"));
    assert!(dir.path().join("t").exists());
}

#[test]
fn all_files_of_a_call_are_known_before_it_runs() {
    let dir = dir_with(&[("a", "")]);
    let real = fs::canonicalize(dir.path()).unwrap();
    let patch = "*** Begin Patch\n*** Update File: a\n*** Move to: b\n-x\n*** Add File: c\n*** Delete File: d/../e";
    let named: Vec<std::path::PathBuf> =
        ["a", "b", "c", "e"].iter().map(|name| real.join(name)).collect();
    let several = access(&json!({"mode": "patch", "patch": patch}), dir.path());
    assert_eq!(several, Access::Writes(named.clone()));
    assert_eq!(access(&json!({"path": "./a"}), dir.path()), Access::Writes(named[..1].to_vec()));
    assert_eq!(access(&json!({"mode": "patch"}), dir.path()), Access::Writes(Vec::new()));
}

#[test]
fn a_long_diff_is_cut() {
    let dir = dir_with(&[("a", &"x\n".repeat(40_000))]);
    let args = json!({"path": "a", "old_string": "x", "new_string": "y", "replace_all": true});
    let result = run(&args, dir.path()).unwrap();
    let diff = result["diff"].as_str().unwrap();
    assert!(diff.chars().count() < LONGEST_DIFF + 100 && diff.contains("[diff cut"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn replacing_a_unique_text_is_what_replacen_does(
        before in "[abé \t\n]{0,40}",
        old in "[abcé\u{2019} \t\n]{0,10}X[abcé \t\n]{0,10}",
        new in "[abcdX \t\n]{0,20}",
        after in "[abé \t\n]{0,40}",
    ) {
        prop_assume!(old != new);
        let content = format!("{before}{old}{after}");
        prop_assert_eq!(swap(&content, &old, &new).unwrap(), content.replacen(&old, &new, 1));
    }

    #[test]
    fn a_patch_made_from_two_texts_leads_from_one_to_the_other(
        old in proptest::collection::vec("[a-c]{0,2}", 1..12),
        new in proptest::collection::vec("[a-c]{0,2}", 1..12),
    ) {
        // A last line that is its own keeps the whole file one unambiguous hunk.
        let file = |lines: &[String]| format!("{}\nend\n", lines.join("\n"));
        let lines = |sign: char, lines: &[String]| -> String {
            lines.iter().flat_map(|line| [sign.to_string(), line.clone(), "\n".to_owned()]).collect()
        };
        let dir = dir_with(&[("f", &file(&old))]);
        v4a(&dir, &format!("*** Update File: f\n{}{} end", lines('-', &old), lines('+', &new))).unwrap();
        prop_assert_eq!(text(&dir, "f"), file(&new));
    }

    #[test]
    fn no_input_makes_it_panic(
        content in "[ab“\r\n\t é]{0,30}",
        old in "[ab\"\r\n\t e]{1,10}",
        new in "[ab\"\r\n\t]{0,10}",
        patch in "(\\*\\*\\* (Update|Add|Delete) File: f\n|@@ ?[ab]?\n|[-+ ][ab]?\n|\\*\\*\\* (End of File|Move to: g)\n){0,12}",
    ) {
        let _ = swap(&content, &old, &new);
        let dir = dir_with(&[("f", &content)]);
        let _ = v4a(&dir, &patch);
    }
}

#[test]
fn the_schema_is_small() {
    let schema = TOOL.schema();
    assert!(schema.description.len() <= 300, "{}", schema.description.len());
    assert!(schema.parameters.to_string().len() <= 1200, "{}", schema.parameters);
}
