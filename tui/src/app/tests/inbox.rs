//! The questions of all sessions: who is marked, whose card opens, and which keys answer.

use protocol::Subject;
use protocol::{Asked, News, Question, Toast};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::*;
use crate::draw::draw;

const HERE: &str = "20260101_120000_abcdef";

fn of(session: &str, question: Question, behind: u32) -> Asked {
    let name = format!("Session {session}");
    Asked { session: SessionId(session.into()), name, question, behind }
}

fn rm(session: &str) -> Asked {
    of(session, approval(&format!("q-{session}"), "rm -rf build", "rm -rf build"), 0)
}

fn tell(app: &mut App, questions: &[Asked], at: Millis) -> Vec<Effect> {
    app.on_event(&Event::InboxChanged { questions: questions.to_vec() }, at)
}

fn asking(questions: &[Asked]) -> App {
    let mut app = app(vec![user("go")]);
    assert_eq!(tell(&mut app, questions, T0), []);
    app
}

fn shows(app: &mut App, text: &str) -> bool {
    picture(app, 80, 24).contains(text)
}

fn there(session: &str, answer: Answer) -> Command {
    let id = QuestionId(format!("q-{session}"));
    Command::Answer { session: Some(SessionId(session.into())), id, answer }
}

fn open(session: &str) -> Command {
    Command::Open(Target::Id(SessionId(session.into())))
}

// C16, S04
#[test]
fn sessions_that_ask_elsewhere_are_counted_as_long_as_they_ask() {
    let mut app = asking(&[rm("a"), rm("b"), rm(HERE)]);
    app.on_tick(T0 + 3_600_000);
    assert!(shows(&mut app, "2 sessions ask · Ctrl+O"), "{}", picture(&mut app, 80, 24));
    tell(&mut app, &[rm("b"), rm(HERE)], T0);
    assert!(shows(&mut app, "1 session asks · Ctrl+O"));
    tell(&mut app, &[rm(HERE)], T0);
    assert!(!shows(&mut app, "· Ctrl+O"), "the card of the session in view says it");

    // After a fresh window a host without questions says nothing of them.
    let mut app = asking(&[rm("a")]);
    let transcript = Box::new(window(vec![user("go")]));
    app.on_event(&Event::Attached { transcript, resynced: true }, T0);
    assert!(!shows(&mut app, "· Ctrl+O"));
}

#[test]
fn ctrl_o_shows_the_card_of_the_only_question_and_once_more_opens_its_session() {
    let mut app = asking(&[rm(HERE), rm("a")]);
    assert_eq!(press(&mut app, "ctrl-o", T0), []);
    assert!(shows(&mut app, "Session a · Run this?"), "{}", picture(&mut app, 80, 24));
    press(&mut app, "esc", T0 + 10);
    assert!(app.panel.is_none(), "back to where it was pressed");
    for key in ["ctrl-o", "tab"] {
        press(&mut app, "ctrl-o", T0);
        assert_eq!(sent(press(&mut app, key, T0 + 20)), [open("a")]);
        assert!(app.panel.is_none());
    }
    // Of two it lists both.
    tell(&mut app, &[rm("a"), rm("b")], T0);
    press(&mut app, "ctrl-o", T0);
    assert!(shows(&mut app, "Inbox · 2 questions") && !shows(&mut app, "Run this?"));
    press(&mut app, "down", T0);
    assert_eq!(sent(press(&mut app, "tab", T0)), [open("b")]);
    // A question comes before mere news, and where neither is there is the list of sessions.
    tell(&mut app, &[], T0);
    assert_eq!(sent(press(&mut app, "ctrl-o", T0)), [Command::ListSessions]);
}

// P11
#[test]
fn a_toast_names_the_key_only_where_the_key_leads() {
    let toast = |session: &str, news: protocol::News| {
        Event::Toast(Toast {
            session: SessionId(session.into()),
            name: format!("Session {session}"),
            process: None,
            news,
            text: "make".into(),
        })
    };
    let news = || protocol::News::Working { elapsed: 60_000 };
    let mut app = app(vec![user("go")]);
    app.on_event(&toast("b", news()), T0);
    assert!(shows(&mut app, "in Session b · Ctrl+O opens"), "{}", picture(&mut app, 80, 24));
    app.on_event(&toast("a", protocol::News::Asked), T0);
    tell(&mut app, &[rm("a")], T0);
    app.on_event(&toast("c", news()), T0);
    assert!(shows(&mut app, "in Session a · Ctrl+O shows"), "{}", picture(&mut app, 80, 24));
    assert!(!shows(&mut app, "Ctrl+O opens"), "{}", picture(&mut app, 80, 24));
}

