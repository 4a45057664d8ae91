//! What one view asks and what takes time: done beside the loop, told when it is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::host_loop::HostLoop;
use crate::agent::{side_question, title};
use crate::model::{Model, Request};
use crate::session::{Attendance, Input};
use crate::store::{Error, Hit, Reader};
use crate::tool;
use crate::turn_link::TurnLink;
use protocol::Subject;
use protocol::ViewId;
use protocol::{Attachment, Event, Found, PromptId, Row, SessionId, SessionRow, TurnId};

/// Sessions whose titles are looked through and whose folders are offered.
const SESSIONS: usize = 5_000;
/// Rows that a search looks at.
const HITS: usize = 400;
/// Sessions that a search finds.
const FOUND: usize = 100;
/// Folders that are offered.
const WORKSPACES: usize = 50;
/// Requests to the model that one view may have under way beside turns.
const ASIDES: usize = 4;
/// The one profile of an embedded host.
const PROFILE: &str = "default";

/// What a request beside the turns of a session is made with: of whom it is asked, what was said
/// so far, and where it tells what it took.
type Beside = (Arc<dyn Model>, Vec<Arc<Row>>, TurnLink);

/// Something that was done beside the loop.
pub(super) enum Done {
    /// A view's answer; else why there is none.
    Answer { front: ViewId, about: Subject, answer: Result<Box<Event>, String> },
    /// A file for the next prompt of a session; else why there is none.
    Uploaded { front: ViewId, session: SessionId, written: Result<Attachment, String> },
    /// The model has found a title for a session; else why not.
    Titled { front: ViewId, session: SessionId, title: Result<String, String> },
}

impl HostLoop {
    /// Reads the store for a view, beside the loop.
    fn read(
        &self,
        front: ViewId,
        about: Subject,
        work: impl FnOnce(&Reader) -> Result<Event, Error> + Send + 'static,
    ) {
        let (store, done) = (self.store.clone(), self.done.clone());
        tokio::task::spawn_blocking(move || {
            let answer = store.reader().and_then(|reader| work(&reader));
            let answer = answer.map(Box::new).map_err(|error| error.to_string());
            done.send(Done::Answer { front, about, answer }).ok();
        });
    }

    /// Something that was done beside the loop is there.
    pub(super) fn finished(&mut self, done: Done) {
        match done {
            Done::Answer { front, answer: Ok(mut event), .. } => {
                if let Event::SessionsFound { found, .. } = event.as_mut() {
                    found.retain(|f| !self.orphans.is_deleted(&f.session));
                }
                self.push(front, *event);
            }
            Done::Uploaded { front, session, written } => self.uploaded(front, &session, written),
            Done::Titled { session, title: Ok(title), .. } => {
                self.feed(&session, Input::SetTitle(title));
            }
            Done::Titled { front, title: Err(why), .. } => self.fail(front, Subject::Title, why),
            Done::Answer { front, about, answer: Err(message) } => self.fail(front, about, message),
        }
    }

    /// Asks the model something beside the turns of a session, for one view.
    pub(super) fn aside(
        &mut self,
        front: ViewId,
        session: &SessionId,
        id: PromptId,
        question: String,
    ) {
        let (model, rows, link) = match self.beside(front, session) {
            Ok(beside) => beside,
            Err(text) => {
                return self.push(front, Event::AsideEnded { id, text, failed: true, usage: None });
            }
        };
        let Some(live) = self.sessions.get(session) else { return };
        let meta = live.session.meta();
        let system = match meta.system.as_str() {
            "" => self.system_prompt(meta),
            system => system.to_owned(),
        };
        let frame = Request {
            system,
            tools: tool::schemas(Attendance::Attended, meta.toolsets.as_deref()),
            reasoning: meta.reasoning.clone(),
            session: session.0.clone(),
            ..Request::default()
        };
        let request = side_question::request(frame, &rows, &question);
        let done = self.done.clone();
        let Some(view) = self.fronts.get_mut(front) else { return };
        view.asides.spawn(async move {
            let tell = |event| {
                let answer = Ok(Box::new(event));
                done.send(Done::Answer { front, about: Subject::SideQuestion, answer }).ok();
            };
            let said = |part, text| tell(Event::AsideSaid { id: id.clone(), part, text });
            let answer = side_question::ask(model.as_ref(), request, &link, said).await;
            let (text, failed, usage) = match answer {
                Ok((text, usage)) => (text, false, usage),
                Err(why) => (why, true, None),
            };
            tell(Event::AsideEnded { id: id.clone(), text, failed, usage });
        });
    }

