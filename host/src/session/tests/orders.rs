//! Things that happen in whatever order: nothing is lost, nothing is doubled, nothing spins.

use super::*;
use protocol::{News, Toast};

/// All orders of these.
fn orders<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    let Some((first, rest)) = items.split_first() else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for order in orders(rest) {
        for place in 0..=order.len() {
            let mut longer = order.clone();
            longer.insert(place, first.clone());
            all.push(longer);
        }
    }
    all
}

impl Rig {
    /// Ends the turn that runs, if one does.
    fn finish(&mut self) {
        if self.session.transcript().running.is_some() {
            self.answer("done");
            self.end();
        }
    }

    /// Lets all that is due happen, then everything that waits for somebody.
    fn settle(&mut self) {
        for _ in 0..100 {
            match self.session.deadline() {
                Some(at) => {
                    self.now = self.now.max(at);
                    self.feed(Input::Tick);
                }
                None => drop(self.feed(Input::WakeNow)),
            }
            self.finish();
        }
    }

    fn sources(&self) -> Vec<Source> {
        let started = self.effects.iter().filter_map(|e| match e {
            Effect::Record(Record::TurnStarted { source, .. }) => Some(*source),
            _ => None,
        });
        started.collect()
    }
}

#[test]
fn each_end_is_delivered_once_in_every_order_of_inputs() {
    // W03 W04 W05 W06 W10 W16 W22 W29: a turn runs, two tasks are out, and then all of this.
    type Step = fn(&mut Rig);
    let steps: [(&str, Step); 6] = [
        ("a ends", |rig| drop(rig.exit("a"))),
        ("b ends, reported twice", |rig| {
            rig.exit("b");
            rig.exit("b");
        }),
        ("a prompt", |rig| drop(rig.prompt("hello"))),
        ("an interrupt", |rig| {
            rig.feed(Input::Cancel);
            rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
        }),
        ("a failure", |rig| {
            let outcome = Outcome::Failed { class: "server".to_owned() };
            rig.event(TurnEvent::Ended { outcome, failure: Some("no".to_owned()) });
        }),
        ("a turn ends", Rig::finish),
    ];
    for order in orders(&steps) {
        let names: Vec<_> = order.iter().map(|(name, _)| *name).collect();
        let mut rig = Rig::new();
        rig.prompt("go");
        rig.spawn("a");
        rig.spawn("b");
        for (_, step) in &order {
            step(&mut rig);
            rig.now += 20;
            rig.feed(Input::Tick);
        }
        rig.settle();
        let mut told = rig.told();
        told.sort();
        assert_eq!(told, ["a", "b"], "{names:?}");
        assert_eq!(rig.delivery("a"), Delivery::Delivered, "{names:?}");
        assert_eq!(rig.delivery("b"), Delivery::Delivered, "{names:?}");
        let users = rig.sources().iter().filter(|s| **s == Source::User).count();
        assert_eq!(users, 2, "each prompt ran once: {names:?}");
        assert_eq!(rig.view, *rig.session.transcript(), "{names:?}");
    }
}

#[test]
fn a_session_runs_one_turn_at_a_time_in_every_order() {
    // W03 W28
    type Step = fn(&mut Rig);
    let steps: [Step; 5] = [
        |rig| drop(rig.exit("a")),
        |rig| drop(rig.exit("b")),
        |rig| drop(rig.prompt("hello")),
        |rig| drop(rig.feed(Input::WakeNow)),
        |rig| drop(rig.feed(Input::Cancel)),
    ];
    for order in orders(&steps) {
        let mut rig = idle_with(&["a", "b"]);
        for step in order {
            let running = rig.session.transcript().running.is_some();
            let before = rig.starts().len();
            step(&mut rig);
            let begun = rig.starts().len() - before;
            assert!(begun <= usize::from(!running));
        }
    }
}

#[test]
fn a_burst_of_ends_has_a_toast_for_each_and_one_turn_for_all() {
    // W02 W06
    let mut rig = idle_with(&["a", "b", "c"]);
    let mut told = Vec::new();
    for id in ["b", "a", "c"] {
        for effect in rig.exit(id) {
            if let Effect::Announce(Event::Toast(Toast {
                process, news: News::Ended { .. }, ..
            })) = effect
            {
                told.extend(process);
            }
        }
    }
    assert_eq!(told, [pid("b"), pid("a"), pid("c")]);
    assert_eq!(rig.starts(), [Source::Wakeup]);
}

