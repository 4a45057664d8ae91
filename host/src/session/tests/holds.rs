//! Wakeups that are held, paused, put off or too many, and turns that do not end.

use super::*;
use crate::store::{Pause, Retry};
use protocol::{News, Toast};

const MINUTE: Millis = 60_000;

impl Rig {
    /// The same session after its host was killed, as the store has it.
    fn restarted(&self, fingerprint: &str) -> Self {
        let mut ledger: Vec<Entry> = Vec::new();
        let mut meta = self.session.meta().clone();
        for effect in &self.effects {
            match effect {
                Effect::Record(Record::Ledger(entry)) => {
                    ledger.retain(|e| e.process != entry.process);
                    ledger.push(entry.clone());
                }
                Effect::Record(Record::Session(stored)) => meta = stored.clone(),
                _ => {}
            }
        }
        assert_eq!(&meta, self.session.meta(), "all of it is stored");
        ledger.retain(|e| !e.state.is_settled());
        let view = self.session.transcript();
        let loaded = Loaded {
            meta,
            rows: view.rows.clone(),
            turns: self.session.turns,
            queued: view.queued.clone(),
            processes: view.processes.clone(),
            ledger,
            ..Loaded::default()
        };
        Self::of(loaded, fingerprint, self.now)
    }

    fn of(loaded: Loaded, fingerprint: &str, now: Millis) -> Self {
        let rules = Rules { fingerprint: fingerprint.to_owned(), ..Rules::default() };
        let (session, effects) = Session::restore(loaded, Attendance::Attended, None, rules, now);
        let view = session.transcript().clone();
        Self { session, now, prompts: 100, effects, view }
    }

    fn fail(&mut self, class: &str) -> Vec<Effect> {
        let outcome = Outcome::Failed { class: class.to_owned() };
        self.event(TurnEvent::Ended { outcome, failure: Some(format!("{class} failed")) })
    }

    fn model(&mut self, fingerprint: &str) -> Vec<Effect> {
        let (model, fingerprint) = ("other".to_owned(), fingerprint.to_owned());
        self.feed(Input::SetModel { model, context: None, fingerprint })
    }

    /// Lets time pass as the loop does: ticks when the session wants one.
    fn pass(&mut self, time: Millis) {
        let end = self.now + time;
        let mut ticks = 0;
        while let Some(at) = self.session.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.feed(Input::Tick);
            ticks += 1;
            assert!(ticks < 100, "it spins");
        }
        self.now = end;
    }

    fn held(&self) -> Option<&str> {
        assert_eq!(self.view.held, self.session.transcript().held, "every view is told");
        self.view.held.as_deref()
    }

    fn pause(&self) -> Option<&Pause> {
        self.session.meta().pause.as_ref()
    }

    /// The numbers that toasts about held wakeups told, and their last text.
    fn toasts(&self) -> Vec<u64> {
        let told = self.effects.iter().filter_map(|e| match e {
            Effect::Announce(Event::Toast(Toast {
                news: News::Held { waiting }, text, ..
            })) => {
                assert!(text.contains("/wake"), "{text}");
                Some(*waiting)
            }
            _ => None,
        });
        told.collect()
    }
}

/// A session whose wakeup for `a` has just failed so; `b` still runs.
fn failed_with(class: &str) -> Rig {
    let mut rig = idle_with(&["a", "b"]);
    rig.exit("a");
    rig.pass(50);
    assert_eq!(rig.starts(), [Source::Wakeup]);
    rig.fail(class);
    assert!(matches!(rig.delivery("a"), Delivery::Held(_)), "{:?}", rig.delivery("a"));
    rig
}

#[test]
fn a_refused_key_pauses_wakeups_and_says_what_to_do() {
    // W20
    for class in ["auth", "quota"] {
        let mut rig = failed_with(class);
        assert_eq!(rig.session.deadline(), None, "no timed retry");
        assert!(rig.held().unwrap().contains("/model"), "{:?}", rig.held());
        assert_eq!(rig.toasts(), [1]);
        rig.pass(24 * 60 * MINUTE);
        rig.exit("b");
        rig.pass(24 * 60 * MINUTE);
        assert_eq!(rig.starts(), [Source::Wakeup], "no storm: what ends later waits too");
        assert_eq!(rig.toasts(), [1, 2]);
        assert!(rig.held().unwrap().starts_with("2 wakeups wait"), "{:?}", rig.held());
    }
}

