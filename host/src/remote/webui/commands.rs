//! What a front end asks, as requests to a hermes-webui.

use serde_json::{Value, json};

use super::super::translate::{self, Kind};
use super::{Reply, Then, Webui, set};
use protocol::Subject;
use protocol::{Answer, Command, Event, GoalAsk, QuestionId, Target};

/// How often a compression is asked after, in milliseconds, and how many times.
const COMPRESSING: (u64, u32) = (1_000, 600);

impl Webui {
    /// Carries out a command, or says why not.
    pub(super) fn command(&mut self, command: Command) {
        let takes_back = matches!(
            command,
            Command::Undo
                | Command::Truncate { .. }
                | Command::Retry { .. }
                | Command::Compress { .. }
        );
        if takes_back && self.mirror.is_settling() {
            // The server may write the session once more before the end of the stream: with a title.
            return self.deferred.push(command);
        }
        let (api, id) = (self.api.clone(), self.id());
        let Some(command) = self.named(command) else { return };
        match command {
            Command::Prompt { id, text } => self.mirror.prompt(id, text),
            Command::Unqueue { id } => self.mirror.unqueue(&id),
            Command::Steer { text } => {
                if self.mirror.steer(&text) {
                    self.spawn(async move {
                        let sent = api.steer(&id, &text).await;
                        Reply::Steered { text, sent }
                    });
                } else {
                    self.mirror.steer_missed(&text);
                }
            }
            Command::Cancel => {
                if let Some(stream) = self.mirror.cancelling() {
                    self.act(Subject::Cancel, Then::Nothing, async move {
                        api.cancel(&stream).await.map(|()| Vec::new())
                    });
                }
            }
            Command::Answer { session: _, id, answer } => self.answer(id, answer),
            // A WebUI's clocks run by themselves.
            Command::Shown { .. } => {}
            Command::Kill { .. } => self.cannot(
                Subject::Kill,
                "A hermes-webui offers no way to end a background process. Ask the agent to do it.",
            ),
            Command::Tail { .. } => self.cannot(
                Subject::Tail,
                "A hermes-webui does not give out the output of background processes. Ask the \
                 agent for it.",
            ),
            Command::WakeNow => self.cannot(
                Subject::Wake,
                "A hermes-webui starts its wakeups by itself; there is no way to ask for one.",
            ),
            Command::Open(target) => self.open(target),
            Command::Page { before, limit } => {
                self.spawn(async move {
                    Reply::Paged(api.session(&id, limit, Some(before.saturating_sub(1))).await)
                });
            }
            Command::Compress { focus } => self.compress(focus),
            Command::Branch => self.copy(Subject::Branch, "branch"),
            Command::Duplicate => self.copy(Subject::Duplicate, "duplicate"),
            Command::Archive { session: _, archived } => {
                self.change(Subject::Archive, "archive", json!({ "archived": archived }));
            }
            Command::Pin { session: _, pinned } => {
                self.change(Subject::Pin, "pin", json!({ "pinned": pinned }));
            }
            Command::Delete { session } => {
                let then = if session.0 == id { Then::Open(Target::Latest) } else { Then::Nothing };
                self.act(Subject::Delete, then, async move {
                    api.change("delete", &session.0, Value::Null).await?;
                    Ok(vec![Event::SessionsChanged])
                });
            }
            // An empty list would say that nothing runs, which nobody here knows.
            Command::ListProcesses => self.cannot(
                Subject::Processes,
                "A hermes-webui does not list its background processes. Ask the agent for them.",
            ),
            Command::ListSessions => self.act(Subject::Sessions, Then::Nothing, async move {
                let sessions = translate::list(&api.sessions().await?);
                Ok(vec![Event::SessionsListed { sessions }])
            }),
            Command::ListModels => self.spawn(async move { Reply::Models(api.models().await) }),
            Command::SetModel { model } => {
                let mut fields = json!({ "model": model });
                if let Some(provider) = self.providers.get(&model).filter(|p| !p.is_empty()) {
                    fields["model_provider"] = json!(provider);
                }
                self.act(Subject::Model, Then::Nothing, async move {
                    api.change("update", &id, fields).await?;
                    Ok(vec![Event::ModelChanged { model, context: None }])
                });
            }
            Command::SetTitle { session: _, title } => {
                self.act(Subject::Rename, Then::Nothing, async move {
                    api.change("rename", &id, json!({ "title": title })).await?;
                    Ok(vec![Event::TitleChanged { title }])
                });
            }
            Command::Undo => self.act(Subject::Undo, Then::Load, async move {
                api.take_back("undo", &id).await.map(|_| Vec::new())
            }),
            Command::Truncate { after } => self.act(Subject::Truncate, Then::Load, async move {
                api.change("truncate", &id, json!({ "keep_count": after })).await?;
                Ok(Vec::new())
            }),
            Command::SetToolsets { toolsets } => {
                self.act(Subject::Toolsets, Then::Nothing, async move {
                    api.change("toolsets", &id, json!({ "toolsets": toolsets })).await?;
                    Ok(vec![Event::ToolsetsChanged { toolsets }])
                });
            }
            Command::Aside { .. } => {
                self.cannot(
                    Subject::SideQuestion,
                    "Side questions to a hermes-webui are not possible from here.",
                );
            }
            Command::Retitle { latest } => self.act(Subject::Title, Then::Nothing, async move {
                let fields = json!({ "prefer_latest": latest });
                let found = api.change("title/regenerate", &id, fields).await?;
                let title = found["title"].as_str().unwrap_or_default().to_owned();
                Ok(vec![Event::TitleChanged { title }])
            }),
            Command::Retry { id: prompt } => self.spawn(async move {
                Reply::Retried { id: prompt, back: api.take_back("retry", &id).await }
            }),
            Command::Export => self.act(Subject::Export, Then::Nothing, async move {
                let document = api.export(&id).await?;
                let text = serde_json::to_string_pretty(&document).unwrap_or_default();
                Ok(vec![Event::Exported { name: format!("{id}.json"), text }])
            }),
            Command::SetYolo { yolo } => self.act(Subject::Yolo, Then::Nothing, async move {
                api.change("yolo", &id, json!({ "enabled": yolo })).await?;
                Ok(vec![Event::YoloChanged { yolo }])
            }),
            Command::SetCwd { cwd } => self.act(Subject::Cwd, Then::Nothing, async move {
                api.change("update", &id, json!({ "workspace": cwd })).await?;
                Ok(vec![Event::CwdChanged { cwd }])
            }),
            Command::SetReasoning { effort } => {
                self.act(Subject::Reasoning, Then::Nothing, async move {
                    let effort = api.set_reasoning(effort.as_deref().unwrap_or("medium")).await?;
                    Ok(vec![Event::ReasoningChanged { effort: set(effort) }])
                });
            }
            Command::ListWorkspaces => self.act(Subject::Workspaces, Then::Nothing, async move {
                Ok(vec![Event::WorkspacesListed { paths: api.workspaces().await? }])
            }),
            Command::ListProfiles => self.act(Subject::Profiles, Then::Nothing, async move {
                let all = api.profiles().await?;
                let names = all.profiles.into_iter().map(|p| p.name).filter(|n| !n.is_empty());
                Ok(vec![Event::ProfilesListed { names: names.collect(), active: all.active }])
            }),
            Command::SetProfile { name } => {
                self.act(Subject::Profile, Then::Open(Target::Latest), async move {
                    api.switch_profile(&name).await?;
                    Ok(vec![Event::SessionsChanged])
                });
            }
            Command::Search { query } => self.act(Subject::Search, Then::Nothing, async move {
                let found = translate::found(&api.search(&query).await?);
                Ok(vec![Event::SessionsFound { query, found }])
            }),
            Command::Upload { name, data } => self.spawn(async move {
                let file = api.upload(&id, &name, data.0).await;
                Reply::Uploaded { name, file }
            }),
            Command::DropUploads => {
                self.mirror.changed(Event::AttachmentsChanged { attachments: Vec::new() });
            }
            Command::Goal(ask) => {
                let args = match ask {
                    GoalAsk::Set { text } => text,
                    GoalAsk::Pause => "pause".to_owned(),
                    GoalAsk::Resume => "resume".to_owned(),
                    GoalAsk::Clear => "clear".to_owned(),
                };
                self.spawn(
                    async move { Reply::Goal { asked: true, goal: api.goal(&id, &args).await } },
                );
            }
        }
    }

