//! One question to the host and its answer: a view that is open only as long as that takes.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Refusal, Serving};
use crate::embedded::Attendance;
use crate::wire::encode::session;
use protocol::View;
use protocol::{Command, Event, SessionId, SessionRow, Subject, Target, Transcript};

/// How long the host may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at what is being written.
const PAUSE: Duration = Duration::from_millis(20);

/// A view for one request.
pub(super) struct RequestView {
    host: View,
    /// The session in view, kept up to date by [`RequestView::ask`].
    pub(super) transcript: Transcript,
}

/// A view on that session; 404 if there is none.
pub(super) async fn open(serving: &Serving, session: &str) -> Result<RequestView, Refusal> {
    let id = SessionId(session.to_owned());
    match serving.access.open(id, Attendance::Attended).await {
        Ok(host) => RequestView::on(host).await,
        Err(why) if is_unknown(&why) => Err(Refusal::not_found("Session not found")),
        Err(why) => Err(busy(why)),
    }
}

/// A view on no session in particular, for what concerns the whole host. It leaves nothing.
pub(super) async fn anywhere(serving: &Serving) -> Result<RequestView, Refusal> {
    RequestView::on(serving.access.attach(Target::New, Attendance::Attended)).await
}

/// The sessions, newest first.
pub(super) async fn sessions(serving: &Serving) -> Result<Vec<SessionRow>, Refusal> {
    anywhere(serving).await?.sessions().await
}

/// Whether the host says with that that no session has such an id (any more).
pub(super) fn is_unknown(why: &str) -> bool {
    why.starts_with("there is no session") || why.ends_with("was deleted")
}

fn busy(why: impl Into<String>) -> Refusal {
    Refusal::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, why)
}

impl RequestView {
    async fn on(mut host: View) -> Result<Self, Refusal> {
        let window = async {
            while let Some(event) = host.next().await {
                if let Event::Attached { transcript, .. } = event {
                    return Some(*transcript);
                }
            }
            None
        };
        match tokio::time::timeout(PATIENCE, window).await {
            Ok(Some(transcript)) => Ok(Self { host, transcript }),
            Ok(None) => Err(busy("the host has stopped")),
            Err(_) => Err(busy("the host did not answer in time")),
        }
    }

    /// Sends a command and waits for the event that answers it. What the host will not do is 400
    /// with its words.
    pub(super) async fn ask<T>(
        &mut self,
        command: Command,
        mut answer: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, Refusal> {
        self.ask_within(PATIENCE, command, &mut answer).await
    }

    /// Waits for an event.
    pub(super) async fn wait<T>(
        &mut self,
        mut answer: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, Refusal> {
        self.wait_within(PATIENCE, &mut answer).await
    }

    /// As [`RequestView::ask`], for what takes longer.
    pub(super) async fn ask_within<T>(
        &mut self,
        patience: Duration,
        command: Command,
        mut answer: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, Refusal> {
        self.host.send(command);
        self.wait_within(patience, &mut answer).await
    }

    async fn wait_within<T>(
        &mut self,
        patience: Duration,
        mut answer: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, Refusal> {
        let told = async {
            while let Some(event) = self.host.next().await {
                self.transcript.apply(&event);
                if let Some(found) = answer(&event) {
                    return Ok(found);
                }
                if let Event::Failed(failure) = event
                    // Damage of the session is no answer to what was asked.
                    && failure.about != Subject::State
                {
                    return Err(Refusal::bad(failure.message));
                }
            }
            Err(busy("the host has stopped"))
        };
        let told = tokio::time::timeout(patience, told).await;
        told.unwrap_or_else(|_| Err(busy("the host did not answer in time")))
    }

    /// The sessions, newest first.
    pub(super) async fn sessions(&mut self) -> Result<Vec<SessionRow>, Refusal> {
        self.ask(Command::ListSessions, |event| match event {
            Event::SessionsListed { sessions } => Some(sessions.clone()),
            _ => None,
        })
        .await
    }

    /// What lists show of the session in view; `None` before its first prompt.
    pub(super) async fn row(&mut self) -> Result<Option<SessionRow>, Refusal> {
        let id = self.transcript.session.clone();
        Ok(self.sessions().await?.into_iter().find(|row| row.id == id))
    }

    /// Sends a command that no event answers, and waits until lists show what it does.
    pub(super) async fn until_listed(
        &mut self,
        command: Command,
        done: impl Fn(&SessionRow) -> bool,
    ) -> Result<(), Refusal> {
        self.host.send(command);
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.row().await? {
                Some(row) if !done(&row) => {}
                Some(_) | None => return Ok(()),
            }
            if tokio::time::Instant::now() >= end {
                return Err(busy("the host did not answer in time"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The session in view without its messages.
    pub(super) async fn head(&mut self, serving: &Serving) -> Result<Value, Refusal> {
        let row = self.row().await?;
        Ok(completed(serving, session::head(&self.transcript, row.as_ref()), &self.transcript))
    }

    /// Sends a command.
    pub(super) fn send(&self, command: Command) {
        self.host.send(command);
    }

    /// The way to the host stays open in this end.
    pub(super) fn into_host(self) -> View {
        self.host
    }
}

/// Adds what only the server knows of a session.
pub(super) fn completed(serving: &Serving, mut session: Value, transcript: &Transcript) -> Value {
    session["composer_draft"] = serving.client_state.draft(&transcript.session);
    session["active_stream_id"] = json!(serving.feeds.active(transcript));
    session["project_id"] = json!(serving.projects.of(&transcript.session));
    session
}

/// A line of a list, with what only the server knows of it.
pub(super) fn listed(serving: &Serving, row: &SessionRow) -> Value {
    let mut line = session::list_row(row);
    // One that is being cancelled has nothing to attach to any more (E02).
    let turn = row.turn.filter(|turn| !turn.cancelling);
    let stream = turn.map(|turn| serving.feeds.stream(&row.id, turn.turn));
    line["active_stream_id"] = json!(stream);
    line["project_id"] = json!(serving.projects.of(&row.id));
    line
}
