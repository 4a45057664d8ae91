//! The endpoints of a hermes-webui, typed. Answers are read by [`decode`]; nothing is decided here.

use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Client, Error};
use crate::wire::decode::{self, Session};
use protocol::{Attachment, Choice};

type Result<T> = std::result::Result<T, Error>;

/// Messages that a first window holds.
pub(super) const WINDOW: u32 = 200;
/// Most messages that the server sends at once.
const MOST: u32 = 500;

/// How long after each attempt a turn that was taken back must still be gone.
const TAKEN: [Duration; 4] = [
    Duration::from_millis(150),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1_200),
];

/// The number and text of the last user message. They identify a turn; its time does not, because a
/// turn that comes back may come from the other store.
fn last_asked(session: &Session) -> Option<(u64, String)> {
    let numbered = (session.messages_offset..).zip(&session.messages);
    let users = numbered.filter(|(_, message)| message.role == "user");
    users.last().map(|(n, message)| (n, message.content.clone()))
}

/// A server.
#[derive(Clone, Debug)]
pub(super) struct Api {
    client: Client,
}

impl Api {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    async fn read<T>(&self, path: &str, query: &[(&str, &str)]) -> Result<T>
    where
        T: serde::de::DeserializeOwned + Default,
    {
        self.client.get(path, query).await.map(decode::read)
    }

    async fn ask<T>(&self, path: &str, body: Value) -> Result<T>
    where
        T: serde::de::DeserializeOwned + Default,
    {
        self.client.post(path, &body).await.map(decode::read)
    }

    pub(super) async fn health(&self) -> Result<decode::Health> {
        self.read("/health", &[]).await
    }

    pub(super) async fn sessions(&self) -> Result<Vec<Session>> {
        let query = [("include_archived", "1")];
        let list: decode::SessionList = self.read("/api/sessions", &query).await?;
        Ok(list.sessions)
    }

    pub(super) async fn search(&self, words: &str) -> Result<Vec<Session>> {
        let query = [("q", words), ("content", "1"), ("depth", "0")];
        let list: decode::SessionList = self.read("/api/sessions/search", &query).await?;
        Ok(list.sessions)
    }

    /// The tail of a session, or what lies before a message.
    pub(super) async fn session(
        &self,
        id: &str,
        limit: u32,
        before: Option<u64>,
    ) -> Result<Session> {
        let (limit, before) = (limit.clamp(1, MOST).to_string(), before.map(|n| n.to_string()));
        let mut query = vec![("session_id", id), ("msg_limit", limit.as_str())];
        if let Some(before) = &before {
            query.push(("msg_before", before));
        }
        let reply: decode::SessionReply = self.read("/api/session", &query).await?;
        whole(reply.session)
    }

    pub(super) async fn new_session(&self) -> Result<Session> {
        let reply: decode::SessionReply =
            self.ask("/api/session/new", json!({ "worktree": false })).await?;
        whole(reply.session)
    }

    pub(super) async fn status(&self, id: &str) -> Result<decode::Status> {
        self.read("/api/session/status", &[("session_id", id)]).await
    }

    pub(super) async fn approval(&self, id: &str) -> Result<Option<decode::Approval>> {
        let head: decode::Pending<_> =
            self.read("/api/approval/pending", &[("session_id", id)]).await?;
        Ok(head.pending)
    }

    pub(super) async fn clarify(&self, id: &str) -> Result<Option<decode::Clarify>> {
        let head: decode::Pending<_> =
            self.read("/api/clarify/pending", &[("session_id", id)]).await?;
        Ok(head.pending)
    }

    pub(super) async fn start(
        &self,
        id: &str,
        text: &str,
        attachments: &[Attachment],
    ) -> Result<decode::Started> {
        let mut body = json!({ "session_id": id, "message": text });
        if !attachments.is_empty() {
            let named = attachments.iter().map(|file| {
                json!({
                    "name": file.name, "filename": file.name, "path": file.path,
                    "mime": file.mime, "size": file.size,
                    "is_image": file.mime.starts_with("image/"),
                })
            });
            body["attachments"] = named.collect();
        }
        self.ask("/api/chat/start", body).await
    }

    pub(super) async fn cancel(&self, stream: &str) -> Result<()> {
        self.client.get("/api/chat/cancel", &[("stream_id", stream)]).await.map(drop)
    }

    pub(super) async fn steer(&self, id: &str, text: &str) -> Result<decode::Steered> {
        self.ask("/api/chat/steer", json!({ "session_id": id, "text": text })).await
    }

    pub(super) async fn approve(
        &self,
        id: &str,
        approval: &decode::Approval,
        choice: Choice,
    ) -> Result<decode::Responded> {
        let choice = match choice {
            Choice::Once => "once",
            Choice::Session => "session",
            Choice::Always => "always",
            Choice::Deny => "deny",
        };
        let mut body = json!({ "session_id": id, "choice": choice });
        if !approval.approval_id.is_empty() {
            body["approval_id"] = json!(approval.approval_id);
        }
        for (key, value) in [("run_id", &approval.run_id), ("mirror_token", &approval.mirror_token)]
        {
            if let Some(value) = value {
                body[key] = json!(value);
            }
        }
        self.ask("/api/approval/respond", body).await
    }

