//! The client as a front end sees it: against a server made for it, and against a real one.

mod fake;
mod inbox;
mod live;
mod loops;

use std::time::Duration;

use super::super::{Remote, Server, start};
use crate::state_dir::StateDir;
use protocol::View;
use protocol::{
    Answer, Ask, Body, Choice, Command, Event, Link, News, PromptId, Row, SessionId, Target,
    Transcript,
};

const LIMIT: Duration = Duration::from_mins(1);

struct TestClient {
    host: View,
    remote: Remote,
    view: Transcript,
    events: Vec<Event>,
    dir: tempfile::TempDir,
}

impl TestClient {
    fn attach(url: &str, target: Target) -> Self {
        Self::attach_in(url, target, tempfile::tempdir().unwrap())
    }

    fn attach_in(url: &str, target: Target, dir: tempfile::TempDir) -> Self {
        let server = Server::parse(url, &StateDir::new(dir.path())).unwrap();
        let (host, remote) = start(server, target);
        let (view, events) = (Transcript::default(), Vec::new());
        Self { host, remote, view, events, dir }
    }

    async fn new(url: &str) -> Self {
        let mut client = Self::attach(url, Target::New);
        client.until("a window", |f| !f.view.session.0.is_empty()).await;
        client
    }

    fn id(&self) -> Target {
        Target::Id(self.view.session.clone())
    }

    /// Reads events until that holds.
    async fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = tokio::time::Instant::now() + LIMIT;
        while !holds(self) {
            let next = tokio::time::timeout_at(end, self.host.next()).await;
            let Ok(event) = next else {
                panic!(
                    "no {what}: {:#?}\n{:?}",
                    self.view,
                    self.events.iter().rev().take(12).collect::<Vec<_>>()
                )
            };
            let event = event.expect("the client ended");
            self.view.apply(&event);
            self.events.push(event);
        }
    }

    fn prompt(&self, text: &str) {
        self.host.send(Command::Prompt { id: PromptId::fresh(), text: text.to_owned() });
    }

    /// Runs a turn to its end.
    async fn turn(&mut self, text: &str) {
        let rows = self.view.rows.len();
        self.prompt(text);
        self.until(text, |f| f.is_idle() && f.view.rows.len() > rows + 1).await;
    }

    fn is_idle(&self) -> bool {
        self.view.running.is_none() && self.view.queued.is_empty()
    }

    fn texts(&self) -> Vec<&str> {
        self.view.rows.iter().map(Row::text).collect()
    }

    fn last(&self) -> &str {
        self.view.rows.last().map_or("", Row::text)
    }
}
