//! What was being typed when an interface ended: a file per session in a directory of drafts
//! ([`host::state_dir::StateDir::drafts`]), for the next interface to put back into its input.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use host::state_dir::{Sync, write_private};

/// The file of a session that has no rows yet.
const NEW: &str = "new";

/// Texts by session id, as [`tui::Options::drafts`].
pub(crate) type Drafts = BTreeMap<String, String>;

/// Reads all drafts of a directory.
pub(crate) fn load(dir: &Path) -> Drafts {
    let mut drafts = Drafts::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if let (Ok(name), Ok(text)) =
            (entry.file_name().into_string(), fs::read_to_string(entry.path()))
            // What a killed process left of a write.
            && !name.ends_with('~')
        {
            drafts.insert(if name == NEW { String::new() } else { name }, text);
        }
    }
    drafts
}

/// Writes what has changed since `before`; what others have written meanwhile stays.
pub(crate) fn save(dir: &Path, before: &Drafts, now: &Drafts) -> io::Result<()> {
    let path = |session: &str| dir.join(if session.is_empty() { NEW } else { session });
    for session in before.keys().filter(|session| !now.contains_key(*session)) {
        match fs::remove_file(path(session)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let changed = |(session, text): &(&String, &String)| before.get(*session) != Some(*text);
    for (session, text) in now.iter().filter(changed) {
        // An id names a file; what could lead out of the directory is no id of ours.
        if session.contains('/') || session.starts_with('.') {
            continue;
        }
        write_private(&path(session), text.as_bytes(), Sync::Later)?;
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
    fn a_draft_is_there_at_the_next_start_and_gone_once_it_is_sent() {
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
