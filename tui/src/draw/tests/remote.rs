//! Pictures of what comes with a host elsewhere: the link, what is not sent, uploads, goals, the
//! live list of sessions.

use protocol::{
    Attachment, Attention, Command, Event, Failure, Found, Goal, GoalState, Link, SessionId,
    SessionRow, Transcript,
};

use super::widths;
use crate::app::App;
use crate::run::Options;
use crate::testing::*;

fn attached_to(place: &str, transcript: Transcript) -> App {
    let options = Options { place: Some(place.into()), ..options() };
    let mut app = App::new(options, T0);
    app.on_event(&Event::Attached { transcript: Box::new(transcript), resynced: false }, T0);
    app
}

fn link(app: &mut App, link: Link) {
    app.on_event(&Event::Link { link }, T0);
}

fn down() -> Link {
    let why = "the server closed the connection".into();
    Link::Down { why, attempt: 2, retry_at: T0 + 2_600 }
}

fn prompt(app: &mut App, text: &str) {
    enter_text(app, text, T0);
    assert!(matches!(sent(press(app, "enter", T0))[..], [Command::Prompt { .. }]));
}

fn conversation() -> Transcript {
    window(vec![user("go"), says("Done.")])
}

// E03
#[test]
fn the_link_is_always_in_view_and_what_is_not_sent_too() {
    widths("link_up", || attached_to("https://lab.example:8787/", conversation()));
    widths("link_down", || {
        let mut app = attached_to("lab.example:8787", conversation());
        link(&mut app, down());
        prompt(&mut app, "then run the tests");
        prompt(&mut app, "and push\nwhen they pass");
        enter_text(&mut app, "a third thou", T0);
        app
    });
    widths("link_polling", || {
        let mut app = attached_to("lab.example:8787", conversation());
        link(&mut app, Link::Polling { why: "a proxy holds the streams back".into() });
        app
    });
    widths("link_refused", || {
        let mut app = attached_to("lab.example:8787", conversation());
        let message = "The login has expired. Quit and run `hermes-tui attach \
                       https://lab.example:8787` again; it asks for the password."
            .into();
        link(&mut app, Link::Refused { message });
        app
    });
    widths("link_first", || {
        let mut app = App::new(Options { place: Some("lab.example:8787".into()), ..options() }, T0);
        link(&mut app, Link::Connecting);
        app
    });
    widths("link_down_panel", || {
        let mut app = attached_to("lab.example:8787", conversation());
        link(&mut app, down());
        press(&mut app, "ctrl-b", T0);
        app
    });
}

// E03
#[test]
fn the_user_sees_that_the_window_was_resynced() {
    widths("resynced", || {
        let mut app = attached_to("lab.example:8787", conversation());
        link(&mut app, down());
        link(&mut app, Link::Up);
        let transcript =
            Box::new(window(vec![user("go"), says("Done."), user("more"), says("Done too.")]));
        app.on_event(&Event::Attached { transcript, resynced: true }, T0);
        app
    });
}

fn goal(state: GoalState) -> Goal {
    Goal {
        text: "make the pump start once, with a test that fails when it starts twice".into(),
        state,
        turns: 3,
        max_turns: 20,
        verdict: Some("The guard is in place, its test is missing.".into()),
    }
}

// S08
#[test]
fn a_goal_is_in_view_while_it_is_worked_on() {
    widths("goal", || {
        attached(Transcript { goal: Some(goal(GoalState::Active)), ..conversation() })
    });
    widths("goal_paused", || {
        let paused = goal(GoalState::Paused("the turn was interrupted".into()));
        let mut app = attached(Transcript { goal: Some(paused), ..conversation() });
        enter_text(&mut app, "/goal", T0);
        press(&mut app, "enter", T0);
        app
    });
    widths("goal_done", || {
        let mut app = attached(conversation());
        app.on_event(&Event::GoalChanged { goal: Some(goal(GoalState::Done)) }, T0);
        app
    });
}

fn file(name: &str, size: u64) -> Attachment {
    Attachment { name: name.into(), path: "/srv/x".into(), mime: "text/plain".into(), size }
}

