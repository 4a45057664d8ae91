//! `attach`: the interface on a host elsewhere. Finds out what is there and logs in while there is
//! still a plain terminal to ask in; then the interface opens as on the embedded host.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use host::remote::http::Error;
use host::remote::{self, Login, Probe, Server};
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use protocol::View;
use protocol::{SessionId, Target};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tui::{Exit, ExitMode, Interface};

use crate::dirs::Dirs;
use crate::env::Env;
use crate::interactive::save_drafts;
use crate::running_host::{self, Where};
use crate::signals::Suspension;
use crate::{Interrupted, Usage, args, drafts, interactive, signals};

/// How often a password may be typed.
const TRIES: u32 = 3;

/// Runs the interface until the user leaves.
pub(crate) fn run(
    attach: &args::Attach,
    run: &args::Run,
    dirs: &Dirs,
    env: &Env,
) -> anyhow::Result<ExitCode> {
    let mut server = Server::parse(&attach.url, &dirs.state).map_err(refusal)?;
    server.ca.clone_from(&attach.ca);
    server.insecure = attach.insecure;
    server.timing = env.timing().map_err(Usage)?;
    let mut suspension = signals::Suspension::take_over()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        let mut signals = signals::signals()?;
        let probe = log_in(&server, attach, env, &mut signals).await?;
        let is_terminal =
            io::stdout().is_terminal() && (io::stdin().is_terminal() || attach.password_stdin);
        anyhow::ensure!(is_terminal, Usage("the interface needs a terminal".to_owned()));
        let mut notes = Vec::new();
        if server.insecure {
            notes.push(
                "Certificates are not checked (--insecure): others may read and change what is \
                 said."
                    .to_owned(),
            );
        }
        notes.extend(running_host::notes(&probe, run, Where::There));
        let target = target(&server, probe.tui, run).await?;
        let folder = server.dir();
        let (host, remote) = remote::start(server.clone(), target);
        running_host::set_up(&host, run);
        let parted = view(host, server.name(), &folder, notes, &mut signals, &mut suspension).await;
        let kept = remote.end().await;
        farewell(&parted, &kept, &server)
    });
    // A thread may still wait for a line that nobody will type.
    runtime.shutdown_background();
    ended
}

/// Which session is meant. The server is asked before the interface opens: it must not begin with
/// another one.
async fn target(server: &Server, tui: bool, run: &args::Run) -> anyhow::Result<Target> {
    Ok(match &run.resume {
        Some(name) => {
            let found = remote::find(server, tui, name).await;
            match found.map_err(|error| refused_by(server, error))? {
                Some(id) => Target::Id(id),
                None => anyhow::bail!(
                    "{} has no session {}; without -r the interface lists what there is",
                    server.name(),
                    host::redact::plain(name)
                ),
            }
        }
        None if run.continue_ => Target::Latest,
        None => Target::New,
    })
}

/// How the interface on a host elsewhere was left.
struct Parted {
    /// By the user, or by a signal.
    ended: Result<Exit, i32>,
    /// What to resume.
    session: Option<SessionId>,
    /// What of it goes on there.
    goes_on: Option<String>,
}

/// Runs the interface on a host elsewhere until the user leaves or a signal comes. What is being
/// written then is kept in `folder`.
async fn view(
    mut host: View,
    place: String,
    folder: &Path,
    notes: Vec<String>,
    signals: &mut UnboundedReceiver<i32>,
    suspension: &mut Suspension,
) -> Parted {
    let mut kept = drafts::load(folder);
    let options =
        tui::Options { host_name: Some(place), ..interactive::options(notes, true, kept.clone()) };
    let mut interface = Interface::new(options);
    let ended = loop {
        // What ends the run drops the interface's hold on the terminal.
        tokio::select! {
            exit = interface.run(&mut host) => match exit {
                Ok(exit) if exit.mode == ExitMode::Suspend => {}
                Ok(exit) => break Ok(exit),
                Err(error) => {
                    // The terminal may be gone before the signal that says so is here.
                    tracing::info!("the terminal is gone: {error}");
                    break Err(nix::libc::SIGHUP);
                }
            },
            signal = signals.recv() => break Err(signal.unwrap_or_default()),
            () = suspension.asked() => {}
        }
        save_drafts(folder, &mut kept, &interface);
        if let Err(error) = suspension.suspend().await {
            tracing::warn!("{error:#}");
        }
    };
    save_drafts(folder, &mut kept, &interface);
    Parted { ended, session: interface.session(), goes_on: interface.still_running() }
}

