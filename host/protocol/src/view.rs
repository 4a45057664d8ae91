//! The seam: the two ends of a view on a session. Sending a command never waits; events come out of
//! a queue that is bounded in bytes and replaced by one fresh window when it overflows, so that a
//! view that reads nothing costs nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use crate::command::Command;
use crate::event::Event;
use crate::row::Row;

/// The maximum size of the events queued for a view, in bytes.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;

/// Identifies a view of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewId(pub u64);

/// A message from a view to its host.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    /// A command.
    Command(Command),
    /// The [`View`] was dropped.
    Detached,
}

/// The client's end of a view. Dropping it ends the view, never the host.
#[derive(Debug)]
pub struct View {
    id: ViewId,
    signals: mpsc::UnboundedSender<(ViewId, Signal)>,
    queue: Arc<Queue>,
}

/// The sending half of a [`View`], for a holder that reads events in another task. It does not keep
/// the view open.
#[derive(Clone, Debug)]
pub struct CommandSender {
    id: ViewId,
    signals: mpsc::UnboundedSender<(ViewId, Signal)>,
}

impl CommandSender {
    /// As [`View::send`]; once the view has ended it does nothing.
    pub fn send(&self, command: Command) {
        self.signals.send((self.id, Signal::Command(command))).ok();
    }
}

/// The host's end of a view: the sink for its events.
#[derive(Debug)]
pub struct ViewSink {
    queue: Arc<Queue>,
}

/// The result of [`ViewSink::push`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "after an overflow the view needs a fresh window"]
pub enum Pushed {
    /// The event is in the queue.
    Queued,
    /// The queue was full. It was emptied and needs a fresh [`Event::Attached`].
    Overflowed,
}

#[derive(Debug, Default)]
struct Queue {
    events: Mutex<Events>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Events {
    waiting: VecDeque<(usize, Event)>,
    bytes: usize,
    closed: bool,
}

/// A connected pair of ends. Messages of the view go into `signals`, tagged with `id`.
pub fn pair(id: ViewId, signals: mpsc::UnboundedSender<(ViewId, Signal)>) -> (View, ViewSink) {
    let queue = Arc::new(Queue::default());
    (View { id, signals, queue: queue.clone() }, ViewSink { queue })
}

impl View {
    /// Sends a command. Never waits; when the host has stopped, [`View::next`] returns `None`.
    pub fn send(&self, command: Command) {
        self.signals.send((self.id, Signal::Command(command))).ok();
    }

    /// Another sender of commands of this view.
    pub fn command_sender(&self) -> CommandSender {
        CommandSender { id: self.id, signals: self.signals.clone() }
    }

    /// The next event; `None` once the host has stopped and all its events were taken.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let changed = self.queue.changed.notified();
            {
                let mut events = self.queue.lock();
                if let Some(event) = events.take() {
                    return Some(event);
                }
                if events.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// The next event if one is queued already, for draining the queue before drawing once.
    pub fn try_next(&mut self) -> Option<Event> {
        self.queue.lock().take()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.signals.send((self.id, Signal::Detached)).ok();
    }
}

impl ViewSink {
    /// Adds an event. Never waits.
    pub fn push(&self, event: Event) -> Pushed {
        let cost = cost(&event);
        let mut events = self.queue.lock();
        if let Event::InboxChanged { .. } = event {
            // The newest says all: who reads slowly need not see what came and went.
            events.forget_inbox();
        }
        if events.bytes + cost > QUEUE_BYTES {
            events.waiting.clear();
            events.bytes = 0;
            return Pushed::Overflowed;
        }
        events.bytes += cost;
        events.waiting.push_back((cost, event));
        drop(events);
        self.queue.changed.notify_one();
        Pushed::Queued
    }
}

impl Drop for ViewSink {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_one();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events {
    fn take(&mut self) -> Option<Event> {
        let (cost, event) = self.waiting.pop_front()?;
        self.bytes -= cost;
        Some(event)
    }

