//! A view on one of our own hosts: its events as they are, and commands as they are. A view lives
//! as long as its stream; who loses the stream opens another view, and its first event, a fresh
//! window, is the whole state. So there is no cursor, and nothing can be lost or doubled.

mod handover;
mod inbox;
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
use self::window::{is_empty, last_row};
use super::http::{Client, Error};
use super::pending_prompts::{Entry, Unsent};
use super::sse::pace::Backoff;
use super::sse::{Item, STRAYS, Stream};
use super::{Line, NEAR, Wanted, is_prompt, no_link, probed, tell};
use crate::clock::now;
use protocol::Subject;
use protocol::{
    Command, Event, Failure, Link, Millis, News, SessionId, Target, Toast, Transcript, TurnId,
};
use protocol::{Pushed, Signal, ViewId, ViewSink};

const EVENTS: &str = "/api/tui/v1/events";
const COMMANDS: &str = "/api/tui/v1/commands";
/// How long a front end that leaves is waited for until what it asked is sent.
const LEAVE: Duration = Duration::from_secs(2);
/// Rows that are kept to know what the front end has.
const WINDOW: usize = 400;
/// Kinds of frames that are told in the log once each.
const ODD: usize = 100;

/// Carries a view until the front end leaves. Returns what is not sent.
pub(super) async fn run(line: Line) -> Vec<String> {
    let Line { client, target, backend, signals, early, unsent, version, is_near, wanted } = line;
    let mut seam = Seam {
        stream: stream(&client, &target),
        client,
        target,
        backend,
        signals,
        unsent,
        outbox: Outbox::default(),
        flying: None,
        handover: None,
        handovers: Vec::new(),
        fold: None,
        inbox: Inbox::default(),
        gone: None,
        view: None,
        is_ready: false,
        pause: None,
        failed: 0,
        strays: 0,
        is_over: false,
        odd: BTreeSet::new(),
        version,
        is_near,
        wanted,
        farewell: Farewell::No,
    };
    for command in early {
        seam.asked(command);
    }
    seam.run().await;
    seam.unsent.texts()
}

/// The stream of a new view.
fn stream(client: &Client, target: &Target) -> Stream {
    Stream::new(client, EVENTS, &[("session", name(target))])
}

fn name(target: &Target) -> &str {
    match target {
        Target::New => "new",
        Target::Latest => "latest",
        Target::Id(session) => &session.0,
    }
}

type Sent = Result<Value, Error>;

struct Seam {
    client: Client,
    stream: Stream,
    /// What the next view looks at.
    target: Target,
    backend: ViewSink,
    signals: mpsc::UnboundedReceiver<(ViewId, Signal)>,
    unsent: Unsent,
    outbox: Outbox,
    /// The request with commands that is under way.
    flying: Option<BoxFuture<'static, Sent>>,
    /// Prompts of other sessions are handed over one session after the other.
    handover: Option<BoxFuture<'static, handover::Done>>,
    handovers: Vec<handover::Handover>,
    /// What the front end has: the fold of what it was told.
    fold: Option<Transcript>,
    /// What waits for an answer in all sessions, as the front end knows it.
    inbox: Inbox,
    /// The session that was in view and is not there any more; it was empty.
    gone: Option<SessionId>,
    /// Names the view in requests.
    view: Option<String>,
    /// The view's window has come: commands may go.
    is_ready: bool,
    /// Commands are not sent again before that.
    pause: Option<Instant>,
    /// Requests that failed in a row.
    failed: u32,
    /// So many times in a row something else has said that the session is gone.
    strays: u32,
    /// No further try is made.
    is_over: bool,
    /// What was already told in the log.
    odd: BTreeSet<String>,
    /// The version of the host, as last heard.
    version: Option<String>,
    /// See [`Line::is_near`].
    is_near: bool,
    wanted: Wanted,
    farewell: Farewell,
}

/// Whether the host has said that it was stopped, and none has answered since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    No,
    Said,
    /// The front end knows it.
    Told,
}

enum Step {
    Item(Option<Item>),
    Sent(Sent),
    Handover(handover::Done),
    Signal(Option<(ViewId, Signal)>),
    Paused,
}

