//! The panel of processes as lines: one line each, and the details of the selected one.

use protocol::{Delivery, Killer, Millis, Process, SessionId, State, Work};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Processes, Tail, ordered};
use crate::clean::{clean, one_line};
use crate::numbers::count;
use crate::process_exit::describe;
use crate::theme::Theme;
use crate::time::{between, span};
use crate::wrap::{Break, columns, fit, text};

/// Rows of the panel from which on the selected process is described.
const ROOMY: usize = 8;

/// The data the panel is drawn from.
pub(crate) struct ProcessesContext<'a> {
    /// The processes of that session.
    pub(crate) own: &'a [Process],
    /// The session on the screen.
    pub(crate) session: &'a SessionId,
    pub(crate) now: Millis,
    pub(crate) theme: &'a Theme,
}

impl Processes {
    /// Title and lines.
    pub(crate) fn lines(
        &self,
        cx: &ProcessesContext<'_>,
        size: (usize, usize),
    ) -> (String, Vec<Line<'static>>) {
        let (width, height) = size;
        if let Some(tail) = &self.tail {
            return (
                format!("{} · Esc goes back", one_line(&tail.id.0)),
                output(tail, size, cx.theme),
            );
        }
        let title = match &self.all_sessions {
            None => "Processes of this session",
            Some(_) => "Processes of all sessions",
        };
        let theme = cx.theme;
        let listed = ordered(self.listed(cx.own));
        let at = self.at(&listed);
        let hint = self.hint(listed.get(at).copied(), width, theme);
        let mut room = height.saturating_sub(1).max(1);
        let mut details = Vec::new();
        if let Some(process) = listed.get(at).filter(|_| height >= ROOMY) {
            details = self.details(process, cx, width);
            details.truncate(room / 2);
            room -= details.len();
        }
        let mut lines = Vec::new();
        if listed.is_empty() {
            let waits = self.all_sessions.as_ref().is_some_and(|all| all.processes.is_none());
            if let Some(why) = &self.unavailable {
                lines.extend(text(&clean(why), theme.warn, width, Break::Word));
                lines.truncate(room);
            } else {
                let empty = if waits { "loading …" } else { "no background processes" };
                lines.push(Line::styled(empty, theme.dim));
            }
        }
        let start = (at + 1).saturating_sub(room);
        for (i, process) in listed.iter().enumerate().skip(start).take(room) {
            let names = self.all_sessions.is_some() && process.delivery != Delivery::Orphaned;
            let owner = names.then(|| self.owner(process, cx));
            lines.push(line(process, owner, i == at, cx, width));
        }
        lines.resize(room, Line::default());
        lines.extend(details);
        lines.push(hint);
        (title.to_owned(), lines)
    }

    /// The keys that do something.
    fn hint(&self, chosen: Option<&Process>, width: usize, theme: &Theme) -> Line<'static> {
        // A process that has ended meanwhile needs no second key.
        if let Some(id) = &self.kill_armed
            && chosen.is_some_and(Process::is_live)
        {
            return Line::styled(
                fit(&format!("k again to kill {}", one_line(&id.0)), width),
                theme.warn,
            );
        }
        let mut keys = Vec::new();
        if let Some(process) = chosen {
            keys.push(match process.work {
                Work::Command => "Enter output",
                Work::Delegation { .. } => "Enter opens it",
            });
            if process.is_live() {
                keys.push("k kill");
            }
        }
        keys.push(if self.all_sessions.is_some() { "a own" } else { "a all" });
        keys.push("Esc");
        Line::styled(fit(&keys.join(" · "), width), theme.dim)
    }

    /// The session that owns it.
    fn owner(&self, process: &Process, cx: &ProcessesContext<'_>) -> String {
        if process.delivery == Delivery::Orphaned {
            return "a deleted session".to_owned();
        }
        if process.session == *cx.session {
            return "this session".to_owned();
        }
        let names = self.all_sessions.as_ref().map(|all| &all.names);
        let name = names.and_then(|names| names.get(&process.session)).map(|name| one_line(name));
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| one_line(&process.session.0))
    }

    /// The details of one process.
    fn details(
        &self,
        process: &Process,
        cx: &ProcessesContext<'_>,
        width: usize,
    ) -> Vec<Line<'static>> {
        let theme = cx.theme;
        let mut command = text(&one_line(&process.command), theme.bold, width, Break::Word);
        if command.len() > 2 {
            command = vec![Line::styled(fit(&one_line(&process.command), width), theme.bold)];
        }
        let mut facts = vec![
            one_line(&process.id.0),
            match process.work {
                Work::Command if process.pty => "command in a terminal".to_owned(),
                Work::Command => "command".to_owned(),
                Work::Delegation { .. } => "delegated task".to_owned(),
            },
        ];
        facts.extend(process.pid.filter(|_| process.is_live()).map(|pid| format!("pid {pid}")));
        facts.push(format!("turn {} of {}", process.turn, self.owner(process, cx)));
        let mut lines = vec![Line::styled("─".repeat(width), theme.dim)];
        lines.extend(command);
        lines.push(Line::styled(fit(&facts.join(" · "), width), theme.dim));
        let held = matches!(process.delivery, Delivery::Held(_) | Delivery::Orphaned);
        let style = if held { theme.warn } else { theme.text };
        lines.extend(text(&completion_text(process), style, width, Break::Word));
        if let Some(watch) = watch(process) {
            let style = if process.watching.off { theme.warn } else { theme.text };
            lines.extend(text(&watch, style, width, Break::Word));
        }
        lines
    }
}

