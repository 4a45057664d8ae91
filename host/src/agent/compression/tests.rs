//! Which rows a compression replaces, what the model reads instead, and when it happens.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;
use tokio::sync::mpsc;

use super::*;
use crate::agent::messages::messages;
use crate::model::Error;
use crate::model::script::{Scripted, Step, scripted};
use crate::turn_link::{TurnLink, TurnMessage};
use protocol::{Assistant, CallId, SessionId, ToolCall, ToolResult, TurnId, Wakeup, WakeupKind};

/// A transcript that is being written.
#[derive(Debug, Default)]
struct Rows(Vec<Arc<Row>>, u64);

impl Rows {
    fn add(&mut self, body: Body) {
        let n = self.0.len() as u64 + 1;
        self.0.push(Arc::new(Row { n, turn: TurnId(self.1), at: 0, cut: 0, body }));
    }

    fn user(&mut self, text: impl Into<String>) {
        self.1 += 1;
        self.add(Body::User { text: text.into() });
    }

    fn answer(&mut self, text: impl Into<String>, calls: &[&str]) {
        let call = |id: &&str| ToolCall {
            id: CallId((*id).to_owned()),
            name: "terminal".to_owned(),
            args: Value::Null,
        };
        let calls = calls.iter().map(call).collect();
        self.add(Body::Assistant(Assistant { text: text.into(), calls, ..Assistant::default() }));
    }

    fn result(&mut self, call: &str, text: impl Into<String>) {
        self.add(Body::Tool(ToolResult {
            call: CallId(call.to_owned()),
            name: "terminal".to_owned(),
            text: text.into(),
            failed: false,
            millis: 1,
            unanswered: false,
        }));
    }

    fn woken(&mut self, text: &str) {
        self.add(Body::Wakeup(Wakeup {
            process: protocol::ProcessId("proc_1".to_owned()),
            kind: WakeupKind::Exit,
            ordinal: 0,
            command: "make".to_owned(),
            exit: None,
            pattern: None,
            text: text.to_owned(),
        }));
    }

    fn summary(&mut self, chosen: &Replacement) {
        let (head, tail) = (chosen.head, chosen.tail);
        let text = "summary".to_owned();
        self.add(Body::Summary(Summary { text, head, tail, ..Summary::default() }));
    }

    /// The numbers of the rows that the model gets.
    fn context(&self) -> Vec<u64> {
        context(&self.0).iter().map(|r| r.n).collect()
    }
}

/// A conversation of so many prompts with their answers, of that many bytes each.
fn chat(prompts: usize, bytes: usize) -> Rows {
    let mut rows = Rows::default();
    for i in 1..=prompts {
        rows.user(format!("question {i} {}", "q".repeat(bytes)));
        rows.answer(format!("answer {i} {}", "a".repeat(bytes)), &[]);
    }
    rows
}

const RULES: Compression = Compression {
    enabled: true,
    threshold: 0.5,
    target_ratio: 0.2,
    protect_first: 3,
    protect_last: 20,
};

#[test]
fn the_trigger_leaves_room_for_the_answer() {
    let at = |length, max_tokens| budget::trigger(&RULES, length, max_tokens);
    // Half of a large window; three quarters of one below 512 k.
    assert_eq!(at(1_000_000, 0), 500_000);
    assert_eq!(at(200_000, 0), 150_000);
    assert_eq!(at(200_000, 40_000), 120_000);
    // 64 000 at least; where that is the window or more, 85 % of it.
    assert_eq!(at(80_000, 0), 64_000);
    assert_eq!(at(64_000, 0), 54_400);
    assert_eq!(at(8_000, 0), 6_800);
    assert_eq!(at(8_000, 1_000), 5_950);
    // An answer that takes the whole window is a mistake of the configuration.
    assert_eq!(at(8_000, 9_000), 3_400);
    let eager = Compression { threshold: 0.9, ..RULES };
    assert_eq!(budget::trigger(&eager, 1_000_000, 0), 900_000);
}

