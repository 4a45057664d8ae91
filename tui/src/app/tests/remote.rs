//! What keys and events do about the link, lists that change elsewhere, rows that are taken back,
//! files, goals and news.

use protocol::Subject;
use protocol::{Attention, Body, Found, Goal, GoalAsk, GoalState, Link, Source, TurnId};

use super::*;

fn typed(app: &mut App, text: &str) -> Vec<Command> {
    enter_text(app, text, T0);
    sent(press(app, "enter", T0))
}

fn link(app: &mut App, link: Link) {
    app.on_event(&Event::Link { link }, T0);
}

fn down() -> Link {
    Link::Down { why: "reset".into(), attempt: 1, retry_at: T0 + 2_600 }
}

fn shows(app: &mut App, text: &str) -> bool {
    picture(app, 80, 24).contains(text)
}

fn again(rows: Vec<Body>) -> Event {
    Event::Attached { transcript: Box::new(window(rows)), resynced: true }
}

// E08
#[test]
fn a_lost_link_counts_down_to_the_next_try_and_costs_nothing_when_it_is_up() {
    let mut app = app(vec![user("go")]);
    link(&mut app, down());
    let moments = [
        (0, "in 3 s", Some(T0 + 600)),
        (600, "in 2 s", Some(T0 + 1_600)),
        (1_600, "in 1 s", Some(T0 + 2_600)),
        (2_600, "trying again", None),
    ];
    for (at, says, next) in moments {
        app.on_tick(T0 + at);
        assert!(shows(&mut app, says), "{at}: {}", picture(&mut app, 80, 24));
        assert_eq!(app.next_tick(), next, "{at}");
    }
    link(&mut app, Link::Up);
    app.on_tick(T0 + 9_000);
    assert!(!shows(&mut app, "link") && app.next_tick().is_none());
}

// E08
#[test]
fn a_refusal_stays_whatever_is_typed() {
    let mut app = app(vec![user("go")]);
    link(&mut app, Link::Refused { message: "log in again".into() });
    for key in ["esc", "x", "enter", "ctrl-b"] {
        press(&mut app, key, T0);
        assert!(shows(&mut app, "✗ log in again"), "{key}");
    }
    link(&mut app, Link::Up);
    assert!(!shows(&mut app, "log in again"));
}

// E03
#[test]
fn what_is_typed_while_the_link_is_down_stays_in_view_until_the_host_has_it() {
    let mut app = app(vec![user("go on"), says("done")]);
    link(&mut app, down());
    for _ in 0..2 {
        typed(&mut app, "go on");
    }
    enter_text(&mut app, "draft", T0);
    assert_eq!(picture(&mut app, 80, 24).matches("not sent yet: go on").count(), 2);
    assert_eq!(app.unsent(), ["go on", "go on", "draft"]);
    link(&mut app, Link::Up);
    let rows = || vec![user("go on"), says("done")];
    app.on_event(&again(rows()), T0);
    assert_eq!(app.unsent(), ["go on", "go on", "draft"], "the older row is another prompt");
    app.on_event(&again([rows(), vec![user("go on")]].concat()), T0);
    assert_eq!(app.unsent(), ["go on", "draft"], "one row is one prompt");
    app.on_event(&Event::RowAdded { row: row(4, user("[Files: x]\n\ngo on")) }, T0);
    assert_eq!(app.unsent(), ["draft"], "a host may write something around it");
}

#[test]
fn a_command_that_waits_for_the_link_is_not_said_to_be_done() {
    let mut app = app(vec![user("go")]);
    link(&mut app, down());
    assert_eq!(typed(&mut app, "/pin"), [Command::Pin { session: None, pinned: true }]);
    assert!(shows(&mut app, "once the link is back: pinned"));
    typed(&mut app, "/undo");
    assert!(shows(&mut app, "this waits until the link is back"));
    typed(&mut app, "/goal status");
    assert!(shows(&mut app, "no goal is set") && !shows(&mut app, "is back"));
    typed(&mut app, "/pin");
    link(&mut app, Link::Up);
    assert!(!shows(&mut app, "is back"), "it has gone out");
    typed(&mut app, "/pin");
    assert!(!shows(&mut app, "is back"));
}

