//! Turns that a host left open: which go on, how, and which do not.

use proptest::prelude::*;

use super::disk::Disk;
use super::*;
use crate::session::resume::{LEFT, RECOVERY, UNANSWERED};

const HOUR: Millis = 3_600_000;

fn call(id: &str, name: &str) -> ToolCall {
    ToolCall { id: CallId(id.to_owned()), name: name.to_owned(), args: serde_json::Value::Null }
}

fn calls(rig: &mut Rig, calls: &[(&str, &str)]) {
    let calls = calls.iter().map(|(id, name)| call(id, name)).collect();
    let answer = Assistant { calls, stop: Stop::Calls, ..Assistant::default() };
    rig.event(TurnEvent::Answered { answer, usage: None, context: None });
}

fn tool(rig: &mut Rig, id: &str, unanswered: bool) -> Vec<Effect> {
    let result = ToolResult {
        call: CallId(id.to_owned()),
        name: "terminal".to_owned(),
        text: format!("result of {id}"),
        failed: false,
        millis: 1,
        unanswered,
    };
    rig.event(TurnEvent::Result(Finished { result, seen: Vec::new(), shell: None, todo: None }))
}

fn delta(rig: &mut Rig, text: &str) {
    rig.event(TurnEvent::Delta { part: Part::Text, text: text.to_owned() });
}

/// A session whose user turn runs; what it has recorded so far is what a kill would leave.
fn running() -> Rig {
    let mut rig = Rig::new();
    rig.prompt("go");
    rig
}

fn errands(rig: &Rig) -> Vec<(u64, TurnKind)> {
    let plans = rig.effects.iter().filter_map(|e| match e {
        Effect::Start(plan) => Some((plan.turn.0, plan.kind.clone())),
        _ => None,
    });
    plans.collect()
}

fn kinds(disk: &Disk) -> Vec<&'static str> {
    disk.rows.iter().map(kind).collect()
}

const RESUMED: (u64, TurnKind) = (1, TurnKind::Resume);

#[test]
fn unfinished_work_that_is_fresh_goes_on_as_the_same_turn() {
    // R01
    type Do = fn(&mut Rig);
    let tails: [(&str, Do, &[&str]); 6] = [
        ("a prompt", |_| {}, &["user"]),
        ("a call", |rig| calls(rig, &[("c", "terminal")]), &["user", "assistant", "tool", "note"]),
        (
            "a result",
            |rig| {
                calls(rig, &[("c", "terminal")]);
                tool(rig, "c", false);
            },
            &["user", "assistant", "tool"],
        ),
        ("half an answer", |rig| delta(rig, "half"), &["user", "assistant", "note"]),
        (
            "an answer at the output limit",
            |rig| {
                let answer = Assistant { stop: Stop::Length, ..Assistant::default() };
                rig.event(TurnEvent::Answered { answer, usage: None, context: None });
            },
            &["user", "assistant", "note"],
        ),
        (
            "reasoning",
            |rig| {
                drop(rig.event(TurnEvent::Delta { part: Part::Reasoning, text: "hm".to_owned() }));
            },
            &["user", "assistant", "note"],
        ),
    ];
    for (what, play, rows) in tails {
        let mut rig = running();
        play(&mut rig);
        let mut disk = Disk::of(&rig);
        let rig = disk.restart(rig.now + HOUR);
        assert_eq!(errands(&rig), [RESUMED], "{what}");
        assert_eq!(kinds(&disk), rows, "{what}");
        assert_eq!(disk.outcome(1), None, "{what}");
    }
}