#[test]
fn the_first_messages_and_the_budget_at_the_end_are_kept() {
    // 104 tokens a row.
    let rows = chat(20, 390);
    let chosen = replacement::choose(&rows.0, &RULES, 4_000, 0).unwrap();
    assert_eq!(chosen.head, 3);
    // The budget of 800 takes 7 rows; the soft one of 1 200, up to 20 messages, 11.
    assert_eq!(chosen.tail, 30);
    assert_eq!(chosen.rows.first().map(|r| r.n), Some(4));
    assert_eq!(chosen.rows.last().map(|r| r.n), Some(29));
    let few = Compression { protect_last: 2, ..RULES };
    assert_eq!(replacement::choose(&rows.0, &few, 4_000, 0).unwrap().tail, 34);
    assert_eq!(replacement::choose(&rows.0, &few, 4_000, 1).unwrap().tail, 38, "half of it");
    let all = Compression { protect_first: 0, ..RULES };
    assert_eq!(replacement::choose(&rows.0, &all, 4_000, 0).unwrap().head, 0);
    assert_eq!(
        replacement::choose(&rows.0, &RULES, 1_000_000, 0),
        None,
        "all of it fits into the tail"
    );
    assert_eq!(replacement::choose(&[], &RULES, 4_000, 0), None);
}

#[test]
fn a_prompt_as_large_as_the_budget_is_not_kept_as_the_head() {
    let mut rows = Rows::default();
    rows.user("q".repeat(20_000));
    for i in 0..10 {
        rows.answer(format!("{i}{}", "a".repeat(400)), &[]);
    }
    assert_eq!(replacement::choose(&rows.0, &RULES, 4_000, 0).unwrap().head, 0);
}

#[test]
fn at_least_three_messages_are_kept_where_they_leave_room() {
    let rows = chat(10, 2_000);
    let tail = |base, squeeze| replacement::choose(&rows.0, &RULES, base, squeeze).unwrap().tail;
    // 506 tokens a row: three of them are more than a fifth of 4 000 and less than half.
    assert_eq!(tail(4_000, 0), 18);
    assert_eq!(tail(2_100, 0), 19, "two leave room");
    assert_eq!(tail(4_000, 1), 20, "squeezed: the last answer");
}

#[test]
fn calls_and_their_results_are_never_separated() {
    let mut rows = chat(3, 400);
    rows.user("do it");
    rows.answer("both", &["a", "b"]);
    rows.result("b", "x".repeat(9_000));
    rows.result("a", "y".repeat(9_000));
    // Far beyond any budget, and still with its results: the model must answer them.
    let chosen = replacement::choose(&rows.0, &RULES, 1_000, 0).unwrap();
    assert_eq!(chosen.tail, 8);
    assert_eq!(chosen.requests.iter().map(|r| r.n).collect::<Vec<_>>(), [7]);
    // The head never ends within them either.
    let mut rows = Rows::default();
    rows.user("go");
    rows.answer("", &["a", "b", "c"]);
    for call in ["a", "b", "c"] {
        rows.result(call, "done");
    }
    for i in 0..10 {
        rows.answer(format!("{i}{}", "a".repeat(400)), &[]);
    }
    assert_eq!(replacement::choose(&rows.0, &RULES, 2_000, 0).unwrap().head, 1);
}

#[test]
fn unanswered_rows_are_kept_whatever_their_size() {
    let mut rows = chat(10, 400);
    rows.woken(&"w".repeat(5_000));
    rows.woken("second");
    rows.user("q".repeat(9_000));
    let chosen = replacement::choose(&rows.0, &RULES, 1_000, 3).unwrap();
    assert_eq!(chosen.tail, 21);
    assert_eq!(chosen.requests, []);
}