/// Makes sure that the server knows us, before anything else is asked of it.
async fn log_in(
    server: &Server,
    attach: &args::Attach,
    env: &Env,
    signals: &mut UnboundedReceiver<i32>,
) -> anyhow::Result<Probe> {
    if let Some(cookie) = &attach.cookie
        && !remote::use_cookie(server, cookie).map_err(refusal)?
    {
        return Err(Usage("--cookie takes NAME=VALUE, as a browser shows it".to_owned()).into());
    }
    let probe = remote::probe(server).await.map_err(|error| refused_by(server, error))?;
    match &probe.login {
        Login::Done => return Ok(probe),
        Login::Browser(what) => return Err(Usage(what.clone()).into()),
        Login::Password if attach.cookie.is_some() => {
            return Err(Usage(
                "the server does not know this cookie: it has expired or belongs elsewhere"
                    .to_owned(),
            )
            .into());
        }
        Login::Password => {}
    }
    if server.url.starts_with("http://") && !is_local(server) {
        say(&format!("Mind: nothing that goes to {} is encrypted.", server.name()));
    }
    let given = if attach.password_stdin {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).context("cannot read the password")?;
        Some(line.trim_end_matches(['\r', '\n']).to_owned())
    } else {
        env.get("HERMES_TUI_PASSWORD").map(str::to_owned)
    };
    if let Some(password) = given {
        let done = remote::login(server, &password).await;
        return done.map(|()| probe).map_err(|error| refused_by(server, error));
    }
    if !io::stdin().is_terminal() {
        return Err(Usage(format!(
            "{} wants a password: set HERMES_TUI_PASSWORD or use --password-stdin",
            server.name()
        ))
        .into());
    }
    for _ in 0..TRIES {
        let password = ask(&format!("Password for {}: ", server.name()), signals).await?;
        match remote::login(server, &password).await {
            Ok(()) => return Ok(probe),
            Err(Error::Auth(why)) => say(&why),
            Err(error) => return Err(refused_by(server, error)),
        }
    }
    Err(Usage("no login".to_owned()).into())
}

