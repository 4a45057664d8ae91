//! What the requests brought.

use super::super::http::Error;
use super::super::translate::{self, Accepted, Refused, Verdict};
use super::inbox::Word;
use super::streams::Source;
use super::{AGAIN, Webui, background_sessions, failed};
use crate::clock::now;
use crate::wire::decode;
use protocol::Subject;
use protocol::{Attachment, Event, Millis, PromptId, QuestionId, SessionRow, Target};
use tokio::time::Instant;

/// What a request brought.
pub(super) enum Reply {
    Opened {
        opening: u64,
        target: Target,
        session: Result<decode::Session, Error>,
    },
    Loaded {
        of: String,
        session: Result<decode::Session, Error>,
    },
    Paged(Result<decode::Session, Error>),
    Started(Result<decode::Started, Error>),
    Answered {
        id: QuestionId,
        sent: Result<decode::Responded, Error>,
    },
    Steered {
        text: String,
        sent: Result<decode::Steered, Error>,
    },
    Approval(Result<Option<decode::Approval>, Error>),
    Clarify(Result<Option<decode::Clarify>, Error>),
    Status(Result<decode::Status, Error>),
    Goal {
        asked: bool,
        goal: Result<decode::GoalReply, Error>,
    },
    Health(Result<decode::Health, Error>),
    /// All sessions: which of them ask, and which have done something.
    Others(Result<Vec<decode::Session>, Error>),
    /// A turn of a session that is not in view has ended, and what it was.
    Ended {
        row: Box<SessionRow>,
        tail: Result<decode::Session, Error>,
    },
    /// Something of the inbox, whatever is in view.
    Inbox(Word),
    Uploaded {
        name: String,
        file: Result<Attachment, Error>,
    },
    Models(Result<decode::Models, Error>),
    Retried {
        id: PromptId,
        back: Result<decode::Retried, Error>,
    },
    /// Something for the front end, and what is to be done then.
    Did {
        about: Option<Subject>,
        done: Result<Vec<Event>, Error>,
        then: Then,
    },
}

/// What is done after a change.
pub(super) enum Then {
    Nothing,
    Load,
    Open(Target),
}

impl Webui {
    /// Takes what a request brought.
    pub(super) fn reply(&mut self, view: u64, reply: Reply) {
        if let Reply::Opened { opening, target, session } = reply {
            if opening == self.opening {
                self.opened(target, session);
            }
            return;
        }
        if let Reply::Others(sessions) = reply {
            match sessions {
                Ok(sessions) => {
                    self.others(&sessions);
                    self.inbox_listed(&sessions);
                }
                Err(error) => tracing::debug!(%error, "no word of the other sessions"),
            }
            if self.elsewhere.answered() {
                self.ask_others();
            }
            return;
        }
        if let Reply::Inbox(word) = reply {
            return self.inbox_word(word);
        }
        if let Reply::Ended { row, tail } = reply {
            return self.push(Event::Toast(background_sessions::ended(*row, tail.ok().as_ref())));
        }
        if view != self.view {
            return;
        }
        let now = now();
        match reply {
            Reply::Opened { .. } | Reply::Others(_) | Reply::Inbox(_) | Reply::Ended { .. } => {}
            // It goes on under another id since.
            Reply::Loaded { of, .. } if of != self.id() => {
                self.mirror.not_loaded();
                self.mirror.reload();
            }
            Reply::Loaded { session: Ok(session), .. } => self.mirror.loaded(&session, now),
            Reply::Loaded { session: Err(error), .. } => {
                self.mirror.not_loaded();
                if error.is_passing() {
                    self.reload = true;
                    self.next_poll = self.next_poll.min(Instant::now() + AGAIN);
                } else {
                    self.refused(Subject::Load, &error);
                }
            }
            Reply::Paged(Ok(session)) => self.mirror.paged(&session),
            Reply::Paged(Err(error)) => {
                self.push(failed(Subject::Page, &error));
                let earlier = self.mirror.view().earlier;
                self.mirror.changed(Event::Paged { rows: Vec::new(), earlier });
            }
            Reply::Started(started) => self.started(started, now),
            Reply::Answered { id, sent } => self.answered(&id, sent),
            Reply::Steered { text, sent } => match sent {
                Ok(steered) if steered.accepted => {}
                Ok(_) => self.mirror.steer_missed(&text),
                Err(error) => {
                    self.push(failed(Subject::Steer, &error));
                    self.mirror.steer_missed(&text);
                }
            },
            Reply::Approval(Ok(head)) => self.mirror.approval(head, false, now),
            Reply::Clarify(Ok(head)) => self.mirror.clarify(head, now),
            Reply::Status(Ok(status)) => {
                self.polled = true;
                let deaf = self.streams.is_deaf(Source::Chat);
                self.mirror.status(&status, deaf);
            }
            Reply::Status(Err(error)) => {
                self.polled = false;
                if !error.is_passing() {
                    self.refused(Subject::Status, &error);
                }
            }
            Reply::Approval(Err(error)) | Reply::Clarify(Err(error)) => {
                tracing::debug!(%error, "no answer to a poll");
            }
            Reply::Goal { asked, goal } => self.goal(asked, goal),
            Reply::Health(Ok(health)) => self.health(&health, now),
            Reply::Health(Err(error)) => tracing::debug!(%error, "no word of its health"),
            Reply::Uploaded { name, file } => match file {
                Ok(file) => self.mirror.attach_file(file),
                Err(error) => {
                    self.mirror.fail(Subject::Upload, &format!("{name}: {error}"));
                    // Its place on the screen goes, whatever became of it (S05).
                    let attachments = self.mirror.view().attachments.clone();
                    self.mirror.changed(Event::AttachmentsChanged { attachments });
                }
            },
            Reply::Models(Ok(models)) => self.models(&models),
            Reply::Models(Err(error)) => self.push(failed(Subject::Models, &error)),
            Reply::Retried { id, back } => match back {
                Ok(back) => {
                    self.mirror.reload();
                    self.mirror.prompt(id, back.last_user_text);
                }
                Err(error) => self.push(failed(Subject::Retry, &error)),
            },
            Reply::Did { about, done, then } => self.did(about, done, then),
        }
    }