#[test]
fn a_summary_quotes_the_prompt_of_a_long_turn() {
    let mut rows = chat(2, 100);
    rows.user("paint the bikeshed in #c0ffee");
    for i in 0..30 {
        let id = format!("c{i}");
        rows.answer(format!("step {i}"), &[&id]);
        rows.result(&id, "r".repeat(600));
    }
    let first = replacement::choose(&rows.0, &RULES, 4_000, 0).unwrap();
    assert!(first.tail > 10, "{}", first.tail);
    let text = prompt::summary_text("what happened", &first.requests, 4_000);
    assert!(text.contains("what happened") && text.contains("#c0ffee"), "{text}");
    // Also the second time, when the prompt has long left the context.
    rows.summary(&first);
    for i in 30..60 {
        let id = format!("c{i}");
        rows.answer(format!("step {i}"), &[&id]);
        rows.result(&id, "r".repeat(600));
    }
    let second = replacement::choose(&rows.0, &RULES, 4_000, 0).unwrap();
    assert_eq!(second.requests.iter().map(|r| r.n).collect::<Vec<_>>(), [5]);
}

#[test]
fn a_second_compression_updates_the_summary() {
    let mut rows = chat(20, 390);
    let chosen = replacement::choose(&rows.0, &RULES, 4_000, 0).unwrap();
    rows.summary(&chosen);
    assert_eq!(rows.context(), [vec![1, 2, 3, 41], (30..=40).collect()].concat());
    assert_eq!(replacement::choose(&rows.0, &RULES, 4_000, 0), None, "nothing has come since");
    let more = chat(10, 390).0;
    for row in more {
        rows.add(row.body.clone());
    }
    let again = replacement::choose(&rows.0, &RULES, 4_000, 0).unwrap();
    assert_eq!((again.head, again.tail), (0, 51));
    assert_eq!(again.earlier_summary.as_ref().map(|s| s.text.as_str()), Some("summary"));
    assert_eq!(again.rows.iter().map(|r| r.n).collect::<Vec<_>>(), {
        [vec![1, 2, 3], (30..=40).collect(), (42..=50).collect()].concat()
    });
    let request = prompt::request(&again, Some("the colours"), 2_000, 100_000);
    assert!(request.contains("<notes>\nsummary\n</notes>") && request.contains("the colours"));
    rows.summary(&again);
    assert_eq!(rows.context(), [vec![62], (51..=61).collect()].concat(), "one summary, not two");
}

#[test]
fn an_excerpt_is_bounded_and_shortens_all_parts_alike() {
    let mut rows = chat(40, 5_000);
    rows.answer("calling", &["a"]);
    rows.result("a", "é".repeat(100_000));
    rows.user("next");
    rows.answer("last", &[]);
    let chosen = replacement::choose(&rows.0, &RULES, 1_000, 1).unwrap();
    for bytes in [200_000, 30_000, 2_000] {
        let text = prompt::request(&chosen, None, 2_000, bytes);
        assert!(text.len() < bytes + 3_000, "{} for {bytes}", text.len());
    }
    let text = prompt::request(&chosen, None, 2_000, 60_000);
    assert!((3..=40).all(|i| text.contains(&format!("question {i} "))), "{text}");
}

#[test]
fn a_secret_in_a_summary_is_redacted() {
    let text = prompt::summary_text("the key is sk-0123456789abcdefghijABCDEFGHIJ", &[], 4_000);
    assert!(!text.contains("0123456789abcdefghij"), "{text}");
}

/// One piece of a random transcript: what, how large.
fn piece(rows: &mut Rows, what: u8, size: u16) {
    let text = "x".repeat(usize::from(size) * 4);
    let n = rows.0.len();
    match what % 9 {
        0 | 1 => rows.user(text),
        2 => rows.woken(&text),
        3 => rows.add(Body::Note { text }),
        4 => rows.add(Body::Failure { message: text }),
        5 => rows.answer(text, &[]),
        _ => {
            let ids: Vec<_> = (0..=what % 3).map(|i| format!("{n}-{i}")).collect();
            let refs: Vec<_> = ids.iter().map(String::as_str).collect();
            rows.answer("calls", &refs);
            for id in ids.iter().rev() {
                rows.result(id, text.clone());
            }
        }
    }
}

