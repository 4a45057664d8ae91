//! Pictures of what happens without the user: news, wakeups, processes, held wakeups, sessions.

use protocol::Subject;
use protocol::{
    Body, Command, Delivery, End, Event, Failure, Killer, News, Process, ProcessId, SessionId,
    SessionRow, State, Summary, Toast, Transcript, Wakeup, WakeupKind, Watching, Work,
};

use super::pictures;
use crate::app::App;
use crate::testing::*;

fn toast(session: &str, name: &str, news: News, text: &str) -> Event {
    toast_of("proc_a", session, name, news, text)
}

fn toast_of(process: &str, session: &str, name: &str, news: News, text: &str) -> Event {
    Event::Toast(Toast {
        session: SessionId(session.into()),
        name: name.into(),
        process: Some(ProcessId(process.into())),
        news,
        text: text.into(),
    })
}

fn ended(end: End, code: Option<i32>) -> News {
    News::Ended { exit: exit(end, code), delivery: Delivery::Waiting }
}

// P11
#[test]
fn a_toast_says_what_happened_from_its_kind_and_in_which_session() {
    let news = [
        (ended(End::Exited, Some(0)), "finished"),
        (ended(End::Exited, Some(2)), "failed (exit 2)"),
        (ended(End::Exited, None), "ended (exit code unknown)"),
        (ended(End::Killed, None), "killed"),
        (ended(End::Lost, None), "lost"),
        (ended(End::FailedStart, None), "failed to start"),
        (
            News::Ended {
                exit: exit(End::Exited, Some(0)),
                delivery: Delivery::Held("no key".into()),
            },
            "finished, held",
        ),
        (News::Matched { pattern: "ERR\u{1b}[31mOR".into() }, "matched \"ERROR\""),
        (News::WatchDisabled, "watch switched off"),
        (News::Tripped, "too many matches, dropped for a while"),
        (News::Released { dropped: 12 }, "matches are told again, 12 dropped"),
        (News::Held { waiting: 2 }, "2 wakeups held"),
        (News::Working { elapsed: 600_000 }, "still working after 10 m 00 s"),
        (News::Unknown, "news"),
    ];
    for (news, says) in news {
        let mut app = app(vec![user("go")]);
        app.on_event(&toast("other", "Fix the pump", news, "make"), T0);
        let shown = picture(&mut app, 100, 24);
        let line = shown.lines().find(|line| line.contains('⚑')).unwrap();
        assert!(line.contains(&format!("⚑ {says}")), "{line}");
        assert!(line.ends_with("in Fix the pump · Ctrl+O opens"), "{line}");
    }
    let mut app = app(vec![user("go")]);
    app.on_event(&toast("20260102_x", "", News::WatchDisabled, ""), T0);
    let shown = picture(&mut app, 80, 24);
    assert!(shown.contains("⚑ watch switched off · in 20260102_x · Ctrl+O opens"), "{shown}");
}

// P11, W02
#[test]
fn what_no_card_shows_is_drawn_for_the_session_in_view_too() {
    let here = "20260101_120000_abcdef";
    let shows = |news: News| {
        let mut app = app(vec![user("go")]);
        app.on_event(&toast(here, "Mine", news, ""), T0);
        picture(&mut app, 80, 24).contains('⚑')
    };
    for news in [News::Held { waiting: 1 }, News::Tripped, News::Released { dropped: 0 }] {
        assert!(shows(news.clone()), "{news:?}");
    }
    for news in [
        ended(End::Exited, Some(0)),
        News::Matched { pattern: "x".into() },
        News::WatchDisabled,
        News::Asked,
        News::Working { elapsed: 1 },
        News::Unknown,
    ] {
        assert!(!shows(news.clone()), "{news:?}");
    }
    let mut app = app(vec![user("go")]);
    app.on_event(&toast(here, "Mine", News::Held { waiting: 1 }, ""), T0);
    let shown = picture(&mut app, 80, 24);
    assert!(shown.contains("⚑ 1 wakeup held · /wake goes on"), "{shown}");
    assert!(!shown.contains("in Mine"), "{shown}");
}

// E12, P11
#[test]
fn a_burst_of_news_is_drawn_in_few_lines_that_count_the_rest() {
    pictures("toast_burst", || {
        let mut app = app(vec![user("go"), says("Done.")]);
        for n in 0..30 {
            let text = format!("cargo test --package part-{n}");
            let news = ended(End::Exited, Some(n % 2));
            app.on_event(&toast_of(&format!("proc_{n}"), "other", "Fix the pump", news, &text), T0);
        }
        app
    });
}

