//! The property of the session core: whatever happens, the fold of what it publishes is what it is,
//! nothing is told twice, and nothing is left behind.

use proptest::prelude::*;

use super::*;

/// One thing that may happen, by number.
fn happen(rig: &mut Rig, what: u8, which: u8) {
    let id = format!("p{}", which % 5);
    let running = rig.session.turn.is_some();
    match what % 14 {
        0 => drop(rig.prompt("prompt")),
        1 if running && rig.session.process(&pid(&id)).is_none() => rig.spawn(&id),
        2 => drop(rig.exit(&id)),
        3 if running => drop(rig.answer("text")),
        4 if running => drop(rig.end()),
        5 if running => {
            let part = if which.is_multiple_of(2) { Part::Text } else { Part::Reasoning };
            drop(rig.event(TurnEvent::Delta { part, text: "d".to_owned() }));
        }
        6 if running => drop(rig.result(vec![(pid(&id), Seen::Now)])),
        7 if running => drop(rig.event(TurnEvent::Ended {
            outcome: Outcome::Failed { class: "x".to_owned() },
            failure: Some("no".to_owned()),
        })),
        8 => {
            let cancelled = rig.session.turn.is_some();
            rig.feed(Input::Cancel);
            if cancelled {
                rig.event(TurnEvent::Ended { outcome: Outcome::Cancelled, failure: None });
            }
        }
        9 => drop(rig.feed(Input::WakeNow)),
        10 => drop(rig.feed(Input::Kill(Some(pid(&id))))),
        11 => {
            rig.now += i64::from(which);
            rig.feed(Input::Tick);
        }
        12 if running => {
            ask(rig, &id, approval(if which.is_multiple_of(2) { "a" } else { "b" }));
        }
        13 => {
            let first = rig.session.transcript().questions.first().map(|q| q.id.clone());
            if let Some(id) = first {
                let choice = if which.is_multiple_of(2) { Choice::Session } else { Choice::Deny };
                rig.feed(Input::Answer { id, answer: Answer::Approval(choice), by: None });
            }
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn the_fold_of_the_published_events_is_the_sessions_own_transcript(
        script in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..120)
    ) {
        let mut rig = Rig::new();
        for (what, which) in script {
            happen(&mut rig, what, which);
            let own = rig.session.transcript();
            prop_assert_eq!(&rig.view, own);
            // No process is ever told twice, and turns never overlap.
            let mut told = rig.told();
            told.sort();
            let count = told.len();
            told.dedup();
            prop_assert_eq!(count, told.len());
            prop_assert_eq!(own.running.is_some(), rig.session.turn.is_some());
        }
        // The queue drains: with nothing held and nothing running, nothing is left behind.
        rig.feed(Input::WakeNow);
        for _ in 0..20 {
            rig.now += 1_000;
            rig.feed(Input::Tick);
            if rig.session.turn.is_some() {
                rig.answer("x");
                rig.end();
            }
        }
        prop_assert!(rig.session.ledger.waiting() == 0);
        let open = rig.session.transcript().processes.iter()
            .find(|p| !p.is_live() && matches!(p.delivery, Delivery::Waiting | Delivery::Claimed(_)));
        prop_assert_eq!(open, None);
    }
}