#[test]
fn what_is_old_or_without_a_time_does_not_go_on_and_says_so() {
    // R01
    let never = Rules { freshness: None, ..Rules::default() };
    let zero = Rules { freshness: Some(0), ..Rules::default() };
    for (rules, later) in [(Rules::default(), HOUR + 1), (never, 0), (zero, 0)] {
        let mut disk = Disk::of(&running());
        let rig = disk.restart_with(rules, 1_000 + later);
        assert_eq!(errands(&rig), []);
        assert_eq!(kinds(&disk), ["user", "failure"]);
        assert_eq!(disk.outcome(1), Some(Outcome::Interrupted));
        assert!(disk.rows[1].text().contains("`continue`"));
    }
    // The row's own time counts, not the turn's.
    let mut rig = running();
    calls(&mut rig, &[("c", "terminal")]);
    rig.now += 2 * HOUR;
    tool(&mut rig, "c", false);
    let mut disk = Disk::of(&rig);
    for at in [0, -5] {
        let mut undated = disk.clone();
        undated.rows[2].at = at;
        assert_eq!(errands(&undated.restart(1_000)), []);
    }
    assert_eq!(errands(&disk.restart(rig.now + HOUR)), [RESUMED]);
}

#[test]
fn a_clock_that_was_set_back_is_no_reason_to_be_old() {
    // R01
    let mut rig = Rig::new();
    rig.now = 10 * HOUR;
    rig.prompt("go");
    let disk = Disk::of(&rig);
    assert_eq!(errands(&disk.clone().restart(9 * HOUR)), [RESUMED]);
    assert_eq!(errands(&disk.clone().restart(9 * HOUR - 1)), []);
    for now in [Millis::MIN, -1, 0, Millis::MAX] {
        disk.clone().restart(now);
    }
}

#[test]
fn a_turn_that_had_answered_is_closed_and_nothing_runs() {
    // R02
    let mut rig = running();
    delta(&mut rig, "all ");
    rig.answer("all done");
    let mut disk = Disk::of(&rig);
    let rig = disk.restart(rig.now + 10 * HOUR);
    assert_eq!(errands(&rig), []);
    assert_eq!(kinds(&disk), ["user", "assistant"]);
    assert_eq!(disk.outcome(1), Some(Outcome::Done));
}

#[test]
fn a_start_that_came_to_nothing_is_not_repeated() {
    // R03
    let mut rig = running();
    delta(&mut rig, "half");
    let mut disk = Disk::of(&rig);
    disk.restart(rig.now);
    assert_eq!(disk.rows.last().unwrap().text(), RECOVERY);
    let rig = disk.restart(rig.now);
    assert_eq!(errands(&rig), []);
    assert_eq!(kinds(&disk), ["user", "assistant", "note", "failure"]);
    assert_eq!(disk.outcome(1), Some(Outcome::Interrupted));
}

#[test]
fn a_turn_that_is_given_up_holds_no_completion_that_it_did_not_carry() {
    // R03 W15
    let mut rig = running();
    rig.spawn("a");
    delta(&mut rig, "half");
    rig.exit("a");
    let mut disk = Disk::of(&rig);
    disk.restart(rig.now);
    let rig = disk.restart(rig.now);
    assert_eq!(disk.outcome(1), Some(Outcome::Interrupted));
    assert_eq!((rig.told(), rig.session.transcript().held.clone()), (vec!["a".to_owned()], None));
    assert_eq!(errands(&rig), [(2, TurnKind::Answer)]);
}

#[test]
fn a_turn_is_started_three_times_without_a_new_row_and_then_held() {
    // R03
    let mut disk = Disk::of(&running());
    for _ in 0..3 {
        assert_eq!(errands(&disk.restart(1_000)), [RESUMED]);
    }
    let rig = disk.restart(1_000);
    assert_eq!(errands(&rig), []);
    assert_eq!(kinds(&disk), ["user", "failure"]);
    assert!(disk.rows[1].text().contains("again and again"), "{}", disk.rows[1].text());
    assert_eq!(disk.outcome(1), Some(Outcome::Interrupted));

    // A new row in between begins the count anew; what the starts themselves write does not.
    let mut disk = Disk::of(&running());
    disk.restart(1_000);
    disk.restart(1_000);
    let mut rig = disk.restart(1_000);
    let before = rig.effects.len();
    calls(&mut rig, &[("c", "terminal")]);
    disk.write(&rig.effects[before..]);
    assert_eq!(errands(&disk.restart(1_000)), [RESUMED]);
}