#[test]
fn an_end_that_is_reported_before_the_start_is_told_once() {
    // W04 W12: a fast task; the report that it runs comes late.
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.event(TurnEvent::Spawn(Box::new(process("a"))));
    rig.exit("a");
    rig.event(TurnEvent::Running { process: pid("a"), pid: 1 });
    assert_eq!(rig.session.process(&pid("a")).unwrap().state, State::Ended);
    rig.answer("started");
    rig.end();
    assert_eq!(rig.starts(), [Source::User, Source::Wakeup]);
    assert_eq!(rig.told(), ["a"]);
}

#[test]
fn a_wakeup_is_marked_as_one_on_every_path() {
    // W24 W28: stored as a row of its own kind, and its turn by its source.
    let outcomes = [
        Outcome::Done,
        Outcome::Limit,
        Outcome::Cancelled,
        Outcome::Failed { class: "auth".to_owned() },
        Outcome::Failed { class: "server".to_owned() },
    ];
    for outcome in outcomes {
        let mut rig = idle_with(&["a"]);
        rig.exit("a");
        if outcome == Outcome::Cancelled {
            rig.feed(Input::Cancel);
        }
        rig.event(TurnEvent::Ended { outcome: outcome.clone(), failure: None });
        rig.feed(Input::WakeNow);
        rig.prompt("and I say");
        rig.finish();
        rig.finish();
        let sources = rig.sources();
        assert_eq!(sources.first(), Some(&Source::Wakeup), "{outcome:?}");
        assert_eq!(sources.last(), Some(&Source::User), "{outcome:?}");
        let users: Vec<_> = rig
            .effects
            .iter()
            .filter_map(|e| match e {
                Effect::Record(Record::Row { row, .. }) => match &row.body {
                    Body::User { text } => Some(text.as_str()),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        assert_eq!(users, ["and I say"], "{outcome:?}");
        assert_eq!(rig.told(), ["a"], "{outcome:?}");
    }
}

#[test]
fn whatever_holds_wakeups_no_tick_is_due_for_ever() {
    // W20 W22 W29 W31: the loop never spins.
    let holds: [fn(&mut Rig); 7] = [
        |rig| drop(rig.feed(Input::Storage(Storage::Failing("full".to_owned())))),
        |rig| rig.session.rules.max_wakeups = 0,
        |rig| rig.session.passive = true,
        |rig| {
            rig.prompt("go");
            rig.feed(Input::Cancel);
            rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
        },
        |rig| drop(rig.prompt("runs")),
        |rig| {
            rig.exit("c");
            rig.now += 250;
            rig.feed(Input::Tick);
            let outcome = Outcome::Failed { class: "auth".to_owned() };
            rig.event(TurnEvent::Ended { outcome, failure: None });
        },
        |rig| {
            rig.exit("c");
            rig.now += 250;
            rig.feed(Input::Tick);
            let outcome = Outcome::Failed { class: "server".to_owned() };
            rig.event(TurnEvent::Ended { outcome, failure: None });
        },
    ];
    for (n, hold) in holds.into_iter().enumerate() {
        let mut rig = idle_with(&["a", "b", "c"]);
        hold(&mut rig);
        rig.exit("a");
        rig.now += 250;
        rig.feed(Input::Tick);
        let due = rig.session.deadline();
        assert!(due.is_none_or(|at| at > rig.now), "{n}: {due:?} at {}", rig.now);
    }
}

#[test]
fn waiting_processes_stay_listed_and_delivered_ones_leave() {
    // P12 W10: the mark that an end was told lives as long as it is needed, and no longer.
    let mut rig = Rig::new();
    rig.prompt("go");
    rig.spawn("waits");
    rig.exit("waits");
    for n in 0..200 {
        let id = format!("p{n}");
        rig.spawn(&id);
        rig.exit(&id);
        rig.result(vec![(pid(&id), ConsumeAt::Now)]);
        rig.now += 60_000;
    }
    let listed = rig.session.transcript().processes.len();
    assert!(listed < 120, "{listed}");
    assert!(rig.session.process(&pid("p0")).is_none());
    assert_eq!(rig.delivery("waits"), Delivery::Waiting);
    rig.answer("done");
    rig.end();
    assert_eq!(rig.told(), ["waits"]);
}

#[test]
fn a_command_that_ran_without_a_trace_is_lost() {
    // W12
    let mut rig = idle_with(&["a"]);
    let exit = Exit { end: End::FailedStart, code: None, signal: None, at: rig.now };
    rig.feed(Input::Exited { process: pid("a"), exit, output: String::new() });
    let process = rig.session.process(&pid("a")).unwrap();
    assert_eq!(process.exit.as_ref().map(|e| e.end), Some(End::Lost));
    assert_eq!(rig.told(), ["a"]);
}
