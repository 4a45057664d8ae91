//! Commands on their way to a host: in order, each once if it must not be done twice. What is
//! asked while there is no link waits here. Decides and does no I/O.

use std::collections::VecDeque;

use protocol::{Command, GoalAsk, PromptId, Target, TurnId};

/// Most commands in one request.
const BATCH: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Asked>,
    /// Those of the request that is under way.
    flying: Vec<Asked>,
    /// A switch of session that the host has taken and that does not show yet. Nothing is sent
    /// before it does: what follows is meant for the other session.
    opening: Option<Asked>,
    /// Another session showed while the switch to it was under way: the stream of events does not
    /// wait for the answer to a request.
    shown: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Asked {
    command: Command,
    /// The turn that ran when it was asked.
    turn: Option<TurnId>,
}

impl Asked {
    fn is_switch(&self) -> bool {
        matches!(self.command, Command::Open(_))
    }
}

impl Outbox {
    /// Takes a command. `turn` is the one that runs.
    pub(crate) fn ask(&mut self, command: Command, turn: Option<TurnId>) {
        let asked = Asked { command, turn };
        if is_question(&asked.command) && self.waiting.contains(&asked) {
            return;
        }
        if asked.is_switch() && self.waiting.back().is_some_and(Asked::is_switch) {
            // Nothing was asked of that session: it need not be opened.
            self.waiting.pop_back();
        }
        self.waiting.push_back(asked);
    }

    /// Takes a command that comes before all that wait.
    pub(crate) fn ask_first(&mut self, command: Command) {
        self.waiting.push_front(Asked { command, turn: None });
    }

    /// Prompts that the host has need not be sent again. It may not know their ids any more: a
    /// session that was put away and taken up again does not.
    pub(crate) fn forget(&mut self, taken: &[PromptId]) {
        let is_taken = |asked: &Asked| matches!(&asked.command, Command::Prompt { id, .. } if taken.contains(id));
        self.waiting.retain(|asked| !is_taken(asked));
    }

    /// Whether a command waits or flies that fits.
    pub(crate) fn holds(&self, fits: impl Fn(&Command) -> bool) -> bool {
        self.waiting.iter().chain(&self.flying).any(|asked| fits(&asked.command))
    }

    /// The session that will be in view when what is asked now is sent, if that is another one.
    pub(crate) fn opens(&self) -> Option<&Target> {
        let mut asked = self.waiting.iter().rev().chain(self.flying.iter().rev());
        let last = asked.find(|asked| asked.is_switch()).or(self.opening.as_ref())?;
        match &last.command {
            Command::Open(target) => Some(target),
            _ => None,
        }
    }

    /// Whether nothing waits and nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.flying.is_empty()
    }

    /// The next commands to send, if there are any; `turn` is the one that runs.
    pub(crate) fn take(&mut self, turn: Option<TurnId>) -> Vec<Command> {
        if self.opening.is_some() || !self.flying.is_empty() {
            return Vec::new();
        }
        self.shown = false;
        while let Some(next) = self.waiting.front() {
            // What was to be interrupted is over: the turn that runs now is another one.
            if next.command == Command::Cancel && next.turn != turn {
                self.waiting.pop_front();
                continue;
            }
            // A file is large enough for a request of its own.
            let alone = matches!(next.command, Command::Open(_) | Command::Upload { .. });
            if self.flying.len() == BATCH || (alone && !self.flying.is_empty()) {
                break;
            }
            self.flying.extend(self.waiting.pop_front());
            if alone {
                break;
            }
        }
        self.flying.iter().map(|asked| asked.command.clone()).collect()
    }

    /// The host has what was sent.
    pub(crate) fn taken(&mut self) {
        let sent = std::mem::take(&mut self.flying);
        if !self.shown {
            self.opening = sent.into_iter().find(Asked::is_switch);
        }
    }

    /// The host does not have it: it waits again.
    pub(crate) fn not_taken(&mut self) {
        for asked in std::mem::take(&mut self.flying).into_iter().rev() {
            if !(self.shown && asked.is_switch()) {
                self.waiting.push_front(asked);
            }
        }
    }

    /// Nobody knows whether the host has it. What may be done twice waits again; the rest is given
    /// back: somebody must look.
    pub(crate) fn unclear(&mut self) -> Vec<Command> {
        let mut doubtful = Vec::new();
        for asked in std::mem::take(&mut self.flying).into_iter().rev() {
            if self.shown && asked.is_switch() {
                continue;
            }
            if may_be_repeated(&asked.command) {
                self.waiting.push_front(asked);
            } else {
                doubtful.insert(0, asked.command);
            }
        }
        doubtful
    }

    /// The host refuses what was sent: it is given back.
    pub(crate) fn refused(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.flying).into_iter().map(|asked| asked.command).collect()
    }

    /// Another session shows, or cannot be opened.
    pub(crate) fn opened(&mut self) {
        self.opening = None;
        self.shown = true;
    }

    /// The view is gone: a switch that does not show yet is asked of the next one.
    pub(crate) fn broken(&mut self) {
        if let Some(opening) = self.opening.take() {
            self.waiting.push_front(opening);
        }
    }
}

