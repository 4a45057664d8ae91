//! The client of a hermes-webui: the loop that does the I/O. What it means is [`translate`]'s.

mod background_sessions;
mod commands;
mod inbox;
mod replies;
mod streams;

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use self::background_sessions::Elsewhere;
use self::inbox::Inbox;
use self::replies::{Reply, Then};
use self::streams::{Source, Streams};
use super::Line;
use super::api::{self, Api};
use super::http::Error;
use super::pending_prompts::{Entry, Unsent};
use super::sse::Item;
use super::translate::{self, Mirror, Request};
use crate::clock::now;
use crate::wire::decode;
use protocol::Subject;
use protocol::{Command, Event, Failure, Link, Millis, Queued, SessionId, Target};
use protocol::{Pushed, Signal, ViewSink};

/// How often the state is asked for while streams do not work (E08).
const POLL: Duration = Duration::from_secs(3);
/// How often an idle session is looked at: nothing tells that another client has started a turn.
const GLANCE: Duration = Duration::from_secs(5);
/// How soon a request that must be repeated is.
const AGAIN: Duration = Duration::from_secs(1);

/// Serves one front end until it goes. Returns what is not sent at the end.
pub(super) async fn run(line: Line) -> Vec<String> {
    let Line { client, target, backend, mut signals, early, unsent, .. } = line;
    let mut webui = Webui::new(Api::new(client), backend, unsent);
    webui.open(target);
    for command in early {
        webui.command(command);
    }
    loop {
        let due = webui.due();
        tokio::select! {
            signal = signals.recv() => match signal {
                Some((_, Signal::Command(command))) => webui.command(command),
                Some((_, Signal::Detached)) | None => return webui.unsent.texts(),
            },
            Some(done) = webui.tasks.join_next(), if !webui.tasks.is_empty() => {
                if let Ok((view, reply)) = done {
                    webui.reply(view, reply);
                }
            }
            (source, item) = webui.streams.next() => webui.item(source, item),
            () = tokio::time::sleep_until(due) => webui.tick(),
        }
        webui.settle();
    }
}

/// See the module.
struct Webui {
    api: Api,
    backend: ViewSink,
    mirror: Mirror,
    /// Counts the sessions that were in view: answers for an earlier one are dropped.
    view: u64,
    /// Counts the wishes to open one: only the last counts.
    opening: u64,
    streams: Streams,
    tasks: JoinSet<(u64, Reply)>,
    link: Option<Link>,
    unsent: Unsent,
    /// When the server began, once it has said so.
    started_at: Millis,
    /// Which provider a model belongs to.
    providers: HashMap<String, String>,
    next_poll: Instant,
    /// A session could not be opened or loaded: again soon.
    retry: Option<(Instant, Target)>,
    reload: bool,
    /// Whether the last poll was answered.
    polled: bool,
    /// The server will not have us; what to do.
    closed: Option<String>,
    /// What waits until the server has done with a turn.
    deferred: Vec<Command>,
    /// What is known of the sessions that are not in view.
    elsewhere: Elsewhere,
    /// What is asked, in all sessions.
    inbox: Inbox,
}

impl Webui {
    fn new(api: Api, backend: ViewSink, unsent: Unsent) -> Self {
        Self {
            streams: Streams::new(api.client()),
            api,
            backend,
            mirror: Mirror::default(),
            view: 0,
            opening: 0,
            tasks: JoinSet::new(),
            link: None,
            unsent,
            started_at: 0,
            providers: HashMap::new(),
            next_poll: Instant::now() + GLANCE,
            retry: None,
            reload: false,
            polled: false,
            closed: None,
            deferred: Vec::new(),
            elsewhere: Elsewhere::default(),
            inbox: Inbox::default(),
        }
    }

    fn id(&self) -> String {
        self.mirror.view().session.0.clone()
    }

    fn spawn(&mut self, reply: impl Future<Output = Reply> + Send + 'static) {
        let view = self.view;
        self.tasks.spawn(async move { (view, reply.await) });
    }

