//! How a prompt becomes a turn: which one, or why not.

use std::time::Duration;

use axum::http::StatusCode;

use crate::embedded::{Attendance, HostHandle};
use crate::serve::Refusal;
use crate::wire::encode::session;
use protocol::Subject;
use protocol::View;
use protocol::{Body, Command, Event, PromptId, SessionId, Source, Transcript, TurnId};

/// How long a change of the session before a turn may take.
const CHANGE: Duration = Duration::from_secs(2);
/// What became of a prompt.
#[derive(Debug)]
pub(super) enum Begun {
    /// It runs as this turn.
    Turn(TurnId),
    /// It waits: the how-many-th it is.
    Queued(usize),
    /// Another turn runs, and the prompt was taken back; or the host stops.
    Busy(Option<TurnId>),
}

/// A view of its own for one prompt: what the host says to it is about that prompt.
pub(super) struct Starter {
    host: View,
    transcript: Transcript,
}

impl Starter {
    pub(super) async fn open(access: &HostHandle, session: &SessionId) -> Result<Self, Refusal> {
        let host = access.open(session.clone(), Attendance::Attended).await;
        let mut host = host.map_err(|_| Refusal::not_found("Session not found"))?;
        match host.next().await {
            Some(Event::Attached { transcript, .. }) => Ok(Self { host, transcript: *transcript }),
            _ => Err(stopped()),
        }
    }

    async fn next(&mut self) -> Result<Event, Refusal> {
        let event = self.host.next().await.ok_or_else(stopped)?;
        self.transcript.apply(&event);
        Ok(event)
    }

    /// What the session holds, as its object names it.
    pub(super) fn revision(&self) -> Option<String> {
        session::revision(&self.transcript)
    }

    pub(super) async fn set_model(&mut self, model: &str) -> Result<(), Refusal> {
        if self.transcript.model == model {
            return Ok(());
        }
        self.host.send(Command::SetModel { model: model.to_owned() });
        self.changed(&Subject::Model, |event| matches!(event, Event::ModelChanged { .. })).await
    }

    pub(super) async fn set_cwd(&mut self, cwd: &str) -> Result<(), Refusal> {
        if self.transcript.cwd == cwd {
            return Ok(());
        }
        self.host.send(Command::SetCwd { cwd: cwd.to_owned() });
        self.changed(&Subject::Cwd, |event| matches!(event, Event::CwdChanged { .. })).await
    }

    /// Waits for what a change comes to; one that changes nothing is not told at all.
    async fn changed(
        &mut self,
        about: &Subject,
        is_it: impl Fn(&Event) -> bool,
    ) -> Result<(), Refusal> {
        let waiting = async {
            loop {
                match self.next().await? {
                    Event::Failed(failure) if failure.about == *about => {
                        return Err(Refusal::bad(failure.message));
                    }
                    event if is_it(&event) => return Ok(()),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(CHANGE, waiting).await.unwrap_or(Ok(()))
    }

    /// Runs the last user turn again.
    pub(super) async fn retry(&mut self, queue: bool) -> Result<Begun, Refusal> {
        let id = PromptId::fresh();
        self.host.send(Command::Retry { id: id.clone() });
        self.becomes(&id, None, queue).await
    }

    pub(super) async fn prompt(&mut self, text: String, queue: bool) -> Result<Begun, Refusal> {
        let id = PromptId::fresh();
        self.host.send(Command::Prompt { id: id.clone(), text: text.clone() });
        self.becomes(&id, Some(&text), queue).await
    }

    /// What becomes of a prompt. One that starts at once is never in the queue: its row follows
    /// the start of its turn, and that of all that waits rides along before it (W05). One that
    /// finds another turn running is queued; unless that was asked for, it is taken back.
    async fn becomes(
        &mut self,
        id: &PromptId,
        text: Option<&str>,
        queue: bool,
    ) -> Result<Begun, Refusal> {
        let mut taken_back = false;
        // The turn that ran when it was queued.
        let mut behind = None;
        loop {
            let event = self.next().await?;
            let running = self.transcript.running.as_ref().map(|r| (r.turn, r.source));
            match event {
                Event::RowAdded { row } if behind.is_none() => {
                    // A front end of another kind may have started a turn just before.
                    let Body::User { text: said } = &row.body else { continue };
                    let ours = text.is_none_or(|text| said.contains(text.trim()));
                    if ours && running == Some((row.turn, Source::User)) {
                        return Ok(Begun::Turn(row.turn));
                    }
                }
                Event::PromptQueued { prompt } if prompt.id == *id => {
                    if queue {
                        return Ok(Begun::Queued(self.transcript.queued.len()));
                    }
                    behind = running.map(|(turn, _)| turn);
                    taken_back = true;
                    self.host.send(Command::Unqueue { id: id.clone() });
                }
                // It left the queue: as we asked, or because its turn had come.
                Event::PromptUnqueued { id: left } if left == *id && taken_back => {
                    return Ok(match running {
                        Some((turn, _)) if behind.is_some_and(|behind| behind < turn) => {
                            Begun::Turn(turn)
                        }
                        Some((turn, _)) => Begun::Busy(Some(turn)),
                        None => Begun::Busy(behind),
                    });
                }
                // What others asked may fail too, and every view is told of some of it.
                Event::Failed(failure) if is_start(&failure.about) => {
                    return Err(Refusal::bad(failure.message));
                }
                _ => {}
            }
        }
    }
}

fn stopped() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the host has stopped")
}

/// Whether a failure is about the start of a turn.
fn is_start(about: &Subject) -> bool {
    matches!(about, Subject::Prompt | Subject::NamedPrompt(_) | Subject::Retry | Subject::Command)
}
