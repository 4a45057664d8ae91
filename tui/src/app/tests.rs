//! What keys and events do, in the order in which the parts may take them.

use protocol::Subject;
use protocol::{
    Answer, Choice, Command, Delivery, End, Event, Failure, Gauge, Process, PromptId, QuestionId,
    Queued, SessionId, SessionRow, State, Target, Toast,
};

use super::*;
use crate::testing::*;

mod background;
mod inbox;
mod news;
mod notices;
mod remote;

fn running() -> App {
    let mut app = app(vec![user("go")]);
    app.on_event(&started(), T0);
    app
}

fn answer(id: &str, choice: Choice) -> Command {
    Command::Answer { session: None, id: QuestionId(id.into()), answer: Answer::Approval(choice) }
}

fn resolved(id: &str, choice: Choice) -> Event {
    Event::QuestionResolved {
        id: QuestionId(id.into()),
        answer: Answer::Approval(choice),
        by: None,
    }
}

fn prompt_text(commands: &[Command]) -> Option<&str> {
    match commands {
        [Command::Prompt { text, .. }] => Some(text),
        _ => None,
    }
}

#[test]
fn escape_closes_the_card_then_interrupts_then_clears_and_never_quits() {
    let mut app = running();
    app.on_event(&asked(approval("q", "rm -rf x", "rm -rf x")), T0);
    enter_text(&mut app, "draft", T0);
    assert_eq!(sent(press(&mut app, "esc", T0)), [answer("q", Choice::Deny)]);
    app.on_event(&resolved("q", Choice::Deny), T0);
    assert_eq!(sent(press(&mut app, "esc", T0)), [Command::Cancel]);
    app.on_event(&Event::TurnCancelling { turn: protocol::TurnId(1) }, T0);
    assert_eq!(press(&mut app, "esc", T0), []);
    assert!(app.composer.is_empty());
    for _ in 0..3 {
        assert_eq!(press(&mut app, "esc", T0), []);
    }
    press(&mut app, "up", T0);
    assert_eq!(app.composer.text(), "draft", "what was cleared is in the history");
}

#[test]
fn ctrl_c_goes_the_same_way_and_quits_on_the_second_press_within_two_seconds() {
    let mut app = app(vec![]);
    enter_text(&mut app, "draft", T0);
    assert_eq!(press(&mut app, "ctrl-c", T0), []);
    assert!(app.composer.is_empty() && app.flash().is_none());
    assert_eq!(press(&mut app, "ctrl-c", T0), []);
    assert!(app.flash().is_some_and(|text| text.contains("again")));
    app.on_tick(T0 + 2_500);
    assert_eq!(app.flash(), None);
    assert_eq!(press(&mut app, "ctrl-c", T0 + 2_500), []);
    assert_eq!(press(&mut app, "a", T0 + 2_600), []);
    press(&mut app, "bs", T0 + 2_600);
    assert_eq!(press(&mut app, "ctrl-c", T0 + 2_700), [], "another key came between");
    assert_eq!(
        press(&mut app, "ctrl-c", T0 + 2_800),
        [Command::ListProcesses, Command::ListSessions].map(Effect::Send)
    );
}

#[test]
fn closing_a_clarify_question_interrupts_and_sends_no_answer() {
    let mut app = running();
    app.on_event(&asked(clarify("q", &["a", "b"])), T0);
    assert_eq!(sent(press(&mut app, "esc", T0 + 9_000)), [Command::Cancel]);
}

// C02, C03
#[test]
fn what_is_shown_is_the_head_and_answering_shows_the_next() {
    let mut app = running();
    app.on_event(&asked(approval("q1", "first", "first")), T0);
    app.on_event(&asked(approval("q2", "second", "second")), T0);
    let picture_1 = picture(&mut app, 80, 24);
    assert!(picture_1.contains("first") && picture_1.contains("1 of 2"), "{picture_1}");
    assert!(!picture_1.contains("second"));
    assert_eq!(sent(press(&mut app, "1", T0 + 600)), [answer("q1", Choice::Once)]);
    app.on_event(&resolved("q1", Choice::Once), T0 + 700);
    let picture_2 = picture(&mut app, 80, 24);
    assert!(picture_2.contains("second") && !picture_2.contains("of 2"), "{picture_2}");
    app.on_event(&resolved("q2", Choice::Deny), T0 + 700);
    assert!(!picture(&mut app, 80, 24).contains("Run this?"));
}

