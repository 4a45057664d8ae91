//! The interface and the host behind it: embedded here, or of another process that owns the state
//! directory (S07). What happens to running work when the user leaves, the terminal goes away or
//! the interface is suspended (P10, P13, P14).

mod connect;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use host::embedded::{EmbeddedHost, Work};
use host::remote::{self, Remote};
use host::serve::Server;
use host::store::Lock;
use protocol::{Target, View};
use tokio::sync::mpsc::UnboundedReceiver;
use tui::{Exit, ExitMode, Interface};

use crate::config::{Config, OnHangup};
use crate::dirs::Dirs;
use crate::drafts::{self, Drafts};
use crate::drain::drain;
use crate::exit::{self, Usage};
use crate::interface;
use crate::keep::{self, Loss, Start, Watch};
use crate::signals::{Suspension, signals};
use crate::{args, running_host, sessions_cmd};
use connect::{Connection, connect};

/// At most so many killed hosts are replaced in that time: one that always dies is given up.
const REPLACEMENTS: (usize, Duration) = (3, Duration::from_mins(5));
/// How long a host may take to report its work.
const REPORT: Duration = Duration::from_secs(1);
/// What the user is told when no host could take over.
const NOT_KEPT: &str = "No host runs in the background: commands keep running, everything else \
                        waits for the next start";

/// Runs the interface until the user leaves.
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
        let (connection, view) = connect(config, run, target).await?;
        let drafts = drafts::load(&config.settings.state.drafts());
        let notes = config.notes.iter().chain(connection.notes()).cloned().collect();
        let attached = matches!(connection, Connection::Attached { .. });
        let options = interface::options(notes, attached, drafts.clone());
        let options = tui::Options { follow: config.own.follow, ..options };
        let mut interactive = Interactive {
            config,
            start,
            signals,
            suspension,
            interface: Interface::new(options),
            drafts,
            replacements: Vec::new(),
            watch: Watch::default(),
        };
        let code = interactive.run(connection, view).await;
        interactive.save_drafts();
        code
    })
}

/// How a run of the interface ended.
enum Ended {
    /// By the user.
    Left(Exit),
    /// The terminal is gone.
    HungUp,
    Signal(i32),
    /// A request to suspend the process.
    Suspend,
    /// A request to stop the host.
    StopAsked,
    /// The other process is gone.
    HostLost(Loss),
}

/// An interface with what it needs around it.
struct Interactive<'a> {
    config: &'a Config,
    start: Start<'a>,
    signals: UnboundedReceiver<i32>,
    suspension: Suspension,
    interface: Interface,
    /// As they lie in the state directory.
    drafts: Drafts,
    /// When killed hosts were replaced.
    replacements: Vec<Instant>,
    watch: Watch,
}

