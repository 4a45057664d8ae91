//! Process trees: which processes are alive, their descent, and how a tree is ended.
//!
//! A process is identified by pid *and* start time, so that a reused pid is never signalled. Reads
//! /proc; where there is none, no process is found and only the caller's own group is signalled.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// How long a tree may take to end after the polite signal.
const GRACE: Duration = Duration::from_secs(2);
/// How long KILL is repeated before giving up on what cannot be killed.
const FORCE: Duration = Duration::from_secs(3);
const LONGEST_NAP: Duration = Duration::from_millis(40);

/// The identity of a process: its pid, when it started, and since which boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessIdentity {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot; `None` where the system does not provide it.
    pub start: Option<u64>,
    /// Id of the boot.
    pub boot: Option<String>,
}

/// A process of a tree, as found in /proc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Member {
    pid: u32,
    start: u64,
}

struct Stat {
    parent: u32,
    group: u32,
    start: u64,
    dead: bool,
}

impl ProcessIdentity {
    /// The process `pid` as it is now.
    pub(super) fn of(pid: u32) -> Self {
        Self { pid, start: stat(pid).map(|stat| stat.start), boot: boot() }
    }

    /// Whether exactly this process still runs. A zombie does not.
    pub(super) fn is_alive(&self) -> bool {
        self.boot == boot()
            && stat(self.pid).is_some_and(|now| !now.dead && Some(now.start) == self.start)
    }
}

fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command name stands in brackets and may hold anything, brackets too.
fn parse(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    Some(Stat {
        dead: matches!(*fields.first()?, "Z" | "X" | "x"),
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

fn all_processes() -> HashMap<u32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

/// All living descendants of `root`, without itself.
pub(super) fn below(root: u32) -> Vec<Member> {
    descendants(&all_processes(), &HashSet::from([root]))
}

/// A child whose supervisor is gone, its descendants and the rest of its group; none if the child
/// itself is gone, since then nothing proves to whom the others belong.
fn survivor_tree(child: &ProcessIdentity) -> Vec<Member> {
    if !child.is_alive() {
        return Vec::new();
    }
    let all = all_processes();
    let roots: HashSet<u32> = all
        .iter()
        .filter(|(pid, stat)| **pid == child.pid || stat.group == child.pid)
        .map(|(pid, _)| *pid)
        .collect();
    let mut members = descendants(&all, &roots);
    let own = roots.iter().filter_map(|pid| {
        let stat = all.get(pid).filter(|stat| !stat.dead)?;
        Some(Member { pid: *pid, start: stat.start })
    });
    members.extend(own);
    members
}

fn descendants(all: &HashMap<u32, Stat>, roots: &HashSet<u32>) -> Vec<Member> {
    let mut family = roots.clone();
    loop {
        let before = family.len();
        for (pid, stat) in all {
            if family.contains(&stat.parent) {
                family.insert(*pid);
            }
        }
        if family.len() == before {
            break;
        }
    }
    all.iter()
        .filter(|(pid, stat)| family.contains(pid) && !roots.contains(pid) && !stat.dead)
        .map(|(pid, stat)| Member { pid: *pid, start: stat.start })
        .collect()
}

impl Member {
    fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|now| !now.dead && now.start == self.start)
    }

    fn signal(self, signal: Signal) {
        if self.is_alive() {
            // The process may be gone by now, which is what the signal is for.
            let _ = kill(Pid::from_raw(self.pid as i32), signal);
        }
    }
}

/// Ends a tree: TERM (and CONT, so that stopped members receive it), 2 s of grace, KILL. `list`
/// returns its current members, `group` signals the child's group as long as that is safe, `over`
/// returns whether the child has ended. Blocks until all are gone, for at most 5 s.
pub(super) fn end(list: impl Fn() -> Vec<Member>, group: impl Fn(Signal), over: impl Fn() -> bool) {
    let mut known: HashSet<Member> = HashSet::new();
    let mut nap = Duration::from_millis(1);
    let polite = Instant::now() + GRACE;
    group(Signal::SIGTERM);
    group(Signal::SIGCONT);
    while Instant::now() < polite {
        for member in list() {
            if known.insert(member) {
                member.signal(Signal::SIGTERM);
                member.signal(Signal::SIGCONT);
            }
        }
        known.retain(|member| member.is_alive());
        if known.is_empty() && over() {
            return;
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(LONGEST_NAP);
    }
    let force = Instant::now() + FORCE;
    while Instant::now() < force {
        group(Signal::SIGKILL);
        known.extend(list());
        known.retain(|member| member.is_alive());
        if known.is_empty() && over() {
            return;
        }
        for member in &known {
            member.signal(Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends a child whose supervisor is gone, with its tree.
pub(super) fn end_survivor(child: &ProcessIdentity) {
    end(|| survivor_tree(child), |_| (), || true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987 1 1 1";
        let stat = parse(line).unwrap();
        assert_eq!((stat.parent, stat.group, stat.start, stat.dead), (7, 42, 987, false));
        assert!(parse("42 (a) Z").is_none());
    }

    // P08
    #[test]
    fn a_reused_pid_is_not_the_process_that_had_it() {
        let mut me = ProcessIdentity::of(std::process::id());
        assert!(me.is_alive());
        me.start = me.start.map(|start| start + 1);
        assert!(!me.is_alive());
        me.start = None;
        assert!(!me.is_alive());
        let mut me = ProcessIdentity::of(std::process::id());
        me.boot = Some("another".into());
        assert!(!me.is_alive());
    }

    // P08
    #[test]
    fn a_signal_never_hits_a_later_owner_of_the_pid() {
        let mut later = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let now = ProcessIdentity::of(later.id());
        let start = now.start.unwrap();
        // The process we once knew under that pid began earlier.
        let gone = Member { pid: later.id(), start: start - 1 };
        gone.signal(Signal::SIGKILL);
        end(|| Vec::from([gone]), |_| (), || true);
        end_survivor(&ProcessIdentity { start: Some(start - 1), ..now.clone() });
        end_survivor(&ProcessIdentity { boot: Some("another".into()), ..now.clone() });
        assert!(now.is_alive() && later.try_wait().unwrap().is_none());
        end_survivor(&now);
        assert!(!now.is_alive());
        later.wait().unwrap();
    }
}
