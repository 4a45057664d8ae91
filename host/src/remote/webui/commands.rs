//! Commands of the view, as requests to a hermes-webui: one method for each that needs more than a
//! line. What the requests bring back is in [`super::replies`].

mod changes;
mod lists;

use super::super::http::Error;
use super::super::translate::{AnswerResult, QuestionKind};
use super::replies::{FollowUp, Reply, ViewReply};
use super::{Api, Webui};
use protocol::{Answer, Command, Event, GoalAsk, PromptId, QuestionId, SessionId, Subject, Target};

const NO_KILL: &str =
    "A hermes-webui offers no way to end a background process. Ask the agent to do it.";
const NO_OUTPUT: &str =
    "A hermes-webui does not give out the output of background processes. Ask the agent for it.";
const NO_WAKEUP: &str =
    "A hermes-webui starts its wakeups by itself; there is no way to ask for one.";
/// An empty list would claim that nothing runs, which nobody here knows.
const NO_PROCESSES: &str =
    "A hermes-webui does not list its background processes. Ask the agent for them.";
const NO_SIDE_QUESTIONS: &str = "Side questions to a hermes-webui are not possible from here.";

impl Webui {
    /// Carries out a command, or reports why it cannot be done.
    pub(super) fn command(&mut self, command: Command) {
        if rewrites_turns(&command) && self.mirror.is_settling() {
            // The server may write the session once more before the end of the stream: with a title.
            return self.deferred.push(command);
        }
        if let Some(command) = self.command_in_background(command) {
            self.command_in_view(command);
        }
    }

    /// The table of commands about the session in view, or about none.
    fn command_in_view(&mut self, command: Command) {
        match command {
            Command::Prompt { id, text } => self.mirror.prompt(id, text),
            Command::Unqueue { id } => self.mirror.unqueue(&id),
            Command::Steer { text } => self.steer(text),
            Command::Cancel => self.cancel(),
            Command::Retry { id } => self.retry(id),
            Command::Undo => self.undo(),
            Command::Truncate { after } => self.truncate(after),
            Command::Compress { focus } => self.compress(focus),
            Command::Goal(ask) => self.ask_goal(ask),
            Command::Answer { session: _, id, answer } => self.answer(id, answer),
            // A hermes-webui starts the clock of a question by itself.
            Command::Shown { .. } => {}
            Command::Upload { name, data } => self.upload(name, data.0),
            Command::DropUploads => self.drop_uploads(),
            Command::Open(target) => self.open(target),
            Command::Page { before, limit } => self.page(before, limit),
            Command::Branch => self.copy(Subject::Branch, "branch"),
            Command::Duplicate => self.copy(Subject::Duplicate, "duplicate"),
            Command::Delete { session } => self.delete(session),
            Command::Archive { session: _, archived } => self.archive(archived),
            Command::Pin { session: _, pinned } => self.pin(pinned),
            Command::SetTitle { session: _, title } => self.set_title(title),
            Command::Retitle { latest } => self.retitle(latest),
            Command::SetModel { model } => self.set_model(model),
            Command::SetToolsets { toolsets } => self.set_toolsets(toolsets),
            Command::SetYolo { yolo } => self.set_yolo(yolo),
            Command::SetCwd { cwd } => self.set_cwd(cwd),
            Command::SetReasoning { effort } => self.set_reasoning(effort),
            Command::SetProfile { name } => self.set_profile(name),
            Command::ListSessions => self.list_sessions(),
            Command::ListModels => self.list_models(),
            Command::ListWorkspaces => self.list_workspaces(),
            Command::ListProfiles => self.list_profiles(),
            Command::Search { query } => self.search(query),
            Command::Export => self.export(),
            Command::Kill { .. } => self.mirror.fail(Subject::Kill, NO_KILL),
            Command::Tail { .. } => self.mirror.fail(Subject::Tail, NO_OUTPUT),
            Command::WakeNow => self.mirror.fail(Subject::Wake, NO_WAKEUP),
            Command::ListProcesses => self.mirror.fail(Subject::Processes, NO_PROCESSES),
            Command::Aside { .. } => self.mirror.fail(Subject::SideQuestion, NO_SIDE_QUESTIONS),
        }
    }

