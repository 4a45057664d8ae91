//! A store in memory for tests: the real schema, the real `apply`, the real reader, without the
//! thread and the disk.

use super::apply::{Applied, apply};
use super::error::is_of_record;
use super::{Error, Loaded, Reader, Record, schema};
use protocol::SessionId;

/// One database, for many runs.
pub(crate) struct Memory {
    reader: Reader,
}

impl Memory {
    pub(crate) fn open() -> rusqlite::Result<Self> {
        Ok(Self { reader: Reader::of(schema::open_in_memory()?) })
    }

    /// Writes a batch in one transaction and says which records were refused.
    pub(crate) fn write(&self, batch: &[Record]) -> rusqlite::Result<Vec<String>> {
        let Some(conn) = self.reader.conn() else { return Ok(Vec::new()) };
        let mut tx = conn.unchecked_transaction()?;
        let mut refused = Vec::new();
        for record in batch {
            match apply(&mut tx, record) {
                Ok(Applied::Done | Applied::Known) => {}
                Ok(Applied::Refused(why)) => refused.push(why),
                Err(error) if is_of_record(&error) => refused.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        tx.commit()?;
        Ok(refused)
    }

    pub(crate) fn load(&self, id: &SessionId) -> Result<Option<Loaded>, Error> {
        self.reader.load(id, 1_000)
    }

    pub(crate) fn unsettled(&self) -> Result<Vec<SessionId>, Error> {
        self.reader.unsettled()
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) -> rusqlite::Result<()> {
        let Some(conn) = self.reader.conn() else { return Ok(()) };
        let tx = conn.unchecked_transaction()?;
        for table in schema::TABLES {
            tx.prepare_cached(&format!("DELETE FROM {table}"))?.execute([])?;
        }
        tx.commit()
    }
}