    fn did(&mut self, about: Option<Subject>, done: Result<Vec<Event>, Error>, then: Then) {
        match done {
            Ok(events) => {
                for event in events {
                    self.mirror.changed(event);
                }
                match then {
                    Then::Nothing => {}
                    Then::Load => self.mirror.reload(),
                    Then::Open(target) => self.open(target),
                }
            }
            // Asked by ourselves: an older server may not know it.
            Err(error) => {
                if let Some(about) = about {
                    self.push(failed(about, &error))
                } else {
                    tracing::debug!(%error, "not known")
                }
            }
        }
    }

    fn started(&mut self, started: Result<decode::Started, Error>, now: Millis) {
        let refused = match started {
            Ok(started) if !started.stream_id.is_empty() => {
                let (stream, at) = (started.stream_id, started.pending_started_at);
                let accepted = Accepted { stream, at, title: started.title };
                return self.mirror.accepted(&accepted, now);
            }
            Ok(started) if started.status == "suppressed" => Refused::Suppressed,
            Ok(_) => Refused::No("the server does not say which turn it started".to_owned()),
            Err(Error::Status { code: 409, message, body, .. }) => {
                let busy: decode::Started = decode::read(body.clone());
                match busy.active_stream_id {
                    Some(stream) => Refused::Busy(Some(stream)),
                    None if body["code"].is_string() || body["type"].is_string() => {
                        Refused::No(message)
                    }
                    None => Refused::Busy(None),
                }
            }
            // 429 and 503 come from before the turn; what else a proxy says is no answer.
            Err(Error::Unreachable { sent: false, .. } | Error::Status { code: 429 | 503, .. }) => {
                Refused::Unsent
            }
            Err(error) if error.is_passing() => Refused::Unanswered,
            Err(Error::Auth(message)) => {
                self.closed = Some(message);
                Refused::Unsent
            }
            Err(error) => Refused::No(error.to_string()),
        };
        self.mirror.refused(refused, now);
    }

    fn answered(&mut self, id: &QuestionId, sent: Result<decode::Responded, Error>) {
        let verdict = translate::verdict(&sent);
        if let (Verdict::Undelivered, Err(error)) = (verdict, &sent) {
            self.push(failed(Subject::Answer, error));
        }
        self.mirror.answered(id, verdict);
        if verdict != Verdict::Taken {
            self.ask_questions();
        }
    }

    fn goal(&mut self, asked: bool, goal: Result<decode::GoalReply, Error>) {
        match goal {
            Ok(reply) if reply.error.is_empty() => {
                let resumed = asked && reply.goal.as_ref().is_some_and(|g| g.status == "active");
                self.mirror.goal(reply.goal);
                if reply.stream_id.is_some() {
                    self.mirror.reload();
                } else if resumed {
                    self.mirror.go_on("continue");
                }
            }
            Ok(reply) if asked => self.mirror.fail(Subject::Goal, &reply.error),
            Err(error) if asked => self.push(failed(Subject::Goal, &error)),
            Ok(_) | Err(_) => {}
        }
    }

    /// A server that began at another time is another one (E13).
    fn health(&mut self, health: &decode::Health, now: Millis) {
        let began = health.server_started_at;
        if began == 0 {
            return;
        }
        let before = std::mem::replace(&mut self.started_at, began);
        if before != 0 && before != began {
            self.mirror.restarted(now);
            self.push(Event::SessionsChanged);
            let (api, id) = (self.api.clone(), self.id());
            self.spawn(async move {
                let done = api.yolo(&id).await.map(|yolo| vec![Event::YoloChanged { yolo }]);
                Reply::Did { about: None, done, then: Then::Nothing }
            });
        }
    }

    fn models(&mut self, models: &decode::Models) {
        self.providers.clear();
        let mut names = Vec::new();
        for group in &models.groups {
            for model in group.models.iter().filter(|model| !model.id.is_empty()) {
                self.providers.insert(model.id.clone(), group.provider_id.clone());
                if !names.contains(&model.id) {
                    names.push(model.id.clone());
                }
            }
        }
        self.push(Event::ModelsListed { models: names });
    }
}
