//! What the interface says in lines of its own, and when it gives way.

use protocol::Subject;
use protocol::{Link, Row};

use super::*;

fn shown(app: &mut App) -> String {
    picture(app, 80, 24)
}

fn add(app: &mut App, row: Row, at: Millis) {
    app.on_event(&Event::RowAdded { row }, at);
}

fn fail(app: &mut App, message: &str) {
    let failure = Failure { about: Subject::Export, message: message.into() };
    app.on_event(&Event::Failed(failure), T0);
}

#[test]
fn what_is_said_is_news_for_a_moment_and_then_stands_before_what_came_later() {
    let mut app = app(vec![user("go"), says("first")]);
    fail(&mut app, "the disk is full");
    let place = |app: &mut App, text: &str| {
        let shown = shown(app);
        shown.find(text).unwrap_or_else(|| panic!("{text}: {shown}"))
    };
    app.on_tick(T0 + 3_600_000);
    assert_eq!(app.next_tick(), None, "as long as it is the newest it stays");
    assert!(place(&mut app, "first") < place(&mut app, "the disk is full"));
    let at = T0 + 3_600_000;
    fail(&mut app, "the disk is full");
    let notice = |app: &App| app.notice.as_ref().map(|said| format!("{:?}", said.notice));
    let said = notice(&app);
    add(&mut app, row(3, says("second")), at);
    app.on_tick(at);
    assert!(place(&mut app, "first") < place(&mut app, "the disk is full"));
    assert!(place(&mut app, "the disk is full") < place(&mut app, "second"));
    add(&mut app, row(4, says("third")), at);
    assert!(place(&mut app, "the disk is full") < place(&mut app, "second"));
    assert!(place(&mut app, "second") < place(&mut app, "third"));
    assert_eq!(shown(&mut app).matches("the disk is full").count(), 1);
    assert_eq!(notice(&app), said);
    // The next thing that is said is the newest again, and a prompt takes it away.
    fail(&mut app, "it is still full");
    assert!(place(&mut app, "third") < place(&mut app, "it is still full"));
    assert!(!shown(&mut app).contains("the disk is full"));
    enter_text(&mut app, "go on", T0);
    press(&mut app, "enter", T0);
    assert!(!shown(&mut app).contains("still full"));
}

#[test]
fn news_are_not_pushed_out_of_sight_by_what_comes_at_once() {
    let mut app = running();
    fail(&mut app, "the disk is full");
    let at_the_end = |app: &mut App| {
        let shown = shown(app);
        let at = shown.lines().position(|line| line.contains("the disk is full"));
        at.is_some_and(|at| at == 20)
    };
    add(&mut app, row(2, says("quick")), T0 + 10);
    assert!(at_the_end(&mut app), "{}", shown(&mut app));
    app.on_tick(T0 + 3_999);
    assert!(at_the_end(&mut app));
    app.on_tick(T0 + 4_000);
    assert!(!at_the_end(&mut app) && shown(&mut app).contains("the disk is full"));
    // What is the case, and has not only happened, stays below.
    let mut app = running();
    app.on_event(&Event::Link { link: Link::Connecting }, T0);
    enter_text(&mut app, "/pin", T0);
    press(&mut app, "enter", T0);
    add(&mut app, row(2, says("quick")), T0 + 10);
    app.on_tick(T0 + 60_000);
    let shown = shown(&mut app);
    let line = shown.lines().nth(20).unwrap_or_default();
    assert!(line.contains("once the link is back: pinned"), "{shown}");
}

