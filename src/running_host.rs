//! An interface on a host that another process runs: what of this command line is asked of that
//! host, and what its user is told at first because it differs from an embedded one. What changes
//! where or how something runs is never ignored in silence.

use host::remote::Probe;
use protocol::View;
use protocol::{Command, Target};

use crate::args;

/// Our version.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// Where the host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// On this state folder.
    Here,
    /// Behind a URL or somebody else's socket.
    There,
}

/// What the user should know from the start.
pub(crate) fn notes(probe: &Probe, run: &args::Run, place: Where) -> Vec<String> {
    // The versions of a hermes-webui are no news: it is another program.
    let version = probe.version.as_deref().filter(|_| probe.tui);
    let version = version.and_then(|theirs| versions(OWN, theirs, place));
    version.into_iter().chain(unheeded(run, place)).collect()
}

/// What to say of a host of another version.
fn versions(own: &str, theirs: &str, place: Where) -> Option<String> {
    if own == theirs || theirs.is_empty() {
        return None;
    }
    let numbers = |version: &str| -> Vec<u64> {
        let core = version.split(['-', '+']).next().unwrap_or_default();
        core.split('.').map(|n| n.parse().unwrap_or(0)).collect()
    };
    let is_older = numbers(theirs) < numbers(own);
    let what = match (place, is_older) {
        (Where::Here, true) => {
            "`hermes-tui host stop` ends it, and the next start is of this version"
        }
        (Where::There, true) => "what it does not know yet is refused there",
        (Where::Here | Where::There, false) => "what this does not know yet is left out here",
    };
    let theirs: String = theirs.chars().take(40).collect();
    Some(format!("the host runs {theirs}, this is {own}: {what}"))
}

/// The flags that only a host of our own would heed, in a line.
fn unheeded(run: &args::Run, place: Where) -> Option<String> {
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
    let does = if others.is_empty() { "has" } else { "have" };
    let why = match place {
        Where::Here => {
            "the host that runs already has settings of its own (`hermes-tui host stop` ends it, \
             the next start takes yours)"
        }
        Where::There => "the host there has settings of its own",
    };
    Some(format!("{list} {does} no effect: {why}"))
}

/// What a command line asks of a host that runs already.
pub(crate) fn set_up(host: &View, run: &args::Run) {
    set_model(host, run);
    if run.yolo {
        host.send(Command::SetYolo { yolo: true });
    }
}

/// A new session of a host on this machine works where this interface was started.
pub(crate) fn set_cwd(host: &View, target: &Target) {
    if *target == Target::New
        && let Ok(cwd) = std::env::current_dir()
    {
        host.send(Command::SetCwd { cwd: cwd.display().to_string() });
    }
}

/// A session that is gone on with keeps its model unless the command line names one.
pub(crate) fn set_model(host: &View, run: &args::Run) {
    if let Some(model) = &run.model {
        host.send(Command::SetModel { model: model.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_told_in_a_line_in_both_directions() {
        let here = |theirs| versions("0.4.0", theirs, Where::Here);
        assert_eq!(here("0.4.0"), None);
        let older = here("0.3.12").unwrap();
        assert!(older.starts_with("the host runs 0.3.12, this is 0.4.0"), "{older}");
        assert!(older.contains("`hermes-tui host stop`"), "{older}");
        let newer = here("0.10.0").unwrap();
        assert!(newer.starts_with("the host runs 0.10.0, this is 0.4.0"), "{newer}");
        assert!(!newer.contains("stop"), "{newer}");
        let there = versions("0.4.0", "0.3.0", Where::There).unwrap();
        assert!(!there.contains("host stop"), "it is not ours to stop: {there}");
    }

    #[test]
    fn flags_that_a_running_host_cannot_heed_are_named_and_no_others() {
        let all = args::Run {
            model: Some("m".to_owned()),
            yolo: true,
            provider: Some("p".to_owned()),
            max_turns: Some(3),
            local_terminal: true,
            ignore_rules: true,
            ..args::Run::default()
        };
        let said = unheeded(&all, Where::Here).unwrap();
        let list = "--provider, --max-turns, --local-terminal and --ignore-rules have no effect";
        assert!(said.starts_with(list), "{said}");
        let one = args::Run { max_turns: Some(3), ..args::Run::default() };
        assert!(unheeded(&one, Where::There).unwrap().starts_with("--max-turns has no effect"));
        let heeded = args::Run { provider: None, ..all };
        let heeded =
            args::Run { max_turns: None, local_terminal: false, ignore_rules: false, ..heeded };
        assert_eq!(unheeded(&heeded, Where::Here), None);
    }
}
