//! Commands under real supervisors: ends, output, input, kills, restarts and losses.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use host::process::{Adoption, ControlError, Kind, Notice, Processes, SpawnError, Spec, Watch};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::{End, Exit, ProcessId};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use crate::support::{exe, is_alive, reap};

/// Generous bound for anything that must happen.
const LONG: Duration = Duration::from_secs(20);

/// A root of processes and the hosts that come and go on it.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("p")
    }

    /// A host: its processes and what it is told.
    pub(crate) fn host(&self) -> (Processes, UnboundedReceiver<Notice>) {
        let (notices, told) = unbounded_channel();
        (Processes::new(self.root(), exe(), notices), told)
    }

    pub(crate) fn spec(&self, command: &str) -> Spec {
        Spec {
            id: ProcessId::fresh(),
            command: command.to_owned(),
            shell: "/bin/sh".into(),
            cwd: self.dir.path().to_path_buf(),
            env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
            pty: false,
            kind: Kind::Background,
            watch: Watch::default(),
        }
    }

    /// The pid in one of the files in which a process's folder names pids.
    pub(crate) fn pid(&self, id: &ProcessId, file: &str) -> u32 {
        let text = fs::read_to_string(self.root().join(&id.0).join(file)).unwrap();
        let (_, rest) = text.split_once("\"pid\":").unwrap();
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    }

    /// A pid that a command of the test wrote into a file of the working directory.
    pub(crate) async fn pid_in(&self, file: &str) -> u32 {
        let path = self.dir.path().join(file);
        eventually(|| {
            let text = fs::read_to_string(&path).ok()?;
            text.strip_suffix('\n')?.trim().parse().ok()
        })
        .await
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        reap(self.dir.path());
    }
}

/// Memory that belongs to a process alone, in kB: not its program file and what it shares.
fn anonymous(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

pub(crate) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn gone(pid: u32) {
    eventually(|| (!is_alive(pid)).then_some(())).await;
}

pub(crate) async fn ended(processes: &Processes, id: &ProcessId) -> Exit {
    timeout(LONG, processes.wait(id)).await.unwrap().unwrap()
}

/// The end of a process as it was told.
#[derive(Debug, PartialEq)]
struct Told {
    id: ProcessId,
    exit: Exit,
}

async fn notice(told: &mut UnboundedReceiver<Notice>) -> Told {
    match timeout(LONG, told.recv()).await.unwrap().unwrap() {
        Notice::Exited { id, exit } => Told { id, exit },
        Notice::Matched { id, hit } => panic!("{id} is not watched: {hit:?}"),
    }
}

pub(crate) async fn printed(processes: &Processes, id: &ProcessId, what: &str) {
    eventually(|| processes.output(id).tail(1000).text.contains(what).then_some(())).await;
}

pub(crate) fn code(exit: &Exit) -> (End, Option<i32>, Option<i32>) {
    (exit.end, exit.code, exit.signal)
}

// W12
#[tokio::test]
async fn an_end_is_told_once_with_its_true_status() {
    let bench = Bench::new();
    let (processes, mut told) = bench.host();
    let cases = [
        ("true", Some(0), None),
        ("exit 3", Some(3), None),
        ("no-such-command-here", Some(127), None),
        ("kill -SEGV $$", None, Some(11)),
        ("kill -TERM $$", None, Some(15)),
    ];
    for (command, exit_code, signal) in cases {
        let spec = bench.spec(command);
        let id = spec.id.clone();
        let pid = processes.spawn(spec).await.unwrap();
        let told_now = notice(&mut told).await;
        assert_eq!(told_now.id, id);
        assert_eq!(code(&told_now.exit), (End::Exited, exit_code, signal), "{command}");
        assert_eq!(processes.exit(&id), Some(told_now.exit.clone()));
        assert_eq!(ended(&processes, &id).await, told_now.exit);
        // W10: a kill that comes too late changes nothing and tells nothing.
        assert_eq!(processes.kill(&id).await, Some(told_now.exit));
        assert!(!is_alive(pid));
        processes.acknowledge(&id);
    }
    assert!(told.try_recv().is_err());
}

// W12: ended by a real-time signal, which has no name.
#[tokio::test]
async fn a_real_time_signal_is_a_signal() {
    let bench = Bench::new();
    let (processes, _told) = bench.host();
    let spec = bench.spec("kill -40 $$; sleep 1");
    let id = spec.id.clone();
    processes.spawn(spec).await.unwrap();
    assert_eq!(code(&ended(&processes, &id).await), (End::Exited, None, Some(40)));
}

#[tokio::test]
async fn both_output_streams_keep_order_in_the_given_environment() {
    let bench = Bench::new();
    let (processes, _told) = bench.host();
    let mut spec = bench.spec("echo one; echo two >&2; echo $HERMES_SESSION_ID; env | wc -l; pwd");
    // W25
    spec.env.push(("HERMES_SESSION_ID".into(), "s1".into()));
    spec.kind = Kind::Foreground;
    let id = spec.id.clone();
    processes.spawn(spec).await.unwrap();
    ended(&processes, &id).await;
    let text = processes.output(&id).tail(1000).text;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["one", "two", "s1"]);
    // Ours, and PWD and the like of the shell, but nothing of this test's own.
    assert!(lines[3].trim().parse::<u32>().unwrap() <= 5, "{text}");
    assert_eq!(Path::new(lines[4]), bench.dir.path().canonicalize().unwrap());
}

