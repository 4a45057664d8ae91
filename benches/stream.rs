//! Answers on their way to the screen: at the pace of a fast model, and all at once.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::home::Home;
use crate::model::{LAST_LINE, Model};
use crate::procfs;
use crate::stats::{Samples, figure, millis};
use crate::tty::{Tty, is_ready, shows};

const KEYS: &str = "abcdefghijklmnopqrst";

/// 1 200 pieces of 5 characters, 100 a second, with and without somebody who types.
pub(crate) fn steady() {
    let model = Model::start();
    for typing in [false, true] {
        let home = Home::on(&model);
        let (mut tty, _) = Tty::start(home.on_terminal(&[]), is_ready);
        sleep(Duration::from_millis(500));
        tty.written();
        let cpu = procfs::cpu(tty.pid);
        tty.send("STREAM 1200 5 100");
        if typing {
            sleep(Duration::from_secs(1));
            let echoes: Samples = KEYS
                .chars()
                .map(|key| {
                    sleep(Duration::from_millis(437));
                    tty.echo(key)
                })
                .collect();
            tty.wait(shows(LAST_LINE));
            echoes.print("key echo while an answer streams");
            continue;
        }
        tty.wait(shows(LAST_LINE));
        sleep(Duration::from_millis(500));
        let (written, cpu) = (tty.written(), procfs::cpu(tty.pid).saturating_sub(cpu));
        figure(
            "1 200 deltas at 100/s",
            &format!(
                "{:.2} CPU-s, {:.1} kB, {} frames, {} bytes outside of ?2026",
                cpu.as_secs_f64(),
                written.bytes as f64 / 1e3,
                written.frames,
                written.outside
            ),
        );
    }
}

/// 20 000 pieces of 10 characters as fast as they can be sent.
pub(crate) fn burst() {
    let model = Model::start();
    let home = Home::on(&model);
    let (mut tty, _) = Tty::start(home.on_terminal(&[]), is_ready);
    sleep(Duration::from_secs(1));
    tty.written();
    let cpu = procfs::cpu(tty.pid);
    let begin = tty.send("STREAM 20000 10 0");
    let drawn = tty.wait(shows(LAST_LINE)) - begin;
    let settled = Instant::now();
    sleep(Duration::from_secs(1));
    let (written, cpu) = (tty.written(), procfs::cpu(tty.pid).saturating_sub(cpu));
    figure(
        "200 kB burst",
        &format!(
            "drawn after {:.0} ms, {:.2} CPU-s, {:.1} kB, {} frames",
            millis(drawn),
            cpu.as_secs_f64(),
            written.bytes as f64 / 1e3,
            written.frames
        ),
    );
    sleep(Duration::from_secs(3).saturating_sub(settled.elapsed()));
    let memory = procfs::memory(tty.pid);
    figure(
        "memory after the burst (code in five languages)",
        &format!(
            "RSS {:.1} MB, PSS {:.1} MB",
            memory.rss as f64 / 1024.0,
            memory.pss as f64 / 1024.0
        ),
    );
}