fn summary() -> Body {
    Body::Summary(Summary {
        text: "Goal: make the pump start once.\n\nDone: the guard is fixed, its test is green."
            .into(),
        head: 2,
        tail: 90,
        rows: 87,
        before: 181_234,
        after: 12_400,
    })
}

// S03
#[test]
fn a_compressed_context_is_a_line_that_can_be_unfolded() {
    pictures("summary", || app(vec![user("go"), summary(), says("I go on.")]));
    pictures("summary_unfolded", || {
        let mut app = app(vec![user("go"), summary(), says("I go on.")]);
        press(&mut app, "ctrl-r", T0);
        app
    });
}

fn woken(kind: WakeupKind, exit: Option<protocol::Exit>, command: &str, text: &str) -> Body {
    Body::Wakeup(Wakeup {
        process: ProcessId("proc_0123456789ab".into()),
        kind,
        ordinal: 0,
        command: command.into(),
        exit,
        pattern: (kind == WakeupKind::Match).then(|| "ERROR".into()),
        text: text.into(),
    })
}

// P11, W24
#[test]
fn the_card_of_a_wakeup_says_why_the_agent_was_woken() {
    let lines: String = (1..=12).map(|n| format!("\nERROR in part {n}")).collect();
    let matched = format!(
        "[IMPORTANT: Background process proc_0123456789ab matched watch pattern \"ERROR\".\n\
         Command: make watch\nMatched output:{lines}\n(4 earlier matches were suppressed by rate \
         limit)]"
    );
    let off = "[IMPORTANT: Watch patterns disabled for process proc_0123456789ab: its output \
               matched too often, again and again. No further match is told, only the end of the \
               process.\nCommand: make watch\n(9 earlier matches were suppressed by rate limit)]";
    let done = "[IMPORTANT: Delegated task proc_0123456789ab completed.\nGoal: read the parser\n\
                Result:\nThe parser has three passes.\nThe second one is quadratic.]";
    pictures("wakeups_watch", || {
        app(vec![
            woken(WakeupKind::Match, None, "make watch", &matched),
            woken(WakeupKind::WatchDisabled, None, "make watch", off),
        ])
    });
    pictures("wakeups_delegation", || {
        let (ok, bad) = (exit(End::Exited, Some(0)), exit(End::Killed, None));
        app(vec![
            woken(WakeupKind::Delegation, Some(ok), "read the parser", done),
            woken(WakeupKind::Delegation, Some(bad), "write\u{1b}[2J the parser", ""),
        ])
    });
}

fn several() -> Vec<Process> {
    let old = |id: &str, exit, delivery| Process {
        delivery,
        started_at: T0 - 400_000,
        ..process(id, State::Ended, Some(exit))
    };
    let mut starting = process("proc_new", State::Starting, None);
    starting.started_at = T0;
    starting.command = "cargo build".into();
    let mut watched = process("proc_watched", State::Running, None);
    watched.notify = false;
    watched.watch = vec!["ERROR".into(), "panicked at".into()];
    watched.watching =
        Watching { hits: 14, matches: 3, stale: 2, suppressed: 9, ..Watching::default() };
    watched.command = "tail -F /var/log/engine.log".into();
    let mut off = watched.clone();
    off.id = ProcessId("proc_off".into());
    off.watching.off = true;
    off.notify = true;
    off.started_at -= 1_000;
    let mut task = process("proc_task", State::Running, None);
    task.work = Work::Delegation { session: SessionId("child".into()) };
    task.command = "find out why the parser is slow".into();
    task.started_at -= 2_000;
    let mut dying = process("proc_dying", State::Running, None);
    dying.killed_by = Some(Killer::User);
    dying.started_at -= 3_000;
    vec![
        old("proc_told", exit(End::Exited, Some(0)), Delivery::Delivered),
        old(
            "proc_held",
            exit(End::Exited, Some(2)),
            Delivery::Held("the provider refused the key".into()),
        ),
        old("proc_lost", exit(End::Lost, None), Delivery::Waiting),
        starting,
        watched,
        off,
        task,
        dying,
    ]
}

fn panel(processes: Vec<Process>, keys: &[&str]) -> App {
    let mut app = attached(Transcript { processes, ..window(vec![user("go")]) });
    press(&mut app, "ctrl-b", T0);
    for key in keys {
        press(&mut app, key, T0);
    }
    app
}

fn select(app: &mut App, id: &str) {
    for _ in 0..20 {
        if picture(app, 80, 24).contains(&format!("│ {id} ·")) {
            return;
        }
        press(app, "down", T0);
    }
    panic!("{id} is not to be found: {}", picture(app, 80, 24));
}