#[test]
fn a_prompt_that_takes_long_to_arrive_is_seen_to_be_on_its_way() {
    let mut app = app(vec![]);
    typed(&mut app, "hello");
    assert!(!shows(&mut app, "sending"), "nobody is to see the usual moment");
    assert_eq!(app.next_tick(), Some(T0 + 1_000));
    app.on_tick(T0 + 1_000);
    assert!(shows(&mut app, "sending: hello"));
    assert_eq!(app.next_tick(), None);
    app.on_event(&Event::RowAdded { row: row(1, user("hello")) }, T0);
    assert!(!shows(&mut app, "sending"));
}

// E03
#[test]
fn after_a_resync_the_user_sees_how_much_was_missed() {
    let rows = |n: u64| (0..n).map(|n| user(&format!("row {n}"))).collect::<Vec<_>>();
    let said = |before: u64, after: u64| {
        let mut app = app(rows(before));
        app.on_event(&again(rows(after)), T0);
        picture(&mut app, 80, 24)
    };
    assert!(said(3, 5).contains("resynced: 2 new rows while you were away"));
    assert!(said(3, 4).contains("resynced: 1 new row while you were away"));
    assert!(!said(3, 3).contains("resynced"), "nothing was missed");
    assert!(said(3, 2).contains("resynced: rows were taken back while you were away"));

    let mut app = app(rows(60));
    paint(&mut app, 80, 24);
    press(&mut app, "pgup", T0);
    let place = picture(&mut app, 80, 24).lines().nth(3).map(str::to_owned);
    let failure = Failure {
        about: protocol::Subject::Unknown("x".into()),
        message: "the disk is full".into(),
    };
    app.on_event(&Event::Failed(failure), T0);
    app.on_event(&again(rows(67)), T0);
    assert!(shows(&mut app, "✗ the disk is full"), "an error is not lost for it");
    assert!(shows(&mut app, "resynced: 7 new rows"));
    app.on_tick(T0 + 9_000);
    assert!(shows(&mut app, "↓ 7 new"));
    assert_eq!(picture(&mut app, 80, 24).lines().nth(3).map(str::to_owned), place);
}

fn session(id: &str) -> SessionRow {
    SessionRow {
        id: SessionId(id.into()),
        title: format!("title of {id}"),
        active_at: T0,
        ..SessionRow::default()
    }
}

fn opened(rows: &[&str]) -> App {
    let mut app = app(vec![]);
    typed(&mut app, "/sessions");
    let sessions = rows.iter().map(|id| session(id)).collect();
    app.on_event(&Event::SessionsListed { sessions }, T0);
    app
}

// S04
#[test]
fn a_change_elsewhere_shows_in_the_open_list_at_once_and_moves_neither_selection_nor_filter() {
    let mut app = opened(&["b", "a", "c"]);
    enter_text(&mut app, "of", T0);
    press(&mut app, "down", T0);
    assert_eq!(sent(app.on_event(&Event::SessionsChanged, T0)), [Command::ListSessions]);
    for _ in 0..5 {
        assert_eq!(app.on_event(&Event::SessionsChanged, T0), [], "never asked twice at once");
    }
    let renamed = SessionRow { title: "renamed, of late".into(), ..session("b") };
    let asks = SessionRow { attention: Some((Attention::Approval, 1)), ..session("d") };
    let pinned = SessionRow { pinned: true, ..session("c") };
    let sessions = vec![asks, renamed, session("a"), pinned];
    let once_more = app.on_event(&Event::SessionsListed { sessions: sessions.clone() }, T0);
    assert_eq!(sent(once_more), [Command::ListSessions], "for what changed meanwhile");
    assert_eq!(app.on_event(&Event::SessionsListed { sessions }, T0), []);
    let shown = picture(&mut app, 80, 24);
    let at = |text: &str| shown.find(text).unwrap_or_else(|| panic!("{text}: {shown}"));
    assert!(at("*  title of c") < at("! title of d"), "{shown}");
    assert!(at("title of d") < at("renamed"), "{shown}");
    let open = Command::Open(Target::Id(SessionId("a".into())));
    assert_eq!(sent(press(&mut app, "enter", T0)), [open]);
    let mut app = self::app(vec![]);
    assert_eq!(app.on_event(&Event::SessionsChanged, T0), [], "nothing shows it");
}

// S04
#[test]
fn names_in_the_list_of_all_processes_follow_too() {
    let mut app = app(vec![]);
    press(&mut app, "ctrl-b", T0);
    assert_eq!(app.on_event(&Event::SessionsChanged, T0), []);
    press(&mut app, "a", T0);
    assert_eq!(sent(app.on_event(&Event::SessionsChanged, T0)), [Command::ListSessions]);
}