// C08
#[test]
fn the_clock_of_a_question_elsewhere_starts_when_its_card_is_on_the_screen() {
    let mut app = asking(&[rm("a"), rm("b")]);
    press(&mut app, "ctrl-o", T0);
    let drawn = |app: &mut App| {
        draw(app, &mut Buffer::empty(Rect::new(0, 0, 80, 24)));
        sent(app.on_drawn())
    };
    assert_eq!(drawn(&mut app), [], "a line in a list is not the question");
    press(&mut app, "enter", T0);
    let id = QuestionId("q-a".into());
    let shown = [Command::Shown { session: Some(SessionId("a".into())), id }];
    assert_eq!(drawn(&mut app), shown);
    assert_eq!(drawn(&mut app), [], "once");
}

// C11
#[test]
fn a_card_in_the_inbox_takes_no_key_before_the_keyboard_is_quiet_and_never_typed_text() {
    let mut app = asking(&[rm("a")]);
    press(&mut app, "ctrl-o", T0);
    paint(&mut app, 80, 24);
    for (key, at) in [("enter", 10), ("1", 499)] {
        assert_eq!(press(&mut app, key, T0 + at), [], "{key}");
    }
    assert!(shows(&mut app, "takes keys once the input is empty"), "the digit was text");
    press(&mut app, "bs", T0 + 600);
    assert_eq!(press(&mut app, "enter", T0 + 1_099), []);
    // A sentence with a pause in it, and its end.
    enter_text(&mut app, "use port ", T0 + 2_000);
    assert_eq!(press(&mut app, "1", T0 + 9_000), []);
    assert_eq!(press(&mut app, "enter", T0 + 19_000), []);
    assert!(app.flash().is_some_and(|text| text.contains("by a choice")), "{:?}", app.flash());
    app.on_paste("1\n", T0 + 29_000);
    assert_eq!(press(&mut app, "enter", T0 + 39_000), []);
    press(&mut app, "esc", T0 + 40_000);
    assert!(shows(&mut app, "Run this?"), "the first Esc clears the input");
    let once = there("a", Answer::Approval(Choice::Once));
    assert_eq!(sent(press(&mut app, "1", T0 + 41_000)), [once]);
    assert!(app.panel.is_none(), "no other waits");
    press(&mut app, "up", T0 + 42_000);
    assert_eq!(app.composer.text(), "use port 11\n", "what was typed can be had again");
}

// C11
#[test]
fn a_key_that_closes_a_panel_does_not_arm_the_card_below() {
    let mut app = running();
    app.on_event(&asked(approval("q", "rm -rf x", "rm -rf x")), T0);
    press(&mut app, "ctrl-b", T0 + 5_000);
    paint(&mut app, 80, 24);
    press(&mut app, "esc", T0 + 10_000);
    paint(&mut app, 80, 24);
    assert_eq!(press(&mut app, "1", T0 + 10_100), []);
    assert_eq!(app.composer.text(), "1");
}

// C10
#[test]
fn a_long_command_is_approved_in_the_inbox_only_after_all_of_it_was_in_view() {
    let command: Vec<String> = (0..30).map(|n| format!("rm -rf /srv/{n}")).collect();
    let mut app = asking(&[of("a", approval("q-a", &command.join("\n"), "rm -rf /srv/0"), 0)]);
    press(&mut app, "ctrl-o", T0);
    paint(&mut app, 80, 24);
    assert_eq!(press(&mut app, "1", T0 + 1_000), []);
    assert!(app.panel.is_some());
    for step in 0..8 {
        app.on_wheel(1, T0 + 2_000 + step);
        paint(&mut app, 80, 24);
    }
    let once = there("a", Answer::Approval(Choice::Once));
    assert_eq!(sent(press(&mut app, "1", T0 + 4_000)), [once]);
}

