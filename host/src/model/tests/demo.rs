//! The demo model's words.

use std::time::Duration;

use serde_json::json;

use super::{collect, completion, failure, prompt, text};
use crate::model::demo::{self, Demo};
use crate::model::script::{Step, play, scripted};
use crate::model::{Chunk, Class, Message, Model, Request};
use protocol::Stop;

/// The request that follows when all calls of an answer have run.
fn with_results(mut request: Request, done: &crate::model::Completion, result: &str) -> Request {
    request.messages.push(Message::Assistant {
        text: done.text.clone(),
        reasoning: done.reasoning.clone(),
        calls: done.calls.clone(),
        opaque: done.opaque.clone(),
    });
    for call in &done.calls {
        request.messages.push(Message::Tool {
            call: call.id.0.clone(),
            name: call.name.clone(),
            text: result.to_owned(),
        });
    }
    request
}

#[tokio::test(start_paused = true)]
async fn every_word_that_help_lists_ends_done_or_in_a_declared_error() {
    let help = text(&collect(Demo.stream(prompt("help"))).await);
    for word in demo::words() {
        assert!(help.contains(&format!("`{word}")), "help does not list {word}");
        let mut request = prompt(word);
        for _ in 0..5 {
            let items = collect(Demo.stream(request.clone())).await;
            match word {
                "error" => assert_eq!(failure(&items).class, Class::Auth),
                "error server" => assert_eq!(failure(&items).class, Class::Server),
                "error cut" => assert!(matches!(items.last(), Some(Ok(Chunk::Text(_))))),
                _ => {
                    let done = completion(&items);
                    assert_eq!(done.text, text(&items), "{word}");
                    assert!(
                        !done.text.contains('$') || ["code", "evil"].contains(&word),
                        "{word}: {}",
                        done.text
                    );
                    assert!(done.usage.is_some_and(|u| u.prompt > 0 && u.completion > 0), "{word}");
                    if done.stop == Stop::Calls {
                        let result = json!({"output": "ok\nmore", "exit_code": 7}).to_string();
                        request = with_results(request, done, &result);
                        continue;
                    }
                    let called = request.messages.len() > 1;
                    if called && !["todo"].contains(&word) {
                        assert!(done.text.contains("exit code 7"), "{word}: {}", done.text);
                    }
                }
            }
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_runs_of_a_word_are_equal() {
    for word in demo::words() {
        let first = collect(Demo.stream(prompt(word))).await;
        let second = collect(Demo.stream(prompt(word))).await;
        assert_eq!(format!("{first:?}"), format!("{second:?}"), "{word}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_the_requested_deltas_at_the_requested_rate() {
    let since = tokio::time::Instant::now();
    let items = collect(Demo.stream(prompt("stream 50 10"))).await;
    assert_eq!(items.len(), 51);
    assert_eq!(since.elapsed().as_secs(), 4);
    let since = tokio::time::Instant::now();
    assert_eq!(collect(Demo.stream(prompt("stream 5000 0"))).await.len(), 5001);
    assert_eq!(since.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn numbers_after_a_word_reach_the_calls() {
    let items = collect(Demo.stream(prompt("background 3 times 4"))).await;
    let done = completion(&items);
    assert_eq!(done.calls.len(), 4);
    for call in &done.calls {
        assert_eq!(call.args["command"], "sleep 3; echo done");
        assert_eq!(call.args["notify_on_complete"], true);
    }
    let items = collect(Demo.stream(prompt("fail 1 42"))).await;
    let command = completion(&items).calls[0].args["command"].to_string();
    assert!(command.ends_with("exit 42\""), "{command}");
}

#[tokio::test(start_paused = true)]
async fn ids_of_calls_differ_within_a_conversation() {
    let mut request = prompt("loop");
    let mut ids = std::collections::HashSet::new();
    for _ in 0..20 {
        let items = collect(Demo.stream(request.clone())).await;
        let done = completion(&items);
        assert_eq!(done.stop, Stop::Calls);
        assert!(done.calls.iter().all(|call| ids.insert(call.id.clone())));
        request = with_results(request, done, "{}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wakeup_is_answered_with_what_it_told() {
    let mut request = prompt("background 1");
    request.messages.push(Message::User(
        "[IMPORTANT: Background process proc_0123456789ab exited (exit code 3).\nCommand: x\n\
         Output:\nfirst\nabout to fail]"
            .to_owned(),
    ));
    let said = text(&collect(Demo.stream(request.clone())).await);
    for part in ["proc_0123456789ab", "exit code 3", "`about to fail`"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("first"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn several_wakeups_and_a_prompt_are_all_answered_at_once() {
    let event = |id: &str, code: i32| {
        Message::User(format!(
            "[IMPORTANT: Background process {id} exited (exit code {code}).\nCommand: x\n\
             Output:\nlast of {id}]"
        ))
    };
    let mut request = prompt("background");
    request.messages.push(Message::Assistant {
        text: "started".to_owned(),
        reasoning: String::new(),
        calls: Vec::new(),
        opaque: serde_json::Value::Null,
    });
    request.messages.extend([event("proc_a", 0), event("proc_b", 1)]);
    request.messages.push(Message::User("hello".to_owned()));
    let said = text(&collect(Demo.stream(request.clone())).await);
    let at = |part: &str| said.find(part).unwrap_or_else(|| panic!("no {part} in {said}"));
    assert!(at("proc_a") < at("proc_b"));
    assert!(at("last of proc_b") < at("demo model"));
}

#[tokio::test(start_paused = true)]
async fn anything_else_gets_a_hello_that_says_what_this_is() {
    for odd in ["", "Explain monads", "💥"] {
        let said = text(&collect(Demo.stream(prompt(odd))).await);
        assert!(said.contains("demo model") && said.contains("`help`"), "{said}");
    }
    assert!(completion(&collect(Demo.stream(Request::default())).await).stop == Stop::End);
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_the_demo_is_told_before_its_pause() {
    let items = collect(Demo.stream(prompt("error ratelimit"))).await;
    assert!(matches!(
        &items[0],
        Ok(Chunk::Retrying { attempt: 2, error, .. }) if error.class == Class::RateLimit
    ));
    assert_eq!(completion(&items).stop, Stop::End);
}

#[tokio::test(start_paused = true)]
async fn a_script_plays_one_answer_per_request_and_keeps_the_requests() {
    let model = scripted([
        vec![Step::text("a"), Step::call("terminal", json!({"command": "ls"}))],
        vec![Step::Cut],
    ]);
    let items = collect(model.stream(prompt("one"))).await;
    assert_eq!(completion(&items).stop, Stop::Calls);
    assert_eq!(collect(model.stream(prompt("two"))).await, Vec::new());
    assert_eq!(failure(&collect(model.stream(prompt("three"))).await).class, Class::Rejected);
    assert_eq!(model.requests()[1], prompt("two"));
}

#[tokio::test(start_paused = true)]
async fn a_script_can_wait_for_a_test() {
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let steps = vec![Step::Wait(gate.clone()), Step::text("open")];
    let mut answer = play(steps, &prompt("x"));
    let waited =
        tokio::time::timeout(Duration::from_mins(1), futures::StreamExt::next(&mut answer)).await;
    assert!(waited.is_err());
    gate.notify_one();
    assert_eq!(text(&collect(answer).await), "open");
}