// W13
#[tokio::test]
async fn a_grandchild_holding_the_output_delays_the_end_by_the_grace() {
    let bench = Bench::new();
    let (processes, mut told) = bench.host();
    let command = "(echo $BASHPID; sleep 1; echo late; touch survived; sleep 100) & \
                   echo $! > grandchild; echo early; exit 4";
    let spec = bench.spec(command);
    let id = spec.id.clone();
    processes.spawn(spec).await.unwrap();
    let exit = notice(&mut told).await.exit;
    // The order proves it, not a clock: the end is told before the grandchild goes on.
    assert!(!bench.dir.path().join("survived").exists());
    assert_eq!(code(&exit), (End::Exited, Some(4), None));
    assert!(processes.output(&id).tail(1000).text.contains("early"));
    processes.acknowledge(&id);
    // It is not killed by a broken pipe, and what it prints is kept.
    printed(&processes, &id, "late").await;
    eventually(|| bench.dir.path().join("survived").exists().then_some(())).await;
    let grandchild = bench.pid_in("grandchild").await;
    assert!(is_alive(grandchild));
    // A kill after the end still ends what is left of the tree, and leaves the exit as it was.
    assert_eq!(processes.kill(&id).await, Some(exit));
    gone(grandchild).await;
    gone(bench.pid(&id, "supervisor")).await;
}

// W14, P07
#[tokio::test]
async fn a_new_host_adopts_a_process_with_input_output_and_end() {
    for pty in [false, true] {
        let bench = Bench::new();
        let (processes, told) = bench.host();
        let mut spec = bench.spec("echo begin; read line; echo got:$line; cat; exit 7");
        spec.pty = pty;
        let id = spec.id.clone();
        let pid = processes.spawn(spec).await.unwrap();
        printed(&processes, &id, "begin").await;
        drop((processes, told));

        let (processes, mut told) = bench.host();
        assert_eq!(processes.adopt(&id).await, Adoption::Running { pid: Some(pid) });
        assert_eq!(processes.write(&id, b"hello\n").await, Ok(6));
        printed(&processes, &id, "got:hello").await;
        assert_eq!(processes.write(&id, b"unfinished").await, Ok(10));
        processes.close_stdin(&id).await.unwrap();
        let notice = notice(&mut told).await;
        assert_eq!(notice.id, id);
        assert_eq!(code(&notice.exit), (End::Exited, Some(7), None), "pty: {pty}");
        let text = processes.output(&id).tail(1000).text;
        assert!(text.contains("begin") && text.contains("unfinished"), "{text}");
        assert_eq!(processes.write(&id, b"x").await, Err(ControlError::Ended));
        assert!(told.try_recv().is_err());
    }
}