// C10
#[test]
fn the_default_of_an_approval_is_to_deny_and_always_shows_only_where_it_is_allowed() {
    for allow_always in [true, false] {
        let mut question = approval("q", "rm -rf x", "rm -rf x");
        if let Ask::Approval { allow_always: allowed, .. } = &mut question.ask {
            *allowed = allow_always;
        }
        let mut app = running();
        app.on_event(&asked(question), T0);
        assert_eq!(picture(&mut app, 80, 24).contains("always"), allow_always);
        assert_eq!(sent(press(&mut app, "enter", T0 + 600)), [answer("q", Choice::Deny)]);
    }
}

// C10
#[test]
fn the_default_and_the_part_that_fired_stand_out() {
    let mut app = running();
    app.on_event(&asked(approval("q", "cd x && rm -rf y; ls", "rm -rf y")), T0);
    let (buffer, _) = paint(&mut app, 80, 24);
    let styled = |wanted: ratatui::style::Modifier| {
        let cells = buffer.content.iter().filter(|cell| cell.modifier.contains(wanted));
        cells.map(ratatui::buffer::Cell::symbol).collect::<String>()
    };
    assert_eq!(styled(ratatui::style::Modifier::REVERSED), " 4 deny ");
    assert_eq!(styled(ratatui::style::Modifier::UNDERLINED), "rm -rf y");
}

// C10
#[test]
fn arrows_and_digits_choose() {
    let choices = [Choice::Once, Choice::Session, Choice::Always, Choice::Deny];
    for (digit, choice) in ["1", "2", "3", "4"].into_iter().zip(choices) {
        let mut app = running();
        app.on_event(&asked(approval("q", "rm", "rm")), T0);
        assert_eq!(sent(press(&mut app, digit, T0 + 600)), [answer("q", choice)]);
    }
    let mut app = running();
    app.on_event(&asked(approval("q", "rm", "rm")), T0);
    press(&mut app, "down", T0 + 600);
    press(&mut app, "right", T0 + 610);
    assert_eq!(sent(press(&mut app, "enter", T0 + 620)), [answer("q", Choice::Session)]);
}

// C11
#[test]
fn a_card_takes_no_key_until_the_keyboard_was_quiet_and_typing_goes_on() {
    let mut app = running();
    enter_text(&mut app, "yes 1", T0);
    app.on_event(&asked(approval("q", "rm", "rm")), T0 + 10);
    enter_text(&mut app, "2 4", T0 + 20);
    assert_eq!(app.composer.text(), "yes 12 4");
    assert_eq!(prompt_text(&sent(press(&mut app, "enter", T0 + 30))), Some("yes 12 4"));
    assert_eq!(press(&mut app, "enter", T0 + 40), [], "a second Enter hits nothing");
    assert_eq!(press(&mut app, "down", T0 + 400), []);
    press(&mut app, "esc", T0 + 400);
    app.composer.clear();
    assert_eq!(press(&mut app, "enter", T0 + 850), [], "450 ms after the last key");
    assert_eq!(sent(press(&mut app, "enter", T0 + 1_400)), [answer("q", Choice::Deny)]);
}

// C11
#[test]
fn a_card_takes_no_key_in_the_moment_it_appears_however_long_the_keyboard_was_quiet() {
    let mut app = running();
    app.on_event(&asked(approval("q", "rm", "rm")), T0 + 60_000);
    assert_eq!(press(&mut app, "enter", T0 + 60_100), [], "it was meant for something else");
    assert_eq!(sent(press(&mut app, "enter", T0 + 60_700)), [answer("q", Choice::Deny)]);
}