#[test]
fn what_is_said_at_the_start_comes_after_the_rows_that_were_there() {
    let options = Options { notes: vec!["no such key: x".into()], ..options() };
    let mut app = App::new(options, T0);
    let transcript = Box::new(window(vec![user("go"), says("first")]));
    app.on_event(&Event::Attached { transcript, resynced: false }, T0);
    add(&mut app, row(3, says("second")), T0 + 10);
    app.on_tick(T0 + 9_000);
    let shown = shown(&mut app);
    let at = |text: &str| shown.find(text).unwrap_or_else(|| panic!("{text}: {shown}"));
    assert!(at("first") < at("no such key") && at("no such key") < at("second"));

    // And above all of them where there were none.
    let options = Options { notes: vec!["no such key: x".into()], ..self::options() };
    let mut app = App::new(options, T0);
    let transcript = Box::new(window(vec![]));
    app.on_event(&Event::Attached { transcript, resynced: false }, T0);
    add(&mut app, row(1, says("first")), T0 + 10);
    app.on_tick(T0 + 9_000);
    let shown = picture(&mut app, 80, 24);
    let at = |text: &str| shown.find(text).unwrap_or_else(|| panic!("{text}: {shown}"));
    assert!(at("no such key") < at("first"));
}

// W22
#[test]
fn waking_says_when_nothing_is_held() {
    let wake = |app: &mut App| {
        enter_text(app, "/wake", T0);
        assert_eq!(sent(press(app, "enter", T0)), [Command::WakeNow]);
        shown(app).contains("no wakeup is held")
    };
    assert!(wake(&mut app(vec![user("go")])));
    let held = Some("you interrupted a turn".to_owned());
    assert!(!wake(&mut attached(Transcript { held, ..window(vec![]) })));
    let mut waits = process("proc_a", State::Ended, Some(exit(End::Exited, Some(0))));
    waits.delivery = Delivery::Held("the key was refused".into());
    let processes = vec![waits];
    assert!(!wake(&mut attached(Transcript { processes, ..window(vec![]) })));
}

#[test]
fn a_host_elsewhere_that_was_left_at_work_is_said_to_go_on() {
    let left = |attached: bool, work: bool| {
        let mut app = if work { running() } else { app(vec![user("go")]) };
        app.set_attached(attached);
        app.goes_on()
    };
    assert_eq!(left(true, true).as_deref(), Some("Goes on without you: a turn."));
    assert_eq!(left(true, false), None);
    let mut app = running();
    app.set_attached(true);
    let link = Link::Down { why: "reset".into(), attempt: 1, retry_at: T0 };
    app.on_event(&Event::Link { link }, T0);
    assert_eq!(app.goes_on(), None, "nobody knows");
    assert_eq!(left(false, true), None, "there the user decides what becomes of it");
    let mut app = running();
    app.set_attached(true);
    for id in ["proc_a", "proc_b"] {
        let process = process(id, State::Running, None);
        app.on_event(&Event::ProcessChanged { process }, T0);
    }
    let says = "Goes on without you: a turn, 2 background commands.";
    assert_eq!(app.goes_on().as_deref(), Some(says));
}

#[test]
fn a_list_of_processes_that_is_refused_is_said_in_its_place_and_only_there() {
    let refused = |about: &str| {
        Event::Failed(Failure {
            about: Subject::of_name(about),
            message: "this server tells none".into(),
        })
    };
    let options = Options { place: Some("lab".into()), ..options() };
    let mut app = App::new(options, T0);
    let transcript = Box::new(window(vec![user("go")]));
    app.on_event(&Event::Attached { transcript, resynced: false }, T0);
    assert_eq!(sent(press(&mut app, "ctrl-b", T0)), [Command::ListProcesses]);
    app.on_event(&refused("processes"), T0);
    assert_eq!(shown(&mut app).matches("this server tells none").count(), 1);
    assert!(!shown(&mut app).contains("no background processes"));
    press(&mut app, "esc", T0);
    assert!(!shown(&mut app).contains("tells none"));
    // One that tells them has none, and is not asked where it is this machine's.
    press(&mut app, "ctrl-b", T0);
    app.on_event(&Event::ProcessesListed { processes: vec![] }, T0);
    assert!(shown(&mut app).contains("no background processes"));
    let mut app = self::app(vec![]);
    assert_eq!(press(&mut app, "ctrl-b", T0), []);
}
