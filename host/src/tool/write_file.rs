//! `write_file`: a whole file in one go, directories included. Parts of files are `patch`'s.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::disk::{self, Staged};
use super::{Access, Error, Run, Tool, parse};
use crate::toolset::Toolset;

#[derive(Deserialize)]
struct Args {
    path: String,
    content: String,
}

pub(super) const TOOL: Tool = Tool {
    name: "write_file",
    description: "Create or overwrite a file with the given content, making missing \
                  directories. To change a part of a file use patch.",
    parameters,
    toolset: Toolset::File,
    run: Run::OnFiles { run, access },
};

fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "File, relative to the working directory, absolute or ~/…"},
            "content": {"type": "string", "description": "The whole new text"},
            "cross_profile": {"type": "boolean", "default": false, "description": "Ignored"}
        },
        "required": ["path", "content"]
    })
}

/// Writes the file.
fn run(args: &Value, cwd: &Path) -> Result<Value, Error> {
    let Args { path, content } = parse(args)?;
    if path.is_empty() {
        return Err(Error("path is empty".to_owned()));
    }
    let target = disk::resolve(&path, cwd);
    if path.ends_with('/') && !target.is_dir() {
        return Err(Error(format!("{path} names a directory; give the file's name too")));
    }
    let staged = Staged::write(&target, &target, &path, &content)?;
    let dirs_created = staged.dirs_made();
    staged.commit().map_err(|e| Error(format!("cannot write {path}: {e}")))?;
    Ok(json!({
        "bytes_written": content.len(),
        "dirs_created": dirs_created,
        "resolved_path": target,
        "files_modified": [target],
    }))
}

fn access(args: &Value, cwd: &Path) -> Access {
    Access::Writes(disk::named(args, "path", cwd))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn write(cwd: &Path, path: &str, content: &str) -> Result<Value, Error> {
        run(&json!({"path": path, "content": content, "cross_profile": true}), cwd)
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_made_with_its_directories() {
        let dir = tempfile::tempdir().unwrap();
        let result = write(dir.path(), "a/b/c.txt", "hé\n").unwrap();
        let real = fs::canonicalize(dir.path()).unwrap().join("a/b/c.txt");
        assert_eq!(
            result,
            json!({"bytes_written": 4, "dirs_created": true, "resolved_path": real,
                   "files_modified": [real]})
        );
        assert_eq!(fs::read_to_string(real).unwrap(), "hé\n");
        assert_eq!(write(dir.path(), "a/b/c.txt", "").unwrap()["dirs_created"], false);
    }

    #[test]
    fn overwriting_keeps_the_mode_and_leaves_nothing_else_behind() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.sh");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o750)).unwrap();
        write(dir.path(), "run.sh", "new").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(names(dir.path()), ["run.sh"]);
    }

    #[test]
    fn a_reader_that_has_the_old_file_open_still_sees_all_of_it() {
        use std::io::Read;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "old text").unwrap();
        let mut reader = fs::File::open(dir.path().join("f")).unwrap();
        write(dir.path(), "f", "n").unwrap();
        let mut seen = String::new();
        reader.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "old text");
    }

    #[test]
    fn links_are_followed_also_to_files_that_do_not_exist_yet() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("real"), "old").unwrap();
        symlink("real", dir.path().join("link")).unwrap();
        symlink("later", dir.path().join("dangling")).unwrap();
        write(dir.path(), "link", "new").unwrap();
        write(dir.path(), "dangling", "made").unwrap();
        assert!(fs::symlink_metadata(dir.path().join("link")).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(dir.path().join("real")).unwrap(), "new");
        assert!(fs::symlink_metadata(dir.path().join("dangling")).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(dir.path().join("later")).unwrap(), "made");
    }

    #[test]
    fn what_cannot_be_written_is_refused_in_clear_words() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        let error = |path: &str| write(dir.path(), path, "x").unwrap_err().0;
        assert!(error("d").contains("d is a directory"), "{}", error("d"));
        assert!(error("new/").contains("names a directory"));
        assert!(error("loop").contains("symbolic links"), "{}", error("loop"));
        assert!(error("file/below").contains("cannot write file/below"));
        assert!(error("a\0b").contains("cannot write"));
        assert!(error("").contains("empty"));
        assert!(error("/dev/null").contains("device"));
        assert_eq!(names(dir.path()), ["d", "file", "loop"]);
        assert!(run(&json!({"path": "x"}), dir.path()).unwrap_err().0.contains("content"));
    }

    #[test]
    fn the_longest_name_is_written_and_a_longer_path_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &"n".repeat(255), "x").unwrap();
        assert!(write(dir.path(), &"d/".repeat(50_000), "x").is_err());
        assert_eq!(names(dir.path()).len(), 1);
    }

    #[test]
    fn one_file_has_one_path_whatever_it_is_called() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        symlink("d", dir.path().join("e")).unwrap();
        let of = |path: &str| match access(&json!({"path": path}), dir.path()) {
            Access::Writes(paths) => paths,
            other => panic!("{other:?}"),
        };
        assert_eq!(of("d/new"), of("./e/../d/x/../new"));
        assert_eq!(of("d/new"), of("e/new"));
        assert_eq!(access(&json!({}), dir.path()), Access::Writes(Vec::new()));
        let home = std::env::home_dir().unwrap();
        assert_eq!(of("~/no such file").len(), 1);
        assert!(of("~/no such file")[0].starts_with(fs::canonicalize(&home).unwrap_or(home)));
    }

    #[test]
    fn the_schema_is_small() {
        let schema = TOOL.schema();
        assert!(schema.description.len() <= 300, "{}", schema.description.len());
        assert!(schema.parameters.to_string().len() <= 1200, "{}", schema.parameters);
    }
}