/// Asks for a line that is not shown.
async fn ask(what: &str, signals: &mut UnboundedReceiver<i32>) -> anyhow::Result<String> {
    let hidden = Hidden::begin().context("cannot hide what is typed")?;
    write!(io::stderr(), "{what}")?;
    let (tx, typed) = oneshot::channel();
    // Nothing can wake a thread from its wait for a line.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        tx.send(read.map(|_| line)).ok();
    });
    let line = tokio::select! {
        line = typed => line.context("cannot read the password")?,
        _ = signals.recv() => Ok(String::new()),
    };
    drop(hidden);
    writeln!(io::stderr())?;
    let line = line.context("cannot read the password")?;
    if !line.ends_with('\n') {
        // The end of the input, or Ctrl-C.
        return Err(Interrupted.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> nix::Result<Self> {
        let stdin = io::stdin();
        let before = termios::tcgetattr(stdin.as_fd())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        quiet.local_flags.insert(LocalFlags::ICANON | LocalFlags::ISIG);
        termios::tcsetattr(stdin.as_fd(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        termios::tcsetattr(io::stdin().as_fd(), SetArg::TCSAFLUSH, &self.0).ok();
    }
}

fn is_local(server: &Server) -> bool {
    let local = ["http://localhost", "http://127.", "http://[::1]"];
    server.socket.is_some() || local.iter().any(|start| server.url.starts_with(start))
}

/// Whether an id that a server has made up is safe to show, and to be copied into a shell.
fn is_word(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    id.starts_with(|c: char| c.is_ascii_alphanumeric()) && id.chars().all(plain)
}

fn say(text: &str) {
    writeln!(io::stderr(), "{}", host::redact::plain(text)).ok();
}

/// Nothing was run: exit code 2.
fn refusal(error: Error) -> anyhow::Error {
    Usage(error.to_string()).into()
}

fn refused_by(server: &Server, error: Error) -> anyhow::Error {
    let name = server.name();
    let text = match error {
        Error::Unreachable { why, .. } => format!("cannot reach {name}: {why}"),
        Error::Url(why) | Error::Setup(why) => why,
        other => format!("{name}: {other}"),
    };
    Usage(text).into()
}

/// What is said once the terminal is the shell's again, if it still is. `kept` goes out with the
/// next attach.
fn farewell(parted: &Parted, kept: &[String], server: &Server) -> anyhow::Result<ExitCode> {
    let unsent = parted.ended.iter().flat_map(|exit| &exit.unsent);
    let mut lines: Vec<String> = unsent
        .filter(|text| !kept.contains(text))
        .map(|text| format!("Not sent: {}", host::redact::plain(text)))
        .collect();
    for text in kept {
        let text = host::redact::plain(text);
        lines.push(format!("Not sent yet, goes out with the next attach: {text}"));
    }
    if let Some(goes_on) = &parted.goes_on {
        lines.push(goes_on.clone());
    }
    if let Some(session) = parted.session.as_ref().filter(|session| is_word(&session.0)) {
        lines.push(format!("Go on with: {} --resume {session}", way(server)));
    }
    let mut stdout = io::stdout().lock();
    let said = lines.iter().try_for_each(|line| writeln!(stdout, "{line}"));
    match &parted.ended {
        Ok(exit) => {
            said?;
            anyhow::ensure!(!exit.host_stopped, "the connection ended; what is stored is safe");
            Ok(ExitCode::SUCCESS)
        }
        // The terminal may be gone.
        Err(signal) => Ok(interactive::by(*signal)),
    }
}

/// The command line that leads to a server again.
fn way(server: &Server) -> String {
    let mut words = vec!["hermes-tui attach".to_owned(), quoted(&server.name())];
    if let Some(ca) = &server.ca {
        words.push(format!("--ca {}", quoted(&ca.display().to_string())));
    }
    if server.insecure {
        words.push("--insecure".to_owned());
    }
    words.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let word = host::redact::plain(word);
    let is_plain = |c: char| c.is_alphanumeric() || "/:._-~%@+,=".contains(c);
    if !word.is_empty() && !word.starts_with('~') && word.chars().all(is_plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_a_line_for_a_shell_with_all_that_leads_there() {
        let server = |text| Server::parse(text, Path::new("/s")).unwrap();
        let mut tls = server("https://box/a%20b");
        assert_eq!(way(&tls), "hermes-tui attach https://box/a%20b");
        tls.ca = Some("/my ca/it's.pem".into());
        tls.insecure = true;
        let line = r"hermes-tui attach https://box/a%20b --ca '/my ca/it'\''s.pem' --insecure";
        assert_eq!(way(&tls), line);
        assert_eq!(way(&server("/run/my host.sock")), "hermes-tui attach '/run/my host.sock'");
    }

    #[test]
    fn an_id_that_a_terminal_or_a_shell_would_obey_is_not_shown() {
        for id in ["20260102_030405_abcdef", "a1b2c3", "cron:7"] {
            assert!(is_word(id), "{id}");
        }
        for id in ["", "a\x1b]0;x\x07", "a\u{9b}2J", "a; rm b", "$(id)", "a\nb", "--yolo", "a b"] {
            assert!(!is_word(id), "{id:?}");
        }
    }
}
