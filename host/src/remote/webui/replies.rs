//! What requests to a hermes-webui bring back, and what follows from it.

use super::super::http::Error;
use super::super::translate::{self, Accepted, AnswerResult, StartRefusal};
use super::inbox::InboxReply;
use super::streams::Source;
use super::{AGAIN, Webui, background_sessions, failed};
use crate::clock::now;
use crate::wire::decode;
use protocol::{Attachment, Event, Millis, PromptId, QuestionId, SessionRow, Subject, Target};
use tokio::time::Instant;

/// What a request brought.
pub(super) enum Reply {
    /// The session to open next. Only the last one that was asked for counts.
    Opened { opening: u64, target: Target, session: Result<decode::Session, Error> },
    /// The list of all sessions.
    Sessions(Result<Vec<decode::Session>, Error>),
    /// The last messages of a background session in which a turn has ended.
    TurnEnded { row: Box<SessionRow>, tail: Result<decode::Session, Error> },
    /// About a question of a background session.
    Inbox(InboxReply),
    /// About the session in view. Dropped if another one is in view by then.
    View(ViewReply),
}

/// What a request about the session in view brought.
pub(super) enum ViewReply {
    Loaded {
        /// The id that was asked for.
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
        /// The user asked for it, so a failure is reported.
        by_user: bool,
        goal: Result<decode::GoalReply, Error>,
    },
    Health(Result<decode::Health, Error>),
    Uploaded {
        name: String,
        file: Result<Attachment, Error>,
    },
    Models(Result<decode::Models, Error>),
    Retried {
        id: PromptId,
        sent: Result<decode::Retried, Error>,
    },
    /// The events of a request that needs no more than that, and what is to be done after it.
    Done {
        /// What a failure is about; `None` = nobody asked, so none is reported.
        about: Option<Subject>,
        events: Result<Vec<Event>, Error>,
        then: FollowUp,
    },
}

/// What is done after a change.
pub(super) enum FollowUp {
    Nothing,
    Reload,
    Open(Target),
}

impl Webui {
    /// Takes the reply to a request that was made for the view number `view`.
    pub(super) fn reply(&mut self, view: u64, reply: Reply) {
        match reply {
            Reply::Opened { opening, target, session } if opening == self.opening => {
                self.opened(target, session);
            }
            Reply::Sessions(sessions) => self.sessions_listed(sessions),
            Reply::TurnEnded { row, tail } => {
                let toast = background_sessions::turn_ended(*row, tail.ok().as_ref());
                self.push(Event::Toast(toast));
            }
            Reply::Inbox(reply) => self.inbox_reply(reply),
            Reply::View(reply) if view == self.view => self.view_reply(reply),
            Reply::Opened { .. } | Reply::View(_) => {}
        }
    }

    fn view_reply(&mut self, reply: ViewReply) {
        let now = now();
        match reply {
            ViewReply::Loaded { of, session } => self.loaded(&of, session, now),
            ViewReply::Paged(page) => self.paged(page),
            ViewReply::Started(started) => self.started(started, now),
            ViewReply::Answered { id, sent } => self.answered(&id, sent),
            ViewReply::Steered { text, sent } => self.steered(&text, sent),
            ViewReply::Approval(Ok(head)) => self.mirror.approval(head, false, now),
            ViewReply::Clarify(Ok(head)) => self.mirror.clarify(head, now),
            ViewReply::Approval(Err(error)) | ViewReply::Clarify(Err(error)) => {
                tracing::debug!(%error, "no answer to a poll for questions");
            }
            ViewReply::Status(status) => self.status(status),
            ViewReply::Goal { by_user, goal } => self.goal(by_user, goal),
            ViewReply::Health(Ok(health)) => self.health(&health, now),
            ViewReply::Health(Err(error)) => tracing::debug!(%error, "no answer to a health check"),
            ViewReply::Uploaded { name, file } => self.uploaded(&name, file),
            ViewReply::Models(Ok(models)) => self.models(&models),
            ViewReply::Models(Err(error)) => self.push(failed(Subject::Models, &error)),
            ViewReply::Retried { id, sent } => self.retried(id, sent),
            ViewReply::Done { about, events, then } => self.done(about, events, then),
        }
    }

    fn sessions_listed(&mut self, sessions: Result<Vec<decode::Session>, Error>) {
        match sessions {
            Ok(sessions) => {
                self.background_listed(&sessions);
                self.inbox_listed(&sessions);
            }
            Err(error) => tracing::debug!(%error, "no list of sessions"),
        }
        if self.background.listing_done() {
            self.fetch_sessions();
        }
    }

    fn loaded(&mut self, of: &str, session: Result<decode::Session, Error>, now: Millis) {
        if of != self.id() {
            // The session has got another id since.
            self.mirror.not_loaded();
            return self.mirror.reload();
        }
        match session {
            Ok(session) => self.mirror.loaded(&session, now),
            Err(error) => {
                self.mirror.not_loaded();
                if error.is_passing() {
                    self.reload = true;
                    self.next_poll = self.next_poll.min(Instant::now() + AGAIN);
                } else {
                    self.refused(Subject::Load, &error);
                }
            }
        }
    }