#[test]
fn each_half_answer_counts_as_a_start_and_never_as_progress() {
    // R03
    let mut rig = running();
    delta(&mut rig, "half");
    let mut disk = Disk::of(&rig);
    for start in 0..3 {
        let mut rig = disk.restart(1_000);
        assert_eq!(errands(&rig), [RESUMED], "start {start}");
        let before = rig.effects.len();
        delta(&mut rig, "more");
        disk.write(&rig.effects[before..]);
    }
    assert_eq!(errands(&disk.restart(1_000)), []);
    assert!(disk.rows.last().unwrap().text().contains("again and again"));
}

#[test]
fn a_question_that_ran_out_of_time_is_where_the_user_is_awaited() {
    // R04
    let mut rig = running();
    calls(&mut rig, &[("c", "clarify"), ("d", "read_file")]);
    tool(&mut rig, "c", true);
    tool(&mut rig, "d", false);
    let mut disk = Disk::of(&rig);
    let rig = disk.restart(rig.now);
    assert_eq!(errands(&rig), []);
    assert_eq!(kinds(&disk), ["user", "assistant", "tool", "tool", "note", "failure"]);
    assert!(disk.rows[5].text().contains("waits for you"));
    // The next prompt is not taken for more than it is.
    assert_eq!(disk.rows[4].text(), UNANSWERED);
    // Once the model has answered to it, it is past.
    let mut rig = running();
    calls(&mut rig, &[("c", "clarify")]);
    tool(&mut rig, "c", true);
    calls(&mut rig, &[("d", "terminal")]);
    let mut disk = Disk::of(&rig);
    assert_eq!(errands(&disk.restart(rig.now)), [RESUMED]);
}

#[test]
fn calls_with_results_stay_done_and_the_others_are_told_as_interrupted() {
    // R06 R07
    let mut rig = running();
    calls(&mut rig, &[("a", "terminal"), ("b", "terminal"), ("c", "todo")]);
    tool(&mut rig, "a", false);
    let mut disk = Disk::of(&rig);
    let rig = disk.restart(rig.now);
    assert_eq!(errands(&rig), [RESUMED]);
    assert_eq!(kinds(&disk), ["user", "assistant", "tool", "tool", "tool", "note"]);
    for row in &disk.rows[3..5] {
        assert!(row.text().contains("was not run again"), "{}", row.text());
    }
    // No call is left for the turn to run.
    assert_eq!(rig.session.transcript().running.as_ref().unwrap().calls, []);
}

#[test]
fn streamed_text_is_kept_as_partial_and_deltas_go_on_counting() {
    // R07
    let mut rig = running();
    delta(&mut rig, "one ");
    delta(&mut rig, "two");
    let mut disk = Disk::of(&rig);
    let mut rig = disk.restart(rig.now);
    let Body::Assistant(answer) = &disk.rows[1].body else { panic!("{:?}", disk.rows) };
    assert_eq!((answer.text.as_str(), answer.stop), ("one two", Stop::Partial));
    let before = rig.effects.len();
    delta(&mut rig, "three");
    rig.answer("three");
    rig.end();
    disk.write(&rig.effects[before..]);
    assert_eq!(kinds(&disk), ["user", "assistant", "note", "assistant"]);
    assert_eq!(disk.outcome(1), Some(Outcome::Done));
    assert_eq!(rig.view, *rig.session.transcript());
}

#[test]
fn a_graceful_stop_leaves_the_turn_open_and_its_end_closes_it() {
    // R05
    let mut rig = running();
    delta(&mut rig, "half");
    rig.feed(Input::Stop);
    let mut disk = Disk::of(&rig);
    assert_eq!(disk.outcome(1), None);
    assert_eq!(errands(&disk.restart(rig.now)), [RESUMED]);

    let mut rig = running();
    rig.feed(Input::Drain);
    assert!(rig.session.works());
    rig.answer("done");
    rig.end();
    assert!(!rig.session.works());
    rig.feed(Input::Stop);
    let mut disk = Disk::of(&rig);
    assert_eq!(disk.outcome(1), Some(Outcome::Done));
    assert_eq!(errands(&disk.restart(rig.now)), []);
}

