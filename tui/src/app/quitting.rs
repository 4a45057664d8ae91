//! Quitting: at once, or after the user has decided what becomes of the running work.

use protocol::{Command, Link, Process, SessionRow};

use super::{App, Effect};
use crate::keymap::Action;
use crate::quit::{ExitMode, QuitDialog, QuitEvent, RunningWork};

impl App {
    /// Quits, but asks first when something still runs in the host. Only the host knows what runs in
    /// other sessions: it is asked, and nothing is decided before its answer or the next key.
    pub(super) fn quit(&mut self) -> Vec<Effect> {
        if self.options.attached || !self.has_window {
            return vec![Effect::Quit(ExitMode::Plain)];
        }
        self.overlays.confirm = None;
        let mut quit = QuitDialog::default();
        if !RunningWork::of(&self.transcript, &quit).is_empty() {
            quit.open(self.now);
        }
        self.overlays.quit = Some(quit);
        self.request_running_work()
    }

    /// Asks the host what runs in its other sessions, if the user wants to quit.
    pub(super) fn request_running_work(&self) -> Vec<Effect> {
        if self.overlays.quit.is_none() {
            return Vec::new();
        }
        [Command::ListProcesses, Command::ListSessions].map(Effect::Send).to_vec()
    }

    /// The host listed the processes of all sessions.
    pub(super) fn on_processes_listed(&mut self, processes: &[Process]) -> Vec<Effect> {
        let refresh = self.overlays.processes().and_then(|panel| panel.on_listed(processes));
        if let Some(quit) = &mut self.overlays.quit {
            quit.on_processes(processes);
        }
        refresh.map(Effect::Send).into_iter().chain(self.quit_if_idle()).collect()
    }

    /// The host listed its sessions.
    pub(super) fn on_sessions_listed(&mut self, sessions: &[SessionRow]) -> Vec<Effect> {
        let effect = self.on_sessions(sessions);
        if let Some(quit) = &mut self.overlays.quit {
            quit.on_sessions(sessions);
        }
        effect.into_iter().chain(self.quit_if_idle()).collect()
    }

    /// The host has reported what runs: quits if that is nothing, else opens the dialog.
    pub(super) fn quit_if_idle(&mut self) -> Option<Effect> {
        let waiting = self.overlays.quit.as_mut();
        let quit = waiting.filter(|quit| !quit.is_open() && quit.is_answered())?;
        if RunningWork::of(&self.transcript, quit).is_empty() {
            self.overlays.quit = None;
            return Some(Effect::Quit(ExitMode::Plain));
        }
        quit.open(self.now);
        None
    }

    /// A key while the user wants to quit; `None` = the key is not for the dialog.
    pub(super) fn on_quit_key(&mut self, action: Action) -> Option<Vec<Effect>> {
        let quit = self.overlays.quit.as_mut()?;
        if !quit.is_open() {
            // The host has not answered. The same key again quits at once, any other one stays.
            self.overlays.quit = None;
            return matches!(action, Action::Interrupt | Action::EndOfInput)
                .then(|| vec![Effect::Quit(ExitMode::Plain)]);
        }
        Some(match quit.on_action(action, self.now) {
            QuitEvent::StayOpen => Vec::new(),
            QuitEvent::Cancel => {
                self.overlays.quit = None;
                Vec::new()
            }
            QuitEvent::Quit(mode) => {
                self.overlays.quit = None;
                vec![Effect::Quit(mode)]
            }
        })
    }

    /// One sentence on what of the session on the screen still runs in another process.
    pub(crate) fn still_running(&self) -> Option<String> {
        // Without a link nobody knows.
        let is_known = self.options.attached && matches!(self.link, Link::Up);
        is_known
            .then(|| RunningWork::of(&self.transcript, &QuitDialog::default()).still_running())?
    }

    /// Sets whether the host is another process: then quitting stops nothing.
    pub(crate) fn set_attached(&mut self, attached: bool) {
        self.options.attached = attached;
    }
}
