//! The view behind one request: opened for it, asked one thing after the other, closed with it.
//! Streams, which many requests share, are not read from it but from a feed.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{ApiError, ServerState};
use crate::embedded::{Attendance, OpenError};
use crate::wire::encode::session;
use protocol::{Command, Event, SessionId, SessionRow, Subject, Target, Transcript, View};

/// How long the host may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Between two reads of the session list while a change is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A view for one request.
pub(super) struct RequestView {
    view: View,
    /// The session in view, kept up to date while an answer is waited for.
    pub(super) transcript: Transcript,
}

impl RequestView {
    /// A view of that session; 404 if it does not exist.
    pub(super) async fn open(server: &ServerState, session: &str) -> Result<Self, ApiError> {
        let id = SessionId(session.to_owned());
        match server.host.open(id, Attendance::Attended).await {
            Ok(view) => Self::attached(view).await,
            Err(OpenError::Unknown(_) | OpenError::Deleted(_)) => {
                Err(ApiError::not_found("Session not found"))
            }
            Err(OpenError::Refused(why)) => Err(unavailable(why)),
        }
    }

    /// A view of a new session, which is stored only with its first prompt: also for what
    /// concerns the whole host.
    pub(super) async fn open_new(server: &ServerState) -> Result<Self, ApiError> {
        Self::attached(server.host.attach(Target::New, Attendance::Attended)).await
    }

    /// Waits for the first window.
    async fn attached(mut view: View) -> Result<Self, ApiError> {
        let window = async {
            while let Some(event) = view.next().await {
                if let Event::Attached { transcript, .. } = event {
                    return Some(*transcript);
                }
            }
            None
        };
        match tokio::time::timeout(TIMEOUT, window).await {
            Ok(Some(transcript)) => Ok(Self { view, transcript }),
            Ok(None) => Err(ApiError::host_stopped()),
            Err(_) => Err(timed_out()),
        }
    }

    /// Sends a command and waits for the event that answers it: the first one for which `answer`
    /// returns something. A command that the host refuses is 400 with the host's message.
    pub(super) async fn request<T>(
        &mut self,
        command: Command,
        answer: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, ApiError> {
        self.request_within(TIMEOUT, command, answer).await
    }

    /// As [`RequestView::request`], with another limit of time.
    pub(super) async fn request_within<T>(
        &mut self,
        timeout: Duration,
        command: Command,
        answer: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, ApiError> {
        self.view.send(command);
        self.wait_within(timeout, answer).await
    }

    /// Waits for the first event for which `answer` returns something.
    pub(super) async fn wait_for<T>(
        &mut self,
        answer: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, ApiError> {
        self.wait_within(TIMEOUT, answer).await
    }

    async fn wait_within<T>(
        &mut self,
        timeout: Duration,
        mut answer: impl FnMut(&Event) -> Option<T>,
    ) -> Result<T, ApiError> {
        let answered = async {
            while let Some(event) = self.view.next().await {
                self.transcript.apply(&event);
                if let Some(answer) = answer(&event) {
                    return Ok(answer);
                }
                if let Event::Failed(failure) = event
                    // Every view of a damaged session gets that failure: it answers no command.
                    && failure.about != Subject::State
                {
                    return Err(ApiError::bad_request(failure.message));
                }
            }
            Err(ApiError::host_stopped())
        };
        tokio::time::timeout(timeout, answered).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// The sessions, newest first.
    pub(super) async fn list_sessions(&mut self) -> Result<Vec<SessionRow>, ApiError> {
        self.request(Command::ListSessions, |event| match event {
            Event::SessionsListed { sessions } => Some(sessions.clone()),
            _ => None,
        })
        .await
    }

    /// The session in view as lists show it; `None` before its first prompt.
    pub(super) async fn list_row(&mut self) -> Result<Option<SessionRow>, ApiError> {
        let id = self.transcript.session.clone();
        Ok(self.list_sessions().await?.into_iter().find(|row| row.id == id))
    }

    /// Sends a command that no event answers, and waits until the session list shows its effect.
    /// A session that is in no list is not waited for.
    pub(super) async fn send_until_listed(
        &mut self,
        command: Command,
        is_done: impl Fn(&SessionRow) -> bool,
    ) -> Result<(), ApiError> {
        self.view.send(command);
        let end = Instant::now() + TIMEOUT;
        loop {
            match self.list_row().await? {
                Some(row) if !is_done(&row) => {}
                Some(_) | None => return Ok(()),
            }
            if Instant::now() >= end {
                return Err(timed_out());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The object of the session in view, without its messages.
    pub(super) async fn head(&mut self, server: &ServerState) -> Result<Value, ApiError> {
        let row = self.list_row().await?;
        let head = session::head(&self.transcript, row.as_ref());
        Ok(with_server_state(server, head, &self.transcript))
    }

    /// Sends a command.
    pub(super) fn send(&self, command: Command) {
        self.view.send(command);
    }

    /// The view itself, for what outlives the request.
    pub(super) fn into_view(self) -> View {
        self.view
    }
}

fn unavailable(why: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why)
}

fn timed_out() -> ApiError {
    unavailable("the host did not answer in time")
}

/// Adds to the object of a session what only the server knows of it.
pub(super) fn with_server_state(
    server: &ServerState,
    mut session: Value,
    transcript: &Transcript,
) -> Value {
    session["composer_draft"] = server.client_state.draft(&transcript.session);
    session["active_stream_id"] = json!(server.feeds.active(transcript));
    session["project_id"] = json!(server.projects.of(&transcript.session));
    session
}

/// The object of a session in a list, with what only the server knows of it.
pub(super) fn list_item(server: &ServerState, row: &SessionRow) -> Value {
    let mut item = session::list_row(row);
    // A turn that is being cancelled has no stream to attach to any more (E02).
    let turn = row.turn.filter(|turn| !turn.cancelling);
    let stream = turn.map(|turn| server.feeds.stream_id(&row.id, turn.turn));
    item["active_stream_id"] = json!(stream);
    item["project_id"] = json!(server.projects.of(&row.id));
    item
}