    fn act(
        &mut self,
        about: Subject,
        then: Then,
        doing: impl Future<Output = Result<Vec<Event>, super::Error>> + Send + 'static,
    ) {
        self.spawn(async move { Reply::Did { about: Some(about), done: doing.await, then } });
    }

    fn cannot(&mut self, about: Subject, why: &str) {
        self.mirror.fail(about, why);
    }

    /// A change that only lists show.
    fn change(&mut self, about: Subject, what: &'static str, fields: Value) {
        let (api, id) = (self.api.clone(), self.id());
        self.act(about, Then::Nothing, async move {
            api.change(what, &id, fields).await?;
            Ok(vec![Event::SessionsChanged])
        });
    }

    fn copy(&mut self, about: Subject, what: &'static str) {
        let (api, id) = (self.api.clone(), self.id());
        let (view, opening) = (self.view, self.opening + 1);
        self.opening = opening;
        self.tasks.spawn(async move {
            let made = match api.copy(what, &id).await {
                Ok(made) => made,
                Err(error) => {
                    let then = Then::Nothing;
                    return (view, Reply::Did { about: Some(about), done: Err(error), then });
                }
            };
            let target = Target::Id(protocol::SessionId(made));
            let session = super::find(&api, &target).await;
            (view, Reply::Opened { opening, target, session })
        });
    }