    /// Lets the model find a title.
    pub(super) fn retitle(&mut self, front: ViewId, session: &SessionId, latest: bool) {
        let (model, rows, link) = match self.beside(front, session) {
            Ok(beside) => beside,
            Err(why) => return self.fail(front, Subject::Title, why),
        };
        let (done, session) = (self.done.clone(), session.clone());
        let Some(view) = self.fronts.get_mut(front) else { return };
        view.asides.spawn(async move {
            let title = title::title(model.as_ref(), &rows, latest, &link).await;
            done.send(Done::Titled { front, session, title }).ok();
        });
    }

    /// What a request beside the turns of a session needs.
    fn beside(&mut self, front: ViewId, session: &SessionId) -> Result<Beside, String> {
        let rows = self.context(session);
        let live = self.sessions.get(session).ok_or("the session is gone")?;
        let name = live.session.meta().model.clone();
        let model = self.model(&name)?;
        let view = self.fronts.get_mut(front).ok_or("the view is gone")?;
        while view.asides.try_join_next().is_some() {}
        if view.asides.len() >= ASIDES {
            return Err(format!("{ASIDES} requests of this view run already; wait for one"));
        }
        // No turn has that number: nothing said by it is taken for a turn's words.
        let (session, turn, messages) = (session.clone(), TurnId(0), self.messages.clone());
        Ok((model, rows, TurnLink { session, turn, messages }))
    }

    /// Looks for words in all sessions.
    pub(super) fn search(&self, front: ViewId, query: String) {
        self.read(front, Subject::Search, move |reader| {
            let hits = reader.search(&query, HITS)?;
            let found = found(&query, &reader.sessions(SESSIONS)?, hits);
            Ok(Event::SessionsFound { query, found })
        });
    }

    /// The whole session as a document.
    pub(super) fn export(&self, front: ViewId, id: &SessionId) {
        let id = id.clone();
        self.read(front, Subject::Export, move |reader| {
            let Some(loaded) = reader.load(&id, 0)? else {
                let message = "Nothing of this session is stored yet.".to_owned();
                let about = Subject::Export;
                return Ok(Event::Failed(protocol::Failure { about, message }));
            };
            let mut meta = serde_json::to_value(&loaded.meta).unwrap_or_default();
            if let Value::Object(meta) = &mut meta {
                // What was exported in its shell may be secret, and is of no use elsewhere.
                meta.remove("env");
            }
            let rows = reader.rows(&id)?;
            let text = format!("{:#}\n", json!({ "v": 1, "session": meta, "rows": rows }));
            Ok(Event::Exported { name: format!("{id}.json"), text })
        });
    }

    /// Folders worth working in: where recent sessions worked, and the configured one.
    pub(super) fn list_workspaces(&self, front: ViewId) {
        let own = self.settings.cwd.display().to_string();
        self.read(front, Subject::Workspaces, move |reader| {
            let sessions = reader.sessions(SESSIONS)?;
            let recent = sessions.into_iter().map(|row| row.cwd);
            let paths = workspaces(recent.chain([own]), Path::is_dir);
            Ok(Event::WorkspacesListed { paths })
        });
    }

    /// The profiles: an embedded host has the one it was started with.
    pub(super) fn list_profiles(&mut self, front: ViewId) {
        let active = PROFILE.to_owned();
        self.push(front, Event::ProfilesListed { names: vec![active.clone()], active });
    }