// C11
#[test]
fn letters_are_never_answers_and_digits_are_text_while_something_is_typed() {
    let mut app = running();
    app.on_event(&asked(approval("q", "rm", "rm")), T0);
    for letter in ["o", "s", "a", "y"] {
        assert_eq!(press(&mut app, letter, T0 + 5_000), []);
    }
    assert_eq!(press(&mut app, "1", T0 + 9_000), []);
    assert_eq!(app.composer.text(), "osay1");
    assert_eq!(app.card_keys(), Keys::Typing);
}

// C08
#[test]
fn a_question_is_reported_as_shown_once_and_not_while_a_panel_hides_it() {
    let mut app = running();
    press(&mut app, "ctrl-b", T0);
    app.on_event(&asked(approval("q", "rm", "rm")), T0);
    picture(&mut app, 80, 24);
    assert_eq!(app.on_drawn(), []);
    press(&mut app, "esc", T0);
    assert_eq!(
        sent(app.on_drawn()),
        [Command::Shown { session: None, id: QuestionId("q".into()) }]
    );
    assert_eq!(app.on_drawn(), []);
}

// C07
#[test]
fn an_answer_from_elsewhere_is_said_and_our_own_is_not() {
    let mut app = running();
    app.on_event(&asked(approval("q", "rm", "rm")), T0);
    app.on_event(&resolved("q", Choice::Once), T0 + 600);
    assert_eq!(app.flash(), Some("answered elsewhere"));
    app.on_tick(T0 + 3_600);
    assert_eq!(app.flash(), None);
    app.on_event(&asked(approval("r", "rm", "rm")), T0 + 4_000);
    press(&mut app, "1", T0 + 5_000);
    app.on_event(&resolved("r", Choice::Once), T0 + 5_000);
    assert_eq!(app.flash(), None);
}

// C13
#[test]
fn a_clarify_question_takes_a_choice_or_text_of_several_lines() {
    let mut app = running();
    app.on_event(&asked(clarify("q", &["PostgreSQL", "SQLite"])), T0);
    let text = |text: &str| Command::Answer {
        session: None,
        id: QuestionId("q".into()),
        answer: Answer::Text(text.into()),
    };
    assert_eq!(sent(press(&mut app, "2", T0 + 600)), [text("SQLite")]);
    enter_text(&mut app, "one", T0 + 700);
    press(&mut app, "alt-enter", T0 + 700);
    enter_text(&mut app, "two", T0 + 700);
    assert_eq!(sent(press(&mut app, "enter", T0 + 700)), [text("one\ntwo")]);
}

// C11, C13
#[test]
fn a_prompt_sent_in_the_moment_a_question_appears_is_not_its_answer() {
    let mut app = running();
    enter_text(&mut app, "also fix the docs", T0);
    app.on_event(&asked(clarify("q", &[])), T0 + 100);
    let commands = sent(press(&mut app, "enter", T0 + 200));
    assert_eq!(prompt_text(&commands), Some("also fix the docs"));
}

#[test]
fn enter_sends_and_the_ways_to_a_new_line_do_not() {
    let mut app = app(vec![]);
    enter_text(&mut app, "a", T0);
    press(&mut app, "alt-enter", T0);
    enter_text(&mut app, "b", T0);
    press(&mut app, "shift-enter", T0);
    enter_text(&mut app, "c", T0);
    press(&mut app, "ctrl-j", T0);
    enter_text(&mut app, "d\\", T0);
    assert_eq!(press(&mut app, "enter", T0), []);
    enter_text(&mut app, "e", T0);
    let commands = sent(press(&mut app, "enter", T0));
    assert_eq!(prompt_text(&commands), Some("a\nb\nc\nd\ne"));
    assert!(app.composer.is_empty());
    assert_eq!(press(&mut app, "enter", T0), []);
}

