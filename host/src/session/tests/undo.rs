//! The last user turn taken back.

use super::*;
use crate::process::WatchHit;

fn undo(rig: &mut Rig) -> Vec<Effect> {
    rig.feed(Input::Undo { unloaded: UnloadedRows::default(), again: None })
}

fn retry(rig: &mut Rig, id: &str) -> Vec<Effect> {
    let again = Some((PromptId(id.to_owned()), Attendance::Attended));
    rig.feed(Input::Undo { unloaded: UnloadedRows::default(), again })
}

fn refusal(effects: &[Effect]) -> Option<String> {
    effects.iter().find_map(|e| match e {
        Effect::Publish(Event::Failed(failure)) => Some(failure.message.clone()),
        _ => None,
    })
}

fn ask_and_answer(rig: &mut Rig, text: &str) {
    rig.prompt(text);
    rig.answer(&format!("to {text}"));
    rig.end();
}

fn texts(rig: &Rig) -> Vec<String> {
    rig.session.transcript().rows.iter().map(|row| row.text().to_owned()).collect()
}

#[test]
fn undo_removes_the_last_user_turn_and_its_wakeups() {
    let mut rig = Rig::new();
    ask_and_answer(&mut rig, "one");
    rig.prompt("two");
    rig.spawn("a");
    rig.answer("spawned");
    rig.end();
    rig.exit("a");
    rig.answer("seen");
    rig.end();
    assert_eq!(rig.rows().len(), 6);
    let effects = undo(&mut rig);
    assert_eq!(texts(&rig), ["one", "to one"]);
    assert!(effects.contains(&Effect::Publish(Event::RowsRemoved { after: 2 })));
    let id = SessionId("s1".to_owned());
    assert!(effects.contains(&Effect::Record(Record::Undone { session: id, after: 2 })));
    // The end was answered: it is not told again.
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
    rig.prompt("three");
    let last = rig.session.transcript().rows.last().unwrap().clone();
    assert_eq!((last.n, last.turn), (3, TurnId(4)), "the turn's number is new");
    assert_eq!(rig.told(), Vec::<String>::new());
    assert_eq!(&rig.view, rig.session.transcript());
}

#[test]
fn undo_goes_on_turn_by_turn_until_nothing_is_left() {
    let mut rig = Rig::new();
    ask_and_answer(&mut rig, "one");
    ask_and_answer(&mut rig, "two");
    undo(&mut rig);
    assert_eq!(texts(&rig), ["one", "to one"]);
    undo(&mut rig);
    assert_eq!(texts(&rig), [""; 0]);
    assert_eq!(refusal(&undo(&mut rig)).as_deref(), Some("Nothing to undo."));
    ask_and_answer(&mut rig, "three");
    assert_eq!(rig.session.meta().preview, "three", "the first prompt is another one");
}

#[test]
fn nothing_is_undone_in_a_turn_or_while_the_store_fails() {
    let mut rig = Rig::new();
    assert_eq!(refusal(&undo(&mut rig)).as_deref(), Some("Nothing to undo."));
    rig.prompt("go");
    assert!(refusal(&undo(&mut rig)).unwrap().contains("interrupt it"));
    assert_eq!(rig.rows(), ["user"]);
    rig.end();
    rig.feed(Input::Storage(Storage::Failing("full".to_owned())));
    assert!(refusal(&undo(&mut rig)).unwrap().contains("full"));
    assert_eq!(rig.rows(), ["user"]);
}

#[test]
fn undo_resets_the_gauge_and_the_summary_count() {
    // S01
    let mut rig = Rig::new();
    ask_and_answer(&mut rig, "one");
    rig.prompt("two");
    rig.event(TurnEvent::Compressed(Summary { text: "short".to_owned(), ..Summary::default() }));
    let usage = Usage { prompt: 500, ..Usage::default() };
    let answer = Assistant::default();
    rig.event(TurnEvent::Answered { answer, usage: Some(usage), context: Some(1000) });
    rig.end();
    assert_eq!(rig.session.meta().compressions, 1);
    undo(&mut rig);
    assert_eq!(rig.session.meta().compressions, 0);
    assert_eq!(rig.session.meta().gauge.used, None);
    assert_eq!((rig.view.gauge.used, rig.view.gauge.length), (None, Some(1000)));
}

