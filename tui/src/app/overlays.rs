//! What lies over the transcript and takes the keys: a panel, a dialog that asks for confirmation,
//! the quit dialog.

use protocol::{
    Command, Failure, Found, Process, ProcessId, QuestionId, SessionId, SessionRow, Subject,
    Target, Transcript,
};

use super::other_sessions::OtherSessions;
use super::{App, Effect, Millis};
use crate::confirm::{Confirm, ConfirmEvent};
use crate::inbox::Inbox;
use crate::keymap::Action;
use crate::numbers::count;
use crate::picker::{Picker, PickerEvent, PickerKind};
use crate::processes::{Processes, ProcessesEvent};
use crate::quit::QuitDialog;
use crate::sessions::{Sessions, SessionsEvent};

/// Lines by which PgUp and PgDn move the help.
const HELP_PAGE: usize = 10;

/// A panel in place of the transcript.
#[derive(Debug)]
pub(crate) enum Panel {
    Help {
        /// The first line in view.
        top: usize,
    },
    Processes(Processes),
    Sessions(Sessions),
    Picker(Picker),
    Inbox(Inbox),
}

/// What is open.
#[derive(Debug, Default)]
pub(crate) struct Overlays {
    pub(crate) panel: Option<Panel>,
    pub(crate) confirm: Option<Confirm>,
    pub(crate) quit: Option<QuitDialog>,
}

impl Overlays {
    /// Whether nothing is open.
    pub(super) fn is_closed(&self) -> bool {
        self.panel.is_none() && self.confirm.is_none() && self.quit.is_none()
    }

    /// The list of sessions, if it is open.
    pub(super) fn sessions(&mut self) -> Option<&mut Sessions> {
        match &mut self.panel {
            Some(Panel::Sessions(sessions)) => Some(sessions),
            Some(Panel::Help { .. } | Panel::Processes(_) | Panel::Picker(_) | Panel::Inbox(_))
            | None => None,
        }
    }

    /// The list of processes, if it is open.
    pub(super) fn processes(&mut self) -> Option<&mut Processes> {
        match &mut self.panel {
            Some(Panel::Processes(processes)) => Some(processes),
            Some(Panel::Help { .. } | Panel::Sessions(_) | Panel::Picker(_) | Panel::Inbox(_))
            | None => None,
        }
    }

    /// The live process whose output is on the screen.
    pub(super) fn tailed(&self, transcript: &Transcript) -> Option<ProcessId> {
        let Some(Panel::Processes(panel)) = &self.panel else { return None };
        let id = panel.tailed()?;
        let listed = panel.listed(&transcript.processes);
        let process = listed.iter().find(|process| process.id == *id)?;
        process.is_live().then(|| id.clone())
    }

    /// The question of another session that is on the screen for the first time.
    pub(super) fn question_shown(&mut self) -> Option<(SessionId, QuestionId)> {
        if self.quit.is_some() || self.confirm.is_some() {
            return None;
        }
        match &mut self.panel {
            Some(Panel::Inbox(inbox)) => inbox.mark_shown(),
            Some(
                Panel::Help { .. } | Panel::Processes(_) | Panel::Sessions(_) | Panel::Picker(_),
            )
            | None => None,
        }
    }

    /// When something open changes by itself.
    pub(super) fn next_tick(&self, others: &OtherSessions, now: Millis) -> Option<Millis> {
        let confirm = self.confirm.as_ref().and_then(|confirm| confirm.next_tick(now));
        let panel = match &self.panel {
            Some(Panel::Sessions(sessions)) => sessions.next_tick(),
            Some(Panel::Inbox(inbox)) => others.next_tick(inbox, now),
            Some(Panel::Help { .. } | Panel::Processes(_) | Panel::Picker(_)) | None => None,
        };
        confirm.into_iter().chain(panel).min()
    }

    /// A process of some session has changed.
    pub(super) fn on_processes_changed(&mut self) -> Option<Effect> {
        self.processes()?.on_change().map(Effect::Send)
    }

