//! The response to a start waits for the feed that the readers of its stream use.

use super::*;
use crate::embedded::{Attendance, EmbeddedHost, Role, start};
use crate::serve::tests::settings_in;
use protocol::View;
use protocol::{Event, PromptId, Target};

/// A host, a view on a new session of it, and that session's feed.
async fn with_feed(dir: &std::path::Path) -> (EmbeddedHost, View, Lease) {
    let settings = settings_in(dir);
    let local = start(settings, Role::Owner).unwrap();
    let host = local.handle();
    let mut view = host.attach(Target::New, Attendance::Attended);
    let Some(Event::Attached { transcript, .. }) = view.next().await else { panic!("no window") };
    let feeds = Feeds::new(&host);
    let feed = feeds.lease(&transcript.session).await.unwrap();
    (local, view, feed)
}

#[tokio::test]
async fn a_start_is_answered_once_the_feed_has_its_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (local, view, feed) = with_feed(dir.path()).await;
    let mut waits = Box::pin(until_in_feed(&feed, TurnId(1)));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waits).await;
    assert!(early.is_err(), "no such turn runs");
    view.send(Command::Prompt { id: PromptId::fresh(), text: "clarify open".to_owned() });
    let started_at = tokio::time::timeout(Duration::from_secs(30), waits).await.unwrap();
    let running =
        feed.read(|t| t.running.as_ref().map(|running| (running.turn, running.started_at)));
    assert_eq!(running, Some((TurnId(1), started_at)));
    assert!(feed.lock().runs.iter().any(|run| run.turn == TurnId(1)), "its tape is there");
    // A host that is gone delays no start.
    let waits = until_in_feed(&feed, TurnId(9));
    local.end().await;
    tokio::time::timeout(Duration::from_secs(30), waits).await.unwrap();
}

#[tokio::test]
async fn a_turn_missing_in_the_feed_delays_a_start_for_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let (local, _view, feed) = with_feed(dir.path()).await;
    let started = std::time::Instant::now();
    until_in_feed(&feed, TurnId(7)).await;
    let took = started.elapsed();
    assert!(took >= FEED_TIMEOUT && took < 5 * FEED_TIMEOUT, "{took:?}");
    local.end().await;
}
