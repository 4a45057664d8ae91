//! A view on one of our own hosts: events and commands cross the wire as they are. A view lives as
//! long as its stream; when the stream is lost another view is opened, and its first event, a fresh
//! window, is the whole state. So there is no cursor, and nothing can be lost or doubled.

mod commands;
mod handover;
mod inbox;
mod link;
mod outbox;
mod window;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::inbox::Inbox;
use self::outbox::Outbox;
use self::window::last_row;
use super::http::{Client, Error};
use super::pending_prompts::PendingPrompts;
use super::sse::{Item, Stream};
use super::{Connected, PromptWaiting};
use protocol::{
    Event, Failure, News, Pushed, SessionId, Signal, Subject, Target, Toast, Transcript, TurnId,
    ViewId, ViewSink,
};

const EVENTS: &str = "/api/tui/v1/events";
const COMMANDS: &str = "/api/tui/v1/commands";
/// How long commands may still be sent after the view was dropped.
const LEAVE: Duration = Duration::from_secs(2);
/// Rows that are kept of what the view knows.
const WINDOW: usize = 400;
/// Most kinds of unreadable frames that are logged, once each.
const MAX_LOGGED: usize = 100;

/// Serves one view until it is dropped. Returns the prompts that are not sent at the end.
pub(super) async fn run(connected: Connected) -> Vec<String> {
    let Connected {
        client,
        target,
        sink,
        signals,
        early,
        prompts,
        version,
        is_local,
        prompt_waiting,
    } = connected;
    let mut seam = Seam {
        stream: stream(&client, &target),
        client,
        target,
        sink,
        signals,
        prompts,
        outbox: Outbox::default(),
        in_flight: None,
        handover: None,
        handovers: Vec::new(),
        known: None,
        inbox: Inbox::default(),
        gone_session: None,
        view: None,
        is_ready: false,
        pause: None,
        failed: 0,
        strays: 0,
        is_over: false,
        logged: BTreeSet::new(),
        version,
        is_local,
        prompt_waiting,
        host_stop: HostStop::No,
    };
    for command in early {
        seam.command(command);
    }
    seam.run().await;
    seam.prompts.texts()
}

/// The stream of a new view.
fn stream(client: &Client, target: &Target) -> Stream {
    Stream::new(client, EVENTS, &[("session", session_param(target))])
}

fn session_param(target: &Target) -> &str {
    match target {
        Target::New => "new",
        Target::Latest => "latest",
        Target::Id(session) => &session.0,
    }
}

type PostResult = Result<Value, Error>;

struct Seam {
    client: Client,
    stream: Stream,
    /// The session the next view is opened on.
    target: Target,
    sink: ViewSink,
    signals: mpsc::UnboundedReceiver<(ViewId, Signal)>,
    prompts: PendingPrompts,
    outbox: Outbox,
    /// The request with commands that is under way.
    in_flight: Option<BoxFuture<'static, PostResult>>,
    /// Prompts of other sessions are handed over one session after the other.
    handover: Option<BoxFuture<'static, handover::HandedOver>>,
    handovers: Vec<handover::Handover>,
    /// What the view knows: the fold of the events it was sent.
    known: Option<Transcript>,
    /// The open questions of all sessions, as the view knows them.
    inbox: Inbox,
    /// An empty session that was in view and does not exist any more.
    gone_session: Option<SessionId>,
    /// The token that names the view in requests.
    view: Option<String>,
    /// The window has come: commands may be sent.
    is_ready: bool,
    /// Commands are not sent again before that.
    pause: Option<Instant>,
    /// Requests that failed in a row.
    failed: u32,
    /// How many times in a row something that is not the host answered that the session is gone.
    strays: u32,
    /// No further attempt is made.
    is_over: bool,
    /// The kinds of unreadable frames that were logged.
    logged: BTreeSet<String>,
    /// The version of the host, as it reported it last.
    version: Option<String>,
    /// See [`Connected::is_local`].
    is_local: bool,
    prompt_waiting: PromptWaiting,
    host_stop: HostStop,
}

/// Whether the host has announced that it stops, and none has answered since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HostStop {
    No,
    Announced,
    /// The view knows it.
    Reported,
}

enum Input {
    Item(Option<Item>),
    PostResult(PostResult),
    Handover(handover::HandedOver),
    Signal(Option<(ViewId, Signal)>),
    Paused,
}

/// The result of a future, if there is one.
async fn maybe<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

impl Seam {
    async fn run(&mut self) {
        loop {
            self.send();
            match self.step().await {
                Input::Signal(Some((_, Signal::Command(command)))) => self.command(command),
                Input::Signal(Some((_, Signal::Detached)) | None) => return self.leave().await,
                step => self.handle(step).await,
            }
        }
    }

    async fn step(&mut self) -> Input {
        let pause = self.pause;
        tokio::select! {
            signal = self.signals.recv() => Input::Signal(signal),
            posted = maybe(&mut self.in_flight) => Input::PostResult(posted),
            item = self.stream.next(), if !self.is_over => Input::Item(item),
            done = maybe(&mut self.handover) => Input::Handover(done),
            () = tokio::time::sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => {
                Input::Paused
            }
        }
    }

