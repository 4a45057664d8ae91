//! Projects and what is filed in them; and the look that says whether the store can be written.

use std::time::Duration;

use super::*;
use crate::store::{Project, ProjectChange, probe};

fn project(id: &str, at: Millis) -> Project {
    Project { id: id.into(), name: format!("project {id}"), color: Some("#fff".into()), at }
}

fn place(session: &str, project: Option<&str>) -> Record {
    let project = project.map(str::to_owned);
    Record::Projects(ProjectChange::Placed { session: id(session), project })
}

fn placed(store: &TestStore) -> Vec<(String, String)> {
    let all = store.reader().placed().unwrap();
    let mut all: Vec<_> = all.into_iter().map(|(session, project)| (session.0, project)).collect();
    all.sort();
    all
}

#[test]
fn a_session_is_in_one_project_at_most_and_in_none_that_is_gone() {
    let mut store = TestStore::new();
    let make = |id: &str, at| Record::Projects(ProjectChange::Project(project(id, at)));
    store.put(vec![make("b", 2), make("a", 1), session("s", 1), session("t", 1)]);
    store.put(vec![place("s", Some("a")), place("t", Some("a")), place("s", Some("b"))]);
    // One that does not exist takes nothing in.
    store.put(vec![place("t", Some("none"))]);
    let pair = |session: &str, project: &str| (session.to_owned(), project.to_owned());
    assert_eq!(placed(&store), [pair("s", "b"), pair("t", "a")]);
    let renamed = Project { name: "other".into(), color: None, ..project("a", 1) };
    store.put(vec![Record::Projects(ProjectChange::Project(renamed.clone()))]);
    assert_eq!(placed(&store).len(), 2, "to rename it takes nothing out");

    let mut store = store.again();
    assert_eq!(store.reader().projects().unwrap(), [renamed, project("b", 2)]);
    assert_eq!(placed(&store).len(), 2);
    store.put(vec![Record::Projects(ProjectChange::Gone { project: "a".into() })]);
    assert_eq!(placed(&store), [pair("s", "b")]);
    store.put(vec![Record::Deleted { session: id("s") }]);
    assert_eq!(placed(&store), []);
    // A late word does not bring it back.
    store.put(vec![place("s", Some("b")), place("t", Some("b")), place("t", None)]);
    assert_eq!(placed(&store), []);
    assert_eq!(store.store.refused(), 0);
}

#[test]
fn the_store_can_be_written_or_it_is_said_why_not_and_nothing_changes() {
    let mut store = TestStore::new();
    store.put(vec![session("s", 1), add("s", user(1, "one"))]);
    let patience = Duration::from_millis(50);
    probe(&store.state(), patience).unwrap();
    let conn = rusqlite::Connection::open(store.state().database()).unwrap();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(probe(&store.state(), patience).is_err());
    conn.execute_batch("ROLLBACK").unwrap();
    drop(conn);
    probe(&store.state(), patience).unwrap();
    assert!(probe(&StateDir::new(store.state().join("nowhere")), patience).is_err());
    assert!(!store.state().join("nowhere").exists());
    store.put(vec![add("s", user(2, "two"))]);
    let store = store.again();
    assert_eq!(store.reader().rows(&id("s")).unwrap().len(), 2);
    assert_eq!(store.reader().count().unwrap(), 1);
}

#[test]
fn looks_at_the_store_do_not_let_its_log_grow_for_ever() {
    let mut store = TestStore::new();
    store.put(vec![session("s", 1)]);
    for _ in 0..1_500 {
        probe(&store.state(), Duration::from_secs(2)).unwrap();
    }
    let log = std::fs::metadata(store.state().database_with("-wal")).unwrap().len();
    assert!(log < 5 << 20, "{log} bytes: nobody else writes, so nobody else empties it");
    let store = store.again();
    assert_eq!(store.reader().sessions(10).unwrap().len(), 1);
}