#[test]
fn a_retry_is_one_commit_and_happens_once() {
    let mut rig = Rig::new();
    ask_and_answer(&mut rig, "one");
    rig.prompt("two");
    rig.event(TurnEvent::Ended {
        outcome: Outcome::Failed { class: "server".to_owned() },
        failure: Some("broken".to_owned()),
    });
    rig.effects.clear();
    let effects = retry(&mut rig, "again");
    assert_eq!(starts(&effects), [Source::User]);
    assert!(effects.iter().any(|e| matches!(e, Effect::Record(Record::Undone { after: 2, .. }))));
    assert_eq!(texts(&rig), ["one", "to one", "two"]);
    rig.answer("better");
    rig.end();
    assert_eq!(retry(&mut rig, "again"), []);
    assert_eq!(texts(&rig), ["one", "to one", "two", "better"]);
}

#[test]
fn an_unanswered_event_gets_a_new_row_after_an_undo() {
    // W29
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    rig.event(TurnEvent::Ended {
        outcome: Outcome::Failed { class: "unreachable".to_owned() },
        failure: None,
    });
    assert_eq!(rig.told(), ["a"]);
    undo(&mut rig);
    assert_eq!(rig.told(), Vec::<String>::new());
    rig.prompt("again");
    assert_eq!(rig.told(), ["a"], "it has one row, a new one");
    rig.answer("seen");
    rig.end();
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
}

#[test]
fn completions_that_came_with_the_prompt_stay_told() {
    // W05
    let mut rig = idle_with(&["a"]);
    rig.prompt("run");
    rig.exit("a");
    rig.prompt("next");
    rig.answer("done");
    rig.end();
    assert_eq!(rig.rows(), ["user", "assistant", "user", "assistant", "wakeup", "user"]);
    rig.answer("both");
    rig.end();
    undo(&mut rig);
    assert_eq!(rig.rows(), ["user", "assistant", "user", "assistant", "wakeup"]);
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
}

#[test]
fn matches_of_an_undone_spawn_start_no_turn_but_its_end_does() {
    // P05
    let mut rig = Rig::new();
    let watched = |id: &str, turn| Process {
        watch: vec!["ready".to_owned()],
        notify: false,
        turn: TurnId(turn),
        ..process(id)
    };
    rig.prompt("one");
    rig.event(TurnEvent::Spawn(Box::new(watched("old", 1))));
    rig.answer("spawned");
    rig.end();
    rig.now += 10;
    rig.prompt("two");
    rig.event(TurnEvent::Spawn(Box::new(watched("new", 2))));
    rig.event(TurnEvent::Spawn(Box::new(Process { turn: TurnId(2), ..process("end") })));
    rig.answer("spawned");
    rig.end();
    rig.now += 10;
    undo(&mut rig);
    rig.effects.clear();
    let hit = |rig: &Rig| WatchHit {
        pattern: "ready".to_owned(),
        text: "ready".to_owned(),
        lines: 1,
        upto: 6,
        at: rig.now,
    };
    rig.now += 10;
    let found = hit(&rig);
    rig.feed(Input::Matched { process: pid("new"), hit: found.clone(), admitted: true });
    assert_eq!(rig.starts(), []);
    assert_eq!(rig.session.process(&pid("new")).unwrap().watching.stale, 1);
    rig.feed(Input::Matched { process: pid("old"), hit: found, admitted: true });
    assert_eq!(rig.starts(), [Source::Wakeup], "that one is of a turn that stays");
    rig.answer("seen");
    rig.end();
    rig.exit("end");
    assert_eq!(rig.told(), ["old", "end"]);
}

