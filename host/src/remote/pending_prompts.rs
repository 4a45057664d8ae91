//! Prompts that no host has confirmed yet. They are on disk before they are sent, and are removed
//! when the host shows them: what was typed survives the end of the link, of the client and of the
//! machine.
//!
//! Each connection has a file of its own and holds a lock beside it. A file whose lock is free
//! belongs to a client that is gone, and is taken over.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Server;
use crate::clock::now;
use crate::state_dir::{Sync, write_private};
use protocol::{Body, Event, Failure, Millis, PromptId, SessionId, Subject, Transcript};

/// See [`PendingPrompt::after`].
const NOT_SENT: u64 = u64::MAX;

/// One prompt that is not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingPrompt {
    /// Names it at the host, so that sending it twice is one prompt.
    pub(crate) id: PromptId,
    /// The session it was typed in; `None` = one that did not exist yet.
    pub(crate) session: Option<SessionId>,
    /// The last row of the session when it was first sent: its own comes later. As long as it was
    /// not sent no row can be its own: [`NOT_SENT`].
    pub(crate) after: u64,
    /// What was typed.
    pub(crate) text: String,
    /// When, by our clock.
    pub(crate) at: Millis,
}

impl PendingPrompt {
    /// A prompt that was typed just now.
    pub(crate) fn new(id: &PromptId, session: Option<SessionId>, text: &str) -> Self {
        let (id, text) = (id.clone(), text.to_owned());
        Self { id, session, after: NOT_SENT, text, at: now() }
    }

    /// Notes where it is about to be sent, `last` being the number of the last row there. A prompt
    /// that is sent again keeps its place. Returns whether anything changed.
    pub(crate) fn mark_sent(&mut self, session: &SessionId, last: u64) -> bool {
        if self.after != NOT_SENT && self.session.as_ref() == Some(session) {
            return false;
        }
        self.session = Some(session.clone());
        self.after = last;
        true
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct PendingPrompts {
    entries: Vec<PendingPrompt>,
    path: PathBuf,
    /// Held as long as there is something in the file.
    lock: Option<File>,
}

impl PendingPrompts {
    /// Takes over the prompts that clients which are gone have left for this server.
    pub(crate) fn open(server: &Server) -> Self {
        let own = uuid::Uuid::new_v4().simple().to_string();
        let mut prompts =
            Self { entries: Vec::new(), path: server.file(&format!("unsent-{own}")), lock: None };
        let mut left: Vec<_> = files(server).iter().filter_map(|path| take_over(path)).collect();
        left.sort_by_key(|(entries, ..)| entries.first().map(|entry| entry.at));
        for (entries, ..) in &left {
            prompts.entries.extend(entries.iter().cloned());
        }
        if prompts.entries.is_empty() || prompts.save().is_ok() {
            for (_, path, _lock) in &left {
                fs::remove_file(path).ok();
                fs::remove_file(lock_of(path)).ok();
            }
        }
        prompts
    }

    /// All of them, oldest first.
    pub(crate) fn entries(&self) -> &[PendingPrompt] {
        &self.entries
    }

    /// Their texts, oldest first.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.text.clone()).collect()
    }

    /// Stores a prompt. If that fails it is logged, and the prompt is still sent.
    pub(crate) fn add(&mut self, entry: PendingPrompt) {
        if self.entries.iter().any(|known| known.id == entry.id) {
            return;
        }
        self.entries.push(entry);
        self.save_or_log();
    }

    /// Notes where a prompt is about to be sent: [`PendingPrompt::mark_sent`].
    pub(crate) fn mark_sent(&mut self, id: &PromptId, session: &SessionId, last: u64) {
        let found = self.entries.iter_mut().find(|entry| entry.id == *id);
        if found.is_some_and(|entry| entry.mark_sent(session, last)) {
            self.save_or_log();
        }
    }

    /// A session goes on under another id, and with it the prompts that wait there.
    pub(crate) fn move_session(&mut self, from: &SessionId, to: &SessionId) {
        let waiting = self.entries.iter_mut().filter(|entry| entry.session.as_ref() == Some(from));
        let mut any = false;
        for entry in waiting {
            // Its rows are numbered anew.
            (entry.session, entry.after) = (Some(to.clone()), NOT_SENT);
            any = true;
        }
        if any {
            self.save_or_log();
        }
    }

    /// Removes prompts.
    pub(crate) fn remove(&mut self, ids: &[PromptId]) {
        let before = self.entries.len();
        self.entries.retain(|entry| !ids.contains(&entry.id));
        if self.entries.len() != before {
            self.save_or_log();
        }
    }

    /// Removes the prompts that an event of that session shows the host to have, and returns their
    /// ids.
    pub(crate) fn acknowledge(&mut self, session: &SessionId, event: &Event) -> Vec<PromptId> {
        let taken = confirmed_by(&self.entries, session, event);
        self.remove(&taken);
        taken
    }

    fn save_or_log(&mut self) {
        if let Err(error) = self.save() {
            tracing::warn!(%error, "a prompt that is not sent yet could not be stored");
        }
    }

    fn save(&mut self) -> io::Result<()> {
        if self.entries.is_empty() {
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            if self.lock.take().is_some() {
                fs::remove_file(lock_of(&self.path)).ok();
            }
            return Ok(());
        }
        if self.lock.is_none() {
            let path = lock_of(&self.path);
            // Also creates the directory.
            write_private(&path, b"", Sync::Now)?;
            let lock = File::open(&path)?;
            lock.try_lock()?;
            self.lock = Some(lock);
        }
        write_private(&self.path, &serde_json::to_vec_pretty(&self.entries)?, Sync::Now)
    }
}

/// Which of the prompts the host has, as an event of that session shows.
pub(crate) fn confirmed_by(
    entries: &[PendingPrompt],
    session: &SessionId,
    event: &Event,
) -> Vec<PromptId> {
    let mut found = Vec::new();
    match event {
        Event::PromptQueued { prompt } => found.push(prompt.id.clone()),
        Event::PromptUnqueued { id } => found.push(id.clone()),
        // Refused: the view has the text again.
        Event::Failed(Failure { about: Subject::NamedPrompt(id), .. }) => {
            found.extend(entries.iter().any(|entry| entry.id == *id).then(|| id.clone()));
        }
        Event::Failed(Failure { about: Subject::Prompt, .. }) => {
            let sent = |entry: &&PendingPrompt| {
                entry.after != NOT_SENT && entry.session.as_ref() == Some(session)
            };
            found.extend(entries.iter().rev().find(sent).map(|entry| entry.id.clone()));
        }
        Event::RowAdded { row } => {
            if let Body::User { text } = &row.body {
                // One row is one prompt: the oldest of several with the same words.
                let entry = entries.iter().find(|entry| {
                    entry.session.as_ref() == Some(session)
                        && row.n > entry.after
                        && is_text_of(text, &entry.text)
                });
                found.extend(entry.map(|entry| entry.id.clone()));
            }
        }
        Event::Attached { transcript, .. } => found = shown(entries, transcript),
        _ => {}
    }
    found
}

/// Which of the prompts a window shows.
fn shown(entries: &[PendingPrompt], transcript: &Transcript) -> Vec<PromptId> {
    let mut rows: Vec<(u64, &str)> = Vec::new();
    for row in &transcript.rows {
        if let Body::User { text } = &row.body {
            rows.push((row.n, text));
        }
    }
    let mut found = Vec::new();
    for entry in entries.iter().filter(|e| e.session.as_ref() == Some(&transcript.session)) {
        if transcript.queued.iter().any(|queued| queued.id == entry.id) {
            found.push(entry.id.clone());
        } else if let Some(at) =
            rows.iter().position(|(n, text)| *n > entry.after && is_text_of(text, &entry.text))
        {
            rows.remove(at);
            found.push(entry.id.clone());
        }
    }
    found
}

/// A row has what was typed, and after it what the host adds (the files that went along).
fn is_text_of(row: &str, typed: &str) -> bool {
    let rest = row.trim().strip_prefix(typed.trim());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('\n'))
}

fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

/// The files of all connections to that server.
fn files(server: &Server) -> Vec<PathBuf> {
    let any = server.file("unsent-");
    let (Some(dir), Some(name)) = (any.parent(), any.file_name()) else { return Vec::new() };
    let name = name.to_string_lossy().into_owned();
    let start = name.trim_end_matches(".json");
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let ours = entries.map(|entry| entry.path()).filter(|path| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with(start) && path.extension().is_some_and(|e| e == "json")
    });
    ours.collect()
}

/// Whether clients that are gone have left prompts for that server.
pub(super) fn has_orphans(server: &Server) -> bool {
    files(server).iter().any(|path| take_over(path).is_some())
}

/// Whether any prompts wait for that server, of clients that are gone or not.
pub(super) fn has_any(server: &Server) -> bool {
    !files(server).is_empty()
}

/// The prompts that a client which is gone has left in that file, with the lock on it.
fn take_over(path: &Path) -> Option<(Vec<PendingPrompt>, PathBuf, File)> {
    let lock = File::options().create(true).append(true).open(lock_of(path)).ok()?;
    lock.try_lock().ok()?;
    let text = fs::read(path).ok()?;
    match serde_json::from_slice(&text) {
        Ok(entries) => Some((entries, path.to_owned(), lock)),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "prompts that were not sent cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_dir::StateDir;
    use protocol::{Failure, Queued, Row, TurnId};

    fn server(dir: &Path) -> Server {
        Server::parse("http://box:1", &StateDir::new(dir)).unwrap()
    }

    fn entry(id: &str, session: &str, after: u64, text: &str) -> PendingPrompt {
        PendingPrompt {
            id: PromptId(id.to_owned()),
            session: Some(SessionId(session.to_owned())),
            after,
            text: text.to_owned(),
            at: 1,
        }
    }

    fn user(n: u64, text: &str) -> Row {
        Row { n, turn: TurnId(1), at: 0, cut: 0, body: Body::User { text: text.to_owned() } }
    }

    fn ids(prompts: &PendingPrompts) -> Vec<&str> {
        prompts.entries().iter().map(|entry| entry.id.0.as_str()).collect()
    }

    #[test]
    fn a_prompt_outlives_its_client_and_goes_to_the_next_one_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = PendingPrompts::open(&server(dir.path()));
        first.add(entry("a", "s", 0, "one"));
        first.add(entry("b", "s", 0, "two"));
        first.add(entry("b", "s", 0, "two"));
        // A second client beside it: nothing is taken from a live client.
        let beside = PendingPrompts::open(&server(dir.path()));
        assert_eq!(ids(&beside), [""; 0]);
        drop(first);
        let second = PendingPrompts::open(&server(dir.path()));
        assert_eq!(ids(&second), ["a", "b"]);
        assert_eq!(ids(&PendingPrompts::open(&server(dir.path()))), [""; 0]);
        assert_eq!(
            ids(&PendingPrompts::open(
                &Server::parse("http://box", &StateDir::new(dir.path())).unwrap()
            )),
            [""; 0]
        );
        drop(second);
        let mut third = PendingPrompts::open(&server(dir.path()));
        third.remove(&[PromptId("a".to_owned()), PromptId("b".to_owned())]);
        drop(third);
        assert_eq!(ids(&PendingPrompts::open(&server(dir.path()))), [""; 0]);
        let left = fs::read_dir(dir.path().join("remote")).unwrap().count();
        assert_eq!(left, 0, "nothing is left behind");
    }

    #[test]
    fn a_prompt_is_confirmed_when_the_host_shows_it() {
        let session = SessionId("s".to_owned());
        let entries =
            [entry("a", "s", 4, "go"), entry("b", "s", 4, "go"), entry("c", "t", 0, "go")];
        let row = |n, text: &str| Event::RowAdded { row: user(n, text) };
        let prompts = [entry("d", "s", NOT_SENT, "go")];
        assert_eq!(confirmed_by(&prompts, &session, &row(9, "go")), [], "it was never sent");
        let confirmed = |event: &Event| {
            confirmed_by(&entries, &session, event).into_iter().map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!(confirmed(&row(4, "go")), [""; 0], "an older row with the same words");
        assert_eq!(confirmed(&row(5, "stop")), [""; 0]);
        assert_eq!(confirmed(&row(5, "good")), [""; 0]);
        assert_eq!(confirmed(&row(5, "go")), ["a"], "one row is one prompt");
        let queued = Queued { id: PromptId("b".to_owned()), text: "go".to_owned() };
        assert_eq!(confirmed(&Event::PromptQueued { prompt: queued.clone() }), ["b"]);
        let mut transcript = Transcript { session: session.clone(), ..Transcript::default() };
        transcript.rows = vec![user(4, "go"), user(6, "go")];
        let window =
            |t: &Transcript| Event::Attached { transcript: Box::new(t.clone()), resynced: false };
        assert_eq!(confirmed(&window(&transcript)), ["a"]);
        transcript.queued = vec![queued];
        assert_eq!(confirmed(&window(&transcript)), ["a", "b"]);
        let refused = |about| Event::Failed(Failure { about, message: String::new() });
        let named = |id: &str| Subject::NamedPrompt(PromptId(id.to_owned()));
        assert_eq!(confirmed(&refused(named("a"))), ["a"]);
        assert_eq!(confirmed(&refused(named("another"))), [""; 0]);
        assert_eq!(confirmed(&refused(Subject::Prompt)), ["b"], "the last one that was sent there");
        assert_eq!(confirmed(&refused(Subject::Open)), [""; 0]);
        transcript.session = SessionId("u".to_owned());
        assert_eq!(confirmed(&window(&transcript)), [""; 0]);
    }

    #[test]
    fn waiting_prompts_follow_their_session_to_another_id() {
        // S03: also for the client that comes after this one.
        let dir = tempfile::tempdir().unwrap();
        let ids = ["old", "new", "else"].map(|id| SessionId(id.to_owned()));
        let mut first = PendingPrompts::open(&server(dir.path()));
        first.add(entry("a", "old", 40, "go"));
        first.add(entry("b", "else", 3, "on"));
        first.move_session(&ids[0], &ids[1]);
        drop(first);
        let mut next = PendingPrompts::open(&server(dir.path()));
        let of = |prompts: &PendingPrompts| {
            prompts
                .entries()
                .iter()
                .map(|e| (e.session.clone().unwrap(), e.after))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&next), [(ids[1].clone(), NOT_SENT), (ids[2].clone(), 3)]);
        // Rows are counted anew there.
        next.mark_sent(&PromptId("a".to_owned()), &ids[1], 2);
        let row = Event::RowAdded { row: user(3, "go") };
        assert_eq!(next.acknowledge(&ids[1], &row), [PromptId("a".to_owned())]);
    }
}
