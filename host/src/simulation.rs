//! The promise, simulated: several sessions, the loop's outbox and the store's SQL are driven
//! through random interleavings, crashes and clock jumps included, and judged.
//!
//! Real are the session core, the outbox, the schema, `apply` and the reader. Simulated are the
//! loop around them, turns, processes, the disk and time. `SIM_RUNS` and `SIM_SEED` choose the
//! runs; a failing one prints a script that replays it ([`replay`] below).

mod coverage;
mod disk;
mod effects;
mod judge;
mod load;
mod restarts;
mod run;
mod script;
mod stored;
mod tasks;
mod turn;
mod world;

use std::sync::atomic::{AtomicBool, Ordering};

use coverage::Coverage;
use run::{Failure, run};
use script::Script;

use crate::store::memory::Memory;

/// Something between the core, the outbox and the store that is done wrongly on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    /// Effects leave before their commit.
    EffectBeforeCommit,
    /// The claim of events and the start of their turn are two commits.
    ClaimApart,
    /// That the agent has seen an end is written in a later commit than the result that shows it.
    ConsumedLater,
    /// A restarted host ignores the row that a claimed event already has.
    ClaimNotChecked,
    /// A process belongs to the session the user is attached to.
    OwnerFromCurrent,
    /// What waits is forgotten when a turn is cancelled.
    HeldDropped,
    /// Several events of one process have one key.
    KeyWithoutOrdinal,
}

/// The seed that failed first, and how.
struct FailedSeed {
    seed: u64,
    runs: u64,
    failure: Failure,
}

/// Runs that many seeds on two threads; stops at the first that fails.
fn search(first: u64, runs: u64, defect: Option<Defect>) -> (Coverage, Option<FailedSeed>) {
    const THREADS: u64 = 2;
    let stop = AtomicBool::new(false);
    let thread = |t: u64| {
        let db = Memory::open().unwrap();
        let mut coverage = Coverage::default();
        for i in (t..runs).step_by(THREADS as usize) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let seed = first + i;
            if let Err(failure) = run(&db, &Script::of(seed), defect, &mut coverage, false) {
                stop.store(true, Ordering::Relaxed);
                return (coverage, Some(FailedSeed { seed, runs: i + 1, failure }));
            }
        }
        (coverage, None)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|t| scope.spawn(move || thread(t))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let mut all = Coverage::default();
    let mut found: Option<FailedSeed> = None;
    for (coverage, failed) in results {
        all.add(&coverage);
        if let Some(failed) = failed
            && found.as_ref().is_none_or(|f| failed.seed < f.seed)
        {
            found = Some(failed);
        }
    }
    (all, found)
}

/// A report of a failure: the shortest script that still fails alike, and what happens in it.
fn report(found: &FailedSeed, defect: Option<Defect>) -> String {
    let db = Memory::open().unwrap();
    let class = |what: &str| what.split(':').next().unwrap_or_default().to_owned();
    let fails = |script: &Script| match run(&db, script, defect, &mut Coverage::default(), false) {
        Err(failure) => class(&failure.what) == class(&found.failure.what),
        Ok(()) => false,
    };
    let script = Script::of(found.seed).shrink(fails);
    let failed = run(&db, &script, defect, &mut Coverage::default(), true);
    let shortened = failed.err().map(Failure::text).unwrap_or_default();
    format!("seed {} fails: {}\n{script}\n\n{shortened}", found.seed, found.failure.what)
}

/// Runs a script in the words that a failure prints.
fn replay(script: &Script) {
    let failed = run(&Memory::open().unwrap(), script, None, &mut Coverage::default(), true).err();
    assert!(failed.is_none(), "{}", failed.map(Failure::text).unwrap_or_default());
}