proptest! {
    #[test]
    fn a_compressed_context_is_complete_and_in_order(
        rounds in proptest::collection::vec(
            (proptest::collection::vec((any::<u8>(), 0..400_u16), 0..40), 0..3_u32, 100..9_000_u64),
            1..5,
        ),
        first in 0..5_usize,
        last in 0..10_usize,
    ) {
        let rules = Compression { protect_first: first, protect_last: last, ..RULES };
        let mut rows = Rows::default();
        for (pieces, squeeze, base) in rounds {
            for (what, size) in pieces {
                piece(&mut rows, what, size);
            }
            let before: BTreeSet<u64> = rows.context().into_iter().collect();
            let Some(chosen) = replacement::choose(&rows.0, &rules, base, squeeze) else { continue };
            let end = rows.0.len();
            rows.summary(&chosen);
            let now = context(&rows.0);
            // The summary stands where the replaced rows were, the rest in order.
            let plain: Vec<_> = now.iter().filter(|r| !matches!(r.body, Body::Summary(_))).collect();
            prop_assert!(plain.is_sorted_by(|a, b| a.n < b.n));
            prop_assert_eq!(now.len(), plain.len() + 1);
            let at = now.iter().position(|r| matches!(r.body, Body::Summary(_))).unwrap();
            prop_assert!(now[..at].iter().all(|r| r.n <= chosen.head));
            // Each row of the earlier context is kept or replaced, and none is there twice.
            let replaced: BTreeSet<u64> = chosen.rows.iter().map(|r| r.n).collect();
            for n in before.iter().filter(|n| !matches!(rows.0[**n as usize - 1].body, Body::Summary(_))) {
                let kept = plain.iter().any(|r| r.n == *n);
                prop_assert!(kept != replaced.contains(n), "row {}", n);
            }
            // Every call with its results, every result with its call.
            let calls: BTreeSet<_> = plain.iter().filter_map(|r| match &r.body {
                Body::Assistant(a) => Some(a.calls.iter().map(|c| c.id.clone())),
                _ => None,
            }).flatten().collect();
            let results: BTreeSet<_> = plain.iter().filter_map(|r| match &r.body {
                Body::Tool(t) => Some(t.call.clone()),
                _ => None,
            }).collect();
            prop_assert_eq!(calls, results);
            // Rows without an answer are kept; the last request is kept, or part of the summary.
            let answered = |r: &&Arc<Row>| matches!(r.body, Body::Assistant(_) | Body::Tool(_));
            let open = rows.0[..end].iter().rev().take_while(|r| !answered(r)).map(|r| r.n);
            for n in open {
                prop_assert!(matches!(rows.0[n as usize - 1].body, Body::Summary(_)) || plain.iter().any(|r| r.n == n));
            }
            let is_request = |r: &&Arc<Row>| matches!(r.body, Body::User { .. } | Body::Wakeup(_));
            if let Some(request) = rows.0.iter().rfind(is_request) {
                prop_assert!(plain.iter().any(|r| r.n == request.n) || chosen.requests.contains(request));
            }
        }
    }
}

#[test]
fn the_messages_of_a_turn_are_made_from_the_context() {
    let mut rows = chat(20, 390);
    let chosen = replacement::choose(&rows.0, &RULES, 4_000, 0).unwrap();
    rows.summary(&chosen);
    rows.woken("[IMPORTANT: it ended]");
    let texts: Vec<_> = messages(&rows.0)
        .into_iter()
        .map(|m| match m {
            Message::User(text) | Message::Assistant { text, .. } | Message::Tool { text, .. } => {
                text.split(' ').take(2).collect::<Vec<_>>().join(" ")
            }
        })
        .collect();
    assert_eq!(texts[..5], ["question 1", "answer 1", "question 2", "summary", "answer 15"]);
    assert_eq!(texts.last().map(String::as_str), Some("[IMPORTANT: it"));
}

/// A compressor on a scripted model; its events are answered as a session would.
struct Rig {
    compressor: Compressor,
    model: Arc<Scripted>,
    events: mpsc::UnboundedReceiver<TurnEvent>,
}

