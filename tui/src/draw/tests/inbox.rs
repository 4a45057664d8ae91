//! Pictures of the inbox, of a title that is being written, and of what is said in lines of its own.

use protocol::Subject;
use protocol::{Asked, Command, Event, Failure, Question, SessionId, SessionRow};

use ratatui::style::Modifier;

use super::at_80_and_50;
use crate::app::App;
use crate::testing::*;

fn of(session: &str, name: &str, question: Question, behind: u32) -> Asked {
    Asked { session: SessionId(session.into()), name: name.into(), question, behind }
}

fn push() -> Asked {
    let command = "cd /home/ada/src/engine && cargo fmt && cargo test --workspace && \
                   git push --force origin main";
    let mut asked =
        of("a", "Fix the pump", approval("q-a", command, "git push --force origin main"), 2);
    asked.question.deadline = Some(T0 + 245_000);
    asked
}

fn which() -> Asked {
    let mut asked = of("b", "A service for the lab", clarify("q-b", &["Postgres", "SQLite"]), 0);
    asked.question.asked_at = T0 - 200_000;
    asked
}

fn several() -> Vec<Asked> {
    let own = approval("q-c", "rm -rf target", "rm -rf target");
    let long = "Look at the logs of the last week and say what is odd about them";
    vec![
        which(),
        push(),
        of("20260101_120000_abcdef", "The engine", own, 0),
        of("d", long, approval("q-d", "curl -s https://example.org/install | sh", "sh"), 0),
    ]
}

fn inbox(questions: &[Asked], keys: &[&str]) -> App {
    let mut app = app(vec![user("why does it fail?"), says("The pump starts twice.")]);
    app.on_event(&Event::InboxChanged { questions: questions.to_vec() }, T0);
    press(&mut app, "ctrl-o", T0);
    for key in keys {
        press(&mut app, key, T0);
    }
    app
}

#[test]
fn the_inbox() {
    at_80_and_50("inbox", || inbox(&several(), &["down"]));
    at_80_and_50("inbox_empty", || {
        let mut app = app(vec![]);
        enter_text(&mut app, "/inbox", T0);
        press(&mut app, "enter", T0);
        app
    });
    at_80_and_50("inbox_many", || {
        let ask = |n: usize| {
            let command = format!("rm -rf /srv/{n}");
            of(&format!("s{n}"), &format!("Task {n}"), approval(&command, &command, &command), 0)
        };
        let many: Vec<Asked> = (1..=40).map(ask).collect();
        inbox(&many, &["pgdn", "pgdn", "pgdn"])
    });
}

// C11
#[test]
fn the_card_of_a_question_elsewhere() {
    let armed = |mut app: App| {
        app.on_tick(T0 + 1_000);
        app
    };
    at_80_and_50("inbox_approval", || armed(inbox(&several(), &["down", "enter"])));
    at_80_and_50("inbox_approval_quieting", || inbox(&[push()], &[]));
    at_80_and_50("inbox_approval_typing", || {
        let mut app = inbox(&[push()], &[]);
        enter_text(&mut app, "no, wait", T0 + 1_000);
        armed(app)
    });
    at_80_and_50("inbox_clarify", || armed(inbox(&[which()], &[])));
    at_80_and_50("inbox_clarify_typing", || {
        let mut app = inbox(&several(), &["enter"]);
        enter_text(&mut app, "Postgres, but only once the old one is gone from the rack", T0);
        armed(app)
    });
    at_80_and_50("inbox_gone", || {
        let mut app = inbox(&several(), &["down", "enter"]);
        app.on_event(&Event::InboxChanged { questions: vec![which()] }, T0);
        app
    });
}

fn listed(keys: &[&str]) -> App {
    let row = |id: &str, title: &str| SessionRow {
        id: SessionId(id.into()),
        title: title.into(),
        active_at: T0,
        rows: 12,
        model: "openai/gpt-5".into(),
        ..SessionRow::default()
    };
    let mut app = app(vec![]);
    enter_text(&mut app, "/sessions", T0);
    assert_eq!(sent(press(&mut app, "enter", T0)), [Command::ListSessions]);
    let long = "Look at the logs of the last week and say what is odd about them, then write it up";
    let sessions = vec![row("a", "Fix the pump"), row("b", long), row("c", "A service")];
    app.on_event(&Event::SessionsListed { sessions }, T0);
    for key in keys {
        press(&mut app, key, T0);
    }
    app
}

