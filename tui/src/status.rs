//! The status line, the last line of the screen: model, context, running work, problems.

use protocol::{Gauge, Link, Source, Storage};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::app::App;
use crate::clean::one_line;
use crate::link;
use crate::numbers::{count, tokens};
use crate::theme::Theme;
use crate::time::{between, span};
use crate::wrap::{columns, fit};

/// Cells of the context bar.
const BAR: u64 = 8;

/// Wakeup turns without a user from which on the session needs one (W31).
const UNATTENDED: u32 = 3;

/// A segment of the line; the least important go first when there is no room.
struct Segment {
    importance: u8,
    spans: Vec<Span<'static>>,
}

/// The segments, from left to right.
#[derive(Default)]
struct Segments(Vec<Segment>);

impl Segments {
    fn add(&mut self, importance: u8, text: String, style: Style) {
        self.0.push(Segment { importance, spans: vec![Span::styled(text, style)] });
    }
}

/// The status line at this width.
pub(crate) fn line(app: &App, width: usize) -> Line<'static> {
    let theme = &app.theme;
    let mut segments = Segments::default();
    let flash = app.feedback.flash_text().map(one_line);
    add_link(app, if flash.is_some() { width / 2 } else { width }, &mut segments);
    if let Some(flash) = flash {
        let room = if segments.0.is_empty() { width.saturating_sub(1) } else { width / 2 };
        segments.add(11, fit(&flash, room), theme.warn);
        return assemble(segments, width, theme);
    }
    add_model(app, &mut segments);
    add_turn(app, &mut segments);
    add_scrolling(app, &mut segments);
    add_work(app, &mut segments);
    add_settings(app, &mut segments);
    assemble(segments, width, theme)
}

/// The link to the host, unless it is up.
fn add_link(app: &App, width: usize, segments: &mut Segments) {
    let Some(text) = link::status(&app.link, app.now(), width) else { return };
    let style = match app.link {
        Link::Up | Link::Connecting | Link::Polling { .. } => app.theme.warn,
        Link::Down { .. } | Link::Refused { .. } | Link::Stopped { .. } => app.theme.error,
    };
    segments.add(10, text, style);
}

/// The model and the context in use.
fn add_model(app: &App, segments: &mut Segments) {
    let transcript = &app.transcript;
    if !transcript.model.is_empty() {
        segments.add(5, fit(&one_line(&transcript.model), 28), app.theme.bold);
    }
    let exceeded = transcript.gauge.used > transcript.gauge.length.or(Some(u64::MAX));
    let importance = if exceeded { 8 } else { 4 };
    segments.0.push(Segment { importance, spans: gauge(transcript.gauge, &app.theme) });
}

/// What the running turn does, and for how long.
fn add_turn(app: &App, segments: &mut Segments) {
    let Some(running) = &app.transcript.running else { return };
    let time = span(between(app.now(), running.started_at) / 1_000);
    let activity = if running.cancelling {
        "interrupting".to_owned()
    } else if app.question().is_some() {
        "waiting for you".to_owned()
    } else if let Some(status) = &running.status {
        one_line(status)
    } else {
        match running.source {
            Source::User => "working".to_owned(),
            Source::Wakeup => "woken up".to_owned(),
        }
    };
    segments.add(7, format!("{} · {time}", fit(&activity, 40)), app.theme.warn);
    if !running.cancelling {
        segments.add(3, "Esc interrupts".to_owned(), app.theme.dim);
    }
}

/// Where the transcript is scrolled to.
fn add_scrolling(app: &App, segments: &mut Segments) {
    if app.view.new_rows() > 0 {
        segments.add(8, format!("↓ {} new", app.view.new_rows()), app.theme.accent);
    } else if !app.view.is_following() {
        segments.add(4, "scrolled · End follows".to_owned(), app.theme.dim);
    }
}