    /// The server and the id of the session in view: what nearly every request needs.
    pub(super) fn in_view(&self) -> (Api, String) {
        (self.api.clone(), self.id())
    }

    /// Sends a request whose answer is events. A failure is reported as one of `about`.
    fn act(
        &mut self,
        about: Subject,
        then: FollowUp,
        request: impl Future<Output = Result<Vec<Event>, Error>> + Send + 'static,
    ) {
        self.spawn_for_view(async move {
            ViewReply::Done { about: Some(about), events: request.await, then }
        });
    }

    fn steer(&mut self, text: String) {
        if !self.mirror.steer(&text) {
            return self.mirror.steer_missed(&text);
        }
        let (api, id) = self.in_view();
        self.spawn_for_view(async move {
            let sent = api.steer(&id, &text).await;
            ViewReply::Steered { text, sent }
        });
    }

    fn cancel(&mut self) {
        let Some(stream) = self.mirror.begin_cancel() else { return };
        let api = self.api.clone();
        self.act(Subject::Cancel, FollowUp::Nothing, async move {
            api.cancel(&stream).await.map(|()| Vec::new())
        });
    }

    fn retry(&mut self, prompt: PromptId) {
        let (api, id) = self.in_view();
        self.spawn_for_view(async move {
            ViewReply::Retried { id: prompt, sent: api.take_back("retry", &id).await }
        });
    }

    fn ask_goal(&mut self, ask: GoalAsk) {
        let args = match ask {
            GoalAsk::Set { text } => text,
            GoalAsk::Pause => "pause".to_owned(),
            GoalAsk::Resume => "resume".to_owned(),
            GoalAsk::Clear => "clear".to_owned(),
        };
        let (api, id) = self.in_view();
        self.spawn_for_view(async move {
            ViewReply::Goal { by_user: true, goal: api.goal(&id, &args).await }
        });
    }

    fn upload(&mut self, name: String, data: Vec<u8>) {
        let (api, id) = self.in_view();
        self.spawn_for_view(async move {
            let file = api.upload(&id, &name, data).await;
            ViewReply::Uploaded { name, file }
        });
    }

    fn drop_uploads(&mut self) {
        self.mirror.apply(Event::AttachmentsChanged { attachments: Vec::new() });
    }

    fn page(&mut self, before: u64, limit: u32) {
        let (api, id) = self.in_view();
        self.spawn_for_view(async move {
            ViewReply::Paged(api.session(&id, limit, Some(before.saturating_sub(1))).await)
        });
    }

    /// Copies the session in view and opens the copy. `what` is the name of the endpoint.
    fn copy(&mut self, about: Subject, what: &'static str) {
        let (api, id) = self.in_view();
        self.opening += 1;
        let opening = self.opening;
        self.spawn(async move {
            match api.copy(what, &id).await {
                Ok(copy) => {
                    let target = Target::Id(SessionId(copy));
                    let session = super::load_target(&api, &target).await;
                    Reply::Opened { opening, target, session }
                }
                Err(error) => Reply::View(ViewReply::Done {
                    about: Some(about),
                    events: Err(error),
                    then: FollowUp::Nothing,
                }),
            }
        });
    }

    fn answer(&mut self, id: QuestionId, answer: Answer) {
        let (api, session) = self.in_view();
        match (self.mirror.begin_answer(&id, &answer), answer) {
            (Some(QuestionKind::Approval), Answer::Approval(choice)) => {
                let approval = self.mirror.approval_head().cloned().unwrap_or_default();
                self.spawn_for_view(async move {
                    let sent = api.approve(&session, &approval, choice).await;
                    ViewReply::Answered { id, sent }
                });
            }
            (Some(QuestionKind::Clarify), Answer::Text(text)) => self.spawn_for_view(async move {
                let sent = api.clarify_reply(&session, &id.0, &text).await;
                ViewReply::Answered { id, sent }
            }),
            (Some(_), _) => self.mirror.answered(&id, AnswerResult::Undelivered),
            // Late or unknown: the open questions are fetched again, that is all (C07).
            (None, _) => self.fetch_questions(),
        }
    }
}

/// Whether a command changes turns that are stored.
fn rewrites_turns(command: &Command) -> bool {
    matches!(
        command,
        Command::Undo | Command::Truncate { .. } | Command::Retry { .. } | Command::Compress { .. }
    )
}