// W15
#[tokio::test]
async fn a_process_that_ended_without_a_host_has_exit_and_output() {
    let bench = Bench::new();
    let (processes, told) = bench.host();
    let spec = bench.spec("read line; echo done; exit 5");
    let id = spec.id.clone();
    processes.spawn(spec).await.unwrap();
    processes.write(&id, b"\n").await.unwrap();
    drop((processes, told));
    eventually(|| {
        let (probe, _) = bench.host();
        probe.exit(&id)
    })
    .await;

    // Once while the supervisor still waits for a host, once after it has gone.
    for _ in 0..2 {
        let (processes, mut told) = bench.host();
        let Adoption::Ended(exit) = processes.adopt(&id).await else { panic!("not ended") };
        assert_eq!(code(&exit), (End::Exited, Some(5), None));
        assert_eq!(processes.output(&id).tail(100).text, "done\n");
        assert_eq!(processes.exit(&id), Some(exit.clone()));
        assert_eq!(processes.adopt(&id).await, Adoption::Ended(exit));
        assert!(told.try_recv().is_err(), "the one that adopts has been told already");
        processes.acknowledge(&id);
        gone(bench.pid(&id, "supervisor")).await;
    }
    let (processes, _told) = bench.host();
    assert_eq!(processes.stored_ids(), std::slice::from_ref(&id));
    processes.remove(&id);
    assert!(processes.stored_ids().is_empty());
}

// W12
#[tokio::test]
async fn a_killed_supervisor_means_lost_and_its_child_can_be_killed() {
    let bench = Bench::new();
    let (processes, mut told) = bench.host();
    let spec = bench.spec("sleep 100 & echo $! > grandchild; wait");
    let id = spec.id.clone();
    let pid = processes.spawn(spec).await.unwrap();
    let grandchild = bench.pid_in("grandchild").await;
    kill(Pid::from_raw(bench.pid(&id, "supervisor") as i32), Signal::SIGKILL).unwrap();
    let exit = notice(&mut told).await.exit;
    assert_eq!(code(&exit), (End::Lost, None, None));

    // So it is for the next host, which also sees that the child still lives.
    let (next, mut next_told) = bench.host();
    let Adoption::Lost { exit, child } = next.adopt(&id).await else { panic!("not lost") };
    assert_eq!((code(&exit), child), ((End::Lost, None, None), Some(pid)));
    assert_eq!(next.kill(&id).await.map(|exit| exit.end), Some(End::Lost));
    gone(pid).await;
    gone(grandchild).await;
    assert!(told.try_recv().is_err() && next_told.try_recv().is_err());
}

// W12
#[tokio::test]
async fn a_torn_exit_record_is_a_loss_not_a_success() {
    let bench = Bench::new();
    let (processes, told) = bench.host();
    let spec = bench.spec("true");
    let id = spec.id.clone();
    processes.spawn(spec).await.unwrap();
    ended(&processes, &id).await;
    processes.acknowledge(&id);
    gone(bench.pid(&id, "supervisor")).await;
    drop((processes, told));
    let record = bench.root().join(&id.0).join("exit");
    let mut bytes = fs::read(&record).unwrap();
    let half = bytes.iter().rposition(|byte| *byte == b'}').unwrap() / 2;
    bytes[half..].fill(b' ');
    fs::write(&record, bytes).unwrap();
    let (processes, _told) = bench.host();
    let Adoption::Lost { exit, child } = processes.adopt(&id).await else { panic!("not lost") };
    assert_eq!((code(&exit), child), ((End::Lost, None, None), None));
}

// P08
#[tokio::test]
async fn a_kill_ends_the_whole_tree_however_it_resists() {
    for pty in [false, true] {
        let bench = Bench::new();
        let (processes, mut told) = bench.host();
        // One that ignores the polite signal, one in a session of its own whose parent is gone.
        let command = "sh -c 'trap \"\" TERM; echo $$ > deaf; for i in $(seq 60); do sleep 1; done' & \
                       (setsid sh -c 'echo $$ > away; sleep 100' >/dev/null 2>&1 &) ; \
                       kill -STOP $$; sleep 100";
        let mut spec = bench.spec(command);
        spec.pty = pty;
        let id = spec.id.clone();
        let pid = processes.spawn(spec).await.unwrap();
        let (deaf, away) = (bench.pid_in("deaf").await, bench.pid_in("away").await);
        let exit = timeout(LONG, processes.kill(&id)).await.unwrap().unwrap();
        assert_eq!(code(&exit), (End::Killed, None, Some(15)), "pty: {pty}");
        for pid in [pid, deaf, away] {
            gone(pid).await;
        }
        assert_eq!(notice(&mut told).await, Told { id: id.clone(), exit });
        processes.acknowledge(&id);
        gone(bench.pid(&id, "supervisor")).await;
        assert!(told.try_recv().is_err());
    }
}