// C13
#[test]
fn a_question_elsewhere_is_answered_by_a_choice_or_in_own_words() {
    let ask = || of("a", clarify("q-a", &["Postgres", "SQLite"]), 0);
    let mut app = asking(&[ask()]);
    press(&mut app, "ctrl-o", T0);
    press(&mut app, "down", T0 + 1_000);
    let text = |text: &str| there("a", Answer::Text(text.into()));
    assert_eq!(sent(press(&mut app, "enter", T0 + 1_100)), [text("SQLite")]);
    let mut app = asking(&[ask()]);
    press(&mut app, "ctrl-o", T0);
    enter_text(&mut app, "neither: 1", T0 + 1_000);
    app.on_paste(" file", T0 + 1_100);
    assert_eq!(sent(press(&mut app, "enter", T0 + 1_200)), [text("neither: 1 file")]);
    assert!(app.composer.is_empty(), "it is no prompt of the session in view");
    // Whoever would rather go there takes along what was typed, and leaving loses nothing.
    let mut app = asking(&[ask()]);
    press(&mut app, "ctrl-o", T0);
    enter_text(&mut app, "half", T0 + 1_000);
    assert_eq!(app.unsent(), ["half"]);
    assert_eq!(sent(press(&mut app, "tab", T0 + 1_000)), [open("a")]);
    assert_eq!(app.composer.text(), "half");
    // So does a session that comes into view by itself.
    let mut app = asking(&[ask()]);
    press(&mut app, "ctrl-o", T0);
    enter_text(&mut app, "half", T0 + 1_000);
    let transcript = Transcript { session: SessionId("other".into()), ..window(vec![]) };
    let transcript = Box::new(transcript);
    app.on_event(&Event::Attached { transcript, resynced: false }, T0 + 2_000);
    press(&mut app, "up", T0 + 3_000);
    assert_eq!(app.composer.text(), "half");
}

// C03
#[test]
fn an_answered_question_counts_no_more_and_the_next_one_is_a_key_away() {
    let deny = |session| there(session, Answer::Approval(Choice::Deny));
    let mut app = asking(&[rm("a"), rm("b")]);
    press(&mut app, "ctrl-o", T0);
    press(&mut app, "enter", T0);
    assert_eq!(sent(press(&mut app, "enter", T0 + 600)), [deny("a")], "no is the default");
    assert!(shows(&mut app, "answered …"), "the host has not said so yet");
    press(&mut app, "esc", T0 + 700);
    app.on_tick(T0 + 9_000);
    assert!(shows(&mut app, "1 session asks"), "{}", picture(&mut app, 80, 24));
    // A host that could not take it leaves the question open.
    let failure = Failure { about: Subject::Answer, message: "the disk is full".into() };
    app.on_event(&Event::Failed(failure), T0 + 9_000);
    assert!(shows(&mut app, "2 sessions ask") && shows(&mut app, "the disk is full"));
    // It was the last one of this session, but not the last.
    tell(&mut app, &[rm("b")], T0 + 10_000);
    press(&mut app, "ctrl-o", T0 + 10_000);
    assert_eq!(sent(press(&mut app, "enter", T0 + 10_600)), [deny("b")]);
    assert!(app.panel.is_none());
}

// C07
#[test]
fn a_card_whose_question_is_gone_closes_with_a_word_and_another_does_not_take_its_place() {
    let mut app = asking(&[rm("a"), rm("b")]);
    press(&mut app, "ctrl-o", T0);
    press(&mut app, "enter", T0);
    enter_text(&mut app, "well", T0);
    let next = of("a", approval("next", "rm -rf /", "rm -rf /"), 0);
    tell(&mut app, &[next, rm("b")], T0 + 1_000);
    assert!(
        app.flash().is_some_and(|text| text.contains("elsewhere") && text.contains("Session a"))
    );
    assert!(!shows(&mut app, "Run this?"), "{}", picture(&mut app, 80, 24));
    assert_eq!(press(&mut app, "1", T0 + 5_000), [], "the list takes no digit");
    press(&mut app, "esc", T0 + 5_000);
    press(&mut app, "up", T0 + 5_000);
    assert_eq!(app.composer.text(), "well");

    let late = |mut asked: Asked| {
        asked.question.deadline = Some(T0 + 60_000);
        asked
    };
    let mut app = asking(&[late(rm("a"))]);
    press(&mut app, "ctrl-o", T0);
    assert!(shows(&mut app, "1 m 00 s left"));
    tell(&mut app, &[], T0 + 60_000);
    assert!(app.flash().is_some_and(|text| text.contains("nobody answered in time")));
    assert!(app.panel.is_none());
}