// S04
#[test]
fn pinning_and_archiving_in_the_list_are_about_the_selected_session() {
    let here = "20260101_120000_abcdef";
    let mut app = opened(&[here, "b"]);
    let id = |id: &str| Some(SessionId(id.into()));
    let pin = |session, pinned| [Command::Pin { session, pinned }];
    let archive = |session, archived| [Command::Archive { session, archived }];
    assert_eq!(sent(press(&mut app, "ctrl-t", T0)), pin(id(here), true));
    press(&mut app, "down", T0);
    assert_eq!(sent(press(&mut app, "ctrl-t", T0)), pin(id("b"), true));
    assert_eq!(sent(press(&mut app, "ctrl-x", T0)), archive(id("b"), true));
    let b = SessionRow { pinned: true, archived: true, ..session("b") };
    app.on_event(&Event::SessionsListed { sessions: vec![session(here), b] }, T0);
    press(&mut app, "tab", T0);
    press(&mut app, "home", T0);
    assert_eq!(sent(press(&mut app, "ctrl-t", T0)), pin(id("b"), false));
    assert_eq!(sent(press(&mut app, "ctrl-x", T0)), archive(id("b"), false));
    // Where no session is selected nothing is done, to none.
    enter_text(&mut app, "zzz", T0);
    for key in ["ctrl-t", "ctrl-x", "f2", "ctrl-e", "enter"] {
        assert_eq!(press(&mut app, key, T0), [], "{key}");
    }
}

// S04
#[test]
fn any_session_is_renamed_in_the_list() {
    let named = |id: &str, title: &str| {
        [Command::SetTitle { session: Some(SessionId(id.into())), title: title.into() }]
    };
    for key in ["f2", "ctrl-e"] {
        let mut app = opened(&["a", "b"]);
        press(&mut app, "down", T0);
        assert_eq!(press(&mut app, key, T0), []);
        enter_text(&mut app, " 2", T0);
        for key in ["home", "ctrl-t", "ctrl-x", "up", "down", "tab", "alt-enter"] {
            assert_eq!(press(&mut app, key, T0), [], "{key} is not for the list now");
        }
        app.on_paste("the\nold ", T0);
        assert!(shows(&mut app, "the old title of b 2"), "{}", picture(&mut app, 80, 24));
        // The list comes anew meanwhile, and in another order.
        let sessions = vec![session("b"), session("c"), session("a")];
        app.on_event(&Event::SessionsListed { sessions }, T0);
        assert!(shows(&mut app, "the old title of b 2"));
        assert_eq!(sent(press(&mut app, "enter", T0)), named("b", "the old title of b 2"));
        assert!(shows(&mut app, "title of b") && !shows(&mut app, "the old"), "the host decides");
        let open = Command::Open(Target::Id(SessionId("b".into())));
        assert_eq!(sent(press(&mut app, "enter", T0)), [open], "the keys are the list's again");
    }
    // Given up, unchanged or empty: nothing is sent, and the list stays open.
    let left: [&[&str]; 4] =
        [&["x", "esc"], &["x", "ctrl-c"], &["x", "bs", "enter"], &["ctrl-u", " ", "enter"]];
    for keys in left {
        let mut app = opened(&["a"]);
        press(&mut app, "f2", T0);
        for key in keys {
            assert_eq!(press(&mut app, key, T0), [], "{keys:?}");
        }
        assert!(shows(&mut app, "title of a") && app.panel.is_some());
    }
    // A session without a title is listed by its prompt, which may have lines: it gets none by this.
    let mut app = opened(&["a"]);
    let lines = SessionRow { title: "one\ntwo ".into(), ..session("a") };
    app.on_event(&Event::SessionsListed { sessions: vec![lines] }, T0);
    press(&mut app, "f2", T0);
    assert_eq!(press(&mut app, "enter", T0), []);
    // A session that is deleted elsewhere takes its title along.
    let mut app = opened(&["a", "b"]);
    press(&mut app, "f2", T0);
    app.on_event(&Event::SessionsListed { sessions: vec![session("b")] }, T0);
    assert_eq!(press(&mut app, "enter", T0).len(), 1, "Enter opens again");
}

