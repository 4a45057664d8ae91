//! How fast it starts, and what it costs while nothing happens.

use std::thread::sleep;
use std::time::Duration;

use crate::home::Home;
use crate::procfs;
use crate::stats::{Samples, figure, millis};
use crate::tty::{Tty, is_ready};

const RUNS: usize = 20;

/// Start to the first frame, and to the echo of a key that was typed then.
pub(crate) fn frames() {
    let home = Home::demo();
    let (mut first, mut ready, mut fresh) = (Samples::default(), Samples::default(), None);
    for _ in 0..=RUNS {
        let (mut tty, shown) = Tty::start(home.on_terminal(&[]), is_ready);
        tty.echo('x');
        let echoed = tty.started.elapsed();
        // What stands in the input comes back at the next start.
        tty.type_in("\u{15}");
        tty.wait(is_ready);
        if fresh.is_none() {
            // The only run that makes a database.
            fresh = Some((shown, echoed));
            continue;
        }
        first.add(shown);
        ready.add(echoed);
    }
    let (shown, echoed) = fresh.unwrap_or_default();
    let fresh = format!("{:.1} ms, key echoed {:.1} ms", millis(shown), millis(echoed));
    figure("first run in a new home: first frame", &fresh);
    first.print("first frame");
    ready.print("ready (a typed key is echoed)");
}

/// Memory after 3 s; processor time, wakeups and bytes over the next 5 s.
pub(crate) fn idle() {
    let home = Home::demo();
    let (tty, _) = Tty::start(home.on_terminal(&[]), is_ready);
    sleep(Duration::from_secs(3));
    let memory = procfs::memory(tty.pid);
    let (cpu, (threads, woken)) = (procfs::cpu(tty.pid), procfs::wakeups(tty.pid));
    tty.written();
    sleep(Duration::from_secs(5));
    let used = procfs::cpu(tty.pid).saturating_sub(cpu);
    let (_, woken_later) = procfs::wakeups(tty.pid);
    let mb = |kb: u64| kb as f64 / 1024.0;
    figure(
        "idle memory",
        &format!(
            "RSS {:.1} MB, PSS {:.1} MB, its own alone {:.1} MB, {threads} threads",
            mb(memory.rss),
            mb(memory.pss),
            mb(memory.own)
        ),
    );
    figure(
        "idle for 5 s",
        &format!(
            "{:.0} ms of CPU, {} wakeups, {} bytes to the terminal",
            millis(used),
            woken_later - woken,
            tty.written().bytes
        ),
    );
}
