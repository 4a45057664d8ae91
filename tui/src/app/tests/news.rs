//! What events do about files for the next prompt, answers from elsewhere, and news.

use protocol::Subject;
use protocol::{Attachment, News, ProcessId};

use super::*;

fn typed(app: &mut App, text: &str) -> Vec<Command> {
    enter_text(app, text, T0);
    sent(press(app, "enter", T0))
}

fn shows(app: &mut App, text: &str) -> bool {
    picture(app, 80, 24).contains(text)
}

fn file(name: &str) -> Attachment {
    Attachment { name: name.into(), path: "/x".into(), mime: "text/plain".into(), size: 812 }
}

fn uploading() -> App {
    let mut app = app(vec![user("go")]);
    enter_text(&mut app, "/upload ~/notes.md", T0);
    let effects = press(&mut app, "enter", T0);
    assert_eq!(effects, [Effect::Upload { path: "~/notes.md".into() }]);
    assert!(shows(&mut app, "[uploading notes.md …]"));
    app
}

// S04
#[test]
fn a_session_that_was_deleted_under_the_view_is_news_and_no_failure() {
    let mut app = app(vec![user("go")]);
    let message = "the session \"go\" was deleted; this is a new one".to_owned();
    app.on_event(&Event::Failed(Failure { about: Subject::Session, message }), T0);
    assert!(shows(&mut app, "was deleted; this is a new one") && !shows(&mut app, "✗"));
}

// S05
#[test]
fn an_upload_is_shown_until_it_has_ended_however_it_ends() {
    let over = |app: &mut App| assert!(!shows(app, "uploading"), "{}", picture(app, 80, 24));
    let mut app = uploading();
    app.on_event(&Event::AttachmentsChanged { attachments: vec![file("notes.md")] }, T0);
    over(&mut app);
    assert!(shows(&mut app, "[notes.md · 812 B]"));
    app.on_event(&Event::AttachmentsChanged { attachments: vec![] }, T0);
    assert!(!shows(&mut app, "notes.md"));

    for about in ["upload", "command"] {
        let mut app = uploading();
        let failure =
            Failure { about: Subject::of_name(about), message: "the disk is full".into() };
        app.on_event(&Event::Failed(failure), T0);
        over(&mut app);
    }
    let mut app = uploading();
    let failure = Failure { about: Subject::Model, message: "no such model".into() };
    app.on_event(&Event::Failed(failure), T0);
    assert!(shows(&mut app, "uploading"), "that is another matter");

    let mut app = uploading();
    app.on_unread("~/notes.md", "there is no such file or folder");
    over(&mut app);
    assert!(shows(&mut app, "✗ ~/notes.md: there is no such file or folder"));

    let mut app = uploading();
    assert_eq!(typed(&mut app, "/drop"), [Command::DropUploads]);
    over(&mut app);

    let mut app = uploading();
    let transcript = Box::new(window(vec![user("go")]));
    app.on_event(&Event::Attached { transcript, resynced: true }, T0);
    over(&mut app);

    // Another name, as the host sees fit; and two at once end one by one.
    let mut app = uploading();
    typed(&mut app, "/upload b.md");
    app.on_event(&Event::AttachmentsChanged { attachments: vec![file("b.md")] }, T0);
    assert!(shows(&mut app, "[uploading notes.md …] [b.md"), "{}", picture(&mut app, 80, 24));
    let attachments = vec![file("b.md"), file("notes-1.md")];
    app.on_event(&Event::AttachmentsChanged { attachments }, T0);
    over(&mut app);
}

// S05
#[test]
fn a_prompt_does_not_leave_without_the_file_it_is_about() {
    let mut app = uploading();
    assert_eq!(typed(&mut app, "what does it say?"), []);
    assert_eq!(app.composer.text(), "what does it say?");
    assert!(shows(&mut app, "notes.md is still on its way"));
    app.on_event(&Event::AttachmentsChanged { attachments: vec![file("notes.md")] }, T0);
    let commands = sent(press(&mut app, "enter", T0));
    assert_eq!(prompt_text(&commands), Some("what does it say?"));
}

// C07
#[test]
fn whoever_answered_elsewhere_is_named() {
    let mut app = running();
    app.on_event(&asked(approval("q", "rm", "rm")), T0);
    let by = Some("ada's\u{1b}[2J phone".to_owned());
    let answer = Answer::Approval(Choice::Once);
    let id = QuestionId("q".into());
    app.on_event(&Event::QuestionResolved { id, answer, by }, T0 + 600);
    assert_eq!(app.flash(), Some("answered by ada's phone"));
    assert!(app.question().is_none());
    assert!(app.notice.is_none(), "no error");
}

// C07
#[test]
fn who_answers_second_hears_that_another_answer_counts() {
    let resolved = |id: &str, choice: Choice| Event::QuestionResolved {
        id: QuestionId(id.into()),
        answer: Answer::Approval(choice),
        by: Some("the phone".into()),
    };
    let answered = |key: &str| {
        let mut app = running();
        app.on_event(&asked(approval("q", "rm", "rm")), T0);
        app.on_event(&asked(approval("r", "rm -r", "rm -r")), T0);
        paint(&mut app, 80, 24);
        assert_eq!(sent(press(&mut app, key, T0 + 600)).len(), 1);
        app
    };
    let mut app = answered("1");
    app.on_event(&resolved("q", Choice::Deny), T0 + 600);
    assert_eq!(app.flash(), Some("answered by the phone"));
    let mut app = answered("1");
    app.on_event(&resolved("q", Choice::Once), T0 + 600);
    assert_eq!(app.flash(), None, "what was wanted has happened");
    app.on_event(&resolved("r", Choice::Session), T0 + 600);
    assert_eq!(app.flash(), Some("answered by the phone"));
    // Our own grant answers the next one of its rule too.
    let mut app = answered("2");
    app.on_event(&resolved("q", Choice::Session), T0 + 600);
    app.on_event(&resolved("r", Choice::Session), T0 + 600);
    assert_eq!(app.flash(), None);
    assert!(app.question().is_none());
}