// S04
#[test]
fn messages_are_searched_once_typing_pauses_and_late_answers_are_dropped() {
    let search = |query: &str| Command::Search { query: query.into() };
    let found = |query: &str, id: &str| Event::SessionsFound {
        query: query.into(),
        found: vec![Found {
            session: SessionId(id.into()),
            title: format!("found {id}"),
            excerpt: Some("… a pump …".into()),
        }],
    };
    let mut app = opened(&["a"]);
    enter_text(&mut app, "pu", T0);
    assert_eq!(app.next_tick(), None, "two letters are in everything");
    enter_text(&mut app, "m", T0 + 100);
    assert_eq!(app.next_tick(), Some(T0 + 500));
    assert_eq!(app.on_tick(T0 + 499), []);
    assert_eq!(sent(app.on_tick(T0 + 500)), [search("pum")]);
    assert_eq!(app.on_tick(T0 + 600), [], "once");
    enter_text(&mut app, "p", T0 + 700);
    app.on_event(&found("pum", "late"), T0 + 800);
    assert!(!shows(&mut app, "found late"));
    assert_eq!(sent(app.on_tick(T0 + 1_100)), [search("pump")]);
    app.on_event(&found("pump", "b"), T0 + 1_200);
    assert!(shows(&mut app, "found b") && shows(&mut app, "… a pump …"));
    let open = Command::Open(Target::Id(SessionId("b".into())));
    assert_eq!(sent(press(&mut app, "enter", T0)), [open]);

    // A host that cannot search is not asked at every word.
    let mut app = opened(&["a"]);
    enter_text(&mut app, "title", T0);
    assert_eq!(sent(app.on_tick(T0 + 400)), [search("title")]);
    let failure = Failure { about: Subject::Search, message: "no".into() };
    app.on_event(&Event::Failed(failure), T0);
    enter_text(&mut app, " of", T0 + 500);
    assert_eq!(app.on_tick(T0 + 5_000), []);
    assert!(shows(&mut app, "title of a"));
}

#[test]
fn the_new_commands_do_what_they_say() {
    let run = |text: &str| typed(&mut app(vec![user("go")]), text);
    assert_eq!(run("/undo"), [Command::Undo]);
    assert!(matches!(run("/retry")[..], [Command::Retry { .. }]));
    assert_eq!(run("/duplicate"), [Command::Duplicate]);
    assert_eq!(run("/pin"), [Command::Pin { session: None, pinned: true }]);
    assert_eq!(run("/unpin"), [Command::Pin { session: None, pinned: false }]);
    assert_eq!(run("/export"), [Command::Export]);
    assert_eq!(run("/workspace "), [Command::ListWorkspaces]);
    assert_eq!(run("/workspace /srv/www"), [Command::SetCwd { cwd: "/srv/www".into() }]);
    assert_eq!(run("/workspace ~/src"), [Command::SetCwd { cwd: "/home/ada/src".into() }]);
    assert_eq!(run("/reasoning high"), [Command::SetReasoning { effort: Some("high".into()) }]);
    assert_eq!(run("/reasoning default"), [Command::SetReasoning { effort: None }]);
    assert_eq!(run("/profile "), [Command::ListProfiles]);
    assert_eq!(run("/profile lab"), [Command::SetProfile { name: "lab".into() }]);
    assert_eq!(run("/drop"), [Command::DropUploads]);
    assert_eq!(run("/yolo off"), [Command::SetYolo { yolo: false }]);
    let set = GoalAsk::Set { text: "make it fast".into() };
    assert_eq!(run("/goal make it fast"), [Command::Goal(set)]);
    assert_eq!(run("/goal clear"), [Command::Goal(GoalAsk::Clear)]);
    for text in ["/goal pause", "/goal resume", "/goal status", "/goal "] {
        assert_eq!(run(text), [], "{text}: there is none");
    }
    let goal =
        Goal { text: "x".into(), state: GoalState::Active, turns: 1, max_turns: 20, verdict: None };
    let mut app = attached(Transcript { goal: Some(goal), ..window(vec![]) });
    assert_eq!(typed(&mut app, "/goal pause"), [Command::Goal(GoalAsk::Pause)]);
    assert_eq!(typed(&mut app, "/goal resume"), [Command::Goal(GoalAsk::Resume)]);
}

