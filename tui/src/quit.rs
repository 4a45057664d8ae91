//! The question before leaving work behind: what is to become of what still runs (P10). It is
//! about all sessions of the host, so the host is asked first; until it has answered no card shows.

use protocol::{Millis, Process, SessionId, SessionRow, Transcript, Work};
use ratatui::text::Line;

use crate::arming::QUIET;
use crate::boxed::boxed;
use crate::keymap::Action;
use crate::numbers::count;
use crate::theme::Theme;
use crate::time::between;
use crate::wrap::{Break, fit, text};

const CHOICES: [&str; 4] =
    ["keep it running", "pause it until the next start", "kill it", "do not quit"];

/// How the interface was left: what is to become of what runs in its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExitMode {
    /// There was nothing to decide: nothing runs, or the host is another process.
    #[default]
    Plain,
    /// A host is to go on with it in the background.
    Background,
    /// Commands run on, turns wait for the next start.
    Pause,
    /// It is to end.
    Kill,
    /// Nobody leaves: the interface is to be suspended (P14).
    Suspend,
}

/// The wish to quit, and the question that may follow.
#[derive(Debug, Default)]
pub(crate) struct QuitDialog {
    selected: usize,
    open: bool,
    /// When it opened, or the last digit came that was not meant for it.
    quiet_since: Millis,
    /// What runs elsewhere, as far as the host has said.
    processes: Option<Vec<Process>>,
    running: Option<Vec<SessionId>>,
}

/// What still runs in a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RunningWork {
    turns: usize,
    commands: usize,
    /// Those of the commands whose end wakes the agent.
    waking: usize,
    tasks: usize,
    /// Some of it belongs to sessions that are not in view.
    elsewhere: bool,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuitEvent {
    /// Nothing yet.
    StayOpen,
    /// Quit, and this is to become of what runs.
    Quit(ExitMode),
    /// Stay.
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

    /// What it is.
    fn summary(self) -> String {
        let summary = self.parts();
        if summary.is_empty() {
            return "Nothing is running any more.".to_owned();
        }
        let elsewhere = if self.elsewhere { ", also in other sessions" } else { "" };
        format!("Still running: {}{elsewhere}.", summary.join(", "))
    }

    /// The same for who has left a host that is another process, if it is anything.
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

    /// What becomes of it when it is left.
    fn after_pausing(self) -> String {
        let mut says = Vec::new();
        match (self.commands, self.waking) {
            (0, _) => {}
            (1, 0) => says.push("The command keeps running."),
            (1, _) => says.push(
                "The command keeps running; when it ends, the agent wakes at the next start.",
            ),
            (_, 0) => says.push("The commands keep running."),
            (_, _) => {
                says.push(
                    "The commands keep running; when they end, the agent wakes at the next start.",
                );
            }
        }
        match (self.turns, self.tasks) {
            (0, 0) => {}
            (1, 0) => says.push("The turn resumes at the next start, if within an hour."),
            (_, 0) => says.push("The turns resume at the next start, if within an hour."),
            (0, 1) => says.push("The task resumes at the next start, if within an hour."),
            (0, _) => says.push("The tasks resume at the next start, if within an hour."),
            (_, _) => says.push("Turns and tasks resume at the next start, if within an hour."),
        }
        says.join(" ")
    }

    /// What becomes of it when it is killed.
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
    /// Whether the card shows.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Shows the card.
    pub(crate) fn open(&mut self, now: Millis) {
        (self.open, self.quiet_since) = (true, now);
    }

    /// Whether the host has said what runs in its other sessions.
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

    /// The host cannot say it.
    pub(crate) fn on_failed(&mut self) {
        self.processes.get_or_insert_default();
        self.running.get_or_insert_default();
    }

    /// The card may open under somebody's hands: a digit counts only once the keyboard was quiet.
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

    /// The card; below the choices it says what the selected one does.
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
        let says = match self.selected {
            0 => {
                "Everything continues in the background; `hermes-tui -c` returns to it.".to_owned()
            }
            1 => left.after_pausing(),
            2 => left.after_killing(),
            _ => String::new(),
        };
        body.extend(text(&says, theme.dim, inner, Break::Word));
        boxed("Quit", body, width, theme.question_border)
    }
}