#[test]
fn a_paused_wakeup_continues_only_with_another_model() {
    // W20
    let mut rig = failed_with("auth");
    rig.model("");
    assert_eq!(rig.starts(), [Source::Wakeup], "the same key is not asked again");
    rig.model("another fingerprint");
    assert_eq!(rig.starts(), [Source::Wakeup; 2]);
    assert_eq!((rig.pause(), rig.held()), (None, None));
    rig.answer("ok");
    rig.end();
    assert_eq!(rig.told(), ["a"], "no second row");
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
}

#[test]
fn a_prompt_runs_in_a_pause_and_its_normal_end_ends_it() {
    // W20 W05
    let mut rig = failed_with("auth");
    rig.prompt("still refused?");
    assert_eq!(rig.starts(), [Source::Wakeup, Source::User]);
    rig.fail("auth");
    assert!(rig.pause().is_some(), "refused again: paused as before");
    rig.prompt("and now?");
    rig.exit("b");
    rig.answer("yes");
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
    rig.end();
    assert_eq!(rig.pause(), None);
    let wakeups = [Source::Wakeup, Source::User, Source::User, Source::Wakeup];
    assert_eq!(rig.starts(), wakeups, "what ended during it follows");
    assert_eq!(rig.told(), ["a", "b"]);
}

#[test]
fn a_prompt_that_carries_completions_and_is_refused_pauses_them() {
    // W20
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.exit("a");
    rig.prompt("next");
    rig.end();
    assert_eq!(rig.told(), ["a"]);
    rig.fail("auth");
    assert_eq!(rig.starts(), [Source::User; 2]);
    assert!(rig.pause().is_some());
    // Without one nothing is paused: wakeups find out by themselves.
    let mut rig = idle_with(&["a"]);
    rig.prompt("go");
    rig.fail("auth");
    assert_eq!(rig.pause(), None);
}

#[test]
fn a_restart_keeps_the_pause_unless_the_key_is_another() {
    // W20
    let rig = failed_with("auth");
    let mut same = rig.restarted("");
    same.pass(24 * 60 * MINUTE);
    assert_eq!(same.starts(), []);
    assert!(same.held().is_some(), "visible after the restart");
    let other = rig.restarted("another key");
    assert_eq!(other.starts(), [Source::Wakeup]);
    assert_eq!(other.told(), ["a"], "no second row");
    assert_eq!((other.pause(), other.held()), (None, None));
}

#[test]
fn wake_now_tries_a_paused_wakeup_once() {
    // W20
    let mut rig = failed_with("auth");
    rig.feed(Input::WakeNow);
    assert_eq!(rig.starts(), [Source::Wakeup; 2]);
    rig.fail("auth");
    rig.pass(24 * 60 * MINUTE);
    assert_eq!(rig.starts(), [Source::Wakeup; 2]);
    assert!(rig.pause().is_some());
}

#[test]
fn a_model_chosen_while_the_refused_turn_ran_is_asked_at_once() {
    // W20
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    rig.model("another fingerprint");
    rig.fail("auth");
    assert_eq!(rig.starts(), [Source::Wakeup; 2]);
    assert_eq!(rig.pause(), None);
    rig.fail("auth");
    assert_eq!(rig.pause().unwrap().fingerprint, "another fingerprint");
    assert_eq!(rig.starts(), [Source::Wakeup; 2]);
}

#[test]
fn a_failed_wakeup_is_retried_after_1_5_15_and_60_minutes() {
    // W29
    for class in ["unreachable", "rate_limit", "server", "truncated", "model", "bug"] {
        let mut rig = failed_with(class);
        let mut starts = 1;
        for minutes in [1, 5, 15, 60] {
            let due = rig.now + minutes * MINUTE;
            assert_eq!(rig.session.deadline(), Some(due), "{class} {minutes}");
            let text = rig.held().unwrap();
            assert!(text.contains(&format!("within {minutes} min")), "{text}");
            rig.pass(minutes * MINUTE - 1);
            assert_eq!(rig.starts().len(), starts);
            rig.pass(1);
            starts += 1;
            assert_eq!(rig.starts().len(), starts);
            assert_eq!(rig.held(), None, "it runs");
            rig.fail(class);
        }
        rig.pass(7 * 24 * 60 * MINUTE);
        assert_eq!(rig.starts().len(), starts, "then it waits");
        assert_eq!(rig.told(), ["a"], "one row");
        assert!(rig.held().is_some(), "visible");
        // What ends later is worth a try of its own, and takes it along.
        rig.exit("b");
        assert_eq!(rig.starts().len(), starts + 1);
        rig.answer("back");
        rig.end();
        assert_eq!(rig.told(), ["a", "b"]);
        assert_eq!(
            (rig.delivery("a"), rig.session.meta().retry.clone()),
            (Delivery::Delivered, None)
        );
    }
}

