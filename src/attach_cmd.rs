//! `attach`: the interface on a remote host. Logs in on the plain terminal (`login`); then the
//! interface opens as on an embedded host.

mod login;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use host::remote::http::Error;
use host::remote::{self, Probe, Server};
use protocol::{SessionId, Target, View};
use tokio::sync::mpsc::UnboundedReceiver;
use tui::{Exit, ExitMode, Interface};

use crate::config::Own;
use crate::dirs::Dirs;
use crate::env::Env;
use crate::exit::{self, Usage};
use crate::interface;
use crate::running_host::{self, Location};
use crate::signals::Suspension;
use crate::{args, drafts, signals};

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
        let probe = login::log_in(&server, attach, env, &mut signals).await?;
        let is_terminal =
            io::stdout().is_terminal() && (io::stdin().is_terminal() || attach.password_stdin);
        anyhow::ensure!(is_terminal, Usage("the interface needs a terminal".to_owned()));
        let target = target(&server, probe.tui, run).await?;
        let drafts = server.drafts();
        let options = options(&server, &probe, run, dirs, env);
        let options = tui::Options { drafts: drafts::load(&drafts), ..options };
        let (view, remote) = remote::start(server.clone(), target);
        running_host::apply_flags(&view, run);
        let parting = show(view, options, &drafts, &mut signals, &mut suspension).await;
        let kept = remote.end().await;
        farewell(&parting, &kept, &server)
    });
    // A thread may still wait for a line that nobody will type.
    runtime.shutdown_background();
    ended
}

/// The options of the interface, with all that the user should know from the start. Of this
/// machine's config only what concerns the interface itself is in effect.
fn options(
    server: &Server,
    probe: &Probe,
    run: &args::Run,
    dirs: &Dirs,
    env: &Env,
) -> tui::Options {
    let mut notes = Vec::new();
    if server.insecure {
        let text = "Certificates are not checked (--insecure): others may read and change \
                    everything that is sent.";
        notes.push(text.to_owned());
    }
    notes.extend(running_host::notes(probe, run, Location::Remote));
    let (own, problems) = Own::load(dirs, env);
    notes.extend(problems.iter().map(ToString::to_string));
    let options = interface::options(notes, true, drafts::Drafts::new());
    tui::Options { host_name: Some(server.name()), follow: own.follow, ..options }
}

/// The session to open. The server is asked before the interface opens, so that it does not begin
/// with another session.
async fn target(server: &Server, tui: bool, run: &args::Run) -> anyhow::Result<Target> {
    Ok(match &run.resume {
        Some(name) => {
            let found = remote::find(server, tui, name).await;
            match found.map_err(|error| refused_by(server, error))? {
                Some(id) => Target::Id(id),
                None => anyhow::bail!(
                    "{} has no session {}; the interface without -r lists them",
                    server.name(),
                    host::redact::plain(name)
                ),
            }
        }
        None if run.continue_ => Target::Latest,
        None => Target::New,
    })
}

/// How the interface on a remote host ended.
struct Parting {
    /// By the user, or by a signal.
    ended: Result<Exit, i32>,
    /// The session to resume.
    session: Option<SessionId>,
    /// What goes on in it, as a sentence.
    running: Option<String>,
}

/// Runs the interface until the user leaves or a signal arrives. What is being typed then is kept
/// in the directory `drafts`.
async fn show(
    mut view: View,
    options: tui::Options,
    drafts: &Path,
    signals: &mut UnboundedReceiver<i32>,
    suspension: &mut Suspension,
) -> Parting {
    let mut saved = options.drafts.clone();
    let mut interface = Interface::new(options);
    let ended = loop {
        // Whatever ends the run also releases the terminal.
        tokio::select! {
            exit = interface.run(&mut view) => match exit {
                Ok(exit) if exit.mode == ExitMode::Suspend => {}
                Ok(exit) => break Ok(exit),
                Err(error) => {
                    // The terminal may be gone before the signal that says so arrives.
                    tracing::info!("the terminal is gone: {error}");
                    break Err(nix::libc::SIGHUP);
                }
            },
            signal = signals.recv() => break Err(signal.unwrap_or_default()),
            () = suspension.asked() => {}
        }
        interface::save_drafts(drafts, &mut saved, &interface);
        if let Err(error) = suspension.suspend().await {
            tracing::warn!("{error:#}");
        }
    };
    interface::save_drafts(drafts, &mut saved, &interface);
    Parting { ended, session: interface.session(), running: interface.still_running() }
}