#[test]
fn the_selection_stays_with_its_session_and_the_one_in_view_has_its_card_below() {
    let mut app = asking(&[rm("a"), rm(HERE), rm("b")]);
    enter_text(&mut app, "/inbox", T0);
    assert_eq!(press(&mut app, "enter", T0), []);
    press(&mut app, "down", T0);
    press(&mut app, "down", T0);
    tell(&mut app, &[rm("b"), rm(HERE)], T0);
    assert_eq!(sent(press(&mut app, "tab", T0)), [open("b")]);
    enter_text(&mut app, "/inbox", T0);
    press(&mut app, "enter", T0);
    press(&mut app, "down", T0);
    press(&mut app, "enter", T0);
    assert!(app.panel.is_none(), "its own card is in view");
    // Nobody asks: that is said.
    tell(&mut app, &[], T0);
    enter_text(&mut app, "/inbox", T0);
    press(&mut app, "enter", T0);
    assert!(shows(&mut app, "no session waits for you"));
    for key in ["enter", "tab", "down", "up", "x"] {
        assert_eq!(press(&mut app, key, T0), [], "{key}");
    }
    press(&mut app, "esc", T0);
    assert!(app.panel.is_none());
}

#[test]
fn names_and_questions_of_others_cannot_paint() {
    let mut evil = rm("a");
    evil.name = "a\u{1b}[2J\nb\u{202e}".repeat(300);
    evil.question = approval("q-a", "rm \u{1b}[31m-rf\n/\u{202e}x", "rm");
    evil.behind = u32::MAX;
    let mut app = asking(&[evil.clone(), rm("b")]);
    press(&mut app, "ctrl-o", T0);
    for (width, height) in [(80, 24), (50, 16), (20, 6), (5, 3), (1, 1)] {
        picture(&mut app, width, height);
    }
    press(&mut app, "enter", T0);
    for (width, height) in [(80, 24), (50, 16), (20, 6), (5, 3), (1, 1)] {
        let shown = picture(&mut app, width, height);
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
    }
}

// C07
#[test]
fn what_was_typed_for_a_question_that_is_gone_stays_in_sight_and_goes_nowhere() {
    let which = of("a", clarify("q-a", &["red", "blue"]), 0);
    let mut app = asking(&[which]);
    press(&mut app, "ctrl-o", T0);
    enter_text(&mut app, "rm all ", T0 + 600);
    tell(&mut app, &[], T0 + 700);
    enter_text(&mut app, "please", T0 + 900);
    assert_eq!(press(&mut app, "enter", T0 + 1_000), []);
    assert!(shows(&mut app, "❯ rm all please") && shows(&mut app, "not sent"));
    // Once the keyboard was quiet it is an input like any other.
    assert_eq!(sent(press(&mut app, "enter", T0 + 1_600)).len(), 1);
    // The digit of who was slower is no text.
    let mut app = asking(&[rm("a")]);
    press(&mut app, "ctrl-o", T0);
    tell(&mut app, &[], T0 + 700);
    press(&mut app, "4", T0 + 800);
    assert!(app.composer.is_empty());
    press(&mut app, "4", T0 + 1_400);
    assert_eq!(app.composer.text(), "4");
    // And who was slower is not told that the own answer holds.
    let mut app = asking(&[rm("a")]);
    press(&mut app, "ctrl-o", T0);
    press(&mut app, "4", T0 + 700);
    assert!(shows(&mut app, "denied: Session a"));
    let toast = Toast {
        session: SessionId("a".into()),
        name: "Session a".into(),
        process: None,
        news: News::Late,
        text: String::new(),
    };
    app.on_event(&Event::Toast(toast), T0 + 710);
    assert!(!shows(&mut app, "denied") && shows(&mut app, "your answer came too late"));
}

// C13
#[test]
fn the_number_of_an_offered_answer_is_that_answer_however_it_was_typed() {
    let which = of("a", clarify("q-a", &["red", "blue"]), 0);
    for (typed, answer) in [("2", "blue"), (" 1 ", "red"), ("3", "3"), ("0", "0"), ("2 of", "2 of")]
    {
        let mut app = asking(std::slice::from_ref(&which));
        press(&mut app, "ctrl-o", T0);
        enter_text(&mut app, typed, T0 + 100);
        let sent = sent(press(&mut app, "enter", T0 + 2_000));
        assert_eq!(sent, [there("a", Answer::Text(answer.into()))], "{typed}");
    }
}
