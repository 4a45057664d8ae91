//! What a start tells of its turn rests on what the readers of its stream will see.

use super::*;
use crate::embedded::{Attendance, EmbeddedHost, Role, start};
use crate::serve::tests::settings_in;
use protocol::View;
use protocol::{Event, PromptId, Target};

/// A host, a view on a new session of it, and that session's feed.
async fn followed(dir: &std::path::Path) -> (EmbeddedHost, View, Lease) {
    let settings = settings_in(dir);
    let local = start(settings.clone(), Role::Owner).unwrap();
    let access = local.handle();
    let mut host = access.attach(Target::New, Attendance::Attended);
    let Some(Event::Attached { transcript, .. }) = host.next().await else { panic!("no window") };
    let feeds = Feeds::new(&access, &std::sync::Arc::new(settings));
    let feed = feeds.lease(&transcript.session).await.unwrap();
    (local, host, feed)
}

#[tokio::test]
async fn a_start_is_told_when_the_stream_of_its_turn_is_there_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let (local, host, feed) = followed(dir.path()).await;
    let mut waits = Box::pin(told(&feed, TurnId(1)));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waits).await;
    assert!(early.is_err(), "no such turn runs");
    host.send(Command::Prompt { id: PromptId::fresh(), text: "clarify open".to_owned() });
    let began = tokio::time::timeout(Duration::from_secs(30), waits).await.unwrap();
    let running =
        feed.look(|t| t.running.as_ref().map(|running| (running.turn, running.started_at)));
    assert_eq!(running.map(|(turn, at)| (turn, secs(at))), Some((TurnId(1), began)));
    assert!(feed.lock().runs.iter().any(|run| run.turn == TurnId(1)), "its tape is there");
    // A host that is gone keeps nobody waiting.
    let waits = told(&feed, TurnId(9));
    local.end().await;
    tokio::time::timeout(Duration::from_secs(30), waits).await.unwrap();
}

#[tokio::test]
async fn a_turn_that_no_reader_will_ever_see_keeps_a_start_waiting_for_seconds_only() {
    let dir = tempfile::tempdir().unwrap();
    let (local, _host, feed) = followed(dir.path()).await;
    let begun = std::time::Instant::now();
    told(&feed, TurnId(7)).await;
    let took = begun.elapsed();
    assert!(took >= TOLD && took < 5 * TOLD, "{took:?}");
    local.end().await;
}