// S05
#[test]
fn files_for_the_next_prompt_stand_above_the_input() {
    widths("uploads", || {
        let files = vec![file("report.pdf", 1_234_567), file("notes.md", 812)];
        let mut app = attached(Transcript { attachments: files, ..conversation() });
        enter_text(&mut app, "/upload ~/data/measurements.csv", T0);
        press(&mut app, "enter", T0);
        enter_text(&mut app, "what do these say?", T0);
        app
    });
    widths("uploads_many", || {
        let files = (0..9).map(|n| file(&format!("measurement-{n}.csv"), 12_000)).collect();
        attached(Transcript { attachments: files, ..conversation() })
    });
    widths("upload_failed", || {
        let mut app = attached(conversation());
        enter_text(&mut app, "/upload ~/data/measurements.csv", T0);
        press(&mut app, "enter", T0);
        app.on_unread("~/data/measurements.csv", "there is no such file or folder");
        app
    });
}

fn session(n: u32, title: &str) -> SessionRow {
    SessionRow {
        id: SessionId(format!("2026010{n}_120000_abcdef")),
        title: title.into(),
        started_at: T0,
        active_at: T0 - i64::from(n) * 4_000_000,
        rows: 12,
        model: "openai/gpt-5".into(),
        ..SessionRow::default()
    }
}

fn live() -> Vec<SessionRow> {
    vec![
        SessionRow { running: true, ..session(1, "Fix the pump") },
        SessionRow { attention: Some((Attention::Approval, 2)), ..session(2, "Clean the disk") },
        SessionRow { attention: Some((Attention::Clarify, 1)), ..session(3, "Choose a database") },
        SessionRow { pinned: true, ..session(4, "Notes of the year") },
        session(5, "Rewrite the parser in the style of the new one, with all of its tests"),
        SessionRow { archived: true, ..session(6, "Old things about the parser") },
    ]
}

fn listed(filter: &str) -> App {
    let mut app = app(vec![]);
    enter_text(&mut app, "/sessions", T0);
    press(&mut app, "enter", T0);
    app.on_event(&Event::SessionsListed { sessions: live() }, T0);
    enter_text(&mut app, filter, T0);
    app
}

// S04
#[test]
fn the_list_of_sessions_shows_what_runs_what_needs_the_user_and_what_is_pinned() {
    widths("sessions_live", || listed(""));
    widths("sessions_searching", || {
        let mut app = listed("parser");
        assert_eq!(sent(app.on_tick(T0 + 400)), [Command::Search { query: "parser".into() }]);
        app
    });
    widths("sessions_found", || {
        let mut app = listed("parser");
        let found = |n: u32, title: &str, excerpt: &str| Found {
            session: SessionId(format!("2026010{n}_120000_abcdef")),
            title: title.into(),
            excerpt: (!excerpt.is_empty()).then(|| excerpt.into()),
        };
        let found = vec![
            found(5, "Rewrite the parser", "… the parser has three passes, the second is slow …"),
            found(1, "Fix the pump", "… as in the parser, a guard that is taken\nonly once …"),
            found(6, "Old things about the parser", ""),
            found(9, "A session that the list does not hold", "… parser combinators are …"),
        ];
        app.on_event(&Event::SessionsFound { query: "parser".into(), found }, T0);
        app
    });
}

#[test]
fn switching_approvals_off_asks_first() {
    widths("yolo", || {
        let mut app = app(vec![user("go")]);
        enter_text(&mut app, "/yolo", T0);
        press(&mut app, "enter", T0);
        app.on_tick(T0 + 1_000);
        app
    });
}

#[test]
fn the_pickers() {
    let picked = |command: &str, event: Option<Event>| {
        let mut app = app(vec![]);
        enter_text(&mut app, command, T0);
        press(&mut app, "enter", T0);
        if let Some(event) = event {
            app.on_event(&event, T0);
        }
        app
    };
    widths("reasoning", || picked("/reasoning ", None));
    widths("workspaces", || {
        let paths = ["/home/ada/src/engine", "/srv/www", "/home/ada"].map(Into::into).to_vec();
        picked("/workspace ", Some(Event::WorkspacesListed { paths }))
    });
    widths("profiles", || {
        let names = vec!["default".into(), "research".into()];
        picked("/profile ", Some(Event::ProfilesListed { names, active: "research".into() }))
    });
}