impl Rig {
    fn new(limits: Limits, used: Option<u64>, answers: Vec<Vec<Step>>) -> Self {
        let (messages, mut reports) = mpsc::unbounded_channel::<TurnMessage>();
        let (forward, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(TurnMessage { event, reply, turn, .. }) = reports.recv().await {
                if let (TurnEvent::Compressed(summary), Some(reply)) = (&event, reply) {
                    let body = Body::Summary(summary.clone());
                    reply.send(Reply::Row(Row { n: 1_000, turn, at: 0, cut: 0, body })).unwrap();
                }
                forward.send(event).unwrap();
            }
        });
        let model = scripted(answers);
        let link = TurnLink { session: SessionId("s".to_owned()), turn: TurnId(1), messages };
        let compressor = Compressor::new(model.clone(), link, limits, &Request::default(), used);
        Self { compressor, model, events }
    }

    /// The messages for the user so far.
    fn messages(&mut self) -> Vec<String> {
        let events = std::iter::from_fn(|| self.events.try_recv().ok());
        let message = |event| match event {
            TurnEvent::NotCompressed { message, .. } => Some(message),
            _ => None,
        };
        events.filter_map(message).collect()
    }
}

fn limits() -> Limits {
    Limits { rules: RULES, ..Limits::default() }
}

fn text(text: &str) -> Vec<Step> {
    vec![Step::Text(text.to_owned())]
}

/// The tokens that the provider has counted: more than the trigger of a window of 128 000.
const FULL: Option<u64> = Some(97_000);

#[tokio::test]
async fn a_context_over_the_trigger_is_compressed_once() {
    let mut rows = chat(100, 2_000);
    let mut rig = Rig::new(limits(), FULL, vec![text("all of it in short")]);
    rig.compressor.compress_if_full(&mut rows.0).await;
    rig.compressor.compress_if_full(&mut rows.0).await;
    assert_eq!(rig.model.requests().len(), 1);
    let request = &rig.model.requests()[0];
    assert!(request.tools.is_empty() && request.system == prompt::SYSTEM);
    let Body::Summary(summary) = &rows.0.last().unwrap().body else { panic!("a summary") };
    assert!(summary.text.contains("all of it in short"));
    // The last answer came after its prompt was counted.
    assert_eq!(summary.before, 97_000 + 506);
    assert!(summary.after < summary.before / 3, "{summary:?}");
    assert!(!is_poor(summary));
    assert!(messages(&rows.0).len() < 60);
}