// W10
#[tokio::test]
async fn racing_kills_and_ends_report_one_end() {
    let bench = Bench::new();
    let (processes, mut told) = bench.host();
    for _ in 0..10 {
        let spec = bench.spec("read line; exit 1");
        let id = spec.id.clone();
        processes.spawn(spec).await.unwrap();
        let (one, two, three) =
            tokio::join!(processes.write(&id, b"\n"), processes.kill(&id), processes.kill(&id));
        let _ = one;
        assert!(two.is_some() && two == three);
        assert_eq!(Some(notice(&mut told).await.exit), two);
        assert!(told.try_recv().is_err());
        processes.acknowledge(&id);
    }
}

#[tokio::test]
async fn a_foreground_tree_dies_with_the_host() {
    let bench = Bench::new();
    let (processes, mut told) = bench.host();
    let mut spec = bench.spec("sleep 100 & echo $! > grandchild; wait");
    spec.kind = Kind::Foreground;
    let id = spec.id.clone();
    let pid = processes.spawn(spec).await.unwrap();
    let grandchild = bench.pid_in("grandchild").await;
    assert_eq!(
        processes.write(&id, b"x").await.unwrap_err().to_string(),
        "standard input of this process is not open"
    );
    drop(processes);
    gone(pid).await;
    gone(grandchild).await;
    gone(bench.pid(&id, "supervisor")).await;
    let (next, _told) = bench.host();
    let Adoption::Ended(exit) = next.adopt(&id).await else { panic!("not ended") };
    assert_eq!(exit.end, End::Killed);
    assert!(told.try_recv().is_err(), "nobody is told of a foreground command");
}

// P09
#[tokio::test]
async fn two_hundred_megabytes_of_output_cost_little_disk_and_memory() {
    let bench = Bench::new();
    let (processes, mut told) = bench.host();
    let flood = "yes 'a line of output' | head -c 200000000; echo; echo last; read x";
    let spec = bench.spec(&format!("echo first; read x; {flood}"));
    let id = spec.id.clone();
    processes.spawn(spec).await.unwrap();
    printed(&processes, &id, "first").await;
    let before = anonymous(bench.pid(&id, "supervisor"));
    processes.write(&id, b"go\n").await.unwrap();
    printed(&processes, &id, "last").await;
    let folder = bench.root().join(&id.0);
    let disk: u64 =
        fs::read_dir(&folder).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(disk < 5_500_000, "{disk} bytes on disk");
    let after = anonymous(bench.pid(&id, "supervisor"));
    assert!(after < before + 1_000, "{before} kB of memory became {after} kB");
    let output = processes.output(&id).tail(200_000);
    assert_eq!(output.text.chars().count(), 200_000);
    assert!(output.text.ends_with("\nlast\n"));
    assert_eq!(output.seen, 200_000_012);
    assert!(output.dropped > 190_000_000);
    let page = processes.output(&id).lines(0, 2);
    assert_eq!(page.text, "first\na line of output");
    processes.close_stdin(&id).await.unwrap();
    notice(&mut told).await;
}

