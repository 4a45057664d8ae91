//! The client of a hermes-webui: the loop that does the I/O. What the inputs mean is decided in
//! [`super::translate`].

mod background_sessions;
mod commands;
mod inbox;
mod polling;
mod replies;
mod requests;
mod stream_items;
mod streams;

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use self::background_sessions::BackgroundSessions;
use self::inbox::Inbox;
use self::replies::{Reply, ViewReply};
use self::requests::load_target;
use self::streams::Streams;
use super::Connected;
use super::api::Api;
use super::http::Error;
use super::pending_prompts::{PendingPrompt, PendingPrompts};
use super::translate::Mirror;
use crate::clock::now;
use crate::wire::decode;
use protocol::{
    Command, Event, Failure, Link, Millis, Pushed, Queued, SessionId, Signal, Subject, Target,
    ViewSink,
};

/// How often the state is polled while streams do not work (E08).
const POLL: Duration = Duration::from_secs(3);
/// How often an idle session is polled: no stream reports that another client has started a turn.
const IDLE_POLL: Duration = Duration::from_secs(5);
/// The pause before a load that failed is repeated.
const AGAIN: Duration = Duration::from_secs(1);

/// Serves one view until it is dropped. Returns the prompts that are not sent at the end.
pub(super) async fn run(connected: Connected) -> Vec<String> {
    let Connected { client, target, sink, mut signals, early, prompts, .. } = connected;
    let mut webui = Webui::new(Api::new(client), sink, prompts);
    webui.open(target);
    for command in early {
        webui.command(command);
    }
    loop {
        let due = webui.due();
        tokio::select! {
            signal = signals.recv() => match signal {
                Some((_, Signal::Command(command))) => webui.command(command),
                Some((_, Signal::Detached)) | None => return webui.prompts.texts(),
            },
            Some(done) = webui.tasks.join_next(), if !webui.tasks.is_empty() => {
                if let Ok((view, reply)) = done {
                    webui.reply(view, reply);
                }
            }
            (source, item) = webui.streams.next() => webui.stream_item(source, item),
            () = tokio::time::sleep_until(due) => webui.tick(),
        }
        webui.settle();
    }
}

/// See the module.
struct Webui {
    api: Api,
    sink: ViewSink,
    mirror: Mirror,
    /// Counts the sessions that were in view: replies for an earlier one are dropped.
    view: u64,
    /// Counts the requests to open a session: only the last one counts.
    opening: u64,
    streams: Streams,
    /// Requests under way, each with the number of the view it was made for.
    tasks: JoinSet<(u64, Reply)>,
    /// The link as it was reported last.
    link: Option<Link>,
    prompts: PendingPrompts,
    /// When the server started; 0 until it has said so.
    started_at: Millis,
    /// The provider of each model.
    providers: HashMap<String, String>,
    next_poll: Instant,
    /// A session that could not be opened, and when that is tried again.
    retry: Option<(Instant, Target)>,
    /// A load failed and is to be repeated.
    reload: bool,
    /// Whether the last poll was answered.
    poll_answered: bool,
    /// The server refuses us and no further try changes that; what the user can do.
    refusal: Option<String>,
    /// Commands that wait until the server has finished a turn.
    deferred: Vec<Command>,
    background: BackgroundSessions,
    inbox: Inbox,
}

impl Webui {
    fn new(api: Api, sink: ViewSink, prompts: PendingPrompts) -> Self {
        Self {
            streams: Streams::new(api.client()),
            api,
            sink,
            mirror: Mirror::default(),
            view: 0,
            opening: 0,
            tasks: JoinSet::new(),
            link: None,
            prompts,
            started_at: 0,
            providers: HashMap::new(),
            next_poll: Instant::now() + IDLE_POLL,
            retry: None,
            reload: false,
            poll_answered: false,
            refusal: None,
            deferred: Vec::new(),
            background: BackgroundSessions::default(),
            inbox: Inbox::default(),
        }
    }

    /// The id of the session in view.
    fn id(&self) -> String {
        self.mirror.view().session.0.clone()
    }

    fn spawn(&mut self, reply: impl Future<Output = Reply> + Send + 'static) {
        let view = self.view;
        self.tasks.spawn(async move { (view, reply.await) });
    }

    /// As [`Self::spawn`], for a request about the session in view.
    fn spawn_for_view(&mut self, reply: impl Future<Output = ViewReply> + Send + 'static) {
        self.spawn(async move { Reply::View(reply.await) });
    }

    /// Asks for another session. It comes into view with the reply.
    fn open(&mut self, target: Target) {
        self.opening += 1;
        self.retry = None;
        let (api, opening) = (self.api.clone(), self.opening);
        self.spawn(async move {
            let session = load_target(&api, &target).await;
            Reply::Opened { opening, target, session }
        });
    }

