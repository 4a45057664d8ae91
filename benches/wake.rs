//! The way from the end of a background process to the model: the promise of the product, timed.

use std::io::Write as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::home::{Home, Stored};
use crate::model::Model;
use crate::procfs;
use crate::stats::{Samples, figure};
use crate::tty::{Tty, is_ready};

const RUNS: usize = 40;
const IDLE: usize = 200;

/// From the last act of the child to the request that tells of it.
pub(crate) fn latency() {
    disk();
    wakeups(&[], "exit to request");
    let stored: Vec<usize> = (0..IDLE).collect();
    wakeups(&stored, &format!("exit to request beside {IDLE} stored sessions"));
    supervisor();
}

fn wakeups(stored: &[usize], what: &str) {
    let model = Model::start();
    let home = Home::on(&model);
    if !stored.is_empty() {
        home.store(stored.iter().map(|n| Stored::short(*n)));
    }
    let (mut tty, _) = Tty::start(home.on_terminal(&[]), is_ready);
    let mut samples = Samples::default();
    for run in 0..=RUNS {
        let file = home.work().join(format!("t{run}"));
        // The shell replaces itself by the last command, so nothing follows the noted moment.
        tty.send(&format!("RUN sleep 0.4; exec date +%s%N > t{run}"));
        let request = model.next_about("[IMPORTANT: Background process");
        let ended: u128 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        if run > 0 {
            let late = u64::try_from(request.clock.saturating_sub(ended)).unwrap();
            samples.add(Duration::from_nanos(late));
        }
        sleep(Duration::from_millis(100));
    }
    samples.print(what);
}

/// What one commit costs here at the least: a wakeup waits for one.
fn disk() {
    let mut file = tempfile::tempfile().unwrap();
    let mut samples = Samples::default();
    for _ in 0..RUNS {
        file.write_all(&[1; 3 * 4_096]).unwrap();
        let begin = Instant::now();
        file.sync_all().unwrap();
        samples.add(begin.elapsed());
        sleep(Duration::from_millis(20));
    }
    samples.print("for comparison: fsync of 12 kB on this disk");
}

/// Memory of the process that watches over a command.
fn supervisor() {
    let model = Model::start();
    let home = Home::on(&model);
    let (mut tty, _) = Tty::start(home.on_terminal(&[]), is_ready);
    tty.send("RUN sleep 3");
    let begin = Instant::now();
    let pid = loop {
        sleep(Duration::from_millis(200));
        if let [pid] = procfs::supervisors(&home.state())[..] {
            break pid;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "there is a supervisor");
    };
    sleep(Duration::from_secs(1));
    let memory = procfs::memory(pid);
    figure(
        "supervisor of a background process",
        &format!("its own alone {} kB, PSS {} kB, RSS {} kB", memory.own, memory.pss, memory.rss),
    );
    model.next_about("[IMPORTANT: Background process");
    sleep(Duration::from_millis(300));
}