    /// Looks at another session.
    fn open(&mut self, target: Target) {
        self.opening += 1;
        self.retry = None;
        let (api, opening) = (self.api.clone(), self.opening);
        self.spawn(async move {
            let session = find(&api, &target).await;
            Reply::Opened { opening, target, session }
        });
    }

    fn opened(&mut self, target: Target, session: Result<decode::Session, Error>) {
        match session {
            Ok(session) => self.enter(&session),
            Err(error) if !self.mirror.is_attached() && error.is_passing() => {
                let why = error.to_string();
                self.say_link(Link::Down { why, attempt: 1, retry_at: now() + 3_000 });
                self.retry = Some((Instant::now() + POLL, target));
            }
            Err(error) => {
                if let Error::Auth(message) = &error {
                    self.closed = Some(message.clone());
                }
                self.push(failed(Subject::Open, &error));
                if !self.mirror.is_attached() && target != Target::Latest {
                    self.open(Target::Latest);
                }
            }
        }
    }

    fn enter(&mut self, session: &decode::Session) {
        if self.mirror.is_attached() {
            // How it is left is where its news begin.
            self.elsewhere.left(&self.mirror.view().session);
            self.ask_others();
        }
        self.inbox.leave(&self.mirror);
        self.mirror = Mirror::default();
        self.view += 1;
        self.reload = false;
        self.deferred.clear();
        let id = SessionId(session.session_id.clone());
        self.streams.enter(&id.0, session.message_count);
        self.streams.close_chat();
        self.mirror.loaded(session, now());
        // What was typed and not sent goes on waiting; what was typed before there was a session
        // belongs to this one.
        self.unsent.seen(&id, &self.mirror.window());
        let last = self.mirror.last();
        let waiting = self.unsent.entries().iter();
        let waiting = waiting.filter(|e| e.session.as_ref().is_none_or(|session| *session == id));
        for Entry { id: prompt, text, .. } in waiting.cloned().collect::<Vec<_>>() {
            self.unsent.place(&prompt, &id, last);
            self.mirror.prompt(prompt, text);
        }
        self.look_around();
    }

    /// What belongs to a session and stands elsewhere.
    fn look_around(&mut self) {
        let (api, id) = (self.api.clone(), self.id());
        self.spawn(async move { Reply::Health(api.health().await) });
        let (api, of) = (self.api.clone(), id.clone());
        self.spawn(async move {
            let done = api.yolo(&of).await.map(|yolo| vec![Event::YoloChanged { yolo }]);
            Reply::Did { about: None, done, then: Then::Nothing }
        });
        let api = self.api.clone();
        self.spawn(async move {
            let effort = api.reasoning().await;
            let done = effort.map(|effort| vec![Event::ReasoningChanged { effort: set(effort) }]);
            Reply::Did { about: None, done, then: Then::Nothing }
        });
        let api = self.api.clone();
        self.spawn(
            async move { Reply::Goal { asked: false, goal: api.goal(&id, "status").await } },
        );
    }

    /// Sends on what the inputs so far have brought about.
    fn settle(&mut self) {
        if !self.deferred.is_empty() && !self.mirror.is_settling() {
            for command in std::mem::take(&mut self.deferred) {
                self.command(command);
            }
        }
        let mut is_fresh = false;
        loop {
            let out = self.mirror.take();
            if out.events.is_empty() && out.requests.is_empty() {
                break;
            }
            let mut overflowed = false;
            for event in out.events {
                self.keep(&event);
                is_fresh |= matches!(event, Event::Attached { .. });
                if !overflowed && self.backend.push(event) == Pushed::Overflowed {
                    // The window has what follows too.
                    self.resend();
                    overflowed = true;
                }
            }
            for request in out.requests {
                self.request(request);
            }
        }
        self.tell_inbox(is_fresh);
        self.tell_link();
    }

    fn push(&mut self, event: Event) {
        if self.backend.push(event) == Pushed::Overflowed {
            self.resend();
        }
    }

