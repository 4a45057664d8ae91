//! The last line of the screen: model, context, what runs, what is wrong.

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

/// A part of the line; the least important go first when there is no room.
struct Part {
    keep: u8,
    spans: Vec<Span<'static>>,
}

pub(crate) fn line(app: &App, width: usize) -> Line<'static> {
    let theme = &app.theme;
    let mut parts = Vec::new();
    let flash = app.flash().map(one_line);
    let room = if flash.is_some() { width / 2 } else { width };
    if let Some(text) = link::status(&app.link, app.now(), room) {
        let style = match app.link {
            Link::Up | Link::Connecting | Link::Polling { .. } => theme.warn,
            Link::Down { .. } | Link::Refused { .. } | Link::Stopped { .. } => theme.error,
        };
        parts.push(Part { keep: 10, spans: vec![Span::styled(text, style)] });
    }
    if let Some(flash) = flash {
        let room = if parts.is_empty() { width.saturating_sub(1) } else { width / 2 };
        let span = Span::styled(fit(&flash, room), theme.warn);
        parts.push(Part { keep: 11, spans: vec![span] });
        return assemble(parts, width, theme);
    }
    let transcript = &app.transcript;
    let mut part = |keep: u8, text: String, style: Style| {
        parts.push(Part { keep, spans: vec![Span::styled(text, style)] });
    };
    if !transcript.model.is_empty() {
        part(5, fit(&one_line(&transcript.model), 28), theme.bold);
    }
    let exceeded = transcript.gauge.used > transcript.gauge.length.or(Some(u64::MAX));
    let keep = if exceeded { 8 } else { 4 };
    parts.push(Part { keep, spans: gauge(transcript.gauge, theme) });
    let mut part = |keep: u8, text: String, style: Style| {
        parts.push(Part { keep, spans: vec![Span::styled(text, style)] });
    };
    if let Some(running) = &transcript.running {
        let time = span(between(app.now(), running.started_at) / 1_000);
        let doing = if running.cancelling {
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
        part(7, format!("{} · {time}", fit(&doing, 40)), theme.warn);
        if !running.cancelling {
            part(3, "Esc interrupts".to_owned(), theme.dim);
        }
    }
    if app.view.new_rows() > 0 {
        part(8, format!("↓ {} new", app.view.new_rows()), theme.accent);
    } else if !app.view.is_following() {
        part(4, "scrolled · End follows".to_owned(), theme.dim);
    }
    let live = transcript.processes.iter().filter(|p| p.is_live()).count();
    if live > 0 {
        part(6, format!("⚙ {live}"), theme.accent);
    }
    let asking = app.asking_elsewhere();
    if asking > 0 {
        let ask = if asking == 1 { "asks" } else { "ask" };
        part(8, format!("{} {ask} · Ctrl+O", count(asking, "session")), theme.warn);
    }
    if transcript.held.is_some() {
        part(7, "held · /wake".to_owned(), theme.warn);
    }
    if transcript.unattended >= UNATTENDED {
        let times = transcript.unattended;
        part(8, format!("needs you · woken {times}×"), theme.warn);
    }
    if let Storage::Failing(why) = &transcript.storage {
        part(9, fit(&format!("NOT SAVED: {}", one_line(why)), 40), theme.error);
    }
    if transcript.yolo {
        part(8, "yolo".to_owned(), theme.error);
    }
    if let Some(effort) = &transcript.reasoning {
        part(2, format!("thinks {}", fit(&one_line(effort), 12)), theme.dim);
    }
    if let Some(host) = app.host() {
        part(5, format!("on {}", fit(&host, 28)), theme.accent);
    }
    let place = match &transcript.title {
        Some(title) => one_line(title),
        None => short(&transcript.cwd, app.home()),
    };
    if !place.is_empty() {
        parts.push(Part { keep: 2, spans: vec![Span::styled(fit(&place, 32), theme.dim)] });
    }
    assemble(parts, width, theme)
}

/// As many parts as fit, the important ones first.
fn assemble(parts: Vec<Part>, width: usize, theme: &Theme) -> Line<'static> {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(parts.get(*at).map_or(0, |part| part.keep)));
    let mut room = width + 2;
    let mut kept = vec![false; parts.len()];
    for at in order {
        let Some((part, kept)) = parts.get(at).zip(kept.get_mut(at)) else { continue };
        let needs = 3 + part.spans.iter().map(|span| columns(&span.content)).sum::<usize>();
        if needs <= room {
            room -= needs;
            *kept = true;
        }
    }
    let mut line = Line::from(" ");
    for (part, _) in parts.into_iter().zip(kept).filter(|(_, kept)| *kept) {
        if line.spans.len() > 1 {
            line.push_span(Span::styled(" · ", theme.dim));
        }
        line.extend(part.spans);
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

/// A directory with the home folder as `~`, and its last two parts only when it is long.
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
