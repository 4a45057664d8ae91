//! The host that another process runs: how it is reached, what this command line changes on it,
//! and what its user is told because it differs from an embedded one. A setting that changes
//! where or how something runs is never ignored silently.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use host::remote::{self, Probe};
use host::settings::Settings;
use host::state_dir::StateDir;
use host::store::Lock;
use protocol::{Command, Target, View};
use serde_json::Value;

use crate::args;

/// Our version.
const OWN: &str = env!("CARGO_PKG_VERSION");
/// How long a host may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Where the host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// On this state directory.
    Local,
    /// Behind a URL or the socket of another user.
    Remote,
}

/// The socket of the host that owns a state directory: where its lock says, else the usual place.
pub(crate) fn socket(state: &StateDir) -> PathBuf {
    Lock::place(&state.host_lock()).unwrap_or_else(|| state.socket())
}

/// The host that owns a state directory, as a server to attach to.
pub(crate) fn server(settings: &Settings) -> remote::Server {
    remote::Server {
        url: "http://localhost".to_owned(),
        socket: Some(socket(&settings.state)),
        ca: None,
        insecure: false,
        state: settings.state.clone(),
        timing: settings.timing,
    }
}

/// Whether a process was stopped by a signal, as by Ctrl+Z.
pub(crate) fn is_suspended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// The status that the host of a state directory reports.
pub(crate) async fn status(state: &StateDir) -> anyhow::Result<Value> {
    request(state, reqwest::Method::GET, "/api/tui/v1/status").await
}

/// Asks the host of a state directory to stop. Returns once it has agreed, not once it has ended.
pub(crate) async fn stop(state: &StateDir) -> anyhow::Result<()> {
    request(state, reqwest::Method::POST, "/api/tui/v1/stop").await?;
    Ok(())
}

async fn request(state: &StateDir, method: reqwest::Method, path: &str) -> anyhow::Result<Value> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(ANSWER)
        .unix_socket(socket(state))
        .build()
        .context("cannot create an HTTP client")?;
    let answer = client.request(method, format!("http://localhost{path}")).send().await?;
    Ok(answer.error_for_status()?.json().await?)
}

/// What the user should know from the start.
pub(crate) fn notes(probe: &Probe, run: &args::Run, location: Location) -> Vec<String> {
    // A hermes-webui is another program: its version says nothing about ours.
    let version = probe.version.as_deref().filter(|_| probe.tui);
    let version = version.and_then(|theirs| version_note(OWN, theirs, location));
    version.into_iter().chain(ignored_flags(run, location)).collect()
}

/// A note on a host of another version.
fn version_note(own: &str, theirs: &str, location: Location) -> Option<String> {
    if own == theirs || theirs.is_empty() {
        return None;
    }
    let numbers = |version: &str| -> Vec<u64> {
        let core = version.split(['-', '+']).next().unwrap_or_default();
        core.split('.').map(|n| n.parse().unwrap_or(0)).collect()
    };
    let is_older = numbers(theirs) < numbers(own);
    let effect = match (location, is_older) {
        (Location::Local, true) => {
            "`hermes-tui host stop` stops it; the next start then uses this version"
        }
        (Location::Remote, true) => "it refuses commands that it does not know yet",
        (Location::Local | Location::Remote, false) => {
            "what this version does not know is not shown"
        }
    };
    let theirs: String = theirs.chars().take(40).collect();
    Some(format!("the host runs {theirs}, this is {own}: {effect}"))
}

/// A note on flags that only an embedded host takes.
fn ignored_flags(run: &args::Run, location: Location) -> Option<String> {
    let flags = [
        ("--provider", run.provider.is_some()),
        ("--max-turns", run.max_turns.is_some()),
        ("--local-terminal", run.local_terminal),
        ("--ignore-rules", run.ignore_rules),
    ];
    let given: Vec<_> = flags.iter().filter(|(_, given)| *given).map(|(flag, _)| *flag).collect();
    let (last, others) = given.split_last()?;
    let list = match others {
        [] => (*last).to_owned(),
        _ => format!("{} and {last}", others.join(", ")),
    };
    let verb = if others.is_empty() { "has" } else { "have" };
    let why = match location {
        Location::Local => {
            "the host that is already running has its own settings (`hermes-tui host stop` stops \
             it, the next start uses yours)"
        }
        Location::Remote => "the remote host has settings of its own",
    };
    Some(format!("{list} {verb} no effect: {why}"))
}

/// Applies the flags of this command line that a running host takes.
pub(crate) fn apply_flags(view: &View, run: &args::Run) {
    set_model(view, run);
    if run.yolo {
        view.send(Command::SetYolo { yolo: true });
    }
}

/// Lets a new session of a host on this machine work where this interface was started.
pub(crate) fn set_cwd(view: &View, target: &Target) {
    if *target == Target::New
        && let Ok(cwd) = std::env::current_dir()
    {
        view.send(Command::SetCwd { cwd: cwd.display().to_string() });
    }
}

/// Sets the model that the command line names, if any: a resumed session has one of its own.
pub(crate) fn set_model(view: &View, run: &args::Run) {
    if let Some(model) = &run.model {
        view.send(Command::SetModel { model: model.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_another_version_is_named_in_one_line() {
        let local = |theirs| version_note("0.4.0", theirs, Location::Local);
        assert_eq!(local("0.4.0"), None);
        let older = local("0.3.12").unwrap();
        assert!(older.starts_with("the host runs 0.3.12, this is 0.4.0"), "{older}");
        assert!(older.contains("`hermes-tui host stop`"), "{older}");
        let newer = local("0.10.0").unwrap();
        assert!(newer.starts_with("the host runs 0.10.0, this is 0.4.0"), "{newer}");
        assert!(!newer.contains("stop"), "{newer}");
        let remote = version_note("0.4.0", "0.3.0", Location::Remote).unwrap();
        assert!(!remote.contains("host stop"), "it is not ours to stop: {remote}");
    }

    #[test]
    fn only_flags_that_a_running_host_ignores_are_named() {
        let all = args::Run {
            model: Some("m".to_owned()),
            yolo: true,
            provider: Some("p".to_owned()),
            max_turns: Some(3),
            local_terminal: true,
            ignore_rules: true,
            ..args::Run::default()
        };
        let note = ignored_flags(&all, Location::Local).unwrap();
        let list = "--provider, --max-turns, --local-terminal and --ignore-rules have no effect";
        assert!(note.starts_with(list), "{note}");
        let one = args::Run { max_turns: Some(3), ..args::Run::default() };
        assert!(
            ignored_flags(&one, Location::Remote).unwrap().starts_with("--max-turns has no effect")
        );
        let taken = args::Run { provider: None, ..all };
        let taken =
            args::Run { max_turns: None, local_terminal: false, ignore_rules: false, ..taken };
        assert_eq!(ignored_flags(&taken, Location::Local), None);
    }
}