// W12
#[tokio::test]
async fn a_failed_start_says_why_and_is_recorded() {
    let bench = Bench::new();
    let (processes, mut told) = bench.host();
    let mut nowhere = bench.spec("true");
    nowhere.cwd = "/no/such/place".into();
    let mut shell_less = bench.spec("true");
    shell_less.shell = "/no/such/shell".into();
    let mut shell_less_terminal = shell_less.clone();
    shell_less_terminal.id = ProcessId::fresh();
    shell_less_terminal.pty = true;
    for (spec, why) in [
        (nowhere, "/no/such/place does not exist"),
        (shell_less, "/no/such/shell: ENOENT"),
        (shell_less_terminal, "/no/such/shell: ENOENT"),
    ] {
        let id = spec.id.clone();
        let Err(SpawnError::Command(error)) = processes.spawn(spec).await else { panic!("{why}") };
        assert!(error.contains(why.split(':').next().unwrap()), "{error}");
        assert_eq!(
            processes.exit(&id).map(|exit| code(&exit)),
            Some((End::FailedStart, None, None))
        );
        assert!(processes.output(&id).tail(1000).text.contains(&error));
        let (next, _told) = bench.host();
        let Adoption::Ended(exit) = next.adopt(&id).await else { panic!("{why}") };
        assert_eq!(exit.end, End::FailedStart);
    }
    // A supervisor that cannot even start.
    let (notices, _) = unbounded_channel();
    let broken = Processes::new(bench.root(), "/no/such/program".into(), notices);
    let spec = bench.spec("true");
    let id = spec.id.clone();
    assert!(matches!(broken.spawn(spec).await, Err(SpawnError::Launch(_))));
    assert_eq!(broken.exit(&id).map(|exit| exit.end), Some(End::FailedStart));
    // Written down but never begun.
    let Adoption::Ended(exit) = processes.adopt(&ProcessId::fresh()).await else { panic!("begun") };
    assert_eq!(exit.end, End::FailedStart);
    assert!(told.try_recv().is_err(), "the caller has been told already");
}

// W17
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_each_end_as_themselves() {
    let bench = Bench::new();
    let (processes, mut told) = bench.host();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        let spec = bench.spec(&format!("echo {n}; exit {n}"));
        let processes = processes.clone();
        tasks.spawn(async move {
            let id = spec.id.clone();
            processes.spawn(spec).await.unwrap();
            (id, n)
        });
    }
    let codes: std::collections::HashMap<ProcessId, i32> =
        tasks.join_all().await.into_iter().collect();
    for _ in 0..64 {
        let notice = notice(&mut told).await;
        let n = codes[&notice.id];
        assert_eq!(notice.exit.code, Some(n));
        assert_eq!(processes.output(&notice.id).tail(10).text, format!("{n}\n"));
        processes.acknowledge(&notice.id);
    }
    assert!(told.try_recv().is_err());
    for id in codes.keys() {
        gone(bench.pid(id, "supervisor")).await;
    }
}

#[tokio::test]
async fn a_stopped_supervisor_is_adopted_and_read_when_it_goes_on() {
    let bench = Bench::new();
    let (processes, told) = bench.host();
    let spec = bench.spec("read line; exit 6");
    let id = spec.id.clone();
    let pid = processes.spawn(spec).await.unwrap();
    processes.write(&id, b"").await.unwrap();
    drop((processes, told));
    let supervisor = Pid::from_raw(bench.pid(&id, "supervisor") as i32);
    kill(supervisor, Signal::SIGSTOP).unwrap();
    let (processes, mut told) = bench.host();
    assert_eq!(processes.adopt(&id).await, Adoption::Running { pid: Some(pid) });
    kill(supervisor, Signal::SIGCONT).unwrap();
    assert_eq!(processes.write(&id, b"\n").await, Ok(1));
    assert_eq!(notice(&mut told).await.exit.code, Some(6));
}

#[tokio::test]
async fn the_child_holds_neither_the_lock_nor_a_connection() {
    let bench = Bench::new();
    let (processes, _told) = bench.host();
    for pty in [false, true] {
        let mut spec = bench.spec("ls -l /proc/self/fd; read x");
        spec.pty = pty;
        let id = spec.id.clone();
        processes.spawn(spec).await.unwrap();
        printed(&processes, &id, " 3 -> ").await;
        let text = processes.output(&id).tail(10_000).text;
        assert!(!text.contains("/lock") && !text.contains("socket:"), "{text}");
        assert!(processes.kill(&id).await.is_some());
    }
}

#[tokio::test]
async fn a_root_with_a_long_path_has_its_sockets_elsewhere() {
    let bench = Bench::new();
    let root = bench.dir.path().join("long".repeat(30));
    let exe = exe();
    let host = |root: &Path| {
        let (notices, told) = unbounded_channel();
        (Processes::new(root.to_path_buf(), exe.clone(), notices), told)
    };
    let (processes, told) = host(&root);
    let spec = bench.spec("read x; exit 2");
    let id = spec.id.clone();
    let pid = processes.spawn(spec).await.unwrap();
    drop((processes, told));
    let (processes, mut told) = host(&root);
    assert_eq!(processes.adopt(&id).await, Adoption::Running { pid: Some(pid) });
    let socket = fs::read_to_string(root.join(&id.0).join("s.path")).unwrap();
    assert!(Path::new(&socket).exists());
    processes.write(&id, b"\n").await.unwrap();
    assert_eq!(notice(&mut told).await.exit.code, Some(2));
    processes.acknowledge(&id);
    eventually(|| (!Path::new(&socket).exists()).then_some(())).await;
    processes.remove(&id);
    assert!(!root.join(&id.0).exists());
}