#[test]
fn the_newest_waiting_prompt_is_taken_back_by_up() {
    let mut app = running();
    for text in ["one", "two"] {
        let prompt = Queued { id: PromptId(text.into()), text: text.into() };
        app.on_event(&Event::PromptQueued { prompt }, T0);
    }
    let commands = sent(press(&mut app, "up", T0));
    assert_eq!(commands, [Command::Unqueue { id: PromptId("two".into()) }]);
    assert_eq!(app.composer.text(), "two");
}

#[test]
fn a_refused_prompt_comes_back_as_the_draft() {
    let mut app = app(vec![]);
    enter_text(&mut app, "precious", T0);
    let commands = sent(press(&mut app, "enter", T0));
    assert_eq!(prompt_text(&commands), Some("precious"));
    assert_eq!(app.unsent(), ["precious"]);
    let failure = Failure { about: Subject::Prompt, message: "the disk is full".into() };
    app.on_event(&Event::Failed(failure), T0);
    assert_eq!(app.composer.text(), "precious");
    assert_eq!(app.unsent(), ["precious"]);
    assert!(picture(&mut app, 80, 24).contains("✗ the disk is full"));
    press(&mut app, "enter", T0);
    app.on_event(&Event::RowAdded { row: row(1, user("precious")) }, T0);
    assert_eq!(app.unsent(), [""; 0]);
}

#[test]
fn commands_do_what_they_say() {
    let run = |text: &str| {
        let mut app = running();
        enter_text(&mut app, text, T0);
        sent(press(&mut app, "enter", T0))
    };
    assert_eq!(run("/new"), [Command::Open(Target::New)]);
    assert_eq!(run("/resume"), [Command::ListSessions]);
    assert_eq!(
        run("/title The pump"),
        [Command::SetTitle { session: None, title: "The pump".into() }]
    );
    assert_eq!(run("/steer left"), [Command::Steer { text: "left".into() }]);
    assert_eq!(run("/stop"), [Command::Kill { id: None }]);
    assert_eq!(run("/wake"), [Command::WakeNow]);
    assert_eq!(run("/model"), [Command::ListModels]);
    assert_eq!(run("/model gpt"), [Command::SetModel { model: "gpt".into() }]);
    assert_eq!(run("/wak"), [Command::WakeNow], "the beginning of a name is completed");
    assert_eq!(prompt_text(&run("/etc/hosts is wrong")), Some("/etc/hosts is wrong"));
}

#[test]
fn an_unknown_command_says_so_and_keeps_the_text() {
    let mut app = app(vec![]);
    enter_text(&mut app, "/frob x", T0);
    assert_eq!(press(&mut app, "enter", T0), []);
    assert_eq!(app.composer.text(), "/frob x");
    assert!(picture(&mut app, 80, 24).contains("unknown command /frob"));
    enter_text(&mut app, "", T0);
}

#[test]
fn steering_without_a_turn_keeps_the_text() {
    let mut app = app(vec![]);
    enter_text(&mut app, "/steer left", T0);
    assert_eq!(press(&mut app, "enter", T0), []);
    assert_eq!(app.composer.text(), "/steer left");
}

#[test]
fn resume_opens_the_one_session_that_is_meant_and_lists_when_there_are_several() {
    let rows: Vec<SessionRow> = [("2026_a", "Fix the pump"), ("2026_b", "Fix the parser")]
        .map(|(id, title)| SessionRow {
            parent: None,
            compressions: 0,
            archived: false,
            id: SessionId(id.into()),
            title: title.into(),
            started_at: T0,
            active_at: T0,
            rows: 1,
            model: String::new(),
            source: "tui".into(),
            cwd: String::new(),
            ..protocol::SessionRow::default()
        })
        .to_vec();
    let resume = |name: &str| {
        let mut app = app(vec![]);
        enter_text(&mut app, &format!("/resume {name}"), T0);
        press(&mut app, "enter", T0);
        let effects = app.on_event(&Event::SessionsListed { sessions: rows.clone() }, T0);
        (sent(effects), app.panel.is_some())
    };
    let open = |id: &str| vec![Command::Open(Target::Id(SessionId(id.into())))];
    assert_eq!(resume("2026_b"), (open("2026_b"), false));
    assert_eq!(resume("pump"), (open("2026_a"), false));
    assert_eq!(resume("fix"), (vec![], true));
}