fn output(tail: &Tail, size: (usize, usize), theme: &Theme) -> Vec<Line<'static>> {
    let (width, height) = size;
    let all: Vec<&str> = tail.text.trim_end().lines().collect();
    let end = all.len().saturating_sub(tail.up).max(height.min(all.len()));
    let start = end.saturating_sub(height);
    let shown = all.iter().skip(start).take(end - start);
    let lines: Vec<Line<'static>> =
        shown.map(|line| Line::styled(fit(line, width), theme.text)).collect();
    if lines.is_empty() { vec![Line::styled("no output", theme.dim)] } else { lines }
}

fn state(process: &Process, theme: &Theme) -> (Style, String) {
    match (process.state, &process.exit) {
        (State::Starting | State::Running, _) if process.killed_by.is_some() => {
            (theme.warn, "stopping".to_owned())
        }
        (State::Starting, _) => (theme.dim, "starting".to_owned()),
        (State::Running, _) => (theme.warn, "running".to_owned()),
        (State::Ended, Some(exit)) if exit.code == Some(0) => (theme.ok, describe(exit)),
        (State::Ended, Some(exit)) => (theme.error, describe(exit)),
        (State::Ended, None) => (theme.dim, "ended".to_owned()),
    }
}

/// The state of its completion notice, in one or two words.
fn completion_mark(process: &Process) -> String {
    match &process.delivery {
        Delivery::Open if !process.is_live() || process.killed_by.is_some() => String::new(),
        Delivery::Open if process.notify => "will wake".to_owned(),
        Delivery::Open if process.watch.is_empty() => String::new(),
        Delivery::Open if process.watching.off => "watch off".to_owned(),
        Delivery::Open => count(process.watching.hits, "hit"),
        Delivery::Waiting => "queued".to_owned(),
        Delivery::Claimed(turn) => format!("in turn {turn}"),
        Delivery::Delivered => "notified".to_owned(),
        Delivery::Consumed => "seen".to_owned(),
        Delivery::Orphaned => "orphaned".to_owned(),
        Delivery::Held(_) => "held".to_owned(),
    }
}

/// The same in one sentence.
fn completion_text(process: &Process) -> String {
    match &process.delivery {
        Delivery::Open if !process.is_live() => "no notification was requested".to_owned(),
        Delivery::Open if process.killed_by == Some(Killer::User) => {
            "being killed at your request; the agent is told with your next prompt".to_owned()
        }
        Delivery::Open if process.killed_by.is_some() => "being killed by the agent".to_owned(),
        Delivery::Open if process.notify => "wakes the agent when it ends".to_owned(),
        Delivery::Open => "does not wake the agent when it ends".to_owned(),
        Delivery::Waiting => "ended; the notification for the agent is queued".to_owned(),
        Delivery::Claimed(turn) => format!("the agent is being notified in turn {turn}"),
        Delivery::Delivered => "the agent was notified".to_owned(),
        Delivery::Consumed if process.killed_by == Some(Killer::User) => {
            "you killed it; the agent is not woken but told with your next prompt".to_owned()
        }
        Delivery::Consumed => "the agent had already seen the end and was not woken".to_owned(),
        Delivery::Orphaned => "orphaned: its session was deleted, so it wakes no agent".to_owned(),
        Delivery::Held(why) => {
            let why = one_line(why);
            let way =
                if why.contains("/wake") { "" } else { " · /wake in its session delivers it" };
            format!("held: {why}{way}")
        }
    }
}

/// The watch patterns and their counts.
fn watch(process: &Process) -> Option<String> {
    if process.watch.is_empty() {
        return None;
    }
    let patterns: Vec<String> =
        process.watch.iter().map(|pattern| format!("\"{}\"", one_line(pattern))).collect();
    let watching = &process.watching;
    let mut facts = vec![format!("watching for {}", patterns.join(", "))];
    facts.push(count(watching.hits, "hit"));
    if watching.matches > 0 {
        facts.push(format!("{} delivered", watching.matches));
    }
    if watching.stale > 0 {
        facts.push(format!("{} came too early to wake the agent", watching.stale));
    }
    if watching.suppressed > 0 {
        facts.push(format!("{} counted only", watching.suppressed));
    }
    if watching.off {
        facts.push("turned off: too many matches".to_owned());
    }
    Some(facts.join(" · "))
}

fn line(
    process: &Process,
    owner: Option<String>,
    selected: bool,
    cx: &ProcessesContext<'_>,
    width: usize,
) -> Line<'static> {
    let theme = cx.theme;
    let (colour, state) = state(process, theme);
    let until = process.exit.as_ref().map_or(cx.now, |exit| exit.at);
    let ran = span(between(until, process.started_at) / 1_000);
    let base = if selected { theme.selected } else { theme.text };
    let kind = match process.work {
        Work::Command => "",
        Work::Delegation { .. } => "task: ",
    };
    let left = format!("{state} · {ran} · {kind}");
    let facts = [completion_mark(process), owner.unwrap_or_default()];
    let facts = facts.iter().filter(|fact| !fact.is_empty());
    let right = facts.fold(String::new(), |all, fact| format!("{all} · {fact}"));
    let right = match width {
        0..50 => String::new(),
        50..70 => fit(&right, width / 3),
        _ => fit(&right, width / 2),
    };
    let room = width.saturating_sub(2 + columns(&left) + columns(&right));
    let command = fit(&one_line(&process.command), room);
    let pad = " ".repeat(room.saturating_sub(columns(&command)));
    Line::from(vec![
        Span::styled("● ", base.patch(colour)),
        Span::styled(left, base.patch(theme.dim)),
        Span::styled(command, base),
        Span::styled(format!("{pad}{right}"), base.patch(theme.dim)),
    ])
}