    /// A process of the session on the screen has changed.
    pub(super) fn on_process_changed(&mut self, process: &Process) -> Vec<Effect> {
        let Some(panel) = self.processes() else { return Vec::new() };
        let tail =
            (panel.tailed() == Some(&process.id)).then(|| Command::Tail { id: process.id.clone() });
        tail.into_iter().chain(panel.on_change()).map(Effect::Send).collect()
    }

    /// The last output of a process came.
    pub(super) fn on_tail(&mut self, id: &ProcessId, text: &str) {
        if let Some(panel) = self.processes() {
            panel.on_tail(id, text);
        }
    }

    /// Something that an open list shows has changed, maybe by another client (S04).
    pub(super) fn on_lists_changed(&mut self) -> Option<Effect> {
        let request = match &mut self.panel {
            Some(Panel::Sessions(panel)) => panel.on_change(),
            Some(Panel::Processes(panel)) => panel.on_sessions_changed(),
            Some(Panel::Help { .. } | Panel::Picker(_) | Panel::Inbox(_)) | None => None,
        };
        request.map(Effect::Send)
    }

    /// A search in messages has an answer.
    pub(super) fn on_found(&mut self, query: &str, hits: &[Found]) {
        if let Some(panel) = self.sessions() {
            panel.on_found(query, hits);
        }
    }

    /// Fills the picker that waits for these values, if it is still open.
    pub(super) fn fill_picker(&mut self, kind: PickerKind, values: &[String], current: &str) {
        if let Some(Panel::Picker(picker)) = &mut self.panel
            && picker.awaited() == Some(kind)
        {
            picker.fill(values, current);
        }
    }

    /// The host refused something. Closes a panel whose list will not come. True if the open panel
    /// shows the failure itself.
    pub(super) fn on_failed(&mut self, failure: &Failure) -> bool {
        let about = &failure.about;
        let close = match &mut self.panel {
            Some(Panel::Processes(panel)) => return panel.on_failed(failure),
            Some(Panel::Sessions(panel)) => {
                panel.on_failed(about);
                panel.is_asking() && about.may_be(&Subject::Sessions)
            }
            Some(Panel::Picker(panel)) => {
                panel.awaited().is_some_and(|kind| about.may_be(&kind.subject()))
            }
            Some(Panel::Help { .. } | Panel::Inbox(_)) | None => false,
        };
        if close {
            self.panel = None;
        }
        false
    }
}

impl App {
    /// Opens the list of background processes.
    pub(super) fn list_processes(&mut self) -> Vec<Effect> {
        self.overlays.panel = Some(Panel::Processes(Processes::default()));
        // Not every remote host reports processes: it is asked, so that silence does not pass for
        // "none".
        let asks = self.options.host_name.is_some() && self.transcript.processes.is_empty();
        asks.then_some(Effect::Send(Command::ListProcesses)).into_iter().collect()
    }

    /// Opens the list of sessions.
    pub(super) fn list_sessions(&mut self) -> Vec<Effect> {
        let sessions = Sessions::asking(&self.transcript.session, self.now);
        self.overlays.panel = Some(Panel::Sessions(sessions));
        vec![Effect::Send(Command::ListSessions)]
    }

    /// Opens a picker whose values this command requests.
    pub(super) fn open_picker(&mut self, kind: PickerKind, request: Command) -> Vec<Effect> {
        self.overlays.panel = Some(Panel::Picker(Picker::asking(kind)));
        vec![Effect::Send(request)]
    }

    /// The host listed its sessions: for an open panel, or for a `/resume` that names one.
    pub(super) fn on_sessions(&mut self, rows: &[SessionRow]) -> Option<Effect> {
        match &mut self.overlays.panel {
            Some(Panel::Processes(panel)) => panel.on_sessions(rows),
            Some(Panel::Sessions(panel)) => {
                return panel.on_listed(rows, self.now).map(Effect::Send);
            }
            Some(Panel::Help { .. } | Panel::Picker(_) | Panel::Inbox(_)) | None => {}
        }
        let name = self.pending.resume.take()?;
        if let Some(id) = crate::sessions::find_session(rows, &name) {
            return Some(Effect::Send(Command::Open(Target::Id(id.clone()))));
        }
        let sessions = Sessions::new(rows, &self.transcript.session, &name, self.now);
        self.overlays.panel = Some(Panel::Sessions(sessions));
        None
    }