    fn opened(&mut self, target: Target, session: Result<decode::Session, Error>) {
        match session {
            Ok(session) => self.enter(&session),
            Err(error) if !self.mirror.is_attached() && error.is_passing() => {
                let why = error.to_string();
                self.set_link(Link::Down { why, attempt: 1, retry_at: now() + 3_000 });
                self.retry = Some((Instant::now() + POLL, target));
            }
            Err(error) => {
                if let Error::Auth(message) = &error {
                    self.refusal = Some(message.clone());
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
            // What happens in the session that is left is news from its state now on.
            self.background.forget(&self.mirror.view().session);
            self.fetch_sessions();
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
        self.queue_pending_prompts(&id);
        self.fetch_details();
    }

    /// Prompts that were typed and not sent wait on in their session; those that were typed before
    /// there was a session belong to this one.
    fn queue_pending_prompts(&mut self, session: &SessionId) {
        self.prompts.acknowledge(session, &self.mirror.window());
        let last = self.mirror.last();
        let waiting = self.prompts.entries().iter();
        let waiting = waiting.filter(|e| e.session.as_ref().is_none_or(|of| of == session));
        for PendingPrompt { id, text, .. } in waiting.cloned().collect::<Vec<_>>() {
            self.prompts.mark_sent(&id, session, last);
            self.mirror.prompt(id, text);
        }
    }

    /// Carries out what the inputs so far have led to: events to the view, requests to the server.
    fn settle(&mut self) {
        if !self.deferred.is_empty() && !self.mirror.is_settling() {
            for command in std::mem::take(&mut self.deferred) {
                self.command(command);
            }
        }
        let mut has_window = false;
        loop {
            let out = self.mirror.take_output();
            if out.events.is_empty() && out.requests.is_empty() {
                break;
            }
            let mut overflowed = false;
            for event in out.events {
                self.store_prompt(&event);
                has_window |= matches!(event, Event::Attached { .. });
                if !overflowed && self.sink.push(event) == Pushed::Overflowed {
                    // The window includes the events that follow.
                    self.resend();
                    overflowed = true;
                }
            }
            for request in out.requests {
                self.request(request);
            }
        }
        self.push_inbox(has_window);
        self.update_link();
    }

    fn push(&mut self, event: Event) {
        if self.sink.push(event) == Pushed::Overflowed {
            self.resend();
        }
    }

    /// The view reads too slowly: a fresh window holds all that it missed.
    fn resend(&self) {
        if self.sink.push(self.mirror.window()) == Pushed::Overflowed {
            tracing::warn!("a view has no room for a window");
        }
        if let Some(inbox) = self.inbox.current() {
            // There is room for it beside a window.
            let _ = self.sink.push(inbox);
        }
    }

    /// A prompt is on disk until the server has it.
    fn store_prompt(&mut self, event: &Event) {
        match event {
            Event::PromptQueued { prompt } => {
                let Queued { id, text } = prompt.clone();
                let attached = self.mirror.is_attached();
                let session = attached.then(|| self.mirror.view().session.clone());
                let after = self.mirror.last();
                self.prompts.add(PendingPrompt { id, session, after, text, at: now() });
            }
            Event::PromptUnqueued { id } => self.prompts.remove(std::slice::from_ref(id)),
            _ => {}
        }
    }

    /// A refusal that no further try changes.
    fn refused(&mut self, about: Subject, error: &Error) {
        match error {
            Error::Auth(message) => self.refusal = Some(message.clone()),
            Error::Status { code: 404, .. } => {
                let why = "this session is not there any more: somebody deleted it";
                self.mirror.fail(about, why);
                self.open(Target::Latest);
            }
            _ => self.push(failed(about, error)),
        }
    }

    fn update_link(&mut self) {
        if let Some(message) = &self.refusal {
            return self.set_link(Link::Refused { message: message.clone() });
        }
        if let Some(link) = self.streams.link(self.poll_answered) {
            self.set_link(link);
        }
    }

    fn set_link(&mut self, link: Link) {
        if self.link.as_ref() != Some(&link) {
            self.link = Some(link.clone());
            self.push(Event::Link { link });
        }
    }
}

fn failed(about: Subject, error: &Error) -> Event {
    let message = match error {
        Error::Status { body, .. } if body["code"] == "session_profile_mismatch" => {
            let profile = body["profile"].as_str().unwrap_or("another one");
            format!(
                "this session belongs to the profile {profile}: switch with `/profile {profile}`"
            )
        }
        _ => error.to_string(),
    };
    Event::Failed(Failure { about, message })
}

/// A text, unless it is empty.
fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
