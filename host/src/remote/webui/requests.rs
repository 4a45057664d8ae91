//! Requests that the client makes by itself: what the [`Mirror`](super::Mirror) asks for, and what a
//! session needs besides its messages.

use super::super::api::{self, Api};
use super::super::http::Error;
use super::super::translate::{self, Request};
use super::replies::{FollowUp, Reply, ViewReply};
use super::{Webui, non_empty};
use crate::wire::decode;
use protocol::{Event, PromptId, Target};

impl Webui {
    pub(super) fn request(&mut self, request: Request) {
        match request {
            Request::Load => self.load(),
            Request::OpenChat(stream) => self.streams.open_chat(&stream),
            Request::CloseChat => self.streams.close_chat(),
            Request::Follow { from, to } => {
                self.prompts.move_session(&from, &to);
                self.streams.enter(&to.0, self.mirror.known_count());
            }
            Request::Start { prompt, text } => self.start(prompt, text),
            Request::Questions => self.fetch_questions(),
            Request::Goal => self.fetch_goal(),
        }
    }

    fn load(&mut self) {
        self.reload = false;
        let (api, id) = self.in_view();
        self.spawn_for_view(async move {
            let session = api.session(&id, api::WINDOW, None).await;
            ViewReply::Loaded { of: id, session }
        });
    }

    fn start(&mut self, prompt: Option<PromptId>, text: String) {
        if let Some(prompt) = &prompt {
            let session = self.mirror.view().session.clone();
            self.prompts.mark_sent(prompt, &session, self.mirror.last());
        }
        let files = match prompt {
            Some(_) => self.mirror.view().attachments.clone(),
            None => Vec::new(),
        };
        let (api, id) = self.in_view();
        self.spawn_for_view(async move { ViewReply::Started(api.start(&id, &text, &files).await) });
    }

    /// The parts of a session that do not come with its messages.
    pub(super) fn fetch_details(&mut self) {
        self.fetch_health();
        self.fetch_yolo();
        self.fetch_reasoning();
        self.fetch_goal();
    }

    pub(super) fn fetch_health(&mut self) {
        let api = self.api.clone();
        self.spawn_for_view(async move { ViewReply::Health(api.health().await) });
    }

    pub(super) fn fetch_yolo(&mut self) {
        let (api, id) = self.in_view();
        self.spawn_for_view(async move {
            let events = api.yolo(&id).await.map(|yolo| vec![Event::YoloChanged { yolo }]);
            ViewReply::Done { about: None, events, then: FollowUp::Nothing }
        });
    }

    fn fetch_reasoning(&mut self) {
        let api = self.api.clone();
        self.spawn_for_view(async move {
            let effort = api.reasoning().await;
            let events =
                effort.map(|effort| vec![Event::ReasoningChanged { effort: non_empty(effort) }]);
            ViewReply::Done { about: None, events, then: FollowUp::Nothing }
        });
    }

    fn fetch_goal(&mut self) {
        let (api, id) = self.in_view();
        self.spawn_for_view(async move {
            ViewReply::Goal { by_user: false, goal: api.goal(&id, "status").await }
        });
    }

    /// The list of sessions, which says how the background ones are: nothing else does (C16).
    pub(super) fn fetch_sessions(&mut self) {
        if self.background.start_listing() {
            let api = self.api.clone();
            self.spawn(async move { Reply::Sessions(api.sessions().await) });
        }
    }

    pub(super) fn fetch_questions(&mut self) {
        let (api, id) = self.in_view();
        self.spawn_for_view(async move { ViewReply::Approval(api.approval(&id).await) });
        let (api, id) = self.in_view();
        self.spawn_for_view(async move { ViewReply::Clarify(api.clarify(&id).await) });
    }

    pub(super) fn fetch_status(&mut self) {
        if self.mirror.is_attached() {
            let (api, id) = self.in_view();
            self.spawn_for_view(async move { ViewReply::Status(api.status(&id).await) });
        }
    }
}

/// Loads the session that a target stands for.
pub(super) async fn load_target(api: &Api, target: &Target) -> Result<decode::Session, Error> {
    let id = match target {
        Target::New => return api.new_session().await,
        Target::Latest => match translate::latest(&api.sessions().await?) {
            Some(id) => id,
            None => return api.new_session().await,
        },
        Target::Id(id) => id.clone(),
    };
    api.session(&id.0, api::WINDOW, None).await
}
