//! Changes of a session and of the settings of a hermes-webui. Where the server stores the result,
//! the event follows from its answer; where it rewrites messages, the session is loaded again.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::replies::FollowUp;
use super::super::{Error, non_empty};
use super::Webui;
use protocol::{Event, SessionId, Subject, Target};

/// How often the state of a compression is polled, and how many times.
const COMPRESSION_POLL: Duration = Duration::from_secs(1);
const COMPRESSION_POLLS: u32 = 600;

impl Webui {
    /// A change of the session in view that shows in lists alone.
    fn change(&mut self, about: Subject, what: &'static str, fields: Value) {
        let (api, id) = self.in_view();
        self.act(about, FollowUp::Nothing, async move {
            api.change(what, &id, fields).await?;
            Ok(vec![Event::SessionsChanged])
        });
    }

    pub(super) fn archive(&mut self, archived: bool) {
        self.change(Subject::Archive, "archive", json!({ "archived": archived }));
    }

    pub(super) fn pin(&mut self, pinned: bool) {
        self.change(Subject::Pin, "pin", json!({ "pinned": pinned }));
    }

    pub(super) fn delete(&mut self, session: SessionId) {
        let (api, id) = self.in_view();
        let then = if session.0 == id { FollowUp::Open(Target::Latest) } else { FollowUp::Nothing };
        self.act(Subject::Delete, then, async move {
            api.change("delete", &session.0, Value::Null).await?;
            Ok(vec![Event::SessionsChanged])
        });
    }

    pub(super) fn set_title(&mut self, title: String) {
        let (api, id) = self.in_view();
        self.act(Subject::Rename, FollowUp::Nothing, async move {
            api.change("rename", &id, json!({ "title": title })).await?;
            Ok(vec![Event::TitleChanged { title }])
        });
    }

    /// Has the server make a title from the conversation.
    pub(super) fn retitle(&mut self, latest: bool) {
        let (api, id) = self.in_view();
        self.act(Subject::Title, FollowUp::Nothing, async move {
            let fields = json!({ "prefer_latest": latest });
            let answer = api.change("title/regenerate", &id, fields).await?;
            let title = answer["title"].as_str().unwrap_or_default().to_owned();
            Ok(vec![Event::TitleChanged { title }])
        });
    }

    pub(super) fn set_model(&mut self, model: String) {
        let (api, id) = self.in_view();
        let mut fields = json!({ "model": model });
        if let Some(provider) = self.providers.get(&model).filter(|p| !p.is_empty()) {
            fields["model_provider"] = json!(provider);
        }
        self.act(Subject::Model, FollowUp::Nothing, async move {
            api.change("update", &id, fields).await?;
            Ok(vec![Event::ModelChanged { model, context: None }])
        });
    }

    pub(super) fn set_toolsets(&mut self, toolsets: Option<Vec<String>>) {
        let (api, id) = self.in_view();
        self.act(Subject::Toolsets, FollowUp::Nothing, async move {
            api.change("toolsets", &id, json!({ "toolsets": toolsets })).await?;
            Ok(vec![Event::ToolsetsChanged { toolsets }])
        });
    }

    pub(super) fn set_yolo(&mut self, yolo: bool) {
        let (api, id) = self.in_view();
        self.act(Subject::Yolo, FollowUp::Nothing, async move {
            api.change("yolo", &id, json!({ "enabled": yolo })).await?;
            Ok(vec![Event::YoloChanged { yolo }])
        });
    }

    pub(super) fn set_cwd(&mut self, cwd: String) {
        let (api, id) = self.in_view();
        self.act(Subject::Cwd, FollowUp::Nothing, async move {
            api.change("update", &id, json!({ "workspace": cwd })).await?;
            Ok(vec![Event::CwdChanged { cwd }])
        });
    }

    pub(super) fn set_reasoning(&mut self, effort: Option<String>) {
        let api = self.api.clone();
        self.act(Subject::Reasoning, FollowUp::Nothing, async move {
            let effort = api.set_reasoning(effort.as_deref().unwrap_or("medium")).await?;
            Ok(vec![Event::ReasoningChanged { effort: non_empty(effort) }])
        });
    }

    pub(super) fn set_profile(&mut self, name: String) {
        let api = self.api.clone();
        self.act(Subject::Profile, FollowUp::Open(Target::Latest), async move {
            api.switch_profile(&name).await?;
            Ok(vec![Event::SessionsChanged])
        });
    }

    pub(super) fn undo(&mut self) {
        let (api, id) = self.in_view();
        self.act(Subject::Undo, FollowUp::Reload, async move {
            api.take_back("undo", &id).await.map(|_| Vec::new())
        });
    }

    pub(super) fn truncate(&mut self, after: u64) {
        let (api, id) = self.in_view();
        self.act(Subject::Truncate, FollowUp::Reload, async move {
            api.change("truncate", &id, json!({ "keep_count": after })).await?;
            Ok(Vec::new())
        });
    }

    /// Starts a compression and polls until the server has done it.
    pub(super) fn compress(&mut self, focus: Option<String>) {
        let (api, id) = self.in_view();
        self.act(Subject::Compress, FollowUp::Reload, async move {
            let fields = focus.map_or(Value::Null, |focus| json!({ "focus_topic": focus }));
            let mut state = api.change("compress/start", &id, fields).await?;
            for _ in 0..COMPRESSION_POLLS {
                match state["status"].as_str() {
                    Some("running" | "queued" | "pending") => {}
                    Some("error") => return Err(not_compressed(&state)),
                    _ => break,
                }
                tokio::time::sleep(COMPRESSION_POLL).await;
                state = api.compress_status(&id).await?;
            }
            Ok(Vec::new())
        });
    }
}

fn not_compressed(state: &Value) -> Error {
    let why = state["error"].as_str().unwrap_or("the server does not say why");
    Error::Status {
        code: 200,
        message: format!("the context was not compressed: {why}"),
        body: Value::Null,
        retry_after: None,
    }
}
