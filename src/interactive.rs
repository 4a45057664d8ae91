//! The interface and the host behind it: embedded here, or of another process that owns the state
//! folder (S07). What becomes of what runs when the user leaves, the terminal goes or the
//! interface is suspended (P10, P13, P14).

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use host::embedded::{Attendance, EmbeddedHost, Role, StartError, Work};
use host::remote::{self, Remote};
use host::serve::{self, Server};
use host::state_dir::socket_path;
use host::store::Lock;
use protocol::Target;
use protocol::View;
use tokio::sync::mpsc::UnboundedReceiver;
use tui::{Exit, ExitMode, Interface};

use crate::config::{Config, OnHangup};
use crate::dirs::Dirs;
use crate::drafts::{self, Drafts};
use crate::keep::{self, Loss, Start, Watch};
use crate::running_host::{self, Where};
use crate::signals::{Suspension, signals};
use crate::{Usage, args, drain, sessions_cmd};

/// How long another process that owns the state folder may take to answer: it may just start.
const ANSWER: Duration = Duration::from_secs(2);
/// So many killed hosts are replaced in that time: one that always dies is left dead.
const REVIVALS: (usize, Duration) = (3, Duration::from_mins(5));
/// How long a host may take to say what it does.
const LOOK: Duration = Duration::from_secs(1);

/// Opens the interface until the user leaves.
pub(crate) fn run(config: &Config, run: &args::Run, dirs: &Dirs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        Usage("the interface needs a terminal; `hermes-tui -z PROMPT` runs without one".to_owned())
    );
    let target = sessions_cmd::target(&config.settings.state, run, Some("tui"))?;
    let suspension = Suspension::take_over()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let signals = signals()?;
        let start = Start { exe: &config.settings.exe, dirs, run };
        let (connection, host) = connect(config, &start, target).await?;
        let drafts = drafts::load(&config.settings.state);
        let notes = config.notes.iter().chain(connection.notes()).cloned().collect();
        let attached = matches!(connection, Connection::Attached { .. });
        let options =
            tui::Options { follow: config.own.follow, ..options(notes, attached, drafts.clone()) };
        let interface = Interface::new(options);
        let mut interactive = Interactive {
            config,
            start,
            signals,
            suspension,
            interface,
            drafts,
            revivals: Vec::new(),
            watch: Watch::default(),
        };
        let code = interactive.work(connection, host).await;
        interactive.save_drafts();
        code
    })
}

/// Where the host is.
enum Connection {
    /// In this process, with a server for other interfaces.
    Embedded { local: EmbeddedHost, server: Option<Server>, notes: Vec<String> },
    /// In another one.
    Attached { remote: Remote, notes: Vec<String> },
}

impl Connection {
    fn notes(&self) -> &[String] {
        let (Self::Embedded { notes, .. } | Self::Attached { notes, .. }) = self;
        notes
    }
}

/// How a run of the interface ended.
enum Ended {
    Left(Exit),
    /// The terminal is gone.
    HungUp,
    Signal(i32),
    /// Somebody wants the process suspended.
    Suspend,
    /// Somebody asked the host to stop.
    StopAsked,
    /// The other process is gone.
    HostLost(Loss),
}

/// What an interface needs around it.
struct Interactive<'a> {
    config: &'a Config,
    start: Start<'a>,
    signals: UnboundedReceiver<i32>,
    suspension: Suspension,
    interface: Interface,
    /// As they lie in the state folder.
    drafts: Drafts,
    /// When a killed host was replaced.
    revivals: Vec<Instant>,
    watch: Watch,
}

