//! The panel of background processes: what runs, what came of it, its last output, killing one;
//! of the session in view, or of all sessions of the host.

mod lines;

pub(crate) use lines::Scene;

use std::collections::HashMap;

use protocol::Subject;
use protocol::{Command, Failure, Process, ProcessId, SessionId, SessionRow, Target, Work};

use crate::clean::output;
use crate::keymap::Action;
use crate::refresh::Refresh;

/// The panel.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    selected: Option<ProcessId>,
    tail: Option<Tail>,
    kills: Option<ProcessId>,
    everywhere: Option<Everywhere>,
    /// Why this host does not tell what runs.
    untold: Option<String>,
}

/// The processes of all sessions, as the host last told them.
#[derive(Debug, Default)]
struct Everywhere {
    /// `None` = not told yet.
    processes: Option<Vec<Process>>,
    names: HashMap<SessionId, String>,
    refresh: Refresh,
}

#[derive(Debug)]
struct Tail {
    id: ProcessId,
    text: String,
    up: usize,
}

/// What a key did.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The panel stays.
    Open,
    /// It is to be closed.
    Closed,
    /// It stays and asks for something.
    Send(Vec<Command>),
}

impl Processes {
    /// The process whose output is in view.
    pub(crate) fn tailed(&self) -> Option<&ProcessId> {
        self.tail.as_ref().map(|tail| &tail.id)
    }

    /// What the panel lists: of the session in view (`own`), or of all.
    pub(crate) fn listed<'a>(&'a self, own: &'a [Process]) -> &'a [Process] {
        match &self.everywhere {
            Some(everywhere) => everywhere.processes.as_deref().unwrap_or_default(),
            None => own,
        }
    }

    pub(crate) fn on_tail(&mut self, id: &ProcessId, text: &str) {
        if let Some(tail) = self.tail.as_mut().filter(|tail| tail.id == *id) {
            tail.text = output(text);
        }
    }

    /// Something about a process of the host has changed: its list is asked for again, but never
    /// twice at once.
    pub(crate) fn on_change(&mut self) -> Option<Command> {
        self.everywhere.as_mut()?.refresh.on_change().then_some(Command::ListProcesses)
    }

    /// The answer.
    pub(crate) fn on_listed(&mut self, processes: &[Process]) -> Option<Command> {
        let everywhere = self.everywhere.as_mut()?;
        self.untold = None;
        everywhere.processes = Some(processes.to_vec());
        everywhere.refresh.on_answer().then_some(Command::ListProcesses)
    }

    /// The host refused something, maybe the list. True if it was that.
    pub(crate) fn on_failed(&mut self, failure: &Failure) -> bool {
        if !failure.about.may_be(&Subject::Processes) {
            return false;
        }
        let is_list = failure.about == Subject::Processes;
        if is_list {
            self.untold = Some(failure.message.clone());
        }
        self.everywhere.take_if(|everywhere| everywhere.processes.is_none());
        if let Some(everywhere) = &mut self.everywhere {
            everywhere.refresh.on_refusal();
        }
        is_list
    }

    /// Something that lists of sessions show has changed, maybe a name.
    pub(crate) fn on_sessions_changed(&self) -> Option<Command> {
        self.everywhere.as_ref().map(|_| Command::ListSessions)
    }

    /// What people call the sessions.
    pub(crate) fn on_sessions(&mut self, rows: &[SessionRow]) {
        if let Some(everywhere) = &mut self.everywhere {
            everywhere.names = rows.iter().map(|row| (row.id.clone(), row.title.clone())).collect();
        }
    }

    pub(crate) fn on_action(&mut self, action: Action, own: &[Process]) -> Outcome {
        if let Some(tail) = &mut self.tail {
            match action {
                Action::Up => tail.up += 1,
                Action::Down => tail.up = tail.up.saturating_sub(1),
                Action::PageUp => tail.up += 10,
                Action::PageDown => tail.up = tail.up.saturating_sub(10),
                Action::End | Action::Last => tail.up = 0,
                Action::Escape | Action::Left | Action::Interrupt => self.tail = None,
                Action::Processes => return Outcome::Closed,
                _ => {}
            }
            return Outcome::Open;
        }
        let listed = ordered(self.listed(own));
        let at = self.at(&listed);
        let chosen = listed.get(at).map(|process| (*process).clone());
        let beside = |at: usize| listed.get(at).map(|process| process.id.clone());
        let (above, below) = (beside(at.saturating_sub(1)), beside(at + 1));
        let confirmed = self.kills.take();
        // From here on the selection stays with this process, whatever moves around it.
        self.selected = chosen.as_ref().map(|process| process.id.clone());
        match action {
            Action::Up => self.selected = above,
            Action::Down => self.selected = below.or_else(|| self.selected.take()),
            Action::Enter | Action::Right => return self.open(chosen),
            Action::Text('k') => {
                if let Some(process) = chosen.filter(Process::is_live) {
                    if confirmed.as_ref() == Some(&process.id) {
                        return Outcome::Send(vec![Command::Kill { id: Some(process.id) }]);
                    }
                    self.kills = Some(process.id);
                }
            }
            Action::Text('a') if self.everywhere.is_some() => self.everywhere = None,
            Action::Text('a') => {
                self.everywhere =
                    Some(Everywhere { refresh: Refresh::asked(), ..Everywhere::default() });
                return Outcome::Send(vec![Command::ListProcesses, Command::ListSessions]);
            }
            Action::Escape | Action::Interrupt | Action::Processes => return Outcome::Closed,
            _ => {}
        }
        Outcome::Open
    }

    /// The session that works on a delegated task, or the output of a command.
    fn open(&mut self, chosen: Option<Process>) -> Outcome {
        let Some(process) = chosen else { return Outcome::Open };
        match process.work {
            Work::Delegation { session } => Outcome::Send(vec![Command::Open(Target::Id(session))]),
            Work::Command => {
                let id = process.id;
                self.tail = Some(Tail { id: id.clone(), text: String::new(), up: 0 });
                Outcome::Send(vec![Command::Tail { id }])
            }
        }
    }

    /// Where the selection stands.
    fn at(&self, listed: &[&Process]) -> usize {
        let selected = self.selected.as_ref();
        listed.iter().position(|process| Some(&process.id) == selected).unwrap_or(0)
    }
}

/// Those that run first, then the newest.
fn ordered(processes: &[Process]) -> Vec<&Process> {
    let mut ordered: Vec<&Process> = processes.iter().collect();
    ordered.sort_by_key(|p| (!p.is_live(), std::cmp::Reverse(p.started_at)));
    ordered
}
