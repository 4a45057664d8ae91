//! The panel of background processes: what runs, what came of it, its last output, killing one.

use host::protocol::{Command, Delivery, Millis, Process, ProcessId, State};
use ratatui::text::{Line, Span};

use crate::clean::{one_line, output};
use crate::keymap::Action;
use crate::theme::Theme;
use crate::time::{between, span};
use crate::transcript::ending;
use crate::transcript::wrap::{columns, fit};

/// The panel.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    selected: usize,
    tail: Option<Tail>,
    kills: Option<ProcessId>,
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
    Send(Command),
}

impl Processes {
    /// The process whose output is in view.
    pub(crate) fn tailed(&self) -> Option<&ProcessId> {
        self.tail.as_ref().map(|tail| &tail.id)
    }

    pub(crate) fn on_tail(&mut self, id: &ProcessId, text: &str) {
        if let Some(tail) = self.tail.as_mut().filter(|tail| tail.id == *id) {
            tail.text = output(text);
        }
    }

    pub(crate) fn on_action(&mut self, action: Action, processes: &[Process]) -> Outcome {
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
        let last = processes.len().saturating_sub(1);
        self.selected = self.selected.min(last);
        let chosen = ordered(processes).get(self.selected).copied();
        let confirmed = self.kills.take();
        match action {
            Action::Up => self.selected = self.selected.saturating_sub(1),
            Action::Down => self.selected = (self.selected + 1).min(last),
            Action::Enter | Action::Right => {
                if let Some(process) = chosen {
                    let id = process.id.clone();
                    self.tail = Some(Tail { id: id.clone(), text: String::new(), up: 0 });
                    return Outcome::Send(Command::Tail { id });
                }
            }
            Action::Text('k') => {
                if let Some(process) = chosen.filter(|process| process.is_live()) {
                    let id = process.id.clone();
                    if confirmed.as_ref() == Some(&id) {
                        return Outcome::Send(Command::Kill { id: Some(id) });
                    }
                    self.kills = Some(id);
                }
            }
            Action::Escape | Action::Interrupt | Action::Processes => return Outcome::Closed,
            _ => {}
        }
        Outcome::Open
    }

    /// Title and lines.
    pub(crate) fn lines(
        &self,
        processes: &[Process],
        now: Millis,
        size: (usize, usize),
        theme: &Theme,
    ) -> (String, Vec<Line<'static>>) {
        let (width, height) = size;
        if let Some(tail) = &self.tail {
            let all: Vec<&str> = tail.text.trim_end().lines().collect();
            let end = all.len().saturating_sub(tail.up).max(height.min(all.len()));
            let start = end.saturating_sub(height);
            let shown = all.iter().skip(start).take(end - start);
            let mut lines: Vec<Line<'static>> =
                shown.map(|line| Line::styled(fit(line, width), theme.text)).collect();
            if lines.is_empty() {
                lines.push(Line::styled("no output", theme.dim));
            }
            return (format!("{} · Esc back", one_line(&tail.id.0)), lines);
        }
        let mut lines = Vec::new();
        if processes.is_empty() {
            lines.push(Line::styled("no background processes", theme.dim));
        }
        let room = height.max(1);
        let selected = self.selected.min(processes.len().saturating_sub(1));
        let start = (selected + 1).saturating_sub(room);
        for (at, process) in ordered(processes).iter().enumerate().skip(start).take(room) {
            lines.push(line(process, at == selected, now, width, theme));
        }
        let title = match &self.kills {
            Some(id) => format!("k again kills {}", one_line(&id.0)),
            None => "Background · Enter output · k kill · Esc close".to_owned(),
        };
        (title, lines)
    }
}

/// Those that run first, then the newest.
fn ordered(processes: &[Process]) -> Vec<&Process> {
    let mut ordered: Vec<&Process> = processes.iter().collect();
    ordered.sort_by_key(|p| (!p.is_live(), std::cmp::Reverse(p.started_at)));
    ordered
}

fn line(
    process: &Process,
    selected: bool,
    now: Millis,
    width: usize,
    theme: &Theme,
) -> Line<'static> {
    let (mark, state) = match (process.state, &process.exit) {
        (State::Starting, _) => (theme.dim, "starting".to_owned()),
        (State::Running, _) => (theme.warn, "running".to_owned()),
        (State::Ended, Some(exit)) if exit.code == Some(0) => (theme.ok, ending(exit)),
        (State::Ended, Some(exit)) => (theme.error, ending(exit)),
        (State::Ended, None) => (theme.dim, "ended".to_owned()),
    };
    let until = process.exit.as_ref().map_or(now, |exit| exit.at);
    let ran = span(between(until, process.started_at) / 1_000);
    let fate = match &process.delivery {
        Delivery::Open if !process.is_live() => String::new(),
        Delivery::Open if process.notify => "will wake".to_owned(),
        Delivery::Open if !process.watch.is_empty() => "watched".to_owned(),
        Delivery::Open => String::new(),
        Delivery::Waiting => "wakes next".to_owned(),
        Delivery::Claimed(turn) => format!("in turn {turn}"),
        Delivery::Delivered => "told".to_owned(),
        Delivery::Consumed => "seen".to_owned(),
        Delivery::Orphaned => "its session is gone".to_owned(),
        Delivery::Held(why) => format!("held: {}", one_line(why)),
    };
    let base = if selected { theme.selected } else { theme.text };
    let left = format!("{state} · {ran} · ");
    let fate = if fate.is_empty() { fate } else { format!(" · {fate}") };
    let right = match width {
        0..50 => String::new(),
        50..70 => fit(&fate, width / 3),
        _ => fit(&format!("{fate} · {}", one_line(&process.id.0)), width / 2),
    };
    let room = width.saturating_sub(2 + columns(&left) + columns(&right));
    let command = fit(&one_line(&process.command), room);
    let pad = " ".repeat(room.saturating_sub(columns(&command)));
    Line::from(vec![
        Span::styled("● ", base.patch(mark)),
        Span::styled(left, base.patch(theme.dim)),
        Span::styled(command, base),
        Span::styled(format!("{pad}{right}"), base.patch(theme.dim)),
    ])
}