#[test]
fn a_process_is_killed_by_the_second_k_only() {
    let mut transcript = window(vec![]);
    transcript.processes = vec![process("proc_a", State::Running, None)];
    let mut app = attached(transcript);
    press(&mut app, "ctrl-b", T0);
    assert_eq!(press(&mut app, "k", T0), []);
    press(&mut app, "up", T0);
    assert_eq!(press(&mut app, "k", T0), [], "another key came between");
    let id = protocol::ProcessId("proc_a".into());
    assert_eq!(sent(press(&mut app, "k", T0)), [Command::Kill { id: Some(id.clone()) }]);
    assert_eq!(sent(press(&mut app, "enter", T0)), [Command::Tail { id: id.clone() }]);
    assert_eq!(sent(app.on_tick(T0 + 1_000)), [Command::Tail { id }]);
    press(&mut app, "esc", T0);
    assert!(app.panel.is_some(), "the first Esc leaves the output");
    press(&mut app, "esc", T0);
    assert!(app.panel.is_none());
}

// P10
#[test]
fn quitting_asks_only_when_something_runs_in_a_session_of_the_host() {
    let ask = [Command::ListProcesses, Command::ListSessions].map(Effect::Send);
    let quit = |leaving| [Effect::Quit(leaving)];
    let listed = |processes| Event::ProcessesListed { processes };
    let sessions = |sessions| Event::SessionsListed { sessions };
    let mut idle = app(vec![user("go")]);
    assert_eq!(press(&mut idle, "ctrl-d", T0), ask);
    assert!(!picture(&mut idle, 80, 24).contains("Quit"), "the host has not answered yet");
    assert_eq!(idle.on_event(&listed(vec![]), T0), []);
    assert_eq!(idle.on_event(&sessions(vec![]), T0), quit(Leaving::Plain));

    let row = |running| SessionRow { id: SessionId("other".into()), running, ..Default::default() };
    let live = Process {
        session: SessionId("other".into()),
        ..process("proc_o", protocol::State::Running, None)
    };
    for (processes, running, says) in [
        (vec![], true, "Still running: a turn, also in other sessions."),
        (vec![live], false, "1 background command, also in other sessions."),
    ] {
        let mut app = app(vec![user("go")]);
        press(&mut app, "ctrl-d", T0);
        app.on_event(&sessions(vec![row(running)]), T0);
        assert_eq!(app.on_event(&listed(processes), T0), []);
        let shown = picture(&mut app, 80, 24);
        assert!(shown.contains(says), "{shown}");
        assert_eq!(press(&mut app, "enter", T0), quit(Leaving::Keep), "the default keeps it");
    }

    // In view it is known at once.
    let mut app = running();
    assert_eq!(press(&mut app, "ctrl-d", T0), ask);
    for (key, leaving) in [("1", Leaving::Keep), ("2", Leaving::Leave), ("3", Leaving::Kill)] {
        assert!(picture(&mut app, 80, 24).contains("Still running: a turn."));
        assert_eq!(press(&mut app, key, T0 + 600), quit(leaving));
        press(&mut app, "ctrl-d", T0);
    }
    assert_eq!(press(&mut app, "esc", T0), []);
    assert!(app.leaving.is_none());
    enter_text(&mut app, "x", T0);
    assert_eq!(press(&mut app, "ctrl-d", T0), [], "it deletes while there is text");
}

// P10
#[test]
fn a_digit_that_was_typed_as_the_quit_card_opened_kills_nothing() {
    let mut app = running();
    press(&mut app, "ctrl-d", T0);
    for at in [0, 400, 800] {
        assert_eq!(press(&mut app, "3", T0 + at), []);
    }
    assert_eq!(press(&mut app, "3", T0 + 1_300), [Effect::Quit(Leaving::Kill)]);
}

