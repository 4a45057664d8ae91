//! Measures what a user feels: start, memory, one-shot runs, wakeups, streaming, long sessions.
//! Drives the real binary under a pseudo-terminal against a model on a loopback socket. Prints
//! figures and judges none: `benches/README.md` holds the budgets.
//!
//! `cargo bench --bench measure` takes all measures; `… -- wake stream` takes the named ones.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measure that cannot go on panics")]
#![allow(clippy::print_stdout, reason = "it prints its figures")]

mod fanout;
mod home;
mod model;
mod oneshot;
mod open;
mod procfs;
mod requests;
mod start;
mod stats;
mod stream;
mod tty;
mod wake;

use std::process::ExitCode;

/// Every measure by its name.
const MEASURES: [(&str, fn()); 10] = [
    ("start", start::frames),
    ("idle", start::idle),
    ("oneshot", oneshot::hi),
    ("wake", wake::latency),
    ("stream", stream::steady),
    ("burst", stream::burst),
    ("sessions", open::list),
    ("open", open::resume),
    ("requests", requests::all),
    ("fanout", fanout::load),
];

fn main() -> ExitCode {
    // Cargo adds `--bench` of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let known = |name: &String| MEASURES.iter().any(|(known, _)| known == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names: Vec<_> = MEASURES.iter().map(|(name, _)| *name).collect();
        println!("no measure is called {unknown}; there are: {}", names.join(" "));
        return ExitCode::from(2);
    }
    for (name, measure) in MEASURES {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            println!("\n{name}");
            measure();
        }
    }
    ExitCode::SUCCESS
}
