//! The doctor's checks of the running host, and whether one would outlive a logout.

use std::fs;
use std::path::{Path, PathBuf};

use host::state_dir::StateDir;
use host::store::Lock;

use super::{Check, note, ok};
use crate::running_host;

/// Directories of logind's settings below the root; later ones override earlier ones.
const LOGIND: [&str; 4] =
    ["usr/lib/systemd", "usr/local/lib/systemd", "run/systemd", "etc/systemd"];

/// All checks. `root` is `/`.
pub(super) fn checks(state: &StateDir, root: &Path) -> Vec<Check> {
    let mut checks = vec![running(state)];
    if let Some(file) = killer(root) {
        checks.push(note(
            "logout",
            format!(
                "KillUserProcesses=yes in {}: logind ends all your processes when you log out, \
                 including background hosts and commands. Set KillUserProcesses=no in \
                 /etc/systemd/logind.conf, or name yourself in KillExcludeUsers",
                file.display()
            ),
        ));
    }
    checks
}

fn running(state: &StateDir) -> Check {
    let lock = state.host_lock();
    let Some(pid) = Lock::holder(&lock) else { return ok("host", "not running") };
    let place = running_host::socket(state);
    if place.exists() {
        ok("host", format!("pid {pid}, listens on {}", place.display()))
    } else {
        note("host", format!("pid {pid}, does not listen: no other interface can attach"))
    }
}

/// The file that makes logind kill the processes of a user who logs out, if there is one.
fn killer(root: &Path) -> Option<PathBuf> {
    // Main files first: any file of a directory overrides all of them. Of equal names the last one
    // of the list counts.
    let mains = LOGIND.iter().map(|dir| root.join(dir).join("logind.conf"));
    let main = mains.rev().find(|path| path.is_file());
    let mut pieces: Vec<PathBuf> = Vec::new();
    for dir in LOGIND {
        let entries = fs::read_dir(root.join(dir).join("logind.conf.d")).into_iter().flatten();
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|ending| ending == "conf") {
                pieces.retain(|known| known.file_name() != path.file_name());
                pieces.push(path);
            }
        }
    }
    pieces.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    let mut found = None;
    for path in main.into_iter().chain(pieces) {
        match kills(&fs::read_to_string(&path).unwrap_or_default()) {
            Some(true) => found = Some(path),
            Some(false) => found = None,
            None => {}
        }
    }
    found
}

/// The setting in a file; an empty value is the default, which is no.
fn kills(text: &str) -> Option<bool> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("KillUserProcesses"));
    let values = lines.filter_map(|rest| rest.trim_start().strip_prefix('='));
    let value = values.reduce(|_, last| last)?.trim().to_ascii_lowercase();
    Some(matches!(value.as_str(), "yes" | "true" | "on" | "1" | "y" | "t"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_running_host_is_named_with_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        assert_eq!(running(&state).text, "not running");
        let mut lock = Lock::take(&state.host_lock()).unwrap();
        let check = running(&state);
        assert_eq!(check.state, State::Note, "{}", check.text);
        let socket = dir.path().join("s");
        fs::write(&socket, "").unwrap();
        lock.tell(&socket);
        let check = running(&state);
        let pid = std::process::id();
        assert_eq!(check.text, format!("pid {pid}, listens on {}", socket.display()));
        assert_eq!(check.state, State::Ok);
    }

    #[test]
    fn a_logind_that_kills_at_logout_is_named_with_its_file() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let state = StateDir::new(root.path().join("state"));
        let says = || {
            let checks = checks(&state, root.path());
            checks.into_iter().find(|check| check.name == "logout").map(|check| check.text)
        };
        assert_eq!(says(), None);
        let main = write("etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=yes\n");
        assert_eq!(says(), None, "a comment");
        write("etc/systemd/logind.conf", "[Login]\nKillUserProcesses = yes\n");
        let text = says().unwrap();
        assert!(text.contains(&main.display().to_string()), "{text}");
        assert!(text.contains("KillUserProcesses=no"), "{text}");
        write("usr/lib/systemd/logind.conf.d/50-no.conf", "[Login]\nKillUserProcesses=no\n");
        assert_eq!(says(), None);
        let last = write("run/systemd/logind.conf.d/60-yes.conf", "KillUserProcesses=1\n");
        assert!(says().unwrap().contains(&last.display().to_string()));
        write("etc/systemd/logind.conf.d/60-yes.conf", "");
        assert_eq!(says(), None, "the later directory replaces a file of the same name");
    }
}
