//! Commands on their way to a host: in order, and only once where twice would do harm. Commands that
//! come while there is no link wait here. Pure: no I/O.

use std::collections::VecDeque;

use protocol::{Command, GoalAsk, PromptId, Target, TurnId};

/// Most commands in one request.
const BATCH: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Queued>,
    /// Those of the request that is under way.
    in_flight: Vec<Queued>,
    /// A switch of session that was delivered and whose window has not come yet. Nothing is sent
    /// until it has: the commands behind it are meant for the other session.
    opening: Option<Queued>,
    /// The window of the other session came before the answer to the request with the switch: the
    /// stream of events does not wait for answers.
    has_shown: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Queued {
    command: Command,
    /// The turn that ran when it was queued.
    turn: Option<TurnId>,
}

impl Queued {
    fn is_switch(&self) -> bool {
        matches!(self.command, Command::Open(_))
    }
}

impl Outbox {
    /// Queues a command. `turn` is the one that runs.
    pub(crate) fn push(&mut self, command: Command, turn: Option<TurnId>) {
        let queued = Queued { command, turn };
        if is_query(&queued.command) && self.waiting.contains(&queued) {
            return;
        }
        if queued.is_switch() && self.waiting.back().is_some_and(Queued::is_switch) {
            // No command was meant for that session: it need not be opened.
            self.waiting.pop_back();
        }
        self.waiting.push_back(queued);
    }

    /// Queues a command in front of all that wait.
    pub(crate) fn push_first(&mut self, command: Command) {
        self.waiting.push_front(Queued { command, turn: None });
    }

    /// Removes prompts that the host has. Sending them again would not be safe: a session that was
    /// unloaded and loaded again does not know their ids any more.
    pub(crate) fn remove_prompts(&mut self, delivered: &[PromptId]) {
        let is_delivered = |queued: &Queued| matches!(&queued.command, Command::Prompt { id, .. } if delivered.contains(id));
        self.waiting.retain(|queued| !is_delivered(queued));
    }

    /// Whether such a command waits or is under way.
    pub(crate) fn contains(&self, fits: impl Fn(&Command) -> bool) -> bool {
        self.waiting.iter().chain(&self.in_flight).any(|queued| fits(&queued.command))
    }

    /// The session that will be in view when a command queued now is sent, if another one.
    pub(crate) fn next_session(&self) -> Option<&Target> {
        let mut queued = self.waiting.iter().rev().chain(self.in_flight.iter().rev());
        let last = queued.find(|queued| queued.is_switch()).or(self.opening.as_ref())?;
        match &last.command {
            Command::Open(target) => Some(target),
            _ => None,
        }
    }

    /// Whether nothing waits and nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// The next commands to send, if there are any; `turn` is the one that runs.
    pub(crate) fn next_batch(&mut self, turn: Option<TurnId>) -> Vec<Command> {
        if self.opening.is_some() || !self.in_flight.is_empty() {
            return Vec::new();
        }
        self.has_shown = false;
        while let Some(next) = self.waiting.front() {
            // The turn that was to be interrupted is over: another one runs now.
            if next.command == Command::Cancel && next.turn != turn {
                self.waiting.pop_front();
                continue;
            }
            // A file is large enough for a request of its own.
            let alone = matches!(next.command, Command::Open(_) | Command::Upload { .. });
            if self.in_flight.len() == BATCH || (alone && !self.in_flight.is_empty()) {
                break;
            }
            self.in_flight.extend(self.waiting.pop_front());
            if alone {
                break;
            }
        }
        self.in_flight.iter().map(|queued| queued.command.clone()).collect()
    }

    /// The host has the commands that were sent.
    pub(crate) fn delivered(&mut self) {
        let sent = std::mem::take(&mut self.in_flight);
        if !self.has_shown {
            self.opening = sent.into_iter().find(Queued::is_switch);
        }
    }

    /// The host does not have them: they wait again.
    pub(crate) fn undelivered(&mut self) {
        for queued in std::mem::take(&mut self.in_flight).into_iter().rev() {
            if !(self.has_shown && queued.is_switch()) {
                self.waiting.push_front(queued);
            }
        }
    }