#[test]
fn a_turn_that_was_handed_over_goes_on_whatever_its_age_once() {
    // P10 P13 R01
    let never = Rules { freshness: None, ..Rules::default() };
    let mut rig = running();
    calls(&mut rig, &[("c", "terminal")]);
    tool(&mut rig, "c", false);
    rig.feed(Input::HandOver);
    let mut disk = Disk::of(&rig);
    let late = rig.now + 30 * HOUR;
    assert_eq!(errands(&disk.clone().restart_with(never.clone(), late)), [RESUMED]);
    assert_eq!(errands(&disk.restart(late)), [RESUMED]);
    // The next host is killed: nobody has asked that one to leave the turn to another.
    assert_eq!(errands(&disk.restart(late)), []);
    assert_eq!(disk.outcome(1), Some(Outcome::Interrupted));
}

#[test]
fn a_turn_that_is_handed_over_again_and_again_without_a_row_is_held() {
    // R03 P10
    let mut rig = running();
    delta(&mut rig, "half");
    rig.feed(Input::HandOver);
    let mut disk = Disk::of(&rig);
    for _ in 0..3 {
        let mut next = disk.restart(rig.now);
        assert_eq!(errands(&next), [RESUMED]);
        let before = next.effects.len();
        next.feed(Input::HandOver);
        disk.write(&next.effects[before..]);
    }
    assert_eq!(errands(&disk.restart(rig.now)), []);
    assert_eq!(disk.outcome(1), Some(Outcome::Interrupted));
}

#[test]
fn only_a_turn_that_stays_open_is_handed_over() {
    // P10
    let mut idle = Rig::new();
    assert!(idle.feed(Input::HandOver).is_empty());
    let mut rig = running();
    rig.feed(Input::Cancel);
    rig.feed(Input::HandOver);
    let mut disk = Disk::of(&rig);
    assert_eq!(disk.outcome(1), Some(Outcome::Cancelled));
    assert_eq!(errands(&disk.restart(rig.now)), []);
}

#[test]
fn a_drain_does_not_wait_for_the_user() {
    // R05 C15
    let mut rig = running();
    calls(&mut rig, &[("c", "terminal")]);
    ask(&mut rig, "c", approval("r"));
    assert!(!rig.session.works());
}

#[test]
fn a_turn_that_the_user_interrupted_never_goes_on_by_itself() {
    // R01 W22
    let mut rig = running();
    calls(&mut rig, &[("c", "terminal")]);
    rig.feed(Input::Cancel);
    // Killed before it has unwound, or stopped.
    let mut killed = Disk::of(&rig);
    assert_eq!(errands(&killed.restart(rig.now)), []);
    assert_eq!(killed.outcome(1), Some(Outcome::Cancelled));
    rig.feed(Input::Stop);
    assert_eq!(Disk::of(&rig).outcome(1), Some(Outcome::Cancelled));
}

#[test]
fn a_one_shot_run_takes_nothing_up_and_nobody_takes_its_turn_up() {
    // W26
    let mut rig = Rig::new();
    let id = PromptId("p".to_owned());
    rig.feed(Input::Prompt { id, text: "go".to_owned(), attendance: Attendance::Stateless });
    let mut disk = Disk::of(&rig);
    assert_eq!(errands(&disk.restart(rig.now)), []);
    assert_eq!(disk.outcome(1), Some(Outcome::Interrupted));

    let loaded = Disk::of(&running()).loaded();
    let (_, effects) =
        Session::restore(loaded, Attendance::Stateless, None, Rules::default(), 1_000);
    assert_eq!(starts(&effects), []);
}