#[test]
fn a_prompt_takes_failed_wakeups_along_at_no_retry() {
    // W29 W05
    let mut rig = failed_with("server");
    let due = rig.session.deadline();
    rig.now += 1_000;
    rig.prompt("hello?");
    assert_eq!(rig.starts(), [Source::Wakeup, Source::User]);
    rig.fail("server");
    assert_eq!(rig.session.deadline(), due, "the plan stands");
    rig.prompt("again");
    rig.answer("yes");
    rig.end();
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
    assert_eq!(rig.told(), ["a"]);
    assert_eq!((rig.session.deadline(), rig.held()), (None, None));
    // The count begins anew.
    rig.exit("b");
    rig.fail("server");
    assert_eq!(rig.session.deadline(), Some(rig.now + MINUTE));
}

#[test]
fn what_ends_while_a_retry_is_planned_joins_it() {
    // W29: a provider that is down is asked once for all.
    let mut rig = failed_with("unreachable");
    rig.exit("b");
    assert_eq!(rig.starts(), [Source::Wakeup]);
    assert_eq!(rig.toasts(), [1, 2]);
    rig.pass(MINUTE);
    assert_eq!(rig.starts(), [Source::Wakeup; 2]);
    assert_eq!(rig.told(), ["a", "b"]);
}

#[test]
fn a_user_turn_that_went_well_lets_what_waits_for_a_retry_go() {
    // W29
    let mut rig = failed_with("server");
    rig.prompt("hello?");
    rig.exit("b");
    rig.answer("yes");
    rig.end();
    assert_eq!(rig.starts(), [Source::Wakeup, Source::User, Source::Wakeup]);
}

#[test]
fn a_start_of_the_host_retries_at_once_and_goes_on_counting() {
    // W29
    let mut rig = failed_with("server").restarted("");
    assert_eq!(rig.starts(), [Source::Wakeup]);
    assert_eq!(rig.told(), ["a"], "no second row");
    rig.fail("server");
    assert_eq!(rig.session.deadline(), Some(rig.now + 5 * MINUTE));
}

#[test]
fn a_start_of_the_host_tries_also_what_no_timer_tries_any_more() {
    // W29
    let mut rig = failed_with("server");
    for minutes in [1, 5, 15, 60] {
        rig.pass(minutes * MINUTE);
        rig.fail("server");
    }
    rig.pass(24 * 60 * MINUTE);
    assert_eq!(rig.starts().len(), 5);
    assert_eq!(rig.restarted("").starts(), [Source::Wakeup]);
}

#[test]
fn a_delivery_resets_the_retries_even_if_its_turn_fails() {
    // W29
    let mut rig = failed_with("server");
    rig.pass(MINUTE);
    rig.answer("I look at it");
    rig.fail("server");
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
    rig.exit("b");
    rig.fail("server");
    assert_eq!(rig.session.deadline(), Some(rig.now + MINUTE), "the first retry again");
}

#[test]
fn a_clock_that_was_set_back_does_not_put_a_retry_off() {
    // W29
    let mut rig = failed_with("server");
    rig.now = 0;
    rig.feed(Input::Tick);
    assert_eq!(rig.session.deadline(), Some(rig.now + MINUTE));
    rig.pass(MINUTE);
    assert_eq!(rig.starts(), [Source::Wakeup; 2]);
}

#[test]
fn a_one_shot_run_retries_nothing_and_takes_all_along() {
    // W26 W29
    let failed = failed_with("server");
    let loaded = Loaded {
        meta: failed.session.meta().clone(),
        rows: failed.view.rows.clone(),
        turns: failed.session.turns,
        processes: failed.view.processes.clone(),
        ledger: failed.session.ledger.waiting_entries().to_vec(),
        ..Loaded::default()
    };
    let rules = Rules { fingerprint: "another".to_owned(), ..Rules::default() };
    let (mut session, effects) =
        Session::restore(loaded, Attendance::Stateless, None, rules, failed.now);
    assert_eq!((starts(&effects), session.deadline()), (Vec::new(), None));
    let text = "and?".to_owned();
    let id = PromptId("p".to_owned());
    let prompt = Input::Prompt { id, text, attendance: Attendance::Stateless };
    let effects = session.handle(prompt, failed.now);
    assert_eq!(starts(&effects), [Source::User]);
    assert!(session.ledger.waiting() == 0, "it rides along");
}

