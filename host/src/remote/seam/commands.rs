//! Commands to one of our own hosts: sent in order, in one request at a time, and again if the host
//! does not have them.

use tokio::time::Instant;

use super::window::{is_empty, last_row};
use super::{COMMANDS, PostResult, Seam};
use crate::remote::http::Error;
use crate::remote::no_link;
use crate::remote::pending_prompts::PendingPrompt;
use protocol::{Command, Subject, Target};

impl Seam {
    /// Takes a command of the view. A prompt is stored before anything else is done with it.
    pub(super) fn command(&mut self, command: Command) {
        if let Command::Prompt { id, text } = &command {
            let session = match (self.outbox.next_session(), &self.known) {
                (Some(Target::Id(session)), _) => Some(session.clone()),
                (Some(Target::New | Target::Latest), _) | (None, None) => None,
                // An empty session may be gone when there is a link again.
                (None, Some(known)) if is_empty(known) => None,
                (None, Some(known)) => Some(known.session.clone()),
            };
            self.prompts.add(PendingPrompt::new(id, session, text));
            if !self.is_ready {
                self.prompt_waiting.set(true);
            }
            // The user waits for it.
            self.stream.hurry();
        }
        if self.is_over {
            self.push(no_link(&command));
            return;
        }
        self.outbox.push(command, self.turn());
    }

    /// Sends the next commands, if there is a view and no request is under way.
    pub(super) fn send(&mut self) {
        let Some(view) = self.view.as_deref().filter(|_| self.is_ready && !self.is_over) else {
            return;
        };
        if self.in_flight.is_some() || self.pause.is_some() {
            return;
        }
        let view = view.to_owned();
        let commands = self.outbox.next_batch(self.turn());
        if commands.is_empty() {
            return;
        }
        if let Some(known) = &self.known {
            for command in &commands {
                if let Command::Prompt { id, .. } = command {
                    self.prompts.mark_sent(id, &known.session, last_row(known));
                }
            }
        }
        let client = self.client.clone();
        self.in_flight = Some(Box::pin(async move {
            let body = serde_json::to_value(&commands)
                .map_err(|e| Error::Setup(format!("a command cannot be written: {e}")))?;
            client.post(&format!("{COMMANDS}?view={view}"), &body).await
        }));
    }

    /// Takes the answer to a request with commands.
    pub(super) fn posted(&mut self, posted: PostResult) {
        match posted {
            Ok(answer) => {
                self.failed = 0;
                self.outbox.delivered();
                for name in answer["unknown"].as_array().into_iter().flatten() {
                    let name = name.as_str().unwrap_or("this");
                    self.fail(
                        Subject::of_name(name),
                        "the host is older than this program and cannot do that",
                    );
                }
            }
            Err(Error::Status { code: 404, .. }) => {
                // The view has ended and its stream has not said so yet.
                self.outbox.undelivered();
                self.reopen();
                self.failed = self.failed.saturating_add(1);
                if self.failed > 1 {
                    // Not the host, but something in between answers so.
                    self.stream.put_off(self.pause_after(self.failed));
                }
            }
            Err(Error::Unreachable { sent: false, .. } | Error::Status { code: 429 | 503, .. }) => {
                self.outbox.undelivered();
                self.back_off();
            }
            Err(error) if error.is_passing() => {
                self.report_doubtful(&error.to_string());
                self.back_off();
            }
            Err(Error::Auth(message)) => {
                self.outbox.undelivered();
                self.refuse(message);
            }
            Err(error) => {
                for command in self.outbox.refused() {
                    if let Command::Prompt { id, .. } = &command {
                        self.prompts.remove(std::slice::from_ref(id));
                    }
                    self.fail(Subject::of(&command), &error.to_string());
                }
            }
        }
    }

    /// Pauses before the next request.
    pub(super) fn back_off(&mut self) {
        self.failed = self.failed.saturating_add(1);
        self.pause = Some(Instant::now() + self.pause_after(self.failed));
    }

    /// A request broke off: commands that must not be repeated are reported.
    pub(super) fn report_doubtful(&mut self, why: &str) {
        for command in self.outbox.delivery_unknown() {
            let what = match &command {
                Command::Steer { text } => format!(" Your remark was: {text}"),
                _ => String::new(),
            };
            let message = format!(
                "the link broke while this was sent ({why}): check whether it was done.{what}"
            );
            self.fail(Subject::of(&command), &message);
        }
    }
}