#[test]
fn undo_beyond_the_window_refills_it_from_the_store() {
    let row = |n, turn, body| Row { n, turn: TurnId(turn), at: 1, cut: 0, body };
    let user = |n, turn, text: &str| row(n, turn, Body::User { text: text.to_owned() });
    let note = |n| row(n, 2, Body::Note { text: "n".to_owned() });
    let loaded = Loaded {
        meta: meta(),
        rows: vec![note(301), note(302)],
        earlier: 300,
        turns: TurnId(2),
        ..Loaded::default()
    };
    let (session, _) = Session::restore(loaded, Attendance::Attended, None, Rules::default(), 1);
    let view = session.transcript().clone();
    let mut rig = Rig { session, now: 5, prompts: 0, effects: Vec::new(), view };
    assert_eq!((rig.session.last_prompt(), rig.session.last_row()), (None, 302));
    let before = vec![user(1, 1, "one"), row(2, 1, Body::Assistant(Assistant::default()))];
    let unloaded = UnloadedRows { first: Some(user(3, 2, "two")), before, summaries: 0 };
    rig.feed(Input::Undo { unloaded, again: None });
    assert_eq!(rig.rows(), ["user", "assistant"]);
    assert_eq!(rig.session.transcript().earlier, 0);
    assert_eq!(&rig.view, rig.session.transcript());
    rig.prompt("three");
    assert_eq!(rig.session.transcript().rows.last().unwrap().n, 3);
}

fn truncate(rig: &mut Rig, after: u64) -> Vec<Effect> {
    rig.feed(Input::Truncate { after, unloaded: UnloadedRows::default() })
}

#[test]
fn all_rows_after_some_row_go_and_what_stays_goes_on() {
    let mut rig = Rig::new();
    for text in ["one", "two", "three"] {
        ask_and_answer(&mut rig, text);
    }
    let effects = truncate(&mut rig, 3);
    assert_eq!(texts(&rig), ["one", "to one", "two"], "also in the midst of a turn");
    assert!(effects.contains(&Effect::Publish(Event::RowsRemoved { after: 3 })));
    let id = SessionId("s1".to_owned());
    assert!(effects.contains(&Effect::Record(Record::Undone { session: id, after: 3 })));
    rig.prompt("four");
    let last = rig.session.transcript().rows.last().unwrap().clone();
    assert_eq!((last.n, last.turn), (4, TurnId(4)), "the turn's number is new");
    assert_eq!(&rig.view, rig.session.transcript());
}

#[test]
fn a_truncated_session_keeps_only_its_title() {
    let mut rig = Rig::new();
    ask_and_answer(&mut rig, "one");
    rig.feed(Input::SetTitle("Mine".to_owned()));
    truncate(&mut rig, 0);
    assert_eq!(texts(&rig), [""; 0]);
    assert_eq!((rig.session.name().as_str(), rig.session.meta().preview.as_str()), ("Mine", ""));
    rig.feed(Input::SetTitle(String::new()));
    assert_eq!((&rig.session.meta().title, &rig.view.title), (&None, &None));
    ask_and_answer(&mut rig, "two");
    assert_eq!(rig.session.name(), "two");
}

#[test]
fn the_first_prompt_that_is_asked_again_still_names_its_session() {
    let mut rig = Rig::new();
    ask_and_answer(&mut rig, "one");
    retry(&mut rig, "again");
    assert_eq!(rig.session.name(), "one");
}