    fn compress(&mut self, focus: Option<String>) {
        let (api, id) = (self.api.clone(), self.id());
        self.act(Subject::Compress, Then::Load, async move {
            let fields = focus.map_or(Value::Null, |focus| json!({ "focus_topic": focus }));
            let mut job = api.change("compress/start", &id, fields).await?;
            let (pause, most) = COMPRESSING;
            for _ in 0..most {
                match job["status"].as_str() {
                    Some("running" | "queued" | "pending") => {}
                    Some("error") => {
                        let why = job["error"].as_str().unwrap_or("the server does not say why");
                        return Err(super::Error::Status {
                            code: 200,
                            message: format!("the context was not compressed: {why}"),
                            body: Value::Null,
                            retry_after: None,
                        });
                    }
                    _ => break,
                }
                tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
                job = api.compress_status(&id).await?;
            }
            Ok(Vec::new())
        });
    }

    fn answer(&mut self, id: QuestionId, answer: Answer) {
        let (api, session) = (self.api.clone(), self.id());
        match (self.mirror.answering(&id, &answer), answer) {
            (Some(Kind::Approval), Answer::Approval(choice)) => {
                let approval = self.mirror.approval_head().cloned().unwrap_or_default();
                self.spawn(async move {
                    let sent = api.approve(&session, &approval, choice).await;
                    Reply::Answered { id, sent }
                });
            }
            (Some(Kind::Clarify), Answer::Text(text)) => self.spawn(async move {
                let sent = api.tell(&session, &id.0, &text).await;
                Reply::Answered { id, sent }
            }),
            (Some(_), _) => self.mirror.answered(&id, translate::Verdict::Undelivered),
            // Late or unknown: what stands now is told again, that is all (C07).
            (None, _) => self.ask_questions(),
        }
    }
}
