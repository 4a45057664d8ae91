//! The panel of background processes, of the session on the screen or of all sessions of the host:
//! their state, their last output, and killing them.

mod lines;

pub(crate) use lines::ProcessesContext;

use std::collections::HashMap;

use protocol::{
    Command, Failure, Process, ProcessId, SessionId, SessionRow, Subject, Target, Work,
};

use crate::clean::output;
use crate::keymap::Action;
use crate::refresh::Refresh;

/// The panel.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    selected: Option<ProcessId>,
    tail: Option<Tail>,
    kill_armed: Option<ProcessId>,
    all_sessions: Option<AllSessions>,
    /// Why this host cannot list its processes.
    unavailable: Option<String>,
}

/// The processes of all sessions, as the host last listed them.
#[derive(Debug, Default)]
struct AllSessions {
    /// `None` = not listed yet.
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

/// The result of a key.
#[derive(Debug, PartialEq)]
pub(crate) enum ProcessesEvent {
    /// The panel stays open.
    StayOpen,
    /// Close it.
    Close,
    /// The panel stays open; send these commands.
    Send(Vec<Command>),
}

impl Processes {
    /// The process whose output is in view.
    pub(crate) fn tailed(&self) -> Option<&ProcessId> {
        self.tail.as_ref().map(|tail| &tail.id)
    }

    /// The processes in the list: those of the session on the screen (`own`), or all.
    pub(crate) fn listed<'a>(&'a self, own: &'a [Process]) -> &'a [Process] {
        match &self.all_sessions {
            Some(all_sessions) => all_sessions.processes.as_deref().unwrap_or_default(),
            None => own,
        }
    }

    pub(crate) fn on_tail(&mut self, id: &ProcessId, text: &str) {
        if let Some(tail) = self.tail.as_mut().filter(|tail| tail.id == *id) {
            tail.text = output(text);
        }
    }

    /// A process of the host has changed: requests the list again, but never twice at once.
    pub(crate) fn on_change(&mut self) -> Option<Command> {
        self.all_sessions.as_mut()?.refresh.on_change().then_some(Command::ListProcesses)
    }

    /// The host listed the processes.
    pub(crate) fn on_listed(&mut self, processes: &[Process]) -> Option<Command> {
        let all_sessions = self.all_sessions.as_mut()?;
        self.unavailable = None;
        all_sessions.processes = Some(processes.to_vec());
        all_sessions.refresh.on_answer().then_some(Command::ListProcesses)
    }

    /// The host refused something. True if that was the list.
    pub(crate) fn on_failed(&mut self, failure: &Failure) -> bool {
        if !failure.about.may_be(&Subject::Processes) {
            return false;
        }
        let is_list = failure.about == Subject::Processes;
        if is_list {
            self.unavailable = Some(failure.message.clone());
        }
        self.all_sessions.take_if(|all_sessions| all_sessions.processes.is_none());
        if let Some(all_sessions) = &mut self.all_sessions {
            all_sessions.refresh.on_refusal();
        }
        is_list
    }

    /// Something that lists of sessions show has changed, maybe a name.
    pub(crate) fn on_sessions_changed(&self) -> Option<Command> {
        self.all_sessions.as_ref().map(|_| Command::ListSessions)
    }

    /// The host listed the sessions: takes their names.
    pub(crate) fn on_sessions(&mut self, rows: &[SessionRow]) {
        if let Some(all_sessions) = &mut self.all_sessions {
            all_sessions.names =
                rows.iter().map(|row| (row.id.clone(), row.title.clone())).collect();
        }
    }

    pub(crate) fn on_action(&mut self, action: Action, own: &[Process]) -> ProcessesEvent {
        if let Some(tail) = &mut self.tail {
            match action {
                Action::Up => tail.up += 1,
                Action::Down => tail.up = tail.up.saturating_sub(1),
                Action::PageUp => tail.up += 10,
                Action::PageDown => tail.up = tail.up.saturating_sub(10),
                Action::End | Action::Last => tail.up = 0,
                Action::Escape | Action::Left | Action::Interrupt => self.tail = None,
                Action::Processes => return ProcessesEvent::Close,
                _ => {}
            }
            return ProcessesEvent::StayOpen;
        }
        let listed = ordered(self.listed(own));
        let at = self.at(&listed);
        let chosen = listed.get(at).map(|process| (*process).clone());
        let beside = |at: usize| listed.get(at).map(|process| process.id.clone());
        let (above, below) = (beside(at.saturating_sub(1)), beside(at + 1));
        let confirmed = self.kill_armed.take();
        // From here on the selection stays with this process, whatever moves around it.
        self.selected = chosen.as_ref().map(|process| process.id.clone());
        match action {
            Action::Up => self.selected = above,
            Action::Down => self.selected = below.or_else(|| self.selected.take()),
            Action::Enter | Action::Right => return self.open(chosen),
            Action::Text('k') => {
                if let Some(process) = chosen.filter(Process::is_live) {
                    if confirmed.as_ref() == Some(&process.id) {
                        return ProcessesEvent::Send(vec![Command::Kill { id: Some(process.id) }]);
                    }
                    self.kill_armed = Some(process.id);
                }
            }
            Action::Text('a') if self.all_sessions.is_some() => self.all_sessions = None,
            Action::Text('a') => {
                self.all_sessions =
                    Some(AllSessions { refresh: Refresh::asked(), ..AllSessions::default() });
                return ProcessesEvent::Send(vec![Command::ListProcesses, Command::ListSessions]);
            }
            Action::Escape | Action::Interrupt | Action::Processes => return ProcessesEvent::Close,
            _ => {}
        }
        ProcessesEvent::StayOpen
    }

    /// Opens the session of a delegated task, or the output of a command.
    fn open(&mut self, chosen: Option<Process>) -> ProcessesEvent {
        let Some(process) = chosen else { return ProcessesEvent::StayOpen };
        match process.work {
            Work::Delegation { session } => {
                ProcessesEvent::Send(vec![Command::Open(Target::Id(session))])
            }
            Work::Command => {
                let id = process.id;
                self.tail = Some(Tail { id: id.clone(), text: String::new(), up: 0 });
                ProcessesEvent::Send(vec![Command::Tail { id }])
            }
        }
    }

    /// The index of the selected entry.
    fn at(&self, listed: &[&Process]) -> usize {
        let selected = self.selected.as_ref();
        listed.iter().position(|process| Some(&process.id) == selected).unwrap_or(0)
    }
}

/// The live ones first, each group from the newest.
fn ordered(processes: &[Process]) -> Vec<&Process> {
    let mut ordered: Vec<&Process> = processes.iter().collect();
    ordered.sort_by_key(|p| (!p.is_live(), std::cmp::Reverse(p.started_at)));
    ordered
}