#[test]
fn a_repeated_unstored_exit_does_not_release_a_supervisor() {
    use script::Step::*;
    let script = Script {
        sessions: 2,
        steps: vec![
            Prompt(1),
            Pump,
            Turn(1, 6, 206),
            Pump,
            Turn(1, 0, 14),
            Pump,
            Break,
            Exit(143, 229),
            Pump,
            Repeat(45),
            Crash(0, 1),
        ],
    };
    replay(&script);
}

#[test]
fn an_end_that_was_polled_counts_in_the_next_host() {
    // W07
    use script::Step::*;
    let steps = vec![
        Prompt(0),
        Pump,
        Turn(0, 6, 0),
        Pump,
        Turn(0, 0, 15),
        Pump,
        Turn(0, 4, 0),
        Pump,
        Turn(0, 6, 0),
        Pump,
        Exit(54, 199),
        Turn(0, 5, 199),
        Turn(0, 4, 1),
        Write(1),
        Crash(0, 0),
    ];
    replay(&Script { sessions: 2, steps });
}

#[test]
fn a_start_by_itself_that_is_not_written_down_does_not_happen() {
    // R03
    use script::Step::*;
    let crash = [Pump, Crash(0, 0)];
    let mut steps = vec![Prompt(1), Crash(1, 0), Break];
    steps.extend([crash, crash, crash].concat());
    replay(&Script { sessions: 2, steps });
}

#[test]
fn an_end_that_is_stored_late_lets_its_supervisor_go() {
    use script::Step::*;
    let spawned = [Prompt(0), Pump, Turn(0, 6, 0), Pump, Turn(0, 0, 15), Pump];
    let mut steps = spawned.to_vec();
    steps.extend([Break, Exit(0, 0), Notice(0), Write(0), Report, Mend, Pump]);
    replay(&Script { sessions: 2, steps });
}

#[test]
fn a_task_delegated_before_a_stop_runs_in_the_next_host() {
    use script::Step::*;
    let asked = [Prompt(0), Pump, Turn(0, 6, 0), Pump];
    let mut steps = asked.to_vec();
    steps.extend([Turn(0, 8, 0), Drain, Pump, Stop(0), Pump]);
    replay(&Script { sessions: 2, steps });
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn every_completion_is_delivered_exactly_once() {
    let runs = number("SIM_RUNS").unwrap_or(if cfg!(debug_assertions) { 1_000 } else { 10_000 });
    let first = number("SIM_SEED").unwrap_or(1);
    let begun = std::time::Instant::now();
    let (coverage, found) = search(first, runs, None);
    if let Some(found) = found {
        panic!("{}", report(&found, None));
    }
    println!("{runs} runs from seed {first} in {:.1} s\n{coverage}", begun.elapsed().as_secs_f64());
    assert!(runs < 10_000 || coverage.never().is_empty(), "never met: {:?}", coverage.never());
}

/// Finds a defect, or says that it was not found.
fn finds(defect: Defect) {
    let runs = 10_000;
    let (_, found) = search(1, runs, Some(defect));
    let found = found.unwrap_or_else(|| panic!("{defect:?} is not noticed in {runs} runs"));
    println!("{defect:?}: after {} runs: {}", found.runs, found.failure.what);
}

#[test]
fn an_effect_before_its_commit_is_noticed() {
    finds(Defect::EffectBeforeCommit);
}

#[test]
fn a_claim_apart_from_its_start_is_noticed() {
    finds(Defect::ClaimApart);
}

#[test]
fn a_consumed_mark_in_a_later_commit_is_noticed() {
    finds(Defect::ConsumedLater);
}

#[test]
fn a_claim_that_is_not_checked_is_noticed() {
    finds(Defect::ClaimNotChecked);
}

#[test]
fn an_owner_taken_from_the_current_session_is_noticed() {
    finds(Defect::OwnerFromCurrent);
}

#[test]
fn a_held_queue_dropped_on_cancel_is_noticed() {
    finds(Defect::HeldDropped);
}

#[test]
fn a_completion_key_without_its_ordinal_is_noticed() {
    finds(Defect::KeyWithoutOrdinal);
}