/// Whether an id that a server has made up is safe to show and to copy into a shell.
fn is_word(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    id.starts_with(|c: char| c.is_ascii_alphanumeric()) && id.chars().all(plain)
}

/// An error before anything was run.
fn refusal(error: Error) -> anyhow::Error {
    Usage(error.to_string()).into()
}

/// An error of a server, with its name.
fn refused_by(server: &Server, error: Error) -> anyhow::Error {
    let name = server.name();
    let text = match error {
        Error::Unreachable { why, .. } => format!("cannot reach {name}: {why}"),
        Error::Url(why) | Error::Setup(why) => why,
        other => format!("{name}: {other}"),
    };
    Usage(text).into()
}

/// Prints what the user should know once the terminal is the shell's again, if it still is.
/// Prompts in `kept` are sent at the next attach.
fn farewell(parting: &Parting, kept: &[String], server: &Server) -> anyhow::Result<ExitCode> {
    let unsent = parting.ended.as_ref().map_or(&[][..], |exit| &exit.unsent);
    let mut lines = interface::unsent(unsent, kept, "attach");
    lines.extend(parting.running.clone());
    if let Some(session) = parting.session.as_ref().filter(|session| is_word(&session.0)) {
        lines.push(format!("Resume with: {} --resume {session}", command_line(server)));
    }
    let mut stdout = io::stdout().lock();
    let printed = lines.iter().try_for_each(|line| writeln!(stdout, "{line}"));
    match &parting.ended {
        Ok(exit) => {
            printed?;
            anyhow::ensure!(!exit.host_stopped, "the connection ended; everything stored is safe");
            Ok(ExitCode::SUCCESS)
        }
        // The terminal may be gone.
        Err(signal) => Ok(exit::from_signal(*signal)),
    }
}

/// The command line that attaches to a server again.
fn command_line(server: &Server) -> String {
    let mut words = vec!["hermes-tui attach".to_owned(), quoted(&server.name())];
    if let Some(ca) = &server.ca {
        words.push(format!("--ca {}", quoted(&ca.display().to_string())));
    }
    if server.insecure {
        words.push("--insecure".to_owned());
    }
    words.join(" ")
}

/// A word quoted for a shell.
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
    use host::state_dir::StateDir;

    use super::*;
    use crate::dirs::Owner;

    #[test]
    fn the_command_to_attach_again_is_quoted_for_a_shell() {
        let server = |text| Server::parse(text, &StateDir::new("/s")).unwrap();
        let mut tls = server("https://box/a%20b");
        assert_eq!(command_line(&tls), "hermes-tui attach https://box/a%20b");
        tls.ca = Some("/my ca/it's.pem".into());
        tls.insecure = true;
        let line = r"hermes-tui attach https://box/a%20b --ca '/my ca/it'\''s.pem' --insecure";
        assert_eq!(command_line(&tls), line);
        assert_eq!(
            command_line(&server("/run/my host.sock")),
            "hermes-tui attach '/run/my host.sock'"
        );
    }

    // S04
    #[test]
    fn attach_honours_follow_and_reports_wrong_keys_of_ours() {
        let home = tempfile::tempdir().unwrap();
        let state = StateDir::new(home.path().join("state"));
        let config = home.path().to_owned();
        let dirs = Dirs { home: config.clone(), owner: Owner::Own, state, user: config };
        let server = Server::parse("https://box", &dirs.state).unwrap();
        let probe =
            Probe { tui: true, version: None, started_at: None, login: remote::Login::Done };
        let options = |config: &str| {
            std::fs::write(dirs.config(), config).unwrap();
            options(&server, &probe, &args::Run::default(), &dirs, &Env::default())
        };
        assert!(!options("").follow);
        // What is wrong elsewhere concerns the host of this machine alone.
        let honoured = options("hermes_tui: {follow: true}\nagent: {max_turns: many}\n");
        assert!(honoured.follow && honoured.notes.is_empty(), "{:?}", honoured.notes);
        let wrong = options("hermes_tui: {follow: often}\n");
        assert!(!wrong.follow && wrong.notes[0].contains("hermes_tui.follow"), "{:?}", wrong.notes);
        assert!(options("a: [").notes[0].contains("config.yaml"));
    }

    #[test]
    fn an_id_that_a_terminal_or_shell_would_obey_is_hidden() {
        for id in ["20260102_030405_abcdef", "a1b2c3", "cron:7"] {
            assert!(is_word(id), "{id}");
        }
        for id in ["", "a\x1b]0;x\x07", "a\u{9b}2J", "a; rm b", "$(id)", "a\nb", "--yolo", "a b"] {
            assert!(!is_word(id), "{id:?}");
        }
    }
}
