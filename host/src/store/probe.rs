//! Whether the store can be written at this moment: asked for by those who watch over a host. The
//! writer itself notices only when it has something to write.

use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::Error;
use crate::state_dir::StateDir;

/// Writes one page of the database as it is, through a connection of its own. An error says why
/// that is not possible now; who holds the database for longer than `patience` is such a reason.
pub fn probe(state: &StateDir, patience: Duration) -> Result<(), Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(state.database(), flags)?;
    conn.busy_timeout(patience)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // The writer empties the log when it writes. Where it has nothing to write, and somebody looks
    // every second, these looks are all that is in the log: they must not fill the disk.
    conn.execute_batch(
        "PRAGMA wal_autocheckpoint = 1000;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;",
    )?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    tx.pragma_update(None, "user_version", version)?;
    tx.commit()?;
    Ok(())
}