/// What a future gives, if there is one.
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
                Step::Signal(Some((_, Signal::Command(command)))) => self.asked(command),
                Step::Signal(Some((_, Signal::Detached)) | None) => return self.leave().await,
                step => self.on(step).await,
            }
        }
    }

    async fn step(&mut self) -> Step {
        let pause = self.pause;
        tokio::select! {
            signal = self.signals.recv() => Step::Signal(signal),
            sent = maybe(&mut self.flying) => Step::Sent(sent),
            item = self.stream.next(), if !self.is_over => Step::Item(item),
            done = maybe(&mut self.handover) => Step::Handover(done),
            () = tokio::time::sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => {
                Step::Paused
            }
        }
    }

    async fn on(&mut self, step: Step) {
        match step {
            Step::Item(Some(item)) => self.item(item).await,
            Step::Item(None) => self.is_over = true,
            Step::Sent(sent) => {
                self.flying = None;
                self.sent(sent);
            }
            Step::Handover(handover::Done { mut taken, homeless }) => {
                self.handover = None;
                for entry in homeless {
                    let text = entry.text;
                    let message = format!("the session that this was typed in is gone: {text}");
                    self.fail(Subject::Link, &message);
                    taken.push(entry.id);
                }
                self.unsent.remove(&taken);
                self.run_errands();
            }
            Step::Paused => self.pause = None,
            Step::Signal(_) => {}
        }
    }

    /// The front end is gone: what it asked for still goes out, if that is soon, and the host may
    /// say that it has it.
    async fn leave(&mut self) {
        let leaving = async {
            while self.is_ready && !self.is_over && (!self.outbox.is_empty() || self.awaits()) {
                self.send();
                let step = tokio::select! {
                    sent = maybe(&mut self.flying) => Step::Sent(sent),
                    item = self.stream.next() => Step::Item(item),
                };
                self.on(step).await;
            }
        };
        tokio::time::timeout(LEAVE, leaving).await.ok();
    }

    /// A command of the front end.
    fn asked(&mut self, command: Command) {
        if let Command::Prompt { id, text } = &command {
            let session = match (self.outbox.opens(), &self.fold) {
                (Some(Target::Id(session)), _) => Some(session.clone()),
                (Some(Target::New | Target::Latest), _) | (None, None) => None,
                // One that is empty may not be there any more when there is a link again.
                (None, Some(fold)) if is_empty(fold) => None,
                (None, Some(fold)) => Some(fold.session.clone()),
            };
            self.unsent.add(Entry::typed(id, session, text));
            if !self.is_ready {
                self.wanted.set(true);
            }
            // Somebody waits.
            self.stream.hurry();
        }
        if self.is_over {
            self.push(no_link(&command));
            return;
        }
        self.outbox.ask(command, self.turn());
    }

    /// Sends what waits, if that can be.
    fn send(&mut self) {
        let Some(view) = self.view.as_deref().filter(|_| self.is_ready && !self.is_over) else {
            return;
        };
        if self.flying.is_some() || self.pause.is_some() {
            return;
        }
        let view = view.to_owned();
        let commands = self.outbox.take(self.turn());
        if commands.is_empty() {
            return;
        }
        if let Some(fold) = &self.fold {
            for command in &commands {
                if let Command::Prompt { id, .. } = command {
                    self.unsent.place(id, &fold.session, last_row(fold));
                }
            }
        }
        let client = self.client.clone();
        self.flying = Some(Box::pin(async move {
            let body = serde_json::to_value(&commands)
                .map_err(|e| Error::Setup(format!("a command cannot be written: {e}")))?;
            client.post(&format!("{COMMANDS}?view={view}"), &body).await
        }));
    }

    /// What became of the commands that were sent.
    fn sent(&mut self, sent: Sent) {
        match sent {
            Ok(answer) => {
                self.failed = 0;
                self.outbox.taken();
                for name in answer["unknown"].as_array().into_iter().flatten() {
                    let name = name.as_str().unwrap_or("this");
                    self.fail(
                        Subject::of_name(name),
                        "the host is older than this program and cannot do that",
                    );
                }
            }
            Err(Error::Status { code: 404, .. }) => {
                // The view ended and we have not heard of it.
                self.outbox.not_taken();
                self.anew();
                self.failed = self.failed.saturating_add(1);
                if self.failed > 1 {
                    // It is something in between that says so.
                    self.stream.put_off(pause(self.failed));
                }
            }
            Err(Error::Unreachable { sent: false, .. } | Error::Status { code: 429 | 503, .. }) => {
                self.outbox.not_taken();
                self.wait();
            }
            Err(error) if error.is_passing() => {
                self.doubt(&error.to_string());
                self.wait();
            }
            Err(Error::Auth(message)) => {
                self.outbox.not_taken();
                self.refused(message);
            }
            Err(error) => {
                for command in self.outbox.refused() {
                    if let Command::Prompt { id, .. } = &command {
                        self.unsent.remove(std::slice::from_ref(id));
                    }
                    self.fail(Subject::of(&command), &error.to_string());
                }
            }
        }
    }

    /// Sends nothing for a while.
    fn wait(&mut self) {
        self.failed = self.failed.saturating_add(1);
        self.pause = Some(Instant::now() + pause(self.failed));
    }

    /// A request broke off: what cannot be repeated is told.
    fn doubt(&mut self, why: &str) {
        for command in self.outbox.unclear() {
            let what = match &command {
                Command::Steer { text } => format!(" Your remark was: {text}"),
                _ => String::new(),
            };
            let message = format!(
                "the link broke while this was sent ({why}): look whether it was done.{what}"
            );
            self.fail(Subject::of(&command), &message);
        }
    }

    async fn item(&mut self, item: Item) {
        match item {
            // The window says when the view is there.
            Item::Open => {}
            Item::Alive => self.pass_on_silence(),
            Item::Event { name, data, .. } => match name.as_str() {
                "view" => {
                    self.strays = 0;
                    self.farewell = Farewell::No;
                    self.view = named(&data);
                    self.heard_version(&data);
                }
                "stopped" => self.farewell = Farewell::Said,
                "e" => self.event(&data),
                _ => self.odd(&name, "an unknown frame"),
            },
            Item::Lost { why, attempt, mut retry_in, is_away } => {
                self.lost(&why);
                if self.is_near && retry_in > NEAR {
                    retry_in = NEAR;
                    self.stream.put_off(NEAR);
                }
                let retry_at = now() + retry_in.as_millis() as Millis;
                // What answers in its place is news; that nobody does is none.
                let said = if is_away { self.farewell } else { Farewell::No };
                match said {
                    Farewell::No => tell(&self.backend, Link::Down { why, attempt, retry_at }),
                    Farewell::Told if self.is_near => {}
                    Farewell::Said | Farewell::Told => {
                        self.farewell = Farewell::Told;
                        let retry_at = (!self.is_near).then_some(retry_at);
                        tell(&self.backend, Link::Stopped { retry_at });
                    }
                }
            }
            Item::Refused { status: 404, message } => self.gone(message).await,
            Item::Refused { message, .. } => self.refused(message),
        }
    }

    /// Another version answers than before: who looks on should know why something is different.
    fn heard_version(&mut self, hello: &str) {
        let hello: Value = serde_json::from_str(hello).unwrap_or_default();
        let Some(version) = hello["version"].as_str() else { return };
        let before = self.version.replace(version.to_owned());
        if before.is_some_and(|before| before != version) && version != env!("CARGO_PKG_VERSION") {
            self.toast(format!(
                "the host runs {version} now, this is {}",
                env!("CARGO_PKG_VERSION")
            ));
        }
    }

    /// The view is gone with its stream.
    fn lost(&mut self, why: &str) {
        self.view = None;
        let was_ready = std::mem::replace(&mut self.is_ready, false);
        self.pause = None;
        if self.flying.take().is_some() {
            self.doubt(why);
        }
        self.outbox.broken();
        if was_ready && self.farewell == Farewell::Said && self.outbox.holds(is_prompt) {
            // It was sent while the host was being stopped, and the host has not taken it.
            self.wanted.set(true);
        }
        if let Some(fold) = &self.fold {
            self.target = Target::Id(fold.session.clone());
        }
        self.stream.set_query(&[("session", name(&self.target))]);
    }

    /// Opens another view at once.
    fn anew(&mut self) {
        self.lost("the view ended");
        tell(&self.backend, Link::Connecting);
        self.stream = stream(&self.client, &self.target);
    }

    /// No view on that session can be had.
    async fn gone(&mut self, message: String) {
        self.lost(&message);
        let Target::Id(session) = self.target.clone() else { return self.refused(message) };
        match probed(&self.client).await {
            Ok(probe) if !probe.tui => {
                return self.refused(
                    "another server answers there now; leave and attach again".to_owned(),
                );
            }
            Err(error) if !error.is_passing() => return self.refused(error.to_string()),
            Err(error) => return self.stray(&error),
            Ok(_) => {}
        }
        match &self.fold {
            // Nothing shows yet: this is its last word on what was asked for.
            None => self.fail(Subject::Open, &message),
            // It was never stored: another empty one is as good.
            Some(fold) if is_empty(fold) => self.gone = Some(session),
            Some(_) => {
                self.fail(Subject::Open, "the session is gone from the host; this is a new one");
            }
        }
        self.target = Target::New;
        self.stream = stream(&self.client, &self.target);
    }

    /// Something that is not the host says that the session is gone: a proxy whose server
    /// restarts, maybe.
    fn stray(&mut self, error: &Error) {
        self.strays = self.strays.saturating_add(1);
        let why = error.to_string();
        if self.strays > STRAYS && matches!(error, Error::NotWebui(_) | Error::Redirected(_)) {
            return self.refused(why);
        }
        let pause = pause(self.strays);
        self.stream.put_off(pause);
        let retry_at = now() + pause.as_millis() as Millis;
        tell(&self.backend, Link::Down { why, attempt: self.strays, retry_at });
    }

    fn refused(&mut self, message: String) {
        self.is_over = true;
        self.is_ready = false;
        tell(&self.backend, Link::Refused { message });
    }

    /// An event as the host says it.
    fn event(&mut self, data: &str) {
        match serde_json::from_str::<Event>(data) {
            Ok(Event::Attached { transcript, resynced }) => self.attached(transcript, resynced),
            Ok(event) => {
                if let Event::Failed(failure) = &event
                    && failure.about == Subject::Open
                {
                    self.outbox.opened();
                }
                match &event {
                    Event::InboxChanged { questions } => self.inbox.told(questions),
                    _ => self.pass_on_silence(),
                }
                if let Some(fold) = &mut self.fold {
                    fold.apply(&event);
                    if fold.rows.len() > 2 * WINDOW {
                        fold.trim(WINDOW);
                    }
                    let taken = self.unsent.seen(&fold.session, &event);
                    self.outbox.forget(&taken);
                }
                self.push(event);
            }
            Err(error) => {
                let kind = serde_json::from_str::<Value>(data).ok();
                let kind = kind.as_ref().and_then(|value| value["event"].as_str()).unwrap_or("?");
                if kind == "attached" {
                    tracing::error!(%error, "a window cannot be read");
                    self.refused(
                        "the host is newer than this program: update it, then attach again"
                            .to_owned(),
                    );
                } else {
                    self.odd(kind, &error.to_string());
                }
            }
        }
    }

    fn push(&mut self, event: Event) {
        if self.backend.push(event) == Pushed::Overflowed
            && let Some(fold) = &self.fold
        {
            let transcript = Box::new(fold.clone());
            let _ = self.backend.push(Event::Attached { transcript, resynced: true });
            if let Some(inbox) = self.inbox.again() {
                let _ = self.backend.push(inbox);
            }
        }
    }

    /// The host tells of an inbox right behind a window. Something else has come: there is none.
    fn pass_on_silence(&mut self) {
        if let Some(inbox) = self.inbox.silence() {
            self.push(inbox);
        }
    }

    /// News of no session.
    fn toast(&mut self, text: String) {
        let (session, name) = Default::default();
        self.push(Event::Toast(Toast { session, name, process: None, news: News::Unknown, text }));
    }

    fn fail(&mut self, about: Subject, message: &str) {
        let message = message.to_owned();
        self.push(Event::Failed(Failure { about, message }));
    }

    /// Something that we cannot read is left out, and told in the log once (E15).
    fn odd(&mut self, kind: &str, why: &str) {
        if self.odd.len() < ODD && self.odd.insert(kind.to_owned()) {
            tracing::warn!(kind, why, "an event of the host is left out");
        }
    }

    fn turn(&self) -> Option<TurnId> {
        Some(self.fold.as_ref()?.running.as_ref()?.turn)
    }
}

/// How long to wait after so many failures in a row.
fn pause(failed: u32) -> Duration {
    Backoff::default().pause(failed, uuid::Uuid::new_v4().as_bytes()[0])
}

/// The token in a `view` frame.
fn named(data: &str) -> Option<String> {
    let value: Value = serde_json::from_str(data).ok()?;
    Some(value["view"].as_str()?.to_owned())
}