// P10
#[test]
fn quitting_never_waits_longer_than_for_the_next_key() {
    let mut app = app(vec![user("go")]);
    press(&mut app, "ctrl-d", T0);
    assert_eq!(press(&mut app, "ctrl-d", T0), [Effect::Quit(Leaving::Plain)]);
    press(&mut app, "ctrl-d", T0);
    press(&mut app, "x", T0);
    assert_eq!(app.composer.text(), "x", "who types stays");
    let late = Event::SessionsListed { sessions: vec![] };
    assert_eq!(app.on_event(&late, T0), []);
    // A host that cannot say it keeps nobody.
    let mut app = self::app(vec![user("go")]);
    press(&mut app, "ctrl-d", T0);
    let failure = Failure { about: Subject::Processes, message: "the disk is gone".into() };
    assert_eq!(app.on_event(&Event::Failed(failure), T0), [Effect::Quit(Leaving::Plain)]);
}

// P10 S07
#[test]
fn an_interface_on_another_process_just_leaves() {
    let mut app = running();
    app.set_attached(true);
    assert_eq!(press(&mut app, "ctrl-d", T0), [Effect::Quit(Leaving::Plain)]);
}

// P14
#[test]
fn ctrl_z_suspends_whatever_is_open() {
    let mut app = running();
    enter_text(&mut app, "half a thought", T0);
    assert_eq!(press(&mut app, "ctrl-z", T0), [Effect::Quit(Leaving::Suspend)]);
    press(&mut app, "ctrl-b", T0);
    assert_eq!(press(&mut app, "ctrl-z", T0), [Effect::Quit(Leaving::Suspend)]);
    assert_eq!(app.unsent(), ["half a thought"]);
}

// P13
#[test]
fn what_was_being_written_comes_back_with_its_session_and_only_there() {
    let draft = |session: &str| [(session.to_owned(), format!("for {session:?}"))];
    let with = |drafts: &[(String, String)], rows| {
        let options = Options { drafts: drafts.iter().cloned().collect(), ..options() };
        let mut app = App::new(options, T0);
        let window = Event::Attached { transcript: Box::new(window(rows)), resynced: false };
        app.on_event(&window, T0);
        app
    };
    let id = window(vec![]).session.0;
    let app = with(&draft(&id), vec![user("go")]);
    assert_eq!(app.composer.text(), format!("for {id:?}"));
    assert_eq!(app.drafts(), draft(&id).into(), "it is kept until it is sent");
    let app = with(&draft(""), vec![]);
    assert_eq!(app.composer.text(), "for \"\"");
    let mut app = with(&draft("elsewhere"), vec![user("go")]);
    assert!(app.composer.is_empty());
    enter_text(&mut app, "/new thing", T0);
    let both = [draft("elsewhere"), [(id, "/new thing".to_owned())]].concat();
    assert_eq!(app.drafts(), both.into_iter().collect());
}

// P11
#[test]
fn a_toast_is_drawn_only_when_its_session_is_not_in_view_and_goes_by_itself() {
    let toast = |session: &str| {
        Event::Toast(Toast {
            session: SessionId(session.into()),
            name: String::new(),
            process: Some(protocol::ProcessId("proc_a".into())),
            news: protocol::News::Ended {
                exit: exit(End::Killed, None),
                delivery: Delivery::Consumed,
            },
            text: "cargo build".into(),
        })
    };
    let mut app = app(vec![]);
    app.on_event(&toast("20260101_120000_abcdef"), T0);
    assert!(!picture(&mut app, 80, 24).contains("cargo build"));
    app.on_event(&toast("other"), T0);
    assert!(picture(&mut app, 80, 24).contains("killed · cargo build"));
    assert_eq!(app.next_tick(), Some(T0 + 6_000));
    app.on_tick(T0 + 6_000);
    assert!(!picture(&mut app, 80, 24).contains("cargo build"));
    assert_eq!(app.next_tick(), None);
}