#[test]
fn another_folder_is_confirmed_where_it_was_asked_for_once_the_host_has_taken_it() {
    let moved = Event::CwdChanged { cwd: "/srv/www".into() };
    let mut app = app(vec![user("go")]);
    app.on_event(&moved, T0);
    assert!(!shows(&mut app, "works in"), "another front end knows");
    typed(&mut app, "/workspace /srv/www");
    assert!(!shows(&mut app, "works in"));
    app.on_event(&moved, T0);
    assert!(shows(&mut app, "works in /srv/www from the next turn on"));
    typed(&mut app, "/workspace /nowhere");
    let failure = Failure { about: Subject::Cwd, message: "there is none".into() };
    app.on_event(&Event::Failed(failure), T0);
    app.on_event(&moved, T0);
    assert!(shows(&mut app, "there is none") && !shows(&mut app, "works in"));
    typed(&mut app, "/workspace ");
    app.on_event(&Event::WorkspacesListed { paths: vec!["/srv/www".into()] }, T0);
    press(&mut app, "enter", T0);
    app.on_event(&moved, T0);
    assert!(shows(&mut app, "works in /srv/www"));
}

#[test]
fn ctrl_o_opens_the_list_of_sessions_when_none_has_news() {
    let mut app = app(vec![user("go")]);
    assert_eq!(sent(press(&mut app, "ctrl-o", T0)), [Command::ListSessions]);
    assert!(shows(&mut app, "Sessions · Enter opens"));
}

#[test]
fn a_folder_of_another_machine_is_made_out_there() {
    let mut app = App::new(Options { place: Some("lab".into()), ..options() }, T0);
    assert_eq!(typed(&mut app, "/workspace ~/src"), [Command::SetCwd { cwd: "~/src".into() }]);
}

#[test]
fn a_picker_opens_on_what_is_in_use_and_asks_for_what_is_picked() {
    let mut app = app(vec![]);
    app.on_event(&Event::ReasoningChanged { effort: Some("low".into()) }, T0);
    assert!(shows(&mut app, "thinks low"));
    assert_eq!(typed(&mut app, "/reasoning "), []);
    press(&mut app, "down", T0);
    let medium = Command::SetReasoning { effort: Some("medium".into()) };
    assert_eq!(sent(press(&mut app, "enter", T0)), [medium]);
    assert!(app.panel.is_none());
    let listed = Event::WorkspacesListed { paths: vec!["/srv".into(), "/tmp".into()] };
    app.on_event(&listed, T0);
    assert!(app.panel.is_none(), "nobody asked");
    typed(&mut app, "/workspace ");
    app.on_event(&listed, T0);
    press(&mut app, "down", T0);
    assert_eq!(sent(press(&mut app, "enter", T0)), [Command::SetCwd { cwd: "/tmp".into() }]);
}

#[test]
fn a_list_that_takes_long_is_in_view_at_once_and_can_be_left() {
    let refused = |about| Event::Failed(Failure { about, message: "the disk is gone".into() });
    let models = Event::ModelsListed { models: vec!["demo".into()] };
    for (command, about) in [
        ("/sessions", Subject::Sessions),
        ("/model ", Subject::Models),
        ("/workspace ", Subject::Workspaces),
        ("/profile ", Subject::Profiles),
    ] {
        let mut app = app(vec![]);
        typed(&mut app, command);
        assert!(shows(&mut app, "asking the host …"), "{command}");
        enter_text(&mut app, "abc", T0);
        assert_eq!(press(&mut app, "enter", T0), [], "{command}: there is nothing to pick");
        assert!(shows(&mut app, "asking the host …"), "{command}");
        app.on_event(&refused(about), T0);
        assert!(app.panel.is_none() && shows(&mut app, "the disk is gone"), "{command}");
        typed(&mut app, command);
        press(&mut app, "esc", T0);
        app.on_event(&models, T0);
        assert!(app.panel.is_none(), "{command}: it comes too late");
    }
    let mut app = app(vec![]);
    typed(&mut app, "/model ");
    enter_text(&mut app, "gpt", T0);
    app.on_event(&Event::ModelsListed { models: vec!["demo".into(), "gpt-5".into()] }, T0);
    let picked = sent(press(&mut app, "enter", T0));
    assert_eq!(picked, [Command::SetModel { model: "gpt-5".into() }], "what was typed counts");
    let mut app = opened(&["a", "b"]);
    app.on_event(&refused(Subject::Sessions), T0);
    assert!(shows(&mut app, "title of a"), "what is listed stays");
}

