//! What keys and events do to background work, waiting prompts and sessions.

use protocol::Subject;
use protocol::{News, Work};

use super::*;

fn typed(app: &mut App, text: &str) -> Vec<Command> {
    enter_text(app, text, T0);
    sent(press(app, "enter", T0))
}

fn session(id: &str) -> SessionRow {
    SessionRow {
        parent: None,
        compressions: 0,
        archived: false,
        id: SessionId(id.into()),
        title: format!("title of {id}"),
        started_at: T0,
        active_at: T0,
        rows: 1,
        model: String::new(),
        source: "tui".into(),
        cwd: String::new(),
        ..protocol::SessionRow::default()
    }
}

#[test]
fn the_commands_on_sessions_do_what_they_say() {
    let run = |text: &str| typed(&mut app(vec![user("go")]), text);
    assert_eq!(run("/compress"), [Command::Compress { focus: None }]);
    assert_eq!(run("/compress the pump"), [Command::Compress { focus: Some("the pump".into()) }]);
    assert_eq!(run("/branch"), [Command::Branch]);
    assert_eq!(run("/fork"), [Command::Branch]);
    assert_eq!(run("/archive"), [Command::Archive { session: None, archived: true }]);
    assert_eq!(run("/unarchive"), [Command::Archive { session: None, archived: false }]);
    for name in ["/processes", "/ps", "/tasks"] {
        let mut app = app(vec![]);
        assert_eq!(typed(&mut app, name), []);
        assert!(matches!(app.panel, Some(Panel::Processes(_))));
    }
    let mut app = app(vec![]);
    assert_eq!(typed(&mut app, "/queue"), []);
    assert!(picture(&mut app, 80, 24).contains("usage: /queue clear"));
}

#[test]
fn the_whole_queue_is_taken_back_at_once_and_its_texts_are_not_lost() {
    let mut app = running();
    for text in ["one", "two", "three"] {
        let prompt = Queued { id: PromptId(text.into()), text: text.into() };
        app.on_event(&Event::PromptQueued { prompt }, T0);
    }
    let unqueue = |id: &str| Command::Unqueue { id: PromptId(id.into()) };
    assert_eq!(typed(&mut app, "/queue clear"), ["one", "two", "three"].map(unqueue));
    assert_eq!(app.transcript.queued.len(), 3, "only the host empties it");
    for id in ["one", "two", "three"] {
        app.on_event(&Event::PromptUnqueued { id: PromptId(id.into()) }, T0);
    }
    press(&mut app, "up", T0);
    assert_eq!(app.composer.text(), "three");
    app.composer.clear();
    assert_eq!(typed(&mut app, "/queue clear"), []);
    assert!(picture(&mut app, 80, 24).contains("no prompt waits"));
}

#[test]
fn a_session_is_deleted_by_no_stray_key() {
    let here = SessionId("20260101_120000_abcdef".into());
    let asked = || {
        let mut app = app(vec![user("go")]);
        assert_eq!(typed(&mut app, "/delete"), []);
        assert!(app.confirm.is_some());
        app
    };
    let mut app = asked();
    for (key, at) in [("2", 10), ("y", 20), ("down", 30), ("enter", 40)] {
        assert_eq!(press(&mut app, key, T0 + at), [], "the keyboard was in use");
    }
    for (n, key) in ["y", "d", "delete", "x"].into_iter().enumerate() {
        assert_eq!(press(&mut app, key, T0 + 1_000 * (n as Millis + 1)), []);
    }
    app.on_paste("2\n", T0 + 8_000);
    assert!(app.confirm.is_some() && app.composer.is_empty());
    assert_eq!(press(&mut app, "enter", T0 + 9_000), [], "the default keeps it");
    assert!(app.confirm.is_none());

    let mut app = asked();
    assert_eq!(press(&mut app, "esc", T0 + 10), []);
    assert!(app.confirm.is_none());

    let mut app = asked();
    assert_eq!(sent(press(&mut app, "2", T0 + 600)), [Command::Delete { session: here.clone() }]);
    let mut app = asked();
    press(&mut app, "down", T0 + 600);
    assert_eq!(sent(press(&mut app, "enter", T0 + 610)), [Command::Delete { session: here }]);
}

#[test]
fn a_session_is_deleted_from_the_list_and_leaves_it() {
    let mut app = app(vec![]);
    typed(&mut app, "/sessions");
    app.on_event(&Event::SessionsListed { sessions: vec![session("a"), session("b")] }, T0);
    press(&mut app, "down", T0);
    press(&mut app, "del", T0);
    let delete = Command::Delete { session: SessionId("b".into()) };
    assert_eq!(sent(press(&mut app, "2", T0 + 600)), [delete]);
    let shown = picture(&mut app, 80, 24);
    assert!(shown.contains("title of a") && !shown.contains("title of b"), "{shown}");
}

#[test]
fn archived_sessions_are_listed_on_demand_only() {
    let mut app = app(vec![]);
    typed(&mut app, "/sessions");
    let archived = SessionRow { archived: true, ..session("old") };
    app.on_event(&Event::SessionsListed { sessions: vec![session("a"), archived] }, T0);
    assert!(!picture(&mut app, 80, 24).contains("title of old"));
    press(&mut app, "tab", T0);
    assert!(picture(&mut app, 80, 24).contains("title of old"));
    press(&mut app, "down", T0);
    let open = Command::Open(Target::Id(SessionId("old".into())));
    assert_eq!(sent(press(&mut app, "enter", T0)), [open]);
}

