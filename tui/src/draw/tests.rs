//! Pictures of every visible state, at 80×24 and at 40×12.

use protocol::{
    Body, Command, Delivery, End, Event, Failure, Gauge, LiveCall, PromptId, Queued, SessionId,
    SessionRow, State, Storage, Toast, ToolCall, Transcript, WakeupKind,
};

use crate::app::App;
use crate::testing::*;

mod absurd;
mod background;
mod inbox;
mod remote;

/// The widths of terminals that people have, beside those of `pictures`.
fn widths(name: &str, make: impl Fn() -> App) {
    for width in [60, 80, 120] {
        insta::assert_snapshot!(format!("{name}_{width}"), picture(&mut make(), width, 16));
    }
}

fn pictures(name: &str, make: impl Fn() -> App) {
    insta::assert_snapshot!(format!("{name}_80x24"), picture(&mut make(), 80, 24));
    insta::assert_snapshot!(format!("{name}_40x12"), picture(&mut make(), 40, 12));
}

fn at_80_and_50(name: &str, make: impl Fn() -> App) {
    insta::assert_snapshot!(format!("{name}_80x24"), picture(&mut make(), 80, 24));
    insta::assert_snapshot!(format!("{name}_50x16"), picture(&mut make(), 50, 16));
}

const ANSWER: &str = "# Plan\n\nThe **engine** fails because `Pump::start` runs twice. \
    See [the issue](https://example.org/7).\n\n1. stop the pump\n2. fix the *guard*:\n   - in \
    `pump.rs`\n   - and its test\n\n```rust\nfn start(&mut self) {\n    self.on = true;\n}\n```\n\n\
    > quoted once\n\n| step | time |\n|:-----|-----:|\n| build | 12 s |\n| test 日本 | 3 s |\n\n\
    Done ✅";

#[test]
fn a_new_session() {
    pictures("new", || app(vec![]));
    pictures("new_demo", || {
        attached(Transcript { model: "demo".into(), gauge: Gauge::default(), ..window(vec![]) })
    });
}

#[test]
fn a_conversation_with_markdown() {
    pictures("markdown", || app(vec![user("why does it fail?\nsee log"), says(ANSWER)]));
}