const EVIL: &str = "a\u{1b}[2J\u{1b}]0;t\u{7}\r\n\u{9b}31m\u{202e}b";

#[test]
fn hostile_words_of_a_remote_host_bring_no_control_character_to_the_screen() {
    let evil = || EVIL.to_owned();
    let links = [
        Link::Up,
        Link::Connecting,
        Link::Down { why: evil(), attempt: 1, retry_at: T0 + 1 },
        Link::Polling { why: evil() },
        Link::Refused { message: evil() },
    ];
    let states = [GoalState::Active, GoalState::Paused(evil()), GoalState::Done];
    let inputs = [
        "",
        "/sessions",
        "/workspace ",
        "/profile ",
        "/reasoning ",
        "/goal",
        "/yolo",
        "/upload a\u{9b}31m/\u{202e}b",
        "/model ",
    ];
    for link in links {
        for state in &states {
            for input in inputs {
                let goal = Goal {
                    text: evil(),
                    state: state.clone(),
                    verdict: Some(evil()),
                    turns: 1,
                    max_turns: 2,
                };
                let transcript = Transcript {
                    attachments: vec![file(EVIL, 1)],
                    reasoning: Some(evil()),
                    goal: Some(goal.clone()),
                    ..conversation()
                };
                let mut app = attached_to(EVIL, transcript);
                self::link(&mut app, link.clone());
                prompt(&mut app, "x");
                app.on_paste(EVIL, T0);
                press(&mut app, "enter", T0);
                enter_text(&mut app, input, T0);
                press(&mut app, "enter", T0);
                app.on_event(&Event::GoalChanged { goal: Some(goal) }, T0);
                app.on_event(
                    &Event::SessionsListed {
                        sessions: vec![SessionRow {
                            id: SessionId(evil()),
                            model: evil(),
                            pinned: true,
                            ..session(1, EVIL)
                        }],
                    },
                    T0,
                );
                app.on_event(&Event::WorkspacesListed { paths: vec![evil()] }, T0);
                app.on_event(&Event::ModelsListed { models: vec![evil()] }, T0);
                let names = vec![evil()];
                app.on_event(&Event::ProfilesListed { names, active: evil() }, T0);
                enter_text(&mut app, "abc", T0);
                let found = vec![
                    Found { session: SessionId(evil()), title: evil(), excerpt: Some(evil()) },
                    Found { session: SessionId("x".into()), title: evil(), excerpt: Some(evil()) },
                ];
                app.on_event(&Event::SessionsFound { query: "abc".into(), found }, T0);
                for (width, height) in [(80, 24), (40, 12), (13, 5)] {
                    let shown = picture(&mut app, width, height);
                    let bad = |c: char| c != '\n' && crate::clean::is_hidden(c);
                    assert!(!shown.contains(bad) && !shown.contains("[2J"), "{input}: {shown:?}");
                }
                app.on_event(
                    &Event::Failed(Failure {
                        about: protocol::Subject::Unknown(EVIL.into()),
                        message: evil(),
                    }),
                    T0,
                );
                let shown = picture(&mut app, 80, 24);
                assert!(!shown.contains('\u{1b}'), "{shown:?}");
            }
        }
    }
}

#[test]
fn no_size_panics_with_a_remote_host() {
    for width in [0, 1, 2, 3, 5, 8, 13, 30, 200] {
        for height in [0, 1, 2, 3, 5, 8, 13, 60] {
            let files = (0..9).map(|n| file(&format!("日本語-{n}.csv"), 12_000)).collect();
            let transcript = Transcript {
                attachments: files,
                goal: Some(goal(GoalState::Paused("why".into()))),
                ..conversation()
            };
            let mut app = attached_to("lab.example:8787", transcript);
            link(&mut app, down());
            for n in 0..9 {
                prompt(&mut app, &format!("prompt {n}"));
            }
            paint(&mut app, width, height);
            for command in ["/yolo", "/reasoning ", "/upload x"] {
                enter_text(&mut app, command, T0);
                press(&mut app, "enter", T0);
                paint(&mut app, width, height);
                press(&mut app, "esc", T0);
                app.composer.clear();
            }
            let mut app = listed("parser");
            paint(&mut app, width, height);
        }
    }
}
