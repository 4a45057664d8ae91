//! The start of a turn by a prompt: which turn it becomes, or why none.

use std::time::Duration;

use crate::embedded::{Attendance, HostHandle};
use crate::serve::ApiError;
use crate::wire::encode::session;
use protocol::{
    Body, Command, Event, PromptId, SessionId, Source, Subject, Transcript, TurnId, View,
};

/// How long a change of the session before a turn may take.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// The outcome of sending a prompt.
#[derive(Debug)]
pub(super) enum PromptOutcome {
    /// It runs as this turn.
    Started(TurnId),
    /// It waits in the queue, at this position from 1.
    Queued(usize),
    /// Another turn runs, and the prompt was withdrawn; `None` = the host is stopping.
    Busy(Option<TurnId>),
}

/// A view for one prompt: its failures are about that prompt.
pub(super) struct Starter {
    view: View,
    transcript: Transcript,
}

impl Starter {
    pub(super) async fn open(host: &HostHandle, session: &SessionId) -> Result<Self, ApiError> {
        let view = host.open(session.clone(), Attendance::Attended).await;
        let mut view = view.map_err(|_| ApiError::not_found("Session not found"))?;
        match view.next().await {
            Some(Event::Attached { transcript, .. }) => Ok(Self { view, transcript: *transcript }),
            _ => Err(ApiError::host_stopped()),
        }
    }

    async fn next(&mut self) -> Result<Event, ApiError> {
        let event = self.view.next().await.ok_or_else(ApiError::host_stopped)?;
        self.transcript.apply(&event);
        Ok(event)
    }

    /// The revision of the session, as its object names it.
    pub(super) fn revision(&self) -> Option<String> {
        session::revision(&self.transcript)
    }

    pub(super) async fn set_model(&mut self, model: &str) -> Result<(), ApiError> {
        if self.transcript.model == model {
            return Ok(());
        }
        self.view.send(Command::SetModel { model: model.to_owned() });
        self.until_changed(&Subject::Model, |event| matches!(event, Event::ModelChanged { .. }))
            .await
    }

    pub(super) async fn set_cwd(&mut self, cwd: &str) -> Result<(), ApiError> {
        if self.transcript.cwd == cwd {
            return Ok(());
        }
        self.view.send(Command::SetCwd { cwd: cwd.to_owned() });
        self.until_changed(&Subject::Cwd, |event| matches!(event, Event::CwdChanged { .. })).await
    }

    /// Waits for the result of a change. No event answers one without effect: then it waits for
    /// [`CHANGE_TIMEOUT`].
    async fn until_changed(
        &mut self,
        about: &Subject,
        is_change: impl Fn(&Event) -> bool,
    ) -> Result<(), ApiError> {
        let waiting = async {
            loop {
                match self.next().await? {
                    Event::Failed(failure) if failure.about == *about => {
                        return Err(ApiError::bad_request(failure.message));
                    }
                    event if is_change(&event) => return Ok(()),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(CHANGE_TIMEOUT, waiting).await.unwrap_or(Ok(()))
    }

    /// Runs the last user turn again.
    pub(super) async fn retry(&mut self, queue: bool) -> Result<PromptOutcome, ApiError> {
        let id = PromptId::fresh();
        self.view.send(Command::Retry { id: id.clone() });
        self.outcome(&id, None, queue).await
    }

    /// Sends a prompt.
    pub(super) async fn prompt(
        &mut self,
        text: String,
        queue: bool,
    ) -> Result<PromptOutcome, ApiError> {
        let id = PromptId::fresh();
        self.view.send(Command::Prompt { id: id.clone(), text: text.clone() });
        self.outcome(&id, Some(&text), queue).await
    }

    /// Waits for the outcome of a prompt. One that starts at once is never in the queue: its row
    /// follows the start of its turn, and the rows of waiting wakeups come just before it (W05). One
    /// that finds another turn running is queued; unless `queue`, it is withdrawn again.
    async fn outcome(
        &mut self,
        id: &PromptId,
        text: Option<&str>,
        queue: bool,
    ) -> Result<PromptOutcome, ApiError> {
        let mut withdrawn = false;
        // The turn that ran when it was queued.
        let mut behind = None;
        loop {
            let event = self.next().await?;
            let running = self.transcript.running.as_ref().map(|r| (r.turn, r.source));
            match event {
                Event::RowAdded { row } if behind.is_none() => {
                    // A view of another kind may have started a turn just before.
                    let Body::User { text: prompt } = &row.body else { continue };
                    let ours = text.is_none_or(|text| prompt.contains(text.trim()));
                    if ours && running == Some((row.turn, Source::User)) {
                        return Ok(PromptOutcome::Started(row.turn));
                    }
                }
                Event::PromptQueued { prompt } if prompt.id == *id => {
                    if queue {
                        return Ok(PromptOutcome::Queued(self.transcript.queued.len()));
                    }
                    behind = running.map(|(turn, _)| turn);
                    withdrawn = true;
                    self.view.send(Command::Unqueue { id: id.clone() });
                }
                // It left the queue: withdrawn, or because it was its turn.
                Event::PromptUnqueued { id: left } if left == *id && withdrawn => {
                    return Ok(match running {
                        Some((turn, _)) if behind.is_some_and(|behind| behind < turn) => {
                            PromptOutcome::Started(turn)
                        }
                        Some((turn, _)) => PromptOutcome::Busy(Some(turn)),
                        None => PromptOutcome::Busy(behind),
                    });
                }
                // Some failures of other views' commands reach every view.
                Event::Failed(failure) if is_start(&failure.about) => {
                    return Err(ApiError::bad_request(failure.message));
                }
                _ => {}
            }
        }
    }
}

/// Whether a failure is about the start of a turn.
fn is_start(about: &Subject) -> bool {
    matches!(about, Subject::Prompt | Subject::NamedPrompt(_) | Subject::Retry | Subject::Command)
}