#[test]
fn approvals_are_switched_off_by_no_stray_key_and_on_without_a_question() {
    let mut app = app(vec![user("go")]);
    assert_eq!(typed(&mut app, "/yolo"), []);
    for (key, at) in [("2", 10), ("enter", 20), ("y", 1_000)] {
        assert_eq!(press(&mut app, key, T0 + at), []);
    }
    assert_eq!(press(&mut app, "enter", T0 + 2_000), [], "the default keeps asking");
    // A text that is being written goes on, with pauses: none of its keys is a yes.
    typed(&mut app, "/yolo");
    for (n, c) in ["r", "u", "n", " ", "2", "2", "enter"].into_iter().enumerate() {
        assert_eq!(press(&mut app, c, T0 + 2_000 + 700 * n as i64), [], "{n}");
    }
    assert!(app.confirm.is_none(), "a no is one however it comes");
    typed(&mut app, "/yolo");
    for (key, at) in [("x", 1_000), ("2", 2_000), ("down", 3_000)] {
        assert_eq!(press(&mut app, key, T0 + at), [], "{key}");
    }
    let on = [Command::SetYolo { yolo: true }];
    assert_eq!(sent(press(&mut app, "enter", T0 + 4_000)), on, "whoever chooses it by hand");
    typed(&mut app, "/yolo on");
    assert_eq!(sent(press(&mut app, "2", T0 + 3_000)), [Command::SetYolo { yolo: true }]);
    app.on_event(&Event::YoloChanged { yolo: true }, T0);
    assert!(shows(&mut app, "yolo"));
    assert_eq!(typed(&mut app, "/yolo on"), []);
    assert!(app.confirm.is_none());
    assert_eq!(typed(&mut app, "/yolo"), [Command::SetYolo { yolo: false }]);
}

fn prompts(n: u64) -> Vec<Body> {
    (1..=n).flat_map(|n| [user(&format!("prompt {n}")), says(&format!("answer {n}"))]).collect()
}

#[test]
fn what_is_undone_goes_from_view_and_its_prompt_into_an_empty_input() {
    let removed = Event::RowsRemoved { after: 4 };
    let mut app = app(prompts(3));
    typed(&mut app, "/undo");
    app.on_event(&removed, T0);
    assert_eq!(app.composer.text(), "prompt 3");
    let shown = picture(&mut app, 80, 24);
    assert!(shown.contains("answer 2") && !shown.contains("answer 3"), "{shown}");
    assert!(shown.contains("2 rows taken back"), "{shown}");
    // Their numbers are given again, to other rows.
    app.on_event(&Event::RowAdded { row: row(5, user("another")) }, T0);
    assert!(shows(&mut app, "❯ another"));

    let mut app = self::app(prompts(3));
    typed(&mut app, "/undo");
    enter_text(&mut app, "draft", T0);
    app.on_event(&removed, T0);
    assert_eq!(app.composer.text(), "draft");
    paint(&mut app, 80, 24);
    press(&mut app, "esc", T0);
    press(&mut app, "up", T0);
    press(&mut app, "up", T0);
    assert_eq!(app.composer.text(), "prompt 3", "it is in the history");

    let mut app = self::app(prompts(3));
    typed(&mut app, "/retry");
    app.on_event(&removed, T0);
    assert!(app.composer.is_empty(), "the host has its text");
    assert!(shows(&mut app, "the prompt runs again"));

    // Another front end's undo touches no input.
    let mut app = self::app(prompts(3));
    app.on_event(&removed, T0);
    assert!(app.composer.is_empty() && shows(&mut app, "taken back elsewhere"));
}

#[test]
fn rows_that_are_told_anew_are_not_said_to_be_taken_back() {
    // A hermes-webui tells the rows of a turn once more when it has stored them.
    let again = |app: &mut App| {
        let last = app.transcript.rows.last().unwrap().clone();
        app.on_event(&Event::RowsRemoved { after: last.n - 1 }, T0);
        let early = shows(app, "taken back");
        app.on_event(&Event::RowAdded { row: last }, T0);
        early
    };
    let mut app = self::app(prompts(3));
    assert!(again(&mut app), "nothing has come yet");
    assert!(!shows(&mut app, "taken back"));

    let mut app = self::app(prompts(3));
    app.on_event(&started(), T0);
    assert!(!again(&mut app), "a turn runs");
}

