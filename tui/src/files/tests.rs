use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_export_never_goes_over_a_file_that_is_there() {
    let dir = folder();
    let path = text(&dir.path().join("notes.md"));
    let first = save(&path, "unused", "one", None).unwrap();
    assert_eq!(first, Saved { path: path.clone(), existing: None });
    let second = save(&path, "unused", "two", None).unwrap();
    let other = text(&dir.path().join("notes-2.md"));
    assert_eq!(second, Saved { path: other.clone(), existing: Some(path.clone()) });
    assert_eq!(fs::read_to_string(&path).unwrap(), "one");
    assert_eq!(fs::read_to_string(other).unwrap(), "two");
}

#[test]
fn an_export_to_a_folder_gets_the_name_of_the_host() {
    let dir = folder();
    let home = text(dir.path());
    let saved = save("~", "pump.md", "x", Some(&home)).unwrap();
    assert_eq!(saved.path, text(&dir.path().join("pump.md")));
    let why = save("~/none/pump.md", "pump.md", "x", Some(&home)).unwrap_err();
    assert!(why.contains("none/pump.md: no such file or directory"), "{why}");
}

#[test]
fn paths_to_upload_may_be_typed_or_pasted() {
    let dir = folder();
    let home = text(dir.path());
    fs::write(dir.path().join("my notes.md"), "hello").unwrap();
    for path in ["~/my notes.md", "~/my\\ notes.md", " '~/my notes.md' ", "\"~/my notes.md\""] {
        let read = read(path, Some(&home));
        assert_eq!(read, Ok(("my notes.md".to_owned(), b"hello".to_vec())), "{path}");
    }
}

// S05
#[test]
fn what_cannot_be_uploaded_says_why() {
    let dir = folder();
    let home = text(dir.path());
    let why = |path: &str| read(path, Some(&home)).unwrap_err();
    assert_eq!(why("~/none"), "no such file or directory");
    assert_eq!(why("~"), "it is a directory; only files can be uploaded");
    assert_eq!(why("/dev/null"), "it is not a regular file");
    let big = File::create(dir.path().join("big")).unwrap();
    big.set_len(LARGEST).unwrap();
    assert!(read("~/big", Some(&home)).is_ok_and(|(_, data)| data.len() as u64 == LARGEST));
    big.set_len(LARGEST + 1).unwrap();
    assert_eq!(why("~/big"), "it is larger than 20 MB");
}