#[tokio::test]
async fn input_that_nobody_reads_neither_blocks_a_kill_nor_grows() {
    let bench = Bench::new();
    let (processes, _told) = bench.host();
    let spec = bench.spec("sleep 100");
    let id = spec.id.clone();
    processes.spawn(spec).await.unwrap();
    let megabyte = vec![b'x'; 1 << 20];
    assert_eq!(processes.write(&id, &megabyte).await, Ok(1 << 20));
    assert!(matches!(processes.write(&id, b"y").await, Err(ControlError::Refused(_))));
    let more = vec![b'x'; (1 << 20) + 1];
    assert_eq!(processes.write(&id, &more).await, Err(ControlError::TooLarge));
    assert_eq!(processes.kill(&id).await.map(|exit| exit.end), Some(End::Killed));
}

#[tokio::test]
async fn a_foreground_command_whose_caller_has_gone_is_killed() {
    let bench = Bench::new();
    let (processes, _told) = bench.host();
    let mut spec = bench.spec("sleep 100");
    spec.kind = Kind::Foreground;
    let id = spec.id.clone();
    assert!(timeout(Duration::ZERO, processes.spawn(spec)).await.is_err());
    assert_eq!(ended(&processes, &id).await.end, End::Killed);
}

#[tokio::test]
async fn an_id_in_use_is_refused_and_its_process_left_alone() {
    let bench = Bench::new();
    let (processes, mut told) = bench.host();
    let spec = bench.spec("read x; exit 8");
    let id = spec.id.clone();
    processes.spawn(spec.clone()).await.unwrap();
    assert_eq!(processes.spawn(spec.clone()).await, Err(SpawnError::InUse(id.clone())));
    // Nor by a host that does not know it yet.
    let (other, _told) = bench.host();
    assert!(matches!(other.spawn(spec).await, Err(SpawnError::Launch(_))));
    processes.write(&id, b"\n").await.unwrap();
    assert_eq!(notice(&mut told).await.exit.code, Some(8));
    let (next, _told) = bench.host();
    let Adoption::Ended(exit) = next.adopt(&id).await else { panic!("not ended") };
    assert_eq!(exit.code, Some(8));
}

// P07
#[tokio::test]
async fn output_can_be_followed_by_bytes_while_it_grows() {
    let bench = Bench::new();
    let (processes, _told) = bench.host();
    let spec = bench.spec("echo one; read x; echo two; read x");
    let id = spec.id.clone();
    processes.spawn(spec).await.unwrap();
    printed(&processes, &id, "one").await;
    let first = processes.output(&id).read(0, 1000);
    assert_eq!((first.from, first.bytes.as_slice()), (0, b"one\n".as_slice()));
    processes.write(&id, b"\n").await.unwrap();
    printed(&processes, &id, "two").await;
    assert_eq!(processes.output(&id).read(4, 1000).bytes, b"two\n");
    assert!(processes.kill(&id).await.is_some());
}

#[tokio::test]
async fn a_forgotten_process_leaves_nothing_behind() {
    let bench = Bench::new();
    let (processes, _told) = bench.host();
    let spec = bench.spec("true");
    let id = spec.id.clone();
    processes.spawn(spec).await.unwrap();
    // Not while it may still run.
    let long = bench.spec("read x");
    let long_id = long.id.clone();
    processes.spawn(long).await.unwrap();
    processes.remove(&long_id);
    assert_eq!(processes.stored_ids().len(), 2);
    ended(&processes, &id).await;
    let supervisor = bench.pid(&id, "supervisor");
    processes.remove(&id);
    gone(supervisor).await;
    assert_eq!(processes.stored_ids(), std::slice::from_ref(&long_id));
    assert_eq!(processes.wait(&id).await, None);
    assert!(processes.kill(&long_id).await.is_some());
}
