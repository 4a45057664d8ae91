//! Projects in the database, and which sessions are filed in them.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::apply::{Applied, run};
use super::{Error, Project, ProjectChange, Reader};
use protocol::SessionId;

pub(super) fn filed(tx: &Connection, project_change: &ProjectChange) -> rusqlite::Result<Applied> {
    match project_change {
        ProjectChange::Project(project) => run(
            tx,
            "INSERT OR REPLACE INTO projects (id, name, color, at) VALUES (?, ?, ?, ?)",
            params![project.id, project.name, project.color, project.at],
        ),
        ProjectChange::Gone { project } => {
            run(tx, "DELETE FROM placed WHERE project = ?", [project])?;
            run(tx, "DELETE FROM projects WHERE id = ?", [project])
        }
        ProjectChange::Placed { session, project: Some(project) } => run(
            tx,
            "INSERT OR REPLACE INTO placed (session, project) SELECT ?1, id FROM projects
             WHERE id = ?2 AND NOT EXISTS (SELECT 1 FROM deleted WHERE session = ?1)",
            params![session.0, project],
        ),
        ProjectChange::Placed { session, project: None } => {
            run(tx, "DELETE FROM placed WHERE session = ?", [&session.0])
        }
        ProjectChange::Tidied => {
            run(tx, "DELETE FROM placed WHERE session NOT IN (SELECT id FROM sessions)", [])
        }
    }
}

impl Reader {
    /// All projects, the oldest first.
    pub fn projects(&self) -> Result<Vec<Project>, Error> {
        let Some(conn) = self.conn() else { return Ok(Vec::new()) };
        let list = conn
            .prepare_cached("SELECT id, name, color, at FROM projects ORDER BY at, id")?
            .query_map([], |row| {
                Ok(Project {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    color: row.get(2)?,
                    at: row.get(3)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        Ok(list)
    }

    /// The project of each session that is filed in one.
    pub fn placed(&self) -> Result<HashMap<SessionId, String>, Error> {
        let Some(conn) = self.conn() else { return Ok(HashMap::new()) };
        let map = conn
            .prepare_cached("SELECT session, project FROM placed")?
            .query_map([], |row| Ok((SessionId(row.get(0)?), row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        Ok(map)
    }
}