fn opened(processes: Vec<Process>) -> App {
    let mut app = attached(Transcript { processes, ..window(vec![]) });
    press(&mut app, "ctrl-b", T0);
    app
}

#[test]
fn a_delegated_task_opens_as_the_session_that_it_is() {
    let mut task = process("proc_task", State::Running, None);
    task.work = Work::Delegation { session: SessionId("child".into()) };
    let mut app = opened(vec![task]);
    let open = Command::Open(Target::Id(SessionId("child".into())));
    assert_eq!(sent(press(&mut app, "enter", T0)), [open]);
}

// W19
#[test]
fn an_orphan_can_be_killed_from_the_list_of_all_processes() {
    let mut orphan = process("proc_orphan", State::Running, None);
    orphan.session = SessionId("gone".into());
    orphan.delivery = Delivery::Orphaned;
    let mut app = opened(vec![]);
    let asks = sent(press(&mut app, "a", T0));
    assert_eq!(asks, [Command::ListProcesses, Command::ListSessions]);
    app.on_event(&Event::ProcessesListed { processes: vec![orphan.clone()] }, T0);
    press(&mut app, "k", T0);
    assert_eq!(sent(press(&mut app, "k", T0)), [Command::Kill { id: Some(orphan.id.clone()) }]);
    assert_eq!(sent(press(&mut app, "enter", T0)), [Command::Tail { id: orphan.id.clone() }]);
    assert_eq!(sent(app.on_tick(T0 + 1_000)), [Command::Tail { id: orphan.id }]);
}

#[test]
fn the_list_of_all_processes_is_asked_for_at_changes_and_never_twice_at_once() {
    let live = process("proc_a", State::Running, None);
    let changed = Event::ProcessChanged { process: live.clone() };
    let listed = Event::ProcessesListed { processes: vec![live.clone()] };
    let toast = Event::Toast(Toast {
        session: SessionId("other".into()),
        name: String::new(),
        process: None,
        news: News::Unknown,
        text: String::new(),
    });
    let mut app = opened(vec![live.clone()]);
    assert_eq!(app.on_event(&changed, T0), [], "its own are known");
    press(&mut app, "a", T0);
    for _ in 0..50 {
        assert_eq!(app.on_event(&changed, T0), [], "the answer is on its way");
    }
    let ask = [Command::ListProcesses];
    assert_eq!(sent(app.on_event(&listed, T0)), ask, "once more for what changed meanwhile");
    assert_eq!(app.on_event(&listed, T0), []);
    assert_eq!(sent(app.on_event(&toast, T0)), ask);
    assert_eq!(app.on_event(&toast, T0), []);
    let failure = Failure { about: Subject::Processes, message: "no".into() };
    app.on_event(&Event::Failed(failure), T0);
    assert_eq!(sent(app.on_event(&toast, T0)), ask, "a refusal does not end the asking");
    press(&mut app, "a", T0);
    assert_eq!(app.on_event(&changed, T0), []);
}

#[test]
fn the_selection_stays_with_its_process_when_others_come_and_go() {
    let at = |id: &str, ago: Millis| Process {
        started_at: T0 - ago,
        ..process(id, State::Running, None)
    };
    let mut app = opened(vec![at("proc_a", 10), at("proc_b", 20)]);
    press(&mut app, "down", T0);
    press(&mut app, "k", T0);
    app.on_event(&Event::ProcessChanged { process: at("proc_new", 1) }, T0);
    let id = protocol::ProcessId("proc_b".into());
    assert_eq!(sent(press(&mut app, "k", T0)), [Command::Kill { id: Some(id) }]);
}

// C10
#[test]
fn an_approval_names_the_rule_that_a_lasting_choice_covers() {
    let mut app = running();
    app.on_event(&asked(approval("q", "rm -rf x", "rm -rf x")), T0);
    let shown = picture(&mut app, 80, 24);
    assert!(shown.contains("2, 3: the whole rule recursive_delete"), "{shown}");
    let shown = picture(&mut app, 40, 12);
    assert!(shown.contains("2 this session: all recursive_d"), "{shown}");
    assert!(shown.contains("3 always: all recursive_delete"), "{shown}");
}

#[test]
fn a_process_that_ended_before_the_second_key_is_not_offered_to_be_killed() {
    let mut app = opened(vec![process("proc_a", State::Running, None)]);
    press(&mut app, "k", T0);
    assert!(picture(&mut app, 80, 24).contains("k again kills proc_a"));
    let ended = process("proc_a", State::Ended, None);
    app.on_event(&Event::ProcessChanged { process: ended }, T0);
    let shown = picture(&mut app, 80, 24);
    assert!(!shown.contains("k again") && shown.contains("Enter output · a all"), "{shown}");
}

#[test]
fn what_the_user_ended_is_said_to_wait_for_the_next_prompt() {
    let ended = Process {
        delivery: Delivery::Consumed,
        killed_by: Some(protocol::Killer::User),
        ..process("proc_a", State::Ended, None)
    };
    let shown = picture(&mut opened(vec![ended]), 80, 24);
    assert!(shown.contains("you ended it") && !shown.contains("seen already"), "{shown}");
}