#[test]
fn an_event_that_cannot_be_read_costs_itself_alone() {
    // W29
    let mut rig = idle_with(&["a", "b", "c"]);
    rig.feed(Input::Storage(Storage::Failing("full".to_owned())));
    for id in ["a", "b", "c"] {
        rig.exit(id);
        rig.now += 1;
    }
    let mut ledger = rig.session.ledger.waiting_entries().to_vec();
    ledger[0].wakeup = None;
    // Not even its process is known.
    ledger[1].wakeup = None;
    ledger[1].process = pid("gone");
    let processes = rig.session.transcript().processes.clone();
    let loaded = Loaded { meta: meta(), processes, ledger, ..Loaded::default() };
    let rig = Rig::of(loaded, "", rig.now);
    assert_eq!(rig.starts(), [Source::Wakeup]);
    assert_eq!(rig.told(), ["a", "gone", "c"]);
    let texts: Vec<_> = rig.session.transcript().rows.iter().map(|r| r.text().to_owned()).collect();
    assert!(texts[0].starts_with("[IMPORTANT: Background process a completed"), "{}", texts[0]);
    assert!(texts[0].contains("cannot be read"), "{}", texts[0]);
    assert!(texts[1].contains("gone has news that cannot be read"), "{}", texts[1]);
    assert!(texts[2].contains("output of c"), "{}", texts[2]);
}

#[test]
fn an_interrupt_holds_wakeups_until_the_next_prompt() {
    // W22 W05
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.spawn("b");
    rig.exit("a");
    rig.feed(Input::Cancel);
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    assert_eq!(rig.starts(), [Source::User]);
    assert_eq!(rig.toasts(), [1]);
    rig.exit("b");
    rig.pass(24 * 60 * MINUTE);
    assert_eq!(rig.starts(), [Source::User], "what ends later is held too");
    assert_eq!(rig.toasts(), [1, 2]);
    assert!(rig.held().unwrap().starts_with("2 wakeups wait: you interrupted"));

    let mut rig = rig.restarted("");
    rig.pass(24 * 60 * MINUTE);
    assert_eq!(rig.starts(), [], "a restart keeps it");
    assert!(rig.held().unwrap().starts_with("2 wakeups wait: you interrupted"));
    rig.prompt("go on");
    assert_eq!(rig.starts(), [Source::User]);
    assert_eq!(rig.told(), ["a", "b"]);
    assert_eq!(rig.rows(), ["user", "note", "wakeup", "wakeup", "user"]);
    assert_eq!(rig.held(), None);
}

#[test]
fn wake_now_runs_what_an_interrupt_held() {
    // W22
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.exit("a");
    rig.feed(Input::Cancel);
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    rig.feed(Input::WakeNow);
    assert_eq!(rig.starts(), [Source::User, Source::Wakeup]);
    assert_eq!(rig.held(), None);
    assert_eq!(rig.told(), ["a"]);
}

#[test]
fn what_a_cancelled_wakeup_turn_carried_counts_as_delivered() {
    // W22
    let mut rig = idle_with(&["a"]);
    rig.exit("a");
    rig.feed(Input::Cancel);
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    assert_eq!(rig.delivery("a"), Delivery::Delivered);
    assert_eq!(rig.held(), None, "nothing else waits or runs");
    rig.feed(Input::WakeNow);
    assert_eq!(rig.starts(), [Source::Wakeup]);
}

#[test]
fn queued_prompts_and_remarks_survive_an_interrupt() {
    // W22: what was typed to run later runs; a remark was about the turn that is gone.
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.answer("first");
    rig.feed(Input::Steer("use make".to_owned()));
    rig.feed(Input::Cancel);
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    assert_eq!(rig.starts(), [Source::User], "the remark starts nothing");
    assert_eq!(rig.session.transcript().steer, None);
    rig.prompt("one");
    let rows = &rig.session.transcript().rows;
    assert!(rows[rows.len() - 2].text().contains("use make"), "the next turn reads it");
    rig.prompt("two");
    rig.feed(Input::Cancel);
    rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
    assert_eq!(rig.starts(), [Source::User; 3]);
    assert_eq!(rig.session.transcript().rows.last().unwrap().text(), "two");
}

