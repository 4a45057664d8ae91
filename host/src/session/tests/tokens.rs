//! What the requests of a session took, summed.

use super::*;
use protocol::Tokens;

fn usage(prompt: u64, completion: u64) -> Usage {
    Usage { prompt, completion, cached: prompt / 2, reasoning: 1, written: 3 }
}

fn answer_counted(rig: &mut Rig, usage: Usage) {
    let answer = Assistant { text: "x".to_owned(), ..Assistant::default() };
    rig.event(TurnEvent::Answered { answer, usage: Some(usage), context: Some(1000) });
}

#[test]
fn every_request_counts_and_the_gauge_shows_the_last_answer() {
    // S01
    let mut rig = Rig::new();
    assert_eq!(rig.session.transcript().tokens, Tokens::default());
    rig.prompt("go");
    answer_counted(&mut rig, usage(100, 10));
    rig.event(TurnEvent::Used(usage(1_000, 200)));
    rig.event(TurnEvent::Compressed(Summary { after: 40, ..Summary::default() }));
    answer_counted(&mut rig, usage(60, 6));
    rig.end();
    let sums = Tokens { requests: 3, input: 1_160, output: 216, cached: 580, written: 9 };
    assert_eq!(rig.session.transcript().tokens, sums);
    assert_eq!(rig.session.meta().tokens, sums);
    assert_eq!(rig.session.transcript().gauge.used, Some(60));
    assert_eq!(&rig.view, rig.session.transcript());
}

#[test]
fn a_count_is_stored_in_the_commit_of_the_answer_it_belongs_to() {
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.effects.clear();
    answer_counted(&mut rig, usage(100, 10));
    let stored = rig.effects.iter().find_map(|e| match e {
        Effect::Record(Record::Session(meta)) => Some(meta.tokens.input),
        _ => None,
    });
    assert_eq!(stored, Some(100));
    assert!(rig.effects.iter().any(|e| matches!(e, Effect::Record(Record::Row { .. }))));
}

#[test]
fn token_sums_survive_restart_and_undo_but_not_a_copy() {
    let mut rig = Rig::new();
    rig.prompt("go");
    answer_counted(&mut rig, usage(100, 10));
    rig.end();
    rig.feed(Input::Undo { unloaded: UnloadedRows::default(), again: None });
    assert_eq!(rig.session.meta().tokens.input, 100, "what was spent is spent");
    assert_eq!(rig.session.meta().branch(5).tokens, Tokens::default());
    let loaded = Loaded { meta: rig.session.meta().clone(), ..Loaded::default() };
    let (session, _) =
        Session::restore(loaded, Attendance::Attended, Some(1000), Rules::default(), 9_000);
    assert_eq!(session.transcript().tokens, rig.view.tokens);
}

#[test]
fn a_request_that_ends_after_its_turn_counts_still() {
    let mut rig = Rig::new();
    rig.prompt("go");
    let turn = rig.session.turns;
    rig.end();
    rig.feed(Input::TurnEvent { turn, ack: Ack(0), event: TurnEvent::Used(usage(50, 5)) });
    assert_eq!(rig.view.tokens.input, 50);
}

#[test]
fn without_a_count_nothing_is_known() {
    // S01
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.answer("uncounted");
    rig.end();
    assert_eq!(rig.session.transcript().tokens.requests, 0);
}