fn news(process: &str, news: News, text: &str) -> Event {
    Event::Toast(Toast {
        session: SessionId("other".into()),
        name: "Fix the pump".into(),
        process: Some(ProcessId(process.into())),
        news,
        text: text.into(),
    })
}

fn ended(delivery: Delivery) -> News {
    News::Ended { exit: exit(End::Exited, Some(0)), delivery }
}

fn flags(app: &mut App) -> usize {
    picture(app, 120, 24).matches('⚑').count()
}

// E11
#[test]
fn the_same_news_twice_is_told_once_and_other_news_of_the_same_process_are_not_lost() {
    let mut app = app(vec![user("go")]);
    app.on_event(&news("a", ended(Delivery::Waiting), "make"), T0);
    app.on_event(&news("a", ended(Delivery::Delivered), "make test"), T0);
    assert_eq!(flags(&mut app), 1, "an alias of the same end");
    app.on_tick(T0 + 3_600_000);
    app.on_event(&news("a", ended(Delivery::Waiting), "make"), T0 + 3_600_000);
    assert_eq!(flags(&mut app), 0, "nor an hour later: a process ends once");
    let matched = |at: Millis, app: &mut App| {
        let pattern = "ERROR".into();
        app.on_event(&news("a", News::Matched { pattern }, "ERROR in the pump"), T0 + at);
        flags(app)
    };
    assert_eq!(matched(4_000_000, &mut app), 1);
    assert_eq!(matched(4_000_100, &mut app), 1);
    assert_eq!(matched(4_015_000, &mut app), 2, "15 s later it is another match");
    app.on_event(&news("b", ended(Delivery::Waiting), "make"), T0 + 4_015_000);
    assert_eq!(flags(&mut app), 3);
}

// E11, P11
#[test]
fn what_its_own_session_has_shown_is_not_told_again_elsewhere() {
    let mut app = app(vec![user("go")]);
    let mut toast = news("a", ended(Delivery::Waiting), "make");
    if let Event::Toast(toast) = &mut toast {
        toast.session = app.transcript.session.clone();
    }
    app.on_event(&toast, T0);
    let mut other = window(vec![]);
    other.session = SessionId("other".into());
    app.on_event(&Event::Attached { transcript: Box::new(other), resynced: false }, T0);
    app.on_event(&toast, T0);
    assert_eq!(flags(&mut app), 0);
}

// E12
#[test]
fn of_a_burst_few_are_drawn_and_all_are_listed() {
    let mut app = app(vec![]);
    let mut processes = Vec::new();
    for n in 0..30 {
        let id = format!("proc_{n:02}");
        app.on_event(&news(&id, ended(Delivery::Waiting), "make"), T0);
        app.on_event(&news(&id, ended(Delivery::Waiting), "make"), T0);
        let done = exit(End::Exited, Some(0));
        processes.push(Process {
            command: format!("make part-{n:02}"),
            ..process(&id, State::Ended, Some(done))
        });
    }
    assert_eq!(flags(&mut app), 3);
    assert!(shows(&mut app, "+27 more · Ctrl+B a lists all"));
    press(&mut app, "ctrl-b", T0);
    assert!(sent(press(&mut app, "a", T0)).contains(&Command::ListProcesses));
    app.on_event(&Event::ProcessesListed { processes }, T0);
    let shown = picture(&mut app, 100, 60);
    for n in 0..30 {
        assert!(shown.contains(&format!("make part-{n:02}")), "{n}: {shown}");
    }
}

// P11
#[test]
fn news_from_another_session_lead_there() {
    let mut app = app(vec![user("go")]);
    app.on_event(&news("a", ended(Delivery::Waiting), "make"), T0);
    app.on_tick(T0 + 60_000);
    assert_eq!(flags(&mut app), 0);
    let other = SessionId("other".into());
    let open = Command::Open(Target::Id(other.clone()));
    assert_eq!(sent(press(&mut app, "ctrl-o", T0)), [open], "also when the toast is gone");
    let transcript = Box::new(Transcript { session: other, ..window(vec![]) });
    app.on_event(&Event::Attached { transcript, resynced: false }, T0);
    assert_eq!(sent(press(&mut app, "ctrl-o", T0)), [Command::ListSessions], "it is here now");
}

#[test]
fn a_failure_ends_only_the_request_that_it_names() {
    let failed = |about| Event::Failed(Failure { about, message: "no".into() });
    let lists = |app: &App| app.panel.is_some();
    let mut app = app(vec![user("go")]);
    typed(&mut app, "/model");
    app.on_event(&failed(Subject::Goal), T0);
    assert!(lists(&app), "the models may still come");
    app.on_event(&failed(Subject::Sessions), T0);
    assert!(lists(&app), "the models may still come");
    app.on_event(&failed(Subject::Models), T0);
    assert!(!lists(&app), "they will not come");

    typed(&mut app, "/export notes.json");
    app.on_event(&failed(Subject::Yolo), T0);
    let exported = Event::Exported { name: "s.json".into(), text: "{}".into() };
    assert_eq!(app.on_event(&exported, T0).len(), 1, "it is saved");
    typed(&mut app, "/export notes.json");
    app.on_event(&failed(Subject::Export), T0);
    assert_eq!(app.on_event(&exported, T0).len(), 0, "nobody waits for it");
}
