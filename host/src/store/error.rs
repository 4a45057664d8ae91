//! What can go wrong with the store, in words a user can act on.

use std::io;
use std::path::{Path, PathBuf};

/// Why the state could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database belongs to a newer program; nothing of it was touched.
    #[error(
        "{} was written by a newer hermes-tui (schema {found}; this program knows {known}): \
         upgrade hermes-tui, or point HERMES_TUI_HOME at another folder", path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema this program knows.
        known: i64,
    },
    /// A reader met a database that no writer of this version has opened yet.
    #[error(
        "{} has the schema of an older hermes-tui ({found}; this program reads {known}): \
         start hermes-tui once, it brings it up to date", path.display()
    )]
    Older {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The schema this program reads.
        known: i64,
    },
    /// The state cannot be written. Reading it may still work.
    #[error(
        "{} cannot be written ({why}): make it writable, or point HERMES_TUI_HOME at another folder",
        path.display()
    )]
    ReadOnly {
        /// What cannot be written.
        path: PathBuf,
        /// Why, as the system says.
        why: String,
    },
    /// A file operation failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("the state database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored value is not what this program writes.
    #[error("{what} in the state database cannot be read: {source}")]
    Unreadable {
        /// Which value.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The store was closed while batches could not be written.
    #[error("{batches} batches could not be written before the end: {why}")]
    Unwritten {
        /// How many.
        batches: usize,
        /// Why.
        why: String,
    },
}

impl Error {
    /// An error of the file system at `path`.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path: path.to_owned(), why: source.to_string() }
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }
}

/// The class of an error of SQLite.
pub(super) fn code(error: &rusqlite::Error) -> Option<rusqlite::ErrorCode> {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => Some(failure.code),
        _ => None,
    }
}

/// Whether another connection is in the way, for now.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(code(error), Some(rusqlite::ErrorCode::DatabaseBusy))
}

/// Whether the error says that the file itself is damaged.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(code(error), Some(DatabaseCorrupt | NotADatabase))
}

/// Whether the error lies in one record (a constraint, a size), so that trying again is no use.
/// Everything else lies in the machine and may pass.
pub(super) fn is_of_record(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            matches!(failure.code, ConstraintViolation | TooBig | TypeMismatch)
        }
        // A value that cannot be converted, whichever way.
        _ => true,
    }
}