#[test]
fn a_completion_nobody_answered_starts_again_however_old_and_however_often() {
    // W15 W16 R03
    let mut rig = idle_with_disk(&["a"]);
    rig.exit("a");
    let mut disk = Disk::of(&rig);
    for n in 1..6 {
        let rig = disk.restart(n * 100 * HOUR);
        assert_eq!(errands(&rig), [(2, TurnKind::Resume)]);
        assert_eq!(rig.told(), ["a"]);
    }
    let mut rig = disk.restart(HOUR);
    let before = rig.effects.len();
    rig.answer("I see");
    rig.end();
    disk.write(&rig.effects[before..]);
    assert_eq!(disk.ledger[0].state, Stage::Delivered(TurnId(2)));
    assert_eq!(kinds(&disk), ["user", "assistant", "wakeup", "assistant"]);
    assert_eq!(errands(&disk.restart(HOUR)), []);
}

/// As `idle_with`, with all that was recorded.
fn idle_with_disk(ids: &[&str]) -> Rig {
    let mut rig = running();
    for id in ids {
        rig.spawn(id);
    }
    rig.answer("started");
    rig.end();
    rig
}

#[test]
fn a_completion_that_was_half_answered_goes_on_or_is_told_again_if_that_was_long_ago() {
    // W15 W16 R07
    let mut rig = idle_with_disk(&["a"]);
    rig.exit("a");
    delta(&mut rig, "I was");
    let disk = Disk::of(&rig);
    let mut fresh = disk.clone();
    let rig = fresh.restart(1_000);
    assert_eq!(errands(&rig), [(2, TurnKind::Resume)]);
    assert_eq!(rig.delivery("a"), Delivery::Claimed(TurnId(2)));
    let mut old = disk.clone();
    let mut rig = old.restart(100 * HOUR);
    assert_eq!(errands(&rig), [(3, TurnKind::Answer)]);
    assert_eq!(rig.told(), ["a"]);
    rig.answer("I see");
    assert_eq!(rig.delivery("a"), Delivery::Delivered);

    // Held after three starts, visibly.
    let mut disk = disk;
    for _ in 0..3 {
        let mut rig = disk.restart(1_000);
        let before = rig.effects.len();
        delta(&mut rig, "I was");
        disk.write(&rig.effects[before..]);
    }
    let rig = disk.restart(1_000);
    assert_eq!(errands(&rig), []);
    assert!(rig.view.held.as_deref().is_some_and(|why| why.contains("again and again")));
    assert_eq!(rig.told(), ["a"]);
    // Another start of the host is no reason to try again; the user is.
    let mut rig = disk.restart(1_000);
    assert_eq!(errands(&rig), []);
    rig.prompt("go on");
    assert_eq!(rig.delivery("a"), Delivery::Claimed(TurnId(3)));
    assert_eq!(rig.told(), ["a"]);
}

#[test]
fn a_prompt_that_is_given_up_does_not_take_the_completions_with_it() {
    // W15 R01: what happened is told, the old prompt is not acted on.
    let mut rig = running();
    rig.spawn("a");
    rig.exit("a");
    rig.prompt("delete it");
    rig.answer("done");
    rig.end();
    assert_eq!(rig.starts(), [Source::User, Source::User]);
    let mut disk = Disk::of(&rig);
    let rig = disk.restart(100 * HOUR);
    assert_eq!(errands(&rig), [(3, TurnKind::Answer)]);
    assert_eq!(rig.starts(), [Source::Wakeup]);
    assert_eq!(rig.told(), ["a"]);
    let rows: Vec<_> = disk.rows.iter().rev().take(2).map(Row::text).collect();
    assert!(rows[0] == LEFT && rows[1].contains("`continue`"), "{rows:?}");
}

#[test]
fn a_prompt_whose_answer_had_begun_is_told_as_cut_off_and_not_as_unanswered() {
    // W15 R01 R07
    type Do = fn(&mut Rig);
    let begun: [Do; 2] = [
        |rig| delta(rig, "half"),
        // The answer of an earlier start; what is told came with it and is told again.
        |rig| {
            calls(rig, &[("c", "terminal")]);
            tool(rig, "c", false);
        },
    ];
    for begin in begun {
        let mut rig = running();
        rig.spawn("a");
        rig.exit("a");
        rig.prompt("delete it");
        rig.answer("done");
        rig.end();
        begin(&mut rig);
        let mut disk = Disk::of(&rig);
        disk.restart(100 * HOUR);
        assert!(!disk.rows.iter().any(|row| row.text() == LEFT), "{:?}", kinds(&disk));
    }
}