// P11
#[test]
fn the_panel_shows_state_kind_watch_and_what_became_of_each_process() {
    pictures("processes_none", || panel(vec![], &[]));
    for (name, id) in [
        ("processes_watched", "proc_watched"),
        ("processes_watch_off", "proc_off"),
        ("processes_task", "proc_task"),
        ("processes_held", "proc_held"),
        ("processes_dying", "proc_dying"),
    ] {
        pictures(name, || {
            let mut app = panel(several(), &[]);
            select(&mut app, id);
            app
        });
    }
}

fn everywhere() -> App {
    let mut orphan = process("proc_orphan", State::Running, None);
    orphan.session = SessionId("gone".into());
    orphan.delivery = Delivery::Orphaned;
    let mut other = process("proc_other", State::Running, None);
    other.session = SessionId("20260102_120000_abcdef".into());
    other.started_at -= 5_000;
    let mut own = several();
    let mut app = panel(own.clone(), &["a"]);
    own.extend([orphan, other]);
    app.on_event(&Event::ProcessesListed { processes: own }, T0);
    let row =
        SessionRow { id: SessionId("20260102_120000_abcdef".into()), ..session("The parser") };
    app.on_event(&Event::SessionsListed { sessions: vec![row] }, T0);
    app
}

// W19
#[test]
fn the_panel_of_all_sessions_names_owners_and_orphans() {
    pictures("processes_asking", || panel(several(), &["a"]));
    pictures("processes_orphan", || {
        let mut app = everywhere();
        select(&mut app, "proc_orphan");
        app
    });
    pictures("processes_other", || {
        let mut app = everywhere();
        select(&mut app, "proc_other");
        press(&mut app, "k", T0);
        app
    });
}

#[test]
fn a_refusal_is_seen_while_a_panel_is_open() {
    pictures("processes_refused", || {
        let mut app = panel(several(), &[]);
        let message = "the process belongs to a session that another host works on".into();
        app.on_event(&Event::Failed(Failure { about: Subject::Kill, message }), T0);
        app
    });
}

// W22, W31
#[test]
fn held_wakeups_and_the_need_for_a_user_are_marked() {
    pictures("held", || {
        let mut transcript = window(vec![user("go"), says("Done.")]);
        transcript.held = Some("you interrupted a turn; 2 wakeups wait".into());
        transcript.unattended = 3;
        attached(transcript)
    });
    for (wakeups, marked) in [(2, false), (3, true), (20, true)] {
        let mut app = app(vec![user("go")]);
        app.on_event(&Event::Unattended { wakeups }, T0);
        assert_eq!(picture(&mut app, 80, 24).contains("needs you"), marked, "{wakeups}");
        assert_eq!(picture(&mut app, 40, 12).contains("needs you"), marked, "{wakeups}");
    }
}

fn session(title: &str) -> SessionRow {
    SessionRow {
        id: SessionId("20260101_120000_abcdef".into()),
        title: title.into(),
        started_at: T0,
        active_at: T0,
        rows: 1,
        model: "openai/gpt-5".into(),
        source: "tui".into(),
        cwd: "/srv".into(),
        parent: None,
        compressions: 0,
        archived: false,
        ..protocol::SessionRow::default()
    }
}

fn family() -> Vec<SessionRow> {
    let id = |n: u32| SessionId(format!("2026010{n}_120000_abcdef"));
    vec![
        SessionRow { id: id(2), parent: Some(id(1)), ..session("Try it with a lock") },
        SessionRow { compressions: 2, rows: 412, ..session("Fix the pump") },
        SessionRow { id: id(3), parent: Some(id(9)), ..session("Look at the logs") },
        SessionRow { id: id(4), archived: true, ..session("Old things") },
    ]
}

fn listed(keys: &[&str]) -> App {
    let mut app = app(vec![]);
    enter_text(&mut app, "/sessions", T0);
    assert_eq!(sent(press(&mut app, "enter", T0)), [Command::ListSessions]);
    app.on_event(&Event::SessionsListed { sessions: family() }, T0);
    for key in keys {
        press(&mut app, key, T0);
    }
    app
}

// S03, W19
#[test]
fn the_list_of_sessions_shows_branches_compressions_and_archived_ones_on_demand() {
    pictures("sessions_family", || listed(&[]));
    pictures("sessions_archived", || listed(&["tab", "down"]));
}

#[test]
fn deleting_asks_first() {
    pictures("delete_listed", || {
        let mut app = listed(&["down", "del"]);
        app.on_tick(T0 + 1_000);
        app
    });
    pictures("delete", || {
        let mut app = attached(Transcript {
            processes: vec![process("proc_a", State::Running, None)],
            title: Some("Fix the pump".into()),
            ..window(vec![user("go")])
        });
        enter_text(&mut app, "/delete", T0);
        press(&mut app, "enter", T0);
        app
    });
}