#[test]
fn rows_are_truncated_only_where_there_are_some() {
    let mut rig = Rig::new();
    assert!(refusal(&truncate(&mut rig, 0)).is_some(), "nothing is stored");
    ask_and_answer(&mut rig, "one");
    for after in [2, 3, u64::MAX] {
        assert!(refusal(&truncate(&mut rig, after)).unwrap().contains("nothing after"), "{after}");
    }
    rig.prompt("two");
    assert!(refusal(&truncate(&mut rig, 0)).unwrap().contains("interrupt it"));
    assert_eq!(rig.rows(), ["user", "assistant", "user"]);
    rig.end();
    rig.feed(Input::Storage(Storage::Failing("full".to_owned())));
    assert!(refusal(&truncate(&mut rig, 0)).unwrap().contains("full"));
}

#[test]
fn matches_of_a_cut_turns_spawn_start_no_turn() {
    // P05
    let mut rig = Rig::new();
    ask_and_answer(&mut rig, "one");
    rig.prompt("two");
    let watched = Process { watch: vec!["x".to_owned()], turn: TurnId(2), ..process("w") };
    rig.event(TurnEvent::Spawn(Box::new(watched)));
    rig.event(TurnEvent::Running { process: pid("w"), pid: 1 });
    rig.answer("spawned");
    rig.end();
    truncate(&mut rig, 3);
    rig.effects.clear();
    rig.now += 10;
    let text = "x".to_owned();
    let hit = WatchHit { pattern: text.clone(), text, lines: 1, upto: 2, at: rig.now };
    rig.feed(Input::Matched { process: pid("w"), hit, admitted: true });
    assert_eq!(rig.starts(), []);
    rig.exit("w");
    assert_eq!(rig.starts(), [Source::Wakeup]);
}

#[test]
fn a_wakeup_row_that_goes_unanswered_is_told_once_more() {
    // W29
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    rig.event(TurnEvent::Ended {
        outcome: Outcome::Failed { class: "server".to_owned() },
        failure: Some("broken".to_owned()),
    });
    assert_eq!(rig.told(), ["a"]);
    let row = rig.session.transcript().rows.iter().find(|r| matches!(r.body, Body::Wakeup(_)));
    let after = row.unwrap().n - 1;
    truncate(&mut rig, after);
    assert_eq!(rig.told(), [""; 0]);
    rig.prompt("go on");
    assert_eq!(rig.told(), ["a"]);
}

#[test]
fn removed_rows_beyond_the_window_come_from_the_store() {
    let mut rig = Rig::new();
    ask_and_answer(&mut rig, "one");
    ask_and_answer(&mut rig, "two");
    let rows = rig.session.transcript().rows.clone();
    let meta = Meta { compressions: 3, ..rig.session.meta().clone() };
    let loaded = Loaded { meta, rows: rows[3..].to_vec(), earlier: 3, ..Loaded::default() };
    let (session, _) =
        Session::restore(loaded, Attendance::Attended, Some(1000), Rules::default(), rig.now);
    rig.view = session.transcript().clone();
    rig.session = session;
    let unloaded =
        UnloadedRows { first: Some(rows[1].clone()), before: rows[..1].to_vec(), summaries: 2 };
    rig.feed(Input::Truncate { after: 1, unloaded });
    assert_eq!(texts(&rig), ["one"]);
    assert_eq!(rig.session.meta().compressions, 1);
    assert_eq!(rig.view.earlier, 0);
    assert_eq!(&rig.view, rig.session.transcript());
}

#[test]
fn a_call_whose_result_was_removed_is_not_open_later() {
    let call = ToolCall {
        id: CallId("c1".to_owned()),
        name: "terminal".to_owned(),
        args: serde_json::Value::Null,
    };
    let row = |n, turn, body| Row { n, turn: TurnId(turn), at: 0, cut: 0, body };
    let answer = Assistant { calls: vec![call], ..Assistant::default() };
    let rows = [
        row(1, 1, Body::User { text: "go".to_owned() }),
        row(2, 1, Body::Assistant(answer)),
        row(3, 2, Body::User { text: "next".to_owned() }),
    ];
    assert_eq!(protocol::open_calls(&rows[..2]).len(), 1);
    assert_eq!(protocol::open_calls(&rows).len(), 0);
}