    /// The front end reads too slowly: a fresh window holds all that it missed.
    fn resend(&self) {
        if self.backend.push(self.mirror.window()) == Pushed::Overflowed {
            tracing::warn!("a front end has no room for a window");
        }
        if let Some(inbox) = self.inbox.again() {
            // It has room beside a window.
            let _ = self.backend.push(inbox);
        }
    }

    /// What is typed is on disk until the server has it.
    fn keep(&mut self, event: &Event) {
        match event {
            Event::PromptQueued { prompt } => {
                let Queued { id, text } = prompt.clone();
                let attached = self.mirror.is_attached();
                let session = attached.then(|| self.mirror.view().session.clone());
                let after = self.mirror.last();
                self.unsent.add(Entry { id, session, after, text, at: now() });
            }
            Event::PromptUnqueued { id } => self.unsent.remove(std::slice::from_ref(id)),
            _ => {}
        }
    }

    fn request(&mut self, request: Request) {
        let (api, id) = (self.api.clone(), self.id());
        match request {
            Request::Load => {
                self.reload = false;
                self.spawn(async move {
                    let session = api.session(&id, api::WINDOW, None).await;
                    Reply::Loaded { of: id, session }
                });
            }
            Request::OpenChat(stream) => self.streams.open_chat(&stream),
            Request::CloseChat => self.streams.close_chat(),
            Request::Follow { from, to } => {
                self.unsent.moved(&from, &to);
                self.streams.enter(&to.0, self.mirror.known_count());
            }
            Request::Start { prompt, text } => {
                if let Some(prompt) = &prompt {
                    let session = self.mirror.view().session.clone();
                    self.unsent.place(prompt, &session, self.mirror.last());
                }
                let files = match prompt {
                    Some(_) => self.mirror.view().attachments.clone(),
                    None => Vec::new(),
                };
                self.spawn(async move { Reply::Started(api.start(&id, &text, &files).await) });
            }
            Request::Questions => self.ask_questions(),
            Request::Goal => {
                self.spawn(async move {
                    Reply::Goal { asked: false, goal: api.goal(&id, "status").await }
                });
            }
        }
    }

    /// How the sessions are that are not in view: nothing else tells of them (C16).
    fn ask_others(&mut self) {
        if self.elsewhere.asks() {
            let api = self.api.clone();
            self.spawn(async move { Reply::Others(api.sessions().await) });
        }
    }

    fn ask_questions(&mut self) {
        let (api, id) = (self.api.clone(), self.id());
        self.spawn(async move { Reply::Approval(api.approval(&id).await) });
        let (api, id) = (self.api.clone(), self.id());
        self.spawn(async move { Reply::Clarify(api.clarify(&id).await) });
    }

    fn item(&mut self, source: Source, item: Item) {
        let now = now();
        match item {
            Item::Open => {
                let again = self.streams.opened(source);
                match source {
                    Source::Chat => self.mirror.chat_opened(),
                    Source::Channel if again => {
                        let api = self.api.clone();
                        self.spawn(async move { Reply::Health(api.health().await) });
                    }
                    Source::List => {
                        if again {
                            self.push(Event::SessionsChanged);
                        }
                        self.ask_others();
                    }
                    Source::Channel | Source::Approval | Source::Clarify => {}
                }
            }
            Item::Alive => {}
            Item::Event { name, data, id } => {
                let Ok(data) = serde_json::from_str(&data) else {
                    tracing::info!(name, "an event that is no JSON is ignored");
                    return;
                };
                match source {
                    Source::Chat => self.mirror.chat(&name, data, id.as_deref(), now),
                    Source::Channel => self.mirror.channel(&name, data),
                    Source::Approval => {
                        let head: decode::Pending<decode::Approval> = decode::read(data);
                        self.mirror.approval(head.pending, name != "initial", now);
                    }
                    Source::Clarify => {
                        let head: decode::Pending<decode::Clarify> = decode::read(data);
                        self.mirror.clarify(head.pending, now);
                    }
                    Source::List => {
                        // Whatever its reason: one event may stand for several.
                        self.push(Event::SessionsChanged);
                        self.ask_status();
                        self.ask_others();
                    }
                }
            }
            Item::Lost { why, attempt, retry_in, is_away: _ } => {
                let count = self.mirror.known_count();
                let retry = i64::try_from(retry_in.as_millis()).unwrap_or(0);
                self.streams.lost(source, why, attempt, now + retry, count);
                if attempt == 1 {
                    self.polled = false;
                } else {
                    self.next_poll = self.next_poll.min(Instant::now());
                }
            }
            Item::Refused { status, message } => {
                self.streams.refused(source);
                match (source, status) {
                    (Source::Chat, 404 | 410) => self.mirror.chat_lost(),
                    // A server that does not have it is asked instead.
                    (_, 404 | 405 | 410 | 501) => {
                        tracing::info!(?source, status, "the server has no such stream");
                    }
                    _ => self.closed = Some(message),
                }
            }
        }
    }