/// Asks for something to look at and changes nothing.
fn is_question(command: &Command) -> bool {
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

/// Whether doing it twice is doing it once.
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
            outbox.ask(command.clone(), Some(TurnId(1)));
        }
        outbox
    }

    #[test]
    fn commands_leave_in_order_and_come_back_in_order() {
        let mut outbox = outbox(&[prompt("a"), prompt("b")]);
        assert_eq!(outbox.take(None), [prompt("a"), prompt("b")]);
        outbox.ask(prompt("c"), None);
        assert_eq!(outbox.take(None), [], "one request at a time");
        outbox.not_taken();
        assert_eq!(outbox.take(None), [prompt("a"), prompt("b"), prompt("c")]);
        outbox.taken();
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_follows_a_switch_waits_until_the_other_session_shows() {
        let mut outbox = outbox(&[prompt("a"), open("x"), prompt("b")]);
        assert_eq!(outbox.take(None), [prompt("a")]);
        outbox.taken();
        assert_eq!(outbox.take(None), [open("x")]);
        outbox.taken();
        assert_eq!(outbox.take(None), []);
        outbox.broken();
        assert_eq!(outbox.take(None), [open("x")], "the next view is asked again");
        outbox.taken();
        outbox.opened();
        assert_eq!(outbox.take(None), [prompt("b")]);
    }

    #[test]
    fn a_session_that_shows_before_the_request_is_answered_is_not_waited_for() {
        let mut outbox = outbox(&[open("x"), prompt("b")]);
        assert_eq!(outbox.take(None), [open("x")]);
        outbox.opened();
        outbox.taken();
        assert_eq!(outbox.take(None), [prompt("b")]);
    }

    // E09
    #[test]
    fn of_many_switches_in_a_row_the_last_counts() {
        let many: Vec<_> = (0..1000).map(|n| open(&n.to_string())).collect();
        let mut outbox = outbox(&many);
        assert_eq!(outbox.take(None), [open("999")]);
    }

    #[test]
    fn what_nobody_knows_to_be_done_is_repeated_only_if_that_does_no_harm() {
        let steer = Command::Steer { text: "x".to_owned() };
        let mut outbox =
            outbox(&[prompt("a"), Command::Undo, Command::ListSessions, steer.clone()]);
        assert_eq!(outbox.take(None).len(), 4);
        assert_eq!(outbox.unclear(), [Command::Undo, steer]);
        assert_eq!(outbox.take(None), [prompt("a"), Command::ListSessions]);
    }

    // C07
    #[test]
    fn what_names_its_session_is_kept_over_a_broken_link_and_told_again() {
        let session = Some(SessionId("other".to_owned()));
        let id = QuestionId("q".to_owned());
        let answer = Answer::Text("blue".to_owned());
        let named = [
            Command::Answer { session: session.clone(), id: id.clone(), answer },
            Command::Shown { session: session.clone(), id },
            Command::SetTitle { session: session.clone(), title: "t".to_owned() },
            Command::Pin { session: session.clone(), pinned: true },
            Command::Archive { session, archived: true },
        ];
        let mut outbox = outbox(&named);
        assert_eq!(outbox.take(None), named);
        assert_eq!(outbox.unclear(), [], "doing it twice is doing it once");
        outbox.broken();
        assert_eq!(outbox.take(None), named);
    }

    #[test]
    fn a_prompt_that_shows_is_not_sent_again() {
        let mut outbox = outbox(&[prompt("a"), prompt("b")]);
        outbox.take(None);
        assert_eq!(outbox.unclear(), []);
        outbox.forget(&[PromptId("a".to_owned())]);
        assert_eq!(outbox.take(None), [prompt("b")]);
    }

    #[test]
    fn an_interrupt_never_meets_a_later_turn() {
        let mut late = outbox(&[Command::Cancel, prompt("a")]);
        assert_eq!(late.take(Some(TurnId(2))), [prompt("a")]);
        let mut at_once = outbox(&[Command::Cancel]);
        assert_eq!(at_once.take(Some(TurnId(1))), [Command::Cancel]);
    }

    #[test]
    fn the_same_question_waits_once() {
        let tail = Command::Page { before: 3, limit: 10 };
        let mut outbox = outbox(&[tail.clone(), Command::ListSessions, tail.clone(), prompt("a")]);
        assert_eq!(outbox.take(None), [tail, Command::ListSessions, prompt("a")]);
    }
}