    pub(super) fn set_profile(&mut self, front: ViewId, name: &str) {
        if name == PROFILE {
            return self.list_profiles(front);
        }
        let message = format!(
            "A host keeps the profile it was started with. To use {name}, start hermes-tui with \
             HERMES_HOME set to the home of that profile, and HERMES_TUI_HOME to a folder of its \
             own if this one goes on."
        );
        self.fail(front, Subject::Profile, message);
    }

    /// The session works elsewhere from the next command on.
    pub(super) fn set_cwd(&mut self, front: ViewId, session: &SessionId, cwd: &str) {
        let vars = &self.settings.terminal.env;
        let home = vars.iter().find(|(name, _)| name == "HOME").map(|(_, home)| home.as_str());
        match folder(cwd, home) {
            Ok(cwd) => self.feed(session, Input::SetCwd(cwd)),
            Err(message) => self.fail(front, Subject::Cwd, message),
        }
    }
}

/// An existing folder by its absolute path; `~` is the user's home.
fn folder(name: &str, home: Option<&str>) -> Result<String, String> {
    let name = name.trim();
    let path = match (name.strip_prefix('~'), home) {
        (Some(""), Some(home)) => PathBuf::from(home),
        (Some(rest), Some(home)) if rest.starts_with('/') => {
            Path::new(home).join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(name),
    };
    if !path.is_absolute() {
        return Err(format!("{name} is no absolute path; give one, or one that begins with ~/."));
    }
    if !path.is_dir() {
        return Err(format!("{} is no folder of this host.", path.display()));
    }
    // Without the parts that mean nothing, so that one folder has one name.
    Ok(path.components().collect::<PathBuf>().display().to_string())
}

/// The first of each path that `exists`, in their order.
fn workspaces(paths: impl Iterator<Item = String>, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let fresh = paths.filter(|path| !path.is_empty() && seen.insert(path.clone()));
    fresh.filter(|path| exists(Path::new(path))).take(WORKSPACES).collect()
}

/// Sessions in which the words stand: in their titles, then in their messages, each once.
fn found(query: &str, sessions: &[SessionRow], hits: Vec<Hit>) -> Vec<Found> {
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
    fn words_are_found_in_titles_and_messages_and_each_session_is_named_once() {
        let sessions = [row("a", "Blue Whale"), row("b", "whales"), row("c", "fish")];
        let hits = vec![hit("c", "a blue whale"), hit("a", "the blue one"), hit("c", "again")];
        let named: Vec<_> = found("blue WHALE", &sessions, hits)
            .into_iter()
            .map(|f| (f.session.0, f.excerpt.unwrap_or_default()))
            .collect();
        let named: Vec<_> = named.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
        assert_eq!(named, [("a", "the blue one"), ("c", "a blue whale")]);
        assert_eq!(found(" ", &sessions, Vec::new()), []);
    }

    #[test]
    fn workspaces_are_existing_folders_each_once() {
        let paths = ["/b", "", "/a", "/b", "/gone"].map(str::to_owned);
        let exists = |path: &Path| path != Path::new("/gone");
        assert_eq!(workspaces(paths.into_iter(), exists), ["/b", "/a"]);
    }

    #[test]
    fn a_folder_is_absolute_and_exists() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().display().to_string();
        std::fs::create_dir(dir.path().join("x")).unwrap();
        let in_home = |name: &str| folder(name, Some(&home));
        assert_eq!(in_home("~"), Ok(home.clone()));
        assert_eq!(in_home("~/x/"), Ok(format!("{home}/x")));
        assert_eq!(in_home(&format!("{home}//x/.")), Ok(format!("{home}/x")));
        for wrong in ["x", "~other", "~/gone", "", "/nonexistent"] {
            assert!(in_home(wrong).is_err(), "{wrong}");
        }
    }
}