    /// A key while a panel is open.
    pub(super) fn on_panel_key(&mut self, action: Action) -> Vec<Effect> {
        self.feedback.dismiss_error();
        match &mut self.overlays.panel {
            None => Vec::new(),
            Some(Panel::Help { top }) => {
                if !scroll_help(top, action) {
                    self.overlays.panel = None;
                }
                Vec::new()
            }
            Some(Panel::Processes(panel)) => {
                let event = panel.on_action(action, &self.transcript.processes);
                self.on_processes_event(event)
            }
            Some(Panel::Sessions(panel)) => {
                let event = panel.on_action(action, self.now);
                self.on_sessions_event(event)
            }
            Some(Panel::Picker(panel)) => {
                let event = panel.on_action(action);
                self.on_picker_event(event)
            }
            Some(Panel::Inbox(_)) => self.on_inbox_key(action),
        }
    }

    fn on_processes_event(&mut self, event: ProcessesEvent) -> Vec<Effect> {
        match event {
            ProcessesEvent::StayOpen => {}
            ProcessesEvent::Close => self.overlays.panel = None,
            ProcessesEvent::Send(commands) => {
                return commands.into_iter().map(Effect::Send).collect();
            }
        }
        Vec::new()
    }

    fn on_sessions_event(&mut self, event: SessionsEvent) -> Vec<Effect> {
        match event {
            SessionsEvent::StayOpen => {}
            SessionsEvent::Close => self.overlays.panel = None,
            SessionsEvent::Picked(id) => {
                self.overlays.panel = None;
                return vec![Effect::Send(Command::Open(Target::Id(id)))];
            }
            SessionsEvent::Send(command) => return vec![Effect::Send(command)],
            SessionsEvent::Delete(row) => {
                let loss = format!("This deletes {} and stops its work.", count(row.rows, "row"));
                let confirm = Confirm::delete(row.id, &row.title, loss, self.now);
                self.overlays.confirm = Some(confirm);
            }
        }
        Vec::new()
    }

    fn on_picker_event(&mut self, event: PickerEvent) -> Vec<Effect> {
        match event {
            PickerEvent::StayOpen => {}
            PickerEvent::Close => self.overlays.panel = None,
            PickerEvent::Picked(command) => {
                self.overlays.panel = None;
                self.pending.workspace |= matches!(command, Command::SetCwd { .. });
                return vec![Effect::Send(command)];
            }
        }
        Vec::new()
    }

    /// A key while a dialog asks for confirmation.
    pub(super) fn on_confirm_key(&mut self, action: Action) -> Vec<Effect> {
        let Some(confirm) = &mut self.overlays.confirm else { return Vec::new() };
        match confirm.on_action(action, self.now) {
            ConfirmEvent::StayOpen => Vec::new(),
            ConfirmEvent::Declined => {
                self.overlays.confirm = None;
                Vec::new()
            }
            ConfirmEvent::Confirmed(command) => {
                self.overlays.confirm = None;
                if let Command::Delete { session } = &command
                    && let Some(sessions) = self.overlays.sessions()
                {
                    sessions.remove(session);
                }
                vec![Effect::Send(command)]
            }
        }
    }
}

/// Scrolls the help; false if the key closes it.
fn scroll_help(top: &mut usize, action: Action) -> bool {
    match action {
        Action::Up => *top = top.saturating_sub(1),
        Action::Down => *top += 1,
        Action::PageUp => *top = top.saturating_sub(HELP_PAGE),
        Action::PageDown => *top += HELP_PAGE,
        _ => return false,
    }
    true
}
