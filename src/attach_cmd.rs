//! `attach`: the interface on a host elsewhere. Finds out what is there and logs in while there is
//! still a plain terminal to ask in; then the interface opens as on the embedded host.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use anyhow::Context as _;
use host::protocol::{SessionId, Target};
use host::remote::http::Error;
use host::remote::{self, Login, Server};
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use crate::dirs::Dirs;
use crate::env::Env;
use crate::{Interrupted, Usage, args, interactive, signals};

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
    let mut suspension = signals::Suspension::take_over()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        let mut signals = signals::signals()?;
        log_in(&server, attach, env, &mut signals).await?;
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
        let folder = server.folder();
        let (host, remote) = remote::start(server.clone(), target(run));
        let ended =
            interactive::view(host, server.name(), &folder, notes, &mut signals, &mut suspension)
                .await;
        let kept = remote.end().await;
        match ended {
            Ok(exit) => farewell(&exit, &kept, &server),
            Err(signal) => Ok(ExitCode::from(128 + signal.to_le_bytes()[0])),
        }
    });
    // A thread may still wait for a line that nobody will type.
    runtime.shutdown_background();
    ended
}

fn target(run: &args::Run) -> Target {
    match &run.resume {
        Some(name) => Target::Id(SessionId(name.clone())),
        None if run.continue_ => Target::Latest,
        None => Target::New,
    }
}

/// Makes sure that the server knows us, before anything else is asked of it.
async fn log_in(
    server: &Server,
    attach: &args::Attach,
    env: &Env,
    signals: &mut UnboundedReceiver<i32>,
) -> anyhow::Result<()> {
    if let Some(cookie) = &attach.cookie
        && !remote::use_cookie(server, cookie).map_err(refusal)?
    {
        return Err(Usage("--cookie takes NAME=VALUE, as a browser shows it".to_owned()).into());
    }
    let probe = remote::probe(server).await.map_err(|error| refused_by(server, error))?;
    match probe.login {
        Login::Done => return Ok(()),
        Login::Browser(what) => return Err(Usage(what).into()),
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
        return remote::login(server, &password).await.map_err(|error| refused_by(server, error));
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
            Ok(()) => return Ok(()),
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

/// What is said once the terminal is the shell's again. `kept` goes out with the next attach.
fn farewell(exit: &tui::Exit, kept: &[String], server: &Server) -> anyhow::Result<ExitCode> {
    let mut stdout = io::stdout().lock();
    for text in exit.unsent.iter().filter(|text| !kept.contains(text)) {
        writeln!(stdout, "Not sent: {}", host::redact::plain(text))?;
    }
    for text in kept {
        let text = host::redact::plain(text);
        writeln!(stdout, "Not sent yet, goes out with the next attach: {text}")?;
    }
    if let Some(goes_on) = &exit.goes_on {
        writeln!(stdout, "{goes_on}")?;
    }
    if let Some(session) = exit.session.as_ref().filter(|session| is_word(&session.0)) {
        let name = host::redact::plain(&server.name());
        writeln!(stdout, "Go on with: hermes-tui attach {name} --resume {session}")?;
    }
    anyhow::ensure!(!exit.host_stopped, "the connection ended; what is stored is safe");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

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
