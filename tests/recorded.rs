//! A state directory that an earlier version wrote before it was killed in the middle of a stream.
//! It opens for ever: each version of the schema has its own in `tests/data`.

use std::fs;
use std::path::Path;

use protocol::{Body, Command, SessionId, Stop, Target};

use crate::support::{Home, TestView, demo, start, wakeups};

/// Copies a recorded state directory to where the host of this home looks for its own.
fn restore(home: &Home, name: &str) {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    copy(&data, &home.state());
}

/// The session of that title.
fn titled(home: &Home, title: &str) -> SessionId {
    home.reader().find(title).unwrap().expect("a session of that title")
}

// R09
#[test]
fn sessions_of_an_earlier_version_are_listed_as_they_were() {
    let home = Home::new();
    restore(&home, "state-v5");
    let mut sessions = home.reader().sessions(100).unwrap();
    sessions.sort_by(|a, b| a.id.0.cmp(&b.id.0));
    let seen = |row: &protocol::SessionRow| (row.title.clone(), row.rows);
    let seen: Vec<_> = sessions.iter().map(seen).collect();
    let task = |n: usize| seen.iter().filter(|(_, rows)| *rows == n as u64).count();
    for (title, rows) in [
        ("Finished work", 16),
        ("A goal", 6),
        ("A question", 2),
        ("A held wakeup", 6),
        ("Delegated", 9),
        ("A watch", 6),
        ("Cut off", 3),
    ] {
        assert!(seen.contains(&(title.to_owned(), rows)), "{title}: {seen:?}");
    }
    assert_eq!((seen.len(), task(2)), (10, 4), "three delegated sessions: {seen:?}");
    for row in &sessions {
        let loaded = home.stored(&row.id);
        assert_eq!(loaded.damage, [""; 0], "{}", row.title);
        assert_eq!(home.reader().rows(&row.id).unwrap().len() as u64, row.rows);
    }
}

// R07 W16 W22
#[tokio::test]
async fn what_an_earlier_version_left_unfinished_is_settled_once() {
    let home = Home::new();
    restore(&home, "state-v5");
    let (cut, held) = (titled(&home, "Cut off"), titled(&home, "A held wakeup"));
    let done = titled(&home, "Finished work");
    let host = start(home.settings(demo()));

    // The text that had been streamed is in the session, marked as partial.
    let view = TestView::attach(&host, Target::Id(cut)).await;
    let partial = view.transcript.rows.iter().find_map(|row| match &row.body {
        Body::Assistant(answer) if answer.stop == Stop::Partial => Some(answer.text.clone()),
        _ => None,
    });
    assert!(partial.is_some_and(|text| text.len() > 200), "{:#?}", view.transcript.rows);

    let view = TestView::attach(&host, Target::Id(done)).await;
    assert_eq!(wakeups(&view.transcript.rows).len(), 1, "it was delivered");

    let mut view = TestView::attach(&host, Target::Id(held)).await;
    assert!(view.transcript.held.is_some(), "{:#?}", view.transcript);
    assert_eq!(wakeups(&view.transcript.rows).len(), 0);
    view.send(Command::WakeNow);
    view.turn(3).await;
    assert_eq!(wakeups(&view.transcript.rows).len(), 1);
    host.stop().await;
}