/// Takes the state folder, or goes to the process that has it.
async fn connect(
    config: &Config,
    start: &Start<'_>,
    target: Target,
) -> anyhow::Result<(Connection, View)> {
    let state = &config.settings.state;
    let end = Instant::now() + ANSWER;
    loop {
        let held = match host::embedded::start(config.settings.clone(), Role::Owner) {
            Ok(local) => {
                let mut notes = local.notes().to_vec();
                let server = listen(&local, config).await;
                let server = server.map_err(|error| notes.push(error.to_string())).ok();
                if server.is_some() {
                    tokio::spawn(remote::send_pending_prompts(other(config)));
                }
                let is_new = target == Target::New;
                let host = local.attach(target, Attendance::Attended);
                if !is_new {
                    running_host::set_model(&host, start.run);
                }
                return Ok((Connection::Embedded { local, server, notes }, host));
            }
            Err(error @ StartError::Held { .. }) => error,
            Err(error) => return Err(error.into()),
        };
        if let StartError::Held { pid: Some(pid), .. } = &held
            && is_suspended(*pid)
        {
            anyhow::bail!(
                "the host of {} is suspended (process {pid}): `fg` in its shell brings it back, \
                 `kill -CONT {pid}` too",
                state.display()
            );
        }
        let server = other(config);
        let probe = tokio::time::timeout_at(end.into(), remote::probe(&server)).await;
        if let Ok(Ok(probe)) = probe
            && probe.tui
        {
            let (host, remote) = remote::start(server, target.clone());
            running_host::set_cwd(&host, &target);
            running_host::set_up(&host, start.run);
            let notes = running_host::notes(&probe, start.run, Where::Here);
            return Ok((Connection::Attached { remote, notes }, host));
        }
        if Instant::now() > end {
            return Err(anyhow::anyhow!("{held}")
                .context(format!("the host of {} does not answer", state.display())));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a process was stopped by a signal, as by Ctrl+Z.
pub(crate) fn is_suspended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// Listens for other interfaces.
async fn listen(local: &EmbeddedHost, config: &Config) -> Result<Server, serve::Error> {
    let options = serve::Options {
        tcp: None,
        sockets: vec![socket_path(&config.settings.state)],
        password: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    serve::start(local.handle(), &config.settings, options).await
}

/// The process that owns the state folder.
pub(crate) fn other(config: &Config) -> remote::Server {
    let state = config.settings.state.clone();
    let socket = Lock::place(&state.join("host.lock")).unwrap_or_else(|| socket_path(&state));
    remote::Server {
        url: "http://localhost".to_owned(),
        socket: Some(socket),
        ca: None,
        insecure: false,
        state,
        timing: config.settings.timing,
    }
}

impl Interactive<'_> {
    async fn work(
        &mut self,
        mut connection: Connection,
        mut host: View,
    ) -> anyhow::Result<ExitCode> {
        loop {
            let ended = self.run(&connection, &mut host).await;
            match (connection, ended) {
                (Connection::Embedded { local, server, notes }, ended) => {
                    let suspends = is_suspend(&ended);
                    let work = work(&local).await;
                    let others = work.views > 1;
                    if suspends && !work.runs() && work.timers == 0 && !others {
                        self.suspend().await?;
                        connection = Connection::Embedded { local, server, notes };
                        continue;
                    }
                    if !suspends {
                        drop(host);
                        return self.leave(local, server, work, others, ended).await;
                    }
                    match self.go_over(local, server, host).await {
                        Ok((remote, view)) => {
                            self.suspend().await?;
                            (connection, host) =
                                (Connection::Attached { remote, notes: Vec::new() }, view);
                        }
                        Err(error) => {
                            self.save_drafts();
                            return Err(error);
                        }
                    }
                }
                (Connection::Attached { remote, notes }, Ended::HostLost(loss)) => {
                    self.replace(loss).await;
                    connection = Connection::Attached { remote, notes };
                }
                (Connection::Attached { remote, notes }, ended) if is_suspend(&ended) => {
                    self.suspend().await?;
                    connection = Connection::Attached { remote, notes };
                }
                (Connection::Attached { remote, .. }, ended) => {
                    drop(host);
                    self.save_drafts();
                    let kept = remote.end().await;
                    let pid = Lock::holder(&self.config.settings.state.join("host.lock"));
                    let goes_on = self.interface.still_running().zip(pid);
                    let goes_on =
                        goes_on.map(|(what, pid)| format!("{what} The host is process {pid}."));
                    return match ended {
                        Ended::Left(exit) => farewell(&exit, &kept, goes_on),
                        ended => Ok(self.parting(&ended, goes_on.as_slice())),
                    };
                }
            }
        }
    }

    /// Runs the interface until something happens to it.
    async fn run(&mut self, connection: &Connection, host: &mut View) -> Ended {
        let state = &self.config.settings.state;
        let stop_asked = async {
            match connection {
                Connection::Embedded { server: Some(server), .. } => server.stop_requested().await,
                Connection::Embedded { server: None, .. } | Connection::Attached { .. } => {
                    std::future::pending::<()>().await;
                }
            }
        };
        let host_lost = async {
            match connection {
                Connection::Attached { remote, .. } => {
                    self.watch.next(state, || remote.take_prompt_waiting()).await
                }
                Connection::Embedded { .. } => std::future::pending().await,
            }
        };
        tokio::select! {
            exit = self.interface.run(host) => match exit {
                Ok(exit) => Ended::Left(exit),
                Err(error) => {
                    tracing::info!("the terminal is gone: {error}");
                    Ended::HungUp
                }
            },
            signal = self.signals.recv() => Ended::Signal(signal.unwrap_or_default()),
            () = self.suspension.asked() => Ended::Suspend,
            () = stop_asked => Ended::StopAsked,
            loss = host_lost => Ended::HostLost(loss),
        }
    }

    /// Starts a host in place of one that is gone, if that is wanted. It takes up what that one
    /// ran, and the link finds it.
    async fn replace(&mut self, loss: Loss) {
        let state = &self.config.settings.state;
        self.revivals.retain(|at| at.elapsed() < REVIVALS.1);
        let note = match loss {
            Loss::Stopped => "the host was stopped: what you send next starts another".to_owned(),
            Loss::Killed if self.revivals.len() >= REVIVALS.0 => {
                self.watch.leave();
                "the host is killed again and again: what you send next starts another".to_owned()
            }
            Loss::Killed => {
                self.revivals.push(Instant::now());
                // Not waited for: that of another interface may be the one that takes over.
                match self.start.detached() {
                    Ok(_) => {
                        "the host was killed: another one goes on in the background".to_owned()
                    }
                    Err(error) => format!("the host was killed, and no other starts: {error:#}"),
                }
            }
            Loss::Wanted => {
                let started = match self.start.detached() {
                    Ok(mut next) => keep::taken_over(&mut next, state).await,
                    Err(error) => Err(error),
                };
                match started {
                    Ok(()) => "another host goes on in the background".to_owned(),
                    Err(_) if Lock::is_held(&state.join("host.lock")) => {
                        "another host is there".to_owned()
                    }
                    Err(error) => format!("no other host starts: {error:#}"),
                }
            }
        };
        tracing::warn!("{note}");
        self.interface.note(note);
    }

    /// Suspends this process. Where nothing can be suspended it just goes on.
    async fn suspend(&mut self) -> anyhow::Result<()> {
        self.save_drafts();
        self.suspension.suspend().await
    }

    /// A host in the background goes on with everything, and the interface becomes a view on it.
    async fn go_over(
        &mut self,
        local: EmbeddedHost,
        server: Option<Server>,
        host: View,
    ) -> anyhow::Result<(Remote, View)> {
        let state = &self.config.settings.state;
        let mut next = self.start.detached()?;
        drop(host);
        keep::make_way(local, server).await;
        keep::taken_over(&mut next, state).await.context(LEFT)?;
        self.interface.set_attached(true);
        let target = self.interface.session().map_or(Target::New, Target::Id);
        let (host, remote) = remote::start(other(self.config), target.clone());
        running_host::set_cwd(&host, &target);
        Ok((remote, host))
    }

    /// The interface of an embedded host has ended: what becomes of what it ran.
    async fn leave(
        &mut self,
        local: EmbeddedHost,
        server: Option<Server>,
        work: Work,
        others: bool,
        ended: Ended,
    ) -> anyhow::Result<ExitCode> {
        let signal = match &ended {
            Ended::Signal(signal) => Some(*signal),
            Ended::HungUp => Some(nix::libc::SIGHUP),
            Ended::Left(_) | Ended::Suspend | Ended::StopAsked | Ended::HostLost(_) => None,
        };
        self.save_drafts();
        let wish = match (&ended, self.config.own.on_hangup) {
            (Ended::Left(exit), _) if !exit.host_stopped => exit.mode,
            (Ended::Left(_) | Ended::StopAsked, _) | (_, OnHangup::Leave) => ExitMode::Pause,
            (_, OnHangup::Keep) => ExitMode::Plain,
            (_, OnHangup::Kill) => ExitMode::Kill,
        };
        if wish == ExitMode::Kill {
            local.interrupt_all();
        }
        let keeps = match wish {
            ExitMode::Background | ExitMode::Plain | ExitMode::Suspend => work.runs(),
            ExitMode::Pause | ExitMode::Kill => false,
        };
        // Other interfaces go on with it, whatever this one's user wants; not against who asked
        // the host itself to stop.
        let keeps = keeps || others && !matches!(ended, Ended::StopAsked);
        let mut words = Vec::new();
        let next = if keeps { self.start.detached().map(Some) } else { Ok(None) };
        match next {
            Ok(Some(mut next)) => {
                if wish == ExitMode::Kill {
                    drain(&local, &mut self.signals).await;
                }
                keep::make_way(local, server).await;
                // Who hung up reads nothing, and may not have the time.
                if signal != Some(nix::libc::SIGHUP) {
                    let pid = next.pid();
                    words.push(match keep::taken_over(&mut next, &self.config.settings.state).await {
                        Ok(()) => format!(
                            "It goes on in the background (process {pid}).\n`hermes-tui -c` comes \
                             back to it, `hermes-tui host stop` ends it."
                        ),
                        Err(error) => format!("{LEFT}: {error:#}"),
                    });
                }
            }
            Ok(None) => {
                drain(&local, &mut self.signals).await;
                if let Some(server) = server {
                    server.stop().await;
                }
                local.end().await;
            }
            Err(error) => {
                tracing::error!("nothing can be kept running: {error:#}");
                words.push(format!("{LEFT}: {error:#}"));
                if let Some(server) = server {
                    server.stop().await;
                }
                local.hand_over().await;
            }
        }
        match ended {
            Ended::Left(exit) => farewell(&exit, &[], words.pop()),
            Ended::Signal(_) | Ended::HungUp => Ok(self.parting(&ended, &words)),
            Ended::Suspend | Ended::StopAsked | Ended::HostLost(_) => {
                Ok(self.parting(&ended, &["The host was asked to stop.".to_owned()]))
            }
        }
    }

    /// What is said when a signal has ended the interface, and the exit code.
    fn parting(&self, ended: &Ended, words: &[String]) -> ExitCode {
        let session = self.interface.session();
        let session = session.map(|id| format!("Go on with: hermes-tui --resume {id}"));
        // The terminal may be gone.
        let mut stdout = std::io::stdout().lock();
        for word in words.iter().chain(&session) {
            writeln!(stdout, "{word}").ok();
        }
        match ended {
            Ended::Signal(signal) => by(*signal),
            Ended::HungUp => by(nix::libc::SIGHUP),
            Ended::Left(_) | Ended::Suspend | Ended::StopAsked | Ended::HostLost(_) => {
                ExitCode::SUCCESS
            }
        }
    }

    fn save_drafts(&mut self) {
        save_drafts(&self.config.settings.state, &mut self.drafts, &self.interface);
    }
}

/// Writes what is being written into a folder that holds what was `kept` so far.
pub(crate) fn save_drafts(folder: &Path, kept: &mut Drafts, interface: &Interface) {
    let now = interface.drafts();
    match drafts::save(folder, kept, &now) {
        Ok(()) => *kept = now,
        Err(error) => tracing::error!("what was being written is not kept: {error}"),
    }
}

/// What is so when no host could take over.
const LEFT: &str = "No host goes on in the background: commands run on, the rest waits for the next \
                    start";

fn is_suspend(ended: &Ended) -> bool {
    match ended {
        Ended::Suspend => true,
        Ended::Left(exit) => exit.mode == ExitMode::Suspend,
        Ended::HungUp | Ended::Signal(_) | Ended::StopAsked | Ended::HostLost(_) => false,
    }
}

async fn work(local: &EmbeddedHost) -> Work {
    let work = tokio::time::timeout(LOOK, local.work()).await;
    work.ok().flatten().unwrap_or_default()
}

/// The exit code of a run that a signal has ended.
pub(crate) fn by(signal: i32) -> ExitCode {
    ExitCode::from(128 + signal.to_le_bytes()[0])
}

/// What the interface is told about where it runs.
pub(crate) fn options(notes: Vec<String>, attached: bool, drafts: Drafts) -> tui::Options {
    tui::Options {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        home: std::env::home_dir().map(|h| h.display().to_string()),
        palette: if std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) {
            tui::Palette::Plain
        } else {
            tui::Palette::Ansi
        },
        term: std::env::var("TERM").unwrap_or_default(),
        notes,
        host_name: None,
        attached,
        follow: false,
        drafts,
    }
}

/// What is said once the terminal is the shell's again. `kept` goes out with the next start.
fn farewell(exit: &Exit, kept: &[String], goes_on: Option<String>) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    for text in exit.unsent.iter().filter(|text| !kept.contains(text)) {
        writeln!(stdout, "Not sent: {}", host::redact::plain(text))?;
    }
    for text in kept {
        let text = host::redact::plain(text);
        writeln!(stdout, "Not sent yet, goes out with the next start: {text}")?;
    }
    if let Some(goes_on) = goes_on {
        writeln!(stdout, "{goes_on}")?;
    }
    if let Some(session) = &exit.session {
        writeln!(stdout, "Go on with: hermes-tui --resume {session}")?;
    }
    anyhow::ensure!(!exit.host_stopped, "the host stopped; what is stored is safe");
    Ok(ExitCode::SUCCESS)
}
