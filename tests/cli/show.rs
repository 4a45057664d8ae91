//! Looking at stored sessions.

use host::store::{Durability, Meta, Record, Store};
use protocol::SessionId;

use super::*;

/// Writes records as a host does.
fn store(home: &Home, records: Vec<Record>) {
    let (reports, _kept) = tokio::sync::mpsc::unbounded_channel();
    let store = Store::open(&home.state(), reports).unwrap();
    store.write(records, Durability::Barrier);
    store.close().unwrap();
}

#[test]
fn a_list_that_is_empty_because_all_is_archived_says_so() {
    let home = Home::new();
    let list = |home: &Home| home.run(&["sessions", "list"]).out;
    assert_eq!(list(&home), "No sessions yet.\n");
    home.run(&["-z", "hello"]);
    home.run(&["sessions", "archive", &home.newest()]);
    assert!(list(&home).starts_with("The only session is archived;"), "{}", list(&home));
    home.run(&["-z", "hello"]);
    home.run(&["sessions", "archive", &home.newest()]);
    assert!(list(&home).starts_with("All 2 sessions are archived;"), "{}", list(&home));
    assert!(list(&home).contains("--all"), "{}", list(&home));
}

#[test]
fn an_empty_home_has_no_sessions_and_stays_empty() {
    let home = Home::new();
    let ran = home.run(&["sessions", "list"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "No sessions yet.\n", ""));
    assert_eq!(home.sessions(), [] as [serde_json::Value; 0]);
    let ran = home.run(&["sessions", "show", "x"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(!home.state().exists());
}

#[test]
fn lists_and_transcripts_print_no_control_character() {
    let home = Home::new();
    home.run(&["-z", "evil \u{1b}]0;owned\u{7}\u{1b}[31m \u{202e}x"]);
    for args in [&["sessions", "list"][..], &["sessions", "show", &home.newest()]] {
        let ran = home.run(args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.out.contains("evil"), "{ran:?}");
        assert!(!controls(&ran.out), "{:?}", ran.out);
    }
    // JSON is for programs: everything is in it, escaped.
    let rows = home.rows(&home.newest());
    assert!(rows.contains("\\u001b]0;owned\\u0007"), "{rows}");
}

#[test]
fn three_thousand_sessions_are_listed_newest_first() {
    let home = Home::new();
    let session = |n: i64| {
        Record::Session(Meta {
            id: SessionId(format!("20260101_000000_{n:06}")),
            source: "tui".to_owned(),
            started_at: n,
            active_at: n,
            preview: format!("prompt {n}"),
            ..Meta::default()
        })
    };
    store(&home, (1..=3_000).map(session).collect());
    let ran = home.run(&["sessions", "list"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.out.lines().count(), 1 + 20, "{ran:?}");
    assert!(ran.out.lines().nth(1).unwrap().contains("prompt 3000"), "{ran:?}");
    let all = home.sessions();
    assert_eq!(all.len(), 3_000);
    assert_eq!(all[2_999]["id"], "20260101_000000_000001");
}

#[test]
fn what_was_granted_for_ever_holds_everywhere() {
    let home = Home::new();
    let check = ["approvals", "check", "--", "rm -rf build"];
    assert!(home.run(&check).out.starts_with("ask\nrule: recursive-delete\n"));
    store(&home, vec![Record::Granted { rule: "recursive-delete".to_owned() }]);
    assert_eq!(home.run(&check).out, "allow\n");
    let ran = home.run(&["-z", "approval"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}