    pub(super) async fn clarify_reply(
        &self,
        id: &str,
        question: &str,
        text: &str,
    ) -> Result<decode::Responded> {
        let body = json!({ "session_id": id, "response": text, "clarify_id": question });
        self.ask("/api/clarify/respond", body).await
    }

    /// A change of a session by its name; the fields beside the id.
    pub(super) async fn change(&self, what: &str, id: &str, fields: Value) -> Result<Value> {
        let mut body = fields;
        if !body.is_object() {
            body = json!({});
        }
        body["session_id"] = json!(id);
        self.client.post(&format!("/api/session/{what}"), &body).await
    }

    /// The session that a branch or a duplicate made.
    pub(super) async fn copy(&self, what: &str, id: &str) -> Result<String> {
        let made = self.change(what, id, Value::Null).await?;
        let plain = made["session_id"].as_str();
        let named = plain.or_else(|| made["session"]["session_id"].as_str());
        named.map(str::to_owned).ok_or_else(odd)
    }

    /// `undo` and `retry`: their refusals come with status 200.
    ///
    /// The server keeps a session twice: in a file of its own, and in the agent's database, to which
    /// rows are only added. It shows both, merged by time. Taking a turn back cuts the file and notes
    /// the time of what is left: later rows of the database are hidden. So a turn can come back by
    /// what is written after that: a title that is made of the first turn saves the file before
    /// the end of the stream, and what the agent adds to its database comes when it comes. An end of the
    /// stream promises neither; what counts is what a load shows. So the session is loaded, and the request repeated.
    pub(super) async fn take_back(&self, what: &str, id: &str) -> Result<decode::Retried> {
        let refused =
            |message| Error::Status { code: 200, message, body: Value::Null, retry_after: None };
        let before = last_asked(&self.session(id, WINDOW, None).await?);
        for pause in TAKEN {
            let back: decode::Retried = decode::read(self.change(what, id, Value::Null).await?);
            if !back.error.is_empty() {
                return Err(refused(back.error));
            }
            tokio::time::sleep(pause).await;
            let session = self.session(id, WINDOW, None).await?;
            if before.is_none() || session.is_streaming || last_asked(&session) != before {
                return Ok(back);
            }
        }
        let message = "the server reports that it took the turn back, but still has it: try again";
        Err(refused(message.to_owned()))
    }

    pub(super) async fn export(&self, id: &str) -> Result<Value> {
        self.client.get("/api/session/export", &[("session_id", id)]).await
    }

    pub(super) async fn yolo(&self, id: &str) -> Result<bool> {
        let yolo: decode::Yolo = self.read("/api/session/yolo", &[("session_id", id)]).await?;
        Ok(yolo.yolo_enabled)
    }

    pub(super) async fn compress_status(&self, id: &str) -> Result<Value> {
        self.client.get("/api/session/compress/status", &[("session_id", id)]).await
    }

    pub(super) async fn goal(&self, id: &str, args: &str) -> Result<decode::GoalReply> {
        self.ask("/api/goal", json!({ "session_id": id, "args": args })).await
    }

    pub(super) async fn models(&self) -> Result<decode::Models> {
        self.read("/api/models", &[]).await
    }

    pub(super) async fn reasoning(&self) -> Result<String> {
        let reasoning: decode::Reasoning = self.read("/api/reasoning", &[]).await?;
        Ok(reasoning.reasoning_effort)
    }

    pub(super) async fn set_reasoning(&self, effort: &str) -> Result<String> {
        let reasoning: decode::Reasoning =
            self.ask("/api/reasoning", json!({ "effort": effort })).await?;
        Ok(reasoning.reasoning_effort)
    }

    pub(super) async fn workspaces(&self) -> Result<Vec<String>> {
        let all: decode::Workspaces = self.read("/api/workspaces", &[]).await?;
        Ok(all.workspaces.into_iter().map(|w| w.path).filter(|path| !path.is_empty()).collect())
    }

    pub(super) async fn profiles(&self) -> Result<decode::Profiles> {
        self.read("/api/profiles", &[]).await
    }

    pub(super) async fn switch_profile(&self, name: &str) -> Result<()> {
        self.client.post("/api/profile/switch", &json!({ "name": name })).await.map(drop)
    }

    pub(super) async fn upload(&self, id: &str, name: &str, data: Vec<u8>) -> Result<Attachment> {
        let fields = [("session_id", id)];
        let file: decode::Uploaded =
            self.client.upload("/api/upload", &fields, name, data).await.map(decode::read)?;
        if file.path.is_empty() {
            return Err(odd());
        }
        let name = if file.filename.is_empty() { name.to_owned() } else { file.filename };
        Ok(Attachment { name, path: file.path, mime: file.mime, size: file.size })
    }
}

/// A session, if it is one.
fn whole(session: Session) -> Result<Session> {
    if session.session_id.is_empty() { Err(odd()) } else { Ok(session) }
}

fn odd() -> Error {
    Error::NotWebui("the server sent an answer that a hermes-webui would not send".to_owned())
}
