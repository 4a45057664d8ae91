//! `serve`: a host with a server and no interface, here or in the background.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use host::embedded::{EmbeddedHost, Role, StartError};
use host::serve::{self, Options, Server};
use host::state_dir::socket_path;
use host::store::Lock;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Config;
use crate::dirs::Dirs;
use crate::env::Env;
use crate::signals::signals;
use crate::{Usage, args, detach, drain};

/// The variables a password is read from, the first one first.
pub(crate) const PASSWORDS: [&str; 2] = ["HERMES_TUI_PASSWORD", "HERMES_WEBUI_PASSWORD"];
/// How long a host in the background waits for the one before it.
const MAKE_WAY: Duration = Duration::from_secs(30);

/// How often a host looks whether it is still needed.
const LOOK: Duration = Duration::from_secs(2);

/// Where a host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the shell's foreground, or under a service manager.
    Here,
    /// In a session of its own (`detach`).
    Background,
}

/// Runs until it is told to stop, or starts another process that does.
pub(crate) fn run(
    config: &Config,
    serve: &args::Serve,
    env: &Env,
    dirs: &Dirs,
    place: Place,
) -> anyhow::Result<ExitCode> {
    let options = options(serve, env, dirs)?;
    if serve.detach && place == Place::Here {
        return background(config, dirs);
    }
    if place == Place::Background {
        // Keeps no folder busy; all paths are absolute by now.
        std::env::set_current_dir("/").context("cannot change to /")?;
    }
    raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let idle = serve.until_idle.map(Duration::from_secs);
    runtime.block_on(host(config, options, place, idle))
}

async fn host(
    config: &Config,
    options: Options,
    place: Place,
    idle: Option<Duration>,
) -> anyhow::Result<ExitCode> {
    let mut signals = signals()?;
    let local = own(config, place).await?;
    let notes = config.notes.iter().chain(local.notes());
    let mut text: String = notes.map(|note| format!("{note}.\n")).collect();
    let server = match serve::start(local.handle(), &config.settings, options.clone()).await {
        Ok(server) => server,
        Err(error) => {
            local.end().await;
            return Err(error.into());
        }
    };
    if !options.sockets.is_empty() {
        tokio::spawn(host::remote::send_pending_prompts(crate::interactive::other(config)));
    }
    text += &greeting(&server, &options);
    // Nobody may read it.
    std::io::stdout().lock().write_all(text.as_bytes()).ok();
    loop {
        tokio::select! {
            () = server.stop_requested() => break,
            () = idled(&local, idle) => {
                tracing::info!("nothing runs any more and nobody looks: the host ends");
                break;
            }
            signal = signals.recv() => match signal {
                // A server outlives its terminal.
                Some(nix::libc::SIGHUP) => {}
                Some(_) | None => break,
            },
        }
    }
    // Front ends see how turns end.
    drain(&local, &mut signals).await;
    server.stop().await;
    local.end().await;
    Ok(ExitCode::SUCCESS)
}

/// Returns once nothing has run or waited, and nobody has looked, for that long.
async fn idled(local: &EmbeddedHost, idle: Option<Duration>) {
    let Some(idle) = idle else { return std::future::pending().await };
    let mut since = Instant::now();
    while since.elapsed() < idle {
        tokio::time::sleep(idle.min(LOOK)).await;
        let work = local.work().await.unwrap_or_default();
        if work.runs() || work.timers + work.views > 0 {
            since = Instant::now();
        }
    }
}

/// Opens the state folder; in the background once the process that started this one makes way.
/// For nobody else: where several start a host in place of one that was killed, those that come too
/// late must not take over when the first of them is asked to stop.
async fn own(config: &Config, place: Place) -> anyhow::Result<EmbeddedHost> {
    let starter = u32::try_from(nix::unistd::getppid().as_raw()).ok();
    let end = Instant::now() + MAKE_WAY;
    loop {
        match host::embedded::start(config.settings.clone(), Role::Owner) {
            Err(StartError::Held { pid, .. })
                if place == Place::Background
                    && (pid.is_none() || pid == starter)
                    && Instant::now() < end =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            started => return Ok(started?),
        }
    }
}

/// Where to listen and whom to let in.
fn options(serve: &args::Serve, env: &Env, dirs: &Dirs) -> anyhow::Result<Options> {
    let tcp = (!serve.no_tcp).then(|| SocketAddr::new(serve.host, serve.port));
    let password = if serve.no_tcp { None } else { password(serve, env, dirs)? };
    if let Some(tcp) = tcp
        && !tcp.ip().is_loopback()
        && password.is_none()
    {
        return Err(Usage(serve::Error::PasswordRequired(tcp).to_string()).into());
    }
    let mut sockets = vec![socket_path(&dirs.state)];
    if let Some(path) = &serve.socket {
        let path = absolute(path)?;
        // The lock says whose the other one is; this one may be another host's.
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(
                Usage(format!("--socket {}: somebody listens there", path.display())).into()
            );
        }
        sockets.push(path);
    }
    Ok(Options { tcp, sockets, password, version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// What clients over TCP must know, if anything.
fn password(serve: &args::Serve, env: &Env, dirs: &Dirs) -> anyhow::Result<Option<String>> {
    if let Some(path) = &serve.password_file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Usage(format!("--password-file {}: {error}", path.display())))?;
        let line = text.lines().next().unwrap_or_default().trim_end().to_owned();
        let empty =
            || Usage(format!("--password-file {}: its first line is empty", path.display()));
        return if line.is_empty() { Err(empty().into()) } else { Ok(Some(line)) };
    }
    let file = std::fs::read_to_string(dirs.env_file()).unwrap_or_default();
    let env = env.clone().with_file(&file);
    Ok(PASSWORDS.iter().find_map(|name| env.get(name)).map(str::to_owned))
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))
}

/// What is said once everything listens.
fn greeting(server: &Server, options: &Options) -> String {
    let address = server.address().map(|address| format!("Listening on http://{address}"));
    let open = (address.is_some() && options.password.is_none())
        .then(|| "Everybody on this machine can use it: a password changes that.".to_owned());
    let sockets = options.sockets.iter().map(|path| format!("Listening on {}", path.display()));
    let lines: Vec<_> = address.into_iter().chain(open).chain(sockets).collect();
    lines.join("\n") + "\n"
}

/// Starts the same without `--detach` in the background, and waits until it listens.
fn background(config: &Config, dirs: &Dirs) -> anyhow::Result<ExitCode> {
    let state = &config.settings.state;
    if let Some(pid) = Lock::holder(&state.join("host.lock")) {
        return Err(StartError::Held { state: state.clone(), pid: Some(pid) }.into());
    }
    let words = std::env::args_os().skip(1).filter(|word| word != "--detach");
    let words: Vec<OsString> = words.collect();
    let mut detached = detach::start(&config.settings.exe, dirs, &words)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let status = runtime.block_on(detached.answers(state))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "A host runs in the background: process {}.", detached.pid())?;
    if let Some(address) = status["address"].as_str() {
        writeln!(out, "It listens on http://{address}.")?;
    }
    writeln!(out, "`hermes-tui host stop` ends it.")?;
    Ok(ExitCode::SUCCESS)
}

/// Each stream of events is an open file: allow as many as the system does.
fn raise_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!("the number of open files stays as it is: {error}");
    }
}
