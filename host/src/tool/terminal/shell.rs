//! The shell of a session: one login environment per host, taken once, and what the session's
//! commands changed of it. Each command runs under plain `$SHELL -c`, since a login shell per
//! command costs tens of milliseconds and tears simultaneous exits apart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{Kind, Spec, Watch};
use crate::session::Shell;
use crate::tool::{CallContext, ToolContext};
use protocol::ProcessId;

/// How long a login shell may take to print its environment.
const LOGIN: Duration = Duration::from_secs(5);

/// Variables that belong to one shell process, not to the session.
const VOLATILE: &[&str] = &["_", "SHLVL", "PWD", "OLDPWD", "PPID", "BASHPID"];

/// The environment of a login shell, without what children must not get. Read once per host; if the
/// shell does not answer in time, the host's own is used.
pub(crate) async fn login(tools: &ToolContext) -> &[(String, String)] {
    let asked =
        tools.login.get_or_try_init(|| async { ask_login_shell(tools).await.ok_or(()) }).await;
    // The next command asks again.
    asked.map_or(&tools.terminal.env, |env| env)
}

async fn ask_login_shell(tools: &ToolContext) -> Option<Vec<(String, String)>> {
    let settings = &tools.terminal;
    let id = ProcessId::fresh();
    let file = tools.scratch.join(format!("{id}.login"));
    let spec = Spec {
        id: id.clone(),
        command: format!(
            "exec {} -lic {} </dev/null >/dev/null 2>&1",
            quoted(&settings.shell.display().to_string()),
            quoted(&format!("env -0 > {}", quoted(&file.display().to_string())))
        ),
        shell: PathBuf::from("/bin/sh"),
        cwd: PathBuf::from("/"),
        env: settings.env.clone(),
        pty: false,
        kind: Kind::Foreground,
        watch: Watch::default(),
    };
    let late = tools.processes.spawn(spec).await.is_ok()
        && tokio::time::timeout(LOGIN, tools.processes.wait(&id)).await.is_err();
    if late {
        tracing::warn!("the login shell did not print its environment in time");
        tools.processes.kill(&id).await;
    }
    let found = std::fs::read(&file).unwrap_or_default();
    std::fs::remove_file(&file).ok();
    tools.processes.acknowledge(&id);
    tools.processes.remove(&id);
    let mut env = variables(&found);
    if env.is_empty() {
        // A shell that hangs would hang again; a full disk passes.
        return late.then(|| settings.env.clone());
    }
    env.retain(|(name, _)| {
        !settings.withheld.contains(name)
            && !name.starts_with("HERMES_SESSION_")
            && !VOLATILE.contains(&name.as_str())
    });
    Some(env)
}

/// The shell that runs commands: the user's if it understands POSIX syntax.
pub(super) fn program(configured: &Path) -> PathBuf {
    let name = configured.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if matches!(name, "bash" | "zsh" | "dash" | "sh" | "ksh" | "mksh" | "ash") {
        return configured.to_owned();
    }
    ["/bin/bash", "/usr/bin/bash", "/bin/sh"]
        .iter()
        .map(PathBuf::from)
        .find(|p| p.exists())
        .unwrap_or_else(|| PathBuf::from("/bin/sh"))
}

/// The command with a trap that notes directory and environment when the shell ends.
pub(super) fn wrapped(command: &str, snapshot: &Path) -> String {
    let file = quoted(&snapshot.display().to_string());
    format!(
        "trap '{{ pwd; env -0; printf END; }} > {} 2>/dev/null' EXIT\n{command}",
        file.replace('\'', "'\\''")
    )
}

/// The complete environment of a child of this call (W25, W30).
pub(super) fn environment(
    base: &[(String, String)],
    ctx: &CallContext,
    pty: bool,
) -> Vec<(String, String)> {
    let mut env: BTreeMap<String, String> = base.iter().cloned().collect();
    for (name, value) in &ctx.plan.shell.env {
        match value {
            Some(value) => env.insert(name.clone(), value.clone()),
            None => env.remove(name),
        };
    }
    let session = ctx.link.session.0.as_str();
    for (name, value) in [
        ("HERMES_SESSION_ID", session),
        ("HERMES_SESSION_KEY", session),
        ("HERMES_SESSION_PLATFORM", "tui"),
        ("HERMES_SESSION_CHAT_ID", session),
        ("HERMES_SESSION_SOURCE", "tui"),
        ("PYTHONUNBUFFERED", "1"),
    ] {
        env.insert(name.to_owned(), value.to_owned());
    }
    if pty {
        env.insert("TERM".to_owned(), "xterm-256color".to_owned());
    }
    env.into_iter().collect()
}