    /// Whether the host has them is not known. Commands that may be repeated wait again; the rest is
    /// returned: the user must check.
    pub(crate) fn delivery_unknown(&mut self) -> Vec<Command> {
        let mut doubtful = Vec::new();
        for queued in std::mem::take(&mut self.in_flight).into_iter().rev() {
            if self.has_shown && queued.is_switch() {
                continue;
            }
            if may_be_repeated(&queued.command) {
                self.waiting.push_front(queued);
            } else {
                doubtful.insert(0, queued.command);
            }
        }
        doubtful
    }

    /// The host refuses the commands that were sent: they are returned.
    pub(crate) fn refused(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.in_flight).into_iter().map(|queued| queued.command).collect()
    }

    /// The window of another session came, or it cannot be opened.
    pub(crate) fn session_shown(&mut self) {
        self.opening = None;
        self.has_shown = true;
    }

    /// The view is gone: a switch whose window has not come is sent to the next one.
    pub(crate) fn disconnected(&mut self) {
        if let Some(opening) = self.opening.take() {
            self.waiting.push_front(opening);
        }
    }
}

/// Whether a command changes nothing.
fn is_query(command: &Command) -> bool {
    matches!(
        command,
        Command::Tail { .. }
            | Command::Page { .. }
            | Command::ListProcesses
            | Command::ListSessions
            | Command::ListModels
            | Command::ListWorkspaces
            | Command::ListProfiles
            | Command::Search { .. }
            | Command::Export
            | Command::Shown { .. }
    )
}

