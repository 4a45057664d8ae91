//! Working directories: the ones to offer, and the choice of one for a session.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::host_loop::HostLoop;
use crate::session::Input;
use protocol::{Event, SessionId, Subject, ViewId};

/// Sessions whose working directories are offered.
const SESSIONS: usize = 5_000;
/// Directories that are offered.
const WORKSPACES: usize = 50;

impl HostLoop {
    /// Sends a view the directories worth working in: those of recent sessions, and the configured
    /// one.
    pub(super) fn list_workspaces(&self, view: ViewId) {
        let own = self.settings.cwd.display().to_string();
        self.read_for(view, Subject::Workspaces, move |reader| {
            let sessions = reader.sessions(SESSIONS)?;
            let recent = sessions.into_iter().map(|row| row.cwd);
            let paths = workspaces(recent.chain([own]), Path::is_dir);
            Ok(Event::WorkspacesListed { paths })
        });
    }

    /// Lets a session work in another directory from the next command on.
    pub(super) fn set_cwd(&mut self, view: ViewId, session: &SessionId, cwd: &str) {
        let vars = &self.settings.terminal.env;
        let home = vars.iter().find(|(name, _)| name == "HOME").map(|(_, home)| home.as_str());
        match directory(cwd, home) {
            Ok(cwd) => self.feed(session, Input::SetCwd(cwd)),
            Err(message) => self.fail(view, Subject::Cwd, message),
        }
    }
}

/// The absolute path of an existing directory; `~` is the user's home. An error is a text for the
/// user.
fn directory(name: &str, home: Option<&str>) -> Result<String, String> {
    let name = name.trim();
    let path = match (name.strip_prefix('~'), home) {
        (Some(""), Some(home)) => PathBuf::from(home),
        (Some(rest), Some(home)) if rest.starts_with('/') => {
            Path::new(home).join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(name),
    };
    if !path.is_absolute() {
        return Err(format!(
            "{name} is not an absolute path; give one, or one that begins with ~/."
        ));
    }
    if !path.is_dir() {
        return Err(format!("{} is not a directory on this host.", path.display()));
    }
    // Without redundant components, so that one directory has one name.
    Ok(path.components().collect::<PathBuf>().display().to_string())
}

/// The first of each path that `exists`, in their order.
fn workspaces(paths: impl Iterator<Item = String>, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let fresh = paths.filter(|path| !path.is_empty() && seen.insert(path.clone()));
    fresh.filter(|path| exists(Path::new(path))).take(WORKSPACES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workspaces_are_existing_directories_each_once() {
        let paths = ["/b", "", "/a", "/b", "/gone"].map(str::to_owned);
        let exists = |path: &Path| path != Path::new("/gone");
        assert_eq!(workspaces(paths.into_iter(), exists), ["/b", "/a"]);
    }

    #[test]
    fn a_working_directory_is_absolute_and_exists() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().display().to_string();
        std::fs::create_dir(dir.path().join("x")).unwrap();
        let in_home = |name: &str| directory(name, Some(&home));
        assert_eq!(in_home("~"), Ok(home.clone()));
        assert_eq!(in_home("~/x/"), Ok(format!("{home}/x")));
        assert_eq!(in_home(&format!("{home}//x/.")), Ok(format!("{home}/x")));
        for wrong in ["x", "~other", "~/gone", "", "/nonexistent"] {
            assert!(in_home(wrong).is_err(), "{wrong}");
        }
    }
}