impl Interactive<'_> {
    /// Runs the interface, on one host after another, until the user leaves.
    async fn run(
        &mut self,
        mut connection: Connection,
        mut view: View,
    ) -> anyhow::Result<ExitCode> {
        loop {
            let ended = self.show(&connection, &mut view).await;
            (connection, view) = match (connection, ended) {
                (Connection::Embedded { host, server, notes }, ended) if is_suspend(&ended) => {
                    let work = work(&host).await;
                    if !work.runs() && work.timers == 0 && work.views <= 1 {
                        self.suspend().await?;
                        (Connection::Embedded { host, server, notes }, view)
                    } else {
                        drop(view);
                        let (remote, view) = self.move_to_background(host, server).await?;
                        self.suspend().await?;
                        (Connection::Attached { remote, notes: Vec::new() }, view)
                    }
                }
                (Connection::Embedded { host, server, .. }, ended) => {
                    let work = work(&host).await;
                    drop(view);
                    return self.leave(host, server, work, ended).await;
                }
                (connection @ Connection::Attached { .. }, Ended::HostLost(loss)) => {
                    self.replace(loss).await;
                    (connection, view)
                }
                (connection @ Connection::Attached { .. }, ended) if is_suspend(&ended) => {
                    self.suspend().await?;
                    (connection, view)
                }
                (Connection::Attached { remote, .. }, ended) => {
                    drop(view);
                    return self.detach(remote, ended).await;
                }
            };
        }
    }

    /// Runs the interface until something ends it.
    async fn show(&mut self, connection: &Connection, view: &mut View) -> Ended {
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
            exit = self.interface.run(view) => match exit {
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

    /// Starts a host in place of one that is gone, if that is wanted. It resumes what that one
    /// ran, and our connection finds it.
    async fn replace(&mut self, loss: Loss) {
        self.replacements.retain(|at| at.elapsed() < REPLACEMENTS.1);
        let note = match loss {
            Loss::Stopped => "the host was stopped; your next message starts another".to_owned(),
            Loss::Killed if self.replacements.len() >= REPLACEMENTS.0 => {
                self.watch.give_up();
                "the host keeps being killed; your next message starts another".to_owned()
            }
            Loss::Killed => {
                self.replacements.push(Instant::now());
                // Not waited for: that of another interface may be the one that takes over.
                match self.start.detached() {
                    Ok(_) => {
                        "the host was killed; another one takes over in the background".to_owned()
                    }
                    Err(error) => {
                        format!("the host was killed, and no other can be started: {error:#}")
                    }
                }
            }
            Loss::Wanted => self.start_another().await,
        };
        tracing::warn!("{note}");
        self.interface.note(note);
    }

    /// Starts a host because the user has sent something: a note on what came of it.
    async fn start_another(&self) -> String {
        let state = &self.config.settings.state;
        let started = match self.start.detached() {
            Ok(mut next) => keep::taken_over(&mut next, state).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(()) => "another host took over in the background".to_owned(),
            Err(_) if Lock::is_held(&state.host_lock()) => "another host is running".to_owned(),
            Err(error) => format!("no other host can be started: {error:#}"),
        }
    }

    /// Suspends this process; returns once it is continued, or at once where that is impossible.
    async fn suspend(&mut self) -> anyhow::Result<()> {
        self.save_drafts();
        self.suspension.suspend().await
    }

    /// Hands everything to a host in the background, to which the interface then attaches.
    async fn move_to_background(
        &mut self,
        host: EmbeddedHost,
        server: Option<Server>,
    ) -> anyhow::Result<(Remote, View)> {
        let state = &self.config.settings.state;
        self.save_drafts();
        let mut next = self.start.detached()?;
        keep::make_way(host, server).await;
        keep::taken_over(&mut next, state).await.context(NOT_KEPT)?;
        self.interface.set_attached(true);
        let target = self.interface.session().map_or(Target::New, Target::Id);
        let (view, remote) =
            remote::start(running_host::server(&self.config.settings), target.clone());
        running_host::set_cwd(&view, &target);
        Ok((remote, view))
    }

    /// The interface of a host of another process has ended.
    async fn detach(&mut self, remote: Remote, ended: Ended) -> anyhow::Result<ExitCode> {
        self.save_drafts();
        let kept = remote.end().await;
        let pid = Lock::holder(&self.config.settings.state.host_lock());
        let running = self.interface.still_running().zip(pid);
        let running = running.map(|(what, pid)| format!("{what} The host is process {pid}."));
        match ended {
            Ended::Left(exit) => farewell(&exit, &kept, running),
            ended => Ok(self.parting(&ended, running)),
        }
    }

    /// The interface of an embedded host has ended: its work is kept, left or killed.
    async fn leave(
        &mut self,
        host: EmbeddedHost,
        server: Option<Server>,
        work: Work,
        ended: Ended,
    ) -> anyhow::Result<ExitCode> {
        self.save_drafts();
        let mode = self.mode(&ended);
        if mode == ExitMode::Kill {
            host.interrupt_all();
        }
        let keeps = match mode {
            ExitMode::Background | ExitMode::Plain | ExitMode::Suspend => work.runs(),
            ExitMode::Pause | ExitMode::Kill => false,
        };
        // Other interfaces keep their host whatever this one's user chooses, unless it was the
        // host itself that was asked to stop.
        let keeps = keeps || work.views > 1 && !matches!(ended, Ended::StopAsked);
        let note = if keeps {
            self.keep(host, server, mode, &ended).await
        } else {
            self.stop(host, server).await;
            None
        };
        match ended {
            Ended::Left(exit) => farewell(&exit, &[], note),
            Ended::Signal(_) | Ended::HungUp => Ok(self.parting(&ended, note)),
            Ended::Suspend | Ended::StopAsked | Ended::HostLost(_) => {
                Ok(self.parting(&ended, Some("The host was asked to stop.".to_owned())))
            }
        }
    }

    /// What is to happen to running work.
    fn mode(&self, ended: &Ended) -> ExitMode {
        match (ended, self.config.own.on_hangup) {
            (Ended::Left(exit), _) if !exit.host_stopped => exit.mode,
            (Ended::Left(_) | Ended::StopAsked, _) | (_, OnHangup::Leave) => ExitMode::Pause,
            (_, OnHangup::Keep) => ExitMode::Plain,
            (_, OnHangup::Kill) => ExitMode::Kill,
        }
    }

    /// Hands the state directory to a host in the background. A note for the user, if there is
    /// still one who can read it.
    async fn keep(
        &mut self,
        host: EmbeddedHost,
        server: Option<Server>,
        mode: ExitMode,
        ended: &Ended,
    ) -> Option<String> {
        let mut next = match self.start.detached() {
            Ok(next) => next,
            Err(error) => {
                tracing::error!("cannot start a host in the background: {error:#}");
                if let Some(server) = server {
                    server.stop().await;
                }
                host.hand_over().await;
                return Some(format!("{NOT_KEPT}: {error:#}"));
            }
        };
        if mode == ExitMode::Kill {
            drain(&host, &mut self.signals).await;
        }
        keep::make_way(host, server).await;
        // After a hang-up nobody reads the note, and there may be no time to wait for the host.
        if matches!(ended, Ended::HungUp | Ended::Signal(nix::libc::SIGHUP)) {
            return None;
        }
        let pid = next.pid();
        Some(match keep::taken_over(&mut next, &self.config.settings.state).await {
            Ok(()) => format!(
                "Work goes on in the background (process {pid}).\n`hermes-tui -c` returns to it, \
                 `hermes-tui host stop` stops it."
            ),
            Err(error) => format!("{NOT_KEPT}: {error:#}"),
        })
    }

    /// Stops the host of this process once its turns have ended.
    async fn stop(&mut self, host: EmbeddedHost, server: Option<Server>) {
        drain(&host, &mut self.signals).await;
        if let Some(server) = server {
            server.stop().await;
        }
        host.end().await;
    }

    /// Prints what the user should know after an end that was not theirs; the exit code.
    fn parting(&self, ended: &Ended, note: Option<String>) -> ExitCode {
        let resume = self.interface.session();
        let resume = resume.map(|id| format!("Resume with: hermes-tui --resume {id}"));
        // The terminal may be gone.
        let mut stdout = std::io::stdout().lock();
        for line in note.iter().chain(&resume) {
            writeln!(stdout, "{line}").ok();
        }
        match ended {
            Ended::Signal(signal) => exit::from_signal(*signal),
            Ended::HungUp => exit::from_signal(nix::libc::SIGHUP),
            Ended::Left(_) | Ended::Suspend | Ended::StopAsked | Ended::HostLost(_) => {
                ExitCode::SUCCESS
            }
        }
    }

    fn save_drafts(&mut self) {
        let dir = self.config.settings.state.drafts();
        interface::save_drafts(&dir, &mut self.drafts, &self.interface);
    }
}

fn is_suspend(ended: &Ended) -> bool {
    match ended {
        Ended::Suspend => true,
        Ended::Left(exit) => exit.mode == ExitMode::Suspend,
        Ended::HungUp | Ended::Signal(_) | Ended::StopAsked | Ended::HostLost(_) => false,
    }
}

/// The work of a host; none if it does not report in time.
async fn work(host: &EmbeddedHost) -> Work {
    let work = tokio::time::timeout(REPORT, host.work()).await;
    work.ok().flatten().unwrap_or_default()
}

/// Prints what the user should know once the terminal is the shell's again. Prompts in `kept` are
/// sent at the next start.
fn farewell(exit: &Exit, kept: &[String], note: Option<String>) -> anyhow::Result<ExitCode> {
    let mut lines = interface::unsent(&exit.unsent, kept, "start");
    lines.extend(note);
    let resume = exit.session.as_ref();
    lines.extend(resume.map(|id| format!("Resume with: hermes-tui --resume {id}")));
    let mut stdout = std::io::stdout().lock();
    for line in lines {
        writeln!(stdout, "{line}")?;
    }
    anyhow::ensure!(!exit.host_stopped, "the host stopped; everything stored is safe");
    Ok(ExitCode::SUCCESS)
}
