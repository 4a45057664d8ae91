//! Queries of one view: its answer concerns no other view and changes no session.

use serde_json::{Value, json};

use super::host_loop::HostLoop;
use crate::clock::now;
use crate::store::Hit;
use crate::tool::terminal;
use protocol::{Event, Failure, Found, Process, ProcessId, SessionId, SessionRow, Subject, ViewId};

/// Sessions whose titles are searched.
const SESSIONS: usize = 5_000;
/// Rows that a search reads.
const HITS: usize = 400;
/// Sessions that a search returns.
const FOUND: usize = 100;
/// Rows of a page, whatever is asked for: the loop reads them.
const PAGE: usize = 1_000;
/// Characters of a process's output that a view gets.
const TAIL: usize = 20_000;
/// The one profile of an embedded host.
const PROFILE: &str = "default";

impl HostLoop {
    /// Sends a view the rows before that one.
    pub(super) fn page(&mut self, view: ViewId, session: &SessionId, before: u64, limit: u32) {
        match self.store.reader.page(session, before, (limit as usize).min(PAGE)) {
            Ok((rows, earlier)) => self.push(view, Event::Paged { rows, earlier }),
            Err(error) => self.fail(view, Subject::Page, error.to_string()),
        }
    }

    /// Sends a view the end of the output of a process, or the last answer of a delegated task.
    pub(super) fn tail(&mut self, view: ViewId, id: ProcessId) {
        let text = match self.worker(&id) {
            Some(worker) => self.last_answer(&worker),
            None => terminal::tail(&self.processes.registry.output(&id), TAIL),
        };
        self.push(view, Event::ProcessTail { id, text });
    }

    /// Sends a view all processes of the host that live or whose completion is pending, oldest
    /// first.
    pub(super) fn list_processes(&mut self, view: ViewId) {
        let stored = match self.store.reader.pending_processes() {
            Ok(stored) => stored,
            Err(error) => return self.fail(view, Subject::Processes, error.to_string()),
        };
        let ours = self.sessions.processes();
        let mut processes: Vec<Process> =
            ours.filter(|p| p.is_live() || p.delivery.is_pending()).cloned().collect();
        processes.extend(self.processes.orphans.processes().cloned());
        // A session in memory is newer than its records.
        processes.extend(stored.into_iter().filter(|p| {
            !self.sessions.contains(&p.session)
                && !self.sessions.is_deleted(&p.session)
                && !self.processes.orphans.contains(&p.id)
        }));
        processes.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        self.push(view, Event::ProcessesListed { processes });
    }

    /// Sends a view the names of the models to offer.
    pub(super) fn list_models(&mut self, view: ViewId) {
        let models = self.models.names(now());
        self.push(view, Event::ModelsListed { models });
    }

    /// Searches titles and messages of all sessions.
    pub(super) fn search(&self, view: ViewId, query: String) {
        self.read_for(view, Subject::Search, move |reader| {
            let hits = reader.search(&query, HITS)?;
            let found = merge_hits(&query, &reader.sessions(SESSIONS)?, hits);
            Ok(Event::SessionsFound { query, found })
        });
    }

    /// Sends a view the whole session as a JSON document.
    pub(super) fn export(&self, view: ViewId, id: &SessionId) {
        let id = id.clone();
        self.read_for(view, Subject::Export, move |reader| {
            let Some(loaded) = reader.load(&id, 0)? else {
                let message = "Nothing of this session is stored yet.".to_owned();
                let about = Subject::Export;
                return Ok(Event::Failed(Failure { about, message }));
            };
            let mut meta = serde_json::to_value(&loaded.meta).unwrap_or_default();
            if let Value::Object(meta) = &mut meta {
                // The variables of its shell may be secret, and are of no use on another host.
                meta.remove("env");
            }
            let rows = reader.rows(&id)?;
            let text = format!("{:#}\n", json!({ "v": 1, "session": meta, "rows": rows }));
            Ok(Event::Exported { name: format!("{id}.json"), text })
        });
    }

    /// Sends a view the profiles: an embedded host has the one it was started with.
    pub(super) fn list_profiles(&mut self, view: ViewId) {
        let active = PROFILE.to_owned();
        self.push(view, Event::ProfilesListed { names: vec![active.clone()], active });
    }

    /// Refuses any profile but the one there is.
    pub(super) fn set_profile(&mut self, view: ViewId, name: &str) {
        if name == PROFILE {
            return self.list_profiles(view);
        }
        let message = format!(
            "A host keeps the profile it was started with. To use {name}, start hermes-tui with \
             HERMES_HOME set to the home of that profile, and HERMES_TUI_HOME to a directory of \
             its own if this host keeps running."
        );
        self.fail(view, Subject::Profile, message);
    }
}

/// The sessions that contain all words of a query, each once: those with them in the title first,
/// then those with them in a message.
fn merge_hits(query: &str, sessions: &[SessionRow], hits: Vec<Hit>) -> Vec<Found> {
    let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
    if words.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<Found> = sessions
        .iter()
        .filter(|row| {
            let title = row.title.to_lowercase();
            words.iter().all(|word| title.contains(word))
        })
        .map(|row| Found { session: row.id.clone(), title: row.title.clone(), excerpt: None })
        .collect();
    for hit in hits {
        match found.iter_mut().find(|f| f.session == hit.session) {
            Some(known) => {
                known.excerpt.get_or_insert(hit.excerpt);
            }
            None => found.push(Found {
                session: hit.session,
                title: hit.title,
                excerpt: Some(hit.excerpt),
            }),
        }
    }
    found.truncate(FOUND);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, title: &str) -> SessionRow {
        let id = SessionId(id.to_owned());
        SessionRow { id, title: title.to_owned(), ..SessionRow::default() }
    }

    fn hit(session: &str, excerpt: &str) -> Hit {
        Hit {
            session: SessionId(session.to_owned()),
            title: format!("title of {session}"),
            n: 1,
            at: 0,
            excerpt: excerpt.to_owned(),
        }
    }

    #[test]
    fn a_search_names_each_session_once() {
        let sessions = [row("a", "Blue Whale"), row("b", "whales"), row("c", "fish")];
        let hits = vec![hit("c", "a blue whale"), hit("a", "the blue one"), hit("c", "again")];
        let named: Vec<_> = merge_hits("blue WHALE", &sessions, hits)
            .into_iter()
            .map(|f| (f.session.0, f.excerpt.unwrap_or_default()))
            .collect();
        let named: Vec<_> = named.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
        assert_eq!(named, [("a", "the blue one"), ("c", "a blue whale")]);
        assert_eq!(merge_hits(" ", &sessions, Vec::new()), []);
    }
}