// S01
#[test]
fn the_gauge_shows_the_last_prompt_against_the_context() {
    let shows = |used, length| {
        let gauge = Gauge { used, length };
        let spans = crate::status::gauge(gauge, &Theme::new(crate::Palette::Ansi));
        spans.iter().map(|span| span.content.as_ref()).collect::<String>()
    };
    assert_eq!(shows(None, None), "–");
    assert_eq!(shows(None, Some(200_000)), "–/200k");
    assert_eq!(shows(Some(1_500), None), "1.5k/–");
    assert_eq!(shows(Some(100_000), Some(200_000)), "━━━━──── 100k/200k 50%");
    assert_eq!(shows(Some(200_000), Some(200_000)), "━━━━━━━━ 200k/200k 100%");
    let exceeded = "━━━━━━━━ 250k/200k 125% context exceeded";
    assert_eq!(shows(Some(250_000), Some(200_000)), exceeded);
    let mut transcript = window(vec![]);
    transcript.gauge = Gauge { used: Some(250_000), length: Some(200_000) };
    let mut app = attached(transcript);
    app.on_event(&started(), T0);
    assert!(picture(&mut app, 80, 24).contains(exceeded));
}

#[test]
fn nothing_ticks_when_nothing_runs() {
    let mut app = app(vec![user("go"), says("done")]);
    assert_eq!(app.next_tick(), None);
    app.on_event(&started(), T0 + 300);
    assert_eq!(app.next_tick(), Some(T0 + 1_000));
}

#[test]
fn another_session_keeps_the_draft_and_closes_the_panel() {
    let mut app = app(vec![user("go")]);
    enter_text(&mut app, "draft", T0);
    press(&mut app, "ctrl-b", T0);
    let mut other = window(vec![user("elsewhere")]);
    other.session = SessionId("other".into());
    app.on_event(&Event::Attached { transcript: Box::new(other), resynced: false }, T0);
    assert!(app.panel.is_none());
    assert_eq!(app.composer.text(), "draft");
    assert!(picture(&mut app, 80, 24).contains("❯ elsewhere"));
}

#[test]
fn the_end_of_a_process_in_view_asks_for_its_last_output() {
    let mut transcript = window(vec![]);
    let live = process("proc_a", State::Running, None);
    transcript.processes = vec![live.clone()];
    let mut app = attached(transcript);
    press(&mut app, "ctrl-b", T0);
    press(&mut app, "enter", T0);
    let ended =
        Process { state: State::Ended, exit: Some(exit(End::Exited, Some(0))), ..live.clone() };
    let effects = app.on_event(&Event::ProcessChanged { process: ended }, T0);
    assert_eq!(sent(effects), [Command::Tail { id: live.id }]);
}

// C10
#[test]
fn a_command_is_approved_only_after_all_of_it_was_in_view() {
    let command: Vec<String> = (0..30).map(|n| format!("rm -rf /srv/{n}")).collect();
    let mut app = running();
    app.on_event(&asked(approval("q1", &command.join("\n"), "rm -rf /srv/0")), T0);
    paint(&mut app, 80, 24);
    assert_eq!(sent(press(&mut app, "1", T0 + 1_000)), []);
    for step in 0..8 {
        press(&mut app, "pgdn", T0 + 2_000 + step);
        paint(&mut app, 80, 24);
    }
    assert!(matches!(sent(press(&mut app, "1", T0 + 4_000))[..], [Command::Answer { .. }]));

    // Where the choices do not fit it can be denied only.
    let mut app = running();
    app.on_event(&asked(approval("q2", "rm -rf /srv", "rm -rf /srv")), T0);
    paint(&mut app, 30, 5);
    assert_eq!(sent(press(&mut app, "1", T0 + 1_000)), []);
    assert!(matches!(sent(press(&mut app, "esc", T0 + 2_000))[..], [Command::Answer { .. }]));
}
