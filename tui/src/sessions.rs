//! The list of sessions, and finding one by what the user calls it.

use host::protocol::{Millis, SessionId, SessionRow};

use crate::clean::one_line;
use crate::select::{Entry, Select};
use crate::time::{ago, between};

/// The panel.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    pub(crate) select: Select,
    ids: Vec<SessionId>,
}

impl Sessions {
    pub(crate) fn new(rows: &[SessionRow], current: &SessionId, filter: &str, now: Millis) -> Self {
        let entries = rows
            .iter()
            .map(|row| {
                let here = if row.id == *current { "• " } else { "" };
                let title = one_line(&row.title);
                let title = if title.is_empty() { row.id.0.clone() } else { title };
                let when = ago(between(now, row.active_at));
                Entry {
                    label: format!("{here}{}", one_line(&title)),
                    detail: format!("{when} · {} rows · {}", row.rows, one_line(&row.model)),
                }
            })
            .collect();
        let ids = rows.iter().map(|row| row.id.clone()).collect();
        Self { select: Select::new(entries, filter), ids }
    }

    pub(crate) fn id(&self, index: usize) -> Option<&SessionId> {
        self.ids.get(index)
    }
}

/// The one session that is meant by an id, the beginning of one, or a title.
pub(crate) fn find<'a>(rows: &'a [SessionRow], name: &str) -> Option<&'a SessionId> {
    let lower = name.trim().to_lowercase();
    let only = |fits: &dyn Fn(&SessionRow) -> bool| {
        let mut found = rows.iter().filter(|row| fits(row));
        let first = found.next()?;
        found.next().is_none().then_some(&first.id)
    };
    only(&|row| row.id.0 == name.trim())
        .or_else(|| only(&|row| row.title.to_lowercase() == lower))
        .or_else(|| only(&|row| row.id.0.starts_with(name.trim())))
        .or_else(|| only(&|row| row.title.to_lowercase().contains(&lower)))
}
