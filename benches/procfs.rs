//! What the kernel says of a process. Linux only; elsewhere these figures are absent (zero).

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Memory of a process in kB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) rss: u64,
    pub(crate) pss: u64,
    /// Its own alone: what ends with it. Pages of the program are not, they are the file's.
    pub(crate) own: u64,
}

pub(crate) fn memory(pid: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    Memory {
        rss: field(&text, "Rss:"),
        pss: field(&text, "Pss:"),
        own: field(&text, "Private_Dirty:"),
    }
}

/// The most memory the process has had, in kB; 0 once it has ended.
pub(crate) fn peak(pid: u32) -> u64 {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default(), "VmHWM:")
}

/// Processor time of all its threads, in steps of 10 ms.
pub(crate) fn cpu(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_name.split(' ').skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Its threads, and how often they have gone to sleep by themselves: each time one was woken.
pub(crate) fn wakeups(pid: u32) -> (usize, u64) {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let statuses = tasks.map(|task| fs::read_to_string(task.path().join("status")));
    statuses.flatten().fold((0, 0), |(threads, woken), status| {
        (threads + 1, woken + field(&status, "voluntary_ctxt_switches:"))
    })
}

/// Supervisors of processes below a state folder.
pub(crate) fn supervisors(state: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|p| p.file_name().to_str()?.parse::<u32>().ok());
    let state = state.display().to_string();
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("__supervise") && line.contains(&state)
    })
    .collect()
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_default()
}