#[test]
fn rows_that_go_leave_a_scrolled_view_where_it_is_or_at_the_end() {
    let scrolled = || {
        let mut app = app(prompts(30));
        paint(&mut app, 80, 24);
        press(&mut app, "pgup", T0);
        app.on_event(&Event::RowAdded { row: row(61, user("new")) }, T0);
        app.on_event(&Event::RowAdded { row: row(62, says("newer")) }, T0);
        assert!(shows(&mut app, "↓ 2 new"));
        app
    };
    let top = |app: &mut App| picture(app, 80, 24).lines().next().map(str::to_owned);
    let mut app = scrolled();
    let before = top(&mut app);
    app.on_event(&Event::RowsRemoved { after: 61 }, T0);
    assert!(shows(&mut app, "↓ 1 new"));
    assert_eq!(top(&mut app), before);
    app.on_event(&Event::RowsRemoved { after: 60 }, T0);
    assert!(!shows(&mut app, "↓"));
    let mut app = scrolled();
    app.on_event(&Event::RowsRemoved { after: 6 }, T0);
    assert!(app.view.is_following() && shows(&mut app, "answer 3"));
    app.on_event(&Event::RowsRemoved { after: 0 }, T0);
    paint(&mut app, 80, 24);
    press(&mut app, "pgup", T0);
    paint(&mut app, 80, 24);
}

#[test]
fn rows_before_a_window_that_was_emptied_are_asked_for() {
    let mut transcript = window(vec![]);
    transcript.rows = vec![row(101, user("a")), row(102, says("b"))];
    transcript.earlier = 100;
    let mut app = attached(transcript);
    paint(&mut app, 80, 24);
    app.on_event(&Event::RowsRemoved { after: 100 }, T0);
    assert_eq!(sent(app.on_drawn()), [Command::Page { before: 101, limit: 200 }]);
}

#[test]
fn an_export_is_written_where_it_was_asked_for_and_under_no_name_that_leads_elsewhere() {
    let exported = |name: &str| Event::Exported { name: name.into(), text: "# Pump".into() };
    let save = |path: &str, name: &str| Effect::Save {
        path: path.into(),
        name: name.into(),
        text: "# Pump".into(),
    };
    let mut app = app(vec![]);
    assert_eq!(app.on_event(&exported("pump.md"), T0), [], "nobody asked");
    typed(&mut app, "/export");
    assert_eq!(app.on_event(&exported("pump.md"), T0), [save("", "pump.md")]);
    assert_eq!(app.on_event(&exported("pump.md"), T0), [], "once");
    typed(&mut app, "/export ~/notes");
    let names = "../../.ssh/auth\u{1b}[2Jorized\u{202e}_keys";
    let effects = app.on_event(&exported(names), T0);
    assert_eq!(
        effects,
        [save("~/notes", "..-.ssh-authorized_keys".trim_start_matches(['.', '-']))]
    );
    for odd in ["", "..", "/", ".\u{7}."] {
        typed(&mut app, "/export");
        assert_eq!(app.on_event(&exported(odd), T0), [save("", "session.md")], "{odd:?}");
    }
}

#[test]
fn with_follow_a_view_nobody_uses_goes_along_and_a_used_one_only_hears_of_it() {
    // S04
    let other = SessionId("20260102_120000_abcdef".into());
    let switched = Event::Switched { session: other.clone(), name: "The pump".into() };
    let follows = |set: &dyn Fn(&mut App)| {
        let mut app = app(vec![user("go")]);
        app.options.follow = true;
        set(&mut app);
        let effects = app.on_event(&switched, T0);
        (sent(effects), app.flash().map(str::to_owned))
    };
    let open = Command::Open(Target::Id(other.clone()));
    assert_eq!(follows(&|_| {}), (vec![open], None));
    assert_eq!(follows(&|app| app.options.follow = false), (vec![], None));
    let heard = Some("The pump was opened elsewhere".to_owned());
    assert_eq!(follows(&|app| enter_text(app, "half a word", T0)), (vec![], heard.clone()));
    let running = Event::TurnStarted { turn: TurnId(2), source: Source::User, at: T0 };
    assert_eq!(follows(&|app| drop(app.on_event(&running, T0))), (vec![], heard));
    let here = Event::Switched { session: app(vec![]).transcript.session, name: String::new() };
    let mut app = app(vec![user("go")]);
    app.options.follow = true;
    assert_eq!(sent(app.on_event(&here, T0)), []);
}