#[tokio::test]
async fn automatic_compression_needs_a_full_context() {
    let full = 96_000 - 506;
    let off = Limits { rules: Compression { enabled: false, ..RULES }, ..limits() };
    let poor = Limits { poor: POOR, ..limits() };
    let resting = Limits { rest: COOL_DOWN, ..limits() };
    for (limits, used) in
        [(limits(), Some(full)), (off, FULL), (poor, FULL), (resting, FULL), (limits(), None)]
    {
        let mut rows = chat(100, 2_000);
        let mut rig = Rig::new(limits, used, vec![text("short")]);
        // Without a count of the provider's an estimate decides: 100 600 tokens here.
        let expected = usize::from(used.is_none());
        rig.compressor.compress_if_full(&mut rows.0).await;
        assert_eq!(rig.model.requests().len(), expected, "{limits:?} {used:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_summary_is_retried_after_ten_minutes() {
    let mut rows = chat(100, 2_000);
    let fail = || vec![Step::fail(Class::Server, "The server is on fire.")];
    let mut rig = Rig::new(limits(), FULL, vec![fail(), text(" \n"), text("short")]);
    let before = rows.0.len();
    rig.compressor.compress_if_full(&mut rows.0).await;
    rig.compressor.compress_if_full(&mut rows.0).await;
    assert_eq!((rows.0.len(), rig.model.requests().len()), (before, 1));
    tokio::task::yield_now().await;
    let messages = rig.messages();
    assert!(messages.len() == 1 && messages[0].contains("The server is on fire."), "{messages:?}");
    tokio::time::advance(COOL_DOWN).await;
    rig.compressor.compress_if_full(&mut rows.0).await;
    assert_eq!(rows.0.len(), before, "an empty summary is none");
    tokio::time::advance(COOL_DOWN).await;
    rig.compressor.compress_if_full(&mut rows.0).await;
    assert_eq!(rows.0.len(), before + 1);
}

#[tokio::test]
async fn a_summary_longer_than_what_it_replaces_is_refused() {
    let mut rows = chat(6, 400);
    let limits = Limits { rules: Compression { target_ratio: 0.3, ..RULES }, ..limits() };
    let mut rig = Rig::new(limits, None, vec![text(&"word ".repeat(1_000))]);
    let outcome = rig.compressor.compress_now(&mut rows.0, None).await;
    assert!(matches!(outcome, Outcome::Failed { .. }));
    assert_eq!((rows.0.len(), rig.model.requests().len()), (12, 1));
}

#[tokio::test]
async fn a_summary_request_that_is_too_long_is_shortened() {
    let mut rows = chat(100, 2_000);
    let too_long = || vec![Step::fail(Class::ContextOverflow, "too long")];
    let mut rig = Rig::new(limits(), FULL, vec![too_long(), too_long(), text("short")]);
    assert_eq!(rig.compressor.compress_now(&mut rows.0, None).await, Outcome::Done);
    let sizes: Vec<_> = rig.model.requests().iter().map(size).collect();
    assert!(sizes[0] > sizes[1] && sizes[1] > sizes[2], "{sizes:?}");
}

fn size(request: &Request) -> usize {
    match &request.messages[..] {
        [Message::User(text)] => text.len(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_turn_compresses_at_most_three_overflows() {
    let mut rows = chat(100, 2_000);
    let answers = vec![text("one"), text("two"), text("three"), text("four")];
    let mut rig = Rig::new(limits(), None, answers);
    let mut kept = messages(&rows.0).len();
    for _ in 0..3 {
        assert_eq!(rig.compressor.compress_after_overflow(&mut rows.0).await, Ok(()));
        let now = messages(&rows.0).len();
        assert!(now < kept, "less is kept each time: {now} of {kept}");
        kept = now;
    }
    let why = rig.compressor.compress_after_overflow(&mut rows.0).await.unwrap_err();
    assert!(why.contains("/new") && why.contains("/model"), "{why}");
    assert_eq!(rig.model.requests().len(), 3);
}

#[tokio::test]
async fn an_overflow_that_cannot_be_compressed_says_what_to_do() {
    let mut short = chat(1, 10);
    let mut rig = Rig::new(limits(), None, vec![]);
    let why = rig.compressor.compress_after_overflow(&mut short.0).await.unwrap_err();
    assert!(why.contains("/new"), "{why}");
    let mut rows = chat(100, 2_000);
    let broken: Error = failure("It broke.");
    let mut rig = Rig::new(limits(), None, vec![vec![Step::fail(broken.class, "It broke.")]]);
    let why = rig.compressor.compress_after_overflow(&mut rows.0).await.unwrap_err();
    assert!(why.contains("It broke.") && why.contains("/compress"), "{why}");
    let off = Limits { rules: Compression { enabled: false, ..RULES }, ..limits() };
    let mut rig = Rig::new(off, None, vec![text("no")]);
    let why = rig.compressor.compress_after_overflow(&mut rows.0).await.unwrap_err();
    assert!(why.contains("/compress"), "{why}");
    assert!(rig.model.requests().is_empty());
}

#[tokio::test]
async fn a_short_conversation_has_nothing_to_compress() {
    let mut rows = chat(1, 10);
    let mut rig = Rig::new(limits(), None, vec![]);
    assert_eq!(rig.compressor.compress_now(&mut rows.0, None).await, Outcome::Done);
    tokio::task::yield_now().await;
    assert_eq!(rig.messages(), ["There is nothing to compress yet."]);
}
