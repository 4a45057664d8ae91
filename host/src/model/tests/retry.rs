//! Retries, under a paused clock.

use std::time::Duration;

use tokio::time::Instant;

use super::{collect, completion, failure, prompt, text};
use crate::model::error::REFUSED_PAUSE;
use crate::model::retry::Retry;
use crate::model::script::{Step, scripted};
use crate::model::{Chunk, Class, Error, Model};

fn failed(class: Class, retry_after: Option<Duration>) -> Vec<Step> {
    vec![Step::Fail(Error { class, message: "no".to_owned(), retry_after })]
}

fn pauses(items: &[Result<Chunk, Error>]) -> Vec<(u32, Duration)> {
    items
        .iter()
        .filter_map(|item| match item {
            Ok(Chunk::Retrying { attempt, after, .. }) => Some((*attempt, *after)),
            _ => None,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_retried_with_reported_growing_pauses() {
    for class in [Class::RateLimit, Class::Server, Class::Unreachable] {
        let script = scripted([
            failed(class, None),
            failed(class, None),
            failed(class, None),
            vec![Step::text("at last")],
        ]);
        let since = Instant::now();
        let items = collect(Retry::new(script.clone(), 3).stream(prompt("x"))).await;
        let pauses = pauses(&items);
        assert_eq!(pauses.iter().map(|p| p.0).collect::<Vec<_>>(), [2, 3, 4]);
        for ((_, pause), least) in pauses.iter().zip([2, 4, 8]) {
            let least = Duration::from_secs(least);
            assert!(*pause >= least && *pause <= least.mul_f64(1.5), "{pauses:?}");
        }
        let total: Duration = pauses.iter().map(|p| p.1).sum();
        assert!(since.elapsed() >= total && since.elapsed() <= total + Duration::from_secs(1));
        assert_eq!(completion(&items).text, "at last");
        assert!(script.requests().iter().all(|r| *r == prompt("x")));
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_last_retry_the_error_is_final() {
    let script = scripted((0..9).map(|_| failed(Class::Server, None)));
    let items = collect(Retry::new(script.clone(), 3).stream(prompt("x"))).await;
    assert_eq!(failure(&items).class, Class::Server);
    assert_eq!(script.requests().len(), 4);
}

// W20: a refused key makes no retry storm.
#[tokio::test(start_paused = true)]
async fn failures_that_do_not_pass_are_not_retried() {
    for class in Class::ALL {
        let passing = [Class::RateLimit, Class::Server, Class::Unreachable, Class::Truncated];
        let script = scripted([failed(class, None), vec![Step::text("again")]]);
        let items = collect(Retry::new(script.clone(), 3).stream(prompt("x"))).await;
        let tried = script.requests().len();
        assert_eq!(tried, if passing.contains(&class) { 2 } else { 1 }, "{class:?}");
        assert_eq!(items.last().is_some_and(Result::is_err), tried == 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_pause_the_provider_asks_for_is_kept_up_to_ten_minutes() {
    let asked = Duration::from_mins(10);
    let script = scripted([failed(Class::RateLimit, Some(asked)), vec![Step::text("ok")]]);
    let since = Instant::now();
    let items = collect(Retry::new(script, 3).stream(prompt("x"))).await;
    assert_eq!(pauses(&items), [(2, asked)]);
    assert!(since.elapsed() >= asked);

    let longer = asked + Duration::from_secs(1);
    let script = scripted([failed(Class::RateLimit, Some(longer)), vec![Step::text("ok")]]);
    let items = collect(Retry::new(script, 3).stream(prompt("x"))).await;
    assert_eq!(failure(&items).retry_after, Some(longer));
    assert_eq!(items.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_refuses_connections_is_given_up_within_seconds() {
    let script = scripted((0..4).map(|_| failed(Class::Unreachable, Some(REFUSED_PAUSE))));
    let since = Instant::now();
    let items = collect(Retry::new(script, 3).stream(prompt("x"))).await;
    assert_eq!(failure(&items).class, Class::Unreachable);
    let millis: Vec<u128> = pauses(&items).iter().map(|p| p.1.as_millis()).collect();
    assert_eq!(millis, [500, 1_000, 2_000]);
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_broken_answer_is_retried_only_if_nothing_was_streamed() {
    let script = scripted([vec![Step::Cut], vec![Step::text("whole")]]);
    let items = collect(Retry::new(script, 3).stream(prompt("x"))).await;
    assert_eq!(completion(&items).text, "whole");

    for last in [Step::Cut, Step::fail(Class::Server, "503")] {
        let script = scripted([vec![Step::text("ha"), last], vec![Step::text("whole")]]);
        let items = collect(Retry::new(script.clone(), 3).stream(prompt("x"))).await;
        assert!(matches!(failure(&items).class, Class::Truncated | Class::Server));
        assert_eq!(text(&items), "ha");
        assert_eq!(script.requests().len(), 1);
    }
}