#[test]
fn a_wakeup_that_is_told_again_is_no_failure_and_one_that_is_held_is() {
    // W15 R03
    let failures = |disk: &Disk| kinds(disk).iter().filter(|kind| **kind == "failure").count();
    let mut rig = idle_with_disk(&["a"]);
    rig.exit("a");
    delta(&mut rig, "I was");
    let mut disk = Disk::of(&rig);
    let mut old = disk.clone();
    old.restart(100 * HOUR);
    assert_eq!(failures(&old), 0, "it is told again");
    for _ in 0..3 {
        let mut rig = disk.restart(1_000);
        let before = rig.effects.len();
        delta(&mut rig, "I was");
        disk.write(&rig.effects[before..]);
    }
    disk.restart(1_000);
    assert_eq!(failures(&disk), 1, "it is held");
}

#[test]
fn a_long_turn_says_that_it_still_works_and_never_one_that_is_over() {
    // R10
    let worked = |effects: &[Effect]| -> Vec<Millis> {
        let news = effects.iter().filter_map(|e| match e {
            Effect::Announce(Event::Toast(toast)) => match toast.news {
                protocol::News::Working { elapsed } => Some(elapsed),
                _ => None,
            },
            _ => None,
        });
        news.collect()
    };
    let mut rig = running();
    let begin = rig.now;
    assert_eq!(rig.session.deadline(), Some(begin + 180_000));
    rig.now += 179_999;
    assert_eq!(rig.feed(Input::Tick), []);
    for n in 1..=2 {
        rig.now = begin + n * 180_000;
        assert_eq!(worked(&rig.feed(Input::Tick)), [n * 180_000]);
        assert!(worked(&rig.feed(Input::Tick)).is_empty(), "once");
    }
    // Waiting for the user is not work.
    calls(&mut rig, &[("c", "clarify")]);
    ask(&mut rig, "c", approval("r"));
    rig.now += 200_000;
    assert!(worked(&rig.feed(Input::Tick)).is_empty());
    let id = rig.session.transcript().questions[0].id.clone();
    rig.feed(Input::Answer { id, answer: Answer::Approval(Choice::Once), by: None });
    assert!(worked(&rig.feed(Input::Tick)).is_empty());
    assert_eq!(rig.session.deadline(), Some(rig.now + 180_000));
    // The next turn has a clock of its own.
    rig.prompt("next");
    rig.end();
    assert_eq!(rig.session.deadline(), Some(rig.now + 180_000));
    rig.end();
    assert_eq!(rig.session.deadline(), None);
    rig.now += HOUR;
    assert!(worked(&rig.feed(Input::Tick)).is_empty());
    // Off.
    let rules = Rules { notify_interval: None, ..Rules::default() };
    let rig = Disk::of(&running()).restart_with(rules, 1_000);
    assert_eq!(rig.session.deadline(), None);
}

/// What a turn does next, as `turn::run` would: the calls that are open, then an answer.
fn go_on(rig: &mut Rig, which: u8) {
    let Some(running) = rig.session.transcript().running.clone() else { return };
    match (running.calls.first(), which % 5) {
        (Some(live), 0) => drop(ask(rig, &live.call.id.0, approval("r"))),
        (Some(live), _) => drop(tool(rig, &live.call.id.0.clone(), which == 7)),
        (None, 1) => delta(rig, "text"),
        (None, 2) => {
            let id = format!("c{}", rig.session.next_row);
            calls(rig, &[(id.as_str(), "terminal"), (&format!("{id}b"), "clarify")]);
        }
        (None, 3) => drop(rig.answer("done")),
        (None, _) => drop(rig.end()),
    }
}