    fn forget_inbox(&mut self) {
        let is_inbox = |event: &Event| matches!(event, Event::InboxChanged { .. });
        if let Some(at) = self.waiting.iter().rposition(|(_, event)| is_inbox(event))
            && let Some((cost, _)) = self.waiting.remove(at)
        {
            self.bytes -= cost;
        }
    }
}

/// The approximate memory use of an event. A window counts as nothing, so that one always fits.
fn cost(event: &Event) -> usize {
    const BASE: usize = 200;
    BASE + match event {
        Event::RowAdded { row } => row_cost(row),
        Event::Paged { rows, .. } => rows.iter().map(row_cost).sum(),
        Event::Delta { text, .. }
        | Event::CallOutput { text, .. }
        | Event::AsideSaid { text, .. }
        | Event::AsideEnded { text, .. }
        | Event::ProcessTail { text, .. } => text.len(),
        Event::SessionsListed { sessions } => sessions.len() * BASE,
        Event::ProcessesListed { processes } => processes.len() * 2 * BASE,
        Event::ModelsListed { models } => models.len() * BASE,
        Event::PromptQueued { prompt } => prompt.text.len(),
        Event::SessionsFound { found, .. } => found.len() * 2 * BASE,
        Event::WorkspacesListed { paths: names } | Event::ProfilesListed { names, .. } => {
            names.len() * BASE
        }
        // What a front end asked for once, and would never get if it were too long for the queue.
        Event::Exported { .. }
        | Event::Attached { .. }
        | Event::TurnStarted { .. }
        | Event::TurnStatus { .. }
        | Event::CallStarted { .. }
        | Event::TurnCancelling { .. }
        | Event::TurnEnded { .. }
        | Event::PromptUnqueued { .. }
        | Event::Steered { .. }
        | Event::QuestionAsked { .. }
        | Event::QuestionResolved { .. }
        | Event::ProcessChanged { .. }
        | Event::ProcessForgotten { .. }
        | Event::Held { .. }
        | Event::Unattended { .. }
        | Event::UsageReported { .. }
        | Event::TokensCounted { .. }
        | Event::ToolsetsChanged { .. }
        | Event::ModelChanged { .. }
        | Event::TitleChanged { .. }
        | Event::CwdChanged { .. }
        | Event::StorageChanged { .. }
        | Event::RowsRemoved { .. }
        | Event::YoloChanged { .. }
        | Event::ReasoningChanged { .. }
        | Event::GoalChanged { .. }
        | Event::AttachmentsChanged { .. }
        | Event::SessionsChanged
        // One waits at most.
        | Event::InboxChanged { .. }
        | Event::Switched { .. }
        | Event::Link { .. }
        | Event::Toast(_)
        | Event::Failed(_) => 0,
    }
}

fn row_cost(row: &Row) -> usize {
    200 + row.text().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ask, Asked, CallId, Part, Question, QuestionId, SessionId, TurnId};

    fn delta(bytes: usize) -> Event {
        Event::Delta { turn: TurnId(1), n: 1, part: Part::Text, text: "x".repeat(bytes) }
    }

    fn ends() -> (View, ViewSink, mpsc::UnboundedReceiver<(ViewId, Signal)>) {
        let (tx, rx) = mpsc::unbounded_channel();
        let (host, backend) = pair(ViewId(1), tx);
        (host, backend, rx)
    }

    // E04
    #[test]
    fn a_view_that_reads_nothing_is_emptied_at_8_mb_and_takes_a_fresh_window() {
        let (mut host, backend, _signals) = ends();
        let mut pushes = 0;
        while backend.push(delta(1024 * 1024)) == Pushed::Queued {
            pushes += 1;
            assert!(pushes < 100, "it grows without bound");
        }
        assert_eq!(pushes, 7);
        assert_eq!(host.try_next(), None);
        let window = Event::Attached { transcript: Box::default(), resynced: true };
        assert_eq!(backend.push(window.clone()), Pushed::Queued);
        assert_eq!(host.try_next(), Some(window));
    }

    // C06
    #[test]
    fn of_many_inboxes_that_nobody_reads_the_last_one_waits() {
        let (mut host, backend, _signals) = ends();
        let inbox = |n: usize| {
            let name = n.to_string();
            let asked = Asked { name, ..asked_of_a_megabyte() };
            Event::InboxChanged { questions: vec![asked] }
        };
        assert_eq!(backend.push(delta(1)), Pushed::Queued);
        for n in 0..100 {
            assert_eq!(backend.push(inbox(n)), Pushed::Queued);
            assert_eq!(backend.push(delta(2)), Pushed::Queued);
        }
        assert_eq!(host.try_next(), Some(delta(1)));
        for _ in 0..99 {
            assert_eq!(host.try_next(), Some(delta(2)));
        }
        assert_eq!(host.try_next(), Some(inbox(99)));
        assert_eq!(host.try_next(), Some(delta(2)));
        assert_eq!(host.try_next(), None);
        assert_eq!(backend.queue.lock().bytes, 0);
    }

    fn asked_of_a_megabyte() -> Asked {
        let question = "x".repeat(1024 * 1024);
        let question = Question {
            id: QuestionId("q".to_owned()),
            turn: TurnId(1),
            call: CallId("c".to_owned()),
            ask: Ask::Clarify { question, choices: Vec::new() },
            asked_at: 0,
            timeout: 0,
            deadline: None,
            answer: None,
        };
        let session = SessionId("s".to_owned());
        Asked { session, name: String::new(), question, behind: 0 }
    }

    #[tokio::test]
    async fn a_stopped_host_ends_the_view_after_its_last_event() {
        let (mut host, backend, _signals) = ends();
        assert_eq!(backend.push(delta(1)), Pushed::Queued);
        drop(backend);
        assert_eq!(host.next().await, Some(delta(1)));
        assert_eq!(host.next().await, None);
    }

    #[tokio::test]
    async fn dropping_a_host_only_says_that_the_view_ended() {
        let (host, backend, mut signals) = ends();
        drop(host);
        assert_eq!(signals.recv().await, Some((ViewId(1), Signal::Detached)));
        assert_eq!(backend.push(delta(1)), Pushed::Queued);
    }
}