/// Whether doing it twice is the same as doing it once.
fn may_be_repeated(command: &Command) -> bool {
    match command {
        Command::Prompt { .. }
        | Command::Unqueue { .. }
        | Command::Cancel
        | Command::Answer { .. }
        | Command::Shown { .. }
        | Command::Kill { id: Some(_) }
        | Command::Tail { .. }
        | Command::WakeNow
        | Command::Open(_)
        | Command::Page { .. }
        | Command::Archive { .. }
        | Command::Delete { .. }
        | Command::ListProcesses
        | Command::ListSessions
        | Command::ListModels
        | Command::SetModel { .. }
        | Command::SetTitle { .. }
        | Command::Pin { .. }
        | Command::Export
        | Command::SetYolo { .. }
        | Command::SetCwd { .. }
        | Command::SetReasoning { .. }
        | Command::SetToolsets { .. }
        | Command::ListWorkspaces
        | Command::ListProfiles
        | Command::SetProfile { .. }
        | Command::Search { .. }
        | Command::DropUploads
        | Command::Goal(GoalAsk::Pause | GoalAsk::Resume | GoalAsk::Clear) => true,
        Command::Steer { .. }
        | Command::Kill { id: None }
        | Command::Compress { .. }
        | Command::Branch
        | Command::Aside { .. }
        | Command::Retitle { .. }
        | Command::Undo
        | Command::Truncate { .. }
        | Command::Retry { .. }
        | Command::Duplicate
        | Command::Upload { .. }
        | Command::Goal(GoalAsk::Set { .. }) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Answer, QuestionId, SessionId};

    fn prompt(text: &str) -> Command {
        Command::Prompt { id: PromptId(text.to_owned()), text: text.to_owned() }
    }

    fn open(id: &str) -> Command {
        Command::Open(Target::Id(SessionId(id.to_owned())))
    }

    fn outbox(commands: &[Command]) -> Outbox {
        let mut outbox = Outbox::default();
        for command in commands {
            outbox.push(command.clone(), Some(TurnId(1)));
        }
        outbox
    }

    #[test]
    fn commands_leave_in_order_and_come_back_in_order() {
        let mut outbox = outbox(&[prompt("a"), prompt("b")]);
        assert_eq!(outbox.next_batch(None), [prompt("a"), prompt("b")]);
        outbox.push(prompt("c"), None);
        assert_eq!(outbox.next_batch(None), [], "one request at a time");
        outbox.undelivered();
        assert_eq!(outbox.next_batch(None), [prompt("a"), prompt("b"), prompt("c")]);
        outbox.delivered();
        assert!(outbox.is_empty());
    }

    #[test]
    fn commands_behind_a_switch_wait_for_the_other_session() {
        let mut outbox = outbox(&[prompt("a"), open("x"), prompt("b")]);
        assert_eq!(outbox.next_batch(None), [prompt("a")]);
        outbox.delivered();
        assert_eq!(outbox.next_batch(None), [open("x")]);
        outbox.delivered();
        assert_eq!(outbox.next_batch(None), []);
        outbox.disconnected();
        assert_eq!(outbox.next_batch(None), [open("x")], "the next view is asked again");
        outbox.delivered();
        outbox.session_shown();
        assert_eq!(outbox.next_batch(None), [prompt("b")]);
    }

    #[test]
    fn a_window_may_come_before_the_answer_to_the_switch() {
        let mut outbox = outbox(&[open("x"), prompt("b")]);
        assert_eq!(outbox.next_batch(None), [open("x")]);
        outbox.session_shown();
        outbox.delivered();
        assert_eq!(outbox.next_batch(None), [prompt("b")]);
    }

    // E09
    #[test]
    fn of_many_switches_in_a_row_the_last_counts() {
        let many: Vec<_> = (0..1000).map(|n| open(&n.to_string())).collect();
        let mut outbox = outbox(&many);
        assert_eq!(outbox.next_batch(None), [open("999")]);
    }

    #[test]
    fn doubtful_commands_are_repeated_only_where_that_does_no_harm() {
        let steer = Command::Steer { text: "x".to_owned() };
        let mut outbox =
            outbox(&[prompt("a"), Command::Undo, Command::ListSessions, steer.clone()]);
        assert_eq!(outbox.next_batch(None).len(), 4);
        assert_eq!(outbox.delivery_unknown(), [Command::Undo, steer]);
        assert_eq!(outbox.next_batch(None), [prompt("a"), Command::ListSessions]);
    }

    // C07
    #[test]
    fn commands_that_name_their_session_survive_a_broken_link() {
        let session = Some(SessionId("other".to_owned()));
        let id = QuestionId("q".to_owned());
        let answer = Answer::Text("blue".to_owned());
        let commands = [
            Command::Answer { session: session.clone(), id: id.clone(), answer },
            Command::Shown { session: session.clone(), id },
            Command::SetTitle { session: session.clone(), title: "t".to_owned() },
            Command::Pin { session: session.clone(), pinned: true },
            Command::Archive { session, archived: true },
        ];
        let mut outbox = outbox(&commands);
        assert_eq!(outbox.next_batch(None), commands);
        assert_eq!(outbox.delivery_unknown(), [], "doing it twice is doing it once");
        outbox.disconnected();
        assert_eq!(outbox.next_batch(None), commands);
    }

    #[test]
    fn a_prompt_that_shows_is_not_sent_again() {
        let mut outbox = outbox(&[prompt("a"), prompt("b")]);
        outbox.next_batch(None);
        assert_eq!(outbox.delivery_unknown(), []);
        outbox.remove_prompts(&[PromptId("a".to_owned())]);
        assert_eq!(outbox.next_batch(None), [prompt("b")]);
    }

    #[test]
    fn an_interrupt_never_meets_a_later_turn() {
        let mut late = outbox(&[Command::Cancel, prompt("a")]);
        assert_eq!(late.next_batch(Some(TurnId(2))), [prompt("a")]);
        let mut at_once = outbox(&[Command::Cancel]);
        assert_eq!(at_once.next_batch(Some(TurnId(1))), [Command::Cancel]);
    }

    #[test]
    fn the_same_question_waits_once() {
        let tail = Command::Page { before: 3, limit: 10 };
        let mut outbox = outbox(&[tail.clone(), Command::ListSessions, tail.clone(), prompt("a")]);
        assert_eq!(outbox.next_batch(None), [tail, Command::ListSessions, prompt("a")]);
    }
}
