//! One-shot runs: `-z hi`, from start to exit.

use std::time::Instant;

use crate::home::Home;
use crate::model::Model;
use crate::procfs;
use crate::stats::{Samples, figure};

const RUNS: usize = 20;
/// Runs that are looked at closely, which slows them down.
const WATCHED: usize = 5;

pub(crate) fn hi() {
    measure("demo model", &Home::demo());
    let model = Model::start();
    measure("instant HTTP model", &Home::on(&model));
}

fn measure(model: &str, home: &Home) {
    run(home);
    let times: Samples = (0..RUNS)
        .map(|_| {
            let begin = Instant::now();
            run(home);
            begin.elapsed()
        })
        .collect();
    times.print(&format!("-z hi, {model}"));
    let peak = (0..WATCHED).map(|_| peak(home)).max().unwrap_or_default();
    figure(&format!("-z hi, {model}: peak RSS"), &format!("{:.1} MB", peak as f64 / 1024.0));
}

fn run(home: &Home) {
    let output = home.command(&["-z", "hi"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.stdout.is_empty());
}

/// The most memory a run has, as last seen before its end.
fn peak(home: &Home) -> u64 {
    let mut child = home.command(&["-z", "hi"]).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(procfs::peak(child.id()));
    }
    peak
}