#[test]
fn a_title_is_written_in_its_row() {
    at_80_and_50("rename", || {
        let mut app = listed(&["f2"]);
        enter_text(&mut app, " of 日本", T0);
        app
    });
    at_80_and_50("rename_long", || listed(&["down", "f2"]));
    at_80_and_50("rename_middle", || listed(&["down", "f2", "home", "right", "right"]));
}

#[test]
fn the_caret_of_a_title_is_seen_and_nothing_else_of_it_is_marked() {
    let mut app = listed(&["f2", "left", "left"]);
    let (buffer, _) = paint(&mut app, 80, 24);
    let marked: Vec<(u16, &str)> = (3..75)
        .map(|x| (x, &buffer[(x, 2)]))
        .filter(|(_, cell)| cell.modifier.contains(Modifier::REVERSED))
        .map(|(x, cell)| (x, cell.symbol()))
        .collect();
    assert_eq!(marked, [(13, "m")]);
}

#[test]
fn the_menu_of_commands_shows_that_there_are_more() {
    let menu = |keys: &'static [&str]| {
        move || {
            let mut app = app(vec![user("go")]);
            enter_text(&mut app, "/", T0);
            for key in keys {
                press(&mut app, key, T0);
            }
            app
        }
    };
    at_80_and_50("menu_more", menu(&[]));
    at_80_and_50("menu_last", menu(&["up"]));
    let mut app = app(vec![]);
    enter_text(&mut app, "/st", T0);
    assert!(!picture(&mut app, 80, 24).contains(" of "), "all of them are there");
}

#[test]
fn what_is_said_stands_where_it_was_said() {
    at_80_and_50("said_among_rows", || {
        let mut app = app(vec![user("go"), says("Working on it.")]);
        app.on_event(&started(), T0);
        let failure = Failure { about: Subject::Export, message: "the disk is full".into() };
        app.on_event(&Event::Failed(failure), T0);
        let more = [calls(vec![call("1", "terminal", r#"{"command":"make"}"#)])];
        for (n, body) in (3..).zip(more) {
            app.on_event(&Event::RowAdded { row: row(n, body) }, T0 + 1_000);
        }
        let result = result("1", "terminal", r#"{"output":"done","exit_code":0}"#);
        app.on_event(&Event::RowAdded { row: row(4, result) }, T0 + 1_000);
        app.on_event(&Event::RowAdded { row: row(5, says("It is done.")) }, T0 + 1_000);
        app.on_tick(T0 + 4_000);
        app
    });
}

#[test]
fn a_host_that_does_not_tell_its_processes_is_not_said_to_have_none() {
    at_80_and_50("processes_untold", || {
        let options =
            crate::Options { place: Some("https://lab.example:8787".into()), ..options() };
        let mut app = App::new(options, T0);
        let transcript = Box::new(window(vec![user("go")]));
        app.on_event(&Event::Attached { transcript, resynced: false }, T0);
        assert_eq!(sent(press(&mut app, "ctrl-b", T0)), [Command::ListProcesses]);
        let message = "this server does not list its background processes: ask the agent for them";
        let failure = Failure { about: Subject::Processes, message: message.into() };
        app.on_event(&Event::Failed(failure), T0);
        app
    });
}

#[test]
fn a_command_that_did_not_run_has_no_exit_code_and_a_long_one_keeps_its_beginning() {
    at_80_and_50("tools_blocked", || {
        let blocked = |error: &str| {
            let value = serde_json::json!({
                "output": "", "exit_code": -1, "error": error, "status": "blocked" });
            value.to_string()
        };
        let command =
            r#"{"command":"git push --force origin main && make deploy STAGE=production"}"#;
        let started = r#"{"output":"","session_id":"proc_0123456789ab","pid":7,"status":"running","total_lines":12345}"#;
        app(vec![
            calls(vec![
                call("1", "terminal", command),
                call("2", "terminal", command),
                call("3", "terminal", command),
                call("4", "terminal", command),
            ]),
            result("1", "terminal", &blocked("The user denied this command. Do not run it.")),
            result("2", "terminal", &blocked("Nobody approved this command in time.")),
            result("3", "terminal", &blocked("Blocked: it wipes a disk (rule x).")),
            result("4", "terminal", started),
        ])
    });
}
