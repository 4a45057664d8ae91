//! The quit dialog: what becomes of the work that still runs (P10). It is about all sessions of the
//! host, so the host is asked first; the dialog opens once it has answered.

use protocol::{Millis, Process, SessionId, SessionRow, Transcript, Work};
use ratatui::text::Line;

use crate::arming::QUIET;
use crate::boxed::boxed;
use crate::keymap::Action;
use crate::numbers::count;
use crate::theme::Theme;
use crate::time::between;
use crate::wrap::{Break, fit, text};

const CHOICES: [&str; 4] = ["keep it running", "stop only the agent", "kill it", "do not quit"];

/// How the user left the interface: what becomes of the work in its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExitMode {
    /// Nothing was to be decided: nothing runs, or the host is another process.
    #[default]
    Plain,
    /// A host in the background continues it.
    Background,
    /// Commands keep running, turns wait for the next start.
    Pause,
    /// It is ended.
    Kill,
    /// The interface is only suspended (P14).
    Suspend,
}

/// The request to quit, and the dialog that may follow.
#[derive(Debug, Default)]
pub(crate) struct QuitDialog {
    selected: usize,
    open: bool,
    /// When it opened, or when the last digit came that was not meant for it.
    quiet_since: Millis,
    /// The processes of all sessions, once the host has listed them.
    processes: Option<Vec<Process>>,
    running: Option<Vec<SessionId>>,
}

/// The work that still runs in a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunningWork {
    turns: usize,
    commands: usize,
    /// The commands whose end wakes the agent.
    waking: usize,
    tasks: usize,
    /// Some of it belongs to other sessions than the one on the screen.
    elsewhere: bool,
}

/// The result of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuitEvent {
    /// The dialog stays open.
    StayOpen,
    /// Quit in this way.
    Quit(ExitMode),
    /// Do not quit.
    Cancel,
}

impl RunningWork {
    pub(crate) fn of(transcript: &Transcript, quit: &QuitDialog) -> Self {
        let mut left = Self { turns: usize::from(transcript.running.is_some()), ..Self::default() };
        for process in &transcript.processes {
            left.add(process);
        }
        let here = left;
        let others = quit.processes.iter().flatten().filter(|p| p.session != transcript.session);
        for process in others.clone() {
            left.add(process);
        }
        // The turns of delegated tasks are counted as tasks.
        let all = transcript.processes.iter().chain(others);
        let workers: Vec<&SessionId> = all.filter_map(Process::worker).collect();
        let turns = quit.running.iter().flatten();
        left.turns +=
            turns.filter(|id| **id != transcript.session && !workers.contains(id)).count();
        left.elsewhere = here != left;
        left
    }

    fn add(&mut self, process: &Process) {
        if !process.is_live() {
            return;
        }
        match process.work {
            Work::Command => self.commands += 1,
            Work::Delegation { .. } => self.tasks += 1,
        }
        self.waking += usize::from(process.notify && process.work == Work::Command);
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The work in one sentence.
    fn summary(self) -> String {
        let summary = self.parts();
        if summary.is_empty() {
            return "Nothing is running any more.".to_owned();
        }
        let elsewhere = if self.elsewhere { ", also in other sessions" } else { "" };
        format!("Still running: {}{elsewhere}.", summary.join(", "))
    }

    /// The same for a user who has left a host in another process; `None` if nothing runs.
    pub(crate) fn still_running(self) -> Option<String> {
        let summary = self.parts();
        (!summary.is_empty()).then(|| format!("Still running: {}.", summary.join(", ")))
    }

    fn parts(self) -> Vec<String> {
        let mut summary = Vec::new();
        match self.turns {
            0 => {}
            1 => summary.push("a turn".to_owned()),
            turns => summary.push(count(turns, "turn")),
        }
        if self.commands > 0 {
            summary.push(count(self.commands, "background command"));
        }
        if self.tasks > 0 {
            summary.push(count(self.tasks, "delegated task"));
        }
        summary
    }

    /// What happens to it with [`ExitMode::Pause`].
    fn after_pausing(self) -> String {
        let mut parts = Vec::new();
        match (self.commands, self.waking) {
            (0, _) => {}
            (1, 0) => parts.push("The command keeps running."),
            (1, _) => parts.push(
                "The command keeps running; when it ends, the agent wakes at the next start.",
            ),
            (_, 0) => parts.push("The commands keep running."),
            (_, _) => {
                parts.push(
                    "The commands keep running; when they end, the agent wakes at the next start.",
                );
            }
        }
        match (self.turns, self.tasks) {
            (0, 0) => {}
            (1, 0) => parts.push("The turn resumes at the next start, if within an hour."),
            (_, 0) => parts.push("The turns resume at the next start, if within an hour."),
            (0, 1) => parts.push("The task resumes at the next start, if within an hour."),
            (0, _) => parts.push("The tasks resume at the next start, if within an hour."),
            (_, _) => parts.push("Turns and tasks resume at the next start, if within an hour."),
        }
        parts.join(" ")
    }

    /// What happens to it with [`ExitMode::Kill`].
    fn after_killing(self) -> String {
        match (self.turns, self.commands + self.tasks) {
            (0, 0) => String::new(),
            (1, 0) => "The turn is interrupted for good.".to_owned(),
            (_, 0) => "The turns are interrupted for good.".to_owned(),
            (0, _) => "Everything is stopped; the agent is told with your next prompt.".to_owned(),
            (1, _) => "The turn is interrupted, everything else is stopped.".to_owned(),
            (_, _) => "The turns are interrupted, everything else is stopped.".to_owned(),
        }
    }
}

impl QuitDialog {
    /// Whether the dialog is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Opens the dialog.
    pub(crate) fn open(&mut self, now: Millis) {
        (self.open, self.quiet_since) = (true, now);
    }

