//! Long histories: listing many sessions, opening long ones.

use std::time::Instant;

use crate::home::{Home, Stored};
use crate::stats::Samples;
use crate::tty::{Tty, shows};

const RUNS: usize = 20;
const LAST: &str = "LAST-LINE-OF-IT";

/// `sessions list` with 3 000 sessions.
pub(crate) fn list() {
    let home = Home::demo();
    home.store((0..3_000).map(Stored::short));
    let run = |args: &[&str], lines: usize| {
        let begin = Instant::now();
        let output = home.command(args).output().unwrap();
        let time = begin.elapsed();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), lines + 1, "{text}");
        time
    };
    let limited: Samples = (0..RUNS).map(|_| run(&["sessions", "list"], 20)).collect();
    limited.print("sessions list, the newest 20 of 3 000");
    let all = ["sessions", "list", "--limit", "3000"];
    let all: Samples = (0..RUNS).map(|_| run(&all, 3_000)).collect();
    all.print("sessions list, all 3 000");
}

/// Start until the last line of a stored session is on the screen.
pub(crate) fn resume() {
    let many = (0..4_000).map(|n| format!("Row {n} with some words of text.")).collect();
    open("4 000 rows", many);
    open("one answer of 200 kB", vec!["Question".to_owned(), prose(200_000)]);
    open("one answer of 20 MB", vec!["Question".to_owned(), prose(20_000_000)]);
}

fn open(what: &str, mut texts: Vec<String>) {
    let home = Home::demo();
    let last = texts.last_mut().unwrap();
    last.push_str("\n\n");
    last.push_str(LAST);
    let session = Stored::of(0, texts);
    let id = session.id.0.clone();
    home.store([session]);
    let shown: Samples = (0..RUNS)
        .map(|_| Tty::start(home.on_terminal(&["--resume", &id]), shows(LAST)).1)
        .collect();
    shown.print(&format!("resume, {what}: last line on the screen"));
}

fn prose(length: usize) -> String {
    let paragraph = "Some **words** of an answer with `code`, long enough to be wrapped once or \
                     twice on a terminal of the usual width, as answers are.\n\n- an item\n- another\n\n";
    paragraph.repeat(length / paragraph.len() + 1)
}
