//! A folder with all that a run may touch: state, hermes' home, the user's home and a folder to
//! work in. What still runs in it is killed when it goes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use host::remote;
use host::settings::{self, Agent, Approvals, Mode, Prompt, Provider, Settings, Timing};
use host::store::{Loaded, Reader};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::SessionId;

/// The program under test: the one just built, or what `HERMES_TUI_BIN` names, such as a release.
pub(crate) fn exe() -> PathBuf {
    let exe = std::env::var_os("HERMES_TUI_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_hermes-tui").into(), PathBuf::from);
    // A relative name is meant from the package's folder, where Cargo runs tests.
    exe.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", exe.display()))
}

/// Where commands are found.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Waiting times of hosts and clients under test. A pause before a new connection proves nothing.
pub(crate) fn quick() -> Timing {
    Timing {
        reconnect: Duration::from_millis(200),
        reconnect_at_most: Duration::from_secs(2),
        ..Timing::default()
    }
}

/// A client of the server at that URL or socket, which keeps its files below `state`.
pub(crate) fn client(place: &str, state: &Path) -> remote::Server {
    let server = remote::Server::parse(place, state).unwrap();
    remote::Server { timing: quick(), ..server }
}

/// See the module.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    timing: Timing,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::with_timing(quick())
    }

    /// A home whose hosts and clients wait that long.
    pub(crate) fn with_timing(timing: Timing) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["state", "user", "work"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Self { dir, timing }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn timing(&self) -> Timing {
        self.timing
    }

    /// The folder of the host's state.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The home directory of the user.
    pub(crate) fn user(&self) -> PathBuf {
        self.dir.path().join("user")
    }

    /// Where sessions begin to work.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// What a host in this process is told.
    pub(crate) fn settings(&self, model: settings::Model) -> Settings {
        Settings { timing: self.timing, ..settings_in(self.dir.path(), model) }
    }

    /// Writes a home of hermes whose model is at `url`.
    pub(crate) fn configure(&self, url: &str) {
        let hermes = self.dir.path().join("hermes");
        fs::create_dir_all(&hermes).unwrap();
        let config = format!(
            "model:\n  default: test-model\n  provider: custom\n  base_url: {url}\n  \
             api_key: key-for-tests\n  context_length: 128000\nagent:\n  api_max_retries: 0\n"
        );
        fs::write(hermes.join("config.yaml"), config).unwrap();
    }

    /// The environment of the binary: nothing of ours but what it needs.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        [
            ("PATH", PATH.to_owned()),
            ("HOME", path("user")),
            ("HERMES_HOME", path("hermes")),
            ("HERMES_TUI_HOME", path("state")),
            ("HERMES_TUI_TEST_TIMING", spelled(self.timing)),
            ("SHELL", "/bin/bash".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("TERM", "xterm-256color".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// The binary with these arguments, to be changed further.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(exe());
        command.args(args).env_clear().envs(self.env()).current_dir(self.work());
        command.stdin(std::process::Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Output {
        run(self.command(args)).await
    }

    /// What is stored.
    pub(crate) fn reader(&self) -> Reader {
        Reader::open(&self.state()).unwrap()
    }

    /// A stored session; every process and every row of it, however old.
    pub(crate) fn stored(&self, id: &SessionId) -> Loaded {
        self.reader().load(id, 10_000).unwrap().unwrap()
    }

    /// The last session, once there is one.
    pub(crate) fn latest(&self) -> Option<SessionId> {
        self.reader().latest(None).unwrap()
    }

    /// Whether nothing is under way any more in any session.
    pub(crate) fn is_settled(&self) -> bool {
        self.reader().unsettled().unwrap().is_empty()
    }

    /// The contents of a file that a command writes into the working folder, once it has a line.
    pub(crate) async fn line_in(&self, file: &str) -> String {
        let path = self.work().join(file);
        super::eventually(&format!("a line in {}", path.display()), || {
            let text = fs::read_to_string(&path).ok()?;
            text.strip_suffix('\n').map(str::to_owned)
        })
        .await
    }

    /// What is stored, for a failing test to show.
    pub(crate) fn dump(&self) -> String {
        let mut lines = Vec::new();
        for session in self.reader().sessions(100).unwrap() {
            let stored = self.stored(&session.id);
            lines.push(format!("session {}, open turn {:?}", session.id, stored.open));
            for row in &stored.rows {
                let body: String = format!("{:?}", row.body).chars().take(300).collect();
                lines.push(format!("  {} turn {} {body}", row.n, row.turn));
            }
            for p in &stored.processes {
                let ends = (&p.state, &p.exit, &p.delivery, &p.killed_by);
                lines.push(format!("  {} {ends:?}", p.id));
            }
            for entry in &stored.ledger {
                lines.push(format!("  {} {:?} row {:?}", entry.process, entry.state, entry.row));
            }
        }
        let log = fs::read_to_string(self.state().join("logs/hermes-tui.log")).unwrap_or_default();
        let skipped = log.lines().count().saturating_sub(30);
        lines.extend(log.lines().skip(skipped).map(|line| format!("  log: {line}")));
        lines.join("\n")
    }
}

/// The times as the binary reads them from its environment.
fn spelled(timing: Timing) -> String {
    let Timing { unwind, match_gap, match_silence, keepalive, reconnect, reconnect_at_most, idle } =
        timing;
    let times = [
        ("unwind", unwind),
        ("match_gap", match_gap),
        ("match_silence", match_silence),
        ("keepalive", keepalive),
        ("reconnect", reconnect),
        ("reconnect_at_most", reconnect_at_most),
        ("idle", idle),
    ];
    times.map(|(name, time)| format!("{name}={}ms", time.as_millis())).join(",")
}

impl Drop for Home {
    fn drop(&mut self) {
        reap(self.dir.path());
    }
}

/// What a host in this process is told that works in such a folder.
pub(crate) fn settings_in(dir: &Path, model: settings::Model) -> Settings {
    let env = [
        ("PATH", PATH.to_owned()),
        ("HOME", dir.join("user").display().to_string()),
        ("SHELL", "/bin/bash".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
    ];
    Settings {
        state: dir.join("state"),
        exe: exe(),
        cwd: dir.join("work"),
        model,
        agent: Agent::default(),
        approvals: Approvals {
            mode: Mode::Manual,
            timeout: Duration::from_mins(1),
            deny: Vec::new(),
            allow: Vec::new(),
        },
        terminal: settings::Terminal {
            refused: None,
            shell: "/bin/bash".into(),
            timeout: Duration::from_mins(3),
            max_timeout: Duration::from_mins(10),
            env: env.map(|(n, v)| (n.to_owned(), v)).to_vec(),
            withheld: Vec::new(),
        },
        prompt: Prompt { context_file_max_chars: 20_000, ..Prompt::default() },
        compression: settings::Compression::default(),
        delegation: settings::Delegation::default(),
        sources: Vec::new(),
        timing: quick(),
    }
}

/// Runs a command to its end on a thread of its own, so that a server of this test can answer it.
pub(crate) async fn run(mut command: Command) -> Output {
    let running = tokio::task::spawn_blocking(move || command.output().unwrap());
    tokio::time::timeout(super::LONG, running).await.expect("the command ends").unwrap()
}

/// The built-in model.
pub(crate) fn demo() -> settings::Model {
    settings::Model {
        provider: Provider::Demo,
        name: "demo".to_owned(),
        base_url: None,
        api_key: None,
        context_length: None,
        max_tokens: None,
        retries: 0,
        stale: Duration::from_mins(3),
    }
}

/// Kills all that works in a folder or names it in its arguments or environment: no test leaves a
/// process behind, not even one that fails.
pub(crate) fn reap(dir: &Path) {
    // Who is just being started carries its parent's name for a moment: look until two looks in a
    // row have found nobody.
    let mut clean = 0;
    while clean < 2 {
        clean = if reap_once(dir) == 0 { clean + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How many it has found.
fn reap_once(dir: &Path) -> usize {
    let ours = dir.to_string_lossy().into_owned();
    let mut found = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // What went into the background has its environment only: it works in no folder of ours.
        let args = ["cmdline", "environ"].map(|f| fs::read(entry.path().join(f)));
        let args: Vec<u8> = args.into_iter().flat_map(Result::unwrap_or_default).collect();
        let inside = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        // A host in the background works in `/` and has no path in its arguments.
        let env = fs::read(entry.path().join("environ")).unwrap_or_default();
        let names = [args, env].iter().any(|text| String::from_utf8_lossy(text).contains(&ours));
        if inside || names {
            found += usize::from(kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
        }
    }
    found
}

/// Zombies are dead: nobody may be there to reap them.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().next());
    !matches!(state, None | Some("Z" | "X"))
}