/// Background work, and what needs the user.
fn add_work(app: &App, segments: &mut Segments) {
    let (transcript, theme) = (&app.transcript, &app.theme);
    let live = transcript.processes.iter().filter(|process| process.is_live()).count();
    if live > 0 {
        segments.add(6, format!("⚙ {live}"), theme.accent);
    }
    let waiting = app.sessions_waiting();
    if waiting > 0 {
        let ask = if waiting == 1 { "asks" } else { "ask" };
        segments.add(8, format!("{} {ask} · Ctrl+O", count(waiting, "session")), theme.warn);
    }
    if transcript.held.is_some() {
        segments.add(7, "held · /wake".to_owned(), theme.warn);
    }
    if transcript.unattended >= UNATTENDED {
        let times = transcript.unattended;
        segments.add(8, format!("needs you · woken {times}×"), theme.warn);
    }
    if let Storage::Failing(why) = &transcript.storage {
        segments.add(9, fit(&format!("NOT SAVED: {}", one_line(why)), 40), theme.error);
    }
}

/// Settings that differ from the usual, and the name of the session or its directory.
fn add_settings(app: &App, segments: &mut Segments) {
    let (transcript, theme) = (&app.transcript, &app.theme);
    if transcript.yolo {
        segments.add(8, "yolo".to_owned(), theme.error);
    }
    if let Some(effort) = &transcript.reasoning {
        segments.add(2, format!("effort {}", fit(&one_line(effort), 12)), theme.dim);
    }
    if let Some(host) = app.host_name() {
        segments.add(5, format!("on {}", fit(&host, 28)), theme.accent);
    }
    let place = match &transcript.title {
        Some(title) => one_line(title),
        None => short(&transcript.cwd, app.home()),
    };
    if !place.is_empty() {
        segments.add(2, fit(&place, 32), theme.dim);
    }
}

/// As many segments as fit, the important ones first.
fn assemble(Segments(segments): Segments, width: usize, theme: &Theme) -> Line<'static> {
    let mut order: Vec<usize> = (0..segments.len()).collect();
    order.sort_by_key(|at| {
        std::cmp::Reverse(segments.get(*at).map_or(0, |segment| segment.importance))
    });
    let mut room = width + 2;
    let mut kept = vec![false; segments.len()];
    for at in order {
        let Some((segment, kept)) = segments.get(at).zip(kept.get_mut(at)) else { continue };
        let needs = 3 + segment.spans.iter().map(|span| columns(&span.content)).sum::<usize>();
        if needs <= room {
            room -= needs;
            *kept = true;
        }
    }
    let mut line = Line::from(" ");
    for (segment, _) in segments.into_iter().zip(kept).filter(|(_, kept)| *kept) {
        if line.spans.len() > 1 {
            line.push_span(Span::styled(" · ", theme.dim));
        }
        line.extend(segment.spans);
    }
    line
}

/// Context in use: bar, numbers, percent (S01).
pub(crate) fn gauge(gauge: Gauge, theme: &Theme) -> Vec<Span<'static>> {
    let shown = |n: Option<u64>| n.map_or_else(|| "–".to_owned(), tokens);
    let (Some(used), Some(length)) = (gauge.used, gauge.length.filter(|n| *n > 0)) else {
        let text = match (gauge.used, gauge.length) {
            (None, None) => "–".to_owned(),
            (used, length) => format!("{}/{}", shown(used), shown(length)),
        };
        return vec![Span::styled(text, theme.dim)];
    };
    let percent = used.saturating_mul(100) / length;
    let filled = used.saturating_mul(BAR).div_ceil(length).min(BAR);
    let style = match percent {
        0..70 => theme.ok,
        70..90 => theme.warn,
        _ => theme.error,
    };
    let bar = |cells: u64, cell: &str| cell.repeat(cells as usize);
    let mut text = format!(" {}/{} {percent}%", tokens(used), tokens(length));
    if used > length {
        text.push_str(" context exceeded");
    }
    vec![
        Span::styled(bar(filled, "━"), style),
        Span::styled(bar(BAR - filled, "─"), theme.dim),
        Span::styled(text, if used > length { theme.error } else { theme.dim }),
    ]
}

/// A directory with the home directory as `~`; only its last two parts if it is long.
pub(crate) fn short(path: &str, home: Option<&str>) -> String {
    let path = one_line(path);
    let path = match home.filter(|home| !home.is_empty()).and_then(|home| path.strip_prefix(home)) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("~{rest}"),
        Some(_) | None => path,
    };
    if path.chars().count() <= 30 {
        return path;
    }
    let parts: Vec<&str> = path.rsplit('/').take(2).collect();
    format!("…/{}", parts.into_iter().rev().collect::<Vec<_>>().join("/"))
}
