//! The login to a remote host, while there is still a plain terminal to ask in.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use host::remote::http::Error;
use host::remote::{self, Login, Probe, Server};
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::{refusal, refused_by};
use crate::args;
use crate::env::Env;
use crate::exit::{Interrupted, Usage};

/// How often a password may be typed.
const TRIES: u32 = 3;

/// Logs in where that is necessary, before anything else is asked of the server.
pub(super) async fn log_in(
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
        Login::Browser(instructions) => return Err(Usage(instructions.clone()).into()),
        Login::Password if attach.cookie.is_some() => {
            let text = "the server does not accept this cookie: it has expired or belongs to another server";
            return Err(Usage(text.to_owned()).into());
        }
        Login::Password => {}
    }
    if server.url.starts_with("http://") && !is_local(server) {
        print(&format!("Warning: nothing sent to {} is encrypted.", server.name()));
    }
    if let Some(password) = given_password(attach, env)? {
        let done = remote::login(server, &password).await;
        return done.map(|()| probe).map_err(|error| refused_by(server, error));
    }
    if !io::stdin().is_terminal() {
        return Err(Usage(format!(
            "{} needs a password: set HERMES_TUI_PASSWORD or use --password-stdin",
            server.name()
        ))
        .into());
    }
    for _ in 0..TRIES {
        let password = ask(&format!("Password for {}: ", server.name()), signals).await?;
        match remote::login(server, &password).await {
            Ok(()) => return Ok(probe),
            Err(Error::Auth(why)) => print(&why),
            Err(error) => return Err(refused_by(server, error)),
        }
    }
    Err(Usage(format!("{} refused {TRIES} passwords", server.name())).into())
}

/// The password from standard input or the environment, if it is given there.
fn given_password(attach: &args::Attach, env: &Env) -> anyhow::Result<Option<String>> {
    if !attach.password_stdin {
        return Ok(env.get("HERMES_TUI_PASSWORD").map(str::to_owned));
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("cannot read the password")?;
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Asks for a line that is not shown.
async fn ask(question: &str, signals: &mut UnboundedReceiver<i32>) -> anyhow::Result<String> {
    let hidden = NoEcho::begin().context("cannot hide what is typed")?;
    write!(io::stderr(), "{question}")?;
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
struct NoEcho(Termios);

impl NoEcho {
    fn begin() -> nix::Result<Self> {
        let stdin = io::stdin();
        let before = termios::tcgetattr(stdin.as_fd())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        silent.local_flags.insert(LocalFlags::ICANON | LocalFlags::ISIG);
        termios::tcsetattr(stdin.as_fd(), SetArg::TCSAFLUSH, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        termios::tcsetattr(io::stdin().as_fd(), SetArg::TCSAFLUSH, &self.0).ok();
    }
}

fn is_local(server: &Server) -> bool {
    let local = ["http://localhost", "http://127.", "http://[::1]"];
    server.socket.is_some() || local.iter().any(|start| server.url.starts_with(start))
}

fn print(text: &str) {
    writeln!(io::stderr(), "{}", host::redact::plain(text)).ok();
}