    fn due(&self) -> Instant {
        let mut due = self.next_poll;
        if let Some((at, _)) = &self.retry {
            due = due.min(*at);
        }
        if let Some(at) = self.mirror.wants_tick().filter(|_| self.closed.is_none()) {
            let wait = u64::try_from(at - now()).unwrap_or(0);
            due = due.min(Instant::now() + Duration::from_millis(wait));
        }
        due
    }

    fn tick(&mut self) {
        if self.closed.is_none() {
            self.mirror.tick(now());
        }
        let at = Instant::now();
        if let Some((_, target)) = self.retry.take_if(|(due, _)| *due <= at) {
            self.open(target);
        }
        if at < self.next_poll {
            return;
        }
        self.next_poll = at + if self.streams.poll() { POLL } else { GLANCE };
        if !self.mirror.is_attached() || self.closed.is_some() {
            return;
        }
        if self.streams.poll() {
            self.ask_questions();
            self.ask_status();
            if self.streams.is_deaf(Source::Channel) {
                let api = self.api.clone();
                self.spawn(async move { Reply::Health(api.health().await) });
            }
        } else if self.mirror.stream().is_none() {
            self.ask_status();
        }
        if self.streams.is_deaf(Source::List) || self.elsewhere.is_working(&self.id()) {
            self.ask_others();
        }
        if self.reload || self.mirror.is_uncertain() {
            self.mirror.reload();
        }
    }

    fn ask_status(&mut self) {
        if self.mirror.is_attached() {
            let (api, id) = (self.api.clone(), self.id());
            self.spawn(async move { Reply::Status(api.status(&id).await) });
        }
    }

    /// A refusal that no further try changes.
    fn refused(&mut self, about: Subject, error: &Error) {
        match error {
            Error::Auth(message) => self.closed = Some(message.clone()),
            Error::Status { code: 404, .. } => {
                let why = "this session is not there any more: somebody deleted it";
                self.mirror.fail(about, why);
                self.open(Target::Latest);
            }
            _ => self.push(failed(about, error)),
        }
    }

    fn tell_link(&mut self) {
        if let Some(message) = &self.closed {
            return self.say_link(Link::Refused { message: message.clone() });
        }
        if let Some(link) = self.streams.link(self.polled) {
            self.say_link(link);
        }
    }

    fn say_link(&mut self, link: Link) {
        if self.link.as_ref() != Some(&link) {
            self.link = Some(link.clone());
            self.push(Event::Link { link });
        }
    }
}

/// The session that is meant.
async fn find(api: &Api, target: &Target) -> Result<decode::Session, Error> {
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

fn failed(about: Subject, error: &Error) -> Event {
    let message = match error {
        Error::Status { body, .. } if body["code"] == "session_profile_mismatch" => {
            let profile = body["profile"].as_str().unwrap_or("another one");
            format!("this session is of the profile {profile}: `/profile {profile}` changes to it")
        }
        _ => error.to_string(),
    };
    Event::Failed(Failure { about, message })
}

/// A text, unless it is empty.
fn set(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