// P10
#[test]
fn the_question_before_quitting_says_what_becomes_of_turn_commands_and_tasks() {
    pictures("quit_all", || {
        let mut app = attached(Transcript { processes: several(), ..window(vec![user("go")]) });
        app.on_event(&started(), T0);
        press(&mut app, "ctrl-d", T0);
        press(&mut app, "down", T0);
        app
    });
    pictures("quit_kill", || {
        let mut app = attached(Transcript { processes: several(), ..window(vec![user("go")]) });
        press(&mut app, "ctrl-d", T0);
        press(&mut app, "up", T0);
        press(&mut app, "up", T0);
        app
    });
    pictures("quit_turn", || {
        let mut app = app(vec![user("go")]);
        app.on_event(&started(), T0);
        press(&mut app, "ctrl-d", T0);
        app
    });
}

#[test]
fn a_long_prompt_says_how_many_lines_are_hidden() {
    let count = |text: &str| {
        let mut app = app(vec![user(text)]);
        picture(&mut app, 80, 60)
            .lines()
            .find_map(|line| line.trim().strip_prefix('…').map(|rest| rest.trim().to_owned()))
    };
    let lines =
        |n: usize| (0..n).map(|n| format!("line number {n} of a log\n")).collect::<String>();
    assert_eq!(count(&lines(40)), None);
    assert_eq!(count(&lines(41)).as_deref(), Some("+1 line"));
    assert_eq!(count(&lines(5_000)).as_deref(), Some("+4960 lines"));
    assert_eq!(count(&"word ".repeat(40_000)).as_deref(), Some("the line goes on"));
}

#[test]
fn no_size_panics_with_background_work() {
    for width in [0, 1, 2, 3, 5, 8, 13, 30, 200] {
        for height in [0, 1, 2, 3, 5, 8, 13, 60] {
            let mut app = everywhere();
            app.on_event(&toast("x", "y", News::Held { waiting: 3 }, "日本語\u{1b}[2J"), T0);
            paint(&mut app, width, height);
            for key in ["down", "k", "enter", "esc", "a", "esc"] {
                press(&mut app, key, T0);
                paint(&mut app, width, height);
            }
            app = listed(&["tab", "del"]);
            paint(&mut app, width, height);
            press(&mut app, "esc", T0);
            paint(&mut app, width, height);
        }
    }
}

#[test]
fn hostile_names_and_reasons_bring_no_control_character_to_the_screen() {
    const EVIL: &str = "a\u{1b}[2J\u{1b}]0;t\u{7}\r\n\u{9b}31m\u{202e}b";
    let mut evil = process(EVIL, State::Running, None);
    evil.command = EVIL.into();
    evil.watch = vec![EVIL.into()];
    evil.delivery = Delivery::Held(EVIL.into());
    evil.session = SessionId(EVIL.into());
    let transcript = || Transcript {
        processes: vec![evil.clone()],
        held: Some(EVIL.into()),
        title: Some(EVIL.into()),
        ..window(vec![
            woken(WakeupKind::Delegation, None, EVIL, EVIL),
            woken(WakeupKind::WatchDisabled, None, EVIL, EVIL),
            Body::Summary(Summary { text: EVIL.into(), ..Summary::default() }),
        ])
    };
    let row = SessionRow { parent: Some(SessionId(EVIL.into())), ..session(EVIL) };
    let open = |keys: &[&str]| {
        let mut app = attached(transcript());
        app.on_event(&toast(EVIL, EVIL, News::Matched { pattern: EVIL.into() }, EVIL), T0);
        for key in keys {
            match key.strip_prefix('/') {
                Some(_) => enter_text(&mut app, key, T0),
                None => drop(press(&mut app, key, T0)),
            }
        }
        app.on_event(&Event::ProcessesListed { processes: vec![evil.clone()] }, T0);
        app.on_event(&Event::SessionsListed { sessions: vec![row.clone()] }, T0);
        picture(&mut app, 80, 24)
    };
    let screens: [&[&str]; 6] = [
        &[],
        &["ctrl-r"],
        &["ctrl-b", "k"],
        &["ctrl-b", "a"],
        &["/sessions", "enter"],
        &["/delete", "enter"],
    ];
    for keys in screens {
        let shown = open(keys);
        let bad = |c: char| c != '\n' && crate::clean::is_hidden(c);
        assert!(!shown.contains(bad) && !shown.contains("[2J"), "{keys:?}: {shown:?}");
        assert!(shown.contains('a'), "{shown}");
    }
}