    fn paged(&mut self, page: Result<decode::Session, Error>) {
        match page {
            Ok(session) => self.mirror.paged(&session),
            Err(error) => {
                self.push(failed(Subject::Page, &error));
                let earlier = self.mirror.view().earlier;
                self.mirror.apply(Event::Paged { rows: Vec::new(), earlier });
            }
        }
    }

    fn steered(&mut self, text: &str, sent: Result<decode::Steered, Error>) {
        match sent {
            Ok(steered) if steered.accepted => {}
            Ok(_) => self.mirror.steer_missed(text),
            Err(error) => {
                self.push(failed(Subject::Steer, &error));
                self.mirror.steer_missed(text);
            }
        }
    }

    fn status(&mut self, status: Result<decode::Status, Error>) {
        self.poll_answered = status.is_ok();
        match status {
            Ok(status) => {
                let is_down = self.streams.is_down(Source::Chat);
                self.mirror.status(&status, is_down);
            }
            Err(error) if error.is_passing() => {}
            Err(error) => self.refused(Subject::Status, &error),
        }
    }

    fn uploaded(&mut self, name: &str, file: Result<Attachment, Error>) {
        match file {
            Ok(file) => self.mirror.attach_file(file),
            Err(error) => {
                self.mirror.fail(Subject::Upload, &format!("{name}: {error}"));
                // Its placeholder on the screen goes in any case (S05).
                let attachments = self.mirror.view().attachments.clone();
                self.mirror.apply(Event::AttachmentsChanged { attachments });
            }
        }
    }

    fn retried(&mut self, id: PromptId, sent: Result<decode::Retried, Error>) {
        match sent {
            Ok(retried) => {
                self.mirror.reload();
                self.mirror.prompt(id, retried.last_user_text);
            }
            Err(error) => self.push(failed(Subject::Retry, &error)),
        }
    }

    fn done(&mut self, about: Option<Subject>, events: Result<Vec<Event>, Error>, then: FollowUp) {
        let events = match (events, about) {
            (Ok(events), _) => events,
            (Err(error), Some(about)) => return self.push(failed(about, &error)),
            // Nobody asked for it, and an older server may not know it.
            (Err(error), None) => {
                return tracing::debug!(%error, "no answer to a request of our own");
            }
        };
        for event in events {
            self.mirror.apply(event);
        }
        match then {
            FollowUp::Nothing => {}
            FollowUp::Reload => self.mirror.reload(),
            FollowUp::Open(target) => self.open(target),
        }
    }

    fn started(&mut self, started: Result<decode::Started, Error>, now: Millis) {
        let refusal = match started {
            Ok(started) if !started.stream_id.is_empty() => {
                let (stream, at) = (started.stream_id, started.pending_started_at);
                let accepted = Accepted { stream, at, title: started.title };
                return self.mirror.accepted(&accepted, now);
            }
            Ok(started) if started.status == "suppressed" => StartRefusal::Suppressed,
            Ok(_) => StartRefusal::No("the server does not say which turn it started".to_owned()),
            Err(Error::Status { code: 409, message, body, .. }) => {
                let busy: decode::Started = decode::read(body.clone());
                match busy.active_stream_id {
                    Some(stream) => StartRefusal::Busy(Some(stream)),
                    None if body["code"].is_string() || body["type"].is_string() => {
                        StartRefusal::No(message)
                    }
                    None => StartRefusal::Busy(None),
                }
            }
            // 429 and 503 are sent before a turn starts; any other page of a proxy is no answer.
            Err(Error::Unreachable { sent: false, .. } | Error::Status { code: 429 | 503, .. }) => {
                StartRefusal::Unsent
            }
            Err(error) if error.is_passing() => StartRefusal::Unanswered,
            Err(Error::Auth(message)) => {
                self.refusal = Some(message);
                StartRefusal::Unsent
            }
            Err(error) => StartRefusal::No(error.to_string()),
        };
        self.mirror.refused(refusal, now);
    }

    fn answered(&mut self, id: &QuestionId, sent: Result<decode::Responded, Error>) {
        let result = translate::answer_result(&sent);
        if let (AnswerResult::Undelivered, Err(error)) = (result, &sent) {
            self.push(failed(Subject::Answer, error));
        }
        self.mirror.answered(id, result);
        if result != AnswerResult::Accepted {
            self.fetch_questions();
        }
    }

    fn goal(&mut self, by_user: bool, goal: Result<decode::GoalReply, Error>) {
        match goal {
            Ok(reply) if reply.error.is_empty() => {
                let resumed = by_user && reply.goal.as_ref().is_some_and(|g| g.status == "active");
                self.mirror.goal(reply.goal);
                if reply.stream_id.is_some() {
                    self.mirror.reload();
                } else if resumed {
                    self.mirror.continue_goal("continue");
                }
            }
            Ok(reply) if by_user => self.mirror.fail(Subject::Goal, &reply.error),
            Err(error) if by_user => self.push(failed(Subject::Goal, &error)),
            Ok(_) | Err(_) => {}
        }
    }

    /// Another start time means another server process: what lived in the old one is gone (E13).
    fn health(&mut self, health: &decode::Health, now: Millis) {
        let started_at = health.server_started_at;
        if started_at == 0 {
            return;
        }
        let before = std::mem::replace(&mut self.started_at, started_at);
        if before != 0 && before != started_at {
            self.mirror.restarted(now);
            self.push(Event::SessionsChanged);
            self.fetch_yolo();
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