    async fn handle(&mut self, step: Input) {
        match step {
            Input::Item(Some(item)) => self.item(item).await,
            Input::Item(None) => self.is_over = true,
            Input::PostResult(posted) => {
                self.in_flight = None;
                self.posted(posted);
            }
            Input::Handover(handover::HandedOver { mut taken, orphaned }) => {
                self.handover = None;
                for entry in orphaned {
                    let text = entry.text;
                    let message = format!("the session that this was typed in is gone: {text}");
                    self.fail(Subject::Link, &message);
                    taken.push(entry.id);
                }
                self.prompts.remove(&taken);
                self.start_handover();
            }
            Input::Paused => self.pause = None,
            Input::Signal(_) => {}
        }
    }

    /// The view was dropped: its commands are still sent, for a short time, and the host may confirm
    /// its prompts.
    async fn leave(&mut self) {
        let leaving = async {
            while self.is_ready
                && !self.is_over
                && (!self.outbox.is_empty() || self.has_unconfirmed())
            {
                self.send();
                let step = tokio::select! {
                    posted = maybe(&mut self.in_flight) => Input::PostResult(posted),
                    item = self.stream.next() => Input::Item(item),
                };
                self.handle(step).await;
            }
        };
        tokio::time::timeout(LEAVE, leaving).await.ok();
    }

    async fn item(&mut self, item: Item) {
        match item {
            // The view is there when its window has come.
            Item::Open => {}
            Item::Alive => self.push_stale_inbox(),
            Item::Event { name, data, .. } => match name.as_str() {
                "view" => {
                    self.strays = 0;
                    self.host_stop = HostStop::No;
                    self.view = view_token(&data);
                    self.note_version(&data);
                }
                "stopped" => self.host_stop = HostStop::Announced,
                "e" => self.event(&data),
                _ => self.log_unreadable(&name, "an unknown frame"),
            },
            Item::Lost { why, attempt, retry_in, is_away } => {
                self.lost(why, attempt, retry_in, is_away);
            }
            Item::Refused { status: 404, message } => self.session_gone(message).await,
            Item::Refused { message, .. } => self.refuse(message),
        }
    }

    /// An event as the host sends it.
    fn event(&mut self, data: &str) {
        match serde_json::from_str::<Event>(data) {
            Ok(Event::Attached { transcript, resynced }) => {
                self.window_received(transcript, resynced);
            }
            Ok(event) => {
                if let Event::Failed(failure) = &event
                    && failure.about == Subject::Open
                {
                    self.outbox.session_shown();
                }
                match &event {
                    Event::InboxChanged { questions } => self.inbox.update(questions),
                    _ => self.push_stale_inbox(),
                }
                if let Some(known) = &mut self.known {
                    known.apply(&event);
                    if known.rows.len() > 2 * WINDOW {
                        known.trim(WINDOW);
                    }
                    let taken = self.prompts.acknowledge(&known.session, &event);
                    self.outbox.remove_prompts(&taken);
                }
                self.push(event);
            }
            Err(error) => {
                let kind = serde_json::from_str::<Value>(data).ok();
                let kind = kind.as_ref().and_then(|value| value["event"].as_str()).unwrap_or("?");
                if kind == "attached" {
                    tracing::error!(%error, "a window cannot be read");
                    self.refuse(
                        "the host is newer than this program: update it, then attach again"
                            .to_owned(),
                    );
                } else {
                    self.log_unreadable(kind, &error.to_string());
                }
            }
        }
    }

    fn push(&mut self, event: Event) {
        if self.sink.push(event) == Pushed::Overflowed
            && let Some(known) = &self.known
        {
            let transcript = Box::new(known.clone());
            let _ = self.sink.push(Event::Attached { transcript, resynced: true });
            if let Some(inbox) = self.inbox.current() {
                let _ = self.sink.push(inbox);
            }
        }
    }

    /// A host sends its inbox right behind a window. Something else has come: it is empty.
    fn push_stale_inbox(&mut self) {
        if let Some(inbox) = self.inbox.drop_stale() {
            self.push(inbox);
        }
    }

    /// News that belong to no session.
    fn toast(&mut self, text: String) {
        let (session, name) = Default::default();
        self.push(Event::Toast(Toast { session, name, process: None, news: News::Unknown, text }));
    }

    fn fail(&mut self, about: Subject, message: &str) {
        let message = message.to_owned();
        self.push(Event::Failed(Failure { about, message }));
    }

    /// A frame that we cannot read is skipped, and its kind is logged once (E15).
    fn log_unreadable(&mut self, kind: &str, why: &str) {
        if self.logged.len() < MAX_LOGGED && self.logged.insert(kind.to_owned()) {
            tracing::warn!(kind, why, "an event of the host is skipped");
        }
    }

    /// How long to wait after so many failures in a row.
    fn pause_after(&self, failed: u32) -> Duration {
        self.client.backoff().pause(failed, uuid::Uuid::new_v4().as_bytes()[0])
    }

    fn turn(&self) -> Option<TurnId> {
        Some(self.known.as_ref()?.running.as_ref()?.turn)
    }
}

/// The token in a `view` frame.
fn view_token(data: &str) -> Option<String> {
    let value: Value = serde_json::from_str(data).ok()?;
    Some(value["view"].as_str()?.to_owned())
}