/// The state that a command left: its directory and the variables that differ from the login ones.
/// `None` if it left nothing (it was killed, or replaced its shell).
pub(super) fn read_back(
    snapshot: &Path,
    base: &[(String, String)],
    before: &Shell,
) -> Option<Shell> {
    let found = std::fs::read(snapshot).ok()?;
    let end = found.iter().position(|b| *b == b'\n')?;
    let cwd = String::from_utf8(found[..end].to_vec()).ok()?;
    let rest = &found[end + 1..];
    // Cut short by a kill, or `env` was not found: the directory is all that is known.
    let Some(rest) = rest.strip_suffix(b"\0END") else {
        let shell = Shell { cwd, env: before.env.clone() };
        return (shell != *before).then_some(shell);
    };
    let ours = |name: &str| {
        name.starts_with("HERMES_SESSION_")
            || VOLATILE.contains(&name)
            || matches!(name, "PYTHONUNBUFFERED" | "TERM")
    };
    let base: BTreeMap<&str, &str> =
        base.iter().map(|(n, v)| (n.as_str(), v.as_str())).filter(|(n, _)| !ours(n)).collect();
    let after: BTreeMap<String, String> =
        variables(rest).into_iter().filter(|(n, _)| !ours(n)).collect();
    let mut env = BTreeMap::new();
    for (name, value) in &after {
        if base.get(name.as_str()) != Some(&value.as_str()) {
            env.insert(name.clone(), Some(value.clone()));
        }
    }
    for name in base.keys().filter(|n| !after.contains_key(**n)) {
        env.insert((*name).to_owned(), None);
    }
    let shell = Shell { cwd, env };
    (shell != *before).then_some(shell)
}

/// Parses what `env -0` prints. Exported functions are left out: not every shell can take them.
fn variables(bytes: &[u8]) -> Vec<(String, String)> {
    bytes
        .split(|b| *b == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
        .filter(|(name, _)| !name.is_empty() && !name.starts_with("BASH_FUNC_"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A word in single quotes.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_exported_or_unset_is_kept_and_the_rest_is_not() {
        // W30
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("snapshot");
        std::fs::write(&file, b"/work dir\nA=1\0B=two\nlines\0SHLVL=3\0HERMES_SESSION_ID=x\0END")
            .unwrap();
        let base = [("A", "1"), ("GONE", "x")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let shell = read_back(&file, &base, &Shell::default()).unwrap();
        assert_eq!(shell.cwd, "/work dir");
        let expected = [("B".to_owned(), Some("two\nlines".to_owned())), ("GONE".to_owned(), None)];
        assert_eq!(shell.env, BTreeMap::from(expected));
        assert_eq!(read_back(&file, &base, &shell), None);
    }

    #[test]
    fn a_broken_path_costs_no_variable() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("snapshot");
        let script = wrapped("PATH=/nowhere; cd /usr", &file);
        std::process::Command::new("/bin/sh").arg("-c").arg(script).status().unwrap();
        let kept = BTreeMap::from([("X".to_owned(), Some("1".to_owned()))]);
        let before = Shell { cwd: "/".to_owned(), env: kept.clone() };
        let base = [("HOME".to_owned(), "/home".to_owned())];
        let shell = read_back(&file, &base, &before).unwrap();
        assert_eq!(shell, Shell { cwd: "/usr".to_owned(), env: kept });
    }

    #[test]
    fn the_trap_survives_quotes_in_its_path_and_keeps_the_exit_code() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("it's here");
        let script = wrapped("cd /; export X='a b'; exit 3", &file);
        let status = std::process::Command::new("/bin/sh").arg("-c").arg(script).status().unwrap();
        assert_eq!(status.code(), Some(3));
        let shell = read_back(&file, &[], &Shell::default()).unwrap();
        assert_eq!(shell.cwd, "/");
        assert_eq!(shell.env.get("X"), Some(&Some("a b".to_owned())));
    }
}