    /// Whether the host has reported the work in its other sessions.
    pub(crate) fn is_answered(&self) -> bool {
        self.processes.is_some() && self.running.is_some()
    }

    pub(crate) fn on_processes(&mut self, processes: &[Process]) {
        self.processes = Some(processes.to_vec());
    }

    pub(crate) fn on_sessions(&mut self, rows: &[SessionRow]) {
        let running = rows.iter().filter(|row| row.running);
        self.running = Some(running.map(|row| row.id.clone()).collect());
    }

    /// The host cannot report it.
    pub(crate) fn on_failed(&mut self) {
        self.processes.get_or_insert_default();
        self.running.get_or_insert_default();
    }

    /// A key. The dialog may open while the user types: a digit counts only once the keyboard was quiet.
    pub(crate) fn on_action(&mut self, action: Action, now: Millis) -> QuitEvent {
        let count = CHOICES.len();
        if matches!(action, Action::Text(_)) && between(now, self.quiet_since) < QUIET {
            self.quiet_since = now;
            return QuitEvent::StayOpen;
        }
        let chosen = match action {
            Action::Up | Action::Left => {
                self.selected = (self.selected + count - 1) % count;
                return QuitEvent::StayOpen;
            }
            Action::Down | Action::Right | Action::Tab => {
                self.selected = (self.selected + 1) % count;
                return QuitEvent::StayOpen;
            }
            Action::Enter => self.selected,
            Action::Text(c @ '1'..='4') => c as usize - '1' as usize,
            Action::Interrupt | Action::EndOfInput => 0,
            Action::Escape => 3,
            _ => return QuitEvent::StayOpen,
        };
        match chosen {
            0 => QuitEvent::Quit(ExitMode::Background),
            1 => QuitEvent::Quit(ExitMode::Pause),
            2 => QuitEvent::Quit(ExitMode::Kill),
            _ => QuitEvent::Cancel,
        }
    }

    /// The dialog as lines; the last ones explain the selected choice.
    pub(crate) fn lines(
        &self,
        left: RunningWork,
        width: usize,
        theme: &Theme,
    ) -> Vec<Line<'static>> {
        let inner = width.saturating_sub(4);
        let mut body = text(&left.summary(), theme.text, inner, Break::Word);
        for (i, choice) in CHOICES.iter().enumerate() {
            let style = if i == self.selected { theme.selected } else { theme.text };
            body.push(Line::styled(fit(&format!(" {} {choice} ", i + 1), inner), style));
        }
        let parts = match self.selected {
            0 => {
                "Everything continues in the background; `hermes-tui -c` returns to it.".to_owned()
            }
            1 => left.after_pausing(),
            2 => left.after_killing(),
            _ => String::new(),
        };
        body.extend(text(&parts, theme.dim, inner, Break::Word));
        boxed("Quit", body, width, theme.question_border)
    }
}