proptest! {
    /// Killed at every commit, also of the resume itself: no row twice, no claim twice, nothing
    /// is lost, and in the end nothing is left open.
    #[test]
    fn killed_at_any_commit_each_completion_is_told_once_and_every_turn_ends_once(
        script in proptest::collection::vec((any::<u8>(), any::<bool>()), 0..60)
    ) {
        // W16 R03 R06
        let mut rig = idle_with_disk(&["a", "b"]);
        rig.prompt("more");
        rig.exit("a");
        let mut disk = Disk::of(&rig);
        let mut exited = false;
        for (which, killed) in script {
            let before = rig.effects.len();
            if which > 230 && !exited {
                rig.exit("b");
                exited = true;
            } else {
                go_on(&mut rig, which);
            }
            disk.write(&rig.effects[before..]);
            if killed && which % 3 == 0 {
                // The commit of the resume itself may be lost, too.
                disk.clone().restart(rig.now);
                rig = disk.restart(rig.now);
            }
            prop_assert_eq!(&rig.session.transcript().rows, &disk.rows);
        }
        for _ in 0..200 {
            let before = rig.effects.len();
            if !exited {
                rig.exit("b");
                exited = true;
            }
            let asked = rig.session.transcript().questions.first().map(|q| q.id.clone());
            if let Some(id) = asked {
                rig.feed(Input::Answer { id, answer: Answer::Approval(Choice::Deny), by: None });
            }
            let open = rig.session.transcript().running.as_ref().map(|r| r.calls.len());
            match open {
                Some(0) if rig.rows().last() != Some(&"assistant") => drop(rig.answer("done")),
                Some(0) => drop(rig.end()),
                Some(_) => go_on(&mut rig, 1),
                None => drop(rig.feed(Input::WakeNow)),
            }
            rig.now += 1_000;
            rig.feed(Input::Tick);
            disk.write(&rig.effects[before..]);
        }
        let mut told = rig.told();
        told.sort();
        prop_assert_eq!(told, ["a", "b"]);
        prop_assert!(disk.ledger.iter().all(|e| e.state.is_settled()), "{:?}", disk.ledger);
        prop_assert!(disk.questions.is_empty());
        prop_assert!(rig.session.is_at_rest());
        // Every call has exactly one result.
        let mut open: Vec<&CallId> = Vec::new();
        for row in &disk.rows {
            match &row.body {
                Body::Assistant(answer) => {
                    prop_assert!(open.is_empty(), "{:?}", disk.rows);
                    open = answer.calls.iter().map(|c| &c.id).collect();
                }
                Body::Tool(result) => {
                    prop_assert!(open.contains(&&result.call), "{:?}", disk.rows);
                    open.retain(|c| **c != result.call);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn an_end_that_was_polled_counts_when_the_turn_ends_normally_in_the_next_host() {
    // W07
    for (outcome, starts) in [(Outcome::Done, 1), (Outcome::Cancelled, 1), (failed(), 2)] {
        let mut rig = running();
        rig.spawn("a");
        calls(&mut rig, &[("c1", "process")]);
        rig.exit("a");
        rig.result(vec![(pid("a"), Seen::AtTurnEnd)]);
        let mut disk = Disk::of(&rig);
        let mut rig = disk.restart(rig.now);
        assert_eq!(errands(&rig), [RESUMED]);
        if outcome == Outcome::Done {
            rig.answer("done");
        }
        rig.event(TurnEvent::Ended { outcome: outcome.clone(), failure: None });
        assert_eq!(rig.starts().len(), starts, "{outcome:?}");
        let consumed = rig.session.process(&pid("a")).unwrap().delivery == Delivery::Consumed;
        assert_eq!(consumed, outcome == Outcome::Done, "{outcome:?}");
        // It is no mark of the turns after it.
        assert!(rig.session.meta().polled.is_empty());
    }
}

fn failed() -> Outcome {
    Outcome::Failed { class: "unreachable".to_owned() }
}