#[test]
fn tools_done_and_running() {
    pictures("tools", || {
        let mut app = app(vec![
            user("check it"),
            calls(vec![
                call("1", "terminal", r#"{"command":"cargo test\n--workspace"}"#),
                call("2", "patch", r#"{"path":"src/pump.rs"}"#),
                call("3", "read_file", r#"{"path":"src/lib.rs"}"#),
                call("4", "terminal", r#"{"command":"make"}"#),
            ]),
            result(
                "1",
                "terminal",
                &serde_json::json!({
                "output": (1..=20).map(|i| format!("test {i} ok\n")).collect::<Vec<_>>().concat(),
                "exit_code": 0, "error": null })
                .to_string(),
            ),
            result("2", "patch", r#"{"diff":"--- a\n+++ b\n@@ -1,2 +1,2 @@\n-old\n+new\n same"}"#),
            result("3", "read_file", r#"{"content":"1|a","total_lines":12}"#),
            result(
                "4",
                "terminal",
                r#"{"output":"","exit_code":2,"error":"no rule to make target"}"#,
            ),
        ]);
        app.on_event(&started(), T0);
        let running = app.transcript.running.as_mut().unwrap();
        let call = ToolCall { ..call("5", "terminal", r#"{"command":"sleep 40"}"#) };
        running.calls.push(LiveCall { call, started_at: Some(T0), output: "10%\r20%\n".into() });
        app.on_tick(T0 + 12_000);
        app
    });
}

#[test]
fn background_tools_todo_and_clarify_results() {
    pictures("tools_more", || {
        app(vec![
            calls(vec![call("1", "terminal", r#"{"command":"make watch"}"#)]),
            result(
                "1",
                "terminal",
                r#"{"output":"started","session_id":"proc_1","pid":7,"exit_code":0}"#,
            ),
            result(
                "2",
                "todo",
                r#"{"todos":[{"content":"read","status":"completed"},
                    {"content":"write","status":"in_progress"},
                    {"content":"rest","status":"pending"}]}"#,
            ),
            result("3", "clarify", r#"{"question":"Which?","user_response":"the second"}"#),
            result("4", "mystery", "not json\nat all"),
        ])
    });
}

#[test]
fn reasoning_streams_and_folds() {
    pictures("thinking", || {
        let mut app = app(vec![user("think")]);
        app.on_event(&started(), T0);
        let text = "First I look.\nThen I weigh.\nThen I doubt.\nNow I know.";
        app.on_event(
            &Event::Delta {
                turn: protocol::TurnId(1),
                n: 1,
                part: protocol::Part::Reasoning,
                text: text.into(),
            },
            T0,
        );
        app
    });
    pictures("thought", || {
        let mut app = app(vec![user("think")]);
        app.on_event(&started(), T0);
        app.transcript.running.as_mut().unwrap().reasoning = "a few words of thought".into();
        app.on_event(&delta("The answer\n\n```sh\nls -l"), T0);
        app
    });
}

// P11, W24
#[test]
fn wakeup_cards_say_what_happened() {
    pictures("wakeups", || {
        app(vec![
            wakeup(WakeupKind::Exit, Some(exit(End::Exited, Some(0)))),
            wakeup(WakeupKind::Exit, Some(exit(End::Exited, Some(3)))),
            wakeup(WakeupKind::Match, None),
            wakeup(WakeupKind::WatchDisabled, None),
        ])
    });
}

#[test]
fn notes_failures_and_refusals() {
    pictures("failures", || {
        let mut app = app(vec![
            user("hi"),
            Body::Note { text: "The host was restarted; the turn goes on.".into() },
            Body::Failure {
                message: "The provider refused the key (401).\nSet OPENAI_API_KEY.".into(),
            },
        ]);
        app.on_event(
            &Event::Failed(Failure {
                about: protocol::Subject::Model,
                message: "no model is called gpt-9; /model lists them".into(),
            }),
            T0,
        );
        app
    });
}

#[test]
fn approvals() {
    pictures("approval", || {
        let mut app = app(vec![user("clean up")]);
        app.on_event(&started(), T0);
        app.on_event(&asked(approval("q1", "cd build && rm -rf ./target", "rm -rf ./target")), T0);
        app.on_event(&asked(approval("q2", "git push -f", "git push -f")), T0);
        app.transcript.questions[0].deadline = Some(T0 + 52_000);
        app.on_tick(T0 + 1_000);
        app
    });
    pictures("approval_long", || {
        let mut app = app(vec![user("clean up")]);
        let script = (0..30).map(|i| format!("echo step {i}\n")).collect::<Vec<_>>().concat();
        app.on_event(
            &asked(approval("q1", &format!("{script}rm -rf /srv\n{script}"), "rm -rf /srv")),
            T0,
        );
        app.on_tick(T0 + 1_000);
        app
    });
}

#[test]
fn clarify_questions() {
    pictures("clarify", || {
        let mut app = app(vec![user("set it up")]);
        app.on_event(&started(), T0);
        app.on_event(&asked(clarify("q1", &["PostgreSQL", "SQLite", "none"])), T0);
        app.on_tick(T0 + 1_000);
        app
    });
    pictures("clarify_free", || {
        let mut app = app(vec![user("set it up")]);
        app.on_event(&asked(clarify("q1", &[])), T0);
        enter_text(&mut app, "whatever is", T0 + 2_000);
        app
    });
}

#[test]
fn waiting_prompts_and_remarks() {
    pictures("queued", || {
        let mut app = app(vec![user("go")]);
        app.on_event(&started(), T0);
        app.on_event(&delta("Working on it."), T0);
        for text in ["then the tests", "and then\npush"] {
            let prompt = Queued { id: PromptId(text.into()), text: text.into() };
            app.on_event(&Event::PromptQueued { prompt }, T0);
        }
        app.on_event(&Event::Steered { text: Some("mind the gap".into()) }, T0);
        app
    });
}

#[test]
fn the_menu_of_commands() {
    pictures("menu", || {
        let mut app = app(vec![user("go")]);
        enter_text(&mut app, "/s", T0);
        press(&mut app, "down", T0);
        app
    });
    pictures("unknown_command", || {
        let mut app = app(vec![]);
        enter_text(&mut app, "/frobnicate now", T0);
        press(&mut app, "enter", T0);
        app
    });
}

#[test]
fn the_panel_of_processes() {
    let make = || {
        let mut transcript = window(vec![user("go")]);
        let mut done = process("proc_bbbbbbbbbbbb", State::Ended, Some(exit(End::Exited, Some(1))));
        done.delivery = Delivery::Delivered;
        transcript.processes = vec![done, process("proc_aaaaaaaaaaaa", State::Running, None)];
        attached(transcript)
    };
    pictures("processes", || {
        let mut app = make();
        press(&mut app, "ctrl-b", T0);
        press(&mut app, "k", T0);
        app
    });
    pictures("processes_tail", || {
        let mut app = make();
        press(&mut app, "ctrl-b", T0);
        press(&mut app, "enter", T0);
        let id = protocol::ProcessId("proc_aaaaaaaaaaaa".into());
        app.on_event(&Event::ProcessTail { id, text: "one\ntwo\n".into() }, T0);
        app
    });
}

fn sessions() -> Vec<SessionRow> {
    ["Fix the pump", "Rewrite the parser in the style of the new one", ""]
        .iter()
        .zip(0..)
        .map(|(title, n)| SessionRow {
            parent: None,
            compressions: 0,
            archived: false,
            id: SessionId(format!("2026010{n}_120000_abcdef")),
            title: (*title).into(),
            started_at: T0,
            active_at: T0 - n * 4_000_000,
            rows: 12,
            model: "openai/gpt-5".into(),
            source: "tui".into(),
            cwd: "/srv".into(),
            ..protocol::SessionRow::default()
        })
        .collect()
}

#[test]
fn the_panels_of_sessions_models_and_help() {
    pictures("sessions", || {
        let mut app = app(vec![]);
        enter_text(&mut app, "/sessions", T0);
        assert_eq!(sent(press(&mut app, "enter", T0)), [Command::ListSessions]);
        app.on_event(&Event::SessionsListed { sessions: sessions() }, T0);
        press(&mut app, "down", T0);
        app
    });
    pictures("models", || {
        let mut app = app(vec![]);
        enter_text(&mut app, "/model", T0);
        press(&mut app, "enter", T0);
        let models = ["openai/gpt-5", "demo"].map(Into::into).to_vec();
        app.on_event(&Event::ModelsListed { models }, T0);
        app
    });
    pictures("help", || {
        let mut app = app(vec![]);
        enter_text(&mut app, "/help", T0);
        press(&mut app, "enter", T0);
        app
    });
}

#[test]
fn quitting_with_work_left() {
    pictures("quit", || {
        let mut transcript = window(vec![user("go")]);
        transcript.processes = vec![process("proc_a", State::Running, None)];
        let mut app = attached(transcript);
        press(&mut app, "ctrl-d", T0);
        app
    });
}

#[test]
fn everything_on_the_status_line() {
    pictures("status", || {
        let mut transcript = window(vec![user("go")]);
        transcript.processes = vec![process("proc_a", State::Running, None)];
        transcript.held = Some("2 wakeups".into());
        transcript.yolo = true;
        transcript.storage = Storage::Failing("disk full".into());
        let mut app = attached(transcript);
        app.on_event(&started(), T0);
        app.on_tick(T0 + 65_000);
        app
    });
}

// P11
#[test]
fn news_of_other_sessions() {
    pictures("toast", || {
        let mut app = app(vec![user("go"), says("Done.")]);
        for (id, end, code) in [("a", End::Exited, Some(2)), ("b", End::Lost, None)] {
            app.on_event(
                &Event::Toast(Toast {
                    session: SessionId("other".into()),
                    name: "Fix the pump".into(),
                    process: Some(protocol::ProcessId(id.into())),
                    news: protocol::News::Ended {
                        exit: exit(end, code),
                        delivery: Delivery::Waiting,
                    },
                    text: "cargo build".into(),
                }),
                T0,
            );
        }
        app
    });
}

#[test]
fn scrolled_up_with_news_below() {
    pictures("scrolled", || {
        let mut app = app((1..40).map(|i| user(&format!("prompt {i}"))).collect());
        paint(&mut app, 80, 24);
        press(&mut app, "pgup", T0);
        paint(&mut app, 80, 24);
        app.on_event(&Event::RowAdded { row: row(40, user("new")) }, T0);
        app
    });
}

#[test]
fn no_size_panics() {
    let make = || {
        let mut app = app(vec![user("go"), says(ANSWER), wakeup(WakeupKind::Match, None)]);
        app.on_event(&started(), T0);
        app.on_event(&delta(ANSWER), T0);
        app.on_event(&asked(approval("q", "rm -rf x", "rm -rf x")), T0);
        enter_text(&mut app, "日本語 text", T0);
        app
    };
    for width in [0, 1, 2, 3, 4, 5, 7, 13, 300] {
        for height in [0, 1, 2, 3, 4, 5, 8, 100] {
            let mut app = make();
            paint(&mut app, width, height);
            press(&mut app, "pgup", T0);
            paint(&mut app, height, width);
            for panel in ["ctrl-b", "ctrl-d"] {
                press(&mut app, panel, T0);
                paint(&mut app, width, height);
                press(&mut app, "esc", T0);
            }
            for command in ["/help", "/"] {
                app.composer.clear();
                enter_text(&mut app, command, T0);
                paint(&mut app, width, height);
                press(&mut app, "enter", T0);
                paint(&mut app, width, height);
            }
        }
    }
}

const FAMILY: &str = "👩\u{200d}👩\u{200d}👧";

#[test]
fn wide_glyphs_at_the_edge_are_not_cut() {
    let mut app = app(vec![user("日本語日本語"), says(&format!("{FAMILY}a{FAMILY}b"))]);
    enter_text(&mut app, "日本語日本語", T0);
    for width in 5..14 {
        let (buffer, _) = paint(&mut app, width, 20);
        let text: String = buffer.content.iter().map(ratatui::buffer::Cell::symbol).collect();
        assert_eq!(text.matches('日').count(), 4, "at {width}: {text}");
        assert_eq!(text.matches('👧').count(), 2, "at {width}: {text}");
    }
}
