//! The directories of a run: the home of hermes if there is one, our own config otherwise, and our
//! state directory. Finds paths and creates nothing.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use host::state_dir::StateDir;

use crate::env::Env;

/// The directories of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dirs {
    /// The directory `config.yaml`, `.env`, `auth.json` and `SOUL.md` are read from.
    pub(crate) home: PathBuf,
    /// Whose directory that is.
    pub(crate) owner: Owner,
    /// Our own state: database, lock, process directories, logs.
    pub(crate) state: StateDir,
    /// The user's home, for `~`.
    pub(crate) user: PathBuf,
}

/// Whose directory the config is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A home of hermes, possibly that of a profile.
    Hermes,
    /// Our own.
    Own,
}

impl Dirs {
    /// Finds them.
    pub(crate) fn find(env: &Env) -> anyhow::Result<Self> {
        let own = directories::ProjectDirs::from("", "", "hermes-tui");
        let user = env
            .get("HOME")
            .map(PathBuf::from)
            .or_else(|| directories::BaseDirs::new().map(|d| d.home_dir().to_owned()))
            .context("cannot find the home directory: set HOME")?;
        let (config, state): (PathBuf, PathBuf) = if let Some(dir) = env.get("HERMES_TUI_HOME") {
            let dir = std::path::absolute(expand_user(dir, &user))?;
            (dir.clone(), dir)
        } else {
            let own = own.context("cannot find the home directory: set HOME or HERMES_TUI_HOME")?;
            (own.config_dir().to_owned(), own.data_dir().to_owned())
        };
        let state = StateDir::new(state);
        let root = match env.get("HERMES_HOME") {
            Some(dir) => std::path::absolute(expand_user(dir, &user))?,
            None => user.join(".hermes"),
        };
        let home = profile(env, &root)?;
        Ok(match home {
            Some(home) => Self { home, owner: Owner::Hermes, state, user },
            None => Self { home: config, owner: Owner::Own, state, user },
        })
    }

    /// The config file.
    pub(crate) fn config(&self) -> PathBuf {
        self.home.join("config.yaml")
    }

    /// The file of environment variables.
    pub(crate) fn env_file(&self) -> PathBuf {
        self.home.join(".env")
    }

    /// The credentials of hermes. Only ever read.
    pub(crate) fn auth(&self) -> PathBuf {
        self.home.join("auth.json")
    }

    /// The agent's identity.
    pub(crate) fn soul(&self) -> PathBuf {
        self.home.join("SOUL.md")
    }

    /// The log.
    pub(crate) fn log(&self) -> PathBuf {
        self.state.log()
    }
}

/// The home of hermes to read, if it exists: that of the named or active profile, or the root.
fn profile(env: &Env, root: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !root.is_dir() {
        return Ok(None);
    }
    let active = std::fs::read_to_string(root.join("active_profile")).unwrap_or_default();
    let name = env.get("HERMES_PROFILE").unwrap_or(active.trim());
    if name.is_empty() || name == "default" {
        return Ok(Some(root.to_owned()));
    }
    let home = root.join("profiles").join(name);
    let plain = !name.contains(['/', '\\']) && name != "..";
    anyhow::ensure!(plain && home.is_dir(), "there is no profile {name:?} in {}", root.display());
    Ok(Some(home))
}

/// Replaces a leading `~` by the home.
pub(crate) fn expand_user(path: &str, user: &Path) -> PathBuf {
    match path.strip_prefix('~') {
        Some("") => user.to_owned(),
        Some(rest) if rest.starts_with('/') => user.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pairs: &[(&str, &Path)]) -> anyhow::Result<Dirs> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (*k, v.to_str().unwrap())).collect();
        Dirs::find(&Env::of(&pairs))
    }

    #[test]
    fn an_existing_home_of_hermes_is_read_and_state_stays_ours() {
        let tmp = tempfile::tempdir().unwrap();
        let (home, own) = (tmp.path().join("hermes"), tmp.path().join("own"));
        let vars = [("HERMES_HOME", home.as_path()), ("HERMES_TUI_HOME", &own), ("HOME", &own)];
        let dirs = find(&vars).unwrap();
        assert_eq!((dirs.config(), dirs.owner), (own.join("config.yaml"), Owner::Own));
        std::fs::create_dir(&home).unwrap();
        let dirs = find(&vars).unwrap();
        assert_eq!((dirs.config(), dirs.owner), (home.join("config.yaml"), Owner::Hermes));
        assert_eq!(dirs.log(), own.join("logs/hermes-tui.log"));
        assert!(!own.exists(), "finding creates nothing");
    }

    #[test]
    fn the_default_home_of_hermes_is_below_the_users() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::create_dir(tmp.path().join(".hermes")).unwrap();
        let dirs = find(&[("HOME", tmp.path()), ("HERMES_TUI_HOME", tmp.path())]).unwrap();
        assert_eq!(dirs.home, tmp.path().join(".hermes"));
    }

    #[test]
    fn a_profile_moves_the_home_and_a_missing_one_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let work = tmp.path().join("profiles/work");
        std::fs::create_dir_all(&work).unwrap();
        std::fs::write(tmp.path().join("active_profile"), "work\n").unwrap();
        let home = [("HERMES_HOME", tmp.path()), ("HERMES_TUI_HOME", tmp.path())];
        assert_eq!(find(&home).unwrap().home, work);
        let other = [home[0], home[1], ("HERMES_PROFILE", Path::new("nosuch"))];
        assert!(find(&other).unwrap_err().to_string().contains("nosuch"));
        let default = [home[0], home[1], ("HERMES_PROFILE", Path::new("default"))];
        assert_eq!(find(&default).unwrap().home, tmp.path());
    }
}
