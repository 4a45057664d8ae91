//! What was being written when an interface ended: a file a session below the state folder, for the
//! next interface to put back into its input.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The file for a session that has no rows yet.
const NEW: &str = "new";

/// As [`tui::Options::drafts`].
pub(crate) type Drafts = BTreeMap<String, String>;

fn folder(state: &Path) -> PathBuf {
    state.join("drafts")
}

/// All there are.
pub(crate) fn load(state: &Path) -> Drafts {
    let mut drafts = Drafts::new();
    for entry in fs::read_dir(folder(state)).into_iter().flatten().flatten() {
        if let (Ok(name), Ok(text)) =
            (entry.file_name().into_string(), fs::read_to_string(entry.path()))
            && !name.ends_with('~')
        {
            drafts.insert(if name == NEW { String::new() } else { name }, text);
        }
    }
    drafts
}

/// Writes what has changed since `before`; what others have written meanwhile stays.
pub(crate) fn save(state: &Path, before: &Drafts, now: &Drafts) -> io::Result<()> {
    let path = |session: &str| folder(state).join(if session.is_empty() { NEW } else { session });
    for session in before.keys().filter(|session| !now.contains_key(*session)) {
        match fs::remove_file(path(session)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let changed = |(session, text): &(&String, &String)| before.get(*session) != Some(*text);
    for (session, text) in now.iter().filter(changed) {
        // Ids name files; what is none of ours does not.
        if session.contains('/') || session.starts_with('.') {
            continue;
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder(state))?;
        let (path, fresh) = (path(session), path(&format!("{session}~")));
        let mut options = fs::File::options();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&fresh)?.write_all(text.as_bytes())?;
        fs::rename(fresh, path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafts(pairs: &[(&str, &str)]) -> Drafts {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_was_written_is_there_at_the_next_start_and_gone_once_it_is_sent() {
        // P13
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), Drafts::new());
        let first = drafts(&[("", "for a new one"), ("20260101_120000_abcdef", "é\nsecond line")]);
        save(dir.path(), &Drafts::new(), &first).unwrap();
        assert_eq!(load(dir.path()), first);
        // Another interface writes meanwhile.
        let other = drafts(&[("20260101_120000_ffffff", "theirs")]);
        save(dir.path(), &Drafts::new(), &other).unwrap();
        let next = drafts(&[("", "for a new one, longer")]);
        save(dir.path(), &first, &next).unwrap();
        let both = next.into_iter().chain(other).collect::<Drafts>();
        assert_eq!(load(dir.path()), both);
        let strange = drafts(&[("../evil", "x")]);
        save(dir.path(), &Drafts::new(), &strange).unwrap();
        assert_eq!(load(dir.path()), both);
    }
}