#[test]
fn a_cancelled_turn_is_given_up_after_10_seconds() {
    // W23
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.exit("a");
    rig.feed(Input::Cancel);
    rig.prompt("next");
    assert!(rig.view.running.as_ref().unwrap().cancelling, "shown as cancelling");
    rig.pass(9_999);
    assert_eq!(rig.starts(), [Source::User], "a prompt waits while it unwinds");
    // A second interrupt does not begin the wait anew.
    rig.feed(Input::Cancel);
    rig.pass(1);
    assert_eq!(rig.starts(), [Source::User; 2]);
    assert_eq!(rig.told(), ["a"]);
    // All that is due is word of the turn that runs now (R10).
    assert_eq!(rig.session.deadline(), Some(rig.now + 180_000));
}

#[test]
fn a_turn_that_never_unwinds_does_not_block_wakeups() {
    // W23
    let mut rig = idle_with(&["a", "b"]);
    rig.exit("a");
    rig.pass(50);
    rig.feed(Input::Cancel);
    rig.pass(10_000);
    rig.feed(Input::WakeNow);
    rig.exit("b");
    assert_eq!(rig.starts(), [Source::Wakeup; 2]);
    assert_eq!(rig.told(), ["a", "b"]);
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_a_cancelled_turn() {
    // W23
    let mut rig = Rig::new();
    rig.now = 60 * MINUTE;
    rig.prompt("go");
    rig.feed(Input::Cancel);
    rig.now -= 30 * MINUTE;
    rig.feed(Input::Tick);
    rig.pass(10_000);
    assert_eq!(rig.session.transcript().running, None);
}

#[test]
fn whatever_a_reclaimed_turn_says_later_is_refused() {
    // W23
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("a");
    rig.feed(Input::Cancel);
    rig.pass(10_000);
    rig.prompt("next");
    let rows = rig.rows();
    let call = CallId("late".to_owned());
    let result = ToolResult {
        call: call.clone(),
        name: "terminal".to_owned(),
        text: "late".to_owned(),
        failed: false,
        millis: 1,
        unanswered: false,
    };
    let seen = vec![(pid("a"), ConsumeAt::Now)];
    let result =
        FinishedCall { result, seen, shell: Some(Shell::default()), todo: Some(true.into()) };
    let late = Assistant { text: "late".to_owned(), ..Assistant::default() };
    for event in [
        TurnEvent::Delta { part: Part::Text, text: "late".to_owned() },
        TurnEvent::status("late".to_owned()),
        TurnEvent::Answered { answer: late, usage: None, context: None },
        TurnEvent::CallStarted(call.clone()),
        TurnEvent::CallOutput { call: call.clone(), text: "late".to_owned() },
        TurnEvent::Result(result),
        TurnEvent::Ask { call, ask: approval("late"), timeout: 1 },
        TurnEvent::Spawn(Box::new(process("late"))),
        TurnEvent::Awaiting(pid("a")),
        TurnEvent::Killing(pid("a")),
        TurnEvent::Delegate {
            process: Box::new(process("late")),
            brief: "late".to_owned(),
            waits: false,
        },
        TurnEvent::AwaitEnd(pid("a")),
        TurnEvent::Processes,
        TurnEvent::Ended { outcome: Outcome::Done, failure: Some("late".to_owned()) },
    ] {
        let shown = format!("{event:?}");
        let effects = rig.feed(Input::TurnEvent { turn: TurnId(1), ack: Ack(3), event });
        assert!(
            matches!(&effects[..], [Effect::Reply { reply: Reply::Refused(_), .. }]),
            "{shown}: {effects:?}"
        );
    }
    assert_eq!(rig.rows(), rows);
    assert_eq!(rig.session.process(&pid("a")).unwrap().killed_by, None);
    // The successor carries on as if nothing had been said.
    rig.answer("here");
    rig.end();
    rig.exit("a");
    assert_eq!(rig.starts().last(), Some(&Source::Wakeup), "its process still wakes");
}

#[test]
fn wakeups_in_a_row_are_shown_and_a_prompt_resets_them() {
    // W31
    let mut rig = idle_with(&["a", "b", "c"]);
    let mut seen = Vec::new();
    for id in ["a", "b", "c"] {
        rig.exit(id);
        rig.pass(250);
        rig.answer("ok");
        rig.end();
        seen.push(rig.view.unattended);
    }
    assert_eq!(seen, [1, 2, 3]);
    let mut rig = rig.restarted("");
    assert_eq!(rig.view.unattended, 3, "a restart keeps the count");
    rig.prompt("here I am");
    assert_eq!(rig.view.unattended, 0);
}

#[test]
fn wakeups_beyond_the_limit_are_held_with_the_reason() {
    // W31
    let mut rig = Rig::new();
    rig.session.rules.max_wakeups = 2;
    rig.prompt("go");
    for id in ["a", "b", "c", "d"] {
        rig.spawn(id);
    }
    rig.answer("started");
    rig.end();
    for id in ["a", "b", "c"] {
        rig.exit(id);
        rig.pass(250);
        rig.answer("ok");
        rig.end();
    }
    assert_eq!(rig.starts(), [Source::User, Source::Wakeup, Source::Wakeup]);
    assert!(rig.held().unwrap().contains("2 wakeups ran in a row"), "{:?}", rig.held());
    assert_eq!(rig.toasts(), [1]);
    rig.exit("d");
    assert_eq!(rig.toasts(), [1, 2], "held as after an interrupt");
    rig.prompt("I am here");
    assert_eq!(rig.told(), ["a", "b", "c", "d"]);
    assert_eq!((rig.view.unattended, rig.held()), (0, None));
}

#[test]
fn retries_of_a_failing_wakeup_are_wakeups_in_a_row() {
    // W31 W29
    let mut rig = failed_with("server");
    rig.session.rules.max_wakeups = 2;
    rig.pass(MINUTE);
    rig.fail("server");
    rig.pass(24 * 60 * MINUTE);
    assert_eq!(rig.starts().len(), 2);
    assert!(rig.held().unwrap().contains("2 wakeups ran in a row"));
}

#[test]
fn ends_after_the_last_retry_keep_an_hours_distance() {
    // W29
    let mut rig = failed_with("server");
    for minutes in [1, 5, 15, 60] {
        rig.pass(minutes * MINUTE);
        rig.fail("server");
    }
    let failed = rig.now;
    rig.exit("b");
    assert_eq!(rig.session.deadline(), Some(failed + 60 * MINUTE));
    rig.now -= 10 * MINUTE;
    rig.feed(Input::Tick);
    assert_eq!(rig.session.deadline(), Some(rig.now + 60 * MINUTE));
}

#[test]
fn a_pause_of_an_earlier_version_holds_for_the_same_key_and_no_other() {
    // W20
    let (old, other) = ("0123456789abcdef", "fedcba9876543210");
    let restored = |legacy: &str| {
        let pause = Some(Pause { reason: "no key".to_owned(), fingerprint: old.to_owned() });
        let rules = Rules {
            fingerprint: "new".to_owned(),
            legacy_fingerprint: legacy.to_owned(),
            ..Rules::default()
        };
        let loaded = Loaded { meta: Meta { pause, ..meta() }, ..Loaded::default() };
        Session::restore(loaded, Attendance::Attended, None, rules, 1_000)
    };
    let (session, effects) = restored(old);
    assert_eq!(session.meta.pause.as_ref().unwrap().fingerprint, "new");
    let replaced =
        |e: &Effect| matches!(e, Effect::Record(Record::Session(m)) if m == &session.meta);
    assert!(effects.iter().any(replaced), "the next start compares the new one: {effects:?}");
    assert_eq!(restored(other).0.meta.pause, None);
}

#[test]
fn letting_go_is_written_down_also_when_nothing_waits() {
    // W20, W29
    for retry in [None, Some(Retry { attempt: 2, at: 9_000 })] {
        let pause = Some(Pause { reason: "no key".to_owned(), fingerprint: "same".to_owned() });
        let meta = Meta { pause, retry, ..meta() };
        let mut rig = Rig::of(Loaded { meta, ..Loaded::default() }, "same", 1_000);
        assert!(rig.pause().is_some());
        let effects = rig.feed(Input::WakeNow);
        let let_go = |e: &Effect| matches!(e, Effect::Record(Record::Session(m)) if m.pause.is_none() && m.retry.is_none());
        assert!(effects.iter().any(let_go), "{effects:?}");
    }
}
